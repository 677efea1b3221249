"""A page without a kernel: one HTML file with the same module, all frames of one or two controls, and plain inputs."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import check
from ..files import write_atomically
from .frames import Frame
from .screen import CSS, SCRIPT, Screen
from .sweeps import Sweep, difference

MOST = 2_900_000  # bytes of one screen's frames, unless another number is asked for: a page of one stays below 3 MB
GLUE = (Path(__file__).parent / "export.js").read_text(encoding="utf-8")
DARK = '[data-jp-theme-light="false"] '  # what rules for a dark theme begin with
WHOLES, APART = 12, 0.5  # frames that others are laid over, at most; the part of their bytes that makes a frame one
SAMPLE = 5  # frames from which the number that fits is estimated
# Nothing but what is in the file may be loaded: the browser itself refuses anything else.
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>
:root {{ color-scheme: light dark; }}
body {{ max-width: 60rem; margin: 1.5rem auto; padding: 0 1rem; font: 16px/1.5 system-ui, sans-serif; }}
section {{ margin: 2rem 0; }}
.controls {{ display: flex; flex-wrap: wrap; gap: 0.5rem 2rem; margin: 0.5rem 0 0.75rem; }}
.controls label {{ font-weight: 600; margin-right: 0.5rem; }}
.controls input {{ width: 14rem; vertical-align: middle; }}
.note {{ font-size: 0.85rem; opacity: 0.85; }}
:focus-visible {{ outline: 3px solid #1557FF; outline-offset: 2px; }}
{css}</style>
</head>
<body>
<main>
<h1>{title}</h1>
{sections}
</main>
<noscript><p>This page needs JavaScript to show its pictures.</p></noscript>
<script type="module">
{script}
</script>
</body>
</html>
"""


@dataclass(frozen=True)
class Grid:
    """The frames of a screen over the places of some of its controls.

    sweeps: the controls; kept: for each, the numbers of the places that are kept; frames: as the module reads them, in
    the order of the places (the last control fastest), each picture once; keys: that of the frame at each place;
    looks: by key, what stands for its pixels alone. RuntimeError where a frame lies over one that is not there.
    """

    sweeps: tuple[Sweep, ...]
    kept: tuple[tuple[int, ...], ...]
    frames: tuple[dict[str, Any], ...]
    keys: Mapping[tuple[int, ...], str]
    looks: Mapping[str, str]

    def __post_init__(self):
        there = {one["key"] for one in self.frames}
        lost = [one["key"] for one in self.frames if one["over"] is not None and one["over"] not in there]
        if lost or not set(self.keys.values()) <= there:
            raise RuntimeError(f"frames {lost or sorted(set(self.keys.values()) - there)} of a page cannot be shown")

    @property
    def size(self) -> int:
        """Bytes of all frames in the page."""
        return len(_json(self.frames))

    @property
    def idle(self) -> list[Sweep]:
        """The controls that change no picture here, whatever the others are worth."""
        acting = {plan["name"] for plan in _plans(self) if not plan["still"]}
        return [one for one in self.sweeps if one.name not in acting]


def export(
    screens: Any,
    path: Any,
    *,
    title: str | None = None,
    controls: Mapping[str, Sequence[str]] | Sequence[str] | None = None,
    most: int = MOST,
) -> Path:
    """Write one HTML file that shows these screens without a kernel, without a server, and without any request.

    screens: an explorer, a `Screen`, or a list of them. title: of the page; that of the first screen without it.
    controls: names of the one or two controls that move in the page (of each screen, or a dict title of the screen ->
    names); its first one without it. The others stay where they are now, and the page says so. most: bytes of one
    screen's frames; where there are more, some values of the controls are left out, and the page says which. Returns
    the path. Errors: ValueError for a wrong argument or a screen that follows no control and shows nothing, OSError
    where the file cannot be written.
    """
    path, most = check.path("path", path), check.whole("most", most, 50_000)
    several = list(screens) if isinstance(screens, (list, tuple)) else [screens]
    found = [getattr(one, "screen", one) for one in several]
    for one in found:
        check.instance("screens", one, Screen, "a Screen, an explorer, or a list of them")
    if not found:
        raise check.refuse("screens", screens, "at least one")
    heading = check.text("title", (found[0].title or "Explorers") if title is None else title)
    sections = "\n".join(_section(one, i, _names(one, controls), most, heading) for i, one in enumerate(found))
    script = f"{SCRIPT}\n{GLUE}".replace("</", r"<\/")
    page = _PAGE.format(title=html.escape(heading), css=_css(), sections=sections, script=script)
    write_atomically(path, page.encode())
    return path


def _css() -> str:
    """The look of a screen; where the reader's system is dark, as in a dark theme of JupyterLab."""
    lines = CSS.splitlines()
    dark = [line.replace(DARK, "") for line in lines if line.startswith(DARK)]
    light = [line for line in lines if not line.startswith(DARK)]
    return "\n".join([*light, "@media (prefers-color-scheme: dark) {", *dark, "}"])


def _names(screen: Screen, controls: Any) -> list[str]:
    known = [one.name for one in screen.sweeps]
    asked = controls.get(screen.title) if isinstance(controls, Mapping) else controls
    if asked is None:
        return known[:1]
    asked = [asked] if isinstance(asked, str) else asked
    if not isinstance(asked, (list, tuple)) or not 1 <= len(asked) <= 2 or len(set(asked)) < len(asked):
        raise check.refuse("controls", controls, "one or two different names of controls")
    return [check.choice("controls", one, known) for one in asked]


# --------------------------------------------------------------------------------------------------------------- frames
def grid(screen: Screen, names: Sequence[str], most: int = MOST) -> Grid:
    """Draw the frames of a screen over these controls, as many as fit into `most` bytes.

    Where all do not fit, places are left out evenly; the ends, and where the control stands now, always stay.
    """
    sweeps = tuple(one for name in names for one in screen.sweeps if one.name == name)
    values = dict(screen._values())
    here = tuple(one.index(values.get(one.name)) or 0 for one in sweeps)
    encode = _Encoder(screen, values, sweeps, here)
    counts = [len(one.places) for one in sweeps]
    room = most - len(_json([encode.first]))
    sample = [len(_json([made])) for place in _sample(counts) if (made := encode(place)) is not encode.first]
    each = sum(sample) / len(sample) if sample else 1
    least = _thin(counts, here, 1)

    def made_of(kept: tuple[tuple[int, ...], ...]) -> Grid:
        there = encode.alone(list(itertools.product(*kept)))
        once = {frame["key"]: frame for frame in there.values()}
        keys = {place: frame["key"] for place, frame in there.items()}
        return Grid(sweeps, kept, tuple(once.values()), keys, {key: encode.looks[key] for key in once})

    while True:
        made = made_of(_thin(counts, here, max(1, int(room / each))))
        if made.size <= most or made.kept == least:
            break
        each *= 1.02 * made.size / most
    while made.size <= most:  # those were guesses from a few pictures: perhaps more fit
        finer = _thin(counts, here, int(1.1 * len(made.keys) * most / made.size))
        more = made_of(finer) if sum(map(len, finer)) > sum(map(len, made.kept)) else None
        if more is None or more.size > most:
            break
        made = more
    return made


def _sample(counts: Sequence[int]) -> list[tuple[int, ...]]:
    """Places from one corner of the grid to the opposite one."""
    return [tuple(round(part * (n - 1)) for n in counts) for part in np.linspace(0, 1, SAMPLE)] if counts else []


def _thin(counts: Sequence[int], here: Sequence[int], most: int) -> tuple[tuple[int, ...], ...]:
    """Numbers of the places to keep of each control: all, or every second, third, ..., so that the grid fits."""
    strides = [1] * len(counts)

    def kept() -> tuple[tuple[int, ...], ...]:
        return tuple(
            tuple(sorted({0, n - 1, at, *range(at % stride, n, stride)}))
            for n, at, stride in zip(counts, here, strides, strict=True)
        )

    while np.prod([len(one) for one in kept()], dtype=float) > most and any(len(one) > 3 for one in kept()):
        longest = max(range(len(counts)), key=lambda i: len(kept()[i]))
        strides[longest] += 1
    return kept()


class _Encoder:
    """Frames by their place, each drawn once: the first whole, the others whole or as what differs from a whole one."""

    def __init__(self, screen: Screen, values: dict[str, Any], sweeps: Sequence[Sweep], here: Sequence[int]):
        self.screen, self.values, self.sweeps = screen, values, sweeps
        self.made: dict[tuple[int, ...], dict[str, Any]] = {}
        frame = screen.frame if screen._render is None else self._draw(here)
        if frame is None:
            raise check.refuse("screens", screen, "a screen that shows a picture")
        self.drawn: list[tuple[dict[str, Any], np.ndarray]] = []  # frames that are whole, and of these
        self.wholes: list[tuple[dict[str, Any], np.ndarray]] = []  # those that others may lie over now
        self.looks: dict[str, str] = {}  # by key, what stands for the pixels
        self.first = self._whole(self._key(here), frame.pixels, self._meta(frame))
        self.looks[self.first["key"]] = _seen(frame.pixels)
        self.made[tuple(here)] = self.first
        self.known = {_seen(frame.pixels, self._meta(frame)): self.first}  # by what they show

    @staticmethod
    def _key(place: Sequence[int]) -> str:
        return "-".join(map(str, place))

    @staticmethod
    def _meta(frame: Frame) -> dict[str, Any]:
        return frame.meta() | {"handles": []}  # there is nobody to answer to them

    def _draw(self, place: Sequence[int]) -> Frame:
        moved = {one.name: one.values[i] for one, i in zip(self.sweeps, place, strict=True)}
        made = self.screen._render(self.values | moved)
        return check.instance("render(values)", made, Frame, "a Frame")

    def _whole(self, key: str, pixels: np.ndarray, meta: dict[str, Any]) -> dict[str, Any]:
        made = {"key": key, "over": None, "at": [0, 0], "meta": meta, "image": _image(pixels)}
        self.drawn.append((made, np.ascontiguousarray(pixels)))
        self.wholes.append(self.drawn[-1])
        return made

    def __call__(self, place: tuple[int, ...]) -> dict[str, Any]:
        if place not in self.made:
            frame = self._draw(place)
            pixels, meta = frame.pixels, self._meta(frame)
            same = _seen(pixels, meta)
            if same not in self.known:
                self.known[same] = self._encoded(self._key(place), pixels, meta)
                self.looks[self.known[same]["key"]] = _seen(pixels)
            self.made[place] = self.known[same]
        return self.made[place]

    def alone(self, places: Sequence[tuple[int, ...]]) -> dict[tuple[int, ...], dict[str, Any]]:
        """The frames of these places. One that lies over a frame of another place is drawn and encoded anew."""
        here = {self(place)["key"] for place in places}
        self.wholes = [one for one in self.drawn if one[0]["key"] in here]
        lost = {one["key"] for one in self.known.values() if one["over"] is not None and one["over"] not in here}
        self.known = {same: one for same, one in self.known.items() if one["key"] not in lost}
        self.made = {place: one for place, one in self.made.items() if one["key"] not in lost}
        return {place: self(place) for place in places}

    def _encoded(self, key: str, pixels: np.ndarray, meta: dict[str, Any]) -> dict[str, Any]:
        """A frame laid over the whole one that is nearest to it, or whole where none is near."""
        words = np.ascontiguousarray(pixels).view(np.uint32)
        apart = [np.count_nonzero(words != one.view(np.uint32)) if pixels.shape == one.shape else pixels.size
                 for _, one in self.wholes]  # fmt: skip
        base, under = self.wholes[int(np.argmin(apart))]
        patch = difference(pixels, under)
        image = "" if patch is None else _image(patch[0])
        if patch is None or (len(image) > APART * len(base["image"]) and len(self.wholes) < WHOLES):
            return self._whole(key, pixels, meta)
        meta = {name: value for name, value in meta.items() if value != base["meta"][name]}
        return {"key": key, "over": base["key"], "at": list(patch[1]), "meta": meta, "image": image}


def _seen(pixels: np.ndarray, meta: Mapping[str, Any] | None = None) -> str:
    """What stands for a picture and all that is said of it; for the picture alone without `meta`."""
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes() + _json([pixels.shape, meta]).encode()).hexdigest()


def _image(pixels: np.ndarray) -> str:
    """The picture as a lossless WebP in base64, or as a PNG where Pillow has no WebP."""
    from PIL import Image, features

    webp = features.check("webp")
    settings = {"lossless": True, "quality": 40, "method": 2} if webp else {"optimize": True}
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "webp" if webp else "png", **settings)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


# ------------------------------------------------------------------------------------------------------------- the page
def _section(screen: Screen, number: int, names: Sequence[str], most: int, heading: str) -> str:
    """The HTML of one screen: heading, inputs, picture, and what was left out."""
    title, name = screen.title or f"Picture {number + 1}", f"screen-{number}"
    body, data = piece(screen, name, names, most)
    above = "" if title == heading else f"<h2>{html.escape(title)}</h2>\n"
    return (
        f"<section aria-label='{html.escape(title)}'>\n{above}{body}\n"
        f"<script type='application/json' data-screen='{name}'>{_json(data)}</script>\n</section>"
    )


def piece(screen: Screen, name: str, names: Sequence[str], most: int = MOST) -> tuple[str, dict[str, Any]]:
    """One screen for a page of one's own: the HTML of its inputs and notes, and what `mount` of export.js is given.

    name: the id of the element that `mount` fills, and how the ids of the inputs begin. A control that changes no
    picture has no input, and a note says so.
    """
    made = grid(screen, names, most)
    idle = made.idle
    if idle:
        made = grid(screen, [one.name for one in made.sweeps if one not in idle], most)
    here = [kept.index(one.index(screen._values().get(one.name)) or 0)
            for one, kept in zip(made.sweeps, made.kept, strict=True)]  # fmt: skip
    inputs, tracks, html_inputs = [], [], []
    for i, (one, kept, at) in enumerate(zip(made.sweeps, made.kept, here, strict=True)):
        labels = [_labels(one)[j] for j in kept]
        control, output = f"{name}-control-{i}", f"{name}-value-{i}"
        html_inputs.append(_input(one, labels, control, output, at))
        inputs.append({"id": control, "output": output, "labels": labels})
        tracks.append({"name": one.name, "model": control, "trait": "value", "places": list(range(len(kept))),
                       "nearest": True})  # fmt: skip
    state = {"size": screen.size, "caption": screen.caption, "tracks": tracks, "picture": None, "ratio": 1, "theme": ""}
    data = {"state": state, "frames": made.frames, "plans": _plans(made), "inputs": inputs}
    said = [_left_out(idle)] if idle else []
    notes = "".join(f"<p class='note'>{html.escape(note)}</p>" for note in [*said, *_notes(screen, made)])
    return f"<div class='controls'>{''.join(html_inputs)}</div>\n<div id='{name}'></div>\n{notes}", data


def _json(value: Any) -> str:
    """JSON that can stand inside a script element."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False, default=_plain).replace("<", "\\u003c")


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} {value!r} cannot be written into a page")


def _input(sweep: Sweep, labels: Sequence[str], name: str, output: str, at: int) -> str:
    label = f"<label for='{name}'>{html.escape(called(sweep))}</label>"
    facts = f"id='{name}' data-name='{html.escape(sweep.name)}' autocomplete='off'"
    if sweep.numeric:
        slider = f"<input {facts} type='range' max='{len(labels) - 1}' value='{at}'>"
        return f"<div>{label}{slider} <output id='{output}' for='{name}'>{html.escape(labels[at])}</output></div>"
    options = "".join(
        f"<option value='{i}'{' selected' if i == at else ''}>{html.escape(text)}</option>"
        for i, text in enumerate(labels)
    )
    return f"<div>{label}<select {facts}>{options}</select></div>"


def called(sweep: Sweep) -> str:
    """The name of a control as its widget has it in a notebook."""
    return getattr(sweep.box or sweep.widget, "description", "") or sweep.name.replace("_", " ")


def _labels(sweep: Sweep) -> list[str]:
    """What stands for each value: a check box has none of its own."""
    if all(isinstance(one, bool) for one in sweep.values):
        return ["yes" if one else "no" for one in sweep.values]
    return sweep.written()


def _plans(made: Grid) -> list[dict[str, Any]]:
    """For every control, and every place of the others: the keys along it, and whether all show the same (still)."""
    plans = []
    for i, one in enumerate(made.sweeps):
        others = [range(len(kept)) if j != i else [None] for j, kept in enumerate(made.kept)]
        for where in itertools.product(*others):
            rest = {other.name: at for other, at in zip(made.sweeps, where, strict=True) if other is not one}
            along = [kept if j == i else (kept[where[j]],) for j, kept in enumerate(made.kept)]
            keys = [made.keys[place] for place in itertools.product(*along)]
            same = len({made.looks[key] for key in keys}) == 1
            plans.append({"name": one.name, "where": rest, "keys": keys, "still": same})
    return plans


def _left_out(idle: Sequence[Sweep]) -> str:
    """Why a page has no input for these."""
    return f"Without an input, as the picture is the same at all values: {', '.join(map(called, idle))}."


def _notes(screen: Screen, made: Grid) -> list[str]:
    """What a reader of the page has to know: which values were left out, and where the other controls stand."""
    notes = []
    for one, kept in zip(made.sweeps, made.kept, strict=True):
        if len(kept) < len(one.places):
            said = f"{len(kept)} of the {len(one.places)} values of {called(one)}"
            notes.append(f"To keep this page small, it holds {said}.")
    moved = [one.name for one in made.sweeps]
    still = {name: value for name, value in screen._values().items() if name not in moved}
    if still:
        known = {one.name: one for one in screen.sweeps}

        def told(name: str, value: Any) -> str:
            if name not in known:
                return f"{name.replace('_', ' ')} = {value}"
            one, i = known[name], known[name].index(value)
            near = i is not None and (not one.numeric or np.isclose(one.values[i], value))
            return f"{called(one)} = {_labels(one)[i] if near else value}"

        said = ", ".join(told(name, value) for name, value in still.items())
        notes.append(f"In this page these stay as they are: {said}.")
    return notes
