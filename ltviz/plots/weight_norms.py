"""Does the length of a class's weight vector tell how many images the class had?"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from ..metrics import WeightNormFit, spearman, weight_norm_fit
from .picture import QUIET, Picture, draws, finish, get_axes, look, mean_sd, number
from .series import Series, array, by_count, class_counts, seeds, series_of

SLIDES = 7.0  # the dual-loss slides: n proportional to exp(7 ||W||)


def head_norms(run: Any) -> np.ndarray:
    """||W_j|| of each class (k,)."""
    return np.linalg.norm(array(run.head_weight, np.float64), axis=1)


@draws
def plot_weight_norms(runs: Any, counts: Any = None, *, ax: Axes | None = None) -> Picture:
    """Length ||W_j|| of each class's weight vector against its training images n_j (log axis).

    runs: a run, runs (several seeds of one name become one series), a dict label -> runs; or norms (k,), or the
    classifier matrix (k, d), with counts (k,). The line is the least-squares fit log n = s ||W|| + c over the classes
    (mean norm over the seeds of a rank); s is printed beside the slides' 7 (thin dashes: that slope through the same
    centre), and Spearman's rho of norm and count. Dotted: all norms equal.
    `.data`: counts (series, k), norms (series, k), s, c, rho, labels; and norms of each seed, "norms/<label>".
    Source: Li et al. 2020 (Dual Loss, slides): n proportional to exp(7 ||W||).

    Shows whether the classifier is biased to the head by length. Cannot show that this causes the errors on the tail:
    equal norms alone do not mend them, and s depends on weight decay, epochs and optimiser.
    """
    found = _series(runs, counts)
    (ax,) = get_axes(ax, 6.6, 4.1)
    data: dict[str, Any] = {"labels": [name for name, *_ in found]}
    rows = {"counts": [], "norms": [], "s": [], "c": [], "rho": []}
    said = []
    for i, (name, n, norms) in enumerate(found):
        mean, sd = mean_sd(norms)
        fit, note = _fit(mean, n)
        kind = look(i)
        shown = f"{name} ({seeds(len(norms))}): {note}"
        present = n > 0
        if len(norms) > 1:
            ax.fill_between(n[present], (mean - sd)[present], (mean + sd)[present], color=kind["color"], alpha=0.14,
                            linewidth=0, zorder=2)
        ax.plot(n[present], mean[present], kind["marker"], color=kind["color"], label=shown, zorder=4,
                markersize=7 if len(n) <= 20 else 4, markeredgecolor="white", markeredgewidth=0.6)
        _lines(ax, mean[present], n[present], fit, kind)
        said.append(f"{name}: ||W|| is {number(mean[0])} for the most frequent class and {number(mean[-1])} for the "
                    f"rarest, {note.replace('$', '').replace(chr(92), '')}")
        for key, value in {"counts": n, "norms": mean, **fit._asdict()}.items():
            rows[key].append(value)
        data[f"norms/{name}"] = norms
    ax.set_xscale("log")
    low, high = ax.get_ylim()
    ax.set_ylim(low - 0.06 * (high - low), high + 0.06 * (high - low))
    ax.xaxis.set_major_formatter(lambda v, _: f"{v:,.0f}" if v >= 1 else f"{v:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("training images of the class, $n_j$ (log scale)")
    ax.set_ylabel(r"length of the weight vector, $\|W_j\|$")
    ax.plot([], [], color=QUIET, linestyle=(0, (6, 3)), linewidth=1.1, label="slope of the slides, s = 7")
    ax.plot([], [], color=QUIET, linestyle=(0, (1, 2)), linewidth=1.2, label="all norms equal")
    finish(ax, "Weight norm against sample count")
    return Picture(ax, data | rows, "; ".join(said) + " (the slides: s = 7).")


def _series(runs: Any, counts: Any) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """(label, counts by rank (k,), norms by rank (seeds, k)) of every series."""
    if counts is None:
        return [(one.name, one.counts, one.stack(head_norms)) for one in _checked(series_of(runs))]
    norms, n = array(runs, np.float64), class_counts(counts)
    if norms.ndim == 2 and norms.shape[0] == len(n):
        norms = np.linalg.norm(norms, axis=1)
    if norms.shape != n.shape:
        raise ValueError(f"runs must be norms (k,) or a classifier matrix (k, d) with k = {len(n)}, the length of "
                         f"counts, not an array of shape {norms.shape}")
    order = by_count(n)
    return [("norms", n[order], norms[order][None])]


def _checked(found: list[Series]) -> list[Series]:
    for one in found:
        for run in one.runs:
            if getattr(run, "head_weight", None) is None:
                raise ValueError(f"run {one.name!r} keeps no head_weight, so it has no weight norms")
    return found


def _fit(norms: np.ndarray, n: np.ndarray) -> tuple[WeightNormFit, str]:
    """The fit and its words. Where the norms are equal to 2 % a slope would be a fit of rounding noise."""
    spread = norms.max() / norms.min() if norms.min() > 0 else np.inf
    if spread < 1.02 or np.ptp(n) == 0:
        nan = float("nan")
        equal = "norms equal to 2 %" if spread < 1.02 else "counts all equal"
        return WeightNormFit(nan, nan, spearman(norms, n)), f"{equal}, no slope"
    fit = weight_norm_fit(norms, n)
    return fit, rf"s = {fit.s:.1f}, $\rho$ = {fit.rho:.2f}"


def _lines(ax: Axes, norms: np.ndarray, n: np.ndarray, fit: WeightNormFit, kind: dict[str, Any]) -> None:
    """The fit, the slides' slope through the same centre, and equal norms; each as long as the data goes."""
    logs, centre = np.log(n), float(norms.mean())
    span = np.array([n.min(), n.max()])
    ax.plot(span, [centre, centre], color=kind["color"], linestyle=(0, (1, 2)), linewidth=1.2, alpha=0.9)
    ax.plot(span, centre + (np.log(span) - logs.mean()) / SLIDES, color=kind["color"], linestyle=(0, (6, 3)),
            linewidth=1.1, alpha=0.7)
    if np.isfinite(fit.s) and fit.s != 0:
        reach = np.linspace(norms.min(), norms.max(), 50)
        at = np.exp(fit.s * reach + fit.c)
        inside = (at >= n.min() / 1.5) & (at <= n.max() * 1.5)
        ax.plot(at[inside], reach[inside], color=kind["color"], linewidth=2.2, zorder=3)
