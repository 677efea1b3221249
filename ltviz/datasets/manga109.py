"""Manga109: characters of some volumes with the long tail that they have, and whole volumes never trained on."""

from __future__ import annotations

import os
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

from .. import check
from ..files import canonical
from . import sources, store
from .folder import LARGEST_SIDE, ON_ERROR, check_kept
from .lists import MISSING, distinct
from .longtailed import LongTailed, cut, default_recipe, hold_out
from .omniglot import Unseen
from .stream import chosen_from, memory_bound, streamed
from .tree import Found, Tree, listed

BOXES = ("face", "body")  # those that say whose they are; frames and texts do not
CORNERS = ("xmin", "ymin", "xmax", "ymax")
VOLUMES = 80, 109  # to train on, and in all, in the protocol of the Dual Loss
NOBODY = {"other", "others"}  # "_Other" is whoever has no name in a volume: no identity
SKIP = ', or pass on_error="skip"'
LAYOUT = "books.txt, annotations/<title>.xml and images/<title>/000.jpg"


@dataclass(frozen=True)
class MangaReport:
    """What `manga109` found beside its images.

    training, unseen: titles of the volumes. few: identity -> boxes, of training volumes' characters with fewer boxes
    than `least`, which are no classes. nobody: boxes of "_Other". nameless: boxes that do not say whose they are.
    bad: box or page -> why it was left out.
    """

    training: tuple[str, ...]
    unseen: tuple[str, ...]
    few: dict[str, int]
    nobody: int
    nameless: int
    bad: dict[str, str]


class _Box(NamedTuple):
    title: str
    character: str
    page: str  # the path of its image
    name: str  # as messages and reports have it
    version: tuple[int, int, int]
    corners: tuple[int, int, int, int]
    size: tuple[int, int]  # width and height of the page, as annotated


class _Volumes:
    """Boxes and characters of the volumes that were read."""

    def __init__(self) -> None:
        self.boxes: list[_Box] = []
        self.names: dict[tuple[str, str], str] = {}  # of each character, by title and id
        self.bad: dict[str, str] = {}
        self.nobody = self.nameless = 0


def manga109(
    root: str | Path | None = None, boxes: str = "face", size: int = 64, volumes: int | Sequence[str] | None = None,
    least: int = 3, ratio: float | None = None, n_max: int | None = None, profile: str = "exp", seed: int = 0,
    validation: int = 1, test: int = 1, pad: int | None = None, flip: bool = True, on_error: str = "raise",
    memory: float | None = None,
) -> LongTailed:  # fmt: skip
    """Characters of manga, cut out of the pages, and characters of other volumes to find again: `data.unseen`.

    root: the folder with books.txt, annotations/ and images/ as Manga109 and Manga109-s are handed out, or the one
    that holds it; None looks in LTVIZ_DATA, then in data/ of this repository.
    boxes: "face" or "body" of the official annotation. Published tables of the Dual Loss are of *head* boxes (Qin et
    al. 2019) that are not in it, with a list of volumes that is not public either: numbers cannot be compared.
    size: side in pixels to which a box is resized, whatever its shape (bilinear, antialiased).
    volumes: how many to train on, the first in the order of books.txt, or their titles; None: 80 of 109, and the same
    share of fewer. Volumes of one series (LoveHina_vol01, LoveHina_vol14) share their characters, and stay together:
    a series that does not fit whole is left to `data.unseen`, which has every volume that is not trained on.
    An identity is a character of one volume, by its id, and is named "title/name". Boxes of "_Other" are of nobody in
    particular and left out. An identity of the training volumes with at least `least` boxes is a class. validation,
    test: boxes of each class that are held out, the same ones for every seed. All others are trained on: the long tail
    is that of the volumes, unless ratio= cuts it (ratio, n_max, profile, seed as in cifar_lt).
    pad, flip, memory: as in folder_lt. on_error: "raise" names every box, page and volume with a fault, such as a page
    whose image has not the size that its annotation says; "skip" leaves them out.

    `lt.recognise(run, data.unseen, queries=2000)` has the protocol of the Dual Loss, with 6,000 pairs in ten folds (of
    a few volumes leave queries= out). `data.report` is a `MangaReport`. Nothing is written to root; decoded boxes are
    kept in LTVIZ_CACHE. FileNotFoundError without data, ValueError for a bad argument or another layout.
    Source: Matsui et al. 2017, Aizawa et al. 2020 (manga109.org; on application, academic use).
    """
    boxes, size = check.choice("boxes", boxes, BOXES), check.whole("size", size, 4, LARGEST_SIDE)
    validation, test = check.whole("validation", validation), check.whole("test", test, 1)
    least = check.whole("least", least, 1)
    if least <= validation + test:
        raise check.refuse("least", least, f"more than validation={validation} and test={test} hold out of each class")
    check_kept(ratio, n_max, profile, "count")
    pad = size // 8 if pad is None else check.whole("pad", pad)
    on_error, bound = check.choice("on_error", on_error, ON_ERROR), memory_bound(memory)
    folder = _locate(None if root is None else check.path("root", root))
    training = _training(titles := _titles(folder), volumes)
    read, found = _decoded(folder, titles, boxes, training, size, bound, on_error)
    (images, mapped), rows = chosen_from(found.pixels, bound), found.rows("train")
    kept, rows, labels, few = _classes(found, rows, least)
    held, left = hold_out(labels, kept, test, "test")
    rest, (mean, std) = np.sort(np.concatenate(left)), found.moments()
    order = np.argsort(-np.bincount(labels[rest], minlength=len(kept)), kind="stable")
    data = cut(
        f"manga109_{boxes}", (images[rows[rest]], labels[rest]), (images[rows[held]], labels[held]), kept,
        ratio=ratio, n_max=n_max, profile=profile, seed=seed, order=order, validation=validation, mean=mean, std=std,
        pad=pad, flip=flip, recipe="",
        spec=dict(loader="manga109", root=None if root is None else str(Path(root)), boxes=boxes, size=size,
                  volumes=volumes if volumes is None else _plain(volumes), least=least, ratio=ratio, n_max=n_max,
                  profile=profile, seed=seed, validation=validation, test=test, pad=pad, flip=flip, on_error=on_error,
                  memory=None if memory is None else canonical(bound / 2**30)))  # fmt: skip
    data.recipe = default_recipe(size, int(data.counts[0]), len(data))
    data = streamed(data, images) if mapped else data
    data.unseen = _unseen(found, np.asarray(images[others := found.rows("unseen")]), others)
    parts = (tuple(title for title in titles if (title in training) == one) for one in (True, False))
    data.report = MangaReport(*parts, few, read.nobody, read.nameless, read.bad | found.bad)
    return data


def _decoded(
    folder: Path, titles: list[str], boxes: str, training: set[str], size: int, bound: float, on_error: str
) -> tuple[_Volumes, store.Decoded]:
    """What the annotations say, and the boxes cut out; faults are raised or warned of."""
    read = _read(folder, titles, boxes)
    if on_error == "raise":
        store.refuse_bad(read.bad, SKIP)
    found = store.read(_tree(folder / boxes, read, _identities(read), training), size, bound)
    if on_error == "raise":
        store.refuse_bad(found.bad, SKIP)
    if bad := read.bad | found.bad:
        told = listed([f"{name} ({reason})" for name, reason in bad.items()])
        warnings.warn(f"{check.many(len(bad), 'box or page', 'boxes and pages')} left out: {told}. data.report.bad has "
                      "all", stacklevel=3)  # fmt: skip
    _refuse_empty(found.files)
    return read, found


def _plain(volumes: int | Sequence[str]) -> int | list[str]:
    return [str(title) for title in volumes] if isinstance(volumes, Sequence) else int(volumes)


# ---------------------------------------------------------------------------------------------------------- the layout
def _locate(root: Path | None) -> Path:
    """The folder with books.txt: root itself, or the one folder in it that has one."""
    bases = sources.data_folders() if root is None else [root]
    for base in bases:
        if (base / "books.txt").is_file():
            return base
        inside = sorted(file.parent for file in base.glob("Manga109*/books.txt")) if base.is_dir() else []
        if len(inside) > 1:
            raise ValueError(f"{base} holds {listed([one.name for one in inside])}; pass root= the one that is meant")
        if inside:
            return inside[0]
    looked = " or ".join(map(str, bases))
    raise FileNotFoundError(
        f"no books.txt in {looked}, nor in a folder Manga109*/ there; ask for the data at manga109.org, unpack them, "
        f"and pass root= the folder with {LAYOUT}"
    )


def _titles(folder: Path) -> list[str]:
    """The titles in books.txt, each with an annotation and a folder of images."""
    lacking = [f"{name}/" for name in ("annotations", "images") if not (folder / name).is_dir()]
    if lacking:
        raise FileNotFoundError(f"{folder} has no folder {' and no '.join(lacking)}; expected {LAYOUT}")
    try:
        lines = (folder / "books.txt").read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{folder / 'books.txt'} cannot be read as text in UTF-8 ({error})") from None
    titles = [line.strip() for line in lines if line.strip()]
    twice = [title for title, often in Counter(titles).items() if often > 1]
    if len(titles) < 2 or twice:
        what = (
            f"names {listed(twice)} twice" if twice else f"names {check.many(len(titles), 'title')}, at least 2 needed"
        )
        raise ValueError(f"{folder / 'books.txt'} {what}; expected a title a line")
    for place, ending in (("annotations", ".xml"), ("images", "")):
        gone = [title for title in titles if not (folder / place / f"{title}{ending}").exists()]
        if gone:
            raise ValueError(
                f"{folder / 'books.txt'} names titles without {place}/<title>{ending}: {listed(gone)}; copy them "
                "there, or take the titles out of books.txt"
            )
    return titles


def _training(titles: list[str], volumes: int | Sequence[str] | None) -> set[str]:
    """The titles to train on: series in the order of books.txt, as long as they fit whole."""
    if isinstance(volumes, Sequence):
        given = [] if isinstance(volumes, (str, bytes)) else list(volumes)
        strange = [one for one in given if one not in titles]
        if not given or strange or not len(set(given)) == len(given) < len(titles):
            which = f"; {check.shown(strange[0])} is none{check.suggest(strange[0], titles)}" if strange else ""
            raise check.refuse("volumes", volumes, "titles in books.txt, each once, and not all of them: others are "
                               f"left for data.unseen{which}")  # fmt: skip
        return set(given)
    most = len(titles) - 1
    number = min(max(1, round(len(titles) * VOLUMES[0] / VOLUMES[1])), most)
    try:
        number = number if volumes is None else check.whole("volumes", volumes, 1, most)
    except ValueError as error:
        raise ValueError(f"{error}, how many are trained on, or a list of their titles") from None
    series: dict[str, list[str]] = {}
    for title in titles:
        series.setdefault(re.sub(r"_vol\d+$", "", title), []).append(title)
    training: set[str] = set()
    for of in series.values():
        if len(training) + len(of) <= number:
            training.update(of)
    if not training:
        raise check.refuse("volumes", volumes, "enough for the volumes of one series, which share their characters")
    return training


# ------------------------------------------------------------------------------------------------------- the annotation
def _read(folder: Path, titles: list[str], boxes: str) -> _Volumes:
    read = _Volumes()
    for title in titles:
        file = folder / "annotations" / f"{title}.xml"
        try:
            book = ElementTree.parse(file).getroot()
        except (ElementTree.ParseError, OSError) as error:
            raise ValueError(f"{file} is no well-formed XML ({error}); copy or unpack it again") from None
        pages = book.find("pages")
        if book.tag != "book" or pages is None:
            raise ValueError(f"{file} is no annotation of Manga109: expected <book> with <characters> and <pages>")
        called = book.get("title", title).strip()
        if unicodedata.normalize("NFC", called) != unicodedata.normalize("NFC", title):
            read.bad[f"annotations/{title}.xml"] = f"it is that of {called}, by its <book title>"
            continue
        known = {one.get("id", ""): (one.get("name") or "").strip() for one in book.iterfind("characters/character")}
        read.names |= {(title, character): name for character, name in known.items()}
        for stray in pages.iterfind(boxes):
            read.bad[f"annotations/{title}.xml, {boxes} {stray.get('id')}"] = "it stands outside every page"
        often = Counter(_number(page) for page in pages.iterfind("page"))
        for page in pages.iterfind("page"):
            if often[_number(page)] == 1:
                _read_page(read, folder, title, page, boxes, known)
            elif page.find(boxes) is not None:
                read.bad[f"annotations/{title}.xml, page {_number(page)}"] = "several pages have this index"
    _refuse_nothing(read, folder)
    if not read.boxes and not read.bad:
        why = f"{read.nameless:,} boxes do not say whose they are" if read.nameless else f"no <{boxes}> in any page"
        raise ValueError(f"{folder / 'annotations'}: {why}; annotations of 2018 and later say it")
    return read


def _number(page: ElementTree.Element) -> str:
    """The index of a page without zeros before it: 01 is 1."""
    return page.get("index", "").strip().lstrip("0") or "0"


def _refuse_nothing(read: _Volumes, folder: Path) -> None:
    """Raise FileNotFoundError where every page with a box is missing."""
    pages = [name for name, reason in read.bad.items() if reason == MISSING]
    if pages and not read.boxes:
        others = sorted({file.suffix for file in (folder / pages[0]).parent.glob("*.*")} - {".jpg"})
        kinds = f" (there are {listed(others, 3)})" if others else ""
        raise FileNotFoundError(f"{folder} has none of the {len(pages):,} pages with boxes, such as {pages[0]}{kinds}; "
                                "pages are read as they are handed out, as .jpg of three digits")  # fmt: skip


def _read_page(
    read: _Volumes, folder: Path, title: str, page: ElementTree.Element, boxes: str, known: dict[str, str]
) -> None:
    found = page.findall(boxes)
    if not found:
        return
    index, (width, height) = page.get("index", ""), (page.get(name, "") for name in ("width", "height"))
    if not all(re.fullmatch("[0-9]{1,9}", one) for one in (index, width, height)):
        read.bad[f"annotations/{title}.xml, page {index}"] = "its index, width and height are not whole numbers"
        return
    name = f"images/{title}/{int(index):03}.jpg"
    path = os.path.join(folder, name)
    try:
        state = os.stat(path)
    except OSError:
        read.bad[name] = MISSING
        return
    version = state.st_size, state.st_mtime_ns, state.st_ctime_ns
    for box in found:
        character, label = box.get("character"), f"{name}, {boxes} {box.get('id')}"
        corners = [box.get(corner, "") for corner in CORNERS]
        if not character:
            read.nameless += 1
        elif known.get(character, "").lstrip("_").casefold() in NOBODY:
            read.nobody += 1
        elif known and character not in known:
            read.bad[label] = f"character {character} is not among the characters of {title}.xml"
        elif wrong := _fault(corners, int(width), int(height)):
            read.bad[label] = wrong
        else:
            read.boxes.append(
                _Box(title, character, path, label, version, tuple(map(int, corners)), (int(width), int(height)))
            )


def _fault(corners: list[str], width: int, height: int) -> str:
    """What is wrong with a box, or "" for nothing."""
    if not all(re.fullmatch("-?[0-9]{1,9}", one) for one in corners):
        return f"its {', '.join(CORNERS)} are not whole numbers: {', '.join(corners)}"
    left, top, right, bottom = map(int, corners)
    if left >= right or top >= bottom:
        return f"its box is empty: from {left}, {top} to {right}, {bottom}"
    if left < 0 or top < 0 or right > width or bottom > height:
        return f"its box from {left}, {top} to {right}, {bottom} exceeds the page of {width} x {height}"
    return ""


# ------------------------------------------------------------------------------------------------------- the identities
def _identities(read: _Volumes) -> dict[tuple[str, str], str]:
    """The name of each identity, by title and id: "title/name", with the id where two of a volume share a name."""
    keys = dict.fromkeys((box.title, box.character) for box in read.boxes)
    by_title: dict[str, dict[str, str]] = {}
    for title, character in keys:
        by_title.setdefault(title, {})[character] = read.names.get((title, character)) or character
    alone = {title: distinct(of) for title, of in by_title.items()}
    return {(title, character): f"{title}/{alone[title][character]}" for title, character in keys}


def _tree(cache: Path, read: _Volumes, names: dict[tuple[str, str], str], training: set[str]) -> Tree:
    """Every box as a file of the part "train" or "unseen". cache: names where decoded boxes are kept."""
    found = [
        Found("train" if box.title in training else "unseen", names[box.title, box.character], box.page, box.name,
              box.version, box.corners, box.size)
        for box in read.boxes
    ]  # fmt: skip
    _refuse_empty(found)
    return Tree(cache, files=found)


def _refuse_empty(files: Sequence[Found]) -> None:
    """Raise ValueError where there is nothing to train on, or nothing unseen."""
    for part, what in (("train", "training volumes"), ("unseen", "other volumes")):
        if not any(file.part == part for file in files):
            raise ValueError(f"the {what} have no box of a character that can be read; pass other volumes=")


def _classes(
    found: store.Decoded, rows: np.ndarray, least: int
) -> tuple[list[str], np.ndarray, np.ndarray, dict[str, int]]:
    """The classes by name, the rows that are theirs, the class of each; and the identities that have too few boxes."""
    often = Counter(found.files[i].class_name for i in rows)
    kept = [name for name, n in often.items() if n >= least]
    few = {name: n for name, n in often.items() if n < least}
    if len(kept) < 2:
        raise check.refuse("least", least, f"a smaller one: {check.many(len(kept), 'identity', 'identities')} of the "
                           f"training volumes {'has' if len(kept) == 1 else 'have'} that many boxes")  # fmt: skip
    place = {name: c for c, name in enumerate(kept)}
    rows = np.array([i for i in rows if found.files[i].class_name in place], np.int64)
    return kept, rows, np.array([place[found.files[i].class_name] for i in rows], np.int64), few


def _unseen(found: store.Decoded, images: np.ndarray, rows: np.ndarray) -> Unseen:
    names = list(dict.fromkeys(found.files[i].class_name for i in rows))
    place = {name: c for c, name in enumerate(names)}
    return Unseen(images, np.array([place[found.files[i].class_name] for i in rows], np.int64), tuple(names))
