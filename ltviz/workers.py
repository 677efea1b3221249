"""Warm worker processes that train runs: what `train_many` uses for small networks on a CPU.

A worker is a fresh Python that speaks pickle over its own pipes. So it never imports the script or the notebook that
asks (no `if __name__ == "__main__"` is needed), Ctrl-C in a terminal does not reach it, and it ends by itself when its
parent is gone. It computes with one thread, and a run in it equals the same run here bit for bit: the request is
rebuilt there, and believed only if it has the id that it has here.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any

import torch

from .datasets import LongTailed, Table
from .methods import METHODS
from .run import Run
from .training import RunControl, Stopped, Trainer

MOST = 8  # workers
IDLE = 600.0  # seconds without work after which a worker ends
PATIENCE = 10.0  # seconds that a worker has to stop its run
OFTEN = 0.1  # seconds between two messages about epochs
PROTOCOL = pickle.HIGHEST_PROTOCOL
MARK = "LTVIZ_WORKER"  # set in the environment of a worker

# What can be changed in torch for a whole process, and changes results.
_SWITCHES = (
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
)


def count() -> int:
    """How many workers this process may have: one for each core it may use, at most 8."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST)


def allowed() -> bool:
    """Whether workers are used at all: not inside another process's worker, nor where everything is kept short."""
    nested = MARK in os.environ or multiprocessing.parent_process() is not None
    return not nested and os.environ.get("LTVIZ_PROFILE") != "fast"


# ------------------------------------------------------------------------------------------------------ in the parent
class Worker:
    """A worker as its parent sees it: its process, what it has been sent, and a thread that passes its answers on."""

    def __init__(self, inbox: SimpleQueue):
        self.inbox, self.ready, self.stopping = inbox, False, False
        self.job: int | None = None  # the number of the run that it trains
        self.data: LongTailed | None = None  # the data that it holds
        code = f"import sys; sys.path[:] = {sys.path!r}; from ltviz.workers import serve; serve()"
        # A session of its own: Ctrl-C in a terminal goes to all processes of a session's foreground.
        apart = {"creationflags": 0x200} if os.name == "nt" else {"start_new_session": True}
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, **apart,
            env={**os.environ, MARK: "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        )  # fmt: skip
        threading.Thread(target=self._listen, name="ltviz-worker", daemon=True).start()

    def _listen(self) -> None:
        # The pipe ends with its process, perhaps in the middle of a message.
        with contextlib.suppress(Exception), self.process.stdout as pipe:
            while True:
                self.inbox.put((self, pickle.load(pipe)))
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(1.0)
        self.process.kill()
        self.inbox.put((self, ("gone", self.process.wait())))

    def send(self, *message: Any) -> None:
        """Nothing is raised where the process is gone: `_listen` tells of that."""
        with contextlib.suppress(OSError):
            self.process.stdin.write(pickle.dumps(message, PROTOCOL))
            self.process.stdin.flush()

    def end(self) -> None:
        """End the process, whatever it does; it holds nothing that is not here too."""
        self.process.kill()
        self.process.wait()
        with contextlib.suppress(OSError):  # it may still hold what could not be written
            self.process.stdin.close()


class WorkerLost(RuntimeError):
    """A worker process has ended in the middle of a run."""

    def __init__(self, trainer: Trainer, code: int):
        how = f"exit code {code}"
        if code < 0:
            with contextlib.suppress(ValueError):
                how = f"{signal.Signals(-code).name}, signal {-code}"
        memory = " (the system does that where memory runs out)" if code == -9 else ""
        super().__init__(
            f"the process that trained {trainer.method.key}, seed {trainer.seed}, was ended from outside by {how}"
            f"{memory}. Call train_many again, with folder= to keep what is done, or lt.sweep, which needs one process"
        )


class Pool:
    """The workers of this process. They are started when they are first needed, and kept for the next call."""

    def __init__(self):
        self.lock, self.inbox = threading.Lock(), SimpleQueue()
        self.workers: list[Worker] = []

    def fill(self, number: int) -> None:
        """Start workers until there are as many. Raises OSError where no process can be started."""
        while len(self.workers) < number:
            self.workers.append(Worker(self.inbox))

    def drop(self, worker: Worker) -> None:
        worker.end()
        self.workers.remove(worker)

    def end(self) -> None:
        for worker in list(self.workers):
            self.drop(worker)


_pools = [Pool()]  # the last one is used; a forked process leaves its parent's alone


def _end() -> None:
    _pools[-1].end()


atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _pools.append(Pool()))

OnEpoch = Callable[[Trainer], None]


def train_in_workers(
    trainers: Sequence[Trainer], control: RunControl, on_epoch: OnEpoch, deliver: Callable[[int, Run, str], None]
) -> list[int]:
    """Train each run in a worker, and return the numbers of those that could not be sent: they are for others.

    deliver(i, run, "2 processes") is told of each that is done, on_epoch of each epoch, from this thread: the trainers
    here count epochs and keep losses, but their networks stay as they are. Once `control` is stopped, runs under way
    end at their next step, and nothing more begins. Raises what a run raises, or WorkerLost, and then nothing runs on.
    """
    pool = _pools[-1]
    strange = added_here()
    fit = [i for i, trainer in enumerate(trainers) if sendable(trainer, strange)]
    if len(fit) < 2 or not pool.lock.acquire(blocking=False):  # another thread is using them
        return list(range(len(trainers)))
    call = _Call(pool, trainers, fit, on_epoch, deliver)
    try:
        call.train(control)
    finally:
        for worker in [worker for worker in pool.workers if worker.job is not None]:
            pool.drop(worker)
        for worker in pool.workers:
            worker.data = None  # it may be changed before the next call
        pool.lock.release()
    return sorted({*range(len(trainers))} - {*fit} | call.left)


class _Call:
    """One call of `train_in_workers`: which runs wait, which are left to others, and what an answer means."""

    def __init__(self, pool: Pool, trainers: Sequence[Trainer], fit: list[int], on_epoch: OnEpoch, deliver: Callable):
        self.pool, self.trainers, self.on_epoch, self.deliver = pool, trainers, on_epoch, deliver
        self.waiting, self.left = deque(fit), set()
        self.number, self.stopping = min(count(), len(fit)), False
        self.together = f"{self.number} processes"

    @property
    def busy(self) -> list[Worker]:
        return [worker for worker in self.pool.workers if worker.job is not None]

    def train(self, control: RunControl) -> None:
        deadline = float("inf")
        while (self.waiting or self.busy) and time.monotonic() < deadline:
            if control.stopped and not self.stopping:
                self.stopping, deadline = True, time.monotonic() + PATIENCE
                self.waiting.clear()
                for worker in self.busy:
                    worker.send("stop")
            if self.waiting:
                self._hand_out()
            with contextlib.suppress(Empty):
                worker, (kind, *content) = self.pool.inbox.get(timeout=0.1)
                if worker in self.pool.workers:
                    getattr(self, f"_{kind}")(worker, *content)

    def _hand_out(self) -> None:
        """Give each idle worker a run; start workers where some are missing."""
        try:
            self.pool.fill(self.number)
        except OSError:  # no processes here
            self.number = len(self.pool.workers)
        if not self.number:
            self.left.update(self.waiting)
            self.waiting.clear()
        for worker in self.pool.workers[: self.number]:
            if worker.ready and worker.job is None and self.waiting:
                self._send(worker, self.waiting.popleft())

    def _send(self, worker: Worker, i: int) -> None:
        trainer = self.trainers[i]
        asked = trainer.request
        job = {
            "method": asked.method.key, "settings": asked.settings, "recipe": asked.recipe, "seed": asked.seed,
            "start": asked.start, "speed": asked.speed, "weights": asked.weights,
        }  # fmt: skip
        job |= {} if asked.network is None else {"model": asked.network}
        job |= {} if asked.augment is None else {"augment": asked.augment}
        job |= {} if asked.head_classes is None else {"head_classes": asked.head_classes}
        fields = {f.name: getattr(trainer.data, f.name) for f in dataclasses.fields(LongTailed) if f.init}
        try:
            content = pickle.dumps((job, asked.id, [get() for get, _ in _SWITCHES]), PROTOCOL)
            data = None if worker.data is trainer.data else pickle.dumps(fields, PROTOCOL)
        except Exception:  # pickle raises errors of many kinds for what it does not know
            self.left.add(i)
            return
        worker.job, worker.data = i, trainer.data
        worker.send("job", content, data)

    # What a worker says, by the first word of its message.
    def _ready(self, worker: Worker) -> None:
        worker.ready = True

    def _epochs(self, worker: Worker, losses: list[float]) -> None:
        trainer = self.trainers[worker.job]
        for loss in losses:
            trainer.rows.append({"epoch": trainer.epoch, "loss": loss})
            trainer.epoch += 1
            self.on_epoch(trainer)

    def _run(self, worker: Worker, run: Run, warned: list[tuple[str, type[Warning]]]) -> None:
        i, worker.job = worker.job, None
        self.trainers[i].seconds = run.provenance["seconds"]
        request = self.trainers[i].request
        run.made_by = request.bound, request.network
        self.deliver(i, run, self.together)
        for text, category in warned:
            warnings.warn(text, category, stacklevel=7)

    def _unfit(self, worker: Worker) -> None:
        self.left.add(worker.job)
        worker.job, worker.data = None, None

    def _stopped(self, worker: Worker) -> None:
        worker.job = None

    def _failed(self, worker: Worker, error: bytes, text: str, trace: str) -> None:
        worker.job = None
        try:
            found = pickle.loads(error)
        except Exception:  # an error of a class that is not known here, or that cannot be pickled
            found = RuntimeError(text)
        raise found from RuntimeError(f"in a worker process:\n{trace}")

    def _gone(self, worker: Worker, code: int) -> None:
        self.pool.drop(worker)
        if not worker.ready:  # it could not even start: do without
            self.number = len(self.pool.workers)
        elif worker.job is None or self.stopping:
            pass
        elif code == 0:  # it had just ended, being idle for long
            self.waiting.appendleft(worker.job)
        else:
            raise WorkerLost(self.trainers[worker.job], code)


def sendable(trainer: Trainer, strange: set[str]) -> bool:
    """Whether a worker can train this run: a fresh one, whose method and data are what ltviz makes them.

    What a worker cannot rebuild for another reason (it cannot be pickled, or lives in a notebook) is noticed there.
    """
    bound, known = trainer.request.bound, True
    while bound is not None:
        known, bound = known and bound.method is METHODS.get(bound.key) and bound.key not in strange, bound.base
    own = {name for name in vars(trainer.data) if callable(getattr(LongTailed, name, None))} - {"with_seed"}
    plain = type(trainer) is Trainer and type(trainer.data) in (LongTailed, Table) and not own
    return known and plain and trainer.epoch == 0 and trainer.checkpoint is None and not trainer.callbacks


def added_here() -> set[str]:
    """The keys of methods that no file of ltviz.methods declares: those that only this process knows."""
    files = [module for name, module in list(sys.modules.items()) if name.startswith("ltviz.methods.")]
    declared = [getattr(module, "METHODS", None) or (getattr(module, "METHOD", None),) for module in files]
    ours = {id(record) for records in declared for record in records}
    return {key for key, method in METHODS.items() if id(method) not in ours}


# ------------------------------------------------------------------------------------------------------ in the worker
class _Ended(BaseException):
    """Ends a run at its next step, without a look at the test set."""


class _Brake(RunControl):
    """What the thread that listens sets, and the loop of a run asks."""

    def check(self) -> None:
        try:
            super().check()
        except Stopped:
            raise _Ended from None


class _Inside:
    """A worker as it sees itself."""

    def __init__(self):
        # Our pipes are known to nobody else: what a run prints goes where errors go, and it has nothing to read.
        self.input, self.output = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        os.dup2(2, 1)
        sys.stdout = sys.stderr
        self.jobs, self.brake = SimpleQueue(), _Brake()
        self.data: LongTailed | None = None

    def listen(self) -> None:
        """Pass on what the parent says. When it says nothing more, it is gone, and so is this process."""
        try:
            while True:
                kind, *content = pickle.load(self.input)
                if kind == "stop":
                    self.brake.stop()
                else:
                    self.brake = _Brake()  # what was asked of an earlier run is over
                    self.jobs.put((self.brake, *content))
        except EOFError:
            os._exit(0)
        finally:
            os._exit(1)

    def say(self, *message: Any) -> None:
        self.output.write(pickle.dumps(message, PROTOCOL))
        self.output.flush()

    def train(self, brake: RunControl, content: bytes, data: bytes | None) -> None:
        try:
            if data is not None:
                self.data = LongTailed(**pickle.loads(data))
            trainer = self._trainer(content)
        except Exception:  # the parent has made the same: this is about what is not known here
            self.say("unfit")
            return
        losses, last = [], time.monotonic()

        def told(trainer: Trainer) -> None:
            nonlocal last
            losses.append(trainer.rows[-1]["loss"])
            if time.monotonic() - last > OFTEN:
                self.say("epochs", losses)
                last = time.monotonic()
                losses.clear()

        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                run = trainer.run(brake, told)
        except _Ended:
            self.say("stopped")
            return
        except BaseException as error:
            self._say_error(error)
            return
        self.say("epochs", losses)
        self.say("run", run, [(str(w.message), w.category) for w in caught])

    def _trainer(self, content: bytes) -> Trainer:
        job, id_, switches = pickle.loads(content)
        for (get, put), value in zip(_SWITCHES, switches, strict=True):
            if get() != value:
                put(value)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they have been said in the parent
            trainer = Trainer(job.pop("method"), self.data, device="cpu", **job.pop("settings"), **job)
        if trainer.request.id != id_ or trainer.threads != 1:
            raise ValueError("not the run that was asked for")
        return trainer

    def _say_error(self, error: BaseException) -> None:
        try:
            content = pickle.dumps(error)
        except Exception:  # an error may hold anything
            content = b""
        self.say("failed", content, f"{type(error).__name__}: {error}", traceback.format_exc())


def serve() -> None:
    """Train what the parent asks for, until it is gone, or has asked for nothing for ten minutes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    inside = _Inside()
    threading.Thread(target=inside.listen, daemon=True).start()
    inside.say("ready")
    while True:
        try:
            job = inside.jobs.get(timeout=IDLE)
        except Empty:
            os._exit(0)
        inside.train(*job)
