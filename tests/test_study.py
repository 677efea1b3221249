"""The pieces of a chapter, without a kernel: what they accept, what they answer, and what a static page shows."""

import datetime
import itertools
import json
import re
import threading
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import real_data
from PIL import Image

from ltviz import functional, study
from ltviz.datasets import cifar_lt
from ltviz.files import data_folder, request_id
from ltviz.run import Run, RunFileError
from ltviz.study import cards, progress, runs

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000" + "1f15c4890000000d49444154789c6360606060000000"
    "050001a5f645400000000049454e44ae426082"
)


class Picture:
    """What a plot returns, as far as a card needs it."""

    text = 'Accuracy falls from "98%" to 4%.'

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
    assert "<code>a*b&lt;c</code>" in text and "1 &lt; 2 &amp; so on" in text
    assert re.search(r'<a href="x.ipynb" target="_blank" [^>]*text-decoration:underline"> *there</a>', text)


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
    assert text.count("(planned)") == len(cards.COURSE) - 1


def test_show_takes_pictures_cards_tables_texts_and_lists():
    html = cards.show([Picture(), study.say("**said**"), "text", SimpleNamespace(_repr_html_=lambda: "<table/>")])
    assert "data:image/png;base64,iVBOR" in html and 'alt="Accuracy falls from &quot;98%&quot; to 4%."' in html
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
    assert 1.05 / own >= 4.5, "white words on the colour"
    assert 1.05 / own >= 3 and own / (luminance("#111111") + 0.05) >= 3, "the edge of a card on a white and a dark page"
    assert f"background-color:{colour};color:#ffffff" in cards.box(kind, "LABEL", "title", "")


def test_bold_text_holds_mathematics_and_code():
    line = "**at $\\tau = 1$ and `a*b`** and *soft $x$* \ue042 `$`"
    assert cards.inline(line) == (
        "<b>at $\\tau = 1$ and <code>a*b</code></b> and <i>soft $x$</i> \ue042 <code>$</code>"
    )
    assert cards.plain(line) == "at $\\tau = 1$ and a*b and soft $x$ \ue042 $"
    assert cards.inline("\uf000 $a$") == " $a$"  # a sign that stands for a piece is none of the text


def test_cards_in_widgets_are_as_wide_as_the_cell():
    assert cards.prose("x").layout.display == "block"


# ------------------------------------------------------------------------------------------------------------- predict
GATES = {
    "choices": ({"choices": ["none", "some $x$"]}, "none", "some $x$"),
    "order": ({"order": ["a", "b", "c"]}, ("a", "b", "c"), ("c", "a", "b")),
    "number": ({"number": (0, 10, 1)}, 3.0, 8.0),
    "curve": ({"curve": study.Axes(x=(0, 2), y=(0, 1), points=3)}, [0.0, 0.5, 1.0], [1.0, 0.5, 0.25]),
}


def test_gate_keeps_the_figure_closed_until_the_reader_commits():
    gate = study.Predict("How many?", choices=["none", "some", "all"], default="some")
    reveal = gate.reveal(Picture(), truth="none", because="The data says so.")
    assert gate.control.value is None and not gate.control.locked  # no answer is chosen for the reader
    assert "iVBOR" not in reveal.figure.value and reveal.verdict.value == ""
    gate.control.value = "all"
    assert not gate.committed
    gate.control.press("all")
    assert gate.committed and "iVBOR" in reveal.figure.value
    assert "You said: <b>all</b>" in reveal.verdict.value and "<b>none</b>" in reveal.verdict.value
    assert "Not this one" not in reveal.verdict.value and "The data says so." in reveal.verdict.value
    gate.commit("none")  # a second thought
    assert "AS PREDICTED" in reveal.verdict.value


@pytest.mark.parametrize("kind", GATES)
def test_changing_an_answer_opens_the_card_again_and_compares_the_two(kind):
    asked, truth, first = GATES[kind]
    gate = study.Predict("?", **asked)
    reveal = gate.reveal("text", truth=truth)
    control = gate.control
    control.press(first if kind != "order" else list(first))
    assert control.locked and control.button == "Change my answer" and control.before is None
    assert "Before that" not in reveal.verdict.value
    control.press()
    on_page = list(first) if kind == "order" else first
    assert not control.locked and control.before == on_page == control.value and gate.answer == first
    assert control.button == "Commit to this answer" and cards.inline(gate.shown(first)) in control.said
    assert "You said" in reveal.verdict.value, "what was open stays open"
    control.press(truth)
    assert control.locked and control.before is None and gate.answer == truth and gate.previous == first
    assert f"Before that you said: <b>{cards.inline(gate.shown(first))}</b>" in reveal.verdict.value
    assert "closer to the data" in reveal.verdict.value and "AS PREDICTED" in reveal.verdict.value
    control.press()
    control.press(truth)
    assert "You kept your answer." in reveal.verdict.value
    control.press()
    control.press(first)
    assert "farther from the data" in reveal.verdict.value


@pytest.mark.parametrize("kind", GATES)
def test_kept_page_folds_the_answer(kind):
    asked, truth, other = GATES[kind]
    gate = study.Predict("How **many**?", **asked, default=other)
    html, text = page(gate)
    assert "How <b>many</b>?" in html and text.startswith("Predict: How many?")
    reveal = gate.reveal([Picture(), "secret"], truth=truth, because="the reason")
    for committed in (False, True):
        html, text = page(reveal)
        assert html.startswith("<details") and html.endswith("</details>") and "<details open" not in html
        shut = html[html.index("</summary>") :]
        for hidden in ("iVBOR", "secret", "the reason", cards.inline(gate.shown(truth))):
            assert hidden in shut and hidden not in html.removesuffix(shut)
        if committed:
            assert "You said" in html and "secret" in text and "the reason" in text
        else:
            assert "An example guess" in html and text == "Folded: answer the question above first."
        gate.commit(truth)


def test_without_a_reader_the_default_is_taken():
    for asked, _, other in GATES.values():
        gate = study.Predict("?", **asked, default=other)
        gate.commit()
        assert gate.answer == other


def test_reveal_that_comes_after_the_answer_is_open_at_once():
    gate = study.Predict("?", choices=["a", "b"])
    gate.commit("a")
    assert "AS PREDICTED" in gate.reveal("text", truth="a").verdict.value


@pytest.mark.parametrize("sent", [None, "c", 3, ["a"], {}, float("nan")])
def test_what_a_page_sends_is_checked(sent):
    gate = study.Predict("?", choices=["a", "b"], default="b")
    gate.control._receive({"kind": "press", "value": sent}, [])
    assert gate.answer == ("b" if sent is None else None)
    assert sent is None or "not a possible answer" in gate.control.said
    gate.control._receive({"kind": "other"}, [])
    gate.control._receive("press", [])


@pytest.mark.parametrize(
    ("answer", "words"), [(0.5, "Right."), (0.501, "Close enough."), (0.9, "0.4 too high."), (0.1, "0.4 too low.")]
)
def test_number_says_how_far_off(answer, words):
    gate = study.Predict("accuracy?", number=(0, 1, 0.05))
    assert gate.default == 0.5
    reveal = gate.reveal("text", truth=0.5)
    gate.control.press(answer)
    assert words in reveal.verdict.value


@pytest.mark.parametrize(("asked", "value", "words", "letters"), [
    ((0, 5_000_000, 1000), 1_234_567, "1,234,567", 7), ((0.9, 1, 0.0001), 0.9999, "0.9999", 6),
    ((0, 9, 1), 2, "2", 3), ((-5, 5), -2.5, "-2.5", 5), ((0, 1), 1 / 3, "0.333", 5), ((1, 100, 1), 50.3, "50.3", 5),
])  # fmt: skip
def test_numbers_are_written_whole_and_have_room(asked, value, words, letters):
    gate = study.Predict("?", number=asked, unit=" x")
    assert gate.shown(value) == f"{words} x"
    spec = gate.control.spec
    assert spec["letters"] >= letters and spec["letters"] >= len(f"{asked[1]:.{spec['digits']}f}")


def test_order_is_scored_by_pairs():
    gate = study.Predict("best first", order=["a", "b", "c"])
    reveal = gate.reveal("text", truth=("c", "b", "a"))
    gate.control.press(["b", "a", "c"])
    assert gate.answer == ("b", "a", "c") and "1 of 3 pairs" in reveal.verdict.value


def drawn(**changes) -> study.Predict:
    axes = study.Axes(**{"x": (0, 4), "y": (0, 100), "xlabel": "tau", "points": 5, **changes})
    return study.Predict("?", curve=axes, unit="%")


def test_a_curve_is_compared_in_words():
    gate = drawn()
    agrees, how = gate.compare([0, 20, 40, 60, 80], [80, 60, 40, 20, 0])
    assert not agrees and how == (
        "Far off: 48 points away on average. Farthest at tau = 0: 0% where it is 80%. "
        "Yours rises where the data's falls."
    )
    agrees, how = gate.compare([4, 24, 44, 64, 84], [0, 20, 40, 60, 80])
    assert agrees and how == "Close: 4 points away on average."
    agrees, how = gate.compare([10, 30, 50, 70, 90], [0, 20, 40, 60, 80])
    assert not agrees and how.startswith("Not far: 10 points away") and "Mostly too high." in how
    half = drawn(y=(0, 0.5), x=(1, 3))
    assert half.compare([0.1] * 5, [0.4] * 5)[1].startswith("Far off: 0.3 points away on average, 60% of the axis.")
    assert gate.shown([0, 50, 90, 50, 0]) == "stays level from 0% to 0%, highest (90%) at tau = 2"


def test_a_curve_is_given_as_numbers_a_function_or_points():
    gate = drawn()
    straight = [0.0, 25.0, 50.0, 75.0, 100.0]
    for given in (straight, np.array(straight), lambda x: 25 * x, {0: 0, 4: 100}, {4: 100, 1: 25, 0: 0}):
        gate.commit(given)
        assert gate.answer == straight and gate.control.value == straight
    log = drawn(x=(1, 100), log=True, points=3)
    assert log.control.spec["places"] == ["1", "10", "100"] and log.control.spec["fractions"] == [0, 0.5, 1]
    log.commit({1: 0, 100: 100})
    assert log.answer == pytest.approx([0, 50, 100])


def test_the_true_curve_is_sent_to_the_page_only_after_the_answer():
    gate = drawn()
    reveal = gate.reveal("text", truth=lambda x: 25 * x)
    assert reveal.drawing is None and gate.control.truth is None
    gate.commit([50] * 5)
    assert reveal.drawing.truth == [0, 25, 50, 75, 100] and reveal.drawing.value == [50] * 5
    assert reveal.drawing.locked and reveal.drawing in reveal.children and reveal.drawing.earlier is None
    gate.reopen()
    gate.commit([60] * 5)
    assert reveal.drawing.value == [60] * 5 and reveal.drawing.earlier == [50] * 5


def test_ticks_are_round_and_inside():
    spec = drawn(x=(0.013, 0.94), y=(-30, 65)).control.spec
    assert [words for _, words in spec["yticks"]] == ["-20", "0", "20", "40", "60"]
    assert [words for _, words in spec["xticks"]] == ["0.2", "0.4", "0.6", "0.8"]
    assert all(0 <= share <= 1 for share, _ in spec["xticks"] + spec["yticks"])


@pytest.mark.parametrize(
    ("kind", "answer", "match"),
    [
        ({"choices": ["a", "b"]}, "c", "one of"),
        ({"order": ["a", "b"]}, ["a", "a"], "an order of"),
        ({"number": (0, 1)}, 2, "from 0 to 1"),
        ({"curve": study.Axes(x=(0, 1), y=(0, 1))}, [0, 1], "a curve: 21 numbers from 0 to 1"),
    ],
)
def test_impossible_answers_are_refused(kind, answer, match):
    gate = study.Predict("?", **kind)
    with pytest.raises(ValueError, match=f"answer=.*{match}"):
        gate.commit(answer)
    with pytest.raises(ValueError, match=f"truth=.*{match}"):
        gate.reveal("text", truth=answer)
    with pytest.raises(ValueError, match=f"default=.*{match}"):
        study.Predict("?", **kind, default=answer)


def test_exactly_one_kind_of_question():
    for asked in ({"choices": ["a"], "number": (0, 1)}, {}):
        with pytest.raises(ValueError, match="exactly one"):
            study.Predict("?", **asked)


def test_a_card_says_what_to_do_once_its_kernel_has_gone():
    assert "After a restart, run the cell above again" in study.Predict("?", choices=["a", "b"]).control.lost


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


def told(oracle_value, value) -> str:
    """What an exercise whose right answer is the first value says to the second."""
    task = exercise(checks=[study.Case("it", ())], oracle=lambda: oracle_value, given={"value": oracle_value},
                    solution_source="def answer():\n    return value\n", mistakes={})  # fmt: skip
    return task.check(lambda: value).text.partition("NOT it. ")[2]


@pytest.mark.parametrize(
    ("right", "answer", "words"),
    [
        (False, True, "Expected False, got True."),
        (torch.tensor([True, False]), torch.tensor([True, True]), "Expected [True, False], got [True, True]."),
        (np.array([True, False]), [0.3, 0], "Expected [True, False], got [0.3, 0]."),
        (0.5, True, "Expected 0.5, got True."),
        (torch.tensor([3, 12345]), torch.tensor([3, 12355]), "Expected [3, 12345], got [3, 12355]."),
        (1.00004, 1.0004, "Expected 1.00004, got 1.0004."),
        (torch.arange(9), torch.arange(9) * (torch.arange(9) != 7), "Expected […, 7, 8], got […, 0, 8]."),
        (
            torch.arange(9.0) / 8,
            torch.zeros(9),
            "Expected [0, 0.125, 0.25, 0.375, 0.5, 0.625, …], got [0, 0, 0, 0, 0, 0, …].",
        ),
        ([1.0, 2.0], [1.0, float("inf")], "Got [1, inf]: not finite."),
    ],
)
def test_what_was_expected_is_written_as_the_reader_writes_it(right, answer, words):
    assert told(right, answer) == words
    assert told(right, right) == "" and told(1.0, True) == "" and told(False, 0) == ""


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


def test_several_tensors_where_one_is_due_are_explained():
    check = exercise().check
    told = check(lambda n, b: (n, n)).text
    assert told.count("Return one tensor of shape (3,), not a tuple of 2; torch.stack joins two.") == 2
    assert "not a list of 3; torch.stack joins them." in check(lambda n, b: [n, n, n]).text
    assert "Return one tensor of shape (3,), not a dict: {'a': 1}." in check(lambda n, b: {"a": 1}).text
    assert "raised" not in told and "Return one tensor, not a tuple of 2" in claimed((torch.ones(2), torch.ones(2)))
    assert exercise().check(lambda n, b: list(effective(n, b))).passed  # single numbers in a list are one tensor


def claimed(value) -> str:
    """What the checker says where a claim asks for one tensor."""
    claim = study.Claim("one", lambda f: study.exercise.one_tensor(f()).sum() == 1, "no")
    return study.Exercise("One", "Return 1.", "def one():\n    return 1.0\n", [claim]).check(lambda: value).text


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


@pytest.mark.parametrize(
    ("source", "cause"),
    [("x", NameError), ("x = (", SyntaxError), ("x = 1 / 0", ZeroDivisionError), ("raise KeyError('k')", KeyError)],
)
def test_a_solution_that_does_not_run_is_named_with_its_own_error(source, cause):
    words = f"^solution_source=.*: expected source that runs; it raised {cause.__name__}: "
    with pytest.raises(ValueError, match=words) as said:
        exercise(solution_source=source)
    assert type(said.value.__cause__) is cause


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
    assert "NOT QUITE" in quiz.cards[0].said and "No, since $a&lt;b$." in quiz.cards[0].said
    quiz.answer(0, "this")
    quiz.answer(1, "B")
    assert "RIGHT" in quiz.cards[0].said and quiz.score == 2 and "2 of 2 right" in quiz._score.value


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
    assert text == (
        "new against ce, tail accuracy: +40.0 ± 24.8 points (95% interval, paired over 3 seeds, p = 0.02): "
        "suggestive: better."
    )
    assert "one seed: no verdict" in study.difference(two["new"][:1], two["ce"]).text
    same = study.difference(two["ce"], two["ce"]).text
    assert "+0.0" in same and "undecided" in same


def test_comparison_table_shows_groups_and_verdict(two):
    html, text = page(study.comparison(two, group="tail"))
    assert "<b>suggestive: better</b>" not in html and "suggestive: better" in html and "reference" in html
    assert re.search(r"new +3 +76\.7 +100\.0 +80\.0 +50\.0 +\+40\.0 ± 24\.8 +suggestive: better", text)


def test_a_claims_table_says_what_is_printed_and_what_holds():
    rows = [("ring: **+1**", "$p < .05$, 10 seeds", "+2.0 ± 0.4", True), ("a < b", "as printed", "-1.0", False),
            ("c", "one seed", "+0.1", "undecided")]  # fmt: skip
    html, text = page(study.claims_table(rows))
    assert "<b>+1</b>" in html and "$p &lt; .05$" in html and "a &lt; b" in html
    lines = text.splitlines()
    assert lines[0].split("  ")[0] == "printed" and lines[0].endswith("holds?")
    assert [line.split()[-1] for line in lines[1:]] == ["yes", "no", "undecided"] and lines[1].startswith("ring: +1 ")
    for wrong in ([], "text", [("a", "b", "c")], [("a", "b", "c", 1)], [("a", 2, "c", True)], [None]):
        with pytest.raises(ValueError, match=r"^(rows|reading|holds)="):
            study.claims_table(wrong)


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
OWN_TAGS = {
    "a",
    "b",
    "br",
    "code",
    "details",
    "div",
    "figcaption",
    "figure",
    "i",
    "img",
    "li",
    "p",
    "pre",
    "span",
    "summary",
    "table",
    "tbody",
    "td",
    "th",
    "thead",
    "tr",
    "ul",
}
OWN_ATTRIBUTES = {"alt", "href", "rel", "src", "style", "target"}


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
        wrong += [
            attrs["src"]
            for tag, attrs in self.tags
            if "src" in attrs and not attrs["src"].startswith("data:image/png;base64,iVBOR")
        ]
        return wrong + [attrs["style"] for _, attrs in self.tags if "position" in attrs.get("style", "")]


def everything_with(evil: str) -> dict[str, str]:
    """HTML of every piece of a chapter that can hold a name, made with this one."""
    picture = Picture()
    picture.text = evil
    left, right = [make_run(evil, s, 0.1) for s in range(2)], [make_run(f"{evil} 2", s, 0.5) for s in range(2)]
    quiz = study.Quiz([study.Question(evil, {evil: evil, "b": ""}, "b", {evil: picture})])
    quiz.answer(0, evil)
    gates = [
        study.Predict(evil, choices=[evil, "b"], unit=evil),
        study.Predict(evil, order=[evil, "b"]),
        study.Predict(evil, number=(0, 1), unit=evil),
        study.Predict(evil, curve=study.Axes((0, 1), (0, 1), evil, evil), unit=evil),
    ]
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
    for gate in gates:  # a change of mind
        gate.reopen()
        gate.commit(gate.default)
    answers = [*quiz.cards, *(g.control for g in gates)]
    spans = [text for card in answers for _, text, *_ in card.spec.get("options", [])]
    widgets = [
        *spans,
        *(one.head + one.said + one.lost for one in answers),
        quiz._score.value,
        *(r.figure.value + r.verdict.value for r in reveals),
    ]
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
    name = 'a*b* [x](y) `c` $d$ \\e <i> & "q"'
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
    links = [attrs for tag, attrs in found.tags if tag == "a"]
    assert found.words == ["words"] and [attrs["href"] for attrs in links] == ([address] if followed else [])
    assert all(attrs["target"] == "_blank" and attrs["rel"] == "noopener" for attrs in links)
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
    "curve": [lambda v=v: study.Predict("?", curve=v) for v in (3, (0, 1), {"x": (0, 1)}, "xy")],
    "x": [lambda v=v: study.Axes(v, (0, 1)) for v in (None, 3, "01", (0,), (1, 0), (0, np.nan), (True, 2))]
    + [lambda: study.Axes((0, 1), (0, 1), log=True)],
    "y": [lambda v=v: study.Axes((0, 1), v) for v in (None, 3, "01", (0,), (1, 1), (0, np.inf), ("0", "1"))],
    "xlabel": [lambda v=v: study.Axes((0, 1), (0, 1), xlabel=v) for v in (None, 3)],
    "points": [lambda v=v: study.Axes((0, 1), (0, 1), points=v) for v in (None, 2, 2.5, "5", True, 1000)],
    "log": [lambda v=v: study.Axes((1, 2), (0, 1), log=v) for v in (None, 1, "yes")],
    "answer": [lambda v=v: study.Predict("?", number=(0, 1)).commit(v) for v in ("0.5", 2, np.nan, True, [1])]
    + [lambda v=v: study.Predict("?", choices=["a", "b"]).commit(v) for v in (3, ["a"], "c", {})]
    + [lambda v=v: study.Predict("?", order=["a", "b"]).commit(v) for v in (3, "ab", ["a"], ["a", 3], [None, "a"])]
    + [lambda v=v: drawn().commit(v) for v in (
        3, "abc", [1] * 4, [1] * 6, [1, 2, 3, 4, "5"], [0, 0, 0, 0, 101], [0, 0, 0, 0, np.nan], lambda x: None,
        {0: 0}, {0: 0, 3: 1}, {0: "a", 4: 1}, {}, np.ones((5, 2)), lambda x: 1e3)],
    "default": [lambda: study.Predict("?", choices=["a", "b"], default=3)],
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


# -------------------------------------------------------------------------------------------------------- progress
@pytest.fixture
def reader(tmp_path, monkeypatch):
    """A notebook with two predictions, a quiz of two and an exercise; and a way to begin a session on it."""
    path = tmp_path / "chapter.ipynb"
    code = ["lt.Predict(\n", "study.Predict(\n", "Quiz([Question('a'), lt.study.Question('b')])", "x = lt.Exercise("]
    cells = [{"cell_type": "code", "source": code}, {"cell_type": "markdown", "source": ["Predict("]}]
    path.write_text(json.dumps({"cells": cells}))
    monkeypatch.setenv("JPY_SESSION_NAME", str(path))

    def begin(title="Title $x$"):
        monkeypatch.setattr(progress, "_session", progress._Session())
        return head(title=title)

    begin.file = tmp_path / "my_progress.json"
    return begin


def test_progress_is_kept_beside_the_notebook_and_shown_in_the_header(reader):
    header = reader()
    gate, quiz, task = study.Predict("Q **1**?", choices=["a", "b"]), study.Quiz(questions()), exercise()
    assert not reader.file.exists() and "progress" not in header.text + header.page.value
    gate.commit()  # the default: nobody has answered
    assert not reader.file.exists()
    gate.commit("b")
    assert "1 of 4 answered, 0 of 1 exercises passed." in header.page.value
    gate.reveal("x", truth="a")
    gate.reopen()
    gate.commit("a")
    quiz.answer(0, "that")
    task.check(None)
    task.check(lambda n, b: n)
    assert "2 of 4 answered, 0 of 1 exercises passed, quiz: 0 of 2 right." in header.text
    task.check(effective)
    task.check(lambda n, b: n)  # what has passed stays so
    quiz.answer(0, "this")
    quiz.answer(1, "B")
    assert "3 of 4 answered, 1 of 1 exercises passed, quiz: 2 of 2 right." in page(header)[0]
    kept = json.loads(reader.file.read_text())
    assert kept["format"] == 1 and list(kept["chapters"]) == ["Title $x$"]
    entries = {entry["card"]: entry for entry in kept["chapters"]["Title $x$"].values()}
    assert set(entries) == {"Q 1?", "Which?", "Plot?", "Effective number"}
    first = entries["Q 1?"]
    assert (first["answer"], first["right"]) == ("a", True) and (first["first_answer"], first["first_right"]) == (
        "b",
        False,
    )
    assert first["tries"] == 2 and datetime.datetime.fromisoformat(first["date"]).tzinfo
    assert (entries["Which?"]["first_right"], entries["Which?"]["right"]) == (False, True)
    # The next day: another kernel, the same notebook; and a second chapter has progress of its own.
    assert "3 of 4 answered, 1 of 1 exercises passed" in reader().text
    assert "progress" not in reader("Another").text
    study.Predict("Q **1**?", choices=["a", "b"]).commit("a")
    assert set(json.loads(reader.file.read_text())["chapters"]) == {"Title $x$", "Another"}


def test_two_cards_of_one_title_count_as_two_and_old_files_are_read(reader):
    item = study.Question("Which?", {"this": "yes", "that": "no"}, "this")

    def cards():
        first = study.Predict("How many?", choices=["a", "b"])
        return first, study.Predict("How many?", choices=["a", "b"]), study.Quiz([item, item])

    header = reader()
    first, second, quiz = cards()
    first.commit("a")
    entries = json.loads(reader.file.read_text())["chapters"]["Title $x$"]
    assert list(entries) == [request_id(kind="prediction", card="How many?")], "as it was before: old files are read"
    assert "1 of 4 answered" in header.text
    second.commit("b")
    quiz.answer(0, "that")
    quiz.answer(1, "this")
    assert "4 of 4 answered, 0 of 1 exercises passed, quiz: 1 of 2 right." in header.text
    entries = json.loads(reader.file.read_text())["chapters"]["Title $x$"].values()
    assert sorted((one["card"], one["answer"]) for one in entries) == [
        ("How many?", "a"), ("How many? (2)", "b"), ("Which?", "that"), ("Which? (2)", "this")]  # fmt: skip
    cards()[0].commit("b")  # made again, it is the same card
    assert "4 of 4 answered" in header.text and "4 of 4 answered" in reader().text
    cards()[1].commit("a")
    entries = {
        one["card"]: one["tries"] for one in json.loads(reader.file.read_text())["chapters"]["Title $x$"].values()
    }
    assert entries == {"How many?": 2, "How many? (2)": 2, "Which?": 1, "Which? (2)": 1}


def test_a_cell_that_runs_again_makes_its_own_cards_again(reader, monkeypatch):
    shell = SimpleNamespace(execution_count=0, user_ns={}, cell="")
    shell.get_parent = lambda: {"metadata": {"cellId": shell.cell} if shell.cell else {}}
    monkeypatch.setattr(progress, "_shell", lambda: shell)
    reader()

    def run(cell, *tasks):
        shell.cell, shell.execution_count = cell, shell.execution_count + 1
        return [exercise(task=task)._kept.card for task in tasks]

    assert run("one", "a", "a") == ["Effective number", "Effective number (2)"]
    assert run("two", "a") == ["Effective number (3)"]
    assert run("one", "edited", "a") == ["Effective number", "Effective number (2)"]
    assert run("two", "edited") == ["Effective number (3)"]
    reader()  # where cells have no name, what is asked tells cards of one title apart
    assert run("", "a", "b") == ["Effective number", "Effective number (2)"]
    assert run("", "b") == ["Effective number (2)"] and run("", "c", "a") == [
        "Effective number (3)",
        "Effective number",
    ]


def test_without_a_notebook_nothing_is_written(reader, tmp_path, monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME")
    monkeypatch.chdir(tmp_path)
    header = reader()
    study.Predict("?", choices=["a", "b"]).commit("a")
    assert "1 of 1 answered." in header.text and list(tmp_path.iterdir()) == [tmp_path / "chapter.ipynb"]


DAMAGED = [b"", b"{", b"\xff\xfe", b"[]", b"null", b'{"chapters": 3}', b'{"chapters": {"a": []}}',
           b'{"chapters": {"a": {"b": {"kind": []}}}}', b'{"chapters": {"a": {"b": {"kind": "question"}}}}',
           b'{"format": 1}', b"[" * 100_000]  # fmt: skip


@pytest.mark.parametrize("content", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_file_is_put_aside_and_said(reader, content):
    reader.file.write_bytes(content)
    header = reader()
    assert "my_progress.json is damaged; the next answer begins a new one." in header.text
    gate = study.Predict("?", choices=["a", "b"])
    gate.commit("a")
    assert "it is now my_progress.damaged.json" in header.text and "it is now" in gate.control.said
    assert reader.file.with_name("my_progress.damaged.json").read_bytes() == content
    gate.commit("b")
    assert "1 of 4 answered, 0 of 1 exercises passed." in header.text and "damaged" not in header.text
    reader.file.write_bytes(b"{")
    gate.commit("a")
    assert reader.file.with_name("my_progress.damaged1.json").read_bytes() == b"{"


def test_a_file_that_cannot_be_written_is_said_and_left_alone(reader, monkeypatch):
    newer = json.dumps({"format": 2, "chapters": {}})
    reader.file.write_text(newer)
    header, gate = reader(), study.Predict("?", choices=["a", "b"])
    gate.commit("a")
    said = "Your progress is not kept: my_progress.json was written by a newer ltviz."
    assert said in header.text and said in gate.control.said and reader.file.read_text() == newer
    assert "1 of 4 answered" in header.text  # the session goes on
    reader.file.write_text(json.dumps({"format": 1, "chapters": {}}))
    reader.file.chmod(0o444)
    gate.commit("b")
    assert "my_progress.json is read-only." in header.text and json.loads(reader.file.read_text())["chapters"] == {}
    reader.file.unlink()
    reader.file.mkdir()
    gate.commit("a")
    assert "Your progress is not kept: my_progress.json cannot be read" in header.text
    reader.file.rmdir()

    def full(path, content):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(progress, "write_atomically", full)
        gate.commit("b")
    assert "cannot be written (No space left on device)" in header.text and not reader.file.exists()
    gate.commit("a")
    assert "not kept" not in header.text and reader.file.exists()


def test_two_notebooks_write_in_turn(reader):
    reader()

    def work(i):
        for k in range(5):
            progress._write(f"chapter {i}", f"{i}-{k}", {"kind": "question", "card": "c", "date": "d"})

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = json.loads(reader.file.read_text())["chapters"]
    assert sum(map(len, kept.values())) == 40


def test_progress_is_exported_without_a_name_unless_it_is_given(reader, tmp_path):
    import pandas as pd

    reader()
    assert list(study.export_progress(tmp_path / "none.csv").columns) == list(progress.COLUMNS)
    study.Predict("=1+1?", choices=["@a", "-b c"]).commit("@a")
    study.Predict("how many?", number=(-5, 5)).commit(-3)
    exercise().check(effective)
    table = study.export_progress(tmp_path / "file.csv")
    assert "name" not in table and len(table) == 3 and set(table["kind"]) == {"prediction", "exercise"}
    back = pd.read_csv(tmp_path / "file.csv", dtype=str, keep_default_na=False)
    assert list(back.columns) == list(progress.COLUMNS)
    assert set(back["card"]) == {"'=1+1?", "how many?", "Effective number"}  # no formula for a spreadsheet
    assert set(back["answer"]) == {"'@a", "-3", ""} and set(back["right"]) == {"", "True"}
    named = study.export_progress(str(tmp_path / "named.csv"), name="Ada")
    assert list(named.columns)[0] == "name" and set(named["name"]) == {"Ada"}
    for wrong in (None, 3, "", tmp_path):
        with pytest.raises(ValueError, match="file="):
            study.export_progress(wrong)
    for wrong in (3, "", True):
        with pytest.raises(ValueError, match="name="):
            study.export_progress(tmp_path / "x.csv", name=wrong)


# ---------------------------------------------------------------------------------------------------------- photographs
def test_photographs_that_are_not_there_or_damaged_are_named(monkeypatch, tmp_path):
    sheets = study.photographs.__wrapped__, study.batch_photographs.__wrapped__  # without what was read before
    files = [data_folder() / name for name in ("photographs.png", "batch_photographs.png")]
    monkeypatch.setitem(sheets[0].__globals__, "data_folder", lambda: tmp_path)
    for read, file in zip(sheets, files, strict=True):
        own = tmp_path / file.name
        with pytest.raises(
            FileNotFoundError, match=f"{file.name} is not there. It comes with a checkout .*git checkout"
        ):
            read()
        for content in (b"", b"version https://git-lfs", file.read_bytes()[:5000]):
            own.write_bytes(content)
            with pytest.raises(RunFileError, match=f"{file.name}: damaged, or another image .*git checkout -- data"):
                read()
        Image.new("RGB", (33, 32)).save(own)
        with pytest.raises(RunFileError, match=f"{file.name}: not a sheet of (10|32) photographs in a row"):
            read()
        own.write_bytes(file.read_bytes())
        assert len(read().images)
    Image.new("RGB", (512, 32)).save(own)
    with pytest.raises(RunFileError, match="it lacks the text that says which batches these are"):
        sheets[1]()


def test_the_classes_of_photographs_are_found_by_name():
    found = study.photographs()
    names = [*reversed(study.photographs.__wrapped__.__globals__["CLASSES"])]
    assert found.targets(names)[:10].tolist() == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    assert found.targets(["more", *names])[0] == 10
    for wrong in (names[1:], "airplane", None, 3, [], {"airplane": 0}):
        with pytest.raises(ValueError, match="^class_names=.*: expected the names of the classes, such as run.class_n"):
            found.targets(wrong)


def test_the_photographs_are_ten_of_each_class_in_turn():
    found = study.photographs()
    assert (
        found.images.shape == (100, 32, 32, 3) and found.images.dtype == np.uint8 and not found.images.flags.writeable
    )
    assert found.names[:11].tolist() == [
        *"airplane automobile bird cat deer dog frog horse ship truck".split(),
        "airplane",
    ]
    assert found.small.shape == (100, 16, 16, 3)
    assert found.small[7, 3, 5, 1] == (int(found.images[7, 6:8, 10:12, 1].sum()) + 2) // 4


def test_the_photographs_are_the_first_test_images_of_the_recorded_runs():
    """Under every seed; the class order differs."""
    found = study.photographs()
    for run in study.recorded("cifar16", "ce"):
        np.testing.assert_array_equal(found.targets(run.class_names), run.targets[:100])


@pytest.mark.realdata
def test_the_photographs_are_those_of_cifar():
    data = cifar_lt(ratio=100, root=real_data())
    np.testing.assert_array_equal(study.photographs().images, data.test_images[:100].numpy())


@pytest.mark.parametrize(("unit", "words"), [
    (" times", "7 too low."), (" : 1", "7 too low."), (" of 10", "7 too low."), (" of 100 batches", "7 too low."),
    ("%", "7 points too low."), ("% of the gradient", "7 points too low."), (" points", "7 points too low."),
    (" different things", "7 different things too low."), (" softmaxes", "7 softmaxes too low."), ("°", "7° too low."),
])  # fmt: skip
def test_the_difference_of_two_factors_or_shares_has_no_unit(unit, words):
    gate = study.Predict("how much?", number=(0, 10, 1), unit=unit)
    reveal = gate.reveal("text", truth=8)
    gate.control.press(1)
    assert words in reveal.verdict.value.replace("\N{NO-BREAK SPACE}", " ")
