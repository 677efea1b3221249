"""Equalization loss (softmax form): rare classes are not pushed down by the images of other classes."""

from __future__ import annotations

import torch
from torch import Tensor

from ..functional import one_hot
from ..objective import Limit, Method, Objective, Output, Report, Setting


def equalization_loss(logits: Tensor, targets: Tensor, ignored: Tensor) -> Tensor:
    """Softmax cross-entropy without some classes, except where they are the target.

        l_i = -log( e^{z_{i,y_i}} / sum_j w_ij e^{z_ij} ),    w_ij = 1 - ignored_j 1[j != y_i]

    logits z (n, k); targets (n,); ignored, bool (k,), the classes left out of the others' denominators. Losses (n,); an
    image all of whose other classes are ignored has loss 0. Source: Tan et al. 2020, the softmax form.
    """
    left_out = ignored[None] & (one_hot(targets, logits) == 0)
    kept = logits.masked_fill(left_out, float("-inf"))  # never a whole row: the target is always kept
    return torch.logsumexp(kept, 1) - logits.gather(1, targets[:, None]).squeeze(1)


class Equalization(Objective):
    """Softmax equalization loss: rare classes are left out of the denominator of other classes' images, by chance.

        l_i = -log( e^{z_{i,y_i}} / sum_j w_ij e^{z_ij} ),    w_ij = 1 - b_j T_j 1[j != y_i]

    z (n, k) logits; T_j = 1 where n_j / sum n < `threshold` (the paper's lambda, a share of the training images);
    b_j is 1 with probability gamma, drawn anew after every step, so that a rare class still is a negative now and then.
    Source: Tan et al. 2020, softmax form. Public codes draw b for each sample and class, here for each class and step:
    the same on average. gamma and lambda for CIFAR differ between codes (0.95 and 0.03, 0.9 and 0.005) and are not
    confirmed: 0.9 and 0.03 here, for 10 classes; 0.005 suits 100.
    Known to fail: rare classes are left out of each other's denominators too, so nothing tells them apart; on digits it
    does no better than cross-entropy, and worse the higher gamma and threshold are. On images at 16 x 16 it moves
    accuracy from head to tail. Where no class is rarer than the threshold it is cross-entropy.
    """

    def __init__(self, counts: Tensor, gamma: float = 0.9, threshold: float = 0.03):
        super().__init__(counts)
        self.gamma = gamma
        self.register_buffer("rare", self.counts / self.counts.sum() < threshold)
        self.register_buffer("ignored", torch.zeros_like(self.rare))
        self._own_generator: torch.Generator | None = None
        self._draw()

    def losses(self, out: Output, targets: Tensor) -> Tensor:
        return equalization_loss(out.logits, targets, self.ignored)

    def begin_epoch(self, report: Report) -> None:
        self._draw()

    def after_step(self, out: Output, targets: Tensor) -> None:
        self._draw()

    @torch.no_grad()
    def _draw(self) -> None:
        """A new b, from the run's generator; outside a run from one of its own, so that nothing global is drawn."""
        generator = self.generator
        if generator is None:
            device = self.rare.device
            if self._own_generator is None or self._own_generator.device != device:
                self._own_generator = torch.Generator(device).manual_seed(0)
            generator = self._own_generator
        drawn = torch.rand(self.rare.shape, generator=generator, device=generator.device) < self.gamma
        self.ignored.copy_(drawn.to(self.rare.device) & self.rare)


METHOD = Method(
    key="equalization",
    title="Equalization loss",
    paper="Tan et al. 2020",
    equation=(
        r"\ell_i = -\log \frac{e^{z_{i,y_i}}}{\sum_j w_{ij} e^{z_{ij}}}, \quad w_{ij} = 1 - b_j\, "
        r"\mathbf{1}\!\left[\tfrac{n_j}{\sum n} < \lambda\right] \mathbf{1}[j \ne y_i], \quad P(b_j = 1) = \gamma"
    ),
    objective=Equalization,
    settings={
        "gamma": Setting(0.9, 0.0, 1.0, symbol="γ", meaning="probability that a rare class is left out"),
        "threshold": Setting(0.03, 0.0, 1.0, symbol="λ", meaning="share of the images below which a class is rare"),
    },
    limits=(Limit({"gamma": 0.0}, "ce"), Limit({"threshold": 0.0}, "ce")),
    citation=r"""@inproceedings{tan2020equalization,
  title = {Equalization Loss for Long-Tailed Object Recognition},
  author = {Tan, Jingru and Wang, Changbao and Li, Buyu and Li, Quanquan and Ouyang, Wanli and Yin, Changqing
            and Yan, Junjie},
  booktitle = {CVPR},
  year = {2020}
}""",
)
