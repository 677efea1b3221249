"""Devices, threads and flags of speed: what is taken, and what is refused by name."""

import threading

import numpy as np
import pytest
import torch

from ltviz import device
from ltviz.device import Speed, default_speed, pick_device, thread_count, threads


@pytest.fixture
def machine(monkeypatch):
    """A machine with so many CUDA devices."""

    def with_gpus(n):
        monkeypatch.delenv("LTVIZ_DEVICE", raising=False)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: n > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: n)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)

    return with_gpus


@pytest.mark.parametrize(
    "gpus, asked, found",
    [
        (0, None, "cpu"),
        (0, "cpu", "cpu"),
        (0, "cpu:0", "cpu:0"),
        (0, torch.device("cpu"), "cpu"),
        (1, None, "cuda"),
        (1, "cuda", "cuda"),
        (1, "cuda:0", "cuda:0"),
        (2, "cuda:1", "cuda:1"),
        (2, torch.device("cuda", 1), "cuda:1"),
        (1, "cpu", "cpu"),
    ],
)
def test_the_device_that_is_taken(gpus, asked, found, machine):
    machine(gpus)
    assert pick_device(asked) == torch.device(found)


@pytest.mark.parametrize(
    "asked",
    [
        "gpu",
        "cuda:99",
        "cuda:2",
        "cuda:",
        "cuda:-1",
        "cuda:01",
        "mps",
        "cpu:1",
        "CPU",
        "",
        " cpu",
        3,
        True,
        b"cpu",
        ["cpu"],
        torch.device("meta"),
        torch.device("cuda", 2),
        np.array("cpu"),
    ],
)
def test_a_device_that_is_not_there_is_refused_by_name(asked, machine):
    machine(2)
    with pytest.raises(ValueError, match=r'device=.*finds on this machine, "cuda:0" or "cuda:1" or "cpu"; leave'):
        pick_device(asked)
    machine(0)
    with pytest.raises(ValueError, match=r'device=.*finds on this machine, "cpu"; leave device=None'):
        pick_device(asked)


def test_the_device_of_the_environment(machine, monkeypatch):
    machine(1)
    monkeypatch.setenv("LTVIZ_DEVICE", "cpu")
    assert pick_device().type == "cpu" and pick_device("cuda").type == "cuda", "an argument comes first"
    monkeypatch.setenv("LTVIZ_DEVICE", "")
    assert pick_device().type == "cuda", "empty is unset"
    for wrong in ("gpu", "cuda:1", "0"):
        monkeypatch.setenv("LTVIZ_DEVICE", wrong)
        with pytest.raises(ValueError, match=f"LTVIZ_DEVICE='{wrong}': expected.*unset it"):
            pick_device()


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda: thread_count(3, (1, 8, 8), 64), "model=3"),
        (lambda: thread_count("", (1, 8, 8), 64), "model=''"),
        (lambda: thread_count("mlp", (8, 8), 64), "shape="),
        (lambda: thread_count("mlp", 64, 64), "shape="),
        (lambda: thread_count("mlp", (1, 8, 0), 64), r"shape=\(1, 8, 0\)"),
        (lambda: thread_count("mlp", (1, 8.5, 8), 64), r"shape=\(1, 8.5, 8\)"),
        (lambda: thread_count("3", (1, 8, 8), 64), "model='3': unknown model"),
        (lambda: thread_count("mlp:0", (1, 8, 8), 64), "model='mlp:0'"),
        (lambda: thread_count("mlp", "188", 64), "shape='188'"),
        (lambda: thread_count("mlp", (1, True, 8), 64), r"shape=\(1, True, 8\)"),
        (lambda: thread_count("mlp", (1, 8, 8), "64"), "batch_size='64'"),
        (lambda: thread_count("mlp", (1, 8, 8), float("nan")), "batch_size=nan"),
        (lambda: Speed("True"), "bf16='True'"),
        (lambda: thread_count("mlp", (1, 8, 8), 0), "batch_size=0"),
        (lambda: thread_count("mlp", (1, 8, 8), True), "batch_size=True"),
        (lambda: threads(0).__enter__(), "n=0"),
        (lambda: threads("2").__enter__(), "n='2'"),
        (lambda: threads(2.0).__enter__(), "n=2.0"),
        (lambda: Speed(bf16=1), "bf16=1"),
        (lambda: Speed(graph="yes"), "graph='yes'"),
        (lambda: Speed(compile=None), "compile=None"),
        (lambda: Speed(channels_last=0), "channels_last=0"),
        (lambda: default_speed("cpu", "mlp"), "device='cpu'"),
        (lambda: default_speed(torch.device("cpu"), 3), "model=3"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(call, name):
    with pytest.raises(ValueError, match=name):
        call()


def test_a_graph_has_a_fused_optimiser_and_one_spelling():
    assert Speed(graph=True) == Speed(fused=True, graph=True) != Speed(fused=True)
    assert str(Speed(graph=True)) == str(Speed(fused=True, graph=True)) == "fused, graph"
    numpys = Speed(graph=np.bool_(True), bf16=np.bool_(False))
    assert numpys == Speed(graph=True) and all(type(on) is bool for on in vars(numpys).values())
    assert str(Speed()) == "plain" and str(Speed(channels_last=True, fused=True)) == "channels_last, fused"


def test_threads_are_as_before_after_an_error_and_after_a_refusal():
    before = torch.get_num_threads()
    with pytest.raises(KeyError), threads(1):
        assert torch.get_num_threads() == 1
        raise KeyError
    with pytest.raises(ValueError), threads(0):
        pass
    assert torch.get_num_threads() == before and device.usual_threads() == before


def test_threads_of_another_python_thread_change_nothing_here():
    before, inside, go_on = torch.get_num_threads(), threading.Event(), threading.Event()

    def other():
        with threads(1):
            inside.set()
            go_on.wait(10)

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait(10)
    assert device.usual_threads() == before
    assert thread_count("cnn", (3, 64, 64), 4096) == before
    go_on.set()
    thread.join(10)
    assert torch.get_num_threads() == before
