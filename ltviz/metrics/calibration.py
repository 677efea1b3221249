"""From logits to probabilities, and how far confidence is from accuracy."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import check
from .scores import Floats

KINDS = ("softmax", "sigmoid")
BLOCK = 2**18  # logits that are looked at together: their exponentials stay in the processor's cache


def probabilities(logits: Any, kind: str | None = None, normalise: bool = False) -> Floats:
    """Class probabilities (n, k) from logits (n, k).

        "softmax"   p_j = exp z_j / sum_i exp z_i
        "sigmoid"   p_j = 1 / (1 + exp -z_j)           one-vs-all: k separate answers, rows need not sum to 1

    A one-vs-all model is trained to say each p_j by itself, so its p_j are kept as they are and its confidence is the
    largest of them; normalise=True divides each row by its sum (computed in logs: rows of tiny p stay exact).
    logits: an array, or a run that kept its test logits: then those that it decides by (after a post-hoc rule), and
    kind defaults to the run's own. ValueError: NaN, plus infinity, or a row of minus infinity alone.
    """
    check.flag("normalise", normalise)
    if hasattr(logits, "confusion"):
        logits, kind = _decided(logits), logits.probability if kind is None else kind
    kind = "softmax" if kind is None else check.choice("kind", kind, KINDS)
    z = _sound(logits)
    if kind == "sigmoid":
        z = -np.logaddexp(0.0, -z)  # log sigmoid
        if not normalise:
            return np.exp(z)
    z = z - z.max(1, keepdims=True)
    p = np.exp(z)
    return p / p.sum(1, keepdims=True)


def _sound(logits: Any, rows: slice = slice(None)) -> Floats:
    """These rows of logits (n, k) as float64. ValueError where they are no logits."""
    z = check.array("logits", logits, 2, "a run that kept its test logits, or logits (n, k)")[rows].astype(np.float64)
    if not z.shape[1]:
        raise check.refuse("logits", logits, "logits (n, k) of at least one class")
    wrong = np.flatnonzero(~np.isfinite(z.max(1)))
    if wrong.size:
        row = z[wrong[0]]
        found = "NaN" if np.isnan(row).any() else row.max()
        at = (rows.start or 0) + wrong[0]
        raise check.refuse("logits", logits, f"finite logits, found {found} in row {at}; did it diverge?")
    return z


def _decided(run: Any) -> np.ndarray:
    """The logits (n, k) that a run's predictions are made from: after its post-hoc rule, where it has one."""
    if run.logits is None:
        raise ValueError(f"this run keeps no test logits, so it has no probabilities; {check.remedy(run, 'logits')}")
    scores = getattr(run, "scores", None)
    return run.logits if scores is None else scores


class Reliability(NamedTuple):
    """What a reliability diagram shows: per bin (b,) mean confidence, accuracy, and share of the images."""

    confidence: Floats
    accuracy: Floats
    share: Floats

    @property
    def error(self) -> float:
        """Expected calibration error, see `ece`: mean distance of confidence and accuracy; NaN without images."""
        if not self.share.any():
            return float("nan")
        return float(np.nansum(self.share * np.abs(self.accuracy - self.confidence)))


class Sureness(NamedTuple):
    """Of each of n images: its confidence (the largest probability), whether it is decided rightly, its class (n,)."""

    confidence: Floats
    right: NDArray[np.bool_]
    targets: NDArray[np.int64]

    def binned(self, bins: int = 15, of: NDArray[np.bool_] | None = None) -> Reliability:
        """The bins of `reliability`. of: a mask (n,) of the images that are looked at, None for all."""
        confidence, right = (one if of is None else one[of] for one in self[:2])
        # The small step back puts values such as 0.2 = 3/15, which floating point may lift over their edge, below it.
        index = np.clip(np.ceil(confidence * bins - 1e-9).astype(np.int64) - 1, 0, bins - 1)
        number = np.bincount(index, minlength=bins)
        safe = np.where(number > 0, number, np.nan)
        sums = np.bincount(index, confidence, bins), np.bincount(index, right, bins)
        return Reliability(sums[0] / safe, sums[1] / safe, number / max(len(index), 1))


def reliability(probabilities: Any, targets: ArrayLike | None = None, bins: int = 15) -> Reliability:
    """Confidence against accuracy in `bins` bins of equal width over [0, 1].

    An image's confidence is the largest of its probabilities; bin b holds ((b-1)/bins, b/bins], the first also 0. Mean
    confidence and accuracy of an empty bin are NaN; `.error` is the `ece`. Arguments as for `ece`.
    """
    bins = check.whole("bins", bins, 1, 10_000)
    return sureness(probabilities, targets).binned(bins)


def sureness(values: Any, targets: ArrayLike | None = None) -> Sureness:
    """How sure each image is decided, and whether rightly. Arguments as for `ece`."""
    if hasattr(values, "confusion"):
        if targets is not None:
            raise check.refuse("targets", targets, "none beside a run, which has its own")
        # A run decides by its logits: sigmoids of large ones are all 1, and their order is lost.
        z, targets = check.array("logits", _decided(values), 2, "test logits (n, k)"), values.targets
        confidence, guess, k = _largest(z, values.probability), z.argmax(1), z.shape[1]
    else:
        check.same_order(probabilities=values, targets=targets)
        expected = "a run that kept its test logits, or probabilities (n, k)"
        p = check.array("probabilities", values, 2, expected).astype(np.float64)
        if not p.shape[1] or (p.size and not (p.min() >= 0.0 and p.max() <= 1.0 + 1e-6)):
            raise check.refuse(
                "probabilities",
                values,
                "probabilities (n, k), which lie in [0, 1]; turn logits into them with metrics.probabilities(logits)",
            )
        confidence, guess, k = p.max(1), p.argmax(1), p.shape[1]
    if targets is None:
        raise ValueError("targets (n,) are needed beside the probabilities")
    truth = check.labels("targets", targets, k)
    if len(truth) != len(guess):
        raise ValueError(f"targets must have one entry per row of probabilities ({len(guess)}), not {len(truth)}")
    return Sureness(confidence, guess == truth, truth)


def _largest(logits: Any, kind: str) -> Floats:
    """The largest of the `probabilities` of each row (n,), a block of rows at a time: all of them may not fit."""
    check.choice("kind", kind, KINDS)
    step, found = max(BLOCK // max(logits.shape[1], 1), 1), np.empty(len(logits))
    for first in range(0, len(logits), step):
        rows = slice(first, first + step)
        z = _sound(logits, rows)
        top = z.max(1)
        if kind == "sigmoid":
            found[rows] = np.exp(-np.logaddexp(0.0, -top))
        else:
            found[rows] = 1.0 / np.exp(z - top[:, None]).sum(1)
    return found


def ece(probabilities: Any, targets: ArrayLike | None = None, bins: int = 15) -> float:
    """Expected calibration error: how far confidence is from accuracy, on average.

        ECE = sum_b |B_b| / n * | accuracy(B_b) - confidence(B_b) |

    probabilities (n, k) in [0, 1], targets (n,), or a run: those of its test images whose logits it kept, as decided by
    its post-hoc rule. B_b are the images whose confidence (largest probability) falls in bin b of `bins` equal-width
    bins. 0 is calibrated; NaN without images. Source: Guo et al. 2017, eq. (5).
    """
    return reliability(probabilities, targets, bins).error
