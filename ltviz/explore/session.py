"""From one press of Start in a lab to its end: what the buttons ask, and who may train."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..datasets import LongTailed, load
from ..methods import METHODS
from ..run import Run
from ..training import LiveRun
from .base import in_words

STATE = threading.RLock()  # of all labs: who trains, and what is asked of them; held for moments only
TICK = 0.2  # seconds between two pictures of a live run
GLANCE = 0.05  # seconds between two looks while waiting for something else than an event


@dataclass(frozen=True)
class Plan:
    """What Start asks for."""

    method: str
    settings: dict[str, Any]
    seeds: int
    epochs: int
    spec: dict[str, Any] | None


class Session:
    """One plan under way: all its seeds, one after another, and whether it is to pause or to stop.

    What is asked is remembered here and told to every live run, so that no request is lost between two seeds, or while
    another lab is still coming to its end. Once it is asked to stop, nothing else is heard.

    follow() is called whenever there is something new to show, keep(run) with every run that is finished.
    live is the run of the present seed, earlier the losses of those before, doing and share (seeds done, of how many)
    say what trains, note what became of a run that was stopped, problem what went wrong.
    """

    newest: Session | None = None  # the one that trains, or waits for the one before it to end

    def __init__(self, plan: Plan, data: LongTailed, follow: Callable[[], None], keep: Callable[[Run], None]):
        self.plan, self.data, self.follow, self.keep = plan, data, follow, keep
        self.live: LiveRun | None = None
        self.earlier: list[np.ndarray] = []
        self.doing, self.share, self.note = "", (0, plan.seeds), ""
        self.problem: str | None = None
        self.paused, self.over = False, False
        self.stopping, self.ended = threading.Event(), threading.Event()
        self.thread: threading.Thread | None = None

    @property
    def phase(self) -> str:
        """What it does: "running", "paused", or "idle" when it is over."""
        with STATE:
            return "idle" if self.over else "paused" if self.paused else "running"

    def take_over(self) -> Session | None:
        """Become the newest; the one before is asked to stop, and returned."""
        with STATE:
            before, Session.newest = Session.newest, self
            if before is not None:
                before.stop()
            return before

    def pause(self) -> None:
        """Hold at the next step."""
        with STATE:
            self.paused = not self.over and not self.stopping.is_set()
            self._tell()

    def resume(self) -> None:
        """Go on."""
        with STATE:
            self.paused = False
            self._tell()

    def stop(self) -> None:
        """End at the next step, also when paused or not yet begun."""
        with STATE:
            self.paused = False
            self.stopping.set()
            self._tell()

    def _tell(self) -> None:
        with STATE:
            if self.live is None:
                return
            if self.stopping.is_set():
                self.live.stop()
            elif self.paused:
                self.live.pause()
            else:
                self.live.resume()

    def after(self, before: Session | None) -> None:
        """Wait until the one before has ended, or this one is asked to stop."""
        while before is not None and not self.stopping.is_set() and not before.ended.wait(GLANCE):
            pass

    def run(self, before: Session | None, inline: bool) -> None:
        """All seeds, once the session before has ended; whatever happens, this one is over afterwards."""
        self.thread = threading.current_thread()
        try:
            self.after(before)
            for seed in range(self.plan.seeds):
                if not self._ready() or not self._train(seed, inline):
                    break
        except Exception as error:  # shown by the lab; nobody is there to catch it
            self.problem = in_words(error)
        finally:
            self.end()

    def end(self) -> None:
        """Nothing trains any more; also shown."""
        with STATE:
            self.over, self.paused, self.doing = True, False, ""
            if Session.newest is self:
                Session.newest = None
        try:
            self.follow()
        finally:
            self.ended.set()

    def _ready(self) -> bool:
        """Wait while paused; False where no further run is to begin."""
        while self.paused and not self.stopping.wait(GLANCE):
            pass
        if self.stopping.is_set() and not self.note:
            self.note = "Stopped between two runs." if self.earlier else "Stopped before it began."
        return not self.stopping.is_set()

    def _train(self, seed: int, inline: bool) -> bool:
        """One run; False where it was stopped."""
        plan = self.plan
        name = METHODS[plan.method](**plan.settings).label
        live = LiveRun(plan.method, self._data(seed), seed=seed, epochs=plan.epochs, **plan.settings)
        self.doing, self.share = f"{name}, seed {seed + 1} of {plan.seeds}", (seed, plan.seeds)
        with STATE:
            self.live = live.on_epoch(lambda _: self._tell())
        live.start(inline=inline)
        self._tell()  # what was asked before it began
        while live.wait(TICK) is None and live.state in ("running", "paused"):
            self.follow()
        run = live.wait()
        if live.error is not None:
            raise live.error
        if run.status == "finished":
            self.keep(run)
            self.earlier = [*self.earlier, run.history["loss"]]
            self.doing = f"{name}, {seed + 1} of {plan.seeds} seeds done"
            self.follow()
        elif run.status == "diverged":
            raise RuntimeError(
                f"{name} diverged in epoch {live.epoch}: its loss is {run.history['loss'][-1]}. "
                "Try a milder setting; the runs before are kept."
            )
        else:
            self.note = f"Stopped: {self.doing}, at epoch {live.epoch} of {live.epochs}, is not compared."
        return run.status == "finished"

    def _data(self, seed: int) -> LongTailed:
        """The data of a seed, which draws its own subset where the data can be made again."""
        if self.plan.spec is None:
            return self.data
        spec = {**self.plan.spec, "seed": seed}
        return self.data if spec == self.data.spec else load(spec).to(self.data.device)
