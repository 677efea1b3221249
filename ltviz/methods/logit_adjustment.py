"""Logit adjustment: the log prior added to the logits in the loss, or subtracted from them after training."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..functional import cross_entropy, log_prior
from ..objective import Limit, Method, Objective, Output, Setting
from .ce import CrossEntropy


def logit_adjusted_loss(logits: Tensor, targets: Tensor, counts: Tensor, tau: float) -> Tensor:
    """Softmax cross-entropy of the logits plus the log prior.

        l_i = -log( e^{z_{i,y_i} + tau log pi_{y_i}} / sum_j e^{z_ij + tau log pi_j} )

    logits z (n, k); targets (n,); counts (k,) with pi_j = n_j / sum n; tau >= 0. Losses (n,). A class without images
    counts as one image. Source: Menon et al. 2021, eq. (10).
    """
    return cross_entropy(logits + tau * log_prior(counts).to(logits), targets)


def subtract_prior(logits: Tensor, counts: Tensor, tau: float) -> Tensor:
    """Logits (n, k) of a trained network without the prior of its training set.

        z_ij - tau log pi_j,    pi_j = n_j / sum n

    counts n (k,); tau >= 0, where 0 changes nothing and 1 suits a balanced test set. Threshold moving (Elkan 2001) is
    the same at tau = 1: probabilities divided by the prior. A class without images counts as one image.
    Source: Menon et al. 2021, eq. (9).
    """
    return logits - tau * log_prior(counts).to(logits)


class LogitAdjustment(Objective):
    """Logit-adjusted loss: the network competes with the log prior added to its logits, and is tested without it.

    In `logit_adjusted_loss`, tau 0 is cross-entropy, 1 is the balanced softmax and makes argmax z the Bayes decision
    for a balanced test set. The authors' code adds 1e-12 in the logarithm; here a class without images counts as one
    image. Not to be combined with the post-hoc rule `logit_adjusted`.
    Known to fail: tau above 1.5 gives the head away for the tail. It levels the decisions, not the representation: the
    rows of its classifier are as unequal as those of cross-entropy.
    """

    def __init__(self, counts: Tensor, tau: float):
        super().__init__(counts)
        self.register_buffer("shift", tau * log_prior(self.counts))

    def losses(self, out: Output, targets: Tensor) -> Tensor:
        return cross_entropy(out.logits + self.shift.to(out.logits.dtype), targets)


class LogitAdjusted(CrossEntropy):
    """Post-hoc logit adjustment: plain cross-entropy, and the log prior subtracted after training (`subtract_prior`).

    Known to fail: the best tau depends on how far training went and is found on validation images; 2 gives the head
    away. Not to be used on a network that was trained with the logit-adjusted loss or the balanced softmax.
    """


def posthoc(out: Output, counts: Tensor, gallery: Any, tau: float) -> Tensor:
    """`subtract_prior` in the form of a record: (out, counts, gallery, tau) -> logits (n, k)."""
    return subtract_prior(out.logits, counts, tau)


TAU = Setting(1.0, 0.0, 3.0, symbol="τ", meaning="how much of the log prior is added or subtracted")
CITATION = r"""@inproceedings{menon2021longtail,
  title = {Long-tail Learning via Logit Adjustment},
  author = {Menon, Aditya Krishna and Jayasumana, Sadeep and Rawat, Ankit Singh and Jain, Himanshu and Veit, Andreas
            and Kumar, Sanjiv},
  booktitle = {ICLR}, year = {2021}
}"""

METHODS = (
    Method(
        key="logit_adjustment",
        title="Logit-adjusted loss",
        paper="Menon et al. 2021, eq. (10)",
        equation=r"\ell_i = -\log \frac{e^{z_{i,y_i} + \tau \log \pi_{y_i}}}{\sum_j e^{z_{ij} + \tau \log \pi_j}}",
        objective=LogitAdjustment,
        settings={"tau": TAU},
        limits=(Limit({"tau": 0.0}, "ce"), Limit({"tau": 1.0}, "balanced_softmax")),
        citation=CITATION,
    ),
    Method(
        key="logit_adjusted",
        title="Post-hoc logit adjustment",
        paper="Menon et al. 2021, eq. (9)",
        equation=r"z_{ij} - \tau \log \pi_j, \quad \pi_j = \frac{n_j}{\sum_i n_i}",
        objective=LogitAdjusted,
        settings={"tau": TAU},
        posthoc=posthoc,
        limits=(Limit({"tau": 0.0}, "ce"),),
        citation=CITATION,
    ),
)
