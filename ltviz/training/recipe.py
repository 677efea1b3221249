"""How a network is trained, whatever the method: recipes, and the data each was made for."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .. import check
from ..datasets import LOADERS, LongTailed
from ..models import model_name


@dataclass(frozen=True)
class Recipe:
    """How a network is trained, whatever the method.

    model            a name of models.MODELS
    epochs, batch_size, lr, momentum, weight_decay, optimizer ("sgd", "adam", "adamw")
    schedule         "cosine" to 0; "step": times `drop` at each milestone; or "constant"
    milestones       shares of the epochs at which the rate drops: 0.8 is epoch 160 of 200. In a short run each drop
                     has at least an epoch of its own, and the last ones are left out where no epoch is left for them
    warmup           share of the epochs over which the rate rises from 0
    warmup_by        "step": after each step, up to the full rate; "epoch": once an epoch; "images": the time is that of
                     the images seen, step x batch size / n epochs, here and at the drops, and the rate starts at 0
    clip             largest norm of the gradient, None for none
    move_statistics  a frozen backbone's BatchNorm statistics keep moving (as in the public code of Kang et al. 2020)
    data             the loader and its arguments that the recipe was made for
    Raises ValueError, naming the field, for what makes no sense.
    """

    name: str
    model: str
    epochs: int
    batch_size: int = 64
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    optimizer: str = "sgd"
    schedule: str = "cosine"
    milestones: tuple[float, ...] = ()
    drop: float = 0.1
    warmup: float = 0.05
    warmup_by: str = "step"
    clip: float | None = 1.0
    move_statistics: bool = False
    data: tuple[str, Mapping[str, Any]] | None = None

    def __post_init__(self):
        checked = {
            "name": check.text("name", self.name),
            "model": model_name(self.model),
            "epochs": check.whole("epochs", self.epochs, 1),
            "batch_size": check.whole("batch_size", self.batch_size, 2),
            "lr": check.number("lr", self.lr, above=0.0),
            "momentum": check.number("momentum", self.momentum, 0.0, 0.9999),
            "weight_decay": check.number("weight_decay", self.weight_decay, 0.0),
            "optimizer": check.choice("optimizer", self.optimizer, ("sgd", "adam", "adamw")),
            "schedule": check.choice("schedule", self.schedule, ("cosine", "step", "constant")),
            "milestones": _milestones(self.milestones),
            "drop": check.number("drop", self.drop, 0.0, 1.0),
            "warmup": check.number("warmup", self.warmup, 0.0, 0.9999),
            "warmup_by": check.choice("warmup_by", self.warmup_by, ("step", "epoch", "images")),
            "clip": None if self.clip is None else check.number("clip", self.clip, above=0.0),
            "move_statistics": check.flag("move_statistics", self.move_statistics),
            "data": _data(self.data),
        }
        for name, value in checked.items():  # each in one spelling: what is recorded names a run
            object.__setattr__(self, name, value)
        if self.schedule == "step" and not self.milestones:
            expected = 'at least one share of the epochs with schedule="step"; schedule="constant" has none'
            raise check.refuse("milestones", self.milestones, expected)
        if self.schedule != "step" and self.milestones:
            expected = f'() with schedule="{self.schedule}"; schedule="step" has them'
            raise check.refuse("milestones", self.milestones, expected)

    def drops(self, epochs: int) -> list[int]:
        """The epoch at which each drop comes, from 1 on; `epochs` or more for one that is left out."""
        found = [0]
        for i, share in enumerate(self.milestones):
            latest = epochs - len(self.milestones) + i
            found.append(max(min(round(share * epochs), latest), found[-1] + 1))
        return found[1:]

    def effective(self) -> Recipe:
        """The same training in one spelling: a field that has no effect beside the others has its default."""
        if self.schedule == "constant":  # a step that drops to what it was
            same = dataclasses.replace(self, schedule="step", milestones=(0.5,), drop=1.0)
            return same.effective()
        without: dict[str, Any] = {}
        if self.optimizer != "sgd":
            without["momentum"] = 0.9
            without["optimizer"] = "adam" if self.weight_decay == 0.0 else self.optimizer
        if self.schedule == "cosine":
            without["drop"] = 0.1
        elif self.drop == 1.0:
            without["milestones"] = (0.5,)
        if self.warmup_by == "epoch" and int(self.warmup * self.epochs) == 0 and self.schedule == "step":
            without |= {"warmup": 0.0, "warmup_by": "step"}  # no whole epoch, and nothing else depends on it
        if self.warmup == 0.0 and self.warmup_by == "epoch":
            without["warmup_by"] = "step"
        return dataclasses.replace(self, **without)

    def learning_rate(self, epoch: int, step: int, steps: int, epochs: int, images: int | None = None) -> float:
        """The rate at a step of an epoch (both from 0).

        steps: in an epoch; epochs: on this schedule's clock; images: in the training set, for warmup_by="images"
        (None: as many as the steps hold).
        """
        warm = self.warmup * epochs
        done = epoch * steps + step
        if self.warmup_by == "images":
            now = done * self.batch_size / (images or steps * self.batch_size)
            if now < warm:
                return self.lr * now / warm
        else:
            now = epoch + step / steps
            if self.warmup_by == "epoch" and epoch < int(warm):
                return self.lr * (epoch + 1) / int(warm)
            if self.warmup_by == "step" and done < warm * steps:
                return self.lr * min(1.0, (done + 1) / (warm * steps))
        if self.schedule == "cosine":
            t = (now - warm) / max(epochs - warm, 1e-9)
            return self.lr * 0.5 * (1.0 + math.cos(math.pi * min(max(t, 0.0), 1.0)))
        return self.lr * self.drop ** sum(now >= epoch for epoch in self.drops(epochs))


def _data(value: Any) -> tuple[str, Mapping[str, Any]] | None:
    if value is None:
        return None
    whole = isinstance(value, (tuple, list)) and len(value) == 2 and isinstance(value[1], Mapping)
    if not whole or value[0] not in tuple(LOADERS) or not all(isinstance(name, str) for name in value[1]):
        raise check.refuse("data", value, f"(a loader, its arguments): one of {', '.join(LOADERS)}, and a dict")
    return value[0], dict(value[1])


def _milestones(value: Any) -> tuple[float, ...]:
    expected = "rising shares of the epochs between 0 and 1, such as (0.8, 0.9) for epochs 160 and 180 of 200"
    if not isinstance(value, (tuple, list)):
        raise check.refuse("milestones", value, expected)
    try:
        shares = tuple(check.number("milestones", one, above=0.0) for one in value)
    except ValueError:
        raise check.refuse("milestones", value, expected) from None
    if any(share >= 1.0 for share in shares) or any(a >= b for a, b in zip(shares, shares[1:], strict=False)):
        raise check.refuse("milestones", value, expected)
    return shares


SMALL_PHOTOS = {"size": 16, "class_order": "seed"}
RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("digits", "mlp", 60, data=("digits_lt", {"ratio": 50, "class_order": "seed"})),
        Recipe("digits_cnn", "cnn", 60, data=("digits_lt", {"ratio": 50, "class_order": "seed"})),
        Recipe("table", "mlp", 60),
        Recipe("table_many", "mlp", 40, 256),
        # Which classes are rare is drawn by seed, so that rarity and resemblance are not confused.
        Recipe("cifar16_live", "cnn", 40, data=("cifar_lt", {**SMALL_PHOTOS, "ratio": 50, "n_max": 500})),
        Recipe("cifar16", "cnn", 40, data=("cifar_lt", {**SMALL_PHOTOS, "ratio": 100, "n_max": 2000})),
        Recipe(
            "cifar16_published", "cnn", 40,
            data=("cifar_lt", {**SMALL_PHOTOS, "ratio": 100, "n_max": 2000, "class_order": "natural"}),
        ),
        Recipe("omniglot", "cnn", 60, data=("omniglot_lt", {})),
        Recipe("glyphs", "cnn", 60, data=("glyphs_lt", {})),
        # Photographs of more than 32 pixels, as a folder has them, on a network whose stem halves them down to 32.
        Recipe("photos", "resnet20_stem", 60),
        Recipe("photos_many", "resnet20_stem", 20),
        # Cui et al. 2019 (their published shell scripts; the clock of their code counts images) and Cao et al. 2019;
        # weight decay on every parameter.
        Recipe(
            "cui2019", "resnet32", 200, 128, weight_decay=2e-4, schedule="step", milestones=(0.8, 0.9), drop=0.01,
            warmup=0.025, warmup_by="images", clip=None, data=("cifar_lt", {"ratio": 100, "validation": 0}),
        ),
        Recipe(
            "cao2019", "resnet32", 200, 128, weight_decay=2e-4, schedule="step", milestones=(0.8, 0.9), drop=0.01,
            warmup=0.025, warmup_by="epoch", clip=None, data=("cifar_lt", {"ratio": 100, "validation": 0}),
        ),
        # Sinha et al. 2020, from their public code, which Darkwah & Kang 2023 follow. It holds out 25 images of each of
        # 100 classes, and the loss learns from their accuracies; its weight decay leaves out the last bias, ours not.
        Recipe(
            "sinha2020", "resnet32", 240, 32, schedule="step", milestones=(160 / 240, 210 / 240), drop=0.01,
            warmup=0.0, clip=None, data=("cifar_lt", {"classes": 100, "ratio": 100, "validation": 25}),
        ),
    )
}  # fmt: skip


def find_recipe(recipe: Any) -> Recipe:
    """A recipe by name, or a Recipe as it is. Raises ValueError for anything else, with the nearest name."""
    if isinstance(recipe, Recipe):
        return recipe
    if not isinstance(recipe, str) or recipe not in RECIPES:
        hint = check.suggest(recipe, RECIPES) if isinstance(recipe, str) else ""
        what = f"unknown recipe {recipe!r}{hint}" if isinstance(recipe, str) else f"recipe={check.shown(recipe)}"
        raise ValueError(f"{what}: expected a Recipe or one of {', '.join(RECIPES)}")
    return RECIPES[recipe]


def make_recipe(recipe: str | Recipe | None, data: LongTailed, **changes: Any) -> Recipe:
    """A recipe by name (None: the one meant for the data), with the changes that are not None."""
    found = find_recipe(data.recipe if recipe is None else recipe)
    return dataclasses.replace(found, **{name: value for name, value in changes.items() if value is not None})


def make_data(recipe: str | Recipe, seed: int = 0, **changes: Any) -> LongTailed:
    """The data that a recipe was made for, under this seed; `changes` go to the loader (root=, validation=, ...)."""
    found = find_recipe(recipe)
    if found.data is None:
        raise ValueError(f"recipe={found.name!r}: expected one that names its data; load data with digits_lt, ...")
    loader, arguments = found.data
    known = LOADERS[loader].__code__.co_varnames[: LOADERS[loader].__code__.co_argcount]
    for name in changes:
        if name not in known:
            hint = check.suggest(name, known)
            raise ValueError(f"{loader} has no argument {name!r}{hint}; it has: {', '.join(known)}")
    return LOADERS[loader](**{**arguments, "seed": check.seed(seed), **changes})
