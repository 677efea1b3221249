"""One run, or a grid of them: `train` and `sweep`."""

from __future__ import annotations

import functools
import glob
import itertools
import warnings
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from .. import check
from ..datasets import LongTailed
from ..device import Speed
from ..files import RunFileError, check_writable
from ..run import Run, load_run
from .control import Interrupts, interrupts
from .loop import Trainer
from .own_network import as_network
from .progress import Progress
from .recipe import Recipe
from .request import make_request

APART = ("checkpoint", "callbacks")  # what a run is not named by


def train(
    method: Any,
    data: LongTailed,
    *,
    epochs: int | None = None,
    seed: int = 0,
    model: Any = None,
    weights: Any = None,
    recipe: str | Recipe | None = None,
    augment: Any = None,
    start: Run | None = None,
    device: str | None = None,
    checkpoint: str | Path | None = None,
    callbacks: Any = None,
    speed: Speed | None = None,
    progress: bool = True,
    **settings: Any,
) -> Run:
    """Train a network on long-tailed data with a method, and return the Run.

    method      a key of METHODS, with **settings of its own; METHODS[key](...), with its settings; or a loss of your
                own: a function (logits, targets) or (out, targets) that gives one loss a sample or a scalar, a module,
                or a class of Objective (own.as_method)
    data        from digits_lt, cifar_lt, folder_lt, table_lt
    model       a name of models.MODELS, "torchvision:<name>", or a network of your own: a torch module, of which each
                run trains a copy, or a function or class that makes one, of no argument or of the number of classes.
                It takes normalised images (n, c, h, w), or rows (n, d), and gives logits. Its classifier makes place
                for the head of the method; a linear one of as many classes keeps its weights, in the order of
                data.class_names
    weights     for the network before training: a file (.pt, .pth, .safetensors), a state dict, or the name of weights
                of torchvision that torch's cache has, such as "ResNet18_Weights.IMAGENET1K_V1"
    recipe      a name of RECIPES or a Recipe (default: the one meant for the data). Each of its fields can be given as
                a keyword too, epochs=3, lr=0.05, batch_size=32, optimizer="adamw", ...; a setting of the method wins
                over a field of its name
    augment     None: the padding and mirroring of the data; or a function of one training image, uint8 (c, h, w), that
                gives another one of that size, such as a transform of torchvision.transforms.v2. Its random numbers
                follow from the seed
    seed        fixes initialisation, order, crops and masks; the data have a seed of their own
    start       a run whose network is continued; it becomes the parent. The classes are matched by name
    device      "cuda", "mps" or "cpu"; None takes the best there is
    checkpoint  a file: written at least every ten seconds, continued from if it is there
    callbacks   a function, or several, called after each epoch with its number (from 0), its row of the history, and
                the network in eval mode, images -> logits. They see copies, so that the run stays what it is; one that
                returns True ends training, as Ctrl-C does
    speed       how a step is computed (device.Speed); None takes what is fastest for the device, but for a loss, a
                network or a transform of your own no CUDA graph: that would repeat its kernels, and not its Python
    Ctrl-C (or the kernel's stop button) ends training and returns what was learned, with status "stopped".
    Raises ValueError, naming the argument, for what makes no sense.
    """
    check.flag("progress", progress)
    trainer = Trainer(
        method, data, epochs=epochs, seed=seed, model=model, weights=weights, recipe=recipe, augment=augment,
        start=start, device=device, checkpoint=checkpoint, callbacks=callbacks, speed=speed, **settings,
    )  # fmt: skip
    with interrupts() as guard:
        return _run(trainer, guard, progress)


def _run(trainer: Trainer, guard: Interrupts, progress: bool) -> Run:
    with Progress(trainer) if progress else nullcontext() as bar:
        run = trainer.run(guard.control, bar.update if bar else None)
        if bar:
            bar.runs = [run]
    return run


def sweep(
    method: Any,
    data: LongTailed,
    *,
    seeds: int | list[int] = 3,
    folder: str | Path | None = None,
    small: bool = True,
    progress: bool = True,
    **settings: Any,
) -> list[Run]:
    """Train a method, or several, under every combination of the settings given as lists, and under several seeds.

    A seed draws the data anew (`data.with_seed`) and seeds the run, so that methods compare paired by seed.
    seeds: how many (0, 1, ...) or which. With a folder, each run is saved there when it is done (small=True: without
    features and network) and found again the next time. Other keywords are those of `train`; callbacks go to each run,
    and end that run alone. What is asked for twice,
    under whatever names, is trained and returned once. Ctrl-C ends the sweep and returns the runs that are done; after
    an error they are in the error's `runs`.
    """
    check.flag("progress", progress)
    check.flag("small", small)
    asked = list(requests(method, data, seeds, settings))
    folder = prepare_folder(folder)
    runs: list[Run] = []
    draw = functools.lru_cache(1)(data.with_seed)
    with interrupts() as guard:
        try:
            for key, seed, chosen in asked:
                with guard.expose():
                    drawn = draw(seed)
                if guard.control.stopped:
                    break
                trainer = Trainer(key, drawn, seed=seed, **chosen)
                found = saved(folder, trainer, small)
                run = found or _run(trainer, guard, progress)
                if run.status == "stopped" and not trainer.ended:
                    break
                runs.append(run)
                if not found:
                    save(run, folder, small)
        except KeyboardInterrupt:
            pass  # while data were loading; said below
        except Exception as error:
            attach(error, runs, folder)
            raise
        if len(runs) < len(asked):
            say_stopped(len(runs), "sweep", folder)
    return sorted(runs, key=lambda run: (run.label, run.seed))


def requests(
    method: Any, data: LongTailed, seeds: int | list[int], settings: Mapping[str, Any]
) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Every run of a sweep as (method, seed, settings): under each seed, each combination of the lists, once.

    What is the same run in several spellings (an alias, 1 and 1.0, a default written out) is asked for once, by the
    first. Raises ValueError for what `train` would refuse.
    """
    check.instance("data", data, LongTailed, "a data set from lt.digits_lt, lt.cifar_lt, lt.folder_lt or lt.table_lt")
    if "loader" not in data.spec:
        raise ValueError("data: a sweep draws the data anew for each seed, and these were made by hand; use lt.train")
    if settings.get("checkpoint") is not None:
        raise ValueError("checkpoint= is for one run; give folder= to go on with several where they were stopped")
    if "seed" in settings:
        raise ValueError("seed= is for one run; a sweep takes seeds=, how many or which")
    methods = list(method) if isinstance(method, (list, tuple)) else [method]
    whole = ("callbacks",)  # a list of them is one value
    lists = {name: value if isinstance(value, list) and name not in whole else [value]
             for name, value in settings.items()}  # fmt: skip
    if "model" in lists:
        lists["model"] = [as_network(model) for model in lists["model"]]
    empty = [name for name, values in {"method": methods, **lists}.items() if not values]
    if empty:
        raise ValueError(f"{empty[0]}=[]: expected at least one value")
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for key in methods:
        for values in itertools.product(*lists.values()):
            chosen = dict(zip(lists, values, strict=True))
            asked = make_request(key, data, **{name: value for name, value in chosen.items() if name not in APART})
            found.setdefault(asked.id, (key, chosen))
    for seed in check.seeds(seeds):
        for key, chosen in found.values():
            yield key, seed, dict(chosen)


def prepare_folder(folder: str | Path | None) -> Path | None:
    """The folder that runs are kept in, once it is known to take a file. Raises ValueError if it does not."""
    if folder is None:
        return None
    path = check.path("folder", folder)
    try:
        check_writable(path)
    except OSError as error:
        raise RunFileError(
            f"folder={str(path)!r}: no run can be kept there ({error.strerror or error}); free some space, or choose "
            "another folder"
        ) from None
    return path


def save(run: Run, folder: Path | None, small: bool) -> None:
    """Keep a run in a folder; where that fails, warn: the caller has the run all the same."""
    if folder is None:
        return
    try:
        run.save(folder, small=small)
    except (OSError, ValueError, TypeError) as error:
        reason = getattr(error, "strerror", None) or error
        warnings.warn(
            f"{run.name}, seed {run.seed}, could not be saved in {folder} ({reason}); it is returned",
            RuntimeWarning,
            stacklevel=3,
        )


def attach(error: Exception, runs: list[Run], folder: Path | None) -> None:
    """Hand over what was done before an error, with the error."""
    error.runs = runs
    if runs:
        where = f" and in {folder}" if folder else ""
        error.add_note(f"{len(runs)} runs were done before: they are in this error's `runs`{where}.")


def say_stopped(done: int, what: str, folder: str | Path | None) -> None:
    """Warn that several runs were stopped, and say how to go on."""
    rest = f"call {what} again with the same folder to go on" if folder else "give a folder to keep them"
    warnings.warn(f"the {what} was stopped; {done} runs are done: {rest}", stacklevel=3)


def saved(folder: str | Path | None, trainer: Trainer, small: bool = True) -> Run | None:
    """The run that a trainer would give, if it is in the folder; with small=False only with its network.

    A file that is damaged is named, and counts as missing.
    """
    for path in sorted(Path(folder).glob(f"*-{glob.escape(trainer.id)}.safetensors")) if folder else []:
        try:
            run = load_run(path)
        except RunFileError as error:
            warnings.warn(f"{error} It is trained again.", RuntimeWarning, stacklevel=3)
            continue
        if run.id == trainer.id and run.status != "stopped" and (small or run.network is not None):
            return run
    return None
