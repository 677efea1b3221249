"""Explorer: from which probability on a class is answered, and what that costs where it is used."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from .. import check, metrics
from ..datasets import LongTailed
from ..objective import Setting
from ..plots.binary import REACH, base, drawn, false_alarms, spoken, the_class, thinned, threshold_axis
from ..plots.picture import DASHES, FAINT, GROUP_COLOURS, INK, PALETTE, QUIET, as_percent, number, percent
from ..plots.series import class_counts, given_names, test_scores
from ..plots.surface import Surface
from ..plots.text import short
from ..run import Run
from .base import Explorer
from .controls import control
from .frames import Handle, Point, Region
from .notebook import name_of

LOG_ODDS = Setting(
    0.0, -REACH, REACH,
    meaning="the class is answered from these log-odds, log p / (1 - p), on: 0 is p = 50%, -4.6 is 1%, 4.6 is 99%",
)  # fmt: skip
COST = Setting(10.0, 0.1, 10_000.0, "log", meaning="what a missed case costs, in false alarms")
RAREST = 1e-6  # prevalence
PREVALENCE = Setting(
    0.5, RAREST, 1.0, "log", meaning="share of cases where the network is used; at first that of the test set"
)
BINS = np.linspace(-REACH, REACH, 49)
OF = 10_000  # images that the four numbers are counted in
WORST = 2.4  # of the cost axis, in costs of deciding without looking
FROM = {"validation": "least on the validation images", "calibrated": "least if the probabilities are right"}
CELLS = (("found", 0, 1), ("missed", 1, 1), ("false alarms", 0, 0), ("left alone", 1, 0))


@dataclass(frozen=True)
class Decision:
    """One threshold at one cost ratio and prevalence.

    counts: found, missed, false alarms, left alone, of OF images. cost: of an image, in false alarms; blind: without
    looking. chosen: the recommended threshold, as log-odds; chosen_cost: of an image, on the test set. costs, along
    (m,): cost and precision at every threshold.
    """

    log_odds: float
    ratio: float
    prevalence: float
    counts: tuple[float, float, float, float]
    recall: float
    precision: float
    cost: float
    blind: float
    chosen: float
    chosen_cost: float
    costs: np.ndarray
    along: np.ndarray


class Threshold(Explorer):
    """Scores of both sides, precision against recall, and the expected cost, as threshold, cost and prevalence move.

    `chosen` says where the recommended threshold comes from: "validation" images, or "calibrated", which needs no data.
    Never from the test images, which only show what it costs.
    """

    function = "threshold"
    title = "Where to put the threshold"
    size = (7.6, 4.9)

    def __init__(
        self,
        run: Run,
        log_odds: float = LOG_ODDS.default,
        cost: float = COST.default,
        prevalence: float | None = None,
        *,
        positive: int | str | None = None,
        validation: Any = None,
    ):
        check.instance("run", run, Run, "a run: what ltviz.train or ltviz.from_predictions returns")
        scores, targets = test_scores(run, run.name)
        self.run, self.given = run, (positive, validation)
        self.j = the_class(run, positive)
        self.name, self.called = (of(given_names(run, run.k)[self.j], 20) for of in (short, spoken))
        self.of = _two_sides(targets == self.j, "test", run, self.j)
        self.odds = metrics.log_odds(scores, self.j, run.probability)
        self.cut = metrics.cutoffs(self.of, self.odds)
        self.held = _held_out(run, validation, self.j)
        self.chosen = "calibrated" if self.held is None else "validation"
        counts = class_counts(run)
        self.trained = float(counts[self.j] / counts.sum())
        seen = float(f"{self.cut.base_rate:.3g}")
        settings = {
            "log_odds": (LOG_ODDS, log_odds), "cost": (COST, cost),
            "prevalence": (replace(PREVALENCE, default=seen), seen if prevalence is None else prevalence),
        }  # fmt: skip
        super().__init__({name: control(name, setting, value) for name, (setting, value) in settings.items()})

    # ------------------------------------------------------------------------------------------------- the picture
    def build(self, surface: Surface) -> None:
        figure = surface.figure
        self._build_scores(figure.add_axes((0.075, 0.63, 0.44, 0.30)))
        self._build_costs(figure.add_axes((0.075, 0.115, 0.44, 0.37)))
        self._build_curve(figure.add_axes((0.615, 0.56, 0.365, 0.37)))
        self._build_counts(figure.add_axes((0.615, 0.06, 0.365, 0.33)))
        moving = (*self.cursors, self.costs, self.pick, self.here, self.curve, self.at, self.rate)
        surface.animate(*moving, *self.written)

    def _build_scores(self, ax: Axes) -> None:
        self.scores = ax
        for side, group, label in ((~self.of, "head", "all others"), (self.of, "tail", self.called)):
            values = np.clip(self.odds[side], BINS[0], BINS[-1])
            share = np.histogram(values, BINS)[0] / side.sum()
            kind = {"color": GROUP_COLOURS[group], "linewidth": 1.6, "linestyle": DASHES[group == "tail"]}
            ax.stairs(share, BINS, label=f"{label} ({side.sum():,})", **kind)
            ax.stairs(share, BINS, fill=True, alpha=0.16, color=GROUP_COLOURS[group])
        threshold_axis(ax)
        ax.set_ylim(0, None)
        ax.set(ylabel="share", title="Test images by their probability")
        ax.tick_params(axis="x", labelbottom=False)
        ax.set_yticks([])
        ax.legend(loc="upper right", fontsize=8, handlelength=1.4)
        self.cursors = [ax.axvline(0.0, ymax=0.84, color=INK, linewidth=1.2)]  # below the legend

    def _build_costs(self, ax: Axes) -> None:
        self.cost_axes = ax
        threshold_axis(ax)
        ax.set_xticks(ax.get_xticks()[1:-1:2], [tick.get_text() for tick in ax.get_xticklabels()][1:-1:2])
        ax.set(ylim=(0, WORST), xlabel=f"answered {self.called} from this probability on", ylabel="relative cost")
        ax.set_title("Expected cost (1: without looking)")
        ax.set_yticks([0, 1, 2], ["0", "1", "2"])
        ax.axhline(1.0, color=QUIET, linewidth=1.2, linestyle=(0, (1, 2)))
        (self.costs,) = ax.plot([], [], color=PALETTE[0], linewidth=1.8, drawstyle="steps-pre", zorder=3)
        self.pick = ax.axvline(0.0, ymax=0.9, color=PALETTE[3], linewidth=1.6, linestyle=DASHES[1], zorder=2)
        self.cursors.append(ax.axvline(0.0, ymax=0.9, color=INK, linewidth=1.2, zorder=4))
        (self.here,) = ax.plot([], [], "o", color=INK, markersize=7, zorder=5, clip_on=False, markeredgecolor="white")
        ax.plot([], [], color=PALETTE[3], linewidth=1.6, linestyle=DASHES[1], label=FROM[self.chosen])
        ax.legend(loc="upper right", fontsize=8, handlelength=2.2)

    def _build_curve(self, ax: Axes) -> None:
        self.curve_axes = ax
        ax.set(xlim=(0, 1), ylim=(0, 1.03), xlabel="recall", ylabel="precision", title="Precision and recall there")
        percent(ax.xaxis)
        percent(ax.yaxis)
        ax.grid(True, axis="both", color=FAINT)
        (self.curve,) = ax.plot([], [], color=PALETTE[0], linewidth=1.8, drawstyle="steps-pre", zorder=3)
        (self.at,) = ax.plot([], [], "o", color=INK, markersize=7, zorder=5, clip_on=False, markeredgecolor="white")
        self.rate = ax.axhline(0.0, color=QUIET, linewidth=1.2, linestyle=(0, (1, 2)))

    def _build_counts(self, ax: Axes) -> None:
        self.count_axes = ax
        ax.set(xlim=(0, 2), ylim=(0, 2), title=f"Of {OF:,} images there")
        ax.axis("off")
        self.written = []
        for name, x, y in CELLS:
            colour = "#FDE8D7" if name in ("missed", "false alarms") else "#E3ECFF"
            ax.add_patch(Rectangle((x + 0.02, y + 0.03), 0.96, 0.94, linewidth=0, facecolor=colour))
            ax.text(x + 0.08, y + 0.8, name, fontsize=9, color=QUIET, va="center", zorder=3)
            text = {"fontsize": 15, "fontweight": "bold", "color": INK, "ha": "center", "va": "center"}
            self.written.append(ax.text(x + 0.5, y + 0.38, "", zorder=3, **text))

    # ------------------------------------------------------------------------------------------------- what it shows
    def compute(self, log_odds: float, cost: float, prevalence: float) -> Decision:
        cut, here = self.cut, self.cut.number(float(log_odds))
        costs, along = cut.cost(cost, prevalence), cut.precision(prevalence)
        if self.held is not None:
            chosen = self.held.best(cost, prevalence)
        else:
            chosen = metrics.logit(metrics.calibrated_threshold(cost, prevalence, self.trained))
        recall, alarm = float(cut.recall[here]), float(cut.false_alarm_rate[here])
        cases, others = OF * prevalence, OF * (1.0 - prevalence)
        counts = cases * recall, cases * (1.0 - recall), others * alarm, others * (1.0 - alarm)
        blind = min(cost * prevalence, 1.0 - prevalence)
        picked = float(costs[cut.number(float(chosen))])
        return Decision(log_odds, cost, prevalence, counts, recall, float(along[here]), float(costs[here]), blind,
                        float(chosen), picked, costs, along)  # fmt: skip

    def draw(self, result: Decision) -> None:
        unit = max(result.blind, 1e-300)
        x, y = drawn(self.cut.at, result.costs / unit)
        self.costs.set_data(x, np.minimum(y, 1.5 * WORST))
        for cursor in self.cursors:
            cursor.set_xdata([result.log_odds] * 2)
        self.here.set_data([result.log_odds], [min(result.cost / unit, WORST)])
        self.pick.set_xdata([float(np.clip(result.chosen, -REACH, REACH))] * 2)
        some = thinned(1 + np.flatnonzero(np.diff(self.cut.found)))
        self.curve.set_data(np.append(0.0, self.cut.recall[some]), np.append(result.along[some[0]], result.along[some]))
        self.at.set_data([result.recall], [result.precision])
        self.rate.set_ydata([result.prevalence] * 2)
        for text, n in zip(self.written, result.counts, strict=True):
            text.set_text(_many(n))

    def say(self, result: Decision) -> str:
        found, missed, alarms, _ = result.counts
        never = math.isnan(result.precision)
        right = "it is never answered" if never else f"{as_percent(result.precision)} of these answers are right"
        chosen = float(metrics.probability(result.chosen))
        where = {
            "validation": f"The validation images say {base(chosen)} for this cost",
            "calibrated": f"Were the probabilities right, {base(chosen)} would cost least (there are no validation "
            f"images to ask){self._moved(result)}",
        }[self.chosen]
        now = base(float(metrics.probability(result.log_odds)))
        return (
            f"{self.called} answered from {now} on, where {base(result.prevalence)} of the images are: of {OF:,} it "
            f"finds {_many(found)}, misses {_many(missed)} and gives {false_alarms(_many(alarms))}; {right}. An image "
            f"costs {false_alarms(number(result.cost))} on average, {number(result.blind)} without looking: "
            f"{_times(result.cost, result.blind)[0]}. {where}: on the test images that costs "
            f"{number(result.chosen_cost)}, {' '.join(_times(result.chosen_cost, result.blind))} without looking."
        )

    def _moved(self, result: Decision) -> str:
        """Why the threshold is not 1 / (1 + cost): the class is rarer, or more frequent, than it was in training."""
        usual, trained = base(1.0 / (1.0 + result.ratio)), base(self.trained)
        if trained == base(result.prevalence):
            return ""
        than = "lower" if result.prevalence > self.trained else "higher"
        return (
            f", {than} than 1 / (1 + cost) = {usual}, since {base(result.prevalence)} of the images are {self.called} "
            f"here and {trained} were in training"
        )

    # ------------------------------------------------------------------------------------------------- pointing
    def regions(self) -> list[Region]:
        return [
            Region.of(self.cost_axes, "expected cost", xname="log-odds", yname="cost"),
            Region.of(self.curve_axes, "precision and recall", percent="xy"),
        ]

    def marks(self, result: Decision) -> list[Point]:
        unit, found = max(result.blind, 1e-300), []
        for i in thinned(np.arange(len(self.cut.at)))[:: max(1, len(self.cut.at) // 60)]:
            at, share = self.cut.at[i], base(float(metrics.probability(self.cut.at[i])))
            told = f"from {share}: {false_alarms(number(float(result.costs[i])))} an image"
            found.append(Point(float(np.clip(at, -REACH, REACH)), min(float(result.costs[i]) / unit, WORST), told))
            if not math.isnan(result.along[i]):
                told = f"from {share}: recall {as_percent(self.cut.recall[i])}, precision {as_percent(result.along[i])}"
                found.append(Point(float(self.cut.recall[i]), float(result.along[i]), told, 1))
        return found

    def handles(self, result: Decision) -> list[Handle]:
        y = min(result.cost / max(result.blind, 1e-300), WORST)
        told = f"probability {base(float(metrics.probability(result.log_odds)))}"
        return [Handle("log_odds", result.log_odds, y, "threshold", "x", (-REACH, REACH), told=told)]

    # ------------------------------------------------------------------------------------------------- code
    def data_code(self) -> list[str]:
        return [name_of(self.run) or "run"]

    def as_code(self) -> str:
        """The one-line call that gives the present picture."""
        positive, validation = self.given
        more = [] if positive is None else [f"positive={positive!r}"]
        more += [] if validation is None else [f"validation={name_of(validation) or 'validation'}"]
        return super().as_code()[:-1] + "".join(f", {one}" for one in more) + ")"


def _times(cost: float, blind: float) -> tuple[str, str]:
    """How many times as much as deciding without looking: "2 times as much", "as"; without any cost "more", "than"."""
    if cost and not blind:
        return "more", "than"
    times = number(cost / blind) if blind else "1"
    return "just as much" if times == "1" else f"{times} times as much", "as"


def _many(n: float) -> str:
    """How many images, also where it is less than one."""
    if 0 < n < 0.05:
        return "< 0.1"
    return f"{n:,.0f}" if n >= 9.95 else f"{round(n, 1):g}"


def _held_out(run: Run, validation: Any, j: int) -> metrics.Cutoffs | None:
    """All thresholds on validation images, of the run's data set or as answers of their own; None without them."""
    if validation is None:
        return None
    expected = "the data set that the run was trained on, with validation images, or a run of answers to them"
    if isinstance(validation, Run):
        if list(validation.class_names) != list(run.class_names):
            raise check.refuse("validation", validation, f"{expected}; its classes are not those of {run.name!r}")
        if validation.logits is not None and validation.targets is not None and _same_answers(validation, run):
            raise check.refuse("validation", validation, f"{expected}; these are the test images themselves")
        _, targets = test_scores(validation, validation.name)
        _two_sides(targets == j, "validation", run, j)
        return metrics.cutoffs(validation, positive=j)
    check.instance("validation", validation, LongTailed, expected)
    if not validation.has_validation:
        raise check.refuse("validation", validation, f"{expected}; it has none, load it with validation=...")
    if run.data.get("fingerprint") != validation.fingerprint:
        raise check.refuse("validation", validation, f"{expected}; its images are not those of {run.name!r}")
    answered = run.predict(validation.val_images.cpu().numpy())
    of = _two_sides(check.to_array(validation.val_targets) == j, "validation", run, j)
    return metrics.cutoffs(of, metrics.log_odds(answered.logits, j, run.probability))


def _two_sides(of: np.ndarray, which: str, run: Run, j: int) -> np.ndarray:
    """Which images (n,) are of class j. ValueError where none or all of them are."""
    if of.any() and not of.all():
        return of
    name = given_names(run, run.k)[j]
    found = f"every {which} image is of class {name!r}" if of.any() else f"class {name!r} has no {which} image"
    raise ValueError(f"positive={j}: {found}; choose another class with positive=")


def _same_answers(one: Run, other: Run) -> bool:
    return one is other or (
        np.array_equal(one.targets, other.targets) and np.array_equal(one.logits, other.logits, equal_nan=True)
    )


def threshold(
    run: Run,
    log_odds: float = LOG_ODDS.default,
    cost: float = COST.default,
    prevalence: float | None = None,
    *,
    positive: int | str | None = None,
    validation: Any = None,
) -> Threshold:
    """Slide the threshold from which a class is answered; see what is found, what is missed, and what that costs.

    run: one that keeps logits of its test images (from lt.train, lt.collect or lt.from_predictions). positive: a class
    by number or name, against all others; None: the rarest. log_odds in [-12, 12]: the threshold as log p / (1 - p); 0
    is p = 50%, as a network of two classes decides. cost, 0.1 to 10,000: of a missed case, in false alarms. prevalence,
    1e-6 to 1: how often cases occur where it is used (None: as in the test set).

    validation: the data set of the run, whose validation images choose the threshold of least cost; or a run of answers
    to such images. Without them, the dashed line is 1 / (1 + cost), moved from the prevalence in training to that of
    use (Elkan 2001): right if the probabilities are. Test images choose nothing; they show what the choice costs.
    """
    return Threshold(run, log_odds, cost, prevalence, positive=positive, validation=validation)
