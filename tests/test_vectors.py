"""Worked numbers of the losses over pairs, by hand. Others stand beside their subject: weights and focal loss in
test_functional, rings, margins and logits in test_norms, difficulty, triplets and post-hoc rules in test_decoupling."""

import pytest
import torch

from ltviz.functional import squared_distances
from ltviz.methods import METHODS, crl
from ltviz.methods.range_loss import harmonic_mean, inter_loss, intra_loss, largest_ranges
from ltviz.objective import Output


def close(a, b, tolerance=1e-6):
    a, b = (torch.as_tensor(x, dtype=torch.float64) for x in (a, b))
    torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)


def pairs(positive, negative):
    positive, negative = torch.tensor([positive]), torch.tensor([negative])
    return crl.Pairs(positive, negative, torch.ones_like(positive).bool(), torch.ones_like(negative).bool())


# ----------------------------------------------------------------------------------------- class weights on focal loss


@pytest.mark.parametrize("form, expected", [("softmax", 0.103476), ("weighted_softmax", 0.184766)])
def test_a_class_weight_of_two_on_the_softmax_focal_loss(form, expected):
    """Logits 2, -1, .5 of class 0, gamma 1: the weight outside only, or in p as well."""
    logits = torch.tensor([[2.0, -1.0, 0.5]], dtype=torch.float64)
    objective = METHODS["focal"](gamma=1.0, form=form).build(torch.tensor([3, 2, 1]))
    objective.set_class_weight(torch.tensor([2.0, 0.5, 0.5]), "stage")
    close(objective(Output(logits, logits, logits), torch.tensor([0])), expected)


# ------------------------------------------------------------------------------------------------- class rectification


def test_relative_comparison_at_class_level():
    """Scores .7 .3 of the class and .6 .2 .55 of others, kappa 2: four triplets .80 .75 1.20 1.15."""
    score = torch.tensor([0.7, 0.3, 0.6, 0.2, 0.55], dtype=torch.float64)
    targets = torch.tensor([0, 0, 1, 1, 1])
    closeness, distance = crl.class_level(torch.stack([score, 1.0 - score], 1), targets)
    found = crl.hard_pairs(closeness, distance, targets, targets == 0, 2)
    found = found._replace(positive=found.positive.abs())
    close(crl.relative_loss(found, 0.5), 0.975)
    assert int((found.has_positive[:, :, None] & found.has_negative[:, None, :]).sum()) == 4


D_PLUS, D_MINUS = [0.1, 0.3, 0.5], [0.2, 0.6, 0.9]


def test_distribution_comparison():
    found = pairs(D_PLUS, D_MINUS)
    close(crl.histogram(found.positive, found.has_positive, 0.0, 1.0, 5), [0.2, 0.4, 0.4, 0.0, 0.0])
    expected = [0.066667, 0.266667, 0.2, 0.266667, 0.2]
    close(crl.histogram(found.negative, found.has_negative, 0.0, 1.0, 5), expected, 1e-5)
    close(crl.distribution_loss(found, 0.0, 1.0, 5), 0.36)


def test_the_histogram_as_the_poster_prints_it():
    """Without the division by the width of a bin, here 1/4, in both histograms."""
    found = pairs(D_PLUS, D_MINUS)
    printed = crl.histogram(found.positive, found.has_positive, 0.0, 1.0, 5, divided=False)
    close(printed, [0.05, 0.1, 0.1, 0.0, 0.0])
    close(crl.distribution_loss(found, 0.0, 1.0, 5, divided=False), 0.36 / 16)


def test_absolute_comparison_squared_or_not():
    close(crl.absolute_loss(pairs(D_PLUS, D_MINUS), 0.5, power=2), 0.073333, 1e-5)
    close(crl.absolute_loss(pairs(D_PLUS, D_MINUS), 0.5, power=1), 0.165)


@pytest.mark.parametrize("bins", [5, 100])
def test_histograms_have_mass_one_and_order_decides(bins):
    near, far = torch.linspace(0.0, 0.24, 40).tolist(), torch.linspace(0.76, 1.0, 40).tolist()
    found = pairs(near, far)
    for values in (found.positive, found.negative):
        close(crl.histogram(values, found.has_positive, 0.0, 1.0, bins).sum(), 1.0, 1e-5)
    close(crl.distribution_loss(found, 0.0, 1.0, bins), 0.0)
    close(crl.distribution_loss(pairs(far, near), 0.0, 1.0, bins), 1.0, 1e-5)
    alike = torch.linspace(0.0, 1.0, 400).tolist()
    close(crl.distribution_loss(pairs(alike, alike), 0.0, 1.0, 100), 0.5, 2e-2)


def test_distances_beyond_the_last_node_are_kept():
    found = pairs([-0.5, 3.0], [0.0, 1.0])
    close(crl.histogram(found.positive, found.has_positive, 0.0, 1.0, 5), [0.5, 0, 0, 0, 0.5])


@pytest.mark.parametrize(
    "sizes, rho, minority",
    [
        ([16, 1, 2, 2, 2, 0, 1, 6], 0.5, [2, 3, 4, 7]),  # 1 + 1 + 2 + 2 + 2 + 6 = 14 of 30; single images have no pair
        ([16, 1, 2, 2, 2, 0, 1, 6], 0.2, [2, 3]),  # 6 of 30: equal sizes in order of class number
        ([5, 3], 0.5, [1]),  # two classes
        ([4, 4], 0.5, [0]),
        ([8, 0], 0.5, []),
        ([1, 1, 1, 1], 0.5, []),
    ],
)
def test_the_minority_of_a_batch(sizes, rho, minority):
    targets = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    targets = targets[torch.randperm(len(targets), generator=torch.Generator().manual_seed(0))]
    found = torch.nonzero(crl.minority_classes(targets, len(sizes), rho)).squeeze(1)
    assert found.tolist() == minority


def test_a_batch_without_minority_is_left_to_the_base():
    logits, targets = torch.randn(4, 4), torch.arange(4)
    out = Output(logits, torch.randn(4, 3), torch.randn(4, 3))
    for combination in ("sum", "weighted"):
        objective = METHODS["crl"](combination=combination).build(torch.tensor([9, 5, 2, 1]))
        close(objective(out, targets), torch.nn.functional.cross_entropy(logits, targets), 1e-5)


def test_imbalance_of_cifar10():
    counts = torch.tensor([5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50])
    close(crl.imbalance(counts.double()), 75.2, 1e-2)


# ---------------------------------------------------------------------------------------------------------- range loss


def test_harmonic_mean_of_the_two_largest_of_three_distances():
    distance = torch.tensor([[0.0, 4.0, 2.0], [4.0, 0.0, 1.0], [2.0, 1.0, 0.0]])
    values, valid = largest_ranges(distance, torch.zeros(3, dtype=torch.int64), 1, 2)
    assert values.tolist() == [[4.0, 2.0]] and valid.all()
    close(harmonic_mean(values, valid), [2.666667])


def test_ranges_are_those_of_all_pairs():
    generator = torch.Generator().manual_seed(0)
    features, targets = torch.randn(12, 3, generator=generator), torch.tensor([0] * 7 + [1] * 4 + [2])
    expected = 0.0
    for c in range(3):
        own = features[targets == c]
        if len(own) > 1:
            pairwise = torch.pdist(own).sort(descending=True).values[:5]
            expected += len(pairwise) / (1.0 / pairwise).sum()
    close(intra_loss(features, targets, 3, 5, "euclidean"), expected, 1e-5)


def test_single_images_few_pairs_and_duplicates():
    alone = torch.randn(3, 2)
    assert intra_loss(alone, torch.arange(3), 3, 2, "euclidean") == 0.0
    two = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    close(intra_loss(two, torch.tensor([0, 0]), 1, 2, "euclidean"), 5.0)  # one pair, although two ranges are asked for
    same = torch.ones(4, 2, requires_grad=True)
    value = intra_loss(same, torch.zeros(4, dtype=torch.int64), 1, 2, "euclidean")
    (gradient,) = torch.autograd.grad(value, same)
    assert value < 1e-5 and gradient.isfinite().all()


def test_the_nearest_centres_are_pushed_apart():
    features = torch.tensor([[0.0, 0.0], [0.0, 2.0], [3.0, 1.0], [9.0, 9.0]])
    targets = torch.tensor([0, 0, 1, 2])
    close(inter_loss(features, targets, 3, 5.0, "euclidean"), 2.0)  # centres (0, 1) and (3, 1) are 3 apart
    assert inter_loss(features, targets, 3, 2.0, "euclidean") == 0.0
    assert inter_loss(features[:2], targets[:2], 3, 5.0, "euclidean") == 0.0  # one class: nothing to push


def test_squared_distances_of_a_line():
    x = torch.tensor([[0.0], [1.0], [3.0]])
    close(squared_distances(x, x), [[0, 1, 9], [1, 0, 4], [9, 4, 0]])
