"""A classifier's answers as a run, without its network: from arrays, tables or a CSV file."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from . import check, labels, metrics
from .check import shown, suggest
from .files import checksum, request_id
from .heads import EXACT, HALF, Head, fit_head
from .labels import Classes
from .run import Run, class_means, compact, parts

SUM = 2e-2  # how far the probabilities of a row may be from 1 in sum: some files keep only two digits
TINY = 1e-9  # zeros beside no smaller probability than this are rounded ones
UNCOUNTED = (
    "counts: taken from the targets, whose images are judged; if the classifier was trained on others, pass counts=, "
    "the training images of each class"
)
# Bytes of a float: the log of its smallest positive number, which stands for that of zero.
_LOG_OF_ZERO = {size: np.float32(-np.log(2.0) * power) for size, power in ((2, 24), (4, 149), (8, 1074))}


def from_predictions(
    targets: Any,
    logits: Any = None,
    *,
    probabilities: Any = None,
    predictions: Any = None,
    table: Any = None,
    counts: Any = None,
    features: Any = None,
    head_weight: Any = None,
    head_bias: Any = None,
    class_names: Sequence[Any] | None = None,
    ignore: Any = None,
    seed: int = 0,
    name: str = "my predictions",
) -> Run:
    """Any classifier's answers on test images as a run: every plot of runs takes it, or says what it lacks.

    targets        true classes (n,): whole numbers 0..k-1, or 1..k, names, booleans of two classes, one-hot rows (n, k)
    logits         (n, k) finite; or instead, exactly one of:
    probabilities  (n, k), rows that sum to 1 (to 0.02): their logs become the logits; zero is taken for the smallest
                   positive number of the type
    predictions    answered classes (n,), written as the targets are; the run then has no logits
    table          a DataFrame or the path of a CSV file: then targets and predictions are each the name of a column,
                   logits, probabilities and features each a list of them, and the columns name the classes
    counts         (k,) training images of each class, as numbers, or a mapping or Series by class; without it, with a
                   warning, those of the targets: head and tail are then classes frequent and rare among the answers
    features       (n, d) what the classifier saw; head_weight (k, d), head_bias (k,): then W f + b gives the logits, or
                   s cos(f, W), or W f + b with f or W scaled to one length, which is kept so, with a warning
    class_names    (k,) in the order of the columns; without them, the columns of a DataFrame, the index of the counts,
                   the sorted names among the targets, or "0", "1", ...
    ignore         the label, such as -100, of rows that are left out
    seed, name     what tells this run from others: runs of one name and several seeds are one series

    Arrays are numpy's, torch's, pandas' or lists. What is taken for granted (numbers from 1, sorted names) is said
    once, as a UserWarning. Raises ValueError, naming the argument, where something does not fit.
    """
    name, seed, ignore = check.text("name", name), check.seed(seed), labels.checked_ignore(ignore)
    given = {"targets": targets, "logits": logits, "probabilities": probabilities, "predictions": predictions}
    given["features"] = features
    if table is not None:
        given = _columns(_table(table, [targets, predictions]), given)
    which = [key for key in ("logits", "probabilities", "predictions") if given[key] is not None]
    if len(which) != 1:
        found = ", ".join(which) or "none of them"
        raise ValueError(f"logits, probabilities, predictions: expected exactly one of them, got {found}")
    columns = _column_names(given[which[0]], class_names)
    found, z, f, k = _rows(which[0], given, ignore, _how_many(counts, class_names))
    names = class_names if class_names is not None or columns is None else _spelled(columns, found)
    if names is None and (names := _index(counts, found)) is not None:
        warnings.warn(f"class_names: taken from the index of counts, in its order: {shown(names)}", stacklevel=2)
    said = [*found.values(), *labels.keys_of(counts, found["targets"])]
    named = names is not class_names and columns is not None
    classes, numbers = _numbered(found, said, k, names, which[0] if named else "")
    near = HALF if _half(given["logits"], given["features"], head_weight) else EXACT
    head = _head(head_weight, head_bias, classes.k, z, f, near, which == ["probabilities"])
    for doubt in _doubts(head, head_weight, z if which == ["probabilities"] else None, counts):
        warnings.warn(doubt, stacklevel=2)
    f = None if f is None else compact(f if head is None else head.sees(f))
    return as_run("predictions", classes, numbers, z, counts=counts, features=f, head=head, seed=seed, name=name)


def _numbered(
    found: Mapping[str, np.ndarray], said: Sequence[np.ndarray], k: int | None, names: Any, columns: str
) -> tuple[Classes, dict[str, np.ndarray]]:
    """The classes, and the class number of every label. columns: the argument whose columns give the names, or ""."""
    try:
        classes = labels.learn("targets", said, k, names, bool(columns))
        numbers = {key: classes.numbers(key, value) for key, value in found.items()}
    except ValueError as error:
        if not columns:
            raise
        raise ValueError(
            f"{error}. The classes are named by the columns of {columns}; pass class_names= in their order if they "
            "are called otherwise"
        ) from None
    whole = found["targets"].dtype != object and not classes.by_name and not classes.first
    if columns and whole and classes.names != [str(j) for j in range(classes.k)]:
        if all(name.isdigit() for name in classes.names):
            warnings.warn(
                f"class_names: {', '.join(map(repr, classes.names[:5]))} are taken from the columns of {columns}, and "
                f"labels for their places, so that the label 0 is the class {classes.names[0]!r}; pass class_names= in "
                "the order of the columns to say so",
                stacklevel=3,
            )
    return classes, numbers


def _rows(
    which: str, given: Mapping[str, Any], ignore: Any, k: int | None
) -> tuple[dict[str, np.ndarray], np.ndarray | None, np.ndarray | None, int | None]:
    """Labels by what they are, logits, features, all of the rows that are kept, and the number of classes."""
    for key in (which, "features"):
        _same_order(given["targets"], given[key], key)
    z = None if which == "predictions" else _scores(which, given[which])
    k = k if z is None else z.shape[1]
    found = {"targets": labels.flat("targets", given["targets"], k)}
    if z is None:
        found["predictions"] = labels.flat("predictions", given["predictions"], k)
    n, f = len(found["targets"]), _features(given["features"])
    if not n:
        raise ValueError("targets: it holds no label")
    for key, value in {**found, which: found["predictions"] if z is None else z, "features": f}.items():
        if value is not None and len(value) != n:
            raise ValueError(f"{key}: expected as many rows as targets, got {len(value)} and {n}")
    keep = labels.kept(found["targets"], ignore)
    if not keep.any():
        raise ValueError(f"targets: every label is {ignore!r}, which is left out")
    found = {key: value[keep] for key, value in found.items()}
    z, f = (one if one is None or keep.all() else one[keep] for one in (z, f))
    return found, z, f, k


# ------------------------------------------------------------------------------------------------------------ a run
def as_run(
    method: str,
    classes: Classes,
    found: Mapping[str, np.ndarray],
    z: np.ndarray | None,
    *,
    counts: Any,
    features: np.ndarray | None,
    head: Head | None,
    seed: int,
    name: str,
    train_features: np.ndarray | None = None,
) -> Run:
    """The run. found: class numbers (n,) "targets", "predictions" where there are no logits z (n, k), and
    "train_targets" (m,) where there are training images."""
    y, k, train = found["targets"], classes.k, found.get("train_targets")
    if counts is None:
        number = np.bincount(y if train is None else train, minlength=k)
    else:
        number = labels.counts_of(counts, classes)
    arrays = {**found, "logits": z, "features": features, "train_features": train_features, "counts": number}
    if head is not None:
        arrays |= {"weight": head.weight, "bias": head.bias}
    sums = {key: checksum(value) for key, value in arrays.items() if value is not None}
    images = np.bincount(y, minlength=k)
    norm = None
    if features is not None:
        lengths = np.concatenate([np.linalg.norm(features[of].astype(np.float64), axis=1) for of in parts(features)])
        norm = np.where(images > 0, np.bincount(y, lengths, k) / np.maximum(images, 1), np.nan).astype(np.float32)
    return Run(
        method=method,
        settings={},
        data={"name": method},
        recipe={"name": ""},
        seed=seed,
        counts=number,
        class_names=classes.names,
        history={},
        confusion=metrics.confusion(y, found["predictions"] if z is None else z.argmax(1), k),
        head_weight=None if head is None else head.weight,
        head_bias=None if head is None else head.bias,
        scale=None if head is None else head.scale,
        class_means=None if train_features is None else class_means(train_features, train, k),
        class_feature_norm=norm,
        targets=y,
        logits=z,
        features=features,
        train_features=train_features,
        train_targets=train if train_features is not None else None,
        ece=float("nan") if z is None else _ece(z, y),
        id=request_id(**{method: sums}, class_names=classes.names, name=name, seed=seed, scale=head and head.scale),
        label=name,
    )


def _ece(z: np.ndarray, y: np.ndarray) -> float:
    """`metrics.ece` of the softmax, a part at a time."""
    gap = np.zeros(15)
    for part in parts(z):
        bins = metrics.reliability(metrics.probabilities(z[part]), y[part], len(gap))
        gap += np.nan_to_num(bins.share * (bins.accuracy - bins.confidence)) * len(y[part])
    return float(np.abs(gap).sum() / len(z))


def probable(z: np.ndarray) -> bool:
    """Whether all rows (n, k) are probabilities: none negative, and the sum is 1."""
    return bool(len(z) and (z >= 0).all() and (np.abs(z.sum(1, dtype=np.float64) - 1.0) <= SUM).all())


def _head(
    weight: Any, bias: Any, k: int, z: np.ndarray | None, f: np.ndarray | None, near: float, logs: bool
) -> Head | None:
    """The classifier that is given. z: the logits, or logs of probabilities, that it gives for features f, or None."""
    if weight is None:
        if bias is not None:
            raise check.refuse("head_bias", bias, "head_weight (k, d) beside it")
        return None
    expected = f"the classifier ({k}, d): a vector for each of the {k} classes"
    w = check.array("head_weight", weight, 2, expected).astype(np.float32)
    turned = "; pass its transpose" if w.shape[1] == k != len(w) else ""
    if len(w) != k or not np.isfinite(w).all() or (f is not None and w.shape[1] != f.shape[1]):
        of = "" if f is None else f" with d = {f.shape[1]}, that of the features"
        raise check.refuse("head_weight", weight, f"{expected}{of}, all finite{turned}")
    b = None
    if bias is not None:
        b = check.array("head_bias", bias, 1, f"a finite number for each of the {k} classes").astype(np.float32)
        if len(b) != k or not np.isfinite(b).all():
            raise check.refuse("head_bias", bias, f"a finite number for each of the {k} classes")
    if z is None or f is None:
        return Head(w, b)
    rows = np.linspace(0, len(z) - 1, min(len(z), 256)).astype(np.int64)
    fit, found = (_fit_logs, "the probabilities are the softmax of") if logs else (fit_head, "the logits are")
    head = fit(z[rows].astype(np.float32), f[rows].astype(np.float32), w, b, near)
    if head is None:
        raise ValueError(
            f"head_weight: W f + b of these features is not what {found} (nor s cos(f, W)); pass the layer that gives "
            "the logits, with its bias, and the features that it sees, or leave head_weight out"
        )
    return head


def _fit_logs(z: np.ndarray, f: np.ndarray, w: np.ndarray, b: np.ndarray | None, near: float) -> Head | None:
    """The classifier whose softmax has these logs z (n, k) of probabilities, which may be rounded; None for none.

    Rows without a zero are compared as logits are. Logs of rounded probabilities are too far from the logits for that:
    then the probabilities are compared with those of W f + b, to what two digits leave.
    """
    whole = ~_zero(z).any(1)
    head = fit_head(z[whole], f[whole], w, b, near) if whole.sum() >= min(8, len(z)) else None
    if head is None:
        p = metrics.probabilities(z)
        far = np.abs(metrics.probabilities(f @ w.T + (0.0 if b is None else b)) - p).max()
        head = Head(w, b) if far <= max(SUM, near) * p.max() else None
    return head


def _zero(z: np.ndarray) -> np.ndarray:
    """Which logs stand for those of zeros."""
    return np.isin(z, list(_LOG_OF_ZERO.values()))


def _doubts(head: Head | None, weight: Any, logs: np.ndarray | None, counts: Any) -> Iterator[str]:
    """What is said of counts that are not given, features or vectors of one length, and logs of rounded zeros."""
    if counts is None:
        yield UNCOUNTED
    if head is not None and head.length is not None:
        yield (
            f"features: the logits are those of features scaled to the length {head.length:.4g}, so the run keeps them "
            "at this length, as the classifier sees them; leave head_weight out to keep the lengths of your own"
        )
    if head is not None and not np.array_equal(head.weight, np.asarray(check.to_array(weight), np.float32)):
        length = np.linalg.norm(head.weight[0].astype(np.float64))
        yield f"head_weight: the logits are those of vectors scaled to the length {length:.4g}; the run keeps these"
    zero = np.zeros(1, bool) if logs is None else _zero(logs)
    if zero.any() and not zero.all() and logs[~zero].min() > np.log(TINY):
        yield (
            f"probabilities: {zero.mean():.1%} of them are 0, rounded from numbers whose logs are not known (they "
            f"count as {logs[zero].min():.0f}), so what adds to logits, such as logit adjustment, may decide otherwise "
            "for these classes; pass logits=, or probabilities with all their digits"
        )


# ------------------------------------------------------------------------------------------------------ what is given
def _scores(name: str, value: Any) -> np.ndarray:
    """Logits (n, k), float32."""
    expected = "(n, k) finite numbers, one for each image and class"
    if getattr(value, "ndim", 2) == 1 or (isinstance(value, (list, tuple)) and np.ndim(value[:1]) == 1):
        other = "[1 - p, p]" if name == "probabilities" else "[0 * z, z]"
        raise check.refuse(name, value, f"{expected}; of two classes pass np.column_stack({other})")
    found = check.array(name, value, 2, expected)
    if found.shape[1] < 2:
        raise check.refuse(name, value, f"{expected}, and at least two classes")
    wrong = np.flatnonzero(~np.isfinite(found).all(1)) if found.dtype.kind == "f" else ()
    if len(wrong):
        raise check.refuse(name, value, f"{expected}; found NaN or infinity in row {wrong[0]}")
    if name == "logits":
        if probable(found):
            raise check.refuse(name, value, "logits, but these are probabilities: pass probabilities=")
        with np.errstate(over="ignore"):
            small = found.astype(np.float32)
        if not np.isfinite(small).all():
            raise check.refuse(name, value, f"{expected}, within what float32 holds")
        return small
    off = np.flatnonzero((found < 0).any(1) | ~(np.abs(found.sum(1, dtype=np.float64) - 1.0) <= SUM))
    if off.size:
        row = found[off[0]].astype(np.float64)
        expected = f"rows (n, k) that sum to 1; row {off[0]} sums to {row.sum():.4g}, its smallest is {row.min():.4g}"
        raise check.refuse(name, value, f"{expected} (for logits pass logits=)")
    found = found.astype(np.float64) if found.dtype.kind != "f" else found
    with np.errstate(divide="ignore"):
        logs = np.log(found, dtype=max(found.dtype, np.dtype(np.float32))).astype(np.float32)
    logs[found <= 0] = _LOG_OF_ZERO[found.dtype.itemsize]
    return logs


def _features(value: Any) -> np.ndarray | None:
    if value is None:
        return None
    expected = "(n, d) finite numbers, a row for each target"
    found = check.array("features", value, 2, expected)
    found = found if found.dtype.kind == "f" and found.dtype.itemsize <= 4 else found.astype(np.float32)
    if not found.shape[1] or not np.isfinite(found).all():
        raise check.refuse("features", value, expected)
    return found


def _half(*values: Any) -> bool:
    """Whether one of them has been in half precision."""
    return any(str(getattr(one, "dtype", "")).endswith("float16") for one in values)


def _how_many(counts: Any, class_names: Any) -> int | None:
    """The number of classes, where names or counts (k,) say it."""
    if class_names is not None and hasattr(class_names, "__len__"):
        return len(class_names)
    if counts is None or isinstance(counts, (str, Mapping)) or hasattr(counts, "index") and hasattr(counts, "to_dict"):
        return None
    return len(counts) if hasattr(counts, "__len__") else None


def _column_names(value: Any, class_names: Any) -> list[Any] | None:
    """Names of the classes from the columns of a DataFrame, or None where it only numbers them."""
    names = list(value.columns) if hasattr(value, "columns") else None
    if names is None or names == list(range(len(names))):
        return None
    given = labels.names_of(class_names, len(names))
    if given is not None and given != names and set(map(str, given)) == set(map(str, names)):
        raise check.refuse("class_names", class_names, f"the order of the columns, {shown(names)}, or leave it out")
    return names


def _index(counts: Any, found: Mapping[str, np.ndarray]) -> list[str] | None:
    """Names of the classes from the index of counts, where nothing else says them."""
    index = getattr(counts, "index", None)
    if not hasattr(counts, "to_dict") or any(one.dtype == object for one in found.values()):
        return None
    names = list(index)
    return names if names and all(isinstance(one, str) for one in names) else None


def _spelled(names: list[Any], found: Mapping[str, np.ndarray]) -> list[Any]:
    """Names of columns without what all of them begin with ("p_cat", "p_dog"), if that is how the labels are written.

    Of "z0", "z1", ... the numbers remain.
    """
    if not all(isinstance(one, str) for one in names):
        return names
    same = len(os.path.commonprefix(names))
    while same and names[0][same - 1].isdigit():  # "p10", "p11" differ in their whole numbers
        same -= 1
    short = [one[same:] for one in names]
    said = {str(one) for of in found.values() if of.dtype == object for one in of.tolist()}
    if all(one.isdigit() for one in short):
        written = {int(one): one for one in sorted(said) if one.isdigit()}  # "01" is the class of "p1"
        return [one if one in said else written.get(int(one), one) for one in short]
    while same and names[0][same - 1].isalnum():
        same -= 1
    short = [one[same:] for one in names]
    return short if said and said <= set(short) and not said <= set(names) else names


def _same_order(targets: Any, other: Any, name: str) -> None:
    """Two columns of pandas whose indices hold the same in another order: which rows belong together?"""
    one, two = getattr(targets, "index", None), getattr(other, "index", None)
    if not (hasattr(targets, "to_numpy") and hasattr(other, "to_numpy")) or len(one) != len(two) or one.equals(two):
        return
    if one.is_unique and set(one) == set(two):
        raise ValueError(
            f"targets, {name}: their indices are the same in another order; sort one like the other "
            f"({name}.loc[targets.index]), or pass .to_numpy() of both if row by row they belong together"
        )


# ---------------------------------------------------------------------------------------------------------- a table
def _table(table: Any, labelled: Sequence[Any]) -> Any:
    """A DataFrame, read from a CSV file where it is a path; labelled: columns of labels, in which "01" stays a text."""
    import pandas as pd

    if isinstance(table, pd.DataFrame):
        return table
    expected = "a DataFrame, or the path of a CSV file with a line of column names"
    path = check.path("table", table) if isinstance(table, str) or hasattr(table, "__fspath__") else None
    if path is None:
        raise check.refuse("table", table, expected)
    try:
        with path.open(encoding="utf-8-sig") as file:
            head = file.readline()
        separator = max(",;\t", key=head.count)
        # Only an empty field is missing: "NA" and "None" are names that classes have.
        how = dict(sep=separator, keep_default_na=False, na_values=[""], encoding="utf-8-sig")
        found = pd.read_csv(path, **how)
        whole = [one for one in found.columns if one in labelled and found[one].dtype.kind == "i"]
        if whole:
            texts = pd.read_csv(path, usecols=whole, dtype=str, **how)[whole]
            if any(texts[one].str.match(r"0\d").any() for one in whole):
                found[whole] = texts
        return found
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise check.refuse("table", str(path), f"{expected}; it cannot be read ({error})") from None


def _columns(table: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that the arguments name."""
    found = dict(given)
    for key, value in given.items():
        if value is None or (hasattr(value, "shape") and getattr(value, "shape", ()) != ()):
            continue
        many = key in ("logits", "probabilities", "features")
        names = list(value) if many and isinstance(value, (list, tuple)) else [value]
        for one in names:
            known = [str(column) for column in table.columns]
            if not isinstance(one, (str, int)) or isinstance(one, bool) or one not in table.columns:
                raise ValueError(
                    f"{key}={shown(one)}: the table has no such column{suggest(one, known)}; it has {shown(known, 200)}"
                )
            if (table.columns == one).sum() > 1:
                raise ValueError(f"{key}={shown(one)}: the table has several columns of that name")
        if many and not isinstance(value, (list, tuple)):
            raise check.refuse(key, value, "a list of columns, one for each class or dimension")
        found[key] = table[names] if many else table[names[0]]
    if given["targets"] is None:
        raise check.refuse("targets", None, "the name of the column that holds the true classes")
    return found
