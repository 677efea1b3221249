"""The progress files of a class in one table: who has done what, and which question is most often answered wrongly."""

from __future__ import annotations

import csv
import io
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import check
from .progress import CARDS, COLUMNS, FILE, FORMAT, _read, _Unreadable

if TYPE_CHECKING:
    import pandas

BY = ("student", "question")
COUNTS = ("predictions", "predictions right", "quiz", "quiz right", "exercises passed")
LARGEST = 10_000_000  # bytes of a file: a whole course takes some ten thousand
TRUTH = {"True": True, "False": False}


def class_table(files: str | os.PathLike | Iterable[str | os.PathLike], by: str = "student") -> pandas.DataFrame:
    """What a class has answered, from the files that readers hand in: my_progress.json, or CSV of `export_progress`.

    files   a folder, in which (and below which) every .json and .csv file is read, or the files themselves
    by      "student": one row a file, indexed by the name inside it, else by the file's name (its folder's name where
            the file is called my_progress.json). Columns are pairs (chapter, count): predictions made and right, quiz
            questions answered and right, exercises passed. Chapters stand in the order in which the class met them.
            "question": one row a prediction or question: chapter, kind, card, students, judged, wrong, share wrong
            (of those judged), most frequent wrong answer. The question most often answered wrongly comes first.

    Right and wrong are those of a student's first answer, for the card itself tells the right one afterwards; an
    exercise once passed is passed. A file that is damaged, or is no progress file, is left out and named in a warning.
    ValueError for a wrong argument, and where no file can be read.
    """
    by = check.choice("by", by, BY)
    found, refused = [], []
    for path, name in _listed(files):
        try:
            found.append(_student(path, name))
        except _Unreadable as error:
            refused.append(f"{name} ({error})")
    if not found:
        why = f"; left out: {', '.join(refused)}" if refused else "; there is no .json or .csv file"
        raise check.refuse("files", files, f"at least one progress file{why}")
    if refused:
        warnings.warn(f"left out of the table: {', '.join(refused)}", stacklevel=2)
    return _by_student(found) if by == "student" else _by_question(found)


def _listed(files: Any) -> list[tuple[Path, str]]:
    """Each file, with the name by which it is spoken of: its path below the folder."""
    if isinstance(files, (str, os.PathLike)):
        path = check.path("files", files)
        if path.is_dir():
            within = sorted(one for one in path.rglob("*") if one.suffix.lower() in (".json", ".csv") and one.is_file())
            return [(one, one.relative_to(path).as_posix()) for one in within]
        files = [path]
    if not isinstance(files, Iterable) or isinstance(files, (bytes, dict)):
        raise check.refuse("files", files, "a folder, a file or a list of files")
    paths = [check.path("files", one) for one in files]
    absent = [path for path in paths if not path.is_file()]
    if absent:
        raise check.refuse("files", str(absent[0]), "a folder or a file that is there")
    return [(path, str(path)) for path in paths]


# -------------------------------------------------------------------------------------------------------------- reading
def _student(path: Path, name: str) -> tuple[str, str, list[dict[str, Any]]]:
    """The name of a student, that of the file, and the entries in it. Raises _Unreadable."""
    try:
        if path.stat().st_size > LARGEST:
            raise _Unreadable("too large for a progress file")
        own, entries = _from_csv(path) if path.suffix.lower() == ".csv" else (None, _from_json(path))
    except OSError as error:
        raise _Unreadable(f"cannot be read: {error.strerror or error}") from None
    outer = path.resolve().parent.name if path.name == FILE else path.stem
    return own or outer, name, entries


def _from_json(path: Path) -> list[dict[str, Any]]:
    try:
        chapters = _read(path)
    except _Unreadable as error:
        why = "damaged, or no progress file" if error.damaged else f"a format later than {FORMAT}"
        raise _Unreadable(why) from None
    return [{**entry, "chapter": chapter} for chapter, cards in chapters.items() for entry in cards.values()]


def _from_csv(path: Path) -> tuple[str | None, list[dict[str, Any]]]:
    """What export_progress has written: the name, if there is one, and the entries."""
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error):
        raise _Unreadable("damaged, or no progress file") from None
    made = []
    for row in rows:
        if None in row or not set(COLUMNS) <= row.keys() or row["kind"] not in CARDS or None in row.values():
            raise _Unreadable("damaged, or no progress file")
        entry = {column: re.sub(r"^'(?=[=@\t\r+-])", "", row[column]) for column in COLUMNS}
        made.append(entry | {column: TRUTH.get(row[column]) for column in ("right", "first_right")})
    if not made:
        raise _Unreadable("no answer in it")
    return rows[0].get("name") or None, made


# --------------------------------------------------------------------------------------------------------------- tables
def _by_student(found: Sequence[tuple[str, str, list[dict[str, Any]]]]) -> pandas.DataFrame:
    import pandas as pd

    met: dict[str, str] = {}  # chapter -> date of the first answer in it
    for _, _, entries in found:
        for entry in entries:
            met[entry["chapter"]] = min(entry["date"], met.get(entry["chapter"], entry["date"]))
    chapters = sorted(met, key=lambda chapter: (met[chapter], chapter))
    twice = {name for name, times in Counter(name for name, _, _ in found).items() if times > 1}
    rows = [f"{name} ({file})" if name in twice else name for name, file, _ in found]
    columns = pd.MultiIndex.from_product([chapters, COUNTS], names=["chapter", "count"])
    table = pd.DataFrame(0, index=pd.Index(rows, name="student"), columns=columns, dtype=int)
    for i, (_, _, entries) in enumerate(found):
        for entry in entries:
            for count in _counts(entry):
                table.iloc[i, columns.get_loc((entry["chapter"], count))] += 1
    return table.sort_index(kind="stable")


def _counts(entry: dict[str, Any]) -> list[str]:
    """To which counts an entry adds one."""
    if entry["kind"] == "exercise":
        return ["exercises passed"] if entry.get("right") is True else []
    made = "predictions" if entry["kind"] == "prediction" else "quiz"
    return [made, f"{made} right"] if entry.get("first_right") is True else [made]


def _by_question(found: Sequence[tuple[str, str, list[dict[str, Any]]]]) -> pandas.DataFrame:
    import pandas as pd

    asked: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for _, _, entries in found:
        for entry in entries:
            if entry["kind"] != "exercise":
                asked.setdefault((entry["chapter"], entry["kind"], entry["card"]), []).append(entry)
    rows = []
    for (chapter, kind, card), entries in asked.items():
        judged = [entry for entry in entries if isinstance(entry.get("first_right"), bool)]
        wrong = Counter(str(entry.get("first_answer")) for entry in judged if entry["first_right"] is False)
        share = sum(wrong.values()) / len(judged) if judged else float("nan")
        often = min(wrong, key=lambda answer: (-wrong[answer], answer)) if wrong else ""
        rows.append((chapter, kind, card, len(entries), len(judged), sum(wrong.values()), share, often))
    names = ["chapter", "kind", "card", "students", "judged", "wrong", "share wrong", "most frequent wrong answer"]
    table = pd.DataFrame(rows, columns=names)
    order = ["share wrong", "wrong", "chapter", "card"]
    return table.sort_values(order, ascending=[False, False, True, True], kind="stable", ignore_index=True)
