"""A reader's own labels, class names and counts, in whatever form they come, as class numbers from 0 to k - 1."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from . import check
from .check import shown, suggest, to_array

LABELS = "whole numbers, texts, booleans or one-hot rows, one label an image"


def flat(name: str, value: Any, k: int | None = None) -> np.ndarray:
    """Labels (n,) as int64, bool or objects (texts and the like); one-hot rows (n, k) and columns (n, 1) made flat.

    ValueError where a label is missing (None, NaN), is a fraction, or a row is not one-hot.
    """
    found = _as_array(name, value)
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim == 2 and found.dtype.kind in "biuf" and k in (None, found.shape[1]):
        one = (found == 1) | (found == 0)
        if not (one.all() and (found.sum(1, dtype=np.float64) == 1).all()):
            raise ValueError(
                f"{name}: expected {LABELS}, got rows ({', '.join(map(str, found.shape))}) that are not one-hot; of "
                "soft labels, or several a row, decide for one: .argmax(1)"
            )
        return found.argmax(1).astype(np.int64)
    if found.ndim != 1:
        raise ValueError(f"{name}: expected {LABELS}, got the shape {found.shape}{_of(k)}")
    if found.dtype.kind == "f":
        missing = np.flatnonzero(~np.isfinite(found))
        if missing.size:
            raise ValueError(f"{name}: no label at position {missing[0]} ({found[missing[0]]}); leave such rows out")
        if (found != np.round(found)).any():
            wrong = found[found != np.round(found)][0]
            raise ValueError(f"{name}: expected {LABELS}, got {wrong} ({found.dtype}); classes have whole numbers")
    return found if found.dtype.kind in "bO" else found.astype(np.int64)


def _of(k: int | None) -> str:
    return "" if k is None else f" for {k} classes"


def _as_array(name: str, value: Any) -> np.ndarray:
    """An array of whole numbers, floats, booleans, or objects that are all texts or the like."""
    if isinstance(value, (list, tuple)) and any(isinstance(one, (str, bytes)) for one in value):
        found = np.empty(len(value), object)  # numpy would make texts of the numbers among them
        for i, one in enumerate(value):
            found[i] = one
    else:
        try:
            found = to_array(value, copy=False)
        except Exception:  # rows of several lengths, tensors without data, and whatever else is no array
            raise check.refuse(name, value, LABELS) from None
    if isinstance(value, np.ma.MaskedArray) and np.ma.getmaskarray(value).any():
        raise check.refuse(name, value, f"{LABELS}, none of them masked")
    if found.dtype.kind == "S":
        found = np.char.decode(found, "utf-8")
    if found.dtype.kind in "UmM":
        found = found.astype(object)
    if found.dtype.kind not in "biufO" or found.ndim == 0:
        raise check.refuse(name, value, LABELS)
    return _objects(name, found) if found.dtype.kind == "O" else found


def _objects(name: str, found: np.ndarray) -> np.ndarray:
    """Objects that are all whole numbers, or all booleans, in a type of their own; bytes as text; none missing."""
    values = [one.decode() if isinstance(one, bytes) else check.plain(one) for one in found.ravel().tolist()]
    for i, one in enumerate(values):
        if one is None or type(one).__name__ in ("NAType", "NaTType") or (isinstance(one, float) and one != one):
            raise ValueError(f"{name}: no label at position {i} ({shown(one)}); leave such rows out")
        if not isinstance(one, (str, bool, int, float)) and (hasattr(one, "shape") or type(one).__hash__ is None):
            raise ValueError(f"{name}: expected {LABELS}, got {shown(one)} at position {i}")
    for kind, dtype in ((bool, np.bool_), (int, np.int64), (float, np.float64)):
        if values and all(type(one) is kind for one in values):
            return np.array(values, dtype).reshape(found.shape)
    clean = np.empty(len(values), object)
    clean[:] = values
    return clean.reshape(found.shape)


def kept(labels: np.ndarray, ignore: Any) -> np.ndarray:
    """Which rows (n,) have another label than `ignore`; None: all."""
    if ignore is None:
        return np.ones(len(labels), bool)
    return np.array([one != ignore for one in labels.tolist()], bool) if labels.dtype == object else labels != ignore


def checked_ignore(ignore: Any) -> Any:
    """The label of rows that are left out: None, a whole number, or a text."""
    if ignore is None or isinstance(ignore, str):
        return ignore
    try:
        return check.whole("ignore", ignore, None)
    except ValueError:
        raise check.refuse("ignore", ignore, "the label of rows to leave out, such as -100, or None") from None


def names_of(class_names: Any, k: int | None = None) -> list[Any] | None:
    """Names (k,) as they were given: texts, or other labels, or a dict of them and their class numbers.

    ValueError for anything but k different ones.
    """
    if class_names is None:
        return None
    found = class_names.tolist() if hasattr(class_names, "tolist") else class_names
    if isinstance(found, Mapping):  # number -> name, as configurations have it, or name -> number, as torchvision does
        turned = {number: name for name, number in found.items() if isinstance(number, int)}
        by_number = turned if set(turned) == set(range(len(found))) else found
        found = [by_number.get(j) for j in range(len(found))]
    names = [check.plain(one) for one in found] if isinstance(found, (list, tuple, range)) else []
    if None in names or len(names) < 2 or k not in (None, len(names)) or len({str(one) for one in names}) < len(names):
        number = "two or more" if k is None else k
        raise check.refuse("class_names", class_names, f"{number} different names, in the order of the logits")
    return names


@dataclass(frozen=True)
class Classes:
    """The names of the classes, and which number a label has.

    first: the whole number of the first class; table: the number of each label that is looked up by what it is.
    """

    names: list[str]
    first: int = 0
    table: Mapping[Any, int] = field(default_factory=dict)
    by_name: bool = False  # whole numbers too are looked up
    unsure: bool = False  # no label is a whole number, so nothing says how one is meant

    @property
    def k(self) -> int:
        return len(self.names)

    def numbers(self, name: str, labels: np.ndarray) -> np.ndarray:
        """Class numbers (n,), int64, of labels that `flat` has made."""
        if labels.dtype != object and not self.by_name:
            return labels.astype(np.int64) - self.first
        try:
            return np.array([self.table[one] for one in labels.tolist()], np.int64)
        except KeyError as error:
            raise self._strange(name, error.args[0]) from None

    def number(self, name: str, label: Any) -> int:
        """The number of one label, a key of a mapping."""
        label = check.plain(label)
        if isinstance(label, (int, np.integer)) and not self.by_name and 0 <= label - self.first < self.k:
            if self.unsure:
                _ask_which(name, [int(label)], self.names, self.first)
            return int(label) - self.first
        if label not in self.table and str(label) not in self.table:
            raise self._strange(name, label)
        return self.table[label if label in self.table else str(label)]

    def _strange(self, name: str, label: Any) -> ValueError:
        near, first = suggest(label, self.names), _first_of(self.names)
        return ValueError(f"{name}: {label!r} is no class{near}; the {self.k} classes are {first}")


def learn(
    name: str,
    labels: Sequence[np.ndarray],
    k: int | None,
    class_names: Any,
    columns: bool = False,
    by_place: bool = False,
) -> Classes:
    """Which classes there are, from all labels together (arrays that `flat` has made) and the names, if any.

    k: the number of classes, where it is known otherwise. columns: the names are those of a table's columns, so a whole
    number that is one of them means that column. by_place: the names are those of a data set, which numbers them from
    0; labels that are names themselves go before. Says once, as a UserWarning, what it had to take for granted.
    """
    if by_place and class_names is not None:
        class_names = None if any(one.dtype.kind in "bO" for one in labels) else class_names
        if class_names is not None and len(class_names) != k:
            raise ValueError(
                f"class_names: the data set of the {name} has {len(class_names)} classes ({shown(class_names)}), but "
                f"there are {k} logits; pass class_names, all of them in the order of the logits"
            )
    given = names_of(class_names, k)
    known = k if given is None else len(given)
    if known not in (None, 2) and any(one.dtype == bool for one in labels):
        raise ValueError(f"{name}: expected {LABELS}; True and False are two classes, but there are {known}")
    texts = [one for one in labels if one.dtype == object]
    whole = np.unique(np.concatenate([one.astype(np.int64) for one in labels if one.dtype != object] or [_NONE]))
    if given is None and texts:
        given = _sorted_names(name, np.concatenate(texts).tolist(), k)
        if whole.size:
            raise ValueError(
                f"{name}: some labels are texts, others numbers; pass class_names in the order of the logits"
            )
    if given is None:
        k = _number(name, whole) if k is None else k
        first = _first(name, whole, k, None)
        names = [str(j + first) if first else str(j) for j in range(k)]
        if k == 2 and all(one.dtype == bool for one in labels):
            names = ["False", "True"]
        return Classes(names, first, {one: j for j, one in enumerate(names)})
    names = [str(one) for one in given]
    table = {**{one: j for j, one in enumerate(names)}, **{one: j for j, one in enumerate(given)}}
    numbers = all(isinstance(one, (int, np.integer)) for one in given)  # or all booleans
    if columns and all(one.isdigit() for one in names):
        places = {int(one): j for j, one in enumerate(names)}
        table, numbers = {**table, **places}, set(whole.tolist()) <= set(places)
    if numbers:
        return Classes(names, 0, table, by_name=True)
    if not whole.size or (by_place and whole[0] >= 0 and whole[-1] < len(names)):
        return Classes(names, 0, table, unsure=not whole.size)
    return Classes(names, _first(name, whole, len(names), names), table)


_NONE = np.zeros(0, np.int64)


def _number(name: str, whole: np.ndarray) -> int:
    """How many classes there are if nothing but the labels says so."""
    if not whole.size:
        raise ValueError(f"{name}: it holds no label")
    return max(int(whole.max()) + (0 if whole.min() == 1 else 1), 2)


def _first(name: str, whole: np.ndarray, k: int, names: list[str] | None) -> int:
    """0, or 1 where the classes are numbered from 1 to k."""
    if not whole.size:
        return 0
    low, high = int(whole[0]), int(whole[-1])
    expected = f"whole numbers from 0 to {k - 1}, or from 1 to {k}"
    if low < 0:
        raise ValueError(f"{name}: expected {expected}, got {low}; if it marks images without a label, ignore={low}")
    if high > k or (low == 0 and high == k):
        raise ValueError(
            f"{name}: expected {expected}, as there are {k} classes, got {low} to {high}; pass class_names as these "
            "numbers, in the order of the logits, or number the classes anew"
        )
    first = int(high == k)
    of_folders = not low and names == sorted(names or ())  # whose loader numbers them in this order, from 0
    if names and not of_folders and all(str(one) in names for one in whole):
        _ask_which(name, whole.tolist(), names, first)
    if first:
        warnings.warn(f"{name}: the classes are numbered from 1 to {k}; 1 is taken for the first", stacklevel=4)
    elif low:
        said = f"{name}: no label is 0, and none is {k}; the classes are taken to be numbered from 0"
        numbers = f"pass class_names=range(1, {k + 1}), else class_names=range({k})"
        one = "subtract 1 from them" if names else numbers
        warnings.warn(f"{said}. If they are numbered from 1, {one}", stacklevel=4)
    return first


def _ask_which(name: str, whole: Sequence[int], names: list[str], first: int) -> None:
    """ValueError where a whole number is the place of one class and the name of another."""
    for one in whole:
        if str(one) in names and names.index(str(one)) != one - first:
            raise ValueError(
                f"{name}: is {one} the class {names[one - first]!r}, by its place, or {str(one)!r}, by its name? Pass "
                "class_names as whole numbers to have labels looked up among them, or the labels as texts "
                "([class_names[j] for j in labels] where they are places)"
            )


def _first_of(names: Sequence[Any]) -> str:
    return ", ".join(map(str, names[:5])) + (", ..." if len(names) > 5 else "")


def _sorted_names(name: str, values: list[Any], k: int | None) -> list[Any]:
    """The names of the classes where only the labels say them: sorted, as torchvision's ImageFolder does."""
    try:
        found = sorted(set(values))
    except TypeError:
        raise ValueError(f"{name}: labels of several kinds; pass class_names in the order of the logits") from None
    number = "two or more" if k is None else k
    if len(found) < 2 or k not in (None, len(found)):
        raise ValueError(
            f"{name}: it names {len(found)} classes ({_first_of(found)}), expected {number}; pass "
            "class_names, all of them in the order of the logits"
        )
    if all(isinstance(one, str) and one.isdigit() for one in found) and found != sorted(found, key=int):
        raise ValueError(f"{name}: are these digits in the order of numbers or of texts? Pass class_names")
    if k is not None:  # otherwise nothing depends on their order
        warnings.warn(f"{name}: the labels are names; their order is taken to be {_first_of(found)}", stacklevel=4)
    return found


def counts_of(counts: Any, classes: Classes) -> np.ndarray:
    """Training images of each class (k,), int64: numbers, or a mapping or pandas Series by label."""
    k = classes.k
    expected = f"the training images of each of the {k} classes: whole numbers, none negative"
    counts = check.by_label("counts", counts)
    if isinstance(counts, Mapping):
        row: list[Any] = [0] * k
        for key, value in counts.items():
            row[classes.number("counts", key)] += check.whole(f"counts[{key!r}]", _whole(value))
        counts = row
    try:
        found = np.asarray(counts.cpu() if isinstance(counts, Tensor) else counts)
        whole = found.astype(np.float64)
    except (TypeError, ValueError, AttributeError):
        raise check.refuse("counts", counts, expected) from None
    if whole.shape != (k,) or found.dtype.kind not in "iuf" or not (whole >= 0).all() or not (whole < 2**53).all():
        raise check.refuse("counts", counts, expected)
    if (whole != np.round(whole)).any() or not whole.any():
        raise check.refuse("counts", counts, expected)
    return whole.astype(np.int64)


def keys_of(counts: Any, labels: np.ndarray) -> list[np.ndarray]:
    """The labels that counts are given for, as an array like these labels; none where they are written otherwise."""
    keys = list(found) if isinstance(found := check.by_label("counts", counts), Mapping) else []
    if not keys:
        return []
    keys = flat("counts", keys)
    return [keys] if (keys.dtype == object) == (labels.dtype == object) else []


def _whole(value: Any) -> Any:
    """9.0 as 9, as tables write it."""
    value = check.plain(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value
