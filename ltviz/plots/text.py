"""Words from outside (class names, labels of runs): short, told apart, taken literally, in a font that has them.

A name is never read as mathematics, whatever signs it holds. Fonts: the user's own first (matplotlib's `font.family`,
or `style(font=...)`), then DejaVu Sans, then whichever installed font has the letters that these two lack.
"""

from __future__ import annotations

import functools
import itertools
import logging
import re
import textwrap
import threading
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from matplotlib import font_manager

DRAW_LOCK = threading.RLock()  # fonts, mathtext and rcParams are shared by all figures

NO_NAME = "(no name)"
OURS = "DejaVu Sans"  # comes with matplotlib
LAST = "Last Resort High-Efficiency"  # a box for every letter there is; comes with matplotlib 3.11
# Asked first for letters that are missing; after these, every font that is installed.
PREFERRED = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK TC", "Noto Sans CJK KR", "Noto Sans SC", "Noto Sans JP",
    "Noto Sans KR", "Source Han Sans SC", "Source Han Sans", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei",
    "Microsoft YaHei", "SimHei", "PingFang SC", "Hiragino Sans GB", "Hiragino Sans", "Heiti TC", "Yu Gothic", "Meiryo",
    "MS Gothic", "IPAexGothic", "IPAGothic", "TakaoGothic", "Malgun Gothic", "Apple SD Gothic Neo", "AppleGothic",
    "NanumGothic", "Arial Unicode MS", "Droid Sans Fallback", "Noto Sans", "Noto Emoji", "Symbola",
)  # fmt: skip
_GENERIC = {
    "serif": "serif",
    "sans-serif": "sans-serif",
    "sans serif": "sans-serif",
    "sans": "sans-serif",
    "cursive": "cursive",
    "fantasy": "fantasy",
    "monospace": "monospace",
}

_ACCENT = "[\\u0300-\\u036f\\u0483-\\u0489\\u1ab0-\\u1aff\\u1dc0-\\u1dff\\u20d0-\\u20ff\\ufe20-\\ufe2f]"
_PILED = re.compile(f"(?<={_ACCENT}{{3}}){_ACCENT}+")  # a fourth accent on one letter, and all after it

_styled: tuple[str, ...] = ()  # the fonts of style(font=...)
_own: tuple[str, ...] = ()  # the user's, read before our look is in force
_added: list[str] = []  # fonts that had letters which the others lack
_told: set[str] = set()  # scripts for which no font was found, each said once
_open = 0  # how many `fonts()` are open; only the outermost sees the user's settings


# -------------------------------------------------------------------------------------------------------------- names
def clean(text: Any) -> str:
    """The text on one line, without control signs and piles of accents; "(no name)" where nothing is left.

    Sees to it that a font has its letters.
    """
    text = _PILED.sub("", str(text))
    text = "".join(
        "\N{REPLACEMENT CHARACTER}" if (kind := unicodedata.category(c)) == "Cs"
        else " " if kind == "Cc"
        else "" if kind == "Cf" and c not in "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"
        else c
        for c in text
    )  # fmt: skip
    text = " ".join(text.split()) or NO_NAME
    cover(text)
    return f" {text}" if text.startswith("_") else text  # matplotlib leaves labels that begin with _ out of a legend


def width(text: str) -> int:
    """How many letters wide the text is: Chinese, Japanese and Korean letters count as two, accents as none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _start(text: str, letters: int) -> str:
    """As much of the beginning as is at most so wide."""
    wide = itertools.accumulate(width(c) for c in text)
    return text[: min(sum(w <= letters for w in wide), 4 * letters)]


def short(text: Any, letters: int, ends: bool = False) -> str:
    """The text, cut to this width with "…" where it is longer; ends: keep its end as well as its beginning."""
    text = clean(text)
    if width(text) <= letters and len(text) <= 4 * letters:
        return text
    if not ends:
        return _start(text, letters - 1).rstrip() + "…"
    tail = _start(text[::-1], (letters - 1) // 2)[::-1]
    return f"{_start(text, letters - 1 - width(tail)).rstrip()}…{tail.lstrip()}"


def short_names(names: Iterable[Any], letters: int) -> list[str]:
    """Each name in at most so many letters (a few more where it takes a number), no two alike."""
    names = [str(name) for name in names]
    cut = [short(name, letters) for name in names]
    often = Counter(cut)
    return distinct([short(n, letters, ends=True) if often[c] > 1 else c for n, c in zip(names, cut, strict=True)])


def distinct(names: Sequence[str]) -> list[str]:
    """The names; one that was there before gets a number: "cat", "cat (2)"."""
    taken, seen, found = set(names), set(), []
    for name in names:
        new = name
        if name in seen:
            new = next(n for i in itertools.count(2) if (n := f"{name} ({i})") not in taken)
        seen.add(new)
        taken.add(new)
        found.append(new)
    return found


def wrap(text: str, columns: int, lines: int | None = None) -> str:
    """The text in lines of about so many letters' width; what is on further lines than asked for is cut off."""
    columns = max(8, columns * len(text) // max(width(text), 1))
    return textwrap.fill(text, columns, max_lines=lines, placeholder="…")


def minus(text: str) -> str:
    """Words of ours as they are drawn: a number below zero has a minus sign, as on the axes, not a hyphen."""
    return re.sub(r"(?<![\w.-])-(?=\.?\d)", "\N{MINUS SIGN}", text)


def apart(places: np.ndarray, room: float) -> np.ndarray:
    """Places (n, 2) for round labels: those nearer to one another than `room` are pushed away from each other."""
    at = np.array(places, dtype=float)
    order = np.sign(np.subtract.outer(np.arange(len(at)), np.arange(len(at))))
    for _ in range(200):
        gap = at[:, None] - at[None]
        gap[..., 1] += 1e-9 * room * order  # of equal places, too, one goes up and the other down
        away = np.hypot(gap[..., 0], gap[..., 1])
        np.fill_diagonal(away, np.inf)
        near = away < room
        if not near.any():
            break
        push = np.where(near, 0.505 * (room - away) + 0.002 * room, 0.0)
        at += (gap * np.divide(push, away)[..., None]).sum(1)
    return at


# -------------------------------------------------------------------------------------------------------------- fonts
def literal() -> dict[str, Any]:
    """Properties of a text that holds a name: no mathematics, our fonts. For titles and ticks, also on given axes."""
    return {"parse_math": False, "family": families()}


def families() -> list[str]:
    """The fonts in force, in the order in which letters are looked for."""
    end = [LAST] if _told and LAST in _installed() else []
    return list(dict.fromkeys([*_styled, *_own, OURS, *_added, *end]))


@contextmanager
def fonts() -> Iterator[None]:
    """The fonts in force, under the lock; also those that are added meanwhile."""
    global _open
    with DRAW_LOCK:
        if not _open:
            _read_own()
        _open += 1
        try:
            with matplotlib.rc_context({"font.family": families()}), _quiet():
                yield
        finally:
            _open -= 1


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what matplotlib says about each letter that no font has (`cover` says it once), or about a font added
    for its letters that comes in one weight only."""
    log = logging.getLogger("matplotlib.font_manager")
    log.addFilter(_about_weights)
    try:
        if LAST in _installed():  # a font of boxes: with it there is no letter that no font has
            yield
            return
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            yield
    finally:
        log.removeFilter(_about_weights)


def _about_weights(record: logging.LogRecord) -> bool:
    return "font weight" not in record.getMessage()


def _read_own() -> None:
    """Take the user's fonts from matplotlib's settings: those that are installed."""
    global _own
    listed = matplotlib.rcParams.get("font.family") or []
    listed = [listed] if isinstance(listed, str) else listed
    found: list[str] = []
    for name in listed:
        kind = _GENERIC.get(str(name).lower())
        found += matplotlib.rcParams.get(f"font.{kind}") if kind else [name]
    installed = _installed()
    ours = [name for name in found if name in installed]
    _own = tuple(ours if not listed or _GENERIC.get(str(listed[0]).lower()) is None else ours[:1] + _foreign(ours[1:]))


def _foreign(names: list[str]) -> list[str]:
    # matplotlib's own list for "sans-serif" names a dozen fonts; behind the first, only those with other letters help.
    return [name for name in names if name in PREFERRED]


def set_font(names: Sequence[str]) -> None:
    """Fonts to prefer over the user's own. ValueError where one is not installed."""
    from ..check import refuse, suggest

    global _styled
    for name in names:
        if name not in _installed():
            near = suggest(name, _installed())
            raise refuse("font", name, f"the name of an installed font, as matplotlib.font_manager lists them{near}")
    _styled = tuple(names)


def _installed() -> dict[str, str]:
    """Name of each font that matplotlib knows -> its file; regular faces where there are several."""
    return _fonts(len(font_manager.fontManager.ttflist))


@functools.lru_cache(maxsize=2)
def _fonts(number: int) -> dict[str, str]:
    faces = sorted(
        font_manager.fontManager.ttflist,
        key=lambda face: (face.style != "normal", str(face.weight) not in ("400", "normal", "regular")),
    )
    found: dict[str, str] = {}
    for face in faces:
        found.setdefault(face.name, face.fname)
    return found


@functools.lru_cache(maxsize=512)
def _letters(file: str) -> frozenset[int]:
    """The letters of a font; none of a file that cannot be used."""
    try:
        return frozenset(font_manager.get_font(file).get_charmap())
    except (OSError, RuntimeError, ValueError):
        return frozenset()


def cover(text: str) -> None:
    """See to it that the fonts in force have the letters of the text, or say once what to install."""
    missing = {c for c in text if ord(c) > 0x24F}  # what is below, every font of ours has
    installed = _installed()
    for name in families():
        if name != LAST and missing:
            missing = {c for c in missing if ord(c) not in _letters(installed[name])}
    if missing:
        with DRAW_LOCK:
            _look_for(missing)
            if _open:
                matplotlib.rcParams.update({"font.family": families()})


def _look_for(missing: set[str]) -> None:
    """Add the fonts that have these letters; say once where none has."""
    installed = _installed()
    for name in dict.fromkeys([*PREFERRED, *sorted(installed)]):
        if name in installed and name != LAST and "Color" not in name:  # matplotlib cannot draw fonts of pictures
            had = {c for c in missing if ord(c) in _letters(installed[name])}
            if had:
                _added.append(name)
                missing = missing - had
        if not missing:
            return
    _say_once(missing)


def _say_once(missing: set[str]) -> None:
    """A line in the log, once for each script: a warning would be an error for those who ask for that."""
    first = min(missing)
    script = unicodedata.name(first, "UNKNOWN").partition(" ")[0].partition("-")[0]
    if script in _told:
        return
    _told.add(script)
    cjk = script in ("CJK", "HANGUL", "HIRAGANA", "KATAKANA", "BOPOMOFO", "FULLWIDTH", "HALFWIDTH", "IDEOGRAPHIC")
    font = "Noto Sans CJK" if cjk else "Noto Emoji" if unicodedata.category(first) == "So" else "Noto Sans"
    debian = " (Debian, Ubuntu: apt install fonts-noto-cjk)" if cjk else ""
    logging.getLogger("ltviz").warning(
        "no installed font has letters such as %s (%s): they are drawn as boxes. Install one that has them, such as "
        "%s%s, and restart the kernel", first, unicodedata.name(first, "unnamed"), font, debian,
    )  # fmt: skip
