"""The first page, the glossary, and the methods: each with its equation, its settings and the anatomy of its loss."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ltviz as lt
from ltviz.methods import METHODS
from ltviz.objective import Method

from ..readme import CHAPTERS
from . import markup
from .chapters import explorer
from .explorers import SMALL, Job
from .page import Page

WELCOME = """# Learning from long-tailed data

A few classes have most of the images, most classes have few: what does each loss do about it, and who pays?
These pages are the chapters of the course as they were last run, with their figures. Explorers can be moved here,
without Python. What trains a network, and the exercises that check themselves, need Python.

## Chapters
"""
BEGIN = """## How to start

The chapters are JupyterLab notebooks. Python 3.11 or newer, git and make are all that has to be there:

```sh
make lab
```

In a copy of the repository, this makes the environment if needed and opens the first chapter. The first time it
installs PyTorch and takes minutes. Afterwards everything runs offline, on a laptop.

## To look things up

* [Methods](methods.html): every loss, sampler and rule with its equation, its settings and its curve.
* [Glossary](glossary.html): one word for one thing.
"""


def first(chapters: Sequence[Page]) -> Page:
    """The first page: what this is, the chapters with the question of each, how to start."""
    questions = {file: question for file, _, question in lt.study.cards.COURSE}
    items = "".join(
        f'<li><a href="{one.file}"><b>{html.escape(one.title)}</b></a>'
        f"<br>{html.escape(questions.get(one.file.removesuffix('.html'), ''))}</li>"
        for one in chapters
    )
    begin = markup.markdown(BEGIN).replace('id="how-to-start"', 'id="start"')
    body = f'{markup.markdown(WELCOME)}<ul class="course">{items}</ul>\n{begin}'
    return Page("index.html", "ltviz", body, [{"t": "How to start", "u": "index.html#start", "x": "make lab Python"}])


def glossary(path: Path) -> Page:
    """The glossary; each of its words has an address."""
    text, page = path.read_text(encoding="utf-8"), Page("glossary.html", "Glossary", "")

    def named(row: re.Match[str]) -> str:
        word = row[1]
        return f'<tr id="{markup.slug(word)}">\n  <td><strong>{word}</strong>'

    page.body = re.sub(r"<tr>\s*<td><strong>(.+?)</strong>", named, markup.linked(markup.markdown(text)))
    page.body = page.body.replace('<div class="scroll"', '<div class="scroll rows words"')
    for word, meaning in re.findall(r"(?m)^\| \*\*(.+?)\*\* \| (.+?) \|", text):
        page.entries.append({"t": f"Glossary: {word}", "u": f"glossary.html#{markup.slug(word)}",
                             "x": markup.plain(meaning)})  # fmt: skip
    return page


# ---------------------------------------------------------------------------------------------------------- the methods
def jobs(keys: Iterable[str]) -> dict[str, Job]:
    """The anatomy of the loss of each of these methods."""
    return {key: Job("loss_anatomy", "", f"lt.explore.loss_anatomy({key!r})", SMALL) for key in keys}


def methods(keys: Iterable[str]) -> Page:
    """The index of methods: title, paper, and what each does in a sentence."""
    rows = []
    for one in sorted((METHODS[key] for key in keys), key=lambda one: one.title.lower()):
        cells = (f'<a href="methods/{one.key}.html">{html.escape(one.title)}</a>', html.escape(one.paper),
                 markup.mathematics(one.equation))  # fmt: skip
        rows.append("".join(f"<td>{cell}</td>" for cell in cells))
    said = ("Each has a page with its settings and the anatomy of its loss: loss and gradient of one image against the "
            "probability of its class.")  # fmt: skip
    return Page(
        "methods.html", "Methods", f"<h1>Methods</h1><p>{said}</p>{_table(('method', 'paper', 'equation'), rows)}"
    )


def _table(heads: Sequence[str], rows: Sequence[str]) -> str:
    head, body = "".join(f"<th>{one}</th>" for one in heads), "".join(f"<tr>{row}</tr>" for row in rows)
    return (f'<div class="scroll rows" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody>'
            "</table></div>")  # fmt: skip


def method(key: str, drawn: Mapping[str, Any] | None, taught: Sequence[str]) -> Page:
    """The page of a method. taught: the chapters that are on the site."""
    one = METHODS[key]
    page = Page(f"methods/{key}.html", one.title, "")
    where = next((name for name, keys in CHAPTERS.items() if key in keys.split()), None)
    titles = {file: f"{file[:2]} · {title}" for file, title, _ in lt.study.cards.COURSE}
    parts = [f"<h1>{html.escape(one.title)}</h1>", f"<p>{html.escape(one.paper)}.",
             f' Chapter: <a href="../{where}.html">{html.escape(titles[where])}</a>.' if where in taught else "",
             "</p>", markup.mathematics(one.equation, block=True), _said(one), _settings(one)]  # fmt: skip
    if drawn:
        parts.append(explorer(page, "loss_anatomy", drawn, None))
    call = f'import ltviz as lt\n\nrun = lt.train("{key}", lt.digits_lt(), seed=0)\nlt.explore.loss_anatomy("{key}")'
    parts += ["<h2>In Python</h2>", markup.code(call)]
    if one.citation:
        parts += ["<h2>To cite</h2>", f'<div class="wraps">{markup.code(one.citation, "text")}</div>']
    page.body = "\n".join(parts)
    words = f"{one.paper}. {' '.join(one.doc.replace('`', '').split())}"
    page.entries = [{"t": f"Method: {one.title}", "u": page.file, "x": words,
                     "k": " ".join([key, *one.aliases, *one.settings])}]  # fmt: skip
    return page


def _said(one: Method) -> str:
    """What the docstring of the objective says."""
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(one.doc.strip()))
    return "".join(f"<p>{part.strip()}</p>" for part in re.split(r"\n\s*\n", text) if part.strip())


def _settings(one: Method) -> str:
    if not one.settings:
        return "<p>It has no settings.</p>"
    rows = []
    for name, setting in one.settings.items():
        span = " or ".join(map(str, setting.choices)) if setting.choices else f"{setting.low:g} to {setting.high:g}"
        symbol = markup.mathematics(setting.symbol) if setting.symbol else ""
        default, span, meaning = map(html.escape, (str(setting.default), span, setting.meaning))
        rows.append(f'<td><code>{name}</code></td><td>{symbol}</td><td data-head="default">{default}</td>'
                    f'<td data-head="range">{span}</td><td>{meaning}</td>')  # fmt: skip
    return "<h2>Settings</h2>" + _table(("setting", "symbol", "default", "range", "meaning"), rows)
