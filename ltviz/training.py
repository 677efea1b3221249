"""One training loop for every method: blocking (`train`), live (`LiveRun`), many seeds (`sweep`).

The loop knows the contract of objective.py and nothing about any method. All random draws of a run come from its own
generators, nothing is read back from the device inside an epoch, and everything that a run needs to continue is in its
checkpoint: resumed equals uninterrupted, bit for bit on a CPU.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import math
import os
import platform
import sys
import threading
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

from . import metrics
from .check import suggest
from .datasets import LongTailed
from .device import Speed, default_speed, pick_device, thread_count, threads
from .graph import Captured
from .methods import METHODS
from .models import Net, initialise, make_net
from .objective import Output, Report, Stage
from .optimizer import clip, make_optimizer
from .run import FORMAT, Run, RunFileError, request_id, write_atomically
from .samplers import SAMPLERS, class_counts


# ---------------------------------------------------------------------------------------------------------- recipes
@dataclass(frozen=True)
class Recipe:
    """How a network is trained, whatever the method.

    model            a name of models.MODELS
    epochs, batch_size, lr, momentum, weight_decay, optimizer ("sgd", "adam", "adamw")
    schedule         "cosine" to 0, or "step": times `drop` at each milestone
    milestones       shares of the epochs at which the rate drops
    warmup           share of the epochs over which the rate rises, by "step" (continuous) or by "epoch"
    clip             largest norm of the gradient, None for none
    move_statistics  a frozen backbone's BatchNorm statistics keep moving (as in the public code of Kang et al. 2020)
    data             the loader and its arguments that the recipe was made for
    """

    name: str
    model: str
    epochs: int
    batch_size: int = 64
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    optimizer: str = "sgd"
    schedule: str = "cosine"
    milestones: tuple[float, ...] = ()
    drop: float = 0.1
    warmup: float = 0.05
    warmup_by: str = "step"
    clip: float | None = 1.0
    move_statistics: bool = False
    data: tuple[str, Mapping[str, Any]] | None = None

    def __post_init__(self):
        if self.optimizer not in ("sgd", "adam", "adamw"):
            raise ValueError(f'optimizer must be "sgd", "adam" or "adamw", not {self.optimizer!r}')
        if self.schedule not in ("cosine", "step") or self.warmup_by not in ("step", "epoch"):
            raise ValueError('schedule must be "cosine" or "step", warmup_by "step" or "epoch"')
        if self.epochs < 1 or self.batch_size < 2:
            raise ValueError(f"a run has at least 1 epoch of batches of 2, not {self.epochs} of {self.batch_size}")

    def learning_rate(self, epoch: int, step: int, steps: int, epochs: int) -> float:
        """The rate at a step of an epoch (both from 0), with `steps` an epoch and `epochs` on this schedule's clock."""
        warm = self.warmup * epochs
        if self.warmup_by == "epoch" and epoch < int(warm):
            return self.lr * (epoch + 1) / int(warm)
        if self.warmup_by == "step" and epoch * steps + step < warm * steps:
            return self.lr * min(1.0, (epoch * steps + step + 1) / (warm * steps))
        if self.schedule == "cosine":
            t = (epoch + step / steps - warm) / max(epochs - warm, 1e-9)
            return self.lr * 0.5 * (1.0 + math.cos(math.pi * t))
        return self.lr * self.drop ** sum(epoch >= round(m * epochs) for m in self.milestones)


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("digits", "mlp", 60, data=("digits_lt", {"ratio": 50, "class_order": "seed"})),
        Recipe("digits_cnn", "cnn", 60, data=("digits_lt", {"ratio": 50, "class_order": "seed"})),
        Recipe("cifar16_live", "cnn", 40, data=("cifar_lt", {"ratio": 50, "n_max": 500, "size": 16})),
        Recipe("cifar16", "cnn", 40, data=("cifar_lt", {"ratio": 100, "n_max": 2000, "size": 16})),
        # Cui et al. 2019 (their published shell scripts) and Cao et al. 2019; weight decay on every parameter.
        Recipe(
            "cui2019", "resnet32", 200, 128, weight_decay=2e-4, schedule="step", milestones=(0.8, 0.9), drop=0.01,
            warmup=0.025, clip=None, data=("cifar_lt", {"ratio": 100, "validation": 0}),
        ),
        Recipe(
            "cao2019", "resnet32", 200, 128, weight_decay=2e-4, schedule="step", milestones=(0.8, 0.9), drop=0.01,
            warmup=0.025, warmup_by="epoch", clip=None, data=("cifar_lt", {"ratio": 100, "validation": 0}),
        ),
    )
}  # fmt: skip


def make_recipe(recipe: str | Recipe | None, data: LongTailed, **changes: Any) -> Recipe:
    """A recipe by name (None: the one meant for the data), with the changes that are not None."""
    recipe = data.recipe if recipe is None else recipe
    if isinstance(recipe, str):
        if recipe not in RECIPES:
            known = ", ".join(RECIPES)
            raise ValueError(f"unknown recipe {recipe!r}{suggest(recipe, RECIPES)}; choose one of {known}")
        recipe = RECIPES[recipe]
    changes = {name: value for name, value in changes.items() if value is not None}
    return dataclasses.replace(recipe, **changes)


def make_data(recipe: str | Recipe, seed: int = 0, **changes: Any) -> LongTailed:
    """The data that a recipe was made for, under this seed; `changes` go to the loader (root=, validation=, ...)."""
    from . import datasets

    recipe = RECIPES[recipe] if isinstance(recipe, str) else recipe
    loader, arguments = recipe.data
    return getattr(datasets, loader)(**{**arguments, "seed": seed, **changes})


# ------------------------------------------------------------------------------------------------------------- loop
class Stopped(Exception):
    """Raised inside the loop when somebody pressed Stop."""


class Control:
    """Stop and pause from another thread; the loop asks at every step."""

    def __init__(self):
        self._stop, self._go = threading.Event(), threading.Event()
        self._go.set()

    def stop(self) -> None:
        self._stop.set()
        self._go.set()

    def pause(self) -> None:
        self._go.clear()

    def resume(self) -> None:
        self._go.set()

    def check(self) -> None:
        self._go.wait()
        if self._stop.is_set():
            raise Stopped


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
        seen = class_counts(targets[order], len(self.lengths))
        return {name: float(v) / len(order) for name, v in self.terms.items()}, _array(self.lengths / seen)


@dataclass
class Epoch:
    """An epoch under way: its stage, its batches of indices, the learning rate of each step, when it began."""

    stage: int
    batches: list[Tensor]
    rates: list[float]
    began: float


class Trainer:
    """One run, an epoch at a time. `train`, `LiveRun` and `sweep` are the doors; use it directly to look inside."""

    def __init__(
        self,
        method: str,
        data: LongTailed,
        *,
        epochs: int | None = None,
        seed: int = 0,
        model: str | None = None,
        recipe: str | Recipe | None = None,
        start: Run | None = None,
        device: str | None = None,
        checkpoint: str | Path | None = None,
        speed: Speed | None = None,
        **settings: Any,
    ):
        self.method = METHODS[method]
        ours = [name for name in settings if name in Recipe.__dataclass_fields__ and name not in self.method.settings]
        if ours:
            raise ValueError(
                f"{ours[0]} belongs to the recipe, not to {self.method.key}: pass recipe=dataclasses.replace("
                f"ltviz.RECIPES[{data.recipe!r}], {ours[0]}={settings[ours[0]]!r})"
            )
        self.settings = self.method.resolve(settings)
        if self.method.needs_validation(**self.settings) and not data.has_validation:
            raise ValueError(
                f"{self.method.key} listens to the accuracy on a validation set, and {data.name} has none. Load the "
                "data with validation=None (the default); the test set is never used for this."
            )
        if start is not None and start.network is None:
            raise ValueError(f"start: this record of {start.name!r} keeps no network; pass a run from lt.train")
        model = model or (start.recipe["model"] if start is not None else None)
        self.recipe = make_recipe(recipe, data, epochs=epochs, model=model)
        self.seed, self.parent = int(seed), start.id if start is not None else None
        self.device = pick_device(device)
        self.speed = speed or default_speed(self.device, self.recipe.model)
        self.threads = thread_count(self.recipe.model, data.shape, self.recipe.batch_size)
        self.data = data.to(self.device).prepare()
        # One stream of random numbers for each purpose, so that a method that draws masks leaves the crops alone.
        state = np.random.SeedSequence(self.seed).generate_state(4)
        self.generators = {
            "init": torch.Generator().manual_seed(int(state[0])),
            "order": torch.Generator(self.device).manual_seed(int(state[1])),
            "crops": torch.Generator(self.device).manual_seed(int(state[2])),
            "masks": torch.Generator(self.device).manual_seed(int(state[3])),
        }
        counts = data.counts.cpu()
        self.objective = self.method.build(counts, **self.settings)
        self.net = make_net(self.recipe.model, data.shape, self.objective, self.generators["init"])
        if start is not None:
            self._continue(start)
        self.layout = torch.channels_last if self.speed.channels_last else torch.contiguous_format
        self.net.to(self.device, memory_format=self.layout)
        self.objective.to(self.device)
        self.objective.generator = self.generators["masks"]
        self.backbone = torch.compile(self.net.backbone) if self.speed.compile else self.net.backbone
        self.autocast = torch.autocast(self.device.type, torch.bfloat16) if self.speed.bf16 else nullcontext()
        # A stream of its own for each run: its graphs are captured there, and several runs share the device.
        self.stream = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        drawn = [generator for name, generator in self.generators.items() if name in ("crops", "masks")]
        self.step = Captured(_weak(self._step), drawn, self.stream if self.speed.graph else None)
        self.validate = Captured(_weak(self._validate), (), self.stream if self.speed.graph else None)
        self.tally = Tally(data.k, self.device)
        self.hits = torch.zeros(data.k, device=self.device)
        self.stages = self.method.make_stages(**self.settings)
        self.starts = _stage_starts(self.stages, self.recipe.epochs)
        self.stage, self.epoch, self.seconds = -1, 0, 0.0
        self.rows: list[dict[str, Any]] = []
        self.accuracy: Tensor | None = None
        self.val_counts = class_counts(self.data.val_targets, data.k)
        self.checkpoint = Path(checkpoint) if checkpoint else None
        self._saved = time.monotonic()
        public = {k: v for k, v in data.spec.items() if k not in ("root", "download")}
        self.data_record = {**public, "name": data.name, "fingerprint": data.fingerprint}
        self.recipe_record = {k: v for k, v in dataclasses.asdict(self.recipe).items() if k != "data"}
        self.id = request_id(
            method=self.method.key, settings=self.settings, data=self.data_record, recipe=self.recipe_record,
            seed=self.seed, parent=self.parent, device=self.device.type,
        )  # fmt: skip
        if self.checkpoint and self.checkpoint.exists():
            self._load_checkpoint()

    # ------------------------------------------------------------------------------------------------------- epochs
    @property
    def done(self) -> bool:
        return self.epoch >= self.recipe.epochs

    def run_epoch(self, control: Control | None = None) -> dict[str, Any]:
        """Train one epoch, look at the validation set, and return the new row of the history."""
        with self.place():
            epoch = self.begin_epoch()
            for _ in self.steps(epoch, control):
                pass
            return self.end_epoch(epoch)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Inside, work runs where this run's does: on its stream, or on as many threads as the rule says.

        Another number of threads gives other bits, so this holds for steps taken by hand too.
        """
        if self.stream is None:
            with threads(self.threads) if self.device.type == "cpu" else nullcontext():
                yield
            return
        self.stream.wait_stream(torch.cuda.current_stream(self.device))
        try:
            with torch.cuda.stream(self.stream):
                yield
        finally:  # after an error too: what is freed then must not be given away while this run still writes to it
            torch.cuda.current_stream(self.device).wait_stream(self.stream)

    def begin_epoch(self) -> Epoch:
        """Enter the stage that is due, let the objective listen, and draw the batches."""
        began = time.perf_counter()
        stage = max(i for i, start in enumerate(self.starts) if start <= self.epoch)
        for entered in range(self.stage + 1, stage + 1):
            self._enter(entered)
        plan, first = self.stages[stage], self.starts[stage]
        length = (*self.starts[1:], self.recipe.epochs)[stage] - first
        progress = (self.epoch - first) / max(length - 1, 1)
        with torch.no_grad():
            self.objective.begin_epoch(
                Report(stage, self.epoch, progress, self.net.head, self.accuracy, self._embed_training)
            )
        order = self.generators["order"]
        batches = SAMPLERS[plan.sampler](self.data.targets, self.recipe.batch_size, progress, order)
        clock = (self.epoch - first, length) if plan.schedule == "restart" else (self.epoch, self.recipe.epochs)
        self.net.train()
        if self.frozen and not self.recipe.move_statistics:
            self.net.backbone.eval()
        self.tally.clear()
        rates = [self.recipe.learning_rate(clock[0], step, len(batches), clock[1]) for step in range(len(batches))]
        return Epoch(stage, batches, rates, began)

    def steps(self, epoch: Epoch, control: Control | None = None) -> Iterator[int]:
        """Take the steps of an epoch, one for each value yielded, then look at the validation set.

        On a GPU, nothing in here waits for the device.
        """
        for step, (index, rate) in enumerate(zip(epoch.batches, epoch.rates, strict=True)):
            if control:
                control.check()
            self._set_rate(rate)
            self.step(index)
            yield step
        if self.data.has_validation:
            self.validate()

    def _set_rate(self, rate: float) -> None:
        if isinstance(self.rate, Tensor):
            self.rate.fill_(rate)
        else:
            for group in self.optimizer.param_groups:
                group["lr"] = rate

    def _step(self, index: Tensor) -> None:
        """One step of training, complete: crops, forward, backward, update, what the objective and the tally note.

        All that it changes stays where it is in memory, and nothing is read back: so it can be a CUDA graph.
        """
        y = self.data.targets.index_select(0, index)
        out = self.output(self.data.batch(index, self.generators["crops"]), index)
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

    def output(self, images: Tensor, index: Tensor) -> Output:
        """What the network says to a training batch; without gradients for what the stage freezes.

        The head computes in float32, always: in bfloat16 the logits of two classes can come out equal.
        """
        images = images.contiguous(memory_format=self.layout)
        with self.autocast, torch.set_grad_enabled(not self.frozen):
            features = self.backbone(images)
        return self.net.decide(features.float(), index)

    def end_epoch(self, epoch: Epoch) -> dict[str, Any]:
        """Read what the epoch noted, and return the new row of the history."""
        if self.data.has_validation:
            self.accuracy = self.hits / self.val_counts
        row, feature_norm = self.tally.read(torch.cat(epoch.batches), self.data.targets)
        with torch.no_grad():
            weight_norm = self.net.head.weight.norm(dim=1)
        none = np.full(self.data.k, np.nan, np.float32)
        row = {
            "epoch": self.epoch,
            "stage": epoch.stage,
            "lr": epoch.rates[-1],
            "loss": sum(row.values()),
            **({f"term/{name}": value for name, value in row.items()} if len(row) > 1 else {}),
            "weight_norm": _array(weight_norm),
            "feature_norm": feature_norm,
            "val_accuracy": none if self.accuracy is None else _array(self.accuracy),
        }
        self.rows.append(row)
        self.epoch += 1
        took = time.perf_counter() - epoch.began
        self.seconds += took
        # Early rather than late: by the end of the next epoch, more than ten seconds could be lost.
        late = time.monotonic() - self._saved + took > 10.0
        if self.checkpoint and (self.done or late) and math.isfinite(row["loss"]):
            self.save_checkpoint()
        return row

    def _enter(self, number: int) -> None:
        """Begin a stage: its head, its class weights, and which parameters it trains."""
        stage, before = self.stages[number], self.stages[number - 1] if number else None
        if stage.head is not None:
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
        self.stage = number

    def _continue(self, start: Run) -> None:
        """Take over a run's network; its head too, where this method's head has the same parameters."""
        if start.k != self.data.k or start.recipe["model"] != self.recipe.model:
            raise ValueError(
                f"start: {start.name!r} has {start.k} classes on {start.recipe['model']!r}, this run has {self.data.k} "
                f"on {self.recipe.model!r}; they must agree"
            )
        state = {name: torch.from_numpy(value) for name, value in start.network.items()}
        own = self.net.state_dict()
        heads = [{n: v.shape for n, v in s.items() if n.startswith("head.")} for s in (state, own)]
        if heads[0] != heads[1]:
            warnings.warn(
                f"start: the head of {start.name!r} does not fit {self.method.key}; the head starts anew", stacklevel=5
            )
            state = {n: v for n, v in state.items() if not n.startswith("head.")}
        _load(self.net, {**own, **state})

    # --------------------------------------------------------------------------------------------------- evaluation
    @torch.no_grad()
    def _answers(self, batch: Callable[[slice], Tensor], n: int) -> tuple[Tensor, Tensor]:
        """Logits (n, k) and features (n, d), in eval mode, in float32."""
        mode = self.net.training
        self.net.eval()
        logits, features = [], []
        size = 2500 if self.device.type == "cuda" else 500
        for first in range(0, n, size):
            images = batch(slice(first, min(first + size, n))).contiguous(memory_format=self.layout)
            with self.autocast:
                found = self.net.backbone(images)
            out = self.net.decide(found.float())
            logits.append(out.logits)
            features.append(out.features)
        self.net.train(mode)
        return torch.cat(logits), torch.cat(features)

    @torch.no_grad()
    def _validate(self) -> None:
        """Write the hits (k,) on the validation set. It can be a CUDA graph, as `_step`."""
        data = self.data
        logits, _ = self._answers(data.val_batch, len(data.val_targets))
        right = (logits.argmax(1) == data.val_targets).float()
        self.hits.zero_().index_add_(0, data.val_targets, right)

    def _embed_training(self) -> tuple[Tensor, Tensor]:
        _, features = self._answers(self.data.batch, len(self.data.targets))
        return features, self.data.targets

    def finish(self, status: str = "finished") -> Run:
        """Look at the test set, once, and return the run. Graphs are given back."""
        self.step.reset()
        self.validate.reset()
        data, k = self.data, self.data.k
        train_features, train_targets = self._embed_training()
        logits, features = self._answers(data.test_batch, len(data.test_targets))
        head = self.net.head
        scores = None
        if status != "diverged":
            with torch.no_grad():
                out = Output(logits, features, head.weight, getattr(head, "scale", None))
                gallery = lambda: (train_features, train_targets)  # noqa: E731
                scores = self.method.decide(out, data.counts.to(self.device), gallery, **self.settings)
        decided = (logits if scores is None else scores).cpu().numpy()
        targets = data.test_targets.cpu().numpy()
        probability = self.method.probability_of(**self.settings)
        with torch.no_grad():
            means = torch.zeros(k, features.shape[1], device=self.device).index_add_(0, train_targets, train_features)
            means = means / class_counts(train_targets, k).clamp_min(1)[:, None]
            test_norm = torch.zeros(k, device=self.device).index_add_(0, data.test_targets, features.norm(dim=1))
            test_norm = test_norm / class_counts(data.test_targets, k)
        scale, bias = getattr(head, "scale", None), getattr(head, "bias", None)
        diverged = status == "diverged"
        return Run(
            method=self.method.key,
            settings=self.settings,
            data=self.data_record,
            recipe=self.recipe_record,
            seed=self.seed,
            counts=data.counts.cpu().numpy(),
            class_names=list(data.class_names),
            history=self.history,
            confusion=np.zeros((k, k), np.int64) if diverged else metrics.confusion(targets, decided.argmax(1), k),
            head_weight=_array(head.weight),
            head_bias=None if bias is None else _array(bias),
            scale=None if scale is None else float(torch.as_tensor(scale).detach()),
            class_means=_array(means),
            class_feature_norm=_array(test_norm),
            targets=targets,
            logits=_array(logits),
            scores=None if scores is None else _array(scores),
            features=_array(features).astype(np.float16),
            train_features=_array(train_features).astype(np.float16),
            train_targets=_array(train_targets),
            network={name: _array(value) for name, value in self.net.state_dict().items()},
            ece=float("nan") if diverged else metrics.ece(metrics.probabilities(decided, probability), targets),
            status=status,
            parent=self.parent,
            id=self.id,
            label=self.method.label(self.settings),
            probability=probability,
            provenance=self._provenance(),
        )

    @property
    def history(self) -> dict[str, np.ndarray]:
        """The rows so far as arrays, one entry an epoch."""
        names = dict.fromkeys(name for row in self.rows for name in row)
        return {name: np.array([row.get(name, np.nan) for row in self.rows]) for name in names}

    def _provenance(self) -> dict[str, Any]:
        named, seed = RECIPES.get(self.recipe.name), self.seed
        changed = {name: getattr(self.recipe, name) for name in ("epochs", "model")}
        changed = {name: value for name, value in changed.items() if value != getattr(named, name, None)}
        changed |= {n: value for n, value in self.settings.items() if value != self.method.settings[n].default}
        arguments = {n: v for n, v in self.data_record.items() if n not in ("loader", "name", "fingerprint")}
        data = f"lt.{self.data_record['loader']}({_keywords(arguments)})" if "loader" in self.data_record else "data"
        asked = [repr(self.method.key), data, _keywords({"recipe": self.recipe.name, "seed": seed, **changed})]
        asked += ["start=run"] if self.parent else []
        return {
            "command": f"lt.train({', '.join(asked)})",
            "device": torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type,
            "threads": self.threads,
            "speed": str(self.speed),
            "seconds": round(self.seconds, 3),
            "versions": versions(),
            "date": time.strftime("%Y-%m-%d"),
        }

    # -------------------------------------------------------------------------------------------------- checkpoints
    def save_checkpoint(self) -> None:
        """Write all that the run needs to continue, atomically."""
        from safetensors.numpy import save

        arrays = {f"net/{name}": _array(v) for name, v in self.net.state_dict().items()}
        arrays |= {f"objective/{name}": _array(v) for name, v in self.objective.state_dict().items()}
        arrays |= {f"generator/{name}": g.get_state().numpy() for name, g in self.generators.items()}
        arrays |= {f"history/{name}": v for name, v in self.history.items()}
        for i, parameter in enumerate(self.trained):
            for name, value in self.optimizer.state[parameter].items():
                if isinstance(value, Tensor):
                    arrays[f"optimizer/{i}/{name}"] = _array(value)
        meta = {"format": FORMAT, "id": self.id, "epoch": self.epoch, "stage": self.stage, "seconds": self.seconds}
        arrays = {name: np.asarray(value, order="C") for name, value in arrays.items()}  # 0-d stays 0-d
        write_atomically(self.checkpoint, save(arrays, metadata={"ltviz_checkpoint": json.dumps(meta)}))
        self._saved = time.monotonic()

    def _load_checkpoint(self) -> None:
        from safetensors import SafetensorError, safe_open

        path = self.checkpoint
        try:
            with safe_open(path, framework="np") as file:
                meta = json.loads((file.metadata() or {})["ltviz_checkpoint"])
                arrays = {name: torch.from_numpy(file.get_tensor(name)) for name in file.keys()}
        except (SafetensorError, KeyError, json.JSONDecodeError, OSError) as error:
            raise RunFileError(f"{path}: not a whole checkpoint ({error}). Delete it to start the run anew.") from None
        if meta["id"] != self.id or meta["format"] > FORMAT:
            raise RunFileError(
                f"{path}: a checkpoint of another run (id {meta['id']}, this one is {self.id}): method, settings, "
                "data, recipe or seed differ. Give each run a file of its own, or delete it."
            )

        def part(group: str) -> dict[str, Tensor]:
            return {name.removeprefix(group): v for name, v in arrays.items() if name.startswith(group)}

        for number in range(meta["stage"] + 1):
            self._enter(number)
        _load(self.net, part("net/"))
        _load(self.objective, part("objective/"))
        if self.stages[self.stage].class_weight is not None:
            self.objective.weight_writer = "stage"
        for name, state in part("generator/").items():
            self.generators[name].set_state(state)
        for name, value in part("optimizer/").items():
            i, _, key = name.partition("/")
            parameter = self.trained[int(i)]
            # In the parameter's own memory layout, which the fused step takes for granted.
            own = value.to(self.device) if key == "step" else torch.empty_like(parameter).copy_(value)
            self.optimizer.state[parameter][key] = own.detach()
        history = {name: v.numpy() for name, v in part("history/").items()}
        self.rows = [{name: v[i] for name, v in history.items()} for i in range(meta["epoch"])]
        self.epoch, self.seconds = meta["epoch"], meta["seconds"]
        if self.data.has_validation and self.rows:
            self.accuracy = torch.from_numpy(np.array(self.rows[-1]["val_accuracy"])).to(self.device)

    # ---------------------------------------------------------------------------------------------------- all of it
    def run(self, control: Control | None = None, on_epoch: Callable[[Trainer], None] | None = None) -> Run:
        """Train to the end, or until stopped; returns the run either way, marked as finished, stopped or diverged."""
        status = "finished"
        with self.place():
            try:
                while not self.done:
                    row = self.run_epoch(control)
                    if on_epoch:
                        on_epoch(self)
                    if not math.isfinite(row["loss"]):
                        status = "diverged"
                        say_diverged(self, row["loss"])
                        break
            except (Stopped, KeyboardInterrupt):
                status = "stopped"
            if self.stage < 0:
                self._enter(0)
            return self.finish(status)


def say_diverged(trainer: Trainer, loss: float) -> None:
    """Warn that a run has ended because its loss is not finite, and say what to try."""
    recipe = trainer.recipe
    warnings.warn(
        f"{trainer.method.key}: the loss is {loss} after epoch {trainer.epoch} of {recipe.epochs}; the run stops here "
        f"and keeps its history. Try a milder setting, or a recipe with a smaller lr (now {recipe.lr}) or clip=1.0 "
        f"(now {recipe.clip}): recipe=dataclasses.replace(ltviz.RECIPES[{recipe.name!r}], lr=..., clip=1.0).",
        RuntimeWarning,
        stacklevel=4,
    )


def _keywords(values: Mapping[str, Any]) -> str:
    """The arguments of a call: "ratio=50, seed=0"."""
    return ", ".join(f"{name}={value!r}" for name, value in values.items())


def _weak(method: Callable) -> Callable:
    """The method, without keeping its object alive: a run that is done gives its memory back at once."""
    kept = weakref.WeakMethod(method)
    return lambda *arguments: kept()(*arguments)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().contiguous().numpy().copy()


@torch.no_grad()
def _load(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy the values of a state into a module, in place."""
    for name, own in module.state_dict().items():
        own.copy_(state[name])


def _stage_starts(stages: tuple[Stage, ...], epochs: int) -> tuple[int, ...]:
    """The epoch at which each stage begins: shares of the whole, each stage at least one epoch."""
    starts = [round(sum(s.share for s in stages[:i]) * epochs) for i in range(len(stages))]
    if epochs < len(stages):
        raise ValueError(f"epochs={epochs}, but the method has {len(stages)} stages of at least one epoch each")
    for i in range(1, len(starts)):
        starts[i] = min(max(starts[i], starts[i - 1] + 1), epochs - len(starts) + i)
    return tuple(starts)


def parameter_groups(net: Net, objective: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """What a stage trains, with its weight decay: none on the parameters of a loss, and on those marked `no_decay`."""
    decay = [p for p in net.parameters() if p.requires_grad and not getattr(p, "no_decay", False)]
    plain = [p for p in net.parameters() if p.requires_grad and getattr(p, "no_decay", False)]
    plain += [p for p in objective.parameters() if p.requires_grad]
    groups = [{"params": decay, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    if not groups:
        raise ValueError("there is nothing to train: every parameter of this stage is frozen")
    return groups


def versions() -> dict[str, str]:
    """What a recorded figure should name: Python, ltviz, torch, numpy."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        own = version("ltviz")
    except PackageNotFoundError:
        own = "source"
    return {
        "python": platform.python_version(), "ltviz": own, "torch": torch.__version__, "numpy": np.__version__
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ doors
def train(
    method: str,
    data: LongTailed,
    *,
    epochs: int | None = None,
    seed: int = 0,
    model: str | None = None,
    recipe: str | Recipe | None = None,
    start: Run | None = None,
    device: str | None = None,
    checkpoint: str | Path | None = None,
    speed: Speed | None = None,
    progress: bool = True,
    **settings: Any,
) -> Run:
    """Train a network on long-tailed data with a method, and return the Run.

    method      a key of METHODS; **settings are its own
    data        from digits_lt, cifar_lt, folder_lt
    recipe      a name of RECIPES or a Recipe (default: the one meant for the data); epochs and model change it
    seed        fixes initialisation, order, crops and masks; the data have a seed of their own
    start       a run whose network is continued; it becomes the parent
    device      "cuda", "mps" or "cpu"; None takes the best there is
    checkpoint  a file: written at least every ten seconds, continued from if it is there
    speed       how a step is computed (device.Speed); None takes what is fastest for the device
    Ctrl-C (or the kernel's stop button) ends training and returns what was learned, with status "stopped".
    """
    trainer = Trainer(
        method, data, epochs=epochs, seed=seed, model=model, recipe=recipe, start=start, device=device,
        checkpoint=checkpoint, speed=speed, **settings,
    )  # fmt: skip
    if not progress:
        return trainer.run()
    with Progress(trainer) as bar:
        bar.runs = [trainer.run(on_epoch=bar.update)]
    return bar.runs[0]


class Progress:
    """A bar in a notebook (one line that stays as text), or in a terminal (tqdm); nothing where nobody looks."""

    def __init__(self, trainer: Trainer, *others: Trainer):
        self.trainer, self.runs, self._last, self._handle, self._tqdm = trainer, [], 0.0, None, None
        self.trainers = (trainer, *others)
        labels = list(dict.fromkeys(t.method.label(t.settings) for t in self.trainers))
        which = f"{len(self.trainers)} runs" if others else f"seed {trainer.seed}"
        self.title = f"{labels[0] if len(labels) == 1 else f'{len(labels)} settings'} on {trainer.data.name}, {which}"

    def __enter__(self) -> Progress:
        if _in_notebook():
            from IPython.display import display

            self._handle = display(_Line(f"{self.title}: starting on {self.trainer.device}"), display_id=True)
        elif sys.stderr.isatty():
            from tqdm import tqdm

            done, total = self._epochs()
            self._tqdm = tqdm(total=total, initial=done, desc=self.title, unit="epoch")
        return self

    def _epochs(self) -> tuple[int, int]:
        """Epochs done and in all, over all runs."""
        return sum(t.epoch for t in self.trainers), sum(t.recipe.epochs for t in self.trainers)

    def update(self, trainer: Trainer) -> None:
        row, (done, total), now = trainer.rows[-1], self._epochs(), time.monotonic()
        if self._tqdm is not None:
            self._tqdm.update()
            self._tqdm.set_postfix(loss=f"{row['loss']:.3f}", refresh=False)
        if self._handle is not None and now - self._last > 0.2:
            self._last = now
            text = f"{self.title}: epoch {done} of {total}, loss {row['loss']:.3f}"
            self._handle.update(_Line(text, done / total))

    def __exit__(self, *error: Any) -> None:
        if self._tqdm is not None:
            self._tqdm.close()
        if self._handle is not None and self.runs:
            runs, trainer = self.runs, self.trainer
            status = "diverged" if any(run.status == "diverged" for run in runs) else runs[0].status
            score = "" if status == "diverged" else f", test accuracy {np.mean([run.accuracy for run in runs]):.1%}"
            text = f"{status} after {trainer.epoch} epochs in {trainer.seconds:.1f} s on {trainer.device}"
            self._handle.update(_Line(f"{self.title}: {text}{score}"))


class _Line:
    """A line of text, with a bar while something is under way."""

    def __init__(self, text: str, share: float | None = None):
        self.text, self.share = text, share

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        bar = "" if self.share is None else f"<progress value='{self.share:.3f}' style='margin-right:1em'></progress>"
        return f"<div style='font-family:var(--jp-code-font-family, monospace); font-size:90%'>{bar}{self.text}</div>"


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


class LiveRun:
    """A run in one background thread: `start`, `pause`, `resume`, `stop`, `wait`; other cells keep working.

    state is "idle", "running", "paused", "finished", "stopped" or "failed". `history`, `epoch`, `epochs` can be read at
    any time; `run` is the Run when it has ended (also when stopped), `error` what went wrong. Starting a live run stops
    one that is under way. Under LTVIZ_PROFILE=fast, `start` runs to the end and returns.
    """

    _current: LiveRun | None = None
    _lock = threading.Lock()

    def __init__(self, method: str, data: LongTailed, **arguments: Any):
        self.trainer = Trainer(method, data, **arguments)
        self.state, self.run, self.error = "idle", None, None
        self._control, self._callbacks, self._thread = Control(), [], None
        self._own = threading.Lock()

    @property
    def history(self) -> dict[str, np.ndarray]:
        return self.trainer.history

    @property
    def epoch(self) -> int:
        return self.trainer.epoch

    @property
    def epochs(self) -> int:
        return self.trainer.recipe.epochs

    def on_epoch(self, callback: Callable[[LiveRun], None]) -> LiveRun:
        """Call `callback(self)` after each epoch and once at the end, in the run's thread. Returns self."""
        self._callbacks.append(callback)
        return self

    def start(self, inline: bool | None = None) -> LiveRun:
        """Begin. inline=True runs to the end in this thread (the default under LTVIZ_PROFILE=fast)."""
        with self._own:
            if self.state != "idle":
                raise RuntimeError(f"this run is {self.state}; make a new LiveRun to train again")
            self.state = "running"
        with LiveRun._lock:
            previous, LiveRun._current = LiveRun._current, self
        if previous is not None and previous is not self:
            previous.stop()
            previous.wait()
        if inline or (inline is None and os.environ.get("LTVIZ_PROFILE") == "fast"):
            self._work()
        else:
            self._thread = threading.Thread(target=self._work, name="ltviz-live-run", daemon=True)
            self._thread.start()
        return self

    def pause(self) -> None:
        """Hold at the next step; `resume` goes on as if nothing had happened."""
        with self._own:
            if self.state == "running":
                self.state = "paused"
                self._control.pause()

    def resume(self) -> None:
        with self._own:
            if self.state == "paused":
                self.state = "running"
                self._control.resume()

    def stop(self) -> None:
        """End at the next step; `run` then holds what was learned."""
        self._control.stop()

    def wait(self, timeout: float | None = None) -> Run | None:
        """The run once it has ended, or None if that takes longer than timeout (seconds)."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)
        return self.run

    def _work(self) -> None:
        try:
            self.run = self.trainer.run(self._control, lambda trainer: self._tell())
            state = "stopped" if self.run.status == "stopped" else "finished"
        except Exception as error:  # shown to the user by whoever started the run
            self.error, state = error, "failed"
        with self._own:
            self.state = state
        self._tell()

    def _tell(self) -> None:
        for callback in self._callbacks:
            try:
                callback(self)
            except Exception as error:  # who listens must not end the training; it is kept for whoever looks
                self.error = error


def sweep(
    method: str | list[str],
    data: LongTailed,
    *,
    seeds: int | list[int] = 3,
    folder: str | Path | None = None,
    small: bool = True,
    progress: bool = True,
    **settings: Any,
) -> list[Run]:
    """Train a method under every combination of the settings given as lists, and under several seeds.

    A seed draws the data anew (`data.with_seed`) and seeds the run, so that methods compare paired by seed.
    seeds: how many (0, 1, ...) or which. With a folder, each run is saved there when it is done (small=True: without
    features and network) and found again the next time. Other keywords are those of `train`. Ctrl-C ends the sweep and
    returns the runs that are done.
    """
    runs = []
    draw = functools.lru_cache(1)(data.with_seed)
    for key, seed, chosen in requests(method, seeds, settings):
        run = _train_once(key, draw(seed), seed, folder, small, progress, chosen)
        if run.status == "stopped":
            say_stopped(len(runs), "sweep", folder)
            break
        runs.append(run)
    return sorted(runs, key=lambda run: (run.label, run.seed))


def requests(
    method: str | list[str], seeds: int | list[int], settings: Mapping[str, Any]
) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Every run of a sweep as (method, seed, settings): under each seed, each combination of the lists."""
    if settings.get("checkpoint") is not None:
        raise ValueError("checkpoint= is for one run; give folder= to go on with several where they were stopped")
    seeds = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    lists = {name: value if isinstance(value, list) else [value] for name, value in settings.items()}
    for seed in seeds:
        for key in [method] if isinstance(method, str) else method:
            for values in itertools.product(*lists.values()):
                yield key, seed, dict(zip(lists, values, strict=True))


def say_stopped(done: int, what: str, folder: str | Path | None) -> None:
    """Warn that several runs were stopped, and say how to go on."""
    rest = f"call {what} again with the same folder to go on" if folder else "give a folder to keep them"
    warnings.warn(f"the {what} was stopped; {done} runs are done: {rest}", stacklevel=3)


def _train_once(key, data, seed, folder, small, progress, chosen) -> Run:
    if folder is None:
        return train(key, data, seed=seed, progress=progress, **chosen)
    trainer = Trainer(key, data, seed=seed, **chosen)
    found = saved(folder, trainer)
    if found:
        return found
    with Progress(trainer) if progress else nullcontext() as bar:
        run = trainer.run(on_epoch=bar.update if bar else None)
        if bar:
            bar.runs = [run]
    if run.status != "stopped":  # half a run must not be found in place of a whole one
        run.save(folder, small=small)
    return run


def saved(folder: str | Path | None, trainer: Trainer) -> Run | None:
    """The run that a trainer would give, if it is in the folder."""
    from .run import load_run

    found = sorted(Path(folder).glob(f"*-{trainer.id}.safetensors")) if folder else []
    return load_run(found[0]) if found else None
