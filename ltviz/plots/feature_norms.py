"""How long the features of head and tail images are. seaborn draws the distributions."""

from __future__ import annotations

from typing import Any

import numpy as np
import seaborn
from matplotlib.axes import Axes

from .. import check
from ..metrics import spearman
from .classes import class_axis, class_band, drawn_groups, no_groups
from .picture import GROUP_COLOURS, GROUP_INK, Picture, draws, finish, get_axes, number, tall
from .series import alone, class_names, is_run, labelled_features, series_of
from .text import short


@draws
def plot_feature_norms(
    runs: Any, targets: Any = None, counts: Any = None, *, kind: str = "hist", ax: Axes | None = None
) -> Picture:
    """Histogram of feature lengths ||f(x)|| of test images, for head, mid and tail classes apart.

    runs: a run that kept its test features; or features (n, d) with targets (n,) and counts (k,). Several runs, and
    runs that keep no features, are drawn as the mean length of each class instead, seeds as a band.
    kind: "hist" or "kde" (a smoothed curve), each scaled to area 1 so that groups of unequal size compare.
    `.data`: norms (n,), group (n,) names, means by group; or counts and "norms/<label>" (seeds, k).

    Shows whether the network answers tail images with shorter features. Cannot show image quality: noise can raise a
    norm while accuracy falls, and in a ReLU network a darker image has a shorter feature whatever it shows.
    """
    kind = check.choice("kind", kind, ("hist", "kde"))
    if not is_run(runs) and (hasattr(runs, "shape") or targets is not None or counts is not None):
        features, targets, n, _ = labelled_features(runs, targets, counts, "runs")
        return _distribution(features, targets, n, "", kind, ax)
    alone(targets=targets, counts=counts)
    found = series_of(runs)
    run = found[0].runs[0]
    if len(found) == 1 and len(found[0].runs) == 1 and getattr(run, "features", None) is not None:
        features, targets, n, _ = labelled_features(run)
        return _distribution(features, targets, n, found[0].shown, kind, ax)
    return _class_means(found, ax)


def _distribution(
    features: np.ndarray, targets: np.ndarray, counts: np.ndarray, name: str, kind: str, ax: Axes | None
) -> Picture:
    norms = np.linalg.norm(features, axis=1)
    groups = drawn_groups(counts)
    member = np.select([mask[targets] for mask in groups.values()], list(groups), default="")
    (ax,) = get_axes(ax)
    edges = np.histogram_bin_edges(norms, bins=min(60, max(12, int(np.sqrt(len(norms)) * 1.3))))
    means = {}
    for group in groups:
        values = norms[member == group]
        means[group] = float(values.mean()) if values.size else float("nan")
        if not values.size:
            continue
        colour, label = GROUP_COLOURS[group], f"{group} (mean {number(means[group])}, {values.size:,} images)"
        if kind == "kde" and np.ptp(values) > 0:
            seaborn.kdeplot(x=values, ax=ax, color=colour, fill=True, alpha=0.22, linewidth=2, label=label, cut=0)
        else:
            steps = {"bins": list(edges), "stat": "density", "element": "step", "alpha": 0.25, "linewidth": 1.6}
            seaborn.histplot(x=values, ax=ax, color=colour, label=label, **steps)
        dash = {"mid": (0, (5, 2)), "tail": (0, (1, 1))}.get(group, "-")
        ax.axvline(means[group], color=GROUP_INK[group], linestyle=dash, linewidth=1.8)
    ax.set_xlabel(r"length of the feature of a test image, $\|f(x)\|$", parse_math=True)
    ax.set_ylabel("density")
    finish(ax, f"Feature norms{': ' + short(name, 40) if name else ''} (lines: means)")
    rho = spearman(norms, counts[targets]) if len(norms) > 1 else float("nan")
    text = (
        f"Mean feature norm of test images{' of ' + name if name else ''}: "
        + ", ".join(f"{group} {number(mean)}" for group, mean in means.items())
        + ("" if np.isnan(rho) else f"; Spearman correlation of norm and class count {rho:.2f}")
        + f".{no_groups(counts)}"
    )
    data = {"norms": norms, "group": member, "means": [means[g] for g in groups], "groups": list(groups)}
    return Picture(ax, data, text)


def _class_means(found: list[Any], ax: Axes | None) -> Picture:
    (ax,) = get_axes(ax, height=tall(len(found)))
    counts = found[0].counts
    class_axis(ax, counts, class_names(found), binned=True)
    groups, data, said = drawn_groups(counts), {"counts": counts}, []
    for i, one in enumerate(found):
        for run in one.runs:
            if getattr(run, "class_feature_norm", None) is None:
                raise ValueError(f"runs: {one.shown!r} keeps no test features; {check.remedy(run, 'features')}")
        rows = one.stack(lambda run: run.class_feature_norm)
        class_band(ax, rows, i, one.shown)
        data[f"norms/{one.name}"] = rows
        said.append(
            f"{one.shown} " + ", ".join(f"{g} {number(float(np.nanmean(rows[:, m])))}" for g, m in groups.items())
        )
    ax.set_ylabel(r"mean length of a test feature, $\|f(x)\|$", parse_math=True)
    ax.set_ylim(0, None)
    finish(ax, "Feature norm of each class")
    return Picture(ax, data, "Mean feature norm of test images: " + "; ".join(said) + "." + no_groups(counts))
