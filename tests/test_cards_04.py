"""The exercises of chapter 04 say what is wrong with the answers that readers give."""

import sys

import numpy as np
import pytest
import torch
from conftest import REPO

import ltviz as lt

F = torch.nn.functional


@pytest.fixture(scope="module")
def cards():
    sys.path.insert(0, str(REPO / "notebooks"))
    try:
        import cards_04

        yield cards_04
    finally:
        sys.path.remove(str(REPO / "notebooks"))


def pick(logits, targets):
    return logits[torch.arange(len(targets)), targets]


def in_float32(logits, targets, weight):
    return (weight[targets] * (logits.exp().sum(1).log() - pick(logits, targets))).mean()


SOFTMAX = [
    (lambda z, y, w: F.cross_entropy(z, y, w), "You divided by the sum of the images' weights"),
    (lambda z, y, w: (w[y] * F.cross_entropy(z, y, reduction="none")).sum(), "You summed."),
    (lambda z, y, w: F.cross_entropy(z, y), "The class weights are missing."),
    (lambda z, y, w: (w[: len(y)] * F.cross_entropy(z, y, reduction="none")).mean(), "place in the batch"),
    (lambda z, y, w: (w[z.argmax(1)] * F.cross_entropy(z, y, reduction="none")).mean(), "that the network predicts"),
    (lambda z, y, w: w.mean() * F.cross_entropy(z, y), "the mean of all weights"),
    (in_float32, "not finite. `exp` of a large logit is infinite"),
]


@pytest.mark.parametrize(
    ("answer", "said"), SOFTMAX, ids=["torch", "sum", "unweighted", "place", "predicted", "mean", "overflow"]
)
def test_cb_softmax_names_the_mistake(cards, answer, said):
    result = cards.cb_softmax.check(answer)
    wrong = [detail for passed, _, detail in result.rows if not passed]
    assert not result.passed and any(said in detail for detail in wrong), result.text
    assert not [detail for detail in wrong if any(other in detail for _, other in SOFTMAX if other != said)]
    assert "raised" not in result.text


DISTINCT = [
    (lambda p, n: (1 - (1 - p) ** n).sum(), "Compute in float64"),
    (lambda p, n: (1 - ((len(p) - 1) / len(p)) ** n) * len(p), "That is $E_n$."),
    (lambda p, n: ((1 - p.double()) ** n).sum(), "*not* seen"),
    (lambda p, n: (n * p.double()).sum(), "repeats included"),
]


@pytest.mark.parametrize(("answer", "said"), DISTINCT, ids=["float32", "formula", "missed", "repeats"])
def test_distinct_names_the_mistake(cards, answer, said):
    result = cards.distinct.check(answer)
    assert not result.passed and any(said in detail for _, _, detail in result.rows), result.text


def test_right_answers_pass(cards):
    def another(p, n):
        return -torch.expm1(n * torch.log1p(-p.double())).sum()

    assert cards.distinct.check(another).passed, "p = 1 gives -inf and is right"
    assert cards.cb_softmax.check(lambda z, y, w: (w[y] * F.cross_entropy(z, y, reduction="none")).mean()).passed


def test_what_is_said_of_the_middle_classes_is_what_the_records_say(cards):
    plain = lt.recorded("cifar16", "ce")
    found = [lt.metrics.beyond(cards.photos(beta=beta), plain, "mid").verdict for beta in (0.99, 0.999)]
    assert found == ["clearly worse"] * 2
    trained = [lt.metrics.paired(cards.photos(beta=beta), plain, "mid").verdict for beta in (0.99, 0.999)]
    assert trained == ["undecided", "clearly better"], "they pay beside the slider, not beside the plain network"
    reveal = cards.open_beyond_the_line()
    assert reveal.truth == "only β = 0.99" and "its rare classes is **+5.9 ± 2.9** points" in reveal.because
    for told in (
        "at the same accuracy of the frequent classes, the slider leaves the middle ones more accurate",
        "Who pays? The middle classes of β = 0.99", "can hardly be compared", "The other losses.",
        "Compared with the slider: -8.9 ± 2.1 points (clearly worse)", "β = 0.999: -6.8 ± 2.5 points (clearly",
        "Compared with the plain network as trained: -0.7 ± 1.1 points (undecided) and +5.3 ± 1.7 points (clearly",
        "under 4 of 10 seeds the frequent classes are more accurate than the slider leaves them at any τ >= 0",
    ):  # fmt: skip
        assert told in reveal.content_text
    assert {f"only β = {beta}" for beta in cards.BETAS} < set(cards.beyond_the_line.options)


def test_where_sources_disagree_says_what_this_chapter_does(cards):
    text, methods = cards.sources_disagree().text, lt.methods.METHODS
    assert methods["class_balanced"].settings["reduction"].default == "n"
    assert methods["sigmoid"].settings["decay_bias"].default is False
    assert {run.settings["reduction"] for run in cards.photos()} == {"n"}
    assert "divides by the number of images (reduction='n'); reduction='weight' gives the other" in text
    assert "out of weight decay (decay_bias=False)" in text and "Here:" not in text


def test_a_class_of_five_hundred_and_one_of_five_weigh_about_the_same_at_a_large_beta():
    few, many = lt.functional.effective_number(torch.tensor([5.0, 500.0], dtype=torch.float64), 0.9999)
    assert float(many / few) == pytest.approx(100, rel=0.03)


def test_the_second_question_does_not_answer_the_first(cards):
    truth = cards.open_best_beta().truth
    assert truth.removeprefix("β = ") not in cards.which_form.question


def test_the_lengths_are_those_of_the_classes_by_count(cards):
    runs = lt.recorded("cifar16", "ce")
    drawn = cards.plot_lengths({"no weights": runs}).data
    expected = np.mean([np.sort(np.linalg.norm(run.head_weight, axis=1)) for run in runs])
    assert drawn["no weights"].mean() == pytest.approx(expected)
    most = [np.linalg.norm(run.head_weight[int(np.argmax(run.counts))]) for run in runs]
    assert drawn["no weights"][0] == pytest.approx(np.mean(most)) and drawn["counts"][0] == 2000


def test_nothing_on_the_page_says_what_the_bench_gave_before_the_reader_s_run(cards):
    card = cards.bench_recorded()
    assert "points" not in card.text and "<details" in card.html
    assert "34 at β = 0.99, 54 at β = 0.999, 57 at β = 0.9999" in card.html
