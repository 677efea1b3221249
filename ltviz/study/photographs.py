"""A hundred test photographs of CIFAR-10, so that a chapter shows pictures where its text says photographs."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from PIL import Image

from ..files import data_folder

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SHEET = "photographs.png"  # 10 x 10 photographs of 32 x 32 pixels, without gaps
SIDE = 32


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
        return np.array([list(class_names).index(name) for name in self.names])


@functools.cache
def photographs() -> Photographs:
    """The first hundred test photographs of CIFAR-10 (Krizhevsky 2009), ten of each class in turn."""
    sheet = np.asarray(Image.open(data_folder() / SHEET).convert("RGB"))
    tiles = sheet.reshape(10, SIDE, 10, SIDE, 3).transpose(0, 2, 1, 3, 4).reshape(100, SIDE, SIDE, 3)
    images = tiles.copy()
    images.setflags(write=False)
    return Photographs(images, np.array(CLASSES * 10))
