"""Run the chapters and check them: `make notebooks`, `python -m tools.notebooks [--check] [names]`.

A chapter is kept executed, so that a reader on the web sees every figure. Its outputs come from `run` and `clean` below
and from nowhere else, and `check` says whether a file is such a product. The usual runners miss errors inside
widgets: they see cells only. Here the widget state is scanned as well, and every explorer that the chapter opened is
driven to the ends of all its controls in the same kernel.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from ltviz.files import write_atomically

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
SECONDS = {"fast": 45, "full": 180}  # budget of a chapter on two CPU cores
MEGABYTE = 1_000_000
MOST = {"cells": 45, "words of prose": 1_200, "figures": 6}  # of a chapter; explorers are counted apart
LIVE = "Run this cell to make it live"  # what the kept picture of an explorer says
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"

# Run in the kernel before the first cell: chapters promise to need no network.
OFFLINE = """
def _ltviz_offline(event, args):
    if event == "socket.connect" and isinstance(args[1], tuple) and args[1][0] not in ("127.0.0.1", "localhost", "::1"):
        raise OSError(f"a chapter must not use the network, and this one asks for {args[1][0]}")
    if event == "socket.getaddrinfo" and args[0] not in (None, "", "127.0.0.1", "localhost", "::1", b"localhost"):
        raise OSError(f"a chapter must not use the network, and this one looks up {args[0]}")
import sys as _ltviz_sys
_ltviz_sys.addaudithook(_ltviz_offline)
"""

# Run after the last cell: move every control of every explorer, and collect what each says went wrong.
DRIVER = """
import json, sys
said = []
module = sys.modules.get("ltviz.explore")
explorers = list(module.registry()) if module else []
for explorer in explorers:
    name = type(explorer).__name__
    if explorer.error:
        said.append(f"{name}, as shown: {explorer.error}")
    try:
        said += [f"{name}, driven to {problem}" for problem in explorer.drive()]
    except Exception as error:
        said.append(f"{name}, driven: {type(error).__name__}: {error}")
print(json.dumps({"explorers": len(explorers), "problems": said}))
"""


@dataclass
class ChapterRun:
    """A chapter after a run: the notebook with its widget state, seconds, explorers driven, and what went wrong."""

    notebook: NotebookNode
    seconds: float
    explorers: int = 0
    problems: list[str] = field(default_factory=list)


def chapters(names: Sequence[str] = (), folder: Path = FOLDER) -> list[Path]:
    """The notebooks whose file name starts with one of `names`, all without names; ValueError names an unknown one."""
    paths = sorted(folder.glob("*.ipynb"))
    for name in names:
        if not any(path.name.startswith(name) for path in paths):
            raise ValueError(f"no chapter {name!r} in {folder.name}/; there are: {', '.join(p.stem for p in paths)}")
    return [path for path in paths if not names or path.name.startswith(tuple(names))]


def run(notebook: NotebookNode, profile: str = "full", files: Path | None = None, patience: float = 1.0) -> ChapterRun:
    """Execute a notebook in a fresh kernel and an empty folder, without network, and drive its explorers.

    profile "fast" uses recorded runs and short inline training, "full" is what a reader gets. `files` is a folder
    beside the notebook whose pictures it shows. It may take `patience` times the budget. All errors are collected;
    none is raised.
    """
    nb = copy.deepcopy(notebook)
    nb.metadata.pop("widgets", None)
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    problems, explorers, budget = [], 0, round(patience * SECONDS[profile])
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="ltviz-") as folder:
        work = Path(folder) / "notebooks"
        work.mkdir()
        if files is not None and (files / "images").is_dir():
            shutil.copytree(files / "images", work / "images")
        for cards in files.glob("cards_*.py") if files is not None else ():
            shutil.copy(cards, work)
        env = {**os.environ, "LTVIZ_PROFILE": profile, "IPYTHONDIR": str(Path(folder) / "ipython")}
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(FOLDER.parent), env.get("PYTHONPATH")]))  # this ltviz
        client = NotebookClient(nb, timeout=budget, kernel_name="python3", allow_errors=True, coalesce_streams=True)
        client.resources = {"metadata": {"path": str(work)}}
        client.extra_arguments = ["--IPKernelApp.log_level=ERROR"]  # no hint about TCP: it is this machine's own
        with client.setup_kernel(env=env):
            client.kc.execute(OFFLINE, silent=True, store_history=False)
            count = 0
            try:
                for index, cell in enumerate(nb.cells):
                    if cell.cell_type == "code" and cell.source.strip():
                        count += 1
                        client.execute_cell(cell, index, execution_count=count)
                seconds = time.perf_counter() - started
                driver = nbformat.v4.new_code_cell(DRIVER)
                nb.cells.append(driver)
                client.execute_cell(driver, len(nb.cells) - 1, store_history=False)
                nb.cells.pop()
                explorers, said = _read_driver(driver)
                problems += said
            except CellTimeoutError:
                seconds = time.perf_counter() - started
                problems.append(f"cell {count} ran for more than {budget} s")
            except DeadKernelError:
                seconds = time.perf_counter() - started
                problems.append(f"the kernel died in cell {count}")
            client.set_widgets_metadata()
    if seconds > budget:
        problems.append(f"took {seconds:.0f} s; the budget of the {profile} profile is {budget} s")
    return ChapterRun(nb, seconds, explorers, problems + errors(nb))


def _read_driver(cell: NotebookNode) -> tuple[int, list[str]]:
    """What the driver cell printed, and any error of its own."""
    text = "".join(o.text for o in cell.outputs if o.output_type == "stream" and o.name == "stdout")
    said = [f"while driving the explorers: {o.ename}: {o.evalue}" for o in cell.outputs if o.output_type == "error"]
    lines = [line for line in text.splitlines() if line.startswith('{"explorers"')]
    if not lines:
        return 0, said or ["the explorers could not be driven"]
    result = json.loads(lines[-1])
    return result["explorers"], said + result["problems"]


def errors(nb: NotebookNode) -> list[str]:
    """Errors in cells and inside widgets, and widgets that leave nothing to a reader without a kernel."""
    said = []
    for where, cell in _code(nb):
        for output in cell.outputs:
            if output.output_type == "error":
                said.append(f"{where} raised {output.ename}: {output.evalue}")
            data = output.get("data", {})
            if WIDGET_VIEW in data and "image/png" not in data:
                text = data.get("text/plain", "")
                if not text.strip() or re.match(r"\w+\(|\s*\d+%\|", text):
                    said.append(f"{where} shows a widget without a picture or a sentence beside it: {text[:60]!r}")
    state = nb.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    for model in state.values():
        for output in model["state"].get("outputs", ()):
            if output.get("output_type") == "error":
                said.append(f"a widget raised {output.get('ename')}: {output.get('evalue')}")
    return said


def clean(nb: NotebookNode, profile: str = "full") -> NotebookNode:
    """The notebook as it is kept: no widget state, no timing, nothing of this machine; pictures and sentences stay.

    `metadata.ltviz` notes the profile, the versions, and a hash of the code, so that an edit without a run shows.
    """
    nb = copy.deepcopy(nb)
    versions = {"python": platform.python_version(), "ltviz": _version("ltviz"), "torch": _version("torch")}
    nb.metadata = NotebookNode(
        kernelspec={"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        language_info={"name": "python", "file_extension": ".py", "mimetype": "text/x-python"},
        ltviz={"profile": profile, "source": source_hash(nb), "versions": versions},
    )
    for cell in nb.cells:
        kept = {key: value for key, value in cell.metadata.items() if key in ("tags", "jupyter", "collapsed")}
        cell.metadata = NotebookNode(kept)
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if len(data) > 1:
                data.pop(WIDGET_VIEW, None)
            if "image/png" in data:
                data.pop("text/html", None)  # the same picture for JupyterLab, with its alternative text
    return nb


def _is_picture(output: NotebookNode) -> bool:
    """Whether an output is a still picture, or an explorer's."""
    return "image/png" in output.get("data", {})


def check(nb: NotebookNode, size: int) -> list[str]:
    """What stands in the way of keeping this notebook of `size` bytes; an empty list if nothing does."""
    said = errors(nb) + too_long(nb)
    note = nb.metadata.get("ltviz", {})
    if note.get("profile") != "full":
        said.append("its outputs do not come from a full run: make notebooks")
    elif note.get("source") != source_hash(nb):
        said.append("its code was changed after it ran: make notebooks")
    if "widgets" in nb.metadata:
        said.append("it still holds widget state")
    if size > MEGABYTE:
        said.append(f"it has {size:,} bytes; at most {MEGABYTE:,} are allowed")
    cells = [(where, cell) for where, cell in _code(nb) if cell.source.strip()]
    if [cell.execution_count for _, cell in cells] != list(range(1, len(cells) + 1)):
        said.append("its cells did not run once each, from top to bottom")
    if not any(_is_picture(output) for _, cell in cells for output in cell.outputs):
        said.append("it shows no picture")
    for where, cell in _code(nb):
        if "execution" in cell.metadata:
            said.append(f"{where} holds timing metadata")
        for output in cell.outputs:
            if output.output_type == "stream" and output.name == "stderr":
                said.append(f"{where} wrote to stderr: {output.text.strip()[:80]!r}")
    for where, text in _texts(nb):
        for what, pattern in _UNWANTED.items():
            if found := re.search(pattern, text):
                said.append(f"{where} holds {what}: {found.group()[:80]!r}")
    return said


def too_long(nb: NotebookNode) -> list[str]:
    """By what a chapter is longer than a reader has patience for."""
    prose = " ".join(
        re.sub(r"\$\$.*?\$\$", " ", cell.source, flags=re.S) for cell in nb.cells if cell.cell_type == "markdown"
    )
    shown = [output for _, cell in _code(nb) for output in cell.get("outputs", ()) if _is_picture(output)]
    still = [o for o in shown if LIVE not in o.data.get("text/plain", "")]
    found = {
        "cells": len(nb.cells),
        "words of prose": len(re.findall(r"[^\W\d_][\w’'-]*", prose)),
        "figures": len(still),
    }
    return [
        f"it has {found[what]:,} {what}; at most {most:,} are allowed"
        for what, most in MOST.items()
        if found[what] > most
    ]


_UNWANTED = {
    "an absolute path": r"(?<![\w.:/~-])/(?:home|root|Users|tmp|var|opt|mnt|usr|private|srv)/[\w.]|\b[A-Z]:\\\w"
    + "".join(f"|{re.escape(str(path))}/" for path in {FOLDER.parent, FOLDER.parent.parent} if len(path.parts) > 1),
    "a warning": r"\b\w*Warning: .*",
    "a memory address": r" at 0x[0-9a-f]{6,}>?",
}


def source_hash(nb: NotebookNode) -> str:
    """A short hash of the code cells, in order."""
    code = "\0".join(cell.source for _, cell in _code(nb))
    return hashlib.sha256(code.encode()).hexdigest()[:12]


def _code(nb: NotebookNode) -> Iterator[tuple[str, NotebookNode]]:
    """Code cells, each with a name for messages: its place in the file and its first line."""
    for index, cell in enumerate(nb.cells):
        if cell.cell_type == "code":
            yield f"cell {index} ({cell.source.strip().splitlines()[0][:40] if cell.source.strip() else ''})", cell


def _texts(nb: NotebookNode) -> Iterator[tuple[str, str]]:
    """All text that a reader sees: prose, code, printed and shown text."""
    for index, cell in enumerate(nb.cells):
        yield f"cell {index}", cell.source
        for output in cell.get("outputs", ()):
            yield f"the output of cell {index}", output.get("text", "")
            for kind, value in output.get("data", {}).items():
                if kind.startswith("text/"):
                    yield f"the output of cell {index}", value


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package).split("+")[0]
    except PackageNotFoundError:
        return "not installed"


def read(path: Path) -> NotebookNode:
    """A notebook file, in today's format."""
    return nbformat.read(path, as_version=4)


def write(nb: NotebookNode, path: Path) -> int:
    """Write a notebook in one step (a crash leaves the old file); returns its bytes."""
    content = (nbformat.writes(nb) + "\n").encode()
    write_atomically(path, content)
    return len(content)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line: run chapters and keep their outputs, or only check. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.notebooks", description="Run the chapters and check them.")
    parser.add_argument("names", nargs="*", help="chapters by the start of their file name, such as 03; default: all")
    parser.add_argument("--check", action="store_true", help="check the kept files and a fast run; write nothing")
    given = parser.parse_args(argv)
    try:
        paths = chapters(given.names)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    failed = 0
    for path in paths:
        profile = "fast" if given.check else "full"
        print(f"{path.name}: running ({profile} profile)", flush=True)
        result = run(read(path), profile, files=path.parent)
        kept = read(path) if given.check else clean(result.notebook)
        size = path.stat().st_size if given.check else len(nbformat.writes(kept).encode())
        problems = list(dict.fromkeys(result.problems + check(kept, size)))
        for problem in problems:
            print(f"  {problem}")
        if not given.check and not problems:
            write(kept, path)
        failed += bool(problems)
        outcome = "left as it was" if problems and not given.check else "not fit to keep" if problems else "good"
        driven = f"{result.explorers} explorers driven"
        print(f"  {result.seconds:.0f} s, {size // 1000} kB, {driven}: {outcome}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
