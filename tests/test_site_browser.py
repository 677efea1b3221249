"""The site in Chromium, opened from disk: nothing is asked for from elsewhere, explorers move, addresses hold them."""

import os
import time
from pathlib import Path

import pytest
from conftest import chromium
from test_site import course, folder, site  # noqa: F401  the small site, and the pages of the course

from tools.site import build, explorers

pytestmark = pytest.mark.browser
AXE = os.environ.get("LTVIZ_AXE")
CHAPTERS = ("03_decide_again.html", "07_dual_loss.html")
SCREEN = "#explorer-effective_number canvas:not(.photos)"


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def opened(browser, site):  # noqa: F811
    """Opens a page of the small site by its address in a window; what it asked for and what went wrong is kept."""
    pages = []

    def open_it(address, width=1440, theme="light", **settings):
        made = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme, **settings).new_page()
        made.asked, made.wrong = [], []
        made.on("request", lambda one: made.asked.append(one.url))
        made.on("console", lambda one: made.wrong.append(one.text))
        made.on("pageerror", lambda one: made.wrong.append(str(one)))
        made.goto(f"{(site[0]).as_uri()}/{address}")
        pages.append(made)
        return made

    yield open_it
    for one in pages:
        one.context.close()


def drawn(page):
    """Wait until the explorer of the chapter shows a frame."""
    page.locator("#explorer-effective_number").scroll_into_view_if_needed()
    page.locator(f"{SCREEN}[aria-busy=false]").wait_for()


def until(page, condition):
    """Wait until an expression is true. `wait_for_function` would repeat it as the page's own script, which the page's
    policy stops."""
    ends = time.monotonic() + 10
    while not page.evaluate(condition):
        assert time.monotonic() < ends, f"after 10 seconds it is still not true: {condition}"
        page.wait_for_timeout(20)


def told(page):
    return page.locator("#explorer-effective_number .caption").inner_text()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("file", ["index", "42_small", "methods", "methods/focal", "glossary"])
def test_a_page_opens_from_disk_and_asks_for_files_of_the_site_only(opened, site, file, width, theme):  # noqa: F811
    page = opened(f"{file}.html", width, theme)
    page.wait_for_load_state("load")
    own = site[0].as_uri()
    assert page.asked and [url for url in page.asked if not url.startswith((own, "data:", "blob:"))] == []
    assert page.wrong == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 18, 22)"}[theme]
    assert page.evaluate("[...document.images].every(one => one.complete && one.naturalWidth > 0)")


def test_the_policy_of_a_page_stops_what_would_leave_it(opened):
    page = opened("index.html")
    blocked = page.evaluate(
        """() => new Promise((done) => {
          document.addEventListener("securitypolicyviolation", (event) => done(event.violatedDirective));
          const image = new Image(); image.src = "http://127.0.0.1:9/x.png"; document.body.append(image);
        })"""
    )
    assert blocked == "img-src"


def test_an_explorer_moves_and_the_address_holds_where_it_is(opened, site):  # noqa: F811
    page = opened("42_small.html")
    assert page.locator("script[src*=explorers]").count() <= 1
    drawn(page)
    assert "0.9" in told(page) and page.locator("#explorer-effective_number output").inner_text() == "0.9"
    slider = page.get_by_role("slider", name="β", exact=True)
    slider.press("End")
    value = page.locator("#explorer-effective_number output").inner_text()
    until(page, f"document.querySelector('.caption').textContent.includes({value!r})")
    assert page.url.endswith(f"#explorer=effective_number&beta={value}")
    link = page.get_by_role("link", name="Link to this moment")
    moment, before = link.get_attribute("href"), page.evaluate("scrollY")
    assert moment == f"#explorer=effective_number&beta={value}"
    page.evaluate("() => { navigator.clipboard.writeText = async (text) => { window.taken = text; }; }")
    link.click()
    page.locator(".moment [role=status]").get_by_text("copied").wait_for()
    assert page.evaluate("taken") == page.url and page.url.endswith(moment) and page.evaluate("scrollY") == before
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('not allowed')); }")
    link.click()
    page.locator(".moment [role=status]").get_by_text("now in the address bar").wait_for()

    there = opened(f"42_small.html{moment}")
    there.locator(f"{SCREEN}[aria-busy=false]").wait_for()
    assert there.locator("#explorer-effective_number output").inner_text() == value and value in told(there)
    assert there.evaluate("scrollY") > 100
    there.evaluate("location.hash = '#explorer=effective_number&beta=0'")
    until(there, "document.querySelector('.explorer output').textContent === '0'")
    there.evaluate("location.hash = '#explorer=effective_number&beta=nonsense'")
    assert there.locator("#explorer-effective_number output").inner_text() == "0"
    assert page.wrong == [] and there.wrong == []


def test_a_phone_moves_a_picture_sideways_at_a_size_that_can_be_read(opened):
    page = opened("42_small.html", 390)
    drawn(page)
    box = page.locator("#explorer-effective_number .scroll").first
    inner, outer = box.evaluate("one => [one.scrollWidth, one.clientWidth]")
    assert inner == 620 and outer < 390
    # What is pointed at is told where it can be seen, at either end of the part that is in sight.
    box.scroll_into_view_if_needed()
    there, told, widths = box.bounding_box(), page.locator("#explorer-effective_number .tip"), set()
    for moved in (0, 120, 283):
        box.evaluate("(one, left) => { one.scrollLeft = left; }", moved)
        for part in (0.02, 0.25, 0.5, 0.75, 0.98):
            page.mouse.move(there["x"] + part * there["width"], there["y"] + 0.4 * there["height"])
            if told.is_visible():
                tip = told.bounding_box()
                assert there["x"] - 0.5 <= tip["x"] and tip["x"] + tip["width"] <= there["x"] + there["width"] + 0.5
                widths.add((moved, part))
    assert len(widths) > 8


def test_the_search_finds_text_words_and_methods(opened):
    page = opened("methods/focal.html")
    field = page.get_by_role("searchbox", name="Search the course")
    page.keyboard.press("/")
    page.keyboard.type("long ta")
    page.locator("#found a").first.wait_for()
    first = page.locator("#found a").first
    assert first.locator("b").inner_text() == "Glossary: long tail"
    first.click()
    page.wait_for_url("**/glossary.html#long-tail")
    page = opened("index.html")
    field = page.get_by_role("searchbox", name="Search the course")
    field.fill("focal lin")
    page.locator("#found a").first.wait_for()
    assert page.locator("#found a b").all_inner_texts() == ["Method: Focal loss"]
    field.fill("xyzzy")
    assert page.locator("#found").inner_text() == "Nothing found."
    field.press("Escape")
    assert page.locator("#found").is_hidden() and page.wrong == []


FOUND = "document.querySelectorAll('#found a')"


def test_the_search_is_used_by_keyboard_and_knows_greek_letters_by_both_names(opened):
    page = opened("index.html")
    page.keyboard.press("/")
    page.keyboard.type("/focal")
    field = page.get_by_role("searchbox", name="Search the course")
    assert field.input_value() == "focal"
    page.locator("#found a").first.wait_for()
    page.keyboard.press("ArrowDown")
    assert page.evaluate(f"document.activeElement === {FOUND}[0]")
    page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.id") == "search"
    page.keyboard.press("Enter")
    page.wait_for_url("**/methods/focal.html")
    page = opened("42_small.html")
    lists = []
    for said in ("tau", "τ", "TAU"):
        page.get_by_role("searchbox", name="Search the course").fill(said)
        page.locator("#found a").first.wait_for()
        lists.append(page.locator("#found a").all_inner_texts())
    assert lists[0] == lists[1] == lists[2] and "42 · A small chapter" in lists[0][0] and "τ = 1" in lists[0][0]


def test_a_page_has_two_hits_those_that_teach_before_lists_of_sources_and_words_are_whole(opened):
    page = opened("index.html")
    page.get_by_role("searchbox", name="Search the course").focus()
    until(page, "window.ltvizIndex")
    page.evaluate("""() => { window.ltvizIndex = [
      ...[1, 2, 3].map((i) => ({ t: `One: part ${i}`, u: `one.html#${i}`, x: "dual loss" })),
      { t: "Two: References", u: "two.html#references", x: "Dual loss, dual loss, dual loss, dual loss: loss." },
      { t: "Three", u: "three.html", x: "word ".repeat(60) + "extraordinary ".repeat(20) + "end",
        k: "dual loss" }]; }""")
    page.get_by_role("searchbox").fill("dual loss")
    assert page.locator("#found b").all_inner_texts() == ["Three", "One: part 1", "One: part 2", "Two: References"]
    page.get_by_role("searchbox").fill("extraord")
    said = page.locator("#found span").inner_text()
    assert set(said.split()) == {"…", "word", "extraordinary"} and 140 <= len(said) < 180


def test_what_is_cut_at_the_side_says_so_until_it_is_moved(opened):
    page = opened("42_small.html", 390)
    drawn(page)
    box, hint = page.locator("#explorer-effective_number .stage-box"), page.locator("#explorer-effective_number .swipe")
    until(page, "document.querySelector('.stage-box').classList.contains('more-right')")
    assert hint.is_visible() and "linear-gradient" in box.evaluate("one => getComputedStyle(one).maskImage")
    box.evaluate("one => { one.scrollLeft = one.scrollWidth; }")
    until(page, "document.querySelector('.stage-box').className === 'scroll stage-box more-left'")
    assert not hint.is_visible() and page.wrong == []
    desk = opened("42_small.html")
    drawn(desk)
    assert desk.locator(".more-right, .swipe").count() == 0


def test_a_phone_keeps_the_search_in_sight_and_gives_a_slider_its_line(opened):
    page = opened("42_small.html", 390)
    drawn(page)
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    tops = [page.locator(one).bounding_box()["y"] for one in ("#search", "#theme", "header .up")]
    assert min(tops) >= 0 and max(tops) < 20
    page.get_by_role("link", name="To the beginning of the page").click()
    until(page, "scrollY < 80")
    slider = page.locator("#explorer-effective_number input[type=range]").bounding_box()
    assert slider["width"] > 300 and slider["y"] > page.locator("#explorer-effective_number label").bounding_box()["y"]


def test_a_table_of_words_has_no_narrow_column_on_a_phone_and_the_margin_on_a_desk(opened):
    page = opened("glossary.html", 390)
    meaning = page.get_by_text("few have most").bounding_box()
    word = page.get_by_text("long tail", exact=True).bounding_box()
    assert meaning["width"] > 330 and meaning["y"] > word["y"] + 10
    page = opened("methods/focal.html")
    page.evaluate("""() => { document.querySelector(".highlight pre").textContent = "x".repeat(120);
      document.querySelector("#content").append(document.querySelector(".highlight").cloneNode(true)); }""")
    column, code = page.locator("main").bounding_box(), page.locator("main > .highlight").last.bounding_box()
    assert code["width"] > column["width"] and code["x"] + code["width"] < 1440


def test_a_card_of_the_first_page_is_a_link_as_a_whole(opened):
    page = opened("index.html")
    card = page.locator(".course li").bounding_box()
    page.mouse.click(card["x"] + card["width"] - 8, card["y"] + card["height"] - 8)
    page.wait_for_url("**/42_small.html")


def test_the_theme_is_the_system_s_until_the_reader_chooses(opened):
    page = opened("42_small.html", theme="dark")
    lit = "document.documentElement.dataset.jpThemeLight"
    assert page.evaluate(lit) == "false"
    page.get_by_role("button", name="Light or dark").click()
    assert page.evaluate(lit) == "true"
    page.reload()
    assert page.evaluate(lit) == "true"


def test_an_answer_opens_when_it_is_asked_for(opened):
    page = opened("42_small.html")
    answer = page.get_by_text("The answer", exact=True)
    assert not answer.is_visible()
    page.get_by_text("Answer first; then open this").click()
    assert answer.is_visible()


def test_without_scripts_the_kept_pictures_are_there(opened):
    page = opened("42_small.html", java_script_enabled=False)
    assert page.locator("noscript img[alt=kept], img[alt=kept]").count() == 1
    assert page.get_by_role("heading", name="A small chapter").is_visible()


# Explorers of the last chapters, with a few values of each control that moves.
FEW = {
    "gallery": {"query": (1, 31), "loss": ("Softmax", "ArcFace"), "distance": None},
    "attributes": {"rho": (0.1, 0.5), "attribute": ("tall", "two loops"), "level": None},
    "papers": {
        "data": ("CIFAR-10-LT, 200", "CIFAR-10-LT, 100"), "paper": ("all papers", "Cui et al. 2019, table 2"),
        "beside": ("table", "photographs"),
    },
    "tuning": {"beta": (0.9, 0.999), "across": ("beta", "lr"), "up": ("beta", "lr")},
}  # fmt: skip
NOW = """name => {
  const one = document.getElementById(`explorer-${name}`);
  const inputs = [...one.querySelectorAll(".controls :is(input, select)")];
  const [told, picture] = [".caption", "canvas:not(.photos)"].map((part) => one.querySelector(part));
  return [told.textContent, picture.toDataURL(), ...inputs.map((input) => input.value)];
}"""


@pytest.fixture(scope="module")
def late(tmp_path_factory):
    """Chapters 11 to 14, their explorers drawn with few values."""
    patch, made = pytest.MonkeyPatch(), tmp_path_factory.mktemp("late")
    patch.setattr(explorers, "MOVES", FEW)
    patch.setattr(explorers, "version", lambda notebooks: "few")
    build.build(build.notebooks(["11", "12", "13", "14"]), made / "site", made / "cache", [], workers=0)
    yield made / "site"
    patch.undo()


@pytest.mark.parametrize(
    ("file", "name"),
    [("11_recognition", "gallery"), ("12_attributes", "attributes"), ("13_against_the_papers", "papers"),
     ("14_tuning_lab", "tuning")],
)  # fmt: skip
def test_a_link_opens_the_moment_of_every_control(browser, late, file, name):
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page, wrong = context.new_page(), []
    page.on("console", lambda one: wrong.append(one.text))
    page.goto(f"{late.as_uri()}/{file}.html")
    explorer = page.locator(f"#explorer-{name}")
    explorer.scroll_into_view_if_needed()
    at_rest = f"#explorer-{name} canvas[aria-busy=false]:not(.photos)"
    page.locator(at_rest).wait_for()
    seen, controls = [page.evaluate(NOW, name)], explorer.locator(".controls :is(input, select)")
    assert controls.count() == len(FEW[name])
    for i in range(controls.count()):  # each to its other value
        controls.nth(i).evaluate(
            "one => { one.value = one.value === '0' ? 1 : 0; one.dispatchEvent(new Event('input')); }"
        )
        page.wait_for_timeout(200)
        page.locator(at_rest).wait_for()
        seen.append(page.evaluate(NOW, name))
    assert [one[:2] != other[:2] for one, other in zip(seen, seen[1:], strict=False)] == [True] * controls.count()
    there = context.new_page()
    there.goto(f"{late.as_uri()}/{file}.html{explorer.locator('.moment a').get_attribute('href')}")
    there.locator(at_rest).wait_for()
    there.wait_for_timeout(200)
    assert there.evaluate(NOW, name) == seen[-1] and there.evaluate("scrollY") > 100 and wrong == []
    # In "papers" all moves; elsewhere what the text asks for and a page does not have is named.
    assert (page.get_by_text("Only in the notebook: ").count() == 1) == (name != "papers")
    context.close()


@pytest.fixture(scope="module")
def chapters(tmp_path_factory, course):  # noqa: F811
    """Chapters of the course without the frames of their explorers, beside the files that all pages load."""
    home = tmp_path_factory.mktemp("course")
    build._write([one for one in course if one.file in CHAPTERS], home / "site")
    return home / "site"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("file", CHAPTERS)
def test_a_chapter_of_the_course_fits_a_phone_and_a_desk(browser, chapters, file, width, theme):
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme, bypass_csp=bool(AXE))
    said, asked = [], []
    page.on("console", lambda one: said.append(one.text))
    page.on("request", lambda one: asked.append(one.url))
    page.goto(f"{chapters.as_uri()}/{file}")
    assert said == [] and all(url.startswith((chapters.as_uri(), "data:")) for url in asked)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    if width == 390:  # what a finger has to hit
        size = "all => all.filter((one) => one.checkVisibility()).map((one) => one.getBoundingClientRect().height)"
        assert min(page.locator("button, summary, input, header nav a").evaluate_all(size)) >= 44
    assert page.locator("math").count() > 20 and page.get_by_text("This part needs Python").count() > 2
    assert not page.get_by_text("The answer:").first.is_visible()
    if AXE:
        page.add_script_tag(content=Path(AXE).read_text(encoding="utf-8"))
        found = page.evaluate("axe.run()")["violations"]
        assert [(one["id"], one["nodes"][0]["html"][:300]) for one in found] == []
    page.close()


@pytest.mark.skipif(not AXE, reason="axe: set LTVIZ_AXE to the path of axe.min.js (npm pack axe-core)")
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("file", ["index", "42_small", "methods/focal", "glossary"])
def test_axe_finds_nothing(opened, file, theme):
    page = opened(f"{file}.html", theme=theme, bypass_csp=True)
    if file == "42_small":
        drawn(page)
    page.add_script_tag(content=Path(AXE).read_text(encoding="utf-8"))
    found = page.evaluate("axe.run()")["violations"]
    assert [(one["id"], one["nodes"][0]["html"][:300]) for one in found] == []
