"""ArcFace: a margin on the angle between the feature and the target's classifier row."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..functional import cross_entropy, one_hot, target_entries
from ..models import CosineHead
from ..objective import Limit, Method, Objective, Output, Setting
from .normface import cosines

EDGE = 1e-7  # in float32, the last step before cos = 1, where the slope of the angle is infinite


def arcface_cosine(cosine: Tensor, margin: float, guard: str, gradient: str) -> Tensor:
    """The target's cosine after a margin on its angle.

        cos(theta + m) = cos(theta) cos(m) - sin(theta) sin(m)

    cosine cos(theta), any shape, clamped to [-1 + 1e-7, 1 - 1e-7]; margin m in radians. Beyond theta = pi - m, where
    cos(theta + m) would rise again, guard "linear" takes cos(theta) - m sin(m) instead, "none" takes no such care.
    gradient "exact", or "straight_through": the margin is a constant, so that d/d cos(theta) = 1.
    """
    c = cosine.clamp(-1.0 + EDGE, 1.0 - EDGE)
    moved = c * math.cos(margin) - ((1.0 - c) * (1.0 + c)).sqrt() * math.sin(margin)
    if guard == "linear":
        moved = torch.where(cosine >= -math.cos(margin), moved, cosine - margin * math.sin(margin))
    return cosine + (moved - cosine).detach() if gradient == "straight_through" else moved


def arcface_loss(
    cosine: Tensor, targets: Tensor, margin: float, scale: Tensor | float, guard: str, gradient: str
) -> Tensor:
    """Softmax cross-entropy with a margin on the target's angle; cosine (n, k), targets (n,) -> losses (n,).

        l_i = -log( e^{s cos(theta_{i,y_i} + m)} / (e^{s cos(theta_{i,y_i} + m)} + sum_{j != y_i} e^{s cos theta_ij}) )

    margin m, guard and gradient as in `arcface_cosine`; scale s > 0. Source: Deng et al. 2019, eq. (3).
    """
    moved = arcface_cosine(target_entries(cosine, targets), margin, guard, gradient)
    return cross_entropy(scale * torch.where(one_hot(targets, cosine) > 0, moved[:, None], cosine), targets)


class ArcFace(Objective):
    """Softmax over cosines with a margin on the target's angle (`arcface_loss`), none at test time.

    m >= 0 in radians; s > 0 the scale, in the head. m = 0.5 is the paper's; s = 64 there, 30 here, as the networks here
    have few classes and short features. The paper has no guard; public codes differ in theirs, and in whether the
    gradient knows of the margin (`arcface_cosine`): here the gradient is exact and the angle guarded, by default.
    Known to fail: the margin does not know the counts. Where training is short and images are hard (16 x 16) it
    costs many points; on digits it gains some. It diverges now and then without a clipped gradient.
    """

    def __init__(self, counts: Tensor, margin: float, scale: float, guard: str, gradient: str):
        super().__init__(counts)
        self.margin, self.scale, self.guard, self.gradient = margin, scale, guard, gradient

    def make_head(self, dim: int) -> nn.Module:
        return CosineHead(dim, self.k, self.scale)

    def losses(self, out: Output, targets: Tensor) -> Tensor:
        return arcface_loss(cosines(out), targets, self.margin, out.scale, self.guard, self.gradient)


METHOD = Method(
    key="arcface",
    title="ArcFace",
    paper="Deng et al. 2019",
    equation=r"\ell_i = -\log \frac{e^{s\cos(\theta_{i,y_i} + m)}}"
    r"{e^{s\cos(\theta_{i,y_i} + m)} + \sum_{j \ne y_i} e^{s\cos\theta_{ij}}}",
    objective=ArcFace,
    settings={
        "margin": Setting(0.5, 0.0, 1.5, symbol="m", meaning="margin on the target's angle, in radians"),
        "scale": Setting(30.0, 1.0, 64.0, "log", symbol="s", meaning="scale of the logits"),
        "guard": Setting("linear", choices=("linear", "none"), meaning="what replaces cos(θ + m) beyond θ = π - m"),
        "gradient": Setting("exact", choices=("exact", "straight_through"), meaning="gradient of the margin"),
    },
    limits=(
        Limit({"margin": 0.0}, "normface", {"scale": 30.0}),
        Limit({"margin": 0.0, "gradient": "straight_through", "guard": "none"}, "normface", {"scale": 30.0}),
    ),
    smooth={"gradient": "exact"},
    citation=r"""@inproceedings{deng2019arcface,
  title = {{ArcFace}: Additive Angular Margin Loss for Deep Face Recognition},
  author = {Deng, Jiankang and Guo, Jia and Xue, Niannan and Zafeiriou, Stefanos},
  booktitle = {CVPR}, year = {2019}
}""",
)
