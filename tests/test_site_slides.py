"""The slides of a chapter: what becomes one, what stays out, and how they move and fit in Chromium."""

import re

import nbformat
import pytest
from conftest import chromium
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools.site import build, slides

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
CARD = '<div style="border-left:5px solid #b5540a;width:56em"><div><span style="x">{}</span></div>{}</div>'
TITLE = '<div style="font-weight:600;font-size:1.1em">{}</div>'
FOLD = "<details><summary><b>{}</b></summary><div>{}</div></details>"
PREDICT = CARD.format(
    "PREDICT BEFORE YOU LOOK",
    TITLE.format("How many of $n$?") + "A number from 0 to 9."
    "<div><i>Run this notebook to commit to your own answer before the answer below opens.</i></div>",
)
VERDICT = CARD.format(
    "A SURPRISE",
    "<div>An example guess: <b>7 of 10</b>. The answer: <b>2.4 of 10</b>. 4.6 of 10 too high.</div>"
    "<div>Because of $\\pi$.</div>",
)
FIGURE = f'<div><p>How to read it.</p><img alt="bars" src="data:image/png;base64,{PIXEL}" style="width:700px"></div>'
QUIZ = "".join(
    CARD.format(
        f"QUESTION {i} OF 2",
        TITLE.format(f"Question {i}?") + "<ul><li>yes</li></ul>" + FOLD.format("Answer", f"✓ so {i}"),
    )
    for i in (1, 2)
)
EXERCISE = CARD.format("EXERCISE", TITLE.format("Twice") + "<div>Write it.</div>" + FOLD.format("Hint 1 of 1", "Add."))


def shown(kind, text, **more):
    return new_output("execute_result", {kind: text, "text/plain": "plain", **more})


def made(tmp_path, *cells):
    path = tmp_path / "42_small.ipynb"
    nbformat.write(new_notebook(cells=list(cells)), path)
    return slides.slides(path)


def code(source, *outputs):
    return new_code_cell(source, outputs=list(outputs))


def text(slide):
    return " ".join(re.sub(r"<[^>]+>", " ", slide.body).split())


def test_headings_leads_equations_and_lists_become_slides_and_the_rest_is_spoken(tmp_path):
    found = made(
        tmp_path,
        new_markdown_cell("# 42 · Small\n\nThe lead.\n\nSpoken."),
        new_markdown_cell(
            "## One number\n\nFirst.\n\nSpoken, too.\n\nBy Bayes' rule\n\n$$p = \\frac12$$\n\n"
            "where $p$ is a share.\n\nAnd so:"
        ),
        new_markdown_cell("All of this is spoken, and\n\nthis as well."),
        new_markdown_cell("<details><summary>Open</summary>\n\n* Folded.\n\n</details>"),
        new_markdown_cell(
            "Try it:\n\n1. Go left.\n2. Go right.\n\n```python\n# no heading\n```\n\n## References\n\n* A book."
        ),
        code("x = 1", new_output("stream", name="stdout", text="printed")),
    )
    assert [(one.heading, one.kind) for one in found] == [
        ("42 · Small", "title"),
        *[("One number", "text")] * 3,
    ]
    assert text(found[0]) == "The lead."
    assert (
        text(found[1]).startswith("First. By Bayes' rule")
        and "where" in text(found[1])
        and "poken" not in text(found[1])
    )
    assert found[1].body.count("<math") == 2
    assert [text(one) for one in found[2:]] == ["Folded.", "Try it: Go left. Go right."]


def test_a_prediction_is_asked_on_one_slide_and_answered_on_the_next_ones(tmp_path):
    found = made(
        tmp_path,
        new_markdown_cell("## Rare\n\nLead."),
        code("cards.never", shown("text/html", PREDICT)),
        code("cards.open_never()", shown("text/html", FOLD.format("Answer first; then open this", FIGURE + VERDICT))),
    )
    assert [one.kind for one in found] == ["title", "question", "answer", "answer", "answer"]
    asked, verdict, figure, words = found[1:]
    assert "How many of" in text(asked) and "2.4" not in text(asked) and "commit" not in text(asked)
    assert text(verdict).startswith("THE ANSWER The answer: 2.4 of 10 .") and "7 of 10" not in text(verdict)
    assert "too high" not in text(verdict) and "<math" in verdict.body
    assert figure.body.count("<img") == 1 and text(words) == "How to read it."
    for one in found:
        assert one.body.count("<div") == one.body.count("</div>"), one


def test_an_answer_with_much_to_show_goes_on_between_its_tables(tmp_path):
    rows = "<tr><td>word</td></tr>" * 60
    tables = "".join(f'<div style="margin:.4em 0"><table>{rows}</table>table {i}</div>' for i in range(4))
    opened = shown("text/html", FOLD.format("Answer first; then open this", f"<div>{tables}</div>" + VERDICT))
    found = made(tmp_path, new_markdown_cell("# T\n\nL."), code("cards.open_it()", opened))
    assert [one.body.count("<table") for one in found] == [0, 0, 2, 2]
    assert "THE ANSWER" in found[1].body and text(found[3]).endswith("table 3")
    assert all(one.body.count("<div") == one.body.count("</div>") for one in found)


def test_a_quiz_gives_a_question_and_an_answer_in_turn_and_an_exercise_no_hint(tmp_path):
    found = made(
        tmp_path,
        new_markdown_cell("## Check\n\nL."),
        code("q", shown("text/html", QUIZ)),
        code("e", shown("text/html", EXERCISE)),
    )
    assert [one.kind for one in found[1:]] == ["question", "answer", "question", "answer", "task"]
    assert [text(one) for one in found[2:5:2]] == ["✓ so 1", "✓ so 2"] and found[4].heading == "Question 2?"
    assert "so" not in text(found[1]) and "Write it." in text(found[5]) and "Add." not in text(found[5])
    waiting = shown("text/html", "<b>WAITING FOR YOUR ANSWER</b>")
    assert [one.kind for one in made(tmp_path, new_markdown_cell("# T\n\nL."), code("e", waiting))] == ["title"]


def test_an_explorer_is_its_picture_and_the_line_that_opens_it(tmp_path):
    trained = shown("image/png", PIXEL)
    untrained = new_output("display_data", {"image/png": PIXEL, "text/plain": "Nothing is trained yet. So."})
    found = made(
        tmp_path,
        new_markdown_cell("# Explore\n\nL."),
        code("run = 1\nlt.explore.wall(run,\n    tau=1.0)", trained),
        code("lt.explore.lab(bench, 'crt')", untrained),
    )
    assert found[1].kind == "figure" and "<img" in found[1].body and "lt.explore.wall(run, tau=1.0)" in text(found[1])
    assert "<img" not in found[2].body and "lt.explore.lab(bench, &#x27;crt&#x27;)" in found[2].body


def test_printed_sentences_stand_with_their_section(tmp_path):
    found = made(
        tmp_path,
        new_markdown_cell("# T\n\nL."),
        new_markdown_cell("## Numbers\n\nTwo of them."),
        code("a", shown("text/markdown", "It is **3**.")),
        code("b", shown("text/markdown", "And **4**.")),
    )
    assert [text(one) for one in found] == ["L.", "Two of them. It is 3 . And 4 ."]


def test_text_that_is_too_long_goes_on_and_what_announces_a_list_stays_with_it(tmp_path):
    long = " ".join(["word"] * 130)
    found = made(tmp_path, new_markdown_cell(f"# T\n\n{long}\n\nThree things:\n\n* {long}\n* b"))
    assert len(found) == 2 and text(found[1]).startswith("Three things:") and text(found[1]).endswith(" b")


@pytest.mark.parametrize("path", build.notebooks(), ids=lambda path: path.stem[:2])
def test_every_chapter_has_its_questions_and_nothing_from_elsewhere(path):
    found = slides.slides(path)
    page = slides.page(path)
    assert found[0].kind == "title" and len(page) < 2_000_000
    assert not re.search(r'(?:src|href)="(?:https?:)?//[^"]*\.(?:js|css|png)|@import|url\((?!data:)', page)
    assert "WAITING FOR" not in page and "An example guess" not in page and "Hint 1 of" not in page
    asked = [i for i, one in enumerate(found) if "PREDICT BEFORE YOU LOOK" in one.body]
    answered = [i for i, one in enumerate(found) if ">THE ANSWER<" in one.body]
    assert len(asked) == len(answered) and all(a > q for q, a in zip(asked, answered, strict=True))
    for one in found:
        assert one.body.count("<div") == one.body.count("</div>") and one.body.count("<details") == one.body.count(
            "</details>"
        )


def test_the_command_writes_a_file_a_chapter(tmp_path):
    assert slides.main(["03", "--folder", str(tmp_path)]) == 0
    (page,) = tmp_path.iterdir()
    assert page.name == "03_decide_again.html" and page.read_text(encoding="utf-8").count('<section class="slide') > 30


# ------------------------------------------------------------------------------------------------------------- browser
@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """Opens the slides of chapter 03 in a window of 1280 by 720; what they asked for and what went wrong is kept."""
    from playwright.sync_api import sync_playwright

    folder = tmp_path_factory.mktemp("slides")
    slides.main(["03", "--folder", str(folder)])
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])

        def open_it(theme="light", **size):
            viewport = {"width": 1280, "height": 720} | size
            page = running.new_context(viewport=viewport, color_scheme=theme).new_page()
            page.asked, page.wrong = [], []
            page.on("request", lambda one: page.asked.append(one.url))
            page.on("console", lambda one: page.wrong.append(one.text))
            page.on("pageerror", lambda one: page.wrong.append(str(one)))
            page.goto((folder / "03_decide_again.html").as_uri())
            page.wait_for_selector("html[data-ready]", state="attached")
            return page

        yield open_it
        running.close()


FITS = """() => [...document.querySelectorAll('.slide')].map(slide => {
  const box = slide.getBoundingClientRect(), scale = box.height / 720;
  const all = [...slide.querySelectorAll('*')].map(one => one.getBoundingClientRect());
  return [Math.max(...all.map(one => one.bottom - box.top)) / scale,
          Math.max(...all.map(one => one.right - box.left)) / scale, +slide.firstElementChild.style.zoom];
})"""


@pytest.mark.browser
@pytest.mark.parametrize("size", [{}, {"width": 1920, "height": 1080}, {"width": 390, "height": 844}])
def test_every_slide_fits_and_asks_for_nothing(opened, size):
    page = opened(**size)
    for bottom, right, zoom in page.evaluate(FITS):
        assert bottom <= 700 and right <= 1280 - 60 and zoom >= 0.5
    assert page.wrong == [] and all(url.startswith(("file:", "data:")) for url in page.asked)


@pytest.mark.browser
def test_keys_move_and_the_address_keeps_the_slide(opened):
    page = opened()
    where, now = page.locator("#where"), page.locator(".slide.now")
    count = page.locator(".slide").count()
    assert where.inner_text() == f"1 / {count}" and now.count() == 1
    page.keyboard.press("ArrowRight")
    page.keyboard.press("PageDown")
    assert where.inner_text() == f"3 / {count}" and page.url.endswith("#s3") and now.get_attribute("id") == "s3"
    page.keyboard.press("ArrowLeft")
    assert where.inner_text() == f"2 / {count}"
    page.keyboard.press("End")
    page.keyboard.press(" ")
    assert where.inner_text() == f"{count} / {count}"
    page.keyboard.press("Home")
    page.locator("#on").click()
    page.reload()
    assert where.inner_text() == f"2 / {count}"


@pytest.mark.browser
def test_the_theme_follows_the_system_and_turns_and_paper_is_light(opened):
    page = opened("dark")
    ground = "() => getComputedStyle(document.querySelector('.slide.now')).backgroundColor"
    assert page.evaluate(ground) == "rgb(18, 18, 22)"
    page.keyboard.press("d")
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    page.keyboard.press("d")
    page.evaluate("() => dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    page.evaluate("() => dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(ground) == "rgb(18, 18, 22)"


@pytest.mark.browser
def test_printing_gives_a_page_a_slide(opened):
    page = opened()
    printed = page.pdf(prefer_css_page_size=True)
    assert len(re.findall(rb"/Type\s*/Page\b(?!s)", printed)) == page.locator(".slide").count()
