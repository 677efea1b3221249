"""Several runs side by side on one device: `train_many`.

A small network leaves most of a device idle: each step is over before the next one could be asked for. So on a CPU
the runs that differ by their seed alone take their small steps together, with one more axis in every tensor; on a GPU
each run has a stream and graphs of its own, and the device works on all of them at once. A fixed rule decides
(`way`), and everything else is trained one after another, bit for bit as `train` does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from .datasets import LongTailed
from .models import MODELS
from .objective import Objective, Output
from .run import Run
from .training import (
    Epoch,
    Progress,
    Trainer,
    make_optimizer,
    parameter_groups,
    requests,
    saved,
    say_diverged,
    say_stopped,
)

LARGEST = 8  # runs at a time
PIXELS = 8_192  # of one run's step, batch x height x width: larger steps fill a CPU by themselves


def train_many(
    method: str | list[str],
    data: LongTailed,
    *,
    seeds: int | list[int] = 3,
    folder: str | Path | None = None,
    small: bool = True,
    progress: bool = True,
    **settings: Any,
) -> list[Run]:
    """Train what `sweep` trains, up to eight runs side by side.

    Every combination of the settings given as lists, under several seeds; arguments and folder as for `sweep`. On a
    CPU, small runs that share method and settings are computed as one (`run.provenance["together"]` says how many):
    their losses follow those of `train` to 1e-4 over 20 steps, later they differ as rounding grows. Where runs are
    trained one after another they equal `train` bit for bit. Ctrl-C ends it and returns the runs that are done.
    """
    alike: dict[str, list[tuple]] = {}
    for request in requests(method, data, seeds, settings):
        alike.setdefault(repr((request[0], request[3])), []).append(request)
    runs: list[Run] = []
    try:
        for group in alike.values():
            for first in range(0, len(group), LARGEST):
                trainers = []
                for key, drawn, seed, chosen in group[first : first + LARGEST]:
                    trainer = Trainer(key, drawn, seed=seed, **chosen)
                    found = saved(folder, trainer)
                    if found:
                        runs.append(found)
                    else:
                        trainers.append(trainer)
                with Progress(trainers[0], len(trainers)) if progress and trainers else nullcontext() as bar:
                    done = side_by_side(trainers, bar.update if bar else None)
                    if bar:
                        bar.runs = done
                for run in done:
                    if run.status == "stopped":
                        raise KeyboardInterrupt
                    if folder is not None:
                        run.save(folder, small=small)
                    runs.append(run)
    except KeyboardInterrupt:
        say_stopped(len(runs), "train_many", folder)
    return sorted(runs, key=lambda run: (run.label, run.seed))


def way(trainers: Sequence[Trainer]) -> str:
    """How these runs are trained: "batched", "streams" or "one by one". A rule of device, model and batch size."""
    if len(trainers) < 2:
        return "one by one"
    if trainers[0].device.type == "cuda":
        return "streams"
    recipe, shape = trainers[0].recipe, trainers[0].data.shape
    small = recipe.batch_size * shape[1] * shape[2] <= PIXELS and recipe.model.partition(":")[0] in MODELS
    equal = len({(t.method.key, repr(t.settings), t.recipe, len(t.data)) for t in trainers}) == 1
    return "batched" if small and equal and trainers[0].device.type == "cpu" else "one by one"


def side_by_side(trainers: Sequence[Trainer], on_epoch: Callable[[Trainer], None] | None = None) -> list[Run]:
    """Train them to the end and return their runs, in the same order; `on_epoch(trainers[0])` is told of each epoch."""
    chosen = way(trainers)
    if chosen == "one by one":
        return [trainer.run(on_epoch=on_epoch) for trainer in trainers]
    steps = Batched(trainers).steps if chosen == "batched" else _in_turns(trainers)
    runs: dict[int, Run] = {}
    while not all(trainer.done for trainer in trainers):
        going = [trainer for trainer in trainers if not trainer.done]
        epochs = [_at(trainer, trainer.begin_epoch) for trainer in going]
        steps(epochs)
        for trainer, epoch in zip(going, epochs, strict=True):
            i, row = trainers.index(trainer), _at(trainer, trainer.end_epoch, epoch)
            if i not in runs and not math.isfinite(row["loss"]):  # what follows is not part of its record any more
                say_diverged(trainer, row["loss"])
                runs[i] = _at(trainer, trainer.finish, "diverged")
        if on_epoch:
            on_epoch(trainers[0])
    for i, trainer in enumerate(trainers):
        if i not in runs:
            runs[i] = _at(trainer, trainer.finish)
        runs[i].provenance["together"] = len(trainers)
    return [runs[i] for i in range(len(trainers))]


def _at(trainer: Trainer, work: Callable[..., Any], *arguments: Any) -> Any:
    """The work done where this run's work is done: on its stream or its number of threads."""
    with trainer.place():
        return work(*arguments)


def _in_turns(trainers: Sequence[Trainer]) -> Callable[[list[Epoch]], None]:
    """Steps of all runs in turns, each on a stream of its own: the device works on all of them at once."""

    def steps(epochs: list[Epoch]) -> None:
        going = [trainer for trainer in trainers if not trainer.done]
        waiting = [(trainer, trainer.steps(epoch)) for trainer, epoch in zip(going, epochs, strict=True)]
        while waiting:
            waiting = [(t, left) for t, left in waiting if _at(t, next, left, None) is not None]

    return steps


class _Whole(nn.Module):
    """A run's network and objective as one function of a batch, whose parameters and buffers can be exchanged."""

    def __init__(self, trainer: Trainer):
        super().__init__()
        self.net, self.objective, self.trainer = trainer.net, trainer.objective, trainer
        self.rest: dict[str, Any] = {}

    def forward(self, images: Tensor, index: Tensor, targets: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        out = vars(self.trainer.output(images, index))
        self.rest = {name: value for name, value in out.items() if not isinstance(value, Tensor)}
        tensors = {name: value for name, value in out.items() if isinstance(value, Tensor)}
        return self.objective.terms(Output(**out), targets), tensors


class Batched:
    """S runs as one network: every parameter and buffer has a first axis of length S.

    Each run's own tensors become views of these, so that what a trainer does by itself (hooks, validation, history,
    the end) sees every step, and writes through. Gradients are clipped, and losses added up, run by run.
    """

    def __init__(self, trainers: Sequence[Trainer]):
        self.trainers, self.clip = trainers, trainers[0].recipe.clip
        self.stage: torch.optim.Optimizer | None = None
        k, device = trainers[0].data.k, trainers[0].device
        self.terms: dict[str, Tensor] = {}
        self.lengths = torch.zeros(len(trainers), k, device=device)
        self.first_class = k * torch.arange(len(trainers), device=device)[:, None]
        for trainer, lengths in zip(trainers, self.lengths, strict=True):
            trainer.tally.lengths = lengths
            trainer.layout = torch.contiguous_format  # the only one that vmap knows

    def _stack(self) -> None:
        """Begin a stage: all tensors of the runs stacked, and one optimiser for them."""
        wholes = [_Whole(trainer) for trainer in self.trainers]
        self.whole, first = wholes[0], self.trainers[0]
        self.parameters = _stacked([dict(whole.named_parameters()) for whole in wholes])
        self.buffers = _stacked([dict(whole.named_buffers()) for whole in wholes])
        names = {id(parameter): name for name, parameter in self.whole.named_parameters()}
        groups = [
            {**group, "params": [self.parameters[names[id(p)]].requires_grad_() for p in group["params"]]}
            for group in parameter_groups(first.net, first.objective, first.recipe)
        ]
        self.trained = [parameter for group in groups for parameter in group["params"]]
        self.optimizer = make_optimizer(groups, first.recipe.lr, first.recipe, first.speed)
        self.stage = first.optimizer

    def steps(self, epochs: list[Epoch]) -> None:
        if self.trainers[0].optimizer is not self.stage:  # a new stage trains other parameters
            with torch.no_grad():
                self._stack()
        with self.trainers[0].place():
            for step, rate in enumerate(epochs[0].rates):
                for group in self.optimizer.param_groups:
                    group["lr"] = rate
                self._step([epoch.batches[step] for epoch in epochs])

    def _step(self, batches: list[Tensor]) -> None:
        data = [trainer.data for trainer in self.trainers]
        crops = [trainer.generators["crops"] for trainer in self.trainers]
        index, n = torch.stack(batches), len(batches[0])
        images = torch.stack([d.batch(i, crop) for d, i, crop in zip(data, batches, crops, strict=True)])
        targets = torch.stack([d.targets[i] for d, i in zip(data, batches, strict=True)])

        def one(parameters: dict, buffers: dict, *batch: Tensor) -> tuple[dict, dict]:
            return functional_call(self.whole, (parameters, buffers), batch)

        terms, out = vmap(one)(self.parameters, self.buffers, images, index, targets)
        for parameter in self.trained:
            parameter.grad = None
        sum(terms.values()).sum().backward()
        with torch.no_grad():
            if self.clip is not None:
                _clip_each([p.grad for p in self.trained if p.grad is not None], self.clip)
            self.optimizer.step()
            self._listen(out, targets)
            self._note(terms, out["features"], targets, n)

    def _listen(self, out: dict[str, Tensor], targets: Tensor) -> None:
        if type(self.whole.objective).after_step is Objective.after_step:
            return
        for i, trainer in enumerate(self.trainers):
            own = {name: value[i].detach() for name, value in out.items()}
            trainer.objective.after_step(Output(**own, **self.whole.rest), targets[i])

    def _note(self, terms: dict[str, Tensor], features: Tensor, targets: Tensor, n: int) -> None:
        for name, value in terms.items():
            if name not in self.terms:
                self.terms[name] = torch.zeros_like(value)
                for i, trainer in enumerate(self.trainers):
                    trainer.tally.terms[name] = self.terms[name][i]
            self.terms[name].add_(value.detach(), alpha=n)
        classes = (self.first_class + targets).flatten()
        self.lengths.view(-1).index_add_(0, classes, features.detach().norm(dim=2).flatten())


def _stacked(runs: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors of several runs, stacked; the runs' own become views of the result."""
    stacked = {name: torch.stack([run[name].detach() for run in runs]) for name in runs[0]}
    for i, run in enumerate(runs):
        for name, tensor in run.items():
            tensor.data = stacked[name][i]
    return stacked


def _clip_each(gradients: list[Tensor], largest: float) -> None:
    """Scale the gradients of each run (first axis) to a norm of at most `largest`, as clip_grad_norm_ does for one."""
    norms = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients]).norm(dim=0)
    scale = (largest / (norms + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(scale.view(-1, *[1] * (gradient.ndim - 1)))
