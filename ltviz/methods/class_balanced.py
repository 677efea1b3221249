"""Class-balanced loss: the hundredth image of a class teaches less than the first."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from ..functional import cross_entropy, effective_number, inverse_weights
from ..objective import Limit, Method, Objective, Output, Setting
from .focal import focal_loss, focal_of_weighted
from .inverse_frequency import REDUCTION
from .sigmoid import DECAY_BIAS, prior_head, sigmoid_loss
from .sigmoid import METHOD as SIGMOID

LOSSES = ("softmax", "sigmoid", "focal", "softmax_focal", "weighted_softmax_focal")
SIGMOIDS = ("sigmoid", "focal")
FOCALS = ("focal", "softmax_focal", "weighted_softmax_focal")


def class_balanced_weights(counts: Tensor, beta: float) -> Tensor:
    """Class weights inverse to the effective number of images.

        w_j = c / E_{n_j},    E_n = (1 - beta^n) / (1 - beta),    c such that the mean over the classes present is 1

    counts n (k,) training images; beta in [0, 1]: 0 no weights, 1 inverse frequency. Weights (k,), float32; a class
    without images has 0. Raises ValueError for beta outside [0, 1].
    Source: Cui et al. 2019, eq. (2) and section 4.
    """
    return inverse_weights(effective_number(counts, beta))


class ClassBalanced(Objective):
    """Any of several losses, weighted by the inverse effective number of images of the class.

        L = (1/N) sum_i w_{y_i} l_i,    w_j = c / E_{n_j},    E_n = (1 - beta^n) / (1 - beta)

    n (k,) training counts; beta = (M - 1) / M, for M distinct prototypes of a class; l_i softmax cross-entropy, sigmoid
    cross-entropy or (sigmoid) focal loss with gamma. The last two have the head of `sigmoid`. The softmax focal loss,
    "softmax_focal", is that of other papers; "weighted_softmax_focal" takes its p from the weighted loss, as the code
    of Cao et al. 2019 does. reduction "n" (default) divides by the N images, as the authors' code; "weight" by the sum
    of their weights, as torch's cross_entropy and that other code for softmax. `decay_bias` is as in `sigmoid`.
    Source: Cui et al. 2019, eqs. (2), (8), (11) and (13).
    Known to fail: up to about a hundred images a class, every beta from 0.999 on is nearly inverse frequency. On
    CIFAR-100-LT at ratios 100 and 200 (at most 500 images a class) the paper's best beta is 0.9, the smallest that it
    tries (table 2). Tail accuracy is paid for by the head.
    """

    def __init__(self, counts: Tensor, beta: float, loss: str, gamma: float, reduction: str, decay_bias: bool | str):
        super().__init__(counts)
        self.loss, self.gamma, self.reduction, self.decay_bias = loss, gamma, reduction, decay_bias
        self.set_class_weight(class_balanced_weights(self.counts, beta))

    def make_head(self, dim: int) -> nn.Module:
        return prior_head(dim, self.k, self.decay_bias) if self.loss in SIGMOIDS else super().make_head(dim)

    def losses(self, out: Output, targets: Tensor) -> Tensor:
        if self.loss == "softmax":
            return cross_entropy(out.logits, targets)
        if self.loss == "sigmoid":
            return sigmoid_loss(out.logits, targets)
        if self.loss == "weighted_softmax_focal":
            return focal_of_weighted(out.logits, targets, self.class_weight, self.gamma)
        return focal_loss(out.logits, targets, self.gamma, form="sigmoid" if self.loss == "focal" else "softmax")


METHOD = Method(
    key="class_balanced",
    title="Class-balanced loss",
    paper="Cui et al. 2019",
    equation=r"L = \frac{1}{N} \sum_i \frac{c}{E_{n_{y_i}}} \ell_i, \quad E_n = \frac{1 - \beta^n}{1 - \beta}",
    objective=ClassBalanced,
    settings={
        "beta": Setting(
            0.999, 0.0, 1.0, "one-minus-log", symbol="β", meaning="0: no weights; towards 1: inverse frequency"
        ),
        "loss": Setting("softmax", choices=LOSSES, meaning="which loss"),
        "gamma": Setting(
            1.0, 0.0, 5.0, symbol="γ", meaning="focusing, of the focal losses only", when={"loss": FOCALS}
        ),
        "reduction": REDUCTION,
        "decay_bias": replace(DECAY_BIAS, when={"loss": SIGMOIDS}),
    },
    limits=(
        Limit({"beta": 0.0}, "ce"),
        Limit({"beta": 0.0, "loss": "sigmoid"}, "sigmoid"),
        Limit({"beta": 0.0, "loss": "focal", "gamma": 0.5}, "focal", {"gamma": 0.5, "form": "sigmoid"}),
        Limit({"beta": 0.0, "loss": "softmax_focal", "gamma": 0.5}, "focal", {"gamma": 0.5}),
        Limit({"beta": 0.0, "loss": "weighted_softmax_focal", "gamma": 2.0}, "focal", {"gamma": 2.0}),
        Limit({"beta": 1.0, "reduction": "weight"}, "inverse_frequency", {"reduction": "weight"}),
    ),
    probability=lambda loss: "sigmoid" if loss in SIGMOIDS else "softmax",
    citation=SIGMOID.citation,
    aliases=("cb",),
)
