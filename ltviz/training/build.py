"""What a run begins with: its streams of random numbers, its network, and what each stage trains from when on."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ..backbones import TorchvisionBackbone
from ..datasets import LongTailed
from ..models import OWN, Net, make_net
from ..objective import Objective, Stage
from ..run import Run
from .checkpoint import load_state
from .own_network import LOOKED_AT, check_rows, keep
from .recipe import Recipe
from .weights import Weights, put_weights

if TYPE_CHECKING:
    from .augmentation import Augmentation
    from .request import Request


def make_generators(seed: int, device: torch.device, augment: bool = False) -> dict[str, torch.Generator]:
    """One stream of random numbers for each purpose, so that a method that draws masks leaves the crops alone.

    augment: whether there is one for a transform of the reader's own, on the CPU, where such transforms draw.
    """
    state = np.random.SeedSequence(seed).generate_state(7)
    places = {"init": "cpu", "order": device, "crops": device, "masks": device, "network": device}
    places["construction"] = "cpu"  # modules draw values while they are made, which "init" then replaces
    if augment:
        places["augment"] = "cpu"
    return {
        name: torch.Generator(place).manual_seed(int(number))
        for (name, place), number in zip(places.items(), state, strict=False)
    }


def make_network(ask: Request, data: LongTailed, objective: Objective, generators: dict[str, torch.Generator]) -> Net:
    """The network of a request, on the CPU. What draws from torch's generator should draw from "construction" here."""
    rank = ask.rank
    if ask.network is None:
        net = make_net(ask.recipe.model, data.shape, objective, generators["init"])
        if ask.weights is not None:
            _put(net, ask.weights, rank)
        return net
    rows = torch.linspace(0, len(data) - 1, min(LOOKED_AT, len(data))).long()
    images = data.batch(rows.to(data.device)).cpu()
    images = images if data.has_pictures else images.flatten(1)
    return ask.network.build(images, objective, generators["init"], ask.weights, rank)


def training_images(
    data: LongTailed, generators: dict[str, torch.Generator], augment: Augmentation | None
) -> Callable[..., Tensor]:
    """A function that gives training images (n, C, H, W), augmented and normalised, for their numbers (n,).

    Its second argument, places (m,): of this batch the images at these places alone, after the draws of the whole one.
    """
    if augment is None:
        crops = generators["crops"]
        return lambda index, places=None: data.batch(index, crops, *([] if places is None else [places]))

    def transformed(index: Tensor, places: Tensor | None = None) -> Tensor:
        seeds = torch.randint(2**62, (len(index),), generator=generators["augment"])
        if places is not None:
            index, seeds = index[places], seeds[places.cpu()]
        return data.normalise(augment(data.pixels(index), seeds).to(data.device))

    return transformed


def _put(net: Net, weights: Weights, rank: Tensor | None) -> None:
    """Weights into a network that a name makes: a file of torchvision's, or one that such a network gave."""
    if isinstance(net.backbone, TorchvisionBackbone):
        found = put_weights(net.backbone.net, weights, net.backbone.last)
        net.kept = keep(net.head, found.get("weight"), found.get("bias"), rank)
        return
    found = put_weights(net, weights, "head").get("weight")
    net.kept = found is not None and found.shape == net.head.weight.shape
    if rank is not None and found is not None:
        check_rows(found, rank)
        state = {name: _rows(name, value, rank, "head_classes") for name, value in net.head.state_dict().items()}
        load_state(net.head, {name: value.clone() for name, value in state.items()})


def take_over(net: Net, start: Run, data: LongTailed, model: str, key: str) -> None:
    """Load the network of a run; its head too, where this one's has the same parameters, classes matched by name."""
    same = start.recipe["model"] == model or model.endswith(OWN) and start.recipe["model"].endswith(OWN)
    if start.k != data.k or not same:
        raise ValueError(
            f"start: {start.name!r} has {start.k} classes on {start.recipe['model']!r}, this run has {data.k} "
            f"on {model!r}; they must agree"
        )
    state = {name: torch.from_numpy(value) for name, value in start.network.items()}
    own = net.state_dict()
    names, before = list(data.class_names), list(start.class_names)
    if sorted(names) != sorted(before):
        strange = sorted(set(before) - set(names))[:3]
        raise ValueError(
            f"start: {start.name!r} knows classes that these data lack, such as {', '.join(map(repr, strange))}; its "
            "classifier would name others. Use data of the same classes"
        )
    body = [{n: tuple(v.shape) for n, v in s.items() if not n.startswith("head.")} for s in (state, own)]
    unlike = [n for n in sorted(body[0] | body[1]) if body[0].get(n) != body[1].get(n)]
    if unlike or not all(torch.isfinite(v).all() for v in state.values() if v.is_floating_point()):
        what = f"lacks {unlike[0]}" if unlike else "holds NaN or infinity"
        if unlike and unlike[0] in body[0]:
            here = body[1].get(unlike[0])
            what = f"has {unlike[0]} of shape {body[0][unlike[0]]}, here it has {here or 'no place'}"
        raise ValueError(f"start: the network of {start.name!r} {what}; pass a whole run from lt.train")
    shapes = [{n: v.shape for n, v in s.items() if n.startswith("head.")} for s in (state, own)]
    if shapes[0] != shapes[1]:
        warnings.warn(f"start: the head of {start.name!r} does not fit {key}; the head starts anew", stacklevel=5)
        state = {n: v for n, v in state.items() if not n.startswith("head.")}
    elif names != before:
        rank = torch.tensor([before.index(name) for name in names])
        state |= {n: _rows(n, v, rank) for n, v in state.items() if n.startswith("head.")}
    load_state(net, {**own, **state})


def _rows(name: str, value: Tensor, rank: Tensor, asked: str = "start") -> Tensor:
    """A head's parameter with its classes in another order: the rows of weight (k, d), bias (k,), memory (k, d).

    asked: by which argument, for the error.
    """
    k = len(rank)
    if k not in value.shape:
        return value
    if value.shape[0] != k or k in value.shape[1:]:
        raise ValueError(
            f"{asked}: the classes stand in another order here, and {name} of shape {tuple(value.shape)} does not say "
            "which axis they are on; use data with the same class order"
        )
    return value[rank]


def stage_starts(stages: tuple[Stage, ...], epochs: int) -> tuple[int, ...]:
    """The epoch at which each stage begins: shares of the whole, each stage at least one epoch."""
    starts = [round(sum(s.share for s in stages[:i]) * epochs) for i in range(len(stages))]
    if epochs < len(stages):
        raise ValueError(f"epochs={epochs}, but the method has {len(stages)} stages of at least one epoch each")
    for i in range(1, len(starts)):
        starts[i] = min(max(starts[i], starts[i - 1] + 1), epochs - len(starts) + i)
    return tuple(starts)


def parameter_groups(net: Net, objective: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """What a stage trains, with its weight decay: none on the parameters of a loss, and on those marked `no_decay`.

    Where some are marked `only_decay`, these alone are decayed.
    """
    trained = [p for p in net.parameters() if p.requires_grad]
    decay = [p for p in trained if getattr(p, "only_decay", False)]
    decay = decay or [p for p in trained if not getattr(p, "no_decay", False)]
    plain = [p for p in trained if not any(p is other for other in decay)]
    plain += [p for p in objective.parameters() if p.requires_grad]
    groups = [{"params": decay, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    if not groups:
        raise ValueError("there is nothing to train: every parameter of this stage is frozen")
    return groups
