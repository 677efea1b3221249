"""Weights by inverse frequency: the oldest answer to imbalance, and a harsh one."""

from __future__ import annotations

import torch
from torch import Tensor

from ..functional import cross_entropy, normalise_weights
from ..objective import Limit, Method, Objective, Output, Setting
from .sigmoid import METHOD as SIGMOID


def inverse_frequency_weights(counts: Tensor, exponent: float) -> Tensor:
    """Class weights that fall with a power of the count.

        w_j = c n_j^(-q),    c such that the mean over the classes present is 1

    counts n (k,) training images; q >= 0: 1 inverse frequency, 1/2 its square root, 0 none. Weights (k,), float32; a
    class without images has 0.
    """
    present = counts > 0
    n = torch.where(present, counts, 1).to(torch.float64)
    return normalise_weights(n.pow(-exponent), present)


class InverseFrequency(Objective):
    """Softmax cross-entropy, every class weighted by a power of its inverse frequency.

        L = (1/N) sum_i w_{y_i} l_i  (reduction "n"),    or  sum_i w_{y_i} l_i / sum_i w_{y_i}  ("weight"),
        w_j = c n_j^(-q),  mean 1 over the classes present

    n (k,) training counts; q the exponent; l_i cross-entropy; N images in the batch. Reduction "n" (the default) is
    that of Cui et al.'s code, "weight" that of torch's cross_entropy(weight=) and of Cao et al. 2019. They are two
    problems: the second also turns a batch of head classes up.
    Source: common practice; measured in Cui et al. 2019 and Cao et al. 2019.
    Known to fail: at many classes and a high ratio a few images carry most of the gradient, and accuracy falls below
    plain cross-entropy (CIFAR-100 in Cui et al. 2019).
    """

    def __init__(self, counts: Tensor, exponent: float, reduction: str):
        super().__init__(counts)
        self.reduction = reduction
        self.set_class_weight(inverse_frequency_weights(self.counts, exponent))

    def losses(self, out: Output, targets: Tensor) -> Tensor:
        return cross_entropy(out.logits, targets)


REDUCTION = Setting("n", choices=("n", "weight"), symbol="N", meaning="divide by the images, or by their weights")

METHOD = Method(
    key="inverse_frequency",
    title="Inverse frequency weights",
    paper="common practice; Cui et al. 2019",
    equation=r"L = \frac{1}{N} \sum_i w_{y_i} \ell_i, \quad w_j \propto n_j^{-q}",
    objective=InverseFrequency,
    settings={
        "exponent": Setting(1.0, 0.0, 2.0, symbol="q", meaning="power of the count: 1 inverse, 0.5 inverse root"),
        "reduction": REDUCTION,
    },
    limits=(Limit({"exponent": 0.0}, "ce"), Limit({"exponent": 1.0}, "class_balanced", {"beta": 1.0})),
    citation=SIGMOID.citation,
)
