"""The chapters: as they are kept, and as they run; and the checker itself, on notebooks that must not pass."""

import ast
import builtins
import re
import symtable

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools import notebooks

CHAPTERS = notebooks.chapters()


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_kept_chapter(path):
    assert notebooks.check(notebooks.read(path), path.stat().st_size) == []


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_chapter_runs_in_the_fast_profile(path):
    # Other tests run beside it: twice its time catches a collapse, and no busy machine.
    result = notebooks.run(notebooks.read(path), "fast", files=path.parent, patience=2)
    assert result.problems == []
    assert result.explorers > 0, "a chapter opens at least one explorer"


def test_first_chapters_exist():
    names = {path.stem for path in CHAPTERS}
    assert {
        "00_start_here",
        "01_long_tails",
        "02_what_softmax_learns",
        "03_decide_again",
        "04_class_balanced_loss",
    } <= names


def exercises(path):
    """The exercises of a module of cards: name -> the names that its solution is given."""
    nodes, kinds, found = list(ast.walk(ast.parse(path.read_text(encoding="utf-8")))), {"lt.Exercise"}, {}
    kinds |= {one.name for one in nodes if isinstance(one, ast.ClassDef) and kinds & set(map(ast.unparse, one.bases))}
    for node in nodes:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            if ast.unparse(node.value.func) in kinds:
                given = {word.arg: word.value for word in node.value.keywords}.get("given", ast.Dict([], []))
                found[node.targets[0].id] = [ast.literal_eval(key) for key in given.keys]
    return found


def names_of(source):
    """The names that a cell imports or assigns."""
    symbols = symtable.symtable(source, "cell", "exec").get_symbols()
    return {one.get_name() for one in symbols if one.is_assigned() or one.is_imported()}


def lacking(cells, tasks):
    """Of each exercise of these cells the given names that no cell defines, up to the reader's own."""
    known, found = set(dir(builtins)), {}
    for source in cells:
        known |= names_of(source)
        for name in re.findall(r"cards\.(\w+)\.check\(", source):
            found[name] = sorted(set(tasks[name]) - known)
    return found


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_what_an_exercise_gives_is_there_in_the_readers_cell(path):
    tasks = exercises(path.parent / f"cards_{path.name[:2]}.py")
    cells = [cell.source for cell in notebooks.read(path).cells if cell.cell_type == "code"]
    found = lacking(cells, tasks)
    assert found and found == dict.fromkeys(found, []), "import or define it in the exercise's cell or before"


def test_a_given_name_that_no_cell_defines_is_found():
    tasks = {"area": ["math", "turn"]}
    assert lacking(["turn = 2\ncards.area.check(area)"], tasks) == {"area": ["math"]}
    assert lacking(["import math\nfor turn in (): ...", "cards.area.check(area)"], tasks) == {"area": []}
    assert lacking(["def area():\n    import math, turn\ncards.area.check(area)"], tasks) == {"area": ["math", "turn"]}


def executed(*sources):
    """A notebook of these code cells, run in the fast profile."""
    return notebooks.run(new_notebook(cells=[new_code_cell(source) for source in sources]), "fast")


@pytest.fixture(scope="module")
def troubled():
    """One run of everything that must be found: in cells, in widgets, in explorers, on the network."""
    return executed(
        "import ipywidgets as widgets\nslider = widgets.IntSlider(max=3)\nout = widgets.Output()\n"
        "def draw(value):\n    raise LookupError('inside a widget')\n"
        "panel = widgets.interactive_output(draw, {'value': slider})\nslider.value = 2\npanel",
        "1 / 0",
        "import socket\nsocket.create_connection(('192.0.2.1', 80), timeout=1)",
        "import sys, types\n"
        "class Stuck:\n    error = 'broken at once'\n    def drive(self):\n        return ['beta=1.0: KeyError: 7']\n"
        "class Worse(Stuck):\n    error = None\n    def drive(self):\n        raise KeyError(8)\n"
        "stuck = [Stuck(), Worse()]\n"
        "sys.modules['ltviz.explore'] = types.SimpleNamespace(registry=lambda: stuck)",
    )


@pytest.mark.parametrize(
    "words",
    [
        "a widget raised LookupError: inside a widget",
        "shows a widget without a picture",
        "raised ZeroDivisionError",
        "must not use the network",
        "Stuck, as shown: broken at once",
        "Stuck, driven to beta=1.0: KeyError: 7",
        "Worse, driven: KeyError: 8",
    ],
)
def test_run_finds(troubled, words):
    assert [problem for problem in troubled.problems if words in problem], troubled.problems


def test_run_numbers_the_cells_and_leaves_the_argument_alone():
    given = new_notebook(cells=[new_code_cell("1"), new_markdown_cell("prose"), new_code_cell(""), new_code_cell("2")])
    result = notebooks.run(given, "fast")
    assert result.problems == [] and result.explorers == 0
    assert [cell.execution_count for cell in result.notebook.cells if cell.cell_type == "code"] == [1, None, 2]
    assert len(result.notebook.cells) == 4 and given.cells[0].execution_count is None


def test_run_reports_a_kernel_that_dies():
    result = executed("import os", "os._exit(1)")
    assert [problem for problem in result.problems if "the kernel died in cell 2" in problem], result.problems


def kept(**outputs):
    """A notebook that is fit to keep; `outputs` are more outputs of its one cell."""
    picture = new_output("display_data", {"image/png": "aGVsbG8=", "text/plain": "a bar chart of ten counts"})
    cell = new_code_cell("plot()", execution_count=1, outputs=[picture, *outputs.get("more", ())])
    return notebooks.clean(new_notebook(cells=[new_markdown_cell("Prose."), cell]))


def test_check_passes_what_is_fit_to_keep():
    assert notebooks.check(kept(), 1000) == []


def edit(change):
    """The kept notebook after `change`, as its problems."""
    nb = kept()
    change(nb)
    return notebooks.check(nb, 1000)


@pytest.mark.parametrize(
    ("words", "change"),
    [
        ("changed after it ran", lambda nb: nb.cells[1].update(source="plot(2)")),
        ("do not come from a full run", lambda nb: nb.metadata.ltviz.update(profile="fast")),
        ("do not come from a full run", lambda nb: nb.metadata.pop("ltviz")),
        ("still holds widget state", lambda nb: nb.metadata.update(widgets={})),
        ("from top to bottom", lambda nb: nb.cells[1].update(execution_count=7)),
        ("from top to bottom", lambda nb: nb.cells[1].update(execution_count=None)),
        ("shows no picture", lambda nb: nb.cells[1].outputs.pop()),
        ("timing metadata", lambda nb: nb.cells[1].metadata.update(execution={})),
        ("an absolute path", lambda nb: nb.cells[0].update(source="Look into /home/ada/data first.")),
        ("an absolute path", lambda nb: nb.cells[0].update(source=f"Look into {notebooks.FOLDER}/x first.")),
    ],
)
def test_check_finds_in_the_file(words, change):
    assert [problem for problem in edit(change) if words in problem]


@pytest.mark.parametrize(
    ("words", "output"),
    [
        ("raised ValueError", new_output("error", ename="ValueError", evalue="no", traceback=[])),
        ("wrote to stderr", new_output("stream", name="stderr", text="hm")),
        ("a warning", new_output("stream", name="stdout", text="UserWarning: deprecated")),
        ("a memory address", new_output("display_data", {"text/plain": "<object at 0x7f3a9c0d1e50>"})),
        (
            "a widget without a picture",
            new_output("display_data", {notebooks.WIDGET_VIEW: {}, "text/plain": "VBox(children=())"}),
        ),
    ],
)
def test_check_finds_in_an_output(words, output):
    nb = kept()
    nb.cells[1].outputs.append(output)
    assert [problem for problem in notebooks.check(nb, 1000) if words in problem]


def test_check_finds_a_chapter_that_is_too_long():
    nb = kept()
    nb.cells += [new_markdown_cell("word " * 30 + "$$ a + b $$") for _ in range(44)]
    assert notebooks.too_long(nb) == [
        "it has 46 cells; at most 45 are allowed",
        "it has 1,321 words of prose; at most 1,200 are allowed",
    ]
    picture = {"image/png": "aGVsbG8=", "text/plain": "bars"}
    live = {**picture, "text/plain": "Bars. Run this cell to make it live."}
    many = kept(more=[*[new_output("display_data", dict(picture))] * 6, *[new_output("display_data", live)] * 6])
    assert notebooks.too_long(many) == ["it has 7 figures; at most 6 are allowed"]


def test_check_finds_a_large_file():
    assert notebooks.check(kept(), 1_000_001) == ["it has 1,000,001 bytes; at most 1,000,000 are allowed"]


def test_clean_keeps_picture_and_sentence_and_drops_the_widget():
    view = new_output("display_data", {notebooks.WIDGET_VIEW: {}, "image/png": "aGVsbG8=", "text/plain": "two curves"})
    nb = kept(more=[view])
    assert dict(nb.cells[1].outputs[1].data) == {"image/png": "aGVsbG8=", "text/plain": "two curves"}


def test_write_is_whole_or_not_at_all(tmp_path):
    path = tmp_path / "x.ipynb"
    assert notebooks.write(kept(), path) == path.stat().st_size
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.ipynb"]
    nbformat.validate(notebooks.read(path))


def test_an_unknown_chapter_is_named(capsys):
    assert notebooks.main(["99_nothing"]) == 2
    assert "no chapter '99_nothing'" in capsys.readouterr().err


def test_a_figure_is_kept_as_an_image_alone():
    """The page beside it is for JupyterLab, and a viewer on the web would prefer it."""
    page = '<img class="ltviz-picture" src="data:image/png;base64,aGVsbG8=">'
    output = new_output("display_data", {"image/png": "aGVsbG8=", "text/html": page, "text/plain": "cats"})
    nb = notebooks.clean(new_notebook(cells=[new_code_cell("plot()", outputs=[output])]))
    assert set(nb.cells[0].outputs[0].data) == {"image/png", "text/plain"}
