"""The recorded grid: every method on small recipes, several seeds, kept in data/runs: `make record`.

python -m tools.record [RECIPE...] goes on where it stopped: what is there already is not done again. The table of it is
python -m ltviz table.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ltviz import check
from ltviz.methods import METHODS
from ltviz.tables import RUNS
from ltviz.training import RECIPES, Trainer, make_data, prepare_folder, saved

SEEDS = {"digits": 10, "cifar16": 3}

# Beside each method's defaults: what the chapters compare.
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "class_balanced": [
        {"beta": 0.9}, {"beta": 0.99}, {"beta": 0.9999}, {"loss": "sigmoid"}, {"loss": "focal"},
        {"loss": "focal", "beta": 0.9999}, {"reduction": "weight"},
    ],
    "inverse_frequency": [{"exponent": 0.5}],
    "focal": [{"form": "sigmoid"}, {"form": "sigmoid", "gamma": 1.0}],
    "sigmoid": [{"decay_bias": True}],
}  # fmt: skip

# What keeps logits and features of test images (seed 0 only): how many.
OPENED = {("digits", "ce"): 500, ("digits", "class_balanced"): 500, ("cifar16", "ce"): 10_000}
OPENED |= {("cifar16", key): 1000 for key in ("class_balanced", "sigmoid", "focal", "ldam_drw", "logit_adjustment")}

Task = tuple[str, str, dict[str, Any], int, str | None, str]


def tasks(recipe: str, keys: Sequence[str], seeds: int, root: str | None, folder: Path) -> list[Task]:
    """(recipe, key, settings, seed, root, folder) for each run of the grid, seed by seed."""
    return [
        (recipe, key, settings, seed, root, str(folder))
        for seed in range(seeds)
        for key in keys
        for settings in ({}, *VARIANTS.get(key, ()))
    ]


_drawn: dict[tuple, Any] = {}


def record_one(task: Task) -> str:
    """Train one run and keep it, unless it is there; a line that says what happened."""
    recipe, key, settings, seed, root, folder = task
    place = (recipe, seed, root)
    if place not in _drawn:
        _drawn.clear()
        _drawn[place] = make_data(recipe, seed, **({"root": root} if root else {}))
    trainer = Trainer(key, _drawn[place], seed=seed, recipe=recipe, device="cpu", **settings)
    label = trainer.request.label
    found = saved(folder, trainer)
    if found:
        return f"{label}, seed {seed}: there already, {found.accuracy:.1%}"
    run = trainer.run()
    if run.status == "stopped":  # Ctrl-C: half a run must not be found in place of a whole one
        raise KeyboardInterrupt
    path = run.save(folder, small=True, images=OPENED.get((recipe, key), 0) if seed == 0 else 0)
    for old in Path(folder).glob("*.safetensors"):  # of another request under this name, once the new one is there
        if old != path and old.name.rpartition("-")[0] == path.name.rpartition("-")[0]:
            old.unlink()
    return f"{label}, seed {seed}: {run.status}, {run.accuracy:.1%} in {trainer.seconds:.1f} s"


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line: train what is missing, run by run. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.record", description="Train every method on the small recipes, and keep the runs."
    )
    parser.add_argument("recipes", nargs="*", default=list(SEEDS), help=f"default: {' '.join(SEEDS)}")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), help="keys; default: all")
    parser.add_argument("--seeds", type=int, help=f"default: {SEEDS}")
    parser.add_argument("--root", help="CIFAR-10 as an image folder (else LTVIZ_DATA, data/, or torchvision's files)")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes of one thread each")
    parser.add_argument("--folder", type=Path, default=RUNS)
    given = parser.parse_args(argv)
    try:
        keys = [METHODS[key].key for key in given.methods]
        seeds = None if given.seeds is None else check.whole("--seeds", given.seeds, 1)
        jobs = check.whole("--jobs", given.jobs, 1, 64)
    except (KeyError, ValueError) as error:
        parser.error(str(error))
    for recipe in given.recipes:
        if recipe not in RECIPES or RECIPES[recipe].data is None:
            parser.error(f"unknown recipe {recipe!r}; choose from {', '.join(RECIPES)}")
        todo = tasks(recipe, keys, seeds or SEEDS.get(recipe, 3), given.root, given.folder / recipe)
        try:
            prepare_folder(given.folder / recipe)
        except ValueError as error:
            parser.error(str(error))
        began = time.monotonic()
        with multiprocessing.get_context("spawn").Pool(jobs, _one_thread) as pool:
            for i, line in enumerate(pool.imap_unordered(record_one, todo), 1):
                print(f"{recipe} {i}/{len(todo)} ({time.monotonic() - began:.0f} s): {line}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
