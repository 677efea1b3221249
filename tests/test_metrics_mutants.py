"""Metrics where a small change of the code would give another number: edges, defaults, dtypes and NaN, by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from ltviz import metrics

NAN = float("nan")


def run(seed=0, right=(4, 2, 1), counts=(200, 50, 5), status="finished", **more):
    """A run with 4 test images a class, of which so many are right; the others go to the next class."""
    confusion = np.diag(right)
    for j, n in enumerate(right):
        confusion[j, (j + 1) % len(right)] += 4 - n
    return SimpleNamespace(seed=seed, confusion=confusion, counts=np.array(counts), status=status, **more)


# ------------------------------------------------------------------------------------------------------- probabilities
def test_the_kind_that_is_asked_for_wins_over_the_runs():
    logits = np.array([[0.0, np.log(3.0)]], np.float32)
    own = SimpleNamespace(confusion=np.eye(2), logits=logits, scores=None, probability="sigmoid")
    np.testing.assert_allclose(metrics.probabilities(own), [[0.5, 0.75]], rtol=1e-6)
    np.testing.assert_allclose(metrics.probabilities(own, "softmax"), [[0.25, 0.75]], rtol=1e-6)
    for kind in (None, "softmax", "sigmoid"):
        assert metrics.probabilities(logits, kind).dtype == np.float64
    np.testing.assert_allclose(metrics.probabilities(logits), [[0.25, 0.75]], rtol=1e-6)


@pytest.mark.parametrize("largest", [1.0 + 1e-5, 1.5, 2.0])
def test_no_probability_is_above_one(largest):
    with pytest.raises(ValueError, match="^probabilities=.*lie in"):
        metrics.ece([[largest, 0.0]], [0])
    with pytest.raises(ValueError, match="^probabilities=.*lie in"):
        metrics.ece([[-0.1, 0.5]], [0])


def test_rounding_above_one_is_in_the_last_bin():
    found = metrics.reliability([[1.0 + 1e-7, 0.0], [0.05, 0.0]], [0, 0], bins=10)
    assert len(found.share) == len(found.accuracy) == len(found.confidence) == 10
    np.testing.assert_allclose(found.share, [0.5] + [0.0] * 8 + [0.5])
    assert len(metrics.reliability([[0.5, 0.5]], [0], bins=10_000).share) == 10_000
    with pytest.raises(ValueError, match="^bins="):
        metrics.reliability([[0.5, 0.5]], [0], bins=10_001)


def test_fifteen_bins_by_default_and_rounding_up_to_a_millionth():
    """0.06 and 0.065 share the first bin of 15, up to 1 / 15; of 16 bins the first ends at 0.0625."""
    p, targets = [[0.06, 0.0], [0.065, 0.0]], [1, 0]
    assert metrics.ece(p, targets) == pytest.approx(0.5 - 0.0625) == metrics.ece(p, targets, 15)
    assert metrics.ece(p, targets, 16) == pytest.approx(0.5 * 0.06 + 0.5 * 0.935)
    assert metrics.ece([[1.0 + 1e-6, 0.0]], [0]) == pytest.approx(1e-6)
    for values in ([[[0.5, 0.5]]], [0.5, 0.5], "half"):
        with pytest.raises(ValueError, match="^probabilities=.*a run that kept its test logits, or probabilities"):
            metrics.ece(values, [0])
    with pytest.raises(ValueError, match="^logits=.*a run that kept its test logits, or logits"):
        metrics.probabilities([0.5, 0.5])


def test_bins_are_found_in_float64():
    p = np.array([[0.3, 0.1], [0.7, 0.2]], np.float32)  # float32's 0.3 is above 0.3, its 0.7 below 0.7
    found = metrics.reliability(p, [0, 0], bins=10)
    assert np.flatnonzero(found.share).tolist() == [3, 6] and found.confidence.dtype == np.float64


# ----------------------------------------------------------------------------------------------------------- comparison
def test_what_is_not_known_is_nan():
    one = metrics.paired([0.5], [0.25])
    assert (one.mean, one.n, one.verdict) == (0.25, 1, metrics.ONE_SEED)
    none = metrics.paired([0.5, NAN], [0.25, 0.5])
    assert (none.n, none.verdict) == (2, metrics.NO_DATA) and np.isnan(none.mean)
    for found in (one, none):
        assert all(isinstance(value, float) and np.isnan(value) for value in found[1:4])


@pytest.mark.parametrize(
    ("differences", "t", "verdict"),
    [
        ([0.0, 0.0, 0.0], 0.0, "undecided"), ([0.25] * 3, np.inf, "clearly better"),
        ([-0.25] * 3, -np.inf, "clearly worse"),
        ([1e-12] * 3, np.inf, "clearly better"), ([9e-13] * 3, 0.0, "undecided"),
        ([100.0, 100.0, 100.0 + 1e-10], np.inf, "clearly better"), ([0.0, 1.8e-12, 5.2e-12], None, "undecided"),
    ],
)  # fmt: skip
def test_differences_that_are_equal_up_to_rounding(differences, t, verdict):
    found = metrics.paired(differences, [0.0] * len(differences))
    assert found.verdict == verdict
    if t is not None:
        assert (found.t, found.se, found.p) == (t, 0.0, 0.0 if t else 1.0)
    else:
        d = np.array(differences)
        assert found.se > 0 and found.t == pytest.approx(d.mean() / (d.std(ddof=1) / np.sqrt(3)))


@pytest.mark.parametrize("difference", [0.25, -0.25, 1e-12, 9e-13, 0.0])
def test_two_equal_differences_tell_nothing_of_their_spread(difference):
    found = metrics.paired([difference] * 2, [0.0] * 2)
    told = abs(difference) >= 1e-12
    assert found.mean == difference and found.n == 2
    assert found.verdict == ("equal differences: no verdict" if told else "undecided")
    assert np.isnan(found.half) == np.isnan(found.p) == np.isnan(found.t) == told


def test_whole_numbers_are_compared_as_fractions_are():
    found = metrics.paired(np.array([3, 1], np.uint8), np.array([1, 2], np.uint8))
    assert found.mean == 0.5 and found.se == pytest.approx(1.5)
    with pytest.raises(ValueError, match="^a="):
        metrics.paired(np.ones((2, 2)), np.ones((2, 2)))


def test_numbers_with_a_seed_are_no_runs():
    """Both a seed and a confusion matrix make a run."""
    for other in (SimpleNamespace(seed=0), SimpleNamespace(confusion=np.eye(2))):
        with pytest.raises(ValueError, match="^a="):
            metrics.paired([other], [other])


def test_runs_without_a_status_are_whole():
    left, right = ([run(seed, right) for seed in range(2)] for right in ((4, 3, 1), (4, 2, 1)))
    for one in (*left, *right):
        del one.status
    assert metrics.paired(left, right).verdict == "equal differences: no verdict"
    table = metrics.comparison_table({"x": left, "y": right})
    assert table.loc["x", "verdict"] == "reference"


def test_two_runs_of_a_seed_are_named_by_their_side():
    good, twice = [run(0)], [run(0), run(0)]
    for a, b, name in ((twice, good, "a"), (good, twice, "b")):
        with pytest.raises(ValueError, match=f"^{name} holds two runs of seed 0"):
            metrics.paired(a, b)


def test_the_reference_alone_has_no_difference():
    table = metrics.comparison_table({"ce": [run(0), run(1)]})
    for name in ("difference", "half", "p"):
        assert table[name].dtype == np.float64 and np.isnan(table.loc["ce", name])
    assert table.loc["ce", ["seeds", "pairs"]].tolist() == [2, 2]
    for side in ("ten", [[1, 2]], [None]):
        with pytest.raises(ValueError, match="^a=.*expected runs, one per seed, or one number per seed"):
            metrics.paired(side, side)


def test_a_table_by_hand():
    base = [run(seed, right) for seed, right in ((0, (4, 2, 0)), (1, (4, 2, 1)), (2, (4, 2, 0)))]
    other = [run(seed, right) for seed, right in ((0, (3, 2, 2)), (1, (4, 1, 2)))]
    table = metrics.comparison_table({"ce": base, "cb": other}, group="tail")
    assert list(table.columns) == ["seeds", "all", "head", "mid", "tail", "pairs", "difference", "half", "p", "verdict"]
    assert table.index.name == "run" and list(table.index) == ["ce", "cb"]
    assert table.loc["ce", ["seeds", "pairs", "verdict"]].tolist() == [3, 3, "reference"]
    assert all(np.isnan(table.loc["ce", name]) for name in ("difference", "half", "p"))
    assert table.loc["ce", ["head", "mid", "tail"]].tolist() == pytest.approx([1.0, 0.5, 1 / 12])
    assert table.loc["cb", ["head", "mid", "tail", "all"]].tolist() == pytest.approx([0.875, 0.375, 0.5, 3.5 / 6])
    # Of the tail, by seed: 0.5 - 0, and 0.5 - 0.25.
    numbers = table.loc["cb", ["seeds", "pairs", "difference", "half", "p"]].tolist()  # t = 3, one degree of freedom
    assert numbers == pytest.approx([2, 2, 0.375, 0.125 * 12.7062, 2 / np.pi * np.arctan(1 / 3)])
    whole = metrics.comparison_table({"ce": base, "cb": other}, reference="cb")
    assert whole.loc["cb", "verdict"] == "reference"
    assert whole.loc["ce", "difference"] == pytest.approx((6 + 7) / 24 - (7 + 7) / 24)


# ------------------------------------------------------------------------------------------------------------- geometry
def test_one_nan_on_either_side_is_enough():
    assert np.isnan(metrics.spearman([1, 2, NAN], [1, 2, 3])) and np.isnan(metrics.spearman([1, 2, 3], [1, NAN, 3]))
    for wrong in (np.ones((2, 2)), 3.0):
        with pytest.raises(ValueError, match="^a="):
            metrics.spearman(wrong, wrong)


def test_counts_of_ones_own_beside_a_run():
    norms = np.array([3.0, 2.0, 1.0])
    own = SimpleNamespace(head_weight=np.diag(norms).astype(np.float32), counts=np.exp([4.0, 3.0, 2.0]))
    found = metrics.weight_norm_fit(own)
    assert (found.s, found.c, found.rho) == pytest.approx((1.0, 1.0, 1.0))
    other = metrics.weight_norm_fit(own, np.exp([1.0, 3.0, 5.0]))
    assert (other.s, other.c, other.rho) == pytest.approx((-2.0, 7.0, -1.0))
    by_hand = metrics.weight_norm_fit(norms.astype(int), np.exp([4.0, 3.0, 2.0]))
    assert by_hand.s == pytest.approx(1.0) and type(by_hand.s) is float
    for wrong in (np.zeros(3), np.zeros((3, 2, 2))):
        with pytest.raises(ValueError, match="^head_weight=.*the run's classifier"):
            metrics.weight_norm_fit(SimpleNamespace(head_weight=wrong, counts=np.ones(3)))
    with pytest.raises(ValueError, match="^norms="):
        metrics.weight_norm_fit(np.ones((3, 2)), np.ones(3))
    for flat in (metrics.weight_norm_fit([1.0, 1.0], [3, 4]), metrics.weight_norm_fit([1.0, 2.0], [3, 0])):
        assert all(np.isnan(value) for value in flat)


def test_the_law_of_norms_for_any_unit_of_length():
    """The slope is the inverse of a length; norms that are all equal, up to rounding, have none."""
    norms, counts = np.array([1.0, 2.0, 4.0]), np.exp([1.0, 2.0, 4.0])
    for unit in (1e-9, 1.0, 1e9):
        found = metrics.weight_norm_fit(norms * unit, counts)
        assert (found.s * unit, found.c, found.rho) == pytest.approx((1.0, 0.0, 1.0), abs=1e-9)
        assert np.isnan(metrics.weight_norm_fit(unit * np.array([1.0, 1.0 + 5e-13, 1.0]), counts)).all()
    assert np.isnan(metrics.weight_norm_fit([0.0, 0.0, 0.0], counts)).all(), "as of a classifier that starts at zero"
    # A norm of zero is a norm, and a class of one image is a class; without images there is none.
    found = metrics.weight_norm_fit([0.0, 1.0, 2.0, 7.0], [1.0, np.e, np.e**2, 0.0])
    assert (found.s, found.c, found.rho) == pytest.approx((1.0, 0.0, 1.0), abs=1e-9)
    for wrong in ([[1.0]], "long", [-1.0, 1.0, 2.0]):
        with pytest.raises(ValueError, match="^norms=.*a run, or the length of each class's classifier vector"):
            metrics.weight_norm_fit(wrong, counts)


def test_ten_neighbours_by_default():
    """Of six and six, eleven neighbours are all the others, of which six are of the wrong class."""
    angles = np.array([0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 1.0, 1.01, 1.02, 1.03, 1.04, 1.05])
    features, targets = np.stack([np.cos(angles), np.sin(angles)], 1), np.repeat([0, 1], 6)
    assert metrics.feature_quality(features, targets) == 1.0 == metrics.feature_quality(features, targets, 10)
    assert metrics.feature_quality(features, targets, 11) == 0.0


def test_an_image_without_features_is_near_to_none():
    """Its cosine to every image is 0: an angle of 80 degrees is nearer, though its end is farther than the origin."""
    angle = np.deg2rad(80)
    features = np.array([[1.0, 0.0], [np.cos(angle), np.sin(angle)], [0.0, 0.0]])
    assert metrics.feature_quality(features, [0, 0, 1], neighbours=1) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="^features=.*expected a run that kept its test features, or features"):
        metrics.feature_quality([0.5, 0.5], [0, 0])


def test_five_far_neighbours_outvote_four_near_ones():
    angles = np.array([0.0, 0.01, 0.02, 0.03, 0.04, 1.0, 1.01, 1.02, 1.03, 1.04])
    features, targets = np.stack([np.cos(angles), np.sin(angles)], 1), np.array([0] * 5 + [1] * 5)
    # Nine neighbours are all the others: four of an image's own class and five of the other.
    assert metrics.feature_quality(features, targets, 9) == 0.0


def test_the_features_of_a_run():
    features = np.array([[1.0, 0.0], [2.0, 0.1], [0.0, 1.0], [0.1, 3.0]], np.float16)
    own = SimpleNamespace(confusion=np.eye(2), features=features, targets=np.array([0, 0, 1, 1]))
    assert metrics.feature_quality(own, neighbours=1) == 1.0 == metrics.feature_quality(features, own.targets, 1)
    assert metrics.feature_quality(own, [0, 1, 0, 1], neighbours=1) == 0.0, "targets of one's own"
    with pytest.raises(ValueError, match="keeps no test features"):
        metrics.feature_quality(SimpleNamespace(confusion=np.eye(2), features=None, targets=None))
    with pytest.raises(ValueError, match="^features="):
        metrics.feature_quality(np.ones(3), [0, 1, 2])


def test_neighbours_are_at_least_one_and_two_images_are_enough():
    assert metrics.feature_quality([[1.0, 0.0], [1.0, 0.1]], [0, 0], neighbours=1) == 1.0
    assert metrics.feature_quality([[1.0, 0.0], [1.0, 0.1]], [0, 1], neighbours=1) == 0.0
    for neighbours in (0, -1, 2):
        with pytest.raises(ValueError, match="^neighbours="):
            metrics.feature_quality([[1.0, 0.0], [1.0, 0.1]], [0, 0], neighbours=neighbours)
    with pytest.raises(ValueError, match="^features=.*at least 2 images"):
        metrics.feature_quality([[1.0, 0.0]], [0], neighbours=1)


def test_two_far_neighbours_outvote_a_near_one():
    """The order of neighbours decides ties only."""
    angles = np.array([0.0, 0.1, 0.5, 0.6, 2.5, 2.6])
    features = np.stack([np.cos(angles), np.sin(angles)], 1) * np.array([1, 100, 0.01, 5, 1, 1])[:, None]
    # With three neighbours: image 0 sees 1, 2, 3; image 1 sees 0, 2, 3; 2 and 3 see each other, 1 and 0.
    targets = np.array([0, 0, 1, 1, 1, 1])
    by_hand = []
    for i, angle in enumerate(angles):
        near = sorted((j for j in range(6) if j != i), key=lambda j: abs(angles[j] - angle))[:3]
        votes = [sum(targets[j] == c for j in near) for c in range(2)]
        by_hand.append(int(np.argmax(votes)))
    expected = np.mean([np.mean([by_hand[i] == c for i in range(6) if targets[i] == c]) for c in range(2)])
    assert metrics.feature_quality(features, targets, 3) == pytest.approx(expected) and 0 < expected < 1


def test_rows_of_any_length_are_scaled_to_one():
    from ltviz.metrics.geometry import unit_rows

    rows = unit_rows("x", np.array([[3.0, 4.0], [0.0, 0.0], [3e-200, 4e-200], [-3e200, 4e200]]))
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0, 0], [0.6, 0.8], [-0.6, 0.8]], rtol=1e-12)
    assert unit_rows("x", np.ones((2, 2), np.float16)).dtype == np.float64
    assert unit_rows("x", np.zeros((2, 0))).shape == (2, 0)
    with pytest.raises(ValueError, match="^x=.*found 1 rows with NaN or infinity, the first is row 1"):
        unit_rows("x", np.array([[1.0, 0.0], [np.inf, 0.0], [1.0, 1.0]]))


# --------------------------------------------------------------------------------------------------------------- scores
def test_how_many_classes_there_are():
    assert metrics.confusion([0], [0], 1).tolist() == [[1]] and metrics.confusion([], [], None).shape == (0, 0)
    assert metrics.confusion([0, 1], [0, 0]).shape == (2, 2) == metrics.confusion([0, 0], [1, 0]).shape
    for function in (metrics.precision, metrics.recall, metrics.f1, metrics.per_class):
        np.testing.assert_allclose(function([0, 1], [0, 1], 4), [1.0, 1.0, NAN, NAN])
    for function in (metrics.accuracy, metrics.balanced_accuracy):
        assert function([0, 1], [0, 0], 4) == 0.5
        with pytest.raises(ValueError, match=r"lie in 0\.\.1"):
            function([0, 1], [0, 2], 2)
    for k in (0, -1, 2**15 + 1, 1.5):
        with pytest.raises(ValueError, match="^k="):
            metrics.confusion([0], [0], k)
    with pytest.raises(ValueError, match="^predictions="):
        metrics.confusion([0], [1], 1)
    with pytest.raises(ValueError, match="^confusion=.*expected a square confusion matrix"):
        metrics.confusion([[0.5, "x"]])


def test_a_class_that_is_never_predicted_has_no_precision_but_a_score():
    matrix = np.array([[0, 4, 0], [0, 2, 0], [0, 0, 0]])
    np.testing.assert_allclose(metrics.precision(matrix), [0.0, 2 / 6, NAN])
    np.testing.assert_allclose(metrics.recall(matrix), [0.0, 1.0, NAN])
    np.testing.assert_allclose(metrics.f1(matrix), [0.0, 0.5, NAN])
    assert metrics.precision(matrix, average="macro") == pytest.approx(1 / 6)
    last = np.array([[2, 0], [3, 0]])  # scikit-learn finds only one class among the predictions
    np.testing.assert_allclose(metrics.recall(last), [1.0, 0.0])


def test_no_test_image_at_all():
    empty = np.zeros((3, 3), int)
    for function in (metrics.precision, metrics.recall, metrics.f1):
        assert function(empty).shape == (3,) and np.isnan(function(empty)).all()
        assert isinstance(function(empty, average="macro"), float) and np.isnan(function(empty, average="macro"))
        with pytest.raises(ValueError, match="^average="):
            function(empty, average="micro")
    assert np.isnan(metrics.accuracy(empty)) and np.isnan(metrics.balanced_accuracy(empty))


def test_a_matrix_of_so_many_images_that_floats_still_count_them():
    assert metrics.accuracy(np.array([[2**53 - 1, 1], [0, 0]])) == pytest.approx(1.0)
    with pytest.raises(ValueError, match=r"^confusion=.*at most 2\^53"):
        metrics.accuracy(np.array([[2**53, 2], [0, 0]]))
    with pytest.raises(ValueError, match="^confusion=.*at most"):
        metrics.accuracy(np.full((2, 2), 2**63 - 1, np.int64))


def test_the_shot_groups_by_default():
    counts = [102, 101, 100, 99, 21, 20, 19, 18, 1]
    members = [np.flatnonzero(mask).tolist() for mask in metrics.shot_groups(counts).values()]
    assert members == [[0, 1], [2, 3, 4, 5], [6, 7, 8]]
    accuracies = np.arange(9)  # whole numbers as accuracies: 0 and 1 occur
    found = metrics.shot_accuracy(accuracies / 10, counts)
    assert (found["many"], found["medium"], found["few"]) == pytest.approx((0.05, 0.35, 0.7))
    other = metrics.shot_accuracy(accuracies / 10, counts, convention="oltr")
    assert (other["many"], other["medium"], other["few"]) == pytest.approx((0.1, 0.35, 0.65))
    moved = metrics.shot_accuracy(accuracies / 10, counts, many=20, few=19)
    assert (moved["many"], moved["medium"], moved["few"]) == pytest.approx((0.2, 0.55, 0.75))
    assert metrics.shot_groups([5, 0], many=0, few=0)["many"].tolist() == [True, False]
    for wrong, name in (({"many": -1, "few": 0}, "many"), ({"many": 5, "few": -1}, "few")):
        with pytest.raises(ValueError, match=f"^{name}=-1"):
            metrics.shot_groups(counts, **wrong)


def test_equal_counts_are_split_in_class_order():
    assert not any(mask.any() for mask in metrics.third_groups([7] * 301).values()), "all equal: there are no groups"
    groups = metrics.third_groups([8] + [7] * 300)  # more than a sort without order keeps in order
    assert np.flatnonzero(groups["head"]).tolist() == list(range(100))
    assert np.flatnonzero(groups["tail"]).tolist() == list(range(201, 301))
    counts = [(i * 7919) % 5 + 1 for i in range(301)]
    groups, ranked = metrics.third_groups(counts), sorted(range(301), key=lambda i: -counts[i])
    assert np.flatnonzero(groups["head"]).tolist() == sorted(ranked[:100])
    assert np.flatnonzero(groups["tail"]).tolist() == sorted(ranked[201:])


def test_counts_of_ones_own_beside_a_runs_accuracies():
    own = run(right=(4, 2, 1), counts=(200, 50, 5))
    assert metrics.shot_accuracy(own)["head"] == 1.0 and metrics.shot_accuracy(own)["few"] == 0.25
    turned = metrics.shot_accuracy(own, [5, 50, 200])
    assert turned["head"] == 0.25 == turned["many"] and turned["few"] == 1.0
    assert metrics.shot_accuracy([1, 0, 0], [3, 2, 1])["all"] == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="^run=.*the accuracy of each class"):
        metrics.shot_accuracy(np.ones((2, 2)), [1, 1])
