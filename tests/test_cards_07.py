"""The exercises of chapter 07 say what is wrong with the answers that readers give."""

import sys

import pytest
import torch
from conftest import REPO

import ltviz as lt

F = torch.nn.functional


@pytest.fixture(scope="module")
def cards():
    sys.path.insert(0, str(REPO / "notebooks"))
    try:
        import cards_07

        yield cards_07
    finally:
        sys.path.remove(str(REPO / "notebooks"))


def relative(rows):
    length = rows.norm(dim=1)
    return (length - length.min()) / (length.max() - length.min()).clamp_min(1e-12)


def losses(z, y):
    return F.cross_entropy(z, y, reduction="none")


def weights(x, w, y, a, b):
    return (1 - a * relative(w)[y]) * (1 - b * relative(x))


def unguarded(z, x, w, y, a, b):
    def r(rows):
        length = rows.norm(dim=1)
        return (length - length.min()) / (length.max() - length.min())

    return ((1 - a * r(w)[y]) * (1 - b * r(x)).detach() * losses(z, y)).mean()


def attached(z, x, w, y, a, b):
    return (weights(x, w, y, a, b) * losses(z, y)).mean()


def half_attached(z, x, w, y, a, b):
    return ((1 - a * relative(w)[y]) * (1 - b * relative(x)).detach() * losses(z, y)).mean()


DARL = [
    (lambda z, x, w, y, a, b: -(weights(x, w, y, a, b) * losses(z, y)).mean(), "That is the printed sign."),
    (
        lambda z, x, w, y, a, b: ((1 - a * relative(w[y])) * (1 - b * relative(x)) * losses(z, y)).mean(),
        "among the classes in the batch",
    ),
    (
        lambda z, x, w, y, a, b: (weights(x, w, y, a, b) * losses(z, y)).sum() / weights(x, w, y, a, b).sum(),
        "You divided by the sum of the weights.",
    ),
    (lambda z, x, w, y, a, b: (weights(x, w, y, a, b) * losses(z, y)).sum(), "You summed over the images."),
    (lambda z, x, w, y, a, b: losses(z, y).mean(), "The weights are missing"),
    (unguarded, "0 / 0"),
    (attached, "`.detach()`"),
    (half_attached, "`.detach()`"),
]


@pytest.mark.parametrize(
    ("answer", "said"), DARL, ids=["minus", "batch", "weights", "sum", "plain", "nan", "attached", "half"]
)
def test_darl_names_the_mistake(cards, answer, said):
    result = cards.darl_exercise.check(answer)
    assert not result.passed and any(said in detail for held, _, detail in result.rows if not held), result.text
    assert "raised" not in result.text


REST = [
    (lambda push, beta, strength, k: beta + push / strength, "the number of classes"),
    (lambda push, beta, strength, k: beta + 2 * push * k / strength, "no 2 is left"),
    (lambda push, beta, strength, k: push * k / strength, "That is the gap"),
]


@pytest.mark.parametrize(("answer", "said"), REST, ids=["k", "two", "gap"])
def test_rest_names_the_mistake(cards, answer, said):
    result = cards.rest_exercise.check(answer)
    assert not result.passed and any(said in detail for _, _, detail in result.rows), result.text


def test_right_answers_pass(cards):
    assert cards.darl_exercise.check(
        lambda z, x, w, y, a, b: (weights(x, w, y, a, b).detach() * losses(z, y)).mean()
    ).passed
    assert cards.rest_exercise.check(lambda push, beta, strength, k: (push * k + beta * strength) / strength).passed


def test_the_table_of_claims_says_what_the_records_give(cards):
    card = cards.claims()
    found = lt.metrics.paired(cards.dual("cifar16", 0.01), cards.plain_of("cifar16"))
    assert f"{100 * found.mean:+.1f} ± {100 * found.half:.1f}" in card.text
    assert "direction yes, size no" in card.text and card.text.count("λ₂ = 0.01") == 4
    assert card.text.count("λ₂ = 1, λ₃") == 2
    assert card.text.count(lt.metrics.ONE_SEED) == 2 and "24.10" in card.text and "25.43" in card.text


def test_the_weights_of_nearly_equal_vectors_span_the_whole_range(cards):
    (run,) = lt.recorded("digits", "dual", weight_strength=10.0, seed=0)
    assert cards.vectors(run) < 1.002
    assert cards.class_factor(run).min() == pytest.approx(0.5) and cards.class_factor(run).max() == 1


def test_a_lead_is_judged_by_direction_and_by_size(cards):
    import types

    def found(mean, half, verdict, n=10):
        return types.SimpleNamespace(mean=mean, half=half, verdict=verdict, n=n)

    assert cards._holds(found(0.007, 0.004, "clearly better"), 5.5) == "direction yes, size no"
    assert cards._holds(found(0.05, 0.01, "clearly better"), 5.5) is True
    assert cards._holds(found(-0.05, 0.01, "clearly worse"), 5.5) is False
    assert cards._holds(found(0.001, 0.01, "undecided")) == "undecided"


def test_the_features_are_short_before_the_first_step(cards):
    (start,) = cards.first_lengths(1)
    assert 0 < start < cards.SHORT < cards.LONG


def test_the_differences_of_the_parts_are_in_a_table(cards):
    text = cards.say_beyond().text
    found = lt.metrics.paired(cards.darl("cifar16"), cards.plain_of("cifar16"), "head")
    assert f"{100 * found.mean:+.1f} ± {100 * found.half:.1f}" in text and "No part goes beyond the slider" in text
