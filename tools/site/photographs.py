"""Kept pictures with photographs in them, as a dark page has them: the paper turned over, they as before."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from ltviz.plots.picture import small_png
from ltviz.plots.theme import darken


def dark(png: str, boxes: Sequence[Sequence[int]]) -> str:
    """The dark twin of a picture, both as PNG in base64; boxes: (left, top, right, bottom) of its photographs."""
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB"))
    keep = [(tuple(box), pixels[box[1] : box[3], box[0] : box[2]]) for box in boxes]
    return base64.b64encode(small_png(Image.fromarray(darken(pixels, keep)))).decode("ascii")
