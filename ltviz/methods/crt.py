"""cRT: learn the features on the long tail as it is, then a new classifier on balanced batches."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..models import LinearHead
from ..objective import Method, Setting, Stage
from .ce import CrossEntropy
from .sampling import KANG


class ClassifierRetraining(CrossEntropy):
    """Classifier re-training: features from every image, then a new head from class-balanced batches.

    Stage one is plain cross-entropy. In stage two the backbone is frozen and a linear head starts anew.

        z = W' f(x) + b',   f fixed, (W', b') drawn anew

    f (n, d) features; W' (k, d), b' (k,). `share` is that of the epochs given to stage two; each stage has the whole
    learning-rate schedule to itself. Source: Kang et al. 2020, section 4.1 (10 of 100 epochs on ImageNet-LT).
    The frozen backbone keeps its BatchNorm statistics; the public code lets them move (Recipe.move_statistics).
    Known to fail: where the features have been fitted to 100 % training accuracy there is little left to re-learn
    (digits); it shines on images that are not.
    """

    def __init__(self, counts: Tensor, share: float = 0.2):
        super().__init__(counts)


def fresh_head(previous: nn.Module) -> nn.Module:
    """A new linear head of the same size."""
    k, dim = previous.weight.shape
    return LinearHead(dim, k)


def stages(*, share: float, **settings: Any) -> tuple[Stage, ...]:
    """The network as usual, then a fresh head on class-balanced batches for the last `share` of the epochs."""
    return (
        Stage(1.0 - share, schedule="restart"),
        Stage(share, sampler="class_balanced", head=fresh_head, train="head", schedule="restart"),
    )


SHARE = Setting(0.2, 0.05, 0.5, meaning="share of the epochs given to the second stage")

METHOD = Method(
    key="crt",
    title="Classifier re-training (cRT)",
    paper="Kang et al. 2020",
    equation=r"z = W' f(x) + b', \quad f \text{ frozen}",
    objective=ClassifierRetraining,
    settings={"share": SHARE},
    stages=stages,
    citation=KANG,
)
