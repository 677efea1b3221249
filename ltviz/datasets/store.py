"""The images of a folder, decoded once and kept: one file of pixels, and one of what else is to be known of them."""

import functools
import glob
import hashlib
import math
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..files import write_atomically
from . import sources
from .tree import LISTED, Found, Tree, scan


@dataclass(frozen=True)
class Decoded:
    """The images of a tree that could be read.

    pixels (n, H, W, 3) uint8, those of a file where they could be kept; files: of each image; bad: file -> reason;
    digests (n,) of 16 bytes: equal where pixels are equal; colours (3, 256): how often each value occurs in "train".
    """

    pixels: np.ndarray
    files: list[Found]
    bad: dict[str, str]
    digests: np.ndarray
    colours: np.ndarray

    def rows(self, part: str) -> np.ndarray:
        """The positions of the images of a part."""
        return np.flatnonzero([file.part == part for file in self.files])

    def labels(self, class_names: list[str]) -> np.ndarray:
        """The class of each image (n,), as its place among the names."""
        place = {name: c for c, name in enumerate(class_names)}
        return np.array([place[file.class_name] for file in self.files], np.int64)

    def moments(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each channel of the training part, as fractions of 255."""
        value, mean, std = np.arange(256) / 255, [], []
        for number in self.colours:
            share = number / number.sum()
            mean.append(float(share @ value))
            std.append(
                max(float(share @ (value - mean[-1]) ** 2) ** 0.5, 1 / 255)
            )  # an even colour must not divide by 0
        return mean, std

    def repeated(self) -> list[np.ndarray]:
        """The positions of images whose pixels are equal: two or more together, in the order of the files."""
        _, group, number = np.unique(self.digests, return_inverse=True, return_counts=True)
        rows, ends = np.argsort(group, kind="stable"), np.cumsum(number)
        found = [rows[ends[g] - number[g] : ends[g]] for g in np.flatnonzero(number > 1)]
        return sorted(found, key=lambda same: int(same[0]))


def read(tree: Tree, size: int | None, memory: float = math.inf) -> Decoded:
    """The images of a tree: from the cache, until a file comes, goes, or changes its name, size or times.

    size: side to crop and resize to; None leaves the images as they are. memory: bytes that they may take where they
    cannot be kept. A cache that is damaged is made again, and so is one with a bad file that can be read now (a drive
    that was away leaves no trace in the times). Of several processes that ask for the same images, such as those of
    torchrun, one decodes them, on all cores, while the others wait. Raises ValueError where the sizes of the images
    differ, none can be read, or they would take more memory.
    """
    name = sources.cache_name(tree.root, size)
    key = [
        (file.part, file.class_name, file.name, file.version, *(file.box or ()), *(file.page or ()))
        for file in tree.files
    ]
    pixels = f"{name}.{sources.hashed(key)[:16]}.pixels"
    found = _kept(tree, size, name, key, pixels)
    if found is None:
        with _alone(tree.root):
            found = _kept(tree, size, name, key, pixels) or _made(tree, size, name, key, pixels, memory)
    return found


def _kept(tree: Tree, size: int | None, name: str, key: list, pixels: str) -> Decoded | None:
    """The images that are in the cache, whole."""
    for place in sources.cache_places():
        notes = sources.opened(place / f"{name}.npz", key)
        mapped = None if notes is None else _mapped(place / pixels, notes)
        if mapped is not None and not any(_readable(tree.files[i], size) for i in notes["bad"]):
            return _decoded(tree, mapped, notes)
    return None


def _made(tree: Tree, size: int | None, name: str, key: list, pixels: str, memory: float) -> Decoded:
    """The images decoded, and kept where that is possible."""
    sources.say_reading(len(tree.files))
    for place in sources.cache_places():
        work = _Decoding(tree, size)
        try:
            write_atomically(place / pixels, work.parts())
            sources.keep(place / f"{name}.npz", key, work.notes())
        except OSError as error:  # of writing: what is wrong with an image is in the notes
            problem = error
            with suppress(OSError):
                (place / pixels).unlink()  # without its notes it is of no use
            continue
        _remove_older(place, name, pixels)
        if (mapped := _mapped(place / pixels, work.notes())) is not None:
            return _decoded(tree, mapped, work.notes())
        problem = OSError(f"{place} does not keep what is written to it")
    sources.warn_not_kept(problem)
    work, content = _Decoding(tree, size), bytearray()
    for part in work.parts():
        content += part
        if len(content) > memory:
            raise ValueError(
                f"the decoded images take more than {memory / 2**30:.3g} GiB of memory and cannot be kept ({problem}); "
                "set LTVIZ_CACHE to a folder with room for them"
            )
    return _decoded(tree, np.frombuffer(content, np.uint8).reshape(work.notes()["shape"]), work.notes())


def read_folders(root: Path) -> sources.Arrays:
    """A folder with train/<class>/* and test/<class>/* as arrays, all of them in memory; no file may be bad.

    Returns `class_names`, and for each part `<part>_images` (n, H, W, 3) uint8 and `<part>_labels` (n,) int64.
    """
    tree = scan(root, ("train", "test"))
    found = read(tree, None)
    refuse_bad(tree.bad | found.bad)
    arrays, labels = {"class_names": np.array(tree.class_names)}, found.labels(tree.class_names)
    for part in tree.parts:
        rows = found.rows(part)
        arrays |= {f"{part}_images": found.pixels[rows], f"{part}_labels": labels[rows]}
    return arrays


def refuse_bad(bad: dict[str, str], todo: str = "") -> None:
    """Raise ValueError with the number of files that cannot be read, the first of them, and what is wrong with each."""
    if bad:
        what = "image" if len(bad) == 1 else f"{len(bad):,} images:"
        told = "; ".join(f"{name} cannot be read ({reason})" for name, reason in list(bad.items())[:LISTED])
        more = f"; and {len(bad) - LISTED:,} more" if len(bad) > LISTED else ""
        raise ValueError(f"{what} {told}{more}; replace or remove {'it' if len(bad) == 1 else 'them'}{todo}")


class _Decoding:
    """The images of a tree one by one, and notes of what they are."""

    def __init__(self, tree: Tree, size: int | None):
        self.tree, self.size = tree, size
        self.good: list[int] = []
        self.bad: dict[int, str] = {}
        self.shape: tuple[int, ...] = ()
        self.digests: list[bytes] = []
        self.colours = np.zeros((3, 256), np.int64)
        self.sum = hashlib.sha256()

    def parts(self) -> Iterator[memoryview]:
        """The pixels of each image that can be read, in the order of the files."""
        for i, (file, image) in enumerate(_ahead(self.tree.files, self.size)):
            if isinstance(image, sources.BadImage):
                self.bad[i] = image.reason
                continue
            self.shape = self.shape or image.shape
            if image.shape != self.shape:
                (height, width), (h, w) = image.shape[:2], self.shape[:2]
                raise ValueError(
                    f"image {file.name} is {width} x {height}, others are {w} x {h}; pass size= to bring all to one "
                    "size"
                )
            content = np.ascontiguousarray(image).data
            self.good.append(i)
            self.digests.append(hashlib.sha256(content).digest()[:16])
            self.sum.update(content)
            if file.part == "train":
                for channel in range(3):
                    self.colours[channel] += np.bincount(image[..., channel].ravel(), minlength=256)
            yield content
        if not self.good:
            refuse_bad(self.tree.bad | {self.tree.files[i].name: reason for i, reason in self.bad.items()})

    def notes(self) -> sources.Arrays:
        """What is to be known of the pixels, once all parts are made."""
        return {
            "shape": np.array((len(self.good), *self.shape), np.int64),
            "good": np.array(self.good, np.int64),
            "bad": np.array(list(self.bad), np.int64),
            "reasons": np.array(list(self.bad.values()), np.str_),
            "digests": np.frombuffer(b"".join(self.digests), "V16"),
            "colours": self.colours,
            "sum": np.array(self.sum.hexdigest()),
        }


@contextmanager
def _alone(source: str | Path) -> Iterator[None]:
    """Inside, no other process is, for the same folder or list; where the system has no such locks, several may be."""
    with ExitStack() as until:
        with suppress(ImportError, OSError):
            import fcntl

            until.callback(os.close, number := os.open(source, os.O_RDONLY))
            fcntl.flock(number, fcntl.LOCK_EX)  # until it is closed
        yield


def _ahead(files: list[Found], size: int | None) -> Iterator[tuple[Found, np.ndarray | sources.BadImage]]:
    """Each file in turn with its image, or with why it has none; as many are decoded at a time as there are cores."""

    def one(file: Found) -> np.ndarray | sources.BadImage:
        try:
            return _decode(file, size)
        except sources.BadImage as error:
            return error

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores = 1 if any(file.box is not None for file in files) else cores  # boxes share the page that was read last
    with ThreadPoolExecutor(cores) as pool:
        coming: deque = deque()
        for file in files:
            coming.append((file, pool.submit(one, file)))
            if len(coming) > 4 * cores:
                yield coming[0][0], coming.popleft()[1].result()
        while coming:
            yield coming[0][0], coming.popleft()[1].result()


def _decode(file: Found, size: int | None) -> np.ndarray:
    if file.box is None:
        return sources.decode(_content(file.path), file.name, size)
    return sources.cut_out(_page(file.path, file.version), file.name, file.box, file.page, size)


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise sources.BadImage(path, error.strerror or error) from error


@functools.lru_cache(maxsize=1)  # the boxes of a page come one after the other
def _page(path: str, version: tuple[int, int, int]) -> np.ndarray:
    return sources.decode(_content(path), path)


def _readable(file: Found, size: int | None) -> bool:
    with suppress(sources.BadImage):
        return _decode(file, size) is not None
    return False


def _mapped(path: Path, notes: sources.Arrays) -> np.ndarray | None:
    """The pixels in a file, read where they are used; None where they are not those that were noted."""
    shape = tuple(notes["shape"].tolist())
    try:
        if path.stat().st_size != np.prod(shape):
            return None
        with path.open("rb") as file:  # not through the mapping: what is read there stays in memory
            if hashlib.file_digest(file, "sha256").hexdigest() != str(notes["sum"]):
                return None
        return np.memmap(path, np.uint8, "r", shape=shape)
    except (OSError, ValueError):
        return None


def _decoded(tree: Tree, pixels: np.ndarray, notes: sources.Arrays) -> Decoded:
    bad = {tree.files[i].name: str(reason) for i, reason in zip(notes["bad"], notes["reasons"], strict=True)}
    return Decoded(pixels, [tree.files[i] for i in notes["good"]], bad, notes["digests"], notes["colours"])


def _remove_older(place: Path, name: str, pixels: str) -> None:
    """Remove the pixels of the same folder as it was before; whoever has them open keeps them."""
    for old in place.glob(f"{glob.escape(name)}.*.pixels"):
        if old.name != pixels:
            with suppress(OSError):
                old.unlink()
