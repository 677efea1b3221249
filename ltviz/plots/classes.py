"""What plots of classes share: the axis of classes, their points, and a line over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from .. import check
from ..metrics import third_groups
from .picture import (
    EDGE,
    GROUP_COLOURS,
    GROUP_INK,
    GROUP_MARKERS,
    MANY,
    band,
    bin_ranks,
    bin_size,
    look,
    mean_sd,
    points_up,
    several,
)
from .text import literal, short_names, width

NAMED = 14  # classes; of more, the axis shows ranks


def need_counts(values: Any) -> None:
    """ValueError for numbers in the place of runs, which nothing says the counts of."""
    try:
        found = check.to_array(values, copy=False)
    except Exception:  # whatever it is, it is no array
        return
    if found.size and found.dtype.kind in "iuf":
        raise ValueError("counts=None: arrays need counts (k,) beside them, the training images of each class")


def class_axis(
    ax: Axes,
    counts: np.ndarray,
    names: Sequence[str] | None = None,
    say_counts: bool = True,
    binned: bool = False,
) -> None:
    """Classes in order of count along x: head, mid and tail shaded, names and counts below as far as they fit.

    counts (k,) descending. names: None where the classes of one rank differ from seed to seed. say_counts: False where
    the counts are what is plotted. binned: True where points of many classes are means (see `bin_ranks`).
    """
    k = len(counts)
    ax.set_xlim(-0.5 - 0.01 * k, k - 0.5 + 0.01 * k)
    shade_groups(ax, counts)
    if k > NAMED:
        ticks = np.maximum(MaxNLocator(6, integer=True).tick_values(1, k), 1).astype(int)
        ticks = np.unique(ticks[ticks <= k])
        ax.set_xticks(ticks - 1, [f"{tick:,}" for tick in ticks])
        means = f"; means of {bin_size(k)} ranks" if binned and bin_size(k) > 1 else ""
        ax.set_xlabel(f"rank of the class by training images (first {counts[0]:,.0f}, last {counts[-1]:,.0f}{means})")
        return
    first = [str(j + 1) for j in range(k)] if names is None else short_names(names, 18)
    second = [f"{n:,.0f}" for n in counts] if say_counts else [""] * k
    longest = max(map(width, first + second))
    if longest * 0.07 < ax.bbox.width / ax.get_figure(root=True).dpi / k:
        ax.set_xticks(
            range(k), [f"{a}\n{b}".strip() for a, b in zip(first, second, strict=True)], linespacing=1.35, **literal()
        )
    else:
        labels = [f"{a} {b}".strip() for a, b in zip(first, second, strict=True)]
        ax.set_xticks(range(k), labels, rotation=35, ha="right", rotation_mode="anchor", **literal())
    what = "class" if names is not None else "rank of the class"
    ax.set_xlabel(f"{what}, and its training images" if say_counts else f"{what}, most frequent first")


def drawn_groups(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Masks (k,) of head, mid and tail, those that are not empty; or "all", where equal counts make no groups."""
    found = {name: mask for name, mask in third_groups(counts).items() if mask.any()}
    return found or {"all": np.ones(len(counts), bool)}


def no_groups(counts: np.ndarray) -> str:
    """What a sentence adds where there are neither head nor tail classes; else nothing."""
    if drawn_groups(counts).keys() != {"all"}:
        return ""
    return " All classes have the same number of training images: there are no head and tail classes."


def shade_groups(ax: Axes, counts: np.ndarray) -> None:
    """Tint the head, mid and tail thirds of a class axis and name them above it."""
    for name, mask in drawn_groups(counts).items():
        at = np.flatnonzero(mask)
        if name == "all":
            continue
        ax.axvspan(at[0] - 0.5, at[-1] + 0.5, color=GROUP_COLOURS[name], alpha=0.06, linewidth=0, zorder=0)
        above = {"transform": ax.get_xaxis_transform() + points_up(ax, 3), "ha": "center", "va": "bottom"}
        ax.text((at[0] + at[-1]) / 2, 1.0, name, fontsize=8, color=GROUP_INK[name], gid="group", **above)


class GroupPoints:
    """A point for each class, by rank, in the colour and shape of its group; `update` moves them all.

    Classes of equal counts are in no group, and have one look.
    """

    def __init__(self, ax: Axes, counts: np.ndarray, size: float = 6):
        self.masks = drawn_groups(counts)
        self.artists = [
            ax.plot([], [], GROUP_MARKERS[name], color=GROUP_COLOURS[name], markersize=size, zorder=4, **EDGE)[0]
            for name in self.masks
        ]

    def update(self, x: np.ndarray, y: np.ndarray) -> None:
        """x, y (k,): where the classes are now."""
        for mask, points in zip(self.masks.values(), self.artists, strict=True):
            points.set_data(x[mask], y[mask])


def class_band(ax: Axes, rows: np.ndarray, index: int, name: str) -> None:
    """Mean line of rows (seeds, classes), with a band of one standard deviation where there are several seeds.

    With more than BINNED classes each point is the mean of neighbouring ranks, or their scatter would hide the course.
    """
    x, rows = bin_ranks(rows)
    kind = look(index) | ({"marker": ""} if len(x) > MANY else {})
    band(ax, x, *mean_sd(rows), label=f"{name} ({several(rows, 'sd')})", zorder=3, **EDGE, **kind)
