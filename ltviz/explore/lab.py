"""Explorer: train live on long-tailed data, stop, resume, and believe a difference only with its error bar."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ipywidgets as widgets
import numpy as np
from matplotlib.ticker import MaxNLocator

from .. import metrics
from ..datasets import LOADERS, LongTailed, digits_lt, load
from ..methods import METHODS
from ..objective import Setting
from ..plots.picture import DRAW_LOCK, GROUP_COLOURS, INK, QUIET, as_percent, look, percent
from ..plots.series import Series, series_of
from ..plots.surface import Surface
from ..training import LiveRun, Run, make_recipe
from .base import kernel, registry
from .controls import Control, control
from .loss_anatomy import LADDER, METHOD, MethodExplorer

GROUP = Setting("all", choices=("all", "head", "mid", "tail"), meaning="which classes the comparison is about")
PROFILE = Setting("exp", choices=("exp", "step", "pareto"), meaning="how the counts fall from class to class")
ROWS = 6  # of the comparison; the first stays, the latest follow
TICK = 0.2  # seconds between two pictures of a live run
SHORT = {"seeds": 2, "epochs": 6}  # at most, under LTVIZ_PROFILE=fast


@dataclass(frozen=True)
class Plan:
    """What Start asks for."""

    method: str
    settings: dict[str, Any]
    seeds: int
    epochs: int
    spec: dict[str, Any] | None


@dataclass(frozen=True)
class Row:
    """One line of the comparison: accuracy of each seed, and the paired difference to the first (None: it is first)."""

    name: str
    values: np.ndarray
    pair: metrics.Paired | None
    words: str


@dataclass(frozen=True)
class View:
    """What is drawn: curves of the run under way, loss of the seeds before it, rows of the comparison."""

    epochs: int
    epoch: np.ndarray
    loss: np.ndarray
    earlier: list[np.ndarray]
    groups: dict[str, np.ndarray]
    note: str
    rows: list[Row]


class Lab(MethodExplorer):
    """Data, a method and its settings; Start, Pause, Stop; curves while it trains; all runs so far compared.

    runs       the runs so far, `forget()` empties the list
    start(), pause(), resume(), stop(), wait(timeout) do what the buttons do; phase is "idle", "running" or "paused"
    """

    function = "lab"
    _note = ""  # what became of a training that was stopped
    title = "Training lab"
    size = (7.6, 5.5)

    def __init__(
        self,
        data: LongTailed | None = None,
        key: str = "ce",
        *,
        seeds: int = 3,
        epochs: int | None = None,
        group: str = "all",
        runs: Sequence[Run] = (),
        **settings: Any,
    ):
        self.data = digits_lt() if data is None else data
        self.runs: list[Run] = list(runs)
        self.phase = "idle"
        self._live: LiveRun | None = None
        self._earlier: list[np.ndarray] = []
        self._thread: threading.Thread | None = None
        self._stopping, self._pausing = threading.Event(), threading.Event()
        self._doing, self._kept_data = "", {}
        self._buttons_made()
        usual = make_recipe(None, self.data).epochs
        fixed = {
            **self._data_controls(),
            "epochs": control("epochs", Setting(usual, 3, max(200, usual), meaning="times through the data"), epochs),
            "seeds": control("seeds", Setting(3, 1, 10, meaning="runs, each with its own subset and start"), seeds),
            "group": control("group", GROUP, group),
        }
        self._start(METHODS[key].key, fixed, settings, extra=(self._panel,))

    def _data_controls(self) -> dict[str, Control]:
        """Ratio and profile, where the data can be made again from its spec."""
        spec = self.data.spec
        if spec.get("loader") not in LOADERS or spec.get("ratio") is None:
            return {}
        most = float(max(spec.get("n_max") or int(self.data.counts[0]), spec["ratio"]))
        ratio = Setting(spec["ratio"], 1, most, "log", meaning="largest class / smallest class")
        return {"ratio": control("ratio", ratio), "profile": control("profile", PROFILE, spec["profile"])}

    def _buttons_made(self) -> None:
        def button(text: str, icon: str, tip: str, style: str, act: Any) -> widgets.Button:
            made = widgets.Button(
                description=text, icon=icon, tooltip=tip, button_style=style,
                layout={"width": "auto", "flex": "1 1 auto", "margin": "2px"},
            )  # fmt: skip
            made.on_click(lambda _: self._guard(act))
            return made

        self.start_button = button(
            "Start", "play", "Train in the background; other cells keep working", "primary", self.start
        )
        self.pause_button = button(
            "Pause", "pause", "Hold; Resume goes on as if nothing had happened", "", self._pause_or_resume
        )
        self.stop_button = button("Stop", "stop", "End now and show what was learned", "", self.stop)
        self.forget_button = button("Forget", "trash", "Empty the comparison", "", self.forget)
        self.progress = widgets.FloatProgress(
            min=0.0, max=1.0, description="progress", layout={"width": "100%"}, style={"description_width": "64px"}
        )
        row = widgets.HBox(
            [self.start_button, self.pause_button, self.stop_button, self.forget_button], layout={"width": "100%"}
        )
        self._panel = widgets.VBox([row, self.progress], layout={"margin": "6px 0 0", "overflow": "visible"})
        self._set_phase("idle")

    def _use(self, controls: dict[str, Control]) -> None:
        """The method and its settings first, then data, epochs and seeds."""
        fixed = [name for name in self._fixed if name != METHOD]
        super()._use({**{n: c for n, c in controls.items() if n not in fixed}, **{n: controls[n] for n in fixed}})

    # ----------------------------------------------------------------------------------------------- training
    def plan(self) -> Plan:
        """What the controls ask for now."""
        values = {name: self.controls[name].value for name in self._fixed}
        spec = None
        if self.data.spec.get("loader") in LOADERS:
            spec = {**self.data.spec, **{name: values[name] for name in ("ratio", "profile") if name in values}}
        asked = {name: values[name] for name in ("seeds", "epochs")}
        if os.environ.get("LTVIZ_PROFILE") == "fast":
            asked = {name: min(value, SHORT[name]) for name, value in asked.items()}
        return Plan(values[METHOD], self.settings, spec=spec, **asked)

    def start(self, inline: bool | None = None) -> None:
        """Train what the controls say, seed by seed, in one background thread.

        inline=True trains here and returns when it is done; so does None without a notebook or under
        LTVIZ_PROFILE=fast (then at most 2 seeds of 6 epochs). Raises RuntimeError while this lab is training; another
        lab's training is stopped first.
        """
        if inline is None:
            inline = kernel() is None or os.environ.get("LTVIZ_PROFILE") == "fast"
        plan = self.plan()
        with DRAW_LOCK:
            if self.phase != "idle":
                raise RuntimeError("this lab is training: press Stop first, or wait until it is done")
            self._set_phase("running")
        for other in registry():
            if isinstance(other, Lab) and other is not self:
                other.stop()
                other.wait()
        self._stopping.clear()
        self._pausing.clear()
        self._earlier = []
        if inline:
            self._train(plan, inline=True)
        else:
            self._thread = threading.Thread(target=self._train, args=(plan,), name="ltviz-lab", daemon=True)
            self._thread.start()

    def pause(self) -> None:
        """Hold at the next step."""
        if self.phase == "running":
            self._pausing.set()
            if self._live is not None:
                self._live.pause()
            self._set_phase("paused")
            self.refresh()

    def resume(self) -> None:
        """Go on as if nothing had happened."""
        if self.phase == "paused":
            self._pausing.clear()
            if self._live is not None:
                self._live.resume()
            self._set_phase("running")
            self.refresh()

    def stop(self) -> None:
        """End now; a run that is not finished is shown, but not compared."""
        self._stopping.set()
        if self._live is not None:
            self._live.stop()

    def wait(self, timeout: float | None = None) -> list[Run]:
        """The runs so far, once training has ended or `timeout` seconds have passed."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)
        return list(self.runs)

    def forget(self) -> None:
        """Empty the comparison."""
        self.runs, self._earlier = [], []
        self.refresh()

    def _pause_or_resume(self) -> None:
        self.resume() if self.phase == "paused" else self.pause()

    def _set_phase(self, phase: str) -> None:
        self.phase = phase
        self.start_button.disabled = phase != "idle"
        self.stop_button.disabled = phase == "idle"
        self.pause_button.disabled = phase == "idle"
        paused = phase == "paused"
        self.pause_button.description, self.pause_button.icon = ("Resume", "play") if paused else ("Pause", "pause")
        self.progress.bar_style = {"idle": "", "running": "info", "paused": "warning"}[phase]

    def _train(self, plan: Plan, inline: bool = False) -> None:
        """All seeds of a plan, one after another, with a picture every fifth of a second; always ends idle."""
        problem, self._note = None, ""
        try:
            for seed in range(plan.seeds):
                if self._stopping.is_set() or not self._train_seed(plan, seed, inline):
                    break
        except Exception as error:  # shown below; nobody is there to catch it
            problem = f"{type(error).__name__}: {error}"
        self._doing = ""
        self._set_phase("idle")
        self.refresh()
        if problem:
            self.show_error(problem)

    def _train_seed(self, plan: Plan, seed: int, inline: bool) -> bool:
        """One run; False where it was stopped."""
        name = METHODS[plan.method].label(plan.settings)
        live = LiveRun(plan.method, self._data(plan, seed), seed=seed, epochs=plan.epochs, **plan.settings)
        self._doing = f"{name}, seed {seed + 1} of {plan.seeds}"
        self._share = (seed, plan.seeds)
        self._live = live
        if inline:
            live.start(inline=True)
        else:
            live.start(inline=False)
            if self._pausing.is_set():
                live.pause()
            if self._stopping.is_set():
                live.stop()
            while live.wait(TICK) is None and live.state in ("running", "paused"):
                self.refresh()
        if live.error is not None:
            raise live.error
        run = live.wait()
        if run.status == "finished":
            self.runs = [old for old in self.runs if old.id != run.id] + [run]
            self._earlier = [*self._earlier, run.history["loss"]]
            self._doing = f"{name}, {seed + 1} of {plan.seeds} seeds done"
            self.refresh()
        elif run.status == "diverged":
            raise RuntimeError(
                f"{name} diverged in epoch {live.epoch}: its loss is {run.history['loss'][-1]}. "
                "Try a milder setting; the runs before are kept."
            )
        else:
            self._note = f"Stopped: {self._doing}, at epoch {live.epoch} of {live.epochs}, is not compared."
        return run.status == "finished"

    def _data(self, plan: Plan, seed: int) -> LongTailed:
        if plan.spec is None:
            return self.data
        spec = {**plan.spec, "seed": seed}
        if spec == self.data.spec:
            return self.data
        return load(spec).to(self.data.device)

    # ------------------------------------------------------------------------------------------------ picture
    def build(self, surface: Surface) -> None:
        grid = surface.figure.add_gridspec(
            2, 2, left=0.075, right=0.98, top=0.935, bottom=0.085, wspace=0.2, hspace=0.42, height_ratios=(1, 0.95)
        )
        left, right = surface.figure.add_subplot(grid[0, 0]), surface.figure.add_subplot(grid[0, 1])
        bottom = surface.figure.add_subplot(grid[1, :])
        self.left, self.right, self.bottom = left, right, bottom
        left.set(title="Training loss", xlabel="epoch", ylim=(0, 3.2), xlim=(0, 60))
        right.set(title="Validation", xlabel="epoch", ylim=(0, 1.03), xlim=(0, 60))
        percent(right.yaxis)
        self.past = [left.plot([], [], color=QUIET, lw=1.0, alpha=0.45)[0] for _ in range(10)]
        (self.loss,) = left.plot([], [], color=INK, lw=2.0)
        self.curves = {
            name: right.plot([], [], color=GROUP_COLOURS.get(name, INK), lw=2.0, ls=dash, label=name)[0]
            for name, dash in {"all": "-", "head": (0, (6, 1.5)), "mid": (0, (3, 1.5)), "tail": (0, (1.2, 1.2))}.items()
        }
        beside = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.01), "ncols": 4}
        right.legend(**beside, fontsize=8, handlelength=1.6, columnspacing=0.8, handletextpad=0.3)
        quiet = {"ha": "center", "va": "center", "color": QUIET, "fontsize": 9}
        self.note = right.text(0.5, 0.5, "", transform=right.transAxes, **quiet)
        box = bottom.get_position()
        bottom.set_position([0.30, box.y0, 0.40, box.height])
        bottom.set(ylim=(ROWS - 0.5, -0.6), xlim=(0, 1))
        bottom.set_yticks([])
        bottom.grid(True, axis="x")
        bottom.grid(False, axis="y")
        bottom.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        percent(bottom.xaxis)
        self.heading = bottom.set_title("The runs so far: test accuracy", x=-0.69)
        self.names, self.verdicts, self.dots, self.means = [], [], [], []
        for i in range(ROWS):
            kind = look(i)
            at = {"transform": bottom.get_yaxis_transform(), "va": "center", "fontsize": 8.5}
            self.names.append(bottom.text(-0.025, i, "", ha="right", **at))
            self.verdicts.append(bottom.text(1.03, i, "", ha="left", **at))
            edge = {"markeredgecolor": "white", "markeredgewidth": 0.6}
            self.dots += bottom.plot([], [], ls="", marker=kind["marker"], color=kind["color"], ms=6, zorder=3, **edge)
            self.means += bottom.plot([], [], color=kind["color"], lw=3.2, alpha=0.45, zorder=2)
        self.empty = bottom.text(0.5, 0.5, "Runs that are done appear here", transform=bottom.transAxes, **quiet)
        curves = (*self.past, self.loss, *self.curves.values(), self.note)
        surface.animate(*curves, self.empty, *self.names, *self.verdicts, *self.dots, *self.means)

    def compute(self, method: str, group: str, epochs: int, **others: Any) -> View:
        live = self._live
        history = {} if live is None else live.history
        if history:
            epochs = live.epochs
        loss = np.asarray(history.get("loss", []), float)
        groups, note = {}, ""
        if live is None:
            note = "Press Start to train"
        elif not self.data.has_validation:
            note = "these data keep no validation images:\naccuracy comes at the end, on the test set"
        elif len(loss):
            accuracy = history["val_accuracy"]
            masks = metrics.third_groups(live.trainer.data.counts.numpy())
            groups = {"all": accuracy.mean(1)} | {n: accuracy[:, m].mean(1) for n, m in masks.items() if m.any()}
        return View(epochs, np.arange(1, len(loss) + 1), loss, list(self._earlier), groups, note, self._compare(group))

    def _compare(self, group: str) -> list[Row]:
        found = series_of(self.runs) if self.runs else []
        found = [*found[:1], *found[max(1, len(found) - ROWS + 1) :]]
        rows = []
        for i, one in enumerate(found):
            latest = {run.seed: run for run in one.runs}
            one = Series(one.name, [latest[seed] for seed in sorted(latest)])
            values = one.groups()[group]
            pair, words = (None, "compared with this") if i == 0 else _against(one, found[0], group)
            rows.append(Row(one.label, values, pair, words))
        return rows

    def draw(self, result: View) -> None:
        at = result.epoch
        self.loss.set_data(at, result.loss)
        for i, line in enumerate(self.past):
            past = result.earlier[i] if i < len(result.earlier) else []
            line.set_data(np.arange(1, len(past) + 1), past)
        for name, line in self.curves.items():
            values = result.groups.get(name, [])
            line.set_data(at[: len(values)], values)
        if self.note.get_text() != result.note:
            self.note.set_text(result.note)
        if self.left.get_xlim() != (0, result.epochs):
            self.left.set_xlim(0, result.epochs)
            self.right.set_xlim(0, result.epochs)
        losses = np.concatenate([result.loss, *result.earlier])
        losses = losses[np.isfinite(losses)]
        top = losses.max() if len(losses) else 2.5
        high = LADDER[min(np.searchsorted(LADDER, top), len(LADDER) - 1)]
        if self.left.get_ylim() != (0, high):
            self.left.set_ylim(0, high)
        self._draw_rows(result.rows)
        total = max(result.epochs, 1)
        done, of = getattr(self, "_share", (0, 1))
        share = (done + len(result.loss) / total) / of if self.phase != "idle" else float(bool(len(result.loss)))
        self.progress.value = min(share, 1.0)

    def _draw_rows(self, rows: list[Row]) -> None:
        word = {"all": "accuracy"}.get(self.controls["group"].value, f"{self.controls['group'].value} accuracy")
        if self.heading.get_text() != (title := f"The runs so far: test {word}"):
            self.heading.set_text(title)
        self.empty.set_visible(not rows)
        for i in range(ROWS):
            row = rows[i] if i < len(rows) else None
            values = np.sort(row.values) if row else np.array([])
            self.names[i].set_text(_short(row.name) if row else "")
            self.verdicts[i].set_text(row.words if row else "")
            jitter = np.linspace(-0.14, 0.14, len(values)) if len(values) > 1 else np.zeros(len(values))
            self.dots[i].set_data(values, i + jitter)
            mean = values.mean() if len(values) else np.nan
            self.means[i].set_data([mean, mean], [i - 0.3, i + 0.3])
        values = np.concatenate([row.values for row in rows] or [np.array([0.0, 1.0])])
        values = values[np.isfinite(values)]
        if len(values):
            low, high = math.floor(values.min() * 10 - 0.2) / 10, math.ceil(values.max() * 10 + 0.2) / 10
            if self.bottom.get_xlim() != (max(low, -0.02), min(high, 1.02)):
                self.bottom.set_xlim(max(low, -0.02), min(high, 1.02))

    def say(self, result: View) -> str:
        parts = []
        if self.phase != "idle":
            state = "paused" if self.phase == "paused" else "training"
            epoch = (
                f", epoch {len(result.loss)} of {result.epochs}, loss {result.loss[-1]:.3f}" if len(result.loss) else ""
            )
            parts.append(f"{state}: {self._doing or 'starting'}{epoch}.")
        elif self._note:
            parts.append(self._note)
        if result.rows:
            first, *others = result.rows
            told = [f"{first.name} {as_percent(float(np.mean(first.values)))}"]
            told += [f"{row.name} {as_percent(float(np.mean(row.values)))} ({row.words})" for row in others]
            parts.append("Compared: " + "; ".join(told) + ".")
        text = " ".join(parts) or f"Nothing is trained yet. {self.data!r}."
        return text[0].upper() + text[1:]

    # -------------------------------------------------------------------------------------------------- state
    @property
    def state(self) -> dict[str, Any]:
        values = self.values
        return {"key": values.pop(METHOD), **values}

    @classmethod
    def from_state(cls, state: Mapping[str, Any], *data: Any) -> Lab:
        settings = dict(state)
        made = data[0] if data else digits_lt()
        changes = {name: settings.pop(name) for name in ("ratio", "profile") if name in settings}
        if any(made.spec.get(name) != value for name, value in changes.items()):
            made = load({**made.spec, **changes})
        return cls(made, settings.pop("key"), **settings)

    def as_code(self) -> str:
        state = self.state
        spec = {**self.data.spec, **{name: state.pop(name) for name in ("ratio", "profile") if name in state}}
        loader = spec.pop("loader", None)
        data = f"lt.{loader}({', '.join(f'{k}={v!r}' for k, v in spec.items())})" if loader in LOADERS else "data"
        given = [data, repr(state.pop("key")), *(f"{name}={value!r}" for name, value in state.items())]
        return f"lt.explore.lab({', '.join(given)})"

    def close(self) -> None:
        self.stop()
        super().close()

    def drive(self) -> list[str]:
        """Every control to its ends, and one short training of one seed, whose run is not kept."""
        self.stop()
        self.wait()
        problems = super().drive()
        runs, before = list(self.runs), self.values
        self.set(epochs=3, seeds=1)
        self.start(inline=True)
        if self.error:
            problems.append(f"Start: {self.error}")
        self.runs = runs
        self.set(**before)
        if problems:
            self.show_error(problems[0])
        return problems


def _against(one: Series, first: Series, group: str) -> tuple[metrics.Paired | None, str]:
    """The paired difference to the first row, where both have runs of one seed on the same data."""
    mine = {run.seed: run.data.get("fingerprint") for run in one.runs}
    theirs = {run.seed: run.data.get("fingerprint") for run in first.runs}
    shared = mine.keys() & theirs.keys()
    if any(mine[seed] != theirs[seed] for seed in shared):
        return None, "other data"
    if not shared:
        return None, "no seed in common"
    pair = metrics.paired(one.runs, first.runs, group)
    if np.isnan(pair.mean):
        return pair, pair.verdict
    if pair.n == 1 and len(mine | theirs) > 1:  # the means beside it are over more seeds than this difference
        return pair, f"one shared seed: {100 * pair.mean:+.1f} pp"
    error = "" if np.isnan(pair.se) else f" ± {100 * pair.se:.1f}"
    return pair, f"{100 * pair.mean:+.1f}{error} pp: {pair.verdict.replace(metrics.ONE_SEED, 'one seed')}"


def _short(name: str, letters: int = 34) -> str:
    """A row's name on at most two lines."""
    if len(name) <= letters:
        return name
    cut = name.rfind(" ", 0, letters)
    first, rest = (name[:cut], name[cut + 1 :]) if cut > 0 else (name[:letters], name[letters:])
    return f"{first}\n{rest if len(rest) <= letters else rest[: letters - 1] + '…'}"


def lab(
    data: LongTailed | None = None,
    key: str = "ce",
    *,
    seeds: int = 3,
    epochs: int | None = None,
    group: str = "all",
    runs: Sequence[Run] = (),
    **settings: Any,
) -> Lab:
    """Train live: choose ratio, method, settings and seeds; start, pause, stop; compare the runs so far.

    data: what to train on (default: digits_lt()); key, settings: the method the controls start with; group: which
    classes are compared; runs: earlier runs to compare with.
    """
    return Lab(data, key, seeds=seeds, epochs=epochs, group=group, runs=runs, **settings)
