"""A run: what was asked for, what happened, what was learned. Saved as one safetensors file, arrays and JSON only."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import metrics
from .check import suggest
from .methods import METHODS
from .objective import Output

FORMAT = 1  # of the file; a newer one is refused

_TEST_ARRAYS = ("targets", "logits", "scores", "features")  # one row a test image
_BULKY = ("train_features", "train_targets", "network")


def request_id(**asked: Any) -> str:
    """A short hash of what was asked for: the same request has the same id on every machine."""
    text = json.dumps(asked, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(repr=False)
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
    head_weight (k, d), head_bias (k,) or None, scale   the classifier
    class_means (k, d)       mean training feature of each class; class_feature_norm (k,) mean norm of test features
    targets (n,), logits (n, k) raw, scores (n, k) after the post-hoc rule or None, features (n, d)   test images,
                             None in a small record; train_features, train_targets, network: likewise
    ece                      expected calibration error on the test images, 15 bins
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
    head_weight: np.ndarray
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

    def __repr__(self) -> str:
        on, epochs = self.data.get("name", "data"), len(self.history.get("epoch", ()))
        score = "" if self.status == "diverged" else f", test accuracy {self.accuracy:.1%}"
        return f"{self.name} on {on}, seed {self.seed}: {self.status} after {epochs} epochs{score}"

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
        """Per class: training images, precision, recall, F1, weight norm, feature norm (a pandas DataFrame)."""
        import pandas as pd

        columns = {
            "class": self.class_names,
            "count": self.counts,
            "precision": metrics.precision(self),
            "recall": metrics.recall(self),
            "f1": metrics.f1(self),
            "weight norm": np.linalg.norm(self.head_weight, axis=1),
        }
        if self.class_feature_norm is not None:
            columns["feature norm"] = self.class_feature_norm
        return pd.DataFrame(columns).set_index("class")

    def posthoc(self, key: str, **settings: Any) -> np.ndarray:
        """Re-decide with another method's post-hoc rule: its logits (n, k) for the stored test images.

        Raises ValueError where the method has no such rule, or the record keeps no features.
        """
        method = METHODS[key]
        if method.posthoc is None:
            with_rule = ", ".join(k for k, m in METHODS.items() if m.posthoc)
            raise ValueError(f"{method.key} has no post-hoc rule; these have: {with_rule}")
        self._need("features", "features of test images")
        out = Output(
            torch.from_numpy(self.logits),
            torch.from_numpy(self.features.astype(np.float32)),
            torch.from_numpy(self.head_weight),
            self.scale,
        )
        with torch.no_grad():
            logits = method.posthoc(out, torch.from_numpy(self.counts), self.gallery, **method.resolve(settings))
        return logits.numpy()

    def gallery(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Training features (n, d) and targets (n,). ValueError where the record does not keep them."""
        self._need("train_features", "features of training images")
        return torch.from_numpy(self.train_features.astype(np.float32)), torch.from_numpy(self.train_targets)

    def _need(self, name: str, what: str) -> None:
        if getattr(self, name) is None:
            raise ValueError(
                f"this record of {self.name!r} keeps no {what} ({name}). Train it here, or load a full record "
                "(run.save(path) keeps everything; run.save(path, small=True) does not)."
            )

    @property
    def filename(self) -> str:
        """Data, recipe, label, seed and id: what `save` calls the file in a folder."""
        stem = run_stem(str(self.data.get("name", "data")), str(self.recipe.get("name", "")), self.label, self.seed)
        return f"{stem}-{self.id}.safetensors"

    def save(self, path: str | Path, *, small: bool = False, images: int = 0) -> Path:
        """Write the run to a file, or into a folder under its own file name; returns the path.

        small=True leaves out the network, training features, and all but the first `images` test images' logits and
        features. The write is atomic: a reader, or a full disk, never sees half a file.
        """
        from safetensors.numpy import save

        path = Path(path)
        if path.suffix != ".safetensors":
            path = path / self.filename
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
                plain[item.name] = value
        arrays = {name: np.asarray(value, order="C") for name, value in arrays.items()}
        meta = {"ltviz": json.dumps({"format": FORMAT, **plain}, sort_keys=True, default=_plain)}
        write_atomically(path, save(arrays, metadata=meta))
        return path


def run_stem(data: str, recipe: str, label: str, seed: int) -> str:
    """The readable part of a run's file name."""
    parts = [re.sub(r"[^A-Za-z0-9.]+", "_", part).strip("_") for part in (data, recipe, label) if part]
    return "-".join([*parts, f"seed{seed}"])[-150:]


def _plain(value: Any) -> Any:
    if isinstance(value, (np.integer, np.floating, np.bool_)):
        return value.item()
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file beside its place, then rename it there; what was there stays until the new one is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


class RunFileError(ValueError):
    """A file that is not a whole run of this version; the message names the file and the reason."""


def read_record(path: str | Path, keep: Callable[[dict], bool] = lambda meta: True) -> tuple[dict, dict] | None:
    """(JSON part, arrays) of a file of ours, or None where keep(JSON part) is False. RunFileError if it is not fit."""
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.exists():
        raise RunFileError(f"{path}: there is no such file")
    with path.open("rb") as file:
        start = file.read(9)
    if start[8:] != b"{" and (start[:2] == b"PK" or start[:1] == b"\x80"):
        raise RunFileError(
            f"{path}: this is a pickle or a zip of pickles, which could run code when opened. Run files hold arrays "
            "and JSON only (safetensors); save the run again with run.save()."
        )
    try:
        with safe_open(path, framework="np") as file:
            text = (file.metadata() or {}).get("ltviz")
            if text is None:
                raise RunFileError(f"{path}: a safetensors file, but not one of ltviz (it has no 'ltviz' record)")
            meta = json.loads(text)
            if meta.get("format", 0) > FORMAT:
                raise RunFileError(
                    f"{path}: written by a newer ltviz (format {meta['format']}, this one reads up to {FORMAT}); "
                    "update ltviz"
                )
            if not keep(meta):
                return None
            return meta, {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise RunFileError(f"{path}: damaged or cut short ({error}). Delete it, and train or copy it again.") from None


def load_run(path: str | Path) -> Run:
    """Read a run. Raises RunFileError, naming the file and the reason, for a damaged, foreign or newer one."""
    return _run(path, *read_record(path))


def _run(path: str | Path, meta: dict, arrays: dict[str, np.ndarray]) -> Run:
    values: dict[str, Any] = {"history": {}, **{key: value for key, value in meta.items() if key != "format"}}
    for name, value in arrays.items():
        group, _, key = name.partition("/")
        if key:
            values.setdefault(group, {})[key] = value
        else:
            values[name] = value
    known = {item.name for item in fields(Run)}
    missing = {"method", "settings", "counts", "confusion", "head_weight"} - values.keys()
    if missing or values.keys() - known:
        what = f"it lacks {', '.join(sorted(missing))}" if missing else f"unknown {sorted(values.keys() - known)}"
        raise RunFileError(f"{path}: not a whole run ({what})")
    return Run(**values)


def load_runs(folder: str | Path, **filters: Any) -> list[Run]:
    """The runs in a folder, by file name. Filters: method=, seed=, data= and recipe= (their names), status=, or any
    setting: load_runs("data/runs/digits", method="focal", gamma=2.0). A list means any of its values. Raises ValueError
    for a filter that no run in the folder has.
    """
    folder = Path(folder)
    if "method" in filters:  # a method also answers to its aliases
        wanted = filters["method"] if isinstance(filters["method"], (list, tuple, set)) else [filters["method"]]
        filters["method"] = [METHODS[key].key if key in METHODS else key for key in wanted]
    if not folder.is_dir():
        raise RunFileError(f"{folder}: there is no such folder")
    runs, seen = [], {"data", "recipe"}

    def keep(meta: dict) -> bool:
        seen.update(meta, meta.get("settings", ()))
        return "method" in meta and _matches(meta, filters)

    paths = sorted(folder.glob("*.safetensors"))
    for path in paths:
        record = read_record(path, keep)
        if record:
            runs.append(_run(path, *record))
    unknown = [name for name in filters if name not in seen] if paths else []
    if unknown:
        raise ValueError(f"no run in {folder} has a {unknown[0]!r}{suggest(unknown[0], seen)}")
    return sorted(runs, key=lambda run: (run.label, run.seed))


def _matches(meta: dict, filters: dict[str, Any]) -> bool:
    for name, wanted in filters.items():
        if name in ("data", "recipe"):
            value = meta[name].get("name")
        else:
            value = meta[name] if name in meta and name != "settings" else meta["settings"].get(name)
        wanted = wanted if isinstance(wanted, (list, tuple, set)) else [wanted]
        if value not in wanted:
            return False
    return True


def collect(
    model: torch.nn.Module,
    loader: Any,
    *,
    head: str = "fc",
    counts: Any = None,
    class_names: list[str] | None = None,
    name: str = "my model",
) -> Run:
    """Look at any classifier as a run: every plot and explorer takes the result.

    model   a torch module that maps a batch of images to logits (n, k); used as it is, in eval mode, on its device
    loader  yields (images, targets) of test images
    head    the name of the classifier inside the model: a module with `.weight` (k, d) whose input are the features
    counts  (k,) training images of each class; without it, those of the loader (then it should be the training set)
    Raises ValueError where the model has no such module, or it never runs.
    """
    modules = dict(model.named_modules())
    if head not in modules or not hasattr(modules[head], "weight"):
        linear = [n for n, m in modules.items() if isinstance(m, torch.nn.Linear)]
        raise ValueError(f"head={head!r} is no classifier inside the model; its linear layers are: {linear}")
    layer, seen, logits, targets = modules[head], [], [], []
    hook = layer.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].detach().float().cpu()))
    device, mode = layer.weight.device, model.training
    model.eval()
    try:
        with torch.no_grad():
            for images, labels in loader:
                logits.append(model(images.to(device)).float().cpu())
                targets.append(torch.as_tensor(labels).cpu())
    finally:
        hook.remove()
        model.train(mode)
    if len(seen) != len(logits):
        raise ValueError(f"head={head!r} ran {len(seen)} times for {len(logits)} batches; name the last classifier")
    z, features, y = torch.cat(logits).numpy(), torch.cat(seen).flatten(1).numpy(), torch.cat(targets).numpy()
    k = z.shape[1]
    counts = np.bincount(y, minlength=k) if counts is None else np.asarray(counts)
    if len(counts) != k or y.min() < 0 or y.max() >= k:
        raise ValueError(f"the model has {k} classes, counts {len(counts)}, and targets lie in {y.min()}..{y.max()}")
    present = np.bincount(y, minlength=k)
    bias = getattr(layer, "bias", None)
    norms = np.bincount(y, np.linalg.norm(features, axis=1), k)
    with np.errstate(invalid="ignore"):
        class_norm = norms / present
    return Run(
        method="collected",
        settings={},
        data={"name": "collected"},
        recipe={"name": ""},
        seed=0,
        counts=counts,
        class_names=class_names or [str(j) for j in range(k)],
        history={},
        confusion=metrics.confusion(y, z.argmax(1), k),
        head_weight=layer.weight.detach().float().cpu().numpy(),
        head_bias=None if bias is None else bias.detach().float().cpu().numpy(),
        class_feature_norm=class_norm,
        targets=y,
        logits=z,
        features=features.astype(np.float16),
        ece=metrics.ece(metrics.probabilities(z, "softmax"), y),
        id=request_id(name=name, logits=z.tobytes().hex()[:4096]),
        label=name,
    )
