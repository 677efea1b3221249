"""Label smoothing: the target is no longer all of one class; label-aware, frequent classes are smoothed more."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..functional import cross_entropy
from ..objective import Limit, Method, Objective, Output, Setting


def smoothing(counts: Tensor, head: float, tail: float, shape: str) -> Tensor:
    """How much of the target is spread over all classes, for each class (k,).

        t_j = (n_j - n_min) / (n_max - n_min)
        epsilon_j = tail + (head - tail) sin(pi t_j / 2)             "concave"
                  = tail + (head - tail) t_j                         "linear"
                  = head + (head - tail) sin(3 pi / 2 + pi t_j / 2)  "convex"
                  = head                                             "uniform"

    counts (k,); with equal counts every class has `head`. Source: Zhong et al. 2021 (MiSLAS) and their code.
    """
    n = counts.double()
    spread = n.max() - n.min()
    t = torch.ones_like(n) if shape == "uniform" else (n - n.min()) / torch.where(spread > 0, spread, 1.0)
    t = torch.where(spread > 0, t, 1.0)
    if shape == "concave":
        return tail + (head - tail) * torch.sin(math.pi * t / 2)
    if shape == "convex":
        return head + (head - tail) * torch.sin(1.5 * math.pi + math.pi * t / 2)
    return tail + (head - tail) * t


class LabelSmoothing(Objective):
    """Cross-entropy against a target of which epsilon is spread evenly over all k classes.

        l_i = -(1 - epsilon_{y_i}) log p_{i,y_i} - epsilon_{y_i} / k sum_j log p_ij

    "uniform" is that of Szegedy et al. 2016 with epsilon = head for every class. The others are label-aware, as in
    `smoothing`; Zhong et al. 2021 use them in a second stage, on balanced batches, and here they are a loss of their
    own. Their code spreads epsilon over all k classes, and so does this.
    Known to fail: on images that are hard (16 x 16) it corrects confidence, and the rare classes stay where they are;
    on digits, learned by heart, the label-aware ones gain as much as class weights do.
    """

    def __init__(self, counts: Tensor, head: float, tail: float, shape: str):
        super().__init__(counts)
        self.register_buffer("epsilon", smoothing(self.counts, head, tail, shape).float())

    def losses(self, out: Output, targets: Tensor) -> Tensor:
        epsilon = self.epsilon.to(out.logits.dtype)[targets]
        spread = -out.logits.log_softmax(1).mean(1)
        return (1.0 - epsilon) * cross_entropy(out.logits, targets) + epsilon * spread


METHOD = Method(
    key="label_smoothing",
    title="Label smoothing",
    paper="Szegedy et al. 2016; Zhong et al. 2021",
    equation=r"\ell_i = -(1 - \varepsilon_{y_i}) \log p_{i,y_i} - \frac{\varepsilon_{y_i}}{k} \sum_j \log p_{ij}",
    objective=LabelSmoothing,
    settings={
        "head": Setting(0.3, 0.0, 0.9, symbol="ε₁", meaning="of the most frequent class; uniform: of all"),
        "tail": Setting(
            0.0, 0.0, 0.9, symbol="εₖ", meaning="of the rarest class", when={"shape": ("concave", "linear", "convex")}
        ),
        "shape": Setting(
            "concave", choices=("concave", "linear", "convex", "uniform"), meaning="how epsilon follows the counts"
        ),
    },
    limits=(Limit({"head": 0.0, "tail": 0.0}, "ce"), Limit({"head": 0.0, "shape": "uniform"}, "ce")),
    citation=r"""@inproceedings{szegedy2016rethinking,
  title = {Rethinking the Inception Architecture for Computer Vision},
  author = {Szegedy, Christian and Vanhoucke, Vincent and Ioffe, Sergey and Shlens, Jon and Wojna, Zbigniew},
  booktitle = {CVPR}, year = {2016}
}

@inproceedings{zhong2021mislas,
  title = {Improving Calibration for Long-Tailed Recognition},
  author = {Zhong, Zhisheng and Cui, Jiequan and Liu, Shu and Jia, Jiaya},
  booktitle = {CVPR}, year = {2021}
}""",
)
