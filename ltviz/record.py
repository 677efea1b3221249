"""The recorded grid: every method on small recipes, several seeds, kept in data/runs and shown as a table."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import check
from .methods import METHODS
from .training import RECIPES, prepare_folder

RUNS = Path(__file__).resolve().parent.parent / "data" / "runs"

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
    from .training import Trainer, make_data, saved

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


def main_record(argv: Sequence[str]) -> int:
    """The command line of `record`."""
    parser = argparse.ArgumentParser(prog="python -m ltviz record", description=COMMAND_RECORD)
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


COMMAND_RECORD = "Train every method on the small recipes, and keep the runs; what is there already is not done again."


def main_train(argv: Sequence[str]) -> int:
    """The command line of `train`."""
    from .training import make_data, train

    parser = argparse.ArgumentParser(prog="python -m ltviz train", description="Train one method; print its table.")
    parser.add_argument("method")
    parser.add_argument("settings", nargs="*", help="name=value")
    parser.add_argument("--recipe", default="digits", choices=list(RECIPES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--device")
    parser.add_argument("--root", help="CIFAR-10 as an image folder")
    parser.add_argument("--save", type=Path, help="a folder or a file")
    given = parser.parse_args(argv)
    try:
        settings = _settings(given)
        if given.save:  # a full disk is noticed before training
            prepare_folder(given.save.parent if given.save.suffix == ".safetensors" else given.save)
        data = make_data(given.recipe, given.seed, **({"root": given.root} if given.root else {}))
        run = train(given.method, data, recipe=given.recipe, seed=given.seed, epochs=given.epochs, device=given.device,
                    **settings)  # fmt: skip
    except (ValueError, KeyError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(run.table().round(3).to_string())
    print(f"{run!r}; recipe {given.recipe} on {data!r}")
    if given.save:
        try:
            print(run.save(given.save))
        except (ValueError, OSError) as error:
            print(f"--save {given.save}: {error}", file=sys.stderr)
            return 2
    return 0


def _settings(given: argparse.Namespace) -> dict[str, Any]:
    """The settings given as name=value; epochs=1 is taken for --epochs 1. ValueError for what is no name=value."""
    settings = {}
    for text in given.settings:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise ValueError(f"{text!r}: expected name=value, such as beta=0.99")
        try:
            found = json.loads(value)
        except json.JSONDecodeError:
            found = {"True": True, "False": False, "None": None}.get(value, value)
        if name in ("epochs", "seed", "device", "recipe", "root"):
            setattr(given, name, found)
        elif name in ("method", "data", "start", "checkpoint", "speed", "progress"):
            raise ValueError(f"{text!r}: {name} is not given here as a setting; see --help")
        else:
            settings[name] = found
    return settings


def main_table(argv: Sequence[str]) -> int:
    """The command line of `table`."""
    parser = argparse.ArgumentParser(prog="python -m ltviz table", description="The recorded methods against ce.")
    parser.add_argument("recipes", nargs="*", default=list(SEEDS))
    parser.add_argument("--folder", type=Path, default=RUNS)
    parser.add_argument("--csv", type=Path, help="write it there as well")
    given = parser.parse_args(argv)
    for recipe in given.recipes:
        if not (given.folder / recipe).is_dir():
            print(f"nothing is recorded in {given.folder / recipe}: python -m ltviz record {recipe}", file=sys.stderr)
            return 2
        try:
            frame = grid_table(given.folder / recipe)
        except (ValueError, OSError) as error:
            print(error, file=sys.stderr)
            return 2
        print(f"\n{recipe}: test accuracy in percent; difference to ce in percentage points, paired by seed")
        print(frame.to_string(float_format=lambda x: f"{x:.1f}", na_rep=""))
        if given.csv:
            path = given.csv.with_stem(f"{given.csv.stem}_{recipe}")
            try:
                frame.to_csv(path)
            except OSError as error:
                print(f"--csv {path}: {error.strerror or error}", file=sys.stderr)
                return 2
    return 0


def grid_table(folder: str | Path):
    """The recorded runs of a folder as a table (pandas), accuracies in percent, best difference to ce first."""
    from .metrics import comparison_table
    from .run import load_runs

    by_label: dict[str, list] = {}
    for run in load_runs(folder, status=["finished", "diverged"]):
        by_label.setdefault(run.name, []).append(run)
    if "ce" not in by_label:
        raise ValueError(f"{folder}: there is no recorded run of ce, which the others are compared with")
    frame = comparison_table(by_label, "ce")
    percent = ["all", "head", "mid", "tail", "difference", "se"]
    frame[percent] = frame[percent] * 100
    return frame.sort_values("difference", ascending=False, na_position="first")
