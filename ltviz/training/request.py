"""What a run was asked for: checked once, and turned into an id that says everything that can change the result."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import numpy as np
import torch

from .. import check
from ..datasets import LongTailed
from ..device import Speed, default_speed, pick_device
from ..files import request_id
from ..methods import METHODS
from ..objective import Method
from ..run import Run, checksums
from .recipe import RECIPES, Recipe, make_recipe

# What belongs to a machine or can be read off the rest: no part of how data are made.
_NOT_SPEC = ("root", "download")


@dataclass(frozen=True)
class Request:
    """A run that is asked for: `make_request` checks it, `Trainer` trains it, `id` names it."""

    method: Method
    settings: dict[str, Any]
    data: LongTailed
    recipe: Recipe
    seed: int
    start: Run | None
    device: torch.device
    speed: Speed

    @cached_property
    def data_record(self) -> dict[str, Any]:
        """How the data were made and what they are, JSON-able: the loader's arguments, fingerprint, augmentation."""
        spec = {name: value for name, value in self.data.spec.items() if name not in _NOT_SPEC}
        content = {name: value for name, value in self.data.identity.items() if name != "class_names"}
        return {**spec, "name": self.data.name, **content}

    @cached_property
    def recipe_record(self) -> dict[str, Any]:
        return {name: value for name, value in dataclasses.asdict(self.recipe).items() if name != "data"}

    @property
    def label(self) -> str:
        return self.method.label(self.settings)

    @cached_property
    def id(self) -> str:
        return run_id(
            self.method.key, self.settings, self.data_record, self.data.class_names, self.recipe_record, self.seed,
            None if self.start is None else request_id(id=self.start.id, network=checksums(self.start.network)),
            self.device.type, str(self.speed), own_code(self.method),
        )  # fmt: skip

    @property
    def command(self) -> str:
        """The call that gives this run again, as Python."""
        named = RECIPES.get(self.recipe.name)
        changed = {name: getattr(self.recipe, name) for name in ("epochs", "model")}
        changed = {name: value for name, value in changed.items() if value != getattr(named, name, None)}
        changed |= {n: value for n, value in self.settings.items() if value != self.method.settings[n].default}
        made = {n: v for n, v in self.data_record.items() if n not in ("loader", "name", *self.data.identity)}
        made |= {n: v for n, v in self.data.spec.items() if n in self.data.identity}  # an argument of that name
        data = f"lt.{self.data.spec['loader']}({keywords(made)})" if "loader" in self.data.spec else "data"
        asked = [repr(self.method.key), data, keywords({"recipe": self.recipe.name, "seed": self.seed, **changed})]
        return f"lt.train({', '.join(asked + (['start=run'] if self.start is not None else []))})"


def run_id(
    method: str, settings: Mapping, data: Mapping, class_names: Any, recipe: Mapping, seed: int, parent: str | None,
    device: str, speed: str, code: str | None = None,
) -> str:  # fmt: skip
    """The id of a run, from what its record keeps of the request. Of the data, what they are counts, not how made."""
    content = {name: data[name] for name in ("fingerprint", "mean", "std", "pad", "flip")}
    return request_id(
        method=method, settings=settings, data={**content, "class_names": list(class_names)},
        recipe={name: value for name, value in recipe.items() if name != "name"}, seed=seed, parent=parent,
        device=device, speed=speed, **({} if code is None else {"code": code}),
    )  # fmt: skip


def own_code(method: Method) -> str | None:
    """What a method that is not one of ltviz's computes, as a hash of its functions; None for those of ltviz."""
    parts = [method.objective, method.stages, method.posthoc, method.probability]
    if all(getattr(part, "__module__", "ltviz.").startswith("ltviz.") for part in parts):
        return None
    functions = [part for part in parts if isinstance(part, FunctionType)]
    for kind in method.objective.__mro__:
        if not kind.__module__.startswith(("ltviz.", "torch.", "builtins")):
            functions += [value for _, value in sorted(vars(kind).items()) if isinstance(value, FunctionType)]
    return request_id(code=[_code(function.__code__) for function in functions])


def _code(code: CodeType) -> list:
    inner = [_code(one) if isinstance(one, CodeType) else repr(one) for one in code.co_consts]
    return [code.co_name, code.co_code.hex(), list(code.co_names), inner]


def keywords(values: Mapping[str, Any]) -> str:
    """The arguments of a call: "ratio=50, seed=0"."""
    return ", ".join(f"{name}={value!r}" for name, value in values.items())


def make_request(
    method: str,
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
    record = METHODS[method]
    check.instance("data", data, LongTailed, "a data set from lt.digits_lt, lt.cifar_lt or lt.folder_lt")
    fields = [name for name in settings if name in Recipe.__dataclass_fields__ and name not in record.settings]
    if fields:
        raise ValueError(
            f"{fields[0]} belongs to the recipe, not to {record.key}: pass recipe=dataclasses.replace("
            f"ltviz.RECIPES[{data.recipe!r}], {fields[0]}={check.shown(settings[fields[0]])})"
        )
    chosen = record.resolve(settings)
    if record.needs_validation(**chosen) and not data.has_validation:
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
    return Request(record, chosen, data, plan, check.seed(seed), start, where, how)


def checkpoint_path(value: Any) -> Path | None:
    """Where a checkpoint goes: a file, given as text or path. ValueError for a folder."""
    if value is None:
        return None
    path = check.path("checkpoint", value)
    if path.is_dir():
        raise check.refuse("checkpoint", value, "the name of a file, not a folder")
    return path
