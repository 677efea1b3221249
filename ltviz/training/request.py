"""What a run was asked for: checked once, and turned into an id that says everything that can change the result."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import check
from ..datasets import LOADERS, LongTailed, check_long_tailed
from ..device import Speed, default_speed, pick_device, plain_torch
from ..draws import own_draws
from ..files import request_id
from ..models import OWN, Net
from ..naming import Code
from ..objective import Bound, Method
from ..own import as_method, bind, described, spell, spell_settings
from ..run import Run, checksums
from . import distributed
from .augmentation import Augmentation, as_augmentation
from .build import make_generators, make_network
from .own_network import OwnNetwork, as_network, state_digest, untrained
from .recipe import RECIPES, Recipe, make_recipe
from .weights import Weights, read_weights

# What belongs to a machine or can be read off the rest: no part of how data are made.
_NOT_SPEC = ("root", "download")


@dataclass(frozen=True)
class Request:
    """A run that is asked for: `make_request` checks it, `Trainer` trains it, `id` names it.

    Id and records are those of the moment when it was asked for; `check_data` says whether the data are still the same.
    """

    bound: Bound
    data: LongTailed
    recipe: Recipe
    seed: int
    start: Run | None
    device: torch.device
    speed: Speed
    network: OwnNetwork | None = None  # what makes a network of the reader's own; None: the recipe's model does
    weights: Weights | None = None
    augment: Augmentation | None = None
    made: str | None = None  # a hash of the weights that a factory of the reader's own has made
    head_classes: tuple[str, ...] | None = None  # of the rows of the classifier that comes with network or weights

    @property
    def method(self) -> Method:
        return self.bound.method

    @property
    def settings(self) -> dict[str, Any]:
        return dict(self.bound.settings)

    @property
    def rank(self) -> torch.Tensor | None:
        """The row (k,) of the classifier that comes along for each class of the data; None: in their order."""
        if self.head_classes is None:
            return None
        return torch.tensor([self.head_classes.index(name) for name in self.data.class_names])

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What the data were when the run was asked for."""
        return self.data.identity

    def check_data(self, data: LongTailed) -> None:
        """Raise ValueError where the data (on any device) are not those that the run was asked for, and is named by."""
        now = data.identity
        changed = [name for name, value in self.identity.items() if now[name] != value]
        if changed:
            what = "images or targets" if changed[0] == "fingerprint" else changed[0]
            raise ValueError(f"data: {what} changed after this run was asked for; ask for it again, or edit a copy")

    @cached_property
    def data_record(self) -> dict[str, Any]:
        """How the data were made and what they are, JSON-able: the loader's arguments, fingerprint, augmentation."""
        spec = {name: value for name, value in self.data.spec.items() if name not in _NOT_SPEC}
        content = {name: value for name, value in self.identity.items() if name != "class_names"}
        return {**spec, "name": self.data.name, **content}

    @cached_property
    def recipe_record(self) -> dict[str, Any]:
        """How the network was trained, JSON-able; weights and augmentation, where they were given, by name."""
        given = {"weights": self.weights, "augment": self.augment}
        order = {} if self.head_classes is None else {"head_classes": list(self.head_classes)}
        return _record(self.recipe) | {name: one.name for name, one in given.items() if one is not None} | order

    @cached_property
    def effective(self) -> tuple[Recipe, Speed]:
        """Recipe and speed in one spelling: what has no effect on this run's result is left at its default."""
        recipe, speed, mlp = self.recipe.effective(), self.speed, self.recipe.model.partition(":")[0] == "mlp"
        if mlp or all(stage.train != "head" for stage in self.bound.stages):
            recipe = dataclasses.replace(recipe, move_statistics=False)  # no statistics, or no frozen backbone
        # Images are flattened before anything is computed, and cuDNN computes convolutions on a GPU.
        without = {"channels_last": mlp, "probe": mlp or self.device.type != "cuda"}
        speed = dataclasses.replace(speed, **{name: False for name, idle in without.items() if idle})
        return recipe, speed

    @cached_property
    def code(self) -> Code | None:
        """What the reader's own loss, network, weights and transform were when the run was asked for; None without."""
        loss = described(self.bound)
        others = {"model": self.network, "augment": self.augment}
        found = {name: one.code for name, one in others.items() if one is not None}
        if not found and self.weights is None:
            return loss
        found |= {} if loss is None else {"loss": loss}
        digest = {} if self.weights is None else {"weights": self.weights.digest}
        if self.head_classes not in (None, tuple(self.identity["class_names"])):  # else its rows stay where they are
            digest["head_classes"] = self.head_classes
        text = request_id(**{name: one.text for name, one in found.items()}, **digest)
        return Code(text, all(one.whole for one in found.values()))

    @property
    def label(self) -> str:
        return self.bound.label

    @cached_property
    def id(self) -> str:
        recipe, speed = self.effective
        start = None if self.start is None else request_id(id=self.start.id, network=checksums(self.start.network))
        crops = {} if self.augment is None else {"pad": 0, "flip": False}  # another transform takes their place
        code = None if self.code is None else self.code.unique
        if self.made is not None:
            code = request_id(code=code, made=self.made)
        return run_id(
            self.method.key, self.settings, self.data_record | crops, self.identity["class_names"], _record(recipe),
            self.seed, start, self.device.type, str(speed), code,
        )  # fmt: skip

    @property
    def command(self) -> str:
        """The call that gives this run again, as Python."""
        named, mine = RECIPES.get(self.recipe.name), _record(self.recipe)
        known = {**{f.name: f.default for f in dataclasses.fields(Recipe)}, **(_record(named) if named else {})}
        first = ("epochs", "model", *mine)  # of all fields
        changed = {name: repr(mine[name]) for name in first if name != "name" and mine[name] != known.get(name)}
        if self.network is not None:
            changed["model"] = self.network.name.removesuffix(OWN)
        changed |= {} if self.weights is None else {"weights": repr(self.weights.name)}
        changed |= {} if self.head_classes is None else {"head_classes": repr(list(self.head_classes))}
        changed |= {} if self.augment is None else {"augment": self.augment.name}
        changed |= spell_settings(self.bound)
        made = {n: v for n, v in self.data_record.items() if n not in ("loader", "name", *self.data.identity)}
        made |= {n: v for n, v in self.data.spec.items() if n in self.data.identity}  # an argument of that name
        data = f"lt.{self.data.spec['loader']}({keywords(made)})" if self.data.spec.get("loader") in LOADERS else "data"
        asked = [spell(self.method), data, keywords({"recipe": self.recipe.name, "seed": self.seed})]
        asked += [f"{name}={text}" for name, text in changed.items()]
        return f"lt.train({', '.join(asked + (['start=run'] if self.start is not None else []))})"


def _record(recipe: Recipe) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(recipe).items() if name != "data"}


def run_id(
    method: str, settings: Mapping, data: Mapping, class_names: Any, recipe: Mapping, seed: int, parent: str | None,
    device: str, speed: str, code: str | None = None,
) -> str:  # fmt: skip
    """The id of a run, from what its record keeps of the request, recipe and speed in one spelling (`effective`).

    Of the data, what they are counts, not how they were made.
    """
    content = {name: data[name] for name in ("fingerprint", "mean", "std", "pad", "flip")}
    return request_id(
        method=method, settings=settings, data={**content, "class_names": list(class_names)},
        recipe={name: value for name, value in recipe.items() if name != "name"}, seed=seed, parent=parent,
        device=device, speed=speed, **({} if code is None else {"code": code}),
    )  # fmt: skip


def keywords(values: Mapping[str, Any]) -> str:
    """The arguments of a call: "ratio=50, seed=0"."""
    return ", ".join(f"{name}={value!r}" for name, value in values.items())


def make_request(
    method: Any,
    data: LongTailed,
    *,
    epochs: int | None = None,
    seed: int = 0,
    model: Any = None,
    recipe: str | Recipe | None = None,
    start: Run | None = None,
    device: str | None = None,
    speed: Speed | None = None,
    weights: Any = None,
    augment: Any = None,
    head_classes: Any = None,
    **settings: Any,
) -> Request:
    """Check the arguments of `train`. Raises ValueError, naming the argument, for what makes no sense."""
    check_torch()
    record = method.method if isinstance(method, Bound) else as_method(method)
    check_long_tailed(data)
    fields = {name: settings.pop(name) for name in FIELDS if name in settings and name not in record.settings}
    _check_names(record, settings)
    bound = bind(method if isinstance(method, Bound) else record, settings)
    if bound.needs_validation and not data.has_validation:
        raise ValueError(
            f"{record.key} listens to the accuracy on a validation set, and {data.name} has none. Load the "
            "data with validation=None (the default); the test set is never used for this."
        )
    network = as_network(model)
    if start is not None:
        _check_start(start, weights)
        network = network if network is not None else start.recipe["model"]
    if speed is not None:
        check.instance("speed", speed, Speed, "an ltviz.device.Speed, or None for the fastest")
    own = network if isinstance(network, OwnNetwork) else None
    plan = make_recipe(recipe, data, epochs=epochs, model=network if own is None else own.name)
    plan = dataclasses.replace(plan, **fields)
    if own is None and plan.model.endswith(OWN):
        raise ValueError(f"model: {plan.model!r} is a network of your own; pass it again, model=..., or what makes it")
    if network is None and recipe is None and weights is None:
        _advise(data)
    where, transform = pick_device(device), as_augmentation(augment)
    if transform is not None:
        transform.try_out(data)
    how = speed or default_speed(where, plan.model)
    python = own is not None or transform is not None or described(bound) is not None
    together = distributed.count() > 1
    if speed is None and (python or together):
        how = dataclasses.replace(how, graph=False)  # a graph repeats kernels: the reader's Python would run once
    elif together and (how.graph or how.compile):
        raise check.refuse("speed", str(how), "no graph and no compile on several processes, which wait for each other")
    found = None if weights is None else read_weights(weights, plan.model)
    order = _head_classes(head_classes, data, own, found, start)
    request = Request(bound, data, plan, check.seed(seed), start, where, how, own, found, transform, None, order)
    request = _tried(request, free=speed is None) if own is not None or found is not None else request
    request.id  # noqa: B018  made now, before anybody edits the data
    return request


FIELDS = tuple(name for name in Recipe.__dataclass_fields__ if name not in ("name", "data", "epochs", "model"))
ARGUMENTS = (*(make_request.__kwdefaults__), "checkpoint", "callbacks", "progress")
OTHERWISE = {  # what others call them
    "learning_rate": "lr", "rate": "lr", "bs": "batch_size", "wd": "weight_decay", "decay": "weight_decay",
    "beta1": "momentum", "optim": "optimizer", "scheduler": "schedule", "grad_clip": "clip", "n_epochs": "epochs",
    "num_epochs": "epochs", "network": "model", "net": "model", "transform": "augment", "pretrained": "weights",
    "name": "recipe", "random_state": "seed",
}  # fmt: skip
LARGE = 128  # pixels of a side beyond which a network from scratch is no sensible default
_advised: set[str] = set()


def _check_names(record: Method, settings: Mapping[str, Any]) -> None:
    """ValueError for a keyword that is neither a setting of the method nor an argument or a field of the recipe."""
    known = (*record.settings, *FIELDS, *ARGUMENTS)
    for name in settings:
        if name in ("seeds", "folder", "small"):
            raise ValueError(f"{record.key} has no setting {name!r}; {name}= is for lt.sweep and lt.train_many")
        if name not in record.settings:
            near = OTHERWISE.get(name.lower())
            hint = f" (did you mean {near!r}?)" if near else check.suggest(name, known)
            raise ValueError(
                f"{record.key} has no setting {name!r}{hint}; it has: {', '.join(record.settings) or 'none'}; fields "
                f"of the recipe: {', '.join(FIELDS)}; other arguments: {', '.join(ARGUMENTS)}"
            )


def _head_classes(
    value: Any, data: LongTailed, own: OwnNetwork | None, weights: Weights | None, start: Run | None
) -> tuple[str, ...] | None:
    """The classes of the rows of the classifier that comes along, by name; None where nobody has said."""
    names = data.class_names
    if value is None:
        known = own.class_names if own is not None and weights is None else None
        return known if known is not None and sorted(known) == sorted(names) else None
    if start is not None:
        raise check.refuse("head_classes", value, "None with start=: a run knows the names of its classes")
    if own is None and weights is None:
        raise check.refuse(
            "head_classes", value, "None where no classifier comes along; give weights=, or a network of your own"
        )
    expected = (
        "the classes of the data in the order of the classifier's rows, as a list of names, such as "
        "training_set.classes of torchvision's ImageFolder, or 'alphabetical', which is that order"
    )
    if isinstance(value, str):
        if value != "alphabetical":
            raise check.refuse("head_classes", value, expected + check.suggest(value, ["alphabetical"]))
        return tuple(sorted(names))
    found = tuple(value) if isinstance(value, (list, tuple, np.ndarray)) else ()
    if not found or not all(isinstance(one, str) for one in found):
        raise check.refuse("head_classes", value, expected)
    if sorted(found) != sorted(names):
        lacking, strange = ([name for name in one if name not in other] for one, other in
                            ((names, found), (found, names)))  # fmt: skip
        told = [f"{what} {', '.join(map(repr, which[:5]))}" for what, which in
                (("without", lacking), ("with", strange)) if which]  # fmt: skip
        raise check.refuse("head_classes", value, f"{expected}; these are {' and '.join(told) or 'not each once'}")
    return tuple(str(one) for one in found)


def _check_start(start: Any, weights: Any) -> None:
    check.instance("start", start, Run, "a run from lt.train")
    if start.network is None:
        raise ValueError(f"start: this record of {start.name!r} keeps no network; pass a run from lt.train")
    if "model" not in start.recipe or not all(isinstance(v, np.ndarray) for v in start.network.values()):
        raise ValueError(f"start: {start.name!r} does not say which model its network is; pass a run from lt.train")
    if weights is not None:
        raise ValueError("weights: start= gives all weights already; leave one of the two out")


def _advise(data: LongTailed) -> None:
    """Say, once for a data set, what is sensible for photographs of the usual size."""
    if max(data.shape[1:]) > LARGE and data.has_pictures and data.name not in _advised:
        _advised.add(data.name)
        height, width = data.shape[1:]
        warnings.warn(
            f"data: {len(data):,} images of {height} x {width} teach a network from scratch little; the sensible way "
            "is one that has seen ImageNet: model='torchvision:resnet18', weights='ResNet18_Weights.IMAGENET1K_V1', "
            "epochs=5, lr=0.01",
            stacklevel=5,
        )


def _tried(request: Request, free: bool) -> Request:
    """The request, once its network is known to be made and to take its images.

    free: whether images may lie in memory as the network can take them: code such as x.view(len(x), -1) needs them
    in the plain order.
    """
    generators = make_generators(request.seed, torch.device("cpu"))
    with plain_torch(torch.device("cpu")), own_draws(generators["construction"]):
        net = make_network(request, request.data, request.bound.build(request.data.counts.cpu()), generators)
    _say_order(request, net)
    if request.network is None:
        return request
    made = None if isinstance(request.network.given, torch.nn.Module) else state_digest(net)
    if made is not None and net.backbone.still:
        made = request_id(made=made, still=[name for name, one in net.named_modules() if one in net.backbone.still])
    speed = request.speed
    if free and speed.channels_last and not _takes_channels_last(net, request.data):
        speed = dataclasses.replace(speed, channels_last=False)
    return dataclasses.replace(request, made=made, speed=speed)


def _say_order(request: Request, net: Net) -> None:
    """Warn, where a classifier keeps its rows and nobody has said for which classes they stand.

    Not where the order of the data is the alphabetical one, which most others have, and not of a new classifier.
    """
    names = request.data.class_names
    known = request.head_classes is not None or request.start is not None or not net.kept
    if known or list(names) == sorted(names) or untrained(net.head):
        return
    own = request.network
    if own is not None and request.weights is None and not isinstance(own.given, torch.nn.Module):
        again = make_generators(request.seed + 1, torch.device("cpu"))
        with plain_torch(torch.device("cpu")), own_draws(again["construction"]):
            other = make_network(request, request.data, request.bound.build(request.data.counts.cpu()), again)
        if not torch.equal(other.head.weight, net.head.weight):
            return  # drawn anew each time
    first = ", ".join(map(repr, names[:5]))
    text = (
        f"{'model' if request.weights is None else 'weights'}: the classifier of {len(names)} classes is kept, and its "
        f"rows are taken to stand in the order of data.class_names ({first}{', …' if len(names) > 5 else ''}). "
        "torchvision's ImageFolder has classes in alphabetical order: pass head_classes='alphabetical', or the list of "
        "names in the order of the rows (head_classes=data.class_names where they do stand in this order)"
    )
    if own is not None:
        own.tell(text, 7)
    else:
        warnings.warn(text, stacklevel=6)


def _takes_channels_last(net: torch.nn.Module, data: LongTailed) -> bool:
    images = data.batch(slice(0, 2)).cpu().contiguous(memory_format=torch.channels_last)
    try:
        with torch.no_grad(), own_draws():
            net.eval().to(memory_format=torch.channels_last)(images)
    except RuntimeError:
        return False
    return True


def check_torch() -> None:
    """Raise ValueError where torch makes something other than float32 on the CPU by default: runs count on that."""
    if torch.get_default_dtype() != torch.float32:
        raise ValueError(
            f"torch.get_default_dtype() is {torch.get_default_dtype()}: networks are trained in float32; call "
            "torch.set_default_dtype(torch.float32) first, and set your own again afterwards"
        )
    if torch.get_default_device().type != "cpu":
        raise ValueError(
            f"torch.get_default_device() is {torch.get_default_device()}: device= says where a run is computed; call "
            "torch.set_default_device(None) first, and leave `with torch.device(...)`"
        )


def checkpoint_path(value: Any) -> Path | None:
    """Where a checkpoint goes: a file, given as text or path. ValueError for a folder."""
    if value is None:
        return None
    path = check.path("checkpoint", value)
    if path.is_dir():
        raise check.refuse("checkpoint", value, "the name of a file, not a folder")
    return path
