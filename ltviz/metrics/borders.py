"""Decision borders of a cosine classifier in the plane: where the answer changes, and where training is content."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from .. import check
from ..methods.arcface import arcface_cosine
from ..methods.ldam import ldam_margins

Arcs = list[tuple[float, float]]
MARGINS = ("none", "cosface", "arcface", "ldam")


@dataclass(frozen=True)
class Slices:
    """What a cosine classifier says to features of d directions, k classes; angles in degrees.

    angle (d,)             direction of the feature
    decided (d,)           class at test time: the nearest classifier vector
    met (d, k)             an image of class j here has the largest logit in training too, after its margin
    test, train (d, k)     softmax probability of class j: at test, and in training if the image is of class j
    margin (k,)            of each class: a cosine, or radians for ArcFace
    at_test, in_training   for each class, the slices (first, last) where it is decided, and where its margin is met;
                           their ends lie between the directions, where the two leading scores are equal
    """

    angle: NDArray[np.float64]
    decided: NDArray[np.int64]
    met: NDArray[np.bool_]
    test: NDArray[np.float64]
    train: NDArray[np.float64]
    margin: NDArray[np.float64]
    at_test: list[Arcs]
    in_training: list[Arcs]

    @property
    def widths(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Degrees (k,) that each class is given at test, and on which its images meet their margin in training."""
        return tuple(
            np.array([sum(last - first for first, last in some) for some in kind], float)
            for kind in (self.at_test, self.in_training)
        )

    @property
    def nobody(self) -> float:
        """Share of the circle where an image of any class still misses its margin (no direction meets two)."""
        return round(max(0.0, 1.0 - float(self.widths[1].sum()) / 360.0), 9)


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
    decided = cosine.round(12).argmax(1)[:, None] == np.arange(len(phi))
    ahead = cosine - np.stack([_best_other(cosine, j) for j in range(len(phi))], 1)
    met, lead = (own > others, own - others) if kind != "none" else (decided, ahead)
    return Slices(
        angle, decided.argmax(1), met, exponent / (exponent + rest), mine / (mine + rest), margins,
        *([arcs(*both) for both in zip(inside.T, by.T, strict=True)] for inside, by in ((decided, ahead), (met, lead))),
    )  # fmt: skip


def _best_other(cosine: NDArray[np.float64], j: int) -> NDArray[np.float64]:
    """Largest cosine (d,) of the classes whose vector is another one than that of class j; -1 where there is none."""
    others = cosine[:, np.abs(cosine - cosine[:, [j]]).max(0) > 1e-12]
    return others.max(1) if others.size else np.full(len(cosine), -1.0)


def arcs(inside: ArrayLike, lead: ArrayLike | None = None) -> Arcs:
    """The runs of True around a circle as (first, last) in degrees, first < last; a full circle is (0, 360).

    inside (d,): for directions evenly around the circle, of which number i is at 360 i / d degrees. lead (d,): above 0
    inside and below 0 outside; an end lies where the line between two neighbours meets 0, halfway between them without.
    """
    given, inside = inside, np.asarray(inside)
    if inside.dtype != bool or inside.ndim != 1 or not len(inside):
        raise check.refuse("inside", given, "flags (d,), True or False, for directions around a circle")
    ahead = np.where(inside, 1.0, -1.0) if lead is None else check.array("lead", lead, 1, "numbers (d,)")
    if ahead.shape != inside.shape or not np.isfinite(ahead).all():
        raise check.refuse("lead", lead, f"a finite number for each of {len(inside)} directions")
    step = 360.0 / len(inside)
    if inside.all() or not inside.any():
        return [(0.0, 360.0)] if inside.all() else []
    before = np.roll(inside, 1)
    starts, stops = np.flatnonzero(inside & ~before), np.flatnonzero(~inside & before)
    ends = [stops[stops > start].min() if (stops > start).any() else stops[0] + len(inside) for start in starts]
    return [tuple(float((i - 1 + _meets(ahead, i)) * step) for i in both) for both in zip(starts, ends, strict=True)]


def _meets(lead: NDArray[np.float64], i: int) -> float:
    """Where between the directions i - 1 and i the lead is 0, as a share of the way."""
    here, there = (float(lead[at % len(lead)]) for at in (i - 1, i))
    return min(max(here / (here - there), 0.0), 1.0) if here != there else 0.5
