"""Numbers that say how a classifier does on long-tailed data. numpy and scikit-learn; nothing here draws.

Most functions take either a `Run` (anything with `.confusion`, and `.counts` where counts are needed), a confusion
matrix (k, k), or targets (n,) with predictions (n,). Accuracies are fractions. What is undefined (a group without a
class, a class without a test image) is NaN, never 0, and averages leave it out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    import pandas

Floats = NDArray[np.float64]

ONE_SEED = "one seed: no verdict"
NO_DATA = "not defined"
GROUPS = ("all", "many", "medium", "few", "head", "mid", "tail")


def _array(values: Any, name: str, dims: int) -> np.ndarray:
    """values (array, list or torch tensor on any device) as a numpy array with `dims` axes."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    array = np.asarray(values)
    if array.ndim != dims:
        raise ValueError(f"{name} must have {dims} axis(es), not shape {array.shape}")
    return array


def _labels(values: Any, name: str, k: int | None) -> NDArray[np.int64]:
    """Class labels (n,) as int64, checked to lie in 0..k-1."""
    array = _array(values, name, 1)
    if array.size and not np.issubdtype(array.dtype, np.integer):
        if not np.array_equal(array, np.round(array)):
            raise ValueError(f"{name} must be class numbers, not {array.dtype} values such as {array[0]}; "
                             "for logits, pass logits.argmax(1)")
    array = array.astype(np.int64)
    wrong = np.flatnonzero((array < 0) | (array >= (k if k is not None else np.inf)))
    if wrong.size:
        top = "the number of classes" if k is None else k - 1
        raise ValueError(f"{name} must lie in 0..{top}, found {array[wrong[0]]} at position {wrong[0]}; "
                         "relabel the classes from 0, or pass a larger k")
    return array


# ------------------------------------------------------------------------------------------------ confusion and scores
def confusion(targets: Any, predictions: ArrayLike | None = None, k: int | None = None) -> NDArray[np.int64]:
    """Confusion matrix (k, k), rows true, columns predicted.

        C[i, j] = number of images of class i that were taken for class j

    targets (n,), predictions (n,) class numbers; k classes (default: the largest number seen, plus 1). Also takes a run
    or a confusion matrix and gives it back. Errors: lengths that differ, numbers outside 0..k-1.
    """
    if hasattr(targets, "confusion"):
        targets = targets.confusion
    if predictions is None:
        matrix = _array(targets, "confusion", 2)
        if matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"confusion must be square (k, k), not {matrix.shape}; for targets, pass predictions too")
        if (matrix < 0).any():
            raise ValueError("confusion must hold counts, found a negative entry")
        return matrix.astype(np.int64)
    truth, guess = _labels(targets, "targets", k), _labels(predictions, "predictions", k)
    if truth.shape != guess.shape:
        raise ValueError(f"targets and predictions must have one length, not {truth.size} and {guess.size}")
    if k is None:
        k = int(max(truth.max(initial=-1), guess.max(initial=-1))) + 1
    return np.bincount(truth * k + guess, minlength=k * k).reshape(k, k)


def accuracy(targets: Any, predictions: ArrayLike | None = None, k: int | None = None) -> float:
    """Share of test images decided rightly: sum_i C[i, i] / sum C. Takes a run, a confusion matrix, or two arrays."""
    matrix = confusion(targets, predictions, k)
    return float(np.trace(matrix) / matrix.sum()) if matrix.sum() else float("nan")


def _scores(matrix: NDArray[np.int64], average: str | None) -> list[Any]:
    """[precision, recall, F1] from scikit-learn: each (k,), or one float for average="macro"."""
    from sklearn.metrics import precision_recall_fscore_support

    if average not in (None, "macro"):
        raise ValueError(f'average must be None (per class) or "macro", not {average!r}')
    k = len(matrix)
    truth, guess = np.divmod(np.arange(k * k), k)  # one weighted "sample" per cell: no need to keep the predictions
    weight = matrix.ravel()
    if not weight.any():
        return [float("nan") if average else np.full(k, np.nan)] * 3
    scores = precision_recall_fscore_support(
        truth, guess, labels=np.arange(k), sample_weight=weight, zero_division=0.0
    )[:3]
    absent = matrix.sum(1) == 0  # nothing is known about a class without test images
    per_class = [np.where(absent, np.nan, s) for s in scores]
    return [float(np.nanmean(s)) for s in per_class] if average else per_class


def precision(
    targets: Any, predictions: ArrayLike | None = None, k: int | None = None, average: str | None = None
) -> Any:
    """Of the images taken for class j, the share that is of class j: C[j, j] / sum_i C[i, j].

    Returns (k,), or the mean over classes for average="macro". A class that is never predicted has 0 (scikit-learn's
    convention); a class without test images is NaN and left out of the mean. Source: scikit-learn.
    """
    return _scores(confusion(targets, predictions, k), average)[0]


def recall(targets: Any, predictions: ArrayLike | None = None, k: int | None = None, average: str | None = None) -> Any:
    """Of the images of class i, the share decided rightly: C[i, i] / sum_j C[i, j]; this is the class's accuracy.

    Returns (k,), or the mean over classes for average="macro" (the balanced accuracy). Source: scikit-learn.
    """
    return _scores(confusion(targets, predictions, k), average)[1]


def f1(targets: Any, predictions: ArrayLike | None = None, k: int | None = None, average: str | None = None) -> Any:
    """Harmonic mean of precision and recall, 2 P R / (P + R), 0 where both are 0. Returns as `precision` does."""
    return _scores(confusion(targets, predictions, k), average)[2]


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


# ------------------------------------------------------------------------------------------------------- class groups
def _counts(counts: Any) -> Floats:
    counts = _array(getattr(counts, "counts", counts), "counts", 1).astype(np.float64)
    if not np.isfinite(counts).all() or (counts < 0).any():
        raise ValueError("counts must be the number of training images of each class: finite and not negative")
    return counts


def shot_groups(
    counts: Any, many: float = 100, few: float = 20, convention: str = "kang"
) -> dict[str, NDArray[np.bool_]]:
    """Masks (k,) of the many-, medium- and few-shot classes, by training images per class.

        "kang"  many: n > 100    few: n < 20     (Kang et al. 2020, code; the default)
        "oltr"  many: n >= 100   few: n <= 20    (Liu et al. 2019, code)        medium: the rest

    counts (k,) or a run; many, few the two thresholds in images. A group can be empty: CIFAR-10-LT never has a few-shot
    class. Errors: few > many, an unknown convention.
    """
    n = _counts(counts)
    if few > many:
        raise ValueError(f"few must not exceed many, given few={few} and many={many}")
    if convention not in ("kang", "oltr"):
        raise ValueError(f'convention must be "kang" (n > many, n < few) or "oltr" (n >= many, n <= few), '
                         f"not {convention!r}")
    strict = convention == "kang"
    is_many = n > many if strict else n >= many
    is_few = (n < few if strict else n <= few) & ~is_many
    return {"many": is_many, "medium": ~is_many & ~is_few, "few": is_few}


def third_groups(counts: Any) -> dict[str, NDArray[np.bool_]]:
    """Masks (k,) of head, mid and tail: the floor(k/3) most frequent classes, the rest, the floor(k/3) rarest.

    counts (k,) in any order, or a run. Equal counts are split in class order, so that the sizes are always the same.
    """
    n = _counts(counts)
    third = len(n) // 3
    rank = np.empty(len(n), dtype=np.int64)
    rank[np.argsort(-n, kind="stable")] = np.arange(len(n))
    head, tail = rank < third, rank >= len(n) - third
    return {"head": head, "mid": ~head & ~tail, "tail": tail}


def _mean(values: ArrayLike) -> float:
    """Mean over what is defined; NaN, without a warning, where nothing is."""
    values = np.asarray(values, dtype=np.float64)
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")


def shot_accuracy(
    run: Any, counts: Any = None, many: float = 100, few: float = 20, convention: str = "kang"
) -> dict[str, float]:
    """Mean class accuracy of every group: all, many, medium, few, head, mid, tail (NaN where a group is empty).

    run: a run, or the accuracy of each class (k,) with counts (k,) training images per class. A group's accuracy is
    the mean over its classes, not over its images (Kang et al. 2020, code).
    """
    if hasattr(run, "confusion"):
        accuracies, counts = per_class(run), run.counts if counts is None else counts
    else:
        accuracies = _array(run, "run", 1).astype(np.float64)
        if counts is None:
            raise ValueError("counts is needed beside the accuracies of the classes: the training images of each class")
    n = _counts(counts)
    if len(n) != len(accuracies):
        raise ValueError(f"counts must have one entry per class ({len(accuracies)}), not {len(n)}")
    groups = {"all": np.ones(len(n), dtype=bool), **shot_groups(n, many, few, convention), **third_groups(n)}
    return {name: _mean(accuracies[groups[name]]) for name in GROUPS}


# -------------------------------------------------------------------------------------------------------- calibration
def probabilities(logits: Any, kind: str | None = None, normalise: bool = False) -> Floats:
    """Class probabilities (n, k) from logits (n, k).

        "softmax"   p_j = exp z_j / sum_i exp z_i
        "sigmoid"   p_j = 1 / (1 + exp -z_j)           one-vs-all: k separate answers, rows need not sum to 1

    A one-vs-all model is trained to say each p_j by itself, so its p_j are kept as they are and its confidence is the
    largest of them; normalise=True divides each row by its sum (computed in logs: rows of tiny p stay exact).
    logits: an array, or a run that kept its test logits (kind then defaults to the run's own).
    """
    if hasattr(logits, "confusion"):
        return _run_probabilities(logits, kind, normalise)
    z = _array(logits, "logits", 2).astype(np.float64)
    kind = kind or "softmax"
    if kind == "sigmoid":
        z = -np.logaddexp(0.0, -z)  # log sigmoid
        if not normalise:
            return np.exp(z)
    elif kind != "softmax":
        raise ValueError(f'kind must be "softmax" or "sigmoid", not {kind!r}')
    z = z - z.max(1, keepdims=True)
    p = np.exp(z)
    return p / p.sum(1, keepdims=True)


def _run_probabilities(run: Any, kind: str | None = None, normalise: bool = False) -> Floats:
    if run.logits is None:
        raise ValueError("this run was recorded without its test logits, so it has no probabilities; "
                         "use the value that it kept (run.ece), or train it again")
    scores = getattr(run, "scores", None)  # after a post-hoc rule: what the predictions are made from
    return probabilities(run.logits if scores is None else scores, kind or run.probability, normalise)


class Reliability(NamedTuple):
    """What a reliability diagram shows: per bin (b,) mean confidence, accuracy, and share of the images."""

    confidence: Floats
    accuracy: Floats
    share: Floats


def reliability(probabilities: Any, targets: ArrayLike | None = None, bins: int = 15) -> Reliability:
    """Confidence against accuracy in `bins` bins of equal width over [0, 1].

    An image's confidence is the largest of its probabilities; bin b holds ((b-1)/bins, b/bins], the first also 0. Mean
    confidence and accuracy of an empty bin are NaN. Arguments as for `ece`.
    """
    if hasattr(probabilities, "confusion"):
        probabilities, targets = _run_probabilities(probabilities), probabilities.targets
    p = _array(probabilities, "probabilities", 2).astype(np.float64)
    if targets is None:
        raise ValueError("targets (n,) are needed beside the probabilities")
    truth = _labels(targets, "targets", p.shape[1])
    if len(truth) != len(p):
        raise ValueError(f"targets must have one entry per row of probabilities ({len(p)}), not {len(truth)}")
    if bins < 1:
        raise ValueError(f"bins must be at least 1, not {bins}")
    if p.size and not (p.min() >= 0.0 and p.max() <= 1.0 + 1e-6):
        raise ValueError("probabilities must lie in [0, 1]; turn logits into them with metrics.probabilities(logits)")
    confidence = p.max(1)
    # The small step back puts values such as 0.2 = 3/15, which floating point may lift over their edge, below it.
    index = np.clip(np.ceil(confidence * bins - 1e-9).astype(np.int64) - 1, 0, bins - 1)
    number = np.bincount(index, minlength=bins)
    safe = np.where(number > 0, number, np.nan)
    return Reliability(
        np.bincount(index, confidence, bins) / safe,
        np.bincount(index, p.argmax(1) == truth, bins) / safe,
        number / max(len(p), 1),
    )


def ece(probabilities: Any, targets: ArrayLike | None = None, bins: int = 15) -> float:
    """Expected calibration error: how far confidence is from accuracy, on average.

        ECE = sum_b |B_b| / n * | accuracy(B_b) - confidence(B_b) |

    probabilities (n, k) in [0, 1], targets (n,), or a run that kept its test logits; B_b the images whose confidence
    (largest probability) falls in bin b of `bins` equal-width bins. 0 is calibrated. Source: Guo et al. 2017, eq. (5).
    """
    bins_of = reliability(probabilities, targets, bins)
    if not bins_of.share.any():
        return float("nan")
    return float(np.nansum(bins_of.share * np.abs(bins_of.accuracy - bins_of.confidence)))


# ------------------------------------------------------------------------------------------------------ weights, ranks
def spearman(a: ArrayLike, b: ArrayLike) -> float:
    """Spearman's rank correlation of two lists, in [-1, 1]; NaN where one is constant or has less than two entries."""
    from scipy.stats import spearmanr

    x, y = _array(a, "a", 1).astype(np.float64), _array(b, "b", 1).astype(np.float64)
    if x.shape != y.shape:
        raise ValueError(f"a and b must have one length, not {x.size} and {y.size}")
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
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

    norms (k,) the length of each class's weight vector, counts (k,) training images; or a run. Classes without images
    are left out. s is the constant that the dual-loss slides give as 7; NaN where the norms are all equal.
    Source: Li et al. 2020 (Dual Loss, slides).
    """
    if hasattr(norms, "head_weight"):
        counts = norms.counts if counts is None else counts
        norms = np.linalg.norm(_array(norms.head_weight, "head_weight", 2).astype(np.float64), axis=1)
    if counts is None:
        raise ValueError("counts is needed beside the norms: the training images of each class")
    x, n = _array(norms, "norms", 1).astype(np.float64), _counts(counts)
    if x.shape != n.shape:
        raise ValueError(f"norms and counts must have one entry per class, not {x.size} and {n.size}")
    x, n = x[n > 0], n[n > 0]
    if len(x) < 2 or np.ptp(x) <= 1e-12 * np.abs(x).max():
        return WeightNormFit(float("nan"), float("nan"), float("nan"))
    s, c = np.polyfit(x, np.log(n), 1)
    return WeightNormFit(float(s), float(c), spearman(x, n))


def feature_quality(features: Any, targets: ArrayLike | None = None, neighbours: int = 10) -> float:
    """How well the features alone separate the classes: balanced leave-one-out nearest-neighbour accuracy.

    Each image is decided by the majority of its `neighbours` nearest other images (cosine distance). No classifier
    takes part, so this tells a poor representation from a biased classifier (compare Zhou et al. 2020, table 5).
    features (n, d) with targets (n,), or a run that kept its test features.
    """
    from sklearn.neighbors import NearestNeighbors

    if hasattr(features, "confusion"):
        run = features
        if run.features is None:
            raise ValueError("this run was recorded without its test features; train it again to look at them")
        features, targets = run.features, run.targets
    x = _array(features, "features", 2).astype(np.float32)
    if targets is None or len(targets) != len(x):
        raise ValueError(f"targets must have one entry per row of features ({len(x)})")
    truth = _labels(targets, "targets", None)
    if not 1 <= neighbours < len(x):
        raise ValueError(f"neighbours must lie in 1..{len(x) - 1} for {len(x)} images, not {neighbours}")
    near = NearestNeighbors(n_neighbors=neighbours, metric="cosine", algorithm="brute").fit(x)
    votes = truth[near.kneighbors(return_distance=False)]  # without arguments: an image is not its own neighbour
    k = int(truth.max()) + 1
    tally = np.zeros((len(x), k))
    np.add.at(tally, (np.arange(len(x))[:, None], votes), 1.0 + 1e-3 / np.arange(1, neighbours + 1))  # ties: nearest
    return balanced_accuracy(truth, tally.argmax(1), k)


# --------------------------------------------------------------------------------------------------- comparing methods
class Paired(NamedTuple):
    """A paired difference over n seeds: mean, standard error, Student's t and two-sided p, and the verdict in words."""

    mean: float
    se: float
    t: float
    p: float
    n: int
    verdict: str

    def __str__(self) -> str:
        if self.n < 2 or np.isnan(self.mean):
            return f"{self.mean:+.3f} ({self.verdict})"
        return f"{self.mean:+.3f} ± {self.se:.3f} over {self.n} seeds ({self.verdict})"


def _by_seed(runs: Sequence[Any], name: str) -> dict[int, Any]:
    found: dict[int, Any] = {}
    for run in runs:
        if run.seed in found:
            raise ValueError(f"{name} holds two runs of seed {run.seed}; a comparison pairs one run per seed: "
                             "choose one setting first")
        found[run.seed] = run
    return found


def paired(a: Sequence[Any] | ArrayLike, b: Sequence[Any] | ArrayLike, group: str = "all") -> Paired:
    """Is a better than b? The difference of each seed, its mean and the standard error of that mean.

        d_i = a_i - b_i    mean = sum d_i / n    se = sd(d) / sqrt(n)    t = mean / se    p: Student's t, n - 1 degrees

    a, b: one value per seed in the same order (n,), or lists of runs, which are paired by seed (accuracy of `group`;
    seeds that only one side has are left out). Positive means that a is better. Verdict: "better" or "worse" where
    |t| >= 3 and p < 0.05, else "within noise". p carries the price of few seeds (two need |t| > 12.7, three 4.3,
    four 3.2); 3 is asked of many seeds because dozens of methods are compared. Two seeds whose differences happen to
    be equal are no evidence either. One seed: "one seed: no verdict". A NaN on either side: "not defined".
    """
    from scipy.stats import t as student

    runs = [bool(len(side)) and hasattr(side[0], "seed") for side in (a, b)]
    if all(runs):
        x, y = _paired_values(a, b, group)
    elif any(runs):
        raise ValueError("a and b must both be lists of runs, or both be numbers, one per seed")
    else:
        x, y = _array(a, "a", 1).astype(np.float64), _array(b, "b", 1).astype(np.float64)
    if x.shape != y.shape:
        raise ValueError(f"a and b must hold one value per seed in the same order, not {x.size} and {y.size} values")
    nan, d, n = float("nan"), x - y, len(x)
    if n == 0:
        raise ValueError("a and b are empty: train at least one seed of each")
    mean = float(d.mean())
    if np.isnan(mean):
        return Paired(nan, nan, nan, nan, n, NO_DATA)
    if n == 1:
        return Paired(mean, nan, nan, nan, 1, ONE_SEED)
    se = float(d.std(ddof=1) / np.sqrt(n))
    if se <= 1e-12 * max(1.0, abs(mean)):  # equal differences up to rounding
        se, t = 0.0, 0.0 if abs(mean) < 1e-12 else float(np.copysign(np.inf, mean))
    else:
        t = mean / se
    p = float(2 * student.sf(abs(t), n - 1))
    certain = abs(t) >= 3.0 and p < 0.05 and not (n == 2 and se == 0.0)
    verdict = ("better" if mean > 0 else "worse") if certain else "within noise"
    return Paired(mean, se, t, p, n, verdict)


def _paired_values(a: Sequence[Any], b: Sequence[Any], group: str) -> tuple[Floats, Floats]:
    """Accuracy of `group` of the runs that a and b have for the same seeds, in the order of the seeds."""
    if group not in GROUPS:
        raise ValueError(f"group must be one of {', '.join(GROUPS)}, not {group!r}")
    left, right = _by_seed(a, "a"), _by_seed(b, "b")
    seeds = sorted(left.keys() & right.keys())
    if not seeds:
        raise ValueError(f"a and b have no seed in common (a: {sorted(left)}, b: {sorted(right)}), so there is nothing "
                         "to pair; train both on the same seeds")
    for seed in seeds:
        data = [getattr(side[seed], "data", None) or {} for side in (left, right)]
        prints = [d.get("fingerprint") for d in data]
        if None not in prints and prints[0] != prints[1]:
            raise ValueError(f"the runs of seed {seed} were trained or tested on different data "
                             f"({data[0].get('name')} {prints[0]}, {data[1].get('name')} {prints[1]}); "
                             "compare methods on one data set at a time")
    values = [[shot_accuracy(side[seed])[group] for seed in seeds] for side in (left, right)]
    return np.array(values[0]), np.array(values[1])


def comparison_table(
    runs_by_label: Mapping[str, Sequence[Any]], reference: str | None = None, group: str = "all"
) -> pandas.DataFrame:
    """One row per label: mean accuracy of each group, and the paired difference to the reference with its error.

    runs_by_label: label -> runs, one per seed; reference: the label to compare with (default: the first); group: what
    the difference is taken of. Columns: seeds, all, head, mid, tail (means over seeds), difference, se, t, verdict.
    """
    import pandas

    labels = list(runs_by_label)
    if not labels:
        raise ValueError("runs_by_label is empty: give label -> list of runs")
    reference = labels[0] if reference is None else reference
    if reference not in runs_by_label:
        raise ValueError(f"reference must be one of {', '.join(labels)}, not {reference!r}")
    rows = []
    for label in labels:
        runs = list(runs_by_label[label])
        if not runs:
            raise ValueError(f"runs_by_label[{label!r}] is empty: train it first, or leave it out")
        groups = [shot_accuracy(run) for run in runs]
        row: dict[str, Any] = {"seeds": len(runs)}
        row |= {name: _mean([g[name] for g in groups]) for name in ("all", "head", "mid", "tail")}
        if label == reference:
            row |= {"difference": float("nan"), "se": float("nan"), "t": float("nan"), "verdict": "reference"}
        else:
            difference = paired(runs, runs_by_label[reference], group)
            row |= {"difference": difference.mean, "se": difference.se, "t": difference.t,
                    "verdict": difference.verdict}
        rows.append(row)
    return pandas.DataFrame(rows, index=pandas.Index(labels, name="run"))
