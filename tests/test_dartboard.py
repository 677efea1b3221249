"""The dartboard: expected numbers of distinct tiles, throws, the board's geometry, and the explorer on top of them."""

import itertools

import numpy as np
import pytest

import ltviz as lt
from ltviz import metrics
from ltviz.explore.dartboard import ALONG, BARE, COVERED, Dartboard, board, places
from ltviz.explore.screen import Drag


@pytest.fixture(autouse=True)
def close_all():
    """Each test leaves no explorer open."""
    yield
    for explorer in lt.explore.registry():
        explorer.close()


def even(tiles):
    return np.full(tiles, 1 / tiles)


# --- expected numbers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tiles", [1, 2, 7, 100])
def test_an_even_throw_covers_the_effective_number(tiles):
    n, beta = np.array([1, 2, 10, 100, 1000]), (tiles - 1) / tiles
    assert metrics.expected_distinct(even(tiles), n) == pytest.approx((1 - beta**n) / (1 - beta))


def test_expected_distinct_is_the_mean_over_all_outcomes():
    p = np.array([0.5, 0.3, 0.2])
    for n in (1, 2, 4):
        outcomes = list(itertools.product(range(3), repeat=n))
        mean = sum(np.prod(p[list(one)]) * len(set(one)) for one in outcomes)
        assert metrics.expected_distinct(p, n) == pytest.approx(mean)


def test_zipf_covers_less_than_the_formula_and_every_other_p_too():
    p = metrics.power_prior(np.arange(1.0, 101.0), -1)
    assert metrics.expected_distinct(p, 100) == pytest.approx(41.353, abs=1e-3)
    assert metrics.expected_distinct(even(100), 100) == pytest.approx(63.397, abs=1e-3)
    rng = np.random.default_rng(0)
    for concentration in (0.1, 1.0, 10.0):
        other = rng.dirichlet(np.full(20, concentration))
        assert metrics.expected_distinct(other, 30) < metrics.expected_distinct(even(20), 30)
        assert metrics.expected_distinct(other, 1) == pytest.approx(1.0)


def test_expected_distinct_at_its_ends():
    assert metrics.expected_distinct([0.0, 1.0], [0, 1, 5]).tolist() == [0.0, 1.0, 1.0]
    assert metrics.expected_distinct([0.5, 0.5], 0) == 0.0
    many = even(10**6)  # 1 - (1 - p)^n loses its digits where p is tiny and computed without care
    assert metrics.expected_distinct(many, 1) == pytest.approx(1.0, abs=1e-9)
    assert isinstance(metrics.expected_distinct([1.0], 3), float)


@pytest.mark.parametrize(
    ("name", "p", "n"),
    [
        ("p", [0.5, 0.6], 1), ("p", [-0.5, 1.5], 1), ("p", [], 1), ("p", [[1.0]], 1), ("p", [np.nan, 1.0], 1),
        ("p", "half", 1), ("p", [True], 1), ("p", None, 1), ("n", [1.0], -1), ("n", [1.0], [[1]]), ("n", [1.0], "3"),
        ("n", [1.0], np.nan), ("n", [1.0], []), ("n", [1.0], True), ("n", [1.0], np.inf),
    ],
)  # fmt: skip
def test_expected_distinct_refuses(name, p, n):
    with pytest.raises(ValueError, match=f"^{name}=.*: expected"):
        metrics.expected_distinct(p, n)


# --- throws ----------------------------------------------------------------------------------------------------------


def test_fewer_draws_are_the_first_of_more_and_follow_p():
    p = np.array([0.6, 0.0, 0.3, 0.1])
    drawn = metrics.draw_prototypes(p, 20_000, seed=3)
    assert (metrics.draw_prototypes(p, 500, seed=3) == drawn[:500]).all()
    assert np.bincount(drawn, minlength=4) / len(drawn) == pytest.approx(p, abs=0.015)
    assert (metrics.draw_prototypes(p, 50, seed=4) != drawn[:50]).any()
    assert metrics.draw_prototypes([1.0], 0).tolist() == []


def test_throws_cover_what_is_expected():
    p = metrics.power_prior(np.arange(1.0, 51.0), -1)
    covered = [metrics.first_hits(metrics.draw_prototypes(p, 40, seed)).sum() for seed in range(400)]
    error = np.std(covered, ddof=1) / 20
    assert np.mean(covered) == pytest.approx(metrics.expected_distinct(p, 40), abs=4 * error)


def test_first_hits():
    assert metrics.first_hits([2, 2, 0, 1, 0]).tolist() == [True, False, True, True, False]
    assert metrics.first_hits([]).tolist() == []


@pytest.mark.parametrize(("name", "given"), [("n", -1), ("n", 2.5), ("n", True), ("seed", -1), ("seed", "0")])
def test_throws_refuse(name, given):
    with pytest.raises(ValueError, match=f"^{name}="):
        metrics.draw_prototypes([1.0], **{"n": 3, name: given})


# --- the board -------------------------------------------------------------------------------------------------------


def area(outline):
    x, y = outline.T
    return abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2


@pytest.mark.parametrize("tiles", [*range(1, 12), 37, 100, 199, 200])
def test_tiles_have_equal_area_and_fill_the_disc(tiles):
    outlines, edges = board(tiles)
    assert len(outlines) == len(edges) == tiles
    exact = (edges[:, 1] - edges[:, 0]) * (edges[:, 3] - edges[:, 2]) / 2
    assert exact == pytest.approx(np.full(tiles, np.pi / tiles))
    assert [area(one) for one in outlines] == pytest.approx(exact, rel=0.02), "what is drawn"


def test_darts_lie_inside_their_tile():
    outlines, edges = board(30)
    for along, around in ((0.16, 0.16), (0.84, 0.84), (0.5, 0.5)):
        spots = places(edges, np.full(30, along), np.full(30, around))
        radius, (x, y) = np.hypot(*spots.T), spots.T
        assert (radius**2 > edges[:, 0]).all() and (radius**2 < edges[:, 1]).all()
        turned = (np.arctan2(y, x) - edges[:, 2]) % (2 * np.pi)
        assert (turned < edges[:, 3] - edges[:, 2]).all()


# --- the explorer ----------------------------------------------------------------------------------------------------


def test_what_is_drawn_and_said():
    explorer = lt.explore.dartboard(exponent=1.0)
    result = explorer.result
    assert result.expected == pytest.approx((63.397, 41.353), abs=1e-3)
    assert result.covered == len(set(result.tile.tolist())) == result.new.sum()
    faces = explorer.tiles.get_facecolor()
    assert len(np.unique(faces, axis=0)) == 2 and COVERED != BARE
    hit = np.isin(np.arange(100), result.tile)
    assert (faces[hit] == faces[hit][0]).all() and (faces[~hit] == faces[~hit][0]).all()
    assert [len(line.get_xdata()) for line in explorer.darts] == [result.covered, 100 - result.covered]
    assert explorer.lines["mean"].get_ydata() == pytest.approx(metrics.expected_distinct(result.p, ALONG) / 100)
    assert explorer.lines["throw"].get_ydata()[-1] == pytest.approx(result.covered / 100)
    said = explorer.sentence
    assert f"covers {result.covered}." in said and "41.4 on average, 22.0 fewer than E_n = 63.4 at β = 0.99" in said
    assert [text.get_text() for text in explorer.readout] == ["63.4", "41.4", str(result.covered)]


def test_an_even_throw_covers_as_many_as_the_formula_says():
    explorer = lt.explore.dartboard(darts=30, tiles=50, seed=2)
    assert "as many as E_n" in explorer.sentence
    assert explorer.result.formula == pytest.approx(explorer.result.mean)
    assert "1 dart, 2 tiles, probabilities all alike: this throw covers 1." in Dartboard(1, 0.0, 2, 0).sentence


def test_raising_the_exponent_covers_less_whatever_the_numbers():
    explorer = lt.explore.dartboard()
    for darts, tiles in ((10, 20), (100, 100), (500, 150)):
        explorer.set(darts=darts, tiles=tiles)
        means = []
        for exponent in (0.0, 0.5, 1.0, 2.0):
            explorer.set(exponent=exponent)
            means.append(explorer.result.expected[1])
        assert means == sorted(means, reverse=True) and means[0] == pytest.approx(explorer.result.expected[0])


def test_n_is_dragged_and_tiles_are_pointed_at():
    explorer = lt.explore.dartboard()
    (handle,) = explorer.screen.frame.handles
    assert handle.y == pytest.approx(63.397, abs=1e-3), "in tiles, as the axis"
    assert (handle.name, handle.x, handle.axis, handle.xlim) == ("darts", 100, "x", (1, 500))
    explorer.dragged(Drag("darts", 251.0, 40.0, True))
    assert explorer.values["darts"] == 251
    for end in (500, 1):  # arrow keys reach both, step by step
        while explorer.values["darts"] != end:
            (handle,) = explorer.screen.frame.handles
            to = (
                min(one for one in handle.step if one > handle.x)
                if end > 1
                else max(one for one in handle.step if one < handle.x)
            )
            explorer.dragged(Drag("darts", to, 40.0, True))
            assert explorer.values["darts"] == to
    curves, disc = explorer.regions()
    assert (curves.x, curves.y, curves.percent, disc.cells) == ((0.0, 500.0), (0.0, 104.0), "", True)
    marks = explorer.marks(explorer.result)
    assert len(marks) == 100 and {mark.region for mark in marks} == {1}
    hits = int((explorer.result.tile == 0).sum())
    assert marks[0].text == f"Tile 1: probability 1%, {hits} dart{'s' * (hits != 1)}"


def test_controls_at_their_ends_and_the_background_that_rests():
    explorer = lt.explore.dartboard()
    assert list(explorer.controls) == ["darts", "exponent", "tiles", "seed"]
    assert explorer.drive() == [] and explorer.error is None
    drawn = explorer.surface.backgrounds
    for name, value in (("darts", 7), ("exponent", 1.3), ("tiles", 41), ("seed", 9)):
        explorer.set(**{name: value})
    assert explorer.surface.backgrounds == drawn


def test_state_and_code_give_the_same_picture_again():
    explorer = lt.explore.dartboard(darts=60, exponent=0.8, tiles=40, seed=5)
    again = Dartboard.from_state(explorer.state)
    assert again.picture() == explorer.picture()
    assert explorer.as_code() == "lt.explore.dartboard(darts=60, exponent=0.8, tiles=40, seed=5)"
    assert eval(explorer.as_code(), {"lt": lt}).sentence == explorer.sentence


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("darts", 0), ("darts", 501), ("darts", 2.5), ("darts", "10"), ("darts", True), ("darts", None),
        ("exponent", -0.1), ("exponent", 2.1), ("exponent", np.nan), ("exponent", "1"), ("tiles", 0), ("tiles", 201),
        ("tiles", 1), ("tiles", 10.5), ("seed", -1), ("seed", 51), ("seed", 0.5),
    ],
)  # fmt: skip
def test_the_explorer_refuses(name, given):
    with pytest.raises(ValueError, match=f"^{name}=.*: expected"):
        lt.explore.dartboard(**{name: given})
