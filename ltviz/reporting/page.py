"""HTML of a page that stands alone: sections, tables, pictures, downloads. All words from outside are escaped here."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..plots.picture import SHARP, Picture, drawing, small_png
from ..plots.text import short

LETTERS = 60  # of a name in a table or a sentence
THUMB = 96  # pixels of the longer side of a photograph
CSS = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
# Nothing but what is in the file may be loaded: the browser itself refuses anything else.
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>
{css}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<nav aria-label="Sections"><ol>
{contents}
</ol></nav>
</header>
<main>
{sections}
</main>
<footer>
{footer}
</footer>
</body>
</html>
"""


@dataclass(frozen=True)
class Markup:
    """HTML that is ready; every other value is escaped where it is written."""

    html: str


@dataclass(frozen=True)
class Section:
    """A part of the page: its heading, and what stands below it."""

    title: str
    body: Sequence[Markup]

    @property
    def anchor(self) -> str:
        """The heading as an address in the page."""
        return self.title.lower().replace(" ", "-")


def name(text: Any, letters: int = LETTERS) -> str:
    """A name as the page writes it: on one line, without control signs, cut where it is longer."""
    return short(str(text), letters).strip()


def written(value: Any) -> str:
    """The value as HTML."""
    return value.html if isinstance(value, Markup) else html.escape(str(value))


def para(*sentences: Any, kind: str = "") -> Markup:
    """A paragraph of the sentences that are not empty."""
    said = " ".join(written(one) for one in sentences if one != "")
    return Markup(f'<p class="{kind}">{said}</p>' if kind else f"<p>{said}</p>") if said else Markup("")


def heading(text: str) -> Markup:
    """A heading inside a section."""
    return Markup(f"<h3>{html.escape(text)}</h3>")


def bullets(items: Sequence[Markup]) -> Markup:
    """A list."""
    return Markup(f"<ul>{''.join(f'<li>{one.html}</li>' for one in items)}</ul>")


def quiet(text: str) -> Markup:
    """Words in a paler colour."""
    return Markup(f'<span class="quiet">{html.escape(text)}</span>')


def lines(*parts: Any) -> Markup:
    """One below the other."""
    return Markup("<br>".join(f'<span class="whole">{written(one)}</span>' for one in parts))


def beside(*parts: Markup) -> Markup:
    """Side by side where there is room."""
    return Markup(f'<div class="side">{"".join(f"<div>{one.html}</div>" for one in parts)}</div>')


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[Any]], texts: Sequence[int] = ()) -> Markup:
    """A table: the first cell of a row is its header; columns hold numbers but for the first and those in `texts`."""
    kinds = ["" if i in (0, *texts) else ' class="number"' for i in range(len(head))]
    top = "".join(f'<th scope="col"{kind}>{html.escape(one)}</th>' for kind, one in zip(kinds, head, strict=True))
    body = ""
    for row in rows:
        cells = [f"<td{kind}>{written(one)}</td>" for kind, one in zip(kinds[1:], row[1:], strict=True)]
        body += f'<tr><th scope="row">{written(row[0])}</th>{"".join(cells)}</tr>\n'
    told = html.escape(caption)
    return Markup(
        f'<div class="scroll" role="region" tabindex="0" aria-label="{told}"><table><caption>{told}</caption>\n'
        f"<thead><tr>{top}</tr></thead>\n<tbody>\n{body}</tbody></table></div>"
    )


def download(words: str, file: str, text: str) -> Markup:
    """A link that saves a text: it lies in the page. Programs for tables take the first sign for UTF-8."""
    data = base64.b64encode(b"\xef\xbb\xbf" + text.encode("utf-8", "replace")).decode("ascii")
    return Markup(f'<a download="{file}" href="data:text/csv;charset=utf-8;base64,{data}">{html.escape(words)}</a>')


def figure(picture: Picture) -> Markup:
    """A plot with its alternative text, as large as it was drawn; a dark page turns its lightness over."""
    buffer = io.BytesIO()
    with drawing():
        picture.figure.savefig(buffer, format="png", dpi=SHARP * picture.figure.dpi)
    png, width = small_png(Image.open(buffer)), round(picture.figure.bbox.width)
    return Markup(f'<figure><img class="plot" width="{width}" {_image(png, "png", picture.text)}></figure>')


def thumbnail(image: np.ndarray, alt: str) -> Markup:
    """An image (H, W), (H, W, 1) or (H, W, 3) uint8, made small where it is large."""
    pixels = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
    made, buffer = Image.fromarray(np.ascontiguousarray(pixels)), io.BytesIO()
    small = max(made.size) <= THUMB // 2
    if not small:
        made.thumbnail((THUMB, THUMB))
    made.save(buffer, **({"format": "png", "optimize": True} if small else {"format": "jpeg", "quality": 85}))
    kind = ' class="small"' if small else ""
    return Markup(f"<img{kind} {_image(buffer.getvalue(), 'png' if small else 'jpeg', alt)}>")


def thumbnails(images: Sequence[Markup]) -> Markup:
    """Small images in a row."""
    return Markup(f'<div class="thumbs">{"".join(one.html for one in images)}</div>')


def _image(data: bytes, kind: str, alt: str) -> str:
    return f'alt="{html.escape(alt)}" src="data:image/{kind};base64,{base64.b64encode(data).decode("ascii")}"'


def page(title: str, sections: Sequence[Section], footer: str) -> str:
    """The whole page."""
    contents = "\n".join(f'<li><a href="#{one.anchor}">{html.escape(one.title)}</a></li>' for one in sections)
    parts = "\n".join(
        f'<section aria-labelledby="{one.anchor}">\n<h2 id="{one.anchor}">{html.escape(one.title)}</h2>\n'
        + "\n".join(part.html for part in one.body if part.html)
        + "\n</section>"
        for one in sections
    )
    told = para(footer).html
    return _PAGE.format(title=html.escape(title), css=CSS, contents=contents, sections=parts, footer=told)
