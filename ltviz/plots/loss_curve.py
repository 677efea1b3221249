"""What a loss says about one image: its value and its gradient, against the probability of the true class."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from .. import check
from ..methods import METHODS
from ..probe import probe
from .picture import Picture, draws, get_axes, legend_over, look, number
from .series import LETTERS, class_counts
from .text import literal, short

POINTS = 201


@draws
def plot_loss_curve(
    method: str | Callable[..., Tensor],
    *,
    counts: Any = (100, 10),
    target: int = 0,
    ax: Sequence[Axes] | None = None,
    **settings: Any,
) -> Picture:
    """Loss of one image, and the size of its gradient, against the probability p of its true class.

    method: a key of METHODS, or a function (logits (n, k), targets (n,), **settings) -> losses (n,). Any setting may be
    a list: one curve for each combination. counts (k,): training images of each class (or a data set), for losses that
    use them; target: the true class. The other classes share what is left, so the logit of the true class is
    z = log(p / (1 - p)) + log(k - 1) and theirs are 0 (of methods, ltviz.probe says what else). Class weights are
    included. Gradient: |d loss / d z|, by automatic differentiation. ax: two axes (loss, gradient).
    `.data`: p, loss, gradient, each (curves, points), NaN where a bounded logit cannot reach p; labels.

    Shows which images a loss listens to: easy (p near 1) or hard (p near 0). Cannot show what training makes of it, nor
    compare losses by height: each has its own scale.
    """
    if callable(method):
        _takes(method, settings)
    else:
        METHODS[method]  # an unknown one is refused, with the nearest that is known
    n = class_counts(counts)
    if len(n) < 2:
        raise check.refuse("counts", counts, "the training images of at least two classes")
    target = check.whole("target", target, 0, len(n) - 1)
    chosen = list(_combinations(settings))
    name = method if isinstance(method, str) else short(getattr(method, "__name__", "loss"), 40)
    follow = _follow if callable(method) else _probe
    p, losses, gradients = _stack([follow(method, n, target, of) for of in chosen])
    varied = [key for key in settings if isinstance(settings[key], (list, tuple, np.ndarray))]
    labels = [short(", ".join(f"{key} = {of[key]}" for key in varied) or name, LETTERS) for of in chosen]
    left, right = get_axes(ax, 8.4, 3.5, panels=2)
    for i, label in enumerate(labels):
        kind = look(i) | {"markevery": (8 + 5 * i, 40), "markeredgecolor": "white", "markeredgewidth": 0.5}
        left.plot(p[i], losses[i], label=label, **kind)
        right.plot(p[i], gradients[i], **kind)
    left.set(xlabel="probability p of the true class", ylabel="loss", xlim=(0, 1))
    right.set(xlabel="probability p of the true class", xlim=(0, 1))
    right.set_ylabel(r"size of the gradient, $|\partial\,loss/\partial z|$", parse_math=True)
    # Losses without an upper limit would press everything else to the floor.
    if not np.isfinite(losses).any():
        raise ValueError(f"method: the loss {name} is not finite for any p")
    high, low = np.nanquantile(losses, 0.985), min(0.0, float(np.nanmin(losses)))
    left.set_ylim(low, float(high) + 0.05 * max(float(high) - low, 1e-3))
    right.set_ylim(0, 1.08 * max(float(np.nanmax(gradients)), 1e-6))
    for ax, title in ((left, f"Loss: {name}"), (right, "Gradient on the true logit")):
        ax.set_title(title, **literal())
    if varied:
        legend_over([left, right], *left.get_legend_handles_labels())
    said = [f"{label + ': ' if varied else ''}{_at(losses[i], p[i], 0.1)} at p = 0.1 and {_at(losses[i], p[i], 0.9)} "
            f"at p = 0.9 (gradient {_at(gradients[i], p[i], 0.1)} and {_at(gradients[i], p[i], 0.9)})"
            for i, label in enumerate(labels)]
    data = {"p": p, "loss": losses, "gradient": gradients, "labels": labels}
    return Picture([left, right], data, f"Loss of one image under {name}: " + "; ".join(said) + ".")


def _combinations(settings: dict[str, Any]) -> Iterator[dict[str, Any]]:
    values = [list(v) if isinstance(v, (list, tuple, np.ndarray)) else [v] for v in settings.values()]
    for name, several in zip(settings, values, strict=True):
        if not several:
            raise check.refuse(name, settings[name], "a value, or a list of values that is not empty")
    for chosen in itertools.product(*values):
        yield dict(zip(settings, chosen, strict=True))


def _takes(loss: Callable[..., Tensor], settings: dict[str, Any]) -> None:
    """ValueError where the function has no such settings."""
    try:
        signature = inspect.signature(loss)
    except (TypeError, ValueError):  # a function of C has none
        return
    try:
        signature.bind(None, None, **settings)
    except TypeError as error:
        expected = f"a function (logits, targets, **settings) that takes {', '.join(settings) or 'none'}; {error}"
        raise check.refuse("method", loss, expected) from None


def _probe(method: str, counts: np.ndarray, target: int, settings: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """p, loss and gradient (points,) of a method of METHODS."""
    found = probe(method, torch.as_tensor(counts), target, points=POINTS, settings=settings)
    return tuple(values.detach().numpy() for values in (found.p, found.loss, found.gradient))


def _follow(
    loss: Callable[..., Tensor], counts: np.ndarray, target: int, settings: dict[str, Any]
) -> tuple[np.ndarray, ...]:
    """p, loss and gradient (points,) of a function of logits and targets."""
    k = len(counts)
    p = torch.linspace(0.003, 0.997, POINTS, dtype=torch.float64)
    z = (torch.logit(p) + np.log(k - 1)).requires_grad_()
    true = torch.arange(k) == target
    losses = loss(torch.where(true, z[:, None], torch.zeros((), dtype=torch.float64)), torch.full((POINTS,), target),
                  **settings)
    if not isinstance(losses, Tensor) or losses.shape != p.shape:
        given = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
        raise ValueError(f"method: the function must give one loss per image, ({POINTS},), not {given}; where it "
                         'averages, ask it for reduction="none"')
    (gradient,) = torch.autograd.grad(losses.sum(), z)
    return p.numpy(), losses.detach().numpy(), gradient.abs().numpy()


def _stack(curves: list[tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
    """Curves of unequal length as three arrays (curves, points), filled up with NaN."""
    longest = max(len(curve[0]) for curve in curves)
    return tuple(
        np.array([np.pad(row, (0, longest - len(row)), constant_values=np.nan) for row in rows])
        for rows in zip(*curves, strict=True)
    )


def _at(values: np.ndarray, p: np.ndarray, where: float) -> str:
    known = ~np.isnan(p)
    if not p[known].min() <= where <= p[known].max():
        return "not reached"
    return number(float(np.interp(where, p[known], values[known])))
