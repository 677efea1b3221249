"""Softmax classifiers of several samples of one size at once, and what four scores say of each."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .. import check
from .scores import Floats

DECAY, STEPS, HALVINGS, DONE = 0.05, 30, 8, 1e-8
FLAT = 1e-6  # of a direction that changes no probability: the same added to all classes


class Scores(NamedTuple):
    """Four scores of each classifier (m,), on test images that occur as often as the training images."""

    accuracy: Floats
    balanced: Floats
    f1: Floats
    rare: Floats


def fit_softmax(points: ArrayLike, targets: ArrayLike, k: int, decay: float = DECAY) -> Floats:
    """The softmax classifier of each sample: W (m, k, d + 1), its last column the biases.

        minimise  sum_i -log softmax(W x_i)_y_i + decay / 2 |W without biases|^2        by Newton's method

    points (m, n, d): m samples of n points; targets (n,), the classes of the points, the same in each sample; decay > 0
    keeps the weights finite where a line separates the classes. ValueError for other shapes, and for a class without
    points. Source: multinomial logistic regression, as in any textbook.
    """
    x = check.array("points", points, 3, "m samples of n points in d dimensions: (m, n, d)").astype(np.float64)
    k = check.whole("k", k, 2, check.MOST_CLASSES)
    y = check.labels("targets", targets, k)
    if len(y) != x.shape[1] or not np.isfinite(x).all() or not x.size:
        raise check.refuse("points", points, f"finite points (m, n, d), n as many as the targets: {len(y)}")
    if len(np.unique(y)) < k:
        raise check.refuse("targets", targets, f"at least one point of each of the {k} classes")
    return _newton(np.append(x, np.ones((*x.shape[:2], 1)), 2), np.eye(k)[y], check.number("decay", decay, above=0.0))


def _newton(x: Floats, truth: Floats, decay: float) -> Floats:
    """x (m, n, d), its last column 1; truth (n, k), one-hot. Steps are halved where they would raise the loss."""
    (m, _, d), k = x.shape, truth.shape[1]
    w, pairs = np.zeros((m, k, d)), (x[..., None] * x[..., None, :]).reshape(m, -1, d * d)
    shrink = np.append(np.full(d - 1, decay), FLAT)
    ridge, loss, p = np.diag(np.tile(shrink, k)), *_look(x, truth, w, shrink)
    for _ in range(STEPS):
        slope = (p - truth).transpose(0, 2, 1) @ x + shrink * w
        between = -(p[..., :, None] * p[..., None, :])
        between[..., range(k), range(k)] += p
        curve = between.reshape(m, -1, k * k).transpose(0, 2, 1) @ pairs  # (m, k k, d d)
        curve = curve.reshape(m, k, k, d, d).transpose(0, 1, 3, 2, 4).reshape(m, k * d, k * d) + ridge
        step = np.linalg.solve(curve, slope.reshape(m, -1, 1)).reshape(m, k, d)
        drop = (slope * step).sum((1, 2))
        if (drop < DONE * (1.0 + loss)).all():
            break
        share = np.ones(m)
        for _ in range(HALVINGS):
            tried = w - share[:, None, None] * step
            found, probabilities = _look(x, truth, tried, shrink)
            worse = found > loss
            if not worse.any():
                break
            share = np.where(worse, share / 2, share)
        w, loss, p = tried, found, probabilities
    return w


def _look(x: Floats, truth: Floats, w: Floats, shrink: Floats) -> tuple[Floats, Floats]:
    """The loss (m,) and the probabilities (m, n, k)."""
    z = x @ w.transpose(0, 2, 1)
    z -= z.max(2, keepdims=True)
    p = np.exp(z)
    total = p.sum(2, keepdims=True)
    loss = (np.log(total[..., 0]) - (z * truth).sum(2)).sum(1) + 0.5 * (shrink * w**2).sum((1, 2))
    return loss, p / total


def decide(weights: ArrayLike, points: ArrayLike) -> np.ndarray:
    """The class that W (..., k, d + 1) gives each point (n, d): (..., n)."""
    w = check.array("weights", weights, None, "weights (..., k, d + 1), the biases last")
    x = check.array("points", points, 2, "points (n, d)")
    return (x @ np.swapaxes(w[..., :-1], -1, -2) + w[..., None, :, -1]).argmax(-1)


def borders(weights: ArrayLike, xlim: tuple[float, float], ylim: tuple[float, float]) -> Floats:
    """Where two classes of W (k, 3) in the plane tie for the best, as segments (s, 2, 2) inside a box.

    For classes j < l the points of the line (w_j - w_l) x = 0 at which no other class is better: an interval of it,
    cut by half-planes. ValueError for weights of another shape or a box without area.
    """
    w = check.array("weights", weights, 2, "weights (k, 3): two numbers and the bias of each class").astype(np.float64)
    for name, (low, high) in (("xlim", xlim), ("ylim", ylim)):
        if not check.number(name, low) < check.number(name, high):
            raise check.refuse(name, (low, high), "(low, high), low < high")
    if w.shape[1] != 3 or not np.isfinite(w).all():
        raise check.refuse("weights", weights, "finite weights (k, 3): two numbers and the bias of each class")
    box = np.array([(1, 0, -xlim[0]), (-1, 0, xlim[1]), (0, 1, -ylim[0]), (0, -1, ylim[1])], float)
    found = []
    for j, i in itertools.combinations(range(len(w)), 2):
        a, b = (w[j] - w[i])[:2], (w[j] - w[i])[2]
        length = float(a @ a)
        if length == 0:
            continue
        start, along = -b * a / length, np.array([-a[1], a[0]]) / np.sqrt(length)
        walls = np.concatenate([box, w[j] - np.delete(w, (j, i), 0)])  # where these are not negative
        gain, here = walls[:, :2] @ along, walls[:, :2] @ start + walls[:, 2]
        flat = np.abs(gain) < 1e-12
        if (here[flat] < 0).any():
            continue
        crossed = -here[~flat] / gain[~flat]
        low = crossed[gain[~flat] > 0].max(initial=-np.inf)
        high = crossed[gain[~flat] < 0].min(initial=np.inf)
        if low < high:
            found.append([start + low * along, start + high * along])
    return np.array(found).reshape(-1, 2, 2)


def confusions(decided: ArrayLike, targets: ArrayLike, k: int) -> np.ndarray:
    """Confusion matrices (m, k, k), true classes in rows, of decisions (m, n) and true classes (m, n)."""
    guess, truth = (check.array(name, one, 2, "class numbers (m, n)") for name, one in
                    (("decided", decided), ("targets", targets)))  # fmt: skip
    m = len(guess)
    cells = (np.arange(m)[:, None] * k + truth) * k + guess
    return np.bincount(cells.ravel(), minlength=m * k * k).reshape(m, k, k)


def tail_scores(confusion: ArrayLike, counts: ArrayLike) -> Scores:
    """Four scores of each confusion matrix (m, k, k), where classes occur as their training images, counts n (k,).

        pi_i = n_i / sum n    a_i = C_ii / sum_j C_ij    q_j = sum_i pi_i C_ij / sum_j C_ij

        accuracy  sum_i pi_i a_i           what is counted on a test set with that long tail
        balanced  (1/k) sum_i a_i          the mean recall
        f1        (1/k) sum_i 2 pi_i a_i / (pi_i + q_i)
        rare      the mean of a_i over the rarest third of the classes, the last ones where counts are equal; NaN where
                  k < 3

    ValueError for a class without test images, or without training images.
    """
    c = check.array("confusion", confusion, 3, "confusion matrices (m, k, k)").astype(np.float64)
    n = check.counts(counts)
    if c.shape[1:] != (len(n), len(n)) or not (c.sum(2) > 0).all() or not (n > 0).all():
        raise check.refuse("confusion", confusion, f"matrices (m, {len(n)}, {len(n)}), images in every row and count")
    rates, prior = c / c.sum(2, keepdims=True), n / n.sum()
    recall = np.diagonal(rates, axis1=1, axis2=2)
    answered = prior @ rates
    f1 = 2 * prior * recall / (prior + answered)
    # At ratio 1 too: there those that a longer tail would make rare, so that a slider of ratios does not break off.
    tail = np.argsort(-n, kind="stable")[len(n) - len(n) // 3 :]
    rare = recall[:, tail].mean(1) if len(tail) else np.full(len(c), np.nan)
    return Scores(recall @ prior, recall.mean(1), f1.mean(1), rare)
