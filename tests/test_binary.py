"""Two classes: AUROC, average precision, thresholds and costs, against scikit-learn and by hand."""

import re
import time
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.text import Text
from sklearn.metrics import average_precision_score, confusion_matrix, precision_recall_curve, roc_auc_score, roc_curve

import ltviz as lt
from ltviz import metrics
from ltviz.metrics import binary


def drawn(n=2000, share=0.02, seed=0, k=2):
    """Targets (n,) and logits (n, k), rounded so that some are equal; of two classes, 1 is the rare one."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < share).astype(int) if k == 2 else rng.integers(0, k, n)
    return y, np.round(2 * rng.normal(size=(n, k)) + 3 * np.eye(k)[y], 1 if k == 2 else 9)


def a_run(y, z, counts=None, **more):
    """As much of a run as these metrics look at."""
    counts = np.bincount(y, minlength=z.shape[1]) if counts is None else np.array(counts)
    parts = {"targets": y, "logits": z, "scores": None, "counts": counts, "confusion": None, "probability": "softmax"}
    return SimpleNamespace(**{**parts, **more})


def softmax(z):
    p = np.exp(z - z.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


PAIRS = [(metrics.auroc, roc_auc_score), (metrics.average_precision, average_precision_score)]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_of_two_classes_the_rare_one_is_positive(ours, theirs):
    y, z = drawn()
    margin = z[:, 1] - z[:, 0]
    assert ours(y, z) == pytest.approx(theirs(y, margin), abs=1e-12)
    assert ours(a_run(y, z)) == pytest.approx(theirs(y, margin), abs=1e-12)
    assert ours(a_run(y, z), average="macro") == ours(a_run(y, z))
    assert ours(y, softmax(z)) == pytest.approx(theirs(y, softmax(z)[:, 1]), abs=1e-9)
    assert ours(y, z[:, 1]) == pytest.approx(theirs(y, z[:, 1]), abs=1e-12)
    turned = a_run(1 - y, z[:, ::-1], counts=[20, 980])  # the rare class may be 0 as well
    assert ours(turned) == pytest.approx(theirs(y, margin), abs=1e-12)
    posthoc = a_run(y, np.zeros_like(z), scores=z)
    assert ours(posthoc) == pytest.approx(theirs(y, margin), abs=1e-12)


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_of_more_classes_each_stands_against_the_rest(ours, theirs):
    y, z = drawn(k=5)
    expected = [theirs(y == j, softmax(z)[:, j]) for j in range(5)]
    np.testing.assert_allclose(ours(a_run(y, z)), expected, atol=1e-9)
    assert ours(a_run(y, z), average="macro") == pytest.approx(np.mean(expected), abs=1e-9)
    own = [theirs(y == j, z[:, j]) for j in range(5)]
    np.testing.assert_allclose(ours(y, z), own, atol=1e-12)
    np.testing.assert_allclose(ours(a_run(y, z, probability="sigmoid")), own, atol=1e-12)


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16])
def test_equal_and_infinite_scores_rank_as_in_scikit_learn(ours, theirs, kind):
    rng = np.random.default_rng(3)
    y, z = rng.integers(0, 70, 900), rng.integers(0, 6, (900, 70)).astype(kind)  # more classes than are ranked at once
    expected = [theirs(y == j, z[:, j]) for j in range(70)]
    np.testing.assert_allclose(ours(y, z), expected, rtol=0, atol=1e-14)
    z[rng.random(z.shape) < 0.1] = -np.inf
    ranked = np.where(np.isinf(z), -1, z)
    np.testing.assert_allclose(ours(y, z), [theirs(y == j, ranked[:, j]) for j in range(70)], rtol=0, atol=1e-14)
    same = [theirs(y == j, np.zeros(900)) for j in range(70)]
    np.testing.assert_allclose(ours(y, np.zeros((900, 70))), same, rtol=0, atol=1e-14)


def test_a_thousand_classes_are_ranked_in_seconds():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 1000, 5_000)
    z = rng.normal(size=(5_000, 1000)).astype(np.float32)
    z[np.arange(len(y)), y] += 2
    began = time.process_time()
    found = metrics.auroc(a_run(y, z))
    assert time.process_time() - began < 0.75  # 100,000 rows in fifteen seconds
    odds = metrics.log_odds(z, 7)
    assert found[7] == pytest.approx(roc_auc_score(y == 7, odds), abs=1e-14)


def test_a_class_that_the_test_set_lacks_is_undefined_and_left_out_of_the_mean():
    y, z = drawn(k=4)
    y[y == 2] = 0
    found = metrics.auroc(y, z)
    assert np.isnan(found).tolist() == [False, False, True, False]
    assert metrics.auroc(y, z, average="macro") == pytest.approx(np.nanmean(found))
    assert np.isnan(metrics.auroc(np.zeros(5, int), np.zeros((5, 2)), average="macro"))
    assert np.isnan(metrics.average_precision(a_run(np.zeros(4, int), np.zeros((4, 3)), [3, 2, 1]), average="macro"))


def test_scores_that_probabilities_round_to_one_are_still_ranked():
    y = np.array([0, 0, 1, 1])
    z = np.array([[0, 50.0], [0, 60.0], [0, 70.0], [0, 80.0]])
    assert metrics.auroc(a_run(y, z, [9, 2])) == 1.0
    z3 = np.column_stack([z, [-1.0] * 4])
    assert metrics.auroc(a_run(y, z3, [9, 2, 1]))[1] == 1.0


def test_log_odds_are_those_of_the_probability():
    _, z = drawn(200, k=4)
    z = z * 3
    p = softmax(z)
    for j in range(4):
        rest = np.log(np.exp(np.delete(z, j, 1)).sum(1))
        np.testing.assert_allclose(metrics.log_odds(z, j), z[:, j] - rest, atol=1e-9)
        np.testing.assert_allclose(binary.probability(metrics.log_odds(z, j)), p[:, j], atol=1e-12)
    two = z[:, :2]
    sigmoid = 1 / (1 + np.exp(-two))
    np.testing.assert_allclose(metrics.log_odds(two, 1, "sigmoid"), np.log(sigmoid[:, 1] / sigmoid[:, 0]), atol=1e-9)
    excluded = np.array([[0.0, -np.inf], [-np.inf, 1.0]])
    assert metrics.log_odds(excluded, 1).tolist() == [-np.inf, np.inf]
    assert metrics.auroc(np.array([0, 1]), excluded) == 1.0


def test_the_rare_class_is_the_last_of_equal_ones():
    assert [metrics.rare_class(n) for n in ([9, 1], [1, 9], [4, 4], [3, 2, 5])] == [1, 0, 1, 1]


def test_thresholds_are_those_of_scikit_learn():
    y, z = drawn()
    cut = metrics.cutoffs(a_run(y, z))
    rate, recall, at = roc_curve(y, z[:, 1] - z[:, 0], drop_intermediate=False)
    np.testing.assert_allclose(cut.recall, recall)
    np.testing.assert_allclose(cut.false_alarm_rate, rate)
    np.testing.assert_allclose(cut.at, at, atol=1e-9)
    precision, recall, _ = precision_recall_curve(y, z[:, 1] - z[:, 0])
    np.testing.assert_allclose(cut.precision()[1:][::-1], precision[:-1])
    assert np.isnan(cut.precision()[0]) and cut.base_rate == y.mean()
    assert (cut.found[0], cut.alarms[0], cut.found[-1], cut.alarms[-1]) == (0, 0, y.sum(), (1 - y).sum())


@pytest.mark.parametrize("at", [0.0, -3.3, 0.05, 5.0, 4.999, np.inf, -np.inf])
def test_counts_at_any_threshold_are_those_of_the_decision(at):
    y, z = drawn()
    decided = (z[:, 1] - z[:, 0] >= at) & (at < np.inf)
    (passed, alarms), (missed, found) = confusion_matrix(y, decided, labels=[0, 1])
    assert metrics.cutoffs(y, z[:, 1] - z[:, 0]).counts(at) == (found, missed, alarms, passed)


def test_cost_is_counted_in_false_alarms_and_the_best_threshold_carries_over():
    y, z = drawn(4000, 0.05)
    margin = z[:, 1] - z[:, 0]
    cut = metrics.cutoffs(y, margin)
    for cost in (1.0, 8.0, 50.0):
        here = cut.number(0.4)
        decided = margin >= 0.4
        by_hand = (cost * ((y == 1) & ~decided).sum() + ((y == 0) & decided).sum()) / len(y)
        assert cut.cost(cost)[here] == pytest.approx(by_hand, abs=1e-12)
        best = cut.best(cost)
        decided = margin >= best
        least = (cost * ((y == 1) & ~decided).sum() + ((y == 0) & decided).sum()) / len(y)
        assert least == pytest.approx(cut.cost(cost).min())
    assert cut.best(1e9) < margin[y == 1].min() and cut.best(1e-9) > margin[y == 0].max()
    everywhere = cut.cost(8.0, prevalence=0.5)[cut.number(0.0)]
    miss, alarm = (margin[y == 1] < 0).mean(), (margin[y == 0] >= 0).mean()
    assert everywhere == pytest.approx(0.5 * 8 * miss + 0.5 * alarm)
    assert cut.cost(3.0, prevalence=0.0)[-1] == 1.0 and cut.cost(3.0, prevalence=1.0)[0] == 3.0
    at_half = cut.precision(0.5)[cut.number(0.0)]
    assert at_half == pytest.approx((1 - miss) / (1 - miss + alarm))


def test_equal_costs_go_to_the_fewest_alarms_and_extremes_stay_infinite():
    cut = metrics.cutoffs([1, 0], [0.0, 0.0])
    assert cut.at.tolist() == [np.inf, 0.0] and cut.best(1.0) == np.inf and cut.best(2.0) == -np.inf
    assert cut.counts(cut.best(1.0)) == (0, 1, 0, 1) and cut.counts(cut.best(2.0)) == (1, 0, 1, 0)
    close = metrics.cutoffs([1, 0], [np.nextafter(1.0, 2.0), 1.0])
    assert close.counts(close.best(1.0)) == (1, 0, 0, 1)


def test_the_calibrated_threshold():
    assert metrics.calibrated_threshold(1) == 0.5
    assert metrics.calibrated_threshold(99) == pytest.approx(0.01)
    # Right at 1 in 1,000, used at 1 in 2: the odds are 999 times as high there.
    moved = metrics.calibrated_threshold(1, prevalence=0.5, trained=0.001)
    assert moved == pytest.approx(0.001)
    assert metrics.calibrated_threshold(5, prevalence=0.2, trained=0.2) == pytest.approx(1 / 6)
    assert metrics.calibrated_threshold(5, prevalence=0.0, trained=0.2) == 1.0


def test_calibrated_scores_cost_least_at_the_calibrated_threshold():
    rng = np.random.default_rng(1)
    p = rng.beta(0.3, 6.0, 200_000)
    y = (rng.random(len(p)) < p).astype(int)
    cut = metrics.cutoffs(y, np.log(p) - np.log1p(-p))
    for cost in (3.0, 20.0):
        here = cut.number(float(binary.logit(metrics.calibrated_threshold(cost))))
        assert cut.cost(cost)[here] <= 1.01 * cut.cost(cost).min()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda y, z: metrics.auroc(y), "scores=None: expected a run that kept its test logits, or targets"),
        (lambda y, z: metrics.auroc(y, z[:, :1]), "scores=<ndarray of shape"),
        (lambda y, z: metrics.auroc(y, np.where(z > 3, np.nan, z)), "none NaN"),
        (lambda y, z: metrics.auroc(y[:-1], z), "targets must have one entry per row"),
        (lambda y, z: metrics.auroc(y + 1, z), "targets=.*expected class numbers"),
        (lambda y, z: metrics.auroc(y, z, average="micro"), "average='micro': expected one of None, 'macro'"),
        (lambda y, z: metrics.auroc(a_run(y, z), z), "none beside a run"),
        (lambda y, z: metrics.auroc(a_run(y, None, [9, 2])), "keeps no test logits"),
        (lambda y, z: metrics.cutoffs(np.zeros(5, int), np.arange(5.0)), "some that are not, none are"),
        (lambda y, z: metrics.cutoffs(a_run(y, z), positive=2), "positive=2: expected a whole number from 0 to 1"),
        (lambda y, z: metrics.cutoffs(y, z), "scores=.*log-odds"),
        (lambda y, z: metrics.cutoffs(y, z[:, 0]).cost(0), "cost=0: expected a number above 0"),
        (lambda y, z: metrics.cutoffs(y, z[:, 0]).cost(True), "cost=True"),
        (lambda y, z: metrics.cutoffs(y, z[:, 0]).precision(1.5), "prevalence=1.5"),
        (lambda y, z: metrics.cutoffs(y, z[:, 0]).counts(np.nan), "log_odds=nan"),
        (lambda y, z: metrics.calibrated_threshold(2, prevalence=0.1), "prevalence and trained belong together"),
        (lambda y, z: metrics.log_odds(z, 2), "positive=2"),
        (lambda y, z: metrics.log_odds(z[:, :1], 0), "at least two classes"),
        (lambda y, z: metrics.log_odds(np.where(z > 3, np.nan, z), 0), "none NaN"),
        (lambda y, z: metrics.rare_class([]), "counts"),
    ],
)
def test_wrong_arguments(call, says):
    with pytest.raises(ValueError, match=says):
        call(*drawn(50, 0.3))


# --- pictures --------------------------------------------------------------------------------------------------------
def fraud(n=6000, seed=0, name="a"):
    """Answers to test images of which 1 in 100 is fraud, as a run."""
    y, z = drawn(n, 0.01, seed)
    return lt.from_predictions(y, z, counts=[9900, 100], class_names=["fine", "fraud"], name=name)


def drawn_line(ax, label):
    (line,) = [one for one in ax.lines if str(one.get_label()).startswith(label)]
    return line.get_xydata()


def test_precision_against_recall_is_scikit_learns_and_the_decision_is_marked():
    run = fraud()
    picture = lt.plot_precision_recall(run)
    margin = run.logits[:, 1].astype(float) - run.logits[:, 0]
    area = average_precision_score(run.targets, margin)
    assert picture.data["average_precision"][0] == pytest.approx(area, abs=1e-12)
    assert picture.data["auroc"][0] == pytest.approx(roc_auc_score(run.targets, margin))
    assert picture.data["recall"][0] == run.table()["recall"]["fraud"]
    assert picture.data["precision"][0] == pytest.approx(run.table()["precision"]["fraud"])
    x, y = drawn_line(picture.ax, "a (AP").T
    assert np.sum(np.diff(x) * y[1:]) == pytest.approx(area, abs=1e-12)  # the area under what is drawn
    rate = run.targets.mean()
    assert (drawn_line(picture.ax, "base rate")[:, 1] == rate).all() and picture.data["base_rate"][0] == rate
    marked = [one.get_xydata()[0] for one in picture.ax.lines if one.get_markersize() == 9]
    np.testing.assert_allclose(marked, [[picture.data["recall"][0], picture.data["precision"][0]]])
    assert "fraud, 1" in picture.text and f"{100 * area:.1f}%" in picture.text


def test_a_class_of_many_stands_against_the_rest_and_a_class_never_answered_has_no_precision():
    y, z = drawn(k=4)
    run = lt.from_predictions(y, z, counts=[40, 30, 20, 10], class_names=list("abcd"))
    for positive, j in (("b", 1), (2, 2), (None, 3)):
        data = lt.plot_precision_recall(run, positive=positive).data
        p = metrics.probabilities(run)[:, j]
        assert data["average_precision"][0] == pytest.approx(average_precision_score(run.targets == j, p))
    never = fraud()
    never.logits[:, 1] -= 100
    picture = lt.plot_precision_recall(never)
    assert np.isnan(picture.data["precision"][0]) and "never answers so" in picture.text and "nan" not in picture.text


def test_the_cost_of_every_threshold():
    run = fraud()
    picture = lt.plot_cost(run, cost=20)
    margin = run.logits[:, 1].astype(float) - run.logits[:, 0]
    x, y = drawn_line(picture.ax, "a").T
    for at in (-4.03, -1.0001, 0.0, 2.5):
        decided = margin >= at
        by_hand = (20 * ((run.targets == 1) & ~decided).sum() + ((run.targets == 0) & decided).sum()) / len(decided)
        assert y[np.searchsorted(x, at)] == pytest.approx(by_hand, abs=1e-9)
    data = picture.data
    assert data["calibrated"][0] == pytest.approx(1 / 21, rel=0.2)  # the test set has about the training prior
    assert data["least"][0] <= data["at_calibrated"][0] and data["least"][0] == data["cost/a"].min()
    assert data["decided"][0] == pytest.approx(y[np.searchsorted(x, 0.0)])
    blind = drawn_line(picture.ax, "without looking")[0, 1]
    assert blind == pytest.approx(20 * run.targets.mean())
    rare = lt.plot_cost(run, cost=20, prevalence=0.001)
    assert drawn_line(rare.ax, "without looking")[0, 1] == pytest.approx(0.02)
    assert rare.data["calibrated"][0] > data["calibrated"][0] and "0.1% are fraud" in rare.text
    both = lt.plot_cost([run, fraud(seed=1, name="b")], cost=2)
    assert both.data["labels"].tolist() == ["a", "b"] and len(both.data["least"]) == 2


def test_shares_are_written_with_as_many_digits_as_they_need():
    from ltviz.plots.binary import base

    shares = [0.0, 1e-5, 0.00123, 0.01, 0.1234, 0.5, 0.99, 0.9999, 1.0]
    assert [base(one) for one in shares] == ["0%", "0.001%", "0.12%", "1%", "12.3%", "50%", "99%", "99.99%", "100%"]


# --- two classes in every picture ------------------------------------------------------------------------------------
def two(seed, shift=0.0, name="ce"):
    """A run of two classes that keeps all that a run can keep."""
    y, z = drawn(400, 0.2, seed)
    features = np.column_stack([z[:, 1] - z[:, 0], np.random.default_rng(seed).normal(size=len(z))]).astype(np.float32)
    weight = np.array([[-0.5, 0.0], [0.5, 0.0]], np.float32)
    more = {"features": features, "head_weight": weight, "head_bias": [0, shift], "name": name, "seed": seed}
    logits = features @ weight.T + [0, shift]
    return lt.from_predictions(y, logits, counts=[900, 30], class_names=["fine", "fraud"], **more)


TWO = {
    "counts": lambda a, b: lt.plot_counts(a[0]),
    "weights": lambda a, b: lt.plot_class_weights(a[0]),
    "effective number": lambda a, b: lt.plot_effective_number(a[0]),
    "weight norms": lambda a, b: lt.plot_weight_norms(a + b),
    "feature norms": lambda a, b: lt.plot_feature_norms(a[0]),
    "feature norms of several": lambda a, b: lt.plot_feature_norms(a + b),
    "embedding": lambda a, b: lt.plot_embedding(a[0], method="pca"),
    "accuracy": lambda a, b: lt.plot_class_accuracy(a + b),
    "gain": lambda a, b: lt.plot_gain(b, a),
    "comparison": lambda a, b: lt.plot_comparison(a + b, group="tail"),
    "confusion": lambda a, b: lt.plot_confusion(b[0]),
    "reliability": lambda a, b: lt.plot_reliability(a + b),
    "who pays": lambda a, b: lt.plot_who_pays(a + b, a),
    "precision recall": lambda a, b: lt.plot_precision_recall(a + b),
    "cost": lambda a, b: lt.plot_cost(a + b),
}


@pytest.mark.parametrize("name", TWO)
def test_a_picture_of_two_classes_has_head_and_tail_and_nothing_undefined(name):
    plain, other = [two(seed) for seed in range(3)], [two(seed, 1.5, "moved") for seed in range(3)]
    picture = TWO[name](plain, other)
    picture.figure.set_dpi(40)
    picture.figure.canvas.draw()
    words = [picture.text, *(text.get_text() for text in picture.figure.findobj(Text))]
    assert [one for one in words if re.search(r"\b(nan|undefined|third|mid|middle)\b", one)] == []


def test_the_groups_of_two_classes():
    run = two(0)
    found = lt.metrics.shot_accuracy(run)
    assert (found["head"], found["tail"]) == tuple(run.per_class) and np.isnan(found["mid"])
    line = lt.metrics.frontier(run, [0.0, 1.0])
    assert line.head[0] == run.per_class[0] and line.tail[0] == run.per_class[1]
    one = lt.explore.posthoc(run)
    assert one.error is None and one.drive() == [] and "mid" not in one.sentence and "head" in one.sentence
    one.close()
