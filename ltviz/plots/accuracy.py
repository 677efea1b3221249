"""Accuracy of each class, and what a method gains over another class by class."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from .. import check, metrics
from ..metrics.comparison import pairs_of
from .classes import class_axis, class_band, need_counts, no_groups
from .picture import (
    MANY,
    Picture,
    as_percent,
    band,
    bin_ranks,
    draws,
    finish,
    get_axes,
    look,
    mean_sd,
    percent,
    reference,
    seeds,
    several,
    tall,
)
from .series import Series, alone, array, by_count, class_counts, class_names, is_run, no_labels, series_of
from .text import short


@draws
def plot_class_accuracy(runs: Any, counts: Any = None, *, ax: Axes | None = None) -> Picture:
    """Test accuracy (recall) of each class, most frequent first.

    runs: a run, runs (several seeds of one name become one series with a band of one standard deviation), a dict
    label -> runs; or accuracies (k,), or (seeds, k), as fractions, with counts (k,); NaN where a class has no test
    images. Dotted: chance, 1 / k.
    `.data`: counts, and the accuracies of every seed by rank, "accuracy/<label>" (seeds, k).

    Shows who pays for the imbalance. Cannot show who gets the images that a class loses: see plot_confusion.
    """
    if counts is not None:
        rows, n = _accuracies(runs, counts), class_counts(counts)
        drawn, names = [("accuracy", "accuracy", rows[:, by_count(n)])], None
        n = n[by_count(n)]
    else:
        need_counts(runs)
        found = series_of(runs)
        n, names = found[0].counts, class_names(found)
        drawn = [(one.name, one.shown, one.stack(metrics.per_class)) for one in found]
    (ax,) = get_axes(ax, height=tall(len(drawn)))
    class_axis(ax, n, names, binned=True)
    data, said = {"counts": n}, []
    for i, (name, shown, rows) in enumerate(drawn):
        class_band(ax, rows, i, shown)
        data[f"accuracy/{name}"] = rows
        group = metrics.shot_accuracy(mean_sd(rows)[0], n)
        ends = "" if no_groups(n) else f"head {as_percent(group['head'])}, tail {as_percent(group['tail'])}; "
        said.append(f"{shown} {as_percent(group['all'])} ({ends}{seeds(len(rows))})")
    reference(ax, 1 / len(n), f"chance, 1/{len(n)}")
    ax.set(ylim=(-0.02, 1.02), ylabel="test accuracy of the class")
    percent(ax.yaxis)
    finish(ax, "Accuracy of each class")
    return Picture(ax, data, "Mean accuracy of the classes: " + "; ".join(said) + "." + no_groups(n))


def _accuracies(values: Any, counts: Any) -> np.ndarray:
    no_labels(counts, "counts")
    k = len(class_counts(counts))
    expected = f"accuracies as fractions from 0 to 1, shape ({k},) or (seeds, {k}), as long as counts"
    if is_run(values):
        alone(counts=counts)
    if np.ndim(values) == 1:
        values = check.per_class("runs", values, expected)
    rows = np.atleast_2d(array(values, np.float64, "runs", expected))
    inside = np.isnan(rows) | ((rows >= 0) & (rows <= 1))
    if rows.ndim != 2 or rows.shape[1] != k or not inside.all() or np.isnan(rows).all():
        raise check.refuse("runs", values, expected)
    return rows


def paired_gain(one: Series, base: Series) -> np.ndarray:
    """Accuracy difference of each class by rank, one row for each seed that both have: (seeds, k)."""
    pairs = pairs_of(one.runs, base.runs, (repr(one.name), repr(base.name)))
    return np.array([(metrics.per_class(a) - metrics.per_class(b))[by_count(class_counts(a))] for a, b in pairs])


@draws
def plot_gain(runs: Any, base: Any, *, ax: Axes | None = None) -> Picture:
    """What a method gains over `base` on each class, in percentage points of test accuracy, paired by seed.

    runs: a run, runs or a dict label -> runs; base: a run or the runs of one name. Only seeds that both sides have are
    used; with several, the bar on a point (the band, of many classes) is one standard error of the mean difference.
    `.data`: counts, and the differences of every seed by rank, "gain/<label>" (seeds, k).

    Shows which classes pay for the gain of others. Cannot show that a single class's change is real from one seed, nor
    from a bar alone: with k classes some bars clear zero by chance.
    """
    found, reference_runs = series_of(runs), series_of(base, "base")
    if len(reference_runs) > 1:
        raise ValueError(f"base must be the runs of one name, given {', '.join(s.shown for s in reference_runs)}")
    against = reference_runs[0]
    n = found[0].counts
    if len(n) != len(against.counts):
        raise ValueError(f"runs have {len(n)} classes and base has {len(against.counts)}; compare on one data set")
    (ax,) = get_axes(ax, height=tall(len(found)))
    class_axis(ax, n, class_names([*found, against]), binned=True)
    data, said = {"counts": n}, []
    for i, one in enumerate(found):
        rows = paired_gain(one, against)
        mean, sd = mean_sd(rows)
        error, kind = sd / np.sqrt(len(rows)), look(i)
        label = f"{one.shown} ({several(rows, 'se')})"
        if len(n) <= MANY:
            x = np.arange(len(n)) + (i - (len(found) - 1) / 2) * min(0.16, 0.6 / len(found))
            ax.vlines(x, 0, mean, color=kind["color"], linewidth=2.4, alpha=0.35)
            kind = {"fmt": kind["marker"], "color": kind["color"], "elinewidth": 1.4, "capsize": 2.5}
            ax.errorbar(x, mean, error if len(rows) > 1 else None, label=label, zorder=3, **kind)
        else:
            x, (mean_of, error_of) = bin_ranks(np.array([mean, error]))
            band(ax, x, mean_of, error_of, label=label, linewidth=1.3, **kind | {"marker": ""})
        data[f"gain/{one.name}"] = rows
        group = metrics.shot_accuracy(mean, n)
        pair = metrics.paired(np.nanmean(rows, axis=1), np.zeros(len(rows)))
        ends = (
            "" if no_groups(n) else "".join(f", {end} {as_percent(group[end], sign=True)}" for end in ("head", "tail"))
        )
        said.append(
            f"{one.shown} against {against.shown}: {as_percent(group['all'], sign=True)} in the mean of the "
            f"classes ({pair.verdict}, {seeds(len(rows))}){ends}"
        )
    reference(ax, 0.0, f"no change from {against.shown}")
    ax.set_ylabel("gain in test accuracy\n(percentage points)")
    ax.yaxis.set_major_formatter(lambda v, _: f"{100 * v:+.0f}" if abs(v) > 1e-9 else "0")
    finish(ax, f"Gain over {short(against.name, 40)}, class by class")
    return Picture(ax, data, "; ".join(said) + "." + no_groups(n))
