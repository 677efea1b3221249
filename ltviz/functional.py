"""Maths that several methods share. Every function is pure, has static shapes and reads nothing back to the host."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

EPS = 1e-12


def precise(values: Tensor) -> Tensor:
    """values in float64, or in float32 on a device that has no float64 (Apple's MPS)."""
    return values.to(torch.float32 if values.device.type == "mps" else torch.float64)


def effective_number(counts: Tensor, beta: float) -> Tensor:
    """Effective number of samples of each class.

        E_n = (1 - beta^n) / (1 - beta)

    counts (k,) images per class; beta in [0, 1]. beta = 0 gives 1 for every class that has an image, beta = 1 the
    limit n. Returned in float64: in float32, 1 - 0.9999^5 has already lost three digits. A class without images has 0.
    Source: Cui et al. 2019, eq. (2) and Proposition 2.
    """
    if not 0.0 <= beta <= 1.0:
        raise ValueError(f"beta must lie in [0, 1], not {beta}. It is (N - 1) / N for N prototypes; try 0.999.")
    n = counts.to(torch.float64)
    if beta == 1.0:
        return n
    if beta == 0.0:
        return (n > 0).to(torch.float64)
    log_beta = torch.log1p(torch.tensor(beta - 1.0, dtype=torch.float64, device=n.device))
    return torch.expm1(n * log_beta) / torch.expm1(log_beta)


def normalise_weights(weight: Tensor, present: Tensor) -> Tensor:
    """Scale class weights (k,) to mean 1 over the classes present (k,) bool; absent classes get 0 (float32)."""
    weight = torch.where(present, weight.to(torch.float64), 0.0)
    return (weight * present.sum() / weight.sum()).to(torch.float32)


def inverse_weights(amount: Tensor) -> Tensor:
    """Class weights proportional to 1 / amount (k,), mean 1 over the classes whose amount is not 0."""
    present = amount > 0
    return normalise_weights(1.0 / torch.where(present, amount.to(torch.float64), 1.0), present)


def weighted_mean(losses: Tensor, targets: Tensor, class_weight: Tensor | None = None, reduction: str = "n") -> Tensor:
    """Average the losses (n,) of a batch under class weights (k,).

    reduction "n": sum of w[y] * loss over N, the number of samples (Cui et al. 2019, their code).
    reduction "weight": the same sum over the sum of w[y] (what torch's cross_entropy(weight=) does; Cao et al. 2019).
    The two are different optimisation problems as soon as a batch is not balanced.
    """
    if class_weight is None:
        return losses.mean()
    w = class_weight.to(losses.dtype)[targets]
    if reduction == "n":
        return (w * losses).mean()
    if reduction == "weight":
        return (w * losses).sum() / w.sum().clamp_min(EPS)
    raise ValueError(f'reduction must be "n" or "weight", not {reduction!r}')


def one_hot(targets: Tensor, like: Tensor) -> Tensor:
    """Indicator of the target class, shape and dtype of `like` (n, k)."""
    classes = torch.arange(like.shape[1], device=like.device)
    return (targets[:, None] == classes).to(like.dtype)


def target_entries(values: Tensor, targets: Tensor) -> Tensor:
    """values[i, targets[i]] for each sample: (n, k) and (n,) give (n,)."""
    return values.gather(1, targets[:, None]).squeeze(1)


def unit(x: Tensor) -> Tensor:
    """Rows of x (n, d) scaled to length 1; an all-zero row stays zero, with a finite gradient."""
    return x / safe_norm(x)[:, None]


def safe_norm(x: Tensor) -> Tensor:
    """Euclidean length of each row, (n, d) -> (n,), with a finite gradient (zero) at the origin."""
    return x.square().sum(1).clamp_min(EPS).sqrt()


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Squared Euclidean distances between rows, (n, d) and (m, d) -> (n, m), never negative."""
    product = a @ b.T
    return (a.square().sum(1)[:, None] + b.square().sum(1)[None] - 2.0 * product).clamp_min(0.0)


def pair_masks(targets: Tensor) -> tuple[Tensor, Tensor]:
    """(same, other): bool (n, n) masks of pairs of one class (without the diagonal) and of two classes."""
    equal = targets[:, None] == targets[None]
    diagonal = torch.eye(len(targets), dtype=torch.bool, device=targets.device)
    return equal & ~diagonal, ~equal


def log_prior(counts: Tensor) -> Tensor:
    """log pi_j = log(n_j / sum n) for each class (k,), float32. A class without images counts as one image."""
    n = precise(counts).clamp_min(1.0)
    return torch.log(n / n.sum()).to(torch.float32)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Softmax cross-entropy of each sample, (n, k) and (n,) -> (n,): l = logsumexp(z) - z_y."""
    return F.cross_entropy(logits, targets, reduction="none")
