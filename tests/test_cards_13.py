"""The cards of chapter 13: its exercises name mistakes, its answers are those of the papers and of the records."""

import itertools
import types

import numpy as np
import pytest
from conftest import fast_cards

import ltviz as lt
from ltviz import tables


@pytest.fixture(scope="module")
def cards():
    yield from fast_cards("13")


def test_predictions_are_answered_from_papers_and_records(cards):
    assert cards.open_how_far_apart().truth == pytest.approx(29.64 - 22.6)
    assert cards.open_lead_of_balanced().truth == pytest.approx(33.71 - 29.23)
    assert cards.open_lead_of_dual().truth == "less than a point"
    assert cards.open_below_plain().truth == 4
    assert cards.open_whose_order().truth == "Menon et al. 2021"


def test_levels_and_leads_are_read_from_the_table(cards):
    assert (cards.printed("ce"), cards.printed("dual"), cards.printed("class_balanced", 200)) == (29.64, 24.10, 31.11)
    found = [cards.measured(key, ratio) for ratio in (100, 200) for key in ("ce", "dual", "class_balanced")]
    assert found == pytest.approx([33.71, 33.24, 29.23, 40.03, 38.83, 34.27])
    assert cards.lead("dual") == pytest.approx((5.54, 0.47))
    assert cards.lead("dual", 100, "class_balanced") == pytest.approx((1.33, -4.01))


def test_the_questions_say_the_numbers_that_are_printed(cards):
    assert "4.1 points **above**" in cards.lead_of_balanced.question
    assert "lead of the best class-balanced loss is 4.2 points" in cards.lead_of_balanced.question
    assert "by 5.5 points (ratio 100)" in cards.lead_of_dual.question
    assert "class-balanced, focal, LDAM-DRW, CDB-CE. How many" in cards.below_plain.question


def test_three_baselines_are_numbers_of_another_data_set(cards):
    found = cards.open_below_plain().content_text
    assert "best class-balanced, ratio 10: 57.99" in found and "focal, gamma 1, ratio 20: 51.95" in found
    said = "class-balanced .58, focal .52, LDAM-DRW .59, CDB-CE, re-run .65, TriCDB-CE .72"
    assert said in found and "LDAM-DRW, ratio 10: 58.71" in found and ".71 in table 2 and .72 in table 3" in found


def test_how_much_was_searched_for_the_agreements_and_what_they_are_worth(cards):
    found = cards.open_below_plain()
    searched = {key: len(cards.elsewhere(key, "CIFAR-100-LT")) for key in ("class_balanced", "focal", "ldam_drw")}
    assert searched == {"class_balanced": 9, "focal": 16, "ldam_drw": 4}
    said = found.content_text
    for numbers, whole, lowest in ((9, 7, 69), (16, 9, 64), (4, 4, 77)):
        assert f"Searched: {numbers} printed numbers, {whole} different ones after rounding." in said
        assert f"on CIFAR-10-LT, at any ratio: {lowest}%" in said
    assert "columns" not in found.because and "taken from CIFAR-100-LT is our inference" in found.because


def test_why_two_protocols_are_compared_once(cards):
    found = cards.plain_errors()
    assert found[-1].source == cards.CUI and len(found) == 4, "the least accurate of four"
    said = cards.open_below_plain().content_text
    assert "three of these losses lie below it by more than the 7.0 points of the whole spread" in said
    assert "(class-balanced 12.4, focal 18.4, LDAM-DRW 11.4)" in said and "CDB-CE, re-run, 5.4 points below" in said


def test_orders(cards):
    kept = {source: cards.kept(source, "photographs")[0] for source in cards.PAPERS}
    assert list(kept.values()) == [(6, 10), (14, 21), (10, 10), (6, 10)]
    assert cards.kept(cards.SLIDES, "photographs") == ((6, 10), (4, 5), 6), "a row without a protocol is counted apart"
    assert cards.kept(cards.CUI, "table", ratio=50) is None
    assert set(cards.SURVIVES.values()) == set(cards.PAPERS), "the question offers what its picture shows"
    because = cards.open_whose_order().because
    assert "6 of 10 pairs in 41% of cases; 10 of 10 in 1%; 14 of 21 in 19%." in because
    assert "Menon et al. 2021 1.3; Darkwah & Kang 2023 6.0" in because and "four papers cannot test" in because
    assert "4 of its 5 pairs keep their order" in because


def test_the_reduced_table_counts_the_dual_losss_pairs_apart(cards):
    said = cards.say_reduced().html
    assert "Of the 15 pairs of rows of Cui et al., 12 have the printed order; of the 6 pairs with the Dual Loss" in said


def test_what_chance_keeps(cards):
    assert cards.by_chance(3, 3) == pytest.approx(1 / 6) and cards.by_chance(2, 3) == pytest.approx(3 / 6)
    assert cards.by_chance(1, 3) == pytest.approx(5 / 6) and cards.by_chance(0, 7) == pytest.approx(1)
    kept = [sum(a < b for a, b in itertools.combinations(one, 2)) for one in itertools.permutations(range(5))]
    assert cards.by_chance(6, 5) == pytest.approx(np.mean([one >= 6 for one in kept]))


def test_claims_are_judged_by_ten_seeds_alone(cards):
    lines = cards.claims().text.splitlines()[1:]
    assert len(lines) == 10
    ends = [line.split("  ")[-1].strip() for line in lines]
    assert ends[:2] == ends[3:5] == ["one seed: no verdict"] * 2
    assert ends[2] == "also there" and ends[5] == "also there, but smaller than printed" and ends[6] == "not there"
    assert ends[7:] == ["undecided there, but smaller than printed", "not there", "another task; not there"]
    for line, end in zip(lines, ends, strict=True):
        assert line.startswith(("Cui et al.", "Li et al.", "Darkwah & Kang", "Dong et al.")), "a claim names its source"
        assert ("on the photographs (another protocol)" in line) == ("there" in end)


@pytest.mark.parametrize(("low", "high", "p", "printed", "said"), [
    (1.0, 3.0, 0.001, 2.0, "also there"), (1.0, 3.0, 0.001, 5.0, "also there, but smaller than printed"),
    (4.0, 6.0, 0.001, 2.0, "also there, but larger than printed"), (-3.0, -1.0, 0.001, 2.0, "not there"),
    (-1.0, 2.0, 0.4, 1.5, "undecided there"), (-1.0, 2.0, 0.4, 7.0, "undecided there, but smaller than printed"),
    (-1.0, 2.0, 0.4, -3.0, "undecided there, but smaller than printed"),
])  # fmt: skip
def test_what_is_said_of_sign_and_size(cards, low, high, p, printed, said):
    found = types.SimpleNamespace(mean=(low + high) / 200, half=(high - low) / 200, p=p)
    assert cards._there(found, printed) == said


def test_two_reports_of_one_method(cards):
    found = {
        (dataset, ratio, a.key): round(abs(a.error - b.error), 2) for dataset, ratio, a, b in cards.twice_reported()
    }
    assert found == {
        ("CIFAR-10-LT", 50, "ce"): 1.17,
        ("CIFAR-100-LT", 100, "ce"): 1.98, ("CIFAR-100-LT", 100, "ldam_drw"): 0.86,
    }  # fmt: skip


def test_the_gaps_beside_two_seeds(cards):
    said = cards.say_twice().html
    assert cards.one_seed_sd() == pytest.approx(0.762, abs=5e-4)
    assert "1.96 × 0.76 × √2 = <b>2.1</b>" in said and "Of the 3 gaps, <b>0</b> are beyond that" in said
    assert "CE (softmax) <b>61.68</b>" in said and "CE (softmax), OpenLT <b>59.70</b>" in said, "each by its name"
    assert "class-balanced" not in said, "best class-balanced at ratio 50 is focal, its re-run softmax"


def test_nothing_is_said_before_its_question(cards):
    asked = cards.lead_of_balanced.question
    assert "every row of the table of Cui et al. at ratios 100 and 200" in asked
    found = tables.frame(cards.TABLE, tables.recorded_runs())
    assert set(found.loc[found["seeds"] > 0, "ratio"]) == {100, 200} and (found["seeds"] > 0).sum() == 2 * 7
    for card in (cards.say_four_sources(), cards.open_claims(), cards.say_twice(), cards.say_reduced()):
        assert card.text.endswith("folded."), "opened by the reader"


def test_who_beats_the_plain_network_and_who_its_line(cards):
    said = cards.say_four_sources().html
    assert "+4.5 ± 1.2</b> points (clearly better), beats the plain network as trained" in said
    assert "-13.1 ± 1.8</b> points (clearly worse), below the line of τ" in said
    assert said.count("below the line") == 3 and "beyond the line" not in said
    assert "-6.5 ± 6.6</b> points (undecided).<" in said


def test_the_readers_own_tables(cards):
    data = lt.digits_lt(class_order="seed")
    few, many = (
        {e: lt.sweep(m, data, epochs=e, seeds=2, progress=False) for e in (2, 12)} for m in ("ce", "class_balanced")
    )
    found = cards.own_tables(few, many)
    gain = {e: lt.metrics.paired(many[e], few[e]).mean for e in (2, 12)}
    ratio = gain[2] / gain[12]
    assert found.truth == ("larger" if ratio > 1.25 else "smaller" if ratio < 0.8 else "about the same")
    rare = [
        f"{100 * np.mean([lt.metrics.shot_accuracy(run)['tail'] for run in runs]):.0f}%" for runs in (few[2], many[2])
    ]
    assert f"after 2 epochs plain {rare[0]}, your loss {rare[1]}" in found.content_text


def everything(a, b, fields=("dataset", "profile", "ratio", "metric", "network", "group")):
    return all(a[name] == b[name] for name in fields)


def test_exercises_name_the_mistake(cards):
    assert not cards.comparable.check(lambda a, b: a["group"] == b["group"]).passed
    result = cards.comparable.check(lambda a, b: cards._comparable({**a, "network": b["network"]}, b))
    assert not result.passed and "A deeper network has lower errors." in result.text
    result = cards.comparable.check(everything)
    assert not result.passed and "whose protocol is not stated do not share it" in result.text
    result = cards.comparable.check(lambda a, b: everything(a, b) and a["source"] == b["source"])
    assert not result.passed and "source may differ" in result.text
    result = cards.gap.check(
        lambda a, b, sd, seeds=(1, 1): (a - b, 1.96 * (sd / seeds[0] ** 0.5 + sd / seeds[1] ** 0.5))
    )
    assert not result.passed and "variances do" in result.text
    assert not cards.gap.check(lambda a, b, sd, seeds=(1, 1): (b - a, 1.96 * sd * 2**0.5)).passed
    assert cards.gap.check(cards._gap).passed and cards.comparable.check(cards._comparable).passed
