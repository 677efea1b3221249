"""What a loss says about one example: its value and its gradient, against the probability of the true class."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from ..objective import METHODS, Output
from .picture import Picture, draws, get_axes, legend_over, look, number

POINTS = 241


@draws
def plot_loss_curve(
    method: str | Callable[..., Tensor],
    *,
    counts: Any = (100, 10),
    target: int = 0,
    ax: Sequence[Axes] | None = None,
    **settings: Any,
) -> Picture:
    """Loss of one example, and the size of its gradient, against the probability p of its true class.

    method: a key of METHODS, or a function (logits (n, k), targets (n,), **settings) -> losses (n,). Any setting may be
    a list: one curve for each combination. counts (k,): training images of the classes, for losses that use them;
    target: the true class. The other classes share what is left, so the logit of the true class is
    z = log(p / (1 - p)) + log(k - 1) and theirs are 0. Class weights are included.
    Gradient: |d loss / d z|, by automatic differentiation. ax: two axes (loss, gradient).
    `.data`: p, loss (curves, points), gradient (curves, points), labels.

    Shows which examples a loss listens to: easy (p near 1) or hard (p near 0). Cannot show what training makes of it,
    nor losses that look at a batch at once (pairs, centres) or at features.
    """
    curves = list(_combinations(settings))
    k = len(counts)
    if not 0 <= target < k:
        raise ValueError(f"target must be a class number in 0..{k - 1}, not {target}")
    p = np.linspace(0.002, 0.998, POINTS)
    name = method if isinstance(method, str) else getattr(method, "__name__", "loss")
    pairs = [_evaluate(method, torch.as_tensor(counts), target, p, chosen) for chosen in curves]
    losses, gradients = (np.array(rows) for rows in zip(*pairs, strict=True))
    varied = [key for key in settings if isinstance(settings[key], (list, tuple, np.ndarray))]
    labels = [", ".join(f"{key} = {chosen[key]}" for key in varied) or name for chosen in curves]
    left, right = get_axes(ax, 8.4, 3.5, panels=2)
    for i, label in enumerate(labels):
        kind = look(i) | {"markevery": (8 + 5 * i, 40), "markeredgecolor": "white", "markeredgewidth": 0.5}
        left.plot(p, losses[i], label=label, **kind)
        right.plot(p, gradients[i], **kind)
    left.set(xlabel="probability p of the true class", ylabel="loss", xlim=(0, 1))
    right.set(xlabel="probability p of the true class", ylabel=r"size of the gradient, $|\partial\,loss/\partial z|$",
              xlim=(0, 1))
    shown = np.quantile(losses[np.isfinite(losses)], 0.985) if np.isfinite(losses).any() else 1.0
    left.set_ylim(min(0.0, float(np.nanmin(losses))), float(shown) * 1.05 or 1.0)
    right.set_ylim(0, None)
    left.set_title(f"Loss: {name}")
    right.set_title("Gradient on the true logit")
    if varied:
        legend_over([left, right], *left.get_legend_handles_labels())
    at = int(np.argmin(np.abs(p - 0.9)))
    text = f"{name}, at p = 0.9: " + "; ".join(
        f"{label}: loss {number(losses[i, at])}, gradient {number(gradients[i, at])} "
        f"(at p = 0.1: {number(losses[i, POINTS - 1 - at])}, {number(gradients[i, POINTS - 1 - at])})"
        for i, label in enumerate(labels)) + "."
    return Picture([left, right], {"p": p, "loss": losses, "gradient": gradients, "labels": labels}, text)


def _combinations(settings: dict[str, Any]) -> Any:
    values = [list(v) if isinstance(v, (list, tuple, np.ndarray)) else [v] for v in settings.values()]
    for chosen in itertools.product(*values):
        yield dict(zip(settings, chosen, strict=True))


def _evaluate(
    method: str | Callable[..., Tensor], counts: Tensor, target: int, p: np.ndarray, settings: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Loss and |d loss / d z_target| at every p."""
    k = len(counts)
    z = torch.tensor(np.log(p / (1 - p)) + np.log(k - 1), dtype=torch.float64, requires_grad=True)
    targets = torch.full((len(p),), target)
    others = torch.arange(k) == target
    logits = torch.where(others, z[:, None], torch.zeros((), dtype=torch.float64))
    losses = method(logits, targets, **settings) if callable(method) else _objective(
        method, counts, logits, targets, settings)
    if losses.shape != targets.shape:
        raise ValueError(f"the loss must give one value per example ({len(p)},), not {tuple(losses.shape)}; "
                         'ask it for reduction="none"')
    (gradient,) = torch.autograd.grad(losses.sum(), z)
    return losses.detach().numpy(), gradient.abs().numpy()


def _objective(key: str, counts: Tensor, logits: Tensor, targets: Tensor, settings: dict[str, Any]) -> Tensor:
    method = METHODS[key]
    objective = method.build(counts, **settings).double()
    head = objective.make_head(2)
    scale = getattr(head, "scale", None)
    features = torch.ones(len(logits), 2, dtype=logits.dtype)
    weight = torch.eye(logits.shape[1], 2, dtype=logits.dtype)
    out = Output(logits, features, weight, scale, torch.arange(len(logits)))
    try:
        losses = objective.losses(out, targets)
    except TypeError as error:
        raise ValueError(f"{key} has no loss of a single example to draw: {error}") from None
    return objective.class_weight.to(losses)[targets] * losses
