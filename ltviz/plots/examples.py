"""What the images look like, class by class, as many as there are."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from .. import check
from .picture import Picture, draws, finish, get_axes
from .series import array, by_count, class_counts, class_labels, given_names
from .text import literal, short_names
from .theme import PHOTO

GAP = 1  # pixels between two pictures


def mosaic(images: np.ndarray, where: list[tuple[int, int]], rows: int, columns: int) -> np.ndarray:
    """Images (n, H, W, C) uint8 at (row, column) places: (rows (H + 1) - 1, columns (W + 1) - 1, 4), clear between."""
    _, height, width, channels = images.shape
    canvas = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 4), 255, np.uint8)
    canvas[..., 3] = 0
    for image, (row, column) in zip(images, where, strict=True):
        top, left = row * (height + GAP), column * (width + GAP)
        place = canvas[top : top + height, left : left + width]
        place[..., :3], place[..., 3] = image if channels == 3 else image[..., :1], 255
    return canvas


@draws
def plot_examples(data: Any, *, columns: int = 16, rows: int = 12, ax: Axes | None = None) -> Picture:
    """A row of training pictures for each class, most frequent class on top, as many as it has.

    data: a data set. columns: the most pictures in a row. rows: the most classes; of more, these many are shown, evenly
    spread over the ranks. `.data`: index (of the pictures shown), targets, counts.

    Shows what the network gets to see of a rare class. Cannot show how varied a class is beyond the first pictures.
    """
    for name in ("images", "targets", "counts"):
        if isinstance(data, type) or not hasattr(data, name):
            raise ValueError(f"data must be a data set with {name}, not {type(data).__name__}; try ltviz.digits_lt()")
    if not getattr(data, "has_pictures", True):
        raise check.refuse("data", data, "a data set of pictures; this is a table, and its rows cannot be looked at")
    rows, columns = check.whole("rows", rows, 1, 1000), check.whole("columns", columns, 1, 1000)
    counts = class_counts(data, "data.counts")
    targets = class_labels(data.targets, len(data.images), len(counts), "data.targets")
    names = given_names(data, len(counts))
    order = by_count(counts)
    ranks = np.unique(np.linspace(0, len(order) - 1, min(rows, len(order))).round().astype(int))
    chosen, where = [], []
    for row, rank in enumerate(ranks):
        of = np.flatnonzero(targets == order[rank])[:columns]
        chosen += list(of)
        where += [(row, column) for column in range(len(of))]
    shown = short_names([names[j] for j in order], 24)
    labels = [f"{shown[rank]}  ({counts[order[rank]]:,.0f})" for rank in ranks]
    columns = max([column for _, column in where], default=0) + 1
    images = array(data.images[chosen])
    height, width = images.shape[1] + GAP, images.shape[2] + GAP
    cell = min(0.42, 6.0 / columns)
    (ax,) = get_axes(ax, columns * cell + 1.3, len(ranks) * cell * height / width + 0.4)
    ax.imshow(mosaic(images, where, len(ranks), columns), interpolation="nearest", aspect="equal", gid=PHOTO)
    ax.set_yticks(np.arange(len(ranks)) * height + (height - 1 - GAP) / 2, labels, **literal())
    ax.set_xticks([])
    ax.grid(False)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    finish(ax, "Training images (how many)", legend=False)
    text = (
        f"Up to {columns} training pictures of {len(ranks)} of {len(order)} classes: {shown[0]} has "
        f"{counts[order[0]]:,.0f} to learn from, {shown[-1]} has {counts[order[-1]]:,.0f}."
    )
    return Picture(ax, {"index": chosen, "targets": targets[chosen], "counts": counts[order]}, text)
