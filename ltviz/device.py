"""Where a run is computed, and how: the device, the threads, and what makes a step fast without changing it.

All by fixed rules, never by a probe, so that the same call gives the same numbers; a run's provenance keeps them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch

from .check import flag, instance, refuse, text, whole
from .models import check_shape, model_name


def pick_device(device: str | torch.device | None = None) -> torch.device:
    """The device asked for (or LTVIZ_DEVICE), else CUDA, MPS or the CPU.

    device: "cpu", "mps", "cuda", or "cuda:1" for one of several. ValueError for one that is not on this machine.
    """
    name, otherwise = "device", "leave device=None"
    if device is None and os.environ.get("LTVIZ_DEVICE"):
        name, device, otherwise = "LTVIZ_DEVICE", os.environ["LTVIZ_DEVICE"], "unset it"
    there = _devices()
    if device is None:
        return torch.device(next(iter(there)))
    asked = str(device) if isinstance(device, (str, torch.device)) else ""
    kind, colon, index = asked.partition(":")
    if kind not in there or (colon and index not in map(str, range(there[kind]))):
        found = " or ".join(f'"{one}"' for one in _names(there))
        raise refuse(
            name,
            device,
            f"what torch {torch.__version__} finds on this machine, {found}; {otherwise} to take the first of these",
        )
    return torch.device(asked)


def _devices() -> dict[str, int]:
    """The kinds of device of this machine, the fastest first, and how many of each there are."""
    found = {"cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0}
    found |= {"mps": int(torch.backends.mps.is_available()), "cpu": 1}
    return {kind: n for kind, n in found.items() if n}


def _names(devices: dict[str, int]) -> list[str]:
    return [f"{kind}:{i}" if n > 1 else kind for kind, n in devices.items() for i in range(n)]


# Pixels of a step (batch x height x width) that are worth a thread. Below that, threads wait for each other.
PIXELS_PER_THREAD = {"mlp": 131_072, "convolutions": 8_192}


def thread_count(model: str, shape: tuple[int, int, int], batch_size: int) -> int:
    """Threads for a CPU run, a fixed rule of model, image shape (C, H, W) and batch size.

    One for every 8,192 pixels of a step (131,072 for the MLP), at least one, at most torch's default. Small tensors on
    several threads are slower than on one, and far slower on a busy machine.
    """
    model, (_, height, width) = model_name(model), check_shape(shape)
    batch_size = whole("batch_size", batch_size, 1)
    kind = "mlp" if model.partition(":")[0] == "mlp" else "convolutions"
    pixels = batch_size * height * width
    return min(max(pixels // PIXELS_PER_THREAD[kind], 1), usual_threads())


class _Inside(threading.local):
    """The numbers of threads that this Python thread has asked for, the innermost last."""

    def __init__(self):
        self.asked: list[int] = []


_inside, _lock = _Inside(), threading.Lock()
_users, _usual = 0, 1  # Python threads inside `threads`, and what was set when the first of them came


def usual_threads() -> int:
    """torch's number of threads as the user has set it, whatever runs in other Python threads use meanwhile."""
    with _lock:
        return _usual if _users else torch.get_num_threads()


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Use n threads inside (in this Python thread), and what was set before afterwards.

    torch keeps one number for each Python thread, but a new one starts with what any other has set last: so what
    was set before is remembered here, not asked for. And the first look at the number, in a new thread, replaces what
    was set there by what any other has set last: so one looks before one sets.
    """
    global _users, _usual
    n = whole("n", n, 1)
    if not _inside.asked:
        with _lock:
            if _users == 0:
                _usual = torch.get_num_threads()
            _users += 1
    torch.get_num_threads()
    _inside.asked.append(n)
    torch.set_num_threads(n)
    try:
        yield
    finally:
        _inside.asked.pop()
        if _inside.asked:
            torch.set_num_threads(_inside.asked[-1])
        else:
            with _lock:
                torch.set_num_threads(_usual)
                _users -= 1


@dataclass(frozen=True)
class Speed:
    """How a step is computed. Nothing here changes what is computed, beyond rounding.

    bf16           the network under autocast to bfloat16; weights, BatchNorm statistics and losses stay float32
    channels_last  the memory layout of images and convolutions
    fused          the optimiser's step as one kernel
    graph          a whole step, and a whole validation, as one CUDA graph; it sets fused, without which there is none
    compile        torch.compile of the network: minutes before the first step; never unless asked for
    probe          cuDNN tries all its convolutions and keeps the fastest; another process may choose another one
    """

    bf16: bool = False
    channels_last: bool = False
    fused: bool = False
    graph: bool = False
    compile: bool = False
    probe: bool = False

    def __post_init__(self):
        for name, on in vars(self).items():
            object.__setattr__(self, name, flag(name, on))
        object.__setattr__(self, "fused", self.fused or self.graph)  # one spelling of each way to compute

    def __str__(self) -> str:
        return ", ".join(name for name, on in vars(self).items() if on) or "plain"


PLAIN = Speed()


def default_speed(device: torch.device, model: str) -> Speed:
    """What is used where nothing is asked for.

    On a CPU bfloat16 is ten times slower than float32 unless the processor has instructions for it, so: never.
    """
    instance("device", device, torch.device, "a torch.device, such as pick_device() gives")
    images = text("model", model).partition(":")[0] != "mlp"
    if device.type == "cuda":
        bf16 = torch.cuda.get_device_capability(device) >= (8, 0)
        return Speed(bf16=bf16, channels_last=images, fused=True, graph=True)
    return Speed(channels_last=images, fused=device.type == "cpu")


@contextmanager
def plain_torch(device: torch.device, probe: bool = False) -> Iterator[None]:
    """Gradients and float32, whatever context the caller is in; probe: cuDNN tries convolutions it has not met yet."""
    inside, before = torch.is_autocast_enabled(device.type), torch.backends.cudnn.benchmark
    with torch.inference_mode(False), torch.enable_grad():
        with torch.autocast(device.type, enabled=False) if inside else nullcontext():
            torch.backends.cudnn.benchmark = before or probe
            try:
                yield
            finally:
                torch.backends.cudnn.benchmark = before
