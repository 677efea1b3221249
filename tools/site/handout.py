"""`make handout`: the exercises of the chapters on one page to print, and once more with hints and solutions."""

from __future__ import annotations

import argparse
import html
import importlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ltviz as lt
from ltviz.check import many
from ltviz.files import write_atomically

from . import chapters, markup
from .build import HERE, notebooks
from .explorers import REPO

FOLDER = REPO / "build" / "handout"
CHECK = re.compile(r"^cards\.(\w+)\.check\(.*$", re.MULTILINE)  # the line by which a cell checks an answer
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>
{style}
@media print {{ .exercise {{ break-inside: avoid; }} body {{ font-size: 11pt; }} }}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
{body}
</main>
</body>
</html>
"""


def exercises(path: Path) -> list[tuple[Any, str]]:
    """The exercises of a chapter in their order, each with the code that a reader starts from."""
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    cells = [cell["source"] for cell in chapters.read(path) if cell["cell_type"] == "code"]
    found = [(line[1], CHECK.sub("", cell).strip()) for cell in cells for line in CHECK.finditer(cell)]
    cards = importlib.import_module(f"cards_{path.stem[:2]}") if found else None
    return [(one, start) for name, start in found if isinstance(one := getattr(cards, name), lt.Exercise)]


def page(paths: Sequence[Path], solutions: bool) -> str:
    """The HTML of the handout."""
    parts = []
    for path in paths:
        parts.append(f"<h2>{html.escape(chapters.title(chapters.read(path), path))}</h2>")
        for exercise, start in exercises(path):
            shown = exercise._repr_mimebundle_()["text/html"]
            hints = shown.find("<details")  # the ladder of hints comes last
            task, hints = (shown, "") if hints < 0 else (shown[:hints] + "</div>", shown[hints : -len("</div>")])
            more = ""
            if solutions:
                opened = hints.replace("<details", "<details open")
                more = f"{markup.fragment(opened)}<h4>Solution</h4>{markup.code(exercise.solution_source.strip())}"
            parts.append(f'<section class="exercise">{markup.fragment(task)}{markup.code(start)}{more}</section>')
    title = "Exercises, with hints and solutions" if solutions else "Exercises"
    style = markup.looks() + (HERE / "site.css").read_text(encoding="utf-8")
    return PAGE.format(title=title, style=style, body="\n".join(parts))


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns the status."""
    parser = argparse.ArgumentParser(prog="python -m tools.site.handout", description="Write the exercises as pages.")
    parser.add_argument("names", nargs="*", help="how the files of chapters begin, e.g. 03; all without one")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where to write")
    given = parser.parse_args(argv)
    paths = notebooks(given.names)
    given.folder.mkdir(parents=True, exist_ok=True)
    for name, solutions in (("exercises", False), ("solutions", True)):
        write_atomically(given.folder / f"{name}.html", page(paths, solutions).encode())
    of = many(len(paths), "chapter")
    print(f"ltviz: the exercises of {of}: {given.folder / 'exercises.html'}, solutions.html beside it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
