"""The explorer of the wall: photographs right or wrong as tau and the world move, and who pays for it."""

import time
from types import SimpleNamespace

import numpy as np
import pytest

import ltviz as lt
from ltviz import metrics
from ltviz.explore.wall import ALONG, PAYS, RIGHT, SHARES, TAUS, THICK, THIN, WALL, WRONG


@pytest.fixture(autouse=True)
def close_all():
    """Each test leaves no explorer open."""
    yield
    for explorer in lt.explore.registry():
        explorer.close()


def made(n=300, k=5, seed=0, **changes):
    """A run with numbers of its own: n test images in k classes, whose counts do not fall in the order of classes."""
    rng = np.random.default_rng(seed)
    targets = np.arange(n) % k
    counts = np.array([20, 900, 5, 300, 80, 40, 60])[:k]
    logits = rng.normal(size=(n, k)) + 1.2 * np.eye(k)[targets] + 0.8 * np.log(counts / counts.sum())
    logits = logits.astype(np.float32)
    fields = {
        "method": "ce", "settings": {}, "data": {}, "recipe": {}, "seed": seed, "history": {}, "targets": targets,
        "counts": counts, "class_names": [f"class {j}" for j in range(k)],
        "confusion": metrics.confusion(targets, logits.argmax(1), k), "logits": logits,
        "head_weight": np.zeros((k, 2), np.float32), "head_bias": None,
    }  # fmt: skip
    return lt.Run(**fields | changes)


def pictures(run, m=30, **changes):
    images = np.random.default_rng(1).integers(0, 255, (m, 8, 8, 3), dtype=np.uint8)
    names = [run.class_names[j] for j in run.targets[:m]]
    return SimpleNamespace(**{"images": images, "names": names} | changes)


@pytest.fixture(scope="module")
def run():
    return made()


@pytest.fixture(scope="module")
def photographs(run):
    return pictures(run)


def answers(run, m, tau):
    """Adjusted scores of the first m test images, in plain numpy."""
    return run.logits[:m].astype(float) - tau * np.log(run.counts / run.counts.sum())


def told(explorer, region):
    frame = explorer.screen.frame
    return [point for point in frame.points if point.region == region]


# --- what is answered ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tau", [0.0, 0.7, 1.0, 3.0])
def test_frames_say_which_photographs_are_right(run, photographs, tau):
    explorer = lt.explore.wall(run, photographs, tau=tau)
    order, result = explorer.order, explorer.result
    expected, plain = (answers(run, 30, one).argmax(1)[order] for one in (tau, 0.0))
    right = expected == run.targets[:30][order]
    assert (result.answered == expected).all() and (result.right == right).all()
    assert (result.changed == (expected != plain)).all() and bool(result.changed.any()) == (tau > 0)
    import matplotlib.colors

    colours = [matplotlib.colors.to_hex(one) for one in explorer.frames.get_colors()]
    assert colours == [(RIGHT if one else WRONG).lower() for one in right]
    assert list(explorer.frames.get_linewidths()) == [THICK if one else THIN for one in result.changed]
    assert len(explorer.crosses.get_offsets()) == (~right).sum()  # the second cue
    before = plain == run.targets[:30][order]
    since = f" (since τ = 0: {(right & ~before).sum()} gained, {(before & ~right).sum()} lost)" if tau else ""
    assert f"{right.sum()} of 30 photographs are right{since}." in explorer.sentence


def test_probabilities_are_those_of_the_adjusted_scores(run, photographs):
    explorer = lt.explore.wall(run, photographs, tau=1.0)
    scores = np.exp(answers(run, 30, 1.0)[explorer.order])
    assert explorer.result.p == pytest.approx(scores / scores.sum(1, keepdims=True), abs=1e-6)


def test_rows_are_classes_by_count_and_hold_their_photographs(run, photographs):
    explorer = lt.explore.wall(run, photographs)
    assert explorer.names == ["class 1", "class 3", "class 4", "class 0", "class 2"]
    assert [explorer.rank[y] for y in explorer.down] == list(explorer.targets)
    assert list(explorer.across[explorer.down == 2]) == list(range(6))
    shown = [image.get_array()[..., :3] for image in explorer.axes[WALL].images]
    assert all((one == photographs.images[i]).all() for one, i in zip(shown, explorer.order, strict=True))


def test_accuracy_at_deployment_and_its_best_tau(run, photographs):
    explorer = lt.explore.wall(run, photographs, tau=0.5, deployment=-1.0)
    occurs = (1 / run.counts) / (1 / run.counts).sum()
    curve = []
    for tau in TAUS:
        right = answers(run, 300, tau).argmax(1) == run.targets
        curve.append(sum(occurs[j] * right[run.targets == j].mean() for j in range(run.k)))
    result = explorer.result
    assert result.occurs == pytest.approx(occurs) and result.curve == pytest.approx(np.array(curve))
    assert result.deployed == pytest.approx(curve[10])
    assert result.best == (pytest.approx(TAUS[int(np.argmax(curve))]), pytest.approx(max(curve)))
    assert [bar.get_width() for bar in explorer.bars] == pytest.approx(occurs[explorer.rank])
    assert "Where class frequency is proportional to n^-1, n being the training images" in explorer.sentence
    assert f"{100 * curve[10]:.1f}%" in explorer.sentence


@pytest.mark.parametrize(("deployment", "tau"), [(1.0, 0.0), (0.25, 0.75), (0.0, 1.0), (-1.0, 2.0)])
def test_follow_takes_the_tau_of_bayes_rule(run, photographs, deployment, tau):
    explorer = lt.explore.wall(run, photographs, tau=0.3, deployment=deployment, follow=True)
    assert explorer.result.tau == pytest.approx(tau)
    assert (explorer.result.answered == answers(run, 30, tau).argmax(1)[explorer.order]).all()
    assert explorer.controls["tau"].idle == "only for follow = False"
    assert explorer.screen.frame.handles == []  # nothing to drag: tau is given
    box, slider = explorer.controls["tau"].parts
    assert explorer.bayes in explorer.controls["tau"].widget.children
    assert explorer.bayes.value == f"τ = 1 - deployment = {tau:g}"  # the tau in force, not the one of the box
    assert [one.layout.display for one in (explorer.bayes, box, slider)] == ["", "none", "none"]
    explorer.set(deployment=0.5)
    assert explorer.bayes.value == "τ = 1 - deployment = 0.5"
    assert explorer.as_code() == "lt.explore.wall(run, lt.study.photographs(), deployment=0.5, follow=True)"
    explorer.set(follow=False)
    assert explorer.result.tau == 0.3 and explorer.controls["tau"].idle == ""
    assert [one.layout.display for one in (explorer.bayes, box, slider)] == ["none", "", ""] and box.value == 0.3


def test_who_pays_is_the_frontier_with_the_present_tau_and_the_means_of_others(run, photographs):
    others = {"another": [made(seed=1), made(seed=2)], "one more": [made(seed=3)]}
    explorer = lt.explore.wall(run, photographs, others, tau=1.0)
    line = metrics.frontier(run, [1.0])
    assert explorer.pays.here.get_xdata() == pytest.approx(
        line.head
    ) and explorer.pays.here.get_ydata() == pytest.approx(line.tail)
    means = [metrics.shot_accuracy(one) for one in others["another"]]
    assert explorer.pays.dots[0][:2] == pytest.approx(
        [np.mean([one[key] for one in means]) for key in ("head", "tail")]
    )
    assert "another, mean of 2 seeds" in told(explorer, PAYS)[0].text
    assert explorer.as_code() == (
        "lt.explore.wall(run, lt.study.photographs(), others, tau=1.0, deployment=0.0, follow=False)"
    )


# --- pointing, dragging, sweeping ------------------------------------------------------------------------------------


def test_pointing_at_a_photograph_says_class_answer_and_three_probabilities(run, photographs):
    explorer = lt.explore.wall(run, photographs, tau=2.0)
    points = told(explorer, WALL)
    assert len(points) == 30 and len(told(explorer, SHARES)) == 5 and len(told(explorer, ALONG)) == 1
    for i, point in enumerate(points):
        first, second = point.text.split("\n")
        true, answered = explorer.targets[i], explorer.result.answered[i]
        assert first.startswith(f"true class {true}, answered class {answered} (")
        assert ("right" in first) == (true == answered) and ("at τ = 0" in first) == bool(explorer.result.changed[i])
        three = np.argsort(-explorer.result.p[i], kind="stable")[:3]
        assert second == ", ".join(f"class {j} {100 * explorer.result.p[i, j]:.1f}%" for j in three)


def test_the_dot_on_the_curve_is_dragged_to_a_step_of_tau(run, photographs):
    explorer = lt.explore.wall(run, photographs)
    (handle,) = explorer.screen.frame.handles
    assert (handle.name, handle.axis, handle.xlim, handle.region) == ("tau", "x", (0.0, 3.0), ALONG)
    explorer.screen._receive({"kind": "drag", "name": "tau", "x": 1.234, "y": 0.1, "done": True}, [])
    assert explorer.values["tau"] == pytest.approx(1.25) and explorer.error is None
    assert explorer.result.tau == pytest.approx(1.25)


def test_photographs_are_drawn_once_and_keep_their_colours(run, photographs):
    explorer = lt.explore.wall(run, photographs)
    drawn = explorer.surface.backgrounds
    pictures = [explorer._frame({"tau": tau, "deployment": 0.5, "follow": False}).image for tau in (0.0, 1.0, 2.0)]
    assert explorer.surface.backgrounds == drawn and (pictures[0] != pictures[2]).any()
    boxes = explorer.screen.frame.photos
    assert len(boxes) == 30
    height, width = pictures[0].shape[:2]
    left, top, right, bottom = boxes[0]
    assert right - left == pytest.approx(0.78 * 410 / 760 / 6, abs=0.01)
    middle = pictures[0][round(height * (top + bottom) / 2), round(width * (left + right) / 2), :3].astype(int)
    near = photographs.images[explorer.order[0]][3:5, 3:5].reshape(-1, 3).astype(int)
    assert np.abs(near - middle).sum(1).min() <= 6


def test_a_sweep_of_tau_is_fast(run, photographs):
    explorer = lt.explore.wall(run, photographs)
    taken = []
    for tau in np.linspace(0, 3, 15):
        start = time.process_time()
        explorer._frame({"tau": float(tau), "deployment": 0.0, "follow": False})
        taken.append(time.process_time() - start)
    assert min(taken) < 0.06


def test_every_control_can_be_driven_and_the_state_opens_the_same_picture(run, photographs):
    explorer = lt.explore.wall(run, photographs, tau=0.35, deployment=-0.4)
    assert explorer.drive() == [] and explorer.error is None
    again = type(explorer).from_state(explorer.state, run, photographs)
    assert again.state == explorer.state == {"tau": 0.35, "deployment": -0.4, "follow": False}
    assert again.sentence == explorer.sentence
    called = eval(explorer.as_code().replace("lt.study.photographs()", "photographs"), globals() | locals())
    assert called.sentence == explorer.sentence


def test_the_recorded_network_on_its_photographs():
    run, photographs = lt.recorded("cifar16", "ce", seed=1)[0], lt.study.photographs()
    explorer = lt.explore.wall(run, photographs, tau=1.0)
    right = answers(run, 100, 1.0).argmax(1) == run.targets[:100]
    assert len(explorer.screen.frame.photos) == 100 and explorer.result.right.sum() == right.sum()
    assert (np.bincount(explorer.down) == 10).all()


# --- arguments -------------------------------------------------------------------------------------------------------


def test_a_run_without_usable_logits_is_refused(run, photographs):
    with pytest.raises(ValueError, match="run=.*expected a run, from"):
        lt.explore.wall("ce", photographs)
    with pytest.raises(ValueError, match="keeps the logits"):
        lt.explore.wall(made(logits=None), photographs)
    broken = made()
    broken.logits[4, 2] = np.nan
    with pytest.raises(ValueError, match="logits hold NaN or infinity"):
        lt.explore.wall(broken, photographs)


@pytest.mark.parametrize(
    "changes",
    [
        {"images": np.zeros((30, 8, 8, 3))}, {"images": np.zeros((30, 8, 8), np.uint8)}, {"images": None},
        {"names": None}, {"names": ["class 0"]}, {"images": np.zeros((0, 8, 8, 3), np.uint8), "names": []},
    ],
)  # fmt: skip
def test_photographs_that_are_none_are_refused(run, changes):
    with pytest.raises(ValueError, match="photographs=.*expected photographs with .images"):
        lt.explore.wall(run, pictures(run, **changes))
    with pytest.raises(ValueError, match="photographs=.*expected photographs"):
        lt.explore.wall(run, 7)


def test_photographs_of_other_images_are_refused(run, photographs):
    names = list(photographs.names)
    names[3], names[4] = names[4], names[3]
    with pytest.raises(ValueError, match="number 3 is called 'class 4'.*is of class 'class 3'"):
        lt.explore.wall(run, pictures(run, names=names))
    with pytest.raises(ValueError, match="room for 20 classes with 12 photographs"):
        lt.explore.wall(run, pictures(run, m=100))
    with pytest.raises(ValueError, match="m at most 300"):
        lt.explore.wall(run, SimpleNamespace(images=np.zeros((301, 8, 8, 3), np.uint8), names=["class 0"] * 301))


@pytest.mark.parametrize(
    ("others", "match"),
    [
        (7, "others=7: expected a dict"),
        ([], "expected a dict"),
        ({"x": []}, r"others\['x'\]"),
        ({"x": "ce"}, r"others\['x'\]"),
        ({"": [None]}, "label in others"),
        ({3: [None]}, "label in others"),
        ({str(i): [None] for i in range(7)}, "at most 6 labels"),
    ],
)
def test_other_methods_that_are_none_are_refused(run, photographs, others, match):
    with pytest.raises(ValueError, match=match):
        lt.explore.wall(run, photographs, others)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"tau": 3.1}, "tau=3.1"), ({"tau": "1"}, "tau='1'"), ({"tau": True}, "tau=True"), ({"tau": np.nan}, "tau=nan"),
        ({"deployment": 1.5}, "deployment=1.5"), ({"deployment": None}, "deployment=None"), ({"follow": 1}, "follow=1"),
        ({"follow": "yes"}, "follow='yes'"),
    ],
)  # fmt: skip
def test_controls_out_of_range_are_refused(run, photographs, values, match):
    with pytest.raises(ValueError, match=match):
        lt.explore.wall(run, photographs, **values)
    with pytest.raises(ValueError, match="no control 'prior'"):
        lt.explore.wall(run, photographs).set(prior=1.0)


def test_two_classes_have_no_thirds_and_still_a_wall():
    two = made(k=2, n=40)
    explorer = lt.explore.wall(two, pictures(two, m=10), tau=1.0)
    assert explorer.error is None and explorer.drive() == []


def test_equal_counts_have_no_frequent_and_no_rare_classes():
    equal = made(k=4, n=40)
    equal.counts = np.full(4, 7)
    with pytest.raises(ValueError, match="all its classes have the same number of training images.*long-tailed data"):
        lt.explore.wall(equal, pictures(equal, m=10))
