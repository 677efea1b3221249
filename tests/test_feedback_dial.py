"""The feedback dial: the weights of a whole run and their noise, violated triplets, and the explorer on top of them."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch

import ltviz as lt
from ltviz import metrics
from ltviz.explore.feedback_dial import ACCURACY, COURSE, EXPONENT, WEIGHTS, FeedbackDial
from ltviz.explore.screen import Drag
from ltviz.methods.cdb import difficulty_weights, dynamic_tau
from ltviz.methods.triplet import triplet_loss

FOUR = np.array([[0.9, 0.8, 0.7, 0.5], [1.0, 0.6, 0.0, 0.3], [1.0, 1.0, 1.0, 1.0]])


@pytest.fixture(scope="module")
def runs():
    return {
        "CDB": lt.recorded("digits", "cdb", tau_rule="paper", seed=0)[0],
        "plain": lt.recorded("digits", "ce", seed=0)[0],
    }


@pytest.fixture(scope="module")
def shared(runs):
    made = lt.explore.feedback_dial(runs)
    yield made
    made.close()


@pytest.fixture
def explorer(shared):
    """The explorer, back where it was afterwards."""
    yield shared
    shared.reset()


# --- the weights of a course -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("rule", ["paper", "sigmoid", "public"])
def test_each_epoch_is_that_of_the_method(rule):
    found = metrics.difficulty_course(FOUR, rule, images=10)
    for row, tau, weight in zip(FOUR, found.tau, found.weight, strict=True):
        a = torch.from_numpy(row)
        assert tau == pytest.approx(float(dynamic_tau(a, rule)))
        assert weight == pytest.approx(difficulty_weights(a, dynamic_tau(a, rule), True).numpy())
    assert found.weight[2] == pytest.approx(np.ones(4)), "all perfect: all weights are 1"


def test_three_readings_of_best_90_and_worst_60():
    both = np.array([[0.9, 0.6]])
    found = {rule: metrics.difficulty_course(both, rule).tau[0] for rule in ("paper", "sigmoid", "public")}
    assert found["sigmoid"] == pytest.approx(1 / (1 + np.exp(-(0.9 / 0.6001 - 1))))
    assert found["paper"] == pytest.approx(2 / (1 + np.exp(-(0.9 / 0.61 - 1))))
    assert found["public"] == pytest.approx(1 / (1 + np.exp(-0.9 / 0.61)))


def test_a_fixed_exponent_and_weights_by_hand():
    found = metrics.difficulty_course(FOUR[:1], "fixed", 2.0)
    assert found.tau == pytest.approx([2.0]) and found.tau_band == pytest.approx(np.full((2, 1), 2.0))
    assert found.weight[0] == pytest.approx(4 * np.array([0.01, 0.04, 0.09, 0.25]) / 0.39)
    assert metrics.difficulty_course(FOUR[:1], "fixed", 0.0).weight == pytest.approx(np.ones((1, 4)))


def test_a_class_without_validation_images_has_the_mean_weight_and_no_band():
    found = metrics.difficulty_course([[0.5, np.nan, 0.9]], "fixed", 1.0, images=20)
    assert found.weight[0] == pytest.approx([2 * 0.5 / 0.6, 1.0, 2 * 0.1 / 0.6])
    assert np.isnan(found.accuracy_band[:, 0, 1]).all() and not np.isnan(found.weight_band).any()


def test_bands_are_those_of_jeffreys_and_shrink_with_the_images():
    from scipy.stats import beta

    found = metrics.difficulty_course([[0.9, 0.5, 1.0, 0.0]], "fixed", 1.0, images=50, draws=4000)
    right = np.array([45, 25, 50, 0])
    exact = beta.ppf([[0.025], [0.975]], right + 0.5, 50.5 - right)
    assert found.accuracy_band[:, 0] == pytest.approx(exact, abs=0.01)
    widths = [np.ptp(metrics.difficulty_course([[0.9, 0.5]], images=n).weight_band, 0)[0, 0] for n in (5, 50, 500)]
    assert widths == sorted(widths, reverse=True) and widths[0] > 3 * widths[2]
    perfect = metrics.difficulty_course([[1.0, 0.6]], "fixed", 1.0, images=10, draws=4000)
    assert perfect.accuracy_band[0, 0, 0] == pytest.approx(0.78, abs=0.01), "10 of 10 right: the truth may be 78%"
    assert perfect.weight[0, 0] == 0 and perfect.weight_band[1, 0, 0] > 0.5
    again = metrics.difficulty_course([[0.9, 0.5]], images=5, seed=3)
    assert (again.weight_band == metrics.difficulty_course([[0.9, 0.5]], images=5, seed=3).weight_band).all()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("accuracy", ([[1.2, 0.5]],)), ("accuracy", ([[-0.1, 0.5]],)), ("accuracy", ([0.5, 0.5],)),
        ("accuracy", (np.zeros((0, 2)),)), ("accuracy", ([[np.nan, np.nan]],)), ("accuracy", ("no",)),
        ("accuracy", ([[True, False]],)), ("rule", (FOUR, "dynamic")), ("tau", (FOUR, "fixed", -1.0)),
        ("tau", (FOUR, "fixed", True)), ("images", (FOUR, "paper", 1.0, 0)), ("images", (FOUR, "paper", 1.0, 2.5)),
        ("draws", (FOUR, "paper", 1.0, 10, 0)), ("seed", (FOUR, "paper", 1.0, 10, 10, -1)),
    ],
)  # fmt: skip
def test_a_course_refuses(name, arguments):
    with pytest.raises(ValueError, match=f"^{name}=.*: expected"):
        metrics.difficulty_course(*arguments)


# --- triplets --------------------------------------------------------------------------------------------------------
def test_violated_triplets_are_those_of_every_triple():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(18, 3)), np.arange(18) % 4
    found = metrics.violated_triplets(x, y, 5, margin=0.3)
    long = x / np.linalg.norm(x, axis=1, keepdims=True)
    violated, total = np.zeros(5, int), np.zeros(5, int)
    for a, p, n in itertools.product(range(18), repeat=3):
        if a != p and y[a] == y[p] and y[a] != y[n]:
            total[y[a]] += 1
            violated[y[a]] += ((long[a] - long[p]) ** 2).sum() - ((long[a] - long[n]) ** 2).sum() + 0.3 > 0
    assert found.violated.tolist() == violated.tolist() and found.all.tolist() == total.tolist()
    assert found.share() == pytest.approx(violated.sum() / total.sum())
    assert found.share([1, 2]) == pytest.approx(violated[1:3].sum() / total[1:3].sum())
    assert np.isnan(found.share([4]))


def test_no_triplet_is_violated_where_the_loss_is_zero():
    x, y = np.array([[1.0, 0], [2.0, 0.1], [0, 1.0], [0.1, 3.0], [-1.0, 0]]), np.array([0, 0, 1, 1, 2])
    unit = torch.from_numpy(x / np.linalg.norm(x, axis=1, keepdims=True))
    assert float(triplet_loss(unit, torch.from_numpy(y), 0.2)) == 0.0
    assert metrics.violated_triplets(x, y, 3).violated.tolist() == [0, 0, 0]
    assert metrics.violated_triplets(x, y, 3).all.tolist() == [6, 6, 0], "a class of one image has no triplets"
    assert metrics.violated_triplets(x, y, 3, margin=4.0).share() == 1.0


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("features", ([1.0], [0], 2)), ("features", ([[np.nan]], [0], 2)), ("features", ([[1.0]], [0, 1], 2)),
        ("features", (np.zeros((0, 2)), [], 2)), ("targets", ([[1.0]], [2], 2)), ("targets", ([[1.0]], [0.5], 2)),
        ("k", ([[1.0]], [0], 0)), ("margin", ([[1.0]], [0], 1, -1.0)), ("margin", ([[1.0]], [0], 1, "0.2")),
    ],
)  # fmt: skip
def test_triplets_refuse(name, arguments):
    with pytest.raises(ValueError, match=f"^{name}=.*: expected"):
        metrics.violated_triplets(*arguments)


# --- the explorer ----------------------------------------------------------------------------------------------------
def test_what_is_drawn_is_what_the_run_was_trained_with(explorer, runs):
    found, run = explorer.result, runs["CDB"]
    assert (found.epoch, explorer.values["images"], found.used) == (15, 10, True)
    accuracy = torch.from_numpy(run.history["val_accuracy"][14].astype(np.float64))
    tau = dynamic_tau(accuracy, "paper")
    weight = difficulty_weights(accuracy, tau, True).numpy()
    assert found.tau == pytest.approx(float(tau)) and found.weight == pytest.approx(weight)
    heights = [path.vertices[:, 1].max() for path in explorer.bars.get_paths()]
    assert heights == pytest.approx(accuracy.numpy())
    heights = [path.vertices[:, 1].max() for path in explorer.weights.get_paths()]
    assert heights == pytest.approx(weight)
    assert explorer.lines["paper"].get_ydata()[14] == pytest.approx(float(tau))
    assert explorer.lines["sigmoid"].get_ydata()[14] == pytest.approx(float(dynamic_tau(accuracy, "sigmoid")))
    assert [line.get_ydata()[14] for line in explorer.means] == pytest.approx(
        [weight[:3].mean(), weight[3:7].mean(), weight[7:].mean()]
    )
    assert explorer.now.get_text() == f"τ = {float(tau):.2f}"
    assert "15 of 60 epochs done" in explorer.sentence and "not what this run" not in explorer.sentence


def test_another_reading_is_not_what_the_run_was_trained_with(explorer):
    explorer.set(tau_rule="fixed", tau=0.5)
    assert explorer.result.course.tau == pytest.approx(np.full(60, 0.5))
    assert explorer.lines["fixed"].get_ydata() == pytest.approx(np.full(60, 0.5))
    assert not explorer.result.used and "not what this run was trained with" in explorer.sentence
    explorer.set(tau_rule="paper", training="plain")
    assert not explorer.result.used and explorer.sentence.startswith("plain, 15 of 60")


def test_fewer_validation_images_move_tau_further(explorer):
    explorer.set(epoch=60, images=1000)
    few = np.ptp(explorer.result.course.tau_band[:, -1])
    explorer.set(images=10)
    assert np.ptp(explorer.result.course.tau_band[:, -1]) > 3 * few
    low, high = explorer.result.here.accuracy_band[:, 0, 9]
    assert explorer.noise.get_ydata()[27:29] == pytest.approx([low, high])


def test_the_bands_that_are_told_hardly_depend_on_the_draws(explorer, runs):
    accuracy = runs["CDB"].history["val_accuracy"].astype(np.float64)
    apart = []
    for epoch in range(20, 61, 4):
        explorer.set(epoch=epoch)
        exact = metrics.difficulty_course(accuracy[epoch - 1 : epoch], images=10, draws=40_000, seed=1)
        here = explorer.result.here
        apart.append([np.abs(here.tau_band - exact.tau_band).mean(),
                      np.abs(here.accuracy_band - exact.accuracy_band).mean()])  # fmt: skip
        low, high = here.tau_band[:, 0]
        low, high = f"{low:.1f}", f"{high:.1f}"
        assert f"about {low if low == high else f'{low} to {high}'}, 95% band" in explorer.sentence
    assert (np.mean(apart, 0) < (0.01, 0.006)).all(), "200 draws are 0.013 and 0.013 away"


def test_an_accuracy_is_dragged_and_held_at_every_epoch(explorer, runs):
    explorer.dragged(Drag("accuracy 9", 9.2, 0.8, True))
    assert explorer.held == {"3": 0.8} and explorer.result.accuracy[9] == 0.8 and not explorer.result.used
    changed = runs["CDB"].history["val_accuracy"].astype(np.float64)
    changed[:, 9] = 0.8
    assert explorer.result.course.weight == pytest.approx(metrics.difficulty_course(changed).weight)
    assert runs["CDB"].history["val_accuracy"][0, 9] == 0, "the run itself stays"
    explorer.dragged(Drag("accuracy 0", 0, -3.0, True))
    assert explorer.held == {"3": 0.8, "2": 0.0}
    assert "Held: class 3 at 80%, class 2 at 0%." in explorer.sentence
    explorer.dragged(Drag("epoch", 33.3, 1.0, True))
    assert explorer.values["epoch"] == 33 and explorer.result.accuracy[9] == 0.8
    explorer.reset()
    assert explorer.held == {} and explorer.result.used


def test_handles_marks_and_regions(explorer):
    handles = explorer.screen.frame.handles
    assert [one.name for one in handles] == ["epoch", *(f"accuracy {j}" for j in range(10))]
    assert (handles[0].region, handles[0].xlim, handles[1].axis) == (EXPONENT, (1, 60), "y")
    marks = explorer.marks(explorer.result)
    assert {mark.region for mark in marks} == {ACCURACY, WEIGHTS, EXPONENT, COURSE}
    assert marks[0].text.startswith("class 2 (114 images): accuracy 100%, about ")
    assert (handles[0].step, handles[1].step, handles[1].label) == (1, 0.01, "accuracy of class 2")
    assert len(explorer.regions()) == 4


def test_ties_and_equal_ends_are_told_as_such(explorer):
    explorer.set(epoch=1, images=1000)
    best, zero = explorer.result.accuracy.max(), (explorer.result.accuracy == 0).sum()
    assert zero > 1 and f"worst, {zero} classes (0%)" in explorer.sentence
    assert explorer.sentence.endswith(f", of {zero} classes.")
    assert f"({100 * best:.3g}%)" in explorer.sentence and "would give about 2.0, 95% band" in explorer.sentence
    explorer.set(epoch=30)
    assert "best, 5 classes (100%); worst, class 3 (60%)" in explorer.sentence


@pytest.mark.parametrize("images", [10, 250, 1000])
def test_weights_and_their_bands_stay_inside_the_axis_at_every_epoch(explorer, images):
    explorer.set(images=images)
    for epoch in (1, 13, 15, 17, 30, 60):
        explorer.set(epoch=epoch)
        top = explorer.axes[WEIGHTS].get_ylim()[1]
        assert max(explorer.result.weight.max(), explorer.result.here.weight_band.max()) < top
    assert images == 10 or top == 8


def test_controls_at_their_ends_and_a_background_that_rests(explorer):
    assert list(explorer.controls) == ["epoch", "tau_rule", "images", "training", "tau"]
    assert explorer.drive() == [] and explorer.error is None
    drawn = explorer.surface.backgrounds
    for epoch in (1, 20, 41, 60):
        explorer.set(epoch=epoch)
    assert explorer.surface.backgrounds == drawn
    assert explorer.controls["tau"].idle, "the exponent is given by the rule"


def test_state_and_code_give_the_same_picture_again(runs):
    one = lt.explore.feedback_dial(runs, 30, "sigmoid", 25, "plain", held={"3": 0.25})
    again = FeedbackDial.from_state(one.state, runs)
    assert again.picture() == one.picture() and again.sentence == one.sentence
    written = eval(one.as_code(), {"lt": lt, "runs": runs})
    assert written.sentence == one.sentence
    alone = lt.explore.feedback_dial(runs["CDB"], epoch=2)
    assert list(alone.runs) == ["cdb"] and alone.result.epoch == 2
    for opened in (one, again, written, alone):
        opened.close()


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("epoch", 0), ("epoch", 61), ("epoch", 2.5), ("epoch", True), ("tau_rule", "dynamic"), ("tau_rule", None),
        ("images", 0), ("images", 1001), ("images", "10"), ("training", "other"), ("tau", -0.1), ("tau", 2.5),
        ("tau", np.nan), ("held", {"cat": 0.5}), ("held", {"3": 1.5}), ("held", {"3": True}), ("held", [0.5]),
    ],
)  # fmt: skip
def test_the_explorer_refuses(runs, name, given):
    with pytest.raises(ValueError, match=f"^{name}.*: expected"):
        lt.explore.feedback_dial(runs, **{name: given})


def test_runs_that_do_not_fit_are_refused(runs):
    bare = dataclasses.replace(runs["plain"], history={"loss": runs["plain"].history["loss"]})
    photo = lt.recorded("cifar16", "ce", seed=0)[0]
    for wrong in (None, {}, [runs["CDB"]], {"a": 1}, {1: runs["CDB"]}, {"a": bare}, {"a": runs["CDB"], "b": photo}):
        with pytest.raises(ValueError, match="^runs.*: expected"):
            lt.explore.feedback_dial(wrong)
