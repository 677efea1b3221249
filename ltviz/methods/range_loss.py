"""Range loss: shrink the few largest distances inside each class, and keep the nearest two class centres apart."""

from __future__ import annotations

import torch
from torch import Tensor

from ..functional import EPS, one_hot, squared_distances, unit
from ..objective import BASE, Limit, Method, Objective, Output, Regularizer, Setting
from .triplet import EMBEDDING


def harmonic_mean(values: Tensor, valid: Tensor) -> Tensor:
    """Harmonic mean of the valid values of each row, n / sum 1/D_j; (m, k) and bool (m, k) -> (m,), 0 where none is."""
    inverse = torch.where(valid, 1.0 / values.clamp_min(EPS), 0.0).sum(1)
    amount = valid.sum(1)
    return torch.where(amount > 0, amount / torch.where(amount > 0, inverse, 1.0), 0.0)


def largest_ranges(distance: Tensor, targets: Tensor, k: int, ranges: int) -> tuple[Tensor, Tensor]:
    """The `ranges` largest distances between two images of each class: values and validity, each (k, ranges).

    distance (n, n), targets (n,). A class's largest pairs are among the largest of each image, so there is one top-k
    over rows and one over classes, and no class ever sees a square of its own.
    """
    n = len(targets)
    pair = torch.ones(n, n, dtype=torch.bool, device=targets.device).triu(1) & (targets[:, None] == targets[None])
    best = torch.where(pair, distance, -torch.inf).topk(min(ranges, n), dim=1)
    of_class = one_hot(targets, best.values.new_empty(0, k)).T.bool()[:, :, None]
    candidates = torch.where(of_class, best.values[None], -torch.inf).flatten(1)
    found = candidates.topk(min(ranges, candidates.shape[1]), dim=1).values
    valid = found > -torch.inf
    return torch.where(valid, found, 0.0), valid


def intra_loss(features: Tensor, targets: Tensor, k: int, ranges: int, distance: str) -> Tensor:
    """Sum over the classes of the batch of the harmonic mean of their largest distances.

        sum_c m / sum_{j <= m} 1 / D_cj,   D_c1 >= D_c2 >= ... the distances between two images of class c

    features (n, d), targets (n,); m is `ranges`, or the number of pairs where there are fewer; a class with one image
    adds 0. distance "euclidean" or "squared". A scalar.
    Source: Zhang et al. 2017, as third-party code and later papers give it.
    """
    squared = squared_distances(features, features).clamp_min(EPS)
    ranges_of = largest_ranges(squared if distance == "squared" else squared.sqrt(), targets, k, ranges)
    return harmonic_mean(*ranges_of).sum()


def inter_loss(features: Tensor, targets: Tensor, k: int, margin: float, distance: str) -> Tensor:
    """Hinge on the nearest two class centres of the batch: max(0, m - min_{a != b} D(c_a, c_b)).

    features (n, d), targets (n,); a centre is the mean feature of a class in this batch; margin in units of the
    distance. A scalar, 0 where the batch has one class.
    """
    member = one_hot(targets, features.new_empty(0, k))
    size = member.sum(0)
    centres = member.T @ features / size.clamp_min(1.0)[:, None]
    squared = squared_distances(centres, centres).clamp_min(EPS)
    there = size > 0
    pair = (there[:, None] & there[None]).triu(1)
    nearest = torch.where(pair, squared if distance == "squared" else squared.sqrt(), torch.inf).min()
    return (margin - nearest).clamp_min(0.0)


class RangeLoss(Regularizer):
    """Range loss: a base loss, a pull on the largest distances inside classes, a push on the nearest two centres.

        L = L_base + alpha sum_c m / sum_{j <= m} 1 / D_cj + beta max(0, M - min_{a != b} D(c_a, c_b))

    D_cj the m = `ranges` largest distances between two images of class c in the batch, their harmonic mean being ruled
    by the smaller of them; c_a (d,) the mean feature of class a in the batch; alpha `intra`, beta `inter`, M `margin`
    in units of the distance. Features (n, d) at length 1 for `embedding="unit"` (default; distances in [0, 2]) or as
    they are ("raw"); `distance="euclidean"` (default) or "squared": public codes take either.
    Source: Zhang et al. 2017. Two ranges are the paper's; its strengths (alpha 5e-5, beta 1e-4, from memory, on raw
    features) and its margin are not confirmed, and its batches hold several images of each of a few identities.
    Known to fail: under the usual batches a tail class has one image or none, and so no range; only the push on the
    centres reaches it. Raw features shrink instead of coming into order.
    """

    name = "range"

    def __init__(
        self, counts: Tensor, base: Objective, intra: float, inter: float, ranges: int, margin: float,
        distance: str, embedding: str,
    ):  # fmt: skip
        super().__init__(counts, base)
        self.intra, self.inter, self.ranges, self.margin = intra, inter, ranges, margin
        self.distance, self.embedding = distance, embedding

    def penalty(self, out: Output, targets: Tensor) -> Tensor:
        features = unit(out.features) if self.embedding == "unit" else out.features
        intra = intra_loss(features, targets, self.k, self.ranges, self.distance)
        return self.intra * intra + self.inter * inter_loss(features, targets, self.k, self.margin, self.distance)


METHOD = Method(
    key="range",
    title="Range loss",
    paper="Zhang et al. 2017",
    equation=r"L = L_{\mathrm{base}} + \alpha \sum_c \frac{m}{\sum_{j \le m} 1 / D_{c,j}} "
    r"+ \beta \left[M - \min_{a \ne b} D(c_a, c_b)\right]_+",
    objective=RangeLoss,
    settings={
        "base": BASE,
        "intra": Setting(0.01, 0.0, 1.0, "log", symbol="α", meaning="strength of the pull inside classes"),
        "inter": Setting(0.1, 0.0, 10.0, "log", symbol="β", meaning="strength of the push between class centres"),
        "ranges": Setting(2, 1, 10, symbol="m", meaning="largest distances of a class that count"),
        "margin": Setting(1.0, 0.0, 4.0, symbol="M", meaning="how far apart the nearest two centres should be"),
        "distance": Setting("euclidean", choices=("euclidean", "squared"), meaning="distance, or its square"),
        "embedding": EMBEDDING,
    },
    limits=(Limit({"intra": 0.0, "inter": 0.0}, "ce"),),
    citation=r"""@inproceedings{zhang2017range,
  title = {Range Loss for Deep Face Recognition with Long-Tailed Training Data},
  author = {Zhang, Xiao and Fang, Zhiyuan and Wen, Yandong and Li, Zhifeng and Qiao, Yu},
  booktitle = {ICCV}, year = {2017}
}""",
)
