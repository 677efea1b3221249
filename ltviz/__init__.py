"""ltviz: learn, explore and tune learning from long-tailed data.

Names are loaded when they are first used, so that `import ltviz` costs little more than `import torch`.
"""

from __future__ import annotations

import importlib
import os

# A thread of torch's that waits spins for a moment, then sleeps. Without spinning, small images train slower on an idle
# machine; with the default, a hundred times as long, they collapse on a busy one. Both must be set before torch is
# imported; the second is for GNU's OpenMP, the first for every other.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "3000")
# Runs side by side on a GPU have a stream each; by default only eight of them get a hardware queue of their own.
os.environ.setdefault("CUDA_DEVICE_MAX_CONNECTIONS", "32")

_WHERE = {
    "datasets": (
        "LongTailed", "attributes_csv", "celeba", "cifar_lt", "digits_attributes", "digits_lt", "folder_lt",
        "glyphs_lt", "list_lt", "manga109", "omniglot_lt", "table_lt",
    ),
    "methods": ("METHODS", "cite"),
    "objective": ("Objective", "Regularizer"),
    "own": ("as_method",),
    "run": ("Run", "load_run", "load_runs"),
    "collector": ("collect",),
    "predictions": ("from_predictions",),
    "training": ("RECIPES", "LiveRun", "Recipe", "make_data", "sweep", "train"),
    "attributes": ("AttributeRun", "load_attribute_run", "train_attributes"),
    "recognition": ("recognise",),
    "many": ("train_many",),
    "tuning": ("Tuning", "tune"),
    "embedding": ("embed",),
    "explore.export": ("export",),
    "reporting": ("report",),
    "plots": (
        "plot_attributes", "plot_class_accuracy", "plot_class_weights", "plot_comparison", "plot_confusion",
        "plot_cost", "plot_counts", "plot_effective_number", "plot_embedding", "plot_examples", "plot_feature_norms",
        "plot_gain", "plot_history", "plot_loss_curve", "plot_mistakes", "plot_precision_recall", "plot_reliability",
        "plot_weight_norms", "plot_who_pays", "style",
    ),
    "study": ("Exercise", "Predict", "Quiz", "chapter", "recorded", "say"),
}  # fmt: skip
_NAMES = {name: module for module, names in _WHERE.items() for name in names}
_MODULES = (
    "attributes", "datasets", "device", "embedding", "explore", "functional", "many", "methods", "metrics", "models",
    "objective", "own", "plots", "published", "recognition", "run", "samplers", "study", "tables", "training",
    "tuning",
)  # fmt: skip

__all__ = [*_NAMES, *_MODULES]


def __getattr__(name: str):
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    if name not in _NAMES:
        raise AttributeError(f"ltviz has no {name!r}; dir(ltviz) lists what it has")
    value = getattr(importlib.import_module(f".{_NAMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
