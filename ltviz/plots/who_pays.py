"""Who pays for the rare classes: every method's dot beside the line that one slider draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.path import Path
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox

from .. import check, metrics
from ..metrics.comparison import pairs_of
from ..metrics.frontier import beyond_lines
from .classes import no_groups
from .picture import EDGE, INK, QUIET, Picture, draws, get_axes, look, offset, percent, points, seeds
from .series import Series, is_run, series_of
from .text import minus, wrap

LINE = "#93A4C3"  # of the frontier: no series has this colour
MARKED = (0.0, 0.5, 1.0, 1.5, 2.0)  # tau written along the line
TOUCH, NEAR = 0.05, 0.15  # dots so near one another, within so small a part of both axes, are drawn once more, larger
CROWD = 12  # groups, above which a dot's look is its verdict, and names stand at the dots
VERDICTS = {  # words of the legend -> marker, colour, whether filled
    "beyond the line (p < .05)": ("o", "#2A7F3B", True),
    "undecided": ("s", "#6B7280", False),
    "below the line (p < .05)": ("v", "#B04F00", True),
}
PLACES = ((6, 0, "left", "center"), (-6, 0, "right", "center"), (0, 6, "center", "bottom"), (0, -6, "center", "top"))
TAU_PLACES = (
    (-6, -4, "right", "top"), (6, 4, "left", "bottom"), (-9, 0, "right", "center"), (9, 0, "left", "center"),
    (-14, -12, "right", "top"), (14, 10, "left", "bottom"), (-24, 0, "right", "center"), (24, 0, "left", "center"),
)  # fmt: skip
BOX = dict(facecolor="#E6F4EA", edgecolor="#2a7f3b", linewidth=1.0, zorder=0.5)


@draws
def plot_who_pays(
    groups: Any,
    base: Any,
    *,
    goal: tuple[float, float] | None = None,
    ax: Axes | None = None,
) -> Picture:
    """Accuracy of the frequent third of the classes against that of the rare third, and who lies beyond the slider.

    groups: runs (grouped by name) or a dict label -> runs, one a seed; base: the plain network's run or runs, with
    logits of their test images, of the same seeds. Thin lines: what subtracting tau log prior from its scores reaches,
    one a seed (metrics.frontier); the thick one is their mean, with tau written beside it. A dot is the mean of a
    group, its bars the 95% interval over seeds. In the legend: by how many points of rare-class accuracy it lies beyond
    the line of its own seed at equal accuracy of the frequent classes (metrics.beyond), and by how many the middle
    classes do: they may have paid. Of more than 12 groups a dot's look is its verdict, and as many names stand beside
    dots as find room, those farthest beyond the line first. goal: (frequent, rare), as fractions. `.data`: labels,
    head, tail, head_half, tail_half, beyond, beyond_half, verdict, middle, middle_half; tau, frontier_head,
    frontier_tail.

    Shows what a remedy costs the frequent classes, and whether it buys more than the slider does for that.
    """
    found = series_of(groups, "groups")
    wanted = None if goal is None else _goal(goal)
    base = [base] if is_run(base) else base
    if not isinstance(base, (list, tuple)) or not base or not all(map(is_run, base)):
        raise check.refuse("base", base, "the plain network's runs, one a seed, with logits of their test images")
    lines = [metrics.frontier(run) for run in base]
    if said := no_groups(found[0].counts):
        raise ValueError(f"groups:{said} Who pays is asked of these; plot_class_accuracy shows each class")
    (ax,) = get_axes(ax, 9.9, 6.4 if len(found) > CROWD else max(4.3, 1.5 + 0.52 * len(found)))
    tau, heads, tails = frontier_lines(lines)
    mean_head, mean_tail = heads.mean(0), tails.mean(0)
    for head, tail in zip(heads, tails, strict=True):
        ax.plot(head, tail, color=LINE, linewidth=0.8, alpha=0.45, zorder=1.2)
    ax.plot(mean_head, mean_tail, color=LINE, linewidth=3, zorder=1.6, solid_capstyle="round")
    marked = _mark_taus(ax, tau, mean_head, mean_tail)
    line_of = {id(run): line for run, line in zip(base, lines, strict=True)}
    rows = [_Dot(one, base, line_of) for one in found]
    said = f"plain network, τ from 0 to 3\n({seeds(len(lines))})"
    handles = [Line2D([], [], color=LINE, linewidth=3, label=said)]
    if wanted:
        _draw_goal(ax, wanted)
    if len(rows) > CROWD:
        handles += _draw_crowd(ax, rows)
        luck = f"about {len(rows) * metrics.SUGGESTIVE:.1g} beyond or below it."
        _frame(ax, handles, f"{len(rows)} groups. If none differed from\nthe line, luck alone would call\n{luck}")
        _write_names(ax, rows, _write_taus(ax, rows, marked))
    else:
        handles += _draw_dots(ax, rows)
        _frame(ax, handles, "Percentage points beyond the line, where\nthe frequent classes keep as much (95%)")
        _write_taus(ax, rows, marked, _zoom(ax, rows))
    if len(found[0].counts) == 2:
        ax.set(xlabel="accuracy of the frequent class", ylabel="accuracy of the rare class")
    return Picture(ax, _data(rows, tau, mean_head, mean_tail), _sentence(rows, wanted, mean_head, mean_tail))


def frontier_lines(lines: Sequence[metrics.Frontier]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What is drawn of s frontiers: tau (t,) from 0 on, and accuracies of frequent and of rare classes, (s, t) each."""
    shown = lines[0].tau >= 0
    return lines[0].tau[shown], *(np.array([getattr(one, name)[shown] for one in lines]) for name in ("head", "tail"))


def centre(runs: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy of frequent and of rare classes: means over these runs (2,), and half widths of their 95% intervals."""
    values = np.array([[metrics.shot_accuracy(run)[name] for name in ("head", "tail")] for run in runs])
    return values.mean(0), np.array([metrics.paired(column, np.zeros(len(column))).half for column in values.T])


def ends(places: np.ndarray) -> tuple[tuple[float, float], tuple[float, float]]:
    """Limits in x and y around places (n, 2): all of both axes, but for dots that are crowded into a corner of them."""
    (left, bottom), (_, top) = places.min(0), places.max(0)
    low = -0.02 if bottom < 0.4 or left < 0.4 else bottom - 0.05
    return (0 if left < 0.4 else left - 0.05, 1), (low, min(1.0, top + 0.08))


class _Dot:
    """A group's mean accuracies, the half widths of their intervals, and its distance from the frontier."""

    def __init__(self, series: Series, base: Sequence[Any], line_of: Mapping[int, metrics.Frontier]):
        self.name = " ".join(series.name.split())
        self.mean, self.half = centre(series.runs)
        pairs = pairs_of(series.runs, base, ("runs", "base"))
        runs, of = [run for run, _ in pairs], [line_of[id(plain)] for _, plain in pairs]
        self.beyond, self.middle = (beyond_lines(runs, of, group) for group in ("tail", "mid"))

    @property
    def side(self) -> str:
        """On which side of the line it lies, in the words of VERDICTS."""
        beyond, undecided, below = VERDICTS
        found = self.beyond
        return undecided if not found.p < metrics.SUGGESTIVE else beyond if found.mean > 0 else below

    @property
    def words(self) -> str:
        found = self.beyond
        if np.isnan(found.mean) or np.isnan(found.half):
            return found.verdict
        middle = "" if np.isnan(self.middle.mean) else f"\nmiddle {_points(self.middle)}"  # two classes have none
        return f"rare {_points(found)}: {found.verdict}{middle}"

    @property
    def placed(self) -> str:
        """Where it lies, as a part of a sentence."""
        if np.isnan(self.beyond.mean):
            return "its distance from it is undefined"
        return f"beyond it by {self.words.replace(chr(10), ', ')}"


def _draw_dots(ax: Axes, rows: Sequence[_Dot]) -> list[Line2D]:
    """A dot with its interval for each group; returns the entries of the legend, with the distances from the line."""
    handles = []
    for i, row in enumerate(rows):
        kind = {"fmt": look(i)["marker"], "color": look(i)["color"], "markersize": 8, "elinewidth": 1.3, **EDGE}
        bars = [None if np.isnan(half) else half for half in (row.half[0], row.half[1])]
        ax.errorbar(*row.mean, xerr=bars[0], yerr=bars[1], zorder=4 + i / 100, **kind)
        said = f"{wrap(row.name, 30)}\n{minus(row.words)}"
        handles.append(
            Line2D([], [], linestyle="", marker=kind["fmt"], color=kind["color"], markersize=7, label=said, **EDGE)
        )
    return handles


def _zoom(ax: Axes, rows: Sequence[_Dot]) -> list[Sequence[tuple[float, float]]]:
    """Dots that lie on one another, once more and larger, in the corner that the line leaves free.

    Returns the lines, in pixels of the window, that then lie over the picture: two frames and what joins them.
    """
    dots = np.array([row.mean for row in rows])
    away = np.abs(dots[:, None] - dots).max(-1) + np.eye(len(dots))
    crowd = np.flatnonzero(away.min(1, initial=1.0) < TOUCH)
    free = ((dots[:, 0] > 0.55) | (dots[:, 1] > 0.55)).all()  # where the larger picture comes
    if not len(crowd) or not free or np.ptp(dots[crowd], axis=0).max() > NEAR:
        return []
    low, high = dots[crowd].min(0), dots[crowd].max(0)
    reach = np.nan_to_num([rows[i].half for i in crowd]).max(axis=0, initial=0.01)
    inset = ax.inset_axes((0.09, 0.12, 0.42, 0.42), zorder=6)
    for line in ax.lines:
        if line.get_color() == LINE and line.get_linestyle() == "-":
            inset.plot(*line.get_data(), color=LINE, linewidth=line.get_linewidth(), alpha=line.get_alpha())
    _draw_dots(inset, rows)
    edges = [(max(low[i] - reach[i] - 0.01, 0), min(high[i] + reach[i] + 0.01, 1)) for i in (0, 1)]
    inset.set(xlim=edges[0], ylim=edges[1])
    for axis in (inset.xaxis, inset.yaxis):
        percent(axis)
        axis.set_major_locator(MaxNLocator(4))
        axis.set_tick_params(labelsize=7.5)
    inset.set_title("the same, larger", fontsize=8, loc="left", pad=3)
    joined = ax.indicate_inset_zoom(inset, edgecolor=QUIET)
    ax.figure.draw_without_rendering()
    corners = np.array([(0, 0), (0, 1), (1, 1), (1, 0), (0, 0)])
    large = inset.transAxes.transform(corners)
    frame = ax.transData.transform([(edges[0][x], edges[1][y]) for x, y in corners])
    seen = [one.get_visible() for one in joined.connectors]  # in the order (0, 0), (0, 1), (1, 0), (1, 1)
    return [large, frame, *((large[i], frame[i]) for i, shown in zip((0, 1, 3, 2), seen, strict=True) if shown)]


def _draw_crowd(ax: Axes, rows: Sequence[_Dot]) -> list[Line2D]:
    """Dots whose look is their verdict; returns the entries of the legend, with how many there are of each."""
    handles = []
    for i, (words, (marker, colour, filled)) in enumerate(VERDICTS.items()):
        mine = np.array([row.mean for row in rows if row.side == words]).reshape(-1, 2)
        kind = {"marker": marker, "linestyle": "", "markersize": 6.5, "markeredgecolor": "white" if filled else colour,
                "markerfacecolor": colour if filled else "white"}  # fmt: skip
        ax.plot(mine[:, 0], mine[:, 1], zorder=4 + i / 100, **kind)
        handles.append(Line2D([], [], label=f"{words}: {len(mine)}", **kind))
    return handles


def _dot_boxes(ax: Axes, rows: Sequence[_Dot]) -> list[Bbox]:
    """Where the dots are in the window, once the legend has taken its room."""
    ax.figure.draw_without_rendering()
    half = 4 * ax.figure.dpi / 72
    dots = ax.transData.transform([row.mean for row in rows])
    return [Bbox.from_extents(x - half, y - half, x + half, y + half) for x, y in dots]


def _write_names(ax: Axes, rows: Sequence[_Dot], taken: list[Bbox]) -> None:
    """Names beside dots, as far as they cover nothing that is taken; those farthest beyond the line come first."""
    renderer = ax.figure.canvas.get_renderer()
    inside = ax.get_window_extent(renderer)
    for row in sorted(rows, key=lambda row: -np.nan_to_num(row.beyond.mean, nan=-9)):
        for x, y, ha, va in PLACES:
            look = offset(ha, va) | {"fontsize": 7.5}
            text = ax.annotate(row.name, row.mean, xytext=(x, y), color=INK, zorder=5, parse_math=False, **look)
            box = text.get_window_extent(renderer)
            free = inside.contains(box.x0, box.y0) and inside.contains(box.x1, box.y1)
            if free and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            text.remove()


def _points(found: metrics.Paired) -> str:
    return f"{points(found.mean)} ± {100 * found.half:.1f}"


def _goal(goal: Any) -> tuple[float, float]:
    expected = "(frequent, rare): two fractions between 0 and 1, such as (0.7, 0.4)"
    if not isinstance(goal, (tuple, list)) or len(goal) != 2:
        raise check.refuse("goal", goal, expected)
    head, tail = (check.number(f"goal[{i}]", one, 0.0, 1.0) for i, one in enumerate(goal))
    return head, tail


def _mark_taus(ax: Axes, tau: np.ndarray, head: np.ndarray, tail: np.ndarray) -> list[tuple[float, float, float]]:
    """Rings on the line, and (tau, frequent, rare) of each."""
    marked = [(value, *(float(of[np.abs(tau - value).argmin()]) for of in (head, tail))) for value in MARKED]
    for _, x, y in marked:
        ax.plot(x, y, "o", color="white", markeredgecolor=LINE, markeredgewidth=1.6, markersize=5, zorder=1.8)
    return marked


def _write_taus(
    ax: Axes, rows: Sequence[_Dot], marked: Sequence[tuple[float, float, float]], drawn: Sequence[Any] = ()
) -> list[Bbox]:
    """Tau beside its ring, where it covers no dot, no interval and none of the lines drawn; returns what is taken."""
    taken, renderer = _dot_boxes(ax, rows), ax.figure.canvas.get_renderer()
    taken += [text.get_window_extent(renderer) for text in ax.texts]
    inside = ax.get_window_extent(renderer)
    if len(rows) <= CROWD:
        bars = [(row.mean, np.nan_to_num(row.half)) for row in rows]
        drawn = [*drawn, *(ax.transData.transform([at - half * one, at + half * one])
                           for at, half in bars for one in np.eye(2))]  # fmt: skip
    line = ax.transData.transform([(x, y) for _, x, y in marked])
    taken += [Bbox.from_extents(x - 4, y - 4, x + 4, y + 4) for x, y in line]
    for value, *place in marked:
        for x, y, ha, va in TAU_PLACES:
            style = {"color": QUIET, "zorder": 5, "path_effects": [withStroke(linewidth=2.5, foreground="white")]}
            text = ax.annotate(f"τ = {value:g}", place, xytext=(x, y), **style, **offset(ha, va))
            box = text.get_window_extent(renderer)
            free = inside.contains(box.x0, box.y0) and inside.contains(box.x1, box.y1)
            crossed = any(Path(one).intersects_bbox(box, filled=False) for one in drawn)
            if free and not crossed and not any(box.overlaps(other) for other in taken):
                break
            text.remove()
        else:
            continue
        taken.append(box)
    return taken


def _draw_goal(ax: Axes, goal: tuple[float, float]) -> None:
    head, tail = goal
    ax.add_patch(Rectangle(goal, 1 - head, 1 - tail, **BOX))
    said = f"goal: frequent ≥ {head:.0%},\nrare ≥ {tail:.0%}"
    ax.annotate(said, (1, 1), xycoords="axes fraction", xytext=(-4, -4), color=INK, **offset("right", "top"))


def _frame(ax: Axes, handles: list[Line2D], title: str) -> None:
    xlim, ylim = ends(np.vstack([line.get_xydata() for line in ax.lines]))
    ax.set(xlim=xlim, ylim=ylim)
    ax.grid(True, axis="both")
    percent(ax.xaxis)
    percent(ax.yaxis)
    ax.set_xlabel("accuracy of the frequent third of the classes")
    ax.set_ylabel("accuracy of the rare third")
    ax.set_title("Who pays?")
    ax.figure.legend(handles=handles, loc="outside right upper", fontsize=8.5, title=title, title_fontsize=8.5,
                     alignment="left", labelspacing=0.7)  # fmt: skip


def _data(rows: Sequence[_Dot], tau: np.ndarray, head: np.ndarray, tail: np.ndarray) -> dict[str, Any]:
    return {
        "labels": [row.name for row in rows],
        "head": [row.mean[0] for row in rows], "tail": [row.mean[1] for row in rows],
        "head_half": [row.half[0] for row in rows], "tail_half": [row.half[1] for row in rows],
        "beyond": [row.beyond.mean for row in rows], "beyond_half": [row.beyond.half for row in rows],
        "verdict": [row.beyond.verdict for row in rows],
        "middle": [row.middle.mean for row in rows], "middle_half": [row.middle.half for row in rows],
        "tau": tau, "frontier_head": head, "frontier_tail": tail,
    }  # fmt: skip


def _whole(share: float) -> str:
    return "undefined" if np.isnan(share) else f"{share:.0%}"


def _sentence(rows: Sequence[_Dot], goal: tuple[float, float] | None, head: np.ndarray, tail: np.ndarray) -> str:
    dots = [f"{row.name} {_whole(row.mean[0])} and {_whole(row.mean[1])} ({row.placed})" for row in rows]
    text = "Accuracy of frequent and of rare classes, beside what one slider reaches: " + "; ".join(dots) + "."
    if goal:
        does = "reaches" if ((head >= goal[0]) & (tail >= goal[1])).any() else "does not reach"
        text += f" The slider alone {does} the goal of {goal[0]:.0%} and {goal[1]:.0%}."
    return text
