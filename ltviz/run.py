"""A run: what was asked for, what happened, what was learned. Saved as one safetensors file, arrays and JSON only."""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import check, metrics, schema
from .check import suggest
from .files import ForeignFile, RunFileError, checksum, read_record, request_id, save_record
from .methods import METHODS
from .objective import Output

PART = 2**18  # numbers that are looked at together, so that no second copy of all of them is made
_TEST_ARRAYS = ("targets", "logits", "scores", "features")  # one row a test image
_BULKY = ("train_features", "train_targets", "network")


def compact(features: np.ndarray) -> np.ndarray:
    """Features (n, d) in float16 where that loses nothing but digits, else as they are.

    float16 ends at 65,504 and has no digits left below 6e-8: features beyond either stay in float32.
    """
    if not np.isfinite(features).all() or (largest := np.abs(features).max(initial=0.0)) > 65_504:
        return features
    small = features.astype(np.float16)
    close = np.abs(small.astype(features.dtype) - features) <= 1e-3 * np.abs(features) + 1e-6 * largest
    return small if close.all() else features


def parts(rows: np.ndarray) -> list[slice]:
    """Rows (n, d) a part at a time."""
    step = max(PART // rows.shape[1], 1)
    return [slice(first, first + step) for first in range(0, len(rows), step)]


def class_means(features: np.ndarray, targets: np.ndarray, k: int) -> np.ndarray:
    """Mean feature of each class (k, d), float32; NaN for a class without images."""
    total = np.zeros((k, features.shape[1]))
    for part in parts(features):
        order = np.argsort(targets[part], kind="stable")
        at, first = np.unique(targets[part][order], return_index=True)
        total[at] += np.add.reduceat(features[part][order].astype(np.float64), first, axis=0)
    number = np.bincount(targets, minlength=k)[:, None]
    return np.where(number > 0, total / np.maximum(number, 1), np.nan).astype(np.float32)


def narrow(whole: np.ndarray) -> np.ndarray:
    """Whole numbers in the narrowest type that holds them: a class number in a file takes one byte, not eight."""
    if whole.dtype.kind not in "iu" or not whole.size:
        return whole
    return whole.astype(np.promote_types(np.min_scalar_type(whole.min()), np.min_scalar_type(whole.max())))


def stopped_id(request: str, network: Mapping[str, np.ndarray]) -> str:
    """The id of a run that was stopped: the request and how far it came, so never that of the finished one."""
    return request_id(request=request, network=checksums(network))


def checksums(arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    """sha256 of each array."""
    return {name: checksum(value) for name, value in arrays.items()}


@dataclass(frozen=True)
class Kept(Output):
    """What a run kept of its network's outputs, for post-hoc rules.

    head_bias (k,): of a linear classifier, zeros where it has none; None where that is not known.
    """

    head_bias: torch.Tensor | None = None


@dataclass(repr=False, eq=False)
class Run:
    """A trained network, its history and its answers on the test set.

    method, settings         the method's key and all its settings
    data, recipe, seed       how the data was made (JSON), how it was trained, the seed
    status                   "finished", "stopped" or "diverged"
    id, parent               content id of the request; the id of the run that this one continues
    provenance               versions, device, threads, seconds, command
    counts (k,), class_names images and name of each class, most frequent first
    history                  one row an epoch: epoch, stage, lr, loss, term/<name>, and (epochs, k) arrays
                             weight_norm, feature_norm, val_accuracy (NaN without validation images)
    confusion (k, k)         test images, true class in rows, predicted in columns
    head_weight (k, d) or None, head_bias (k,) or None, scale   the classifier
    class_means (k, d)       mean training feature of each class; class_feature_norm (k,) mean norm of test features
    targets (n,), logits (n, k) raw, scores (n, k) after the post-hoc rule or None, features (n, d)   test images,
                             None in a small record; train_features, train_targets, network: likewise
    ece                      expected calibration error on the test images, 15 bins

    Two runs are equal if they hold the same, whatever the provenance says: a saved run equals the one that is read.
    """

    method: str
    settings: dict[str, Any]
    data: dict[str, Any]
    recipe: dict[str, Any]
    seed: int
    counts: np.ndarray
    class_names: list[str]
    history: dict[str, np.ndarray]
    confusion: np.ndarray
    head_weight: np.ndarray | None = None
    head_bias: np.ndarray | None = None
    scale: float | None = None
    class_means: np.ndarray | None = None
    class_feature_norm: np.ndarray | None = None
    targets: np.ndarray | None = None
    logits: np.ndarray | None = None
    scores: np.ndarray | None = None
    features: np.ndarray | None = None
    train_features: np.ndarray | None = None
    train_targets: np.ndarray | None = None
    network: dict[str, np.ndarray] | None = None
    ece: float = float("nan")
    status: str = "finished"
    parent: str | None = None
    id: str = ""
    label: str = ""
    probability: str = "softmax"
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        self.label = self.label or self.method
        self.made_by: Any = None  # of a run trained in this process: its bound method, and what made an own network

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Run) or (self.id, self.seed) != (other.id, other.seed):
            return False
        return self is other or all(_same(getattr(self, one.name), getattr(other, one.name)) for one in fields(self)
                   if one.name != "provenance")  # fmt: skip

    def __hash__(self) -> int:
        return hash((self.id, self.seed))

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "made_by": None}

    def __repr__(self) -> str:
        on, epochs = self.data.get("name", "data"), len(self.history.get("epoch", ()))
        said = [f"{self.status} after {check.many(epochs, 'epoch')}"] if epochs or self.status != "finished" else []
        said += [] if self.status == "diverged" else [f"test accuracy {self.accuracy:.1%}"]
        return f"{self.name} on {on}, seed {self.seed}: {', '.join(said)}"

    @property
    def name(self) -> str:
        """The label that plots use: method and the settings that differ from their defaults. May be set."""
        return self.label

    @name.setter
    def name(self, label: str) -> None:
        self.label = label

    @property
    def k(self) -> int:
        return len(self.counts)

    @property
    def accuracy(self) -> float:
        """Share of test images that are right; NaN for a diverged run."""
        return metrics.accuracy(self)

    @property
    def per_class(self) -> np.ndarray:
        """Share of each class's test images that are right (k,): the recall."""
        return metrics.recall(self)

    @property
    def decided(self) -> np.ndarray:
        """The logits that predictions are made from (n, k): after the post-hoc rule, where the method has one."""
        self._need("logits", "logits of test images")
        return self.logits if self.scores is None else self.scores

    def table(self):
        """Per class: training images, precision, recall, F1, and weight and feature norm where kept (a DataFrame)."""
        import pandas as pd

        columns = {
            "class": self.class_names,
            "count": self.counts,
            "precision": metrics.precision(self),
            "recall": metrics.recall(self),
            "f1": metrics.f1(self),
        }
        if self.head_weight is not None:
            columns["weight norm"] = np.linalg.norm(self.head_weight, axis=1)
        if self.class_feature_norm is not None:
            columns["feature norm"] = self.class_feature_norm
        return pd.DataFrame(columns).set_index("class")

    def model(self, model: Any = None) -> torch.nn.Module:
        """The network of this run in eval mode, on the CPU: normalised images (n, c, h, w) -> logits (n, k).

        Images are normalised as (x / 255 - mean) / std with data["mean"] and data["std"]. model: the network that was
        given to `train` (a module, or what makes one), which a run from a file needs where it was the reader's own; its
        weights are those of the run. ValueError where the record keeps no network, or another one is given.
        """
        self._need_network()
        return _network().rebuild(self, model)

    def predict(self, images: Any, model: Any = None) -> Any:
        """Classes, their names and probabilities of new images, decided as the run decides on its test images.

        images   uint8 or floats from 0 to 1: an array (n, h, w) or (n, h, w, c), a tensor (n, c, h, w); or an image of
                 PIL, or a list of them. Of another size than those trained on, they are cut to that shape in the middle
                 and resized. Of a table's run: a DataFrame with its columns, which is encoded and scaled as those of
                 training were, or rows as data.encode(features) gives them
        model    as for `model`
        Returns a training.network.Prediction: classes (n,), names, probabilities and logits (n, k), features (n, d).
        ValueError for anything else, and where the record keeps no network.
        """
        self._need_network()
        return _network().predict(self, images, model)

    def posthoc(self, key: str, **settings: Any) -> np.ndarray:
        """Re-decide with another method's post-hoc rule: its logits (n, k) for the stored test images.

        Raises ValueError where the method has no such rule, or the record keeps no logits, or no features where the
        rule decides from them.
        """
        method = METHODS[key]
        if method.posthoc is None:
            with_rule = ", ".join(k for k, m in METHODS.items() if m.posthoc)
            raise ValueError(f"{method.key} has no post-hoc rule; these have: {with_rule}")
        self._need("logits", "logits of test images")
        rule = method(**settings)
        out = self.kept()
        asked: list[bool] = []  # for the training features
        try:
            with torch.no_grad():
                logits = rule.decide(out, torch.from_numpy(self.counts), lambda: asked.append(True) or self.gallery())
        except (AttributeError, TypeError, ValueError):
            self._need("features", "features of test images")  # where there are none, that is why
            if not asked:
                self._need("head_weight", "classifier vectors")
            raise
        return logits.numpy()

    def kept(self, rows: slice = slice(None), logits: torch.Tensor | None = None) -> Kept:
        """What the network gave for these test images, or with other logits (n, k) in the place of its own."""
        features, weight, bias = self.features, self.head_weight, self.head_bias
        if bias is None and weight is not None and self.method in ("predictions", "collected"):
            bias = np.zeros(self.k)  # W f alone was seen to give the logits
        return Kept(
            torch.from_numpy(self.logits[rows]) if logits is None else logits,
            None if features is None else torch.from_numpy(features[rows].astype(np.float32)),
            None if weight is None else torch.from_numpy(weight),
            self.scale,
            head_bias=None if bias is None or self.scale is not None else torch.from_numpy(bias.astype(np.float32)),
        )

    def gallery(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Training features (n, d) and targets (n,). ValueError where the record does not keep them."""
        self._need("train_features", "features of training images")
        return torch.from_numpy(self.train_features.astype(np.float32)), torch.from_numpy(self.train_targets)

    def _need(self, name: str, what: str) -> None:
        if getattr(self, name) is None:
            raise ValueError(f"this record of {self.name!r} keeps no {what} ({name}); {check.remedy(self, name)}")

    def _need_network(self) -> None:
        """ValueError for a run without one, and for one whose network gives nothing."""
        if self.network is None and self.method in ("collected", "predictions"):
            source = "collect" if self.method == "collected" else "from_predictions"
            raise ValueError(f"run={self.name!r}: {source} keeps no network; ask your own module, in eval mode")
        if self.status == "diverged":
            raise ValueError(
                f"run={self.name!r}: its training diverged, so its network gives no answers; train it again, with a "
                "smaller learning rate (lr=)"
            )
        self._need("network", "network")

    @property
    def filename(self) -> str:
        """Data, recipe, label, seed and id: what `save` calls the file in a folder."""
        stem = run_stem(str(self.data.get("name", "data")), str(self.recipe.get("name", "")), self.label, self.seed)
        return f"{stem}-{self.id}.safetensors"

    def save(self, path: str | Path, *, small: bool = False, images: int = 0) -> Path:
        """Write the run to a file, or into a folder under its own file name; returns the path.

        small=True leaves out the network, training features, and all but the first `images` test images' logits and
        features. Where the same run (its id) is kept there already with more of it, that file stays as it is: delete it
        first to save space. The write is atomic: a reader, or a full disk, never sees half a file. Raises ValueError
        for a run that is not sound (schema) and for a name that ends as another kind of file does, OSError where
        nothing can be written.
        """
        path = check.path("path", path)
        check.flag("small", small)
        check.whole("images", images)
        if path.suffix != ".safetensors":
            if re.fullmatch(r"\.[A-Za-z]\w{0,11}", path.suffix) and not path.is_dir():
                raise check.refuse("path", str(path), "a folder, or a file that ends in .safetensors")
            path = path / self.filename
        plain, arrays = self._parts(small, images)
        schema.check_run(plain, arrays)
        if not _kept_with_more(path, self.id, arrays):
            save_record(path, "run", plain, arrays)
        return path

    def _parts(self, small: bool, images: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """The JSON part and the arrays of the record."""
        arrays, plain = {}, {}
        for item in fields(self):
            value = getattr(self, item.name)
            if small and item.name in _TEST_ARRAYS and value is not None:
                value = value[:images] if images else None
            if value is None or (small and item.name in _BULKY):
                continue
            if isinstance(value, np.ndarray):
                arrays[item.name] = value
            elif item.name in ("history", "network"):
                arrays.update({f"{item.name}/{key}": np.asarray(v) for key, v in value.items()})
            else:
                plain[item.name] = value.item() if isinstance(value, np.generic) else value
        return plain, {name: narrow(value) if schema.is_whole(name) else value for name, value in arrays.items()}


def _same(a: Any, b: Any) -> bool:
    """Whether two parts of runs hold the same: a tuple is a list, NaN is NaN, types of equal numbers do not matter."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        a, b = np.asarray(a), np.asarray(b)
        floats = a.dtype.kind == b.dtype.kind == "f"
        return np.array_equal(a, b, equal_nan=floats)
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_same(value, b[key]) for key, value in a.items())
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b or (a != a and b != b))


def _network() -> Any:
    """training.network, which is made of what stands here."""
    return importlib.import_module(f"{__package__}.training.network")


def _kept_with_more(path: Path, run_id: str, arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether a whole record of this run is there, with all that these arrays hold and more."""
    try:
        record = read_record(path, "run", lambda meta: meta.get("id") == run_id)
        if record is None:
            return False
        _run(path, *record)
    except RunFileError:  # nothing is there, or nothing to be believed
        return False
    there = {name: value.size for name, value in record[1].items()}
    new = {name: value.size for name, value in arrays.items()}
    return there != new and all(there.get(name, -1) >= size for name, size in new.items())


def run_stem(data: str, recipe: str, label: str, seed: int) -> str:
    """The readable part of a run's file name."""
    parts = [re.sub(r"[^A-Za-z0-9.]+", "_", part).strip("_.") for part in (data, recipe, label) if part]
    return "-".join([*(part for part in parts if part), f"seed{int(seed)}"])[-150:]


def load_run(path: str | Path) -> Run:
    """Read a run. Raises RunFileError, naming the file and the reason, for a damaged, foreign or newer one."""
    path = check.path("path", path)
    return _run(path, *read_record(path, "run"))


def _run(path: Path, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> Run:
    try:
        schema.check_run(meta, arrays)
    except ValueError as error:
        raise RunFileError(f"{path}: not a whole run ({error})") from None
    values: dict[str, Any] = {"history": {}, **meta}
    for name, value in arrays.items():
        value = value.astype(np.int64) if schema.is_whole(name) else value
        group, _, key = name.partition("/")
        if key:
            values.setdefault(group, {})[key] = value
        else:
            values[name] = value
    return Run(**values)


def load_runs(folder: str | Path, **filters: Any) -> list[Run]:
    """The runs in a folder, by file name. Filters: method=, seed=, data= and recipe= (their names), status=, or any
    setting: load_runs("data/runs/digits", method="focal", gamma=2.0). A list means any of its values. Raises ValueError
    for a filter that no run in the folder has.
    """
    folder = check.path("folder", folder)
    filters = {name: _wanted(value) for name, value in filters.items()}
    if "method" in filters:  # a method also answers to its aliases
        filters["method"] = [METHODS[key].key if key in METHODS else key for key in filters["method"]]
    for status in filters.get("status", ()):
        check.choice("status", status, ("finished", "stopped", "diverged"))
    for number in filters.get("seed", ()):
        check.seed(number)
    if not folder.is_dir():
        raise RunFileError(f"{folder}: there is no such folder")
    runs, seen = [], {"data", "recipe"}

    def keep(meta: dict) -> bool:
        seen.update(meta, meta.get("settings", ()))
        return _matches(meta, filters)

    paths = sorted(folder.glob("*.safetensors"))
    for path in paths:
        try:
            record = read_record(path, "run", keep)
        except ForeignFile as error:
            warnings.warn(f"{error}; it is passed over", stacklevel=2)
            continue
        if record:
            runs.append(_run(path, *record))
    unknown = [name for name in filters if name not in seen] if paths else []
    if unknown:
        raise ValueError(f"no run in {folder} has a {unknown[0]!r}{suggest(unknown[0], seen)}")
    return sorted(runs, key=lambda run: (run.label, run.seed))


def _matches(meta: dict, filters: dict[str, Any]) -> bool:
    for name, wanted in filters.items():
        if name in ("data", "recipe"):
            value = meta.get(name, {}).get("name")
        else:
            value = meta[name] if name in meta else meta.get("settings", {}).get(name)
        if not any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in wanted):
            return False
    return True


def _wanted(value: Any) -> list:
    """The values that a filter lets pass: one, or several."""
    value = value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
    return list(value) if isinstance(value, (list, tuple, set, range)) else [value]
