"""Images that stay on the disk: a data set larger than the memory that it may take, with the same interface."""

import dataclasses
import mmap
import os
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .. import check
from .augment import crop_flip, draw_crops, pad_black
from .longtailed import TENSORS, LongTailed, _edits, _outside, _take, moved_to

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


class Pixels:
    """The file behind an array of images (n, ...) uint8 that is mapped from it, to read rows without mapping them.

    What is read through a mapping counts as memory of the process until the system takes it back; this does not.
    """

    def __init__(self, array: np.ndarray, file: int):
        self.array = array  # kept, so that no other comes to lie at its address
        self.address, self.shape = array.ctypes.data, array.shape
        self.file = os.dup(file)
        weakref.finalize(self, os.close, self.file)

    def read(self, rows: Tensor) -> Tensor:
        """The images at these positions (m,), none outside, as a new tensor (m, ...)."""
        found = np.empty((len(rows), *self.shape[1:]), np.uint8)
        size = found[0].size if len(found) else 0
        for image, row in zip(found, rows.tolist(), strict=True):
            if os.preadv(self.file, [image], row * size) != size:
                raise OSError(f"the file of the images ends before image {row}; load the data again")
        return torch.from_numpy(found)


class Rows:
    """Some images of an array, chosen again and again, and copied once: when an array is asked for.

    spill: a folder. Where it is given, the copy is a file there, mapped into memory: pages come as they are used. The
    file has no name, so that it goes away with the last array that needs it; `made` has one for each copy.
    """

    def __init__(
        self, images: np.ndarray, rows: np.ndarray | None = None, spill: Path | None = None,
        made: list[Pixels] | None = None,
    ):  # fmt: skip
        self.images, self.spill = images, spill
        self.rows = np.arange(len(images)) if rows is None else rows
        self.made: list[Pixels] = [] if made is None else made

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, H, W, C) of the images chosen."""
        return (len(self), *self.images.shape[1:])

    def __getitem__(self, rows: np.ndarray) -> "Rows":
        return Rows(self.images, self.rows[rows], self.spill, self.made)

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        shape = self.shape
        if self.spill is None or not len(self):
            return np.take(self.images, self.rows, axis=0)
        step = max(1, BLOCK // max(1, int(np.prod(shape[1:]))))
        try:
            with tempfile.TemporaryFile(dir=self.spill) as file:
                for first in range(0, len(self), step):
                    file.write(np.take(self.images, self.rows[first : first + step], axis=0).data)
                    give_back(self.images)
                file.flush()
                # "c": what a reader changes stays in memory.
                found = np.memmap(file, np.uint8, "c", shape=shape)
                self.made.extend([Pixels(found, file.fileno())] if hasattr(os, "preadv") else [])
                return found
        except OSError as error:
            size = np.prod(shape) / 2**30
            raise ValueError(
                f"the images of {size:.2g} GiB do not fit into {self.spill} ({error.strerror or error}); set "
                "LTVIZ_CACHE to a folder with room, or pass a larger memory="
            ) from error


def give_back(pixels: np.ndarray) -> None:
    """Take what has been read of a file through an array that is mapped to be read alone out of the memory again."""
    if isinstance(pixels, np.memmap) and pixels.mode == "r" and hasattr(mmap, "MADV_DONTNEED"):
        pixels._mmap.madvise(mmap.MADV_DONTNEED)


def chosen_from(pixels: np.ndarray, bound: float) -> tuple[Rows, bool]:
    """Images to choose from, and whether they stay on the disk: where they are in a file and take more bytes."""
    mapped = isinstance(pixels, np.memmap) and pixels.nbytes > bound
    return Rows(pixels, spill=Path(pixels.filename).parent if mapped else None), mapped


@dataclasses.dataclass(eq=False, repr=False)
class Streamed(LongTailed):
    """A `LongTailed` whose images lie in files, mapped into memory; a batch reads its own.

    Values are those of the same data in memory, bit for bit. Nothing is kept of an image: it is read, padded, cropped
    and normalised when it is asked for. `to(device)` moves labels and normalisation, and `batch` the images of a batch.
    """

    _files = ()  # Pixels, where images are read past their mapping

    def __getstate__(self) -> dict:
        return {name: value for name, value in vars(self).items() if name != "_files"}  # a copy has its images itself

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

    def batch(
        self, index: Tensor | slice | Sequence[int], generator: torch.Generator | None = None,
        places: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """As `LongTailed.batch`: the same draws, and of the images those at `places` alone are read."""
        if generator is not None:
            check.instance("generator", generator, torch.Generator, "a torch.Generator, or None for no augmentation")
        index = self._rows(index, len(self.images))
        chosen = slice(None) if places is None else places
        part = self._part("images", index[chosen])
        if generator is None or not (self.pad or self.flip):
            return self.normalise(part.permute(0, 3, 1, 2))
        crops = draw_crops(len(index), self.pad, self.flip, generator, self.device)
        rows = torch.arange(len(part), device=self.device)
        store = pad_black(part, self.pad)
        return self.normalise(crop_flip(store, rows, *(one[chosen] for one in crops), self.pad))

    def pixels(self, index: Tensor) -> Tensor:
        """Training images (n, C, H, W) uint8 as they are, on the CPU, of positions (n,)."""
        return self._read("images", self._rows(index, len(self.images))).permute(0, 3, 1, 2)

    def _plain(self, name: str, index: Tensor | slice | Sequence[int]) -> Tensor:
        return self.normalise(self._part(name, index).permute(0, 3, 1, 2))

    def _part(self, name: str, index: Tensor | slice | Sequence[int]) -> Tensor:
        """Images (n, H, W, C) uint8 of a part, on the device."""
        return self._read(name, self._rows(index, len(getattr(self, name)))).to(self.device)

    def _read(self, name: str, rows: Tensor) -> Tensor:
        images, rows = getattr(self, name), rows.cpu()
        file = next((one for one in self._files if one.address == images.data_ptr() and len(images)), None)
        if file is None or _edits(images) or images.shape != file.shape:  # what a reader changed is not in the file
            return _take(images, rows)
        if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < len(images):
            raise _outside(rows, len(images))
        return file.read(rows)

    def _contents(self, name: str) -> Iterator[np.ndarray]:
        if "images" not in name:
            yield from super()._contents(name)
            return
        for rows in torch.arange(len(getattr(self, name))).split(max(1, BLOCK // max(1, self.images[0].numel()))):
            yield self._read(name, rows).numpy()


def streamed(data: LongTailed, images: Rows) -> Streamed:
    """The same data, whose images are copies of `images` in files, as one that reads them batch by batch."""
    found = Streamed(**{f.name: getattr(data, f.name) for f in dataclasses.fields(LongTailed) if f.init})
    found._files = tuple(images.made)
    return found
