"""Where a run is computed, and how: the device, the threads, and what makes a step fast without changing it.

All by fixed rules, never by a probe, so that the same call gives the same numbers; a run's provenance keeps them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch


def pick_device(device: str | torch.device | None = None) -> torch.device:
    """The device asked for (or LTVIZ_DEVICE), else CUDA, MPS or the CPU. ValueError for one that is not there."""
    device = device or os.environ.get("LTVIZ_DEVICE")
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if _has_mps() else "cpu")
    device = torch.device(device)
    there = {"cuda": torch.cuda.is_available, "mps": _has_mps, "cpu": lambda: True}
    if not there.get(device.type, lambda: False)():
        raise ValueError(
            f"device {str(device)!r} was asked for, but torch {torch.__version__} finds none on this machine. "
            'Leave device=None to take what is there, or use device="cpu".'
        )
    return device


def _has_mps() -> bool:
    return torch.backends.mps.is_available()


# Pixels of a step (batch x height x width) that are worth a thread. Below that, threads wait for each other.
PIXELS_PER_THREAD = {"mlp": 131_072, "convolutions": 8_192}


def thread_count(model: str, shape: tuple[int, int, int], batch_size: int) -> int:
    """Threads for a CPU run, a fixed rule of model, image shape (C, H, W) and batch size.

    One for every 8,192 pixels of a step (131,072 for the MLP), at least one, at most torch's default. Small tensors on
    several threads are slower than on one, and far slower on a busy machine.
    """
    kind = "mlp" if model.partition(":")[0] == "mlp" else "convolutions"
    pixels = batch_size * shape[1] * shape[2]
    return min(max(pixels // PIXELS_PER_THREAD[kind], 1), torch.get_num_threads())


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Use n threads inside (in this Python thread), and what was set before afterwards."""
    before = torch.get_num_threads()
    if n != before:
        torch.set_num_threads(n)
    try:
        yield
    finally:
        if n != before:
            torch.set_num_threads(before)


@dataclass(frozen=True)
class Speed:
    """How a step is computed. Nothing here changes what is computed, beyond rounding.

    bf16           the network under autocast to bfloat16; weights, BatchNorm statistics and losses stay float32
    channels_last  the memory layout of images and convolutions
    fused          the optimiser's step as one kernel
    graph          a whole step, and a whole validation, as one CUDA graph; its optimiser is always a fused one
    compile        torch.compile of the network: minutes before the first step; never unless asked for
    """

    bf16: bool = False
    channels_last: bool = False
    fused: bool = False
    graph: bool = False
    compile: bool = False

    def __str__(self) -> str:
        return ", ".join(name for name, on in vars(self).items() if on) or "plain"


PLAIN = Speed()


def default_speed(device: torch.device, model: str) -> Speed:
    """What is used where nothing is asked for.

    On a CPU bfloat16 is ten times slower than float32 unless the processor has instructions for it, so: never.
    """
    images = not model.startswith("mlp")
    if device.type == "cuda":
        bf16 = torch.cuda.get_device_capability(device) >= (8, 0)
        return Speed(bf16=bf16, channels_last=images, fused=True, graph=True)
    return Speed(channels_last=images, fused=device.type == "cpu")
