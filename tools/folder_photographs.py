"""Make data/folder_photographs.png again: python -m tools.folder_photographs [folder or archive with CIFAR-10]

The sheet holds the photographs of chapter 10's folder, at 16 x 16: a long tail of training images and equally many test
images of each class. Its text "folder" says how many of which class; they stand one after the other, class by class.
With --runs: train the runs that the chapter finds in data/runs/folder_photographs/.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import ltviz as lt
from ltviz.files import data_folder, write_atomically
from tools.batch_photographs import sheet

SHEET = "folder_photographs.png"
TRAIN = {"frog": 400, "ship": 236, "dog": 140, "automobile": 82, "horse": 48, "airplane": 29, "deer": 17, "truck": 10}
TEST = 60  # a class


def main(root: str | None) -> None:
    """Write the sheet: of each class its training images, then its test images."""
    data = lt.cifar_lt(ratio=1, size=16, n_max=max(TRAIN.values()), validation=0, root=root)
    rows = []
    for name, n in TRAIN.items():
        j = data.class_names.index(name)
        rows += [data.images[data.targets == j][:n], data.test_images[data.test_targets == j][:TEST]]
    images = np.concatenate([part.numpy() for part in rows])
    said, kept = PngInfo(), io.BytesIO()
    said.add_text("folder", json.dumps({"train": TRAIN, "test": dict.fromkeys(TRAIN, TEST)}), zip=True)
    Image.fromarray(sheet(images)).save(kept, "PNG", optimize=True, pnginfo=said)
    write_atomically(data_folder() / SHEET, kept.getvalue())
    print(f"{len(images):,} photographs, {len(kept.getvalue()):,} bytes")


def record() -> None:
    """The runs of the chapter's folder with their networks, and one of its folder with a fault; those of all seeds but
    the first without features, which nothing in the chapter needs."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "notebooks"))
    import cards_10 as cards

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the folder's flaws are meant to be there
        sound, faulty = (cards.write_photographs(Path(folder) / str(fault), fault) for fault in (False, True))
        asked = [(method, sound, 10) for method in cards.METHODS] + [("ce", faulty, 1)]
        for method, home, seeds in asked:
            data = cards.training_part(home)
            for run in lt.train_many(method, data, model=cards.MODEL, seeds=seeds, progress=False):
                whole = run.seed == 0
                lost = dict.fromkeys(() if whole else ("features", "train_features", "train_targets"))
                print(replace(run, **lost).save(cards.RECORDED).name, flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["--runs"]:
        record()
    else:
        main(str(Path(sys.argv[1])) if len(sys.argv) > 1 else None)
