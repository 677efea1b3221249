"""How well each of many attributes is told, over its imbalance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from .. import check, metrics
from ..files import canonical
from .picture import EDGE, Picture, as_percent, draws, finish, get_axes, look, number, percent, reference, seeds, tall
from .text import distinct, literal, short_names, width

RUNS = "a run of lt.train_attributes, a list of runs, or a dict label -> runs"
ARRAYS = "a dict label -> balanced accuracies (seeds, a), as fractions"
RARE = 10.0  # imbalance from which on an attribute counts as rare in the sentence
LETTER, LINE = 0.062, 0.165  # inches of a small letter, and between two slanted names
DRAWN = (  # what a loader is asked for that does not change which attributes images have
    "seed", "validation", "test", "split", "fingerprint", "root", "path", "images", "file_column", "attributes", "size",
    "download", "memory", "on_error",
)  # fmt: skip
APART = 2.0  # how many times more imbalanced an attribute may be in one run than in another one, beside it in a picture
ROUND = (1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 300, 500, 1000, 2000, 5000, 10_000)


@draws
def plot_attributes(runs: Any, imbalance: Any = None, names: Any = None, *, ax: Axes | None = None) -> Picture:
    """Balanced accuracy of each attribute, over how imbalanced it is.

    runs: a run of `lt.train_attributes`, runs (those of one label are seeds of one series), a dict label -> runs; or a
    dict label -> balanced accuracies (a,) or (seeds, a), as fractions, with imbalance (a,), most frequent / rarest
    value, and names (a,) beside it. A bar on a point is the 95% interval of the mean over seeds. Dotted: chance, where
    every attribute has two values. A run that diverged is "undefined". ValueError for runs on other attributes, such as
    those of another cut (`ratio`). `.data`: imbalance and names, in order of imbalance, and "balanced/<label>"
    (seeds, a).

    Shows what imbalance costs an attribute, and which method pays it back. Cannot show that imbalance alone is the
    cause: a rare attribute may be a hard one, too.
    """
    drawn, x, said, binary = _series(runs, imbalance, names)
    order = np.argsort(x, kind="stable")
    x, said = x[order], [said[j] for j in order]
    (ax,) = get_axes(ax, 8.6, tall(len(drawn), 4.6))
    data: dict[str, np.ndarray] = {"imbalance": x, "names": np.array(said)}
    text, low = [], 0.5
    for i, (label, shown, rows) in enumerate(drawn):
        rows = data[f"balanced/{label}"] = rows[:, order]
        found = [metrics.paired(column, np.zeros(len(rows))) for column in rows.T]
        mean, half = np.array([one.mean for one in found]), np.array([one.half for one in found])
        ends = np.concatenate([mean, mean - half])
        low = min([low, *ends[np.isfinite(ends)]])  # no interval is cut
        kind = look(i)
        # Beside one another, so that no bar hides another one.
        place = x * 1.012 ** (i - (len(drawn) - 1) / 2)
        ax.plot(place, mean, color=kind["color"], linestyle=kind["linestyle"], linewidth=0.9, alpha=0.6, zorder=2)
        label = f"{shown} ({seeds(len(rows))}{', 95% interval' if len(rows) > 1 else ''})"
        label += "" if np.isfinite(mean).any() else ": undefined"
        ax.errorbar(place, mean, None if np.isnan(half).all() else half, fmt=kind["marker"], color=kind["color"],
                    markersize=5.5, elinewidth=1.1, capsize=2, label=label, zorder=3 + i / 100, **EDGE)  # fmt: skip
        text.append(f"{shown} {_mean(mean)} ({_ends(mean, x)}{seeds(len(rows))})")
    _axis(ax, x, said)
    if binary:
        reference(ax, 0.5, "chance, 1/2")
    ax.set(ylim=(max(low, 0.0) - 0.03, 1.02), ylabel="balanced accuracy")
    percent(ax.yaxis)
    finish(ax, f"{len(x)} attributes by imbalance")
    return Picture(ax, data, "Mean balanced accuracy of the attributes: " + "; ".join(text) + ".")


def _mean(values: np.ndarray) -> str:
    found = values[~np.isnan(values)]
    return as_percent(found.mean()) if found.size else "undefined"


def _ends(mean: np.ndarray, x: np.ndarray) -> str:
    """What the sentence says of the rare attributes, and of the others, where there are both."""
    rare = x >= RARE
    if rare.all() or not rare.any():
        return ""
    return f"{_mean(mean[~rare])} below {RARE:g} : 1, {_mean(mean[rare])} from there on; "


def _axis(ax: Axes, x: np.ndarray, names: list[str]) -> None:
    """A logarithmic axis of imbalance, with the attributes' names below it where they find room."""
    low, high = x.min() / 1.1, x.max() * 1.1
    ax.set_xscale("log")
    ax.set_xlim(low, high)
    ax.xaxis.set_minor_locator(NullLocator())
    inches = ax.bbox.width / ax.get_figure(root=True).dpi
    gaps = np.diff(np.log(x)) / np.log(high / low) * inches
    shown = short_names(names, 20)
    if len(x) < 2 or gaps.min() < LINE:
        ticks = [one for one in ROUND if low <= one <= high] or [x[0]]
        labels, what = [f"{number(one)} : 1" for one in ticks], "imbalance: most frequent / rarest value"
        ax.xaxis.set_major_locator(FixedLocator(ticks))
        ax.xaxis.set_major_formatter(FixedFormatter(labels))
    else:
        labels, what = (
            [f"{name}  {_ratio(r)}" for name, r in zip(shown, x, strict=True)],
            "attribute, and its imbalance",
        )
        flat = max(map(width, labels)) * LETTER < gaps.min()
        turn = {} if flat else {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
        ax.set_xticks(x, labels, fontsize=8, **turn, **literal())
    ax.set_xlabel(f"{what} (log)")


def _ratio(value: float) -> str:
    return f"{value:.1f} : 1" if value < 10 else f"{value:.0f} : 1"


def _series(runs: Any, imbalance: Any, names: Any) -> tuple[list[tuple[str, str, np.ndarray]], np.ndarray, list, bool]:
    """(label, what is shown of it, balanced accuracies (seeds, a)) of each series; imbalance; names; all binary."""
    if isinstance(runs, Mapping) and imbalance is not None:
        return _of_arrays(runs, imbalance, names)
    for name, value in (("imbalance", imbalance), ("names", names)):
        if value is not None:
            raise check.refuse(name, value, f"no {name} beside runs, which have their own")
    groups: dict[str, list] = {}
    if isinstance(runs, Mapping):
        groups = {str(label): _runs(of, f"runs[{label!r}]") for label, of in runs.items()}
    else:
        for run in _runs(runs, "runs"):
            groups.setdefault(run.label, []).append(run)
    every = [run for of in groups.values() for run in of]
    if not every:
        raise check.refuse("runs", runs, f"{RUNS}, at least one")
    first = every[0]
    for run in every[1:]:
        _same_attributes(first, run)
    x = np.exp(np.log([run.imbalance for run in every]).mean(0))
    labels = distinct(groups)
    rows = [np.array([run.balanced_accuracy for run in of]) for of in groups.values()]
    drawn = list(zip(labels, short_names(labels, 60), rows, strict=True))
    return drawn, _drawable(x, first.names), list(first.names), all(len(of) == 2 for of in first.values)


def _same_attributes(first: Any, run: Any) -> None:
    """ValueError for two runs whose attributes are not the same ones, or are imbalanced in another way."""
    if (run.names, run.values) != (first.names, first.values):
        raise ValueError("runs: they know different attributes; plot one data set at a time")
    asked = [{name: canonical(value) for name, value in one.data.items() if name not in DRAWN} for one in (first, run)]
    for name in sorted(asked[0].keys() | asked[1].keys()):
        a, b = (of.get(name) for of in asked)
        if a != b:
            raise ValueError(
                f"runs: data with {name}={check.shown(a)} and with {name}={check.shown(b)} have other attributes under "
                "the same names; plot one data set at a time"
            )
    for name, a, b in zip(first.names, first.imbalance, run.imbalance, strict=True):
        if max(a, b) > APART * min(a, b):
            raise ValueError(
                f"runs: the imbalance of {name!r} is {_ratio(a)} in one and {_ratio(b)} in another, which one "
                "point cannot show; plot one data set at a time"
            )


def _runs(value: Any, name: str) -> list[Any]:
    found = [value] if hasattr(value, "balanced_accuracy") else value
    if isinstance(found, (str, Mapping)) or not hasattr(found, "__iter__"):
        raise check.refuse(name, value, RUNS)
    found = list(found)
    for run in found:
        if not hasattr(run, "balanced_accuracy") or not hasattr(run, "imbalance"):
            raise check.refuse(name, run, RUNS)
    return [run for i, run in enumerate(found) if not any(run is other for other in found[:i])]


def _of_arrays(runs: Mapping, imbalance: Any, names: Any) -> tuple[list, np.ndarray, list[str], bool]:
    x = check.array("imbalance", imbalance, 1, "most frequent / rarest value of each attribute (a,)").astype(np.float64)
    said = [f"attribute {j + 1}" for j in range(len(x))] if names is None else list(names)
    if len(said) != len(x) or not all(isinstance(one, str) for one in said):
        raise check.refuse("names", names, f"the names of the {len(x)} attributes")
    drawn = []
    for label, shown in zip(runs, short_names(runs, 60), strict=True):
        rows = np.atleast_2d(check.array(f"runs[{label!r}]", runs[label], None, ARRAYS).astype(np.float64))
        inside = np.isnan(rows) | ((rows >= 0) & (rows <= 1))
        if rows.ndim != 2 or rows.shape[1] != len(x) or not len(rows) or not inside.all():
            raise check.refuse(f"runs[{label!r}]", runs[label], f"{ARRAYS}, with a={len(x)} as in imbalance")
        drawn.append((str(label), shown, rows))
    if not drawn:
        raise check.refuse("runs", runs, f"{ARRAYS}, at least one")
    return drawn, _drawable(x, said), said, False


def _drawable(x: np.ndarray, names: Any) -> np.ndarray:
    wrong = [name for name, one in zip(names, x, strict=True) if not (np.isfinite(one) and one >= 1)]
    if wrong or not x.size:
        raise ValueError(
            f"imbalance: {', '.join(map(str, wrong[:5])) or 'nothing'} has no finite one of at least 1 (a value without"
            " training images?); leave such attributes out"
        )
    return x
