"""`make slides`: each chapter as slides in one file that needs nothing else; no notebook is marked up for it.

What becomes a slide follows from the cells: every heading with the first paragraph below it, its equations and lists;
every kept figure and table; every prediction and quiz question, with a slide of its own for the answer; every exercise,
without hints. Code, printed lines and the rest of the prose are for the chapter, and for whoever speaks.
"""

from __future__ import annotations

import argparse
import ast
import html
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltviz.check import many
from ltviz.files import write_atomically

from . import chapters, markup
from .build import HERE, notebooks
from .explorers import REPO

FOLDER = REPO / "build" / "slides"
ROOM = 800  # letters on a slide of text
FORMULA, STEP = 150, 30  # what an equation, and a line of a list, take of that
LEFT_OUT = ("References", "Reference")  # sections without a slide
CARD = re.compile(r'(?=<div style="border-left:5px solid)')
# Code, and the marks of what is folded: what is in it is shown.
SPOKEN = re.compile(r"```.*?```|<details>\s*<summary>.*?</summary>|</details>", re.DOTALL)
TITLE = re.compile(r'<div style="font-weight:600;[^"]*">(.*?)</div>', re.DOTALL)  # of a card
UNTRAINED = "Nothing is trained yet"  # what a lab says before it is started
OPENERS = re.compile(r"<div><i>Run this notebook to commit.*?</i></div>")
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:">
<title>{title} · slides</title>
<link rel="icon" href="data:,">
<style>
{style}
</style>
</head>
<body>
<main>
{slides}
</main>
<nav aria-label="Slides"><button type="button" id="back" aria-label="Slide before">←</button>
<span id="where" role="status">1 / {count}</span>
<button type="button" id="on" aria-label="Next slide">→</button>
<button type="button" id="theme" aria-label="Light or dark">◐</button></nav>
<script>
{script}
</script>
</body>
</html>
"""


@dataclass
class Slide:
    """A slide: its heading as HTML, what stands below it, and its kind: title, text, figure, question, answer, task."""

    heading: str
    body: str
    kind: str = "text"


def slides(path: Path) -> list[Slide]:
    """The slides of a kept notebook, in its order."""
    cells = chapters.read(path)
    made: list[Slide] = []
    heading = ""
    for cell in cells:
        if cell["cell_type"] == "markdown":
            made += _text(cell["source"], heading)
            heading = next(reversed(_headings(cell["source"])), heading)
        elif cell["cell_type"] == "code" and heading not in LEFT_OUT:
            for slide in _shown(cell, heading):
                _join(made, slide)
    if made:
        made[0].kind = "title"
    return made


def _join(made: list[Slide], slide: Slide) -> None:
    """One more slide; a printed sentence goes below the prose of its section, where there is room."""
    last = made[-1] if made else None
    if slide.kind == "said" and last and last.kind in ("text", "said") and last.heading == slide.heading:
        if len(markup.plain(last.body + slide.body)) < ROOM and len(made) > 1:
            last.body += slide.body
            return
    made.append(slide)


# ----------------------------------------------------------------------------------------------------------------- text
def _headings(source: str) -> list[str]:
    return re.findall(r"(?m)^#{1,6}\s+(.+?)\s*$", SPOKEN.sub("", source))


def _text(source: str, heading: str) -> Iterator[Slide]:
    """The slides of a cell of prose."""
    for i, (name, blocks) in enumerate(_sections(source, heading)):
        if name in LEFT_OUT:
            continue
        kept = [block for j, block in enumerate(blocks) if _tells(blocks, j)]
        if i == 0 and name == heading and not any(_kind(block) != "prose" for block in kept):
            kept = []  # the prose of a section goes on: that is for whoever speaks
        for part in _parts(kept):
            text = re.sub(r":\s*$", ".", "\n\n".join(part)) if _kind(part[-1]) == "prose" else "\n\n".join(part)
            yield Slide(_line(name), markup.markdown(text))


def _sections(source: str, heading: str) -> list[tuple[str, list[str]]]:
    """Pairs of a heading and the blocks below it; what stands before the first one goes on with `heading`."""
    found: list[tuple[str, list[str]]] = [(heading, [])]
    for block in re.split(r"\n\s*\n", SPOKEN.sub("", source).strip()):
        head, _, rest = block.partition("\n")
        if mark := re.match(r"#{1,6}\s+(.+)", head):
            found.append((mark[1].strip(), [rest] if rest.strip() else []))
        elif block.strip():
            found[-1][1].append(block)
    return [(name, blocks) for i, (name, blocks) in enumerate(found) if i or blocks]


def _kind(block: str) -> str:
    if "$$" in block:
        return "formula"
    if re.match(r"\s*(?:[*+-]|\d+\.)\s", block):
        return "list"
    return "table" if block.lstrip().startswith("|") else "prose"


def _tells(blocks: Sequence[str], i: int) -> bool:
    """Whether a block belongs on a slide: an equation, a list, a table, the lead, and prose that an equation needs."""
    if _kind(blocks[i]) != "prose":
        return True
    around = [_kind(blocks[j]) for j in (i - 1, i + 1) if 0 <= j < len(blocks)]
    before_list = i + 1 < len(blocks) and _kind(blocks[i + 1]) in ("list", "table")
    return i == 0 or "formula" in around or before_list


def _parts(blocks: Sequence[str]) -> Iterator[list[str]]:
    """The blocks in portions that a slide has room for."""
    part: list[str] = []
    used = 0
    for block in blocks:
        lines = block.count("\n") + 1 if _kind(block) == "list" else 0
        need = FORMULA * block.count("$$") // 2 + STEP * lines + len(markup.plain(block))
        if part and used + need > ROOM:
            leads = (
                part.pop() if len(part) > 1 and part[-1].rstrip().endswith(":") else None
            )  # it announces what follows
            yield part
            part, used = ([leads], len(leads)) if leads else ([], 0)
        part.append(block)
        used += need
    if part:
        yield part


def _line(text: str) -> str:
    """A heading as HTML without its paragraph."""
    return re.sub(r"^<p>|</p>$", "", markup.markdown(text).strip())


# -------------------------------------------------------------------------------------------------------------- outputs
def _shown(cell: Mapping[str, Any], heading: str) -> list[Slide]:
    """The slides of what a cell of code has left behind."""
    made: list[Slide] = []
    for one in cell.get("outputs", ()):
        data = one.get("data", {})
        page = "".join(data.get("text/html", ""))
        if chapters.WAITING in page or "CLOSED" in page or not data:
            continue
        if page:
            made += _cards(page, heading)
        elif "image/png" in data and UNTRAINED in "".join(data.get("text/plain", "")):
            made.append(Slide(_line(heading), _live(cell["source"]), "said"))
        elif "image/png" in data:
            made.append(Slide(_line(heading), markup.output(one) + _live(cell["source"]), "figure"))
        elif "text/markdown" in data:
            made.append(Slide(_line(heading), markup.output(one), "said"))
    return made


def _live(source: str) -> str:
    """The line that opens the explorer of a cell."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    named = [call for call in calls if ast.unparse(call.func).startswith("lt.explore.")]
    said = "".join(f"<code>{html.escape(ast.unparse(call))}</code>" for call in named)
    return f'<p class="live">Live: {said}</p>' if said else ""


def _cards(page: str, heading: str) -> Iterator[Slide]:
    """A card as slides: the front, and each thing that is folded away on a slide of its own."""
    quiz = re.search(r">QUESTION \d+ OF \d+<", page)
    for part in CARD.split(page) if quiz else [page]:
        front, folded = unfolded(part)
        front = OPENERS.sub("", front)
        asks = "PREDICT BEFORE YOU LOOK" in front or bool(quiz)
        kind = "question" if asks else "task" if ">EXERCISE<" in front else "text"
        title = TITLE.search(front)
        # Of a card that only opens something, the title is enough.
        opens = bool(
            folded and title and kind == "text" and not _words(front.replace(title[0], "").split("</span>")[-1])
        )
        if _words(front) and not opens:
            yield Slide(_line(heading), markup.fragment(front), kind)
        above = markup.fragment(title[1]) if title and (opens or quiz) else _line(heading)
        for inside in folded:
            for body in _answer(inside):
                yield Slide(above, markup.fragment(body), "answer")


def _words(page: str) -> bool:
    """Whether HTML holds any text."""
    return bool(re.search(r"[^\s<>](?![^<]*>)", page))


def unfolded(page: str) -> tuple[str, list[str]]:
    """HTML without what is folded in it, and what that is; hints are left out."""
    front, folded, depth, start, end = [], [], 0, 0, 0
    for mark in re.finditer(r"<details\b[^>]*>|</details>", page):
        if mark[0].startswith("</"):
            depth -= 1
            if depth == 0:
                inside = page[start : mark.start()]
                name, _, body = inside.partition("</summary>")
                if "Hint " not in name:
                    folded.append(body)
                end = mark.end()
        else:
            if depth == 0:
                front.append(page[end : mark.start()])
                start = mark.end()
            depth += 1
    return "".join([*front, page[end:]]), folded


def _answer(body: str) -> list[str]:
    """What a prediction opens: the verdict without a guess, then the figure and its words, on two slides if need be."""
    found = re.search(r'<div style="border-left:5px solid(?:(?!<div style="border-left:5px solid).)*$', body, re.DOTALL)
    if not found or not markup.GUESS.search(found[0]):
        return [body]
    outer = body[: found.start()]
    # The verdict stands at the end, inside the box that was folded: what is open before it is closed after it.
    still = len(re.findall(r"<div\b", outer)) - outer.count("</div>")
    verdict = markup.answered(found[0])
    verdict = re.sub(rf"(?:</div>){{{still}}}\s*$", "", verdict) if still else verdict
    rest = outer + "</div>" * still
    images = re.findall(r"<img\b[^>]*>", rest)
    rest = re.sub(r"<img\b[^>]*>", "", rest)
    said = _portions(rest) if _words(rest) else []
    if images or len(markup.plain(rest)) > ROOM:
        return [verdict, *images, *said]
    return [verdict + "".join(said)]


def _portions(page: str) -> list[str]:
    """What a prediction opens beside its verdict, in portions that a slide has room for; a table is never cut."""
    before, *pieces = re.split(r'(?=<div style="margin:\.4em 0">)', page)
    if _words(before) or not pieces:
        return [page]  # not a list of things
    around = len(re.findall(r"<div\b", before)) - before.count("</div>")
    pieces[-1] = re.sub(rf"(?:</div>){{{around}}}\s*$", "", pieces[-1])
    parts = [""]
    for piece in pieces:  # a list within the list stays in one
        parts[-1] += piece
        if parts[-1].count("</div>") == len(re.findall(r"<div\b", parts[-1])):
            parts.append("")
    made = [""]
    for part in filter(_words, parts):
        if made[-1] and len(markup.plain(made[-1] + part)) > ROOM:
            made.append("")
        made[-1] += part
    return made if made[0] else [page]


# ----------------------------------------------------------------------------------------------------------------- page
def page(path: Path) -> str:
    """The slides of a chapter as one HTML file."""
    made = slides(path)
    parts = [
        f'<section class="slide {one.kind}" id="s{i}" aria-label="Slide {i} of {len(made)}"><div class="fit">'
        f"<h2>{one.heading}</h2>"
        f'<div class="body">{one.body}</div></div></section>'
        for i, one in enumerate(made, 1)
    ]
    style = "\n".join(
        [markup.looks(), *((HERE / name).read_text(encoding="utf-8") for name in ("site.css", "slides.css"))]
    )
    script = (HERE / "slides.js").read_text(encoding="utf-8")
    title = html.escape(chapters.title(chapters.read(path), path))
    return PAGE.format(title=title, style=style, slides="\n".join(parts), count=len(made), script=script)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns the status."""
    parser = argparse.ArgumentParser(prog="python -m tools.site.slides", description="Write the chapters as slides.")
    parser.add_argument("names", nargs="*", help="how the files of chapters begin, e.g. 03; all without one")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where to write")
    given = parser.parse_args(argv)
    paths = notebooks(given.names)
    given.folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        write_atomically(given.folder / f"{path.stem}.html", page(path).encode())
    of = many(len(paths), "chapter")
    print(f"ltviz: the slides of {of}: {given.folder}; arrow keys move, printing gives a page a slide")
    return 0


if __name__ == "__main__":
    sys.exit(main())
