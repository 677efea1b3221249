"""Class weights from accuracies over a whole run, how sure a small validation set makes them, violated triplets."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import check
from .scores import Floats

RULES = ("paper", "sigmoid", "public", "fixed")  # of the exponent, as in methods.cdb
MOST_IMAGES = 100_000
INSIDE = (0.025, 0.975)  # of the draws: a band holds 95% of them
ACCURACIES = "accuracies (epochs, k) from 0 to 1, NaN for a class without validation images"


class Difficulty(NamedTuple):
    """Exponent and class weights that accuracies A (e, k) give, and those that the true accuracies may give.

    tau (e,), weight (e, k); bands (2, ...): lower and upper end of 95% of the true accuracies that agree with as many
    validation images, and of what follows from them. A class with 10 of 10 right has a band, too: 0.78 to 1.
    """

    tau: Floats
    weight: Floats
    tau_band: Floats
    accuracy_band: Floats
    weight_band: Floats


def difficulty_course(
    accuracy: Any, rule: str = "paper", tau: float = 1.0, images: int = 100, draws: int = 200, seed: int = 0
) -> Difficulty:
    """Class-difficulty weights that follow from accuracies (e, k), epoch by epoch, and how sure they are.

    rule: "paper", "sigmoid" or "public" (`methods.cdb.dynamic_tau`), or "fixed" for `tau`; weights of mean 1
    (`methods.cdb.difficulty_weights`). images: validation images of each class. Of r right and w wrong ones the true
    accuracy is Beta(r + 1/2, w + 1/2), as in Jeffreys's interval (Brown et al. 2001); `draws` of all classes are made
    with `seed`. The ends of the bands are quantiles of the draws: 200 are enough for a picture, not for two digits;
    where the ends are printed, ask for 2,000 or more. ValueError for accuracies outside [0, 1].
    """
    found = check.array("accuracy", accuracy, 2, ACCURACIES).astype(np.float64)
    known = ~np.isnan(found)
    if not found.size or not known.any(1).all() or ((found < 0) | (found > 1)).any():
        raise check.refuse("accuracy", accuracy, ACCURACIES + ", one known in each epoch")
    rule, tau = check.choice("rule", rule, RULES), check.number("tau", tau, 0.0)
    images, draws = check.whole("images", images, 1, MOST_IMAGES), check.whole("draws", draws, 1)
    right = images * np.where(known, found, 0.0)
    drawn = np.random.default_rng(check.seed(seed)).beta(right + 0.5, images - right + 0.5, (draws, *found.shape))
    other = np.where(known, drawn, np.nan)
    exponents, weights = _weights(np.concatenate([found[None], other]), rule, tau)
    accuracies = np.where(known, other, 0.0)
    bands = [np.quantile(part, INSIDE, axis=0) for part in (exponents[1:], accuracies, weights[1:])]
    bands[1] = np.where(known, bands[1], np.nan)
    return Difficulty(exponents[0], weights[0], *bands)


def _weights(accuracy: Floats, rule: str, tau: float) -> tuple[Floats, Floats]:
    """Exponents (...,) and weights (..., k) of many sets of accuracies (..., k) at once."""
    import torch

    from ..methods.cdb import difficulty_weights, dynamic_tau

    def one(a: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        exponent = torch.full_like(a[0], tau) if rule == "fixed" else dynamic_tau(a, rule)
        return exponent, difficulty_weights(a, exponent, True)

    rows = torch.from_numpy(accuracy.reshape(-1, accuracy.shape[-1]))
    exponents, weights = torch.vmap(one)(rows)
    return exponents.numpy().reshape(accuracy.shape[:-1]), weights.numpy().reshape(accuracy.shape)


class Violated(NamedTuple):
    """Triplets by the class of their anchor: violated (k,), of so many in all (k,). A class of one image has none."""

    violated: np.ndarray
    all: np.ndarray

    def share(self, classes: Any = slice(None)) -> float:
        """Share of the triplets with an anchor in these classes that violate the margin; NaN where there are none."""
        total = self.all[classes].sum()
        return float(self.violated[classes].sum() / total) if total else float("nan")


def violated_triplets(features: Any, targets: Any, k: int, margin: float = 0.2) -> Violated:
    """Count, over all images given, the triplets (a, p, n) with ||x_a - x_p||^2 - ||x_a - x_n||^2 + margin > 0.

    a and p are two images of one class, n one of another. features (m, d), brought to length 1 (an all-zero row stays
    zero); targets (m,), k classes. The triplets are those of `methods.triplet.triplet_loss`,
    whose mean is over the violated ones. ValueError for parts that do not fit together.
    """
    check.same_order(features=features, targets=targets)
    expected = "finite numbers, one row per image"
    x = check.array("features", features, 2, expected).astype(np.float64)
    k = check.whole("k", k, 1, check.MOST_CLASSES)
    y = check.labels("targets", targets, k)
    if not len(x) or len(x) != len(y) or not np.isfinite(x).all():
        raise check.refuse("features", features, f"{expected}, as many as there are targets: {len(y)}")
    margin = check.number("margin", margin, 0.0)
    long = np.linalg.norm(x, axis=1, keepdims=True)
    x = x / np.where(long > 0, long, 1.0)
    squares = (x**2).sum(1)
    distance = np.maximum(squares[:, None] + squares[None] - 2 * x @ x.T, 0.0)
    same = y[:, None] == y[None]
    violated, total = np.zeros(k, np.int64), np.zeros(k, np.int64)
    for i, row in enumerate(distance):
        positive = same[i].copy()
        positive[i] = False
        others = np.sort(row[~same[i]])
        violated[y[i]] += np.searchsorted(others, row[positive] + margin).sum()  # negatives nearer than its reach
        total[y[i]] += positive.sum() * len(others)
    return Violated(violated, total)
