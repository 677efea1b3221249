"""Which method is better, and is the difference more than noise?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from .. import check, metrics
from .picture import DOTTED, INK, QUIET, Picture, as_percent, draws, get_axes, look, percent, seeds
from .series import Series, series_of
from .text import literal, short, wrap

WIDE = 30  # letters of a label in one line
WORDS = {"all": "accuracy", "head": "head accuracy", "mid": "mid accuracy", "tail": "tail accuracy",
         "many": "many-shot accuracy", "medium": "medium-shot accuracy", "few": "few-shot accuracy"}


@draws
def plot_comparison(
    runs: Any, *, base: str | None = None, group: str = "all", ax: Axes | Sequence[Axes] | None = None
) -> Picture:
    """One row a method: accuracy of every seed and their mean; beside it the difference to `base`, paired by seed.

    runs: runs (grouped by name) or a dict label -> runs. base: the label to compare with (default: the first). group:
    "all" (mean over classes), "head", "mid", "tail", "many", "medium", "few". The bar is one standard error of the mean
    difference; the words are those of metrics.paired. ax: two axes (accuracy, difference).
    `.data`: labels, mean, difference, se, t, verdict, and the accuracy of every seed, "accuracy/<label>".

    Shows whether a difference stands out from the seeds. Cannot show more than these data and this recipe say, nor
    protect from trying many methods and believing the best: ask for |t| of 3.
    """
    group = check.choice("group", group, WORDS)
    found = series_of(runs)
    names = [one.name for one in found]
    base = names[0] if base is None else check.choice("base", base, names)
    against = found[names.index(base)]
    height = 1.15 + sum(0.25 + 0.17 * len(_wrapped(one).splitlines()) for one in found)
    left, right = get_axes(ax, 8.4, height, panels=2, sharey=True, width_ratios=[1.15, 1.0])
    data: dict[str, Any] = {"labels": names}
    rows: dict[str, list[Any]] = {"mean": [], "difference": [], "se": [], "t": [], "verdict": []}
    said = []
    for i, one in enumerate(found):
        values = np.array([metrics.shot_accuracy(run)[group] for run in one.runs])
        kind = look(i)
        left.plot(values, _spread(values) + i, kind["marker"], color=kind["color"], alpha=0.5, markersize=5.5,
                  markeredgewidth=0, zorder=3)
        mean = float(values.mean())
        left.plot([mean, mean], [i - 0.3, i + 0.3], color=INK, linewidth=2.2, zorder=2)
        data[f"accuracy/{one.name}"] = values
        pair = None if one is against else _paired(one, against, group)
        _difference(right, i, pair, kind)
        rows["mean"].append(mean)
        for key in ("difference", "se", "t"):
            rows[key].append(float("nan") if pair is None else getattr(pair, "mean" if key == "difference" else key))
        rows["verdict"].append("reference" if pair is None else pair.verdict)
        said.append(_says(one, mean, pair))
    _frame(left, right, found, against, group)
    return Picture([left, right], data | rows, f"{WORDS[group].capitalize()}: " + "; ".join(said) + ".")


def _wrapped(one: Series) -> str:
    return wrap(one.label.replace(" seed", "\N{NO-BREAK SPACE}seed"), WIDE)


def _paired(one: Series, against: Series, group: str) -> metrics.Paired | None:
    if not {run.seed for run in one.runs} & {run.seed for run in against.runs}:
        return metrics.Paired(*[float("nan")] * 4, 0, "no seed in common")
    return metrics.paired(one.runs, against.runs, group)


def _spread(values: np.ndarray) -> np.ndarray:
    """A fixed vertical jitter, so that equal dots do not hide each other."""
    return np.linspace(-0.16, 0.16, len(values)) if len(values) > 1 else np.zeros(1)


def _difference(ax: Axes, row: int, pair: metrics.Paired | None, kind: dict[str, Any]) -> None:
    if pair is None:
        words = "compared with this"
    else:
        if not np.isnan(pair.mean):
            ax.errorbar(pair.mean, row, xerr=None if np.isnan(pair.se) else pair.se, fmt=kind["marker"],
                        color=kind["color"], markersize=7, elinewidth=2, capsize=3, zorder=3)
        words = pair.verdict if np.isnan(pair.mean) else f"{as_percent(pair.mean, sign=True)}, {pair.verdict}"
        words = words.replace(metrics.ONE_SEED, "one seed")
    ax.annotate(words, (1.02, row), xycoords=("axes fraction", "data"), va="center", fontsize=8.5,
                annotation_clip=False)


def _frame(left: Axes, right: Axes, found: list[Series], against: Series, group: str) -> None:
    left.set_yticks(range(len(found)), [_wrapped(one) for one in found], **literal())
    left.set_ylim(len(found) - 0.45, -0.55)
    left.set_xlabel(f"test {WORDS[group]}\n(dots: seeds, bars: means)")
    percent(left.xaxis)
    right.axvline(0, color=QUIET, linestyle=DOTTED, linewidth=1.2)
    low, high = right.get_xlim()
    reach = max(abs(low), abs(high), 0.005)
    right.set_xlim(min(low - 0.05 * reach, -0.15 * reach), max(high + 0.05 * reach, 0.15 * reach))
    right.set_xlabel("difference (percentage points)\npaired by seed, ±1 standard error")
    right.xaxis.set_major_formatter(lambda v, _: f"{100 * v:+.3g}" if abs(v) > 1e-9 else "0")
    for ax in (left, right):
        ax.grid(True, axis="x")
        ax.grid(False, axis="y")
        ax.tick_params(axis="y", length=0)
        ax.locator_params(axis="x", nbins=5)
    right.tick_params(axis="y", labelleft=False)
    left.set_title(WORDS[group].capitalize())
    right.set_title(f"Difference to {short(against.name, 28)}", **literal())


def _says(one: Series, mean: float, pair: metrics.Paired | None) -> str:
    text = f"{one.shown} {as_percent(mean)} ({seeds(len(one.runs))}"
    if pair is None:
        return text + ", the reference)"
    if np.isnan(pair.mean):
        return text + f", {pair.verdict})"
    error = "" if np.isnan(pair.se) else f" ± {100 * pair.se:.1f}"
    return text + f", {100 * pair.mean:+.1f}{error} pp: {pair.verdict})"
