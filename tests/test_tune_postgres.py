"""Tuning by several processes on one PostgreSQL: a killed worker and a server that goes away lose nothing."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from conftest import REPO, postgres_programs

from ltviz.datasets import digits_lt
from ltviz.tuning import StorageLost, storage, tune
from ltviz.tuning.study import RETRIES, WORKER

pytestmark = [pytest.mark.postgres, pytest.mark.filterwarnings("ignore:the objective:UserWarning")]


class Server:
    """A PostgreSQL of the test's own: a new folder, a free port, no password. It refuses to run as root."""

    def __init__(self, folder: Path):
        import pwd

        self.folder, self.user = folder, None
        if os.geteuid() == 0:
            names = {one.pw_name for one in pwd.getpwall()}
            self.user = "postgres" if "postgres" in names else "nobody"
            shutil.chown(folder, self.user)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process = None
        programs = postgres_programs()
        self.program = programs / "postgres"
        self._run([programs / "initdb", "-D", folder / "data", "-U", "tuner", "-A", "trust", "-N"])

    def _run(self, command):
        done = subprocess.run(command, cwd=self.folder, user=self.user, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    @property
    def address(self):
        return f"postgresql://tuner@127.0.0.1:{self.port}/postgres"

    def start(self):
        import psycopg

        options = ["-p", str(self.port), "-h", "127.0.0.1", "-k", str(self.folder), "-c", "fsync=off"]
        with open(self.folder / "log", "ab") as log:
            command = [self.program, "-D", self.folder / "data", *options]
            self.process = subprocess.Popen(command, cwd=self.folder, user=self.user, stdout=log, stderr=log)
        for _ in range(200):
            try:
                psycopg.connect(self.address, connect_timeout=2).close()
                return self
            except psycopg.OperationalError:
                assert self.process.poll() is None, (self.folder / "log").read_text()
                time.sleep(0.05)
        raise AssertionError("the server does not answer")

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)  # without waiting for clients
            self.process.wait(20)


@pytest.fixture(scope="module")
def server():
    folder = Path(tempfile.mkdtemp())
    made = Server(folder)
    yield made.start()
    made.stop()
    shutil.rmtree(folder)


def worker(address, name, trials, folder, epochs):
    command = [sys.executable, "-m", "ltviz", "tune", "class_balanced", "--tune", "beta", "--seeds", "1"]
    command += [
        "--name",
        name,
        "--storage",
        address,
        "--trials",
        str(trials),
        "--pruner",
        "none",
        "--epochs",
        str(epochs),
    ]
    environment = {**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=folder, env=environment, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip


def stored(opened, name):
    """The trials of a study; none where nobody has made it yet."""
    import optuna

    try:
        return optuna.load_study(study_name=name, storage=opened).get_trials()
    except KeyError:
        return []


def under_way(opened, name, workers):
    """The first trial of each of these workers that has reported something, by process, as far as they have come."""
    found = {}
    for one in stored(opened, name):
        pid = one.user_attrs.get(WORKER, [None, None])[1]
        if pid in workers and one.intermediate_values and one.state.name == "RUNNING":
            found.setdefault(pid, one)
    return found


def wait_for(look):
    """What `look` gives, once it gives something."""
    until = time.monotonic() + 150
    while not (found := look()):
        assert time.monotonic() < until
        time.sleep(0.05)
    return found


def test_a_killed_workers_trial_is_taken_up_by_the_other(server, tmp_path):
    total = 4
    opened, _ = storage.open_storage(server.address)
    both = {one.pid: one for one in (worker(server.address, "killed", total, tmp_path, 60) for _ in range(2))}
    try:
        first = wait_for(lambda: under_way(opened, "killed", both))
        pid, found = next(iter(first.items()))
        victim, other = both[pid], next(one for one in both.values() if one.pid != pid)
        victim.send_signal(signal.SIGSTOP)  # in the middle of training, until the other one is as well
        wait_for(lambda: under_way(opened, "killed", {other.pid}))
        before = {one.number: one for one in stored(opened, "killed")}
        if before[found.number].state.name != "RUNNING":  # it was about to end
            found = max(
                (one for one in before.values() if one.user_attrs.get(WORKER, [0, 0])[1] == pid),
                key=lambda one: one.number,
            )
        victim.kill()
        victim.wait()
        said, errors = other.communicate(timeout=150)
    finally:
        for one in both.values():
            one.kill()
            one.communicate()
    assert other.returncode == 0, errors
    trials = stored(opened, "killed")
    states = [one.state.name for one in trials]
    assert states.count("COMPLETE") == total and set(states) <= {"COMPLETE", "FAIL"}
    assert trials[found.number].state.name == "FAIL"
    (again,) = [one for one in trials if one.user_attrs.get(RETRIES) == 1]
    assert again.params == found.params and again.state.name == "COMPLETE" and again.user_attrs[WORKER][1] == other.pid
    kept = [one for one in before.values() if one.state.name == "COMPLETE"]
    assert all(trials[one.number].value == one.value for one in kept), "what was finished stays"
    assert f"{total} of {total} trials" in said
    assert max(one.value for one in trials if one.value is not None) == pytest.approx(best(said), abs=5e-4)


def best(said):
    """The value that a worker's last line names."""
    return float(said.rpartition("rare ")[2].split("%")[0]) / 100


def test_a_server_that_goes_away_is_named_and_the_study_goes_on_afterwards(server, monkeypatch, tmp_path):
    monkeypatch.setattr(storage, "PATIENCE", 0.5)
    asked = {"storage": server.address, "settings": ["gamma"], "seeds": 1, "epochs": 2, "progress": False}
    data = digits_lt()
    with pytest.raises(StorageLost, match="127.0.0.1.*cannot be read or written.*the same call goes on") as error:
        tune("focal", data, trials=5, callback=lambda now: server.stop() if len(now) == 2 else None, **asked)
    assert "tuner" in str(error.value)
    with pytest.raises(ValueError, match="cannot be opened.*see whether the server runs"):
        tune("focal", data, trials=5, **asked)
    server.start()
    tuning = tune("focal", data, trials=5, **asked)
    assert len(tuning) == 5
    table = tuning.table()
    assert (table["ended"] == "finished").sum() + (table["ended"] == "ended early").sum() == 5
    assert table["gamma"].nunique() == 5


def test_a_moments_interruption_is_waited_for(server):
    """A restart between two reports costs nothing but time."""
    asked = {"storage": server.address, "settings": ["gamma"], "seeds": 1, "epochs": 2, "progress": False}

    def restart(now):
        if len(now) == 1:
            server.stop()
            server.start()

    tuning = tune("focal", digits_lt(), trials=3, name="restart", callback=restart, **asked)
    assert list(tuning.table()["ended"]) == ["finished"] * 3


def test_a_password_is_not_shown(server):
    address = server.address.replace("tuner@", "tuner:secret@")
    tuning = tune("focal", digits_lt(), trials=0, settings=["gamma"], epochs=1, storage=address, progress=False)
    assert "secret" not in repr(tuning) and "tuner:***@" in repr(tuning)
    assert "secret" not in json.dumps(tuning.study.user_attrs)
