"""How well each of many attributes is told: every value of it counts the same, however rare it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import check
from .scores import Floats

FREE = -1  # of a target that is not known


class AttributeScores(NamedTuple):
    """For each of the a attributes: recall of its values, their mean, and the share of images that are right.

    recall: a arrays (v_j,); balanced (a,), accuracy (a,). NaN where no image has the value, or is labelled at all; the
    mean of an attribute is that of the values that some image has. All NaN for a run that diverged.
    """

    recall: list[Floats]
    balanced: Floats
    accuracy: Floats

    @property
    def mean(self) -> float:
        """Mean balanced accuracy: the mean of `balanced` over the attributes that have test labels."""
        return _mean(self.balanced)


def attribute_scores(targets: Any, predicted: Any = None, values: Any = None) -> AttributeScores:
    """Balanced accuracy of each attribute.

        A_j = 1/v_j sum_v (images with value v that are told / images with value v),    mean A = 1/a sum_j A_j

    which of a binary attribute is (TP / P + TN / N) / 2. targets (n, a): the value of each image, whole numbers from 0,
    -1 where it is not known, such images are left out; predicted (n, a): what a network says; both may also be truth
    values or whole floats. values (a,): how many each attribute has (None: as many as occur, at least two). Or a run of
    `lt.train_attributes` alone. ValueError for anything else.
    Source: Huang et al. 2016; Dong et al. 2017, whose table on CelebA gives mean A in percent.
    """
    if hasattr(targets, "targets") and not hasattr(targets, "shape"):
        if not (hasattr(targets, "predicted") and hasattr(targets, "values")):  # a run on one label an image
            raise check.refuse("targets", targets, "a run of lt.train_attributes, or targets (n, a)")
        for name, value in (("predicted", predicted), ("values", values)):
            if value is not None:
                raise check.refuse(name, value, f"no {name} beside a run, which has its own")
        if getattr(targets, "status", "") == "diverged":  # its network says nothing that could be counted
            nan = np.full(len(targets.values), np.nan)
            return AttributeScores([np.full(len(of), np.nan) for of in targets.values], nan, nan.copy())
        targets, predicted, values = targets.targets, targets.predicted, [len(of) for of in targets.values]
    check.same_order(targets=targets, predicted=predicted)
    expected = "the value of each attribute of each image, whole numbers (n, a) from 0"
    true = _grid("targets", targets, f"{expected}, -1 where it is not known", FREE)
    said = _grid("predicted", predicted, expected, 0)
    if said.shape != true.shape:
        raise check.refuse("predicted", predicted, f"{expected}, as many as targets {true.shape}")
    sizes = _sizes(values, np.maximum(true, said).max(0, initial=1) + 1)
    recall, accuracy = [], np.full(len(sizes), np.nan)
    for j, size in enumerate(sizes):
        known = true[:, j] >= 0
        right = true[known, j][true[known, j] == said[known, j]]
        images, told = (np.bincount(of, minlength=size) for of in (true[known, j], right))
        recall.append(np.divide(told, images, out=np.full(size, np.nan), where=images > 0))
        accuracy[j] = right.size / known.sum() if known.any() else np.nan
    return AttributeScores(recall, np.array([_mean(one) for one in recall]), accuracy)


def _mean(values: Floats) -> float:
    """The mean of what is defined; NaN where nothing is."""
    found = values[~np.isnan(values)]
    return float(found.mean()) if found.size else float("nan")


def _grid(name: str, value: Any, expected: str, low: int) -> np.ndarray:
    """Numbers (n, a) of values, as int64. ValueError, saying what is wrong, for anything else."""
    try:
        found = value if isinstance(value, np.ma.MaskedArray) else check.to_array(value, copy=False)
    except Exception:  # what is no array: check.array refuses it
        found = np.empty(0)
    if found.dtype.kind == "b":  # truth values are what p > 0.5 gives
        value = found.astype(np.int8)
    elif found.dtype.kind not in "iuf":
        raise check.refuse(name, value, f"{expected}, not of type {found.dtype}")
    found = check.array(name, value, 2, expected)
    if not found.shape[1]:
        raise check.refuse(name, value, expected)
    wrong = found[~((found >= low) & (found < check.MOST_CLASSES) & (found == np.floor(found)))]
    if wrong.size:
        more = "; for probabilities of a binary attribute pass p > 0.5" if 0 < wrong[0] < 1 else ""
        raise check.refuse(name, value, f"{expected}, not {found.dtype} such as {wrong[0]}{more}")
    return found.astype(np.int64)


def _sizes(values: Any, seen: np.ndarray) -> list[int]:
    if values is None:
        return seen.tolist()
    expected = f"how many values each of the {len(seen)} attributes has, at least {', '.join(map(str, seen[:12]))}"
    listed = isinstance(values, Sequence | np.ndarray) and not isinstance(values, str | bytes) and np.ndim(values) == 1
    if not listed or len(values) != len(seen):
        raise check.refuse("values", values, expected)
    try:
        return [check.whole("values", one, int(least)) for one, least in zip(values, seen, strict=True)]
    except ValueError:
        raise check.refuse("values", values, expected) from None
