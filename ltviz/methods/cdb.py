"""Class-difficulty based weights: what is hard on the validation set counts more in the next epoch."""

from __future__ import annotations

import torch
from torch import Tensor

from ..functional import cross_entropy
from ..objective import Limit, Method, Objective, Output, Report, Setting


def dynamic_tau(accuracy: Tensor, rule: str) -> Tensor:
    """The exponent from how unequal the classes' accuracies are; three readings, with b as the imbalance.

        "paper":   tau = 2 / (1 + e^-b), b = max A / (min A + 0.01) - 1    (Sinha et al. 2020, (3), (4))
        "sigmoid": tau = 1 / (1 + e^-b), b = max A / (min A + 0.0001) - 1  (Darkwah & Kang 2023, (2), (3))
        "public":  tau = 1 / (1 + e^-b), b = max A / (min A + 0.01)        (the CIFAR code of the first)

    About 1, 1/2 and 0.73 where all classes are alike, up to 2, 1 and 1 as the worst falls behind the best. Where every
    class is near 0 the constants decide: 0.54, 0.27 and 0.50 at A = 0.
    accuracy A (k,) in [0, 1], NaN for a class without validation images, which is left out. A scalar.
    """
    small = 1e-4 if rule == "sigmoid" else 1e-2
    known = ~accuracy.isnan()
    high, low = torch.where(known, accuracy, 0.0).max(), torch.where(known, accuracy, 1.0).min()
    b = high / (low + small) - (0.0 if rule == "public" else 1.0)
    return torch.sigmoid(b) * (2.0 if rule == "paper" else 1.0)


def difficulty_weights(accuracy: Tensor, tau: Tensor | float, normalise: bool) -> Tensor:
    """Class weights from accuracies: w_j = (1 - A_j)^tau, scaled to mean 1 if `normalise`.

    accuracy A (k,) in [0, 1]; weights (k,). Where every class is perfect, or every weight is 0, all weights are 1. A
    class without validation images (A_j NaN) has the mean weight of the others, which is 1 if they are scaled.
    Source: Sinha et al. 2020, eq. (1) and (2); the scaling is in their code.
    """
    known = ~accuracy.isnan()
    weight = torch.where(known, (1.0 - accuracy).clamp_min(0.0) ** tau, 0.0)
    total, amount = weight.sum(), known.sum()
    scaled = weight * amount / total.clamp_min(1e-12) if normalise else weight
    scaled = torch.where(known, scaled, 1.0 if normalise else total / amount.clamp_min(1))
    return torch.where(total > 0, scaled, torch.ones_like(weight))


class ClassDifficulty(Objective):
    """Cross-entropy weighted by how hard each class was on the *validation* set after the last epoch.

    The weights are `difficulty_weights`, 1 before the first epoch; the exponent is `tau` where `tau_rule="fixed"`, else
    `dynamic_tau` ("paper", the default, "sigmoid" or "public"). They are scaled to mean 1 as in all public code;
    `normalise=False` is the formula as Darkwah & Kang 2023 print it.
    Known to fail: where some class stays at accuracy 0, a dynamic exponent stays at its upper end. With "paper" (2) the
    weights then swing from epoch to epoch, and mean accuracy is below plain cross-entropy (CIFAR at 16 x 16); with
    "sigmoid", or "fixed" at 1, it is above. A perfect class gets no gradient.
    """

    def __init__(self, counts: Tensor, tau_rule: str, tau: float, normalise: bool):
        super().__init__(counts)
        self.tau_rule, self.tau, self.normalise = tau_rule, tau, normalise
        self.set_class_weight(torch.ones_like(self.counts))

    def losses(self, out: Output, targets: Tensor) -> Tensor:
        return cross_entropy(out.logits, targets)

    def begin_epoch(self, report: Report) -> None:
        if report.accuracy is not None:
            accuracy = report.accuracy.to(self.class_weight)
            tau = self.tau if self.tau_rule == "fixed" else dynamic_tau(accuracy, self.tau_rule)
            self.set_class_weight(difficulty_weights(accuracy, tau, self.normalise))


SETTINGS = {
    "tau_rule": Setting(
        "paper", choices=("paper", "sigmoid", "public", "fixed"), meaning="how the exponent follows from the accuracies"
    ),
    "tau": Setting(
        1.0, 0.0, 5.0, symbol="τ", meaning='the exponent where tau_rule is "fixed"', when={"tau_rule": ("fixed",)}
    ),
    "normalise": Setting(True, choices=(True, False), meaning="scale the weights to mean 1"),
}

METHOD = Method(
    key="cdb",
    title="Class-difficulty based loss (CDB-CE)",
    paper="Sinha et al. 2020",
    equation=r"\ell_i = -\left(1 - A_{y_i}\right)^{\tau} \log p_{i,y_i}",
    objective=ClassDifficulty,
    settings=SETTINGS,
    limits=(Limit({"tau_rule": "fixed", "tau": 0.0}, "ce"),),
    feedback=True,
    citation=r"""@inproceedings{sinha2020class,
  title = {Class-Wise Difficulty-Balanced Loss for Solving Class-Imbalance},
  author = {Sinha, Saptarshi and Ohashi, Hiroki and Nakamura, Katsuyuki},
  booktitle = {ACCV}, year = {2020}
}""",
)
