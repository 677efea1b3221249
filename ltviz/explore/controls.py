"""Controls made from a `Setting`: a labelled number box with a slider, a dropdown, or a check box."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets as widgets

from .. import check
from ..methods import METHODS
from ..objective import BASE, Setting
from ..plots.picture import DRAW_LOCK
from .sweeps import Sweep

SMALLEST = 1e-6  # of 1 - value on a "one-minus-log" slider
DECADES = 4  # of a "log" slider whose range starts at 0
STEP = 0.05  # of a logarithmic slider, in decades: arrow keys then meet 0.9, 0.99, 0.999 exactly


class Control:
    """One value that a person may change. `value` is always what the box shows; changing it calls the listeners.

    widget is what is shown, stops are the values that a test drives it through, start is where Reset goes.
    """

    widget: widgets.Widget

    def __init__(self, name: str, setting: Setting, value: Any = ...):
        self.name, self.setting = check.text("name", name), setting
        self.start = setting.default if value is ... else value
        self.listeners: list[Callable[[], None]] = []
        self.idle = ""  # why it has no effect at present

    @property
    def value(self) -> Any:
        raise TypeError(f"{type(self).__name__} must define value")

    @value.setter
    def value(self, value: Any) -> None:
        raise TypeError(f"{type(self).__name__} must define value")

    @property
    def stops(self) -> list[Any]:
        """The default and both ends, or every choice."""
        return list(self.setting.choices)

    def sweep(self) -> Sweep:
        """The control's whole range, for the page to play."""
        raise TypeError(f"{type(self).__name__} must define sweep()")

    def reset(self) -> None:
        """Back to the value that it was made with."""
        self.value = self.start

    def rest(self, why: str) -> None:
        """It has no effect at present, and this is why: greyed, and its tooltip says so. "": it has one again."""
        if why == self.idle:
            return
        self.idle = why
        for part in self.parts:
            part.disabled = bool(why)
            part.tooltip = why or self.setting.meaning

    @property
    def parts(self) -> list[widgets.Widget]:
        """The widgets that a person moves."""
        return [self.widget]

    def close(self) -> None:
        """Take it off the page."""
        close(self.widget)

    @property
    def letters(self) -> int:
        """Length of the label."""
        return len(label(self.name, self.setting))

    def describe(self, width: str) -> None:
        """Give the label this width (CSS), so that the labels of a column line up and none is cut."""
        self.widget.style.description_width = width

    def tell(self, listener: Callable[[], None]) -> None:
        """Call this whenever the value changes; asking twice is asking once."""
        if listener not in self.listeners:
            self.listeners.append(listener)

    def _tell(self, change: Any = None) -> None:
        for listener in self.listeners:
            listener()


def close(widget: widgets.Widget) -> None:
    """Close a widget and all that it holds: its children, and its layout and style, which are widgets too."""
    parts = (*getattr(widget, "children", ()), getattr(widget, "layout", None), getattr(widget, "style", None))
    widget.close()
    widget.unobserve_all()
    for part in parts:
        if isinstance(part, widgets.Widget):
            close(part)


def button(text: str, icon: str, tip: str, act: Callable[[], None], flex: str = "0 0 auto") -> widgets.Button:
    """A button that calls `act`."""
    layout = {"width": "auto", "flex": flex, "margin": "2px"}
    made = widgets.Button(description=text, icon=icon, tooltip=tip, layout=layout)
    made.on_click(lambda _: act())
    return made


def label(name: str, setting: Setting) -> str:
    """What stands beside the box: the setting's name, with the paper's letter where it has one.

    A name that only spells the letter says nothing beside it: "β", not "beta β".
    """
    words, letter = name.replace("_", " "), setting.symbol
    if letter and unicodedata.name(letter[0], "").endswith(f"LETTER {words.upper()}"):
        return letter
    return f"{words} {letter}" if letter and letter != name else words


class Number(Control):
    """A number box and, on the same row, a slider that runs on the scale of the setting.

    The box holds the exact value and the slider the nearest place, so a value typed in is never rounded. It is put on
    that place here: a page would choose for itself where a value lies halfway between two. steps: about how many
    places the slider has (default: every whole number, else a hundred); few where a picture is slow to draw.
    """

    def __init__(self, name: str, setting: Setting, value: Any = ..., steps: int | None = None):
        super().__init__(name, setting, value)
        self.whole, self.steps = isinstance(setting.default, int), steps
        self.start = setting.check(name, self.start)
        self.left, self.right, self.step = self._places()
        self.places = self._stands()
        box = widgets.BoundedIntText if self.whole else widgets.BoundedFloatText
        self.box = box(
            value=self.start, min=setting.low, max=setting.high, step=1 if self.whole else None,
            description=label(name, setting), tooltip=setting.meaning, layout={"width": "auto", "flex": "0 0 auto"},
        )  # fmt: skip
        self.slider = widgets.FloatSlider(
            value=self.stand(self.start), min=self.left, max=self.right, step=self.step, readout=False,
            tooltip=setting.meaning, layout={"flex": "1 1 60px", "min_width": "60px", "width": "auto"},
        )  # fmt: skip
        self.widget = widgets.HBox([self.box, self.slider], layout={"width": "100%", "overflow": "visible"})
        self._linking = False
        self.box.observe(self._typed, "value")
        self.slider.observe(self._slid, "value")

    @property
    def parts(self) -> list[widgets.Widget]:
        return [self.box, self.slider]

    @property
    def value(self) -> float | int:
        return self.box.value

    @value.setter
    def value(self, value: float) -> None:
        self.box.value = self.setting.check(self.name, value)

    @property
    def stops(self) -> list[Any]:
        low, high = self.setting.low, self.setting.high
        ends = [int(low), int(high)] if self.whole else [low, high]
        return [self.setting.default, *ends]

    def sweep(self) -> Sweep:
        values = [self.at(place) for place in self.places]
        written = [f"{value:.6g}" for value in values]
        return Sweep(self.name, self.slider, self.places, values, place=self.place, box=self.box, labels=written)

    def describe(self, width: str) -> None:
        self.box.style.description_width = width
        self.box.layout.width = f"calc({width} + 100px)"  # eight digits and the arrows of the box

    def place(self, value: float) -> float:
        """Where on the slider a value lies."""
        if self.setting.scale == "log":
            return min(max(math.log10(max(value, 10.0**self.left)), self.left), self.right)
        if self.setting.scale == "one-minus-log":
            return min(max(-math.log10(max(1.0 - value, SMALLEST)), self.left), self.right)
        return value

    def nearest(self, value: float) -> float | int:
        """The value at the step of the slider that is nearest to this one."""
        return self.at(self.stand(value))

    def stand(self, value: float) -> float:
        """The place of the slider that is nearest to a value: the lower of two equally near ones."""
        here = self.place(value)
        return min(self.places, key=lambda one: abs(one - here))

    def at(self, place: float) -> float | int:
        """The value at a place of the slider, in as many digits as a person would write."""
        low, high = self.setting.low, self.setting.high
        if place <= self.left + 1e-9:
            value = low
        elif place >= self.right - 1e-9:
            value = high
        elif self.setting.scale == "log":
            value = float(f"{10.0**place:.3g}")
        elif self.setting.scale == "one-minus-log":
            value = round(1.0 - float(f"{10.0**-place:.3g}"), 12)
        else:
            value = round(low + round((place - low) / self.step) * self.step, 10)
        value = min(max(value, low), high)
        return int(round(value)) if self.whole else float(value)

    def _stands(self) -> list[float]:
        """Where the slider can stand, from left to right."""
        steps = round((self.right - self.left) / self.step)
        places = [min(self.left + i * self.step, self.right) for i in range(steps + 1)]
        # The end, also where the range is no multiple of the step.
        return places + [self.right] * (places[-1] < self.right - 1e-9)

    def _places(self) -> tuple[float, float, float]:
        """Left end, right end and step of the slider."""
        low, high = float(self.setting.low), float(self.setting.high)
        if self.setting.scale == "log":
            right = math.log10(high)
            return (math.log10(low) if low > 0 else right - DECADES), right, STEP
        if self.setting.scale == "one-minus-log":
            return -math.log10(1.0 - low), -math.log10(max(1.0 - high, SMALLEST)), STEP
        step = 1.0 if self.whole and self.steps is None else _nice((high - low) / (self.steps or 100))
        return low, high, max(1.0, step) if self.whole else step

    def _slid(self, change: Any = None) -> None:
        # The page may round a place in its last digits and say so; that is no wish to change the value in the box.
        if abs(self.slider.value - self.stand(self.box.value)) > 0.01 * self.step:
            self._link(lambda: setattr(self.box, "value", self.at(self.slider.value)))

    def _typed(self, change: Any = None) -> None:
        self._link(lambda: setattr(self.slider, "value", self.stand(self.box.value)))

    def _link(self, follow: Callable[[], None]) -> None:
        """Let the other widget follow without its answer coming back, then tell the listeners once."""
        with DRAW_LOCK:
            if self._linking:
                return
            self._linking = True
            try:
                follow()
            finally:
                self._linking = False
        self._tell()


def _nice(step: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(round(m * power, 12) for m in (1, 2, 5, 10) if m * power >= step * (1 - 1e-9))


class Choice(Control):
    """A dropdown, or a check box where the choices are no and yes."""

    def __init__(self, name: str, setting: Setting, value: Any = ..., titles: Mapping[Any, str] | None = None):
        super().__init__(name, setting, value)
        titles = titles or {}
        if setting is BASE:
            self.options = [key for key, method in METHODS.items() if "base" not in method.settings]
            self.start = setting.check(name, self.start)
            if self.start not in self.options:
                self.options.append(self.start)
        else:
            self.options = list(setting.choices)
            self.start = setting.check(name, self.start)
        text = label(name, setting)
        if set(map(type, self.options)) == {bool}:
            self.widget = widgets.Checkbox(
                value=self.start, description=text, indent=False, tooltip=setting.meaning, layout={"width": "auto"}
            )
        else:
            options = [(titles.get(value) or self._written(value), value) for value in self.options]
            self.widget = widgets.Dropdown(
                options=options, value=self.start, description=text,
                tooltip=setting.meaning, layout={"width": "100%"},
            )  # fmt: skip
        self.widget.observe(self._tell, "value")

    @staticmethod
    def _written(value: Any) -> str:
        if isinstance(value, dict):
            return " ".join([str(value["key"]), *(f"{k}={v}" for k, v in value.items() if k != "key")])
        return "none" if value is None else str(value).replace("_", " ")

    @property
    def value(self) -> Any:
        return self.widget.value

    @value.setter
    def value(self, value: Any) -> None:
        self.widget.value = check.choice(self.name, self.setting.check(self.name, value), self.options)

    def sweep(self) -> Sweep:
        if isinstance(self.widget, widgets.Checkbox):
            return Sweep(self.name, self.widget, [False, True], [False, True])
        written = [text for text, _ in self.widget.options]
        return Sweep(self.name, self.widget, list(range(len(written))), self.options, trait="index", labels=written)

    @property
    def stops(self) -> list[Any]:
        # Every method stands in the list of methods; as a base, the first and the last will do.
        return [self.options[0], self.options[-1]] if self.setting is BASE else list(self.options)


def control(name: str, setting: Setting, value: Any = ...) -> Control:
    """The control for a setting: a number box with slider, or a dropdown where it has choices.

    value: where it stands at first and where Reset returns to; the default of the setting without it.
    """
    check.instance("setting", setting, Setting, "a Setting")
    return (Choice if setting.choices else Number)(name, setting, value)
