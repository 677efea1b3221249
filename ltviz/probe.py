"""How a loss looks from one image: its value and the pull on the true logit, as the image moves to its class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from . import check
from .objective import Bound, Objective, Output, Report
from .own import bind, own_errors

LENGTH = 8.0  # of the feature under a head that is not linear
COMPANIONS = 2  # images of each class beside the moving one, for losses that look at a whole batch


@dataclass(frozen=True)
class Probe:
    """Along a path of one image of class `target`: p (n,) probability of its true class, loss (n,), gradient (n,).

    gradient is |d loss / d z|, z the true logit. whole_batch: the loss has no value of its own for one image, so `loss`
    is what the image adds to the sum over a batch of two images of each class; for a mean over images the two agree.
    """

    target: int
    p: Tensor
    loss: Tensor
    gradient: Tensor
    whole_batch: bool


def probe(
    method: Any, counts: Any, target: int, *, points: int = 121, settings: Mapping[str, Any] | None = None
) -> Probe:
    """Move one image of class `target` from p = 0.003 to 0.997 under the loss of a method, and follow value and pull.

    counts (k,): training images of each class; points: places along the path, at least 2. The network is the simplest
    there is: k features, and a head of the method's own kind with unit rows, W = I. Under a linear head
    z_y = log(p / (1 - p)) + log(k - 1) + 1 and the others are 1 (softmax), or each probability is its own and the
    others share what is left (sigmoid). Under any other head, such as a cosine head, the feature turns from the others
    towards its class. Class weights are included: those of the last stage. A method that listens to validation accuracy
    hears one that falls evenly from 95% (first class) to 35% (last). Raises UnknownMethod, and ValueError for any
    other argument that makes no sense.
    """
    counts = torch.as_tensor(check.counts(counts))
    target = check.whole("target", target, 0, len(counts) - 1)
    return probes(method, counts, (target,), points=points, settings=settings)[0]


def probes(
    method: Any, counts: Any, targets: Sequence[int], *, points: int = 121, settings: Mapping[str, Any] | None = None
) -> list[Probe]:
    """`probe` for an image of each of several classes, under one and the same loss, which is built once."""
    bound, counts = bind(method, settings), torch.as_tensor(check.counts(counts))
    points = check.whole("points", points, 2)
    objective, head = _prepare(bound, counts)
    return [_probe(bound, objective, head, counts, target, points) for target in targets]


def _probe(bound: Bound, objective: Objective, head: nn.Module, counts: Tensor, target: int, points: int) -> Probe:
    objective.generator = torch.Generator().manual_seed(0)
    features, p = _path(head, len(counts), target, points, bound.probability == "sigmoid")
    targets = torch.full((len(p),), target)
    leaf = features.requires_grad_()
    out = _output(head, leaf)
    with own_errors(bound, out, targets):
        losses = _one_each(objective, head, out, targets)
        whole_batch = losses is None
        if whole_batch:
            loss, gradient = _in_batches(objective, head, leaf.detach(), target)
    if not whole_batch:
        weight = objective.class_weight.to(losses)
        if objective.reduction == "weight":  # what the weights of a batch sum to, on average
            weight = weight / ((weight * counts).sum() / counts.sum()).to(losses)
        loss = weight[target] * losses
        (gradient,) = torch.autograd.grad(loss.sum(), out.logits)
    return Probe(target, p, loss.detach(), gradient[:, target].abs().detach(), whole_batch)


def _prepare(bound: Bound, counts: Tensor) -> tuple[Objective, nn.Module]:
    """The objective as it is in the last stage, and its head with W = I and no bias."""
    k = len(counts)
    objective = bound.build(counts).double().eval()  # what is looked at does not count as seen
    stage = bound.stages[-1]
    if stage.class_weight is not None:
        objective.set_class_weight(stage.class_weight(counts), "stage")
    objective.generator = torch.Generator().manual_seed(0)
    head = objective.make_head(k).double()
    with torch.no_grad():
        head.weight.copy_(torch.eye(k, dtype=torch.float64))
        if getattr(head, "bias", None) is not None:
            head.bias.zero_()
        features, targets = _companions(k)
        accuracy = torch.linspace(0.95, 0.35, k, dtype=torch.float64)
        for epoch in (0, 1):
            heard = accuracy if epoch else None
            objective.begin_epoch(Report(0, epoch, float(epoch), head, heard, lambda: (features, targets)))
    return objective, head


def _output(head: nn.Module, features: Tensor) -> Output:
    return Output(head(features), features, head.weight, getattr(head, "scale", None), torch.arange(len(features)))


def _one_each(objective: Objective, head: nn.Module, out: Output, targets: Tensor) -> Tensor | None:
    """The losses (n,) where each depends on its own image only, else None."""
    try:
        losses = objective.losses(out, targets)
        with torch.no_grad():
            middle = slice(len(targets) // 3, len(targets) // 2)
            some = objective.losses(_output(head, out.features[middle].detach()), targets[middle])
    except TypeError:
        return None
    return losses if losses.shape == targets.shape and torch.allclose(some, losses[middle]) else None


def _path(head: nn.Module, k: int, target: int, points: int, sigmoid: bool) -> tuple[Tensor, Tensor]:
    """Features (n, k) along the path, and the probability p (n,) of the true class at each; as far as the head goes."""
    p = torch.linspace(0.003, 0.997, points, dtype=torch.float64)
    others = torch.arange(k) != target
    z = torch.ones(points, k, dtype=torch.float64)
    if sigmoid:
        z[:, others] = torch.logit((1 - p) / (k - 1))[:, None]
        z[:, target] = torch.logit(p)
    else:
        z[:, target] += torch.logit(p) + math.log(k - 1)
    with torch.no_grad():
        if torch.allclose(head(z), z):
            return z, p
    angle = torch.linspace(torch.pi, 0.0, 4001, dtype=torch.float64)
    turned = torch.zeros(len(angle), k, dtype=torch.float64)
    turned[:, target] = LENGTH * angle.cos()
    turned[:, others] = (LENGTH / math.sqrt(k - 1) * angle.sin())[:, None]
    with torch.no_grad():
        reached = head(turned).softmax(1)[:, target].cummax(0).values
    at = torch.searchsorted(reached, p).clamp_max(len(angle) - 1).unique()
    return turned[at].clone(), reached[at]


def _companions(k: int) -> tuple[Tensor, Tensor]:
    """Images of every class, near their class and not quite at one place: features (n, k), targets (n,)."""
    targets = torch.arange(k).repeat(COMPANIONS)
    noise = torch.randn(len(targets), k, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return 4.0 * torch.eye(k, dtype=torch.float64)[targets] + 0.4 * noise, targets


def _in_batches(objective: Objective, head: nn.Module, features: Tensor, target: int) -> tuple[Tensor, Tensor]:
    """What the moving image adds to the sum over a batch (n,), and the gradient on its features (n, k).

    With W = I and no scale the features are the logits.
    """
    companions, theirs = _companions(objective.k)
    targets = torch.cat([torch.tensor([target]), theirs])
    weight, scale = head.weight.detach(), getattr(head, "scale", None)

    def total(batch: Tensor, targets: Tensor) -> Tensor:
        return len(batch) * objective(Output(head(batch), batch, weight, scale, torch.arange(len(batch))), targets)

    def loss_of(moving: Tensor) -> Tensor:
        return total(torch.cat([moving[None], companions]), targets) - alone

    with torch.no_grad():
        alone = total(companions, theirs)
    gradient, loss = torch.func.vmap(torch.func.grad_and_value(loss_of), randomness="same")(features)
    return loss, gradient
