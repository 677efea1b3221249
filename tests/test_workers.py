"""Worker processes: the runs of `train`, bit for bit, from wherever they are asked for, and nothing left behind."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
import types
import warnings
from pathlib import Path

import pytest
import torch
from test_many import same, trainers

from ltviz import many, workers
from ltviz.datasets import digits_lt
from ltviz.many import side_by_side, train_many
from ltviz.methods import METHODS
from ltviz.training import RECIPES, Recipe, sweep, train

HERE = Path(__file__).resolve().parent
ASKED = {"device": "cpu", "progress": False}
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and /proc")


@dataclasses.dataclass(frozen=True)
class Fails(Recipe):
    """A recipe that a worker can import, and that goes wrong there at the tenth epoch; a kill, once another run is kept
    in the folder `after`."""

    how: str = "raise"
    after: str = ""

    def learning_rate(self, epoch, *rest):
        if epoch == 10 and workers.MARK in os.environ and self.how != "print":
            if self.how == "raise":
                raise ZeroDivisionError
            ends = time.monotonic() + 60
            while not list(Path(self.after).glob("*.safetensors")) and time.monotonic() < ends:
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "print":
            print("to stdout")
        return super().learning_rate(epoch, *rest)


def recipe(cls=Recipe, **more):
    return cls(**{**{f.name: getattr(RECIPES["digits"], f.name) for f in dataclasses.fields(Recipe)}, **more})


@pytest.fixture(scope="module")
def data():
    return digits_lt(class_order="seed")


@pytest.fixture(autouse=True)
def two(monkeypatch):
    monkeypatch.setattr(workers, "count", lambda: 2)


@pytest.fixture(scope="module", autouse=True)
def clean():
    yield
    workers._pools[-1].end()


@pytest.fixture
def fresh(monkeypatch):
    """A pool of its own, ended afterwards."""
    pool = workers.Pool()
    monkeypatch.setattr(workers, "_pools", [pool])
    yield pool
    pool.end()


def alive(pid):
    """Whether a process runs; one that has ended and waits for its parent to notice does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def gone(pids, within=5.0):
    until = time.monotonic() + within
    while any(map(alive, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    return not any(map(alive, pids))


# -------------------------------------------------------------------------------------------------------- bit for bit
def test_every_method_gives_what_train_gives(data):
    """Those with stages, drawn masks and validation feedback among them."""
    asked = {"seeds": [3], "epochs": 4, **ASKED}
    runs, alone = train_many(list(METHODS), data, **asked), sweep(list(METHODS), data, **asked)
    assert len(runs) == len(METHODS)
    for run, one in zip(runs, alone, strict=True):
        same(run, one)
        assert run.provenance["together"] == "2 processes" and run.provenance["threads"] == 1


def test_convolutions_and_seeds_and_a_start(data):
    start = train("ce", data, epochs=1, model="cnn:4", **ASKED)
    asked = {"seeds": 2, "epochs": [2, 3], "model": "cnn:4", **ASKED}
    for more in ({}, {"start": start}):
        for run, one in zip(train_many("cdb", data, **asked, **more), sweep("cdb", data, **asked, **more), strict=True):
            same(run, one)
            assert run.provenance["together"] == "2 processes" and run.parent == one.parent


def test_torchs_switches_hold_in_a_worker(data):
    before = torch.get_float32_matmul_precision()
    plain = train_many("ce", data, seeds=2, epochs=2, **ASKED)
    try:
        torch.set_float32_matmul_precision("medium")
        asked = {"seeds": 2, "epochs": 2, **ASKED}
        for run, one in zip(train_many("ce", data, **asked), sweep("ce", data, **asked), strict=True):
            same(run, one)
    finally:
        torch.set_float32_matmul_precision(before)
    for run, one in zip(train_many("ce", data, seeds=2, epochs=2, **ASKED), plain, strict=True):
        same(run, one)


def test_workers_are_kept_and_what_changed_in_the_data_is_seen(data):
    runs = train_many("ce", data, seeds=2, epochs=1, **ASKED)
    pids = [worker.process.pid for worker in workers._pools[-1].workers]
    other = dataclasses.replace(data, images=255 - data.images)
    other.with_seed = lambda seed: other
    turned = train_many("ce", other, seeds=2, epochs=1, **ASKED)
    other.images.copy_(data.images)
    assert [worker.process.pid for worker in workers._pools[-1].workers] == pids and len(pids) == 2
    assert turned[0].id != runs[0].id and turned[0].history["loss"][0] != runs[0].history["loss"][0]


# ------------------------------------------------------------------------------------------------- what cannot be sent
def strange_method(monkeypatch):
    monkeypatch.setitem(METHODS._methods, "mine", dataclasses.replace(METHODS["focal"], key="mine"))
    return {"method": "mine"}


def replaced_method(monkeypatch):
    monkeypatch.setitem(METHODS._methods, "ce", dataclasses.replace(METHODS["focal"], key="ce", aliases=()))
    return {"method": "ce"}


def local_class(monkeypatch):
    class Local(Recipe):
        pass

    return {"recipe": recipe(Local)}


def class_of_a_notebook(monkeypatch):
    """It can be pickled here, and is not found there."""
    module = types.ModuleType("a_notebook")
    module.Local = dataclasses.make_dataclass("Local", [], bases=(Recipe,), frozen=True)
    module.Local.__module__ = "a_notebook"
    monkeypatch.setitem(sys.modules, "a_notebook", module)
    return {"recipe": recipe(module.Local)}


def own_batches(monkeypatch):
    data = digits_lt()
    data.batch = lambda *index, batch=data.batch: batch(*index) * 0.5
    data.with_seed = lambda seed: data
    return {"data": data}


@pytest.mark.parametrize("case", [strange_method, replaced_method, local_class, class_of_a_notebook, own_batches])
def test_what_cannot_be_sent_is_trained_here(case, data, monkeypatch):
    asked = {"method": "ce", "data": data, "seeds": 2, "epochs": 2, **ASKED, **case(monkeypatch)}
    for run, one in zip(train_many(**asked), sweep(**asked), strict=True):
        same(run, one)
        assert run.provenance["together"] == "2 threads"


def test_only_what_cannot_be_sent_stays(data, monkeypatch):
    monkeypatch.setitem(METHODS._methods, "mine", dataclasses.replace(METHODS["focal"], key="mine"))
    runs = train_many(["ce", "mine"], data, seeds=2, epochs=1, **ASKED)
    assert {(run.method, run.provenance["together"]) for run in runs} == {("ce", "2 processes"), ("mine", "2 threads")}


@pytest.mark.parametrize("python", ["/nowhere/python", "", "false"])
def test_where_no_worker_can_start_threads_do_it(python, data, fresh, monkeypatch):
    monkeypatch.setattr(sys, "executable", python)
    runs = train_many("ce", data, seeds=2, epochs=1, **ASKED)
    assert [run.provenance["together"] for run in runs] == ["2 threads"] * 2 and fresh.workers == []


def test_a_second_caller_does_not_wait(data):
    with workers._pools[-1].lock:
        runs = train_many("ce", data, seeds=2, epochs=1, **ASKED)
    assert [run.provenance["together"] for run in runs] == ["2 threads"] * 2


# ---------------------------------------------------------------------------------------------------------- what fails
def test_a_killed_worker_is_named_and_what_is_done_is_kept(data, tmp_path):
    fails = recipe(Fails, how="kill", after=str(tmp_path))
    asked = {"seeds": 2, "recipe": [recipe(), fails], "epochs": 12, "folder": tmp_path, **ASKED}
    with pytest.raises(workers.WorkerLost, match=r"trained ce, seed \d, was ended from outside by SIGKILL") as lost:
        train_many("ce", data, **asked)
    assert lost.value.runs and len(list(tmp_path.iterdir())) == len(lost.value.runs) < 4
    assert not any(worker.job is not None for worker in workers._pools[-1].workers)
    assert len(train_many("ce", data, seeds=2, epochs=1, **ASKED)) == 2  # a new one has taken its place


def test_an_error_in_a_run_is_the_callers(data):
    with pytest.raises(ZeroDivisionError) as failed:
        train_many("ce", data, seeds=2, recipe=recipe(Fails), epochs=12, **ASKED)
    assert "in learning_rate" in str(failed.value.__cause__) and failed.value.runs == []


def test_a_worker_that_has_ended_idle_is_replaced(data):
    train_many("ce", data, seeds=2, epochs=1, **ASKED)
    worker = workers._pools[-1].workers[0]
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), worker.process.stdin.fileno())  # it ends as when it has waited for too long
    assert gone([worker.process.pid])
    runs = train_many("ce", data, seeds=2, epochs=1, **ASKED)
    assert [run.provenance["together"] for run in runs] == ["2 processes"] * 2
    assert worker not in workers._pools[-1].workers


def test_warnings_of_a_run_are_the_callers(data):
    with pytest.warns(RuntimeWarning, match="the loss is .* the run stops here") as caught:
        runs = train_many("ce", data, seeds=2, recipe=recipe(lr=1e30, clip=None), epochs=3, **ASKED)
    assert [run.status for run in runs] == ["diverged"] * 2
    assert len(caught) == 2 and {Path(w.filename).name for w in caught} == {Path(__file__).name}


def test_what_a_run_prints_does_not_get_into_the_pipes(data, fresh, capfd):
    runs = train_many("ce", data, seeds=2, recipe=recipe(Fails, how="print"), epochs=2, **ASKED)
    assert [run.provenance["together"] for run in runs] == ["2 processes"] * 2
    assert "to stdout" in capfd.readouterr().err


def test_every_epoch_is_told_in_this_thread(data):
    told = []
    ours = trainers([data, data], epochs=60)
    side_by_side(ours, lambda trainer: told.append((trainer.seed, trainer.epoch, trainer.rows[-1]["loss"])))
    for trainer in ours:
        mine = [(epoch, loss) for seed, epoch, loss in told if seed == trainer.seed]
        assert [epoch for epoch, _ in mine] == list(range(1, 61)) and mine[0][1] > mine[-1][1] > 0
        assert trainer.seconds > 0


# ---------------------------------------------------------------------------------------------------- Ctrl-C, the end
@pytest.mark.parametrize("presses", [1, 3])
def test_ctrl_c_keeps_what_is_done(presses, data, tmp_path, monkeypatch):
    """Pressed while the first run is saved: the others end at their next step."""
    save = many.save

    def pressed(run, folder, small):
        for _ in range(presses):
            signal.raise_signal(signal.SIGINT)
        save(run, folder, small)

    monkeypatch.setattr(many, "save", pressed)
    asked = {"seeds": 2, "epochs": [1, 5000], "folder": tmp_path, **ASKED}
    began = time.monotonic()
    with pytest.warns(UserWarning, match="runs are done: call train_many again"):
        runs = train_many("ce", data, **asked)
    assert {run.recipe["epochs"] for run in runs} == {1} and {run.status for run in runs} == {"finished"}
    assert len(list(tmp_path.iterdir())) == len(runs) and time.monotonic() - began < 5
    monkeypatch.setattr(many, "save", save)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(train_many("ce", data, seeds=2, epochs=1, **ASKED)) == 2  # the same workers go on


SCRIPT = """
import sys, warnings
from ltviz import workers, digits_lt, train_many
workers.count = lambda: 2
print("begin", flush=True)
with warnings.catch_warnings(record=True) as caught:
    runs = train_many("ce", digits_lt(), seeds=40, epochs={epochs}, folder=sys.argv[1], progress=False, device="cpu")
print(len(runs), len(caught), *[worker.process.pid for worker in workers._pools[-1].workers], flush=True)
"""


def script(tmp_path, epochs):
    """A script without `if __name__ == "__main__"`, under way: its process."""
    file = tmp_path / "script.py"
    file.write_text(SCRIPT.format(epochs=epochs))
    env = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, str(file), str(tmp_path / "runs")], env=env, **pipes)


def wait_for_runs(folder, number=1):
    until = time.monotonic() + 60
    while len(list(folder.glob("*.safetensors"))) < number:
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_script_without_a_guard_ctrl_c_twice_and_no_process_left(tmp_path):
    process = script(tmp_path, 100)
    wait_for_runs(tmp_path / "runs")
    for _ in range(2):
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    begun, last = out.splitlines()
    done, caught, *pids = map(int, last.split())
    assert process.returncode == 0 and begun == "begin" and err == ""
    assert 1 <= done < 40 and caught == 1 and len(pids) == 2
    assert len(list((tmp_path / "runs").glob("*.safetensors"))) == done and gone(pids)


def children(pid):
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="children are looked up in /proc")
def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    process = script(tmp_path, 5)
    wait_for_runs(tmp_path / "runs")
    pids = children(process.pid)
    process.kill()
    process.communicate()
    assert len(pids) == 2 and gone(pids)
