"""cRT: learn the features on the long tail as it is, then a new classifier on balanced batches."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

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
    Known to fail: where the features have been fitted to 100% training accuracy there is little left to re-learn
    (digits); it shines on images that are not.
    """


def fresh_head(previous: nn.Module) -> nn.Module:
    """A new linear head of the same size."""
    k, dim = previous.weight.shape
    return LinearHead(dim, k)


def two_stages(share: float, head: Callable[[nn.Module], nn.Module], train: str = "head") -> tuple[Stage, Stage]:
    """The network as usual, then a new head on class-balanced batches for the last `share` of the epochs."""
    second = Stage(share, sampler="class_balanced", head=head, train=train, schedule="restart")
    return Stage(1.0 - share, schedule="restart"), second


def stages(share: float) -> tuple[Stage, ...]:
    """The second stage trains a fresh linear head, and it alone."""
    return two_stages(share, fresh_head)


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
