"""How much of the gradient of a loss comes from each class: whose images the next step of training listens to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import check
from ..check import to_array
from .scores import Floats

LOSS = "a function of (logits (n, k), targets (n,)) that gives one loss an image (n,), differentiable in the logits"


class GradientShares(NamedTuple):
    """Of the gradient of all images: `share` (k,) of each class, sums to 1; `mean`, the size for an average image.

    With logits of s epochs both have a first axis of length s. Where every gradient is 0 the shares are NaN.
    """

    share: Floats
    mean: Floats


def gradient_sizes(loss: Callable[[Any, Any], Any], logits: Any, targets: Any) -> Floats:
    """Size of each image's gradient with respect to its own logits (n,).

        g_i = sum_j |d l_i / d z_ij|

    Under a softmax, half of it is the pull on the true logit and half the push on all others; under sigmoids the two
    are independent. loss: see `gradient_shares`; logits z (n, k), targets y (n,). ValueError for parts that do not fit
    together, for logits that are not finite, and for a loss that does not give one number an image.
    """
    import torch

    check.same_order(logits=logits, targets=targets)
    z = check.array("logits", logits, 2, "finite numbers (n, k)").astype(np.float64)
    y = _targets(z, targets)
    if not callable(loss):
        raise check.refuse("loss", loss, LOSS)
    with torch.enable_grad():
        leaf = torch.from_numpy(z).requires_grad_()
        try:
            found = loss(leaf, torch.from_numpy(y))
        except Exception as error:
            said = " ".join(str(error).split())[:160]
            raise check.refuse(
                "loss", loss, f"{LOSS}, from logits in float64 and targets in int64; it raised {type(error).__name__}: "
                f"{said}"
            ) from error  # fmt: skip
        if not isinstance(found, torch.Tensor) or found.shape != (len(z),) or not found.requires_grad:
            raise check.refuse("loss", loss, f"{LOSS}; this one gave {check.shown(found)}")
        (gradient,) = torch.autograd.grad(found.sum(), leaf)
    return to_array(gradient.abs().sum(1))


def gradient_shares(loss: Callable[[Any, Any], Any], logits: Any, targets: Any) -> GradientShares:
    """Each class's share of the gradient of a loss.

        s_c = sum_{i: y_i = c} g_i / sum_i g_i,   g_i as in `gradient_sizes`

    loss: a function of (logits, targets) that gives one loss an image (n,), class weights included where it has some,
    such as lambda z, y: focal_loss(z, y, 2.0, "softmax"). logits (n, k), or (s, n, k) for the same images at s epochs;
    targets (n,). At the start of training all images have about the same g_i, so the shares are those of the counts.
    """
    check.same_order(logits=logits, targets=targets)
    z = check.array("logits", logits, None, "numbers (n, k), or (s, n, k) for the same images at s epochs")
    if z.ndim not in (2, 3) or not z.size:
        raise check.refuse("logits", logits, "numbers (n, k), or (s, n, k) for the same images at s epochs")
    y = _targets(z.reshape(-1, *z.shape[-2:])[0], targets)
    many = z.reshape(-1, z.shape[-1])
    sizes = gradient_sizes(loss, many, np.tile(y, len(many) // len(y))).reshape(z.shape[:-1])
    by_class = sizes @ np.eye(z.shape[-1])[y]
    total = by_class.sum(-1)
    with np.errstate(invalid="ignore"):
        share = by_class / total[..., None]
    return GradientShares(share, total / len(y))


def _targets(logits: np.ndarray, targets: Any) -> np.ndarray:
    """Targets as whole numbers, one for each row of these logits."""
    if not len(logits) or not np.isfinite(logits).all():
        raise check.refuse("logits", logits, "finite numbers, one row per image")
    y = check.labels("targets", targets, logits.shape[1])
    if len(y) != len(logits):
        raise ValueError(f"targets={check.shown(targets)}: expected {len(logits)} class numbers, one for each image")
    return y.astype(np.int64)
