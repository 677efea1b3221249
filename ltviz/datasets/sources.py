"""Images on disk: folders and archives with one folder per class, decoded once and then kept as plain arrays."""

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

from ..files import checksum, data_folder, write_atomically

SPLITS = ("train", "val", "test")
SUFFIXES = {"bmp", "gif", "jpeg", "jpg", "pgm", "png", "ppm", "tif", "tiff", "webp"}
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


def class_folders(folder: Path) -> list[str]:
    """Names of the class folders in a folder, sorted; hidden ones do not count."""
    return sorted(e.name for e in os.scandir(folder) if e.is_dir() and not e.name.startswith("."))


def read_folders(root: Path, splits: dict[str, Path], size: int | None) -> Arrays:
    """Images at <folder>/<class>/* of every split; classes are the folders of "train", in the order of their names.

    splits: name -> folder. size: side to crop and resize to; None leaves the images as they are (all of one shape).
    Returns `class_names`, and for each split `<split>_images` (n, H, W, 3) uint8 and `<split>_labels` (n,) int64.
    Decoded once, then kept in <root>/.ltviz-cache until a file comes, goes or changes.
    """
    files = []
    for split, folder in splits.items():
        for name in class_folders(folder):
            images = [e for e in os.scandir(folder / name) if _is_image(e.name) and e.is_file()]
            found = sorted((e.name, e.path, e.stat()) for e in images)
            if not found:
                raise ValueError(
                    f"class folder {folder / name} holds no image ({' '.join(sorted(SUFFIXES))}); "
                    "add at least one, or remove the folder"
                )
            files += [(split, name, file, path, state.st_size, state.st_mtime_ns) for file, path, state in found]

    def make() -> Arrays:
        _say_reading(len(files))
        return _arrays(
            (split, name, path, decode(Path(path).read_bytes(), path, size)) for split, name, _, path, *_ in files
        )

    key = [(split, name, file, *state) for split, name, file, _, *state in files]
    return cached([root / CACHE, own_folder() / CACHE], cache_name(root, size), key, make)


def read_archive(path: Path) -> Arrays:
    """The same from a .tar, .tar.gz or .tar.xz of train/<class>/* and test/<class>/*.

    The archive is read as a stream, and no file out of it is ever written to disk.
    """
    import lzma

    def make() -> Arrays:
        _say_reading()
        found = []
        try:
            with tarfile.open(path, "r|*") as archive:
                for member in archive:
                    parts = member.name.split("/")[-3:]
                    if member.isfile() and len(parts) == 3 and parts[0] in SPLITS and _is_image(parts[2]):
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
    return cached([own_folder() / CACHE], cache_name(path), (state.st_size, state.st_mtime_ns), make)


def decode(data: bytes, name: str, size: int | None = None) -> np.ndarray:
    """One image as (H, W, 3) uint8; with `size` its largest centred square, resized (antialiased) to size x size.

    Grey images of 16 bits (12 in some TIFF) are brought to 8 by their full range: v * 255 / 65,535, that is v / 257,
    rounded; of 16-bit colour the high byte is read. Grey TIFF may count from white. Transparent parts lie on white.
    Palettes and CMYK become RGB. Raises ValueError for what cannot be read, and for float, signed and 32-bit images,
    which have no range of their own.
    """
    from PIL import Image, ImageOps

    try:
        data, inverted = _black_is_zero(data)
        with Image.open(io.BytesIO(data)) as image:
            image = _eight_bits(ImageOps.exif_transpose(image), image)
            image = _rgb(_inverted(image) if inverted else image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"image {name} cannot be read ({error}); replace or remove it") from error
    if size is not None:
        image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
    return np.asarray(image)


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

    if image.mode == "F" or (image.mode == "I" and file.format not in ("PNG", "PPM")):
        kind = "float" if image.mode == "F" else "32-bit"
        raise ValueError(f"its {kind} values have no range that says what is white; save it with 8 or 16 bits")
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
    key = hashlib.sha256(repr((DECODING, key)).encode()).hexdigest()
    for folder in folders:
        try:
            if not (folder / f"{name}.npz").is_file():
                continue
            with open(folder / f"{name}.npz", "rb") as file, np.load(file, allow_pickle=False) as stored:
                if str(stored["key"]) != key:
                    continue
                arrays = {field: stored[field] for field in stored.files if field not in ("key", "checksum")}
                if str(stored["checksum"]) == _checksum(arrays):
                    return arrays
        except Exception:  # numpy and zipfile have many errors for damaged files, and a damaged size can be any size
            continue
    arrays = make()
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            content = io.BytesIO()
            np.savez(content, key=np.array(key), checksum=np.array(_checksum(arrays)), **arrays)
            write_atomically(folder / f"{name}.npz", content.getbuffer())
            return arrays
        except OSError as error:
            problem = error
    warnings.warn(f"the decoded images could not be kept ({problem}): the next load will take as long", stacklevel=2)
    return arrays


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


def _is_image(name: str) -> bool:
    return not name.startswith(".") and name.rpartition(".")[2].lower() in SUFFIXES


def cache_name(source: Path, size: int | None = None) -> str:
    """Name of the cache of a source: two folders of one name in different places do not share it."""
    where = hashlib.sha256(str(source.resolve()).encode()).hexdigest()[:12]
    return f"{source.name}-{where}" + (f"-{size}" if size else "")


def _say_reading(n: int | None = None) -> None:
    if n is None or n > 5000:  # silence would look like a hang
        print("reading", f"{n:,} image files" if n else "an archive of images", "once; later loads take under a second")
