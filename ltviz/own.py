"""A reader's own loss as a method: a function, a module or an `Objective`, trained and compared like any other."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

import numpy as np
from torch import Tensor, nn

from . import check
from .check import to_array
from .files import request_id
from .functional import weighted_mean
from .methods import METHODS
from .objective import BASE, Bound, Method, Objective, Output, Regularizer, Setting
from .run import checksums

GIVEN = ("counts", "base")  # parameters that are no settings: ltviz gives them


def bind(method: Any, settings: Mapping[str, Any] | None = None) -> Bound:
    """The bound method behind what `train` is given, with these settings.

    method: a key of METHODS, a record, a bound method (whose settings are kept where none is given), or a loss of one's
    own, as for `as_method`.
    """
    given = {} if settings is None else settings
    settings = dict(check.instance("settings", given, Mapping, "settings by name, a dict"))
    if isinstance(method, Bound):
        kept = {**method.settings, **({} if method.base is None else {"base": method.base})}
        return method.method(**{**kept, **settings}) if settings else method
    return as_method(method)(**settings)


def as_method(loss: Any, key: str | None = None) -> Method:
    """A loss of one's own as a method, for `train`, `sweep` and `train_many`; METHODS.add makes it known everywhere.

    loss    a function (logits (n, k), targets (n,), ...) or (out, targets, ...), where `out` is the whole Output; it
            gives one loss a sample (n,), whose mean is minimised, or a scalar. A parameter `counts` receives the
            training images of each class (k,); all others have defaults, and become settings. Also a module called in
            the same way, such as nn.CrossEntropyLoss(label_smoothing=0.1), and a class of `Objective`.
    key     its name in records and plots; default: that of the function or class
    A key of METHODS, and a Method, are given back. ValueError for anything else, and for a name that METHODS has.
    """
    if isinstance(loss, str):
        return METHODS[loss]
    if isinstance(loss, Method):
        return loss
    if not callable(loss):
        raise check.refuse(
            "method",
            loss,
            "a key of METHODS, METHODS[key](...), or a loss of your own: a function "
            "(logits, targets) or (out, targets), a module, or a class of ltviz.objective.Objective",
        )
    name = check.text("key", key) if key is not None else _name(loss)
    if name in METHODS and not is_own(METHODS[name]):
        raise ValueError(
            f"method: {name!r} is a method of ltviz, and runs of your own loss would be taken for its; "
            "rename it, or lt.as_method(loss, key=...)"
        )
    if isinstance(loss, type):
        if not issubclass(loss, Objective):
            raise check.refuse("method", loss, "a class of ltviz.objective.Objective, or a function")
        objective, settings = loss, _settings(loss, 1)
    else:
        settings = {} if isinstance(loss, nn.Module) else _settings(loss, 2)
        parts = {"loss": staticmethod(loss), "name": name, "__doc__": inspect.getdoc(loss), "__module__": _module(loss)}
        objective = type(name, (OwnLoss,), parts)
    if issubclass(objective, Regularizer):
        settings = {"base": BASE, **settings}
    return Method(
        key=name, title=name.replace("_", " "), paper="your own", equation="", objective=objective, settings=settings
    )


def _name(loss: Any) -> str:
    """The name of a function or class, or of the class of an object."""
    inner = loss.func if isinstance(loss, functools.partial) else loss
    name = getattr(inner, "__name__", type(inner).__name__)
    return "own_loss" if name == "<lambda>" else name


def _module(loss: Any) -> str:
    inner = loss.func if isinstance(loss, functools.partial) else loss
    return getattr(inner, "__module__", None) or "__main__"


def is_own(method: Method) -> bool:
    """Whether a method is not one of ltviz's files."""
    return issubclass(method.objective, OwnLoss) or not method.objective.__module__.startswith("ltviz.")


def contains_own(bound: Bound) -> bool:
    """Whether a method, or what it is added to, is not one of ltviz's files."""
    return is_own(bound.method) or (bound.base is not None and contains_own(bound.base))


class OwnLoss(Objective):
    """A function, or a module, of the logits (or the whole Output) and the targets, in the form of an objective."""

    loss: Callable[..., Tensor]
    name: str

    def __init__(self, counts: Tensor, **settings: Any):
        super().__init__(counts)
        self.settings = settings
        if isinstance(self.loss, nn.Module):
            self.module = copy.deepcopy(self.loss)  # a run trains its own
        first, given = _first(self.loss)
        self.whole, self.gives_counts = first, given

    def _value(self, out: Output, targets: Tensor) -> Tensor:
        function = getattr(self, "module", self.loss)
        more = {**self.settings, **({"counts": self.counts} if self.gives_counts else {})}
        value = function(out if self.whole else out.logits, targets, **more)
        if not isinstance(value, Tensor) or value.shape not in ((), targets.shape):
            shape = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"{type(value).__name__}"
            raise ValueError(
                f"{self.name} gave {shape}: expected a tensor, one loss for each of the {len(targets)} "
                "samples of the batch or a scalar"
            )
        if out.logits.requires_grad and not value.requires_grad:
            raise ValueError(
                f"{self.name}: its result does not depend on the logits, for all torch sees; compute it "
                "with torch's functions, without .item(), .detach(), numpy or argmax"
            )
        return value

    def losses(self, out: Output, targets: Tensor) -> Tensor:
        value = self._value(out, targets)
        return value if value.dim() else super().losses(out, targets)

    def forward(self, out: Output, targets: Tensor) -> Tensor:
        value = self._value(out, targets)
        return weighted_mean(value, targets, self.class_weight, self.reduction) if value.dim() else value


def _first(loss: Any) -> tuple[bool, bool]:
    """Whether a loss takes the whole Output, and whether it asks for the counts."""
    if isinstance(loss, nn.Module):
        return False, False
    parameters = list(_parameters(loss).values())
    head = parameters[0] if parameters else None
    whole = head is not None and (head.name in ("out", "output") or head.annotation in (Output, "Output"))
    return whole, any(one.name == "counts" for one in parameters)


def _parameters(loss: Any) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(loss).parameters
    except (TypeError, ValueError):
        raise check.refuse(
            "method", loss, "a loss whose parameters can be read; wrap it in a function (logits, targets)"
        ) from None


def _settings(loss: Any, skipped: int) -> dict[str, Setting]:
    """A setting for every parameter after the first ones. ValueError for one without a default that can be recorded."""
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = list(_parameters(loss).values())
    named = [one for one in parameters if one.kind in positional]
    open_ended = any(one.kind is inspect.Parameter.VAR_POSITIONAL for one in parameters)
    if len(named) < skipped and not open_ended:
        raise check.refuse(
            "method", loss, "a loss of (logits, targets)" if skipped == 2 else "a class made with counts"
        )
    names = {one.name for one in named[:skipped]}
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    found = {}
    for one in parameters:
        if one.name in names or one.name in GIVEN or one.kind in variable:
            continue
        if not isinstance(one.default, (bool, int, float, str)):
            has = "no default" if one.default is inspect.Parameter.empty else f"the default {check.shown(one.default)}"
            raise ValueError(
                f"method: {_name(loss)} has a parameter {one.name!r} with {has}; give it a number, a text "
                "or a truth value as its default, and it becomes a setting"
            )
        found[one.name] = OwnSetting.of(one.name, one.default)
    return found


@dataclass(frozen=True)
class OwnSetting(Setting):
    """A setting whose range is only that of its slider: what a reader's loss takes is the reader's business."""

    @classmethod
    def of(cls, name: str, default: Any) -> OwnSetting:
        if isinstance(default, bool):
            return cls(default, choices=(False, True), meaning=f"{name}, of your own loss")
        if isinstance(default, str):
            return cls(default, choices=(default,), meaning=f"{name}, of your own loss")
        far = 4 * abs(default) or 1
        return cls(default, -far if default < 0 else 0 * far, far, meaning=f"{name}, of your own loss")

    def check(self, name: str, value: Any) -> Any:
        if isinstance(self.default, str):
            return check.text(name, value)
        if isinstance(self.default, bool):
            return super().check(name, value)
        return check.number(name, value) + 0.0 if isinstance(self.default, float) else check.whole(name, value)


# ------------------------------------------------------------------------------------------------ what names its result
def own_code(bound: Bound) -> str | None:
    """What a method that is not one of ltviz's computes, as a hash of its functions; None for those of ltviz."""
    below = None if bound.base is None else own_code(bound.base)
    method = bound.method
    parts = [method.objective, method.stages, method.posthoc, method.probability]
    if issubclass(method.objective, OwnLoss):
        parts.append(method.objective.loss)
    elif below is None and all((getattr(part, "__module__", None) or "ltviz.").startswith("ltviz.") for part in parts):
        return None
    seen: dict[int, Any] = {}
    return request_id(code=[_content(part, seen) for part in parts], **({} if below is None else {"base": below}))


def source(bound: Bound) -> str | None:
    """The text of a reader's own loss, for the record; None for the methods of ltviz and where there is no text."""
    method = bound.method
    if not is_own(method):
        return None if bound.base is None else source(bound.base)
    loss = method.objective.loss if issubclass(method.objective, OwnLoss) else method.objective
    loss = loss.func if isinstance(loss, functools.partial) else loss
    try:
        return inspect.getsource(type(loss) if isinstance(loss, nn.Module) else loss)
    except (OSError, TypeError):
        return None


def _content(value: Any, seen: dict[int, Any]) -> Any:
    """What a value of code means, JSON-able: code, defaults, what a function closes over or finds in its module."""
    if isinstance(value, (bool, int, float, str, bytes, type(None))):
        return repr(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_content(one, seen) for one in value]
    if isinstance(value, Mapping):
        return [[repr(name), _content(one, seen)] for name, one in value.items()]
    if isinstance(value, (Tensor, np.ndarray)):
        return checksums({"array": to_array(value)})
    if id(value) in seen or (getattr(value, "__module__", None) or "").startswith(("ltviz.", "torch", "numpy")):
        return getattr(value, "__qualname__", type(value).__qualname__) + _state(value, seen)
    seen[id(value)] = value
    if isinstance(value, functools.partial):
        return [_content(one, seen) for one in (value.func, value.args, value.keywords)]
    if isinstance(value, FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        names = {name: value.__globals__[name] for name in value.__code__.co_names if name in value.__globals__}
        kept = (value.__defaults__, value.__kwdefaults__, cells, names)
        return [_code(value.__code__), *(_content(one, seen) for one in kept)]
    if isinstance(value, type):
        own = [kind for kind in value.__mro__ if not kind.__module__.startswith(("ltviz.", "torch.", "builtins"))]
        kinds = (FunctionType, staticmethod, classmethod, bool, int, float, str)
        parts = {
            f"{kind.__qualname__}.{name}": getattr(one, "__func__", one)
            for kind in own
            for name, one in sorted(vars(kind).items())
            if isinstance(one, kinds) and name not in ("__doc__", "__module__", "__qualname__")
        }
        return _content(parts, seen)
    return type(value).__qualname__ + _state(value, seen)


def _state(value: Any, seen: dict[int, Any]) -> str:
    """The settings and tensors of a module, as text."""
    if not isinstance(value, nn.Module) or isinstance(value, type):
        return ""
    plain = {name: one for name, one in vars(value).items() if isinstance(one, (bool, int, float, str))}
    state = checksums({name: to_array(tensor) for name, tensor in value.state_dict().items()})
    return repr((sorted(plain.items()), state))


def _code(code: CodeType) -> list:
    inner = [_code(one) if isinstance(one, CodeType) else repr(one) for one in code.co_consts]
    return [code.co_name, code.co_code.hex(), list(code.co_names), inner]
