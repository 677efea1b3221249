"""Nearest class mean: after plain training, the class whose mean feature is nearest."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..check import refuse
from ..functional import squared_distances, unit
from ..objective import Method, Output, Setting
from .ce import CrossEntropy
from .sampling import KANG


def class_means(features: Tensor, targets: Tensor, k: int) -> Tensor:
    """Mean feature of each class, (n, d) and (n,) -> (k, d); zero for a class without images."""
    sums = torch.zeros(k, features.shape[1], dtype=features.dtype, device=features.device)
    sums = sums.index_add(0, targets, features)
    return sums / torch.bincount(targets, minlength=k).clamp_min(1)[:, None]


class NearestClassMean(CrossEntropy):
    """Plain cross-entropy training; then an image goes to the class whose mean training feature is nearest.

        z_j = -|| g(x) - mean of g over the training images of class j ||^2

    x (n, d) features. g is the identity ("plain"), scaling to length 1 ("unit"), or subtracting the mean training
    feature and then scaling to length 1 ("centred", default: what the public code takes).
    Source: Kang et al. 2020, section 4.2; the three forms from their code.
    Known to fail: a class with one or two images has a mean that is no better than they are.
    """


def posthoc(out: Output, counts: Tensor, gallery: Callable[[], tuple[Tensor, Tensor]], form: str) -> Tensor:
    """Minus the squared distance to each class mean, (n, k); a class without training images is infinitely far."""
    if not callable(gallery):
        raise refuse("gallery", gallery, "a function without arguments -> (features (m, d), targets (m,)) of training")
    train, targets = gallery()
    test = out.features
    if form == "centred":
        centre = train.mean(0)
        train, test = train - centre, test - centre
    if form != "plain":
        train, test = unit(train), unit(test)
    logits = -squared_distances(test, class_means(train, targets, len(counts)))
    return torch.where(counts.to(logits.device) > 0, logits, -torch.inf)


METHOD = Method(
    key="ncm",
    title="Nearest class mean (NCM)",
    paper="Kang et al. 2020",
    equation=r"z_j = -\lVert g(x) - \bar g_j \rVert^2",
    objective=NearestClassMean,
    settings={
        "form": Setting("centred", choices=("centred", "unit", "plain"), meaning="what is done to the features first"),
    },
    posthoc=posthoc,
    citation=KANG,
)
