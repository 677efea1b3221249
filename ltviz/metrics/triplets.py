"""What class rectification finds in a batch: its minority classes, their hard pairs, and the three comparisons.

Profiling, mining and losses are those of the method (methods/crl.py); here they are told picture by picture.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from .. import check
from ..functional import unit
from ..methods import crl
from .scores import Floats

LEVELS = ("class", "instance")
COMPARISONS = ("relative", "absolute", "distribution")
ENDS = {"class": (-1.0, 1.0), "instance": (0.0, 2.0)}  # of a distance: between scores, between features at length 1
Whole = NDArray[np.int64]
Flags = NDArray[np.bool_]


class Mined(NamedTuple):
    """Hard pairs of a batch of n images; kappa is at most n.

    sizes (k,): images of each class in the batch. minority (k,): its minority classes, each with a pair. anchors (n,):
    their images. positives, negatives (n, kappa): images by number, the hardest first; has_positive, has_negative:
    which of them count (none where an image is no anchor). near, far (n, kappa): distances d+ and d-. loss: each of
    `COMPARISONS` -> value. nodes (bins,): the distances at which the histograms h_near and h_far (bins,) of the
    distribution comparison stand.
    """

    sizes: Whole
    minority: Flags
    anchors: Flags
    positives: Whole
    negatives: Whole
    has_positive: Flags
    has_negative: Flags
    near: Floats
    far: Floats
    loss: dict[str, float]
    nodes: Floats
    h_near: Floats
    h_far: Floats

    @property
    def triplets(self) -> Whole:
        """Triplets of each image as anchor (n,)."""
        return self.has_positive.sum(1) * self.has_negative.sum(1)

    def hinges(self, margin: float) -> Floats:
        """m + d+ - d- of every triplet (t,), before it is cut off at 0."""
        margin = check.number("margin", margin, 0.0)
        both = self.has_positive[:, :, None] & self.has_negative[:, None, :]
        return (margin + self.near[:, :, None] - self.far[:, None, :])[both]


def mine(
    logits: ArrayLike, features: ArrayLike, targets: ArrayLike, *, level: str = "class", rho: float = 0.5,
    kappa: int = 10, margin: float = 0.5, bins: int = 100,
) -> Mined:  # fmt: skip
    """The hard pairs that class rectification finds in a batch (Dong et al. 2017), and its three losses.

    logits (n, k), features (n, d), targets (n,) of the batch. level "class": by probability, d+ = |p_a - p_+| and
    d- = p_a - p_- of the anchor's class; "instance": by Euclidean distance of features at length 1. rho: the largest
    share of the batch that its minority classes hold together. kappa: hard positives, and hard negatives, of an anchor.
    margin: of the relative and the absolute comparison. bins: nodes of the histograms of the distribution comparison.
    ValueError for anything else.
    """
    check.same_order(logits=logits, features=features, targets=targets)
    z, x = (_rows(name, value) for name, value in (("logits", logits), ("features", features)))
    n, k = z.shape
    y = check.labels("targets", targets, k)
    if len(x) != n or len(y) != n:
        raise check.refuse("targets", len(y), f"one class, and one row of features, for each of the {n} rows of logits")
    level, rho = check.choice("level", level, LEVELS), check.number("rho", rho, 0.0, 1.0)
    kappa, margin = check.whole("kappa", kappa, 1), check.number("margin", margin, 0.0)
    bins, t = check.whole("bins", bins, 2, 10_000), torch.from_numpy(y)
    closeness, distance = crl.class_level(z.softmax(1), t) if level == "class" else crl.instance_level(unit(x))
    minority = crl.minority_classes(t, k, rho)
    anchors = minority[t]
    pairs = crl.hard_pairs(closeness, distance, t, anchors, kappa)
    # The mining gathers whatever it is given as distance: given the numbers of the columns, it says which images.
    which = crl.hard_pairs(closeness, torch.arange(n).expand(n, n), t, anchors, kappa)
    if level == "class":
        pairs = pairs._replace(positive=pairs.positive.abs())
    low, high = ENDS[level]
    loss = {
        "relative": crl.relative_loss(pairs, margin),
        "absolute": crl.absolute_loss(pairs, margin),
        "distribution": crl.distribution_loss(pairs, low, high, bins),
    }
    sides = ((pairs.positive, pairs.has_positive), (pairs.negative, pairs.has_negative))
    histograms = [crl.histogram(values, valid, low, high, bins).numpy() for values, valid in sides]
    return Mined(
        np.bincount(y, minlength=k), minority.numpy(), anchors.numpy(), which.positive.numpy(), which.negative.numpy(),
        pairs.has_positive.numpy(), pairs.has_negative.numpy(), pairs.positive.numpy(), pairs.negative.numpy(),
        {name: float(value) for name, value in loss.items()}, np.linspace(low, high, bins), *histograms,
    )  # fmt: skip


def _rows(name: str, value: Any) -> torch.Tensor:
    expected = "numbers, a row for each image of the batch, at least one, all finite"
    found = check.array(name, value, 2, expected).astype(np.float64)
    if not found.size or not np.isfinite(found).all():
        raise check.refuse(name, value, expected)
    return torch.from_numpy(found)


def triplets_by_class(targets: ArrayLike, k: int, *, rho: float = 0.5, kappa: int = 10) -> Whole:
    """How many triplets class rectification makes of each class of a batch (k,), from the classes of its images alone.

    A minority class with s of the n images gives s anchors with min(kappa, s - 1) positives and min(kappa, n - s)
    negatives each; every other class gives none. targets (n,), at least one image.
    """
    k, rho = check.whole("k", k, 1, check.MOST_CLASSES), check.number("rho", rho, 0.0, 1.0)
    y, kappa = check.labels("targets", targets, k), check.whole("kappa", kappa, 1)
    if not len(y):
        raise check.refuse("targets", targets, "the class of each image of a batch (n,), at least one")
    s = np.bincount(y, minlength=k)
    found = s * np.minimum(kappa, s - 1) * np.minimum(kappa, len(y) - s)
    return np.where(crl.minority_classes(torch.from_numpy(y), k, rho).numpy(), found, 0)


def pair_chance(counts: ArrayLike, batch_size: int, p: ArrayLike | None = None) -> Floats:
    """Probability that a batch holds two images or more of each class (k,), exactly.

    counts (k,): training images. p None: the batch is drawn without replacement, as in a plain epoch (hypergeometric).
    p (k,): a class is drawn by these probabilities, then an image of it, with replacement (binomial); the two images
    may then be the same one.
    """
    n = check.counts(counts).astype(np.float64)
    total = int(n.sum())
    size = check.whole("batch_size", batch_size, 1, None if p is not None else total)
    if p is None:
        drawn = np.arange(size)
        others = total - n
        # no image of the class: every draw takes one of the others; exactly one: it comes in any of `size` places
        none = np.prod(np.clip(others[:, None] - drawn, 0, None) / (total - drawn), axis=1)
        but_one = np.clip(others[:, None] - drawn[:-1], 0, None) / (total - drawn[1:])
        one = size * n / total * np.prod(but_one, axis=1)
        return np.clip(1.0 - none - one, 0.0, 1.0)
    expected = f"the probability of each of {len(n)} classes, none negative, 0 for one without images, sum 1"
    share = check.array("p", p, 1, expected).astype(np.float64)
    fit = share.shape == n.shape and np.isfinite(share).all() and (share >= 0).all() and not share[n == 0].any()
    if not fit or abs(share.sum() - 1) > 1e-6:
        raise check.refuse("p", p, expected)
    return np.clip(1.0 - (1 - share) ** size - size * share * (1 - share) ** (size - 1), 0.0, 1.0)
