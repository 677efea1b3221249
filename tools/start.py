"""Start JupyterLab on a reader's own copies of the chapters: `make lab`, or `python -m tools.start`.

What stands in notebooks/ belongs to the course and is shown read-only; the reader works in my_notebooks/, which git
ignores. When the course changes, a copy that nobody has changed is replaced. Beside a changed one the new version
arrives under a name of its own, as in 00_start_here_version_2.ipynb. Nothing a reader wrote is merged or overwritten.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager

from ltviz.compiling import compiled
from ltviz.files import check_writable, write_atomically

from .notebooks import WIDGET_STATE, WIDGET_VIEW

REPO = Path(__file__).resolve().parent.parent
FOLDER = REPO / "notebooks"
MINE = "my_notebooks"
FIRST = "00_start_here.ipynb"


class Contents(AsyncLargeFileManager):
    """Files as JupyterLab sees them: the course's own chapters can be read and run, but are not saved by it."""

    def is_writable(self, path: str) -> bool:
        """Whether JupyterLab may save, rename or delete this file."""
        return not Path(self._get_os_path(path)).resolve().is_relative_to(FOLDER) and super().is_writable(path)

    async def save(self, model: dict[str, Any], path: str = "") -> dict[str, Any]:
        """Save a file; of a notebook, an explorer or a card whose kernel has ended as the picture that lies beneath."""
        if model.get("type") == "notebook" and isinstance(model.get("content"), dict):
            model = {**model, "content": without_lost_widgets(model["content"])}
        return await super().save(model, path)


def without_lost_widgets(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook without those views of widgets whose state is not in it.

    JupyterLab saves the widgets of the kernel that runs now. It would show outputs of an earlier one as "model not
    found"; without their view it shows the picture or the HTML that each of them holds as well.
    """
    state = notebook.get("metadata", {}).get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    cells = []
    for cell in notebook.get("cells", []):
        outputs = [_without_lost_widget(output, state) for output in cell.get("outputs", ())]
        cells.append({**cell, "outputs": outputs} if outputs else cell)
    return {**notebook, "cells": cells}


def _without_lost_widget(output: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
    data = output.get("data", {})
    beneath = data.keys() - {WIDGET_VIEW, "text/plain"}  # a picture or HTML; a reader's own widget has none
    if WIDGET_VIEW not in data or not beneath or data[WIDGET_VIEW].get("model_id") in state:
        return output
    return {**output, "data": {kind: value for kind, value in data.items() if kind != WIDGET_VIEW}}


@dataclass
class Given:
    """What this folder was given before: file -> digest of its content, chapter -> digest of its newest text."""

    files: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Given:
        """From a file; nothing is known where it is missing or damaged, so every copy counts as changed."""
        try:
            found = cls(**json.loads(path.read_bytes()))
        except (FileNotFoundError, ValueError, TypeError):
            return cls()
        return found if isinstance(found.files, dict) and isinstance(found.texts, dict) else cls()

    def write(self, path: Path) -> None:
        """Into a file, if that changes it."""
        content = json.dumps(vars(self), indent=1, sort_keys=True).encode()
        if not path.is_file() or path.read_bytes() != content:
            write_atomically(path, content)


def digests(content: bytes) -> tuple[str, str]:
    """Of a notebook file: a digest of its text, code and outputs, and one of text and code alone.

    The metadata of cells and file, and its spelling, are left out: JupyterLab changes them in what was only looked at.
    Raises ValueError for what is no notebook.
    """
    try:
        cells = nbformat.v4.reads(content.decode()).cells
        texts = [[cell.cell_type, cell.source, cell.get("attachments")] for cell in cells]
        outputs = [cell.get("outputs") for cell in cells]
        return _sha(json.dumps([texts, outputs], sort_keys=True).encode()), _sha(json.dumps(texts).encode())
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"not a notebook ({error})") from None


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _digest_of(path: Path) -> tuple[str, str]:
    """`digests` of a reader's file; one that is no notebook any more counts as changed."""
    try:
        return digests(path.read_bytes())
    except ValueError:
        return "", ""


def prepare(mine: Path, course: Path = FOLDER) -> list[str]:
    """Bring a reader's folder up to date with the course, and say in sentences what was done.

    Raises OSError where the folder cannot be written.
    """
    check_writable(mine)
    notes = mine / ".course.json"
    given, said, new, renewed = Given.read(notes), [], [], []
    chapters = sorted(course.glob("*.ipynb"))
    for source in chapters:
        try:
            how, target = _bring(source, mine, given)
        except ValueError as error:
            said.append(f"{course.name}/{source.name} was left out: {error}. `git checkout {course.name}` restores it")
            continue
        if how == "beside":
            said.append(f"{source.stem} has changed. Your copy stays as it is; the new version is {target.name}")
        (new if how == "new" else renewed if how == "renewed" else []).append(target.stem)
    shown = b"".join(source.read_bytes() for source in chapters)
    images = (path for path in (course / "images").rglob("*") if path.is_file())
    beside = [*course.glob("cards_*.py"), *course.glob("GLOSSARY.md")]
    for source in sorted([*beside, *images]):
        name = source.relative_to(course).as_posix()
        needed = source in beside or name.encode() in shown
        if needed and not _bring_file(source.read_bytes(), mine / name, name, given):
            said.append(f"{name} has changed; yours was changed too, and stays")
    given.write(notes)
    if renewed:
        said.insert(0, f"updated, as you had not changed them: {', '.join(renewed)}")
    if new:
        said.insert(0, f"copied for you: {', '.join(new)}")
    return said


def _bring(source: Path, mine: Path, given: Given) -> tuple[str, Path]:
    """One chapter into the reader's folder: "new", "renewed", "beside" or "kept", and the file.

    Raises ValueError where the course's own file is no notebook.
    """
    content = source.read_bytes()
    whole, text = digests(content)
    home = mine / source.name
    numbered = {int(found[1]): path for path in mine.iterdir() if (found := _version(source.stem, path.name))}
    versions = {1: home, **numbered} if home.exists() else numbered
    known = {versions[number]: _digest_of(versions[number]) for number in sorted(versions)}
    last_text, given.texts[source.stem] = given.texts.get(source.stem), text
    untouched = [path for path in known if given.files.get(path.name) == known[path][0]]
    if not home.exists():
        how, target = "new", home
    elif same := [path for path in known if known[path][0] == whole]:
        how, target = "kept", same[0]
    elif untouched:
        how, target = "renewed", untouched[-1]
    elif text in (last_text, *(found[1] for found in known.values())):
        return "kept", home  # only outputs differ, and the reader has some; or declined: a deleted version stays away
    else:
        how, target = "beside", mine / f"{source.stem}_version_{max(1, *versions) + 1}.ipynb"
    if how != "kept":
        write_atomically(target, content)
    given.files[target.name] = whole
    return how, target


def _version(stem: str, name: str) -> re.Match[str] | None:
    return re.fullmatch(rf"{re.escape(stem)}_version_(\d+)\.ipynb", name)


def _bring_file(content: bytes, target: Path, name: str, given: Given) -> bool:
    """What a chapter needs beside it: a picture, its cards. False where the reader changed it, and it was left."""
    there = _sha(target.read_bytes()) if target.is_file() else None
    if there not in (None, given.files.get(name), _sha(content)):
        return False
    if there != _sha(content):
        write_atomically(target, content)
    given.files[name] = _sha(content)
    return True


def place(root: Path) -> tuple[Path, list[str]]:
    """The folder that JupyterLab shows, and what `prepare` says of my_notebooks/ in it.

    A checkout that cannot be written, as one shared by a class, is left alone: then it is ltviz/ in the user's home.
    Raises OSError where neither can be written.
    """
    try:
        return root, prepare(root / MINE)
    except OSError as error:
        if root != REPO:
            raise
        home = Path.home() / "ltviz"
        said = [f"{root} cannot be written ({error.strerror}), so your copies are in {home}; ROOT= chooses a folder"]
        return home, said + prepare(home / MINE)


def warm_up() -> None:
    """Have UMAP compiled in the background, with what the machine has to spare, if it has not been yet."""
    if compiled():
        return
    code = "import os; os.nice(19); from ltviz.embedding import compile_umap; compile_umap()"
    quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    threading.Thread(target=subprocess.run, args=([sys.executable, "-c", code],), kwargs=quiet, daemon=True).start()


def main(argv: Sequence[str] | None = None) -> int:
    """The command line: bring the copies up to date, then be JupyterLab until it is ended."""
    parser = argparse.ArgumentParser(prog="python -m tools.start", description="JupyterLab on your copy of the course.")
    parser.add_argument("--root", type=Path, default=REPO, help=f"the folder to show; your copies are its {MINE}/")
    parser.add_argument("--port", default="8888", help="the next free one if it is taken")
    parser.add_argument("--no-browser", action="store_true", help="print the address instead of opening a window")
    given = parser.parse_args(argv)
    try:
        root, said = place(given.root.expanduser().resolve())
    except (OSError, RuntimeError) as error:  # RuntimeError: a user without a home
        print(f"ltviz: your copies of the chapters cannot be written: {error}", file=sys.stderr)
        print("Name a folder that you may write to: make lab ROOT=/path/to/it", file=sys.stderr)
        return 1
    for line in said:
        print(f"ltviz: {line}")
    print(f"ltviz: opening JupyterLab on {root / MINE / FIRST} (for this machine only; Ctrl-C ends it)", flush=True)
    warm_up()
    from jupyterlab.labapp import LabApp

    LabApp.launch_instance(
        [
            f"--LabApp.default_url=/lab/tree/{MINE}/{FIRST}",
            f"--LabApp.app_settings_dir={REPO / '.jupyter'}",
            "--LabApp.extension_manager=readonly",
            f"--ServerApp.root_dir={root}",
            "--ServerApp.contents_manager_class=tools.start.Contents",
            "--ServerApp.answer_yes=True",
            "--ServerApp.ip=127.0.0.1",
            f"--ServerApp.port={given.port}",
            *(["--allow-root"] if os.geteuid() == 0 else []),
            *(["--no-browser"] if given.no_browser else []),
        ]
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
