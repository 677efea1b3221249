"""Arguments: the one place that says whether a value has the right type and range, and what to do if it has not.

Every check takes the argument's name and value, returns the value as plain Python, and raises `ValueError` otherwise:
"name=value: expected ...". numpy's numbers pass; True is no number, "3" is none, and NaN and infinity are refused.
"""

from __future__ import annotations

import difflib
import itertools
import math
import operator
import os
from collections.abc import Iterable, Mapping
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

MOST_CLASSES = 2**15  # a confusion matrix of more would not fit into memory


def suggest(name: object, known: Iterable[object]) -> str:
    """ " (did you mean 'x'?)" for the nearest known name, else nothing."""
    lower = {str(k).lower(): str(k) for k in known}
    near = difflib.get_close_matches(str(name).lower(), lower, n=1, cutoff=0.6)
    return f" (did you mean {lower[near[0]]!r}?)" if near else ""


def shown(value: object, letters: int = 60) -> str:
    """The value as an error message quotes it: its repr on one line, cut short, or its type where that is too long."""
    if hasattr(value, "shape") and getattr(value, "shape", ()) != ():
        return f"<{type(value).__name__} of shape {tuple(value.shape)}>"
    try:
        text = " ".join(repr(value).split())
    except Exception:  # a repr that fails must not hide the message that quotes it
        text = f"<{type(value).__name__}>"
    return text if len(text) <= letters else f"{text[: letters - 1]}…"


def spelled(value: Any, inside: bool = False) -> str:
    """A setting's value as labels write it: six digits if they are all there is, and a base as key+name=value."""
    if isinstance(value, Mapping):
        own = "+".join([value["key"], *(f"{k}={spelled(v, True)}" for k, v in value.items() if k != "key")])
        return f"({own})" if inside else own
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def many(n: int, what: str, plural: str = "") -> str:
    """ "1 row", "2,000 rows"; of words that take no s, their plural."""
    return f"{n:,} {what if n == 1 else plural or what + 's'}"


def listed(numbers: Iterable[Any], most: int = 6) -> str:
    """Numbers of classes as a message quotes them: "10, 50, 100", cut short after `most`."""
    found = [f"{float(one):,.15g}" for one in numbers]
    return ", ".join(found[:most]) + (", ..." if len(found) > most else "")


def remedy(run: Any, part: str) -> str:
    """What gives a run a part that it lacks, such as its "logits" or "features", as the end of a sentence."""
    method = getattr(run, "method", "")
    if part == "train_features" and method in ("predictions", "collected"):
        return "lt.collect(..., training=) gives them, from the network and its training images"
    if method == "predictions":
        return f"pass {'logits= or probabilities=' if part == 'logits' else f'{part}='} to lt.from_predictions"
    if method == "collected":
        return "lt.collect finds features and classifier where head= names a layer of the network"
    return "train it here, or load a record that was saved whole (small=False)"


def refuse(name: str, value: object, expected: str) -> ValueError:
    """The error for an argument: raise refuse("epochs", -1, "a whole number of at least 1")."""
    return ValueError(f"{name}={shown(value)}: expected {expected}")


def _is_bool(value: object) -> bool:
    kind = str(getattr(value, "dtype", ""))
    return isinstance(value, bool) or (kind in ("bool", "torch.bool") and getattr(value, "shape", None) == ())


def plain(value: Any) -> Any:
    """A number of numpy's, or a tensor of one number, as Python's own."""
    return value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value


MAX_INT = 2**63 - 1  # of the whole numbers that arrays hold


def whole(name: str, value: Any, low: int | None = 0, high: int | None = None) -> int:
    """A whole number from low to high, both included."""
    try:
        # A tensor of one number in an axis is an index to Python, whatever its type.
        number = None if _is_bool(value) or getattr(value, "shape", ()) != () else operator.index(value)
    except TypeError:
        number = None
    below, above = low is not None and number is not None and number < low, number is not None and number > MAX_INT
    if number is None or below or above or (high is not None and number > high):
        raise refuse(name, value, f"a whole number{_range(low, high)}")
    return number


def number(
    name: str, value: Any, low: float | None = None, high: float | None = None, *, above: float | None = None
) -> float:
    """A finite number from low to high, both included; above: greater than this."""
    found = math.nan
    if isinstance(value, Real) and not _is_bool(value):
        found = _as_float(value)
    elif getattr(value, "shape", None) == () and hasattr(value, "item") and isinstance(value.item(), (int, float)):
        found = math.nan if _is_bool(value.item()) else float(value.item())
    inside = (low is None or found >= low) and (high is None or found <= high) and (above is None or found > above)
    if not (math.isfinite(found) and inside):
        over = "" if above is None else f" above {above:g}"
        raise refuse(name, value, f"a number{over}{_range(low, high)}")
    return found


def _as_float(value: Real) -> float:
    try:
        return float(value)
    except OverflowError:  # 10**400
        return math.inf


def flag(name: str, value: Any) -> bool:
    """True or False."""
    if not _is_bool(value):
        raise refuse(name, value, "True or False")
    return bool(value)


def choice(name: str, value: Any, choices: Iterable[Any]) -> Any:
    """One of the choices."""
    choices = list(choices)
    for one in choices:
        if type(one) is type(value) and one == value:
            return one
    listed = ", ".join(repr(one) for one in choices)
    raise refuse(name, value, f"one of {listed}{suggest(value, choices) if isinstance(value, str) else ''}")


def text(name: str, value: Any) -> str:
    """A string that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise refuse(name, value, "a text")
    return str(value)


def path(name: str, value: Any) -> Path:
    """A path: a string that is not empty, or anything that stands for one; ~ is the home folder."""
    if isinstance(value, (str, os.PathLike)) and str(value).strip() and "\0" not in str(value):
        return Path(value).expanduser()
    raise refuse(name, value, "a path, as text or pathlib.Path")


def instance(name: str, value: Any, kind: type | tuple[type, ...], expected: str) -> Any:
    """An object of this kind; `expected` says in words where one comes from."""
    if not isinstance(value, kind):
        raise refuse(name, value, expected)
    return value


def seed(value: Any) -> int:
    """A seed: a whole number from 0 to 2^31 - 1."""
    return whole("seed", value, 0, 2**31 - 1)


def seeds(value: Any) -> list[int]:
    """Several seeds: how many (0, 1, ...), or which; each once."""
    expected = "how many seeds (at least 1), or a list of different ones"
    try:
        found = list(range(whole("seeds", value, 1))) if not isinstance(value, (list, tuple, range)) else None
        found = [seed(one) for one in value] if found is None else found
    except ValueError:
        raise refuse("seeds", value, expected) from None
    if not found or len(set(found)) < len(found):
        raise refuse("seeds", value, expected)
    return found


def to_array(value: Any, copy: bool = True) -> np.ndarray:
    """A numpy array of a tensor on any device, an array, a list or a column of a table.

    copy=False: it may share its memory with the value. bfloat16, which numpy does not have, becomes float32.
    """
    if hasattr(value, "detach"):  # a tensor
        value = value.detach().cpu()
        value = (value.float() if str(value.dtype) == "torch.bfloat16" else value).numpy()
    elif hasattr(value, "to_numpy"):  # pandas knows which type its own numbers have in numpy
        value = value.to_numpy()
    return np.array(value, order="C") if copy else np.asarray(value)


def array(name: str, value: Any, dims: int | None, expected: str) -> np.ndarray:
    """Numbers with `dims` axes (None: any), in their own type; value: as `to_array` takes it.

    `expected` says in words what they are. True is no number. NaN and infinity pass: the caller knows what they mean.
    """
    try:
        found = to_array(value, copy=False)
    except Exception:  # rows of several lengths, tensors without data, and whatever else is no array
        raise refuse(name, value, expected) from None
    empty = found.size == 0 and isinstance(value, (list, tuple))
    if dims not in (None, found.ndim) or not (empty or found.dtype.kind in "iuf"):
        raise refuse(name, value, expected)
    if isinstance(value, np.ma.MaskedArray) and np.ma.getmaskarray(value).any():
        raise refuse(name, value, f"{expected}, none of them masked")
    return found


_FLOATS = ("torch.float32", "torch.float64", "torch.float16", "torch.bfloat16")
_INTEGERS = ("torch.int64", "torch.int32", "torch.int16", "torch.int8", "torch.uint8")
_DTYPES = {"float": _FLOATS, "int64": ("torch.int64",), "bool": ("torch.bool",), "number": (*_FLOATS, *_INTEGERS)}


def tensor(name: str, value: Any, dims: int | None, kind: str, expected: str, like: Any = None) -> Any:
    """A dense tensor with `dims` axes (None: any) of a kind: "float", "int64", "bool" or "number" (float or whole).

    Only its type and shape are looked at, never a value: that would wait for a GPU, and cannot be part of a CUDA graph.
    `expected` says in words what it is; like: another tensor, on whose device it has to be.
    """
    from torch import Tensor, strided

    if not isinstance(value, Tensor) or value.layout is not strided or dims not in (None, value.dim()):
        raise refuse(name, value, expected)
    if str(value.dtype) not in _DTYPES[kind]:
        raise refuse(name, value, f"{expected}; its numbers are {str(value.dtype).removeprefix('torch.')}")
    if like is not None and value.device != like.device:
        raise ValueError(f"{name}: it is on {value.device}, what it belongs to on {like.device}; move one of them")
    return value


def result(owner: object, name: str, value: Any, shape: tuple, expected: str) -> Any:
    """What the method `name` of a reader's object gave: a tensor of this shape. Only its shape is looked at."""
    if not hasattr(value, "detach") or value.shape != shape:
        gave = f"shape {tuple(value.shape)}" if hasattr(value, "shape") else type(value).__name__
        raise ValueError(f"{type(owner).__name__}.{name}() gave {gave}: expected {expected}")
    return value


def labels(name: str, value: Any, k: int | None = None) -> np.ndarray:
    """Class numbers (n,) from 0 to k - 1, as int64."""
    top = (MOST_CLASSES if k is None else k) - 1
    expected = f"class numbers (n,), whole ones that lie in 0..{top}"
    found = array(name, value, 1, f"{expected}; for logits or one-hot rows pass .argmax(1)")
    if found.size and found.dtype.kind == "f":
        raise refuse(name, value, f"{expected}, not {found.dtype} such as {found[0]}; for logits pass .argmax(1)")
    wrong = np.flatnonzero((found < 0) | (found > top))
    if wrong.size:
        more = "; number the classes from 0" if k is None else "; number the classes from 0, or pass a larger k"
        raise refuse(name, value, f"{expected}, found {found[wrong[0]]} at position {wrong[0]}{more}")
    return found.astype(np.int64)


def same_order(**given: Any) -> None:
    """ValueError where two of them, tables or columns of pandas, have the same rows (or columns) in another order.

    Which of them belong together, those of one label or those of one place, only their owner knows.
    """
    tables = {name: value for name, value in given.items() if hasattr(value, "to_numpy") and hasattr(value, "index")}
    for (one, first), (other, second) in itertools.combinations(tables.items(), 2):
        for what, axis, pick in (("indices", "index", ".loc["), ("columns", "columns", "[")):
            left, right = getattr(first, axis, None), getattr(second, axis, None)
            if left is None or right is None or len(left) != len(right) or left.equals(right):
                continue
            if left.is_unique and set(left) == set(right):
                raise ValueError(
                    f"{one}, {other}: their {what} are the same in another order; sort one like the other "
                    f"({other}{pick}{one}.{axis}]), or pass .to_numpy() of both if row by row they belong together"
                )


def by_label(name: str, value: Any) -> Any:
    """A Series of pandas as a mapping from its labels, unless it only numbers its rows; anything else as it is."""
    if not (hasattr(value, "index") and hasattr(value, "to_dict") and hasattr(value, "name")):
        return value
    if not value.index.is_unique:
        raise refuse(name, value, "a number for each class, each class once")
    return value.to_numpy() if list(value.index) == list(range(len(value))) else value.to_dict()


def per_class(name: str, value: Any, expected: str) -> np.ndarray:
    """A number for each class (k,), in its own type; a mapping or a Series from the class numbers 0..k-1 will do."""
    found = by_label(name, value)
    if isinstance(found, Mapping):
        if not found or set(found) != set(range(len(found))) or any(_is_bool(key) for key in found):
            raise refuse(
                name, value, f"{expected}; of a mapping or a Series whose labels are not 0 to k - 1 pass the numbers, "
                "in the order of the classes"
            )  # fmt: skip
        found = [found[j] for j in range(len(found))]
    return array(name, found, 1, expected)


def counts(value: Any, name: str = "counts") -> np.ndarray:
    """Training images of each class (k,), as float64; also of a data set or a run, which has them."""
    expected = "the number of training images of each class (k,): one finite number a class, none negative"
    value = getattr(value, "counts", value)
    found = per_class(name, value, expected).astype(np.float64)
    if not found.size or not np.isfinite(found).all() or (found < 0).any():
        raise refuse(name, value, expected)
    return found


def _range(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f" from {low:,} to {high:,}"
    if low is not None:
        return f" of at least {low:,}"
    return f" of at most {high:,}" if high is not None else ""
