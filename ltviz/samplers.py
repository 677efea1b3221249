"""Which images an epoch visits: (targets, batch size, progress, generator) -> batches of indices, on the device.

Every sampler gives the same number of steps in an epoch, ceil(n / batch size), so that methods are compared at equal
cost. A last batch of a single image joins the one before it (BatchNorm cannot learn from one image).
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from .check import MOST_CLASSES, number, refuse, whole
from .check import instance as check_instance
from .check import tensor as check_tensor
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
        _check_generator(generator, targets)
        return function(targets, batch_size, progress, generator)

    SAMPLERS[function.__name__] = checked
    return checked


def _check_generator(generator: torch.Generator, targets: Tensor) -> None:
    check_instance("generator", generator, torch.Generator, "a torch.Generator, on the device of the targets")
    if generator.device.type != targets.device.type:
        raise ValueError(
            f"generator: it is on {generator.device}, the targets are on {targets.device}; make it "
            "with torch.Generator(targets.device)"
        )


def _check_targets(targets: Tensor) -> None:
    expected = "an int64 tensor (n,) that holds the class of each image, at least one"
    check_tensor("targets", targets, 1, "int64", expected)
    if not len(targets):
        raise refuse("targets", targets, expected)
    _check_classes(targets)


def _check_classes(targets: Tensor) -> None:
    lowest, highest = (int(one) for one in targets.aminmax())
    if lowest < 0:
        raise ValueError(f"targets: expected classes numbered from 0, got {lowest}; leave such images out")
    if highest >= MOST_CLASSES:
        raise ValueError(f"targets: expected classes numbered from 0 to {MOST_CLASSES - 1:,}, got {highest}")


def split(order: Tensor, batch_size: int) -> list[Tensor]:
    """Cut indices (n,), at least one, into batches; a last batch of one joins the one before."""
    expected = "an int64 tensor (n,) of positions, at least one"
    if not len(check_tensor("order", order, 1, "int64", expected)):
        raise refuse("order", order, expected)
    batches = list(order.split(whole("batch_size", batch_size, 1)))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def images_per_class(targets: Tensor, k: int | None = None) -> Tensor:
    """Images per class, (n,) -> (k,) int64; n may be 0 where k is given, else k is the highest class + 1."""
    k = None if k is None else whole("k", k, 1, MOST_CLASSES)
    check_tensor("targets", targets, 1, "int64", "an int64 tensor (n,), the class of each image")
    if k is None or len(targets):
        _check_targets(targets)
    counts = torch.bincount(targets, minlength=k or 0)
    if k is not None and len(counts) > k:
        raise refuse("k", k, f"at least {len(counts)}, as the targets hold class {len(counts) - 1}")
    return counts


def draw(targets: Tensor, class_probability: Tensor, generator: torch.Generator) -> Tensor:
    """n indices with replacement: a class by its probability (k,), then an image of that class, uniformly.

    The probabilities need not sum to 1. A class without images is never drawn.
    """
    counts = images_per_class(targets)
    expected = f"one probability for each of {len(counts)} classes, finite and not negative, in a float tensor (k,)"
    check_tensor("class_probability", class_probability, 1, "float", expected, targets)
    k = len(class_probability)
    if k < len(counts) or not bool((class_probability.isfinite() & (class_probability >= 0)).all()):
        raise refuse("class_probability", class_probability.tolist(), expected)
    per_image = (class_probability / images_per_class(targets, k).clamp_min(1))[targets]
    if not bool(per_image.sum() > 0):
        raise refuse("class_probability", class_probability.tolist(), "a class with images whose probability is not 0")
    _check_generator(generator, targets)
    return torch.multinomial(per_image, len(targets), replacement=True, generator=generator)


def power_probability(counts: Tensor, q: float) -> Tensor:
    """p_j = n_j^q / sum_i n_i^q over the classes present (Kang et al. 2020, eq. 1); q = 0 is class balanced.

    counts (k,), at least one of them above 0; q from -16 to 16.
    """
    q, expected = number("q", q, -16, 16), "images of each class (k,): a tensor of finite numbers, not all of them 0"
    check_tensor("counts", counts, 1, "number", expected)
    if not bool((counts.isfinite() & (counts >= 0)).all() and (counts > 0).any()):
        raise refuse("counts", counts.tolist(), expected)
    p = torch.where(counts > 0, precise(counts).clamp_min(1).pow(q), 0.0)
    return p / p.sum()


@sampler
def instance(targets: Tensor, batch_size: int, progress: float, generator: torch.Generator) -> list[Tensor]:
    """Every image once, in random order: the usual epoch."""
    return split(torch.randperm(len(targets), generator=generator, device=targets.device), batch_size)


@sampler
def class_balanced(targets: Tensor, batch_size: int, progress: float, generator: torch.Generator) -> list[Tensor]:
    """Every class with the same probability, 1 / k (Kang et al. 2020, q = 0)."""
    return split(draw(targets, power_probability(images_per_class(targets), 0.0), generator), batch_size)


@sampler
def square_root(targets: Tensor, batch_size: int, progress: float, generator: torch.Generator) -> list[Tensor]:
    """A class with probability proportional to sqrt(n_j) (Kang et al. 2020, q = 1/2)."""
    return split(draw(targets, power_probability(images_per_class(targets), 0.5), generator), batch_size)


@sampler
def progressive(targets: Tensor, batch_size: int, progress: float, generator: torch.Generator) -> list[Tensor]:
    """From instance to class-balanced sampling: p_j = (1 - t) n_j / n + t / k, t = progress in [0, 1].

    Source: Kang et al. 2020, eq. (2).
    """
    counts = images_per_class(targets)
    t = min(max(progress, 0.0), 1.0)
    p = (1.0 - t) * power_probability(counts, 1.0) + t * power_probability(counts, 0.0)
    return split(draw(targets, p, generator), batch_size)


def _by_class(targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The images class after class, each class in random order, and each one's place (0, 1, ...) within its class."""
    order = torch.randperm(len(targets), generator=generator, device=targets.device)
    members = order[torch.sort(targets[order], stable=True).indices]
    counts = images_per_class(targets)
    starts = torch.cumsum(counts, 0) - counts
    return members, torch.arange(len(members), device=targets.device) - starts[targets[members]]


def _shuffled(index: Tensor, generator: torch.Generator) -> Tensor:
    return index[torch.randperm(len(index), generator=generator, device=index.device)]


@sampler
def undersample(targets: Tensor, batch_size: int, progress: float, generator: torch.Generator) -> list[Tensor]:
    """Passes of min_j n_j images of every class, without replacement and in mixed order, until the epoch is full.

    Every pass draws a fresh subset. The last one is cut where the epoch ends; mixed as it is, it cuts no class first.
    """
    counts = images_per_class(targets)
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
    counts = images_per_class(targets)
    largest = int(counts.max())
    members, _ = _by_class(targets, generator)
    starts = torch.cumsum(counts, 0) - counts
    present = torch.nonzero(counts > 0).squeeze(1)
    turn = torch.arange(largest, device=targets.device)
    repeated = members[(starts[present][:, None] + turn[None] % counts[present][:, None]).flatten()]
    return split(_shuffled(repeated, generator)[: len(targets)], batch_size)
