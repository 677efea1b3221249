"""Balanced accuracy of many attributes, against counting by hand."""

from types import SimpleNamespace

import numpy as np
import pandas
import pytest
import torch

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


def test_of_a_run_that_diverged_nothing_is_defined():
    run = SimpleNamespace(targets=np.zeros((4, 2)), predicted=np.zeros((4, 2)), values=[("no", "yes")] * 2,
                          status="diverged")  # fmt: skip
    found = metrics.attribute_scores(run)
    assert [one.shape for one in found.recall] == [(2,), (2,)] and np.isnan(found.recall).all()
    assert np.isnan([*found.balanced, *found.accuracy, found.mean]).all() and found.accuracy.shape == (2,)
    with pytest.raises(ValueError, match="targets=.*a run of lt.train_attributes"):
        metrics.attribute_scores(SimpleNamespace(targets=np.zeros(4), predicted=np.zeros(4)))


@pytest.mark.parametrize("kind", [bool, np.float32, torch.tensor, pandas.DataFrame, list])
def test_truth_values_and_whole_floats_are_values(kind):
    targets, predicted = np.array([[0, 1], [1, 0], [1, 1]]), np.array([[0, 0], [1, 0], [0, 1]])
    expected = metrics.attribute_scores(targets, predicted)
    truth = predicted.astype(bool)
    given = truth.tolist() if kind is list else kind(truth) if kind in (torch.tensor, pandas.DataFrame) else None
    found = metrics.attribute_scores(targets, predicted.astype(kind) if given is None else given)
    assert found.balanced.tolist() == expected.balanced.tolist() == [0.75, 0.75]
    unknown = metrics.attribute_scores(np.array([[-1.0], [1.0]]), [[1], [1]])
    assert unknown.accuracy.tolist() == [1.0] and np.isnan(unknown.recall[0][0])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([0, 1], [0, 1]), "targets="),
        (([[0.5]], [[0]]), "targets=.*not float64 such as 0.5; for probabilities .* pass p > 0.5"),
        (([[0]], [[np.nan]]), "predicted=.*not float64 such as nan"),
        (([[0]], [[np.inf]]), "predicted=.*not float64 such as inf"),
        (([[0]], [["1"]]), "predicted=.*not of type <U1"),
        (([[10**9]], [[0]]), "targets=.*such as 1000000000"),
        ((np.ma.masked_array([[True]], mask=True), [[0]]), "targets=.*masked"),
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
