"""Explorer: the reader against the sampler. Every setting of the sliders can be tried, and is a trial of the study."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import numpy as np
from matplotlib.lines import Line2D

from .. import check
from ..check import many
from ..objective import Setting
from ..plots.picture import FAINT, INK, PALETTE, QUIET, as_percent
from ..plots.surface import Surface
from ..plots.text import short
from ..training import Background
from .axes import ends, in_values, round_ends, round_places, ticks, value_at, word
from .base import STATE_OF, Explorer
from .controls import Choice, Control, Number, button, control
from .frames import Point, Region
from .notebook import kernel, name_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

    from ..tuning import Tuning
    from ..tuning.space import Dimension

WHO = ("you", "sampler", "defaults")
WORDS = {"you": "you", "sampler": "the sampler", "defaults": "the defaults"}
LOOK = {"you": ("s", PALETTE[1]), "sampler": ("o", PALETTE[0]), "defaults": ("D", INK)}
OVER = {"sampler": 4, "defaults": 4.1, "you": 4.2}  # the reader's own marks lie on the others'
ACROSS, UP = "across", "up"
MANY = 5  # trials of the sampler at one press
BARS = 6  # settings whose importance is shown
EXPECTED = "a Tuning of one method, from lt.tune(method, data, trials=0)"


@dataclass(frozen=True)
class Map:
    """What is shown: places of the trials on the two axes, their values, whose they are, and where the sliders are.

    places (n, 2) in the coordinates of the sliders; values (n,); who (n,); early (n,): ended before their end
    here (2,): the sliders'; importance: name -> share, the largest first, empty while there are too few trials
    """

    axes: tuple[str, str]
    places: np.ndarray
    values: np.ndarray
    who: np.ndarray
    early: np.ndarray
    here: np.ndarray
    importance: Mapping[str, float]
    chosen: Mapping[str, Any]  # the sliders' setting


class Trying(Background):
    """Trials in the background, one after another."""

    def __init__(self, tuning: Tuning, total: int, follow: Callable[[], None]):
        super().__init__()
        self.tuning, self.total, self.follow = tuning, total, follow

    def work(self) -> str:
        return self.tuning.go(self.total, callback=lambda now: self.follow(), control=self.control)

    def told(self) -> None:
        self.follow()


class TuningExplorer(Explorer):
    """Sliders of the tuned settings, a map of what was tried, the values along one setting, and which setting matters.

    try_mine() tries the sliders' setting, ask_sampler(n) has the sampler choose n more; both are what the buttons do.
    """

    function = "tuning"
    title = "You against the sampler"
    size = (7.6, 4.4)

    def __init__(self, tuning: Tuning, across: Any = ..., up: Any = ..., **settings: Any):
        from ..tuning import Tuning

        check.instance("tuning", tuning, Tuning, EXPECTED)
        if len(tuning.plan.space.keys) > 1 or len(tuning.plan.space.dimensions) > 12:
            raise check.refuse("tuning", tuning.name, EXPECTED)
        self.tuning = tuning
        self.dimensions = {one.setting: one for one in tuning.plan.space.dimensions}
        check_known(settings, self.dimensions)
        made = {name: _control(one, settings.get(name, ...)) for name, one in self.dimensions.items()}
        names = tuple(made)
        axes = {
            ACROSS: Choice(ACROSS, Setting(names[0], choices=names, meaning="the setting along the map"), across),
            UP: Choice(UP, Setting(names[min(1, len(names) - 1)], choices=names, meaning="that up the map"), up),
        }
        self._work: Trying | None = None
        self._read()
        self.mine = button("Try mine", "hand-o-up", "Train the sliders' setting, as a trial", self._act(self.try_mine))
        self.one = button("Sampler", "magic", "Let the sampler choose one", self._act(self.ask_sampler))
        tip = f"Let the sampler choose {MANY}"
        self.many = button(f"{MANY} more", "forward", tip, self._act(lambda: self.ask_sampler(MANY)))
        self.end = button("Stop", "stop", "Put back the trial under way", self._act(self.stop))
        self.end.disabled = True
        row = widgets.HBox([self.mine, self.one, self.many, self.end], layout={"width": "100%", "flex_flow": "wrap"})
        super().__init__({**made, **axes}, extra=(row,))

    def _act(self, act: Callable[[], Any]) -> Callable[[], None]:
        return lambda: self.guard(act)

    # -------------------------------------------------------------------------------------------------- trials
    @property
    def running(self) -> bool:
        return self._work is not None and not self._work.ended.is_set()

    def try_mine(self, inline: bool | None = None) -> None:
        """Train the sliders' setting as the next trial. RuntimeError while another is under way."""
        values = {name: self.controls[name].value for name in self.dimensions}
        self._refuse_two()
        self.tuning.enqueue(**values)
        self._start(1, inline)

    def ask_sampler(self, n: int = 1, inline: bool | None = None) -> None:
        """Have the sampler choose n more settings, and train them. RuntimeError while another is under way."""
        n = check.whole("n", n, 1, 1000)
        self._refuse_two()
        self._start(n, inline)

    def stop(self) -> None:
        """End the trial under way; its setting is put back, and is tried first the next time."""
        if self._work is not None:
            self._work.stop()

    def wait(self, timeout: float | None = None) -> None:
        """Wait until nothing is under way, or `timeout` seconds have passed."""
        if self._work is not None:
            self._work.wait(None if timeout is None else check.number("timeout", timeout, 0))

    def _refuse_two(self) -> None:
        if self.running:
            raise RuntimeError("a trial is under way: wait until it is done, or press Stop")

    def _start(self, n: int, inline: bool | None) -> None:
        if inline is None:
            inline = kernel() is None or os.environ.get("LTVIZ_PROFILE") == "fast"
        self._work = Trying(self.tuning, len(self.tuning) + n, self._follow)
        self._work.start(check.flag("inline", inline))
        self._buttons()
        if inline:
            self._follow()

    def _follow(self) -> None:
        """Show what has been tried by now."""
        self._read()
        self.screen.forget()
        self.refresh()
        self._buttons()
        if self._work is not None and self._work.error is not None:
            self.show_error(f"{type(self._work.error).__name__}: {self._work.error}")

    def _buttons(self) -> None:
        under_way = self._work is not None and self._work.state == "running"
        self.mine.disabled = self.one.disabled = self.many.disabled = under_way
        self.end.disabled = not under_way

    def _read(self) -> None:
        """The trials that have a value, once for all pictures until the next one ends."""
        frame = self.tuning.table()
        self.rows = frame[frame["value"].notna()].sort_index()
        complete = self.rows[self.rows["ended"] == "finished"]
        self.importance: dict[str, float] = {}
        if len(complete) >= 4 and complete["value"].nunique() > 1:
            self.importance = dict(self.tuning.importance().head(BARS))

    # ------------------------------------------------------------------------------------------------- picture
    def compute(self, across: str, up: str, **values: Any) -> Map:
        axes = (across, up)
        places = np.array([[self._place(name, value) for value in self.rows[name]] for name in axes]).T
        return Map(
            axes, places.reshape(-1, 2), self.rows["value"].to_numpy(float), self.rows["by"].to_numpy(str),
            (self.rows["ended"] != "finished").to_numpy(bool),
            np.array([self._place(name, values[name]) for name in axes]), self.importance, values,
        )  # fmt: skip

    def _place(self, name: str, value: Any) -> float:
        """Where a value lies on its axis; NaN for a setting that had no effect in its trial."""
        one, dimension = self.controls[name], self.dimensions[name]
        if value is None or value != value:
            return np.nan
        if isinstance(one, Number):
            return one.place(value)
        return float([str(choice) for choice in dimension.choices].index(str(value)))

    def build(self, surface: Surface) -> None:
        figure = surface.figure
        self.map = figure.add_axes((0.11, 0.13, 0.39, 0.66))
        self.slice = figure.add_axes((0.61, 0.56, 0.34, 0.31))
        self.bars = figure.add_axes((0.74, 0.13, 0.24, 0.24))
        titles = ((0.11, 0.945, "What was tried"), (0.61, 0.945, ""), (0.61, 0.425, "Share of the variance explained"))
        look = {"fontsize": 9.5, "fontweight": "bold", "va": "center"}
        _, self.along, _ = (figure.text(x, y, text, **look) for x, y, text in titles)
        self.cross = self.map.plot([], [], "+", color=INK, markersize=15, markeredgewidth=1.6, zorder=6)[0]
        self.line = self.slice.axvline(0.0, color=QUIET, linewidth=1.2, zorder=1)
        self.dots = {}
        for who, (marker, colour) in LOOK.items():
            look = {"marker": marker, "edgecolors": colour, "linewidths": 1.2, "zorder": OVER[who]}
            self.dots[who] = [self.map.scatter([], [], s=[], facecolors=colour, **look),
                              self.slice.scatter([], [], s=26, facecolors=colour, **look)]  # fmt: skip
        self.slice.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        shown = [self.map.plot([], [], marker, color=colour, label=who)[0] for who, (marker, colour) in LOOK.items()]
        figure.legend(handles=shown, loc="center left", bbox_to_anchor=(0.095, 0.89), ncols=3, fontsize=8.5)
        self.sizes: Any = None
        self.bars.set(xlim=(0, 1), xticks=(0, 0.5, 1))
        for ax in (self.map, self.slice, self.bars):
            ax.tick_params(labelsize=8.5)
        self._shape: Any = None
        surface.animate(self.line, self.cross, *(dots for pair in self.dots.values() for dots in pair))

    def draw(self, result: Map) -> None:
        reach = (result.values.min(), result.values.max()) if len(result.values) else None
        complete = int((~result.early).sum())
        shape = result.axes, tuple(result.importance.items()), reach, complete
        if shape != self._shape:  # a slider that moves changes none of it
            self._shape = shape
            self._draw_axes(result)
            shares = {word(self.controls[name]): share for name, share in result.importance.items()}
            draw_bars(self.bars, shares, complete)
            self._draw_values(result.values)
        self.cross.set_data([result.here[0]], [result.here[1]])
        self.line.set_xdata([result.here[0]])
        sizes = mark_sizes(result.values)
        for who, (on_map, on_slice) in self.dots.items():
            mine = result.who == who
            colour = LOOK[who][1]
            faces = [FAINT if early else colour for early in result.early[mine]]
            on_map.set_offsets(result.places[mine])
            on_map.set_sizes(sizes[mine])
            on_slice.set_offsets(np.c_[result.places[mine, 0], result.values[mine]])
            for dots in (on_map, on_slice):
                dots.set_facecolors(faces or colour)

    def _draw_axes(self, result: Map) -> None:
        across, up = (self.controls[name] for name in result.axes)
        for set_to, one, which in (("x", across, self.map), ("y", up, self.map), ("x", across, self.slice)):
            (low, high), (places, labels) = ends(one), ticks(one)
            margin = 0.06 * (high - low)
            which.set(**{f"{set_to}lim": (low - margin, high + margin)})
            axis = which.xaxis if set_to == "x" else which.yaxis
            axis.set_ticks(places, labels)
        self.map.set_ylabel(word(up), fontsize=9)
        for ax in (self.map, self.slice):
            ax.set_xlabel(word(across), fontsize=9, labelpad=1)
        self.along.set_text(f"Validation value along {short(word(across), 14)}")

    def _draw_values(self, values: np.ndarray) -> None:
        """What the sizes of marks mean, and the axis of values: as far as they reach, with room for a mark."""
        if self.sizes is not None:
            self.sizes.remove()
        self.sizes = legend_of_sizes(self.map.figure, values) if len(values) and np.ptp(values) > 0 else None
        low, high = round_ends(values)
        margin = 0.06 * (high - low)
        self.slice.set(ylim=(low - margin, high + margin), yticks=round_places(low, high, "linear"))

    def say(self, result: Map) -> str:
        if not len(result.values):
            return f"Nothing was tried yet. {self._judged()} {self._set(result)}"
        told = []
        for who in WHO:
            values = result.values[(result.who == who) & ~result.early]
            if len(values):
                told.append(f"{WORDS[who]}: {as_percent(values.max())} after {many(len(values), 'trial')}")
        early = int(result.early.sum())
        ended = f" {early} ended early." if early else ""
        name = self.tuning.plan.judge.name
        return f"Best {name} accuracy on validation: {'; '.join(told)}.{ended} {self._judged()} {self._set(result)}"

    def _set(self, result: Map) -> str:
        """Where the sliders stand, for who does not see the cross."""
        stand = [f"{word(self.controls[name])} = {check.spelled(value)}" for name, value in result.chosen.items()]
        return f"Set: {', '.join(stand)}."

    def _judged(self) -> str:
        n, seeds = self.tuning.plan.judge.images, len(self.tuning.plan.seeds)
        each = f" under each of {seeds} seeds" if seeds > 1 else ""
        return f"{n:,} validation images{each} decide, so one of them counts for {100 / n / seeds:.1f} points."

    def regions(self) -> list[Region]:
        across, up = (self.controls[name] for name in self._shape[0])
        on_map, on_slice = Region.of(self.map, "map"), Region.of(self.slice, "slice", yname="value", percent="y")
        return [in_values(on_map, x=across, y=up), in_values(on_slice, x=across)]

    def marks(self, result: Map) -> list[Point]:
        found, (across, up) = [], (self.controls[name] for name in result.axes)
        for (x, y), value, (number, row) in zip(result.places, result.values, self.rows.iterrows(), strict=True):
            known = {name: row[name] for name in self.dimensions if row[name] is not None and row[name] == row[name]}
            given = ", ".join(
                f"{word(self.controls[name])} = {told(self.controls[name], value)}" for name, value in known.items()
            )
            text = f"trial {number}, {row['by']}: {given}: {as_percent(value)}"
            x, y = value_at(across, x), value_at(up, y)
            found += [Point(x, y, text, 0), Point(x, float(value), text, 1)]
        return found

    # --------------------------------------------------------------------------------------------------- state
    def data_code(self) -> list[str]:
        return [name_of(self.tuning) or "tuning"]

    @classmethod
    def from_state(cls, state: Mapping[str, Any], *data: Any) -> TuningExplorer:
        """The explorer of this state, of a tuning. ValueError for a name it does not have."""
        check.instance("state", state, Mapping, STATE_OF)
        return super().from_state(state, *data)

    def close(self) -> None:
        """Also ends the trial under way."""
        super().close()
        self.stop()


def told(one: Control, value: Any) -> str:
    """A value of a trial in three digits, as the slider writes it."""
    if not isinstance(one, Number):
        return check.spelled(value).replace("_", " ")
    if one.setting.scale == "one-minus-log":
        return f"{1.0 - float(f'{1.0 - value:.3g}'):.9g}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def legend_of_sizes(figure: Figure, values: np.ndarray) -> Legend:
    """The smallest and the largest mark, with the values that they stand for."""
    both = np.array([values.min(), values.max()])
    shown = [Line2D([], [], linestyle="", marker="o", color=QUIET, markersize=size**0.5, label=as_percent(value))
             for size, value in zip(mark_sizes(both), both, strict=True)]  # fmt: skip
    look = {"ncols": 2, "fontsize": 8.5, "frameon": False, "handletextpad": 0.9, "columnspacing": 1.6}
    return figure.legend(handles=shown, loc="center left", bbox_to_anchor=(0.095, 0.833), **look)


def draw_bars(ax: Axes, shares: Mapping[str, float], trials: int) -> None:
    """The share of each setting, the largest on top; trials: those that were trained to their end."""
    for bar in [*ax.patches, *ax.texts]:
        bar.remove()
    names = list(shares)[::-1]
    ax.barh(range(len(names)), [shares[name] for name in names], color=PALETTE[0], height=0.6)
    ax.set_yticks(range(len(names)), [short(name, 14) for name in names])
    ax.set_ylim(-0.6, max(len(names), 1) - 0.4)
    if not names:
        why = "from four trials on" if trials < 4 else "all trials have one value"
        ax.text(0.5, 0.0, why, ha="center", va="center", fontsize=8.5, color=QUIET)


def mark_sizes(values: np.ndarray) -> np.ndarray:
    """Areas of marks (n,) in square points, from the lowest value to the highest: small differences are to be seen."""
    if not len(values) or np.ptp(values) == 0:
        return np.full(len(values), 70.0)
    return 18 + 210 * ((values - values.min()) / np.ptp(values)) ** 2


def check_known(settings: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Raise ValueError, with the nearest, for a setting that is not tuned."""
    for name in settings:
        if name not in known:
            raise ValueError(f"{name!r} is not tuned{check.suggest(name, known)}; tuned are: {', '.join(known)}")


def _control(one: Dimension, value: Any) -> Control:
    """The control of a tuned setting: over its range, or among its choices."""
    where = {"when": one.when, "meaning": f"{one.setting}, as it is tuned"}
    if one.kind == "choice":
        default = one.default if one.has(one.default) else one.choices[0]
        return control(one.setting, Setting(default, choices=one.choices, **where), value)
    low, high = (one.low, one.high) if one.scale == "one-minus-log" else one.ends()
    inside = min(max(one.default if one.default is not None else low, low), high)
    kind = int if one.kind == "whole" else float
    return control(one.setting, Setting(kind(inside), kind(low), kind(high), one.scale, **where), value)


def tuning(tuning: Tuning, across: Any = ..., up: Any = ..., **settings: Any) -> TuningExplorer:
    """Try settings by hand beside a sampler, in one study: `Try mine` trains the sliders' setting as a trial.

    tuning: of one method, as lt.tune(method, data, trials=0) gives it; its trials, old and new, are the points of the
    map, large where the value is high and pale where they were ended early. across, up: the settings along its axes;
    further keywords: where the sliders stand at first. Beside the map: the value along the setting across, and the
    share of the variance that each setting explains (fANOVA), from four trials on.
    Cannot show the test accuracy: the values are those on validation images, and the best of many is too good.
    """
    return TuningExplorer(tuning, across, up, **settings)
