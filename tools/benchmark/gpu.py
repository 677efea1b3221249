"""What is claimed for a GPU, and what its time goes into, in parts: python -m tools.benchmark gpu [PART...].

claims    the claims, in a table (without a name, this part)
first     one small run: every step captured, the losses of plain steps, nothing waited for
ladder    an epoch of ResNet-32 on CIFAR-10-LT's size, from plain eager to the default, one more thing at a time
probed    the default where cuDNN tries its convolutions; probed_float32 and probed_compiled likewise
profile   what a step of the default is made of: the number of kernels, and the longest of them
compiled  the same with the network compiled
together  1, 4, 8 and 21 such runs side by side

tools/gpu.sh runs the parts one after the other, each with a time limit. `--dry` runs them on the CPU and small data:
the numbers then show only that the script works.
"""

from __future__ import annotations

import os
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ltviz import many, metrics
from ltviz.datasets import LongTailed, cifar_lt
from ltviz.device import PLAIN, Speed, default_speed, pick_device
from ltviz.graph import Captured
from ltviz.training import RECIPES, Recipe, Trainer, sweep

from .measure import (
    CIFAR10_LT,
    Measurement,
    Skipped,
    device_memory,
    eight,
    never_waiting,
    now,
    once,
    probing,
    reference,
    shrink,
    synthetic,
    timed,
)

WARM = Captured.WARM + 1  # epochs: a last batch that is smaller comes once in each, and is captured at its fourth call
COMPLETE = Speed(channels_last=True, fused=True, graph=True)  # float32, convolutions in TF32


@dataclass(frozen=True)
class Pace:
    """How fast one way to compute a step is, on one device.

    warm_up      seconds from nothing until every graph is captured: construction and the first epochs
    step         ms a step, evaluation left out; epoch: seconds an epoch with it; both at their fastest
    mean         seconds an epoch, the mean
    first, last  training loss of the first and of the last epoch
    memory       GB of device memory that torch held at most; None on a CPU
    note         why a graph could not be captured, where it could not
    """

    way: str
    speed: str
    warm_up: float
    step: float
    epoch: float
    mean: float
    first: float
    last: float
    memory: float | None
    note: str = ""


@dataclass(frozen=True)
class Note:
    """A line of text, and the numbers in it."""

    text: str
    numbers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """Where a part runs and on what. data hold validation images, which are evaluated every epoch."""

    device: torch.device
    data: LongTailed
    recipe: Recipe
    dry: bool = False
    quick: bool = False
    fidelity: int = 0  # epochs

    @property
    def without_validation(self) -> LongTailed:
        return replace(self.data, val_images=self.data.images[:0], val_targets=self.data.targets[:0])


def place(dry: bool = False, quick: bool = False, root: Path | None = None, fidelity: int = 0) -> Place:
    """The first GPU with ResNet-32 on CIFAR-10-LT's size; dry: the CPU with a small network and small data."""
    if not dry:
        return Place(torch.device("cuda"), cifar_size(root), RECIPES["cao2019"], False, quick, fidelity)
    recipe = replace(RECIPES["cao2019"], model="resnet8:4", batch_size=32)
    return Place(torch.device("cpu"), evaluated(synthetic(shrink(CIFAR10_LT, 60), 16, test=20)), recipe, True)


def evaluated(data: LongTailed) -> LongTailed:
    """The data with the test images to validate on. They choose nothing: the usual loop evaluates them every epoch."""
    return replace(data, val_images=data.test_images, val_targets=data.test_targets)


def cifar_size(root: Path | None = None) -> LongTailed:
    """Long-tailed CIFAR-10 from a folder, or noise of its size: 12,406 training images, 10,000 to evaluate."""
    if root is None:
        return evaluated(synthetic(CIFAR10_LT, 32, test=10_000))
    return evaluated(cifar_lt(ratio=100, validation=0, root=root))


def missing() -> str:
    """Why nothing can be measured on a GPU here; empty where it can."""
    if torch.cuda.is_available():
        return ""
    built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    return (f"this needs an NVIDIA GPU, and torch finds none: torch.cuda.is_available() is False (torch "
            f"{torch.__version__}, {built}). Look at `nvidia-smi`, add --dry to try the script on the CPU, or leave "
            "gpu out to measure the CPU")  # fmt: skip


def machine() -> dict[str, Any]:
    """The GPU and what it runs."""
    return {
        "gpu": torch.cuda.get_device_name(), "capability": ".".join(map(str, torch.cuda.get_device_capability())),
        "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(),
        "tf32 convolutions": torch.backends.cudnn.allow_tf32,
    }  # fmt: skip


# ---------------------------------------------------------------------------------------------------- what is measured
def ways_up(device: torch.device, model: str) -> dict[str, Speed]:
    """From plain eager float32 to the device's default, one more thing at a time."""
    default, speed = default_speed(device, model), PLAIN
    ways = {"plain eager": speed}
    for name in ("channels_last", "fused", "graph", "bf16"):
        if getattr(default, name):
            speed = replace(speed, **{name: True})
            ways[f"+ {name}"] = speed
    return ways


def ways_compiled(device: torch.device, model: str) -> dict[str, Speed]:
    """The default with the network compiled, its kernels started one by one, and as a graph."""
    speed = replace(default_speed(device, model), compile=True)
    return {"compiled, no graph": replace(speed, graph=False), "compiled, graph": speed}


def usual_epoch(data: LongTailed, recipe: Recipe, device: torch.device, workers: Sequence[int]) -> tuple[float, int]:
    """Seconds of an epoch of the usual loop on this device, and its workers: two epochs each, the fastest counts.

    cuDNN looks for the fastest convolutions by trying them, as such loops are usually run.
    """
    times = []
    for number in workers if hasattr(os, "fork") else [0]:
        loop = reference().ReferenceLoop(data, recipe, workers=number, device=device)
        with probing():
            times += [(timed(loop.run_epoch, device), number) for _ in range(2)]
    return min(times)


def pace(
    way: str, speed: Speed, data: LongTailed, recipe: Recipe, device: torch.device, epochs: int, warm: int = WARM
) -> tuple[Pace, Trainer]:
    """Train `warm` epochs, then time `epochs` more, the device waited for around each."""
    held = device_memory(device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a step that cannot be captured: `note` says so
        began = now(device)
        trainer = Trainer("ce", data, recipe=recipe, device=str(device), speed=speed)
        for _ in range(warm):
            trainer.run_epoch()
        warm_up, steps, wholes = now(device) - began, [], []
        for _ in range(epochs):
            began = now(device)
            with trainer.place():
                epoch = trainer.begin_epoch()
                for step in trainer.steps(epoch):
                    if step == len(epoch.batches) - 1:  # what follows is the evaluation
                        steps.append((now(device) - began) / len(epoch.batches))
                trainer.end_epoch(epoch)
            wholes.append(now(device) - began)
    loss = [row["loss"] for row in trainer.rows]
    peak = None if held is None else device_memory(device, peak=True) - held
    note = trainer.step.reason or trainer.validate.reason or ""
    return Pace(way, str(speed), warm_up, 1e3 * min(steps), min(wholes), float(np.mean(wholes)), loss[0], loss[-1],
                peak, note), trainer  # fmt: skip


def waits(trainer: Trainer) -> Measurement:
    """Whether a step of an epoch waits for the device, as far as torch notices: 0, or 1 for the first that does."""
    what = "GPU waits within an epoch"
    with trainer.place():
        epoch = trainer.begin_epoch()
        try:
            with never_waiting(trainer.device):
                for _ in trainer.steps(epoch):
                    pass
        except RuntimeError as error:
            return Measurement(what, 1.0, detail=f"at least: {_first_line(error)}")
        trainer.end_epoch(epoch)
    return Measurement(what, 0.0, detail=f"in {len(epoch.batches)} steps after the warm-up")


def faithful(data: LongTailed, recipe: Recipe, device: torch.device, epochs: int, seeds: int = 5) -> Measurement:
    """How far the mean balanced accuracy in bfloat16 lies outside what the seeds reach in float32, in percent points.

    0 where it lies between the worst and the best seed in float32. Everything else is the default in both, the training
    images are the same under every seed, and the accuracy is that of the test set after the last epoch.
    """
    data, recipe, found = once(data), replace(recipe, epochs=epochs), []
    for bf16 in (True, False):
        speed = replace(default_speed(device, recipe.model), bf16=bf16)
        runs = sweep("ce", data, seeds=seeds, recipe=recipe, device=str(device), speed=speed, progress=False)
        found.append([100 * metrics.balanced_accuracy(run) for run in runs])
    half, single = found
    mean, told = float(np.mean(half)), [" ".join(f"{value:.2f}" for value in sorted(values)) for values in found]
    away = max(min(single) - mean, mean - max(single), 0.0)
    within = sum(min(single) <= value <= max(single) for value in half)
    return Measurement("GPU, bf16 beside float32", away, detail=(
        f"mean {mean:.2f} beside {np.mean(single):.2f}% after {epochs} epochs, {within} of {seeds} seeds within; "
        f"bf16 {told[0]}; float32 {told[1]}"))  # fmt: skip


def suite(
    data: LongTailed, recipe: Recipe, device: str = "cuda", *, epochs: int = 10, warm: int = WARM, together: int = 20,
    ways: Mapping[str, Speed] | None = None, last: Mapping[str, Speed] | None = None, workers: Sequence[int] = (0, 4),
    fidelity: int = 0,
) -> Iterator[Pace | Measurement | Skipped]:  # fmt: skip
    """All that is claimed for a GPU, as it is measured. data needs validation images: they are evaluated every epoch.

    epochs: timed, after `warm` others. together: epochs of each of eight runs side by side. ways: the last one is the
    default, which the claims are about; `last` come at the end, and may fail. fidelity: epochs, 0 for no such check.
    """
    at = pick_device(device)
    ways = ways_up(at, recipe.model) if ways is None else ways
    last = (ways_compiled(at, recipe.model) if at.type == "cuda" else {}) if last is None else last
    usual, number = usual_epoch(data, recipe, at, workers)
    paces = {}
    for way, speed in ways.items():
        trainer = None  # the one before gives its memory back
        paces[way], trainer = pace(way, speed, data, recipe, at, epochs, warm)
        yield paces[way]
    plain, ours = paces[next(iter(ways))], paces[way]
    yield Measurement("GPU epoch", ours.epoch, usual, detail=f"against PIL in a DataLoader, {number} workers, float32")
    yield Measurement("GPU epoch against plain eager", ours.epoch, plain.epoch, detail=f"with {ours.speed}")
    yield Measurement("GPU run of 200 epochs", 200 * ours.mean, detail=f"200 times the mean of {epochs} epochs")
    yield Measurement("GPU warm-up", ours.warm_up, detail=f"construction and the first {warm} epochs")
    if ours.memory is not None:
        yield Measurement("GPU memory of a run", ours.memory, detail="what torch held at most, data included")
    yield waits(trainer)
    trainer.finish()
    fell = f"last and first of {warm + epochs} epochs"
    yield Measurement("GPU training loss falls", ours.last, ours.first, detail=fell)
    del trainer
    yield eight("GPU, eight runs", data, replace(recipe, epochs=together), 1, device)
    if fidelity:
        yield faithful(data, recipe, at, fidelity)
    for way, speed in last.items():
        yield _attempt(way, lambda way=way, speed=speed: pace(way, speed, data, recipe, at, epochs, warm)[0])


def _attempt(way: str, work: Callable[[], Pace]) -> Pace | Skipped:
    """What a compiler finds wrong with this machine costs its own line only; nothing is claimed for it."""
    try:
        return work()
    except Exception as error:
        return Skipped(way, f"{type(error).__name__}: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]


# ----------------------------------------------------------------------------------------------------------- the parts
Part = Iterator[Pace | Measurement | Skipped | Note]


def claims(here: Place) -> Part:
    """Every claim for a GPU."""
    few: dict[str, Any] = {"epochs": 3, "together": 3, "last": {}} if here.quick else {}
    if here.dry:
        few = {"epochs": 1, "warm": 1, "together": 1, "workers": (0,), "last": {}}
    yield from suite(here.data, here.recipe, here.device.type, fidelity=here.fidelity, **few)


def first(here: Place) -> Part:
    """Does it work at all: graphs, losses beside those of plain steps, waits, and how fast the memory is."""
    if not here.dry:
        yield _copies(here.device)
    data, recipe = here.data, replace(here.recipe, lr=0.003, clip=1.0)
    if not here.dry:
        data, recipe = evaluated(synthetic(shrink(CIFAR10_LT, 600), 32, test=100)), replace(recipe, model="resnet8")
    plain: list[float] = []
    for speed in (PLAIN, COMPLETE, *([] if here.dry else [replace(COMPLETE, bf16=True)])):
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False), warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            trainer = Trainer("ldam_drw", data, recipe=recipe, device=str(here.device), speed=speed)
            losses = [trainer.run_epoch()["loss"] for _ in range(6)]
            found = waits(trainer)
        plain = plain or losses
        away = max(abs(a - b) for a, b in zip(plain, losses, strict=True))
        graphs = len(trainer.step._graphs), len(trainer.validate._graphs)
        reason = trainer.step.reason or trainer.validate.reason or ""
        yield Note(f"first: {speed}: graphs {graphs}, loss {losses[0]:.4f} to {losses[-1]:.4f}, away from plain by "
                   f"{away:.1e}, waits {found.ours:.0f} {found.detail} {reason} "
                   f"{[str(one.message)[:200] for one in said]}",
                   {"speed": str(speed), "losses": losses, "away": away, "graphs": graphs, "waits": found.ours,
                    "reason": reason})  # fmt: skip
        trainer.finish()


def _copies(device: torch.device) -> Note:
    big = torch.empty(2**28, device=device)
    copy = torch.empty_like(big)
    rate = 2 * big.numel() * 4 / min(timed(lambda: copy.copy_(big), device) for _ in range(5)) / 1e12
    return Note(f"first: copies {rate:.2f} TB/s", {"TB/s": rate})


def ladder(here: Place) -> Part:
    """The usual loop, then from plain steps to the default."""
    seconds, number = usual_epoch(here.data, here.recipe, here.device, (0,) if here.dry else (4,))
    yield Note(f"ladder: usual loop, {number} workers: {seconds:.2f} s an epoch", {"usual": seconds})
    for way, speed in ways_up(here.device, here.recipe.model).items():
        ours = _paced(here, way, speed)
        yield ours
    times = seconds / ours.epoch
    yield Note(f"ladder: default {times:.1f}x the usual loop; 200 epochs {200 * ours.mean:.1f} s", {"ratio": times})
    yield _paced(here, "float32, contiguous, graph", replace(COMPLETE, channels_last=False))


def probed(here: Place) -> Part:
    """In a process of its own: cuDNN remembers what it has chosen, and tries nothing that it has met before."""
    yield _paced(here, "probed, bf16", replace(COMPLETE, bf16=True, probe=True))


def probed_float32(here: Place) -> Part:
    """As `probed`, in float32."""
    yield _paced(here, "probed, float32", replace(COMPLETE, probe=True))


def probed_compiled(here: Place) -> Part:
    """As `probed`, with the network compiled."""
    yield _paced(here, "probed, bf16, compiled", replace(COMPLETE, bf16=True, probe=True, compile=True))


def compiled(here: Place) -> Part:
    """The network compiled, each step a graph."""
    for name, bf16 in (("bf16", True), ("float32", False)):
        way, speed = f"{name}, compiled, graph", replace(COMPLETE, bf16=bf16, compile=True)
        yield _attempt(way, lambda way=way, speed=speed: _paced(here, way, speed))


def _paced(here: Place, way: str, speed: Speed) -> Pace:
    """The pace over five epochs. On the CPU, bfloat16 is slow and a compiler may be missing: neither is tried dry."""
    if here.dry:
        speed = replace(speed, bf16=False, compile=False, graph=False)
    return pace(way, speed, here.data, here.recipe, here.device, 1 if here.dry else 5)[0]


def profile(here: Place) -> Part:
    """Kernels a step, microseconds in which the device is busy, and the kernels that take longest."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    kinds = [ProfilerActivity.CPU] + ([] if here.dry else [ProfilerActivity.CUDA])
    for bf16 in (False,) if here.dry else (True, False):
        trainer = Trainer("ce", here.without_validation, recipe=here.recipe, device=str(here.device),
                          speed=replace(COMPLETE, bf16=bf16))  # fmt: skip
        for _ in range(WARM):
            trainer.run_epoch()
        with trainer.place():
            steps = trainer.steps(trainer.begin_epoch())
            next(steps)
            with profiler(activities=kinds) as record:
                done = sum(1 for _, _ in zip(range(20), steps, strict=False))
                now(here.device)
        took, count = Counter(), Counter()
        for event in record.events():
            if here.dry or event.device_type.name == "CUDA":
                took[event.name] += event.self_cpu_time_total if here.dry else event.device_time
                count[event.name] += 1
        total, number = took.total(), count.total()
        yield Note(f"profile: {trainer.speed}: {number / done:.0f} kernels a step, {total / done:.0f} us busy",
                   {"speed": str(trainer.speed), "kernels": number / done, "busy": total / done})  # fmt: skip
        for name, micro in took.most_common(16):
            share, each = micro / total, micro / count[name]
            text = f"profile:   {100 * share:5.1f}%  {count[name] / done:5.1f} a step  {each:6.2f} us {name[:110]}"
            yield Note(text, {"share": share, "name": name})


def together(here: Place) -> Part:
    """Milliseconds a step and run, with more and more runs side by side."""
    for number in (1, 2) if here.dry else (1, 4, 8, 21):
        for speed in (PLAIN,) if here.dry else (COMPLETE, replace(COMPLETE, bf16=True)):
            yield _together(here, number, speed)


def _together(here: Place, number: int, speed: Speed) -> Note:
    began = now(here.device)
    trainers = [Trainer("ce", here.without_validation, recipe=here.recipe, device=str(here.device), speed=speed,
                        seed=seed) for seed in range(number)]  # fmt: skip
    for _ in range(WARM):
        steps = _epoch(trainers)
    warm_up = now(here.device) - began
    best = min(timed(partial(_epoch, trainers), here.device) for _ in range(1 if here.dry else 3))
    memory = 0.0 if here.dry else torch.cuda.max_memory_reserved() / 1e9
    each = 1e3 * best / steps / number
    return Note(f"together: {number:>2} runs, {speed}: {each:.3f} ms a step and run, {1e3 * best:.0f} ms an epoch of "
                f"all, warm-up {warm_up:.1f} s, {memory:.1f} GB",
                {"runs": number, "each": each, "speed": str(speed), "memory": memory})  # fmt: skip


def _epoch(trainers: list[Trainer]) -> int:
    """An epoch of each run, their steps in turns as `train_many` takes them on a GPU; steps of one."""
    epochs = [many._at(trainer, trainer.begin_epoch) for trainer in trainers]
    many._in_turns(trainers, epochs)
    for trainer, epoch in zip(trainers, epochs, strict=True):
        many._at(trainer, trainer.end_epoch, epoch)
    return len(epochs[0].batches)


PARTS = {
    one.__name__: one
    for one in (claims, first, ladder, probed, probed_float32, probed_compiled, profile, compiled, together)
}


def parts(names: Sequence[str], here: Place) -> Part:
    """These parts one after the other, and what each took."""
    for name in names:
        began = time.perf_counter()
        yield from PARTS[name](here)
        seconds = time.perf_counter() - began
        yield Note(f"{name}: took {seconds:.0f} s", {"part": name, "seconds": seconds})
