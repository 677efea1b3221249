"""Maths that several methods share. Every function is pure, has static shapes and reads nothing back to the host.

So what they refuse (ValueError) is a wrong type or shape. A target that is no class of the k is noticed where torch
itself notices it: on a CPU, and not by `one_hot`, which gives it a row of zeros.
"""

from __future__ import annotations

import contextlib

import torch
import torch.nn.functional as F
from torch import Tensor

from .check import choice, number, refuse
from .check import tensor as check_tensor

EPS = 1e-12  # floor under squared lengths in float32; for half precision use `unit` and `safe_norm`, which need none


def precise(values: Tensor) -> Tensor:
    """values in float64, or in float32 on a device that has no float64 (Apple's MPS)."""
    check_tensor("values", values, None, "number", "a tensor of numbers")
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
    _check_counts(weight, "weight")
    check_tensor("present", present, 1, "bool", "a bool tensor (k,), whether each class has images", weight)
    _check_length("present", present, len(weight), "one entry for each weight")
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
    if not len(check_tensor("losses", losses, 1, "float", "a float tensor (n,), one loss for each sample")):
        raise refuse("losses", losses, "at least one loss")
    _check_targets(targets, losses)
    if class_weight is None:
        return losses.mean()
    check_tensor("class_weight", class_weight, 1, "number", "a tensor (k,), one weight for each class", losses)
    values = _at_least_float32(losses)
    try:
        w = class_weight.to(values.dtype).index_select(0, targets)
    except (IndexError, RuntimeError) as error:
        raise _explained(error, targets, len(class_weight)) from None
    if reduction == "n":
        return (w * values).mean().to(losses.dtype)
    total = w.sum()
    return ((w * values).sum() / torch.where(total == 0, 1.0, total)).to(losses.dtype)


def one_hot(targets: Tensor, like: Tensor) -> Tensor:
    """Indicator of the target class (n, k), of the type of `like` (anything, k)."""
    check_tensor("like", like, 2, "number", "a tensor with one column for each of k classes")
    check_tensor("targets", targets, 1, "int64", TARGETS, like)
    classes = torch.arange(like.shape[1], device=like.device)
    return (targets[:, None] == classes).to(like.dtype)


def target_entries(values: Tensor, targets: Tensor) -> Tensor:
    """values[i, targets[i]] for each sample: (n, k) and (n,) give (n,)."""
    check_tensor("values", values, 2, "number", "a tensor (n, k), a number of each sample for each class")
    _check_targets(targets, values)
    try:
        return values.gather(1, targets[:, None]).squeeze(1)
    except RuntimeError as error:
        raise _explained(error, targets, values.shape[1]) from None


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
    if not check_tensor("x", x, 2, "float", "a float tensor (n, d), one row for each sample").shape[1]:
        raise refuse("x", x, "rows of at least one number")
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
        check_tensor(name, value, 2, "float", "a float tensor, one row for each sample", a)
    if a.shape[1] != b.shape[1]:
        raise refuse("b", b, f"rows of {a.shape[1]} numbers, as a has")
    a, b = _at_least_float32(a), _at_least_float32(b)
    product = a @ b.T
    return (a.square().sum(1)[:, None] + b.square().sum(1)[None] - 2.0 * product).clamp_min(0.0)


def pair_masks(targets: Tensor) -> tuple[Tensor, Tensor]:
    """(same, other): bool (n, n) masks of pairs of one class (without the diagonal) and of two classes."""
    check_tensor("targets", targets, 1, "int64", TARGETS)
    equal = targets[:, None] == targets[None]
    diagonal = torch.eye(len(targets), dtype=torch.bool, device=targets.device)
    return equal & ~diagonal, ~equal


def log_prior(counts: Tensor) -> Tensor:
    """log pi_j = log(n_j / sum n) for each class (k,), float32. A class without images counts as one image."""
    n = precise(_check_counts(counts)).clamp_min(1.0)
    return torch.log(n / n.sum()).to(torch.float32)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Softmax cross-entropy of each sample, (n, k) and (n,) -> (n,): l = logsumexp(z) - z_y."""
    check_tensor("logits", logits, 2, "float", "a float tensor (n, k), a logit of each sample for each class")
    _check_targets(targets, logits)
    try:  # no number stands for "leave this sample out": torch's own, -100, would make a wrong target a loss of 0
        return F.cross_entropy(logits, targets, reduction="none", ignore_index=-(2**63))
    except (IndexError, RuntimeError) as error:
        raise _explained(error, targets, logits.shape[1]) from None


def _at_least_float32(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


TARGETS = "an int64 tensor (n,), the class of each sample"


def _check_length(name: str, value: Tensor, n: int, what: str) -> None:
    if len(value) != n:
        raise refuse(name, value, f"{what}: {n}")


def _check_targets(targets: Tensor, rows: Tensor) -> None:
    check_tensor("targets", targets, 1, "int64", TARGETS, rows)
    _check_length("targets", targets, len(rows), "as many as there are samples")


def _explained(error: Exception, targets: Tensor, k: int) -> Exception:
    """torch's error as one that names the target that is no class; as it is where that is not the reason."""
    if targets.device.type == "cpu":
        wrong = targets[(targets < 0) | (targets >= k)]
        if len(wrong):
            return ValueError(f"targets: expected class numbers from 0 to {k - 1}, found {int(wrong[0])}")
    return error


def _check_counts(counts: Tensor, name: str = "counts") -> Tensor:
    """The counts: numbers in a tensor (k,), and, where they can be read at no cost, finite and not negative."""
    expected = "a tensor (k,) of one number for each class, as torch.tensor([...]) makes"
    if not len(check_tensor(name, counts, 1, "number", expected)):
        raise refuse(name, counts, expected)
    if counts.device.type == "cpu":
        with contextlib.suppress(RuntimeError):  # inside vmap, and for tensors without values, there is nothing to read
            if not bool((counts >= 0).all() and counts.isfinite().all()):
                raise ValueError(f"{name}: expected finite numbers of at least 0, got {counts[:10].tolist()}")
    return counts
