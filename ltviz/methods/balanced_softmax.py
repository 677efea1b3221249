"""Balanced softmax: each class's exponential multiplied by its count in the loss."""

from __future__ import annotations

from torch import Tensor

from ..functional import cross_entropy
from ..objective import Limit, Method, Objective, Output


def balanced_softmax_loss(logits: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
    """Cross-entropy of the balanced softmax.

        l_i = -log( n_{y_i} e^{z_{i,y_i}} / sum_j n_j e^{z_ij} )

    logits z (n, k); targets (n,); counts n_j (k,), a class without images counting as one image. Losses (n,).
    Source: Ren et al. 2020, eq. (4).
    """
    return cross_entropy(logits + counts.clamp_min(1.0).log().to(logits.dtype), targets)


class BalancedSoftmax(Objective):
    """Balanced softmax: the network's exponentials compete multiplied by the counts, and are tested without them.

    `balanced_softmax_loss` is the logit-adjusted loss at tau = 1. The paper's variant with n_j^{1/4} is that loss at
    tau = 0.25; they find it worse.
    Known to fail: together with class-balanced sampling it balances twice, as if by 1 / n^2, and the head collapses.
    """

    def losses(self, out: Output, targets: Tensor) -> Tensor:
        return balanced_softmax_loss(out.logits, targets, self.counts)


METHOD = Method(
    key="balanced_softmax",
    title="Balanced softmax",
    paper="Ren et al. 2020",
    equation=r"\ell_i = -\log \frac{n_{y_i} e^{z_{i,y_i}}}{\sum_j n_j e^{z_{ij}}}",
    objective=BalancedSoftmax,
    limits=(Limit({}, "logit_adjustment", {"tau": 1.0}),),
    citation=r"""@inproceedings{ren2020balanced,
  title = {Balanced Meta-Softmax for Long-Tailed Visual Recognition},
  author = {Ren, Jiawei and Yu, Cunjun and Sheng, Shunan and Ma, Xiao and Zhao, Haiyu and Yi, Shuai and Li, Hongsheng},
  booktitle = {NeurIPS}, year = {2020}
}""",
)
