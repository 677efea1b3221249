"""Images in files: how one is decoded, archives of them, and arrays that are made once and then kept."""

import hashlib
import io
import os
import struct
import tarfile
import warnings
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from ..files import cache_folder, checksum, data_folder, write_atomically

SPLITS = ("train", "val", "test")
SUFFIXES = frozenset("bmp gif jfif jpe jpeg jpg pbm pgm png pnm ppm tif tiff webp".split())
CACHE = ".ltviz-cache"
DECODING = 3  # counts changes of how pixels are read: what an older rule has decoded is decoded again
Arrays = dict[str, np.ndarray]


def own_folder() -> Path:
    """Where downloads and caches land: data/ of a source checkout, else a folder in the user's cache."""
    return data_folder()


def data_folders() -> list[Path]:
    """Where data are looked for: LTVIZ_DATA if it is set, then `own_folder()`. The first one takes downloads."""
    given = os.environ.get("LTVIZ_DATA")
    return ([Path(given).expanduser()] if given else []) + [own_folder()]


def cache_places() -> list[Path]:
    """Where decoded images are kept, never among the reader's own files; the first that can be written takes them."""
    return [cache_folder() / "images", own_folder() / CACHE]


class BadImage(ValueError):
    """A file that is no image, or one of a kind that is not read: `reason` says why."""

    def __init__(self, name: str, reason: object):
        self.reason = str(reason) or type(reason).__name__
        super().__init__(f"image {name} cannot be read ({self.reason}); replace or remove it")


def class_folders(folder: Path) -> list[str]:
    """Names of the class folders in a folder, sorted; hidden ones do not count."""
    return sorted(e.name for e in os.scandir(folder) if e.is_dir() and not e.name.startswith("."))


def read_archive(path: Path) -> Arrays:
    """The same from a .tar, .tar.gz or .tar.xz of train/<class>/* and test/<class>/*.

    The archive is read as a stream, and no file out of it is ever written to disk.
    """
    import lzma

    def make() -> Arrays:
        say_reading()
        found = []
        try:
            with tarfile.open(path, "r|*") as archive:
                for member in archive:
                    parts = member.name.split("/")[-3:]
                    if member.isfile() and len(parts) == 3 and parts[0] in SPLITS and is_image(parts[2]):
                        found.append((*parts, archive.extractfile(member).read()))
        except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
            raise ValueError(f"archive {path} is truncated or damaged ({error}); copy or download it again") from error
        if not {"train", "test"} <= {split for split, *_ in found}:
            raise ValueError(f"archive {path} holds no images at train/<class>/* and test/<class>/*; pack it that way")
        return _arrays(
            (split, name, f"{path}:{split}/{name}/{file}", decode(data, f"{path}:{split}/{name}/{file}"))
            for split, name, file, data in sorted(found)
        )

    state = path.stat()
    return cached(cache_places(), cache_name(path), (state.st_size, state.st_mtime_ns), make)


def decode(data: bytes, name: str, size: int | None = None) -> np.ndarray:
    """One image as (H, W, 3) uint8; with `size` its largest centred square, resized (antialiased) to size x size.

    Grey images of 16 bits (12 in some TIFF) are brought to 8 by their full range: v * 255 / 65,535, that is v / 257,
    rounded; of 16-bit colour the high byte is read. Float images run from 0 (black) to 1 (white): v * 255, rounded.
    Grey TIFF may count from white. Transparent parts lie on white. Palettes and CMYK become RGB. Of an animation or a
    file of several pages the first image is read. It is turned as its EXIF orientation says.
    Raises BadImage (a ValueError) for what cannot be read, for float images with values outside 0 .. 1, and for signed
    and 32-bit ones, which have no range of their own.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        data, inverted = _black_is_zero(data)
        with Image.open(io.BytesIO(data)) as image:
            image = _eight_bits(ImageOps.exif_transpose(image), image)
            image = _rgb(_inverted(image) if inverted else image)
    except UnidentifiedImageError as error:
        raise BadImage(name, "no kind of image that is known" if data else "an empty file") from error
    except Exception as error:  # a damaged file raises errors of any kind in Pillow
        raise BadImage(name, error) from error
    if size is not None:
        image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
    return np.asarray(image)


def cut_out(
    page: np.ndarray, name: str, box: tuple[int, int, int, int], drawn_on: tuple[int, int], size: int | None = None
) -> np.ndarray:
    """What is in a box (left, top, right, bottom) of a page (H, W, 3) uint8, resized (antialiased) to size x size.

    drawn_on: width and height of the page that the box was drawn on. Raises BadImage where this page has others.
    """
    from PIL import Image

    left, top, right, bottom = box
    height, width = page.shape[:2]
    if (width, height) != drawn_on:
        raise BadImage(name, f"the image of its page is {width} x {height}, and its box was drawn on a page of "
                       f"{drawn_on[0]} x {drawn_on[1]}")  # fmt: skip
    part = page[top:bottom, left:right]
    return part if size is None else np.asarray(Image.fromarray(part).resize((size, size), Image.Resampling.BILINEAR))


def _black_is_zero(data: bytes) -> tuple[bytes, bool]:
    """A TIFF in which zero is white, told to be one in which zero is black, and True; any other file as it is.

    Image libraries know the first kind for some depths, byte orders and compressions, and ignore it for others.
    """
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    try:
        version = struct.unpack_from(f"{order}H", data, 2)[0] if order else 0
        if version not in (42, 43):
            return data, False
        # 43 is BigTIFF: the same with wider fields.
        pointer, at, count, entry, value = ("I", 4, "H", 12, 8) if version == 42 else ("Q", 8, "Q", 20, 12)
        (first,) = struct.unpack_from(order + pointer, data, at)
        (number,) = struct.unpack_from(order + count, data, first)
        first += struct.calcsize(f"<{count}")
        for place in range(first, min(first + number * entry, len(data)), entry):
            if struct.unpack_from(f"{order}HH", data, place) == (262, 3):  # the photometric interpretation
                place += value
                if struct.unpack_from(f"{order}H", data, place) == (0,):
                    return data[:place] + struct.pack(f"{order}H", 1) + data[place + 2 :], True
    except struct.error:  # cut short; whoever opens it says so
        pass
    return data, False


def _inverted(image):
    """A grey image of PIL with black and white exchanged; transparency stays."""
    from PIL import Image, ImageOps

    if image.mode == "LA":
        grey, alpha = image.split()
        return Image.merge("LA", (ImageOps.invert(grey), alpha))
    return ImageOps.invert(image.convert("L"))


def _eight_bits(image, file):
    """An image of PIL with 8 bits or fewer a channel; `file` as it was opened. ValueError where no rule gives them."""
    from PIL import Image

    if image.mode == "I" and file.format not in ("PNG", "PPM"):
        raise ValueError("its 32-bit values have no range that says what is white; save it with 8 or 16 bits")
    if image.mode == "F":
        values = np.asarray(image)
        if not (values.min() >= 0 and values.max() <= 1):  # also where one is NaN
            raise ValueError(
                f"its float values {values.min():g} .. {values.max():g} are not in 0 .. 1; scale them, or save it "
                "with 8 or 16 bits"
            )
        return Image.fromarray(np.rint(values * 255).astype(np.uint8))
    if file.format == "TIFF" and 2 in np.ravel(file.tag_v2.get(339, 1)):
        raise ValueError("its signed values have no range that says what is white; save it with unsigned ones")
    if not image.mode.startswith("I"):
        return image
    bits = file.tag_v2.get(258, (16,)) if file.format == "TIFF" else (16,)
    top = 2 ** int(np.ravel(bits)[0]) - 1
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > top:
        raise ValueError(f"its values {values.min()} .. {values.max()} exceed 0 .. {top}; save it with 8 bits")
    return Image.fromarray(((values * 510 + top) // (2 * top)).astype(np.uint8))  # rounded to the nearest


def _rgb(image):
    """An image of PIL as RGB, on white where it is transparent."""
    from PIL import Image

    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def cached(folders: list[Path], name: str, key: object, make: Callable[[], Arrays]) -> Arrays:
    """`make()`, or what it gave last time under an equal `key`, from <folder>/<name>.npz (plain arrays, no pickle).

    folders: the first that can be written takes the file. A damaged or outdated file is made again: one that cannot be
    read, or whose arrays, with their types and shapes, are not those that were written.
    """
    for folder in folders:
        if (arrays := opened(folder / f"{name}.npz", key)) is not None:
            return arrays
    arrays = make()
    for folder in folders:
        try:
            keep(folder / f"{name}.npz", key, arrays)
            return arrays
        except OSError as error:
            problem = error
    warn_not_kept(problem)
    return arrays


def warn_not_kept(problem: OSError) -> None:
    """Warn that decoded images could not be written."""
    warnings.warn(
        f"the decoded images could not be kept ({problem}): the next load will take as long; set LTVIZ_CACHE to a "
        "folder with room for them",
        stacklevel=3,
    )


def hashed(key: object) -> str:
    """A key, and the rules of decoding, as 64 digits."""
    return hashlib.sha256(repr((DECODING, key)).encode()).hexdigest()


def opened(path: Path, key: object) -> Arrays | None:
    """The arrays of a file that `keep` wrote under an equal key, if it is whole."""
    try:
        if not path.is_file():
            return None
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            if str(stored["key"]) != hashed(key):
                return None
            arrays = {field: stored[field] for field in stored.files if field not in ("key", "checksum")}
            return arrays if str(stored["checksum"]) == _checksum(arrays) else None
    except Exception:  # numpy and zipfile have many errors for damaged files, and a damaged size can be any size
        return None


def keep(path: Path, key: object, arrays: Arrays) -> None:
    """Write arrays and their key; OSError where that is not possible."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    np.savez(content, key=np.array(hashed(key)), checksum=np.array(_checksum(arrays)), **arrays)
    write_atomically(path, content.getbuffer())


def _checksum(arrays: Arrays) -> str:
    return hashlib.sha256("".join(f"{name} {checksum(arrays[name])} " for name in sorted(arrays)).encode()).hexdigest()


def _arrays(images: Iterable[tuple[str, str, str, np.ndarray]]) -> Arrays:
    """(split, class name, file, image) … as one array of images and one of labels per split."""
    split_images: dict[str, list[np.ndarray]] = {}
    split_classes: dict[str, list[str]] = {}
    shape = None
    for split, name, file, image in images:
        shape = shape or image.shape
        if image.shape != shape:
            raise ValueError(
                f"image {file} is {image.shape[1]} x {image.shape[0]}, others are {shape[1]} x {shape[0]};"
                " pass size= to folder_lt to bring all to one size"
            )
        split_images.setdefault(split, []).append(image)
        split_classes.setdefault(split, []).append(name)
    names = sorted(set(split_classes["train"]))
    arrays: Arrays = {"class_names": np.array(names)}
    for split, classes in split_classes.items():
        if set(classes) != set(names):
            raise ValueError(
                f"{split}/ and train/ hold different classes: {sorted(set(classes) ^ set(names))[:5]} "
                "in only one of them; give both the same class folders"
            )
        arrays[f"{split}_images"] = np.stack(split_images[split])
        arrays[f"{split}_labels"] = np.searchsorted(names, classes).astype(np.int64)
    return arrays


def is_image(name: str) -> bool:
    """Whether a file of this name is read as an image."""
    return not name.startswith(".") and name.rpartition(".")[2].lower() in SUFFIXES


def cache_name(source: Path, size: int | None = None) -> str:
    """Name of the cache of a source: two folders of one name in different places do not share it."""
    where = hashlib.sha256(os.fsencode(source.resolve())).hexdigest()[:12]
    return f"{source.resolve().name[:40]}-{where}" + (f"-{size}" if size else "")


def say_reading(n: int | None = None) -> None:
    """Print that n image files (None: an archive) are being read, where that takes long."""
    if n is None or n > 5000:  # silence would look like a hang
        print("reading", f"{n:,} image files" if n else "an archive of images", "once; later loads take seconds")
