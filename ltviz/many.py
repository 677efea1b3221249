"""Several runs side by side on one device: `train_many`.

A small network leaves most of a device idle. What fills it depends on the device and the size of a step (`way`):

- "processes": on a CPU, a run that the rule gives one thread leaves the other cores free. Each core has a process of
  its own, kept warm for the next call (workers.py). A run that cannot be sent to one, such as that of a method written
  in a notebook, has a Python thread in this process instead.
- "streams": on a GPU, each run has a stream and graphs of its own, and the device works on all of them at once.
- "one by one": a larger network fills a CPU by itself.

All of them give what `train` gives: on a CPU bit for bit.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import ExitStack, nullcontext
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import torch

from . import check, workers
from .datasets import LongTailed
from .device import pick_device, threads
from .run import Run
from .training import (
    Epoch,
    Progress,
    RunControl,
    Stopped,
    Trainer,
    attach,
    distributed,
    interrupts,
    prepare_folder,
    requests,
    save,
    saved,
    say_stopped,
)
from .training.control import Interrupts
from .training.evaluation import warn_diverged

AT_ONCE = {"cuda": 21}  # runs at a time: seven methods under three seeds; elsewhere eight
SMALL = 1_000_000  # bytes of training images, up to which four times as many are prepared, so that no core waits


def train_many(
    method: Any,
    data: LongTailed,
    *,
    seeds: int | list[int] = 3,
    folder: str | Path | None = None,
    small: bool = True,
    progress: bool = True,
    **settings: Any,
) -> list[Run]:
    """Train what `sweep` trains, up to eight runs side by side, on a GPU up to 21.

    Every combination of the settings given as lists, under several seeds; arguments and folder as for `sweep`. A fixed
    rule says how (many.way), and `run.provenance["together"]` keeps it. On a CPU every run equals that of `train` bit
    for bit. Small networks are trained in processes that stay for the next call, and end with this one or after ten
    idle minutes. Ctrl-C ends it and returns the runs that are done.

    Raises ValueError, naming the argument, for what makes no sense, and workers.WorkerLost where a process is killed.
    The runs that were done before an error are in the error's `runs`, and in the folder.
    """
    check.flag("small", small)
    check.flag("progress", progress)
    asked = list(requests(method, data, seeds, settings))
    folder = prepare_folder(folder)
    runs: list[Run] = []
    order: dict[str, int] = {}  # id -> its place in what was asked; runs are done in any order
    draw = functools.lru_cache(8)(data.with_seed)  # methods share the data of a seed
    with interrupts() as guard:

        def keep(run: Run) -> None:
            runs.append(run)
            save(run, folder, small)

        try:
            for group in _groups(asked, data):
                trainers = []
                for key, seed, chosen in group:
                    with guard.expose():
                        drawn = draw(seed)
                    trainer = Trainer(key, drawn, seed=seed, **chosen)
                    order.setdefault(trainer.id, len(order))
                    found = saved(folder, trainer, small)
                    if found:
                        runs.append(found)
                    else:
                        trainers.append(trainer)
                if guard.control.stopped:
                    break
                if trainers:
                    _train(trainers, keep, progress)
        except KeyboardInterrupt:
            pass  # while data were loading; said below
        except Exception as error:
            attach(error, _sorted(runs, order), folder)
            raise
        if len(runs) < len(asked):
            say_stopped(len(runs), "train_many", folder)
    return _sorted(runs, order)


def _train(trainers: list[Trainer], keep: OnRun, progress: bool) -> None:
    with Progress(*trainers) if progress else nullcontext() as bar:
        done = side_by_side(trainers, bar.update if bar else None, keep)
        if bar and len(done) == len(trainers):
            bar.runs = done


def _sorted(runs: list[Run], order: dict[str, int]) -> list[Run]:
    return sorted(runs, key=lambda run: (run.label, run.seed, order.get(run.id, 0)))


def _groups(asked: list[tuple[str, int, dict]], data: LongTailed) -> Iterator[list[tuple[str, int, dict]]]:
    """The requests in the order asked, as many at a time as are prepared at once."""
    kinds = {pick_device(chosen.get("device")).type for _, _, chosen in asked}
    size = min((AT_ONCE.get(kind, 8) for kind in kinds), default=8)
    if kinds == {"cpu"} and data.images.numel() <= SMALL:
        size *= 4
    for first in range(0, len(asked), size):
        yield asked[first : first + size]


def way(trainers: Sequence[Trainer]) -> str:
    """How these runs are trained (see above): a rule of device, model, batch size and number, never a probe."""
    devices = {trainer.device.type for trainer in trainers}
    if len(trainers) < 2 or len(devices) > 1 or distributed.count() > 1:
        return "one by one"
    if devices == {"cuda"}:
        return "streams"
    free = devices == {"cpu"} and all(trainer.threads == 1 for trainer in trainers) and workers.count() > 1
    return "processes" if free and workers.allowed() else "one by one"


OnEpoch = Callable[[Trainer], None]
OnRun = Callable[[Run], None]
Deliver = Callable[[int, Run, str | None], None]


def side_by_side(
    trainers: Sequence[Trainer], on_epoch: OnEpoch | None = None, on_run: OnRun | None = None
) -> list[Run]:
    """Train them to the end and return their runs, in the same order.

    on_epoch(trainer) is told of each epoch of each run, on_run(run) of each run when it is done. After Ctrl-C, the runs
    that are done are returned.
    """
    runs: dict[int, Run] = {}
    tell = on_epoch or (lambda trainer: None)

    def deliver(i: int, run: Run, together: str | None) -> None:
        if run.status == "stopped" and not trainers[i].ended:  # half a run must not be found in place of a whole one
            return
        if together:
            run.provenance["together"] = together
        runs[i] = run
        if on_run:
            on_run(run)

    with interrupts() as guard:
        chosen = way(trainers)
        if chosen == "one by one":
            for i, trainer in enumerate(trainers):
                run = trainer.run(guard.control, tell)
                deliver(i, run, None)
                if guard.control.stopped:
                    break
        elif chosen == "streams":
            _in_step(trainers, guard, tell, deliver)
        else:
            left = workers.train_in_workers(trainers, guard.control, tell, deliver)
            if left:
                rest = [trainers[i] for i in left]
                _in_threads(rest, guard.control, tell, lambda i, run, how: deliver(left[i], run, how))
    return [runs[i] for i in sorted(runs)]


def _in_threads(trainers: Sequence[Trainer], control: RunControl, on_epoch: OnEpoch, deliver: Deliver) -> None:
    """Each run in a Python thread of its own, one on each core at a time."""
    epochs: SimpleQueue[Trainer] = SimpleQueue()
    number = min(workers.count(), len(trainers))
    # One thread for all of them, set here: the number that a matrix product takes is shared by the whole process.
    with threads(1), ThreadPoolExecutor(number, "ltviz-train-many") as pool:
        waiting = {pool.submit(trainer.run, control, epochs.put): i for i, trainer in enumerate(trainers)}
        try:
            while waiting:
                done, _ = wait(waiting, timeout=0.1, return_when=FIRST_COMPLETED)
                while not epochs.empty():  # told here, so that a progress bar is drawn by the thread that made it
                    on_epoch(epochs.get())
                for run in done:
                    deliver(waiting.pop(run), run.result(), f"{number} threads")
                if control.stopped:  # those not begun
                    waiting = {run: i for run, i in waiting.items() if not run.cancel()}
        except BaseException:
            control.stop()
            for run in waiting:
                run.cancel()
            for run in wait(waiting).done:  # those that were done all the same
                if not run.cancelled() and run.exception() is None:
                    deliver(waiting[run], run.result(), f"{number} threads")
            raise


def _in_step(trainers: Sequence[Trainer], guard: Interrupts, on_epoch: OnEpoch, deliver: Deliver) -> None:
    """All runs an epoch at a time, their steps in turns."""
    going, together = list(enumerate(trainers)), f"{len(trainers)} streams"
    while going := [(i, trainer) for i, trainer in going if not trainer.done]:
        epochs = [_at(trainer, trainer.begin_epoch) for _, trainer in going]
        try:
            _in_turns([trainer for _, trainer in going], epochs, guard.control)
        except Stopped:
            return
        rows = [_at(trainer, trainer.end_epoch, epoch) for (_, trainer), epoch in zip(going, epochs, strict=True)]
        for (i, trainer), row in zip(list(going), rows, strict=True):
            on_epoch(trainer)
            diverged = not math.isfinite(row["loss"])
            if diverged:
                warn_diverged(trainer, row["loss"])
                going.remove((i, trainer))
            if diverged or trainer.done:
                ended = "stopped" if trainer.ended else "finished"
                deliver(i, _at(trainer, trainer.finish, "diverged" if diverged else ended), together)


def _at(trainer: Trainer, work: Callable[..., Any], *arguments: Any) -> Any:
    """The work done where this run's work is done: on its stream or its number of threads."""
    with trainer.place():
        return work(*arguments)


def _in_turns(trainers: Sequence[Trainer], epochs: list[Epoch], control: RunControl | None = None) -> None:
    """A step of each run in turns, each on its own stream: launched, not waited for, and none waits for another."""
    with ExitStack() as places:  # entered once: entering one again would wait for all that was launched before
        for trainer in trainers:
            places.enter_context(trainer.place())
        left = [(trainer, trainer.steps(epoch, control)) for trainer, epoch in zip(trainers, epochs, strict=True)]
        while left:
            left = [(trainer, steps) for trainer, steps in left if _step_on(trainer.stream, steps)]


def _step_on(stream: torch.cuda.Stream | None, steps: Iterator[int]) -> bool:
    """Take the next step on this stream; whether there was one."""
    with torch.cuda.stream(stream):
        return next(steps, None) is not None
