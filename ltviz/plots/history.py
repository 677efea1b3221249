"""How a training went: loss, accuracy on validation, weight norms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from .. import metrics
from .picture import (
    DASHES,
    GROUP_COLOURS,
    GROUP_MARKERS,
    Picture,
    as_percent,
    draws,
    finish,
    get_axes,
    look,
    mean_sd,
    number,
    percent,
)
from .series import Series, array, class_counts, series_of

GROUPS = ("head", "mid", "tail")


@draws
def plot_history(runs: Any, *, ax: Sequence[Axes] | None = None) -> Picture:
    """Three panels over the epochs: training loss, accuracy on validation images, length of the weight vectors.

    runs: a run, runs (seeds of one name become one series, with a band of one standard deviation), or a dict label ->
    runs. One series: head, mid and tail classes apart. Several: one colour each, head drawn through, tail dashed. A run
    without validation images has an empty middle panel. ax: three axes.
    `.data`: epoch, and "loss/<label>", "accuracy/<label>/<group>", "weight_norm/<label>/<group>", each (seeds, epochs).

    Shows when a method changes course (deferred weights, a second stage). Cannot compare losses of different methods by
    height: each has its own scale.
    """
    found = series_of(runs)
    loss, accuracy, norms = get_axes(ax, 9.6, 3.3, panels=3)
    data: dict[str, Any] = {}
    said = []
    for i, one in enumerate(found):
        history = [_history(run, one.name) for run in one.runs]
        length = min(len(h["epoch"]) for h in history)
        epoch = array(history[0]["epoch"])[:length] + 1
        data["epoch"] = epoch
        losses = np.array([array(h["loss"], np.float64)[:length] for h in history])
        data[f"loss/{one.name}"] = losses
        kind = look(i)
        _line(loss, epoch, losses, kind["color"], kind["linestyle"], one.label)
        parts = ("head", "mid", "tail") if len(found) == 1 else ("head", "tail")
        last = {}
        for panel, key, short in ((accuracy, "val_accuracy", "accuracy"), (norms, "weight_norm", "weight_norm")):
            for group in parts:
                rows = _group_rows(one, history, key, group, length)
                data[f"{short}/{one.name}/{group}"] = rows
                alone = len(found) == 1
                colour = GROUP_COLOURS[group] if alone else kind["color"]
                dash = DASHES[GROUPS.index(group)] if alone or group == "tail" else "-"
                label = group if alone else (f"{one.name}, {group}" if panel is accuracy else "")
                _line(panel, epoch, rows, colour, dash, label, GROUP_MARKERS[group])
                last[short, group] = float(np.mean(rows[:, -1])) if length else float("nan")
        said.append(f"{one.name} ({length} epochs): loss {number(float(losses[:, 0].mean()))} to "
                    f"{number(float(losses[:, -1].mean()))}, validation accuracy head "
                    f"{as_percent(last['accuracy', 'head'])} and tail {as_percent(last['accuracy', 'tail'])}, weight "
                    f"norm head {number(last['weight_norm', 'head'])} and tail {number(last['weight_norm', 'tail'])}")
    _frame(loss, accuracy, norms, len(found) == 1)
    return Picture([loss, accuracy, norms], data, "; ".join(said) + ".")


def _history(run: Any, name: str) -> Any:
    history = getattr(run, "history", None) or {}
    if "epoch" not in history or len(history["epoch"]) == 0:
        raise ValueError(f"run {name!r} has no history: it was collected, or stopped before the end of an epoch")
    return history


def _group_rows(one: Series, history: list[Any], key: str, group: str, length: int) -> np.ndarray:
    """Mean of history[key] (epochs, k) over the classes of a group: (seeds, epochs)."""
    rows = []
    for run, kept in zip(one.runs, history, strict=True):
        mask = metrics.third_groups(class_counts(run))[group]
        values = array(kept[key], np.float64)[:length, mask] if key in kept else np.full((length, 1), np.nan)
        rows.append(mean_sd(values.T)[0] if values.shape[1] else np.full(length, np.nan))
    return np.array(rows)


def _line(ax: Axes, x: np.ndarray, rows: np.ndarray, colour: str, dash: Any, label: str, marker: str = "") -> None:
    mean, sd = mean_sd(rows)
    if np.isnan(mean).all():
        return
    few = max(1, len(x) // 6)
    ax.plot(x, mean, color=colour, linestyle=dash, label=label, marker=marker, markevery=few, markersize=4.5)
    if len(rows) > 1:
        ax.fill_between(x, mean - sd, mean + sd, color=colour, alpha=0.15, linewidth=0)


def _frame(loss: Axes, accuracy: Axes, norms: Axes, alone: bool) -> None:
    for ax in (loss, accuracy, norms):
        ax.set_xlabel("epoch")
        ax.locator_params(axis="x", nbins=5, integer=True)
    loss.set_ylabel("training loss")
    lines = [y for line in loss.lines for y in line.get_ydata() if np.isfinite(y)]
    if lines and min(lines) > 0 and max(lines) > 20 * min(lines):
        loss.set_yscale("log")
    accuracy.set(ylabel="validation accuracy", ylim=(-0.02, 1.02))
    percent(accuracy.yaxis)
    if not accuracy.lines:
        accuracy.text(0.5, 0.5, "no validation\nimages", transform=accuracy.transAxes, ha="center", va="center")
    norms.set_ylabel(r"mean length $\|W_j\|$")
    norms.set_ylim(0, None)
    for ax, title in ((loss, "Loss"), (accuracy, "Accuracy"), (norms, "Weight norm")):
        finish(ax, title, legend=alone)
    if not alone:
        _shared_legend(loss, accuracy)


def _shared_legend(loss: Axes, accuracy: Axes) -> None:
    """One legend for the three panels, above them where the figure is ours."""
    handles, labels = (accuracy if accuracy.lines else loss).get_legend_handles_labels()
    figure = loss.get_figure(root=True)
    if handles and figure.get_layout_engine() is not None:
        figure.legend(handles, labels, loc="outside upper left", ncols=2 if max(map(len, labels)) > 28 else 3)
    elif handles:
        loss.legend(handles, labels, fontsize=7)
