"""How many images each class keeps: the profiles of a long tail, exact to the unit."""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from .. import check
from ..files import canonical

PROFILES = ("exp", "step", "pareto")
MOST_IMAGES = 10**12  # of one class; floats still tell neighbours apart there
PARETO_ALPHA = 6  # the shape of ImageNet-LT (Liu et al., CVPR 2019)


def profile_counts(n_max: int, k: int, ratio: float, profile: str = "exp") -> list[int]:
    """Images per class, most frequent first, each n_max * mu_i cut down to a whole number, with f = 1 / ratio.

    exp:     mu_i = f^(i / (k - 1))                                     a straight line on a log axis
    step:    mu_i = 1 for the first floor(k / 2) classes, f for the rest
    pareto:  mu_i = x_i^-(alpha + 1), alpha = 6, x_i evenly spaced from 1 to ratio^(1 / (alpha + 1))
             the density of a Pareto law; falls faster than exp at first and slower at the end

    n_max: images of the largest class; k: classes; ratio = largest / smallest >= 1. A count can come out as 0. Where
    n_max * mu_i is a whole number, it is the count: rounding in floating point takes no image away.
    Raises ValueError for a ratio below 1 or an unknown profile.
    Source: exp, Cui et al. (CVPR 2019); step, Cao et al. (NeurIPS 2019). pareto: alpha is that of ImageNet-LT (Liu et
    al., CVPR 2019); that the density is read at even steps and scaled to a given ratio is our reading.
    """
    n_max, k = check.whole("n_max", n_max, 1, MOST_IMAGES), check.whole("k", k, 1, check.MOST_CLASSES)
    ratio, profile = check_ratio(ratio), check.choice("profile", profile, PROFILES)
    exact = Fraction(ratio).limit_denominator(10**6)  # 100 / 3 as a float means 100 / 3
    exact = exact if float(exact) == ratio else Fraction(ratio)
    steps = max(k - 1, 1)
    if profile == "exp":
        return [_exponential(n_max, ratio, exact, i, steps) for i in range(k)]
    last = math.floor(n_max / exact)
    if profile == "step":
        return [n_max if i < k // 2 or k == 1 else last for i in range(k)]
    reach = _root(exact, PARETO_ALPHA + 1) - 1
    inner = [math.floor(n_max * (1 + reach * Fraction(i, steps)) ** -(PARETO_ALPHA + 1)) for i in range(1, k - 1)]
    return [n_max, *inner, last][:k]


def _exponential(n_max: int, ratio: float, exact: Fraction, i: int, steps: int) -> int:
    """The whole part of n_max * ratio^(-i / steps)."""
    # Literally the papers' arithmetic in float64: exp(log) re-arrangements miscount by one or two images.
    value = n_max * (1 / ratio) ** (i / steps)
    near = round(value)
    if abs(value - near) > 1e-9 * max(near, 1):
        return int(value)
    # Too near to a whole number for floats to tell the side: compare powers, which whole numbers do exactly.
    i, steps = i // math.gcd(i, steps), steps // math.gcd(i, steps)
    reached = n_max**steps * exact.denominator**i >= near**steps * exact.numerator**i
    return near if reached else near - 1


def _root(value: Fraction, degree: int) -> Fraction | float:
    """The root of a fraction: as a fraction where there is one, so that what follows is exact, else as a float."""
    root = Fraction(*(round(part ** (1 / degree)) for part in value.as_integer_ratio()))
    return root if root**degree == value else float(value) ** (1 / degree)


def check_ratio(ratio: float) -> int | float:
    """The ratio in its one spelling: a whole one as int."""
    try:
        return canonical(check.number("ratio", ratio, 1))
    except ValueError:
        expected = "largest / smallest class >= 1 (1 is balanced, 100 is a long tail)"
        raise check.refuse("ratio", ratio, expected) from None


def share_or_number(name: str, value: Any, expected: str) -> float | int:
    """How much is held out: a share below 1 (float), or a whole number of each class (int). ValueError for anything
    else, and for 1.0, which could be all of them or one."""
    try:
        found = canonical(check.number(name, value, 0))
    except ValueError:
        raise check.refuse(name, value, expected) from None
    if isinstance(found, float) and found > 1 or found == 1 and isinstance(check.plain(value), float):
        raise check.refuse(name, value, expected)
    return found


def draw(
    pool: Sequence[np.ndarray], order: np.ndarray, class_names: Sequence[str], ratio: float | None, n_max: int | None,
    profile: str, seed: int, validation: Any,
) -> tuple[list[np.ndarray], int | None]:  # fmt: skip
    """The training rows of each rank, a long tail drawn by seed from the rows of each class (pool), and n_max."""
    left = [len(pool[c]) for c in order]
    counts = left
    if ratio is not None:
        n_max = _largest(left, ratio, profile) if n_max is None else n_max
        counts = profile_counts(n_max, len(order), ratio, profile)
    for c, count, available in zip(order, counts, left, strict=True):
        if count < 1:
            todo = "; hold out fewer for validation and test, or remove the class"
            if ratio is not None:
                todo = f": ratio={ratio:g} with n_max={n_max} cuts it to 0; pass a ratio below n_max, or a larger n_max"
            raise ValueError(f"class {class_names[c]!r} is left with no image{todo}")
        if count > available:
            raise ValueError(
                f"n_max={n_max} is too large: class {class_names[c]!r} needs {count:,} images and has {available:,}"
                f" left for training; pass n_max={_largest(left, ratio, profile)} or less, or hold out fewer images"
                f" (validation={validation if np.ndim(validation) == 0 else 'per class'})"
            )
    shuffled = (np.random.RandomState([seed, c]).permutation(pool[c]) for c in order)
    return [np.sort(rows[:count]) for rows, count in zip(shuffled, counts, strict=True)], n_max


def _largest(left: Sequence[int], ratio: float, profile: str) -> int:
    """The largest n_max that every class can serve, at least 1."""

    def served(n_max: int) -> bool:
        return all(c <= n for c, n in zip(profile_counts(n_max, len(left), ratio, profile), left, strict=True))

    low, high = 1, left[0] + 1  # served, and not; counts grow with n_max
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if served(middle) else (low, middle)
    return low
