"""A row of photographs, framed by whether the present answer is right: part of explorers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection

from .examples import mosaic
from .picture import INK
from .text import literal, short_names
from .theme import PHOTO

RIGHT, WRONG = "#2A7F3B", "#CC3434"  # a frame is also solid or dashed: colour is not the only cue
NAME = 10  # letters of a class's name
EDGE = 0.06  # between a photograph and its frame, in widths of a photograph


class PhotoRow:
    """Photographs side by side, the true class above each, the present answer below, and a frame; `update` moves them.

    Photograph i lies at x = i, y = 0, and is 0.76 wide. ax: an axes that is as many times wider than high as there are
    `places`, but for the two lines of text. images (n, H, W, 1 or 3) uint8; names: of all classes; true (n,): the class
    of each image. A frame is green and solid where the answer is right, red and dashed where it is wrong.
    """

    SIDE = 0.76

    def __init__(self, ax: Axes, images: np.ndarray, true: np.ndarray, names: Sequence[str], places: int):
        self.true, self.names, half = true, short_names(names, NAME), self.SIDE / 2
        box, page = ax.get_position(), ax.figure.bbox
        middle = places * (box.height * page.height) / (box.width * page.width) / 2
        for i, image in enumerate(images):
            place = (i - half, i + half, half, -half)
            ax.imshow(mosaic(image[None], [(0, 0)], 1, 1), extent=place, aspect="auto", zorder=2, gid=PHOTO)
        ax.set(xlim=(-0.5, places - 0.5), ylim=(middle, -middle), xticks=[], yticks=[])
        ax.set_facecolor("none")
        ax.grid(False)
        ax.spines[:].set_visible(False)
        self.photos = list(ax.images)
        text = {"ha": "center", "fontsize": 9, "clip_on": False, **literal()}
        edge = half + EDGE
        for i, j in enumerate(true):
            ax.text(i, -edge - 0.03, self.names[j], va="bottom", color=INK, fontweight="bold", **text)
        self.answers = [ax.text(i, edge + 0.04, "", va="top", zorder=4, **text) for i in range(len(true))]
        corners = np.array([(-edge, -edge), (edge, -edge), (edge, edge), (-edge, edge)])
        self.frames = PolyCollection(
            [corners + (i, 0) for i in range(len(true))], facecolors="none", linewidths=2.2, zorder=3
        )
        ax.add_collection(self.frames, autolim=False)
        self.artists = [self.frames, *self.answers]

    def update(self, answered: np.ndarray) -> None:
        """answered (n,): the class that each image is taken for now."""
        right = answered == self.true
        self.frames.set_edgecolor([RIGHT if one else WRONG for one in right])
        self.frames.set_linestyle(["-" if one else (0, (2, 1)) for one in right])
        for text, j, good in zip(self.answers, answered, right, strict=True):
            text.set_text(self.names[j])
            text.set_color(RIGHT if good else WRONG)

    def boxes(self) -> list[tuple[float, float, float, float]]:
        """Where the photographs lie: (left, top, right, bottom), fractions of the picture."""
        found = []
        for photo in self.photos:
            x0, y0, x1, y1 = photo.get_window_extent().extents
            width, height = photo.figure.bbox.width, photo.figure.bbox.height
            found.append((x0 / width, 1 - y1 / height, x1 / width, 1 - y0 / height))
        return found
