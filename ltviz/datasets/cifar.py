"""CIFAR-10-LT and CIFAR-100-LT, from torchvision's own files or from a tree of image files."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .. import check
from . import sources, store
from .classes import order_classes, plain_order
from .longtailed import LongTailed, cut, default_recipe
from .profiles import check_ratio

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)  # of both sets, in Cao et al.'s public code
VALIDATION = {10: 250, 100: 25}
TORCHVISION = {
    10: ("cifar-10-batches-py", "cifar-10-python.tar.gz"),
    100: ("cifar-100-python", "cifar-100-python.tar.gz"),
}


def cifar_lt(
    classes: int = 10, ratio: float = 100, size: int = 32, n_max: int | None = None, profile: str = "exp",
    seed: int = 0, class_order: str | Sequence[int | str] = "natural", validation: int | None = None,
    root: str | Path | None = None, download: bool = False,
) -> LongTailed:  # fmt: skip
    """Long-tailed CIFAR; with validation=0 the counts of the papers (12,406 images at 10 classes and ratio 100).

    classes: 10 or 100. ratio: largest / smallest class. size: 32, or 16 (each pixel the mean of 2 x 2).
    n_max: images of the largest class; None: all that are left. profile: "exp", "step", "pareto". seed: draws the
    training subset. class_order: "natural", "seed", or the classes from most to least frequent. validation: images
    per class held out of the full training set before the tail is cut, the same ones for every seed and ratio; None:
    250 (10 classes) or 25 (100 classes). The test set is whole.
    root: a folder of train/<class>/* and test/<class>/*, a .tar(.xz, .gz) of one, or a folder with torchvision's files.
    None looks in LTVIZ_DATA, then in data/ of this repository; in each for cifar10/ (cifar100/) or a tree itself, an
    archive cifar10*.tar*, torchvision's files. download=True lets torchvision fetch its files there (checksummed).

    Raises FileNotFoundError without data, ConnectionError if a download fails, ValueError for a bad argument, a wrong
    layout and a damaged file.
    Source: Krizhevsky (2009); the tail, Cui et al. (CVPR 2019) and Cao et al. (NeurIPS 2019).
    """
    classes = _one_of("classes", classes, (10, 100), "10 or 100; for other image sets use folder_lt")
    size = _one_of("size", size, (16, 32), "32 (as published) or 16 (2 x 2 mean); for other sizes use folder_lt")
    validation = VALIDATION[classes] if validation is None else check.whole("validation", validation)
    ratio, folder = check_ratio(ratio), None if root is None else check.path("root", root)
    arrays = _load(classes, folder, check.flag("download", download))
    names = arrays["class_names"].tolist()
    order = order_classes(class_order, names, seed)
    data = cut(
        f"cifar{classes}_lt", (arrays["train_images"], arrays["train_labels"]),
        (arrays["test_images"], arrays["test_labels"]), names,
        ratio=ratio, n_max=n_max, profile=profile, seed=seed, order=order,
        validation=validation, mean=MEAN, std=STD, pad=4 if size == 32 else 2, flip=True, recipe="",
        # What was downloaded or not does not change the data, so `download` is not a part of what they are.
        spec=dict(loader="cifar_lt", classes=classes, ratio=ratio, size=size, n_max=n_max, profile=profile, seed=seed,
                  class_order=plain_order(class_order, order), validation=validation,
                  root=None if root is None else str(Path(root))))  # fmt: skip
    data.recipe = default_recipe(size, int(data.counts[0]))
    if size == 16:  # now that few images are left
        parts = ("images", "val_images", "test_images")
        data = dataclasses.replace(data, **{part: halve(getattr(data, part)) for part in parts})
    return data


def _one_of(name: str, value: int, known: tuple[int, ...], expected: str) -> int:
    try:
        found = check.whole(name, value)
    except ValueError:
        found = None
    if found not in known:
        raise check.refuse(name, value, expected)
    return found


def halve(images: Tensor) -> Tensor:
    """Mean of each 2 x 2 block, rounded to the nearest whole number, halves up: (n, H, W, C) to (n, H/2, W/2, C)."""
    if images.dtype != torch.uint8 or images.dim() != 4 or images.shape[1] % 2 or images.shape[2] % 2:
        raise check.refuse("images", images, "uint8 (n, H, W, C) with an even height and width")
    rows = images[:, ::2].to(torch.int16) + images[:, 1::2]
    return ((rows[:, :, ::2] + rows[:, :, 1::2] + 2) >> 2).to(torch.uint8)


def _load(classes: int, root: Path | None, download: bool) -> sources.Arrays:
    kind, path = _locate(classes, root, download)
    if kind == "tree":
        arrays = store.read_folders(path)
    elif kind == "archive":
        arrays = sources.read_archive(path)
    else:
        arrays = _read_torchvision(path, classes, download)
    found, shape = len(arrays["class_names"]), arrays["train_images"].shape[1:]
    if found != classes:
        raise ValueError(f"{path} holds {found} classes, not classes={classes}; pass another root= or classes=")
    if shape != (32, 32, 3):
        raise ValueError(f"{path} holds images of {shape[1]} x {shape[0]}, CIFAR's are 32 x 32; use folder_lt")
    return arrays


def _locate(classes: int, root: Path | None, download: bool) -> tuple[str, Path]:
    """("tree" | "archive" | "torchvision", path) of the first place that has the data, or is to get them."""
    if root is not None and root.is_file():
        return "archive", root
    if root is not None and any((root / split).is_dir() for split in ("train", "test")):
        _check_tree(root)
        return "tree", root
    bases = sources.data_folders() if root is None else [root]
    for base in bases:
        for tree in (base / f"cifar{classes}", base):
            if all((tree / s).is_dir() and len(sources.class_folders(tree / s)) == classes for s in ("train", "test")):
                return "tree", tree
        archives = sorted(base.glob(f"cifar{classes}[!0-9]*.tar*")) + sorted(base.glob(f"cifar{classes}.tar*"))
        if archives:
            return "archive", archives[0]
        if any((base / name).exists() for name in TORCHVISION[classes]):
            return "torchvision", base
    if download:
        return "torchvision", bases[0]
    todo = (
        f"pass download=True (about 170 MB, checksummed), or root= a folder with train/<class>/* and "
        f"test/<class>/*, or put {TORCHVISION[classes][1]} into {bases[0]}; digits_lt() needs no data at all"
    )
    if root is not None and root.is_dir():
        inside = sorted(p.name for p in root.iterdir())[:5]
        raise ValueError(
            f"root={str(root)!r} has neither train/<class>/* and test/<class>/* nor torchvision's files; "
            f"it holds {', '.join(inside) or 'nothing'}; {todo}"
        )
    raise FileNotFoundError(f"no CIFAR-{classes} found in {' or '.join(map(str, bases))}; {todo}")


def _check_tree(root: Path) -> None:
    for split in ("train", "test"):
        if not (root / split).is_dir() or not sources.class_folders(root / split):
            raise ValueError(
                f"root={str(root)!r} has no class folders in {split}/; expected train/<class>/* and "
                "test/<class>/* (for a folder without a test part use folder_lt)"
            )


def _read_torchvision(folder: Path, classes: int, download: bool) -> sources.Arrays:
    """torchvision's files as arrays; verified and decoded by torchvision once, then kept."""
    batches, archive = (folder / name for name in TORCHVISION[classes])

    def make() -> sources.Arrays:
        import torchvision.datasets
        from torchvision.datasets.utils import check_integrity

        loader = torchvision.datasets.CIFAR10 if classes == 10 else torchvision.datasets.CIFAR100
        # An archive that somebody carried here only needs unpacking, which torchvision does on "download".
        fetch = download or (not batches.is_dir() and archive.is_file() and check_integrity(archive, loader.tgz_md5))
        try:
            train, test = (loader(folder, train=part, download=fetch) for part in (True, False))
        except OSError as error:
            raise ConnectionError(
                f"CIFAR-{classes} could not be downloaded or unpacked ({error}); check the network, or fetch "
                f"{archive.name} elsewhere and put it into {folder}, or use root= with an image folder"
            ) from error
        except RuntimeError as error:  # torchvision's word for a wrong checksum
            raise ValueError(
                f"CIFAR-{classes} in {folder} is damaged, truncated or incomplete ({archive.name} or {batches.name}/ "
                f"does not match its checksum); delete both and pass download=True, or copy {archive.name} again"
            ) from error
        return {
            "class_names": np.array(train.classes),
            "train_images": train.data,
            "train_labels": np.array(train.targets, np.int64),
            "test_images": test.data,
            "test_labels": np.array(test.targets, np.int64),
        }

    if not batches.is_dir():
        return make()
    key = [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in sorted(batches.iterdir())]
    return sources.cached(sources.cache_places(), sources.cache_name(batches), key, make)
