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

# Legible in a light and a dark theme: text takes the page's colour, backgrounds are translucent, and these colours of
# labels have a contrast of about 4 with white and with black.
COLOURS = {
    "chapter": "#4074d8",
    "predict": "#c2640a",
    "exercise": "#0f8a8a",
    "check": "#8f5fd6",
    "right": "#2b8a3e",
    "wrong": "#d43a3a",
    "note": "#7a7f87",
}

MARKED = r"(\$[^$]+\$|`[^`]+`)"  # mathematics and code, inside which no other mark counts
LINK = r"\[([^\]]+)\]\(([^)\s]+)\)"
BOLD = r"\*\*(.+?)\*\*"
ITALIC = r"(?<!\*)\*([^*\s][^*]*)\*"


def inline(text: str) -> str:
    """HTML of a line of text with **bold**, *italic*, `code`, [links](address) and $mathematics$ (kept as it is)."""
    return "".join(_span(part) for part in re.split(MARKED, text))


def _span(part: str) -> str:
    if part.startswith("`") and part.endswith("`") and len(part) > 1:
        return f"<code>{html.escape(part[1:-1])}</code>"
    escaped = html.escape(part, quote=False)
    if part.startswith("$"):
        return escaped
    escaped = re.sub(LINK, r'<a href="\2">\1</a>', escaped)
    return re.sub(ITALIC, r"<i>\1</i>", re.sub(BOLD, r"<b>\1</b>", escaped))


def plain(text: str) -> str:
    """The same line without its marks: for screen readers, terminals and the labels of controls."""
    parts = [part if part.startswith("$") else _bare(part) for part in re.split(MARKED, text)]
    return "".join(parts)


def _bare(part: str) -> str:
    if part.startswith("`"):
        return part.strip("`")
    return re.sub(ITALIC, r"\1", re.sub(BOLD, r"\1", re.sub(LINK, r"\1", part)))


def box(kind: str, label: str, title: str, body: str) -> str:
    """HTML of a card: a coloured edge, a label in words (colour is never the only cue), a title and a body."""
    colour = COLOURS[kind]
    small = f"color:{colour};font-weight:700;letter-spacing:.06em;font-size:.8em;margin-bottom:.1em"
    head = f'<div style="{small}">{html.escape(label)}</div>'
    if title:
        head += f'<div style="font-weight:600;font-size:1.1em;margin:.15em 0 .35em 0">{inline(title)}</div>'
    return (
        f'<div style="border-left:5px solid {colour};background:{colour}14;padding:.7em 1.1em;margin:.3em 0;'
        f'border-radius:4px;line-height:1.5;width:56em;max-width:100%;box-sizing:border-box">{head}{body}</div>'
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
    alt = html.escape(str(getattr(picture, "text", "")), quote=True)
    return (
        f'<img alt="{alt}" src="data:image/png;base64,{data.strip()}" '
        f'style="max-width:100%;{_width(picture)}background:white;border-radius:4px">'
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
    raise TypeError(
        f"cannot show a {type(content).__name__}: give a picture (what plot_* returns), a card, a table or a text"
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

    Subclasses write `static() -> Card`. The page is made when the panel is displayed and saved with the notebook.
    """

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
    return widgets.HTMLMath(text, layout=widgets.Layout(margin="0", width="100%"))


def say(*lines: str) -> Card:
    """Sentences whose figures were computed in the cell: `say(f"accuracy {run.accuracy:.1%}")`. A line a paragraph."""
    return Card(
        html="".join(f"<p>{inline(line)}</p>" for line in lines),
        text="\n".join(plain(line) for line in lines),
        markdown="\n\n".join(lines),
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
) -> Card:
    """The header card of a chapter.

    objectives      what the reader can do afterwards, one line each
    prerequisites   what they should know, or the chapters to read first
    reading         minutes it takes to read and play
    computing       what "Run All" costs on a laptop CPU, e.g. "under a minute"
    papers          one line a paper, with its equation numbers: "Cui et al. 2019, eq. (2)-(4): ..."
    data            what is needed, and where it comes from
    """
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
    return Card(box("chapter", "CHAPTER", title, body), "\n".join(text))


# (file, title, the question it answers). The map links the chapters whose notebook is there.
COURSE = (
    ("00_start_here", "Start here", "What does a long tail do to a network, and can one control undo it?"),
    ("01_long_tails", "Long tails", "What is a long tail, and which metrics hide it?"),
    ("02_what_softmax_learns", "What softmax learns", "Where in the network does the imbalance sit?"),
    ("03_class_balanced_loss", "Class-balanced loss", "How much is one more image of a class worth?"),
    ("04_focal_loss", "Focal loss", "Is rare the same as hard?"),
    ("05_dual_loss", "Dual loss", "What if every feature and every weight had the same length?"),
    ("06_margins_and_norms", "Margins and norms", "How far should a class keep from its border?"),
    ("07_class_rectification", "Class rectification", "What can one batch tell about the minorities?"),
    ("08_class_difficulty", "Class difficulty", "Should weights follow counts, or accuracy?"),
    ("09_rebalance_after_the_fact", "Rebalance after the fact", "Can a finished network be repaired?"),
)


def course(folder: str | Path | None = None) -> Card:
    """The map of the course. A chapter is a link where its notebook lies in `folder` (default: the notebooks)."""
    folder = Path(folder) if folder else Path(__file__).parents[2] / "notebooks"
    cells, lines = [], []
    for file, title, question in COURSE:
        here = (folder / f"{file}.ipynb").exists()
        number, edge = file[:2], COLOURS["chapter" if here else "note"]
        name = f'<a href="{file}.ipynb"><b>{title}</b></a>' if here else f"<b>{title}</b> <i>(in preparation)</i>"
        cells.append(
            f'<div style="border-top:4px solid {edge};background:{edge}14;padding:.5em .8em;border-radius:4px;'
            f'display:inline-block;vertical-align:top;width:15em;min-height:6.4em;margin:.3em">'
            f'<span style="opacity:.75">{number}</span> {name}<br>{question}</div>'
        )
        lines.append(f"{number} {title}{'' if here else ' (in preparation)'}: {question}")
    return Card("<div>" + "".join(cells) + "</div>", "\n".join(lines))
