"""The exercises of chapter 12 say what is wrong with the answers that readers give, and its numbers are as told."""

import sys

import numpy as np
import pytest
import torch
from conftest import REPO
from scipy.optimize import linprog

import ltviz as lt


@pytest.fixture(scope="module")
def cards():
    sys.path.insert(0, str(REPO / "notebooks"))
    try:
        import cards_12

        yield cards_12
    finally:
        sys.path.remove(str(REPO / "notebooks"))


def found(targets, low=0.0, one=True):
    n, a = targets.shape
    rows, wanted = targets.T.astype(float), np.full(a, 0.5)
    if one:
        rows, wanted = np.vstack([rows, np.ones(n)]), np.append(wanted, 1.0)
    return linprog(np.zeros(n), A_eq=rows, b_eq=wanted, bounds=(low, None)).success


POSSIBLE = [
    (lambda t: bool(((t == 1).any(0) & (t == 0).any(0)).all()), "not all under the same weights"),
    (lambda t: found(t, one=False), "a share is of their sum"),
    (lambda t: found(t, low=None), "would need a negative one"),
]


@pytest.mark.parametrize(("answer", "said"), POSSIBLE, ids=["alone", "sum", "negative"])
def test_possible_says_why_a_case_differs(cards, answer, said):
    result = cards.possible.check(answer)
    wrong = [detail for passed, _, detail in result.rows if not passed]
    assert not result.passed and any(said in detail for detail in wrong), result.text


def test_possible_accepts_another_right_way(cards):
    def nearest(targets):
        """Least squares over weights that are not negative."""
        from scipy.optimize import nnls

        kinds = np.unique(targets, axis=0)
        rows = np.vstack([kinds.T, np.ones(len(kinds))])
        return bool(nnls(rows, np.append(np.full(kinds.shape[1], 0.5), 1.0))[1] < 1e-6)

    assert cards.possible.check(nearest).passed
    assert not cards.possible.check(lambda targets: True).passed
    assert not cards.possible.check(lambda targets: False).passed


def recalls(y, said, values):
    return torch.stack([((said == v) & (y == v)).sum() / (y == v).sum().clamp_min(1) for v in values]).mean()


def four(y, said):
    return recalls(y[y >= 0], said[y >= 0], range(4 if y.max() > 1 else 2))


def precision(y, said):
    y, said = y[y >= 0], said[y >= 0]
    return torch.stack([(y == v)[said == v].float().mean() for v in y.unique()]).mean()


BALANCED = [
    (lambda y, said: recalls(y.clamp_min(0), said, y.clamp_min(0).unique()), "Unknown is not"),
    (lambda y, said: recalls(y, said, y.unique()), "a value of its own"),
    (lambda y, said: (y == said)[y >= 0].float().mean(), "That is the accuracy"),
    (four, "A value that no image has"),
    (precision, "precision"),
]


@pytest.mark.parametrize(("answer", "said"), BALANCED, ids=["no", "own", "accuracy", "empty", "precision"])
def test_balanced_names_the_mistake(cards, answer, said):
    result = cards.balanced.check(answer)
    wrong = [detail for passed, _, detail in result.rows if not passed]
    assert not result.passed and any(said in detail for detail in wrong), result.text


def test_balanced_accepts_numpy_and_halves(cards):
    def answer(targets, predicted):
        y, said = targets.numpy(), predicted.numpy()
        return np.mean([np.mean(said[y == v] == v) for v in set(y.tolist()) - {-1}])

    assert cards.balanced.check(answer).passed


def test_repeating_one_attribute_changes_the_others_as_counted(cards):
    data = lt.digits_attributes(seed=0)
    y = data.targets.numpy()
    j = data.names.index("same upside down")
    rows = np.flatnonzero(y[:, j])
    many = np.concatenate([np.repeat(y, 18, 0), np.repeat(y[rows], 879 - 18, 0)])  # all 18 times, these 879 times
    share = many.mean(0)
    before, after = cards.resampled()
    names, _ = cards.ordered()
    for i, name in enumerate(names):
        p = share[data.names.index(name)]
        assert after[i] == pytest.approx(max(p, 1 - p) / min(p, 1 - p))
    assert after[-1] == pytest.approx(1.0) and after[-2] > 1.9 * before[-2]


def test_no_weighting_balances_the_digits(cards):
    off, patterns = cards.most_even()
    assert off == pytest.approx(1 / 6) and patterns == 151
    kinds = np.unique(cards.digits().targets.numpy(), axis=0)
    weights = np.random.default_rng(0).dirichlet(np.full(len(kinds), 0.05), 500)
    assert (np.abs(weights @ kinds - 0.5).max(1) >= off - 1e-9).all()


def test_three_attributes_that_no_image_shares_explain_the_bound(cards):
    data = cards.digits()
    names = [cards.ordered()[0][j] for j in cards.disjoint()]
    assert names == ["two loops", "left-heavy", "same upside down"]
    y = data.targets.numpy()[:, [data.names.index(name) for name in names]]
    assert y.sum(1).max() == 1 and (y.sum(0) > 0).all()
    alone = cards._linear(y[:, :2]), cards._linear(y[:, 1:]), cards._linear(y[:, ::2])
    assert alone == (True, True, True) and not cards._linear(y), "any two can be balanced, all three cannot"
    assert cards.most_even()[0] == pytest.approx(1 / 2 - 1 / 3), "the three alone give the bound of all twelve"
    said = cards.open_balance_all().because
    assert all(f"“{name}”" in said for name in names) and "No resampling balances these data" in said


def test_the_table_has_real_minus_signs_and_says_how_many_differences_are_luck(cards):
    table = cards.results()
    assert "−19.6\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}3.7" in table.text and "-19.6" not in table.text
    assert "about 2 of these 32 comparisons" in table.html


def test_the_kept_run_of_the_readers_loss_agrees_with_the_library():
    kept = (REPO / "notebooks" / "12_attributes.ipynb").read_text(encoding="utf-8")
    assert "The library's logit adjustment gives the same answers.\\n" in kept


def test_the_slider_of_a_network_passes_its_own_answers(cards):
    run = lt.attributes.plain()
    line = cards.slider(run)
    rare = [run.names.index(name) for name in np.array(cards.ordered()[0])[cards.within("beyond 15 : 1")]]
    assert [run.names[j] for j in rare] == ["wide", "two loops", "left-heavy", "same upside down"]
    recall = [run.scores.recall[j] for j in rare]
    at = int(np.flatnonzero(np.abs(cards.TAUS) < 1e-9)[0])
    assert line[:, at] == pytest.approx([np.mean([one[v] for one in recall]) for v in (0, 1)])
    assert (np.diff(line[0]) <= 1e-12).all() and (np.diff(line[1]) >= -1e-12).all()
    frequent, found_ = cards.recalls("CE")
    inside = cards.within("beyond 15 : 1")
    assert frequent[0, inside].mean() == pytest.approx(line[0, at], abs=1e-4)
    assert found_[0, inside].mean() == pytest.approx(line[1, at], abs=1e-4)


def test_what_the_chapter_says_holds_in_the_records(cards):
    """The take-aways and answers of the quiz that are written out."""
    for row in ("Class-balanced", "Logit adjustment"):
        assert cards.against(row).verdict == "clearly better"
    assert cards.scores("CE", "accuracy")[:, -1].min() > 0.97 and cards.scores("CE", "recall_rare")[:, -1].max() < 0.2
    low = cards.scores(cards.ALONE).mean(1)
    assert (low < 0.7).sum() == 1 and (cards.scores(cards.OWN).mean(1) > 0.8).all()
    chance, images = cards.chance()
    assert images[-1] == 18 and chance[-1] == pytest.approx(0.753, abs=1e-3)
    assert cards.photographs_chance() == pytest.approx(0.0268, abs=1e-4)
    kept = [cards.holds(found) for *_, found in cards.claims_found()]
    assert kept == ["undecided", "yes (suggestive)", "undecided", True]


def test_cards_open_with_the_answers_of_the_records(cards):
    opened = cards.open_how_many_beyond([lt.attributes.plain()])
    cards.how_many_beyond.commit()
    said = repr(opened)
    assert "The answer: none of the seven." in said and "above the line: 0 of 7" in said
    assert "nan" not in said, "one network has no interval"
    lines = np.array([cards.slider(lt.attributes.plain())])
    found = cards.beyond("CE", lines)
    assert found.n == 1 and found.mean == pytest.approx(0.0, abs=1e-3), "the plain network lies on its own line"
    for predict, opened in (
        (cards.balance_one, cards.open_balance_one), (cards.balance_all, cards.open_balance_all),
        (cards.rare_found, cards.open_rare_found), (cards.pair_chance, cards.open_pair_chance),
    ):  # fmt: skip
        assert not predict.committed and "Folded" in repr(opened())
