"""CosFace and AM-Softmax: a margin on the cosine of the target class. One loss, published twice, at two scales."""

from __future__ import annotations

from torch import Tensor, nn

from ..functional import cross_entropy, one_hot
from ..models import CosineHead
from ..objective import Limit, Method, Objective, Output, Setting
from .normface import cosines


def margin_loss(cosine: Tensor, targets: Tensor, margin: Tensor | float, scale: Tensor | float) -> Tensor:
    """Softmax cross-entropy with a margin subtracted from the cosine of the target class.

        l_i = -log( e^{s (cos_{i,y_i} - m_i)} / (e^{s (cos_{i,y_i} - m_i)} + sum_{j != y_i} e^{s cos_ij}) )

    cosine (n, k); targets (n,); margin m, a number or (n,), in units of cosine; scale s > 0. Losses (n,).
    Source: Wang et al. 2018 (CosFace), eq. (4); Wang et al. 2018 (AM-Softmax), eq. (6).
    """
    if isinstance(margin, Tensor):
        margin = margin.to(cosine).reshape(-1, 1)
    return cross_entropy(scale * (cosine - margin * one_hot(targets, cosine)), targets)


class CosFace(Objective):
    """Softmax over cosines with a margin m >= 0 (`margin_loss`): the target must win by m. No margin at test time.

    The same loss as AM-Softmax. The scale, in the head, is where they differ: 64 in CosFace, 30 in AM-Softmax, and each
    record has its own as the default. Public codes of CosFace take a margin of 0.35 or of 0.40; the default is the
    paper's 0.35.
    Known to fail: the margin is the same for every class, so a long tail stays one. Where training is short and images
    are hard (16 x 16) it costs a few points; on digits it gains some. 64 is large for few classes (try 16 to 30).
    Without clipped gradients small runs diverge now and then.
    """

    def __init__(self, counts: Tensor, margin: float, scale: float):
        super().__init__(counts)
        self.margin, self.scale = margin, scale

    def make_head(self, dim: int) -> nn.Module:
        return CosineHead(dim, self.k, self.scale)

    def losses(self, out: Output, targets: Tensor) -> Tensor:
        return margin_loss(cosines(out), targets, self.margin, out.scale)


class AMSoftmax(CosFace):
    """Additive-margin softmax: the loss of CosFace, found at the same time; margin 0.35 and scale 30 as in their code.

    Known to fail: as CosFace: the margin does not know the counts.
    """


EQUATION = (
    r"\ell_i = -\log \frac{e^{s(\cos\theta_{i,y_i} - m)}}"
    r"{e^{s(\cos\theta_{i,y_i} - m)} + \sum_{j \ne y_i} e^{s\cos\theta_{ij}}}"
)
MARGIN = Setting(0.35, 0.0, 1.0, symbol="m", meaning="margin by which the target's cosine must win")

METHODS = (
    Method(
        key="cosface",
        title="CosFace",
        paper="Wang et al. 2018, CosFace",
        equation=EQUATION,
        objective=CosFace,
        settings={
            "margin": MARGIN,
            "scale": Setting(64.0, 1.0, 64.0, "log", symbol="s", meaning="scale of the logits"),
        },
        limits=(Limit({"margin": 0.0, "scale": 30.0}, "normface", {"scale": 30.0}),),
        citation=r"""@inproceedings{wang2018cosface,
  title = {{CosFace}: Large Margin Cosine Loss for Deep Face Recognition},
  author = {Wang, Hao and Wang, Yitong and Zhou, Zheng and Ji, Xing and Gong, Dihong and Zhou, Jingchao and Li, Zhifeng
            and Liu, Wei},
  booktitle = {CVPR}, year = {2018}
}""",
    ),
    Method(
        key="am_softmax",
        title="AM-Softmax",
        paper="Wang et al. 2018, AM-Softmax",
        equation=EQUATION,
        objective=AMSoftmax,
        settings={
            "margin": MARGIN,
            "scale": Setting(30.0, 1.0, 64.0, "log", symbol="s", meaning="scale of the logits"),
        },
        limits=(Limit({}, "cosface", {"scale": 30.0}),),
        citation=r"""@article{wang2018additive,
  title = {Additive Margin Softmax for Face Verification},
  author = {Wang, Feng and Cheng, Jian and Liu, Weiyang and Liu, Haijun},
  journal = {IEEE Signal Processing Letters}, volume = {25}, number = {7}, year = {2018}
}""",
    ),
)
