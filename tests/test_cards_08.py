"""The exercises of chapter 08 say what is wrong with the answers that readers give, and its numbers are as told."""

import sys
from math import comb

import numpy as np
import pytest
import torch
from conftest import REPO

import ltviz as lt


@pytest.fixture(scope="module")
def cards():
    sys.path.insert(0, str(REPO / "notebooks"))
    try:
        import cards_08

        yield cards_08
    finally:
        sys.path.remove(str(REPO / "notebooks"))


def chance(n, t, b, several):
    return sum(comb(n, i) * comb(t - n, b - i) for i in several) / comb(t, b)


PAIR = [
    (lambda n, t, b: chance(n, t, b, [2]), "exactly two"),
    (lambda n, t, b: 1 - chance(n, t, b, [0]), "at least one image"),
    (lambda n, t, b: chance(n, t, b, [0, 1]), "*no* pair"),
    (lambda n, t, b: 1 - (1 - n / t) ** b - b * n / t * (1 - n / t) ** (b - 1), "with replacement"),
    (lambda n, t, b: 1 - (comb(t - n, b) + comb(t - n, b - 1)) / comb(t, b), "any of the n images"),
]


@pytest.mark.parametrize(("answer", "said"), PAIR, ids=["two", "one", "none", "replaced", "which"])
def test_pair_names_the_mistake(cards, answer, said):
    result = cards.pair.check(answer)
    wrong = [detail for passed, _, detail in result.rows if not passed]
    assert not result.passed and any(said in detail for detail in wrong), result.text


def counted(targets, k, rho, kappa, positives=lambda s, q: min(s - 1, q), negatives=lambda r, q: min(r, q)):
    chosen = lt.methods.crl.minority_classes(targets, k, rho)
    sizes = torch.bincount(targets, minlength=k).tolist()
    return sum(
        s * positives(s, kappa) * negatives(len(targets) - s, kappa)
        for s, one in zip(sizes, chosen, strict=True)
        if one
    )


TRIPLETS = [
    (lambda y, k, rho, q: counted(y, k, rho, q, positives=lambda s, c: min(s, c)), "not its own positive"),
    (lambda y, k, rho, q: counted(y, k, rho, q, positives=lambda s, c: c), "at most $s - 1$ positives"),
    (lambda y, k, rho, q: counted(y, k, rho, q, negatives=lambda r, c: c), "only $n - s$ negatives"),
    (lambda y, k, rho, q: counted(y, k, rho, q, negatives=lambda r, c: r), "κ caps the negatives"),
    (lambda y, k, rho, q: counted(y, k, rho, q, positives=lambda s, c: s - 1), "κ caps the positives"),
    (lambda y, k, rho, q: counted(y, k, 1.0, q), "in the minority of the batch"),
]


@pytest.mark.parametrize(("answer", "said"), TRIPLETS, ids=["itself", "few", "rest", "negatives", "positives", "all"])
def test_count_triplets_names_the_mistake(cards, answer, said):
    result = cards.count_triplets.check(answer)
    wrong = [detail for passed, _, detail in result.rows if not passed]
    assert not result.passed and any(said in detail for detail in wrong), result.text


def test_right_answers_pass(cards):
    assert cards.count_triplets.check(counted).passed
    assert cards.pair.check(lambda n, t, b: 1 - chance(n, t, b, [0, 1])).passed


def test_triplets_go_where_pairs_are(cards):
    share, often, counts = cards.drawn("instance")
    assert share.sum() == pytest.approx(1.0) and counts.tolist() == sorted(counts, reverse=True)
    exact = lt.metrics.pair_chance(counts, cards.BATCH)
    assert often[-3:] == pytest.approx(exact[-3:], abs=0.02), "a rare class with a pair is always in the minority"
    assert (often <= exact + 0.02).all() and share.argmax() == 2 and cards.thirds(share, counts)["tail"] < 0.01
    even, there, _ = cards.drawn("class_balanced")
    assert even.min() > 0.05 and there.min() > 0.4


def test_changes_are_by_rank(cards):
    runs = lt.recorded("cifar16", "ce")[:2]
    ours, none = cards.changes(runs, runs)
    assert ours.shape == (10, 2) and (ours == none).all()
    first = runs[0]
    most = int(np.argmax(first.counts))
    assert ours[0, 0] == pytest.approx(lt.metrics.recall(first)[most])


def test_numbers_that_stand_in_the_text(cards):
    assert cards.COUNTS.sum() == 4958 and len(cards.COUNTS) == 10
    assert len(lt.study.batch_photographs().index) == 680
