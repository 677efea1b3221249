"""Any folder of images, one folder per class: made long-tailed, or used as it is."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .. import check
from ..files import canonical
from . import sources
from .classes import order_classes, plain_order
from .longtailed import LongTailed, cut, default_recipe, hold_out

LARGEST_SIDE = 4096  # side of an image in pixels


def folder_lt(
    root: str | Path, ratio: float | None = None, size: int | None = None, n_max: int | None = None,
    profile: str = "exp", seed: int = 0, class_order: str | Sequence[int | str] = "count",
    validation: float = 0.1, test: float = 0.2, pad: int | None = None, flip: bool = True,
) -> LongTailed:  # fmt: skip
    """Your own images: <root>/<class>/*, or <root>/train/<class>/*, with test/<class>/* and val/<class>/* if there are.

    ratio: largest / smallest class to cut the tail to; None keeps every image. size: side in pixels to crop and resize
    to; None: as they are, if all have one size. n_max: images of the largest class; None: as many as the classes allow.
    profile, seed: as in cifar_lt. class_order: "count" (most images first), "natural" (by name), "seed", or the
    classes from most to least frequent. validation, test: share (below 1) or number of images per class that is held
    out where there is no folder for it, the same ones for every seed; a share takes at least one. pad, flip:
    augmentation; None: an eighth of the side; pass flip=False where left and right differ, as in writing.
    Pixels are normalised by mean and standard deviation of the full training part.

    Raises FileNotFoundError, ValueError (layout, unreadable image, several sizes, a class left with no image).
    """
    if ratio is None and not (n_max is None and profile == "exp" and np.array_equal(class_order, "count")):
        raise ValueError(
            "ratio=None keeps the folder's own counts, so n_max, profile and class_order have no place; "
            "pass ratio= too, or leave them out"
        )
    size = None if size is None else check.whole("size", size, 4, LARGEST_SIDE)
    pad = None if pad is None else check.whole("pad", pad)
    validation, test = _amount("validation", validation), _amount("test", test)
    folder = check.path("root", root)
    arrays = sources.read_folders(folder, _splits(folder), size)
    names = arrays["class_names"].tolist()
    images, labels = arrays["train_images"], arrays["train_labels"]
    per_class = np.bincount(labels, minlength=len(names))
    val = (arrays["val_images"], arrays["val_labels"]) if "val_images" in arrays else None
    mean, std = _moments(images)
    if "test_images" in arrays:
        test_part = arrays["test_images"], arrays["test_labels"]
    else:
        held, left = hold_out(labels, names, _per_class(test, per_class), "test")
        test_part, rest = (images[held], labels[held]), np.sort(np.concatenate(left))
        images, labels = images[rest], labels[rest]
    pad = min(images.shape[1:3]) // 8 if pad is None else pad
    by_count = np.argsort(-np.bincount(labels, minlength=len(names)), kind="stable")
    order = order_classes(class_order, names, seed, count=by_count)
    data = cut(
        f"{folder.resolve().name}_lt", (images, labels), test_part, names,
        ratio=ratio, n_max=n_max, profile=profile, seed=seed, order=order,
        validation=_per_class(validation, per_class), val=val, mean=mean, std=std, pad=pad, flip=flip, recipe="",
        spec=dict(loader="folder_lt", root=str(Path(root)), ratio=ratio, size=size, n_max=n_max, profile=profile,
                  seed=seed, class_order=plain_order(class_order, order), validation=validation, test=test, pad=pad,
                  flip=flip))  # fmt: skip
    data.recipe = default_recipe(max(data.shape[1:]), int(data.counts[0]))
    return data


def _splits(root: Path) -> dict[str, Path]:
    if not root.is_dir():
        raise FileNotFoundError(f"root={str(root)!r} is not a folder; give one with a folder of images per class")
    if (root / "train").is_dir():
        splits = {split: root / split for split in sources.SPLITS if (root / split).is_dir()}
    else:
        splits = {"train": root}
    for folder in splits.values():
        classes = sources.class_folders(folder)
        if len(classes) < 2:
            inside = sorted(p.name for p in folder.iterdir())[:5]
            raise ValueError(
                f"{folder} has {len(classes)} class folders, at least 2 are needed; it holds "
                f"{', '.join(inside) or 'nothing'}; expected <class>/<image> or train/<class>/<image>"
            )
    return splits


def _amount(name: str, amount: float) -> float | int:
    """A share below 1, or a whole number of images as int."""
    try:
        found = canonical(check.number(name, amount, 0))
    except ValueError:
        found = None
    if found is None or (isinstance(found, float) and found > 1):
        raise check.refuse(name, amount, "a share between 0 and 1, or a whole number of images per class")
    return found


def _per_class(amount: float | int, available: np.ndarray) -> list[int]:
    """A share (at least one image of each class) or a number, as images per class."""
    if isinstance(amount, float):
        return [max(1, round(amount * n)) for n in available.tolist()]
    return [amount] * len(available)


def _moments(images: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel, as fractions of 255."""
    value, mean, std = np.arange(256) / 255, [], []
    for channel in range(images.shape[-1]):
        share = np.bincount(images[..., channel].ravel(), minlength=256) / images[..., channel].size
        mean.append(float(share @ value))
        std.append(max(float(share @ (value - mean[-1]) ** 2) ** 0.5, 1 / 255))  # an even colour must not divide by 0
    return mean, std
