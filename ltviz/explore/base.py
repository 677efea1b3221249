"""What every explorer shares: controls on the left, one picture on the right, a sentence below.

A subclass says what is particular: `build` makes the artists once, `compute` is pure, `draw` moves the artists, `say`
puts the finding into words. Callbacks come on several threads in today's JupyterLab, so nothing here uses pyplot or
`Output`: a bare figure under one lock, whose pixels go to a `Screen`, which plays a slider's whole range on the page.
"""

from __future__ import annotations

import base64
import html
import inspect
import itertools
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ipywidgets as widgets

from .. import check
from ..plots.picture import DRAW_LOCK, SHARP, drawing
from ..plots.surface import Surface
from . import notebook
from .controls import Control, Number, button, close
from .drive import drive
from .frames import Frame, Handle, Point, Region, regions_of
from .layout import HIDDEN, Code, Column, lay_out
from .screen import Drag, Screen

HEADING = "font-weight:600;font-size:14px;line-height:1.3;padding:2px 0 4px"
ALERT = (
    "color:#B00020;background:#FDECEE;border-left:3px solid #B00020;padding:6px 8px;margin-top:6px;font-size:13px;"
    "line-height:1.35;overflow-wrap:anywhere"
)
BUTTONS = {"margin": "8px 0 0", "flex_flow": "wrap"}
STATE_OF = "what `state` of an explorer gives, a dict"
_live: weakref.WeakValueDictionary[int, Explorer] = weakref.WeakValueDictionary()
_number = itertools.count()


def registry() -> list[Explorer]:
    """The explorers that are open, oldest first. They are not kept alive by this list."""
    return [explorer for _, explorer in sorted(_live.items())]


def _forget(explorer: Explorer) -> None:
    for key in [key for key, one in _live.items() if one is explorer]:
        del _live[key]


class Explorer:
    """Controls, and a picture that follows them.

    extra and below are further widgets, under the controls and under the picture.

    controls   name -> Control; `values` reads them all, `set(beta=0.9)` changes some and draws once
    state      the same values, JSON-able; `from_state(state, *data)` opens the same picture again
    as_code()  the one-line call that does it in a notebook
    error      None, or the last thing that went wrong, which is also shown in red
    """

    function = "Explorer"  # name in ltviz.explore
    title = ""
    leader: str | None = None  # the control that decides which others there are
    size = (7.4, 3.7)  # of the picture, in inches of 100 CSS pixels

    def __init__(
        self, controls: Mapping[str, Control], *, extra: tuple[widgets.Widget, ...] = (),
        below: tuple[widgets.Widget, ...] = (),
    ):  # fmt: skip
        check_controls(controls)
        self.error: str | None = None
        self.result: Any = None
        self.sentence = f"{self.title}."
        self.controls: dict[str, Control] = {}
        self._ticket = itertools.count(1)
        self._newest = 0
        self._tickets = threading.Lock()
        self._held, self._closed = 0, False
        self.surface = Surface(*self.size)
        with drawing():
            self.build(self.surface)
        self.widget = self._assemble(extra, below)
        self._use(dict(controls))
        notebook.take_place(self, Explorer.close)
        _live[next(_number)] = self
        self.refresh()

    def build(self, surface: Surface) -> None:
        """Make axes and artists, once; name those that move in `surface.animate`."""
        raise TypeError(f"{type(self).__name__} must define build()")

    def compute(self, **values: Any) -> Any:
        """From the values of all controls to what is drawn: pure, no widgets, no matplotlib."""
        raise TypeError(f"{type(self).__name__} must define compute()")

    def draw(self, result: Any) -> None:
        """Move the artists; the lock is held."""
        raise TypeError(f"{type(self).__name__} must define draw()")

    def say(self, result: Any) -> str:
        """The finding in a sentence, for the line below the picture and for readers who do not see it."""
        raise TypeError(f"{type(self).__name__} must define say()")

    def drawn(self, result: Any) -> None:
        """What else on the page follows the picture: widgets beside it. A sweep does not call this."""

    def marks(self, result: Any) -> list[Point]:
        """What can be pointed at in the picture, with what a reader is then told."""
        return []

    def handles(self, result: Any) -> list[Handle]:
        """What can be dragged. One with the name of a number's control moves that number."""
        return []

    def dragged(self, drag: Drag) -> None:
        """A handle has been dragged: the control of its name goes to the nearest of its steps."""
        follow_drag(drag, self.controls.get(drag.name), self.screen.frame.handles)

    def data_code(self) -> list[str]:
        """The arguments of `as_code()` that come before the controls: the data, as code."""
        return []

    def _assemble(self, extra: tuple[widgets.Widget, ...], below: tuple[widgets.Widget, ...]) -> widgets.Widget:
        self.column, code = Column(), Code(lambda: self.as_code(), self.guard)
        back = "All controls back to where they were at first"
        self.reset_button = button("Reset", "undo", back, lambda: self.guard(self.reset))
        self._code, self.code_button, self.code_field = code, code.button, code.field
        self.error_label = widgets.HTML(layout=HIDDEN)
        self.screen = Screen((100 * self.size[0], 100 * self.size[1]), title=self.title, guard=self.guard)
        self.screen.observe(lambda change: self.guard(self._sharpen), "ratio")
        self.screen.on_drag(self.dragged)
        heading = widgets.HTML(f"<div style='{HEADING}'>{html.escape(self.title)}</div>")
        buttons = widgets.HBox([self.column.more, self.reset_button, self.code_button], layout=BUTTONS)
        return lay_out({
            "controls": [heading, self.column.first, *extra, self.error_label],
            "picture": [self.screen, *below],
            "more": [buttons, self.column.rest, self.code_field],
        })  # fmt: skip

    def _use(self, controls: dict[str, Control]) -> None:
        """Show these controls in the column (a method of another name has other settings)."""
        for one in controls.values():
            one.tell(self.refresh)
        self.controls = controls
        self.column.show(list(controls.values()))
        self.screen.follow([one.sweep() for one in self.played], lambda: self.values, self._frame)

    @property
    def played(self) -> list[Control]:
        """The controls whose range the page plays: all but the leader, which brings other controls."""
        return [one for name, one in self.controls.items() if name != self.leader]

    @property
    def followers(self) -> list[str]:
        """Names of the controls that exist because of the leader's present value."""
        return []

    @property
    def values(self) -> dict[str, Any]:
        """The present value of every control."""
        return {name: one.value for name, one in self.controls.items()}

    @property
    def state(self) -> dict[str, Any]:
        """What `from_state` needs besides the data; plain numbers and strings."""
        return self.values

    @classmethod
    def from_state(cls, state: Mapping[str, Any], *data: Any) -> Explorer:
        """The explorer of this state, on the data given. ValueError for a name that it does not have."""
        parameters = inspect.signature(cls).parameters
        closed = all(one.kind is not one.VAR_KEYWORD for one in parameters.values())
        check_names(check.instance("state", state, Mapping, STATE_OF) if closed else (), parameters)
        return cls(*data, **state)

    def set(self, **values: Any) -> None:
        """Change controls from code, and draw once. ValueError for an unknown name or an impossible value."""
        check_names(values, self.controls)
        with self._hold():
            for name, value in values.items():
                self.controls[name].value = value

    @contextmanager
    def _hold(self) -> Iterator[None]:
        """Inside, nothing is drawn; afterwards the picture follows once, also where a value was refused on the way."""
        with DRAW_LOCK:
            self._held += 1
            try:
                yield
            finally:
                self._held -= 1
                self.refresh()

    def reset(self) -> None:
        """Every control back to where it was at first."""
        with self._hold():
            for one in list(self.controls.values()):
                one.reset()

    def as_code(self) -> str:
        """The one-line call that gives the present picture."""
        written = [f"{name}={value!r}" for name, value in self.state.items()]
        return f"lt.explore.{self.function}({', '.join([*self.data_code(), *written])})"

    def refresh(self) -> None:
        """Draw the present values of all controls.

        All are read anew, so that events which arrive late, twice or in another order cannot leave an old picture
        behind. Each call takes a ticket; one that finds a newer ticket when its turn comes has nothing left to do.
        """
        with self._tickets:
            ticket = self._newest = next(self._ticket)
        with DRAW_LOCK:
            if ticket < self._newest or self._held or self._closed:
                return
            self.guard(self._redraw)

    def _redraw(self) -> None:
        values, ticket = self.values, self.screen.ticket()
        for one in self.controls.values():
            one.rest(one.setting.idle(values))
        result = self.compute(**values)
        with DRAW_LOCK:
            there = self.screen.recall(values, ticket)
            if not there:
                self.draw(result)
            self.result = result
            self.sentence = self.say(result)
            if not there:
                self.screen.show(self._framed(result), values, ticket)
            self.drawn(result)
            self.show_error(None)
            self._code.follow()

    def _frame(self, values: dict[str, Any]) -> Frame:
        """The picture of other values, for a sweep: drawn in its thread, and no widget is touched."""
        result = self.compute(**values)
        with DRAW_LOCK:
            self.draw(result)
            return self._framed(result)

    def _framed(self, result: Any) -> Frame:
        """What the artists show now, with what can be pointed at."""
        pixels = self.surface.pixels()
        return Frame(pixels, self.say(result), self.regions(), self.marks(result), self.handles(result))

    def regions(self) -> list[Region]:
        """The axes that can be pointed at, as they were drawn last: those with a linear or a logarithmic scale."""
        return regions_of(self.surface.figure)

    def _sharpen(self) -> None:
        """As many pixels as the reader's screen has; what was drawn before no longer fits."""
        self.surface.resolve(min(max(self.screen.ratio, 1.0), 2.0))
        self.screen.forget()
        self.refresh()

    def guard(self, act: Callable[[], None]) -> None:
        """Do it; what goes wrong is kept in `error` and shown, until the next picture that succeeds."""
        try:
            act()
        except Exception as error:
            self.show_error(in_words(error))

    def show_error(self, message: str | None) -> None:
        """Keep a message in `error` and show it in red; None takes it away."""
        if message == self.error:
            return
        self.error, self.error_label.layout.display = message, None if message else "none"
        self.error_label.value = f"<div role='alert' style='{ALERT}'>{html.escape(message)}</div>" if message else ""

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        view = self.widget._repr_mimebundle_() if not self._closed else {}
        kept = {"image/png": base64.b64encode(self.picture()).decode("ascii"), "text/plain": repr(self)}
        return {**view, **kept}, {"image/png": {"alt": self.sentence, "width": round(100 * self.size[0])}}

    def picture(self) -> bytes:
        """The present picture as PNG, as small as it gets, for keeping in a notebook; a sweep may have drawn last."""
        with DRAW_LOCK:
            if self.result is not None:
                self.draw(self.result)
            return self.surface.png(small=True, ratio=SHARP)

    def __repr__(self) -> str:
        return f"{self.sentence} Run this cell to make it live."

    def close(self) -> None:
        """Take it off the page and give its memory back; no widget of it stays."""
        with DRAW_LOCK:
            self._closed = True
            _forget(self)
            self.screen.close()
            close(self.widget)

    def drive(self) -> list[str]:
        """Move every control through its ends and its default (each choice of a dropdown); what went wrong, in words.

        The first problem also stays in `error`. Afterwards the controls stand where they stood.
        """
        return drive(self)


def check_controls(controls: Any) -> None:
    """Raise ValueError for what is no dict of controls."""
    for name, one in check.instance("controls", controls, Mapping, "a dict name -> Control").items():
        check.instance(f"controls[{name!r}]", one, Control, "a Control, such as controls.control() makes")


def check_names(names: Iterable[str], known: Mapping[str, Any]) -> None:
    """Raise ValueError, with the nearest, where one of these names is not a known control's."""
    for name in names:
        if name not in known:
            there = ", ".join(known) or "none"
            raise ValueError(f"no control {name!r}{check.suggest(name, known)}; there are: {there}")


def follow_drag(drag: Drag, control: Control | None, handles: Iterable[Handle]) -> None:
    """Take a number's control to the step that is nearest to where its handle has been dragged."""
    along = next((one.axis for one in handles if one.name == drag.name), "x")
    if isinstance(control, Number):
        control.value = control.nearest(drag.y if along == "y" else drag.x)


def in_words(error: Exception) -> str:
    """The kind of an error and what it says: what a reader sees."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
