"""TriCDB-CE: class-difficulty weights for the classifier, a triplet loss for the features."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ..objective import Limit, Method, Setting
from .cdb import SETTINGS, ClassDifficulty
from .triplet import EMBEDDING, MARGIN, Triplet


class TriCDB(Triplet):
    """The class-difficulty loss, and a triplet term on the features.

        L = L_CDB + lambda L_tri

    L_CDB as in `cdb`, with the exponent of this paper (`tau_rule="sigmoid"`, default); L_tri as in `triplet`, over the
    violating triplets of the batch, in squared distance; lambda `strength` (1 in the paper, from {.25, .5, .75, 1}).
    The paper leaves the margin and the scaling of the features open: here 0.2, on features of length 1. It prints the
    weights without scaling (`normalise=False`); all public code of CDB scales them (default).
    Source: Darkwah & Kang 2023, eq. (1) to (6).
    Known to fail: raw features explode without a clipped gradient. With the exponent of `cdb` (`tau_rule="paper"`), the
    weights saturate on hard images as they do there; at images of 16 x 16 its own leaves the tail nearly as it was.
    """

    def __init__(
        self, counts: Tensor, strength: float, margin: float, embedding: str, tau_rule: str, tau: float, normalise: bool
    ):
        super().__init__(counts, ClassDifficulty(counts, tau_rule, tau, normalise), strength, margin, embedding)


METHOD = Method(
    key="tricdb",
    title="TriCDB-CE",
    paper="Darkwah & Kang 2023",
    equation=r"L = -\frac{1}{n} \sum_i \left(1 - A_{y_i}\right)^{\tau} \log p_{i,y_i} + \lambda L_{\mathrm{tri}}",
    objective=TriCDB,
    settings={
        "strength": Setting(1.0, 0.0, 10.0, "log", symbol="λ", meaning="strength of the triplet term"),
        "margin": MARGIN,
        "embedding": EMBEDDING,
        **SETTINGS,
        "tau_rule": replace(SETTINGS["tau_rule"], default="sigmoid"),
    },
    limits=(
        Limit({"strength": 0.0}, "cdb", {"tau_rule": "sigmoid"}),
        Limit({"tau_rule": "fixed", "tau": 0.0}, "triplet", {"strength": 1.0}),
    ),
    feedback=True,
    citation=r"""@article{darkwah2023triplet,
  title = {Triplet Class-Wise Difficulty-Based Loss for Long Tail Classification},
  author = {Darkwah Jnr., Yaw and Kang, Dae-Ki},
  month = aug, year = {2023}
}""",
)
