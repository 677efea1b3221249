"""Images that stay on the disk: a data set larger than the memory that it may take, with the same interface."""

import dataclasses
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .. import check
from .augment import crop_flip, draw_crops, normalise, pad_black
from .longtailed import TENSORS, LongTailed, _take, moved_to

BLOCK = 2**26  # bytes that are copied at a time
SHARE = 0.25  # of the machine's memory: training keeps a second copy of the images, with a border
UNKNOWN_MEMORY = 4.0  # GiB that images may take where the system does not say how much there is


def memory_bound(memory: float | None) -> float:
    """Bytes that the images may take in memory."""
    if memory is not None:
        return check.number("memory", memory, above=0) * 2**30
    try:
        return SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return UNKNOWN_MEMORY * 2**30


class Rows:
    """Some images of an array, chosen again and again, and copied once: when an array is asked for.

    spill: a folder. Where it is given, the copy is a file there, mapped into memory: pages come as they are used. The
    file has no name, so that it goes away with the last array that needs it.
    """

    def __init__(self, images: np.ndarray, rows: np.ndarray | None = None, spill: Path | None = None):
        self.images, self.spill = images, spill
        self.rows = np.arange(len(images)) if rows is None else rows

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, H, W, C) of the images chosen."""
        return (len(self), *self.images.shape[1:])

    def __getitem__(self, rows: np.ndarray) -> "Rows":
        return Rows(self.images, self.rows[rows], self.spill)

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        shape = self.shape
        if self.spill is None or not len(self):
            return np.take(self.images, self.rows, axis=0)
        step = max(1, BLOCK // max(1, int(np.prod(shape[1:]))))
        try:
            with tempfile.TemporaryFile(dir=self.spill) as file:
                for first in range(0, len(self), step):
                    file.write(np.take(self.images, self.rows[first : first + step], axis=0).data)
                file.flush()
                # "c": what a reader changes stays in memory.
                return np.memmap(file, np.uint8, "c", shape=shape)
        except OSError as error:
            size = np.prod(shape) / 2**30
            raise ValueError(
                f"the images of {size:.2g} GiB do not fit into {self.spill} ({error.strerror or error}); set "
                "LTVIZ_CACHE to a folder with room, or pass a larger memory="
            ) from error


def chosen_from(pixels: np.ndarray, bound: float) -> tuple[Rows, bool]:
    """Images to choose from, and whether they stay on the disk: where they are in a file and take more bytes."""
    mapped = isinstance(pixels, np.memmap) and pixels.nbytes > bound
    return Rows(pixels, spill=Path(pixels.filename).parent if mapped else None), mapped


@dataclasses.dataclass(eq=False, repr=False)
class Streamed(LongTailed):
    """A `LongTailed` whose images lie in files, mapped into memory; a batch reads its own.

    Values are those of the same data in memory, bit for bit. Nothing is kept of an image: it is padded, cropped and
    normalised when it is asked for. `to(device)` moves labels and normalisation, and `batch` the images of a batch.
    """

    @property
    def device(self) -> torch.device:
        """Where batches come to; the images are in files."""
        return self.targets.device

    def to(self, device: torch.device | str) -> "Streamed":
        """The same data for another device (itself if it is for that one); the images stay in their files."""
        return moved_to(self, device, [name for name in TENSORS if "images" not in name])

    def prepare(self) -> "Streamed":
        """Check again what was edited; nothing is made in advance."""
        if not self._current("check", "counts", *TENSORS):
            self._check()
        return self

    def padded(self) -> Tensor:
        """The training images in a black border, (n, C, H + 2 pad, W + 2 pad) uint8: all of them, in memory."""
        return pad_black(self.images, self.pad)

    def batch(self, index: Tensor | slice | Sequence[int], generator: torch.Generator | None = None) -> Tensor:
        """As `LongTailed.batch`, from the rows of this batch alone; the draws are the same."""
        if generator is not None:
            check.instance("generator", generator, torch.Generator, "a torch.Generator, or None for no augmentation")
        if generator is None or not (self.pad or self.flip):
            return self._plain("images", index)
        part = self._part("images", index)
        crops = draw_crops(len(part), self.pad, self.flip, generator, self.device)
        rows = torch.arange(len(part), device=self.device)
        return normalise(crop_flip(pad_black(part, self.pad), rows, *crops, self.pad), *self._normalisation())

    def _plain(self, name: str, index: Tensor | slice | Sequence[int]) -> Tensor:
        return normalise(self._part(name, index).permute(0, 3, 1, 2), *self._normalisation())

    def _part(self, name: str, index: Tensor | slice | Sequence[int]) -> Tensor:
        """Images (n, H, W, C) uint8 of a part, on the device."""
        images = getattr(self, name)
        if isinstance(index, slice):
            return images[index].to(self.device)
        return _take(images, self._rows(index, len(images)).to(images.device)).to(self.device)


def streamed(data: LongTailed) -> Streamed:
    """The same data, whose images are mapped from files, as one that reads them batch by batch."""
    return Streamed(**{f.name: getattr(data, f.name) for f in dataclasses.fields(LongTailed) if f.init})
