"""The recorded grid: what is there stays until something better is, and nothing else is touched."""

import dataclasses
import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPO

from ltviz.methods import METHODS
from ltviz.run import load_run, load_runs
from ltviz.training import RECIPES, Trainer, make_data
from tools import record

FULL = dict(RECIPES)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """The recipe of the digits, an epoch long."""
    monkeypatch.setitem(RECIPES, "digits", dataclasses.replace(RECIPES["digits"], epochs=1))
    monkeypatch.setattr(record, "_drawn", {})


def task(folder, key="ce", seed=0, **settings):
    return record.Task("digits", key, settings, seed, None, folder)


def record_one(one: record.Task) -> str:
    (line,) = record.record_group([one])
    return line


def contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.fixture
def full(tmp_path):
    """A folder with runs of several methods, settings and seeds, a file of somebody else's, and an older `ce`."""
    for one in (
        task(tmp_path, "focal"),
        task(tmp_path, "focal", gamma=1.0),
        task(tmp_path, "ce", 1),
        task(tmp_path, "balanced_softmax"),
        task(tmp_path, "ce", 10),
    ):
        record_one(one)
    run = Trainer("ce", _data(), recipe=dataclasses.replace(RECIPES["digits"], lr=0.05)).run()  # of an older request
    old = dataclasses.replace(run, id="0123456789ab").save(tmp_path, small=True)
    (tmp_path / "notes.txt").write_text("mine")
    return tmp_path, old


def _data(seed=0):
    return make_data("digits", seed)


def test_a_new_run_replaces_only_the_old_one_of_its_name(full):
    folder, old = full
    before = contents(folder)
    assert record_one(task(folder)).startswith("ce, seed 0: finished")
    after = contents(folder)
    (new,) = after.keys() - before.keys()
    assert before.keys() - after.keys() == {old.name} and new.rpartition("-")[0] == old.name.rpartition("-")[0]
    assert all(before[name] == after[name] for name in before.keys() & after.keys())
    made = load_run(folder / new)
    assert (made.method, made.seed, made.status) == ("ce", 0, "finished") and made.network is not None
    assert made.id == Trainer("ce", _data(), recipe="digits", device="cpu").id


def test_a_run_that_is_there_is_not_trained_again(full, monkeypatch):
    folder, _ = full
    record_one(task(folder))
    before = contents(folder)
    monkeypatch.setattr(Trainer, "run", lambda *a, **k: pytest.fail("it trained"))
    assert "seed 0: there already" in record_one(task(folder)) and contents(folder) == before


@pytest.mark.parametrize("fails", ["train", "stop", "save"])
def test_the_old_run_outlives_a_failure(full, monkeypatch, fails):
    folder, _ = full
    before = contents(folder)
    if fails == "train":
        monkeypatch.setattr(Trainer, "run_epoch", lambda *a: (_ for _ in ()).throw(ArithmeticError("on purpose")))
    elif fails == "stop":
        monkeypatch.setattr(Trainer, "run_epoch", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
    else:
        monkeypatch.setattr("ltviz.files.os.replace", lambda *a: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises({"train": ArithmeticError, "stop": KeyboardInterrupt, "save": OSError}[fails]):
        record_one(task(folder))
    assert contents(folder) == before


def test_images_are_kept_of_the_first_seed_of_the_methods_that_are_opened(tmp_path):
    for one in (
        task(tmp_path),
        task(tmp_path, seed=1),
        task(tmp_path, "focal"),
        task(tmp_path, "class_balanced"),
        task(tmp_path, "class_balanced", seed=1),
        task(tmp_path, "class_balanced", beta=0.9),
    ):
        record_one(one)
    kept = {
        (run.label, run.seed): tuple(0 if rows is None else len(rows) for rows in (run.logits, run.features))
        for run in load_runs(tmp_path)
    }
    assert kept == {
        ("ce", 0): (500, 500),
        ("ce", 1): (500, 0),  # the frontier of the plain network under every seed
        ("focal", 0): (0, 0),
        ("class_balanced", 0): (500, 500),
        ("class_balanced", 1): (0, 0),
        ("class_balanced beta=0.9", 0): (0, 0),
    }


def test_the_network_is_kept_of_the_plain_run_of_the_first_seed(tmp_path, monkeypatch):
    for one in (task(tmp_path), task(tmp_path, seed=1), task(tmp_path, "focal")):
        record_one(one)
    kept = {
        (run.method, run.seed): (run.network is not None, run.train_features is not None) for run in load_runs(tmp_path)
    }
    assert kept == {("ce", 0): (True, True), ("ce", 1): (False, False), ("focal", 0): (False, False)}
    monkeypatch.setattr(record, "WHOLE", set())
    again = tmp_path / "again"
    record_one(task(again))
    monkeypatch.undo()
    monkeypatch.setitem(RECIPES, "digits", dataclasses.replace(RECIPES["digits"], epochs=1))
    assert "finished" in record_one(task(again)), "a record without its network is not complete"
    assert load_runs(again)[0].network is not None and len(load_runs(again)) == 1


def test_a_group_is_what_its_runs_are_one_by_one(tmp_path, monkeypatch):
    grid = [task(tmp_path / "group", key) for key in ("ce", "focal", "ring")]
    lines = record.record_group(grid)
    assert sorted(line.partition(",")[0] for line in lines) == ["ce", "focal", "ring"]
    for key in ("ce", "focal", "ring"):
        record_one(task(tmp_path / "single", key))
    assert contents_of_runs(tmp_path / "group") == contents_of_runs(tmp_path / "single")
    monkeypatch.setattr(Trainer, "run", lambda *a, **k: pytest.fail("it trained"))
    assert all("there already" in line for line in record.record_group(grid))


def contents_of_runs(folder):
    return [(run.id, run.confusion.tolist(), run.history["loss"].tolist()) for run in load_runs(folder)]


def test_a_run_of_another_device_is_there_and_one_of_other_data_is_not(tmp_path):
    trainer = Trainer("ce", _data(), recipe="digits", device="cpu")
    run = trainer.run()
    dataclasses.replace(run, id="0123456789ab").save(tmp_path, small=True)
    assert record.there(tmp_path, trainer).id == "0123456789ab"
    assert record.there(tmp_path, Trainer("ce", _data(1), recipe="digits", device="cpu")) is None
    assert record.there(tmp_path, Trainer("focal", _data(), recipe="digits", device="cpu")) is None
    (path,) = tmp_path.glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-9])
    assert record.there(tmp_path, trainer) is None


def test_nothing_is_begun_after_the_time_given(tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "__init__", lambda *a, **k: pytest.fail("it began"))
    late = dataclasses.replace(task(tmp_path), until=1.0)
    assert record.record_group([late, late]) == ["ce, seed 0: no time left"] * 2


def test_groups_share_their_data(tmp_path):
    grid = record.tasks("digits", ["ce", "ring", "ncm"], 2, root=None, folder=tmp_path)
    found = [[(one.key, one.seed) for one in group] for group in record.groups(grid, 3)]
    assert found == [[("ce", 0), ("ring", 0), ("ring", 0)], [("ncm", 0)], [("ce", 1), ("ring", 1), ("ring", 1)],
                     [("ncm", 1)]]  # fmt: skip


def test_the_grid_is_every_method_with_its_variants_seed_by_seed(tmp_path):
    grid = record.tasks("digits", ["ce", "focal"], 2, root=None, folder=tmp_path)
    assert [(t.key, t.settings, t.seed) for t in grid] == [
        (key, settings, seed)
        for seed in (0, 1)
        for key, settings in (("ce", {}), ("focal", {}), *(("focal", one) for one in record.VARIANTS["focal"]))
    ]
    assert {(t.recipe, t.root, t.folder) for t in grid} == {("digits", None, tmp_path)}
    plain = record.tasks("cifar16_published", ["ce", "class_balanced"], 1, root=None, folder=tmp_path)
    assert [(t.key, t.settings) for t in plain] == [("ce", {}), ("class_balanced", {})]


def test_each_seed_draws_its_own_data(tmp_path):
    for seed in (0, 1):
        record_one(task(tmp_path, seed=seed))
    runs = load_runs(tmp_path)
    assert [run.data["fingerprint"] for run in runs] == [_data(seed).fingerprint for seed in (0, 1)]
    assert [(run.seed, run.data["seed"]) for run in runs] == [(0, 0), (1, 1)]


def test_the_variants_and_the_opened_name_methods_and_settings_that_exist():
    for key, several in record.VARIANTS.items():
        for settings in several:
            assert METHODS[key](**settings).differing
    assert {key for _, key in [*record.OPENED, *record.LOGITS]} <= set(METHODS)
    assert {recipe for recipe, _ in [*record.OPENED, *record.LOGITS]} <= set(record.SEEDS) <= set(RECIPES)
    assert set(record.ONLY) <= set(record.SEEDS)
    assert all(key in METHODS for keys in record.ONLY.values() for key in keys)


def test_the_command_trains_what_is_missing_in_processes_of_its_own(tmp_path):
    """As it is typed: `python -m tools.record`, whose worker processes find the same task again."""
    command = [sys.executable, "-m", "tools.record", "digits", "--methods", "ncm", "--seeds", "1"]
    done = subprocess.run(
        [*command, "--jobs", "1", "--folder", tmp_path], cwd=REPO, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0 and re.match(r"digits 1/1 \(\d+ s\): ncm, seed 0: finished", done.stdout), done.stderr
    (run,) = load_runs(tmp_path / "digits")
    assert (run.method, run.seed, run.status) == ("ncm", 0, "finished")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["digit"], "unknown recipe 'digit'"),
        (["--seeds", "0"], "--seeds=0"),
        (["--jobs", "0"], "--jobs=0"),
        (["--methods", "focl"], "focal"),
    ],
)
def test_the_command_names_what_is_wrong_before_training(arguments, said, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        record.main([*arguments, "--folder", str(tmp_path)])
    assert stopped.value.code == 2 and said in capsys.readouterr().err and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("recipe", list(record.SEEDS))
def test_the_recorded_grid_is_whole_and_of_today(recipe, tmp_path):
    """Chapters compare what is there: nothing may be missing, left over, or of another recipe."""
    keys = [key for key in METHODS if key in record.ONLY.get(recipe, METHODS)]
    grid = record.tasks(recipe, keys, record.SEEDS[recipe], root=None, folder=tmp_path)
    wanted = {(METHODS[task.key](**task.settings).label, task.seed) for task in grid}
    runs = load_runs(record.RUNS / recipe)
    assert {(run.label, run.seed) for run in runs} == wanted and len(runs) == len(grid)
    plan = {**dataclasses.asdict(FULL[recipe]), "data": None}
    for run in runs:
        assert run.settings == METHODS[run.method](**run.settings).settings, "settings as the method has them today"
        assert run.status == "finished" and run.recipe["name"] == recipe
        assert {name: run.recipe[name] for name in ("epochs", "model", "lr")} == {
            n: plan[n] for n in ("epochs", "model", "lr")
        }
    assert all(record.complete(run, record.Task(recipe, run.method, {}, run.seed, None, tmp_path)) for run in runs)
