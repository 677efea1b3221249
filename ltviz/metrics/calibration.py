"""From logits to probabilities, and how far confidence is from accuracy."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import check
from .scores import Floats

KINDS = ("softmax", "sigmoid")


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
    z = check.array("logits", logits, 2, "a run that kept its test logits, or logits (n, k)").astype(np.float64)
    if not z.shape[1]:
        raise check.refuse("logits", logits, "logits (n, k) of at least one class")
    wrong = np.flatnonzero(~np.isfinite(z.max(1)))
    if wrong.size:
        row = z[wrong[0]]
        found = "NaN" if np.isnan(row).any() else row.max()
        raise check.refuse("logits", logits, f"finite logits, found {found} in row {wrong[0]}; did it diverge?")
    if kind == "sigmoid":
        z = -np.logaddexp(0.0, -z)  # log sigmoid
        if not normalise:
            return np.exp(z)
    z = z - z.max(1, keepdims=True)
    p = np.exp(z)
    return p / p.sum(1, keepdims=True)


def _decided(run: Any) -> np.ndarray:
    """The logits (n, k) that a run's predictions are made from: after its post-hoc rule, where it has one."""
    if run.logits is None:
        raise ValueError(
            "this run was recorded without its test logits, so it has no probabilities; "
            "use the value that it kept (run.ece), or train it again"
        )
    scores = getattr(run, "scores", None)
    return run.logits if scores is None else scores


class Reliability(NamedTuple):
    """What a reliability diagram shows: per bin (b,) mean confidence, accuracy, and share of the images."""

    confidence: Floats
    accuracy: Floats
    share: Floats


def reliability(probabilities: Any, targets: ArrayLike | None = None, bins: int = 15) -> Reliability:
    """Confidence against accuracy in `bins` bins of equal width over [0, 1].

    An image's confidence is the largest of its probabilities; bin b holds ((b-1)/bins, b/bins], the first also 0. Mean
    confidence and accuracy of an empty bin are NaN. Arguments as for `ece`.
    """
    bins = check.whole("bins", bins, 1, 10_000)
    p, guess, truth = _answers(probabilities, targets)
    confidence = p.max(1)
    # The small step back puts values such as 0.2 = 3/15, which floating point may lift over their edge, below it.
    index = np.clip(np.ceil(confidence * bins - 1e-9).astype(np.int64) - 1, 0, bins - 1)
    number = np.bincount(index, minlength=bins)
    safe = np.where(number > 0, number, np.nan)
    return Reliability(
        np.bincount(index, confidence, bins) / safe,
        np.bincount(index, guess == truth, bins) / safe,
        number / max(len(p), 1),
    )


def _answers(values: Any, targets: ArrayLike | None) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    """Probabilities (n, k), predictions (n,) and targets (n,), of a run or of arrays."""
    if hasattr(values, "confusion"):
        if targets is not None:
            raise check.refuse("targets", targets, "none beside a run, which has its own")
        # A run decides by its logits: sigmoids of large ones are all 1, and their order is lost.
        p, targets = probabilities(values), values.targets
        guess = check.to_array(_decided(values), copy=False).argmax(1)
    else:
        expected = "a run that kept its test logits, or probabilities (n, k)"
        p = check.array("probabilities", values, 2, expected).astype(np.float64)
        if not p.shape[1] or (p.size and not (p.min() >= 0.0 and p.max() <= 1.0 + 1e-6)):
            raise check.refuse(
                "probabilities",
                values,
                "probabilities (n, k), which lie in [0, 1]; turn logits into them with metrics.probabilities(logits)",
            )
        guess = p.argmax(1)
    if targets is None:
        raise ValueError("targets (n,) are needed beside the probabilities")
    truth = check.labels("targets", targets, p.shape[1])
    if len(truth) != len(p):
        raise ValueError(f"targets must have one entry per row of probabilities ({len(p)}), not {len(truth)}")
    return p, guess, truth


def ece(probabilities: Any, targets: ArrayLike | None = None, bins: int = 15) -> float:
    """Expected calibration error: how far confidence is from accuracy, on average.

        ECE = sum_b |B_b| / n * | accuracy(B_b) - confidence(B_b) |

    probabilities (n, k) in [0, 1], targets (n,), or a run: those of its test images whose logits it kept, as decided by
    its post-hoc rule. B_b are the images whose confidence (largest probability) falls in bin b of `bins` equal-width
    bins. 0 is calibrated; NaN without images. Source: Guo et al. 2017, eq. (5).
    """
    bins_of = reliability(probabilities, targets, bins)
    if not bins_of.share.any():
        return float("nan")
    return float(np.nansum(bins_of.share * np.abs(bins_of.accuracy - bins_of.confidence)))
