"""`train_attributes`: one network, one head and one loss for each attribute, and the mean of the losses."""

from __future__ import annotations

import dataclasses
import functools
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import check, metrics
from ..datasets import Attributes
from ..device import default_speed, pick_device, plain_torch, thread_count, threads
from ..draws import own_draws
from ..objective import Output, Report
from ..optimizer import clip, make_optimizer, set_rate
from ..own import own_errors
from ..samplers import SAMPLERS
from ..training import Progress, RunControl, Stopped, interrupts, parameter_groups
from ..training.build import make_generators
from ..training.evaluation import as_arrays, images_at_once
from ..training.request import check_torch
from .ask import Curriculum, ask_method, ask_recipe, check_data
from .network import AttributeNet, answers
from .run import AttributeRun, make_run


def train_attributes(
    method: Any, data: Attributes, *, seed: int = 0, recipe: Any = None, branch: int | None = None,
    device: str | None = None, progress: bool = True, **settings: Any,
) -> AttributeRun:  # fmt: skip
    """Train one network to tell many attributes at once, each by a head of its own, and return the AttributeRun.

        L = 1/a sum_j L_j,    L_j the loss of the method on attribute j, over the images of the batch that are labelled

    The papers sum over the attributes; the mean is that sum with a learning rate of its own, which need not follow
    their number. Each attribute is a classification like any other: its counts, its batch's minority (crl), its pairs
    (contrastive) and its clusters (lmle) are its own.
    method    a key of METHODS that is a loss (ce, focal, class_balanced, logit_adjustment, contrastive as in DeepID2,
              lmle, crl, ...), METHODS[key](...), a loss of your own, which is given logits (n, v_j) and
              values (n,); or "mtct": a loss `base` under a curriculum of `stages`, the most balanced attributes first
              (attributes.Curriculum says what of it is our reading)
    data      from digits_attributes, or any `datasets.Attributes`; each value of an attribute has a training image
    seed      fixes initialisation, order and masks; the data have a seed of their own
    recipe    a name of RECIPES or a Recipe; None: an MLP, 60 epochs. Its fields are keywords too: model="cnn", epochs=,
              batch_size=, lr=, weight_decay=, ...; **settings are those of the method
    branch    None: every head is linear on the shared features; or so many features of its own for each attribute,
              between the two, as the networks of the papers have them (64 on CelebA)
    device    "cuda", "mps" or "cpu"; None takes the best there is. On a CPU the same call gives the same, bit for bit
    Ctrl-C ends training and returns what was learned. Raises ValueError, naming the argument, for what makes no sense.
    Source: Dong, Gong & Zhu 2017, eq. (1) and (2), as third-party readings.
    """
    check_torch()
    check.flag("progress", progress)
    plan, changes = ask_method(method, settings)
    check_data(data, plan.bound)
    trainer = AttributeTrainer(
        plan, data, ask_recipe(recipe, changes), check.seed(seed), branch, pick_device(device)
    )  # fmt: skip
    with Progress(trainer) if progress else nullcontext() as bar, interrupts() as guard:
        run = trainer.run(guard.control, bar.update if bar else None)
        if bar:
            bar.runs = [run]
    return run


class AttributeTrainer:
    """One run, an epoch at a time."""

    def __init__(
        self, plan: Curriculum, data: Attributes, recipe: Any, seed: int, branch: int | None, device: torch.device
    ):
        self.plan, self.data, self.recipe, self.seed, self.device = plan, data, recipe, seed, device
        self.branch, self.imbalance, self.fingerprint = branch, data.imbalance, data.fingerprint
        self.request, self.label = self, plan.label  # where the bar of progress looks for the label
        self.threads = thread_count(recipe.model, data.shape, recipe.batch_size)
        speed = default_speed(device, recipe.model)
        self.layout = torch.channels_last if speed.channels_last else torch.contiguous_format
        self.generators = make_generators(seed, device)
        with plain_torch(device), own_draws(self.generators["construction"]):
            built = [plan.bound.build(counts) for counts in data.counts]
            weigh = plan.bound.stages[0].class_weight
            for objective in built if weigh is not None else ():
                objective.set_class_weight(weigh(objective.counts), "stage")
            self.net = AttributeNet(recipe.model, data.shape, built, self.generators["init"], branch)
        self.net.to(device, memory_format=self.layout)
        self.objectives = nn.ModuleList(built).to(device)
        for objective in self.objectives:
            objective.generator = self.generators["masks"]
        groups = parameter_groups(self.net, self.objectives, recipe)
        self.parameters = [parameter for group in groups for parameter in group["params"]]
        self.optimizer = make_optimizer(recipe.optimizer, groups, recipe.lr, recipe.momentum, speed.fused)
        self.labels = Labels(data.targets.to(device))
        self.epoch, self.seconds, self.rows, self.draws = 0, 0.0, [], True
        self.recall: list[np.ndarray] | None = None  # of each value, on the validation images
        self.whole: list[Output] | None = None  # what the heads say to the training images, while somebody listens

    def run(self, control: RunControl, on_epoch: Callable[[Any], None] | None = None) -> AttributeRun:
        """Train to the end, or until stopped or diverged; then look at the test images, once."""
        status = "finished"
        few = threads(self.threads) if self.device.type == "cpu" else nullcontext()
        with plain_torch(self.device), few:
            try:
                while self.epoch < self.recipe.epochs and status == "finished":
                    row = self.run_epoch(control)
                    if on_epoch:
                        on_epoch(self)
                    if not math.isfinite(row["loss"]):
                        status = "diverged"
                        warnings.warn(
                            f"{self.label}: the loss is {row['loss']} after epoch {self.epoch}; the run stops here. "
                            f"Try a smaller rate, such as lr={self.recipe.lr / 10:g}",
                            RuntimeWarning, stacklevel=3,
                        )  # fmt: skip
            except (Stopped, KeyboardInterrupt):
                status = "stopped"
            return make_run(self, status)

    def run_epoch(self, control: RunControl | None = None) -> dict[str, Any]:
        """One epoch: every image once, in random order; returns the new row of the history."""
        began, recipe = time.perf_counter(), self.recipe
        taught = self.plan.taught(self.epoch, recipe.epochs, self.imbalance)
        self.listen(taught)
        batches = SAMPLERS["instance"](self.labels.rows, recipe.batch_size, 0.0, self.generators["order"])
        total: dict[str, Tensor] = {}
        self.net.train()
        for step, index in enumerate(batches):
            if control:
                control.check()
            rate = recipe.learning_rate(self.epoch, step, len(batches), recipe.epochs, len(self.data))
            set_rate(self.optimizer, recipe.lr, rate)
            # The first step shows whether a step draws by itself (dropout).
            with own_draws(self.generators["network"]) if self.draws else nullcontext() as drawn:
                terms = self.step(index, taught)
            self.draws = self.draws and drawn.drew
            for name, value in terms.items():
                total[name] = total.get(name, 0.0) + value.detach() * (len(index) / len(self.data))
        terms = {name: float(value) for name, value in total.items()}
        row = {"epoch": self.epoch, "lr": rate, "loss": sum(terms.values()), "taught": len(taught)}
        row |= {f"term/{name}": value for name, value in terms.items()} if len(terms) > 1 else {}
        self.rows.append({**row, "val_balanced_accuracy": self.validate()})
        self.epoch += 1
        self.seconds += time.perf_counter() - began
        return self.rows[-1]

    def step(self, index: Tensor, taught: Sequence[int]) -> dict[str, Tensor]:
        """One step on the training images at these positions: forward, backward, update."""
        outs = self.net(self.put(self.data.batch(index.cpu(), self.generators["crops"])))
        learnt = {j: self.labels.known(outs[j], index, j) for j in taught}
        learnt = {j: (out, y) for j, (out, y) in learnt.items() if len(y)}
        terms = mean_terms([self.terms(j, out, y) for j, (out, y) in learnt.items()])
        if not terms:  # nothing in this batch is labelled
            return terms
        for parameter in self.parameters:
            parameter.grad = None
        sum(terms.values()).backward()
        if self.recipe.clip is not None:
            clip(self.parameters, self.recipe.clip)
        self.optimizer.step()
        with torch.no_grad():
            for j, (out, y) in learnt.items():
                with own_errors(self.plan.bound, out, y, f", of {self.data.names[j]!r}"):
                    self.objectives[j].after_step(out, y)
        return terms

    def terms(self, j: int, out: Output, y: Tensor) -> dict[str, Tensor]:
        """The parts of the loss of attribute j. ValueError, with what it was given, where one's own loss raises."""
        with own_errors(self.plan.bound, out, y, f", of {self.data.names[j]!r}"):
            return self.objectives[j].terms(out, y)

    @torch.no_grad()
    def listen(self, taught: Sequence[int]) -> None:
        """Let the loss of each attribute look at the network, before an epoch."""
        progress = self.epoch / max(self.recipe.epochs - 1, 1)
        self.whole = None
        for j in taught:
            told = None if self.recall is None else torch.tensor(self.recall[j], dtype=torch.float32).to(self.device)
            embed = functools.partial(self.embed, j)
            with own_errors(self.plan.bound):
                self.objectives[j].begin_epoch(Report(0, self.epoch, progress, self.net.heads[j], told, embed))
        self.whole = None

    def embed(self, j: int) -> tuple[Tensor, Tensor]:
        """Features (m, d) and values (m,) of the training images that are labelled in attribute j."""
        if self.whole is None:  # once for all attributes, and only where one asks for it
            _, self.whole = self.answers(self.data.batch, len(self.data))
        rows = (self.labels.targets[:, j] >= 0).nonzero().flatten()
        return self.whole[j].features[rows], self.labels.targets[rows, j]

    def validate(self) -> np.ndarray:
        """Balanced accuracy of each attribute (a,) on the validation images; NaN where there are none."""
        if not self.data.has_validation:
            return np.full(self.data.a, np.nan)
        _, found = self.answers(self.data.val_batch, len(self.data.val_images))
        said = torch.stack([out.logits.argmax(1) for out in found], 1)
        scores = metrics.attribute_scores(self.data.val_targets, said, [len(of) for of in self.data.values])
        self.recall = scores.recall
        return scores.balanced

    def answers(self, batch: Callable[[slice], Tensor], n: int) -> tuple[Tensor, list[Output]]:
        """Shared features (n, d), and what each head says, of the n images that batch(slice) gives."""
        return answers(self.net, batch, n, images_at_once(self.device, self.data.shape), self.put)

    def put(self, images: Tensor) -> Tensor:
        """Images where the network is, as it has its weights in memory."""
        return images.to(self.device).contiguous(memory_format=self.layout)

    @property
    def history(self) -> dict[str, np.ndarray]:
        """The rows so far as arrays, one entry an epoch."""
        return as_arrays(self.rows)

    @property
    def recipe_record(self) -> dict[str, Any]:
        """How the network was trained, JSON-able."""
        found = {k: v for k, v in dataclasses.asdict(self.recipe).items() if k != "data"}
        return {**found, "milestones": list(self.recipe.milestones), "branch": self.branch}


class Labels:
    """The targets (n, a) of the training images, -1 where unknown, and where each stands among the known ones."""

    def __init__(self, targets: Tensor):
        self.targets = targets
        self.rows = torch.zeros(len(targets), dtype=torch.int64, device=targets.device)  # one class: every image alike
        there = targets >= 0
        self.complete = there.all(0).tolist()
        self.position = there.cumsum(0) - 1

    def known(self, out: Output, index: Tensor, j: int) -> tuple[Output, Tensor]:
        """What the head of attribute j said to the images of a batch that are labelled, and their values.

        Their `index` counts labelled images alone: to the loss of an attribute there are no others.
        """
        y, position = self.targets[index, j], self.position[index, j]
        if self.complete[j]:
            return dataclasses.replace(out, index=position), y
        rows = (y >= 0).nonzero().flatten()
        out = dataclasses.replace(out, logits=out.logits[rows], features=out.features[rows], index=position[rows])
        return out, y[rows]


def mean_terms(terms: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The named parts of several losses, each as its mean over them: their sum is the mean of the losses."""
    names = dict.fromkeys(name for one in terms for name in one)
    return {name: sum(one[name] for one in terms if name in one) / len(terms) for name in names}
