"""Mixup: the network learns from blends of two images and the blend of their labels; remix leans to the rarer label."""

from __future__ import annotations

import torch
from torch import Tensor

from ..functional import cross_entropy, weighted_mean
from ..objective import Limit, Method, Objective, Output, Setting


def label_share(share: Tensor, own: Tensor, other: Tensor, kappa: float, tau: float) -> Tensor:
    """How much of each label is that of the image itself (n,), the rest being its partner's, in remix.

        lambda_y = 0       if n_i / n_j >= kappa    and  lambda < tau
                 = 1       if n_i / n_j <= 1/kappa  and  1 - lambda < tau
                 = lambda  otherwise

    share () lambda, that of the pixels; own, other (n,) training images n_i and n_j of the two classes. The whole
    label is that of the rarer class where it is kappa times as rare and has more than 1 - tau of the pixels.
    Source: Chou et al. 2020.
    """
    to_partner = (own >= kappa * other) & (share < tau)
    to_own = (kappa * own <= other) & (1.0 - share < tau)
    return torch.where(to_partner, 0.0, torch.where(to_own, 1.0, share.to(own.dtype)))


class Mixup(Objective):
    """Cross-entropy on blends of two images, with the labels blended as the pixels are (Zhang et al. 2018).

        x = lambda x_i + (1 - lambda) x_j,    lambda ~ Beta(alpha, alpha)
        l_i = -lambda_y log p_{y_i} - (1 - lambda_y) log p_{y_j}

    One lambda a batch and each image's partner by a permutation of the batch, as in the authors' code. labels "mixed":
    lambda_y = lambda; "remix": `label_share`. Images are blended after they are cropped and normalised. At test time,
    and wherever a loss is computed without a blend, this is cross-entropy.
    Known to fail: a rare image is nearly always blended with a frequent one, so mixup alone takes from the tail, and
    short training loses accuracy to it; remix gains on digits and loses less on images at 16 x 16.
    """

    def __init__(self, counts: Tensor, alpha: float, labels: str, kappa: float, tau: float):
        super().__init__(counts)
        self.alpha, self.labels, self.kappa, self.tau = alpha, labels, kappa, tau

    def mix(self, targets: Tensor) -> tuple[Tensor, Tensor] | None:
        if self.alpha == 0:
            return None
        partner = torch.rand(len(targets), generator=self.generator, device=targets.device).argsort()
        # Two draws of a Gamma distribution; their ratio is a draw of the Beta distribution.
        shape = torch.full((2,), self.alpha, dtype=torch.float64, device=targets.device)
        first, second = torch._standard_gamma(shape, generator=self.generator).unbind()
        total = first + second
        return partner, torch.where(total > 0, first / total, 1.0)

    def shares(self, out: Output, targets: Tensor) -> Tensor:
        """How much of each label is the image's own (n,)."""
        if self.labels == "mixed":
            return out.share.to(out.logits.dtype).expand(len(targets))
        own = self.counts.to(out.logits.dtype)[targets]
        return label_share(out.share, own, own[out.partner], self.kappa, self.tau)

    def parts(self, out: Output, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The two parts of each loss (n,): of the image's own label, and of its partner's."""
        share, loss = self.shares(out, targets), cross_entropy
        return share * loss(out.logits, targets), (1.0 - share) * loss(out.logits, targets[out.partner])

    def losses(self, out: Output, targets: Tensor) -> Tensor:
        return cross_entropy(out.logits, targets) if out.partner is None else sum(self.parts(out, targets))

    def forward(self, out: Output, targets: Tensor) -> Tensor:
        """Each label counts with the weight of its own class."""
        if out.partner is None:
            return super().forward(out, targets)
        labels = targets, targets[out.partner]
        parts = zip(self.parts(out, targets), labels, strict=True)
        return sum(weighted_mean(part, label, self.class_weight, self.reduction) for part, label in parts)


METHOD = Method(
    key="mixup",
    title="Mixup and remix",
    paper="Zhang et al. 2018; Chou et al. 2020",
    equation=r"\ell_i = -\lambda_y \log p_{y_i} - (1 - \lambda_y) \log p_{y_j}, \quad "
    r"x = \lambda x_i + (1 - \lambda) x_j, \quad \lambda \sim \mathrm{Beta}(\alpha, \alpha)",
    objective=Mixup,
    settings={
        "alpha": Setting(1.0, 0.0, 8.0, symbol="α", meaning="of the Beta distribution; 0: nothing is blended"),
        "labels": Setting("mixed", choices=("mixed", "remix"), meaning="as the pixels, or leaning to the rarer class"),
        "kappa": Setting(
            3.0, 1.0, 100.0, "log", symbol="κ", meaning="how much rarer a class must be", when={"labels": ("remix",)}
        ),
        "tau": Setting(
            0.5, 0.0, 1.0, symbol="τ", meaning="how many pixels may be the other's", when={"labels": ("remix",)}
        ),
    },
    limits=(Limit({"alpha": 0.0}, "ce"),),
    citation=r"""@inproceedings{zhang2018mixup,
  title = {mixup: Beyond Empirical Risk Minimization},
  author = {Zhang, Hongyi and Cisse, Moustapha and Dauphin, Yann N. and Lopez-Paz, David},
  booktitle = {ICLR}, year = {2018}
}

@inproceedings{chou2020remix,
  title = {Remix: Rebalanced Mixup},
  author = {Chou, Hsin-Ping and Chang, Shih-Chieh and Pan, Jia-Yu and Wei, Wei and Juan, Da-Cheng},
  booktitle = {ECCV Workshops}, year = {2020}
}""",
)
