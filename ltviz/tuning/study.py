"""What workers share: the trials of a study, who has which, and what becomes of one whose worker was killed.

Every worker says every BEAT seconds that its trial is under way. Whoever sees that this has stopped for GRACE seconds,
by its own clock, or that the process is gone from this machine, ends that trial and puts its setting up again. So it
works with every storage, and clocks of several machines need not agree.
"""

from __future__ import annotations

import functools
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import optuna
from optuna.exceptions import DuplicatedStudyError, UpdateFinishedTrialError
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from ..files import is_alive, request_id, to_json
from .space import Space
from .storage import LOST, open_storage, safely

BEAT = 10.0  # seconds between two signs of life of a trial under way
GRACE = 60.0  # seconds without one, after which its worker is taken for dead
AGAIN = 2  # times that one setting is put up again: it may be what kills the workers
COUNTED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
QUESTION, WORKER, ALIVE, RETRIES, WITHDRAWN, RESULT, BY = (
    "question", "worker", "alive", "retries", "withdrawn", "result", "by",
)  # fmt: skip
_TOKEN = uuid.uuid4().hex[:8]  # of this process: its number may be given to another one later
_active: set[tuple[str, int]] = set()  # trials under way in this process


class OtherQuestion(ValueError):
    """A study of this name that asks something else."""


@functools.cache
def machine() -> str:
    """This machine, and on it the processes that have numbers of their own, as those of a container."""
    try:
        inside = os.readlink("/proc/self/ns/pid")
        with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:
            inside += file.read().strip()
    except OSError:
        inside = str(uuid.getnode())
    return f"{socket.gethostname()}-{request_id(inside=inside)}"


class Book:
    """A study in its storage. Everything that can fail there goes through `_safely`."""

    def __init__(self, storage: Any, name: str, question: Mapping[str, Any], sampler: BaseSampler, pruner: BasePruner):
        self.storage, self.place = open_storage(storage)
        self.remote = "://" in self.place
        self.seen: dict[int, tuple[Any, float]] = {}  # trial -> its last sign of life, and when that was new
        self.made, self.study = self._safely(self._study, name, sampler, pruner)
        question = json.loads(to_json(question))
        if not self.made and self._differs(name, question):  # no trial of it counts: begin anew
            self._safely(optuna.delete_study, study_name=name, storage=self.storage)
            self.made, self.study = self._safely(self._study, name, sampler, pruner)
        if self.made:
            self._safely(self.study.set_user_attr, QUESTION, question)

    def _safely(self, work: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        return safely(self.place, self.remote, work, *arguments, **keywords)

    def _study(self, name: str, sampler: BaseSampler, pruner: BasePruner) -> tuple[bool, optuna.Study]:
        loud = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(max(loud, optuna.logging.WARNING) if loud == optuna.logging.INFO else loud)
        given = {"storage": self.storage, "study_name": name, "sampler": sampler, "pruner": pruner}
        try:
            with suppress(DuplicatedStudyError):
                return True, optuna.create_study(direction="maximize", **given)
            return False, optuna.load_study(**given)
        finally:
            optuna.logging.set_verbosity(loud)

    def _differs(self, name: str, question: Mapping[str, Any]) -> bool:
        """Whether this study asks another question. OtherQuestion where trials of it count."""
        until = time.monotonic() + 5.0
        while (before := self._safely(lambda: self.study.user_attrs).get(QUESTION)) is None:
            if time.monotonic() > until:  # whoever made the study was killed before it could say
                self._safely(self.study.set_user_attr, QUESTION, dict(question))
                return False
            time.sleep(0.1)  # another worker makes it at this moment
        differing = [part for part, value in question.items() if before.get(part) != value]
        if differing and self.counted():
            raise OtherQuestion(
                f"name={name!r}: the study of this name in {self.place} has trials under other "
                f"{', '.join(differing)}, which cannot be compared with these; give another name, or none"
            )
        return bool(differing)

    # ---------------------------------------------------------------------------------------------------------- trials
    def trials(self) -> list[FrozenTrial]:
        """All trials but those that were withdrawn before they began, by number."""
        found = self._safely(self.study.get_trials, deepcopy=False)
        return [one for one in found if WITHDRAWN not in one.user_attrs]

    def counted(self) -> list[FrozenTrial]:
        """Trials that are finished, ended early, or under way."""
        return [one for one in self.trials() if one.state in COUNTED]

    def finished(self) -> int:
        return sum(one.state != TrialState.RUNNING for one in self.counted())

    def enqueue(self, parameters: Mapping[str, Any], by: str) -> None:
        """Put a setting up, to be tried before the sampler chooses; by: whose it is."""
        self._safely(self.study.enqueue_trial, dict(parameters), user_attrs={BY: by})

    def take(self, total: int) -> Trial | None:
        """A trial for this worker, where the study has fewer than `total`; None where others have the rest."""
        if len(self.counted()) >= total:
            return None
        trial = self._safely(self.study.ask)
        self._safely(trial.set_user_attr, WORKER, [machine(), os.getpid(), _TOKEN])
        before = [one for one in self.trials() if one.number < trial.number]
        if sum(one.state in (*COUNTED, TrialState.WAITING) for one in before) >= total:
            self._safely(trial.set_user_attr, WITHDRAWN, True)  # another worker was as fast
            self.end(trial, state=TrialState.FAIL)
            return None
        _active.add((self.study.study_name, trial.number))
        return trial

    @contextmanager
    def beating(self, trial: Trial) -> Iterator[None]:
        """Inside, signs of life are given."""
        over = threading.Event()

        def beat() -> None:
            number = 0
            while not over.wait(BEAT):
                number += 1
                with suppress(*LOST, UpdateFinishedTrialError):  # the worker itself will notice
                    trial.set_user_attr(ALIVE, number)

        thread = threading.Thread(target=beat, name="ltviz-tuning", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            _active.discard((self.study.study_name, trial.number))

    def note(self, trial: Trial, **said: Any) -> None:
        """Keep what is said of a trial with it, all at once: each word takes the storage some milliseconds."""
        self._safely(trial.set_user_attr, RESULT, said)

    def report(self, trial: Trial, step: int, value: float, may_end: bool) -> bool:
        """Tell the study how a trial is doing; whether it should end."""
        self._safely(trial.report, value, step)
        return may_end and self._safely(trial.should_prune)

    def end(self, trial: Trial, value: float | None = None, state: TrialState | None = None) -> None:
        """Close a trial, with a value or a state. One that others have taken for dead stays as they left it."""
        with suppress(UpdateFinishedTrialError):
            self._safely(self.study.tell, trial, value, state=state, skip_if_finished=True)
        _active.discard((self.study.study_name, trial.number))

    def suggest(self, space: Space, trial: Trial) -> tuple[str, dict[str, Any]]:
        """The method and the settings of a trial."""
        return self._safely(space.suggest, trial)

    def put_back(self, trial: Trial) -> None:
        """End a trial that was stopped, and put its setting up for whoever goes on."""
        self.note(trial, ended="stopped")
        now = next(one for one in self.trials() if one.number == trial.number)
        self.again(now, now.user_attrs.get(RETRIES, 0))

    def again(self, trial: FrozenTrial, retries: int) -> bool:
        """End a trial and put its setting up once more; False where another worker has done so."""
        try:
            self._safely(self.study.tell, trial.number, state=TrialState.FAIL)
        except (ValueError, UpdateFinishedTrialError):
            return False
        kept = {name: value for name, value in trial.user_attrs.items() if name not in (WORKER, ALIVE, RESULT)}
        if retries <= AGAIN:
            copy = create_trial(
                state=TrialState.WAITING, params=trial.params, distributions=trial.distributions,
                system_attrs=trial.system_attrs, user_attrs={**kept, RETRIES: retries},
            )  # fmt: skip
            self._safely(self.study.add_trial, copy)
        return True

    def take_up(self) -> list[int]:
        """Put up again what dead workers have left; the numbers of those trials."""
        found = []
        for one in self.trials():
            if one.state == TrialState.RUNNING and self._dead(one):
                if self.again(one, one.user_attrs.get(RETRIES, 0) + 1):
                    found.append(one.number)
        return found

    def _dead(self, trial: FrozenTrial) -> bool:
        if (self.study.study_name, trial.number) in _active:
            return False
        where, pid, token = trial.user_attrs.get(WORKER, [None, None, None])
        if where == machine() and (token == _TOKEN if pid == os.getpid() else not is_alive(pid)):
            return True
        sign, now = trial.user_attrs.get(ALIVE), time.monotonic()
        if trial.number not in self.seen or self.seen[trial.number][0] != sign:
            self.seen[trial.number] = sign, now
        return now - self.seen[trial.number][1] > GRACE


def result(trial: FrozenTrial) -> dict[str, Any]:
    """What its worker noted of a trial: ended, epochs, seconds, values (one a seed)."""
    return trial.user_attrs.get(RESULT, {})
