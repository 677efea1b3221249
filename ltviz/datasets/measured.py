"""`digits_attributes`: attributes that are measured on the real handwritten digits, so that each label has its rule."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from .. import check
from .attributes import BINARY, Attributes

FINER, INK = 4, 0.4  # pixels a pixel is drawn with, and how black one must be to count as ink
MOST = 100.0  # of the ratio; beyond, an attribute has too few images to be split into three parts

# What is there or not, and how often follows from the digits; then what is measured, from the most even cut to the
# most uneven one.
COUNTED = {"loop": 1, "two loops": 2, "three strokes": 3}
MEASURED = ("tall", "dark", "symmetric", "slanted", "top-heavy", "thick", "wide", "left-heavy", "same upside down")
NAMES = (*COUNTED, *MEASURED)


def measure(images: Any) -> dict[str, np.ndarray]:
    """What the attributes are made of, for drawings (n, H, W) from 0 (paper) to 1 (ink): a number (n,) for each name.

    loop, two loops   enclosed areas of paper, with the drawing four times finer (linearly) and ink where it is above .4
    three strokes     ink that the column of pixels with most of it crosses, in separate pieces
    tall              standard deviation of the ink from top to bottom over that from left to right
    wide              standard deviation of the ink from left to right, in pixels
    slanted           how far ink leans to the right for each pixel up: -cov(x, y) / var(y), rows counted downwards
    thick             width of the strokes in pixels: four times the mean distance of ink to the nearest paper
    dark              sum of all pixels
    top-heavy, left-heavy   share of the ink in the upper, in the left half
    symmetric, same upside down   minus the share of ink that changes place in a mirror, from left to right, from top to
                      bottom: 0 where nothing does
    ValueError for anything else, and for a drawing without ink.
    """
    expected = "drawings (n, H, W), numbers from 0 (paper) to 1 (ink), some ink above 0.4 in each"
    x = check.array("images", images, 3, expected).astype(np.float64)
    if not x.size or not (x >= 0).all() or not (x <= 1).all():
        raise check.refuse("images", images, expected)
    fine = ndimage.zoom(x, (1, FINER, FINER), order=1, grid_mode=True, mode="grid-constant") > INK
    if not fine.any((1, 2)).all():
        raise check.refuse("images", images, expected)
    fine = np.pad(fine, ((0, 0), (1, 1), (1, 1)))  # the paper around the drawing is one piece, outside
    # All drawings at once: none touches the next one, and the paper around each is nearer than any beyond it.
    label = ndimage.label(~fine, [np.zeros((3, 3)), [[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.zeros((3, 3))])[0]
    loops = np.diff(label.max((1, 2)), prepend=0) - 1
    away = ndimage.distance_transform_edt(fine.reshape(-1, fine.shape[2])).reshape(fine.shape)
    width = 4 / FINER * away.sum((1, 2)) / fine.sum((1, 2))
    strokes = (np.diff(fine.astype(np.int8), axis=1) == 1).sum(1).max(1)
    ink = x.sum((1, 2))
    share = x / ink[:, None, None]
    down, across = (np.arange(n) for n in x.shape[1:])
    rows, columns = share.sum(2), share.sum(1)
    dy, dx = down - (rows @ down)[:, None], across - (columns @ across)[:, None]
    high, broad = (rows * dy**2).sum(1), (columns * dx**2).sum(1)
    lean = -np.einsum("nyx,ny,nx->n", share, dy, dx) / np.maximum(high, 1e-9)
    halves = [of @ (place < (len(place) - 1) / 2) + of @ (place == (len(place) - 1) / 2) / 2
              for of, place in ((rows, down), (columns, across))]  # fmt: skip
    mirrored, turned = (-np.abs(share - share[:, *way]).sum((1, 2)) / 2 for way in _MIRRORS)
    return {
        "loop": loops, "two loops": loops, "three strokes": strokes,
        "tall": np.sqrt(high / np.maximum(broad, 1e-9)), "dark": ink, "symmetric": mirrored, "slanted": lean,
        "top-heavy": halves[0], "thick": width, "wide": np.sqrt(broad), "left-heavy": halves[1],
        "same upside down": turned,
    }  # fmt: skip


_MIRRORS = ((slice(None), slice(None, None, -1)), (slice(None, None, -1), slice(None)))


def cuts(ratio: float = 50) -> dict[str, float]:
    """From which value on a digit has each attribute, so that digits without it are `ratio` times as many as with it.

    Counted attributes have their number, at any ratio; the measured ones are cut where 1 : 1, then more and more
    unevenly, by equal factors up to 1 : ratio, of all 1,797 digits have them.
    """
    ratio = check.number("ratio", ratio, 1.0, MOST)
    found = _digits()[1]
    edges = {}
    for name, one in zip(MEASURED, np.geomspace(1.0, ratio, len(MEASURED)), strict=True):
        values = np.sort(found[name])
        edges[name] = float(values[-round(len(values) / (1 + one))])
    return {**COUNTED, **edges}


@functools.cache
def _digits() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The digits (1797, 1, 8, 8) uint8, 0 .. 240, and what is measured on them."""
    from sklearn.datasets import load_digits

    images = load_digits().images
    return (images * 15).astype(np.uint8)[:, None], measure(images / 16)


def digits_attributes(*, seed: int = 0, ratio: float = 50, validation: int = 300, test: int = 600) -> Attributes:
    """The 1,797 real digits (8 x 8), each with twelve yes-or-no attributes that are measured, not guessed.

    Which rule makes each attribute stands at `measure`; "yes" is a value from `cuts(ratio)` on. "three strokes",
    "loop" and "two loops" are as frequent as the digits have them (1 : 1, 1 : 1.9 and 1 : 22); the nine others are cut
    so that from half of all digits ("tall") to one of 51 ("same upside down", at ratio 50) have them. So no image is
    dropped: the same images are balanced for one attribute and imbalanced for another.
    seed: draws the split into training, validation and test images, which keeps the shares of the rare attributes in
    all three. Who wrote which digit is not known, so one writer's digits are in all of them.

    Raises ValueError for a ratio outside 1 .. 100, and where a part is left without a rare attribute.
    Source: Alpaydin & Kaynak, Optical Recognition of Handwritten Digits, UCI (1998), the test part.
    """
    images, found = _digits()
    n, edges = len(images), cuts(ratio)
    test = check.whole("test", test, 1, n - 2)
    validation = check.whole("validation", validation, 0, n - 2 - test)
    targets = np.stack([found[name] >= edges[name] for name in NAMES], 1).astype(np.int64)
    rows = split(targets, validation, test, np.random.default_rng(check.seed(seed)))
    parts = dict(zip(("val_", "test_", ""), rows, strict=True))
    for part, said in (("", "training"), ("test_", "test")):
        lacks = [name for name, has in zip(NAMES, targets[parts[part]].T, strict=True) if len(set(has.tolist())) < 2]
        if lacks:
            raise ValueError(
                f"test={test}, validation={validation}: the {said} images are all alike in {', '.join(lacks)}; hold "
                "out other numbers of images, or pass a smaller ratio"
            )
    pixels, labels = torch.from_numpy(images), torch.from_numpy(targets)
    return Attributes(
        **{f"{part}images": pixels[rows] for part, rows in parts.items()},
        **{f"{part}targets": labels[rows] for part, rows in parts.items()},
        names=NAMES, values=(BINARY,) * len(NAMES), mean=[0.3053 * 240 / 255], std=[0.376 * 240 / 255],
        spec=dict(loader="digits_attributes", seed=seed, ratio=ratio, validation=validation, test=test),
    )  # fmt: skip


def split(targets: np.ndarray, validation: int, test: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Rows of the validation, the test and the training part; of each attribute, every part has its share.

    The images are laid out by their rarest attribute, at random among their like, and dealt out like cards.
    """
    frequency = targets.sum(0)
    rarest = np.where(targets > 0, frequency, len(targets)).min(1)
    laid = np.lexsort((rng.permutation(len(targets)), rarest))
    taken = _every(len(laid), test)
    left = laid[~taken]
    second = _every(len(left), validation)
    return [np.sort(left[second]), np.sort(laid[taken]), np.sort(left[~second])]


def _every(n: int, m: int) -> np.ndarray:
    """Which m of n cards, evenly spread, (n,) bool."""
    return np.diff(np.arange(n + 1) * m // max(n, 1)) > 0
