"""L2-constrained softmax: every feature on one sphere, so that no class and no image gains by a longer feature."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..functional import unit
from ..models import LinearHead
from ..objective import Method, Setting
from .ce import CrossEntropy


def l2_constrained_logits(features: Tensor, weight: Tensor, bias: Tensor, alpha: Tensor | float) -> Tensor:
    """Logits of a linear classifier over features of one length.

        z_ij = W_j . (alpha x_i / ||x_i||) + b_j

    features (n, d); weight (k, d); bias (k,); alpha > 0, the radius. An all-zero feature has logits b.
    Source: Ranjan et al. 2017, section 3.
    """
    return alpha * unit(features) @ weight.T + bias


def smallest_alpha(k: int, probability: float = 0.9) -> float:
    """The radius below which a softmax over k classes cannot reach a mean probability p of the target.

        alpha_low = log( p (k - 2) / (1 - p) )

    Raises ValueError below 3 classes, where the bound says nothing. Source: Ranjan et al. 2017, section 3.
    """
    if k < 3:
        raise ValueError(f"the bound needs at least 3 classes, not {k}; with two, any radius may do")
    return math.log(probability * (k - 2) / (1.0 - probability))


class L2ConstrainedHead(nn.Module):
    """A linear classifier, `weight` (k, d) and `bias` (k,), over features of length `alpha`, fixed or learned."""

    def __init__(self, dim: int, k: int, alpha: float, learn_alpha: bool):
        super().__init__()
        self.linear = LinearHead(dim, k)
        radius = torch.tensor(float(alpha))
        if learn_alpha:
            self.alpha = nn.Parameter(radius)
            self.alpha.no_decay = True
        else:
            self.register_buffer("alpha", radius)

    @property
    def weight(self) -> Tensor:
        return self.linear.weight

    @property
    def bias(self) -> Tensor:
        return self.linear.bias

    def initialise(self, generator: torch.Generator) -> None:
        self.linear.initialise(generator)

    def forward(self, features: Tensor) -> Tensor:
        return l2_constrained_logits(features, self.weight, self.bias, self.alpha)


class L2Constrained(CrossEntropy):
    """Softmax cross-entropy over features of one length (`l2_constrained_logits`); classifier rows and bias stay free.

    alpha > 0 is the radius, in the head. The paper finds a fixed one a little better than a learned one: fixed by
    default, `learn_alpha=True` trains it. alpha must lie above `smallest_alpha(k)`: 4.3 for 10 classes, 6.8 for 100.
    Known to fail: the rows of the head remain free to grow with the counts, so it levels the images, not the classes.
    """

    def __init__(self, counts: Tensor, alpha: float, learn_alpha: bool):
        super().__init__(counts)
        self.alpha, self.learn_alpha = alpha, learn_alpha

    def make_head(self, dim: int) -> nn.Module:
        return L2ConstrainedHead(dim, self.k, self.alpha, self.learn_alpha)


METHOD = Method(
    key="l2_constrained",
    title="L2-constrained softmax",
    paper="Ranjan et al. 2017",
    equation=r"\ell_i = -\log \frac{e^{z_{i,y_i}}}{\sum_j e^{z_{ij}}}, \quad "
    r"z_{ij} = W_j^\top \frac{\alpha x_i}{\lVert x_i \rVert} + b_j",
    objective=L2Constrained,
    settings={
        "alpha": Setting(16.0, 1.0, 64.0, "log", symbol="α", meaning="length of every feature"),
        "learn_alpha": Setting(False, choices=(False, True), symbol="α", meaning="whether the length is trained"),
    },
    citation=r"""@article{ranjan2017l2,
  title = {{L2}-constrained Softmax Loss for Discriminative Face Verification},
  author = {Ranjan, Rajeev and Castillo, Carlos D. and Chellappa, Rama},
  journal = {arXiv preprint arXiv:1703.09507}, year = {2017}
}""",
)
