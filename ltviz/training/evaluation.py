"""What a network answers, on whole parts of the data, and what is kept of it: a row of the history, and the Run."""

from __future__ import annotations

import platform
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .. import metrics
from ..check import to_array
from ..draws import own_draws
from ..objective import Output
from ..own import source
from ..run import Run, compact, stopped_id
from ..samplers import images_per_class
from . import distributed

if TYPE_CHECKING:
    from .loop import Epoch, Trainer


@torch.no_grad()
def answers(
    trainer: Trainer, batch: Callable[[slice], Tensor], n: int, decide: bool = True
) -> tuple[Tensor | None, Tensor]:
    """Logits (n, k) and features (n, d) of the images that batch(slice) gives, in eval mode, in float32.

    Of several processes, which all call it, each looks at its share, and all have the whole. decide=False: no logits.
    """
    net, modes = trainer.net, {module: module.training for module in trainer.net.modules()}
    net.eval()
    logits, features = [], []
    size, rows = images_at_once(trainer.device, trainer.data.shape), distributed.share(n)
    try:
        # The reader's network may draw here, too; it then draws the same each time (in a graph, it cannot).
        drawing = trainer.request.network is not None and not trainer.speed.graph
        with own_draws(torch.Generator(trainer.device).manual_seed(0)) if drawing else nullcontext():
            for first in rows[::size]:
                images = batch(slice(first, min(first + size, rows.stop))).contiguous(memory_format=trainer.layout)
                with trainer.autocast:
                    found = net.backbone(images)
                features.append(found.float())
                if decide:
                    logits.append(net.decide(features[-1]).logits)
    finally:
        for module, mode in modes.items():
            module.training = mode
    whole = [distributed.gathered(torch.cat(part), n) if part else None for part in (logits, features)]
    return whole[0], whole[1]


def images_at_once(device: torch.device, shape: tuple[int, int, int]) -> int:
    """Images (C, H, W) that a network without gradients takes at once: a fixed rule, never a look at the memory.

    On a CPU at most 500, so that what a layer writes stays in the cache, and 250 of 32 x 32 pixels, so that looking at
    a test set takes no more memory than training; on a GPU 1,000. Of larger images as many fewer as they are larger:
    62 and 250 of 64 x 64, 5 and 20 of 224 x 224.
    """
    most, pixels = (1000, 1_024_000) if device.type == "cuda" else (500, 256_000)
    return max(min(most, pixels // (shape[1] * shape[2])), 1)


@torch.no_grad()
def make_run(trainer: Trainer, status: str) -> Run:
    """Look at the test set, once, and put the run together. status: "finished", "stopped" or "diverged"."""
    request, data, head, k = trainer.request, trainer.data, trainer.net.head, trainer.data.k
    train_features, train_targets = trainer.embed_training()
    logits, features = answers(trainer, data.test_batch, len(data.test_targets))
    if status != "diverged" and not torch.isfinite(logits).all():  # the last step did it, and no loss has shown it
        warn_diverged(trainer, "not finite any more")
        status = "diverged"
    diverged = status == "diverged"
    scores = None
    if not diverged:
        out = Output(logits, features, head.weight, getattr(head, "scale", None))
        gallery = lambda: (train_features, train_targets)  # noqa: E731
        scores = request.bound.decide(out, data.counts, gallery)
    decided = to_array(logits if scores is None else scores)
    targets = to_array(data.test_targets)
    probability = request.bound.probability
    scale, bias = getattr(head, "scale", None), getattr(head, "bias", None)
    network = {name: to_array(value) for name, value in trainer.net.state_dict().items()}
    run = Run(
        method=request.method.key,
        settings=request.settings,
        data=request.data_record,
        recipe=request.recipe_record,
        seed=request.seed,
        counts=to_array(data.counts),
        class_names=list(data.class_names),
        history=trainer.history,
        confusion=np.zeros((k, k), np.int64) if diverged else metrics.confusion(targets, decided.argmax(1), k),
        head_weight=to_array(head.weight),
        head_bias=None if bias is None else to_array(bias),
        scale=None if scale is None else float(torch.as_tensor(scale)),
        class_means=to_array(class_mean(train_features, train_targets, k)),
        class_feature_norm=to_array(class_mean(features.norm(dim=1, keepdim=True), data.test_targets, k)[:, 0]),
        targets=targets,
        logits=to_array(logits),
        scores=None if scores is None else to_array(scores),
        features=compact(to_array(features)),
        train_features=compact(to_array(train_features)),
        train_targets=to_array(train_targets),
        network=network,
        ece=float("nan") if diverged else metrics.ece(metrics.probabilities(decided, probability), targets),
        status=status,
        parent=request.start.id if request.start is not None else None,
        id=stopped_id(request.id, network) if status == "stopped" else request.id,
        label=request.label,
        probability=probability,
        provenance=provenance(trainer),
    )
    run.made_by = request.bound, request.network
    return run


def history_row(trainer: Trainer, epoch: Epoch) -> dict[str, Any]:
    """What an epoch leaves in the history: rate, loss terms, and per class (k,) norms and validation accuracy."""
    terms, feature_norm = trainer.tally.read(torch.cat(epoch.batches), trainer.data.targets)
    with torch.no_grad():
        weight_norm = trainer.net.head.weight.norm(dim=1)
    none = np.full(trainer.data.k, np.nan, np.float32)
    return {
        "epoch": trainer.epoch,
        "stage": epoch.stage,
        "lr": epoch.rates[-1],
        "loss": sum(terms.values()),
        **({f"term/{name}": value for name, value in terms.items()} if len(terms) > 1 else {}),
        "weight_norm": to_array(weight_norm),
        "feature_norm": feature_norm,
        "val_accuracy": none if trainer.accuracy is None else to_array(trainer.accuracy),
    }


def as_arrays(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Rows of a history as arrays, one entry a row; NaN where a row lacks one."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: np.array([row.get(name, np.nan) for row in rows]) for name in names}


def warn_diverged(trainer: Trainer, loss: float | str) -> None:
    """Warn that the run ends here because its loss, or what the network answers, is not finite."""
    recipe = trainer.recipe
    warnings.warn(
        f"{trainer.method.key}: the loss is {loss} after epoch {trainer.epoch} of {recipe.epochs}; the run stops here "
        f"and keeps its history. Try a milder setting, a smaller rate, such as lr={recipe.lr / 10:g} (now "
        f"{recipe.lr}), or a tighter clip, such as clip={(recipe.clip or 10.0) / 10:g} (now {recipe.clip}).",
        RuntimeWarning,
        stacklevel=4,
    )


def class_mean(values: Tensor, targets: Tensor, k: int) -> Tensor:
    """Mean of the rows of values (n, d) of each class (k, d); NaN for a class without rows."""
    total = torch.zeros(k, values.shape[1], device=values.device).index_add_(0, targets, values)
    return total / images_per_class(targets, k)[:, None]


def provenance(trainer: Trainer) -> dict[str, Any]:
    """Where, when and how a run was computed, and the call that gives it again."""
    device, text, code = trainer.device, source(trainer.request.bound), trainer.request.code
    return {
        "command": trainer.request.command,
        **({} if text is None else {"source": text}),
        **({} if code is None else {"code": code.text}),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": trainer.threads,
        **({} if distributed.count() == 1 else {"processes": distributed.count()}),
        "speed": str(trainer.speed),
        "shape": list(trainer.data.shape),
        "seconds": round(trainer.seconds, 3),
        "versions": versions(),
        "date": time.strftime("%Y-%m-%d"),
    }


def versions() -> dict[str, str]:
    """What a recorded figure should name: Python, ltviz, torch, numpy."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        own = version("ltviz")
    except PackageNotFoundError:
        own = "source"
    return {
        "python": platform.python_version(), "ltviz": own, "torch": torch.__version__, "numpy": np.__version__
    }  # fmt: skip
