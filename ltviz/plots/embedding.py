"""The features of test images, placed in the plane."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm

from .. import check
from ..embedding import embed, neighbour_overlap, subsample
from .classes import drawn_groups, no_groups
from .picture import CLASS_COLOURS, FAINT, GROUP_MARKERS, INK, Picture, as_percent, draws, finish, get_axes
from .series import alone, array, by_count, finite, is_run, labelled_features
from .text import short, short_names

NAMES = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}
DRAWN = 4000  # points; with more, nothing can be told apart, and the picture weighs megabytes
LABELLED = 20  # with more classes their names would cover the picture


def plot_embedding(
    run: Any,
    targets: Any = None,
    counts: Any = None,
    *,
    method: Any = "tsne",
    seed: int = 0,
    recorded: Any = None,
    ax: Axes | None = None,
    **settings: float,
) -> Picture:
    """Features of test images in the plane, coloured from the most frequent class (dark) to the rarest (bright).

    run: a run that kept its test features; or features (n, d) with targets (n,) and counts (k,). method: "tsne",
    "umap", "pca", or an object with fit_transform; seed and settings go to ltviz.embed. recorded: points (n, 2)
    made before, or a folder of recorded embeddings to look in first. Markers tell head, mid and tail apart as well.
    Below stands how many of the 10 nearest neighbours survive the flattening (of 1,000 images). Of more than 4,000
    images, so many are placed and drawn: rare classes whole, of the frequent ones some, drawn by seed; points that are
    given, or recorded, are drawn so.
    `.data`: points (m, 2) and targets (m,) of the images placed, index (m,) of these, overlap.

    Shows which classes mingle. Cannot show distances between far clusters, nor cluster sizes or densities: t-SNE and
    UMAP distort both. Another seed gives another picture; look for what stays.
    """
    if is_run(run):
        alone(targets=targets, counts=counts)
        label = short(getattr(run, "name", ""), 40)
    else:
        label = ""
    features, targets, counts, names = labelled_features(run, targets, counts, "run")
    whole, index = len(features), np.arange(len(features))
    get_axes(ax)  # refused before, not after, the points have been computed
    if recorded is not None and not isinstance(recorded, (str, os.PathLike, bool)):
        expected = f"one point per image, shape ({len(features)}, 2), or a folder, True or False"
        points = finite(array(recorded, np.float64, "recorded", expected), "recorded")
        if points.shape != (len(features), 2):
            raise check.refuse("recorded", recorded, expected)
    else:
        folder = Path(recorded) if isinstance(recorded, (str, os.PathLike)) else recorded
        if method != "pca":  # which takes no time
            index = subsample(targets, DRAWN, check.seed(seed))
            features, targets = features[index], targets[index]
        points = embed(features, method, seed, recorded=folder, **settings)
    some = _sample(len(points), 1000)
    overlap = neighbour_overlap(features[some], points[some], min(10, len(some) - 1))
    how = NAMES.get(method, type(method).__name__) if isinstance(method, str) else type(method).__name__
    title = f"{how} of the features{': ' + label if label else ''}"
    return _draw(points, targets, counts, names, title, overlap, index, whole, check.seed(seed), ax)


def _sample(n: int, most: int) -> np.ndarray:
    """At most so many of n images, always the same ones, whatever order the images are in."""
    return np.sort(np.random.default_rng(0).permutation(n)[:most])


@draws
def _draw(
    points: np.ndarray,
    targets: np.ndarray,
    counts: np.ndarray,
    names: list[str],
    title: str,
    overlap: float,
    index: np.ndarray,
    whole: int,
    seed: int,
    ax: Axes | None,
) -> Picture:
    (ax,) = get_axes(ax, 6.4, 5.4)
    shown = short_names(names, 14) if len(counts) <= LABELLED else names
    k, order, map_of = len(counts), by_count(counts), matplotlib.colormaps[CLASS_COLOURS]
    rank = np.empty(k, dtype=int)
    rank[order] = np.arange(k)
    shade = map_of(0.88 * rank[targets] / max(k - 1, 1))
    drawn = np.zeros(len(points), dtype=bool)
    drawn[subsample(targets, DRAWN, seed)] = True
    size = float(np.clip(9000 / max(drawn.sum(), 1), 5, 34))
    for group, mask in drawn_groups(counts).items():
        of = mask[targets] & drawn
        if of.any():
            kind = {"s": size, "marker": GROUP_MARKERS[group], "linewidth": 0, "alpha": 0.8, "rasterized": True}
            ax.scatter(*points[of].T, c=shade[of], **kind)
            label = group if k > LABELLED else f"{group}: {', '.join(shown[j] for j in order if mask[j])}"
            middle = map_of(0.88 * np.median(rank[mask]) / max(k - 1, 1))
            ax.plot([], [], GROUP_MARKERS[group], color=middle, label=label)
    ax.set(xticks=[], yticks=[], aspect="equal")
    ax.set_adjustable("datalim")
    ax.grid(False)
    ax.spines[:].set(visible=True, color=FAINT)
    kept = f"axes have no unit; {as_percent(overlap).replace('.0%', '%')} of the nearest neighbours are kept"
    few = f"{drawn.sum():,} of {whole:,} images, rare classes whole" if drawn.sum() < whole else ""
    ax.set_xlabel(f"{kept}\n{few}" if few else kept)
    if k > LABELLED and counts.min() > 0 and counts.max() > counts.min():
        bar = ScalarMappable(LogNorm(counts.min(), counts.max()), map_of.reversed())
        scale = ax.figure.colorbar(bar, ax=ax, label="training images of the class", shrink=0.8)
        scale.ax.yaxis.set_major_formatter(lambda n, _: f"{n:,.0f}")
        scale.ax.yaxis.set_minor_formatter("")
    else:
        _label_classes(ax, points, targets, shown)
    finish(ax, title)
    tail = drawn_groups(counts).get("tail")
    of_tail = "" if tail is None else f", {int(tail[targets].sum()):,} of tail classes"
    text = (
        f"{title}: {len(points):,} test images of {k} classes{of_tail}; "
        f"{f'drawn are {few}; ' if few else ''}"
        f"{as_percent(overlap)} of each image's nearest neighbours stay its neighbours in the plane.{no_groups(counts)}"
    )
    return Picture(ax, {"points": points, "targets": targets, "index": index, "overlap": overlap}, text)


def _label_classes(ax: Axes, points: np.ndarray, targets: np.ndarray, shown: list[str]) -> None:
    """Each class's name at its median, moved apart where two would lie on one another."""
    present = np.unique(targets)
    at = np.array([np.median(points[targets == j], axis=0) for j in present], dtype=float)
    span = np.maximum(np.ptp(points, axis=0).max(), 1e-9)
    for _ in range(80):
        gap = at[:, None] - at[None]
        near = (np.abs(gap[..., 0]) < 0.10 * span) & (np.abs(gap[..., 1]) < 0.055 * span)
        np.fill_diagonal(near, False)
        if not near.any():
            break
        # Mostly up and down: names are wider than high. The order breaks ties, so nothing is drawn by chance.
        push = np.where(gap[..., 1] == 0, np.sign(np.subtract.outer(present, present)), np.sign(gap[..., 1]))
        at[:, 1] += 0.012 * span * np.where(near, push, 0).sum(1)
    box = {"facecolor": "white", "alpha": 0.72, "linewidth": 0, "boxstyle": "round,pad=0.15"}
    for j, place in zip(present, at, strict=True):
        ax.text(*place, shown[j], ha="center", va="center", fontsize=9, fontweight="bold", color=INK, bbox=box)
