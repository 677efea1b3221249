"""Kept pictures with photographs in them, as a dark page has them: the paper turned over, they as before."""

from __future__ import annotations

import base64
import functools
import io

import numpy as np
from PIL import Image
from scipy import ndimage

from ltviz.plots.picture import small_png
from ltviz.plots.theme import darken

PAPER = 245  # from this brightness on in all three colours, a pixel is paper
LEAST = 48  # pixels of a photograph's shorter side; letters are smaller, also on dense screens
FULL, MANY = 0.6, 24  # the part of its box that a photograph covers; its colours: a bar or a frame has fewer


def boxes(pixels: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Where photographs stand on white paper, (left, top, right, bottom) in pixels of an image (height, width, 3)."""
    ink = (pixels < PAPER).any(axis=2)
    regions, _ = ndimage.label(ink)
    found = []
    for i, (rows, columns) in enumerate(ndimage.find_objects(regions), 1):
        inside = pixels[rows, columns]
        if min(inside.shape[:2]) < LEAST or (regions[rows, columns] == i).mean() < FULL:
            continue
        if len(np.unique(inside.reshape(-1, 3), axis=0)) >= MANY:
            found.append((columns.start, rows.start, columns.stop, rows.stop))
    return found


@functools.lru_cache(maxsize=64)
def dark(png: str) -> str:
    """The dark twin of a picture, both as PNG in base64; "" for one without photographs."""
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB"))
    keep = [(box, pixels[box[1] : box[3], box[0] : box[2]]) for box in boxes(pixels)]
    if not keep:
        return ""
    return base64.b64encode(small_png(Image.fromarray(darken(pixels, keep)))).decode("ascii")
