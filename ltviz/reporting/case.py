"""A run as the page looks at it: its groups of classes, test samples of each class, and what of them was kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .. import check, metrics
from ..plots.series import by_count
from ..run import Run
from .images import Images
from .intervals import Share, mean_accuracy, wilson
from .page import name
from .remedies import Mask, Remedy, tried


def percent(value: float) -> str:
    """0.123 -> "12.3%"."""
    return "undefined" if np.isnan(value) else f"{100 * value:.1f}%"


def between(share: Share) -> str:
    """Where the 95% interval ends."""
    return "undefined" if np.isnan(share.low) else f"{100 * share.low:.1f} to {100 * share.high:.1f}%"


def listed(words: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


@dataclass(eq=False)
class Case:
    """The run, and what was given beside it."""

    run: Run
    images: Images | None
    validation: Run | None
    seed: int
    n: NDArray[np.int64] = field(init=False)  # test samples of each class
    right: NDArray[np.int64] = field(init=False)
    order: NDArray[np.int64] = field(init=False)  # classes, the most frequent first
    names: list[str] = field(init=False)

    def __post_init__(self):
        self.n, self.right = self.run.confusion.sum(1), np.diagonal(self.run.confusion)
        self.order, self.names = by_count(self.run.counts), [name(one) for one in self.run.class_names]

    @cached_property
    def groups(self) -> dict[str, Mask]:
        """Head, mid and tail; of two classes, each by itself; none where all classes have the same count."""
        found = {name: mask for name, mask in metrics.third_groups(self.run.counts).items() if mask.any()}
        return {"frequent": found["head"], "rare": found["tail"]} if len(found) == 2 else found

    @property
    def no_groups(self) -> str:
        """A sentence: why no group of classes is compared with another; empty where there are groups."""
        if self.groups:
            return ""
        if self.run.k == 1:
            return "With one class there is nothing to balance."
        told = self.run.method in ("predictions", "collected")
        other = "; if the training set was another, pass its counts=" if told else ""
        return (
            "All classes have the same number of training samples, so none is frequent and none rare, and no group of "
            f"classes is compared with another{other}."
        )

    @property
    def ends(self) -> tuple[str, str]:
        """Names of the groups of the most frequent and of the rarest classes."""
        found = list(self.groups)
        return found[0], found[-1]

    def of(self, group: str, plural: str = "", singular: str = "") -> str:
        """A group in a sentence, with its verb: "head classes reach", "the rare class reaches"."""
        one = self.groups[group].sum() == 1
        return " ".join([f"the {group} class" if one else f"{group} classes", singular if one else plural]).strip()

    @cached_property
    def tail(self) -> Mask:
        return self.groups[self.ends[1]] if self.groups else np.zeros(self.run.k, bool)

    @cached_property
    def shares(self) -> dict[str, Share]:
        """Mean accuracy of all classes and of each group, with intervals."""
        masks: Mapping[str, Mask] = {"all": np.ones(self.run.k, bool), **self.groups}
        return {label: mean_accuracy(self.right[mask], self.n[mask]) for label, mask in masks.items()}

    @cached_property
    def scores(self) -> dict[str, NDArray[np.float64]]:
        """Of each class (k,): recall, the ends of its interval, precision, F1; NaN where it is undefined."""
        low, high = wilson(self.right, self.n)
        found = {"recall": metrics.per_class(self.run.confusion), "low": low, "high": high}
        return found | {"precision": metrics.precision(self.run.confusion), "f1": metrics.f1(self.run.confusion)}

    @cached_property
    def kept(self) -> Run | None:
        """The run on those test samples whose finite logits it kept; None where there are none."""
        run = self.run
        if run.logits is None or run.targets is None or not len(run.targets) or not np.isfinite(run.logits).all():
            return None
        decided = metrics.confusion(run.targets, run.decided.argmax(1), run.k)
        return run if np.array_equal(decided, run.confusion) else replace(run, confusion=decided)

    @property
    def of_kept(self) -> str:
        """A sentence where only some of the test samples' logits were kept."""
        if self.kept is None or len(self.kept.targets) == self.n.sum():
            return ""
        return f"This uses the {len(self.kept.targets):,} of {self.n.sum():,} test samples whose logits the run kept."

    @cached_property
    def remedies(self) -> list[Remedy]:
        masks = {"all": np.ones(self.run.k, bool), **self.groups}
        run = self.run if self.kept is None else self.kept
        return tried(run, masks, self.validation, self.seed)

    @property
    def no_logits(self) -> str:
        """A sentence: why there are no logits to look at."""
        if self.run.logits is not None and self.run.targets is not None and len(self.run.targets):
            return "The logits hold NaN or infinity; did the training diverge?"
        return self.lacking("logits", "logits")

    def lacking(self, what: str, argument: str) -> str:
        """A sentence: which part is missing, and what to pass to get it."""
        return f"The run holds no {what}: {check.remedy(self.run, argument)}."
