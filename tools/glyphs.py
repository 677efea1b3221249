"""Losses on printed characters: trained with a long tail, judged on scripts never trained on.

python -m tools.glyphs trains what is missing. In data/runs/glyphs it keeps the numbers of every run, by the cosine in
recognition.csv and by the L2 distance in euclidean.csv, in the columns of tools.recognition, and the features of some
unseen drawings under seed 0 in gallery.safetensors, which `lt.explore.gallery()` shows.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from ltviz.datasets.glyphs import RECORDED, keep_features
from ltviz.recognition import recognise, recorded
from ltviz.training import Trainer, make_data

from .recognition import ROWS, keep

TABLES = {"cosine": RECORDED.with_name("recognition.csv"), "euclidean": RECORDED.with_name("euclidean.csv")}
SHOWN = ("Softmax", "Softmax + ring loss", "Dual Loss", "NormFace", "CosFace", "ArcFace")
TRAINING: dict[str, dict[str, Any]] = {
    "long-tailed": {}, "balanced": {"ratio": 1, "n_max": 5}, "balanced, all": {"ratio": 1}, "150 epochs": {}
}  # fmt: skip
IDENTITIES, DRAWINGS = 40, 8  # in the gallery that is kept


def record(task: tuple[str, str, int]) -> tuple[dict[str, dict[str, Any]], np.ndarray | None]:
    """Train one row under one seed: its line of each table, and its features of the kept drawings under seed 0."""
    row, training, seed = task
    key, settings = ROWS[row]
    data = make_data("glyphs", seed, **TRAINING[training])
    epochs = 150 if training == "150 epochs" else None
    run = Trainer(key, data, seed=seed, recipe="glyphs", epochs=epochs, device="cpu", **settings).run()
    said = {
        "row": row, "training": training, "method": key, "settings": json.dumps(settings), "seed": seed,
        "drawings": len(data), "accuracy": round(run.accuracy, 5), "status": run.status,
        "seconds": round(run.provenance["seconds"], 1), "run": run.id,
    }  # fmt: skip
    lines = {}
    for distance in TABLES:
        found = recognise(run, data.unseen, distance=distance).row()
        lines[distance] = said | {name: round(value, 5) for name, value in found.items()}
    kept = seed == 0 and training == "long-tailed"
    return lines, run.predict(data.unseen.images[shown(data.unseen)]).features if kept else None


def shown(unseen: Any) -> np.ndarray:
    """The rows of the gallery that is kept: identities spread evenly over the scripts, some drawings of each."""
    rng, rows = np.random.default_rng(0), []
    for identity in np.linspace(0, len(unseen.names) - 1, IDENTITIES).round().astype(int):
        rows.append(np.sort(rng.permutation(np.flatnonzero(unseen.identities == identity))[:DRAWINGS]))
    return np.concatenate(rows)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line: train what is missing, run by run. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.glyphs", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes of one thread each")
    given = parser.parse_args(argv)
    rows = {name: recorded(file).to_dict("records") if file.is_file() else [] for name, file in TABLES.items()}
    known = set.intersection(*({(one["row"], one["training"], one["seed"]) for one in some} for some in rows.values()))
    wanted = [*((row, "long-tailed") for row in SHOWN), ("Softmax", "balanced"), ("Softmax", "balanced, all")]
    wanted += [(row, "150 epochs") for row in ("Softmax", "NormFace", "ArcFace")]
    todo = [(row, how, seed) for seed in range(given.seeds) for row, how in wanted]
    unseen, features = make_data("glyphs", 0).unseen, {}
    if not RECORDED.is_file():
        known -= {(row, "long-tailed", 0) for row in SHOWN}
    with multiprocessing.get_context("spawn").Pool(given.jobs, _one_thread) as pool:
        for lines, kept in pool.imap(record, [task for task in todo if task not in known]):
            for name, file in TABLES.items():
                rows[name].append(lines[name])
                keep(file, rows[name])
            said = lines["cosine"]
            if kept is not None:
                features[said["row"]] = kept
            print(f"{said['row']}, {said['training']}, seed {said['seed']}: rank-1 {said['rank1']:.1%}", flush=True)
            if len(features) == len(SHOWN):
                keep_features(RECORDED, features, unseen, shown(unseen))
    return 0


if __name__ == "__main__":
    sys.exit(main())
