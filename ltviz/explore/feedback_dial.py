"""Explorer: from validation accuracies to the exponent and the class weights of the next epoch, epoch by epoch."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection

from .. import check, metrics
from ..objective import Setting
from ..plots.classes import drawn_groups
from ..plots.picture import DASHES, GROUP_COLOURS, INK, QUIET, number, percent
from ..plots.surface import Surface
from ..plots.text import short
from ..run import Run
from .base import STATE_OF, Explorer
from .controls import Choice, Number
from .frames import Handle, Point, Region
from .notebook import name_of
from .screen import Drag

RULES = {
    "paper": "2 / (1 + e^-b), Sinha 2020",
    "sigmoid": "1 / (1 + e^-b), Darkwah 2023",
    "public": "public code of Sinha 2020",
    "fixed": "fixed, see More",
}
SHORT = {"paper": "Sinha 2020", "sigmoid": "Darkwah 2023", "public": "public code", "fixed": "fixed"}
TAU_RULE = Setting("paper", choices=tuple(RULES), meaning="how the exponent follows from the accuracies")
TAU = Setting(1.0, 0.0, 2.0, symbol="τ", meaning="the exponent, where it is fixed", when={"tau_rule": ("fixed",)})
MEANING = "validation images of each class: the thin lines show what so many leave unknown (95%)"
IMAGES, MOST_IMAGES = 100, 1000
DRAWS = 2000  # for the epoch at hand, whose bands are told in digits; the others are only drawn
GROUPS = {"head": "frequent", "mid": "middle", "tail": "rare", "all": "all"}
ACCURACY, WEIGHTS, EXPONENT, COURSE = range(4)  # the regions of the picture
WIDE = 0.74  # of a bar
MOST = 20  # classes
RUNGS = (2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 15.0, 20.0)  # upper ends of the axis of weights
ROOM = 1.04  # above the highest weight and the upper end of its band
GREYS = (INK, "#596270", "#7A8492")  # of the readings that follow from accuracies


@dataclass(frozen=True)
class Dial:
    """One epoch of one training under one rule.

    accuracy (k,), weight (k,), tau: of this epoch, with bands (2, k), (2, k), (2,); used: these weights were those of
    the run's next epoch. here: what follows from the accuracies of this epoch, with bands from many draws; course: the
    same for all epochs, from few; readings: rule -> tau (e,); groups (3, e): mean weights.
    """

    training: str
    epoch: int
    rule: str
    used: bool
    accuracy: np.ndarray
    here: metrics.Difficulty
    course: metrics.Difficulty
    readings: Mapping[str, np.ndarray]
    groups: np.ndarray

    @property
    def weight(self) -> np.ndarray:
        return self.course.weight[self.epoch - 1]

    @property
    def tau(self) -> float:
        return float(self.course.tau[self.epoch - 1])


class FeedbackDial(Explorer):
    """Left: accuracy and weight of each class at one epoch. Right: exponent and mean weights over all epochs.

    `held`: accuracies that a reader has dragged, by class name; they then hold at every epoch, until Reset.
    """

    function = "feedback_dial"
    title = "Feedback dial"
    size = (7.6, 4.0)  # so that the sentence below is in sight in a low window

    def __init__(
        self,
        runs: Run | Mapping[str, Run],
        epoch: int | None = None,
        tau_rule: str = "paper",
        images: int | None = None,
        training: str | None = None,
        tau: float = 1.0,
        held: Mapping[str, float] | None = None,
    ):
        self.runs, self.given = _checked(runs), runs
        first = next(iter(self.runs.values()))
        self.counts, self.names = first.counts, list(first.class_names)
        self.called = {name: f"class {name}" if name.isdigit() else name for name in self.names}
        self.groups = drawn_groups(self.counts)
        self.held = _held(held, self.names)
        self.last = len(first.history["val_accuracy"])
        self._found = functools.lru_cache(128)(self._follow)
        self._readings = functools.lru_cache(32)(self._read)
        validation = first.data.get("validation")
        size = min(validation, MOST_IMAGES) if isinstance(validation, int) and validation > 0 else IMAGES
        names = tuple(self.runs)
        self.which = Setting(names[0], choices=names, meaning="whose recorded validation accuracies are replayed")
        start = max(1, self.last // 4)
        epochs = Setting(start, 1, self.last, meaning="epochs of training that are done")
        controls = (
            Number("epoch", epochs, start if epoch is None else epoch),
            Choice("tau_rule", TAU_RULE, tau_rule, RULES),
            Number("images", Setting(size, 1, MOST_IMAGES, "log", meaning=MEANING), size if images is None else images),
            Choice("training", self.which, names[0] if training is None else training),
            Number("tau", TAU, tau, steps=40),
        )
        super().__init__({one.name: one for one in controls})

    # ------------------------------------------------------------------------------------------------- the numbers
    def _accuracy(self, training: str, held: tuple[tuple[str, float], ...]) -> np.ndarray:
        """Validation accuracies (e, k), with those that are held."""
        found = self.runs[training].history["val_accuracy"].astype(np.float64)
        for name, value in held:
            found[:, self.names.index(name)] = value
        return found

    def _follow(self, training: str, rule: str, tau: float, images: int, held: Any) -> tuple:
        """Accuracies, what follows from them at every epoch, and the mean weights of the groups."""
        accuracy = self._accuracy(training, held)
        course = metrics.difficulty_course(accuracy, rule, tau, images)
        return accuracy, course, np.stack([course.weight[:, mask].mean(1) for mask in self.groups.values()])

    def _read(self, training: str, held: Any) -> dict[str, np.ndarray]:
        """Rule -> exponents (e,), of the rules that follow from the accuracies."""
        accuracy = self._accuracy(training, held)
        return {rule: metrics.difficulty_course(accuracy, rule, draws=1).tau for rule in RULES if rule != "fixed"}

    def compute(self, epoch: int, tau_rule: str, images: int, training: str, tau: float) -> Dial:
        held = tuple(sorted(self.held.items()))
        tau = tau if tau_rule == "fixed" else 1.0  # which else changes nothing
        accuracy, course, groups = self._found(training, tau_rule, tau, images, held)
        here = metrics.difficulty_course(accuracy[epoch - 1 : epoch], tau_rule, tau, images, DRAWS)
        readings = self._readings(training, held)
        settings = self.runs[training].settings
        used = settings.get("tau_rule") == tau_rule and settings.get("normalise") is True and not held
        used = used and (tau_rule != "fixed" or settings.get("tau") == tau)
        return Dial(training, epoch, tau_rule, used, accuracy[epoch - 1], here, course, readings, groups)

    # ------------------------------------------------------------------------------------------------- the picture
    def build(self, surface: Surface) -> None:
        place = surface.figure.add_axes
        self.axes = (
            place((0.075, 0.58, 0.44, 0.345)), place((0.075, 0.145, 0.44, 0.345)), place((0.605, 0.58, 0.25, 0.345)),
            place((0.605, 0.145, 0.25, 0.345)),
        )  # fmt: skip
        bars, weights, exponent, course = self.axes
        of_class = np.empty(len(self.counts), object)
        for name, mask in self.groups.items():
            of_class[mask] = GROUP_COLOURS[name]
        self.colours = [colour or QUIET for colour in of_class]
        self.bars, self.noise = self._build_bars(bars, "Accuracy on validation images")
        percent(bars.yaxis)
        bars.set_ylim(0, 1.06)
        self.weights, self.moves = self._build_bars(weights, "Class weight in the next epoch")
        self.even = weights.axhline(1.0, color=QUIET, linestyle=(0, (1, 2)), linewidth=1.2)
        self._build_exponent(exponent)
        self._build_course(course)
        surface.animate(
            self.bars, self.noise, self.weights, self.moves, self.band, *self.lines.values(), *self.means,
            *self.cursors, self.now, *self.told,
        )  # fmt: skip

    def _build_bars(self, ax: Axes, title: str) -> tuple[PolyCollection, Any]:
        k = len(self.counts)
        ax.set(xlim=(-0.6, k - 0.4))
        ax.grid(False, axis="x")
        ax.set_title(title, fontsize=9.5, loc="left", pad=4)
        room = max(2, 50 // k)
        named = [f"{short(name, room)}\n{count:,}" for name, count in zip(self.names, self.counts, strict=True)]
        ax.set_xticks(range(k), named if ax is self.axes[WEIGHTS] else [], fontsize=7.2)
        if ax is self.axes[WEIGHTS]:
            ax.set_xlabel("class and its training images", fontsize=8.5)
        bars = PolyCollection([], facecolors=self.colours, zorder=2)
        ax.add_collection(bars, autolim=False)
        lines = ax.plot([], [], color=INK, linewidth=1.1, marker="_", markersize=5, zorder=3)[0]
        return bars, lines

    def _build_exponent(self, ax: Axes) -> None:
        ax.set(xlim=(0, self.last), ylim=(0, 2.1))
        ax.tick_params(labelbottom=False)  # as below it
        ax.set_title("Exponent τ", fontsize=9.5, loc="left", pad=4)
        self.band = PolyCollection([], facecolors="#C9CED6", alpha=0.8, zorder=1)
        ax.add_collection(self.band, autolim=False)
        # No colours: in the other three parts they are groups of classes.
        looks = {rule: {"color": c, "linestyle": dash} for rule, c, dash in zip(RULES, GREYS, DASHES, strict=False)}
        self.lines = {rule: ax.plot([], [], zorder=3, **look)[0] for rule, look in looks.items()}
        self.lines["fixed"] = ax.plot([], [], color=INK, zorder=3)[0]
        beside = {"transform": ax.transAxes, "clip_on": False}
        for y, (rule, look) in zip((0.93, 0.8, 0.67), looks.items(), strict=True):
            ax.plot((1.03, 1.12), (y, y), linewidth=1.6, **look, **beside)
            ax.text(1.15, y, SHORT[rule], color=INK, fontsize=8, va="center", **beside)
        self.now = ax.text(1.03, 0.42, "", color=INK, fontsize=9, va="center", transform=ax.transAxes)
        self.cursors = [ax.axvline(0, color=INK, linewidth=1.1, zorder=4)]

    def _build_course(self, ax: Axes) -> None:
        most = len(self.counts) / min(mask.sum() for mask in self.groups.values())
        ax.set(xlim=(0, self.last), ylim=(0, 1.04 * most), xlabel="epochs done")
        ax.set_title("Mean class weight", fontsize=9.5, loc="left", pad=4)
        looks = [GROUP_COLOURS[name] for name in self.groups]
        self.means = [ax.plot([], [], color=c, linewidth=1.8, zorder=3)[0] for c in looks]
        places = np.linspace(0.86, 0.14, len(looks))
        self.told = [
            ax.text(1.04, y, "", color=c, fontsize=8.5, va="center", transform=ax.transAxes)
            for y, c in zip(places, looks, strict=True)
        ]
        self.cursors.append(ax.axvline(0, color=INK, linewidth=1.1, zorder=4))

    def draw(self, result: Dial) -> None:
        at, course = result.epoch - 1, result.course
        _draw_bars(self.bars, self.noise, np.nan_to_num(result.accuracy), result.here.accuracy_band[:, 0])
        _draw_bars(self.weights, self.moves, result.weight, result.here.weight_band[:, 0])
        self.surface.limit(self.axes[WEIGHTS], (0.0, _upper_end(result)))
        epochs = np.arange(1, self.last + 1)
        low, high = course.tau_band
        outline = np.concatenate([np.column_stack([epochs, low]), np.column_stack([epochs, high])[::-1]])
        self.band.set_verts([outline])
        for rule, line in self.lines.items():
            chosen = rule == result.rule
            values = course.tau if chosen else result.readings.get(rule)
            line.set_data(([], []) if values is None else (epochs, values))
            line.set_linewidth(2.6 if chosen else 1.1)
        self.now.set_text(f"τ = {result.tau:.2f}")
        for line, text, row, name in zip(self.means, self.told, result.groups, self.groups, strict=True):
            line.set_data(epochs, row)
            text.set_text(f"{GROUPS[name]}\n{row[at]:.2f}")
        for cursor in self.cursors:
            cursor.set_xdata([result.epoch, result.epoch])

    def say(self, result: Dial) -> str:
        low, high = (f"{one:.1f}" for one in result.here.tau_band[:, 0])
        most = result.weight.max()
        largest = _which(self.called.values(), np.isclose(result.weight, most))
        kept = ", ".join(f"{self.called[name]} at {in_percent(value)}" for name, value in self.held.items())
        said = "" if result.used else " (not what this run was trained with)"
        band = low if low == high else f"{low} to {high}"
        return (
            f"{result.training}, {result.epoch} of {self.last} epochs done: "
            f"best, {self._at(result, np.nanmax)}; worst, {self._at(result, np.nanmin)}. "
            f"τ = {result.tau:.2f} ({SHORT[result.rule]}; the true accuracies would give about {band}, 95% band). "
            f"Largest class weight: {number(most)}, of {largest}{said}." + (f" Held: {kept}." if kept else "")
        )

    def _at(self, result: Dial, end: Any) -> str:
        """The class or classes at the highest or the lowest accuracy, with that accuracy, in words."""
        value = end(result.accuracy)
        return f"{_which(self.called.values(), result.accuracy == value)} ({in_percent(value)})"

    # ------------------------------------------------------------------------------------------------- pointing
    def regions(self) -> list[Region]:
        names = tuple(self.names)
        accuracy, weights, exponent, course = self.axes
        return [
            Region.of(accuracy, "accuracy", xname="class", xnames=names, yname="accuracy", percent="y"),
            Region.of(weights, "class weights", xname="class", xnames=names, yname="class weight"),
            Region.of(exponent, "exponent", xname="epoch", yname="τ"),
            Region.of(course, "mean class weight", xname="epoch", yname="weight"),
        ]

    def marks(self, result: Dial) -> list[Point]:
        at, found = result.epoch - 1, []
        for j, (name, count) in enumerate(zip(self.names, self.counts, strict=True)):
            low, high = result.here.accuracy_band[:, 0, j]
            name = self.called[name]
            told = f"{name} ({count:,} images): accuracy {in_percent(result.accuracy[j])}"
            found.append(Point(j, result.accuracy[j], f"{told}, about {low:.0%} to {high:.0%}", ACCURACY))
            low, high = result.here.weight_band[:, 0, j]
            told = f"{name}: class weight {number(result.weight[j])}, about {low:.1f} to {high:.1f}"
            found.append(Point(j, result.weight[j], told, WEIGHTS))
        for rule, values in result.readings.items():
            found.append(Point(result.epoch, values[at], f"{SHORT[rule]}: τ = {values[at]:.2f}", EXPONENT))
        for name, row in zip(self.groups, result.groups, strict=True):
            found.append(Point(result.epoch, row[at], f"{GROUPS[name]} classes: mean weight {row[at]:.2f}", COURSE))
        return found

    def handles(self, result: Dial) -> list[Handle]:
        ends = (1, self.last)
        found = [Handle("epoch", result.epoch, result.tau, "epoch", "x", ends, region=EXPONENT, step=1)]
        for j, (name, value) in enumerate(zip(self.names, result.accuracy, strict=True)):
            if np.isfinite(value):
                of_class = f"accuracy of {self.called[name]}"
                found.append(Handle(f"accuracy {j}", j, value, of_class, "y", ylim=(0, 1), step=0.01))
        return found

    def dragged(self, drag: Drag) -> None:
        """The epoch, or the accuracy of a class, which is then held at every epoch."""
        if not drag.name.startswith("accuracy "):
            super().dragged(drag)
            return
        name = self.names[int(drag.name.split()[1])]
        self.held = {**self.held, name: round(float(np.clip(drag.y, 0.0, 1.0)), 3)}
        self.screen.forget()  # all epochs have changed
        self.refresh()

    def reset(self) -> None:
        """Every control back to where it was at first, and no accuracy held."""
        self.held = {}
        self.screen.forget()
        super().reset()

    # ------------------------------------------------------------------------------------------------- as code
    @property
    def state(self) -> dict[str, Any]:
        return {**self.values, **({"held": dict(self.held)} if self.held else {})}

    def data_code(self) -> list[str]:
        return [name_of(self.given) or "runs"]

    @classmethod
    def from_state(cls, state: Mapping[str, Any], *data: Any) -> FeedbackDial:
        """The explorer of this state, of the same runs. ValueError for a name it does not have."""
        check.instance("state", state, Mapping, STATE_OF)
        return super().from_state(state, *data)


def _which(names: Iterable[str], mask: np.ndarray) -> str:
    """The one class of these, or how many there are."""
    found = [name for name, one in zip(names, mask, strict=True) if one]
    return found[0] if len(found) == 1 else f"{len(found)} classes"


def in_percent(value: float) -> str:
    """0.6 -> "60%", 0.852 -> "85.2%"."""
    return "unknown" if np.isnan(value) else f"{100 * value:.3g}%"


def _upper_end(result: Dial) -> float:
    """Of the axis of weights: room for those of all epochs with their bands, so that it rests from epoch to epoch."""
    parts = (result.course.weight, result.course.weight_band[1], result.here.weight_band[1])
    top = ROOM * max(float(np.nanmax(part)) for part in parts)
    return next((one for one in RUNGS if one >= top), ROOM * RUNGS[-1])


def _draw_bars(bars: PolyCollection, noise: Any, values: np.ndarray, band: np.ndarray) -> None:
    """Bars of these heights (k,), and a line from the lower to the upper end (2, k) of each."""
    x = np.arange(len(values))
    left, right, zero = x - WIDE / 2, x + WIDE / 2, np.zeros(len(values))
    corners = np.stack([[left, zero], [right, zero], [right, values], [left, values]])  # (4, 2, k)
    bars.set_verts(corners.transpose(2, 0, 1))
    ends = np.stack([band[0], band[1], np.full(len(values), np.nan)], 1)
    noise.set_data(np.repeat(x, 3), ends.ravel())


def _held(value: Any, names: list[str]) -> dict[str, float]:
    """Accuracies by class name. ValueError for an unknown class, and for what is no accuracy."""
    expected = "None, or accuracies by class name, a dict"
    given = {} if value is None else check.instance("held", value, Mapping, expected)
    return {check.choice("held", name, names): check.number(f"held[{name!r}]", one, 0.0, 1.0)
            for name, one in given.items()}  # fmt: skip


def _checked(runs: Any) -> dict[str, Run]:
    """Runs by label, with validation accuracies of the same classes and epochs. ValueError for anything else."""
    expected = "a run, or a dict: label -> run, not empty"
    found = {runs.label: runs} if isinstance(runs, Run) else runs
    if not isinstance(found, Mapping) or not found:
        raise check.refuse("runs", runs, expected)
    first = None
    for name, run in found.items():
        check.text("runs", name)
        check.instance(f"runs[{name!r}]", run, Run, "a run, from lt.train, lt.load_run or lt.recorded")
        first, accuracy = first or run, run.history.get("val_accuracy")
        if accuracy is None or not len(accuracy) or np.isnan(accuracy).all(1).any():
            raise check.refuse(f"runs[{name!r}]", run, "a run with validation accuracies: train it on data that holds "
                               "validation images")  # fmt: skip
        same = accuracy.shape == first.history["val_accuracy"].shape and np.array_equal(run.counts, first.counts)
        if not same or list(run.class_names) != list(first.class_names) or not 2 <= run.k <= MOST:
            raise check.refuse(f"runs[{name!r}]", run, f"runs of the same 2 to {MOST} classes in the same order, with "
                               "the same counts and as many epochs")  # fmt: skip
    return dict(found)


def feedback_dial(
    runs: Run | Mapping[str, Run],
    epoch: int | None = None,
    tau_rule: str = "paper",
    images: int | None = None,
    training: str | None = None,
    tau: float = 1.0,
    held: Mapping[str, float] | None = None,
) -> FeedbackDial:
    """Replay how class-difficulty weights follow from validation accuracies, and see how sure they are.

    runs: one run or label -> run, all of the same classes, counts and number of epochs. epoch: from 1 to the last.
    tau_rule: a reading of the exponent, as in `methods.cdb`; tau in [0, 2]: the exponent where the rule is "fixed".
    images, 1 to 1,000: validation images of each class, for the bands of the true accuracies and of what follows from
    them, as in `metrics.difficulty_course` (default: as many as the runs had). training: the label shown first. held:
    accuracies by class name that replace the recorded ones at every epoch; bars are dragged.
    Cannot show what training under another rule would have done: the accuracies are those of the recorded run.
    """
    return FeedbackDial(runs, epoch, tau_rule, images, training, tau, held)
