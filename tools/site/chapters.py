"""A kept notebook as a page: its text, its code, its kept outputs, and its explorers, which can be moved."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ltviz.methods import METHODS

from ..readme import CHAPTERS as TAUGHT
from . import markup
from .explorers import LIVE, Job, found
from .page import Page, contents, here, needs_python

WAITING = "WAITING FOR YOUR ANSWER"  # what an exercise says before it is solved
# Where the text of a chapter, a comment in its code, or a card asks its reader to run or to change a cell.
RUN = r"\b[Rr]un (?:this|the|the next|next) cells?\b"
ASKS = re.compile(rf"{RUN}|\b[Rr]un it\b|(?<!can )\b[Cc]hange (?:it\b|(?:the|this) line|`)|\bput its path\b")
# What a page has in place of what is done to the picture of an explorer.
INSTEAD = {
    "attributes": "In place of clicking a cell choose the attribute; the methods are compared in the picture.",
    "effective_number": "In place of its line move β.",
    "gallery": "In place of clicking a picture move the query.",
    "gradient_river": "In place of dragging the curve or clicking at an epoch move γ and the epoch.",
    "pizza": "In place of dragging the vectors move the angle of the rare one.",
    "quality": "In place of the dots move the sliders, one fault at a time.",
    "throw": "In place of dragging the bar move the ratio, in place of clicking a dot the seed.",
    "tug_of_war": "In place of dragging the line move the epoch.",
    "tuning": "Here you see the sampler's trials; the cross is where you would try.",
    "two_rings": "In place of the point in the map move features and vectors: how strongly each is pulled to its ring.",
    "wall": "In place of the dot on the curve move τ; in the picture, arrow keys only read values off.",
}
SMALLER = re.compile(r"<p class='note'>(To keep this page small, .*?)</p>")


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
    page, heads = Page(f"{path.stem}.html", title(cells, path), ""), {}
    names = {number: job.name for number, job in jobs(path).items()}
    for number, cell in enumerate(cells):
        after = cells[number + 1] if number + 1 < len(cells) else {"cell_type": "", "source": ""}
        if cell["cell_type"] == "markdown":
            note = heads[number + 1] = _head(after, cell, names.get(number + 1, ""), drawn.get(number + 1), path)
            parts.append(markup.linked(markup.markdown(noted(cell["source"], note, path), renderer)))
            entries(page, cell["source"], renderer.headings)
        elif cell["cell_type"] == "code":
            told, before = heads.get(number), cells[number - 1]["source"] if number in heads else ""
            if ASKS.search(" ".join(re.findall("#.*", cell["source"]))) and not ASKS.search(before):
                parts.append(needs_python("Your turn.", path.name))
            parts.append(_code(cell))
            if drawn.get(number):
                made = without_notes(drawn[number]) if told else drawn[number]
                parts.append(explorer(page, names[number], made, _kept(cell)))
                parts += [markup.linked(markup.output(one)) for one in cell["outputs"] if one is not _kept(cell)]
            else:
                parts += [_output(one, cell, path, bool(told)) for one in cell["outputs"]]
    if parts:  # the contents stand after the title
        parts[0] = parts[0].replace("</h1>\n", f"</h1>\n{contents(renderer.headings)}", 1)
    page.body = "\n".join([*parts, f'<nav class="around" aria-label="Chapters">{"".join(around)}</nav>'])
    return page


# ----------------------------------------------------------------------------------------------- what a page cannot do
def noted(source: str, head: str, path: Path) -> str:
    """The text of a cell with notes in it.

    head: HTML of the note on the explorer that follows, which comes after the last heading. Before the first part that
    asks to run or to change a cell stands one that says what that needs.
    """
    blocks = re.split(r"\n[ \t]*\n", source)
    open_ = [sum(one.count("```") for one in blocks[:i]) % 2 for i in range(len(blocks))]
    asks = [i for i, one in enumerate(blocks) if not open_[i] and ASKS.search(one)]
    last = max((i for i, one in enumerate(blocks) if not open_[i] and re.match(r"#+\s", one)), default=-1)
    if asks:
        blocks[asks[0]] = _before(blocks[asks[0]], needs_python("Your turn.", path.name))
    if head:
        blocks[max(last, 0)] = _before(blocks[max(last, 0)], head)
    return "\n\n".join(blocks)


def _before(block: str, note: str) -> str:
    """A block of markdown with a note before it; after its heading, if it begins with one."""
    title, _, rest = block.partition("\n")
    return f"{title}\n\n{note}\n\n{rest}" if title.startswith("#") else f"{note}\n\n{block}"


def _head(
    cell: Mapping[str, Any], text: Mapping[str, Any], name: str, drawn: Mapping[str, Any] | None, path: Path
) -> str:
    """The note on the explorer of a cell, "" where there is none: what moves here, and what only the notebook has.

    text: the cell before it, which says what to do.
    """
    if cell["cell_type"] != "code" or "lt.explore." not in cell["source"]:
        return ""
    if not drawn:
        alone = any("image/png" in one.get("data", {}) for one in cell["outputs"])
        return needs_python("A picture of an explorer.", path.name) if alone else ""
    moves = re.findall(r"<label for='[^']*'>(.*?)</label>", drawn["html"])
    if not moves:
        return ""
    *others, last = [f"<b>{one}</b>" for one in moves]
    said = f"{', '.join(others)} and {last}" if others else last
    folded = "Nothing is folded under <i>More</i> here." if "*More*" in text["source"] else ""
    smaller = SMALLER.search(drawn["html"])
    return here(said, INSTEAD.get(re.sub(r"-\d+$", "", name), ""), html.escape(drawn["without"]), folded,
                smaller[1] if smaller else "")  # fmt: skip


def without_notes(drawn: Mapping[str, Any]) -> dict[str, Any]:
    """An explorer whose notes stand at the head of its text."""
    return {**drawn, "without": "", "html": SMALLER.sub("", drawn["html"])}


# ----------------------------------------------------------------------------------------------------------- the search
def entries(page: Page, source: str, headings: Sequence[tuple[int, str, str]]) -> None:
    """Add what the search finds in a piece of text: one entry a heading. Kept outputs hold answers, and are left out.

    Text before the first heading belongs to the heading before it. The first entry of a chapter knows its methods.
    """
    pieces = re.split(r"(?m)^(#{1,6}\s.+)$", re.sub(r"(?s)```.*?```", " ", source))
    count = len(pieces) // 2
    names = [name for _, name, _ in headings[len(headings) - count :]] if count else []
    if pieces[0].strip() and page.entries:
        page.entries[-1]["x"] = f"{page.entries[-1]['x']} {markup.plain(pieces[0])}".strip()
    for name, heading, text in zip(names, pieces[1::2], pieces[2::2], strict=True):
        said = markup.plain(heading)
        shown = page.title if said == page.title else f"{page.title}: {said}"
        page.entries.append({"t": shown, "u": f"{page.file}#{name}", "x": markup.plain(text)})
        if said == page.title:
            page.entries[-1]["k"] = taught(page.file.removesuffix(".html"))


def taught(chapter: str) -> str:
    """The methods that a chapter teaches, as words for the search."""
    known = [METHODS[key] for key in TAUGHT.get(chapter, "").split()]
    return "; ".join(" ".join([one.title, one.key.replace("_", " "), *one.aliases]) for one in known)


def _code(cell: Mapping[str, Any]) -> str:
    shown = markup.code(cell["source"])
    hidden = cell.get("metadata", {}).get("jupyter", {}).get("source_hidden")
    return f'<details class="source"><summary>Code</summary>{shown}</details>' if hidden else shown


def _kept(cell: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The kept picture of the explorer of a cell."""
    return next((one for one in cell["outputs"] if "image/png" in one.get("data", {})), None)


def _output(one: Mapping[str, Any], cell: Mapping[str, Any], path: Path, told: bool) -> str:
    kept = "".join(one.get("data", {}).get("text/html", ""))
    if WAITING in kept:
        return needs_python("Your turn.", path.name)
    live = "image/png" in one.get("data", {}) and "lt.explore." in cell["source"]
    shown = markup.linked(markup.output(one, chart=live))
    if live and not told:
        return needs_python("A picture of an explorer.", path.name) + shown
    asked = re.search(RUN, re.sub(r"<[^>]*>", " ", re.sub(r"base64,[^\")]*", "", kept)))
    return needs_python("Your turn.", path.name) + shown if asked else shown


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
