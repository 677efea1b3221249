"""Explorer: train live on long-tailed data, stop, resume, and believe a difference only with its error bar."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import check, metrics
from ..datasets import LOADERS, LongTailed, digits_lt, load
from ..methods import METHODS
from ..objective import Setting
from ..plots.picture import DRAW_LOCK, as_percent
from ..plots.surface import Surface
from ..run import Run
from ..training import LiveRun, make_recipe
from .board import Board, View, compare, mean_of_classes
from .controls import Control, control
from .method import METHOD, MethodExplorer
from .notebook import kernel
from .panel import Panel
from .session import STATE, Plan, Session

GROUP = Setting("all", choices=("all", "head", "mid", "tail"), meaning="which classes the comparison is about")
PROFILE = Setting("exp", choices=("exp", "step", "pareto"), meaning="how the counts fall from class to class")
DATA = "data to train on, as lt.digits_lt or lt.cifar_lt gives"
SHORT = {"seeds": 2, "epochs": 6}  # at most, under LTVIZ_PROFILE=fast


class Lab(MethodExplorer):
    """Data, a method and its settings; Start, Pause, Stop; curves while it trains; all runs so far compared.

    runs       the runs so far, `forget()` empties the list
    phase      "idle", "running" or "paused"
    start(), pause(), resume(), stop(), wait(timeout) do what the buttons do, and may be called from any thread
    """

    function = "lab"
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
        self.data = digits_lt() if data is None else check.instance("data", data, LongTailed, DATA)
        if not isinstance(runs, (list, tuple)):
            raise check.refuse("runs", runs, "a list of runs, as lt.train returns them")
        self.runs: list[Run] = [check.instance("runs", run, Run, "a list of runs alone") for run in runs]
        self._session: Session | None = None
        self._thread: threading.Thread | None = None
        self._panel = self._make_panel()
        usual = make_recipe(None, self.data).epochs
        times = Setting(usual, min(3, usual), max(200, usual), meaning="times through the data")
        fixed = {
            **_data_controls(self.data),
            "epochs": control("epochs", times, ... if epochs is None else epochs),
            "seeds": control("seeds", Setting(3, 1, 10, meaning="runs, each with its own subset and start"), seeds),
            "group": control("group", GROUP, group),
        }
        self._start(METHODS[key].key, fixed, settings, extra=(self._panel.widget,))

    def _make_panel(self) -> Panel:
        acts = (self.start, lambda: self.resume() if self.phase == "paused" else self.pause(), self.stop, self.forget)
        panel = Panel(*(lambda act=act: self.guard(act) for act in acts))
        self.start_button, self.pause_button = panel.start, panel.pause
        self.stop_button, self.forget_button, self.progress = panel.stop, panel.forget, panel.progress
        panel.show("idle")
        return panel

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
        inline = check.flag("inline", inline)
        session = Session(self.plan(), self.data, self._follow, self._keep)
        with STATE:
            if self._closed:
                raise RuntimeError("this lab is closed; open a new one")
            if self.phase != "idle":
                raise RuntimeError("this lab is training: press Stop first, or wait until it is done")
            self._session, before = session, session.take_over()
        self._show_phase()
        if inline:
            session.run(before, inline=True)
            return
        self._thread = threading.Thread(target=session.run, args=(before, False), name="ltviz-lab", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no further thread can be had
            session.end()
            raise
        session.after(before)

    @property
    def phase(self) -> str:
        """What the lab does: "idle", "running" or "paused"."""
        session = self._session
        return "idle" if session is None else session.phase

    @property
    def _live(self) -> LiveRun | None:
        """The live run of the present seed, or the last one."""
        return None if self._session is None else self._session.live

    def pause(self) -> None:
        """Hold at the next step; without effect where nothing trains, or it is about to stop."""
        self._ask(Session.pause)

    def resume(self) -> None:
        """Go on as if nothing had happened."""
        self._ask(Session.resume)

    def stop(self) -> None:
        """End now, also while paused; a run that is not finished is shown, but not compared."""
        self._ask(Session.stop)

    def _ask(self, what: Callable[[Session], None]) -> None:
        session, before = self._session, self.phase
        if session is not None:
            what(session)
        if self.phase != before:
            self._show_phase()
            self.refresh()

    def wait(self, timeout: float | None = None) -> list[Run]:
        """The runs so far, once training has ended or `timeout` seconds have passed (a paused one goes on waiting)."""
        timeout = None if timeout is None else check.number("timeout", timeout, 0)
        session = self._session
        if session is not None and session.thread is not threading.current_thread():
            session.ended.wait(timeout)
        return list(self.runs)

    def forget(self) -> None:
        """Empty the comparison."""
        self.runs = []
        if self._session is not None:
            self._session.earlier = []
        self.refresh()

    def _keep(self, run: Run) -> None:
        """A run is finished: it takes the place of an earlier one of the same id."""
        self.runs = [old for old in self.runs if old.id != run.id] + [run]

    def _follow(self) -> None:
        """Show how far the training is."""
        self._show_phase()
        self.refresh()
        session = self._session
        if session is not None and session.over and session.problem:
            self.show_error(session.problem)

    def _show_phase(self) -> None:
        """Buttons as the phase is now: read under the lock, so that late calls show nothing old."""
        with DRAW_LOCK:
            self._panel.show(self.phase)

    # ------------------------------------------------------------------------------------------------ picture
    def build(self, surface: Surface) -> None:
        self.board = Board(surface)

    def compute(self, method: str, group: str, epochs: int, **others: Any) -> View:
        session = self._session
        live = self._live
        history = {} if live is None else live.history
        if history:
            epochs = live.epochs
        loss = np.asarray(history.get("loss", []), float)
        groups, note = {}, ""
        if live is None:
            note = "Press Start to train" if self.phase == "idle" else ""
        elif not self.data.has_validation:
            note = "these data keep no validation images:\naccuracy comes at the end, on the test set"
        elif len(loss):
            masks = metrics.third_groups(live.trainer.data.counts.numpy())
            masks = {"all": np.ones(self.data.k, bool), **masks}
            groups = {name: mean_of_classes(history["val_accuracy"], mask) for name, mask in masks.items()}
        earlier = [] if session is None else list(session.earlier)
        at = np.arange(1, len(loss) + 1)
        return View(epochs, at, loss, earlier, groups, note, group, compare(self.runs, group))

    @property
    def played(self) -> list[Control]:
        """None: a setting is for the next run, and changes no picture."""
        return []

    def draw(self, result: View) -> None:
        self.board.draw(result)

    def drawn(self, result: View) -> None:
        done, of = (0, 1) if self._session is None else self._session.share
        share = (done + len(result.loss) / max(result.epochs, 1)) / of
        self.progress.value = min(share, 1.0) if self.phase != "idle" else float(bool(len(result.loss)))

    def say(self, result: View) -> str:
        parts, session, phase = [], self._session, self.phase
        if session is not None and phase != "idle":
            state = "paused" if phase == "paused" else "training"
            done = len(result.loss)
            epoch = f", epoch {done} of {result.epochs}, loss {result.loss[-1]:.3f}" if done else ""
            parts.append(f"{state}: {session.doing or 'starting'}{epoch}.")
        elif session is not None and session.note:
            parts.append(session.note)
        if result.rows:
            first, *others = result.rows
            told = [f"{first.name} {as_percent(float(np.mean(first.values)))}"]
            told += [f"{row.name} {as_percent(float(np.mean(row.values)))} ({row.words})" for row in others]
            parts.append("Compared: " + "; ".join(told) + ".")
        text = " ".join(parts) or f"Nothing is trained yet. {self.data!r}."
        return text[0].upper() + text[1:]

    # -------------------------------------------------------------------------------------------------- state
    @classmethod
    def _of(cls, key: str, given: dict[str, Any], *data: Any) -> Lab:
        made = data[0] if data else digits_lt()
        changes = {name: given.pop(name) for name in ("ratio", "profile") if name in given}
        if any(made.spec.get(name) != value for name, value in changes.items()):
            made = load({**made.spec, **changes})
        return cls(made, key, **given)

    def as_code(self) -> str:
        state = self.state
        spec = {**self.data.spec, **{name: state.pop(name) for name in ("ratio", "profile") if name in state}}
        loader = spec.pop("loader", None)
        data = f"lt.{loader}({', '.join(f'{k}={v!r}' for k, v in spec.items())})" if loader in LOADERS else "data"
        given = [data, repr(state.pop("key")), *(f"{name}={value!r}" for name, value in state.items())]
        return f"lt.explore.lab({', '.join(given)})"

    def close(self) -> None:
        """Also ends its training."""
        super().close()
        self.stop()

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


def _data_controls(data: LongTailed) -> dict[str, Control]:
    """Ratio and profile, where the data can be made again from its spec."""
    spec = data.spec
    if spec.get("loader") not in LOADERS or spec.get("ratio") is None:
        return {}
    most = float(max(spec.get("n_max") or int(data.counts[0]), spec["ratio"], 2))
    ratio = Setting(spec["ratio"], 1, most, "log", meaning="largest class / smallest class")
    return {"ratio": control("ratio", ratio), "profile": control("profile", PROFILE, spec["profile"])}


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
