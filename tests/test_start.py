"""The start of JupyterLab: a reader's copies of the chapters, and what an updated course does to them."""

import asyncio
import json
import subprocess
import sys
from types import SimpleNamespace

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools import start

ONE, TWO = "00_start.ipynb", "01_next.ipynb"
BESIDE = "00_start_version_{}.ipynb"


def chapter(text="First.", shown="1"):
    """A chapter that shows a picture file, with a kept output."""
    output = new_output("execute_result", {"text/plain": shown}, execution_count=1)
    prose = new_markdown_cell(f"{text} ![tails](images/tails.png)", id="a")
    return new_notebook(cells=[prose, new_code_cell("1", id="b", execution_count=1, outputs=[output])])


def written(nb):
    return (nbformat.writes(nb) + "\n").encode()


def saved(content, answer=None, shown=None):
    """The file as JupyterLab saves it: other metadata and spelling, and what the reader did."""
    nb = json.loads(content)
    nb["metadata"] = {"language_info": {"name": "python", "version": "3.12"}, "widgets": {"state": {}}}
    nb["cells"][1]["metadata"] = {"scrolled": True}
    if answer is not None:
        nb["cells"][1]["source"] = [answer]
    if shown is not None:
        nb["cells"][1]["outputs"][0]["data"]["text/plain"] = [shown]
    return json.dumps(nb, indent=3).encode()


@pytest.fixture
def course(tmp_path):
    folder = tmp_path / "notebooks"
    (folder / "images").mkdir(parents=True)
    (folder / ONE).write_bytes(written(chapter()))
    (folder / TWO).write_bytes(written(chapter("Next.")))
    (folder / "images" / "tails.png").write_bytes(b"a tail")
    (folder / "images" / "cover.png").write_bytes(b"in no chapter")
    return folder


@pytest.fixture
def mine(tmp_path, course):
    """A reader's folder after the first start."""
    folder = tmp_path / "my_notebooks"
    start.prepare(folder, course)
    return folder


def update(course, text, name=ONE, shown="1"):
    content = written(chapter(text, shown))
    (course / name).write_bytes(content)
    return content


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_the_first_start_copies_the_chapters_with_their_figures_and_pictures(tmp_path, course):
    folder = tmp_path / "my_notebooks"
    assert start.prepare(folder, course) == ["copied for you: 00_start, 01_next"]
    assert names(folder) == [".course.json", ONE, TWO, "images/tails.png"]
    for name in (ONE, TWO, "images/tails.png"):
        assert (folder / name).read_bytes() == (course / name).read_bytes()


def test_the_next_start_of_the_same_course_writes_nothing(mine, course):
    (mine / ONE).write_bytes(saved((mine / ONE).read_bytes(), answer="tau = 2"))
    before = {name: (mine / name).stat().st_mtime_ns for name in names(mine)}
    assert start.prepare(mine, course) == []
    assert {name: (mine / name).stat().st_mtime_ns for name in names(mine)} == before


@pytest.mark.parametrize("looked_at", [False, True])
def test_a_copy_that_nobody_changed_is_replaced(mine, course, looked_at):
    if looked_at:  # JupyterLab saves a chapter that was only opened
        (mine / ONE).write_bytes(saved((mine / ONE).read_bytes()))
    new = update(course, "Second.")
    assert start.prepare(mine, course) == ["updated, as you had not changed them: 00_start"]
    assert (mine / ONE).read_bytes() == new
    assert BESIDE.format(2) not in names(mine)


@pytest.mark.parametrize("did", [{"answer": "tau = 2"}, {"shown": "my run"}], ids=["edited", "ran"])
def test_beside_a_changed_copy_the_new_version_arrives(mine, course, did):
    own = saved((mine / ONE).read_bytes(), **did)
    (mine / ONE).write_bytes(own)
    new = update(course, "Second.")
    (said,) = start.prepare(mine, course)
    assert said == "00_start has changed. Your copy stays as it is; the new version is 00_start_version_2.ipynb"
    assert (mine / ONE).read_bytes() == own
    assert (mine / BESIDE.format(2)).read_bytes() == new
    assert start.prepare(mine, course) == []

    # The next update replaces the version that nobody touched, and comes beside one that was answered too.
    third = update(course, "Third.")
    start.prepare(mine, course)
    assert (mine / BESIDE.format(2)).read_bytes() == third
    second = saved(third, answer="tau = 3")
    (mine / BESIDE.format(2)).write_bytes(second)
    fourth = update(course, "Fourth.")
    start.prepare(mine, course)
    assert [(mine / name).read_bytes() for name in (ONE, BESIDE.format(2), BESIDE.format(3))] == [own, second, fourth]


def test_of_two_unchanged_versions_the_newer_one_is_replaced(mine, course):
    first = (mine / ONE).read_bytes()
    (mine / ONE).write_bytes(saved(first, answer="tau = 2"))
    update(course, "Second.")
    start.prepare(mine, course)
    (mine / ONE).write_bytes(first)  # the reader took the answer back
    new = update(course, "Third.")
    start.prepare(mine, course)
    assert [(mine / name).read_bytes() for name in (ONE, BESIDE.format(2))] == [first, new]


def test_new_outputs_alone_bring_no_new_version(mine, course):
    own = saved((mine / ONE).read_bytes(), answer="tau = 2")
    (mine / ONE).write_bytes(own)
    for name in (ONE, TWO):
        update(course, {ONE: "First.", TWO: "Next."}[name], name, shown="run again")
    assert start.prepare(mine, course) == ["updated, as you had not changed them: 01_next"]
    assert (mine / ONE).read_bytes() == own
    assert names(mine) == [".course.json", ONE, TWO, "images/tails.png"]


def test_what_a_reader_deletes(mine, course):
    """A copy comes again as it is in the course; a new version only when there is a newer one."""
    (mine / TWO).unlink()
    own = saved((mine / ONE).read_bytes(), answer="tau = 2")
    (mine / ONE).write_bytes(own)
    update(course, "Second.")
    start.prepare(mine, course)
    (mine / BESIDE.format(2)).unlink()
    assert start.prepare(mine, course) == []
    assert (mine / TWO).read_bytes() == (course / TWO).read_bytes()
    update(course, "Third.")
    start.prepare(mine, course)
    assert names(mine) == [".course.json", ONE, BESIDE.format(2), TWO, "images/tails.png"]
    assert (mine / ONE).read_bytes() == own


def test_a_readers_own_files_are_left_alone(mine, course):
    (mine / ONE).rename(mine / "my first try.ipynb")
    (mine / "00_start_version_9.ipynb").write_bytes(written(chapter("Mine.")))
    assert start.prepare(mine, course) == ["copied for you: 00_start"]
    before = (mine / "my first try.ipynb").read_bytes(), (mine / "00_start_version_9.ipynb").read_bytes()
    new = update(course, "Second.")
    start.prepare(mine, course)
    assert (mine / ONE).read_bytes() == new
    assert ((mine / "my first try.ipynb").read_bytes(), (mine / "00_start_version_9.ipynb").read_bytes()) == before


@pytest.mark.parametrize("notes", [None, b"", b"[]", b"\xff", b'{"files": 3, "texts": {}}', b'{"more": {}}'])
def test_without_its_notes_nothing_is_overwritten(mine, course, notes):
    def forget():
        (mine / ".course.json").unlink()
        if notes is not None:
            (mine / ".course.json").write_bytes(notes)

    forget()
    (mine / TWO).write_bytes(saved((mine / TWO).read_bytes(), shown="my run"))
    assert start.prepare(mine, course) == [], "the text is the course's"
    forget()
    own = (mine / ONE).read_bytes()  # as it was given, which nothing tells now
    new = update(course, "Second.")
    start.prepare(mine, course)
    assert (mine / ONE).read_bytes() == own
    assert (mine / BESIDE.format(2)).read_bytes() == new
    assert BESIDE.format(2).replace("00_start", "01_next") not in names(mine)


@pytest.mark.parametrize("broken", [b"", b"{", b"[1]", b'{"cells": 3}', b'{"cells": [{}]}', b"\xff\xfe", b"null"])
def test_a_copy_that_is_no_notebook_any_more_is_kept(mine, course, broken):
    (mine / ONE).write_bytes(broken)
    assert start.prepare(mine, course) == []
    new = update(course, "Second.")
    start.prepare(mine, course)
    assert (mine / ONE).read_bytes() == broken
    assert (mine / BESIDE.format(2)).read_bytes() == new


def test_a_chapter_of_the_course_that_is_damaged_is_left_out(mine, course):
    own = (mine / ONE).read_bytes()
    (course / ONE).write_bytes(b"<<<<<<< HEAD\n" + own)
    (said,) = start.prepare(mine, course)
    assert said.startswith("notebooks/00_start.ipynb was left out: not a notebook (")
    assert said.endswith("`git checkout notebooks` restores it")
    assert (mine / ONE).read_bytes() == own


def test_pictures_follow_the_course_unless_the_reader_changed_them(mine, course):
    (course / "images" / "tails.png").write_bytes(b"a longer tail")
    assert start.prepare(mine, course) == []
    assert (mine / "images" / "tails.png").read_bytes() == b"a longer tail"
    (mine / "images" / "tails.png").write_bytes(b"my tail")
    (course / "images" / "tails.png").write_bytes(b"another tail")
    assert start.prepare(mine, course) == ["images/tails.png has changed; yours was changed too, and stays"]
    assert (mine / "images" / "tails.png").read_bytes() == b"my tail"


def test_the_course_itself_is_copied_and_never_written(tmp_path):
    before = {path: path.stat().st_mtime_ns for path in start.FOLDER.rglob("*")}
    start.prepare(tmp_path / "mine")
    for path in start.FOLDER.glob("*.ipynb"):
        assert (tmp_path / "mine" / path.name).read_bytes() == path.read_bytes()
    assert (tmp_path / "mine" / start.FIRST).is_file()
    assert {path: path.stat().st_mtime_ns for path in start.FOLDER.rglob("*")} == before


def test_git_ignores_the_copies(repo):
    command = ["git", "check-ignore", "-q", f"{start.MINE}/{start.FIRST}"]
    done = subprocess.run(command, cwd=repo, capture_output=True, text=True)
    if done.returncode == 128:
        pytest.skip("not a git checkout")
    assert done.returncode == 0


def test_jupyterlab_may_save_the_copies_and_not_the_originals(tmp_path, monkeypatch):
    root = tmp_path / "root"
    (root / "notebooks" / "images").mkdir(parents=True)
    start.prepare(root / start.MINE)
    (root / "notebooks" / "a.ipynb").touch()
    monkeypatch.setattr(start, "FOLDER", root / "notebooks")
    (root / "link").symlink_to(root / "notebooks")
    files = start.Contents(root_dir=str(root))
    assert files.is_writable(f"{start.MINE}/{start.FIRST}")
    (root / "notebooks2.ipynb").touch()
    assert files.is_writable("notebooks2.ipynb")
    for path in ("notebooks", "notebooks/a.ipynb", "notebooks/new.ipynb", "link/a.ipynb"):
        assert not files.is_writable(path)


def with_widget(model_id, **more):
    """A display output as an explorer makes it: the widget, and beneath it what is shown where there is none."""
    data = {start.WIDGET_VIEW: {"model_id": model_id, "version_major": 2}, "text/plain": "Widget", **more}
    return nbformat.v4.new_output("display_data", data)


def test_an_output_whose_widget_is_not_saved_with_it_shows_its_picture_when_it_is_opened_again(tmp_path):
    """JupyterLab would show it as "model not found": after a day on which only some of the cells were run again."""
    kept, lost = with_widget("here", **{"text/html": "one"}), with_widget("gone", **{"image/png": "two"})
    alone = with_widget("gone too")  # a reader's own slider has nothing beneath it
    cell = nbformat.v4.new_code_cell("x", outputs=[kept, lost, alone, nbformat.v4.new_output("stream", text="said")])
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("Text."), cell])
    nb.metadata["widgets"] = {start.WIDGET_STATE: {"state": {"here": {}}, "version_major": 2, "version_minor": 0}}
    files = start.Contents(root_dir=str(tmp_path))
    given = json.loads(nbformat.writes(nb))
    asyncio.run(files.save({"type": "notebook", "content": given, "format": "json"}, "a.ipynb"))
    cells = nbformat.read(tmp_path / "a.ipynb", 4).cells
    assert [sorted(one.get("data", {})) for one in cells[1].outputs] == [
        sorted(kept.data), ["image/png", "text/plain"], sorted(alone.data), []
    ]  # fmt: skip
    assert cells[1].outputs[1].data["image/png"] == "two" and cells[0].source == "Text."
    assert given == json.loads(nbformat.writes(nb)), "what JupyterLab holds is not touched"
    del nb.metadata["widgets"]  # saved before anything ran: none is there
    given = json.loads(nbformat.writes(nb))
    asyncio.run(files.save({"type": "notebook", "content": given, "format": "json"}, "a.ipynb"))
    assert start.WIDGET_VIEW not in nbformat.read(tmp_path / "a.ipynb", 4).cells[1].outputs[0].data


def test_a_checkout_that_cannot_be_written_is_left_alone(tmp_path, monkeypatch):
    checkout, home = tmp_path / "checkout", tmp_path / "home"
    checkout.mkdir()
    (checkout / start.MINE).touch()  # a file where the folder would be: not even root can write into it
    monkeypatch.setattr(start, "REPO", checkout)
    monkeypatch.setenv("HOME", str(home))
    root, said = start.place(checkout)
    assert root == home / "ltviz"
    assert said[0].startswith(f"{checkout} cannot be written (") and said[0].endswith("ROOT= chooses a folder")
    assert (root / start.MINE / start.FIRST).is_file()


def test_a_folder_that_was_asked_for_is_not_exchanged(tmp_path, capsys):
    (tmp_path / start.MINE).touch()
    assert start.main(["--root", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "your copies of the chapters cannot be written" in said and "make lab ROOT=" in said


@pytest.mark.parametrize("browser", [True, False])
def test_what_jupyterlab_is_asked_for(tmp_path, monkeypatch, capsys, browser):
    asked = []
    lab = SimpleNamespace(LabApp=SimpleNamespace(launch_instance=asked.extend))
    monkeypatch.setitem(sys.modules, "jupyterlab.labapp", lab)
    monkeypatch.setattr(start, "warm_up", lambda: asked.append("warm"))
    monkeypatch.setenv("HOME", str(tmp_path))
    flags = [] if browser else ["--no-browser"]
    assert start.main(["--root", "~/new/folder", "--port", "9123", *flags]) == 0
    root = tmp_path / "new" / "folder"
    assert "warm" in asked
    assert f"--ServerApp.root_dir={root}" in asked and "--ServerApp.port=9123" in asked
    assert f"--LabApp.default_url=/lab/tree/{start.MINE}/{start.FIRST}" in asked
    assert ("--no-browser" in asked) is not browser
    assert not [one for one in asked if "token" in one or "password" in one]
    assert (root / start.MINE / start.FIRST).is_file()
    assert f"opening JupyterLab on {root / start.MINE / start.FIRST}" in capsys.readouterr().out


def test_what_a_chapter_imports_and_the_glossary_come_beside_it(course, tmp_path):
    (course / "cards_00.py").write_text("answer = 2\n")
    (course / "GLOSSARY.md").write_text("# Glossary\n")
    (course / "scratch.py").write_text("mine = 1\n")
    mine = tmp_path / "mine"
    start.prepare(mine, course)
    assert (mine / "cards_00.py").read_text() == "answer = 2\n" and (mine / "GLOSSARY.md").is_file()
    assert not (mine / "scratch.py").exists()
    (course / "cards_00.py").write_text("answer = 3\n")
    start.prepare(mine, course)
    assert (mine / "cards_00.py").read_text() == "answer = 3\n"
    (mine / "cards_00.py").write_text("answer = 4\n")
    (course / "cards_00.py").write_text("answer = 5\n")
    said = start.prepare(mine, course)
    assert (mine / "cards_00.py").read_text() == "answer = 4\n" and any(
        "cards_00.py has changed" in one for one in said
    )


@pytest.mark.parametrize("there", [True, False])
def test_umap_is_compiled_in_the_background_unless_it_is_there(there, monkeypatch):
    asked = []
    monkeypatch.setattr(start, "compiled", lambda: there)
    monkeypatch.setattr(start.threading, "Thread", lambda **how: SimpleNamespace(start=lambda: asked.append(how)))
    start.warm_up()
    assert len(asked) == (not there)
    assert there or (asked[0]["daemon"] and "compile_umap" in asked[0]["args"][0][-1])
