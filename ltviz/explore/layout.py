"""Where the parts of an explorer stand: controls, the call as code, and boxes that screen.css places."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import ipywidgets as widgets

from .controls import Control, button

SIGHT = 3  # controls in sight; the others are under "More"
WIDE = {"width": "100%", "overflow": "visible"}
HIDDEN = {"width": "100%", "display": "none"}


class Column:
    """Controls one below the other: the first three in sight, the others under "More"."""

    def __init__(self):
        self.first, self.rest = widgets.VBox(layout=WIDE), widgets.VBox(layout={**WIDE, "display": "none"})
        self.more = button("More", "sliders", "Further controls", self._toggle)

    def show(self, controls: Sequence[Control]) -> None:
        """Show these in place of those before, their labels in line."""
        longest = max((one.letters for one in controls), default=0)
        for one in controls:
            one.describe(f"{min(8.2 * longest + 14, 170):.0f}px")
        shown = [one.widget for one in controls]
        self.first.children, self.rest.children = shown[:SIGHT], shown[SIGHT:]
        self.more.layout.display = None if shown[SIGHT:] else "none"

    def _toggle(self) -> None:
        closed = self.rest.layout.display == "none"
        self.rest.layout.display = None if closed else "none"
        self.more.description = "Less" if closed else "More"


class Code:
    """A button, and the field that it opens, with the call that gives the present picture."""

    def __init__(self, code: Callable[[], str], guard: Callable[[Callable[[], None]], None]):
        self.code = code
        shows = "Show the call that gives this picture"
        self.button = button("Show code", "code", shows, lambda: guard(self._toggle))
        self.field = widgets.Textarea(rows=3, tooltip="Copy this into a cell", layout=HIDDEN)

    def follow(self) -> None:
        """Write the call of now, where it is shown."""
        if self.field.layout.display != "none":
            self.field.value = self.code()

    def _toggle(self) -> None:
        self.field.value = self.code()
        closed = self.field.layout.display == "none"
        self.field.layout.display = None if closed else "none"
        self.button.description = "Hide code" if closed else "Show code"


def lay_out(parts: Mapping[str, Sequence[widgets.Widget]]) -> widgets.Widget:
    """The parts "controls", "picture" and "more" of an explorer in one widget, placed by the width of its cell."""
    boxes = [widgets.VBox(list(held), layout={"overflow": "visible"}) for held in parts.values()]
    for name, box in zip(parts, boxes, strict=True):
        box.add_class(f"ltviz-{name}")
    inner = widgets.Box(boxes, layout={"overflow": "visible"})
    inner.add_class("ltviz-parts")
    outer = widgets.VBox([inner], layout=WIDE)
    outer.add_class("ltviz-explorer")
    return outer
