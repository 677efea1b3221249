"""From a confusion matrix to accuracy, precision, recall and F1, of classes and of groups of classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import check

Floats = NDArray[np.float64]

THIRDS = ("head", "mid", "tail")
GROUPS = ("all", "many", "medium", "few", *THIRDS)
EXACT = 2**53  # a float64 counts no further one by one


def confusion(targets: Any, predictions: ArrayLike | None = None, k: int | None = None) -> NDArray[np.int64]:
    """Confusion matrix (k, k), rows true, columns predicted.

        C[i, j] = number of images of class i that were taken for class j

    targets (n,), predictions (n,) class numbers; k classes (default: the largest number seen, plus 1). Also takes a run
    or a confusion matrix of whole counts and gives it back. ValueError: lengths that differ, numbers outside 0..k-1 or
    of another type, entries that are fractions, negative or not finite.
    """
    k = None if k is None else check.whole("k", k, 1, check.MOST_CLASSES)
    if predictions is None or hasattr(targets, "confusion"):
        if predictions is not None:
            raise check.refuse(
                "predictions",
                predictions,
                "none beside a run, which has its own confusion matrix; for others pass run.targets and them",
            )
        matrix = _whole_counts(getattr(targets, "confusion", targets))
        if k not in (None, len(matrix)):
            raise check.refuse("k", k, f"{len(matrix)}, the number of classes of this confusion matrix, or None")
        return matrix
    check.same_order(targets=targets, predictions=predictions)
    truth, guess = check.labels("targets", targets, k), check.labels("predictions", predictions, k)
    if truth.shape != guess.shape:
        raise ValueError(f"targets and predictions must have one length, not {truth.size} and {guess.size}")
    if k is None:
        k = int(max(truth.max(initial=-1), guess.max(initial=-1))) + 1
    return np.bincount(truth * k + guess, minlength=k * k).reshape(k, k)


def _whole_counts(values: Any) -> NDArray[np.int64]:
    """A confusion matrix as int64, checked to lose nothing by it."""
    expected = "a square confusion matrix (k, k) of whole counts of images, or targets and predictions"
    matrix = check.array("confusion", values, 2, expected)
    if matrix.shape[0] != matrix.shape[1]:
        raise check.refuse("confusion", values, expected)
    wrong = np.argwhere(~((matrix >= 0) & np.isfinite(matrix) & (matrix == np.floor(matrix))))
    if len(wrong):
        i, j = wrong[0]
        raise check.refuse(
            "confusion",
            values,
            f"{expected}; found {matrix[i, j]} in row {i}, column {j} (of a "
            "normalised matrix, pass the counts that it was made from)",
        )
    if matrix.astype(np.float64).sum() > EXACT:
        raise check.refuse("confusion", values, f"{expected}, at most 2^53 in all")
    return matrix.astype(np.int64)


def accuracy(targets: Any, predictions: ArrayLike | None = None, k: int | None = None) -> float:
    """Share of test images decided rightly: sum_i C[i, i] / sum C. Takes a run, a confusion matrix, or two arrays."""
    matrix = confusion(targets, predictions, k)
    return float(np.trace(matrix) / matrix.sum()) if matrix.sum() else float("nan")


def _averaged(scores: Floats, average: str | None) -> Any:
    """The scores (k,), or for average="macro" the mean of those that are defined."""
    return scores if check.choice("average", average, (None, "macro")) is None else _mean(scores)


def precision(
    targets: Any, predictions: ArrayLike | None = None, k: int | None = None, average: str | None = None
) -> Any:
    """Of the images taken for class j, the share that is of class j: C[j, j] / sum_i C[i, j].

    Returns (k,), or the mean over classes for average="macro". A class with test images that is never predicted has 0
    (scikit-learn's convention); one with neither images nor predictions is NaN and left out of the mean.
    """
    matrix = confusion(targets, predictions, k)
    said = matrix.sum(0)
    known = said + matrix.sum(1) > 0
    return _averaged(np.where(known, np.diagonal(matrix) / np.maximum(said, 1), np.nan), average)


def recall(targets: Any, predictions: ArrayLike | None = None, k: int | None = None, average: str | None = None) -> Any:
    """Of the images of class i, the share decided rightly: C[i, i] / sum_j C[i, j]; this is the class's accuracy.

    Returns (k,), or the mean over classes for average="macro" (the balanced accuracy). NaN, and left out of the mean,
    is a class without test images.
    """
    return _averaged(per_class(targets, predictions, k), average)


def f1(targets: Any, predictions: ArrayLike | None = None, k: int | None = None, average: str | None = None) -> Any:
    """Harmonic mean of precision and recall, from the counts: 2 C[i, i] / (sum_j C[i, j] + sum_j C[j, i]).

    Returns (k,), or the mean over classes for average="macro" (macro F1). It is 0 also for a class that is predicted
    but has no test images, as in scikit-learn; NaN, and left out of the mean, is one with neither.
    """
    matrix = confusion(targets, predictions, k)
    both = matrix.sum(0) + matrix.sum(1)
    return _averaged(np.where(both > 0, 2 * np.diagonal(matrix) / np.maximum(both, 1), np.nan), average)


def per_class(targets: Any, predictions: ArrayLike | None = None, k: int | None = None) -> Floats:
    """Accuracy of each class (k,), as `recall`, in plain numpy: the fast path for a slider."""
    matrix = confusion(targets, predictions, k)
    total = matrix.sum(1)
    return np.where(total > 0, np.diagonal(matrix) / np.maximum(total, 1), np.nan)


def balanced_accuracy(targets: Any, predictions: ArrayLike | None = None, k: int | None = None) -> float:
    """Mean over classes of the class's accuracy; on a balanced test set this is plain accuracy.

    (1/k) sum_i C[i, i] / sum_j C[i, j]          (equal to scikit-learn's balanced_accuracy_score)
    """
    return _mean(per_class(targets, predictions, k))


# ------------------------------------------------------------------------------------------------- other priors
def power_prior(counts: Any, power: float) -> Floats:
    """How often each class occurs (k,) where the classes are as frequent as a power of their training images.

        pi_j = n_j^power / sum_i n_i^power

    power 0: all equally often, 1: as in training, -1: the rarest most often. counts n (k,), or a run or data set that
    has them; a class without images counts as one image. ValueError: counts that are none, a power that is no number.
    """
    log = check.number("power", power) * np.log(np.maximum(check.counts(counts), 1.0))
    share = np.exp(log - log.max())
    return share / share.sum()


def expected_accuracy(per_class: ArrayLike, prior: ArrayLike) -> Any:
    """Accuracy where class i occurs with probability pi_i, from the accuracy of each class: sum_i pi_i a_i.

    per_class a (k,), as `per_class` gives, or several rows of them (m, k), for which the answer is (m,); prior pi (k,)
    >= 0. Classes whose accuracy is NaN (no test image) are left out, and the others' shares make 1; NaN where none is
    left. The mean over classes is that of an equal prior.
    """
    expected = "the accuracy of each class: (k,), or several rows of them (m, k)"
    accuracy = check.array("per_class", per_class, None, expected).astype(np.float64)
    if accuracy.ndim not in (1, 2) or not accuracy.shape[-1]:
        raise check.refuse("per_class", per_class, expected)
    share = np.where(np.isnan(accuracy), 0.0, _prior(prior, accuracy.shape[-1]))
    total = share.sum(-1)
    mean = (share * np.nan_to_num(accuracy)).sum(-1) / np.where(total > 0, total, 1.0)
    found = np.where(total > 0, mean, np.nan)
    return float(found) if found.ndim == 0 else found


def answer_shares(targets: Any, prior: ArrayLike, predictions: ArrayLike | None = None) -> Floats:
    """How often each class is answered (k,) where class i occurs with probability pi_i: sum_i pi_i C[i, j] / sum C[i].

    targets: a run, a confusion matrix C (k, k), or targets (n,) beside predictions (n,); prior pi (k,) >= 0. Classes
    without test images are left out, and the others' shares make 1; NaN where none is left.
    """
    share = _prior(prior)
    matrix = confusion(targets, predictions, None if predictions is None else len(share))
    images = matrix.sum(1)
    share = np.where(images > 0, _prior(prior, len(matrix)), 0.0)
    total = share.sum()
    return share / np.maximum(images, 1) @ matrix / total if total > 0 else np.full(len(matrix), np.nan)


def _prior(values: ArrayLike, k: int | None = None) -> Floats:
    """How often each class occurs (k,), checked; the largest is 1."""
    which = "each class" if k is None else f"each of the {k} classes"
    expected = f"how often {which} occurs: ({'k' if k is None else k},), none negative, not all zero"
    prior = check.per_class("prior", values, expected).astype(np.float64)
    if len(prior) != (len(prior) if k is None else k) or not np.isfinite(prior).all() or (prior < 0).any():
        raise check.refuse("prior", values, expected)
    if not prior.any():
        raise check.refuse("prior", values, expected)
    return prior / prior.max()


def accuracies_along(scores: Any, direction: Any, targets: Any, at: Any) -> Floats:
    """Accuracy of each class (m, k) for m decisions: argmax_j of z_ij + t d_j, for each t of `at`.

    scores z (n, k), direction d (k,), targets (n,), at (m,) rising; all finite. Exact, in one pass over the scores:
    z_iy + t d_y is at least z_ij + t d_j from, or up to, one t for each j, so an image is right on one interval of t.
    Of equal scores the first wins, as in argmax. Logit adjustment with every tau: d = -log prior. NaN as `per_class`.
    """
    check.same_order(scores=scores, targets=targets)
    z = check.array("scores", scores, 2, "finite scores (n, k) of numbers, a row for each image")
    z = z if z.dtype.kind == "f" else z.astype(np.float64)  # differences of small whole numbers would wrap around
    n, k = z.shape
    d = check.per_class("direction", direction, f"one finite number for each of the {k} classes: ({k},)")
    d, t = d.astype(np.float64), check.array("at", at, 1, "finite numbers (m,), rising").astype(np.float64)
    for name, one, sound in (
        ("scores", z, k > 0), ("direction", d, len(d) == k), ("at", t, bool((np.diff(t) > 0).all())),
    ):  # fmt: skip
        if not (sound and np.isfinite(one).all()):
            raise check.refuse(name, one, "finite numbers: scores (n, k), direction (k,), at (m,) rising")
    truth = check.labels("targets", targets, k)
    if len(truth) != n:
        raise ValueError(f"targets: expected one for each of the {n} rows of scores, not {len(truth)}")
    right = np.full((len(t), k), np.nan)
    order = np.argsort(truth, kind="stable")
    ends = np.searchsorted(truth[order], np.arange(k + 1))
    for y in np.flatnonzero(np.diff(ends)):
        rows = order[ends[y] : ends[y + 1]]
        with np.errstate(over="ignore"):  # infinity is before or after every t as well
            first, last = _right_between(z[rows] - z[rows, y, None], d[y] - d, y, t)
        gained = np.bincount(first, minlength=len(t) + 1) - np.bincount(last, minlength=len(t) + 1)
        right[:, y] = np.cumsum(gained)[: len(t)] / len(rows)
    return right


def _right_between(ahead: Any, gain: Floats, y: int, t: Floats) -> tuple[Any, Any]:
    """For each image of class y, the half-open range of numbers of t at which it is right (empty: 0, 0).

    ahead (n, k): by how much each class leads over y at t = 0; gain (k,): what y wins back of that for each t.
    """
    later = np.arange(len(gain)) > y  # of equal scores the first wins
    first, last = np.zeros(len(ahead), np.int64), np.full(len(ahead), len(t))
    for group, wins, loses in ((later, "left", "right"), (~later, "right", "left")):
        up, down, flat = (np.flatnonzero(group & one) for one in (gain > 0, gain < 0, gain == 0))
        if len(up):
            first = np.maximum(first, np.searchsorted(t, (ahead[:, up] / gain[up]).max(1), wins))
        if len(down):
            last = np.minimum(last, np.searchsorted(t, (ahead[:, down] / gain[down]).min(1), loses))
        if len(flat := flat[flat != y]):
            lost = ahead[:, flat] > 0 if group is later else ahead[:, flat] >= 0
            last = np.where(lost.any(1), 0, last)
    empty = last <= first
    return np.where(empty, 0, first), np.where(empty, 0, last)


# ------------------------------------------------------------------------------------------------------- class groups
def shot_groups(
    counts: Any, many: float = 100, few: float = 20, convention: str = "kang"
) -> dict[str, NDArray[np.bool_]]:
    """Masks (k,) of the many-, medium- and few-shot classes, by training images per class.

        "kang"  many: n > 100    few: n < 20     (Kang et al. 2020, code; the default)
        "oltr"  many: n >= 100   few: n <= 20    (Liu et al. 2019, code)        medium: the rest

    counts (k,), or a run or data set that has them; many, few the two thresholds in images. A group can be empty:
    CIFAR-10-LT never has a few-shot class. ValueError: few > many, an unknown convention, counts that are none.
    """
    n = check.counts(counts)
    many, few = check.number("many", many, 0), check.number("few", few, 0)
    if few > many:
        raise ValueError(f"few must not exceed many, given few={few:g} and many={many:g}")
    strict = check.choice("convention", convention, ("kang", "oltr")) == "kang"
    is_many = n > many if strict else n >= many
    is_few = (n < few if strict else n <= few) & ~is_many
    return {"many": is_many, "medium": ~is_many & ~is_few, "few": is_few}


def third_groups(counts: Any) -> dict[str, NDArray[np.bool_]]:
    """Masks (k,) of head, mid and tail: the floor(k/3) most frequent classes, the rest, the floor(k/3) rarest.

    Of two classes the more frequent is head, the rarer tail, and mid is empty. counts (k,) in any order, or a run.
    Where all classes have the same count, none is frequent and none rare: all three masks are empty. Otherwise classes
    with the same count at the border of two groups are split in class order, so that the sizes are always the same.
    """
    n = check.counts(counts)
    if n.min() == n.max():
        return {name: np.zeros(len(n), bool) for name in THIRDS}
    third = 1 if len(n) == 2 else len(n) // 3
    rank = np.empty(len(n), dtype=np.int64)
    rank[np.argsort(-n, kind="stable")] = np.arange(len(n))
    head, tail = rank < third, rank >= len(n) - third
    return dict(zip(THIRDS, (head, ~head & ~tail, tail), strict=True))


def _mean(values: ArrayLike) -> float:
    """Mean over what is defined; NaN, without a warning, where nothing is."""
    values = np.asarray(values, dtype=np.float64)
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")


def shot_accuracy(
    run: Any, counts: Any = None, many: float = 100, few: float = 20, convention: str = "kang"
) -> dict[str, float]:
    """Mean class accuracy of every group: all, many, medium, few, head, mid, tail.

    NaN where a group is empty, as head, mid and tail are where all classes have the same count.

    run: a run, or the accuracy of each class (k,) with counts (k,) training images per class. A group's accuracy is
    the mean over its classes, not over its images (Kang et al. 2020, code).
    """
    if hasattr(run, "confusion"):
        accuracies, counts = per_class(run), run.counts if counts is None else counts
    else:
        accuracies = check.per_class("run", run, "a run, or the accuracy of each class (k,)").astype(np.float64)
        if np.isinf(accuracies).any():
            raise check.refuse("run", run, "a run, or the accuracy of each class (k,); found an infinite one")
        if counts is None:
            raise ValueError("counts is needed beside the accuracies of the classes: the training images of each class")
    n = check.counts(counts)
    if len(n) != len(accuracies):
        raise ValueError(f"counts must have one entry per class ({len(accuracies)}), not {len(n)}")
    groups = {"all": np.ones(len(n), dtype=bool), **shot_groups(n, many, few, convention), **third_groups(n)}
    return {name: _mean(accuracies[groups[name]]) for name in GROUPS}
