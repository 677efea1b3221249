"""A run in the background, that can be paused and stopped."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from ..datasets import LongTailed
from ..run import Run
from .control import RunControl
from .loop import Trainer


class LiveRun:
    """A run in one background thread: `start`, `pause`, `resume`, `stop`, `wait`; other cells keep working.

    state is "idle", "running", "paused", "finished", "stopped" or "failed". `history`, `epoch`, `epochs` can be read at
    any time; `run` is the Run when it has ended (also when stopped), `error` what went wrong. Starting a live run stops
    one that is under way, and begins when that one has ended; it can be paused and stopped meanwhile. Under
    LTVIZ_PROFILE=fast, `start` runs to the end and returns.
    """

    _current: LiveRun | None = None
    _lock = threading.Lock()  # of _current

    def __init__(self, method: Any, data: LongTailed, **arguments: Any):
        self.trainer = Trainer(method, data, **arguments)
        self.run: Run | None = None
        self.error: Exception | None = None
        self._state, self._control, self._callbacks = "idle", RunControl(), []
        self._own = threading.Lock()  # of _state
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def state(self) -> str:
        return "paused" if self._state == "running" and self._control.paused else self._state

    @property
    def history(self) -> dict[str, np.ndarray]:
        return self.trainer.history

    @property
    def epoch(self) -> int:
        return self.trainer.epoch

    @property
    def epochs(self) -> int:
        return self.trainer.recipe.epochs

    def on_epoch(self, callback: Callable[[LiveRun], None]) -> LiveRun:
        """Call `callback(self)` after each epoch and once at the end, in the run's thread. Returns self."""
        self._callbacks.append(callback)
        return self

    def start(self, inline: bool | None = None) -> LiveRun:
        """Begin. inline=True runs to the end in this thread (the default under LTVIZ_PROFILE=fast)."""
        with self._own:
            if self._state != "idle":
                raise RuntimeError(f"this run is {self.state}; make a new LiveRun to train again")
            self._state = "running"
        with LiveRun._lock:
            before, LiveRun._current = LiveRun._current, self
        if before is not None:
            before.stop()
        if inline or (inline is None and os.environ.get("LTVIZ_PROFILE") == "fast"):
            self._thread = threading.current_thread()
            self._work(before)
        else:
            self._thread = threading.Thread(target=self._work, args=(before,), name="ltviz-live-run", daemon=True)
            try:
                self._thread.start()
            except RuntimeError as error:  # no thread to be had
                self._end("failed", error)
                raise
        return self

    def pause(self) -> None:
        """Hold at the next step; `resume` goes on as if nothing had happened."""
        if self._state == "running":
            self._control.pause()

    def resume(self) -> None:
        self._control.resume()

    def stop(self) -> None:
        """End at the next step, also when paused; `run` then holds what was learned. An idle run never begins."""
        self._control.stop()

    def wait(self, timeout: float | None = None) -> Run | None:
        """The run once it has ended, or None if that takes longer than timeout (seconds), or it was never started."""
        if self._state != "idle" and self._thread is not threading.current_thread():
            self._ended.wait(timeout)
        return self.run

    def _work(self, before: LiveRun | None) -> None:
        state = "failed"
        try:
            if before is not None:
                before.wait()
            self.run = self.trainer.run(self._control, lambda trainer: self._tell())
            state = "stopped" if self.run.status == "stopped" else "finished"
        except Exception as error:  # shown to the user by whoever started the run
            self.error = error
        finally:
            self._end(state, self.error)

    def _end(self, state: str, error: Exception | None) -> None:
        self._state, self.error = state, error
        with LiveRun._lock:
            if LiveRun._current is self:
                LiveRun._current = None
        self._tell()
        self._ended.set()

    def _tell(self) -> None:
        for callback in self._callbacks:
            try:
                callback(self)
            except Exception as error:  # a listener must not end the training; it is kept for whoever looks
                self.error = error
