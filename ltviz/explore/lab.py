"""Explorer: train live on long-tailed data, beside a baseline; believe a difference only with its error bar."""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import check
from ..datasets import LOADERS, LongTailed, check_long_tailed, digits_lt, load
from ..methods import METHODS
from ..objective import Setting
from ..plots.comparison import WORDS
from ..plots.picture import DRAW_LOCK, as_percent
from ..plots.surface import Surface
from ..run import Run
from ..training import RECIPES, Background, Trainer, make_recipe, make_request
from ..training.own_network import as_network
from .board import Board, Comparison, Entry, View, label_of, look_at, rows_in_sight
from .controls import Choice, Control, control
from .frames import Frame, Region
from .method import METHOD, MethodExplorer
from .notebook import kernel
from .panel import Panel, Reference
from .payers import Payers
from .session import BASELINE, Plan, Session, refuse_others

GROUPS = {"all": "all classes", "head": "frequent (head)", "mid": "middle (mid)", "tail": "rare (tail)"}
PROFILE = Setting("exp", choices=("exp", "step", "pareto"), meaning="how the counts fall from class to class")
ORDERS, GIVEN = ("natural", "seed"), "as given"  # class orders; the last: a list that the data came with
BESIDE = {"who": "who pays", "class": "accuracy by class"}  # in the upper right corner
SHORT = {"seeds": 2, "epochs": 6}  # at most, under LTVIZ_PROFILE=fast
FIRST = "logit_adjustment"  # the method that a lab opens with: the strongest of the cheap remedies


class Lab(MethodExplorer):
    """Data, a method and its settings; Start, Pause, Stop; curves while it trains; all runs so far compared.

    Start trains the method under every seed, and plain cross-entropy under the same seeds, where it is not there yet.

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
        key: str = FIRST,
        *,
        seeds: Any = ...,
        epochs: int | None = None,
        group: Any = ...,
        reference: str | None = None,
        class_order: Any = ...,
        beside: Any = ...,
        runs: Sequence[Run] = (),
        model: Any = None,
        weights: Any = None,
        head_classes: Any = None,
        **settings: Any,
    ):
        self.data = digits_lt() if data is None else check_long_tailed(data)
        self.runs: list[Run] = _runs(runs, self.data)
        refuse_others(METHODS[key].key, settings)
        self._network = {"model": as_network(model), "weights": weights, "head_classes": head_classes}
        if any(one is not None for one in self._network.values()):  # what no run can be trained with is refused now
            make_request(BASELINE, self.data, **self._network)
        self._session: Session | None = None
        self._comparison, self._payers = Comparison(), Payers()
        self._panel = self._make_panel()
        fixed = {
            **_training_controls(self.data, seeds, epochs, group),
            "reference": _reference(self.runs, reference),
            "beside": _beside(beside),
            **_data_controls(self.data, class_order),
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
        """The method, the group and the method's settings first, then the rest, of which most is out of sight."""
        later = [name for name in self._fixed if name not in (METHOD, "group")]
        order = [METHOD, "group", *(name for name in controls if name not in self._fixed), *later]
        super()._use({name: controls[name] for name in order})

    # ----------------------------------------------------------------------------------------------- training
    def plan(self) -> Plan:
        """What the controls ask for now."""
        values = {name: self.controls[name].value for name in self._fixed}
        asked = {name: values[name] for name in ("seeds", "epochs")}
        if os.environ.get("LTVIZ_PROFILE") == "fast":
            asked = {name: min(value, SHORT[name]) for name, value in asked.items()}
        return Plan(values[METHOD], self.settings, spec=_spec(self.data, values), network=self._network, **asked)

    def start(self, inline: bool | None = None) -> None:
        """Train what the controls say and is not there yet, seed by seed, in one background thread.

        inline=True trains here and returns when it is done; so does None without a notebook or under
        LTVIZ_PROFILE=fast (then at most 2 seeds of 6 epochs). Raises RuntimeError while this lab is training; another
        lab's training is stopped first.
        """
        if inline is None:
            inline = kernel() is None or os.environ.get("LTVIZ_PROFILE") == "fast"
        inline = check.flag("inline", inline)
        session = Session(self.plan(), self.data, self._follow, self._keep, self._has)
        with Background.lock:
            if self._closed:
                raise RuntimeError("this lab is closed; open a new one")
            if self.phase != "idle":
                raise RuntimeError("this lab is training: press Stop first, or wait until it is done")
            self._session = session
            session.claim()
        self._show_phase()
        session.go(inline)
        if not inline:
            self.refresh()  # its first picture may take a moment, and a reader is to hear that it has begun
            session.after()

    @property
    def phase(self) -> str:
        """What the lab does: "idle", "running" or "paused"."""
        session = self._session
        return "idle" if session is None else session.phase

    @property
    def _live(self) -> Trainer | None:
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
        if session is not None:
            session.wait(timeout)
        return list(self.runs)

    def forget(self) -> None:
        """Clear all runs, curves and notes. What trains goes on, and its next runs are the first again."""
        with Background.lock:
            self.runs, self._payers = [], Payers()
            if self.phase == "idle":
                self._session = None
        self._show_phase()
        self.refresh()

    def _keep(self, run: Run) -> None:
        """A run is finished: it takes the place of an earlier one of the same id."""
        self._payers.line(run)  # in this thread, so that no control waits for it
        with Background.lock:
            kept = [old.id for old in self.runs]
            place = kept.index(run.id) if run.id in kept else len(kept)
            self.runs = [*self.runs[:place], run, *self.runs[place + 1 :]]

    def _has(self, name: str) -> bool:
        """Whether the run of this id is there already."""
        return any(run.id == name for run in self.runs)

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
            session = self._session
            self._panel.show(self.phase, session.state if session is not None and session.over else "")

    # ------------------------------------------------------------------------------------------------ picture
    def build(self, surface: Surface) -> None:
        self.board = Board(surface, self.data.k)

    def compute(self, group: str, epochs: int, reference: str, beside: str, **others: Any) -> View:
        runs, session, live = list(self.runs), self._session, self._live
        idle = self.phase == "idle"
        if live is not None and idle and self._has(live.id):
            live = None  # it is among the runs
        note = ""
        if not runs and live is None:
            note = "Press Start to train" if idle else ""
        elif not self.data.has_validation:
            note = "no validation images:\naccuracy comes at the end,\non the test set"
        whose = session.whose if live is not None else ""
        rows = self._comparison.rows(runs, group, reference)
        view = look_at(runs, rows, live, whose, group, epochs, note)
        who, beyond = self._payers.look(rows, rows_in_sight(rows))
        return dataclasses.replace(view, who=who if idle and beside == "who" else None, beyond=beyond)

    @property
    def played(self) -> list[Control]:
        """None: a setting is for the next run, and changes no picture."""
        return []

    def draw(self, result: View) -> None:
        self.board.draw(result)

    def regions(self) -> list[Region]:
        return self.board.regions()

    def _framed(self, result: View) -> Frame:
        return dataclasses.replace(super()._framed(result), points=self.board.points(result))

    def drawn(self, result: View) -> None:
        session = self._session
        self._panel.progress.value = 0.0 if session is None else session.progress
        self.controls["reference"].offer(row.label for row in result.rows)

    def say(self, result: View) -> str:
        said = [_under_way(self._session, result), _compared(result.rows, result.group), result.beyond]
        return " ".join(filter(None, said)) or f"Nothing is trained yet. {self.data!r}.{_cut(self.data)}"

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
        data = _data_code(self.data, {name: state.pop(name) for name in ("ratio", "profile") if name in state})
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
        runs, session, before = list(self.runs), self._session, self.values
        self.set(epochs=3, seeds=1)
        self.start(inline=True)
        if self.error:
            problems.append(f"Start: {self.error}")
        self.runs, self._session = runs, session
        self.set(**before)
        self._show_phase()
        if problems:
            self.show_error(problems[0])
        return problems


def _runs(runs: Any, data: LongTailed) -> list[Run]:
    """Runs to begin with, which can stand beside those on these data."""
    if not isinstance(runs, (list, tuple)):
        raise check.refuse("runs", runs, "a list of runs, as lt.train returns them")
    for run in runs:
        check.instance("runs", run, Run, "a list of runs alone")
        if run.k != data.k:
            raise check.refuse("runs", run, f"runs on data of {data.k} classes, as the lab's data have")
    return list(runs)


def _training_controls(data: LongTailed, seeds: Any, epochs: int | None, group: Any) -> dict[str, Control]:
    """Group, seeds and epochs: rare classes of long-tailed data, and as many seeds as are done in seconds."""
    recipe = make_recipe(None, data)
    often = Setting(10 if recipe.model == "mlp" else 3, 1, 10, meaning="runs, each with its own subset and start")
    usual = recipe.epochs
    times = Setting(usual, min(3, usual), max(200, usual), meaning="times through the data")
    tailed = data.k > 2 and int(data.counts.max()) > int(data.counts.min())
    groups = Setting(
        "tail" if tailed else "all", choices=tuple(GROUPS), meaning="which classes the comparison is about"
    )
    return {
        "group": Choice("group", groups, group, GROUPS),
        "seeds": control("seeds", often, seeds),
        "epochs": control("epochs", times, ... if epochs is None else epochs),
    }


def _reference(runs: Sequence[Run], given: str | None) -> Reference:
    """At first the label of the first run, or of the baseline, which is trained first."""
    labels = [*map(label_of, runs), METHODS[BASELINE]().label]
    return Reference(labels[0] if given is None else check.text("reference", given), labels)


def _beside(given: Any) -> Choice:
    """Who pays, or accuracy by class; the latter also while a run trains, and where who pays cannot be drawn."""
    setting = Setting("who", choices=tuple(BESIDE), meaning="what stands beside the curves once nothing trains")
    return Choice("beside", setting, given, BESIDE)


def _spec(data: LongTailed, values: dict[str, Any]) -> dict[str, Any] | None:
    """How data under these values of the controls are loaded, or None where they cannot be."""
    if data.spec.get("loader") not in LOADERS:
        return None
    asked = {name: values[name] for name in ("ratio", "profile", "class_order") if name in values}
    if asked.get("class_order") == GIVEN:
        asked.pop("class_order")
    return {**data.spec, **asked}


def _data_code(data: LongTailed, changes: dict[str, Any]) -> str:
    """The call that loads these data with the changes, or their name where they cannot be loaded."""
    spec = {**data.spec, **changes}
    loader = spec.pop("loader", None)
    return f"lt.{loader}({', '.join(f'{k}={v!r}' for k, v in spec.items())})" if loader in LOADERS else "data"


def _under_way(session: Session | None, result: View) -> str:
    """How far the training is, or what became of it."""
    if session is None or session.phase == "idle":
        return "" if session is None else session.note
    done, live = len(result.loss), session.live
    epoch = f", epoch {done} of {live.recipe.epochs}, loss {result.loss[-1]:.3f}" if done and live else ""
    return f"{'Paused' if session.phase == 'paused' else 'Training'}: {session.doing or 'starting'}{epoch}."


def _compared(rows: Sequence[Entry], group: str) -> str:
    """The comparison in words; that some were trained for longer comes before any verdict."""
    if not rows:
        return ""
    long = {row.epochs: [of.name for of in rows if of.epochs == row.epochs] for row in rows}
    told = "; ".join(f"{epochs} epochs: {', '.join(names)}" for epochs, names in sorted(long.items()))
    before = f"Not all were trained for as long ({told}). " if len(long) > 1 else ""
    return f"{before}Test {WORDS[group]}: {'; '.join(map(_told, rows))}."


def _told(row: Entry) -> str:
    """A row of the comparison in words."""
    if row.pair is None:
        words = "the reference"
    else:
        low, high = row.pair.interval
        words = row.words if np.isnan(low) else f"{row.words}; 95% interval {100 * low:+.1f} to {100 * high:+.1f}"
    return f"{row.name} {as_percent(float(np.mean(row.values)))} ({words})"


def _cut(data: LongTailed) -> str:
    """Why the data's ratio is not the one on the slider, in a sentence; nothing where it is."""
    asked = data.spec.get("ratio")
    if asked is None or f"{asked:.4g}" == f"{data.ratio:.4g}":
        return ""
    return f" A ratio of {asked:.4g} was asked for; after cutting the counts to whole numbers it is {data.ratio:.4g}."


def _data_controls(data: LongTailed, class_order: Any) -> dict[str, Control]:
    """Ratio, profile and class order, where the data can be made again from its spec."""
    spec = data.spec
    if spec.get("loader") not in LOADERS or spec.get("ratio") is None:
        if class_order is not ...:
            raise check.refuse("class_order", class_order, "none: these data cannot be loaded again in another order")
        return {}
    most = float(max(spec.get("n_max") or int(data.counts[0]), spec["ratio"], 2))
    ratio = Setting(spec["ratio"], 1, most, "log", meaning="largest class / smallest class")
    made = {"ratio": control("ratio", ratio), "profile": control("profile", PROFILE, spec["profile"])}
    if "class_order" in spec:
        made["class_order"] = control("class_order", _orders(data), class_order)
    return made


def _orders(data: LongTailed) -> Setting:
    """The class orders to choose from; at first that of the recorded runs, which the data's recipe names."""
    loader, own = data.spec["loader"], data.spec["class_order"]
    own = own if isinstance(own, str) else GIVEN
    recorded = RECIPES[data.recipe].data if data.recipe in RECIPES else None
    start = own
    if recorded and recorded[0] == loader:
        usual = inspect.signature(LOADERS[loader]).parameters["class_order"].default
        start = recorded[1].get("class_order", usual)
    choices = tuple(dict.fromkeys((*ORDERS, start, own)))
    return Setting(start, choices=choices, meaning="which class is frequent: drawn with each seed, or always the same")


def lab(
    data: LongTailed | None = None,
    key: str = FIRST,
    *,
    seeds: Any = ...,
    epochs: int | None = None,
    group: Any = ...,
    reference: str | None = None,
    class_order: Any = ...,
    beside: Any = ...,
    runs: Sequence[Run] = (),
    model: Any = None,
    weights: Any = None,
    head_classes: Any = None,
    **settings: Any,
) -> Lab:
    """Train live: choose a method, its settings and seeds; start, pause, stop; compare with a baseline, paired by seed.

    data: what to train on (default: digits_lt()). key, settings: the method that the controls start with. seeds:
    how many (default: 10 on the digits, else 3). epochs: default that of the data's recipe. group: "all", "head",
    "mid" or "tail", the classes that are compared (default: "tail" of long-tailed data). reference: the label that the
    others are compared with (default: the first run's, else "ce", which is trained first). class_order: "seed",
    "natural", or that of the data (default: as in the recorded runs). beside: "who" (who pays: frequent against rare
    classes, beside the frontier of the slider of 'ce', once there are its runs and others) or "class" (accuracy by
    class). runs: earlier runs to compare with. model, weights, head_classes: as for `lt.train`, a network of your own
    among them; what else it takes, such as lr or augment, is refused: train with it, and pass its runs.
    """
    more = {"epochs": epochs, "reference": reference, "class_order": class_order, "beside": beside, "runs": runs}
    more |= {"model": model, "weights": weights, "head_classes": head_classes}
    return Lab(data, key, seeds=seeds, group=group, **more, **settings)
