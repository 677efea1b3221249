"""Decision borders of a cosine classifier in the plane: where the answer changes, and where training is content."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from .. import check
from ..methods.arcface import arcface_cosine
from ..methods.ldam import ldam_margins

MARGINS = ("none", "cosface", "arcface", "ldam")


@dataclass(frozen=True)
class Slices:
    """What a cosine classifier says to features of d directions, k classes; angles in degrees.

    angle (d,)             direction of the feature
    decided (d,)           class at test time: the nearest classifier vector
    met (d, k)             an image of class j here has the largest logit in training too, after its margin
    test, train (d, k)     softmax probability of class j: at test, and in training if the image is of class j
    margin (k,)            of each class: a cosine, or radians for ArcFace
    """

    angle: NDArray[np.float64]
    decided: NDArray[np.int64]
    met: NDArray[np.bool_]
    test: NDArray[np.float64]
    train: NDArray[np.float64]
    margin: NDArray[np.float64]

    @property
    def nobody(self) -> float:
        """Share of the directions where an image of any class still misses its margin."""
        return float((~self.met.any(1)).mean())


def class_margins(kind: str, margin: float, counts: ArrayLike) -> NDArray[np.float64]:
    """Margin of each class (k,): the same for all with "cosface" and "arcface", ~ n^(-1/4) with "ldam", else 0.

    margin: that of every class, of the rarest for "ldam"; counts n (k,). Source: Cao et al. 2019, eq. (12), for LDAM.
    """
    kind = check.choice("kind", kind, MARGINS)
    margin, counts = check.number("margin", margin, 0.0), check.counts(counts)
    if kind == "ldam":
        return ldam_margins(torch.as_tensor(counts), margin).double().numpy()
    return np.full(len(counts), 0.0 if kind == "none" else margin)


def with_margin(cosine: ArrayLike, kind: str, margin: ArrayLike) -> NDArray[np.float64]:
    """The cosine (d, k) of each class as it enters the loss of an image that belongs to it.

    cos - m for "cosface" and "ldam", cos(theta + m) for "arcface", past theta = pi - m the line that its code takes
    (`methods.arcface.arcface_cosine`). margin m (k,), as `class_margins` gives.
    """
    kind = check.choice("kind", kind, MARGINS)
    cosine = check.array("cosine", cosine, 2, "cosines (d, k)").astype(np.float64)
    margin = check.array("margin", margin, 1, "a margin for each class (k,)").astype(np.float64)
    if margin.shape != cosine.shape[1:]:
        raise check.refuse("margin", margin, f"one for each of {cosine.shape[1]} classes")
    if kind != "arcface":
        return cosine - margin
    columns = [
        arcface_cosine(torch.from_numpy(np.ascontiguousarray(column)), float(m), "linear", "exact").numpy()
        for column, m in zip(cosine.T, margin, strict=True)
    ]
    return np.stack(columns, 1)


def slices(
    vectors: ArrayLike, kind: str, margin: float, scale: float, counts: ArrayLike, directions: int = 720
) -> Slices:
    """Decision regions on the circle of features of length 1, at test and in training.

        test: argmax_j cos(theta - phi_j);    in training, class j: cos_j with its margin > max_{i != j} cos_i

    vectors phi (k,): directions of the classifier vectors in degrees, k >= 2; kind, margin, counts as in
    `class_margins`; scale s > 0 of the logits: it changes the probabilities and no border. directions: how many, evenly
    around the circle. A feature halfway between two vectors is given to the class that comes first.
    """
    phi = check.array("vectors", vectors, 1, "directions of classifier vectors in degrees (k,)").astype(np.float64)
    margins = class_margins(kind, margin, counts)
    if len(phi) < 2 or len(phi) != len(margins) or not np.isfinite(phi).all():
        raise check.refuse("vectors", vectors, f"at least two finite angles, one for each of {len(margins)} counts")
    scale = check.number("scale", scale, above=0.0)
    angle = np.arange(check.whole("directions", directions, 8)) * 360.0 / directions
    cosine = np.cos(np.radians(angle[:, None] - phi))
    own = with_margin(cosine, kind, margins)
    others = np.stack([np.delete(cosine, j, 1).max(1) for j in range(len(phi))], 1)
    exponent = np.exp(scale * (cosine - 1.0))
    rest = np.stack([np.delete(exponent, j, 1).sum(1) for j in range(len(phi))], 1)
    mine = np.exp(scale * (own - 1.0))
    # Ties to the last digits (vectors that mirror one another) go to the class that comes first, on every machine.
    decided = cosine.round(12).argmax(1)
    met = own > others if kind != "none" else decided[:, None] == np.arange(len(phi))
    return Slices(angle, decided, met, exponent / (exponent + rest), mine / (mine + rest), margins)


def arcs(inside: ArrayLike) -> list[tuple[float, float]]:
    """The runs of True around a circle as (first, last) in degrees, first < last; a full circle is (0, 360).

    inside (d,): for directions evenly around the circle, each of which stands for 360 / d degrees about it.
    """
    given, inside = inside, np.asarray(inside)
    if inside.dtype != bool or inside.ndim != 1 or not len(inside):
        raise check.refuse("inside", given, "flags (d,), True or False, for directions around a circle")
    step = 360.0 / len(inside)
    if inside.all() or not inside.any():
        return [(0.0, 360.0)] if inside.all() else []
    before = np.roll(inside, 1)
    starts, stops = np.flatnonzero(inside & ~before), np.flatnonzero(~inside & before)
    ends = [stops[stops > start].min() if (stops > start).any() else stops[0] + len(inside) for start in starts]
    return [(float((a - 0.5) * step), float((b - 0.5) * step)) for a, b in zip(starts, ends, strict=True)]
