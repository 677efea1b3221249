"""Class-balanced accuracy of many attributes, against counting by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from ltviz import metrics


def by_hand(targets, predicted, values):
    """Recalls, balanced accuracies and accuracies, image by image."""
    recall, balanced, accuracy = [], [], []
    for j, size in enumerate(values):
        found = []
        for v in range(size):
            rows = [i for i in range(len(targets)) if targets[i][j] == v]
            found.append(sum(predicted[i][j] == v for i in rows) / len(rows) if rows else float("nan"))
        known = [i for i in range(len(targets)) if targets[i][j] >= 0]
        right = sum(targets[i][j] == predicted[i][j] for i in known)
        defined = [one for one in found if one == one]
        recall.append(found)
        balanced.append(sum(defined) / len(defined) if defined else float("nan"))
        accuracy.append(right / len(known) if known else float("nan"))
    return recall, balanced, accuracy


@pytest.mark.parametrize("seed", range(20))
def test_it_is_what_counting_gives(seed):
    rng = np.random.default_rng(seed)
    values = rng.integers(2, 6, 4)
    n = int(rng.integers(1, 40))
    targets = np.stack([rng.integers(-1, v, n) for v in values], 1)
    predicted = np.stack([rng.integers(0, v, n) for v in values], 1)
    found, (recall, balanced, accuracy) = (
        metrics.attribute_scores(targets, predicted, values),
        by_hand(targets.tolist(), predicted.tolist(), values.tolist()),
    )
    for one, other in zip(found.recall, recall, strict=True):
        np.testing.assert_allclose(one, other)
    np.testing.assert_allclose(found.balanced, balanced)
    np.testing.assert_allclose(found.accuracy, accuracy)
    defined = [one for one in balanced if one == one]
    assert found.mean == pytest.approx(sum(defined) / len(defined), nan_ok=True)


def test_of_a_binary_attribute_it_is_the_mean_of_both_rates():
    targets, predicted = [[1]] * 4 + [[0]] * 16, [[1]] * 3 + [[0]] * 15 + [[1]] * 2
    found = metrics.attribute_scores(targets, predicted)
    assert found.balanced.tolist() == [(3 / 4 + 14 / 16) / 2] and found.accuracy.tolist() == [17 / 20]
    assert found.mean == found.balanced[0]


def test_always_no_is_half_right():
    found = metrics.attribute_scores([[0]] * 99 + [[1]], [[0]] * 100)
    assert found.balanced.tolist() == [0.5] and found.accuracy.tolist() == [0.99]
    assert found.recall[0].tolist() == [1.0, 0.0]


def test_what_is_unknown_is_left_out():
    found = metrics.attribute_scores([[0, -1], [-1, -1], [1, -1]], [[0, 1], [0, 1], [0, 1]])
    assert found.accuracy[0] == 0.5 and found.balanced[0] == 0.5
    assert np.isnan(found.balanced[1]) and np.isnan(found.accuracy[1]) and found.mean == 0.5
    assert metrics.attribute_scores([[0]], [[0]], [3]).recall[0].tolist()[0] == 1.0


def test_of_a_run_it_asks_for_nothing_else():
    run = SimpleNamespace(targets=np.array([[0], [1]]), predicted=np.array([[0], [0]]), values=[("no", "yes")])
    assert metrics.attribute_scores(run).recall[0].tolist() == [1.0, 0.0]
    with pytest.raises(ValueError, match="values="):
        metrics.attribute_scores(run, values=[2])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([0, 1], [0, 1]), "targets="),
        (([[0.0]], [[0]]), "targets="),
        (([[True]], [[0]]), "targets="),
        (([[-2]], [[0]]), "targets="),
        (([[0]], [[-1]]), "predicted="),
        (([[0]], [[0], [0]]), "predicted="),
        (([[0]], None), "predicted=None"),
        (([[2]], [[0]], [2]), "values="),
        (([[0]], [[0]], [2, 2]), "values="),
        (([[0]], [[0]], 2), "values=2"),
        (([[0]], [[0]], [True]), "values="),
    ],
)
def test_what_has_no_meaning_is_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        metrics.attribute_scores(*arguments)
