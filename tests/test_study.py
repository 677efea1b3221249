"""The pieces of a chapter, without a kernel: what they accept, what they answer, and what a static page shows."""

import itertools
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ltviz import functional, study
from ltviz.files import request_id
from ltviz.run import Run, RunFileError
from ltviz.study import cards, runs

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000" + "1f15c4890000000d49444154789c6360606060000000"
    "050001a5f645400000000049454e44ae426082"
)


class Picture:
    """What a plot returns, as far as a card needs it."""

    text = 'Accuracy falls from "98 %" to 4 %.'

    def _repr_png_(self) -> bytes:
        return PIXEL


def page(thing) -> tuple[str, str]:
    bundle = thing._repr_mimebundle_()
    bundle = bundle[0] if isinstance(bundle, tuple) else bundle
    return bundle.get("text/html", bundle.get("text/markdown", "")), bundle["text/plain"]


# --------------------------------------------------------------------------------------------------------------- cards
def test_inline_keeps_mathematics_and_code_and_escapes_the_rest():
    text = cards.inline("if $n<5$, **bold** and *soft* `a*b<c` [there](x.ipynb) 1 < 2 & so on")
    assert "$n&lt;5$" in text and "<b>bold</b>" in text and "<i>soft</i>" in text
    assert "<code>a*b&lt;c</code>" in text and '<a href="x.ipynb">there</a>' in text and "1 &lt; 2 &amp; so on" in text


def test_plain_drops_the_marks():
    assert cards.plain("**bold** and *soft* `code` [there](x.ipynb), 2 * 3") == "bold and soft code there, 2 * 3"


def test_say_shows_markdown_and_text():
    card = study.say(f"accuracy **{0.5:.0%}**", "second")
    bundle = card._repr_mimebundle_()
    assert bundle == {"text/plain": "accuracy 50%\nsecond", "text/markdown": "accuracy **50%**\n\nsecond"}


def test_chapter_card_says_everything():
    html, text = page(
        study.chapter("Class-balanced loss", objectives=["read $E_n$"], prerequisites=["softmax"], reading=40,
                      computing="under a minute", papers=["Cui et al. 2019, eq. (2)"], data="in the box")
    )  # fmt: skip
    for word in ("read $E_n$", "softmax", "about 40 minutes", "under a minute", "eq. (2)", "in the box"):
        assert word in html and word in text


def test_course_map_links_the_chapters_that_are_there(tmp_path):
    (tmp_path / "00_start_here.ipynb").write_text("{}")
    html, text = page(study.course(tmp_path))
    assert 'href="00_start_here.ipynb"' in html and 'href="01_long_tails.ipynb"' not in html
    assert text.count("(in preparation)") == len(cards.COURSE) - 1


def test_show_takes_pictures_cards_tables_texts_and_lists():
    html = cards.show([Picture(), study.say("**said**"), "text", SimpleNamespace(_repr_html_=lambda: "<table/>")])
    assert "data:image/png;base64,iVBOR" in html and 'alt="Accuracy falls from &quot;98 %&quot; to 4 %."' in html
    assert "<b>said</b>" in html and "<p>text</p>" in html and "<table/>" in html
    with pytest.raises(ValueError, match="content: cannot show a int"):
        cards.show(3)


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


@pytest.mark.parametrize(("kind", "colour"), cards.COLOURS.items())
def test_labels_are_legible_in_both_themes(kind, colour):
    own = luminance(colour) + 0.05
    assert 1.05 / own >= 3.9 and own / (luminance("#111111") + 0.05) >= 3.9  # large bold text needs 3


# ------------------------------------------------------------------------------------------------------------- predict
def test_gate_keeps_the_figure_closed_until_the_reader_commits():
    gate = study.Predict("How many?", choices=["none", "some", "all"], default="some")
    reveal = gate.reveal(Picture(), truth="none", because="The data says so.")
    assert gate.control.widget.value is None and gate.button.disabled  # no answer is chosen for the reader
    assert "iVBOR" not in reveal.figure.value and reveal.verdict.value == ""
    gate.control.widget.value = "all"
    assert not gate.button.disabled
    gate.button.click()
    assert gate.committed and "iVBOR" in reveal.figure.value
    assert "You said: <b>all</b>" in reveal.verdict.value and "<b>none</b>" in reveal.verdict.value
    assert "Not what the data says" in reveal.verdict.value and "The data says so." in reveal.verdict.value
    gate.commit("none")  # a second thought
    assert "AS PREDICTED" in reveal.verdict.value


def test_static_page_of_a_gate_shows_question_figure_and_default_answer():
    gate = study.Predict("How **many**?", choices=["none", "some"], default="some")
    html, text = page(gate)
    assert "none" in html and "some" in html and text.startswith("Predict: How many?")
    html, text = page(gate.reveal(Picture(), truth="none"))
    assert "iVBOR" in html and "An example guess: <b>some</b>" in html
    assert Picture.text in text and "The data says: none" in text


def test_without_a_reader_the_default_is_taken():
    gate = study.Predict("?", choices=["a", "b"], default="b")
    gate.commit()
    assert gate.answer == "b"


def test_reveal_that_comes_after_the_answer_is_open_at_once():
    gate = study.Predict("?", choices=["a", "b"])
    gate.commit("a")
    assert "AS PREDICTED" in gate.reveal("text", truth="a").verdict.value


@pytest.mark.parametrize(("answer", "words"), [(0.5, "Close enough."), (0.9, "0.4 too high."), (0.1, "0.4 too low.")])
def test_number_says_how_far_off(answer, words):
    gate = study.Predict("accuracy?", number=(0, 1, 0.05))
    assert gate.default == 0.5
    reveal = gate.reveal("text", truth=0.5)
    gate.control.box.value = answer
    assert gate.control.slider.value == answer  # slider and box are one
    gate.button.click()
    assert words in reveal.verdict.value


def test_order_is_made_with_buttons_and_scored_by_pairs():
    gate = study.Predict("best first", order=["a", "b", "c"])
    reveal = gate.reveal("text", truth=("c", "b", "a"))
    up, down = gate.control.widget.children[2].children[1:]  # of the second line
    up.click()
    assert gate.control.value == ("b", "a", "c")
    gate.commit()
    assert "1 of 3 pairs" in reveal.verdict.value
    assert "line 2 up" in up.tooltip and "line 2 down" in down.tooltip
    assert gate.control.widget.children[1].children[1].disabled  # the first line cannot go up


@pytest.mark.parametrize(
    ("kind", "answer", "match"),
    [
        ({"choices": ["a", "b"]}, "c", "one of"),
        ({"order": ["a", "b"]}, ["a", "a"], "an order of"),
        ({"number": (0, 1)}, 2, "from 0 to 1"),
    ],
)
def test_impossible_answers_are_refused(kind, answer, match):
    gate = study.Predict("?", **kind)
    with pytest.raises(ValueError, match=match):
        gate.commit(answer)
    with pytest.raises(ValueError, match=match):
        gate.reveal("text", truth=answer)


def test_exactly_one_kind_of_question():
    with pytest.raises(ValueError, match="exactly one"):
        study.Predict("?", choices=["a"], number=(0, 1))


# ------------------------------------------------------------------------------------------------------------ exercise
def effective(counts, beta):
    return functional.effective_number(counts, beta)


def exercise(**changes) -> study.Exercise:
    counts = torch.tensor([100.0, 10.0, 1.0])
    parts = {
        "title": "Effective number",
        "task": "Write `effective_number(counts, beta)`.\n\n- one\n- two",
        "solution_source": "def effective_number(counts, beta):\n    return (1 - beta**counts) / (1 - beta)\n",
        "checks": [
            study.Case("three counts", (counts, 0.9), "Look at eq. (2)."),
            study.Case("beta = 0", (counts, 0.0), "Every class counts once."),
        ],
        "oracle": effective,
        "hints": ["first", "second"],
        "mistakes": {"You forgot to divide by 1 - beta.": lambda counts, beta: 1 - beta**counts},
    }
    return study.Exercise(**{**parts, **changes})


@pytest.mark.parametrize("answer", [None, ..., lambda counts, beta: None, lambda counts, beta: ...])
def test_unanswered_is_no_error(answer):
    result = exercise().check(answer)
    assert result.state == "open" and not result.passed and "waiting" in result.text


def test_right_answer_in_float32():
    result = exercise().check(lambda n, b: ((1 - b**n) / (1 - b)).float())
    assert result.passed and "all checks hold" in result.text
    assert "✓" in page(result)[0]


def test_wrong_answer_is_told_why():
    result = exercise().check(lambda counts, beta: 1 - beta**counts)
    assert result.state == "wrong"
    assert "Expected [10, 6.513, 1], got [1, 0.6513, 0.1]. You forgot to divide by 1 - beta." in result.text
    other = exercise().check(lambda counts, beta: counts)
    assert "Look at eq. (2)." in other.text and "Every class counts once." in other.text
    assert "✗" in page(other)[0]


def test_wrong_shape_type_nan_and_errors_are_explained():
    check = exercise().check
    assert "Shape () where (3,) is expected" in check(lambda n, b: 1.0).text
    assert "A function is needed here, not a list" in check([1, 2]).text
    assert "not finite" in check(lambda n, b: n * float("nan")).text
    assert "ZeroDivisionError" in check(lambda n, b: 1 / 0).text
    assert "TypeError" in check(lambda n: n).text

    def inside_torch(n, b):
        return torch.stack([n, b])

    assert "(in your line return torch.stack([n, b]))" in check(inside_torch).text


def test_reader_cannot_spoil_the_inputs():
    def greedy(counts, beta):
        value = (1 - beta**counts) / (1 - beta)
        counts.zero_()
        return value

    assert exercise().check(greedy).passed


def test_gradient_is_checked():
    z = torch.tensor([0.5, -1.0])
    task = exercise(
        solution_source="def square(z):\n    return (z ** 2).sum()\n",
        checks=[study.Case("slope", (z,), "Do not detach.", gradient=True)],
        oracle=lambda z: (z**2).sum(),
        mistakes={},
    )
    result = task.check(lambda z: (z.detach() ** 2).sum())
    assert result.state == "wrong" and "its gradient is not" in result.text and "Do not detach." in result.text
    assert task.check(lambda z: (z * z).sum()).passed


def test_claims_check_any_answer():
    claim = study.Claim("between", lambda b: 0.9 < b < 1, "Too small.")
    task = study.Exercise("Pick", "Pick beta.", "beta = 0.99", [claim])
    assert task.check(0.5).text.endswith("between. Too small.")
    assert "NaN" in task.check(float("nan")).text and task.check(0.95).passed
    assert "TypeError" in task.check("text").text


def test_exercise_is_refused_when_its_own_solution_fails():
    with pytest.raises(ValueError, match="fails its own checks"):
        exercise(solution_source="def effective_number(counts, beta):\n    return counts\n")
    with pytest.raises(ValueError, match="no oracle"):
        exercise(oracle=None)


def test_hints_and_solution_are_folded():
    html, text = page(exercise())
    assert html.index("Hint 1 of 2") < html.index("first") < html.index("Hint 2 of 2") < html.index("second")
    assert html.count("<details") == 2 and "second" not in text
    html, text = page(exercise().solution())
    assert html.startswith("<details") and "beta**counts" in html and "beta**counts" not in text


# ---------------------------------------------------------------------------------------------------------------- quiz
def questions() -> list[study.Question]:
    return [
        study.Question("Which?", {"this": "Yes, because.", "that": "No, since $a<b$."}, "this"),
        study.Question("Plot?", {"A": "no", "B": "yes"}, "B", {"A": Picture(), "B": Picture()}),
    ]


def test_quiz_answers_every_choice_with_a_reason_and_keeps_the_score():
    quiz = study.Quiz(questions())
    assert quiz.score == 0 and quiz.answers == (None, None)
    quiz.answer(0, "that")
    assert "NOT QUITE" in quiz._feedback[0].value and "No, since $a&lt;b$." in quiz._feedback[0].value
    quiz.answer(0, "this")
    quiz.answer(1, "B")
    assert "RIGHT" in quiz._feedback[0].value and quiz.score == 2 and "2 of 2 right" in quiz._score.value


def test_static_quiz_folds_its_answers():
    html, text = page(study.Quiz(questions()))
    assert html.count("<details") == 2 and html.count("data:image/png") == 2
    assert "Yes, because." in html and "Yes, because." not in text and "Which?" in text


def test_question_needs_a_right_option():
    with pytest.raises(ValueError, match="right must be one of"):
        study.Question("?", {"a": "", "b": ""}, "c")
    with pytest.raises(ValueError, match="at least two"):
        study.Question("?", {"a": ""}, "a")
    with pytest.raises(ValueError, match="at least one question"):
        study.Quiz([])


# ---------------------------------------------------------------------------------------------------------------- runs
def make_run(label: str, seed: int, right: float) -> Run:
    counts = np.array([30, 10, 3])
    hits = np.array([10, 8, round(10 * right)])
    confusion = np.diag(hits)
    confusion[:, 0] += 10 - hits
    return Run(
        method=label, settings={}, data={"name": "toy"}, recipe={"name": "toy"}, seed=seed, counts=counts,
        class_names=["a", "b", "c"], history={}, confusion=confusion, head_weight=np.eye(3), label=label,
        id=request_id(label=label, seed=seed),
    )  # fmt: skip


@pytest.fixture
def two() -> dict[str, list[Run]]:
    gains = (0.5, 0.6, 0.4)
    return {
        "ce": [make_run("ce", seed, 0.1) for seed in range(3)],
        "new": [make_run("new", seed, gain) for seed, gain in enumerate(gains)],
    }


def test_difference_is_a_sentence_with_error_and_verdict(two):
    text = study.difference(two["new"], two["ce"], "tail").text
    assert text == "new against ce, tail accuracy: +40.0 ± 5.8 points (paired over 3 seeds, t = 6.9, p = 0.02): better."
    assert "one seed: no verdict" in study.difference(two["new"][:1], two["ce"]).text
    same = study.difference(two["ce"], two["ce"]).text
    assert "+0.0" in same and "within noise" in same


def test_comparison_table_shows_groups_and_verdict(two):
    html, text = page(study.comparison(two, group="tail"))
    assert "<b>better</b>" in html and "reference" in html
    assert re.search(r"new +3 +76\.7 +100\.0 +80\.0 +50\.0 +\+40\.0 ± 5\.8 +better", text)


def test_redecide_changes_the_decisions_only(two):
    run = two["ce"][0]
    run.targets, run.features = np.array([0, 2]), np.zeros((2, 3), np.float16)
    run.logits = np.array([[4.0, 0.0, 0.0], [1.0, 0.0, 0.5]], np.float32)
    new = study.redecide(run, "logit_adjusted", tau=1.0)
    assert new.confusion.tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 1]] and run.confusion.sum() == 30
    assert new.name == "ce, τ = 1" and new.head_weight is run.head_weight
    with pytest.raises(ValueError, match="no post-hoc rule"):
        study.redecide(run, "ce")


def test_recorded_finds_runs_or_says_what_to_do(two, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "FOLDER", tmp_path)
    with pytest.raises(RunFileError, match="make record ARGS=toy"):
        study.recorded("toy")
    for run in itertools.chain(*two.values()):
        run.save(tmp_path / "toy", small=True)
    assert [run.seed for run in study.recorded("toy", "new")] == [0, 1, 2]
    assert len(study.recorded("toy", seed=1)) == 2
    with pytest.raises(RunFileError, match="its methods are ce, new"):
        study.recorded("toy", "gone")


# ------------------------------------------------------------------------------------------------- HTML from outside
EVIL = [
    '<img src=x onerror="alert(1)">', "<script>alert(1)</script>", '"><svg onload=alert(1)>', "' onmouseover='alert(1)",
    '" style="position:fixed', "[click](javascript:alert(1))", "[click](JaVaScRiPt:alert(1))",
    "[c](data:text/html,<b>)",
    '[c](x"onmouseover="alert(1))', "[c](x'onmouseover='alert(1))", "[c](\x01javascript:alert(1))",
    "[c](vbscript:x)", "[c](java&#115;cript:alert(1))", "**<iframe src=x>**", "`</code><img src=x>`", "$<img src=x>$",
    "[a]: javascript:alert(1)", "![x](javascript:alert(1))", "<a href=javascript:alert(1)>x</a>", "<!-- x",
    "&lt;b&gt;<b>",
    "\\`<img src=x>\\`", "\\$<img src=x>", "\\[c](javascript:alert(1))",
]  # fmt: skip
OWN_TAGS = {"a", "b", "br", "code", "details", "div", "figcaption", "figure", "i", "img", "li", "p", "pre", "span",
            "summary", "table", "tbody", "td", "th", "thead", "tr", "ul"}
OWN_ATTRIBUTES = {"alt", "href", "src", "style"}


class Pages(HTMLParser):
    """Every tag and attribute of a page, and the text between."""

    def __init__(self, page: str):
        super().__init__(convert_charrefs=True)
        self.tags, self.words = [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)

    def handle_comment(self, data):
        raise AssertionError(f"a comment: {data}")

    def foreign(self) -> list:
        wrong = [tag for tag, _ in self.tags if tag not in OWN_TAGS]
        wrong += [name for _, attrs in self.tags for name in attrs if name not in OWN_ATTRIBUTES]
        links = [attrs.get("href") or "" for tag, attrs in self.tags if tag == "a"]
        wrong += [link for link in links if ":" in link.split("/")[0] and not link.startswith("http")]
        wrong += [attrs["src"] for tag, attrs in self.tags if "src" in attrs
                  and not attrs["src"].startswith("data:image/png;base64,iVBOR")]
        return wrong + [attrs["style"] for _, attrs in self.tags if "position" in attrs.get("style", "")]


def everything_with(evil: str) -> dict[str, str]:
    """HTML of every piece of a chapter that can hold a name, made with this one."""
    picture = Picture()
    picture.text = evil
    left, right = [make_run(evil, s, 0.1) for s in range(2)], [make_run(f"{evil} 2", s, 0.5) for s in range(2)]
    quiz = study.Quiz([study.Question(evil, {evil: evil, "b": ""}, "b", {evil: picture})])
    quiz.answer(0, evil)
    gates = [study.Predict(evil, choices=[evil, "b"], unit=evil), study.Predict(evil, order=[evil, "b"]),
             study.Predict(evil, number=(0, 1), unit=evil)]
    reveals = [gate.reveal([picture, evil], truth=gate.default, because=evil) for gate in gates]
    for gate in gates:
        gate.commit()
    task = study.Exercise(evil, evil, "x = 1", [study.Claim(evil, lambda x: x == 1, evil)], hints=[evil, evil])

    def raising():
        raise RuntimeError(evil)

    own = study.Exercise("t", "t", "def f():\n    return 1.0", [study.Case("c", ())], oracle=lambda: 1.0)
    pages = {
        "comparison": study.comparison({evil: left, "other": right}), "difference": study.difference(right, left),
        "named": study.difference(right, left, names=(evil, evil)), "say": study.say(evil, f"*{evil}* and **{evil}**"),
        "chapter": study.chapter(evil, objectives=[evil], prerequisites=[evil], reading=5, computing=evil,
                                 papers=[evil], data=evil),
        "quiz": quiz, "task": task, "solution": task.solution(), "wrong": task.check(2), "right": task.check(1),
        "raised": own.check(raising), **{f"gate {g.kind}": g for g in gates},
        **{f"reveal {g.kind}": r for g, r in zip(gates, reveals, strict=True)},
    }  # fmt: skip
    found = {name: (thing.html if isinstance(thing, study.Card) else page(thing)[0]) for name, thing in pages.items()}
    widgets = [quiz._feedback[0].value, quiz._score.value, *(r.figure.value + r.verdict.value for r in reveals),
               *(g.status.value + g.children[0].value for g in gates)]
    return found | {f"widget {i}": value for i, value in enumerate(widgets)}


@pytest.mark.parametrize("evil", EVIL)
def test_no_tag_and_no_attribute_of_a_name_survives(evil):
    for name, html in everything_with(evil).items():
        assert not Pages(html).foreign(), f"{name}: {html}"


@pytest.mark.parametrize("evil", EVIL)
def test_markdown_of_a_name_opens_no_tag_and_leads_nowhere(evil):
    left, right = [make_run(evil, 0, 0.1)], [make_run("other", 0, 0.5)]
    for card in (study.say(f"*{evil}*"), study.difference(right, left)):
        assert not Pages(card.markdown).foreign(), card.markdown
        outside = re.sub(r"\\\\|\\[\[\]]|`[^`]*`|\$[^$]*\$", "", card.markdown)
        for address in re.findall(r"\[[^]]*\]\(\s*([^)\s]+)|^\s*\[[^]]*\]:\s*(\S+)", outside, re.M):
            assert ":" not in "".join(address).split("/")[0], card.markdown


def test_markdown_stays_as_it_was_written_where_nothing_is_foreign():
    line = "p < 0.001 & $n<5$ `a < b`, **bold**, [there](x.ipynb) and $E_n$"
    assert study.say(line).markdown == line
    again = study.difference([make_run("a*b", 0, 0.5)], [make_run("c", 0, 0.1)])
    assert study.say(again.markdown).markdown == again.markdown and study.say(again.markdown).text == again.text
    assert study.say("$a<b$ `<i>`").markdown == r"$a\lt b$ <code>&lt;i&gt;</code>"


def test_a_name_is_shown_as_it_is():
    name = "a*b* [x](y) `c` $d$ \\e <i> & \"q\""
    left, right = [make_run(name, 0, 0.1)], [make_run("other", 0, 0.5)]
    card = study.difference(right, left)
    assert name in card.text and f"against {name}, accuracy" in "".join(Pages(card.html).words)
    table = study.comparison({name: left, "other": right})
    assert name in Pages(table.html).words and name in table.text
    assert cards.inline(cards.literal(name)) == cards.safe(name) and cards.plain(cards.literal(name)) == name


@pytest.mark.parametrize(("address", "followed"), [
    ("https://a.org/b?c=1&d=2#e", True), ("HTTP://a.org", True), ("02_x.ipynb", True), ("../data/README.md", True),
    ("#part", True), ("a/b:c", True), ("javascript:x", False), ("JavaScript:x", False), ("data:text/html,x", False),
    ("file:///etc", False), ("mailto:a@b.c", False), ("\x01javascript:x", False), ("java\u00adscript:x", False),
])  # fmt: skip
def test_links_lead_to_pages_only(address, followed):
    found = Pages(cards.inline(f"[words]({address})"))
    assert found.words == ["words"] and [attrs for tag, attrs in found.tags if tag == "a"] == (
        [{"href": address}] if followed else [])
    assert (f"]({address})" in cards.markdown(f"[words]({address})").replace("&amp;", "&")) is followed


# --------------------------------------------------------------------------------------------------- wrong arguments
def ask(**changes):
    return study.Question(**{"text": "?", "options": {"a": "", "b": ""}, "right": "a", **changes})


def head(**changes):
    return study.chapter(**{"title": "t", "objectives": ["o"], "reading": 5, "computing": "c", **changes})


WRONG = {
    "lines": [lambda: study.say(), lambda: study.say(None), lambda: study.say(3), lambda: study.say("a", ""),
              lambda: study.say(["a"])],
    "title": [lambda v=v: head(title=v) for v in (None, 3, "", " ", ["a"])],
    "objectives": [lambda v=v: head(objectives=v) for v in (None, 3, "one", [], [3], {"a": 1})],
    "prerequisites": [lambda v=v: head(prerequisites=v) for v in (None, 3, "one", [None])],
    "papers": [lambda v=v: head(papers=v) for v in (None, 3, "one", [None])],
    "reading": [lambda v=v: head(reading=v) for v in (None, 0, -1, 2.5, "5", True, np.nan)],
    "computing": [lambda v=v: head(computing=v) for v in (None, 3, "")],
    "data": [lambda v=v: head(data=v) for v in (None, 3)],
    "folder": [lambda v=v: study.course(v) for v in (3, "", [], False)],
    "question": [lambda v=v: study.Predict(v, number=(0, 1)) for v in (None, 3, "")],
    "choices": [lambda v=v: study.Predict("?", choices=v) for v in (
        "ab", ["a"], [], ["a", "a"], ["a", 3], 3, {"a": 1})],
    "order": [lambda v=v: study.Predict("?", order=v) for v in ("ab", ["a"], [], ["a", "a"], ["a", 3], 3)],
    "number": [lambda v=v: study.Predict("?", number=v) for v in (
        3, "01", (1,), (1, 0), (0, 0), (0, np.nan), (0, np.inf), ("0", "1"), (0, 1, 0), (0, 1, -1), (0, 1, 2, 3),
        (True, 2))],
    "unit": [lambda v=v: study.Predict("?", number=(0, 1), unit=v) for v in (None, 3)],
    "answer": [lambda v=v: study.Predict("?", number=(0, 1)).commit(v) for v in ("0.5", 2, np.nan, True, [1])]
    + [lambda v=v: study.Predict("?", choices=["a", "b"]).commit(v) for v in (3, ["a"], "c", {})]
    + [lambda v=v: study.Predict("?", order=["a", "b"]).commit(v) for v in (3, "ab", ["a"], ["a", 3], [None, "a"])]
    + [lambda: study.Predict("?", choices=["a", "b"], default=3)],
    "tolerance": [lambda v=v: study.Predict("?", number=(0, 1)).reveal("x", truth=0, tolerance=v) for v in (
        -1, "x", np.nan, True)],
    "because": [lambda v=v: study.Predict("?", number=(0, 1)).reveal("x", truth=0, because=v) for v in (None, 3)],
    "content": [lambda v=v: study.Predict("?", number=(0, 1)).reveal(v, truth=0) for v in (None, 3, object())],
    "text": [lambda v=v: ask(text=v) for v in (None, 3, "")],
    "options": [lambda v=v: ask(options=v) for v in (
        None, "ab", ["a", "b"], {"a": ""}, {"a": 3, "b": ""}, {3: "", "a": ""})],
    "right": [lambda v=v: ask(right=v) for v in (None, 3, "c", ["a"])],
    "pictures": [lambda v=v: ask(pictures=v) for v in (None, [Picture()], {"a": None}, {"a": "b"})],
    "questions": [lambda v=v: study.Quiz(v) for v in (None, 3, [], ["?"], "ab", ask())],
    "i": [lambda v=v: study.Quiz([ask()]).answer(v, "a") for v in (None, 1, -1, "0", 0.5, True)],
    "option": [lambda v=v: study.Quiz([ask()]).answer(0, v) for v in (None, 1, "c", ["a"])],
    "task": [lambda v=v: exercise(task=v) for v in (None, 3, "")],
    "solution_source": [lambda v=v: exercise(solution_source=v) for v in (None, 3, "", "# nothing")],
    "checks": [lambda v=v: exercise(checks=v) for v in (None, 3, [], ["a"], [None])],
    "oracle": [lambda v=v: exercise(oracle=v) for v in (3, "f")],
    "hints": [lambda v=v: exercise(hints=v) for v in (None, "one", [3])],
    "mistakes": [lambda v=v: exercise(mistakes=v) for v in (None, ["a"], {"a": 3})],
    "given": [lambda v=v: exercise(given=v) for v in (None, ["a"])],
    "name": [lambda v=v: study.Case(v, ()) for v in (None, 3, "")] + [lambda: study.Claim(None, bool)],
    "args": [lambda v=v: study.Case("c", v) for v in (None, 3, [1], "ab")]
    + [lambda: study.Case("c", (), gradient=True), lambda: study.Case("c", (3,), gradient=True)],
    "gradient": [lambda v=v: study.Case("c", (), gradient=v) for v in (None, 1, "yes")],
    "test": [lambda v=v: study.Claim("c", v) for v in (None, 3, True)],
    "ours": [lambda v=v: study.difference(v, [make_run("a", 0, 0.1)]) for v in (
        None, "ab", [], {}, [None], make_run("a", 0, 0.1), np.ones(3), [3])],
    "base": [lambda v=v: study.difference([make_run("a", 0, 0.1)], v) for v in (None, "ab", [], {}, [None], [3])],
    "group": [lambda v=v: study.difference([make_run("a", 0, 0.1)], [make_run("b", 0, 0.1)], v) for v in (
        None, 3, "rare", [])] + [lambda v=v: study.comparison({"a": [make_run("a", 0, 0.1)]}, group=v) for v in (
            None, 3, "rare", [])],
    "names": [lambda v=v: study.difference([make_run("a", 0, 0.1)], [make_run("b", 0, 0.1)], names=v) for v in (
        "ab", ("a",), (1, 2), ("a", "b", "c"), 3)],
    "groups": [lambda v=v: study.comparison(v) for v in (
        None, {}, [make_run("a", 0, 0.1)], {"a": []}, {"a": None}, {3: [make_run("a", 0, 0.1)]}, {"a": [3]}, "ab")],
    "reference": [lambda v=v: study.comparison({"a": [make_run("a", 0, 0.1)]}, v) for v in (3, "b", [], True)],
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_argument_is_named(what):
    for i, call in enumerate(WRONG[what]):
        try:
            call()
        except ValueError as error:
            assert re.search(rf"\b{what}\b|a question needs", str(error)), f"call {i}: {error}"
        except Exception as error:
            pytest.fail(f"{what}, call {i}: {type(error).__name__}: {error}")
        else:
            pytest.fail(f"{what}, call {i} was accepted")


def test_a_cell_that_runs_again_closes_the_panel_it_made_before(monkeypatch):
    """Quiz and prediction: as many widgets after the tenth run as after the first, layouts and styles included."""
    from ipywidgets.widgets.widget import _instances

    from ltviz.explore import notebook

    here = [("id", "cell-1"), 0]
    monkeypatch.setattr(notebook, "cell", lambda: (here[0], here[1]))
    questions = [study.Question("Which?", {"a": "because", "b": "not so"}, "a")]
    kept = []
    for make in (lambda: study.Quiz(questions), lambda: study.Predict("Which?", choices=["a", "b"])):
        here[0] = ("id", f"cell of {make}")
        sizes = []
        for run in range(10):
            here[1] = run
            kept.append(make())
            sizes.append(len(_instances))
        assert len(set(sizes)) == 1
