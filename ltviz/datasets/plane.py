"""Long-tailed points in the plane: classes whose borders can be seen, drawn again and again."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import check
from .profiles import check_ratio, profile_counts

Floats = NDArray[np.float64]

# Six round clouds of one width: four with room around them, and two that overlap in the middle. In the natural order
# these two are the rarest, as 8 and 9 are among the digits.
CENTRES = np.array([(-2.3, 1.4), (2.3, 1.5), (-2.2, -1.5), (2.2, -1.4), (0.6, 0.45), (-0.6, -0.45)])
WIDTH = 0.75  # standard deviation of each cloud, along either axis
ORDERS = ("seed", "natural")
MOST_POINTS = 400  # of one class
_TRAINING, _TEST = 0, 1  # streams of random numbers


class Plane(NamedTuple):
    """Points (n, 2) of classes y (n,), most frequent first; counts (k,); centres (k, 2), that of each class."""

    points: Floats
    targets: NDArray[np.int64]
    counts: NDArray[np.int64]
    centres: Floats


def plane(ratio: float = 50, n_max: int = 100, profile: str = "exp", seed: int = 0, class_order: str = "seed") -> Plane:
    """Training points of six classes in the plane: normal around each centre, with standard deviation 0.75.

    ratio: largest / smallest class; n_max: points of the largest; profile: "exp", "step" or "pareto". seed: draws the
    points, and with class_order="seed" also which cloud is how frequent; "natural": the two that overlap are rarest.
    A class has at least one point. Of one seed, fewer points of a cloud are always the first of more, so that a longer
    tail only takes points away. ValueError for a ratio below 1, an unknown profile or order, n_max outside 1..400.
    """
    counts = plane_counts(ratio, n_max, profile)
    order = _order(check.seed(seed), check.choice("class_order", class_order, ORDERS))
    points = np.concatenate([CENTRES[j] + _noise(seed, int(j))[:n] for j, n in zip(order, counts, strict=True)])
    return Plane(points, np.repeat(np.arange(len(counts)), counts), counts, CENTRES[order])


def plane_counts(ratio: float, n_max: int = 100, profile: str = "exp") -> NDArray[np.int64]:
    """Points of each class (k,), most frequent first, at least one each."""
    n_max = check.whole("n_max", n_max, 1, MOST_POINTS)
    return np.maximum(profile_counts(n_max, len(CENTRES), check_ratio(ratio), profile), 1)


def plane_test(n: int = 200) -> tuple[Floats, NDArray[np.int64]]:
    """Test points (6 n, 2), n of every cloud, always the same ones; and the number of their cloud (6 n,)."""
    n = check.whole("n", n, 1, 10_000)
    noise = np.random.default_rng(_TEST).normal(0.0, WIDTH, (len(CENTRES), n, 2))
    return (CENTRES[:, None] + noise).reshape(-1, 2), np.repeat(np.arange(len(CENTRES)), n)


def cloud_ranks(seed: int, class_order: str = "seed") -> NDArray[np.int64]:
    """The class of each cloud (k,), 0 the most frequent, as `plane` gives it under this seed."""
    return np.argsort(_order(check.seed(seed), check.choice("class_order", class_order, ORDERS)))


def _order(seed: int, class_order: str) -> NDArray[np.int64]:
    """The cloud of each class (k,)."""
    return np.random.default_rng(seed).permutation(len(CENTRES)) if class_order == "seed" else np.arange(len(CENTRES))


@functools.lru_cache(256)
def _noise(seed: int, cloud: int) -> Floats:
    return np.random.default_rng([_TRAINING, seed, cloud]).normal(0.0, WIDTH, (MOST_POINTS, 2))
