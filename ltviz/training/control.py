"""Stop and pause from outside: by another thread, or by Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(Exception):
    """Raised inside the loop when somebody asked it to stop."""


class RunControl:
    """What others ask of a run; the loop looks at every step. Once stopped, it stays stopped."""

    def __init__(self):
        self._changed = threading.Condition()
        self.stopped, self.paused = False, False

    def stop(self) -> None:
        with self._changed:
            self.stopped, self.paused = True, False
            self._changed.notify_all()

    def pause(self) -> None:
        with self._changed:
            self.paused = not self.stopped

    def resume(self) -> None:
        with self._changed:
            self.paused = False
            self._changed.notify_all()

    def check(self) -> None:
        """Wait while paused. Raises Stopped once somebody has asked for that."""
        with self._changed:
            while self.paused:
                self._changed.wait()
            if self.stopped:
                raise Stopped


class Interrupts:
    """Ctrl-C as a request: it asks `control` to stop, and raises nothing in the middle of a step, or of a result that
    is being made or saved. Only while `exposed`, where data load and nothing can be lost, a second one raises
    KeyboardInterrupt.
    """

    active: Interrupts | None = None  # of the main thread, which alone receives signals

    def __init__(self, control: RunControl | None = None):
        self.control, self.exposed = control or RunControl(), False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not self.control.stopped:
            self.control.stop()
        elif self.exposed:
            raise KeyboardInterrupt

    @contextmanager
    def expose(self) -> Iterator[None]:
        """Inside, a second Ctrl-C raises KeyboardInterrupt."""
        self.exposed = True
        try:
            yield
        finally:
            self.exposed = False


@contextmanager
def interrupts(control: RunControl | None = None) -> Iterator[Interrupts]:
    """Take Ctrl-C as a request inside; a nested one shares the outer one, unless it brings a control of its own.

    In another thread than the main one, where Ctrl-C never arrives, this changes nothing.
    """
    main = threading.current_thread() is threading.main_thread()
    outer = Interrupts.active if main else None
    if outer is not None and (control is None or control is outer.control):
        yield outer
        return
    here = Interrupts(control)
    # Whoever has switched Ctrl-C off, or handles it in C, keeps it so.
    before = signal.getsignal(signal.SIGINT) if main else None
    if not main or before in (signal.SIG_IGN, None):
        yield here
        return
    Interrupts.active = here
    signal.signal(signal.SIGINT, here)
    try:
        yield here
    finally:
        signal.signal(signal.SIGINT, before)
        Interrupts.active = outer
