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
from .folder import LARGEST_SIDE, ON_ERROR
from .lists import MISSING, entered
from .measured import split as shared_out
from .profiles import share_or_number
from .stream import chosen_from, memory_bound
from .tree import PARTS, Tree, listed

FILES = ("list_attr_celeba.txt", "list_eval_partition.txt", "img_align_celeba")
NUMBERED = dict(zip("012", PARTS, strict=True))  # of a partition
PAIRS = (("0", "1"), ("-1", "1"), BINARY, ("n", "y"), ("false", "true"), ("f", "t"))
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
    torchvision.datasets.CelebA(folder, download=True) has made celeba/; None looks in LTVIZ_DATA, then in data/ of
    this repository. size: side in pixels; of an aligned image (178 x 218) the centred square is resized (bilinear,
    antialiased). attributes: those to load, in this order; None: all. on_error: "raise" names the images that are
    missing or cannot be read; "skip" leaves them out and warns. memory: GiB that the images may take as uint8; None: a
    quarter of the machine's. Beyond it they stay on the disk, and batches are read from there.

    Raises FileNotFoundError without data, ValueError for a bad argument and for files that are not as published.
    Source: Liu, Luo, Wang & Tang, ICCV 2015 (non-commercial research).
    """
    size = check.whole("size", size, 4, LARGEST_SIDE)
    folder = _locate(None if root is None else check.path("root", root))
    found = _official(folder).only(attributes)
    spec = dict(loader="celeba", root=None if root is None else str(Path(root)),
                attributes=None if attributes is None else found.names)  # fmt: skip
    return _built(found, folder / FILES[2], size, on_error, memory, spec)


def attributes_csv(
    path: str | Path, images: str | Path | None = None, file_column: str | None = None,
    attributes: Sequence[str] | None = None, split: str | None = None, validation: float = 0.1, test: float = 0.2,
    seed: int = 0, size: int | None = None, on_error: str = "raise", memory: float | None = None,
) -> Attributes:  # fmt: skip
    """Your own images with several labels each: a CSV file that has a line an image and a column an attribute.

    path: the file, in UTF-8, separated by commas, semicolons or tabs, with a first line of names. images: the folder
    that the names of files start from; None: the one that holds the CSV file. file_column: the column with them; None:
    the first. attributes: the columns to load; None: all others. A column of 0 and 1, -1 and 1, yes and no, true and
    false is there or not; other texts and whole numbers are values of their own, at most 255. An empty cell is not
    known, and is no target.
    split: the column that says train, val or test (or 0, 1, 2); None: they are drawn by seed. validation, test: then a
    share of all images, or their number; every part has its share of the rare values.
    size, on_error, memory: as in `celeba`; size=None leaves images of one size as they are.

    Raises FileNotFoundError; ValueError for a line or a value that does not fit, a file listed twice, images that are
    missing, and an attribute with one value among the training or the test images.
    """
    size = None if size is None else check.whole("size", size, 4, LARGEST_SIDE)
    file = check.path("path", path)
    folder = file.parent if images is None else check.path("images", images)
    held = {"val": share_or_number("validation", validation, HELD), "test": share_or_number("test", test, HELD)}
    seed = check.seed(seed)
    found = _table(file, file_column, split, attributes)
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


def _tree(found: _Labelled, folder: Path) -> Tree:
    """Every image that is listed, or what is wrong with it."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; give the one with the images of {found.source.name}")
    tree = Tree(found.source)
    for name, part in zip(found.files, found.parts, strict=True):
        entered(tree, part, "", folder, name)
    if not tree.files and MISSING in tree.bad.values():
        raise FileNotFoundError(f"{folder} has none of the {len(tree.bad):,} images in {found.source.name}, such as "
                                f"{found.files[0]}; give the folder that their names start from")  # fmt: skip
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
def _locate(root: Path | None) -> Path:
    """The folder with the files of CelebA."""
    bases = sources.data_folders() if root is None else [root]
    for place in [one for base in bases for one in (base, base / "celeba")]:
        lacking = [name for name in FILES if not (place / name).exists()]
        if not lacking:
            return place
        if len(lacking) < len(FILES):
            zipped = "; unpack img_align_celeba.zip there" if (place / f"{FILES[2]}.zip").is_file() else ""
            raise FileNotFoundError(f"{place} has no {' and no '.join(lacking)}; a copy of CelebA has all of "
                                    f"{', '.join(FILES)}{zipped}")  # fmt: skip
    looked = " or ".join(map(str, bases))
    raise FileNotFoundError(
        f"no {FILES[0]} in {looked}, nor in celeba/ there; fetch it with torchvision.datasets."
        f"CelebA({str(bases[0])!r}, download=True), or pass root= the folder that has it"
    )


def _official(folder: Path) -> _Labelled:
    """list_attr_celeba.txt (a number, the names, a line an image), and the part of each image."""
    file = folder / FILES[0]
    lines = [(i, line.split()) for i, line in enumerate(_text(file, "CelebA").splitlines(), 1) if line.strip()]
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
    partition = {}
    for number, line in enumerate(_text(folder / FILES[1], "CelebA").splitlines(), 1):
        if line.strip():
            name, part, *more = [*line.split(), ""]
            if part not in NUMBERED or more != [""]:
                raise ValueError(f"{folder / FILES[1]}, line {number}: {check.shown(line)}; expected a file and 0 "
                                 "(training), 1 (validation) or 2 (test)")  # fmt: skip
            partition[name] = NUMBERED[part]
    for listing, own, other in ((FILES[1], files, partition), (FILES[0], partition, set(files))):
        if gone := [name for name in own if name not in other]:
            raise ValueError(f"{folder / listing} lacks {check.many(len(gone), 'image')} that the other list has: "
                             f"{listed(gone, 5)}; copy or download it again")  # fmt: skip
    return _Labelled(file, files, [partition[name] for name in files], targets, names, [BINARY] * len(names))


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
    _refuse_twice(file, files)
    blank = _Labelled(file, files, parts, np.zeros((len(rows), len(names)), np.int64), names, [BINARY] * len(names))
    names = blank.only(attributes).names
    encoded = [_encoded(file, name, [row[header.index(name)] for row in rows], numbers) for name in names]
    targets = np.stack([column for column, _ in encoded], 1)
    return replace(blank, targets=targets, names=names, values=[values for _, values in encoded])


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
    header = found[0][0]
    wrong = [name or "a column without a name" for name, often in Counter(header).items() if often > 1 or not name]
    if wrong:
        raise ValueError(f"{file}, line {found[0][1]}: {', '.join(wrong)}; expected names of columns, each once")
    for row, number in found[1:]:
        if len(row) != len(header):
            raise ValueError(f"{file}, line {number}: {check.many(len(row), 'cell')}, of {len(header)} columns")
    return header, [row for row, _ in found[1:]], [number for _, number in found[1:]]


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
    plain = [str(int(cell.split(".")[0])) if re.fullmatch(r"[+-]?\d{1,9}(\.0*)?", cell) else cell for cell in cells]
    lower = {cell.lower() for cell in plain if cell}
    if len(lower) < 2:
        only = f" ({lower.pop()})" if lower else ""
        raise ValueError(f"{file}: {name} has {check.many(len(lower) + bool(only), 'value')}{only}, at least two "
                         "needed; leave it out with attributes=")  # fmt: skip
    pair = next((pair for pair in PAIRS if lower == set(pair)), None)
    if pair is not None:
        return np.array([pair.index(cell.lower()) if cell else UNLABELLED for cell in plain]), BINARY
    mixed = next((pair for pair in PAIRS if lower > set(pair)), None)
    whole = all(re.fullmatch(r"-?\d{1,9}", cell) for cell in lower)
    if mixed is not None and (not whole or "-1" in lower):
        i = next(i for i, cell in enumerate(plain) if cell and cell.lower() not in mixed)
        raise ValueError(f"{file}, line {numbers[i]}: {name} is {cells[i]!r}, where others are {' and '.join(mixed)}; "
                         "leave the cell empty where it is not known")  # fmt: skip
    fraction = next((i for i, cell in enumerate(plain) if re.fullmatch(r"[+-]?\d*[.]\d+(e[+-]?\d+)?", cell)), None)
    if fraction is not None or len(lower) > MOST_VALUES:
        what = f"line {numbers[fraction]}: {name} is {cells[fraction]}" if fraction is not None else \
            f"{name} has {len(lower):,} values"  # fmt: skip
        raise ValueError(f"{file}, {what}; expected yes or no, or one of at most {MOST_VALUES} texts or whole numbers: "
                         "cut what is measured into classes, or leave it out with attributes=")  # fmt: skip
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
