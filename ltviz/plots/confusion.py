"""Where the images of each class go. seaborn draws the heat map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import seaborn
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from .. import metrics
from .picture import GROUP_COLOURS, QUIET, Picture, as_percent, draws, get_axes
from .series import array, by_count, class_counts, class_names, is_run, seeds, series_of


@draws
def plot_confusion(
    runs: Any, counts: Any = None, *, title: str = "", ax: Axes | Sequence[Axes] | None = None
) -> Picture:
    """Confusion matrix, classes by count, each row as shares of the true class; above it the share of predictions.

    runs: a run, or the seeds of one name (their confusions by rank are summed), or a matrix (k, k), rows true, with
    counts (k,). The bars above say how often each class is predicted at all; dotted: how often it is right to (the
    class's share of test images). ax: two axes (bars, matrix).
    `.data`: confusion (k, k) by rank, predicted (k,), true (k,), counts.

    Shows that tail images are taken for head classes. Cannot show how sure the network is: see plot_reliability.
    """
    matrix, n, names, label, many = _matrix(runs, counts)
    k, total = len(n), matrix.sum()
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    predicted, true = matrix.sum(0) / max(total, 1), matrix.sum(1) / max(total, 1)
    side = 5.0 if k <= 14 else 4.6
    bars, ax = get_axes(ax, side + 1.3, side + 1.25, panels=2) if ax is not None else _two(side)
    x = np.arange(k) + 0.5
    colours = np.select([m[:, None] for m in metrics.third_groups(n).values()],
                        [np.array([_rgb(GROUP_COLOURS[g])]) for g in ("head", "mid", "tail")])
    bars.bar(x, predicted, width=0.8 if k <= 40 else 1.0, color=colours)
    bars.step(np.arange(k + 1), np.append(true, true[-1]), where="post", color=QUIET, linestyle=(0, (1, 1.5)),
              linewidth=1.4)
    bars.set(xlim=(0, k), xticks=[], ylabel="share of\npredictions")
    bars.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    bars.locator_params(axis="y", nbins=3)
    _heat(ax, share, n, names, k)
    bars.set_title(title or f"Where images of each class go: {label}"[:60] + (f" ({seeds(many)})" if label else ""))
    said = _says(share, predicted, true, n, label)
    return Picture([ax, bars], {"confusion": matrix, "predicted": predicted, "true": true, "counts": n}, said)


def _matrix(runs: Any, counts: Any) -> tuple[np.ndarray, np.ndarray, list[str] | None, str, int]:
    """(confusion by rank, counts by rank, names, label, number of seeds)."""
    if counts is not None and not is_run(runs):
        n = class_counts(counts)
        matrix = metrics.confusion(array(runs))
        if len(matrix) != len(n):
            raise ValueError(f"counts must have one entry per class ({len(matrix)}), not {len(n)}")
        order = by_count(n)
        return matrix[np.ix_(order, order)], n[order], [str(j) for j in order], "", 1
    found = series_of(runs)
    if len(found) > 1:
        raise ValueError(f"plot_confusion draws one method, given {', '.join(s.name for s in found)}; choose one")
    orders = [by_count(class_counts(run)) for run in found[0].runs]
    matrix = sum(metrics.confusion(run)[np.ix_(o, o)] for run, o in zip(found[0].runs, orders, strict=True))
    return matrix, found[0].counts, class_names(found), found[0].name, len(orders)


def _two(side: float) -> tuple[Axes, Axes]:
    from .picture import new_figure

    axes = new_figure(side + 1.1, side + 1.2).subplots(2, 1, height_ratios=[1, 5.2])
    return axes[0], axes[1]


def _rgb(colour: str) -> tuple[float, float, float]:
    from matplotlib.colors import to_rgb

    return to_rgb(colour)


def _heat(ax: Axes, share: np.ndarray, n: np.ndarray, names: list[str] | None, k: int) -> None:
    small = k <= 14
    written = np.where(share >= 0.005, np.char.mod("%.0f", 100 * share), "") if small else False
    seaborn.heatmap(share, ax=ax, vmin=0, vmax=1, cmap="magma_r", annot=written, fmt="", annot_kws={"fontsize": 8},
                    cbar=not small, linewidths=0.6 if small else 0, xticklabels=False, yticklabels=False,
                    cbar_kws=None if small else {"format": PercentFormatter(1.0), "label": "share of the true class"},
                    rasterized=not small)
    ax.grid(False)
    first = [str(name)[:12] for name in names] if names else [str(j + 1) for j in range(k)]
    if small:
        ax.set_yticks(np.arange(k) + 0.5, [f"{f} ({c:,.0f})" for f, c in zip(first, n, strict=True)], rotation=0)
        long = max(map(len, first)) > 3
        ax.set_xticks(np.arange(k) + 0.5, first, rotation=40 if long else 0, ha="right" if long else "center",
                      rotation_mode="anchor" if long else "default")
    else:
        at = np.unique(np.linspace(0, k - 1, 6).round().astype(int))
        ax.set_xticks(at + 0.5, at + 1)
        ax.set_yticks(at + 0.5, [f"{j + 1} ({n[j]:,.0f})" for j in at], rotation=0)
    what = "class" if names and small else "rank of the class"
    ax.set_xlabel(f"predicted {what}" + (" (cells: % of the true class)" if small else ""))
    ax.set_ylabel(f"true {what} (training images)")


def _says(share: np.ndarray, predicted: np.ndarray, true: np.ndarray, n: np.ndarray, label: str) -> str:
    groups = metrics.third_groups(n)
    head, tail = groups["head"], groups["tail"]
    who = f"{label}: " if label else ""
    if not head.any():
        return f"{who}{as_percent(float(np.diagonal(share).mean()))} of the classes' images are decided rightly."
    lost = float(share[np.ix_(tail, head)].sum(1).mean())
    right = float(np.diagonal(share)[tail].mean())
    never = int((predicted == 0).sum())
    return (f"{who}of the images of tail classes {as_percent(right)} are decided rightly and {as_percent(lost)} are "
            f"taken for head classes; head classes make {as_percent(float(predicted[head].sum()))} of predictions and "
            f"{as_percent(float(true[head].sum()))} of the images; {never} of {len(n)} classes are never predicted.")
