"""The progress files of a class as one table."""

import json
import shutil

import pytest

from ltviz import study
from ltviz.study import classroom, progress

WHEN = "2026-03-0{}T10:00:00+00:00"


def entry(kind, card, answer="a", right=None, first=None, day=1, **more):
    return {"kind": kind, "card": card, "answer": answer, "right": right, "first_answer": more.get("said", answer),
            "first_right": first, "tries": 1, "date": WHEN.format(day)}  # fmt: skip


def write(path, chapters):
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = {title: {str(i): one for i, one in enumerate(cards)} for title, cards in chapters.items()}
    path.write_text(json.dumps({"format": 1, "chapters": kept}))
    return path


@pytest.fixture
def klass(tmp_path):
    """Ada and Ben in files of their own name, Cyd in a folder; nobody reads the chapters in alphabetical order."""
    start = [entry("prediction", "How many?", "0", False, False), entry("question", "Empty?", "b", True, True)]
    write(tmp_path / "ada.json", {"Start": [*start, entry("exercise", "Score", "", True, False)]})
    more = [
        entry("prediction", "How many?", "2", True, False, said="0"),
        entry("question", "Empty?", "c", False, False),
    ]
    later = [entry("prediction", "Wider?", "no", None, None, day=5)]
    write(tmp_path / "ben.json", {"Start": [*more, entry("exercise", "Score", "", False, False)], "Again": later})
    write(tmp_path / "cyd" / progress.FILE, {"Start": [entry("prediction", "How many?", "9", False, False, day=2)]})
    return tmp_path


def test_a_row_a_student_and_the_counts_of_first_answers(klass):
    table = study.class_table(klass)
    assert list(table.index) == ["ada", "ben", "cyd"] and table.index.name == "student"
    assert list(table["Start"].columns) == list(classroom.COUNTS)
    assert table["Start"].to_numpy().tolist() == [[1, 0, 1, 1, 1], [1, 0, 1, 0, 0], [1, 0, 0, 0, 0]]
    assert table["Again"].to_numpy().tolist() == [[0] * 5, [1, 0, 0, 0, 0], [0] * 5]
    assert list(table.columns.get_level_values(0).unique()) == ["Start", "Again"]  # as the class met them
    assert study.class_table([klass / "ben.json"]).shape == (1, 10)
    assert study.class_table(str(klass / "ada.json")).loc["ada", ("Start", "exercises passed")] == 1


def test_the_question_most_often_wrong_comes_first(klass):
    table = study.class_table(klass, by="question")
    assert table["card"].tolist() == ["How many?", "Empty?", "Wider?"]
    assert table["students"].tolist() == [3, 2, 1] and table["judged"].tolist() == [3, 2, 0]
    assert table["wrong"].tolist() == [3, 1, 0]
    assert table["share wrong"].tolist()[:2] == [1.0, 0.5] and table["share wrong"].isna().tolist() == [False] * 2 + [
        True
    ]
    assert table["most frequent wrong answer"].tolist() == ["0", "c", ""]


def test_what_a_reader_exports_is_read_as_well(tmp_path, monkeypatch):
    """The CSV of export_progress, with its guard against formulas taken off, counts as the JSON does."""
    path = tmp_path / "notebooks" / "chapter.ipynb"
    path.parent.mkdir()
    monkeypatch.setenv("JPY_SESSION_NAME", str(path))
    monkeypatch.setattr(progress, "_session", progress._Session())
    study.chapter("Start", objectives=["see"], prerequisites=["none"], reading=5, computing="none", papers=["none"],
                  data="none")  # fmt: skip
    gate = study.Predict("=1+1?", choices=["@a", "b"])
    gate.commit("b")
    gate.reveal("x", truth="@a")
    gate.reopen()
    gate.commit("@a")
    folder = tmp_path / "handed in"
    folder.mkdir()
    study.export_progress(folder / "one.csv", name="Ada")
    study.export_progress(folder / "two.csv")
    shutil.copy(path.with_name(progress.FILE), folder / "Cyd.json")
    table = study.class_table(folder)
    assert list(table.index) == ["Ada", "Cyd", "two"] and table["Start"].to_numpy().tolist() == [[1, 0, 0, 0, 0]] * 3
    (row,) = study.class_table(folder, by="question").to_dict("records")
    assert (row["card"], row["students"], row["wrong"]) == ("=1+1?", 3, 3) and row["most frequent wrong answer"] == "b"


def test_two_files_of_one_name_are_two_rows(klass):
    shutil.copytree(klass / "cyd", klass / "group" / "cyd")
    assert list(study.class_table(klass).index) == [
        "ada", "ben", "cyd (cyd/my_progress.json)", "cyd (group/cyd/my_progress.json)"]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("x.json", b"{", "damaged, or no progress file"),
        ("x.json", b'{"cells": []}', "damaged, or no progress file"),
        ("x.json", b'{"format": 1, "chapters": {"a": [1]}}', "damaged, or no progress file"),
        ("x.json", b'{"format": 1, "chapters": {"a": {"b": {"kind": "exam", "card": "", "date": ""}}}}', "damaged"),
        ("x.json", b'{"format": 2, "chapters": {}}', "a format later than 1"),
        ("x.json", b'"' + b"a" * 10_000_001, "too large"),
        ("x.csv", b"a,b\n1,2\n", "damaged, or no progress file"),
        ("x.csv", b"\xff\xfe\x00", "damaged, or no progress file"),
        ("x.csv", ",".join(progress.COLUMNS).encode() + b"\n", "no answer in it"),
        ("x.csv", ",".join(progress.COLUMNS).encode() + b"\nStart,question\n", "damaged, or no progress file"),
    ],
)
def test_a_file_that_is_no_progress_file_is_named_and_left_out(klass, name, content, why):
    (klass / name).write_bytes(content)
    with pytest.warns(UserWarning, match=rf"left out of the table: {name} \(.*{why}"):
        assert list(study.class_table(klass).index) == ["ada", "ben", "cyd"]
    with pytest.raises(ValueError, match=rf"files=.*at least one progress file; left out: .*{name}"):
        study.class_table(klass / name)


def test_wrong_arguments_are_refused(klass, tmp_path):
    for wrong in (None, 3, True, b"ab", {"a": 1}, "", [3], [klass / "nobody.json"], klass / "nobody"):
        with pytest.raises(ValueError, match="files="):
            study.class_table(wrong)
    with pytest.raises(ValueError, match="by="):
        study.class_table(klass, by="card")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="there is no .json or .csv file"):
        study.class_table(tmp_path / "empty")
    with pytest.raises(ValueError, match="there is no .json or .csv file"):
        study.class_table([])
