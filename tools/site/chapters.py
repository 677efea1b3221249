"""A kept notebook as a page: its text, its code, its kept outputs, and its explorers, which can be moved."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import markup
from .explorers import LIVE, Job, found
from .page import Page, contents, needs_python

WAITING = "WAITING FOR YOUR ANSWER"  # what an exercise says before it is solved


def read(path: Path) -> list[dict[str, Any]]:
    """The cells of a notebook, their source as one text."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell | {"source": "".join(cell["source"])} for cell in cells]


def title(cells: Sequence[Mapping[str, Any]], path: Path) -> str:
    """The first heading of a chapter."""
    first = next((cell["source"] for cell in cells if cell["cell_type"] == "markdown"), "")
    named = re.match(r"#\s+(.+)", first)
    return named[1].strip() if named else path.stem.replace("_", " ")


def jobs(path: Path) -> dict[int, Job]:
    """The explorers of a chapter that can be drawn without training, by the number of their cell."""
    code = [(i, cell["source"]) for i, cell in enumerate(read(path)) if cell["cell_type"] == "code"]
    return {number: job for number, job in found(code).items() if job.function not in LIVE}


def render(path: Path, drawn: Mapping[int, Mapping[str, Any] | None], around: Sequence[str] = ()) -> Page:
    """The page of a chapter.

    drawn: for the numbers of cells what `explorers.draw` gave. around: HTML of links to the chapters before and after.
    """
    cells, renderer, parts = read(path), markup.Renderer(), []
    page = Page(f"{path.stem}.html", title(cells, path), "")
    names = {number: job.name for number, job in jobs(path).items()}
    for number, cell in enumerate(cells):
        if cell["cell_type"] == "markdown":
            parts.append(markup.markdown(cell["source"], renderer))
            page.entries += entries(page, cell["source"], renderer.headings)
        elif cell["cell_type"] == "code":
            parts.append(_code(cell))
            if drawn.get(number):
                parts.append(explorer(page, names[number], drawn[number], _kept(cell)))
                parts += [markup.output(one) for one in cell["outputs"] if one is not _kept(cell)]
            else:
                parts += [_output(one, cell, path) for one in cell["outputs"]]
    if parts:  # the contents stand after the title
        parts[0] = parts[0].replace("</h1>\n", f"</h1>\n{contents(renderer.headings)}", 1)
    page.body = "\n".join([*parts, f'<nav class="around" aria-label="Chapters">{"".join(around)}</nav>'])
    return page


def entries(page: Page, source: str, headings: Sequence[tuple[int, str, str]]) -> list[dict[str, str]]:
    """What the search finds in a piece of text: one entry a heading. Kept outputs hold answers, and are left out."""
    pieces = re.split(r"(?m)^(#{1,6}\s.+)$", re.sub(r"(?s)```.*?```", " ", source))
    count = len(pieces) // 2
    names = [name for _, name, _ in headings[len(headings) - count :]] if count else []
    before = headings[len(headings) - count - 1] if len(headings) > count else None
    made = []
    if pieces[0].strip() and before:
        made.append({"t": page.title, "u": f"{page.file}#{before[1]}", "x": markup.plain(pieces[0])})
    for name, heading, text in zip(names, pieces[1::2], pieces[2::2], strict=True):
        said = markup.plain(heading)
        shown = page.title if said == page.title else f"{page.title}: {said}"
        made.append({"t": shown, "u": f"{page.file}#{name}", "x": markup.plain(text)})
    return made


def _code(cell: Mapping[str, Any]) -> str:
    shown = markup.code(cell["source"])
    hidden = cell.get("metadata", {}).get("jupyter", {}).get("source_hidden")
    return f'<details class="source"><summary>Code</summary>{shown}</details>' if hidden else shown


def _kept(cell: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The kept picture of the explorer of a cell."""
    return next((one for one in cell["outputs"] if "image/png" in one.get("data", {})), None)


def _output(one: Mapping[str, Any], cell: Mapping[str, Any], path: Path) -> str:
    if WAITING in "".join(one.get("data", {}).get("text/html", "")):
        return needs_python("Your turn.", path.name)
    shown = markup.output(one)
    if "image/png" in one.get("data", {}) and "lt.explore." in cell["source"]:
        return needs_python("A picture of an explorer.", path.name) + shown
    return shown


def explorer(page: Page, name: str, made: Mapping[str, Any], kept: Mapping[str, Any] | None) -> str:
    """An explorer in a page: its inputs, the place of its picture, and the kept picture where no script runs.

    Its frames become a script of the page, which site.js loads when the reader comes near.
    """
    script = f"explorers/{page.file.removesuffix('.html').replace('/', '.')}.{name}.js"
    root = "../" * page.file.count("/")
    page.scripts[script] = (
        f"window.ltvizFrames({json.dumps(name)}, {json.dumps(made['data'], separators=(',', ':'))});\n"
    )
    heading = html.escape(made["title"] or name.replace("_", " "))
    width, height = made["data"]["state"]["size"]
    body = made["html"].replace(
        f"<div id='screen-{name}'></div>",
        f"<div id='screen-{name}' class='waits' style='max-width:{width:g}px;aspect-ratio:{width:g}/{height:g}'></div>",
    )
    without = markup.output(dict(kept)) if kept else ""
    limits = f'<p class="note">{html.escape(made["without"])}</p>' if made["without"] else ""
    return (
        f'<section class="explorer" id="explorer-{name}" data-name="{name}" data-src="{root}{script}" '
        f'aria-label="{heading}"><h3>{heading}</h3>{limits}{body}'
        f'<p class="moment"><a href="#explorer={name}">Link to this moment</a></p>'
        f"<noscript>{without}</noscript></section>"
    )
