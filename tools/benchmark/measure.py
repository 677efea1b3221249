"""What all measurements share: the claims, the result of one, clocks, data of a given size, the usual training loop."""

from __future__ import annotations

import gc
import importlib.util
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ltviz.datasets import LongTailed, profile_counts
from ltviz.many import train_many
from ltviz.training import Recipe, sweep

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "tests" / "reference_loop.py"
CIFAR10_LT = profile_counts(5000, 10, 100)  # 12,406 images
CLOCK = time.perf_counter  # the tests put CPU time here: it hardly depends on what else the machine is doing


# --------------------------------------------------------------------------------------------------------- the claims
@dataclass(frozen=True)
class SpeedClaim:
    """At least `ratio` times as fast as the usual way, and (or) at most `most` of the unit. Neither: only measured."""

    what: str
    ratio: float | None = None
    most: float | None = None
    unit: str = "s"


CLAIMS = {
    claim.what: claim
    for claim in (
        SpeedClaim("augmentation", 12.0),
        SpeedClaim("digits epoch, MLP", 8.0),
        SpeedClaim("digits epoch, CNN", 2.5),  # most of it is the network itself
        SpeedClaim("digits CNN, outside the network", unit="%"),
        SpeedClaim("16 x 16 epoch, CNN", 4.0),
        SpeedClaim("32 x 32 epoch, ResNet-32", 1.0),
        SpeedClaim("ResNet-32 against plain eager", 1.0),
        SpeedClaim("ResNet-32, outside the network", None, 3.0, "%"),
        SpeedClaim("eight digits runs, MLP", 1.8),  # on two cores, once the worker processes are warm
        SpeedClaim("eight digits runs, CNN", 1.8),
        SpeedClaim("eight 16 x 16 runs, CNN", 0.95),  # trained one by one, so that nothing is lost
        SpeedClaim("slider, 2 x 10 curves", 8.0, 0.040),
        SpeedClaim("slider, 2 x 100 curves", 8.0, 0.040),
        SpeedClaim("slider, tau-normalisation", None, 0.050),
        SpeedClaim("slider, logit adjustment", None, 0.050),
        SpeedClaim("import over torch's", None, 0.3),
        SpeedClaim("first figure", None, 3.0),
        SpeedClaim("first explorer, over torch's", None, 1.5),
        SpeedClaim("first embedding, PCA"),
        SpeedClaim("first embedding, t-SNE", None, 2.0),
        SpeedClaim("first embedding, UMAP", None, 10.0),
        SpeedClaim("next embedding, UMAP", None, 3.0),
        SpeedClaim("memory of a CIFAR-size run", None, 1.4, "GB"),
        # In Chromium: python -m tools.benchmark page.
        SpeedClaim("first sweep of a slider", None, 1.5),
        SpeedClaim("slider to frame, median", None, 0.020),
        SpeedClaim("slider to frame, 95% below", None, 0.033),
        SpeedClaim("exported page", None, 3.0, "MB"),
        # On a GPU: ResNet-32 on 12,406 images of 32 x 32 in batches of 128, 10,000 images evaluated every epoch.
        # On an H100 80GB HBM3: 5.4x to 7.1x, 3.8x, 79 s, 1.9 s, 0.8 GB, 0 waits, 1.9x.
        SpeedClaim("GPU epoch", 5.0),
        SpeedClaim("GPU epoch against plain eager", 3.0),
        SpeedClaim("GPU run of 200 epochs", None, 90.0),
        SpeedClaim("GPU warm-up", None, 60.0),
        SpeedClaim("GPU memory of a run", None, 2.0, "GB"),
        SpeedClaim("GPU waits within an epoch", None, 0.0, ""),
        SpeedClaim("GPU training loss falls", 1.0, None, ""),
        SpeedClaim("GPU, eight runs", 1.7),
        SpeedClaim("GPU, bf16 beside float32", None, 0.0, "%"),
    )
}


@dataclass(frozen=True)
class Measurement:
    """What was measured for a claim, in its unit: ours and, where there is one, the usual way's."""

    what: str
    ours: float
    usual: float | None = None
    detail: str = ""

    @property
    def ratio(self) -> float | None:
        return None if self.usual is None else self.usual / self.ours

    @property
    def claim(self) -> SpeedClaim:
        return CLAIMS[self.what]

    def holds(self, share: float = 1.0) -> bool:
        """Whether the claim holds, or that share of it (0.5: half the ratio, twice the time)."""
        enough = self.claim.ratio is None or self.ratio >= share * self.claim.ratio
        return enough and (self.claim.most is None or self.ours <= self.claim.most / share)


class Skipped(Exception):
    """A measurement that cannot be made here: what, and why."""

    def __init__(self, what: str, why: str):
        super().__init__(f"{what}: {why}")
        self.what, self.why = what, why


def need(what: str, module: str, package: str) -> None:
    """Skipped where a package that only this measurement needs is not installed."""
    if importlib.util.find_spec(module) is None:
        raise Skipped(what, f"{package} is not installed")


# ------------------------------------------------------------------------------------------------------------- clocks
def now(device: torch.device | None = None) -> float:
    """The clock in seconds, read once the device has done what it was asked to do."""
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)
    return CLOCK()


def timed(work: Callable[[], Any], device: torch.device | None = None) -> float:
    """Seconds that this work takes on the device."""
    began = now(device)
    work()
    return now(device) - began


def as_code(work: str) -> str:
    """Code for a process of its own: it does this work and prints the seconds, by the same clock."""
    clock = f"time.{CLOCK.__name__}()"
    return f"import time; began = {clock}; {work}; print({clock} - began)"


def in_turns(repeats: int, *works: Callable[[], Any]) -> list[list[float]]:
    """Seconds of each piece of work in each of `repeats` rounds, in turns, after one round that is not counted."""
    rounds = [[timed(work) for work in works] for _ in range(repeats + 1)]
    return [list(times) for times in zip(*rounds[1:], strict=True)]


def fastest(repeats: int, *works: Callable[[], Any]) -> list[float]:
    """Seconds of each piece of work at its fastest, of `repeats` rounds in turns."""
    return [min(times) for times in in_turns(repeats, *works)]


def typical(repeats: int, *works: Callable[[], Any]) -> list[float]:
    """Seconds of each piece of work, the median of `repeats` rounds in turns."""
    return [float(np.median(times)) for times in in_turns(repeats, *works)]


def child(code: str, **variables: str) -> str:
    """What a fresh interpreter prints, with these variables in its environment."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    env = {**os.environ, "PYTHONPATH": path, "LTVIZ_PROFILE": "", **variables}  # the fast profile leaves work undone
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    if done.returncode:
        raise RuntimeError(f"a child process failed:\n{done.stderr[-2000:]}")
    return done.stdout.strip()


# ---------------------------------------------------------------------------------------------------------- the device
def device_memory(device: torch.device, peak: bool = False) -> float | None:
    """GB that torch holds on the device, after what nobody uses is given back; peak: at most since then."""
    if device.type != "cuda":
        return None
    if peak:
        return torch.cuda.max_memory_reserved(device) / 1e9
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_reserved(device) / 1e9


@contextmanager
def probing() -> Iterator[None]:
    """Inside, cuDNN tries its convolutions and keeps the fastest."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


@contextmanager
def never_waiting(device: torch.device) -> Iterator[None]:
    """Inside, whatever makes the host wait for the device is a RuntimeError."""
    if device.type != "cuda":
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that this mode is a prototype
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


# -------------------------------------------------------------------------------------------------- data and yardstick
def synthetic(counts: Sequence[int], side: int, validation: int = 0, test: int = 10) -> LongTailed:
    """Random colour images, side x side, in classes of these counts: what they show does not change the time."""
    draw, k = torch.Generator().manual_seed(0), len(counts)

    def images(n: int) -> Tensor:
        return torch.randint(256, (n, side, side, 3), generator=draw, dtype=torch.uint8)

    return LongTailed(
        name="noise", images=images(sum(counts)), targets=torch.arange(k).repeat_interleave(torch.tensor(counts)),
        counts=torch.tensor(counts), class_names=tuple(map(str, range(k))), val_images=images(validation),
        val_targets=torch.arange(validation) % k, test_images=images(test), test_targets=torch.arange(test) % k,
        mean=torch.full((3,), 0.5), std=torch.full((3,), 0.29), pad=side // 8, flip=True,
        spec={"loader": "noise", "side": side, "seed": 0}, recipe="cao2019",
    )  # fmt: skip


def shrink(counts: Sequence[int], n: int) -> list[int]:
    """About n images in the same proportions, at least two a class."""
    return [max(2, round(c * n / sum(counts))) for c in counts]


def once(data: LongTailed) -> LongTailed:
    """The same data under every seed, so that drawing them is not part of what is timed."""
    data = replace(data)
    data.with_seed = lambda seed: data
    return data


def reference() -> ModuleType:
    """The usual training loop. FileNotFoundError where this is not a checkout."""
    if not REFERENCE.is_file():
        raise FileNotFoundError(
            f"the training loop to compare with is not there: {REFERENCE}. It belongs to the "
            "tests: run the benchmark from a checkout of the repository"
        )
    name = "ltviz_reference_loop"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, REFERENCE)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


def eight(
    what: str, data: LongTailed, recipe: Recipe, repeats: int = 3, device: str = "cpu", runs: int = 8
) -> Measurement:
    """Eight whole runs through `train_many`, against the same runs one by one.

    The round that is not counted starts the worker processes, where there are any: a first call takes a second or two
    longer.
    """
    data, last = once(data), []

    def ours() -> None:
        last[:] = train_many("ce", data, seeds=runs, recipe=recipe, device=device, progress=False)

    def usual() -> None:
        sweep("ce", data, seeds=runs, recipe=recipe, device=device, progress=False)

    times = fastest(repeats, ours, usual)
    together = last[0].provenance.get("together", "one")
    return Measurement(what, *times, detail=f"{together}; epochs of {len(data):,} images: {recipe.epochs}")
