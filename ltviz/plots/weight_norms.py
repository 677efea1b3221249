"""Does the length of a class's classifier vector tell how many images the class had?"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from .. import check
from ..metrics import WeightNormFit, weight_norm_fit
from .classes import need_counts, no_groups
from .picture import (
    EDGE,
    REFERENCE,
    Picture,
    band,
    draws,
    finish,
    get_axes,
    look,
    mean_sd,
    number,
    plain,
    seeds,
    tall,
)
from .series import Series, alone, array, by_count, class_counts, is_run, series_of

TREND = 0.5  # Spearman's rank correlation, below which no slope is drawn
SLIDES = 7.0  # the dual-loss slides: n proportional to exp(7 ||W||)


def head_norms(run: Any) -> np.ndarray:
    """||W_j|| of each class (k,)."""
    return np.linalg.norm(array(run.head_weight, np.float64, "head_weight"), axis=1)


@draws
def plot_weight_norms(runs: Any, counts: Any = None, *, ax: Axes | None = None) -> Picture:
    """Length ||W_j|| of each class's classifier vector against its training images n_j (log axis).

    runs: a run, runs (several seeds of one name become one series), a dict label -> runs; or norms (k,), or the
    classifier matrix (k, d), with counts (k,). The line is the least-squares fit log n = s ||W|| + c over the classes,
    each seed by itself; mean and range of s are printed beside the slides' 7 (dashes: that slope through the centre of
    the first series), and the mean rank correlation r_s (Spearman) of norm and count; below |r_s| = 0.5, and of
    fewer than three classes, no slope is drawn.
    `.data`: counts (series, k), norms (series, k), s, c, rho, labels; and norms of each seed, "norms/<label>".
    Source: Li et al. 2020 (Dual Loss, slides): n proportional to exp(7 ||W||).

    Shows whether the classifier is biased to the head by length. Cannot show that this causes the errors on the tail:
    equal norms alone do not mend them, and s depends on weight decay, epochs and optimiser.
    """
    found = _series(runs, counts)
    (ax,) = get_axes(ax, 6.6, tall(len(found), 4.1))
    data: dict[str, Any] = {"labels": [name for name, *_ in found]}
    rows = {"counts": [], "norms": [], "s": [], "c": [], "rho": []}
    said = []
    for i, (name, shown, n, norms) in enumerate(found):
        mean, sd = mean_sd(norms)
        fit, note = _fit(norms, n)
        kind, present = look(i), n > 0
        label = f"{shown} ({seeds(len(norms))}): {note}"
        mark = kind | EDGE | {"linestyle": "", "markersize": 7 if len(n) <= 20 else 4}
        band(ax, n[present], mean[present], sd[present], label=label, zorder=4, **mark)
        _fit_line(ax, mean[present], n[present], fit.s, kind)
        if i == 0:
            _references(ax, mean[present], n[present], shown if len(found) > 1 else "")
        lengths = f"{number(mean[0])} for the most frequent class and {number(mean[-1])} for the rarest"
        if no_groups(n):
            lengths = f"{number(float(np.nanmean(mean)))} in the mean of the classes"
        said.append(f"{shown}: ||W|| is {lengths}, {plain(note)}")
        for key, value in {"counts": n, "norms": mean, **fit._asdict()}.items():
            rows[key].append(value)
        data[f"norms/{name}"] = norms
    ax.set_xscale("log")
    low, high = ax.get_ylim()
    ax.set_ylim(low - 0.06 * (high - low), high + 0.06 * (high - low))
    ax.xaxis.set_major_formatter(lambda v, _: f"{v:,.0f}" if v >= 1 else f"{v:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("training images of the class, $n_j$ (log scale)", parse_math=True)
    ax.set_ylabel(r"length of the classifier vector, $\|W_j\|$", parse_math=True)
    finish(ax, "Weight norm against sample count")
    said = "; ".join(said) + " (the dual-loss slides: s = 7; log count = s ||W|| + c)."
    return Picture(ax, data | rows, said + (_directions(runs) if counts is None else ""))


def _directions(runs: Any) -> str:
    """A sentence on runs whose classifier has lengths that decide nothing."""
    found = series_of(runs)
    of = [one.shown for one in found if any(getattr(run, "scale", None) is not None for run in one.runs)]
    if not of:
        return ""
    whose = "The classifier" if len(of) == len(found) else f"That of {', '.join(of)}"
    return f" {whose} is a cosine head, which compares directions only: its lengths change no decision."


def _series(runs: Any, counts: Any) -> list[tuple[str, str, np.ndarray, np.ndarray]]:
    """(label, label as shown, counts by rank (k,), norms by rank (seeds, k)) of every series."""
    if counts is None:
        need_counts(runs)
        return [(one.name, one.shown, one.counts, one.stack(head_norms)) for one in _checked(series_of(runs))]
    if is_run(runs):
        alone(counts=counts)
    n = class_counts(counts)
    norms = array(runs, np.float64, "runs", f"norms ({len(n)},) or a classifier matrix ({len(n)}, d)")
    if norms.ndim == 2 and norms.shape[0] == len(n):
        norms = np.linalg.norm(norms, axis=1)
    if norms.shape != n.shape or (norms < 0).any():
        raise ValueError(
            f"runs must be norms (k,) or a classifier matrix (k, d) with k = {len(n)}, the length of "
            f"counts; norms are not negative; given {check.shown(runs)}"
        )
    order = by_count(n)
    return [("norms", "norms", n[order], norms[order][None])]


def _checked(found: list[Series]) -> list[Series]:
    for one in found:
        for run in one.runs:
            if getattr(run, "head_weight", None) is None:
                raise ValueError(
                    f"runs: {one.shown!r} keeps no classifier vectors (head_weight), so it has no weight norms; "
                    f"{check.remedy(run, 'head_weight')}"
                )
    return found


def _fit(norms: np.ndarray, n: np.ndarray) -> tuple[WeightNormFit, str]:
    """The fit of every seed (norms (seeds, k)), averaged, and its words.

    Each seed is fitted by itself: a mean over seeds is smoother than any network, and would correlate too well. Where
    norms do not follow counts, or are equal to 2%, a slope would be a fit of noise.
    """
    if np.ptp(n) == 0:
        return WeightNormFit(*[float("nan")] * 3), "counts all equal, no slope"
    if (n > 0).sum() < 3:
        return WeightNormFit(*[float("nan")] * 3), "two classes, no slope"
    norms = norms[np.isfinite(norms).all(1)]
    if not len(norms):
        return WeightNormFit(*[float("nan")] * 3), "norms not finite: diverged"
    fits = np.array([weight_norm_fit(row, n) for row in norms])
    s, c, rho = mean_sd(fits)[0]
    spread = norms[:, n > 0].mean(0)
    if spread.min() > 0 and spread.max() / spread.min() < 1.02:
        return WeightNormFit(float("nan"), float("nan"), float(rho)), "norms equal to 2%"
    if not abs(rho) >= TREND:
        return WeightNormFit(float("nan"), float("nan"), float(rho)), f"no trend (rₛ = {rho:.2f})"
    among = f" ({fits[:, 0].min():.1f} to {fits[:, 0].max():.1f})" if len(fits) > 1 else ""
    return WeightNormFit(float(s), float(c), float(rho)), f"s = {s:.1f}{among}, rₛ = {rho:.2f}"


def _fit_line(ax: Axes, norms: np.ndarray, n: np.ndarray, s: float, kind: dict[str, Any]) -> None:
    """log n = s norm + c through the centre of the classes."""
    if np.isfinite(s) and s != 0:
        logs = np.log(n)
        ends = np.array([logs.min(), logs.max()])
        reach = norms.mean() + (ends - logs.mean()) / s
        ax.plot(np.exp(ends), reach, color=kind["color"], linewidth=2.2, zorder=3, scaley=False)


def _references(ax: Axes, norms: np.ndarray, n: np.ndarray, name: str) -> None:
    """The slides' slope and equal norms, through the centre of the first series."""
    logs, centre, span = np.log(n), float(norms.mean()), np.array([n.min(), n.max()])
    of = f", through {name}" if name else ""
    slope, dashed = centre + (np.log(span) - logs.mean()) / SLIDES, REFERENCE | {"linestyle": (0, (6, 3))}
    ax.plot(span, slope, label=f"s = 7 (slides){of}", **dashed)
    ax.plot(span, [centre, centre], label="all norms equal", **REFERENCE)
