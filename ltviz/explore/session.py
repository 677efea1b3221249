"""From one press of Start in a lab to its end: the runs of a plan, one after another."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..datasets import LongTailed, load
from ..methods import METHODS
from ..run import Run
from ..training import Background, Stopped, Trainer
from ..training.request import ARGUMENTS, FIELDS
from .base import in_words

TICK = 0.2  # seconds between two pictures of a live run
BASELINE = "ce"  # trained beside every method, so that there is something to compare it with


@dataclass(frozen=True)
class Plan:
    """What Start asks for: a method beside the baseline, under each of the first so many seeds.

    spec: how the data of a seed are loaded, or None where they cannot be loaded again. network: model, weights and
    head_classes, as `train` takes them.
    """

    method: str
    settings: dict[str, Any]
    seeds: int
    epochs: int
    spec: dict[str, Any] | None
    network: dict[str, Any] = field(default_factory=dict)

    @property
    def pair(self) -> list[tuple[str, dict[str, Any]]]:
        """What is trained under each seed: the baseline, and the method where it is another one."""
        return [(BASELINE, {}), *([(self.method, self.settings)] if self.method != BASELINE else [])]


def refuse_others(key: str, settings: dict[str, Any]) -> None:
    """ValueError for what `train` takes and a lab does not, unless the method has a setting of that name."""
    for name in settings:
        if name in (*FIELDS, *ARGUMENTS) and name not in METHODS[key].settings:
            way = f"lt.train(..., {name}=...), and pass the runs that it returns as runs=[...]"
            way = "seeds=, the number of seeds from 0 on" if name == "seed" else way
            raise ValueError(f"{name}: lt.train takes it, a lab does not; use {way}")


class Session(Background):
    """One plan under way: all its runs, one after another, and what is asked of them, as of any work in the background.

    The runs of a seed follow each other, so that pairs grow while it trains.

    follow() is called whenever there is something new to show, keep(run) with every run that is finished, and a run is
    passed over where known(its id). live is the run under way or the last one, doing says which it is, progress how
    much of all is done. Afterwards note says what became of a run that was stopped.
    """

    def __init__(
        self,
        plan: Plan,
        data: LongTailed,
        follow: Callable[[], None],
        keep: Callable[[Run], None],
        known: Callable[[str], bool],
    ):
        super().__init__()
        self.plan, self.data, self.follow, self.keep, self.known = plan, data, follow, keep, known
        self.live: Trainer | None = None
        self.doing, self.note = "", ""
        self.done, self.trained, self.total = 0, 0, plan.seeds * len(plan.pair)
        self._counted, self._unedited = True, False

    @property
    def over(self) -> bool:
        return self.state not in ("idle", "running", "paused")

    @property
    def phase(self) -> str:
        """What it does: "running", "paused", or "idle" when it is over."""
        return "idle" if self.over else self.state

    @property
    def problem(self) -> str | None:
        """What went wrong, in words."""
        return None if self.error is None else in_words(self.error)

    @property
    def progress(self) -> float:
        """The share of all epochs that is done; after a stop it stays where it was."""
        live = self.live
        part = 0.0 if live is None or self._counted else live.epoch / live.recipe.epochs
        return min((self.done + part) / self.total, 1.0)

    @property
    def whose(self) -> str:
        """Method and seed of the live run, and where it ended."""
        live, n = self.live, self.plan.seeds
        ended = f": {self.state} at epoch {live.epoch}" if self.over else ""
        return f"{live.request.label}, seed {live.seed + 1} of {n} (seed={live.seed}){ended}"

    def work(self) -> str:
        """All seeds; each run that is not there yet."""
        if self.thread is not threading.main_thread():
            threading.Thread(target=self._watch, name="ltviz-lab-picture", daemon=True).start()
        try:
            for seed in range(self.plan.seeds):
                self.control.check()
                for trainer in self._trainers(seed):
                    if not self.known(trainer.id):
                        self._train(trainer)
                    with Background.lock:
                        self.done, self._counted = self.done + 1, True
        except Stopped:
            self.note = self.note or f"Stopped {'between two runs' if self.trained else 'before it began'}."
            return "stopped"
        self.note = "" if self.trained else "These runs are here already: nothing was trained."
        return "finished"

    def told(self) -> None:
        self.follow()

    def _watch(self) -> None:
        """Show how far it is, until it is over: in a thread of its own, so that no step waits for a picture."""
        while not self.ended.wait(TICK):
            if self.state == "running":
                self.follow()

    def _trainers(self, seed: int) -> list[Trainer]:
        """The runs of a seed. Settings that make no sense are refused before any begins."""
        plan, data = self.plan, self._data(seed)
        return [Trainer(key, data, seed=seed, epochs=plan.epochs, **plan.network, **settings)
                for key, settings in plan.pair]  # fmt: skip

    def _train(self, trainer: Trainer) -> None:
        """One run. Raises Stopped where it was stopped, or is not to begin."""
        self.control.check()
        name = trainer.request.label
        self.doing = f"{name}, seed {trainer.seed + 1} of {self.plan.seeds}"
        with Background.lock:
            self.live, self._counted = trainer, False
        run = trainer.run(self.control)
        if run.status == "stopped":
            self.note = f"Stopped: {self.doing}, at epoch {trainer.epoch} of {trainer.recipe.epochs}, is not compared."
            raise Stopped
        if run.status == "diverged":
            raise RuntimeError(
                f"{name} diverged in epoch {trainer.epoch}: its loss is {run.history['loss'][-1]}. "
                "Try a milder setting; the runs before are kept."
            )
        self.trained += 1
        self.keep(run)
        self.follow()

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
