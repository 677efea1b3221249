"""How many different things n draws show: expected and observed numbers of distinct prototypes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import check

MOST_DRAWS = 10**7


def expected_distinct(p: ArrayLike, n: ArrayLike) -> Any:
    """Expected number of different prototypes among n independent draws.

        sum_i 1 - (1 - p_i)^n

    p (N,): probability of each prototype, sum 1. n >= 0: a number of draws, for which the answer is a float, or several
    of them (m,), for which it is (m,). With p_i = 1/N it is the effective number (1 - beta^n) / (1 - beta), with
    beta = (N - 1) / N, of Cui et al. 2019, eq. (2). Every other p gives less for n > 1, as 1 - (1 - p)^n is concave.
    ValueError: probabilities that are none or do not sum to 1, a negative number of draws.
    """
    share = _shares(p)
    expected = "a number of draws, at least 0, or several of them (m,)"
    draws = check.array("n", n, None, expected).astype(np.float64)
    if draws.ndim > 1 or not draws.size or not np.isfinite(draws).all() or (draws < 0).any():
        raise check.refuse("n", n, expected)
    some = share[(share > 0) & (share < 1)]  # a certain prototype is seen by the first draw
    found = -np.expm1(np.atleast_1d(draws)[:, None] * np.log1p(-some)).sum(1)
    found = found + (share == 1).sum() * np.minimum(np.atleast_1d(draws), 1.0)
    return found if draws.ndim else float(found[0])


def draw_prototypes(p: ArrayLike, n: int, seed: int = 0) -> NDArray[np.int64]:
    """The prototypes (n,) that n independent draws show, by number.

    p (N,): probability of each, sum 1. Under one seed, fewer draws are the first of more, and a small change of p moves
    a draw at most to a prototype nearby (each draw is one uniform number through the inverse of the cumulated p).
    """
    share, n = _shares(p), check.whole("n", n, 0, MOST_DRAWS)
    uniform = np.random.default_rng(check.seed(seed)).random(n)
    last = int(np.flatnonzero(share)[-1])  # rounding must not reach a prototype of probability 0
    return np.searchsorted(np.cumsum(share), uniform, side="right").clip(0, last).astype(np.int64)


def first_hits(draws: ArrayLike) -> NDArray[np.bool_]:
    """Which of the draws (n,) show a prototype that none before has shown; their running sum is the number covered."""
    expected = "the number of the prototype that each draw shows (n,): whole ones"
    shown = check.array("draws", draws, 1, expected)
    if shown.size and shown.dtype.kind == "f":
        raise check.refuse("draws", draws, expected)
    found = np.zeros(len(shown), bool)
    found[np.unique(shown, return_index=True)[1]] = True
    return found


def _shares(p: ArrayLike) -> NDArray[np.float64]:
    expected = "the probability of each prototype (N,): none negative, sum 1"
    share = check.array("p", p, 1, expected).astype(np.float64)
    if not share.size or not np.isfinite(share).all() or (share < 0).any() or abs(share.sum() - 1) > 1e-6:
        raise check.refuse("p", p, expected)
    return share
