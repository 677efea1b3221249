"""Ring loss: features drawn softly to a sphere whose radius is learned."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..functional import safe_norm
from ..objective import BASE, Limit, Method, Objective, Output, Regularizer, Setting


def ring_penalty(rows: Tensor, radius: Tensor | float, form: str) -> Tensor:
    """Mean squared gap between the lengths of rows and a radius, before its strength.

        "squared": 1/(2n) sum_i (||x_i|| - R)^2        "auto": 1/n sum_i ((||x_i|| - R) / max(mean ||x||, 0.5))^2

    rows (n, d); radius R >= 0; in "auto" the mean length is a constant for the gradient. A scalar. An all-zero row has
    length 0 and gradient 0.
    Source: Zheng et al. 2018 ("squared"); a public code attributed to an author ("auto", its default, without the 1/2).
    """
    length = safe_norm(rows)
    gap = length - radius
    if form == "auto":
        return (gap / length.mean().detach().clamp_min(0.5)).square().mean()
    return 0.5 * gap.square().mean()


def start_once(radius: Tensor, initialised: Tensor, rows: Tensor) -> Tensor:
    """The radius; before it has been initialised, the mean length of these rows (n, d), a constant for the gradient."""
    return torch.where(initialised, radius, safe_norm(rows).mean().detach())


class Ring(Regularizer):
    """Ring loss: a base loss and a soft pull of every feature to length R, which is learned.

        L = L_base + lambda / (2n) sum_i ( ||x_i|| - R )^2

    x (n, d) features; R a learned scalar, in units of feature length; lambda >= 0, `strength`. R starts once, at
    the mean length of the features of the first batch (in training mode: before training, BatchNorm's running
    statistics would give another length); a reloaded loss keeps the radius it had.
    Source: Zheng et al. 2018. Public codes differ: `form="squared"` (default) is the paper's, "auto" divides the gap by
    the mean length (use a strength near 1 there); a code without the 1/2 is this one at twice the strength.
    Known to fail: on images at 16 x 16 it does next to nothing, and a strong ring takes back what a weak one gains. It
    levels features only: the rows of the classifier stay long for the head. On a cosine head it moves no decision.
    """

    name = "ring"

    def __init__(self, counts: Tensor, base: Objective, strength: float, form: str):
        super().__init__(counts, base)
        self.strength, self.form = strength, form
        self.radius = nn.Parameter(torch.ones(()))
        self.register_buffer("initialised", torch.tensor(False))

    def penalty(self, out: Output, targets: Tensor) -> Tensor:
        radius = start_once(self.radius, self.initialised, out.features)
        return self.strength * ring_penalty(out.features, radius, self.form)

    @torch.no_grad()
    def after_step(self, out: Output, targets: Tensor) -> None:
        super().after_step(out, targets)
        if len(out.features):
            self.radius.copy_(start_once(self.radius, self.initialised, out.features))
            self.initialised.fill_(True)


METHOD = Method(
    key="ring",
    title="Ring loss",
    paper="Zheng, Pal & Savvides 2018",
    equation=r"L = L_{\mathrm{base}} + \frac{\lambda}{2n} \sum_i \left(\lVert x_i \rVert - R\right)^2",
    objective=Ring,
    settings={
        "base": BASE,
        "strength": Setting(0.01, 0.0, 1.0, "log", symbol="λ", meaning="strength of the pull to the ring"),
        "form": Setting("squared", choices=("squared", "auto"), meaning="gap as it is, or relative to the mean length"),
    },
    limits=(Limit({"strength": 0.0}, "ce"), Limit({"strength": 0.0, "form": "auto"}, "ce")),
    smooth={"form": "squared"},
    citation=r"""@inproceedings{zheng2018ring,
  title = {Ring Loss: Convex Feature Normalization for Face Recognition},
  author = {Zheng, Yutong and Pal, Dipan K. and Savvides, Marios},
  booktitle = {CVPR}, pages = {5089--5097}, year = {2018}
}""",
)
