"""Any folder of images, one folder per class: made long-tailed, or used as it is."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import check
from ..files import canonical
from . import store
from .classes import order_classes, plain_order
from .longtailed import LongTailed, cut, default_recipe, hold_out
from .profiles import share_or_number
from .stream import chosen_from, memory_bound, streamed
from .tree import LISTED, PARTS, Tree, listed, scan

LARGEST_SIDE = 4096  # side of an image in pixels
ON_ERROR = ("raise", "skip")
SHOWN = 3  # examples in a warning
ARGUMENT = {"test": "test", "val": "validation"}  # of each part that can be held out
WORDS = ("training", "validation", "test")
HELD = "a share below 1, or a whole number of images of each class (1, not 1.0)"


@dataclass(frozen=True)
class FolderReport:
    """What `folder_lt` found in a folder, beside its images; files are named by their path inside the root.

    bad: file -> why it was left out. ignored: ending -> number of files that are no images. beside: folder beside
    train/ that is no part -> its images. repeated: files with equal pixels, two or more together.
    """

    bad: dict[str, str] = field(default_factory=dict)
    ignored: dict[str, int] = field(default_factory=dict)
    beside: dict[str, int] = field(default_factory=dict)
    repeated: list[list[str]] = field(default_factory=list)


def folder_lt(
    root: str | Path, ratio: float | None = None, size: int | None = None, n_max: int | None = None,
    profile: str = "exp", seed: int = 0, class_order: str | Sequence[int | str] = "count",
    validation: float = 0.1, test: float = 0.2, pad: int | None = None, flip: bool = True,
    on_error: str = "raise", memory: float | None = None,
    mean: Sequence[float] | None = None, std: Sequence[float] | None = None,
) -> LongTailed:  # fmt: skip
    """Your own images: <root>/<class>/*, or <root>/train/<class>/*, with test/<class>/* and val/<class>/* if there are.

    The parts may also be called training, valid, validation, testing, in upper or lower case. A class is a folder that
    directly holds images, named by its path: "alphabet/character" where classes lie in folders. All parts have the same
    classes, for one without test images has no accuracy.

    ratio: largest / smallest class to cut the tail to; None keeps every image. size: side in pixels to crop and resize
    to; None: as they are, if all have one size. n_max: images of the largest class; None: as many as the classes allow.
    profile, seed: as in cifar_lt. class_order, only with ratio= (a folder's own counts give the order of its classes):
    "count" (most images first), "natural" (by name), "seed", or the classes, most frequent first. validation, test:
    share (below 1) or number of images per class that is held out where there is no folder for it, the same ones for
    every seed; a share takes at least one. pad, flip: augmentation; None: an eighth of the side; pass flip=False where
    left and right differ, as in writing. on_error: "raise" names all files that cannot be read; "skip" leaves them out
    and warns. mean, std: of each channel, as fractions of 255, to normalise pixels by, such as (0.485, 0.456, 0.406)
    and (0.229, 0.224, 0.225) for weights of ImageNet; None: those of the full training part. memory: GiB that the
    images may take as uint8; None: a quarter of the machine's (4 where it does not say). Beyond it they stay on the
    disk, and batches are read from there, with the same results; on a GPU a step is not captured as a graph.

    16-bit grey is v / 257, float runs from 0 to 1 (other values are bad), of 16-bit colour the high byte is read;
    transparency lies on white, EXIF orientation is applied, of an animation the first frame counts. `data.folder` says
    what was bad, ignored or repeated; images in two parts or under two classes are warned of. Decoded images are kept
    in LTVIZ_CACHE (else the user's cache folder), never in root, until a file comes, goes or changes.
    Raises FileNotFoundError, ValueError (layout, unreadable images, several sizes, a class left with no image).
    """
    asked, bound = checked(
        ratio=ratio, size=size, n_max=n_max, profile=profile, seed=seed, class_order=class_order, validation=validation,
        test=test, pad=pad, flip=flip, on_error=on_error, memory=memory, mean=mean, std=std)  # fmt: skip
    tree = scan(folder := check.path("root", root))
    spec = dict(loader="folder_lt", root=str(Path(root)))
    return data_of(tree, f"{folder.resolve().name}_lt", spec, asked, bound)


def checked(**asked: Any) -> tuple[dict[str, Any], float]:
    """The arguments of `folder_lt` but root, checked, and the bytes that images may take in memory."""
    check_kept(*(asked[name] for name in ("ratio", "n_max", "profile", "class_order")))
    size, pad, memory = asked["size"], asked["pad"], asked["memory"]
    asked["size"] = None if size is None else check.whole("size", size, 4, LARGEST_SIDE)
    asked["pad"] = None if pad is None else check.whole("pad", pad)
    for name in ("validation", "test"):
        asked[name] = share_or_number(name, asked[name], HELD)
    asked["on_error"] = check.choice("on_error", asked["on_error"], ON_ERROR)
    bound = memory_bound(memory)
    asked["memory"] = None if memory is None else canonical(bound / 2**30)
    return asked, bound


def data_of(tree: Tree, name: str, spec: dict[str, Any], asked: dict[str, Any], bound: float) -> LongTailed:
    """The images of a tree as a data set. asked, bound: from `checked`; spec: what the loader has beside them."""
    class_order, seed, mean, std = (asked[one] for one in ("class_order", "seed", "mean", "std"))
    found, names = store.read(tree, asked["size"], bound), tree.class_names
    report, repeated = _report(tree, found, asked["on_error"]), found.repeated()
    report.repeated.extend([found.files[i].name for i in same] for same in repeated)
    labels, (images, mapped) = found.labels(names), chosen_from(found.pixels, bound)
    rows = _part_rows(found, labels, names, {"test": asked["test"], "val": asked["validation"]})
    part = np.zeros(len(labels), np.int64)
    part[rows.val], part[rows.test] = 1, 2
    against = [same for same in repeated if len(set(labels[same].tolist())) > 1]
    warn_repeated(found, repeated, part, against, "under more than one class", "data.folder.repeated has all")
    given = _given_moments(mean, std, images.shape[3])
    mean, std = tuple(given.values()) or found.moments()
    pad = min(images.shape[1:3]) // 8 if asked["pad"] is None else asked["pad"]
    order = order_classes(class_order, names, seed, count=rows.by_count)
    left = {key: value for key, value in asked.items() if key not in ("mean", "std")}
    data = cut(
        name, (images[rows.train], labels[rows.train]), (images[rows.test], labels[rows.test]), names,
        ratio=asked["ratio"], n_max=asked["n_max"], profile=asked["profile"], seed=seed, order=order,
        validation=rows.validation, val=(images[rows.val], labels[rows.val]), mean=mean, std=std, pad=pad,
        flip=asked["flip"], recipe="",
        spec=left | dict(class_order=plain_order(class_order, order), pad=pad) | given | spec)  # fmt: skip
    data.recipe = default_recipe(max(data.shape[1:]), int(data.counts[0]), len(data))
    data = streamed(data, images) if mapped else data
    data.folder = report
    return data


def check_kept(ratio: float | None, n_max: int | None, profile: str, class_order: object) -> None:
    """Raise ValueError for what is only for a tail that is cut, where none is."""
    usual = {
        "n_max": n_max is None,
        "profile": isinstance(profile, str) and profile == "exp",
        "class_order": np.array_equal(class_order, "count"),
    }
    given = [name for name, left_out in usual.items() if not left_out]
    if ratio is None and given:
        why = ", and the class with the most images comes first" if "class_order" in given else ""
        raise ValueError(
            f"{given[0]}= is only for a tail that is cut, ratio=: ratio=None keeps the folder's own counts{why}; pass "
            f"ratio= too, or leave {' and '.join(given)} out"
        )


def _given_moments(mean: Any, std: Any, channels: int) -> dict[str, list[float]]:
    """Mean and standard deviation of each channel, checked; nothing where they are to be those of the images."""
    if mean is None and std is None:
        return {}
    found = {}
    for name, value, above in (("mean", mean, None), ("std", std, 0.0)):
        expected = (
            f"{channels} numbers from 0 to 1, one a channel, as fractions of 255; give mean= and std=, or neither"
        )
        try:
            numbers = check.array(name, value, 1, expected).astype(np.float64).tolist()
            numbers = [check.number(name, one, 0.0, 1.0, above=above) for one in numbers]
        except ValueError:
            numbers = []
        if len(numbers) != channels:
            raise check.refuse(name, value, expected)
        found[name] = numbers
    return found


def _report(tree: Tree, found: store.Decoded, on_error: str) -> FolderReport:
    """What was found, and said: files that cannot be read, and images that would be passed over."""
    bad = tree.bad | found.bad
    if on_error == "raise":
        store.refuse_bad(bad, ', or pass on_error="skip"')
    there = {(file.part, file.class_name) for file in found.files}
    gone = [f"{part}: {name}" for part in tree.parts for name in tree.class_names if (part, name) not in there]
    if gone:
        raise ValueError(f"no image of a class can be read ({listed(gone)}); mend its files, or remove the class")
    if bad:
        told = "; ".join(f"{name} ({reason})" for name, reason in list(bad.items())[:LISTED])
        more = f"; and {len(bad) - LISTED:,} more" if len(bad) > LISTED else ""
        warnings.warn(f"{_images(len(bad))} left out, unreadable: {told}{more}. data.folder.bad has all", stacklevel=4)
    if tree.beside:
        told = listed([f"{name}/ ({number:,} image files)" for name, number in tree.beside.items()])
        warnings.warn(f"beside train/, {told} is not read; parts are called {', '.join(sum(PARTS.values(), ()))}",
                      stacklevel=4)  # fmt: skip
    return FolderReport(bad, dict(tree.ignored), tree.beside)


@dataclass(frozen=True)
class _Rows:
    """Which images are in each part, before the tail is cut; images per class held out for validation."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    by_count: np.ndarray
    validation: list[int]


def _part_rows(found: store.Decoded, labels: np.ndarray, names: list[str], amounts: dict[str, float | int]) -> _Rows:
    """The folder's own parts, and what is held out of the training part for those that it lacks."""
    rows = {part: found.rows(part) for part in PARTS}
    per_class = np.bincount(labels[rows["train"]], minlength=len(names))
    taken = {part: _per_class(amount, per_class) for part, amount in amounts.items()}
    lacking = [part for part in amounts if not len(rows[part])]
    _check_enough(names, per_class, {part: taken[part] for part in lacking}, amounts)
    for part in amounts:
        if part in lacking:
            held, left = hold_out(labels[rows["train"]], names, taken[part], part)
            rows |= {part: rows["train"][held], "train": rows["train"][np.sort(np.concatenate(left))]}
        if part == "test":  # the order of the classes goes by what is left after the test images
            by_count = np.argsort(-np.bincount(labels[rows["train"]], minlength=len(names)), kind="stable")
    return _Rows(rows["train"], rows["val"], rows["test"], by_count, taken["val"])


def _check_enough(
    names: list[str], per_class: np.ndarray, taken: dict[str, list[int]], amounts: dict[str, float | int]
) -> None:
    """Raise ValueError, with all of them, where classes have no image left to train on."""
    short = []
    for c, name in enumerate(names):
        held = {ARGUMENT[part]: number[c] for part, number in taken.items() if number[c]}
        if held and sum(held.values()) >= per_class[c]:
            told = " and ".join(f"{one} holds out {number}" for one, number in held.items())
            short.append(f"class {name!r} is left with no image: it has {per_class[c]}, and {told}")
    if short:
        shares = [ARGUMENT[part] for part in taken if isinstance(amounts[part], float)]
        least = f" (as a share, {' and '.join(shares)} take at least one)" if shares else ""
        ways = " or ".join(f"a smaller {ARGUMENT[part]}=" for part in taken)
        more = f"; and {len(short) - LISTED:,} more classes" if len(short) > LISTED else ""
        raise ValueError(f"{'; '.join(short[:LISTED])}{more}; pass {ways}{least}, add images, or remove what is too "
                         "small")  # fmt: skip


def _images(n: int) -> str:
    return "1 image is" if n == 1 else f"{n:,} images are"


def warn_repeated(
    found: store.Decoded, groups: list[np.ndarray], part: np.ndarray, against: list[np.ndarray], how: str,
    rest: str = "",
) -> None:  # fmt: skip
    """Warn of equal images in several parts, and of those labelled in several ways.

    groups: the positions of equal images; part (n,): of each image, a number into WORDS; against: those of the groups
    that are labelled in several ways, and how; rest: where all of them stand.
    """
    across = [same for same in groups if len(set(part[same].tolist())) > 1]
    rest = f". {rest}" if rest else ""

    def examples(chosen: list[np.ndarray], word: bool) -> str:
        told = [
            " = ".join(found.files[i].name + (f" ({WORDS[part[i]]})" if word else "") for i in same[:SHOWN])
            for same in chosen[:SHOWN]
        ]
        return "; ".join(told) + ("; …" if len(chosen) > SHOWN else "")

    if across:
        warnings.warn(
            f"{_images(len(across))} in more than one of the training, validation and test parts, so that accuracy "
            f"there is too high: {examples(across, True)}{rest}",
            stacklevel=4,
        )
    if against:
        warnings.warn(
            f"{_images(len(against))} {how}, so that no answer can be right for all copies: "
            f"{examples(against, False)}{rest}",
            stacklevel=4,
        )


def _per_class(amount: float | int, available: np.ndarray) -> list[int]:
    """A share (at least one image of each class) or a number, as images per class."""
    if isinstance(amount, float):
        return [max(1, round(amount * n)) for n in available.tolist()]
    return [amount] * len(available)
