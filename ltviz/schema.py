"""What a run's record holds: every name, type and shape, said once, and checked on writing and on reading.

Axes: k classes, d features, n test images, m training images, e epochs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from .check import choice, instance, refuse, seed, shown

ID = re.compile(r"[0-9a-f]{12}")

# name: (kind of number, axes, whether NaN and infinity have a meaning there)
ARRAYS: dict[str, tuple[str, str, bool]] = {
    "counts": ("whole", "k", False),
    "confusion": ("whole", "kk", False),
    "head_weight": ("real", "kd", False),
    "head_bias": ("real", "k", False),
    "class_means": ("real", "kd", True),  # NaN: a class without training images
    "class_feature_norm": ("real", "k", True),  # NaN: a class without test images
    "targets": ("whole", "n", False),
    "logits": ("real", "nk", False),
    "scores": ("real", "nk", False),
    "features": ("real", "nd", False),
    "train_features": ("real", "md", False),
    "train_targets": ("whole", "m", False),
    "history/epoch": ("whole", "e", False),
    "history/stage": ("whole", "e", False),
    "history/loss": ("real", "e", True),
    "history/lr": ("real", "e", False),
    "history/weight_norm": ("real", "ek", True),
    "history/feature_norm": ("real", "ek", True),  # NaN: a class that the epoch did not visit
    "history/val_accuracy": ("real", "ek", True),  # NaN: no validation images
}
NEEDED = ("counts", "confusion")
KINDS = {"whole": "iu", "real": "f"}


def is_whole(name: str) -> bool:
    """Whether an array of a record holds whole numbers, by its name."""
    return ARRAYS.get(name, ("",))[0] == "whole"


def check_run(meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Raise ValueError, naming the entry, where a run's JSON part or an array of it is not what it must be."""
    check_meta(meta)
    missing = [name for name in NEEDED if name not in arrays]
    if missing:
        raise ValueError(f"it lacks {', '.join(missing)}")
    whole_run = meta["status"] == "finished"
    sizes: dict[str, int] = {}
    rank = {name: place for place, name in enumerate(ARRAYS)}  # the counts and the head say how many k and d are
    for name in sorted(arrays, key=lambda name: (rank.get(name, len(rank)), name)):
        _check_array(name, arrays[name], sizes, finite=whole_run)
    k = sizes["k"]
    if len(meta["class_names"]) != k:
        raise refuse("class_names", meta["class_names"], f"a name for each of the {k} classes")
    for name in ("targets", "train_targets"):
        if name in arrays and arrays[name].size and not 0 <= arrays[name].min() <= arrays[name].max() < k:
            raise ValueError(f"{name}: expected class numbers from 0 to {k - 1}")
    for name in ("counts", "confusion"):
        if arrays[name].min() < 0:
            raise ValueError(f"{name}: expected numbers of images, none negative")


def _check_array(name: str, array: np.ndarray, sizes: dict[str, int], finite: bool) -> None:
    if name.startswith("network/") or name.startswith("history/term/"):
        kind, axes, any_value = "real", "e" if name.startswith("history/") else "", True
        if name.startswith("network/") and array.dtype.kind in "biuf":
            return
    elif name in ARRAYS:
        kind, axes, any_value = ARRAYS[name]
    else:
        raise ValueError(f"unknown entry {name!r}")
    if array.dtype.kind not in KINDS[kind]:
        raise ValueError(f"{name}: expected {kind} numbers, got {array.dtype}")
    if array.ndim != len(axes) or any(sizes.setdefault(a, n) != n for a, n in zip(axes, array.shape, strict=True)):
        known = ", ".join(f"{axis}={size}" for axis, size in sizes.items() if axis in axes)
        raise ValueError(f"{name}: expected the shape ({', '.join(axes)}) with {known}, got {array.shape}")
    if finite and not any_value and array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{name}: expected finite numbers in a finished run")


def check_meta(meta: Mapping[str, Any]) -> None:
    """Raise ValueError, naming the entry, where the JSON part of a run is not what it must be."""
    known = {
        "method", "settings", "data", "recipe", "seed", "class_names", "scale", "ece", "status", "parent", "id",
        "label", "probability", "provenance",
    }  # fmt: skip
    needed = known - {"scale", "parent"}
    if meta.keys() - known or needed - meta.keys():
        raise ValueError(f"it lacks {sorted(needed - meta.keys())}, and has {sorted(meta.keys() - known)}")
    for name in ("settings", "data", "recipe", "provenance"):
        instance(name, meta[name], Mapping, "names and values")
    for name in ("method", "label"):
        instance(name, meta[name], str, "a text")
    for name in ("data", "recipe"):
        instance(f"{name}.name", meta[name].get("name"), str, "a text")
    names = meta["class_names"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise refuse("class_names", names, "a list of texts")
    seed(meta["seed"])
    for name in ("ece", "scale"):
        if meta.get(name) is not None and (isinstance(meta[name], bool) or not isinstance(meta[name], (int, float))):
            raise refuse(name, meta[name], "a number")
    choice("status", meta["status"], ("finished", "stopped", "diverged"))
    choice("probability", meta["probability"], ("softmax", "sigmoid"))
    for name in ("id", "parent"):  # they become parts of file names
        value = meta.get(name)
        if not (value is None and name == "parent") and not (isinstance(value, str) and ID.fullmatch(value)):
            raise ValueError(f"{name}={shown(value)}: expected 12 digits from 0 to f")
