"""The pizza: borders of a cosine classifier in training and at test, and the explorer on top of them."""

import numpy as np
import pytest
import torch

import ltviz as lt
from ltviz import metrics
from ltviz.explore.pizza import PAGE, REACH, RIM, STRIDE, VECTORS, Pizza
from ltviz.explore.screen import Drag
from ltviz.methods.arcface import arcface_loss
from ltviz.methods.cosface import margin_loss
from ltviz.methods.ldam import ldam_loss, ldam_margins
from ltviz.metrics.borders import arcs, class_margins, with_margin

COUNTS = [1000, 100, 10]
APART = [90.0, 210.0, 330.0]


@pytest.fixture(autouse=True)
def close_all():
    """Each test leaves no explorer open."""
    yield
    for explorer in lt.explore.registry():
        explorer.close()


# --- margins and borders ---------------------------------------------------------------------------------------------


def test_margins_of_each_kind():
    assert class_margins("none", 0.5, COUNTS).tolist() == [0, 0, 0]
    assert class_margins("cosface", 0.35, COUNTS) == pytest.approx([0.35] * 3)
    assert class_margins("ldam", 0.5, COUNTS) == pytest.approx([0.158114, 0.281171, 0.5], abs=1e-6)
    assert class_margins("ldam", 0.5, COUNTS) == pytest.approx(ldam_margins(torch.tensor(COUNTS), 0.5).numpy())


@pytest.mark.parametrize("kind", ["none", "cosface", "arcface", "ldam"])
def test_training_is_the_library_s_loss(kind):
    """p in training is exp(-loss) of an image of each class, for random vectors."""
    rng = np.random.default_rng(0)
    phi, scale = rng.uniform(0, 360, 4), 7.0
    found = metrics.slices(phi, kind, 0.4, scale, [100, 50, 20, 5], 180)
    cosine = torch.from_numpy(np.cos(np.radians(found.angle[:, None] - phi)))
    for j in range(4):
        targets = torch.full((180,), j)
        loss = {
            "none": lambda t=targets: margin_loss(cosine, t, 0.0, scale),
            "cosface": lambda t=targets: margin_loss(cosine, t, 0.4, scale),
            "arcface": lambda t=targets: arcface_loss(cosine, t, 0.4, scale, "linear", "exact"),
            "ldam": lambda t=targets: ldam_loss(cosine, t, ldam_margins(torch.tensor([100, 50, 20, 5]), 0.4), scale),
        }[kind]()
        assert found.train[:, j] == pytest.approx((-loss).exp().numpy(), abs=1e-6)
    assert found.test == pytest.approx(torch.softmax(scale * cosine, 1).numpy())
    assert (found.decided == found.test.argmax(1)).all()


@pytest.mark.parametrize(("kind", "shift"), [("cosface", np.degrees(np.arcsin(0.3 / 2 / np.sin(np.pi / 3)))),
                                             ("arcface", np.degrees(0.3) / 2)])  # fmt: skip
def test_borders_in_training_are_where_the_equations_put_them(kind, shift):
    """Vectors 120 degrees apart: cos(t) - m = cos(120 - t), or t + m = 120 - t."""
    found = metrics.slices(APART, kind, 0.3, 30.0, COUNTS)
    for j, phi in enumerate(APART):
        ((first, last),) = found.in_training[j]
        assert (last - first) / 2 == pytest.approx(60 - shift, abs=1e-3)
        assert (first + last) / 2 % 360 == pytest.approx(phi, abs=1e-3)
    assert found.nobody == pytest.approx(6 * shift / 360, abs=1e-4)
    assert found.widths[0] == pytest.approx([120] * 3) and found.widths[1] == pytest.approx(
        [120 - 2 * shift] * 3, abs=2e-3
    )


def test_borders_lie_between_the_directions_of_the_grid():
    """Equal classes have equal slices, whatever the grid; LDAM's are as wide as its equation says."""
    symmetric = metrics.slices(APART, "arcface", 1.0, 30.0, COUNTS)
    assert symmetric.widths[1] == pytest.approx([120 - np.degrees(1.0)] * 3, abs=1e-3)
    margins = class_margins("ldam", 0.5, COUNTS)
    exact = 120 - 2 * np.degrees(np.arcsin(margins / 2 / np.sin(np.pi / 3)))
    for directions in (90, 720):
        assert metrics.slices(APART, "ldam", 0.5, 30.0, COUNTS, directions).widths[1] == pytest.approx(exact, abs=0.05)
    # Off the centre: the rare class, 40 degrees from its left neighbour, loses more on that side than on the other.
    ((first, last),) = metrics.slices([90.0, 210.0, 50.0], "ldam", 0.5, 30.0, COUNTS).in_training[2]
    left, right = (np.degrees(np.arcsin(0.25 / np.sin(np.radians(gap / 2)))) for gap in (40.0, 160.0))
    assert (first, last) == pytest.approx((310 + right, 430 - left), abs=1e-2) and left > 2 * right


def test_classes_on_one_vector():
    """At test the first of them is given both their slices; in training no margin of theirs can be met."""
    plain = metrics.slices([90.0, 210.0, 90.0], "none", 0.0, 30.0, COUNTS)
    assert plain.widths[0] == pytest.approx([180, 180, 0]) and plain.at_test[2] == []
    assert plain.widths[1] == pytest.approx(plain.widths[0]) and plain.nobody == 0.0
    hidden = metrics.slices([90.0, 210.0, 90.0], "cosface", 0.3, 30.0, COUNTS)
    assert hidden.widths[0] == pytest.approx([180, 180, 0]) and hidden.in_training[::2] == [[], []]


def test_no_setting_moves_the_borders_of_the_test():
    plain = metrics.slices([80.0, 130.0, 300.0], "none", 0.0, 10.0, COUNTS)
    borders = [(10.0, 105.0), (105.0, 215.0), (215.0, 370.0)]
    assert [one for (one,) in plain.at_test] == [pytest.approx(border) for border in borders]
    assert plain.in_training == plain.at_test and plain.nobody == 0.0
    for kind in ("cosface", "arcface", "ldam"):
        for margin, scale in ((0.2, 1.0), (1.0, 64.0)):
            other = metrics.slices([80.0, 130.0, 300.0], kind, margin, scale, COUNTS)
            assert other.at_test == plain.at_test and (other.decided == plain.decided).all() and other.nobody > 0
            assert not (other.met & ~plain.met).any(), "a margin takes away from the slice and adds nothing"


def test_scale_moves_no_border_and_sharpens():
    soft, sharp = (metrics.slices(APART, "ldam", 0.5, scale, COUNTS) for scale in (2.0, 60.0))
    assert (soft.met == sharp.met).all() and sharp.test[180].max() > 0.999 > 0.97 > soft.test[180].max()
    same = metrics.slices([10.0, 10.0, 10.0], "cosface", 1.0, 64.0, COUNTS)
    assert np.isfinite(same.train).all() and same.test == pytest.approx(1 / 3) and same.nobody == 1.0


def test_arcs_close_the_circle():
    flags = np.array([True, False, False, True])
    assert arcs(flags) == [(225.0, 405.0)] and arcs(~flags) == [(45.0, 225.0)]
    assert arcs(np.ones(5, bool)) == [(0.0, 360.0)] and arcs(np.zeros(5, bool)) == []
    assert arcs(np.array([True, False, True, False])) == [(-45.0, 45.0), (135.0, 225.0)]
    assert arcs(flags, [1.0, -3.0, -2.0, 2.0]) == [(225.0, 382.5)]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"vectors": [1.0]}, "vectors"), ({"vectors": [1.0, 2.0]}, "vectors"), ({"vectors": "abc"}, "vectors"),
        ({"vectors": [1.0, np.nan, 3.0]}, "vectors"), ({"kind": "sphereface"}, "kind"), ({"kind": None}, "kind"),
        ({"margin": -0.1}, "margin"), ({"margin": True}, "margin"), ({"margin": np.nan}, "margin"),
        ({"scale": 0.0}, "scale"), ({"scale": "30"}, "scale"), ({"counts": [1, 2, -1]}, "counts"),
        ({"counts": None}, "counts"), ({"directions": 2.5}, "directions"), ({"directions": 0}, "directions"),
    ],
)  # fmt: skip
def test_slices_refuse(change, name):
    given = {"vectors": APART, "kind": "ldam", "margin": 0.5, "scale": 30.0, "counts": COUNTS, **change}
    with pytest.raises(ValueError, match=f"^{name}=.*: expected"):
        metrics.slices(**given)


def test_the_parts_refuse():
    for given in ([1, 0], np.ones((2, 2), bool), [], None):
        with pytest.raises(ValueError, match="^inside="):
            arcs(given)
    for given in ([1.0], [np.nan, 1.0], "ab"):
        with pytest.raises(ValueError, match="^lead="):
            arcs([True, False], given)
    with pytest.raises(ValueError, match="^margin="):
        with_margin(np.zeros((4, 3)), "cosface", [0.1])
    with pytest.raises(ValueError, match="^cosine="):
        with_margin([0.1], "cosface", [0.1])


# --- the explorer ----------------------------------------------------------------------------------------------------


def test_what_is_drawn_and_said():
    explorer = lt.explore.pizza()
    cut = explorer.result
    assert cut.counts.tolist() == COUNTS and cut.found.margin == pytest.approx([0.158, 0.281, 0.5], abs=1e-3)
    expected = [120 - 2 * np.degrees(np.arcsin(m / 2 / np.sin(np.pi / 3))) for m in cut.found.margin]
    assert cut.at_test == pytest.approx([120] * 3) and cut.in_training == pytest.approx(expected, abs=1e-3)
    assert len(explorer.filling.get_paths()) == len(explorer.crust.get_paths()) == 3
    assert explorer.test[2].get_ydata() == pytest.approx(cut.found.test[:, 2])
    assert explorer.train[0].get_ydata() == pytest.approx(cut.found.train[:, 0])
    assert [one.get_text() for one in explorer.told] == [
        "1,000", "0.16", "120°", "110°", "100", "0.28", "120°", "101°", "10", "0.50", "120°", "86°"
    ]  # fmt: skip
    assert "frequent 120°, middle 120°, rare 120°" in explorer.sentence
    assert "on fewer degrees: frequent 110°, middle 101°, rare 86°" in explorer.sentence


def test_without_a_margin_training_and_test_agree():
    explorer = lt.explore.pizza(kind="none", rare=250.0)
    assert explorer.result.found.in_training == explorer.result.found.at_test
    assert explorer.result.found.nobody == 0
    assert explorer.sentence.startswith("No margin") and explorer.controls["margin"].idle


def test_a_margin_that_no_direction_meets():
    explorer = lt.explore.pizza(kind="cosface", margin=0.9, rare=235.0)
    assert (explorer.result.in_training > 0).tolist() == [True, False, False]
    explorer.set(margin=1.0, rare=220.0)
    assert explorer.result.found.in_training[1:] == [[], []] and explorer.told[-1].get_text() == "not met"
    assert "No direction meets the margin of the middle and the rare class." in explorer.sentence


def test_vectors_are_dragged_around_the_circle():
    explorer = lt.explore.pizza()
    handles = {one.name: one for one in explorer.screen.frame.handles}
    assert list(handles) == list(VECTORS) and (handles["frequent"].x, handles["frequent"].y) == (0.0, RIM)
    assert handles["rare"].label == "vector of the rare class" and handles["rare"].told == "330°"
    explorer.dragged(Drag("frequent", -3.0, 0.1, True))
    assert explorer.values["frequent"] == 178.0 and explorer.values["rare"] == 330.0
    explorer.dragged(Drag("frequent", 0.0, 0.0, True))
    explorer.dragged(Drag("margin", 1.0, 1.0, True))
    assert explorer.values["frequent"] == 178.0 and explorer.values["margin"] == 0.5
    explorer.dragged(Drag("rare", 0.0, -0.2, True))
    assert explorer.values["rare"] == 270.0 and explorer.error is None
    explorer.set(frequent=0.0)
    for x, y, angle in ((1.0, 0.04, 2.0), (1.0, -0.04, 358.0), (1.0, -1e-9, 0.0)):
        explorer.dragged(Drag("frequent", x, y, True))
        assert explorer.values["frequent"] == angle


@pytest.mark.parametrize("angle", [0, 30, 45, 90, 200, 330])
def test_an_arrow_key_turns_a_vector(angle):
    """The page moves a handle by 2% of its axes; in one of the four ways, at least, that turns the vector."""
    explorer = lt.explore.pizza(rare=float(angle))
    handle = {one.name: one for one in explorer.screen.frame.handles}["rare"]
    step = 0.02 * (explorer.plate.get_xlim()[1] - explorer.plate.get_xlim()[0])
    turned = set()
    for dx, dy in ((step, 0), (-step, 0), (0, step), (0, -step)):
        explorer.set(rare=float(angle))
        explorer.dragged(Drag("rare", handle.x + dx, handle.y + dy, True))
        turned.add((explorer.values["rare"] - angle + 180) % 360 - 180)
    assert min(turned) <= -1 and max(turned) >= 1


@pytest.mark.parametrize("angle", [0, 20, 45, 60, 90, 135, 200, 225, 270, 330])
def test_page_up_and_page_down_turn_a_vector_by_as_much_everywhere(angle):
    """The page moves a handle along the diagonal by 10% of its axes, within its reach."""
    explorer = lt.explore.pizza(rare=float(angle))
    left, right = explorer.plate.get_xlim()
    assert pytest.approx(0.1 * (right - left)) == STRIDE
    for way in (1, -1):
        explorer.set(rare=float(angle))
        handle = {one.name: one for one in explorer.screen.frame.handles}["rare"]
        assert handle.xlim == handle.ylim == (-REACH, REACH)
        for pages in range(1, 10):  # held: the page goes on from where it was before the first has arrived
            x, y = (min(max(one + way * pages * STRIDE, -REACH), REACH) for one in (handle.x, handle.y))
            if abs(x - y) > 1e-6 or abs(x) < REACH:  # else it is in the corner, as with End
                explorer.dragged(Drag("rare", x, y, True))
                assert explorer.values["rare"] == (angle + way * pages * PAGE) % 360
    explorer.set(rare=float(angle))
    for corner in (-REACH, REACH):  # Home and End have no meaning on a circle
        explorer.dragged(Drag("rare", corner, corner, True))
        assert explorer.values["rare"] == angle
    explorer.dragged(Drag("rare", handle.x + STRIDE, handle.y - STRIDE, True))
    assert explorer.error is None


def test_controls_at_their_ends_and_the_background_that_rests():
    explorer = lt.explore.pizza()
    assert list(explorer.controls) == ["margin", "kind", "scale", "ratio", *VECTORS]
    assert explorer.drive() == [] and explorer.error is None
    drawn = explorer.surface.backgrounds
    for name, value in (("margin", 0.7), ("scale", 20.0), ("ratio", 10.0), ("rare", 300.0), ("kind", "arcface")):
        explorer.set(**{name: value})
    assert explorer.surface.backgrounds == drawn
    assert not explorer.controls["scale"].idle and explorer.controls["ratio"].idle
    assert all(mark.text for mark in explorer.marks(explorer.result)) and len(explorer.regions()) == 2


def test_state_and_code_give_the_same_picture_again():
    explorer = lt.explore.pizza("arcface", margin=0.3, scale=20.0, ratio=10.0, rare=300.0)
    again = Pizza.from_state(explorer.state)
    assert again.picture() == explorer.picture()
    assert eval(explorer.as_code(), {"lt": lt}).sentence == explorer.sentence


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("kind", "sphereface"), ("kind", True), ("margin", -0.1), ("margin", 1.1), ("margin", "0.5"), ("scale", 0.5),
        ("scale", np.nan), ("ratio", 101.0), ("ratio", None), ("rare", 361.0), ("middle", -1.0), ("frequent", "up"),
    ],
)  # fmt: skip
def test_the_explorer_refuses(name, given):
    with pytest.raises(ValueError, match=f"^{name}=.*: expected"):
        lt.explore.pizza(**{name: given})
