"""One class against the rest, by a threshold: AUROC, average precision, precision, recall and expected cost.

With two classes the positive one is the rarer. A score is the log-odds of the positive class: its order is that of the
probability, and it still tells apart what probabilities round to 0 or 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import check
from .calibration import KINDS, _decided
from .scores import Floats

SCORES = "scores (n,) of class 1, larger the surer; or (n, k), a column for each class"


def rare_class(counts: Any) -> int:
    """The class with the fewest training images; of equal ones the last. counts (k,), or a run or data set."""
    n = check.counts(counts)
    return int(len(n) - 1 - np.argmin(n[::-1]))


def log_odds(scores: Any, positive: int, kind: str = "softmax") -> Floats:
    """log p / (1 - p) of the positive class (n,) from logits (n, k): z_p - log sum_{j not p} exp z_j.

    kind "sigmoid": one-vs-all logits; of two classes the odds are p_1 / p_0, of more the class's own, z_p. Infinite
    where a rule has excluded a class. Threshold 0 decides as the larger of two logits does.
    """
    kind = check.choice("kind", kind, KINDS)
    z = check.array("scores", scores, 2, "logits (n, k) of at least two classes")
    if z.shape[1] < 2:
        raise check.refuse("scores", scores, "logits (n, k) of at least two classes")
    return _Odds(z, kind).of(check.whole("positive", positive, 0, z.shape[1] - 1))


PART = 2**18  # logits that are looked at together
COLUMNS = 32  # classes that are ranked together: the numbers of one class lie far apart in (n, k)


class _Odds:
    """The log-odds of one class after another, from logits z (n, k): what all of them need is computed once."""

    def __init__(self, z: NDArray, kind: str):
        self.z, self.kind, n = z, kind, len(z)
        self.top, self.all, self.others = np.zeros(n, np.int64), np.zeros(n), np.zeros(n)
        step = max(PART // z.shape[1], 1)
        for part in (slice(first, first + step) for first in range(0, n, step)):
            rows = z[part].astype(np.float64)
            top = rows.max(1, initial=-np.inf)
            if not np.isfinite(top).all():
                raise check.refuse("scores", z, "logits, in each row a finite one, none NaN or plus infinity")
            self.top[part] = at = rows.argmax(1)
            self.all[part] = top + np.log(np.exp(rows - top[:, None]).sum(1))
            rows[np.arange(len(rows)), at] = -np.inf
            second = np.maximum(rows.max(1), np.finfo(np.float64).min)  # all others may be excluded
            with np.errstate(divide="ignore"):
                self.others[part] = second + np.log(np.exp(rows - second[:, None]).sum(1))

    def of(self, j: int, column: NDArray | None = None) -> Floats:
        """log p_j / (1 - p_j) of every row (n,). column (n,): the logits of the class, where they are at hand."""
        own = (self.z[:, j] if column is None else column).astype(np.float64)
        if self.z.shape[1] == 2:
            other = self.z[:, 1 - j].astype(np.float64)
            return own - other if self.kind == "softmax" else np.logaddexp(0.0, -other) - np.logaddexp(0.0, -own)
        if self.kind == "sigmoid":
            return own
        # Where the class is not the likeliest, p_j is at most a half, and 1 - p_j keeps its digits.
        log_p = np.minimum(own - self.all, np.log(0.5))
        with np.errstate(invalid="ignore"):  # infinity less infinity, where the other side is taken
            surest = own - self.others
        return np.where(self.top == j, surest, log_p - np.log1p(-np.exp(log_p)))


def _given(targets: Any, scores: Any) -> tuple[NDArray[np.int64], NDArray, str, int | None]:
    """Targets (n,), logits or scores (n, k), their kind ("own": ranked as they are), and the positive class of two
    (None: of more, each)."""
    if hasattr(targets, "confusion"):
        if scores is not None:
            raise check.refuse("scores", scores, "none beside a run, which has its own")
        run, z = targets, check.array("logits", _decided(targets), 2, "logits (n, k)")
        return (
            check.labels("targets", run.targets, z.shape[1]),
            z,
            getattr(run, "probability", "softmax"),
            _positive(run.counts),
        )
    check.same_order(targets=targets, scores=scores)
    z = check.array("scores", scores, None, f"a run that kept its test logits, or targets (n,) and {SCORES}")
    if z.ndim not in (1, 2) or z.shape[-1:] == (1,) or np.isnan(z).any():
        raise check.refuse("scores", scores, f"{SCORES}; none NaN")
    both = z.ndim == 1
    truth = _labels(targets, 2 if both else z.shape[1])
    if len(truth) != len(z):
        raise ValueError(f"targets must have one entry per row of scores ({len(z)}), not {len(truth)}")
    if both:
        return truth, np.stack([np.zeros(len(z)), z], 1), "own", 1
    positive = _positive(np.bincount(truth, minlength=z.shape[1]))
    if positive is not None and not np.allclose(z.sum(1), 1.0):  # of probabilities, one column says it all
        z = np.stack([z[:, 0].astype(np.float64) - z[:, 1], z[:, 1].astype(np.float64) - z[:, 0]], 1)
    return truth, z, "own", positive


def _labels(targets: Any, k: int) -> NDArray[np.int64]:
    """Class numbers (n,); of two classes also True and False."""
    try:
        found = check.to_array(targets, copy=False)
    except Exception:  # what is no array: check.labels refuses it
        found = np.empty(0)
    # pandas' own truth values are Python's in numpy.
    of_two = k == 2 and (found.dtype.kind == "b" or (found.size and all(type(one) is bool for one in found.flat)))
    return check.labels("targets", found.astype(np.int64) if of_two else targets, k)


def _positive(counts: Any) -> int | None:
    return rare_class(counts) if len(counts) == 2 else None


class _Ranks(NamedTuple):
    """Of each positive image (m,): how many positive ones, and how many of all, score below it and up to it."""

    below: NDArray[np.int64]
    upto: NDArray[np.int64]
    below_all: NDArray[np.int64]
    upto_all: NDArray[np.int64]
    n: int


def _ranks(of: NDArray[np.bool_], values: NDArray) -> _Ranks:
    """Positions among values (n,), which may be infinite; of (n,): what is positive. Integers, so that nothing is
    rounded."""
    every, own = np.sort(values), np.sort(values[of])
    found = (np.searchsorted(one, own, side) for one in (own, every) for side in ("left", "right"))
    return _Ranks(*found, len(values))


def _one_by_one(targets: Any, scores: Any, average: str | None, score: Callable[[_Ranks], float]) -> Any:
    """The score of the positive class of two, or of each class against the rest."""
    check.choice("average", average, (None, "macro"))
    truth, z, kind, positive = _given(targets, scores)
    k = z.shape[1]
    found, odds = np.full(k, np.nan), None if kind == "own" else _Odds(z, kind)
    for first in range(0, k, COLUMNS) if positive is None else [positive]:
        last = min(first + COLUMNS, k) if positive is None else positive + 1
        for j, column in enumerate(np.ascontiguousarray(z[:, first:last].T), first):
            of = truth == j
            if of.any() and not of.all():
                found[j] = score(_ranks(of, column if odds is None else odds.of(j, column)))
    if positive is not None:
        return float(found[positive])
    if average is None:
        return found
    return float(np.nanmean(found)) if not np.isnan(found).all() else float("nan")


def auroc(targets: Any, scores: Any = None, *, average: str | None = None) -> Any:
    """Area under the ROC curve: how often a positive image scores above another one, equal scores counted as half.

    targets: a run, or targets (n,) with scores (n,) or (n, k). Two classes: a number, positive is the rarer class (of
    scores (n,), class 1). More: each class against the rest (k,), or their mean for average="macro". Blind to how rare
    the class is. NaN where there is nothing to rank. Source: scikit-learn's roc_auc_score.

    A run is ranked by the class's log-odds log p / (1 - p), made from its logits after the post-hoc rule; scores (n, k)
    of more than two classes by their column as it is, so give probabilities: a column of logits ranks otherwise, as it
    lacks what the other classes score.
    """

    def area(ranks: _Ranks) -> float:
        m = len(ranks.below)
        others = ranks.below_all - ranks.below + ranks.upto_all - ranks.upto  # below, and below or equal
        return int(others.sum()) / (2 * m * (ranks.n - m))

    return _one_by_one(targets, scores, average, area)


def average_precision(targets: Any, scores: Any = None, *, average: str | None = None) -> Any:
    """Mean precision over the positive images, each at the threshold that just finds it: sum_n (R_n - R_n-1) P_n.

    Arguments as for `auroc`. Chance is the share of positive images (the base rate), so compare it on one test set
    only. Source: scikit-learn's average_precision_score.
    """

    def precision(ranks: _Ranks) -> float:
        return float(np.mean((len(ranks.below) - ranks.below) / (ranks.n - ranks.below_all)))

    return _one_by_one(targets, scores, average, precision)


class Counts(NamedTuple):
    """Images at one threshold: positives found and missed, negatives taken for positive and left alone."""

    found: float
    missed: float
    alarms: float
    passed: float


class Cutoffs(NamedTuple):
    """Every decision that a threshold can make, from none called positive to all.

    at (m,): falling log-odds, infinity first; positive is what has at least these.
    found, alarms (m,): positive and negative images called positive; positives, negatives: how many there are.
    """

    at: Floats
    found: NDArray[np.int64]
    alarms: NDArray[np.int64]
    positives: int
    negatives: int

    @property
    def base_rate(self) -> float:
        """Share of positive images in the test set."""
        return self.positives / (self.positives + self.negatives)

    @property
    def threshold(self) -> Floats:
        """The same thresholds as probabilities (m,)."""
        return probability(self.at)

    @property
    def recall(self) -> Floats:
        """Share of the positive images that is found (m,)."""
        return self.found / self.positives

    @property
    def false_alarm_rate(self) -> Floats:
        """Share of the negative images that is called positive (m,)."""
        return self.alarms / self.negatives

    def precision(self, prevalence: float | None = None) -> Floats:
        """Of what is called positive, the share that is (m,), where positives occur this often (None: as in the test
        set); NaN where nothing is called positive."""
        share = self._prevalence(prevalence)
        hits, wrong = share * self.recall, (1.0 - share) * self.false_alarm_rate
        return np.divide(hits, hits + wrong, out=np.full(len(hits), np.nan), where=hits + wrong > 0)

    def cost(self, cost: float, prevalence: float | None = None) -> Floats:
        """Expected cost of an image (m,), in false alarms: cost pi (1 - recall) + (1 - pi) false alarm rate.

        cost: what a missed positive costs, in false alarms; prevalence pi: how often positives occur (None: as in the
        test set).
        """
        share, cost = self._prevalence(prevalence), check.number("cost", cost, above=0.0)
        return cost * share * (1.0 - self.recall) + (1.0 - share) * self.false_alarm_rate

    def best(self, cost: float, prevalence: float | None = None) -> float:
        """The log-odds from which calling positive costs least here, halfway to the next score below; of equal ones
        those with the fewest alarms. To be chosen on validation images, and used on others."""
        costs = self.cost(cost, prevalence)
        here = int(np.flatnonzero(costs <= costs.min() * (1 + 1e-12))[0])
        high = self.at[here]
        if here + 1 == len(self.at):
            return -np.inf  # all
        low = self.at[here + 1]
        if np.isinf(high) or np.isinf(low):
            return float(high)
        return float(max(low + 0.5 * (high - low), np.nextafter(low, np.inf)))

    def counts(self, log_odds: float) -> Counts:
        """What is found and missed where positive is what has at least these log-odds (`logit` of a probability)."""
        here = self.number(log_odds)
        found, alarms = int(self.found[here]), int(self.alarms[here])
        return Counts(found, self.positives - found, alarms, self.negatives - alarms)

    def number(self, log_odds: float) -> int:
        """Which of the thresholds decides as these log-odds do; infinity calls nothing positive."""
        if not isinstance(log_odds, float) or math.isnan(log_odds):
            raise check.refuse("log_odds", log_odds, "a float: log p / (1 - p), infinite for 0 and 1")
        return max(int(np.searchsorted(-self.at, -log_odds, "right")) - 1, 0) if log_odds < np.inf else 0

    def _prevalence(self, value: float | None) -> float:
        return self.base_rate if value is None else check.number("prevalence", value, 0.0, 1.0)


def cutoffs(targets: Any, scores: Any = None, *, positive: int | None = None) -> Cutoffs:
    """All thresholds of a run's test images, or of targets (n,) with log-odds (n,), True or 1 being positive.

    positive: a class, against all others; None: the rarest. ValueError where the test set lacks either side.
    """
    if hasattr(targets, "confusion"):
        truth, z, kind, _ = _given(targets, scores)
        positive = rare_class(targets.counts) if positive is None else positive
        of, values = truth == check.whole("positive", positive, 0, z.shape[1] - 1), log_odds(z, positive, kind)
    else:
        check.same_order(targets=targets, scores=scores)
        of = _labels(targets, 2) == 1
        values = check.array("scores", scores, 1, "log-odds (n,), one for each target").astype(np.float64)
        if len(of) != len(values) or np.isnan(values).any() or positive is not None:
            raise check.refuse("scores", scores, "log-odds (n,), one for each target, none NaN, and no positive beside")
    if of.all() or not of.any():
        raise ValueError(_one_side(targets, positive, bool(of.any())))
    order = np.argsort(-values, kind="stable")
    falling = values[order]
    ends = np.flatnonzero(np.append(falling[1:] < falling[:-1], True))  # equal scores are decided alike
    found = np.append(0, np.cumsum(of[order])[ends])
    at = np.append(np.inf, falling[ends])
    return Cutoffs(at, found, np.append(0, ends + 1) - found, int(of.sum()), int((~of).sum()))


def _one_side(targets: Any, positive: int | None, every: bool) -> str:
    """What is wrong with test images that are all, or none, of the positive class."""
    if positive is None:
        return f"targets: expected some that are positive and some that are not, {'all' if every else 'none'} are"
    name = (getattr(targets, "class_names", None) or {positive: positive})[positive]
    found = f"every test image is of class {name!r}" if every else f"class {name!r} has no test image"
    return f"positive={positive}: {found}; choose another class with positive="


def probability(at: Any) -> Floats:
    """1 / (1 + exp -x), from one log-odds x, or (m,) of them; 0 and 1 where they are infinite."""
    x = check.array("at", at, None, "log-odds, one or (m,)").astype(np.float64)
    if x.ndim > 1 or np.isnan(x).any():
        raise check.refuse("at", at, "log-odds, one or (m,), none NaN")
    return np.exp(-np.logaddexp(0.0, -x))


def logit(p: float) -> float:
    """log p / (1 - p); infinite at 0 and 1."""
    p = check.number("p", p, 0.0, 1.0)
    return -math.inf if p <= 0 else math.inf if p >= 1 else math.log(p) - math.log1p(-p)


def calibrated_threshold(cost: float, prevalence: float | None = None, trained: float | None = None) -> float:
    """The threshold that costs least if the probabilities are right: 1 / (1 + cost) (Elkan 2001, eq. (2)).

    cost: of a miss, in false alarms. prevalence: how often positives occur where it is used, and trained: where the
    probabilities are right, such as in the training set; where they differ the log-odds move by the difference of both
    (Elkan 2001, theorem 2). Needs no data, and is as good as the calibration.
    """
    at = -math.log(check.number("cost", cost, above=0.0))
    if (prevalence is None) is not (trained is None):
        raise ValueError("prevalence and trained belong together: pass both or neither")
    if prevalence is not None and trained is not None:
        used, known = check.number("prevalence", prevalence, 0.0, 1.0), check.number("trained", trained, 0.0, 1.0)
        at += _between(logit(known), logit(used))
    return float(probability(at))


def _between(one: float, other: float) -> float:
    return 0.0 if one == other else one - other
