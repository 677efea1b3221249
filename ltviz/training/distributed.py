"""One run on several processes, started by torchrun: each has the whole network, and takes a part of every batch.

All random draws come from the run's generators, so every process draws the same epoch, the same crops and masks. Each
reads, augments and normalises its part of a batch alone (of blended images also the partners), sends it through the
backbone, and receives the features of the others. Classifier and loss then see the whole batch in every process: a loss
over pairs, histograms or running counts computes what it computes in one process, and an epoch, a checkpoint and an id
mean the same on any number of them. BatchNorm takes the mean and variance of the whole batch. Gradients of the backbone
are added up by torch's DistributedDataParallel. Validation, test and training images are looked at in parts too.

Images in memory are there whole in every process: a batch takes any of them, and the padded copy is made once.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from contextlib import nullcontext
from inspect import signature
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from ..draws import own_draws
from .control import RunControl, Stopped

BEFORE = "broadcast_buffers"  # what torch before 2.13 calls it
HARMLESS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def count() -> int:
    """How many processes train together; 1 where torchrun has not started this one. Joins them at the first call."""
    if not dist.is_available():
        return 1
    if not dist.is_initialized():
        if not dist.is_torchelastic_launched() or int(os.environ.get("WORLD_SIZE", "1")) < 2:
            return 1
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
        atexit.register(lambda: dist.is_initialized() and dist.destroy_process_group())
    return dist.get_world_size()


def is_first() -> bool:
    """Whether this process is the one that writes files and tells of progress."""
    return count() == 1 or dist.get_rank() == 0


def wait() -> None:
    """Until every process has come this far."""
    if count() > 1:
        dist.barrier()


def agreed(answer: Callable[[], bool], device: torch.device) -> bool:
    """What the first process answers; the others do not ask."""
    if count() == 1:
        return answer()
    told = torch.tensor(float(answer()) if is_first() else 0.0, device=device)
    dist.broadcast(told, 0)
    return bool(told)


def check(control: RunControl | None, device: torch.device) -> None:
    """As `control.check()`. Raises Stopped in every process once one of them has been asked to stop."""
    if control is None:
        return
    if count() == 1:
        control.check()
        return
    stopped = torch.tensor(float(control.stopped), device=device)
    dist.all_reduce(stopped, dist.ReduceOp.MAX)
    if stopped:
        control.stop()
        raise Stopped


def sizes(n: int) -> list[int]:
    """How many of n rows, in their order, each process takes."""
    return [n // count() + (rank < n % count()) for rank in range(count())]


def share(n: int) -> range:
    """The rows, of n, that this process takes; of fewer than there are processes, an evaluation takes all of them."""
    if n < count():
        return range(n)
    first = sum(sizes(n)[: _rank()])
    return range(first, first + sizes(n)[_rank()])


def gathered(mine: Tensor, n: int) -> Tensor:
    """The rows (n, d) of all processes in their order, from those of `share(n)` here."""
    return mine if count() == 1 or n < count() else _Gather.apply(mine, sizes(n))


def images(batch: Callable[..., Tensor], index: Tensor, partner: Tensor | None = None, part: Any = None) -> Tensor:
    """The images (m, C, H, W) of a training batch that this process takes, blended with partners if they have some.

    batch(index, places): the images at these places in the batch of positions index (n,), all of them without places.
    partner (n,), part (): what `Objective.mix` gives.
    """
    if count() == 1:
        found = batch(index)
        others = None if partner is None else found[partner]
    else:
        mine = torch.arange(len(index), device=index.device).split(sizes(len(index)))[_rank()]
        needed = mine if partner is None else torch.cat([mine, partner[mine]])
        needed, where = needed.unique(return_inverse=True)  # each is read once
        found = batch(index, needed)[where]
        found, others = (found, None) if partner is None else (found[: len(mine)], found[len(mine) :])
    # share x_i + (1 - share) x_partner(i)
    return found if others is None else torch.lerp(others, found, part.to(found.dtype))


def features(backbone: nn.Module, images: Tensor, n: int) -> Tensor:
    """Features (n, d) of a whole batch, from the images of it that this process takes."""
    return backbone(images, n) if isinstance(backbone, Parts) else backbone(images)


def _rank() -> int:
    return dist.get_rank() if count() > 1 else 0


def spread(backbone: nn.Module, run: str, *, own: bool) -> nn.Module:
    """The backbone for training: itself in one process, else `Parts` of it.

    run: the id of the run; ValueError where another process asks for another one. own: whether it is the reader's code.
    """
    if count() == 1:
        return backbone
    ids: list[Any] = [None] * count()
    dist.all_gather_object(ids, run)
    if len(set(ids)) > 1:
        raise ValueError(
            f"the processes ask for different runs ({', '.join(map(str, ids))}): call every one with the same method, "
            "settings, data, seed and recipe"
        )
    for module in list(backbone.modules()):
        if type(module) in HARMLESS:
            module.__class__ = SharedBatchNorm
    return Parts(backbone, own)


class Parts(nn.Module):
    """Features (n, d) of a whole batch, of which each process computes those of its own images (m, C, H, W)."""

    def __init__(self, backbone: nn.Module, own: bool):
        super().__init__()
        trained = any(parameter.requires_grad for parameter in backbone.parameters())
        self.backbone = backbone
        if trained:
            usual = nn.parallel.DistributedDataParallel
            same = "forward_sync_buffers" if "forward_sync_buffers" in signature(usual).parameters else BEFORE
            # Buffers are the same everywhere already. Of a network of the reader's own, not every part need be used.
            self.backbone = usual(backbone, find_unused_parameters=own, **{same: False})
        self.draws = True

    def forward(self, mine: Tensor, n: int) -> Tensor:
        with self._draws(mine.device) as drawn:
            found = self.backbone(mine)
        self.draws = self.draws and drawn.drew
        return _Gather.apply(found, sizes(n))

    def _draws(self, device: torch.device) -> Any:
        """Dropout draws other masks in each process, from a seed that the run's own stream gives."""
        if not self.draws:
            return nullcontext()
        seed = int(torch.randint(2**62, ()))
        return own_draws(torch.Generator(device).manual_seed(seed + dist.get_rank()))


class _Gather(torch.autograd.Function):
    """The rows (n_r, d) of every process r, one below the other (n, d).

    Each process then computes the same loss from them. So the gradient of its own rows is that of the loss, times the
    number of processes, by which DistributedDataParallel divides.
    """

    @staticmethod
    def forward(ctx: Any, mine: Tensor, sizes: list[int]) -> Tensor:
        ctx.first, ctx.size = sum(sizes[: dist.get_rank()]), len(mine)
        padded = F.pad(mine, (0, 0, 0, max(sizes) - len(mine))).contiguous()  # all parts are sent at one size
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0][ctx.first : ctx.first + ctx.size] * dist.get_world_size(), None


class _Sum(torch.autograd.Function):
    """The sum over all processes; what depends on it in any of them gives it its gradient."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _Sum.forward(ctx, gradients[0].contiguous())


class SharedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """BatchNorm over the batch of all processes. (torch's own, SyncBatchNorm, needs GPUs.)"""

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        dims = [i for i in range(x.dim()) if i != 1]
        shape = [1, -1] + [1] * (x.dim() - 2)
        wide = x.float()  # (n, c, ...)
        here = torch.full((1,), float(x.numel() // x.shape[1]), device=x.device)
        sums = _Sum.apply(torch.cat([wide.sum(dims), here]))
        n = sums[-1].detach()
        mean = sums[:-1] / n
        centred = wide - mean.view(shape)
        variance = _Sum.apply(centred.square().sum(dims)) / n
        self._note(mean.detach(), variance.detach(), n)
        out = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        return out.to(x.dtype)

    @torch.no_grad()
    def _note(self, mean: Tensor, variance: Tensor, n: Tensor) -> None:
        """Move the running statistics (c,), as torch does: of the variance, the unbiased one."""
        if not self.track_running_stats:
            return
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean), share)
        self.running_var.lerp_((variance * n / (n - 1)).to(self.running_var), share)
