"""What makes a picture worse: blur, low resolution, noise, and a part that is covered. Pure, of uint8 images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from .. import check

NOISE = 20200101  # seed of the noise: one pattern, so that a stronger noise is the same one, louder


def blur(images: Any, sigma: float) -> np.ndarray:
    """Images (n, H, W, C) uint8 under a Gaussian of standard deviation `sigma` pixels, at least 0; edges repeated."""
    from scipy.ndimage import gaussian_filter

    found, sigma = _images(images), check.number("sigma", sigma, 0)
    if sigma == 0:
        return found
    return _bytes(gaussian_filter(found.astype(np.float32), (0, sigma, sigma, 0), mode="nearest"))


def low_resolution(images: Any, factor: float) -> np.ndarray:
    """Images (n, H, W, C) uint8 with a `factor` times fewer pixels a side, brought back to their old size.

    Each side keeps round(side / factor) pixels, at least 1; down and up bilinear, down with antialiasing. factor: at
    least 1.
    """
    found, factor = _images(images), check.number("factor", factor, 1)
    side = tuple(found.shape[1:3])
    small = tuple(max(1, round(one / factor)) for one in side)
    if small == side:
        return found
    x = torch.tensor(found).permute(0, 3, 1, 2).float()
    x = F.interpolate(x, small, mode="bilinear", antialias=True)
    return _bytes(F.interpolate(x, side, mode="bilinear", align_corners=False).permute(0, 2, 3, 1).numpy())


def noise(images: Any, sd: float) -> np.ndarray:
    """Images (n, H, W, C) uint8 plus Gaussian noise of standard deviation 255 sd, at least 0; the same for every sd."""
    found, sd = _images(images), check.number("sd", sd, 0)
    drawn = np.random.default_rng(NOISE).standard_normal(found.shape, np.float32)
    return found if sd == 0 else _bytes(found + 255 * sd * drawn)


def occlude(images: Any, share: float) -> np.ndarray:
    """Images (n, H, W, C) uint8 with a black rectangle in the middle that covers about this share (0 to 1) of them."""
    found, share = _images(images).copy(), check.number("share", share, 0, 1)
    height, width = found.shape[1:3]
    rows, columns = (round(side * share**0.5) for side in (height, width))
    top, left = (height - rows) // 2, (width - columns) // 2
    found[:, top : top + rows, left : left + columns] = 0
    return found


CORRUPTIONS: dict[str, Callable[[Any, float], np.ndarray]] = {
    "blur": blur, "low_resolution": low_resolution, "noise": noise, "occlusion": occlude,
}  # fmt: skip


def _images(images: Any) -> np.ndarray:
    found = check.array("images", images, 4, "images (n, H, W, C) as uint8")
    if found.dtype != np.uint8 or 0 in found.shape:
        raise check.refuse("images", images, "images (n, H, W, C) as uint8, at least one")
    return found


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.rint(values).clip(0, 255).astype(np.uint8)
