"""Class Rectification Loss: in every batch, pull the hard images of the batch's own minority classes into line."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from ..functional import EPS, one_hot, pair_masks, squared_distances, unit
from ..objective import BASE, Limit, Method, Objective, Output, Regularizer, Setting
from .triplet import EMBEDDING


class Pairs(NamedTuple):
    """Hard pairs of each anchor: distances (n, kappa) to its positives and negatives, and which of them count."""

    positive: Tensor
    negative: Tensor
    has_positive: Tensor
    has_negative: Tensor


def minority_classes(targets: Tensor, k: int, rho: float) -> Tensor:
    """The minority classes of a batch: the smallest ones which together hold at most rho of its images. (k,) bool.

    targets (n,). A class with fewer than two images in the batch has no pair of its own and is left out; equal sizes
    are taken in order of class number. Source: Dong et al. 2017, section 3.1 (rho = 0.5), as third-party readings.
    """
    size = one_hot(targets, torch.empty(0, k, device=targets.device)).sum(0)
    ascending = size.sort(stable=True)
    small = ascending.values.cumsum(0) <= rho * len(targets)
    return torch.zeros_like(small).scatter(0, ascending.indices, small) & (size >= 2)


def hard_pairs(closeness: Tensor, distance: Tensor, targets: Tensor, anchors: Tensor, kappa: int) -> Pairs:
    """The kappa hardest positives and negatives of every anchor.

    closeness (n, n): how much image j looks like the class of anchor i; hard positives look least like it, hard
    negatives most. distance (n, n) is what the losses use; anchors (n,) bool. An anchor is not its own positive.
    """
    same, other = pair_masks(targets)
    kappa = min(kappa, len(targets))
    with torch.no_grad():
        hard_same = torch.where(same, closeness, torch.inf).topk(kappa, dim=1, largest=False).indices
        hard_other = torch.where(other, closeness, -torch.inf).topk(kappa, dim=1).indices
    return Pairs(
        distance.gather(1, hard_same),
        distance.gather(1, hard_other),
        same.gather(1, hard_same) & anchors[:, None],
        other.gather(1, hard_other) & anchors[:, None],
    )


def class_level(p: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Closeness p_j(c_i) and signed distance p_i(c_i) - p_j(c_i), each (n, n); c_i is the class of image i."""
    score = p.T[targets]
    return score, score.diagonal()[:, None] - score


def instance_level(features: Tensor) -> tuple[Tensor, Tensor]:
    """Closeness and distance by feature: minus the Euclidean distance, and the distance itself, each (n, n)."""
    distance = squared_distances(features, features).clamp_min(EPS).sqrt()
    return -distance.detach(), distance


def _mean(values: Tensor, valid: Tensor) -> Tensor:
    return torch.where(valid, values, 0.0).sum() / valid.sum().clamp_min(1)


def relative_loss(pairs: Pairs, margin: float) -> Tensor:
    """Mean over triplets of max(0, m + d(a, +) - d(a, -)). Source: Dong et al. 2017, relative comparison."""
    triplets = margin + pairs.positive[:, :, None] - pairs.negative[:, None, :]
    return _mean(triplets.clamp_min(0.0), pairs.has_positive[:, :, None] & pairs.has_negative[:, None, :])


def absolute_loss(pairs: Pairs, margin: float, power: int = 2) -> Tensor:
    """(mean of d(a, +)^power + mean of max(0, m - d(a, -))^2) / 2: power 2 the journal version, 1 the poster."""
    near = _mean(pairs.positive**power, pairs.has_positive)
    return 0.5 * (near + _mean((margin - pairs.negative).clamp_min(0.0).square(), pairs.has_negative))


def histogram(
    values: Tensor, valid: Tensor, low: float, high: Tensor | float, bins: int, divided: bool = True
) -> Tensor:
    """Shares of the values at `bins` equally spaced nodes from low to high, each value split between its neighbours.

        h_t = 1/|P| sum_{v in P} max(0, width - |v - b_t|) / width

    They sum to 1; to the width of a bin without the division by it (`divided=False`), as the poster prints them.
    """
    steps = torch.arange(bins, dtype=values.dtype, device=values.device)
    high = high if isinstance(high, Tensor) else values.new_full((), high)
    width = ((high - low) / (bins - 1)).clamp_min(EPS)
    gaps = (values.clamp_min(low).minimum(high)[..., None] - (low + steps * width)).abs() / width
    share = torch.where(valid[..., None], (1.0 - gaps).clamp_min(0.0), 0.0)
    shares = share.flatten(0, -2).sum(0) / valid.sum().clamp_min(1)
    return shares if divided else width * shares


def distribution_loss(pairs: Pairs, low: float, high: Tensor | float, bins: int, divided: bool = True) -> Tensor:
    """The chance that a negative is nearer than a positive: sum_t h+_t sum_{s <= t} h-_s.

    h+ and h- are soft histograms of the distances to positives and negatives; the sum runs over negatives up to t,
    because small is near. Source: Dong et al. 2017, distribution comparison, after Ustinova & Lempitsky 2016.
    """
    positive = histogram(pairs.positive, pairs.has_positive, low, high, bins, divided)
    negative = histogram(pairs.negative, pairs.has_negative, low, high, bins, divided)
    return (positive * negative.cumsum(0)).sum()


def reach(pairs: Pairs, bins: int) -> Tensor:
    """Where a histogram of `bins` nodes from 0 ends: half a bin beyond the largest distance of the pairs that count.

    So no distance lies on the last node, where its gradient would end. A constant for the gradient.
    """
    both = ((pairs.positive, pairs.has_positive), (pairs.negative, pairs.has_negative))
    largest = torch.stack([torch.where(valid, values.detach(), 0.0).max() for values, valid in both]).max()
    return largest * ((bins - 1.0) / (bins - 1.5))


def imbalance(counts: Tensor) -> Tensor:
    """Omega: percent of images missing for balance at the size of the largest, 100 sum (n_max - n_j) / (k n_max)."""
    largest = counts.max()
    return 100.0 * (largest - counts).sum() / (len(counts) * largest)


class ClassRectification(Regularizer):
    """Class rectification: a base loss, and a term over the hard pairs of each batch's minority classes.

        "sum":       L = L_base + strength L_crl                       (the poster)
        "weighted":  L = (1 - a) L_base + a L_crl,  a = eta Omega      (the paper; a at most 1, and 0 without minority)

    The minority of a batch: its smallest classes with together at most rho of the images. Its anchors meet their kappa
    hardest positives and negatives, by score p(c) (`level="class"`) or by feature distance ("instance", features at
    length 1 for `embedding="unit"`). `comparison`: "relative" max(0, m + d+ - d-), "absolute" ("absolute_poster" leaves
    the positive distance unsquared), "distribution" the chance that a negative is nearer ("distribution_poster" leaves
    out the division by the width of a bin, in each of the two histograms, and so is that chance times its square). The
    histograms reach from -1 to 1 for scores, from 0 to 2 for features at length 1, and from 0 to half a bin beyond the
    largest distance of the batch's pairs for features as they are. `margin_rule`: "fixed" takes `margin`, "classes"
    2 pi / k. Omega in percent of images missing for balance is one consistent reading: the units, kappa, the absolute
    margin and the number of bins are not confirmed.
    Source: Dong et al. 2017 (and their journal version of 2018, read through third parties).
    Known to fail: a class with one image in a batch has no pair, so it hardly sees the far tail. "weighted" leaves
    little of the base loss under a strong tail (a = .75 at ratio 100), and small networks then learn too little.
    """

    name = "rectification"

    def __init__(
        self, counts: Tensor, base: Objective, combination: str, strength: float, eta: float, level: str,
        comparison: str, rho: float, kappa: int, margin_rule: str, margin: float, bins: int, embedding: str,
    ):  # fmt: skip
        super().__init__(counts, base)
        self.level, self.comparison, self.embedding = level, comparison, embedding
        self.rho, self.kappa, self.bins = rho, kappa, bins
        self.margin = margin if margin_rule == "fixed" else 2.0 * math.pi / self.k
        weighted = combination == "weighted"
        share = (eta * imbalance(self.counts)).clamp_max(1.0) if weighted else torch.tensor(strength)
        self.register_buffer("share", share)
        self.weighted = weighted

    def rectification(self, out: Output, targets: Tensor) -> tuple[Tensor, Tensor]:
        """(L_crl, 1 if the batch has a minority class else 0)."""
        if self.level == "class":
            closeness, distance = class_level(out.logits.softmax(1), targets)
        else:
            closeness, distance = instance_level(unit(out.features) if self.embedding == "unit" else out.features)
        anchors = minority_classes(targets, self.k, self.rho)[targets]
        pairs = hard_pairs(closeness.detach(), distance, targets, anchors, self.kappa)
        if self.level == "class":
            pairs = pairs._replace(positive=pairs.positive.abs())
        there = anchors.any().to(out.logits.dtype)
        if self.comparison.startswith("distribution"):
            low, high = (-1.0, 1.0) if self.level == "class" else (0.0, 2.0)
            if self.level == "instance" and self.embedding == "raw":
                high = reach(pairs, self.bins)
            return distribution_loss(pairs, low, high, self.bins, self.comparison == "distribution"), there
        if self.comparison == "relative":
            return relative_loss(pairs, self.margin), there
        return absolute_loss(pairs, self.margin, 1 if self.comparison == "absolute_poster" else 2), there

    def terms(self, out: Output, targets: Tensor) -> dict[str, Tensor]:
        loss, there = self.rectification(out, targets)
        share = self.share.to(loss.dtype) * there
        keep = 1.0 - share if self.weighted else 1.0
        return {**{n: keep * v for n, v in self.base.terms(out, targets).items()}, self.name: share * loss}


MARGINS = ("relative", "absolute", "absolute_poster")  # comparisons with a margin
HISTOGRAMS = ("distribution", "distribution_poster")

METHOD = Method(
    key="crl",
    title="Class Rectification Loss",
    paper="Dong et al. 2017",
    equation=r"L = (1 - a) L_{\mathrm{base}} + \frac{a}{|T|} \sum_{(a,+,-) \in T} \left[m + d(a,+) - d(a,-)\right]_+,"
    r" \quad a = \eta\,\Omega",
    objective=ClassRectification,
    settings={
        "base": BASE,
        "combination": Setting("sum", choices=("sum", "weighted"), meaning="poster's sum or paper's weighted mean"),
        "strength": Setting(
            1.0, 0.0, 10.0, "log", meaning="factor of the term in the sum", when={"combination": ("sum",)}
        ),
        "eta": Setting(
            0.01,
            0.0,
            0.01,
            symbol="η",
            meaning="share of the term for each percent of imbalance",
            when={"combination": ("weighted",)},
        ),
        "level": Setting("class", choices=("class", "instance"), meaning="hard by class score, or by feature distance"),
        "comparison": Setting(
            "relative",
            choices=MARGINS + HISTOGRAMS,
            meaning="how hard positives and negatives are compared",
        ),
        "rho": Setting(0.5, 0.0, 1.0, symbol="ρ", meaning="share of the batch that its minority classes may hold"),
        "kappa": Setting(10, 1, 50, symbol="κ", meaning="hard positives and hard negatives of an anchor"),
        "margin_rule": Setting(
            "fixed", choices=("fixed", "classes"), meaning="margin as given, or 2 pi / k", when={"comparison": MARGINS}
        ),
        "margin": Setting(
            0.5,
            0.0,
            2.0,
            symbol="m",
            meaning="how much farther a negative must be",
            when={"comparison": MARGINS, "margin_rule": ("fixed",)},
        ),
        "bins": Setting(100, 5, 200, meaning="nodes of the histograms", when={"comparison": HISTOGRAMS}),
        "embedding": replace(EMBEDDING, when={"level": ("instance",)}),
    },
    limits=(Limit({"strength": 0.0}, "ce"), Limit({"combination": "weighted", "eta": 0.0}, "ce")),
    citation=r"""@inproceedings{dong2017class,
  title = {Class Rectification Hard Mining for Imbalanced Deep Learning},
  author = {Dong, Qi and Gong, Shaogang and Zhu, Xiatian},
  booktitle = {ICCV}, year = {2017}
}""",
)
