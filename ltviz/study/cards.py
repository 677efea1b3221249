"""Static pieces: cards of HTML that carry the same words as plain text, and the panel that widgets sit in."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from .. import check
from ..explore.controls import close
from ..explore.notebook import take_place
from . import progress

# Legible in a light and a dark theme: text takes the page's colour and backgrounds are translucent. White labels stand
# on these colours with a contrast of at least 4.5, and edges in them have at least 3 with a white and a black page.
COLOURS = {
    "chapter": "#2f6bd0",
    "predict": "#b5540a",
    "exercise": "#0b7a78",
    "check": "#7d4fc9",
    "right": "#2a7f3b",
    "wrong": "#cc3434",
    "note": "#6a707a",
}

# A link shows as one inside a widget too, where JupyterLab styles none, and does not take the notebook away.
LINKED = 'target="_blank" rel="noopener" style="color:var(--jp-content-link-color,#1565c0);text-decoration:underline"'

MARKED = r"(\$[^$]+\$|`[^`]+`)"  # mathematics and code, inside which no other mark counts
LINK = r"\[([^\]]+)\]\(([^)\s]+)\)"
BOLD = r"\*\*(.+?)\*\*"
ITALIC = r"(?<!\*)\*([^*\s][^*]*)\*"
MARKS = "\\`*[]$"  # what a backslash before it takes the meaning from
_HIDDEN = {mark: chr(0xE000 + ord(mark)) for mark in MARKS}  # how such a mark is written while the others are read
_SHOWN = {hidden: mark for mark, hidden in _HIDDEN.items()}


def safe(text: Any) -> str:
    """Text of any origin as HTML that shows it: the one place where <, >, & and quotes are taken their meaning."""
    return html.escape(str(text), quote=True)


def literal(text: Any) -> str:
    """A name of any origin, such as a run's label, for a line of text with marks: none of its signs is one."""
    return "".join(f"\\{c}" if c in MARKS else c for c in " ".join(str(text).split()))


def _hide(text: str) -> str:
    return re.sub(r"\\([\\`*\[\]$])", lambda found: _HIDDEN[found[1]], str(text))


def _unhide(text: str, before: str = "") -> str:
    return "".join(before + _SHOWN[c] if c in _SHOWN else c for c in text)


def inline(text: str) -> str:
    """HTML of a line of text with **bold**, *italic*, `code`, [links](address) and $mathematics$ (kept as it is).

    A backslash takes the meaning from a mark. Nothing else in the text is HTML; a link leads to a page of the web or to
    a place beside this one, or is none.
    """
    parts, kept = _lift(text)
    line = re.sub(LINK, _link, safe(parts))
    line = _unhide(re.sub(ITALIC, r"<i>\1</i>", re.sub(BOLD, r"<b>\1</b>", line)))
    return _put_back(line, [_span(part) for part in kept])


def _lift(text: str) -> tuple[str, list[str]]:
    """The line with a private sign in the place of each piece of code or mathematics, and these pieces: so that bold
    text can hold them."""
    kept: list[str] = []
    clean = "".join(c for c in _hide(text) if not _FIRST <= ord(c) < _FIRST + _ROOM)

    def lift(found: re.Match[str]) -> str:
        if len(kept) == _ROOM:
            return found[0]
        kept.append(found[0])
        return chr(_FIRST + len(kept) - 1)

    return re.sub(MARKED, lift, clean), kept


_FIRST, _ROOM = 0xF000, 0x800  # of the signs that stand for code and mathematics


def _put_back(line: str, kept: list[str]) -> str:
    return "".join(kept[ord(c) - _FIRST] if _FIRST <= ord(c) < _FIRST + len(kept) else c for c in line)


def _span(part: str) -> str:
    """HTML of a piece of code or mathematics."""
    if _is_code(part):
        return f"<code>{safe(_unhide(part[1:-1], before=_BACKSLASH))}</code>"
    return _unhide(safe(part), before=_BACKSLASH)


_BACKSLASH = "\\"


def _is_code(part: str) -> bool:
    return part.startswith("`") and part.endswith("`") and len(part) > 1


def _link(found: re.Match[str]) -> str:
    """A link of escaped text, or its words alone where its address may not be followed."""
    return f'<a href="{found[2]}" {LINKED}>{found[1]}</a>' if _may_follow(html.unescape(found[2])) else found[1]


def _may_follow(address: str) -> bool:
    """Whether an address is one of http or https, or relative: nothing before its first slash may be a scheme."""
    if not address.isprintable():
        return False
    return bool(re.match(r"(?i)https?://", address)) or ":" not in address.partition("/")[0]


_TAG = r"<(?=[A-Za-z/!?])"  # what opens a tag; "p < 0.001" does not


def markdown(text: str) -> str:
    """Markdown of the same line, in which no sign opens a tag, and no link leads elsewhere than `inline` allows."""
    return "".join(_mark(part) for part in re.split(MARKED, _hide(text)))


def _mark(part: str) -> str:
    if _is_code(part):
        code = _unhide(part, before=_BACKSLASH)
        return f"<code>{safe(code[1:-1])}</code>" if re.search(rf"{_TAG}|\n", code) else code
    if part.startswith("$"):
        return _unhide(re.sub(_TAG, r"\\lt ", part), before=_BACKSLASH)
    part = re.sub(LINK, lambda found: found[0] if _may_follow(found[2]) else found[1], part)
    part = re.sub(_TAG, "&lt;", re.sub(r"&(?=#?\w+;)", "&amp;", part))
    part = part.replace("![", "&#33;[")  # no picture from elsewhere
    part = re.sub(r"(?m)^(\s*\[[^\]]+\]):", r"\1&#58;", part)  # nor the address of a link, apart from it
    return _unhide(part, before=_BACKSLASH)


def plain(text: str) -> str:
    """The same line without its marks: for screen readers, terminals and the labels of controls."""
    parts, kept = _lift(text)
    line = _unhide(re.sub(ITALIC, r"\1", re.sub(BOLD, r"\1", re.sub(LINK, r"\1", parts))))
    return _put_back(line, [_unhide(part.strip("`") if _is_code(part) else part, before=_BACKSLASH) for part in kept])


def heading(label: str, title: str, kind: str) -> str:
    """HTML of a label in words on the colour of its kind (colour is never the only cue), and a title below it."""
    small = (f"background-color:{COLOURS[kind]};color:#ffffff;font-weight:700;letter-spacing:.06em;font-size:.8em;"
             "padding:.1em .5em;border-radius:3px")  # fmt: skip
    head = f'<div><span style="{small}">{safe(label)}</span></div>'
    return head + (f'<div style="font-weight:600;font-size:1.1em;margin:.25em 0 .35em 0">{inline(title)}</div>'
                   if title else "")  # fmt: skip


def box(kind: str, label: str, title: str, body: str) -> str:
    """HTML of a card: a coloured edge, a label in words, a title and a body."""
    colour = COLOURS[kind]
    return (
        f'<div style="border-left:5px solid {colour};background:{colour}14;padding:.7em 1.1em;margin:.3em 0;'
        f'border-radius:4px;line-height:1.5;width:56em;max-width:100%;box-sizing:border-box">'
        f"{heading(label, title, kind)}{body}</div>"
    )


def fold(summary: str, body: str) -> str:
    """HTML that stays closed until the reader opens it: works by keyboard, without a kernel and on the web."""
    return (
        f'<details style="margin:.4em 0"><summary style="cursor:pointer"><b>{inline(summary)}</b></summary>'
        f'<div style="margin:.3em 0 .3em 1.2em">{body}</div></details>'
    )


def bullets(lines: Iterable[str]) -> str:
    """HTML list of lines of text."""
    return '<ul style="margin:.2em 0;padding-left:1.4em">' + "".join(f"<li>{inline(s)}</li>" for s in lines) + "</ul>"


def image(picture: Any) -> str:
    """HTML of a picture (anything with `_repr_png_`, such as what a plot returns); its sentence is the alternative."""
    png = picture._repr_png_()
    if isinstance(png, tuple):
        png = png[0]
    data = png if isinstance(png, str) else base64.b64encode(png).decode()
    # A dark theme turns a picture over, but for one with photographs, which brings a second one along.
    kind, dark = "" if getattr(picture, "photographs", True) else 'class="ltviz-picture" ', ""
    if getattr(picture, "photographs", False):
        turned = base64.b64encode(picture.dark_png()).decode()
        kind, dark = 'class="ltviz-photographs" ', f"--dark:url(data:image/png;base64,{turned});"
    return (
        f'<img {kind}alt="{safe(getattr(picture, "text", ""))}" src="data:image/png;base64,{safe(data.strip())}" '
        f'style="max-width:100%;{_width(picture)}{dark}background:white;border-radius:4px">'
    )


def _width(picture: Any) -> str:
    # Plots are saved with more pixels than they are shown with; their own bundle says how wide they want to be.
    bundle = picture._repr_mimebundle_() if hasattr(picture, "_repr_mimebundle_") else None
    metadata = bundle[1] if isinstance(bundle, tuple) else {}
    width = metadata.get("image/png", {}).get("width")
    return f"width:{int(width)}px;" if width else ""


def show(content: Any) -> str:
    """HTML of what a chapter reveals: a picture, a card, a table, a line of text, or a list of these."""
    if isinstance(content, (list, tuple)):
        return "".join(f'<div style="margin:.4em 0">{show(part)}</div>' for part in content)
    if isinstance(content, str):
        return f"<p>{inline(content)}</p>"
    if isinstance(content, Card):
        return content.html
    if hasattr(content, "_repr_png_"):
        return image(content)
    if hasattr(content, "_repr_html_"):
        return content._repr_html_()
    raise ValueError(
        f"content: cannot show a {type(content).__name__}; give a picture (what plot_* returns), a card, a table, text"
    )


def sentence(content: Any) -> str:
    """Plain text of the same."""
    if isinstance(content, (list, tuple)):
        return "\n".join(sentence(part) for part in content)
    return plain(content) if isinstance(content, str) else str(getattr(content, "text", content))


@dataclass(frozen=True)
class Card:
    """Something to read: shows itself as HTML (Markdown for a plain sentence) and as text."""

    html: str
    text: str
    markdown: str = ""

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        shown = {"text/markdown": self.markdown} if self.markdown else {"text/html": self.html}
        return {"text/plain": self.text, **shown}


class Panel(widgets.VBox):
    """A box of widgets that carries a static page with it, for readers without a kernel.

    Subclasses write `static() -> Card`. The page is made when the panel is displayed and saved with the notebook. A
    cell that runs again closes the panel it made before.
    """

    def __init__(self, children: Sequence[widgets.Widget]):
        super().__init__(children)
        self.add_class("ltviz-card")
        take_place(self, close)

    def static(self) -> Card:
        raise TypeError(f"{type(self).__name__} must define static()")

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        page = self.static()._repr_mimebundle_()
        if isinstance(bundle, tuple):
            return {**bundle[0], **page}, bundle[1]
        return {**bundle, **page}

    def __repr__(self) -> str:
        return self.static().text


def prose(text: str) -> widgets.HTMLMath:
    """A widget that shows HTML with mathematics in it."""
    # As a block: in the row that it is by default, a card keeps its full width in a narrow window, and is cut.
    return widgets.HTMLMath(text, layout=widgets.Layout(margin="0", width="100%", display="block"))


def say(*lines: str) -> Card:
    """Sentences whose figures were computed in the cell: `say(f"accuracy {run.accuracy:.1%}")`. A line a paragraph."""
    if not lines:
        raise check.refuse("lines", lines, "at least one sentence")
    lines = tuple(check.text("lines", line) for line in lines)
    return Card(
        html="".join(f"<p>{inline(line)}</p>" for line in lines),
        text="\n".join(plain(line) for line in lines),
        markdown="\n\n".join(map(markdown, lines)),
    )


def chapter(
    title: str,
    *,
    objectives: Sequence[str],
    prerequisites: Sequence[str] = (),
    reading: int,
    computing: str,
    papers: Sequence[str] = (),
    data: str = "",
) -> Chapter:
    """The header card of a chapter. Once the reader has answered something, it says how far they are.

    objectives      what the reader can do afterwards, one line each
    prerequisites   what they should know, or the chapters to read first
    reading         minutes it takes to read and play
    computing       what "Run All" costs on a laptop CPU, e.g. "under a minute"
    papers          one line a paper, with its equation numbers: "Cui et al. 2019, eq. (2)-(4): ..."
    data            what is needed, and where it comes from
    """
    title, computing = check.text("title", title), check.text("computing", computing)
    reading = check.whole("reading", reading, 1)
    objectives = texts("objectives", objectives)
    prerequisites, papers = texts("prerequisites", prerequisites, 0), texts("papers", papers, 0)
    data = check.text("data", data) if data != "" else ""
    facts = [("Time", f"about {reading} minutes of reading and playing; computing: {computing} on two CPU cores")]
    if data:
        facts.append(("Data", data))
    parts = [("After this chapter you can", bullets(objectives), [f"- {s}" for s in objectives])]
    if prerequisites:
        parts.append(("Good to know first", bullets(prerequisites), [f"- {s}" for s in prerequisites]))
    if papers:
        parts.append(("Papers and their equations", bullets(papers), [f"- {s}" for s in papers]))
    body = "".join(f'<div style="margin-top:.4em"><b>{name}</b>{content}</div>' for name, content, _ in parts)
    body += "".join(f'<div style="margin-top:.4em"><b>{name}.</b> {inline(value)}</div>' for name, value in facts)
    text = [plain(title)]
    for name, _, lines in parts:
        text += [f"{name}:", *map(plain, lines)]
    text += [f"{name}: {plain(value)}" for name, value in facts]
    progress.begin(plain(title))
    return Chapter(title, body, "\n".join(text))


class Chapter(Panel):
    """The header card of a chapter, with the reader's progress, which follows their answers."""

    def __init__(self, title: str, body: str, text: str):
        self.title, self.body, self.words = title, body, text
        self.page = prose("")
        super().__init__([self.page])
        progress.follow(self)
        self.refresh()

    def refresh(self) -> None:
        """Say how far the reader is now."""
        self.page.value = self.html

    @property
    def html(self) -> str:
        said = progress.summary()
        line = f'<div style="margin-top:.4em"><b>Your progress.</b> {safe(said)}</div>' if said else ""
        return box("chapter", "CHAPTER", self.title, self.body + line)

    @property
    def text(self) -> str:
        said = progress.summary()
        return self.words + (f"\nYour progress: {said}" if said else "")

    def static(self) -> Card:
        return Card(self.html, self.text)


def texts(name: str, value: Any, least: int = 1) -> tuple[str, ...]:
    """Several lines of text. ValueError, by name, for one text alone, for fewer, and for what is no text."""
    if not isinstance(value, (list, tuple)) or len(value) < least:
        raise check.refuse(name, value, f"a list of {'texts' if least < 2 else f'at least {least} texts'}")
    return tuple(check.text(f"{name}[{i}]", line) for i, line in enumerate(value))


# (file, title, the question it answers). The map links the chapters whose notebook is there.
COURSE = (
    ("00_start_here", "Start here", "What does a long tail do to a network, and who pays when one number counters it?"),
    (
        "01_long_tails",
        "Long tails",
        "What is a long tail, which metrics hide it, and when can you believe a difference?",
    ),
    (
        "02_what_softmax_learns",
        "What softmax learns",
        "Which class pulls on which classifier vector, and where does that show?",
    ),
    ("03_decide_again", "Decide again", "What can a finished network still become, and for which world?"),
    ("04_class_balanced_loss", "Class-balanced loss", "How much is one more image of a class worth?"),
    ("05_focal_loss", "Focal loss", "Is rare the same as hard?"),
    (
        "06_margins_and_deferral",
        "Margins and deferral",
        "How far should a class keep from its border, and from when on?",
    ),
    ("07_dual_loss", "Dual loss", "What if all features, and all classifier vectors, had the same length?"),
    ("08_class_rectification", "Class rectification", "What can one batch tell about rare classes?"),
    ("09_class_difficulty", "Class difficulty", "Should class weights follow counts, or accuracy?"),
    ("10_your_own_data", "Your own data", "Which remedy is worth its training on your own images?"),
    ("11_recognition", "Recognition", "What is a network worth on identities that it has never seen?"),
    ("12_attributes", "Attributes", "What if every image answers twelve questions, each with its own imbalance?"),
    ("13_against_the_papers", "Against the papers", "What does a published number tell about a method?"),
    ("14_tuning_lab", "Tuning lab", "Will the best of many trials keep what it promises?"),
)


def course(folder: str | Path | None = None) -> Card:
    """The map of the course. A chapter is a link where its notebook lies in `folder` (default: the notebooks)."""
    folder = check.path("folder", folder) if folder is not None else Path(__file__).parents[2] / "notebooks"
    cells, lines = [], []
    for file, title, question in COURSE:
        here = (folder / f"{file}.ipynb").exists()
        number, edge = file[:2], COLOURS["chapter" if here else "note"]
        name = f'<a href="{file}.ipynb" {LINKED}><b>{title}</b></a>' if here else f"<b>{title}</b> <i>(planned)</i>"
        cells.append(
            f'<div style="border-top:4px solid {edge};background:{edge}14;padding:.5em .8em;border-radius:4px">'
            f'<span style="opacity:.75">{number}</span> {name}<br>{question}</div>'
        )
        lines.append(f"{number} {title}{'' if here else ' (planned)'}: {question}")
    grid = "display:grid;grid-template-columns:repeat(auto-fill,minmax(15em,1fr));gap:.6em;max-width:64em"
    return Card(f'<div style="{grid}">{"".join(cells)}</div>', "\n".join(lines))
