"""The cards of chapter 13: its exercises name mistakes, its answers are those of the papers and of the records."""

import importlib.util
import os

import pytest
from conftest import REPO

import ltviz as lt


@pytest.fixture(scope="module")
def cards():
    before = os.environ.get("LTVIZ_PROFILE")
    os.environ["LTVIZ_PROFILE"] = "fast"
    spec = importlib.util.spec_from_file_location("cards_13", REPO / "notebooks" / "cards_13.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    if before is None:
        del os.environ["LTVIZ_PROFILE"]
    else:
        os.environ["LTVIZ_PROFILE"] = before


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


def test_orders(cards):
    kept = {source: cards.kept(source, "photographs")[0][:2] for source in cards.PAPERS}
    assert list(kept.values()) == [(6, 10), (10, 15), (14, 21), (10, 10), (6, 10)]
    assert cards.kept(cards.CUI, "table", ratio=50) is None


def test_claims_are_judged_by_ten_seeds_alone(cards):
    lines = cards.claims().text.splitlines()[1:]
    assert len(lines) == 10
    ends = [line.split("  ")[-1].strip() for line in lines]
    assert ends[:2] == ends[3:5] == ["one seed: no verdict"] * 2
    assert ends[2] == "yes" and ends[5] == "direction yes, size no" and ends[6] == "no"
    assert ends[7:9] == ["undecided", "no"]


def test_two_reports_of_one_method(cards):
    found = {
        (dataset, ratio, a.key): round(abs(a.error - b.error), 2) for dataset, ratio, a, b in cards.twice_reported()
    }
    assert found == {
        ("CIFAR-10-LT", 50, "ce"): 1.17, ("CIFAR-10-LT", 50, "class_balanced"): 0.09,
        ("CIFAR-100-LT", 100, "ce"): 1.98, ("CIFAR-100-LT", 100, "ldam_drw"): 0.86,
    }  # fmt: skip


def test_the_readers_own_tables(cards):
    data = lt.digits_lt(class_order="seed")
    few, many = (
        {e: lt.sweep(m, data, epochs=e, seeds=2, progress=False) for e in (2, 12)} for m in ("ce", "class_balanced")
    )
    found = cards.own_tables(few, many)
    gain = {e: lt.metrics.paired(many[e], few[e]).mean for e in (2, 12)}
    ratio = gain[2] / gain[12]
    assert found.truth == ("larger" if ratio > 1.25 else "smaller" if ratio < 0.8 else "about the same")


def everything(a, b, fields=("dataset", "profile", "ratio", "metric", "network", "group")):
    return all(a[name] == b[name] for name in fields)


def test_exercises_name_the_mistake(cards):
    assert not cards.comparable.check(lambda a, b: a["group"] == b["group"]).passed
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
