"""Omniglot-LT: characters of some alphabets with a long tail to train on, and whole alphabets never trained on."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import check
from . import sources
from .classes import order_classes, plain_order
from .longtailed import LongTailed, cut, hold_out
from .profiles import check_ratio

SETS = ("images_background_small1", "images_background_small2", "images_background", "images_evaluation")
SIDE = 105  # pixels of a drawing as it was published
TORCHVISION = "omniglot-py"  # the folder that torchvision makes in its root
LAYOUT = "<alphabet>/<character>/*.png"


class _Unseen(NamedTuple):
    images: np.ndarray
    identities: np.ndarray
    names: tuple[str, ...]


class Unseen(_Unseen):
    """Images of identities that no network was trained on, for retrieval and verification.

    images (n, H, W, C) uint8, stored as those of the data set; identities (n,) int64, numbers into names; names: one
    for each identity, no two alike. Raises ValueError for anything else.
    """

    __slots__ = ()

    def __new__(cls, images: Any, identities: Any, names: Sequence[str]) -> Unseen:
        return super().__new__(cls, *_checked(images, identities, names, ""))

    @classmethod
    def _make(cls, fields: Iterable[Any]) -> Unseen:
        """The same of (images, identities, names); ValueError as there."""
        expected = "images, identities and names, in this order"
        given = check.instance("fields", fields, Iterable, expected)
        given = tuple(given)
        if len(given) != len(cls._fields):
            raise check.refuse("fields", fields, f"{expected}; these are {len(given)}")
        return cls(*given)

    def _replace(self, **changes: Any) -> Unseen:
        """The same with other images, identities or names; ValueError as there, and for another name."""
        for name, value in changes.items():
            if name not in self._fields:
                known = f"images=, identities= or names={check.suggest(name, self._fields)}"
                raise check.refuse(name, value, f"one of {known}")
        return type(self)(**self._asdict() | changes)

    def checked(self, before: str = "unseen.") -> Unseen:
        """The same, looked at once more: arrays can be written to. before: stands before names in errors."""
        return tuple.__new__(type(self), _checked(*self, before))


def _checked(images: Any, identities: Any, names: Any, before: str) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """What an `Unseen` holds, as its types are; before: stands before the names of arguments in errors."""
    expected = "images (n, height, width, channels), whole numbers from 0 to 255 as uint8, at least one"
    pixels = check.array(f"{before}images", images, None, expected)
    if pixels.dtype != np.uint8:
        raise check.refuse(f"{before}images", images, f"{expected}; these are {pixels.dtype}: for floats from 0 to 1 "
                           "(images * 255).round().astype(np.uint8)")  # fmt: skip
    if pixels.ndim != 4 or not pixels.size:
        grey = "; of grey ones (n, height, width) pass images[..., None]" if pixels.ndim == 3 else ""
        raise check.refuse(f"{before}images", images, expected + grey)
    if pixels.shape[1] in (1, 3) and pixels.shape[3] not in (1, 3):
        raise check.refuse(f"{before}images", images, f"{expected}; where channels come first, pass "
                           "images.transpose(0, 2, 3, 1), of a tensor images.permute(0, 2, 3, 1)")  # fmt: skip
    wanted = "a name for each identity, as a tuple of texts, each once"
    named = isinstance(names, (list, tuple, np.ndarray)) and np.ndim(names) == 1 and len(names) > 0
    if not named or not all(isinstance(one, str) and one.strip() for one in names) or len(set(names)) < len(names):
        raise check.refuse(f"{before}names", names, wanted)
    who = check.labels(f"{before}identities", identities, len(names))
    if len(who) != len(pixels):
        raise check.refuse(f"{before}identities", identities, f"one for each of {len(pixels):,} images; there are "
                           f"{len(who):,}")  # fmt: skip
    return pixels, who, tuple(map(str, names))


def omniglot_lt(
    ratio: float = 8, size: int = 28, n_max: int | None = None, profile: str = "exp", seed: int = 0,
    class_order: str | Sequence[int | str] = "seed", validation: int = 2, test: int = 2,
    train: str = "images_background_small1", unseen: str = "images_background_small2", root: str | Path | None = None,
) -> LongTailed:  # fmt: skip
    """Long-tailed handwritten characters, and characters of other alphabets to find again: `data.unseen`.

    A class is a character, named "alphabet/character", drawn by 20 people. Of each, test and validation drawings are
    held out first, the same ones for every seed; what is left (16) is cut to a long tail: by default 16 down to 2.
    `data.unseen` (an `Unseen`) holds every drawing of the alphabets that are in the set `unseen` and not in `train`:
    the two small sets share Greek and Latin, which are therefore left out, and three alphabets of 106 characters stay.

    ratio: largest / smallest class; 1 is balanced. size: side in pixels, at most the published 105 (bilinear,
    antialiased). n_max: drawings of the largest class; None: all that are left. profile, seed: as in cifar_lt.
    class_order: "seed", "natural" (by name), or the classes from most to least frequent. validation, test: drawings of
    each class that are held out. Ink is 255 and paper 0, normalised by mean and standard deviation of the set.
    train, unseen: two of images_background_small1, images_background_small2, images_background, images_evaluation, as
    Lake et al. publish them: NAME.zip, read as it is, or a folder NAME of <alphabet>/<character>/*.png.
    root: the folder where they lie; None looks in LTVIZ_DATA, then in data/ of this repository. In each also in
    omniglot-py/, where torchvision puts them (torchvision.datasets.Omniglot(folder, download=True)).

    Raises FileNotFoundError without data, ValueError for a bad argument, a wrong layout and a damaged file.
    Source: Lake, Salakhutdinov & Tenenbaum, Science 350 (2015), github.com/brendenlake/omniglot (MIT licence).
    """
    ratio, size = check_ratio(ratio), check.whole("size", size, 8, SIDE)
    validation, test = check.whole("validation", validation), check.whole("test", test)
    train, unseen = check.choice("train", train, SETS), check.choice("unseen", unseen, SETS)
    folder = None if root is None else check.path("root", root)
    images, labels, names = _load(train, size, folder)
    others = _without(_load(unseen, size, folder), names, train, unseen)
    order = order_classes(class_order, names, seed)
    held, left = hold_out(labels, names, test, "test")
    rest, pixels = np.concatenate(left), images / 255
    data = cut(
        "omniglot_lt", (images[rest], labels[rest]), (images[held], labels[held]), names,
        ratio=ratio, n_max=n_max, profile=profile, seed=seed, order=order, validation=validation,
        mean=[pixels.mean()], std=[pixels.std()], pad=2, flip=False, recipe="omniglot",
        spec=dict(loader="omniglot_lt", ratio=ratio, size=size, n_max=n_max, profile=profile, seed=seed,
                  class_order=plain_order(class_order, order), validation=validation, test=test, train=train,
                  unseen=unseen, root=None if root is None else str(Path(root))))  # fmt: skip
    data.unseen = others
    return data


def _without(drawn: tuple[np.ndarray, np.ndarray, list[str]], known: list[str], train: str, unseen: str) -> Unseen:
    """The part of a set whose alphabets are not among those of the known characters."""
    images, labels, names = drawn
    alphabets = {name.split("/")[0] for name in known}
    kept = [c for c, name in enumerate(names) if name.split("/")[0] not in alphabets]
    if not kept:
        raise ValueError(f"unseen={unseen!r}: expected a set with alphabets that train={train!r} lacks; pass another")
    rows = np.flatnonzero(np.isin(labels, kept))
    return Unseen(images[rows], np.searchsorted(kept, labels[rows]), tuple(names[c] for c in kept))


def _load(name: str, size: int, root: Path | None) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Drawings (n, size, size, 1) of a set, ink 255 on paper 0; the class of each (n,); the classes by name."""
    path = _locate(name, root)

    def make() -> sources.Arrays:
        found = sorted(_from_archive(path, name) if path.suffix == ".zip" else _from_folder(path))
        names = sorted({character for character, *_ in found})
        if len(names) < 2:
            wanted = f"{name}/{LAYOUT}" if path.suffix == ".zip" else LAYOUT
            raise ValueError(f"{path} holds no drawings of two characters at {wanted}; copy or download it again")
        return {
            "images": np.stack([_drawing(data, f"{path}/{file}", size) for _, file, data in found])[..., None],
            "labels": np.searchsorted(names, [character for character, *_ in found]).astype(np.int64),
            "class_names": np.array(names),
        }

    key = (size, _state(path))
    arrays = sources.cached(sources.cache_places(), sources.cache_name(path, size), key, make)
    return arrays["images"], arrays["labels"], arrays["class_names"].tolist()


def _locate(name: str, root: Path | None) -> Path:
    """The archive or the folder of a set, in the first place that has it."""
    bases = sources.data_folders() if root is None else [root]
    if root is not None and root.name.removesuffix(".zip") in SETS:  # one of the two itself: the other lies beside it
        bases = [root.parent, root]
    for base in bases:
        for place in (base, base / TORCHVISION):
            if (place / f"{name}.zip").is_file():
                return place / f"{name}.zip"
            if (place / name).is_dir():
                return place / name
    looked = " or ".join(map(str, bases))
    raise FileNotFoundError(
        f"no {name}.zip and no folder {name}/ in {looked}, nor in {TORCHVISION}/ there; download {name}.zip from "
        f"github.com/brendenlake/omniglot (python/) into {bases[0]}, or pass root= the folder that has it"
    )


def _state(path: Path) -> list[tuple]:
    """Changes when a file does."""
    files = [path] if path.is_file() else sorted(path.glob(LAYOUT.replace("<alphabet>/<character>", "*/*")))
    return [(file.relative_to(path.parent).as_posix(), (s := file.stat()).st_size, s.st_mtime_ns) for file in files]


def _from_archive(path: Path, name: str) -> Iterable[tuple[str, str, bytes]]:
    """(character, file, its bytes) of NAME/<alphabet>/<character>/*.png; nothing is unpacked to the disk."""
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                parts = member.split("/")
                if len(parts) == 4 and parts[0] == name and _is_drawing(parts[3]):
                    yield "/".join(parts[1:3]), "/".join(parts[1:]), archive.read(member)
    # An encrypted member is a RuntimeError, a compression that is not known here a NotImplementedError.
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        raise ValueError(f"archive {path} is truncated or damaged ({error}); copy or download it again") from error


def _from_folder(path: Path) -> Iterable[tuple[str, str, bytes]]:
    for file in path.glob("*/*/*.png"):
        if _is_drawing(file.name):
            name = file.relative_to(path)
            yield name.parent.as_posix(), name.as_posix(), file.read_bytes()


def _is_drawing(name: str) -> bool:
    return name.endswith(".png") and not name.startswith(".")


def _drawing(data: bytes, name: str, size: int) -> np.ndarray:
    """One drawing (size, size) uint8: ink, which is 0 in the file, as 255."""
    from PIL import Image

    found = sources.decode(data, name)
    if found.shape[:2] != (SIDE, SIDE):
        raise sources.BadImage(name, f"{found.shape[1]} x {found.shape[0]} pixels, Omniglot's drawings are 105 x 105")
    ink = Image.fromarray(255 - found[..., 0])
    return np.asarray(ink if size == SIDE else ink.resize((size, size), Image.Resampling.BILINEAR))
