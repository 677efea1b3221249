"""Make data/batch_photographs.png again: python -m tools.batch_photographs [folder or archive with CIFAR-10]

The sheet holds the training photographs, at 16 x 16, of the first batches that the recorded plain network of seed 0 saw
and of the first that class-balanced sampling draws under the same seed. Its text "batches" says which they are.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import ltviz as lt
from ltviz.files import data_folder, write_atomically
from ltviz.samplers import SAMPLERS
from ltviz.study.photographs import ACROSS, BATCHES
from ltviz.training.build import make_generators

EACH = 6  # batches
DRAWN = {"plain": "instance", "class_balanced": "class_balanced"}


def first_batches(targets: torch.Tensor, sampler: str, batch_size: int, seed: int) -> np.ndarray:
    """Numbers of the training images (EACH, batch_size) in the first batches of a run of this seed."""
    order = make_generators(seed, torch.device("cpu"))["order"]
    return torch.stack(SAMPLERS[sampler](targets, batch_size, 0.0, order)[:EACH]).numpy()


def sheet(images: np.ndarray) -> np.ndarray:
    """Images (n, side, side, 3) in rows of ACROSS, without gaps; what is left of the last row is black."""
    n, side = images.shape[:2]
    rows = -(-n // ACROSS)
    filled = np.zeros((rows * ACROSS, side, side, 3), np.uint8)
    filled[:n] = images
    return filled.reshape(rows, ACROSS, side, side, 3).transpose(0, 2, 1, 3, 4).reshape(rows * side, -1, 3)


def main(root: str | None) -> None:
    """Write the sheet, from the training set that the record names."""
    (run,) = lt.recorded("cifar16", "ce", seed=0)
    wanted = ("classes", "ratio", "size", "n_max", "profile", "seed", "class_order", "validation")
    data = lt.cifar_lt(**{name: run.data[name] for name in wanted}, root=root)
    if data.fingerprint != run.data["fingerprint"] or (data.targets.numpy() != run.train_targets).any():
        raise SystemExit("these are not the training images of the recorded run")
    size = run.recipe["batch_size"]
    batches = {name: first_batches(data.targets, sampler, size, run.seed) for name, sampler in DRAWN.items()}
    index = np.unique(np.concatenate([rows.ravel() for rows in batches.values()]))
    said, kept = PngInfo(), io.BytesIO()
    said.add_text("batches", json.dumps({name: rows.tolist() for name, rows in batches.items()}), zip=True)
    Image.fromarray(sheet(data.images[torch.from_numpy(index)].numpy())).save(kept, "PNG", optimize=True, pnginfo=said)
    write_atomically(data_folder() / BATCHES, kept.getvalue())
    print(f"{len(index)} photographs, {len(kept.getvalue()):,} bytes")


if __name__ == "__main__":
    main(str(Path(sys.argv[1])) if len(sys.argv) > 1 else None)
