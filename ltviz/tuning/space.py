"""What is tuned: the settings of methods, and fields of the recipe, as parameters of an Optuna trial."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.trial import BaseTrial

from .. import check
from ..objective import Bound
from ..settings import Setting
from ..training import Recipe
from ..training.request import FIELDS

SMALLEST = 1e-6  # of 1 - value on the "one-minus-log" scale, as on its slider
DECADES = 4  # of a "log" scale whose range starts at 0, as on its slider
METHOD = "method"  # the parameter that says which method, where several are tuned

#: Ranges of the fields of a recipe that have a usual one; the default is the recipe's own value.
FIELD_RANGES = {
    "lr": Setting(0.1, 1e-3, 1.0, "log", meaning="learning rate"),
    "weight_decay": Setting(5e-4, 1e-6, 1e-2, "log", meaning="weight decay"),
    "momentum": Setting(0.9, 0.0, 0.99, meaning="momentum"),
    "warmup": Setting(0.05, 0.0, 0.5, meaning="share of the epochs over which the rate rises"),
    "batch_size": Setting(64, 8, 512, "log", meaning="images of a batch"),
}
EXPECTED = (
    "None for the range that the method declares, (low, high), a list of values, or a Setting; a value that stays as "
    "it is becomes a keyword of tune"
)


@dataclass(frozen=True)
class Dimension:
    """One setting that is tuned, of a method (or of the recipe: method ""), and the parameter that stands for it.

    name: as tables say it, "beta", or "focal.gamma" beside other methods. kind: "number", "whole" or "choice". On the
    "one-minus-log" scale the parameter is 1 - value, named so, on a log scale.
    """

    name: str
    method: str
    setting: str
    kind: str
    default: Any
    low: float | None = None
    high: float | None = None
    scale: str = "linear"
    choices: tuple = ()
    when: Mapping[str, tuple] = field(default_factory=dict, hash=False)

    @property
    def parameter(self) -> str:
        return f"1 - {self.name}" if self.scale == "one-minus-log" else self.name

    def suggest(self, trial: BaseTrial) -> Any:
        """The trial's value of this setting."""
        if self.kind == "choice":
            return self.read(trial.suggest_categorical(self.parameter, [_label(one) for one in self.choices]))
        low, high = self.ends()
        if self.kind == "whole":
            return trial.suggest_int(self.parameter, int(low), int(high), log=self.scale == "log")
        return self.read(trial.suggest_float(self.parameter, low, high, log=self.scale != "linear"))

    def ends(self) -> tuple[float, float]:
        """The range of the parameter."""
        if self.scale == "one-minus-log":
            return max(1.0 - self.high, SMALLEST), max(1.0 - self.low, SMALLEST)
        if self.scale == "log" and self.low <= 0:
            return (1 if self.kind == "whole" else self.high * 10.0**-DECADES), self.high
        return self.low, self.high

    def read(self, parameter: Any) -> Any:
        """The setting's value for the parameter's."""
        if self.kind == "choice":
            return next(one for one in self.choices if _same(_label(one), parameter))
        if self.kind == "whole":
            return int(parameter)
        short = float(f"{parameter:.6g}")  # a table and a label then say all of it
        return min(max(round(1.0 - short, 12) if self.scale == "one-minus-log" else short, self.low), self.high)

    def write(self, value: Any) -> Any:
        """The parameter's value for the setting's. ValueError for one that is not among those tuned over."""
        if self.kind == "choice":
            return _label(check.choice(self.name, check.plain(value), self.choices))
        low, high = self.ends()
        if self.kind == "whole":
            return check.whole(self.name, value, int(low), int(high))
        if self.scale != "one-minus-log":
            return check.number(self.name, value, low, high)
        found = check.number(self.name, value, self.low, self.high)
        return min(max(1.0 - found, low), high)

    def has(self, value: Any) -> bool:
        """Whether a value is among those tuned over."""
        try:
            self.write(value)
        except ValueError:
            return False
        return True


def _label(value: Any) -> Any:
    """A choice as Optuna keeps it: a base with settings as JSON."""
    return json.dumps(value, sort_keys=True) if isinstance(value, Mapping) else value


def _same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and a == b


class Space:
    """The methods, those of their settings that are fixed, and the dimensions that are tuned.

    bound: key -> the method under its fixed settings. settings: what is tuned, as `tune` takes it.
    """

    def __init__(self, bound: Mapping[str, Bound], recipe: Recipe, fixed: Sequence[str], settings: Any):
        self.bound = dict(bound)
        self.recipe, self.fixed = recipe, tuple(fixed)
        found: dict[str, Dimension] = {}
        for name, spec in self._asked(settings).items():
            for one in self._dimensions(name, spec):
                if one.name in found:
                    raise ValueError(f"settings: {one.name!r} is named twice")
                found[one.name] = one
        self.dimensions = _sorted(list(found.values()))
        if not found and len(bound) == 1:
            (key,) = bound
            raise ValueError(
                f"settings: {key} has no setting that is left to tune; name fields of the recipe, such as "
                "settings=['lr', 'weight_decay'], or several methods"
            )

    @property
    def keys(self) -> list[str]:
        return list(self.bound)

    def _asked(self, settings: Any) -> Mapping[str, Any]:
        if settings is None:
            names = {name for one in self.bound.values() for name in one.method.settings}
            return dict.fromkeys(sorted(names - {"base"} - set(self.fixed)))
        if isinstance(settings, str):
            return {settings: None}
        if isinstance(settings, Mapping):
            return {check.text("settings", name): spec for name, spec in settings.items()}
        if isinstance(settings, (list, tuple)):
            return dict.fromkeys(check.text("settings", name) for name in settings)
        raise check.refuse("settings", settings, "None, names of settings, or a dict name -> range")

    def _dimensions(self, name: str, spec: Any) -> list[Dimension]:
        """One dimension for each method that has this setting. ValueError for a name that nothing has."""
        key, dot, setting = name.rpartition(".")
        owners = [one for one in ([key] if dot else self.keys) if one in self.bound
                  and setting in self.bound[one].method.settings]  # fmt: skip
        if setting in self.fixed:
            raise ValueError(f"settings: {name!r} is to be tuned, and is fixed by {setting}=; leave one of the two out")
        if not owners and not dot and setting in FIELDS:
            declared = FIELD_RANGES.get(setting)
            if declared is not None:
                declared = dataclasses.replace(declared, low=min(declared.low, value := getattr(self.recipe, setting)),
                                               high=max(declared.high, value), default=value)  # fmt: skip
            return [_dimension(setting, "", setting, declared, spec, self._checked_field(setting))]
        if not owners:
            known = [*(n for one in self.bound.values() for n in one.method.settings), *FIELDS]
            raise ValueError(
                f"settings: {' and '.join(self.keys)} {'has' if len(self.bound) == 1 else 'have'} no setting {name!r}"
                f"{check.suggest(setting, known)}; fields of the recipe can be tuned as well: {', '.join(FIELDS)}"
            )
        found = []
        for owner in owners:
            one = self.bound[owner].method.settings[setting]
            called = setting if len(self.bound) == 1 else f"{owner}.{setting}"
            found.append(
                _dimension(called, owner, setting, one, spec, lambda value, one=one: one.check(setting, value))
            )
        return found

    def _checked_field(self, name: str) -> Callable[[Any], Any]:
        return lambda value: getattr(dataclasses.replace(self.recipe, **{name: check.plain(value)}), name)

    def _walk(self, key: str, give: Callable[[Dimension], Any]) -> dict[str, Any]:
        """The values of the dimensions that have an effect, each given once those that it depends on are known."""
        values, found = dict(self.bound[key].settings), {}
        for one in self.dimensions:
            if one.method in ("", key) and not _idle(one, values):
                found[one.setting] = values[one.setting] = give(one)
        return found

    def suggest(self, trial: BaseTrial) -> tuple[str, dict[str, Any]]:
        """The method and the tuned settings of a trial."""
        key = self.keys[0] if len(self.bound) == 1 else trial.suggest_categorical(METHOD, self.keys)
        return key, self._walk(key, lambda one: one.suggest(trial))

    def read(self, parameters: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """The method and the tuned settings that parameters of a trial stand for."""
        key = parameters.get(METHOD, self.keys[0])
        return key, self._walk(key, lambda one: one.read(parameters[one.parameter]))

    def write(self, key: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters for a method and settings of it; those not given have their defaults.

        ValueError for a setting that is not tuned, or a value outside of what it is tuned over.
        """
        check.choice(METHOD, key, self.keys)
        known = [one.setting for one in self.dimensions if one.method in ("", key)]
        for name in settings:
            if name not in known:
                raise ValueError(f"{name!r} is not tuned{check.suggest(name, known)}; tuned are: {', '.join(known)}")
        found = {METHOD: key} if len(self.bound) > 1 else {}
        given = self._walk(key, lambda one: settings.get(one.setting, one.default))
        for one in self.dimensions:
            if one.method in ("", key) and one.setting in given:
                found[one.parameter] = one.write(given[one.setting])
        return found

    def defaults(self) -> list[dict[str, Any]]:
        """The parameters of each method at its defaults, where those are among what is tuned over."""
        reach = {key: [one for one in self.dimensions if one.method in ("", key)] for key in self.keys}
        return [self.write(key, {}) for key, own in reach.items() if all(one.has(one.default) for one in own)]

    def record(self) -> list[dict[str, Any]]:
        """The dimensions as JSON."""
        return [dataclasses.asdict(one) for one in self.dimensions]


def _idle(one: Dimension, values: Mapping[str, Any]) -> bool:
    return any(name in values and not any(_same(value, values[name]) for value in those)
               for name, those in one.when.items())  # fmt: skip


def _sorted(dimensions: list[Dimension]) -> list[Dimension]:
    """Each after those of its method that say whether it has an effect."""
    done: list[Dimension] = []
    while dimensions:
        left = {(one.method, one.setting) for one in dimensions}
        free = [one for one in dimensions if not any((one.method, name) in left for name in one.when)]
        done += free or dimensions  # a circle has no first one
        dimensions = [one for one in dimensions if one not in done]
    return done


def _dimension(
    name: str, method: str, setting: str, declared: Setting | None, spec: Any, checked: Callable[[Any], Any]
) -> Dimension:
    """The dimension for what is asked of a setting: its declared range (None), another range, a list, a Setting."""
    own = spec if isinstance(spec, Setting) else declared
    base = {"name": name, "method": method, "setting": setting, "when": {} if declared is None else declared.when}
    base["default"] = None if declared is None else declared.default
    argument = f"settings[{name!r}]"
    if isinstance(spec, tuple) and not (own is not None and own.choices) and len(spec) == 2:
        ends = tuple(checked(value) for value in spec)
        if any(isinstance(end, (bool, str)) for end in ends) or ends[0] >= ends[1]:
            raise check.refuse(argument, spec, "(low, high), low below high, or a list of values")
        return _range(base, declared, *ends)
    if isinstance(spec, (list, tuple)):
        return _choice(base, argument, spec, tuple(checked(value) for value in spec))
    if spec is not None and not isinstance(spec, Setting):
        raise check.refuse(argument, spec, EXPECTED)
    if own is None:
        raise check.refuse(argument, spec, f"(low, high) or a list of values, as {setting} has no usual range")
    if own.choices:
        return _choice(base, argument, own.choices, tuple(own.choices if spec is None else map(checked, own.choices)))
    return _range(base, own, *((own.low, own.high) if spec is None else (checked(own.low), checked(own.high))))


def _choice(base: dict[str, Any], argument: str, given: Any, choices: tuple) -> Dimension:
    labels = [_label(one) for one in choices]
    if len(choices) < 2 or any(_same(a, b) for i, a in enumerate(labels) for b in labels[:i]):
        raise check.refuse(argument, list(given), "at least two different values to choose from")
    return Dimension(**base, kind="choice", choices=choices)


def _range(base: dict[str, Any], declared: Setting | None, low: float, high: float) -> Dimension:
    whole = all(isinstance(end, int) for end in (low, high)) if declared is None else isinstance(declared.default, int)
    scale = "linear" if declared is None else declared.scale
    return Dimension(**base, kind="whole" if whole else "number", low=low, high=high, scale=scale)
