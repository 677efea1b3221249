"""tau-normalisation: after plain training, every classifier row is divided by a power of its length."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..functional import safe_norm
from ..objective import Limit, Method, Output, Setting
from .ce import CrossEntropy
from .sampling import KANG


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


def posthoc(out: Output, counts: Tensor, gallery: Any, tau: float, bias: str) -> Tensor:
    """Logits (n, k) with normalised rows; the bias is what the logits have beyond W x."""
    logits = out.features @ normalised_weight(out.head_weight, tau).T
    if bias == "keep":
        logits = logits + (out.logits.mean(0) - out.head_weight @ out.features.mean(0))
    return logits


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
