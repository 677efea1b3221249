"""Numbers of classes and rows that come from pandas: their labels count, not only their places."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest

import ltviz as lt
from ltviz import check, metrics

COUNTS, ACCURACY = [10, 200, 50], [0.1, 0.9, 0.5]
BY_FREQUENCY = pd.Series([0] * 10 + [1] * 200 + [2] * 50).value_counts()  # the index says 1, 2, 0


@pytest.mark.parametrize("counts", [BY_FREQUENCY, BY_FREQUENCY.to_dict(), Counter({2: 50, 0: 10, 1: 200})])
@pytest.mark.parametrize("function", [
    lambda n: metrics.shot_accuracy(ACCURACY, n)["head"],
    lambda n: metrics.weight_norm_fit([1.0, 9.0, 5.0], n).s,
    lambda n: metrics.power_prior(n, 1).tolist(),
    lambda n: metrics.third_groups(n)["tail"].tolist(),
    lambda n: metrics.law_explains([1.0, 9.0, 5.0], n, 0.4),
    lambda n: lt.plot_class_accuracy(ACCURACY, n).data["accuracy/accuracy"].tolist(),
    lambda n: lt.plot_confusion(np.diag([5, 6, 7]), n).data["confusion"].tolist(),
    lambda n: lt.plot_counts(n).text,
    lambda n: lt.explore.effective_number(n).counts.tolist(),
])  # fmt: skip
def test_counts_by_class_number_are_taken_by_number(function, counts):
    assert list(counts) != [0, 1, 2] if isinstance(counts, dict) else list(counts.index) != [0, 1, 2]
    assert function(counts) == function(COUNTS)


def test_numbers_of_classes_are_taken_by_number_too():
    falling = pd.Series(ACCURACY).sort_values(ascending=False)
    assert metrics.shot_accuracy(falling, COUNTS)["head"] == 0.9
    assert metrics.weight_norm_fit(falling, BY_FREQUENCY) == metrics.weight_norm_fit(ACCURACY, COUNTS)
    assert metrics.expected_accuracy(ACCURACY, falling / 1.5) == pytest.approx((0.01 + 0.81 + 0.25) / 1.5)


def test_names_in_an_order_of_their_own_are_refused_beside_what_has_another_and_shown_alone():
    animals = pd.Series(["eel"] * 5 + ["cat"] * 9 + ["dog"] * 7)
    for counts in (animals.value_counts(), Counter(animals)):
        for call in (
            lambda n: lt.plot_class_accuracy(ACCURACY, n),
            lambda n: lt.plot_confusion(np.eye(3, dtype=int), n),
            lambda n: lt.plot_feature_norms(np.eye(3), [0, 1, 2], n),
        ):
            with pytest.raises(ValueError, match=r"counts=.*an order of their own: pass \[counts\[name\]"):
                call(counts)
        assert lt.plot_counts(counts).data["names"].tolist() == ["cat", "dog", "eel"]
        assert lt.explore.effective_number(counts).counts.tolist() == [9, 7, 5]
    named = {"cat": 9, "dog": 7, "eel": 5}  # a dict is in the order of the classes
    assert lt.plot_class_accuracy(ACCURACY, named).data["accuracy/accuracy"].tolist() == [ACCURACY]


A, B = pd.Series([0, 1, 1], index=[5, 6, 7]), pd.Series([1, 0, 1], index=[7, 5, 6])
X = pd.DataFrame(np.eye(3), index=[6, 7, 5])
MARKS = pd.DataFrame({"hat": [1, 0], "glasses": [0, 1]})


@pytest.mark.parametrize("call", [
    lambda: metrics.confusion(A, B),
    lambda: metrics.accuracy(A, B),
    lambda: metrics.auroc(A, B / 2),
    lambda: metrics.cutoffs(A, B / 2),
    lambda: metrics.ece(X, A),
    lambda: metrics.feature_quality(X, A, 1),
    lambda: metrics.spearman(A, B),
    lambda: metrics.class_lengths(X, A, 2),
    lambda: metrics.violated_triplets(X, A, 2),
    lambda: metrics.accuracies_along(X, [0, 1, 0], A, [0.0]),
    lambda: metrics.gradient_sizes(lambda z, y: z.sum(1), X, A),
    lambda: metrics.gradient_shares(lambda z, y: z.sum(1), X, A),
    lambda: metrics.pull(X, X, A),
    lambda: metrics.mine(X, X, A),
    lambda: metrics.roc(A, B),
    lambda: metrics.verification(A, B, 2),
    lambda: metrics.paired(A / 2, B / 2),
    lambda: metrics.attribute_scores(MARKS, MARKS.iloc[::-1]),
    lambda: lt.plot_feature_norms(X, A, [5, 3]),
])  # fmt: skip
def test_rows_of_the_same_labels_in_another_order_are_refused(call):
    with pytest.raises(ValueError, match="their indices are the same in another order; sort one like the other"):
        call()


def test_columns_of_the_same_names_in_another_order_are_refused():
    with pytest.raises(ValueError, match=r"targets, predicted: their columns are .*predicted\[targets.columns\]"):
        metrics.attribute_scores(MARKS, MARKS[["glasses", "hat"]])
    assert metrics.attribute_scores(MARKS, MARKS).mean == 1.0


def test_rows_whose_labels_say_nothing_about_each_other_belong_together_by_place():
    assert metrics.accuracy(A, A.to_numpy()) == metrics.accuracy(A, A.reset_index(drop=True)) == 1.0
    twice = pd.Series([0, 1, 1], index=[5, 5, 6])
    assert metrics.accuracy(twice, twice.iloc[[2, 1, 0]]) == 1 / 3
    check.same_order(a=None, b=A, c=[1, 2, 3])


def test_a_plot_of_accuracies_takes_them_by_number_too():
    falling = pd.Series(ACCURACY).sort_values(ascending=False)
    drawn = lt.plot_class_accuracy(falling, COUNTS).data["accuracy/accuracy"]
    assert drawn.tolist() == lt.plot_class_accuracy(ACCURACY, COUNTS).data["accuracy/accuracy"].tolist()


def test_a_gain_is_not_drawn_between_runs_of_other_test_images():
    y = np.repeat([0, 1, 2], [40, 30, 20])
    z = np.eye(3)[y] + np.random.default_rng(0).normal(size=(90, 3))
    runs = [lt.from_predictions(y[:n], z[:n], counts=[9, 5, 2], seed=1, name=str(n)) for n in (90, 80)]
    with pytest.raises(ValueError, match="different data .*test images"):
        lt.plot_gain(*runs)
