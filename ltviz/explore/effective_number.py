"""Explorer: how many samples a class counts for, and what that makes of the class weights, as beta moves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D

from ..objective import Setting
from ..plots.classes import GroupPoints
from ..plots.picture import CLASS_COLOURS, FAINT, INK, MANY, PALETTE, QUIET, number, offset, plain_log
from ..plots.series import class_counts
from ..plots.surface import Surface
from ..plots.weights import BETAS, EffectiveNumbers, balanced_weights, effective
from .base import Explorer
from .controls import control
from .frames import Handle, Point, Region

BETA = Setting(0.999, 0.0, 0.99999, "one-minus-log", symbol="β", meaning="(N - 1) / N for N prototypes of a class")
MARKS = 40  # classes that can be pointed at, at most
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
    size = (7.6, 4.0)

    def __init__(self, counts: Any, beta: float = BETA.default):
        self.counts = np.sort(class_counts(counts, alone=True))[::-1].copy()
        super().__init__({"beta": control("beta", BETA, beta)})

    def build(self, surface: Surface) -> None:
        left, right = surface.figure.subplots(1, 2)
        surface.figure.subplots_adjust(left=0.1, right=0.965, bottom=0.215, top=0.905, wspace=0.22)
        self._build_numbers(left)
        self._build_weights(right)
        self.classes = [GroupPoints(ax, self.counts) for ax in (left, right)]
        points = self.classes[0]
        handles = [Line2D([], [], ls="", marker=p.get_marker(), color=p.get_color()) for p in points.artists]
        names = [f"{name} classes" if len(handles) > 1 else "the classes" for name in points.masks]
        same = left.lines[0]
        place = {"loc": "lower center", "bbox_to_anchor": (0.53, 0.005), "handlelength": 1.8}
        surface.figure.legend([*handles, same], [*names, same.get_label()], ncols=len(handles) + 1, **place)
        moving = [artist for points in self.classes for artist in points.artists]
        surface.animate(self.limit, self.ceiling, self.line, self.cursor, *moving)

    def _build_numbers(self, ax: Axes) -> None:
        """Effective number against the number of images, with curves of reference."""
        self.panel = EffectiveNumbers(ax, self.counts)
        largest = self.panel.n[-1]
        ax.set(xlim=(0.85, largest * 1.3), ylim=(0.8, largest * 1.5), title="What n images count for")
        free = 0.85 * (largest * 1.3 / 0.85) ** 0.79  # where on the axis a name at the right end begins
        for beta in BETAS:
            end = self.panel.add(beta, color=FAINT, linewidth=1.3, zorder=1).get_ydata()[-1]
            if 1.5 * end < free:  # it has room below the line of equality
                ax.annotate(f"β = {beta:g}", (largest, end), (4, 3), color=QUIET, **offset("right", "bottom"))
        self.limit = ax.axhline(1, color=PALETTE[3], linewidth=1, linestyle=(0, (5, 2)), zorder=2)
        across = ax.get_yaxis_transform()
        self.ceiling = ax.text(0, 1, "limit 1 / (1 - β)", fontsize=8, color=PALETTE[3], transform=across, clip_on=True)
        self.line = self.panel.add(0.0, color=INK, linewidth=2.2, zorder=3)

    def _build_weights(self, ax: Axes) -> None:
        """Weight of each class against beta."""
        counts = self.counts
        weights = np.stack([balanced_weights(counts, 1 - 10.0**-place) for place in PLACES], 1)  # (k, places)
        low, high = weights[weights > 0].min(), weights.max()
        room = max(1.35, (high / low) ** 0.12)
        ax.set(yscale="log", xlim=(-0.1, 5.1), ylim=(low / room, high * room))
        ax.set(xlabel="β", ylabel="class weight (log scale, mean 1)", title="Weight of each class")
        ax.set_xticks(range(6), ["0", "0.9", "0.99", "0.999", "0.9999", "0.99999"])
        plain_log(ax.yaxis)
        ramp = matplotlib.colormaps[CLASS_COLOURS](np.linspace(0.0, 0.85, len(counts)))
        present = weights[:, 0] > 0
        lines = [np.column_stack([PLACES, row]) for row in weights[present]]
        wide = 1.5 if len(counts) <= MANY else 0.8
        ax.add_collection(LineCollection(lines, colors=ramp[present], linewidths=wide, zorder=1))
        for rank, name, va in ((np.flatnonzero(present)[-1], "rarest", "bottom"), (0, "largest", "top")):
            end, up = (5, weights[rank, -1]), 4 if va == "bottom" else -4
            ax.annotate(f"{name}, {counts[rank]:,.0f}", end, (0, up), color=INK, **offset("right", va))
        self.cursor = ax.axvline(0, color=INK, linewidth=1.1, zorder=2)

    def compute(self, beta: float) -> Effect:
        weight = balanced_weights(self.counts, beta)
        return Effect(beta, effective(self.panel.n, beta), effective(self.counts, beta), weight)

    def draw(self, result: Effect) -> None:
        place, ceiling = -np.log10(max(1.0 - result.beta, 1e-5)), 1.0 / (1.0 - result.beta)
        self.line.set_ydata(result.curve)
        self.limit.set_ydata([ceiling, ceiling])
        self._name_limit(ceiling)
        self.cursor.set_xdata([place, place])
        self.classes[0].update(self.counts, result.effective)
        self.classes[1].update(np.full(len(self.counts), place), result.weight)

    def _name_limit(self, ceiling: float) -> None:
        """The limit's name: left of the line of equality, or right of it where the limit is low."""
        low, high = np.log(self.panel.ax.get_ylim())
        height = (np.log(ceiling) - low) / (high - low)  # as a fraction of the axis
        below = height > 0.93
        x, side, up = (0.02, "left", 1.06) if height > 0.33 else (0.72, "right", 1.25)  # above the marks on the limit
        self.ceiling.set(x=x, ha=side, y=ceiling / up if below else ceiling * up, va="top" if below else "bottom")

    def say(self, result: Effect) -> str:
        rarest = int(np.flatnonzero(self.counts).max())  # of the classes that have images
        most, least = self.counts[0], self.counts[rarest]
        times = number(result.weight[rarest] / result.weight[0])
        weighs = "as much as" if times == "1" else f"{times} times as much as"
        return (
            f"β = {result.beta:g}: {most:,.0f} images count for {number(result.effective[0])}, {least:,.0f} for "
            f"{number(result.effective[rarest])}, so an image of the rarest class weighs {weighs} one of the most "
            "frequent."
        )

    def regions(self) -> list[Region]:
        left, right = (points.artists[0].axes for points in self.classes)
        numbers = Region.of(left, "effective number", xname="images", yname="count for")
        place = Region.of(right, "class weights", xname="β", yname="weight")
        (start, _, stop, _), (low, high) = place.box, place.x
        ends = [start + (end - low) / (high - low) * (stop - start) for end in (PLACES[0], PLACES[-1])]
        box = (ends[0], place.box[1], ends[1], place.box[3])
        return [numbers, replace(place, box=box, x=(BETA.low, BETA.high), xscale="one-minus-log")]

    def marks(self, result: Effect) -> list[Point]:
        some = np.unique(np.linspace(0, len(self.counts) - 1, MARKS).round().astype(int))
        found = []
        for j in (j for j in some if self.counts[j] > 0):
            images, counts_for, weight = self.counts[j], result.effective[j], result.weight[j]
            whose = f"Class of {images:,.0f} images, number {j + 1} of {len(self.counts)} by count"
            found.append(Point(images, counts_for, f"{whose}: they count for {number(counts_for)}"))
            found.append(Point(min(result.beta, BETA.high), weight, f"{whose}: weight {number(weight)}", 1))
        return found

    def handles(self, result: Effect) -> list[Handle]:
        bottom = self.classes[1].artists[0].axes.get_ylim()[0]
        beta = min(max(result.beta, BETA.low), BETA.high)
        return [Handle("beta", beta, bottom, "beta", "x", (BETA.low, BETA.high), region=1)]

    def data_code(self) -> list[str]:
        return [repr([int(n) if n == int(n) else float(n) for n in self.counts])]


def effective_number(counts: Any, beta: float = BETA.default) -> EffectiveNumber:
    """Slide beta; see what n images count for, and what becomes of the class weights.

    counts (k,): training images of each class, or a data set or run that has them. beta in [0, 0.99999].
    """
    return EffectiveNumber(counts, beta)
