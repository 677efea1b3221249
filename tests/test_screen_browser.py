"""The module of a screen in a real browser: frames that play, pointing, dragging, and pages without a kernel."""

import base64
import json
import queue
import re
import statistics
import time
import urllib.request

import ipywidgets as widgets
import numpy as np
import pytest
from conftest import chromium
from test_browser import lab  # noqa: F401  the fixture

from ltviz.explore.export import export
from ltviz.explore.frames import Frame, Handle, Point, Region
from ltviz.explore.screen import CSS, SCRIPT, Screen
from ltviz.explore.sweeps import Sweep
from tools.benchmark.page import chromium as driven

pytestmark = pytest.mark.browser
WIDE, HIGH = 1110, 555
PLACES = [round(0.1 * i, 10) for i in range(51)]

# A page with a slider and a number box as ipywidgets has them: a model whose `change:value` is heard at once.
HARNESS = """
<!doctype html><html lang="en"><head><title>screen</title></head><body style="margin:0">
<div id="control"><input id="slider" type="range" aria-label="beta" min="0" max="5" step="0.1" value="2.5">
<span id="box"><input aria-label="value" value="2.5"></span></div><button id="other">other</button>
<div id="here" style="width: 740px"></div></body></html>
"""
START = """async ({ code, css, state }) => {
  class Model {
    constructor(state) { Object.assign(this, { state, heard: {}, views: {} }); }
    get(key) { return this.state[key]; }
    set(key, value) {
      this.state[key] = value;
      for (const act of this.heard[`change:${key}`] ?? []) act();
    }
    save_changes() { saved(JSON.parse(JSON.stringify({ ratio: this.state.ratio, theme: this.state.theme }))); }
    on(event, act) { (this.heard[event] ??= []).push(act); }
    off(event, act) { this.heard[event] = (this.heard[event] ?? []).filter((one) => one !== act); }
    send(content) { toKernel(content); }
  }
  const bytes = (text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  const { default: widget } = await import(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
  const style = document.head.appendChild(document.createElement("style"));
  style.textContent = css;
  const input = document.getElementById("slider");
  window.slider = new Model({ value: Number(input.value) });
  slider.views = { one: Promise.resolve({ el: input }) };
  input.addEventListener("input", () => slider.set("value", Number(input.value)));
  const box = new Model({ value: 0 });
  box.views = { one: Promise.resolve({ el: document.getElementById("box") }) };
  window.model = new Model(state);
  state.picture.image &&= bytes(state.picture.image);
  model.widget_manager = { get_model: async (id) => (id === state.tracks[0]?.box ? box : slider) };
  window.receive = (packets) => packets.forEach(([content, image]) =>
    (model.heard["msg:custom"] ?? []).forEach((act) => act(content, image ? [bytes(image)] : [])));
  window.show = (picture) => model.set("picture", { ...picture, image: bytes(picture.image) });
  window.drawn = [];
  document.addEventListener("ltviz-drawn", (event) => drawn.push(event.detail));
  window.undo = widget.render({ model, el: document.getElementById("here") });
  window.pixel = () => [...document.querySelector("canvas").getContext("2d").getImageData(3, 3, 1, 1).data];
}"""


def picture(i: float, wide: int = WIDE, high: int = HIGH) -> np.ndarray:
    """Pixels that say which picture they are: i in the red of the corner. Lines and a moving mark cover the rest."""
    pixels = np.full((high, wide, 4), 255, np.uint8)
    pixels[::37, :, :3] = 200
    pixels[:, ::53, :3] = 200
    column = int((wide - 60) * min(i / 50, 1))
    pixels[60:-60, column : column + 40, :3] = 90, 20, 200
    pixels[60:100, column : column + 40, :3] = np.random.default_rng(0).integers(0, 255, (40, 40, 3))
    pixels[:20, :20, :3] = round(i), 10, 10
    return pixels


REGIONS = (
    Region((0.1, 0.1, 0.5, 0.9), (0, 10), (0, 1), "left", xname="n", yname="accuracy", percent="y"),
    Region((0.55, 0.1, 0.95, 0.9), (1, 1000), (-1, 1), "right", xscale="log", xname="images", yname="gain"),
)
POINTS = (Point(2, 0.5, "rabbit"), Point(8, 0.5, "ship"), Point(float("nan"), 0.5, "none"), Point(8, 0.9, "cat"))


class Bench:
    """A real Screen, and a page on which the module shows it; `pump` brings the messages across."""

    def __init__(self, page, handles=(), **size):
        self.page, self.queue, self.clicks, self.drags = page, queue.SimpleQueue(), [], []
        self.slider = widgets.FloatSlider(value=2.5, min=0, max=5, step=0.1)
        self.box = widgets.FloatText(value=2.5)
        self.handles, self.rendered = tuple(handles), []
        self.screen = Screen((740, 370), title="Bench", **size)
        self.screen.send = lambda content, buffers=None: self.queue.put((content, buffers))
        self.screen.follow(
            [Sweep("beta", self.slider, PLACES, PLACES, box=self.box)], lambda: {"beta": self.slider.value}, self.draw
        )
        self.screen.on_click(self.clicks.append)
        self.screen.on_drag(self.drags.append)
        self.show()
        self.errors = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: message.type == "error" and self.errors.append(message.text))
        page.set_content(HARNESS)
        page.evaluate(START, {"code": SCRIPT, "css": CSS, "state": self.state()})
        self.until("drawn.length > 0")
        page.wait_for_timeout(20)
        assert self.pump() == ["ready"], "what the page says first is answered"

    def draw(self, values) -> Frame:
        self.rendered.append(values["beta"])
        text = f"beta is {values['beta']:g}"
        return Frame(picture(10 * values["beta"]), text, REGIONS, POINTS, self.handles)

    def show(self, **values) -> None:
        values = {"beta": self.slider.value, **values}
        self.screen.show(self.draw(values), values)

    def picture(self) -> dict:
        return {**self.screen.picture, "image": base64.b64encode(self.screen.picture["image"]).decode()}

    def state(self) -> dict:
        keys = ("size", "caption", "tracks", "ratio", "theme")
        return {key: getattr(self.screen, key) for key in keys} | {"picture": self.picture()}

    def send_picture(self) -> None:
        self.page.evaluate("picture => show(picture)", self.picture())

    def send_named(self) -> None:
        """Only which picture it is, as the kernel says where a sweep has brought it."""
        assert "image" not in self.screen.picture
        self.page.evaluate("picture => model.set('picture', picture)", dict(self.screen.picture))

    def pump(self) -> list[str]:
        """Bring what the screen has said to the page; the kinds of messages."""
        packets = []
        while not self.queue.empty():
            content, buffers = self.queue.get()
            packets.append([content, base64.b64encode(buffers[0]).decode() if buffers else None])
        self.page.evaluate("packets => receive(packets)", packets)
        return [content["kind"] for content, _ in packets]

    def until(self, condition: str) -> None:
        self.page.wait_for_function(condition, timeout=10_000)

    def shown(self) -> int:
        """Which picture is on the canvas."""
        return self.page.evaluate("pixel()")[0]

    def sweep(self) -> None:
        """Take hold of the slider, and wait for all frames."""
        self.page.evaluate("document.getElementById('slider').focus()")
        deadline = time.monotonic() + 20
        kinds = []
        while "done" not in kinds:
            self.page.wait_for_timeout(10)  # lets the page's message through
            assert self.screen.wait(20) and time.monotonic() < deadline
            kinds += self.pump()
        assert kinds.count("frame") == len(PLACES)

    def move(self, value: float) -> None:
        """Move the slider on the page; the kernel does not hear of it."""
        self.page.evaluate(
            """value => { const input = document.getElementById('slider'); input.value = value;
            input.dispatchEvent(new Event('input')); }""",
            value,
        )

    def say(self, said) -> None:
        self.screen._receive(said, [])


@pytest.fixture(scope="module")
def browser():
    pytest.importorskip("playwright.sync_api")
    with driven(chromium()) as launched:
        yield launched


@pytest.fixture
def bench(browser):
    """bench(...) makes a Bench on a page of its own."""
    opened = []

    def opener(handles=(), viewport=(900, 700), scale=1.0, touch=False, **more) -> Bench:
        context = browser.new_context(
            viewport=dict(zip(("width", "height"), viewport, strict=True)), device_scale_factor=scale, has_touch=touch
        )
        page = context.new_page()
        made, facts = [], []
        page.expose_function("toKernel", lambda content: made[0].say(content))
        page.expose_function("saved", lambda state: facts.append(state))
        one = Bench.__new__(Bench)
        made.append(one)
        one.facts = facts
        one.__init__(page, handles, **more)
        opened.append((one, context))
        return one

    yield opener
    for one, context in opened:
        assert one.errors == []
        one.screen.close()
        context.close()


def test_a_sweep_plays_without_the_kernel(bench):
    b = bench()
    assert b.shown() == 25
    b.sweep()
    seen = []
    for value in (0.0, 0.7, 1.3, 4.9, 5.0):
        b.move(value)
        b.until(f"pixel()[0] === {round(10 * value)}")
        seen.append(b.page.locator("canvas").get_attribute("aria-label"))
    assert seen == ["beta is 0", "beta is 0.7", "beta is 1.3", "beta is 4.9", "beta is 5"]
    assert b.page.locator(".caption").inner_text() == "beta is 5"
    assert b.page.locator("#box input").input_value() == "5", "the number beside the slider follows"
    assert b.screen.frame.text == "beta is 2.5", "the kernel has not been asked"


def latencies(b, moves: int = 60) -> list[float]:
    """ms from an input event to the frame after the one in which the canvas was drawn."""
    return b.page.evaluate(
        """async (moves) => {
        const input = document.getElementById('slider'), found = [];
        const frame = () => new Promise(requestAnimationFrame);
        const task = () => new Promise((done) => { const c = new MessageChannel(); c.port1.onmessage = done;
          c.port2.postMessage(0); });
        for (let i = 0; i < moves; i++) {
          await frame();
          await new Promise((done) => setTimeout(done, 3 + 10 * Math.random()));  // anywhere in a frame
          const before = drawn.length, start = performance.now();
          input.value = (i % 2 ? 0.1 : 0.17) * (i % 30);
          input.dispatchEvent(new Event('input'));
          while (drawn.length === before) await task();
          await frame();  // what was drawn is in this frame,
          await task();  // which is presented now
          found.push(performance.now() - start);
        }
        return found;
    }""",
        moves,
    )


def test_the_picture_follows_the_slider_within_a_frame_or_two(bench):
    b = bench()
    b.sweep()
    found = sorted(latencies(b))
    median, p95 = statistics.median(found), found[int(0.95 * len(found))]
    print(f"input to presented frame: median {median:.1f} ms, 95% below {p95:.1f} ms")
    assert median <= 20 and p95 <= 60  # on a machine that others use as well; the benchmark has the strict bound


def test_a_picture_that_is_not_there_comes_from_the_kernel_and_the_newest_wins(bench):
    b = bench()
    b.slider.value = 1.0
    b.show()
    first = b.picture()
    b.slider.value = 2.0
    b.show()
    b.send_picture()
    b.until("pixel()[0] === 20")
    b.page.evaluate("picture => show(picture)", first)  # arrives late
    b.page.wait_for_timeout(100)
    assert b.shown() == 20
    assert b.page.locator("canvas").get_attribute("aria-label") == "beta is 2"


def test_an_answer_for_an_older_place_does_not_replace_a_played_frame(bench):
    b = bench()
    b.sweep()
    b.move(4.0)
    b.until("pixel()[0] === 40")
    b.slider.value = 3.9  # the kernel lags behind
    b.show()
    b.send_picture()
    b.page.wait_for_timeout(100)
    assert b.shown() == 40
    b.slider.value = 4.0  # it has caught up: its picture is the exact one (a value typed in is on no place)
    b.show()
    b.screen.show(Frame(picture(99), "the exact one"), {"beta": 4.003})
    b.send_picture()
    b.until("pixel()[0] === 99")


def test_the_kernel_names_a_picture_that_the_page_has(bench):
    b = bench()
    b.sweep()
    b.move(4.0)
    b.until("pixel()[0] === 40")
    drawn = b.page.evaluate("drawn.length")
    b.slider.value = 4.0
    assert b.screen.recall({"beta": 4.0})
    b.send_named()
    b.page.wait_for_timeout(100)
    assert b.page.evaluate("drawn.length") == drawn, "it is shown already"
    b.slider.value = 1.0  # moved by code: the page draws the frame that it keeps
    b.page.evaluate("slider.state.value = 1.0")
    assert b.screen.recall({"beta": 1.0})
    b.send_named()
    b.until("pixel()[0] === 10")
    assert b.page.locator("canvas").get_attribute("aria-label") == "beta is 1" and len(b.rendered) == len(PLACES) + 1
    b.page.evaluate("receive([[{ kind: 'forget' }, null]])")  # as a page that was opened later
    assert b.screen.recall({"beta": 3.0})
    b.send_named()
    b.page.wait_for_timeout(100)
    assert b.rendered[-1] == 3.0 and b.screen.picture["image"], "the page asks for what it does not have"
    b.send_picture()
    b.until("pixel()[0] === 30")


def test_photographs_are_laid_above_a_dark_picture_at_once_and_only_then(bench):
    b = bench()
    frame = Frame(picture(50), "photographs", photos=[(0.0, 0.0, 0.01, 0.01), (0.5, 0.5, 0.6, 0.6)])
    b.screen.show(frame, {"beta": 5.0})
    b.send_picture()
    b.until("pixel()[0] === 50")
    above = """() => { const one = document.querySelector('canvas.photos'), pen = one.getContext('2d');
      return [one.width, [...pen.getImageData(3, 3, 1, 1).data], [...pen.getImageData(30, 30, 1, 1).data]]; }"""
    assert b.page.evaluate(above)[1] == [0, 0, 0, 0], "nobody sees them in the light"
    b.page.evaluate("document.body.dataset.jpThemeLight = 'false'")
    b.page.wait_for_timeout(100)
    assert b.page.evaluate(above) == [WIDE, [50, 10, 10, 255], [0, 0, 0, 0]]
    b.screen.show(Frame(picture(7), "none"), {"beta": 0.7})
    b.send_picture()
    b.until("pixel()[0] === 7")
    assert b.page.evaluate(above)[1] == [0, 0, 0, 0], "no photographs in this one"


def test_the_nearest_frame_is_shown_until_the_right_one_is_there(bench):
    b = bench()
    b.page.evaluate("document.getElementById('slider').focus()")
    b.page.wait_for_timeout(50)
    b.screen.wait(20)
    packets = []
    while not b.queue.empty():
        packets.append(b.queue.get())
    kinds = [content["kind"] for content, _ in packets]
    assert kinds[0] == "plan" and kinds[-1] == "done"
    for packet in packets[:4]:  # the plan, and three frames: of now, and of the first places to either side
        b.queue.put(packet)
    b.pump()
    b.move(4.6)
    b.until("pixel()[0] === 41")
    assert b.page.locator("canvas").get_attribute("aria-busy") == "true"
    for packet in packets[4:]:
        b.queue.put(packet)
    b.pump()
    b.until("pixel()[0] === 46")
    assert b.page.locator("canvas").get_attribute("aria-busy") == "false"


def test_frames_of_another_state_are_not_played(bench):
    b = bench()
    b.sweep()
    b.screen.show(Frame(picture(77), "another state"), {"beta": 2.5, "tau": 1.0})
    b.send_picture()
    b.pump()
    b.until("pixel()[0] === 77")
    b.move(1.0)
    b.page.wait_for_timeout(100)
    assert b.shown() == 77
    b.screen.forget()
    b.show()
    b.send_picture()
    b.pump()
    b.until("pixel()[0] === 25")
    b.move(3.0)
    b.page.wait_for_timeout(100)
    assert b.shown() == 25, "what was forgotten is not played"


def test_the_page_keeps_a_bounded_number_of_bytes(bench):
    b = bench()
    b.sweep()
    for value in np.linspace(0, 5, 51):
        b.move(float(value))
    b.until("pixel()[0] === 50")
    sizes = b.page.evaluate(
        """async (code) => {
        const text = code.replace(/export default.*/, "export { Bounded, STORED, DECODED };");
        const module = await import(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
        const dropped = [], kept = new module.Bounded(100, (one) => dropped.push(one));
        for (let i = 0; i < 5; i++) { kept.put(i, `v${i}`, 30); kept.get(0); }
        const keys = [...kept.kept.keys()];
        kept.put(9, "large", 1000);
        return { keys, dropped, size: kept.size, left: [...kept.kept.keys()], bounds: [module.STORED, module.DECODED] };
    }""",
        SCRIPT,
    )
    assert sizes["keys"] == [3, 4, 0], "the one that was used stays"
    assert sizes["dropped"] == ["v1", "v2", "v3", "v4", "v0", "large"] and sizes["size"] == 0 and sizes["left"] == []
    assert sizes["bounds"] == [16 * 2**20, 64 * 2**20]


# ------------------------------------------------------------------------------------------------------------ pointing


def at(b, fx: float, fy: float) -> tuple[float, float]:
    """Coordinates on the page of a place in the picture."""
    box = b.page.locator("canvas").bounding_box()
    return box["x"] + fx * box["width"], box["y"] + fy * box["height"]


def test_hovering_tells_the_value_and_a_click_tells_python(bench):
    b = bench()
    tip = b.page.locator(".tip")
    assert tip.is_hidden()
    b.page.mouse.move(*at(b, 0.3, 0.26))
    assert tip.inner_text() == "n 5, accuracy 80.0%"
    b.page.mouse.move(*at(b, 0.75, 0.5))
    assert tip.inner_text() == "images 31.6, gain 0", "a logarithmic axis"
    b.page.mouse.move(*at(b, 0.19, 0.52))
    assert tip.inner_text() == "rabbit"
    b.page.mouse.click(*at(b, 0.19, 0.52))
    b.page.mouse.click(*at(b, 0.75, 0.9))
    b.page.mouse.click(*at(b, 0.52, 0.5))  # between the two
    b.page.wait_for_timeout(50)
    assert [(click.region, click.point) for click in b.clicks] == [(0, 0), (1, None)]
    assert (b.clicks[0].x, b.clicks[0].y) == pytest.approx((2.25, 0.475), abs=0.03)
    assert (b.clicks[1].x, b.clicks[1].y) == pytest.approx((31.6, -1), abs=0.4)
    b.page.mouse.move(*at(b, 0.52, 0.5))
    assert tip.is_hidden()


def test_points_are_reached_by_keyboard(bench):
    b = bench()
    canvas, said = b.page.locator("canvas"), b.page.locator(".said")
    canvas.focus()
    heard = []
    for key in ("ArrowRight", "ArrowRight", "ArrowUp", "ArrowLeft", "Enter", "End"):
        canvas.press(key)
        heard.append(said.inner_text())
    assert heard == ["rabbit", "ship", "cat", "rabbit", "rabbit", "cat"]
    b.page.wait_for_timeout(50)
    assert [(click.point, click.x, click.y) for click in b.clicks] == [(0, 2, 0.5)]
    canvas.press("Escape")
    assert b.page.locator(".tip").is_hidden()


@pytest.mark.parametrize("text", ["a trial with a long story of its settings", "beta=0.999830596," * 12])
def test_what_is_pointed_at_is_told_inside_the_picture(bench, text):
    b = bench()
    points = [Point(x, 0.5, f"{x} {text}") for x in range(41)]
    b.screen.show(Frame(picture(7), "many points", [Region((0, 0, 1, 1), (0, 40), (0, 1))], points))
    b.send_picture()
    b.until("pixel()[0] === 7")
    stage, tip, seen = b.page.locator(".stage").bounding_box(), b.page.locator(".tip"), set()
    for x in range(1, 40):
        b.page.mouse.move(*at(b, x / 40, 0.5))
        told = tip.bounding_box()
        seen.add(int(tip.inner_text().split()[0]))
        assert stage["x"] <= told["x"] and told["x"] + told["width"] <= stage["x"] + stage["width"], x
    assert seen == set(range(1, 40))


def test_the_pointer_is_always_in_a_cell_of_a_matrix(bench):
    b = bench()
    cells = Region((0, 0, 1, 1), (-0.5, 1.5), (1.5, -0.5), cells=True)
    points = [Point(x, y, f"true {y}, answered {x}") for y in range(2) for x in range(2)]
    b.screen.show(Frame(picture(7), "a matrix", [cells], points))
    b.send_picture()
    b.until("pixel()[0] === 7")
    b.page.mouse.click(*at(b, 0.95, 0.05))
    assert b.page.locator(".tip").inner_text() == "true 0, answered 1"
    b.page.wait_for_timeout(50)
    assert b.clicks[0].point == 1


HANDLE = Handle("tau", 5, 0.5, "threshold tau", "x", (2, 9), region=0)


def test_a_handle_is_dragged_by_pointer(bench):
    b = bench([HANDLE])
    handle = b.page.get_by_role("slider", name="threshold tau")
    assert handle.get_attribute("aria-valuenow") == "5" and handle.get_attribute("aria-valuetext") == "n 5"
    b.page.mouse.move(*at(b, 0.3, 0.5))
    b.page.mouse.down()
    for fx in (0.32, 0.34, 0.38):
        b.page.mouse.move(*at(b, fx, 0.8))
    b.page.wait_for_timeout(50)
    assert 1 <= len(b.drags) <= 2, "one at a time, until the kernel has answered"
    b.pump()
    b.page.mouse.move(*at(b, 0.9, 0.5))  # beyond its limit
    b.page.mouse.up()
    for _ in range(4):
        b.page.wait_for_timeout(30)
        b.pump()
    last = b.drags[-1]
    assert (last.name, last.x, last.y, last.done) == ("tau", 9, 0.5, True)
    assert not b.drags[0].done and b.drags[0].y == 0.5


def test_a_handle_is_dragged_by_keyboard_and_stays_where_the_picture_says(bench):
    b = bench([HANDLE])
    handle = b.page.get_by_role("slider", name="threshold tau")
    handle.focus()
    for key in ("ArrowRight", "ArrowUp", "Home"):
        handle.press(key)
        b.page.wait_for_timeout(30)
        b.pump()
    assert [round(drag.x, 3) for drag in b.drags] == [5.2, 5.2, 2]
    b.screen.show(Frame(picture(25), "moved", REGIONS, POINTS, [Handle("tau", 7, 0.5, "threshold tau", "x", (2, 9))]))
    b.send_picture()
    b.until("document.querySelector('.handle').getAttribute('aria-valuenow') === '7'")
    b.show()
    ring = handle.evaluate("node => getComputedStyle(node).outlineStyle + getComputedStyle(node).outlineWidth")
    assert ring == "solid3px", "its focus is seen"


def test_a_handle_moves_by_the_step_it_asks_for(bench):
    b = bench([Handle("tau", 5, 0.5, "threshold tau", "x", (2, 9), step=0.25)])
    handle = b.page.get_by_role("slider", name="threshold tau")
    handle.focus()
    for key in ("ArrowRight", "ArrowDown", "PageUp", "Shift+ArrowRight", "End", "Home"):
        handle.press(key)
        b.page.wait_for_timeout(30)
        b.pump()
    assert [round(drag.x, 3) for drag in b.drags] == [5.25, 4.75, 6.25, 6.25, 9, 2], "each from where the picture says"


def test_a_handle_stops_where_it_can_stand(bench):
    b = bench([Handle("both", 100, 0.2, "strengths", "xy", region=1, step=((1, 10, 100, 1000), (-1, 0, 0.5, 1)))])
    handle = b.page.get_by_role("slider", name="strengths")
    handle.focus()
    for key in ("ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "Home", "PageUp", "PageDown"):
        handle.press(key)
        b.page.wait_for_timeout(30)
        b.pump()
    found = [(round(drag.x, 2), round(drag.y, 2)) for drag in b.drags]
    assert found == [(100, 0.5), (100, 0), (10, 0.2), (1000, 0.2), (1, -1), (1000, 1), (1, -1)]


@pytest.mark.parametrize("step", [0, -1, True, "1", (), (1,), (2, 1), ((1, 2), 3), ((1, 2), (1, 1))])
def test_a_step_that_makes_no_sense_is_refused(step):
    with pytest.raises(ValueError, match="step"):
        Handle("tau", 5, 0.5, step=step)


def test_a_handle_is_dragged_by_touch(bench):
    b = bench([HANDLE], touch=True)
    session = b.page.context.new_cdp_session(b.page)

    def touch(kind: str, *points) -> None:
        there = [dict(zip("xy", at(b, *one), strict=True)) for one in points]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": there})

    touch("touchStart", (0.3, 0.5))
    touch("touchMove", (0.34, 0.5))
    touch("touchMove", (0.38, 0.5))
    touch("touchEnd")
    for _ in range(4):
        b.page.wait_for_timeout(30)
        b.pump()
    assert b.drags[-1].done and b.drags[-1].x == pytest.approx(7, abs=0.05)


def test_a_tap_points_and_chooses(bench):
    b = bench(touch=True)
    b.page.touchscreen.tap(*at(b, 0.18, 0.5))
    assert b.page.locator(".tip").inner_text() == "rabbit"
    b.page.wait_for_timeout(400)
    assert b.page.locator(".tip").is_visible(), "it stays after the finger has gone"
    assert [click.point for click in b.clicks] == [0]


# A notebook that hears keys before the page does, as Notebook 7: it passes over what is marked, as Lumino does.
EARLY = """<div class="jp-Notebook"><div class="ltviz-explorer"><button id="handle" role="slider">slider</button>
  <input id="box"></div><div class="ltviz-answer"><input id="choice" type="radio"><button id="commit" class="commit">
  Commit</button></div><div class="jp-OutputArea"><details><summary id="fold">fold</summary></details></div>
  <button id="other">other</button></div>"""
HEARS = """() => { window.heard = []; document.addEventListener('keydown', (event) => {
  let one = event.target;
  const past = (node) => node.hasAttribute('data-lm-suppress-shortcuts') || node.matches('.jp-Notebook');
  while (one && !past(one)) one = one.parentElement;
  if (one?.matches('.jp-Notebook')) { heard.push(event.key); event.preventDefault(); }
}, true); }"""


@pytest.mark.parametrize("once", [1, 3])
def test_a_notebook_that_hears_keys_first_is_told_which_are_its_own(browser, once):
    page = browser.new_page()
    page.set_content(EARLY)
    page.evaluate(HEARS)
    for _ in range(once):  # each widget brings the module along
        page.evaluate("code => import(URL.createObjectURL(new Blob([code], { type: 'text/javascript' })))", SCRIPT)
    found = {}
    for name in ("handle", "box", "choice", "commit", "fold", "other"):
        page.evaluate("heard.length = 0")
        for key in ("b", "ArrowDown", "Escape", "Shift+Enter", "Control+s", "Control+b"):
            page.locator(f"#{name}").press(key)
        found[name] = [key for key in page.evaluate("heard") if key not in ("Shift", "Control")]
    assert found == {
        **dict.fromkeys(("handle", "box", "choice"), ["s"]),
        "commit": ["Enter", "s"],
        "fold": ["Enter", "s", "b"],
        "other": ["b", "ArrowDown", "Escape", "Enter", "s", "b"],
    }
    page.close()


# ---------------------------------------------------------------------------------------------------------------- look


def test_sharp_on_a_dense_screen_and_told_of_the_theme(bench):
    b = bench(scale=2.0)
    assert b.facts == [{"ratio": 2, "theme": "light"}]
    b.page.evaluate("document.body.dataset.jpThemeLight = 'false'")
    b.page.wait_for_timeout(50)
    assert b.facts[-1] == {"ratio": 2, "theme": "dark"}
    b.screen.show(Frame(picture(30, 1480, 740), "twice as many pixels", REGIONS, POINTS))
    b.send_picture()
    b.until("document.querySelector('canvas').width === 1480")
    assert b.page.locator("canvas").bounding_box()["width"] == 740


@pytest.mark.parametrize("wide", [320, 500, 900])
def test_it_keeps_its_shape_in_any_container(bench, wide):
    b = bench(viewport=(1000, 700))
    b.page.evaluate("wide => { document.getElementById('here').style.width = `${wide}px`; }", wide)
    box = b.page.locator("canvas").bounding_box()
    assert box["width"] == min(wide, 740) and box["width"] / box["height"] == pytest.approx(2, abs=0.01)
    assert b.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_around_the_picture_it_is_transparent(bench):
    b = bench()
    b.page.evaluate("document.body.style.background = 'rgb(17, 17, 17)'")
    inside = "[...document.querySelectorAll('.ltviz-screen, .ltviz-screen .stage, .ltviz-screen .caption')]"
    colours = b.page.evaluate(f"{inside}.map(one => getComputedStyle(one).backgroundColor)")
    assert set(colours) == {"rgba(0, 0, 0, 0)"}


def test_what_is_pointed_at_is_told_in_the_part_of_a_scrolled_picture_that_can_be_seen(bench):
    b = bench()
    b.page.evaluate("document.getElementById('here').style.cssText = 'width: 320px; height: 200px; overflow: auto'")
    b.page.add_style_tag(content=".ltviz-screen { width: 740px !important; }")
    tip, seen = b.page.locator(".tip"), 0
    for x, y in ((0, 0), (100, 60), (420, 150)):
        b.page.evaluate("([x, y]) => document.getElementById('here').scrollTo(x, y)", [x, y])
        box = b.page.locator("#here").bounding_box()
        for right, down in ((0.03, 0.3), (0.4, 0.1), (0.4, 0.7), (0.9, 0.3)):
            b.page.mouse.move(box["x"] + right * box["width"], box["y"] + down * box["height"])
            if tip.is_hidden():
                continue
            told, seen = tip.bounding_box(), seen + 1
            assert box["x"] - 0.5 <= told["x"] and told["x"] + told["width"] <= box["x"] + box["width"] + 0.5
            assert box["y"] - 0.5 <= told["y"] and told["y"] + told["height"] <= box["y"] + box["height"] + 0.5
    assert seen > 7, "nearly everywhere something is pointed at"


def test_taking_it_off_the_page_leaves_no_listener(bench):
    b = bench([HANDLE])
    b.sweep()
    b.page.evaluate("undo()")
    left = "Object.values({...model.heard, ...slider.heard}).flat().length"
    assert b.page.evaluate(left) == 0 and b.page.locator(".ltviz-screen").count() == 0
    asked = len(b.rendered)
    b.page.evaluate("document.getElementById('slider').blur(), document.getElementById('slider').focus()")
    b.page.wait_for_timeout(100)
    assert len(b.rendered) == asked


# ------------------------------------------------------------------------------------------------------------- exported


@pytest.fixture
def opened(browser, tmp_path):
    """opened(path) opens a file in a page on which every request is noted."""
    contexts = []

    def opener(path):
        context = browser.new_context(viewport={"width": 1000, "height": 800}, offline=True)
        contexts.append(context)
        page = context.new_page()
        page.wrong, page.asked = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("console", lambda message: message.type == "error" and page.wrong.append(message.text))
        page.on("pageerror", lambda error: page.wrong.append(str(error)))
        page.goto(path.as_uri())
        page.locator("canvas[aria-label='beta is 2.5']").first.wait_for()
        return page

    yield opener
    for context in contexts:
        context.close()


def until(page, condition: str) -> None:
    """Wait for a condition; the page forbids `eval`, which Playwright's own way of waiting needs."""
    deadline = time.monotonic() + 10
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(10)


CORNER = "[...document.querySelector('canvas').getContext('2d').getImageData(3, 3, 1, 1).data].slice(0, 2)"


def exporting(second: bool = False) -> Screen:
    """A screen of one slider, and of a dropdown besides."""
    slider = widgets.FloatSlider(value=2.5, min=0, max=5, step=0.1)
    choice = widgets.Dropdown(options=["none", "prior", 'a <b> & "c"'])
    screen = Screen((740, 370), title="Beta")
    sweeps = [Sweep("beta", slider, PLACES, PLACES)]
    if second:
        sweeps.append(Sweep("rule", choice, range(3), choice.options, trait="index"))

    def draw(values):
        pixels = picture(10 * values["beta"])
        pixels[:20, :20, 1] = 10 * choice.options.index(values["rule"])
        return Frame(pixels, f"beta is {values['beta']:g}", REGIONS, POINTS, [HANDLE])

    screen.follow(sweeps, lambda: {"beta": slider.value, "rule": choice.value}, draw)
    return screen


def test_an_exported_page_plays_from_disk_without_any_request(opened, tmp_path):
    path = export(exporting(), tmp_path / "page.html")
    assert path.stat().st_size < 3_000_000
    page = opened(path)
    slider = page.get_by_role("slider", name="beta")
    assert (slider.get_attribute("aria-valuetext"), page.locator("output").inner_text()) == ("2.5", "2.5")
    slider.press("ArrowRight")
    until(page, f"{CORNER}[0] === 26")
    slider.press("Home")
    until(page, f"{CORNER}[0] === 0")
    assert page.locator("output").inner_text() == "0" and page.locator(".caption").inner_text() == "beta is 0"
    assert page.get_by_text("these stay as they are: rule = none").count() == 1
    box = page.locator("canvas").bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.26 * box["height"])
    assert page.locator(".tip").inner_text() == "n 5, accuracy 80.0%"
    assert page.locator(".handle").count() == 0, "nobody would answer"
    assert page.wrong == [] and page.asked == [path.as_uri()]


def test_a_page_that_would_be_too_large_holds_fewer_values_and_says_so(opened, tmp_path):
    path = export(exporting(), tmp_path / "page.html", most=200_000)
    page = opened(path)
    slider = page.get_by_role("slider", name="beta")
    kept = int(slider.get_attribute("max")) + 1
    assert kept == 27 and 200_000 < path.stat().st_size < 240_000  # 51, by twos; the module has 30 kB
    assert page.get_by_text(f"it holds {kept} of the 51 values of beta").count() == 1
    for key, value in (("Home", "0"), ("End", "5")):
        slider.press(key)
        assert page.locator("output").inner_text() == value


def test_a_picture_without_controls_is_exported_as_well(opened, tmp_path):
    screen = Screen((740, 370), title="Still")
    screen.show(Frame(picture(31), "beta is 2.5", REGIONS, POINTS))
    page = opened(export([screen], tmp_path / "page.html"))
    until(page, f"{CORNER}[0] === 31")
    assert page.locator("h1").inner_text() == "Still" and page.locator("input").count() == 0
    screen.close()


def test_two_controls_make_a_grid(opened, tmp_path):
    path = export(exporting(second=True), tmp_path / "page.html", controls=["beta", "rule"], title="Two & more")
    page = opened(path)
    assert page.title() == "Two & more" and page.locator("h2").inner_text() == "Beta"
    page.get_by_role("combobox", name="rule").select_option('a <b> & "c"')
    until(page, f"{CORNER}.join() === '25,20'")
    page.get_by_role("slider", name="beta").press("End")
    until(page, f"{CORNER}.join() === '50,20'")
    page.get_by_role("combobox", name="rule").select_option("prior")
    until(page, f"{CORNER}.join() === '50,10'")
    assert page.wrong == [] and page.asked == [path.as_uri()]


# ---------------------------------------------------------------------------------------------------------- JupyterLab

CELL = """
import time
import ipywidgets as widgets, numpy as np
from ltviz.explore.frames import Frame, Handle, Point, Region
from ltviz.explore.screen import Screen
from ltviz.explore.sweeps import Sweep
from tools.benchmark.page import chromium as driven

slider = widgets.FloatSlider(value=2.5, min=0, max=5, step=0.1, description="beta")
box = widgets.FloatText(value=2.5, description="value")
screen, places = Screen((740, 370), title="Beta"), [round(0.1 * i, 10) for i in range(51)]

def draw(values):
    pixels = np.full((555, 1110, 4), 255, np.uint8)
    pixels[:, int(1000 * values["beta"] / 5):][:, :60, :3] = 21, 87, 255
    pixels[:20, :20, :3] = round(10 * values["beta"]), 10, 10
    regions = [Region((0, 0, 1, 1), (0, 5), (0, 1), xname="beta", yname="share")]
    return Frame(pixels, f"beta is {values['beta']:g}", regions, [Point(values["beta"], 0.5, "the place of beta")])

values = lambda: {"beta": slider.value}
screen.follow([Sweep("beta", slider, places, places, box=box)], values, draw)
slider.observe(lambda change: screen.show(draw(values())), "value")
slider.observe(lambda change: setattr(box, "value", change.new), "value")
clicked = []
screen.on_click(clicked.append)
screen.show(draw(values()))
widgets.VBox([slider, box, screen])
"""
BUSY = """
deadline = time.monotonic() + 40
while not clicked and time.monotonic() < deadline:
    time.sleep(0.05)
print("the cell has ended")
"""
NOTEBOOK = {
    "cells": [
        {"cell_type": "code", "id": f"cell{i}", "metadata": {}, "outputs": [], "execution_count": None, "source": code}
        for i, code in enumerate((CELL,
                                  BUSY, "len(clicked), slider.value, screen.theme"))
    ],
    "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    "nbformat": 4, "nbformat_minor": 5,
}  # fmt: skip
PIXEL = "document.querySelector('.ltviz-screen canvas').getContext('2d').getImageData(3, 3, 1, 1).data[0]"


# ms from a key to the first frame that is played (not the kernel's own picture).
WATCH = """() => {
  window.played = [];
  let start = null;
  document.addEventListener('keydown', () => { start = performance.now(); }, true);
  document.addEventListener('ltviz-drawn', (event) => {
    if (start !== null && event.detail.key !== 'kernel') { played.push(performance.now() - start); start = null; }
  });
}"""


def test_in_jupyterlab_it_plays_while_a_cell_sleeps(lab, browser):  # noqa: F811
    address, token = lab
    body = json.dumps({"type": "notebook", "content": NOTEBOOK}).encode()
    request = urllib.request.Request(f"{address}/api/contents/screen.ipynb?token={token}", body, method="PUT")
    urllib.request.urlopen(request, timeout=20).close()
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page, errors = context.new_page(), []
    page.set_default_timeout(60_000)
    page.on("console", lambda message: message.type == "error" and errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    try:
        page.goto(f"{address}/lab/tree/screen.ipynb?token={token}")
        page.locator("#jp-main-statusbar", has_text="| Idle").wait_for()
        page.locator(".jp-Notebook .jp-Cell").first.click()
        page.keyboard.press("Shift+Enter")
        canvas = page.locator(".ltviz-screen canvas[aria-label='beta is 2.5']")
        canvas.wait_for()
        page.locator("#jp-main-statusbar", has_text="| Idle").wait_for()
        page.wait_for_timeout(1500)  # its first messages are answered: what follows is heard while a cell runs
        page.keyboard.press("Shift+Enter")  # the cell that runs until the picture is clicked
        page.locator(".jp-CodeCell .jp-InputPrompt", has_text="*").first.wait_for()
        page.evaluate(WATCH)
        handle = page.locator(".noUi-handle")
        handle.focus()
        page.wait_for_function("document.querySelector('.ltviz-screen').dataset.swept")
        seen = []
        for key, value in (("ArrowRight", 26), ("ArrowRight", 27), ("Home", 0), ("End", 50)):
            handle.press(key)
            page.wait_for_function(f"{PIXEL} === {value}")
            seen.append(page.locator(".caption").inner_text())
        assert seen == ["beta is 2.6", "beta is 2.7", "beta is 0", "beta is 5"]
        played = page.evaluate("played")
        print("key to drawn canvas, ms:", [round(one, 1) for one in played])
        assert len(played) == 4 and statistics.median(played) < 50
        # What another thread of the kernel has answered makes JupyterLab say "Idle" and take the star away.
        ended = page.locator(".jp-OutputArea-output", has_text="the cell has ended")
        assert ended.count() == 0, "the cell still runs"
        page.locator(".ltviz-screen canvas").focus()
        page.locator(".ltviz-screen canvas").press("ArrowDown")
        assert page.locator(".tip").inner_text() == "the place of beta"
        assert page.evaluate("document.activeElement.matches('.ltviz-screen canvas')"), "the notebook has not moved on"
        page.locator(".ltviz-screen canvas").press("Enter")
        page.get_by_role("menuitem", name="Settings", exact=True).click()
        page.locator(".lm-Menu-itemLabel", has_text=re.compile("^Theme$")).hover()
        page.locator(".lm-Menu-itemLabel", has_text=re.compile("^JupyterLab Dark$")).click()
        page.locator("body[data-jp-theme-light='false']").wait_for(state="attached")
        ended.wait_for()
        page.locator(".jp-Notebook .jp-Cell").last.click()
        page.keyboard.press("Shift+Enter")
        page.locator(".jp-OutputArea-output", has_text="(1, 5.0, 'dark')").wait_for()
        assert errors == []
    finally:
        context.close()
