"""What a network answers, on whole parts of the data, and the Run that is made of it at the end."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .. import metrics
from ..objective import Output
from ..run import Run, compact, stopped_id, to_array
from ..samplers import class_counts

if TYPE_CHECKING:
    from .loop import Trainer


@torch.no_grad()
def answers(trainer: Trainer, batch: Callable[[slice], Tensor], n: int) -> tuple[Tensor, Tensor]:
    """Logits (n, k) and features (n, d) of the images that batch(slice) gives, in eval mode, in float32."""
    net, mode = trainer.net, trainer.net.training
    net.eval()
    logits, features = [], []
    size = 2500 if trainer.device.type == "cuda" else 500
    for first in range(0, n, size):
        images = batch(slice(first, min(first + size, n))).contiguous(memory_format=trainer.layout)
        with trainer.autocast:
            found = net.backbone(images)
        out = net.decide(found.float())
        logits.append(out.logits)
        features.append(out.features)
    net.train(mode)
    return torch.cat(logits), torch.cat(features)


@torch.no_grad()
def make_run(trainer: Trainer, status: str) -> Run:
    """Look at the test set, once, and put the run together. status: "finished", "stopped" or "diverged"."""
    request, data, head, k = trainer.request, trainer.data, trainer.net.head, trainer.data.k
    train_features, train_targets = trainer.embed_training()
    logits, features = answers(trainer, data.test_batch, len(data.test_targets))
    if status != "diverged" and not torch.isfinite(logits).all():  # the last step did it, and no loss has shown it
        trainer.say_diverged("not finite any more")
        status = "diverged"
    diverged = status == "diverged"
    scores = None
    if not diverged:
        out = Output(logits, features, head.weight, getattr(head, "scale", None))
        gallery = lambda: (train_features, train_targets)  # noqa: E731
        scores = request.method.decide(out, data.counts.to(trainer.device), gallery, **request.settings)
    decided = to_array(logits if scores is None else scores)
    targets = to_array(data.test_targets)
    probability = request.method.probability_of(**request.settings)
    scale, bias = getattr(head, "scale", None), getattr(head, "bias", None)
    network = {name: to_array(value) for name, value in trainer.net.state_dict().items()}
    return Run(
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


def class_mean(values: Tensor, targets: Tensor, k: int) -> Tensor:
    """Mean of the rows of values (n, d) of each class (k, d); NaN for a class without rows."""
    total = torch.zeros(k, values.shape[1], device=values.device).index_add_(0, targets, values)
    return total / class_counts(targets, k)[:, None]


def provenance(trainer: Trainer) -> dict[str, Any]:
    """Where, when and how a run was computed, and the call that gives it again."""
    device = trainer.device
    return {
        "command": trainer.request.command,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": trainer.threads,
        "speed": str(trainer.speed),
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
