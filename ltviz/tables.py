"""The papers' tables beside ours: which runs a table is made of, trained one group after the other, and compared.

A table is resumable: every run is kept in its folder when it is done, and is not trained again; tables that share a run
find it in each other's folders. A reduced table (fewer epochs, another network) is another protocol: its runs have
folders of their own, and its numbers never stand among those of the paper's.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import sys
import tarfile
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from . import check
from .datasets import LongTailed, cifar, cifar_lt
from .device import Speed, default_speed, pick_device
from .files import data_folder
from .many import AT_ONCE, side_by_side
from .methods import METHODS
from .metrics import spearman
from .papers import CUI, SLIDES, TABLES, PaperRow, PaperTable
from .published import published
from .run import Run, load_run, load_runs
from .training import Recipe, RunControl, Trainer, interrupts, prepare_folder, save, saved
from .training.recipe import find_recipe

if TYPE_CHECKING:
    import pandas

RUNS = data_folder() / "runs"
REDUCED = "reduced"
JPEG = "a JPEG copy of the images"
# Recorded before a run said so itself: CIFAR-10-LT of seed 0 at ratios 100 and 200, from JPEG files.
FROM_JPEG = ("c230f3840e593ad4", "352f3b6a1a3a6878")


@dataclass(frozen=True)
class Cell:
    """One run of a table."""

    row: PaperRow
    ratio: float
    seed: int

    @property
    def label(self) -> str:
        return f"{self.row.title}, ratio {self.ratio:g}, seed {self.seed}"


def cells(table: PaperTable, seeds: int, ratios: Sequence[float] | None = None) -> list[Cell]:
    """Every run of a table: seed by seed, ratio by ratio, so that whole columns are done first; none where the paper
    prints no number. ValueError for a ratio that the table does not have."""
    for ratio in ratios or ():
        if ratio not in table.ratios:
            raise check.refuse("--ratios", ratio, f"ratios of the table: {', '.join(map(str, table.ratios))}")
    return [
        Cell(row, ratio, seed)
        for seed in range(seeds) for ratio in ratios or table.ratios for row in table.rows
        if not np.isnan(table.printed(row, ratio))
    ]  # fmt: skip


def reduced_recipe(table: PaperTable, epochs: int | None = None, model: str | None = None) -> Recipe:
    """The recipe of a table with fewer epochs or another network, named as such; without either it is the table's."""
    changes = {name: value for name, value in (("epochs", epochs), ("model", model)) if value is not None}
    plain = find_recipe(table.recipe)
    return dataclasses.replace(plain, name=f"{plain.name}-{REDUCED}", **changes) if changes else plain


def folder_of(name: str, recipe: Recipe) -> Path:
    """Where the runs of a table are kept; those of a reduced one apart."""
    return RUNS / (f"{name}-{REDUCED}" if recipe.name.endswith(f"-{REDUCED}") else name)


def recorded_runs(reduced: bool = False) -> list[Run]:
    """The runs of all tables, wherever they lie: tables share rows."""
    folders = [RUNS / (f"{name}-{REDUCED}" if reduced else name) for name in TABLES]
    files = tuple(sorted(file for folder in folders if folder.is_dir() for file in folder.glob("*.safetensors")))
    return list(_loaded(files))


@functools.lru_cache(4)
def _loaded(files: tuple[Path, ...]) -> tuple[Run, ...]:
    return tuple(load_run(file) for file in files)


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
    known: Sequence[Run] = (),
    images: str = "",
) -> Iterator[Run]:
    """Train what is neither in the folder nor among `known`, as many at a time as the device takes; each is saved when
    it is done, and says what the images are, where `images` does.

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
    there = [*load_runs(folder), *known]
    queue = [cell for cell in todo if find_run(table, cell, there, recipe) is None]
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
        missing = {trainer.id: trainer for trainer in trainers if saved(folder, trainer) is None}  # two rows, one run
        start = time.monotonic()
        for run in side_by_side(list(missing.values()), on_run=lambda run: _keep(run, folder, images)):
            say(f"{run.name}, ratio {first.ratio:g}, seed {run.seed}: {100 * (1 - run.accuracy):.2f}% error")
            yield run
        if control.stopped:
            return
        pace = (time.monotonic() - start) / (steps * max(len(missing), 1))
        say(f"{len(missing)} runs of {steps:,} steps side by side: {1e3 * pace:.3f} ms a step and run")
        queue = [cell for cell in queue if cell not in same]


def _keep(run: Run, folder: Path, images: str) -> None:
    if images:
        run.provenance["images"] = images
    save(run, folder, True)


def _data(table: PaperTable, root: str | None, ratio: float, seed: int) -> LongTailed:
    return cifar_lt(table.classes, ratio, validation=table.validation, seed=seed, **({"root": root} if root else {}))


def _images(table: PaperTable, root: str | None) -> str:
    """What to say of the images: that they are a JPEG copy, by the first file; "" for the authors' own files."""
    kind, path = cifar._locate(table.classes, Path(root) if root else None, False)
    if kind == "torchvision":
        return ""
    if kind == "tree":
        names = (file.name for file in path.rglob("*") if file.is_file())
        return JPEG if _is_jpeg(next(names, "")) else ""
    with tarfile.open(path, "r|*") as archive:
        return JPEG if _is_jpeg(next((member.name for member in archive if member.isfile()), "")) else ""


def _is_jpeg(name: str) -> bool:
    return name.lower().endswith((".jpg", ".jpeg", ".jpe", ".jfif"))


def find_run(table: PaperTable, cell: Cell, runs: Sequence[Run], recipe: Recipe) -> Run | None:
    """The run of a cell, finished or diverged, among runs; on whatever device it was trained."""
    method = METHODS[cell.row.key]
    settings = method(**cell.row.settings_at(cell.ratio)).settings
    wanted = {"name": recipe.name, "epochs": recipe.epochs, "model": recipe.model}
    data = {"ratio": cell.ratio, "classes": table.classes, "validation": table.validation}
    for run in runs:
        same = run.method == method.key and run.seed == cell.seed and run.settings == settings
        plan = {name: run.recipe.get(name) for name in wanted}
        if same and {name: run.data.get(name) for name in data} == data and plan == wanted and run.status != "stopped":
            return run
    return None


def frame(table: PaperTable, runs: Sequence[Run], recipe: Recipe | None = None) -> pandas.DataFrame:
    """One row for each method and ratio that the paper prints: its error, ours (mean over seeds), their difference.

    Columns: method, ratio, paper, ours, interval (half the width of the 95% interval of the mean; NaN for one seed),
    seeds, difference (ours minus the paper's), verdict; errors in percent.
    """
    import pandas

    lines = []
    for row in table.rows:
        for ratio in table.ratios:
            paper = table.printed(row, ratio)
            if not np.isnan(paper):
                found = found_runs(table, row, ratio, runs, recipe)
                lines.append(_line(row.title, ratio, paper, [100 * (1 - run.accuracy) for run in found]))
    return pandas.DataFrame(lines)


def found_runs(table: PaperTable, row: PaperRow, ratio: float, runs: Sequence[Run], recipe: Recipe | None = None):
    """The runs of a row at a ratio, by seed."""
    recipe = recipe or find_recipe(table.recipe)
    seeds = sorted({run.seed for run in runs})
    found = [find_run(table, Cell(row, ratio, seed), runs, recipe) for seed in seeds]
    return [run for run in found if run is not None]


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


class Order(NamedTuple):
    """How much of the order of one list survives in another: of `pairs` that differ in the first, `right` differ the
    same way in the second; spearman: correlation of the ranks, NaN for fewer than three."""

    right: int
    pairs: int
    spearman: float


def order(printed: ArrayLike, ours: ArrayLike) -> Order:
    """What is left of a printed order. Both (n,), in the same order of methods. ValueError for lists unlike that."""
    a, b = (np.asarray(one, dtype=float) for one in (printed, ours))
    if a.ndim != 1 or a.shape != b.shape or np.isnan(a).any() or np.isnan(b).any():
        raise check.refuse("ours", ours, f"as many numbers as printed, {a.size}, none of them NaN")
    i, j = np.triu_indices(len(a), 1)
    first, second = np.sign(a[i] - a[j]), np.sign(b[i] - b[j])
    differ = first != 0
    varied = len(a) > 2 and np.ptp(a) > 0 and np.ptp(b) > 0
    return Order(int((first == second)[differ].sum()), int(differ.sum()), spearman(a, b) if varied else float("nan"))


@dataclass(frozen=True)
class Printed:
    """One printed test error in percent: by what source, under which protocol (published.GROUPS), of which method (""
    where we have none)."""

    method: str
    key: str
    group: str
    source: str
    error: float


@functools.lru_cache(64)
def reports(dataset: str, ratio: float) -> tuple[Printed, ...]:
    """Every printed error of a data set whose counts fall exponentially to this ratio."""
    known = published(dataset, ratio, metric="error", profile="exp")
    return tuple(Printed(r.method, r.key, r.group, r.source, float(r.value)) for r in known.itertuples())


def paper_reports(dataset: str, ratio: float, source: str) -> list[Printed]:
    """The rows of a source that are of a method of ours; the slides of the Dual Loss repeat those of Cui et al."""
    quoted = [CUI] if source == SLIDES and dataset == "CIFAR-10-LT" else []
    return [one for one in reports(dataset, ratio) if one.key and one.source in (source, *quoted)]


#: What can stand beside a paper's row.
OURS = {
    "table": "same network and recipe",
    "reduced": "reduced: small network, few epochs",
    "photographs": "the photographs, ten seeds",
}
PHOTOGRAPHS = ("CIFAR-10-LT", 100)  # what the recorded photographs are, at 16 x 16 pixels
#: Settings that a paper states for its rows of class-balanced losses; they are in no table of ours.
STATED = {
    "CB focal": {"loss": "focal", "beta": 0.9999, "gamma": 1.0},
    "CB re-weighting (CE)": {"beta": 0.9999, "reduction": "weight"},
}


def our_errors(dataset: str, ratio: float, found: Sequence[Printed], kind: str) -> dict[str, list[float]]:
    """Printed name -> our errors in percent, one a seed, for the rows that we have.

    kind is one of OURS: runs of the paper's table, of its reduced form, or the recorded photographs with the row's
    settings; these are of PHOTOGRAPHS, and stand beside no other data.
    """
    check.choice("kind", kind, OURS)
    if kind == "photographs" and (dataset, ratio) != PHOTOGRAPHS:
        return {}
    ours = {}
    for one in found:
        row = next((row for row in _rows(dataset) if (row[1].name, row[2]) == (one.method, one.source)), None)
        if kind == "photographs":
            if "best tau" not in one.method:  # no table says which tau that was
                given = row[1].settings_at(ratio) if row else STATED.get(one.method, {})
                settings = METHODS[one.key](**given).settings
                ours[one.method] = _photographs().get((one.key, repr(sorted(settings.items()))), [])
        elif row:
            runs = recorded_runs(kind == REDUCED)
            plans = reduced_recipes(row[0], runs) if kind == REDUCED else [None]
            for plan in plans[-1:]:
                kept = found_runs(row[0], row[1], ratio, runs, plan)
                ours[one.method] = [100 * (1 - run.accuracy) for run in kept if run.status == "finished"]
    return {name: errors for name, errors in ours.items() if errors}


def _rows(dataset: str) -> list[tuple[PaperTable, PaperRow, str]]:
    """The rows of all tables on a data set, with the source that prints each."""
    tables = [table for table in TABLES.values() if table.dataset == dataset]
    return [(table, row, row.source or table.sources[0]) for table in tables for row in table.rows]


@functools.cache
def _photographs() -> dict[tuple[str, str], list[float]]:
    """Errors of the recorded photographs, in percent, by method and settings, one a seed."""
    found: dict[tuple[str, str], list[float]] = {}
    for run in load_runs(RUNS / "cifar16", status="finished"):
        found.setdefault((run.method, repr(sorted(run.settings.items()))), []).append(100 * (1 - run.accuracy))
    return found


def provenance(runs: Sequence[Run]) -> list[str]:
    """What the runs are, a line for each kind: how many, seeds, epochs, network, device, and what the images are."""
    kinds: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        at = str(run.provenance.get("device", "unknown device"))
        low = ", bfloat16" if "bf16" in str(run.provenance.get("speed", "")) else ""
        jpeg = JPEG if run.data.get("fingerprint") in FROM_JPEG else ""
        images = run.provenance.get("images", jpeg) or "the images as published"
        held = run.data.get("validation") or "no"
        plan = f"{run.recipe['model']}, {run.recipe['epochs']} epochs, {held} validation images a class"
        kinds.setdefault((plan, at + low, images), []).append(run)
    return [
        f"{len(some)} run{'s' * (len(some) > 1)} (seeds {', '.join(map(str, sorted({run.seed for run in some})))}): "
        + "; ".join(kind)
        for kind, some in kinds.items()
    ]


def show(name: str, recipe: Recipe, runs: Sequence[Run], ratios: Sequence[float] | None = None) -> str:
    """A table as text: its protocol, its rows, and what our runs are. ratios: these columns alone."""
    table = dataclasses.replace(TABLES[name], ratios=tuple(ratios)) if ratios else TABLES[name]
    plain = recipe.name == table.recipe
    found = [run for row in table.rows for ratio in table.ratios for run in found_runs(table, row, ratio, runs, recipe)]
    lines = frame(table, runs, recipe)
    if not plain:  # beside the paper's numbers it would look like an attempt at them
        lines = lines[lines["seeds"] > 0].drop(columns=["paper", "difference"]).assign(verdict="reduced")
    head = f"{name}: test error in percent, {table.dataset}"
    if not plain:
        what = f"{recipe.model}, {recipe.epochs} epochs"
        head = f"Reduced, another protocol than the paper's: {what}. Compare its rows with each other only."
    rows = lines.to_string(index=False, float_format=lambda x: f"{x:.2f}", na_rep="") if len(lines) else "(no row yet)"
    made = [f"Ours: {line}." for line in provenance(list({run.id: run for run in found}.values()))]
    note = [textwrap.fill(table.note, 110)] if plain else []
    return "\n".join([head, *note, rows, *(textwrap.fill(line, 110) for line in made or ["Ours: not run yet."])])


def reduced_recipes(table: PaperTable, runs: Sequence[Run]) -> list[Recipe]:
    """The reduced recipes of a table that have runs among these."""
    name = f"{table.recipe}-{REDUCED}"
    plans = {(r.recipe["epochs"], r.recipe["model"]) for r in runs
             if r.recipe["name"] == name and r.data.get("classes") == table.classes}  # fmt: skip
    return [reduced_recipe(table, *plan) for plan in sorted(plans)]


def main(argv: Sequence[str]) -> int:
    """The command line: python -m ltviz table dual-cifar10 [--train]."""
    given = _parser().parse_args(argv)
    table = TABLES[given.table]
    try:
        for ratio in given.ratios or ():
            if ratio not in table.ratios:
                raise ValueError(
                    f"--ratios {ratio:g}: {given.table} has {', '.join(f'{one:g}' for one in table.ratios)}"
                )
        if given.folder and not given.train and not given.folder.is_dir():
            raise ValueError(f"--folder {given.folder}: there is no such folder")
        recipe = reduced_recipe(table, given.epochs, given.model)
        plain = recipe.name == table.recipe
        folder = given.folder or folder_of(given.table, recipe)
        known = [] if given.folder else recorded_runs(not plain)
        if given.train:
            _train(given, table, recipe, folder, known)
        runs = [*(load_runs(folder) if folder.is_dir() else []), *known]
    except FileNotFoundError:
        archive = cifar.TORCHVISION[table.classes][1]
        print(
            f"no CIFAR-{table.classes} was found, and --train needs it: put {archive} into data/ or into the folder "
            "that LTVIZ_DATA names, or give --root an image folder or an archive of one; without --train the "
            "paper's numbers are shown",
            file=sys.stderr,
        )
        return 2
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(show(given.table, recipe, runs, given.ratios))
    if plain and not given.folder:
        small = recorded_runs(True)
        for one in reduced_recipes(table, small):
            print("\n" + show(given.table, one, small))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ltviz table", description="A paper's table beside ours.")
    parser.add_argument("table", choices=list(TABLES))
    parser.add_argument("--train", action="store_true", help="train what is missing, run by run")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--ratios", type=float, nargs="+", help="these columns only, in this order")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="train only what fits into that time")
    parser.add_argument("--epochs", type=int, help="other than the paper's: a reduced table, named as such")
    parser.add_argument("--model", help="another network, such as resnet8:8: a reduced table, named as such")
    parser.add_argument("--root", help="CIFAR as an image folder or archive")
    parser.add_argument("--device")
    parser.add_argument("--probe", action="store_true", help="let cuDNN try its convolutions (Speed.probe)")
    parser.add_argument("--folder", type=Path, help="default: data/runs/<table>")
    return parser


def _train(given: argparse.Namespace, table: PaperTable, recipe: Recipe, folder: Path, known: Sequence[Run]) -> None:
    todo = cells(table, check.whole("--seeds", given.seeds, 1), given.ratios)
    at = pick_device(given.device)
    speed = dataclasses.replace(default_speed(at, recipe.model), probe=given.probe)
    asked = {"root": given.root, "recipe": recipe, "device": str(at), "speed": speed, "seconds": given.seconds}
    asked |= {"known": known, "images": _images(table, given.root)}
    with interrupts() as guard:  # Ctrl-C leaves the rest for another time
        for _ in train_cells(table, todo, prepare_folder(folder), **asked, control=guard.control):
            pass
