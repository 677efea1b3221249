"""The picture of a lab: loss, validation accuracy, and the runs so far in rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ..plots.comparison import WORDS, Row, SeedRows
from ..plots.comparison import compare as compare_series
from ..plots.history import frame_history, mean_of_classes
from ..plots.picture import INK, QUIET, band, group_look, rung
from ..plots.series import series_of
from ..plots.surface import Surface
from ..run import Run

__all__ = ["ROWS", "Board", "Row", "View", "compare", "mean_of_classes"]

ROWS = 6  # of the comparison; the first stays, the latest follow
PAST = 10  # seeds whose loss stays in sight
NOTHING = np.array([])


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
            2, 2, left=0.085, right=0.98, top=0.935, bottom=0.085, wspace=0.24, hspace=0.46, height_ratios=(1, 0.95)
        )
        self.left, self.right = surface.figure.add_subplot(grid[0, 0]), surface.figure.add_subplot(grid[0, 1])
        self.bottom = surface.figure.add_subplot(grid[1, :])
        quiet = {"ha": "center", "va": "center", "color": QUIET, "fontsize": 9}
        frame_history(self.left, self.right)
        self.past = [self._curve(self.left, color=QUIET, linewidth=1.0, alpha=0.45) for _ in range(PAST)]
        self.loss = self._curve(self.left, color=INK)
        self.curves = {
            name: self._curve(self.right, label=name, **group_look(name)) for name in ("all", "head", "mid", "tail")
        }
        beside = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.01), "ncols": 4, "columnspacing": 0.8}
        self.right.legend(**beside, fontsize=8, handlelength=1.9, handletextpad=0.3)
        self.note = self.right.text(0.5, 0.5, "", transform=self.right.transAxes, **quiet)
        box = self.bottom.get_position()
        self.bottom.set_position([0.30, box.y0, 0.40, box.height])
        self.rows = SeedRows(self.bottom, [None] * ROWS, lines=2)
        self.heading = self.bottom.set_title("", x=-0.69)
        waits = "Runs that are done appear here"
        self.empty = self.bottom.text(0.5, 0.5, waits, transform=self.bottom.transAxes, **quiet)
        surface.animate(*self.past, self.loss, *self.curves.values(), self.note, self.empty, *self.rows.moving)

    @staticmethod
    def _curve(ax: Axes, **kind: Any) -> Line2D:
        return band(ax, NOTHING, NOTHING, NOTHING, markevery=0.15, markersize=4.5, **kind)

    def draw(self, view: View) -> None:
        """Move the artists; the lock is held."""
        self.loss.set_data(view.epoch, view.loss)
        for i, curve in enumerate(self.past):
            past = view.earlier[i] if i < len(view.earlier) else NOTHING
            curve.set_data(np.arange(1, len(past) + 1), past)
        for name, curve in self.curves.items():
            values = view.groups.get(name, NOTHING)
            curve.set_data(view.epoch[: len(values)], values)
        self.note.set_text(view.note)
        losses = np.concatenate([view.loss, *view.earlier])
        losses = losses[np.isfinite(losses)]
        self.rows.update(view.rows)
        self.empty.set_visible(not view.rows)
        _put(self.heading, "text", f"The runs so far: test {WORDS[view.group]}")
        _put(self.left, "xlim", (0, view.epochs))
        _put(self.right, "xlim", (0, view.epochs))
        _put(self.left, "ylim", (0, rung(losses.max() if len(losses) else 2.5)))
        _put(self.bottom, "xlim", _reach(view.rows))


def _put(artist: Any, name: str, value: Any) -> None:
    """Set what stands still only where it changes: the background is then drawn anew."""
    if getattr(artist, f"get_{name}")() != value:
        getattr(artist, f"set_{name}")(value)


def _reach(rows: Sequence[Row]) -> tuple[float, float]:
    """Ends of the axis of accuracies, in steps of ten percent."""
    values = np.concatenate([NOTHING, *(row.values for row in rows)])
    values = values[np.isfinite(values)]
    if not len(values):
        return (-0.02, 1.02)
    low, high = math.floor(values.min() * 10 - 0.2) / 10, math.ceil(values.max() * 10 + 0.2) / 10
    return max(low, -0.02), min(high, 1.02)


def compare(runs: Sequence[Run], group: str) -> list[Row]:
    """The runs as rows: the first series, and the latest ones, each with its paired difference to the first."""
    found = series_of(list(runs)) if runs else []
    found = [*found[:1], *found[max(1, len(found) - ROWS + 1) :]]
    for one in found:
        one.runs.sort(key=lambda run: run.seed)
    return compare_series(found, found[0], group, other_data="other data") if found else []
