"""Tortures, minutes long: damaged files, wrong arguments, kills, and buttons pressed in any order. `make torture`"""

import inspect
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from ipywidgets.widgets.widget import _instances
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import ltviz as lt
from ltviz.files import RunFileError
from ltviz.training import Trainer

pytestmark = pytest.mark.slow
REPO = Path(lt.__file__).parents[1]


@pytest.fixture(scope="module")
def data():
    return lt.digits_lt()


@pytest.fixture(scope="module")
def run(data):
    return lt.train("ce", data, epochs=3, progress=False)


# -------------------------------------------------------------------------------------------------------- damaged files
def damage(path, draw, other):
    """One way in which a file can be wrong, chosen by `draw`."""
    content = bytearray(path.read_bytes())
    header = int.from_bytes(content[:8], "little")
    way = draw.randrange(9)
    if way == 0:
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    elif way == 1:
        content[8 + draw.randrange(header)] = draw.randrange(256)
    elif way == 2:
        content = content[: draw.randrange(len(content))]
    elif way == 3:
        start = draw.randrange(len(content))
        content[start : start + draw.randrange(1, 500)] = os.urandom(draw.randrange(500))
    elif way == 4:
        content[8 + header + draw.randrange(len(content) - 8 - header)] ^= 1 << draw.randrange(8)
    elif way == 5:
        content[draw.randrange(8)] ^= 1 << draw.randrange(8)
    else:
        arrays = load_file(path)
        with safe_open(path, framework="np") as file:
            meta = file.metadata()
        name = draw.choice(sorted(arrays))
        value = arrays[name]
        if way == 6:
            arrays[name] = draw.choice([value[:1] if value.ndim else value + 1, value.astype(np.float64), value + 1])
        elif way == 7:
            with safe_open(other, framework="np") as file:
                meta = {**meta, **draw.choice([{"ltviz": file.metadata()["ltviz"]}, file.metadata()])}
        else:
            arrays.pop(name)
        save_file(arrays, path, metadata=meta)
        return
    path.write_bytes(bytes(content))


def equal(a, b):
    return a.keys() == b.keys() and all(
        v.dtype == b[n].dtype and v.shape == b[n].shape and v.tobytes() == b[n].tobytes() for n, v in a.items()
    )


def test_damaged_files_are_never_believed(data, run, tmp_path):
    """600 run files and 400 checkpoints: refused by name, or the same content as before (blanks in a header)."""
    draw, counted = random.Random(0), {"refused": 0, "the same": 0}
    original = run.save(tmp_path / "run.safetensors", small=True, images=100)
    other = lt.train("focal", data, epochs=3, progress=False)
    other = other.save(tmp_path / "other.safetensors", small=True, images=100)
    whole = lt.load_run(original)
    parts = whole._parts(False, 0)
    victim = tmp_path / "victim.safetensors"
    for _ in range(600):
        victim.write_bytes(original.read_bytes())
        damage(victim, draw, other)
        try:
            back = lt.load_run(victim)
        except RunFileError as error:
            assert "victim.safetensors" in str(error)
            counted["refused"] += 1
        else:
            plain, arrays = back._parts(False, 0)
            assert plain == parts[0] and equal(arrays, parts[1])
            counted["the same"] += 1
    first, second = tmp_path / "a.ckpt", tmp_path / "b.ckpt"
    expected = lt.train("ce", data, epochs=3, checkpoint=first, progress=False)
    lt.train("focal", data, epochs=3, checkpoint=second, progress=False)
    for _ in range(400):
        victim.write_bytes(first.read_bytes())
        damage(victim, draw, second)
        try:
            trainer = Trainer("ce", data, epochs=3, checkpoint=victim)
        except RunFileError as error:
            assert "victim.safetensors" in str(error)
            counted["refused"] += 1
        else:
            assert trainer.done
            state = {name: value.numpy() for name, value in trainer.net.state_dict().items()}
            assert equal(state, expected.network) and equal(trainer.history, expected.history)
            counted["the same"] += 1
    print(counted)
    assert sum(counted.values()) == 1000 and counted["refused"] > 950


# ------------------------------------------------------------------------------------------------------ wrong arguments
WRONG = {
    "whole": [True, 2.5, "3", None, float("nan"), -1, [1], object()],
    "number": [True, "3", float("nan"), float("inf"), [1.0], object()],
    "flag": ["no", 2, None],
    "text": [3, "", ["a"]],
    "choice": ["nothing like it", 3, True],
    "path": [3, "", None, b"x"],
    "data": [None, "digits", 3, np.zeros(3)],
    "run": [None, "ce", 3, np.zeros((2, 2, 2))],
    "counts": [None, "abc", [1, -2], [1, float("nan")], np.zeros((2, 2)), 3],
    "seeds": [0, -3, True, "2", [], [1, 1], 2.0],
}


def cases(data, run, folder):
    """(function, arguments that are right, {argument: kind of wrong}) over the public API."""
    y, p = run.targets, run.logits.argmax(1)

    def cite(key):
        return lt.cite(key)

    own = ("plot_gain", "plot_loss_curve", "plot_who_pays")
    train = {"method": "ce", "data": data, "epochs": 1, "progress": False}
    return [
        (lt.train, train, {"data": "data", "seed": "whole", "progress": "flag", "device": "text", "model": "text"}),
        (lt.sweep, {**train, "seeds": 1}, {"data": "data", "seeds": "seeds", "small": "flag", "progress": "flag"}),
        (lt.train_many, {**train, "seeds": 1}, {"data": "data", "seeds": "seeds", "small": "flag"}),
        (lt.make_data, {"recipe": "digits"}, {"recipe": "choice", "seed": "whole"}),
        (lt.digits_lt, {}, {"ratio": "number", "n_max": "whole", "profile": "choice", "seed": "whole",
                            "class_order": "choice", "validation": "whole", "test": "whole"}),
        (lt.cifar_lt, {}, {"classes": "choice", "ratio": "number", "size": "choice", "seed": "whole"}),
        (lt.folder_lt, {"root": folder}, {"root": "path", "seed": "whole"}),
        (lt.load_run, {"path": folder / "x"}, {"path": "path"}),
        (lt.load_runs, {"folder": folder}, {"folder": "path"}),
        (lt.embed, {"features": run.features}, {"features": "run", "method": "choice", "seed": "whole"}),
        (lt.style, {}, {"scale": "number"}),
        (cite, {}, {"key": "choice"}),
        (lt.recorded, {"recipe": "digits", "method": "ce"}, {"recipe": "choice"}),
        (lt.plot_counts, {"counts": data.counts}, {}),
        (lt.plot_confusion, {"run": run}, {}),
        (lt.metrics.confusion, {"targets": y, "predictions": p}, {"k": "number"}),
        (lt.metrics.shot_accuracy, {"run": run}, {"many": "number", "few": "number", "convention": "choice"}),
        (lt.metrics.ece, {"probabilities": run}, {"bins": "whole"}),
        (lt.metrics.third_groups, {"counts": run}, {"counts": "counts"}),
        (lt.device.pick_device, {}, {"device": "choice"}),
        (lt.plot_gain, {"base": run}, {"runs": "run"}),
        (lt.plot_gain, {"runs": run}, {"base": "run"}),
        (lt.plot_who_pays, {"base": [run]}, {"groups": "run"}),
        (lt.plot_who_pays, {"groups": [run]}, {"base": "run"}),
        (lt.plot_loss_curve, {}, {"method": "data"}),
        *[(getattr(lt, name), {}, {"": "run"}) for name in dir(lt) if name.startswith("plot_") and name not in own],
    ]  # fmt: skip


def test_wrong_arguments_are_named(data, run, tmp_path):
    """Every argument in turn: an error that says which, never a raw one, never silence."""
    from PIL import Image

    for i in range(20):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (i, i, i)).save(tmp_path / "ab"[i % 2] / f"{i}.png")
    count, problems = 0, []
    for function, right, wrong in cases(data, run, tmp_path):
        names = list(inspect.signature(function).parameters)
        for name, kind in wrong.items():
            name = name or names[0]
            if name not in names:
                problems.append(f"{function.__name__} has no {name}")
                continue
            for value in WRONG[kind]:
                if value is None and not (name in ("data", "seed") or "path" in kind):
                    continue  # often the default, or "all"
                count += 1
                called = f"{function.__name__}({name}={value!r})"
                try:
                    function(**{**right, name: value})
                    problems.append(f"{called}: accepted")
                except (ValueError, lt.objective.UnknownMethod, FileNotFoundError) as error:
                    named = any(one in str(error) for one in names)
                    if not named and not isinstance(error, lt.objective.UnknownMethod):
                        problems.append(f"{called}: {error}")
                except Exception as error:
                    problems.append(f"{called}: {type(error).__name__}: {error}")
    for key, method in lt.METHODS.items():
        for name in method.settings:
            for value in ("nothing like it", float("nan"), [1], object(), 1e30):
                count += 1
                try:
                    method(**{name: value})
                    problems.append(f"{key}({name}={value!r}): accepted")
                except (ValueError, lt.objective.UnknownMethod) as error:
                    if name not in str(error) and not isinstance(error, lt.objective.UnknownMethod):
                        problems.append(f"{key}({name}={value!r}): {error}")
                except Exception as error:
                    problems.append(f"{key}({name}={value!r}): {type(error).__name__}: {error}")
    print(count, "calls")
    assert count > 300 and not problems, "\n".join(problems)


# ---------------------------------------------------------------------------------------------------------------- kills
JOB = """
import sys; import ltviz as lt
lt.training.loop.AT_MOST = 0.0
data = lt.digits_lt()
print("begun", flush=True)
run = lt.train("ldam_drw", data, epochs=int(sys.argv[2]), checkpoint=sys.argv[1], progress=False)
run.save(sys.argv[3], small=False)
"""


def test_killed_at_any_time_and_resumed_it_is_the_same_run(data, tmp_path):
    """100 kills over several runs: bit for bit what an uninterrupted run gives, and nothing left behind."""
    epochs, draw, kills, runs = 150, random.Random(0), 0, 0
    whole = lt.train("ldam_drw", data, epochs=epochs, progress=False)
    env = {**os.environ, "PYTHONPATH": str(REPO)}
    while kills < 100:
        folder = tmp_path / str(runs)
        folder.mkdir()
        result = folder / "run.safetensors"
        while not result.exists():
            command = [sys.executable, "-c", JOB, folder / "a.ckpt", str(epochs), result]
            with subprocess.Popen(command, env=env, stdout=subprocess.PIPE) as job:
                assert job.stdout.readline() == b"begun\n"
                try:
                    assert job.wait(draw.uniform(0.0, 0.6)) == 0
                except subprocess.TimeoutExpired:
                    job.kill()
                    kills += 1
        back = lt.load_run(result)
        assert back.id == whole.id and equal(back.network, whole.network)
        np.testing.assert_array_equal(back.history["loss"], whole.history["loss"])
        assert sorted(path.name for path in folder.iterdir()) == ["a.ckpt", "run.safetensors"]
        runs += 1
    print(f"{kills} kills over {runs} runs")


# -------------------------------------------------------------------------------------------------------------- buttons
def test_buttons_in_any_order_never_hang(data):
    """200 sequences of Start, Pause, Resume, Stop from two threads, on a new live run each."""
    draw = random.Random(0)
    for _ in range(200):
        live = lt.LiveRun("ce", data, epochs=draw.choice([1, 3, 500]))

        def press(names, live=live):
            for name in names:
                try:
                    live.start(inline=False) if name == "start" else getattr(live, name)()
                except RuntimeError as error:
                    assert "make a new LiveRun" in str(error)
                time.sleep(draw.uniform(0, 0.004))

        names = [[draw.choice(["start", "pause", "resume", "stop"]) for _ in range(6)] for _ in range(2)]
        threads = [threading.Thread(target=press, args=(one,), daemon=True) for one in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()
        live.stop()
        if live.state != "idle":
            assert live.wait(30) is not None and live.state in ("finished", "stopped"), names


def test_ctrl_c_at_any_time_returns_a_run(data):
    """60 times at a random moment of a training, once or twice: a run comes back, or the training had not begun."""
    draw = random.Random(0)
    for i in range(60):
        timer = threading.Timer(draw.uniform(0.02, 0.3), lambda: signal.raise_signal(signal.SIGINT))
        again = threading.Timer(timer.interval + draw.uniform(0, 0.02), lambda: signal.raise_signal(signal.SIGINT))
        timer.start()
        if i % 2:
            again.start()
        try:
            run = lt.train("ce", data, epochs=100_000, progress=False)
            assert run.status == "stopped"
        finally:
            try:
                timer.join()
                if i % 2:
                    again.join()
            except KeyboardInterrupt:  # the second one came after the run was returned
                pass
    assert isinstance(run.table(), pd.DataFrame) and torch.get_num_threads() >= 1


# ------------------------------------------------------------------------------------------------------------ explorers
def move(explorer, draw):
    """One random thing that a hand may do to an explorer."""
    name = draw.choice(list(explorer.controls))
    control = explorer.controls.get(name)
    if control is None:  # the method has changed meanwhile
        return
    choices = getattr(control, "options", None) or getattr(control, "steps", None)
    what = draw.random()
    if what < 0.02:
        explorer.reset()
    elif choices is not None and len(choices):
        control.value = draw.choice(list(choices))
    else:
        low, high = control.setting.low, control.setting.high
        control.value = control.nearest(draw.uniform(float(low), float(high)))


@pytest.mark.parametrize("name", ["effective_number", "loss_anatomy", "posthoc"])
def test_a_thousand_moves_from_several_threads_while_a_run_trains(name, data, run):
    """No error, the last picture is that of the controls, and nothing stays after close."""
    made = {
        "effective_number": lambda: lt.explore.effective_number(data.counts),
        "loss_anatomy": lambda: lt.explore.loss_anatomy("class_balanced"),
        "posthoc": lambda: lt.explore.posthoc(run),
    }[name]
    made().close()  # what is imported and cached the first time is no leak
    before = len(_instances)
    live, explorer, wrong = lt.LiveRun("ce", data, epochs=60), made(), []
    live.start()

    def hand(seed):
        draw = random.Random(seed)
        try:
            for _ in range(250):
                move(explorer, draw)
        except Exception as error:  # what a thread raises is lost otherwise
            wrong.append(error)

    hands = [threading.Thread(target=hand, args=(seed,)) for seed in range(4)]
    for one in hands:
        one.start()
    for one in hands:
        one.join(timeout=300)
    live.stop()
    live.wait(60)
    assert not any(one.is_alive() for one in hands) and wrong == [] and explorer.error is None
    shown = explorer.sentence
    explorer.refresh()
    assert explorer.sentence == shown, "the picture is that of the last values"
    explorer.close()
    assert len(_instances) == before
    memory = [_resident() for _ in range(5) if [made().close() for _ in range(5)]]
    assert min(np.diff(memory)) < 5e6, "a leak grows every time; the allocator does so once"


def _resident():
    """Bytes of this process in memory."""
    import gc

    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
