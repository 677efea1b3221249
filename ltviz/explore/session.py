"""From one press of Start in a lab to its end: what the buttons ask, and who may train."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..datasets import LongTailed, load
from ..run import Run
from ..training import LiveRun
from .base import in_words

STATE = threading.RLock()  # of all labs: who trains, what is asked of them, what they have; held for moments only
TICK = 0.2  # seconds between two pictures of a live run
GLANCE = 0.05  # seconds between two looks while waiting for something else than an event
BASELINE = "ce"  # trained beside every method, so that there is something to compare it with


@dataclass(frozen=True)
class Plan:
    """What Start asks for: a method beside the baseline, under each of the first so many seeds.

    spec: how the data of a seed are loaded, or None where they cannot be loaded again.
    """

    method: str
    settings: dict[str, Any]
    seeds: int
    epochs: int
    spec: dict[str, Any] | None

    @property
    def pair(self) -> list[tuple[str, dict[str, Any]]]:
        """What is trained under each seed: the baseline, and the method where it is another one."""
        return [(BASELINE, {}), *([(self.method, self.settings)] if self.method != BASELINE else [])]


class Session:
    """One plan under way: all its runs, one after another, and whether it is to pause or to stop.

    The runs of a seed follow each other, so that pairs grow while it trains. What is asked is remembered here and told
    to every live run, so that no request is lost between two runs, or while another lab is still coming to its end.
    Once it is asked to stop, nothing else is heard.

    follow() is called whenever there is something new to show, keep(run) with every run that is finished, and a run is
    passed over where known(its id). live is the run under way or the last one, doing says which it is, progress how
    much of all is done. Afterwards note says what became of a run that was stopped, problem what went wrong, outcome
    how it ended: "done", "stopped" or "failed".
    """

    newest: Session | None = None  # the one that trains, or waits for the one before it to end

    def __init__(
        self,
        plan: Plan,
        data: LongTailed,
        follow: Callable[[], None],
        keep: Callable[[Run], None],
        known: Callable[[str], bool],
    ):
        self.plan, self.data, self.follow, self.keep, self.known = plan, data, follow, keep, known
        self.live: LiveRun | None = None
        self.doing, self.note, self.outcome = "", "", ""
        self.done, self.trained, self.total = 0, 0, plan.seeds * len(plan.pair)
        self.problem: str | None = None
        self.paused, self.over, self._counted, self._unedited = False, False, True, False
        self.stopping, self.ended = threading.Event(), threading.Event()
        self.thread: threading.Thread | None = None

    @property
    def phase(self) -> str:
        """What it does: "running", "paused", or "idle" when it is over."""
        with STATE:
            return "idle" if self.over else "paused" if self.paused else "running"

    @property
    def progress(self) -> float:
        """The share of all epochs that is done; after a stop it stays where it was."""
        live = self.live
        part = 0.0 if live is None or self._counted else live.epoch / live.epochs
        return min((self.done + part) / self.total, 1.0)

    @property
    def whose(self) -> str:
        """Method and seed of the live run, and where it ended."""
        live, n = self.live, self.plan.seeds
        ended = f": {self.outcome} at epoch {live.epoch}" if self.over else ""
        return f"{live.trainer.request.label}, seed {live.trainer.seed + 1} of {n} (seed={live.trainer.seed}){ended}"

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
            if all(self._ready() and self._train(seed, inline) for seed in range(self.plan.seeds)):
                self.outcome = "done"
                self.note = "" if self.trained else "These runs are here already: nothing was trained."
            else:
                self.outcome = "stopped"
        except Exception as error:  # shown by the lab; nobody is there to catch it
            self.problem = in_words(error)
        finally:
            self.end()

    def end(self) -> None:
        """Nothing trains any more; also shown."""
        with STATE:
            self.over, self.paused, self.doing = True, False, ""
            self.outcome = self.outcome or "failed"
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
            self.note = "Stopped between two runs." if self.trained else "Stopped before it began."
        return not self.stopping.is_set()

    def _train(self, seed: int, inline: bool) -> bool:
        """The runs of a seed; False where it was stopped. Settings that make no sense are refused before any begins."""
        plan, data = self.plan, self._data(seed)
        lives = [LiveRun(key, data, seed=seed, epochs=plan.epochs, **settings) for key, settings in plan.pair]
        for live in lives:
            if not self.known(live.trainer.id):
                if not self._ready() or not self._train_one(live, inline):
                    return False
                self.trained += 1
            with STATE:
                self.done, self._counted = self.done + 1, True
        return True

    def _train_one(self, live: LiveRun, inline: bool) -> bool:
        """One run; False where it was stopped."""
        name = live.trainer.request.label
        self.doing = f"{name}, seed {live.trainer.seed + 1} of {self.plan.seeds}"
        with STATE:
            self.live, self._counted = live.on_epoch(lambda _: self._tell()), False
        live.start(inline=inline)
        self._tell()  # what was asked before it began
        while live.wait(TICK) is None and live.state in ("running", "paused"):
            self.follow()
        run = live.wait()
        if live.error is not None:
            raise live.error
        if run.status == "finished":
            self.keep(run)
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
        if spec == self.data.spec:
            return self.data
        if spec == {**self.data.spec, "seed": seed}:
            return self.data.with_seed(seed)
        if not self._unedited:
            self.data.with_seed(seed)  # refuses data that were edited: loaded again, they would lose that
            self._unedited = True
        return load(spec).to(self.data.device)
