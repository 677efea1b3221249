"""Which images an epoch visits: (targets, batch size, progress, generator) -> batches of indices, on the device.

Every sampler gives the same number of steps in an epoch, ceil(n / batch size), so that methods are compared at equal
cost. A last batch of a single image joins the one before it (BatchNorm cannot learn from one image).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .functional import precise

Sampler = Callable[[Tensor, int, float, torch.Generator], list[Tensor]]


def split(order: Tensor, batch_size: int) -> list[Tensor]:
    """Cut a list of indices (n,) into batches; a last batch of one joins the one before."""
    batches = list(order.split(batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def class_counts(targets: Tensor, k: int | None = None) -> Tensor:
    """Images per class, (n,) -> (k,) int64."""
    return torch.bincount(targets, minlength=k or 0)


def draw(targets: Tensor, class_probability: Tensor, generator: torch.Generator) -> Tensor:
    """n indices with replacement: a class by its probability (k,), then an image of that class, uniformly."""
    counts = class_counts(targets, len(class_probability))
    per_image = (class_probability / counts.clamp_min(1))[targets]
    return torch.multinomial(per_image, len(targets), replacement=True, generator=generator)


def power_probability(counts: Tensor, q: float) -> Tensor:
    """p_j = n_j^q / sum_i n_i^q over the classes present (Kang et al. 2020, eq. 1); q = 0 is class balanced."""
    p = torch.where(counts > 0, precise(counts).clamp_min(1).pow(q), 0.0)
    return p / p.sum()


def instance(targets: Tensor, batch_size: int, progress: float, generator: torch.Generator) -> list[Tensor]:
    """Every image once, in random order: the usual epoch."""
    return split(torch.randperm(len(targets), generator=generator, device=targets.device), batch_size)


def class_balanced(targets: Tensor, batch_size: int, progress: float, generator: torch.Generator) -> list[Tensor]:
    """Every class with the same probability, 1 / k (Kang et al. 2020, q = 0)."""
    return split(draw(targets, power_probability(class_counts(targets), 0.0), generator), batch_size)


def square_root(targets: Tensor, batch_size: int, progress: float, generator: torch.Generator) -> list[Tensor]:
    """A class with probability proportional to sqrt(n_j) (Kang et al. 2020, q = 1/2)."""
    return split(draw(targets, power_probability(class_counts(targets), 0.5), generator), batch_size)


def progressive(targets: Tensor, batch_size: int, progress: float, generator: torch.Generator) -> list[Tensor]:
    """From instance to class-balanced sampling: p_j = (1 - t) n_j / n + t / k, t = progress in [0, 1].

    Source: Kang et al. 2020, eq. (2).
    """
    counts = class_counts(targets)
    t = min(max(progress, 0.0), 1.0)
    p = (1.0 - t) * power_probability(counts, 1.0) + t * power_probability(counts, 0.0)
    return split(draw(targets, p, generator), batch_size)


def _shuffled_ranks(targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A random order of the images, and each one's rank (0, 1, ...) among the images of its class in that order."""
    order = torch.randperm(len(targets), generator=generator, device=targets.device)
    by_class = torch.sort(targets[order], stable=True).indices
    starts = torch.cumsum(class_counts(targets), 0) - class_counts(targets)
    ranks = torch.empty_like(order)
    ranks[by_class] = torch.arange(len(order), device=order.device) - starts[targets[order][by_class]]
    return order, ranks


def undersample(targets: Tensor, batch_size: int, progress: float, generator: torch.Generator) -> list[Tensor]:
    """min_j n_j images of every class without replacement; a fresh subset whenever one is used up."""
    counts = class_counts(targets)
    smallest = int(counts[counts > 0].min())
    picked: list[Tensor] = []
    while sum(map(len, picked)) < len(targets):
        order, ranks = _shuffled_ranks(targets, generator)
        picked.append(order[ranks < smallest])
    return split(torch.cat(picked)[: len(targets)], batch_size)


def oversample(targets: Tensor, batch_size: int, progress: float, generator: torch.Generator) -> list[Tensor]:
    """Every class repeated up to max_j n_j images, shuffled, of which an epoch takes the first n.

    So a class is seen with probability 1 / k, and within one pass no image repeats before its class is used up.
    """
    counts = class_counts(targets)
    largest = int(counts.max())
    order, ranks = _shuffled_ranks(targets, generator)
    members = order[torch.sort(targets[order], stable=True).indices]
    starts = torch.cumsum(counts, 0) - counts
    present = torch.nonzero(counts > 0).squeeze(1)
    turn = torch.arange(largest, device=targets.device)
    repeated = members[(starts[present][:, None] + turn[None] % counts[present][:, None]).flatten()]
    shuffle = torch.randperm(len(repeated), generator=generator, device=targets.device)
    return split(repeated[shuffle][: len(targets)], batch_size)


SAMPLERS: dict[str, Sampler] = {
    "instance": instance,
    "class_balanced": class_balanced,
    "square_root": square_root,
    "progressive": progressive,
    "undersample": undersample,
    "oversample": oversample,
}
