"""`Attributes`: images that carry several labels each, every one with few values and its own imbalance."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import check
from ..files import canonical
from .augment import normalise

BINARY = ("no", "yes")
PARTS = ("", "val_", "test_")
UNLABELLED = -1
BLOCK = 1024  # images that are looked at together


@dataclass(frozen=True, eq=False, repr=False)
class Attributes:
    """Images with several attributes each; attribute j of a has v_j values: 2 for "has a loop", more for a colour.

    images (n, C, H, W) uint8 and targets (n, a) int64 to train on, and the same pair with `val_` (may be without
    images) and `test_`; a target is a value's number from 0 to v_j - 1, or -1 where it is not known. Tensors, or arrays
    that become tensors. names: of the attributes; values: of each attribute its values' names, ("no", "yes") where it
    is there or not; a value may be without training images, but `train_attributes` refuses to learn it. mean, std (C,):
    of the pixels, as fractions of 255. spec: the loader's name and its arguments, JSON-able. Raises ValueError for
    parts that do not fit together.
    """

    images: Tensor
    targets: Tensor
    val_images: Tensor
    val_targets: Tensor
    test_images: Tensor
    test_targets: Tensor
    names: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]
    mean: Tensor
    std: Tensor
    spec: Mapping[str, Any]

    def __post_init__(self) -> None:
        names = _names("names", self.names, 1)
        values = _values(self.values, names)
        found: dict[str, Any] = {"names": names, "values": values, "spec": _spec(self.spec)}
        for part in PARTS:
            images = _images(f"{part}images", getattr(self, f"{part}images"), found.get("images"), empty=part == "val_")
            found[f"{part}images"] = images
            found[f"{part}targets"] = _targets(f"{part}targets", getattr(self, f"{part}targets"), len(images), values)
        for name in ("mean", "std"):
            found[name] = _moment(name, getattr(self, name), found["images"].shape[1])
        for name, value in found.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.shape))
        images, several = check.many(len(self), "training image"), check.many(self.a, "attribute")
        return (f"{self.name}: {images} of {size} with {several}, "
                f"imbalance {_ratio(self.imbalance.min())} to {_ratio(self.imbalance.max())}, "
                f"{len(self.val_images):,} validation, {len(self.test_images):,} test")  # fmt: skip

    def __len__(self) -> int:
        return len(self.images)

    @property
    def name(self) -> str:
        """The name of the loader, "attributes" of what was made by hand."""
        return str(self.spec.get("loader", "attributes"))

    @property
    def a(self) -> int:
        """Number of attributes."""
        return len(self.names)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of a network's input."""
        return tuple(self.images.shape[1:])

    @property
    def has_validation(self) -> bool:
        return len(self.val_images) > 0

    @property
    def counts(self) -> list[np.ndarray]:
        """Training images of each value, (v_j,) int64 for each attribute; images without a label are not counted."""
        return [count_values(column, len(of)) for column, of in zip(self.targets.T, self.values, strict=True)]

    @property
    def imbalance(self) -> np.ndarray:
        """Most frequent / rarest value of each attribute (a,) in the training images; inf for a value without any."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.array([one.max() / one.min() for one in self.counts])

    @property
    def fingerprint(self) -> str:
        """Short sha256 over all images, targets and names: equal on two machines exactly when the data are equal."""
        digest = hashlib.sha256(repr((self.names, self.values)).encode())
        for name in (f"{part}{what}" for part in PARTS for what in ("images", "targets")):
            whole = getattr(self, name)
            digest.update(f"{name} {tuple(whole.shape)} {whole.numpy().dtype}".encode())
            for block in whole.split(BLOCK):  # images may be mapped from a file larger than the memory
                digest.update(block.contiguous().numpy().data)
        return digest.hexdigest()[:16]

    def batch(self, index: Any = slice(None), generator: torch.Generator | None = None) -> Tensor:
        """Training images (n, C, H, W) at these positions, float32 of mean 0 and standard deviation 1.

        index: positions (n,), or a slice. generator: for loaders that augment; the images here are never changed.
        """
        if generator is not None:
            check.instance("generator", generator, torch.Generator, "a torch.Generator, or None")
        return self._normalised("images", index)

    def val_batch(self, index: Any = slice(None)) -> Tensor:
        """Validation images (n, C, H, W), as `batch` gives them."""
        return self._normalised("val_images", index)

    def test_batch(self, index: Any = slice(None)) -> Tensor:
        """Test images (n, C, H, W), as `batch` gives them."""
        return self._normalised("test_images", index)

    def _normalised(self, name: str, index: Any) -> Tensor:
        images = getattr(self, name)
        scale = (1 / (255 * self.std.double())).float().view(1, -1, 1, 1)
        shift = (-self.mean.double() / self.std.double()).float().view(1, -1, 1, 1)
        chosen = images[index if isinstance(index, slice) else _positions(index, len(images))]
        return normalise(chosen, scale, shift)


def count_values(targets: Any, v: int) -> np.ndarray:
    """How often each of the values 0 .. v - 1 occurs (v,), int64; what is not labelled (-1) is left out."""
    targets = np.asarray(targets)
    return np.bincount(targets[targets >= 0], minlength=v)


def _ratio(value: float) -> str:
    return f"{value:.3g}:1"


def _names(name: str, value: Any, least: int) -> tuple[str, ...]:
    expected = f"a sequence of {'names' if least < 2 else 'at least two names'}, each once and none empty"
    found = [] if isinstance(value, (str, Mapping)) or not isinstance(value, Sequence | np.ndarray) else list(value)
    sound = all(isinstance(one, str) and one.strip() for one in found)
    if len(found) < least or not sound or len(set(found)) < len(found):
        raise check.refuse(name, value, expected)
    return tuple(map(str, found))


def _values(value: Any, names: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    if isinstance(value, (str, Mapping)) or not isinstance(value, Sequence) or len(value) != len(names):
        several = check.many(len(names), "attribute")
        raise check.refuse("values", value, f"the names of the values of each attribute ({several})")
    return tuple(_names(f"values[{j}]", one, 2) for j, one in enumerate(value))


def _spec(value: Any) -> Mapping[str, Any]:
    try:
        canonical(check.instance("spec", value, Mapping, "a mapping"))
    except (TypeError, ValueError):
        expected = 'how the data were made, as JSON can keep it: {"loader": name, …}, or {} for data made by hand'
        raise check.refuse("spec", value, expected) from None
    return dict(value)


def _tensor(name: str, value: Any, expected: str) -> Tensor:
    """Whatever holds numbers, as a tensor on the CPU."""
    if isinstance(value, Tensor):
        return value.detach().cpu()
    array = np.ascontiguousarray(check.array(name, value, None, expected))
    return torch.from_numpy(array if array.flags.writeable else array.copy())  # torch has no read-only memory


def _images(name: str, value: Any, train: Tensor | None, empty: bool) -> Tensor:
    expected = "images (n, C, H, W), whole numbers from 0 to 255 as uint8"
    images = _tensor(name, value, expected)
    if images.dtype != torch.uint8 or images.dim() != 4 or not all(images.shape[1:]):
        raise check.refuse(name, value, f"{expected}; got {images.dtype} {tuple(images.shape)}")
    if not len(images) and not empty:
        raise check.refuse(name, value, f"{expected}, at least one")
    if train is not None and images.shape[1:] != train.shape[1:]:
        raise check.refuse(name, value, f"images of {tuple(train.shape[1:])} as in images")
    return images


def _targets(name: str, value: Any, n: int, values: tuple[tuple[str, ...], ...]) -> Tensor:
    a = len(values)
    expected = f"a whole number for each image and attribute, int64 ({n}, {a}), -1 where it is not known"
    targets = _tensor(name, value, expected)
    if targets.is_floating_point() or targets.dtype == torch.bool or targets.shape != (n, a):
        raise check.refuse(name, value, f"{expected}; got {targets.dtype} {tuple(targets.shape)}")
    targets = targets.long()
    for j, of in enumerate(values):
        column = targets[:, j]
        wrong = ((column < UNLABELLED) | (column >= len(of))).nonzero().flatten()
        if len(wrong):
            row = int(wrong[0])
            raise ValueError(
                f"{name}: found {int(column[row])} in row {row} of attribute {j}; expected a number from 0 to "
                f"{len(of) - 1}, one for each of its values {', '.join(of)}, or -1 for unknown"
            )
    return targets


def _moment(name: str, value: Any, channels: int) -> Tensor:
    low = 0.0 if name == "std" else -math.inf
    above = ", above 0" if name == "std" else ""
    expected = f"one finite number for each channel ({check.many(channels, 'channel')}){above}"
    found = _tensor(name, value, expected).float()
    if found.shape != (channels,) or not (found.isfinite() & (found > low)).all():
        raise check.refuse(name, value, expected)
    return found


def _positions(index: Any, n: int) -> Tensor:
    expected = f"positions (n,) of images, whole numbers from 0 to {n - 1}, or a slice"
    found = _tensor("index", index, expected)
    if found.dim() != 1 or (len(found) and (found.is_floating_point() or found.dtype == torch.bool)):
        raise check.refuse("index", index, expected)
    if len(found) and not 0 <= int(found.min()) <= int(found.max()) < n:
        raise check.refuse("index", index, expected)
    return found.long()
