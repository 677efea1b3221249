"""What a reader has answered so far: kept in `my_progress.json` beside the notebook, and nowhere else.

Only answers that a reader has given are kept, each under its chapter and its card, with the date; no name, and nothing
leaves the machine. Where no notebook is open (a script, a test, an automatic run of a chapter), nothing is written.
A file that cannot be read or written is never an error: the header card says so, and the session goes on.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import json
import os
import re
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import check
from ..files import request_id, to_json, write_atomically

if TYPE_CHECKING:
    import pandas

FILE, FORMAT = "my_progress.json", 1
CARDS = {"prediction": "Predict", "question": "Question", "exercise": "Exercise"}  # kind -> what makes one
COLUMNS = ("chapter", "kind", "card", "answer", "right", "first_answer", "first_right", "tries", "date")


class _Unreadable(Exception):
    """The file is there, but cannot be used; damaged: it may be put aside."""

    def __init__(self, why: str, damaged: bool = False):
        super().__init__(why)
        self.damaged = damaged


class _Session:
    """What this kernel knows: the chapter, the cards that it has made, and the answers given in it."""

    def __init__(self):
        self.lock = threading.RLock()
        self.chapter = ""
        self.made: dict[str, dict[str, str]] = {}  # chapter -> card id -> kind
        self.entries: dict[str, dict[str, dict[str, Any]]] = {}  # chapter -> card id -> entry
        self.places: dict[tuple[str, str, str], list[tuple]] = {}  # chapter, kind, title -> where such cards are made
        self.running, self.made_in_it = (), Counter()  # the cell, and how many cards of each title it has made
        self.trouble = ""
        self.headers: weakref.WeakSet = weakref.WeakSet()


_session = _Session()


def _shell() -> Any:
    """What runs the cells of a notebook; None in a script."""
    return sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None


# ---------------------------------------------------------------------------------------------------- the reader's file
def notebook() -> Path | None:
    """The notebook that this kernel belongs to, as Jupyter and VS Code say it; None where there is none."""
    said = getattr(_shell(), "user_ns", {}).get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME")
    if not said:
        return None
    path = Path(said)
    return path if path.is_absolute() and path.parent.is_dir() else Path.cwd() / path.name


def place() -> Path | None:
    """Where progress is kept."""
    path = notebook()
    return Path(os.path.realpath(path.with_name(FILE))) if path else None


def _read(path: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """The entries of a file, chapter by chapter; none where there is no file. Raises _Unreadable."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise _Unreadable(f"{path.name} cannot be read ({error.strerror or error})") from None
    damaged = _Unreadable(f"{path.name} is damaged", damaged=True)
    try:
        found = json.loads(content)
        if isinstance(found, dict) and isinstance(found.get("format"), int) and found["format"] > FORMAT:
            raise _Unreadable(f"{path.name} was written by a newer ltviz")
        chapters = found["chapters"]
        for cards in chapters.values():
            for entry in cards.values():
                if entry["kind"] not in CARDS or not all(isinstance(entry[name], str) for name in ("card", "date")):
                    raise damaged
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise damaged from None
    return chapters


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two notebooks of one folder write in turn, where the system can say so."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        for _ in range(40):  # not every file system has locks, and nobody waits for long
            try:
                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                time.sleep(0.05)
        yield
    finally:
        os.close(number)


def _write(chapter: str, card: str, entry: dict[str, Any]) -> str:
    """Put an entry into the file; "", or what went wrong in a sentence."""
    path = place()
    if path is None:
        return ""
    said = ""
    try:
        with _alone(path.parent):
            try:
                chapters = _read(path)
            except _Unreadable as error:
                if not error.damaged:
                    return f"Your progress is not kept: {error}."
                names = (path.with_name(f"my_progress.damaged{i or ''}.json") for i in range(1000))
                aside = next(name for name in names if not name.exists())
                path.rename(aside)
                chapters, said = {}, f"{error}; it is now {aside.name}, and a new one was begun."
            if path.exists() and not path.stat().st_mode & 0o222:
                return f"Your progress is not kept: {path.name} is read-only."
            chapters.setdefault(chapter, {})[card] = entry
            write_atomically(path, to_json({"format": FORMAT, "chapters": chapters}).encode())
    except OSError as error:
        return f"Your progress is not kept: {path.name} cannot be written ({error.strerror or error})."
    return said


def _entries() -> dict[str, dict[str, dict[str, Any]]]:
    """Everything known: the file's entries, and over them those of this session."""
    path, found = place(), {}
    if path:
        try:
            found = _read(path)
        except _Unreadable as error:
            begins = "; the next answer begins a new one" if error.damaged else "; your progress is not kept"
            _session.trouble = _session.trouble or f"{error}{begins}."
    for chapter, cards in _session.entries.items():
        found[chapter] = {**found.get(chapter, {}), **cards}
    return found


# ------------------------------------------------------------------------------------------------------------ recording
def begin(title: str) -> None:
    """A chapter begins: the cards that follow are its."""
    with _session.lock:
        _session.chapter = title


def _chapter() -> str:
    path = notebook()
    return _session.chapter or (path.stem if path else "")


@dataclass(frozen=True)
class Kept:
    """One card's place in the progress of its chapter."""

    chapter: str
    kind: str
    card: str

    @property
    def id(self) -> str:
        return request_id(kind=self.kind, card=self.card)

    def answered(self, answer: str, right: bool | None = None) -> str:
        """The reader has answered. What could not be kept, in a sentence, else ""."""
        with _session.lock:
            old = _entries().get(self.chapter, {}).get(self.id)
            if self.kind == "exercise" and old and old.get("right") is True:
                right = True  # passed once is passed
            entry = {
                "kind": self.kind, "card": self.card, "answer": answer, "right": right,
                "first_answer": old.get("first_answer") if old else answer,
                "first_right": old.get("first_right") if old else right,
                "tries": (old.get("tries") if old and isinstance(old.get("tries"), int) else 0) + 1,
                "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
            }  # fmt: skip
            return self._keep(entry)

    def judged(self, right: bool) -> None:
        """Whether the last answer was right, where that shows only later."""
        with _session.lock:
            entry = _session.entries.get(self.chapter, {}).get(self.id)
            if entry and entry["right"] != right:
                first = right if entry["tries"] == 1 else entry["first_right"]
                self._keep({**entry, "right": right, "first_right": first})

    def _keep(self, entry: dict[str, Any]) -> str:
        _session.entries.setdefault(self.chapter, {})[self.id] = entry
        _session.trouble = _write(self.chapter, self.id, entry)
        for header in list(_session.headers):
            header.refresh()
        return _session.trouble


def card(kind: str, title: str, content: str = "") -> Kept:
    """A card of the present chapter, by its question or title; content: what else tells it from others.

    The second card of a title has another name, "title (2)"; a card that is made again, in a cell that is run again,
    keeps its own.
    """
    with _session.lock:
        chapter = _chapter()
        places, place = _session.places.setdefault((chapter, kind, title), []), _place_of(kind, title, content)
        if place not in places:
            places.append(place)
        number = places.index(place) + 1
        kept = Kept(chapter, kind, title if number == 1 else f"{title} ({number})")
        _session.made.setdefault(kept.chapter, {})[kept.id] = kind
        for header in list(_session.headers):
            header.refresh()
    return kept


def _place_of(kind: str, title: str, content: str) -> tuple:
    """Where the card is made that is being made: the same when its cell runs again."""
    shell = _shell()
    if shell is None:
        frame = sys._getframe()
        while frame.f_back and frame.f_globals.get("__name__", "").startswith(f"{__package__}."):
            frame = frame.f_back
        return frame.f_code.co_filename, frame.f_lineno, content
    parent = shell.get_parent() if hasattr(shell, "get_parent") else {}
    cell = (parent.get("metadata") or {}).get("cellId", "")  # JupyterLab and VS Code say it
    running = (cell, getattr(shell, "execution_count", 0))
    if running != _session.running:
        _session.running, _session.made_in_it = running, Counter()
    card = (kind, title) if cell else (kind, title, content)
    _session.made_in_it[card] += 1
    return cell, "" if cell else content, _session.made_in_it[card]


# -------------------------------------------------------------------------------------------------------------- showing
def follow(header: Any) -> None:
    """Refresh this header whenever there is news of the chapter."""
    _session.headers.add(header)


def summary() -> str:
    """How far the reader is in the present chapter, in a line; "" where nothing was answered and nothing went wrong."""
    with _session.lock:
        chapter = _chapter()
        entries = _entries().get(chapter, {})
        kinds = {**_session.made.get(chapter, {}), **{key: entry["kind"] for key, entry in entries.items()}}
        if not entries:
            return _session.trouble
        written = _in_source()
        total = {kind: max(written.get(kind, 0), list(kinds.values()).count(kind)) for kind in CARDS}
        done = [entry for entry in entries.values() if entry["kind"] != "exercise"]
        parts = []
        if asked := total["prediction"] + total["question"]:
            parts.append(f"{len(done)} of {asked} answered")
        if total["exercise"]:
            passed = sum(entry["kind"] == "exercise" and entry["right"] is True for entry in entries.values())
            parts.append(f"{passed} of {total['exercise']} exercises passed")
        if any(entry["kind"] == "question" for entry in done):
            right = sum(entry["kind"] == "question" and entry["right"] is True for entry in done)
            parts.append(f"quiz: {right} of {total['question']} right")
        return f"{', '.join(parts)}. {_session.trouble}".strip()


def _in_source() -> dict[str, int]:
    """How many cards of each kind the notebook makes, as far as its saved code says: most were not run yet."""
    path = notebook()
    try:
        return _counted(path, path.stat().st_mtime_ns) if path else {}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


@functools.lru_cache(maxsize=4)
def _counted(path: Path, modified: int) -> dict[str, int]:
    cells = json.loads(path.read_bytes())["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return {kind: len(re.findall(rf"\b{name}\(", code)) for kind, name in CARDS.items()}


def export_progress(file: str | os.PathLike, name: str | None = None) -> pandas.DataFrame:
    """Write what the reader has answered in all chapters to a CSV file, for a teacher; the same as a table.

    One row a card: chapter, kind, card, answer, right, first_answer, first_right, tries, date. `name` is put into a
    column of its own where the reader gives one; nothing else says whose it is. ValueError where the file cannot be
    written.
    """
    import pandas as pd

    path = check.path("file", file)
    name = None if name is None else check.text("name", name)
    rows = [{"chapter": chapter, **entry} for chapter, cards in _entries().items() for entry in cards.values()]
    table = pd.DataFrame([{column: row.get(column) for column in COLUMNS} for row in rows], columns=list(COLUMNS))
    table = table.sort_values(["chapter", "date"], kind="stable", ignore_index=True)
    if name is not None:
        table.insert(0, "name", name)
    try:
        write_atomically(path, table.map(_harmless).to_csv(index=False).encode())
    except OSError as error:
        raise check.refuse("file", file, f"a file that can be written ({error.strerror or error})") from None
    return table


def _harmless(value: Any) -> Any:
    """Text that a spreadsheet would take for a formula, as text."""
    formula = isinstance(value, str) and re.match(r"[=@\t\r]|[+-](?![\d.,]+\S{0,3}$)", value)
    return f"'{value}" if formula else value
