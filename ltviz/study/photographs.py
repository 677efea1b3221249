"""Photographs of CIFAR-10 that travel with the package, so that chapters show pictures where they say photographs."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from .. import check
from ..files import RunFileError, data_folder, shipped

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SHEET = "photographs.png"  # 10 x 10 photographs of 32 x 32 pixels, without gaps
SIDE = 32
BATCHES = "batch_photographs.png"  # training photographs, ACROSS in a row; its text says which, and which batches
ACROSS = 32
RESTORE = "In a checkout, `git checkout -- data` brings it back"


class Photographs(NamedTuple):
    """images (100, 32, 32, 3) uint8; names (100,), the class of each.

    Image i is test image i of every recorded run on the photographs, whose networks saw it at 16 x 16 (small).
    """

    images: np.ndarray
    names: np.ndarray

    @property
    def small(self) -> np.ndarray:
        """What the recorded networks saw: the mean of every 2 x 2 pixels, (100, 16, 16, 3) uint8."""
        blocks = self.images.reshape(len(self.images), SIDE // 2, 2, SIDE // 2, 2, 3).astype(np.uint16)
        return ((blocks.sum((2, 4)) + 2) // 4).astype(np.uint8)

    def targets(self, class_names: list[str]) -> np.ndarray:
        """The class number of each in the order of these names, such as run.class_names: (100,)."""
        expected = f"the names of the classes, such as run.class_names, with {', '.join(CLASSES)} among them"
        if isinstance(class_names, (str, bytes, Mapping)) or not isinstance(class_names, Iterable):
            raise check.refuse("class_names", class_names, expected)
        known = list(class_names)
        if lacking := [name for name in CLASSES if name not in known]:
            raise check.refuse("class_names", class_names, f"{expected}; {lacking[0]!r} is not")
        return np.array([known.index(name) for name in self.names])


def _sheet(file: Path, across: int, made: str = "") -> tuple[np.ndarray, dict[str, str]]:
    """Pixels (H, W, 3) of a sheet of square photographs, so many in a row, and the texts that are kept in it.

    Raises FileNotFoundError where it is not there, and RunFileError where it is not what the checkout brings along.
    """
    shipped(file, made)
    try:
        with Image.open(file) as sheet:
            pixels, texts = np.asarray(sheet.convert("RGB")), dict(sheet.text)
    except (OSError, SyntaxError, ValueError, AttributeError) as error:  # no image, one cut short, or no PNG
        raise RunFileError(f"{file}: damaged, or another image ({error}). {RESTORE}") from None
    if pixels.shape[1] % across or pixels.shape[0] % (pixels.shape[1] // across or 1):
        raise RunFileError(f"{file}: not a sheet of {across} photographs in a row. {RESTORE}")
    return pixels, texts


@functools.cache
def photographs() -> Photographs:
    """The first hundred test photographs of CIFAR-10 (Krizhevsky 2009), ten of each class in turn."""
    sheet, _ = _sheet(data_folder() / SHEET, 10)
    tiles = sheet.reshape(10, SIDE, 10, SIDE, 3).transpose(0, 2, 1, 3, 4).reshape(100, SIDE, SIDE, 3)
    images = tiles.copy()
    images.setflags(write=False)
    return Photographs(images, np.array(CLASSES * 10))


class BatchPhotographs(NamedTuple):
    """Training photographs of the recorded plain network of seed 0, and batches that are made of them.

    images (m, 16, 16, 3) uint8, as the network gets them before it moves and mirrors them; index (m,), in rising order:
    which training image each is, a row of run.train_features. batches: how they are drawn ("plain", "class_balanced")
    -> (b, 64) numbers of training images: the first batches of the first epoch of that sampler under seed 0. A
    class-balanced batch may hold a photograph twice.
    """

    images: np.ndarray
    index: np.ndarray
    batches: dict[str, np.ndarray]

    def of(self, numbers: np.ndarray) -> np.ndarray:
        """The photographs of these training images (n,), (n, 16, 16, 3) uint8. ValueError for one that is not here."""
        numbers = check.labels("numbers", numbers)
        place = np.searchsorted(self.index, numbers).clip(0, len(self.index) - 1)
        if (self.index[place] != numbers).any():
            missing = int(numbers[self.index[place] != numbers][0])
            raise check.refuse("numbers", missing, "training images of which there is a photograph, those in .index")
        return self.images[place]


@functools.cache
def batch_photographs() -> BatchPhotographs:
    """The photographs of twelve batches of 64 (CIFAR-10, Krizhevsky 2009): six of a plain epoch, six class-balanced."""
    file = data_folder() / BATCHES
    pixels, texts = _sheet(file, ACROSS, "python -m tools.batch_photographs")
    if "batches" not in texts:
        raise RunFileError(f"{file}: it lacks the text that says which batches these are. {RESTORE}")
    told = json.loads(texts["batches"])
    batches = {name: np.array(rows, np.int64) for name, rows in told.items()}
    index = np.unique(np.concatenate([rows.ravel() for rows in batches.values()]))
    side = pixels.shape[1] // ACROSS
    tiles = pixels.reshape(-1, side, ACROSS, side, 3).transpose(0, 2, 1, 3, 4).reshape(-1, side, side, 3)
    images = tiles[: len(index)].copy()
    for array in (images, index, *batches.values()):
        array.setflags(write=False)
    return BatchPhotographs(images, index, batches)
