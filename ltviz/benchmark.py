"""python -m ltviz.benchmark: what is claimed to be fast, measured on this machine.

Each claim is a ratio against the usual way of doing the same thing, both timed in one process, in turns, and each
taken at its fastest (what disturbs a measurement only ever makes it slower). The usual training loop is
tests/reference_loop.py, so this runs from a checkout. `python -m ltviz.benchmark losses` times every method's loss.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .datasets import LongTailed, digits_lt, profile_counts
from .methods import METHODS
from .models import Net
from .objective import Method, Objective, Report
from .training import RECIPES, Control, Recipe, Stopped, Trainer, threads, versions

REFERENCE = Path(__file__).resolve().parent.parent / "tests" / "reference_loop.py"
CIFAR10_LT = profile_counts(5000, 10, 100)  # 12,406 images
CLOCK = time.perf_counter  # the tests put CPU time here: it hardly depends on what else the machine is doing


@dataclass(frozen=True)
class Claim:
    """What we say: `ratio` times as fast as the usual way, and (or) at most `most` of the unit."""

    what: str
    ratio: float | None = None
    most: float | None = None
    unit: str = "s"


CLAIMS = {
    claim.what: claim
    for claim in (
        Claim("augmentation", 8.0),
        Claim("digits epoch, MLP", 5.0),
        Claim("digits epoch, CNN", 3.0),
        Claim("16 x 16 epoch, CNN", 3.0),
        Claim("32 x 32 epoch, ResNet-32", 1.0),
        Claim("slider, 2 x 10 curves", 8.0, 0.050),
        Claim("slider, 2 x 100 curves", 8.0, 0.050),
        Claim("import over torch's", None, 0.3),
        Claim("memory of a CIFAR-size run", None, 2.0, "GB"),
    )
}


@dataclass(frozen=True)
class Result:
    """A measurement: ours and, where there is one, the usual way's, in seconds (memory in GB), each the smallest."""

    what: str
    ours: float
    usual: float | None = None
    detail: str = ""

    @property
    def ratio(self) -> float | None:
        return None if self.usual is None else self.usual / self.ours

    @property
    def claim(self) -> Claim:
        return CLAIMS[self.what]

    def holds(self, share: float = 1.0) -> bool:
        """Whether the claim holds, or that share of it (0.5: half the ratio, twice the time)."""
        enough = self.claim.ratio is None or self.ratio >= share * self.claim.ratio
        return enough and (self.claim.most is None or self.ours <= self.claim.most / share)


def fastest(repeats: int, *works: Callable[[], Any]) -> list[float]:
    """Seconds of each piece of work at its fastest: `repeats` rounds in turns, after one that is not counted."""
    best = [float("inf")] * len(works)
    for round_ in range(repeats + 1):
        for i, work in enumerate(works):
            began = CLOCK()
            work()
            if round_:
                best[i] = min(best[i], CLOCK() - began)
    return best


def reference() -> ModuleType:
    """The usual training loop. FileNotFoundError where this is not a checkout."""
    if not REFERENCE.is_file():
        raise FileNotFoundError(f"the training loop to compare with is not there: {REFERENCE}. It belongs to the "
                                "tests: run the benchmark from a checkout of the repository")
    name = "ltviz_reference_loop"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, REFERENCE)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


def synthetic(counts: Sequence[int], side: int, validation: int = 0, test: int = 10) -> LongTailed:
    """Random colour images of this size in classes of these counts: time does not ask what is in a picture."""
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


# --------------------------------------------------------------------------------------------------------- the claims
def augmentation(n: int = 12_406, repeats: int = 5, batch_size: int = 128) -> Result:
    """One epoch of padded crops and flips, 32 x 32: vectorised on the stored images, against PIL in a DataLoader."""
    data, generator = synthetic(shrink(CIFAR10_LT, n), 32), torch.Generator().manual_seed(0)
    train, _ = reference().loaders(data, batch_size)

    def ours() -> None:
        for index in torch.randperm(len(data), generator=generator).split(batch_size):
            data.batch(index, generator)

    def usual() -> None:
        for _ in train:
            pass

    data.padded()
    return Result("augmentation", *fastest(repeats, ours, usual), detail=f"{len(data):,} images of 32 x 32")


def epoch(what: str, data: LongTailed, recipe: Recipe, repeats: int = 5, row: int = 1) -> Result:
    """One epoch of training and validation in our loop against the usual one, same network and settings.

    The usual loop runs with torch's default number of threads and with ours; the faster of the two counts. Short epochs
    are timed `row` in a row, as a run has them, and the mean is given.
    """
    recipe = replace(recipe, epochs=1000)  # so that the learning rate is the same in every repeat
    trainer = Trainer("ce", data, recipe=recipe, device="cpu")
    loop = reference().ReferenceLoop(data, trainer.recipe)

    def under(number: int, work: Callable[[], Any]) -> Callable[[], None]:
        def run() -> None:
            with threads(number):
                for _ in range(row):
                    work()

        return run

    usual = [under(number, loop.run_epoch) for number in sorted({trainer.threads, torch.get_num_threads()})]
    ours, *theirs = fastest(repeats, under(trainer.threads, trainer.run_epoch), *usual)
    return Result(what, ours / row, min(theirs) / row, detail=f"{len(data):,} images, batch {recipe.batch_size}")


def digits(model: str, repeats: int = 5) -> Result:
    """An epoch of the digits recipe, "mlp" or "cnn"."""
    recipe = RECIPES["digits" if model == "mlp" else "digits_cnn"]
    return epoch(f"digits epoch, {model.upper()}", digits_lt(ratio=50), recipe, repeats, row=5)


def cnn16(n: int = 12_406, repeats: int = 5) -> Result:
    """An epoch of the small CNN on as many images of 16 x 16 as CIFAR-10-LT has at ratio 100."""
    recipe = replace(RECIPES["cifar16"], batch_size=128)
    return epoch("16 x 16 epoch, CNN", synthetic(shrink(CIFAR10_LT, n), 16, validation=n // 12), recipe, repeats)


def resnet32(n: int = 1024, repeats: int = 3) -> Result:
    """A short epoch of ResNet-32: the network takes nearly all the time, so no gain is to be had, and none is lost."""
    return epoch("32 x 32 epoch, ResNet-32", synthetic(shrink(CIFAR10_LT, n), 32), RECIPES["cao2019"], repeats)


def slider(curves: int = 100, repeats: int = 7) -> Result:
    """One change of a slider, two panels of `curves` curves of 200 points: moved in place, against a new figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    from .plots.picture import drawing
    from .plots.surface import Surface

    x, rank = np.linspace(0.01, 1.0, 200), np.linspace(0.0, 1.0, curves)[:, None]
    gamma = iter(np.linspace(0.0, 5.0, 1000))

    def values() -> list[np.ndarray]:
        g = next(gamma)
        return [(1 - x) ** g * -np.log(x) * (0.2 + rank), x ** (g * rank)]

    def label(axes: Sequence[Any]) -> None:
        for ax, title in zip(axes, ("loss", "weight"), strict=True):
            ax.set(xlabel="p", ylabel=title, title=title, xlim=(0, 1), ylim=(0, 5))

    surface = Surface(10, 4)
    with drawing():
        axes = surface.figure.subplots(1, 2)
        label(axes)
        lines = [ax.add_collection(LineCollection([])) for ax in axes]
    surface.animate(*lines)

    def ours() -> None:
        for collection, rows in zip(lines, values(), strict=True):
            collection.set_segments(np.stack(np.broadcast_arrays(x, rows), -1))
        surface.png()

    def usual() -> None:
        figure = Figure(figsize=(10, 4), dpi=surface.figure.dpi)
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, 2)
        label(axes)
        for ax, rows in zip(axes, values(), strict=True):
            ax.plot(x, rows.T)
        figure.savefig(io.BytesIO(), format="png", bbox_inches="tight")

    return Result(f"slider, 2 x {curves} curves", *fastest(repeats, ours, usual), detail="10 x 4 inches, PNG encoded")


def import_time(repeats: int = 5) -> Result:
    """What `import ltviz` adds to `import torch`, in fresh processes."""
    code = ("import time; import torch; began = time.perf_counter(); import ltviz; "
            "print(time.perf_counter() - began)")
    times = [float(_child(code)) for _ in range(repeats)]
    return Result("import over torch's", min(times), detail="fresh processes")


def memory(steps: int = 10) -> Result:
    """Peak memory of a process that trains ResNet-32 on 12,406 images of 32 x 32 and tests on 10,000.

    A few steps: memory does not grow with their number. The evaluation is complete.
    """
    code = f"from ltviz.benchmark import _peak_of_a_run; print(_peak_of_a_run({steps}))"
    detail = f"{sum(CIFAR10_LT):,} + 10,000 images, ResNet-32, batch 128, in all"
    return Result("memory of a CIFAR-size run", float(_child(code)), detail=detail)


def _peak_of_a_run(steps: int) -> float:
    import resource

    class Few(Control):
        left = steps

        def check(self) -> None:
            self.left -= 1
            if self.left < 0:
                raise Stopped

    trainer = Trainer("ce", synthetic(CIFAR10_LT, 32, test=10_000), recipe="cao2019", device="cpu")
    trainer.run(Few())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e9 if sys.platform == "darwin" else 1e6)


def _child(code: str) -> str:
    """What a fresh interpreter prints."""
    root = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    if done.returncode:
        raise RuntimeError(f"a child process failed:\n{done.stderr[-2000:]}")
    return done.stdout.strip()


def suite(quick: bool = False) -> list[Callable[[], Result]]:
    """The measurements, in order; quick: fewer images and repeats, half a minute instead of minutes."""
    if quick:
        return [
            lambda: augmentation(2048, 3), lambda: digits("mlp", 3), lambda: digits("cnn", 3), lambda: cnn16(2048, 3),
            lambda: resnet32(256, 2), lambda: slider(10), lambda: slider(100), lambda: import_time(3),
        ]  # fmt: skip
    return [
        augmentation, lambda: digits("mlp", 10), lambda: digits("cnn", 10), cnn16, resnet32, lambda: slider(10),
        lambda: slider(100), import_time, *([memory] if sys.platform != "win32" else []),
    ]  # fmt: skip


# ---------------------------------------------------------------------------------------------------------- the losses
@dataclass(frozen=True)
class LossCost:
    """Forward and backward of one loss on one thread, in milliseconds, at n = 128 and 512, and its memory in MB."""

    method: str
    ms: float
    ms_large: float
    mb_large: float


def losses(keys: Sequence[str] | None = None, repeats: int = 10, choices: bool = True) -> Iterator[LossCost]:
    """Cost of every method's loss, and (choices) of each of its choices, at k = 100 classes and d = 64 features."""
    for key in keys or METHODS:
        method = METHODS[key]
        for settings in _variants(method) if choices else [{}]:
            with threads(1):
                ms = 1e3 * fastest(repeats, _step(method, settings, 128))[0]
                large = _step(method, settings, 512)
                ms_large, bytes_large = 1e3 * fastest(3, large)[0], peak_memory(large)
            yield LossCost(method.label(settings), ms, ms_large, bytes_large / 1e6)


def _variants(method: Method) -> list[dict[str, Any]]:
    """The default settings, then each other choice of each setting that has choices."""
    others = [
        {name: choice}
        for name, setting in method.settings.items()
        if len(setting.choices) > 1
        for choice in setting.choices
        if choice != setting.default
    ]
    return [{}, *others]


def _step(method: Method, settings: Mapping[str, Any], n: int, k: int = 100, d: int = 64) -> Callable[[], None]:
    """A forward and backward pass of the loss (head included) for a long-tailed batch of n."""
    draw = torch.Generator().manual_seed(0)
    counts = torch.tensor(profile_counts(500, k, 100))
    objective: Objective = method.build(counts, **settings)
    objective.generator = draw
    net = Net(torch.nn.Identity(), objective.make_head(d))
    targets = torch.multinomial(counts.double(), n, replacement=True, generator=draw)
    features = torch.randn(n, d, generator=draw).relu_().requires_grad_()
    with torch.no_grad():
        train = torch.multinomial(counts.double(), 2048, replacement=True, generator=draw)
        gallery = torch.randn(2048, d, generator=draw).relu_()
        objective.begin_epoch(Report(0, 0, 0.0, net.head, torch.full((k,), 0.5), lambda: (gallery, train)))
        objective.after_step(net.decide(features, torch.arange(n)), targets)
    index = torch.arange(n)

    def step() -> None:
        objective(net.decide(features, index), targets).backward()
        features.grad = None

    return step


def peak_memory(work: Callable[[], Any]) -> float:
    """Bytes of tensors alive at the worst moment of some work on the CPU, beyond those alive before."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler tells when it starts and stops, 100 times here
    from torch.profiler import ProfilerActivity, profile

    work()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        work()
    events = [e for e in record.profiler.kineto_results.events() if e.name() == "[memory]"]
    sizes = [e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())]
    return float(max(np.cumsum(sizes).max(initial=0.0), 0.0))


# --------------------------------------------------------------------------------------------------------- the report
def machine() -> dict[str, Any]:
    """This machine and what it runs: a number without them says nothing."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text().splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        cpu = names[0] if names else cpu
    return {
        "cpu": cpu, "cores": os.cpu_count(), "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(), "wait": os.environ.get("OMP_WAIT_POLICY", ""),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None, "system": platform.platform(),
        **versions(),
    }  # fmt: skip


def _size(value: float, unit: str) -> str:
    if unit == "GB":
        return f"{value:.2f} GB"
    return f"{1e3 * value:.1f} ms" if value < 1 else f"{value:.2f} s"


def _line(result: Result) -> str:
    claim, unit = result.claim, result.claim.unit
    claimed = [f">= {claim.ratio:g}x"] if claim.ratio else []
    claimed += [f"< {_size(claim.most, unit)}"] if claim.most else []
    usual = "" if result.usual is None else _size(result.usual, unit)
    ratio = "" if result.ratio is None else f"{result.ratio:.1f}x"
    return (f"{result.what:<27} {_size(result.ours, unit):>9} {usual:>9} {ratio:>7}   {', '.join(claimed):<19} "
            f"{'holds' if result.holds() else 'MISSED':<7} {result.detail}")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m ltviz.benchmark", description=__doc__.partition("\n")[0])
    parser.add_argument("what", nargs="?", choices=("claims", "losses"), default="claims",
                        help="claims: ratios against the usual way (default); losses: the cost of every loss")
    parser.add_argument("--quick", action="store_true", help="fewer images and repeats: half a minute")
    parser.add_argument("--json", metavar="FILE", type=Path,
                        help="where the numbers go as JSON (default: data/benchmark-*.json)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table while it is measured, and write it as JSON. Returns the exit status."""
    arguments = _arguments(argv)
    about = machine()
    print(" · ".join(f"{name} {value}" for name, value in about.items()))
    if arguments.what == "losses":
        print(f"\nloss, forward + backward, one thread{'':<12} {'n = 128':>9} {'n = 512':>9} {'memory':>9}")
        rows: list[Any] = []
        for row in losses(repeats=3 if arguments.quick else 20):
            rows.append(asdict(row))
            print(f"{row.method:<48} {row.ms:>6.2f} ms {row.ms_large:>6.1f} ms {row.mb_large:>6.0f} MB", flush=True)
    else:
        try:
            reference()
        except FileNotFoundError as error:
            print(error, file=sys.stderr)
            return 2
        print(f"\n{'':<27} {'ours':>9} {'usual':>9} {'ratio':>7}   {'claimed':<19}")
        rows = []
        for measure in suite(arguments.quick):
            result = measure()
            rows.append({**asdict(result), "ratio": result.ratio, "holds": result.holds(), **{
                "claimed_ratio": result.claim.ratio, "claimed_most": result.claim.most, "unit": result.claim.unit}})
            print(_line(result), flush=True)
    if about["load"] and about["load"] > about["cores"]:
        print(f"\nThis machine is busy (load {about['load']} on {about['cores']} cores): most ratios suffer from that.")
    folder = REFERENCE.parent.parent / "data"
    file = arguments.json or (folder if folder.is_dir() else Path()) / f"benchmark-{arguments.what}.json"
    file.write_text(json.dumps({"machine": about, "quick": arguments.quick, arguments.what: rows}, indent=1) + "\n")
    print(f"\nwritten to {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
