"""Several runs: which are asked for, in which order, what is found again, and what is kept."""

import dataclasses
import importlib
import signal
import warnings

import numpy as np
import pytest

from ltviz.datasets import LongTailed, digits_lt
from ltviz.device import Speed
from ltviz.many import train_many
from ltviz.methods import METHODS
from ltviz.run import RunFileError, load_run
from ltviz.training import RECIPES, Trainer, prepare_folder, requests, save, saved, sweep, train

MODULE = importlib.import_module("ltviz.training.train")  # `ltviz.training.train` is the function


@pytest.fixture(scope="module")
def data():
    return digits_lt(class_order="seed")


@pytest.fixture(scope="module")
def run(data):
    return train("ce", data, epochs=1, progress=False)


def asked(*arguments):
    return list(requests(*arguments))


def test_every_combination_under_every_seed(data):
    found = asked(["ce", "focal"], data, [3, 1], {"epochs": [1, 2], "model": "mlp"})
    assert found == [
        (key, seed, {"epochs": epochs, "model": "mlp"})
        for seed in (3, 1) for key in ("ce", "focal") for epochs in (1, 2)
    ]  # fmt: skip
    assert asked("ce", data, 2, {}) == [("ce", 0, {}), ("ce", 1, {})] == asked(("ce",), data, np.int64(2), {})
    settings = {"epochs": [1, 2], "model": ["cnn", "mlp"]}
    pairs = [(one["epochs"], one["model"]) for *_, one in asked("ce", data, 1, settings)]
    assert pairs == [(1, "cnn"), (1, "mlp"), (2, "cnn"), (2, "mlp")]
    settings = {"model": "cnn", "checkpoint": None}
    assert asked("ce", data, 1, settings) == [("ce", 0, settings)]


def test_the_same_run_in_several_spellings_is_asked_for_once(data):
    assert asked(["ce", "ce"], data, 2, {}) == [("ce", 0, {}), ("ce", 1, {})]
    key, alias = next((key, METHODS[key].aliases[0]) for key in METHODS if METHODS[key].aliases)
    assert asked([alias, key, "ce"], data, 1, {}) == [(alias, 0, {}), ("ce", 0, {})]
    for settings in [{"gamma": [2.0, 2, np.float64(2)]}, {"gamma": [2.0, 2.0]}, {"model": ["mlp", "mlp:64"]},
                     {"epochs": [60, None]}, {"recipe": ["digits", RECIPES["digits"], None]},
                     {"speed": [Speed(graph=True), Speed(fused=True, graph=True)]}]:  # fmt: skip
        first = {name: values[0] for name, values in settings.items()}
        assert asked("focal", data, 1, settings) == [("focal", 0, first)], settings
    assert len(asked("focal", data, 1, {"gamma": [2.0, 1.0, 2.0], "epochs": [1, 2, 1]})) == 4
    with pytest.raises(ValueError, match=r"^seeds=\[0, 0\]: expected .* different ones"):
        asked("ce", data, [0, 0], {})


@pytest.mark.parametrize("several", [sweep, train_many])
def test_what_is_asked_for_twice_is_trained_and_returned_once(data, tmp_path, several):
    runs = several(["ce", "ce"], data, seeds=[3], epochs=[1, 1], folder=tmp_path, progress=False)
    assert [(one.method, one.seed) for one in runs] == [("ce", 3)] and len(list(tmp_path.iterdir())) == 1


def test_a_wrong_request_is_refused_before_anything_is_trained(data, tmp_path):
    with pytest.raises(ValueError, match="gamma"):
        sweep("focal", data, gamma=[1.0, -1.0], epochs=1, folder=tmp_path / "runs", progress=False)
    assert not (tmp_path / "runs").exists()


def test_a_sweep_never_drops_what_was_changed(data):
    """Other seeds are drawn by the loader, which knows nothing of edits."""
    edited = digits_lt(class_order="seed")
    edited.images[0] = 0
    padded = dataclasses.replace(digits_lt(), pad=1)
    for changed, what in ((edited, "images or targets"), (padded, "pad")):
        with pytest.raises(ValueError, match=f"^data: {what} differ from what digits_lt makes.*lt.train"):
            sweep("ce", changed, seeds=1, epochs=1, progress=False)


def test_a_small_sweep_leaves_a_whole_record(data, tmp_path):
    arguments = {"seeds": 1, "epochs": 1, "folder": tmp_path, "progress": False}
    whole = sweep("ce", data, small=False, **arguments)
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    again = sweep("ce", data, small=True, **arguments)
    assert path.read_bytes() == content and again[0].network.keys() == whole[0].network.keys()
    save(whole[0], tmp_path, True)
    assert path.read_bytes() == content


def test_what_a_sweep_does_not_take(data):
    by_hand = dataclasses.replace(data, spec={})
    for arguments, words in [
        (("ce", None, 1, {}), "^data=None: expected a data set from lt.digits_lt"),
        (("ce", by_hand, 1, {}), "^data: .*made by hand; use lt.train"),
        (("ce", data, 1, {"checkpoint": "x"}), "^checkpoint= is for one run"),
        (("ce", data, 1, {"seed": 0}), "^seed= is for one run"), (([], data, 1, {}), r"^method=\[\]: expected"),
        (("ce", data, 1, {"epochs": []}), r"^epochs=\[\]: expected"), (("ce", data, 0, {}), "^seeds=0"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=words):
            asked(*arguments)


def test_a_seed_draws_the_data_and_seeds_the_run(data, tmp_path):
    runs = sweep(["focal", "ce"], data, seeds=[1, 0], folder=tmp_path / "a" / "b", epochs=1, progress=False)
    assert [(one.method, one.seed) for one in runs] == [("ce", 0), ("ce", 1), ("focal", 0), ("focal", 1)]
    for one in runs:
        alone = train(one.method, data.with_seed(one.seed), epochs=1, seed=one.seed, progress=False)
        assert one.id == alone.id and one.data["seed"] == one.seed
        np.testing.assert_array_equal(one.logits, alone.logits)
    kept = {load_run(path).id: load_run(path) for path in (tmp_path / "a" / "b").iterdir()}
    assert kept.keys() == {one.id for one in runs}
    assert all(one.logits is None and one.network is None for one in kept.values())


def test_a_list_of_recipes_is_varied_too(data):
    recipes = [dataclasses.replace(RECIPES["digits"], lr=lr, epochs=1) for lr in (0.1, 0.05)]
    runs = sweep("ce", data, seeds=1, recipe=recipes, progress=False)
    assert [one.recipe["lr"] for one in runs] == [0.1, 0.05]


def test_a_sweep_without_a_folder_says_how_to_keep_runs(data, monkeypatch):
    def stops(self, control=None, on_epoch=None):
        control.stop()
        return whole(self, control, on_epoch)

    whole = Trainer.run
    monkeypatch.setattr(Trainer, "run", stops)
    with pytest.warns(UserWarning, match="^the sweep was stopped; 0 runs are done: give a folder to keep them"):
        assert sweep("ce", data, seeds=2, epochs=1, progress=False) == []


def test_the_place_of_runs_is_tried(tmp_path):
    assert prepare_folder(None) is None
    assert prepare_folder(str(tmp_path / "a" / "b")) == tmp_path / "a" / "b" and (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(RunFileError, match=f"^folder='{tmp_path / 'file'}': no run can be kept there"):
        prepare_folder(tmp_path / "file")
    with pytest.raises(ValueError, match="^folder="):
        prepare_folder(3)


def test_what_is_kept_of_a_run(run, tmp_path):
    save(run, None, True)
    assert list(tmp_path.iterdir()) == []
    save(run, tmp_path / "small", True), save(run, tmp_path / "whole", False)
    small, whole = (load_run(next((tmp_path / name).iterdir())) for name in ("small", "whole"))
    assert small.network is None and whole.network.keys() == run.network.keys()
    (tmp_path / "file").touch()
    with pytest.warns(RuntimeWarning, match="^ce, seed 0, could not be saved in .*file .*; it is returned"):
        save(run, tmp_path / "file", True)
    with pytest.warns(RuntimeWarning, match=f"could not be saved in {tmp_path} .it lacks counts.; it is returned"):
        save(dataclasses.replace(run, counts=None), tmp_path, True)


def test_what_is_found_again(data, run, tmp_path):
    trainer = Trainer("ce", data, epochs=1)
    assert trainer.id == run.id and saved(None, trainer) is None and saved(tmp_path, trainer) is None
    small = run.save(tmp_path, small=True)
    assert saved(tmp_path, trainer).id == run.id == saved(str(tmp_path), trainer, True).id
    assert saved(tmp_path, trainer, False) is None, "a small record has no network"
    run.save(tmp_path / "a-whole-one.safetensors")
    assert saved(tmp_path, trainer, False) is None, "files are known by the id in their name"
    run.save(tmp_path / f"zz-{run.id}.safetensors")
    assert saved(tmp_path, trainer, False).network is not None
    other = Trainer("ce", data, epochs=2)
    small.rename(tmp_path / f"x-{other.id}.safetensors")
    assert saved(tmp_path, other) is None, "and by the id in the file"
    dataclasses.replace(run, id=other.id, status="stopped").save(tmp_path / f"x-{other.id}.safetensors")
    assert saved(tmp_path, other) is None
    dataclasses.replace(run, id=other.id, status="diverged").save(tmp_path / f"x-{other.id}.safetensors")
    assert saved(tmp_path, other).status == "diverged"


def test_a_damaged_file_is_named_and_the_next_one_tried(data, run, tmp_path):
    trainer = Trainer("ce", data, epochs=1)
    (tmp_path / f"a-{run.id}.safetensors").write_bytes(b"half")
    with pytest.warns(RuntimeWarning, match=f"a-{run.id}.safetensors.* It is trained again"):
        assert saved(tmp_path, trainer) is None
    run.save(tmp_path / f"b-{run.id}.safetensors")
    with pytest.warns(RuntimeWarning, match="It is trained again"):
        assert saved(tmp_path, trainer).id == run.id


def test_nothing_is_said_of_a_whole_sweep(data, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = sweep("ce", data, seeds=2, folder=tmp_path, epochs=1, progress=False)
        again = sweep("ce", data, seeds=3, folder=tmp_path, epochs=1, small=True, progress=False)
    assert [one.id for one in again[:2]] == [one.id for one in first] and len(again) == 3
    for wrong in ({"progress": 1}, {"small": None}):
        with pytest.raises(ValueError, match=f"^{next(iter(wrong))}="):
            sweep("ce", data, epochs=1, **wrong)


# ----------------------------------------------------------------------------------------- what train and sweep pass on
def test_train_hands_every_argument_to_the_trainer(data, run, monkeypatch):
    calls = []

    def trainer(*arguments, **named):
        calls.append((arguments, named))
        raise ValueError("that is enough")

    monkeypatch.setattr(MODULE, "Trainer", trainer)
    given = {"epochs": 2, "seed": 3, "model": "mlp", "recipe": "digits", "start": run, "device": "cpu",
             "checkpoint": "x", "speed": Speed(), "gamma": 1.5, "weights": "w",
             "head_classes": "alphabetical", "augment": len, "callbacks": len}  # fmt: skip
    names = "epochs model weights head_classes recipe augment start device checkpoint callbacks speed".split()
    default = dict.fromkeys(names) | {"seed": 0}
    for named, expected in ((given, given), ({}, default)):
        with pytest.raises(ValueError, match="that is enough"):
            train("focal", data, **named)
        assert calls.pop() == (("focal", data), expected)
    with pytest.raises(ValueError, match="^progress='no'"):
        train("focal", data, progress="no")


class Bar:
    """Stands in for Progress, and remembers."""

    made: list = []

    def __init__(self, trainer):
        self.trainer, self.epochs, self.runs, self.open = trainer, [], [], False
        self.made.append(self)

    def __enter__(self):
        self.open = True
        return self

    def update(self, trainer):
        assert self.open and trainer is self.trainer
        self.epochs.append(trainer.epoch)

    def __exit__(self, *error):
        self.open = False


def test_progress_is_shown_unless_it_is_switched_off(data, tmp_path, monkeypatch):
    monkeypatch.setattr(Bar, "made", [])
    monkeypatch.setattr(MODULE, "Progress", Bar)
    train("ce", data, epochs=1, progress=False)
    sweep("ce", data, seeds=1, epochs=1, progress=False)
    assert Bar.made == []
    run = train("ce", data, epochs=2)
    (bar,) = Bar.made
    assert bar.trainer.id == run.id and bar.epochs == [1, 2] and bar.runs == [run] and not bar.open
    runs = sweep("ce", data, epochs=1, folder=tmp_path)
    assert [one.seed for one in runs] == [0, 1, 2] and [bar.runs for bar in Bar.made[1:]] == [[one] for one in runs]
    assert all(load_run(path).network is None for path in tmp_path.iterdir()), "small, unless it is asked otherwise"


def test_the_data_of_a_seed_are_loaded_once(data, monkeypatch):
    seeds, with_seed = [], LongTailed.with_seed
    monkeypatch.setattr(LongTailed, "with_seed", lambda self, seed: (seeds.append(seed), with_seed(self, seed))[1])
    runs = sweep(["ce", "focal"], data, seeds=[2, 0], epochs=1, progress=False)
    assert len(runs) == 4 and seeds == [2, 0]


def test_what_was_done_before_an_error_comes_with_it(data, tmp_path, monkeypatch):
    whole = Trainer.run

    def fails(self, control=None, on_epoch=None):
        if self.seed == 2:
            raise RuntimeError("out of memory")
        return whole(self, control, on_epoch)

    monkeypatch.setattr(Trainer, "run", fails)
    for folder, where in ((None, ""), (tmp_path, f" and in {tmp_path}")):
        with pytest.raises(RuntimeError, match="^out of memory") as error:
            sweep("ce", data, seeds=[1, 2], epochs=1, folder=folder, progress=False)
        assert [one.seed for one in error.value.runs] == [1]
        assert error.value.__notes__ == [f"1 runs were done before: they are in this error's `runs`{where}."]
    with pytest.raises(RuntimeError, match="^out of memory") as error:
        sweep("ce", data, seeds=[2], epochs=1, folder=tmp_path, progress=False)
    assert error.value.runs == [] and not hasattr(error.value, "__notes__")


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_while_data_load_ends_the_sweep(data, tmp_path, monkeypatch, presses):
    """Once: after the data are there; twice: at once. What is done is returned and kept, and the way to go on said."""
    with_seed, loaded, trained = LongTailed.with_seed, [], Trainer.run
    seeds = []

    def load(self, seed):
        if seed == 2:
            for _ in range(presses):
                signal.raise_signal(signal.SIGINT)
        loaded.append(seed)
        return with_seed(self, seed)

    monkeypatch.setattr(LongTailed, "with_seed", load)
    monkeypatch.setattr(Trainer, "run", lambda self, *rest: (seeds.append(self.seed), trained(self, *rest))[1])
    with pytest.warns(UserWarning) as said:
        runs = sweep("ce", data, seeds=[1, 2, 3], epochs=1, folder=tmp_path, progress=False)
    assert [one.seed for one in runs] == [1] == seeds and loaded == ([1, 2] if presses == 1 else [1])
    words = "the sweep was stopped; 1 runs are done: call sweep again with the same folder to go on"
    assert [str(one.message) for one in said] == [words]
    assert [load_run(path).id for path in tmp_path.iterdir()] == [runs[0].id]


def test_a_sweep_says_what_is_wrong_with_files_and_goes_on(data, run, tmp_path, monkeypatch):
    (tmp_path / f"a-{run.id}.safetensors").write_bytes(b"half")

    def full(self, *arguments, **named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(run), "save", full)
    with pytest.warns(RuntimeWarning) as said:
        (again,) = sweep("ce", data, seeds=1, epochs=1, folder=tmp_path, progress=False)
    assert again.id == run.id and len(said) == 2
    words = f"ce, seed 0, could not be saved in {tmp_path} (No space left on device); it is returned"
    assert str(said[0].message).endswith("It is trained again.") and str(said[1].message) == words


@pytest.mark.parametrize("small", [True, False])
def test_a_run_that_is_found_is_neither_trained_nor_saved_anew(data, run, tmp_path, monkeypatch, small):
    run.save(tmp_path / f"mine-{run.id}.safetensors", small=small)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run", lambda *a: pytest.fail("it was trained"))
        (found,) = sweep("ce", data, seeds=1, epochs=1, folder=tmp_path, small=small, progress=False)
    assert found.id == run.id and len(list(tmp_path.iterdir())) == 1
    (whole,) = sweep("ce", data, seeds=1, epochs=1, folder=tmp_path, small=False, progress=False)
    assert whole.network.keys() == run.network.keys()
    assert len(list(tmp_path.iterdir())) == (2 if small else 1), "a small record is none with a network"
