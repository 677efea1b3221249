"""References of the class-difficulty, triplet and contrastive losses, and of the post-hoc rules, in plain loops."""

import numpy as np
from references import base_value, reference, softmax


def _rows(out, embedding):
    if embedding == "raw":
        return out.features
    return out.features / np.maximum(np.linalg.norm(out.features, axis=1, keepdims=True), 1e-6)


def triplet_mean(x, y, margin):
    values = []
    for a in range(len(y)):
        for p in range(len(y)):
            for n in range(len(y)):
                if a != p and y[a] == y[p] and y[a] != y[n]:
                    values.append(np.sum((x[a] - x[p]) ** 2) - np.sum((x[a] - x[n]) ** 2) + margin)
    positive = [v for v in values if v > 0]
    return float(np.mean(positive)) if positive else 0.0


def cdb_weights(accuracy, tau_rule, tau, normalise, k):
    if accuracy is None or np.isnan(accuracy).all():
        return np.ones(k)
    known = ~np.isnan(accuracy)
    if not known.all():
        weight = np.empty(k)
        weight[known] = cdb_weights(accuracy[known], tau_rule, tau, normalise, known.sum())
        weight[~known] = weight[known].mean()
        return weight
    if tau_rule != "fixed":
        ratio = accuracy.max() / (accuracy.min() + {"paper": 0.01, "sigmoid": 1e-4, "public": 0.01}[tau_rule])
        b = ratio if tau_rule == "public" else ratio - 1
        tau = (2 if tau_rule == "paper" else 1) / (1 + np.exp(-min(b, 700)))
    weight = (1 - accuracy) ** tau
    if weight.sum() == 0:
        return np.ones(k)
    return weight * k / weight.sum() if normalise else weight


@reference("cdb")
def cdb(out, targets, counts, class_weight, tau_rule, tau, normalise):
    weight = cdb_weights(out.accuracy, tau_rule, tau, normalise, len(counts))
    p = softmax(out.logits)
    return float(np.mean([-weight[y] * np.log(p[i, y]) for i, y in enumerate(targets)]))


@reference("triplet")
def triplet(out, targets, counts, class_weight, base, strength, margin, embedding):
    extra = triplet_mean(_rows(out, embedding), targets, margin)
    return base_value(base, out, targets, counts, class_weight) + strength * extra


@reference("tricdb")
def tricdb(out, targets, counts, class_weight, strength, margin, embedding, tau_rule, tau, normalise):
    extra = triplet_mean(_rows(out, embedding), targets, margin)
    return cdb(out, targets, counts, class_weight, tau_rule, tau, normalise) + strength * extra


@reference("contrastive")
def contrastive(out, targets, counts, class_weight, base, strength, margin, power, embedding):
    x, values = _rows(out, embedding), []
    for i in range(len(targets)):
        for j in range(i):
            d = np.linalg.norm(x[i] - x[j])
            values.append((d if targets[i] == targets[j] else max(margin - d, 0.0)) ** power / power)
    extra = np.mean(values) if values else 0.0
    return base_value(base, out, targets, counts, class_weight) + strength * float(extra)


@reference(
    "class_balanced_sampling", "square_root_sampling", "progressive_sampling", "undersampling", "oversampling",
    "crt", "lws", "tau_norm", "ncm",
)  # fmt: skip
def trained_with_cross_entropy(out, targets, counts, class_weight, **settings):
    p = softmax(out.logits)
    return float(np.mean([-class_weight[y] * np.log(p[i, y]) for i, y in enumerate(targets)]))
