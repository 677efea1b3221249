"""Images on disk: folders and archives with one folder per class, decoded once and then kept as plain arrays."""

import hashlib
import io
import os
import tarfile
import uuid
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

SPLITS = ("train", "val", "test")
SUFFIXES = {"bmp", "gif", "jpeg", "jpg", "pgm", "png", "ppm", "tif", "tiff", "webp"}
CACHE = ".ltviz-cache"
Arrays = dict[str, np.ndarray]


def own_folder() -> Path:
    """Where downloads and caches land: data/ of a source checkout, else a folder in the user's cache."""
    repository = Path(__file__).resolve().parents[2]
    if (repository / "pyproject.toml").is_file():
        return repository / "data"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ltviz"


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
            found = sorted((e.name, e.path, e.stat()) for e in os.scandir(folder / name) if _is_image(e.name))
            if not found:
                raise ValueError(f"class folder {folder / name} holds no image ({' '.join(sorted(SUFFIXES))}); "
                                 "add at least one, or remove the folder")
            files += [(split, name, file, path, state.st_size, state.st_mtime_ns) for file, path, state in found]

    def make() -> Arrays:
        _say_reading(len(files))
        return _arrays((split, name, path, decode(Path(path).read_bytes(), path, size))
                       for split, name, _, path, *_ in files)

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
        return _arrays((split, name, f"{path}:{split}/{name}/{file}", decode(data, f"{path}:{split}/{name}/{file}"))
                       for split, name, file, data in sorted(found))

    state = path.stat()
    return cached([own_folder() / CACHE], cache_name(path), (state.st_size, state.st_mtime_ns), make)


def decode(data: bytes, name: str, size: int | None = None) -> np.ndarray:
    """One image as (H, W, 3) uint8; with `size` its largest centred square, resized (antialiased) to size x size."""
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(data)) as image:
            image = ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"image {name} cannot be read ({error}); replace or remove it") from error
    if size is not None:
        image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
    return np.asarray(image)


def cached(folders: list[Path], name: str, key: object, make: Callable[[], Arrays]) -> Arrays:
    """`make()`, or what it gave last time under an equal `key`, from <folder>/<name>.npz (plain arrays, no pickle).

    folders: the first that can be written takes the file. A damaged or outdated file is made again. Written under
    another name and then renamed, so that no reader ever sees half a file.
    """
    key = hashlib.sha256(repr(key).encode()).hexdigest()
    for folder in folders:
        try:
            with open(folder / f"{name}.npz", "rb") as file, np.load(file, allow_pickle=False) as stored:
                if str(stored["key"]) == key:
                    return {field: stored[field] for field in stored.files if field != "key"}
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error):
            continue  # not there or damaged (every array carries a checksum): make it again
    arrays = make()
    for folder in folders:
        try:
            _write(folder, name, {"key": np.array(key), **arrays})
            return arrays
        except OSError as error:
            problem = error
    warnings.warn(f"the decoded images could not be kept ({problem}): the next load will take as long", stacklevel=2)
    return arrays


def _write(folder: Path, name: str, arrays: Arrays) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"{uuid.uuid4().hex}.tmp"
    try:
        with open(temporary, "xb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, folder / f"{name}.npz")
    finally:
        temporary.unlink(missing_ok=True)


def _arrays(images: Iterable[tuple[str, str, str, np.ndarray]]) -> Arrays:
    """(split, class name, file, image) … as one array of images and one of labels per split."""
    split_images: dict[str, list[np.ndarray]] = {}
    split_classes: dict[str, list[str]] = {}
    shape = None
    for split, name, file, image in images:
        shape = shape or image.shape
        if image.shape != shape:
            raise ValueError(f"image {file} is {image.shape[1]} x {image.shape[0]}, others are {shape[1]} x {shape[0]};"
                             " pass size= to folder_lt to bring all to one size")
        split_images.setdefault(split, []).append(image)
        split_classes.setdefault(split, []).append(name)
    names = sorted(set(split_classes["train"]))
    arrays: Arrays = {"class_names": np.array(names)}
    for split, classes in split_classes.items():
        if set(classes) != set(names):
            raise ValueError(f"{split}/ and train/ hold different classes: {sorted(set(classes) ^ set(names))[:5]} "
                             "in only one of them; give both the same class folders")
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
