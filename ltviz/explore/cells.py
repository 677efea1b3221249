"""The test images behind a cell of a confusion matrix, shown below the picture of an explorer."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ipywidgets as widgets
import numpy as np
from PIL import Image

from .. import check
from ..plots.examples import mosaic
from ..plots.picture import DRAW_LOCK
from ..run import Run

PICTURES, COLUMNS, SIDE = 24, 12, 48  # of a cell: how many at most, in a row, and about how many pixels high
HINT = "Click a cell of the matrix (or go there with the arrow keys and press Enter) to see the images in it."
NOTE = "font-size:13px;line-height:1.4;margin:2px 0;overflow-wrap:anywhere"
IMAGES = (
    "None, or images (m, height, width, 1 or 3) as uint8, or an object with such `images`, as lt.study.photographs() "
    "gives: row i is test image i of the run"
)


@dataclass(frozen=True)
class Cell:
    """A cell of the confusion matrix: classes in its row and its column, numbers of the test images, images in its row.

    A cell of a matrix of many classes holds several of them.
    """

    true: tuple[int, ...]
    answered: tuple[int, ...]
    images: np.ndarray
    of: int


class Cells:
    """Below the picture: the test images of the cell that was chosen, as they are decided now.

    find: the cell at (row, column) as it is now. called: what rows and columns stand for. guard: see `Explorer.guard`.
    source: the images, of which row i is test image i (the first of them may be all there are); None: no pictures.
    """

    def __init__(
        self, find: Callable[[int, int], Cell | None], called: Callable[[], Sequence[str]],
        guard: Callable[[Callable[[], None]], None], source: Any = None,
    ):  # fmt: skip
        self.find, self.called, self.guard, self.source = find, called, guard, source
        self.place: tuple[int, int] | None = None
        self.told: list[Callable[[Cell], None]] = []
        self.widget = widgets.HTML(layout={"width": "100%"})

    def look(self, row: int, column: int) -> None:
        """Choose a cell, and tell those who asked."""
        with DRAW_LOCK:
            self.place = row, column
            self.show()
            cell = self.now()
        for callback in list(self.told):
            self.guard(lambda callback=callback: callback(cell))

    def leave(self) -> None:
        """No cell is chosen."""
        with DRAW_LOCK:
            self.place = None
            self.show()

    def now(self) -> Cell | None:
        """The cell that was chosen, as it is now."""
        return None if self.place is None else self.find(*self.place)

    def show(self) -> None:
        """Write what lies in the cell now."""
        cell = self.now()
        written = f"<div style='{NOTE}'>{HINT}</div>" if cell is None else self._written(cell)
        if self.widget.value != written:
            self.widget.value = written

    def _written(self, cell: Cell) -> str:
        called = [html.escape(self.called()[one]) for one in self.place]
        told = f"<b>true {called[0]}, answered {called[1]}: {len(cell.images):,} of {cell.of:,} images</b>"
        kept = 0 if self.source is None else len(self.source)
        shown = cell.images[cell.images < kept] if self.source is not None else cell.images
        if self.source is not None and len(shown) < len(cell.images):
            few = {0: "None of them is", 1: "One of them is"}.get(len(shown), f"{len(shown):,} of them are")
            which = "image that is" if kept == 1 else "images that are"
            told += f". {few} among the {kept:,} {which} pictured here"
        if len(shown):
            some = ", ".join(map(str, shown[:PICTURES])) + (", …" if len(shown) > PICTURES else "")
            told += f": test image{'s' if len(shown) > 1 else ''} {some}"
        told += "."
        if len(shown) and self.source is not None:
            shown = shown[:PICTURES]
            png, width = _picture(check.to_array(self.source[shown.tolist()]))
            style = "display:block;max-width:100%;image-rendering:pixelated;margin:4px 0"
            told += f"<img alt='The first {len(shown)} of these images' width='{width}' style='{style}' "
            told += f"src='data:image/png;base64,{png}'>"
        return f"<div role='status' style='{NOTE}'>{told}</div>"


def _picture(images: np.ndarray) -> tuple[str, int]:
    """Images in rows, as PNG in base64, and its width in CSS pixels."""
    columns = min(len(images), COLUMNS)
    where = [divmod(i, columns) for i in range(len(images))]
    made = Image.fromarray(mosaic(images, where, where[-1][0] + 1, columns))
    buffer = io.BytesIO()
    made.save(buffer, "png")
    return base64.b64encode(buffer.getvalue()).decode("ascii"), made.width * max(1, round(SIDE / images.shape[1]))


def images_of(images: Any, run: Run) -> np.ndarray | None:
    """Pictures (m, H, W, 1 or 3) of the first m test images of a run, or None. ValueError for anything else."""
    if images is None:
        return None
    found = check.array("images", getattr(images, "images", images), 4, IMAGES)
    if found.dtype != np.uint8 or found.shape[3] not in (1, 3) or not 1 <= len(found) <= len(run.targets):
        raise check.refuse("images", images, f"{IMAGES}, at most {len(run.targets):,}")
    names = getattr(images, "names", None)
    if names is not None and [str(one) for one in names] != [run.class_names[j] for j in run.targets[: len(found)]]:
        raise ValueError(
            f"images={check.shown(images)}: their names are not the classes of the first {len(found)} test images of "
            f"{run.name!r}; pass pictures of the data set that it was tested on"
        )
    return found
