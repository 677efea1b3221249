"""Explorer: many attributes at once: how well each method recognises them, and who is their minority in a batch."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from .. import metrics
from ..attributes import plain, recorded
from ..datasets import digits_attributes
from ..metrics.triplets import LEVELS, Mined
from ..objective import Setting
from ..plots.confusion import SHARE, number_colour
from ..plots.examples import mosaic
from ..plots.picture import INK, PALETTE, QUIET, as_percent
from ..plots.surface import Pixels, Surface
from ..plots.text import literal
from ..samplers import SAMPLERS
from ..training.build import make_generators
from .base import Explorer
from .controls import Choice, Number
from .frames import Handle, Point, Region
from .screen import Click

ACROSS, BATCHES, KAPPA, SHOWN = 8, 6, 10, 3  # pictures in a row; batches; hard pairs of an anchor, and those drawn
GRID, PROFILE, BATCH = range(3)  # the regions of the picture
MEAN = 0.45  # rows between the attributes and their mean
NEAR, FAR, MINOR, ALONE, LARGE = PALETTE[0], "#CC3434", PALETTE[2], "#8A8F98", "#C9CED6"
VEIL = (1.0, 1.0, 1.0, 0.62)  # over a picture of the larger value
CRL = {level: f"CRL ({level} level)" for level in LEVELS}  # the row of the recorded table
ROWS = {name: name for name in ("CE", "DeepID2", "LMLE", "MTCT")} | {"CRL": None} | {
    name: name for name in ("Class-balanced", "Logit adjustment")
}  # fmt: skip
RHO = Setting(0.5, 0.0, 0.5, symbol="ρ", meaning="largest share of the batch that a minority value may have (the "
              "paper's symbol; not the imbalance ratio)")  # fmt: skip
LEVEL = Setting("class", choices=LEVELS, meaning="CRL finds hard pairs by probability, or by distance of features")
BATCH_SETTING = Setting(1, 1, BATCHES, meaning="which of the first batches of the plain network")
METHOD = Setting("CE", choices=tuple(ROWS), meaning="the column whose numbers are told below")


@dataclass(frozen=True)
class Cell:
    """One attribute under one method, and its minority in one batch.

    seeds (s,): balanced accuracy of each; gain: against cross-entropy, None for cross-entropy itself. targets (n,): the
    value of each picture, `mined` what CRL finds among them. sizes (a,): pictures of the rarer value of each attribute
    in the batch, minority (a,): whether CRL rectifies it. picture: place of the chosen anchor, None without one.
    """

    attribute: int
    method: str
    level: str
    rho: float
    batch: int
    seeds: np.ndarray
    gain: Any
    targets: np.ndarray
    p: np.ndarray
    mined: Mined
    sizes: np.ndarray
    minority: np.ndarray
    picture: int | None

    @property
    def hard(self) -> tuple[np.ndarray, np.ndarray]:
        """Places of the hardest positives and negatives of the chosen picture."""
        if self.picture is None:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        i, mined = self.picture, self.mined
        return (mined.positives[i][mined.has_positive[i]][:SHOWN], mined.negatives[i][mined.has_negative[i]][:SHOWN])


class Grid:
    """Mean balanced accuracy of each attribute under each method, and the mean of all attributes; for each level."""

    def __init__(self, axes: dict[str, Axes], scores: dict[str, list[np.ndarray]], labels: list[str]):
        self.axes, self.first = axes, axes[LEVELS[0]]
        for level, ax in axes.items():
            self._fill(ax, np.array([one.mean(0) for one in scores[level]]).T, labels, level)
        # What moves is drawn over either.
        self.here = Rectangle((0, 0), 1, 1, fill=False, edgecolor=INK, linewidth=2.4, zorder=5)
        self.line = Line2D([-0.56, -0.56], [0, 0], color=INK, linewidth=3, clip_on=False, zorder=5)
        self.first.add_patch(self.here)
        self.first.add_line(self.line)

    def _fill(self, ax: Axes, shares: np.ndarray, labels: list[str], level: str) -> None:
        places = np.append(np.arange(len(shares)), len(shares) + MEAN)
        for row, y in zip(np.vstack([shares, shares.mean(0)]), places, strict=True):
            for x, value in enumerate(row):
                shade = max(2 * value - 1, 0.0)  # white: 50%, which always one answer gives
                ax.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=SHARE(shade), edgecolor="#EEF0F6"))
                look = {"fontsize": 9.5, "color": number_colour(shade)}
                ax.text(x, y, f"{100 * value:.0f}", ha="center", va="center", **look)
        ax.set(xlim=(-0.5, len(ROWS) - 0.5), ylim=(places[-1] + 0.5, -0.5))
        ax.grid(False)
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0)
        ax.set_yticks(places, [*labels, "mean of all"], fontsize=9.5, **literal())
        ax.xaxis.tick_top()
        turned = {"rotation": 40, "ha": "left", "rotation_mode": "anchor"}
        names = [f"CRL, {level}" if ROWS[name] is None else name for name in ROWS]
        ax.set_xticks(range(len(ROWS)), names, fontsize=9.5, **turned, **literal())
        ax.text(-0.62, -1.0, "attribute, imbalance", fontsize=9.5, ha="right", va="center", color=QUIET)

    def mark(self, attribute: int, method: str) -> None:
        """Frame one cell."""
        self.here.set_xy((list(ROWS).index(method) - 0.5, attribute - 0.5))
        self.line.set_ydata([attribute - 0.4, attribute + 0.4])


class AttributeGrid(Explorer):
    """Attributes by methods over imbalance, and beside them a batch with the minority of the chosen attribute."""

    function = "attributes"
    title = "Many attributes at once"
    size = (7.6, 4.9)

    def __init__(
        self, attribute: str | None = None, rho: float = RHO.default, level: str = LEVEL.default,
        method: str = METHOD.default, batch: int = 1, picture: int = 0,
    ):  # fmt: skip
        self.data, self.run, self.table = digits_attributes(seed=0), plain(), recorded()
        self.batches = first_batches(self.data, self.run)
        usual = self.table[self.table["row"] == "CE"].groupby("attribute")["imbalance"].mean()
        self.order = sorted(range(self.data.a), key=lambda j: usual[self.data.names[j]])
        self.names = tuple(self.data.names[j] for j in self.order)
        self.imbalance = np.array([usual[name] for name in self.names])
        self.spelled = [self.data.values[j] for j in self.order]
        settings = {
            "attribute": Setting("two loops", choices=self.names, meaning="whose minority is marked in the batch"),
            "picture": Setting(0, 0, self.batches.shape[1], meaning="the anchor, from the top left; 0: the first one"),
        }
        super().__init__({
            "rho": Number("rho", RHO, rho, steps=50),
            "attribute": Choice("attribute", settings["attribute"], "two loops" if attribute is None else attribute),
            "level": Choice("level", LEVEL, level),
            "method": Choice("method", METHOD, method),
            "batch": Number("batch", BATCH_SETTING, batch),
            "picture": Number("picture", settings["picture"], picture),
        })  # fmt: skip
        self.screen.on_click(self._clicked)

    # ------------------------------------------------------------------------------------------------- the numbers
    def scores(self, method: str, level: str) -> np.ndarray:
        """Balanced accuracy (seeds, a) of a column, as it was recorded."""
        return self._scores[CRL[level] if ROWS[method] is None else ROWS[method]]

    @functools.cached_property
    def _scores(self) -> dict[str, np.ndarray]:
        wide = {row: part.pivot(index="seed", columns="attribute", values="balanced") for row, part in
                self.table.groupby("row")}  # fmt: skip
        return {row: part[list(self.names)].to_numpy() for row, part in wide.items()}

    @functools.lru_cache(BATCHES)  # noqa: B019  (a handful of batches, which go with the explorer)
    def _said(self, batch: int) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        """Targets (n, a), in order of imbalance, features and logits of a batch by the plain network."""
        rows = torch.from_numpy(self.batches[batch - 1])
        features, logits = self.run.answers(self.data.batch(rows))
        return self.data.targets[rows].numpy()[:, self.order], features, [logits[j] for j in self.order]

    def compute(self, attribute: str, rho: float, level: str, method: str, batch: int, picture: int) -> Cell:
        j = self.names.index(attribute)
        targets, features, logits = self._said(batch)
        found = metrics.mine(logits[j], features, targets[:, j], level=level, rho=rho, kappa=KAPPA)
        sizes = np.array([np.bincount(column, minlength=2).min() for column in targets.T])
        small = [bool(metrics.triplets_by_class(column, 2, rho=rho).any()) for column in targets.T]
        seeds, base = self.scores(method, level)[:, j], self.scores("CE", level)[:, j]
        anchors = np.flatnonzero(found.anchors)
        chosen = picture - 1 if picture and found.anchors[picture - 1] else int(anchors[0]) if len(anchors) else None
        gain = None if method == "CE" else metrics.paired(seeds, base)
        p = metrics.probabilities(logits[j])
        return Cell(j, method, level, rho, batch, seeds, gain, targets[:, j], p, found, sizes, np.array(small), chosen)

    # ------------------------------------------------------------------------------------------------- the picture
    def build(self, surface: Surface) -> None:
        wide, high = 100 * self.size[0], 100 * self.size[1]

        def place(left: float, top: float, right: float, bottom: float) -> Axes:
            box = (left / wide, 1 - bottom / high, (right - left) / wide, (bottom - top) / high)
            return surface.figure.add_axes(box)

        labels = [f"{name}  {ratio(one)}" for name, one in zip(self.names, self.imbalance, strict=True)]
        scores = {level: [self.scores(name, level) for name in ROWS] for level in LEVELS}
        self.grid = Grid({level: place(180, 88, 454, 424) for level in LEVELS}, scores, labels)
        self.profile = place(463, 88, 531, 424)
        self._build_profile(self.profile)
        self.desk = place(562, 40, 754, 424)
        self._build_desk(self.desk)
        self.shown = surface.show
        moving = (self.pictures, self.veil, self.frames, *self.links, *self.bars, *self.counts, self.limit)
        surface.animate(*moving, self.grid.here, self.grid.line, self.told)

    def _build_profile(self, ax: Axes) -> None:
        """Share of the batch that has the rarer value of each attribute, and rho."""
        a = len(self.names)
        ax.set(xlim=(0, 0.56), ylim=(a + MEAN + 0.5, -0.5), yticks=[])
        ax.set_xticks([0, 0.25, 0.5], ["0", "", "50%"])  # a name for each would touch its neighbour
        ax.tick_params(labelsize=9)
        ax.grid(False)
        ax.set_xlabel("rarer value, in the batch", fontsize=9.5, labelpad=2)
        self.bars = list(ax.barh(range(a), np.zeros(a), height=0.62, zorder=2))
        write = {"fontsize": 9.5, "va": "center", "ha": "right", "color": INK, "clip_on": False}
        self.counts = [ax.text(0.73, y, "", **write) for y in range(a)]
        self.limit = ax.axvline(0, color=INK, linewidth=1.6, zorder=3)

    def _build_desk(self, ax: Axes) -> None:
        n = self.batches.shape[1]
        rows = -(-n // ACROSS)
        ax.axis("off")
        ax.grid(False)
        self.pictures = Pixels(ax, np.zeros((2, 2, 4), np.uint8), (-0.5, ACROSS - 0.5, rows - 0.5, -0.5))
        ax.set(xlim=(-0.55, ACROSS - 0.45), ylim=(rows - 0.45, -0.55))
        self.at = np.array([divmod(i, ACROSS)[::-1] for i in range(n)], float)
        corner = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]])
        self.veil = PolyCollection(self.at[:, None] + corner[:4] * 0.5, linewidths=0, zorder=2.5)
        self.frames = LineCollection(self.at[:, None] + corner * 0.45, joinstyle="miter", capstyle="butt", zorder=3)
        self.links = [
            LineCollection([], colors=colour, linewidths=1.6, linestyles=style, zorder=4)
            for colour, style in ((NEAR, "-"), (FAR, (0, (3, 1.5))))
        ]
        for one in (self.veil, self.frames, *self.links):
            ax.add_collection(one, autolim=False)
        write = {"fontsize": 9.5, "color": INK, "va": "bottom", "transform": ax.transAxes}
        self.told = ax.text(0.0, 1.015, "", **write, **literal())
        told = {
            "anchor": {"color": INK, "linewidth": 3}, "hard positives": {"color": NEAR, "linewidth": 2.2},
            "hard negatives": {"color": FAR, "linewidth": 2.2, "linestyle": (0, (2, 1))},
            "minority": {"color": MINOR, "linewidth": 1.8},
            "rarer value, no anchor": {"color": ALONE, "linewidth": 1.8, "linestyle": (0, (1, 1))},
        }  # fmt: skip
        handles = [Line2D([], [], label=label, **kind) for label, kind in told.items()]
        ax.legend(handles=handles, fontsize=9.5, loc="upper right", bbox_to_anchor=(1.01, -0.115), ncols=5,
                  frameon=False, columnspacing=1.2, handlelength=1.7)  # fmt: skip

    def draw(self, result: Cell) -> None:
        for level, ax in self.grid.axes.items():
            self.shown(ax, level == result.level)
        self.grid.mark(result.attribute, result.method)
        n = len(result.targets)
        inks = 255 - self.data.images[self.batches[result.batch - 1]].numpy().transpose(0, 2, 3, 1)
        places = [divmod(i, ACROSS) for i in range(n)]
        self.pictures.set_data(mosaic(inks, places, -(-n // ACROSS), ACROSS))
        for y, (bar, text, size) in enumerate(zip(self.bars, self.counts, result.sizes, strict=True)):
            bar.set_width(size / n)
            inside = size / n <= result.rho + 1e-12
            bar.set_facecolor(MINOR if result.minority[y] else ALONE if inside else LARGE)
            text.set_text(str(size))
        self.limit.set_xdata([result.rho, result.rho])
        self._draw_frames(result)
        names, sizes = self.spelled[result.attribute], result.mined.sizes
        self.told.set_text(", ".join(f"{size} {name}" for name, size in zip(names, sizes, strict=True)))

    def _draw_frames(self, result: Cell) -> None:
        n, mined = len(result.targets), result.mined
        rarer = result.targets == int(mined.sizes.argmin())
        colours, widths = np.full(n, "none", object), np.zeros(n)
        styles: list[Any] = ["-"] * n
        positives, negatives = result.hard
        here = [] if result.picture is None else [result.picture]
        for which, colour, width, style in (
            (np.flatnonzero(rarer), ALONE, 1.6, (0, (1, 1))), (np.flatnonzero(mined.anchors), MINOR, 1.8, "-"),
            (negatives, FAR, 2.2, (0, (2, 1))), (positives, NEAR, 2.2, "-"), (here, INK, 3.0, "-"),
        ):  # fmt: skip
            for i in which:
                colours[i], widths[i], styles[i] = colour, width, style
        self.frames.set(colors=list(colours), linewidths=widths, linestyles=styles)
        self.veil.set_facecolor([VEIL if colour == "none" else "none" for colour in colours])
        for links, found in zip(self.links, result.hard, strict=True):
            links.set_segments([_between(self.at[result.picture], self.at[i]) for i in found])

    def say(self, result: Cell) -> str:
        j, mined, names = result.attribute, result.mined, self.spelled[result.attribute]
        method = CRL[result.level] if ROWS[result.method] is None else result.method
        own = metrics.paired(result.seeds, np.zeros(len(result.seeds)))
        gain = result.gain
        beside = "" if gain is None else (
            f", {100 * gain.mean:+.1f} ± {100 * gain.half:.1f} points against CE ({gain.verdict})"
        )  # fmt: skip
        rare, small = names[int(mined.sizes.argmin())], int(mined.sizes.min())
        said = (
            f"{self.names[j]} ({ratio(self.imbalance[j])}), {method}: balanced accuracy {as_percent(own.mean)} ± "
            f"{100 * own.half:.1f}, {len(result.seeds)} seeds{beside}. Batch {result.batch}: {small} of "
            f"{len(result.targets)} are “{rare}”, with ρ = {result.rho:g} "
        )
        several = " and ".join(f"“{name}”" for name, inside in zip(names, mined.minority, strict=True) if inside)
        if result.picture is None:
            return said + f"{'alone: no pair' if small == 1 and result.rho > 1 / len(result.targets) else 'left out'}."
        i = result.picture
        own, p = names[result.targets[i]], as_percent(result.p[i, result.targets[i]])
        return said + (
            f"rectified ({several}): {int(mined.anchors.sum())} anchors, {int(mined.triplets.sum()):,} triplets with "
            f"κ = {KAPPA} at {result.level} level. Anchor: picture {i + 1}, probability of “{own}” {p}; hard positives "
            f"{_listed(result.hard[0] + 1)}, negatives {_listed(result.hard[1] + 1)}."
        )

    # ------------------------------------------------------------------------------------------------- pointing
    def regions(self) -> list[Region]:
        columns, places = tuple(ROWS), {"cells": True, "xname": "column", "yname": "row"}
        grid = Region.of(self.grid.first, "grid", xname="method", yname="attribute", xnames=columns,
                         ynames=self.names, cells=True)  # fmt: skip
        profile = Region.of(self.profile, "profile", xname="share", yname="attribute", percent="x", ynames=self.names)
        return [grid, profile, Region.of(self.desk, "batch", **places)]

    def marks(self, result: Cell) -> list[Point]:
        points = []
        for x, method in enumerate(ROWS):
            for y, value in enumerate(self.scores(method, result.level).mean(0)):
                points.append(Point(x, y, f"{self.names[y]}, {method}: {as_percent(value)}\nclick to choose", GRID))
        n = len(result.targets)
        for y, (size, inside) in enumerate(zip(result.sizes, result.minority, strict=True)):
            role = "rectified" if inside else "left out"
            points.append(Point(size / n, y, f"{self.names[y]}: {size} of {n}, {role}", PROFILE))
        names = self.spelled[result.attribute]
        for i, (x, y) in enumerate(self.at.tolist()):
            p = result.p[i, result.targets[i]]
            role = f"anchor of {result.mined.triplets[i]} triplets" if result.mined.anchors[i] else "no anchor"
            told = f"{i + 1}: {names[result.targets[i]]}, its probability {as_percent(p)}\n{role}"
            points.append(Point(x, y, told, BATCH))
        return points

    def handles(self, result: Cell) -> list[Handle]:
        return [
            Handle(
                "rho", result.rho, len(self.names) - 0.2, "ρ line in the bars", "x", (RHO.low, RHO.high), region=PROFILE
            )
        ]

    def _clicked(self, event: Click) -> None:
        """A click on a cell chooses attribute and method, one on an anchor chooses that picture."""
        column, row = round(event.x), round(event.y)
        if event.region == GRID and 0 <= column < len(ROWS) and 0 <= row < len(self.names):
            self.set(attribute=self.names[row], method=list(ROWS)[column])
        if event.region == BATCH and 0 <= column < ACROSS and 0 <= row * ACROSS + column < self.batches.shape[1]:
            self.set(picture=row * ACROSS + column + 1)


def first_batches(data: Any, run: Any) -> np.ndarray:
    """Training images (BATCHES, n) of the first batches that the recorded network saw."""
    size, order = run.recipe["batch_size"], make_generators(run.seed, torch.device("cpu"))["order"]
    found = SAMPLERS["instance"](torch.zeros(len(data), dtype=torch.int64), size, 0.0, order)
    return torch.stack(list(found)[:BATCHES]).numpy()


def ratio(value: float) -> str:
    """An imbalance in words."""
    return f"{value:.1f} : 1" if value < 9.95 else f"{value:.0f} : 1"


def _listed(numbers: np.ndarray) -> str:
    return ", ".join(map(str, numbers)) or "none"


def _between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The line from one picture to another, without what would lie on the first."""
    length = max(float(np.hypot(*(b - a))), 1e-9)
    return np.array([a + (b - a) * min(0.45 / length, 0.45), b])


def attributes(
    attribute: str | None = None,
    *,
    rho: float = RHO.default,
    level: str = LEVEL.default,
    method: str = METHOD.default,
    batch: int = 1,
    picture: int = 0,
) -> AttributeGrid:
    """Twelve attributes of the digits under seven methods, and the minority of each attribute in one batch.

    The numbers are class-balanced accuracies of the recorded runs, means over their seeds (`attributes.recorded`). The
    pictures are batches of the plain network of seed 0, with the hard pairs that class rectification finds among them.
    attribute: one of digits_attributes(); None: "two loops". rho, 0 to .5: the largest share of the batch that a
    minority value may have. level: CRL's hard pairs by probability of the value ("class"), or by distance of features
    ("instance"). method: the chosen column. batch: 1 to 6. picture: the chosen anchor, from 1; 0, or a picture that is
    no anchor: the first one. A click on a cell or on a picture chooses it. ValueError for anything else.
    Source: Dong et al. 2017.
    """
    return AttributeGrid(attribute, rho, level, method, batch, picture)
