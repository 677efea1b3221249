"""Explorer: how many samples a class counts for, and what that makes of the class weights, as beta moves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from .. import functional
from ..metrics import third_groups
from ..objective import Setting
from ..plots.picture import CLASS_COLOURS, FAINT, GROUP_COLOURS, GROUP_MARKERS, INK, PALETTE, QUIET, number
from ..plots.series import class_counts
from ..plots.surface import Surface
from .base import Explorer
from .controls import control

BETA = Setting(0.999, 0.0, 0.99999, "one-minus-log", symbol="β", meaning="(N - 1) / N for N prototypes of a class")
REFERENCES = (0.9, 0.99, 0.999, 0.9999)
PLACES = np.linspace(0.0, 5.0, 201)  # of beta: -log10(1 - beta)


@dataclass(frozen=True)
class Effect:
    """At one beta: effective number along n (points,), and of each class (k,); weight of each class (k,)."""

    beta: float
    curve: np.ndarray
    effective: np.ndarray
    weight: np.ndarray


class EffectiveNumber(Explorer):
    """Effective number against the number of images, and class weights against beta (Cui et al. 2019, eq. 2 and 4)."""

    function = "effective_number"
    title = "Effective number of samples"
    size = (7.6, 3.7)

    def __init__(self, counts: Any, beta: float = BETA.default):
        self.counts = np.sort(class_counts(counts))[::-1].copy()
        self.n = np.unique(np.concatenate([np.geomspace(1, max(self.counts.max(), 2), 200), self.counts.clip(1)]))
        super().__init__({"beta": control("beta", BETA, beta)})

    def build(self, surface: Surface) -> None:
        left, right = surface.figure.subplots(1, 2)
        surface.figure.subplots_adjust(left=0.075, right=0.97, bottom=0.145, top=0.9, wspace=0.2)
        self._build_numbers(left)
        self._build_weights(right)
        for axis in (left.xaxis, left.yaxis, right.yaxis):
            axis.set_major_formatter(lambda value, _: number(value))
            axis.set_minor_formatter(NullFormatter())
        groups = third_groups(self.counts)
        groups = groups if groups["head"].any() else {"mid": np.ones(len(self.counts), bool)}
        self.marks = {
            name: (mask, *(self._points(ax, name) for ax in (left, right)))
            for name, mask in groups.items()
            if mask.any()
        }
        if len(self.marks) > 1:
            shapes = [on_left for _, on_left, _ in self.marks.values()]
            handles = [Line2D([], [], ls="", marker=p.get_marker(), color=p.get_color(), ms=6) for p in shapes]
            left.legend(handles, [f"{name} classes" for name in self.marks], loc="lower right", handletextpad=0.2)
        surface.animate(
            self.limit, self.ceiling, self.line, self.cursor, *(p for _, *pair in self.marks.values() for p in pair)
        )

    def _build_numbers(self, left: Any) -> None:
        """Effective number against the number of images, with curves of reference."""
        largest = self.n[-1]
        left.set(xscale="log", yscale="log", xlim=(0.85, largest * 1.3), ylim=(0.8, largest * 1.5))
        left.set(xlabel="images of the class, n", ylabel="effective number", title="What n images count for")
        left.plot(self.n, self.n, color=QUIET, lw=1.1, ls=(0, (1, 2)))
        left.text(
            largest,
            largest * 1.06,
            "β → 1: every image counts",
            ha="right",
            va="bottom",
            fontsize=8,
            color=QUIET,
            rotation=45,
            rotation_mode="anchor",
            transform_rotates_text=True,
        )
        for beta in REFERENCES:
            curve = _effective(self.n, beta)
            left.plot(self.n, curve, color=FAINT, lw=1.3, zorder=1)
            if curve[-1] < 0.75 * largest:
                left.annotate(
                    f"{beta:g}",
                    (largest, curve[-1]),
                    (2, 3),
                    textcoords="offset points",
                    ha="right",
                    va="bottom",
                    fontsize=8,
                    color=QUIET,
                )
        self.limit = left.axhline(1, color=PALETTE[3], lw=1, ls=(0, (5, 2)), zorder=2)
        self.ceiling = left.text(1, 1, "limit 1 / (1 - β)", fontsize=8, color=PALETTE[3], va="bottom", clip_on=True)
        (self.line,) = left.plot(self.n, self.n, color=INK, lw=2.2, zorder=3)

    def _build_weights(self, right: Any) -> None:
        """Weight of each class against beta."""
        counts = self.counts
        weights = np.stack([_weights(counts, 1 - 10.0**-u) for u in PLACES], 1)  # (k, places)
        low, high = weights[weights > 0].min(), weights.max()
        right.set(yscale="log", xlim=(-0.1, 5.1), ylim=(low / 1.35, high * 1.35))
        right.set(xlabel="β", ylabel="class weight, mean 1", title="Weight of each class")
        right.set_xticks(range(6), ["0", "0.9", "0.99", "0.999", "0.9999", "0.99999"])
        ramp = matplotlib.colormaps[CLASS_COLOURS](np.linspace(0.0, 0.85, len(counts)))
        lines = [np.column_stack([PLACES, row]) for row in weights if (row > 0).all()]
        right.add_collection(LineCollection(lines, colors=ramp, linewidths=1.5 if len(counts) < 30 else 0.8, zorder=1))
        right.annotate(
            f"rarest, {counts[-1]:,.0f}",
            (5, weights[-1, -1]),
            (0, 4),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize=8,
            color=INK,
        )
        right.annotate(
            f"commonest, {counts[0]:,.0f}",
            (5, weights[0, -1]),
            (0, -4),
            textcoords="offset points",
            ha="right",
            va="top",
            fontsize=8,
            color=INK,
        )
        self.cursor = right.axvline(0, color=INK, lw=1.1, zorder=2)

    @staticmethod
    def _points(ax: Any, group: str) -> Any:
        return ax.plot(
            [],
            [],
            ls="",
            marker=GROUP_MARKERS[group],
            color=GROUP_COLOURS[group],
            ms=6,
            markeredgecolor="white",
            markeredgewidth=0.7,
            zorder=4,
            label=group,
        )[0]

    def compute(self, beta: float) -> Effect:
        return Effect(beta, _effective(self.n, beta), _effective(self.counts, beta), _weights(self.counts, beta))

    def draw(self, result: Effect) -> None:
        place = -np.log10(max(1.0 - result.beta, 1e-5))
        self.line.set_ydata(result.curve)
        ceiling = 1.0 / (1.0 - result.beta)
        self.limit.set_ydata([ceiling, ceiling])
        self.ceiling.set_y(1.04 * ceiling)
        self.cursor.set_xdata([place, place])
        for mask, on_left, on_right in self.marks.values():
            on_left.set_data(self.counts[mask], result.effective[mask])
            on_right.set_data(np.full(mask.sum(), place), result.weight[mask])

    def say(self, result: Effect) -> str:
        rarest = int(np.flatnonzero(self.counts).max())  # of the classes that have images
        most, least = self.counts[0], self.counts[rarest]
        times = result.weight[rarest] / result.weight[0]
        return (
            f"beta = {result.beta:g}: {most:,.0f} images count for {result.effective[0]:,.3g}, {least:,.0f} for "
            f"{result.effective[rarest]:,.3g}, so the rarest class weighs {times:,.3g} times the commonest."
        )

    def data_code(self) -> list[str]:
        return [repr([int(n) if n == int(n) else float(n) for n in self.counts])]


def _effective(n: np.ndarray, beta: float) -> np.ndarray:
    return functional.effective_number(torch.from_numpy(n), beta).numpy()


def _weights(counts: np.ndarray, beta: float) -> np.ndarray:
    amount = functional.effective_number(torch.from_numpy(counts), beta)
    return functional.inverse_weights(amount).numpy()


def effective_number(counts: Any, beta: float = BETA.default) -> EffectiveNumber:
    """Slide beta; see what n images count for, and what becomes of the class weights.

    counts (k,): training images of each class, or a data set or run that has them. beta in [0, 0.99999].
    """
    return EffectiveNumber(counts, beta)
