"""A shared network with one head for each attribute, and what it says to whole parts of the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .. import check
from ..models import initialise, make_backbone, without_counters
from ..objective import Objective, Output


class AttributeNet(nn.Module):
    """Images (n, C, H, W) -> shared features (n, d) -> for each attribute its branch, its head, its logits (n, v_j).

    objectives: one for each attribute; each makes the head that it trains. branch: None, and every head sees the shared
    features themselves; or how many features of its own each attribute has, made of the shared ones by a linear layer
    and ReLU. All parameters are drawn from the generator.
    """

    def __init__(
        self, model: str, shape: Sequence[int], objectives: Sequence[Objective], generator: torch.Generator,
        branch: int | None = None,
    ):  # fmt: skip
        super().__init__()
        self.backbone = make_backbone(model, shape)
        dim = self.backbone.dim
        width = dim if branch is None else check.whole("branch", branch, 1, 4096)
        self.branches = nn.ModuleList(
            nn.Identity() if branch is None else nn.Sequential(nn.Linear(dim, width), nn.ReLU()) for _ in objectives
        )
        self.heads = nn.ModuleList(one.make_head(width) for one in objectives)
        initialise(self, generator)
        without_counters(self)

    def forward(self, images: Tensor) -> list[Output]:
        return self.decide(self.backbone(images))

    def decide(self, shared: Tensor) -> list[Output]:
        """What each attribute's head says to shared features (n, d)."""
        found = []
        for branch, head in zip(self.branches, self.heads, strict=True):
            x = branch(shared)
            found.append(
                Output(head(x), x, head.weight, getattr(head, "scale", None), None, getattr(head, "memory", None))
            )
        return found


@torch.no_grad()
def answers(
    net: AttributeNet, batch: Callable[[slice], Tensor], n: int, size: int, put: Callable[[Tensor], Tensor]
) -> tuple[Tensor, list[Output]]:
    """Shared features (n, d) of n images, and what each head says to them, in eval mode.

    batch(slice) gives images, `size` at a time, which put brings to where the network is.
    """
    training = net.training
    net.eval()
    try:
        shared = [net.backbone(put(batch(slice(i, min(i + size, n))))).float() for i in range(0, n, size)]
        whole = torch.cat(shared)
        return whole, net.decide(whole)
    finally:
        net.train(training)
