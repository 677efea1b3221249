"""Long-tailed points in the plane, the softmax classifier that they give, its scores, and the explorer of all this."""

import time

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

import ltviz as lt
from ltviz.datasets.plane import CENTRES, WIDTH, cloud_ranks, plane, plane_counts, plane_test
from ltviz.explore.screen import Click, Drag
from ltviz.explore.throw import COUNTS, PLANE, SCORES, THROWS, throws
from ltviz.metrics.throws import borders, confusions, decide, fit_softmax, tail_scores

K = len(CENTRES)


@pytest.fixture(autouse=True)
def close_all():
    yield
    for explorer in lt.explore.registry():
        explorer.close()


# --- points ----------------------------------------------------------------------------------------------------------


def test_counts_follow_the_profile_and_no_class_is_empty():
    assert plane_counts(100).tolist() == [100, 39, 15, 6, 2, 1]
    assert plane_counts(10, 100, "step").tolist() == [100, 100, 100, 10, 10, 10]
    assert plane_counts(100, 20).tolist() == [20, 7, 3, 1, 1, 1]


def test_points_lie_round_the_centres_of_their_class():
    found = plane(ratio=1, n_max=400, seed=3)
    assert found.counts.tolist() == [400] * K and found.points.shape == (400 * K, 2)
    for j in range(K):
        own = found.points[found.targets == j] - found.centres[j]
        assert own.mean(0) == pytest.approx([0, 0], abs=5 * WIDTH / 20)
        assert own.std(0) == pytest.approx([WIDTH, WIDTH], rel=0.15)


def test_a_longer_tail_only_takes_points_away():
    short, long = plane(ratio=2, seed=5), plane(ratio=40, seed=5)
    for j in range(K):
        few = long.points[long.targets == j]
        assert np.array_equal(few, short.points[short.targets == j][: len(few)])


def test_the_seed_draws_points_and_the_class_order():
    a, b = plane(seed=0), plane(seed=1)
    assert not np.array_equal(a.points, b.points) and not np.array_equal(a.centres, b.centres)
    assert np.array_equal(plane(seed=0).points, a.points)
    assert np.array_equal(plane(seed=1, class_order="natural").centres, CENTRES)
    assert np.array_equal(a.centres[cloud_ranks(0)], CENTRES)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"ratio": 0.5}, "ratio"), ({"ratio": "50"}, "ratio"), ({"n_max": 0}, "n_max"), ({"n_max": 401}, "n_max"),
        ({"n_max": True}, "n_max"), ({"profile": "linear"}, "profile"), ({"seed": -1}, "seed"),
        ({"seed": 1.5}, "seed"), ({"class_order": "fixed"}, "class_order"),
    ],
)  # fmt: skip
def test_a_plane_refuses_what_makes_no_sense(wrong, words):
    with pytest.raises(ValueError, match=f"^{words}="):
        plane(**wrong)


# --- the classifier and its scores -----------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [1, 100])
def test_the_classifier_is_scikit_learns(ratio):
    drawn = [plane(ratio, seed=seed, n_max=40) for seed in range(3)]
    found = fit_softmax(np.stack([one.points for one in drawn]), drawn[0].targets, K, decay=0.5)
    for weights, one in zip(found, drawn, strict=True):
        theirs = LogisticRegression(C=2.0, tol=1e-10, max_iter=5000).fit(one.points, one.targets)
        assert weights[:, :2] == pytest.approx(theirs.coef_, abs=2e-3)
        assert weights[:, 2] - weights[:, 2].mean() == pytest.approx(
            theirs.intercept_ - theirs.intercept_.mean(), abs=2e-3
        )


@pytest.mark.parametrize("profile", ["exp", "step", "pareto"])
@pytest.mark.parametrize("class_order", ["seed", "natural"])
@pytest.mark.parametrize(("ratio", "n_max"), [(1.0, 100), (100.0, 100), (100.0, 20)])
def test_newton_arrives_for_every_throw(profile, class_order, ratio, n_max):
    found = throws(ratio, profile, class_order, n_max)
    x = np.append(found.points, np.ones((*found.points.shape[:2], 1)), 2)
    z = x @ found.weights.transpose(0, 2, 1)
    p = np.exp(z - z.max(2, keepdims=True))
    p /= p.sum(2, keepdims=True)
    slope = (p - np.eye(K)[found.targets]).transpose(0, 2, 1) @ x
    slope[..., :2] += 0.05 * found.weights[..., :2]
    assert np.abs(slope).max() < 0.02 * np.sqrt(len(found.targets))


def test_scores_are_those_of_a_test_set_with_the_same_tail():
    rng, counts = np.random.default_rng(0), np.array([8, 4, 1])
    truth = np.repeat([0, 1, 2], 8 * counts)
    guess = np.where(rng.random(len(truth)) < 0.7, truth, rng.integers(0, 3, len(truth)))
    found = tail_scores(confusions(guess[None], truth[None], 3), counts)
    assert found.accuracy[0] == pytest.approx(accuracy_score(truth, guess))
    assert found.balanced[0] == pytest.approx(balanced_accuracy_score(truth, guess))
    assert found.f1[0] == pytest.approx(f1_score(truth, guess, average="macro"))
    assert found.rare[0] == pytest.approx((guess[truth == 2] == 2).mean())


def test_scores_do_not_depend_on_how_many_test_images_a_class_has():
    few, many = (np.array([[[3, 1, 0], [0, 2, 2], one]]) for one in ([1, 2, 1], [100, 200, 100]))
    assert np.array(tail_scores(few, [9, 3, 1])) == pytest.approx(np.array(tail_scores(many, [9, 3, 1])))
    assert np.isnan(tail_scores(few[:, :2, :2], [9, 1]).rare)


def test_the_commonest_answer_scores_its_share():
    always = np.zeros((1, K, K), int)
    always[:, :, 0] = 5
    found = tail_scores(always, plane_counts(100))
    assert found.accuracy[0] == pytest.approx(100 / 163) and found.balanced[0] == pytest.approx(1 / K)
    assert found.rare[0] == 0.0


def test_borders_part_the_classes():
    weights = np.array([[1.0, 0, 0], [-1.0, 0, 0], [0, 1.0, 0]])
    found = borders(weights, (-2, 2), (-1, 3))
    ends = sorted(tuple(np.round(end, 9)) for one in found for end in one)
    assert ends == [(-2, 2), (0, -1), (0, 0), (0, 0), (0, 0), (2, 2)]
    drawn = throws(50.0, "exp", "seed", 100).weights[0]
    for a, b in borders(drawn, (-4, 4), (-3, 3)):
        z = np.sort(drawn @ [*((a + b) / 2), 1])
        assert z[-1] == pytest.approx(z[-2], abs=1e-9)


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda: fit_softmax(np.zeros((2, 3)), [0, 1, 0], 2), "points"),
        (lambda: fit_softmax(np.zeros((1, 3, 2)), [0, 0, 0], 2), "targets"),
        (lambda: fit_softmax(np.full((1, 2, 2), np.nan), [0, 1], 2), "points"),
        (lambda: fit_softmax(np.zeros((1, 2, 2)), [0, 1], 2, decay=0), "decay"),
        (lambda: borders(np.zeros((2, 4)), (0, 1), (0, 1)), "weights"),
        (lambda: borders(np.zeros((2, 3)), (1, 0), (0, 1)), "xlim"),
        (lambda: tail_scores(np.zeros((1, 2, 2)), [1, 1]), "confusion"),
        (lambda: tail_scores(np.ones((1, 2, 2)), [1, 1, 1]), "confusion"),
        (lambda: plane_test(0), "n"),
    ],
)
def test_the_functions_refuse_what_makes_no_sense(act, words):
    with pytest.raises(ValueError, match=f"^{words}="):
        act()


# --- the explorer ----------------------------------------------------------------------------------------------------


def test_a_longer_tail_raises_accuracy_and_lowers_rare_recall():
    """What the chapter says, of the mean over all throws."""
    for order in ("seed", "natural"):
        even, long = (throws(ratio, "exp", order, 100).scores.mean(1) for ratio in (1.0, 100.0))
        assert long[0] > even[0] + 0.05 and long[1] < even[1] - 0.1 and long[3] < even[3] - 0.3


def test_the_explorer_shows_the_scores_of_its_throw():
    explorer = lt.explore.throw(seed=4, ratio=100)
    found = explorer.result
    drawn = plane(100, seed=4)
    test, clouds = plane_test()
    truth = cloud_ranks(4)[clouds]
    guess = decide(found.all.weights[4], test)
    assert found.scores[1] == pytest.approx(balanced_accuracy_score(truth, guess))
    assert found.scores[3] == pytest.approx(np.mean([(guess[truth == j] == j).mean() for j in (4, 5)]))
    assert found.all.counts.tolist() == drawn.counts.tolist()
    assert f"rare recall {100 * found.scores[3]:.1f}%" in explorer.sentence


def test_every_control_can_be_moved_and_the_state_comes_back():
    explorer = lt.explore.throw(ratio=20)
    assert explorer.drive() == [] and explorer.error is None
    explorer.set(seed=7, class_order="natural", ratio=10.0, profile="pareto", n_max=60)
    again = type(explorer).from_state(explorer.state)
    assert again.values == explorer.values and again.sentence == explorer.sentence
    assert eval(explorer.as_code(), {"lt": lt}).state == explorer.state


def test_three_controls_are_in_sight():
    explorer = lt.explore.throw()
    assert list(explorer.controls)[:3] == ["seed", "class_order", "ratio"]
    assert len(explorer.column.first.children) == 3


def test_dragging_the_last_bar_sets_the_ratio():
    explorer = lt.explore.throw(ratio=50)
    (handle,) = explorer.handles(explorer.result)
    assert (handle.name, handle.y, handle.region) == ("ratio", 2.0, COUNTS)
    assert handle.told == "2 points, ratio 50" and explorer.screen.frame.handles[0].told == handle.told
    explorer.set(ratio=89.0)  # 1.12 points, cut to one
    assert explorer.handles(explorer.result)[0].told == "1 point, ratio 89"
    explorer.dragged(Drag("ratio", 5, 10.0, True))
    assert explorer.values["ratio"] == 10.0 and explorer.result.all.counts[-1] == 10
    for y, ratio in ((0.001, 100.0), (5000.0, 1.0)):
        explorer.dragged(Drag("ratio", 5, y, True))
        assert explorer.values["ratio"] == ratio


def test_a_click_on_a_faint_score_goes_to_its_throw():
    explorer = lt.explore.throw(seed=0)
    points = explorer.marks(explorer.result)
    place = next(i for i, one in enumerate(points) if "macro F1, throw 13" in one.text)
    explorer._clicked(Click(0.5, 2, SCORES, place))
    assert explorer.values["seed"] == 13
    explorer._clicked(Click(0.5, 2, COUNTS, 0))
    explorer._clicked(Click(0.5, 2, SCORES, None))
    explorer._clicked(Click(0.0, 0.0, PLANE, len(points) - 1))
    assert explorer.values["seed"] == 13
    assert [one.region for one in points[: K + 4 * THROWS + 1]] == [COUNTS] * K + [SCORES] * 4 * THROWS + [PLANE]


def test_a_training_point_says_its_class_and_count():
    explorer = lt.explore.throw(seed=3, ratio=50)
    found = explorer.result.all
    points = [one for one in explorer.marks(explorer.result) if one.region == PLANE]
    inside = (np.abs(found.points[3]) <= (4.6, 3.7)).all(1)
    places, targets = found.points[3][inside], found.targets[inside]
    assert np.allclose([(one.x, one.y) for one in points], places) and inside.sum() > 170
    told = [f"Class {j + 1} of 6 by frequency, one of {found.counts[j]} training points" for j in targets]
    assert [one.text for one in points] == told and found.counts[0] == 100 and found.counts[-1] == 2


def test_the_list_of_class_orders_does_not_call_an_entry_as_the_slider_is_called():
    explorer = lt.explore.throw()
    titles = dict(explorer.controls["class_order"].widget.options)
    assert titles == {"drawn by seed": "seed", "natural": "natural"}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"seed": 20}, "seed"), ({"seed": 0.5}, "seed"), ({"seed": True}, "seed"), ({"ratio": 0}, "ratio"),
        ({"ratio": float("nan")}, "ratio"), ({"profile": "linear"}, "profile"),
        ({"class_order": "fixed"}, "class_order"), ({"n_max": 10}, "n_max"), ({"n_max": "60"}, "n_max"),
    ],
)  # fmt: skip
def test_the_explorer_refuses_what_makes_no_sense(wrong, words):
    with pytest.raises(ValueError, match=f"^{words}="):
        lt.explore.throw(**wrong)
    explorer = lt.explore.throw()
    with pytest.raises(ValueError):
        explorer.set(**wrong)
    with pytest.raises(ValueError, match="no control 'sead'"):
        explorer.set(sead=1)


def test_the_background_is_drawn_once_while_sliders_move():
    explorer = lt.explore.throw()
    before = explorer.surface.backgrounds
    for values in ({"ratio": 3.0}, {"seed": 9}, {"class_order": "natural"}, {"profile": "step"}, {"n_max": 30}):
        explorer.set(**values)
    assert explorer.surface.backgrounds == before


def test_a_sweep_is_quick():
    explorer, took = lt.explore.throw(), []
    for ratio in np.geomspace(1.0, 100.0, 12):
        began = time.process_time()
        explorer._frame({**explorer.values, "ratio": float(ratio)})
        took.append(time.process_time() - began)
    assert sorted(took)[6] < 0.2  # 0.02 to 0.04 s on an idle core
