"""Any trained classifier as a run: its answers on images that a loader gives, its classifier, its features."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from . import check, metrics
from .check import to_array
from .files import checksum, request_id
from .run import Run, compact


def collect(
    model: nn.Module,
    loader: Iterable,
    *,
    head: str = "fc",
    counts: Any = None,
    class_names: Sequence[str] | None = None,
    name: str = "my model",
) -> Run:
    """Look at any classifier as a run: every plot and explorer takes the result.

    model        a torch module that maps a batch of images to logits (n, k); used on its device, in eval mode, and left
                 as it was
    loader       yields (images, targets) of test images; targets (n,) are whole numbers from 0 to k - 1
    head         the name of the classifier inside the model: a linear layer or the like, with `.weight` (k, d), whose
                 input are the features
    counts       (k,) training images of each class, as numbers or by class name; without it, those of the loader (then
                 it should be the training set)
    class_names  (k,) in the order of the logits; without them, "0", "1", ...
    Raises ValueError, naming the argument, where something does not fit.
    """
    check.instance("model", model, nn.Module, "a torch.nn.Module")
    check.text("name", name)
    layer = _find_head(model, head)
    z, features, y = _answers(model, layer, loader, head)
    n, k = z.shape
    weight, bias = to_array(layer.weight.float()), getattr(layer, "bias", None)
    if weight.shape != (k, features.shape[1]):
        raise ValueError(
            f"head={head!r}: its weight has shape {weight.shape}, but there are {k} logits and {features.shape[1]} "
            "features; name the layer that gives the logits"
        )
    names = _names(class_names, k)
    number = _counts(counts, y, names)
    bias = None if bias is None else to_array(bias.float())
    with np.errstate(invalid="ignore"):
        norm = np.bincount(y, np.linalg.norm(features, axis=1), k) / np.bincount(y, minlength=k)
    arrays = {"logits": z, "features": features, "targets": y, "counts": number, "weight": weight, "bias": bias}
    sums = {key: checksum(value) for key, value in arrays.items() if value is not None}
    return Run(
        method="collected",
        settings={},
        data={"name": "collected"},
        recipe={"name": ""},
        seed=0,
        counts=number,
        class_names=names,
        history={},
        confusion=metrics.confusion(y, z.argmax(1), k),
        head_weight=weight,
        head_bias=bias,
        class_feature_norm=norm.astype(np.float32),
        targets=y,
        logits=z,
        features=compact(features),
        ece=metrics.ece(metrics.probabilities(z, "softmax"), y),
        id=request_id(collected=sums, class_names=names, name=name),
        label=name,
    )


def _find_head(model: nn.Module, head: str) -> nn.Module:
    modules = dict(model.named_modules(remove_duplicate=False))
    layer = modules.get(head) if isinstance(head, str) else None
    weight = getattr(layer, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim != 2:
        linear = [n for n, m in modules.items() if isinstance(m, nn.Linear)]
        what = f"a {type(layer).__name__}" if layer is not None and head else "no module"
        raise ValueError(
            f"head={head!r} is {what} inside the model, not a classifier with a weight (k, d); its linear layers are: "
            f"{', '.join(map(repr, linear)) or 'none'}"
        )
    return layer


@contextmanager
def _looking(model: nn.Module) -> Iterator[None]:
    """The model in eval mode, without gradients; each module's own mode comes back afterwards, frozen ones included."""
    modes = {module: module.training for module in model.modules()}
    state = torch.get_rng_state()  # a DataLoader draws its seed from it
    try:
        for module in modes:  # by flag: train() and eval() of a module of one's own may do more
            module.training = False
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        torch.set_rng_state(state)


def _answers(
    model: nn.Module, layer: nn.Module, loader: Iterable, head: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits (n, k) and features (n, d) in float32, targets (n,) in int64, of all that the loader gives."""
    check.instance("loader", loader, Iterable, "batches of (images, targets), such as a torch DataLoader")
    seen: list[Tensor] = []
    hook = layer.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].detach().float().cpu()))
    logits, targets = [], []
    try:
        with _looking(model):
            for batch in loader:
                images, labels = _batch(batch)
                before = len(seen)
                found = model(images.to(layer.weight.device))
                logits.append(_logits(found, len(images)))
                targets.append(_targets(labels, logits[-1]))
                if len(seen) != before + 1:
                    raise ValueError(
                        f"head={head!r} ran {len(seen) - before} times in a batch, expected once; name the layer that "
                        "gives the logits"
                    )
                if not torch.isfinite(seen[-1]).all():
                    raise ValueError(f"model: the features that head={head!r} sees hold NaN or infinity")
                if seen[-1].ndim != 2:
                    raise ValueError(
                        f"head={head!r} sees features of shape {tuple(seen[-1].shape)}, expected (n, d), a row an image"
                    )
    finally:
        hook.remove()
    if not logits:
        raise ValueError("loader: it gave no batch; a generator can be used once, a DataLoader as often as you like")
    return torch.cat(logits).numpy(), torch.cat(seen).numpy(), torch.cat(targets).numpy()


def _batch(batch: Any) -> tuple[Tensor, Any]:
    expected = "batches of (images, targets), two things"
    if isinstance(batch, Mapping):
        raise ValueError(f"loader: expected {expected}, got a mapping with {', '.join(map(repr, batch))}; wrap it")
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        size = f" of {len(batch)}" if isinstance(batch, (tuple, list)) else ""
        raise ValueError(f"loader: expected {expected}, got a {type(batch).__name__}{size}; wrap it")
    images, labels = batch
    if not isinstance(images, Tensor) or images.ndim < 2 or not len(images):
        raise ValueError(f"loader: expected images as a tensor (n, ...) with n > 0, got {check.shown(images)}")
    return images, labels


def _logits(found: Any, n: int) -> Tensor:
    if not isinstance(found, Tensor):
        raise ValueError(
            f"model: expected logits (n, k) as a tensor, got a {type(found).__name__}; wrap it so that it returns the "
            "logits alone"
        )
    if found.ndim != 2 or len(found) != n or found.shape[1] < 2:
        raise ValueError(f"model: expected logits of shape ({n}, k) with k > 1, got {tuple(found.shape)}")
    found = found.float().cpu()
    if not torch.isfinite(found).all():
        raise ValueError("model: its logits hold NaN or infinity in float32; nothing can be read off such answers")
    return found


def _targets(labels: Any, logits: Tensor) -> Tensor:
    n, k = logits.shape
    expected = f"whole numbers (n,) from 0 to {k - 1}, one an image"
    if isinstance(labels, (list, tuple)) and any(isinstance(one, str) for one in labels):
        raise ValueError(f"loader: expected targets as {expected}, got texts such as {labels[0]!r}; number the classes")
    try:
        y = torch.as_tensor(labels).cpu()
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"loader: expected targets as {expected}, got {check.shown(labels)}") from None
    if y.shape != (n,):
        hint = "; one-hot rows become numbers by argmax(1)" if y.ndim == 2 and y.shape[1] == k else ""
        raise ValueError(f"loader: expected targets as {expected}, got the shape {tuple(y.shape)}{hint}")
    if y.dtype == torch.bool or y.dtype.is_complex or (y.dtype.is_floating_point and not torch.equal(y, y.round())):
        raise ValueError(f"loader: expected targets as {expected}, got {y.dtype}")
    y = y.long()
    if y.min() < 0 or y.max() >= k:
        wrong = int(y[(y < 0) | (y >= k)][0])
        raise ValueError(
            f"loader: expected targets as {expected}, got {wrong}; leave out images without a label, and number the "
            "classes as the logits do"
        )
    return y


def _names(class_names: Any, k: int) -> list[str]:
    if class_names is None:
        return [str(j) for j in range(k)]
    found = class_names.tolist() if hasattr(class_names, "tolist") else class_names
    names = list(found) if isinstance(found, (list, tuple)) or type(found).__name__ == "Index" else []
    if None in names or len(names) != k or len({str(one) for one in names}) != k:
        raise check.refuse("class_names", class_names, f"{k} different names, in the order of the logits")
    return [str(one) for one in names]


def _counts(counts: Any, targets: np.ndarray, names: list[str]) -> np.ndarray:
    k = len(names)
    if counts is None:
        return np.bincount(targets, minlength=k)
    expected = f"the training images of each of the {k} classes: whole numbers, none negative"
    if isinstance(counts, Mapping):  # a Counter of numbers or of names
        by_name = {str(key): value for key, value in counts.items()}
        strange = set(by_name) - set(names)
        if strange:
            raise ValueError(f"counts: {sorted(strange)[0]!r} is no class; expected {expected}, by class name")
        counts = [by_name.get(one, 0) for one in names]
    try:
        found = np.asarray(counts.cpu() if isinstance(counts, Tensor) else counts)
        whole = found.astype(np.float64)
    except (TypeError, ValueError, AttributeError):
        raise check.refuse("counts", counts, expected) from None
    if whole.shape != (k,) or found.dtype.kind not in "iuf" or not (whole >= 0).all() or not (whole < 2**53).all():
        raise check.refuse("counts", counts, expected)
    if (whole != np.round(whole)).any() or not whole.any():
        raise check.refuse("counts", counts, expected)
    return whole.astype(np.int64)
