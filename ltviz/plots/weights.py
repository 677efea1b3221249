"""The effective number of samples, and the class weights that follow from it or from any other rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes

from .. import check
from ..functional import effective_number, inverse_weights
from .picture import DOTTED, QUIET, Picture, class_axis, draws, finish, get_axes, look, number, plain, reference
from .series import LETTERS, array, by_count, class_counts, given_names
from .text import short_names

BETAS = (0.9, 0.99, 0.999, 0.9999)


def _betas(beta: float | Sequence[float] | None) -> list[float]:
    if beta is None:
        return list(BETAS)
    given = array(beta, np.float64, "beta", "a number from 0 to 1, or a list of such numbers")
    return [check.number("beta", b, 0.0, 1.0) for b in np.atleast_1d(given.squeeze())]


@draws
def plot_effective_number(data: Any, beta: float | Sequence[float] | None = None, *, ax: Axes | None = None) -> Picture:
    """Effective number of samples E_n = (1 - beta^n) / (1 - beta) against the number n of images, both on log axes.

    data: counts (k,), a data set or a run; its classes are the points on the curves. beta in [0, 1], one or several.
    `.data`: n, effective (betas, len n), beta, counts, class_effective (betas, k).
    Source: Cui et al. 2019, eq. (2). The curve flattens at 1 / (1 - beta), the number of prototypes N.

    Shows from which count on further images hardly add. Cannot show which beta is right: train and compare.
    """
    counts = class_counts(data, "data")
    counts = counts[by_count(counts)]
    betas = _betas(beta)
    n = np.unique(np.geomspace(1, max(counts.max(), 2), 240))
    curves = np.array([effective_number(torch.tensor(n), b).numpy() for b in betas])
    points = np.array([effective_number(torch.tensor(counts), b).numpy() for b in betas])
    (ax,) = get_axes(ax)
    ax.plot(n, n, color=QUIET, linestyle=DOTTED, linewidth=1.2, gid="reference",
            label="E\N{LATIN SUBSCRIPT SMALL LETTER N} = n (β → 1)")
    present = counts > 0
    for i, b in enumerate(betas):
        kind = look(i)
        ax.plot(n, curves[i], color=kind["color"], linestyle=kind["linestyle"], label=f"β = {b:.10g}",
                marker=kind["marker"], markevery=[int(0.94 * len(n))], markeredgecolor="white", markersize=6)
        if len(counts) <= 40:
            ax.plot(counts[present], points[i][present], kind["marker"], color=kind["color"], markersize=4.5,
                    markeredgecolor="white", markeredgewidth=0.5)
    ax.set(xscale="log", yscale="log", xlabel="images of the class, n (log scale)")
    ax.set_ylabel("effective number $E_n$ (log scale)", parse_math=True)
    ax.grid(True, axis="both")
    _plain_log(ax)
    finish(ax, "Effective number of samples")
    rarest = counts[present][-1]
    parts = [f"{number(p[0])} and {number(p[present][-1])} at beta {b:.10g} (ratio {number(p[0] / p[present][-1])})"
             for b, p in zip(betas, points, strict=True)]
    text = (f"The largest class ({counts[0]:,.0f} images) and the smallest ({rarest:,.0f}; ratio "
            f"{number(counts[0] / rarest)}) have an effective number of " + ", ".join(parts) + ".")
    data = {"n": n, "effective": curves, "beta": betas, "counts": counts, "class_effective": points}
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
    counts = class_counts(data, "data")
    order = by_count(counts)
    n, curves = counts[order], {}
    if beta is not None or weights is None:
        for b in _betas(beta):
            curves[f"β = {b:.10g}"] = inverse_weights(effective_number(torch.tensor(n), b)).numpy()
    curves |= _scaled(weights, counts)
    given = given_names(data, len(n))
    shown = short_names(curves, LETTERS)
    (ax,) = get_axes(ax)
    class_axis(ax, n, [given[j] for j in order])
    for i, (name, w) in enumerate(zip(shown, curves.values(), strict=True)):
        kind = look(i) | ({"marker": ""} if len(n) > 40 else {})
        ax.plot(np.where(w > 0, w, np.nan), label=name, markeredgecolor="white", markeredgewidth=0.6, zorder=3, **kind)
    reference(ax, 1.0, "unweighted")
    ax.set(yscale="log", ylabel="class weight (log scale, mean 1)")
    _plain_log(ax, "y")
    finish(ax, "Weight of each class")
    ratios = {name: w[n > 0][-1] / w[0] if w[0] > 0 else np.nan for name, w in zip(shown, curves.values(), strict=True)}
    text = ("An image of the rarest class weighs, in images of the most frequent one: "
            + ", ".join(f"{number(ratio)} ({plain(name)})" for name, ratio in ratios.items()) + ".")
    return Picture(ax, {"counts": n, "names": list(curves), "weights": np.array(list(curves.values()))}, text)


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


def _plain_log(ax: Axes, which: str = "both") -> None:
    """Write 0.01, 1, 1,000 on log axes instead of powers of ten."""
    for axis in ([ax.xaxis] if which in ("x", "both") else []) + ([ax.yaxis] if which in ("y", "both") else []):
        axis.set_major_formatter(lambda v, _: f"{v:,.0f}" if v >= 1 else f"{v:.10g}")
        axis.set_minor_formatter("")
