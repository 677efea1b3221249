"""The recorded grid: every method on small recipes, several seeds, kept in data/runs: `make record`.

python -m tools.record [RECIPE...] goes on where it stopped: what is there already is not done again, on whatever device
it was trained. With --device cuda, as many runs as a GPU takes are trained side by side. The table of it is
python -m ltviz table.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltviz import check
from ltviz.device import Speed
from ltviz.files import RunFileError
from ltviz.many import AT_ONCE, side_by_side
from ltviz.methods import METHODS
from ltviz.run import Run, load_run
from ltviz.tables import RUNS
from ltviz.training import RECIPES, Trainer, make_data, prepare_folder

SEEDS = {"digits": 10, "cifar16": 10, "cifar16_published": 10}
# The photos with the classes in their published order stand beside those whose order is drawn by seed, for these only.
ONLY = {"cifar16_published": ("ce", "class_balanced", "logit_adjustment", "ldam_drw")}

# Beside each method's defaults: what the chapters compare.
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "class_balanced": [
        {"beta": 0.9}, {"beta": 0.99}, {"beta": 0.9999}, {"loss": "sigmoid"}, {"loss": "focal"},
        {"loss": "focal", "beta": 0.9999}, {"reduction": "weight"},
    ],
    "inverse_frequency": [{"exponent": 0.5}],
    "focal": [
        {"form": "sigmoid"}, {"form": "sigmoid", "gamma": 1.0}, {"gamma": 0.5}, {"gamma": 1.0}, {"gamma": 5.0},
    ],
    "sigmoid": [{"decay_bias": True}],
    "ring": [{"strength": 0.1}],
    "up": [{"strength": 10.0}, {"strength": 10.0, "reading": "all"}],
    "dual_ring": [{"weight_strength": 0.1}, {"weight_strength": 1.0}, {"weight_strength": 10.0}],
    "darl": [{"class_strength": 0.9, "sample_strength": 0.9}, {"detach": False}],
    "dual": [
        {"weight_strength": 0.1}, {"weight_strength": 1.0}, {"weight_strength": 10.0},
        {"class_strength": 0.9, "sample_strength": 0.9},
        {"weight_strength": 1.0, "class_strength": 0.9, "sample_strength": 0.9},
    ],
    "crl": [
        {"comparison": "absolute"}, {"comparison": "distribution"}, {"level": "instance"},
        {"level": "instance", "comparison": "absolute"}, {"level": "instance", "comparison": "distribution"},
        {"combination": "weighted"},
    ],
    "cdb": [{"tau_rule": "sigmoid"}, {"tau_rule": "fixed"}],
    "tricdb": [{"strength": 0.1}, {"strength": 10.0}],
    "logit_adjustment": [{"tau": 0.5}, {"tau": 1.5}],
    "arcface": [{"margin": 0.2, "scale": 16.0}],
    "normface": [{"scale": 16.0}],
    "label_smoothing": [{"shape": "uniform", "head": 0.1}],
    "mixup": [{"labels": "remix"}],
    "ldam_drw": [{"max_margin": 0.0}],
    "ce_drw": [{"reduction": "n"}],
}  # fmt: skip

# What keeps logits and features of test images (seed 0 only): how many.
OPENED = {("digits", "ce"): 500, ("digits", "class_balanced"): 500, ("cifar16", "ce"): 10_000}
OPENED |= {("cifar16", key): 500 for key in ("class_balanced", "sigmoid", "focal", "ldam_drw", "logit_adjustment")}
# What keeps the logits under every seed: the frontier that post-hoc adjustment of the plain network draws is paired.
LOGITS = {("digits", "ce"): 500, ("cifar16", "ce"): 10_000}
# What also keeps its network and training features, of seed 0: to be applied to other pictures, and for nearest means.
WHOLE = {("cifar16", "ce"), ("digits", "ce")}


@dataclass(frozen=True)
class Task:
    """One run of the grid, and where its data come from and it goes."""

    recipe: str
    key: str
    settings: dict[str, Any]
    seed: int
    root: str | None
    folder: Path
    device: str = "cpu"
    until: float = float("inf")  # time.time(), after which nothing is begun


def tasks(recipe: str, keys: Sequence[str], seeds: int, **where: Any) -> list[Task]:
    """Every run of a grid, seed by seed."""
    return [
        Task(recipe, key, settings, seed, **where)
        for seed in range(seeds)
        for key in keys
        for settings in ({}, *(() if recipe in ONLY else VARIANTS.get(key, ())))
    ]


def groups(todo: Sequence[Task], size: int) -> Iterator[list[Task]]:
    """The tasks in groups of those that share their data, at most `size` in each."""
    for _, same in itertools.groupby(todo, lambda task: (task.recipe, task.seed)):
        same = list(same)
        yield from (same[i : i + size] for i in range(0, len(same), size))


_drawn: dict[tuple, Any] = {}


def record_group(group: Sequence[Task]) -> list[str]:
    """Train these runs side by side and keep each when it is done, but what is there; a line about each."""
    first, lines, trainers = group[0], [], []
    if time.time() > first.until:
        return [f"{task.key}, seed {task.seed}: no time left" for task in group]
    place = (first.recipe, first.seed, first.root)
    if place not in _drawn:
        _drawn.clear()
        _drawn[place] = make_data(first.recipe, first.seed, **({"root": first.root} if first.root else {}))
    speed = None if first.device == "cpu" else Speed(channels_last=True, fused=True, graph=True)  # in float32
    for task in group:
        trainer = Trainer(
            task.key, _drawn[place], seed=task.seed, recipe=task.recipe, device=task.device, speed=speed,
            **task.settings,
        )  # fmt: skip
        found = there(task.folder, trainer)
        if found and complete(found, task):
            lines.append(f"{found.label}, seed {found.seed}: there already, {found.accuracy:.1%}")
        else:
            trainers.append(trainer)

    def keep(run: Run) -> None:
        save(run, first)
        lines.append(f"{run.label}, seed {run.seed}: {run.status}, {run.accuracy:.1%}")

    done = side_by_side(trainers, on_run=keep)
    if len(done) < len(trainers):  # Ctrl-C: half a run must not be found in place of a whole one
        raise KeyboardInterrupt
    return lines


def there(folder: Path, trainer: Trainer) -> Run | None:
    """The run that this trainer would give, trained on whatever device."""
    asked = trainer.request
    for path in folder.glob("*.safetensors"):
        if f"-seed{asked.seed}-" not in path.name or f"-{asked.method.key}" not in path.name:
            continue
        try:
            run = load_run(path)
        except RunFileError:
            continue
        same = _spelled(run.method, run.settings, run.data, run.recipe, run.seed)
        wanted = _spelled(asked.method.key, asked.settings, asked.data_record, asked.recipe_record, asked.seed)
        if same == wanted and run.status != "stopped":
            return run
    return None


def _spelled(*parts: Any) -> str:
    return json.dumps(parts, sort_keys=True)  # a tuple and the list that a file holds in its place are one


def images_of(run: Run, task: Task) -> int:
    """Of how many test images the record of a run keeps the logits. Variants keep none."""
    kind = (task.recipe, run.method)
    return 0 if run.label != run.method else (OPENED if run.seed == 0 else LOGITS).get(kind, 0)


def is_whole(run: Run, task: Task) -> bool:
    """Whether the record of a run keeps its network."""
    return run.seed == 0 and run.label == run.method and (task.recipe, run.method) in WHOLE


def complete(run: Run, task: Task) -> bool:
    """Whether a record keeps all that is to be kept of its run."""
    logits = run.logits is not None or not images_of(run, task)
    return logits and (run.network is not None or not is_whole(run, task))


def save(run: Run, task: Task) -> None:
    """Keep a run in the grid's folder, in place of an older one of its name."""
    small, images = not is_whole(run, task), images_of(run, task)
    run = run if run.seed == 0 else dataclasses.replace(run, features=None)
    path = run.save(task.folder, small=small, images=images)
    for old in task.folder.glob("*.safetensors"):  # of another request under this name, once the new one is there
        if old != path and old.name.rpartition("-")[0] == path.name.rpartition("-")[0]:
            old.unlink()


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = False  # what is recorded on a GPU differs from a CPU's in rounding only


def main(argv: Sequence[str] | None = None) -> int:
    """The command line: train what is missing, run by run. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.record", description="Train every method on the small recipes, and keep the runs."
    )
    parser.add_argument("recipes", nargs="*", default=list(SEEDS), help=f"default: {' '.join(SEEDS)}")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), help="keys; default: all")
    parser.add_argument("--seeds", type=int, help=f"default: {SEEDS}")
    parser.add_argument("--root", help="CIFAR-10 as an image folder (else LTVIZ_DATA, data/, or torchvision's files)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes of one thread each")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin nothing after so many")
    parser.add_argument("--folder", type=Path, default=RUNS)
    given = parser.parse_args(argv)
    try:
        keys = [METHODS[key].key for key in given.methods]
        seeds = None if given.seeds is None else check.whole("--seeds", given.seeds, 1)
        jobs = check.whole("--jobs", given.jobs, 1, 64)
    except (KeyError, ValueError) as error:
        parser.error(str(error))
    until = time.time() + given.seconds
    for recipe in given.recipes:
        if recipe not in RECIPES or RECIPES[recipe].data is None:
            parser.error(f"unknown recipe {recipe!r}; choose from {', '.join(RECIPES)}")
        folder = given.folder / recipe
        try:
            prepare_folder(folder)
        except ValueError as error:
            parser.error(str(error))
        todo = tasks(
            recipe, [key for key in keys if key in ONLY.get(recipe, keys)], seeds or SEEDS.get(recipe, 3),
            root=given.root, folder=folder, device=given.device, until=until,
        )  # fmt: skip
        record_all(recipe, todo, jobs)
    return 0


def record_all(recipe: str, todo: Sequence[Task], jobs: int) -> None:
    """Train them in processes of their own, and say what is done."""
    if todo:
        make_data(recipe, **({"root": todo[0].root} if todo[0].root else {}))  # files are read and cached once
    size = AT_ONCE["cuda"] if todo and todo[0].device == "cuda" else 1
    began, done = time.monotonic(), 0
    with multiprocessing.get_context("spawn").Pool(jobs, _one_thread) as pool:
        for lines in pool.imap_unordered(record_group, groups(todo, size)):
            for line in lines:
                done += 1
                print(f"{recipe} {done}/{len(todo)} ({time.monotonic() - began:.0f} s): {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
