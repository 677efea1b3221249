"""What weights and features say: rank correlation, the law of weight norms, and features without a classifier."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .. import check
from .scores import Floats, balanced_accuracy


def spearman(a: ArrayLike, b: ArrayLike) -> float:
    """Spearman's rank correlation of two lists, in [-1, 1]; equal values share the mean of their ranks.

    NaN where one list is constant, has less than two entries, or holds a NaN.
    """
    from scipy.stats import spearmanr

    check.same_order(a=a, b=b)
    x, y = (check.array(name, of, 1, "numbers (n,)").astype(np.float64) for name, of in (("a", a), ("b", b)))
    if x.shape != y.shape:
        raise ValueError(f"a and b must have one length, not {x.size} and {y.size}")
    if len(x) < 2 or np.isnan(x).any() or np.isnan(y).any() or x.min() == x.max() or y.min() == y.max():
        return float("nan")
    return float(spearmanr(x, y).statistic)


class WeightNormFit(NamedTuple):
    """log n = s * norm + c, and Spearman's rho between norm and n."""

    s: float
    c: float
    rho: float


def weight_norm_fit(norms: Any, counts: Any = None) -> WeightNormFit:
    """How the classifier's weight norms follow the training counts, by least squares over the classes.

        log n_j = s * ||W_j|| + c          and Spearman's rho between ||W_j|| and n_j

    norms (k,) the length of each class's classifier vector, counts (k,) training images; or a run. Classes without
    images are left out. s is the constant that the dual-loss slides give as 7; NaN where the norms are all equal.
    Source: Li et al. 2020 (Dual Loss, slides).
    """
    if hasattr(norms, "head_weight"):
        counts = norms.counts if counts is None else counts
        if norms.head_weight is None:
            raise ValueError(f"this run keeps no classifier; {check.remedy(norms, 'head_weight')}")
        weight = check.array("head_weight", norms.head_weight, 2, "the run's classifier (k, d)").astype(np.float64)
        norms = np.linalg.norm(weight, axis=1)
    if counts is None:
        raise ValueError("counts is needed beside the norms: the training images of each class")
    expected = "a run, or the length of each class's classifier vector (k,): finite, none negative"
    x, n = check.per_class("norms", norms, expected).astype(np.float64), check.counts(counts)
    if not np.isfinite(x).all() or (x < 0).any():
        raise check.refuse("norms", norms, expected)
    if x.shape != n.shape:
        raise ValueError(f"norms and counts must have one entry per class, not {x.size} and {n.size}")
    x, n = x[n > 0], n[n > 0]
    if len(x) < 2 or np.ptp(x) <= 1e-12 * np.abs(x).max():
        return WeightNormFit(float("nan"), float("nan"), float("nan"))
    s, c = np.polyfit(x, np.log(n), 1)
    return WeightNormFit(float(s), float(c), spearman(x, n))


def law_explains(norms: Any, counts: Any, s: float) -> float:
    """R^2 of log n = s * norm + c with this s and the best c: the share of the variance of log n that the law explains.

    norms (k,), counts (k,) as for `weight_norm_fit`; classes without images are left out. 1: exactly; 0: no better than
    one count for all; below 0: worse. NaN where all counts are equal.
    """
    x, n = check.per_class("norms", norms, "lengths (k,), finite").astype(np.float64), check.counts(counts)
    s = check.number("s", s)
    if x.shape != n.shape or not np.isfinite(x).all():
        raise check.refuse("norms", norms, f"a finite length for each of the {n.size} classes")
    x, n = x[n > 0], n[n > 0]
    if not n.size or n.min() == n.max():
        return float("nan")
    logs = np.log(n)
    rest = logs - logs.mean() - s * (x - x.mean())
    return 1.0 - float((rest**2).sum()) / float(((logs - logs.mean()) ** 2).sum())


def feature_quality(features: Any, targets: ArrayLike | None = None, neighbours: int = 10) -> float:
    """How well the features alone separate the classes: balanced leave-one-out nearest-neighbour accuracy.

    Each image is decided by the majority of its `neighbours` nearest other images (cosine distance; of classes with
    equally many, the one whose images are nearer). No classifier takes part, so this tells a poor representation from a
    biased classifier (compare Zhou et al. 2020, table 5). features (n, d) with targets (n,), or a run that kept its
    test features. ValueError: features that are not finite, fewer than two images.
    """
    from sklearn.neighbors import NearestNeighbors

    if hasattr(features, "confusion"):
        run = features
        if run.features is None:
            raise ValueError(f"this run keeps no test features; {check.remedy(run, 'features')}")
        features, targets = run.features, run.targets if targets is None else targets
    check.same_order(features=features, targets=targets)
    x = unit_rows("features", features)
    if targets is None:
        raise ValueError(f"targets must have one entry per row of features ({len(x)})")
    truth = check.labels("targets", targets)
    if len(truth) != len(x):
        raise ValueError(f"targets must have one entry per row of features ({len(x)}), not {len(truth)}")
    if len(x) < 2:
        raise check.refuse("features", features, "features (n, d) of at least 2 images")
    neighbours = check.whole("neighbours", neighbours, 1, len(x) - 1)
    near = NearestNeighbors(n_neighbors=neighbours, metric="cosine", algorithm="brute").fit(x)
    votes = truth[near.kneighbors(return_distance=False)]  # without arguments: an image is not its own neighbour
    k = int(truth.max()) + 1
    tally = np.zeros((len(x), k))
    np.add.at(tally, (np.arange(len(x))[:, None], votes), 1.0 + 1e-3 / np.arange(1, neighbours + 1))  # ties: nearest
    return balanced_accuracy(truth, tally.argmax(1), k)


def unit_rows(name: str, values: Any) -> Floats:
    """Rows (n, d) scaled to length 1, whatever their size (a row of zeros stays zero). ValueError where not finite."""
    x = check.array(name, values, 2, "a run that kept its test features, or features (n, d)").astype(np.float64)
    wrong = np.flatnonzero(~np.isfinite(x).all(1))
    if wrong.size:
        raise check.refuse(
            name,
            values,
            f"finite features, found {wrong.size} rows with NaN or infinity, the first is "
            f"row {wrong[0]} (float16 holds no number beyond 65,504)",
        )
    largest = np.abs(x).max(1, keepdims=True, initial=0.0)
    x = x / np.where(largest > 0, largest, 1.0)  # first, so that no square over- or underflows
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(length > 0, length, 1.0)
