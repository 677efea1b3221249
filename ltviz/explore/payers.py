"""Who pays, in a lab: frequent against rare classes of each row, beside the line that the plain network's slider draws.

The frontier of a run is computed once, so that no control that is moved waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.transforms import Bbox

from .. import metrics
from ..metrics.comparison import UNFINISHED
from ..metrics.frontier import beyond_lines
from ..plots.picture import EDGE, QUIET, as_percent, offset, percent, points
from ..plots.who_pays import LINE, MARKED, centre, ends, frontier_lines
from ..run import Run
from .frames import Point
from .session import BASELINE

WRITTEN = (1.0, 0.0, 2.0)  # tau beside the line, as far as there is room; the other marks can be pointed at


@dataclass(frozen=True)
class Dot:
    """A row: mean accuracy of frequent and of rare classes, half widths of their 95% intervals (2,), and its distance.

    beyond: from the frontier of `base`, whose name stands in texts; None for the base itself and without a verdict.
    """

    label: str
    shown: str
    mean: np.ndarray
    half: np.ndarray
    beyond: metrics.Paired | None = None
    base: str = ""

    @property
    def told(self) -> str:
        """Whose it is, and its numbers."""
        each = zip(("frequent", "rare"), self.mean, self.half, strict=True)
        parts = [f"{name} {_with_half(mean, half)}" for name, mean, half in each]
        beyond = "" if self.beyond is None else f"; beyond the slider of {self.base}: rare {_distance(self.beyond)}"
        return f"{self.shown}: {', '.join(parts)}{beyond}"


@dataclass(frozen=True)
class Who:
    """What is drawn: the frontier of the base, a line for each of its seeds (s, t), and the dots on the same data."""

    base: str
    tau: np.ndarray
    head: np.ndarray
    tail: np.ndarray
    dots: list[Dot]

    @property
    def line(self) -> np.ndarray:
        """The mean of the lines over the seeds (t, 2)."""
        return np.column_stack([self.head.mean(0), self.tail.mean(0)])

    @property
    def marks(self) -> list[tuple[float, np.ndarray]]:
        """Each tau that is marked, and its place on the mean line."""
        line = self.line
        return [(tau, line[int(np.abs(self.tau - tau).argmin())]) for tau in MARKED]


class Payers:
    """From rows of a comparison to who pays. Frontiers are kept by the id of their run, dots by the runs of the row."""

    def __init__(self):
        self._lines: dict[Any, tuple[Any, metrics.Frontier | None]] = {}
        self._dots: dict[Any, tuple[Any, Dot]] = {}

    def line(self, run: Run) -> metrics.Frontier | None:
        """The frontier of a finished run of the plain network; None for another run, and without sound logits."""
        if run.method != BASELINE or run.status != "finished":
            return None
        key = (run.id, id(run.logits))
        if key not in self._lines:
            try:
                found = metrics.frontier(run)
            except ValueError:  # no logits, or not finite
                found = None
            if found is not None and np.isnan([found.head, found.tail]).any():  # fewer than three classes
                found = None
            self._lines[key] = run.logits, found
        return self._lines[key][1]

    def look(self, rows: Sequence[Any], sight: Sequence[Any]) -> tuple[Who | None, str]:
        """Who pays among the rows in sight (entries of a comparison), and in words how far each lies beyond.

        A row is compared with the plain network on its own data and, if it can be, of as many epochs. Drawn is the
        frontier that the latest such row is compared with, and what was trained on its data; None where there is none.
        """
        plain = [(row, {run.seed: line for run in row.runs if (line := self.line(run)) is not None}) for row in rows]
        plain = [(row, lines) for row, lines in plain if lines]
        bases = [_base(row, plain) for row in sight]
        dots = [self._dot(row, base) for row, base in zip(sight, bases, strict=True)]
        told = _in_words([dot for dot in dots if dot.beyond is not None and not np.isnan(dot.beyond.mean)])
        other = [base for row, base in zip(sight, bases, strict=True) if base is not None and base[0] is not row]
        if not other:
            return None, told
        base, lines = other[-1]
        mine = [dot for row, dot in zip(sight, dots, strict=True) if same_data(row, base)]
        mine = [dot for dot in mine if np.isfinite(dot.mean).all()]
        if all(dot.shown == base.shown for dot in mine):  # the others have no accuracy: they diverged
            return None, told
        return Who(base.shown, *frontier_lines(list(lines.values())), mine), told

    def _dot(self, row: Any, base: tuple[Any, dict[int, metrics.Frontier]] | None) -> Dot:
        plain, lines = (None, {}) if base is None or base[0] is row else base
        against = [run for run in plain.runs if run.seed in lines] if lines else []
        parts = [[(id(run), run.status) for run in of] for of in (row.runs, against)]
        key = (row.shown, plain and plain.shown, *map(tuple, parts))
        if key not in self._dots:
            shared = [run for run in row.runs if run.seed in lines]
            verdict = shared and not any(run.status in UNFINISHED for run in row.runs)
            beyond = beyond_lines(shared, [lines[run.seed] for run in shared]) if verdict else None
            made = Dot(row.label, row.shown, *centre(row.runs), beyond, plain.shown if plain else "")
            self._dots[key] = [*row.runs, *against], made
        return self._dots[key][1]


def _base(row: Any, plain: Sequence[tuple[Any, Any]]) -> tuple[Any, Any] | None:
    """Of the rows of the plain network, each with its lines, the one that a row is compared with."""
    there = [one for one in plain if same_data(row, one[0])]
    return max(there, key=lambda one: (one[0].epochs == row.epochs, one[0].label == BASELINE), default=None)


def same_data(one: Any, base: Any) -> bool:
    """Whether two have a seed in common, and the same data under each of those."""
    prints = [{run.seed: (run.data or {}).get("fingerprint") for run in of.runs} for of in (one, base)]
    shared = prints[0].keys() & prints[1].keys()
    return bool(shared) and all(prints[0][seed] == prints[1][seed] for seed in shared)


def _with_half(mean: float, half: float) -> str:
    return as_percent(mean) if np.isnan(half) else f"{100 * mean:.1f} ± {100 * half:.1f}%"


def _distance(found: metrics.Paired) -> str:
    error = "" if np.isnan(found.half) else f" ± {100 * found.half:.1f}"
    return f"{points(found.mean)}{error} pp ({found.verdict})"


def _in_words(dots: Sequence[Dot]) -> str:
    """How far these lie beyond the slider that each is compared with."""
    if len(dots) == 1:
        return f"Beyond the slider of {dots[0].base}: rare {_distance(dots[0].beyond)}."
    said = []
    for base in dict.fromkeys(dot.base for dot in dots):
        each = "; ".join(f"{dot.shown} {_distance(dot.beyond)}" for dot in dots if dot.base == base)
        said.append(f"Beyond the slider of {base}, rare classes: {each}.")
    return " ".join(said)


class PayersAxes:
    """Artists of who pays in an axes, made once; `draw` moves them. colours(label): colour and marker of a dot."""

    def __init__(self, ax: Axes, rows: int, colours: Callable[[str], dict[str, Any]]):
        self.ax, self.colours = ax, colours
        self.seeds = LineCollection([], colors=LINE, linewidths=0.8, alpha=0.45, zorder=1.2)
        self.bars = LineCollection([], linewidths=1.3, zorder=4)
        for lines in (self.seeds, self.bars):
            ax.add_collection(lines, autolim=False)
        (self.line,) = ax.plot([], [], color=LINE, linewidth=3, solid_capstyle="round", zorder=1.6)
        ring = {"color": "white", "markeredgecolor": LINE, "markeredgewidth": 1.6, "markersize": 4.5}
        (self.marks,) = ax.plot([], [], "o", zorder=1.8, **ring)
        beside = offset("right", "top") | {"fontsize": 8.5, "color": QUIET, "xytext": (-4, -2), "zorder": 1.9}
        beside["bbox"] = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.6}  # thin lines cross there
        self.taus = [ax.annotate("", (0, 0), **beside) for _ in WRITTEN]
        self.dots = [ax.plot([], [], linestyle="", markersize=7, zorder=5, **EDGE)[0] for _ in range(rows)]
        self.moving = [self.seeds, self.bars, self.line, self.marks, *self.taus, *self.dots]
        for axis in (ax.xaxis, ax.yaxis):
            percent(axis)
        ax.locator_params(nbins=4)
        ax.grid(True, axis="both")
        ax.set(xlabel="frequent third (test)", ylabel="rare third")

    def draw(self, who: Who | None) -> None:
        """Move the artists; None: nothing is seen of them."""
        line, dots = (np.empty((0, 2)), []) if who is None else (who.line, who.dots)
        marks = np.array([place for _, place in who.marks] if who else []).reshape(-1, 2)
        self.seeds.set_segments([] if who is None else np.stack([who.head, who.tail], -1))
        self.line.set_data(*line.T)
        self.marks.set_data(*marks.T)
        for i, artist in enumerate(self.dots):
            artist.set_data(*([[value] for value in dots[i].mean] if i < len(dots) else ([], [])))
            artist.set(**(self.colours(dots[i].label) if i < len(dots) else {}))
        bars = [(dot, axis) for dot in dots for axis in (0, 1) if np.isfinite(dot.half[axis])]
        self.bars.set_segments([[dot.mean + way * dot.half * np.eye(2)[axis] for way in (-1, 1)] for dot, axis in bars])
        self.bars.set_color([self.colours(dot.label)["color"] for dot, _ in bars] or LINE)
        for text in self.taus:
            text.set_text("")
        if who is not None:
            self._limit(np.vstack([line, *(dot.mean for dot in dots)]))
            self._write(dict(who.marks), dots)

    def _limit(self, places: np.ndarray) -> None:
        for name, (low, high) in zip(("xlim", "ylim"), ends(places), strict=True):
            kept = (np.floor(low * 20) / 20, np.ceil(high * 20) / 20)  # in steps: the background is seldom drawn anew
            if getattr(self.ax, f"get_{name}")() != kept:
                self.ax.set(**{name: kept})

    def _write(self, marks: dict[float, np.ndarray], dots: Sequence[Dot]) -> None:
        """Tau beside its mark, where that covers no dot, no other tau, and stays inside the axes."""
        renderer = self.ax.figure.canvas.get_renderer()
        pixel = self.ax.figure.dpi / 72
        centres = self.ax.transData.transform([dot.mean for dot in dots])
        taken = [Bbox.from_extents(x - 4 * pixel, y - 4 * pixel, x + 4 * pixel, y + 4 * pixel) for x, y in centres]
        for text, tau in zip(self.taus, WRITTEN, strict=True):
            text.set_text(f"τ = {tau:g}")
            text.xy = marks[tau]
            box = text.get_window_extent(renderer)
            inside = self.ax.bbox.contains(box.x0, box.y0) and self.ax.bbox.contains(box.x1, box.y1)
            if inside and not any(box.overlaps(other) for other in taken):
                taken.append(box)
            else:
                text.set_text("")

    @staticmethod
    def points(who: Who, region: int) -> list[Point]:
        """Every dot with whose it is and its numbers, and every tau that is marked."""
        told = [
            Point(x, y, f"slider of {who.base}, τ = {tau:g}: frequent {as_percent(x)}, rare {as_percent(y)}", region)
            for tau, (x, y) in who.marks
        ]
        return told + [Point(*dot.mean, dot.told, region) for dot in who.dots]
