"""A network as it was at several epochs of one run: its classifier, and the features of its images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .. import check
from ..check import to_array
from ..datasets import LongTailed
from ..methods.logit_adjustment import subtract_prior
from ..methods.tau_norm import normalised_weight
from .evaluation import answers
from .loop import Trainer


@dataclass(frozen=True)
class Snapshots:
    """At s epochs of a run, of k classes, d features, m training and n test images.

    epochs (s,)              training epochs that were done; 0: the network as it starts
    weight (s, k, d), bias (s, k)   the classifier; a bias of zeros where it has none
    features (s, m, d), targets (m,)              of the training images, as they are (no augmentation), eval mode
    test_features (s, n, d), test_targets (n,)    of the test images
    counts (k,), class_names                      most frequent first
    loss_numbers             name -> (s,): each parameter or buffer of the loss that is one number, such as the radius
                             of a ring that is learned
    """

    epochs: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    features: np.ndarray
    targets: np.ndarray
    test_features: np.ndarray
    test_targets: np.ndarray
    counts: np.ndarray
    class_names: tuple[str, ...]
    loss_numbers: dict[str, np.ndarray]

    def logits(self, i: int, features: np.ndarray, equal: bool = False, prior: bool = False) -> np.ndarray:
        """Logits (n, k) of features (n, d) at snapshot i. equal: every classifier vector brought to length 1 and the
        bias dropped, as in tau-normalisation with tau = 1; prior: the log prior subtracted (logit adjustment, tau = 1).
        """
        weight, bias = torch.from_numpy(self.weight[i]), torch.from_numpy(self.bias[i])
        x = torch.from_numpy(np.asarray(features, np.float64))
        found = x @ normalised_weight(weight, 1.0).T if equal else x @ weight.T + bias
        return to_array(subtract_prior(found, torch.from_numpy(self.counts), 1.0) if prior else found)


def take_snapshots(method: Any, data: LongTailed, at: Iterable[int], **arguments: Any) -> Snapshots:
    """Train as `train(method, data, **arguments)` does, and keep the network after each of the epochs `at`.

    at: epochs in rising order, 0 for the start; the run ends with the last. Raises ValueError for a method whose
    classifier is not linear, for epochs that do not rise, and for a run that diverges.
    """
    try:
        epochs = [check.whole("at", one) for one in at]
    except TypeError:
        epochs = []
    if not epochs or any(a >= b for a, b in zip(epochs, epochs[1:], strict=False)):
        raise check.refuse("at", at, "epochs in rising order, such as (0, 1, 2, 5, 10)")
    trainer = Trainer(method, data, **{"epochs": max(epochs[-1], 1), **arguments})
    if getattr(trainer.net.head, "scale", None) is not None or not hasattr(trainer.net.head, "bias"):
        raise check.refuse("method", method, "a method with a linear classifier, such as 'ce'")
    check.whole("at", epochs[-1], 0, trainer.recipe.epochs)
    kept, noted = [], []
    while True:
        if trainer.epoch in epochs:
            kept.append(_look(trainer))
            noted.append(_numbers(trainer.objective))
        if trainer.epoch >= epochs[-1]:
            break
        trainer.run_epoch()
    parts = [np.stack(part) for part in zip(*kept, strict=True)]
    if not all(np.isfinite(part).all() for part in parts):
        raise ValueError(f"method: {trainer.method.key} diverged; train it with a smaller learning rate")
    found = trainer.data
    targets, test_targets = to_array(found.targets), to_array(found.test_targets)
    weight, bias, features, test = parts
    return Snapshots(
        np.array(epochs), weight, bias, features, targets, test, test_targets, to_array(found.counts),
        tuple(found.class_names), {name: np.array([one[name] for one in noted]) for name in noted[0]},
    )  # fmt: skip


def _numbers(objective: torch.nn.Module) -> dict[str, float]:
    """Every parameter and buffer of a loss that is one number, by name; yes and no are 1 and 0."""
    named = [*objective.named_parameters(), *objective.named_buffers()]
    return {name: float(value.detach()) for name, value in named if value.dim() == 0}


@torch.no_grad()
def _look(trainer: Trainer) -> tuple[np.ndarray, ...]:
    """Weight, bias, features of training and of test images, as float64 copies."""
    if trainer.stage < 0:
        trainer.enter(0)
    head, data = trainer.net.head, trainer.data
    bias = torch.zeros(data.k) if head.bias is None else head.bias
    with trainer.place():
        train, _ = trainer.embed_training()
        _, test = answers(trainer, data.test_batch, len(data.test_targets))
    return tuple(to_array(one).astype(np.float64) for one in (head.weight, bias, train, test))
