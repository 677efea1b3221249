"""`LongTailed`: training, validation and test images as uint8 tensors, and how a long tail is cut out of a full set."""

import dataclasses
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import check
from ..files import canonical
from .augment import crop_flip, draw_crops, normalise, pad_black
from .classes import check_names
from .profiles import PROFILES, check_ratio, draw

KEEP = 8_000_000  # pixel values of images that are never augmented, kept normalised as well (32 MB)
HELD_OUT = 20190116  # names the stream of the fixed validation and test splits; any constant would do


@dataclasses.dataclass(eq=False, repr=False)
class LongTailed:
    """A long-tailed data set, small enough to live on the training device as uint8.

    Class 0 is the most frequent: labels are re-numbered so that `counts` falls, and `class_names` follows.
    `images` (n, H, W, C) uint8 (float32: rows of a table), `targets` (n,) int64, and the same pair with `val_` (may be
    empty) and `test_`, which come in turns (one of every class, then the next), so that a first part is balanced too.
    `counts` (k,) int64, always on the CPU. `mean`, `std` (C,) float32, as fractions of 255. `pad` pixels and `flip`:
    the augmentation (0 and False: none). `spec`: the loader's name and arguments, enough to rebuild; JSON-able.
    `recipe`: the training recipe meant for it. Raises ValueError for parts that do not fit together.

    Tensors may be edited in place or replaced: what is kept of them is made again when they have changed (edits through
    numpy or `.data`, which torch does not count, go unseen). `prepare()` checks the whole set again.
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
        self._made_from: dict[str, list[tuple[Tensor, int]]] = {}
        self._padded: Tensor | None = None
        self._normalised: dict[str, Tensor] = {}
        self._fingerprint: str | None = None
        self._loads_as: dict | None = None  # the identity that is known to be what the loader makes
        self._factors: tuple[Tensor, Tensor] | None = None
        self._check()
        self._current("check", "counts", *TENSORS)

    def _check(self) -> None:
        """Bring every part to its type, or raise ValueError."""
        check.text("name", self.name)
        for name in ("counts", *TENSORS):
            check.instance(name, getattr(self, name), Tensor, "a tensor")
        self.counts = self.counts.cpu()
        if self.counts.dtype != torch.int64 or self.counts.dim() != 1 or not len(self.counts):
            got = f"{self.counts.dtype} {tuple(self.counts.shape)}"
            raise ValueError(f"counts: expected int64 (k,), got {got}; make them with torch.bincount(targets)")
        self.class_names = check_names(self.class_names, self.k)
        for part in ("", "val_", "test_"):
            _check_part(part, getattr(self, part + "images"), getattr(self, part + "targets"), self.k, self.images)
        if not torch.equal(torch.bincount(self.targets, minlength=self.k).cpu(), self.counts):
            raise ValueError("counts: expected the number of targets of each class; recompute it with torch.bincount")
        if (self.counts.diff() > 0).any() or self.counts.min() < 1:
            raise ValueError(f"counts: expected falling numbers >= 1, got {self.counts.tolist()}; sort the classes")
        _check_moment("mean", self.mean, self.shape[0], -math.inf)
        _check_moment("std", self.std, self.shape[0], 0.0)
        self.pad = check.whole("pad", self.pad, 0, min(self.shape[1:]))
        self.flip = check.flag("flip", self.flip)
        check.instance("recipe", self.recipe, str, "the name of a training recipe")
        self.spec = _checked_spec(self.spec)

    def _current(self, what: str, *names: str) -> bool:
        """Whether what was made of these tensors still holds: none replaced or edited in place since the last call."""
        state = [(tensor := getattr(self, name), _edits(tensor)) for name in names]
        before = self._made_from.get(what, ())
        self._made_from[what] = state
        return bool(before) and all(a is c and b == d for (a, b), (c, d) in zip(state, before, strict=True))

    def _normalisation(self) -> tuple[Tensor, Tensor]:
        """Scale and shift, each (1, C, 1, 1), that bring a pixel 0 .. 255 to mean 0 and standard deviation 1."""
        if not self._current("factors", "mean", "std") or self._factors is None:
            mean, std = self.mean.double(), self.std.double()
            self._factors = tuple(one.float().view(1, -1, 1, 1) for one in (1 / (255 * std), -mean / std))
        return self._factors

    def __repr__(self) -> str:
        return (f"{self.name}: {len(self.images):,} training images of {' x '.join(map(str, self.shape))} in {self.k} "
                f"classes, {int(self.counts[0]):,} to {int(self.counts[-1]):,} (ratio {self.ratio:.4g}), "
                f"{len(self.val_images):,} validation, {len(self.test_images):,} test, on {self.device}")  # fmt: skip

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
        return self.images.shape[3], *self.images.shape[1:3]

    @property
    def has_validation(self) -> bool:
        return len(self.val_images) > 0

    @property
    def has_pictures(self) -> bool:
        """Whether its images can be looked at; rows of a table cannot."""
        return self.images.dtype == torch.uint8

    @property
    def device(self) -> torch.device:
        return self.images.device

    @property
    def fingerprint(self) -> str:
        """Short sha256 over all images and targets: equal on two machines exactly when the data are equal."""
        if not self._current("fingerprint", *PARTS) or self._fingerprint is None:
            digest = hashlib.sha256()
            for name in PARTS:
                whole = getattr(self, name)
                digest.update(f"{name} {tuple(whole.shape)} {str(whole.dtype).removeprefix('torch.')}".encode())
                for array in self._contents(name):
                    digest.update(array.data)
            self._fingerprint = digest.hexdigest()[:16]
        return self._fingerprint

    def _contents(self, name: str) -> Iterator[np.ndarray]:
        """A tensor as arrays, one after the other."""
        yield getattr(self, name).cpu().contiguous().numpy()

    @property
    def identity(self) -> dict:
        """All of the data that can change a result, JSON-able: pixels and targets, names, normalisation, crops."""
        return dict(fingerprint=self.fingerprint, class_names=list(self.class_names), mean=self.mean.tolist(),
                    std=self.std.tolist(), pad=self.pad, flip=self.flip)  # fmt: skip

    def to(self, device: torch.device | str) -> "LongTailed":
        """The same data on another device (itself when it is there already); `counts` stays on the CPU."""
        return moved_to(self, device, TENSORS)

    def with_seed(self, seed: int) -> "LongTailed":
        """The same recipe for data under another seed: a new subset and, if drawn by seed, a new class order.

        Raises ValueError for data that are no longer what their loader makes: what was changed would be lost.
        """
        seed, identity = check.seed(seed), self.identity
        if self._loads_as != identity:
            now = self._made_again().identity
            changed = [name for name, value in identity.items() if now[name] != value]
            if changed:
                what = "images or targets" if changed[0] == "fingerprint" else changed[0]
                raise ValueError(
                    f"data: {what} differ from what {self.spec.get('loader', 'its loader')} makes, so other seeds "
                    "would not have what was changed; train each seed with lt.train, or load the data again"
                )
            self._loads_as = identity
        return self._made_again(seed).to(self.device)

    def _made_again(self, seed: int | None = None) -> "LongTailed":
        """What the loader makes of the same arguments, or of another seed."""
        from . import load

        return load(self.spec if seed is None else {**self.spec, "seed": seed})

    def prepare(self) -> "LongTailed":
        """Make now what is made once and kept, before runs on several streams or threads share it; returns itself.

        Raises ValueError where tensors were edited so that the parts no longer fit together.
        """
        if not self._current("check", "counts", *TENSORS):
            self._check()
        if self.pad or self.flip:
            self.padded()
        for name in ("images", "val_images", "test_images"):
            self._plain(name, slice(0, 0))
        return self

    def padded(self) -> Tensor:
        """The training images in a black border, (n, C, H + 2 pad, W + 2 pad) uint8; made once and kept."""
        if not self._current("padded", "images") or self._padded is None:
            self._padded = _refill(self._padded, pad_black(self.images, self.pad))
        return self._padded

    def batch(
        self, index: Tensor | slice | Sequence[int], generator: torch.Generator | None = None,
        places: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Training images (n, C, H, W), normalised float32; with a generator also padded, cropped, flipped at random.

        The only draws are `draw_crops`'s, from `generator`; without augmentation (pad 0, no flip) there are none.
        places (m,): of this batch the images at these places alone, as they are in the whole one, after the same draws.
        """
        if generator is not None:
            check.instance("generator", generator, torch.Generator, "a torch.Generator, or None for no augmentation")
        if generator is None or not (self.pad or self.flip):
            return self._plain("images", index if places is None else self._rows(index, len(self.images))[places])
        index = self._rows(index, len(self.images))
        crops = draw_crops(len(index), self.pad, self.flip, generator, self.device)
        if places is not None:
            index, crops = index[places], [one[places] for one in crops]
        try:
            images = crop_flip(self.padded(), index, *crops, self.pad)
        except IndexError:
            raise _outside(index, len(self.images)) from None
        return normalise(images, *self._normalisation())

    def pixels(self, index: Tensor) -> Tensor:
        """Training images (n, C, H, W) as they are, on the CPU, of positions (n,)."""
        return self.images.cpu()[index.cpu()].permute(0, 3, 1, 2)

    def normalise(self, images: Tensor) -> Tensor:
        """Images (n, C, H, W) uint8, or float32 from 0 to 255, on the device of the data, as a network takes them."""
        return normalise(images, *self._normalisation())

    def test_batch(self, index: Tensor | slice | Sequence[int] = slice(None)) -> Tensor:
        """Test images (n, C, H, W), normalised float32, never augmented."""
        return self._plain("test_images", index)

    def val_batch(self, index: Tensor | slice | Sequence[int] = slice(None)) -> Tensor:
        """Validation images (n, C, H, W), normalised float32, never augmented."""
        return self._plain("val_images", index)

    def _plain(self, name: str, index: Tensor | slice | Sequence[int]) -> Tensor:
        images = getattr(self, name)
        if images.numel() <= KEEP:
            if not self._current(name, name, "mean", "std") or name not in self._normalised:
                made = normalise(images.permute(0, 3, 1, 2), *self._normalisation())
                self._normalised[name] = _refill(self._normalised.get(name), made)
            kept = self._normalised[name]
            return kept[index].clone() if isinstance(index, slice) else _take(kept, self._rows(index, len(images)))
        part = images[index] if isinstance(index, slice) else _take(images, self._rows(index, len(images)))
        return normalise(part.permute(0, 3, 1, 2), *self._normalisation())

    def _rows(self, index: Tensor | slice | Sequence[int], n: int) -> Tensor:
        if isinstance(index, slice):
            return torch.arange(*index.indices(n), device=self.device)
        try:
            rows = torch.as_tensor(index, device=self.device)
        except (TypeError, ValueError, RuntimeError):
            rows = None
        if rows is not None and rows.dtype == torch.bool:
            raise check.refuse("index", index, "positions, not a boolean mask; pass mask.nonzero().flatten()")
        if rows is None or rows.dim() != 1 or (len(rows) and (rows.is_floating_point() or rows.is_complex())):
            raise check.refuse("index", index, "positions (n,) of images, as whole numbers, or a slice")
        return rows.long()


TENSORS = tuple(f.name for f in dataclasses.fields(LongTailed) if f.type is Tensor and f.name != "counts")
PARTS = tuple(name for name in TENSORS if name.endswith(("images", "targets")))


def moved_to(data: LongTailed, device: torch.device | str, names: Sequence[str]) -> LongTailed:
    """The same data with these tensors on a device; itself where they are there already."""
    try:
        moved = {name: getattr(data, name).to(torch.device(device)) for name in names}
    except (RuntimeError, AssertionError, TypeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise check.refuse("device", device, f"a device that torch has here, such as 'cpu' ({error})") from None
    if all(moved[name] is getattr(data, name) for name in names):
        return data
    other = replaced(data, moved)
    if data._fingerprint is not None:
        other._current("fingerprint", *PARTS)
        other._fingerprint = data.fingerprint
    return other


def replaced(data: LongTailed, parts: Mapping[str, Tensor]) -> LongTailed:
    """The same data with other tensors, and with what their loader has added (`folder`, `unseen`)."""
    other = dataclasses.replace(data, **parts)
    vars(other).update(vars(data) | vars(other))
    return other


def _edits(tensor: Tensor) -> int:
    """How often torch has changed a tensor in place (in inference mode it does not count)."""
    return -1 if tensor.is_inference() else tensor._version


def _refill(kept: Tensor | None, made: Tensor) -> Tensor:
    """What is newly made, in the memory of what was kept: a captured graph reads from there."""
    fits = kept is not None and kept.shape == made.shape and kept.device == made.device and not kept.is_inference()
    return kept.copy_(made) if fits else made


def _take(images: Tensor, rows: Tensor) -> Tensor:
    try:
        return images.index_select(0, rows)
    except (IndexError, RuntimeError):
        if images.device.type != "cpu":  # there, another error may come this way
            raise
        raise _outside(rows, len(images)) from None


def _outside(rows: Tensor, n: int) -> ValueError:
    return ValueError(f"index: expected positions 0 .. {n - 1}, got {int(rows.min())} .. {int(rows.max())}")


def _check_moment(name: str, values: Tensor, channels: int, low: float) -> None:
    sound = values.dtype == torch.float32 and values.shape == (channels,)
    if not (sound and values.isfinite().all() and (values > low).all()):
        wanted = f"float32 ({channels},), one finite number for each channel{' above 0' if low == 0.0 else ''}"
        raise ValueError(f"{name}: expected {wanted}, got {values.dtype} {values.tolist()}")


def _checked_spec(spec: Any) -> dict:
    try:
        canonical(check.instance("spec", spec, Mapping, "a mapping"))
    except (TypeError, ValueError):
        raise check.refuse("spec", spec, 'how the data were made, as JSON can keep it: {"loader": name, …}, or {} for '
                           "data made by hand") from None  # fmt: skip
    return dict(spec)


def _check_part(part: str, images: Tensor, targets: Tensor, k: int, train: Tensor) -> None:
    """Images and targets of "", "val_" or "test_": their types, shapes and values; ValueError otherwise."""
    if images.dtype not in (torch.uint8, torch.float32) or images.dim() != 4 or images.dtype != train.dtype:
        got = f"{images.dtype} {tuple(images.shape)}"
        raise ValueError(f"{part}images: expected uint8 (n, H, W, C), or float32 in all parts, got {got}")
    if images.dtype == torch.float32 and not images.isfinite().all():
        raise ValueError(f"{part}images: expected finite numbers, found NaN or infinity")
    if not images[0:1].numel() and (len(images) or not part):
        raise ValueError(f"{part}images: expected at least one image of at least one pixel, got {tuple(images.shape)}")
    if len(images) and images.shape[1:] != train.shape[1:] or images.device != train.device:
        raise ValueError(
            f"{part}images: expected {tuple(train.shape[1:])} on {train.device} as in images, got "
            f"{tuple(images.shape[1:])} on {images.device}"
        )
    if targets.dtype != torch.int64 or targets.shape != images.shape[:1]:
        raise ValueError(f"{part}targets: expected int64 ({len(images)},), got {targets.dtype} {tuple(targets.shape)}")
    if len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < k:
        raise ValueError(
            f"{part}targets: expected 0 .. {k - 1}, got {int(targets.min())} .. {int(targets.max())}; "
            "number the classes from 0"
        )


def cut(
    name: str, train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray], class_names: Sequence[str], *,
    ratio: float | None, n_max: int | None, profile: str, seed: int, order: np.ndarray, validation: int | Sequence[int],
    mean: Sequence[float], std: Sequence[float], pad: int, flip: bool, recipe: str, spec: dict,
    val: tuple[np.ndarray, np.ndarray] | None = None,
) -> LongTailed:  # fmt: skip
    """Cut a long tail out of a full training set: first hold out validation images, then draw the subset by `seed`.

    train, test, val: images (n, H, W, C) uint8 and labels (n,) in the set's own numbering. order (k,): the class of
    each rank, most frequent first. validation: images per class, the same ones for every seed, ratio and order.
    ratio=None keeps every image that is left. n_max=None takes as many as the classes allow.
    The images of a class are nested: a smaller count with the same seed is a part of a larger one.
    """
    images, labels = train
    seed, profile = check.seed(seed), check.choice("profile", profile, PROFILES)
    ratio, flip = None if ratio is None else check_ratio(ratio), check.flag("flip", flip)
    n_max = None if n_max is None else check.whole("n_max", n_max, 1)
    if not len(test[0]):
        raise ValueError("test=0 leaves nothing to test on; hold out at least one image per class")
    if val is None:
        held, pool = hold_out(labels, class_names, validation, "validation")
        val = images[held], labels[held]
    else:
        pool = [np.flatnonzero(labels == c) for c in range(len(order))]
    drawn, n_max = draw(pool, order, class_names, ratio, n_max, profile, seed, validation)
    # What was chosen for None is written out: the same data have one description, whoever asked for it.
    chosen = dict(ratio=ratio, n_max=n_max, profile=profile, seed=seed, pad=pad, flip=flip)
    spec = {key: chosen.get(key, value) for key, value in canonical(spec).items()}
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    rows = np.concatenate(drawn)
    tensors = {"images": images[rows], "targets": rank[labels[rows]]}
    for part, (x, y) in (("val_", val), ("test_", test)):
        turns = _in_turns(y)
        tensors |= {part + "images": x[turns], part + "targets": rank[y[turns]]}
    return LongTailed(
        name=name, counts=torch.tensor([len(rows) for rows in drawn], device="cpu"),
        class_names=tuple(class_names[c] for c in order),
        mean=torch.tensor(mean, dtype=torch.float32, device="cpu"),
        std=torch.tensor(std, dtype=torch.float32, device="cpu"),
        pad=pad, flip=flip, spec=spec, recipe=recipe,
        **{key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in tensors.items()})  # fmt: skip


def hold_out(
    labels: np.ndarray, class_names: Sequence[str], per_class: int | Sequence[int], what: str
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Set `per_class` images of each class aside, always the same ones: (their rows, the rows left of each class)."""
    sizes = [check.whole(what, n) for n in (per_class if np.ndim(per_class) else [per_class] * len(class_names))]
    held, left = [], []
    for c, size in enumerate(sizes):
        rows = np.flatnonzero(labels == c)
        if size and size >= len(rows):
            raise ValueError(
                f"class {class_names[c]!r} is left with no image: it has {len(rows)}, and {what} holds "
                f"out {size} of them; pass a smaller {what}=, or remove the class"
            )
        shuffled = np.random.RandomState([HELD_OUT, c]).permutation(rows)
        held.append(np.sort(shuffled[:size]))
        left.append(np.sort(shuffled[size:]))
    return np.concatenate(held), left


def default_recipe(side: int, n_max: int, n: int | None = None) -> str:
    """The training recipe meant for colour images of this side and this many in the largest class, and n in all.

    Beyond 32 pixels a network that first halves its images, and on two cores some minutes for 2,000 images of 64
    pixels: 60 epochs for up to 5,000 images, 20 for more.
    """
    if side > 32:
        return "photos" if (n_max if n is None else n) <= 5_000 else "photos_many"
    if side > 16:
        return "cao2019"
    return "cifar16_live" if n_max <= 1000 else "cifar16"


def _in_turns(labels: np.ndarray) -> np.ndarray:
    """Rows in turns over the classes: the first of every class, then the second of every class, and so on."""
    rows = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[rows], labels[rows])
    return rows[np.argsort(np.arange(len(rows)) - starts, kind="stable")]
