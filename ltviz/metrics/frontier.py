"""Who pays: accuracy of the frequent classes against that of the rare ones, and the line that one slider draws.

Subtracting tau times the log prior from the scores of a plain network (Menon et al. 2021, eq. 9) moves accuracy from
frequent to rare classes without training. What it reaches for every tau is the frontier of that network; a remedy is
worth its training where it lies beyond.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .. import check
from .comparison import Paired, paired, pairs_of, runs_of
from .scores import Floats, accuracies_along, shot_accuracy, third_groups

TAUS = np.round(np.arange(-1.0, 3.001, 0.05), 2)  # below 0 the frequent classes are favoured even more


class Frontier(NamedTuple):
    """Accuracies of one network under post-hoc logit adjustment, for each tau: fractions of shape (t,)."""

    tau: Floats
    head: Floats
    mid: Floats
    tail: Floats
    all: Floats

    def tail_at(self, head: float) -> float:
        """The most that the slider gives the rare classes while the frequent ones keep at least this accuracy.

        Linear between neighbouring tau; beyond the ends of the line its end.
        """
        order = np.argsort(self.head, kind="stable")
        reached = np.maximum.accumulate(self.tail[order][::-1])[::-1]  # with this much for the frequent ones, or more
        places, first = np.unique(self.head[order], return_index=True)  # of equal ones the first has the most
        return float(np.interp(head, places, reached[first]))

    def at(self, group: str, head: float) -> float:
        """Accuracy of a group where the slider goes as far as it can with this accuracy of the frequent classes left.

        "tail" is `tail_at`; for "mid" and "all", linear between the last tau that leaves as much and the next one.
        """
        if group == "tail":
            return self.tail_at(head)
        kept = np.flatnonzero(self.head >= head)
        i = int(kept[-1]) if len(kept) else 0
        j = min(i + 1, len(self.tau) - 1)
        drop = self.head[i] - self.head[j]
        share = min(max((self.head[i] - head) / drop, 0.0), 1.0) if drop > 0 else 0.0
        values = getattr(self, group)
        return float(values[i] + share * (values[j] - values[i]))


def frontier(run: Any, taus: ArrayLike = TAUS) -> Frontier:
    """What every tau gives the groups of a run's classes: argmax_j of z_j - tau log pi_j on its test images.

    run: one that keeps logits and targets of test images; taus (t,) rising. Means over the classes of each third.
    ValueError for a run without them.
    """
    if getattr(run, "logits", None) is None or getattr(run, "targets", None) is None:
        how = f"; {check.remedy(run, 'logits')}" if hasattr(run, "confusion") else ", such as a recorded 'ce'"
        raise check.refuse("run", run, f"a run that keeps the logits of its test images{how}")
    at = check.array("taus", taus, 1, "finite numbers (t,), rising").astype(np.float64)
    if not len(at) or not np.isfinite(at).all() or (np.diff(at) <= 0).any():
        raise check.refuse("taus", taus, "finite numbers (t,), rising")
    n = np.maximum(check.counts(run.counts), 1.0)
    found = accuracies_along(run.logits, -np.log(n / n.sum()), run.targets, at)
    groups = third_groups(run.counts)
    thirds = [_mean_of(found[:, groups[name]]) for name in ("head", "mid", "tail")]
    return Frontier(at, *thirds, _mean_of(found))


def _mean_of(accuracy: Floats) -> Floats:
    """Mean over the classes that have test images (t, k) -> (t,); NaN, without a warning, where there are none."""
    there = accuracy[:, ~np.isnan(accuracy).all(0)]
    return there.mean(1) if there.size else np.full(len(accuracy), np.nan)


def beyond(runs: Sequence[Any], base: Sequence[Any], group: str = "tail") -> Paired:
    """By how much the rare classes of `runs` are better than the slider alone would make them, at equal cost.

        d_i = tail accuracy of run i - tail accuracy of its plain network's frontier at run i's head accuracy

    runs, base: one run a seed, base those of the plain network with logits of test images; paired by seed. Positive:
    beyond the frontier. group: "tail"; or "mid" or "all", for what the other classes pay there. ValueError as for
    `paired`, and where a run of the base keeps no logits.
    """
    check.choice("group", group, ("tail", "mid", "all"))
    found = pairs_of(runs_of("runs", runs), runs_of("base", base), ("runs", "base"))
    return beyond_lines([run for run, _ in found], [frontier(plain) for _, plain in found], group)


def beyond_lines(runs: Sequence[Any], lines: Sequence[Frontier], group: str = "tail") -> Paired:
    """As `beyond`, where the frontiers are known: lines, for each run that of the plain network of its seed."""
    ours = [shot_accuracy(run) for run in runs]
    reached = [line.at(group, one["head"]) for one, line in zip(ours, lines, strict=True)]
    return paired([one[group] for one in ours], reached)
