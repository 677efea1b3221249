"""What every plot shares: the Picture that it returns, one look, and the helpers that draw axes, groups and legends.

Nothing here calls pyplot, and the user's own rcParams are never changed: our look is in force only inside `drawing()`,
under one lock, because callbacks of several threads draw in today's JupyterLab.
"""

from __future__ import annotations

import base64
import csv
import functools
import io
import itertools
import os
import textwrap
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from matplotlib.transforms import ScaledTranslation

from ..metrics import third_groups

DRAW_LOCK = threading.RLock()  # fonts, mathtext and rcParams are shared by all figures

INK, QUIET, FAINT = "#1B1B3A", "#5A5F73", "#D9DCE6"
# The first six differ by at least 30 (CIELAB) for normal vision and for every common colour blindness; each series
# has its own marker and dash besides.
PALETTE = ("#1557FF", "#FF7D01", "#00A88F", "#A3148F", "#5C4A00", "#1B1B3A", "#5BB8FF")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", (0, (5, 1.6)), (0, (1.2, 1.2)), (0, (5, 1.4, 1.2, 1.4)), (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)))
GROUP_COLOURS = {"head": PALETTE[0], "mid": PALETTE[2], "tail": PALETTE[1]}
GROUP_MARKERS = {"head": "o", "mid": "s", "tail": "^"}
GROUP_INK = {"head": "#0F43C9", "mid": "#00705F", "tail": "#B04F00"}  # dark enough to be read as text
CLASS_COLOURS = "plasma"  # from the most frequent class (dark blue) to the rarest (yellow-orange)

DPI = 110
_RC = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.5,
    "text.color": INK,
    "text.usetex": False,
    "figure.facecolor": "white",
    "figure.edgecolor": "white",
    "savefig.facecolor": "white",
    "savefig.bbox": None,
    "savefig.dpi": "figure",
    "svg.fonttype": "path",
    "axes.facecolor": "white",
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.labelsize": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": True,
    "axes.spines.bottom": True,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": FAINT,
    "grid.linewidth": 0.7,
    "grid.linestyle": "-",
    "grid.alpha": 1.0,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "lines.linewidth": 1.9,
    "lines.markersize": 5.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.labelcolor": INK,
    "legend.handlelength": 2.4,
    "legend.columnspacing": 1.6,
    "legend.borderaxespad": 0.0,
    "legend.borderpad": 0.1,
}
_scale = 1.0


def style(scale: float | None = None) -> float:
    """Set how large pictures made from now on are (1 for reading, 1.6 for a projector); returns the scale in force.

    Letters, lines and points grow together, so the layout does not change. Without an argument nothing changes.
    """
    global _scale
    if scale is not None:
        if not 0.25 <= float(scale) <= 5:
            raise ValueError(f"scale must lie between 0.25 and 5, not {scale}; 1 is for reading, 1.6 for a projector")
        _scale = float(scale)
    return _scale


@contextmanager
def drawing() -> Iterator[None]:
    """Our look and the lock, for as long as something is drawn."""
    with DRAW_LOCK, matplotlib.rc_context(_RC):
        yield


def draws(plot: Callable[..., Picture]) -> Callable[..., Picture]:
    """Decorator: run a plot inside `drawing()`."""

    @functools.wraps(plot)
    def drawn(*args: Any, **kwargs: Any) -> Picture:
        with drawing():
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
        """Write the figure (.png, .svg, .pdf) or the arrays behind it (.csv, one column per row of an array)."""
        path = Path(path)
        kind = path.suffix.lower().lstrip(".")
        if kind == "csv":
            _write_csv(path, self.data)
        elif kind in ("png", "svg", "pdf"):
            with drawing():
                self.figure.savefig(path, format=kind)
        else:
            raise ValueError(f"path must end in .png, .svg, .pdf or .csv, not {path.name!r}")
        return path

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        with drawing():
            self.figure.savefig(buffer, format="png")
        return buffer.getvalue()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, str], dict[str, Any]]:
        bundle = {"image/png": base64.b64encode(self._repr_png_()).decode("ascii"), "text/plain": self.text}
        return bundle, {"image/png": {"alt": self.text}}

    def __repr__(self) -> str:
        return self.text


def _write_csv(path: Path, data: Mapping[str, np.ndarray]) -> None:
    columns: dict[str, np.ndarray] = {}
    for name, values in data.items():
        if values.ndim <= 1:
            columns[name] = np.atleast_1d(values)
        else:
            rows = values.reshape(-1, values.shape[-1])
            columns |= {f"{name}[{','.join(map(str, i))}]": row
                        for i, row in zip(np.ndindex(values.shape[:-1]), rows, strict=True)}
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(itertools.zip_longest(*columns.values(), fillvalue=""))


# ---------------------------------------------------------------------------------------------------------- axes
def new_figure(width: float, height: float, layout: str | None = "constrained") -> Figure:
    """A bare figure of this size in inches at the present scale, on an opaque background; unknown to pyplot."""
    figure = Figure(figsize=(width, height), dpi=DPI * _scale, layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def get_axes(
    ax: Axes | Sequence[Axes] | None, width: float = 6.6, height: float = 3.7, panels: int = 1, **grid: Any
) -> list[Axes]:
    """The axes to draw on: the caller's own, or those of a new figure with this many panels in a row."""
    if ax is None:
        return list(new_figure(width, height).subplots(1, panels, squeeze=False, **grid).flat)
    given = [ax] if isinstance(ax, Axes) else list(np.ravel(np.array(ax, dtype=object)))
    if len(given) != panels or not all(isinstance(a, Axes) for a in given):
        what = "one matplotlib Axes" if panels == 1 else f"a list of {panels} matplotlib Axes, one per panel"
        raise ValueError(f"ax must be {what}, not {ax!r}; leave it out to get a new figure")
    return given


def percent(axis: Any, decimals: int | None = None) -> None:
    """Fractions are drawn, percent is written."""
    axis.set_major_formatter(PercentFormatter(1.0, decimals=decimals))


def look(index: int) -> dict[str, Any]:
    """Colour, marker and dash of the series with this number."""
    return {
        "color": PALETTE[index % len(PALETTE)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": DASHES[index % len(DASHES)],
    }


def band(ax: Axes, x: np.ndarray, rows: np.ndarray, index: int, label: str, **line: Any) -> None:
    """Mean line of rows (seeds, points), with a band of one standard deviation where there are several seeds."""
    mean, sd = mean_sd(rows)
    style_of = look(index) | line
    if len(x) > 40:
        style_of["marker"] = ""
    ax.plot(x, mean, label=label, zorder=3, markeredgecolor="white", markeredgewidth=0.6, **style_of)
    if len(rows) > 1:
        ax.fill_between(x, mean - sd, mean + sd, color=style_of["color"], alpha=0.16, linewidth=0, zorder=2)


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
    line(value, color=QUIET, linestyle=(0, (1, 2)), linewidth=1.2, zorder=1.5, label=text)


# --------------------------------------------------------------------------------------------------- class axis
def class_axis(ax: Axes, counts: np.ndarray, names: Sequence[str] | None = None) -> None:
    """Classes in order of count along x: head, mid and tail shaded, names and counts below as far as they fit.

    counts (k,) descending. names: None where the classes of one rank differ from seed to seed.
    """
    k = len(counts)
    ax.set_xlim(-0.5 - 0.01 * k, k - 0.5 + 0.01 * k)
    shade_groups(ax, counts)
    if k > 14:
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        ax.xaxis.set_major_formatter(lambda x, _: f"{x + 1:.0f}" if 0 <= x < k else "")
        ax.set_xlabel(f"rank of the class by training images (first {counts[0]:,.0f}, last {counts[-1]:,.0f})")
        return
    first = [str(n) for n in names] if names is not None else [str(j + 1) for j in range(k)]
    longest = max(max(map(len, first)), max(len(f"{n:,.0f}") for n in counts))
    if longest * 0.078 * 8.5 / 9.5 < ax.bbox.width / ax.figure.dpi / k:
        ax.set_xticks(range(k), [f"{name}\n{n:,.0f}" for name, n in zip(first, counts, strict=True)], linespacing=1.35)
    else:
        labels = [f"{textwrap.shorten(name, 18, placeholder='…')} {n:,.0f}"
                  for name, n in zip(first, counts, strict=True)]
        ax.set_xticks(range(k), labels, rotation=35, ha="right", rotation_mode="anchor")
    what = "class" if names is not None else "rank of the class"
    ax.set_xlabel(f"{what}, and its training images")


def shade_groups(ax: Axes, counts: np.ndarray) -> None:
    """Tint the head, mid and tail thirds of a class axis and name them above it."""
    groups = third_groups(counts)
    for name, mask in groups.items():
        at = np.flatnonzero(mask)
        if not groups["head"].any() or not at.size:
            continue
        ax.axvspan(at[0] - 0.5, at[-1] + 0.5, color=GROUP_COLOURS[name], alpha=0.06, linewidth=0, zorder=0)
        ax.text((at[0] + at[-1]) / 2, 1.0, name, transform=ax.get_xaxis_transform() + _points(ax, 3), ha="center",
                va="bottom", fontsize=8, color=GROUP_INK[name])
    ax.has_strip = True


def _points(ax: Axes, up: float) -> ScaledTranslation:
    return ScaledTranslation(0, up / 72, ax.get_figure(root=True).dpi_scale_trans)


def finish(ax: Axes, title: str = "", legend: bool = True) -> None:
    """Title and legend above the axes, where they hide nothing; as many legend columns as fit."""
    above = 15.0 if getattr(ax, "has_strip", False) else 5.0
    handles, labels = ax.get_legend_handles_labels() if legend else ([], [])
    if labels:
        room = max(ax.get_window_extent().width, 1.0)
        letter = 8.5 * 0.6 / 72 * ax.get_figure(root=True).dpi
        labels = [textwrap.fill(label, max(24, int(room / letter) - 6)) for label in labels]
        box = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "bbox_transform": ax.transAxes + _points(ax, above)}
        for columns in range(len(labels), 0, -1):
            drawn = ax.legend(handles, labels, ncols=columns, **box)
            extent = drawn.get_window_extent()
            if extent.width <= room:
                break
        above += extent.height * 72 / ax.get_figure(root=True).dpi + 4
    if title:
        ax.set_title(title, pad=above + 1)


# --------------------------------------------------------------------------------------------------------- words
def as_percent(value: float, sign: bool = False) -> str:
    """0.123 -> "12.3 %"; with sign, "+12.3 pp" for a difference."""
    if np.isnan(value):
        return "undefined"
    return f"{100 * value:+.1f} pp" if sign else f"{100 * value:.1f} %"


def number(value: float) -> str:
    """A number as a reader wants it: 3 digits, no exponent between 0.001 and a million."""
    if value != value:
        return "undefined"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
