"""Chapter 05: its exercises name the mistakes that readers make, and its predictions follow from the records."""

import sys

import pytest
import torch
from conftest import REPO


@pytest.fixture(scope="module")
def cards():
    sys.path.insert(0, str(REPO / "notebooks"))
    try:
        import cards_05

        yield cards_05
    finally:
        sys.path.remove(str(REPO / "notebooks"))


def written(exercise, name):
    """The solution that the exercise shows, as a function."""
    names = {"torch": torch}
    exec(exercise.solution_source, names)
    return names[name]


def product_rule(p, gamma):
    return (gamma * (1 - p) ** (gamma - 1) * p.log() - (1 - p) ** gamma / p) * p * (1 - p)


def by_autograd(p, gamma):
    p = p.clone().requires_grad_()
    (found,) = torch.autograd.grad((-((1 - p) ** gamma) * p.log()).sum(), p)
    return found * p * (1 - p)


@pytest.mark.parametrize("name", ["slope", "rare_share"])
def test_the_shown_solution_passes(cards, name):
    exercise = getattr(cards, name)
    assert exercise.check(written(exercise, name)).passed


@pytest.mark.parametrize("answer", [product_rule, by_autograd])
def test_a_slope_that_is_no_number_at_the_ends_does_not_pass(cards, answer):
    found = cards.slope.check(answer)
    assert [held for held, _, _ in found.rows] == [True, True, True, False, False, False]
    assert "not finite" in found.text


@pytest.mark.parametrize("name", ["slope", "rare_share"])
def test_no_foreseen_mistake_passes_and_each_is_named(cards, name):
    exercise = getattr(cards, name)
    for words, answer in exercise.mistakes.items():
        found = exercise.check(answer)
        assert not found.passed and words.split(".")[0].split("$")[0] in found.text


def test_hard_is_not_rare(cards):
    of_hard, of_rare = cards.hard_and_rare()
    assert of_hard == pytest.approx(89 / 1457, abs=1e-3) and of_rare == pytest.approx(89 / 108, abs=1e-2)


def test_the_loss_and_the_gradient_at_nine_tenths(cards):
    loss, gradient = cards.by_loss(0.9)
    assert loss == pytest.approx(100) and gradient == pytest.approx(34.53, abs=0.01)


@pytest.mark.parametrize(
    ("opened", "truth"),
    [("open_hard_ones", 6.1), ("open_rare_gain", 2.4), ("open_beyond_the_line", "none of them")],
)
def test_the_answers_follow_from_the_records(cards, opened, truth):
    found = getattr(cards, opened)().truth
    assert found == truth if isinstance(truth, str) else found == pytest.approx(truth, abs=0.05)


def test_what_a_claim_holds_is_its_sign_where_it_is_at_least_suggestive(cards):
    class Found:
        def __init__(self, mean, p):
            self.mean, self.p = mean, p

    assert cards.judged(Found(0.02, 0.01), 0.5) is True and cards.judged(Found(-0.02, 0.01), 0.5) is False
    assert cards.judged(Found(0.02, 0.2), 0.5) == "undecided"


def test_the_claims_stand_with_what_is_measured(cards):
    text = cards.claims().text
    ends = [line.rsplit(None, 1)[-1] for line in text.splitlines()[1:]]
    assert ends == ["yes", "no", "undecided", "yes", "undecided", "yes", "yes", "no", "no"]
    assert "focal at 2 of 5 ratios" in text
