"""The classifier inside a network: which layer gives the logits, from which features, and in which form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .check import to_array

EXACT = 1e-3  # how far, of the spread of the logits, W f + b may lie from them
HALF = 3e-2  # the same where numbers have been in half precision


class Head(NamedTuple):
    """A classifier: z = W f + b, or with a scale s, z = s cos(f, W). length: of the features that it sees, if fixed."""

    weight: np.ndarray
    bias: np.ndarray | None = None
    scale: float | None = None
    length: float | None = None

    def sees(self, features: np.ndarray) -> np.ndarray:
        """Features (n, d) as the classifier uses them."""
        return features if self.length is None else np.float32(self.length) * _unit(features)

    def gives(self, z: np.ndarray, f: np.ndarray, near: float) -> bool:
        """Whether it gives logits z (n, k) of features f (n, d), to `near` times the spread of the logits.

        A constant that all logits of a row share does not count, since no answer or probability depends on it.
        """
        if self.scale is None:
            own = self.sees(f) @ self.weight.T + (0.0 if self.bias is None else self.bias)
        else:
            own = self.scale * _unit(f) @ _unit(self.weight).T
        size = float(np.linalg.norm(f, axis=1).max(initial=0.0) * np.linalg.norm(self.weight, axis=1).max(initial=0.0))
        limit = near * float(np.ptp(_centred(z))) + 1e-6 * size  # the digits that float32 has for the sum
        return bool(np.abs(_centred(own) - _centred(z)).max() <= limit)


def fit_head(z: np.ndarray, f: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, near: float) -> Head | None:
    """The classifier that gives logits z (n, k) of features f (n, d): W f + b, or with f, W or both normalised.

    near: see `Head.gives`. The scale of a normalised one is read off by least squares. None where no form fits.
    """
    if (head := Head(weight, bias)).gives(z, f, near):
        return head
    rest = _centred(z if bias is None else z - bias)
    for of_feature, of_weight in ((True, True), (True, False), (False, True)):
        w = _unit(weight) if of_weight else weight
        raw = _centred((_unit(f) if of_feature else f) @ w.T)
        power = float((raw**2).sum())
        scale = float((raw * rest).sum()) / power if power > 0 else 0.0
        if not scale > 0:
            continue
        if not of_feature:
            head = Head(np.float32(scale) * w, bias)
        elif of_weight and bias is None:
            head = Head(weight, None, scale)
        else:
            head = Head(w, bias, None, scale)
        if head.gives(z, f, near):
            return head
    return None


def _centred(rows: np.ndarray) -> np.ndarray:
    return rows - rows.mean(1, keepdims=True)


def _unit(rows: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(rows.astype(np.float32), axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1.0)


# ------------------------------------------------------------------------------------------------- in a network
@dataclass
class Seen:
    """What a module was given, and what it gave, each time that it ran."""

    inputs: list[Tensor | None] = field(default_factory=list)
    outputs: list[Tensor | None] = field(default_factory=list)


@contextmanager
def watching(modules: Iterable[nn.Module]) -> Iterator[dict[nn.Module, Seen]]:
    """Records the inputs and outputs of these modules; nothing of it is left on them afterwards."""
    seen = {module: Seen() for module in modules}

    def note(module: nn.Module, args: tuple, kwargs: dict, output: object) -> None:
        given = next((one for one in (*args, *kwargs.values()) if isinstance(one, Tensor)), None)
        seen[module].inputs.append(given)
        seen[module].outputs.append(output if isinstance(output, Tensor) else None)

    hooks = []
    try:
        for module in seen:
            hooks.append(module.register_forward_hook(note, with_kwargs=True))
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def matrix(module: nn.Module) -> tuple[int, ...] | None:
    """(k, d) of a module whose weight is a matrix, or that of a 1x1 convolution; None for any other."""
    weight = getattr(module, "weight", None)
    if isinstance(module, torch.jit.ScriptModule):  # it cannot be watched
        return None
    if not isinstance(weight, Tensor) or weight.ndim < 2 or weight.shape[2:].numel() != 1:
        return None
    return tuple(weight.shape[:2]) if getattr(module, "groups", 1) == 1 else None


def finite(values: Tensor) -> bool:
    """Whether all are finite, without a copy of their size."""
    return all(bool(torch.isfinite(end)) for end in values.aminmax())


class Layer(NamedTuple):
    """A layer that may be the classifier, under its name."""

    name: str
    module: nn.Module

    def says(self, error: object) -> str:
        """A sentence's beginning: what the layer does, or why it is none."""
        if self.name:
            return f"{self.name!r} {error}"
        if isinstance(self.module, (nn.Linear, nn.Conv2d)):
            return f"the model itself {error}"
        return (
            f"the model itself holds a weight {tuple(self.module.weight.shape)}, but is no layer whose input are the "
            "features; put the classifier into a module of its own"
        )

    def reads(self, seen: Seen) -> Tensor:
        """The features (n, d) that it saw, pooled over places where it is a convolution or runs on each of them.

        ValueError, in words that go on from the layer's name, where it saw none or several.
        """
        if len(seen.inputs) != 1:
            raise ValueError(f"ran {len(seen.inputs)} times in a batch, expected once")
        found, d = seen.inputs[0], matrix(self.module)[1]
        if found is not None and found.ndim > 2 and self.module.weight.ndim > 2 and found.shape[1] == d:
            found = found.flatten(2).mean(2)  # (n, d, height, width)
        elif found is not None and found.ndim > 2 and found.shape[-1] == d:
            found = found.flatten(1, -2).mean(1)  # (n, places, d)
        if found is None or found.ndim != 2 or found.shape[1] != d or not found.is_floating_point():
            shape = None if found is None else tuple(found.shape)
            raise ValueError(f"sees features of shape {shape}, expected (n, {d}), a row an image")
        if not finite(found):
            raise ValueError("sees features that hold NaN or infinity")
        return found

    def fits(self, seen: Seen, logits: Tensor, known: Head | None = None, most: int = 256) -> tuple[Head, Tensor]:
        """The classifier and its features (n, d), where it gives these logits (n, k). ValueError says what it does.

        known: the form that it had in another batch. most: images that are compared.
        """
        weight, bias = self.module.weight, getattr(self.module, "bias", None)
        if weight.shape[0] != logits.shape[1]:
            raise ValueError(
                f"is a hidden layer: its weight has shape {tuple(weight.shape)}, but there are {logits.shape[1]} logits"
            )
        features, z = self.reads(seen), logits
        f = features
        if len(f) != len(z):
            raise ValueError(f"sees features of shape {tuple(f.shape)}, but there are logits of {len(z)} images")
        half = any(one.dtype in (torch.float16, torch.bfloat16) for one in (f, z, weight))
        w = to_array(weight.flatten(1).float())
        b = to_array(bias.float()) if isinstance(bias, Tensor) and bias.shape == (len(w),) else None
        rows = np.linspace(0, len(z) - 1, min(len(z), most)).astype(np.int64)
        z, f = (to_array(one[torch.from_numpy(rows).to(one.device)].float()) for one in (z, f))
        near = HALF if half else EXACT
        head = fit_head(z, f, w, b, near) if known is None else known
        if head is None or (known is not None and not known.gives(z, f, near)):
            raise ValueError(self._why(w, b, f, z))
        return head, features

    def _why(self, w: np.ndarray, b: np.ndarray | None, f: np.ndarray, z: np.ndarray) -> str:
        """What is done to its output before it becomes the logits."""
        own = f @ w.T + (0.0 if b is None else b)
        if np.allclose(np.maximum(own, 0.0), z, atol=EXACT * np.ptp(z)):
            return "is followed by a ReLU, so its output W f + b is not the logits"
        with np.errstate(over="ignore"):
            if np.allclose(1.0 / (1.0 + np.exp(-own)), z, atol=EXACT):
                return "is followed by a sigmoid, so its output W f + b is not the logits"
        power = float((own**2).sum())
        factor = float((own * z).sum()) / power if power > 0 else 0.0
        if factor and np.abs(factor * own - z).max() <= EXACT * np.ptp(z):
            return f"is followed by a temperature: the logits are {factor:.4g} (W f + b)"
        return "gives W f + b (or a scale times a cosine), which is not the logits: its output is changed afterwards"


def layers(model: nn.Module, named: str | None, sizes: Iterable[int]) -> list[Layer]:
    """The layers that may be the classifier, in the order of the model. sizes: how many logits there may be.

    named: one of them, or a part of the model that holds it. ValueError where there is no such one.
    """
    if named is None:
        known = [Layer(name, module) for name, module in model.named_modules()]
        return [one for one in known if (shape := matrix(one.module)) and shape[0] in set(sizes)]
    modules = dict(model.named_modules(remove_duplicate=False))
    module = modules.get(named) if isinstance(named, str) else None
    if module is not None and matrix(module):
        return [Layer(named, module)]
    inside = layers(module, None, sizes) if module is not None and named and not hasattr(module, "weight") else []
    if not inside:
        linear = [name for name, one in modules.items() if isinstance(one, nn.Linear)]
        what = "no module" if module is None else f"a {type(module).__name__}"
        raise ValueError(
            f"head={named!r} is {what} inside the model, not a classifier with a weight (k, d); its linear layers are: "
            f"{', '.join(map(repr, linear)) or 'none'}"
        )
    return [Layer(f"{named}.{one.name}", one.module) for one in inside]
