"""How many training images each class has."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from ..metrics import shot_groups
from .classes import NAMED, class_axis, drawn_groups, no_groups
from .picture import MANY, Picture, as_percent, draws, finish, get_axes, group_look, offset, plain_log, reference
from .series import by_count, class_counts, given_names, no_labels
from .text import short_names


@draws
def plot_counts(data: Any, *, ax: Axes | None = None) -> Picture:
    """Training images of each class, most frequent first, on a log axis.

    data: a data set, a run, counts (k,), or a Counter or a Series of class names. Dotted lines at 100 and 20 images
    part many-, medium- and few-shot classes.
    `.data`: counts, names. A class without images has no point.

    Shows how long the tail is. Cannot show how hard a class is: a rare class may still be easy.
    """
    no_labels(data, "data")
    counts = class_counts(data, "data", alone=True)
    order = by_count(counts)
    n, given = counts[order], given_names(data, len(counts))
    names = [given[j] for j in order]
    (ax,) = get_axes(ax)
    class_axis(ax, n, names, say_counts=len(n) > NAMED)
    x, shown = np.arange(len(n)), np.where(n > 0, n, np.nan)
    for group, mask in drawn_groups(n).items():
        kind = group_look(group) | {"zorder": 3}
        kind |= {"linestyle": "", "markersize": 7} if len(n) <= MANY else {"linestyle": "-", "marker": ""}
        bar = {"linewidth": min(14.0, 260 / len(n)), "alpha": 0.30, "zorder": 3}
        ax.vlines(x[mask], 0.5, shown[mask], color=kind["color"], **bar)
        ax.plot(x[mask], shown[mask], **kind)
    if len(n) <= NAMED:
        for j in np.flatnonzero(n > 0):
            halo = [withStroke(linewidth=2.5, foreground="white")]
            ax.annotate(f"{n[j]:,.0f}", (j, n[j]), (0, 6), path_effects=halo, **offset("center", "bottom"))
    ax.set(yscale="log", ylim=(0.7, n.max() * 2.2), ylabel="training images (log scale)")
    plain_log(ax.yaxis)
    reference(ax, 100, "100 and 20 images: many-, medium-, few-shot")
    reference(ax, 20, "_")
    finish(ax, "Training images of each class")
    return Picture(ax, {"counts": n, "names": names}, _says(n, names))


def _says(n: np.ndarray, names: list[str]) -> str:
    present, names = n[n > 0], short_names([names[0], names[-1]], 40)
    groups = drawn_groups(n)
    text = f"{len(n)} classes and {n.sum():,.0f} training images: "
    if n[0] == n[-1]:
        return f"{text}{n[0]:,.0f} of each; {_shots(n)}.{no_groups(n)}"
    text += f'from {n[0]:,.0f} of "{names[0]}" down to {n[-1]:,.0f} of "{names[-1]}"'
    if len(present) == len(n):
        text += f" (ratio {n[0] / n[-1]:.3g})"
    else:
        text += f" ({len(n) - len(present)} classes have none)"
    if "head" in groups:
        share = as_percent(n[groups["head"]].sum() / n.sum())
        most = "more frequent class" if len(n) == 2 else "most frequent third of the classes"
        text += f"; the {most} holds {share} of the images"
    return f"{text}; {_shots(n)}."


def _shots(n: np.ndarray) -> str:
    many, medium, few = (mask.sum() for mask in shot_groups(n).values())
    return f"{many} many-, {medium} medium- and {few} few-shot classes"
