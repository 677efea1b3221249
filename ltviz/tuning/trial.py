"""One setting, trained under the same seeds as every other, and judged on the validation images alone."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from .. import check, metrics
from ..check import to_array
from ..datasets import LongTailed
from ..naming import code_hash
from ..objective import Bound, Output
from ..run import Run
from ..training import RunControl, Trainer
from ..training.evaluation import answers

#: What is made as large as possible, by name: the group of classes whose accuracies are averaged, None: see `share`.
OBJECTIVES = {"rare": "tail", "middle": "mid", "frequent": "head", "balanced": None, "all": None}
REPORTS = 12  # times at most that a trial tells its storage how it is doing: each takes some milliseconds


class Diverged(Exception):
    """A loss that is not finite any more."""


class Judge:
    """The objective of a tuning: how good a network is, from its answers to the validation images.

    objective   "rare", "middle", "frequent": mean accuracy of the classes of that third (metrics.third_groups);
                "balanced": of all classes; "all": share of the validation images that are right; or a function of a Run
                that holds the answers to the validation images in place of the test images, such as lt.metrics.macro_f1
    ValueError, naming the argument, for anything else, and for data whose validation images cannot say it.
    """

    def __init__(self, objective: Any, data: LongTailed):
        if not data.has_validation:
            raise ValueError(
                f"data: tuning judges by validation images, and {data.name} has none; load the data with some "
                "(validation=, whose default has), as the test set is never used for this"
            )
        self.function: Callable[[Run], Any] | None = objective if callable(objective) else None
        if self.function is None:
            if objective not in tuple(OBJECTIVES):
                names = ", ".join(map(repr, OBJECTIVES))
                near = check.suggest(objective, OBJECTIVES) if isinstance(objective, str) else ""
                raise check.refuse("objective", objective, f"one of {names}{near}, or a function of a run")
            self.name = self.code = objective
        else:
            _check_function(objective)
            self.name = getattr(objective, "__name__", type(objective).__name__)
            self.code = code_hash(f"objective {self.name}", [objective]).text
        counted = to_array(data.val_targets)
        per_class = np.bincount(counted, minlength=data.k)
        mask = self.mask(to_array(data.counts))
        if not mask.any():
            raise check.refuse("objective", objective, "'balanced' or 'all', as every class has as many images")
        if self.function is None and self.name != "all" and (per_class[mask] == 0).any():
            lacking = [
                name for name, n, asked in zip(data.class_names, per_class, mask, strict=True) if asked and not n
            ]
            raise ValueError(f"data: there is no validation image of {', '.join(map(repr, lacking[:5]))}")
        self.images = int(per_class[mask].sum())  # that the objective looks at

    def shown(self, value: float) -> str:
        """A value in words: a share in percent, what a function gives as it is."""
        return f"{value:.1%}" if self.function is None else f"{value:.4g}"

    def mask(self, counts: np.ndarray) -> np.ndarray:
        """The classes (k,) that the objective looks at."""
        group = None if self.function is not None else OBJECTIVES[self.name]
        return np.ones(len(counts), bool) if group is None else metrics.third_groups(counts)[group]

    def __call__(self, trainer: Trainer) -> float:
        """The value after the last epoch. ValueError where a function gives no number."""
        if self.function is not None:
            value = check.plain(self.function(validation_run(trainer)))
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise ValueError(f"objective: {self.name} gave {check.shown(value)}: expected a finite number")
            return float(value)
        if _decides_later(trainer.request.bound):
            accuracy = metrics.per_class(validation_run(trainer))
        else:
            accuracy = to_array(trainer.accuracy).astype(np.float64)
        if self.name == "all":
            n = np.bincount(to_array(trainer.data.val_targets), minlength=len(accuracy))
            return float((accuracy[n > 0] * n[n > 0]).sum() / n.sum())
        return float(accuracy[self.mask(to_array(trainer.data.counts))].mean())


def _check_function(objective: Callable[[Run], Any]) -> None:
    """ValueError for what cannot be called with a run."""
    expected = "a function of one run that gives a number"
    if isinstance(objective, type):
        raise check.refuse("objective", objective, expected)
    try:
        signature = inspect.signature(objective)
    except (TypeError, ValueError):  # some built-in ones do not say
        return
    try:
        signature.bind(None)
    except TypeError as error:
        raise check.refuse("objective", objective, f"{expected}; this one takes {signature} ({error})") from None


def _decides_later(bound: Bound | None) -> bool:
    """Whether a rule after training makes the predictions; validation during training does not know it."""
    return bound is not None and (bound.method.posthoc is not None or _decides_later(bound.base))


def validation_run(trainer: Trainer) -> Run:
    """The run so far, with the validation images in place of the test images: every metric and plot takes it."""
    request, data, head = trainer.request, trainer.data, trainer.net.head
    with trainer.place(), torch.no_grad():
        logits, features = answers(trainer, data.val_batch, len(data.val_targets))
        out = Output(logits, features, head.weight, getattr(head, "scale", None))
        scores = request.bound.decide(out, data.counts, trainer.embed_training)
    targets, decided = to_array(data.val_targets), to_array(logits if scores is None else scores)
    probability, scale = request.bound.probability, getattr(head, "scale", None)
    return Run(
        method=request.method.key, settings=request.settings, data=request.data_record, recipe=request.recipe_record,
        seed=request.seed, counts=to_array(data.counts), class_names=list(data.class_names), history=trainer.history,
        confusion=metrics.confusion(targets, decided.argmax(1), data.k), head_weight=to_array(head.weight),
        head_bias=None if getattr(head, "bias", None) is None else to_array(head.bias),
        scale=None if scale is None else float(torch.as_tensor(scale)), targets=targets, logits=to_array(logits),
        scores=None if scores is None else to_array(scores), features=to_array(features),
        ece=metrics.ece(metrics.probabilities(decided, probability), targets), status="stopped",
        label=f"{request.label}, validation", probability=probability,
    )  # fmt: skip


class Candidate:
    """Networks of one setting under several seeds, trained an epoch at a time, all of them in turns."""

    def __init__(self, trainers: list[Trainer], judge: Judge):
        self.trainers, self.judge = trainers, judge

    @property
    def epochs(self) -> int:
        return self.trainers[0].recipe.epochs

    @property
    def may_end(self) -> bool:
        """Whether the last stage has begun: before that, the value says nothing about a method that defers its part."""
        return all(one.stage == len(one.stages) - 1 for one in self.trainers)

    def train(self, control: RunControl, told: Callable[[int, float, bool], bool]) -> list[float] | None:
        """The value under each seed at the end; None where `told` has ended it.

        told(epoch, value, may_end) is called after REPORTS epochs, at most, with the mean over the seeds; True ends the
        trial. Raises Stopped after control.stop(), and Diverged.
        """
        every = math.ceil(self.epochs / REPORTS)
        for epoch in range(self.epochs):
            for one in self.trainers:
                row = one.run_epoch(control)
                if not math.isfinite(row["loss"]):
                    raise Diverged(f"the loss is {row['loss']} after epoch {one.epoch} of {self.epochs}")
            last = epoch + 1 == self.epochs
            if last or (epoch + 1) % every == 0:
                values = [self.judge(one) for one in self.trainers]
                if told(epoch + 1, float(np.mean(values)), self.may_end and not last):
                    return None
        return values


def draws(data: LongTailed, seeds: list[int]) -> Mapping[int, LongTailed]:
    """The data of each seed: drawn anew where a loader can, otherwise the same."""
    if "loader" not in data.spec:
        return dict.fromkeys(seeds, data)
    return {seed: data.with_seed(seed) for seed in seeds}
