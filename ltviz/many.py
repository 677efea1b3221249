"""Several runs side by side on one device: `train_many`.

A small network leaves most of a device idle. What fills it depends on the device and the size of a step (`way`):

- "batched": on a CPU, a small MLP's step is mostly Python. Four or more runs that differ by their seed alone take it
  together, with one more axis in every tensor.
- "threads": on a CPU, a run that the rule gives one thread leaves the other cores free. Each core has a run of its own.
- "streams": on a GPU, each run has a stream and graphs of its own, and the device works on all of them at once.
- "one by one": a larger network fills a CPU by itself.

All but the first give what `train` gives: on a CPU bit for bit.
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
from torch import Tensor, nn
from torch.func import functional_call, vmap

from .datasets import LongTailed
from .device import pick_device, threads
from .objective import Objective, Output
from .optimizer import make_optimizer
from .run import Run
from .training import (
    Control,
    Epoch,
    Progress,
    Recipe,
    Trainer,
    make_recipe,
    parameter_groups,
    requests,
    saved,
    say_diverged,
    say_stopped,
)

LARGEST = 8  # runs at a time
PIXELS = 8_192  # of one run's step (batch x height x width), up to which the step of an MLP is mostly Python
FEWEST = 4  # runs that are worth a batch
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
    rule says how (many.way), and `run.provenance["together"]` keeps it. Four or more runs of a small MLP that differ by
    their seed alone are computed as one: their losses follow those of `train` to 1e-4 over 20 steps, later they differ
    as rounding grows. All others on a CPU equal `train` bit for bit. Ctrl-C ends it and returns the runs that are done.
    """
    runs: list[Run] = []
    draw = functools.lru_cache(LARGEST)(data.with_seed)  # methods share the data of a seed

    def keep(run: Run) -> None:
        if run.status != "stopped":  # half a run must not be found in place of a whole one
            if folder is not None:
                run.save(folder, small=small)
            runs.append(run)

    try:
        for group in _groups(list(requests(method, seeds, settings)), data):
            trainers = []
            for key, seed, chosen in group:
                trainer = Trainer(key, draw(seed), seed=seed, **chosen)
                found = saved(folder, trainer)
                if found:
                    runs.append(found)
                else:
                    trainers.append(trainer)
            if trainers:
                with Progress(*trainers) if progress else nullcontext() as bar:
                    done = side_by_side(trainers, bar.update if bar else None, keep)
                    if bar:
                        bar.runs = done
    except KeyboardInterrupt:
        say_stopped(len(runs), "train_many", folder)
    return sorted(runs, key=lambda run: (run.label, run.seed))


def _groups(asked: list[tuple[str, int, dict]], data: LongTailed) -> Iterator[list[tuple[str, int, dict]]]:
    """Up to eight requests at a time: those that can be batched with their like, the others in the order asked."""
    alike: dict[str, list] = {"": []}
    for key, seed, chosen in asked:
        start = chosen.get("start")
        model = chosen.get("model") or (start.recipe["model"] if start else None)
        recipe = make_recipe(chosen.get("recipe"), data, model=model)
        cpu = pick_device(chosen.get("device")).type == "cpu"
        name = repr((key, chosen)) if cpu and _small_mlp(recipe, data.shape) else ""
        alike.setdefault(name, []).append((key, seed, chosen))
    for group in alike.values():
        for first in range(0, len(group), LARGEST):
            yield group[first : first + LARGEST]


def _small_mlp(recipe: Recipe, shape: tuple[int, int, int]) -> bool:
    return recipe.model.partition(":")[0] == "mlp" and recipe.batch_size * shape[1] * shape[2] <= PIXELS


def way(trainers: Sequence[Trainer]) -> str:
    """How these runs are trained (see above): a rule of device, model, batch size and number, never a probe."""
    first = trainers[0]
    if len(trainers) < 2 or first.device.type == "mps":
        return "one by one"
    if first.device.type == "cuda":
        return "streams"
    if _small_mlp(first.recipe, first.data.shape):
        sizes = {(len(t.data), len(t.data.val_targets), t.epoch) for t in trainers}
        alike = len(sizes) == len({(t.method.key, repr((t.settings, t.recipe))) for t in trainers}) == 1
        return "batched" if alike and len(trainers) >= FEWEST else "one by one"
    free = torch.get_num_threads() > 1 and all(trainer.threads == 1 for trainer in trainers)
    return "threads" if free else "one by one"


OnEpoch = Callable[[Trainer], None]
OnRun = Callable[[Run], None]


def side_by_side(
    trainers: Sequence[Trainer], on_epoch: OnEpoch | None = None, on_run: OnRun | None = None
) -> list[Run]:
    """Train them to the end and return their runs, in the same order.

    on_epoch(trainer) is told of each epoch of each run, on_run(run) of each run when it is done. Ctrl-C raises
    KeyboardInterrupt once on_run has been told of all that are done.
    """
    runs: dict[int, Run] = {}
    chosen = way(trainers)
    together = {"one by one": None, "threads": f"{min(torch.get_num_threads(), len(trainers))} threads"}
    together = together.get(chosen, f"{len(trainers)} {chosen}")

    def deliver(i: int, run: Run) -> None:
        if together:
            run.provenance["together"] = together
        runs[i] = run
        if on_run:
            on_run(run)
        if run.status == "stopped":
            raise KeyboardInterrupt

    tell = on_epoch or (lambda trainer: None)
    if chosen == "one by one":
        for i, trainer in enumerate(trainers):
            deliver(i, trainer.run(on_epoch=tell))
    elif chosen == "threads":
        _in_threads(trainers, tell, deliver)
    else:
        _in_step(trainers, Batched(trainers) if chosen == "batched" else _in_turns, tell, deliver)
    return [runs[i] for i in range(len(trainers))]


def _in_threads(trainers: Sequence[Trainer], on_epoch: OnEpoch, deliver: Callable[[int, Run], None]) -> None:
    """Each run in a Python thread of its own, as many at a time as torch would use threads."""
    control, epochs = Control(), SimpleQueue()
    workers = min(torch.get_num_threads(), len(trainers))
    # One thread for all of them, set here: the number that a matrix product takes is shared by the whole process.
    with threads(1), ThreadPoolExecutor(workers, "ltviz-train-many") as pool:
        waiting = {pool.submit(trainer.run, control, epochs.put): i for i, trainer in enumerate(trainers)}
        try:
            while waiting:
                done, _ = wait(waiting, timeout=0.1, return_when=FIRST_COMPLETED)
                while not epochs.empty():  # told here, so that a progress bar is drawn by the thread that made it
                    on_epoch(epochs.get())
                for run in done:
                    deliver(waiting.pop(run), run.result())
        except BaseException:
            control.stop()
            for run in waiting:
                run.cancel()  # those not begun
            for run in wait(waiting).done:  # those that were done all the same
                if not run.cancelled() and run.exception() is None and run.result().status != "stopped":
                    deliver(waiting[run], run.result())
            raise


def _in_step(
    trainers: Sequence[Trainer],
    steps: Callable[[Sequence[Trainer], list[Epoch]], None],
    on_epoch: OnEpoch,
    deliver: Callable[[int, Run], None],
) -> None:
    """All runs an epoch at a time; `steps` takes the steps of an epoch of each, and looks at the validation sets."""
    diverged: set[int] = set()
    while len(diverged) < len(trainers):
        # A batch goes on as a whole; what a diverged run does in it is not part of its record any more.
        out = diverged if steps is _in_turns else ()
        going = [(i, trainer) for i, trainer in enumerate(trainers) if not trainer.done and i not in out]
        if not going:
            break
        epochs = [_at(trainer, trainer.begin_epoch) for _, trainer in going]
        steps([trainer for _, trainer in going], epochs)
        for (i, trainer), epoch in zip(going, epochs, strict=True):
            row = _at(trainer, trainer.end_epoch, epoch)
            if i in diverged:
                continue
            on_epoch(trainer)
            if not math.isfinite(row["loss"]):
                say_diverged(trainer, row["loss"])
                diverged.add(i)
                deliver(i, _at(trainer, trainer.finish, "diverged"))
    for i, trainer in enumerate(trainers):
        if i not in diverged:
            deliver(i, _at(trainer, trainer.finish))


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
