"""LDAM: a margin for each class, the larger the rarer it is; alone, and with deferred re-weighting."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..functional import cross_entropy, one_hot
from ..models import CosineHead
from ..objective import Limit, Method, Objective, Output, Setting
from .deferred import CITATION, REWEIGHTING, reweighting_stages
from .normface import cosines


def ldam_margins(counts: Tensor, max_margin: float) -> Tensor:
    """Margin of each class.

        Delta_j = K / n_j^{1/4},  K such that max_j Delta_j = max_margin

    counts n (k,); max_margin >= 0 in units of cosine. Margins (k,), float32; a class without images has 0.
    Source: Cao et al. 2019, eq. (12).
    """
    present = counts > 0
    rarity = torch.where(present, counts.to(torch.float64).clamp_min(1.0).pow(-0.25), 0.0)
    return (max_margin * rarity / rarity.max()).to(torch.float32)


def ldam_loss(cosine: Tensor, targets: Tensor, margins: Tensor, scale: Tensor | float) -> Tensor:
    """Softmax cross-entropy with the class's margin subtracted from the target's cosine, before the scale.

        l_i = -log( e^{z_{i,y_i}} / sum_j e^{z_ij} ),    z_ij = s (cos_ij - Delta_j 1[j = y_i])

    cosine (n, k); targets (n,); margins Delta (k,) in units of cosine; scale s > 0. Losses (n,).
    Source: Cao et al. 2019, eq. (13).
    """
    return cross_entropy(scale * (cosine - margins.to(cosine.dtype) * one_hot(targets, cosine)), targets)


class LDAM(Objective):
    """LDAM (`ldam_loss`): softmax over cosines with a margin for each class (`ldam_margins`), larger for rarer classes.

    No margin at test time. The scale s is in the head; the paper does not give it, its code has 30. The head's rows
    start as in that code: uniform in (-1, 1), then of unit length.
    Known to fail: where training is short and images are hard (16 x 16) the margins alone do nothing for the tail: its
    second stage (`ldam_drw`) does. Digits, learned by heart, show the opposite. It diverges now and then unless the
    gradient's norm is clipped.
    """

    def __init__(self, counts: Tensor, max_margin: float, scale: float):
        super().__init__(counts)
        self.scale = scale
        self.register_buffer("margins", ldam_margins(self.counts, max_margin))

    def make_head(self, dim: int) -> nn.Module:
        return CosineHead(dim, self.k, self.scale)

    def losses(self, out: Output, targets: Tensor) -> Tensor:
        return ldam_loss(cosines(out), targets, self.margins, out.scale)


class LDAMDeferred(LDAM):
    """LDAM with deferred re-weighting: margins from the start, class weights for the last part of training.

        L = sum_i w_{y_i} l_i / sum_i w_{y_i},    w_j = 1 at first, then  w_j ~ (1 - beta) / (1 - beta^{n_j})

    l (n,) losses of LDAM; n_j counts; beta in [0, 1], of which 1 is w_j ~ 1 / n_j, the paper's Algorithm 1; the weights
    begin after the share `deferral` of the epochs (0.8: epoch 160 of 200).
    Source: Cao et al. 2019, Algorithm 1; beta 0.9999 in their code. `reduction="weight"` (default) divides by the sum
    of the weights, as their code does, "n" by the number of samples.
    Known to fail: margins and weights both push the tail, so the head pays most where its images are many and hard; on
    a small set that is learned by heart before the weights begin, they add nothing.
    """

    def __init__(self, counts: Tensor, max_margin: float, scale: float, reduction: str):
        super().__init__(counts, max_margin, scale)
        self.reduction = reduction


MARGINS = {
    "max_margin": Setting(0.5, 0.0, 1.0, symbol="C", meaning="margin of the rarest class"),
    "scale": Setting(30.0, 1.0, 64.0, "log", symbol="s", meaning="scale of the logits"),
}
EQUATION = (
    r"\ell_i = -\log \frac{e^{s(\cos\theta_{i,y_i} - \Delta_{y_i})}}{e^{s(\cos\theta_{i,y_i} - \Delta_{y_i})} "
    r"+ \sum_{j \ne y_i} e^{s\cos\theta_{ij}}}, \quad \Delta_j = \frac{K}{n_j^{1/4}}"
)

METHODS = (
    Method(
        key="ldam",
        title="LDAM",
        paper="Cao et al. 2019",
        equation=EQUATION,
        objective=LDAM,
        settings=MARGINS,
        limits=(Limit({"max_margin": 0.0}, "normface", {"scale": 30.0}),),
        citation=CITATION,
    ),
    Method(
        key="ldam_drw",
        title="LDAM with deferred re-weighting",
        paper="Cao et al. 2019, Algorithm 1",
        equation=EQUATION + r", \quad w_j = 1 \text{ at first, then } w_j \propto \frac{1 - \beta}{1 - \beta^{n_j}}",
        objective=LDAMDeferred,
        settings={**MARGINS, **REWEIGHTING},
        stages=reweighting_stages,
        limits=(Limit({"beta": 0.0}, "ldam"), Limit({"max_margin": 0.0, "beta": 0.0}, "normface", {"scale": 30.0})),
        citation=CITATION,
    ),
)
