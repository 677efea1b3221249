"""Explorer: a wall of test photographs, framed by whether a network answers them rightly, as tau and the world move."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ipywidgets as widgets
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D

from .. import check, metrics
from ..functional import log_prior
from ..methods.logit_adjustment import TAU, subtract_prior
from ..objective import Setting
from ..plots.examples import mosaic
from ..plots.picture import EDGE, INK, PALETTE, QUIET, REFERENCE, as_percent, look, offset, percent
from ..plots.series import by_count
from ..plots.surface import Surface
from ..plots.text import short
from ..plots.theme import PHOTO
from ..run import Run
from .base import Explorer
from .controls import control
from .frames import Frame, Handle, Point, Region
from .notebook import name_of

CLASSES, COLUMNS, DOTS = 20, 12, 6  # at most: rows of the wall, photographs in a row, other methods
TAUS = np.round(np.arange(0.0, 3.001, 0.05), 2)
LINE, RIGHT, WRONG = PALETTE[6], "#2A7F3B", "#CC3434"
WALL, SHARES, PAYS, ALONG = range(4)  # the regions of the picture
SIDE = 0.39  # half of a photograph, in cells
THIN, THICK = 1.3, 3.0  # of a frame: as without adjustment, and changed by it
SETTINGS = {
    "tau": Setting(0.0, TAU.low, TAU.high, symbol="τ", when={"follow": (False,)},
                   meaning="how much of the log prior of training is subtracted from the scores"),
    "deployment": Setting(0.0, -1.0, 1.0, meaning="how often classes occur where the network is used: as their "
                          "training images to this power. 0: all equally often, 1: as in training, -1: the rarest "
                          "most often"),
    "follow": Setting(False, choices=(False, True),
                      meaning="take the tau that Bayes' rule asks for where the network is used: 1 - deployment"),
}  # fmt: skip


@dataclass(frozen=True)
class Answers:
    """What one tau answers.

    tau, power             in force, and that of the training images in the prior at deployment
    p (m, k)               adjusted probabilities of the photographs, in the order of the wall
    answered (m,)          their most probable class; right, changed (m,): whether it is true, and not that of tau 0
    groups (3,)            accuracy of the frequent, middle and rare classes, on all test images
    occurs (k,)            how often each class occurs at deployment; curve (t,): accuracy there for each of `TAUS`
    deployed               accuracy there at this tau; best = (tau, accuracy) of the highest of the curve
    """

    tau: float
    power: float
    p: np.ndarray
    answered: np.ndarray
    right: np.ndarray
    changed: np.ndarray
    groups: np.ndarray
    occurs: np.ndarray
    curve: np.ndarray
    deployed: float
    best: tuple[float, float]


class WhoPays:
    """Accuracy of frequent against rare classes: the line of every tau, other methods, and where tau is now.

    line (3, t): frequent, middle, rare for each of `TAUS`. others: label -> runs.
    """

    def __init__(self, ax: Axes, line: np.ndarray, others: Mapping[str, Sequence[Run]]):
        head, _, tail = line
        ax.plot(head, tail, color=LINE, linewidth=2.6, zorder=2)
        for tau in (0.0, 1.0, 2.0):
            i = int(np.searchsorted(TAUS, tau))
            ax.annotate(f"τ = {tau:g}", (head[i], tail[i]), (7, 1), color=QUIET, **offset("left", "bottom"))
        self.dots = [self._dot(ax, label, runs, look(i)) for i, (label, runs) in enumerate(others.items())]
        ring = {"markersize": 10, "markerfacecolor": "none", "markeredgecolor": INK, "markeredgewidth": 2.2}
        (self.here,) = ax.plot([], [], "o", **ring)
        ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="accuracy, frequent third", ylabel="accuracy, rare third")
        ax.set_title("Who pays?", pad=6, fontsize=9.5)
        ax.set_xticks([0, 0.5, 1])
        percent(ax.xaxis)
        percent(ax.yaxis)
        if self.dots:
            ax.legend(loc="upper right", fontsize=7.5, handletextpad=0.3, borderpad=0.3, labelspacing=0.35)

    @staticmethod
    def _dot(ax: Axes, label: str, runs: Sequence[Run], kind: Mapping[str, Any]) -> tuple[float, float, str]:
        """Draw the mean over the runs with its interval; where it is, and what is said of it."""
        values = np.array([[metrics.shot_accuracy(run)[group] for group in ("head", "tail")] for run in runs])
        half = [metrics.paired(column, np.zeros(len(column))).half for column in values.T]
        bars = [None if np.isnan(one) else one for one in half]
        head, tail = map(float, values.mean(0))
        style = {"fmt": kind["marker"], "color": kind["color"], "markersize": 6, "elinewidth": 1, **EDGE}
        ax.errorbar(head, tail, xerr=bars[0], yerr=bars[1], label=short(label, 20), zorder=3, **style)
        said = f"{label}, mean of {len(runs)} seeds: frequent {as_percent(head)}, rare {as_percent(tail)}"
        return head, tail, said

    def points(self, tau: float, groups: np.ndarray) -> list[Point]:
        """What can be pointed at, at this tau."""
        said = f"τ = {tau:g}: frequent {as_percent(groups[0])}, rare {as_percent(groups[2])}"
        return [Point(*dot, PAYS) for dot in [*self.dots, (groups[0], groups[2], said)]]


class Wall(Explorer):
    """Test photographs in rows, the most frequent class on top, in frames that say whether they are right."""

    function = "wall"
    title = "One network, one hundred photographs"
    size = (7.6, 6.45)

    def __init__(
        self,
        run: Run,
        photographs: Any,
        others: Mapping[str, Sequence[Run]] | None = None,
        *,
        tau: float = 0.0,
        deployment: float = 0.0,
        follow: bool = False,
    ):
        self.run, self.photographs, self.others = _checked(run), photographs, dict(_methods(others))
        self.counts, self.rank = torch.from_numpy(run.counts), by_count(run.counts)
        self._hang(*_pictures(photographs, run))
        self.masks = list(metrics.third_groups(run.counts).values())
        self.along = self._accuracies(TAUS)
        self.line = self._groups(self.along)
        self.plain = subtract_prior(self.scores, self.counts, 0.0).argmax(1).numpy()
        given = {"tau": tau, "deployment": deployment, "follow": follow}
        self.bayes = widgets.Label(layout={"display": "none"})  # in place of tau's box while tau is given
        super().__init__({name: control(name, SETTINGS[name], value) for name, value in given.items()})
        self.controls["tau"].widget.children += (self.bayes,)

    def _hang(self, images: np.ndarray, names: list[str]) -> None:
        """Where each photograph hangs: row by rank of its class, columns in the order of the test images."""
        targets = self.run.targets[: len(images)]
        row = np.argsort(self.rank)[targets]
        self.order = np.argsort(row, kind="stable")
        self.down = row[self.order]
        self.across = np.concatenate([np.arange(n) for n in np.bincount(row, minlength=self.run.k)])
        if self.run.k > CLASSES or self.across.max() >= COLUMNS:
            raise ValueError(
                f"photographs: a wall has room for {CLASSES} classes with {COLUMNS} photographs each, not for "
                f"{self.run.k} with up to {self.across.max() + 1}"
            )
        self.images, self.targets = images[self.order], targets[self.order]
        self.scores = torch.from_numpy(self.run.logits[self.order].astype(np.float32))
        self.names = [short(self.run.class_names[j], 16) for j in self.rank]

    def _accuracies(self, taus: Any) -> np.ndarray:
        """Accuracy of each class (t, k) on all test images, for each tau."""
        run = self.run
        return metrics.accuracies_along(run.logits, -log_prior(self.counts).numpy(), run.targets, taus)

    def _groups(self, per_class: np.ndarray) -> np.ndarray:
        """Mean over the frequent, middle and rare classes, from the accuracy of each, (t, k) -> (3, t)."""
        undefined = np.full(len(per_class), np.nan)  # of two classes, none is frequent or rare
        rows = [metrics.expected_accuracy(per_class, 1.0 * mask) if mask.any() else undefined for mask in self.masks]
        return np.stack(rows)

    # ------------------------------------------------------------------------------------------------- the picture
    def build(self, surface: Surface) -> None:
        wide, high = 100 * self.size[0], 100 * self.size[1]

        def place(left: float, top: float, right: float, bottom: float) -> Axes:
            return surface.figure.add_axes(
                (left / wide, 1 - bottom / high, (right - left) / wide, (bottom - top) / high)
            )

        wall, shares = place(72, 28, 482, 438), place(490, 28, 530, 438)
        pays, along = place(588, 28, 740, 438), place(72, 500, 740, 596)
        self.axes = wall, shares, pays, along
        self._build_wall(wall)
        self._build_shares(shares, wall)
        self.pays = WhoPays(pays, self.line, self.others)
        self._build_along(along)
        moving = self.pays.here, self.curve, self.cursor, self.now, self.said, self.top, self.asks
        surface.animate(self.frames, self.crosses, *self.bars.patches, *moving)

    def _build_wall(self, ax: Axes) -> None:
        rows, columns = len(self.rank), int(self.across.max()) + 1
        ax.grid(False)
        ax.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5), xticks=[])
        counts = self.run.counts[self.rank]
        ax.set_yticks(
            range(rows), [f"{name}\n{n:,.0f}" for name, n in zip(self.names, counts, strict=True)], fontsize=8
        )
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.set_title("True class, training images. × wrong; thick: changed by τ", fontsize=9, pad=6, x=-0.165)
        for image, row, column in zip(self.images, self.down, self.across, strict=True):
            tile = mosaic(image[None], [(0, 0)], 1, 1)
            box = (column - SIDE, column + SIDE, row + SIDE, row - SIDE)
            ax.imshow(tile, extent=box, aspect="auto", interpolation="nearest", zorder=2, gid=PHOTO)
        ax.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
        corner = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]]) * 0.455
        at = np.column_stack([self.across, self.down])
        self.frames = LineCollection(at[:, None] + corner, joinstyle="miter", capstyle="projecting", zorder=3)
        ax.add_collection(self.frames, autolim=False)
        self.at = at + 0.25  # inside the photograph, whose colours stay on a dark page
        self.crosses = ax.scatter([], [], marker="X", s=46, color=WRONG, edgecolors="white", linewidths=0.8, zorder=4)

    def _build_shares(self, ax: Axes, wall: Axes) -> None:
        rows, powers = len(self.rank), (SETTINGS["deployment"].low, SETTINGS["deployment"].high)
        most = max(metrics.power_prior(self.run.counts, power).max() for power in powers)
        self.bars = ax.barh(range(rows), np.zeros(rows), height=0.6, color=PALETTE[3])
        ax.grid(False)
        ax.set(ylim=wall.get_ylim(), xlim=(0, most * 1.05), yticks=[], xticks=[0, most])
        ax.set_xticks([0, most], ["0", f"{most:.0%}"], fontsize=8)
        ax.set_title("occurs", fontsize=9.5, pad=6)

    def _build_along(self, ax: Axes) -> None:
        (self.curve,) = ax.plot(TAUS, np.zeros(len(TAUS)), color=PALETTE[3], linewidth=2.2, zorder=2)
        self.cursor = ax.axvline(0.0, color=INK, linewidth=1.1, zorder=2)
        (self.now,) = ax.plot([], [], "o", color=INK, markersize=7, zorder=4, **EDGE)
        self.said = ax.text(0, 0.84, "", color=INK, fontsize=8.5, zorder=4)
        (self.top,) = ax.plot([], [], "*", color=PALETTE[3], markersize=13, zorder=3, **EDGE)
        (self.asks,) = ax.plot([], [], "^", color=QUIET, markersize=8, clip_on=False, zorder=5, **EDGE)
        ax.axhline(1 / self.run.k, **REFERENCE)
        ax.set(xlim=(TAUS[0] - 0.03, TAUS[-1] + 0.03), ylim=(0, 1), yticks=[0, 0.5, 1], xlabel="τ")
        ax.set_title("Accuracy where classes occur so", fontsize=9.5, pad=6)
        percent(ax.yaxis)
        star = Line2D([], [], ls="", marker="*", color=PALETTE[3], markersize=10)
        bayes = Line2D([], [], ls="", marker="^", color=QUIET, markersize=7)
        place = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "ncols": 2, "fontsize": 8, "frameon": False}
        ax.legend([star, bayes], ["best on these test images", "Bayes: 1 - deployment"], handletextpad=0.2, **place)

    def compute(self, tau: float, deployment: float, follow: bool) -> Answers:
        tau = min(max(1.0 - deployment, TAU.low), TAU.high) if follow else tau
        p = metrics.probabilities(subtract_prior(self.scores, self.counts, tau).numpy())
        answered = p.argmax(1)
        here = self._accuracies([tau])
        occurs = metrics.power_prior(self.run.counts, deployment)
        curve = metrics.expected_accuracy(self.along, occurs)
        best = int(np.nanargmax(curve.round(12)))  # of equal ones, whose last digits may differ, the first
        return Answers(
            tau, deployment, p, answered, answered == self.targets, answered != self.plain,
            self._groups(here)[:, 0], occurs, curve, metrics.expected_accuracy(here[0], occurs),
            (float(TAUS[best]), float(curve[best])),
        )  # fmt: skip

    def draw(self, result: Answers) -> None:
        self.frames.set_color(np.where(result.right, RIGHT, WRONG).tolist())
        self.frames.set_linewidth(np.where(result.changed, THICK, THIN))
        self.crosses.set_offsets(self.at[~result.right])
        for bar, share in zip(self.bars.patches, result.occurs[self.rank], strict=True):
            bar.set_width(share)
        self.pays.here.set_data([result.groups[0]], [result.groups[2]])
        self.curve.set_ydata(result.curve)
        self.cursor.set_xdata([result.tau, result.tau])
        self.now.set_data([result.tau], [result.deployed])
        left = result.tau < 0.5 * (TAUS[0] + TAUS[-1])
        side = {"x": result.tau + (0.03 if left else -0.03), "ha": "left" if left else "right"}
        self.said.set(text=f"τ = {result.tau:g}: {as_percent(result.deployed)}", **side)
        self.top.set_data([result.best[0]], [result.best[1]])
        self.asks.set_data([1.0 - result.power], [0.0])

    def drawn(self, result: Answers) -> None:
        """While tau follows the deployment, the tau in force stands where its box and slider were.

        The box itself keeps the reader's own tau: a sweep of the deployment goes on only while no other control moves.
        """
        follow = self.controls["follow"].value
        self.bayes.value = f"τ = 1 - deployment = {result.tau:g}" if follow else ""
        self.bayes.layout.display = "" if follow else "none"
        for part in self.controls["tau"].parts:
            part.layout.display = "none" if follow else ""

    def _framed(self, result: Answers) -> Frame:
        """The photographs keep their colours on a dark page."""
        frame = super()._framed(result)
        return replace(frame, photos=self._boxes)

    @functools.cached_property
    def _boxes(self) -> list[tuple[float, float, float, float]]:
        """The box of each photograph, in fractions of the picture from its top left corner."""
        left, top, right, bottom = self.regions()[WALL].box
        wide, high = (right - left) / (self.across.max() + 1), (bottom - top) / len(self.rank)
        near, far = 0.5 - SIDE, 0.5 + SIDE
        return [
            (left + wide * (x + near), top + high * (y + near), left + wide * (x + far), top + high * (y + far))
            for x, y in zip(self.across.tolist(), self.down.tolist(), strict=True)
        ]

    def say(self, result: Answers) -> str:
        n, right = len(result.right), int(result.right.sum())
        won = int((result.changed & result.right).sum())
        lost = int((result.changed & (self.plain == self.targets)).sum())
        where = {0.0: "all classes occur equally often", 1.0: "classes occur as in training"}.get(
            result.power,
            f"class frequency is proportional to n^{result.power:g}, n being the training images of the class",
        )
        groups = zip(("frequent", "middle", "rare"), result.groups, strict=True)
        tau, accuracy = result.best
        changed = f" (since τ = 0: {won} gained, {lost} lost)" if result.changed.any() else ""
        return (
            f"τ = {result.tau:g}: {right} of {n} photographs are right{changed}. "
            f"All {len(self.run.targets):,} test images: "
            f"{', '.join(f'{name} {as_percent(value)}' for name, value in groups)}. Where {where}: "
            f"{as_percent(result.deployed)}; best τ there, on these test images: {tau:g} ({as_percent(accuracy)}). "
            "Choose it on validation images."
        )

    # ------------------------------------------------------------------------------------------------- pointing
    def regions(self) -> list[Region]:
        wall, shares, pays, along = self.axes
        names = tuple(self.names)
        return [
            Region.of(wall, "photographs", xname="photograph", yname="true class", ynames=names, cells=True),
            Region.of(shares, "occurs", xname="occurs", yname="class", ynames=names, percent="x"),
            Region.of(pays, "who pays", xname="frequent", yname="rare", percent="xy"),
            Region.of(along, "accuracy at deployment", xname="τ", yname="accuracy", percent="y"),
        ]

    def marks(self, result: Answers) -> list[Point]:
        called, three = self.run.class_names, np.argsort(-result.p, axis=1, kind="stable")[:, :3]
        points = []
        for i, (x, y) in enumerate(zip(self.across, self.down, strict=True)):
            most = ", ".join(f"{called[j]} {as_percent(result.p[i, j])}" for j in three[i])
            verdict = "right" if result.right[i] else "wrong"
            before = f"; at τ = 0: {called[self.plain[i]]}" if result.changed[i] else ""
            told = f"true {called[self.targets[i]]}, answered {called[result.answered[i]]} ({verdict}{before})\n{most}"
            points.append(Point(x, y, told, WALL))
        for y, j in enumerate(self.rank):
            points.append(Point(result.occurs[j], y, f"{called[j]}: {as_percent(result.occurs[j])} of images", SHARES))
        points += self.pays.points(result.tau, result.groups)
        tau, best = result.best
        return [*points, Point(tau, best, f"best there: τ = {tau:g}, {as_percent(best)}", ALONG)]

    def handles(self, result: Answers) -> list[Handle]:
        if self.controls and self.controls["follow"].value:
            return []  # tau is not the reader's to move
        return [Handle("tau", result.tau, result.deployed, "tau", "x", (TAU.low, TAU.high), region=ALONG)]

    # ------------------------------------------------------------------------------------------------- as code
    def data_code(self) -> list[str]:
        code = [name_of(self.run) or "run", name_of(self.photographs) or "lt.study.photographs()"]
        return code + ([name_of(self.others) or "others"] if self.others else [])

    def as_code(self) -> str:
        """The one-line call that gives the present picture, without the reader's own tau where Bayes' is in force."""
        follow = self.controls["follow"].value
        written = [f"{name}={value!r}" for name, value in self.state.items() if not (follow and name == "tau")]
        return f"lt.explore.{self.function}({', '.join([*self.data_code(), *written])})"


def _checked(run: Any) -> Run:
    check.instance("run", run, Run, "a run, from lt.train, lt.load_run or lt.recorded")
    if run.logits is None or run.targets is None:
        raise check.refuse("run", run.name, "a run that keeps the logits of its test images, such as a recorded 'ce'")
    if not metrics.third_groups(run.counts)["tail"].any():
        raise ValueError(
            f"run {run.name!r}: all its classes have the same number of training images, so none is frequent and none "
            "rare, and τ changes nothing; pass a run of long-tailed data"
        )
    if not np.isfinite(run.logits).all():
        raise ValueError(f"run {run.name!r}: its logits hold NaN or infinity, from which no answer follows")
    return run


def _methods(others: Any) -> dict[str, list[Run]]:
    """Other methods by label, checked."""
    expected = f"a dict: label -> list of runs, one a seed; at most {DOTS} labels"
    given = check.instance("others", {} if others is None else others, Mapping, expected)
    if len(given) > DOTS:
        raise check.refuse("others", list(given), expected)
    for label, runs in given.items():
        check.text("label in others", label)
        if not isinstance(runs, (list, tuple)) or not runs or not all(isinstance(one, Run) for one in runs):
            raise check.refuse(f"others[{label!r}]", runs, "a list of runs, one per seed")
    return {label: list(runs) for label, runs in given.items()}


def _pictures(photographs: Any, run: Run) -> tuple[np.ndarray, list[str]]:
    """The images (m, height, width, 3) and names of the photographs, which are the first test images of the run."""
    expected = "photographs with .images (m, height, width, 3) uint8 and .names (m,), as lt.study.photographs() gives"
    images, names = (getattr(photographs, part, None) for part in ("images", "names"))
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise check.refuse("photographs", photographs, expected)
    if not 0 < len(images) <= len(run.targets) or names is None or len(names) != len(images):
        raise check.refuse(
            "photographs", photographs, f"{expected}, m at most {len(run.targets)}, the test images kept"
        )
    true = [run.class_names[j] for j in run.targets[: len(images)]]
    wrong = [i for i, (one, other) in enumerate(zip(names, true, strict=True)) if str(one) != str(other)]
    if wrong:
        raise ValueError(
            f"photographs: number {wrong[0]} is called {str(names[wrong[0]])!r}, but this test image of the run is of "
            f"class {true[wrong[0]]!r}; photographs must be the run's first test images"
        )
    return images, [str(one) for one in names]


def wall(
    run: Run,
    photographs: Any,
    others: Mapping[str, Sequence[Run]] | None = None,
    *,
    tau: float = 0.0,
    deployment: float = 0.0,
    follow: bool = False,
) -> Wall:
    """Slide tau, or the world in which the network is used, and see which photographs it answers rightly.

    run: a network whose record keeps the logits of its test images. photographs: its first test images, as
    `lt.study.photographs()` gives: .images (m, height, width, 3) uint8, .names (m,). others: further methods, a dict
    label -> runs, one a seed: dots beside the frontier that tau draws. tau in [0, 3] times the log prior is subtracted
    from the scores (Menon et al. 2021, eq. 9). deployment: classes occur as their training images to this power, in
    [-1, 1]. follow: tau is 1 - deployment, as Bayes' rule asks. ValueError for anything else.
    """
    return Wall(run, photographs, others, tau=tau, deployment=deployment, follow=follow)
