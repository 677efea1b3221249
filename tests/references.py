"""The methods once more, in plain numpy and float64, written from the papers and independent of the package.

A reference is a function

    @reference("focal")
    def focal(out, targets, counts, class_weight, **settings) -> float

of arrays: `out` has logits (n, k), features (n, d), head_weight (k, d), head_bias (k,) or None, scale (float or None),
index (n,); memory (k, d) of a head that keeps one, or None; partner (n,) and share of a blend, or None; state, the
arrays of the objective's state_dict (a learned radius, running counts); accuracy (k,), what the last Report said;
train = (features, targets) of its embed(); seen, the
targets of earlier steps, one array each.
out.constant is `out` at the place where the gradient is taken: a reference reads from it what is a constant for the
gradient, so that its slope is the gradient.
`class_weight` (k,) is what a stage has set, ones otherwise: a method that weights classes itself computes its own.
settings are all of the method's, defaults included. A loss that is added to a base calls `base_value`.

    @head_reference("l2_constrained")
    def l2_constrained(features, head_weight, head_bias, scale, state, **settings) -> logits (n, k)

is needed where the head is neither linear nor a cosine head; state holds the arrays of the head. Both decorators take
several keys, and so does the third, for methods that re-decide from a trained network:

    @posthoc_reference("tau_norm")
    def tau_norm(out, counts, train, **settings) -> logits (n, k)

References of a family live in references_<family>.py beside this file; the battery collects them all.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np

REFERENCES: dict = {}
HEADS: dict = {}
POSTHOC: dict = {}


def reference(*keys: str):
    """Register a function as the reference of these methods."""

    def register(function):
        for key in keys:
            if key in REFERENCES:
                raise ValueError(f"two references for {key!r}")
            REFERENCES[key] = function
        return function

    return register


def head_reference(*keys: str):
    """Register a function as the reference of the heads of these methods."""

    def register(function):
        HEADS.update(dict.fromkeys(keys, function))
        return function

    return register


def posthoc_reference(*keys: str):
    """Register a function as the reference of the post-hoc rules of these methods."""

    def register(function):
        POSTHOC.update(dict.fromkeys(keys, function))
        return function

    return register


def collect() -> dict:
    """All references: those here and those of the files references_<family>.py."""
    for path in sorted(Path(__file__).parent.glob("references_*.py")):
        importlib.import_module(path.stem)
    return REFERENCES


def base_value(base, out, targets, counts, class_weight) -> float:
    """The reference value of a base: a key, or {"key": ..., setting: value, ...} with every setting it needs."""
    settings = {} if isinstance(base, str) else {name: value for name, value in base.items() if name != "key"}
    key = base if isinstance(base, str) else base["key"]
    inner = {name.replace("base.", ""): value for name, value in out.state.items() if name.startswith("base.")}
    out = SimpleNamespace(**{**vars(out), "state": {**out.state, **inner}})
    return REFERENCES[key](out, targets, counts, class_weight, **settings)


def namespace(**arrays) -> SimpleNamespace:
    """An `out` with everything that references may ask for, absent things None."""
    names = ("logits", "features", "head_weight", "head_bias", "scale", "index", "memory", "accuracy", "train")
    space = SimpleNamespace(**{**dict.fromkeys(names), "state": {}, "seen": [], **arrays})
    space.constant = arrays.get("constant", space)
    return space


# --- what several references share -----------------------------------------------------------------------------------


def softmax(z):
    """Row by row, (n, k)."""
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def log_softmax(z):
    """Row by row, (n, k)."""
    z = z - z.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def softplus(z):
    """log(1 + e^z)."""
    return np.logaddexp(0.0, z)


def nll(logits, targets):
    """Softmax cross-entropy of each sample (n,)."""
    return -log_softmax(np.asarray(logits, dtype=np.float64))[np.arange(len(targets)), targets]


def weighted(losses, targets, class_weight, reduction="n") -> float:
    """Sum of w[y] * loss over the number of samples ("n") or over the sum of w[y] ("weight")."""
    w = np.asarray(class_weight, dtype=np.float64)[targets]
    return float((w * losses).sum() / (len(losses) if reduction == "n" else w.sum()))


def mean_one(weight, present):
    """Weights (k,) scaled to mean 1 over the classes present, 0 elsewhere."""
    weight = np.where(present, weight, 0.0)
    return weight * present.sum() / weight.sum()


# --- softmax and sigmoid ---------------------------------------------------------------------------------------------


@reference("ce")
def ce(out, targets, counts, class_weight):
    return weighted(nll(out.logits, targets), targets, class_weight)


def one_vs_all(logits, targets, gamma=0.0):
    """Cui et al. 2019, sections 4.2 and 4.3, class by class."""
    losses = np.zeros(len(targets))
    for i, y in enumerate(targets):
        for j, z in enumerate(logits[i]):
            signed = z if j == y else -z
            losses[i] += np.exp(-gamma * softplus(signed)) * softplus(-signed)
    return losses


def softmax_focal(logits, targets, gamma):
    """Lin et al. 2017, eq. (4), with the softmax probability of the true class."""
    losses = nll(logits, targets)
    return (1.0 - np.exp(-losses)) ** gamma * losses


def focal_of_the_weighted_loss(logits, targets, gamma, class_weight):
    """The code of Cao et al. 2019: cross-entropy with class weights, then p from it; the mean over n."""
    losses = np.asarray(class_weight)[targets] * nll(logits, targets)
    return (1.0 - np.exp(-losses)) ** gamma * losses


@reference("sigmoid")
def sigmoid(out, targets, counts, class_weight, decay_bias=False):
    return weighted(one_vs_all(out.logits, targets), targets, class_weight)


@reference("focal")
def focal(out, targets, counts, class_weight, gamma, form, decay_bias=False):
    if form == "weighted_softmax":
        return float(focal_of_the_weighted_loss(out.logits, targets, gamma, class_weight).mean())
    loss = softmax_focal if form == "softmax" else one_vs_all
    return weighted(loss(out.logits, targets, gamma), targets, class_weight)


@reference("inverse_frequency")
def inverse_frequency(out, targets, counts, class_weight, exponent, reduction):
    present = counts > 0
    weight = mean_one(np.where(present, counts, 1.0) ** -float(exponent), present)
    return weighted(nll(out.logits, targets), targets, weight, reduction)


@reference("class_balanced")
def class_balanced(out, targets, counts, class_weight, beta, loss, gamma, reduction, decay_bias=False):
    effective = [sum(beta**i for i in range(int(n))) for n in counts]  # Cui et al. 2019, eq. (3): the geometric sum
    present = counts > 0
    weight = mean_one(1.0 / np.where(present, effective, 1.0), present)
    if loss == "weighted_softmax_focal":
        total = focal_of_the_weighted_loss(out.logits, targets, gamma, weight).sum()
        return float(total / (len(targets) if reduction == "n" else weight[targets].sum()))
    losses = {
        "softmax_focal": lambda: softmax_focal(out.logits, targets, gamma),
        "softmax": lambda: nll(out.logits, targets),
        "sigmoid": lambda: one_vs_all(out.logits, targets),
        "focal": lambda: one_vs_all(out.logits, targets, gamma),
    }[loss]()
    return weighted(losses, targets, weight, reduction)


# --- after the fact --------------------------------------------------------------------------------------------------


@posthoc_reference("tau_norm")
def tau_norm(out, counts, train, tau, bias):
    logits = np.zeros((len(out.features), len(counts)))
    for j, w in enumerate(out.head_weight):
        logits[:, j] = [np.dot(w, x) / np.sqrt(np.dot(w, w)) ** tau for x in out.features]
        logits[:, j] += out.head_bias[j] if bias == "keep" else 0.0
    return logits


@posthoc_reference("logit_adjusted")
def logit_adjusted(out, counts, train, tau):
    n = np.maximum(counts, 1.0)
    return out.logits - tau * np.log(n / n.sum())[None]


@posthoc_reference("ncm")
def ncm(out, counts, train, form):
    features, targets = train
    centre = features.mean(axis=0) if form == "centred" else 0.0

    def prepared(x):
        return (x - centre) / (1.0 if form == "plain" else np.linalg.norm(x - centre))

    means = [np.mean([prepared(x) for x in features[targets == j]], axis=0) for j in range(len(counts))]
    return np.array([[-np.sum((prepared(x) - m) ** 2) for m in means] for x in out.features])
