"""Where the images of each class go. seaborn draws the heat map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import seaborn
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from .. import check, metrics
from .picture import (
    BINNED,
    DOTTED,
    GROUP_COLOURS,
    MANY,
    QUIET,
    Picture,
    as_percent,
    bin_size,
    draws,
    get_axes,
    new_figure,
    percent,
    seeds,
)
from .series import alone, array, by_count, class_counts, class_names, finite, is_run, series_of
from .text import literal, short, short_names, width, wrap

# White is nothing; small shares stand out, because the confusions that matter here are small.
SHADES = [(0.0, "#FFFFFF"), (0.06, "#DDE5FF"), (0.3, "#8FADFF"), (0.65, "#1557FF"), (1.0, "#1B1B3A")]
SHARE = LinearSegmentedColormap.from_list("share", SHADES)


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
    title = wrap(short(check.text("title", title), 200), 60) if title != "" else ""
    matrix, n, names, label, many = _matrix(runs, counts)
    k, total = len(n), matrix.sum()
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    predicted, true = matrix.sum(0) / max(total, 1), matrix.sum(1) / max(total, 1)
    bars, ax = get_axes(ax, panels=2) if ax is not None else new_figure(6.1, 6.3).subplots(2, 1, height_ratios=[1, 5.4])
    for group, mask in metrics.third_groups(n).items():
        at = np.flatnonzero(mask)
        if k <= MANY:
            bars.bar(at + 0.5, predicted[at], width=0.8, color=GROUP_COLOURS[group])
        elif at.size:
            x, y = np.append(at, at[-1] + 1), np.append(predicted[at], predicted[at[-1]])
            bars.fill_between(x, y, step="post", color=GROUP_COLOURS[group], linewidth=0)
    bars.step(np.arange(k + 1), np.append(true, true[-1]), where="post", color=QUIET, linestyle=DOTTED, linewidth=1.4)
    bars.set(xlim=(0, k), ylim=(0, None), xticks=[], ylabel="share of\npredictions")
    bars.locator_params(axis="y", nbins=3)
    percent(bars.yaxis)
    _heat(ax, share, n, names, k)
    of = f": {short(label, 28)} ({seeds(many)})" if label else ""
    bars.set_title(title or f"Where the images of each class go{of}", **literal())
    said = _says(share, predicted, true, n, label)
    return Picture([ax, bars], {"confusion": matrix, "predicted": predicted, "true": true, "counts": n}, said)


def _matrix(runs: Any, counts: Any) -> tuple[np.ndarray, np.ndarray, list[str] | None, str, int]:
    """(confusion by rank, counts by rank, names, label, number of seeds)."""
    if counts is not None:
        if is_run(runs):
            alone(counts=counts)
        n = class_counts(counts)
        expected = f"a confusion matrix ({len(n)}, {len(n)}) of numbers of images, rows true, as many as counts"
        given = finite(array(runs, name="runs", shape=expected), "runs")
        if given.shape != (len(n), len(n)) or (given < 0).any():
            raise check.refuse("runs", runs, expected)
        matrix = metrics.confusion(given)
        order = by_count(n)
        return matrix[np.ix_(order, order)], n[order], [str(j) for j in order], "", 1
    found = series_of(runs)
    if len(found) > 1:
        raise ValueError(f"plot_confusion draws one method, given {', '.join(s.shown for s in found)}; choose one")
    orders = [by_count(class_counts(run)) for run in found[0].runs]
    matrix = sum(metrics.confusion(run)[np.ix_(o, o)] for run, o in zip(found[0].runs, orders, strict=True))
    return matrix, found[0].counts, class_names(found), found[0].shown, len(orders)


def _heat(ax: Axes, share: np.ndarray, n: np.ndarray, names: list[str] | None, k: int) -> None:
    small, size = k <= 14, bin_size(k)
    if k > BINNED:  # single cells would be thinner than a pixel
        starts = np.arange(0, k, size)
        share = np.add.reduceat(np.add.reduceat(share, starts, axis=1), starts, axis=0)
        share /= np.diff(np.append(starts, k))[:, None]
    written = np.where(share >= 0.005, np.char.mod("%.0f", 100 * share), "")
    kind = {"vmin": 0, "vmax": 1, "cmap": SHARE, "xticklabels": False, "yticklabels": False, "cbar": not small}
    if small:
        kind |= {"annot": written, "fmt": "", "annot_kws": {"fontsize": 8}, "linewidths": 0.6, "linecolor": "#EEF0F6"}
    else:
        kind |= {"rasterized": True, "cbar_kws": {"label": "share of the true class"}}
    seaborn.heatmap(share, ax=ax, **kind)
    if not small:
        percent(ax.collections[0].colorbar.ax.yaxis)
    ax.spines[:].set_visible(True)
    ax.grid(False)
    first = short_names(names, 12) if names else [str(j + 1) for j in range(k)]
    if small:
        counted = [f"{f} ({c:,.0f})" for f, c in zip(first, n, strict=True)]
        ax.set_yticks(np.arange(k) + 0.5, counted, rotation=0, **literal())
        turned = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if max(map(width, first)) > 3 else {}
        ax.set_xticks(np.arange(k) + 0.5, first, **turned, **literal())
    else:
        at = np.unique(np.linspace(0, k - 1, 6).round().astype(int))
        ax.set_xticks((at + 0.5) / size, at + 1)
        ax.set_yticks((at + 0.5) / size, [f"{j + 1} ({n[j]:,.0f})" for j in at], rotation=0)
    what = "class" if names and small else "rank of the class"
    cells = " (cells: % of the true class)" if small else f" (cells: {size} x {size} ranks)" if size > 1 else ""
    ax.set_xlabel(f"predicted {what}{cells}")
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
    return (
        f"{who}of the images of tail classes {as_percent(right)} are decided rightly and {as_percent(lost)} are "
        f"taken for head classes; head classes make {as_percent(float(predicted[head].sum()))} of predictions and "
        f"{as_percent(float(true[head].sum()))} of the images; {never} of {len(n)} classes are never predicted."
    )
