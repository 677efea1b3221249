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
    (in_float32, "not finite. `exp` of a large logit is infinite"),
]


@pytest.mark.parametrize(("answer", "said"), SOFTMAX, ids=["torch", "sum", "unweighted", "place", "overflow"])
def test_cb_softmax_names_the_mistake(cards, answer, said):
    result = cards.cb_softmax.check(answer)
    assert not result.passed and any(said in detail for _, _, detail in result.rows), result.text
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


def test_the_slider_at_equal_cost_is_paired_and_leaves_the_frequent_classes_as_much(cards):
    base = lt.recorded("cifar16", "ce", seed=0)
    found = cards.at_equal_cost(base, base)
    assert found["all"].n == 1 and -0.05 < found["head"].mean <= 0, "the slider keeps at least as much"
    line = lt.metrics.frontier(base[0])
    at = np.flatnonzero(line.head >= lt.metrics.shot_accuracy(base[0])["head"])[-1]
    expected = lt.metrics.shot_accuracy(base[0])["tail"] - line.tail[at]
    assert found["tail"].mean == pytest.approx(expected)
