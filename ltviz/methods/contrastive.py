"""Contrastive loss beside classification: pairs of one class together, pairs of two classes a margin apart."""

from __future__ import annotations

import torch
from torch import Tensor

from ..functional import EPS, pair_masks, squared_distances, unit
from ..objective import BASE, Limit, Method, Objective, Output, Regularizer, Setting
from .triplet import EMBEDDING


def contrastive_loss(features: Tensor, targets: Tensor, margin: float, power: int) -> Tensor:
    """Mean over all pairs of a batch, with d the Euclidean distance.

        d^2 / 2  for two images of one class,   max(0, m - d)^2 / 2  for two of different classes

    features (n, d), targets (n,), margin m in distance; power 1 leaves out square and half. A scalar.
    Source: Hadsell et al. 2006, eq. (4); as the verification signal of Sun et al. 2014, eq. (3).
    """
    same, other = pair_masks(targets)
    distance = squared_distances(features, features).clamp_min(EPS).sqrt()
    gap = torch.where(same, distance, torch.where(other, (margin - distance).clamp_min(0.0), 0.0))
    pairs = max(len(targets) * (len(targets) - 1), 1)
    return (gap**power).sum() / (power * pairs)


class Contrastive(Regularizer):
    """Identification and verification together: a base loss, and the contrastive loss over all pairs of the batch.

        L = L_base + lambda mean_{i<j} [ d_ij^2 / 2 if y_i = y_j, else max(0, m - d_ij)^2 / 2 ]

    d_ij distance of the features x (n, d), at length 1 for `embedding="unit"` (default; then m lies in [0, 2]) or as
    they are ("raw"); lambda `strength`, m `margin`, `power=1` leaves out square and half.
    Source: Sun et al. 2014 (DeepID2), eq. (3) and (4), from memory of the paper: the mean over pairs and the defaults
    are not confirmed.
    Known to fail: pairs of the head outnumber all others, so it does nothing for the tail by itself.
    """

    name = "contrastive"

    def __init__(self, counts: Tensor, base: Objective, strength: float, margin: float, power: int, embedding: str):
        super().__init__(counts, base)
        self.strength, self.margin, self.power, self.embedding = strength, margin, power, embedding

    def penalty(self, out: Output, targets: Tensor) -> Tensor:
        features = unit(out.features) if self.embedding == "unit" else out.features
        return self.strength * contrastive_loss(features, targets, self.margin, self.power)


METHOD = Method(
    key="contrastive",
    title="Contrastive (identification and verification)",
    paper="Sun et al. 2014, DeepID2",
    equation=r"L = L_{\mathrm{base}} + \lambda\, \mathrm{mean}_{i<j} \left[ \tfrac12 d_{ij}^2 \text{ if } y_i = y_j, "
    r"\text{ else } \tfrac12 [m - d_{ij}]_+^2 \right]",
    objective=Contrastive,
    settings={
        "base": BASE,
        "strength": Setting(0.1, 0.0, 10.0, "log", symbol="λ", meaning="strength of the contrastive term"),
        "margin": Setting(1.0, 0.0, 4.0, symbol="m", meaning="distance at which two classes leave each other alone"),
        "power": Setting(2, choices=(2, 1), meaning="squared gaps with a half, or plain ones"),
        "embedding": EMBEDDING,
    },
    limits=(Limit({"strength": 0.0}, "ce"),),
    citation=r"""@inproceedings{sun2014deep,
  title = {Deep Learning Face Representation by Joint Identification-Verification},
  author = {Sun, Yi and Chen, Yuheng and Wang, Xiaogang and Tang, Xiaoou},
  booktitle = {NeurIPS}, year = {2014}
}""",
)
