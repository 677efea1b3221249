"""The effective number of samples, and the class weights that follow from it or from any other rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes

from .. import check, functional
from .classes import class_axis, no_groups
from .picture import (
    EDGE,
    MANY,
    REFERENCE,
    Picture,
    draws,
    finish,
    get_axes,
    look,
    number,
    plain,
    plain_log,
    reference,
)
from .series import LETTERS, array, by_count, class_counts, given_names
from .text import short_names

BETAS = (0.9, 0.99, 0.999, 0.9999)


def effective(n: np.ndarray, beta: float) -> np.ndarray:
    """Effective number of n images (any shape)."""
    return functional.effective_number(torch.tensor(n), beta).numpy()


def balanced_weights(counts: np.ndarray, beta: float) -> np.ndarray:
    """Class-balanced weights (k,), of mean 1 over the classes that have images."""
    return functional.inverse_weights(functional.effective_number(torch.tensor(counts), beta)).numpy()


def _betas(beta: float | Sequence[float] | None) -> list[float]:
    if beta is None:
        return list(BETAS)
    given = array(beta, np.float64, "beta", "a number from 0 to 1, or a list of such numbers")
    return [check.number("beta", b, 0.0, 1.0) for b in np.atleast_1d(given.squeeze())]


class EffectiveNumbers:
    """Effective number against the number of images on log axes: its frame, and the curves that are added to it.

    n (points,): where the curves are known.
    """

    def __init__(self, ax: Axes, counts: np.ndarray):
        self.ax, self.n = ax, np.unique(np.geomspace(1, max(counts.max(), 2), 240))
        ax.plot(self.n, self.n, label="E\N{LATIN SUBSCRIPT SMALL LETTER N} = n (β → 1)", **REFERENCE)
        ax.set(xscale="log", yscale="log", xlabel="images of the class, n (log scale)")
        ax.set_ylabel("effective number $E_n$ (log scale)", parse_math=True)
        ax.grid(True, axis="both")
        plain_log(ax.xaxis, ax.yaxis)

    def add(self, beta: float, **kind: Any) -> Any:
        """The curve of this beta; `curve.set_ydata(effective(n, beta))` moves it to another."""
        (curve,) = self.ax.plot(self.n, effective(self.n, beta), **kind)
        return curve


@draws
def plot_effective_number(data: Any, beta: float | Sequence[float] | None = None, *, ax: Axes | None = None) -> Picture:
    """Effective number of samples E_n = (1 - beta^n) / (1 - beta) against the number n of images, both on log axes.

    data: counts (k,), a data set or a run; its classes are the points on the curves. beta in [0, 1], one or several.
    `.data`: n, effective (betas, len n), beta, counts, class_effective (betas, k).
    Source: Cui et al. 2019, eq. (2). The curve flattens at 1 / (1 - beta), the number of prototypes N.

    Shows from which count on further images hardly add. Cannot show which beta is right: train and compare.
    """
    counts = class_counts(data, "data", alone=True)
    counts = counts[by_count(counts)]
    betas = _betas(beta)
    points = np.array([effective(counts, b) for b in betas])
    (ax,) = get_axes(ax)
    panel, curves, present = EffectiveNumbers(ax, counts), [], counts > 0
    for i, b in enumerate(betas):
        mark = {"markevery": [int(0.94 * len(panel.n))], "markersize": 6, "markeredgecolor": "white"}
        curves.append(panel.add(b, label=f"β = {b:.10g}", **mark, **look(i)).get_ydata())
        if len(counts) <= MANY:
            mark = {"marker": look(i)["marker"], "color": look(i)["color"], "markersize": 4.5}
            ax.plot(counts[present], points[i][present], linestyle="", **mark, **EDGE)
    finish(ax, "Effective number of samples")
    rarest, empty = counts[present][-1], int((~present).sum())
    smallest = "the smallest" if not empty else "the smallest that has any"
    parts = [
        f"{number(p[0])} and {number(p[present][-1])} at beta {b:.10g} (ratio {number(p[0] / p[present][-1])})"
        for b, p in zip(betas, points, strict=True)
    ]
    text = (
        f"The largest class ({counts[0]:,.0f} images) and {smallest} ({rarest:,.0f}; ratio "
        f"{number(counts[0] / rarest)}) have an effective number of " + ", ".join(parts) + "."
    ) + (f" {check.many(empty, 'class has', 'classes have')} no image." if empty else "")
    data = {"n": panel.n, "effective": curves, "beta": betas, "counts": counts, "class_effective": points}
    return Picture(ax, data, text)


@draws
def plot_class_weights(
    data: Any,
    beta: float | Sequence[float] | None = None,
    *,
    weights: Mapping[str, Any] | None = None,
    ax: Axes | None = None,
) -> Picture:
    """Weight of each class in the loss, mean 1 over the classes, on a log axis.

    data: counts (k,), a data set or a run. beta: class-balanced weights, w proportional to 1 / E_n(beta), one curve
    each (Cui et al. 2019, section 4). weights: any others, name -> (k,) in the order of the counts, scaled to mean 1
    here; given without beta, they are drawn alone. `.data`: counts, names, weights (curves, k), by rank.

    Shows how much more an image of a rare class counts. Cannot show what that does to accuracy.
    """
    counts = class_counts(data, "data", alone=True)
    order = by_count(counts)
    n, curves = counts[order], {}
    if beta is not None or weights is None:
        curves = {f"β = {b:.10g}": balanced_weights(n, b) for b in _betas(beta)}
    curves |= _scaled(weights, counts)
    given = given_names(data, len(n))
    shown = short_names(curves, LETTERS)
    (ax,) = get_axes(ax)
    class_axis(ax, n, [given[j] for j in order])
    for i, (name, w) in enumerate(zip(shown, curves.values(), strict=True)):
        kind = look(i) | ({"marker": ""} if len(n) > MANY else {})
        ax.plot(np.where(w > 0, w, np.nan), label=name, zorder=3, **EDGE, **kind)
    reference(ax, 1.0, "unweighted")
    ax.set(yscale="log", ylabel="class weight (log scale, mean 1)")
    plain_log(ax.yaxis)
    finish(ax, "Weight of each class")
    ratios = [number(w[n > 0][-1] / w[0] if w[0] > 0 else np.nan) for w in curves.values()]
    told = ", ".join(f"{ratio} ({plain(name)})" for name, ratio in zip(shown, ratios, strict=True))
    text = f"An image of the rarest class weighs, in images of the most frequent one: {told}.{no_groups(counts)}"
    return Picture(ax, {"counts": n, "names": list(curves), "weights": list(curves.values())}, text)


def _scaled(weights: Mapping[str, Any] | None, counts: np.ndarray) -> dict[str, np.ndarray]:
    """The weights by rank, of mean 1 over the classes that have images."""
    if weights is not None and not isinstance(weights, Mapping):
        raise check.refuse("weights", weights, "a dict: name -> one weight per class (k,)")
    found = {}
    for name, values in (weights or {}).items():
        expected = f"one finite weight >= 0 per class ({len(counts)}), not all 0"
        values = array(values, np.float64, f"weights[{name!r}]", expected)
        fits = values.shape == counts.shape and (np.isfinite(values) & (values >= 0)).all()
        if not (fits and values[counts > 0].any()):
            raise ValueError(f"weights[{name!r}] must be {expected}, not {check.shown(values.tolist())}")
        found[str(name)] = values[by_count(counts)] / values[counts > 0].mean()
    return found
