"""Any trained classifier as a run: its answers on images that a loader gives, its classifier, its features."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from . import check, heads, labels, loaders
from .check import to_array
from .predictions import as_run, probable
from .run import Run, compact

IMAGES = ("image", "images", "img", "imgs", "pixel_values", "x", "input", "inputs", "data")
LABELS = ("label", "labels", "target", "targets", "y", "class", "classes")
SIGMOID = "leave out the model's last sigmoid, or pass forward=lambda model, batch: (model(batch[0]).logit(), batch[1])"
FORWARD = "pass forward=(model, batch) -> (logits, labels)"


def collect(
    model: nn.Module,
    loader: Iterable,
    *,
    head: str | None = None,
    counts: Any = None,
    class_names: Sequence[Any] | None = None,
    training: Iterable | None = None,
    forward: Callable[[nn.Module, Any], tuple[Tensor, Any]] | None = None,
    ignore: Any = None,
    seed: int = 0,
    name: str = "my model",
) -> Run:
    """Look at any classifier as a run: every plot and explorer takes the result.

    model        a torch module that maps a batch of images to logits (n, k), alone, in a tuple, or under "logits"; used
                 on its device, in its type, in eval mode, and left as it was
    loader       yields test images with their labels: (images, labels), or a mapping with an entry such as "image" or
                 "pixel_values" and one such as "label"; its other entries are passed on where model.forward names them.
                 labels (n,): whole numbers 0..k-1, or 1..k, names, booleans of two classes, one-hot rows
    head         the name of the classifier inside the model, or of the part that holds it: a linear or a cosine layer,
                 or a 1x1 convolution, with `.weight` (k, d), whose input are the features. None: it is looked for.
                 Either way W f + b, or s cos(f, W), must be the logits
    counts       (k,) training images of each class, as numbers, or a mapping or Series by class; without it, those of
                 `training`, or else, with a warning, of the loader. Where a sampler repeats images or drop_last leaves
                 some out, they are those of the data set's targets
    class_names  (k,) in the order of the logits; without them, `classes` of the loader's data set (as of ImageFolder),
                 the sorted names among the labels, or "0", "1", ... (of booleans "False", "True")
    training     a loader of the training images: their features, the class means, and the counts
    forward      (model, batch) -> (logits, labels), for a model or batches of another kind; it moves the batch itself
    ignore       the label, such as -100, of images that are left out
    seed, name   what tells this run from others: runs of one name and several seeds are one series

    What is taken for granted (numbers from 1, sorted names) or not found (a head; the run then has no features) is said
    once, as a UserWarning. Raises ValueError, naming the argument, where something does not fit.
    """
    check.instance("model", model, nn.Module, "a torch.nn.Module")
    check.text("name", name)
    model, seed, ignore = inner(model), check.seed(seed), labels.checked_ignore(ignore)
    known = loaders.class_names(loader, training) if class_names is None else class_names
    look = _Look(model, head, forward, ignore, len(known) if hasattr(known, "__len__") else None)
    with _looking(model):
        test = look.through("loader", loader, keep_logits=True)
        train = None if training is None else look.through("training", training, keep_logits=False)
    found = {"targets": test.labels()} | ({} if train is None else {"train_targets": train.labels()})
    to_count, doubts = loaders.to_count(loader, training, [*found.values()][-1], ignore, counts is None)
    for doubt in (*look.doubts(), *doubts):
        warnings.warn(doubt, stacklevel=2)
    said = [*found.values(), *labels.keys_of(counts, found["targets"]), *([] if to_count is None else [to_count])]
    classes = labels.learn("loader", said, look.k, known, by_place=class_names is None)
    numbers = {key: classes.numbers("loader" if key == "targets" else "training", y) for key, y in found.items()}
    if to_count is not None:
        counts = np.bincount(classes.numbers("loader" if train is None else "training", to_count), minlength=classes.k)
    f, train_f = (None if of is None or look.head is None else of.features.array() for of in (test, train))
    run = as_run(
        "collected", classes, numbers, test.logits.array(), counts=counts, features=f, head=look.head, seed=seed,
        name=name, train_features=train_f,
    )  # fmt: skip
    run.provenance |= {"order": "random"} if loaders.is_random(loader) else {}  # then row i is not image i
    return run


def inner(model: nn.Module) -> nn.Module:
    """The model inside what spreads it over devices or compiles it: there, its layers can be watched."""
    if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        return inner(model.module)
    return inner(model._orig_mod) if isinstance(getattr(model, "_orig_mod", None), nn.Module) else model


@contextmanager
def _looking(model: nn.Module) -> Iterator[None]:
    """The model in eval mode, without gradients; each module's own mode comes back afterwards, frozen ones included."""
    modes = {module: module.training for module in model.modules()}
    state = torch.get_rng_state()  # a DataLoader draws its seed from it
    try:
        for module in modes:  # by flag: train() and eval() of a module of one's own may do more
            module.training = False
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        torch.set_rng_state(state)


# ------------------------------------------------------------------------------------------------------ what is kept
class _Rows:
    """Rows that grow in place, so that there is never a second copy of all of them.

    small: in float16 as long as each part loses nothing by it (`compact`).
    """

    def __init__(self, expected: int, small: bool = False):
        self.expected, self.small, self.n, self.data = expected, small, 0, None

    def add(self, rows: np.ndarray) -> None:
        rows = compact(rows) if self.small else rows
        self.small = rows.dtype == np.float16
        if self.data is None:
            self.data = np.empty((max(self.expected, len(rows)), rows.shape[1]), rows.dtype)
        if self.data.dtype == np.float16 and not self.small:
            self.data = self.data.astype(np.float32)
        need = self.n + len(rows)
        if need > len(self.data):
            self.data.resize((max(need, len(self.data) * 5 // 4), self.data.shape[1]), refcheck=False)
        self.data[self.n : need] = rows
        self.n = need

    def array(self) -> np.ndarray:
        self.data.resize((self.n, self.data.shape[1]), refcheck=False)
        return self.data


class _Answers:
    """What a loader gave: logits (n, k) unless they are not kept, features (n, d), and labels (n,) as they came."""

    def __init__(self, expected: int, keep_logits: bool):
        self.logits = _Rows(expected) if keep_logits else None
        self.features = _Rows(expected, small=True)
        self.parts: list[np.ndarray] = []

    def labels(self) -> np.ndarray:
        kinds = {one.dtype for one in self.parts}
        return np.concatenate([one if len(kinds) == 1 else one.astype(object) for one in self.parts])


# ------------------------------------------------------------------------------------------------------- the answers
class _Look:
    """A model's answers. k classes (None until the first batch); layer and head: the classifier, None without one."""

    def __init__(self, model: nn.Module, named: Any, forward: Callable | None, ignore: Any, wanted: int | None):
        if not (forward is None or callable(forward)):
            raise check.refuse("forward", forward, "a function (model, batch) -> (logits, labels), or None")
        self.model, self.named, self.forward, self.ignore, self.wanted = model, named, forward, ignore, wanted
        self.reader = _Reader(model)
        self.k: int | None = None
        self.layer: heads.Layer | None = None
        self.head: heads.Head | None = None
        self.reasons: list[str] = []
        self.bounded = True  # whether all outputs lie between 0 and 1
        if named is not None:
            heads.layers(model, named, range(check.MOST_CLASSES))  # there is such a one

    def through(self, name: str, loader: Any, keep_logits: bool) -> _Answers:
        """All that the loader gives, batch by batch."""
        check.instance(name, loader, Iterable, "batches of (images, labels), such as a torch DataLoader")
        found, empty = _Answers(loaders.length(loader), keep_logits), True
        for batch in loaders.batches(name, loader):
            empty = False
            if self.k is None:
                self._begin(name, batch)
            z, features, y = self._answers(name, batch)
            keep = labels.kept(y, self.ignore)
            if keep.any():
                found.parts.append(y[keep])
                if found.logits is not None:
                    found.logits.add(z[keep])
                if features is not None:
                    found.features.add(features[keep])
        if empty:
            raise ValueError(f"{name}: it gave no batch; a generator can be used once, a DataLoader again and again")
        if not found.parts:
            raise ValueError(f"{name}: every label is {self.ignore!r}, which is left out")
        return found

    def _begin(self, name: str, batch: Any) -> None:
        """What the first batch says: how many classes there are, and which layer is the classifier."""
        outputs, _ = self._ask(name, batch)
        by_size = {one.shape[1]: one for one in reversed(outputs)}
        candidates = heads.layers(self.model, self.named, by_size)
        with heads.watching([one.module for one in candidates]) as seen:
            self._ask(name, batch)
        fits: dict[int, tuple[heads.Layer, heads.Head]] = {}
        reasons: dict[int, list[str]] = {size: [] for size in by_size}
        for size, z in by_size.items():
            for layer in candidates if heads.finite(z) else ():
                try:
                    fits[size] = layer, layer.fits(seen[layer.module], z)[0]  # of several, the last one decides
                except ValueError as error:
                    reasons[size].append(layer.says(error))
        self.k = self._which(set(by_size), set(fits))
        if probable(_finite(by_size[self.k])):
            raise ValueError(
                "model: its outputs are probabilities, expected logits: leave out the model's last softmax, or pass "
                "forward=lambda model, batch: (model(batch[0]).log(), batch[1])"
            )
        self.reasons = reasons[self.k]
        if any("followed by a sigmoid" in one for one in self.reasons):
            raise ValueError(f"model: its outputs are those of a sigmoid, expected logits: {SIGMOID}")
        if self.k in fits:
            self.layer, self.head = fits[self.k]
        elif self.named is not None:
            raise self._unfit(self.reasons[0] if self.reasons else f"{self.named!r} holds no layer of {self.k} outputs")

    def _which(self, sizes: set[int], fitting: set[int]) -> int:
        """Which of several outputs are the logits, such as logits beside features."""
        for known in (sizes, sizes & {self.wanted}, fitting):
            if len(known) == 1:
                return known.pop()
        raise ValueError(
            f"model: it returns several tensors, with {', '.join(map(str, sorted(sizes)))} columns; which are the "
            f"logits? Pass class_names, or {FORWARD[5:]}"
        )

    def _unfit(self, reason: str) -> ValueError:
        return ValueError(f"head={reason}; name the layer that gives the logits, or leave head out")

    def _ask(self, name: str, batch: Any) -> tuple[list[Tensor], Any]:
        """Outputs (n, k) of the model, as many as may be logits, and the labels as they came."""
        if self.forward is None:
            found, y = self.reader(name, batch)
        else:
            pair = self.forward(self.model, batch)
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                raise ValueError(f"forward: expected it to return (logits, labels), got {check.shown(pair)}")
            found, y = pair
        return logits_among(found, _number(name, y)), y

    def _answers(self, name: str, batch: Any) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        """Logits (n, k) and features (n, d), float32, and labels (n,) of a batch."""
        with heads.watching([self.layer.module] if self.layer else []) as seen:
            outputs, y = self._ask(name, batch)
        z = next((one for one in outputs if one.shape[1] == self.k), None)
        if z is None:
            raise ValueError(f"model: {self.k} logits in the first batch, {outputs[0].shape[1]} in a later one")
        features, answers = None, _finite(z)
        self.bounded &= bool(answers.min() > 0 and answers.max() <= 1)  # ReLU gives zeros
        if self.layer is not None:
            try:
                _, seen_features = self.layer.fits(seen[self.layer.module], z, self.head, most=16)
                features = self.head.sees(to_array(seen_features.float()))
            except ValueError as error:
                reason = f"{self.layer.says(error)}, in a later batch"
                if self.named is not None:
                    raise self._unfit(reason) from None
                self.layer, self.head, self.reasons = None, None, [reason]
        return answers, features, labels.flat(name, y, self.k)

    def doubts(self) -> list[str]:
        """What is said of a run that has no classifier."""
        if self.head is not None:
            return []
        why = "; ".join(self.reasons[:3]) or f"no layer has a weight ({self.k}, d)"
        said = (
            f"model: no layer was found whose weights and features give the logits ({why}), so the run has neither "
            "head_weight nor features; confusion, accuracy and calibration need none"
        )
        other = f"model: its outputs all lie between 0 and 1; if they are no logits, {SIGMOID}"
        return [said, other] if self.bounded else [said]


def _number(name: str, y: Any) -> int:
    """How many images a batch has, by its labels."""
    if not hasattr(y, "__len__") or isinstance(y, (str, bytes, Mapping)) or getattr(y, "ndim", 1) == 0:
        raise ValueError(f"{name}: expected {labels.LABELS}, got {check.shown(y)}")
    if not len(y):
        raise ValueError(f"{name}: expected images as a tensor (n, ...) with n > 0, got a batch without labels")
    return len(y)


def logits_among(found: Any, n: int) -> list[Tensor]:
    """Tensors (n, k) among what a model returned: a tensor, a tuple, or something with logits."""
    if not isinstance(found, Tensor) and (inner := getattr(found, "logits", None)) is not None:
        found = inner
    if isinstance(found, Mapping):
        if "logits" not in found:
            raise ValueError(
                f"model: expected logits (n, k), got a mapping with {', '.join(map(repr, found))}, none of them "
                f"'logits'; {FORWARD}"
            )
        found = found["logits"]
    if isinstance(found, (tuple, list)):
        fitting = [one for one in found if isinstance(one, Tensor) and one.ndim == 2 and len(one) == n]
        fitting = [one for one in fitting if one.shape[1] > 1 and one.is_floating_point()]
        if not fitting:
            raise ValueError(f"model: expected logits ({n}, k), got a {type(found).__name__} without any; {FORWARD}")
        return fitting
    if not isinstance(found, Tensor):
        raise ValueError(f"model: expected logits (n, k) as a tensor, got a {type(found).__name__}; {FORWARD}")
    if found.ndim != 2 or len(found) != n or found.shape[1] < 2 or not found.is_floating_point():
        two = "; of one logit z for two classes, forward returns torch.stack([0 * z, z], 1)"
        raise ValueError(
            f"model: expected logits of shape ({n}, k) with k > 1, got {tuple(found.shape)} of {found.dtype}"
            f"{two if found.numel() == n else ''}"
        )
    return [found]


def _finite(z: Tensor) -> np.ndarray:
    z = z.detach().float()
    if not heads.finite(z):
        raise ValueError("model: its logits hold NaN or infinity in float32; nothing can be read off such answers")
    return z.cpu().numpy()


# ---------------------------------------------------------------------------------------------------------- a batch
class _Reader:
    """Gives a batch to a model: what are images, what labels, on the model's device and in its type."""

    def __init__(self, model: nn.Module):
        self.model = model
        like = next((one for one in model.parameters() if one.is_floating_point()), None)
        self.like = {} if like is None else {"device": like.device, "dtype": like.dtype}
        try:
            self.takes = [*inspect.signature(model.forward).parameters]
        except (TypeError, ValueError):  # it is compiled
            self.takes = []

    def __call__(self, name: str, batch: Any) -> tuple[Any, Any]:
        """What the model returns, and the labels."""
        expected = "batches of (images, labels), two things"
        if isinstance(batch, Mapping):
            images, named, y = self._mapping(name, batch)
        elif isinstance(batch, (tuple, list)) and len(batch) == 2:
            images, y = batch
            named = {}
            if isinstance(images, Mapping):
                images, named = None, self._taken(name, images, ())
        else:
            size = f" of {len(batch)}" if isinstance(batch, (tuple, list)) else ""
            raise ValueError(f"{name}: expected {expected}, got a {type(batch).__name__}{size}; {FORWARD}")
        if not named and (not isinstance(images, Tensor) or images.ndim < 2 or not len(images)):
            raise ValueError(f"{name}: expected images as a tensor (n, ...) with n > 0, got {check.shown(images)}")
        given = [] if images is None else [self._moved(images)]
        try:
            found = self.model(*given, **{key: self._moved(value) for key, value in named.items()})
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            shapes = ", ".join(_shape(one) for one in [*given, *named.values()])
            raise ValueError(
                f"model: it cannot take {shapes} ({type(error).__name__}: {error}); give it images as in training, "
                f"or {FORWARD}"
            ) from error
        return found, y

    def _mapping(self, name: str, batch: Mapping) -> tuple[Any, dict[str, Any], Any]:
        """Images, or None where they are named, what is named, and labels."""
        answers = [key for key in batch if isinstance(key, str) and key.lower() in LABELS]
        if len(answers) != 1:
            raise ValueError(
                f"{name}: expected one entry with labels ({', '.join(LABELS)}), got a mapping with "
                f"{', '.join(map(repr, batch))}; {FORWARD}"
            )
        named = self._taken(name, batch, answers)
        images = [key for key in batch if isinstance(key, str) and key.lower() in IMAGES and key not in named]
        if any(key.lower() in IMAGES for key in named) or (named and not images):
            return None, named, batch[answers[0]]
        if len(images) != 1:
            raise ValueError(
                f"{name}: expected one entry with images ({', '.join(IMAGES)}), got a mapping with "
                f"{', '.join(map(repr, batch))}; {FORWARD}"
            )
        return batch[images[0]], named, batch[answers[0]]

    def _taken(self, name: str, entries: Mapping, without: Sequence[str]) -> dict[str, Any]:
        """The entries that model.forward names."""
        return {key: value for key, value in entries.items() if key in self.takes and key not in without}

    def _moved(self, value: Any) -> Any:
        if not isinstance(value, Tensor) or not self.like:
            return value
        return value.to(**self.like) if value.is_floating_point() else value.to(self.like["device"])


def _shape(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a batch of shape {tuple(value.shape)} of {value.dtype}"
    return check.shown(value)
