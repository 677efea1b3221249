"""Lengths of features and of classifier vectors: by class, and how unequal they are."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import check
from .scores import Floats


def class_lengths(features: Any, targets: Any, k: Any) -> Floats:
    """Mean length of the features of each class (k,): mean of ||x_i|| over the images with y_i = j.

    features (n, d), targets (n,), k classes. NaN for a class without images. ValueError for parts that do not fit
    together, and for features that are not finite.
    """
    check.same_order(features=features, targets=targets)
    expected = "features (n, d), finite, one row per image"
    x = check.array("features", features, 2, expected).astype(np.float64)
    if not np.isfinite(x).all():
        raise check.refuse("features", features, expected)
    y, k = check.labels("targets", targets), check.whole("k", k, 1)
    if len(x) != len(y):
        raise ValueError(f"features and targets must have one row per image, not {len(x)} and {len(y)}")
    if y.max(initial=0) >= k:
        raise check.refuse("targets", targets, f"class numbers from 0 to {k - 1}, as k={k}")
    n = np.bincount(y, minlength=k)
    total = np.bincount(y, np.linalg.norm(x, axis=1), minlength=k)
    return np.divide(total, n, out=np.full(k, np.nan), where=n > 0)


def spread(lengths: Any) -> float:
    """How unequal lengths (n,) are: their standard deviation over their mean; 0 where all are equal.

    NaNs are left out. NaN where no length is left, or where all are 0. ValueError for a negative or infinite length.
    """
    expected = "lengths (n,), finite or NaN, none negative"
    found = check.array("lengths", lengths, 1, expected).astype(np.float64)
    found = found[~np.isnan(found)]
    if np.isinf(found).any() or (found < 0).any():
        raise check.refuse("lengths", lengths, expected)
    if not len(found) or found.max() == 0:
        return float("nan")
    return float(found.std() / found.mean())
