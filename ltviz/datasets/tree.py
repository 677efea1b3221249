"""A folder of images: which parts and classes it has, which files are its images, and what is wrong with it."""

import os
import re
import unicodedata
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from .. import check
from . import sources

PARTS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
_PART_OF = {name: part for part, names in PARTS.items() for name in names}
# Words in names of folders that are parts of a set in the reader's own spelling: train_set, testdata, 2_val.
_LIKE_PARTS = re.compile(
    f"(?<![a-z])({'|'.join(_PART_OF)}|trn|vld|vali|dev|eval|tst)(set|data|images|imgs|split)?(?![a-z])"
)
# Images that are not read: passed over in silence, they would be missing.
NOT_READ = frozenset("avif dcm dng exr heic heif jp2 psd raw svg tga".split())
SYSTEM = {"__macosx", "lost+found", "$recycle.bin", "system volume information"}
_RESERVED = f"{', '.join(_PART_OF)} are the names of parts"
LISTED = 10  # names that an error lists


class Found(NamedTuple):
    """A file that is meant as an image, or as a page with one in a box."""

    part: str
    class_name: str
    path: str
    name: str  # the path inside the root, as messages and reports have it
    version: tuple[int, int, int]  # size in bytes; when the content and when the entry changed, in nanoseconds
    box: tuple[int, int, int, int] | None = None  # left, top, right, bottom, in pixels of the page
    page: tuple[int, int] | None = None  # width and height of the page that the box was drawn on


@dataclass
class Tree:
    """What a walk through a folder found. Classes are those of "train", sorted by name."""

    root: Path
    class_names: list[str] = field(default_factory=list)
    files: list[Found] = field(default_factory=list)
    bad: dict[str, str] = field(default_factory=dict)  # name -> reason
    ignored: Counter = field(default_factory=Counter)  # ending -> number of files
    beside: dict[str, int] = field(default_factory=dict)  # folder beside train/ that is no part -> its images

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts that have images: "train", and "val" and "test" where they are."""
        return tuple(part for part in PARTS if any(file.part == part for file in self.files))


@dataclass
class _Folder:
    """A folder and what is below it."""

    classes: dict[str, list[os.DirEntry]] = field(default_factory=dict)
    empty: list[str] = field(default_factory=list)  # folders with no image in and no folder below them


def listed(names: list[str], most: int = LISTED) -> str:
    """The first names, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def scan(root: Path, parts: tuple[str, ...] = tuple(PARTS)) -> Tree:
    """Parts, classes and files of a folder; ValueError, naming the folders, for a layout that has no clear meaning.

    They are folders called train (training), val (valid, validation) and test (testing), in upper or lower case;
    without them all is "train". `parts`: those to read. A class is a folder that directly holds images; its name is its
    path inside the part. Hidden and system files are passed over, other files that are no images too, and counted;
    links are followed. UserWarning where all folders hold classes of the same names, as parts do.
    """
    _check_root(root)
    folders, beside = _parts(root)
    tree = Tree(root)
    for part, folder in ((part, folder) for part, folder in folders.items() if part in parts):
        classes = _read_part(tree, part, folder, whole=len(folders) == 1 and folder == root)
        if part == "train":
            tree.class_names = sorted(classes)
            if folder == root:
                _look_for_parts(root, tree.class_names)
        elif classes != set(tree.class_names):
            raise _other_classes(folder, classes, set(tree.class_names))
    if parts == tuple(PARTS):
        tree.beside = {folder.name: images for folder in beside if (images := _images_below(folder))}
    return tree


def _check_root(root: Path) -> None:
    if root.is_file():
        raise ValueError(
            f"root={str(root)!r} is a file; give the folder that holds a folder of images per class (unpack an archive)"
        )
    if not root.is_dir():
        raise FileNotFoundError(f"root={str(root)!r} is not a folder; give one with a folder of images per class")


def _parts(root: Path) -> tuple[dict[str, Path], list[Path]]:
    """The folder of each part, and the folders beside them; the root itself is "train" where it has none."""
    inside = [Path(entry.path) for entry in _entries(root) if not _is_hidden(entry.name) and _is_folder(entry)]
    found: dict[str, Path] = {}
    for folder in inside:
        part = _part_of(folder.name)
        if part in found:
            raise ValueError(
                f"{root} holds {found[part].name}/ and {folder.name}/, both a {part} part; keep one of them"
            )
        if part:
            found[part] = folder
    if not found:
        return {"train": root}, []
    if "train" not in found:
        names = ", ".join(f"{folder.name}/" for folder in found.values())
        raise ValueError(
            f"{root} holds {names} and no train/; call the folder of training images train/. If {names} is a class, "
            f"rename it: {_RESERVED}"
        )
    ordered = {part: found[part] for part in PARTS if part in found}
    return ordered, [folder for folder in inside if folder not in found.values()]


def _read_part(tree: Tree, part: str, folder: Path, whole: bool) -> set[str]:
    """Enter the images of a part; returns the names of its classes."""
    walked = _walk(tree, folder, "", ())
    loose = len(walked.classes.pop("", ()))
    if walked.empty:
        raise ValueError(
            f"class folder {listed([str(folder / name) for name in walked.empty])} holds no image "
            f"({' '.join(sorted(sources.SUFFIXES))}); add at least one, or remove the folder"
        )
    names = list(walked.classes)
    if whole:
        _refuse_parts_inside(folder, names)
    if len(names) < (2 if part == "train" else 1):  # what another part lacks is said by name
        inside = [entry.name for entry in _entries(folder)]
        flat = f": {loose:,} images, each of which belongs in the folder of its class" if loose else ""
        reserved = "" if whole else f". If {folder.name}/ is a class, rename it: {_RESERVED}"
        raise ValueError(
            f"{folder} has {check.many(len(names), 'class folder')}, at least {2 if part == 'train' else 1} needed; it "
            f"holds {listed(inside, 5) or 'nothing'}{flat}; expected <class>/<image> or train/<class>/<image>{reserved}"
        )
    if loose:
        tree.ignored["images beside the class folders"] += loose
    depths = {name.count("/"): name for name in reversed(names)}
    if len(depths) > 1:
        shallow, deep = depths[min(depths)], depths[max(depths)]
        raise ValueError(
            f"{folder} holds classes at several depths: {shallow!r} and {deep!r} directly hold images; "
            "move them so that all lie equally deep"
        )
    for name in sorted(names):
        for entry in walked.classes[name]:
            _enter(tree, part, name, f"{'' if whole else folder.name + '/'}{name}/{entry.name}", entry)
    return set(names)


def _walk(tree: Tree, folder: Path | str, name: str, above: tuple[str, ...]) -> _Folder:
    """The classes in a folder and below; name: its path inside the part, "" for the part itself."""
    real = os.path.realpath(folder)
    if real in above:
        raise ValueError(f"{folder} links to a folder that it lies in, so there is no end of it; remove the link")
    here, images, below = _Folder(), [], []
    for entry in _entries(folder):
        kind = entry.name.rpartition(".")[2].lower() if "." in entry.name else ""
        if _is_hidden(entry.name):
            tree.ignored["hidden"] += 1
        elif _is_folder(entry):
            inside = f"{name}/{entry.name}" if name else entry.name
            below.append(_walk(tree, entry.path, unicodedata.normalize("NFC", inside), (*above, real)))
        elif kind in sources.SUFFIXES or kind in NOT_READ:
            images.append(entry)
        else:
            tree.ignored[f".{kind}" if kind else "without an ending"] += 1
    for one in below:
        twice = sorted(here.classes.keys() & one.classes)
        if twice:
            raise ValueError(f"{folder} holds two folders whose names look alike, {twice[0]!r}; rename one of them")
        here.classes |= one.classes
        here.empty += one.empty
    if images and here.classes and name:
        raise ValueError(
            f"{folder} holds images and, below it, folders with images ({listed(sorted(here.classes), 3)}): a class is "
            "a folder with images and none below; move the one or the other"
        )
    if images:
        here.classes[name] = images
        here.empty = here.empty if name == "" else []
    elif not below and name:
        here.empty = [name]
    return here


def _entries(folder: Path | str) -> list[os.DirEntry]:
    try:
        return sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise ValueError(f"folder {folder} cannot be read ({error.strerror}); let it be read, or remove it") from error


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links in a circle
        return False


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in SYSTEM or name.lower() in ("thumbs.db", "desktop.ini")


def _enter(tree: Tree, part: str, class_name: str, name: str, entry: os.DirEntry) -> None:
    """Enter a file among the images, or among the bad ones."""
    try:
        state = entry.stat()
    except OSError:
        tree.bad[name] = "a link to nothing" if entry.is_symlink() else "gone"
        return
    if not entry.is_file():
        tree.bad[name] = "not an ordinary file"
    elif not sources.is_image(entry.name):
        tree.bad[name] = f"{name.rpartition('.')[2].lower()} is not read here; save it as PNG"
    else:
        version = state.st_size, state.st_mtime_ns, state.st_ctime_ns
        tree.files.append(Found(part, class_name, entry.path, name, version))


def _refuse_parts_inside(folder: Path, names: list[str]) -> None:
    """Where a folder deeper down is called train/ or test/, it is a part and no class: the root is another one."""
    for name in names:
        path = name.split("/")
        for depth, one in enumerate(path):
            if _part_of(one):
                inside = str(folder.joinpath(*path[:depth]))
                raise ValueError(
                    f"{folder} holds {name}/, and {one}/ is what a part is called; pass root={inside!r}, or rename it "
                    "if it is a class"
                )


def _part_of(name: str) -> str | None:
    return _PART_OF.get(name.strip().lower())


def _look_for_parts(root: Path, names: list[str]) -> None:
    """Refuse folders that look like parts by name and by what they hold; warn of those that do by what they hold."""
    inside: dict[str, set[str]] = {}
    for name in names:
        top, _, rest = name.partition("/")
        inside.setdefault(top, set()).add(rest)
    like = [top for top in inside if _LIKE_PARTS.search(top.lower())]
    shared = set.intersection(*(inside[top] for top in like)) - {""} if len(like) > 1 else set()
    if shared:
        raise ValueError(
            f"{root} holds {listed([f'{top}/' for top in like], 5)}, each with a class {min(shared)!r}: they look like "
            "the parts of one set; call them train/, val/ and test/"
        )
    first, *others = inside.values()
    if others and len(first) > 1 and all(other == first for other in others):
        warnings.warn(
            f"{root} holds {listed([f'{top}/' for top in inside], 5)}, each with the same {len(first)} classes "
            f"({listed(sorted(first), 3)}), read as {len(names)} classes such as {names[0]!r}; if these are the parts "
            "of one set, call them train/, val/ and test/",
            stacklevel=4,
        )


def _other_classes(folder: Path, classes: set[str], train: set[str]) -> ValueError:
    lacks, adds = sorted(train - classes), sorted(classes - train)
    words = [f"lacks {listed(lacks)}"] if lacks else []
    words += [f"adds {listed(adds)}"] if adds else []
    todo = []
    if lacks:
        todo.append(f"without images in {folder.name}/ a class has no accuracy: add some, or remove {folder.name}/ so "
                    "that a share of every class is held out for it")  # fmt: skip
    if adds:
        todo.append("a class without training images cannot be learned: remove it, or add it to train/")
    return ValueError(f"{folder.name}/ and train/ hold different classes: {folder.name}/ {' and '.join(words)}; "
                      f"{'; '.join(todo)}")  # fmt: skip


def _images_below(folder: Path) -> int:
    """How many images lie in a folder and below."""
    number = 0
    for _, below, names in os.walk(folder):
        below[:] = [name for name in below if not _is_hidden(name)]
        number += sum(map(sources.is_image, names))
    return number
