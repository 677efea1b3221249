"""From whatever a caller passes (a run, runs, a dict of them) to series: one label, and one run per seed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import metrics
from .picture import seeds


def array(values: Any, dtype: Any = None) -> np.ndarray:
    """A numpy array from a list, an array or a tensor on any device."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    return np.asarray(values, dtype=dtype)


def is_run(thing: Any) -> bool:
    """Whether it is a run, or looks enough like one to be drawn."""
    return hasattr(thing, "confusion") and hasattr(thing, "counts")


def class_counts(data: Any) -> np.ndarray:
    """Training images of each class (k,) from a data set, a run, or the counts themselves."""
    counts = array(getattr(data, "counts", data), dtype=np.float64)
    if counts.ndim != 1 or not counts.size or not np.isfinite(counts).all() or (counts < 0).any():
        raise ValueError("counts must be one number of images per class (k,), finite and not negative; "
                         f"given an array of shape {counts.shape}")
    return counts


def by_count(counts: np.ndarray) -> np.ndarray:
    """Class numbers from the most frequent to the rarest (stable)."""
    return np.argsort(-counts, kind="stable")


@dataclass
class Series:
    """Runs that differ only in their seed."""

    name: str
    runs: list[Any]

    @property
    def label(self) -> str:
        return f"{self.name} ({seeds(len(self.runs))})"

    def stack(self, values: Callable[[Any], Any]) -> np.ndarray:
        """values(run) (k,) of every run, classes sorted by count: (seeds, k)."""
        return np.array([array(values(run), np.float64)[by_count(class_counts(run))] for run in self.runs])

    @property
    def counts(self) -> np.ndarray:
        """Training images by rank, mean over the runs."""
        return self.stack(lambda run: class_counts(run)).mean(0)

    def groups(self, values: Callable[[Any], Any] = metrics.per_class) -> dict[str, np.ndarray]:
        """Mean of values(run) over all, head, mid and tail classes: each (seeds,)."""
        rows = [metrics.shot_accuracy(array(values(run), np.float64), class_counts(run)) for run in self.runs]
        return {name: np.array([row[name] for row in rows]) for name in ("all", "head", "mid", "tail")}


def series_of(runs: Any) -> list[Series]:
    """Group runs into series. A dict gives its own labels; otherwise runs of one name are seeds of one series.

    Runs of one name that differ in more than the seed (ratio, epochs, ...) are kept apart, and named by what differs.
    Raises ValueError for no run, and for runs whose numbers of classes differ.
    """
    if is_run(runs):
        found = [Series(_name(runs), [runs])]
    elif isinstance(runs, Mapping):
        found = [Series(str(label), _unique([of] if is_run(of) else list(of))) for label, of in runs.items()]
    else:
        found = _group(_unique(list(runs)))
    if not found or not all(one.runs for one in found):
        raise ValueError("no run given: pass a run, a list of runs, or a dict label -> runs")
    sizes = {len(class_counts(run)) for one in found for run in one.runs}
    if len(sizes) > 1:
        raise ValueError(f"the runs have {' and '.join(map(str, sorted(sizes)))} classes; plot one data set at a time")
    return found


def _name(run: Any) -> str:
    return str(getattr(run, "name", None) or getattr(run, "method", None) or "run")


def _unique(runs: list[Any]) -> list[Any]:
    """Each run once: the same run twice would look like two seeds."""
    for run in runs:
        if not is_run(run):
            raise ValueError(f"expected a run, given {type(run).__name__}; train one with ltviz.train, or load_run")
    seen = {getattr(run, "id", None) or id(run): run for run in runs}
    return list(seen.values())


def _group(runs: list[Any]) -> list[Series]:
    named: dict[str, dict[str, list[Any]]] = {}
    for run in runs:
        key = json.dumps(_asked(run), sort_keys=True, default=str)
        named.setdefault(_name(run), {}).setdefault(key, []).append(run)
    found = []
    for name, kinds in named.items():
        asked = [_asked(of[0]) for of in kinds.values()]
        differ = [key for key in asked[0] if len({json.dumps(a.get(key), default=str) for a in asked}) > 1]
        for says, of in zip(asked, kinds.values(), strict=True):
            extra = " ".join(f"{key.rpartition('.')[2]}={says.get(key)}" for key in differ)
            found.append(Series(f"{name} {extra}".strip(), of))
    return found


def _asked(run: Any) -> dict[str, Any]:
    """What defines a run apart from its seed, flat: settings, recipe, parent's presence, and the data's arguments."""
    parts = {"settings": getattr(run, "settings", None), "recipe": getattr(run, "recipe", None)}
    data = dict(getattr(run, "data", None) or {})
    parts["data"] = {key: value for key, value in data.items()
                     if key not in ("seed", "fingerprint", "class_names", "spec")} | dict(data.get("spec") or {})
    flat = {"branch": bool(getattr(run, "parent", None))}
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


def first_counts(found: list[Series]) -> np.ndarray:
    """Counts by rank of the first series, which carries the class axis."""
    return found[0].counts
