"""A reader's own loss as a method: a function, a module or an `Objective`, trained and compared like any other."""

from __future__ import annotations

import copy
import functools
import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from . import check
from .files import request_id
from .functional import weighted_mean
from .methods import METHODS
from .naming import Code, code_hash, method_parts
from .objective import BASE, Bound, Method, Objective, Output, Regularizer, Setting

# What train, sweep and train_many take themselves, and what a base is spelled with: no setting can have such a name.
TAKEN = (
    "method", "data", "epochs", "seed", "seeds", "model", "recipe", "start", "device", "checkpoint", "speed",
    "progress", "folder", "small", "key", "weights", "head_classes", "augment", "callbacks",
)  # fmt: skip
NUMBERS_AND_TEXT = (bool, int, float, str)
# torch's losses: those of scores (n, k) and class numbers (n,), and those of targets as the scores are, (n, k).
OF_CLASSES = ("CrossEntropyLoss", "MultiMarginLoss", "NLLLoss", "cross_entropy", "multi_margin_loss", "nll_loss")
OF_SHAPES = (
    "BCELoss", "BCEWithLogitsLoss", "MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "KLDivLoss", "PoissonNLLLoss",
    "MultiLabelSoftMarginLoss", "MultiLabelMarginLoss", "SoftMarginLoss", "HingeEmbeddingLoss", "binary_cross_entropy",
    "binary_cross_entropy_with_logits", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "kl_div",
    "poisson_nll_loss", "multilabel_soft_margin_loss", "multilabel_margin_loss", "soft_margin_loss",
    "hinge_embedding_loss",
)  # fmt: skip
ONE_HOT = "torch.nn.functional.one_hot(targets, logits.shape[1]).float()"


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
            training images of each class (k,); all others have defaults, and become settings, but for those that are
            None by default, which stay so. Also a module whose forward is such a function, such as
            nn.CrossEntropyLoss(label_smoothing=0.1), any other object that is called like it, and a class of
            lt.Objective.
    key     its name in records and plots; default: that of the function or class
    Of a key of METHODS, and of METHODS[key](...), the Method; a Method is given back. ValueError for anything else, and
    for a name that METHODS has.
    """
    if isinstance(loss, str):
        return METHODS[loss]
    if isinstance(loss, (Method, Bound)):
        return loss.method if isinstance(loss, Bound) else loss
    _check_kind(loss)
    name = check.text("key", key) if key is not None else _name(loss)
    if name in METHODS and not is_own(METHODS[name]):
        raise ValueError(
            f"method: {name!r} is a method of ltviz, and runs of your own loss would be taken for its; "
            "rename it, or lt.as_method(loss, key=...)"
        )
    if isinstance(loss, type):
        objective, settings = loss, _settings(loss, 1)
    else:
        settings = _settings(loss, 2)
        # It stands in no module: what it computes is that of its loss (naming.py).
        parts = {"loss": staticmethod(loss), "name": name, "variant": _variant(loss), "__module__": "__own__"}
        objective = type(name, (OwnLoss,), {**parts, "__doc__": inspect.getdoc(loss)})
    if issubclass(objective, Regularizer):
        settings = {"base": BASE, **settings}
    return Method(
        key=name, title=name.replace("_", " "), paper="your own", equation="", objective=objective, settings=settings
    )


def _check_kind(loss: Any) -> None:
    """ValueError for what cannot be a loss, whatever its parameters are."""
    if not callable(loss):
        raise check.refuse(
            "method",
            loss,
            "a key of METHODS, METHODS[key](...), or a loss of your own: a function "
            "(logits, targets) or (out, targets), a module, or a class of lt.Objective",
        )
    if isinstance(loss, type) and not issubclass(loss, Objective):
        made = f"; make one first: {loss.__name__}()" if issubclass(loss, nn.Module) else ""
        raise check.refuse("method", loss, f"a class of lt.Objective, or a function{made}")
    if isinstance(loss, Objective):
        name = type(loss).__name__
        raise ValueError(
            f"method: {name}(...) is an objective, made for one data set; pass the class {name}: each run makes its own"
        )
    if isinstance(loss, nn.Module) and "forward" not in vars(loss) and type(loss).forward is nn.Module.forward:
        raise check.refuse("method", loss, "a module with a forward(logits, targets)")
    _check_torch_loss(loss)


def _torch_name(loss: Any) -> str:
    """The name of torch's own loss behind this one, module or function; "" where the reader wrote the code."""
    inner = loss.func if isinstance(loss, functools.partial) else getattr(loss, "_orig_mod", loss)
    if isinstance(inner, nn.Module):
        ours = getattr(inner.forward, "__module__", "") == "torch.nn.modules.loss"  # not that of a class made of it
        return inner.forward.__qualname__.partition(".")[0] if ours else ""
    return inner.__name__ if getattr(inner, "__module__", "") == "torch.nn.functional" else ""


def _check_torch_loss(loss: Any) -> None:
    """ValueError for a loss of torch that takes something else than logits and class numbers."""
    name = _torch_name(loss)
    if not name or name in OF_CLASSES:
        return
    wanted = "a loss of logits (n, k) and class numbers (n,), such as torch.nn.CrossEntropyLoss()"
    if name in OF_SHAPES:
        why = f"{name} asks for targets (n, k) as well; make them in a function (logits, targets), such as {ONE_HOT}"
        why += ", or choose METHODS['sigmoid']" if "with_logits" in name or "WithLogits" in name else ""
    else:
        why = f"{name} takes other arguments; where it is what you want, call it in a function (logits, targets)"
    raise check.refuse("method", loss, f"{wanted}. {why}")


def _name(loss: Any) -> str:
    """The name of a function or class, or of the class of an object."""
    inner = loss.func if isinstance(loss, functools.partial) else getattr(loss, "_orig_mod", loss)  # of torch.compile
    name = getattr(inner, "__name__", type(inner).__name__)
    return "own_loss" if name == "<lambda>" else name


def _variant(loss: Any) -> dict[str, Any]:
    """What tells a loss from others of its name: keywords of a partial, and arguments of its class, not at default."""
    if isinstance(loss, functools.partial):
        made, given, before = loss.func, loss.keywords, _variant(loss.func)
    elif isinstance(loss, (type, types.FunctionType, types.MethodType, types.BuiltinFunctionType)):
        return {}
    else:
        made, given, before = type(loss), getattr(loss, "__dict__", {}), {}
    try:
        defaults = {name: one.default for name, one in inspect.signature(made).parameters.items()}
    except (TypeError, ValueError):
        return before
    found = {name: given[name] for name in defaults if isinstance(given.get(name), NUMBERS_AND_TEXT)}
    return before | {name: value for name, value in found.items() if value != defaults[name]}


@contextmanager
def own_errors(bound: Bound, out: Output | None = None, targets: Tensor | None = None, of: str = "") -> Iterator[None]:
    """Inside, whatever a loss of one's own raises is a ValueError: whose it is, what it was given, what went wrong.

    of: whose targets these are, for the text. Errors that ltviz itself raises, and a lack of memory, stay as they are.
    """
    try:
        yield
    except Exception as error:
        memory = isinstance(error, (MemoryError, torch.OutOfMemoryError))
        if memory or not contains_own(bound) or (isinstance(error, ValueError) and _raised_here(error)):
            raise
        given = ""
        if out is not None:
            n, k = out.logits.shape
            given = f"given logits ({n}, {k}) and targets ({len(targets)},), whole numbers from 0 to {k - 1}{of}, "
        said = f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ").removesuffix(".")
        shaped = out is not None and any(word in said for word in ("size", "Integral"))
        advice = f". Where a loss asks for targets (n, k), make them in it, such as {ONE_HOT}" if shaped else ""
        raise ValueError(f"method={bound.key!r}: {given}it raised {said}{advice}") from error


def _raised_here(error: Exception) -> bool:
    """Whether ltviz itself raised it, whose messages say what is wrong."""
    place = error.__traceback__
    while place.tb_next is not None:
        place = place.tb_next
    return (place.tb_frame.f_globals.get("__name__") or "").partition(".")[0] == __package__


def is_own(method: Method) -> bool:
    """Whether a method is not one of ltviz's files."""
    return issubclass(method.objective, OwnLoss) or _top(method.objective) != "ltviz"


def spell(method: Method) -> str:
    """A method as the code of a call names it: a key in quotes, a loss of one's own by its name."""
    return method.key if is_own(method) else repr(method.key)


def spell_settings(bound: Bound) -> dict[str, str]:
    """The settings that are not at their defaults, each as the code of a call gives it."""
    base = bound.base
    found = {name: repr(value) for name, value in bound.differing.items()}
    if "base" in found and contains_own(base):
        more = ", ".join(f"{name}={text}" for name, text in spell_settings(base).items())
        made = f"lt.as_method({base.key})" if is_own(base.method) else f"lt.METHODS[{base.key!r}]"
        found["base"] = f"{made}({more})" if more else spell(base.method)
    return found


def contains_own(bound: Bound) -> bool:
    """Whether a method, or what it is added to, is not one of ltviz's files."""
    return is_own(bound.method) or (bound.base is not None and contains_own(bound.base))


class OwnLoss(Objective):
    """A function, or a module, of the logits (or the whole Output) and the targets, in the form of an objective."""

    loss: Callable[..., Tensor]
    name: str

    def __init__(self, counts: Tensor, **settings: Any):
        super().__init__(counts)
        self.settings, self.weighted = settings, False
        if isinstance(self.loss, nn.Module):
            self.module = copy.deepcopy(self.loss)  # a run trains its own
        self.whole, self.gives_counts = _first(self.loss)
        self.asks_log = _torch_name(self.loss) in ("NLLLoss", "nll_loss")

    def set_class_weight(self, weight: Tensor, writer: str = "objective") -> None:
        super().set_class_weight(weight, writer)
        self.weighted = not torch.allclose(self.class_weight, torch.ones_like(self.class_weight))

    def _value(self, out: Output, targets: Tensor) -> Tensor:
        function = getattr(self, "module", self.loss)
        more = {**self.settings, **({"counts": self.counts} if self.gives_counts else {})}
        if self.asks_log and (out.logits.logsumexp(1).abs() > 0.01).any():  # looked at once, in the first batch
            raise ValueError(
                f"{self.name} takes log-probabilities, and these logits are none; pass torch.nn.CrossEntropyLoss(), "
                "which is the same of logits"
            )
        self.asks_log = False
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
        if self.weighted and not value.dim():
            raise ValueError(
                f"{self.name} gave one loss for the whole batch, which the class weights of the {self.weight_writer} "
                "cannot reach: give one loss a sample, shape (n,), for instance with reduction='none'"
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
    parameters = list(_parameters(loss).values())
    head = parameters[0] if parameters else None
    written = None if head is None else head.annotation
    whole = head is not None and (
        head.name in ("out", "output") or written is Output or str(written).endswith("Output")
    )
    return whole, any(one.name == "counts" for one in parameters)


def _parameters(loss: Any) -> Mapping[str, inspect.Parameter]:
    loss = getattr(loss, "_orig_mod", loss)
    try:
        return inspect.signature(loss.forward if isinstance(loss, nn.Module) else loss).parameters
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
    names = {one.name for one in named[:skipped]} | {"counts"}  # what ltviz gives
    if isinstance(loss, type) and issubclass(loss, Regularizer):
        names.add("base")
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    asked = [one for one in parameters if one.name not in names and one.kind not in variable]
    return {one.name: _setting(_name(loss), one) for one in asked if one.default is not None}


def _setting(loss: str, one: inspect.Parameter) -> OwnSetting:
    """The setting of a parameter. ValueError, naming it, where it can be none."""
    has = f"method: {loss} has a parameter {one.name!r}"
    if one.name == "base":
        raise ValueError(f"{has}, which only a term added to another loss can have: write a class of lt.Regularizer")
    if one.name in TAKEN:
        raise ValueError(f"{has}, which would hide an argument of lt.train or lt.sweep; give it another name")
    default = check.plain(one.default)
    if not isinstance(default, NUMBERS_AND_TEXT):
        with_ = "no default" if default is inspect.Parameter.empty else f"the default {check.shown(default)}"
        raise ValueError(
            f"{has} with {with_}; give it a number, a text or a truth value as its default, and it becomes a setting"
        )
    if one.kind is inspect.Parameter.POSITIONAL_ONLY:
        raise ValueError(f"{has} that cannot be given by name; write it after the /")
    try:
        return OwnSetting.of(one.name, default)
    except ValueError:
        raise ValueError(f"{has} with the default {check.shown(default)}; give it a finite default") from None


@dataclass(frozen=True)
class OwnSetting(Setting):
    """A setting whose range is only that of its slider: what a reader's loss takes is the reader's business."""

    @classmethod
    def of(cls, name: str, default: Any) -> OwnSetting:
        if isinstance(default, bool):
            return cls(default, choices=(False, True), meaning=f"{name}, of your own loss")
        if isinstance(default, str):
            return cls(default, choices=(default,), meaning=f"{name}, of your own loss")
        check.number(name, default)
        far = 4 * abs(default) or 1
        far = far if abs(far) < float("inf") else abs(default)
        return cls(default, -far if default < 0 else 0 * far, far, meaning=f"{name}, of your own loss")

    def check(self, name: str, value: Any) -> Any:
        value = check.plain(value)
        if isinstance(self.default, str):
            return check.text(name, value)
        if isinstance(self.default, bool):
            return super().check(name, value)
        found = check.number(name, value) + 0.0  # -0.0 is 0.0
        if isinstance(self.default, float):
            return found
        if not found.is_integer():
            default = check.shown(self.default)
            raise check.refuse(
                name, value, f"a whole number, as the default of {name} is one; write the default as {default}.0 to "
                "take any number"
            )  # fmt: skip
        return check.whole(name, int(value), None)  # 2.0 is 2, as for the settings of every method


# ------------------------------------------------------------------------------------------------ what names its result
def own_code(bound: Bound) -> str | None:
    """What a method that is not one of ltviz's computes, as a hash of its code; None for those of ltviz.

    Where the code cannot say everything (naming.py), each call gives another hash, which no other run has.
    """
    found = described(bound)
    return None if found is None else found.unique


def described(bound: Bound) -> Code | None:
    """The same, in one spelling as long as this process lives: which runs are seeds of one loss."""
    below = None if bound.base is None else described(bound.base)
    method = bound.method
    parts = method_parts(method)
    ours = all(_top(part) == "ltviz" for part in parts) and not issubclass(method.objective, OwnLoss)
    if ours and below is None:
        return None
    takes = _first(method.objective.loss) if issubclass(method.objective, OwnLoss) else None
    text, whole = code_hash(method.key, [*parts, takes])
    if below is None:
        return Code(text, whole)
    return Code(request_id(code=text, base=below.text), whole and below.whole)


def _top(part: Any) -> str:
    """The package that a part of a method comes from; "ltviz" of a plain value, such as "softmax"."""
    return (getattr(part, "__module__", None) or "ltviz").partition(".")[0]


def source(bound: Bound) -> str | None:
    """The text of a reader's own loss, for the record; None for the methods of ltviz and where there is no text."""
    method = bound.method
    if not is_own(method):
        return None if bound.base is None else source(bound.base)
    loss = method.objective.loss if issubclass(method.objective, OwnLoss) else method.objective
    loss = loss.func if isinstance(loss, functools.partial) else loss
    try:
        return inspect.getsource(loss if inspect.isroutine(loss) or inspect.isclass(loss) else type(loss))
    except (OSError, TypeError):
        return None
