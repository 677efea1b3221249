"""A screen without a browser: what is sent, in which order, what is kept, and what stays after it is closed."""

import base64
import gc
import io
import json
import re
import threading
import time
from dataclasses import replace

import ipywidgets as widgets
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

import ltviz as lt
from ltviz.explore import export as export_module
from ltviz.explore import sweeps
from ltviz.explore.export import export, grid
from ltviz.explore.frames import Frame, Handle, Point, Region
from ltviz.explore.screen import Click, Drag, Screen
from ltviz.explore.sweeps import Bounded, Sweep, Sweeper, difference, order

PLACES = [round(0.1 * i, 10) for i in range(21)]
REGION = Region((0.1, 0.1, 0.9, 0.9), (0, 2), (0, 1))


def pixels(value: float, high: int = 20, wide: int = 40) -> np.ndarray:
    """A white picture with a dark column where the value is."""
    made = np.full((high, wide, 4), 255, np.uint8)
    made[2:-2, int(round(10 * value)) + 5, :3] = 30
    return made


class Scene:
    """A screen with a slider `beta` and another control `tau`, and what it has sent to its page."""

    def __init__(self, pause: float = 0.0):
        self.beta = widgets.FloatSlider(value=1.0, min=0, max=2, step=0.1)
        self.tau = widgets.FloatSlider(value=0.0, min=0, max=1, step=0.5)
        self.sent, self.drawn, self.errors, self.pause = [], [], [], pause
        self.fail = None
        self.screen = Screen((40, 20), title="Scene", guard=self.guard)
        self.screen.send = lambda content, buffers=None: self.sent.append((content, buffers))
        self.screen.follow(
            [Sweep("beta", self.beta, PLACES, PLACES), Sweep("tau", self.tau, [0, 0.5, 1.0], [0, 0.5, 1.0])],
            self.values, self.draw,
        )  # fmt: skip
        self.screen.show(self.frame(self.values()))

    def guard(self, act) -> None:
        try:
            act()
        except Exception as error:
            self.errors.append(str(error))

    def values(self) -> dict:
        return {"beta": self.beta.value, "tau": self.tau.value}

    def frame(self, values) -> Frame:
        points = [Point(values["beta"], 0.5, f"here {values['beta']:g}")]
        return Frame(pixels(values["beta"]), f"beta {values['beta']:g}, tau {values['tau']:g}", [REGION], points)

    def draw(self, values) -> Frame:
        if self.fail is not None and len(self.drawn) >= self.fail:
            raise RuntimeError("no picture")
        self.drawn.append((values["beta"], values["tau"]))
        time.sleep(self.pause)
        return self.frame(values)

    def move(self, **values) -> None:
        for name, value in values.items():
            getattr(self, name).value = value
        self.screen.show(self.frame(self.values()))

    def kinds(self) -> list[str]:
        return [content["kind"] for content, _ in self.sent]

    def frames(self) -> list[tuple[dict, bytes]]:
        return [(content, bytes(buffers[0])) for content, buffers in self.sent if content["kind"] == "frame"]


@pytest.fixture
def scene():
    made = []

    def make(**settings) -> Scene:
        made.append(Scene(**settings))
        return made[-1]

    yield make
    for one in made:
        one.screen.close()
        assert one.screen.wait(5)


def until(condition) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def rebuilt(frames) -> dict[str, np.ndarray]:
    """The pictures that a page makes of the frames, by their keys: a patch over what it lies over."""
    made = {}
    for content, image in frames:
        patch = np.asarray(Image.open(io.BytesIO(image)).convert("RGBA"))
        if content["over"] is None:
            made[content["key"]] = patch
            continue
        whole, (left, top) = made[content["over"]].copy(), content["at"]
        part = whole[top : top + patch.shape[0], left : left + patch.shape[1]]
        part[patch[..., 3] > 0] = patch[patch[..., 3] > 0]
        made[content["key"]] = whole
    return made


# ----------------------------------------------------------------------------------------------------------- a picture


def test_show_sends_the_picture_and_all_that_the_page_needs(scene):
    s = scene()
    shown = s.screen.picture
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(shown["image"]))), pixels(1.0))
    assert shown["where"] == {"beta": 10, "tau": 0}
    assert shown["meta"]["text"] == "beta 1, tau 0" and shown["meta"]["points"] == [[1.0, 0.5, "here 1", 0]]
    before = shown["seq"]
    s.move(beta=1.26)
    assert s.screen.picture["seq"] == before + 1 and s.screen.picture["where"]["beta"] == 13
    assert repr(s.screen) == "beta 1.26, tau 0"
    bundle, metadata = s.screen._repr_mimebundle_()
    assert bundle["image/png"] and metadata["image/png"] == {"alt": "beta 1.26, tau 0", "width": 40}


def test_a_late_picture_never_replaces_a_newer_one(scene):
    s = scene()
    early, late = s.screen.ticket(), s.screen.ticket()
    assert s.screen.show(s.frame({"beta": 2.0, "tau": 0}), ticket=late)
    newest = s.screen.picture
    assert not s.screen.show(s.frame({"beta": 0.0, "tau": 0}), ticket=early)
    assert s.screen.picture is newest and s.screen.frame.text == "beta 2, tau 0"


# ------------------------------------------------------------------------------------------------------------- sweeps


def test_a_sweep_sends_every_place_once_and_each_is_the_right_picture(scene):
    s = scene()
    s.screen._receive({"kind": "sweep", "name": "beta"}, [])
    assert s.screen.wait(10)
    assert s.kinds() == ["plan", *["frame"] * 21, "done"]
    plan = s.sent[0][0]
    assert (plan["name"], plan["where"], plan["rest"]) == ("beta", {"beta": 10, "tau": 0}, s.screen.picture["rest"])
    pictures = rebuilt(s.frames())
    assert list(pictures) != plan["keys"] and set(pictures) == set(plan["keys"])
    for key, place in zip(plan["keys"], PLACES, strict=True):
        assert np.array_equal(pictures[key], pixels(place))
    whole, *patches = s.frames()
    assert whole[0]["over"] is None and all(content["over"] == whole[0]["key"] for content, _ in patches)
    assert all("regions" not in content["meta"] for content, _ in patches), "what is the same is sent once"
    texts = {content["key"]: content["meta"]["text"] for content, _ in s.frames()}
    assert texts[plan["keys"][3]] == "beta 0.3, tau 0"


def test_coarse_before_fine_and_the_nearest_first():
    waiting, found = set(range(101)), []
    while waiting:
        found.append(order(101, 40, waiting))
        waiting.discard(found[-1])
    assert found[0] == 40 and sorted(found) == list(range(101))
    assert sorted(found[:8]) == [0, 8, 24, 40, 56, 72, 88, 100]
    assert set(found[1:3]) == {24, 56} and found[8] in (32, 48)
    at = {i: n for n, i in enumerate(found)}
    assert max(at[i] for i in range(0, 101, 8)) < min(at[i] for i in range(1, 100, 2))
    assert order(101, 40, []) is None and order(1, 0, {0}) == 0


def test_a_sweep_goes_on_from_where_the_slider_has_moved_to(scene):
    s = scene(pause=0.02)
    s.screen.sweep("beta")
    until(lambda: len(s.drawn) >= 2)
    s.move(beta=1.7)
    at = len(s.drawn)
    assert s.screen.wait(10) and s.kinds()[-1] == "done" and len(s.frames()) == 21
    after = [beta for beta, _ in s.drawn[at : at + 3]]
    assert 1.7 in after


def test_another_control_ends_a_sweep(scene):
    s = scene(pause=0.02)
    s.screen.sweep("beta")
    until(lambda: len(s.frames()) >= 2)
    s.move(tau=0.5)
    assert s.screen.wait(10)
    sent, drawn = len(s.frames()), len(s.drawn)
    assert sent < 21 and s.kinds()[-1] == "stale" and s.sent[-1][0]["plan"] == s.sent[0][0]["plan"]
    time.sleep(0.05)
    assert (len(s.frames()), len(s.drawn)) == (sent, drawn)


def test_a_sweep_of_another_control_takes_its_place(scene):
    s = scene(pause=0.02)
    s.screen.sweep("beta")
    until(lambda: len(s.frames()) >= 2)
    s.screen.sweep("tau")
    assert s.screen.wait(10)
    plans = [content for content, _ in s.sent if content["kind"] == "plan"]
    assert [plan["name"] for plan in plans] == ["beta", "tau"]
    last = [content["key"] for content, _ in s.frames() if content["plan"] == plans[1]["plan"]]
    assert set(last) == set(plans[1]["keys"]) and s.kinds()[-1] == "done"
    assert len([None for content, _ in s.frames() if content["plan"] == plans[0]["plan"]]) < 21


def test_asking_twice_draws_once(scene):
    s = scene(pause=0.005)
    for _ in range(3):
        s.screen.sweep("beta")
    assert s.screen.wait(10) and s.kinds().count("plan") == 1 and len(s.drawn) == 21
    s.screen.sweep("beta")  # a page that was loaded again
    assert s.screen.wait(10) and s.kinds().count("plan") == 2 and len(s.frames()) == 42
    assert len(s.drawn) == 21, "from what is kept"
    again = rebuilt(s.frames()[21:])
    assert len(again) == 21 and np.array_equal(again[s.sent[0][0]["keys"][20]], pixels(2.0))


def test_what_was_forgotten_is_drawn_again(scene):
    s = scene()
    s.screen.sweep("beta")
    assert s.screen.wait(10)
    before = s.sent[0][0]["keys"]
    s.screen.forget()
    assert s.kinds()[-2:] == ["stale", "forget"]
    s.screen.sweep("beta")
    assert s.screen.wait(10) and len(s.drawn) == 42
    plans = [content for content, _ in s.sent if content["kind"] == "plan"]
    assert plans[0]["rest"] != plans[1]["rest"] == s.screen.picture["rest"], "so that the page plays the new ones"
    assert not set(before) & set([content for content, _ in s.sent if content["kind"] == "plan"][-1]["keys"])


def test_a_picture_that_a_sweep_has_brought_is_not_drawn_or_sent_again(scene):
    s = scene()
    assert not s.screen.recall({"beta": 0.3, "tau": 0.0}), "nothing was drawn yet"
    s.screen.sweep("beta")
    assert s.screen.wait(10)
    plan, before = s.sent[0][0], s.screen.picture["seq"]
    assert s.screen.recall({"beta": 0.3, "tau": 0.0})
    said = s.screen.picture
    assert (said["seq"], said["key"], said["rest"]) == (before + 1, plan["keys"][3], plan["rest"])
    assert said["where"] == {"beta": 3, "tau": 0} and "image" not in said and len(s.drawn) == 21
    assert not s.screen.recall({"beta": 0.3, "tau": 0.5}), "another state"
    assert not s.screen.recall({"beta": 0.33, "tau": 0.0}), "on no place of the sweep"
    assert repr(s.screen) == "beta 0.3, tau 0" and s.drawn[-1] == (0.3, 0.0), "drawn when it is asked for"
    assert np.array_equal(s.screen.frame.pixels, pixels(0.3)) and len(s.drawn) == 22
    s.screen.forget()
    assert not s.screen.recall({"beta": 0.3, "tau": 0.0}), "another look"
    with pytest.raises(ValueError, match="values=None: expected a dict"):
        s.screen.recall(None)


def test_at_rest_a_recalled_picture_is_sent_whole_for_a_notebook_that_is_saved(scene, monkeypatch):
    monkeypatch.setattr("ltviz.explore.sweeps.REST", 0.05)
    s = scene()
    s.screen.sweep("beta")
    assert s.screen.wait(10)
    for beta in (0.2, 0.3, 0.4):
        assert s.screen.recall({"beta": beta, "tau": 0.0}) and "image" not in s.screen.picture
    until = time.monotonic() + 10
    while "image" not in s.screen.picture and time.monotonic() < until:
        time.sleep(0.01)
    assert s.screen.picture["where"] == {"beta": 4, "tau": 0} and len(s.drawn) == 22, "once, the last one"
    s.screen.recall({"beta": 0.2, "tau": 0.0})
    s.screen.close()
    time.sleep(0.1)
    assert len(s.drawn) == 22 and s.screen.frame is None, "nothing is drawn after its end"


def test_a_page_without_a_recalled_picture_gets_it(scene):
    s = scene()
    s.screen.sweep("beta")
    assert s.screen.wait(10) and s.screen.recall({"beta": 0.3, "tau": 0.0})
    seq = s.screen.picture["seq"]
    s.screen._receive({"kind": "want", "seq": seq - 1}, [])  # of a picture before this one
    assert s.screen.picture["seq"] == seq
    s.screen._receive({"kind": "want", "seq": seq}, [])
    sent = s.screen.picture
    assert sent["seq"] == seq + 1 and sent["meta"]["text"] == "beta 0.3, tau 0"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(sent["image"]))), pixels(0.3)) and s.errors == []


def test_a_recalled_picture_is_overtaken_by_a_later_ticket(scene):
    s = scene()
    s.screen.sweep("beta")
    assert s.screen.wait(10)
    early, late = s.screen.ticket(), s.screen.ticket()
    s.screen.show(s.frame({"beta": 2.0, "tau": 0}), ticket=late)
    newest = s.screen.picture
    assert s.screen.recall({"beta": 0.3, "tau": 0.0}, early), "nothing is left to draw"
    assert s.screen.picture is newest and s.screen.frame.text == "beta 2, tau 0"
    s.screen.close()
    assert not s.screen.recall({"beta": 0.3, "tau": 0.0}) and s.screen.frame is None


def test_an_error_in_drawing_is_told_and_ends_the_sweep(scene):
    s = scene()
    s.fail = 3
    s.screen.sweep("beta")
    assert s.screen.wait(10)
    assert s.errors == ["no picture"] and s.kinds()[-1] == "failed" and len(s.frames()) == 3
    s.fail = None
    s.screen.sweep("beta")
    assert s.screen.wait(10) and s.kinds()[-1] == "done"


def test_pictures_of_several_sizes_are_sent_whole(scene):
    s = scene()
    s.frame = lambda values: Frame(pixels(1.0, high=20 + int(10 * values["beta"])), "x", [REGION])
    s.screen.sweep("beta")
    assert s.screen.wait(10)
    assert [content["over"] for content, _ in s.frames()] == [None] * 21


def test_memory_is_bounded():
    kept = Bounded(100)
    for i in range(5):
        kept.put(i, f"value {i}", 30)
        kept.get(0)
    assert (len(kept), kept.size) == (3, 90) and kept.get(0) == "value 0" and kept.get(1) is None
    kept.put(0, "smaller", 10)
    assert kept.size == 70
    kept.put("large", "value", 101)
    assert kept.get("large") is None and kept.get(0) == "smaller"
    kept.clear()
    assert (len(kept), kept.size) == (0, 0)


def test_frames_that_are_no_longer_kept_are_drawn_again():
    sent, drawn = [], []
    sweeper = Sweeper(lambda content, buffers: sent.append(content), lambda error: drawn.append(error), 1500)
    slider = widgets.FloatSlider()

    def render(values):
        drawn.append(values["beta"])
        return Frame(pixels(values["beta"]), "x")

    sweep, keys = Sweep("beta", slider, PLACES, PLACES), [str(i) for i in range(21)]
    for _ in range(2):
        sweeper.start(sweep, {"beta": 1.0}, keys, {}, render)
        assert sweeper.wait(10)
        assert 0 < sweeper._kept.size <= 1500
    assert [content["kind"] for content in sent].count("frame") >= 42 and len(drawn) > 21
    slider.close()


def test_drawing_lets_others_draw_in_between(scene, monkeypatch):
    monkeypatch.setattr(sweeps, "BREATH", 0.01)
    s, lock = scene(), threading.RLock()
    plain = s.frame

    def locked(values):
        with lock:
            time.sleep(0.005)
            return plain(values)

    s.frame = locked
    s.screen.sweep("beta")
    until(lambda: len(s.drawn) >= 1)
    began = time.monotonic()
    with lock:
        waited = time.monotonic() - began
    assert waited < 0.1 and len(s.drawn) < 21


# ------------------------------------------------------------------------------------------------------------ pointing


def test_events_reach_the_callbacks_and_errors_the_guard(scene):
    s = scene()
    clicks, drags = [], []
    s.screen.on_click(clicks.append)
    s.screen.on_drag(drags.append)
    s.screen._receive({"kind": "click", "x": 1, "y": 0.5, "region": 0, "point": None, "fx": 0.5}, [])
    s.screen._receive({"kind": "click", "x": 1.5, "y": 0.5, "region": 0, "point": 2}, [])
    s.screen._receive({"kind": "drag", "name": "tau", "x": 1, "y": 2.5, "done": True}, [])
    assert clicks == [Click(1, 0.5, 0, None), Click(1.5, 0.5, 0, 2)] and drags == [Drag("tau", 1, 2.5, True)]
    assert s.kinds() == ["ack"]

    def fails(event) -> None:
        raise RuntimeError("on purpose")

    s.screen.on_click(clicks.append, remove=True)
    s.screen.on_drag(fails)
    s.screen._receive({"kind": "drag", "name": "tau", "x": 1, "y": 2.5, "done": False}, [])
    s.screen._receive({"kind": "click", "x": 1, "y": 0.5, "region": 0, "point": 0}, [])
    assert s.errors == ["on purpose"] and len(clicks) == 2
    assert s.kinds() == ["ack", "ack"], "the page is not kept waiting"


@pytest.mark.parametrize(
    "content",
    [
        None, "sweep", {}, {"kind": "sweep"}, {"kind": "sweep", "name": "gamma"}, {"kind": "sweep", "name": ["beta"]},
        {"kind": "click", "x": "1", "y": 0, "region": 0}, {"kind": "click", "x": float("nan"), "y": 0, "region": 0},
        {"kind": "click", "x": 1, "y": 0, "region": -1}, {"kind": "drag", "name": "", "x": 0, "y": 0, "done": True},
        {"kind": "drag", "name": "tau", "x": 0, "y": 0}, {"kind": "shutdown"},
    ],
)  # fmt: skip
def test_a_message_that_means_nothing_does_nothing(scene, content):
    s = scene()
    heard = []
    s.screen.on_click(heard.append)
    s.screen.on_drag(heard.append)
    s.screen._receive(content, [])
    assert heard == [] and s.sent == [] and s.errors == []


def test_a_region_is_where_matplotlib_has_drawn_it():
    figure = Figure((4, 2), dpi=50)
    ax = figure.add_axes((0.25, 0.2, 0.5, 0.6))
    ax.set(xscale="log", xlim=(1, 1000), ylim=(1, 0), xlabel="images")
    FigureCanvasAgg(figure).draw()
    region = Region.of(ax, "left", yname="share", percent="y")
    assert region.box == pytest.approx((0.25, 0.2, 0.75, 0.8))
    assert (region.x, region.y, region.xscale, region.yscale) == ((1, 1000), (1, 0), "log", "linear")
    assert (region.name, region.xname, region.yname) == ("left", "images", "share")
    assert not figure.stale, "asking does not make matplotlib draw everything anew"
    ax.set_yscale("symlog")
    with pytest.raises(ValueError, match="yscale='symlog': expected one of 'linear', 'log'"):
        Region.of(ax)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Frame(b"GIF89a", "x"), "image=.*expected a PNG as bytes, or pixels"),
        (lambda: Frame(np.zeros((2, 2, 4)), "x"), "image=<ndarray of shape .*expected a PNG"),
        (lambda: Frame(pixels(1.0), " "), "text=' ': expected a text"),
        (lambda: Frame(pixels(1.0), "x", [], [Point(0, 0)]), "regions=.*expected the regions that points"),
        (lambda: Frame(pixels(1.0), "x", [REGION], [Point(0, 0, "", 1)]), "region of points=1: .* from 0 to 0"),
        (lambda: Frame(pixels(1.0), "x", [REGION], [(0, 0)]), "points=.*expected a list of Point"),
        (lambda: Region((0, 0, 1, 1.5), (0, 1), (0, 1)), "box=1.5: expected a number from 0 to 1"),
        (lambda: Region((0.5, 0, 0.5, 1), (0, 1), (0, 1)), "box=.*left < right"),
        (lambda: Region((0, 0, 1, 1), (0, 1), (1, 1)), "y=.*two different ends"),
        (lambda: Region((0, 0, 1, 1), (0, 1), (0, 1), xscale="log"), "x=0: expected a number above 0"),
        (lambda: Region((0, 0, 1, 1), (0, 1), (0, 1), percent="z"), "percent='z': expected one of"),
        (lambda: Handle("a", 0, 0, axis="z"), "axis='z': expected one of 'x', 'y', 'xy'"),
        (lambda: Handle("a", float("nan"), 0), "x=nan: expected a number"),
        (lambda: Handle("a", 0, 0, xlim=(1, 0)), "xlim=.*low < high"),
        (lambda: Sweep("a", object(), [0], [0]), "widget=.*expected an ipywidgets widget"),
        (lambda: Screen(740), "size=740: expected"),
        (lambda: Screen((0, 10)), "size=0: expected a number from 1"),
        (lambda: Screen((10, 10), caption=1), "caption=1: expected True or False"),
    ],
)
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_wrong_calls_are_named(scene):
    s = scene()
    with pytest.raises(ValueError, match=r"no sweep 'betta' \(did you mean 'beta'\?\); there are: beta, tau"):
        s.screen.sweep("betta")
    with pytest.raises(ValueError, match="frame=b'x': expected a Frame"):
        s.screen.show(b"x")
    with pytest.raises(ValueError, match="ticket=99: expected a whole number from 1"):
        s.screen.show(s.frame(s.values()), ticket=99)
    with pytest.raises(ValueError, match="places=.*expected one place for each of the 2 values"):
        Sweep("a", s.beta, [0], [0, 1])
    with pytest.raises(ValueError, match="sweeps=.*each control once"):
        s.screen.follow([s.screen.sweeps[0]] * 2, s.values, s.draw)
    with pytest.raises(ValueError, match="callback=3: expected a function"):
        s.screen.on_click(3)


def test_places_of_values():
    slider, dropdown = widgets.FloatSlider(), widgets.Dropdown(options=["a", "b"])
    near = Sweep("tau", slider, [0, 1, 2], [1.0, 10.0, 100.0], place=lambda value: float(np.log10(value)))
    assert [near.index(value) for value in (1.0, 3.0, 4.0, 99.0, np.float32(100))] == [0, 0, 1, 2, 2]
    assert Sweep("tau", slider, [0, 1, 2], [1.0, 10.0, 100.0]).index(50.0) == 1, "without `place`, the nearest value"
    same = Sweep("rule", dropdown, [0, 1], [True, 1], trait="index")
    assert (same.index(True), same.index(1), same.index("b")) == (0, 1, None) and same.as_json()["nearest"] is False
    for one in (slider, dropdown):
        one.close()


def test_the_difference_of_two_pictures():
    old = pixels(0.0)
    patch, place = difference(pixels(0.5), old)
    assert place == (5, 2) and patch.shape == (16, 6, 4)
    assert (patch[:, 1:5] == 0).all() and (patch[:, [0, 5], 3] == 255).all()
    same, place = difference(old, old.copy())
    assert same.shape == (1, 1, 4) and not same.any() and place == (0, 0)
    clear = old.copy()
    clear[3, 3, 3] = 0
    assert difference(clear, old) is None and difference(pixels(0.0, high=30), old) is None


# --------------------------------------------------------------------------------------------------------------- close


def test_closing_leaves_no_widget_and_no_thread(scene):
    s = scene(pause=0.01)
    gc.collect()
    before = set(widgets.widget._instances) if hasattr(widgets, "widget") else None
    s.screen.sweep("beta")
    until(lambda: len(s.drawn) >= 2)
    ids = {s.screen.model_id, s.screen.layout.model_id}
    s.screen.close()
    assert s.screen.wait(5)
    left = set(widgets.widget._instances)
    assert before - left == ids and not left - before
    assert not [thread for thread in threading.enumerate() if thread.name == "ltviz-sweep"]
    assert s.screen.show(s.frame(s.values()), s.values()) is False
    drawn = len(s.drawn)
    time.sleep(0.03)
    assert len(s.drawn) == drawn


def test_many_threads_move_controls_at_once(scene):
    s = scene(pause=0.0005)

    def shake(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(60):
            ticket = s.screen.ticket()
            values = {"beta": float(rng.choice(PLACES)), "tau": float(rng.choice([0, 0.5, 1.0]))}
            s.screen.show(s.frame(values), values, ticket)
            if rng.random() < 0.3:
                s.screen.sweep(str(rng.choice(["beta", "tau"])))

    threads = [threading.Thread(target=shake, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert s.screen.wait(10) and s.errors == []
    assert s.screen.picture["seq"] <= 241 and s.screen._newest == s.screen._tickets
    for content, _ in s.sent:
        assert content["kind"] in ("plan", "frame", "done", "stale")
    under = {content["key"] for content, _ in s.frames()}
    assert {content["over"] for content, _ in s.frames()} - {None} <= under


# -------------------------------------------------------------------------------------------------------------- export


def test_a_grid_holds_every_place_where_it_fits_and_thins_evenly_where_not(scene):
    s = scene()
    whole = grid(s.screen, ["beta", "tau"])
    assert whole.kept == (tuple(range(21)), (0, 1, 2)) and len(whole.frames) == 63
    keys = [one["key"] for one in whole.frames]
    assert keys[:4] == ["0-0", "0-1", "0-2", "1-0"] and whole.frames[keys.index("10-0")]["over"] is None
    small = grid(s.screen, ["beta", "tau"], most=whole.size // 2)
    assert small.size <= whole.size // 2 and len(small.kept[0]) < 21
    assert {0, 10, 20} <= set(small.kept[0]) and small.kept[1][0] == 0 and small.kept[1][-1] == 2
    steps = set(np.diff([i for i in small.kept[0] if i not in (0, 20)]))
    assert len(steps) == 1, "evenly"


def test_a_grid_of_three_controls_has_a_plan_for_each_at_every_place_of_the_others(scene):
    s = scene()
    third = replace(s.screen.sweeps[1], name="third")
    s.screen.follow([*s.screen.sweeps, third], lambda: s.values() | {"third": 0.0}, s.draw)
    made = grid(s.screen, ["tau", "third", "beta"])
    plans = export_module._plans(made)
    assert [len(kept) for kept in made.kept] == [3, 3, 21] and len(plans) == 3 * 21 + 3 * 21 + 3 * 3
    assert plans[-1]["name"] == "beta" and plans[-1]["where"] == {"tau": 2, "third": 2}
    keys = {frame["key"] for frame in made.frames}
    assert all(set(plan["keys"]) <= keys for plan in plans)
    # The third control does not change the picture: each picture is there once.
    assert len(made.frames) == 63 and made.keys[1, 0, 5] == made.keys[1, 2, 5] != made.keys[0, 0, 5]


def noisy(scene) -> None:
    """A scene of five pictures that have nothing in common, each with a mark that moves: the middle one is drawn first
    of those around it, and is left out where every second value is."""

    def draw(values):
        image = np.random.default_rng(round(2 * values["beta"])).integers(0, 256, (20, 40, 3), np.uint8)
        image[:2, : 1 + round(10 * values["beta"])] = 0
        return Frame(image, f"beta {values['beta']:g}, tau {values['tau']:g}", [REGION])

    scene.screen.follow(scene.screen.sweeps, scene.values, draw)


def played(data) -> dict[tuple[str, int], tuple[str, np.ndarray]]:
    """For each control of a page, at every place of it: the sentence and the pixels that the page shows."""
    packets = [(one, base64.b64decode(one["image"])) for one in data["frames"]]
    shown, metas = rebuilt(sorted(packets, key=lambda one: one[0]["over"] is not None)), {}
    for one in sorted(data["frames"], key=lambda one: one["over"] is not None):
        metas[one["key"]] = {**metas.get(one["over"], {}), **one["meta"]}
    found = {}
    for plan in data["plans"]:
        for i, key in enumerate(plan["keys"]):
            found[plan["name"], i, *plan["where"].values()] = metas[key]["text"], shown[key]
    return found


@pytest.mark.parametrize("most", [6_000, 18_000, 24_000, 30_000, 1_000_000])
def test_every_value_of_a_page_shows_its_own_sentence_and_pixels_however_many_are_left_out(scene, most):
    s = scene()
    noisy(s)
    made = grid(s.screen, ["beta"], most)
    _, data = export_module.piece(s.screen, "x", ["beta"], most)
    data = json.loads(export_module._json(data))
    found = played(data)
    assert len(found) == len(made.kept[0]) and (most == 1_000_000) == (len(found) == 21)
    assert sum(one["over"] is None for one in data["frames"]) > 1, "several are whole"
    for (_, at), (text, shown) in found.items():
        value = PLACES[made.kept[0][at]]
        frame = s.screen._render({"beta": value, "tau": 0.0})
        assert text == f"beta {value:g}, tau 0" and float(data["inputs"][0]["labels"][at]) == value
        np.testing.assert_array_equal(shown, frame.pixels)


def test_as_many_values_are_kept_as_fit(scene):
    """What is guessed from a few pictures, here from whole ones alone, leaves room for more."""
    s = scene()
    noisy(s)
    whole = grid(s.screen, ["beta"], 1_000_000)
    made = grid(s.screen, ["beta"], 2 * whole.size)
    assert made.kept == whole.kept == (tuple(range(21)),) and whole.size < 2 * made.size
    half = grid(s.screen, ["beta"], whole.size)
    assert len(half.kept[0]) >= 5 and half.size <= whole.size


def test_the_pictures_of_a_loss_are_those_of_its_slider_in_an_exported_file(tmp_path):
    """Few of 61 values: pictures that others lay over were among those left out."""
    explorer = lt.explore.loss_anatomy("logit_adjustment")
    text = lt.export(explorer, tmp_path / "page.html", most=150_000).read_text(encoding="utf-8")
    data = json.loads(re.search(r"<script type='application/json'[^>]*>(.*?)</script>", text, re.S)[1])
    labels, found = data["inputs"][0]["labels"], played(data)
    assert 3 <= len(labels) == len(found) < 20 and len({told for told, _ in found.values()}) == len(labels)
    for (name, at), (told, shown) in found.items():
        frame = explorer.screen._render(explorer.screen._values() | {name: float(labels[at])})
        assert told == frame.text
        np.testing.assert_array_equal(shown, frame.pixels)
    explorer.close()


def test_a_picture_that_lies_over_one_that_is_not_there_is_refused(scene, tmp_path, monkeypatch):
    s = scene()
    made = grid(s.screen, ["beta"])
    with pytest.raises(RuntimeError, match=r"frames \['9', '11', .*\] of a page cannot be shown"):
        replace(made, frames=tuple(one for one in made.frames if one["over"] is not None))
    with pytest.raises(RuntimeError, match=r"frames \['20'\] of a page cannot be shown"):
        replace(made, frames=made.frames[:-1])
    alone = export_module._Encoder.alone

    def loses(self, places):  # as if the picture under the others had been left out
        there = alone(self, places)
        return {place: one | {"over": one["over"] and "none"} for place, one in there.items()}

    monkeypatch.setattr(export_module._Encoder, "alone", loses)
    with pytest.raises(RuntimeError, match="of a page cannot be shown"):
        export(s.screen, tmp_path / "x.html")
    assert list(tmp_path.iterdir()) == []


def test_a_control_that_changes_no_picture_has_no_input_and_the_page_says_so(scene, tmp_path):
    s = scene()
    body, data = export_module.piece(s.screen, "x", ["tau", "beta"])
    assert [one["name"] for one in data["state"]["tracks"]] == ["beta"] and "data-name='tau'" not in body
    assert "Without an input, as the picture is the same at all values: tau." in body
    assert "these stay as they are: tau = 0." in body
    text = export(s.screen, tmp_path / "x.html", controls=["tau"]).read_text(encoding="utf-8")
    assert "<input" not in text and "as the picture is the same at all values: tau." in text


def test_a_page_says_where_a_control_changes_nothing_as_the_others_stand(scene):
    s = scene()
    s.screen.follow(
        s.screen.sweeps, s.values, lambda values: Frame(pixels(values["beta"] if values["tau"] else 0.3), "text")
    )
    _, data = export_module.piece(s.screen, "x", ["beta", "tau"])
    still = {(one["name"], *one["where"].values()): one["still"] for one in data["plans"]}
    assert [still["beta", i] for i in range(3)] == [True, False, False]
    assert [at for (name, at), one in still.items() if name == "tau" and one] == [3], "beta = .3: the same picture"


def test_controls_have_the_names_of_their_sliders_and_check_boxes_say_yes_or_no(scene):
    s = scene()
    s.beta.description, box = "β", widgets.Checkbox(value=True, description="learn scale")
    learn = Sweep("learn", box, [False, True], [False, True])
    s.screen.follow([*s.screen.sweeps, learn], lambda: s.values() | {"learn": box.value}, s.draw)
    body, data = export_module.piece(s.screen, "x", ["beta"])
    assert ">β</label>" in body and "data-name='beta'" in body and data["state"]["tracks"][0]["name"] == "beta"
    assert "these stay as they are: tau = 0, learn scale = yes." in body
    assert export_module._labels(learn) == ["no", "yes"]


def test_frames_far_from_the_first_are_whole_and_others_lie_over_the_nearest_whole_one(scene):
    s = scene()
    pictures = np.random.default_rng(0).integers(0, 256, (2, 40, 60, 3), np.uint8)

    def draw(values):
        image = pictures[int(values["tau"] > 0)].copy()
        image[0, : int(100 * values["beta"]) % 60] = 0
        return Frame(image, "noise")

    s.screen.follow(s.screen.sweeps, s.values, draw)
    frames = {one["key"]: one for one in grid(s.screen, ["beta", "tau"]).frames}
    wholes = [key for key, one in frames.items() if one["over"] is None]
    assert len(wholes) == 2 and {key.endswith("-0") for key in wholes} == {True, False}
    for key, one in frames.items():
        assert key in wholes or (one["over"] in wholes and one["over"].endswith("-0") == key.endswith("-0")), key


def test_export_refuses_what_it_cannot_write(scene, tmp_path):
    s = scene()
    with pytest.raises(ValueError, match="controls='gamma': expected one of 'beta', 'tau'"):
        export(s.screen, tmp_path / "x.html", controls=["gamma"])
    with pytest.raises(ValueError, match="controls=.*one or two different names"):
        export(s.screen, tmp_path / "x.html", controls=["beta", "tau", "beta"])
    with pytest.raises(ValueError, match="screens=.*expected at least one"):
        export([], tmp_path / "x.html")
    with pytest.raises(ValueError, match="screens=3: expected a Screen"):
        export(3, tmp_path / "x.html")
    with pytest.raises(ValueError, match="most=10: expected a whole number of at least 50,000"):
        export(s.screen, tmp_path / "x.html", most=10)
    assert list(tmp_path.iterdir()) == []
    empty = Screen()
    with pytest.raises(ValueError, match="expected a screen that shows a picture"):
        export(empty, tmp_path / "x.html")
    empty.close()


def test_frames_that_are_larger_than_what_is_asked_for_are_the_ends_and_the_present_one(scene):
    made = grid(scene().screen, ["beta"], most=1)
    assert made.kept == ((0, 10, 20),) and made.size > 1 and len(made.frames) == 3


def test_a_page_holds_all_that_it_needs(scene, tmp_path):
    s = scene()
    path = export([s.screen], tmp_path / "deep" / "page.html", title="A <title>")
    text = path.read_text(encoding="utf-8")
    assert "<title>A &lt;title&gt;</title>" in text and "<h2>Scene</h2>" in text
    assert "http:" not in text and "https:" not in text and "import " not in text.replace("important", "")
    assert "default-src 'none'" in text and "In this page these stay as they are: tau = 0." in text
