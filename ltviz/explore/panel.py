"""The buttons of a lab and its bar of progress."""

from __future__ import annotations

from collections.abc import Callable

import ipywidgets as widgets

from .controls import button


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
        self.forget = button("Forget", "trash", "Empty the comparison", forget, wide)
        self.progress = widgets.FloatProgress(
            min=0.0, max=1.0, description="progress", layout={"width": "100%"}, style={"description_width": "64px"}
        )
        row = widgets.HBox([self.start, self.pause, self.stop, self.forget], layout={"width": "100%"})
        self.widget = widgets.VBox([row, self.progress], layout={"margin": "6px 0 0", "overflow": "visible"})

    def show(self, phase: str) -> None:
        """Enable and name the buttons for "idle", "running" or "paused"."""
        self.start.disabled = phase != "idle"
        self.stop.disabled = self.pause.disabled = phase == "idle"
        paused = phase == "paused"
        self.pause.description, self.pause.icon = ("Resume", "play") if paused else ("Pause", "pause")
        self.progress.bar_style = {"idle": "", "running": "info", "paused": "warning"}[phase]
