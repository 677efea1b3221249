"""What a screen shows: a picture, the sentence that says what is in it, and what can be pointed at or dragged.

Places are given in the data of an axes, and boxes as fractions of the picture from its top left corner, so that they
hold at any size on the page and for any resolution of the picture.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import check
from ..plots.surface import fast_png

PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Region:
    """An axes of the picture, as the page knows it.

    box = (left, top, right, bottom), fractions of the picture. x = the data at the left and at the right edge, y = at
    the bottom and at the top. xscale, yscale: "linear", "log" or "one-minus-log" (of 1 - value). xname, yname: what
    stands before a value. xnames, ynames: names of the places 0, 1, ... of an axis of categories. percent: axes ("",
    "x", "y", "xy") of fractions. cells: the points are the cells of a matrix, so that the pointer is always in the
    nearest.
    """

    box: tuple[float, float, float, float]
    x: tuple[float, float]
    y: tuple[float, float]
    name: str = ""
    xscale: str = "linear"
    yscale: str = "linear"
    xname: str = "x"
    yname: str = "y"
    xnames: tuple[str, ...] = ()
    ynames: tuple[str, ...] = ()
    percent: str = ""
    cells: bool = False

    def __post_init__(self):
        _box("box", self.box)
        for axis in "xy":
            scale = check.choice(f"{axis}scale", getattr(self, f"{axis}scale"), ("linear", "log", "one-minus-log"))
            above, below = (0.0 if scale == "log" else None), (1.0 if scale == "one-minus-log" else None)
            ends = [check.number(axis, one, above=above) for one in _several(axis, getattr(self, axis), 2)]
            if below is not None and max(ends) >= below:
                raise check.refuse(axis, ends, "numbers below 1, as the scale is that of 1 - value")
            if ends[0] == ends[1]:
                raise check.refuse(axis, ends, "two different ends")
        check.choice("percent", self.percent, ("", "x", "y", "xy"))
        check.flag("cells", self.cells)

    @classmethod
    def of(cls, ax: Any, name: str = "", **more: Any) -> Region:
        """The region of a matplotlib axes as it was drawn last. ValueError for a scale other than linear or log."""
        if not hasattr(ax, "get_xscale"):
            raise check.refuse("ax", ax, "a matplotlib Axes")
        # `get_position` would do the layout again, after which matplotlib draws the whole figure anew.
        place = ax.bbox.transformed(ax.figure.transFigure.inverted())
        more = {"xname": ax.get_xlabel() or "x", "yname": ax.get_ylabel() or "y", **more}
        box = [min(max(float(one), 0.0), 1.0) for one in (place.x0, 1 - place.y1, place.x1, 1 - place.y0)]
        return cls(
            tuple(box), tuple(map(float, ax.get_xlim())), tuple(map(float, ax.get_ylim())), name,
            ax.get_xscale(), ax.get_yscale(), **more,
        )  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        """The fields, as the page reads them."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in vars(self).items()}


def regions_of(figure: Any) -> list[Region]:
    """The axes of a figure as they were drawn last: those that are shown and have a linear or a logarithmic scale."""
    known = ("linear", "log")
    shown = [ax for ax in figure.axes if ax.get_visible() and ax.axison]
    return [Region.of(ax) for ax in shown if ax.get_xscale() in known and ax.get_yscale() in known]


@dataclass(frozen=True)
class Point:
    """A place with a text, in the data of a region (its number in `Frame.regions`). NaN: not in this picture."""

    x: float
    y: float
    text: str = ""
    region: int = 0

    def as_json(self) -> list[Any]:
        """[x, y, text, region]; what is not finite becomes null."""
        return [*map(_finite, (self.x, self.y)), str(self.text), int(self.region)]


def _check_step(step: Any, axis: str) -> None:
    """A number, or rising numbers; for both axes a pair of these."""
    if step is None:
        return
    if axis == "xy" and isinstance(step, tuple) and len(step) == 2 and all(isinstance(one, tuple) for one in step):
        for one, of in zip(step, "xy", strict=True):
            _check_step(one, of)
        return
    if not isinstance(step, tuple):
        check.number("step", step, above=0.0)
        return
    places = [check.number("step", one) for one in step]
    if len(places) < 2 or any(a >= b for a, b in zip(places, places[1:], strict=False)):
        raise check.refuse("step", step, "the places where the handle can stand, at least two, rising")


@dataclass(frozen=True)
class Handle:
    """A point that can be dragged: by pointer, by touch, and with the arrow keys.

    name: what events call it; label: what a reader (or a screen reader) calls it. axis: "x", "y" or "xy", the ways it
    moves. xlim, ylim: how far; the ends of its region without them. told: where it is, in words; its coordinates
    without them. step: how far an arrow key moves it, in the units of its axis, or the places where it
    can stand, rising (of both axes: a pair of such tuples); None: a fiftieth of the region.
    """

    name: str
    x: float
    y: float
    label: str = ""
    axis: str = "xy"
    xlim: tuple[float, float] | None = None
    ylim: tuple[float, float] | None = None
    region: int = 0
    told: str = ""
    step: float | tuple | None = None

    def __post_init__(self):
        check.text("name", self.name)
        _check_step(self.step, self.axis)
        check.number("x", self.x)
        check.number("y", self.y)
        check.choice("axis", self.axis, ("x", "y", "xy"))
        for name in ("xlim", "ylim"):
            limits = getattr(self, name)
            if limits is not None:
                low, high = (check.number(name, one) for one in _several(name, limits, 2))
                if not low < high:
                    raise check.refuse(name, limits, "(low, high), low < high")

    def as_json(self) -> dict[str, Any]:
        """The fields, as the page reads them."""
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in vars(self).items()}
        return plain | {"x": float(self.x), "y": float(self.y), "label": self.label or self.name}


@dataclass(frozen=True)
class Frame:
    """One picture.

    image: a PNG, or pixels (height, width, 3 or 4) uint8, which are cheaper in a sweep: they need not be read back.
    text: the sentence that says what is seen; it becomes the `alt` text. photos: boxes (left, top, right, bottom),
    fractions of the picture, whose colours stay as they are in a dark theme.
    """

    image: bytes | np.ndarray
    text: str
    regions: Sequence[Region] = ()
    points: Sequence[Point] = ()
    handles: Sequence[Handle] = ()
    photos: Sequence[tuple[float, float, float, float]] = ()

    def __post_init__(self):
        expected = "a PNG as bytes, or pixels (height, width, 3 or 4) as uint8"
        if isinstance(self.image, np.ndarray):
            shape = self.image.shape
            if self.image.dtype != np.uint8 or len(shape) != 3 or shape[2] not in (3, 4) or 0 in shape:
                raise check.refuse("image", self.image, expected)
        elif not isinstance(self.image, bytes) or not self.image.startswith(PNG):
            raise check.refuse("image", self.image, expected)
        check.text("text", self.text)
        for box in self.photos:
            _box("photos", box)
        for name, kind in (("regions", Region), ("points", Point), ("handles", Handle)):
            for one in getattr(self, name):
                check.instance(name, one, kind, f"a list of {kind.__name__}")
                if kind is not Region:
                    check.whole(f"region of {name}", one.region, 0, max(len(self.regions) - 1, 0))
        if (len(self.points) or len(self.handles)) and not len(self.regions):
            raise check.refuse("regions", self.regions, "the regions that points and handles lie in")

    @property
    def pixels(self) -> np.ndarray:
        """The picture as (height, width, 4) uint8."""
        image = self.image
        if isinstance(image, bytes):
            from PIL import Image

            with Image.open(io.BytesIO(image)) as opened:
                return np.asarray(opened.convert("RGBA"))
        if image.shape[2] == 3:
            image = np.concatenate([image, np.full_like(image[..., :1], 255)], 2)
        return np.ascontiguousarray(image)

    @property
    def png(self) -> bytes:
        """The picture as PNG."""
        return self.image if isinstance(self.image, bytes) else fast_png(self.pixels)

    def meta(self) -> dict[str, Any]:
        """All but the picture, as the page reads it."""
        parts = {name: [one.as_json() for one in getattr(self, name)] for name in ("regions", "points", "handles")}
        return {"text": self.text, **parts, "photos": [list(map(float, box)) for box in self.photos]}


def _several(name: str, value: Any, n: int) -> Sequence[Any]:
    if not isinstance(value, (tuple, list)) or len(value) != n:
        raise check.refuse(name, value, f"{n} numbers")
    return value


def _box(name: str, value: Any) -> None:
    left, top, right, bottom = (check.number(name, one, 0, 1) for one in _several(name, value, 4))
    if not (left < right and top < bottom):
        raise check.refuse(name, value, "(left, top, right, bottom), left < right and top < bottom")


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
