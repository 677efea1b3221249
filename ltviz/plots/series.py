"""From whatever a caller passes (a run, runs, a dict of them) to series: one label, and one run per seed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import check
from .picture import seeds
from .text import distinct, short, short_names

LETTERS = 80  # of a run's label in a picture


def array(values: Any, dtype: Any = None, name: str = "values", shape: str = "an array of numbers") -> np.ndarray:
    """A numpy array from a list, an array or a tensor on any device. ValueError, by name, for what holds no numbers."""
    found = check.array(name, values, None, shape)
    if not found.size:
        raise check.refuse(name, values, f"{shape}, not empty")
    return found if dtype is None else found.astype(dtype)


def finite(values: np.ndarray, name: str, whose: str = "") -> np.ndarray:
    """The same values. ValueError where one is NaN or infinite."""
    wrong = int((~np.isfinite(values)).sum())
    if wrong:
        of = f" of {whose!r}" if whose else ""
        raise ValueError(
            f"{name}{of}: {wrong:,} of {values.size:,} values are NaN or infinite and cannot be drawn. "
            "The training diverged, or values beyond 65,504 were kept in float16"
        )
    return values


def class_labels(values: Any, n: int, k: int, name: str = "targets") -> np.ndarray:
    """Class numbers (n,) as int64. ValueError for another length or type, and outside 0..k-1."""
    found = check.labels(name, values, k)
    if found.shape != (n,):
        raise check.refuse(name, values, f"class numbers, one for each of the {n} images")
    return found


def image_features(values: Any, name: str = "features", whose: str = "") -> np.ndarray:
    """Features (n, d) as float64: finite, and their lengths neither overflow nor lose digits."""
    found = array(values, np.float64, name, "features of images (n, d)")
    if found.ndim != 2:
        raise check.refuse(name, values, "features of images, shape (n, d)")
    return finite(found, name, whose)


def labelled_features(
    features: Any, targets: Any = None, counts: Any = None, name: str = "features"
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Features (n, d) float64, targets (n,), counts (k,), names (k), of a run that kept them or of three arrays."""
    whose = ""
    if is_run(features):
        run, whose = checked_run(features, name), _name(features)
        if getattr(run, "features", None) is None or getattr(run, "targets", None) is None:
            raise ValueError(
                f"run {short(whose, 60)!r} keeps no test features, so there is nothing to draw; "
                f"{check.remedy(run, 'features')}"
            )
        features, targets, counts, name = run.features, run.targets, run, "features"
    elif targets is None or counts is None:
        array(features, name=name, shape="a run, or features of images (n, d)")
        missing = "targets" if targets is None else "counts"
        raise ValueError(
            f"{missing}=None: features need targets (n,) and counts (k,) beside them; or pass a run that "
            "kept its features"
        )
    check.same_order(**{name: features, "targets": targets})
    x, n = image_features(features, name, whose), class_counts(counts)
    return x, class_labels(targets, len(x), len(n)), n, given_names(counts, len(n))


def alone(**given: Any) -> None:
    """ValueError for an argument, such as counts, beside runs."""
    for name, value in given.items():
        if value is not None:
            raise check.refuse(name, value, f"no {name} beside runs, which have their own")


def is_run(thing: Any) -> bool:
    """Whether it is a run, or looks enough like one to be drawn."""
    return hasattr(thing, "confusion") and hasattr(thing, "counts")


def checked_run(run: Any, name: str = "run") -> Any:
    """The same run. ValueError for what is no run, and for a confusion matrix that does not fit the counts."""
    if isinstance(run, type) or not is_run(run):
        raise check.refuse(name, run, "a run: what ltviz.train returns, or ltviz.load_run reads")
    k = len(class_counts(run, name))
    confusion = array(run.confusion, name=f"{name}.confusion", shape=f"a matrix ({k}, {k})")
    if confusion.shape != (k, k):
        raise check.refuse(f"{name}.confusion", run.confusion, f"a matrix of ({k}, {k}), one row a class of the counts")
    return run


def test_scores(run: Any, shown: str) -> tuple[np.ndarray, np.ndarray]:
    """Scores (n, k) that a run decides its test images by, and their targets (n,). ValueError where it kept none."""
    if getattr(run, "logits", None) is None or getattr(run, "targets", None) is None:
        raise ValueError(f"run {shown!r} keeps no test logits; {check.remedy(run, 'logits')}")
    decided = getattr(run, "decided", None)
    scores = array(run.logits if decided is None else decided, np.float64, "logits")
    k = len(class_counts(run))
    if scores.ndim != 2 or scores.shape[1] != k:
        raise check.refuse("logits", scores, f"one score per class, shape (n, {k})")
    # -inf is a class that a rule has excluded; a row of nothing else decides nothing.
    if not np.isfinite(scores.max(1)).all():
        wrong = np.isnan(scores) | np.isposinf(scores) | np.isneginf(scores).all(1, keepdims=True)
        finite(np.where(wrong, np.nan, 0.0), "logits", shown)
    return scores, class_labels(run.targets, len(scores), k)


def class_counts(data: Any, name: str = "counts", alone: bool = False) -> np.ndarray:
    """Training images of each class (k,) as float64 from a data set, a run, or the counts themselves.

    A mapping or a Series of pandas from the class numbers 0..k-1 will do, and a dict from class names in the order of
    the classes. A Counter or a Series has names in an order of its own: they will do where nothing but the counts is
    given (alone). ValueError for anything else: negative, not finite, no image at all.
    """
    found = check.by_label(name, data)
    if isinstance(found, Mapping) and found and all(isinstance(key, str) for key in found):
        if not alone and (found is not data or isinstance(data, Counter)):
            raise check.refuse(
                name, data, "the counts in the order of the classes; the names of a Counter or a Series stand in an "
                "order of their own: pass [counts[name] for name in class_names]"
            )  # fmt: skip
        found = list(found.values())
    elif isinstance(found, Mapping) and set(found) != set(range(len(found))):
        raise check.refuse(name, data, "as keys the class numbers from 0 on, or class names")
    counts = check.counts(found, name)
    if not counts.max() >= 1:  # shares and probabilities, too, are no counts
        raise check.refuse(name, data, "numbers of training images, at least one in some class")
    return counts


def no_labels(data: Any, name: str) -> None:
    """ValueError for labels of images in the place of counts: each class number from 0 or 1 on, again and again."""
    if isinstance(data, Mapping) or hasattr(data, "counts"):
        return
    values = check.counts(check.to_array(data) if hasattr(data, "to_numpy") else data, name)
    found = np.unique(values)
    every = np.array_equal(found, np.arange(len(found)) + found[0]) and found[0] in (0, 1) and len(found) > 1
    if every and len(values) >= 3 * len(found) and (np.diff(values) > 0).any():  # sorted counts fall
        expected = f"the number of images of each class; these look like the labels of {len(values):,} images"
        raise check.refuse(name, data, f"{expected}: count them by np.bincount (or pass a dict by class number)")


def given_names(data: Any, k: int) -> list[str]:
    """The names of the classes: a data set's or run's own, the keys of a mapping, else their numbers."""
    data = check.by_label("counts", data)
    names = list(data) if isinstance(data, Mapping) and all(isinstance(key, str) for key in data) else None
    names = getattr(data, "class_names", None) if names is None else names
    return [str(j) for j in range(k)] if names is None or len(names) != k else [str(name) for name in names]


def by_count(counts: np.ndarray) -> np.ndarray:
    """Class numbers from the most frequent to the rarest (stable)."""
    return np.argsort(-counts, kind="stable")


@dataclass
class Series:
    """Runs that differ only in their seed. name: whole, by which data are kept; shown: as a picture writes it."""

    name: str
    runs: list[Any]
    shown: str = ""

    def __post_init__(self):
        self.shown = self.shown or short_names([self.name], LETTERS)[0]

    @property
    def label(self) -> str:
        return f"{self.shown} ({seeds(len(self.runs))})"

    def stack(self, values: Callable[[Any], Any]) -> np.ndarray:
        """values(run) (k,) of every run, classes sorted by count: (seeds, k)."""
        return np.array([array(values(run), np.float64)[by_count(class_counts(run))] for run in self.runs])

    @property
    def counts(self) -> np.ndarray:
        """Training images by rank, mean over the runs."""
        return self.stack(lambda run: class_counts(run)).mean(0)


def series_of(runs: Any, name: str = "runs") -> list[Series]:
    """Group runs into series. A dict gives its own labels; otherwise runs of one name are seeds of one series.

    Runs of one name that differ in more than the seed (ratio, epochs, ...) are kept apart, and named by what differs;
    different losses of the reader's own, and two different runs of one seed, are kept apart, and numbered. No two
    series have one name. Raises ValueError for no run, for what is no run, and for runs whose numbers of classes
    differ.
    """
    if is_run(runs):
        found = [Series(_name(checked_run(runs, name)), [runs])]
    elif isinstance(runs, Mapping):
        found = [
            Series(str(label), _unique([of] if is_run(of) else of, f"{name}[{label!r}]")) for label, of in runs.items()
        ]
    else:
        found = _group(_unique(runs, name))
    if not found or not all(one.runs for one in found):
        raise ValueError(f"{name}: no run given; expected a run, a list of runs, or a dict label -> runs")
    sizes = {len(class_counts(run)) for one in found for run in one.runs}
    if len(sizes) > 1:
        raise ValueError(
            f"{name}: the runs have {' and '.join(map(str, sorted(sizes)))} classes; plot one data set at a time"
        )
    names = distinct([one.name for one in found])
    return [
        Series(name, one.runs, shown)
        for name, one, shown in zip(names, found, short_names(names, LETTERS), strict=True)
    ]


def _name(run: Any) -> str:
    return str(getattr(run, "name", None) or getattr(run, "method", None) or "run")


def _unique(runs: Any, name: str) -> list[Any]:
    """Each run once: the same run twice would look like two seeds."""
    expected = "a run, a list of runs, or a dict label -> runs; train one with ltviz.train"
    if isinstance(runs, (str, bytes)) or not isinstance(runs, Iterable):
        raise check.refuse(name, runs, expected)
    found: list[Any] = []
    for i, run in enumerate(runs):
        if not is_run(run):
            raise ValueError(
                f"{name}[{i}]={check.shown(run)}: expected a run, given {type(run).__name__}; train one "
                "with ltviz.train, or load_run"
            )
        checked_run(run, f"{name}[{i}]")
        if not any(_same(run, other) for other in found):
            found.append(run)
    return found


def _same(one: Any, other: Any) -> bool:
    """Whether two are one run, perhaps read twice. An id alone does not say so: a rule applied later keeps it."""
    if one is other:
        return True
    same = getattr(one, "id", None) and all(
        getattr(one, key, None) == getattr(other, key, None) for key in ("id", "seed", "label", "status")
    )
    return bool(same) and all(
        _equal(getattr(one, key, None), getattr(other, key, None))
        for key in ("confusion", "counts", "head_weight", "scores", "logits")
    )


def _equal(one: Any, other: Any) -> bool:
    return one is other or (
        one is not None and other is not None and np.array_equal(array(one), array(other), equal_nan=True)
    )


def _group(runs: list[Any]) -> list[Series]:
    named: dict[str, dict[tuple[str, int], list[Any]]] = {}
    for run in runs:
        kinds, asked = named.setdefault(_name(run), {}), json.dumps(_asked(run), sort_keys=True, default=str)
        seed, turn = getattr(run, "seed", None), 0
        while any(getattr(of, "seed", None) == seed for of in kinds.get((asked, turn), [])):
            turn += 1  # two runs of one seed are no two seeds
        kinds.setdefault((asked, turn), []).append(run)
    found = []
    for name, kinds in named.items():
        asked = [_asked(of[0]) for of in kinds.values()]
        keys = dict.fromkeys(key for one in asked for key in one)
        differ = [key for key in keys if len({json.dumps(a.get(key), default=str) for a in asked}) > 1]
        for says, of in zip(asked, kinds.values(), strict=True):
            extra = " ".join(f"{key.rpartition('.')[2]}={says.get(key)}" for key in differ if key != "code")
            found.append(Series(f"{name} {extra}".strip(), of))
    return found


# What follows from the images or rows that a seed draws.
_OF_THE_SEED = ("fingerprint", "class_names", "mean", "std", "encoder")


def _asked(run: Any) -> dict[str, Any]:
    """What defines a run apart from its seed, flat: settings, recipe, parent's presence, the data's arguments, and the
    hash of what a loss of the reader's own computes."""
    parts = {"settings": getattr(run, "settings", None), "recipe": getattr(run, "recipe", None)}
    data = dict(getattr(run, "data", None) or {})
    parts["data"] = {key: value for key, value in data.items() if key not in ("seed", *_OF_THE_SEED, "spec")} | dict(
        data.get("spec") or {}
    )
    flat = {"branch": bool(getattr(run, "parent", None)), "code": (getattr(run, "provenance", None) or {}).get("code")}
    for part, values in parts.items():
        flat |= {f"{part}.{key}": value for key, value in dict(values or {}).items() if key != "seed"}
    return flat


def class_names(found: Iterable[Series]) -> list[str] | None:
    """Names of the classes by rank, or None where runs disagree (the class order was drawn with the seed)."""
    names = set()
    for one in found:
        for run in one.runs:
            given = getattr(run, "class_names", None)
            if given is None or len(given) != len(run.counts):
                return None
            names.add(tuple(str(given[j]) for j in by_count(class_counts(run))))
    return list(names.pop()) if len(names) == 1 else None
