"""Seesaw loss: images of a frequent class push a rarer class down less, unless they are mistaken for it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..functional import cross_entropy, one_hot, target_entries
from ..objective import Limit, Method, Objective, Output, Setting


def seesaw_loss(logits: Tensor, targets: Tensor, counts: Tensor, p: float, q: float, eps: float = 0.01) -> Tensor:
    """Softmax cross-entropy with every other class's exponential scaled by two factors.

        l_i = -log( e^{z_{i,y_i}} / sum_j S_ij e^{z_ij} ),    S_ij = M_ij C_ij,  S_{i,y_i} = 1
        mitigation    M_ij = min(1, N_j / N_{y_i})^p
        compensation  C_ij = max(1, sigma_ij / max(sigma_{i,y_i}, eps))^q

    logits z (n, k); targets (n,); counts N (k,), a class with none counting as one; sigma = softmax(z), a constant for
    the gradient; p, q >= 0. Losses (n,). Source: Wang et al. 2021, section 3; eps as in mmdetection.
    """
    log_n = counts.clamp_min(1).to(logits.dtype).log()
    mitigation = p * (log_n[None] - log_n[targets][:, None]).clamp_max(0.0)
    log_sigma = torch.log_softmax(logits.detach(), 1)
    of_target = target_entries(log_sigma, targets).clamp_min(math.log(eps))
    compensation = q * (log_sigma - of_target[:, None]).clamp_min(0.0)
    others = 1.0 - one_hot(targets, logits)
    return cross_entropy(logits + others * (mitigation + compensation), targets)


class Seesaw(Objective):
    """Seesaw loss: rarer classes are pushed down less (mitigation), unless they are wrongly preferred (compensation).

    As `seesaw_loss`, with N (k,) the images of each class that training has seen so far, those of this batch among
    them. In evaluation mode a batch is looked at without being counted. p = 0.8, q = 2 are the paper's; its objectness
    branch, for detection, is left out.
    Known to fail: in its first steps the counts are those of a few batches, in which a rare class may not occur at all.
    It trusts the network's own mistakes: with noisy labels compensation amplifies them.
    """

    def __init__(self, counts: Tensor, p: float, q: float):
        super().__init__(counts)
        self.p, self.q = p, q
        self.register_buffer("seen", torch.zeros(self.k, dtype=torch.int64))

    def losses(self, out: Output, targets: Tensor) -> Tensor:
        seen = self._with(out, targets) if self.training else self.seen
        return seesaw_loss(out.logits, targets, seen, self.p, self.q)

    @torch.no_grad()
    def after_step(self, out: Output, targets: Tensor) -> None:
        self.seen.copy_(self._with(out, targets))

    def _with(self, out: Output, targets: Tensor) -> Tensor:
        """The images seen (k,), this batch included."""
        return self.seen + one_hot(targets, out.logits).sum(0).to(self.seen.dtype)


METHOD = Method(
    key="seesaw",
    title="Seesaw loss",
    paper="Wang et al. 2021",
    equation=r"\ell_i = -\log \frac{e^{z_{i,y_i}}}{\sum_j S_{ij} e^{z_{ij}}}, \quad S_{ij} = "
    r"\min\!\left(1, \tfrac{N_j}{N_{y_i}}\right)^{p} \max\!\left(1, \tfrac{\sigma_{ij}}{\sigma_{i,y_i}}\right)^{q}",
    objective=Seesaw,
    settings={
        "p": Setting(0.8, 0.0, 2.0, symbol="p", meaning="mitigation: how little rare classes are pushed down"),
        "q": Setting(2.0, 0.0, 4.0, symbol="q", meaning="compensation: how strongly a wrongly preferred class is"),
    },
    limits=(Limit({"p": 0.0, "q": 0.0}, "ce"),),
    smooth={"q": 0.0},
    citation=r"""@inproceedings{wang2021seesaw,
  title = {Seesaw Loss for Long-Tailed Instance Segmentation},
  author = {Wang, Jiaqi and Zhang, Wenwei and Zang, Yuhang and Cao, Yuhang and Pang, Jiangmiao and Gong, Tao
            and Chen, Kai and Liu, Ziwei and Loy, Chen Change and Lin, Dahua},
  booktitle = {CVPR}, year = {2021}
}""",
)
