"""DARL, dual adaptive re-weighting: samples count less the longer their feature and their class's classifier row."""

from __future__ import annotations

import torch
from torch import Tensor

from ..functional import safe_norm, weighted_mean
from ..objective import BASE, Limit, Method, Objective, Output, Regularizer, Setting
from .dual_ring import CITATION


def relative_length(rows: Tensor) -> Tensor:
    """Where the length of each row lies between the shortest (0) and the longest (1).

        (||x_i|| - min_j ||x_j||) / (max_j ||x_j|| - min_j ||x_j||)

    rows (n, d) -> (n,). Where all lengths are equal (to one part in a million) it is 0 for every row.
    Source: Li et al. 2020, eq. (5) and (6).
    """
    length = safe_norm(rows)
    low, high = length.amin(), length.amax()
    spread = high - low
    equal = spread <= 1e-6 * high
    return torch.where(equal, 0.0, (length - low) / torch.where(equal, 1.0, spread))


def darl_weights(
    features: Tensor, head_weight: Tensor, targets: Tensor, class_strength: float, sample_strength: float
) -> Tensor:
    """Weight of each sample.

        w_i = (1 - lambda_3 r(W)_{y_i}) (1 - lambda_4 r(x)_i)

    features x (n, d) of the batch; head_weight W (k, d) of all classes; targets (n,); r the `relative_length`;
    lambda_3, lambda_4 in [0, 1]. Weights (n,) in [(1 - lambda_3)(1 - lambda_4), 1]; 1 where all lengths are equal.
    Source: Li et al. 2020, eq. (5) and (6).
    """
    of_class = 1.0 - class_strength * relative_length(head_weight)
    return of_class[targets] * (1.0 - sample_strength * relative_length(features))


class DARL(Regularizer):
    """DARL: the base loss, each sample weighted by the length of its feature and of its class's classifier row.

        L = 1/n sum_i w_i l_i,    w_i = (1 - lambda_3 r(W)_{y_i}) (1 - lambda_4 r(x)_i)

    l (n,) losses of the base; w (n,) `darl_weights`; lambda_3, lambda_4 are `class_strength` and `sample_strength`. It
    replaces the base's classification term; further terms of the base stay (a factor before its classification term, as
    `crl` puts there when "weighted", is lost). The mean is over n: the loss as a whole shrinks.
    Source: Li et al. 2020, eq. (5) to (7); eq. (7) has a minus before a loss that is positive already: a plus here.
    They do not say whether the weights are constants for the gradient: they are by default (`detach=True`); otherwise
    the gradient also lengthens the features of samples with a high loss.
    Known to fail: it moves accuracy from frequent classes to rare ones by less than a point or two, and a threshold
    moved after training gives more for the same price. A cosine head's rows have lengths that mean nothing, and the
    shortest feature need not be the worst image: noise makes features longer.
    """

    def __init__(self, counts: Tensor, base: Objective, class_strength: float, sample_strength: float, detach: bool):
        super().__init__(counts, base)
        self.class_strength, self.sample_strength, self.detach = class_strength, sample_strength, detach

    @property
    def weighted(self) -> Objective:
        """The objective whose losses are weighted: the base, below its other regularisers."""
        inner = self.base
        while isinstance(inner, Regularizer) and not isinstance(inner, DARL):
            inner = inner.base
        return inner

    def losses(self, out: Output, targets: Tensor) -> Tensor:
        weight = darl_weights(out.features, out.head_weight, targets, self.class_strength, self.sample_strength)
        return (weight.detach() if self.detach else weight) * self.weighted.losses(out, targets)

    def terms(self, out: Output, targets: Tensor) -> dict[str, Tensor]:
        # The base's further terms (rings, triplets) stay; its own mean is replaced by that of the weighted losses.
        inner = self.weighted
        while isinstance(inner, Regularizer):  # a DARL inside keeps its weights, and has its base's class weights
            inner = inner.base
        mean = weighted_mean(self.losses(out, targets), targets, inner.class_weight, inner.reduction)
        return {**self.base.terms(out, targets), "classification": mean}


WEIGHTS = {
    "class_strength": Setting(0.5, 0.0, 1.0, symbol="λ₃", meaning="how much less the class of the longest row counts"),
    "sample_strength": Setting(0.5, 0.0, 1.0, symbol="λ₄", meaning="how much less the longest feature counts"),
    "detach": Setting(True, choices=(True, False), meaning="whether the weights are constants for the gradient"),
}

METHOD = Method(
    key="darl",
    title="DARL",
    paper="Li et al. 2020, eq. (7)",
    equation=r"L = \frac{1}{n} \sum_i w_i \ell_i, \quad w_i = \left(1 - \lambda_3 r(W)_{y_i}\right) "
    r"\left(1 - \lambda_4 r(x)_i\right), \quad r(x)_i = "
    r"\frac{\lVert x_i \rVert - \min_j \lVert x_j \rVert}{\max_j \lVert x_j \rVert - \min_j \lVert x_j \rVert}",
    objective=DARL,
    settings={"base": BASE, **WEIGHTS},
    limits=(
        Limit({"class_strength": 0.0, "sample_strength": 0.0}, "ce"),
        Limit({"class_strength": 0.0, "sample_strength": 0.0, "detach": False}, "ce"),
    ),
    smooth={"detach": False},
    citation=CITATION,
)
