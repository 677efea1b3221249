"""What every page of the site shares: its head, its bar, and what may be loaded."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field

from ltviz.explore.export import GLUE
from ltviz.explore.screen import CSS, SCRIPT
from ltviz.study.answer import CSS as CARDS

from .markup import looks

# Only files of the site itself: "file:" is what "self" means where pages are opened from disk in some browsers.
POLICY = (
    "default-src 'none'; script-src 'self' file:; style-src 'self' file: 'unsafe-inline'; "
    "img-src 'self' file: data: blob:; base-uri 'none'; form-action 'none'"
)
START = "make lab"
PAGE = """<!doctype html>
<html lang="en" data-jp-theme-light="true">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{root}assets/site.css">
<script src="{root}assets/theme.js"></script>
<script defer src="{root}assets/screen.js"></script>
<script defer src="{root}assets/site.js"></script>
</head>
<body data-root="{root}">
<a class="skip" href="#content">To the text</a>
<header>
<nav aria-label="Site"><a class="home" href="{root}index.html">ltviz</a>
<a href="{root}index.html#chapters">Chapters</a>
<a href="{root}methods.html">Methods</a>
<a href="{root}glossary.html">Glossary</a></nav>
<div class="tools"><div class="search" role="search"><input type="search" id="search" aria-label="Search the course"
 placeholder="Search" autocomplete="off"><div id="found" role="status" hidden></div></div>
<button type="button" id="theme" aria-label="Light or dark">◐</button>
<a class="up" href="#content" aria-label="To the beginning of the page">↑</a></div>
</header>
<main id="content">
{body}
</main>
</body>
</html>
"""


@dataclass
class Page:
    """A page to be: file name, title, HTML of its text, entries for the search, scripts of its explorers by name."""

    file: str
    title: str
    body: str
    entries: list[dict[str, str]] = field(default_factory=list)
    scripts: dict[str, str] = field(default_factory=dict)

    def html(self) -> str:
        """The whole file."""
        title = self.title if self.title == "ltviz" else f"{self.title} · ltviz"
        root = "../" * self.file.count("/")
        return PAGE.format(policy=POLICY, title=html.escape(title), root=root, body=self.body)


def needs_python(what: str, file: str = "") -> str:
    """A note: this part needs Python, and how to start it."""
    there = f" and open <code>{html.escape(file)}</code>" if file else ""
    return (
        f'<div class="python"><b>{html.escape(what)}</b> This part needs Python: in a copy of the repository run '
        f'<code>{START}</code>{there}. <a href="index.html#start">How to start</a></div>'
    )


def here(moves: str, *said: str) -> str:
    """A note at the head of what an explorer's text asks for: what moves on a page, and what only the notebook has."""
    rest = " ".join(one for one in said if one)
    return f'<div class="python here"><b>On this page</b> you can move {moves} in the explorer below. {rest}</div>'


def contents(headings: Sequence[tuple[int, str, str]]) -> str:
    """The parts of a page, folded."""
    items = "".join(f'<li><a href="#{name}">{text}</a></li>' for level, name, text in headings if level == 2)
    return f'<details class="contents"><summary>On this page</summary><ul>{items}</ul></details>' if items else ""


def assets(style: str, theme: str, script: str) -> dict[str, str]:
    """The files that all pages load, by name: the style of screens, cards, code and the site; the module of screens."""
    module = SCRIPT.replace("export default { render };", "")
    if module == SCRIPT:
        raise ValueError("screen.js: expected its last line to be `export default { render };`")
    return {
        "site.css": "\n".join([CSS, CARDS, looks(), style]),
        "theme.js": theme,
        "screen.js": f"(() => {{\n{module}\n{GLUE}\nwindow.ltvizMount = mount;\n}})();\n",
        "site.js": script,
    }
