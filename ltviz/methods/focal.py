"""Focal loss: images that are already right count less."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..check import refuse
from ..functional import cross_entropy, one_hot
from ..objective import Limit, Method, Objective, Output, Setting
from .sigmoid import DECAY_BIAS, prior_head, signed_logits

SMALLEST = 1e-30  # a loss: below it the slope of log(1 - exp(-loss)) leaves float32


def focal_loss(logits: Tensor, targets: Tensor, gamma: float, form: str) -> Tensor:
    """Cross-entropy times (1 - p)^gamma, p the probability of the right answer.

        softmax:  l_i = -(1 - p_i)^gamma log p_i,                    p_i = softmax(z_i)[y_i]
        sigmoid:  l_i = -sum_j (1 - p^t_ij)^gamma log p^t_ij,        p^t_ij = sigmoid(z_ij if j = y_i else -z_ij)

    logits (n, k); targets (n,); gamma >= 0; losses (n,). The power is taken as exp(gamma log(1 - p)), with log(1 - p)
    from the logits: (1 - p)^gamma itself has an infinite slope at p = 1 for gamma < 1.
    Source: Lin et al. 2017, eq. (4); the sigmoid form as in Cui et al. 2019, section 4.3.
    """
    if form == "softmax":
        others = torch.logsumexp(logits.masked_fill(one_hot(targets, logits).bool(), -torch.inf), 1)
        log_wrong = others - torch.logsumexp(logits, 1)
        return torch.exp(gamma * log_wrong) * cross_entropy(logits, targets)
    if form == "sigmoid":
        signed = signed_logits(logits, targets)
        return (torch.exp(gamma * F.logsigmoid(-signed)) * F.softplus(-signed)).sum(1)
    raise refuse("form", form, "'softmax' or 'sigmoid'")


def focal_of_weighted(logits: Tensor, targets: Tensor, class_weight: Tensor, gamma: float) -> Tensor:
    """Softmax focal loss whose p is that of the weighted loss, before its outer class weight.

        l_i = -(1 - p_i^{w_{y_i}})^gamma log p_i,    p_i = softmax(z_i)[y_i]

    The class weight w (k,) makes p^w = exp(w log p) of p: a heavy class looks harder than it is, a light one easier.
    logits z (n, k); targets (n,); losses (n,), still to be multiplied by w[y]. With w = 1 it is the softmax form.
    Source: the code of Cao et al. 2019 (cross-entropy with class weights, then the factor), which takes gamma 1.
    """
    loss = cross_entropy(logits, targets)
    weighted = (class_weight.to(loss)[targets] * loss).clamp_min(SMALLEST)
    return torch.exp(gamma * torch.log(-torch.expm1(-weighted))) * loss


class Focal(Objective):
    """Focal loss (`focal_loss`): the factor (1 - p)^gamma down-weights easy images; gamma 0 is cross-entropy.

    The loss was published for sigmoids (detection), and the class-balanced paper uses that form; most long-tail code
    uses softmax, the default here. The sigmoid form has the head of `sigmoid`. Class weights multiply the result and do
    not enter p, but for `form="weighted_softmax"`, where p is that of the weighted loss (`focal_of_weighted`).
    Known to fail: hard is not rare. Without class weights it gains a point or two at most on the recorded sets, less
    than re-weighting does; a large gamma shrinks the gradient of everything.
    """

    def __init__(self, counts: Tensor, gamma: float, form: str, decay_bias: bool | str):
        super().__init__(counts)
        self.gamma, self.form, self.decay_bias = gamma, form, decay_bias

    def make_head(self, dim: int) -> nn.Module:
        return prior_head(dim, self.k, self.decay_bias) if self.form == "sigmoid" else super().make_head(dim)

    def losses(self, out: Output, targets: Tensor) -> Tensor:
        if self.form == "weighted_softmax":
            return focal_of_weighted(out.logits, targets, self.class_weight, self.gamma)
        return focal_loss(out.logits, targets, self.gamma, self.form)


METHOD = Method(
    key="focal",
    title="Focal loss",
    paper="Lin et al. 2017",
    equation=r"\ell_i = -(1 - p_{i,y_i})^\gamma \log p_{i,y_i} \;\text{(softmax)}, \qquad "
    r"\ell_i = -\sum_j (1 - p^t_{ij})^\gamma \log p^t_{ij} \;\text{(sigmoid)}",
    objective=Focal,
    settings={
        "gamma": Setting(2.0, 0.0, 5.0, symbol="γ", meaning="focusing: how much less easy images count"),
        "form": Setting(
            "softmax",
            choices=("softmax", "sigmoid", "weighted_softmax"),
            meaning="where the probability p comes from",
        ),
        "decay_bias": replace(DECAY_BIAS, when={"form": ("sigmoid",)}),
    },
    limits=(
        Limit({"gamma": 0.0}, "ce"),
        Limit({"gamma": 0.0, "form": "sigmoid"}, "sigmoid"),
        Limit({"gamma": 0.0, "form": "weighted_softmax"}, "ce"),
    ),
    probability=lambda form: form.removeprefix("weighted_"),
    citation=r"""@inproceedings{lin2017focal,
  title = {Focal Loss for Dense Object Detection},
  author = {Lin, Tsung-Yi and Goyal, Priya and Girshick, Ross and He, Kaiming and Doll{\'a}r, Piotr},
  booktitle = {ICCV}, year = {2017}
}""",
)
