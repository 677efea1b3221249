"""References of the methods that act on norms, margins and logits: sample by sample, class by class, as printed."""

import copy

import numpy as np
from references import (
    base_value,
    focal_of_the_weighted_loss,
    head_reference,
    mean_one,
    nll,
    reference,
    softmax,
    softmax_focal,
    weighted,
)


def lengths(rows):
    return np.array([np.sqrt(sum(float(v) ** 2 for v in row)) for row in rows])


def cosine_of_target_moved(out, targets, move):
    """Logits s cos, the target's cosine replaced by move(cosine, target)."""
    z = np.array(out.logits, dtype=np.float64)
    for i, y in enumerate(targets):
        z[i, y] = out.scale * move(z[i, y] / out.scale, y)
    return z


# --- heads and margins -----------------------------------------------------------------------------------------------


@head_reference("l2_constrained")
def l2_constrained_head(features, head_weight, head_bias, scale, state, alpha, learn_alpha):
    radius = float(state["alpha"])
    logits = np.zeros((len(features), len(head_weight)))
    for i, x in enumerate(features):
        for j, w in enumerate(head_weight):
            length = max(np.sqrt(np.dot(x, x)), 1e-6)
            logits[i, j] = radius * np.dot(x, w) / length + head_bias[j]
    return logits


@reference("l2_constrained")
def l2_constrained(out, targets, counts, class_weight, alpha, learn_alpha):
    return weighted(nll(out.logits, targets), targets, class_weight)


@reference("normface")
def normface(out, targets, counts, class_weight, scale, learn_scale):
    return weighted(nll(out.logits, targets), targets, class_weight)


@reference("cosface", "am_softmax")
def cosface(out, targets, counts, class_weight, margin, scale):
    z = cosine_of_target_moved(out, targets, lambda c, y: c - margin)
    return weighted(nll(z, targets), targets, class_weight)


@reference("arcface")
def arcface(out, targets, counts, class_weight, margin, scale, guard, gradient):
    def move(c, y):
        theta = np.arccos(np.clip(c, -1.0 + 1e-7, 1.0 - 1e-7))
        if guard == "linear" and theta > np.pi - margin:
            return c - margin * np.sin(margin)
        return np.cos(theta + margin)

    z = cosine_of_target_moved(out, targets, move)
    if gradient == "straight_through":
        z = out.logits + cosine_of_target_moved(out.constant, targets, move) - out.constant.logits
    return weighted(nll(z, targets), targets, class_weight)


def ldam_losses(out, targets, counts, max_margin):
    rarity = [float(n) ** -0.25 if n > 0 else 0.0 for n in counts]
    z = cosine_of_target_moved(out, targets, lambda c, y: c - max_margin * rarity[y] / max(rarity))
    return nll(z, targets)


@reference("ldam")
def ldam(out, targets, counts, class_weight, max_margin, scale):
    return weighted(ldam_losses(out, targets, counts, max_margin), targets, class_weight)


@reference("ldam_drw")
def ldam_drw(out, targets, counts, class_weight, max_margin, scale, beta, deferral, reduction):
    return weighted(ldam_losses(out, targets, counts, max_margin), targets, class_weight, reduction)


@reference("ce_drw")
def ce_drw(out, targets, counts, class_weight, beta, deferral, reduction):
    return weighted(nll(out.logits, targets), targets, class_weight, reduction)


@reference("focal_drw")
def focal_drw(out, targets, counts, class_weight, gamma, form, beta, deferral, reduction):
    w = np.asarray(class_weight)[targets]
    if form == "weighted_softmax":
        losses = focal_of_the_weighted_loss(out.logits, targets, gamma, class_weight)
    else:
        losses = w * softmax_focal(out.logits, targets, gamma)
    return float(losses.sum() / (len(targets) if reduction == "n" else w.sum()))


@reference("ce_drs")
def ce_drs(out, targets, counts, class_weight, deferral):
    return weighted(nll(out.logits, targets), targets, class_weight)


def drw_weights(counts, beta):
    """The class weights of the second stage: 1 over 1 + beta + ... + beta^(n - 1)."""
    present = counts > 0
    effective = np.array([sum(beta**i for i in range(int(n))) for n in counts])
    return mean_one(1.0 / np.where(present, effective, 1.0), present)


# --- norms -----------------------------------------------------------------------------------------------------------


def start(out, name, rows):
    """A learned radius; before the first step, the mean length there."""
    return float(out.state[name]) if out.state["initialised"] else lengths(rows).mean()


def ring_value(rows, radius):
    return sum((length - radius) ** 2 for length in lengths(rows)) / (2 * len(rows))


@reference("ring")
def ring(out, targets, counts, class_weight, base, strength, form):
    radius = start(out, "radius", out.constant.features)
    if form == "auto":
        size, mean = lengths(out.features), lengths(out.constant.features).mean()
        term = np.mean(((size - radius) / max(mean, 0.5)) ** 2)
    else:
        term = ring_value(out.features, radius)
    return base_value(base, out, targets, counts, class_weight) + strength * term


@reference("up")
def up(out, targets, counts, class_weight, base, strength, reading, detach):
    size = lengths(out.head_weight)
    there = lengths(out.constant.head_weight) if detach else size
    if reading == "all":
        term = sum((s - there.mean()) ** 2 for s in size) / (2 * len(size))
    else:
        middle = np.sort(counts)[(len(counts) - 1) // 2]  # the lower of the two middle counts
        rare, rest = size[counts <= middle], there[counts > middle]
        term = np.mean([(s**2 - np.mean(rest**2)) ** 2 for s in rare]) if len(rest) else 0.0
    return base_value(base, out, targets, counts, class_weight) + strength * term


def rings(out, feature_strength, weight_strength, target, feature_target, weight_target):
    if target == "learned":
        feature_target = start(out, "feature_target", out.constant.features)
        weight_target = start(out, "weight_target", out.constant.head_weight)
    if target == "mean":
        feature_target, weight_target = lengths(out.constant.features).mean(), lengths(out.constant.head_weight).mean()
    first = feature_strength * ring_value(out.features, feature_target)
    return first + weight_strength * ring_value(out.head_weight, weight_target)


@reference("dual_ring")
def dual_ring(out, targets, counts, class_weight, base, **radii):
    return base_value(base, out, targets, counts, class_weight) + rings(out, **radii)


def reweighted(out, targets, counts, class_weight, base, class_strength, sample_strength, detach):
    """Li et al. 2020, eq. (7), plus sign: the base's loss of each sample alone, times both weights."""

    def share(size, i):
        spread = size.max() - size.min()
        return (size[i] - size.min()) / spread if spread > 1e-6 * size.max() else 0.0

    there = out.constant if detach else out
    of_samples, of_classes, total = lengths(there.features), lengths(there.head_weight), 0.0
    count = np.ones(len(targets))  # how much a sample counts in the mean: its class weight, where that is weighted
    if not isinstance(base, str) and base.get("reduction") == "weight":
        count = class_weight[targets]
    for i, y in enumerate(targets):
        one = copy.copy(out)
        one.logits, one.features = out.logits[i : i + 1], out.features[i : i + 1]
        loss = base_value(base, one, targets[i : i + 1], counts, class_weight)
        weight = (1 - class_strength * share(of_classes, y)) * (1 - sample_strength * share(of_samples, i))
        total += count[i] * weight * loss
    return total / count.sum()


@reference("darl")
def darl(out, targets, counts, class_weight, base, class_strength, sample_strength, detach):
    return reweighted(out, targets, counts, class_weight, base, class_strength, sample_strength, detach)


@reference("dual")
def dual(out, targets, counts, class_weight, base, class_strength, sample_strength, detach, **radii):
    loss = reweighted(out, targets, counts, class_weight, base, class_strength, sample_strength, detach)
    return loss + rings(out, **radii)


# --- logits ----------------------------------------------------------------------------------------------------------


def adjusted_nll(logits, targets, factors):
    """-log of f_y e^{z_y} over the sum of f_j e^{z_j}, one factor f a class."""
    return nll(np.asarray(logits, dtype=np.float64) + np.log(factors)[None], targets)


@reference("logit_adjustment")
def logit_adjustment(out, targets, counts, class_weight, tau):
    n = np.maximum(counts, 1.0)
    return weighted(adjusted_nll(out.logits, targets, (n / n.sum()) ** tau), targets, class_weight)


@reference("balanced_softmax")
def balanced_softmax(out, targets, counts, class_weight):
    return weighted(adjusted_nll(out.logits, targets, np.maximum(counts, 1.0)), targets, class_weight)


@reference("logit_adjusted")
def logit_adjusted(out, targets, counts, class_weight, tau):
    return weighted(nll(out.logits, targets), targets, class_weight)


@reference("vs")
def vs(out, targets, counts, class_weight, gamma, tau):
    n = np.maximum(counts, 1.0)
    scaled = np.array(
        [[z / (n.max() / m) ** gamma for z, m in zip(row, n, strict=True)] for row in out.logits], np.float64
    )
    return weighted(adjusted_nll(scaled, targets, (n / n.sum()) ** tau), targets, class_weight)


@reference("label_smoothing")
def label_smoothing(out, targets, counts, class_weight, head, tail, shape):
    least, most, losses = counts.min(), counts.max(), []
    for z, y in zip(np.asarray(out.logits, dtype=np.float64), targets, strict=True):
        t = 1.0 if shape == "uniform" or most == least else (counts[y] - least) / (most - least)
        turn = {"concave": np.sin(np.pi * t / 2), "convex": 1 - np.cos(np.pi * t / 2)}.get(shape, t)
        epsilon = tail + (head - tail) * turn
        target = np.full(len(z), epsilon / len(z))
        target[y] += 1 - epsilon
        losses.append(-(target * np.log(softmax(z[None])[0])).sum())
    return weighted(np.array(losses), targets, class_weight)


@reference("mixup")
def mixup(out, targets, counts, class_weight, alpha, labels, kappa, tau):
    own = nll(out.logits, targets)
    if out.partner is None:
        return weighted(own, targets, class_weight)
    partner = targets[out.partner]
    shares = []
    for n, m in zip(counts[targets], counts[partner], strict=True):
        share = out.share
        if labels == "remix" and n / m >= kappa and out.share < tau:
            share = 0.0
        elif labels == "remix" and n / m <= 1 / kappa and 1 - out.share < tau:
            share = 1.0
        shares.append(share)
    shares, other = np.array(shares), nll(out.logits, partner)
    return weighted(shares * own, targets, class_weight) + weighted((1 - shares) * other, partner, class_weight)


@reference("equalization")
def equalization(out, targets, counts, class_weight, gamma, rarity):
    drawn = np.asarray(out.state["ignored"]).astype(bool)
    rare = counts < rarity * counts.mean()
    if gamma == 1.0:
        drawn = rare
    losses = []
    for z, y in zip(np.asarray(out.logits, dtype=np.float64), targets, strict=True):
        kept = [j for j in range(len(z)) if j == y or not (rare[j] and drawn[j])]
        losses.append(nll(z[None, kept], np.array([kept.index(y)]))[0])
    return weighted(np.array(losses), targets, class_weight)


@reference("seesaw")
def seesaw(out, targets, counts, class_weight, p, q):
    seen = np.maximum(np.bincount(np.concatenate([*out.seen, targets]).astype(int), minlength=len(counts)), 1)
    losses = []
    for i, (z, y) in enumerate(zip(np.asarray(out.logits, dtype=np.float64), targets, strict=True)):
        sigma, total = softmax(out.constant.logits[i : i + 1])[0], 0.0
        for j in range(len(z)):
            mitigation = (seen[j] / seen[y]) ** p if seen[j] < seen[y] else 1.0
            ratio = sigma[j] / max(sigma[y], 0.01)
            compensation = ratio**q if ratio > 1 else 1.0
            total += np.exp(z[j] - z[y]) * (1.0 if j == y else mitigation * compensation)
        losses.append(np.log(total))
    return weighted(np.array(losses), targets, class_weight)
