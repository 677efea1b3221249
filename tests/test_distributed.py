"""One run on several processes: two of them, over gloo, against one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import distributed_runs
import numpy as np
import pytest
import torch

import ltviz as lt
from ltviz.training import distributed

HERE = Path(__file__).parent


def launch(folder, what, *more, processes=2, fails=False):
    """Have torchrun start the processes; what they said."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parent)}
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    done = subprocess.run([*start, HERE / "distributed_runs.py", folder, what, *more], capture_output=True, text=True,
                          env=env, timeout=300)  # fmt: skip
    assert bool(done.returncode) == fails, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_alone_nothing_changes():
    net = torch.nn.Sequential(torch.nn.BatchNorm1d(3))
    assert distributed.count() == 1 and distributed.is_first() and distributed.spread(net, "x", own=False) is net
    assert type(net[0]) is torch.nn.BatchNorm1d
    assert distributed.agreed(lambda: True, torch.device("cpu")) is True
    distributed.wait()


def test_two_processes_train_what_one_does(tmp_path):
    """Every method: weights, buffers of the loss and history, within 1e-5 of one process at the same batch size."""
    launch(tmp_path, "methods")
    two, one = np.load(tmp_path / "methods-2.npz"), distributed_runs.every_method()
    assert set(two) == set(one) and {name.partition("|")[0] for name in one} == set(lt.METHODS)
    for name, expected in one.items():
        np.testing.assert_allclose(two[name], expected, rtol=1e-5, atol=1e-5, err_msg=name)


def test_each_process_reads_and_transforms_its_share_of_streamed_images(tmp_path, monkeypatch):
    """61 images in batches of 15 and a last one of one more, 7 to validate on and 13 to test on: shares are uneven."""
    monkeypatch.setenv("LTVIZ_CACHE", str(tmp_path / "cache"))
    distributed_runs.written(tmp_path)
    launch(tmp_path, "streamed")
    one, whole = distributed_runs.streamed(tmp_path)
    two = np.load(tmp_path / "streamed-2.npz")
    assert set(two) == set(one)
    for name, expected in one.items():
        half = expected.dtype == np.float16  # of a kept feature, one unit in the last place
        np.testing.assert_allclose(two[name], expected, rtol=1e-3 if half else 1e-5, atol=1e-5, err_msg=name)
    parts = [json.loads((tmp_path / f"streamed-{rank}.json").read_text()) for rank in range(2)]
    for name, count in whole.items():
        draws = {"transformed": 2 * 61} if "own" in name else {}
        assert count == {"epochs": {"train": 2 * 61, "val": 2 * 7, **draws}, "end": {"train": 61, "test": 13}}
        for rank, part in enumerate(parts):
            found = part[name]["epochs"]
            assert found["val"] == 2 * (4, 3)[rank] and part[name]["end"] == {"train": 31 - rank, "test": 7 - rank}
            if "mixup" in name:  # its own images, and of their partners those that are not among them
                assert 2 * 29 < found["train"] < 2 * 61
            else:
                assert found["train"] == 2 * (3 * 8 + 8, 3 * 7 + 8)[rank]
            assert found.get("transformed", 0) == (found["train"] if "own" in name else 0)


def test_a_run_goes_on_with_another_number_of_processes(tmp_path):
    """Stopped by Ctrl-C in one of two processes after two epochs, ended by one: as never stopped."""
    launch(tmp_path, "resume", "--stop")
    told = json.loads((tmp_path / "resume-2.json").read_text())
    assert told["status"] == "stopped" and told["seen"] == [0, 1] and told["processes"] == 2
    whole = lt.train("cdb", distributed_runs.small(), epochs=5, model="cnn:4", device="cpu", progress=False,
                     augment=distributed_runs.turned)  # fmt: skip
    distributed_runs.main(tmp_path, "resume")
    rest, arrays = json.loads((tmp_path / "resume-1.json").read_text()), np.load(tmp_path / "resume-1.npz")
    assert rest == {"status": "finished", "seen": [2, 3, 4], "processes": 1, "id": whole.id}
    np.testing.assert_allclose(arrays["loss"], whole.history["loss"], rtol=1e-4)
    np.testing.assert_allclose(arrays["logits"], whole.logits, rtol=1e-3, atol=1e-4)


def test_a_process_that_is_killed_ends_the_others_and_loses_no_epoch(tmp_path):
    said = launch(tmp_path, "resume", "--die", fails=True)
    assert "SIGKILL" in said or "exitcode  : -9" in said
    launch(tmp_path, "resume")
    told = json.loads((tmp_path / "resume-2.json").read_text())
    assert told["status"] == "finished" and told["seen"][0] in (0, 1, 2) and told["seen"][-1] == 4


def test_each_run_of_several_is_kept_once_and_dropout_differs_between_processes(tmp_path):
    launch(tmp_path, "folder")
    files = sorted((tmp_path / "runs").glob("*.safetensors"))
    assert len(files) == 4 and {lt.load_run(file).provenance["processes"] for file in files} == {2}
    features = np.load(tmp_path / "dropout.npz")["features"]
    assert (features[0] != features[4]).any(), "rows of the first and of the second process"


def test_processes_that_ask_for_different_runs_are_told(tmp_path):
    assert "the processes ask for different runs" in launch(tmp_path, "unlike", fails=True)


@pytest.mark.parametrize("n, expected", [(11, [4, 4, 3]), (3, [1, 1, 1]), (9, [3, 3, 3]), (2, None)])
def test_shares_of_an_evaluation(n, expected, monkeypatch):
    """Together they are all rows, in order; fewer rows than processes are looked at by each."""
    monkeypatch.setattr(distributed, "count", lambda: 3)
    found = []
    for rank in range(3):
        monkeypatch.setattr(distributed.dist, "get_rank", lambda rank=rank: rank)
        found.append(distributed.share(n))
    if expected is None:
        assert found == [range(2)] * 3 and distributed.gathered(torch.eye(2), 2).tolist() == [[1, 0], [0, 1]]
    else:
        assert [len(rows) for rows in found] == expected and [i for rows in found for i in rows] == list(range(n))


@pytest.mark.parametrize("n", [9, 2, 1])
def test_statistics_over_one_batch_are_torchs(n, monkeypatch):
    """Of a single process: forward, gradients and running statistics of torch's BatchNorm."""
    monkeypatch.setattr(distributed.dist, "all_reduce", lambda value, *more: None)
    torch.manual_seed(0)
    x = torch.randn(n, 4, 3, 3) * 2 + 5
    ours, usual = torch.nn.BatchNorm2d(4), torch.nn.BatchNorm2d(4)
    ours.__class__ = distributed.SharedBatchNorm
    found = []
    for module in (ours, usual):
        images = x.clone().requires_grad_()
        out = module(images)
        (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
        found.append((out.detach(), images.grad, module.weight.grad, module.bias.grad,
                      module.running_mean, module.running_var))  # fmt: skip
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
    ours.eval(), usual.eval()
    torch.testing.assert_close(ours(x), usual(x))
