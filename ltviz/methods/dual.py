"""Dual loss: the dual ring loss, with its classification term re-weighted by DARL."""

from __future__ import annotations

from torch import Tensor

from ..objective import BASE, Limit, Method, Objective
from .darl import DARL, WEIGHTS
from .dual_ring import CITATION, RINGS, DualRing


class Dual(DualRing):
    """Dual loss: DARL's re-weighted loss in place of the plain one, plus both rings.

        L = 1/n sum_i w_i l_i + lambda_1 / (2n) sum_i ( ||x_i|| - alpha )^2 + lambda_2 / (2k) sum_j ( ||W_j|| - beta )^2

    l (n,) losses of the base, w (n,) weights as in DARL (lambda_3, lambda_4), rings and targets as in dual ring loss.
    Where each part is computed: one ring in `ring.ring_penalty`, both of eq. (3) in `DualRing.terms`, r of eq. (5) and
    (6) in `darl.relative_length`, w in `darl.darl_weights`, eq. (7) in `DARL.losses`; eq. (8) sums all `terms`.
    The plain loss does not come in again. Source: Li et al. 2020, eq. (8); strengths, targets and whether the weights
    are constants for the gradient are not published: options, with the defaults of the two parts.
    Known to fail: on small digits the rings alone do better. The rings make the lengths equal, and the weights, which
    are relative to the shortest and the longest, then magnify what small differences are left.
    """

    def __init__(
        self, counts: Tensor, base: Objective, feature_strength: float, weight_strength: float, target: str,
        feature_target: float, weight_target: float, class_strength: float, sample_strength: float, detach: bool,
    ):  # fmt: skip
        weighted = DARL(counts, base, class_strength, sample_strength, detach)
        super().__init__(counts, weighted, feature_strength, weight_strength, target, feature_target, weight_target)


METHOD = Method(
    key="dual",
    title="Dual loss",
    paper="Li et al. 2020, eq. (8)",
    equation=r"L = \frac{1}{n} \sum_i w_i \ell_i "
    r"+ \frac{\lambda_1}{2n} \sum_i \left(\lVert x_i \rVert - \alpha\right)^2 "
    r"+ \frac{\lambda_2}{2k} \sum_j \left(\lVert W_j \rVert - \beta\right)^2",
    objective=Dual,
    settings={"base": BASE, **RINGS, **WEIGHTS},
    limits=(
        Limit({"feature_strength": 0.0, "weight_strength": 0.0}, "darl"),
        Limit({"class_strength": 0.0, "sample_strength": 0.0}, "dual_ring"),
    ),
    smooth={"detach": False},
    citation=CITATION,
)
