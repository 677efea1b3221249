"""OLTR: a memory of class centroids lends to the features of rare classes what they lack (closed-set part)."""

from __future__ import annotations

import copy
import math
from functools import partial

import torch
from torch import Tensor, nn

from ..functional import cross_entropy, one_hot, safe_norm, squared_distances, unit
from ..models import initialise
from ..objective import Method, Objective, Output, Report, Setting, Stage
from .crt import two_stages
from .ncm import class_means

NEAREST = 0.1  # a centroid counts as at least this far, in units of feature length: no division by 0
REACH = 10.0


def squash(x: Tensor) -> Tensor:
    """Rows scaled to length ||x|| / (1 + ||x||): short ones stay short, none is longer than 1. (n, d) -> (n, d)."""
    return x / (1.0 + safe_norm(x))[:, None]


def reachability(features: Tensor, memory: Tensor) -> Tensor:
    """10 / distance to the nearest centroid, (n, d) and (k, d) -> (n,), at most 100: large where x is well known."""
    nearest = squared_distances(features, memory).min(1).values
    return REACH / nearest.clamp_min(NEAREST**2).sqrt()


def meta_embedding(features: Tensor, memory: Tensor, attention: Tensor, selector: Tensor) -> Tensor:
    """The direct feature, and what the memory adds to it, stretched by how reachable the image is.

        x_meta = gamma ( x + e * (o C) ),   gamma = 10 / min_j ||x - c_j||

    features x (n, d); memory C (k, d), rows c_j; attention o (n, k), rows summing to 1; selector e (n, d) in (-1, 1).
    Source: Liu et al. 2019, section 3.2; the 10 and its place in front of both parts are from their code.
    """
    return reachability(features, memory)[:, None] * (features + selector * (attention @ memory))


def centroid_loss(
    features: Tensor, targets: Tensor, memory: Tensor, repulsion: float, margin: float, memory_gradient: str
) -> Tensor:
    """Attraction to the own centroid, and a margin to the others.

        1/(2n) sum_i ||x_i - c_{y_i}||^2 + repulsion max(0, margin - 1/(n k) sum_i sum_{j != y_i} ||x_i - c_j||^2)

    features (n, d), targets (n,), memory (k, d); margin in squared distance. A scalar.
    memory_gradient: "averaged" divides what the attraction does to a centroid by 1 + the images of its class in the
    batch, as center loss does, so that a frequent class does not move faster; "exact" is the derivative.
    Source: Liu et al. 2019; factors, the mean over n k pairs, one hinge for the whole batch and the averaging are from
    their code.
    """
    own = one_hot(targets, features.new_empty(0, len(memory))).bool()
    attracted = memory
    if memory_gradient == "averaged":
        share = 1.0 / (1.0 + own.sum(0).to(memory.dtype))
        attracted = memory.detach() + share[:, None] * (memory - memory.detach())  # the value of memory, less gradient
    attraction = 0.5 * torch.where(own, squared_distances(features, attracted), 0.0).sum() / len(targets)
    others = torch.where(own, 0.0, squared_distances(features, memory)).mean()
    return attraction + repulsion * (margin - others).clamp_min(0.0)


class MetaEmbeddingHead(nn.Module):
    """Cosine classifier on the squashed meta-embedding. `detach`: the centroid loss alone trains `memory` (k, d).

    The attention over the memory starts as the previous head; `weight` (k, d) and the selector start anew.
    """

    def __init__(self, previous: nn.Module, detach: bool):
        super().__init__()
        self.detach = detach
        k, d = previous.weight.shape
        self.weight = nn.Parameter(torch.empty(k, d))
        self.attention = copy.deepcopy(previous)
        self.selector = nn.Linear(d, d)
        self.memory = nn.Parameter(torch.zeros(k, d))
        self.memory.no_decay = True
        self.register_buffer("scale", torch.tensor(16.0))
        self.register_buffer("filled", torch.tensor(False))
        self.initialise(torch.Generator().manual_seed(0))

    def initialise(self, generator: torch.Generator) -> None:
        """Rows uniform within 1 / sqrt(d), and the selector as any linear layer."""
        bound = 1.0 / math.sqrt(self.weight.shape[1])
        with torch.no_grad():
            self.weight.uniform_(-bound, bound, generator=generator)
        initialise(self.selector, generator)

    @torch.no_grad()
    def fill(self, features: Tensor, targets: Tensor) -> None:
        """Set the memory to the class means of the training features; a class without images gets the overall mean."""
        means = class_means(features, targets, len(self.memory))
        there = torch.bincount(targets, minlength=len(means))[:, None] > 0
        self.memory.copy_(torch.where(there, means, features.mean(0)))
        self.filled.fill_(True)

    def forward(self, features: Tensor) -> Tensor:
        attention, selector = self.attention(features).softmax(1), self.selector(features).tanh()
        memory = self.memory.detach() if self.detach else self.memory
        meta = meta_embedding(features, memory, attention, selector)
        return self.scale * (squash(meta) @ unit(self.weight).T)


class OLTR(Objective):
    """Two stages: plain cross-entropy; then a memory of class centroids, a cosine classifier, class-balanced batches.

        L = 1/n sum_i l_i + eta L_centroid,   z = s squash(x_meta) . w_j / ||w_j||,   squash(x) = x / (1 + ||x||)
        x_meta = 10 / min_j ||x - c_j|| ( x + tanh(T x) * softmax(A x) C )

    x (n, d) features, C (k, d) the memory with rows c_j: class means of the training features when stage two begins,
    then trained by L_centroid (see `centroid_loss`), which also acts on x, and by it alone unless `detach=False`;
    A (k, d) starts as the classifier of stage one, T (d, d) and w (k, d) start anew; s = 16. eta `centroid`,
    `repulsion` and `margin` are the paper's code's, and so is `memory_gradient="averaged"` (see `centroid_loss`), but
    for one thing: by its own backward pass, eta does not reach the memory in their code.
    `share` is that of the epochs in stage two; both stages train everything and have the whole schedule to themselves.
    Source: Liu et al. 2019 (closed-set part) and its code. Left out: the attention inside feature maps, the threshold
    for unknown classes, and rates of their own for backbone, head and memory. The smallest distance is at least 0.1.
    Known to fail: where stage one fits every training image (small digits) balanced batches come too late, and it stays
    near cross-entropy. Squashing undoes most of what the reachability says, and the memory moves slowly, so that a
    backbone that is trained on at the full rate leaves it behind.
    """

    def __init__(self, counts: Tensor, centroid: float, repulsion: float, margin: float, memory_gradient: str):
        super().__init__(counts)
        self.centroid, self.repulsion, self.margin = centroid, repulsion, margin
        self.memory_gradient = memory_gradient

    def losses(self, out: Output, targets: Tensor) -> Tensor:
        return cross_entropy(out.logits, targets)

    def terms(self, out: Output, targets: Tensor) -> dict[str, Tensor]:
        terms = {"classification": super().forward(out, targets)}
        if out.memory is not None:
            loss = centroid_loss(out.features, targets, out.memory, self.repulsion, self.margin, self.memory_gradient)
            terms["centroid"] = self.centroid * loss
        return terms

    def forward(self, out: Output, targets: Tensor) -> Tensor:
        return sum(self.terms(out, targets).values())

    @torch.no_grad()
    def begin_epoch(self, report: Report) -> None:
        if isinstance(report.head, MetaEmbeddingHead) and not report.head.filled:
            report.head.fill(*report.embed())


def stages(share: float, detach: bool) -> tuple[Stage, ...]:
    """The second stage trains the head with the memory, and goes on training the network."""
    return two_stages(share, partial(MetaEmbeddingHead, detach=detach), train="all")


METHOD = Method(
    key="oltr",
    title="OLTR (memory and meta-embedding)",
    paper="Liu et al. 2019",
    equation=r"z_j = s\, \mathrm{squash}\!\left( \frac{10}{\min_j \lVert x - c_j \rVert} "
    r"\left(x + \tanh(T x) \odot \mathrm{softmax}(A x)\, C\right) \right)^{\!\top} \frac{w_j}{\lVert w_j \rVert}",
    objective=OLTR,
    settings={
        "centroid": Setting(0.01, 0.0, 1.0, "log", symbol="η", meaning="strength of the centroid loss"),
        "repulsion": Setting(0.01, 0.0, 1.0, "log", meaning="strength of the margin to other centroids, within it"),
        "margin": Setting(10.0, 0.0, 100.0, meaning="mean squared distance wanted to the other centroids"),
        "detach": Setting(True, choices=(True, False), meaning="keep the classification loss away from the memory"),
        "memory_gradient": Setting(
            "averaged", choices=("averaged", "exact"), meaning="pull on a centroid: over 1 + its images, or as derived"
        ),
        "share": Setting(0.5, 0.05, 0.9, meaning="share of the epochs given to the second stage"),
    },
    stages=stages,
    smooth={"detach": False, "memory_gradient": "exact"},
    citation=r"""@inproceedings{liu2019large,
  title = {Large-Scale Long-Tailed Recognition in an Open World},
  author = {Liu, Ziwei and Miao, Zhongqi and Zhan, Xiaohang and Wang, Jiayun and Gong, Boqing and Yu, Stella X.},
  booktitle = {CVPR}, pages = {2537--2546}, year = {2019}
}""",
)
