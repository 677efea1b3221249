"""The handout: the exercises of a chapter, without and with their solutions."""

import pytest

from tools.site import handout

CARDS = """
import ltviz as lt

double = lt.Exercise(
    title="Twice", task="Write `double(x)`: twice $x < 3$.", solution_source="def double(x):\\n    return x + x",
    checks=[lt.study.Claim("2 is 4", lambda f: f(2) == 4)], hints=["Add.", "x + x."],
)
"""
NOTEBOOK = """{"cells": [
 {"cell_type": "markdown", "metadata": {}, "source": "# 77 · Doubling"},
 {"cell_type": "code", "metadata": {}, "outputs": [], "source": ["cards.double"]},
 {"cell_type": "code", "metadata": {}, "outputs": [],
  "source": ["def double(x):\\n", "    ...\\n", "\\n", "\\n", "cards.double.check(double)  # last"]}]}"""


@pytest.fixture
def chapter(tmp_path):
    (tmp_path / "cards_77.py").write_text(CARDS)
    (tmp_path / "77_doubling.ipynb").write_text(NOTEBOOK)
    return tmp_path / "77_doubling.ipynb"


def test_exercises_come_with_the_code_to_start_from(chapter):
    ((exercise, start),) = handout.exercises(chapter)
    assert exercise.title == "Twice" and start == "def double(x):\n    ..."


def test_hints_and_solutions_are_in_the_one_page_and_not_in_the_other(chapter):
    plain, solved = (handout.page([chapter], solutions) for solutions in (False, True))
    for text in (plain, solved):
        assert "<h2>77 · Doubling</h2>" in text and "Twice" in text and text.count("<math") == 1
        assert text.count("<div") == text.count("</div>") and "src=" not in text and "WAITING" not in text
    assert "<summary" not in plain and "Solution" not in plain and "<h1>Exercises</h1>" in plain
    assert solved.count("<details open") == 2 and "Add." in solved and "<h4>Solution</h4>" in solved
    assert solved.count("return") == 1


def test_the_command_writes_both_pages_of_a_chapter_of_the_course(tmp_path):
    assert handout.main(["03", "--folder", str(tmp_path)]) == 0
    text = (tmp_path / "exercises.html").read_text(encoding="utf-8")
    assert text.count('<section class="exercise">') == 2 and "choose_tau" in text and "taus" in text
    assert len((tmp_path / "solutions.html").read_text(encoding="utf-8")) > len(text)
