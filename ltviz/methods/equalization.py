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


def rare_classes(counts: Tensor, rarity: float) -> Tensor:
    """Bool (k,): the classes with n_j / sum n < rarity / k, so less than this share of the average class's images."""
    counts = counts.to(torch.float64)
    return counts * len(counts) < rarity * counts.sum()


class Equalization(Objective):
    """Softmax equalization loss: rare classes are left out of the denominator of other classes' images, by chance.

    As `equalization_loss`, with ignored_j = b_j T_j. T_j = 1 where n_j / sum n < lambda = `rarity` / k: a class is rare
    with less than `rarity` times the images of the average class. b_j is 1 with probability gamma, drawn anew after
    every step, so that a rare class still is a negative now and then.
    The paper's lambda is a share of all images, chosen for one data set (0.00176, at most 100 images, in LVIS with its
    1,230 classes); the same number would call nearly all of 100 classes rare, or none of 10. Public codes take 0.03 or
    0.005 for CIFAR, unconfirmed. rarity = 0.3 is lambda = 0.03 for 10 classes, 0.003 for 100, and calls 4 of 10 and 41
    of 100 rare at ratio 100; rarity = lambda k gives any other. The paper draws b for each sample and class, here for
    each class and step: the same on average. Its gamma is 0.95 or 0.9, here 0.9.
    Known to fail: rare classes are left out of each other's denominators too, so nothing tells them apart; on digits it
    does no better than cross-entropy, and worse the higher gamma and rarity are. On images at 16 x 16 it moves
    accuracy from head to tail. Where no class is rare it is cross-entropy.
    """

    def __init__(self, counts: Tensor, gamma: float, rarity: float):
        super().__init__(counts)
        self.gamma = gamma
        self.register_buffer("rare", rare_classes(counts, rarity))
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
    equation=r"\ell_i = -\log \frac{e^{z_{i,y_i}}}{\sum_j w_{ij} e^{z_{ij}}}, \quad w_{ij} = 1 - b_j\, "
    r"\mathbf{1}\!\left[\tfrac{n_j}{\sum n} < \tfrac{\rho}{k}\right] \mathbf{1}[j \ne y_i], "
    r"\quad P(b_j = 1) = \gamma",
    objective=Equalization,
    settings={
        "gamma": Setting(0.9, 0.0, 1.0, symbol="γ", meaning="probability that a rare class is left out"),
        "rarity": Setting(0.3, 0.0, 1.0, symbol="ρ", meaning="a class is rare below this share of the average count"),
    },
    limits=(Limit({"gamma": 0.0}, "ce"), Limit({"rarity": 0.0}, "ce")),
    citation=r"""@inproceedings{tan2020equalization,
  title = {Equalization Loss for Long-Tailed Object Recognition},
  author = {Tan, Jingru and Wang, Changbao and Li, Buyu and Li, Quanquan and Ouyang, Wanli and Yin, Changqing
            and Yan, Junjie},
  booktitle = {CVPR}, year = {2020}
}""",
)
