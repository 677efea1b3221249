"""The picture of a lab: loss and validation accuracy as it trains, accuracy by class, and the runs so far in rows."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D

from .. import metrics
from ..plots.comparison import NOT_COMPARED, WORDS, Row, SeedRows
from ..plots.comparison import compare as compare_series
from ..plots.history import mean_of_classes
from ..plots.picture import DASHES, DRAW_LOCK, INK, MANY, QUIET, REFERENCE, as_percent, look, mean_sd, percent, rung
from ..plots.series import Series, series_of
from ..plots.surface import Surface
from ..plots.text import literal, short
from ..run import Run
from ..training import Trainer
from .frames import Point, Region
from .payers import PayersAxes, Who, same_data

__all__ = ["ROWS", "Board", "Comparison", "Curve", "Entry", "View", "colours", "compare", "look_at", "mean_of_classes"]

ROWS = 6  # of the comparison in sight: the reference, and the latest
NAMES = 40  # letters of their names above the curves
OF_THE_SEED = ("seed", "spec", "fingerprint", "class_names", "mean", "std")  # of a run's data: no argument, or drawn
NOTHING = np.array([])
_numbers: dict[str, int] = {"ce": 0}  # label -> the number of its colour, for as long as this process lives


def colours(label: str) -> dict[str, Any]:
    """Colour and marker of a label: the same in every lab, whatever else is trained or forgotten."""
    with DRAW_LOCK:
        number = _numbers.setdefault(label, len(_numbers))
    return {key: value for key, value in look(number).items() if key != "linestyle"}


def label_of(run: Run) -> str:
    """What a run is called: the method, and the settings that differ from their defaults."""
    return str(run.name or run.method)


# -------------------------------------------------------------------------------------------------------- comparison
@dataclass(frozen=True)
class Entry(Row):
    """A row of the comparison, also whose it is, its runs by seed, its epochs, accuracy by rank of the class (k,)."""

    label: str = ""
    runs: tuple[Run, ...] = ()
    epochs: int = 0
    by_class: np.ndarray = field(default_factory=lambda: NOTHING)
    shown: str = ""  # its name without the number of seeds
    other: int = 0  # 0: on data loaded as those of the first row; 1, 2, ...: the number of its other data


def compare(runs: Sequence[Run], group: str, reference: str | None = None) -> list[Entry]:
    """The runs as rows, each compared with the runs of the reference, a label (None: that of the first run).

    Of several runs of the reference (other data, other epochs) a row is compared with those on its own data and, if it
    can be, of as many epochs; the first stand in the first row. Unequal epochs are said before a verdict is.
    """
    found = _with_data(series_of(list(runs))) if runs else []
    for one in found:
        one.runs.sort(key=lambda run: run.seed)
    wanted = label_of(runs[0]) if runs and reference is None else reference
    bases = [one for one in found if label_of(one.runs[0]) == wanted]
    ordered = bases[:1] + [one for one in found if one not in bases[:1]]
    loaded = [json.dumps(_data_of(one), sort_keys=True, default=str) for one in ordered]
    numbers = {content: i for i, content in enumerate(dict.fromkeys(loaded))}
    rows = [_entry(one, bases, group, wanted) for one in ordered]
    return [replace(row, other=numbers[content]) for row, content in zip(rows, loaded, strict=True)]


def _data_of(one: Series) -> dict[str, Any]:
    """How the data of these runs were loaded, apart from the seed."""
    data = dict(one.runs[0].data or {})
    return {key: value for key, value in {**data, **(data.get("spec") or {})}.items() if key not in OF_THE_SEED}


def _with_data(found: list[Series]) -> list[Series]:
    """The same series; where their data differ by more than the seed, each name says how its own were loaded."""
    loaded = [_data_of(one) for one in found]
    keys = dict.fromkeys(key for data in loaded for key in data)
    differ = [key for key in keys if len({json.dumps(data.get(key), default=str) for data in loaded}) > 1]
    for one, data in zip(found, loaded, strict=True):
        words = [f"{key}={data[key]}" for key in differ if key in data]
        extra = "".join(f" {word}" for word in words if word not in one.name.split())
        one.name, one.shown = one.name + extra, one.shown + extra
    return found


class Comparison:
    """The rows of `compare`, made anew only where something in them has changed."""

    def __init__(self):
        self._known: tuple[Any, list[Entry]] = ((), [])

    def rows(self, runs: Sequence[Run], group: str, reference: str) -> list[Entry]:
        """As `compare`; the very same list while the runs, their names and what is asked stay the same."""
        state = (group, reference, [(id(run), run.name, run.status) for run in runs])
        known, rows = self._known
        if known != state:
            rows = compare(runs, group, reference)
            self._known = state, rows
        return rows


def _entry(one: Series, bases: Sequence[Series], group: str, reference: str | None) -> Entry:
    if any(one is base for base in bases):
        base = bases[0]
    else:
        base = max(bases, key=lambda base: (same_data(one, base), _epochs(one) == _epochs(base)), default=None)
    row = compare_series([one], base or one, group, other_data="other data")[0]
    words, pair = row.words, row.pair
    if base is None:
        words, pair = f"no run of {short(reference, 20)} to compare with", NOT_COMPARED._replace(verdict="no reference")
    elif pair is not None and not np.isnan(pair.mean):
        if _epochs(one) != _epochs(base):
            words = f"{_epochs(one)} epochs against {_epochs(base)}, {words}"
        elif base is not bases[0]:  # not with the first row
            words = f"against {short(base.shown, 24)}, {words}"
    by_class = mean_sd(one.stack(metrics.recall))[0]
    more = (label_of(one.runs[0]), tuple(one.runs), _epochs(one), by_class, one.shown)
    return Entry(row.name, row.values, pair, words, *more)


def _epochs(one: Series) -> int:
    """How many epochs these runs were asked for, or have."""
    run = one.runs[0]
    return int((run.recipe or {}).get("epochs") or len((run.history or {}).get("epoch", ())))


def rows_in_sight(rows: Sequence[Entry]) -> list[Entry]:
    """The first row and the latest, as many as the picture has place for."""
    return [*rows[:1], *rows[max(1, len(rows) - ROWS + 1) :]]


# ----------------------------------------------------------------------------------------------------------- picture
@dataclass(frozen=True)
class Curve:
    """A run, or the mean of several: whose (label and seed), its loss and its validation accuracy, epoch by epoch."""

    label: str
    whose: str
    loss: np.ndarray
    accuracy: np.ndarray
    other: int = 0  # as that of its row

    @property
    def dashes(self) -> Any:
        """Solid on the data of the first row; other data are dashed, each in its own way."""
        return DASHES[self.other % len(DASHES)]


@dataclass(frozen=True)
class View:
    """What is drawn: faint and bold curves, accuracy by class (label, values (k,), other), rows of the comparison."""

    epochs: int
    faint: list[Curve]
    bold: list[Curve]
    classes: list[tuple[str, np.ndarray, int]]
    title: str  # of the bold curves
    by_class: str  # which accuracy by class: "validation" or "test"
    note: str
    group: str
    rows: list[Entry]
    loss: np.ndarray  # of the run under way, or of the last one
    who: Who | None = None  # drawn in place of accuracy by class
    beyond: str = ""  # how far the rows lie beyond the slider of the plain network, in words


def look_at(
    runs: Sequence[Run], rows: list[Entry], live: Trainer | None, whose: str, group: str, epochs: int, note: str
) -> View:
    """What is seen of these runs, and of a live one: bold while it trains, else the mean of each row over its seeds.

    epochs: of an empty picture. While a run trains, accuracy by class is that on validation images, its own beside
    that of the reference under the same seed; afterwards it is the mean of each row on the test set.
    """
    of = {id(run): row for row in rows for run in row.runs}
    faint = []
    for run in runs:
        row = of.get(id(run))  # None: the same run twice is one
        curve = _curve(
            label_of(run), f"{row.shown if row else label_of(run)}, seed={run.seed}", run.history, run.counts, group
        )
        faint.append(replace(curve, other=row.other if row else 0))
    length = max((len(one.loss) for one in faint), default=0)
    if live is None:
        bold = [_mean(row, faint, runs) for row in rows_in_sight(rows)]
        classes = [(row.label, row.by_class, row.other) for row in rows_in_sight(rows)]
        title = _heading(rows) if rows else ""
        return View(length or epochs, faint, bold, classes, title, "test", note, group, rows, NOTHING)
    label, history = live.request.label, live.history
    now = _curve(label, whose, history, live.data.counts.cpu().numpy(), group)
    content = live.request.identity["fingerprint"]
    others = [run for row in rows if row.label == rows[0].label != label for run in row.runs]
    beside = [run for run in others if run.seed == live.seed and run.data.get("fingerprint") == content]
    classes = [(label_of(run), _last(run.history), 0) for run in beside[-1:]]
    classes = [one for one in (*classes, (label, _last(history), 0)) if len(one[1])]
    return View(
        max(length, live.recipe.epochs), faint, [now], classes, whose, "validation", note, group, rows, now.loss
    )  # fmt: skip


def _heading(rows: Sequence[Entry]) -> str:
    """Whose curves are seen, and how they are drawn; of more names than there is room for, where they stand."""
    seen = rows_in_sight(rows)
    names = ", ".join(row.shown for row in seen)
    dashed = "; dashed: other data" if any(row.other for row in seen) else ""
    names = short(names, NAMES) if len(seen) == 1 else names
    whose = names if len(names) + len(dashed) <= NAMES else "Colours as below"
    return f"{whose}. Bold: mean over the seeds; faint: each seed{dashed}"


def _curve(label: str, whose: str, history: Mapping[str, Any], counts: np.ndarray, group: str) -> Curve:
    loss = np.asarray(history.get("loss", NOTHING), float)
    accuracy = np.asarray(history.get("val_accuracy", NOTHING), float)
    if accuracy.ndim == 2:
        masks = {"all": np.ones(len(counts), bool), **metrics.third_groups(counts)}
        accuracy = mean_of_classes(accuracy, masks[group])
    return Curve(label, whose, loss, accuracy)


def _mean(row: Entry, faint: Sequence[Curve], runs: Sequence[Run]) -> Curve:
    """The mean of a row's curves over its seeds."""
    of = [curve for curve, run in zip(faint, runs, strict=True) if any(run is one for one in row.runs)]
    parts = []
    for part in ("loss", "accuracy"):
        curves = [getattr(curve, part) for curve in of]
        shortest = min((len(curve) for curve in curves), default=0)
        parts.append(mean_sd(np.array([curve[:shortest] for curve in curves]))[0] if shortest else NOTHING)
    return Curve(row.label, f"{row.name}, mean", *parts, row.other)


def _last(history: Mapping[str, Any]) -> np.ndarray:
    """Accuracy of each class (k,) on validation images after the last epoch; empty where there is none."""
    accuracy = np.asarray(history.get("val_accuracy", NOTHING), float)
    return NOTHING if accuracy.ndim < 2 or not len(accuracy) or np.isnan(accuracy[-1]).all() else accuracy[-1]


class Board:
    """Axes and artists of a lab, made once; `draw` moves them."""

    def __init__(self, surface: Surface, k: int):
        self.surface = surface
        top = surface.figure.add_gridspec(1, 3, left=0.062, right=0.985, top=0.885, bottom=0.555, wspace=0.27)
        self.left, self.middle, self.right = (surface.figure.add_subplot(top[0, i]) for i in range(3))
        low = surface.figure.add_gridspec(1, 2, left=0.235, right=0.735, top=0.4, bottom=0.075, wspace=0.2)
        place = self.right.get_position().shrunk(0.91, 1).translated(0.0175, 0)  # its ends and an axis are written
        self.payers = PayersAxes(surface.figure.add_axes(place, visible=False), ROWS, colours)
        self.bottom, self.beside = (surface.figure.add_subplot(low[0, i]) for i in range(2))
        quiet = {"ha": "center", "va": "center", "color": QUIET, "fontsize": 9}
        self._frame(k)
        self.faint = [LineCollection([], linewidths=0.9, alpha=0.3, zorder=2) for _ in (self.left, self.middle)]
        for ax, lines in zip((self.left, self.middle), self.faint, strict=True):
            ax.add_collection(lines, autolim=False)
        self.bold = [[self._line(ax, linewidth=2.2) for _ in range(ROWS)] for ax in (self.left, self.middle)]
        marked = {"marker": "o", "markersize": 4} if k <= MANY else {}
        self.classes = [self._line(self.right, linewidth=1.6, **marked) for _ in range(ROWS)]
        self.whose = surface.figure.text(0.062, 0.975, "", va="top", fontsize=10, fontweight="bold", **literal())
        self.note = self.middle.text(0.5, 0.5, "", transform=self.middle.transAxes, **quiet)
        self.rows = SeedRows(self.bottom, [None] * ROWS, self.beside, lines=3, columns=24)
        for words in self.rows.words:
            words.set_fontsize(8)
        self.gaps = [self._line(self.beside, linewidth=2.0, marker="o", markersize=6) for _ in range(ROWS)]
        self.zero = self.beside.axvline(0, **REFERENCE)
        waits = "Finished runs\nappear here"
        self.empty = self.bottom.text(0.5, 0.5, waits, transform=self.bottom.transAxes, **quiet)
        lines = [*self.bold[0], *self.bold[1], *self.classes, *self.gaps]
        surface.animate(*self.faint, *lines, self.whose, self.note, self.empty, *self.rows.moving, *self.payers.moving)

    def _frame(self, k: int) -> None:
        """What stands still."""
        for ax in (self.left, self.middle):
            ax.locator_params(axis="x", nbins=5, integer=True)
            ax.set_xlabel("epoch")
        for ax in (self.middle, self.right):
            ax.set_ylim(-0.02, 1.02)
            percent(ax.yaxis)
        self.right.set(xlim=(-0.5, k - 0.5), xlabel="class, most frequent first")
        self.right.locator_params(axis="x", nbins=6, integer=True)
        small = {"fontsize": 9.5}
        self.titles = [ax.set_title("", **small) for ax in (self.middle, self.right, self.bottom, self.beside)]
        self.left.set_title("Training loss", **small)
        self.titles[3].set_text("Difference (pp), 95%")
        self.titles[2].set_position((-0.86, 1.0))
        self.beside.xaxis.set_major_formatter(lambda v, _: f"{100 * v:+.3g}" if abs(v) > 1e-9 else "0")
        self.beside.locator_params(axis="x", nbins=4)
        self.beside.set_yticks([])
        self.beside.grid(True, axis="x")
        self.payers.ax.set_title("Who pays? (line: slider)", **small)
        self.payers.ax.yaxis.labelpad = 0
        for ax in (self.left, self.middle, self.right, self.payers.ax, self.bottom, self.beside):
            ax.tick_params(labelsize=8)
            for axis in (ax.xaxis, ax.yaxis):
                axis.label.set_size(8.5)

    @staticmethod
    def _line(ax: Axes, **kind: Any) -> Line2D:
        return ax.plot([], [], color=INK, zorder=3, **kind)[0]

    def draw(self, view: View) -> None:
        """Move the artists; the lock is held."""
        rows, parts = rows_in_sight(view.rows), ("loss", "accuracy")
        for lines, bold, part in zip(self.faint, self.bold, parts, strict=True):
            curves = [(curve, getattr(curve, part)) for curve in view.faint]
            lines.set_segments([np.column_stack([_epoch(y), y]) for _, y in curves])
            lines.set_color([colours(curve.label)["color"] for curve, _ in curves] or INK)
            lines.set_linestyle([curve.dashes for curve, _ in curves] or "-")
            for line, curve in _filled(bold, view.bold):
                y = NOTHING if curve is None else getattr(curve, part)
                line.set(data=(_epoch(y), y), color=INK if curve is None else colours(curve.label)["color"])
                line.set_linestyle("-" if curve is None else curve.dashes)
        self.surface.show(self.right, view.who is None)
        self.surface.show(self.payers.ax, view.who is not None)
        self.payers.draw(view.who)
        for line, of in _filled(self.classes, [] if view.who else view.classes):
            label, y, other = of or ("ce", NOTHING, 0)
            beside = view.by_class == "validation" and of is not None and of is not view.classes[-1]
            line.set(data=(np.arange(len(y)), y), color=colours(label)["color"], alpha=0.4 if beside else 1.0)
            line.set_marker(colours(label)["marker"] if 0 < len(y) <= MANY else "")
            line.set_linestyle(DASHES[other % len(DASHES)])
        self.whose.set(text=view.title, color=colours(view.bold[0].label)["color"] if len(view.bold) == 1 else INK)
        self.note.set_text(view.note)
        self.rows.update(rows)
        self.empty.set_visible(not rows)
        self._compared(rows)
        self._scale(view, rows)

    def _compared(self, rows: Sequence[Entry]) -> None:
        """Colours of the rows, and the differences with their intervals."""
        for i, (line, row) in enumerate(_filled(self.gaps, rows)):
            kind = colours(row.label) if row else {}
            for artist in (self.rows.dots[i], line) if row else ():
                artist.set(**kind)
            known = row is not None and row.pair is not None and not np.isnan(row.pair.mean)
            ends = row.pair.interval if known else ()
            reach = [ends[0], row.pair.mean, ends[1]] if known else []
            line.set(data=(reach, [i] * len(reach)), markevery=[1] if known else [])

    def _scale(self, view: View, rows: Sequence[Entry]) -> None:
        losses = _finite(curve.loss for curve in (*view.faint, *view.bold))
        titles = [f"Validation accuracy ({view.group})", f"By class ({view.by_class})"]
        many = f" ({len(rows)} of {len(view.rows)} shown)" if len(rows) < len(view.rows) else ""
        titles.append(f"Test {WORDS[view.group]}{many}")
        for title, text in zip(self.titles, titles, strict=False):
            _put(title, "text", text)
        _put(self.left, "xlim", (0, view.epochs))
        _put(self.middle, "xlim", (0, view.epochs))
        _put(self.left, "ylim", (0, rung(losses.max() if len(losses) else 2.5)))
        for ax in (self.bottom, self.beside):
            _put(ax, "ylim", (max(len(rows), 3) - 0.45, -0.55))
        _put(self.bottom, "xlim", _reach(_finite(row.values for row in rows)))
        pairs = [row.pair for row in rows if row.pair is not None]
        gaps = np.abs(_finite([[pair.mean, *pair.interval] for pair in pairs]))
        far = max(math.ceil(float(gaps.max(initial=0.0)) * 21) / 20, 0.05)
        _put(self.beside, "xlim", (-far, far))

    def regions(self) -> list[Region]:
        """What can be pointed at: epochs and values of the curves, classes, and the rows of the comparison."""
        by_class = self.right, {"name": "accuracy by class", "xname": "class", "yname": "accuracy", "percent": "y"}
        who = self.payers.ax, {"name": "who pays", "xname": "frequent", "yname": "rare", "percent": "xy"}
        named = (
            (self.left, {"name": "training loss", "yname": "loss"}),
            (self.middle, {"name": "validation accuracy", "yname": "accuracy", "percent": "y"}),
            who if self.payers.ax.get_visible() else by_class,
            (self.bottom, {"name": "test accuracy", "xname": "accuracy", "percent": "x", "yname": "row"}),
        )
        return [Region.of(ax, **more) for ax, more in named]

    def points(self, view: View) -> list[Point]:
        """The end of every curve, each class or who pays, and each seed of the comparison, with whose it is."""
        found = []
        for curve in (*view.faint, *view.bold):
            for region, y in enumerate((curve.loss, curve.accuracy)):
                if len(y):
                    value = as_percent(y[-1]) if region else f"{y[-1]:.3f}"
                    found.append(Point(len(y), y[-1], f"{curve.whose}: {value} after epoch {len(y)}", region))
        if view.who:
            found += self.payers.points(view.who, 2)
        for label, values, _ in [] if view.who else view.classes:
            found += [Point(j, y, f"{label}, class {j}: {as_percent(y)}", 2) for j, y in enumerate(values)]
        for i, row in enumerate(rows_in_sight(view.rows)):
            where = self.rows.dots[i].get_ydata()
            of = zip(row.runs, row.values, where, strict=True)
            found += [Point(x, y, f"{row.shown}, seed={run.seed}: {as_percent(x)}", 3) for run, x, y in of]
        return found


def _epoch(values: np.ndarray) -> np.ndarray:
    return np.arange(1, len(values) + 1)


def _filled(artists: Sequence[Any], content: Sequence[Any]) -> Iterable[tuple[Any, Any]]:
    """Each artist with what it shows, or None."""
    return zip(artists, [*content, *[None] * len(artists)], strict=False)


def _finite(values: Iterable[Any]) -> np.ndarray:
    """All values that are finite, in one array."""
    found = np.concatenate([NOTHING, *(np.asarray(one, float) for one in values)])
    return found[np.isfinite(found)]


def _put(artist: Any, name: str, value: Any) -> None:
    """Set what stands still only where it changes: the background is then drawn anew."""
    if getattr(artist, f"get_{name}")() != value:
        getattr(artist, f"set_{name}")(value)


def _reach(values: np.ndarray) -> tuple[float, float]:
    """Ends of the axis of accuracies, in steps of ten percent."""
    if not len(values):
        return (-0.02, 1.02)
    low, high = math.floor(values.min() * 10 - 0.2) / 10, math.ceil(values.max() * 10 + 0.2) / 10
    return max(low, -0.02), min(high, 1.02)
