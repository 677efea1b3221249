"""Retrieval and verification against brute force: every order of ties, every threshold."""

import itertools
import math
import sys

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from ltviz import metrics
from ltviz.metrics.retrieval import most_pairs


def _orders(similarity, right):
    """All rankings that the similarities allow, as lists of right (True) and wrong."""
    levels = sorted(set(similarity), reverse=True)
    groups = [[r for s, r in zip(similarity, right, strict=True) if s == level] for level in levels]
    for order in itertools.product(*(list(itertools.permutations(group)) for group in groups)):
        yield [r for group in order for r in group]


def _brute(similarity, right, rank):
    """Rank-k and average precision, the mean over all orders of ties."""
    hits, precisions = [], []
    for order in _orders(similarity, right):
        hits.append(any(order[:rank]))
        precisions.append(np.mean([np.mean(order[: i + 1]) for i, r in enumerate(order) if r]))
    return np.mean(hits), np.mean(precisions)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("case", range(100))
def test_equals_brute_force_over_all_orders_of_ties(case, distance):
    rng = np.random.default_rng(case)
    gallery = rng.integers(1, 3, (6, 2)).astype(float)  # four places for six images: many ties
    query = rng.integers(1, 3, (1, 2)).astype(float)
    whose = rng.integers(0, 2, 6)
    whose[0] = 0
    found = metrics.retrieval(query, [0], gallery, whose, distance=distance, ranks=(1, 3))
    if distance == "cosine":
        similarity = (gallery @ query[0] / np.linalg.norm(gallery, axis=1) / np.linalg.norm(query)).round(9)
    else:
        similarity = -np.linalg.norm(gallery - query, axis=1).round(9)
    for rank in (1, 3):
        hit, precision = _brute(similarity.tolist(), (whose == 0).tolist(), rank)
        assert found.at(rank) == pytest.approx(hit)
        assert found.map == pytest.approx(precision)


def test_without_ties_it_is_scikit_learns_average_precision():
    rng = np.random.default_rng(0)
    gallery, queries = rng.normal(size=(500, 8)), rng.normal(size=(40, 8))
    whose, who = rng.integers(0, 10, 500), rng.integers(0, 10, 40)
    found = metrics.retrieval(queries, who, gallery, whose)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (queries, gallery)]
    alike = unit[0] @ unit[1].T
    expected = [average_precision_score(whose == w, row) for w, row in zip(who, alike, strict=True)]
    np.testing.assert_allclose(found.average_precision, expected, rtol=1e-12)
    nearest = whose[alike.argmax(1)] == who
    assert found.rank1 == nearest.mean()


def test_equals_pytorch_metric_learning():
    calculator = pytest.importorskip("pytorch_metric_learning.utils.accuracy_calculator")
    import torch
    from pytorch_metric_learning.distances import LpDistance
    from pytorch_metric_learning.utils.inference import CustomKNN

    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(120, 6)), rng.integers(0, 8, 120)
    near = CustomKNN(LpDistance(normalize_embeddings=False))
    theirs = calculator.AccuracyCalculator(include=("precision_at_1", "mean_average_precision"), k=119, knn_func=near)
    numbers = theirs.get_accuracy(torch.tensor(x), torch.tensor(y))
    ours = metrics.retrieval(x, y, distance="euclidean")
    assert ours.rank1 == pytest.approx(numbers["precision_at_1"])
    assert ours.map == pytest.approx(numbers["mean_average_precision"])


def test_a_query_is_not_in_its_own_gallery():
    x = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
    among = metrics.retrieval(x, ["a", "b", "a", "b"])
    assert among.rank1 == 0.0  # each one's nearest is of the other identity
    apart = metrics.retrieval(x, ["a", "b", "a", "b"], x, ["a", "b", "a", "b"])
    assert apart.rank1 == 1.0  # itself
    named = metrics.retrieval(x, ["a", "b", "a", "b"], x, ["a", "b", "a", "b"], itself=np.arange(4))
    assert named.cmc == among.cmc and named.map == among.map


def test_a_query_without_a_right_answer_is_left_out():
    x = np.eye(3)
    found = metrics.retrieval(x, [0, 0, 7])
    assert np.isnan(found.average_precision[2]) and not np.isnan(found.average_precision[:2]).any()
    assert found.rank1 == 0.5  # two images at the same distance, one of them right
    assert math.isnan(metrics.retrieval(x, [0, 1, 2]).map)


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
def test_features_that_are_all_alike_score_what_luck_does(scale):
    x = np.full((10, 4), scale)
    for distance in ("cosine", "euclidean"):
        found = metrics.retrieval(x, np.arange(10) % 2, distance=distance)
        assert found.rank1 == pytest.approx(4 / 9)
        assert found.at(5) == pytest.approx(1 - math.comb(5, 5) / math.comb(9, 5))


def test_the_same_in_one_piece_and_in_many(monkeypatch):
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(60, 5)).astype(np.float32), rng.integers(0, 6, 60)
    whole = metrics.retrieval(x, y)
    monkeypatch.setattr(sys.modules["ltviz.metrics.retrieval"], "_CELLS", 100)  # metrics.retrieval is the function
    pieces = metrics.retrieval(x, y)
    np.testing.assert_array_equal(whole.average_precision, pieces.average_precision)


# -------------------------------------------------------------------------------------------------------- verification
def _brute_threshold(s, y):
    cuts = [min(s) - 1, *((a + b) / 2 for a, b in itertools.pairwise(sorted(set(s)))), max(s) + 1]
    return max(np.mean((s >= cut) == y) for cut in cuts)


@pytest.mark.parametrize("case", range(20))
def test_the_threshold_is_best_on_nine_folds_and_judged_on_the_tenth(case):
    rng = np.random.default_rng(case)
    y = np.arange(40) % 2 == 0
    s = (y + rng.normal(size=40)).round(1)  # ties
    found = metrics.verification(s, y)
    for i in range(10):
        held = np.zeros(40, dtype=bool)
        held[4 * i : 4 * i + 4] = True
        reached = np.mean((s[~held] >= found.thresholds[i]) == y[~held])
        assert reached == _brute_threshold(s[~held], y[~held])
        assert found.by_fold[i] == np.mean((s[held] >= found.thresholds[i]) == y[held])
    assert found.accuracy == pytest.approx(found.by_fold.mean())
    assert found.error == pytest.approx(found.by_fold.std(ddof=1) / 10**0.5)


def test_roc_and_tar_at_far():
    s = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    y = np.array([True, True, False, True, False, False])
    curve = metrics.roc(s, y)
    assert curve.tar_at(0.0) == pytest.approx(2 / 3)
    assert curve.tar_at(0.3) == pytest.approx(2 / 3)  # one of three would be .33
    assert curve.tar_at(1 / 3) == 1.0
    assert metrics.roc(np.zeros(6), y).tar_at(0.5) == 0.0  # all alike: all or none


def test_pairs_are_half_of_one_identity_and_none_twice():
    who = np.repeat(np.arange(5), [1, 2, 3, 4, 5])
    pairs, same = metrics.draw_pairs(who, 20, seed=3)
    np.testing.assert_array_equal(who[pairs[:, 0]] == who[pairs[:, 1]], same)
    assert same.sum() == 10 and len({tuple(sorted(pair)) for pair in pairs.tolist()}) == 20
    again, _ = metrics.draw_pairs(who, 20, seed=3)
    np.testing.assert_array_equal(pairs, again)
    with pytest.raises(ValueError, match=r"n=42: expected at most 40"):
        metrics.draw_pairs(who, 42)


def test_similarity_of_pairs():
    a, b = np.array([[3.0, 4.0], [1.0, 0.0]]), np.array([[6.0, 8.0], [0.0, 2.0]])
    np.testing.assert_allclose(metrics.similarity(a, b), [1.0, 0.0])
    np.testing.assert_allclose(metrics.similarity(a, b, "euclidean"), [-5.0, -(5.0**0.5)])


X = np.eye(3)
WRONG = {
    "features": lambda: metrics.retrieval([1.0, 2.0], [0, 1]),
    "nan": lambda: metrics.retrieval(np.full((2, 2), np.nan), [0, 1]),
    "identities": lambda: metrics.retrieval(X, [0.5, 1.0, 2.0]),
    "too few identities": lambda: metrics.retrieval(X, [0, 1]),
    "gallery alone": lambda: metrics.retrieval(X, [0, 1, 2], X),
    "identities alone": lambda: metrics.retrieval(X, [0, 1, 2], gallery_identities=[0, 1, 2]),
    "two lengths": lambda: metrics.retrieval(X, [0, 1, 2], np.eye(4), [0, 1, 2, 3]),
    "names and numbers": lambda: metrics.retrieval(X, [0, 1, 2], X, ["a", "b", "c"]),
    "itself": lambda: metrics.retrieval(X, [0, 1, 2], X, [0, 1, 2], itself=[0, 1, 3]),
    "distance": lambda: metrics.retrieval(X, [0, 1, 2], distance="l2"),
    "ranks": lambda: metrics.retrieval(X, [0, 1, 2], ranks=(0,)),
    "no ranks": lambda: metrics.retrieval(X, [0, 1, 2], ranks=()),
    "rank": lambda: metrics.retrieval(X, [0, 0, 1]).at(2),
    "one kind": lambda: metrics.verification([0.1, 0.2], [True, True]),
    "same": lambda: metrics.verification([0.1, 0.2], [2, 0]),
    "folds": lambda: metrics.verification([0.1, 0.2], [True, False], folds=3),
    "far": lambda: metrics.roc([0.1, 0.2], [True, False]).tar_at(2.0),
    "odd": lambda: metrics.draw_pairs([0, 0, 1, 1], 3),
    "pairs": lambda: metrics.draw_pairs(3, 2),
    "shapes": lambda: metrics.similarity(X, np.eye(4)),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_are_named(name):
    with pytest.raises(ValueError):
        WRONG[name]()


@pytest.mark.parametrize("scale", [1e300, 1e-200, 1e-320])
@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_the_scale_of_features_ranks_nothing(scale, distance):
    """Their squares are beyond the numbers that there are, or nothing."""
    x, who = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 5
    x += 2 * np.eye(5)[who][:, :3]
    expected = metrics.retrieval(x, who, distance=distance)
    found = metrics.retrieval(x * scale, who, distance=distance)
    assert found.map == pytest.approx(expected.map, abs=1e-3 if scale < 1e-300 else 1e-9) and 0.3 < found.map < 1.0
    alike = metrics.similarity(x[:20] * scale, x[20:] * scale, distance)
    by = scale if distance == "euclidean" else 1.0
    np.testing.assert_allclose(alike / by, metrics.similarity(x[:20], x[20:], distance), atol=2e-2)


def test_a_distance_that_no_number_holds_is_refused():
    with pytest.raises(ValueError, match="^first=.*divide all of them by the largest"):
        metrics.similarity([[1.7e308, 1.7e308]], [[-1.7e308, 0.0]], "euclidean")


def test_nearly_all_pairs_are_drawn_without_drawing_known_ones_again_and_again():
    """One identity with many images, many with two: evenly drawn identities repeat the same few pairs."""
    who = np.r_[np.zeros(60, int), np.repeat(np.arange(1, 61), 2)]
    most = most_pairs(who)
    for n in (most, most - 200):
        rows, same = metrics.draw_pairs(who, n)
        assert len({tuple(pair) for pair in rows.tolist()}) == n and (rows[:, 0] != rows[:, 1]).all()
        np.testing.assert_array_equal(who[rows[:, 0]] == who[rows[:, 1]], same)
