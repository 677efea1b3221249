"""Stochastic gradient descent for small networks: torch's own kernel, without the bookkeeping around it.

`torch.optim.SGD(fused=True)` takes the same steps, bit for bit. But its bookkeeping takes longer than the update of a
small network, and the first use of any optimiser of torch's loads a compiler that nobody here asked for.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class SGD:
    """v <- momentum v + g + weight_decay w,    w <- w - lr v

    groups are dicts with `params` and `weight_decay`, as torch's optimisers take them; lr is a number, or a tensor on
    the device that a graph reads. `param_groups` and `state` are kept as torch keeps them. A parameter without a
    gradient stays as it is.

    torch does not document the kernel. Where it is gone, or another than it was, `torch.optim.SGD` takes its place:
    the fused one, with the same numbers, and where that needs the kernel too, the plain one, whose last digit may
    differ.
    """

    def __init__(self, groups: list[dict[str, Any]], lr: Tensor | float, momentum: float):
        parameters = [parameter for group in groups for parameter in group["params"]]
        fused = functools.partial(torch.optim.SGD, fused=True)
        make = next((way for way in (_Kernel, fused) if _works(way, lr, parameters[0].device)), torch.optim.SGD)
        inner = make([dict(group) for group in groups], lr=lr, momentum=momentum)
        for parameter in parameters:  # all there from the start, as a graph and a checkpoint need them
            inner.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter, requires_grad=False)
        self.param_groups, self.state, self.step = inner.param_groups, inner.state, inner.step


class _Kernel:
    """torch's kernel, called as torch.optim.SGD calls it."""

    def __init__(self, groups: list[dict[str, Any]], lr: Tensor | float, momentum: float):
        self.param_groups = [{**group, "lr": lr, "momentum": momentum} for group in groups]
        self.state: dict[nn.Parameter, dict[str, Tensor]] = defaultdict(dict)

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            moved = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not moved:
                continue
            momentum = group["momentum"]
            torch._fused_sgd_(
                moved,
                [parameter.grad for parameter in moved],
                [self.state[parameter]["momentum_buffer"] for parameter in moved] if momentum else [],
                weight_decay=group["weight_decay"],
                momentum=momentum,
                lr=group["lr"],
                dampening=0.0,
                nesterov=False,
                maximize=False,
                is_first_step=False,
            )


def _works(make: Callable[..., Any], lr: Tensor | float, device: torch.device) -> bool:
    """Whether such an optimiser takes the step that it should, tried on one number with the kind of rate that lr is."""
    weight, gradient, buffer = (torch.ones(1, device=device) for _ in range(3))
    weight.grad = gradient
    try:
        tried = make([{"params": [weight], "weight_decay": 0.5}], lr=lr * 0 + 0.25, momentum=0.5)
        tried.state[weight]["momentum_buffer"] = buffer
        tried.step()
    except (AttributeError, TypeError, RuntimeError):
        return False
    return buffer.item() == 2.0 and weight.item() == 0.5


@torch.no_grad()
def clip(parameters: list[nn.Parameter], largest: float) -> None:
    """Scale all gradients by one factor, so that their norm is at most `largest`.

    What torch.nn.utils.clip_grad_norm_ does, bit for bit, without sorting the gradients by device at every step.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    torch._foreach_mul_(gradients, (largest / (norm + 1e-6)).clamp_(max=1.0))


def make_optimizer(
    kind: str, groups: list[dict[str, Any]], rate: Tensor | float, momentum: float, fused: bool
) -> SGD | torch.optim.Optimizer:
    """An optimiser by name, "sgd", "adam" or "adamw"; with a tensor for its rate, one that a CUDA graph can hold."""
    if kind == "sgd":
        return SGD(groups, rate, momentum) if fused else torch.optim.SGD(groups, lr=rate, momentum=momentum)
    known = torch.optim.Adam if kind == "adam" else torch.optim.AdamW
    return known(groups, lr=rate, fused=fused, capturable=isinstance(rate, Tensor))


def set_rate(optimizer: SGD | torch.optim.Optimizer, held: Tensor | float, rate: float) -> None:
    """Set the learning rate; held: what the optimiser was made with, a tensor (which a graph reads) or a number."""
    if isinstance(held, Tensor):
        held.fill_(rate)
        return
    for group in optimizer.param_groups:
        group["lr"] = rate
