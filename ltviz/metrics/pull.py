"""The gradient of softmax cross-entropy at the classifier, split by the class of the images that it comes from."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import check
from .scores import Floats


class Pull(NamedTuple):
    """What images do to each classifier vector, as steps downhill: minus the gradient of the mean loss.

    own (k, d)      from the images of class j itself: towards their features
    others (k, d)   from all other images: away from theirs
    by_class (k, k, d)   [j, c]: what the images of class c do to vector j; own is its diagonal
    """

    own: Floats
    others: Floats
    by_class: Floats

    @property
    def net(self) -> Floats:
        """The whole step of each vector (k, d): minus the gradient."""
        return self.own + self.others


def pull(logits: Any, features: Any, targets: Any) -> Pull:
    """Split minus the gradient of mean softmax cross-entropy by class.

        -dL/dW_j = 1/n sum_i ([y_i = j] - p_ij) f_i = own_j + others_j
        own_j    =  1/n sum_{i: y_i = j} (1 - p_ij) f_i
        others_j = -1/n sum_{i: y_i != j}     p_ij  f_i

    logits z (n, k) with p = softmax(z), features f (n, d), targets y (n,). ValueError for parts that do not fit
    together and for what is not finite.
    """
    from scipy.special import softmax

    check.same_order(logits=logits, features=features, targets=targets)
    z, f = (_finite(name, value) for name, value in (("logits", logits), ("features", features)))
    y = check.labels("targets", targets)
    n, k = z.shape
    if len(f) != n or len(y) != n:
        raise ValueError(f"logits, features and targets must have one row per image, not {n}, {len(f)} and {len(y)}")
    if y.max(initial=0) >= k:
        raise check.refuse("targets", targets, f"class numbers from 0 to {k - 1}, as logits has {k} columns")
    away = np.eye(k)[y] - softmax(z, axis=1)  # (n, k): by how much each image wants each logit to grow
    member = np.eye(k)[y]
    by_class = np.einsum("ij,ic,id->jcd", away, member, f, optimize=True) / n
    own = by_class[np.arange(k), np.arange(k)]
    return Pull(own, by_class.sum(1) - own, by_class)


def _finite(name: str, value: Any) -> Floats:
    expected = "finite numbers, one row per image"
    found = check.array(name, value, 2, expected).astype(np.float64)
    if not len(found) or not np.isfinite(found).all():
        raise check.refuse(name, value, expected)
    return found
