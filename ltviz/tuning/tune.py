"""`tune`, and the Tuning that it gives."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState

from .. import check
from ..check import many
from ..datasets import LongTailed, check_long_tailed
from ..files import request_id
from ..many import train_many
from ..objective import Bound
from ..own import as_method, bind
from ..run import Run
from ..training import RunControl, Trainer, interrupts, make_recipe, make_request
from ..training.control import Interrupts, Stopped
from ..training.progress import _in_notebook, _Line
from .sampler import make_pruner, make_sampler
from .space import METHOD, Space
from .storage import StorageLost
from .study import BY, Book, result
from .trial import Candidate, Diverged, Judge, draws

if TYPE_CHECKING:
    import optuna
    import pandas

FEW = 1000  # validation images, below which the best value of many is noticeably too good
POLL = 0.5  # seconds between two looks at what other workers do
_warned: set[tuple[str, int]] = set()


def tune(
    method: Any,
    data: LongTailed,
    *,
    settings: Any = None,
    trials: int = 20,
    storage: Any = None,
    sampler: Any = None,
    pruner: Any = None,
    objective: Any = "rare",
    seeds: int | list[int] = 2,
    name: str | None = None,
    seed: int = 0,
    progress: bool = True,
    callback: Callable[[Tuning], Any] | None = None,
    **fixed: Any,
) -> Tuning:
    """Look for the settings of a method that do best on the validation images (Optuna). The test set is never used.

    method     as for `train`; or a list of methods, among which is chosen as well
    settings   what is tuned. None: every setting of the method, over the range that it declares; names of settings; or
               a dict name -> None, (low, high), a list of values, or a Setting. Fields of the recipe are settings, too:
               "lr", "weight_decay", "batch_size". Of several methods "gamma" is that of each which has one, and
               "focal.gamma" that of one. A setting that has no effect beside the others is left out of a trial
    trials     how many trials the study holds at the end, those of earlier calls and other workers included. The first
               one has the defaults
    storage    where the study is kept. None: my_tuning.db here; the path of an SQLite file (.db), of a journal
               (.journal), the address of a database ("postgresql://user@host/name"), or a storage of Optuna
    sampler    "tpe" (None), "random", "gp", or one of Optuna's; pruner: "median" (None), "hyperband", "none", or one of
               Optuna's. A trial is ended early in its last stage only: before that, deferred weights have not begun
    objective  "rare", "middle", "frequent" (mean accuracy of a third of the classes), "balanced" (of all), "all" (share
               of images), or a function of a Run that holds validation images in place of test images
    seeds      how many networks each trial trains, or under which seeds: the same for all trials, so that they are
               compared in pairs; the value is their mean. A seed draws the data anew, where a loader can
    name       of the study; None: made from the question, so that the same call goes on where it was stopped, and any
               other begins anew. Several processes that make the same call on one storage share the work
    seed       of the sampler
    callback   a function, called with the Tuning after each trial of this process; True ends the tuning
    fixed      settings, fields of the recipe and other arguments of `train` that stay as they are

    What a killed worker had begun is done again by the others, or by the next call. Ctrl-C ends the tuning, and keeps
    what is finished; the trial under way is put back. Raises ValueError, naming the argument, for what makes no sense,
    and StorageLost where the storage takes nothing any more.
    """
    total = check.whole("trials", trials)
    check.flag("progress", progress)
    if callback is not None and not callable(callback):
        raise check.refuse("callback", callback, "None, or a function of a Tuning")
    plan = Plan(method, data, settings, objective, seeds, fixed)
    sampler, pruner = make_sampler(sampler, check.seed(seed)), make_pruner(pruner, plan.epochs)
    named = plan.name if name is None else check.text("name", name)
    book = Book(storage, named, plan.question, sampler, pruner)
    if book.made:
        for parameters in plan.space.defaults():
            book.enqueue(parameters, "defaults")
    _warn_of_few(plan.judge, data)
    return Tuning(plan, book).run(total, progress=progress, callback=callback)


def _warn_of_few(judge: Judge, data: LongTailed) -> None:
    """Say, once for a data set, that the best of many values is too good."""
    if judge.images < FEW and (data.name, judge.images) not in _warned:
        _warned.add((data.name, judge.images))
        warnings.warn(
            f"{optimism(judge)}. Judge the settings found by tuning.train() on the test set, or hold out more "
            "(validation=)",
            stacklevel=3,
        )


def optimism(judge: Judge) -> str:
    """What the best value is worth, in a sentence."""
    one = "" if judge.function is not None else f", of which each counts for {100 / judge.images:.1f} points of a seed"
    return (
        f"the objective {judge.name!r} looks at {many(judge.images, 'validation image')}{one}: the best of many such "
        "values is too high, as it is partly luck"
    )


class Plan:
    """What is asked, checked: the space, the judge, and how a trial is trained."""

    def __init__(self, method: Any, data: LongTailed, settings: Any, objective: Any, seeds: Any, fixed: dict[str, Any]):
        check_long_tailed(data)
        for name, instead in (
            ("checkpoint", "a study goes on by itself"),
            ("callbacks", "give callback=, of a Tuning"),
        ):
            if name in fixed:
                raise ValueError(f"{name}= is for one run; {instead}")
        self.data, self.seeds = data, check.seeds(seeds)
        methods = list(method) if isinstance(method, (list, tuple)) else [method]
        if not methods:
            raise check.refuse("method", method, "at least one method")
        records = {as_method(one).key: one for one in methods}
        if len(records) < len(methods):
            raise check.refuse("method", [as_method(one).key for one in methods], "each method once")
        own = {name for one in records.values() for name in as_method(one).settings}
        self.arguments = {name: value for name, value in fixed.items() if name not in own}
        bound: dict[str, Bound] = {}
        for key, one in records.items():
            bound[key] = bind(one, {name: v for name, v in fixed.items() if name in as_method(one).settings})
        requests = {key: make_request(one, data, **self.arguments) for key, one in bound.items()}
        first = next(iter(requests.values()))
        recipe = make_recipe(first.recipe, data)
        given = [*fixed, *(n for one in records.values() if isinstance(one, Bound) for n in one.differing)]
        self.space = Space(bound, recipe, given, settings)
        self.judge, self.epochs, self._draws = Judge(objective, data), recipe.epochs, None
        self.question = {
            "method": {key: one.spelling for key, one in bound.items()},
            "settings": self.space.record(),
            "objective": self.judge.code,
            "seeds": self.seeds,
            "data": request_id(**data.identity),
            "recipe": first.recipe_record,
            "code": [None if one.code is None else one.code.text for one in requests.values()],
            "start": None if first.start is None else first.start.id,
        }
        self.name = f"{'+'.join(self.space.keys)[:60]}-{request_id(**self.question)}"

    def candidate(self, key: str, settings: Mapping[str, Any]) -> Candidate:
        """The networks of one setting."""
        if self._draws is None:
            self._draws = draws(self.data, self.seeds)
        given = {**self.arguments, **settings}
        trainers = [Trainer(self.space.bound[key], self._draws[one], seed=one, **given) for one in self.seeds]
        return Candidate(trainers, self.judge)


class Tuning:
    """A study under way, or done: `method`, `settings`, `value`, `table()`, `train()`, and `run` for more trials.

    study is Optuna's own, for its importances, its plots, and ask and tell.
    """

    def __init__(self, plan: Plan, book: Book):
        self.plan, self._book = plan, book

    @property
    def study(self) -> optuna.Study:
        return self._book.study

    @property
    def name(self) -> str:
        return self.study.study_name

    def __len__(self) -> int:
        """Trials that are finished or were ended early, by any worker."""
        return self._book.finished()

    # --------------------------------------------------------------------------------------------------------- results
    @property
    def best_trial(self) -> FrozenTrial:
        """Optuna's trial of the highest value, whose params are on the scales of the search; `settings` has them as
        `train` takes them. ValueError where none is complete yet."""
        complete = [one for one in self._book.trials() if one.state == TrialState.COMPLETE]
        if not complete:
            raise ValueError(f"tuning {self.name!r}: no trial is complete yet; call tune, or run(trials), with more")
        return max(complete, key=lambda one: (one.value, -one.number))

    @property
    def method(self) -> str:
        """The key of the best method."""
        return self.plan.space.read(self.best_trial.params)[0]

    @property
    def settings(self) -> dict[str, Any]:
        """The best values of what was tuned."""
        return self.plan.space.read(self.best_trial.params)[1]

    @property
    def value(self) -> float:
        """The best value of the objective: on the validation images, so too good where those are few."""
        return float(self.best_trial.value)

    def table(self) -> pandas.DataFrame:
        """A row a trial (pandas), best first: its value, the tuned settings, by whom, how it ended, epochs, seconds.

        by: the "defaults", the "sampler", or "you" (enqueue). ended: "finished", "ended early", "diverged", "under
        way", "waiting", "failed", "stopped" or "worker lost". The value of a trial that was ended early is that of its
        last report.
        """
        import pandas

        tuned = [one.name for one in self.plan.space.dimensions]
        first = [METHOD] if len(self.plan.space.keys) > 1 else []
        rows = [self._row(one) for one in self._book.trials()]
        columns = ["trial", "value", *first, *tuned, "by", "ended", "epochs", "seconds"]
        frame = pandas.DataFrame(rows, columns=columns).set_index("trial")
        known = frame["ended"].isin(["finished"])
        order = frame.assign(known=~known, worth=-frame["value"].astype(float)).sort_values(["known", "worth", "trial"])
        return frame.loc[order.index]

    def _row(self, trial: FrozenTrial) -> dict[str, Any]:
        space, said = self.plan.space, result(trial)
        try:
            key, found = space.read(trial.params)
        except KeyError:  # it has not been given its parameters yet
            key, found = None, {}
        named = {one.name: found.get(one.setting) for one in space.dimensions if one.method in ("", key)}
        named = {name: value for name, value in named.items() if value is not None}
        value = trial.value if trial.state in (TrialState.COMPLETE, TrialState.PRUNED) else None
        row = {"trial": trial.number, "value": value, METHOD: key, **named, "ended": ended(trial)}
        row["by"] = trial.user_attrs.get(BY, "sampler")
        return {**row, "epochs": said.get("epochs", trial.last_step), "seconds": said.get("seconds")}

    def importance(self) -> pandas.Series:
        """How much of the values' variance each tuned setting explains (fANOVA of Optuna), largest first; sums to 1.

        ValueError with fewer than two different values.
        """
        import pandas
        from optuna.importance import FanovaImportanceEvaluator, get_param_importances

        values = [one.value for one in self._book.trials() if one.state == TrialState.COMPLETE]
        if len(set(values)) < 2:
            raise ValueError(f"tuning {self.name!r}: importance needs at least two complete trials of different value")
        found = get_param_importances(self.study, evaluator=FanovaImportanceEvaluator(seed=0))
        names = {one.parameter: one.name for one in self.plan.space.dimensions}
        return pandas.Series({names.get(name, name): value for name, value in found.items()}, name="importance")

    def __repr__(self) -> str:
        states = [ended(one) for one in self._book.trials()]
        said = ", ".join(f"{states.count(one)} {one}" for one in dict.fromkeys(states)) or "no trial"
        if "finished" not in states:
            hint = "; tune over smaller rates or milder settings" if set(states) == {"diverged"} else ""
            return f"tuning {self.name} in {self._book.place}: {said}{hint}"
        best = " ".join([self.method, ", ".join(f"{k}={check.spelled(v)}" for k, v in self.settings.items())]).strip()
        note = f"; {optimism(self.plan.judge)}" if self.plan.judge.images < FEW else ""
        head = f"tuning {self.name} in {self._book.place}: {said}\n"
        return f"{head}best: {best}, {self.plan.judge.name} {self.plan.judge.shown(self.value)} on validation{note}"

    # ------------------------------------------------------------------------------------------------------ going on
    def enqueue(self, method: str | None = None, **settings: Any) -> Tuning:
        """Put a setting of one's own up, to be tried before the sampler chooses. Returns self.

        What is not given has its default. ValueError for a setting that is not tuned, or is out of its range.
        """
        keys = self.plan.space.keys
        key = keys[0] if method is None and len(keys) == 1 else check.choice(METHOD, method, keys)
        self._book.enqueue(self.plan.space.write(key, settings), "you")
        return self

    def train(self, *, seeds: int | list[int] = 10, **others: Any) -> list[Run]:
        """Train the best setting under several seeds (many.train_many), which look at the test set. Returns the runs.

        others: further keywords of train_many, such as folder=.
        """
        key, settings = self.plan.space.read(self.best_trial.params)
        given = {**self.plan.arguments, **settings, **others}
        return train_many(self.plan.space.bound[key], self.plan.data, seeds=seeds, **given)

    def run(self, trials: int, *, progress: bool = True, callback: Callable[[Tuning], Any] | None = None) -> Tuning:
        """Go on until the study holds this many trials, those of other workers included. Returns self.

        Arguments and errors as for `tune`.
        """
        total = check.whole("trials", trials)
        told = Told(self, total) if check.flag("progress", progress) else None
        if self.go(total, told, callback) == "stopped":
            warnings.warn(
                f"the tuning was stopped; {many(len(self), 'trial')} are done and kept in {self._book.place}: the same "
                "call goes on with the rest",
                stacklevel=3,
            )
        return self

    def go(
        self,
        total: int,
        told: Told | None = None,
        callback: Callable[[Tuning], Any] | None = None,
        control: RunControl | None = None,
    ) -> str:
        """What `run` does, until control.stop(); "finished" or "stopped"."""
        with interrupts(control) as guard:
            while not guard.control.stopped:
                self._book.take_up()
                if self._book.finished() >= total:
                    break
                trial = self._book.take(total)
                if trial is None:  # others have the rest; they may be killed
                    if told:
                        told.waits()
                    _rest(guard)
                    continue
                self._try(trial, guard)
                if told:
                    told.update()
                if callback is not None and callback(self) is True:
                    break
            return "stopped" if guard.control.stopped else "finished"

    def _try(self, trial: Trial, guard: Interrupts) -> None:
        """Train a trial, and tell the study how it ended."""
        book, began = self._book, time.perf_counter()
        with book.beating(trial):
            try:
                self._train(trial, guard, began)
            except (Stopped, KeyboardInterrupt):
                guard.control.stop()
                book.put_back(trial)
            except UpdateFinishedTrialError:
                pass  # others have taken this worker for dead, and have put the setting up again
            except Diverged as error:
                book.note(trial, ended="diverged", error=str(error), seconds=round(time.perf_counter() - began, 3))
                book.end(trial, state=TrialState.PRUNED)
            except StorageLost:
                raise
            except Exception as error:
                book.note(trial, ended="failed", error=f"{type(error).__name__}: {error}"[:500])
                book.end(trial, state=TrialState.FAIL)
                raise

    def _train(self, trial: Trial, guard: Interrupts, began: float) -> None:
        book = self._book
        key, settings = book.suggest(self.plan.space, trial)
        same = next((one for one in book.trials() if one.params == trial.params and "values" in result(one)), None)
        if same is not None:  # trained already, and it would give the same again
            book.note(trial, **{**result(same), "seconds": 0.0, "same": same.number})
            book.end(trial, same.value)
            return
        candidate = self.plan.candidate(key, settings)
        values = candidate.train(guard.control, lambda *told: book.report(trial, *told))
        epochs, seconds = candidate.trainers[0].epoch, round(time.perf_counter() - began, 3)
        if values is None:
            book.note(trial, epochs=epochs, seconds=seconds)
            book.end(trial, state=TrialState.PRUNED)
            return
        book.note(trial, epochs=epochs, seconds=seconds, values=values)
        book.end(trial, float(np.mean(values)))


def _rest(guard: Interrupts) -> None:
    """Wait for a moment; Ctrl-C is heard."""
    until = time.monotonic() + POLL
    while time.monotonic() < until and not guard.control.stopped:
        time.sleep(0.05)


def ended(trial: FrozenTrial) -> str:
    """How a trial ended, in words (see Tuning.table)."""
    if trial.state == TrialState.PRUNED:
        return result(trial).get("ended", "ended early")
    if trial.state == TrialState.FAIL:
        return result(trial).get("ended", "worker lost")
    names = {TrialState.COMPLETE: "finished", TrialState.RUNNING: "under way", TrialState.WAITING: "waiting"}
    return names[trial.state]


class Told:
    """A line in a notebook, or on a terminal, after each trial."""

    def __init__(self, tuning: Tuning, total: int):
        self.tuning, self.total, self.handle, self.waiting = tuning, total, None, False
        if _in_notebook():
            from IPython.display import display

            self.handle = display(_Line(f"tuning {tuning.name}: starting"), display_id=True)

    def _say(self, text: str, share: float) -> None:
        if self.handle is not None:
            self.handle.update(_Line(text, share if share < 1 else None))
        elif sys.stderr.isatty():
            print(text, file=sys.stderr)

    def waits(self) -> None:
        if not self.waiting:
            self.waiting = True
            done = len(self.tuning)
            self._say(f"{done} of {self.total} trials; waiting for those of other workers", done / self.total)

    def update(self) -> None:
        self.waiting = False
        self._say(standing(self.tuning, self.total), len(self.tuning) / self.total)


def standing(tuning: Tuning, total: int) -> str:
    """How far a tuning has come, in a line."""
    try:
        best = tuning.best_trial
    except ValueError:
        said = "none complete"
    else:
        said = f"best {tuning.plan.judge.shown(best.value)} in trial {best.number}"
    return f"{len(tuning)} of {total} trials, {said}"
