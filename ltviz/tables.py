"""The papers' tables beside ours: which runs a table is made of, trained one group after the other, and compared.

A table is resumable: every run is kept in its folder when it is done, and is not trained again.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import check
from .datasets import LongTailed, cifar_lt
from .device import Speed, default_speed, pick_device
from .files import data_folder
from .many import AT_ONCE, side_by_side
from .methods import METHODS
from .published import published
from .run import Run, load_runs
from .training import Recipe, RunControl, Trainer, interrupts, prepare_folder, save, saved
from .training.recipe import find_recipe

if TYPE_CHECKING:
    import pandas

RUNS = data_folder() / "runs"


@dataclass(frozen=True)
class PaperRow:
    """A row of a paper's table: its name there, our method, and its settings, which may differ by ratio."""

    name: str
    key: str
    settings: Mapping[str, Any] | Callable[[float], dict[str, Any]] = dataclasses.field(default_factory=dict)

    def settings_at(self, ratio: float) -> dict[str, Any]:
        return self.settings(ratio) if callable(self.settings) else dict(self.settings)


@dataclass(frozen=True)
class PaperTable:
    """A table of test errors: methods by imbalance ratios, on one data set under one recipe."""

    dataset: str
    classes: int
    ratios: tuple[float, ...]
    recipe: str
    rows: tuple[PaperRow, ...]
    sources: tuple[str, ...]


def _best_class_balanced(ratio: float) -> dict[str, Any]:
    """What Cui et al. found best on CIFAR-10 at each ratio (2019, table 2): one choice, by their validation."""
    found = {
        200: {"loss": "softmax"}, 100: {"loss": "focal", "gamma": 1.0}, 50: {"loss": "focal", "gamma": 2.0},
        20: {"loss": "softmax"}, 10: {"loss": "sigmoid"},
    }  # fmt: skip
    return {"beta": 0.9999, **found[int(ratio)]}


CUI_CIFAR10 = (
    PaperRow("CE (softmax)", "ce"),
    PaperRow("BCE (sigmoid)", "sigmoid"),
    *(PaperRow(f"focal, gamma {gamma:g}", "focal", {"gamma": gamma, "form": "sigmoid"}) for gamma in (0.5, 1.0, 2.0)),
    PaperRow("best class-balanced", "class_balanced", _best_class_balanced),
)
TABLES = {
    # The slides of the Dual Loss put their row under those of Cui et al., and state no protocol of their own.
    "dual-cifar10": PaperTable(
        "CIFAR-10-LT", 10, (200, 100, 50, 20, 10), "cui2019", (*CUI_CIFAR10, PaperRow("Dual Loss", "dual")),
        ("Cui et al. 2019, table 2", "Li et al. 2020 (Dual Loss), slides"),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One run of a table."""

    row: PaperRow
    ratio: float
    seed: int

    @property
    def label(self) -> str:
        return f"{self.row.name}, ratio {self.ratio:g}, seed {self.seed}"


def cells(table: PaperTable, seeds: int, ratios: Sequence[float] | None = None) -> list[Cell]:
    """Every run of a table: seed by seed, ratio by ratio, so that whole columns are done first."""
    return [Cell(row, ratio, seed) for seed in range(seeds) for ratio in ratios or table.ratios for row in table.rows]


def train_cells(
    table: PaperTable,
    todo: Sequence[Cell],
    folder: Path,
    *,
    root: str | None = None,
    recipe: Recipe | None = None,
    device: str | None = None,
    speed: Speed | None = None,
    seconds: float = float("inf"),
    say: Callable[[str], None] = print,
    control: RunControl | None = None,
) -> Iterator[Run]:
    """Train what is not in the folder yet, as many at a time as the device takes; each is saved when it is done.

    seconds: as many runs at a time, and as many of them, as fit into that time, by what the group before took; the
    first group is as large as the device takes. What does not fit is left for the next call, and so is everything once
    `control` is stopped.
    """
    control = control or RunControl()
    began, pace = time.monotonic(), None
    at = pick_device(device)
    most = AT_ONCE.get(at.type, 8) if at.type == "cuda" else 1
    recipe = recipe or find_recipe(table.recipe)
    draw = functools.lru_cache(2)(functools.partial(_data, table, root))
    queue = [cell for cell in todo if find_run(table, cell, load_runs(folder), recipe) is None]
    while queue and not control.stopped:
        first, left = queue[0], seconds - (time.monotonic() - began)
        same = [cell for cell in queue if (cell.ratio, cell.seed) == (first.ratio, first.seed)][:most]
        data = draw(first.ratio, first.seed)
        steps = recipe.epochs * -(-len(data) // recipe.batch_size)
        if pace is not None:
            same = same[: max(int(min(left / (1.05 * pace * steps), most)), 0)]
            if not same:
                say(f"{first.label} takes about {pace * steps:.0f} s, {max(left, 0):.0f} s are left: another time")
                return
        trainers = [
            Trainer(cell.row.key, data, seed=cell.seed, recipe=recipe, device=str(at), speed=speed,
                    **cell.row.settings_at(cell.ratio))
            for cell in same
        ]  # fmt: skip
        missing = [trainer for trainer in trainers if saved(folder, trainer) is None]
        start = time.monotonic()
        for run in side_by_side(missing, on_run=lambda run: save(run, folder, True)):
            say(f"{run.name}, ratio {first.ratio:g}, seed {run.seed}: {100 * (1 - run.accuracy):.2f}% error")
            yield run
        if control.stopped:
            return
        pace = (time.monotonic() - start) / (steps * max(len(missing), 1))
        say(f"{len(missing)} runs of {steps:,} steps side by side: {1e3 * pace:.3f} ms a step and run")
        queue = [cell for cell in queue if cell not in same]


def _data(table: PaperTable, root: str | None, ratio: float, seed: int) -> LongTailed:
    return cifar_lt(table.classes, ratio, validation=0, seed=seed, **({"root": root} if root else {}))


def find_run(table: PaperTable, cell: Cell, runs: Sequence[Run], recipe: Recipe) -> Run | None:
    """The run of a cell, finished or diverged, among runs; on whatever device it was trained."""
    method = METHODS[cell.row.key]
    settings = method(**cell.row.settings_at(cell.ratio)).settings
    for run in runs:
        same = run.method == method.key and run.seed == cell.seed and run.settings == settings
        data = run.data.get("ratio") == cell.ratio and run.data.get("classes") == table.classes
        plan = {name: run.recipe.get(name) for name in ("name", "epochs", "model")}
        wanted = {"name": recipe.name, "epochs": recipe.epochs, "model": recipe.model}
        if same and data and plan == wanted and run.status != "stopped":
            return run
    return None


def frame(table: PaperTable, runs: Sequence[Run], recipe: Recipe | None = None) -> pandas.DataFrame:
    """One row for each method and ratio: the paper's error, ours (mean over seeds), their difference, in percent.

    Columns: method, ratio, paper, ours, interval (half the width of the 95% interval of the mean; NaN for one seed),
    seeds, difference (ours minus the paper's), verdict.
    """
    import pandas

    recipe = recipe or find_recipe(table.recipe)
    known = published(table.dataset, source=list(table.sources), metric="error")
    lines = []
    for row in table.rows:
        for ratio in table.ratios:
            paper = known[(known["method"] == row.name) & (known["ratio"] == ratio)]["value"]
            found = [find_run(table, Cell(row, ratio, seed), runs, recipe) for seed in range(100)]
            errors = [100 * (1 - run.accuracy) for run in found if run is not None]
            lines.append(_line(row.name, ratio, float(paper.iloc[0]) if len(paper) else float("nan"), errors))
    return pandas.DataFrame(lines)


def _line(name: str, ratio: float, paper: float, errors: Sequence[float]) -> dict[str, Any]:
    from scipy import stats

    n = len(errors)
    ours = float(np.mean(errors)) if n else float("nan")
    half = float(stats.t.ppf(0.975, n - 1) * stats.sem(errors)) if n > 1 else float("nan")
    if not n:
        verdict = "not run yet"
    elif np.isnan(errors).any():
        verdict = "diverged"
    elif np.isnan(paper):
        verdict = "no number in the paper"
    elif n == 1:
        verdict = "one seed"
    else:
        verdict = "agrees" if abs(ours - paper) <= half else "higher" if ours > paper else "lower"
    return {"method": name, "ratio": ratio, "paper": paper, "ours": ours, "interval": half, "seeds": n,
            "difference": ours - paper, "verdict": verdict}  # fmt: skip


def main(argv: Sequence[str]) -> int:
    """The command line: python -m ltviz table dual-cifar10 [--train]."""
    parser = argparse.ArgumentParser(prog="python -m ltviz table", description="A paper's table beside ours.")
    parser.add_argument("table", choices=list(TABLES))
    parser.add_argument("--train", action="store_true", help="train what is missing, run by run")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--ratios", type=float, nargs="+", help="these columns only, in this order")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="train only what fits into that time")
    parser.add_argument("--epochs", type=int, help="fewer than the paper's: a reduced table, named as such")
    parser.add_argument("--root", help="CIFAR as an image folder or archive")
    parser.add_argument("--device")
    parser.add_argument("--probe", action="store_true", help="let cuDNN try its convolutions (Speed.probe)")
    parser.add_argument("--folder", type=Path, help="default: data/runs/<table>")
    given = parser.parse_args(argv)
    table, folder = TABLES[given.table], given.folder or RUNS / given.table
    recipe = find_recipe(table.recipe)
    try:
        if given.epochs is not None:
            recipe = dataclasses.replace(recipe, name=f"{recipe.name}-{given.epochs}", epochs=given.epochs)
        if given.train:
            todo = cells(table, check.whole("--seeds", given.seeds, 1), given.ratios)
            at = pick_device(given.device)
            speed = dataclasses.replace(default_speed(at, recipe.model), probe=given.probe)
            asked = {"root": given.root, "recipe": recipe, "device": str(at), "speed": speed, "seconds": given.seconds}
            with interrupts() as guard:  # Ctrl-C leaves the rest for another time
                for _ in train_cells(table, todo, prepare_folder(folder), **asked, control=guard.control):
                    pass
        runs = load_runs(folder) if folder.is_dir() else []
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(frame(table, runs, recipe).to_string(index=False, float_format=lambda x: f"{x:.2f}", na_rep=""))
    return 0
