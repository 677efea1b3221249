"""Explorer: the features of a network in the plane, its classifier vectors, and what every class does to each."""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from .. import check, metrics
from ..datasets import LongTailed, digits_lt
from ..objective import Setting
from ..plots.classes import drawn_groups
from ..plots.picture import DASHES, EDGE, GROUP_COLOURS, INK, QUIET, as_percent, number
from ..plots.surface import Pixels, Surface
from ..plots.text import short
from ..training.recipe import RECIPES
from ..training.snapshots import Snapshots, take_snapshots
from .base import Explorer
from .controls import Choice, Number
from .frames import Handle, Point, Region
from .notebook import name_of
from .screen import Click

EPOCHS = 100
RATES = {"sgd": 0.03, "adam": 0.003}  # learning rate of each optimiser
GROUPS = {"head": "frequent", "mid": "middle", "tail": "rare", "all": "all"}
LONGEST, ARROW, FIELD = 0.92, 0.55, 1.32  # in the plane: longest vector, longest arrow, half the side
EDGE_ROOM = 0.07  # of an arrow's head
GRID = 96  # places a side at which the decision is drawn
PALE = 0.2  # of a class's colour in its region
PLANE, COURSE, FORCES = range(3)  # the regions of the picture
MOST = 20  # classes
# From the most frequent class to the rarest. Of middle lightness throughout: legible on white, and on a dark page,
# where lightness is turned over.
RAMP = LinearSegmentedColormap.from_list("classes", ["#3f51c7", "#8a3fb5", "#b83a86", "#c24a3a", "#a86a00"])


RULES = {  # (equal lengths, log prior subtracted)
    (False, False): "as trained",
    (True, False): "equal lengths",
    (False, True): "log prior subtracted",
    (True, True): "both rules",
}


@dataclass(frozen=True)
class Tug:
    """One epoch under the switches. unit: length of a feature that is drawn at 1.

    regions (GRID, GRID)    decided class; points (m, 2): training features / unit
    tips (k, 2)             classifier vectors as drawn; lengths (k,): theirs as trained
    arrows (k, 2)           what the images of each class do to the chosen vector, at most of length ARROW
    angle: of the chosen vector to the mean feature of its own images, in degrees
    pull, push (k,)         along each vector: step of its own images, and of all others; scale: the largest of both
    course, before (epochs, 3)   accuracy of frequent, middle, rare classes: under the switches, and as trained
    """

    epoch: int
    chosen: int
    switches: tuple[bool, bool]
    unit: float
    regions: np.ndarray
    points: np.ndarray
    tips: np.ndarray
    lengths: np.ndarray
    arrows: np.ndarray
    angle: float
    pull: np.ndarray
    push: np.ndarray
    scale: float
    course: np.ndarray
    before: np.ndarray


class TugOfWar(Explorer):
    """A network with two features, live: where the images lie, which class each place is given to, who pulls whom.

    Trained when it is first looked at, for each optimiser by itself: about a second. `snapshots` holds what was kept.
    """

    function = "tug_of_war"
    title = "Tug of war"
    size = (7.6, 4.5)

    def __init__(
        self,
        data: LongTailed | None = None,
        epoch: int = 20,
        equal_lengths: bool = False,
        subtract_prior: bool = False,
        vector: str | None = None,
        optimizer: str = "sgd",
    ):
        self.given = data
        self.data = digits_lt(ratio=20) if data is None else checked(data)
        self.counts, self.names = self.data.counts.numpy(), list(self.data.class_names)
        self.targets = self.data.targets.numpy()
        self.snapshots: dict[str, Snapshots] = {}
        self._training = threading.Lock()
        self._course = functools.cache(self._accuracies)
        self.groups = drawn_groups(self.counts)
        names = tuple(self.names)
        vector = names[-1] if vector is None else vector
        titles = {one: f"{one} ({count:,} images)" for one, count in zip(names, self.counts, strict=True)}
        whose = Setting(names[-1], choices=names, meaning="whose classifier vector the arrows are drawn at")
        controls = (
            Number("epoch", Setting(20, 0, EPOCHS, meaning="epochs of training that are done"), epoch,
                   steps=50),
            Choice("equal_lengths", Setting(False, choices=(False, True), meaning="every vector to length 1, and the "
                   "bias dropped (tau-normalisation, tau = 1)"), equal_lengths),
            Choice("subtract_prior", Setting(False, choices=(False, True), meaning="subtract the log prior from the "
                   "logits (logit adjustment, tau = 1)"), subtract_prior),
            Choice("vector", whose, vector, titles),
            Choice("optimizer", Setting("sgd", choices=tuple(RATES), meaning="how the network was trained"), optimizer,
                   {"sgd": "SGD", "adam": "Adam"}),
        )  # fmt: skip
        super().__init__({one.name: one for one in controls})
        self.screen.on_click(self._clicked)

    # ------------------------------------------------------------------------------------------------- the numbers
    def film(self, optimizer: str) -> Snapshots:
        """The network at every epoch; trained here when it is asked for first."""
        with self._training:
            if optimizer not in self.snapshots:
                recipe = dataclasses.replace(
                    RECIPES["digits"], name="plane", model="plane", epochs=EPOCHS, optimizer=optimizer,
                    lr=RATES[optimizer],
                )  # fmt: skip
                self.snapshots[optimizer] = take_snapshots("ce", self.data, range(EPOCHS + 1), recipe=recipe)
            return self.snapshots[optimizer]

    def _accuracies(self, optimizer: str, equal: bool, prior: bool) -> np.ndarray:
        """Accuracy on the test images of each group (epochs, groups)."""
        film, rows = self.film(optimizer), []
        for i, features in enumerate(film.test_features):
            decided = film.logits(i, features, equal, prior).argmax(1)
            each = metrics.per_class(metrics.confusion(film.test_targets, decided, len(self.counts)))
            rows.append([each[mask].mean() for mask in self.groups.values()])
        return np.array(rows)

    def compute(self, epoch: int, equal_lengths: bool, subtract_prior: bool, vector: str, optimizer: str) -> Tug:
        film, chosen = self.film(optimizer), self.names.index(vector)
        weight, features = film.weight[epoch], film.features[epoch]
        unit = float(np.quantile(np.linalg.norm(features, axis=1), 0.97)) or 1.0
        places = np.linspace(-FIELD, FIELD, GRID)
        grid = unit * np.stack(np.meshgrid(places, places), -1).reshape(-1, 2)
        regions = film.logits(epoch, grid, equal_lengths, subtract_prior).argmax(1).reshape(GRID, GRID)
        lengths = np.linalg.norm(weight, axis=1)
        shown = weight / (lengths[:, None] if equal_lengths else lengths.max())
        force = metrics.pull(film.logits(epoch, features), features, film.targets)
        arrows = force.by_class[chosen]
        along = weight / lengths[:, None]
        pull, push = (force.own * along).sum(1), (force.others * along).sum(1)
        return Tug(
            epoch, chosen, (equal_lengths, subtract_prior), unit, regions, features / unit, LONGEST * shown, lengths,
            _fitted(arrows, LONGEST * shown[chosen]),
            _degrees(weight[chosen], features[self.targets == chosen].sum(0)), pull, push,
            max(float(np.abs([pull, push]).max()), 1e-30),
            self._course(optimizer, equal_lengths, subtract_prior), self._course(optimizer, False, False),
        )  # fmt: skip

    # ------------------------------------------------------------------------------------------------- the picture
    def build(self, surface: Surface) -> None:
        self.colours = RAMP(np.linspace(0.0, 1.0, len(self.counts)))[:, :3]
        place = surface.figure.add_axes
        high = 0.83
        wide = high * self.size[1] / self.size[0]
        self.plane, self.course, self.forces = (
            place((0.012, 0.09, wide, high)), place((0.605, 0.61, 0.31, 0.31)), place((0.605, 0.13, 0.375, 0.31))
        )  # fmt: skip
        self._build_plane(self.plane)
        self._build_course(self.course)
        self._build_forces(self.forces)
        surface.animate(
            self.ground, *self.dots, self.own, *self.spokes, *self.pulls, *self.discs, *self.labels, self.ring,
            *self.before, *self.after, self.cursor, *self.values_now, *self.bars,
        )  # fmt: skip

    def _build_plane(self, ax: Axes) -> None:
        ax.set(xlim=(-FIELD, FIELD), ylim=(-FIELD, FIELD), xticks=[], yticks=[])
        ax.grid(False)
        ax.set_title("Training images and decision regions", fontsize=9.5, loc="left", pad=4)
        ax.set_xlabel("rings: a vector and its images; arrows: what acts on it", fontsize=8.5)
        self.pale = np.rint(255 * (1 - PALE + PALE * self.colours)).astype(np.uint8)
        box = (-FIELD, FIELD, -FIELD, FIELD)
        blank = np.full((GRID, GRID, 3), 255, np.uint8)
        self.ground = Pixels(ax, blank, box, origin="lower", zorder=0)
        self.dots = [
            ax.plot([], [], "o", color=c, markersize=3.2, zorder=2, markeredgewidth=0)[0] for c in self.colours
        ]
        self.own = ax.plot([], [], "o", markersize=7, markerfacecolor="none", markeredgecolor=INK, zorder=5.5)[0]
        self.own.set_markeredgewidth(0.9)
        self.spokes = [ax.plot([], [], color=c, linewidth=2, zorder=3)[0] for c in self.colours]
        # An arrow is its shaft and a head at the end: two lines are cheaper than a patch.
        shafts = [ax.plot([], [], color=c, linewidth=2.6, zorder=5)[0] for c in self.colours]
        heads = [ax.plot([], [], marker=(3, 0, 0), color=c, markersize=8, zorder=5, **EDGE)[0] for c in self.colours]
        self.pulls = [*shafts, *heads]
        self.ring = ax.plot([], [], "o", markersize=19, markerfacecolor="none", markeredgecolor=INK, zorder=6)[0]
        names = [short(name, 6) for name in self.names]
        disc = {"markersize": 12 + 4 * (max(map(len, names)) - 1), "markerfacecolor": "white", "markeredgewidth": 1.2}
        self.discs = [ax.plot([], [], "o", markeredgecolor=c, zorder=7, **disc)[0] for c in self.colours]
        self.labels = [ax.text(0, 0, name, fontsize=8, ha="center", va="center", zorder=8, parse_math=False)
                       for name in names]  # fmt: skip

    def _build_course(self, ax: Axes) -> None:
        ax.set(xlim=(0, EPOCHS), ylim=(0, 1.02), xlabel="epoch")
        ax.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}%")
        ax.set_title("Accuracy (dotted: as trained)", fontsize=9.5, loc="left", pad=4)
        looks = [GROUP_COLOURS[name] for name in self.groups]
        self.before = [ax.plot([], [], color=c, linestyle=DASHES[2], linewidth=1.2, zorder=2)[0] for c in looks]
        self.after = [ax.plot([], [], color=c, linewidth=2, zorder=3)[0] for c in looks]
        self.cursor = ax.axvline(0, color=INK, linewidth=1.1, zorder=4)
        # Beside the axes, at fixed places: the values may lie on one another, their names must not.
        places = np.linspace(0.9, 0.1, len(looks))
        self.values_now = [
            ax.text(1.03, y, "", color=c, fontsize=8.5, va="center", transform=ax.transAxes)
            for y, c in zip(places, looks, strict=True)
        ]

    def _build_forces(self, ax: Axes) -> None:
        k = len(self.counts)
        ax.set(xlim=(-0.6, k - 0.4), ylim=(-1.08, 1.08), yticks=[-1, 0, 1])
        ax.set_yticks([-1, 0, 1], ["shorter", "0", "longer"])
        ax.set_xticks(range(k), [f"{short(name, 6)}\n{count:,}" for name, count in zip(self.names, self.counts,
                      strict=True)], fontsize=8)  # fmt: skip
        ax.set_xlabel("class and its training images", fontsize=8.5)
        ax.set_title("Own images pull, others push", fontsize=9.5, loc="left", pad=4)
        ax.axhline(0, color=QUIET, linewidth=1)
        up = ax.bar(np.arange(k) - 0.19, np.zeros(k), 0.36, color=self.colours, zorder=3)
        down = ax.bar(
            np.arange(k) + 0.19, np.zeros(k), 0.36, color="white", edgecolor=self.colours, linewidth=1.6, zorder=3
        )
        self.bars = [*up, *down]

    def draw(self, result: Tug) -> None:
        self.ground.set_data(self.pale[result.regions])
        for j, (dots, spoke) in enumerate(zip(self.dots, self.spokes, strict=True)):
            mine = result.points[self.targets == j]
            dots.set_data(mine[:, 0], mine[:, 1])
            x, y = result.tips[j]
            spoke.set_data([0, x], [0, y])
            spoke.set_linewidth(3.4 if j == result.chosen else 2)
            self.discs[j].set_data([x], [y])
            self.labels[j].set_position((x, y))
        mine = result.points[self.targets == result.chosen]
        self.own.set_data(mine[:, 0], mine[:, 1])
        self._draw_arrows(result)
        for lines, rows in ((self.before, result.before), (self.after, result.course)):
            for line, row in zip(lines, rows.T, strict=True):
                line.set_data(np.arange(len(row)), row)
        self.cursor.set_xdata([result.epoch, result.epoch])
        for text, name, value in zip(self.values_now, self.groups, result.course[result.epoch], strict=True):
            text.set_text(f"{GROUPS[name]}\n{as_percent(value)}")
        for bar, height in zip(self.bars, np.concatenate([result.pull, result.push]) / result.scale, strict=True):
            bar.set_height(height)

    def _draw_arrows(self, result: Tug) -> None:
        tip, k = result.tips[result.chosen], len(self.counts)
        self.ring.set_data([tip[0]], [tip[1]])
        for shaft, head, arrow in zip(self.pulls[:k], self.pulls[k:], result.arrows, strict=True):
            end, long = tip + arrow, np.hypot(*arrow)
            shown = long > 0.05
            shaft.set_data(*np.stack([tip, end]).T if shown else ([], []))
            head.set_data([end[0]] if shown else [], [end[1]] if shown else [])
            head.set_marker((3, 0, float(np.degrees(np.arctan2(arrow[1], arrow[0])) - 90)))

    def say(self, result: Tug) -> str:
        j, names = result.chosen, self.names
        rule = RULES[result.switches]
        now, old = result.course[result.epoch], result.before[result.epoch]
        changed = any(result.switches)  # then what was true as trained stands in the place of the lengths
        told = ", ".join(
            f"{GROUPS[name]} {as_percent(value)}" + (f" ({as_percent(before)})" if changed else "")
            for name, value, before in zip(self.groups, now, old, strict=True)
        )
        lengths = "" if changed else _ends(names, result.lengths)
        where = "no images of its own" if np.isnan(result.angle) else (
            f"{result.angle:.0f}° from the mean of its own images, which {_changes(result.pull[j])}"
        )  # fmt: skip
        return (
            f"Epoch {result.epoch}, {rule}. Accuracy{' (as trained)' if changed else ''}: {told}.{lengths} Vector of "
            f"{names[j]}: {where}; all others {_changes(result.push[j])} (a step at learning rate 1)."
        )

    # ------------------------------------------------------------------------------------------------- pointing
    def regions(self) -> list[Region]:
        return [
            Region.of(self.plane, "feature plane", xname="feature 1", yname="feature 2"),
            Region.of(self.course, "accuracy", xname="epoch", yname="accuracy", percent="y"),
            Region.of(self.forces, "pull and push", xname="class", xnames=tuple(self.names), yname="of the largest"),
        ]

    def marks(self, result: Tug) -> list[Point]:
        called = [f"{name} ({count:,} images)" for name, count in zip(self.names, self.counts, strict=True)]
        found = [
            Point(
                *tip, f"Vector of {name}: length {number(length)}. Click or press Enter to see what pulls at it.", PLANE
            )
            for name, tip, length in zip(called, result.tips, result.lengths, strict=True)
        ]
        groups = zip(self.groups, result.course[result.epoch], strict=True)
        found += [
            Point(result.epoch, one, f"{GROUPS[name]} classes: {as_percent(one)}", COURSE) for name, one in groups
        ]
        for j, name in enumerate(called):
            told = f"{name}: own images {_changes(result.pull[j])}, all others {_changes(result.push[j])}"
            found += [Point(j - 0.19, result.pull[j] / result.scale, told, FORCES),
                      Point(j + 0.19, result.push[j] / result.scale, told, FORCES)]  # fmt: skip
        return found

    def handles(self, result: Tug) -> list[Handle]:
        return [Handle("epoch", result.epoch, 0.0, "epoch", "x", (0, EPOCHS), region=COURSE)]

    def _clicked(self, event: Click) -> None:
        """A click in the plane chooses the vector whose tip is nearest, one in the bars the class there."""
        if event.region == PLANE:
            self.set(vector=self.names[int(np.hypot(*(self.result.tips - (event.x, event.y)).T).argmin())])
        elif event.region == FORCES:
            self.set(vector=self.names[int(np.clip(round(event.x), 0, len(self.names) - 1))])

    # ------------------------------------------------------------------------------------------------- as code
    def data_code(self) -> list[str]:
        return [] if self.given is None else [name_of(self.given) or "data"]


def _changes(along: float) -> str:
    """What a step along a vector does to its length, in words."""
    return f"{'shorten' if along < 0 else 'lengthen'} it by {number(abs(along))}"


def _ends(names: Sequence[str], lengths: np.ndarray) -> str:
    """Which vectors are longest and shortest, in a sentence."""
    most, least = int(lengths.argmax()), int(lengths.argmin())
    longest, shortest = (f"{names[j]} ({number(lengths[j])})" for j in (most, least))
    return f" Longest vector: {longest}, shortest: {shortest}."


def _fitted(arrows: np.ndarray, tip: np.ndarray) -> np.ndarray:
    """The arrows (k, 2) at one scale: the longest of length ARROW, or as long as there is room for all of them."""
    arrows = arrows * ARROW / max(np.linalg.norm(arrows, axis=1).max(), 1e-30)
    room = (FIELD - EDGE_ROOM - np.sign(arrows) * tip) / np.maximum(np.abs(arrows), 1e-30)
    return arrows * min(1.0, float(room.min()))


def _degrees(vector: np.ndarray, other: np.ndarray) -> float:
    """The angle between two vectors; NaN where one has no direction, as the sum over no images."""
    long = np.linalg.norm(vector) * np.linalg.norm(other)
    return float(np.degrees(np.arccos(np.clip(vector @ other / long, -1, 1)))) if long > 0 else float("nan")


def checked(data: Any) -> LongTailed:
    """Small data: every picture holds all training images. ValueError for any other."""
    check.instance("data", data, LongTailed, "None, or a data set, such as lt.digits_lt() gives")
    if not 2 <= data.k <= MOST or len(data) > 3000 or data.device.type != "cpu":
        raise check.refuse(
            "data", data, f"2 to {MOST} classes and at most 3,000 training images on the CPU: this network is trained "
            "live, and every image is drawn"
        )  # fmt: skip
    return data


def tug_of_war(
    data: LongTailed | None = None,
    epoch: int = 20,
    equal_lengths: bool = False,
    subtract_prior: bool = False,
    vector: str | None = None,
    optimizer: str = "sgd",
) -> TugOfWar:
    """Train a network with two features, and see at every epoch who pulls each classifier vector where.

    data: small images (default: lt.digits_lt(ratio=20)); epoch: from 0 to 100, each kept. equal_lengths decides with
    vectors of length 1 and without the bias (tau-normalisation with tau = 1), subtract_prior with the log prior taken
    from the logits (logit adjustment with tau = 1); the network stays the same. vector: name of the class whose vector
    has its arrows drawn (default: the rarest); optimizer: "sgd" or "adam". Trains for about a second when it is opened.
    Two features cannot hold ten classes as well as 64: this shows the mechanism, not what a network can reach.
    """
    return TugOfWar(data, epoch, equal_lengths, subtract_prior, vector, optimizer)
