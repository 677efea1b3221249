"""Dual ring loss: a ring for the features and a ring for the classifier rows."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..objective import BASE, Limit, Method, Objective, Output, Regularizer, Setting
from .ring import ring_penalty, start_once


def dual_ring_penalty(
    features: Tensor, head_weight: Tensor, feature_target: Tensor | float, weight_target: Tensor | float,
    feature_strength: float, weight_strength: float,
) -> Tensor:  # fmt: skip
    """Both rings.

        lambda_1 / (2n) sum_i ( ||x_i|| - alpha )^2 + lambda_2 / (2k) sum_j ( ||W_j|| - beta )^2

    features x (n, d); head_weight W (k, d); targets alpha, beta >= 0; strengths lambda_1, lambda_2 >= 0. A scalar.
    Source: Li et al. 2020, eq. (3).
    """
    ring = feature_strength * ring_penalty(features, feature_target, "squared")
    return ring + weight_strength * ring_penalty(head_weight, weight_target, "squared")


class DualRing(Regularizer):
    """Dual ring loss: a base loss, a ring for the features and a ring for the classifier rows.

        L = L_base + lambda_1 / (2n) sum_i ( ||x_i|| - alpha )^2 + lambda_2 / (2k) sum_j ( ||W_j|| - beta )^2

    x (n, d) features of the batch; W (k, d) rows of all classes; alpha, beta target lengths; lambda_1, lambda_2 >= 0,
    `feature_strength` and `weight_strength`.
    Source: Li et al. 2020, eq. (3) and (4), which say nothing of the targets or of the strengths. `target`: "learned"
    (default: alpha and beta are trained, and start once at the mean lengths in the first step), "fixed" (at
    `feature_target` and `weight_target`), "mean" (of each batch and of the rows, constants for the gradient).
    Known to fail: learned or mean targets are content with equal norms of any size, so all lengths may drift together.
    On images at 16 x 16 it does next to nothing. Equal rows alone hardly help the tail.
    """

    def __init__(
        self, counts: Tensor, base: Objective, feature_strength: float, weight_strength: float, target: str,
        feature_target: float, weight_target: float,
    ):  # fmt: skip
        super().__init__(counts, base)
        self.feature_strength, self.weight_strength, self.target = feature_strength, weight_strength, target
        for name, value in (("feature_target", feature_target), ("weight_target", weight_target)):
            start = torch.tensor(float(value))
            if target == "learned":
                self.register_parameter(name, nn.Parameter(start))
            else:
                self.register_buffer(name, start)
        self.register_buffer("initialised", torch.tensor(target == "fixed"))

    def radii(self, out: Output) -> tuple[Tensor, Tensor]:
        """alpha and beta. The "mean" radii are never initialised: they are those of every batch anew."""
        alpha = start_once(self.feature_target, self.initialised, out.features)
        return alpha, start_once(self.weight_target, self.initialised, out.head_weight)

    def terms(self, out: Output, targets: Tensor) -> dict[str, Tensor]:
        alpha, beta = self.radii(out)
        return {  # the two parts of `dual_ring_penalty` apart, so that the history of a run shows each
            **self.base.terms(out, targets),
            "feature_ring": self.feature_strength * ring_penalty(out.features, alpha, "squared"),
            "weight_ring": self.weight_strength * ring_penalty(out.head_weight, beta, "squared"),
        }

    @torch.no_grad()
    def after_step(self, out: Output, targets: Tensor) -> None:
        super().after_step(out, targets)
        if self.target == "learned" and len(out.features):
            alpha, beta = self.radii(out)
            self.feature_target.copy_(alpha)
            self.weight_target.copy_(beta)
            self.initialised.fill_(True)


RINGS = {
    "feature_strength": Setting(0.01, 0.0, 1.0, "log", symbol="λ₁", meaning="strength of the ring of the features"),
    "weight_strength": Setting(0.01, 0.0, 10.0, "log", symbol="λ₂", meaning="strength of the ring of classifier rows"),
    "target": Setting("learned", choices=("learned", "fixed", "mean"), meaning="where the two radii come from"),
    "feature_target": Setting(
        10.0,
        0.1,
        100.0,
        "log",
        symbol="α",
        meaning="radius of the features where it is fixed",
        when={"target": ("fixed",)},
    ),
    "weight_target": Setting(
        1.5, 0.1, 10.0, "log", symbol="β", meaning="radius of the rows where it is fixed", when={"target": ("fixed",)}
    ),
}
CITATION = r"""@inproceedings{li2020dual,
  title = {Dual Loss for Manga Character Recognition with Imbalanced Training Data},
  author = {Li, Yonggang and others},
  booktitle = {ICPR}, year = {2020}
}"""

METHOD = Method(
    key="dual_ring",
    title="Dual ring loss",
    paper="Li et al. 2020, eq. (3)",
    equation=r"L = L_{\mathrm{base}} + \frac{\lambda_1}{2n} \sum_i \left(\lVert x_i \rVert - \alpha\right)^2 "
    r"+ \frac{\lambda_2}{2k} \sum_j \left(\lVert W_j \rVert - \beta\right)^2",
    objective=DualRing,
    settings={"base": BASE, **RINGS},
    limits=(
        Limit({"feature_strength": 0.0, "weight_strength": 0.0}, "ce"),
        Limit({"feature_strength": 0.0, "target": "mean"}, "up", {"reading": "all"}),
    ),
    citation=CITATION,
)
