"""Several runs side by side on one device: `train_many`.

A small network leaves most of a device idle. What fills it depends on the device and the size of a step (`way`):

- "batched": on a CPU, a small MLP's step is mostly Python. Runs that differ by their seed alone take it together, with
  one more axis in every tensor.
- "threads": on a CPU, a run that the rule gives one thread leaves the other cores free. Each core has a run of its own.
- "streams": on a GPU, each run has a stream and graphs of its own, and the device works on all of them at once.
- "one by one": a larger network fills a CPU by itself.

All but the first give what `train` gives: on a CPU bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from .datasets import LongTailed
from .device import threads
from .objective import Objective, Output
from .optimizer import make_optimizer
from .run import Run
from .training import (
    Control,
    Epoch,
    Progress,
    Trainer,
    parameter_groups,
    requests,
    saved,
    say_diverged,
    say_stopped,
)

LARGEST = 8  # runs at a time
PIXELS = 8_192  # of one run's step (batch x height x width), up to which the step of an MLP is mostly Python
RUNS_PER_THREAD = 4  # of runs that are batched


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

    Every combination of the settings given as lists, under several seeds; arguments and folder as for `sweep`. A fixed
    rule says how (many.way), and `run.provenance["together"]` keeps it. Small MLPs that differ by their seed alone are
    computed as one: their losses follow those of `train` to 1e-4 over 20 steps, later they differ as rounding grows.
    All others on a CPU equal `train` bit for bit. Ctrl-C ends it and returns the runs that are done.
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
                if not trainers:
                    continue
                with Progress(trainers[0], len(trainers)) if progress else nullcontext() as bar:
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
    """How these runs are trained (see above): a rule of device, model and batch size, never a probe."""
    first, shape = trainers[0], trainers[0].data.shape
    if len(trainers) < 2 or first.device.type == "mps":
        return "one by one"
    if first.device.type == "cuda":
        return "streams"
    sizes = {(len(t.data), len(t.data.val_targets)) for t in trainers}
    alike = len(sizes) == len({(t.method.key, repr((t.settings, t.recipe))) for t in trainers}) == 1
    small = first.recipe.batch_size * shape[1] * shape[2] <= PIXELS
    if alike and small and first.recipe.model.partition(":")[0] == "mlp":
        return "batched"
    return "threads" if all(t.threads == 1 for t in trainers) else "one by one"


def side_by_side(trainers: Sequence[Trainer], on_epoch: Callable[[Trainer], None] | None = None) -> list[Run]:
    """Train them to the end and return their runs, in the same order; `on_epoch(trainers[0])` is told of each epoch."""
    chosen = way(trainers)
    if chosen == "one by one":
        runs = [trainer.run(on_epoch=on_epoch if trainer is trainers[0] else None) for trainer in trainers]
    elif chosen == "threads":
        runs = _in_threads(trainers, on_epoch)
    else:
        runs = _in_step(trainers, Batched(trainers) if chosen == "batched" else _in_turns, on_epoch)
    for run in runs:
        run.provenance["together"] = f"{len(trainers)} {chosen}"
    return runs


def _in_threads(trainers: Sequence[Trainer], on_epoch: Callable[[Trainer], None] | None) -> list[Run]:
    """Each run in a Python thread of its own, as many at a time as torch would use threads."""
    control, workers = Control(), min(torch.get_num_threads(), len(trainers))
    # One thread for all of them, set here: the number that a matrix product takes is shared by the whole process.
    with threads(1), ThreadPoolExecutor(workers, "ltviz-train-many") as pool:
        try:
            waiting = [pool.submit(t.run, control, on_epoch if t is trainers[0] else None) for t in trainers]
            for run in wait(waiting, return_when=FIRST_EXCEPTION).done:
                run.result()  # raises what went wrong in it
            return [run.result() for run in waiting]
        except BaseException:
            control.stop()
            raise


def _in_step(
    trainers: Sequence[Trainer],
    steps: Callable[[Sequence[Trainer], list[Epoch]], None],
    on_epoch: Callable[[Trainer], None] | None,
) -> list[Run]:
    """All runs an epoch at a time; `steps` takes the steps of an epoch of each."""
    runs: dict[int, Run] = {}
    while going := [(i, trainer) for i, trainer in enumerate(trainers) if not trainer.done]:
        now = [trainer for _, trainer in going]
        epochs = [_at(trainer, trainer.begin_epoch) for trainer in now]
        steps(now, epochs)
        for (i, trainer), epoch in zip(going, epochs, strict=True):
            row = _at(trainer, trainer.end_epoch, epoch)
            if i not in runs and not math.isfinite(row["loss"]):  # what follows is not part of its record any more
                say_diverged(trainer, row["loss"])
                runs[i] = _at(trainer, trainer.finish, "diverged")
        if on_epoch:
            on_epoch(trainers[0])
    return [runs[i] if i in runs else _at(trainer, trainer.finish) for i, trainer in enumerate(trainers)]


def _at(trainer: Trainer, work: Callable[..., Any], *arguments: Any) -> Any:
    """The work done where this run's work is done: on its stream or its number of threads."""
    with trainer.place():
        return work(*arguments)


def _in_turns(trainers: Sequence[Trainer], epochs: list[Epoch]) -> None:
    """A step of each run in turns, each on its own stream: launched, not waited for, and none waits for another."""
    with ExitStack() as places:  # entered once: entering one again would wait for all that was launched before
        for trainer in trainers:
            places.enter_context(trainer.place())
        left = [(trainer, trainer.steps(epoch)) for trainer, epoch in zip(trainers, epochs, strict=True)]
        while left:
            left = [(trainer, steps) for trainer, steps in left if _step_on(trainer.stream, steps)]


def _step_on(stream: torch.cuda.Stream | None, steps: Iterator[int]) -> bool:
    """Take the next step on this stream; whether there was one."""
    with torch.cuda.stream(stream):
        return next(steps, None) is not None


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
        self.threads = min(torch.get_num_threads(), max(len(trainers) // RUNS_PER_THREAD, 1))
        self.stage: torch.optim.Optimizer | None = None
        k, data = trainers[0].data.k, [trainer.data for trainer in trainers]
        self.terms: dict[str, Tensor] = {}
        self.lengths, self.hits = torch.zeros(2, len(trainers), k)
        self.first_class = k * torch.arange(len(trainers))[:, None]
        if data[0].has_validation:
            self.val_images = torch.stack([d.val_batch() for d in data])
            self.val_targets = torch.stack([d.val_targets for d in data])
        for i, trainer in enumerate(trainers):
            trainer.tally.lengths, trainer.hits = self.lengths[i], self.hits[i]
            trainer.validate.work = _nothing  # `_validate` does it for all
            trainer.layout = torch.contiguous_format  # the only one that vmap knows
            trainer.threads = self.threads

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
        recipe = first.recipe
        self.optimizer = make_optimizer(recipe.optimizer, groups, recipe.lr, recipe.momentum, first.speed.fused)
        self.stage = first.optimizer

    def __call__(self, trainers: Sequence[Trainer], epochs: list[Epoch]) -> None:
        """Take the steps of an epoch, and look at the validation sets."""
        with threads(self.threads):
            self._epoch(epochs)
            if self.trainers[0].data.has_validation:
                self._validate()

    def _epoch(self, epochs: list[Epoch]) -> None:
        if self.trainers[0].optimizer is not self.stage:  # a new stage trains other parameters
            with torch.no_grad():
                self._stack()
        order = torch.stack([torch.cat(epoch.batches) for epoch in epochs])
        data = [trainer.data for trainer in self.trainers]
        targets = torch.stack([d.targets[own] for d, own in zip(data, order, strict=True)])
        images = None
        if not (data[0].pad or data[0].flip):  # nothing is drawn: the same images, looked up once an epoch
            images = torch.stack([d.batch(own) for d, own in zip(data, order, strict=True)])
        first = 0
        for batch, rate in zip(epochs[0].batches, epochs[0].rates, strict=True):
            now = slice(first, first := first + len(batch))
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            index = order[:, now]
            self._step(self._crops(index) if images is None else images[:, now], index, targets[:, now])

    def _crops(self, index: Tensor) -> Tensor:
        runs = zip(self.trainers, index, strict=True)
        return torch.stack([trainer.data.batch(own, trainer.generators["crops"]) for trainer, own in runs])

    def _step(self, images: Tensor, index: Tensor, targets: Tensor) -> None:
        """One step of every run: images (S, n, C, H, W), index and targets (S, n)."""

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
            self._note(terms, out["features"], targets)

    @torch.no_grad()
    def _validate(self) -> None:
        """Write the hits (S, k) on the validation sets."""
        net = self.whole.net.eval()
        state = {name.removeprefix("net."): value for name, value in (self.parameters | self.buffers).items()}
        own = {name: state[name] for name in net.state_dict(keep_vars=True)}
        logits = vmap(lambda state, images: functional_call(net, state, (images,)).logits)(own, self.val_images)
        right = (logits.argmax(2) == self.val_targets).float()
        self.hits.zero_().view(-1).index_add_(0, (self.first_class + self.val_targets).flatten(), right.flatten())

    def _listen(self, out: dict[str, Tensor], targets: Tensor) -> None:
        if type(self.whole.objective).after_step is Objective.after_step:
            return
        for i, trainer in enumerate(self.trainers):
            own = {name: value[i].detach() for name, value in out.items()}
            trainer.objective.after_step(Output(**own, **self.whole.rest), targets[i])

    def _note(self, terms: dict[str, Tensor], features: Tensor, targets: Tensor) -> None:
        for name, value in terms.items():
            if name not in self.terms:
                self.terms[name] = torch.zeros_like(value)
                for i, trainer in enumerate(self.trainers):
                    trainer.tally.terms[name] = self.terms[name][i]
            self.terms[name].add_(value.detach(), alpha=targets.shape[1])
        classes = (self.first_class + targets).flatten()
        self.lengths.view(-1).index_add_(0, classes, torch.linalg.vector_norm(features.detach(), dim=2).flatten())


def _nothing() -> None:
    """In place of work that has been done for all runs at once."""


def _stacked(runs: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors of several runs, stacked; the runs' own become views of the result."""
    stacked = {name: torch.stack([run[name].detach() for run in runs]) for name in runs[0]}
    for i, run in enumerate(runs):
        for name, tensor in run.items():
            tensor.data = stacked[name][i]
    return stacked


def _clip_each(gradients: list[Tensor], largest: float) -> None:
    """Scale the gradients of each run (first axis) to a norm of at most `largest`, as `clip` does for one."""
    runs = len(gradients[0])
    norms = torch.stack([gradient.reshape(runs, -1).norm(dim=1) for gradient in gradients]).norm(dim=0)
    scale = (largest / (norms + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(scale.view(-1, *[1] * (gradient.ndim - 1)))
