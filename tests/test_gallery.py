"""The gallery: who is found for a query, in which order, and what a threshold accepts."""

import numpy as np
import pytest

import ltviz as lt
from ltviz import metrics
from ltviz.datasets import Unseen
from ltviz.explore.gallery import CHOICE, ENDS, FAR, RANKED, RIGHT, SPREAD, WRONG, Gallery
from ltviz.explore.screen import Click, Drag


@pytest.fixture(autouse=True)
def close_all():
    """Each test leaves no explorer open."""
    yield
    for explorer in lt.explore.registry():
        explorer.close()


def strangers(people=6, each=5, channels=1, seed=0):
    """Pictures of some people, and features that lie around a centre of each."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(people), each)
    images = rng.integers(0, 256, (len(who), 8, 8, channels), dtype=np.uint8)
    unseen = Unseen(images, who, tuple(f"person {i}" for i in range(people)))
    near = rng.normal(size=(people, 4))[who] + 0.8 * rng.normal(size=(len(who), 4))
    return {"far": rng.normal(size=near.shape), "near": near}, unseen


@pytest.fixture
def data():
    return strangers()


def test_the_ranking_is_that_of_the_distance_and_leaves_the_query_out(data):
    features, unseen = data
    explorer = lt.explore.gallery(features, unseen, loss="near", query=7)
    x = features["near"]
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    order = [i for i in np.argsort(-(unit @ unit[6])) if i != 6][:15]
    assert explorer.result.nearest.tolist() == order and explorer.result.others == 4
    assert explorer.result.right.tolist() == [bool(unseen.identities[i] == 1) for i in order]
    explorer.set(distance="euclidean")
    order = [i for i in np.argsort(np.linalg.norm(x - x[6], axis=1)) if i != 6][:15]
    assert explorer.result.nearest.tolist() == order
    for query in range(1, 31):
        assert query - 1 not in explorer.compute("near", "cosine", query, 0.01).nearest


def test_the_query_stays_out_also_where_all_are_alike(data):
    _, unseen = data
    explorer = lt.explore.gallery({"one point": np.ones((30, 3))}, unseen, query=12)
    assert 11 not in explorer.result.nearest and explorer.error is None
    judged = explorer.result.judged
    assert judged.rank1 == pytest.approx(4 / 29), "ties score what luck does"
    found = [explorer.compute("one point", "cosine", query, 0.01) for query in range(1, 31)]
    right = np.mean([ranking.right.mean() for ranking in found])
    assert right == pytest.approx(4 / 29, abs=0.05), "pictures that are all alike are not shown by identity"
    again = explorer.compute("one point", "cosine", 12, 0.01)
    np.testing.assert_array_equal(again.nearest, explorer.result.nearest)


@pytest.mark.parametrize("scale", [1e300, 1e-200])
@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_the_scale_of_features_changes_nothing(data, scale, distance):
    features, unseen = data
    x = features["near"]
    explorer = lt.explore.gallery({"plain": x, "scaled": x * scale}, unseen, distance=distance, query=7)
    plain, scaled = (explorer.compute(loss, distance, 7, 0.01) for loss in ("plain", "scaled"))
    np.testing.assert_array_equal(plain.nearest, scaled.nearest)
    assert scaled.judged.map == pytest.approx(plain.judged.map) and scaled.tar == pytest.approx(plain.tar)


def test_rank_1_map_and_the_pairs_are_those_of_metrics(data):
    features, unseen = data
    explorer = lt.explore.gallery(features, unseen, loss="near")
    who = unseen.identities
    pairs, same = metrics.draw_pairs(who, 120)
    assert len(explorer.pairs) == 120, "as many pairs of one identity as there are: 6 x 10"
    for distance in ("cosine", "euclidean"):
        for loss, x in features.items():
            judged, found = explorer.judged(loss, distance), metrics.retrieval(x, who, distance=distance)
            assert (judged.rank1, judged.map) == (found.rank1, found.map)
            assert np.array_equal(judged.precision, found.average_precision)
            alike = metrics.similarity(x[pairs[:, 0]], x[pairs[:, 1]], distance)
            assert judged.accuracy == pytest.approx(metrics.verification(alike, same).accuracy), "scaled, not moved"
            for far in (0.05, 0.3):
                at = judged.at(far)
                assert judged.roc.tar[at] == metrics.roc(alike, same).tar_at(far) and judged.roc.far[at] <= far


def test_right_and_wrong_are_told_by_colour_width_and_cross(data):
    explorer = lt.explore.gallery(*data, loss="near", query=7)
    right = explorer.result.right
    assert 0 < right.sum() < 15
    import matplotlib.colors

    colours = [matplotlib.colors.to_hex(one) for one in explorer.frames.get_colors()]
    assert colours == [RIGHT.lower() if one else WRONG.lower() for one in right]
    assert np.array_equal(np.array(explorer.frames.get_linewidths()) > 2, right)
    assert len(explorer.crosses.get_offsets()) == (~right).sum()
    assert f"right of the first 15: {', '.join(str(i + 1) for i in np.flatnonzero(right))};" in explorer.sentence
    assert [text.get_text() for text in explorer.numbers] == [
        f"{100 * explorer.judged(loss, 'cosine').rank1:.1f}%" for loss in ("far", "near")
    ]


def test_a_click_looks_for_that_picture(data):
    explorer = lt.explore.gallery(*data, loss="near", query=7)
    third = int(explorer.result.nearest[5 + 2])
    explorer._clicked(Click(2.2, 0.9, RANKED, None))
    assert explorer.values["query"] == third + 1
    explorer._clicked(Click(4.1, 0.0, CHOICE, None))
    assert explorer.values["query"] == int(explorer.choice[4]) + 1 == 21
    explorer._clicked(Click(9.0, 2.0, CHOICE, None))
    assert explorer.values["query"] == 21, "nothing lies there"
    points = explorer.screen.frame.points
    assert [point.region for point in points] == [RANKED] * 15 + [CHOICE] * 6
    assert points[-1].text.startswith("person 5")


def test_a_picture_between_two_places_of_the_slider_is_opened_as_well():
    """Pictures 6, 16, 26 ... lie halfway between two places: the page would show one of these in their stead."""
    explorer = lt.explore.gallery(*strangers(people=40, each=8), loss="near")
    control, sweep = explorer.controls["query"], explorer.controls["query"].sweep()
    halfway = [number for number in range(6, 320, 10) if number not in sweep.values]
    assert sweep.places[:2] == [1, 11] and len(halfway) > 30
    for number in halfway:
        control.box.value = number
        assert explorer.result.query == number - 1 and explorer.screen.picture["where"]["query"] == sweep.index(number)
        assert control.slider.value == sweep.places[sweep.index(number)], "the page has nothing to move"
    explorer.choice[6] = 45  # of picture 46
    explorer._clicked(Click(6, 0, CHOICE, None))
    assert explorer.values["query"] == 46 and control.slider.value == 41 and explorer.result.query == 45


@pytest.mark.parametrize("start", [0.01, 0.3])
def test_arrow_keys_take_the_threshold_through_all_its_stops(start):
    explorer = lt.explore.gallery(loss="Softmax", far=start)
    (handle,) = explorer.screen.frame.handles
    assert len(handle.step) > 30 and handle.step[0] < handle.x < handle.step[-1]
    explorer.dragged(Drag("far", handle.step[0], 0.0, True))  # Home
    assert explorer.values["far"] == FAR.high
    shares = []
    for way in (1, -1):
        for _ in handle.step[1:]:
            (now,) = explorer.screen.frame.handles
            to = handle.step[handle.step.index(now.x) + way]
            explorer.dragged(Drag("far", to, 0.0, True))
            assert explorer.result.threshold == to, "it moves on with every key"
            shares.append(explorer.result.far)
    top = len(handle.step) - 1
    assert shares[:top] == sorted(shares[:top], reverse=True) and shares[top:] == sorted(shares[top:])
    assert explorer.values["far"] == FAR.high


def test_all_is_written_as_100_percent(data):
    explorer = lt.explore.gallery(*data, far=1.0)
    assert "of the pairs of one identity and 100% of those of two: accuracy with equally many" in explorer.sentence
    assert explorer.accepted.get_text() == "accepted: 100.0% of one, 100% of two"
    assert explorer.screen.frame.handles[0].told == "threshold with 100% false accepts"


def test_the_threshold_can_be_dragged(data):
    explorer = lt.explore.gallery(*data, loss="near")
    (handle,) = explorer.screen.frame.handles
    assert (handle.name, handle.axis, handle.region) == ("far", "x", SPREAD) and handle.x == explorer.result.threshold
    roc = explorer.result.judged.roc
    place = float(roc.threshold[np.searchsorted(roc.far, 0.3)])
    explorer.dragged(Drag("far", place - 1e-6, 0.0, True))
    assert explorer.values["far"] == pytest.approx(0.3, rel=0.2)
    assert explorer.result.far <= explorer.values["far"] + 1e-9 and explorer.result.tar > 0.5
    explorer.dragged(Drag("far", ENDS[0], 0.0, True))
    assert explorer.values["far"] == FAR.high and explorer.result.tar == 1.0
    explorer.dragged(Drag("far", ENDS[1], 0.0, True))
    assert explorer.values["far"] == FAR.low and explorer.result.far == 0.0


def test_controls_at_their_ends_and_the_background_that_rests(data):
    explorer = lt.explore.gallery(*data)
    assert list(explorer.controls) == ["loss", "distance", "query", "far"]
    assert explorer.drive() == [] and explorer.error is None
    drawn = explorer.surface.backgrounds
    for name, value in (("loss", "near"), ("distance", "euclidean"), ("query", 20), ("far", 0.2)):
        explorer.set(**{name: value})
    assert explorer.surface.backgrounds == drawn == 1, "everything that moves is laid over it"


def test_state_and_code_give_the_same_picture_again(data):
    features, unseen = data
    explorer = lt.explore.gallery(features, unseen, loss="near", distance="euclidean", query=9, far=0.1)
    again = Gallery.from_state(explorer.state, features, unseen)
    assert again.sentence == explorer.sentence and again.picture() == explorer.picture()
    code = explorer.as_code()
    assert code == "lt.explore.gallery(features, unseen, loss='near', distance='euclidean', query=9, far=0.1)"
    assert eval(code, {"lt": lt, "features": features, "unseen": unseen}).sentence == explorer.sentence


def test_photographs_keep_their_colours_and_ink_does_not():
    assert not lt.explore.gallery(*strangers()).screen.frame.photos
    explorer = lt.explore.gallery(*strangers(channels=3))
    assert len(explorer.screen.frame.photos) == 3
    assert (explorer.pictures == explorer.unseen.images).all()


def test_alone_it_shows_recorded_features_of_printed_characters():
    explorer = lt.explore.gallery()
    assert list(explorer.features)[:2] == ["pixels, no network", "Softmax"] and len(explorer.who) == 320
    assert explorer.as_code() == "lt.explore.gallery(loss='pixels, no network', distance='cosine', query=1, far=0.01)"
    scores = {loss: explorer.judged(loss, "cosine").map for loss in explorer.features}
    assert max(scores, key=scores.get) == "ArcFace" and min(scores, key=scores.get) == "pixels, no network"


def test_identities_with_one_picture_and_few_pictures():
    features, unseen = strangers(people=8, each=3)
    who = unseen.identities.copy()
    who[-3:] = [7, 8, 9]
    unseen = Unseen(unseen.images, who, (*unseen.names, "alone", "alone too"))
    explorer = lt.explore.gallery(features, unseen, query=24)
    assert "it has no other picture" in explorer.sentence and explorer.error is None and explorer.drive() == []


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("loss", "nearest"), ("loss", 1), ("distance", "manhattan"), ("query", 0), ("query", 31), ("query", 1.5),
        ("query", True), ("far", 0.0), ("far", 1.5), ("far", np.nan), ("far", "1%"),
    ],
)  # fmt: skip
def test_it_refuses_values(data, name, given):
    with pytest.raises(ValueError, match=f"^{name}=.*: expected"):
        lt.explore.gallery(*data, **{name: given})


def test_it_refuses_other_data(data):
    features, unseen = data
    nan = features["near"].copy()
    nan[3, 1] = np.nan
    for wrong in (None, [], {}, {"a": np.ones((29, 3))}, {"a": nan}, {"a": np.ones(30)}, {"a": "x"},
                  {str(i): features["near"] for i in range(9)}):  # fmt: skip
        with pytest.raises(ValueError, match="^features.*: expected a dict: name of a loss"):
            lt.explore.gallery(wrong, unseen)
    with pytest.raises(ValueError, match="^unseen=.*: expected images of identities never trained on"):
        lt.explore.gallery(features)
    with pytest.raises(ValueError, match="^name in features=''"):
        lt.explore.gallery({"": features["near"]}, unseen)
    with pytest.raises(ValueError, match="^unseen.images=.*: expected pictures"):
        lt.explore.gallery(features, unseen._replace(images=np.zeros((30, 8, 8, 2), np.uint8)))
    spoilt = unseen._replace(identities=unseen.identities.copy())
    spoilt.identities[3] = 99
    with pytest.raises(ValueError, match="^unseen.identities=.*: expected"):
        lt.explore.gallery(features, spoilt)
    with pytest.raises(ValueError, match="at least ten pairs"):
        lt.explore.gallery({"a": np.eye(30)}, Unseen(unseen.images, np.arange(30), tuple(map(str, range(30)))))
