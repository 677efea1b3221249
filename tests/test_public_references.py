"""Agreement with public implementations, value and gradient, to 1e-5 (cosine margins and NormFace: test_norms.py)."""

import pytest
import torch
from torch import nn

from ltviz.functional import one_hot
from ltviz.methods import METHODS
from ltviz.methods.contrastive import contrastive_loss
from ltviz.methods.focal import focal_loss
from ltviz.methods.inverse_frequency import inverse_frequency_weights
from ltviz.methods.triplet import triplet_loss
from ltviz.objective import Output


def draw(seed, n=24, columns=6, k=6):
    """(n, columns) numbers and long-tailed targets (n,) among k classes."""
    generator = torch.Generator().manual_seed(seed)
    chance = torch.tensor([0.5**j for j in range(k)])
    targets = torch.multinomial(chance, n, replacement=True, generator=generator)
    return 2.0 * torch.randn(n, columns, generator=generator, dtype=torch.float64), targets


def agree(ours, theirs, x):
    """Two functions of x have the same value and gradient."""
    results = []
    for function in (ours, theirs):
        leaf = x.clone().requires_grad_()
        value = function(leaf)
        results.append((value.detach(), torch.autograd.grad(value, leaf)[0]))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
    assert results[0][1].abs().sum() > 0


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("seed", range(3))
def test_sigmoid_focal_is_torchvisions(gamma, seed):
    from torchvision.ops import sigmoid_focal_loss

    z, y = draw(seed)
    agree(
        lambda x: focal_loss(x, y, gamma, "sigmoid").sum(),
        lambda x: sigmoid_focal_loss(x, one_hot(y, x), alpha=-1, gamma=gamma, reduction="sum"),
        z,
    )


@pytest.mark.parametrize("reduction", ["n", "weight"])
def test_weighted_cross_entropy_is_torchs(reduction):
    z, y = draw(0)
    counts = torch.tensor([320, 160, 80, 40, 20, 10])
    weight = inverse_frequency_weights(counts, 1.0).double()
    objective = METHODS["inverse_frequency"](reduction=reduction).build(counts)
    scale = 1.0 if reduction == "weight" else (weight[y].sum() / len(y)).item()
    agree(
        lambda x: objective(Output(x, x, x), y),
        lambda x: scale * nn.functional.cross_entropy(x, y, weight=weight),
        z,
    )


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_deferred_focal_is_that_of_the_code_of_ldam(gamma):
    """torch's cross-entropy with class weights first, then the factor, then the mean over n."""
    z, y = draw(1)
    objective = METHODS["focal_drw"](gamma=gamma).build(torch.tensor([320, 160, 80, 40, 20, 10])).double()
    first, second = METHODS["focal_drw"]().stages
    assert (first.share, first.class_weight) == (0.8, None)
    weight = second.class_weight(objective.counts)
    assert weight.max() > 20 * weight.min()
    objective.set_class_weight(weight, "stage")

    def theirs(x):
        loss = nn.functional.cross_entropy(x, y, weight=weight.double(), reduction="none")
        return ((1.0 - torch.exp(-loss)) ** gamma * loss).mean()

    agree(lambda x: objective(Output(x, x, x), y), theirs, z)
    plain = METHODS["focal_drw"](gamma=gamma).build(torch.tensor([320, 160, 80, 40, 20, 10])).double()
    agree(lambda x: plain(Output(x, x, x), y), lambda x: focal_loss(x, y, gamma, "softmax").mean(), z)


@pytest.mark.parametrize("margin", [0.05, 0.5, 3.0])
@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_triplets_are_those_of_pytorch_metric_learning(margin, unit, seed):
    """Its margin loss with squared distances; its default averages over the violating triplets, as ours does."""
    from pytorch_metric_learning.distances import LpDistance
    from pytorch_metric_learning.losses import TripletMarginLoss

    from ltviz.functional import unit as to_unit

    x, y = draw(seed, k=4)
    theirs = TripletMarginLoss(margin=margin, distance=LpDistance(normalize_embeddings=unit, p=2, power=2))
    agree(lambda v: triplet_loss(to_unit(v) if unit else v, y, margin), lambda v: theirs(v, y), x)


@pytest.mark.parametrize("margin", [0.5, 1.0, 6.0])
@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_contrastive_is_that_of_pytorch_metric_learning(margin, unit, seed):
    """Its hinges are not squared; its reducer is set to the sum, which we divide by the number of ordered pairs."""
    from pytorch_metric_learning.distances import LpDistance
    from pytorch_metric_learning.losses import ContrastiveLoss
    from pytorch_metric_learning.reducers import SumReducer

    from ltviz.functional import unit as to_unit

    x, y = draw(seed, k=4)
    distance = LpDistance(normalize_embeddings=unit, p=2, power=1)
    theirs = ContrastiveLoss(pos_margin=0, neg_margin=margin, distance=distance, reducer=SumReducer())
    n = len(y)
    agree(
        lambda v: contrastive_loss(to_unit(v) if unit else v, y, margin, power=1),
        lambda v: theirs(v, y) / (n * (n - 1)),
        x,
    )
