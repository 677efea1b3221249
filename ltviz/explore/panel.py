"""The buttons of a lab, its bar of progress, and the control that names its reference."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import ipywidgets as widgets

from .. import check
from ..objective import Setting
from ..plots.text import short_names
from .controls import Choice, button

# What the bar says, and its colour.
STATES = {
    "idle": ("progress", ""),
    "running": ("training", "info"),
    "paused": ("paused", "warning"),
    "finished": ("done", "success"),
    "stopped": ("stopped", "warning"),
    "failed": ("failed", "danger"),
}
LETTERS = 40  # of a name in a dropdown


class Panel:
    """Start, Pause or Resume, Stop, Forget; each calls what it was made with."""

    def __init__(
        self, start: Callable[[], None], pause: Callable[[], None], stop: Callable[[], None], forget: Callable[[], None]
    ):
        wide = "1 1 auto"
        self.start = button("Start", "play", "Train in the background; other cells keep working", start, wide)
        self.start.button_style = "primary"
        self.pause = button("Pause", "pause", "Hold; Resume goes on as if nothing had happened", pause, wide)
        self.stop = button("Stop", "stop", "End now and show what was learned", stop, wide)
        self.forget = button("Forget", "trash", "Clear all runs and curves", forget, wide)
        self.progress = widgets.FloatProgress(
            min=0.0, max=1.0, description="progress", layout={"width": "100%"}, style={"description_width": "64px"}
        )
        row = widgets.HBox([self.start, self.pause, self.stop, self.forget], layout={"width": "100%"})
        self.widget = widgets.VBox([row, self.progress], layout={"margin": "6px 0 0", "overflow": "visible"})

    def show(self, phase: str, outcome: str = "") -> None:
        """Enable and name the buttons for "idle", "running" or "paused"; outcome: how what is over has ended."""
        self.start.disabled = phase != "idle"
        self.stop.disabled = self.pause.disabled = phase == "idle"
        paused = phase == "paused"
        self.pause.description, self.pause.icon = ("Resume", "play") if paused else ("Pause", "pause")
        state = STATES[outcome if phase == "idle" and outcome else phase]
        self.progress.description, self.progress.bar_style = state


class Reference(Choice):
    """A dropdown of the labels that others can be compared with. It keeps its value whatever is offered."""

    def __init__(self, start: str, labels: Iterable[str] = ()):
        known = tuple(dict.fromkeys((start, *labels)))
        self.always, self._offering = known, False
        meaning = "the method that the others are compared with"
        super().__init__("reference", Setting(start, choices=known, meaning=meaning), start)

    def offer(self, labels: Iterable[str]) -> None:
        """These labels can be chosen, beside those that always can and the present one."""
        here = self.value
        options = list(dict.fromkeys([*self.always, *labels, here]))
        if options == self.options:
            return
        self.options, self._offering = options, True
        try:
            with self.widget.hold_sync():  # a dropdown with new options jumps to its first, and nobody is to see that
                self.widget.options = list(zip(short_names(options, LETTERS), options, strict=True))
                self.widget.value = here
        finally:
            self._offering = False

    @Choice.value.setter
    def value(self, value: str) -> None:
        self.widget.value = check.choice(self.name, value, self.options)

    def _tell(self, change: object = None) -> None:
        if not self._offering:
            super()._tell(change)
