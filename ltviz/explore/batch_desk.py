"""Explorer: the pictures of one batch: which classes are its minority, and the hard pairs that are found in it."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.lines import Line2D

from .. import check, metrics
from ..metrics.triplets import LEVELS, Mined
from ..objective import Setting
from ..plots.examples import mosaic
from ..plots.picture import INK, PALETTE, QUIET, as_percent, percent
from ..plots.surface import Surface
from ..plots.text import literal, short
from ..plots.theme import PHOTO
from ..run import Run
from .base import Explorer
from .controls import Choice, Number
from .frames import Frame, Handle, Point, Region
from .notebook import name_of
from .screen import Click

CLASSES, PICTURES = 12, 144  # at most, in a batch
DESK, PROFILE = range(2)  # the regions of the picture that are pointed at; three comparisons follow
MARGIN, BINS = 0.5, 100  # of the method, as it is recorded
EDGES = np.linspace(-1.5, 2.5, 41)  # of what is counted in the panels of the comparisons
NEAR, FAR, MINOR, ALONE = PALETTE[0], "#CC3434", PALETTE[2], "#8A8F98"
VEIL = (0.55, 0.57, 0.6, 0.66)  # over a picture that takes no part
FULL = 0.5 * 16 / 17  # half a picture in cells: between two lies a pixel
DRAWN = {"plain": "plain epoch", "class_balanced": "class-balanced"}
RHO = Setting(0.5, 0.0, 1.0, symbol="ρ", meaning="largest share of the batch that its minority classes hold together "
              "(the paper's symbol; not the imbalance ratio)")  # fmt: skip
KAPPA = Setting(3, 1, 20, symbol="κ", meaning="hard positives, and hard negatives, of an anchor")
LEVEL = Setting("class", choices=LEVELS, meaning="pairs are hard by class probability, or by distance of features")


@dataclass(frozen=True)
class Desk:
    """A batch as it lies on the desk: place i is row i // columns, column i % columns.

    numbers (n,): training images; targets (n,), the smallest class of the batch first, as in its profile; p (n, k)
    probabilities. ascending (k,): classes by their size in the batch, and ends (k,) the share of the batch that they
    hold up to each. picture: the place of the chosen one.
    """

    composition: str
    batch: int
    level: str
    rho: float
    kappa: int
    picture: int
    numbers: np.ndarray
    targets: np.ndarray
    p: np.ndarray
    ascending: np.ndarray
    ends: np.ndarray
    mined: Mined

    @property
    def positives(self) -> np.ndarray:
        """Places of the hard positives of the chosen picture."""
        return self.mined.positives[self.picture][self.mined.has_positive[self.picture]]

    @property
    def negatives(self) -> np.ndarray:
        """Places of its hard negatives."""
        return self.mined.negatives[self.picture][self.mined.has_negative[self.picture]]


class Comparisons:
    """Three panels: what the relative, the absolute and the distribution comparison make of the same pairs."""

    def __init__(self, axes: list[Axes]):
        self.axes, self.values = axes, []
        relative, absolute, distribution = axes
        middle = dict(x=0.0, color=QUIET, linewidth=1, linestyle=(0, (1, 2)), zorder=1)
        for ax in axes:
            ax.set(xlim=(-1.5, 2.5) if ax is relative else (-1, 2), ylim=(0, 1.08), yticks=[], xticks=[-1, 0, 1, 2])
            ax.tick_params(labelsize=9)
            ax.grid(False)
            ax.axvline(**middle)
            write = {"fontsize": 10, "fontweight": "bold", "transform": ax.transAxes, "va": "bottom", "color": INK}
            self.values.append(ax.text(1.0, 1.03, "", ha="right", **write))
        zero = np.zeros(len(EDGES) - 1)
        cut = np.digitize(0.0, EDGES) - 1
        self.cut = cut
        self.hinges = [
            relative.stairs(zero[:cut], EDGES[: cut + 1], fill=True, color="#C9CED6"),
            relative.stairs(zero[cut:], EDGES[cut:], fill=True, color=MINOR),
        ]
        absolute.axvline(MARGIN, color=FAR, linewidth=1.2, linestyle=(0, (4, 2)))
        lines = ({"color": NEAR, "linewidth": 2}, {"color": FAR, "linewidth": 2, "linestyle": (0, (3, 1.2))})
        self.counts = [absolute.stairs(zero, EDGES, baseline=None, **line) for line in lines]
        self.curves = [distribution.plot([], [], **line)[0] for line in lines]
        told = ("m + d(+) - d(-), each triplet", "distance d, each pair", "distance d: share up to there")
        for ax, name, axis in zip(axes, metrics.triplets.COMPARISONS, told, strict=True):
            ax.set_title(name, fontsize=10, loc="left", pad=4)
            ax.set_xlabel(axis, fontsize=9.5, labelpad=2)

    @property
    def artists(self) -> list[Any]:
        return [*self.hinges, *self.counts, *self.curves, *self.values]

    def draw(self, mined: Mined) -> None:
        share = _tallest(mined.hinges(MARGIN))
        for stairs, part in zip(self.hinges, (share[: self.cut], share[self.cut :]), strict=True):
            stairs.set_data(part)
        sides = (mined.near[mined.has_positive], mined.far[mined.has_negative])
        for stairs, values in zip(self.counts, sides, strict=True):
            stairs.set_data(_tallest(values))
        for curve, heights in zip(self.curves, (mined.h_near, mined.h_far), strict=True):
            curve.set_data(mined.nodes, heights.cumsum())
        there = bool(mined.anchors.any())
        for text, name in zip(self.values, metrics.triplets.COMPARISONS, strict=True):
            text.set_text(f"{mined.loss[name]:.3f}" if there else "–")


def _tallest(values: np.ndarray) -> np.ndarray:
    """How many values lie in each bin, as a share of the fullest bin."""
    found = np.histogram(values, EDGES)[0].astype(float)
    return found / max(found.max(), 1.0)


class BatchDesk(Explorer):
    """The pictures of a batch, its profile, the hard pairs of one picture, and three comparisons of all of them."""

    function = "batch_desk"
    title = "One batch: who gets a triplet?"
    size = (7.6, 6.3)

    def __init__(
        self, run: Run, photographs: Any, rho: float = RHO.default, kappa: int = KAPPA.default,
        level: str = LEVEL.default, composition: str = "plain", batch: int = 1, picture: int | None = None,
    ):  # fmt: skip
        self.run, self.photographs = _checked(run), photographs
        self.batches = _batches(photographs, run)
        self.size_of = len(next(iter(self.batches.values()))[0])
        self.columns = math.ceil(math.sqrt(self.size_of))
        names = tuple(self.batches)
        many = min(len(rows) for rows in self.batches.values())
        settings = {
            "composition": Setting(names[0], choices=names, meaning="how the batch is drawn"),
            "batch": Setting(1, 1, many, meaning="which of the first batches"),
        }
        composition = settings["composition"].check("composition", composition)
        batch = settings["batch"].check("batch", batch)
        rho, kappa, level = RHO.check("rho", rho), KAPPA.check("kappa", kappa), LEVEL.check("level", level)
        first = int(self._mined(composition, batch, level, rho, kappa)[4].triplets.argmax()) + 1
        settings["picture"] = Setting(first, 1, self.size_of, meaning="the chosen picture, from the top left")
        super().__init__({
            "rho": Number("rho", RHO, rho, steps=50),
            "level": Choice("level", LEVEL, level),
            "batch": Number("batch", settings["batch"], batch),
            "kappa": Number("kappa", KAPPA, kappa),
            "composition": Choice("composition", settings["composition"], composition, titles=DRAWN),
            "picture": Number("picture", settings["picture"], first if picture is None else picture),
        })  # fmt: skip
        self.screen.on_click(self._clicked)

    # ------------------------------------------------------------------------------------------------- the numbers
    @functools.lru_cache(16)  # noqa: B019  (a handful of batches, which go with the explorer)
    def _laid(self, composition: str, batch: int) -> tuple[np.ndarray, ...]:
        """Numbers, targets, features and logits of a batch, the smallest class first, and its pictures."""
        numbers = self.batches[composition][batch - 1]
        targets = self.run.train_targets[numbers]
        sizes = np.bincount(targets, minlength=self.run.k)
        order = np.lexsort((targets, sizes[targets]))
        numbers, targets = numbers[order], targets[order]
        features = self.run.train_features[numbers].astype(np.float64)
        bias = 0.0 if self.run.head_bias is None else self.run.head_bias
        logits = features @ self.run.head_weight.astype(np.float64).T + bias
        places = [divmod(i, self.columns) for i in range(len(numbers))]
        rows = -(-len(numbers) // self.columns)
        return numbers, targets, features, logits, mosaic(self.photographs.of(numbers), places, rows, self.columns)

    def _mined(self, composition: str, batch: int, level: str, rho: float, kappa: int) -> tuple[Any, ...]:
        numbers, targets, features, logits, _ = self._laid(composition, batch)
        found = metrics.mine(logits, features, targets, level=level, rho=rho, kappa=kappa, margin=MARGIN, bins=BINS)
        return numbers, targets, features, logits, found

    def compute(self, rho: float, kappa: int, level: str, composition: str, batch: int, picture: int) -> Desk:
        numbers, targets, _, logits, mined = self._mined(composition, batch, level, rho, kappa)
        ascending = np.argsort(mined.sizes, kind="stable")
        ends = mined.sizes[ascending].cumsum() / len(numbers)
        p = metrics.probabilities(logits)
        return Desk(composition, batch, level, rho, kappa, picture - 1, numbers, targets, p, ascending, ends, mined)

    # ------------------------------------------------------------------------------------------------- the picture
    def build(self, surface: Surface) -> None:
        wide, high = 100 * self.size[0], 100 * self.size[1]

        def place(left: float, top: float, right: float, bottom: float) -> Axes:
            box = (left / wide, 1 - bottom / high, (right - left) / wide, (bottom - top) / high)
            return surface.figure.add_axes(box)

        self.desk, self.profile = place(8, 26, 432, 450), place(544, 26, 738, 405)
        self._build_desk(self.desk)
        self._build_profile(self.profile)
        self.comparisons = Comparisons([place(left, 522, left + 222, 588) for left in (16, 266, 516)])
        # The photographs and the profile's names change only with the batch: they belong to the background.
        self._shown: tuple[str, int] | None = None
        moving = (self.veil, self.frames, *self.links, *self.bars, *self.sums, self.limit)
        surface.animate(*moving, *self.comparisons.artists)

    def _build_desk(self, ax: Axes) -> None:
        rows, columns = -(-self.size_of // self.columns), self.columns
        ax.grid(False)
        ax.axis("off")
        blank = np.zeros((2, 2, 4), np.uint8)
        extent = (-0.5, columns - 0.5, rows - 0.5, -0.5)
        self.pictures = ax.imshow(blank, extent=extent, aspect="auto", interpolation="nearest", zorder=2, gid=PHOTO)
        ax.set(xlim=(-0.53, columns - 0.47), ylim=(rows - 0.47, -0.53))
        ax.set_title("The batch, its smallest class first", fontsize=10, loc="left", pad=5)
        self.at = np.array([divmod(i, columns)[::-1] for i in range(self.size_of)], float)
        corner = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]])
        self.veil = PolyCollection(self.at[:, None] + corner[:4] * FULL, linewidths=0, zorder=2.5)
        self.frames = LineCollection(self.at[:, None] + corner * 0.45, joinstyle="miter", capstyle="butt", zorder=3)
        self.links = [
            LineCollection([], colors=colour, linewidths=1.6, linestyles=style, zorder=4)
            for colour, style in ((NEAR, "-"), (FAR, (0, (3, 1.5))))
        ]
        for one in (self.veil, self.frames, *self.links):
            ax.add_collection(one, autolim=False)
        told = {
            "chosen picture": {"color": INK, "linewidth": 3},
            "its hard positives": {"color": NEAR, "linewidth": 2.2},
            "its hard negatives": {"color": FAR, "linewidth": 2.2, "linestyle": (0, (2, 1))},
            "minority, with a pair": {"color": MINOR, "linewidth": 1.8},
            "minority, but alone": {"color": ALONE, "linewidth": 1.8, "linestyle": (0, (1, 1))},
        }
        handles = [Line2D([], [], label=label, **kind) for label, kind in told.items()]
        place = {"loc": "upper left", "bbox_to_anchor": (-0.01, -0.002), "ncols": 3, "frameon": False}
        ax.legend(handles=handles, fontsize=9.5, columnspacing=1.1, handlelength=1.7, labelspacing=0.25, **place)

    def _build_profile(self, ax: Axes) -> None:
        k = self.run.k
        ax.set(xlim=(0, 1), ylim=(k - 0.45, -0.6), yticks=[], xlabel="share of the batch, added up")
        ax.xaxis.label.set_size(9.5)
        ax.set_xticks([0, 0.25, 0.5, 0.75, 1])
        percent(ax.xaxis)
        ax.tick_params(labelsize=9)
        ax.grid(True, axis="x", color="#E3E6EA")
        ax.set_title("Its profile: images of each class", fontsize=10, x=-0.52, ha="left", pad=5)
        self.bars = list(ax.barh(range(k), np.zeros(k), height=0.66, zorder=2))
        text = {"fontsize": 9.5, "va": "center", "color": INK, "clip_on": False, **literal()}
        self.names = [ax.text(-0.03, y, "", ha="right", **text) for y in range(k)]
        self.sums = [ax.text(0, y, "", zorder=4, **text) for y in range(k)]
        self.limit = ax.axvline(0, color=INK, linewidth=1.6, zorder=3)

    def draw(self, result: Desk) -> None:
        if self._shown != (result.composition, result.batch):
            self._shown = result.composition, result.batch
            self.pictures.set_data(self._laid(*self._shown)[4])
            for text, j in zip(self.names, result.ascending, strict=True):
                text.set_text(f"{short(self.run.class_names[j], 12)}  {result.mined.sizes[j]}")
        self._draw_frames(result)
        at, here = self.at, self.at[result.picture]
        for links, found in zip(self.links, (result.positives, result.negatives), strict=True):
            links.set_segments([_between(here, at[i]) for i in found])
        self._draw_profile(result)
        self.limit.set_xdata([result.rho, result.rho])
        self.comparisons.draw(result.mined)

    def _draw_frames(self, result: Desk) -> None:
        n, mined = len(result.targets), result.mined
        small = np.zeros(len(mined.sizes), bool)
        small[result.ascending] = result.ends <= result.rho + 1e-12
        alone = (small & (mined.sizes < 2))[result.targets]
        colours, widths = np.full(n, "none", object), np.zeros(n)
        styles: list[Any] = ["-"] * n
        for which, colour, width, style in (
            (np.flatnonzero(alone), ALONE, 1.8, (0, (1, 1))),
            (np.flatnonzero(mined.anchors), MINOR, 1.8, "-"),
            (result.negatives, FAR, 2.6, (0, (2, 1))),
            (result.positives, NEAR, 2.6, "-"),
            ([result.picture], INK, 3.6, "-"),
        ):
            for i in which:
                colours[i], widths[i], styles[i] = colour, width, style
        self.frames.set(colors=list(colours), linewidths=widths, linestyles=styles)
        self.veil.set_facecolor([VEIL if colour == "none" else "none" for colour in colours])

    def _draw_profile(self, result: Desk) -> None:
        starts = np.concatenate([[0.0], result.ends[:-1]])
        for y, (j, start, end) in enumerate(zip(result.ascending, starts, result.ends, strict=True)):
            inside = end <= result.rho + 1e-12
            self.bars[y].set_x(start)
            self.bars[y].set_width(end - start)
            self.bars[y].set_facecolor(MINOR if result.mined.minority[j] else ALONE if inside else "#C9CED6")
            left = end < 0.72
            said = "" if result.mined.minority[j] else "no pair" if inside else ""
            self.sums[y].set(text=said, x=end + 0.02 if left else start - 0.02, ha="left" if left else "right")

    def say(self, result: Desk) -> str:
        mined, names = result.mined, self.run.class_names
        some = [names[j] for j in result.ascending if mined.minority[j]]
        paired = f"minority classes with a pair: {', '.join(some)}" if some else "no minority class has a pair"
        j, i = result.targets[result.picture], result.picture
        chosen = f"Picture {i + 1} ({names[j]}, p = {as_percent(result.p[i, j])})"
        mine = int(mined.triplets[i])
        hard = (f"hard {side} {_listed(found + 1)}" for side, found in (("positives", result.positives),
                                                                        ("negatives", result.negatives)))  # fmt: skip
        told = f"{chosen}: {mine} triplets, {', '.join(hard)}." if mine else f"{chosen} is no anchor."
        losses = ", ".join(f"{name} {value:.3f}" for name, value in mined.loss.items())
        return (
            f"Batch {result.batch}, {DRAWN.get(result.composition, result.composition)}, ρ = {result.rho:g}: {paired}. "
            f"{int(mined.anchors.sum())} anchors, {int(mined.triplets.sum()):,} triplets with κ = {result.kappa} at "
            f"{result.level} level. {told}" + (f" Losses: {losses}." if some else "")
        )

    # ------------------------------------------------------------------------------------------------- pointing
    def regions(self) -> list[Region]:
        rows = -(-self.size_of // self.columns)
        desk = replace(Region.of(self.profile), box=self._box, name="batch", percent="", cells=True, xname="column",
                       yname="row", x=(-0.53, self.columns - 0.47), y=(rows - 0.47, -0.53))  # fmt: skip
        slots = tuple(text.get_text() for text in self.names)
        named = {"xname": "share", "yname": "class", "ynames": slots, "percent": "x"}
        return [desk, Region.of(self.profile, "profile", **named)]

    @property
    def _box(self) -> tuple[float, float, float, float]:
        """Where the desk lies: (left, top, right, bottom), fractions of the picture."""
        place = self.desk.bbox.transformed(self.desk.figure.transFigure.inverted())
        return float(place.x0), float(1 - place.y1), float(place.x1), float(1 - place.y0)

    def _framed(self, result: Desk) -> Frame:
        """The photographs keep their colours on a dark page."""
        return replace(super()._framed(result), photos=self._places)

    @functools.cached_property
    def _places(self) -> list[tuple[float, float, float, float]]:
        left, top, right, bottom = self._box
        rows = -(-self.size_of // self.columns)
        wide, high = (right - left) / (self.columns + 0.06), (bottom - top) / (rows + 0.06)
        return [
            (left + wide * (x + 0.53 - FULL), top + high * (y + 0.53 - FULL),
             left + wide * (x + 0.53 + FULL), top + high * (y + 0.53 + FULL))
            for x, y in self.at.tolist()
        ]  # fmt: skip

    def marks(self, result: Desk) -> list[Point]:
        mined, names, points = result.mined, self.run.class_names, []
        answered, triplets = result.p.argmax(1), mined.triplets
        for i, (x, y) in enumerate(self.at.tolist()):
            j = result.targets[i]
            role = f"anchor of {triplets[i]} triplets" if mined.anchors[i] else "no anchor"
            told = f"{i + 1}: {names[j]}, p = {as_percent(result.p[i, j])}, answered {names[answered[i]]}\n{role}"
            points.append(Point(x, y, told, DESK))
        for y, (j, end) in enumerate(zip(result.ascending, result.ends, strict=True)):
            points.append(Point(end, y, f"{names[j]}: {mined.sizes[j]} images; up to here {as_percent(end)}", PROFILE))
        return points

    def handles(self, result: Desk) -> list[Handle]:
        return [Handle("rho", result.rho, len(result.ends) - 0.6, "ρ", "x", (RHO.low, RHO.high), region=PROFILE)]

    def _clicked(self, event: Click) -> None:
        """A click on a picture chooses it."""
        if event.region == DESK:
            column = min(max(round(event.x), 0), self.columns - 1)
            place = max(round(event.y), 0) * self.columns + column
            if place < self.size_of:
                self.set(picture=place + 1)

    # ------------------------------------------------------------------------------------------------- as code
    def data_code(self) -> list[str]:
        return [name_of(self.run) or "run", name_of(self.photographs) or "lt.study.batch_photographs()"]


def _listed(numbers: np.ndarray) -> str:
    """The numbers of some pictures, hardest first; of many the first few."""
    some = [str(i) for i in numbers[:5]]
    rest = [f"{len(numbers) - 5} more"] if len(numbers) > 5 else []
    *before, last = [*some, *rest]
    return f"{', '.join(before)} and {last}" if before else last


def _between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The line from one picture to another, without what would lie on the first; a point where they are the same."""
    length = max(float(np.hypot(*(b - a))), 1e-9)
    return np.array([a + (b - a) * min(0.45 / length, 0.45), b])


def _checked(run: Any) -> Run:
    check.instance("run", run, Run, "a run, from lt.train, lt.load_run or lt.recorded")
    run.gallery()  # says what is missing
    linear = run.scale is None and run.head_weight is not None
    if not linear or run.head_weight.shape[1] != run.train_features.shape[1] or run.k > CLASSES:
        raise check.refuse("run", run.name, f"a run with a linear classifier and at most {CLASSES} classes")
    return run


def _batches(photographs: Any, run: Run) -> Mapping[str, np.ndarray]:
    """The batches of the photographs, each of training images of the run."""
    expected = "photographs with .of(numbers) and .batches, as lt.study.batch_photographs() gives"
    found = getattr(photographs, "batches", None)
    if not isinstance(found, Mapping) or not found or not callable(getattr(photographs, "of", None)):
        raise check.refuse("photographs", photographs, expected)
    sizes = set()
    for name, rows in found.items():
        if not isinstance(rows, np.ndarray) or rows.dtype != np.int64 or rows.ndim != 2 or not rows.size:
            raise check.refuse(f"photographs.batches[{name!r}]", rows, "numbers of training images (b, n), int64")
        if rows.min() < 0 or rows.max() >= len(run.train_targets):
            raise check.refuse("photographs", int(rows.max()), f"training images of the run, {len(run.train_targets)}")
        sizes.add(rows.shape[1])
    if len(sizes) > 1 or max(sizes) > PICTURES or min(sizes) < 2:
        raise check.refuse("photographs", sorted(sizes), f"batches of one size, from 2 to {PICTURES} pictures")
    return found


def batch_desk(
    run: Run,
    photographs: Any,
    *,
    rho: float = RHO.default,
    kappa: int = KAPPA.default,
    level: str = LEVEL.default,
    composition: str = "plain",
    batch: int = 1,
    picture: int | None = None,
) -> BatchDesk:
    """The pictures of one batch: who is in the minority, who has a pair, and what class rectification compares.

    run: a network whose record keeps the features of its training images. photographs: of batches of these images, as
    `lt.study.batch_photographs()` gives: .of(numbers) -> pictures, .batches: composition -> (b, n) numbers. rho in
    [0, 1]: the largest share of the batch that its minority classes hold together. kappa, 1 to 20: hard positives, and
    hard negatives, of an anchor. level: hard by class probability ("class") or by distance of features ("instance").
    composition, batch: which batch. picture: the chosen one, from 1 on; None: the first with the most triplets.
    A click on a picture chooses it. Source: Dong et al. 2017. ValueError for anything else.
    """
    return BatchDesk(run, photographs, rho, kappa, level, composition, batch, picture)
