"""Axes along which a setting lies as it does on its slider, and round numbers along an axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from .. import check
from ..plots.text import short
from .controls import Control, Number, label
from .frames import Region


def word(one: Control) -> str:
    """The name of a setting as its slider has it."""
    return label(one.name, one.setting)


def ends(one: Control) -> tuple[float, float]:
    """Both ends of the axis of a setting, in the places of its slider or the numbers of its choices."""
    return (one.left, one.right) if isinstance(one, Number) else (0.0, len(one.options) - 1.0)


def value_at(one: Control, place: float) -> float:
    """The value at a place on the axis of a setting, between the places of its slider as well."""
    scale = one.setting.scale if isinstance(one, Number) else "linear"
    if scale == "log":
        return float(10.0**place)
    return float(1.0 - 10.0**-place) if scale == "one-minus-log" else float(place)


def in_values(region: Region, **axes: Control) -> Region:
    """A region whose axes, drawn in the places of sliders, are those of the values of these settings."""
    changes: dict[str, Any] = {}
    for axis, one in axes.items():
        changes[axis] = tuple(value_at(one, end) for end in getattr(region, axis))
        if isinstance(one, Number):
            changes[f"{axis}scale"] = one.setting.scale
        else:
            changes[f"{axis}names"] = tuple(check.spelled(option).replace("_", " ") for option in one.options)
        changes[f"{axis}name"] = word(one)
    return replace(region, **changes)


def ticks(one: Control) -> tuple[list[float], list[str]]:
    """Places along the axis of a setting, and what is written there."""
    if not isinstance(one, Number):
        return list(range(len(one.options))), [short(str(option), 12) for option in one.options]
    places = round_places(*ends(one), one.setting.scale)
    return places, written([one.at(place) for place in places])


def round_places(low: float, high: float, scale: str) -> list[float]:
    """Places of an axis from low to high that have round numbers: whole decades where it is not linear."""
    places = MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(low, high)
    if scale != "linear":
        places = np.arange(np.ceil(low - 1e-9), high + 1e-9)
    found = [float(place) for place in places if low - 1e-9 <= place <= high + 1e-9]
    return found if len(found) > 1 else [low, high]


def round_ends(values: np.ndarray) -> tuple[float, float]:
    """Round ends of an axis that holds the values, and ten points at least: new values move them seldom.

    It ends where shares do. (0, 1) without values.
    """
    if not len(values):
        return 0.0, 1.0
    least, most = float(values.min()), float(values.max())
    around = max(0.01, (0.1 - (most - least)) / 2)
    places = MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(least - around, most + around)
    low, high = float(places[0]), float(places[-1])
    return (max(low, 0.0) if least >= 0 else low), (min(high, 1.0) if most <= 1 else high)


def written(places: Sequence[float]) -> list[str]:
    """Numbers along an axis: all in full, or all as powers of ten where one would be long."""
    full = [np.format_float_positional(place, trim="-") for place in places]
    return full if max(map(len, full)) <= 7 else [f"{place:.4g}" for place in places]
