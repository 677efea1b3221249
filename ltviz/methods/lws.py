"""LWS: after plain training, one learned factor for each class's logit."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..objective import Method, Stage
from .ce import CrossEntropy
from .crt import SHARE, two_stages
from .sampling import KANG


def scaled_logits(logits: Tensor, factor: Tensor) -> Tensor:
    """Each class's logit times its factor: z_ij = f_j z_ij. logits (n, k), factor (k,)."""
    return factor * logits


class ScaledHead(nn.Module):
    """A frozen linear head whose logits are scaled class by class: z = f (W x + b). `weight` is the effective f W."""

    def __init__(self, linear: nn.Module):
        super().__init__()
        self.linear = linear.requires_grad_(False)
        self.factor = nn.Parameter(torch.ones(len(linear.weight)))

    @property
    def weight(self) -> Tensor:
        return self.factor[:, None] * self.linear.weight

    @property
    def bias(self) -> Tensor | None:
        return None if self.linear.bias is None else self.factor * self.linear.bias

    def forward(self, features: Tensor) -> Tensor:
        return scaled_logits(self.linear(features), self.factor)


class LearnableWeightScaling(CrossEntropy):
    """Learnable weight scaling: after plain training, everything is frozen but one factor a class, on balanced batches.

        z_j = f_j (w_j . x + b_j),   f_j learned, 1 at first

    f (k,) factors; w (k, d), b (k,) the frozen classifier; x (n, d) features. The paper scales w alone; its public code
    scales the bias too, as here. Source: Kang et al. 2020, section 4.4; 5 epochs on ImageNet-LT.
    Known to fail: a factor cannot help a class whose logit has the wrong sign.
    """


def stages(share: float) -> tuple[Stage, ...]:
    """The second stage trains one factor a class, and nothing else."""
    return two_stages(share, ScaledHead)


METHOD = Method(
    key="lws",
    title="Learnable weight scaling (LWS)",
    paper="Kang et al. 2020",
    equation=r"z_j = f_j \left(w_j^\top x + b_j\right)",
    objective=LearnableWeightScaling,
    settings={"share": SHARE},
    stages=stages,
    citation=KANG,
)
