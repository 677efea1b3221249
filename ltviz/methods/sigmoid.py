"""One-vs-all sigmoid cross-entropy: every class asks its own yes-or-no question."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..check import whole
from ..functional import one_hot
from ..models import LinearHead
from ..objective import Method, Objective, Output, Setting


def signed_logits(logits: Tensor, targets: Tensor) -> Tensor:
    """z^t (n, k): the logit where the class is the target, minus the logit where it is not. p^t = sigmoid(z^t)."""
    return logits * (2.0 * one_hot(targets, logits) - 1.0)


def sigmoid_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy of k independent questions, summed over the classes.

        l_i = sum_j log(1 + exp(-z^t_ij)),    z^t_ij = z_ij if j = y_i, else -z_ij

    logits (n, k); targets (n,); losses (n,). Source: Cui et al. 2019, section 4.2.
    """
    return F.softplus(-signed_logits(logits, targets)).sum(1)


def prior_bias(k: int) -> float:
    """The bias at which each of k classes starts with probability pi = 1 / k.

        b = -log((1 - pi) / pi) = -log(k - 1)

    -2.197 for 10 classes, -4.595 for 100. With b = 0 instead, the first loss is k log 2 (6.93, 69.3), nearly all of it
    from the k - 1 wrong classes. Source: Cui et al. 2019, section 5.2.
    """
    return -math.log(whole("k", k, 2) - 1)


def prior_head(dim: int, k: int, decay_bias: bool | str) -> LinearHead:
    """A linear head whose bias starts at `prior_bias`; decay_bias is the setting of that name."""
    head = LinearHead(dim, k, bias_start=prior_bias(k))
    with torch.no_grad():
        head.bias.fill_(head.bias_start)
    head.bias.no_decay, head.bias.only_decay = decay_bias is False, decay_bias == "only"
    return head


DECAY_BIAS = Setting(
    False, choices=(False, True, "only"), symbol="b", meaning="weight decay on a sigmoid head's bias, or on it alone"
)


class SigmoidCrossEntropy(Objective):
    """One-vs-all binary cross-entropy, `sigmoid_loss`, with a head whose bias starts at the prior 1 / k, `prior_bias`.

    The paper and its code leave the bias out of weight decay (`decay_bias=False`); a blog that summarises them says
    that only the bias is decayed ("only"). True decays it like everything else.
    Known to fail: it knows no counts, and no class must win against another: a little worse than softmax on small data.
    """

    def __init__(self, counts: Tensor, decay_bias: bool | str):
        super().__init__(counts)
        self.decay_bias = decay_bias

    def make_head(self, dim: int) -> nn.Module:
        return prior_head(dim, self.k, self.decay_bias)

    def losses(self, out: Output, targets: Tensor) -> Tensor:
        return sigmoid_loss(out.logits, targets)


METHOD = Method(
    key="sigmoid",
    title="Sigmoid cross-entropy",
    paper="Cui et al. 2019, section 4.2",
    equation=r"\ell_i = \sum_j \log\left(1 + e^{-z^t_{ij}}\right), \quad z^t_{ij} = \pm z_{ij}",
    objective=SigmoidCrossEntropy,
    settings={"decay_bias": DECAY_BIAS},
    probability="sigmoid",
    citation=r"""@inproceedings{cui2019class,
  title = {Class-Balanced Loss Based on Effective Number of Samples},
  author = {Cui, Yin and Jia, Menglin and Lin, Tsung-Yi and Song, Yang and Belongie, Serge},
  booktitle = {CVPR}, year = {2019}
}""",
    aliases=("bce",),
)
