"""Every explorer in JupyterLab and as an exported page: layout, themes, pointing, keyboard, accessibility."""

import io
import os
import re
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_browser import lab  # noqa: F401  the fixture
from test_screen_browser import browser  # noqa: F401  the fixture

import ltviz as lt
from tools.benchmark import page
from tools.benchmark.page import OPEN

pytestmark = pytest.mark.browser
SLIDER = ".ltviz-explorer .noUi-handle"
AXE = os.environ.get("LTVIZ_AXE", "")  # path of axe.min.js, from npm's axe-core


class Opened(page.Opened):
    """An explorer in a notebook, and what a test does with it."""

    def theme(self, name: str) -> None:
        """Choose JupyterLab's theme, "Light" or "Dark"."""
        self.page.get_by_role("menuitem", name="Settings", exact=True).click()
        self.page.locator(".lm-Menu-itemLabel", has_text=re.compile("^Theme$")).hover()
        self.page.locator(".lm-Menu-itemLabel", has_text=re.compile(f"^JupyterLab {name}$")).click()
        self.page.locator(f"body[data-jp-theme-light='{str(name == 'Light').lower()}']").wait_for(state="attached")

    def more(self) -> None:
        """Open "More", where it is closed."""
        closed = self.page.locator(".ltviz-explorer").locator("button", has_text=re.compile("More$"))
        if closed.count() and closed.is_visible():
            closed.click()
            closed.wait_for(state="hidden")

    def caption(self) -> str:
        return self.page.locator(".ltviz-screen .caption").first.inner_text()

    def place(self, fx: float, fy: float) -> tuple[float, float]:
        """Coordinates on the page of a place in the picture."""
        box = self.page.locator(".ltviz-screen canvas").first.bounding_box()
        return box["x"] + fx * box["width"], box["y"] + fy * box["height"]


@pytest.fixture(scope="module")
def explorers(lab, browser):  # noqa: F811
    """explorers(name): each is opened once."""
    made: dict[str, Opened] = {}

    def opener(name: str) -> Opened:
        if name not in made:
            made[name] = Opened(browser, *lab, name, OPEN[name])
        return made[name]

    yield opener
    assert {name: one.errors for name, one in made.items() if one.errors} == {}
    for one in made.values():
        one.page.close()


every_explorer = pytest.mark.parametrize("name", OPEN)

# What sticks out of an explorer, and where its parts are.
FACTS = """() => {
  const root = document.querySelector('.ltviz-explorer'), { left, right } = root.getBoundingClientRect();
  const box = (name) => { const one = root.querySelector(`.ltviz-${name}`).getBoundingClientRect();
    return { left: one.left, right: one.right, top: one.top, bottom: one.bottom }; };
  const shown = [...root.querySelectorAll('*')]
    .filter((one) => one.getClientRects().length && !one.closest('mjx-container'));
  const out = shown.filter((one) => {
    const b = one.getBoundingClientRect();
    return b.right > right + 1 || b.left < left - 1;
  });
  const labels = shown.filter((one) => one.matches('label, button') && one.scrollWidth > one.clientWidth + 1);
  const bars = [...document.querySelectorAll('.jp-OutputArea-output')].filter((one) => one.contains(root)
    && (one.scrollWidth > one.clientWidth || one.scrollHeight > one.clientHeight));
  return { width: root.clientWidth, bars: bars.length, out: out.map((one) => one.className),
    cut: labels.map((one) => one.textContent),
    scrolls: document.documentElement.scrollWidth > innerWidth, controls: box('controls'), picture: box('picture'),
    more: box('more'), rows: [...root.querySelectorAll('.ltviz-controls > .widget-vbox:first-of-type > *')].length };
}"""


@every_explorer
def test_nothing_is_cut_at_any_width(explorers, name):
    one = explorers(name)
    one.more()
    seen = set()
    for _ in range(2):  # with the file browser, and without
        for width in (1100, 1280, 1366, 1440, 1920):
            one.page.set_viewport_size({"width": width, "height": 900})
            one.page.wait_for_timeout(250)
            found = one.page.evaluate(FACTS)
            assert (found["out"], found["cut"], found["bars"], found["scrolls"]) == ([], [], 0, False), (width, found)
            beside = found["width"] >= 900
            seen.add(beside)
            if beside:
                assert found["controls"]["right"] <= found["picture"]["left"], width
                assert found["controls"]["top"] == pytest.approx(found["picture"]["top"], abs=1)
            else:  # what is secondary comes after the picture
                assert found["controls"]["bottom"] <= found["picture"]["top"] + 1, width
                assert found["picture"]["bottom"] <= found["more"]["top"] + 1
        one.page.keyboard.press("Control+b")
    one.page.set_viewport_size({"width": 1366, "height": 900})
    assert seen == {True, False}


@every_explorer
def test_at_most_three_controls_are_in_sight_at_first(explorers, name):
    page = explorers(name).page
    first = page.locator(".ltviz-controls > .widget-vbox").first.locator(":scope > *")
    assert 1 <= first.count() <= 3


@every_explorer
def test_axe_finds_nothing_in_either_theme(explorers, name):
    if not AXE:
        pytest.skip("axe: set LTVIZ_AXE to the path of axe.min.js (npm pack axe-core)")
    one = explorers(name)
    one.more()
    one.page.evaluate(Path(AXE).read_text(encoding="utf-8"))
    for theme in ("Dark", "Light"):
        one.theme(theme)
        one.page.wait_for_timeout(500)
        found = one.page.evaluate("axe.run(document.querySelector('.ltviz-explorer'))")["violations"]
        assert [(v["id"], [node["html"] for node in v["nodes"]]) for v in found] == [], theme


def test_the_picture_is_dark_in_a_dark_theme(explorers):
    one = explorers("effective_number")
    one.theme("Dark")
    one.page.wait_for_timeout(500)
    corner = one.page.locator(".ltviz-screen canvas").first.screenshot()

    pixels = Image.open(io.BytesIO(corner)).convert("L")
    assert max(pixels.getpixel((3, 3)), pixels.getpixel((pixels.width // 2, 3))) < 40, "no white block"
    one.theme("Light")
    one.page.wait_for_timeout(500)
    pixels = Image.open(io.BytesIO(one.page.locator(".ltviz-screen canvas").first.screenshot())).convert("L")
    assert pixels.getpixel((3, 3)) > 240


def test_photographs_stay_what_they_are_in_a_dark_theme(explorers):
    """Only what is drawn around them is turned dark, right after the change of theme, too."""
    one = explorers("wall")
    looks = []
    for theme in ("Light", "Dark"):
        one.theme(theme)
        one.page.wait_for_timeout(500)
        shot = Image.open(io.BytesIO(one.page.locator(".ltviz-screen .stage").first.screenshot())).convert("RGB")
        looks.append(np.asarray(shot, float))
    one.theme("Light")
    light, dark = looks
    place = np.s_[int(0.2 * len(light)) : int(0.5 * len(light)), int(0.2 * light.shape[1]) : int(0.5 * light.shape[1])]
    same = np.abs(light[place] - dark[place]).max(-1) < 8
    assert same.mean() > 0.4, "more than half of this part are photographs, the rest their frames"
    assert np.abs(light[:3] - dark[:3]).mean() > 100, "the rest is dark"


@pytest.mark.parametrize("name", ["effective_number", "loss_anatomy", "posthoc"])
def test_a_slider_is_followed_at_once_and_while_a_cell_sleeps(explorers, name):
    one = explorers(name)
    sweep, free = one.sweep(), one.latencies(40)
    asleep = one.asleep()
    busy = one.latencies(40)
    assert asleep.count() == 1, "the cell still sleeps"
    told = [
        f"{kind}: median {found[20]:.1f} ms, 95% below {found[37]:.1f}"
        for kind, found in (("free", free), ("busy", busy))
    ]
    print(f"{name}: sweep {sweep:.0f} ms; {'; '.join(told)}")
    # On a machine that others use as well; the benchmark has the strict bounds of 1.5 s, 20 ms and 33 ms.
    assert sweep < 6000 and free[20] < 50 and busy[20] < 50
    asleep.first.wait_for(state="detached")


# ------------------------------------------------------------------------------------------------------------ pointing


def test_the_classes_of_effective_number_are_pointed_at_and_beta_is_dragged(explorers):
    one = explorers("effective_number")
    page, tip = one.page, one.page.locator(".ltviz-screen .tip")
    page.locator(".ltviz-explorer").get_by_role("button", name="Reset").click()
    page.wait_for_function("document.querySelector('.ltviz-screen .caption').textContent.startsWith('β = 0.999:')")
    canvas = page.locator(".ltviz-screen canvas").first
    canvas.focus()
    canvas.press("Home")
    assert tip.inner_text() == "Class of 500 images, number 1 of 10 by count: they count for 394"
    canvas.press("End")
    assert re.fullmatch(r"Class of 18 images, number 10 of 10 by count: weight \d\.\d+", tip.inner_text())
    box = page.locator(".ltviz-screen .handle").bounding_box()
    page.mouse.move(box["x"] + 12, box["y"] - 60)  # on the line of beta, above its handle
    page.mouse.move(*one.place(0.75, 0.3))
    assert re.fullmatch(r"β 0\.\d+, weight [\d.]+", tip.inner_text()), "the axis is that of 1 - beta"
    page.mouse.move(box["x"] + 12, box["y"] + 12)
    page.mouse.down()
    page.mouse.move(box["x"] - 30, box["y"] + 12, steps=4)
    page.mouse.move(*one.place(0.6, 0.9), steps=4)
    page.mouse.up()
    page.wait_for_function("!document.querySelector('.ltviz-screen .caption').textContent.startsWith('β = 0.999:')")
    page.wait_for_timeout(500)
    handle = page.get_by_role("slider", name="beta", exact=True)
    beta = float(page.locator(".ltviz-explorer input[type=number]").first.input_value())
    assert 0 <= beta < 0.99 and f"β = {beta:g}:" in one.caption()
    assert float(handle.get_attribute("aria-valuenow")) == pytest.approx(beta, abs=1e-6), "it stays on the steps"
    handle.focus()
    handle.press("End")
    page.wait_for_function("document.querySelector('.ltviz-screen .caption').textContent.startsWith('β = 0.99999:')")
    page.locator(".ltviz-explorer").get_by_role("button", name="Reset").click()


def test_pictures_between_two_places_of_the_slider_are_shown_and_keys_move_the_threshold(explorers):
    """A click and a number typed in show that picture, also while the frames of the slider's places are there."""
    one = explorers("gallery")
    page, box = one.page, one.page.locator(".ltviz-explorer input[type=number]").first
    one.sweep()

    def shows(number: int) -> None:
        page.wait_for_function(
            "n => document.querySelector('.ltviz-screen .caption').textContent.includes(`: picture ${n} (`)",
            arg=number,
        )
        page.wait_for_timeout(700)
        assert f": picture {number} (" in one.caption() and box.input_value() == str(number), "and it stays"

    for number in (16, 46, 106, 136, 13):
        box.fill(str(number))
        box.press("Tab")
        shows(number)
    box.fill("1")
    box.press("Tab")
    shows(1)
    page.mouse.click(*one.place(277 / 760, 1 - 297 / 420))  # the eighth of the nearest pictures
    explorer = lt.explore.gallery()
    shows(int(explorer.result.nearest[7]) + 1)
    handle = page.get_by_role("slider", name="threshold", exact=True)
    handle.focus()
    handle.press("Home")
    for key, ways in (("ArrowRight", 6), ("ArrowLeft", 3)):
        for _ in range(ways):
            before = handle.get_attribute("aria-valuenow")
            handle.press(key)
            page.wait_for_timeout(400)
            assert handle.get_attribute("aria-valuenow") != before, key


CELLS = "document.querySelectorAll('.jp-Notebook .jp-Cell').length"
ACTIVE = "[...document.querySelectorAll('.jp-Notebook .jp-Cell')].findIndex((one) => one.matches('.jp-mod-active'))"


def test_keys_stay_inside_an_explorer_and_lead_out_of_it(explorers):
    """A letter inserts no cell, Escape goes to the cell, Shift+Enter to the next one without running this one again."""
    one = explorers("dartboard")
    page = one.page
    caption, cells = one.caption(), page.evaluate(CELLS)
    prompt = page.locator(".jp-CodeCell .jp-InputPrompt").first.inner_text()
    places = [page.locator(SLIDER).first, page.locator(".ltviz-screen canvas").first,
              page.locator(".ltviz-explorer input[type=number]").first,
              page.locator(".ltviz-explorer button", has_text="Reset")]  # fmt: skip
    for place in places:
        place.focus()
        page.keyboard.press("b")
        page.keyboard.press("Escape")  # takes a pointed place away, where there is one
        page.keyboard.press("Escape")
        assert page.evaluate("document.activeElement.matches('.jp-Cell')"), f"{place}: {page.evaluate(FOCUS)}"
        place.focus()
        page.keyboard.press("Shift+Enter")
        page.wait_for_timeout(100)
        assert not page.evaluate("!!document.activeElement.closest('.ltviz-explorer')")
    assert page.evaluate(CELLS) == cells and page.locator(".jp-CodeCell .jp-InputPrompt").first.inner_text() == prompt
    assert one.caption() == caption


def test_arrows_in_a_box_take_the_steps_of_its_slider(explorers):
    """By itself the browser would go up and down by 1: beta would jump to its end."""
    one = explorers("effective_number")
    box = one.page.locator(".ltviz-explorer .widget-hbox:has(.noUi-handle) input[type=number]").first

    def press(key: str, expected: str) -> None:
        box.press(key)
        one.page.wait_for_function("([box, value]) => box.value === value", arg=[box.element_handle(), expected])

    box.fill("0.999")
    press("ArrowUp", "0.999")  # what was typed is told first
    one.page.wait_for_timeout(300)
    press("ArrowUp", "0.999109")
    press("ArrowDown", "0.999")
    press("ArrowDown", "0.99888")
    press("PageUp", "0.99888")
    assert box.evaluate("(one) => getComputedStyle(one).appearance") == "textfield", "no arrows that go by 1"


BAR = "document.querySelector('.ltviz-explorer [role=progressbar]')"


def test_start_gives_the_focus_to_pause_and_the_bar_says_how_far_it_is(explorers):
    page = explorers("lab").page
    page.wait_for_function(BAR)
    start = page.locator(".ltviz-explorer button", has_text="Start").first
    start.focus()
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.textContent.includes('Pause')")
    page.wait_for_function("document.activeElement.textContent.includes('Start')", timeout=60_000)
    page.wait_for_function(f"{BAR}.getAttribute('aria-valuetext') === 'done, 100%'")
    for name, value in (("label", "progress"), ("valuenow", "100"), ("valuemin", "0"), ("valuemax", "100")):
        page.wait_for_function(f"{BAR}.getAttribute('aria-{name}') === '{value}'")


def test_curves_of_loss_anatomy_are_pointed_at(explorers):
    one = explorers("loss_anatomy")
    canvas, tip = one.page.locator(".ltviz-screen canvas").first, one.page.locator(".ltviz-screen .tip")
    canvas.focus()
    canvas.press("Home")
    assert re.fullmatch(r"Head class at p = 0\.1: loss [\d.]+", tip.inner_text())
    canvas.press("ArrowRight")
    assert " at p = 0.2: loss " in tip.inner_text()
    one.page.mouse.move(*one.place(0.3, 0.2))
    assert re.fullmatch(r"p 0\.\d+, loss [\d.]+", tip.inner_text())


def test_what_is_pointed_at_is_told_beside_it_and_marked_above_photographs(explorers):
    one = explorers("wall")
    tip, dot = one.page.locator(".ltviz-screen .tip"), one.page.locator(".ltviz-screen .dot")
    for theme in ("Dark", "Light"):
        one.theme(theme)
        one.page.wait_for_timeout(500)
        told = []
        for fy in (0.35, 0.65):
            x, y = one.place(0.3, fy)
            one.page.mouse.move(x, y)
            box, mark = tip.bounding_box(), dot.bounding_box()
            told.append(tip.inner_text())
            gap = max(box["y"] - y, y - box["y"] - box["height"], box["x"] - x, x - box["x"] - box["width"])
            assert gap < 60, f"the words are {gap:.0f} px away"
            on_top = dot.evaluate("one => { one.style.pointerEvents = 'auto'; const b = one.getBoundingClientRect(), "
                                  "found = document.elementFromPoint(b.x + 1 + b.width / 2, b.y + 2); "
                                  "one.style.pointerEvents = ''; return found === one; }")  # fmt: skip
            assert on_top and mark["width"] > 10, theme
        assert told[0] != told[1]


def test_the_arrow_of_a_list_is_light_in_a_dark_theme(explorers):
    one = explorers("loss_anatomy")
    arrow = "document.querySelector('.ltviz-explorer select')"
    arrow = f"getComputedStyle({arrow}).backgroundImage"
    one.theme("Dark")
    dark = one.page.evaluate(arrow)
    one.theme("Light")
    assert "svg" in dark and dark != one.page.evaluate(arrow)


def test_a_control_without_effect_is_disabled_and_says_why(explorers):
    one = explorers("loss_anatomy")
    one.more()
    row = one.page.locator(".ltviz-more .widget-hbox", has=one.page.locator("label", has_text="γ"))
    gamma, loss = row.locator("input"), one.page.get_by_label("loss", exact=True)
    assert gamma.is_disabled() and row.locator(".noUi-target").get_attribute("disabled") is not None
    why = "only for loss = focal or softmax focal or weighted softmax focal"
    row.locator(f"[title='{why}']").first.wait_for(state="attached")
    loss.select_option("softmax focal")
    one.page.wait_for_function("!document.querySelector('.ltviz-more input[type=number]').disabled")
    row.locator(f"[title='{why}']").first.wait_for(state="detached")
    loss.select_option("softmax")
    one.page.wait_for_function("document.querySelector('.ltviz-more input[type=number]').disabled")


# What has the focus: its name, and whether that is seen.
FOCUS = """() => {
  const one = document.activeElement;
  if (!one.closest('.ltviz-explorer')) return null;
  const look = getComputedStyle(one), box = one.getBoundingClientRect();
  const name = one.getAttribute('aria-label') || one.labels?.[0]?.textContent || one.textContent || one.title;
  return { html: one.outerHTML.slice(0, 160), name: name.trim().slice(0, 60),
    seen: look.outlineStyle !== 'none' && parseFloat(look.outlineWidth) >= 2,
    size: box.width * box.height, place: [...document.querySelectorAll('.ltviz-explorer *')].indexOf(one) };
}"""
REACHABLE = """() => [...document.querySelectorAll(
    '.ltviz-explorer :is(input, select, button, textarea, [tabindex="0"])')]
  .filter((one) => one.getClientRects().length && !one.disabled && one.tabIndex >= 0
    && !one.closest('[disabled], mjx-container')).length"""


@every_explorer
def test_the_keyboard_reaches_everything_in_order_and_is_seen(explorers, name):
    one = explorers(name)
    one.more()
    page = one.page
    page.evaluate("""document.querySelector('.ltviz-explorer :is(input, select, button):not([disabled])').focus()""")
    wanted, found = page.evaluate(REACHABLE), []
    for _ in range(wanted + 5):
        here = page.evaluate(FOCUS)
        if here is None:
            break
        found.append(here)
        page.keyboard.press("Tab")
    assert len({here["place"] for here in found}) == wanted, [here["name"] for here in found]
    assert [here["place"] for here in found] == sorted(here["place"] for here in found), "in the order of reading"
    assert [here["name"] for here in found if not here["name"]] == []
    assert [here["html"] for here in found[1:] if not here["seen"]] == [], "the focus is seen"
    before = one.caption()
    page.locator(SLIDER).first.focus()
    page.keyboard.press("ArrowRight")
    if name != "lab":  # its picture is that of runs
        page.wait_for_function(
            "said => document.querySelector('.ltviz-screen .caption').textContent !== said", arg=before
        )
    page.keyboard.press("ArrowLeft")


# ------------------------------------------------------------------------------------------------------------ exported


@pytest.fixture(scope="module")
def run():
    return lt.train("ce", lt.digits_lt(ratio=20), epochs=3, progress=False)


@every_explorer
def test_every_explorer_is_exported_to_one_file(browser, run, tmp_path, name):  # noqa: F811
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="the objective 'rare' looks at 30 validation images")
        explorer = eval(OPEN[name] if name != "posthoc" else "lt.explore.posthoc(run)", {"lt": lt, "run": run})
    path = lt.export(explorer, tmp_path / "page.html")
    sentence = explorer.sentence
    explorer.close()
    assert path.stat().st_size <= 3_000_000
    context = browser.new_context(viewport={"width": 1000, "height": 800}, offline=True, color_scheme="dark")
    page, wrong, asked = context.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: message.type == "error" and wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(path.as_uri())
    canvas = page.locator("canvas").first  # a second one holds photographs
    page.wait_for_timeout(300)
    assert canvas.get_attribute("aria-label") == sentence
    assert "invert" in canvas.evaluate("one => getComputedStyle(one).filter"), "dark where the reader's system is"
    slider, seen = page.get_by_role("slider").or_(page.get_by_role("combobox")), {sentence}
    if name != "lab":
        for key in ("Home", "End"):
            slider.first.press(key)
            deadline = time.monotonic() + 10
            while (said := canvas.get_attribute("aria-label")) in seen and time.monotonic() < deadline:
                page.wait_for_timeout(10)
            if said not in seen or key == "End":
                seen.add(said)
        assert len(seen) >= 2
    assert (wrong, asked) == ([], [path.as_uri()])
    context.close()
