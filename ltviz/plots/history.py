"""How a training went: loss, accuracy on validation, weight norms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from .. import metrics
from .picture import (
    DASHES,
    GROUP_COLOURS,
    GROUP_MARKERS,
    INK,
    Picture,
    as_percent,
    draws,
    get_axes,
    legend_over,
    look,
    mean_sd,
    number,
    percent,
    seeds,
)
from .series import Series, array, class_counts, series_of

GROUPS = ("head", "mid", "tail")
HEAD_TAIL = {"head": "-", "tail": (0, (2.5, 1.3))}


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
        history = [_history(run, one.shown) for run in one.runs]
        length = min(len(h["epoch"]) for h in history)
        epoch = array(history[0]["epoch"])[:length] + 1
        data["epoch"] = epoch
        losses = np.array([array(h["loss"], np.float64)[:length] for h in history])
        data[f"loss/{one.name}"] = losses
        kind = look(i)
        alone = len(found) == 1
        _line(loss, epoch, losses, kind["color"], kind["linestyle"], "" if alone else kind["marker"])
        last = {}
        for panel, key, short in ((accuracy, "val_accuracy", "accuracy"), (norms, "weight_norm", "weight_norm")):
            for group in GROUPS if alone else ("head", "tail"):
                rows = _group_rows(one, history, key, group, length)
                data[f"{short}/{one.name}/{group}"] = rows
                colour = GROUP_COLOURS[group] if alone else kind["color"]
                dash = DASHES[GROUPS.index(group)] if alone else HEAD_TAIL[group]
                _line(panel, epoch, rows, colour, dash, GROUP_MARKERS[group] if alone else kind["marker"])
                last[short, group] = float(np.mean(rows[:, -1])) if length else float("nan")
        said.append(f"{one.shown} ({length} epochs): loss {number(float(losses[:, 0].mean()))} to "
                    f"{number(float(losses[:, -1].mean()))}, validation accuracy head "
                    f"{as_percent(last['accuracy', 'head'])} and tail {as_percent(last['accuracy', 'tail'])}, weight "
                    f"norm head {number(last['weight_norm', 'head'])} and tail {number(last['weight_norm', 'tail'])}")
    _frame(loss, accuracy, norms)
    legend_over([accuracy, loss, norms], *_entries(found))
    return Picture([loss, accuracy, norms], data, "; ".join(said) + ".")


def _history(run: Any, name: str) -> Any:
    history = getattr(run, "history", None) or {}
    if "epoch" not in history or len(history["epoch"]) == 0:
        raise ValueError(f"runs: {name!r} has no history: it was collected, or stopped before the end of an epoch")
    return history


def _group_rows(one: Series, history: list[Any], key: str, group: str, length: int) -> np.ndarray:
    """Mean of history[key] (epochs, k) over the classes of a group: (seeds, epochs)."""
    rows = []
    for run, kept in zip(one.runs, history, strict=True):
        mask = metrics.third_groups(class_counts(run))[group]
        values = array(kept[key], np.float64)[:length, mask] if key in kept else np.full((length, 1), np.nan)
        rows.append(mean_sd(values.T)[0] if values.shape[1] else np.full(length, np.nan))
    return np.array(rows)


def _line(ax: Axes, x: np.ndarray, rows: np.ndarray, colour: str, dash: Any, marker: str) -> None:
    mean, sd = mean_sd(rows)
    if np.isnan(mean).all():
        return
    few = max(1, len(x) // 6)
    ax.plot(x, mean, color=colour, linestyle=dash, marker=marker, markevery=few, markersize=4.5)
    if len(rows) > 1:
        ax.fill_between(x, mean - sd, mean + sd, color=colour, alpha=0.15, linewidth=0)


def _entries(found: list[Series]) -> tuple[list[Line2D], list[str]]:
    """Legend: of one series its groups, of several the series by colour and marker, and head and tail by dash."""
    if len(found) == 1:
        lines = [Line2D([], [], color=GROUP_COLOURS[g], linestyle=d, marker=GROUP_MARKERS[g])
                 for g, d in zip(GROUPS, DASHES, strict=False)]
        return lines, [f"{found[0].shown} ({seeds(len(found[0].runs))}), head classes", "mid classes", "tail classes"]
    lines = [Line2D([], [], color=look(i)["color"], marker=look(i)["marker"]) for i in range(len(found))]
    lines += [Line2D([], [], color=INK, linestyle=dash) for dash in HEAD_TAIL.values()]
    return lines, [one.label for one in found] + [f"{group} classes" for group in HEAD_TAIL]


def _frame(loss: Axes, accuracy: Axes, norms: Axes) -> None:
    for ax in (loss, accuracy, norms):
        ax.set_xlabel("epoch")
        ax.locator_params(axis="x", nbins=5, integer=True)
    loss.set_ylabel("training loss")
    lines = [y for line in loss.lines for y in line.get_ydata() if np.isfinite(y)]
    if lines and min(lines) > 0 and max(lines) > 20 * min(lines):
        loss.set_yscale("log")
        loss.yaxis.set_major_formatter(lambda v, _: f"{v:g}")
        loss.yaxis.set_minor_formatter("")
    accuracy.set(ylabel="validation accuracy", ylim=(-0.02, 1.02))
    percent(accuracy.yaxis)
    if not accuracy.lines:
        accuracy.text(0.5, 0.5, "no validation\nimages", transform=accuracy.transAxes, ha="center", va="center")
    norms.set_ylabel(r"mean length $\|W_j\|$", parse_math=True)
    norms.set_ylim(0, None)
    for ax, title in ((loss, "Loss"), (accuracy, "Accuracy"), (norms, "Weight norm")):
        ax.set_title(title)
