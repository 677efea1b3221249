"""`LongTailed`: training, validation and test images as uint8 tensors, and how a long tail is cut out of a full set."""

import dataclasses
import hashlib
import operator
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..check import suggest
from .augment import crop_flip, draw_crops, normalise, pad_black

PROFILES = ("exp", "step", "pareto")
PARETO_ALPHA = 6  # the shape of ImageNet-LT (Liu et al., CVPR 2019)
KEEP = 8_000_000  # pixel values of images that are never augmented, kept normalised as well (32 MB)
HELD_OUT = 20190116  # names the stream of the fixed validation and test splits; any constant would do


def profile_counts(n_max: int, k: int, ratio: float, profile: str = "exp") -> list[int]:
    """Images per class, most frequent first, each n_max * mu_i cut down to a whole number, with f = 1 / ratio.

    exp:     mu_i = f^(i / (k - 1))                                     a straight line on a log axis
    step:    mu_i = 1 for the first floor(k / 2) classes, f for the rest
    pareto:  mu_i = x_i^-(alpha + 1), alpha = 6, x_i evenly spaced from 1 to ratio^(1 / (alpha + 1))
             the density of a Pareto law; falls faster than exp at first and slower at the end

    n_max: images of the largest class; k: classes; ratio = largest / smallest >= 1. A count can come out as 0.
    Raises ValueError for a ratio below 1 or an unknown profile.
    Source: exp, Cui et al. (CVPR 2019); step, Cao et al. (NeurIPS 2019). pareto: alpha is that of ImageNet-LT (Liu et
    al., CVPR 2019); that the density is read at even steps and scaled to a given ratio is our reading.
    """
    n_max, k = _whole("n_max", n_max, 1), _whole("classes", k, 1)
    if not 1 <= ratio < float("inf"):
        raise ValueError(f"ratio={ratio!r}: expected largest / smallest class >= 1 (1 is balanced, 100 is a long tail)")
    if profile not in PROFILES:
        raise ValueError(f"profile={profile!r} is unknown{suggest(profile, PROFILES)}; "
                         f"choose from {', '.join(PROFILES)}")
    # Literally the papers' arithmetic in float64: exp(log) re-arrangements miscount by one or two images.
    f = 1 / ratio
    position = [i / (k - 1) if k > 1 else 0.0 for i in range(k)]
    if profile == "exp":
        return [int(n_max * f**p) for p in position]
    if profile == "step":
        return [n_max if i < k // 2 or k == 1 else int(n_max * f) for i in range(k)]
    reach = ratio ** (1 / (PARETO_ALPHA + 1)) - 1
    # round: the last value must be n_max / ratio, not one float below it
    return [int(round(n_max * (1 + reach * p) ** -(PARETO_ALPHA + 1), 9)) for p in position]


@dataclasses.dataclass(eq=False, repr=False)
class LongTailed:
    """A long-tailed data set, small enough to live on the training device as uint8.

    Class 0 is the most frequent: labels are re-numbered so that `counts` falls, and `class_names` follows.
    `images` (n, H, W, C) uint8, `targets` (n,) int64, and the same pair with `val_` (may be empty) and `test_`;
    test and validation images come in turns (one of every class, then the next), so that a first part is balanced too.
    `counts` (k,) int64, always on the CPU. `mean`, `std` (C,) float32, as fractions of 255. `pad` pixels and `flip`:
    the augmentation (0 and False: none). `spec`: the loader's name and arguments, enough to rebuild; JSON-able.
    `recipe`: the training recipe meant for it.
    """

    name: str
    images: Tensor
    targets: Tensor
    counts: Tensor
    class_names: tuple[str, ...]
    val_images: Tensor
    val_targets: Tensor
    test_images: Tensor
    test_targets: Tensor
    mean: Tensor
    std: Tensor
    pad: int
    flip: bool
    spec: dict
    recipe: str

    def __post_init__(self) -> None:
        for part in ("", "val_", "test_"):
            images, targets = getattr(self, part + "images"), getattr(self, part + "targets")
            if images.dtype != torch.uint8 or images.dim() != 4:
                raise ValueError(f"{part}images: expected uint8 (n, H, W, C), got {images.dtype} {tuple(images.shape)}")
            if targets.dtype != torch.int64 or targets.shape != images.shape[:1]:
                raise ValueError(f"{part}targets: expected int64 ({len(images)},), got {targets.dtype} "
                                 f"{tuple(targets.shape)}")
            if len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < self.k:
                raise ValueError(f"{part}targets: expected 0 .. {self.k - 1}, got {int(targets.min())} .. "
                                 f"{int(targets.max())}; number the classes from 0")
        self.counts = self.counts.cpu()
        if not torch.equal(torch.bincount(self.targets, minlength=self.k).cpu(), self.counts):
            raise ValueError("counts: expected the number of targets of each class; recompute it with torch.bincount")
        if (self.counts.diff() > 0).any() or self.counts.min() < 1:
            raise ValueError(f"counts: expected falling numbers >= 1, got {self.counts.tolist()}; sort the classes")
        shape = (1, -1, 1, 1)
        self._scale = (1 / (255 * self.std.double())).float().view(shape)
        self._shift = (-self.mean.double() / self.std.double()).float().view(shape)
        self._padded: Tensor | None = None
        self._normalised: dict[str, Tensor] = {}
        self._fingerprint: str | None = None

    def __repr__(self) -> str:
        return (f"{self.name}: {len(self.images):,} training images of {' x '.join(map(str, self.shape))} in {self.k} "
                f"classes, {int(self.counts[0]):,} to {int(self.counts[-1]):,} (ratio {self.ratio:.4g}), "
                f"{len(self.val_images):,} validation, {len(self.test_images):,} test, on {self.device}")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def k(self) -> int:
        """Number of classes."""
        return len(self.counts)

    @property
    def ratio(self) -> float:
        """Largest / smallest class, as it came out in whole images."""
        return float(self.counts.max() / self.counts.min())

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of a network's input."""
        _, height, width, channels = self.images.shape
        return channels, height, width

    @property
    def has_validation(self) -> bool:
        return len(self.val_images) > 0

    @property
    def device(self) -> torch.device:
        return self.images.device

    @property
    def fingerprint(self) -> str:
        """Short sha256 over all images and targets: equal on two machines exactly when the data are equal."""
        if self._fingerprint is None:
            digest = hashlib.sha256()
            for part in ("", "val_", "test_"):
                for name in (part + "images", part + "targets"):
                    array = getattr(self, name).cpu().contiguous().numpy()
                    digest.update(f"{name} {array.shape} {array.dtype}".encode())
                    digest.update(array.data)
            self._fingerprint = digest.hexdigest()[:16]
        return self._fingerprint

    def to(self, device: torch.device | str) -> "LongTailed":
        """The same data on another device (itself when it is there already); `counts` stays on the CPU."""
        moved = {f.name: getattr(self, f.name).to(device) for f in dataclasses.fields(self)
                 if isinstance(getattr(self, f.name), Tensor) and f.name != "counts"}
        if moved["images"] is self.images:
            return self
        other = dataclasses.replace(self, **moved)
        other._fingerprint = self._fingerprint
        return other

    def with_seed(self, seed: int) -> "LongTailed":
        """The same recipe for data under another seed: a new subset and, if drawn by seed, a new class order."""
        from . import load

        return load({**self.spec, "seed": seed}).to(self.device)

    def prepare(self) -> "LongTailed":
        """Make now what is made once and kept, before runs on several streams or threads share it; returns itself."""
        if self.pad or self.flip:
            self.padded()
        for name in ("images", "val_images", "test_images"):
            self._plain(name, slice(0, 0))
        return self

    def padded(self) -> Tensor:
        """The training images in a black border, (n, C, H + 2 pad, W + 2 pad) uint8; made once and kept."""
        if self._padded is None:
            self._padded = pad_black(self.images, self.pad)
        return self._padded

    def batch(self, index: Tensor | slice | Sequence[int], generator: torch.Generator | None = None) -> Tensor:
        """Training images (n, C, H, W), normalised float32; with a generator also padded, cropped, flipped at random.

        The only draws are `draw_crops`'s, from `generator`; without augmentation (pad 0, no flip) there are none.
        """
        if generator is None or not (self.pad or self.flip):
            return self._plain("images", index)
        index = self._rows(index, len(self.images))
        crops = draw_crops(len(index), self.pad, self.flip, generator, self.device)
        return normalise(crop_flip(self.padded(), index, *crops, self.pad), self._scale, self._shift)

    def test_batch(self, index: Tensor | slice | Sequence[int] = slice(None)) -> Tensor:
        """Test images (n, C, H, W), normalised float32, never augmented."""
        return self._plain("test_images", index)

    def val_batch(self, index: Tensor | slice | Sequence[int] = slice(None)) -> Tensor:
        """Validation images (n, C, H, W), normalised float32, never augmented."""
        return self._plain("val_images", index)

    def _plain(self, name: str, index: Tensor | slice | Sequence[int]) -> Tensor:
        images = getattr(self, name)
        if images.numel() <= KEEP:
            if name not in self._normalised:
                self._normalised[name] = normalise(images.permute(0, 3, 1, 2), self._scale, self._shift)
            kept = self._normalised[name]
            rows = None if isinstance(index, slice) else self._rows(index, len(images))
            return kept[index].clone() if rows is None else kept.index_select(0, rows)
        part = images[index] if isinstance(index, slice) else images.index_select(0, self._rows(index, len(images)))
        return normalise(part.permute(0, 3, 1, 2), self._scale, self._shift)

    def _rows(self, index: Tensor | slice | Sequence[int], n: int) -> Tensor:
        if isinstance(index, slice):
            return torch.arange(*index.indices(n), device=self.device)
        index = torch.as_tensor(index, device=self.device)
        if index.dtype == torch.bool:
            raise TypeError("index: expected positions, got a boolean mask; pass mask.nonzero().flatten()")
        return index.long()


def cut(
    name: str, train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray], class_names: Sequence[str], *,
    ratio: float | None, n_max: int | None, profile: str, seed: int, order: np.ndarray, validation: int | Sequence[int],
    mean: Sequence[float], std: Sequence[float], pad: int, flip: bool, recipe: str, spec: dict,
    val: tuple[np.ndarray, np.ndarray] | None = None,
) -> LongTailed:
    """Cut a long tail out of a full training set: first hold out validation images, then draw the subset by `seed`.

    train, test, val: images (n, H, W, C) uint8 and labels (n,) in the set's own numbering. order (k,): the class of
    each rank, most frequent first. validation: images per class, the same ones for every seed, ratio and order.
    ratio=None keeps every image that is left. n_max=None takes as many as the classes allow.
    The images of a class are nested: a smaller count with the same seed is a part of a larger one.
    """
    images, labels = train
    seed = check_seed(seed)
    spec = {key: value.item() if isinstance(value, np.generic) else value for key, value in spec.items()}
    if not len(test[0]):
        raise ValueError("test=0 leaves nothing to test on; hold out at least one image per class")
    if val is None:
        held, pool = hold_out(labels, class_names, validation, "validation")
        val = images[held], labels[held]
    else:
        pool = [np.flatnonzero(labels == c) for c in range(len(order))]
    left = [len(pool[c]) for c in order]
    if ratio is None:
        counts = left
    else:
        if n_max is None:
            n_max = _largest(left, ratio, profile)
        counts = profile_counts(n_max, len(order), ratio, profile)
    for c, count, available in zip(order, counts, left, strict=True):
        if count < 1:
            raise ValueError(
                f"class {class_names[c]!r} is left with no image"
                + (f": ratio={ratio:g} with n_max={n_max} cuts it to 0; pass a ratio below n_max, or a larger n_max"
                   if ratio is not None else "; hold out fewer for validation and test, or remove the class"))
        if count > available:
            raise ValueError(
                f"n_max={n_max} is too large: class {class_names[c]!r} needs {count:,} images and has {available:,}"
                f" left for training; pass n_max={_largest(left, ratio, profile)} or less, or hold out fewer images"
                f" (validation={validation if np.ndim(validation) == 0 else 'per class'})")
    drawn = [np.sort(np.random.RandomState([seed, c]).permutation(pool[c])[:count])
             for c, count in zip(order, counts, strict=True)]
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    rows = np.concatenate(drawn)
    tensors = {"images": images[rows], "targets": rank[labels[rows]]}
    for part, (x, y) in (("val_", val), ("test_", test)):
        turns = _in_turns(y)
        tensors |= {part + "images": x[turns], part + "targets": rank[y[turns]]}
    return LongTailed(
        name=name, counts=torch.tensor(counts), class_names=tuple(str(class_names[c]) for c in order),
        mean=torch.tensor(mean, dtype=torch.float32), std=torch.tensor(std, dtype=torch.float32),
        pad=pad, flip=flip, spec=spec, recipe=recipe,
        **{key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in tensors.items()})


def hold_out(
    labels: np.ndarray, class_names: Sequence[str], per_class: int | Sequence[int], what: str
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Set `per_class` images of each class aside, always the same ones: (their rows, the rows left of each class)."""
    sizes = [_whole(what, n, 0) for n in (per_class if np.ndim(per_class) else [per_class] * len(class_names))]
    held, left = [], []
    for c, size in enumerate(sizes):
        rows = np.flatnonzero(labels == c)
        if size and size >= len(rows):
            raise ValueError(f"class {class_names[c]!r} is left with no image: it has {len(rows)}, and {what} holds "
                             f"out {size} of them; pass a smaller {what}=, or remove the class")
        shuffled = np.random.RandomState([HELD_OUT, c]).permutation(rows)
        held.append(np.sort(shuffled[:size]))
        left.append(np.sort(shuffled[size:]))
    return np.concatenate(held), left


def order_classes(
    class_order: str | Sequence[int | str], class_names: Sequence[str], seed: int, **named: Sequence[int]
) -> np.ndarray:
    """The class of each rank, most frequent first, (k,): by name of an order, or a sequence of numbers or class names.

    "natural": the set's own numbering. "seed": RandomState(1000 + seed).permutation(k). `named`: a loader's own orders.
    """
    k, names = len(class_names), list(class_names)
    if isinstance(class_order, str):
        orders = {"natural": range(k), "seed": np.random.RandomState(1000 + check_seed(seed)).permutation(k), **named}
        if class_order not in orders:
            raise ValueError(f"class_order={class_order!r} is unknown{suggest(class_order, orders)}; choose from "
                             f"{', '.join(orders)}, or give the {k} classes, most frequent first")
        return np.asarray(orders[class_order], np.int64)
    given = [names.index(c) if isinstance(c, str) and c in names else c for c in class_order]
    if any(isinstance(c, str) for c in given) or sorted(given) != list(range(k)):
        raise ValueError(f"class_order={list(class_order)!r}: expected each of the {k} classes once, as numbers "
                         f"0 .. {k - 1} or by name")
    return np.asarray(given, np.int64)


def plain_order(class_order: str | Sequence[int | str]) -> str | list:
    """A class order as JSON can keep it."""
    if isinstance(class_order, str):
        return class_order
    return [c if isinstance(c, str) else int(c) for c in class_order]


def default_recipe(side: int, n_max: int) -> str:
    """The training recipe meant for colour images of this side and this many in the largest class."""
    if side > 16:
        return "cao2019"
    return "cifar16_live" if n_max <= 1000 else "cifar16"


def check_seed(seed: int) -> int:
    """The seed, if it is a whole number from 0 to 2^31; ValueError otherwise."""
    return _whole("seed", seed, 0, 2**31)


def _whole(name: str, value: int, low: int, high: int | None = None) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < low or (high is not None and number >= high):
        below = "" if high is None else f" and below {high}"
        raise ValueError(f"{name}={value!r}: expected a whole number of at least {low}{below}")
    return number


def _largest(left: Sequence[int], ratio: float, profile: str) -> int:
    """The largest n_max that every class can serve."""
    for n_max in range(left[0], 0, -1):
        if all(c <= n for c, n in zip(profile_counts(n_max, len(left), ratio, profile), left, strict=True)):
            return n_max
    return 1


def _in_turns(labels: np.ndarray) -> np.ndarray:
    """Rows in turns over the classes: the first of every class, then the second of every class, and so on."""
    rows = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[rows], labels[rows])
    return rows[np.argsort(np.arange(len(rows)) - starts, kind="stable")]
