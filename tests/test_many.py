"""Several runs side by side: the same runs as one after another, by a fixed rule, whatever the method."""

import dataclasses
import signal
import threading
import time
import warnings

import numpy as np
import pytest
import torch

from ltviz import many, workers
from ltviz.datasets import digits_lt
from ltviz.device import threads
from ltviz.many import side_by_side, train_many, way
from ltviz.methods import METHODS
from ltviz.training import RECIPES, Trainer, interrupts, sweep, train
from tools.benchmark.measure import synthetic


@pytest.fixture(scope="module")
def drawn():
    """The digits of three seeds."""
    return [digits_lt(class_order="seed", seed=seed) for seed in range(3)]


@pytest.fixture
def no_workers(monkeypatch):
    """As where no process can be started: everything goes to threads."""
    monkeypatch.setattr(workers, "train_in_workers", lambda trainers, *rest: list(range(len(trainers))))


def trainers(drawn, method="ce", epochs=4, **more):
    return [Trainer(method, data, seed=seed, epochs=epochs, device="cpu", **more) for seed, data in enumerate(drawn)]


def in_step(runs):
    """The runs in turns on streams, whatever the rule says."""
    done = {}
    with interrupts() as guard:
        many._in_step(runs, guard, lambda trainer: None, lambda i, run, how: done.__setitem__(i, run))
    return done


def same(ours, theirs):
    """Every array of two runs, bit for bit."""
    assert (ours.id, ours.status, ours.label, ours.seed) == (theirs.id, theirs.status, theirs.label, theirs.seed)
    for item in dataclasses.fields(theirs):
        one, other = getattr(ours, item.name), getattr(theirs, item.name)
        if item.name in ("history", "network"):
            assert one.keys() == other.keys()
            for name in other:
                np.testing.assert_array_equal(one[name], other[name], err_msg=name)
        elif isinstance(other, np.ndarray):
            np.testing.assert_array_equal(one, other, err_msg=item.name)


# --------------------------------------------------------------------------------------------------------- the rule
def test_the_rule(drawn, monkeypatch):
    monkeypatch.setattr(workers, "count", lambda: 2)
    noise = synthetic([40, 24], 16)
    big = dataclasses.replace(RECIPES["digits"], batch_size=256)
    assert way(trainers(drawn)) == way(trainers(drawn, recipe="digits_cnn")) == "processes"
    assert way(trainers(drawn, recipe=big)) == way(trainers(drawn[:2]) + trainers(drawn, "focal")) == "processes"
    assert way(trainers(drawn)[:1]) == "one by one"
    large = trainers([noise] * 2, recipe="cifar16")
    for trainer in large:
        trainer.threads = 2  # it fills two cores by itself
    assert way(large) == "one by one"
    others = trainers(drawn)
    others[0].device = torch.device("cuda")
    assert way(others) == "one by one"
    for trainer in others:
        trainer.device = torch.device("cuda")
    assert way(others) == "streams"
    monkeypatch.setattr(workers, "count", lambda: 1)
    assert way(trainers(drawn)) == "one by one"


@pytest.mark.parametrize("variable, value", [(workers.MARK, "1"), ("LTVIZ_PROFILE", "fast"), ("", "")])
def test_no_processes_inside_other_processes_nor_in_the_fast_profile(variable, value, drawn, monkeypatch):
    monkeypatch.setattr(workers, "count", lambda: 2)
    monkeypatch.setenv(variable or "UNUSED", value)
    if not variable:
        monkeypatch.setattr(workers.multiprocessing, "parent_process", lambda: "the parent")
    assert way(trainers(drawn)) == "one by one"


def test_small_sets_are_prepared_four_times_as_many(monkeypatch):
    asked = [("ce", seed, {"device": "cpu"}) for seed in range(40)]
    assert list(map(len, many._groups(asked, digits_lt()))) == [32, 8]
    monkeypatch.setattr(many, "SMALL", 10)
    assert list(map(len, many._groups(asked, digits_lt()))) == [8] * 5


# ------------------------------------------------------------------------------------------------------ bit for bit
@pytest.mark.parametrize("method", ["ce", "equalization", "crt"])
def test_runs_in_threads_equal_single_ones_bit_for_bit(method, drawn, no_workers, monkeypatch):
    monkeypatch.setattr(workers, "count", lambda: 2)
    with threads(2):
        alone = [trainer.run() for trainer in trainers(drawn, method, epochs=3, model="cnn:4")]
        runs = side_by_side(trainers(drawn, method, epochs=3, model="cnn:4"))
        assert torch.get_num_threads() == 2
    for run, one in zip(runs, alone, strict=True):
        same(run, one)
        assert run.provenance["together"] == "2 threads" and run.provenance["threads"] == 1


def test_runs_one_by_one_equal_train_bit_for_bit(monkeypatch):
    monkeypatch.setattr(workers, "count", lambda: 1)
    noise = synthetic([40, 24], 16)
    settings = {"recipe": dataclasses.replace(RECIPES["cifar16"], epochs=2), "model": "cnn:4", "device": "cpu"}
    with threads(2):
        runs = side_by_side([Trainer("ce", noise, seed=seed, **settings) for seed in (0, 1)])
        for seed, run in enumerate(runs):
            same(run, train("ce", noise, seed=seed, progress=False, **settings))
            assert "together" not in run.provenance


def test_interleaved_steps_are_the_steps_of_each_run(drawn):
    """What several runs do in turns on streams of a GPU, here on a CPU, where it is bit for bit the same."""
    alone = [trainer.run() for trainer in trainers(drawn)]
    ours, taken = trainers(drawn), []
    for i, trainer in enumerate(ours):
        trainer.step.work = lambda index, i=i, work=trainer.step.work: (taken.append(i), work(index))
    done = in_step(ours)
    for i, one in enumerate(alone):
        same(done[i], one)
    assert taken[:6] == [0, 1, 2, 0, 1, 2]


def test_streams_leave_a_diverged_run_behind(drawn):
    ours = trainers(drawn)
    with torch.no_grad():
        ours[1].net.head.weight.fill_(torch.nan)
    with pytest.warns(RuntimeWarning, match="the run stops here"):
        done = in_step(ours)
    assert [trainer.epoch for trainer in ours] == [4, 1, 4]
    assert [done[i].status for i in range(3)] == ["finished", "diverged", "finished"]


def test_streams_end_each_run_at_its_own_length_and_stop_in_the_middle(drawn):
    ours = [*trainers(drawn[:1], epochs=1), *trainers(drawn, epochs=50)[1:]]
    work = ours[1].step.work
    ours[1].step.work = lambda index: (ours[1].epoch == 2 and signal.raise_signal(signal.SIGINT), work(index))
    done = in_step(ours)
    assert list(done) == [0] and len(done[0].history["loss"]) == 1 and [t.epoch for t in ours] == [1, 2, 2]


def test_no_thread_is_left_and_an_error_stops_all(drawn, monkeypatch, no_workers):
    monkeypatch.setattr(workers, "count", lambda: 2)
    before = threading.active_count()
    ours = trainers(drawn, epochs=2000, model="cnn:4")
    monkeypatch.setattr(ours[1], "begin_epoch", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        side_by_side(ours)
    assert threading.active_count() == before and ours[0].epoch < 2000


# ---------------------------------------------------------------------------------------------------------- the door
def test_train_many_gives_what_a_sweep_gives(tmp_path, no_workers):
    data = digits_lt(class_order="seed")
    asked = {"seeds": 2, "epochs": [1, 2], "progress": False, "device": "cpu"}
    runs = train_many(["ce", "focal"], data, folder=tmp_path, small=False, **asked)
    swept = sweep(["ce", "focal"], data, **asked)
    assert len(runs) == len(swept) == 8
    for ours, theirs in zip(runs, swept, strict=True):
        same(ours, theirs)
        assert "together" not in theirs.provenance
    files = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    again = train_many(["ce", "focal"], data, folder=tmp_path, small=False, **asked)
    assert len(files) == 8 and [run.id for run in again] == [run.id for run in runs]
    assert {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == files


@pytest.mark.parametrize("arguments, message", [
    ({"seeds": 0}, "seeds=0: expected how many seeds"),
    ({"seeds": 2.5}, "seeds=2.5: expected"),
    ({"seeds": True}, "seeds=True: expected"),
    ({"seeds": [0, 0]}, "seeds="),
    ({"seeds": "3"}, "seeds='3': expected"),
    ({"small": 1}, "small=1: expected True or False"),
    ({"progress": None}, "progress=None: expected True or False"),
    ({"folder": 3}, "folder=3: expected a path"),
    ({"folder": ""}, "folder='': expected a path"),
    ({"data": None}, "data=None: expected a data set"),
    ({"method": []}, "method=.*: expected at least one"),
    ({"method": "focl"}, "did you mean 'focal'"),
    ({"method": None}, "method=None: expected a key of METHODS"),
    ({"epochs": []}, "epochs=.*: expected at least one"),
    ({"epochs": 2.5}, "epochs=2.5: expected a whole number"),
    ({"device": "gpu"}, "gpu"),
    ({"checkpoint": "a"}, "give folder="),
    ({"gamma": 2.0}, "ce has no setting 'gamma'"),
])  # fmt: skip
def test_wrong_arguments_are_named(arguments, message):
    asked = {"method": "ce", "data": digits_lt(), "progress": False, **arguments}
    with pytest.raises(ValueError, match=message):
        train_many(**asked)


def test_a_numpy_number_of_seeds_is_a_number(no_workers):
    runs = train_many("ce", digits_lt(), seeds=np.int64(2), epochs=1, progress=False, device="cpu")
    assert [run.seed for run in runs] == [0, 1]


def test_a_folder_that_takes_no_file_is_noticed_before_training(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(Trainer, "run_epoch", None)  # any training would fail
    with pytest.raises(ValueError, match="file"):
        train_many("ce", digits_lt(), folder=tmp_path / "file", progress=False)


def test_a_run_that_cannot_be_saved_is_returned(tmp_path, monkeypatch, no_workers):
    def full(self, *where, **how):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ltviz.run.Run.save", full)
    with pytest.warns(RuntimeWarning, match="could not be saved .*No space left"):
        runs = train_many("ce", digits_lt(), seeds=2, epochs=1, folder=tmp_path, progress=False, device="cpu")
    assert [run.status for run in runs] == ["finished"] * 2


def test_an_error_hands_over_the_runs_that_were_done(drawn, monkeypatch):
    epoch = Trainer.run_epoch
    monkeypatch.setattr(workers, "count", lambda: 1)
    monkeypatch.setattr(Trainer, "run_epoch", lambda self, *rest: epoch(self, *rest) if self.seed < 2 else 1 / 0)
    with pytest.raises(ZeroDivisionError) as failed:
        train_many("ce", digits_lt(), seeds=4, epochs=1, progress=False, device="cpu")
    assert [run.seed for run in failed.value.runs] == [0, 1] and "2 runs were done" in failed.value.__notes__[0]


# ---------------------------------------------------------------------------------------------------------- Ctrl-C
@pytest.mark.parametrize("cores", [1, 2])
def test_ctrl_c_keeps_what_is_done_and_begins_nothing_more(cores, tmp_path, monkeypatch, no_workers):
    """One by one, and in threads: interrupted twice while the third run is in its second epoch."""
    epoch, begun = Trainer.run_epoch, set()

    def interrupted(self, control=None):
        begun.add(self.seed)
        if self.seed == 2 and self.epoch == 1:
            while len(list(tmp_path.iterdir())) < 2:
                time.sleep(0.01)  # until the first two have been kept
            for _ in range(1 if cores == 1 else 2):
                signal.raise_signal(signal.SIGINT)
        return epoch(self, control)

    monkeypatch.setattr(Trainer, "run_epoch", interrupted)
    monkeypatch.setattr(workers, "count", lambda: cores)
    epochs = 2 if cores == 1 else 40  # so that in threads the others are still under way
    asked = {"seeds": 8, "epochs": epochs, "model": "cnn:4", "folder": tmp_path, "progress": False, "device": "cpu"}
    with pytest.warns(UserWarning, match="runs are done: call train_many again with the same folder"):
        runs = train_many("ce", digits_lt(), **asked)
    assert {0, 1} <= {run.seed for run in runs} and 2 not in {run.seed for run in runs} and len(begun) < 8
    assert len(list(tmp_path.iterdir())) == len(runs) and {run.status for run in runs} == {"finished"}
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("presses", [1, 3])
def test_ctrl_c_while_a_run_is_saved_keeps_it(presses, tmp_path, monkeypatch):
    def pressed(run, folder, small):
        for _ in range(presses):
            signal.raise_signal(signal.SIGINT)
        save(run, folder, small)

    save = many.save
    monkeypatch.setattr(many, "save", pressed)
    monkeypatch.setattr(workers, "count", lambda: 1)
    with pytest.warns(UserWarning, match="1 runs are done"):
        runs = train_many("ce", digits_lt(), seeds=3, epochs=1, folder=tmp_path, progress=False, device="cpu")
    assert [run.seed for run in runs] == [0] and len(list(tmp_path.iterdir())) == 1


def test_an_interrupt_that_is_raised_all_the_same_keeps_what_is_done(monkeypatch):
    """Where the caller handles Ctrl-C in a way of its own, it arrives as an exception."""
    epoch = Trainer.run_epoch

    def interrupted(self, control=None):
        if self.seed == 1:
            raise KeyboardInterrupt
        return epoch(self, control)

    monkeypatch.setattr(Trainer, "run_epoch", interrupted)
    monkeypatch.setattr(workers, "count", lambda: 1)
    with pytest.warns(UserWarning, match="give a folder to keep them"):
        runs = train_many("ce", digits_lt(), seeds=[0, 1], epochs=1, progress=False, device="cpu")
    assert [run.seed for run in runs] == [0]


@pytest.mark.parametrize("cores", [1, 2])
def test_it_tells_of_every_epoch_of_every_run(cores, drawn, monkeypatch, no_workers):
    told = []
    monkeypatch.setattr(workers, "count", lambda: cores)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        side_by_side(trainers([*drawn, drawn[0]]), lambda trainer: told.append(trainer.seed))
    assert sorted(told) == sorted([0, 1, 2, 3] * 4)


def test_every_method_is_known_to_the_rule_of_workers():
    assert workers.added_here() == set() and len(METHODS) > 30
