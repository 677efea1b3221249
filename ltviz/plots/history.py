"""How a training went: loss, accuracy on validation, weight norms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from .. import metrics
from .classes import no_groups
from .picture import (
    INK,
    Picture,
    as_percent,
    band,
    draws,
    get_axes,
    group_look,
    legend_over,
    look,
    mean_sd,
    number,
    percent,
    plain_log,
    seeds,
)
from .series import Series, array, class_counts, series_of

GROUPS = ("head", "mid", "tail")
ENDS = ("head", "tail", "all")  # whose last values a sentence says
HEAD_TAIL = {"head": "-", "tail": (0, (2.5, 1.3))}  # where colours tell series apart


@draws
def plot_history(runs: Any, *, ax: Sequence[Axes] | None = None) -> Picture:
    """Three panels over the epochs: training loss, accuracy on validation images, length of the classifier vectors.

    runs: a run, runs (seeds of one name become one series, with a band of one standard deviation), or a dict label ->
    runs. One series: head, mid and tail classes apart. Several: one colour each, head drawn through, tail dashed. A run
    without validation images has an empty middle panel. ax: three axes.
    `.data`: epoch, and "loss/<label>", "accuracy/<label>/<group>", "weight_norm/<label>/<group>", each (seeds, epochs).

    Shows when a method changes course (deferred weights, a second stage). Cannot compare losses of different methods by
    height: each has its own scale.
    """
    found = series_of(runs)
    loss, accuracy, norms = get_axes(ax, 9.6, 3.3, panels=3)
    alone = len(found) == 1
    data: dict[str, Any] = {}
    said = []
    for i, one in enumerate(found):
        history = [_history(run, one.shown) for run in one.runs]
        length = min(len(h["epoch"]) for h in history)
        epoch = data["epoch"] = array(history[0]["epoch"])[:length] + 1
        losses = data[f"loss/{one.name}"] = np.array([array(h["loss"], np.float64)[:length] for h in history])
        marks = {"markersize": 4.5, "markevery": max(1, length // 6)}
        band(loss, epoch, *mean_sd(losses), **marks, **look(i) | ({"marker": ""} if alone else {}))
        last = {}
        for panel, key, short in ((accuracy, "val_accuracy", "accuracy"), (norms, "weight_norm", "weight_norm")):
            for group in _groups(one, alone):
                rows = data[f"{short}/{one.name}/{group}"] = _group_rows(one, history, key, group, length)
                kind = group_look(group) if alone else look(i) | {"linestyle": HEAD_TAIL.get(group, "-")}
                band(panel, epoch, *mean_sd(rows), **marks, **kind)
                last[short, group] = float(np.mean(rows[:, -1]))
        said.append(
            f"{one.shown} ({length} epochs): loss {number(float(losses[:, 0].mean()))} to "
            f"{number(float(losses[:, -1].mean()))}, validation accuracy {_both(last, 'accuracy', as_percent)}, "
            f"weight norm {_both(last, 'weight_norm', number)}"
        )
    frame_history(loss, accuracy)
    _frame(loss, accuracy, norms)
    legend_over([accuracy, loss, norms], *_entries(found))
    return Picture([loss, accuracy, norms], data, "; ".join(said) + "." + no_groups(found[0].counts))


def _groups(one: Series, alone: bool) -> tuple[str, ...]:
    """Head, mid and tail, beside other series without mid; "all" where equal counts make no groups."""
    if no_groups(one.counts):
        return ("all",)
    return GROUPS if alone else ("head", "tail")


def _both(last: dict[tuple[str, str], float], what: str, written: Callable[[float], str]) -> str:
    """The last values of head and tail in words, or those of all classes where there are no groups."""
    return " and ".join(f"{group} {written(last[what, group])}" for group in ENDS if (what, group) in last)


def frame_history(loss: Axes, accuracy: Axes) -> None:
    """Titles and axes of a training: its loss, and its accuracy on validation images."""
    for ax, title, what in ((loss, "Loss", "training loss"), (accuracy, "Accuracy", "validation accuracy")):
        ax.set(title=title, xlabel="epoch", ylabel=what)
        ax.locator_params(axis="x", nbins=5, integer=True)
    accuracy.set_ylim(-0.02, 1.02)
    percent(accuracy.yaxis)


def mean_of_classes(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mean (epochs,) of some classes, from (epochs, k); what is NaN is left out."""
    return mean_sd(values[:, mask].T)[0]


def _history(run: Any, name: str) -> Any:
    history = getattr(run, "history", None) or {}
    if "epoch" not in history or len(history["epoch"]) == 0:
        why = {
            "predictions": "lt.from_predictions sees no training; lt.train records one",
            "collected": "lt.collect sees no training; lt.train records one",
        }.get(getattr(run, "method", ""), "it was stopped before the end of an epoch")
        raise ValueError(f"runs: {name!r} has no history: {why}")
    return history


def _group_rows(one: Series, history: list[Any], key: str, group: str, length: int) -> np.ndarray:
    """Mean of history[key] (epochs, k) over the classes of a group: (seeds, epochs)."""
    rows = []
    for run, kept in zip(one.runs, history, strict=True):
        counts = class_counts(run)
        values = array(kept[key], np.float64)[:length] if key in kept else np.full((length, len(counts)), np.nan)
        masks = {"all": np.ones(len(counts), bool), **metrics.third_groups(counts)}
        rows.append(mean_of_classes(values, masks[group]))
    return np.array(rows)


def _entries(found: list[Series]) -> tuple[list[Line2D], list[str]]:
    """Legend: of one series its groups, of several the series by colour and marker, and head and tail by dash."""
    if len(found) == 1:
        first, *rest = groups = _groups(found[0], True)
        lines = [Line2D([], [], **group_look(group)) for group in groups]
        whose = f"{found[0].shown} ({seeds(len(found[0].runs))}), {first} classes"
        return lines, [whose, *(f"{group} classes" for group in rest)]
    lines = [Line2D([], [], color=look(i)["color"], marker=look(i)["marker"]) for i in range(len(found))]
    dashes = {} if no_groups(found[0].counts) else HEAD_TAIL
    lines += [Line2D([], [], color=INK, linestyle=dash) for dash in dashes.values()]
    return lines, [one.label for one in found] + [f"{group} classes" for group in dashes]


def _frame(loss: Axes, accuracy: Axes, norms: Axes) -> None:
    """What a finished training has beside: a log axis where the loss falls far, and the length of the weights."""
    known = [y for line in loss.lines for y in line.get_ydata() if np.isfinite(y)]
    if known and min(known) > 0 and max(known) > 20 * min(known):
        loss.set_yscale("log")
        plain_log(loss.yaxis)
    if np.isnan(np.concatenate([line.get_ydata() for line in accuracy.lines])).all():
        accuracy.text(0.5, 0.5, "no validation\nimages", transform=accuracy.transAxes, ha="center", va="center")
    norms.set(title="Weight norm", xlabel="epoch", ylim=(0, None))
    norms.set_ylabel(r"mean length $\|W_j\|$", parse_math=True)
    norms.locator_params(axis="x", nbins=5, integer=True)
