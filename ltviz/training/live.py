"""Training in the background, that can be paused and stopped: one run, or whatever else trains a run at a time."""

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

GLANCE = 0.05  # seconds between two looks while waiting for one of two things


class Background:
    """Work in one background thread: `start`, `pause`, `resume`, `stop`, `wait`; other cells keep working.

    state is "idle", "running" or "paused", and then how it ended: "finished", "stopped" or "failed"; `error` is what
    went wrong. One trains at a time: to start another stops the one that is under way, and begins when that has ended;
    it can be paused and stopped meanwhile. Under LTVIZ_PROFILE=fast, `start` runs to the end and returns.

    A subclass says what is done: `work` passes `control` on to each run, or asks `control.check()` between two, and
    gives "finished" or "stopped"; `told` is called at the end, before anybody who waits goes on.
    """

    newest: Background | None = None  # the one that trains, or waits for the one before it to end
    lock = threading.RLock()  # of the states of all, held for moments only

    def __init__(self):
        self.control, self.error = RunControl(), None
        self.thread: threading.Thread | None = None
        self.ended = threading.Event()
        self._state, self._before = "idle", None

    def work(self) -> str:
        raise NotImplementedError

    def told(self) -> None:
        raise NotImplementedError

    @property
    def state(self) -> str:
        return "paused" if self._state == "running" and self.control.paused else self._state

    def start(self, inline: bool | None = None) -> Any:
        """Begin. inline=True runs to the end in this thread (the default under LTVIZ_PROFILE=fast)."""
        self.claim()
        self.go(os.environ.get("LTVIZ_PROFILE") == "fast" if inline is None else inline)
        return self

    def claim(self) -> None:
        """Become the newest, which alone trains; the one before is asked to stop. The first half of `start`."""
        with Background.lock:
            if self._state != "idle":
                raise RuntimeError(f"this run is {self.state}; make a new {type(self).__name__} to train again")
            self._state, self._before, Background.newest = "running", Background.newest, self
            if self._before is not None:
                self._before.stop()

    def go(self, inline: bool) -> None:
        """Begin once the one before has ended. The second half of `start`."""
        if inline:
            self.thread = threading.current_thread()
            self._run()
            return
        self.thread = threading.Thread(target=self._run, name="ltviz-training", daemon=True)
        try:
            self.thread.start()
        except RuntimeError as error:  # no thread to be had
            self._end("failed", error)
            raise

    def pause(self) -> None:
        """Hold at the next step; `resume` goes on as if nothing had happened. Without effect where nothing trains."""
        with Background.lock:
            if self._state == "running":
                self.control.pause()

    def resume(self) -> None:
        self.control.resume()

    def stop(self) -> None:
        """End at the next step, also when paused or not yet begun; after that nothing else is heard."""
        self.control.stop()

    def wait(self, timeout: float | None = None) -> Any:
        """Wait until it has ended, or timeout (seconds) has passed, if it was started at all."""
        if self._state != "idle" and self.thread is not threading.current_thread():
            self.ended.wait(timeout)

    def after(self) -> None:
        """Wait until the one before has ended, or this one is asked to stop."""
        while self._before is not None and not self.control.stopped and not self._before.ended.wait(GLANCE):
            pass

    def _run(self) -> None:
        state, error = "failed", None
        try:
            self.after()
            state = self.work()
        except Exception as raised:  # shown by whoever started it; nobody is here to catch it
            error = raised
        finally:
            self._end(state, error)

    def _end(self, state: str, error: Exception | None) -> None:
        with Background.lock:
            self._state, self.error = state, error or self.error
            if Background.newest is self:  # if this one did not wait for the one before, the next one has to
                waiting = self._before is not None and not self._before.ended.is_set()
                Background.newest = self._before if waiting else None
            self._before = None
        try:
            self.told()
        finally:
            self.ended.set()


class LiveRun(Background):
    """A run in the background: `start`, `pause`, `resume`, `stop`, `wait` as in Background.

    `history`, `epoch`, `epochs` can be read at any time; `run` is the Run when it has ended (also when stopped).
    """

    def __init__(self, method: Any, data: LongTailed, **arguments: Any):
        super().__init__()
        self.trainer = Trainer(method, data, **arguments)
        self.run: Run | None = None
        self._callbacks: list[Callable[[LiveRun], None]] = []

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

    def wait(self, timeout: float | None = None) -> Run | None:
        """The run once it has ended, or None if that takes longer than timeout (seconds), or it was never started."""
        super().wait(timeout)
        return self.run

    def work(self) -> str:
        self.run = self.trainer.run(self.control, lambda trainer: self.told())
        return "stopped" if self.run.status == "stopped" else "finished"

    def told(self) -> None:
        for callback in self._callbacks:
            try:
                callback(self)
            except Exception as error:  # a listener must not end the training; it is kept for whoever looks
                self.error = error
