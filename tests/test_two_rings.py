"""The two rings: lengths by class, snapshots with the numbers of a loss, the picture, and what it can be told."""

import itertools
import re

import numpy as np
import pytest
import torch

import ltviz as lt
from ltviz.explore.screen import Click, Drag
from ltviz.explore.two_rings import (
    EPOCHS,
    FAR,
    FEATURES,
    LARGE,
    OF_FEATURES,
    ON_FEATURES,
    ON_VECTORS,
    PAD,
    SMALL,
    VECTORS,
    TwoRings,
    away,
    loss_name,
)
from ltviz.methods.darl import darl_weights
from ltviz.training.snapshots import take_snapshots


@pytest.fixture(scope="module")
def explorer():
    made = lt.explore.two_rings(epoch=EPOCHS)
    yield made
    made.close()


@pytest.fixture
def still(explorer):
    """The explorer, back where it was afterwards; what it has trained is kept."""
    yield explorer
    explorer.reset()


# --- lengths ---------------------------------------------------------------------------------------------------------
def test_lengths_by_class_and_their_spread():
    x, y = np.array([[3.0, 4.0], [0.0, 1.0], [6.0, 8.0]]), np.array([0, 2, 0])
    found = lt.metrics.class_lengths(x, y, 4)
    assert found == pytest.approx([7.5, np.nan, 1.0, np.nan], nan_ok=True)
    assert lt.metrics.spread([1.0, 3.0]) == pytest.approx(0.5) and lt.metrics.spread([2.0, 2.0]) == 0
    assert lt.metrics.spread(found) == pytest.approx(3.25 / 4.25)
    assert np.isnan(lt.metrics.spread([])) and np.isnan(lt.metrics.spread([0.0, 0.0]))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([[1.0, np.nan]], [0], 1), "features="),
        (([1.0, 2.0], [0, 0], 1), "features="),
        (([[1.0]], [0, 0], 1), "one row per image"),
        (([[1.0]], [1], 1), "targets="),
        (([[1.0]], [0.5], 1), "targets="),
        (([[1.0]], [0], 0), "k=0"),
        (([[1.0]], [0], True), "k=True"),
    ],
)
def test_class_lengths_refuse(arguments, words):
    with pytest.raises(ValueError, match=words):
        lt.metrics.class_lengths(*arguments)


@pytest.mark.parametrize("lengths", [[-1.0], [np.inf], "no", [[1.0]], None, [True]])
def test_spread_refuses(lengths):
    with pytest.raises(ValueError, match="lengths="):
        lt.metrics.spread(lengths)


# --- snapshots -------------------------------------------------------------------------------------------------------
def test_snapshots_keep_the_numbers_of_the_loss():
    data = lt.digits_lt(ratio=5, n_max=20)
    film = take_snapshots("dual_ring", data, (0, 1, 2), weight_strength=1.0)
    assert set(film.loss_numbers) == {"feature_target", "weight_target", "initialised"}
    assert film.loss_numbers["initialised"].tolist() == [0, 1, 1]
    radius = film.loss_numbers["weight_target"]
    start = np.linalg.norm(film.weight[0], axis=1).mean()
    assert radius[0] == 1.5 and abs(radius[1] - start) < 0.1 * start and radius[2] != radius[1]
    fixed = take_snapshots("dual_ring", data, (0, 2), target="fixed", feature_target=7.0)
    assert fixed.loss_numbers["feature_target"].tolist() == [7, 7]
    assert take_snapshots("ce", data, [1]).loss_numbers == {}


# --- the picture -----------------------------------------------------------------------------------------------------
def test_what_is_drawn_is_what_the_network_says(still):
    found, film = still.result, still.film(0.0, "learned", 0.0, 0.0, 4.0, 1.5)
    shots = film.shots
    assert shots.features.shape == (EPOCHS + 1, len(still.data), 2) and found.film is film and found.epoch == EPOCHS
    lengths = np.linalg.norm(shots.features[EPOCHS], axis=1)
    drawn = np.asarray(still.dots.get_offsets())
    assert np.linalg.norm(drawn, axis=1) == pytest.approx(np.sqrt(lengths / FAR), abs=1e-9)
    assert drawn[5] / np.linalg.norm(drawn[5]) == pytest.approx(shots.features[EPOCHS][5] / lengths[5])
    mine = lengths[still.targets == 3].mean()
    assert film.of_features[EPOCHS, 3] == pytest.approx(mine)
    assert still.of_features.get_segments()[3][EPOCHS, 1] == pytest.approx(mine / film.of_features[EPOCHS].mean())
    assert film.over_vectors[EPOCHS] == pytest.approx(lt.metrics.spread(np.linalg.norm(shots.weight[EPOCHS], axis=1)))
    drawn = still.labels.get_window_extent(still.surface.figure.canvas.get_renderer())
    assert drawn.width < 0.8 * still.discs[1].get_window_extent().width, "discs are as large as texts, not as data"
    assert still.labels.get_offsets()[[4, 5]] == pytest.approx(shots.weight[EPOCHS][[2, 2]])
    labels, tips = np.asarray(still.labels.get_offsets()[::2]), shots.weight[EPOCHS]
    gaps = [np.linalg.norm(one - other) for one, other in itertools.combinations(labels, 2)]
    assert min(gaps) >= still.room > min(np.linalg.norm(a - b) for a, b in itertools.combinations(tips, 2))
    assert np.linalg.norm(labels - tips, axis=1).max() < still.room, "none far from its vector"
    assert np.isnan(found.radii).all() and not len(still.rings[0].get_xdata())


def test_each_ring_levels_its_own_lengths(still):
    plain = still.result.film
    still.set(features=1.0)
    ring = still.result.film
    still.set(features=0.0, vectors=10.0, target="mean")
    up = still.result.film
    still.set(features=1.0, target="learned")
    both = still.result.film
    assert plain.over_features[-1] > 0.4 and plain.over_vectors[-1] > 0.2
    assert ring.over_features[-1] < 0.1 and ring.over_vectors[-1] > plain.over_vectors[-1]
    assert up.over_vectors[-1] < 0.02 and up.over_features[-1] > 0.4
    assert both.over_features[-1] < 0.1 and both.over_vectors[-1] < 0.02


def test_the_parts_are_the_library_s_methods(still):
    """Strengths of 0 leave ring loss, and DARL, as the methods of these names train them."""
    import dataclasses

    recipe = dataclasses.replace(lt.RECIPES["digits"], name="plane", model="plane", epochs=EPOCHS, lr=0.05)
    ring = take_snapshots("ring", still.data, (0, EPOCHS), recipe=recipe, strength=0.1)
    found = still.film(0.0, "learned", 0.1, 0.0, 4.0, 1.5)
    assert found.shots.weight[-1] == pytest.approx(ring.weight[-1], rel=1e-3, abs=1e-4)
    assert found.radii[-1, 0] == pytest.approx(ring.loss_numbers["radius"][-1], rel=1e-3)
    darl = take_snapshots("darl", still.data, [EPOCHS], recipe=recipe, class_strength=0.9, sample_strength=0.9)
    assert still.film(0.9, "learned", 0.0, 0.0, 4.0, 1.5).shots.weight[-1] == pytest.approx(darl.weight[-1], rel=1e-3)


def test_a_dot_is_as_large_as_the_weight_of_its_image(still):
    still.set(darl=0.9)
    found, shots = still.result, still.result.film.shots
    parts = (torch.from_numpy(one) for one in (shots.features[EPOCHS], shots.weight[EPOCHS], still.targets))
    weight = darl_weights(*parts, 0.9, 0.9).numpy()
    assert found.weight == pytest.approx(weight) and weight.max() > 5 * weight.min()
    assert still.dots.get_sizes() == pytest.approx(SMALL + LARGE * weight)
    rare = np.isin(still.targets, [7, 8, 9])
    assert found.share == pytest.approx(weight[rare].sum() / weight.sum()) and found.images == pytest.approx(
        rare.mean()
    )
    assert "6.0% of the images" in still.sentence and "DARL" in still.sentence
    still.set(darl=0.0)
    assert (still.result.weight == 1).all() and "of the weight" not in still.sentence


def test_what_the_radii_are(still):
    still.set(features=1.0, vectors=10.0)
    film, shots = still.result.film, still.result.film.shots
    assert film.radii[0] == pytest.approx(
        [np.linalg.norm(shots.features[0], axis=1).mean(), np.linalg.norm(shots.weight[0], axis=1).mean()]
    )
    assert film.radii[-1] == pytest.approx([shots.loss_numbers[f"{one}_target"][-1] for one in ("feature", "weight")])
    assert np.hypot(*still.rings[1].get_data()) == pytest.approx(np.full(91, film.radii[-1, 1]))
    assert np.hypot(*still.rings[0].get_data()) == pytest.approx(np.full(91, away(film.radii[-1, 0])))
    still.set(target="mean")
    mean = still.result.film
    assert mean.radii[-1, 1] == pytest.approx(np.linalg.norm(mean.shots.weight[-1], axis=1).mean())


def test_strengths_of_zero_are_not_trained_again(still):
    before = len(still.films)
    still.set(target="fixed", alpha=10.0, beta=2.0)
    still.set(target="mean")
    assert len(still.films) == before and still.error is None


@pytest.mark.parametrize(
    ("strengths", "target", "name"),
    [
        ((0, 0, 0), "learned", "cross-entropy"),
        ((1, 0, 0), "learned", "ring loss"),
        ((0, 1, 0), "mean", "UP"),
        ((0, 1, 0), "learned", "UP (learned)"),
        ((1, 1, 0), "fixed", "dual ring loss"),
        ((0, 0, 0.5), "mean", "DARL"),
        ((1, 0, 0.5), "learned", "DARL and ring loss"),
        ((1, 1, 0.5), "learned", "Dual Loss"),
    ],
)
def test_losses_have_their_names(strengths, target, name):
    assert loss_name(*strengths, target) == name


def test_what_is_pointed_at_names_the_lengths_of_its_own_panel(still):
    found = {mark.region: mark for mark in still.marks(still.result)[:4]}  # of the most frequent class
    film = still.result.film
    assert found[VECTORS].text.endswith(f"vector {lt.plots.picture.number(film.of_vectors[EPOCHS, 0])} long")
    assert found[FEATURES].text.endswith(
        f"features {lt.plots.picture.number(film.of_features[EPOCHS, 0])} long on average"
    )
    drawn = np.asarray(still.dots.get_offsets())[still.targets == 0]
    assert (found[FEATURES].x, found[FEATURES].y) == pytest.approx(tuple(drawn.mean(0)))
    assert len(still.marks(still.result)) == 40


def test_no_curve_leaves_its_chart(still):
    for name in ({}, {"vectors": 10.0}, {"features": 0.01}, {"features": 1.0}, {"features": 1.0, "vectors": 10.0}):
        still.reset()
        still.set(**name)
        for ax, lines in zip(still.charts, (still.of_features, still.of_vectors), strict=True):
            assert np.stack(lines.get_segments())[..., 1].max() < ax.get_ylim()[1]


# --- dragging --------------------------------------------------------------------------------------------------------
def test_a_ring_is_dragged_to_another_radius(still):
    still.set(features=1.0, vectors=10.0)
    learned = still.result.film.radii[-1]
    handles = {one.name: one for one in still.handles(still.result)}
    assert handles["alpha"].x == pytest.approx(away(learned[0])) and handles["alpha"].region == FEATURES
    assert handles["beta"].x == pytest.approx(learned[1]) and handles["beta"].region == VECTORS
    still.dragged(Drag("alpha", float(away(10.0)), 0.0, True))
    assert still.values["target"] == "fixed" and still.values["alpha"] == pytest.approx(10.0, rel=0.13)
    assert still.values["beta"] == pytest.approx(learned[1], rel=0.13), "the other ring stays where it was"
    assert still.result.film.of_features[-1].mean() == pytest.approx(10.0, rel=0.15)
    still.dragged(Drag("beta", 99.0, 0.0, True))
    assert still.values["beta"] == 3.0


def test_the_map_sets_both_strengths(still):
    still.dragged(Drag("strengths", 1.2, 0.4, False))
    still.dragged(Drag("strengths", 2.2, 0.9, True))
    assert (still.values["features"], still.values["vectors"]) == (ON_FEATURES[2], ON_VECTORS[1])
    still._clicked(Click(-0.3, 3.4, PAD, None))
    assert (still.values["features"], still.values["vectors"]) == (0.0, 10.0)
    assert still.told.get_text() == "UP (learned)" and still.stand.get_data() == ([0], [3])
    still._clicked(Click(0.0, 0.0, VECTORS, None))
    assert still.values["vectors"] == 10.0


def test_arrow_keys_lead_from_cell_to_cell_and_to_the_ends_of_the_map(still):
    (handle,) = [one for one in still.handles(still.result) if one.name == "strengths"]
    assert handle.step == ((0.0, 1.0, 2.0, 3.0),) * 2 and handle.xlim == handle.ylim == (0.0, 3.0)
    for at in ((1.0, 0.0), (3.0, 3.0), (0.0, 0.0), (0.0, 2.0), (2.0, 1.0)):  # Home and End are more than one cell away
        still.dragged(Drag("strengths", *at, True))
        (handle,) = [one for one in still.handles(still.result) if one.name == "strengths"]
        assert (handle.x, handle.y) == at
        assert (still.values["features"], still.values["vectors"]) == (ON_FEATURES[int(at[0])], ON_VECTORS[int(at[1])])


def test_a_sweep_that_was_drawn_in_between_moves_no_strength(still):
    still.set(features=0.1, vectors=1.0)
    still._frame({**still.values, "features": 1.0, "vectors": 10.0})
    found = {one.name: one for one in still.handles(still.result)}
    assert (found["strengths"].x, found["strengths"].y) == (2, 2), "not where the artist was left"
    still.dragged(Drag("strengths", 0.0, 0.0, True))
    assert (still.values["features"], still.values["vectors"]) == (0.0, 0.0)


def test_arrow_keys_lead_a_ring_from_radius_to_radius(still):
    still.set(features=1.0, vectors=10.0)
    radii = still.result.film.radii[-1]
    found = {one.name: one for one in still.handles(still.result)}
    assert [found[name].told for name in ("alpha", "beta")] == [f"radius {lt.plots.picture.number(r)}" for r in radii]
    scales = {"alpha": away, "beta": float}
    for name, ends in (("alpha", (1.0, 32.0)), ("beta", (0.3, 3.0))):
        stops, at = found[name].step, scales[name]
        assert (stops[0], stops[-1]) == found[name].xlim == pytest.approx([at(one) for one in ends])
        assert (np.diff(stops) > 0).all() and len(stops) == len(still.controls[name].sweep().values)
        for stop, radius in ((stops[0], ends[0]), (stops[1], still.controls[name].sweep().values[1]),
                             (stops[-1], ends[1]), (stops[-2], still.controls[name].sweep().values[-2])):  # fmt: skip
            still.dragged(Drag(name, stop, 0.0, True))
            assert still.values[name] == pytest.approx(radius) and still.values["target"] == "fixed"
            there = {one.name: one for one in still.handles(still.result)}[name]
            assert there.x == stop, "also its last digit: the next key leads on from here"
            assert there.told == f"radius {lt.plots.picture.number(radius)}"


def test_the_ring_that_is_not_dragged_keeps_a_radius_that_was_typed(still):
    still.set(features=1.0, vectors=10.0, target="fixed", alpha=7.5, beta=1.5)
    still.dragged(Drag("beta", 1.19, 0.0, True))
    assert (still.values["alpha"], still.values["beta"]) == (7.5, 1.19)


def test_the_line_in_the_chart_drags_the_epoch(still):
    handles = {one.name: one for one in still.handles(still.result)}
    assert set(handles) == {"epoch", "strengths"}, "no ring, nothing to drag it by"
    assert (handles["epoch"].x, handles["epoch"].region) == (EPOCHS, OF_FEATURES)
    still.dragged(Drag("epoch", 11.8, 0.0, True))
    assert still.values["epoch"] == 12 and still.sentence.startswith("Epoch 12, Cross-entropy.")
    assert handles["epoch"].step == 1.0


def test_the_sentence_names_the_classes_with_the_longest_and_the_shortest(still):
    film = still.result.film
    for found, rows in zip(re.findall(r"\(longest: (\S+) with (\S+), shortest: (\S+) with ([^)]+)\)", still.sentence),
                           (film.of_features[EPOCHS], film.of_vectors[EPOCHS]), strict=True):  # fmt: skip
        told = lt.plots.picture.number
        names = still.names[rows.argmax()], told(rows.max()), still.names[rows.argmin()], told(rows.min())
        assert found == names


def test_a_frame_draws_no_background_again(still):
    still._frame(still.values)
    before = still.surface.backgrounds
    for epoch in (3, 40):
        still._frame({**still.values, "epoch": epoch})
    still._frame({**still.values, "features": 1.0})
    assert still.surface.backgrounds == before


# --- from outside ----------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def small():
    made = lt.explore.two_rings(lt.digits_lt(ratio=5, n_max=10), 4, vectors=10.0)
    yield made
    made.close()


def test_it_drives(small):
    assert small.drive() == [] and small.values["vectors"] == 10.0


def test_it_comes_back_from_its_state_and_from_its_code(small):
    small.set(epoch=7, darl=0.5)
    again = TwoRings.from_state(small.state, small.data)
    assert again.values == small.values and again.sentence == small.sentence
    again.close()
    data = small.data
    copy = eval(small.as_code(), {"lt": lt, "data": data})
    assert copy.state == small.state
    copy.close()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"epoch": 51}, "epoch=51"),
        ({"epoch": 2.5}, "epoch=2.5"),
        ({"epoch": True}, "epoch=True"),
        ({"darl": 0.7}, "darl=0.7"),
        ({"target": "free"}, "target='free'"),
        ({"features": 10.0}, "features=10"),
        ({"vectors": "1"}, "vectors='1'"),
        ({"alpha": 0.0}, "alpha=0"),
        ({"beta": float("nan")}, "beta=nan"),
        ({"data": [1, 2]}, "data="),
    ],
)
def test_wrong_arguments_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        lt.explore.two_rings(**arguments)


def test_a_wrong_state_is_refused():
    with pytest.raises(ValueError, match="no control 'epohc'.*epoch"):
        TwoRings.from_state({"epohc": 3})
