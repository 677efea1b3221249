"""Which images an epoch visits: (targets, batch size, progress, generator) -> batches of indices, on the device.

Every sampler gives the same number of steps in an epoch, ceil(n / batch size), so that methods are compared at equal
cost. A last batch of a single image joins the one before it (BatchNorm cannot learn from one image).
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from .check import instance as check_instance
from .check import number, refuse, whole
from .functional import precise

Sampler = Callable[[Tensor, int, float, torch.Generator], list[Tensor]]
SAMPLERS: dict[str, Sampler] = {}


def sampler(function: Sampler) -> Sampler:
    """Enter a sampler in SAMPLERS under its name, with its arguments checked.

    targets (n,) int64, the class of each image; batch_size images a step; progress from 0 (first epoch) to 1, clamped;
    generator: the only source of random numbers, on the device of the targets. ValueError for anything else.
    """

    @functools.wraps(function)
    def checked(targets: Tensor, batch_size: int, progress: float, generator: torch.Generator) -> list[Tensor]:
        _check_targets(targets)
        batch_size, progress = whole("batch_size", batch_size, 1), number("progress", progress)
        check_instance("generator", generator, torch.Generator, "a torch.Generator, on the device of the targets")
        if generator.device.type != targets.device.type:
            raise ValueError(f"generator: it is on {generator.device}, the targets are on {targets.device}; make it "
                             "with torch.Generator(targets.device)")
        return function(targets, batch_size, progress, generator)

    SAMPLERS[function.__name__] = checked
    return checked


def _check_targets(targets: Tensor) -> None:
    if not isinstance(targets, Tensor) or targets.dtype != torch.int64 or targets.dim() != 1 or not len(targets):
        raise refuse("targets", targets, "an int64 tensor (n,) that holds the class of each image, at least one")
    if int(targets.min()) < 0:
        raise ValueError(f"targets: expected classes numbered from 0, got {int(targets.min())}; leave such images out")


def split(order: Tensor, batch_size: int) -> list[Tensor]:
    """Cut a list of indices (n,) into batches; a last batch of one joins the one before."""
    batches = list(order.split(whole("batch_size", batch_size, 1)))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def class_counts(targets: Tensor, k: int | None = None) -> Tensor:
    """Images per class, (n,) -> (k,) int64."""
    return torch.bincount(targets, minlength=k or 0)


def draw(targets: Tensor, class_probability: Tensor, generator: torch.Generator) -> Tensor:
    """n indices with replacement: a class by its probability (k,), then an image of that class, uniformly."""
    counts = class_counts(targets, len(class_probability))
    if len(counts) > len(class_probability):
        raise refuse("class_probability", class_probability, f"one probability for each of {len(counts)} classes")
    per_image = (class_probability / counts.clamp_min(1))[targets]
    return torch.multinomial(per_image, len(targets), replacement=True, generator=generator)


def power_probability(counts: Tensor, q: float) -> Tensor:
    """p_j = n_j^q / sum_i n_i^q over the classes present (Kang et al. 2020, eq. 1); q = 0 is class balanced."""
    q = number("q", q)
    p = torch.where(counts > 0, precise(counts).clamp_min(1).pow(q), 0.0)
    return p / p.sum()


@sampler
def instance(targets: Tensor, batch_size: int, progress: float, generator: torch.Generator) -> list[Tensor]:
    """Every image once, in random order: the usual epoch."""
    return split(torch.randperm(len(targets), generator=generator, device=targets.device), batch_size)


@sampler
def class_balanced(targets: Tensor, batch_size: int, progress: float, generator: torch.Generator) -> list[Tensor]:
    """Every class with the same probability, 1 / k (Kang et al. 2020, q = 0)."""
    return split(draw(targets, power_probability(class_counts(targets), 0.0), generator), batch_size)


@sampler
def square_root(targets: Tensor, batch_size: int, progress: float, generator: torch.Generator) -> list[Tensor]:
    """A class with probability proportional to sqrt(n_j) (Kang et al. 2020, q = 1/2)."""
    return split(draw(targets, power_probability(class_counts(targets), 0.5), generator), batch_size)


@sampler
def progressive(targets: Tensor, batch_size: int, progress: float, generator: torch.Generator) -> list[Tensor]:
    """From instance to class-balanced sampling: p_j = (1 - t) n_j / n + t / k, t = progress in [0, 1].

    Source: Kang et al. 2020, eq. (2).
    """
    counts = class_counts(targets)
    t = min(max(progress, 0.0), 1.0)
    p = (1.0 - t) * power_probability(counts, 1.0) + t * power_probability(counts, 0.0)
    return split(draw(targets, p, generator), batch_size)


def _by_class(targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The images class after class, each class in random order, and each one's place (0, 1, ...) within its class."""
    order = torch.randperm(len(targets), generator=generator, device=targets.device)
    members = order[torch.sort(targets[order], stable=True).indices]
    counts = class_counts(targets)
    starts = torch.cumsum(counts, 0) - counts
    return members, torch.arange(len(members), device=targets.device) - starts[targets[members]]


def _shuffled(index: Tensor, generator: torch.Generator) -> Tensor:
    return index[torch.randperm(len(index), generator=generator, device=index.device)]


@sampler
def undersample(targets: Tensor, batch_size: int, progress: float, generator: torch.Generator) -> list[Tensor]:
    """Passes of min_j n_j images of every class, without replacement and in mixed order, until the epoch is full.

    Every pass draws a fresh subset. The last one is cut where the epoch ends; mixed as it is, it cuts no class first.
    """
    counts = class_counts(targets)
    smallest = int(counts[counts > 0].min())
    picked: list[Tensor] = []
    while sum(map(len, picked)) < len(targets):
        members, place = _by_class(targets, generator)
        picked.append(_shuffled(members[place < smallest], generator))
    return split(torch.cat(picked)[: len(targets)], batch_size)


@sampler
def oversample(targets: Tensor, batch_size: int, progress: float, generator: torch.Generator) -> list[Tensor]:
    """Every class repeated up to max_j n_j images, shuffled, of which an epoch takes the first n.

    So a class is seen with probability 1 / k, and within one pass no image repeats before its class is used up.
    """
    counts = class_counts(targets)
    largest = int(counts.max())
    members, _ = _by_class(targets, generator)
    starts = torch.cumsum(counts, 0) - counts
    present = torch.nonzero(counts > 0).squeeze(1)
    turn = torch.arange(largest, device=targets.device)
    repeated = members[(starts[present][:, None] + turn[None] % counts[present][:, None]).flatten()]
    return split(_shuffled(repeated, generator)[: len(targets)], batch_size)
