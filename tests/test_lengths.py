"""The explorer of lengths against counts, and how well a law with a given factor fits."""

import copy

import numpy as np
import pytest

import ltviz as lt
from ltviz.explore.lengths import LAW, TRAININGS, Lengths
from ltviz.explore.screen import Click


@pytest.fixture(scope="module")
def groups():
    plain = lt.recorded("digits", "ce")[:3]
    return {"plain": plain, "equal": lt.recorded("digits", "up", strength=10.0, reading="all")[:3]}


@pytest.fixture
def explorer(groups):
    made = lt.explore.lengths(groups)
    yield made
    made.close()


def test_how_much_a_law_explains():
    norms = np.array([3.0, 2.0, 1.0])
    counts = np.exp(2 * norms)
    assert lt.metrics.law_explains(norms, counts, 2.0) == pytest.approx(1.0)
    assert lt.metrics.law_explains(norms, counts, 0.0) == pytest.approx(0.0)
    assert lt.metrics.law_explains(norms, counts, 4.0) == pytest.approx(0.0)  # off by as much, on the other side
    assert lt.metrics.law_explains(norms, counts, 6.0) == pytest.approx(-3.0)
    assert lt.metrics.law_explains([3.0, 2.0, 1.0, 9.0], [*counts, 0.0], 2.0) == pytest.approx(1.0)
    assert np.isnan(lt.metrics.law_explains(norms, [5, 5, 5], 2.0))


@pytest.mark.parametrize(
    ("norms", "counts", "s", "name"),
    [([1.0, np.nan], [1, 2], 1, "norms"), ([1.0], [1, 2], 1, "norms"), ([1.0, 2.0], [1, -2], 1, "counts"),
     ([1.0, 2.0], [1, 2], np.inf, "s="), ([1.0, 2.0], [1, 2], True, "s=")],
)  # fmt: skip
def test_a_law_of_nothing_is_refused(norms, counts, s, name):
    with pytest.raises(ValueError, match=name):
        lt.metrics.law_explains(norms, counts, s)


def test_the_line_has_the_slope_of_the_factor_and_goes_through_the_centre(explorer, groups):
    explorer.set(factor=4.0)
    (low, high), (first, last) = explorer.result.line
    assert (high - low) == pytest.approx(np.log(last / first) / 4.0)
    run = groups["plain"][0]
    assert explorer.result.norms[:10] == pytest.approx(np.linalg.norm(run.head_weight, axis=1))
    assert explorer.result.counts[:10] == pytest.approx(run.counts)
    fits = [lt.metrics.weight_norm_fit(run).s for run in groups["plain"]]
    assert explorer.result.fitted == pytest.approx(fits)


def test_the_best_factor_explains_most(explorer):
    held = {}
    for factor in (2.0, float(np.mean(explorer.result.fitted)), 7.0):
        explorer.set(factor=factor)
        held[factor] = explorer.result.explains.mean()
    assert held[list(held)[1]] == max(held.values()) > 0.85 and held[7.0] < 0
    assert "fits worse than predicting the same count for every class" in explorer.sentence


def test_errors_are_vertical_in_the_picture_as_in_the_fit(explorer):
    assert explorer.law.get_yscale() == "log" and explorer.law.get_xscale() == "linear"
    found = explorer.result
    assert explorer.dots.get_xdata() == pytest.approx(found.norms)
    assert explorer.dots.get_ydata() == pytest.approx(found.counts)
    first = explorer.marks(found)[0]
    assert (first.x, first.y) == pytest.approx((found.norms[0], found.counts[0]))
    (lengths, counts) = explorer.line.get_data()
    centre = found.norms.mean(), np.log(found.counts).mean()
    assert np.interp(centre[0], lengths, np.log(counts)) == pytest.approx(centre[1])


def test_a_click_and_a_drag(explorer):
    explorer._clicked(Click(6.0, 1.2, TRAININGS, None))
    assert explorer.values["training"] == "equal"
    explorer._clicked(Click(6.0, 0.2, LAW, None))
    assert explorer.values["training"] == "equal"
    (handle,) = explorer.handles(explorer.result)
    assert (handle.name, handle.x, handle.y, handle.region) == ("factor", 7.0, 1, TRAININGS)
    assert handle.step == explorer.controls["factor"].step == 0.2


def test_it_drives_and_comes_back(explorer, groups):
    assert explorer.drive() == []
    explorer.set(factor=3.0, training="equal")
    again = Lengths.from_state(explorer.state, groups)
    assert again.values == explorer.values and again.sentence == explorer.sentence
    again.close()
    made = eval(explorer.as_code(), {"lt": lt, "groups": groups})
    assert made.state == explorer.state
    made.close()


@pytest.mark.parametrize("factor", [0.4, 15.5, True, "7", float("nan")])
def test_a_factor_out_of_range_is_refused(groups, factor):
    with pytest.raises(ValueError, match="factor="):
        lt.explore.lengths(groups, factor)


def test_what_has_no_lengths_is_refused(groups):
    for wrong in ({}, [1], {"plain": []}, {"plain": groups["plain"][0]}, {"": groups["plain"]}, None):
        with pytest.raises(ValueError, match="groups"):
            lt.explore.lengths(wrong)
    with pytest.raises(ValueError, match="training='other'"):
        lt.explore.lengths(groups, 7.0, "other")
    broken = copy.copy(groups["plain"][0])
    broken.head_weight = np.full_like(broken.head_weight, np.nan)
    with pytest.raises(ValueError, match="finite"):
        lt.explore.lengths({"plain": [broken]})
    with pytest.raises(ValueError, match="linear classifier"):
        lt.explore.lengths({"cosine": lt.recorded("digits", "cosface")[:1]})


def test_classes_without_training_images_are_left_out_and_said():
    """The log of no image is not known: with it the line had no end, and the axis no unit."""
    rng = np.random.default_rng(0)
    counts, weight = [400, 90, 20, 5, 0], rng.normal(size=(5, 3)) * np.array([6.0, 5, 4, 3, 9])[:, None]
    run = lt.from_predictions(np.arange(50) % 5, rng.normal(size=(50, 5)), counts=counts, head_weight=weight)
    made = lt.explore.lengths({"a": [run]}, factor=4.0)
    known = np.linalg.norm(weight[:4], axis=1)
    assert made.result.norms == pytest.approx(known) and made.result.counts == pytest.approx(counts[:4])
    (low, high), ends = made.result.line
    assert ends == pytest.approx([5, 400]) and high - low == pytest.approx(np.log(80) / 4)
    assert (low + high) / 2 == pytest.approx(known.mean() + (np.log([5, 400]).mean() - np.log(counts[:4]).mean()) / 4)
    assert made.law.get_xlim()[1] == pytest.approx(1.08 * known.max())
    assert made.sentence.endswith(" 1 class without training images is left out.")
    made.close()
    same = lt.from_predictions([0, 1, 2], np.eye(3) * 5 - 2, counts=[7, 7, 0], head_weight=weight[:3])
    with pytest.raises(ValueError, match="classes of several sizes"):
        lt.explore.lengths({"a": [same]})
