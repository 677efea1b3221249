"""CelebA, and any images with a CSV file of attributes, as `Attributes`."""

from __future__ import annotations

import csv
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import check
from ..files import canonical
from . import sources, store
from .attributes import BINARY, UNLABELLED, Attributes
from .folder import LARGEST_SIDE, ON_ERROR, warn_repeated
from .lists import MISSING, entered, none_there, refuse_twice
from .measured import split as shared_out
from .profiles import share_or_number
from .stream import chosen_from, memory_bound
from .tree import PARTS, Tree, listed

FILES = ("list_attr_celeba.txt", "list_eval_partition.txt", "img_align_celeba")
NUMBERED = dict(zip("012", PARTS, strict=True))  # of a partition
PAIRS = (("0", "1"), ("-1", "1"), BINARY, ("n", "y"), ("false", "true"), ("f", "t"))
UNKNOWN = {"", "nan", "-nan", "na", "n/a", "#n/a", "#na", "null", "<na>"}  # as tables write what is not known
SPLITS = {"split", "partition", "part", "subset", "fold"}  # names of a column that says the part as 0, 1 or 2
SHARES = {"val": 0.1, "test": 0.2}  # that are held out
MOST_VALUES = 255  # of an attribute; what has more is a name or a number that was measured
SKIP = ', or pass on_error="skip"'
HELD = "a share below 1, or a whole number of images (1, not 1.0)"


@dataclass
class _Labelled:
    """What is known of images: file names, parts ("" to be drawn), and targets (n, a) with their names and values."""

    source: Path
    files: list[str]
    parts: list[str]
    targets: np.ndarray
    names: list[str]
    values: list[tuple[str, ...]]

    def only(self, attributes: Sequence[str] | None) -> _Labelled:
        """The same with the attributes that were asked for, in that order."""
        if attributes is None:
            return self
        given = [] if isinstance(attributes, (str, bytes)) or not isinstance(attributes, Sequence) else list(attributes)
        strange = [one for one in given if one not in self.names]
        if not given or strange or len(set(given)) < len(given):
            which = f"; {check.shown(strange[0])} is none{check.suggest(strange[0], self.names)}" if strange else ""
            raise check.refuse("attributes", attributes, f"names of {self.source.name}, each once: "
                               f"{listed(self.names)}{which}")  # fmt: skip
        columns = [self.names.index(one) for one in given]
        return replace(self, targets=self.targets[:, columns], names=given, values=[self.values[j] for j in columns])


def celeba(
    root: str | Path | None = None, size: int = 64, attributes: Sequence[str] | None = None, on_error: str = "raise",
    memory: float | None = None,
) -> Attributes:  # fmt: skip
    """CelebA: faces with forty yes-or-no attributes each, in the official partition.

    root: the folder with list_attr_celeba.txt, list_eval_partition.txt and img_align_celeba/, or the one in which
    torchvision.datasets.CelebA(folder, download=True) has made celeba/; also Kaggle's copy, with both lists as .csv and
    img_align_celeba/ in a folder of its name. None looks in LTVIZ_DATA, then in data/ of this repository.
    size: side in pixels; of an aligned image (178 x 218) the centred square is resized (bilinear, antialiased).
    attributes: those to load, in this order; None: all. on_error: "raise" names the images that are missing or cannot
    be read; "skip" leaves them out and warns. memory: GiB that the images may take as uint8; None: a quarter of the
    machine's. Beyond it they stay on the disk, and batches are read from there.

    Raises FileNotFoundError without data, ValueError for a bad argument and for files that are not as published.
    Source: Liu, Luo, Wang & Tang, ICCV 2015 (non-commercial research).
    """
    size = check.whole("size", size, 4, LARGEST_SIDE)
    *lists, folder = _locate(None if root is None else check.path("root", root))
    found = _official(*lists).only(attributes)
    spec = dict(loader="celeba", root=None if root is None else str(Path(root)),
                attributes=None if attributes is None else found.names)  # fmt: skip
    return _built(found, folder, size, on_error, memory, spec)


def attributes_csv(
    path: str | Path, images: str | Path | None = None, file_column: str | None = None,
    attributes: Sequence[str] | None = None, split: str | None = None, validation: float | None = None,
    test: float | None = None, seed: int = 0, size: int | None = None, on_error: str = "raise",
    memory: float | None = None,
) -> Attributes:  # fmt: skip
    """Your own images with several labels each: a CSV file that has a line an image and a column an attribute.

    path: the file, in UTF-8, separated by commas, semicolons or tabs, with a first line of names. images: the folder
    that the names of files start from; None: the one that holds the CSV file. file_column: the column with them; None:
    the first. A first column without a name that numbers the lines, as DataFrame.to_csv writes it, is passed over.
    attributes: the columns to load; None: all others. A column of 0 and 1, -1 and 1, yes and no, true and false is
    there or not; other texts and whole numbers are values of their own, at most 255. A cell that is empty, NA
    or NaN is not known, and is no target; a -1 beside other numbers could mean that as well, and is refused.
    split: the column that says train, val or test (or 0, 1, 2); None: they are drawn by seed. validation, test, only
    without split=: a share of all images (None: .1 and .2), or their number; every part has its share of the rare
    values. Equal images in several parts, or with different values, are warned of.
    size, on_error, memory: as in `celeba`; size=None leaves images of one size as they are.

    Raises FileNotFoundError; ValueError for a line or a value that does not fit, a file listed twice, images that are
    missing, and an attribute with one value among the training or the test images.
    """
    size = None if size is None else check.whole("size", size, 4, LARGEST_SIDE)
    file = check.path("path", path)
    folder = file.parent if images is None else check.path("images", images)
    held = {}
    for part, name, value in (("val", "validation", validation), ("test", "test", test)):
        if split is not None and value is not None:
            raise check.refuse(name, value, f"None beside split={check.shown(split)}, whose column says which they are")
        value = SHARES[part] if value is None and split is None else value
        held[part] = None if value is None else share_or_number(name, value, HELD)
    seed = check.seed(seed)
    found = _table(file, file_column, split, attributes)
    refuse_twice(file, folder, found.files)
    if split is None:
        _draw(found, held, seed)
    spec = dict(
        loader="attributes_csv", path=str(Path(path)), images=None if images is None else str(Path(images)),
        file_column=file_column, attributes=None if attributes is None else found.names, split=split,
        validation=held["val"], test=held["test"], seed=seed,
    )  # fmt: skip
    return _built(found, folder, size, on_error, memory, spec)


def _built(
    found: _Labelled, folder: Path, size: int | None, on_error: str, memory: float | None, spec: dict[str, Any]
) -> Attributes:
    """The images in a folder, and their targets."""
    on_error, bound = check.choice("on_error", on_error, ON_ERROR), memory_bound(memory)
    _refuse_alike(found, found.parts, found.targets)
    tree = _tree(found, folder)
    if on_error == "raise":
        store.refuse_bad(tree.bad, SKIP)
    decoded = store.read(tree, size, bound)
    if on_error == "raise":
        store.refuse_bad(decoded.bad, SKIP)
    if bad := tree.bad | decoded.bad:
        told = listed([f"{name} ({reason})" for name, reason in bad.items()])
        warnings.warn(f"{check.many(len(bad), 'image')} left out, unreadable: {told}", stacklevel=3)
    place = {name: i for i, name in enumerate(found.files)}
    targets = found.targets[[place[file.name] for file in decoded.files]]
    if bad:
        _refuse_alike(found, [file.part for file in decoded.files], targets)
    _warn_repeated(decoded, targets)
    images, _ = chosen_from(decoded.pixels, bound)
    parts = {}
    for part, prefix in (("train", ""), ("val", "val_"), ("test", "test_")):
        rows = decoded.rows(part)
        # In a file they lie as (n, H, W, C); turned here, no image is read before it is asked for.
        parts[f"{prefix}images"] = torch.from_numpy(np.ascontiguousarray(images[rows])).permute(0, 3, 1, 2)
        parts[f"{prefix}targets"] = torch.from_numpy(targets[rows])
    mean, std = decoded.moments()
    asked = dict(size=size, on_error=on_error, memory=None if memory is None else canonical(bound / 2**30))
    return Attributes(**parts, names=tuple(found.names), values=tuple(found.values), mean=mean, std=std,
                      spec=spec | asked)  # fmt: skip


def _warn_repeated(decoded: store.Decoded, targets: np.ndarray) -> None:
    """Warn of equal images in several parts, and of those that are known to have different values."""
    repeated, place = decoded.repeated(), {part: i for i, part in enumerate(PARTS)}
    known = [np.ma.masked_less(targets[same], 0) for same in repeated]
    unlike = [same for same, of in zip(repeated, known, strict=True) if (of.max(0) != of.min(0)).filled(False).any()]
    part = np.array([place[file.part] for file in decoded.files])
    warn_repeated(decoded, repeated, part, unlike, "listed with different values of an attribute")


def _tree(found: _Labelled, folder: Path) -> Tree:
    """Every image that is listed, or what is wrong with it."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; give the one with the images of {found.source.name}")
    tree = Tree(found.source)
    for name, part in zip(found.files, found.parts, strict=True):
        entered(tree, part, "", folder, name)
    if not tree.files and MISSING in tree.bad.values():
        raise none_there(str(folder), found.files, f"in {found.source.name}", "give the folder")
    return tree


def _refuse_alike(found: _Labelled, parts: Sequence[str], targets: np.ndarray) -> None:
    """Raise ValueError where there are no training or test images, or they are all alike in an attribute."""
    for part, what in (("train", "training"), ("test", "test")):
        own = targets[[one == part for one in parts]]
        if not len(own):
            raise ValueError(f"{found.source} leaves no {what} images; expected some in every part")
        alike = [name for name, column in zip(found.names, own.T, strict=True) if len(set(column[column >= 0])) < 2]
        if alike:
            raise ValueError(f"the {what} images of {found.source.name} have one value of {listed(alike)}, at least "
                             "two needed; leave it out with attributes=, or split them another way")  # fmt: skip


# --------------------------------------------------------------------------------------------------------------- CelebA
def _locate(root: Path | None) -> list[Path]:
    """The list of attributes, that of the parts, and the folder of images."""
    bases = sources.data_folders() if root is None else [root]
    for place in [one for base in bases for one in (base, base / "celeba")]:
        found = [_file(place / name) for name in FILES]
        lacking = [name for name, file in zip(FILES, found, strict=True) if not file.exists()]
        if not lacking:
            return found
        if len(lacking) < len(FILES):
            zipped = "; unpack img_align_celeba.zip there" if (place / f"{FILES[2]}.zip").is_file() else ""
            raise FileNotFoundError(f"{place} has no {' and no '.join(lacking)}; a copy of CelebA has all of "
                                    f"{', '.join(FILES)}{zipped}")  # fmt: skip
    looked = " or ".join(map(str, bases))
    raise FileNotFoundError(
        f"no {FILES[0]} in {looked}, nor in celeba/ there; fetch it with torchvision.datasets."
        f"CelebA({str(bases[0])!r}, download=True), or pass root= the folder that has it"
    )


def _file(path: Path) -> Path:
    """A file or folder of CelebA as it was published, or as Kaggle has it: lists as .csv, a folder in its like."""
    others = (path.with_suffix(".csv"), path) if path.suffix else (path / path.name, path)
    return path if path.is_file() else next((one for one in others if one.exists()), path)


def _cells(file: Path) -> list[tuple[int, list[str]]]:
    """The lines of a list that are not empty: number, and what stands in it."""
    separator = "," if file.suffix == ".csv" else None
    lines = enumerate(_text(file, "CelebA").splitlines(), 1)
    return [(i, [cell.strip() for cell in line.split(separator)]) for i, line in lines if line.strip()]


def _official(file: Path, partition: Path) -> _Labelled:
    """The list of attributes (a number, the names, a line an image; as .csv without the number), and of the parts."""
    lines = _cells(file)
    if file.suffix == ".csv":
        lines = [(0, [str(len(lines) - 1)]), *((i, cells[i == lines[0][0] :]) for i, cells in lines)]
    (_, first), (_, names), *lines = [*lines, (0, []), (0, [])][: max(2, len(lines))]
    if first != [str(len(lines))] or not lines:
        raise ValueError(f"{file}: its first line is {check.shown(' '.join(first))}, and {len(lines):,} lines of "
                         "images follow the names of the attributes; copy or download it again")  # fmt: skip
    files, targets = [], np.empty((len(lines), len(names)), np.int64)
    for i, (number, (name, *values)) in enumerate(lines):
        if len(values) != len(names):
            raise ValueError(f"{file}, line {number}: {len(values)} values, of {len(names)} attributes")
        if not set(values) <= {"-1", "1"}:
            j = next(j for j, value in enumerate(values) if value not in ("-1", "1"))
            raise ValueError(
                f"{file}, line {number}: {names[j]} of {name} is {check.shown(values[j])}; expected -1 or 1"
            )
        files.append(name)
        targets[i] = [value == "1" for value in values]
    _refuse_twice(file, files)
    parts = _partition(partition)
    for listing, own, other in ((partition, files, parts), (file, parts, set(files))):
        if gone := [name for name in own if name not in other]:
            raise ValueError(f"{listing} lacks {check.many(len(gone), 'image')} that the other list has: "
                             f"{listed(gone, 5)}; copy or download it again")  # fmt: skip
    return _Labelled(file, files, [parts[name] for name in files], targets, names, [BINARY] * len(names))


def _partition(file: Path) -> dict[str, str]:
    """The part of each image."""
    found = {}
    for number, cells in _cells(file)[file.suffix == ".csv" :]:
        name, part, *more = [*cells, ""]
        if part not in NUMBERED or more != [""]:
            raise ValueError(f"{file}, line {number}: {check.shown(' '.join(cells))}; expected a file and 0 "
                             "(training), 1 (validation) or 2 (test)")  # fmt: skip
        if found.setdefault(name, NUMBERED[part]) != NUMBERED[part]:
            raise ValueError(f"{file}, line {number}: {name} is in the {found[name]} and the {NUMBERED[part]} part")
    return found


def _text(file: Path, what: str) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise FileNotFoundError(f"{file}: there is no such file; give that of {what}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} cannot be read as text in UTF-8 ({error})") from None


def _refuse_twice(file: Path, files: list[str]) -> None:
    twice = [name for name, often in Counter(files).items() if often > 1]
    if twice:
        raise ValueError(f"{file} lists {check.many(len(twice), 'image')} more than once: {listed(twice, 5)}")


# -------------------------------------------------------------------------------------------------------------- a table
def _table(file: Path, file_column: str | None, split: str | None, attributes: Sequence[str] | None) -> _Labelled:
    """A CSV file; of its columns, those that were asked for."""
    header, rows, numbers = _rows(file)
    column = header[0] if file_column is None else _column("file_column", file_column, header)
    beside = {column} | ({_column("split", split, header)} if split is not None else set())
    names = [name for name in header if name not in beside]
    if split is None and attributes is None:
        _refuse_parts(file, names, header, rows)
    if not names:
        raise ValueError(f"{file} has no column of an attribute beside {', '.join(map(repr, beside))}")
    files = [row[header.index(column)] for row in rows]
    parts = [""] * len(rows)
    if split is not None:
        parts = [
            _part(file, split, row[header.index(split)], number) for row, number in zip(rows, numbers, strict=True)
        ]
    empty = next((i for i, name in enumerate(files) if not name), None)
    if empty is not None:
        raise ValueError(f"{file}, line {numbers[empty]}: no file name in the column {column!r}")
    blank = _Labelled(file, files, parts, np.zeros((len(rows), len(names)), np.int64), names, [BINARY] * len(names))
    names = blank.only(attributes).names
    encoded = [_encoded(file, name, [row[header.index(name)] for row in rows], numbers) for name in names]
    targets = np.stack([column for column, _ in encoded], 1)
    return replace(blank, targets=targets, names=names, values=[values for _, values in encoded])


def _refuse_parts(file: Path, names: list[str], header: list[str], rows: list[list[str]]) -> None:
    """Raise ValueError for a column that says which part an image belongs to, and was not named as such."""
    words = {word for of in PARTS.values() for word in of}
    for name in names:
        cells = {row[header.index(name)].lower() for row in rows} - UNKNOWN
        if len(cells) > 1 and (cells <= words or (name.lower() in SPLITS and cells <= set(NUMBERED))):
            raise ValueError(f"{file}: the column {name!r} has {listed(sorted(cells))}, as parts are called; pass "
                             f"split={name!r}, or attributes= if it is one of them or means nothing")  # fmt: skip


def _rows(file: Path) -> tuple[list[str], list[list[str]], list[int]]:
    """The first line; the others, each with as many cells; and their numbers in the file."""
    text = _text(file, "the attributes")
    first = text.lstrip().partition("\n")[0]
    separator = max(",;\t", key=first.count)
    reader = csv.reader(text.splitlines(keepends=True), delimiter=separator, skipinitialspace=True)
    try:
        found = [([cell.strip() for cell in row], reader.line_num) for row in reader]
    except csv.Error as error:
        raise ValueError(f"{file}, line {reader.line_num}: {error}") from None
    found = [(row, number) for row, number in found if any(row)]
    if len(found) < 2:
        raise ValueError(f"{file} has {check.many(len(found), 'line')}; expected a line of names, and one an image")
    if _numbers_lines([row for row, _ in found]):
        found = [(row[1:], number) for row, number in found]
    header = found[0][0]
    if header and not header[0]:
        raise ValueError(f"{file}, line {found[0][1]}: the first column has no name; if it is the index of a "
                         "DataFrame, write the file with to_csv(..., index=False)")  # fmt: skip
    wrong = [name or "a column without a name" for name, often in Counter(header).items() if often > 1 or not name]
    if wrong:
        raise ValueError(f"{file}, line {found[0][1]}: {', '.join(wrong)}; expected names of columns, each once")
    for row, number in found[1:]:
        if len(row) != len(header):
            raise ValueError(f"{file}, line {number}: {check.many(len(row), 'cell')}, of {len(header)} columns")
    return header, [row for row, _ in found[1:]], [number for _, number in found[1:]]


def _numbers_lines(rows: list[list[str]]) -> bool:
    """Whether the first column is the index of a DataFrame: without a name, whole numbers, each once."""
    first = [row[0] for row in rows]
    different = len(set(first)) == len(first)
    return first[0] in ("", "Unnamed: 0") and different and all(one.isdecimal() for one in first[1:])


def _column(argument: str, value: Any, header: list[str]) -> str:
    if not isinstance(value, str) or value not in header:
        raise check.refuse(argument, value, f"one of the columns {listed(header)}{check.suggest(value, header)}")
    return value


def _part(file: Path, split: str, value: str, number: int) -> str:
    known = NUMBERED | {name: part for part, names in PARTS.items() for name in names}
    if value.lower() not in known:
        raise ValueError(f"{file}, line {number}: {split} is {check.shown(value)}; expected one of {', '.join(known)}")
    return known[value.lower()]


def _encoded(file: Path, name: str, cells: list[str], numbers: list[int]) -> tuple[np.ndarray, tuple[str, ...]]:
    """The value of each image (n,), -1 where it is not known, and the names of the values."""
    cells = ["" if cell.lower() in UNKNOWN else cell for cell in cells]
    plain = [str(int(cell.split(".")[0])) if re.fullmatch(r"[+-]?\d{1,9}(\.0*)?", cell) else cell for cell in cells]
    lower = {cell.lower() for cell in plain if cell}
    if len(lower) < 2:
        only = f" ({lower.pop()})" if lower else ""
        raise ValueError(f"{file}: {name} has {check.many(len(lower) + bool(only), 'value')}{only}, at least two "
                         "needed; leave it out with attributes=")  # fmt: skip
    pair = next((pair for pair in PAIRS if lower == set(pair)), None)
    if pair is not None:
        return np.array([pair.index(cell.lower()) if cell else UNLABELLED for cell in plain]), BINARY
    fraction = next(
        (i for i, cell in enumerate(plain) if re.fullmatch(r"[+-]?(\d*\.\d+|\d+(?=[eE]))([eE][+-]?\d+)?", cell)), None
    )
    if fraction is not None or len(lower) > MOST_VALUES:
        what = f"line {numbers[fraction]}: {name} is {cells[fraction]}" if fraction is not None else \
            f"{name} has {len(lower):,} values"  # fmt: skip
        raise ValueError(f"{file}, {what}; expected yes or no, or one of at most {MOST_VALUES} texts or whole numbers: "
                         "cut what is measured into classes, or leave it out with attributes=")  # fmt: skip
    whole = all(re.fullmatch(r"-?\d{1,9}", cell) for cell in lower)
    mixed = next((pair for pair in PAIRS if lower > set(pair)), None)
    strange = [cell for cell in plain if cell == "-1"] if whole and min(map(int, lower)) == -1 else \
        [cell for cell in plain if mixed and not whole and cell and cell.lower() not in mixed]  # fmt: skip
    if strange:
        i, others = plain.index(strange[0]), sorted(lower - {strange[0].lower()})
        raise ValueError(f"{file}, line {numbers[i]}: {name} is {cells[i]!r}, where others are "
                         f"{' and '.join(others[:3])}{' and more' if len(others) > 3 else ''}; leave the cell empty "
                         "where it is not known")  # fmt: skip
    values = sorted({cell for cell in plain if cell}, key=int if whole else None)
    place = {value: v for v, value in enumerate(values)} | {"": UNLABELLED}
    return np.array([place[cell] for cell in plain]), tuple(values)


def _draw(found: _Labelled, held: dict[str, float | int], seed: int) -> None:
    """Draw the part of each image; every part has its share of the rare values."""
    n = len(found.files)
    number = {part: round(amount * n) if isinstance(amount, float) else amount for part, amount in held.items()}
    if not number["test"] or sum(number.values()) > n - 2:
        raise ValueError(f"test={held['test']}, validation={held['val']}: of {n:,} images these hold out "
                         f"{number['test']:,} and {number['val']:,}; expected at least one "
                         "to test on, and two to train on")  # fmt: skip
    each = [column[:, None] == np.arange(len(of)) for column, of in zip(found.targets.T, found.values, strict=True)]
    shares = shared_out(np.concatenate(each, 1), number["val"], number["test"], np.random.default_rng(seed))
    for part, rows in zip(("val", "test", "train"), shares, strict=True):
        for row in rows:
            found.parts[row] = part
