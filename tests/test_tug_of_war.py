"""The tug of war: snapshots of a network in the plane, the split gradient, the picture, and what it can be told."""

import numpy as np
import pytest
import torch

import ltviz as lt
from ltviz.explore.screen import Click
from ltviz.explore.tug_of_war import ARROW, COURSE, EPOCHS, FIELD, FORCES, LONGEST, PLANE, TugOfWar
from ltviz.training.snapshots import take_snapshots


@pytest.fixture(scope="module")
def explorer():
    made = lt.explore.tug_of_war()
    yield made
    made.close()


@pytest.fixture
def still(explorer):
    """The explorer, back where it was afterwards."""
    yield explorer
    explorer.reset()


# --- the split gradient ----------------------------------------------------------------------------------------------
def test_pull_and_push_are_minus_the_gradient_of_cross_entropy():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(40, 3, generator=generator, dtype=torch.float64), torch.arange(40) % 5
    weight = torch.randn(5, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    gradient = torch.autograd.grad(torch.nn.functional.cross_entropy(x @ weight.T, y), weight)[0]
    found = lt.metrics.pull((x @ weight.T).detach(), x, y)
    assert found.net == pytest.approx(-gradient.numpy())
    assert found.by_class.sum(1) == pytest.approx(found.net)
    assert found.by_class[range(5), range(5)] == pytest.approx(found.own)


def test_pull_and_push_on_three_numbers():
    """Two images of class 0 at 1, one of class 1 at 2, all undecided: p = 1/2."""
    found = lt.metrics.pull(np.zeros((3, 2)), [[1.0], [1.0], [2.0]], [0, 0, 1])
    assert found.own == pytest.approx(np.array([[1 / 3], [1 / 3]]))  # 2 * .5 * 1 / 3 and .5 * 2 / 3
    assert found.others == pytest.approx(np.array([[-1 / 3], [-1 / 3]]))  # -.5 * 2 / 3 and -2 * .5 * 1 / 3
    assert lt.metrics.pull(np.array([[1e4, 0.0]]), [[1.0]], [0]).net == pytest.approx(np.zeros((2, 1)))


@pytest.mark.parametrize(
    ("logits", "features", "targets", "name"),
    [
        ([[0.0, np.nan]], [[1.0]], [0], "logits"),
        ([[0.0, 1.0]], [[np.inf]], [0], "features"),
        ([[0.0, 1.0]], [1.0], [0], "features"),
        ([[0.0, 1.0]], [[1.0]], [2], "targets"),
        ([[0.0, 1.0]], [[1.0]], [0.5], "targets"),
        ([[0.0, 1.0]], [[1.0], [2.0]], [0], "one row per image"),
        (np.zeros((0, 2)), np.zeros((0, 1)), np.zeros(0, int), "logits"),
        ("no", [[1.0]], [0], "logits"),
    ],
)
def test_pull_refuses(logits, features, targets, name):
    with pytest.raises(ValueError, match=name):
        lt.metrics.pull(logits, features, targets)


# --- snapshots -------------------------------------------------------------------------------------------------------
def test_the_last_snapshot_is_the_run_and_the_first_its_start():
    data = lt.digits_lt(ratio=20)
    film, run = take_snapshots("ce", data, (0, 1, 3)), lt.train("ce", data, epochs=3, progress=False)
    assert film.epochs.tolist() == [0, 1, 3]
    assert film.weight[-1] == pytest.approx(run.head_weight) and film.bias[-1] == pytest.approx(run.head_bias)
    assert film.test_features[-1] == pytest.approx(run.features, rel=1e-3, abs=1e-2)
    assert film.logits(2, film.test_features[2]) == pytest.approx(run.logits, rel=1e-3, abs=1e-3)
    assert np.abs(film.weight[0]).max() <= 1 / 8 and not np.allclose(film.weight[0], film.weight[1])
    assert (film.targets == data.targets.numpy()).all() and (film.counts == data.counts.numpy()).all()


def test_snapshots_decide_by_the_rules_of_the_methods():
    data = lt.digits_lt(ratio=20)
    film, run = take_snapshots("ce", data, [2]), lt.train("ce", data, epochs=2, progress=False)
    features = run.features.astype(float)
    assert film.logits(0, features, equal=True) == pytest.approx(run.posthoc("tau_norm", tau=1.0), rel=1e-3, abs=1e-3)
    adjusted = run.posthoc("logit_adjusted", tau=1.0)
    assert film.logits(0, features, prior=True) == pytest.approx(adjusted, rel=1e-3, abs=1e-2)


@pytest.mark.parametrize("at", [(), 3, (1, 1), (2, 1), (-1, 2), (0.5, 1), (True, 2), "12"])
def test_snapshots_refuse_epochs_that_do_not_rise(at):
    with pytest.raises(ValueError, match="at="):
        take_snapshots("ce", lt.digits_lt(), at)


def test_snapshots_refuse_a_cosine_classifier_and_epochs_after_the_end():
    with pytest.raises(ValueError, match="linear classifier"):
        take_snapshots("cosface", lt.digits_lt(), [1])
    with pytest.raises(ValueError, match="at=5"):
        take_snapshots("ce", lt.digits_lt(), [5], epochs=3)


# --- the explorer ----------------------------------------------------------------------------------------------------
def test_what_is_drawn_is_what_the_network_says(explorer):
    film, found = explorer.film("sgd"), explorer.result
    assert film.weight.shape == (EPOCHS + 1, 10, 2) and found.epoch == 20
    assert found.lengths == pytest.approx(np.linalg.norm(film.weight[20], axis=1))
    assert np.linalg.norm(found.tips, axis=1).max() == pytest.approx(LONGEST)
    force = lt.metrics.pull(film.logits(20, film.features[20]), film.features[20], film.targets)
    long = np.linalg.norm(force.by_class[9], axis=1)
    assert np.linalg.norm(found.arrows, axis=1) == pytest.approx(ARROW * long / long.max())  # there is room here
    assert found.pull[3] == pytest.approx(force.own[3] @ film.weight[20][3] / found.lengths[3])
    right = film.logits(20, film.test_features[20]).argmax(1) == film.test_targets
    assert found.course[20, 2] == pytest.approx(right[film.test_targets >= 7].mean())
    assert found.course[20, 0] == pytest.approx(right[film.test_targets < 3].mean())


def test_the_switches_change_the_decision_and_not_the_network(still):
    before = still.result
    still.set(equal_lengths=True)
    equal = still.result
    assert np.linalg.norm(equal.tips, axis=1) == pytest.approx(np.full(10, LONGEST))
    assert equal.lengths == pytest.approx(before.lengths) and equal.pull == pytest.approx(before.pull)
    assert not np.array_equal(equal.regions, before.regions) and equal.before == pytest.approx(before.course)
    still.set(equal_lengths=False, subtract_prior=True)
    film = still.film("sgd")
    decided = film.logits(20, film.test_features[20], prior=True).argmax(1)
    assert still.result.course[20, 2] == pytest.approx((decided == film.test_targets)[film.test_targets >= 7].mean())
    assert "log prior subtracted" in still.sentence and "as trained" in still.sentence


def test_the_chosen_vector_s_images_are_ringed_and_its_angle_to_them_is_told(still):
    film = still.film("sgd")
    still.set(vector="8", epoch=40)
    j = still.names.index("8")
    mine = film.features[40][film.targets == j]
    assert np.stack(still.own.get_data(), 1) == pytest.approx(mine / still.result.unit)
    vector, mean = film.weight[40][j], mine.mean(0)
    cosine = vector @ mean / np.linalg.norm(vector) / np.linalg.norm(mean)
    assert np.cos(np.radians(still.result.angle)) == pytest.approx(cosine)
    assert f"Vector of 8: {still.result.angle:.0f}° from the mean of its own images" in still.sentence


def test_words_follow_the_signs_of_pull_and_push(still):
    words = {1.0: "lengthen", -1.0: "shorten"}
    told = set()
    for epoch in (2, 20):
        still.set(vector=still.names[9], epoch=epoch)
        pull, push = still.result.pull[9], still.result.push[9]
        ours, others = (f"{words[np.sign(one)]} it by {abs(one):.3g}" for one in (pull, push))
        assert f"which {ours}; all others {others} (a step at learning rate 1)." in still.sentence
        bars = [one.text for one in still.marks(still.result) if one.region == FORCES][-2:]
        assert bars == [f"{still.names[9]} (5 images): own images {ours}, all others {others}"] * 2
        told |= {(ours.split()[0], others.split()[0])}
    assert told == {("shorten", "lengthen"), ("lengthen", "shorten")}


def test_a_vector_is_chosen_by_mouse_or_by_keyboard(still):
    assert still.marks(still.result)[0].text.endswith("Click or press Enter to see what pulls at it.")


def test_the_sentence_does_not_grow_with_a_rule(still):
    before = len(still.sentence)
    for equal, prior in ((True, False), (False, True), (True, True)):
        still.set(equal_lengths=equal, subtract_prior=prior)
        assert len(still.sentence) <= before + 6


def test_class_colours_are_legible_on_white_and_on_a_dark_page(explorer):
    from ltviz.plots.theme import darken

    def luminance(rgb):
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    pixels = np.rint(255 * explorer.colours).astype(np.uint8)[None]
    dark, page = darken(pixels)[0] / 255, darken(np.full((1, 1, 3), 255, np.uint8))[0, 0] / 255
    assert (1.05 / (luminance(explorer.colours) + 0.05)).min() >= 4.0
    assert ((luminance(dark) + 0.05) / (luminance(page) + 0.05)).min() >= 4.0


def test_no_arrow_leaves_the_plane_and_all_keep_one_scale(still):
    for vector in still.names:
        still.set(vector=vector, equal_lengths=True, epoch=60)
        found, film = still.result, still.film("sgd")
        ends = found.tips[found.chosen] + found.arrows
        assert np.abs(ends).max() < FIELD
        long = np.linalg.norm(found.arrows, axis=1)
        force = lt.metrics.pull(film.logits(60, film.features[60]), film.features[60], film.targets)
        true = np.linalg.norm(force.by_class[found.chosen], axis=1)
        assert long / long.max() == pytest.approx(true / true.max()) and 0.2 < long.max() <= ARROW + 1e-9


def test_a_click_chooses_a_vector(still):
    x, y = still.result.tips[4]
    still._clicked(Click(x, y, PLANE, None))
    assert still.values["vector"] == still.names[4] and still.result.chosen == 4
    still._clicked(Click(1.2, 0.0, FORCES, None))
    assert still.result.chosen == 1
    still._clicked(Click(50.0, 0.5, COURSE, None))
    assert still.result.chosen == 1


def test_the_line_in_the_chart_drags_the_epoch(still):
    (handle,) = still.handles(still.result)
    assert (handle.name, handle.x, handle.axis, handle.region) == ("epoch", 20, "x", COURSE)
    assert "epoch" in still.screen.frame.handles[0].label


@pytest.fixture(scope="module")
def small():
    made = lt.explore.tug_of_war(lt.digits_lt(ratio=5, n_max=20), 4)
    yield made
    made.close()


def test_it_drives(small):
    assert small.drive() == [] and sorted(small.snapshots) == ["adam", "sgd"]


def test_it_comes_back_from_its_state_and_from_its_code(small):
    small.set(subtract_prior=True, vector="0")
    again = type(small).from_state(small.state, small.data)
    assert again.values == small.values and again.sentence == small.sentence
    again.close()
    data = small.data
    copy = eval(small.as_code(), {"lt": lt, "data": data})
    assert copy.state == small.state
    copy.close()


def test_a_frame_draws_no_background_again(still):
    still._frame(still.values)
    before = still.surface.backgrounds
    for epoch in (3, 40, 90):
        still._frame({**still.values, "epoch": epoch})
    assert still.surface.backgrounds == before


def test_the_epoch_is_asked_for_in_words(small):
    assert small.as_code().startswith("lt.explore.tug_of_war(")
    assert small.result.epoch == 4 and small.sentence.startswith("Epoch 4, ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"epoch": 101}, "epoch=101"),
        ({"epoch": 2.5}, "epoch=2.5"),
        ({"epoch": True}, "epoch=True"),
        ({"equal_lengths": 1}, "equal_lengths=1"),
        ({"subtract_prior": "yes"}, "subtract_prior='yes'"),
        ({"vector": "12"}, "vector='12'"),
        ({"optimizer": "lbfgs"}, "optimizer='lbfgs'"),
        ({"data": [1, 2]}, "data="),
    ],
)
def test_wrong_arguments_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        lt.explore.tug_of_war(**arguments)


def test_a_wrong_state_is_refused():
    with pytest.raises(ValueError, match="no control 'epohc'.*epoch"):
        TugOfWar.from_state({"epohc": 3})
    with pytest.raises(ValueError, match="state="):
        TugOfWar.from_state(3)


def test_equal_counts_make_no_groups_and_all_classes_are_one():
    explorer = lt.explore.tug_of_war(lt.digits_lt(ratio=1))
    result = explorer.result
    assert explorer.error is None and list(explorer.groups) == ["all"] and result.course.shape[1] == 1
    assert "Accuracy: all " in explorer.say(result) and "frequent" not in explorer.say(result)
    explorer.close()
