"""How sure an accuracy is on so many test samples, and whether a second decision on the same samples is better."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..metrics.comparison import CLEAR, SUGGESTIVE, UNDECIDED

Floats = NDArray[np.float64]
Z = 1.959963984540054  # 97.5% of a normal distribution lie below
DRAWS, WORK = 4000, 20_000_000  # of a bootstrap: draws, and random numbers in all


class Share(NamedTuple):
    """A fraction of test samples, and its 95% interval; NaN where there are none."""

    value: float
    low: float
    high: float


class Change(NamedTuple):
    """The mean accuracy of some classes before and after, the 95% interval of the difference, p, and the verdict."""

    before: float
    after: float
    low: float
    high: float
    p: float
    verdict: str

    @property
    def mean(self) -> float:
        return self.after - self.before


def wilson(right: ArrayLike, n: ArrayLike) -> tuple[Floats, Floats]:
    """Ends of the 95% interval of right / n, elementwise; NaN where n = 0. Source: Wilson 1927.

    (r + z^2 / 2 ± z sqrt(r (n - r) / n + z^2 / 4)) / (n + z^2)
    """
    r, m = np.asarray(right, np.float64), np.asarray(n, np.float64)
    safe = np.where(m > 0, m, 1.0)
    middle, reach = r + Z**2 / 2, Z * np.sqrt(np.maximum(r * (m - r), 0.0) / safe + Z**2 / 4)
    low, high = ((middle + way * reach) / (m + Z**2) for way in (-1, 1))
    return np.where(m > 0, low.clip(0, 1), np.nan), np.where(m > 0, high.clip(0, 1), np.nan)


def mean_accuracy(right: ArrayLike, n: ArrayLike) -> Share:
    """Mean over classes of right / n, and its 95% interval; classes with n = 0 are left out.

    The interval adds up the squares of the distances to the ends of each class's Wilson interval (MOVER, Zou & Donner
    2008): for one class it is Wilson's, and it has a width also where all answers are right.
    """
    r, m = np.asarray(right, np.float64), np.asarray(n, np.float64)
    r, m = r[m > 0], m[m > 0]
    if not m.size:
        return Share(np.nan, np.nan, np.nan)
    p, (low, high) = r / m, wilson(r, m)
    down, up = (float(np.sqrt(((p - end) ** 2).sum())) / len(p) for end in (low, high))
    return Share(float(p.mean()), max(0.0, float(p.mean()) - down), min(1.0, float(p.mean()) + up))


def gap(a: Share, b: Share) -> Share:
    """a - b of independent shares, and the 95% interval of that: the squares of the distances add up, as above."""
    value = a.value - b.value
    down, up = np.hypot(a.value - a.low, b.high - b.value), np.hypot(a.high - a.value, b.value - b.low)
    return Share(value, float(value - down), float(value + up))


def macro_f1(confusion: NDArray[np.int64], seed: int) -> Share:
    """Macro F1, and its 95% interval from a bootstrap of the test samples within each class (percentiles)."""
    matrix = np.asarray(confusion, np.int64)
    k, n = len(matrix), matrix.sum(1)
    total, known = int(n.sum()), n + matrix.sum(0) > 0  # F1 is 0 of a class that is answered, but has no samples
    if not total:
        return Share(np.nan, np.nan, np.nan)
    true, answer = (np.repeat(one, matrix.ravel()) for one in np.divmod(np.arange(k * k), k))
    start, size = (np.cumsum(n) - n)[true], n[true]

    def f1(answers: NDArray[np.int64]) -> float:
        said, right = np.bincount(answers, minlength=k), np.bincount(true[answers == true], minlength=k)
        return float((2 * right / np.maximum(n + said, 1))[known].mean())

    draw = np.random.default_rng(seed)
    rounds = int(np.clip(WORK // total, 200, 1000))
    found = [f1(answer[start + (draw.random(total) * size).astype(np.int64)]) for _ in range(rounds)]
    low, high = np.quantile(found, (0.025, 0.975))
    return Share(f1(answer), float(low), float(high))


def resampled(
    score: Callable[[NDArray[np.int64], Floats], float], targets: NDArray[np.int64], scores: Floats, seed: int
) -> Share:
    """A score of targets (n,) in {0, 1} and scores (n,), with a bootstrap of the samples within each of the two."""
    draw = np.random.default_rng(seed)
    sides = [np.flatnonzero(targets == j) for j in (0, 1)]
    found = []
    for _ in range(int(np.clip(WORK // 100 // len(targets), 100, 400))):
        rows = np.concatenate([side[draw.integers(0, len(side), len(side))] for side in sides])
        found.append(score(targets[rows], scores[rows]))
    low, high = np.quantile(found, (0.025, 0.975))
    return Share(float(score(targets, scores)), float(low), float(high))


def change(before: NDArray[np.bool_], after: NDArray[np.bool_], targets: NDArray[np.int64], classes: NDArray[np.bool_],
           seed: int) -> Change:  # fmt: skip
    """Is the second decision better on these classes? before, after (n,): whether it is right; classes (k,): a mask.

    The difference of the mean accuracies of the classes. Interval and p are those of a paired bootstrap: the samples of
    each class are drawn again, each with both answers; one sample more that is won and one that is lost, spread over
    the classes, keep a handful of samples from looking certain (for one class, p lies near McNemar's). p is twice the
    share of draws on the other side of 0, of those at 0 half. Verdict as in `metrics.paired`.
    """
    k = len(classes)
    n = np.bincount(targets, minlength=k)
    used = classes & (n > 0)
    if not used.any():
        return Change(*[float("nan")] * 5, "not defined")

    def count(which: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.bincount(targets[which], minlength=k)[used]

    m, gained, lost = n[used], count(after & ~before), count(before & ~after)
    was, now = (float((count(one) / m).mean()) for one in (before, after))
    more = 1.0 / len(m)
    win, lose = ((one + more) / (m + 2 * more) for one in (gained, lost))
    draw, rounds = np.random.default_rng(seed), int(np.clip(WORK // 10 // len(m), 1000, DRAWS))
    won = draw.binomial(m, win, (rounds, len(m)))
    found = ((won - draw.binomial(m - won, np.minimum(lose / (1 - win), 1.0))) / m).mean(1)
    low, high = np.quantile(found, (0.025, 0.975))
    nothing = np.abs(found) < 1e-12
    below, above = ((nothing / 2 + (~nothing & (way * found > 0))).mean() for way in (-1, 1))
    p = min(1.0, max(2 * float(min(below, above)), 1 / rounds))
    way = "better" if now > was else "worse"
    verdict = f"clearly {way}" if p < CLEAR else f"suggestive: {way}" if p < SUGGESTIVE else UNDECIDED
    return Change(was, now, float(low), float(high), p, verdict)
