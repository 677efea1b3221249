"""A transform of the reader's own for training images."""

from __future__ import annotations

import inspect
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import check
from ..datasets import LongTailed
from ..draws import own_draws
from ..naming import Code, code_hash

EXPECTED = (
    "None (the padding and mirroring of the data), or a function of one image, a uint8 tensor (c, h, w), that gives "
    "such an image, as torchvision.transforms.v2 has them"
)
DRAWS = "a seed for each image"  # part of every id: runs of another rule would not be the same
_PYTHON = threading.RLock()  # the generators of Python and numpy belong to all threads


class Augmentation:
    """A transform of one training image, uint8 (c, h, w) to the same. name: what records call it."""

    def __init__(self, transform: Callable[[Tensor], Tensor]):
        if not callable(transform) or isinstance(transform, type):
            raise check.refuse("augment", transform, EXPECTED)
        self.transform = transform
        self.name = _name(transform)

    @property
    def code(self) -> Code:
        return code_hash("augment", [DRAWS, self.transform])

    def __call__(self, images: Tensor, seeds: Tensor) -> Tensor:
        """Each of the images (n, c, h, w) uint8 on the CPU, transformed with draws that follow from its seed, (n,)."""
        found, own = images.new_empty(images.shape), torch.Generator()
        with torch.no_grad(), own_draws(own), _python_put_back():
            for i, (image, seed) in enumerate(zip(images, seeds.tolist(), strict=True)):
                own.manual_seed(seed)
                random.seed(seed)
                np.random.seed(seed % 2**32)
                found[i] = self._one(image)
        return found

    def _one(self, image: Tensor) -> Tensor:
        found = self.transform(image.clone())  # it may work in place
        if not isinstance(found, Tensor) or found.shape != image.shape or found.dtype != torch.uint8:
            gave = f"{found.dtype} {tuple(found.shape)}" if isinstance(found, Tensor) else check.shown(found)
            raise ValueError(
                f"augment: {self.name} gave {gave} for uint8 {tuple(image.shape)}; expected an image of the same kind "
                "and size (leave out ToDtype and Normalize: the data are normalised afterwards)"
            )
        return found.as_subclass(Tensor)

    def try_out(self, data: LongTailed) -> None:
        """Raise ValueError where it cannot transform an image of these data."""
        if data.images.dtype != torch.uint8:
            raise check.refuse("augment", self.transform, "None: rows of a table are no images")
        image = data.images[:1].permute(0, 3, 1, 2).cpu()
        try:
            self(image, torch.zeros(1, dtype=torch.int64))
        except ValueError as error:
            if str(error).startswith("augment: "):
                raise
            raise self._failed(image, error) from error
        except Exception as error:
            raise self._failed(image, error) from error

    def _failed(self, image: Tensor, error: Exception) -> ValueError:
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:160]}"
        return ValueError(
            f"augment: {self.name} failed on an image, uint8 {tuple(image.shape[1:])} ({reason}); expected {EXPECTED}"
        )


def as_augmentation(augment: Any) -> Augmentation | None:
    """What `train` is given as its augmentation, in the form of an Augmentation; None as it is."""
    return augment if augment is None or isinstance(augment, Augmentation) else Augmentation(augment)


def _name(transform: Any) -> str:
    """A function by its name, an object by its text (one line, as long as that says something)."""
    if inspect.isroutine(transform):
        name = getattr(transform, "__name__", type(transform).__name__)
        return "own transform" if name == "<lambda>" else name
    text = check.shown(transform, 300)
    return type(transform).__name__ if " at 0x" in text or text.startswith("<") else text


@contextmanager
def _python_put_back() -> Iterator[None]:
    """Python's and numpy's global generators go on as before after what is drawn from them inside."""
    with _PYTHON:
        before = random.getstate(), np.random.get_state()
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])
