"""Tuning: what is tuned over, what a trial is worth, and that nothing is lost when a worker or a disk fails."""

import contextlib
import os
import signal
import sqlite3
import sys
import time

import numpy as np
import optuna
import pytest
import sqlalchemy
import torch

from ltviz import commands, metrics
from ltviz.datasets import digits_lt
from ltviz.methods import METHODS
from ltviz.settings import Setting
from ltviz.training import Trainer, make_recipe, train
from ltviz.tuning import StorageLost, sampler, storage, study, tune
from ltviz.tuning.space import Space
from ltviz.tuning.study import RETRIES, WORKER, Book
from ltviz.tuning.trial import Judge, validation_run

pytestmark = pytest.mark.filterwarnings("ignore:the objective:UserWarning")
FAST = {"epochs": 2, "seeds": 1, "progress": False, "device": "cpu"}


@pytest.fixture(scope="module")
def data():
    return digits_lt()


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """The reader's folder; studies in it are journals where a test does not say otherwise, as those are faster."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(storage, "DEFAULT", "my_tuning.journal")


def space(data, *keys, settings=None, **fixed):
    bound = {key: METHODS[key](**fixed) for key in keys}
    return Space(bound, make_recipe(None, data), list(fixed), settings)


def ask(one, n=20, seed=0):
    """What n trials drawn at random get."""
    made = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return [(one.suggest(trial), trial.params) for trial in (made.ask() for _ in range(n))]


# ------------------------------------------------------------------------------------------------------------ the space
@pytest.mark.parametrize("key", [key for key, one in METHODS.items() if set(one.settings) - {"base"}])
def test_every_method_can_be_tuned_over_the_ranges_that_it_declares(key, data):
    tuned = space(data, key)
    for (method, settings), params in ask(tuned):
        bound = METHODS[method](**settings)
        assert bound.settings | settings == bound.settings, "each is taken as it was drawn"
        assert all(not one.idle(bound.settings) for name, one in METHODS[key].settings.items() if name in settings)
        left = {name for name, one in METHODS[key].settings.items() if name not in settings and name != "base"}
        assert all(METHODS[key].settings[name].idle(bound.settings) for name in left), "only what has no effect"
        assert tuned.read(params) == (method, settings) and tuned.read(tuned.write(method, settings))[1] == settings
    assert tuned.read(tuned.defaults()[0]) == (
        key, {name: METHODS[key]().settings[name] for name in tuned.read(tuned.defaults()[0])[1]}
    )  # fmt: skip


def test_scales_are_those_of_the_sliders(data):
    beta = np.array([settings["beta"] for (_, settings), _ in ask(space(data, "class_balanced", settings="beta"), 400)])
    decades = np.histogram(np.log10(1 - beta), np.arange(-6, 1))[0]
    assert len(beta) == decades.sum() == 400 and decades.min() > 40, "as many in each decade of 1 - beta"
    strength = [settings["strength"] for (_, settings), _ in ask(space(data, "ring", settings="strength"), 400)]
    assert np.histogram(np.log10(strength), np.arange(-4, 1))[0].min() > 70, "four decades below the highest"
    size = [s["cluster_size"] for (_, s), _ in ask(space(data, "lmle", settings="cluster_size"), 200)]
    assert set(map(type, size)) == {int} and min(size) < 4 and 12 < np.median(size) < 40
    gamma = [settings["gamma"] for (_, settings), _ in ask(space(data, "focal", settings="gamma"), 200)]
    assert np.histogram(gamma, [0, 1, 2, 3, 4, 5])[0].min() > 20


def test_a_range_a_list_and_a_setting_narrow_what_is_tuned(data):
    wanted = {"beta": (0.9, 0.999), "loss": ["softmax", "focal"], "gamma": Setting(1.0, 0.5, 2.0), "lr": None}
    for (_, settings), params in ask(space(data, "class_balanced", settings=wanted), 60):
        assert 0.9 <= settings["beta"] <= 0.999 and 0.001 <= params["1 - beta"] <= 0.1 + 1e-12
        assert settings["loss"] in ("softmax", "focal") and ("gamma" in settings) == (settings["loss"] == "focal")
        assert 0.5 <= settings.get("gamma", 1.0) <= 2.0 and 1e-3 <= settings["lr"] <= 1.0
        assert "reduction" not in settings


def test_several_methods_have_their_settings_apart(data):
    both = space(data, "focal", "ldam", settings={"gamma": (1, 2), "ldam.scale": (10.0, 20.0), "lr": (0.01, 0.1)})
    seen = {}
    for (key, settings), params in ask(both, 40):
        seen.setdefault(key, set()).update(settings)
        assert params["method"] == key
        METHODS[key](**{name: value for name, value in settings.items() if name != "lr"})
    assert seen == {"focal": {"gamma", "lr"}, "ldam": {"scale", "lr"}}
    assert [both.read(one)[0] for one in both.defaults()] == ["focal"], "30, the scale of LDAM, is out of this range"


def test_the_base_of_a_term_is_tuned_where_it_is_named(data):
    bases = ["ce", {"key": "class_balanced", "beta": 0.99}]
    found = {str(s["base"]) for (_, s), _ in ask(space(data, "ring", settings={"base": bases}))}
    assert found == {"ce", "{'key': 'class_balanced', 'beta': 0.99}"}


@pytest.mark.parametrize(
    ("method", "settings", "said"),
    [
        ("focal", ["gama"], "no setting 'gama' .did you mean 'gamma'"),
        ("focal", {"gamma": 2.0}, r"settings\['gamma'\]=2.0: expected None for the range"),
        ("focal", {"gamma": (2.0, 1.0)}, "low below high"),
        ("focal", {"gamma": (0.0, 9.0)}, "gamma=9.0: expected a number from 0.0 to 5.0"),
        ("focal", {"gamma": ("a", "b")}, "gamma='a': expected a number"),
        ("focal", {"gamma": [1.0]}, "at least two different values"),
        ("focal", {"gamma": [1.0, 1]}, "at least two different values"),
        ("focal", {"form": ["softmax", "soft"]}, "form='soft': expected one of"),
        ("focal", {"lr": (0.0, 1.0)}, "lr=0.0: expected a number above 0"),
        ("focal", ["clip"], "has no usual range"),
        ("focal", [3], "settings=3: expected a text"),
        ("focal", 3, "settings=3: expected None, names of settings"),
        ("focal", ["gamma", "focal.gamma"], "named twice"),
        ("focal", ["ldam.scale"], "no setting 'ldam.scale'"),
        ("ce", None, "ce has no setting that is left to tune"),
        ("ring", ["base"], "at least two different values"),
    ],
)
def test_settings_that_make_no_sense_are_refused(data, method, settings, said):
    with pytest.raises(ValueError, match=said):
        tune(method, data, settings=settings, trials=1, storage=optuna.storages.InMemoryStorage(), **FAST)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"trials": -1}, "trials=-1: expected a whole number"),
        ({"trials": 2.5}, "trials=2.5"),
        ({"trials": True}, "trials=True"),
        ({"storage": 3}, "storage=3: expected a path"),
        ({"storage": "study.txt"}, "the path of an SQLite file .*.db.* or of a journal"),
        ({"storage": "nothing://x:secret@y"}, "driver|expected None"),
        ({"storage": "://"}, "expected None for a file"),
        ({"sampler": "tpa"}, "sampler='tpa': expected one of 'tpe'.*did you mean 'tpe'"),
        ({"pruner": "mean"}, "pruner='mean'"),
        ({"objective": "rar"}, "objective='rar': expected one of 'rare'.*did you mean 'rare'"),
        ({"objective": None}, "objective=None"),
        ({"objective": 1}, "objective=1"),
        ({"seeds": 0}, "seeds=0"),
        ({"name": ""}, "name='': expected a text"),
        ({"seed": -1}, "seed=-1"),
        ({"progress": 1}, "progress=1: expected True or False"),
        ({"callback": 1}, "callback=1: expected None, or a function"),
        ({"callbacks": print}, "callbacks= is for one run"),
        ({"checkpoint": "x"}, "checkpoint= is for one run"),
        ({"gamme": 1}, "no setting 'gamme'"),
        ({"gamma": 1.0, "settings": ["gamma"]}, "is to be tuned, and is fixed by gamma="),
        ({"gamma": 7.0}, "gamma=7.0"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(data, given, said):
    with pytest.raises(ValueError, match=said) as error:
        tune("focal", data, **{"trials": 0, **FAST, **given})
    assert "secret" not in str(error.value)


def test_methods_that_make_no_sense_are_refused(data):
    for method, said in (([], "at least one method"), (["focal", "focal"], "each method once"), ("focl", "focl")):
        with pytest.raises(ValueError, match=said):
            tune(method, data, trials=0, **FAST)
    with pytest.raises(ValueError, match="data"):
        tune("focal", "digits", trials=0, **FAST)


def test_data_that_cannot_say_it_are_refused():
    with pytest.raises(ValueError, match="tuning judges by validation images, and digits_lt has none"):
        tune("focal", digits_lt(validation=0), trials=0, **FAST)
    flat = digits_lt(ratio=1, n_max=20)
    with pytest.raises(ValueError, match="objective='rare': expected 'balanced' or 'all'"):
        tune("focal", flat, trials=0, **FAST)
    assert len(tune("focal", flat, trials=0, objective="balanced", **FAST)) == 0


# ------------------------------------------------------------------------------------------------ what a trial is worth
@pytest.mark.parametrize(
    ("objective", "rows"),
    [("rare", slice(7, 10)), ("middle", slice(3, 7)), ("frequent", slice(0, 3)), ("balanced", slice(0, 10))],
)
def test_a_value_is_the_mean_over_seeds_of_the_groups_validation_accuracy(data, objective, rows):
    given = {"epochs": 3, "device": "cpu", "progress": False}
    tuning = tune(
        "focal", data, trials=2, seeds=[3, 5], objective=objective, settings=["gamma"], pruner="none", **given
    )
    for row in tuning.table().itertuples():
        runs = [train("focal", data.with_seed(s), seed=s, gamma=row.gamma, **given) for s in (3, 5)]
        wanted = np.mean([run.history["val_accuracy"][-1][rows].mean() for run in runs])
        assert row.value == pytest.approx(wanted)
    assert list(tuning.table()["gamma"])[0] == tuning.settings["gamma"]
    assert tuning.value == tuning.table()["value"].max()


def test_a_rule_after_training_is_judged_with_the_rule(data):
    """Its settings change nothing during training; without the rule every trial would have the same value."""
    given = {"epochs": 6, "device": "cpu", "progress": False}
    tuning = tune(
        "logit_adjusted", data, trials=3, seeds=1, objective="all", settings={"tau": [0.0, 1.0, 3.0]}, **given
    )
    found = dict(zip(tuning.table()["tau"], tuning.table()["value"], strict=True))
    base = train("ce", data, seed=0, **given)
    images = data.val_batch(slice(0, 100))
    with torch.no_grad():
        logits = base.model()(images)
    log_prior = (data.counts / data.counts.sum()).log()
    for tau, value in found.items():
        right = (logits - tau * log_prior).argmax(1) == data.val_targets
        assert value == pytest.approx(float(right.float().mean()))
    assert len(set(found.values())) > 1


def test_an_objective_of_ones_own_sees_validation_images_as_a_run(data):
    seen = []

    def worst(run):
        seen.append(run)
        return metrics.per_class(run).min() - run.ece

    tuning = tune("ldam", data, trials=1, objective=worst, **FAST)
    run = seen[-1]
    assert np.array_equal(run.targets, data.val_targets) and run.logits.shape == (100, 10)
    again = train("ldam", data, seed=0, epochs=2, device="cpu", progress=False)
    assert np.allclose(metrics.per_class(run), again.history["val_accuracy"][-1])
    assert tuning.value == pytest.approx(metrics.per_class(run).min() - run.ece)
    with pytest.raises(ValueError, match="objective: <lambda> gave nan: expected a finite number"):
        tune("ldam", data, trials=1, objective=lambda run: float("nan"), **FAST)


def test_the_test_images_are_never_looked_at(data, monkeypatch):
    monkeypatch.setattr(type(data), "test_batch", lambda *a: pytest.fail("the test set"))
    for objective in ("rare", lambda run: run.accuracy):
        assert len(tune(["logit_adjusted", "focal"], data, trials=3, objective=objective, **FAST)) == 3


def test_a_validation_run_equals_the_run_on_the_same_images(data):
    trainer = Trainer("crt", data, epochs=5, device="cpu")
    while not trainer.done:
        trainer.run_epoch()
    run = validation_run(trainer)
    assert np.allclose(metrics.per_class(run), trainer.history["val_accuracy"][-1])
    assert Judge("all", data)(trainer) == pytest.approx(run.accuracy)


def test_a_method_that_defers_its_part_is_not_ended_before_it(data):
    class Always(optuna.pruners.BasePruner):
        def prune(self, study, trial):
            return True

    given = {"epochs": 10, "seeds": 1, "progress": False, "settings": {"share": [0.2, 0.5]}, "pruner": Always()}
    frame = tune("crt", data, trials=2, **given).table()
    assert list(frame["ended"]) == ["ended early"] * 2
    assert dict(zip(frame["share"], frame["epochs"], strict=True)) == {0.2: 9, 0.5: 6}, "the first epoch of the second"


def test_a_trial_that_diverges_is_said_and_not_the_best(data):
    given = {"settings": {"lr": [0.1, 1e12]}, "clip": None, "sampler": "random", "warmup": 0.0, **FAST}
    tuning = tune("ce", data, trials=6, **given)
    ended = dict(zip(tuning.table()["lr"], tuning.table()["ended"], strict=True))
    assert ended == {0.1: "finished", 1e12: "diverged"} and tuning.settings == {"lr": 0.1}


def test_a_setting_that_was_tried_is_not_trained_again(data):
    tuning = tune("ce", data, trials=8, settings={"lr": [0.1, 0.01]}, pruner="none", **FAST)
    assert len(tuning) == 8 and (tuning.table()["seconds"] > 0).sum() == 2
    assert tuning.table().groupby("lr")["value"].nunique().max() == 1


# --------------------------------------------------------------------------------------------------- studies that go on
def test_a_study_is_kept_in_the_readers_folder(data, tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    tuning = tune("focal", data, trials=1, settings=["gamma"], **FAST)
    assert repr(tuning).startswith(f"tuning {tuning.name} in my_tuning.db: 1 finished\nbest: focal gamma=2, rare ")
    with sqlalchemy.create_engine("sqlite:///my_tuning.db").connect() as open_file:
        names = open_file.execute(sqlalchemy.text("select study_name from studies")).scalars().all()
    assert names == [tuning.name] and tuning.name.startswith("focal-")


@pytest.mark.parametrize(("place", "n"), [("a.db", 4), ("a.journal", 11)])
def test_a_study_that_is_taken_up_again_draws_what_it_would_have_drawn(data, place, n, tmp_path):
    asked = {"settings": ["gamma", "lr"], "seed": 4, **FAST}
    tune("focal", data, trials=2, storage=place, **asked)
    taken_up = tune("focal", data, trials=n, storage=place, **asked)
    whole = tune("focal", data, trials=n, storage=optuna.storages.InMemoryStorage(), **asked)
    assert len(taken_up) == len(whole) == n and (tmp_path / place).exists()
    columns = ["gamma", "lr", "value", "ended"]
    assert taken_up.table()[columns].equals(whole.table()[columns])
    assert tune("focal", data, trials=1, storage=place, **asked).value == whole.value, "there are enough already"


def test_another_question_has_another_study(data):
    first = tune("focal", data, trials=1, settings=["gamma"], **FAST)
    names = {first.name}
    for other in ({"objective": "all"}, {"settings": {"gamma": (0, 1)}}, {"epochs": 1}, {"seeds": 2}, {"lr": 0.01}):
        tuning = tune("focal", data, **{"trials": 0, "settings": ["gamma"], **FAST, **other})
        assert len(tuning) == 0
        names.add(tuning.name)
    assert len(names) == 6
    tune("focal", data, trials=1, name="mine", settings=["gamma"], **FAST)
    with pytest.raises(ValueError, match="name='mine'.*trials under other objective, .*give another name"):
        tune("focal", data, trials=1, name="mine", settings=["gamma"], objective="all", **FAST)


def test_a_study_without_a_trial_that_counts_is_begun_anew(data, tmp_path):
    asked = {**FAST, "name": "mine", "storage": tmp_path / "x.db"}
    with pytest.raises(ValueError, match="objective: nothing gave None"):
        tune("focal", data, trials=2, objective=nothing, **asked)
    tuning = tune("focal", data, trials=1, objective="all", **asked)
    assert len(tuning) == 1 and tuning.plan.judge.name == "all"


def nothing(run):
    return None


@pytest.mark.parametrize("wrong", [lambda: 1.0, lambda run, other: 1.0, dict])
def test_an_objective_that_takes_no_run_is_refused_before_training(wrong, data):
    with pytest.raises(ValueError, match="^objective=.*a function of one run"):
        tune("focal", data, objective=wrong, **FAST)


def test_an_objective_is_known_by_what_it_computes(data):
    def objective(weight):
        return lambda run: weight * run.accuracy

    names = [tune("focal", data, trials=0, objective=objective(weight), **FAST).name for weight in (1, 2, 1)]
    assert names[0] == names[2] != names[1]


def test_a_setting_of_the_readers_own_is_tried_before_the_sampler_chooses(data):
    tuning = tune("class_balanced", data, trials=1, settings=["beta", "loss", "gamma"], **FAST)
    tuning.enqueue(beta=0.99, loss="focal", gamma=0.5).enqueue(beta=0.0)
    assert list(tuning.table()["ended"]) == ["finished", "waiting", "waiting"]
    assert list(tuning.table()["by"]) == ["defaults", "you", "you"]
    frame = tuning.run(4, progress=False).table().sort_index()
    assert list(frame["by"]) == ["defaults", "you", "you", "sampler"]
    assert frame.loc[1, ["beta", "loss", "gamma"]].tolist() == [0.99, "focal", 0.5]
    assert frame.loc[2, "beta"] == 0.0 and np.isnan(frame.loc[2, "gamma"])
    with pytest.raises(ValueError, match="beta=2: expected a number from 0.0 to 1.0"):
        tuning.enqueue(beta=2)
    with pytest.raises(ValueError, match="'bet' is not tuned .did you mean 'beta'"):
        tuning.enqueue(bet=0.5)
    several = tune(["focal", "ldam"], data, trials=0, **FAST)
    with pytest.raises(ValueError, match="method=None: expected one of 'focal', 'ldam'"):
        several.enqueue(gamma=1.0)
    assert several.enqueue("ldam", scale=20.0).run(3, progress=False).table()["ldam.scale"].isin([20.0]).any()


def test_the_best_setting_is_trained_under_new_seeds(data):
    tuning = tune(["ldam", "focal"], data, trials=3, **FAST)
    runs = tuning.train(seeds=[7], progress=False)
    assert [run.seed for run in runs] == [7] and {run.method for run in runs} == {tuning.method}
    assert {name: runs[0].settings[name] for name in tuning.settings} == tuning.settings
    assert len(runs[0].history["loss"]) == 2, "the epochs that were fixed"


def test_importance_names_the_settings(data):
    tuning = tune("class_balanced", data, trials=8, settings=["beta", "lr"], objective="all", pruner="none",
                  sampler="random", **FAST)  # fmt: skip
    importance = tuning.importance()
    assert set(importance.index) == {"beta", "lr"} and importance.sum() == pytest.approx(1.0)
    assert importance["lr"] > 0.5, "after two epochs the rate decides"
    with pytest.raises(ValueError, match="at least two complete trials"):
        tune("focal", data, trials=0, **FAST).importance()
    with pytest.raises(ValueError, match="no trial is complete yet"):
        tune("focal", data, trials=0, **FAST).best_trial  # noqa: B018


def test_few_validation_images_are_warned_of_once(data, monkeypatch):
    monkeypatch.setattr(sys.modules["ltviz.tuning.tune"], "_warned", set())
    with pytest.warns(UserWarning, match="30 validation images, .* counts for 3.3 points of a seed: the best of many"):
        tuning = tune("focal", data, trials=1, **FAST)
    tune("focal", data, trials=1, **FAST)
    assert "too high, as it is partly luck" in repr(tuning) and "1 finished" in repr(tuning)


# ---------------------------------------------------------------------------------------------- workers that are killed
def left_behind(data, where, name, **attributes):
    """A study of two trials, and a third under way of which nothing is heard."""
    tuning = tune("focal", data, trials=2, name=name, storage=where, settings=["gamma"], **FAST)
    trial = tuning.study.ask()
    tuning.plan.space.suggest(trial)
    for key, value in attributes.items():
        trial.set_user_attr(key, value)
    return trial


def gone():
    """The number of a process that has ended."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


@pytest.mark.skipif(os.name == "nt", reason="forks")
@pytest.mark.parametrize("where", ["x.db", "x.journal"])
def test_what_a_killed_process_of_this_machine_had_begun_is_taken_up_at_once(data, where):
    lost = left_behind(data, where, "killed", **{WORKER: [study.machine(), gone(), "other"]})
    tuning = tune("focal", data, trials=4, name="killed", storage=where, settings=["gamma"], **FAST)
    trials = tuning.study.trials
    assert [one.state.name for one in trials] == ["COMPLETE", "COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert trials[3].params == lost.params and trials[3].user_attrs[RETRIES] == 1
    assert len(tuning) == 4 and list(tuning.table()["ended"]).count("worker lost") == 1


@pytest.mark.parametrize("attributes", [{}, {WORKER: ["elsewhere", 1, "x"]}])
def test_what_another_machine_had_begun_is_taken_up_after_its_silence(data, attributes, monkeypatch):
    lost = left_behind(data, "x.journal", "far", **attributes)
    monkeypatch.setattr(study, "GRACE", 0.6)
    began = time.monotonic()
    tuning = tune("focal", data, trials=3, name="far", storage="x.journal", settings=["gamma"], **FAST)
    assert time.monotonic() - began > 0.6, "it could still have been alive"
    assert tuning.study.trials[3].params == lost.params and tuning.study.trials[3].state.name == "COMPLETE"


def test_a_worker_that_gives_signs_of_life_is_left_alone(data, monkeypatch):
    monkeypatch.setattr(study, "BEAT", 0.05)
    monkeypatch.setattr(study, "GRACE", 0.3)
    monkeypatch.setattr(study, "_active", set())
    monkeypatch.setattr(study, "machine", lambda: "one")
    tuning = tune("focal", data, trials=0, name="alive", storage="x.journal", settings=["gamma"], **FAST)
    book = Book("x.journal", "alive", tuning.plan.question, sampler.make_sampler(None, 0), sampler.make_pruner(None, 2))
    trial = book.take(5)
    monkeypatch.setattr(study, "machine", lambda: "two")
    study._active.clear()
    with book.beating(trial):
        for _ in range(12):
            assert tuning._book.take_up() == []
            time.sleep(0.05)
    tuning._book.take_up()
    time.sleep(0.35)
    assert tuning._book.take_up() == [trial.number]
    book.end(trial, 1.0)  # it was only slow: its result comes too late, and is no error
    assert tuning.study.trials[trial.number].state.name == "FAIL"


def test_a_setting_that_kills_its_workers_is_given_up(data):
    left_behind(data, "x.journal", "deadly", **{WORKER: [study.machine(), gone(), "x"], RETRIES: study.AGAIN})
    tuning = tune("focal", data, trials=3, name="deadly", storage="x.journal", settings=["gamma"], **FAST)
    assert [one.state.name for one in tuning.study.trials] == ["COMPLETE", "COMPLETE", "FAIL", "COMPLETE"]
    assert tuning.study.trials[3].params != tuning.study.trials[2].params


def test_two_workers_that_are_as_fast_do_not_exceed_the_number(data, monkeypatch):
    tuning = tune("focal", data, trials=1, name="race", storage="x.db", settings=["gamma"], **FAST)
    other = tune("focal", data, trials=1, name="race", storage="x.db", settings=["gamma"], **FAST)
    real, begun = tuning.study.ask, []

    def ask_too():
        begun.append(other._book.take(2))  # between the other's look and its own
        return real()

    monkeypatch.setattr(tuning.study, "ask", ask_too)
    assert tuning._book.take(2) is None and begun[0] is not None
    other._book.end(begun[0], 0.5)
    assert len(tuning) == 2 and len(tuning.table()) == 2


def test_ctrl_c_puts_the_trial_back(data):
    def objective(run):
        if len(run.history["loss"]) == 2 and tuning_trials() == 1 and not pressed:
            pressed.append(True)
            os.kill(os.getpid(), signal.SIGINT)
        return run.accuracy

    def tuning_trials():
        return len(done)

    pressed, done = [], []
    asked = {"settings": ["gamma"], "objective": objective, "name": "pressed", **FAST, "epochs": 4}
    with pytest.warns(UserWarning, match="the tuning was stopped; 1 trial are done|1 trial"):
        tuning = tune("focal", data, trials=3, callback=lambda now: done.append(1), **asked)
    assert len(tuning) == 1
    assert list(tuning.table()["ended"]) == ["finished", "stopped", "waiting"]
    stopped = tuning.table().loc[1, "gamma"]
    tuning = tuning.run(3, progress=False)
    assert tuning.table().loc[2, ["gamma", "ended"]].tolist() == [stopped, "finished"] and len(tuning) == 3


def test_an_error_ends_the_tuning_and_keeps_what_is_done(data):
    def objective(run):
        if run.settings["gamma"] != 2.0:
            raise RuntimeError("no memory")
        return run.accuracy

    with pytest.raises(RuntimeError, match="no memory"):
        tune("focal", data, trials=3, settings=["gamma"], objective=objective, name="fails", **FAST)
    trials = optuna.load_study(study_name="fails", storage=storage.open_storage(None)[0]).trials
    assert [one.state.name for one in trials] == ["COMPLETE", "FAIL"]
    assert trials[1].user_attrs["result"]["error"] == "RuntimeError: no memory"


# -------------------------------------------------------------------------------------------------- a disk that is full
def test_a_full_disk_is_named_and_what_was_finished_stays(data, monkeypatch):
    monkeypatch.setattr(study, "GRACE", 0.3)  # where the disk was full before a trial could say whose it is
    with contextlib.closing(sqlite3.connect("x.db")) as small:
        small.execute("PRAGMA page_size = 512")  # so that each trial asks for new ones
        small.execute("CREATE TABLE mine (x)")
    opened, _ = storage.open_storage("x.db")
    full = []

    @sqlalchemy.event.listens_for(opened.engine, "connect")
    @sqlalchemy.event.listens_for(opened.engine, "checkout")
    def limit(connection, *record):
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages if full else 10**6}")

    asked = {"settings": ["gamma"], "name": "full", **FAST}
    with pytest.raises(StorageLost, match="it cannot be read or written .database or disk is full"):
        tune("focal", data, trials=99, storage=opened, callback=lambda now: full.append(now.value), **asked)
    done, first = len(full), full[0]
    full.clear()
    assert 1 <= done < 20
    tuning = tune("focal", data, trials=done + 1, storage="x.db", **asked)
    assert len(tuning) == done + 1 and tuning.table()["value"][0] == first


def test_a_full_disk_in_the_middle_of_a_journals_line_leaves_it_readable(data, monkeypatch):
    asked = {"settings": ["gamma"], "name": "full", "storage": "x.journal", **FAST}
    tuning = tune("focal", data, trials=2, **asked)

    def full(number):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(StorageLost, match="x.journal.*No space left on device.*the same call goes on"):
            tuning.run(4, progress=False)
    assert len(tune("focal", data, trials=4, **asked)) == 4


def test_half_a_line_of_a_killed_writer_is_cut_off(data):
    asked = {"settings": ["gamma"], "name": "half", "storage": "x.journal", **FAST}
    tune("focal", data, trials=2, **asked)
    with open("x.journal", "ab") as file:
        file.write(b'{"op_code":5,"worker_')
    tuning = tune("focal", data, trials=3, **asked)
    assert len(tuning) == 3
    assert len(tune("focal", data, trials=4, **asked)) == 4, "and what came after it is read"


def test_a_file_that_is_no_study_is_named(tmp_path, data):
    (tmp_path / "x.db").write_text("not a database, but a text that is long enough to be taken for one" * 20)
    with pytest.raises(ValueError, match="x.db.*it cannot be opened .file is not a database"):
        tune("focal", data, trials=0, storage="x.db", **FAST)
    (tmp_path / "x.journal").write_text("not a journal\nat all\nno\n")
    with pytest.raises((ValueError, StorageLost), match="x.journal"):
        tune("focal", data, trials=0, storage="x.journal", **FAST)


# ---------------------------------------------------------------------------------------------------------- the command
def test_the_command_tunes_and_goes_on(capsys):
    line = ["class_balanced", "--tune", "beta=0.9:0.999", "--tune", "loss=softmax,focal", "--epochs", "2"]
    line += ["--seeds", "1", "--storage", "w.journal", "reduction=weight"]
    assert commands.main_tune([*line, "--trials", "2"]) == 0
    first = capsys.readouterr().out
    assert "2 of 2 trials, best" in first and "best: class_balanced beta=0.999" in first
    line_to_train = first.partition("to train it: python -m ltviz train ")[2].split()
    assert set(line_to_train) == {
        "class_balanced", "beta=0.999", "loss=softmax", "reduction=weight", "recipe=digits", "epochs=2"
    }  # fmt: skip
    assert commands.main_train(line_to_train) == 0
    capsys.readouterr()
    assert commands.main_tune([*line, "--trials", "3"]) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("3 of 3 trials")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["focl"], "unknown method 'focl'"),
        (["focal", "--tune", "gamma=0:9"], "gamma=9: expected a number from 0.0 to 5.0"),
        (["focal", "--tune", "gamma", "--tune", "gamma=0:1"], "given twice"),
        (["focal", "--storage", "x.txt"], "storage='x.txt'"),
        (["focal", "--storage", "postgresql://tuner:secret@127.0.0.1:1/x"], "tuner:***@127.0.0.1:1/x"),
        (["focal", "--objective", "tail"], "objective='tail'"),
    ],
)
def test_the_command_says_what_is_wrong(capsys, line, said):
    assert commands.main_tune([*line, "--trials", "0"]) == 2
    error = capsys.readouterr().err
    assert said in error and "secret" not in error
