"""Deferred re-balancing: learn from all images first, re-weight or re-sample the classes only near the end."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from torch import Tensor

from ..objective import Limit, Method, Setting, Stage
from .ce import CrossEntropy
from .class_balanced import class_balanced_weights
from .focal import Focal


def reweighting_stages(beta: float, deferral: float) -> tuple[Stage, ...]:
    """DRW: a share `deferral` of the epochs without weights, then the rest with `class_balanced_weights`."""
    return Stage(deferral), Stage(1.0 - deferral, class_weight=partial(class_balanced_weights, beta=beta))


def resampling_stages(deferral: float) -> tuple[Stage, ...]:
    """DRS: a share `deferral` of the epochs on every image once, then the rest with every class equally often."""
    return Stage(deferral), Stage(1.0 - deferral, sampler="class_balanced")


class DeferredReweighting(CrossEntropy):
    """DRW: plain cross-entropy for most of training, class-weighted cross-entropy for the rest.

        L = 1/n sum_i l_i  at first, then  sum_i w_{y_i} l_i / sum_i w_{y_i},    w_j ~ (1 - beta) / (1 - beta^{n_j})

    l (n,) softmax cross-entropies; n_j counts; beta in [0, 1], of which 1 is w_j ~ 1 / n_j, the paper's Algorithm 1;
    the weights begin after the share `deferral` of the epochs (0.8: epoch 160 of 200).
    Source: Cao et al. 2019, Algorithm 1; beta 0.9999 in their code. `reduction="weight"` (default) divides by the sum
    of the weights, as their code does, "n" by the number of samples, as Cui et al. 2019 do.
    Known to fail: where the training set is already learned by heart when the weights begin (a small set, interpolated)
    no gradient is left to weigh: weights from the start do better there. It needs a learning rate that is not yet 0.
    """

    def __init__(self, counts: Tensor, reduction: str):
        super().__init__(counts)
        self.reduction = reduction


class DeferredFocal(Focal):
    """DRW on the softmax focal loss: unweighted for most of training, class-weighted for the rest.

        L = 1/n sum_i (1 - p_i^v)^gamma w_{y_i} (-log p_i),    w = 1 at first, then w_j ~ (1 - beta) / (1 - beta^{n_j})

    p (n,) softmax probabilities of the target; v = w_{y_i} for `form="weighted_softmax"` (default, their code: p is
    that of the weighted loss), v = 1 for "softmax"; n_j counts; the weights begin after the share `deferral` of the
    epochs.
    Source: the code of Cao et al. 2019, which takes gamma = 1 and, unlike for cross-entropy, divides by n.
    Known to fail: as `ce_drw` where the training set is already learned by heart when the weights begin; the factor
    then takes what gradient is left.
    """

    def __init__(self, counts: Tensor, gamma: float, form: str, reduction: str):
        super().__init__(counts, gamma, form, decay_bias=False)
        self.reduction = reduction


class DeferredResampling(CrossEntropy):
    """DRS: cross-entropy, on every image once an epoch for most of training, then on every class equally often.

        p_j = n_j / sum n  at first, then  1 / k

    p_j the probability that a drawn image is of class j, n_j its count, k classes; the change comes after the share
    `deferral` of the epochs.
    Source: Cao et al. 2019, section 4. Their code draws images with probability proportional to the class weights of
    beta = 0.9999, nearly the same, but never hands its sampler to the loader, so that the option has no effect there.
    Known to fail: repeats the few images of the tail many times in an epoch, and learns them by heart.
    """


DEFERRAL = Setting(0.8, 0.05, 0.95, meaning="share of the epochs before the classes are re-balanced")
REWEIGHTING = {
    "beta": Setting(
        0.9999, 0.0, 1.0, "one-minus-log", symbol="β", meaning="of the effective number in the second stage"
    ),
    "deferral": DEFERRAL,
    "reduction": Setting("weight", choices=("weight", "n"), meaning="what the weighted sum of losses is divided by"),
}
CITATION = r"""@inproceedings{cao2019learning,
  title = {Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss},
  author = {Cao, Kaidi and Wei, Colin and Gaidon, Adrien and Arechiga, Nikos and Ma, Tengyu},
  booktitle = {NeurIPS}, year = {2019}
}"""

METHODS = (
    Method(
        key="ce_drw",
        title="Deferred re-weighting (DRW)",
        paper="Cao et al. 2019",
        equation=r"L = \frac{\sum_i w_{y_i} \ell_i}{\sum_i w_{y_i}}, \quad w_j = 1 \text{ at first, then } "
        r"w_j \propto \frac{1 - \beta}{1 - \beta^{n_j}}",
        objective=DeferredReweighting,
        settings=REWEIGHTING,
        stages=reweighting_stages,
        limits=(Limit({"beta": 0.0}, "ce"),),
        citation=CITATION,
    ),
    Method(
        key="focal_drw",
        title="Deferred re-weighting of the focal loss",
        paper="Cao et al. 2019, code",
        equation=r"\ell_i = \left(1 - p_i^{w_{y_i}}\right)^\gamma w_{y_i} \left(-\log p_i\right), \quad "
        r"w_j = 1 \text{ at first, then } w_j \propto \frac{1 - \beta}{1 - \beta^{n_j}}",
        objective=DeferredFocal,
        settings={
            "gamma": Setting(1.0, 0.0, 5.0, symbol="γ", meaning="focusing: how much less easy images count"),
            "form": Setting(
                "weighted_softmax",
                choices=("weighted_softmax", "softmax"),
                symbol="p",
                meaning="p from the weighted loss, or from the loss as it is",
            ),
            **REWEIGHTING,
            "reduction": replace(REWEIGHTING["reduction"], default="n"),
        },
        stages=reweighting_stages,
        limits=(
            Limit({"gamma": 0.0, "reduction": "weight"}, "ce_drw"),
            Limit({"beta": 0.0, "gamma": 2.0}, "focal", {"gamma": 2.0}),
        ),
        citation=CITATION,
    ),
    Method(
        key="ce_drs",
        title="Deferred re-sampling (DRS)",
        paper="Cao et al. 2019",
        equation=r"p_j = \frac{n_j}{\sum_i n_i} \text{ at first, then } p_j = \frac{1}{k}",
        objective=DeferredResampling,
        settings={"deferral": DEFERRAL},
        stages=resampling_stages,
        citation=CITATION,
    ),
)
