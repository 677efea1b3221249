"""Methods for many attributes on the digits' own: trained seed by seed, the score of every attribute kept.

python -m tools.attributes trains what is missing and keeps data/runs/attributes/digits.csv; what is there already is
not done again. plain.safetensors beside it is the plain network of seed 0. --table prints what is there.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas

from ltviz import check
from ltviz.attributes import BANDS, compare, recorded, train_attributes
from ltviz.attributes.recorded import NETWORK, RECORDED
from ltviz.datasets import digits_attributes
from ltviz.files import write_atomically
from ltviz.run import compact

# As the papers name them (data/published.csv), each with its method's defaults but for what is said here; own
# features: a branch of so many for each attribute.
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "CE": ("ce", {}), "DeepID2": ("contrastive", {}), "LMLE": ("lmle", {}), "MTCT": ("mtct", {}),
    "CRL (class level)": ("crl", {}), "CRL (instance level)": ("crl", {"level": "instance"}),
    "CRL (instance level), strength 0.1": ("crl", {"level": "instance", "strength": 0.1}),
    "Class-balanced": ("class_balanced", {}), "Logit adjustment": ("logit_adjustment", {}),
    "CE, own features": ("ce", {"branch": 64}),
    "CRL (instance level), own features": ("crl", {"level": "instance", "branch": 64}),
}  # fmt: skip
COLUMNS = (
    "row method settings seed attribute imbalance positives balanced accuracy recall_rare status seconds run"
).split()


@dataclass(frozen=True)
class Task:
    """One run: a row of the table, and the seed of data and training."""

    row: str
    seed: int


def record(task: Task) -> list[dict[str, Any]]:
    """Train one run: its lines of the table, one an attribute."""
    key, settings = ROWS[task.row]
    run = train_attributes(
        key, digits_attributes(seed=task.seed), seed=task.seed, device="cpu", progress=False, **settings
    )
    scores, table = run.scores, run.table()
    said = {
        "row": task.row, "method": key, "settings": json.dumps(settings), "seed": task.seed, "status": run.status,
        "seconds": run.provenance["seconds"], "run": run.id,
    }  # fmt: skip
    lines = []
    for j, name in enumerate(run.names):
        numbers = {
            "imbalance": run.imbalance[j], "balanced": scores.balanced[j], "accuracy": scores.accuracy[j],
            "recall_rare": table["recall of the rarest"].iloc[j],
        }  # fmt: skip
        rounded = {key: round(float(value), 5) for key, value in numbers.items()}
        lines.append({**said, "attribute": name, "positives": int(run.counts[j].min()), **rounded})
    return lines


def keep(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write the table; of two runs of one row and seed the later one."""
    table = pandas.DataFrame(rows, columns=COLUMNS).drop_duplicates(["row", "seed", "attribute"], keep="last")
    order = {name: i for i, name in enumerate(ROWS)}
    table = table.sort_values(
        ["row", "seed"], key=lambda one: one.map(lambda name: order.get(name, name)), kind="stable"
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, table.to_csv(index=False).encode())


def keep_network(file: Path = NETWORK) -> None:
    """Train the plain network of seed 0 and keep it with its weights, whose float16 is exact enough to look at it."""
    run = train_attributes("ce", digits_attributes(seed=0), seed=0, device="cpu", progress=False)
    network = {name: compact(value) for name, value in run.network.items()}
    replace(run, features=None, network=network, logits=[compact(one) for one in run.logits]).save(file)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line: train what is missing, run by run. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.attributes", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS), metavar="ROW")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes side by side")
    parser.add_argument("--file", type=Path, default=RECORDED)
    parser.add_argument("--table", action="store_true", help="print what is there, and train nothing")
    given = parser.parse_args(argv)
    try:
        seeds, jobs = check.whole("--seeds", given.seeds, 1), check.whole("--jobs", given.jobs, 1, 64)
    except ValueError as error:
        parser.error(str(error))
    rows = recorded(given.file).to_dict("records") if given.file.is_file() else []
    if not given.table:
        if not NETWORK.is_file():
            keep_network()
        known = {(row["row"], row["seed"]) for row in rows}
        todo = [Task(row, seed) for seed in range(seeds) for row in given.rows if (row, seed) not in known]
        with multiprocessing.get_context("spawn").Pool(jobs) as pool:
            for lines in pool.imap_unordered(record, todo):
                rows.extend(lines)
                keep(given.file, rows)
                mean = sum(line["balanced"] for line in lines) / len(lines)
                print(
                    f"{lines[0]['row']}, seed {lines[0]['seed']}: {mean:.1%}, {lines[0]['seconds']:.0f} s", flush=True
                )
    for band in BANDS:
        print(f"\n{band}\n{compare(recorded(given.file), band).to_string(float_format='{:.3f}'.format)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
