"""Three remedies that need no training: each with the setting that other samples chose, judged on the test samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import check, metrics
from ..embedding import subsample
from ..methods import METHODS
from ..run import Run
from .intervals import Change, change

Mask = NDArray[np.bool_]
CHOOSING = 4_000_000  # logits that a slow rule's setting is tried on; of more samples, some of every class
FEWEST = 2000  # samples that choose, however many classes there are
BLOCK = 20_000_000  # logits that are computed at a time
STEPS = {"logit_adjusted": np.arange(0, 3.001, 0.05).round(2), "tau_norm": np.arange(0, 2.001, 0.1).round(1)}


@dataclass(frozen=True)
class Remedy:
    """A post-hoc rule, the settings chosen (one, or one for each half), and what it changes.

    lacks: a sentence where it cannot be tried; then there are no settings and no changes. changes: group -> `Change`.
    """

    key: str
    lacks: str = ""
    settings: tuple[dict[str, Any], ...] = ()
    confusion: NDArray[np.int64] | None = None
    changes: Mapping[str, Change] | None = None

    @property
    def title(self) -> str:
        """The rule's name."""
        return METHODS[self.key].title

    @property
    def words(self) -> str:
        """The chosen settings, such as "τ = 1.2", or "τ = 1.2 and 1.35" for two halves."""
        known, said = METHODS[self.key].settings, []
        for name in self.settings[0]:
            values = dict.fromkeys(_written(one[name]) for one in self.settings)
            said.append(f"{known[name].symbol or name} = {' and '.join(values)}")
        return ", ".join(said)


def _written(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def tried(run: Run, groups: Mapping[str, Mask], validation: Run | None, seed: int) -> list[Remedy]:
    """Logit adjustment, tau-normalisation and nearest class mean, as far as the run has what they need.

    groups: name -> mask of classes. validation: a run with the same classifier's answers on other samples, which
    choose the settings; None: each half of the test samples chooses for the other half. A setting is chosen by the mean
    accuracy of the classes; of equally good ones, the first, which is the one that changes least.
    """
    return [_try(run, key, groups, validation, seed) for key in ("logit_adjusted", "tau_norm", "ncm")]


def _try(run: Run, key: str, groups: Mapping[str, Mask], validation: Run | None, seed: int) -> Remedy:
    where = run if validation is None else validation
    for samples, whose in ((run, ""), (where, " (those on validation samples)")):
        if lacks := _lacks(run, samples, key):
            return Remedy(key, lacks + whose)
    candidates = _candidates(run, key)
    if validation is None:
        parts = halves(run.targets, seed)
        settings = tuple(_choose(_part(run, run, rows), key, candidates, seed) for rows in parts[::-1])
    else:
        parts = (np.arange(len(run.targets)),)
        other = _part(run, validation, np.arange(len(validation.targets)))
        settings = (_choose(other, key, candidates, seed),)
    answers = np.empty(len(run.targets), np.int64)
    for rows, chosen in zip(parts, settings, strict=True):
        answers[rows] = _answers(_part(run, run, rows), key, chosen)
    before, after = run.decided.argmax(1) == run.targets, answers == run.targets
    changes = {name: change(before, after, run.targets, mask, seed) for name, mask in groups.items()}
    return Remedy(key, "", settings, metrics.confusion(run.targets, answers, run.k), changes)


def _lacks(run: Run, where: Run, key: str) -> str:
    """What keeps the rule from being tried on these samples, in words; "" where nothing does."""
    if where.logits is None or where.targets is None:
        return f"the run holds no logits: {check.remedy(where, 'logits')}"
    if not np.isfinite(where.logits).all():
        return "the logits hold NaN or infinity"
    if key == "logit_adjusted":
        return ""
    if where.features is None:
        return f"the run holds no features: {check.remedy(where, 'features')}"
    if not np.isfinite(where.features).all():
        return "the features hold NaN or infinity"
    if key == "tau_norm":
        if run.head_weight is None:
            return f"the run holds no classifier vectors: {check.remedy(run, 'head_weight')}"
        if run.scale is not None:
            return "the classifier compares directions only, so its vectors have no lengths"
        some = _part(run, where, thin(where.targets, at_most(run.k), 0))
        try:
            some.posthoc(key, tau=0.0, bias="keep")
        except ValueError as error:  # W f + b is not what its logits are
            return str(error).removeprefix(f"{key}: ")
        return ""
    if run.train_features is None and run.class_means is None:
        return "it needs features of training samples, which lt.collect(..., training=loader) collects"
    return ""


def _candidates(run: Run, key: str) -> list[dict[str, Any]]:
    """The settings to try, those first that change least."""
    if key == "logit_adjusted":
        return [{"tau": float(tau)} for tau in STEPS[key]]
    if key == "tau_norm":
        return [{"tau": float(tau), "bias": bias} for bias in ("keep", "drop") for tau in STEPS[key]]
    forms = METHODS[key].settings["form"].choices
    return [{"form": form} for form in (forms if run.train_features is not None else ("plain",))]


def _part(run: Run, samples: Run, rows: NDArray[np.int64]) -> Run:
    """Rows of the samples as a run of this classifier, with training features or, for want of them, the class means."""
    means = {}
    if run.train_features is None and run.class_means is not None:
        # A distance to the mean asks for nothing else; NaN is the mean of a class without samples, which is infinitely
        # far whatever stands there.
        means = {"train_features": np.nan_to_num(run.class_means), "train_targets": np.arange(run.k)}
    features = None if samples.features is None else samples.features[rows]
    kept = {"targets": samples.targets[rows], "logits": samples.logits[rows], "features": features, "scores": None}
    return replace(run, **kept, **means)


def _choose(part: Run, key: str, candidates: Sequence[dict[str, Any]], seed: int) -> dict[str, Any]:
    """The candidate with the highest mean accuracy of the classes."""
    if len(candidates) == 1:
        return candidates[0]
    if key == "logit_adjusted":  # all settings at once
        return candidates[int(np.argmax(metrics.frontier(part, [one["tau"] for one in candidates]).all))]
    few = _part(part, part, thin(part.targets, at_most(part.k), seed))
    found = [metrics.balanced_accuracy(few.targets, _answers(few, key, one), part.k) for one in candidates]
    return candidates[int(np.argmax(found))]


def _answers(part: Run, key: str, settings: Mapping[str, Any]) -> NDArray[np.int64]:
    """The class that the rule gives each sample (n,)."""
    step = max(1, BLOCK // part.k)
    blocks = [np.arange(first, min(first + step, len(part.targets))) for first in range(0, len(part.targets), step)]
    if len(blocks) < 2:
        return part.posthoc(key, **settings).argmax(1)
    return np.concatenate([_part(part, part, rows).posthoc(key, **settings).argmax(1) for rows in blocks])


def halves(targets: NDArray[np.int64], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of the samples of two halves, drawn by the seed; each has every second sample of each class."""
    order = np.lexsort((np.random.default_rng(seed).random(len(targets)), targets))
    return np.sort(order[::2]), np.sort(order[1::2])


def at_most(k: int) -> int:
    """How many samples of k classes one setting of a rule other than logit adjustment is tried on."""
    return max(CHOOSING // k, FEWEST)


def thin(targets: NDArray[np.int64], most: int, seed: int) -> NDArray[np.int64]:
    """Numbers of at most so many samples: those of `subsample`, or one each of so many classes."""
    some = subsample(targets, most, seed)
    return some if len(some) <= most else np.sort(np.random.default_rng(seed).permutation(some)[:most])
