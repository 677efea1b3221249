"""What `train_attributes` is asked for, checked once: the method, its curriculum, how the network is trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import check
from ..datasets import Attributes
from ..methods import METHODS
from ..objective import BASE, Bound, Objective, Regularizer, Setting, bind_base
from ..own import as_method, bind
from ..training import Recipe
from ..training.recipe import find_recipe

# The rate is that of the mean over the attributes, whose gradient is for each head as many times smaller. Chosen among
# .3, .6 and 1 on validation images of the digits: alike within a point for the plain network, and the calmest for crl.
RECIPE = Recipe("attributes", "mlp", 60, 128, lr=0.3)
FIELDS = tuple(f.name for f in dataclasses.fields(Recipe) if f.name not in ("name", "data"))


@dataclass(frozen=True)
class Curriculum:
    """A method, and in how many stages the attributes are taught: the most balanced ones first, in the end all.

    The networks of Dong, Gong & Zhu (WACV 2017) learn from easy images first (of shops), then from hard ones (of
    people in the street). Attributes of one set of images have no such domains. That balanced attributes are the easy
    ones, in stages of equal length, is our reading, and not the paper's.
    """

    key: str
    bound: Bound
    stages: int = 1

    SETTINGS = {
        "base": BASE, "stages": Setting(3, 1, 40, meaning="parts of training; each teaches more attributes"),
    }  # fmt: skip

    @property
    def settings(self) -> dict[str, Any]:
        if self.key != "mtct":
            return dict(self.bound.settings)
        return {"base": self.bound.spelling, "stages": self.stages}

    @property
    def label(self) -> str:
        if self.key != "mtct":
            return self.bound.label
        differing = {name: value for name, value in self.settings.items() if value != self.SETTINGS[name].default}
        return " ".join([self.key, *(f"{name}={check.spelled(value)}" for name, value in differing.items())])

    def taught(self, epoch: int, epochs: int, imbalance: np.ndarray) -> list[int]:
        """Numbers of the attributes that this epoch (from 0) teaches, of all (a,) by their imbalance."""
        stage = min(epoch * self.stages // epochs, self.stages - 1) + 1
        easy = np.argsort(imbalance, kind="stable")[: -(-len(imbalance) * stage // self.stages)]
        return sorted(easy.tolist())


def ask_method(method: Any, given: Mapping[str, Any]) -> tuple[Curriculum, dict[str, Any]]:
    """The method, and the fields of the recipe among what is given beside its settings.

    method: "mtct", a key of METHODS, METHODS[key](...), or a loss of the reader's own. ValueError for one that trains
    in another way than on every image once an epoch, and for a name that is neither a setting nor a field.
    """
    mtct = isinstance(method, str) and method == "mtct"
    if isinstance(method, str) and not mtct and method not in METHODS:
        hint = check.suggest(method, [*METHODS, "mtct"])
        raise ValueError(f"method={method!r}: unknown{hint}; expected 'mtct' or a key of METHODS")
    known = Curriculum.SETTINGS if mtct else as_method(method).settings
    changes = {name: value for name, value in given.items() if name in FIELDS and name not in known}
    settings = {name: value for name, value in given.items() if name not in changes}
    for name in settings:
        if name not in known:
            raise ValueError(
                f"{method if mtct else as_method(method).key} has no setting {name!r}"
                f"{check.suggest(name, [*known, *FIELDS])}; it has: {', '.join(known) or 'none'}; fields of the "
                f"recipe: {', '.join(FIELDS)}"
            )
    if not mtct:
        bound = _fitting(bind(method if isinstance(method, Bound) else as_method(method), settings))
        return Curriculum(bound.key, bound), changes
    base = _fitting(bind_base("base", settings.get("base", BASE.default)))
    stages = Curriculum.SETTINGS["stages"]
    return Curriculum("mtct", base, stages.check("stages", settings.get("stages", stages.default))), changes


def _fitting(bound: Bound) -> Bound:
    """The method. ValueError where its images are drawn by class, blended, or taught in several stages."""
    stages = bound.stages
    stage = stages[0]
    usual = len(stages) == 1 and stage.sampler == "instance" and stage.head is None and stage.train == "all"
    if not usual or _blends(bound):
        why = "blends images" if usual else "draws its images by class" if len(stages) == 1 else "trains in stages"
        raise ValueError(
            f"method={bound.key!r}: it {why}, which follows one label an image; an image has many here. Choose a loss, "
            "such as ce, focal, class_balanced, logit_adjustment, contrastive, lmle or crl"
        )
    return bound


def _blends(bound: Bound) -> bool:
    plain = (Objective.mix, Regularizer.mix)
    return bound.method.objective.mix not in plain or (bound.base is not None and _blends(bound.base))


def ask_recipe(recipe: Any, changes: Mapping[str, Any]) -> Recipe:
    """How the network is trained: a recipe by name (None: that for attributes), changed where a value is not None."""
    usual = recipe is None or (isinstance(recipe, str) and recipe == RECIPE.name)
    found = RECIPE if usual else find_recipe(recipe)
    return dataclasses.replace(found, data=None, **{k: v for k, v in changes.items() if v is not None})


def check_data(data: Any, bound: Bound) -> Attributes:
    """The data. ValueError where an attribute has no label to learn from, or nothing to listen to."""
    check.instance("data", data, Attributes, "many attributes of images, such as lt.digits_attributes()")
    for name, of, counts in zip(data.names, data.values, data.counts, strict=True):
        if not counts.any():
            raise ValueError(f"data: no training image has a label for {name!r}; leave that attribute out")
        if not counts.all():
            raise ValueError(
                f"data: no training image has the value {of[int(counts.argmin())]!r} of {name!r}, which so cannot be "
                "learned; leave that value or the attribute out, or split the images another way"
            )
    if bound.needs_validation and not data.has_validation:
        raise ValueError(
            f"{bound.key} listens to the accuracy on a validation set, and these data have none; hold some images out"
        )
    return data
