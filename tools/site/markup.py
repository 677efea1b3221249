"""Markdown, mathematics, code and kept outputs as HTML that needs nothing from elsewhere."""

from __future__ import annotations

import html
import re

from latex2mathml.converter import convert
from nbconvert.filters.ansi import ansi2html
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name

from ltviz.study.cards import COURSE

from . import photographs

MATH = re.compile(r"\$\$(?P<block>.+?)\$\$|(?<![\\$])\$(?P<line>[^$\n]+?)\$", re.DOTALL)
# A comment, or a tag with its attributes: between quotes a > ends nothing.
TAG = re.compile(r"""(<!--.*?-->|</?[A-Za-z](?:"[^"]*"|'[^']*'|[^'">])*>)""", re.DOTALL)
VERBATIM = ("code", "pre", "script", "style", "math")
# The converter does not know this name alone.
BARE = re.compile(r"<mi>\\arg</mi>")
# The bars of a norm or an absolute value: without a word on it, a browser makes them as tall as the whole line.
BARS = re.compile(r"<mo>(&#x02016;|&#x0007C;)</mo>")
# Brackets of the size \big, which is about that of the letters: drawn smaller where an exponent follows.
BIG = re.compile(r'<mo[^>]* minsize="1\.2em"[^>]*>([()\[\]])</mo>')
CHAPTERS = {file[:2]: file for file, *_ in COURSE}
MENTION = re.compile(r"\b[Cc]hapters?[ \xa0]\d\d(?:(?:,? and |,? to |, |–)\d\d)*\b(?!\.\d)")
LINKED = (*VERBATIM, "a", "summary", "h1", "h2", "h3", "h4", "button")  # where no link is put in
GUESS = re.compile(r"An example guess: <b>.*?</b>\. (The answer: <b>.*?</b>\.)[^<]*")
LABEL = r">(?:A SURPRISE|AS PREDICTED)<"
VERDICT = re.compile(rf"{LABEL}(?=(?:(?!{LABEL}).)*?An example guess: )", re.DOTALL)
NAMES = ("alpha beta gamma delta epsilon zeta eta theta kappa lambda mu nu xi pi rho sigma tau phi chi psi omega "
         "Delta Theta Lambda Sigma Phi Psi Omega").split()  # fmt: skip
SPOKEN = {"log": "log", "exp": "exp", "min": "min", "max": "max", "cos": "cos", "le": "≤", "ge": "≥", "times": "×",
          "cdot": "·", "dots": "…", "approx": "≈", "sum": "Σ", "pm": "±", "to": "→", "ell": "ℓ"}  # fmt: skip
SIGNS = dict(zip(NAMES, "αβγδεζηθκλμνξπρστφχψωΔΘΛΣΦΨΩ", strict=True))


def mathematics(latex: str, block: bool = False) -> str:
    """LaTeX, without its dollar signs, as MathML. ValueError for a command that has none."""
    latex = latex.strip()
    made = BARE.sub("<mi>arg</mi>", convert(latex, display="block" if block else "inline"))
    made = BIG.sub(r'<mo stretchy="false">\1</mo>', BARS.sub(r'<mo stretchy="false">\1</mo>', made))
    if "<mi>\\" in made or "<mtext>\\" in made:
        raise ValueError(f"latex={latex!r}: expected commands that can be written as MathML; {made}")
    return f'<div class="scroll formula" tabindex="0">{made}</div>' if block else made


def code(text: str, language: str = "python") -> str:
    """Highlighted code."""
    made = highlight(text, get_lexer_by_name(language), HtmlFormatter())
    return made.replace("<pre>", '<pre tabindex="0">', 1)  # it scrolls by keyboard too


def slug(text: str) -> str:
    """The name of a heading in an address."""
    words = re.sub(r"<math.*?</math>|<[^>]+>|&[#\w]+;", "", text)
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-") or "part"


def address(url: str) -> str:
    """Where a link of a notebook leads on the site."""
    name, mark, place = url.partition("#")
    name = name.removeprefix("notebooks/")
    if re.match(r"(?i)[a-z]+:", name) or "/" in name:
        return url
    if name == "GLOSSARY.md":
        return f"glossary.html{mark}{place}"
    return re.sub(r"\.ipynb$", ".html", name) + mark + place


class Renderer(IPythonRenderer):
    """Markdown of the chapters; `headings` collects (level, name in the address, HTML) as they come."""

    def __init__(self) -> None:
        super().__init__(escape=False, exclude_anchor_links=True)
        self.headings: list[tuple[int, str, str]] = []

    def heading(self, text: str, level: int, **attrs: object) -> str:
        name, taken = slug(text), {name for _, name, _ in self.headings}
        name = next(one for one in (name, *(f"{name}-{i}" for i in range(2, 99))) if one not in taken)
        self.headings.append((level, name, text))
        return f'<h{level} id="{name}">{text}</h{level}>\n'

    def link(self, text: str, url: str, title: str | None = None) -> str:
        return super().link(text, address(url), title)

    def block_math(self, body: str) -> str:
        return mathematics(body, block=True)

    def inline_math(self, body: str) -> str:
        return mathematics(body)

    def block_code(self, text: str, info: str | None = None) -> str:
        return code(text, (info or "text").split()[0])


def markdown(text: str, renderer: Renderer | None = None) -> str:
    """Markdown, with mathematics, as HTML."""
    made = MarkdownWithMath(renderer=renderer or Renderer()).render(text)
    return made.replace("<table", '<div class="scroll" tabindex="0"><table').replace("</table>", "</table></div>")


def linked(text: str) -> str:
    """HTML in which a chapter that is named by its number is a link to it."""
    parts, inside = TAG.split(text), []
    for i, part in enumerate(parts):
        if i % 2:
            _enter(part, inside, LINKED)
        elif not inside:
            parts[i] = MENTION.sub(_mention, part)
    return "".join(parts)


def _mention(found: re.Match[str]) -> str:
    whole = re.match(r"[Cc]hapter[ \xa0](\d\d)$", found[0])
    if whole:
        return _chapter(whole[1], found[0])
    return re.sub(r"\d\d", lambda one: _chapter(one[0], one[0]), found[0])


def _chapter(number: str, said: str) -> str:
    file = CHAPTERS.get(number)
    return f'<a href="{file}.html">{said}</a>' if file else said


def answered(text: str) -> str:
    """HTML of a card that opens a prediction, without the verdict on a guess that nobody made: the answer alone."""
    return GUESS.sub(r"\1", VERDICT.sub(">THE ANSWER<", text))


def fragment(text: str) -> str:
    """HTML that a chapter kept: its mathematics as MathML, its links those of the site, its pictures able to scroll."""
    text = re.sub(r"<th\b([^>]*)>\s*</th>", r"<td\1></td>", text)  # the corner of a table heads nothing
    parts, inside = TAG.split(text), []
    for i, part in enumerate(parts):
        if i % 2:
            parts[i] = _tag(part, inside)
        elif not inside:
            parts[i] = MATH.sub(_formula, part)
    return "".join(parts)


def _formula(found: re.Match[str]) -> str:
    return mathematics(html.unescape(found["block"] or found["line"]), block=found["block"] is not None)


def _enter(tag: str, inside: list[str], kinds: tuple[str, ...]) -> str:
    """The name of a tag; `inside` holds which elements of these kinds are open."""
    name = (re.match(r"</?([A-Za-z0-9]+)", tag) or [None, ""])[1].lower()
    if name in kinds:
        if not tag.startswith("</"):
            inside.append(name)
        elif inside:
            inside.pop()
    return name


def _tag(tag: str, inside: list[str]) -> str:
    name = _enter(tag, inside, VERBATIM)
    if name == "img":
        return picture(tag)
    if name == "table":
        return f"{tag}</div>" if tag.startswith("</") else f'<div class="scroll" tabindex="0">{tag}'
    if name == "a" and (found := re.search(r'href="([^"]+)"', tag)):
        there = address(html.unescape(found[1]))
        tag = tag.replace(found[0], f'href="{html.escape(there)}"')
        return tag if re.match(r"(?i)https?:", there) else tag.replace('target="_blank" ', "")
    return tag


def picture(tag: str) -> str:
    """An image element of a given width, in a box that scrolls where the page is narrower than its text allows."""
    width = re.search(r"(?<!max-)width:\s*(\d+)px", tag)
    if not width:
        return tag
    tag = tag.replace('style="', f'style="--width:{width[1]}px;', 1)
    return f'<div class="scroll picture" tabindex="0">{tag}</div>'


def output(one: dict, chart: bool = False) -> str:
    """The HTML of one kept output of a cell. chart: no photograph is in its picture, which a dark page turns over."""
    if one["output_type"] == "stream":
        return f'<pre class="printed">{ansi2html("".join(one["text"]))}</pre>'
    data = {kind: "".join(text) for kind, text in one.get("data", {}).items() if isinstance(text, (str, list))}
    facts = one.get("metadata", {})
    if "text/html" in data:
        return f'<div class="output">{fragment(answered(data["text/html"]))}</div>'
    if "text/markdown" in data:
        return f'<div class="output">{fragment(markdown(data["text/markdown"]))}</div>'
    if "image/png" in data:
        about = facts.get("image/png", {})
        source = "".join(data["image/png"].split())
        kind, twin = ' class="ltviz-picture"' if chart or facts.get("needs_background") == "light" else "", ""
        if about.get("photographs"):
            kind = ' class="ltviz-photographs"'
            twin = f"--dark:url(data:image/png;base64,{photographs.dark(source, about['photographs'])});"
        said = html.escape(about.get("alt") or data.get("text/plain", ""), quote=True)
        width = f"width:{int(about['width'])}px;" if "width" in about else ""
        return picture(
            f'<img{kind} alt="{said}" src="data:image/png;base64,{source}" style="{width}{twin}background:white">'
        )
    return f'<pre class="printed">{html.escape(data.get("text/plain", ""))}</pre>'


def plain(text: str) -> str:
    """Markdown as words, for the search: marks left out, of mathematics what one would read: signs and letters."""
    text = re.sub(r"```.*?```|\$\$.*?\$\$|!\[[^\]]*\]\([^)]*\)|<[^>]+>", " ", text, flags=re.DOTALL)
    text = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", text)
    text = MATH.sub(lambda found: _read(found["line"]), text)
    return " ".join(re.sub(r"[#*`$\\|>]|^-+$", " ", text, flags=re.MULTILINE).split())


def _read(latex: str) -> str:
    """A formula in a line, as letters and signs."""
    latex = re.sub(r"\\([A-Za-z]+)", lambda found: SIGNS.get(found[1], f" {SPOKEN.get(found[1], '')} "), latex)
    return re.sub(r"\\(.)", r" ", latex.replace("}{", " ")).translate(str.maketrans({"{": "", "}": "", "~": " "}))


def looks() -> str:
    """The colours of code, in both themes."""
    light = HtmlFormatter(style="xcode").get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark").get_style_defs('[data-jp-theme-light="false"] .highlight')
    return "\n".join(line for line in f"{light}\n{dark}".splitlines() if "highlight" in line and "linenos" not in line)
