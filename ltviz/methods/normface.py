"""NormFace: softmax over cosines. Features and classifier rows both lose their length; a scale replaces it."""

from __future__ import annotations

import math

from torch import Tensor, nn

from ..functional import cross_entropy
from ..models import CosineHead
from ..objective import Method, Objective, Output, Setting


def loss_bound(k: int, scale: float) -> float:
    """The smallest mean loss that k balanced classes can reach at scale s: without a scale, training cannot converge.

        log(1 + (k - 1) e^{-s k / (k - 1)})

    Source: Wang et al. 2017, Proposition 2, whose l^2 is this s. For k = 100: 3.612 at s = 1, 9.5e-6 at s = 16.
    """
    return math.log1p((k - 1) * math.exp(-scale * k / (k - 1)))


def cosines(out: Output) -> Tensor:
    """cos (n, k) between features and classifier rows. Raises ValueError where the network has no cosine head."""
    if out.scale is None:
        raise ValueError(
            "this loss acts on cosines, and the network's head has no scale: its logits are no cosines. "
            "Train with the head of the loss, objective.make_head(dim), or with another models.CosineHead."
        )
    return out.logits / out.scale


SCALE = {
    "scale": Setting(30.0, 1.0, 64.0, "log", symbol="s", meaning="scale of the logits, the inverse of a temperature"),
    "learn_scale": Setting(
        False, choices=(False, True), symbol="s", meaning="whether the scale is trained (without weight decay)"
    ),
}


class NormFace(Objective):
    """Softmax cross-entropy over s cos(x_i, W_j), without bias.

        l_i = -log( e^{s cos_{i,y_i}} / sum_j e^{s cos_ij} )

    cos (n, k) are cosines; s > 0 is the scale, in the head. The norms of features and of classifier rows no longer
    carry anything: neither the count of a class nor the quality of an image.
    Source: Wang et al. 2017, section 3. Sources fix the scale (16 to 30 are usual) or learn it: fixed at 30 by default,
    `learn_scale=True` trains it.
    Known to fail: nothing in it knows the counts; cosines are imbalanced as well, and equal norms by themselves do not
    give the tail its accuracy. Small nets diverge at a learning rate of 0.1 unless the gradient's norm is clipped.
    """

    def __init__(self, counts: Tensor, scale: float, learn_scale: bool):
        super().__init__(counts)
        self.scale, self.learn_scale = scale, learn_scale

    def make_head(self, dim: int) -> nn.Module:
        return CosineHead(dim, self.k, self.scale, self.learn_scale)

    def losses(self, out: Output, targets: Tensor) -> Tensor:
        cosines(out)  # refuses a head that is none of ours
        return cross_entropy(out.logits, targets)


METHOD = Method(
    key="normface",
    title="NormFace",
    paper="Wang et al. 2017",
    equation=r"\ell_i = -\log \frac{e^{s\cos\theta_{i,y_i}}}{\sum_j e^{s\cos\theta_{ij}}}",
    objective=NormFace,
    settings=SCALE,
    citation=r"""@inproceedings{wang2017normface,
  title = {{NormFace}: {L2} Hypersphere Embedding for Face Verification},
  author = {Wang, Feng and Xiang, Xiang and Cheng, Jian and Yuille, Alan L.},
  booktitle = {ACM Multimedia}, year = {2017}
}""",
)
