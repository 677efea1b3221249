"""A hyper-parameter of a method: its default, its range, and when it has an effect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import check
from .check import refuse


@dataclass(frozen=True)
class Setting:
    """A hyper-parameter: its default and its range. Explorers make a control from it, the loop checks against it.

    A default that is a whole number asks for whole numbers, any other for numbers; low and high belong to the range.
    scale is that of a slider: "linear", "log", or "one-minus-log" (log of 1 - value, down to 1e-6). With `choices`
    the setting is one of them and has no range. symbol is the paper's letter. when: names of other settings, and the
    values of each under which this one has an effect; under any other it changes nothing.
    """

    default: Any
    low: float | None = None
    high: float | None = None
    scale: str = "linear"
    choices: tuple = ()
    symbol: str = ""
    meaning: str = ""
    when: Mapping[str, tuple] = field(default_factory=dict, hash=False)

    def __post_init__(self):
        check.choice("scale", self.scale, ("linear", "log", "one-minus-log"))
        for name, values in check.instance("when", self.when, Mapping, "a dict name -> tuple of values").items():
            check.text("name in when", name)
            check.instance(f"when[{name!r}]", values, tuple, "a tuple of values")
        check.instance("choices", self.choices, tuple, "a tuple of values, empty for a setting with a range")
        if not self.choices and check.number("low", self.low) >= check.number("high", self.high):
            raise refuse("low", self.low, f"a number below high={self.high}")
        self.check("default", self.default)

    def check(self, name: str, value: Any) -> Any:
        """The value as plain Python, in the type of the default; ValueError with name, value and what would do."""
        value = check.plain(value)
        if self.choices:
            return check.choice(name, value, self.choices)
        whole = isinstance(self.default, int) and not isinstance(self.default, bool)
        try:
            if whole and isinstance(value, float) and value.is_integer():
                value = int(value)  # a slider, and JSON, say 4.0
            if whole:
                return check.whole(name, value, self.low, self.high)
            return check.number(name, value, self.low, self.high) + 0.0  # -0.0 is 0.0
        except ValueError as error:
            raise ValueError(f"{error}{self.meaning and f' ({self.meaning})'}") from None

    def idle(self, values: Mapping[str, Any]) -> str:
        """Why this setting has no effect beside these values of the others: "only for loss = focal"; else ""."""
        for name, those in self.when.items():
            if name in values and not any(type(one) is type(values[name]) and one == values[name] for one in those):
                return f"only for {name.replace('_', ' ')} = {' or '.join(str(one).replace('_', ' ') for one in those)}"
        return ""
