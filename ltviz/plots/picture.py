"""What every plot shares: the Picture that it returns, one look, and the helpers that draw axes, groups and legends.

Nothing here calls pyplot, and the user's own rcParams are never changed: our look is in force only inside `drawing()`,
under one lock, because callbacks of several threads draw in today's JupyterLab.
"""

from __future__ import annotations

import base64
import functools
import html
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation
from PIL import Image

from .. import check, files
from . import text as words
from .text import DRAW_LOCK, literal, wrap
from .theme import PHOTO, darken

_STYLE = matplotlib.rc_params_from_file(Path(__file__).with_name("ltviz.mplstyle"), use_default_template=False)
INK, QUIET, FAINT = _STYLE["text.color"], _STYLE["axes.edgecolor"], _STYLE["grid.color"]
PALETTE = tuple(_STYLE["axes.prop_cycle"].by_key()["color"])
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", (0, (5, 1.6)), (0, (1.2, 1.2)), (0, (5, 1.4, 1.2, 1.4)), (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)))
DOTTED = (0, (1, 2))  # reference lines
REFERENCE = {"color": QUIET, "linestyle": DOTTED, "linewidth": 1.2, "zorder": 1.5, "gid": "reference"}
EDGE = {"markeredgecolor": "white", "markeredgewidth": 0.6}  # of markers that may lie on one another
GROUP_COLOURS = {"head": PALETTE[0], "mid": PALETTE[2], "tail": PALETTE[1], "all": INK}
GROUP_MARKERS = {"head": "o", "mid": "s", "tail": "^", "all": "o"}
GROUP_INK = {"head": "#0F43C9", "mid": "#00705F", "tail": "#B04F00", "all": INK}  # dark enough to be read as text
CLASS_COLOURS = "plasma"  # from the most frequent class (dark blue) to the rarest (yellow-orange)

DPI = 110  # pixels of a page (CSS) per inch of a figure
SHARP = 1.5  # pixels of the picture per pixel of the page
BINNED = 200  # classes; with more, points on a class axis stand for several ranks
MANY = 40  # points; with more, lines have no markers
LADDER = np.outer(10.0 ** np.arange(-3, 7), (1.2, 2.2, 3.2, 6.4)).ravel()  # upper limits of an axis that is to rest
_scale, _theme = 1.0, "light"


def style(scale: float | None = None, *, font: str | Sequence[str] | None = None, theme: str | None = None) -> float:
    """Set how large pictures made from now on are (1 for reading, 1.6 for a projector); returns the scale in force.

    Letters, lines and points grow together, so the layout does not change. font: the name of an installed font, or
    several in the order in which letters are looked for; [] goes back to matplotlib's own setting (`font.family`).
    theme: "light", or "dark" for pictures on a dark page, as they are shown and saved as .png (.svg and .pdf stay
    light); photographs in them stay as they are. Explorers follow the page by themselves. Without an argument nothing
    changes. Errors: a scale outside 0.25 to 5, a font that is not installed, another theme.
    """
    global _scale, _theme
    if theme is not None:
        check.choice("theme", theme, ("light", "dark"))
    with DRAW_LOCK:
        size = _scale if scale is None else check.number("scale", scale, 0.25, 5)
        if font is not None:
            named = [font] if isinstance(font, str) else font
            if not isinstance(named, (list, tuple)) or not all(isinstance(one, str) for one in named):
                raise check.refuse("font", font, "the name of an installed font, or a list of names")
            words.set_font(named)
        _scale, _theme = size, theme or _theme
    return _scale


@contextmanager
def drawing() -> Iterator[None]:
    """Our look, the user's fonts and the lock, for as long as something is drawn."""
    with DRAW_LOCK, matplotlib.rc_context(), words.fonts():
        matplotlib.rcParams.update(_STYLE)
        yield


def draws(plot: Callable[..., Picture]) -> Callable[..., Picture]:
    """Decorator: run a plot inside `drawing()`. Text is mathematics only where a plot asks for it."""

    @functools.wraps(plot)
    def drawn(*args: Any, **kwargs: Any) -> Picture:
        with drawing(), matplotlib.rc_context({"text.parse_math": False}):
            return plot(*args, **kwargs)

    return drawn


class Picture:
    """A finished plot. It shows itself in a notebook, and keeps what it shows.

    ax       the axes (the first, where there are several; `axes` has all), figure: the matplotlib figure
    data     the arrays that are drawn, by name
    text     one sentence with the finding in numbers; screen readers and readers without pictures get it
    """

    def __init__(self, axes: Axes | Sequence[Axes], data: Mapping[str, Any], text: str):
        self.axes = [axes] if isinstance(axes, Axes) else list(axes)
        self.data = {name: np.asarray(values) for name, values in data.items()}
        self.text = text

    @property
    def ax(self) -> Axes:
        return self.axes[0]

    @property
    def figure(self) -> Figure:
        return self.ax.get_figure(root=True)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the figure (.png, .svg, .pdf) or the arrays behind it (.csv, one column per row of an array).

        The write is atomic. Errors: ValueError for another ending or a folder; OSError where nothing can be written,
        and then what was there before stays.
        """
        path = check.path("path", path)
        kind = path.suffix.lower().lstrip(".")
        if kind not in ("png", "svg", "pdf", "csv") or path.is_dir():
            raise check.refuse("path", str(path), "a file that ends in .png, .svg, .pdf or .csv")
        if kind == "csv":
            content = _csv(self.data)
        else:
            buffer = io.BytesIO()
            with drawing():
                self.figure.savefig(buffer, format=kind)
            content = buffer.getvalue()
            if kind == "png" and _theme == "dark":
                with io.BytesIO() as turned:
                    self._themed(Image.open(buffer), 1.0).save(turned, "png")
                    content = turned.getvalue()
        files.write_atomically(path, content)
        return path

    def _repr_png_(self) -> bytes:
        """The picture for a notebook: sharp on dense screens, in few colours."""
        return small_png(self._themed(self._sharp(), SHARP))

    def _sharp(self) -> Image.Image:
        buffer = io.BytesIO()
        with drawing():
            self.figure.savefig(buffer, format="png", dpi=SHARP * self.figure.dpi)
        return Image.open(buffer)

    def _themed(self, image: Image.Image, sharp: float, theme: str | None = None) -> Image.Image:
        """The picture as a theme has it (None: the one in force); sharp: its pixels per pixel of the figure."""
        if (theme or _theme) == "light":
            return image
        keep = zip(
            self._boxes(image, sharp), (np.asarray(photo.get_array()) for photo in self.photographs), strict=True
        )
        return Image.fromarray(darken(np.asarray(image.convert("RGBA")), keep))

    def _boxes(self, image: Image.Image, sharp: float) -> list[tuple[int, ...]]:
        """Where the photographs stand in the picture: (left, top, right, bottom) in its pixels."""
        found = []
        for photo in self.photographs:
            x0, y0, x1, y1 = sharp * photo.get_window_extent().extents
            box = round(x0), image.height - round(y1), round(x1), image.height - round(y0)
            found.append(tuple(max(0, one) for one in box))
        return found

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, str], dict[str, Any]]:
        image, width = self._sharp(), round(self.figure.bbox.width)
        png = base64.b64encode(small_png(self._themed(image, SHARP))).decode("ascii")
        bundle, about = {"image/png": png, "text/plain": self.text}, {"image/png": {"alt": self.text, "width": width}}
        kind, dark = "", ""
        if _theme == "light" and self.photographs:  # no filter turns a picture over and leaves these: it brings both
            turned = base64.b64encode(small_png(self._themed(image, SHARP, "dark"))).decode("ascii")
            kind, dark = "ltviz-photographs", f' style="--dark:url(data:image/png;base64,{turned})"'
            about["image/png"]["photographs"] = self._boxes(image, SHARP)  # for who makes a dark one of the kept image
        elif _theme == "light":
            kind, about["needs_background"] = "ltviz-picture", "light"  # the style of explorers and cards finds both
        # As a page too: JupyterLab shows an image without its alternative text.
        bundle["text/html"] = (
            f'<img class="{kind}" alt="{html.escape(self.text)}" width="{width}" '
            f'src="data:image/png;base64,{png}"{dark}>'
        )
        return bundle, about

    def dark_png(self) -> bytes:
        """The picture for a dark page, its photographs untouched."""
        return small_png(self._themed(self._sharp(), SHARP, "dark"))

    @property
    def photographs(self) -> list[Any]:
        """The images in it that are photographs, whose colours no theme may change."""
        return [one for ax in self.figure.axes for one in ax.images if one.get_gid() == PHOTO]

    def __repr__(self) -> str:
        return self.text


def _csv(data: Mapping[str, np.ndarray]) -> bytes:
    import pandas

    columns: dict[str, np.ndarray] = {}
    for name, values in data.items():
        if values.ndim <= 1:
            columns[name] = np.atleast_1d(values)
        else:
            rows = values.reshape(-1, values.shape[-1])
            index = np.ndindex(values.shape[:-1])
            columns |= {f"{name}[{','.join(map(str, i))}]": row for i, row in zip(index, rows, strict=True)}
    frame = pandas.DataFrame({name: pandas.Series(list(column), dtype=object) for name, column in columns.items()})
    return frame.to_csv(index=False, lineterminator="\r\n").encode("utf-8", "replace")


def small_png(image: Image.Image) -> bytes:
    """A Pillow image as PNG in 255 colours, which take a third of the bytes; slow, for keeping in a file."""
    buffer = io.BytesIO()
    reduced = image.convert("RGB").quantize(255, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    reduced.save(buffer, "png", optimize=True)
    return buffer.getvalue()


# ---------------------------------------------------------------------------------------------------------- axes
def new_figure(width: float, height: float, layout: str | None = "constrained") -> Figure:
    """A bare figure of this size in inches at the present scale, on an opaque background; unknown to pyplot."""
    figure = Figure(figsize=(width, height), dpi=DPI * _scale, layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    if layout == "constrained":
        figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    return figure


def get_axes(
    ax: Axes | Sequence[Axes] | None, width: float = 6.6, height: float = 3.7, panels: int = 1, **grid: Any
) -> list[Axes]:
    """The axes to draw on: the caller's own, or those of a new figure with this many panels in a row."""
    if ax is None:
        return list(new_figure(width, height).subplots(1, panels, squeeze=False, **grid).flat)
    given = [ax] if isinstance(ax, Axes) else []
    if isinstance(ax, (list, tuple, np.ndarray)):
        given = list(np.array(ax, dtype=object).ravel())
    if len(given) != panels or not all(isinstance(a, Axes) for a in given) or len(set(map(id, given))) < panels:
        what = "one matplotlib Axes" if panels == 1 else f"a list of {panels} matplotlib Axes, one per panel"
        raise check.refuse("ax", ax, f"{what}; leave it out to get a new figure")
    return given


def tall(series: int, height: float = 3.7) -> float:
    """Height of a figure in inches that leaves the axes their size when the legend of so many series grows."""
    return height + 0.15 * max(0, series - 2)


def offset(ha: str, va: str) -> dict[str, Any]:
    """A small label whose place is given in points from what it names."""
    return {"textcoords": "offset points", "ha": ha, "va": va, "fontsize": 8}


def percent(axis: Any) -> None:
    """Fractions are drawn, percent is written."""
    axis.set_major_formatter(lambda value, _: f"{100 * value:.4g}%")


def plain_log(*axes: Any) -> None:
    """Write 0.01, 1, 1,000 on these log axes instead of powers of ten."""
    for axis in axes:
        axis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:.10g}")
        axis.set_minor_formatter("")


def rung(value: float) -> float:
    """An upper limit for an axis: one of few, so that the axis rests while what is drawn moves."""
    return float(LADDER[min(np.searchsorted(LADDER, value), len(LADDER) - 1)])


def look(index: int) -> dict[str, Any]:
    """Colour, marker and dash of the series with this number."""
    return {
        "color": PALETTE[index % len(PALETTE)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": DASHES[index % len(DASHES)],
    }


def group_look(name: str) -> dict[str, Any]:
    """Colour, marker and dash of "head", "mid" or "tail", and of "all" classes."""
    if name == "all":
        return {"color": INK, "marker": "", "linestyle": "-"}
    dash = DASHES[list(GROUP_COLOURS).index(name)]
    return {"color": GROUP_COLOURS[name], "marker": GROUP_MARKERS[name], "linestyle": dash}


def band(ax: Axes, x: np.ndarray, mean: np.ndarray, spread: np.ndarray, **kind: Any) -> Line2D:
    """A line, and a band of this width above and below it where that is known; returns the line, which may be moved."""
    (line,) = ax.plot(x, mean, **kind)
    if not np.isnan(spread).all():
        ax.fill_between(x, mean - spread, mean + spread, color=kind["color"], alpha=0.16, linewidth=0, zorder=2)
    return line


def several(rows: np.ndarray, error: str) -> str:
    """Seeds and their error, "1 seed" or "3 seeds, ±1 sd": what the label of rows (seeds, classes) says."""
    return seeds(len(rows)) + (f", ±1 {error}" if len(rows) > 1 else "")


def seeds(n: int) -> str:
    """How many there are: "1 seed", "3 seeds"."""
    return "1 seed" if n == 1 else f"{n} seeds"


def bin_size(k: int) -> int:
    """How many neighbouring ranks one point stands for, so that a class axis has at most about BINNED points."""
    return 1 if k <= BINNED else -(-k // 100)


def bin_ranks(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the points are on the class axis, and rows (seeds, classes) averaged over `bin_size` neighbouring ranks."""
    k, size = rows.shape[1], bin_size(rows.shape[1])
    starts = np.arange(0, k, size)
    defined = ~np.isnan(rows)
    total = np.add.reduceat(np.where(defined, rows, 0.0), starts, axis=1)
    n = np.add.reduceat(defined.astype(float), starts, axis=1)
    middle = (starts + np.minimum(starts + size, k) - 1) / 2
    return middle, np.where(n > 0, total / np.maximum(n, 1), np.nan)


def mean_sd(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (n - 1) over axis 0, leaving out NaN; NaN where too little is left."""
    defined = ~np.isnan(rows)
    n = defined.sum(0)
    mean = np.where(n > 0, np.where(defined, rows, 0.0).sum(0) / np.maximum(n, 1), np.nan)
    square = np.where(defined, (rows - mean) ** 2, 0.0).sum(0)
    return mean, np.where(n > 1, np.sqrt(square / np.maximum(n - 1, 1)), np.nan)


def reference(ax: Axes, value: float, text: str, axis: str = "y") -> None:
    """A thin dotted line at a value that means something (chance, no change), named in the legend."""
    line = ax.axhline if axis == "y" else ax.axvline
    line(value, label=text, **REFERENCE)


def points_up(ax: Axes, up: float) -> ScaledTranslation:
    """So many points upwards, whatever the size of the axes."""
    return ScaledTranslation(0, up / 72, ax.get_figure(root=True).dpi_scale_trans)


def finish(ax: Axes, title: str = "", legend: bool = True) -> None:
    """Title and legend above the axes, where they hide nothing; as many legend columns as fit."""
    above = 15.0 if any(text.get_gid() == "group" for text in ax.texts) else 5.0
    handles, labels = _entries(ax) if legend else ([], [])
    if labels:
        dpi, room = ax.get_figure(root=True).dpi, _room(ax)
        labels = [wrap(label, max(24, int(room / dpi / 0.066) - 6)) for label in labels]
        place = {"bbox_to_anchor": (0.0, 1.0), "bbox_transform": ax.transAxes + points_up(ax, above)}
        made = _in_columns(ax, handles, labels, room, loc="lower left", **place)
        above += made.get_window_extent().height * 72 / dpi + 4
    if title:
        ax.set_title(title, pad=above + 1, **literal())


def _in_columns(on: Axes | Figure, handles: Sequence[Any], labels: Sequence[str], room: float, **place: Any) -> Legend:
    """A legend in as many columns as fit into this many pixels, at most six."""
    made = None
    for columns in range(min(len(labels), 6), 0, -1):
        if made is not None:
            made.remove()
        made = on.legend(handles, labels, ncols=columns, **place)
        if made.get_window_extent().width <= room:
            break
    return made


def _entries(ax: Axes) -> tuple[list[Any], list[str]]:
    """Legend entries, series first and reference lines last."""
    pairs = zip(*ax.get_legend_handles_labels(), strict=True)
    pairs = sorted(pairs, key=lambda pair: getattr(pair[0], "get_gid", lambda: None)() == "reference")
    return [handle for handle, _ in pairs], [label for _, label in pairs]


def _room(ax: Axes) -> float:
    """Width in pixels that the axes will have; the layout of a figure of ours is not known before it is drawn."""
    figure, spec = ax.get_figure(root=True), ax.get_subplotspec()
    if figure.get_layout_engine() is None or spec is None:
        return max(ax.get_window_extent().width, 1.0)
    return figure.bbox.width / spec.get_gridspec().ncols - 0.95 * figure.dpi


def legend_over(axes: Sequence[Axes], handles: Sequence[Any], labels: Sequence[str]) -> None:
    """One legend for several panels: above them in a figure of ours, else in the first of the axes given."""
    figure = axes[0].get_figure(root=True)
    if not labels:
        return
    if figure.get_layout_engine() is None:
        axes[0].legend(handles, labels, fontsize=7)
        return
    room = figure.bbox.width - 0.2 * figure.dpi
    _in_columns(figure, handles, labels, room, loc="outside upper left", borderaxespad=0.6)


# --------------------------------------------------------------------------------------------------------- words
def as_percent(value: float, sign: bool = False) -> str:
    """0.123 -> "12.3%"; with sign, "+12.3 pp" for a difference."""
    if np.isnan(value):
        return "undefined"
    return f"{points(value)} pp" if sign else f"{100 * value:.1f}%"


def number(value: float) -> str:
    """A number as a reader wants it: 3 digits, no exponent between 0.001 and a million."""
    if value != value:
        return "undefined"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def points(value: float) -> str:
    """A difference of fractions in percentage points: 0.0123 -> "+1.2"; what rounds to nothing is +0.0, never -0.0."""
    return f"{round(100 * value, 1) + 0.0:+.1f}"


def plain(text: str) -> str:
    """A label of ours with its Greek letters spelled out, for a sentence."""
    return text.replace("ρ", "rho").replace("β", "beta").replace("rₛ", "r_s")
