"""The part of a card that takes an answer: one widget of the page, `answer.js`, that keeps the keys it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from ..explore.notebook import kernel
from .cards import COLOURS, safe

SHIELD, ANSWER, CSS = (
    (Path(__file__).parent / name).read_text("utf-8") for name in ("../explore/shield.js", "answer.js", "answer.css")
)
SCRIPT = SHIELD + ANSWER


class Answer(anywidget.AnyWidget):
    """A question and its answer on the page.

    kind and spec say what is asked for (see kinds.py). value is the answer so far or None, before the one that it
    replaces, shown as a faint mark. locked: it cannot be changed. button is the text of the button ("": none, every
    change counts at once), said the HTML below it. truth and earlier are drawn over a curve that is locked.
    on_press(callback) is told the answer when the button is pressed.
    """

    _esm = traitlets.Unicode(SCRIPT).tag(sync=True)
    _css = traitlets.Unicode(CSS).tag(sync=True)
    kind = traitlets.Unicode().tag(sync=True)
    head = traitlets.Unicode().tag(sync=True)
    edge = traitlets.Unicode().tag(sync=True)
    spec = traitlets.Dict().tag(sync=True)
    value = traitlets.Any(None, allow_none=True).tag(sync=True)
    before = traitlets.Any(None, allow_none=True).tag(sync=True)
    truth = traitlets.Any(None, allow_none=True).tag(sync=True)
    earlier = traitlets.Any(None, allow_none=True).tag(sync=True)
    locked = traitlets.Bool(False).tag(sync=True)
    button = traitlets.Unicode().tag(sync=True)
    said = traitlets.Unicode().tag(sync=True)
    lost = traitlets.Unicode().tag(sync=True)

    def __init__(self, kind: str, spec: Mapping[str, Any], head: str, colour: str, **state: Any):
        self._pressed: list[Callable[[Any], None]] = []
        super().__init__(kind=kind, spec=dict(spec), head=head, edge=COLOURS[colour], lost=safe(_lost()), **state)
        self.on_msg(Answer._receive)

    def on_press(self, callback: Callable[[Any], None]) -> None:
        self._pressed.append(callback)

    def press(self, value: Any = None) -> None:
        """What a click on the button does."""
        for callback in self._pressed:
            callback(value)

    def _receive(self, content: Any, buffers: Any) -> None:
        if isinstance(content, Mapping) and content.get("kind") == "press":
            self.press(content.get("value"))


def _lost() -> str:
    """What a card says once its kernel has gone, which it can only say itself if it knows it beforehand."""
    number = len(getattr(getattr(kernel(), "shell", None), "user_ns", {}).get("In", ())) - 1
    cell = f"the cell above (In [{number}] when it last ran)" if number > 0 else "the cell above"
    return (
        f"This card has lost its kernel, or the kernel is busy. After a restart, run {cell} again; if it says that a "
        "name is not defined, choose Run > Run All Above Selected Cell first."
    )
