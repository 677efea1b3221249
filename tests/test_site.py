"""The site: what a chapter becomes, which code an explorer needs, what a page may load."""

import base64
import html
import io
import json
import posixpath
import re
from dataclasses import replace
from html.parser import HTMLParser

import nbformat
import numpy as np
import pytest
from matplotlib.figure import Figure
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from ltviz.explore.frames import Frame
from ltviz.methods import METHODS
from ltviz.plots.picture import SHARP, Picture
from tools.site import build, chapters, explorers, lists, markup, page, photographs
from tools.site.explorers import Job, found

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
ANSWER = (
    "<details><summary><b>Answer first; then open this</b></summary><div><b>The answer</b>: $\\tau = 1 - a$"
    f'<img alt="t" src="data:image/png;base64,{PIXEL}" style="max-width:100%;width:704px"></div></details>'
)


def shown(kind, text):
    return new_output("execute_result", {kind: text, "text/plain": "plain"})


def small():
    """A chapter of a few cells, with one of each kind of output."""
    cells = [
        new_markdown_cell("# 42 · A small chapter\n\nThe *first* part, $\\tau = 1$. See [chapter 00](00_other.ipynb)."),
        new_code_cell(
            "import numpy as np\nhalf = 0.5\nunused = np.full(9, 3)",
            metadata={"jupyter": {"source_hidden": True}},
            outputs=[new_output("stream", name="stdout", text="1 < 2\n")],
        ),
        new_markdown_cell("## Play & look\n\n$$z'_j = z_j - \\log \\pi_j$$\n\n```python\n# no heading\nx = 1\n```"),
        new_code_cell(
            "beta = half + 0.4\nlt.explore.effective_number([100, 10, 1], beta=beta)",
            outputs=[new_output("execute_result", {"image/png": PIXEL}, metadata={"image/png": {"alt": "kept"}})],
        ),
        new_code_cell("cards.open_it()", outputs=[shown("text/html", ANSWER)]),
        new_markdown_cell("## Exercises\n\nWrite it."),
        new_code_cell("check(...)", outputs=[shown("text/html", "<b>WAITING FOR YOUR ANSWER</b>")]),
        new_code_cell(
            'lt.explore.lab(data, "focal")', outputs=[new_output("display_data", {"image/png": PIXEL}, metadata={})]
        ),
    ]
    return new_notebook(cells=cells)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of one small chapter and a glossary."""
    folder = tmp_path_factory.mktemp("notebooks")
    nbformat.write(small(), folder / "42_small.ipynb")
    (folder / "GLOSSARY.md").write_text(
        "# Glossary\n\n| word | meaning |\n|---|---|\n| **long tail** | few have most |\n"
    )
    return folder


@pytest.fixture(scope="module")
def site(folder, tmp_path_factory):
    """The site of the small chapter and one method, drawn in this process, in little room."""
    patch = pytest.MonkeyPatch()
    drawn = explorers.drawn
    patch.setattr(explorers, "drawn", lambda todo, *more: drawn([replace(job, most=60_000) for job in todo], *more))
    patch.setattr(explorers, "version", lambda notebooks: "one")
    made = tmp_path_factory.mktemp("made")
    size = build.build(build.notebooks((), folder), made / "site", made / "cache", ["focal"], workers=0)
    yield made / "site", size
    patch.undo()


# -------------------------------------------------------------------------------------------------------------- markup
def test_mathematics_becomes_mathml():
    made = markup.mathematics(r"\frac{1}{n_j}")
    assert "<mfrac><mrow><mn>1</mn></mrow><mrow><msub><mi>n</mi><mi>j</mi></msub></mrow></mfrac>" in made
    assert 'display="inline"' in made and 'display="block"' in markup.mathematics("x", block=True)
    assert "<mi>arg</mi>" in markup.mathematics(r"\arg\max_j z_j") and "\\" not in markup.mathematics(r"\arg\max_j z_j")
    with pytest.raises(ValueError, match=r"latex='.*expected commands that can be written"):
        markup.mathematics(r"\nosuchcommand x")


def test_mathematics_of_kept_html_is_written_out_but_not_that_of_code_and_attributes():
    made = markup.fragment('<p title="a > $b$">a $x &lt; y$ b</p><code>$HOME and $PATH</code>')
    assert '<p title="a > $b$">' in made and "<code>$HOME and $PATH</code>" in made
    assert made.count("<math") == 1 and "<mo>&#x0003C;</mo>" in made
    assert markup.fragment('<th style="a"></th><th>b</th>') == '<td style="a"></td><th>b</th>'


@pytest.mark.parametrize(
    ("link", "there"),
    [
        ("03_decide_again.ipynb", "03_decide_again.html"),
        ("03_decide_again.ipynb#take-away", "03_decide_again.html#take-away"),
        ("notebooks/03_decide_again.ipynb", "03_decide_again.html"),
        ("GLOSSARY.md", "glossary.html"),
        ("https://example.org/a.ipynb", "https://example.org/a.ipynb"),
        ("#here", "#here"),
    ],
)
def test_links_lead_to_the_pages_of_the_site(link, there):
    assert markup.address(link) == there
    assert f'href="{there}"' in markup.markdown(f"[x]({link})")
    assert f'href="{there}"' in markup.fragment(f'<a href="{link}">x</a>')


ONE_DIGIT = r"(?m)^#+ \d · |\b[Cc]hapters?[ \xa0](?:\d\d(?:, | and | to |–|, and ))*\d\b(?!\.\d)"


def test_chapters_have_the_number_of_their_file():
    """ "# 03 · Decide again" and "chapter 03": in the prose, in the cards, on the sheets for teachers."""
    folder = build.NOTEBOOKS
    places = {path.name: path.read_text("utf-8") for suffix in ("py", "md") for path in folder.glob(f"*.{suffix}")}
    for path in folder.glob("*.ipynb"):
        places[path.name] = "\n".join(one["source"] for one in chapters.read(path) if one["cell_type"] == "markdown")
    assert len(places) > 45
    for name, text in places.items():
        assert re.findall(ONE_DIGIT, text) == [], name
    assert re.findall(ONE_DIGIT, "# 3 · So\nchapters 01 and 3, chapter 2.1, chapter 04") == [
        "# 3 · ",
        "chapters 01 and 3",
    ]


def test_headings_of_the_same_words_have_different_addresses():
    renderer = markup.Renderer()
    markup.markdown("## Try it\n\n## Try *it*\n\n## $\\tau$", renderer)
    assert [name for _, name, _ in renderer.headings] == ["try-it", "try-it-2", "part"]


def test_kept_pictures_say_what_they_show_and_how_wide_they_are():
    facts = {"image/png": {"alt": 'a "b"', "width": 704}, "needs_background": "light"}
    made = markup.output(new_output("display_data", {"image/png": PIXEL}, metadata=facts))
    assert 'alt="a &quot;b&quot;"' in made and "--width:704px" in made and 'class="ltviz-picture"' in made
    assert "ltviz-picture" not in markup.output(new_output("display_data", {"image/png": PIXEL}))
    said = markup.output(new_output("stream", name="stdout", text="1 < 2\n"))
    assert said == '<pre class="printed">1 &lt; 2\n</pre>'


@pytest.mark.parametrize("latex", [r"\lVert x \rVert", r"\|x\|", r"\lvert x \rvert", r"\bigl(\lVert x \rVert\bigr)"])
def test_the_bars_of_a_norm_are_as_tall_as_its_letters(latex):
    bars = re.findall(r"<mo([^>]*)>&#x0(?:2016|007C);</mo>", markup.mathematics(latex))
    assert len(bars) == 2 and all('stretchy="false"' in one for one in bars)


def test_both_brackets_of_a_power_have_one_size():
    made = markup.mathematics(r"\bigl(x - \alpha\bigr)^2 + \left(\frac12\right)")
    assert re.findall(r"<mo([^>]*)>[()]</mo>", made) == [' stretchy="false"'] * 2
    assert made.count('stretchy="true"') == 2, "those around a fraction are as tall as it is"


@pytest.mark.parametrize(
    ("said", "numbers"),
    [
        ("see chapter 04's rule", ["04"]),
        ("(Chapter 02 tests both.)", ["02"]),
        ("chapters 02, 03 and 08", ["02", "03", "08"]),
        ("chapters 01 to 03", ["01", "03"]),
        ("chapter 2.1, chapter 99, chapters, 04", []),
        ("`chapter 04`, [chapter 03](GLOSSARY.md)", []),
    ],
)
def test_a_chapter_that_is_named_is_a_link(said, numbers):
    made = markup.linked(markup.markdown(said))
    assert re.findall(r'href="(\d\d)_\w+\.html"', made) == numbers
    assert re.sub(r"<a [^>]*>|</a>", "", made) == re.sub(r"<a [^>]*>|</a>", "", markup.markdown(said))
    assert made.count("<a ") == made.count("</a>")


GUESSED = (
    '<span style="x">{}</span></div><div>{}: <b>70 of 100</b>. The answer: <b>12 of 100</b>. 58 of 100 too high.</div>'
)


def test_a_guess_that_nobody_made_is_not_judged():
    made = markup.answered(GUESSED.format("A SURPRISE", "An example guess"))
    assert made == '<span style="x">THE ANSWER</span></div><div>The answer: <b>12 of 100</b>.</div>'
    own = GUESSED.format("AS PREDICTED", "You said")
    assert markup.answered(own) == own
    assert markup.answered(own + made) == own + made
    card = shown("text/html", GUESSED.format("AS PREDICTED", "An example guess"))
    assert "THE ANSWER" in markup.output(card) and "too high" not in markup.output(card)


def test_words_of_the_search_have_greek_letters_as_signs():
    assert markup.plain(r"Slide $\tau$: $z_j - \tau\log\pi_j$, of **two**") == "Slide τ: z_j - τ log π_j, of two"
    assert markup.plain(r"$\frac{1}{n_j}$ and $\lVert x\rVert$") == "1 n_j and x"


def test_a_dark_page_turns_the_paper_of_photographs_over_and_leaves_them():
    """They say themselves where they stand in the picture that is kept."""
    figure = Figure(figsize=(3, 1.2), dpi=100)
    ax = figure.add_axes((0.1, 0.25, 0.2, 0.5))
    ax.imshow(np.random.default_rng(0).integers(0, 230, (60, 60, 3), np.uint8), gid="photo", aspect="auto")
    ax.set_axis_off()
    figure.add_axes((0.5, 0.1, 0.3, 0.8)).bar([0, 1], [1, 2], color="#1E3CC8")
    bundle, about = Picture(ax, {}, "a photograph and two bars")._repr_mimebundle_()
    (box,) = about["image/png"]["photographs"]
    assert box == pytest.approx((30 * SHARP, 30 * SHARP, 90 * SHARP, 90 * SHARP), abs=2)
    light, twin = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(one))).convert("RGB")).astype(int)
        for one in (bundle["image/png"], photographs.dark(bundle["image/png"], [box]))
    )
    assert light[2, 2].min() > 250 and twin[2, 2].max() < 40
    assert np.abs(twin - light)[box[1] : box[3], box[0] : box[2]].mean() < 20
    kept = {"image/png": bundle["image/png"]}
    made = markup.output(new_output("display_data", kept, metadata=about))
    assert 'class="ltviz-photographs"' in made and "--dark:url(data:image/png;base64," in made
    foreign = markup.output(new_output("display_data", kept))
    assert "class=" not in foreign.split("<img")[1], "a picture of somebody else stays as it is"


def test_the_picture_of_an_explorer_that_trains_is_turned_over():
    one = new_output("display_data", {"image/png": PIXEL})
    assert (
        'class="ltviz-picture"' in markup.output(one, chart=True)
        and "class=" not in markup.output(one).split("<img")[1]
    )


# ----------------------------------------------------------------------------------------------------------- explorers
def test_an_explorer_takes_along_what_it_needs_and_nothing_else():
    cells = [
        (0, "import numpy as np\nimport torch\na, b = 1, 2\nc = 9"),
        (1, "def twice(x):\n    return a * x\nlong = train()\nprint(long)"),
        (3, "n = twice(b)\nlt.explore.wall(n, c)"),
        (5, "display(lt.explore.wall(c))\nlt.say('x')"),
        (6, "kept = lt.explore.wall(c)\ncards.show(lt.explore.wall(c))"),
    ]
    jobs = found(cells)
    assert set(jobs) == {3, 5} and [job.name for job in jobs.values()] == ["wall", "wall-2"]
    before = "a, b = (1, 2)\nc = 9\n\ndef twice(x):\n    return a * x\nn = twice(b)"
    assert (jobs[3].before, jobs[3].call) == (before, "lt.explore.wall(n, c)")
    assert (jobs[5].before, jobs[5].function) == ("c = 9", "wall")


SAME = ", which stays that of cross-entropy"


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("logit_adjusted", f"τ changes nothing in the loss of an image{SAME}. Settings says what it does."),
        ("crt", f"share changes nothing in the loss of an image{SAME}. Settings says what it does."),
        ("tau_norm", f"τ and bias change nothing in the loss of an image{SAME}. Settings says what they do."),
        ("sigmoid", "decay bias b changes nothing in the loss of an image. Settings says what it does."),
    ],
)
def test_a_loss_that_no_setting_changes_has_no_slider_and_a_sentence(tmp_path, key, said):
    made = explorers.draw(lists.jobs([key])[key], build.NOTEBOOKS, tmp_path)
    assert made["without"] == f"There is no slider here: {said}"
    assert "<input" not in made["html"] and "<select" not in made["html"]
    assert len(made["data"]["frames"]) == 1 and made["data"]["state"]["tracks"] == []
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(made["data"]["frames"][0]["image"]))).convert("RGB"))
    assert set(np.unique(picture)) <= set(range(0, 256, explorers.STEP)), "with the colours of the other pictures"


def test_a_control_that_acts_in_the_middle_alone_moves(throw):
    def draw(values):
        return Frame(np.full((9, 9, 3), 9 * (values["seed"] == sweep.values[10]), np.uint8), "one")

    sweep = next(one for one in throw.screen.sweeps if one.name == "seed")
    throw.screen.follow([sweep], throw.screen._values, draw)
    assert len(sweep.values) == 20 and explorers.moving(throw.screen, "another") == ["seed"]
    throw.screen.follow([sweep], throw.screen._values, lambda values: Frame(np.zeros((9, 9, 3), np.uint8), "none"))
    assert explorers.moving(throw.screen, "another") == []


@pytest.fixture
def throw():
    import ltviz as lt

    explorer = lt.explore.throw(ratio=50)
    yield explorer
    explorer.close()


def test_the_controls_that_move_are_named_or_the_first_that_changes_the_picture(throw, monkeypatch):
    assert explorers.moving(throw.screen, "throw") == ["ratio", "seed", "class_order"]
    assert explorers.moving(throw.screen, "another") == ["seed", "class_order"]
    monkeypatch.setattr(explorers, "_acts", lambda screen, sweep: sweep.name == "ratio")
    assert explorers.moving(throw.screen, "another") == ["ratio"]
    with pytest.raises(ValueError, match="wall: expected names of its controls, .*'tau'"):
        explorers.moving(throw.screen, "wall")


def test_what_moves_follows_from_the_call():
    calls = ("lt.explore.loss_anatomy('focal', counts, gamma=2.0)", "lt.explore.loss_anatomy(own)",
             "lt.explore.papers('CIFAR-10-LT, 200', 'all papers')", "lt.explore.throw()")  # fmt: skip
    asked = [Job("x", "", call).asked for call in calls]
    assert asked == ["loss_anatomy focal", "loss_anatomy", "papers", "throw"]


def test_a_page_holds_the_named_values_and_where_the_control_stands(throw, monkeypatch):
    wanted = {"ratio": (1, 10, 100), "seed": (0, 3), "class_order": None}
    monkeypatch.setitem(explorers.MOVES, "throw", wanted)
    before = throw.screen.frame.pixels
    notes = explorers.lighten(throw.screen, "throw")
    sweeps = {one.name: one for one in throw.screen.sweeps}
    assert sweeps["ratio"].written() == ["1", "10", "50", "100"] and sweeps["seed"].written() == ["0", "3"]
    assert sweeps["class_order"].written() == ["drawn by seed", "natural"]
    assert notes == ["To keep this page small, it holds 2 of the 20 values of seed and 4 of the 41 values of ratio."]
    after = throw.screen._render(throw.screen._values())
    away = np.abs(after.pixels.astype(int) - before)
    assert set(np.unique(after.pixels[..., :3])) <= set(range(0, 256, 17)) and 0 < away.max() <= 8
    assert all("click" not in one.text for one in after.points)
    monkeypatch.setitem(explorers.MOVES, "throw", {"class_order": ("by chance",)})
    with pytest.raises(ValueError, match="throw: class_order cannot be 'by chance'"):
        explorers.lighten(throw.screen, "throw")


def test_a_page_says_what_only_the_notebook_has(throw):
    said = explorers.missing(throw, ["seed", "class_order"])
    assert said == "Only in the notebook: dragging in the picture; clicking in it; moving ratio, profile, n max."
    import ltviz as lt

    still = lt.explore.effective_number([100, 10, 1])
    assert explorers.missing(still, ["beta"]) == "Only in the notebook: dragging in the picture."
    still.close()


def test_points_of_frames_are_written_once():
    point, other = [0.5, 1.0, "class 3", 0], [1.5, 2.0, "class 3", 1]
    frames = [{"meta": {"points": [point, other]}}, {"meta": {}}, {"meta": {"points": [point, other]}},
              {"meta": {"points": [other]}}]  # fmt: skip
    made = explorers.shared({"frames": frames, "plans": []})
    assert made["texts"] == ["class 3"] and made["points"] == [[[0.5, 1.0, 0, 0], [1.5, 2.0, 0, 1]], [[1.5, 2.0, 0, 1]]]
    assert [one["meta"].get("points") for one in made["frames"]] == [0, None, 0, 1] and made["plans"] == []


def test_a_second_build_draws_nothing_and_an_error_names_its_call(tmp_path, monkeypatch):
    monkeypatch.setattr(explorers, "version", lambda notebooks: "one")
    drawn = []
    monkeypatch.setattr(explorers, "draw", lambda job, *more: drawn.append(job.name) or {"html": job.call})
    jobs = [Job("one", "", "f(1)"), Job("two", "", "f(2)")]
    for _ in range(2):
        assert explorers.drawn(jobs, tmp_path, tmp_path / "cache", 0) == [{"html": "f(1)"}, {"html": "f(2)"}]
    assert drawn == ["one", "two"]
    explorers.drawn([Job("one", "x = 1", "f(1)")], tmp_path, tmp_path / "cache", 0)
    monkeypatch.setattr(explorers, "version", lambda notebooks: "two")
    explorers.drawn(jobs[:1], tmp_path, tmp_path / "cache", 0)
    assert drawn == ["one", "two", "one", "one"]

    def fails(job, *more):
        raise KeyError("beta")

    monkeypatch.setattr(explorers, "draw", fails)
    with pytest.raises(RuntimeError, match=r"lt\.explore\.wall\(x\): KeyError: 'beta'"):
        explorers.drawn([Job("wall", "", "lt.explore.wall(x)")], tmp_path, tmp_path / "cache", 0)


# ------------------------------------------------------------------------------------------------------------ the pages
def test_a_small_site_has_its_pages_and_its_scripts(site):
    folder, size = site
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert files == [
        "42_small.html", "assets/index.js", "assets/screen.js", "assets/site.css", "assets/site.js", "assets/theme.js",
        "explorers/42_small.effective_number.js", "explorers/methods.focal.loss_anatomy.js", "glossary.html",
        "index.html", "methods.html", "methods/focal.html",
    ]  # fmt: skip
    assert size == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 1_000_000
    assert not list(folder.parent.glob("*.new"))
    for path in folder.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert f'content="{page.POLICY}"' in text and text.count("<h1") == 1, path
        assert not re.search(r"(src|href)=.(https?:)?//", text), path


def test_a_chapter_shows_code_folds_what_was_folded_and_says_what_needs_python(site):
    text = (site[0] / "42_small.html").read_text(encoding="utf-8")
    assert "<title>42 · A small chapter · ltviz</title>" in text
    assert '<a href="00_other.html">chapter 00</a>' in text and '<a href="#play-look">Play &amp; look</a>' in text
    hidden, plain = text.index("unused"), text.index("half</span>", text.index("explorer-effective") - 2000)
    assert '<details class="source"><summary>Code</summary>' in text[:hidden] and plain
    assert text.count("<math") == 3 and "$" not in re.sub(r"<[^>]*>", "", text.split("<main")[1])
    assert text.index("<summary><b>Answer first") < text.index("<b>The answer</b>")
    assert "WAITING" not in text and text.count("This part needs Python: in a copy of the repository run") == 2
    assert text.count("<code>42_small.ipynb</code>") == 2 and "explorer-lab" not in text
    assert '<noscript><div class="output"' in text or '<noscript><img alt="kept"' in text


YOUR_TURN = page.needs_python("Your turn.", "42_small.ipynb")


def test_what_moves_here_is_said_before_the_text_says_what_to_do(site):
    text = (site[0] / "42_small.html").read_text(encoding="utf-8")
    note = text.index("<b>On this page</b> you can move <b>")
    assert (
        text.index('id="play-look"') < note < text.index("<math", note) < text.index('id="explorer-effective_number"')
    )
    said = text[note : text.index("</div>", note)]
    assert "In place of its line move β." in said and "Only in the notebook: dragging in the picture." in said
    assert text.count("Only in the notebook: ") == 1, "not in the explorer once more"


@pytest.mark.parametrize(
    "text",
    ["Run the cell as it is. Then see.", "When done, run the next cell: so.", "Now change it.", "1. Run it again.",
     "Then change the line of `logits`.", "To use your own, put its path there.", "Now change `M` to 0.2."],
)  # fmt: skip
def test_a_part_that_asks_to_run_or_to_change_a_cell_has_its_note_before_it(tmp_path, text):
    made = chapters.noted(f"## A\n\nBefore.\n\n{text}\n\nAfter.", "", tmp_path / "42_small.ipynb")
    assert made == f"## A\n\nBefore.\n\n{YOUR_TURN}\n\n{text}\n\nAfter."


def test_what_only_tells_has_no_note_and_a_note_comes_after_its_heading(tmp_path):
    path = tmp_path / "42_small.ipynb"
    for text in (
        "Cutting can change it.",
        "The next cell trains two.",
        "```python\n\nrun this cell\n\n```",
        "We run ten.",
    ):
        assert chapters.noted(text, "", path) == text
    assert chapters.noted("# A\n\nOne.\n\n## B\nTwo.\n\n* Three.", "<b>N</b>", path) == (
        "# A\n\nOne.\n\n## B\n\n<b>N</b>\n\nTwo.\n\n* Three."
    )
    assert chapters.noted("One.\n\nTwo.", "<b>N</b>", path) == "<b>N</b>\n\nOne.\n\nTwo."


def test_a_comment_and_a_card_that_ask_for_a_run_have_their_note(tmp_path):
    cells = [
        new_markdown_cell("# T\n\nL."),
        new_code_cell("part = 0.5  # change it, and run this cell again"),
        new_code_cell('lt.chapter("train a loss, change it, and judge it")'),
        new_code_cell(
            "show()", outputs=[shown("text/html", "<div>In <code>a.html</code>. Run this cell to see it.</div>")]
        ),
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "42_small.ipynb")
    body = chapters.render(tmp_path / "42_small.ipynb", {}).body
    parts = body.split(YOUR_TURN)
    assert len(parts) == 3 and parts[1].startswith('\n<div class="highlight">') and "run this cell again" in parts[1]
    assert parts[2].startswith('<div class="output"><div>In <code>a.html')


def test_tables_of_words_can_be_set_row_by_row(site):
    glossary, method = ((site[0] / name).read_text("utf-8") for name in ("glossary.html", "methods/focal.html"))
    assert '<div class="scroll rows words" tabindex="0"><table' in glossary
    assert '<td data-head="default">2.0</td><td data-head="range">0 to 5</td>' in method
    assert '<div class="wraps"><div class="highlight">' in method


def test_the_search_gives_text_to_its_heading_and_methods_to_their_chapter(course):
    index = {entry["u"]: entry for one in course for entry in one.entries}
    dual = [one for url, one in index.items() if url.startswith("07_dual_loss.html")]
    assert [one["t"] for one in dual].count("07 · The Dual Loss") == 1 and len({one["t"] for one in dual}) == len(dual)
    first = index["03_decide_again.html#03-decide-again"]
    assert first["k"].startswith("Post-hoc logit adjustment logit adjusted; Logit-adjusted loss logit adjustment; ")
    assert len(index) == sum(len(one.entries) for one in course)
    said = " ".join(one["x"] for url, one in index.items() if re.match(r"\d\d_", url))
    assert said.count("τ") > 40 and said.count("β") > 20 and not re.search(r"\b(tau|beta|gamma) (log|pi)\b", said)


def test_the_frames_of_an_explorer_are_those_of_an_exported_page(site):
    text = (site[0] / "explorers" / "42_small.effective_number.js").read_text(encoding="utf-8")
    name, data = re.fullmatch(r'window\.ltvizFrames\("(\w+)", (\{.*\})\);\n', text).groups()
    data = json.loads(data)
    labels = data["inputs"][0]["labels"]
    assert name == "effective_number" and labels[0] == "0" and "0.9" in labels
    assert len(data["plans"][0]["keys"]) == len(labels) == len(data["frames"]) >= 3
    assert len(json.dumps(data["frames"])) < 80_000


def test_the_search_knows_text_methods_and_words_but_no_answer(site):
    text = (site[0] / "assets" / "index.js").read_text(encoding="utf-8")
    index = {one["u"]: one for one in json.loads(text.removeprefix("window.ltvizIndex = ").rstrip(";\n"))}
    assert {
        "42_small.html#play-look",
        "42_small.html#exercises",
        "methods/focal.html",
        "glossary.html#long-tail",
    } < set(index)
    assert index["42_small.html#exercises"]["x"] == "Write it."
    assert index["glossary.html#long-tail"] == {"t": "Glossary: long tail", "u": "glossary.html#long-tail",
                                               "x": "few have most"}  # fmt: skip
    assert "answer" not in text.lower() and "no heading" not in text


def test_a_site_that_is_too_large_is_refused_and_the_old_one_stays(site, monkeypatch):
    folder, _ = site
    monkeypatch.setattr(build, "LARGEST", 10)
    before = (folder / "index.html").stat().st_mtime_ns
    with pytest.raises(ValueError, match=r"the site has 0 MB, more than 0; largest: \w"):
        build._write([page.Page("index.html", "x", "<h1>x</h1>")], folder)
    assert (folder / "index.html").stat().st_mtime_ns == before


def test_chapters_are_chosen_by_the_beginning_of_their_names(folder):
    assert [path.name for path in build.notebooks(["42"], folder)] == ["42_small.ipynb"]
    with pytest.raises(ValueError, match="chapter '7': expected the beginning of 42_small"):
        build.notebooks(["7"], folder)


# ------------------------------------------------------------------------------------------------- the course as it is
class Folds(HTMLParser):
    """Text by whether something folds it."""

    def __init__(self):
        super().__init__()
        self.depth, self.open = 0, []

    def handle_starttag(self, tag, attrs):
        self.depth += tag == "details"

    def handle_endtag(self, tag):
        self.depth -= tag == "details"

    def handle_data(self, data):
        if not self.depth:
            self.open.append(data)


@pytest.fixture(scope="module")
def course():
    """All pages of the course, but for the frames of the explorers."""
    paths = build.notebooks()
    pages = [chapters.render(path, {}) for path in paths]
    taught = [path.stem for path in paths]
    pages += [lists.first(pages), lists.glossary(build.NOTEBOOKS / "GLOSSARY.md"), lists.methods(METHODS)]
    return pages + [lists.method(key, None, taught) for key in METHODS]


def test_every_link_of_the_course_leads_somewhere(course):
    names = {one.file: set(re.findall(r'\bid="([^"]+)"', one.body)) for one in course}
    broken = []
    for one in course:
        entries = [posixpath.relpath(entry["u"], posixpath.dirname(one.file) or ".") for entry in one.entries]
        for link in [*map(html.unescape, re.findall(r'href="([^"]*)"', one.body)), *entries]:
            file, _, place = link.partition("#")
            there = posixpath.normpath(posixpath.join(posixpath.dirname(one.file), file)) if file else one.file
            if not re.match("https?:", link) and (there not in names or (place and place not in names[there])):
                broken.append((one.file, link))
    assert broken == []


def test_no_formula_of_the_course_is_left_as_latex(course):
    for one in course:
        text = re.sub(r'(?s)<(code|pre)\b.*?</\1>|<div class="highlight">.*?</div>|<[^>]+>', " ", one.body)
        assert re.findall(r"\S*\$\S*|\\[a-zA-Z]+", text) == [], one.file


def test_no_answer_of_the_course_stands_open(course):
    answers = 0
    for one in course:
        parser = Folds()
        parser.feed(re.sub(r"base64,[^\")]*", "", one.body))
        assert parser.depth == 0, one.file
        visible = " ".join(parser.open)
        answers += len(re.findall("The answer:|✓ ", one.body))
        assert "The answer:" not in visible and "A SURPRISE" not in visible, one.file
    assert answers > 50


def test_no_page_of_the_course_loads_anything(course):
    assert [(one.file, found) for one in course for found in re.findall(r'\bsrc="(?!data:)[^"]*', one.body)] == []
