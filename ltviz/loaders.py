"""What a loader says of itself: how many images it gives, in which order, each once or not, and their classes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)
from torch.utils.data.distributed import DistributedSampler

from . import check, labels

RANDOM = (RandomSampler, SubsetRandomSampler, WeightedRandomSampler)
TARGETS = ("targets", "labels", "_labels")  # where data sets, torchvision's among them, keep the label of each image


def length(loader: Any) -> int:
    """How many images the loader will give, as far as it says so; else 0."""
    for part in ("sampler", "dataset"):
        try:
            return len(getattr(loader, part))
        except (AttributeError, TypeError, NotImplementedError):
            continue
    return 0


def _sampler(loader: Any) -> Any:
    """What draws the images: the sampler, also where a BatchSampler was given; a batch sampler of one's own; None."""
    batches = getattr(loader, "batch_sampler", None)
    if batches is None:
        return getattr(loader, "sampler", None)
    return batches.sampler if type(batches) is BatchSampler else batches


def is_random(loader: Any) -> bool:
    """Whether the images come in another order each time."""
    sampler = _sampler(loader)
    return isinstance(sampler, RANDOM) or getattr(sampler, "shuffle", False) is True


def not_each_once(loader: Any) -> str:
    """Why some images may come several times, or not at all, in words; empty where each comes once."""
    sampler = _sampler(loader)
    if sampler is None:
        return ""
    if getattr(getattr(loader, "batch_sampler", None), "drop_last", False) is True and _leaves_some_out(loader):
        return "its drop_last leaves out images"
    known = isinstance(sampler, (SequentialSampler, SubsetRandomSampler))
    if isinstance(sampler, RandomSampler):
        known = not sampler.replacement and sampler.num_samples == _size(sampler.data_source)
    if known or type(sampler).__name__ == "_InfiniteConstantSampler":  # of a data set that is only gone through
        return ""
    return f"its {type(sampler).__name__} may draw an image several times, or not at all"


def _leaves_some_out(loader: Any) -> bool:
    """Whether the last images do not fill a batch; also where nobody knows."""
    try:
        return len(loader.batch_sampler.sampler) % loader.batch_sampler.batch_size != 0
    except (AttributeError, TypeError, NotImplementedError):
        return True


def _size(source: Any) -> int:
    try:
        return len(source)
    except (TypeError, NotImplementedError):
        return -1


def targets(loader: Any) -> np.ndarray | None:
    """The labels (n,) of all images that the loader draws from, as its data set keeps them; None where it does not.

    Without those that its sampler never draws: of weight 0, or outside of its subset.
    """
    dataset, sampler = getattr(loader, "dataset", None), _sampler(loader)
    found = _targets(dataset)
    if found is None or len(found) != _size(dataset):
        return None
    if isinstance(sampler, SubsetRandomSampler):
        return found[np.asarray(list(sampler.indices), np.int64)]
    if isinstance(sampler, WeightedRandomSampler):
        drawn = check.to_array(sampler.weights) > 0
        return found[drawn] if len(drawn) == len(found) else None
    whole = isinstance(sampler, (SequentialSampler, RandomSampler, DistributedSampler))
    return found if whole else None  # which images another sampler draws is its own affair


def _targets(dataset: Any) -> np.ndarray | None:
    if isinstance(dataset, Subset):
        found = _targets(dataset.dataset)
        return None if found is None else found[np.asarray(list(dataset.indices), np.int64)]
    if isinstance(dataset, ConcatDataset):
        parts = [_targets(one) for one in dataset.datasets]
        kinds = {None if one is None else one.dtype for one in parts}
        return np.concatenate(parts) if len(kinds) == 1 and None not in kinds else None
    if isinstance(dataset, TensorDataset):
        kept = dataset.tensors[1] if len(dataset.tensors) == 2 else None
    else:
        kept = next((getattr(dataset, name) for name in TARGETS if getattr(dataset, name, None) is not None), None)
    change = getattr(dataset, "target_transform", None)
    try:
        kept = [change(one) for one in kept] if callable(change) and kept is not None else kept
        return None if kept is None else labels.flat("targets", kept)
    except Exception:  # something of that name that is no labels
        return None


def to_count(
    loader: Any, training: Any, seen: np.ndarray, ignore: Any, counted: bool
) -> tuple[np.ndarray | None, list[str]]:
    """The labels to count instead of those seen, where images may be missing or repeated, and what has to be said.

    loader: of the images that are judged; training: of those that were trained on, or None; seen (n,): the labels that
    the latter, or else the former, gave; counted: whether they are to be counted at all.
    """
    why = not_each_once(loader)
    doubts = [f"loader: {why}; the answers are judged on the images that it gave"] if why else []
    if not counted:
        return None, doubts
    name, source = ("loader", loader) if training is None else ("training", training)
    if training is None:
        doubts.append(
            "counts: taken from the loader, whose images are judged; if the network was trained on others, pass "
            "counts= or training="
        )
    if not (why := not_each_once(source)):
        return None, doubts
    found = targets(source)
    if found is not None and found.dtype == seen.dtype:
        found = found[labels.kept(found, ignore)]
        if set(seen.tolist()) <= set(found.tolist()):
            return found, doubts
    doubts.append(
        f"counts: {name}: {why}, and its data set has no targets that could be counted instead; pass counts=, the "
        "training images of each class"
    )
    return None, doubts


def class_names(loader: Any, training: Any) -> list[str] | None:
    """The names that the data sets of the loaders have for the classes; None without any.

    ValueError where the two disagree.
    """
    found = [names for one in (loader, training) if (names := _class_names(one)) is not None]
    if len(found) == 2 and found[0] != found[1]:
        raise ValueError(
            "training: its data set and that of the loader have different classes, so one number means two of them; "
            "give both the same classes in the same order, or pass class_names"
        )
    return found[0] if found else None


def _class_names(loader: Any) -> list[str] | None:
    """`classes` by number, as ImageFolder and torchvision's other data sets keep them."""
    dataset = getattr(loader, "dataset", None)
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    found = getattr(dataset, "classes", None)
    changed = callable(getattr(dataset, "target_transform", None))  # then the numbers may be others
    if changed or not isinstance(found, (list, tuple)) or len(found) < 2 or len(set(map(str, found))) < len(found):
        return None
    return list(found) if all(isinstance(one, str) for one in found) else None


@contextmanager
def _noted(note: str) -> Iterator[None]:
    """Adds a line to what is raised inside."""
    try:
        yield
    except Exception as error:
        error.add_note(note)
        raise


def batches(name: str, loader: Any) -> Iterator[Any]:
    """The batches of a loader. What its data set raises keeps its type, and is told the number of the batch."""
    with _noted(f"{name}: raised when it was asked for an iterator"):
        rest = iter(loader)
    i = 0
    while True:
        with _noted(f"{name}: raised by the loader or its data set while it made batch {i} (counted from 0)"):
            try:
                batch = next(rest)
            except StopIteration:
                return
        yield batch
        i += 1
