"""Pictures for a dark page: lightness turned over, hues as they are, photographs untouched."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

DEPTH = 0.93  # white becomes 1 - DEPTH, nearly the background of a dark page; CSS calls it invert(0.93)
# hue-rotate(180deg) of CSS, which keeps the luminance: rows give red, green, blue of the turned colour.
TURN = np.array([[-0.574, 1.430, 0.144], [0.426, 0.430, 0.144], [0.426, 1.430, -0.856]], np.float32)
PHOTO = "photo"  # the gid of an artist that shows photographs


def darken(pixels: np.ndarray, keep: Iterable[tuple[tuple[int, int, int, int], np.ndarray]] = ()) -> np.ndarray:
    """Pixels (height, width, 3 or 4) uint8 for a dark page: what CSS makes by invert(0.93) hue-rotate(180deg).

    keep: boxes (left, top, right, bottom) in pixels inside the picture, each with an image (rows, columns, 3 or 4) that
    it shows from edge to edge: they stay as they are where that is not clear. Alpha stays.
    """
    colours = pixels[..., :3].astype(np.float32) / 255
    turned = (DEPTH + colours * (1 - 2 * DEPTH)) @ TURN.T
    made = pixels.copy()
    made[..., :3] = np.rint(255 * turned.clip(0, 1))
    for (left, top, right, bottom), image in keep:
        box = slice(top, bottom), slice(left, right)
        rows, columns = (np.arange(n) * size // n for n, size in zip(made[box].shape[:2], image.shape[:2], strict=True))
        shown = image[np.ix_(rows, columns)][..., 3] > 0 if image.shape[2] == 4 else np.ones(made[box].shape[:2], bool)
        made[box][shown] = pixels[box][shown]
    return made
