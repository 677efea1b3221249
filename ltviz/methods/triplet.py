"""Triplet loss: an image should lie nearer to its own class than to any other, by a margin."""

from __future__ import annotations

import torch
from torch import Tensor

from ..functional import pair_masks, squared_distances, unit
from ..objective import BASE, Limit, Method, Objective, Output, Regularizer, Setting


def triplet_loss(features: Tensor, targets: Tensor, margin: float) -> Tensor:
    """Mean over the violating triplets of a batch.

        max(0, ||x_a - x_p||^2 - ||x_a - x_n||^2 + m),   a, p of one class, n of another

    features (n, d), targets (n,), margin m in squared distance. A scalar; 0, with a graph, where none is violated.
    How often each pair takes part is counted by sorting per anchor: n^2 log n, and no cube of triplets is ever made.
    Source: Schroff et al. 2015, eq. (1); mean over violating triplets as Darkwah & Kang 2023 use it.
    """
    distance = squared_distances(features, features)
    positive, negative = pair_masks(targets)
    with torch.no_grad():
        reach = torch.where(positive, distance + margin, torch.inf)
        other = torch.where(negative, distance, torch.inf)
        # as a positive: how many negatives are nearer than its reach; as a negative: how many reach beyond it
        nearer = torch.searchsorted(other.sort(1).values, torch.where(positive, reach, -torch.inf).contiguous())
        within = torch.searchsorted(reach.sort(1).values, torch.where(negative, other, -torch.inf), right=True)
        beyond = torch.where(negative, positive.sum(1, keepdim=True) - within, 0)
        nearer = torch.where(positive, nearer, 0)
        violating = nearer.sum().clamp_min(1)
    total = (nearer * (distance + margin)).sum() - (beyond * distance).sum()
    return total / violating


class Triplet(Regularizer):
    """A base loss, and a pull of each image towards its class and away from the others.

        L = L_base + lambda / |T| sum_{(a, p, n) in T} ( ||x_a - x_p||^2 - ||x_a - x_n||^2 + m )

    T the violating triplets of the batch (a, p of one class, n of another); x (n, d) features, at length 1 for
    `embedding="unit"` (default; then m lies in [0, 4]) or as they are ("raw"); lambda `strength`, m `margin`.
    Source: Schroff et al. 2015; as an addition to a classification loss, Darkwah & Kang 2023, who leave the margin and
    the scaling of the features open.
    Known to fail: raw features under an unclipped gradient explode; alone it does next to nothing for the tail, whose
    images are too rare in a batch to form pairs.
    """

    name = "triplet"

    def __init__(self, counts: Tensor, base: Objective, strength: float, margin: float, embedding: str):
        super().__init__(counts, base)
        self.strength, self.margin, self.embedding = strength, margin, embedding

    def penalty(self, out: Output, targets: Tensor) -> Tensor:
        features = unit(out.features) if self.embedding == "unit" else out.features
        return self.strength * triplet_loss(features, targets, self.margin)


MARGIN = Setting(0.2, 0.0, 4.0, symbol="m", meaning="how much nearer its own class must be, in squared distance")
EMBEDDING = Setting("unit", choices=("unit", "raw"), meaning="features at length 1, or as they are")

METHOD = Method(
    key="triplet",
    title="Triplet loss",
    paper="Schroff et al. 2015",
    equation=r"L = L_{\mathrm{base}} + \frac{\lambda}{|T|} \sum_{(a,p,n) \in T} "
    r"\left[\lVert x_a - x_p \rVert^2 - \lVert x_a - x_n \rVert^2 + m\right]_+",
    objective=Triplet,
    settings={
        "base": BASE,
        "strength": Setting(0.1, 0.0, 10.0, "log", symbol="λ", meaning="strength of the triplet term"),
        "margin": MARGIN,
        "embedding": EMBEDDING,
    },
    limits=(Limit({"strength": 0.0}, "ce"),),
    citation=r"""@inproceedings{schroff2015facenet,
  title = {{FaceNet}: A Unified Embedding for Face Recognition and Clustering},
  author = {Schroff, Florian and Kalenichenko, Dmitry and Philbin, James},
  booktitle = {CVPR}, pages = {815--823}, year = {2015}
}""",
)
