"""python -m ltviz.benchmark: what is claimed to be fast, measured on this machine.

Most claims are a ratio against the usual way of doing the same thing, both timed in one process, in turns, and each
taken at its fastest (what disturbs a measurement only ever makes it slower). The usual training loop is
tests/reference_loop.py, so this runs from a checkout. `python -m ltviz.benchmark losses` times every method's loss, and
`python -m ltviz.benchmark --gpu` measures what is claimed for a GPU, on one.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import io
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import metrics
from .datasets import LongTailed, cifar_lt, digits_lt, profile_counts
from .device import PLAIN, Speed, default_speed, pick_device, threads
from .graph import Captured
from .many import train_many
from .methods import METHODS
from .models import Net
from .objective import Method, Objective, Report
from .run import Run
from .training import RECIPES, Control, Recipe, Stopped, Trainer, sweep, versions

REFERENCE = Path(__file__).resolve().parent.parent / "tests" / "reference_loop.py"
CIFAR10_LT = profile_counts(5000, 10, 100)  # 12,406 images
CLOCK = time.perf_counter  # the tests put CPU time here: it hardly depends on what else the machine is doing


@dataclass(frozen=True)
class Claim:
    """What we say: `ratio` times as fast as the usual way, and (or) at most `most` of the unit. Neither: measured."""

    what: str
    ratio: float | None = None
    most: float | None = None
    unit: str = "s"


CLAIMS = {
    claim.what: claim
    for claim in (
        Claim("augmentation", 12.0),
        Claim("digits epoch, MLP", 8.0),
        Claim("digits epoch, CNN", 4.0),
        Claim("16 x 16 epoch, CNN", 4.0),
        Claim("32 x 32 epoch, ResNet-32", 1.0),
        Claim("ResNet-32 against plain eager", 1.0),
        Claim("ResNet-32, outside the network", None, 3.0, "%"),
        Claim("eight digits runs, MLP", 1.8),  # on two cores, once the worker processes are warm
        Claim("eight digits runs, CNN", 1.8),
        Claim("eight 16 x 16 runs, CNN", 0.95),  # trained one by one, so that nothing is lost
        Claim("slider, 2 x 10 curves", 8.0, 0.040),
        Claim("slider, 2 x 100 curves", 8.0, 0.040),
        Claim("slider, tau-normalisation", None, 0.050),
        Claim("slider, logit adjustment", None, 0.050),
        Claim("import over torch's", None, 0.3),
        Claim("first figure", None, 3.0),
        Claim("first explorer", None, 8.0),
        Claim("first embedding, PCA"),
        Claim("first embedding, t-SNE"),
        Claim("first embedding, UMAP"),
        Claim("memory of a CIFAR-size run", None, 2.0, "GB"),
        # With --gpu: ResNet-32 on 12,406 images of 32 x 32 in batches of 128, 10,000 images evaluated every epoch.
        Claim("GPU epoch", 15.0),
        Claim("GPU epoch against plain eager", 3.0),
        Claim("GPU run of 200 epochs", None, 25.0),
        Claim("GPU warm-up", None, 60.0),
        Claim("GPU memory of a run", None, 2.0, "GB"),
        Claim("GPU waits within an epoch", None, 0.0, ""),
        Claim("GPU training loss falls", 1.0, None, ""),
        Claim("GPU, eight runs", 2.0),
        Claim("GPU, bf16 beside float32", None, 0.0, "%"),
    )
}


@dataclass(frozen=True)
class Result:
    """A measurement: ours and, where there is one, the usual way's, in the unit of the claim, each the smallest."""

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


class Skipped(Exception):
    """A measurement that cannot be made here: what, and why."""

    def __init__(self, what: str, why: str):
        super().__init__(f"{what}: {why}")
        self.what, self.why = what, why


def need(what: str, module: str, package: str) -> None:
    """Skipped where a package that only this measurement needs is not installed."""
    if importlib.util.find_spec(module) is None:
        raise Skipped(what, f"{package} is not installed")


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


def typical(repeats: int, *works: Callable[[], Any]) -> list[float]:
    """Seconds of each piece of work, the median of `repeats` rounds in turns, after one that is not counted."""
    took: list[list[float]] = [[] for _ in works]
    for _ in range(repeats + 1):
        for i, work in enumerate(works):
            began = CLOCK()
            work()
            took[i].append(CLOCK() - began)
    return [float(np.median(times[1:])) for times in took]


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


def once(data: LongTailed) -> LongTailed:
    """The data, drawn once: they stay what they are under every seed, so that loading them is not what is timed."""
    data = replace(data)
    data.with_seed = lambda seed: data
    return data


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


def _resnet32(n: int, speed: Speed | None = None) -> Trainer:
    recipe = replace(RECIPES["cao2019"], epochs=1000)  # so that the learning rate is the same in every repeat
    return Trainer("ce", synthetic(shrink(CIFAR10_LT, n), 32), recipe=recipe, device="cpu", speed=speed)


def eager(n: int = 1024, repeats: int = 3) -> Result:
    """The same short epoch with what a CPU gets by default, against our own loop with nothing that makes it fast."""
    ours, plain = _resnet32(n), _resnet32(n, PLAIN)
    return Result("ResNet-32 against plain eager", *fastest(repeats, ours.run_epoch, plain.run_epoch),
                  detail=f"{len(ours.data):,} images, {ours.speed}")


def outside(n: int = 512, repeats: int = 5) -> Result:
    """Share of a short ResNet-32 epoch, in percent, that is neither network nor optimiser.

    A watch runs from the network's call to its logits, and from the gradient of the logits to the end of the
    optimiser's step. The rest of the epoch is crops, normalisation, order, layout, loss, tally, and Python. Both are
    timed in the same steps, so that what disturbs one disturbs the other.
    """
    trainer, began, inside = _resnet32(n), 0.0, 0.0

    def start(*_: Any) -> None:
        nonlocal began
        began = CLOCK()

    def stop(*_: Any) -> None:
        nonlocal inside
        inside += CLOCK() - began

    def answered(head: Any, features: Any, logits: Tensor) -> None:
        stop()
        logits.register_hook(start)

    trainer.run_epoch()
    trainer.net.backbone.register_forward_pre_hook(start)
    trainer.net.head.register_forward_hook(answered)
    update = trainer.optimizer.step
    trainer.optimizer.step = lambda: (update(), stop())
    wholes, rests = [], []
    for _ in range(repeats):
        inside, first = 0.0, CLOCK()
        trainer.run_epoch()
        wholes.append(CLOCK() - first)
        rests.append(wholes[-1] - inside)
    return Result("ResNet-32, outside the network", 100 * min(rests) / min(wholes),
                  detail=f"{1e3 * min(rests):.1f} of {1e3 * min(wholes):.0f} ms: crops, loss, tally, Python")


def eight(what: str, data: LongTailed, recipe: Recipe, repeats: int = 3, device: str = "cpu", runs: int = 8) -> Result:
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
    return Result(what, *times, detail=f"{together}; epochs of {len(data):,} images: {recipe.epochs}")


def eight_digits(model: str, epochs: int = 20, repeats: int = 3) -> Result:
    """Eight runs of the digits recipe, "mlp" or "cnn"."""
    recipe = replace(RECIPES["digits" if model == "mlp" else "digits_cnn"], epochs=epochs)
    return eight(f"eight digits runs, {model.upper()}", digits_lt(ratio=50), recipe, repeats)


def eight_cnn16(n: int = 2048, repeats: int = 3) -> Result:
    """Eight runs of an epoch of the small CNN on images of 16 x 16: a shape that fills the machine by itself."""
    recipe = replace(RECIPES["cifar16"], batch_size=128, epochs=1)
    return eight("eight 16 x 16 runs, CNN", synthetic(shrink(CIFAR10_LT, n), 16), recipe, repeats)


def slider(curves: int = 100, repeats: int = 7) -> Result:
    """One change of a slider, two panels of `curves` curves of 200 points: moved in place, against a new figure.

    Medians, as a hand on the slider feels them.
    """
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

    return Result(f"slider, 2 x {curves} curves", *typical(repeats, ours, usual), detail="10 x 4 inches, PNG, median")


def posthoc(name: str = "tau", repeats: int = 10) -> Result:
    """One change of a slider, "tau" or "prior", of the explorer that re-decides 10,000 images of 100 classes."""
    what = {"tau": "slider, tau-normalisation", "prior": "slider, logit adjustment"}[name]
    need(what, "ipywidgets", "ipywidgets")
    from .explore.posthoc import Posthoc

    explorer = Posthoc(stored())
    slider, places = explorer.controls[name].slider, itertools.cycle((0.5, 1.0, 1.5))

    def change() -> None:
        slider.value = next(places)

    try:
        (ours,) = typical(repeats, change)
        if explorer.error:
            raise RuntimeError(f"the explorer failed: {explorer.error}")
    finally:
        explorer.close()
    return Result(what, ours, detail="10,000 x 64 features, 100 classes, PNG, median")


def stored(n: int = 10_000, d: int = 64, k: int = 100) -> Run:
    """A run as training leaves it behind, made up: n test images with d features, in k classes."""
    rng = np.random.default_rng(0)
    weight, targets = rng.normal(size=(k, d)).astype(np.float32), np.arange(n) % k
    features = weight[targets] + 3 * rng.normal(size=(n, d)).astype(np.float32)
    logits = features @ weight.T
    return Run(
        method="ce", settings={}, data={}, recipe={}, seed=0, counts=np.array(profile_counts(500, k, 100)),
        class_names=[str(j) for j in range(k)], history={}, confusion=metrics.confusion(targets, logits.argmax(1), k),
        head_weight=weight, head_bias=np.zeros(k, np.float32), targets=targets, logits=logits,
        features=features.astype(np.float16),
    )  # fmt: skip


def import_time(repeats: int = 5) -> Result:
    """What `import ltviz` adds to `import torch`, in fresh processes."""
    code = ("import time; import torch; began = time.perf_counter(); import ltviz; "
            "print(time.perf_counter() - began)")
    times = [float(_child(code)) for _ in range(repeats)]
    return Result("import over torch's", min(times), detail="fresh processes")


_COUNTS = profile_counts(500, 10, 100)
_EMBED = "import numpy; lt.embed(numpy.random.default_rng(0).normal(size=(500, 64)), {!r}, recorded=False)"
FIRST = {  # what a fresh process does, torch's own import included where it is needed
    "first figure": f"lt.plot_counts({_COUNTS})._repr_png_()",
    "first explorer": f"assert lt.explore.effective_number({_COUNTS}).image.value",
    "first embedding, PCA": _EMBED.format("pca"),
    "first embedding, t-SNE": _EMBED.format("tsne"),
    "first embedding, UMAP": _EMBED.format("umap"),
}
_NEEDS = {"explorer": ("ipywidgets", "ipywidgets"), "t-SNE": ("openTSNE", "openTSNE"), "UMAP": ("umap", "umap-learn")}


def first(what: str, repeats: int = 3) -> Result:
    """How long the first picture of a kind takes in a fresh process, from the import of ltviz on."""
    for kind, package in _NEEDS.items():
        if what.endswith(kind):
            need(what, *package)
    code = f"import time; began = time.perf_counter(); import ltviz as lt; {FIRST[what]}; "
    times = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as empty:
            times.append(float(_child(f"{code}print(time.perf_counter() - began)", LTVIZ_CACHE=empty)))
    detail = "500 x 64 features, nothing recorded or cached" if "embedding" in what else "with every import"
    return Result(what, min(times), detail=detail)


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


def _child(code: str, **variables: str) -> str:
    """What a fresh interpreter prints, with these variables in its environment."""
    root = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    env = {**os.environ, "PYTHONPATH": path, "LTVIZ_PROFILE": "", **variables}  # the fast profile leaves work undone
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    if done.returncode:
        raise RuntimeError(f"a child process failed:\n{done.stderr[-2000:]}")
    return done.stdout.strip()


def suite(quick: bool = False) -> dict[str, Callable[[], Result]]:
    """Claim -> its measurement, in order; quick: fewer images and repeats, and without the slowest two."""
    images, turns, few, epochs = (2048, 3, 2, 5) if quick else (12_406, 5, 3, 20)
    measures = {
        "augmentation": lambda: augmentation(images, turns),
        "digits epoch, MLP": lambda: digits("mlp", 2 * turns),
        "digits epoch, CNN": lambda: digits("cnn", 2 * turns),
        "16 x 16 epoch, CNN": lambda: cnn16(images, turns),
        "32 x 32 epoch, ResNet-32": lambda: resnet32(images // 12, few),
        "ResNet-32 against plain eager": lambda: eager(images // 12, few),
        "ResNet-32, outside the network": lambda: outside(images // 24, turns),
        "eight digits runs, MLP": lambda: eight_digits("mlp", 3 * epochs, turns),
        "eight digits runs, CNN": lambda: eight_digits("cnn", epochs, turns),
        "eight 16 x 16 runs, CNN": lambda: eight_cnn16(images // 12, 2 * turns),
        "slider, 2 x 10 curves": lambda: slider(10),
        "slider, 2 x 100 curves": lambda: slider(100),
        "slider, tau-normalisation": lambda: posthoc("tau"),
        "slider, logit adjustment": lambda: posthoc("prior"),
        "import over torch's": lambda: import_time(turns),
        **{what: lambda what=what: first(what, 1 if quick or what.endswith("UMAP") else few) for what in FIRST},
        "memory of a CIFAR-size run": memory,
    }
    without = {"first embedding, UMAP", "memory of a CIFAR-size run"} if quick else set()
    without |= {"memory of a CIFAR-size run"} if sys.platform == "win32" else set()
    return {what: measure for what, measure in measures.items() if what not in without}


# ----------------------------------------------------------------------------------------------------------- on a GPU
@dataclass(frozen=True)
class Pace:
    """One way to compute a step, on one device.

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


WARM = Captured.WARM + 1  # epochs: a last batch that is smaller comes once in each, and is captured at its fourth call


def ladder(device: torch.device, model: str) -> dict[str, Speed]:
    """From plain eager float32 to the device's default, one more thing at a time."""
    default, speed = default_speed(device, model), PLAIN
    ways = {"plain eager": speed}
    for name in ("channels_last", "bf16", "fused", "graph"):
        if getattr(default, name):
            speed = replace(speed, **{name: True})
            ways[f"+ {name}"] = speed
    return ways


def compiled(device: torch.device, model: str) -> dict[str, Speed]:
    """The default with the network compiled, its kernels started one by one, and as a graph."""
    speed = replace(default_speed(device, model), compile=True)
    return {"compiled, no graph": replace(speed, graph=False), "compiled, graph": speed}


def gpu(
    data: LongTailed, recipe: Recipe, device: str = "cuda", *, epochs: int = 10, warm: int = WARM, together: int = 20,
    ways: Mapping[str, Speed] | None = None, last: Mapping[str, Speed] | None = None, workers: Sequence[int] = (0, 4),
    fidelity: int = 0,
) -> Iterator[Pace | Result | Skipped]:
    """All that is claimed for a GPU, as it is measured. data needs validation images: they are evaluated every epoch.

    epochs: timed, after `warm` others. together: epochs of each of eight runs side by side. ways: the last one is the
    default, which the claims are about; `last` come at the end, and may fail. fidelity: epochs, 0 for no such check.
    """
    at = pick_device(device)
    ways = ladder(at, recipe.model) if ways is None else ways
    last = (compiled(at, recipe.model) if at.type == "cuda" else {}) if last is None else last
    usual, number = usual_epoch(data, recipe, at, workers)
    paces = {}
    for way, speed in ways.items():
        trainer = None  # the one before gives its memory back
        paces[way], trainer = pace(way, speed, data, recipe, at, epochs, warm)
        yield paces[way]
    plain, ours = paces[next(iter(ways))], paces[way]
    yield Result("GPU epoch", ours.epoch, usual, detail=f"against PIL in a DataLoader, {number} workers, float32")
    yield Result("GPU epoch against plain eager", ours.epoch, plain.epoch, detail=f"with {ours.speed}")
    yield Result("GPU run of 200 epochs", 200 * ours.mean, detail=f"200 times the mean of {epochs} epochs")
    yield Result("GPU warm-up", ours.warm_up, detail=f"construction and the first {warm} epochs")
    if ours.memory is not None:
        yield Result("GPU memory of a run", ours.memory, detail="what torch held at most, data included")
    yield waits(trainer)
    yield Result("GPU training loss falls", ours.last, ours.first, detail=f"last and first of {warm + epochs} epochs")
    del trainer
    yield eight("GPU, eight runs", data, replace(recipe, epochs=together), 1, device)
    if fidelity:
        yield faithful(data, recipe, at, fidelity)
    for way, speed in last.items():
        try:
            yield pace(way, speed, data, recipe, at, epochs, warm)[0]
        except Exception as error:  # whatever a compiler finds wrong with this machine; nothing is claimed for it
            yield Skipped(way, f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}")


def usual_epoch(data: LongTailed, recipe: Recipe, device: torch.device, workers: Sequence[int]) -> tuple[float, int]:
    """Seconds of an epoch of the usual loop on this device, and its workers: two epochs each, the fastest counts.

    cuDNN looks for the fastest convolutions by trying them, as such loops are usually run.
    """
    times = []
    for number in workers if hasattr(os, "fork") else [0]:
        loop = reference().ReferenceLoop(data, recipe, workers=number, device=device)
        with _probing():
            times += [(_timed(loop.run_epoch, device), number) for _ in range(2)]
    return min(times)


def pace(
    way: str, speed: Speed, data: LongTailed, recipe: Recipe, device: torch.device, epochs: int, warm: int
) -> tuple[Pace, Trainer]:
    """Train `warm` epochs, then time `epochs` more, the device waited for around each."""
    held = _memory(device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a step that cannot be captured: `note` says so
        began = _now(device)
        trainer = Trainer("ce", data, recipe=recipe, device=str(device), speed=speed)
        for _ in range(warm):
            trainer.run_epoch()
        warm_up, steps, wholes = _now(device) - began, [], []
        for _ in range(epochs):
            began = _now(device)
            with trainer.place():
                epoch = trainer.begin_epoch()
                for step in trainer.steps(epoch):
                    if step == len(epoch.batches) - 1:  # what follows is the evaluation
                        steps.append((_now(device) - began) / len(epoch.batches))
                trainer.end_epoch(epoch)
            wholes.append(_now(device) - began)
        trainer.finish()
    loss = [row["loss"] for row in trainer.rows]
    peak = None if held is None else _memory(device, peak=True) - held
    note = trainer.step.reason or trainer.validate.reason or ""
    return Pace(way, str(speed), warm_up, 1e3 * min(steps), min(wholes), float(np.mean(wholes)), loss[0], loss[-1],
                peak, note), trainer


def waits(trainer: Trainer) -> Result:
    """Whether a step of an epoch waits for the device, as far as torch notices: 0, or 1 for the first that does."""
    what = "GPU waits within an epoch"
    with trainer.place():
        epoch = trainer.begin_epoch()
        try:
            with _never_waiting(trainer.device):
                for _ in trainer.steps(epoch):
                    pass
        except RuntimeError as error:
            return Result(what, 1.0, detail=f"at least: {str(error).strip().partition(chr(10))[0]}")
        trainer.end_epoch(epoch)
    return Result(what, 0.0, detail=f"in {len(epoch.batches)} steps after the warm-up")


def faithful(data: LongTailed, recipe: Recipe, device: torch.device, epochs: int, seeds: int = 5) -> Result:
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
    return Result("GPU, bf16 beside float32", away, detail=(
        f"mean {mean:.2f} beside {np.mean(single):.2f} % after {epochs} epochs, {within} of {seeds} seeds within; "
        f"bf16 {told[0]}; float32 {told[1]}"))


def gpu_data(root: Path | None = None) -> LongTailed:
    """Long-tailed CIFAR-10 of 12,406 images from a folder, or noise of its size, the test images evaluated each epoch.

    Nothing is chosen by that: it is what the usual loop does, and costs the same.
    """
    if root is None:
        data = synthetic(CIFAR10_LT, 32, test=10_000)
    else:
        data = cifar_lt(ratio=100, validation=0, root=root)
    return replace(data, val_images=data.test_images, val_targets=data.test_targets)


def missing_gpu() -> str:
    """Why nothing can be measured on a GPU here; empty where it can."""
    if torch.cuda.is_available():
        return ""
    built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    return (f"--gpu needs an NVIDIA GPU, and torch finds none: torch.cuda.is_available() is False (torch "
            f"{torch.__version__}, {built}). Look at `nvidia-smi`, or leave --gpu out to measure the CPU")


def gpu_machine() -> dict[str, Any]:
    """The GPU and what it runs."""
    return {
        "gpu": torch.cuda.get_device_name(), "capability": ".".join(map(str, torch.cuda.get_device_capability())),
        "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(),
        "tf32 convolutions": torch.backends.cudnn.allow_tf32,
    }  # fmt: skip


def _now(device: torch.device) -> float:
    """The clock, once the device has done what it was asked to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return CLOCK()


def _timed(work: Callable[[], Any], device: torch.device) -> float:
    began = _now(device)
    work()
    return _now(device) - began


def _memory(device: torch.device, peak: bool = False) -> float | None:
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
def _probing() -> Iterator[None]:
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


@contextmanager
def _never_waiting(device: torch.device) -> Iterator[None]:
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
        "threads": torch.get_num_threads(), "spin": os.environ.get("GOMP_SPINCOUNT", ""),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None, "system": platform.platform(),
        **versions(),
    }  # fmt: skip


def _size(value: float, unit: str) -> str:
    if unit == "s":
        return f"{1e3 * value:.1f} ms" if value < 1 else f"{value:.2f} s"
    return f"{value:.2f} {unit}".rstrip()


def _verdict(result: Result) -> str:
    if result.claim.ratio is None and result.claim.most is None:
        return "measured"
    return "holds" if result.holds() else "MISSED"


def _line(result: Result | Pace | Skipped) -> str:
    if isinstance(result, Skipped):
        return f"{result.what:<31} skipped: {result.why}"
    if isinstance(result, Pace):
        memory = "" if result.memory is None else f"{result.memory:.2f} GB"
        return (f"{result.way:<31} {result.step:>9.2f} {1e3 * result.epoch:>9.1f} {result.warm_up:>9.1f} {memory:>9}   "
                f"loss {result.first:.3f} to {result.last:.3f}  {result.note}").rstrip()
    claim, unit = result.claim, result.claim.unit
    claimed = [] if claim.ratio is None else [f">= {claim.ratio:g}x"]
    claimed += [] if claim.most is None else [f"<= {_size(claim.most, unit)}"]
    usual = "" if result.usual is None else _size(result.usual, unit)
    ratio = "" if result.ratio is None else f"{result.ratio:.{1 if result.ratio >= 10 else 2}f}x"
    return (f"{result.what:<31} {_size(result.ours, unit):>9} {usual:>9} {ratio:>7}   {', '.join(claimed):<18} "
            f"{_verdict(result):<8} {result.detail}")


def _row(result: Result | Pace | Skipped) -> dict[str, Any]:
    """A line of the table as JSON."""
    if isinstance(result, Skipped):
        return {"what": result.what, "skipped": result.why}
    if isinstance(result, Pace):
        return asdict(result)
    claim = result.claim
    return {
        **asdict(result), "ratio": result.ratio, "verdict": _verdict(result), "claimed_ratio": claim.ratio,
        "claimed_most": claim.most, "unit": claim.unit,
    }  # fmt: skip


def _attempts(measures: Iterable[Callable[[], Result]]) -> Iterator[Result | Skipped]:
    for measure in measures:
        try:
            yield measure()
        except Skipped as skipped:
            yield skipped


def _print_losses(quick: bool, keep: Callable[[list], None]) -> None:
    print(f"\nloss, forward + backward, one thread{'':<12} {'n = 128':>9} {'n = 512':>9} {'memory':>9}")
    rows = []
    for row in losses(repeats=3 if quick else 20):
        rows.append(asdict(row))
        keep(rows)
        print(f"{row.method:<48} {row.ms:>6.2f} ms {row.ms_large:>6.1f} ms {row.mb_large:>6.0f} MB", flush=True)


def _print_claims(results: Iterator[Result | Pace | Skipped], keep: Callable[[list], None]) -> None:
    rows, kind = [], None
    heads = {
        Pace: f"\n{'':<31} {'ms / step':>9} {'ms/epoch':>9} {'warm-up s':>9} {'memory':>9}",
        Result: f"\n{'':<31} {'ours':>9} {'usual':>9} {'ratio':>7}   {'claimed':<18}",
    }
    for result in results:
        if type(result) is not kind and type(result) in heads:
            kind = type(result)
            print(heads[kind])
        rows.append(_row(result))
        keep(rows)
        print(_line(result), flush=True)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m ltviz.benchmark", description=__doc__.partition("\n")[0])
    parser.add_argument("what", nargs="?", choices=("claims", "losses"), default="claims",
                        help="claims: ratios against the usual way (default); losses: the cost of every loss")
    parser.add_argument("--quick", action="store_true", help="fewer images and repeats: a minute or two")
    parser.add_argument("--gpu", action="store_true", help="what is claimed for a GPU, on this machine's")
    parser.add_argument("--root", metavar="FOLDER", type=Path,
                        help="with --gpu: CIFAR-10 (train/<class>/*, test/<class>/*) in place of noise")
    parser.add_argument("--fidelity", metavar="EPOCHS", type=int, default=0,
                        help="with --gpu --root: also train five seeds in bf16 and in float32, and compare")
    parser.add_argument("--json", metavar="FILE", type=Path,
                        help="where the numbers go as JSON (default: data/benchmark-*.json)")
    arguments = parser.parse_args(argv)
    if arguments.gpu and arguments.what == "losses":
        parser.error("--gpu measures the claims; the cost of the losses is measured on the CPU")
    if arguments.root and not arguments.gpu:
        parser.error("--root belongs to --gpu")
    if arguments.fidelity and not arguments.root:
        parser.error("--fidelity compares accuracies, which noise has none of: give --gpu --root FOLDER")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table while it is measured, and write it as JSON. Returns the exit status."""
    arguments = _arguments(argv)
    quick, what = arguments.quick, "gpu" if arguments.gpu else arguments.what
    if arguments.gpu and missing_gpu():
        print(missing_gpu(), file=sys.stderr)
        return 2
    if what != "losses":
        try:
            reference()
        except FileNotFoundError as error:
            print(error, file=sys.stderr)
            return 2
    about = {**machine(), **(gpu_machine() if arguments.gpu else {})}
    print(" · ".join(f"{name} {value}" for name, value in about.items()))
    folder = REFERENCE.parent.parent / "data"
    file = arguments.json or (folder if folder.is_dir() else Path()) / f"benchmark-{what}.json"

    def keep(rows: list) -> None:  # line by line: what was measured stays, whatever the next one does
        file.write_text(json.dumps({"machine": about, "quick": quick, what: rows}, indent=1) + "\n")

    if what == "losses":
        _print_losses(quick, keep)
    elif what == "gpu":
        fewer = {"epochs": 3, "together": 3, "last": {}} if quick else {}
        data = gpu_data(arguments.root)
        _print_claims(gpu(data, RECIPES["cao2019"], fidelity=arguments.fidelity, **fewer), keep)
    else:
        _print_claims(_attempts(suite(quick).values()), keep)
    if about["load"] and about["load"] > about["cores"]:
        print(f"\nThis machine is busy (load {about['load']} on {about['cores']} cores): most ratios suffer from that.")
    elif what == "claims":
        print("\nThe claims are for two cores that do nothing else; a busy machine misses some of them.")
    print(f"\nwritten to {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
