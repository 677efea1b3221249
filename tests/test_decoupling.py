"""What happens after plain training: two-stage heads, normalised rows, nearest means; worked numbers of CDB."""

import numpy as np
import pytest
import torch

import ltviz
from ltviz.datasets import digits_lt
from ltviz.methods.cdb import difficulty_weights, dynamic_tau
from ltviz.methods.lws import ScaledHead
from ltviz.methods.ncm import class_means
from ltviz.methods.tau_norm import normalised_weight
from ltviz.methods.tau_norm import posthoc as tau_norm
from ltviz.methods.triplet import triplet_loss
from ltviz.models import LinearHead
from ltviz.objective import METHODS, Output, Report


@pytest.fixture
def out():
    generator = torch.Generator().manual_seed(0)
    head = LinearHead(6, 4)
    head.initialise(generator)
    features = torch.randn(9, 6, generator=generator)
    with torch.no_grad():
        return Output(head(features), features, head.weight.detach()), head


def test_tau_norm_drops_the_bias_or_keeps_it(out):
    out, head = out
    weight, counts = head.weight.detach(), torch.tensor([9, 5, 3, 1])
    bare = tau_norm(out, counts, None, tau=0.0, bias="drop")
    torch.testing.assert_close(bare, out.features @ weight.T)
    torch.testing.assert_close(tau_norm(out, counts, None, tau=0.0, bias="keep"), out.logits)
    torch.testing.assert_close(normalised_weight(weight, 1.0).norm(dim=1), torch.ones(4))
    assert torch.equal(normalised_weight(torch.zeros(2, 3), 1.0), torch.zeros(2, 3))


def test_class_means_and_an_absent_class(out):
    out, _ = out
    targets = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2])
    means = class_means(out.features, targets, 4)
    torch.testing.assert_close(means[1], out.features[3:6].mean(0))
    assert torch.equal(means[3], torch.zeros(6))
    method = METHODS["ncm"]
    for form in ("plain", "unit", "centred"):
        logits = method(form=form).decide(out, torch.tensor([3, 3, 3, 0]), lambda: (out.features, targets))
        assert torch.isneginf(logits[:, 3]).all() and torch.isfinite(logits[:, :3]).all()
    plain = method(form="plain").decide(out, torch.tensor([3, 3, 3, 0]), lambda: (out.features, targets))
    expected = -((out.features[0] - means[2]) ** 2).sum()
    torch.testing.assert_close(plain[0, 2], expected)


def test_a_scaled_head_learns_factors_alone(out):
    out, head = out
    scaled = ScaledHead(head)
    torch.testing.assert_close(scaled(out.features), out.logits)
    assert [name for name, p in scaled.named_parameters() if p.requires_grad] == ["factor"]
    with torch.no_grad():
        scaled.factor.copy_(torch.tensor([1.0, 2.0, 0.5, 3.0]))
    effective = out.features @ scaled.weight.T + scaled.bias
    torch.testing.assert_close(scaled(out.features), effective)


def test_posthoc_methods_train_like_cross_entropy_and_decide_otherwise():
    data = digits_lt()
    plain = ltviz.train("ce", data, epochs=6, progress=False)
    for key in ("tau_norm", "ncm"):
        run = ltviz.train(key, data, epochs=6, progress=False)
        np.testing.assert_array_equal(run.logits, plain.logits)
        np.testing.assert_allclose(run.scores, plain.posthoc(key), atol=2e-2)  # features are kept in float16
        assert (run.confusion != plain.confusion).any()


def test_a_regulariser_decides_as_its_base_does():
    data = digits_lt()
    plain = ltviz.train("tau_norm", data, epochs=2, progress=False, tau=0.5)
    base = {"key": "tau_norm", "tau": 0.5}
    run = ltviz.train("ring", data, epochs=2, progress=False, strength=0.0, base=base)
    np.testing.assert_allclose(run.scores, plain.scores, rtol=1e-4, atol=1e-4)


def test_two_stage_methods_keep_the_backbone():
    data = digits_lt()
    for key in ("crt", "lws"):
        run = ltviz.train(key, data, epochs=5, progress=False)
        assert list(run.history["stage"]) == [0, 0, 0, 0, 1]
        expected = run.features.astype(np.float32) @ run.head_weight.T + run.head_bias
        np.testing.assert_allclose(expected, run.logits, atol=0.2)


ACCURACY = torch.tensor([0.9, 0.6, 0.1])


@pytest.mark.parametrize(
    ("rule", "tau", "weights"),
    [
        ("paper", 1.9985, [0.0307, 0.4903, 2.4790]),
        ("sigmoid", 0.9997, [0.2144, 0.8573, 1.9283]),
        ("public", 0.9997, [0.2144, 0.8572, 1.9284]),
    ],
)
def test_the_three_readings_of_dynamic_tau(rule, tau, weights):
    got = dynamic_tau(ACCURACY, rule)
    assert float(got) == pytest.approx(tau, abs=1e-4)
    np.testing.assert_allclose(difficulty_weights(ACCURACY, got, normalise=True).numpy(), weights, atol=2e-4)


def test_edge_cases_of_class_difficulty():
    np.testing.assert_allclose(difficulty_weights(ACCURACY, 1.5, True).numpy(), [0.0833, 0.6667, 2.25], atol=1e-4)
    assert difficulty_weights(torch.ones(3), 1.0, True).tolist() == [1, 1, 1]
    assert difficulty_weights(torch.zeros(3), 2.0, True).tolist() == [1, 1, 1]
    assert difficulty_weights(torch.tensor([1.0, 0.5]), 1.0, True).tolist() == [0, 2]
    assert difficulty_weights(torch.tensor([1.0, 0.5]), 0.0, True).tolist() == [1, 1]
    for rule in ("paper", "sigmoid", "public"):
        assert torch.isfinite(dynamic_tau(torch.tensor([1.0, 0.0]), rule))


def test_a_class_without_validation_images_weighs_as_the_others_on_average():
    """Accuracies .9, none, .6, .1: the others' weights are those of the three alone, and it has their mean."""
    accuracy = torch.tensor([0.9, float("nan"), 0.6, 0.1])
    for rule in ("paper", "sigmoid", "public"):
        tau = dynamic_tau(accuracy, rule)
        assert tau == dynamic_tau(ACCURACY, rule)
        for normalise in (True, False):
            weight, alone = (difficulty_weights(a, tau, normalise) for a in (accuracy, ACCURACY))
            torch.testing.assert_close(weight[[0, 2, 3]], alone)
            torch.testing.assert_close(weight[1], alone.mean())
    assert difficulty_weights(torch.full((2,), float("nan")), 1.0, True).tolist() == [1, 1]
    assert difficulty_weights(torch.tensor([1.0, float("nan")]), 1.0, True).tolist() == [1, 1]
    for key in ("cdb", "tricdb"):
        objective = METHODS[key](tau_rule="fixed", tau=1.0).build(torch.tensor([9, 5, 3, 1]))
        objective.begin_epoch(Report(0, 1, 0.5, objective.make_head(2), accuracy, lambda: None))
        weight = getattr(objective, "base", objective).class_weight
        torch.testing.assert_close(weight, torch.tensor([0.1, 1.4 / 3, 0.4, 0.9]) * 3 / 1.4)


def test_nearest_means_ask_for_the_training_images(out):
    out, _ = out
    with pytest.raises(ValueError, match="gallery=None: expected a function"):
        METHODS["ncm"]().decide(out, [9, 5, 3, 1], None)
    with pytest.raises(ValueError, match="counts=.*one count for each of the 4 classes"):
        METHODS["tau_norm"]().decide(out, [9, 5, 3], None)
    with pytest.raises(ValueError, match="out=.*an Output"):
        METHODS["tau_norm"]().decide(out.logits, [9, 5, 3, 1], None)
    torch.testing.assert_close(
        METHODS["logit_adjusted"]().decide(out, [9, 5, 3, 1], None),
        METHODS["logit_adjusted"]().decide(out, torch.tensor([9, 5, 3, 1]), None),
    )


def test_the_worked_triplets():
    features = torch.tensor([[0.0, 0], [1, 0], [0, 1.5], [3, 0]], requires_grad=True)
    loss = triplet_loss(features, torch.tensor([0, 0, 1, 1]), 0.2)
    assert loss.item() == pytest.approx(6.825)
    empty = triplet_loss(features, torch.tensor([0, 1, 2, 3]), 0.2)
    empty.backward()
    assert empty.item() == 0 and torch.equal(features.grad, torch.zeros(4, 2))
