"""Norms, margins and logits: the worked numbers of the papers' equations, and the edges where they could break."""

import math

import numpy as np
import pytest
import torch

from ltviz.methods import METHODS
from ltviz.methods.arcface import arcface_cosine, arcface_loss
from ltviz.methods.balanced_softmax import balanced_softmax_loss
from ltviz.methods.cosface import margin_loss
from ltviz.methods.darl import darl_weights, relative_length
from ltviz.methods.dual_ring import dual_ring_penalty
from ltviz.methods.equalization import equalization_loss, rare_classes
from ltviz.methods.l2_constrained import smallest_alpha
from ltviz.methods.ldam import ldam_loss, ldam_margins
from ltviz.methods.logit_adjustment import logit_adjusted_loss, subtract_prior
from ltviz.methods.normface import loss_bound
from ltviz.methods.ring import ring_penalty
from ltviz.methods.seesaw import seesaw_loss
from ltviz.methods.up import rare_classes as under_represented
from ltviz.methods.up import up_penalty
from ltviz.objective import Output

CIFAR10 = torch.tensor([5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50])  # ratio 100
FEATURES = torch.tensor([[3.0, 4.0], [0.0, 1.0]], dtype=torch.float64)
ROWS = torch.tensor([[1.0, 0.0], [0.0, 2.0], [2.0, 2.0]], dtype=torch.float64)


def close(a, b, tolerance=1e-5):
    a, b = (torch.as_tensor(x, dtype=torch.float64) for x in (a, b))
    torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)


def test_dual_ring_value_and_gradient():
    features = FEATURES.clone().requires_grad_()
    value = dual_ring_penalty(features, ROWS, 2.0, 1.5, 0.01, 0.01)
    value.backward()
    close(value, 0.0287745)
    close(features.grad[0], [0.009, 0.012])


def test_a_zero_feature_is_safe_in_a_ring():
    features = torch.zeros(2, 3, requires_grad=True)
    ring_penalty(features, 2.0, "squared").backward()
    assert torch.equal(features.grad, torch.zeros(2, 3))


def test_darl_weights():
    features = FEATURES
    close(darl_weights(features, ROWS, torch.tensor([2, 0]), 0.5, 0.5), [0.25, 1.0])
    objective = METHODS["darl"]().build(torch.tensor([9, 3, 1]))
    losses = torch.tensor([0.4, 1.2], dtype=torch.float64)
    close((darl_weights(features, ROWS, torch.tensor([2, 0]), 0.5, 0.5) * losses).mean(), 0.65)
    assert objective.detach
    rows = torch.tensor([[3.0], [2.0], [1.0]])
    close(1.0 - 0.5 * relative_length(rows), [0.5, 0.75, 1.0])


def test_darl_counts_equal_norms_fully():
    rows = 7.3 * torch.nn.functional.normalize(torch.randn(6, 5, generator=torch.Generator().manual_seed(0)), dim=1)
    assert torch.equal(relative_length(rows), torch.zeros(6))
    assert torch.equal(relative_length(rows[:1]), torch.zeros(1))
    assert torch.equal(relative_length(torch.zeros(3, 2)), torch.zeros(3))


def test_detach_decides_the_gradient_of_the_features():
    rows = torch.tensor([[3.0, 4.0], [0.0, 1.0], [2.0, 0.0]], dtype=torch.float64)
    for detach in (True, False):
        features = rows.clone().requires_grad_()
        out = Output(rows @ ROWS.T, features, ROWS)  # logits apart, so that only the weights can reach the features
        loss = METHODS["darl"](detach=detach).build(torch.tensor([9, 3, 1]))(out, torch.tensor([2, 1, 0]))
        assert loss.requires_grad is not detach
    loss.backward()
    assert features.grad[2, 0] < 0  # a longer feature between the extremes lowers the loss


def test_darl_weighs_only_the_classification_term():
    base = {"key": "ring", "strength": 1.0}
    out = Output(FEATURES @ ROWS.T, FEATURES, ROWS)
    targets = torch.tensor([2, 0])
    terms = METHODS["darl"](base=base).build(torch.tensor([9, 3, 1])).terms(out, targets)
    plain = METHODS["ring"](strength=1.0).build(torch.tensor([9, 3, 1])).terms(out, targets)
    close(terms["ring"], plain["ring"])
    close(terms["classification"], METHODS["darl"]().build(torch.tensor([9, 3, 1]))(out, targets))
    assert terms["classification"] < plain["classification"]


def test_dual_counts_the_classification_loss_once():
    out, targets = Output(FEATURES @ ROWS.T, FEATURES, ROWS), torch.tensor([2, 0])
    counts = torch.tensor([9, 3, 1])
    fixed = {"target": "fixed", "feature_target": 2.0, "weight_target": 1.5}
    dual = METHODS["dual"](**fixed).build(counts)(out, targets)
    close(dual, METHODS["darl"]().build(counts)(out, targets) + 0.0287745)


def test_stage_weights_reach_the_innermost_loss():
    counts, weight = torch.tensor([9, 3, 1]), torch.tensor([0.5, 1.0, 1.5])
    out, targets = Output(FEATURES @ ROWS.T, FEATURES, ROWS), torch.tensor([2, 0])
    dual = METHODS["dual"](feature_strength=0.0, weight_strength=0.0, class_strength=0, sample_strength=0).build(counts)
    plain = METHODS["ce"]().build(counts)
    for objective in (dual, plain):
        objective.set_class_weight(weight, "stage")
    close(dual(out, targets), plain(out, targets))


def test_the_radius_starts_once_and_survives_a_reload():
    counts = torch.tensor([9, 3, 1])
    ring = METHODS["ring"]().build(counts)
    address = ring.radius.data_ptr()
    first, later = (Output(x @ ROWS.T, x, ROWS) for x in (FEATURES, 10 * FEATURES))
    targets = torch.tensor([2, 0])
    close(ring.terms(first, targets)["ring"], 0.01 * 0.5 * 4.0)  # lengths 5 and 1 around their mean, 3
    ring.after_step(first, targets)
    close(ring.radius, 3.0)
    assert ring.radius.data_ptr() == address
    ring.after_step(later, targets)
    close(ring.radius, 3.0)
    again = METHODS["ring"]().build(counts)
    again.load_state_dict(ring.state_dict())
    again.after_step(later, targets)
    close(again.radius, 3.0)
    close(again.terms(later, targets)["ring"], 0.01 * 0.25 * (47.0**2 + 7.0**2))


def test_targets_of_the_dual_ring():
    counts, targets = torch.tensor([9, 3, 1]), torch.tensor([2, 0])
    first, later = (Output(x @ ROWS.T, x, ROWS) for x in (FEATURES, 10 * FEATURES))
    learned = METHODS["dual_ring"]().build(counts)
    for out in (first, later):
        learned.after_step(out, targets)
        close(learned.feature_target, 3.0)
        close(learned.weight_target, (3.0 + math.sqrt(8.0)) / 3.0)
    assert {name for name, _ in learned.named_parameters()} == {"feature_target", "weight_target"}
    fixed = METHODS["dual_ring"](target="fixed", feature_target=2.0).build(counts)
    fixed.after_step(first, targets)
    close(fixed.feature_target, 2.0)
    assert not list(fixed.parameters())
    mean = METHODS["dual_ring"](target="mean", feature_strength=1.0).build(counts)
    for out, spread in ((first, 2.0), (later, 20.0)):
        close(mean.terms(out, targets)["feature_ring"], 0.5 * spread**2)
        mean.after_step(out, targets)


def test_up_lengthens_only_rare_rows():
    rows = ROWS.clone().requires_grad_()
    rare = under_represented(torch.tensor([1, 50, 100]))
    assert rare.tolist() == [True, True, False]
    up_penalty(rows, rare, detach=True).backward()
    assert (rows.grad[:2] * ROWS[:2]).sum(1).lt(0).all()  # down the gradient, both grow
    assert rows.grad[2].abs().sum() == 0
    assert not under_represented(torch.tensor([5, 5, 5])).any()
    assert up_penalty(ROWS, under_represented(torch.tensor([5, 5, 5])), detach=True) == 0


def test_ldam_margins_and_losses():
    expected = [0.158114, 0.179697, 0.204238, 0.232091, 0.263829, 0.299768, 0.340675, 0.387221, 0.440497, 0.5]
    close(ldam_margins(CIFAR10, 0.5), expected, 2e-6)
    margins = ldam_margins(torch.tensor([100, 10, 1]), 0.5)
    close(margins, [0.158114, 0.281171, 0.5], 2e-6)
    cosine = torch.tensor([[0.5, 0.2, -0.1]] * 3, dtype=torch.float64)
    close(ldam_loss(cosine, torch.tensor([0, 1, 2]), margins, 30.0), [0.014073, 17.435120, 33.000123])
    assert ldam_margins(torch.tensor([10, 0, 1]), 0.5).tolist()[1:] == [0.0, 0.5]


def test_deferred_weights_are_those_of_the_effective_number():
    plain, weighted = METHODS["ldam_drw"]().stages
    assert plain.share == 0.8 and plain.class_weight is None and weighted.schedule == "continue"
    expected = [0.050611, 0.076900, 0.121134, 0.195037, 0.318805, 0.524590, 0.868349, 1.442627, 2.409223, 3.992724]
    close(weighted.class_weight(CIFAR10), expected)
    first, second = METHODS["ce_drs"](deferral=0.5).stages
    assert (first.sampler, second.sampler, second.share) == ("instance", "class_balanced", 0.5)


def test_both_reductions_of_deferred_weights():
    """Head with weight 0.05 and loss 1, tail with weight 4 and loss 2: 4.025 over n, 1.988 over the weights."""
    losses = torch.tensor([1.0, 2.0], dtype=torch.float64)
    logits = torch.stack([torch.zeros(2, dtype=torch.float64), losses.expm1().log()], 1)  # cross-entropy is the loss
    for reduction, expected in (("n", 4.025), ("weight", 1.98765)):
        objective = METHODS["ce_drw"](reduction=reduction).build(torch.tensor([2, 1]))
        objective.set_class_weight(torch.tensor([0.05, 4.0]), "stage")
        out = Output(torch.stack([logits[0], logits[1].flip(0)]), logits, logits)
        close(objective(out, torch.tensor([0, 1])), expected)


def test_balanced_softmax_and_logit_adjustment():
    z = torch.tensor([[1.0, 2.0, 0.0]] * 3, dtype=torch.float64)
    counts, targets = torch.tensor([100, 10, 1]), torch.tensor([0, 1, 2])
    close(balanced_softmax_loss(z, targets, counts), [0.243344, 1.545929, 5.848514])
    close(logit_adjusted_loss(z, targets, counts, 1.0), [0.243344, 1.545929, 5.848514])
    prior = [
        -0.908742,
        -1.420568,
        -1.932618,
        -2.444001,
        -2.956685,
        -3.467511,
        -3.979198,
        -4.491462,
        -5.007095,
        -5.513913,
    ]
    close(-subtract_prior(torch.zeros(1, 10), CIFAR10, 1.0)[0], prior)
    out = Output(torch.randn(4, 10), torch.randn(4, 2), torch.randn(10, 2))
    moved = METHODS["logit_adjusted"](tau=0.7).decide(out, CIFAR10)
    close(moved, out.logits - 0.7 * torch.tensor(prior))


def test_seesaw():
    z, counts = torch.tensor([[1.0, 2.0, 0.0]] * 2, dtype=torch.float64), torch.tensor([100, 10, 1])
    close(seesaw_loss(z, torch.tensor([1, 2]), counts, 0.8, 2.0), [0.328821, 6.050946])


def test_seesaw_counts_after_steps():
    objective = METHODS["seesaw"]().build(torch.tensor([100, 10, 1]))
    address, targets = objective.seen.data_ptr(), torch.tensor([0, 0, 2])
    for _ in range(2):
        objective.after_step(Output(torch.zeros(3, 3), torch.zeros(3, 2), torch.zeros(3, 2)), targets)
    assert objective.seen.tolist() == [4, 0, 2] and objective.seen.data_ptr() == address


def test_seesaw_counts_a_batch_before_its_loss():
    """A first batch of 100, 10 and 1 images has the losses of those counts, and is counted once."""
    counts = torch.tensor([100, 10, 1])
    objective, targets = METHODS["seesaw"]().build(counts), torch.repeat_interleave(torch.arange(3), counts)
    logits = torch.tensor([[1.0, 2.0, 0.0]], dtype=torch.float64).expand(111, 3)
    out = Output(logits, logits, logits[:3])
    losses = objective.losses(out, targets)
    close(losses[[100, 110]], [0.328821, 6.050946])
    objective.after_step(out, targets)
    assert objective.seen.tolist() == [100, 10, 1]
    assert not torch.allclose(objective.losses(Output(logits[:9], logits[:9], logits[:3]), targets[:9]), losses[:9])
    objective.eval()
    close(objective.losses(out, targets), losses)  # looked at, not counted


@pytest.mark.parametrize("k, largest, rare, share", [(10, 5000, 4, 0.03), (100, 500, 41, 0.003)])
def test_equalization_calls_the_tail_rare_whatever_the_number_of_classes(k, largest, rare, share):
    counts = torch.tensor([int(largest * 100 ** (-j / (k - 1))) for j in range(k)])  # CIFAR at ratio 100
    found = METHODS["equalization"]().build(counts).rare
    assert found.tolist() == [False] * (k - rare) + [True] * rare
    assert found.tolist() == (counts / counts.sum() < share).tolist()
    assert torch.equal(rare_classes(counts, 0.0), torch.zeros(k, dtype=torch.bool))
    assert rare_classes(counts, 1.0).sum() == (counts < counts.double().mean()).sum()
    assert not METHODS["equalization"]().build(torch.full((k,), 7)).rare.any()


def test_equalization_leaves_out_rare_classes_except_as_targets():
    z, ignored = torch.tensor([[1.0, 2.0, 0.0]] * 2, dtype=torch.float64), torch.tensor([False, False, True])
    close(equalization_loss(z, torch.tensor([1, 2]), ignored), [math.log(1 + math.exp(-1)), 2.407606])
    z.requires_grad_()
    everything = torch.ones(3, dtype=torch.bool)
    loss = equalization_loss(z, torch.tensor([1, 2]), everything).sum()
    loss.backward()
    assert loss == 0 and z.grad.isfinite().all()


def test_equalization_draws_by_chance_from_its_generator_only():
    counts = torch.tensor([960, 10, 10, 10, 10])
    objective = METHODS["equalization"](gamma=0.7).build(counts)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    objective.generator = torch.Generator().manual_seed(3)
    drawn = []
    for _ in range(2000):
        objective.after_step(Output(torch.zeros(1, 5), torch.zeros(1, 2), torch.zeros(5, 2)), torch.tensor([0]))
        drawn.append(objective.ignored.clone())
    share = torch.stack(drawn).double().mean(0)
    assert share[0] == 0 and (share[1:] - 0.7).abs().max() < 0.05
    assert torch.equal(torch.get_rng_state(), before)


def test_margins_on_four_numbers():
    close(64.0 * arcface_cosine(torch.tensor([0.6], dtype=torch.float64), 0.5, "linear", "exact"), [9.1526], 1e-4)
    cosine, targets = torch.tensor([[0.6, 0.0]], dtype=torch.float64), torch.tensor([0])
    close(margin_loss(cosine, targets, 0.35, 64.0), [math.log1p(math.exp(-16.0))], 1e-12)
    close(margin_loss(cosine, targets, 0.35, 30.0), [math.log1p(math.exp(-7.5))], 1e-12)


@pytest.mark.parametrize("gradient", ["exact", "straight_through"])
@pytest.mark.parametrize("cosine", [-1.0, -0.999, -0.9, 0.0, 0.9, 1.0])
def test_arcface_is_finite_and_pushes_up_everywhere(cosine, gradient):
    c = torch.tensor([[cosine, 0.1]], requires_grad=True)
    arcface_loss(c, torch.tensor([0]), 0.5, 30.0, "linear", gradient).sum().backward()
    assert c.grad.isfinite().all() and c.grad[0, 0] <= 0


def test_the_guard_of_arcface():
    m = 0.5
    below, beyond = math.cos(math.pi - m - 1e-3), math.cos(math.pi - m + 1e-3)
    moved = arcface_cosine(torch.tensor([below, beyond], dtype=torch.float64), m, "linear", "exact")
    close(moved, [math.cos(math.pi - 1e-3), beyond - m * math.sin(m)])
    unguarded = arcface_cosine(torch.tensor([beyond], dtype=torch.float64), m, "none", "exact")
    close(unguarded, [math.cos(math.pi + 1e-3)])


def test_straight_through_changes_the_gradient_only():
    value = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)
    exact, through = (arcface_cosine(value, 0.5, "linear", g) for g in ("exact", "straight_through"))
    close(exact, through)
    slope = math.sin(math.acos(0.3) + 0.5) / math.sin(math.acos(0.3))  # of cos(acos c + m) in c
    close(torch.autograd.grad(exact, value)[0], [slope])
    close(torch.autograd.grad(through, value)[0], [1.0])


def test_bounds_of_the_scale():
    close([smallest_alpha(k) for k in (10, 100, 1000)], [4.277, 6.782, 9.103], 1e-3)
    close([loss_bound(100, 1.0), 1e6 * loss_bound(100, 16.0)], [3.612, 9.5], 1e-2)
    with pytest.raises(ValueError, match="at least 3 classes"):
        smallest_alpha(2)


def test_cosine_losses_refuse_another_head():
    out = Output(torch.zeros(2, 3), torch.zeros(2, 2), torch.zeros(3, 2))
    for key in ("normface", "cosface", "am_softmax", "arcface", "ldam", "ldam_drw"):
        with pytest.raises(ValueError, match="no scale"):
            METHODS[key]().build(torch.tensor([9, 3, 1]))(out, torch.tensor([0, 1]))


@pytest.mark.parametrize(
    "key, settings, name, theirs",
    [
        ("normface", {"scale": 20.0}, "NormalizedSoftmaxLoss", {"temperature": 0.05}),
        ("cosface", {"scale": 64.0, "margin": 0.35}, "CosFaceLoss", {"scale": 64, "margin": 0.35}),
        ("am_softmax", {"scale": 30.0, "margin": 0.2}, "CosFaceLoss", {"scale": 30, "margin": 0.2}),
        ("arcface", {"scale": 64.0, "margin": math.radians(28.6)}, "ArcFaceLoss", {"scale": 64, "margin": 28.6}),
        ("arcface", {"scale": 16.0, "margin": 1.5}, "ArcFaceLoss", {"scale": 16, "margin": math.degrees(1.5)}),
    ],
)
def test_agrees_with_pytorch_metric_learning(key, settings, name, theirs):
    """Value and both gradients; a margin of 1.5 radians takes many samples beyond the guard."""
    from pytorch_metric_learning import losses

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(32, 8, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 6, (32,), generator=generator)
    ours = METHODS[key](**settings).build(torch.bincount(y, minlength=6))
    head, other = ours.make_head(8).double(), getattr(losses, name)(6, 8, **theirs).double()
    with torch.no_grad():
        other.W.copy_(head.weight.T)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    loss, expected = ours(Output(head(a), a, head.weight, head.scale), y), other(b, y)
    loss.backward()
    expected.backward()
    close(loss, expected, 1e-10)
    close(a.grad, b.grad, 1e-10)
    close(head.weight.grad, other.W.grad.T, 1e-10)


def test_vector_scaling_by_hand():
    """Counts 100, 10, 1: factors 1, 10^.3, 100^.3; logits 2, 1, 0 of the rare class."""
    objective = METHODS["vs"](gamma=0.3, tau=1.0).build(torch.tensor([100, 10, 1]))
    torch.testing.assert_close(objective.temperature, torch.tensor([1.0, 1.995262, 3.981072]))
    logits = torch.tensor([[2.0, 1.0, 0.0]])
    z = [2.0 + np.log(100 / 111), 1.0 / 1.995262 + np.log(10 / 111), np.log(1 / 111)]
    want = np.log(np.exp(z).sum()) - z[2]
    assert float(objective(Output(logits, logits, logits), torch.tensor([2]))) == pytest.approx(want, rel=1e-6)


def test_label_aware_smoothing_by_hand():
    """Counts 101, 51, 1: t is 1, 1/2, 0. Zhong et al. smooth the frequent classes most."""
    from ltviz.methods.label_smoothing import smoothing

    counts = torch.tensor([101, 51, 1])
    want = {"concave": 0.3 * np.sin(np.pi / 4), "linear": 0.15, "convex": 0.3 * (1 - np.cos(np.pi / 4)), "uniform": 0.3}
    for shape, middle in want.items():
        rare = 0.3 if shape == "uniform" else 0.0
        assert smoothing(counts, 0.3, 0.0, shape).tolist() == pytest.approx([0.3, middle, rare])
    assert smoothing(torch.tensor([5, 5]), 0.3, 0.1, "concave").tolist() == [0.3, 0.3], "equal counts"
    uniform = METHODS["label_smoothing"](head=0.1, shape="uniform").build(counts)
    logits, targets = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0]]), torch.tensor([0, 2])
    torch_s = torch.nn.functional.cross_entropy(logits, targets, label_smoothing=0.1)
    torch.testing.assert_close(uniform(Output(logits, logits, logits), targets), torch_s)
