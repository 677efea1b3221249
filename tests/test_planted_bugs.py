"""Deliberate bugs, most of them out of public code: the battery passes the method as it is and fails the wrong one."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from battery import (
    check_declared,
    check_defaults,
    check_extreme_logits,
    check_gradient,
    check_limits,
    check_odd_batches,
    check_order,
    check_pure,
    check_reach,
    check_record,
    check_reference,
    check_slope,
    check_state,
    check_static,
)
from torch import nn

from ltviz.functional import (
    cross_entropy,
    effective_number,
    one_hot,
    pair_masks,
    safe_norm,
    squared_distances,
    target_entries,
    weighted_mean,
)
from ltviz.methods import METHODS, cosface, crl, ldam, ncm, range_loss, ring, seesaw, triplet, up
from ltviz.methods.ce import CrossEntropy
from ltviz.methods.class_balanced import ClassBalanced
from ltviz.methods.cosface import CosFace
from ltviz.methods.darl import DARL, darl_weights
from ltviz.methods.focal import Focal
from ltviz.methods.ring import Ring
from ltviz.methods.seesaw import Seesaw
from ltviz.methods.sigmoid import prior_head, signed_logits
from ltviz.objective import Limit, Output, Setting

# What each check says when it fails, so that a bug is not "caught" by some other error.
SAYS = {
    check_reference: "Not equal to tolerance",
    check_gradient: "Jacobian mismatch",
    check_slope: "slope along",
    check_order: "Not equal to tolerance",
    check_reach: "no gradient at",
    check_static: "data-dependent|data dependent|dynamic shape|_local_scalar_dense|nonzero|aten.index",
    check_pure: "bound anew|forward writes|not pure|draws",
    check_state: "starts anew",
    check_odd_batches: "the loss is nan|not finite",
    check_extreme_logits: "the loss is|not finite",
}

# ------------------------------------------------------------------------------ an equation is replaced by another


def margin_added(cosine, targets, margin, scale):
    return cross_entropy(scale * (cosine + margin * one_hot(targets, cosine)), targets)


def margin_on_all_classes(cosine, targets, margin, scale):
    return cross_entropy(scale * (cosine - margin), targets)


def margins_of_the_square_root(counts, max_margin):
    rarity = counts.to(torch.float64).clamp_min(1.0).pow(-0.5)
    return (max_margin * rarity / rarity.max()).to(torch.float32)


def pairs_by_position(targets):
    return pair_masks(torch.arange(len(targets)) // 2)


def minority_from_the_wrong_end(targets, k, rho):
    size = one_hot(targets, torch.empty(0, k)).sum(0)
    descending = size.sort(stable=True, descending=True)
    large = descending.values.cumsum(0) <= rho * len(targets)
    return torch.zeros_like(large).scatter(0, descending.indices, large) & (size >= 2)


def histogram_cumulated_the_wrong_way(pairs, low, high, bins, divided):
    positive = crl.histogram(pairs.positive, pairs.has_positive, low, high, bins, divided)
    negative = crl.histogram(pairs.negative, pairs.has_negative, low, high, bins, divided)
    return (positive.cumsum(0) * negative).sum()


def own_positive(closeness, distance, targets, anchors, kappa):
    """An anchor that is its own hardest positive."""
    same, other = pair_masks(targets)
    same = same | torch.eye(len(targets), dtype=torch.bool)
    hard_same = torch.where(same, closeness, torch.inf).topk(kappa, dim=1, largest=False).indices
    hard_other = torch.where(other, closeness, -torch.inf).topk(kappa, dim=1).indices
    return crl.Pairs(
        distance.gather(1, hard_same),
        distance.gather(1, hard_other),
        same.gather(1, hard_same) & anchors[:, None],
        other.gather(1, hard_other) & anchors[:, None],
    )


def ring_of_detached_features(rows, radius, form):
    return 0.5 * (safe_norm(rows.detach()) - radius).square().mean()


def all_triplets(features, targets, margin):
    """The mean over all triplets, also those that are not violated."""
    same, other = pair_masks(targets)
    d = (features[:, None] - features[None]).square().sum(2)
    loss = (d[:, :, None] - d[:, None, :] + margin).clamp_min(0.0)
    return (loss * (same[:, :, None] & other[:, None, :])).sum() / (same[:, :, None] & other[:, None, :]).sum()


def mitigation_upside_down(logits, targets, counts, p, q):
    log_n = counts.clamp_min(1).to(logits.dtype).log()
    mitigation = p * (log_n[targets][:, None] - log_n[None]).clamp_max(0.0)
    return cross_entropy(logits + (1.0 - one_hot(targets, logits)) * mitigation, targets)


def seesaw_through_sigma(logits, targets, counts, p, q):
    """The compensation is no constant for the gradient."""
    log_n = counts.clamp_min(1).to(logits.dtype).log()
    mitigation = p * (log_n[None] - log_n[targets][:, None]).clamp_max(0.0)
    log_sigma = torch.log_softmax(logits, 1)
    of_target = target_entries(log_sigma, targets).clamp_min(math.log(0.01))
    compensation = q * (log_sigma - of_target[:, None]).clamp_min(0.0)
    return cross_entropy(logits + (1.0 - one_hot(targets, logits)) * (mitigation + compensation), targets)


def ring_over_a_moving_mean(rows, radius, form):
    length = safe_norm(rows)
    return ((length - radius) / length.mean().clamp_min(0.5)).square().mean()


def means_over_equal_counts(features, targets, k):
    """The sum of each class divided by n / k."""
    sums = torch.zeros(k, features.shape[1], dtype=features.dtype).index_add(0, targets, features)
    return sums / (len(targets) / k)


def centres_over_equal_counts(features, targets, k, margin, distance):
    centres = one_hot(targets, features.new_empty(0, k)).T @ features / (len(targets) / k)
    apart = squared_distances(centres, centres).clamp_min(1e-12).sqrt()
    return (margin - apart[torch.ones(k, k).triu(1).bool()].min()).clamp_min(0.0)


REPLACED = [
    ("margin sign flipped", "cosface", {}, cosface, "margin_loss", margin_added, check_reference),
    ("margin on all classes", "cosface", {}, cosface, "margin_loss", margin_on_all_classes, check_reference),
    ("n^-1/2 for n^-1/4", "ldam", {}, ldam, "ldam_margins", margins_of_the_square_root, check_reference),
    ("features detached", "ring", {}, ring, "ring_penalty", ring_of_detached_features, check_gradient),
    ("pairs by batch position", "triplet", {}, triplet, "pair_masks", pairs_by_position, check_reference),
    ("pairs by batch position", "triplet", {}, triplet, "pair_masks", pairs_by_position, check_order),
    ("all triplets", "triplet", {}, triplet, "triplet_loss", all_triplets, check_reference),
    ("minority from the wrong end", "crl", {}, crl, "minority_classes", minority_from_the_wrong_end, check_reference),
    (
        "histogram cumulated the wrong way", "crl", {"comparison": "distribution"}, crl, "distribution_loss",
        histogram_cumulated_the_wrong_way, check_reference,
    ),
    ("anchor its own positive", "crl", {"kappa": 2, "level": "instance"}, crl, "hard_pairs", own_positive,
     check_reference),
    ("mitigation upside down", "seesaw", {"q": 0.0}, seesaw, "seesaw_loss", mitigation_upside_down, check_reference),
    ("sigma not detached", "seesaw", {}, seesaw, "seesaw_loss", seesaw_through_sigma, check_slope),
    ("mean length not detached", "ring", {"form": "auto"}, ring, "ring_penalty", ring_over_a_moving_mean, check_slope),
    ("class means over equal counts", "ncm", {}, ncm, "class_means", means_over_equal_counts, check_reference),
    ("class centres over equal counts", "range", {"inter": 1.0, "margin": 4.0}, range_loss, "inter_loss",
     centres_over_equal_counts, check_reference),
]  # fmt: skip


@pytest.mark.parametrize(
    "key, settings, module, name, wrong, check", [pytest.param(*bug[1:], id=f"{bug[1]}: {bug[0]}") for bug in REPLACED]
)
def test_a_wrong_equation_is_caught(key, settings, module, name, wrong, check, monkeypatch):
    check(METHODS[key], settings)
    monkeypatch.setattr(module, name, wrong)
    with pytest.raises((AssertionError, RuntimeError), match=SAYS[check]):
        check(METHODS[key], settings)


# --------------------------------------------------------------------------------- an objective, or a rule, is wrong


class FocalOfTheWeightedLoss(Focal):
    """p = exp(-w CE): the class weight leaks into the modulator."""

    def forward(self, out, targets):
        weighted = self.class_weight[targets] * cross_entropy(out.logits, targets)
        return ((1.0 - torch.exp(-weighted)) ** self.gamma * weighted).mean()


class FocalByPower(Focal):
    """(1 - p)^gamma as it stands: an infinite slope at p = 1."""

    def losses(self, out, targets):
        loss = cross_entropy(out.logits, targets)
        return (1.0 - torch.exp(-loss)) ** self.gamma * loss


class SigmoidFocalThatOverflows(Focal):
    """log(1 + exp(-z)) written out."""

    def losses(self, out, targets):
        z = signed_logits(out.logits, targets)
        return (torch.exp(-self.gamma * (z + torch.log1p(torch.exp(-z)))) * torch.log1p(torch.exp(-z))).sum(1)

    def make_head(self, dim):
        return prior_head(dim, self.k, self.decay_bias)


class MinusDARL(DARL):
    """Eq. (7) as printed, with its leading minus."""

    def losses(self, out, targets):
        return -super().losses(out, targets)


class DARLOverTheSumOfItsWeights(DARL):
    def terms(self, out, targets):
        w = darl_weights(out.features, out.head_weight, targets, self.class_strength, self.sample_strength).detach()
        losses = self.weighted.class_weight[targets] * self.weighted.losses(out, targets)
        return {"classification": (w * losses).sum() / w.sum()}


class WeightsNotDetached(DARL):
    def losses(self, out, targets):
        w = darl_weights(out.features, out.head_weight, targets, self.class_strength, self.sample_strength)
        return w * self.weighted.losses(out, targets)


class TargetNotDetached(up.UP):
    def penalty(self, out, targets):
        return self.strength * up.up_penalty(out.head_weight, self.rare, detach=False)


class CountsAfterTheStep(Seesaw):
    """The images of the batch are not among those seen."""

    def losses(self, out, targets):
        return seesaw.seesaw_loss(out.logits, targets, self.seen, self.p, self.q)


class OverTheSumOfWeights(CrossEntropy):
    """Divided by the sum of the class weights instead of by N."""

    reduction = "weight"


class WeightsUpsideDown(ClassBalanced):
    def __init__(self, counts, **settings):
        super().__init__(counts, **settings)
        self.class_weight.copy_(effective_number(self.counts, settings["beta"]))


class Unweighted(CrossEntropy):
    """Forgets the class weights."""

    def forward(self, out, targets):
        return self.losses(out, targets).mean()


class DetachedFeatures(CrossEntropy):
    def losses(self, out, targets):
        return cross_entropy(out.features.detach() @ out.head_weight.T, targets)


class MarginInUnitsOfTheLogit(CosFace):
    """The margin without the scale."""

    def losses(self, out, targets):
        return cross_entropy(out.logits - self.margin * one_hot(targets, out.logits), targets)


class ByPosition(CrossEntropy):
    """The first half of the batch counts twice."""

    def losses(self, out, targets):
        return cross_entropy(out.logits, targets) * torch.linspace(1.0, 2.0, len(targets), dtype=out.logits.dtype)


class ReadBack(CrossEntropy):
    """A value comes back to the host."""

    def losses(self, out, targets):
        largest = out.features.detach().abs().max().item()
        return cross_entropy(out.logits, targets) * (1.0 if largest > 0 else 0.0)


class BooleanIndex(CrossEntropy):
    """A shape that depends on the data."""

    def forward(self, out, targets):
        losses = self.class_weight[targets] * cross_entropy(out.logits, targets)
        return losses[losses > 0].sum() / len(targets)


class BoundAnew(Seesaw):
    """A buffer that a captured graph would no longer see."""

    def after_step(self, out, targets):
        self.seen = self.seen + one_hot(targets, out.logits).sum(0).to(self.seen.dtype)


class CountsInForward(Seesaw):
    """forward that writes."""

    def losses(self, out, targets):
        super().after_step(out, targets)
        return super().losses(out, targets)


class Dropped(CrossEntropy):
    """A random mask drawn in forward, from torch's global generator."""

    def losses(self, out, targets):
        return cross_entropy(nn.functional.dropout(out.logits, 0.3), targets)


class StartsAnew(Ring):
    """A radius that is taken from the data again after a reload."""

    @torch.no_grad()
    def begin_epoch(self, report):
        super().begin_epoch(report)
        if report.epoch == 0:
            self.radius.copy_(safe_norm(report.embed()[0]).mean())


class ZeroOverZero(DARL):
    """Equal lengths, 0 / 0."""

    def losses(self, out, targets):
        length = out.features.norm(dim=1)
        w = 1.0 - self.sample_strength * (length - length.min()) / (length.max() - length.min())
        return w * self.weighted.losses(out, targets)


class UnsafeNorm(Ring):
    """The slope of a norm at the origin."""

    def penalty(self, out, targets):
        return 0.5 * self.strength * (out.features.square().sum(1).sqrt() - self.radius).square().mean()


def tau_norm_keeping_the_bias(out, counts, gallery, tau, bias):
    normalised = out.head_weight / safe_norm(out.head_weight)[:, None] ** tau
    return out.features @ normalised.T + (out.logits - out.features @ out.head_weight.T)


def adjustment_added(out, counts, gallery, tau):
    return out.logits + tau * torch.log(counts / counts.sum())


def centred_on_the_test_set(out, counts, gallery, form):
    centre = out.features.mean(0)
    moved = Output(out.logits, out.features - centre, out.head_weight)
    train, targets = gallery()
    return ncm.posthoc(moved, counts, lambda: (train - centre, targets), form="unit")


def swap(of, **changes):
    return replace(METHODS[of], **changes)


WRONG = [
    ("focal p from the weighted loss", swap("focal", objective=FocalOfTheWeightedLoss), {}, check_reference),
    ("power form of focal", swap("focal", objective=FocalByPower), {"gamma": 0.5}, check_extreme_logits),
    (
        "sigmoid focal that overflows", swap("focal", objective=SigmoidFocalThatOverflows), {"form": "sigmoid"},
        check_extreme_logits,
    ),
    ("DARL minus sign", swap("darl", objective=MinusDARL), {}, check_reference),
    ("DARL over the sum of weights", swap("darl", objective=DARLOverTheSumOfItsWeights), {}, check_reference),
    ("DARL weights not detached", swap("darl", objective=WeightsNotDetached), {}, check_slope),
    ("UP target not detached", swap("up", objective=TargetNotDetached), {"strength": 1.0}, check_slope),
    ("counts after the step", swap("seesaw", objective=CountsAfterTheStep), {}, check_reference),
    ("DARL 0/0", swap("darl", objective=ZeroOverZero), {}, check_odd_batches),
    ("sum of weights for N", swap("ce", objective=OverTheSumOfWeights), {}, check_reference),
    ("weights upside down", swap("class_balanced", objective=WeightsUpsideDown), {}, check_reference),
    ("class weights forgotten", swap("ce", objective=Unweighted), {}, check_reference),
    ("features detached", swap("ce", objective=DetachedFeatures), {}, check_reach),
    ("features detached", swap("ce", objective=DetachedFeatures), {}, check_gradient),
    ("margin without the scale", swap("cosface", objective=MarginInUnitsOfTheLogit), {}, check_reference),
    ("position in the batch", swap("ce", objective=ByPosition), {}, check_order),
    ("value read back", swap("ce", objective=ReadBack), {}, check_static),
    ("boolean index", swap("ce", objective=BooleanIndex), {}, check_static),
    ("buffer bound anew", swap("seesaw", objective=BoundAnew), {}, check_pure),
    ("forward writes", swap("seesaw", objective=CountsInForward), {}, check_pure),
    ("forward draws", swap("ce", objective=Dropped), {}, check_pure),
    ("radius starts anew", swap("ring", objective=StartsAnew), {}, check_state),
    ("slope at the origin", swap("ring", objective=UnsafeNorm), {}, check_odd_batches),
    ("tau-norm keeps the bias", swap("tau_norm", posthoc=tau_norm_keeping_the_bias), {}, check_reference),
    ("adjustment added", swap("logit_adjusted", posthoc=adjustment_added), {}, check_reference),
    ("centre of the test set", swap("ncm", posthoc=centred_on_the_test_set), {}, check_reference),
]  # fmt: skip


@pytest.mark.parametrize(
    "wrong, settings, check", [pytest.param(*bug[1:], id=f"{bug[1].key}: {bug[0]}: {bug[3].__name__}") for bug in WRONG]
)
def test_a_wrong_method_is_caught(wrong, settings, check):
    check(METHODS[wrong.key], settings)
    with pytest.raises((AssertionError, RuntimeError), match=SAYS[check]):
        check(wrong, settings)


@pytest.mark.parametrize(
    "changes",
    [
        {"limits": (Limit({"gamma": 1.0}, "ce"),)},
        {"limits": (Limit({"gamma": 0.0}, "sigmoid"),)},
        {"limits": (Limit({"gamma": 0.0, "form": "sigmoid"}, "ce"),)},
    ],
)
def test_a_wrong_limit_is_caught(changes):
    check_limits(METHODS["focal"])
    with pytest.raises(AssertionError):
        check_limits(swap("focal", **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"citation": ""},
        {"equation": r"$\frac{a}{b}$"},
        {"equation": r"\frac{a}{b"},
        {"key": "Focal Loss"},
        {"settings": {**METHODS["focal"].settings, "gamma": Setting(2.0, 0.0, 5.0)}},
        {"settings": {**METHODS["focal"].settings, "gamma": Setting(2.0, 0.0, 5.0, meaning="focus.")}},
    ],
)
def test_an_incomplete_record_is_caught(changes):
    check_record(METHODS["focal"])
    with pytest.raises((AssertionError, ValueError)):
        check_record(swap("focal", **changes))


class FocalWithADefault(Focal):
    def __init__(self, counts, gamma, form, decay_bias=False):
        super().__init__(counts, gamma, form, decay_bias)


class FocalThatTakesAnything(Focal):
    def __init__(self, counts, **settings):
        super().__init__(counts, **settings)


class FocalThatForgetsGamma(Focal):
    def __init__(self, counts, gamma, form, decay_bias):
        super().__init__(counts, 2.0, form, decay_bias)


class FocalOfItsOwn(Focal):
    def __init__(self, counts, gamma, form, decay_bias, alpha):
        super().__init__(counts, gamma * alpha, form, decay_bias)


class FocalWithoutForm(Focal):
    def __init__(self, counts, gamma, decay_bias):
        super().__init__(counts, gamma, "softmax", decay_bias)


@pytest.mark.parametrize(
    "changes, check, says",
    [
        ({"objective": FocalWithADefault}, check_defaults, "a default of its own for decay_bias"),
        ({"probability": lambda form="softmax": form}, check_defaults, "a default of its own for form"),
        ({"objective": FocalThatTakesAnything}, check_declared, "takes whatever comes"),
        ({"objective": FocalThatForgetsGamma}, check_declared, r"does not read \['gamma'\]"),
        ({"probability": lambda form: "softmax"}, check_declared, r"does not read \['form'\]"),
        ({"objective": FocalOfItsOwn}, check_declared, r"\['alpha'\]: a setting that no part declares"),
        ({"objective": FocalWithoutForm, "probability": "softmax"}, check_declared, r"\['form'\]: a setting that no"),
    ],
)
def test_a_setting_that_goes_astray_is_caught(changes, check, says):
    check(METHODS["focal"])
    with pytest.raises(AssertionError, match=says):
        check(swap("focal", **changes))


def test_a_balanced_batch_would_hide_the_reduction():
    """Why the battery's batches are long-tailed: with one image a class and weights of mean 1, both means agree."""
    losses, targets, weights = torch.rand(4), torch.arange(4), torch.tensor([0.2, 0.7, 1.1, 2.0])
    n, by_weight = (partial(weighted_mean, losses, targets, weights)(reduction=r) for r in ("n", "weight"))
    torch.testing.assert_close(n, by_weight)
