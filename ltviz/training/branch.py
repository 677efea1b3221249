"""Two ways on from one moment of a run: the same network, optimiser and draws, and other later stages."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

from .. import check
from ..objective import Stage
from . import checkpoint as checkpoints
from .loop import Trainer


def branch(trainer: Trainer, **settings: Any) -> Trainer:
    """A second trainer that stands where this one stands and goes on under other settings of its later stages.

    trainer: between two epochs; it is not changed, and each of the two goes on by itself, to the same run as one that
    was trained with its settings from the first epoch on. settings: of the method that the later stages alone depend
    on, such as branch(trainer, beta=0.0) for deferred re-weighting that never comes. Raises ValueError where the epochs
    that are done would have been others under these settings, and for a trainer that has taken no epoch or was stopped
    within one.
    """
    check.instance("trainer", trainer, Trainer, "a Trainer, from lt.training.Trainer(method, data)")
    if trainer.halfway or not trainer.rows or trainer.done:
        raise check.refuse(
            "trainer", f"epoch {trainer.epoch} of {trainer.recipe.epochs}", "one between two epochs: run_epoch() first"
        )
    ask = trainer.request
    own = inspect.signature(type(trainer.objective).__init__).parameters
    for name, value in settings.items():
        if name in own and value != trainer.settings[name]:
            raise check.refuse(name, value, f"{trainer.settings[name]!r}: it is part of the loss of the epochs so far")
    other = Trainer(
        ask.method, ask.data, recipe=ask.recipe, seed=ask.seed, device=ask.device, speed=ask.speed, start=ask.start,
        model=ask.network, weights=ask.weights, head_classes=ask.head_classes, augment=ask.augment,
        callbacks=trainer.callbacks.functions,
        **{**trainer.settings, **settings},
    )  # fmt: skip
    if not _same_so_far(trainer, other):
        raise check.refuse(
            "settings", settings, f"settings under which the first {trainer.epoch} epochs are those of this trainer"
        )
    checkpoints.carry_over(trainer, other)
    return other


def _same_so_far(trainer: Trainer, other: Trainer) -> bool:
    """Whether the stages begun so far are the same under both, and the next one of the other is still to come."""
    begun = trainer.stage + 1

    def plan(one: Trainer) -> list[Stage]:
        return [dataclasses.replace(stage, share=1.0) for stage in one.stages[:begun]]

    coming = [start for start in other.starts[begun:] if start < trainer.epoch]
    return plan(trainer) == plan(other) and trainer.starts[:begun] == other.starts[:begun] and not coming
