"""What a run was asked for: checked once, and turned into an id that says everything that can change the result."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import check
from ..datasets import LongTailed
from ..device import Speed, default_speed, pick_device
from ..files import request_id
from ..naming import Code
from ..objective import Bound, Method
from ..own import as_method, bind, described, spell, spell_settings
from ..run import Run, checksums
from .recipe import RECIPES, Recipe, make_recipe

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

    @property
    def method(self) -> Method:
        return self.bound.method

    @property
    def settings(self) -> dict[str, Any]:
        return dict(self.bound.settings)

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
        return _record(self.recipe)

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
        """What a loss of the reader's own computed when the run was asked for; None for the methods of ltviz."""
        return described(self.bound)

    @property
    def label(self) -> str:
        return self.bound.label

    @cached_property
    def id(self) -> str:
        recipe, speed = self.effective
        return run_id(
            self.method.key, self.settings, self.data_record, self.identity["class_names"], _record(recipe), self.seed,
            None if self.start is None else request_id(id=self.start.id, network=checksums(self.start.network)),
            self.device.type, str(speed), None if self.code is None else self.code.unique,
        )  # fmt: skip

    @property
    def command(self) -> str:
        """The call that gives this run again, as Python."""
        named = RECIPES.get(self.recipe.name)
        changed = {name: getattr(self.recipe, name) for name in ("epochs", "model")}
        changed = {name: value for name, value in changed.items() if value != getattr(named, name, None)}
        changed = {name: repr(value) for name, value in changed.items()} | spell_settings(self.bound)
        made = {n: v for n, v in self.data_record.items() if n not in ("loader", "name", *self.data.identity)}
        made |= {n: v for n, v in self.data.spec.items() if n in self.data.identity}  # an argument of that name
        data = f"lt.{self.data.spec['loader']}({keywords(made)})" if "loader" in self.data.spec else "data"
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
    model: str | None = None,
    recipe: str | Recipe | None = None,
    start: Run | None = None,
    device: str | None = None,
    speed: Speed | None = None,
    **settings: Any,
) -> Request:
    """Check the arguments of `train`. Raises ValueError, naming the argument, for what makes no sense."""
    check_torch()
    record = method.method if isinstance(method, Bound) else as_method(method)
    check.instance("data", data, LongTailed, "a data set from lt.digits_lt, lt.cifar_lt or lt.folder_lt")
    fields = [name for name in settings if name in Recipe.__dataclass_fields__ and name not in record.settings]
    if fields:
        raise ValueError(
            f"{fields[0]} belongs to the recipe, not to {record.key}: pass recipe=dataclasses.replace("
            f"ltviz.RECIPES[{data.recipe!r}], {fields[0]}={check.shown(settings[fields[0]])})"
        )
    bound = bind(method if isinstance(method, Bound) else record, settings)
    if bound.needs_validation and not data.has_validation:
        raise ValueError(
            f"{record.key} listens to the accuracy on a validation set, and {data.name} has none. Load the "
            "data with validation=None (the default); the test set is never used for this."
        )
    if start is not None:
        check.instance("start", start, Run, "a run from lt.train")
        if start.network is None:
            raise ValueError(f"start: this record of {start.name!r} keeps no network; pass a run from lt.train")
        if "model" not in start.recipe or not all(isinstance(v, np.ndarray) for v in start.network.values()):
            raise ValueError(f"start: {start.name!r} does not say which model its network is; pass a run from lt.train")
        model = model if model is not None else start.recipe["model"]
    if speed is not None:
        check.instance("speed", speed, Speed, "an ltviz.device.Speed, or None for the fastest")
    plan = make_recipe(recipe, data, epochs=epochs, model=model)
    where = pick_device(device)
    how = speed or default_speed(where, plan.model)
    if speed is None and described(bound) is not None:
        how = dataclasses.replace(how, graph=False)  # a graph repeats kernels: Python in a reader's loss would run once
    request = Request(bound, data, plan, check.seed(seed), start, where, how)
    request.id  # noqa: B018  made now, before anybody edits the data
    return request


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
