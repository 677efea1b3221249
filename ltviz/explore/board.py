"""The picture of a lab: loss, validation accuracy, and the runs so far in rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import MaxNLocator

from .. import metrics
from ..plots.picture import GROUP_COLOURS, INK, QUIET, look, percent
from ..plots.series import Series, series_of
from ..plots.surface import Surface
from ..run import Run
from .loss_anatomy import LADDER

ROWS = 6  # of the comparison; the first stays, the latest follow
DASHES = {"all": "-", "head": (0, (6, 1.5)), "mid": (0, (3, 1.5)), "tail": (0, (1.2, 1.2))}


@dataclass(frozen=True)
class Row:
    """One line of the comparison: accuracy of each seed, and the paired difference to the first (None: it is first)."""

    name: str
    values: np.ndarray
    pair: metrics.Paired | None
    words: str


@dataclass(frozen=True)
class View:
    """What is drawn: curves of the run under way, loss of the seeds before it, rows of the comparison."""

    epochs: int
    epoch: np.ndarray
    loss: np.ndarray
    earlier: list[np.ndarray]
    groups: dict[str, np.ndarray]
    note: str
    group: str
    rows: list[Row]


class Board:
    """Axes and artists of a lab, made once; `draw` moves them."""

    def __init__(self, surface: Surface):
        grid = surface.figure.add_gridspec(
            2, 2, left=0.075, right=0.98, top=0.935, bottom=0.085, wspace=0.2, hspace=0.42, height_ratios=(1, 0.95)
        )
        self.left, self.right = surface.figure.add_subplot(grid[0, 0]), surface.figure.add_subplot(grid[0, 1])
        self.bottom = surface.figure.add_subplot(grid[1, :])
        self.quiet = {"ha": "center", "va": "center", "color": QUIET, "fontsize": 9}
        self._build_curves()
        self._build_rows()
        surface.animate(*self.past, self.loss, *self.curves.values(), self.note)
        surface.animate(self.empty, *self.names, *self.verdicts, *self.dots, *self.means)

    def _build_curves(self) -> None:
        left, right = self.left, self.right
        left.set(title="Training loss", xlabel="epoch", ylim=(0, 3.2), xlim=(0, 60))
        right.set(title="Validation", xlabel="epoch", ylim=(0, 1.03), xlim=(0, 60))
        percent(right.yaxis)
        self.past = [left.plot([], [], color=QUIET, lw=1.0, alpha=0.45)[0] for _ in range(10)]
        (self.loss,) = left.plot([], [], color=INK, lw=2.0)
        self.curves = {
            name: right.plot([], [], color=GROUP_COLOURS.get(name, INK), lw=2.0, ls=dash, label=name)[0]
            for name, dash in DASHES.items()
        }
        beside = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.01), "ncols": 4}
        right.legend(**beside, fontsize=8, handlelength=1.6, columnspacing=0.8, handletextpad=0.3)
        self.note = right.text(0.5, 0.5, "", transform=right.transAxes, **self.quiet)

    def _build_rows(self) -> None:
        bottom = self.bottom
        box = bottom.get_position()
        bottom.set_position([0.30, box.y0, 0.40, box.height])
        bottom.set(ylim=(ROWS - 0.5, -0.6), xlim=(0, 1))
        bottom.set_yticks([])
        bottom.grid(True, axis="x")
        bottom.grid(False, axis="y")
        bottom.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        percent(bottom.xaxis)
        self.heading = bottom.set_title("The runs so far: test accuracy", x=-0.69)
        self.names, self.verdicts, self.dots, self.means = [], [], [], []
        for i in range(ROWS):
            kind = look(i)
            at = {"transform": bottom.get_yaxis_transform(), "va": "center", "fontsize": 8.5, "parse_math": False}
            self.names.append(bottom.text(-0.025, i, "", ha="right", **at))
            self.verdicts.append(bottom.text(1.03, i, "", ha="left", **at))
            edge = {"markeredgecolor": "white", "markeredgewidth": 0.6}
            self.dots += bottom.plot([], [], ls="", marker=kind["marker"], color=kind["color"], ms=6, zorder=3, **edge)
            self.means += bottom.plot([], [], color=kind["color"], lw=3.2, alpha=0.45, zorder=2)
        self.empty = bottom.text(0.5, 0.5, "Runs that are done appear here", transform=bottom.transAxes, **self.quiet)

    def draw(self, view: View) -> None:
        """Move the artists; the lock is held."""
        at = view.epoch
        self.loss.set_data(at, view.loss)
        for i, line in enumerate(self.past):
            past = view.earlier[i] if i < len(view.earlier) else []
            line.set_data(np.arange(1, len(past) + 1), past)
        for name, line in self.curves.items():
            values = view.groups.get(name, [])
            line.set_data(at[: len(values)], values)
        if self.note.get_text() != view.note:
            self.note.set_text(view.note)
        if self.left.get_xlim() != (0, view.epochs):
            self.left.set_xlim(0, view.epochs)
            self.right.set_xlim(0, view.epochs)
        losses = np.concatenate([view.loss, *view.earlier])
        losses = losses[np.isfinite(losses)]
        top = losses.max() if len(losses) else 2.5
        high = LADDER[min(np.searchsorted(LADDER, top), len(LADDER) - 1)]
        if self.left.get_ylim() != (0, high):
            self.left.set_ylim(0, high)
        self._draw_rows(view)

    def _draw_rows(self, view: View) -> None:
        rows, word = view.rows, {"all": "accuracy"}.get(view.group, f"{view.group} accuracy")
        if self.heading.get_text() != (title := f"The runs so far: test {word}"):
            self.heading.set_text(title)
        self.empty.set_visible(not rows)
        for i in range(ROWS):
            row = rows[i] if i < len(rows) else None
            values = np.sort(row.values) if row else np.array([])
            self.names[i].set_text(two_lines(row.name) if row else "")
            self.verdicts[i].set_text(two_lines(row.words) if row else "")
            jitter = np.linspace(-0.14, 0.14, len(values)) if len(values) > 1 else np.zeros(len(values))
            self.dots[i].set_data(values, i + jitter)
            mean = values.mean() if len(values) else np.nan
            self.means[i].set_data([mean, mean], [i - 0.3, i + 0.3])
        values = np.concatenate([row.values for row in rows] or [np.array([0.0, 1.0])])
        values = values[np.isfinite(values)]
        if len(values):
            low, high = math.floor(values.min() * 10 - 0.2) / 10, math.ceil(values.max() * 10 + 0.2) / 10
            if self.bottom.get_xlim() != (max(low, -0.02), min(high, 1.02)):
                self.bottom.set_xlim(max(low, -0.02), min(high, 1.02))


def compare(runs: Sequence[Run], group: str) -> list[Row]:
    """The runs as rows: the first series, and the latest ones, each with its paired difference to the first."""
    found = series_of(list(runs)) if runs else []
    found = [*found[:1], *found[max(1, len(found) - ROWS + 1) :]]
    rows = []
    for i, one in enumerate(found):
        one.runs.sort(key=lambda run: run.seed)
        pair, words = (None, "compared with this") if i == 0 else _against(one, found[0], group)
        rows.append(Row(one.label, one.groups()[group], pair, words))
    return rows


def _against(one: Series, first: Series, group: str) -> tuple[metrics.Paired | None, str]:
    """The paired difference to the first row, where both have runs of one seed on the same data."""
    mine = {run.seed: run.data.get("fingerprint") for run in one.runs}
    theirs = {run.seed: run.data.get("fingerprint") for run in first.runs}
    shared = mine.keys() & theirs.keys()
    if any(mine[seed] != theirs[seed] for seed in shared):
        return None, "other data"
    if not shared:
        return None, "no seed in common"
    pair = metrics.paired(one.runs, first.runs, group)
    if np.isnan(pair.mean):
        return pair, pair.verdict
    if pair.n == 1 and len(mine | theirs) > 1:  # the means beside it are over more seeds than this difference
        return pair, f"one shared seed: {100 * pair.mean:+.1f} pp"
    error = "" if np.isnan(pair.se) else f" ± {100 * pair.se:.1f}"
    return pair, f"{100 * pair.mean:+.1f}{error} pp: {pair.verdict.replace(metrics.ONE_SEED, 'one seed')}"


def two_lines(name: str, letters: int = 34) -> str:
    """A text on at most two lines."""
    if len(name) <= letters:
        return name
    cut = name.rfind(" ", 0, letters)
    first, rest = (name[:cut], name[cut + 1 :]) if cut > 0 else (name[:letters], name[letters:])
    return f"{first}\n{rest if len(rest) <= letters else rest[: letters - 1] + '…'}"


def mean_of_classes(accuracy: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mean accuracy (epochs,) of some classes, from (epochs, k); classes without an image (NaN) are left out."""
    known = np.isfinite(accuracy) & mask
    total = np.where(known, accuracy, 0.0).sum(1)
    return np.where(known.any(1), total / np.maximum(known.sum(1), 1), np.nan)
