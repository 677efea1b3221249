"""One training loop for every method, an epoch at a time.

The loop knows the contract of objective.py and nothing about any method. All random draws of a run come from its own
generators, nothing is read back from the device inside an epoch, and everything that a run needs to continue is in its
checkpoint: resumed equals uninterrupted, bit for bit on a CPU.
"""

from __future__ import annotations

import math
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..check import to_array
from ..datasets import LongTailed
from ..device import plain_torch, thread_count, threads
from ..draws import own_draws
from ..graph import Captured
from ..models import initialise
from ..objective import Output, Report
from ..optimizer import clip, make_optimizer, set_rate
from ..own import contains_own, own_errors
from ..run import Run
from ..samplers import SAMPLERS, images_per_class
from . import checkpoint as checkpoints
from . import distributed
from .build import make_generators, make_network, parameter_groups, stage_starts, take_over, training_images
from .callbacks import Callbacks
from .control import RunControl, Stopped, interrupts
from .evaluation import answers, as_arrays, history_row, make_run, warn_diverged
from .request import check_torch, checkpoint_path, make_request

HALFWAY = (
    "this trainer was stopped within an epoch, and cannot go on as if it had not been; continue from its checkpoint, "
    "or with start= from its run"
)
AT_MOST = 10.0  # seconds between two checkpoints, or one epoch if that is longer


class Tally:
    """What an epoch adds up on the device, and reads once: the loss terms, and the feature length of each class."""

    def __init__(self, k: int, device: torch.device):
        self.terms: dict[str, Tensor] = {}
        self.lengths = torch.zeros(k, device=device)

    def clear(self) -> None:
        for total in (*self.terms.values(), self.lengths):
            total.zero_()

    def add(self, terms: Mapping[str, Tensor], features: Tensor, targets: Tensor) -> None:
        for name, value in terms.items():
            if name not in self.terms:
                self.terms[name] = torch.zeros_like(value)
            self.terms[name].add_(value.detach(), alpha=len(targets))  # the mean of a batch counts by its images
        self.lengths.index_add_(0, targets, torch.linalg.vector_norm(features.detach(), dim=1))

    def read(self, order: Tensor, targets: Tensor) -> tuple[dict[str, float], np.ndarray]:
        """The mean of each term, and of the feature lengths of each class (k,), over the images visited, (n,)."""
        seen = images_per_class(targets[order], len(self.lengths))
        return {name: float(v) / len(order) for name, v in self.terms.items()}, to_array(self.lengths / seen)


@dataclass
class Epoch:
    """An epoch under way: its stage, its batches of indices, the learning rate of each step, when it began."""

    stage: int
    batches: list[Tensor]
    rates: list[float]
    began: float


class Trainer:
    """One run, an epoch at a time. What `train`, `LiveRun` and `sweep` use; use it directly to look inside.

    Arguments are those of `train`; `request` holds them, checked.
    """

    def __init__(self, method: Any, data: LongTailed, *, checkpoint: Any = None, callbacks: Any = None, **asked: Any):
        self.callbacks = Callbacks(callbacks)
        self.request = ask = make_request(method, data, **asked)
        self.method, self.settings, self.recipe, self.seed = ask.method, ask.settings, ask.recipe, ask.seed
        self.device, self.speed, self.id = ask.device, ask.speed, ask.id
        self.threads = thread_count(ask.recipe.model, data.shape, ask.recipe.batch_size)
        self.checkpoint = checkpoint_path(checkpoint)
        if self.checkpoint:
            checkpoints.prepare(self.checkpoint)
        self.generators = make_generators(self.seed, self.device, ask.augment is not None)
        with plain_torch(self.device):
            self.data = data.to(self.device).prepare()
            self._make(data)
        if self.checkpoint and self.checkpoint.exists():
            checkpoints.load(self)

    def _make(self, data: LongTailed) -> None:
        """The objective, the network, and what the loop notes."""
        ask = self.request
        self.layout = torch.channels_last if self.speed.channels_last else torch.contiguous_format
        with own_draws(self.generators["construction"]):
            self.objective = ask.bound.build(data.counts.cpu())
            self.net = make_network(ask, self.data, self.objective, self.generators)
        self.free = [one for one in self.net.backbone.parameters() if one.requires_grad]  # the reader froze the others
        self.batch = training_images(self.data, self.generators, ask.augment)
        if ask.start is not None:
            take_over(self.net, ask.start, self.data, self.recipe.model, ask.method.key)
        self.net.to(self.device, memory_format=self.layout)
        self.objective.to(self.device).generator = self.generators["masks"]
        backbone = torch.compile(self.net.backbone, dynamic=False) if self.speed.compile else self.net.backbone
        self.backbone = distributed.spread(backbone, self.id, own=ask.network is not None)
        # Without the cache of cast weights: it lives as long as the outermost autocast, and weights change in place.
        bf16 = torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False)
        self.autocast = bf16 if self.speed.bf16 else nullcontext()
        # A stream of its own for each run: its graphs are captured there, and several runs share the device.
        self.stream = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        drawn = [generator for name, generator in self.generators.items() if name in ("crops", "masks")]
        self.step = Captured(_weak(self._step), drawn, self.stream if self.speed.graph else None)
        self.validate = Captured(_weak(self._validate), (), self.stream if self.speed.graph else None)
        # Whether a step draws by itself (dropout): the first of a stage shows it; the reader's code may at any time.
        self.has_own_code, self.draws = contains_own(ask.bound) or ask.network is not None, True
        self.tally, self.hits = Tally(data.k, self.device), torch.zeros(data.k, device=self.device)
        self.val_counts = images_per_class(self.data.val_targets, data.k)
        self.stages = ask.bound.stages
        self.starts = stage_starts(self.stages, self.recipe.epochs)
        self.stage, self.epoch, self.seconds, self.halfway, self.ended = -1, 0, 0.0, False, False
        self.rows, self.accuracy, self.saved_at, self.unwritten = [], None, time.monotonic(), None

    @property
    def done(self) -> bool:
        return self.ended or self.epoch >= self.recipe.epochs

    def run(self, control: RunControl | None = None, on_epoch: Callable[[Trainer], None] | None = None) -> Run:
        """Train to the end, or until stopped; returns the run either way, marked as finished, stopped or diverged.

        Ctrl-C stops it at the next step, and never in the middle of what follows.
        """
        if self.halfway:
            raise RuntimeError(HALFWAY)
        status = "finished"
        with interrupts(control) as guard, self.place():
            try:
                while not self.done:
                    row = self.run_epoch(guard.control)
                    if on_epoch:
                        on_epoch(self)
                    if not math.isfinite(row["loss"]):
                        status = "diverged"
                        warn_diverged(self, row["loss"])
                        break
            except (Stopped, KeyboardInterrupt):
                status = "stopped"
            return self.finish("stopped" if self.ended and status == "finished" else status)

    def run_epoch(self, control: RunControl | None = None) -> dict[str, Any]:
        """Train one epoch, look at the validation set, and return the new row of the history."""
        with self.place(), checkpoints.keeping(self):
            epoch = self.begin_epoch()
            for _ in self.steps(epoch, control):
                pass
            return self.end_epoch(epoch)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Inside, work runs where this run's does, steps taken by hand too: on its stream, or on as many threads as the
        rule says (another number gives other bits)."""
        if self.stream is None:
            with plain_torch(self.device), threads(self.threads) if self.device.type == "cpu" else nullcontext():
                yield
            return
        self.stream.wait_stream(torch.cuda.current_stream(self.device))
        try:
            with torch.cuda.stream(self.stream), plain_torch(self.device, self.speed.probe):
                yield
        finally:  # after an error too: what is freed then must not be given away while this run still writes to it
            torch.cuda.current_stream(self.device).wait_stream(self.stream)

    def begin_epoch(self) -> Epoch:
        """Enter the stage that is due, let the objective listen, and draw the batches."""
        began = time.perf_counter()
        check_torch()
        self.request.check_data(self.data)
        self.halfway = True
        stage = max(i for i, start in enumerate(self.starts) if start <= self.epoch)
        for entered in range(self.stage + 1, stage + 1):
            self.enter(entered)
        plan, first = self.stages[stage], self.starts[stage]
        length = (*self.starts[1:], self.recipe.epochs)[stage] - first  # up to the next stage, or to the end
        progress = (self.epoch - first) / max(length - 1, 1)  # of the stage, from 0 in its first epoch to 1 in its last
        report = Report(stage, self.epoch, progress, self.net.head, self.accuracy, self.embed_training)
        draws = own_draws(self.generators["network"]) if self.has_own_code else nullcontext()
        with torch.no_grad(), draws, own_errors(self.request.bound):
            self.objective.begin_epoch(report)
        order = self.generators["order"]
        batches = SAMPLERS[plan.sampler](self.data.targets, self.recipe.batch_size, progress, order)
        # The epoch, and of how many, on the clock that the rate follows: the stage's own, or that of the whole run.
        clock = (self.epoch - first, length) if plan.schedule == "restart" else (self.epoch, self.recipe.epochs)
        self.net.train()
        if self.frozen and not self.recipe.move_statistics:
            self.net.backbone.eval()
        self.tally.clear()
        n = len(batches)
        rates = [self.recipe.learning_rate(clock[0], step, n, clock[1], len(self.data)) for step in range(n)]
        return Epoch(stage, batches, rates, began)

    def steps(self, epoch: Epoch, control: RunControl | None = None) -> Iterator[int]:
        """Take the steps of an epoch, one for each value yielded, then look at the validation set.

        On a GPU, nothing in here waits for the device.
        """
        for step, (index, rate) in enumerate(zip(epoch.batches, epoch.rates, strict=True)):
            distributed.check(control, self.device)
            set_rate(self.optimizer, self.rate, rate)
            with own_draws(self.generators["network"]) if self.draws else nullcontext() as drawn:
                self.step(index)
            self.draws = self.has_own_code or (self.draws and drawn.drew)
            yield step
        if self.data.has_validation:
            self.validate()

    def _step(self, index: Tensor) -> None:
        """One step, complete: crops, forward, backward, update, what the objective and the tally note. All that it
        changes stays where it is in memory, and nothing is read back: so it can be a CUDA graph."""
        y = self.data.targets.index_select(0, index)
        blend = self.objective.mix(y) or (None, None)
        out = self.output(distributed.images(self.batch, index, *blend), index, *blend)
        with own_errors(self.request.bound, out, y):
            terms = self.objective.terms(out, y)
        for parameter in self.trained:
            parameter.grad = None
        sum(terms.values()).backward()
        if self.recipe.clip is not None:
            clip(self.trained, self.recipe.clip)
        self.optimizer.step()
        with torch.no_grad(), own_errors(self.request.bound, out, y):
            self.objective.after_step(out, y)
            self.tally.add(terms, out.features, y)

    def output(self, images: Tensor, index: Tensor, partner: Tensor | None = None, share: Any = None) -> Output:
        """What the network says to a training batch, blended or not; without gradients for what the stage freezes.

        images: those of the batch that this process takes, blended already.
        """
        images = images.contiguous(memory_format=self.layout)
        with self.autocast, torch.set_grad_enabled(not self.frozen):
            features = distributed.features(self.backbone, images, len(index))
        # In float32, always: in bfloat16 the logits of two classes can come out equal.
        return self.net.decide(features.float(), index, partner, share)

    def end_epoch(self, epoch: Epoch) -> dict[str, Any]:
        """Read what the epoch noted, and return the new row of the history."""
        if self.data.has_validation:
            self.accuracy = self.hits / self.val_counts
        self.rows.append(row := history_row(self, epoch))
        self.epoch, self.halfway = self.epoch + 1, False
        self.seconds += (took := time.perf_counter() - epoch.began)
        # Early rather than late: by the end of the next epoch, more than that could be lost.
        late = time.monotonic() - self.saved_at + took > AT_MOST
        if self.checkpoint and math.isfinite(row["loss"]):
            self.unwritten = None if (self.done or late) and self.save_checkpoint() else checkpoints.snapshot(self)
        self.ended = distributed.agreed(lambda: self.callbacks.tell(self, row), self.device)
        if self.ended:
            checkpoints.keep(self)
        return row

    def enter(self, number: int) -> None:
        """Begin a stage: its head, its class weights, and which parameters it trains."""
        stage, before = self.stages[number], self.stages[number - 1] if number else None
        if stage.head is not None:
            with own_draws(self.generators["construction"]):
                head = stage.head(self.net.head)
            if hasattr(head, "initialise"):
                initialise(head, self.generators["init"])
            self.net.head = head.to(self.device)
        if stage.class_weight is not None:
            self.objective.set_class_weight(stage.class_weight(self.data.counts.cpu()), "stage")
        elif before is not None and before.class_weight is not None:  # a stage's weights are its own: back to none
            self.objective.set_class_weight(torch.ones(self.data.k), "stage")
        for parameter in self.free:
            parameter.requires_grad_(stage.train == "all")
        self.frozen = stage.train == "head"
        # The optimizer goes on, momentum included, where nothing changes in what it trains.
        same = before and before.train == stage.train and stage.head is None and stage.schedule == "continue"
        if not same:
            groups = parameter_groups(self.net, self.objective, self.recipe)
            self.trained = [parameter for group in groups for parameter in group["params"]]
            # `set_rate` writes the rate of each step into the tensor, which a graph reads; without one, past this.
            self.rate = torch.tensor(self.recipe.lr, device=self.device) if self.speed.graph else self.recipe.lr
            momentum, fused = self.recipe.momentum, self.speed.fused  # other ways read the rate back to the host
            self.optimizer = make_optimizer(self.recipe.optimizer, groups, self.rate, momentum, fused)
            self.step.reset()
            self.validate.reset()
        self.stage, self.draws = number, True

    def save_checkpoint(self) -> bool:
        """Write all that the run needs to continue, atomically; a failure is a warning, and tried again later."""
        return checkpoints.save(self)

    # --------------------------------------------------------------------------------------------------- evaluation
    @torch.no_grad()
    def _validate(self) -> None:
        """Write the hits (k,) on the validation set. It can be a CUDA graph, as `_step`."""
        targets = self.data.val_targets
        logits, _ = answers(self, self.data.val_batch, len(targets))
        self.hits.zero_().index_add_(0, targets, (logits.argmax(1) == targets).float())

    def embed_training(self) -> tuple[Tensor, Tensor]:
        """Features (n, d) of the training images as they are, in eval mode, and their targets (n,)."""
        _, features = answers(self, self.data.batch, len(self.data.targets), decide=False)
        return features, self.data.targets

    @property
    def history(self) -> dict[str, np.ndarray]:
        """The rows so far as arrays, one entry an epoch."""
        return as_arrays(list(self.rows))  # another thread may be adding one

    def finish(self, status: str = "finished") -> Run:
        """Look at the test set, once, and return the run. Graphs are given back."""
        if self.stage < 0:
            self.enter(0)
        self.step.reset()
        self.validate.reset()
        return make_run(self, status)


def _weak(method: Callable) -> Callable:
    """The method, without keeping its object alive: a run that is done gives its memory back at once."""
    kept = weakref.WeakMethod(method)
    return lambda *arguments: kept()(*arguments)
