"""The pieces of a chapter, without a kernel: what they accept, what they answer, and what a static page shows."""

import itertools
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ltviz import functional, study
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
    with pytest.raises(TypeError, match="cannot show a int"):
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
        id=f"{label}{seed}",
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
    with pytest.raises(RunFileError, match="python -m ltviz record toy"):
        study.recorded("toy")
    for run in itertools.chain(*two.values()):
        run.save(tmp_path / "toy", small=True)
    assert [run.seed for run in study.recorded("toy", "new")] == [0, 1, 2]
    assert len(study.recorded("toy", seed=1)) == 2
    with pytest.raises(RunFileError, match="its methods are ce, new"):
        study.recorded("toy", "gone")
