"""Explorer: the length of each classifier vector against the count of its class, and the slides' law."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from .. import check, metrics
from ..objective import Setting
from ..plots.picture import EDGE, PALETTE, QUIET
from ..plots.surface import Surface
from ..plots.text import short
from ..plots.weight_norms import SLIDES
from ..run import Run
from .base import STATE_OF, Explorer
from .controls import Choice, Number
from .frames import Handle, Point, Region
from .notebook import name_of
from .screen import Click

FACTOR = Setting(SLIDES, 1.0, 15.0, symbol="s", meaning="s in n proportional to exp(s ||W||); the slides say 7")
LAW, TRAININGS = range(2)  # the regions of the picture


@dataclass(frozen=True)
class Law:
    """One way of training: lengths, counts (seeds * classes with images,), the law as a line, and how well it fits.

    line: lengths and counts of its two ends, from the smallest count to the largest
    explains (seeds,): R^2 of log n under the factor; fitted (seeds,): the factor that fits best.
    """

    shown: str
    factor: float
    norms: np.ndarray
    counts: np.ndarray
    line: tuple[np.ndarray, np.ndarray]
    explains: np.ndarray
    fitted: np.ndarray


class Lengths(Explorer):
    """Left: the classifier vectors of every seed, and the law with the slider's factor. Right: the best factors."""

    function = "lengths"
    title = "Lengths against counts"
    size = (7.6, 3.9)

    def __init__(self, groups: Mapping[str, Sequence[Run]], factor: float = SLIDES, training: str | None = None):
        self.groups = _checked(groups)
        self.norms = {
            name: [np.linalg.norm(run.head_weight, axis=1).astype(np.float64) for run in runs]
            for name, runs in self.groups.items()
        }
        self.fits = {name: [metrics.weight_norm_fit(run) for run in runs] for name, runs in self.groups.items()}
        names = tuple(self.groups)
        which = Setting(names[0], choices=names, meaning="how the networks were trained")
        training = names[0] if training is None else training
        controls = {"factor": Number("factor", FACTOR, factor), "training": Choice("training", which, training)}
        super().__init__(controls)
        self.screen.on_click(self._clicked)

    def compute(self, factor: float, training: str) -> Law:
        runs, norms = self.groups[training], self.norms[training]
        counts = [run.counts.astype(np.float64) for run in runs]
        seen = np.concatenate(counts) > 0  # the log of none is not known
        lengths, logs = np.concatenate(norms)[seen], np.log(np.concatenate(counts)[seen])
        ends = np.array([logs.min(), logs.max()])
        reached = lengths.mean() + (ends - logs.mean()) / factor
        explains = [metrics.law_explains(x, n, factor) for x, n in zip(norms, counts, strict=True)]
        return Law(
            training, factor, lengths, np.exp(logs), (reached, np.exp(ends)), np.array(explains),
            np.array([fit.s for fit in self.fits[training]]),
        )  # fmt: skip

    def build(self, surface: Surface) -> None:
        place = surface.figure.add_axes
        self.law, self.rows = place((0.095, 0.15, 0.36, 0.75)), place((0.675, 0.15, 0.29, 0.75))
        self._build_law(self.law)
        self._build_rows(self.rows)
        surface.animate(self.dots, self.line, self.cursor, self.chosen)

    def _build_law(self, ax: Axes) -> None:
        every = np.concatenate([row for rows in self.norms.values() for row in rows])
        counts = np.concatenate([run.counts for runs in self.groups.values() for run in runs])
        every, counts = every[counts > 0], counts[counts > 0]
        # The law predicts log n from the length, so its errors are vertical here, as the fit measures them.
        ax.set_yscale("log")
        ax.set(ylim=(counts.min() / 1.3, counts.max() * 1.3), xlim=(0, 1.08 * every.max()))
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        ax.yaxis.set_minor_formatter(NullFormatter())
        ax.set_xlabel("length of the classifier vector")
        ax.set_title("Training images of the class (log scale)", fontsize=9.5, loc="left", pad=4)
        self.dots = ax.plot([], [], "o", color=PALETTE[0], markersize=5, alpha=0.75, zorder=3, **EDGE)[0]
        self.line = ax.plot([], [], color=PALETTE[1], linewidth=2.4, zorder=4)[0]

    def _build_rows(self, ax: Axes) -> None:
        names = list(self.groups)
        ax.set(
            xlim=(FACTOR.low, FACTOR.high),
            ylim=(len(names) - 0.5, -0.5),
            xlabel=f"factor s (dotted: {SLIDES:g}, as in the slides)",
        )
        ax.set_yticks(range(len(names)), [short(name, 24) for name in names], fontsize=8)
        ax.set_title("s that fits best, a dot a seed", fontsize=9.5, loc="left", pad=4)
        ax.grid(False, axis="y")
        ax.axvline(SLIDES, color=QUIET, linestyle=(0, (1, 2)), linewidth=1.4)
        self.chosen = ax.plot([], [], "o", color=PALETTE[1], markersize=9, zorder=5, **EDGE)[0]
        for i, name in enumerate(names):
            found = np.array([fit.s for fit in self.fits[name]])
            inside = found[(found >= FACTOR.low) & (found <= FACTOR.high)]
            ax.plot(inside, np.full(len(inside), i), "o", color=PALETTE[0], markersize=6, zorder=3, **EDGE)
            if len(inside) < len(found):
                told = f"{len(found) - len(inside)} of {len(found)} outside"
                ax.annotate(told, (FACTOR.high, i), (-3, 0), textcoords="offset points", ha="right", va="center",
                            fontsize=7.5, color=QUIET)  # fmt: skip
        self.cursor = ax.axvline(SLIDES, color=PALETTE[1], linewidth=2, zorder=4)

    def draw(self, result: Law) -> None:
        self.dots.set_data(result.norms, result.counts)
        self.line.set_data(*result.line)
        self.cursor.set_xdata([result.factor, result.factor])
        self.chosen.set_data(result.fitted, np.full(len(result.fitted), list(self.groups).index(result.shown)))

    def say(self, result: Law) -> str:
        fits = self.fits[result.shown]
        n = len(fits)
        rho = np.mean([fit.rho for fit in fits])
        held = float(np.mean(result.explains))
        how = (
            f"explains {held:.0%} of the variance of log n"
            if held >= 0
            else "fits worse than predicting the same count for every class"
        )
        return (
            f"{result.shown}: with s = {result.factor:g} the law {how}, mean over {n} seed{'s' if n > 1 else ''}. "
            f"Best s: {result.fitted.min():.1f} to {result.fitted.max():.1f}; rank correlation with counts {rho:.2f}."
            f"{self._left_out(result.shown)}"
        )

    def _left_out(self, shown: str) -> str:
        """A sentence where classes have no training images, whose logs are not known."""
        none = max(int((run.counts == 0).sum()) for run in self.groups[shown])
        if not none:
            return ""
        verb = "is" if none == 1 else "are"
        return f" {check.many(none, 'class', 'classes')} without training images {verb} left out."

    # ------------------------------------------------------------------------------------------------- pointing
    def regions(self) -> list[Region]:
        names = tuple(self.groups)
        return [
            Region.of(self.law, "lengths", xname="length", yname="images"),
            Region.of(self.rows, "trainings", xname="s", yname="training", ynames=names),
        ]

    def marks(self, result: Law) -> list[Point]:
        found = [
            Point(x, n, f"{n:,.0f} training images: length {x:.2f}", LAW)
            for n, x in zip(result.counts, result.norms, strict=True)
        ]
        for i, (name, fits) in enumerate(self.fits.items()):
            found += [
                Point(fit.s, i, f"{name}: best s {fit.s:.1f}, rank correlation {fit.rho:.2f}", TRAININGS)
                for fit in fits
                if FACTOR.low <= fit.s <= FACTOR.high
            ]
        return found

    def handles(self, result: Law) -> list[Handle]:
        at = list(self.groups).index(result.shown)
        ends, step = (FACTOR.low, FACTOR.high), self.controls["factor"].step
        return [Handle("factor", result.factor, at, "factor s", "x", ends, region=TRAININGS, step=step)]

    def _clicked(self, event: Click) -> None:
        if event.region == TRAININGS:
            names = list(self.groups)
            self.set(training=names[int(np.clip(round(event.y), 0, len(names) - 1))])

    # ------------------------------------------------------------------------------------------------- as code
    def data_code(self) -> list[str]:
        return [name_of(self.groups) or "groups"]

    @classmethod
    def from_state(cls, state: Mapping[str, Any], *data: Any) -> Lengths:
        """The explorer of this state, of the same runs. ValueError for a name it does not have."""
        check.instance("state", state, Mapping, STATE_OF)
        return super().from_state(state, *data)


def _checked(groups: Any) -> Mapping[str, Sequence[Run]]:
    """Runs with a linear classifier by label. ValueError for anything else."""
    expected = "a dict: label -> list of runs, not empty"
    if not check.instance("groups", groups, Mapping, expected):
        raise check.refuse("groups", groups, expected)
    for name, runs in groups.items():
        check.text("groups", name)
        if not isinstance(runs, (list, tuple)) or not runs or not all(isinstance(run, Run) for run in runs):
            raise check.refuse(f"groups[{name!r}]", runs, "a list of runs, one a seed")
        for run in runs:
            linear = run.scale is None and run.head_weight is not None and np.isfinite(run.head_weight).all()
            if not linear or np.ptp(run.counts[run.counts > 0]) == 0:
                how = f" ({check.remedy(run, 'head_weight')})" if run.head_weight is None else ""
                expected = f"runs with a linear classifier, finite, and classes of several sizes{how}"
                raise check.refuse(f"groups[{name!r}]", run, expected)
    return groups


def lengths(groups: Mapping[str, Sequence[Run]], factor: float = SLIDES, training: str | None = None) -> Lengths:
    """Slide the factor s of n proportional to exp(s ||W||) over the classifier vectors of several ways of training.

    groups: label -> runs, one a seed; factor in [1, 15], 7 in the slides; training: the label drawn. The line goes
    through the centre of the dots. Source of the law: Li et al. 2020 (Dual Loss, slides).
    Shows whether lengths follow counts, and with which factor. Cannot show that lengths cause errors.
    """
    return Lengths(groups, factor, training)
