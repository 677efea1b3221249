"""What a loss says about one image: its value and its gradient, against the probability of the true class."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from torch import Tensor, nn

from .. import check
from ..objective import Bound, Method
from ..own import as_method
from ..probe import probe
from .picture import EDGE, Picture, draws, get_axes, legend_over, look, number
from .series import LETTERS, class_counts
from .text import literal, short

POINTS = 201


@draws
def plot_loss_curve(
    method: Any,
    *,
    counts: Any = (100, 10),
    target: int = 0,
    ax: Sequence[Axes] | None = None,
    **settings: Any,
) -> Picture:
    """Loss of one image, and the size of its gradient, against the probability p of its true class.

    method: a key of METHODS, a function (logits (n, k), targets (n,), **settings) -> losses (n,), or whatever else
    ltviz.train takes. Any setting may be a list: one curve for each combination. counts (k,): training images of each
    class (or a data set), for losses that use them; target: the true class. The other classes share what is left, so
    the logit of the true class is z = log(p / (1 - p)) + log(k - 1) and theirs are 0 (of methods, ltviz.probe says what
    else). Class weights are included. Gradient: |d loss / d z|, by automatic differentiation. ax: two axes (loss,
    gradient).
    `.data`: p, loss, gradient, each (curves, points), NaN where a bounded logit cannot reach p; labels.

    Shows which images a loss listens to: easy (p near 1) or hard (p near 0). Cannot show what training makes of it, nor
    compare losses by height: each has its own scale.
    """
    plain = _of_logits(method, settings)
    if not plain:
        label = method.label if isinstance(method, Bound) else as_method(method).key
    n = class_counts(counts)
    if len(n) < 2:
        raise check.refuse("counts", counts, "the training images of at least two classes")
    target = check.whole("target", target, 0, len(n) - 1)
    chosen = list(_combinations(settings))
    name = short(getattr(method, "__name__", "loss") if plain else label, 40)
    follow = _follow if plain else _probe
    p, losses, gradients = _stack([follow(method, n, target, of) for of in chosen])
    varied = [key for key in settings if isinstance(settings[key], (list, tuple, np.ndarray))]
    labels = [short(", ".join(f"{key} = {_said(of[key])}" for key in varied) or name, LETTERS) for of in chosen]
    if not np.isfinite(losses).any():
        raise ValueError(f"method: the loss {name} is not finite for any p")
    panels = LossPanels(get_axes(ax, 8.4, 3.5, panels=2), f"Loss: {name}")
    for i, label in enumerate(labels):
        panels.add(label=label, markevery=(8 + 5 * i, 40), **EDGE, **look(i))
    panels.update(list(zip(p, losses, gradients, strict=True)))
    # Losses without an upper limit would press everything else to the floor.
    high, low = float(np.nanquantile(losses, 0.985)), min(0.0, float(np.nanmin(losses)))
    panels.limit((low, high + 0.05 * max(high - low, 1e-3)), (0, 1.08 * max(float(np.nanmax(gradients)), 1e-6)))
    if varied:
        legend_over(panels.axes, *panels.axes[0].get_legend_handles_labels())
    said = [
        f"{label + ': ' if varied else ''}{_at(losses[i], p[i], 0.1)} at p = 0.1 and {_at(losses[i], p[i], 0.9)} "
        f"at p = 0.9 (gradient {_at(gradients[i], p[i], 0.1)} and {_at(gradients[i], p[i], 0.9)})"
        for i, label in enumerate(labels)
    ]
    data = {"p": p, "loss": losses, "gradient": gradients, "labels": labels}
    return Picture(panels.axes, data, f"Loss of one image under {name}: " + "; ".join(said) + ".")


class LossPanels:
    """Two panels over the probability p of the true class, loss and size of the gradient, and the curves on them."""

    def __init__(self, axes: Sequence[Axes], title: str):
        self.axes = left, right = list(axes)
        left.set(ylabel="loss")
        right.set_ylabel(r"size of the gradient, $|\partial\,loss/\partial z|$", parse_math=True)
        for ax, text in ((left, title), (right, "Gradient on the true logit")):
            ax.set(xlabel="probability p of the true class", xlim=(0, 1))
            ax.set_title(text, **literal())
        self.curves: list[list[Line2D]] = []

    def add(self, **kind: Any) -> None:
        """A curve on both panels, empty as yet."""
        self.curves.append([ax.plot([], [], **kind)[0] for ax in self.axes])

    def update(self, found: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
        """p, loss and gradient (points,) of each curve, in the order in which the curves were added."""
        for lines, (p, *values) in zip(self.curves, found, strict=True):
            for line, y in zip(lines, values, strict=True):
                line.set_data(p, y)

    def limit(self, *limits: tuple[float, float]) -> None:
        """Lower and upper end of the axis of each panel; one that stays as it is costs nothing."""
        for ax, ends in zip(self.axes, limits, strict=True):
            if ax.get_ylim() != ends:
                ax.set_ylim(ends)


def _combinations(settings: dict[str, Any]) -> Iterator[dict[str, Any]]:
    values = [list(v) if isinstance(v, (list, tuple, np.ndarray)) else [v] for v in settings.values()]
    for name, several in zip(settings, values, strict=True):
        if not several:
            raise check.refuse(name, settings[name], "a value, or a list of values that is not empty")
    for chosen in itertools.product(*values):
        yield dict(zip(settings, chosen, strict=True))


def _said(value: Any) -> str:
    """A value of a setting in a legend: that of a base by its name."""
    if isinstance(value, (Method, Bound)):
        return value.key if isinstance(value, Method) else value.label
    return as_method(value).key if callable(value) else str(value)


def _of_logits(loss: Any, settings: dict[str, Any]) -> bool:
    """Whether it is a function of logits and targets alone. ValueError for one that has no such settings."""
    if not callable(loss) or isinstance(loss, (type, Method, Bound, nn.Module)):
        return False
    try:
        signature = inspect.signature(loss)
    except (TypeError, ValueError):  # a function of C has none
        return True
    if "counts" in signature.parameters or next(iter(signature.parameters), "") in ("out", "output"):
        return False
    try:
        signature.bind(None, None, **settings)
    except TypeError as error:
        expected = f"a function (logits, targets, **settings) that takes {', '.join(settings) or 'none'}; {error}"
        raise check.refuse("method", loss, expected) from None
    return True


def _probe(method: Any, counts: np.ndarray, target: int, settings: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """p, loss and gradient (points,) of a method."""
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
    losses = loss(
        torch.where(true, z[:, None], torch.zeros((), dtype=torch.float64)), torch.full((POINTS,), target), **settings
    )
    if not isinstance(losses, Tensor) or losses.shape != p.shape:
        given = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
        raise ValueError(
            f"method: the function must give one loss per image, ({POINTS},), not {given}; where it "
            'averages, ask it for reduction="none"'
        )
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
