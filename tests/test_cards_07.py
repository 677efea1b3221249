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


def test_the_learned_radius_starts_short_and_stays_short(cards):
    (start,), (end,) = cards.growth(1)
    assert 1 < start < 1.2 and start < end < cards.SHORT < cards.LONG and end == pytest.approx(3.518, abs=0.01)


def test_the_differences_of_the_parts_are_in_a_table(cards):
    text = cards.say_beyond().text
    found = lt.metrics.paired(cards.darl("cifar16"), cards.plain_of("cifar16"), "head")
    assert (
        f"{100 * found.mean:+.1f} ± {100 * found.half:.1f}" in text
        and "No part, nor the whole, is established beyond the slider" in text
    )


def test_an_order_of_two_that_cannot_be_told_apart_counts_either_way(cards):
    truth = cards.open_which_order().truth
    assert cards.which_order.asks.ties == (("ring", "dual (the whole)"),)
    swapped = [truth[0], truth[2], truth[1], truth[3]]
    for answer, agrees, good in ((truth, True, 6), (swapped, True, 6), (truth[::-1], False, 1)):
        found, how = cards.which_order.compare(answer, truth)
        assert found == agrees and f"{good} of 6 pairs are in the right order" in how
        assert "Ring and dual (the whole) cannot be told apart: either order of the two counts as right." in how


def test_the_quiz_on_the_radius_says_what_its_card_said(cards):
    told = cards.quiz.questions[3].options
    assert "under half" in cards.equal_or_short.options and sum("under half" in one for one in told.values()) == 2
    assert f"fixed at {cards.LONG}" in told["A random start would be as good."]


def test_every_pair_of_strengths_of_the_second_ring_is_compared(cards):
    text = cards.say_grid().text
    assert "of the 24 pairs" in text and "undecided in 21" in text
    for make, loss, pair in (
        (cards.dual_ring, "dual ring", (0.1, 0.01)),
        (cards.dual_ring, "dual ring", (1.0, 0.01)),
        (cards.dual, "the whole", (1.0, 0.1)),
    ):
        found = lt.metrics.paired(*(make("digits", strength) for strength in pair))
        assert found.verdict.startswith("suggestive")
        assert f"{loss} on the bench, {pair[0]:g} against {pair[1]:g} | {100 * found.mean:+.1f} ±" in text
    assert cards.established("cifar16", cards.dual_ring) == cards.established("cifar16", cards.dual) == []


def test_the_two_readings_of_up_are_compared_at_each_strength(cards):
    photos, bench = cards.ups("cifar16"), cards.ups("digits")
    assert "at 10 **-1.1 ± 0.5** points (clearly worse), all classes at 10 **+0.5 ± 0.5** points (undecided)" in photos
    assert bench.count("(undecided)") == 3 and "on the bench, rare reading at 0.01" in bench
    assert "-1.1 ± 0.5" in cards.left_open().text


def test_the_prose_on_lengths_holds_on_the_records(cards):
    bare = {data: cards.plain_of(data) for data in cards.DATA}

    def more_equal(runs, data, measure):
        ours, theirs = ([measure(run) for run in side] for side in (runs, bare[data]))
        return lt.metrics.paired(ours, theirs).verdict == "clearly worse"  # a smaller ratio

    both = cards.features, cards.vectors
    for data, strengths in (("digits", (0.1, 1.0, 10.0)), ("cifar16", cards.GRID)):
        for make in (cards.dual_ring, cards.dual):
            for runs in (make(data, one) for one in strengths):
                assert all(more_equal(runs, data, by) for by in both)
    for make in (cards.dual_ring, cards.dual):
        assert not more_equal(make("digits", 0.01), "digits", cards.vectors)
    for runs in (cards.darl("digits", strength) for strength in (0.5, 0.9)):
        assert all(more_equal(runs, "digits", by) for by in both)
    assert cards.sure(lt.metrics.paired([1.0, 2.0], [1.0, 2.0])) == "undecided"


def test_the_take_aways_hold_on_the_records(cards):
    def verdict(ours, base):
        return lt.metrics.paired(ours, base).verdict

    bench, photos = cards.parts("digits"), cards.parts("cifar16")
    assert all(verdict(bench[one], bench["cross-entropy"]) == "clearly better" for one in ("ring", "dual ring"))
    assert verdict(bench["DARL"], bench["cross-entropy"]) == "undecided"
    assert verdict(cards.darl("digits", 0.9), bench["cross-entropy"]) == "suggestive: better"
    assert verdict(bench["dual"], bench["dual ring"]) == "clearly worse"
    assert verdict(photos["DARL"], photos["cross-entropy"]) == "clearly better"
    assert verdict(photos["dual"], photos["DARL"]) == "undecided"
    loose = {data: cards.darl(data, detach=False) for data in cards.DATA}
    assert verdict(loose["cifar16"], photos["DARL"]) == "clearly worse"
    assert verdict(loose["digits"], bench["DARL"]) == "undecided"


@pytest.mark.parametrize(("seeds", "decided"), [(2, False), (10, True)])
def test_short_features_are_the_reason_only_where_they_are_established(cards, monkeypatch, seeds, decided):
    monkeypatch.setattr(cards, "growth", lambda n: ([1.1, 1.5], [3.5, 3.8]))
    long_, short, mean = (runs[:seeds] for runs in (cards.plain_of("digits"), cards.ring("digits"), cards.up("digits")))
    assert (lt.metrics.paired(short, long_).verdict == "clearly better") == decided
    said = cards.open_equal_or_short({f"fixed at {cards.LONG}": long_, "short": short, "mean of each batch": mean})
    assert ("less from equal features" in said.because) == decided
    assert ("2 seeds leave open" in said.because) != decided
    assert "grows to only 3.5 to 3.8" in said.because
    between = lt.metrics.paired(mean, long_)
    assert f"Against {cards.LONG} fixed" in said.because and cards.points(between) in said.because


def test_a_ratio_of_lengths_is_said_to_be_more_or_less_equal(cards):
    base = cards.plain_of("digits")
    assert cards.ratio_against(cards.features, cards.ring("digits"), base) == "**1.46** (more equal)"
    assert cards.ratio_against(cards.vectors, cards.ring("digits"), base) == "**2.17** (less equal)"
    photos = cards.plain_of("cifar16")
    assert cards.ratio_against(cards.vectors, cards.ring("cifar16"), photos) == "**2.61** (suggestive: less equal)"
    assert cards.ratio_against(cards.features, cards.up("cifar16"), photos) == "**1.19** (undecided)"


def test_the_network_of_the_explorer_is_the_one_that_is_trained_under_several_seeds(cards):
    from ltviz.explore.two_rings import SHOWN, _trained

    bare, ours = cards.spreads_of_two_features(1)
    data = lt.digits_lt(ratio=20)
    for found, strength in ((bare, 0.0), (ours, 10.0)):
        film = _trained(data, 0.0, "mean", 0.0, strength, 4.0, 1.5)
        assert found == pytest.approx([film.over_features[SHOWN]], abs=1e-6)


def test_up_on_few_seeds_of_two_features(cards, monkeypatch):
    monkeypatch.setattr(cards, "spreads_of_two_features", lambda: [[0.5, 0.4, 0.3], [0.4, 0.5, 0.3]])
    text = cards.say_two_features().text
    assert (
        "seed 0 (the explorer) | 50.0% | 40.0%" in text and "under 1 of 3 seeds; the mean change is undecided" in text
    )
    assert "2.13 (less equal)" in text and "1.99" in text


def test_what_the_source_row_is_said_to_be(cards):
    text = cards.say_claims().text
    assert (
        "five class-balanced losses" in text
        and "several values of chapter 04's β" in text
        and "cross-validation" in text
    )
    assert "100: focal" in text and "10: sigmoid" in text
    assert "strengths are given nowhere" in text
