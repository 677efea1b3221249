"""One training loop for every method, an epoch at a time.

The loop knows the contract of objective.py and nothing about any method. All random draws of a run come from its own
generators, nothing is read back from the device inside an epoch, and everything that a run needs to continue is in its
checkpoint: resumed equals uninterrupted, bit for bit on a CPU.
"""

from __future__ import annotations

import math
import time
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..check import to_array
from ..datasets import LongTailed
from ..device import plain_torch, thread_count, threads
from ..graph import Captured
from ..models import Net, initialise, make_net, own_draws
from ..objective import Output, Report, Stage
from ..optimizer import clip, make_optimizer, set_rate
from ..own import contains_own
from ..run import Run
from ..samplers import SAMPLERS, images_per_class
from . import checkpoint as checkpoints
from .control import RunControl, Stopped, interrupts
from .evaluation import answers, history_row, make_run, warn_diverged
from .recipe import Recipe
from .request import check_torch, checkpoint_path, make_request

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
            self.terms[name].add_(value.detach(), alpha=len(targets))
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

    def __init__(self, method: Any, data: LongTailed, *, checkpoint: str | Path | None = None, **arguments: Any):
        self.request = ask = make_request(method, data, **arguments)
        self.method, self.settings, self.recipe, self.seed = ask.method, ask.settings, ask.recipe, ask.seed
        self.device, self.speed, self.id = ask.device, ask.speed, ask.id
        self.threads = thread_count(ask.recipe.model, data.shape, ask.recipe.batch_size)
        self.checkpoint = checkpoint_path(checkpoint)
        if self.checkpoint:
            checkpoints.prepare(self.checkpoint)
        with plain_torch(self.device):
            self.data = data.to(self.device).prepare()
        self.generators = make_generators(self.seed, self.device)
        with plain_torch(self.device):
            self._make(data)
        if self.checkpoint and self.checkpoint.exists():
            checkpoints.load(self)

    def _make(self, data: LongTailed) -> None:
        """The objective, the network, and what the loop notes."""
        ask = self.request
        self.layout = torch.channels_last if self.speed.channels_last else torch.contiguous_format
        with own_draws(self.generators["construction"]):
            self.objective = ask.bound.build(data.counts.cpu())
            self.net = make_net(ask.recipe.model, data.shape, self.objective, self.generators["init"])
        if ask.start is not None:
            take_over(self.net, ask.start, self.data, self.recipe.model, ask.method.key)
        self.net.to(self.device, memory_format=self.layout)
        self.objective.to(self.device).generator = self.generators["masks"]
        self.backbone = torch.compile(self.net.backbone, dynamic=False) if self.speed.compile else self.net.backbone
        # Without the cache of cast weights: it lives as long as the outermost autocast, and weights change in place.
        bf16 = torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False)
        self.autocast = bf16 if self.speed.bf16 else nullcontext()
        # A stream of its own for each run: its graphs are captured there, and several runs share the device.
        self.stream = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        drawn = [generator for name, generator in self.generators.items() if name in ("crops", "masks")]
        self.step = Captured(_weak(self._step), drawn, self.stream if self.speed.graph else None)
        self.validate = Captured(_weak(self._validate), (), self.stream if self.speed.graph else None)
        # Whether a step draws by itself (dropout): the first one of a stage shows it; a reader's loss may at any time.
        self.own, self.draws = contains_own(ask.bound), True
        self.tally, self.hits = Tally(data.k, self.device), torch.zeros(data.k, device=self.device)
        self.val_counts = images_per_class(self.data.val_targets, data.k)
        self.stages = ask.bound.stages
        self.starts = stage_starts(self.stages, self.recipe.epochs)
        self.stage, self.epoch, self.seconds, self.halfway = -1, 0, 0.0, False
        self.rows: list[dict[str, Any]] = []
        self.accuracy, self._saved = None, time.monotonic()

    @property
    def done(self) -> bool:
        return self.epoch >= self.recipe.epochs

    def run(self, control: RunControl | None = None, on_epoch: Callable[[Trainer], None] | None = None) -> Run:
        """Train to the end, or until stopped; returns the run either way, marked as finished, stopped or diverged.

        Ctrl-C stops it at the next step, and never in the middle of what follows.
        """
        if self.halfway:
            raise RuntimeError(
                "this trainer was stopped within an epoch, and cannot go on as if it had not been; continue from its "
                "checkpoint, or with start= from its run"
            )
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
            return self.finish(status)

    def run_epoch(self, control: RunControl | None = None) -> dict[str, Any]:
        """Train one epoch, look at the validation set, and return the new row of the history."""
        with self.place():
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
        length = (*self.starts[1:], self.recipe.epochs)[stage] - first
        progress = (self.epoch - first) / max(length - 1, 1)
        report = Report(stage, self.epoch, progress, self.net.head, self.accuracy, self.embed_training)
        with torch.no_grad(), own_draws(self.generators["network"]) if self.own else nullcontext():
            self.objective.begin_epoch(report)
        order = self.generators["order"]
        batches = SAMPLERS[plan.sampler](self.data.targets, self.recipe.batch_size, progress, order)
        clock = (self.epoch - first, length) if plan.schedule == "restart" else (self.epoch, self.recipe.epochs)
        self.net.train()
        if self.frozen and not self.recipe.move_statistics:
            self.net.backbone.eval()
        self.tally.clear()
        steps, images = len(batches), len(self.data)
        rates = [self.recipe.learning_rate(clock[0], step, steps, clock[1], images) for step in range(steps)]
        return Epoch(stage, batches, rates, began)

    def steps(self, epoch: Epoch, control: RunControl | None = None) -> Iterator[int]:
        """Take the steps of an epoch, one for each value yielded, then look at the validation set.

        On a GPU, nothing in here waits for the device.
        """
        for step, (index, rate) in enumerate(zip(epoch.batches, epoch.rates, strict=True)):
            if control:
                control.check()
            set_rate(self.optimizer, self.rate, rate)
            with own_draws(self.generators["network"]) if self.draws else nullcontext() as drawn:
                self.step(index)
            self.draws = self.own or (self.draws and drawn.drew)
            yield step
        if self.data.has_validation:
            self.validate()

    def _step(self, index: Tensor) -> None:
        """One step of training, complete: crops, forward, backward, update, what the objective and the tally note.

        All that it changes stays where it is in memory, and nothing is read back: so it can be a CUDA graph.
        """
        y = self.data.targets.index_select(0, index)
        blend = self.objective.mix(y) or (None, None)
        out = self.output(self.data.batch(index, self.generators["crops"]), index, *blend)
        terms = self.objective.terms(out, y)
        for parameter in self.trained:
            parameter.grad = None
        sum(terms.values()).backward()
        if self.recipe.clip is not None:
            clip(self.trained, self.recipe.clip)
        self.optimizer.step()
        with torch.no_grad():
            self.objective.after_step(out, y)
            self.tally.add(terms, out.features, y)

    def output(self, images: Tensor, index: Tensor, partner: Tensor | None = None, share: Any = None) -> Output:
        """What the network says to a training batch, blended or not; without gradients for what the stage freezes."""
        if partner is not None:
            images = torch.lerp(images[partner], images, share.to(images.dtype))
        images = images.contiguous(memory_format=self.layout)
        with self.autocast, torch.set_grad_enabled(not self.frozen):
            features = self.backbone(images)
        # In float32, always: in bfloat16 the logits of two classes can come out equal.
        return self.net.decide(features.float(), index, partner, share)

    def end_epoch(self, epoch: Epoch) -> dict[str, Any]:
        """Read what the epoch noted, and return the new row of the history."""
        if self.data.has_validation:
            self.accuracy = self.hits / self.val_counts
        row = history_row(self, epoch)
        self.rows.append(row)
        self.epoch, self.halfway = self.epoch + 1, False
        took = time.perf_counter() - epoch.began
        self.seconds += took
        # Early rather than late: by the end of the next epoch, more than that could be lost.
        late = time.monotonic() - self._saved + took > AT_MOST
        if self.checkpoint and (self.done or late) and math.isfinite(row["loss"]):
            self.save_checkpoint()
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
        elif before is not None and before.class_weight is not None:
            self.objective.set_class_weight(torch.ones(self.data.k), "stage")
        self.net.backbone.requires_grad_(stage.train == "all")
        same = before and before.train == stage.train and stage.head is None and stage.schedule == "continue"
        self.frozen = stage.train == "head"
        if not same:
            groups = parameter_groups(self.net, self.objective, self.recipe)
            self.trained = [parameter for group in groups for parameter in group["params"]]
            self.rate = torch.tensor(self.recipe.lr, device=self.device) if self.speed.graph else self.recipe.lr
            fused = self.speed.fused or self.speed.graph  # SGD's other ways read the rate back to the host
            self.optimizer = make_optimizer(self.recipe.optimizer, groups, self.rate, self.recipe.momentum, fused)
            self.step.reset()
            self.validate.reset()
        self.stage, self.draws = number, True

    def save_checkpoint(self) -> None:
        """Write all that the run needs to continue, atomically; a failure is a warning, and tried again later."""
        if checkpoints.write(self):
            self._saved = time.monotonic()

    # --------------------------------------------------------------------------------------------------- evaluation
    @torch.no_grad()
    def _validate(self) -> None:
        """Write the hits (k,) on the validation set. It can be a CUDA graph, as `_step`."""
        data = self.data
        logits, _ = answers(self, data.val_batch, len(data.val_targets))
        right = (logits.argmax(1) == data.val_targets).float()
        self.hits.zero_().index_add_(0, data.val_targets, right)

    def embed_training(self) -> tuple[Tensor, Tensor]:
        """Features (n, d) of the training images as they are, in eval mode, and their targets (n,)."""
        _, features = answers(self, self.data.batch, len(self.data.targets))
        return features, self.data.targets

    @property
    def history(self) -> dict[str, np.ndarray]:
        """The rows so far as arrays, one entry an epoch."""
        rows = list(self.rows)  # another thread may be adding one
        names = dict.fromkeys(name for row in rows for name in row)
        return {name: np.array([row.get(name, np.nan) for row in rows]) for name in names}

    def finish(self, status: str = "finished") -> Run:
        """Look at the test set, once, and return the run. Graphs are given back."""
        if self.stage < 0:
            self.enter(0)
        self.step.reset()
        self.validate.reset()
        return make_run(self, status)


def make_generators(seed: int, device: torch.device) -> dict[str, torch.Generator]:
    """One stream of random numbers for each purpose, so that a method that draws masks leaves the crops alone."""
    state = np.random.SeedSequence(seed).generate_state(6)
    places = {"init": "cpu", "order": device, "crops": device, "masks": device, "network": device}
    places["construction"] = "cpu"  # modules draw values while they are made, which "init" then replaces
    return {
        name: torch.Generator(place).manual_seed(int(number))
        for (name, place), number in zip(places.items(), state, strict=True)
    }


def take_over(net: Net, start: Run, data: LongTailed, model: str, key: str) -> None:
    """Load the network of a run; its head too, where this one's has the same parameters, classes matched by name."""
    if start.k != data.k or start.recipe["model"] != model:
        raise ValueError(
            f"start: {start.name!r} has {start.k} classes on {start.recipe['model']!r}, this run has {data.k} "
            f"on {model!r}; they must agree"
        )
    state = {name: torch.from_numpy(value) for name, value in start.network.items()}
    own = net.state_dict()
    names, before = list(data.class_names), list(start.class_names)
    if sorted(names) != sorted(before):
        strange = sorted(set(before) - set(names))[:3]
        raise ValueError(
            f"start: {start.name!r} knows classes that these data lack, such as {', '.join(map(repr, strange))}; its "
            "classifier would name others. Use data of the same classes"
        )
    lacking = [n for n in own if not n.startswith("head.") and n not in state]
    if lacking or not all(torch.isfinite(v).all() for v in state.values() if v.is_floating_point()):
        what = f"lacks {lacking[0]}" if lacking else "holds NaN or infinity"
        raise ValueError(f"start: the network of {start.name!r} {what}; pass a whole run from lt.train")
    shapes = [{n: v.shape for n, v in s.items() if n.startswith("head.")} for s in (state, own)]
    if shapes[0] != shapes[1]:
        warnings.warn(f"start: the head of {start.name!r} does not fit {key}; the head starts anew", stacklevel=5)
        state = {n: v for n, v in state.items() if not n.startswith("head.")}
    elif names != before:
        rank = torch.tensor([before.index(name) for name in names])
        state |= {n: _rows(n, v, rank) for n, v in state.items() if n.startswith("head.")}
    checkpoints.load_state(net, {**own, **state})


def _rows(name: str, value: Tensor, rank: Tensor) -> Tensor:
    """A head's parameter with its classes in another order: the rows of weight (k, d), bias (k,), memory (k, d)."""
    k = len(rank)
    if k not in value.shape:
        return value
    if value.shape[0] != k or k in value.shape[1:]:
        raise ValueError(
            f"start: the classes stand in another order here, and {name} of shape {tuple(value.shape)} does not say "
            "which axis they are on; use data with the same class order"
        )
    return value[rank]


def _weak(method: Callable) -> Callable:
    """The method, without keeping its object alive: a run that is done gives its memory back at once."""
    kept = weakref.WeakMethod(method)
    return lambda *arguments: kept()(*arguments)


def stage_starts(stages: tuple[Stage, ...], epochs: int) -> tuple[int, ...]:
    """The epoch at which each stage begins: shares of the whole, each stage at least one epoch."""
    starts = [round(sum(s.share for s in stages[:i]) * epochs) for i in range(len(stages))]
    if epochs < len(stages):
        raise ValueError(f"epochs={epochs}, but the method has {len(stages)} stages of at least one epoch each")
    for i in range(1, len(starts)):
        starts[i] = min(max(starts[i], starts[i - 1] + 1), epochs - len(starts) + i)
    return tuple(starts)


def parameter_groups(net: Net, objective: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """What a stage trains, with its weight decay: none on the parameters of a loss, and on those marked `no_decay`.

    Where some are marked `only_decay`, these alone are decayed.
    """
    trained = [p for p in net.parameters() if p.requires_grad]
    decay = [p for p in trained if getattr(p, "only_decay", False)]
    decay = decay or [p for p in trained if not getattr(p, "no_decay", False)]
    plain = [p for p in trained if not any(p is other for other in decay)]
    plain += [p for p in objective.parameters() if p.requires_grad]
    groups = [{"params": decay, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    if not groups:
        raise ValueError("there is nothing to train: every parameter of this stage is frozen")
    return groups
