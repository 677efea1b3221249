"""Explorer: three classifier vectors on the circle; the slices of training, with a margin, and those of the test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.lines import Line2D

from .. import metrics
from ..metrics.borders import MARGINS
from ..objective import Setting
from ..plots.picture import FAINT, GROUP_COLOURS, GROUP_INK, INK, QUIET
from ..plots.surface import Surface
from .base import Explorer
from .controls import Choice, Number
from .frames import Handle, Point, Region
from .screen import Drag

CLASSES = {"frequent": "head", "middle": "mid", "rare": "tail"}
VECTORS = {"frequent": 90.0, "middle": 210.0, "rare": 330.0}  # where each starts, in degrees
MOST = 1000  # images of the frequent class
FILLING, CRUST, RIM = 0.80, (0.86, 1.0), 1.1  # radii: training slices, test slices, the handles
EDGE, REACH = RIM + 0.13, RIM + 0.1  # of the plate, and how far a handle goes
PAGE, STRIDE = 15.0, 0.2 * EDGE  # degrees that PageUp turns a vector; how far the page then moves its handle, each way
TITLES = {"none": "none (NormFace)", "cosface": "cosine (CosFace, AM-Softmax)", "arcface": "angle (ArcFace)",
          "ldam": "by count (LDAM)"}  # fmt: skip
KIND = Setting("ldam", choices=MARGINS, meaning="what training takes from the score of the true class")
USED = {"kind": MARGINS[1:]}
MARGIN = Setting(0.5, 0.0, 1.0, symbol="m", meaning="a cosine; for ArcFace an angle in radians; for LDAM that of the "
                 "rarest class", when=USED)  # fmt: skip
SCALE = Setting(10.0, 1.0, 64.0, "log", symbol="s", meaning="logit = s times the cosine")
RATIO = Setting(100.0, 1.0, 100.0, "log", symbol="ρ", meaning="images of the frequent class for one of the rare",
                when={"kind": ("ldam",)})  # fmt: skip


@dataclass(frozen=True)
class Cut:
    """The circle cut up. vectors (3,): directions in degrees; counts (3,); kind: of margin.
    found: the slices of each class. at_test, in_training (3,): how many degrees they are wide together.
    """

    vectors: np.ndarray
    counts: np.ndarray
    kind: str
    scale: float
    found: metrics.Slices
    at_test: np.ndarray
    in_training: np.ndarray


def wedge(first: float, last: float, inner: float, outer: float) -> np.ndarray:
    """Outline (m, 2) of a slice from one angle to another, in degrees, between two radii."""
    turn = np.radians(np.linspace(first, last, max(3, int((last - first) / 3))))
    circle = np.column_stack([np.cos(turn), np.sin(turn)])
    return np.concatenate([outer * circle, inner * circle[::-1]])


class Pizza(Explorer):
    """Cosine classifier in the plane: the filling is what training asks for, the crust what the test decides."""

    function = "pizza"
    title = "Pizza: margins and borders"
    size = (7.6, 4.3)

    def __init__(
        self,
        kind: str = KIND.default,
        margin: float = MARGIN.default,
        scale: float = SCALE.default,
        ratio: float = RATIO.default,
        frequent: float = VECTORS["frequent"],
        middle: float = VECTORS["middle"],
        rare: float = VECTORS["rare"],
    ):
        angles = {"frequent": frequent, "middle": middle, "rare": rare}
        self._before: dict[str, float] = {}  # direction of a vector when PageUp or PageDown was pressed last
        controls = [
            Number("margin", MARGIN, margin, steps=50),
            Choice("kind", KIND, kind, TITLES),
            Number("scale", SCALE, scale),
            Number("ratio", RATIO, ratio),
        ]
        for name, start in VECTORS.items():
            meaning = f"direction of the vector of the {name} class, in degrees"
            controls.append(
                Number(name, Setting(start, 0.0, 360.0, symbol="°", meaning=meaning), angles[name], steps=72)
            )
        super().__init__({one.name: one for one in controls})

    # ------------------------------------------------------------------------------------------------- the numbers
    def compute(self, kind: str, margin: float, scale: float, ratio: float, **angles: float) -> Cut:
        vectors = np.array([angles[name] for name in CLASSES])
        counts = np.array([MOST, round(MOST / ratio**0.5), round(MOST / ratio)])
        found = metrics.slices(vectors, kind, margin, scale, counts)
        return Cut(vectors, counts, kind, scale, found, *found.widths)

    # ------------------------------------------------------------------------------------------------- the picture
    def build(self, surface: Surface) -> None:
        high = 0.80
        self._build_plate(surface.figure.add_axes((0.005, 0.11, high * self.size[1] / self.size[0], high)))
        self._build_course(surface.figure.add_axes((0.575, 0.225, 0.405, 0.465)))
        surface.animate(
            self.filling, self.crust, *self.spokes, *self.heads, *self.test, *self.train, *self.cursors, *self.told
        )

    def _build_plate(self, ax: Axes) -> None:
        self.plate = ax
        ax.set(xlim=(-EDGE, EDGE), ylim=(-EDGE, EDGE), aspect="equal")
        ax.set_title("Directions of features", fontsize=9.5)
        ax.axis("off")
        turn = np.linspace(0, 2 * np.pi, 200)
        ax.fill(FILLING * np.cos(turn), FILLING * np.sin(turn), facecolor="#F4F5F7", edgecolor=QUIET, linewidth=0.8,
                hatch="....", zorder=1)  # fmt: skip
        self.colours = [GROUP_COLOURS[name] for name in CLASSES.values()]
        self.filling = PolyCollection([], linewidths=0, zorder=2)
        self.crust = PolyCollection([], linewidths=1.2, edgecolors="white", zorder=2)
        for one in (self.filling, self.crust):
            ax.add_collection(one, autolim=False)
        self.spokes = [ax.plot([], [], color=INK, linewidth=1.6, zorder=4)[0] for _ in CLASSES]
        kind = {"marker": "o", "markersize": 19, "markeredgecolor": "white", "zorder": 5, "linestyle": ""}
        self.heads = [ax.plot([], [], color=colour, **kind)[0] for colour in self.colours]
        ax.text(0, -EDGE - 0.02, "ring: decided at test   disc: margin met in training\ndotted: met for no class",
                ha="center", va="top", fontsize=8.5, color=INK)  # fmt: skip

    def _build_course(self, ax: Axes) -> None:
        self.course = ax
        ax.set(xlim=(0, 360), ylim=(0, 1.03), xlabel="direction of the feature, degrees", xticks=range(0, 361, 90))
        ax.set_title("Probability of an image's own class", fontsize=9.5, loc="left", pad=5)
        ax.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}%")
        ax.grid(True, axis="both", color=FAINT)
        self.test = [ax.plot([], [], color=c, linewidth=2, zorder=4)[0] for c in self.colours]
        self.train = [ax.plot([], [], color=c, linewidth=1.6, linestyle=(0, (4, 1.6)), zorder=3)[0] for c in
                      self.colours]  # fmt: skip
        self.cursors = [ax.plot([], [], color=c, linewidth=1, zorder=2)[0] for c in self.colours]
        places = {"x": (0.0, 0.26, 0.45, 0.63, 0.80), "y": (1.45, 1.345, 1.24)}
        for x, head in zip(places["x"], ("class", "images", "margin", "at test", "in training"), strict=True):
            ax.text(x, 1.565, head, transform=ax.transAxes, fontsize=8.5, color=QUIET, va="center")
        self.told = []
        for y, (name, group) in zip(places["y"], CLASSES.items(), strict=True):
            write = {"transform": ax.transAxes, "fontsize": 9.5, "va": "center", "color": GROUP_INK[group]}
            ax.text(places["x"][0], y, name, fontweight="bold", **write)
            self.told += [ax.text(x, y, "", **write) for x in places["x"][1:]]
        both = [Line2D([], [], color=INK, linewidth=2, label="at test"),
                Line2D([], [], color=INK, linewidth=1.6, linestyle=(0, (4, 1.6)), label="in training")]  # fmt: skip
        ax.figure.legend(handles=both, loc="lower right", bbox_to_anchor=(0.985, 0.0), ncols=2, fontsize=8.5)

    def draw(self, result: Cut) -> None:
        found = result.found
        for artist, slots, radii in (
            (self.filling, found.in_training, (0, FILLING)), (self.crust, found.at_test, CRUST)
        ):  # fmt: skip
            artist.set_verts([wedge(*one, *radii) for some in slots for one in some])
            artist.set_facecolor([colour for colour, some in zip(self.colours, slots, strict=True) for _ in some])
        radians = np.radians(result.vectors)
        for spoke, head, x, y in zip(self.spokes, self.heads, np.cos(radians), np.sin(radians), strict=True):
            spoke.set_data([0, RIM * x], [0, RIM * y])
            head.set_data([RIM * x], [RIM * y])
        for j, (test, train, cursor) in enumerate(zip(self.test, self.train, self.cursors, strict=True)):
            test.set_data(found.angle, found.test[:, j])
            train.set_data(found.angle, found.train[:, j])
            cursor.set_data([result.vectors[j]] * 2, [0, 1])
        for text, what in zip(self.told, [part for j in range(len(CLASSES)) for part in _row(result, j)], strict=True):
            text.set_text(what)

    def say(self, result: Cut) -> str:
        names = list(CLASSES)
        at_test, trained = (
            ", ".join(f"{name} {size:.0f}°" for name, size in zip(names, sizes, strict=True))
            for sizes in (result.at_test, result.in_training)
        )
        if result.kind == "none":
            return f"No margin: in training and at test the borders lie halfway between the vectors. Slices: {at_test}."
        lost = [name for name, some in zip(names, result.found.in_training, strict=True) if not some]
        none = f" No direction meets the margin of the {' and the '.join(lost)} class." if lost else ""
        return (
            f"Margin: {TITLES[result.kind]}. At test the borders lie halfway between the vectors, as without a margin: "
            f"{at_test}. In training an image meets its margin on fewer degrees: {trained}.{none} "
            f"On {100 * result.found.nobody:.0f}% of the circle an image of any class misses its margin."
        )

    # ------------------------------------------------------------------------------------------------- pointing
    def regions(self) -> list[Region]:
        return [
            Region.of(self.plate, "circle", xname="feature 1", yname="feature 2"),
            Region.of(self.course, "probability", xname="direction", yname="probability", percent="y"),
        ]

    def marks(self, result: Cut) -> list[Point]:
        found = []
        for j, name in enumerate(CLASSES):
            count, margin, at_test, trained = _row(result, j)
            told = f"Vector of the {name} class, at {result.vectors[j]:.0f}°; {count} images, margin {margin}: "
            found.append(Point(*_at(result.vectors[j]), f"{told}its slice at test {at_test}, in training {trained}"))
            near = int(np.abs(result.found.angle - result.vectors[j] % 360).argmin())
            told = f"At the vector of the {name} class: {100 * result.found.test[near, j]:.0f}% at test, "
            told += f"{100 * result.found.train[near, j]:.0f}% in training"
            found.append(Point(result.found.angle[near], result.found.test[near, j], told, 1))
        return found

    def handles(self, result: Cut) -> list[Handle]:
        reach = (-REACH, REACH)
        return [
            Handle(name, *_at(angle), f"vector of the {name} class", "xy", reach, reach, told=f"{angle:.0f}°")
            for name, angle in zip(CLASSES, result.vectors, strict=True)
        ]

    def dragged(self, drag: Drag) -> None:
        """A vector turns to where its tip is dragged; its length stays 1. PageUp and PageDown turn it by `PAGE`."""
        control = self.controls.get(drag.name)
        if isinstance(control, Number) and drag.name in CLASSES and (drag.x or drag.y):
            paged = self._paged(drag, control.value) if drag.done else None
            # In whole degrees, finer than the slider's steps: an arrow key moves the tip by one to three of them.
            turned = round(np.degrees(np.arctan2(drag.y, drag.x))) if paged is None else paged
            control.value = float(turned) % 360

    def _paged(self, drag: Drag, now: float) -> float | None:
        """The direction after PageUp or PageDown, and that of now after Home or End; None for any other drag.

        With these keys the page moves a handle along the diagonal, which is no way around a circle. A key that is held
        moves it on from where it was before the vector has turned, so the direction of that moment counts as well.
        """
        if np.allclose([abs(drag.x), drag.y], [REACH, drag.x], atol=1e-6):
            return now
        for start in (now, self._before.get(drag.name, now)):
            for pages in (way * n for n in range(1, 10) for way in (1, -1)):  # 9 go from edge to edge
                if np.allclose(np.clip(np.add(_at(start), pages * STRIDE), -REACH, REACH), (drag.x, drag.y), atol=1e-4):
                    self._before[drag.name] = start
                    return start + pages * PAGE
        return None


def _at(angle: float) -> tuple[float, float]:
    """Where the handle of a vector of this direction is, in degrees."""
    x, y = (round(float(RIM * turn(np.radians(angle))), 6) + 0.0 for turn in (np.cos, np.sin))
    return x, y


def _row(result: Cut, j: int) -> tuple[str, ...]:
    """Images, margin and degrees at test and in training of a class, as they are written."""
    margin, trained = result.found.margin[j], result.in_training[j]
    size = (
        "–" if result.kind == "none" else f"{np.degrees(margin):.0f}°" if result.kind == "arcface" else f"{margin:.2f}"
    )
    sizes = (f"{result.at_test[j]:.0f}°", f"{trained:.0f}°" if result.found.in_training[j] else "not met")
    return f"{int(result.counts[j]):,}", size, *sizes


def pizza(
    kind: str = KIND.default,
    margin: float = MARGIN.default,
    scale: float = SCALE.default,
    ratio: float = RATIO.default,
    frequent: float = VECTORS["frequent"],
    middle: float = VECTORS["middle"],
    rare: float = VECTORS["rare"],
) -> Pizza:
    """Turn three classifier vectors of length 1; see which directions of features each class is given.

    The ring shows the decision at test, the disc where an image of a class is right in training too, with its margin.
    kind: "none" (NormFace), "cosface" (also AM-Softmax; m in [0, 1], a cosine), "arcface" (m in radians) or "ldam" (m
    for the rarest class, in proportion to n^(-1/4) for the others). scale s in [1, 64]: of the logits; it moves no
    border. ratio in [1, 100]: the classes have 1000, 1000 / sqrt(ratio) and 1000 / ratio images, which matters to LDAM
    only. frequent, middle, rare: directions of their vectors in degrees, 0 to 360. The angles are chosen by the reader;
    nothing is trained here.
    """
    return Pizza(kind, margin, scale, ratio, frequent, middle, rare)
