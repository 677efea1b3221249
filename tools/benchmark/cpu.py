"""The claims for a CPU, each with the function that measures it; `suite` lists them."""

from __future__ import annotations

import io
import itertools
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ltviz import metrics
from ltviz.datasets import LongTailed, digits_lt, profile_counts
from ltviz.device import PLAIN, Speed, threads
from ltviz.run import Run
from ltviz.training import RECIPES, Recipe, RunControl, Stopped, Trainer

from .measure import (
    CIFAR10_LT,
    Measurement,
    as_code,
    child,
    eight,
    fastest,
    need,
    now,
    reference,
    shrink,
    synthetic,
    typical,
)


def augmentation(n: int = 12_406, repeats: int = 5, batch_size: int = 128) -> Measurement:
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
    return Measurement("augmentation", *fastest(repeats, ours, usual), detail=f"{len(data):,} images of 32 x 32")


def epoch(what: str, data: LongTailed, recipe: Recipe, repeats: int = 5, row: int = 1) -> Measurement:
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
    return Measurement(what, ours / row, min(theirs) / row, detail=f"{len(data):,} images, batch {recipe.batch_size}")


def digits(model: str, repeats: int = 5) -> Measurement:
    """An epoch of the digits recipe, "mlp" or "cnn"."""
    recipe = RECIPES["digits" if model == "mlp" else "digits_cnn"]
    return epoch(f"digits epoch, {model.upper()}", digits_lt(ratio=50), recipe, repeats, row=5)


def cnn16(n: int = 12_406, repeats: int = 5) -> Measurement:
    """An epoch of the small CNN on as many images of 16 x 16 as CIFAR-10-LT has at ratio 100."""
    recipe = replace(RECIPES["cifar16"], batch_size=128)
    return epoch("16 x 16 epoch, CNN", synthetic(shrink(CIFAR10_LT, n), 16, validation=n // 12), recipe, repeats)


def resnet32(n: int = 1024, repeats: int = 3) -> Measurement:
    """A short epoch of ResNet-32: the network takes nearly all the time, so no gain is to be had, and none is lost."""
    return epoch("32 x 32 epoch, ResNet-32", synthetic(shrink(CIFAR10_LT, n), 32), RECIPES["cao2019"], repeats)


def _resnet32(n: int, speed: Speed | None = None) -> Trainer:
    recipe = replace(RECIPES["cao2019"], epochs=1000)  # so that the learning rate is the same in every repeat
    return Trainer("ce", synthetic(shrink(CIFAR10_LT, n), 32), recipe=recipe, device="cpu", speed=speed)


def eager(n: int = 1024, repeats: int = 3) -> Measurement:
    """The same short epoch with what a CPU gets by default, against our own loop with nothing that makes it fast."""
    ours, plain = _resnet32(n), _resnet32(n, PLAIN)
    return Measurement(
        "ResNet-32 against plain eager",
        *fastest(repeats, ours.run_epoch, plain.run_epoch),
        detail=f"{len(ours.data):,} images, {ours.speed}",
    )


def outside(what: str, trainer: Trainer, repeats: int = 5) -> Measurement:
    """Share of an epoch, in percent, that is neither network nor optimiser.

    A watch runs from the network's call to its logits, and from the gradient of the logits to the end of the
    optimiser's step. The rest of the epoch is crops, normalisation, order, layout, loss, tally, and Python. Both are
    timed in the same steps, so that what disturbs one disturbs the other.
    """
    began = inside = 0.0

    def start(*_: Any) -> None:
        nonlocal began
        began = now()

    def stop(*_: Any) -> None:
        nonlocal inside
        inside += now() - began

    def answered(head: Any, features: Any, logits: Tensor) -> None:
        stop()
        if logits.requires_grad:  # not in the evaluation
            logits.register_hook(start)

    trainer.run_epoch()
    trainer.net.backbone.register_forward_pre_hook(start)
    trainer.net.head.register_forward_hook(answered)
    update = trainer.optimizer.step
    trainer.optimizer.step = lambda: (update(), stop())
    wholes, rests = [], []
    for _ in range(repeats):
        inside, first = 0.0, now()
        trainer.run_epoch()
        wholes.append(now() - first)
        rests.append(wholes[-1] - inside)
    return Measurement(
        what,
        100 * min(rests) / min(wholes),
        detail=f"{1e3 * min(rests):.1f} of {1e3 * min(wholes):.1f} ms: crops, loss, tally, Python",
    )


def outside_resnet32(n: int = 512, repeats: int = 5) -> Measurement:
    """That share of a short epoch of ResNet-32."""
    return outside("ResNet-32, outside the network", _resnet32(n), repeats)


def outside_digits(repeats: int = 20) -> Measurement:
    """That share of an epoch of the small CNN on digits: what no better loop can save is the rest."""
    recipe = replace(RECIPES["digits_cnn"], epochs=1000)
    return outside(
        "digits CNN, outside the network", Trainer("ce", digits_lt(ratio=50), recipe=recipe, device="cpu"), repeats
    )


def eight_digits(model: str, epochs: int = 20, repeats: int = 3) -> Measurement:
    """Eight runs of the digits recipe, "mlp" or "cnn"."""
    recipe = replace(RECIPES["digits" if model == "mlp" else "digits_cnn"], epochs=epochs)
    return eight(f"eight digits runs, {model.upper()}", digits_lt(ratio=50), recipe, repeats)


def eight_cnn16(n: int = 2048, repeats: int = 3) -> Measurement:
    """Eight runs of an epoch of the small CNN on images of 16 x 16: a shape that fills the machine by itself."""
    recipe = replace(RECIPES["cifar16"], batch_size=128, epochs=1)
    return eight("eight 16 x 16 runs, CNN", synthetic(shrink(CIFAR10_LT, n), 16), recipe, repeats)


def slider(curves: int = 100, repeats: int = 7) -> Measurement:
    """One change of a slider, two panels of `curves` curves of 200 points: moved in place, against a new figure.

    Medians, as a hand on the slider feels them.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    from ltviz.plots.picture import drawing
    from ltviz.plots.surface import Surface

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

    times = typical(repeats, ours, usual)
    return Measurement(f"slider, 2 x {curves} curves", *times, detail="10 x 4 inches, PNG, median")


def posthoc(name: str = "tau", repeats: int = 10) -> Measurement:
    """One change of a slider, "tau" or "prior", of the explorer that re-decides 10,000 images of 100 classes."""
    what = {"tau": "slider, tau-normalisation", "prior": "slider, logit adjustment"}[name]
    need(what, "ipywidgets", "ipywidgets")
    from ltviz.explore.posthoc import Posthoc

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
    return Measurement(what, ours, detail="10,000 x 64 features, 100 classes, PNG, median")


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


def import_time(repeats: int = 5) -> Measurement:
    """What `import ltviz` adds to `import torch`, in fresh processes."""
    times = [float(child(f"import torch; {as_code('import ltviz')}")) for _ in range(repeats)]
    return Measurement("import over torch's", min(times), detail="fresh processes")


_COUNTS = profile_counts(500, 10, 100)
_EMBED = "import numpy; lt.embed(numpy.random.default_rng({{seed}}).normal(size=(500, 64)), {!r}, recorded=False)"
FIRST = {  # what a fresh process does; {seed}: other data in the next process, so that it finds no result in the cache
    "first figure": f"lt.plot_counts({_COUNTS})._repr_png_()",
    "first explorer, over torch's": f"assert lt.explore.effective_number({_COUNTS}).screen.frame.png",
    "first embedding, PCA": _EMBED.format("pca"),
    "first embedding, t-SNE": _EMBED.format("tsne"),
    "first embedding, UMAP": _EMBED.format("umap"),
    "next embedding, UMAP": _EMBED.format("umap"),
}
_NEEDS = {"explorer": ("ipywidgets", "ipywidgets"), "t-SNE": ("openTSNE", "openTSNE"), "UMAP": ("umap", "umap-learn")}


def first(what: str, repeats: int = 3) -> Measurement:
    """How long the first picture of a kind takes in a fresh process, from the import of ltviz on.

    "next ...": in a process after one that left its compiled code. "..., over torch's": torch is imported before.
    """
    for kind, package in _NEEDS.items():
        if kind in what:
            need(what, *package)
    before = "import torch; " if what.endswith("torch's") else ""
    times = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as empty:
            for seed in range(2 if what.startswith("next") else 1):
                work = FIRST[what].format(seed=seed)
                said = child(before + as_code(f"import ltviz as lt; {work}"), LTVIZ_CACHE=empty)
            times.append(float(said.splitlines()[-1]))  # UMAP says before that it compiles
    detail = "500 x 64 features, nothing recorded or cached" if "embedding" in what else "with every import"
    return Measurement(what, min(times), detail=detail)


def memory(steps: int = 10) -> Measurement:
    """Peak memory of a process that trains ResNet-32 on 12,406 images of 32 x 32 and tests on 10,000.

    A few steps: memory does not grow with their number. The evaluation is complete.
    """
    code = f"from tools.benchmark.cpu import peak_of_a_run; print(peak_of_a_run({steps}))"
    detail = f"{sum(CIFAR10_LT):,} + 10,000 images, ResNet-32, batch 128, in all"
    return Measurement("memory of a CIFAR-size run", float(child(code)), detail=detail)


def peak_of_a_run(steps: int) -> float:
    """GB that this process held at most, after so many steps of that training and the evaluation."""

    class Few(RunControl):
        left = steps

        def check(self) -> None:
            self.left -= 1
            if self.left < 0:
                raise Stopped

    trainer = Trainer("ce", synthetic(CIFAR10_LT, 32, test=10_000), recipe="cao2019", device="cpu")
    trainer.run(Few())
    status = Path("/proc/self/status")
    if status.exists():  # Linux: what getrusage tells counts what the process held that started this one
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) * 1024 / 1e9
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e9


def suite(quick: bool = False) -> dict[str, Callable[[], Measurement]]:
    """SpeedClaim -> its measurement, in order; quick: fewer images and repeats, and without the slowest three."""
    images, turns, few, epochs = (2048, 3, 2, 5) if quick else (12_406, 5, 3, 20)
    measures = {
        "augmentation": lambda: augmentation(images, turns),
        "digits epoch, MLP": lambda: digits("mlp", 2 * turns),
        "digits epoch, CNN": lambda: digits("cnn", 2 * turns),
        "digits CNN, outside the network": lambda: outside_digits(4 * turns),
        "16 x 16 epoch, CNN": lambda: cnn16(images, turns),
        "32 x 32 epoch, ResNet-32": lambda: resnet32(images // 12, few),
        "ResNet-32 against plain eager": lambda: eager(images // 12, few),
        "ResNet-32, outside the network": lambda: outside_resnet32(images // 24, turns),
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
    slow = {"first embedding, UMAP", "next embedding, UMAP", "memory of a CIFAR-size run"}
    without = slow if quick else set()
    without |= {"memory of a CIFAR-size run"} if sys.platform == "win32" else set()
    return {what: measure for what, measure in measures.items() if what not in without}
