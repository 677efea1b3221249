"""Identities never trained on: are the nearest images of the same one (retrieval), are two images (verification)?"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import check
from .scores import Floats

Ints = NDArray[np.int64]
DISTANCES = ("cosine", "euclidean")
_CELLS = 2**23  # similarities held at once: 64 MiB in float64
_TRIES = 10  # draws for each pair wanted, before the pairs that are left are listed
_STEP = 1e-9  # similarities that differ by less, as a share of their scale, are ties: a rounding must not rank images


class Retrieval(NamedTuple):
    """What `retrieval` found: the share of queries with a right image among the first k, and mean average precision.

    Each query's own values stand in `hits` (q, number of ranks) and `average_precision` (q,), NaN for a query whose
    identity is not in its gallery; the means leave it out.
    """

    ranks: tuple[int, ...]
    cmc: tuple[float, ...]
    map: float
    hits: Floats
    average_precision: Floats

    @property
    def rank1(self) -> float:
        """The share of queries whose nearest image is of the same identity."""
        return self.at(1)

    def at(self, rank: int) -> float:
        """The share of queries with an image of the same identity among the first `rank`."""
        return self.cmc[self.ranks.index(check.choice("rank", rank, self.ranks))]


class Verification(NamedTuple):
    """Accuracy over pairs, the threshold chosen on all folds but one: its mean and standard error over the folds."""

    accuracy: float
    error: float
    by_fold: Floats
    thresholds: Floats


def retrieval(
    queries: Any, query_identities: Any, gallery: Any = None, gallery_identities: Any = None, *,
    itself: Any = None, distance: str = "cosine", ranks: Sequence[int] = (1, 5),
) -> Retrieval:  # fmt: skip
    """Rank the gallery for each query, the nearest first: rank-k (CMC) and mean average precision.

    queries (q, d), gallery (g, d)  features. Without a gallery the queries are each other's
    query_identities (q,)           and gallery_identities (g,): whole numbers or names
    itself      (q,) the row of the gallery that is the query's own image, -1 for none: it is left out
    distance    "cosine" (the angle alone), or "euclidean" (of the features as they are; scale them to length 1 for L2
                on normalised features, whose order is that of the cosine)
    ranks       the k of rank-k
    Images at the same distance have no order of their own: rank-k and average precision are then the mean over all
    orders of such ties, so that features that are all alike score what luck does. A query whose identity is not in its
    gallery has no right answer, and is left out of the means (NaN if none has one).
    Source: average precision with ties, McSherry and Najork 2008, eq. (6).
    """
    q, g, own = _two_sides(queries, gallery, itself)
    who, whose = _identities(query_identities, gallery_identities, len(q), None if gallery is None else len(g))
    check.choice("distance", distance, DISTANCES)
    try:
        wanted = tuple(check.whole("ranks", rank, 1) for rank in ranks)
    except (TypeError, ValueError):
        wanted = ()
    if not wanted or isinstance(ranks, (Mapping, bytes)):
        raise check.refuse("ranks", ranks, "the k of rank-k, whole numbers from 1 on, such as (1, 5)")
    rows_of = _rows_by_identity(who, whose)
    hits, precision = np.full((len(q), len(wanted)), np.nan), np.full(len(q), np.nan)
    for start, alike in _similarities(q, g, distance):
        for i, row in enumerate(alike, start):
            right = rows_of.get(who[i], _NONE)
            if own[i] >= 0:
                right = right[right != own[i]]
            if right.size:
                found = np.sort(row[right])[::-1]
                if own[i] >= 0:
                    row[own[i]] = -np.inf
                row.sort()
                hits[i], precision[i] = _one_query(row, found, wanted, len(row) - (own[i] >= 0))
    with_answer = ~np.isnan(precision)
    if not with_answer.any():
        return Retrieval(wanted, (float("nan"),) * len(wanted), float("nan"), hits, precision)
    cmc = tuple(float(share) for share in hits[with_answer].mean(0))
    return Retrieval(wanted, cmc, float(precision[with_answer].mean()), hits, precision)


def _one_query(row: Floats, right: Floats, ranks: tuple[int, ...], size: int) -> tuple[list[float], float]:
    """Rank-k and average precision: row (g,) rising similarities, right (r,) falling ones of the query's identity."""
    level, first, of_level = np.unique(-right, return_index=True, return_counts=True)  # groups of ties, nearest first
    upto = len(row) - np.searchsorted(row, -level, side="left")  # images at this level or nearer
    before = len(row) - np.searchsorted(row, -level, side="right")  # images that are nearer
    # Place i of t tied images, g of them right, after c images of which r were right, expects a precision of
    # (g / t) (r + 1 + (i - 1) (g - 1) / (t - 1)) / (c + i).
    total = 0.0
    for c, t, r, g in zip(before, upto - before, first, of_level, strict=True):
        i = np.arange(1, t + 1)
        total += float((g / t * (r + 1 + (i - 1) * (g - 1) / max(t - 1, 1)) / (c + i)).sum())
    c, t, g = int(before[0]), int(upto[0] - before[0]), int(of_level[0])
    return [_hit(min(rank, size) - c, t, g) for rank in ranks], total / len(right)


def _hit(places: int, tied: int, right: int) -> float:
    """The chance that one of the right images is among the first places of a group of ties."""
    if places <= 0:
        return 0.0
    wrong, missed = tied - right, 1.0
    for i in range(min(places, tied)):
        missed *= max(wrong - i, 0) / (tied - i)
        if missed == 0.0:
            break
    return 1.0 - missed


def _similarities(q: Floats, g: Floats, distance: str) -> Iterator[tuple[int, Floats]]:
    """Similarities (some queries, g), larger is nearer, on a grid that makes ties of roundings."""
    if distance == "cosine":
        q, g, scale = _unit(q), _unit(g), 1.0
    else:
        top = max(_largest(q), _largest(g))
        q, g = q / top, g / top  # the order is the same, and no square is beyond the numbers that there are
        centre = g.mean(0)  # what all images share says nothing, and would cost digits
        q, g = q - centre, g - centre
        long_q, long_g = (q * q).sum(1), (g * g).sum(1)
        scale = max(float(long_q.max()), float(long_g.max())) or 1.0
    rows = max(1, _CELLS // len(g))
    for start in range(0, len(q), rows):
        alike = q[start : start + rows] @ g.T
        if distance == "euclidean":
            alike *= 2.0
            alike -= long_g
            alike -= long_q[start : start + rows, None]
        alike /= scale * _STEP
        yield start, np.rint(alike, out=alike)


def _unit(x: Floats) -> Floats:
    x = x / _largest(x, 1)  # squares of very large numbers are infinite, and of very small ones nothing
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(length > 0.0, length, 1.0)  # a feature of length 0 has no direction: similarity 0 to all


def _largest(x: Floats, axis: int | None = None) -> Any:
    """The largest absolute value, of each row with axis=1 (n, 1); 1 where all are 0."""
    top = np.abs(x).max(axis, keepdims=axis is not None)
    return np.where(top > 0.0, top, 1.0)


def _two_sides(queries: Any, gallery: Any, itself: Any) -> tuple[Floats, Floats, Ints]:
    q = _features("queries", queries)
    if gallery is None:
        if itself is not None:
            raise ValueError("itself: without a gallery the queries are each other's, and it is known")
        return q, q, np.arange(len(q))
    g = _features("gallery", gallery)
    if g.shape[1] != q.shape[1]:
        raise ValueError(f"queries and gallery must have features of one length, not {q.shape[1]} and {g.shape[1]}")
    if itself is None:
        return q, g, np.full(len(q), -1)
    expected = f"for each query its own row of the gallery (q,), 0..{len(g) - 1}, or -1 where it is not in it"
    own = check.array("itself", itself, 1, expected)
    if own.shape != (len(q),) or own.dtype.kind not in "iu" or (own < -1).any() or (own >= len(g)).any():
        raise check.refuse("itself", itself, expected)
    return q, g, own.astype(np.int64)


def _features(name: str, value: Any) -> Floats:
    expected = "features (n, d): finite numbers, at least one row"
    found = check.array(name, value, 2, expected).astype(np.float64)
    if not found.size or not np.isfinite(found).all():
        raise check.refuse(name, value, expected)
    return found


def _identities(of_queries: Any, of_gallery: Any, q: int, g: int | None) -> tuple[NDArray[Any], NDArray[Any]]:
    who = _names("query_identities", of_queries, q)
    if g is None:
        if of_gallery is not None:
            raise ValueError("gallery_identities: pass the gallery as well")
        return who, who
    if of_gallery is None:
        raise ValueError("gallery_identities: expected the identity of each image of the gallery (g,)")
    whose = _names("gallery_identities", of_gallery, g)
    if (who.dtype.kind in "US") != (whose.dtype.kind in "US"):
        raise ValueError("query_identities and gallery_identities: one holds names, the other numbers")
    return who, whose


def _names(name: str, value: Any, n: int) -> NDArray[Any]:
    expected = f"the identity of each image ({n},): whole numbers or texts"
    try:
        found = check.to_array(value)
    except Exception:
        raise check.refuse(name, value, expected) from None
    if found.dtype.kind == "O" and all(isinstance(one, str) for one in found.ravel()):
        found = found.astype(str)
    if found.shape != (n,) or found.dtype.kind not in "iuUS":
        raise check.refuse(name, value, expected)
    return found


_NONE = np.empty(0, dtype=np.int64)


def _rows_by_identity(who: NDArray[Any], whose: NDArray[Any]) -> dict[Any, Ints]:
    order = np.argsort(whose, kind="stable")
    names, first = np.unique(whose[order], return_index=True)
    return dict(zip(names.tolist(), np.split(order, first[1:]), strict=True))


# -------------------------------------------------------------------------------------------------------- verification
class ROC(NamedTuple):
    """Falling thresholds (t,) of the similarity, and the shares of different and same pairs at or above each."""

    threshold: Floats
    far: Floats
    tar: Floats

    def tar_at(self, far: float) -> float:
        """The largest share of same pairs accepted where at most the share `far` of different pairs is.

        Nothing is interpolated: with fewer than 1/far different pairs it is the share with none of them accepted.
        """
        limit = check.number("far", far, 0.0, 1.0)
        return float(self.tar[self.far <= limit].max())


def most_pairs(identities: NDArray[Any]) -> int:
    """How many pairs `draw_pairs` can draw of these identities (n,): twice those of one, or of two, whichever fewer."""
    often = np.unique(identities, return_counts=True)[1].astype(int).tolist()
    same = sum(n * (n - 1) // 2 for n in often)
    return 2 * min(same, (sum(often) ** 2 - sum(n * n for n in often)) // 2)


def draw_pairs(identities: Any, n: int, seed: int = 0) -> tuple[Ints, NDArray[np.bool_]]:
    """Pairs of images to verify: the rows (n, 2), and whether each pair is of one identity (n,).

    Half of them (n even) are of one identity: an identity drawn evenly among those with two images or more, then two
    of its images; half are of two identities drawn evenly, one image of each. No pair comes twice, same and different
    ones alternate, so that each of ten consecutive folds has both. Raises ValueError where there are not enough.
    """
    found = check.to_array(identities)
    who = _names("identities", identities, len(found) if found.ndim else 0)
    if check.whole("n", n, 2) % 2:
        raise check.refuse("n", n, "an even number of pairs: half are of one identity")
    rows = list(_rows_by_identity(who, who).values())
    several = [of for of in rows if len(of) > 1]
    if (most := most_pairs(who)) < n:
        raise check.refuse("n", n, f"at most {most:,}: these identities have no more pairs")
    rng = np.random.default_rng(check.seed(seed))

    def one() -> tuple[int, int]:
        first, second = rng.choice(several[rng.integers(len(several))], 2, replace=False)
        return int(first), int(second)

    def two() -> tuple[int, int]:
        first, second = (rows[i] for i in rng.choice(len(rows), 2, replace=False))
        return int(rng.choice(first)), int(rng.choice(second))

    pairs = np.empty((n, 2), dtype=np.int64)
    for offset, draw in enumerate((one, two)):
        known: dict[tuple[int, int], None] = {}
        for _ in range(_TRIES * n):
            if len(known) == n // 2:
                break
            first, second = draw()
            known[min(first, second), max(first, second)] = None
        if len(known) < n // 2:
            known |= dict.fromkeys(_other_pairs(rows, known, n // 2 - len(known), draw is one, rng))
        pairs[offset::2] = list(known)
    return pairs, np.arange(n) % 2 == 0


def _other_pairs(
    rows: list[Ints], known: Collection[tuple[int, int]], n: int, same: bool, rng: np.random.Generator
) -> list[tuple[int, int]]:
    """n further pairs out of all that are left, each as likely as before, without drawing known ones in vain.

    rows: those of each identity. All pairs of one identity, or of two, share one chance.
    """
    left, chance = [], []
    for first, second in ((of, of) for of in rows) if same else itertools.combinations(rows, 2):
        between = itertools.combinations(first, 2) if same else itertools.product(first, second)
        every = [(min(pair), max(pair)) for pair in between]
        fresh = [pair for pair in every if pair not in known]
        left += fresh
        chance += [1.0 / len(every)] * len(fresh)
    weight = np.array(chance)
    return [left[i] for i in rng.choice(len(left), n, replace=False, p=weight / weight.sum())]


def similarity(first: Any, second: Any, distance: str = "cosine") -> Floats:
    """How alike the images of each pair are (n,): the cosine, or minus the Euclidean distance. first, second (n, d)."""
    check.same_order(first=first, second=second)
    a, b = _features("first", first), _features("second", second)
    if a.shape != b.shape:
        raise ValueError(f"first and second must have one shape, not {a.shape} and {b.shape}")
    if check.choice("distance", distance, DISTANCES) == "cosine":
        return np.einsum("nd,nd->n", _unit(a), _unit(b))
    top = max(_largest(a), _largest(b))
    with np.errstate(over="ignore"):
        found = -np.linalg.norm(a / top - b / top, axis=1) * top
    if not np.isfinite(found).all():
        raise check.refuse(
            "first", first, "features whose distance is a finite number; divide all of them by the largest"
        )
    return found


def verification(similarities: Any, same: Any, folds: int = 10) -> Verification:
    """Verify as on Labeled Faces in the Wild: on each fold with the threshold that is best on the others.

    similarities (n,) of the pairs, larger is more alike; same (n,) whether a pair is of one identity; folds of
    consecutive pairs, as they are listed. A pair is taken for the same at or above the threshold. Of thresholds that
    are equally good the middle one is taken. The error is the standard deviation over the folds
    (n - 1), divided by the root of their number.
    Source: Huang et al. 2007 (Labeled Faces in the Wild), section 3.
    """
    s, y = _pairs(similarities, same)
    number = check.whole("folds", folds, 2, len(s))
    scores, thresholds = np.empty(number), np.empty(number)
    for i, held in enumerate(np.array_split(np.arange(len(s)), number)):
        rest = np.ones(len(s), dtype=bool)
        rest[held] = False
        thresholds[i] = _best_threshold(s[rest], y[rest])
        scores[i] = float(((s[held] >= thresholds[i]) == y[held]).mean())
    return Verification(float(scores.mean()), float(scores.std(ddof=1) / number**0.5), scores, thresholds)


def _best_threshold(s: Floats, y: NDArray[np.bool_]) -> float:
    """Half-way between two neighbouring similarities, where most pairs are told right."""
    level, of = np.unique(s, return_inverse=True)
    same, different = np.bincount(of[y], minlength=len(level)), np.bincount(of[~y], minlength=len(level))
    # right[j]: the levels from j on are taken for the same
    right = np.append(same[::-1].cumsum()[::-1], 0) + np.append(0, different.cumsum())
    ends = np.concatenate([[level[0] - 1.0], level, [level[-1] + 1.0]])
    best = np.flatnonzero(right == right.max())
    middle = best[len(best) // 2]
    return float((ends[middle] + ends[middle + 1]) / 2)


def roc(similarities: Any, same: Any) -> ROC:
    """Receiver operating characteristic of pairs: the share of same pairs accepted, over that of different ones.

    similarities (n,), same (n,) as in `verification`; the first threshold is infinite and accepts none.
    """
    from sklearn.metrics import roc_curve

    s, y = _pairs(similarities, same)
    far, tar, threshold = roc_curve(y, s, drop_intermediate=False)
    return ROC(threshold, far, tar)


def _pairs(similarities: Any, same: Any) -> tuple[Floats, NDArray[np.bool_]]:
    check.same_order(similarities=similarities, same=same)
    expected = "how alike each pair is (n,): finite numbers"
    s = check.array("similarities", similarities, 1, expected).astype(np.float64)
    if not s.size or not np.isfinite(s).all():
        raise check.refuse("similarities", similarities, expected)
    wanted = f"for each pair whether it is of one identity ({len(s)},), True or False, with some of both"
    y = check.to_array(same)
    if y.shape != s.shape or not (y.dtype == bool or (y.dtype.kind in "iu" and np.isin(y, (0, 1)).all())):
        raise check.refuse("same", same, wanted)
    y = y.astype(bool)
    if y.all() or not y.any():
        raise check.refuse("same", same, wanted)
    return s, y
