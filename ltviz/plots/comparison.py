"""Which method is better, and is the difference more than noise?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from .. import check, metrics
from .classes import no_groups
from .picture import EDGE, INK, REFERENCE, Picture, as_percent, draws, get_axes, look, percent, points, seeds
from .series import Series, series_of
from .text import literal, minus, short, wrap

WIDE = 32  # letters of a label in one line
WORDS = {
    "all": "accuracy",
    "head": "head accuracy",
    "mid": "mid accuracy",
    "tail": "tail accuracy",
    "many": "many-shot accuracy",
    "medium": "medium-shot accuracy",
    "few": "few-shot accuracy",
}

NOT_COMPARED = metrics.Paired(*[float("nan")] * 4, 0, "reference")


@draws
def plot_comparison(
    runs: Any, *, base: str | None = None, group: str = "all", ax: Axes | Sequence[Axes] | None = None
) -> Picture:
    """One row a method: accuracy of every seed and their mean; beside it the difference to `base`, paired by seed.

    runs: runs (grouped by name) or a dict label -> runs. base: the label to compare with (default: the first). group:
    "all" (mean over classes), "head", "mid", "tail", "many", "medium", "few". The bar is the 95% interval of the mean
    difference; the words are those of metrics.paired. ax: two axes (accuracy, difference).
    `.data`: labels, mean, difference, half, p, verdict, and the accuracy of every seed, "accuracy/<label>".

    Shows whether a difference stands out from the seeds. Cannot show more than these data and this recipe say, nor
    protect from trying many methods and believing the best.
    """
    group = check.choice("group", group, WORDS)
    found = series_of(runs)
    names = [one.name for one in found]
    base = names[0] if base is None else check.choice("base", base, names)
    against = found[names.index(base)]
    if group in ("head", "mid", "tail") and (said := no_groups(against.counts)):
        raise check.refuse("group", group, f"'all';{said}")
    rows = compare(found, against, group)
    height = 1.15 + sum(0.25 + 0.17 * len(_on_lines(row.name, 4).splitlines()) for row in rows)
    left, right = get_axes(ax, 8.4, height, panels=2, sharey=True, width_ratios=[1.15, 1.0])
    SeedRows(left, rows, right)
    for i, row in enumerate(rows):
        if row.pair is not None and not np.isnan(row.pair.mean):
            kind = {"fmt": look(i)["marker"], "color": look(i)["color"], "markersize": 7, "elinewidth": 2, "capsize": 3}
            right.errorbar(row.pair.mean, i, xerr=None if np.isnan(row.pair.half) else row.pair.half, zorder=3, **kind)
    _frame(left, right, against, group)
    means = [float(row.values.mean()) for row in rows]
    pairs = [row.pair or NOT_COMPARED for row in rows]
    data = {"labels": names, "mean": means, "difference": [pair.mean for pair in pairs]}
    data |= {key: [getattr(pair, key) for pair in pairs] for key in ("half", "p", "verdict")}
    data |= {f"accuracy/{one.name}": row.values for one, row in zip(found, rows, strict=True)}
    said = [
        f"{one.shown} {as_percent(mean)} ({seeds(len(one.runs))}, {'the reference' if row.pair is None else row.words})"
        for one, row, mean in zip(found, rows, means, strict=True)
    ]
    return Picture([left, right], data, f"{WORDS[group].capitalize()}: " + "; ".join(said) + ".")


@dataclass(frozen=True)
class Row:
    """One line: accuracy of each seed, the paired difference to the base (None: this is the base), and its words."""

    name: str
    values: np.ndarray
    pair: metrics.Paired | None
    words: str


def compare(found: Sequence[Series], base: Series, group: str, other_data: str | None = None) -> list[Row]:
    """Each series as a row, compared with `base`.

    other_data: what to say of runs that were trained on other data than those of the base; None: ValueError.
    """
    rows = []
    for one in found:
        values = np.array([metrics.shot_accuracy(run)[group] for run in one.runs])
        pair = None if one is base else _paired(one, base, group, other_data)
        rows.append(Row(one.label, values, pair, "compared with this" if pair is None else _in_words(pair, one, base)))
    return rows


def _paired(one: Series, base: Series, group: str, other_data: str | None) -> metrics.Paired:
    prints = [{run.seed: (run.data or {}).get("fingerprint") for run in of.runs} for of in (one, base)]
    shared = prints[0].keys() & prints[1].keys()
    if not shared:
        return NOT_COMPARED._replace(verdict="no seed in common")
    if other_data and any(prints[0][seed] != prints[1][seed] for seed in shared):
        return NOT_COMPARED._replace(verdict=other_data)
    return metrics.paired(one.runs, base.runs, group)


def _in_words(pair: metrics.Paired, one: Series, base: Series) -> str:
    if np.isnan(pair.mean):
        return pair.verdict
    if pair.n == 1 and len({run.seed for run in (*one.runs, *base.runs)}) > 1:
        return f"one shared seed: {as_percent(pair.mean, sign=True)}"  # the means beside it are over more seeds
    error = "" if np.isnan(pair.half) else f" ± {100 * pair.half:.1f}"
    return f"{points(pair.mean)}{error} pp: {pair.verdict}"


class SeedRows:
    """Rows of a comparison: name, a dot for each seed, their mean, and beside `last`, the axes furthest to the right,
    the words. `update` gives each row other content, none where there are fewer.

    lines, columns: of a name, at most. moving: the artists that change, but for the names, which are axis labels.
    """

    def __init__(
        self, ax: Axes, rows: Sequence[Row | None], last: Axes | None = None, lines: int = 4, columns: int = WIDE
    ):
        self.ax, self.names, self.lines, self.columns = ax, [""] * len(rows), lines, columns
        self.dots, self.means, self.words = [], [], []
        for i in range(len(rows)):
            kind = look(i)
            self.dots += ax.plot([], [], kind["marker"], color=kind["color"], alpha=0.6, markersize=6, zorder=3, **EDGE)
            self.means += ax.plot([], [], color=INK, linewidth=2.2, zorder=2)
            beside = {"xycoords": ("axes fraction", "data"), "annotation_clip": False, "parse_math": False}
            self.words.append((last or ax).annotate("", (1.02, i), va="center", fontsize=8.5, **beside))
        self.moving = [*self.dots, *self.means, *self.words]
        ax.set_ylim(len(rows) - 0.45, -0.55)
        ax.set_yticks(range(len(rows)), self.names)
        ax.grid(True, axis="x")
        ax.grid(False, axis="y")
        ax.tick_params(axis="y", length=0)
        ax.locator_params(axis="x", nbins=5)
        percent(ax.xaxis)
        self.update(rows)
        ax.relim()
        ax.autoscale_view(scaley=False)

    def update(self, rows: Sequence[Row | None]) -> None:
        rows = [*rows, *[None] * (len(self.dots) - len(rows))]
        for i, row in enumerate(rows):
            values = np.array([]) if row is None else row.values
            # A fixed jitter, so that equal dots do not hide each other.
            jitter = np.linspace(-0.16, 0.16, len(values)) if len(values) > 1 else np.zeros(len(values))
            self.dots[i].set_data(values, i + jitter)
            mean = values.mean() if len(values) else np.nan
            self.means[i].set_data([mean, mean], [i - 0.3, i + 0.3])
            words = "" if row is None else row.words.replace(metrics.ONE_SEED, "one seed")
            self.words[i].set_text(wrap(minus(words), WIDE, 2))
        names = ["" if row is None else _on_lines(row.name, self.lines, self.columns) for row in rows]
        if names != self.names:  # an axis is drawn anew
            self.names = names
            self.ax.set_yticks(range(len(names)), names, **literal())


def _on_lines(name: str, lines: int, columns: int = WIDE) -> str:
    return wrap(name.replace(" seed", "\N{NO-BREAK SPACE}seed"), columns, lines)


def _frame(left: Axes, right: Axes, against: Series, group: str) -> None:
    left.set_xlabel(f"test {WORDS[group]}\n(dots: seeds, bars: means)")
    right.axvline(0, **REFERENCE)
    low, high = right.get_xlim()
    reach = max(abs(low), abs(high), 0.005)
    right.set_xlim(min(low - 0.05 * reach, -0.15 * reach), max(high + 0.05 * reach, 0.15 * reach))
    right.set_xlabel("difference (percentage points)\npaired by seed, 95% interval")
    right.xaxis.set_major_formatter(lambda v, _: f"{100 * v:+.3g}" if abs(v) > 1e-9 else "0")
    right.grid(True, axis="x")
    right.grid(False, axis="y")
    right.tick_params(axis="y", length=0, labelleft=False)
    right.locator_params(axis="x", nbins=5)
    left.set_title(WORDS[group].capitalize())
    right.set_title(f"Difference to {short(against.name, 28)}", **literal())
