"""Glyphs: printed characters of two scripts with a long tail to train on, and of three others, never trained on."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .. import check
from ..files import data_folder, read_record, save_record, shipped
from . import sources
from .classes import order_classes, plain_order
from .longtailed import LongTailed, cut, hold_out
from .omniglot import Unseen
from .profiles import check_ratio

# Files that matplotlib brings along; the STIX faces have no Armenian and no Georgian.
FACES = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique",
    "DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique", "DejaVuSansMono-BoldOblique",
    "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic",
    "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta",
)  # fmt: skip
SCRIPTS = {  # code points of the letters without accents, the last one excluded
    "Latin": ((0x41, 0x5B), (0x61, 0x7B)),
    "Cyrillic": ((0x410, 0x450),),
    "Greek": ((0x391, 0x3A2), (0x3A3, 0x3AA), (0x3B1, 0x3CA)),
    "Armenian": ((0x531, 0x557), (0x561, 0x587)),
    "Georgian": ((0x10D0, 0x10F1),),
}
FEWEST = 12  # faces that a character must have
ALIKE = 0.92  # shared ink over all ink of two characters, in the face where they are most alike
MATRIX = 28  # side on which characters are compared, in pixels, drawn at four times as many
HEIGHT = 0.75  # of an em, as a share of the picture's side: every letter then fits, moved and turned
TURN, SLANT, SCALE, SHIFT = 10.0, 0.15, 0.12, 0.04  # at most: degrees, shear, share of the size, share of the side
RECORDED = data_folder() / "runs" / "glyphs" / "gallery.safetensors"
RULES = (FEWEST, ALIKE, MATRIX, HEIGHT, TURN, SLANT, SCALE, SHIFT)


def glyphs_lt(
    ratio: float = 6, size: int = 20, n_max: int | None = None, profile: str = "exp", seed: int = 0,
    class_order: str | Sequence[int | str] = "seed", validation: int = 2, test: int = 2,
    train: Sequence[str] = ("Latin", "Cyrillic"), unseen: Sequence[str] = ("Greek", "Armenian", "Georgian"),
) -> LongTailed:  # fmt: skip
    """Long-tailed printed characters, and characters of other scripts to find again: `data.unseen`.

    A class is a character, named "script/character". It is drawn once in each of the font faces that matplotlib brings
    along and that have it (12 or 16), turned by up to 10 degrees, slanted, scaled and moved a little. The drawings are
    the same for every seed. Of each class, test and validation drawings are held out first; what is left (12) is cut
    to a long tail: by default 12 down to 2. `data.unseen` (an `Unseen`) holds every drawing of the other scripts.
    A character that shares 92% of its ink with an earlier one in any face (Cyrillic A and Latin A) is left out, so no
    identity is on both sides, nor two names for one; what is only alike (Armenian Tiwn and Latin S) stays.

    ratio: largest / smallest class; 1 is balanced. size: side in pixels, 12 to 64. n_max: drawings of the largest
    class; None: all that are left. profile, seed: as in cifar_lt. class_order: "seed", "natural", or the classes from
    most to least frequent. validation, test: drawings of each class that are held out. train, unseen: scripts, of
    Latin, Cyrillic, Greek, Armenian and Georgian, none in both. Ink is 255 and paper 0, normalised by mean and
    standard deviation of the set. Raises ValueError for anything else.
    Source: the font files of matplotlib (DejaVu, STIX), under their own free licences.
    """
    ratio, size = check_ratio(ratio), check.whole("size", size, 12, 64)
    validation, test = check.whole("validation", validation), check.whole("test", test)
    known, others = _scripts("train", train), _scripts("unseen", unseen)
    if both := [script for script in others if script in known]:
        raise check.refuse("unseen", unseen, f"scripts that are not trained on; {both[0]} is in train=")
    images, labels, names = _drawings(known, (), size)
    order = order_classes(class_order, names, seed)
    held, left = hold_out(labels, names, test, "test")
    rest, pixels = np.concatenate(left), images / 255
    data = cut(
        "glyphs_lt", (images[rest], labels[rest]), (images[held], labels[held]), names,
        ratio=ratio, n_max=n_max, profile=profile, seed=seed, order=order, validation=validation,
        mean=[pixels.mean()], std=[pixels.std()], pad=2, flip=False, recipe="glyphs",
        spec=dict(loader="glyphs_lt", ratio=ratio, size=size, n_max=n_max, profile=profile, seed=seed,
                  class_order=plain_order(class_order, order), validation=validation, test=test, train=list(known),
                  unseen=list(others)))  # fmt: skip
    strange, identities, called = _drawings(others, known, size)
    data.unseen = Unseen(strange, identities, tuple(called))
    return data


def _scripts(name: str, value: Sequence[str]) -> tuple[str, ...]:
    """Names of scripts, each once."""
    expected = f"one or more of {', '.join(SCRIPTS)}, as a list"
    if not isinstance(value, (list, tuple)) or not value:
        raise check.refuse(name, value, expected)
    found = tuple(check.choice(f"one of {name}", one, SCRIPTS) for one in value)
    if len(set(found)) < len(found):
        raise check.refuse(name, value, f"{expected}, each once")
    return found


def _drawings(scripts: tuple[str, ...], before: tuple[str, ...], size: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Drawings (n, size, size, 1), the class of each (n,), the classes by name; none looks like one of `before`."""

    def make() -> sources.Arrays:
        chosen = [(script, char) for script, char in _distinct(before + scripts) if script in scripts]
        drawn = [(label, char, face) for label, (_, char) in enumerate(chosen) for face in _faces(char)]
        return {
            "images": np.stack([_jittered(char, face, size) for _, char, face in drawn])[..., None],
            "labels": np.array([label for label, *_ in drawn], np.int64),
            "class_names": np.array([f"{script}/{char}" for script, char in chosen]),
        }

    import matplotlib
    import PIL

    key = (scripts, before, size, matplotlib.__version__, PIL.__version__, FACES, SCRIPTS, RULES)
    arrays = sources.cached(sources.cache_places(), f"glyphs-{sources.hashed(key)[:12]}", key, make)
    return arrays["images"], arrays["labels"], arrays["class_names"].tolist()


def _distinct(scripts: tuple[str, ...]) -> list[tuple[str, str]]:
    """(script, character) of the scripts in this order, without those that look like an earlier one."""
    kept: list[tuple[str, str]] = []
    known = np.empty((0, FEWEST, MATRIX**2), np.float32)
    every = [(name, chr(i)) for name in scripts for part in SCRIPTS[name] for i in range(*part)]
    for script, char in every:
        faces = _faces(char)
        if len(faces) < FEWEST:
            continue
        ink = np.stack([_shrunk(_centred(char, face, 4 * MATRIX), MATRIX) for face in faces[:FEWEST]])
        ink = ink.reshape(1, FEWEST, -1).astype(np.float32) / 255
        shared = np.minimum(known, ink).sum(2)
        if len(kept) and (shared / (known.sum(2) + ink.sum(2) - shared)).max() >= ALIKE:
            continue
        kept.append((script, char))
        known = np.concatenate([known, ink])
    return kept


@functools.cache
def _folder() -> Path:
    from matplotlib import get_data_path

    return Path(get_data_path()) / "fonts" / "ttf"


@functools.cache
def _charmap(face: str) -> frozenset[int]:
    """The code points that a face has."""
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(os.fspath(_folder() / f"{face}.ttf")).get_charmap())


@functools.cache
def _font(face: str, pixels: int):
    from PIL import ImageFont

    return ImageFont.truetype(os.fspath(_folder() / f"{face}.ttf"), pixels, layout_engine=ImageFont.Layout.BASIC)


def _faces(char: str) -> list[str]:
    return [face for face in FACES if ord(char) in _charmap(face)]


def _centred(char: str, face: str, side: int) -> np.ndarray:
    """One character (side, side) uint8, the box of its ink in the middle: ink 255, paper 0."""
    from PIL import Image, ImageDraw

    font = _font(face, round(HEIGHT * side))
    left, top, right, bottom = font.getbbox(char)
    picture = Image.new("L", (side, side))
    ImageDraw.Draw(picture).text(((side - left - right) / 2, (side - top - bottom) / 2), char, fill=255, font=font)
    return np.asarray(picture)


def _jittered(char: str, face: str, size: int) -> np.ndarray:
    """The same, turned, slanted, scaled and moved by amounts that character and face fix."""
    from PIL import Image

    rng = np.random.RandomState([ord(char), FACES.index(face)])
    turn, slant, across, down, right, below = rng.uniform(-1, 1, 6)
    angle, side = np.deg2rad(TURN * turn), 2 * size  # drawn at twice the size, so that edges stay smooth
    rotate = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shape = rotate @ np.array([[1 + SCALE * across, SLANT * slant], [0, 1 + SCALE * down]])
    inverse = np.linalg.inv(shape)  # PIL asks where each pixel comes from
    middle = np.array([side / 2, side / 2])
    offset = middle - inverse @ (middle + SHIFT * side * np.array([right, below]))
    moved = Image.fromarray(_centred(char, face, side)).transform(
        (side, side),
        Image.Transform.AFFINE,
        (*inverse[0], offset[0], *inverse[1], offset[1]),
        Image.Resampling.BILINEAR,
    )
    return _shrunk(np.asarray(moved), size)


def _shrunk(picture: np.ndarray, size: int) -> np.ndarray:
    """A picture on fewer pixels, each the mean of those that it covers."""
    from PIL import Image

    return np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BOX))


# ------------------------------------------------------------------------------------------------- recorded features
def keep_features(file: Path, features: Mapping[str, np.ndarray], unseen: Unseen, rows: np.ndarray) -> None:
    """Write features (n, d) of these rows of `unseen`, by the name of the loss, in 255 steps."""
    arrays: dict[str, np.ndarray] = {}
    for i, x in enumerate(features.values()):
        low, high = np.float32(x.min()), np.float32(x.max())
        arrays[f"{i}"] = np.round((x - low) / (high - low) * 255).astype(np.uint8)
        arrays[f"{i}/ends"] = np.array([low, high], np.float32)
    first = np.searchsorted(unseen.identities, unseen.identities[rows])  # of each identity, which drawing it is
    who = [unseen.names[i] for i in unseen.identities[rows]]
    meta = {"labels": list(features), "names": who, "drawings": (rows - first).tolist()}
    save_record(file, "features", meta, arrays)


def glyph_features(file: str | Path = RECORDED, size: int = 20) -> tuple[dict[str, np.ndarray], Unseen]:
    """Recorded features (n, d) of drawings never trained on, by the name of the loss, and the drawings themselves.

    320 drawings of 40 characters, and the features that networks trained on `glyphs_lt()` with one loss each (seed 0)
    give them. They are kept in 255 steps between the smallest and the largest number of a loss; the drawings are drawn
    again. size: side of the drawings in pixels. Made by `python -m tools.glyphs`. RunFileError for a damaged file.
    """
    file = check.path("file", file)
    meta, arrays = read_record(shipped(file, "python -m tools.glyphs") if file == RECORDED else file, "features")
    features = {}
    for i, label in enumerate(meta["labels"]):
        low, high = arrays[f"{i}/ends"]
        features[label] = low + arrays[f"{i}"].astype(np.float32) / 255 * (high - low)
    chars = [name.split("/")[1] for name in meta["names"]]
    drawn = [_jittered(char, _faces(char)[j], check.whole("size", size, 12, 64))
             for char, j in zip(chars, meta["drawings"], strict=True)]  # fmt: skip
    names = tuple(dict.fromkeys(meta["names"]))
    return features, Unseen(np.stack(drawn)[..., None], np.array([names.index(one) for one in meta["names"]]), names)
