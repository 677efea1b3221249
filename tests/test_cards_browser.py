"""The cards of a chapter in a real JupyterLab: by mouse, finger and keyboard, in both themes, without a kernel."""

import json
import os
import re
import urllib.request

import pytest
from conftest import chromium
from test_browser import Lab, lab  # noqa: F401  the fixture

from ltviz import study

pytestmark = pytest.mark.browser

CELLS = {
    "start": 'import ltviz as lt\nlt.chapter("Cards", objectives=["see them"], reading=5, computing="a second")',
    "choice": 'choice = lt.Predict("At $x = 1$?", choices=["it rises as $x \\\\to 1$", "it falls"])\nchoice',
    "choice-open": 'choice.reveal("The secret.", truth="it falls")',
    "number": 'number = lt.Predict("How many?", number=(0, 50_000_000, 1000), unit=" pictures")\nnumber',
    "number-open": 'number.reveal("Counted.", truth=1_234_567)',
    "order": 'order = lt.Predict("Lowest first?", order=["one", "two", "three", "four"])\norder',
    "order-open": 'order.reveal("Ordered.", truth=["four", "one", "two", "three"])',
    "curve": 'axes = lt.study.Axes(x=(0, 3), y=(0, 100), xlabel="tau", ylabel="accuracy, %", points=13)\n'
             'curve = lt.Predict("How does it go?", curve=axes)\ncurve',
    "curve-open": 'curve.reveal("Drawn.", truth=lambda x: 10 + 25 * x)',
    "task": 'task = lt.Exercise("Square", "Write `f`.", "def f(x): return x * x", '
            '[lt.study.Claim("of 3", lambda f: f(3) == 9)], hints=["one"])\ntask',
    "passed": "task.check(lambda x: x * x)",
    "quiz": 'quiz = lt.Quiz([lt.study.Question("Which?", {"this": "Yes, $a<b$.", "that": "No."}, "this"), '
            'lt.study.Question("And now?", {"one": "No.", "two": "Yes.", "three": "No."}, "two")])\nquiz',
    "figures": "lt.plot_counts(lt.digits_lt())",
    "photographs": "lt.plot_examples(lt.digits_lt())",
}  # fmt: skip


def written(cells: dict[str, str], outputs=lambda name: []) -> dict:
    made = [{"cell_type": "code", "id": name, "metadata": {}, "source": code, "outputs": outputs(name),
             "execution_count": None} for name, code in cells.items()]  # fmt: skip
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"cells": made, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


class Cards(Lab):
    """A page with a notebook of cards open."""

    def __init__(self, page, address: str, token: str, name: str, content: dict):
        self.page, self.errors, self.address, self.token = page, [], address, token
        page.set_default_timeout(60_000)
        page.on("console", lambda message: message.type == "error" and self.errors.append(message.text))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.contents("PUT", name, {"type": "notebook", "content": content})
        self.url = f"{address}/lab/tree/{name}"
        page.goto(f"{self.url}?token={token}&reset")
        page.locator(".jp-Notebook .jp-Cell").first.wait_for()

    def contents(self, method: str, name: str, body: dict | None = None) -> dict:
        url = f"{self.address}/api/contents/{name}?token={self.token}"
        data = json.dumps(body).encode() if body else None
        with urllib.request.urlopen(urllib.request.Request(url, data, method=method), timeout=30) as answer:
            return json.load(answer)

    def run_all(self) -> None:
        self.page.locator("#jp-main-statusbar", has_text="| Idle").wait_for()
        self.menu("Run", "Run All Cells")
        self.page.wait_for_function("document.querySelectorAll('.ltviz-answer').length >= 5", timeout=120_000)
        self.idle()

    def output(self, name: str):
        return self.page.locator(".jp-CodeCell").nth(list(CELLS).index(name)).locator(".jp-OutputArea")

    def card(self, name: str):
        card = self.output(name).locator(".ltviz-answer").first
        card.scroll_into_view_if_needed()
        return card

    def press(self, name: str) -> None:
        self.card(name).locator("button.commit").click()

    def said(self, name: str, words: str) -> None:
        self.output(name).get_by_text(re.compile(words)).first.wait_for()

    def order(self) -> list[str]:
        return self.card("order").locator("li .words").all_inner_texts()


@pytest.fixture(scope="module")
def browser():
    sync = pytest.importorskip("playwright.sync_api")
    flags = ["--disable-gpu", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium(), args=flags)
        yield started
        started.close()


@pytest.fixture(scope="module")
def opened(lab, browser):  # noqa: F811
    page = browser.new_context(viewport={"width": 1100, "height": 900}, has_touch=True).new_page()
    cards = Cards(page, *lab, "cards.ipynb", written(CELLS))
    cards.run_all()
    return cards


NOTEBOOK = """() => { const cells = [...document.querySelectorAll('.jp-Notebook .jp-Cell')];
    return [cells.length, cells.findIndex((cell) => cell.classList.contains('jp-mod-active')),
            cells.filter((cell) => cell.classList.contains('jp-mod-selected')).length,
            cells.filter((cell) => cell.classList.contains('jp-MarkdownCell')).length,
            cells.map((cell) => cell.querySelector('.jp-InputPrompt').textContent).join()]; }"""
KEYS = ["b", "a", "ArrowDown", "ArrowUp", "ArrowLeft", "ArrowRight", "Enter", "m", "x", "d", "d", "0", "0", "z",
        "Shift+ArrowDown", "Shift+Enter", "Control+Enter", "PageDown", "Home", "End", "Space", "j", "k"]  # fmt: skip


@pytest.mark.parametrize(("name", "control"), [
    ("choice", "input"), ("number", "input[type=range]"), ("number", "input[type=number]"), ("order", ".item"),
    ("order", "button.commit"), ("curve", ".handle"), ("curve", "button:not(.commit)"), ("quiz", "input"),
])  # fmt: skip
def test_keys_do_not_reach_the_notebook(opened, name, control):
    focused = opened.card(name).locator(control).first
    focused.focus()
    before = opened.page.evaluate(NOTEBOOK)
    for key in KEYS:
        enters = key in ("Enter", "Space", "Shift+Enter", "Control+Enter")
        if enters and (control.startswith("button") or control == "input[type=number]"):
            continue  # presses the button, as it should
        opened.page.keyboard.press(key)
    opened.page.wait_for_timeout(200)
    assert opened.page.evaluate(NOTEBOOK) == before


def test_escape_leads_back_to_the_cell(opened):
    item = opened.card("order").locator(".item").first
    item.press("Escape")
    assert opened.page.evaluate("document.activeElement.classList.contains('jp-Cell')")


def test_mathematics_is_set(opened):
    card = opened.card("choice")
    card.locator("mjx-container").nth(1).wait_for()
    assert "$" not in card.inner_text()


def test_order_by_keyboard_keeps_the_focus_and_says_the_place(opened):
    card = opened.card("order")
    for _ in range(4):  # whatever keys have moved before
        card.locator(".item", has_text="one").press("Home")
    for word in ("four", "three", "two"):
        card.locator(".item", has_text=word).press("End")
    for word in ("three", "four"):
        card.locator(".item", has_text=word).press("End")
    assert opened.order() == ["one", "two", "three", "four"]
    item = card.locator(".item", has_text="three")
    item.focus()
    for place in (2, 1):
        opened.page.keyboard.press("ArrowUp")
        assert card.locator("[aria-live]").first.inner_text() == f"three is now in place {place} of 4."
        focused = opened.page.evaluate("document.activeElement.getAttribute('aria-label')")
        assert focused == f"three, place {place} of 4"
    opened.page.keyboard.press("ArrowUp")
    assert card.locator("[aria-live]").first.inner_text() == "three is still in place 1 of 4."
    assert opened.order() == ["three", "one", "two", "four"]
    card.get_by_role("button", name="Move three down").click()
    assert opened.order() == ["one", "three", "two", "four"]
    assert opened.page.evaluate("document.activeElement.getAttribute('aria-label')") == "three, place 2 of 4"


def test_every_question_has_choices_of_its_own_and_arrows_do_not_answer(opened):
    first, second = (opened.output("quiz").locator("fieldset").nth(i) for i in range(2))
    first.get_by_label("that").check()
    second.get_by_label("one").check()
    assert first.get_by_label("that").is_checked() and second.get_by_label("one").is_checked(), (
        "one does not empty another"
    )
    names = opened.page.evaluate(
        "[...document.querySelectorAll('.ltviz-answer input[type=radio]')].map((one) => one.name)"
    )
    assert len(set(names)) == 3, "the choice card and two questions"
    ids = opened.page.evaluate("[...document.querySelectorAll('.ltviz-answer [id]')].map((one) => one.id)")
    assert len(set(ids)) == len(ids)
    second.get_by_label("one").focus()
    for _ in range(2):
        opened.page.keyboard.press("ArrowDown")
    assert second.get_by_label("one").is_checked(), "arrows only go there"
    opened.page.keyboard.press("ArrowUp")
    opened.page.keyboard.press("Space")
    assert second.get_by_label("two").is_checked() and first.get_by_label("that").is_checked()


def test_enter_answers_a_question_and_tab_stops_at_it_once(opened):
    first, second = (opened.output("quiz").locator("fieldset").nth(i) for i in range(2))
    second.get_by_label("one").focus()
    opened.page.keyboard.press("ArrowDown")
    opened.page.keyboard.press("Enter")
    assert second.get_by_label("two").is_checked()
    first.get_by_label("that").focus()
    opened.page.keyboard.press("Tab")
    assert opened.page.evaluate("document.activeElement.closest('label').innerText") == "two", "where it was left"
    opened.page.keyboard.press("Shift+Tab")
    assert opened.page.evaluate("document.activeElement.closest('label').innerText") == "that"
    stops = "[...document.querySelectorAll('fieldset')].map((one) => one.querySelectorAll('[tabindex=\"0\"]').length)"
    assert set(opened.page.evaluate(stops)) == {1}


def test_arrows_choose_where_a_button_commits(opened):
    choices = opened.card("choice").get_by_role("radio")
    choices.first.check()
    choices.first.focus()
    opened.page.keyboard.press("ArrowDown")
    assert choices.nth(1).is_checked() and opened.page.evaluate("document.activeElement.checked")
    opened.page.keyboard.press("ArrowUp")
    assert choices.first.is_checked() and not choices.nth(1).is_checked()


def test_figures_follow_a_dark_theme_and_photographs_do_not(opened):
    look = "(one) => getComputedStyle(one).filter"
    figure, photographs = (opened.output(name).locator("img").first for name in ("figures", "photographs"))
    assert figure.evaluate(look) == photographs.evaluate(look) == "none"
    assert photographs.evaluate("(one) => getComputedStyle(one).content") == "normal"
    opened.page.evaluate("document.body.dataset.jpThemeLight = 'false'")
    assert "invert" in figure.evaluate(look) and photographs.evaluate(look) == "none"
    assert photographs.evaluate("(one) => getComputedStyle(one).content").startswith('url("data:image/png;base64,')
    opened.page.evaluate("document.body.dataset.jpThemeLight = 'true'")


def middle(locator) -> tuple[float, float]:
    box = locator.bounding_box()
    return box["x"] + box["width"] / 3, box["y"] + box["height"] / 2


def touch(page, start, *places) -> None:
    """A finger that goes down at `start`, along the places, and up."""
    client = page.context.new_cdp_session(page)
    for kind, where in [("touchStart", start), *(("touchMove", place) for place in places), ("touchEnd", None)]:
        points = [{"x": where[0], "y": where[1]}] if where else []
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    client.detach()


def test_order_by_mouse_and_by_finger(opened):
    card, page = opened.card("order"), opened.page
    first, last = card.locator(".item").nth(0), card.locator(".item").nth(3)
    before = opened.order()
    (x, y), (_, below) = middle(first), middle(last)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, (y + below) / 2, steps=6)
    page.mouse.move(x, below + 8, steps=6)
    page.mouse.up()
    assert opened.order() == [*before[1:], before[0]]
    (x, y), (_, below) = middle(card.locator(".item").nth(3)), middle(card.locator(".item").nth(0))
    scrolled = page.evaluate("document.querySelector('.jp-WindowedPanel-outer').scrollTop")
    touch(page, (x, y), (x, y - 20), (x, (y + below) / 2), (x, below - 5))
    assert opened.order() == before
    assert page.evaluate("document.querySelector('.jp-WindowedPanel-outer').scrollTop") == scrolled


def test_a_number_has_room_and_slider_and_box_are_one(opened):
    card = opened.card("number")
    box, slider = card.get_by_role("spinbutton"), card.get_by_role("slider")
    box.fill("")
    assert card.locator("button.commit").is_disabled()
    box.fill("49999000")
    assert slider.input_value() == "49999000" and card.locator("button.commit").is_enabled()
    assert box.evaluate("box => box.scrollWidth <= box.clientWidth") and box.bounding_box()["width"] > 90
    box.fill("60000000")
    assert card.locator("button.commit").is_disabled()
    box.press("Tab")
    assert box.input_value() == "60000000", "what was typed stays"
    assert box.evaluate("box => box.validationMessage") == "a number from 0 to 50,000,000"
    box.fill("")
    box.press_sequentially("1.5")
    assert box.input_value() == "1.5" and slider.input_value() in ("0", "1000"), "nothing is written while one types"
    assert box.evaluate("box => box.validity.customError") is False
    slider.press("End")
    slider.press("Home")
    assert box.input_value() == "0"
    slider.press("ArrowRight")
    assert box.input_value() == "1000"


def lines(card, kind: str) -> int:
    return card.locator(f"path.line.{kind}").count()


def spot(card, tau: float, y: float) -> tuple[float, float]:
    box = card.locator("svg").bounding_box()
    scale = box["width"] / 640
    return box["x"] + (64 + tau / 3 * 556) * scale, box["y"] + (16 + (100 - y) / 100 * 276) * scale


def drawn(card) -> list[str]:
    """The curve, place by place, as a screen reader hears it."""
    handle, heard = card.locator(".handle"), []
    handle.press("Home")
    for _ in range(13):
        heard.append(handle.get_attribute("aria-valuetext"))
        handle.press("ArrowRight")
    return heard


def test_a_curve_is_drawn_by_mouse_finger_and_keyboard(opened):
    card, page = opened.card("curve"), opened.page
    clear, commit = card.get_by_role("button", name="Clear"), card.locator("button.commit")
    clear.click()
    assert lines(card, "filled") == 0 and commit.is_disabled()
    page.mouse.move(*spot(card, 0, 10))
    page.mouse.down()
    page.mouse.move(*spot(card, 1.5, 70), steps=3)
    page.mouse.move(*spot(card, 3, 40), steps=3)
    page.mouse.up()
    heard = drawn(card)
    values = [float(words.split(": ")[1]) for words in heard]
    assert heard[0].startswith("tau 0: ") and heard[6].startswith("tau 1.5: ")
    assert values == pytest.approx([10 + 10 * i for i in range(7)] + [65, 60, 55, 50, 45, 40], abs=1.5)
    assert commit.is_enabled() and lines(card, "own") == 12
    clear.click()
    touch(page, spot(card, 0.5, 20), spot(card, 1, 40), spot(card, 2, 80))
    heard = drawn(card)
    assert heard[0] == "tau 0: not drawn yet" and float(heard[8].split(": ")[1]) == pytest.approx(80, abs=1.5)
    clear.click()
    handle = card.locator(".handle")
    handle.press("Home")
    handle.press("PageDown")
    handle.press("End")
    assert commit.is_disabled(), "one place is no curve"
    for key in ("PageUp", "ArrowUp", "Shift+ArrowDown"):
        handle.press(key)
    heard = drawn(card)
    assert heard[0] == "tau 0: 40" and heard[-1] == "tau 3: 51.8" and heard[5].endswith("not drawn yet")
    assert commit.is_enabled() and lines(card, "filled") == 1


def test_answers_open_what_was_closed(opened):
    opened.card("choice").get_by_role("radio").first.check()
    opened.card("number").get_by_role("spinbutton").fill("1000000")
    opened.card("quiz").get_by_role("radio").first.check()
    opened.said("quiz", "RIGHT")
    for name in ("choice", "number", "order", "curve"):
        assert opened.output(f"{name}-open").get_by_text("CLOSED").count() == 1
        opened.press(name)
        opened.said(f"{name}-open", "You said")
        assert opened.card(name).locator("button.commit").inner_text() == "Change my answer"
        assert opened.card(name).locator("input:enabled, .handle:visible, li button:visible").count() == 0
    assert lines(opened.card("curve"), "truth") == 0 and lines(opened.card("curve-open"), "truth") == 1
    opened.said("start", "6 of 6 answered, 1 of 1 exercises passed, quiz: 2 of 2 right.")
    kept = opened.contents("GET", "my_progress.json")
    assert len(json.loads(kept["content"])["chapters"]["Cards"]) == 7


def test_an_answer_by_enter_leaves_the_focus_on_the_button(opened):
    """The field is disabled then, and the focus would be nowhere."""
    opened.press("number")
    opened.card("number").get_by_role("button", name="Commit to this answer").wait_for()
    field = opened.card("number").get_by_role("spinbutton")
    field.fill("1000000")
    field.press("Enter")
    opened.card("number").get_by_role("button", name="Change my answer").wait_for()
    opened.page.wait_for_function("document.activeElement.textContent === 'Change my answer'")


def test_change_my_answer_opens_the_card_and_compares(opened):
    marks = {"choice": "your answer before", "number": "before: 1000000", "order": "before: 1."}
    for name in ("choice", "number", "order", "curve"):
        opened.press(name)
        card = opened.card(name)
        card.get_by_role("button", name="Commit to this answer").wait_for()
        card.locator(":focus:not(.commit)").wait_for()
        focused = card.locator(":focus")
        kind = focused.get_attribute("type") or focused.get_attribute("role")
        assert kind == {"choice": "radio", "number": "number", "order": "button", "curve": "slider"}[name]
        if name in marks:
            assert card.locator(".mark:visible").first.inner_text() == marks[name]
        else:
            assert lines(card, "before") == 1
        assert "You said" in opened.output(f"{name}-open").inner_text()
    opened.card("choice").get_by_role("radio").nth(1).check()
    opened.card("number").get_by_role("spinbutton").fill("9000000")
    opened.card("order").locator(".item", has_text="four").press("Home")
    opened.card("curve").locator(".handle").press("End")
    opened.card("curve").locator(".handle").press("PageUp")
    for name, change in {"choice": "closer to", "number": "farther from", "order": "closer to",
                         "curve": "closer to"}.items():  # fmt: skip
        opened.press(name)
        opened.said(f"{name}-open", f"Before that you said: .*{change} the data")
    assert lines(opened.card("curve-open"), "before") == 1


NAMES = """() => [...document.querySelectorAll(`.jp-OutputArea :is(input, button, [role=button], [role=slider],
    fieldset, select, textarea)`)].filter((one) => one.checkVisibility() && !(one.ariaLabel
    || one.getAttribute('aria-labelledby') || one.labels?.length || one.textContent.trim()))
    .map((one) => one.outerHTML)"""
# The least contrast of the words in cards with what lies behind them, and these words.
CONTRAST = """() => {
  const parse = (text) => {
    const parts = text.match(/[\\d.]+(e-\\d+)?/g).map(Number), most = text.includes('srgb') ? 255 : 1;
    return [...parts.slice(0, 3).map((v) => most * v), parts[3] ?? 1]; };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const linear = (v) => (v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
  const light = (c) => c.slice(0, 3).map((v) => linear(v / 255))
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0) + .05;
  const behind = (one) => { const layers = [];
    for (; one; one = one.parentElement) layers.push(parse(getComputedStyle(one).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]); };
  const walker = document.createTreeWalker(document.querySelector('.jp-Notebook'), NodeFilter.SHOW_TEXT);
  let worst = [99, ''];
  for (let text; (text = walker.nextNode());) {
    const one = text.parentElement;
    if (!text.textContent.trim() || !one.closest('.jp-OutputArea-output') || !one.checkVisibility()) continue;
    if (one.closest('button:disabled, .unseen, mjx-assistive-mml')) continue;
    const style = getComputedStyle(one), back = behind(one);
    let opacity = 1;
    for (let up = one; up; up = up.parentElement) opacity *= getComputedStyle(up).opacity;
    const colour = parse(one.closest('svg') ? style.fill : style.color);
    const front = over([...colour.slice(0, 3), colour[3] * opacity], back);
    const [a, b] = [light(front), light(back)].sort((x, y) => y - x);
    if (a / b < worst[0]) worst = [a / b, text.textContent];
  }
  return worst;
}"""


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_controls_have_names_words_have_contrast_and_the_focus_is_seen(opened, theme):
    page = opened.page
    page.get_by_role("menuitem", name="Settings", exact=True).click()
    page.locator(".lm-Menu-itemLabel", has_text=re.compile("^Theme$")).hover()
    page.locator(".lm-Menu-itemLabel", has_text=re.compile(f"^JupyterLab {theme}$")).click()
    page.wait_for_function(f"document.body.dataset.jpThemeLight === '{str(theme == 'Light').lower()}'")
    page.wait_for_timeout(500)
    for change in ("Commit", "Change"):  # once open, once committed
        for name in ("choice", "number", "order", "curve"):
            opened.press(name)
            opened.card(name).get_by_role("button", name=change).wait_for()
        assert page.evaluate(NAMES) == []
        ratio, words = page.evaluate(CONTRAST)
        assert ratio >= 4.5, (ratio, words)
        for name in ("choice", "number", "order", "curve"):
            button = opened.card(name).locator("button.commit")
            button.focus()
            page.keyboard.press("Shift+Tab")
            page.keyboard.press("Tab")
            style = "one => [getComputedStyle(one).outlineStyle, parseFloat(getComputedStyle(one).outlineWidth)]"
            assert button.evaluate(style) == ["solid", 3]


@pytest.mark.parametrize("width", [700, 1100])
def test_nothing_is_cut(opened, width):
    opened.page.set_viewport_size({"width": width, "height": 900})
    opened.page.wait_for_timeout(300)
    cut = """() => [...document.querySelectorAll('.jp-OutputArea-output, .jp-OutputArea-output .jupyter-widgets')]
        .filter((one) => one.scrollWidth > one.clientWidth + 1).map((one) => one.textContent.slice(0, 50))"""
    assert opened.page.evaluate(cut) == []


def test_shift_enter_on_a_button_runs_the_cell_and_presses_nothing(opened):
    """After a press the focus is still on the button; the reader wants the next cell, not to take the answer back."""
    button = opened.card("choice").locator("button.commit")
    button.focus()
    button.evaluate(
        "(one) => { window.seen = [one.textContent]; new MutationObserver(() => seen.push(one.textContent))"
        ".observe(one, { childList: true, subtree: true, characterData: true }); }"
    )
    button.press("Shift+Enter")
    here = list(CELLS).index("choice")
    opened.page.wait_for_function(f"({NOTEBOOK})()[1] === {here + 1}")
    opened.idle()
    assert len(set(opened.page.evaluate("seen"))) == 1, "the answer is as it was"


def test_a_card_without_its_kernel_says_what_to_run(opened):
    assert opened.card("choice").locator(".lost").is_hidden()
    opened.menu("File", "Save Notebook")
    opened.page.locator(".lm-TabBar-tab.lm-mod-current:not(.jp-mod-dirty)", has_text="cards").wait_for()
    opened.menu("Kernel", "Restart Kernel…")
    opened.page.get_by_role("button", name="Confirm Kernel Restart").click()
    for name in ("choice", "number", "order", "curve"):
        note = opened.card(name).locator(".lost")
        note.wait_for()
        assert re.search(r"run the cell above \(In \[\d+\] when it last ran\) again", note.inner_text())
        assert opened.card(name).locator("button.commit").is_hidden()
    opened.page.locator("#jp-main-statusbar", has_text="| Idle").wait_for()
    opened.cell('lt.Predict("At').locator(".jp-InputPrompt").click()


def test_a_card_whose_kernel_was_shut_down_says_so_when_it_is_asked(opened):
    opened.run_all()
    opened.card("choice").get_by_role("radio").first.check()
    opened.menu("Kernel", "Shut Down Kernel")
    opened.page.locator("#jp-main-statusbar", has_text="No Kernel").wait_for()
    opened.press("choice")
    opened.card("choice").locator(".lost").wait_for()
    assert opened.card("number").locator(".lost").is_hidden()


def test_the_console_is_free_of_errors(opened):
    assert opened.errors == []


def test_kept_cards_keep_their_answers_shut(lab, browser):  # noqa: F811
    """As a reader finds a chapter: HTML that nobody has trusted, and no kernel."""
    gate = study.Predict("At $x = 1$?", choices=["it rises", "it falls"], default="it rises")
    shown = {"choice": gate, "choice-open": gate.reveal("The secret.", truth="it falls")}

    def outputs(name):
        bundle = shown[name]._repr_mimebundle_()
        bundle = bundle[0] if isinstance(bundle, tuple) else bundle
        data = {kind: text for kind, text in bundle.items() if kind.startswith("text/")}
        return [{"output_type": "execute_result", "data": data, "metadata": {}, "execution_count": 1}]

    page = browser.new_page(viewport={"width": 1100, "height": 900})
    cards = Cards(
        page, *lab, "kept.ipynb", written({name: f"import ltviz as lt\n{CELLS[name]}" for name in shown}, outputs)
    )
    page.get_by_text("PREDICT BEFORE YOU LOOK").wait_for()
    secret, data = (page.locator(".jp-OutputArea").get_by_text(words) for words in ("The secret.", "The answer:"))
    assert secret.count() and data.count() and secret.is_hidden() and data.is_hidden()
    ratio, words = page.evaluate(CONTRAST)
    assert ratio >= 4.5, (ratio, words)
    stop = "document.querySelector('.jp-OutputArea summary').tabIndex"
    assert page.evaluate(stop) == 0, "without a kernel the keyboard opens it"
    cells = page.locator(".jp-Notebook .jp-Cell")
    page.locator("#jp-main-statusbar", has_text="| Idle").wait_for()
    cells.first.click()
    page.keyboard.press("Shift+Enter")
    page.locator(".ltviz-answer").first.wait_for()
    assert page.evaluate(stop) == -1, "beside a card that lives it is passed over"
    fold = page.get_by_text("Answer first; then open this")
    fold.click()
    assert secret.is_visible() and data.is_visible()
    n = cells.count()
    for key in ("b", "a", "x"):
        fold.press(key)
    assert cells.count() == n, "letters on a fold are no commands"
    fold.press("Escape")
    assert page.evaluate("document.activeElement.classList.contains('jp-Cell')")
    assert cards.errors == []
    page.close()
