"""What the loss of every method costs: forward and backward, in time and in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ltviz.datasets import profile_counts
from ltviz.device import threads
from ltviz.methods import METHODS
from ltviz.models import Net
from ltviz.objective import Bound, Method, Report

from .measure import fastest


@dataclass(frozen=True)
class LossCost:
    """Forward and backward of one loss on one thread, in milliseconds, at n = 128 and 512, and its memory in MB."""

    method: str
    ms: float
    ms_large: float
    mb_large: float


def costs(keys: Sequence[str] | None = None, repeats: int = 10, choices: bool = True) -> Iterator[LossCost]:
    """Cost of every method's loss, and (choices) of each of its choices, at k = 100 classes and d = 64 features."""
    for key in keys or METHODS:
        for bound in _variants(METHODS[key]) if choices else [METHODS[key]()]:
            with threads(1):
                ms = 1e3 * fastest(repeats, _step(bound, 128))[0]
                large = _step(bound, 512)
                ms_large, bytes_large = 1e3 * fastest(3, large)[0], peak_memory(large)
            yield LossCost(bound.label, ms, ms_large, bytes_large / 1e6)


def _variants(method: Method) -> list[Bound]:
    """The method with its defaults, then with each other choice of each setting that has choices."""
    others = [
        method(**{name: choice})
        for name, setting in method.settings.items()
        if len(setting.choices) > 1
        for choice in setting.choices
        if choice != setting.default
    ]
    return [method(), *others]


def _step(bound: Bound, n: int, k: int = 100, d: int = 64) -> Callable[[], None]:
    """A forward and backward pass of the loss (head included) for a long-tailed batch of n."""
    draw = torch.Generator().manual_seed(0)
    counts = torch.tensor(profile_counts(500, k, 100))
    objective = bound.build(counts)
    objective.generator = draw
    net = Net(torch.nn.Identity(), objective.make_head(d))
    targets = torch.multinomial(counts.double(), n, replacement=True, generator=draw)
    features = torch.randn(n, d, generator=draw).relu_().requires_grad_()
    with torch.no_grad():
        train = torch.multinomial(counts.double(), 2048, replacement=True, generator=draw)
        gallery = torch.randn(2048, d, generator=draw).relu_()
        objective.begin_epoch(Report(0, 0, 0.0, net.head, torch.full((k,), 0.5), lambda: (gallery, train)))
        objective.after_step(net.decide(features, torch.arange(n)), targets)
    index = torch.arange(n)

    def step() -> None:
        objective(net.decide(features, index), targets).backward()
        features.grad = None

    return step


def peak_memory(work: Callable[[], Any]) -> float:
    """Bytes of tensors alive at the worst moment of some work on the CPU, beyond those alive before."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler tells when it starts and stops, 100 times here
    from torch.profiler import ProfilerActivity, profile

    work()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        work()
    events = [e for e in record.profiler.kineto_results.events() if e.name() == "[memory]"]
    sizes = [e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())]
    return float(max(np.cumsum(sizes).max(initial=0.0), 0.0))
