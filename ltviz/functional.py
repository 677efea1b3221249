"""Maths that several methods share. Every function is pure, has static shapes and reads nothing back to the host."""

from __future__ import annotations

import contextlib

import torch
import torch.nn.functional as F
from torch import Tensor

from .check import choice, number, refuse

EPS = 1e-12  # floor under squared lengths in float32; for half precision use `unit` and `safe_norm`, which need none


def precise(values: Tensor) -> Tensor:
    """values in float64, or in float32 on a device that has no float64 (Apple's MPS)."""
    return values.to(torch.float32 if values.device.type == "mps" else torch.float64)


def effective_number(counts: Tensor, beta: float) -> Tensor:
    """Effective number of samples of each class.

        E_n = (1 - beta^n) / (1 - beta)

    counts (k,) images per class; beta in [0, 1], (N - 1) / N for N prototypes. beta = 0 gives 1 for every class that
    has an image, beta = 1 the limit n. Returned in float64: in float32, 1 - 0.9999^5 has already lost three digits. A
    class without images has 0. Raises ValueError for a beta outside its range and for negative counts.
    Source: Cui et al. 2019, eq. (2) and Proposition 2.
    """
    beta = number("beta", beta, 0.0, 1.0)
    n = _check_counts(counts).to(torch.float64)
    if beta == 1.0:
        return n
    if beta == 0.0:
        return (n > 0).to(torch.float64)
    log_beta = torch.log1p(torch.tensor(beta - 1.0, dtype=torch.float64, device=n.device))
    return torch.expm1(n * log_beta) / torch.expm1(log_beta)


def normalise_weights(weight: Tensor, present: Tensor) -> Tensor:
    """Scale class weights (k,) to mean 1 over the classes present (k,) bool; absent classes get 0 (float32).

    Where no present class has a weight above 0, all are 0.
    """
    weight = torch.where(present, weight.to(torch.float64), 0.0)
    total = weight.sum()
    return (weight * present.sum() / torch.where(total == 0, 1.0, total)).to(torch.float32)


def inverse_weights(amount: Tensor) -> Tensor:
    """Class weights proportional to 1 / amount (k,), mean 1 over the classes whose amount is not 0."""
    present = _check_counts(amount, "amount") > 0
    return normalise_weights(1.0 / torch.where(present, amount.to(torch.float64), 1.0), present)


def weighted_mean(losses: Tensor, targets: Tensor, class_weight: Tensor | None = None, reduction: str = "n") -> Tensor:
    """Average the losses (n,) of a batch under class weights (k,).

    reduction "n": sum of w[y] * loss over N, the number of samples (Cui et al. 2019, their code).
    reduction "weight": the same sum over the sum of w[y] (what torch's cross_entropy(weight=) does; Cao et al. 2019);
    0 where that sum is 0. The two are different optimisation problems as soon as a batch is not balanced.
    The mean has the type of the losses; half precision is summed in float32, in which weights neither vanish nor
    overflow.
    """
    choice("reduction", reduction, ("n", "weight"))
    if not isinstance(losses, Tensor) or not losses.is_floating_point():
        raise refuse("losses", losses, "a float tensor (n,), one loss for each sample")
    if class_weight is None:
        return losses.mean()
    values = _at_least_float32(losses)
    w = class_weight.to(values.dtype)[targets]
    if reduction == "n":
        return (w * values).mean().to(losses.dtype)
    total = w.sum()
    return ((w * values).sum() / torch.where(total == 0, 1.0, total)).to(losses.dtype)


def one_hot(targets: Tensor, like: Tensor) -> Tensor:
    """Indicator of the target class, shape and dtype of `like` (n, k)."""
    classes = torch.arange(like.shape[1], device=like.device)
    return (targets[:, None] == classes).to(like.dtype)


def target_entries(values: Tensor, targets: Tensor) -> Tensor:
    """values[i, targets[i]] for each sample: (n, k) and (n,) give (n,)."""
    return values.gather(1, targets[:, None]).squeeze(1)


def unit(x: Tensor) -> Tensor:
    """Rows of x (n, d) scaled to length 1, whatever their length; an all-zero row stays zero, with gradient zero.

    Half precision is computed in float32; the result has the type of x.
    """
    rows, _, squared = _scaled_rows(x)
    # Over an infinite length a row of zeros is zero, and so is its gradient.
    return (rows / torch.where(squared == 0, torch.inf, squared).sqrt()[:, None]).to(x.dtype)


def safe_norm(x: Tensor) -> Tensor:
    """Euclidean length of each row, (n, d) -> (n,); its gradient at the origin is zero.

    Half precision is computed in float32; the result has the type of x.
    """
    _, scale, squared = _scaled_rows(x)
    # For a row of zeros, the root of the smallest number times its scale is exactly 0; the clamp stops the gradient.
    return (scale * squared.clamp_min(torch.finfo(squared.dtype).tiny).sqrt()).to(x.dtype)


def _scaled_rows(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows (n, d) that can be squared without overflow or underflow, their scale (n,), their squared lengths (n,).

    x = rows * scale. The scale is 1 unless the largest entry of a row is beyond 2^48 or below 2^-48 (2^384 in float64),
    and a power of two then, so nothing is rounded: usual rows give the same bits as without it.
    """
    if not isinstance(x, Tensor) or x.dim() != 2 or not x.is_floating_point():
        raise refuse("x", x, "a float tensor (n, d), one row for each sample")
    x = _at_least_float32(x)
    bound = 2.0**384 if x.dtype == torch.float64 else 2.0**48
    largest = x.detach().abs().amax(1)
    scale = torch.where(largest > bound, bound**2, torch.ones_like(largest))
    scale = torch.where(largest < 1.0 / bound, bound**-2, scale)
    rows = x / scale[:, None]
    return rows, scale, rows.square().sum(1)


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Squared Euclidean distances between rows, (n, d) and (m, d) -> (n, m), never negative.

    Half precision is computed and returned in float32: the square of a float16 distance above 256 is beyond float16.
    """
    for name, value in (("a", a), ("b", b)):
        if not isinstance(value, Tensor) or value.dim() != 2 or not value.is_floating_point():
            raise refuse(name, value, "a float tensor, one row for each sample")
    if a.shape[1] != b.shape[1]:
        raise refuse("b", b, f"rows of {a.shape[1]} numbers, as a has")
    a, b = _at_least_float32(a), _at_least_float32(b)
    product = a @ b.T
    return (a.square().sum(1)[:, None] + b.square().sum(1)[None] - 2.0 * product).clamp_min(0.0)


def pair_masks(targets: Tensor) -> tuple[Tensor, Tensor]:
    """(same, other): bool (n, n) masks of pairs of one class (without the diagonal) and of two classes."""
    equal = targets[:, None] == targets[None]
    diagonal = torch.eye(len(targets), dtype=torch.bool, device=targets.device)
    return equal & ~diagonal, ~equal


def log_prior(counts: Tensor) -> Tensor:
    """log pi_j = log(n_j / sum n) for each class (k,), float32. A class without images counts as one image."""
    n = precise(_check_counts(counts)).clamp_min(1.0)
    return torch.log(n / n.sum()).to(torch.float32)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Softmax cross-entropy of each sample, (n, k) and (n,) -> (n,): l = logsumexp(z) - z_y."""
    return F.cross_entropy(logits, targets, reduction="none")


def _at_least_float32(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _check_counts(counts: Tensor, name: str = "counts") -> Tensor:
    """The counts, if they are real numbers in a tensor and, where they can be read at no cost, none is negative."""
    if not isinstance(counts, Tensor) or counts.dtype == torch.bool or counts.is_complex():
        raise refuse(name, counts, "a tensor (k,) of one number for each class; make one with torch.tensor([...])")
    if counts.device.type == "cpu":
        with contextlib.suppress(RuntimeError):  # inside vmap, and for tensors without values, there is nothing to read
            if not bool((counts >= 0).all()):
                raise ValueError(f"{name}: expected numbers of at least 0, got {counts.flatten()[:10].tolist()}")
    return counts
