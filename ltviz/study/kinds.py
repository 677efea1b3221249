"""The kinds of answers that a prediction asks for: which are possible, in words, and how far off the truth they are."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import check
from .cards import bullets, inline, plain, texts


@dataclass(frozen=True)
class Axes:
    """The axes on which a reader draws a curve.

    x, y            (low, high)
    xlabel, ylabel  what they are, in plain words
    points          how many places along x a curve is made of
    log             x on a logarithmic scale

    A curve is given as its values at `places`, as a function of x, or as a dict {x: y} from one end of x to the other,
    between whose values lines are drawn.
    """

    x: Sequence[float]
    y: Sequence[float]
    xlabel: str = ""
    ylabel: str = ""
    points: int = 21
    log: bool = False

    def __post_init__(self):
        log = check.flag("log", self.log)
        for name in ("x", "y"):
            given = getattr(self, name)
            if not isinstance(given, (list, tuple)) or len(given) != 2:
                raise check.refuse(name, given, "(low, high)")
            low, high = (check.number(name, one) for one in given)
            if not low < high or (name == "x" and log and low <= 0):
                expected = "0 < low < high, on a logarithmic scale" if name == "x" and log else "low < high"
                raise check.refuse(name, given, f"(low, high) with {expected}")
            object.__setattr__(self, name, (low, high))
        for name in ("xlabel", "ylabel"):
            check.instance(name, getattr(self, name), str, "a text")
        object.__setattr__(self, "points", check.whole("points", self.points, 3, 201))

    @property
    def places(self) -> list[float]:
        """Where along x the values of a curve are."""
        space = np.geomspace if self.log else np.linspace
        return [float(f"{x:.12g}") for x in space(*self.x, self.points)]

    def fraction(self, x: float) -> float:
        """How far along the axis x lies, from 0 to 1."""
        scale = math.log if self.log else float
        low, high = map(scale, self.x)
        return (scale(x) - low) / (high - low)


@dataclass(frozen=True)
class Found:
    """How an answer compares with the truth: does it agree, how so, and how far off it is (0: not at all)."""

    agrees: bool
    how: str
    off: float


class Choice:
    """One of several answers."""

    page, tolerant = "choice", False

    def __init__(self, given: Any):
        self.options = _options("choices", given)
        self.guess = self.options[0]

    def spec(self) -> dict[str, Any]:
        return {"options": [[option, inline(option)] for option in self.options]}

    def check(self, name: str, answer: Any) -> str:
        if not isinstance(answer, str) or answer not in self.options:
            raise check.refuse(name, answer, f"one of {list(self.options)}")
        return str(answer)

    def shown(self, answer: str) -> str:
        return answer

    def compare(self, answer: str, truth: str, tolerance: float | None) -> Found:
        right = answer == truth
        return Found(right, "Right." if right else "", float(not right))

    def static(self) -> tuple[str, list[str]]:
        return bullets(self.options), [f"- {plain(option)}" for option in self.options]


class Order(Choice):
    """Several items, first to last."""

    page = "order"

    def __init__(self, given: Any):
        self.options = self.guess = _options("order", given)

    def spec(self) -> dict[str, Any]:
        return {"options": [[option, inline(option), plain(option)] for option in self.options]}

    def check(self, name: str, answer: Any) -> tuple[str, ...]:
        items = tuple(answer) if isinstance(answer, (list, tuple)) else ()
        if not all(isinstance(item, str) for item in items) or sorted(items) != sorted(self.options):
            raise check.refuse(name, answer, f"an order of {list(self.options)}")
        return items

    def shown(self, answer: tuple[str, ...]) -> str:
        return " → ".join(answer)

    def compare(self, answer: tuple[str, ...], truth: tuple[str, ...], tolerance: float | None) -> Found:
        rank = {item: i for i, item in enumerate(truth)}
        pairs = list(itertools.combinations(answer, 2))
        good = sum(rank[a] < rank[b] for a, b in pairs)
        how = f"{good} of {len(pairs)} pairs are in the right order."
        return Found(good == len(pairs), how, float(len(pairs) - good))

    def static(self) -> tuple[str, list[str]]:
        html, lines = super().static()
        return "Put in order:" + html, lines


class Number:
    """A number from low to high, on a slider with steps; the box beside it takes any number of the range."""

    page, tolerant = "number", True

    def __init__(self, given: Any, unit: str):
        expected = "(low, high) or (low, high, step), with low < high and step > 0"
        if not isinstance(given, (list, tuple)) or len(given) not in (2, 3):
            raise check.refuse("number", given, expected)
        found = tuple(check.number("number", value) for value in given)
        if not found[0] < found[1] or not all(step > 0 for step in found[2:]):
            raise check.refuse("number", given, expected)
        self.range, self.unit = found, unit
        self.low, self.high = found[:2]
        self.step = found[2] if len(found) > 2 else (self.high - self.low) / 100
        self.guess = (self.low + self.high) / 2
        self.digits = _digits(self.step)

    def spec(self) -> dict[str, Any]:
        ends = [self._written(end) for end in (self.low, self.high)]
        digits = self.digits + (0 if float(f"{self.step:.{self.digits}f}") == self.step else 3)
        letters = max(len(f"{value:.{digits}f}") for value in (self.low, self.high))
        return {"low": self.low, "high": self.high, "step": self.step, "unit": self.unit, "written": ends,
                "digits": digits, "letters": letters}  # fmt: skip

    def check(self, name: str, answer: Any) -> float:
        try:
            return check.number(name, answer, self.low, self.high)
        except ValueError:
            raise check.refuse(name, answer, f"a number from {self.low:g} to {self.high:g}") from None

    def _written(self, value: float) -> str:
        return _written(value, self.digits)

    def shown(self, answer: float) -> str:
        written = self._written(answer)
        one = written in ("1", "-1") and self.unit.endswith("s") and not self.unit.endswith(("ss", "sses"))
        return written + (self.unit[:-1] if one else self.unit)

    def compare(self, answer: float, truth: float, tolerance: float | None) -> Found:
        allowed = 0.05 * (self.high - self.low) if tolerance is None else tolerance
        off = answer - truth
        close = abs(off) <= allowed + 1e-12
        way = "high" if off > 0 else "low"
        how = "Close enough." if close else f"{_off(off, self.digits)}{_between(self.unit)} too {way}."
        how = "Right." if self._written(answer) == self._written(truth) else how
        return Found(close, how, abs(off))

    def static(self) -> tuple[str, list[str]]:
        line = f"A number from {self._written(self.low)} to {self.shown(self.high)}."
        return inline(line), [plain(line)]


class Curve:
    """A curve over given axes: its values at the places of `Axes`."""

    page, tolerant = "curve", True

    def __init__(self, axes: Any, unit: str):
        self.axes = check.instance("curve", axes, Axes, "axes to draw on, study.Axes(x=(0, 1), y=(0, 1))")
        self.unit = unit
        self.low, self.high = axes.y
        self.digits = _digits((self.high - self.low) / 100)
        self.guess = [(self.low + self.high) / 2] * axes.points

    def spec(self) -> dict[str, Any]:
        axes = self.axes
        name = f"Drawing: {axes.ylabel or 'y'} against {axes.xlabel or 'x'}"
        span = self.high - self.low
        return {
            "places": [_written(x, 12 if axes.log else _digits((axes.x[1] - axes.x[0]) / 100)) for x in axes.places],
            "fractions": [axes.fraction(x) for x in axes.places], "low": self.low, "high": self.high,
            "xlabel": axes.xlabel, "ylabel": axes.ylabel, "name": name, "digits": self.digits + 1,
            "xticks": [[axes.fraction(x), f"{x:g}"] for x in _ticks(*axes.x, axes.log)],
            "yticks": [[(y - self.low) / span, f"{y:g}"] for y in _ticks(*axes.y)],
        }  # fmt: skip

    def check(self, name: str, answer: Any) -> list[float]:
        n = self.axes.points
        expected = (
            f"a curve: {n} numbers from {self.low:g} to {self.high:g}, a function of x, or a dict x -> y that reaches "
            f"from {self.axes.x[0]:g} to {self.axes.x[1]:g}"
        )
        values = answer
        if callable(answer):
            values = [answer(x) for x in self.axes.places]
        elif isinstance(answer, Mapping):
            values = self._between(name, answer, expected)
        elif hasattr(answer, "tolist"):
            values = answer.tolist()
        if not isinstance(values, (list, tuple)) or len(values) != n:
            raise check.refuse(name, answer, expected)
        try:
            return [check.number(name, y, self.low, self.high) for y in values]
        except ValueError:
            raise check.refuse(name, answer, expected) from None

    def _between(self, name: str, points: Mapping[Any, Any], expected: str) -> list[float]:
        try:
            known = sorted((check.number(name, x), check.number(name, y)) for x, y in points.items())
        except ValueError:
            raise check.refuse(name, points, expected) from None
        low, high = self.axes.x
        known = [(x, y) for x, y in known if not self.axes.log or x > 0]
        if not known or known[0][0] > low + 1e-9 * abs(low) or known[-1][0] < high - 1e-9 * abs(high):
            raise check.refuse(name, points, expected)
        at = [self.axes.fraction(x) for x, _ in known]
        return np.interp([self.axes.fraction(x) for x in self.axes.places], at, [y for _, y in known]).tolist()

    def _word(self, y: float) -> str:
        return _written(y, self.digits) + self.unit

    def shown(self, answer: Sequence[float]) -> str:
        first, last = answer[0], answer[-1]
        words = f"{_trend(answer, self.high - self.low)} from {self._word(first)} to {self._word(last)}"
        far, room = 0.1 * (self.high - self.low), self.axes.places
        for extreme, side in ((max(answer), "highest"), (min(answer), "lowest")):
            if abs(extreme - first) > far and abs(extreme - last) > far and extreme not in (first, last):
                place = _written(room[list(answer).index(extreme)], 6)
                words += f", {side} ({self._word(extreme)}) at {self.axes.xlabel or 'x'} = {place}"
        return words

    def compare(self, answer: Sequence[float], truth: Sequence[float], tolerance: float | None) -> Found:
        gaps, span = np.subtract(answer, truth), self.high - self.low
        off = float(np.abs(gaps).mean())
        close = off <= (0.05 * span if tolerance is None else tolerance) + 1e-12
        how = "Close" if close else "Not far" if off <= 0.1 * span else "Off" if off <= 0.25 * span else "Far off"
        away, share = f"{_off(off, self.digits)}{_between(self.unit)}", f"{100 * off / span:.0f}%"
        same = f"{_off(off, self.digits)}{self.unit}" == share
        how += f": {away} away on average{'' if same else f', {share} of the axis'}."
        if not close:
            if abs(gaps.mean()) > 0.6 * off:
                how += f" Mostly too {'high' if gaps.mean() > 0 else 'low'}."
            i = int(np.abs(gaps).argmax())
            how += (f" Farthest at {self.axes.xlabel or 'x'} = {_written(self.axes.places[i], 6)}: "
                    f"{self._word(answer[i])} where it is {self._word(truth[i])}.")  # fmt: skip
            ours, theirs = _trend(answer, span), _trend(truth, span)
            how += f" Yours {ours} where the data's {theirs}." if ours != theirs else ""
        return Found(close, how, off)

    def static(self) -> tuple[str, list[str]]:
        axes = self.axes
        line = (f"Draw a curve: {axes.ylabel or 'y'} from {axes.y[0]:g} to {axes.y[1]:g}, against {axes.xlabel or 'x'} "
                f"from {axes.x[0]:g} to {axes.x[1]:g}.")  # fmt: skip
        return inline(line), [plain(line)]


def _options(name: str, given: Any) -> tuple[str, ...]:
    options = texts(name, given, least=2)
    if len(set(map(plain, options))) < len(options):
        raise check.refuse(name, given, "texts that differ")
    return options


def _digits(step: float) -> int:
    """How many decimals are worth writing where values differ by a step: one more than the step has."""
    return max(0, 1 - math.floor(math.log10(step) + 1e-9))


def _written(value: float, digits: int) -> str:
    text = f"{value:,.{digits}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def _between(unit: str) -> str:
    """The unit of a difference: two percentages lie points apart; two factors, shares or ratios a bare number."""
    if unit.strip().startswith("%"):
        return " points"
    return "" if re.match(r"\s*(times?\b|of\b|:)", unit) else unit


def _off(off: float, digits: int) -> str:
    text = _written(abs(off), digits)
    return f"{abs(off):.2g}" if text == "0" and off else text


def _trend(values: Sequence[float], span: float) -> str:
    change = values[-1] - values[0]
    return "stays level" if abs(change) < 0.05 * span else "rises" if change > 0 else "falls"


def _ticks(low: float, high: float, log: bool = False) -> list[float]:
    """About five round numbers from low to high; on a logarithmic axis powers of ten, where there are two."""
    if log:
        powers = [10.0**e for e in range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)]
        return powers if len(powers) > 1 else [low, high]
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]
