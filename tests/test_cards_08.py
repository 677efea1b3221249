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
    photographs, first = lt.study.batch_photographs(), lt.recorded("cifar16", "ce", seed=0)[0]
    assert len(photographs.index) == 680
    targets = first.train_targets[photographs.batches["plain"][0]]
    rarest = int(np.argmin(first.counts))
    assert first.class_names[rarest] == "cat" and (targets == rarest).sum() == 1, "the batch of the first figure"
    a = 1 - cards.COUNTS.sum() / (10 * cards.COUNTS.max())
    assert cards.omega()[0] == pytest.approx(100 * a), "as the text defines it"


def test_every_batch_is_scaled_by_the_weighting(cards):
    for data in ("cifar16", "digits"):
        found, _ = cards.counted("instance", data)
        assert (found.sum(1) > 0).all()
    told = cards._whole_batches()
    assert "Over fifty epochs all 3,900 batches of photographs and all 250 of the bench had one." in told
    assert "every image keeps only $1 - a$ = 25% of its cross-entropy" in told


def test_the_six_settings_with_the_sum(cards):
    reveal = cards.open_how_many_gain()
    assert reveal.truth == "in none" and reveal.content_text.count("\n") == 5
    assert "gain in none of the 6 settings, lose in 2 of the 6 settings" in reveal.because
    assert reveal.because.endswith("On the bench the rare classes are undecided in all 6 settings.")
    words = reveal.content_text + reveal.because
    assert "weighted" not in words and "middle" not in words, "later questions ask for these"


def test_weighting_or_sum_and_what_smaller_steps_do(cards):
    base = lt.recorded("digits", "ce")[:3]
    other = lt.recorded("digits", "crl", combination="weighted")[:3]
    reveal = cards.open_which_combination(other, base)
    assert reveal.truth == "the sum, clearly"
    assert "0.28 × the learning rate, against the plain network: 0.0 ± 0.0 points" in reveal.content_text
    assert "against 0.28 × cross-entropy alone, so with the triplets against without: 0.0 ± 0.0" in reveal.content_text
    cost = lt.metrics.paired(other, base, "tail")
    assert f"The two differ by {cards.points(cost)}" in reveal.because, "the smaller loss against the smaller steps"
    assert "do not explain most of that" in reveal.because, "steps that change nothing explain nothing"
    assert "Most of that comes from smaller" in cards._steps(cost, cost, lt.metrics.paired(base, base, "tail"))


def test_shares_have_two_decimals_below_one_percent(cards):
    shown = [cards._percent(share) for share in (0.00049, 0.0013, 0.0098, 0.029, 0.4825, 0.0)]
    assert shown == ["0.05", "0.13", "0.98", "2.9", "48", "0.00"]


def test_which_third_changes(cards):
    base, runs = lt.recorded("cifar16", "ce"), cards.rectified(comparison="distribution")
    clear = {group: lt.metrics.paired(runs, base, group) for group in ("head", "mid", "tail")}
    assert [group for group, one in clear.items() if one.verdict.startswith("clearly")] == ["mid"]
    assert clear["mid"].mean > 0
    reveal = cards.open_what_changed()
    assert reveal.truth == "the middle classes gain"
    assert "The class with 20 images has a triplet in 2.7% of the batches" in reveal.content_text
    assert "Most triplets, and no gain seen: the class with 718 images" in reveal.content_text
    assert "(above 0 under 1 of 10 seeds, at most 0.2%), so it has nothing to lose" in reveal.content_text
    assert "Over all classes 6 of the 7 settings are worse than the plain network at least suggestively, 4 of" in (
        reveal.content_text
    )
    assert "better, the class with 430 images; worse, the classes with 2,000 and 1,198 images" in reveal.content_text


def test_what_is_only_chosen_is_no_claim(cards):
    _, _, measured, holds = cards._row(
        "p", "r", lambda data: cards.rectified(data), lambda data: lt.recorded(data, "ce")
    )
    assert holds == "photographs: no; bench: undecided" and measured.startswith("photographs **-2.1")
    level = cards._row("p", "r", lambda data: cards.rectified(data, "instance"), lambda data: lt.recorded(data, "ce"))
    assert level[3] == "photographs: no (suggestive); bench: undecided", "p is between .005 and .05"
    chosen = cards._row("p", "r", cards.rectified, lambda data: lt.recorded(data, "ce"), claim=False)
    assert chosen[2:] == (measured, "a choice, not a claim")


def test_a_balanced_batch_has_a_little_more_than_half_of_its_classes_in_the_minority(cards):
    rng = np.random.default_rng(0)
    batches = rng.integers(0, 10, (500, 64))
    share = np.mean([lt.methods.crl.minority_classes(torch.from_numpy(y), 10, 0.5).numpy() for y in batches])
    assert 0.55 < share < 0.65
    second = cards.quiz().questions[1]
    assert second.right == "a little more than half of the classes"


def test_six_readings_are_listed_and_what_is_not_confirmed(cards):
    card = cards.sources_disagree()
    *readings, last = card.text.splitlines()[1:]
    assert len(readings) == 6 and "Six readings" in card.html and "as descriptions by others have it" in card.text
    assert last.startswith("Not confirmed in any source")


def one_anchor(x, y, a, kappa, m, length=1, itself=False, far=True, near=True, joined=None):
    """The relative comparison of one anchor, image by image; joined: how its hinges become one number."""
    unit = [row / row.norm() if length else row for row in x]
    gap = [float((row - unit[a]).norm()) for row in unit]
    own = sorted((gap[i] for i in range(len(y)) if y[i] == y[a] and (itself or i != a)), reverse=far)[:kappa]
    other = sorted((gap[i] for i in range(len(y)) if y[i] != y[a]), reverse=not near)[:kappa]
    hinges = np.array([[m + p - n for n in other] for p in own])
    return float(joined(hinges) if joined else np.clip(hinges, 0, None).mean())


SLIPS = [
    ({"length": 0}, "length 1"),
    ({"itself": True}, "not its own positive"),
    ({"far": False}, "lies far away"),
    ({"near": False}, "lies near"),
    ({"joined": lambda h: max(h.mean(), 0)}, "cut off each one"),
    ({"joined": np.mean}, "before the mean"),
    ({"joined": lambda h: np.clip(np.diagonal(h), 0, None).mean()}, "meets every negative"),
    ({"joined": lambda h: np.clip(h, 0, None).sum()}, "mean over the triplets"),
]


@pytest.mark.parametrize(("slip", "said"), SLIPS, ids=[said.replace(" ", "-") for _, said in SLIPS])
def test_relative_names_the_mistake(cards, slip, said):
    result = cards.relative.check(lambda *given: one_anchor(*given, **slip))
    wrong = [detail for passed, _, detail in result.rows if not passed]
    assert not result.passed and any(said in detail for detail in wrong), result.text


def test_relative_of_one_anchor_is_right(cards):
    assert cards.relative.check(one_anchor).passed
    assert cards._anchor(*cards._HAND, 0, 1, 0.5) == pytest.approx(0.5 + 2**0.5 - 1, abs=1e-6)


def test_who_pays_draws_six_and_tells_of_seven(cards):
    text = cards.who_pays().html
    assert "0 of 7 lie beyond the line, 5 below it" in text and text.count("<img") == 1
    assert "at 65.1% of the frequent and 0.0% of the rare classes: <b>-33.5 ± 13.2</b> points (clearly worse)" in text
    assert "range from <b>-6.5 ± 6.6</b> points (undecided) to <b>-3.2 ± 3.5</b> points (undecided)" in text
