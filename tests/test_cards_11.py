"""Chapter 11: its exercises say what is wrong with the answers that readers give, and its claims hold."""

import sys

import numpy as np
import pytest
import torch
from conftest import REPO


@pytest.fixture(scope="module")
def cards():
    sys.path.insert(0, str(REPO / "notebooks"))
    try:
        import cards_11

        yield cards_11
    finally:
        sys.path.remove(str(REPO / "notebooks"))


def judged(exercise, answer):
    result = exercise.check(answer)
    assert "raised" not in result.text
    return result, [detail for held, _, detail in result.rows if not held]


def kept(s, own):
    """A copy with another diagonal."""
    s = s.copy()
    np.fill_diagonal(s, own)
    return s


def without_diagonal(s, who):
    return (who[s.argmax(1)] == who).mean()


def zeroed(s, who):
    several = (who[:, None] == who).sum(1) > 1
    return (who[kept(s, 0).argmax(1)] == who)[several].mean()


def everybody(s, who):
    return (who[kept(s, -np.inf).argmax(1)] == who).mean()


def few(s, who):
    """Who has no other picture leaves the gallery, too."""
    keep = (who[:, None] == who).sum(1) > 1
    return (who[keep][kept(s[keep][:, keep], -np.inf).argmax(1)] == who[keep]).mean()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (without_diagonal, "each picture has found itself"), (zeroed, "You set the diagonal to 0"),
        (everybody, "You counted pictures without another one"), (few, ""),
    ],
)  # fmt: skip
def test_leak_names_the_mistake(cards, answer, said):
    result, details = judged(cards.leak_exercise, answer)
    assert not result.passed and any(said in detail for detail in details), result.text


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda s, same: same[range(len(s)), s.argmax(1)].mean(), "the order of storage decides"),
        (lambda s, same: (same & (s == s.max(1, keepdims=True))).any(1).mean(), "would score 100%"),
        (lambda s, same: same.mean(), ""),
    ],
)  # fmt: skip
def test_ties_names_the_mistake(cards, answer, said):
    result, details = judged(cards.ties_exercise, answer)
    assert not result.passed and any(said in detail for detail in details), result.text


def verify(where, largest=True):
    def answer(s, same, folds):
        found = []
        for held in np.split(np.arange(len(same)), folds):
            chosen = np.zeros(len(same), bool)
            chosen[held] = True
            chosen = where(chosen)
            levels = np.unique(s[chosen])
            right = [((s[chosen] >= one) == same[chosen]).mean() for one in levels]
            best = levels[np.isclose(right, max(right))]
            threshold = best.max() if largest else best.min()
            found.append(((s[held] >= threshold) == same[held]).mean())
        return sum(found) / len(found)

    return answer


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (verify(lambda held: held | True), "chosen on all pairs"), (verify(lambda held: held), "on the very part"),
        (verify(lambda held: ~held, largest=False), ""),
    ],
)  # fmt: skip
def test_folds_names_the_mistake(cards, answer, said):
    result, details = judged(cards.folds_exercise, answer)
    assert not result.passed and any(said in detail for detail in details), result.text


def test_another_way_to_a_right_answer_passes(cards):
    assert cards.folds_exercise.check(verify(lambda held: ~held)).passed
    ties = [one[a == a.max()] for a, one in zip(cards._SCORES, cards._SAME, strict=True)]
    assert cards.ties_exercise.oracle(cards._SCORES, cards._SAME) == pytest.approx(np.mean([t.mean() for t in ties]))

    def with_torch(s, same):
        s, same = torch.from_numpy(s), torch.from_numpy(same)
        return torch.stack([one[a == a.max()].double().mean() for a, one in zip(s, same, strict=True)]).mean()

    assert cards.ties_exercise.check(with_torch).passed, "a tensor is an answer, too"

    def in_place(s, who):
        np.fill_diagonal(s, -np.inf)
        return (who[s.argmax(1)] == who)[(who[:, None] == who).sum(1) > 1].mean()

    for _ in range(2):
        assert cards.leak_exercise.check(in_place).passed, "writing into the arguments harms nobody"
    assert all(np.isfinite(case.args[0]).all() for case in cards.leak_exercise.checks)


def test_what_the_chapter_says_holds_on_the_records(cards):
    """Its take-aways, its quiz and the words around its numbers."""
    table = cards.omniglot()
    assert len(cards.rows()) == 15 and table.groupby(["row", "training"]).seed.nunique().eq(5).all()
    accuracy, rank1 = (
        {row: cards.mean(table, (row, "long-tailed"), metric) for row in cards.rows()}
        for metric in ("accuracy", "rank1")
    )
    assert min(accuracy, key=accuracy.get) == max(rank1, key=rank1.get) == "ArcFace"

    def verdict(row, metric="map", training="long-tailed"):
        return cards.paired(table, (row, training), metric=metric).verdict

    assert {row for row in cards.rows() if row != "Softmax" and verdict(row) == "clearly better"} == {
        *cards.COSINES, "Softmax + ring loss", "Softmax + dual ring loss"
    }  # fmt: skip
    assert verdict("DARL") == verdict("Dual Loss") == "undecided" and verdict("CB") == "suggestive: worse"
    assert verdict("Softmax", training="balanced") == "undecided"
    assert verdict("Softmax", training="balanced, all") == "clearly better"
    assert verdict("Softmax", "accuracy", "balanced") == "clearly better", "in a closed set the tail costs"


def test_without_arcface_accuracy_and_rank_1_agree_moderately(cards):
    data = cards.plot_closed_open().data
    rest = [i for i, row in enumerate(cards.rows()) if row != "ArcFace"]
    ranks = [np.argsort(np.argsort(data[one][rest])) for one in ("accuracy", "rank1")]
    assert data["without"] == pytest.approx(np.corrcoef(ranks)[0, 1], abs=0.03) and 0.4 < data["without"] < 0.6
    assert abs(data["rho"]) < 0.3


def test_every_pair_of_the_order_is_established(cards):
    for i, one in enumerate(order := cards.open_which_order().truth):
        for other in order[i + 1 :]:
            found = cards.paired(cards.omniglot(), (one, "long-tailed"), (other, "long-tailed"))
            assert found.verdict in ("clearly better", "suggestive: better"), (one, other)


def test_printed_characters_show_the_same(cards):
    table = cards.glyphs()
    arcface = ("ArcFace", "long-tailed")
    assert cards.paired(table, arcface, metric="rank1").verdict == "clearly better"
    assert cards.paired(table, arcface, metric="accuracy").verdict == "clearly worse"
    assert cards.paired(table, cards.BALANCED).verdict == "undecided"
    by_angle, by_length = (cards.values(cards.glyphs(one), arcface, "map") for one in ("cosine", "euclidean"))
    assert (
        by_angle.index.tolist() == by_length.index.tolist() == [0, 1, 2, 3, 4] and (by_angle > by_length + 0.05).all()
    )
    for name in ("Softmax", "NormFace", "ArcFace"):
        assert len(cards.values(table, (name, "150 epochs"), "map")) == 5
    later = cards.paired(table, ("ArcFace", "150 epochs"), ("Softmax", "150 epochs"))
    assert later.verdict == "clearly better", "Softmax is not only slower"


def test_the_gates_open(cards):
    for gate in (cards.open_which_network, cards.open_which_order, cards.open_by_length, cards.open_what_costs):
        assert gate().truth is not None
    assert cards.open_what_costs().truth == "by less than 2 points, or not at all"
    assert cards.open_which_order().truth == ("NormFace", "Softmax + ring loss", "Dual Loss", "CB")
    assert "Of the 6 pairs in this list, 5 differ clearly, 1 suggestively." in cards.open_which_order().because
    assert cards.open_which_network().truth == pytest.approx(81.8, abs=0.1)
    assert "by both intervals it is at most about 2.7 points" in cards.open_what_costs().because
    assert "-0.68 (mAP)" in cards.say_order().text and "5 of these 5 lie clearly above" in cards.say_order().text


def test_the_table_has_fifteen_rows_and_says_what_is_not_comparable(cards):
    text = cards.fifteen().text
    assert text.count("\nCB") == 2 and "Dual Loss | 65.6 ± 2.9 | 66.0 ± 0.5 | 39.9 ± 0.7 | 88.1 ± 0.6" in text.replace(
        "\u00a0", " "
    )
    assert "70.5 | 38.9 | 88.5" in text and "not comparable" in text
