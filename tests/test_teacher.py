"""The teachers' sheets beside the chapters: their plan, their numbers, and the explorers that they call."""

import ast
import html
import inspect
import json
import re
from pathlib import Path

import pytest

import ltviz as lt

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
SHEETS = sorted(path for path in NOTEBOOKS.glob("*_teacher.md"))
PARTS = ["What the chapter should leave behind", "Ninety minutes", "Misconceptions", "Predictions", "Discussion"]


def chapter(sheet):
    """The cells of code of the chapter of a sheet."""
    (path,) = NOTEBOOKS.glob(f"{sheet.name[:2]}_*.ipynb")
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


def kept(cells):
    return ["".join(one.get("data", {}).get("text/html", "")) for cell in cells for one in cell["outputs"]]


def rows(text, part):
    """The rows of the table of a part, without its head."""
    section = text.split(f"\n## {part}")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[field.strip() for field in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_every_chapter_that_has_been_run_has_a_sheet():
    run = [path for path in NOTEBOOKS.glob("[0-9]*.ipynb") if '"text/html"' in path.read_text(encoding="utf-8")]
    assert {path.name[:2] for path in SHEETS} == {path.name[:2] for path in run}


@pytest.fixture(params=SHEETS, ids=lambda path: path.name[:2])
def sheet(request):
    return request.param


def test_a_sheet_is_a_page_with_all_parts_and_ninety_minutes(sheet):
    text = sheet.read_text(encoding="utf-8")
    assert 40 <= len(text.splitlines()) <= 75
    headings = re.findall(r"(?m)^## (.+)$", text)
    assert headings[: len(PARTS)] == PARTS and any(name.startswith("Exercise") for name in headings[len(PARTS) :])
    assert sum(int(row[0]) for row in rows(text, "Ninety minutes")) == 90
    (header,) = {
        found for page in kept(chapter(sheet)) for found in re.findall(r"about (\d+) minutes of reading", page)
    }
    assert f"{header} minutes of reading" in text


def test_the_measured_answers_are_those_that_the_chapter_kept(sheet):
    """Card by card, in the chapter's order."""
    cells = chapter(sheet)
    measured = [html.unescape(one) for page in kept(cells) for one in re.findall(r"The answer: <b>(.*?)</b>\.", page)]
    table = rows(sheet.read_text(encoding="utf-8"), "Predictions")
    assert [row[1] for row in table] == measured and all(len(row) == 3 and row[2] for row in table)
    asked = [
        cell["source"][-1].strip() for cell in cells if any("PREDICT BEFORE YOU LOOK" in page for page in kept([cell]))
    ]
    assert [f"cards.{row[0].strip('`')}" for row in table] == asked


def test_the_exercises_are_those_of_the_chapter(sheet):
    checked = {
        found for cell in chapter(sheet) for found in re.findall(r"cards\.(\w+)\.check\(", "".join(cell["source"]))
    }
    text = re.split(r"(?m)^## Exercise", sheet.read_text(encoding="utf-8"), maxsplit=1)[1]
    assert checked and all(f"`{name}`" in text for name in checked)
    for name, points, body in re.findall(r"(?ms)^`(\w+)`, (\d+) points: (.+?)(?=^`\w+`, |^## |\Z)", text):
        assert sum(map(int, re.findall(r"\((\d)\) ", body))) == int(points), name
    total = re.match(r"s \((\d+) points\)", text)
    assert total is None or int(total[1]) == sum(map(int, re.findall(r"(?m)^`\w+`, (\d+) points", text)))


def test_the_explorers_of_a_sheet_exist_and_take_what_they_are_given(sheet):
    code = "\n".join(re.findall(r"(?s)```python\n(.*?)```", sheet.read_text(encoding="utf-8")))
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    explorers = [call for call in calls if ast.unparse(call.func).startswith("lt.explore.")]
    assert explorers
    for call in explorers:
        taken = inspect.signature(getattr(lt.explore, call.func.attr)).parameters
        free = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in taken.values())
        given = {word.arg for word in call.keywords}
        assert len(call.args) <= len(taken) and (free or given <= set(taken)), ast.unparse(call)
