"""The training loop as it is usually written: the yardstick of `python -m tools.benchmark` and of its tests.

PIL transforms in a Dataset, torch's DataLoader, float32, one `.item()` or two in every step, an evaluation every epoch.
Same network, initial weights, optimiser settings and learning rates as ltviz's own loop, and on the same batches the
same numbers (tests/test_benchmark.py), so that a difference in time is a difference in how the loop is written.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from ltviz.datasets import LongTailed
from ltviz.methods import METHODS
from ltviz.models import make_net
from ltviz.training import Recipe


class Images(Dataset):
    """Images (n, H, W, C) uint8 with targets (n,): each one a PIL image, transformed when it is asked for."""

    def __init__(self, images: np.ndarray, targets: np.ndarray, transform):
        self.images, self.targets, self.transform = images, targets, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int):
        pixels = self.images[index]
        image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
        return self.transform(image), int(self.targets[index])


def loaders(
    data: LongTailed,
    batch_size: int,
    workers: int = 0,
    batches: Sequence[Sequence[int]] | None = None,
    pin: bool = False,
) -> tuple[DataLoader, DataLoader]:
    """Training and validation loader. batches: visit these, in no random order. pin: for copies to a GPU."""
    end = [transforms.ToTensor(), transforms.Normalize(data.mean.tolist(), data.std.tolist())]
    crop = [transforms.RandomCrop(data.images.shape[1], padding=data.pad)] if data.pad else []
    flip = [transforms.RandomHorizontalFlip()] if data.flip else []
    train = Images(data.images.numpy(), data.targets.numpy(), transforms.Compose(crop + flip + end))
    val = Images(data.val_images.numpy(), data.val_targets.numpy(), transforms.Compose(end))
    if batches is not None:
        return DataLoader(train, batch_sampler=batches, num_workers=workers), DataLoader(val, batch_size=256)
    alone = len(train) % batch_size == 1  # BatchNorm cannot learn from one image
    # fork: this file is no module that a fresh process could import.
    how = {"num_workers": workers, "pin_memory": pin, "multiprocessing_context": "fork" if workers else None}
    first = DataLoader(train, batch_size=batch_size, shuffle=True, drop_last=alone, **how)
    return first, DataLoader(val, batch_size=256, **how)


class ReferenceLoop:
    """Cross-entropy on long-tailed data, an epoch at a time."""

    def __init__(
        self, data: LongTailed, recipe: Recipe, seed: int = 0, workers: int = 0, batches=None, device: str = "cpu"
    ):
        self.data, self.recipe, self.epoch, self.device = data, recipe, 0, torch.device(device)
        pin = self.device.type == "cuda"
        self.train_loader, self.val_loader = loaders(data, recipe.batch_size, workers, batches, pin)
        objective = METHODS["ce"]().build(data.counts)
        self.net = make_net(recipe.model, data.shape, objective, torch.Generator().manual_seed(seed))
        self.net.to(self.device)
        self.optimizer = torch.optim.SGD(
            self.net.parameters(), lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
        )

    def run_epoch(self) -> tuple[float, float, float]:
        """Train one epoch: mean training loss, training accuracy, validation accuracy."""
        recipe, steps = self.recipe, len(self.train_loader)
        losses, right, seen = 0.0, 0.0, 0
        self.net.train()
        for step, (images, targets) in enumerate(self.train_loader):
            rate = recipe.learning_rate(self.epoch, step, steps, recipe.epochs)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            images, targets = self._moved(images, targets)
            logits = self.net(images).logits
            loss = F.cross_entropy(logits, targets)
            self.optimizer.zero_grad()
            loss.backward()
            if recipe.clip is not None:
                nn.utils.clip_grad_norm_(self.net.parameters(), recipe.clip)
            self.optimizer.step()
            losses += loss.item() * len(targets)
            right += (logits.argmax(1) == targets).sum().item()
            seen += len(targets)
        self.epoch += 1
        return losses / seen, right / seen, self.evaluate()

    def evaluate(self) -> float:
        """Accuracy on the validation set (NaN without one)."""
        right, seen = 0, 0
        self.net.eval()
        with torch.no_grad():
            for images, targets in self.val_loader:
                images, targets = self._moved(images, targets)
                right += (self.net(images).logits.argmax(1) == targets).sum().item()
                seen += len(targets)
        return right / seen if seen else float("nan")

    def _moved(self, *tensors: torch.Tensor) -> list[torch.Tensor]:
        return [tensor.to(self.device, non_blocking=True) for tensor in tensors]
