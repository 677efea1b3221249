"""The commands of `python -m ltviz`: train a method, tune one, and show a table of runs."""

from __future__ import annotations

import argparse
import json
import math
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import tables
from .check import suggest
from .metrics import comparison_table
from .run import Run, load_runs
from .tables import RUNS
from .training import RECIPES, make_data, prepare_folder, train
from .training.distributed import is_first

if TYPE_CHECKING:
    import pandas

    from .tuning import Tuning


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
    if not is_first():  # torchrun has started several processes for one run
        return 0
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
        found = _plain(value)
        if name in ("epochs", "seed", "device", "recipe", "root"):
            setattr(given, name, found)
        elif name in ("method", "data", "start", "checkpoint", "speed", "progress"):
            raise ValueError(f"{text!r}: {name} is not given here as a setting; see --help")
        else:
            settings[name] = found
    return settings


def main_tune(argv: Sequence[str]) -> int:
    """The command line of `tune`, a worker: the same command elsewhere shares the work. Returns the exit status."""
    from .tuning import StorageLost, standing, tune  # Optuna is imported only now

    parser = argparse.ArgumentParser(
        prog="python -m ltviz tune",
        description="Look for the settings that do best on the validation images. The same command, at the same time "
        "or later, on this machine or another, works on the same trials: give --storage that all of them reach.",
    )
    parser.add_argument("method", help="or several, joined by commas: the best method is looked for as well")
    parser.add_argument("settings", nargs="*", help="name=value: what stays as it is")
    parser.add_argument("--data", "--recipe", dest="recipe", default="digits", choices=list(RECIPES))
    wanted = "what is tuned; may be given several times; default: every setting of the method"
    parser.add_argument("--tune", action="append", metavar="NAME[=LOW:HIGH | =A,B,...]", help=wanted)
    parser.add_argument("--trials", type=int, default=20, help="in all, those of other workers included")
    parser.add_argument("--storage", help="an SQLite file (.db), a journal (.journal), or postgresql://user@host/name")
    parser.add_argument("--objective", default="rare", help="rare, middle, frequent, balanced or all")
    parser.add_argument("--seeds", type=int, default=2, help="networks a trial")
    parser.add_argument("--sampler", help="tpe, random or gp")
    parser.add_argument("--pruner", help="median, hyperband or none")
    parser.add_argument("--name", help="of the study; default: made from what is asked")
    parser.add_argument("--seed", type=int, default=0, help="of the data and the sampler")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--device")
    parser.add_argument("--root", help="CIFAR-10 as an image folder")
    given = parser.parse_intermixed_args(argv)
    try:
        fixed = _settings(given)
        data = make_data(given.recipe, given.seed, **({"root": given.root} if given.root else {}))
        methods = given.method.split(",")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="the objective")  # said below, with the best setting
            tuning = tune(
                methods if len(methods) > 1 else given.method, data, settings=_ranges(given.tune), trials=given.trials,
                storage=given.storage, sampler=given.sampler, pruner=given.pruner, objective=given.objective,
                seeds=given.seeds, name=given.name, seed=given.seed, recipe=given.recipe, epochs=given.epochs,
                device=given.device, callback=lambda now: print(standing(now, given.trials), flush=True), **fixed,
            )  # fmt: skip
        table = tuning.table()
        print(table.head(10).to_string(na_rep=""))
        print(tuning)
        if (table["ended"] == "finished").any():
            print(f"to train it: {_train_line(tuning)}")
    except (ValueError, KeyError, OSError, StorageLost) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _train_line(tuning: Tuning) -> str:
    """The command that trains the best setting."""
    plan, key = tuning.plan, tuning.method
    values = {**plan.space.bound[key].differing, **plan.arguments, **tuning.settings}
    typed = {name: value if isinstance(value, str) else json.dumps(value)
             for name, value in values.items() if value is not None}  # fmt: skip
    return " ".join(["python -m ltviz train", key, *(f"{name}={value}" for name, value in typed.items())])


def _ranges(asked: Sequence[str] | None) -> dict[str, Any] | None:
    """What --tune asks for, as `tune` takes it: beta, beta=0.9:0.999 or loss=softmax,sigmoid."""
    found: dict[str, Any] = {}
    for text in asked or ():
        name, equals, value = text.partition("=")
        if name in found:
            raise ValueError(f"--tune {text}: {name!r} is given twice")
        if not equals:
            found[name] = None
        elif ":" in value:
            found[name] = tuple(_plain(one) for one in value.split(":"))
        else:
            found[name] = [_plain(one) for one in value.split(",")]
    return found or None


def _plain(text: str) -> Any:
    """A number, a truth value or a text, as it is typed."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return {"True": True, "False": False, "None": None}.get(text, text)


def main_table(argv: Sequence[str]) -> int:
    """The command line of `table`: the recorded methods of a recipe, or a paper's table. Returns the exit status."""
    if any(argument in tables.TABLES for argument in argv):
        return tables.main(argv)
    parser = argparse.ArgumentParser(
        prog="python -m ltviz table",
        description="The recorded methods against ce, or a paper's table beside ours, which has options of its own: "
        f"python -m ltviz table {next(iter(tables.TABLES))} --help.",
    )
    parser.add_argument("recipes", nargs="*", help=f"default: what is recorded; or one of {', '.join(tables.TABLES)}")
    parser.add_argument("--folder", type=Path, default=RUNS)
    parser.add_argument("--csv", type=Path, help="write it there as well, FILE_<recipe>.csv for FILE.csv")
    given = parser.parse_intermixed_args(argv)
    there = [recipe for recipe in RECIPES if any((given.folder / recipe).glob("*-seed*.safetensors"))]
    for recipe in given.recipes or there or ["digits"]:
        if recipe not in there:
            other = (given.folder / recipe / "recognition.csv").exists()
            how = "what it has is about classes never trained on: see chapter 11" if other else (
                "`make record` in a checkout of the repository trains every method"
            )  # fmt: skip
            near = "" if other else suggest(recipe, [*there, *tables.TABLES])
            print(f"no run is recorded in {given.folder / recipe}{near}; {how}", file=sys.stderr)
            return 2
        try:
            frame = grid_table(given.folder / recipe)
        except (ValueError, OSError) as error:
            print(error, file=sys.stderr)
            return 2
        print(f"\n{recipe}: test accuracy in percent; difference to ce in percentage points, paired by seed")
        print(frame.to_string(float_format=lambda x: f"{x:.1f}", formatters={"p": _p}, na_rep=""))
        if given.csv:
            try:
                path = given.csv.with_stem(f"{given.csv.stem}_{recipe}")
                frame.to_csv(path)
            except (ValueError, OSError) as error:
                print(f"--csv {given.csv}: {getattr(error, 'strerror', None) or error}", file=sys.stderr)
                return 2
            print(path)
    return 0


def _p(p: float) -> str:
    """A p-value with as many digits as its verdict is made of."""
    return "" if math.isnan(p) else "< .001" if p < 0.001 else f"{p:.3f}".lstrip("0")


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
