"""Where the images of each class go. seaborn draws the heat map."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D

from .. import check, metrics
from .classes import GroupPoints, drawn_groups, need_counts, no_groups
from .picture import (
    BINNED,
    DOTTED,
    FAINT,
    GROUP_COLOURS,
    INK,
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
from .text import OURS, literal, short, short_names, width, wrap

WRITTEN = 14  # classes; of more, no number stands in a cell
CELLS = 25  # rows of a matrix that moves; of more classes, a cell holds several
NAME, POINTS = 12, 8  # letters of a class's name; size of the numbers in the cells
ROOM = 0.32  # accuracy that a label takes

# White is nothing; small shares stand out, because the confusions that matter here are small. At one half the shade
# leaps over those on which no number can be read both as they are and turned over in a dark theme.
LIGHT = [(0.0, "#FFFFFF"), (0.06, "#DDE5FF"), (0.4, "#93B0FF"), (0.5, "#88A8FF")]
SHARE = LinearSegmentedColormap.from_list("share", [*LIGHT, (0.5, "#1F5EFF"), (0.6, "#1557FF"), (1.0, "#1B1B3A")])


def number_colour(share: float) -> str:
    """The colour of a number on SHARE(share)."""
    return "white" if share >= 0.5 else "black"


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
    for group, mask in drawn_groups(n).items():
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
    need_counts(runs)
    found = series_of(runs)
    if len(found) > 1:
        raise ValueError(f"plot_confusion draws one method, given {', '.join(s.shown for s in found)}; choose one")
    orders = [by_count(class_counts(run)) for run in found[0].runs]
    matrix = sum(metrics.confusion(run)[np.ix_(o, o)] for run, o in zip(found[0].runs, orders, strict=True))
    return matrix, found[0].counts, class_names(found), found[0].shown, len(orders)


def _heat(ax: Axes, share: np.ndarray, n: np.ndarray, names: list[str] | None, k: int) -> None:
    import seaborn  # and all that it loads: explorers go without

    small, size = k <= WRITTEN, bin_size(k)
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
    for text, one in zip(ax.texts, share.ravel(), strict=False):  # without numbers, no texts
        text.set_color(number_colour(one))
    if not small:
        percent(ax.collections[0].colorbar.ax.yaxis)
    ax.spines[:].set_visible(True)
    ax.grid(False)
    first = short_names(names, NAME) if names else [str(j + 1) for j in range(k)]
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
    head, tail = groups["head"], groups["tail"] & (true > 0)  # nothing is known of a class without test images
    who = f"{label}: " if label else ""
    if not head.any():
        right = as_percent(_mean(np.diagonal(share)[true > 0]))
        return f"{who}{right} of the classes' images are decided rightly.{no_groups(n)}"
    lost, right = _mean(share[np.ix_(tail, head)].sum(1)), _mean(np.diagonal(share)[tail])
    never = int((predicted == 0).sum())
    moved = f"{as_percent(right)} are decided rightly and {as_percent(lost)} are taken for head classes"
    found = f"of the images of tail classes {moved}" if tail.any() else "no test image is of a tail class"
    return (
        f"{who}{found}; head classes make {as_percent(float(predicted[head].sum()))} of predictions and "
        f"{as_percent(float(true[head].sum()))} of the images; {never} of {len(n)} classes are never predicted."
    )


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")


class ConfusionPanels:
    """A confusion matrix that moves, and above it the share of answers of each class; `update` moves both.

    bars, ax: the two axes; counts (k,), names (k,) by rank. Of more than `CELLS` classes neighbouring ranks share a
    row and a column. Cell (i, j) lies at y = i, x = j; `place` says where a class does. room: shares (k,) that the bars
    must have room for; a bar that grows far beyond them is cut, because an axis that follows would be drawn anew.
    """

    def __init__(self, bars: Axes, ax: Axes, counts: np.ndarray, names: Sequence[str], room: Sequence[np.ndarray]):
        self.k = len(counts)
        self.size = 1 if self.k <= CELLS else -(-self.k // 20)
        self.starts = np.arange(0, self.k, self.size)
        self.edges = np.append(self.starts, self.k) / self.size - 0.5
        self.place = (np.arange(self.k) + 0.5) / self.size - 0.5
        self.cells = np.zeros((len(self.starts),) * 2, np.int64)
        self.written = self.k <= WRITTEN
        largest = max(float(np.add.reduceat(np.nan_to_num(one), self.starts).max()) for one in room)
        self.top = min(1.3 * largest, 1.0) or 1.0
        self._build_bars(bars, counts)
        self._build_matrix(ax, counts, names)
        self.artists = [self.mesh, self.numbers, self.answers, *self.occurs]

    def _build_bars(self, ax: Axes, counts: np.ndarray) -> None:
        colours = np.empty(self.k, object)
        for group, mask in drawn_groups(counts).items():
            colours[mask] = GROUP_COLOURS[group]
        self.answers = PolyCollection([], facecolors=list(colours[self.starts]), linewidths=0, zorder=2)
        ax.add_collection(self.answers, autolim=False)
        self.occurs = ax.step([], [], where="post", color=INK, linestyle=DOTTED, linewidth=1.5, zorder=3)
        ax.set(xlim=(self.edges[0], self.edges[-1]), ylim=(0, self.top), xticks=[])
        ax.locator_params(axis="y", nbins=3)
        percent(ax.yaxis)

    def _build_matrix(self, ax: Axes, counts: np.ndarray, names: Sequence[str]) -> None:
        share = np.zeros(self.cells.shape)
        line = {"linewidth": 0.6, "edgecolor": "#EEF0F6"} if self.written else {}
        self.mesh = ax.pcolormesh(self.edges, self.edges, share, vmin=0, vmax=1, cmap=SHARE, zorder=1, **line)
        scale = Affine2D().scale(1 / 72) + ax.get_figure(root=True).dpi_scale_trans
        self.numbers = PathCollection([], offsets=np.zeros((0, 2)), offset_transform=ax.transData, linewidths=0)
        self.numbers.set(transform=scale, zorder=2)
        ax.add_collection(self.numbers, autolim=False)
        ax.set(xlim=(self.edges[0], self.edges[-1]), ylim=(self.edges[-1], self.edges[0]))
        ax.grid(False)
        ax.spines[:].set_visible(True)
        if self.written:
            first = short_names(names, NAME)
            ax.set_yticks(self.place, [f"{f} ({c:,.0f})" for f, c in zip(first, counts, strict=True)], **literal())
            turned = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if max(map(width, first)) > 3 else {}
            ax.set_xticks(self.place, first, **turned, **literal())
        else:
            at = np.unique(np.linspace(0, self.k - 1, 6).round().astype(int))
            ax.set_yticks(self.place[at], [f"{j + 1:,} ({counts[j]:,.0f})" for j in at])
            ax.set_xticks(self.place[at], [f"{j + 1:,}" for j in at])
            ax.get_xticklabels()[-1].set_horizontalalignment("right")

    def members(self, cell: int) -> np.ndarray:
        """The ranks that a row or a column stands for."""
        return np.arange(self.starts[cell], min(self.starts[cell] + self.size, self.k))

    def update(self, matrix: np.ndarray, answered: np.ndarray, occurs: np.ndarray) -> None:
        """matrix (k, k): images by rank, true class in rows; answered, occurs (k,): shares of each class, NaN as 0."""
        self.cells = np.add.reduceat(np.add.reduceat(matrix, self.starts, axis=0), self.starts, axis=1)
        share = self.cells / np.maximum(self.cells.sum(1, keepdims=True), 1)
        self.mesh.set_array(share)
        if self.written:
            self._write(share)
        answered, occurs = (np.add.reduceat(np.nan_to_num(one), self.starts) for one in (answered, occurs))
        gap = 0.1 * np.diff(self.edges) if self.k <= MANY else 0.0
        left, right, zero = self.edges[:-1] + gap, self.edges[1:] - gap, np.zeros(len(answered))
        corners = ((left, zero), (left, answered), (right, answered), (right, zero))
        self.shares = answered, occurs
        self.answers.set_verts(np.stack([np.column_stack(corner) for corner in corners], 1))
        self.occurs[0].set_data(self.edges, np.append(occurs, occurs[-1]))

    def _write(self, share: np.ndarray) -> None:
        """The percent in each cell that has any. As paths in one collection: texts would take ten times as long."""
        row, column = np.nonzero(share >= 0.005)
        value = share[row, column]
        self.numbers.set_paths([_number(f"{one:.0f}") for one in 100 * value])
        self.numbers.set_offsets(np.column_stack([column, row]))
        self.numbers.set_facecolor([number_colour(one) for one in value])

    def counted(self) -> list[tuple[int, int, int, int]]:
        """Of each cell, row by row: row, column, its images, and those of the whole row."""
        rows = self.cells.sum(1)
        return [(i, j, int(n), int(rows[i])) for i, row in enumerate(self.cells) for j, n in enumerate(row)]


class AccuracyPanels:
    """Beside `ConfusionPanels`: the accuracy of each class, in its row, and that of groups; `update` moves both.

    ax: right of the matrix; groups: the axes of the bars. before (k,): accuracies by rank to start from. names, colours
    of the groups, from the top.
    """

    def __init__(
        self, ax: Axes, groups: Axes, rows: ConfusionPanels, counts: np.ndarray, before: np.ndarray,
        names: Sequence[str], colours: Sequence[str],
    ):  # fmt: skip
        self.before, self.y, k = before, rows.place, rows.k
        ax.set(xlim=(-0.04, 1.04), ylim=(rows.edges[-1], rows.edges[0]), yticks=[])
        percent(ax.xaxis)
        dash = {"linestyle": "", "marker": "|", "markersize": min(16, 260 / k + 3), "markeredgewidth": 2}
        ax.plot(before, self.y, color=QUIET, zorder=2, **dash)
        self.moves = LineCollection([], colors=FAINT, linewidths=2.5 if k <= MANY else 1.2, zorder=1.5)
        ax.add_collection(self.moves, autolim=False)
        self.points = GroupPoints(ax, counts, 7 if k <= MANY else 4 if k <= BINNED else 2)
        for points in self.points.artists if k > BINNED else ():
            points.set_markeredgewidth(0)  # white edges would cover what lies below
        self._build_groups(groups, names, colours)
        self.artists = [self.moves, *self.points.artists, *self.bars, self.dashes, *self.labels]

    def _build_groups(self, ax: Axes, names: Sequence[str], colours: Sequence[str]) -> None:
        self.at = np.arange(len(names))
        ax.set(xlim=(0, 1), ylim=(len(names) - 0.5, -0.5), xticks=[])
        ax.set_yticks(self.at, names, fontsize=8)
        ax.tick_params(axis="y", length=0)
        ax.grid(False)
        ax.spines[["top", "right", "bottom"]].set_visible(False)
        self.bars = ax.barh(self.at, np.zeros(len(names)), height=0.66, color=colours, alpha=0.9, zorder=2)
        self.dashes = LineCollection([], colors=QUIET, linewidths=2, zorder=3)
        ax.add_collection(self.dashes, autolim=False)
        text = {"ha": "left", "va": "center", "fontsize": 8, "clip_on": False}
        self.labels = [ax.text(0, i, "", **text) for i in self.at]

    def update(self, now: np.ndarray, old: np.ndarray, new: np.ndarray) -> None:
        """now (k,): accuracies by rank; old, new: of the groups, before and now. NaN: there are no test images."""
        self.moves.set_segments(np.stack([np.column_stack([one, self.y]) for one in (self.before, now)], 1))
        self.points.update(now, self.y)
        self.dashes.set_segments(np.stack([np.column_stack([old, self.at + d]) for d in (-0.42, 0.42)], 1))
        for bar, text, value, was in zip(self.bars, self.labels, new, old, strict=True):
            end, dash = (0.0 if np.isnan(one) else float(one) for one in (value, was))
            bar.set_width(end)
            text.set_text("none" if np.isnan(value) else f"{100 * value:.0f}%")
            text.set_x((max(end, dash) if dash - end < ROOM else end) + 0.03)  # beyond the dash where it is in the way


@functools.lru_cache(maxsize=128)
def _number(text: str) -> TextPath:
    """The outlines of a number, centred on the origin, in points."""
    path = TextPath((0, 0), text, size=POINTS, prop=FontProperties(family=OURS))
    box = path.get_extents()
    return path.transformed(Affine2D().translate(-(box.x0 + box.x1) / 2, -(box.y0 + box.y1) / 2))
