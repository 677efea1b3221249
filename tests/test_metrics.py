import inspect
import subprocess
import sys
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pandas
import pytest
import sklearn.metrics
import torch
from scipy.stats import ttest_rel

from ltviz import metrics as m


def make_run(confusion, counts, seed=0, fingerprint="f", **more):
    return SimpleNamespace(
        confusion=np.array(confusion),
        counts=np.array(counts),
        seed=seed,
        data={"name": "toy", "fingerprint": fingerprint},
        **more,
    )


HAND = np.array([[8, 1, 1], [2, 3, 0], [1, 1, 0]])


def test_confusion_by_hand():
    found = m.confusion([0, 0, 1, 2, 2], [0, 1, 1, 2, 0], k=4)
    assert found.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    assert m.confusion(torch.tensor([0, 1]), torch.tensor([1, 1])).tolist() == [[0, 1], [0, 1]]
    assert m.confusion(make_run(HAND, [9, 3, 1])).tolist() == HAND.tolist()


def test_scores_by_hand():
    assert m.accuracy(HAND) == pytest.approx(11 / 17)
    assert m.recall(HAND) == pytest.approx([0.8, 0.6, 0.0])
    assert m.per_class(HAND) == pytest.approx([0.8, 0.6, 0.0])
    assert m.precision(HAND) == pytest.approx([8 / 11, 3 / 5, 0.0])
    assert m.f1(HAND) == pytest.approx([16 / 21, 0.6, 0.0])
    assert m.balanced_accuracy(HAND) == pytest.approx(1.4 / 3)
    assert m.recall(HAND, average="macro") == pytest.approx(1.4 / 3)
    assert m.precision(HAND, average="macro") == pytest.approx((8 / 11 + 0.6) / 3)


def test_scores_agree_with_sklearn():
    draw = np.random.default_rng(0)
    truth = draw.choice(6, 400, p=[0.5, 0.2, 0.15, 0.1, 0.04, 0.01])
    guess = np.where(draw.random(400) < 0.6, truth, draw.integers(0, 5, 400))
    assert (m.confusion(truth, guess) == sklearn.metrics.confusion_matrix(truth, guess, labels=range(6))).all()
    assert m.accuracy(truth, guess) == pytest.approx(sklearn.metrics.accuracy_score(truth, guess))
    assert m.balanced_accuracy(truth, guess) == pytest.approx(sklearn.metrics.balanced_accuracy_score(truth, guess))
    for average in (None, "macro"):
        want = sklearn.metrics.precision_recall_fscore_support(
            truth, guess, average=average, labels=range(6), zero_division=0
        )
        for ours, theirs in zip((m.precision, m.recall, m.f1), want[:3], strict=True):
            assert ours(truth, guess, average=average) == pytest.approx(theirs)


def test_f1_of_a_class_that_is_predicted_without_test_images_is_zero():
    """2 TP / (2 TP + FP + FN) is 0 there, and undefined only where a class is neither true nor predicted."""
    matrix = np.array([[6, 1, 2, 0], [1, 4, 3, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    assert m.f1(matrix)[:3] == pytest.approx([12 / 16, 8 / 13, 0.0]) and np.isnan(m.f1(matrix)[3])
    assert m.precision(matrix)[:3] == pytest.approx([6 / 7, 4 / 5, 0.0]) and np.isnan(m.precision(matrix)[3])
    truth, guess = (np.repeat(one, matrix.ravel()) for one in np.divmod(np.arange(16), 4))
    for ours, score in (m.f1, sklearn.metrics.f1_score), (m.precision, sklearn.metrics.precision_score):
        assert ours(matrix, average="macro") == pytest.approx(score(truth, guess, average="macro"))
    assert np.isnan(m.recall(matrix)[2])


def test_confidence_of_a_run_is_that_of_its_probabilities_block_by_block(monkeypatch):
    draw = np.random.default_rng(0)
    y, z = draw.integers(0, 7, 50), (4 * draw.normal(size=(50, 7))).astype(np.float32)
    z[3, 2] = -np.inf  # a class that a rule has excluded
    run = SimpleNamespace(confusion=None, logits=z, targets=y, probability="softmax")
    monkeypatch.setattr(m.calibration, "BLOCK", 21)
    for run.probability in ("softmax", "sigmoid"):
        p = m.probabilities(run)
        np.testing.assert_allclose(m.calibration.sureness(run).confidence, p.max(1), rtol=1e-14)
        assert m.ece(run) == pytest.approx(m.ece(p, y), abs=1e-14) == m.reliability(run).error
    z[45, 0] = np.nan
    with pytest.raises(ValueError, match=r"shape \(50, 7\)>.*found NaN in row 45"):
        m.ece(run)


def test_a_class_without_test_images_is_left_out():
    matrix = [[3, 1, 0], [1, 3, 0], [0, 0, 0]]
    assert np.isnan(m.recall(matrix)[2]) and np.isnan(m.f1(matrix)[2]) and np.isnan(m.per_class(matrix)[2])
    assert m.f1(matrix, average="macro") == pytest.approx(0.75)
    assert m.balanced_accuracy(matrix) == pytest.approx(0.75)
    assert m.per_class([[1, 0], [2, 0]]).tolist() == [1.0, 0.0], "one test image is enough"
    assert np.isnan(m.accuracy(np.zeros((2, 2)))) and np.isnan(m.f1(np.zeros((2, 2)), average="macro"))


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: m.confusion([0, 3], [0, 1], k=3), ["targets", "0..2", "found 3 at position 1"]),
        (lambda: m.confusion([0, 1], [0, -1]), ["predictions", "-1"]),
        (lambda: m.confusion([0, 1, 1], [0, 1]), ["one length", "3 and 2"]),
        (lambda: m.confusion(np.zeros((3, 2)), [0, 1, 1]), ["targets", "(3, 2)"]),
        (lambda: m.confusion([0, 1], [0.2, 0.8]), ["predictions", "argmax"]),
        (lambda: m.confusion(np.zeros((3, 2))), ["square", "predictions"]),
        (lambda: m.confusion([[0.9, 0.1], [0.5, 0.5]]), ["confusion", "whole counts", "0.9 in row 0, column 0"]),
        (lambda: m.accuracy([[3, 1], [0.5, 4]]), ["confusion", "0.5 in row 1, column 0"]),
        (lambda: m.per_class([[3, 1], [-1, 4]]), ["confusion", "-1 in row 1, column 0"]),
        (lambda: m.f1([[3, 1], [np.nan, 4]]), ["confusion", "nan"]),
        (lambda: m.recall([[3, 1], [np.inf, 4]]), ["confusion", "inf"]),
        (lambda: m.precision(np.full((2, 2), 2**62)), ["confusion", "2^53"]),
        (lambda: m.confusion(np.full((2, 2), 2.0**64)), ["confusion", "2^53"]),
        (lambda: m.confusion(np.full((2, 2), 2**64 - 1, np.uint64)), ["confusion", "2^53"]),
        (lambda: m.confusion(np.eye(2, dtype=bool)), ["confusion", "whole counts"]),
        (lambda: m.confusion(HAND, k=4), ["k=4", "3"]),
        (lambda: m.confusion(make_run(HAND, [9, 3, 1]), [0, 1]), ["predictions", "run.targets"]),
        (lambda: m.confusion([True, False], [0, 1]), ["targets", "class numbers"]),
        (lambda: m.confusion([0, 1], ["cat", "dog"]), ["predictions", "class numbers"]),
        (lambda: m.confusion([0, 1], [0.0, np.nan]), ["predictions", "float64"]),
        (lambda: m.confusion([0.0, 1.0], [0, 1]), ["targets", "float64 such as 0.0"]),
        (lambda: m.confusion(np.eye(3, dtype=int), [0, 1, 2]), ["targets", "one-hot", "(3, 3)"]),
        (lambda: m.confusion([0, 2**63], [0, 1]), ["targets", "9223372036854775808"]),
        (lambda: m.confusion([0, 10**9], [0, 1]), ["targets", "1000000000 at position 1"]),
        (lambda: m.confusion([[0, 1], [2]], [0, 1]), ["targets", "class numbers"]),
        (lambda: m.confusion([0, 1], [0, 1], k=True), ["k=True"]),
        (lambda: m.confusion(np.ma.masked_equal([0, 1], 1), [0, 1]), ["targets", "masked"]),
        (lambda: m.shot_groups(Counter({1: 500, 2: 20})), ["counts", "Counter", "0 to k - 1"]),
        (lambda: m.shot_groups(Counter("aab")), ["counts", "Counter", "in the order of the classes"]),
        (lambda: m.shot_groups(pandas.Series([5, 2], index=[0, 0])), ["counts", "each class once"]),
        (lambda: m.gradient_sizes(float32_loss, [[1.0, 2.0]], [1]), ["loss=", "float64", "RuntimeError"]),
        (lambda: m.shot_groups([[1, 2]]), ["counts", "(k,)"]),
        (lambda: m.shot_groups([3, 1], many=True), ["many=True"]),
        (lambda: m.shot_groups([3, 1], few=np.nan), ["few=nan"]),
        (lambda: m.third_groups([3.0, np.inf]), ["counts", "finite"]),
        (lambda: m.third_groups(["a", "b"]), ["counts"]),
        (lambda: m.third_groups([]), ["counts"]),
        (lambda: m.third_groups([1 + 2j, 3]), ["counts"]),
        (lambda: m.shot_accuracy([0.5, np.inf], [3, 1]), ["run", "infinite"]),
        (lambda: m.shot_accuracy("ab", [3, 1]), ["run"]),
        (lambda: m.probabilities([[0.0, np.nan]]), ["logits", "NaN in row 0"]),
        (lambda: m.probabilities([[0.0, 1.0], [0.0, np.inf]]), ["logits", "inf in row 1"]),
        (lambda: m.probabilities([[-np.inf, -np.inf]], "sigmoid"), ["logits", "-inf in row 0"]),
        (lambda: m.probabilities([0.0, 1.0]), ["logits", "(n, k)"]),
        (lambda: m.probabilities(np.zeros((3, 0))), ["logits", "at least one class"]),
        (lambda: m.probabilities(np.zeros((2, 2)), ""), ["kind=''"]),
        (lambda: m.probabilities(np.zeros((2, 2)), normalise=1), ["normalise=1"]),
        (lambda: m.ece(np.array([[0.5, np.nan]]), [0]), ["probabilities", "[0, 1]"]),
        (lambda: m.ece(np.array([[0.5, 0.5]])), ["targets"]),
        (lambda: m.ece(np.array([[0.5, 0.5]]), [0, 1]), ["targets", "(1), not 2"]),
        (lambda: m.ece(np.array([[0.5, 0.5]]), [[1, 0]]), ["targets", "one-hot"]),
        (lambda: m.ece(np.array([[0.5, 0.5]]), [0], bins=2.5), ["bins=2.5"]),
        (lambda: m.ece(np.array([[0.5, 0.5]]), [0], bins=0), ["bins=0"]),
        (lambda: m.ece(np.array([[0.5, 0.5]]), [0], bins=10**9), ["bins=1000000000"]),
        (lambda: m.spearman(["a", "b"], [1, 2]), ["a=", "numbers"]),
        (lambda: m.spearman([1, 2], None), ["b=None"]),
        (lambda: m.weight_norm_fit([1.0, np.nan], [3, 1]), ["norms", "finite"]),
        (lambda: m.weight_norm_fit([1.0, -1.0], [3, 1]), ["norms", "negative"]),
        (lambda: m.weight_norm_fit([1.0, 2.0], [3, 1, 1]), ["norms and counts", "2 and 3"]),
        (lambda: m.feature_quality([[1.0, np.inf], [0.0, 1.0]], [0, 1]), ["features", "1 rows", "row 0", "65,504"]),
        (lambda: m.feature_quality(np.eye(3)), ["targets"]),
        (lambda: m.feature_quality(np.eye(3), [0, 1]), ["targets", "(3), not 2"]),
        (lambda: m.feature_quality(np.eye(3), [0, 1, 2], True), ["neighbours=True"]),
        (lambda: m.feature_quality(np.ones((1, 3)), [0]), ["features", "2 images"]),
        (lambda: m.paired([0.1, np.inf], [0.1, 0.2]), ["a=", "infinite"]),
        (lambda: m.paired([0.1, 0.2], "ab"), ["b='ab'"]),
        (lambda: m.paired({0: 0.1}, [0.1]), ["a="]),
        (lambda: m.paired([0.1], [0.2], group="rare"), ["group='rare'"]),
        (lambda: m.paired([], []), ["empty"]),
        (lambda: m.paired(make_run(HAND, [9, 3, 1]), [0.2]), ["a=", "write [run]"]),
        (lambda: m.paired([make_run(HAND, [9, 3, 1]), 0.3], [0.2, 0.3]), ["a=0.3", "only runs"]),
        (lambda: m.comparison_table([1, 2]), ["runs_by_label", "dict"]),
        (lambda: m.comparison_table({}), ["runs_by_label", "empty"]),
        (lambda: m.comparison_table({"ce": []}), ["runs_by_label['ce']", "empty"]),
        (lambda: m.comparison_table({"ce": [0.1, 0.2]}), ["runs_by_label['ce']", "list of runs"]),
        (lambda: m.comparison_table({"ce": make_run(HAND, [9, 3, 1])}), ["runs_by_label['ce']", "[run]"]),
        (lambda: m.comparison_table({"ce": [make_run(HAND, [9, 3, 1])]}, group=3), ["group=3"]),
        (lambda: m.f1(HAND, average="micro"), ["average", "macro", "micro"]),
        (lambda: m.ece(np.array([[2.0, -1.0]]), [0]), ["[0, 1]", "metrics.probabilities"]),
        (lambda: m.ece(np.array([[0.5, 0.5]]), [2]), ["targets", "0..1", "found 2"]),
        (lambda: m.probabilities(np.zeros((2, 2)), "tanh"), ["softmax", "sigmoid", "tanh"]),
        (lambda: m.shot_groups([5, 4], many=10, few=20), ["few=20", "many=10"]),
        (lambda: m.shot_groups([5, 4], convention="other"), ["kang", "oltr", "other"]),
        (lambda: m.shot_accuracy([0.5, 0.4]), ["counts"]),
        (lambda: m.shot_accuracy([0.5, 0.4], [1, 2, 3]), ["counts", "2", "3"]),
        (lambda: m.third_groups([3, -1, 2]), ["counts", "negative"]),
        (lambda: m.paired([0.1, 0.2], [0.1]), ["one value per seed", "2 and 1"]),
        (lambda: m.spearman([1, 2], [1, 2, 3]), ["one length"]),
        (lambda: m.weight_norm_fit([1.0, 2.0]), ["counts"]),
    ],
)
def test_errors_say_what_to_do(call, words):
    with pytest.raises(ValueError) as error:
        call()
    for word in words:
        assert word in str(error.value)


def plain_run(seed=0, confusion=None):
    """A run of three classes, 9, 3 and 1 training images, that keeps the logits of six test images."""
    logits = np.array([[3, 1, 0], [2, 1, 0], [2, 1.5, 0], [1, 2, 0], [2, 0, 1], [3, 0, 2.9]], np.float32)
    targets = np.array([0, 0, 1, 1, 2, 2])
    confusion = m.confusion(targets, logits.argmax(1), 3) if confusion is None else np.array(confusion)
    run = make_run(confusion, [9, 3, 1], seed=seed)
    run.logits, run.targets = logits, targets
    return run


def test_of_two_tau_with_the_same_frequent_accuracy_the_better_one_counts():
    values = np.array([0.9, 0.8, 0.8, 0.7]), np.array([0.1, 0.5, 0.2, 0.4])
    line = m.Frontier(np.array([0.0, 0.5, 1.0, 1.5]), values[0], values[1], values[1], values[1])
    assert [line.tail_at(head) for head in (0.9, 0.8, 0.7, 0.85)] == pytest.approx([0.1, 0.5, 0.5, 0.3])


def each_loss(logits, targets):
    return torch.nn.functional.cross_entropy(logits, targets, reduction="none")


PUBLIC = {  # every function, and its arguments as they should be
    m.confusion: {"targets": [0, 1], "predictions": [1, 1], "k": 2}, m.accuracy: {"targets": [[3, 1], [0, 2]]},
    m.precision: {"targets": [[3, 1], [0, 2]], "average": "macro"}, m.recall: {"targets": [[3, 1], [0, 2]]},
    m.f1: {"targets": [[3, 1], [0, 2]]}, m.per_class: {"targets": [[3, 1], [0, 2]]},
    m.balanced_accuracy: {"targets": [0, 1], "predictions": [1, 1]},
    m.power_prior: {"counts": [5, 1], "power": 0.5},
    m.expected_accuracy: {"per_class": [0.5, 1.0], "prior": [0.9, 0.1]},
    m.answer_shares: {"targets": [0, 1], "prior": [0.9, 0.1], "predictions": [1, 1]},
    m.accuracies_along: {"scores": [[1.0, 2.0]], "direction": [0.0, 1.0], "targets": [1], "at": [0.0, 1.0]},
    m.shot_groups: {"counts": [5, 1], "many": 100, "few": 20, "convention": "kang"}, m.third_groups: {"counts": [5, 1]},
    m.shot_accuracy: {"run": [0.5, 0.1], "counts": [5, 1]},
    m.probabilities: {"logits": [[1.0, 2.0]], "kind": "softmax", "normalise": False},
    m.reliability: {"probabilities": [[0.2, 0.8]], "targets": [1], "bins": 15},
    m.ece: {"probabilities": [[0.2, 0.8]], "targets": [1], "bins": 15}, m.spearman: {"a": [1, 2], "b": [2, 3]},
    m.weight_norm_fit: {"norms": [1.0, 2.0], "counts": [5, 1]},
    m.feature_quality: {"features": [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], "targets": [0, 1, 0], "neighbours": 2},
    m.law_explains: {"norms": [1.0, 2.0], "counts": [5, 1], "s": 2.0},
    m.pull: {"logits": [[0.0, 1.0]], "features": [[1.0]], "targets": [0]},
    m.paired: {"a": [0.1, 0.2], "b": [0.1, 0.3], "group": "all"},
    m.expected_distinct: {"p": [0.5, 0.5], "n": 3}, m.draw_prototypes: {"p": [0.5, 0.5], "n": 3, "seed": 0},
    m.first_hits: {"draws": [0, 1, 0]},
    m.frontier: {"run": plain_run(), "taus": [0.0, 1.0]},
    m.auroc: {"targets": [0, 1], "scores": [[0.0, 1.0], [2.0, 1.0]], "average": "macro"},
    m.average_precision: {"targets": [0, 1], "scores": [0.5, 1.0], "average": "macro"},
    m.log_odds: {"scores": [[0.0, 1.0]], "positive": 1, "kind": "softmax"}, m.rare_class: {"counts": [5, 1]},
    m.cutoffs: {"targets": plain_run(), "scores": None, "positive": 2}, m.logit: {"p": 0.5}, m.probability: {"at": 0.0},
    m.calibrated_threshold: {"cost": 9.0, "prevalence": 0.1, "trained": 0.2},
    m.retrieval: {"queries": [[1.0, 0.0], [0.0, 1.0]], "query_identities": [0, 1], "gallery": [[1.0, 1.0], [0.0, 1.0]],
                  "gallery_identities": [0, 1], "itself": [-1, 1], "distance": "cosine", "ranks": (1,)},
    m.similarity: {"first": [[1.0, 0.0]], "second": [[1.0, 1.0]], "distance": "cosine"},
    m.verification: {"similarities": [0.1, 0.9, 0.2, 0.8], "same": [False, True, False, True], "folds": 2},
    m.roc: {"similarities": [0.1, 0.9], "same": [False, True]},
    m.draw_pairs: {"identities": [0, 0, 1, 1], "n": 2, "seed": 0},
    m.beyond: {"runs": [plain_run()], "base": [plain_run()], "group": "mid"},
    m.comparison_table: {"runs_by_label": {"ce": [make_run(HAND, [9, 3, 1])]}, "reference": "ce", "group": "all"},
    m.class_lengths: {"features": [[3.0, 4.0], [1.0, 0.0]], "targets": [0, 1], "k": 2},
    m.spread: {"lengths": [1.0, 2.0]},
    m.class_margins: {"kind": "ldam", "margin": 0.5, "counts": [5, 1]},
    m.slices: {"vectors": [0.0, 90.0], "kind": "cosface", "margin": 0.2, "scale": 16.0, "counts": [5, 1]},
    m.gradient_sizes: {"loss": each_loss, "logits": [[1.0, 2.0]], "targets": [1]},
    m.gradient_shares: {"loss": each_loss, "logits": [[1.0, 2.0]], "targets": [1]},
    m.difficulty_course: {"accuracy": [[0.9, 0.5]], "rule": "paper", "tau": 1.0, "images": 10, "draws": 5, "seed": 0},
    m.violated_triplets: {"features": [[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]], "targets": [0, 0, 1], "k": 2,
                          "margin": 0.2},
    m.mine: {"logits": [[2.0, 0.0], [1.0, 0.5], [0.0, 1.0], [0.2, 1.0]], "features": [[1.0, 0.0], [0.9, 0.1],
             [0.0, 1.0], [0.1, 0.9]], "targets": [0, 0, 1, 1], "level": "class", "rho": 0.5, "kappa": 2,
             "margin": 0.5, "bins": 10},
    m.attribute_scores: {"targets": [[0], [1], [0]], "predicted": [[0], [1], [1]], "values": [2]},
    m.pair_chance: {"counts": [5, 2], "batch_size": 3, "p": [0.5, 0.5]},
    m.triplets_by_class: {"targets": [0, 0, 1], "k": 2, "rho": 0.5, "kappa": 2},
}  # fmt: skip
WRONG = [
    "words",
    b"x",
    {},
    {"a": 1},
    object(),
    1j,
    float("nan"),
    [None],
    [["x"]],
    [object()],
    np.array("x"),
    np.zeros((1, 1, 1, 1)),
    np.array([1 + 2j]),
    np.array(["2020-01-01"], "datetime64[D]"),
    Counter("ab"),
]


def test_every_function_is_asked_wrongly():
    assert {f.__name__ for f in PUBLIC} == {n for n in m.__all__ if inspect.isfunction(getattr(m, n))}


@pytest.mark.parametrize("function", PUBLIC, ids=lambda function: function.__name__)
def test_no_wrong_argument_is_accepted_or_ends_in_a_raw_error(function):
    function(**PUBLIC[function])
    for name in PUBLIC[function]:
        for value in WRONG:
            with pytest.raises(ValueError) as error:
                function(**{**PUBLIC[function], name: value})
            names = {"targets": ("targets", "confusion")}.get(name, (name,))
            assert any(one in str(error.value) for one in names), (name, value, str(error.value))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.uint64, torch.uint8, torch.int32])
def test_labels_of_every_type_of_whole_numbers(dtype):
    targets, guesses = [0, 99, 99, 50], [0, 99, 98, 50]  # 99 * 100 + 99 fits into no byte
    if isinstance(dtype, torch.dtype):
        made = m.confusion(torch.tensor(targets, dtype=dtype), torch.tensor(guesses, dtype=dtype), k=100)
    else:
        made = m.confusion(np.array(targets, dtype), np.array(guesses, dtype), k=100)
    assert made.dtype == np.int64 and np.argwhere(made).tolist() == [[0, 0], [50, 50], [99, 98], [99, 99]]


def test_a_confusion_matrix_of_floats_that_are_whole_is_one():
    assert m.confusion(HAND.astype(np.float32)).dtype == np.int64
    assert m.confusion(torch.tensor(HAND, dtype=torch.bfloat16)).tolist() == HAND.tolist()
    assert m.accuracy(HAND.astype(np.uint8) * 20) == pytest.approx(11 / 17), "sums beyond a byte"
    given = HAND.copy()
    m.confusion(given)[0, 0] = 99
    assert given[0, 0] == 8, "the caller's own stays as it is"


def test_shot_groups_in_both_conventions():
    counts = [500, 101, 100, 21, 20, 19, 2]
    kang, oltr = m.shot_groups(counts), m.shot_groups(counts, convention="oltr")
    assert {name: mask.sum() for name, mask in kang.items()} == {"many": 2, "medium": 3, "few": 2}
    assert {name: mask.sum() for name, mask in oltr.items()} == {"many": 3, "medium": 1, "few": 3}
    assert [g.sum() for g in m.shot_groups(counts, many=20, few=19).values()] == [4, 2, 1]


@pytest.mark.parametrize(
    "ratio, kang, oltr",
    [
        (200, (30, 31, 39), (31, 29, 40)),
        (100, (35, 35, 30), (35, 34, 31)),
        (50, (41, 41, 18), (41, 40, 19)),
        (20, (53, 47, 0), (54, 46, 0)),
        (10, (69, 31, 0), (70, 30, 0)),
    ],
)
def test_shot_group_sizes_of_cifar100(ratio, kang, oltr):
    counts = [int(500 * (1 / ratio) ** (i / 99)) for i in range(100)]
    for convention, sizes in (("kang", kang), ("oltr", oltr)):
        assert tuple(g.sum() for g in m.shot_groups(counts, convention=convention).values()) == sizes


def test_third_groups():
    groups = m.third_groups([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    assert {name: np.flatnonzero(mask).tolist() for name, mask in groups.items()} == {
        "head": [7, 8, 9],
        "mid": [3, 4, 5, 6],
        "tail": [0, 1, 2],
    }
    assert [int(g.sum()) for g in m.third_groups([7] * 6 + [6]).values()] == [2, 3, 2]
    assert {name: mask.tolist() for name, mask in m.third_groups([1, 9]).items()} == {
        "head": [False, True], "mid": [False, False], "tail": [True, False]
    }  # fmt: skip
    assert sum(g.astype(int) for g in m.third_groups(torch.tensor([5, 5, 1, 1])).values()).tolist() == [1] * 4


def test_shot_accuracy_by_hand_and_empty_groups():
    run = make_run([[8, 2, 0], [5, 5, 0], [9, 0, 1]], [5000, 300, 50])
    found = m.shot_accuracy(run)
    assert list(found) == list(m.GROUPS)
    want = {"all": 1.4 / 3, "many": 0.65, "medium": 0.1, "head": 0.8, "mid": 0.5, "tail": 0.1}
    assert {name: found[name] for name in want} == pytest.approx(want)
    assert np.isnan(found["few"])
    assert m.shot_accuracy([0.8, 0.5, 0.1], [5000, 300, 50]) == pytest.approx(found, nan_ok=True)


def test_prior_as_a_power_of_the_counts():
    np.testing.assert_allclose(m.power_prior([8, 2, 0], 1.0), [8 / 11, 2 / 11, 1 / 11])  # no image counts as one
    np.testing.assert_allclose(m.power_prior([8, 2], -1.0), [0.2, 0.8])
    np.testing.assert_allclose(m.power_prior([8, 2], 0.5), [2 / 3, 1 / 3])
    assert m.power_prior([1e9, 1], 300.0).tolist() == [1.0, 0.0] and m.power_prior([7, 3, 2], 0).tolist() == [1 / 3] * 3


def test_expected_accuracy_by_hand():
    assert m.expected_accuracy([0.5, 1.0, 0.0], [6, 3, 1]) == pytest.approx(0.6)
    assert m.expected_accuracy([0.5, np.nan, 0.0], [0.6, 0.3, 0.1]) == pytest.approx(0.3 / 0.7)
    assert np.isnan(m.expected_accuracy([0.5, np.nan], [0.0, 1.0])) and np.isnan(m.expected_accuracy([np.nan], [1.0]))
    rows = [[0.5, 1.0], [np.nan, 1.0], [np.nan, np.nan]]
    np.testing.assert_allclose(m.expected_accuracy(rows, [3, 1]), [0.625, 1.0, np.nan])
    rng = np.random.default_rng(0)
    truth, guess = rng.integers(0, 4, 200), rng.integers(0, 4, 200)
    own = np.bincount(truth) / 200
    assert m.expected_accuracy(m.per_class(truth, guess, 4), own) == pytest.approx(m.accuracy(truth, guess))
    with pytest.raises(ValueError, match="prior=.*each of the 2 classes"):
        m.expected_accuracy([0.5, 1.0], [1.0])


def test_answer_shares_by_hand():
    matrix = [[8, 2, 0], [0, 0, 0], [1, 1, 2]]
    np.testing.assert_allclose(m.answer_shares(matrix, [0.5, 0.3, 0.5]), [0.525, 0.225, 0.25])
    assert m.answer_shares(matrix, [1, 0, 0]).tolist() == [0.8, 0.2, 0.0]
    assert np.isnan(m.answer_shares(matrix, [0, 1, 0])).all()
    rng = np.random.default_rng(0)
    truth, guess = rng.integers(0, 4, 200), rng.integers(0, 4, 200)
    np.testing.assert_allclose(m.answer_shares(truth, np.bincount(truth), guess), np.bincount(guess) / 200)
    assert len(m.answer_shares([0, 1], [1, 1, 1], [1, 1])) == 3
    with pytest.raises(ValueError, match="prior=.*each of the 3 classes"):
        m.answer_shares(matrix, [0.5, 0.5])


@pytest.mark.parametrize("k", [1, 2, 3, 7])
@pytest.mark.parametrize("whole", [False, True])
def test_accuracies_along_a_direction_are_those_of_each_decision(k, whole):
    rng = np.random.default_rng(k)
    z, d, truth = rng.normal(size=(80, k)), rng.normal(size=k), rng.integers(0, max(k - 1, 1), 80)
    if whole:  # equal scores, equal directions and scores that change over at a t of `at`
        z, d = rng.integers(-2, 3, z.shape).astype(float), rng.integers(-1, 2, k).astype(float)
    at = np.linspace(-2, 3, 11)
    expected = [m.per_class(truth, (z + t * d).argmax(1), k) for t in at]
    np.testing.assert_allclose(m.accuracies_along(z, d, truth, at), expected, atol=1e-12)
    order = rng.permutation(80)
    np.testing.assert_allclose(m.accuracies_along(z[order], d, truth[order], at), expected, atol=1e-12)


def test_accuracies_along_say_what_is_wrong():
    good = {"scores": [[1.0, 2.0]], "direction": [0.0, 1.0], "targets": [1], "at": [0.0, 1.0]}
    for name, value in (
        ("scores", [[1.0, np.nan]]), ("scores", np.zeros((1, 0))), ("direction", [1.0]), ("direction", [np.inf, 0.0]),
        ("at", [1.0, 0.0]), ("at", [0.0, 0.0]), ("at", [np.nan]), ("targets", [2]), ("targets", [1, 0]),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=name):
            m.accuracies_along(**{**good, name: value})
    assert m.accuracies_along(np.zeros((0, 2)), [0.0, 1.0], [], [0.0]).shape == (1, 2)
    far = m.accuracies_along(np.float32([[-3e38, 3e38]]), [1.0, 1.0 - 1e-12], [0], [0.0, 1e30])
    assert far[:, 0].tolist() == [0.0, 0.0]


def test_probabilities():
    z = np.array([[2.0, -1.0, 0.5], [1000.0, 0.0, -1000.0], [-800.0, -801.0, -802.0]])
    soft = m.probabilities(z, "softmax")
    assert soft.sum(1) == pytest.approx([1, 1, 1])
    assert -np.log(soft[0, 0]) == pytest.approx(0.241311, abs=1e-6)
    one = m.probabilities(z, "sigmoid")
    assert one[0] == pytest.approx(1 / (1 + np.exp(-z[0])))
    shared = m.probabilities(z, "sigmoid", normalise=True)
    assert shared.sum(1) == pytest.approx([1, 1, 1])
    assert shared[2] == pytest.approx(soft[2])  # far below zero the sigmoid is the exponential
    assert np.isfinite(one).all() and np.isfinite(shared).all()


def test_probabilities_of_a_run():
    run = make_run(
        np.eye(2), [2, 1], logits=np.array([[0.0, 1.0], [3.0, 0.0]]), probability="sigmoid", targets=np.array([1, 0])
    )
    assert m.probabilities(run) == pytest.approx(m.probabilities(run.logits, "sigmoid"))
    assert m.ece(run) == pytest.approx(m.ece(m.probabilities(run), run.targets))
    run.logits = None
    with pytest.raises(ValueError, match="keeps no test logits"):
        m.ece(run)


def test_probabilities_of_a_run_are_those_it_decides_by():
    kept = {"logits": np.array([[3.0, 0.0]]), "scores": np.array([[0.0, 3.0]]), "targets": np.array([1])}
    run = SimpleNamespace(confusion=np.eye(2), probability="softmax", **kept)
    assert m.probabilities(run).argmax(1) == [1] and m.ece(run) < 0.1


def test_ece_by_hand():
    constant = np.tile([0.8, 0.2], (10, 1))
    assert m.ece(constant, [0] * 8 + [1] * 2) == pytest.approx(0.0, abs=1e-12)  # right in 8 of 10: calibrated
    assert m.ece(constant, [0] * 5 + [1] * 5) == pytest.approx(0.3)
    two = np.array([[0.6, 0.4]] * 4 + [[0.9, 0.1]] * 6)  # two bins: |1/4 - .6| * .4 + |6/6 - .9| * .6
    assert m.ece(two, [0, 1, 1, 1] + [0] * 6) == pytest.approx(0.4 * 0.35 + 0.6 * 0.1)
    assert m.ece(two, [0, 1, 1, 1] + [0] * 6, bins=1) == pytest.approx(abs(0.7 - 0.78))


def test_ece_of_perfect_calibration_and_of_bin_edges():
    draw = np.random.default_rng(0)
    p = draw.uniform(0.5, 1.0, 200_000)
    truth = (draw.random(p.size) > p).astype(int)
    assert m.ece(np.stack([p, 1 - p], 1), truth) < 0.005
    edge = m.reliability(np.array([[3 / 15] + [0.1] * 8, [3 / 15 + 1e-6] + [0.1] * 8]), [0, 0])
    assert edge.share.nonzero()[0].tolist() == [2, 3]
    assert np.nansum(edge.share) == pytest.approx(1.0)


def test_spearman():
    assert m.spearman([1, 2, 3, 4], [10, 20, 25, 100]) == pytest.approx(1.0)
    assert m.spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1.0)
    assert m.spearman([1, 2, 3, 4], [1, 3, 2, 4]) == pytest.approx(0.8)
    assert np.isnan(m.spearman([1, 1, 1], [1, 2, 3]))


def test_weight_norm_fit_recovers_the_law():
    counts = np.array([5000, 1000, 200, 50, 0])
    norms = (np.log(np.maximum(counts, 1)) + 3.0) / 7.0
    s, c, rho = m.weight_norm_fit(norms, counts)
    assert (s, c, rho) == pytest.approx((7.0, -3.0, 1.0))
    weight = np.zeros((5, 3))
    weight[:, 1] = norms
    assert m.weight_norm_fit(make_run(np.eye(5), counts, head_weight=weight)) == pytest.approx((7.0, -3.0, 1.0))
    assert np.isnan(m.weight_norm_fit([1.0, 1.0, 1.0], [3, 2, 1])).all()


def test_feature_quality_sees_what_the_classifier_cannot():
    draw = np.random.default_rng(0)
    targets = np.repeat([0, 1, 2], [60, 20, 12])
    centres = 5 * np.eye(3, 8)
    good = centres[targets] + draw.normal(size=(92, 8))
    assert m.feature_quality(good, targets, neighbours=5) > 0.95
    assert m.feature_quality(draw.normal(size=(92, 8)), targets, neighbours=5) < 0.55
    with pytest.raises(ValueError, match="neighbours"):
        m.feature_quality(good[:5], targets[:5], neighbours=5)


def test_paired_agrees_with_the_t_test():
    a, b = np.array([0.82, 0.85, 0.80, 0.86]), np.array([0.80, 0.81, 0.79, 0.83])
    found, want = m.paired(a, b), ttest_rel(a, b)
    assert (found.t, found.p) == pytest.approx((want.statistic, want.pvalue))
    assert found.mean == pytest.approx(0.025) and found.n == 4
    assert found.se == pytest.approx(np.std(a - b, ddof=1) / 2)
    back = m.paired(b, a)
    assert (back.mean, back.t) == pytest.approx((-found.mean, -found.t)) and back.p == pytest.approx(found.p)


@pytest.mark.parametrize(
    "differences, verdict",
    [
        ([0.5], "one seed: no verdict"),
        ([0.01, 0.02], "undecided"),  # t = 3, but two seeds need 12.7
        ([0.0100, 0.0101], "clearly better"),  # t = 201, p = .003
        ([0.01, 0.01], "equal differences: no verdict"),  # two equal differences: nothing is known of their spread
        ([0.01, 0.01, 0.01], "clearly better"),
        ([0.010, 0.012, 0.020], "suggestive: better"),  # t = 4.6, p = .045
        ([0.010, 0.012, 0.030], "undecided"),  # t = 2.8
        ([-0.03, -0.04, -0.035, -0.05], "clearly worse"),
        ([0.0, 0.0, 0.0], "undecided"),
        ([0.01, 0.03, -0.01, 0.02] * 3, "suggestive: better"),  # p = .02
        ([np.nan, 0.1], "not defined"),
    ],
)
def test_verdicts(differences, verdict):
    found = m.paired(np.array(differences) + 0.5, np.full(len(differences), 0.5))
    assert found.verdict == verdict
    assert verdict in str(found)


def seeds_of(gain, seeds, **more):
    rows = []
    for seed in seeds:
        right = 50 + seed + gain + seed % 2
        rows.append(
            make_run(
                np.diag([100 - 0, right, 20]) + np.array([[0, 0, 0], [100 - right, 0, 0], [80, 0, 0]]),
                [100, 30, 3],
                seed=seed,
                **more,
            )
        )
    return rows


def test_runs_are_paired_by_seed():
    base, better = seeds_of(0, [0, 1, 2, 3]), seeds_of(9, [3, 1, 2, 0, 7])
    found = m.paired(better, base)
    assert found.n == 4 and found.mean == pytest.approx(0.03) and found.verdict == "clearly better"
    assert m.paired(better, base, group="mid").mean == pytest.approx(0.09)
    assert m.paired(better, base, group="tail").verdict == "undecided"
    with pytest.raises(ValueError, match="no seed in common"):
        m.paired(base, seeds_of(0, [8, 9]))
    with pytest.raises(ValueError, match="two runs of seed 0"):
        m.paired(base + base[:1], better)
    with pytest.raises(ValueError, match="different data"):
        m.paired(base, seeds_of(0, [0], fingerprint="g"))
    with pytest.raises(ValueError, match="both"):
        m.paired(base, [0.1, 0.2, 0.3, 0.4])


def test_comparison_table():
    table = m.comparison_table({"ce": seeds_of(0, range(4)), "new": seeds_of(9, range(4)), "once": seeds_of(3, [0])})
    assert table.loc["ce", "verdict"] == "reference" and np.isnan(table.loc["ce", "difference"])
    assert table.loc["new", "difference"] == pytest.approx(0.03) and table.loc["new", "verdict"] == "clearly better"
    assert table.loc["once", "verdict"] == "one seed: no verdict" and np.isnan(table.loc["once", "half"])
    assert table.loc["ce", ["all", "head", "mid", "tail"]].tolist() == pytest.approx([1.72 / 3, 1.0, 0.52, 0.2])
    assert table["seeds"].tolist() == [4, 4, 1]
    with pytest.raises(ValueError, match="reference"):
        m.comparison_table({"ce": seeds_of(0, [0])}, reference="cb")


def test_importing_metrics_loads_neither_sklearn_nor_pandas():
    code = (
        "import sys, ltviz.metrics; "
        "print([n for n in ('sklearn', 'scipy', 'pandas', 'matplotlib') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- values at the edges: each of these fails if a sign, a bound or a divisor is moved -------------------------------


@pytest.mark.parametrize(
    "n, kang, oltr",
    [
        (19, "few", "few"),
        (20, "medium", "few"),
        (21, "medium", "medium"),
        (99, "medium", "medium"),
        (100, "medium", "many"),
        (101, "many", "many"),
    ],
)
def test_a_class_at_a_threshold(n, kang, oltr):
    for convention, group in (("kang", kang), ("oltr", oltr)):
        assert [name for name, mask in m.shot_groups([n], convention=convention).items() if mask[0]] == [group]


def test_a_class_at_two_equal_thresholds_is_in_one_group():
    for convention, group in (("kang", "medium"), ("oltr", "many")):
        groups = m.shot_groups([20], many=20, few=20, convention=convention)
        assert [name for name, mask in groups.items() if mask[0]] == [group]
    assert [mask.tolist() for mask in m.shot_groups([1, 0], many=0.5, few=0.5).values()] == [
        [True, False],
        [False, False],
        [False, True],
    ]


@pytest.mark.parametrize(
    "counts, head, tail",
    [
        ([1, 5, 5], [1], [0]),
        ([5, 1, 1, 5], [0], [2]),
        ([3, 3, 3, 3, 3, 2], [0, 1], [4, 5]),
        ([1, 2], [1], [0]),
        ([0, 9, 0, 4, 2], [1], [2]),
    ],
)
def test_thirds_with_ties_and_few_classes(counts, head, tail):
    groups = m.third_groups(counts)
    assert np.flatnonzero(groups["head"]).tolist() == head and np.flatnonzero(groups["tail"]).tolist() == tail
    assert (sum(mask.astype(int) for mask in groups.values()) == 1).all()


@pytest.mark.parametrize("counts", [[7], [4, 4], [5, 5, 5], [0] * 4, [3.0] * 100])
def test_equal_counts_make_no_groups(counts):
    groups, k = m.third_groups(counts), len(counts)
    assert list(groups) == ["head", "mid", "tail"] and not any(mask.any() for mask in groups.values())
    found = m.shot_accuracy(np.linspace(0.2, 0.8, k), counts)
    assert found["all"] == pytest.approx(np.linspace(0.2, 0.8, k).mean())
    assert np.isnan([found[group] for group in groups]).all()


def test_a_comparison_of_groups_that_equal_counts_do_not_make_is_not_defined():
    runs = [[make_run([[4, i], [2, 3]], [9, 9], seed=i) for i in range(3)] for _ in range(2)]
    assert m.paired(*runs, "tail").verdict == "not defined" and m.paired(*runs).mean == 0.0
    table = m.comparison_table({"a": runs[0], "b": runs[1]})
    assert table[["head", "mid", "tail"]].isna().to_numpy().all() and table["all"].notna().all()


def test_which_bin_an_image_falls_into():
    """Four bins: (0, .25], (.25, .5], (.5, .75], (.75, 1]; an edge belongs to the bin below it."""
    for confidence, at in ((0.0, 0), (0.25, 0), (0.2500001, 1), (0.5, 1), (0.75, 2), (0.7500001, 3), (1.0, 3)):
        found = m.reliability([[confidence, 0.0]], [0], bins=4)
        assert found.share.tolist() == [float(i == at) for i in range(4)], confidence
        assert found.confidence[at] == pytest.approx(confidence) and found.accuracy[at] == 1.0
        assert np.isnan(np.delete(found.confidence, at)).all() and np.isnan(np.delete(found.accuracy, at)).all()
    thirds = m.reliability([[j / 15, 0.0] for j in range(1, 16)], [0] * 15)
    assert thirds.share.tolist() == pytest.approx([1 / 15] * 15)


def test_reliability_by_hand():
    found = m.reliability([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6]], [0, 1, 1, 1], bins=2)
    assert found.confidence[1] == pytest.approx(0.75) and found.accuracy[1] == pytest.approx(0.75)
    assert found.share.tolist() == [0.0, 1.0]
    assert m.ece([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6]], [0, 1, 1, 1], bins=10) == pytest.approx(
        (abs(1 - 0.9) + abs(0 - 0.8) + abs(1 - 0.7) + abs(1 - 0.6)) / 4
    )
    assert np.isnan(m.ece(np.zeros((0, 2)), []))


def test_a_run_is_right_where_its_logits_are():
    """Sigmoids of 40 and 50 are both 1: which class was meant is known from the logits alone."""
    run = make_run(
        [[0, 0], [0, 1]],
        [2, 1],
        logits=np.array([[40.0, 50.0]]),
        probability="sigmoid",
        targets=np.array([1]),
        scores=None,
    )
    assert m.reliability(run, bins=1).accuracy.tolist() == [1.0] and m.ece(run) == 0.0


def test_calibration_is_that_of_the_rule_that_decides():
    run = make_run(
        np.eye(2),
        [2, 1],
        logits=np.log([[0.9, 0.1]] * 4),
        scores=np.log([[0.3, 0.7]] * 4),
        probability="softmax",
        targets=np.array([1, 1, 1, 0]),
    )
    assert m.ece(run) == pytest.approx(0.05) and m.ece(m.probabilities(run.logits), run.targets) == pytest.approx(0.65)


def test_a_class_that_a_rule_excludes_has_no_probability():
    assert m.probabilities([[0.0, 0.0, -np.inf]]).tolist() == [[0.5, 0.5, 0.0]]
    assert m.probabilities([[0.0, -np.inf]], "sigmoid").tolist() == [[0.5, 0.0]]


@pytest.mark.parametrize(
    "a, b, rho",
    [
        ([1, 2, 2, 3], [1, 3, 2, 4], 9 / np.sqrt(4.5 * 5) / 2),  # ranks 1 2.5 2.5 4 and 1 3 2 4: 4.5 / sqrt(4.5 * 5)
        ([1, 1, 2, 2], [1, 2, 3, 4], 2 / np.sqrt(5)),
        ([5, 5], [1, 2], np.nan),
        ([1, np.nan], [1, 2], np.nan),
        ([1, 2], [2, np.nan], np.nan),
        ([1], [1], np.nan),
        ([], [], np.nan),
        ([1, 2], [7, 7], np.nan),
    ],
)
def test_spearman_with_ties(a, b, rho):
    assert m.spearman(a, b) == pytest.approx(rho, nan_ok=True)


def test_weight_norm_fit_by_hand():
    """log n = 1, 2, 4 at norms 1, 2, 3: slope 1.5, and the line goes through the mean (2, 7/3)."""
    s, c, rho = m.weight_norm_fit([1.0, 2.0, 3.0], np.exp([1.0, 2.0, 4.0]))
    assert (s, c, rho) == pytest.approx((1.5, 7 / 3 - 3.0, 1.0))
    assert m.weight_norm_fit([1.0, 2.0, 9.0], [10.0, 5.0, 0.0]).rho == pytest.approx(-1.0), "no images: left out"
    assert np.isnan(m.weight_norm_fit([1.0, 2.0], [5, 0])).all()


def test_feature_quality_by_hand():
    """0, 10 and 21 degrees are class 0; 25, 90 and 100 class 1. Those at 21 and 25 are each other's nearest: 2 of 3."""
    angle = np.deg2rad([0, 10, 21, 25, 90, 100])
    features = np.stack([np.cos(angle), np.sin(angle)], 1)
    targets = [0, 0, 0, 1, 1, 1]
    assert m.feature_quality(features, targets, 1) == pytest.approx(2 / 3)
    # Three neighbours: class 0 all right; 25 has 21, 10, 0; 90 has 100, 25, 21; 100 has 90, 25, 21.
    assert m.feature_quality(features, targets, 3) == pytest.approx((1 + 2 / 3) / 2)
    lengths = np.array([[1e-30], [1e30], [1.0], [1e200], [1e-200], [7.0]])  # the cosine knows no length
    assert m.feature_quality(features * lengths, targets, 1) == pytest.approx(2 / 3)
    assert m.feature_quality([[0.0, 0.0], [1.0, 0.0], [1.0, 0.1]], [0, 1, 1], 1) == 0.5, "no direction: no neighbour"
    unequal = [0, 0, 1, 1, 1, 1]  # class 0 of two images weighs as much as class 1 of four
    assert m.feature_quality(features, unequal, 1) == pytest.approx((1 + 1) / 2)


def test_of_two_classes_with_as_many_neighbours_the_nearer_wins():
    angle = np.deg2rad([0, 5, 9])
    features = np.stack([np.cos(angle), np.sin(angle)], 1)
    # The images at 0 and at 9 have one neighbour of each class, and that at 5, of class 1, is the nearer.
    assert m.feature_quality(features, [0, 1, 0], 2) == 0.0


@pytest.mark.parametrize("seeds", [2, 3, 5, 12])
def test_paired_agrees_with_scipy(seeds):
    draw = np.random.default_rng(seeds)
    for shift in (0.0, 0.02, -0.2):
        a, b = draw.normal(0.7, 0.02, seeds) + shift, draw.normal(0.7, 0.02, seeds)
        found, want = m.paired(a, b), ttest_rel(a, b)
        assert (found.t, found.p) == pytest.approx((want.statistic, want.pvalue))
        assert found.se * found.t == pytest.approx(found.mean) and found.n == seeds
        way = "better" if found.mean > 0 else "worse"
        clear, suggestive = want.pvalue < 0.005, want.pvalue < 0.05
        assert found.verdict == (f"clearly {way}" if clear else f"suggestive: {way}" if suggestive else "undecided")


def test_a_difference_is_suggestive_below_5_and_clear_below_half_a_percent():
    wave = np.array([1.0, -1.0] * 8)  # 16 seeds, standard error 1 / sqrt(15); t(15) is 2.131 and 3.286 at these levels
    words = {2.12: "undecided", 2.14: "suggestive: {}", 3.27: "suggestive: {}", 3.30: "clearly {}"}
    for t, verdict in words.items():
        assert m.paired(wave + t / np.sqrt(15), np.zeros(16)).verdict == verdict.format("better")
        assert m.paired(wave - t / np.sqrt(15), np.zeros(16)).verdict == verdict.format("worse")


def test_only_the_seeds_of_both_sides_count():
    a, b = seeds_of(9, [0, 1, 5]), seeds_of(0, [5, 0, 8])
    found = m.paired(a, b)
    assert found.n == 2 and found.mean == pytest.approx(0.03)
    table = m.comparison_table({"b": b, "a": a})
    assert table["seeds"].tolist() == [3, 3] and table["pairs"].tolist() == [3, 2]


def test_two_runs_of_one_seed_are_refused_also_in_a_reference():
    with pytest.raises(ValueError, match=r"runs_by_label\['ce'\] holds two runs of seed 1"):
        m.comparison_table({"ce": seeds_of(0, [1, 1])})
    with pytest.raises(ValueError, match="b holds two runs of seed 1"):
        m.paired(seeds_of(0, [1]), seeds_of(0, [1, 1]))


def test_runs_of_other_classes_are_not_compared():
    other = [make_run(np.eye(2), [5, 2], seed=0, fingerprint=None)]
    with pytest.raises(ValueError, match="different data"):
        m.paired(other, seeds_of(0, [0], fingerprint=None))


@pytest.mark.parametrize("status", ["stopped", "diverged"])
def test_a_run_that_did_not_come_to_its_end_gives_no_verdict(status):
    base, better = seeds_of(0, range(4)), seeds_of(9, range(4))
    better[2].status = status
    words = f"a {status} run: no verdict"
    assert m.paired(better, base).verdict == m.paired(base, better).verdict == words
    assert m.paired(better[:2], base).verdict != words, "it does not take part"
    assert m.paired(better[2:3], base).verdict == words, "rather than one seed"
    table = m.comparison_table({"ce": base, "new": better})
    assert table["verdict"].tolist() == ["reference", words] and table.loc["new", "difference"] == pytest.approx(0.03)
    table = m.comparison_table({"new": better, "ce": base, "part": better[:2]})
    assert table["verdict"].tolist() == [f"reference; {words}", words, "undecided"]
    table = m.comparison_table({"ce": base[:2], "new": better})
    assert table.loc["new", "verdict"] == words, "the means beside it are over that run too"


def test_a_mean_over_seeds_does_not_pass_over_a_run_that_diverged():
    runs = seeds_of(0, range(3))
    runs[1].status, runs[1].confusion = "diverged", np.zeros((3, 3), int)
    row = m.comparison_table({"ce": runs}).loc["ce"]
    assert row["seeds"] == 3 and np.isnan([row[name] for name in ("all", "head", "mid", "tail")]).all()
    assert m.paired(runs, seeds_of(0, range(3))).verdict == "a diverged run: no verdict"


def test_groups_of_a_paired_difference():
    a, b = seeds_of(9, range(3)), seeds_of(0, range(3))
    found = {group: m.paired(a, b, group).mean for group in m.GROUPS}
    want = {"all": 0.03, "many": np.nan, "medium": 0.045, "few": 0.0, "head": 0.0, "mid": 0.09, "tail": 0.0}
    assert found == pytest.approx(want, nan_ok=True)


def test_a_difference_in_words():
    assert str(m.paired([0.01, 0.02, 0.03], [0.0, 0.0, 0.0])) == "+0.020 [-0.005, +0.045] over 3 seeds (undecided)"
    assert str(m.paired([0.6, 0.7], [0.5, 0.5])) == "+0.150 [-0.485, +0.785] over 2 seeds (undecided)"
    assert str(m.paired([0.6], [0.5])) == "+0.100 (one seed: no verdict)"
    assert str(m.paired([np.nan, 0.6], [0.5, 0.5])) == "+nan (not defined)"


# ------------------------------------------------------------------------------------------------------------- frontier
def test_the_frontier_is_what_each_tau_decides():
    run = plain_run()
    line = m.frontier(run, [-1.0, 0.0, 1.0, 2.0])
    share = np.log(np.array([9, 3, 1]) / 13)
    for i, tau in enumerate(line.tau):
        decided = (run.logits - tau * share).argmax(1)
        right = [(decided == run.targets)[run.targets == c].mean() for c in range(3)]
        assert [line.head[i], line.mid[i], line.tail[i], line.all[i]] == pytest.approx([*right, np.mean(right)])
    assert line.tail[1] == 0.0 and line.tail[2] == 1.0, "the rare class is hidden by the prior alone"
    with pytest.raises(ValueError, match="^run=.*logits"):
        m.frontier(make_run(HAND, [9, 3, 1]))


def test_the_frontier_of_two_classes_has_no_middle():
    run = make_run(np.eye(2, dtype=int), [9, 3])
    run.logits, run.targets = np.array([[2.0, 1.0], [1.0, 2.0]]), np.array([0, 1])
    line = m.frontier(run, [0.0, 1.0])
    assert line.head.tolist() == [1.0, 0.0] and line.tail.tolist() == [1.0, 1.0] and np.isnan(line.mid).all()


def test_the_slider_at_a_price():
    steps = [
        np.array(one, float) for one in ([0, 1, 2, 3], [0.9, 0.8, 0.5, 0.2], [0] * 4, [0.0, 0.2, 0.6, 0.5], [0] * 4)
    ]
    line = m.Frontier(*steps)
    assert line.tail_at(0.8) == pytest.approx(0.2) and line.tail_at(0.65) == pytest.approx(0.4), "linear between taus"
    assert line.tail_at(0.3) == pytest.approx(0.6), "paying more never gives less"
    line = line._replace(mid=np.array([0.5, 0.4, 0.2, 0.1]))
    assert line.at("tail", 0.65) == line.tail_at(0.65)
    assert line.at("mid", 0.8) == pytest.approx(0.4) and line.at("mid", 0.65) == pytest.approx(0.3), "at tau 1.5"
    assert line.at("mid", 0.95) == pytest.approx(0.5) and line.at("mid", 0.0) == pytest.approx(0.1), "the ends"
    assert line.tail_at(0.95) == 0.0 and line.tail_at(0.0) == pytest.approx(0.6), "beyond the ends, the end"


def test_beyond_is_paired_by_seed_at_equal_accuracy_of_the_frequent_classes():
    base = [plain_run(seed) for seed in range(3)]
    frequent = m.frontier(base[0])
    gains = []
    runs = []
    for seed, (head, tail) in enumerate([(2, 1), (1, 2), (2, 2)]):
        runs.append(plain_run(seed, [[head, 2 - head, 0], [0, 2, 0], [2 - tail, 0, tail]]))
        gains.append(tail / 2 - frequent.tail_at(head / 2))
    found = m.beyond(runs, base)
    assert found.n == 3 and found.mean == pytest.approx(np.mean(gains)) and np.ptp(gains) > 0
    assert m.beyond(runs[:1], base).verdict == "one seed: no verdict"
    on_the_line = m.beyond(base, base)
    assert on_the_line.mean <= 0.0, "a plain network never lies beyond its own line"
    with pytest.raises(ValueError, match="^runs and base have no seed in common"):
        m.beyond(runs[:1], base[1:])
    with pytest.raises(ValueError, match="^run=.*logits"):
        m.beyond(runs, [make_run(HAND, [9, 3, 1], seed=seed) for seed in range(3)])


def float32_loss(logits, targets):
    """A loss of the reader's own, whose class weights are in float32."""
    weight = torch.tensor([1.0, 2.0])
    return torch.nn.functional.cross_entropy(logits, targets, weight=weight, reduction="none")


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.uint64, np.float16])
def test_scores_of_small_whole_numbers_do_not_wrap_around(dtype):
    draw = np.random.default_rng(0)
    z, y = draw.integers(0, 120, (300, 5)), draw.integers(0, 5, 300)
    direction, at = [0.0, 3.0, -2.0, 9.0, 1.0], [-1.5, 0.0, 2.0]
    found = m.accuracies_along(z.astype(dtype), direction, y, at)
    for row, t in zip(found, at, strict=True):
        np.testing.assert_array_equal(row, m.per_class(y, (z + t * np.array(direction)).argmax(1), 5))


@pytest.mark.parametrize("counts", [[6, 6, 6], [3] * 10, [0.7] * 7, [0, 4, 4], [5]])
def test_the_law_explains_nothing_where_all_counts_are_equal(counts):
    assert np.isnan(m.law_explains(np.linspace(1, 2, len(counts)), counts, 7.0))


def test_truth_values_are_targets_of_two_classes_however_they_are_kept():
    truth, scores = [True, False, True, False], [0.9, 0.1, 0.2, 0.3]
    for of in (
        truth,
        np.array(truth),
        torch.tensor(truth),
        pandas.Series(truth),
        pandas.Series(truth, dtype="boolean"),
    ):
        assert m.auroc(of, scores) == 0.75 and m.cutoffs(of, scores).positives == 2


def test_draws_may_show_more_prototypes_than_there_can_be_classes():
    assert m.first_hits(np.array([40_000, 3, 40_000])).tolist() == [True, True, False]
    with pytest.raises(ValueError, match="draws="):
        m.first_hits([0.5, 1.0])


def test_runs_without_a_fingerprint_are_paired_only_where_what_they_keep_agrees():
    import ltviz as lt

    y = np.repeat([0, 1, 2], [40, 30, 20])
    z = np.random.default_rng(0).normal(size=(90, 3)) + np.eye(3)[y]

    def run(counts=(100, 50, 10), targets=y, logits=z):
        return [lt.from_predictions(targets, logits, counts=list(counts), seed=1)]

    assert m.paired(run(), run(logits=z + np.eye(3)[y]), "tail").n == 1
    for other, why in (
        (run((10, 50, 100)), "training images (100, 50, 10|10, 50, 100) and .*; pass the same counts= to both"),
        (run(targets=y[:80], logits=z[:80]), "test images 40, 30, [12]0 and 40, 30, [12]0"),
        (run(targets=y[::-1], logits=z), "in another order"),
    ):
        for compare in (
            m.paired, m.beyond, lambda a, b: m.comparison_table({"a": a, "b": b}),
            lambda a, b: lt.plot_who_pays({"a": a}, b), lambda a, b: lt.plot_comparison({"a": a, "b": b}),
        ):  # fmt: skip
            with pytest.raises(ValueError, match=f"different data .*{why}"):
                compare(run(), other)
