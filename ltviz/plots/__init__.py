"""plot_*(run, list of runs, or arrays, *, ax=None) -> Picture. One file per question; nothing here trains.

Runs of one name are seeds of one series. `style(scale=1.6)` enlarges every picture for a projector.
Each family is loaded when it is first used, because seaborn alone takes a second.
"""

from __future__ import annotations

import importlib
from typing import Any

from .picture import DRAW_LOCK, GROUP_COLOURS, PALETTE, Picture, style

_FAMILY = {
    "plot_counts": "counts",
    "plot_examples": "examples",
    "plot_effective_number": "weights",
    "plot_class_weights": "weights",
    "plot_weight_norms": "weight_norms",
    "plot_who_pays": "who_pays",
    "plot_feature_norms": "feature_norms",
    "plot_embedding": "embedding",
    "plot_attributes": "attributes",
    "plot_class_accuracy": "accuracy",
    "plot_gain": "accuracy",
    "plot_comparison": "comparison",
    "plot_confusion": "confusion",
    "plot_cost": "binary",
    "plot_history": "history",
    "plot_loss_curve": "loss_curve",
    "plot_mistakes": "mistakes",
    "plot_precision_recall": "binary",
    "plot_reliability": "reliability",
}
__all__ = ["DRAW_LOCK", "GROUP_COLOURS", "PALETTE", "Picture", "style", *_FAMILY]


def __getattr__(name: str) -> Any:
    if name not in _FAMILY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(f"{__name__}.{_FAMILY[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
