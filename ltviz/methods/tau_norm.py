"""tau-normalisation: after plain training, every classifier row is divided by a power of its length."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..functional import safe_norm
from ..objective import Limit, Method, Output, Setting
from .ce import CrossEntropy
from .sampling import KANG

CLEAR = 0.02  # by how much of probability: rounded probabilities differ by as much where they should be equal
STRAY = 0.05  # of the images, at most, that W x + b may decide otherwise than the logits: features are kept in float16


def normalised_weight(weight: Tensor, tau: float) -> Tensor:
    """w_j / ||w_j||^tau for each row of weight (k, d); a zero row stays zero. Source: Kang et al. 2020, eq. (5)."""
    length = safe_norm(weight)[:, None]
    return weight / torch.where(length > 0, length, 1.0) ** tau


class TauNormalisation(CrossEntropy):
    """Plain cross-entropy training; then the head's long rows are shortened.

        z_j = w_j . x / ||w_j||^tau

    w (k, d) classifier, x (n, d) features; tau 0 keeps the lengths, 1 makes them equal. Source: Kang et al. 2020,
    section 4.3; their grid is tau = 0, 0.1, ..., 2, chosen on validation. Their code drops the bias at test time
    ("drop", default); "keep" adds it as it was.
    Known to fail: tau 2 turns the tail over; under Adam the lengths do not follow the counts, and there is nothing to
    undo; a rare class with a negative w . x can never win.
    """


def strays(logits: Tensor, answers: Tensor) -> float:
    """Share of the images for which logits (n, k) clearly prefer another class to the answer (n,), by `CLEAR`."""
    top, own = logits.max(1).values, logits.gather(1, answers[:, None])[:, 0]
    gap = (top - logits.logsumexp(1)).exp() - (own - logits.logsumexp(1)).exp()
    return float((gap > CLEAR).double().mean()) if len(logits) else 0.0


def posthoc(out: Output, counts: Tensor, gallery: Any, tau: float, bias: str) -> Tensor:
    """Logits (n, k) with normalised rows; the bias is the head's, or where it is not known, what they have beyond W x.

    ValueError for a cosine head, and where W x and the bias decide otherwise than the logits.
    """
    if out.scale is not None:
        raise ValueError(
            "tau_norm: the classifier is a cosine head, its logits are s cos(f, w): the lengths of its vectors decide "
            "nothing, so there is nothing to normalise"
        )
    products = out.features @ out.head_weight.T
    known = getattr(out, "head_bias", None)
    own = (out.logits - products).mean(0) if known is None else known
    if (wrong := strays(out.logits, (products + own).argmax(1))) > STRAY:
        raise ValueError(not_its_head(wrong))
    logits = out.features @ normalised_weight(out.head_weight, tau).T
    return logits + own if bias == "keep" else logits


def not_its_head(wrong: float) -> str:
    """Why a run is refused whose W x + b decides this share of its images otherwise than its logits."""
    return (
        f"tau_norm: W f + b of this run decides {wrong:.0%} of its images otherwise than its logits, which were made "
        "in another way (l2_constrained scales the features) or by another classifier, so the lengths of these vectors "
        "say nothing of them"
    )


METHOD = Method(
    key="tau_norm",
    title="Tau-normalisation",
    paper="Kang et al. 2020",
    equation=r"z_j = \frac{w_j^\top x}{\lVert w_j \rVert^{\tau}}",
    objective=TauNormalisation,
    settings={
        "tau": Setting(1.0, 0.0, 2.0, symbol="τ", meaning="0 keeps the lengths of the rows, 1 makes them equal"),
        "bias": Setting("drop", choices=("drop", "keep"), meaning="what becomes of the classifier's bias"),
    },
    posthoc=posthoc,
    limits=(Limit({"tau": 0.0, "bias": "keep"}, "ce"),),
    citation=KANG,
)
