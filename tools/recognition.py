"""The losses of the Dual Loss's table on Omniglot: trained with a long tail, judged on alphabets never trained on.

python -m tools.recognition --root FOLDER trains what is missing, seed by seed, and keeps the numbers of every run in
data/runs/omniglot/recognition.csv; what is there already is not done again. --table prints what is there.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas

from ltviz import check
from ltviz.datasets import LongTailed
from ltviz.files import write_atomically
from ltviz.recognition import RECORDED, compare, recognise, recorded
from ltviz.training import Trainer, make_data

# As the slides name them (data/published.csv), each with its method's defaults but for what is said here.
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "Softmax": ("ce", {}), "L2-constrained": ("l2_constrained", {}), "NormFace": ("normface", {}),
    "CosFace": ("cosface", {}), "ArcFace": ("arcface", {}), "AM-Softmax": ("am_softmax", {}),
    "Range loss": ("range", {}), "CB": ("class_balanced", {}), "Focal": ("focal", {}),
    "CB-Focal": ("class_balanced", {"loss": "focal"}), "Softmax + ring loss": ("ring", {}), "Softmax + UP": ("up", {}),
    "Softmax + dual ring loss": ("dual_ring", {}), "DARL": ("darl", {}), "Dual Loss": ("dual", {}),
}  # fmt: skip
# What a long tail costs: as many drawings in all (6 of each character, 816; with the tail 854), and all of them.
TRAINING: dict[str, dict[str, Any]] = {
    "long-tailed": {}, "balanced": {"ratio": 1, "n_max": 6}, "balanced, all": {"ratio": 1}
}  # fmt: skip
COLUMNS = (
    "row training method settings seed drawings accuracy rank1 rank5 map verification verification_error tar_at_0.01 "
    "tar_at_0.001 status seconds run"
).split()


@dataclass(frozen=True)
class Task:
    """One run: a row of the table, what it is trained on, its seed, and what is known already."""

    row: str
    training: str
    seed: int
    root: str | None
    known: frozenset[str]
    until: float


def tasks(seeds: int, rows: Sequence[str], **where: Any) -> list[Task]:
    """Every run, seed by seed; on balanced training parts the plain network alone."""
    balanced = [("Softmax", name) for name in TRAINING if name != "long-tailed"]
    wanted = [*((row, "long-tailed") for row in rows), *balanced]
    return [Task(row, training, seed, **where) for seed in range(seeds) for row, training in wanted]


def record(task: Task) -> dict[str, Any] | None:
    """Train one run and judge it; None where it is known already, or no time is left."""
    if time.time() > task.until:
        return None
    data = _data(task)
    key, settings = ROWS[task.row]
    trainer = Trainer(key, data, seed=task.seed, recipe="omniglot", device="cpu", **settings)
    if trainer.request.id in task.known:
        return None
    run = trainer.run()
    diverged = run.status == "diverged"
    found = dict.fromkeys(COLUMNS[7:14], float("nan")) if diverged else recognise(run, data.unseen).row()
    said = {
        "row": task.row, "training": task.training, "method": key, "settings": json.dumps(settings), "seed": task.seed,
        "drawings": len(data), "accuracy": run.accuracy, "status": run.status,
        "seconds": round(run.provenance["seconds"], 1), "run": run.id,
    }  # fmt: skip
    return {**said, **{name: round(value, 5) for name, value in found.items()}}


def _data(task: Task) -> LongTailed:
    root = {} if task.root is None else {"root": task.root}
    return make_data("omniglot", task.seed, **TRAINING[task.training], **root)


def keep(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write the table; of two runs of one row, training part and seed the later one."""
    table = pandas.DataFrame(rows, columns=COLUMNS).drop_duplicates(["row", "training", "seed"], keep="last")
    order = {name: i for i, name in enumerate([*ROWS, *TRAINING])}
    table = table.sort_values(["training", "row", "seed"], key=lambda one: one.map(lambda name: order.get(name, name)))
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, table.to_csv(index=False).encode())


def read(file: Path) -> list[dict[str, Any]]:
    """The rows that are there."""
    return recorded(file).to_dict("records") if file.is_file() else []


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line: train what is missing, run by run. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.recognition", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS), metavar="ROW")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--root", help="the folder of Omniglot's archives (else LTVIZ_DATA, or data/)")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes of one thread each")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin nothing after so many")
    parser.add_argument("--file", type=Path, default=RECORDED)
    parser.add_argument("--table", action="store_true", help="print what is there, and train nothing")
    given = parser.parse_args(argv)
    try:
        seeds, jobs = check.whole("--seeds", given.seeds, 1), check.whole("--jobs", given.jobs, 1, 64)
    except ValueError as error:
        parser.error(str(error))
    rows = read(given.file)
    if not given.table:
        known = frozenset(row["run"] for row in rows)
        todo = tasks(seeds, given.rows, root=given.root, known=known, until=time.time() + given.seconds)
        _data(todo[0])  # the drawings are read and cached once
        with multiprocessing.get_context("spawn").Pool(jobs, _one_thread) as pool:
            for row in filter(None, pool.imap_unordered(record, todo)):
                rows.append(row)
                keep(given.file, rows)
                print(f"{row['row']}, {row['training']}, seed {row['seed']}: rank-1 {row['rank1']:.1%}, mAP "
                      f"{row['map']:.1%}, {row['seconds']:.0f} s", flush=True)  # fmt: skip
    for metric in ("rank1", "rank5", "map", "verification"):
        print(f"\n{metric}\n{compare(recorded(given.file), metric).to_string(float_format='{:.3f}'.format)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
