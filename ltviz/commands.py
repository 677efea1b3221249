"""The commands of `python -m ltviz`: train a method, and show a table of runs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import tables
from .check import suggest
from .metrics import comparison_table
from .run import Run, load_runs
from .tables import RUNS
from .training import RECIPES, make_data, prepare_folder, train

if TYPE_CHECKING:
    import pandas


def main_train(argv: Sequence[str]) -> int:
    """The command line of `train`. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m ltviz train", description="Train one method; print its table.")
    parser.add_argument("method")
    parser.add_argument("settings", nargs="*", help="name=value")
    parser.add_argument("--recipe", default="digits", choices=list(RECIPES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--device")
    parser.add_argument("--root", help="CIFAR-10 as an image folder")
    parser.add_argument("--save", type=Path, help="a folder or a file")
    given = parser.parse_intermixed_args(argv)
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
    """The command line of `table`: the recorded methods of a recipe, or a paper's table. Returns the exit status."""
    if any(argument in tables.TABLES for argument in argv):
        return tables.main(argv)
    parser = argparse.ArgumentParser(
        prog="python -m ltviz table",
        description="The recorded methods against ce, or a paper's table beside ours.",
    )
    parser.add_argument("recipes", nargs="*", help=f"default: what is recorded; or one of {', '.join(tables.TABLES)}")
    parser.add_argument("--folder", type=Path, default=RUNS)
    parser.add_argument("--csv", type=Path, help="write it there as well, FILE_<recipe>.csv for FILE.csv")
    given = parser.parse_intermixed_args(argv)
    there = [recipe for recipe in RECIPES if (given.folder / recipe).is_dir()]
    for recipe in given.recipes or there or ["digits"]:
        if recipe not in there:
            print(
                f"nothing is recorded in {given.folder / recipe}{suggest(recipe, [*there, *tables.TABLES])}; "
                "`make record` in a checkout of the repository trains every method",
                file=sys.stderr,
            )
            return 2
        try:
            frame = grid_table(given.folder / recipe)
        except (ValueError, OSError) as error:
            print(error, file=sys.stderr)
            return 2
        print(f"\n{recipe}: test accuracy in percent; difference to ce in percentage points, paired by seed")
        print(frame.to_string(float_format=lambda x: f"{x:.1f}", na_rep=""))
        if given.csv:
            try:
                path = given.csv.with_stem(f"{given.csv.stem}_{recipe}")
                frame.to_csv(path)
            except (ValueError, OSError) as error:
                print(f"--csv {given.csv}: {getattr(error, 'strerror', None) or error}", file=sys.stderr)
                return 2
            print(path)
    return 0


def grid_table(folder: str | Path) -> pandas.DataFrame:
    """The recorded runs of a folder as a table (pandas), accuracies in percent, best difference to ce first."""
    found: dict[str, dict[str | None, list[Run]]] = {}  # losses of the reader's own may share a name
    for run in load_runs(folder, status=["finished", "diverged"]):
        found.setdefault(run.name, {}).setdefault(run.provenance.get("code"), []).append(run)
    by_label = {
        name if number == 1 else f"{name} ({number})": runs
        for name, losses in found.items()
        for number, runs in enumerate(losses.values(), 1)
    }
    if "ce" not in by_label:
        raise ValueError(f"{folder}: there is no recorded run of ce, which the others are compared with")
    frame = comparison_table(by_label, "ce")
    percent = ["all", "head", "mid", "tail", "difference", "half"]
    frame[percent] = frame[percent] * 100
    return frame.sort_values("difference", ascending=False, na_position="first")
