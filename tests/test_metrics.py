import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import sklearn.metrics
import torch
from scipy.stats import ttest_rel

from ltviz import metrics as m


def make_run(confusion, counts, seed=0, fingerprint="f", **more):
    return SimpleNamespace(confusion=np.array(confusion), counts=np.array(counts), seed=seed,
                           data={"name": "toy", "fingerprint": fingerprint}, **more)


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
            truth, guess, average=average, labels=range(6), zero_division=0)
        for ours, theirs in zip((m.precision, m.recall, m.f1), want[:3], strict=True):
            assert ours(truth, guess, average=average) == pytest.approx(theirs)


def test_a_class_without_test_images_is_left_out():
    matrix = [[3, 1, 0], [1, 3, 0], [0, 0, 0]]
    assert np.isnan(m.recall(matrix)[2]) and np.isnan(m.f1(matrix)[2]) and np.isnan(m.per_class(matrix)[2])
    assert m.f1(matrix, average="macro") == pytest.approx(0.75)
    assert m.balanced_accuracy(matrix) == pytest.approx(0.75)
    assert np.isnan(m.accuracy(np.zeros((2, 2)))) and np.isnan(m.f1(np.zeros((2, 2)), average="macro"))


@pytest.mark.parametrize("call, words", [
    (lambda: m.confusion([0, 3], [0, 1], k=3), ["targets", "0..2", "found 3 at position 1"]),
    (lambda: m.confusion([0, 1], [0, -1]), ["predictions", "-1"]),
    (lambda: m.confusion([0, 1, 1], [0, 1]), ["one length", "3 and 2"]),
    (lambda: m.confusion(np.zeros((3, 2)), [0, 1, 1]), ["targets", "(3, 2)"]),
    (lambda: m.confusion([0, 1], [0.2, 0.8]), ["predictions", "argmax"]),
    (lambda: m.confusion(np.zeros((3, 2))), ["square", "predictions"]),
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
])
def test_errors_say_what_to_do(call, words):
    with pytest.raises(ValueError) as error:
        call()
    for word in words:
        assert word in str(error.value)


def test_shot_groups_in_both_conventions():
    counts = [500, 101, 100, 21, 20, 19, 2]
    kang, oltr = m.shot_groups(counts), m.shot_groups(counts, convention="oltr")
    assert {name: mask.sum() for name, mask in kang.items()} == {"many": 2, "medium": 3, "few": 2}
    assert {name: mask.sum() for name, mask in oltr.items()} == {"many": 3, "medium": 1, "few": 3}
    assert [g.sum() for g in m.shot_groups(counts, many=20, few=19).values()] == [4, 2, 1]


@pytest.mark.parametrize("ratio, kang, oltr", [
    (200, (30, 31, 39), (31, 29, 40)), (100, (35, 35, 30), (35, 34, 31)), (50, (41, 41, 18), (41, 40, 19)),
    (20, (53, 47, 0), (54, 46, 0)), (10, (69, 31, 0), (70, 30, 0))])
def test_shot_group_sizes_of_cifar100(ratio, kang, oltr):
    counts = [int(500 * (1 / ratio) ** (i / 99)) for i in range(100)]
    for convention, sizes in (("kang", kang), ("oltr", oltr)):
        assert tuple(g.sum() for g in m.shot_groups(counts, convention=convention).values()) == sizes


def test_third_groups():
    groups = m.third_groups([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    assert {name: np.flatnonzero(mask).tolist() for name, mask in groups.items()} == {
        "head": [7, 8, 9], "mid": [3, 4, 5, 6], "tail": [0, 1, 2]}
    assert [int(g.sum()) for g in m.third_groups([7] * 7).values()] == [2, 3, 2]
    assert [int(g.sum()) for g in m.third_groups([9, 1]).values()] == [0, 2, 0]
    assert sum(g.astype(int) for g in m.third_groups(torch.tensor([5, 5, 1, 1])).values()).tolist() == [1] * 4


def test_shot_accuracy_by_hand_and_empty_groups():
    run = make_run([[8, 2, 0], [5, 5, 0], [9, 0, 1]], [5000, 300, 50])
    found = m.shot_accuracy(run)
    assert list(found) == list(m.GROUPS)
    want = {"all": 1.4 / 3, "many": 0.65, "medium": 0.1, "head": 0.8, "mid": 0.5, "tail": 0.1}
    assert {name: found[name] for name in want} == pytest.approx(want)
    assert np.isnan(found["few"])
    assert m.shot_accuracy([0.8, 0.5, 0.1], [5000, 300, 50]) == pytest.approx(found, nan_ok=True)


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
    run = make_run(np.eye(2), [2, 1], logits=np.array([[0.0, 1.0], [3.0, 0.0]]), probability="sigmoid",
                   targets=np.array([1, 0]))
    assert m.probabilities(run) == pytest.approx(m.probabilities(run.logits, "sigmoid"))
    assert m.ece(run) == pytest.approx(m.ece(m.probabilities(run), run.targets))
    run.logits = None
    with pytest.raises(ValueError, match="without its test logits"):
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


@pytest.mark.parametrize("differences, verdict", [
    ([0.5], "one seed: no verdict"),
    ([0.01, 0.02], "within noise"),                # t = 3, but two seeds need 12.7
    ([0.0100, 0.0101], "better"),                  # t = 201
    ([0.01, 0.01], "within noise"),                # two equal differences: nothing is known of their spread
    ([0.01, 0.01, 0.01], "better"),
    ([0.010, 0.012, 0.020], "better"),             # t = 4.6, p = .045
    ([0.010, 0.012, 0.030], "within noise"),       # t = 2.8
    ([-0.03, -0.04, -0.035, -0.05], "worse"),
    ([0.0, 0.0, 0.0], "within noise"),
    ([0.01, 0.03, -0.01, 0.02] * 3, "within noise"),  # t = 2.8, p = .02: not believed among dozens of methods
    ([np.nan, 0.1], "not defined"),
])
def test_verdicts(differences, verdict):
    found = m.paired(np.array(differences) + 0.5, np.full(len(differences), 0.5))
    assert found.verdict == verdict
    assert verdict in str(found)


def seeds_of(gain, seeds, **more):
    rows = []
    for seed in seeds:
        right = 50 + seed + gain + seed % 2
        rows.append(make_run(np.diag([100 - 0, right, 20]) + np.array([[0, 0, 0], [100 - right, 0, 0], [80, 0, 0]]),
                             [100, 30, 3], seed=seed, **more))
    return rows


def test_runs_are_paired_by_seed():
    base, better = seeds_of(0, [0, 1, 2, 3]), seeds_of(9, [3, 1, 2, 0, 7])
    found = m.paired(better, base)
    assert found.n == 4 and found.mean == pytest.approx(0.03) and found.verdict == "better"
    assert m.paired(better, base, group="mid").mean == pytest.approx(0.09)
    assert m.paired(better, base, group="tail").verdict == "within noise"
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
    assert table.loc["new", "difference"] == pytest.approx(0.03) and table.loc["new", "verdict"] == "better"
    assert table.loc["once", "verdict"] == "one seed: no verdict" and np.isnan(table.loc["once", "se"])
    assert table.loc["ce", ["all", "head", "mid", "tail"]].tolist() == pytest.approx([1.72 / 3, 1.0, 0.52, 0.2])
    assert table["seeds"].tolist() == [4, 4, 1]
    with pytest.raises(ValueError, match="reference"):
        m.comparison_table({"ce": seeds_of(0, [0])}, reference="cb")


def test_importing_metrics_loads_neither_sklearn_nor_pandas():
    code = ("import sys, ltviz.metrics; "
            "print([n for n in ('sklearn', 'scipy', 'pandas', 'matplotlib') if n in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
