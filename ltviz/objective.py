"""The contract. Read this file first: everything that ltviz knows about a method is said in the terms below.

A *method* (a loss, a sampler, a two-stage recipe, a post-hoc rule) is a `Method` record. Its `objective` turns the
`Output` of a network and the targets into a scalar; hooks let it listen to validation accuracy or keep buffers; its
`stages` say which images, which class weights and which parameters each part of training uses; `posthoc` re-decides
from a trained network. The training loop knows these words and nothing else, so a method is never a special case.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from . import check
from .check import refuse, suggest
from .functional import weighted_mean
from .registry import METHODS, Methods, UnknownMethod
from .samplers import SAMPLERS
from .settings import Setting

__all__ = [
    "BASE", "METHODS", "Bound", "Limit", "Method", "Methods", "Objective", "Output", "Regularizer", "Report", "Setting",
    "Stage", "UnknownMethod", "one_stage",
]  # fmt: skip


@dataclass(frozen=True)
class Output:
    """What a network returns for a batch of n images, k classes, d features.

    logits (n, k) are always the logits you would use at test time; features (n, d) are what the head sees;
    head_weight (k, d) is the classifier matrix W (raw for a cosine head, effective for a scaled or generated one);
    scale is that of a cosine head (a float or a learned tensor), so that cos = logits / scale; index (n,) is the
    position of each sample in the training set; memory (k, d) are the class centroids of a head that keeps some;
    partner (n,) and share () say with what each image was blended, and are None where none was (Objective.mix).
    """

    logits: Tensor
    features: Tensor
    head_weight: Tensor
    scale: Tensor | float | None = None
    index: Tensor | None = None
    memory: Tensor | None = None
    partner: Tensor | None = None
    share: Tensor | None = None


@dataclass(frozen=True)
class Report:
    """What an objective may know before an epoch.

    stage and epoch count from 0 (epoch over the whole run), progress in [0, 1] runs over the stage, head is the
    network's head, accuracy (k,) is that of the last *validation* (None before the first and where there is no
    validation set, NaN for a class without validation images), embed() gives (features (n, d), targets (n,)) of the
    training data, in eval mode, on demand.
    """

    stage: int
    epoch: int
    progress: float
    head: nn.Module
    accuracy: Tensor | None
    embed: Callable[[], tuple[Tensor, Tensor]]


class Objective(nn.Module):
    """A loss. Subclasses write `losses` (one value a sample, the usual case) or `forward` (a scalar); both are pure.

    counts (k,) are the training images of each class. `class_weight` (k,) has one meaning everywhere: the mean over
    the n samples of w[y] * loss, w of mean 1 over the classes present. Either the objective or the stage writes it,
    never both. Buffers are updated in place (`copy_`), never bound anew, so that a step can be captured as a graph.
    """

    reduction = "n"  # of functional.weighted_mean
    variant: Mapping[str, Any] = {}  # what a label says of it beside its name and settings

    def __init__(self, counts: Tensor):
        super().__init__()
        self.register_buffer("counts", torch.as_tensor(counts).to(torch.float32).clone())
        self.register_buffer("class_weight", torch.ones_like(self.counts))
        self.weight_writer: str | None = None
        self.generator: torch.Generator | None = None  # the run's own; set by the loop

    @property
    def k(self) -> int:
        return len(self.counts)

    def set_class_weight(self, weight: Tensor, writer: str = "objective") -> None:
        """Write class_weight (k,) in place. Raises ValueError where another writer has, and for what is no weight."""
        if not isinstance(weight, Tensor) or weight.shape != self.class_weight.shape:
            raise refuse("class_weight", weight, f"a tensor of one weight for each of the {self.k} classes")
        if not bool((weight.isfinite() & (weight >= 0)).all()):
            raise refuse("class_weight", weight.tolist(), "finite weights, none negative")
        if self.weight_writer not in (None, writer):
            raise ValueError(
                f"class_weight is already set by the {self.weight_writer}, and now by the {writer}: it has one writer. "
                "Use a stage without class_weight, or a base method without weights of its own."
            )
        self.weight_writer = writer
        self.class_weight.copy_(weight.to(self.class_weight))

    def losses(self, out: Output, targets: Tensor) -> Tensor:
        """Loss of each sample (n,), before class weights."""
        raise TypeError(f"{type(self).__name__} gives one loss for a whole batch, none for each sample")

    def forward(self, out: Output, targets: Tensor) -> Tensor:
        """The scalar that is minimised."""
        expected = "one loss a sample, shape (n,); one for the whole batch belongs in forward()"
        losses = check.result(self, "losses", self.losses(out, targets), targets.shape, expected)
        return weighted_mean(losses, targets, self.class_weight, self.reduction)

    def terms(self, out: Output, targets: Tensor) -> dict[str, Tensor]:
        """The scalar as named parts whose sum it is; a regulariser has several, and the history keeps each."""
        whole = "a scalar, such as a mean over the batch; one loss a sample belongs in losses()"
        return {"classification": check.result(self, "forward", self(out, targets), (), whole)}

    def make_head(self, dim: int) -> nn.Module:
        """The head that this loss trains: a module from features (n, dim) to test-time logits, with `.weight` (k, dim).

        A head that is random has `initialise(generator)`; a cosine head has `.scale`.
        """
        return nn.Linear(dim, self.k)

    def mix(self, targets: Tensor) -> tuple[Tensor, Tensor] | None:
        """With which image of its batch each one is blended: partner (n,), places in the batch, and share (), a number.

        The network then sees share * image + (1 - share) * image[partner]. None: it sees the images themselves.
        """
        return None

    def begin_epoch(self, report: Report) -> None:
        """Listen before an epoch, without gradients; write buffers in place."""

    def after_step(self, out: Output, targets: Tensor) -> None:
        """Listen after a step, without gradients; write buffers in place."""


class Regularizer(Objective):
    """A term added to another loss, its `base`. Subclasses write `penalty`; head, hooks and weights go to the base."""

    name = "penalty"  # of the term in the history

    def __init__(self, counts: Tensor, base: Objective):
        super().__init__(counts)
        self.base = base

    def set_class_weight(self, weight: Tensor, writer: str = "objective") -> None:
        self.base.set_class_weight(weight, writer)

    def penalty(self, out: Output, targets: Tensor) -> Tensor:
        """The scalar that is added to the base's loss."""
        raise TypeError(f"{type(self).__name__} must define penalty()")

    def terms(self, out: Output, targets: Tensor) -> dict[str, Tensor]:
        added = check.result(self, "penalty", self.penalty(out, targets), (), "a scalar, such as a mean")
        return {**self.base.terms(out, targets), self.name: added}

    def forward(self, out: Output, targets: Tensor) -> Tensor:
        return sum(self.terms(out, targets).values())

    def make_head(self, dim: int) -> nn.Module:
        return self.base.make_head(dim)

    def mix(self, targets: Tensor) -> tuple[Tensor, Tensor] | None:
        return self.base.mix(targets)

    def begin_epoch(self, report: Report) -> None:
        self.base.generator = self.generator
        self.base.begin_epoch(report)

    def after_step(self, out: Output, targets: Tensor) -> None:
        self.base.after_step(out, targets)


@dataclass(frozen=True)
class Stage:
    """A part of training: `share` of the epochs (shares sum to 1) under one sampler, one class weight, one head.

    sampler is a name of samplers.SAMPLERS; class_weight maps counts (k,) to weights (k,); head maps the previous head
    to a new one; train "head" freezes the rest; schedule "restart" starts the learning rate anew, "continue" goes on.
    """

    share: float = 1.0
    sampler: str = "instance"
    class_weight: Callable[[Tensor], Tensor] | None = None
    head: Callable[[nn.Module], nn.Module] | None = None
    train: str = "all"
    schedule: str = "continue"

    def __post_init__(self):
        object.__setattr__(self, "share", check.number("share", self.share, high=1.0, above=0.0))
        check.choice("sampler", self.sampler, SAMPLERS)
        check.choice("train", self.train, ("all", "head"))
        check.choice("schedule", self.schedule, ("continue", "restart"))
        for name, result in (("class_weight", "counts (k,) -> weights (k,)"), ("head", "head -> new head")):
            if getattr(self, name) is not None and not callable(getattr(self, name)):
                raise refuse(name, getattr(self, name), f"None or a function, {result}")


class _Base(Setting):
    """The setting of a method that adds to another: which one."""

    def __post_init__(self):
        pass

    def check(self, name: str, value: Any) -> Any:
        """The base in its one spelling: a key, or {"key": ..., and the settings that differ from their defaults}."""
        return bind_base(name, value).spelling


BASE = _Base("ce", choices=("any method",), meaning="the loss that the term is added to: a key, or {'key': ..., ...}")


@dataclass(frozen=True)
class Limit:
    """A declared limit: under `settings` this method becomes method `other` under `other_settings`."""

    settings: Mapping[str, Any]
    other: str
    other_settings: Mapping[str, Any] = field(default_factory=dict)


def one_stage() -> tuple[Stage, ...]:
    """The usual training: one stage, every image once an epoch."""
    return (Stage(),)


@dataclass(frozen=True)
class Method:
    """The record of a method. From the collection of these follow tests, controls, tables, benchmark and citations.

    Called with settings, it gives the method that is trained: METHODS["ring"](strength=0.1, base=METHODS["cdb"]()).
    Objective, stages, post-hoc rule and probability each get those of the settings that they declare.

    key          its name in code, snake_case; aliases are further names
    title, paper human name; authors and year
    equation     LaTeX, without dollar signs
    objective    the class, called as objective(counts, **settings)
    settings     name -> Setting, every keyword of the objective, the stages and the post-hoc rule
    stages       settings -> tuple of Stage
    posthoc      (out, counts, gallery, **settings) -> logits (n, k); gallery() gives (features, targets) of training
    limits       declared limits, each checked for value and gradient
    smooth       settings under which the gradient must agree with finite differences
    probability  "softmax" or "sigmoid": how logits become probabilities, or settings -> one of the two
    feedback     True where begin_epoch needs the accuracy on a validation set
    citation     BibTeX
    """

    key: str
    title: str
    paper: str
    equation: str
    objective: type[Objective]
    settings: Mapping[str, Setting] = field(default_factory=dict)
    stages: Callable[..., tuple[Stage, ...]] = one_stage
    posthoc: Callable[..., Tensor] | None = None
    limits: tuple[Limit, ...] = ()
    smooth: Mapping[str, Any] = field(default_factory=dict)
    probability: str | Callable[..., str] = "softmax"
    feedback: bool = False
    citation: str = ""
    aliases: tuple[str, ...] = ()

    @property
    def doc(self) -> str:
        """The objective's docstring: what the method does, and where it is known to fail."""
        return self.objective.__doc__ or ""

    def __call__(self, **settings: Any) -> Bound:
        """The method under these settings, each checked once, the others at their defaults.

        ValueError for an unknown name or an unfit value; UnknownMethod for a base that is none.
        """
        for name in settings:
            if name not in self.settings:
                known = ", ".join(self.settings) or "none"
                raise ValueError(f"{self.key} has no setting {name!r}{suggest(name, self.settings)}; it has: {known}")
        given = {name: settings.get(name, one.default) for name, one in self.settings.items()}
        base = bind_base("base", given["base"]) if "base" in given else None
        return Bound(self, {name: one.check(name, given[name]) for name, one in self.settings.items()}, base)


@dataclass(frozen=True)
class Bound:
    """A method under its settings, all of them checked, JSON-able and in one spelling: what a run is trained with.

    base: the bound method that this one adds a term to, None for a method that stands alone.
    """

    method: Method
    settings: Mapping[str, Any]
    base: Bound | None = None

    @property
    def key(self) -> str:
        return self.method.key

    @property
    def differing(self) -> dict[str, Any]:
        """The settings that are not at their defaults."""
        declared = self.method.settings
        return {name: value for name, value in self.settings.items() if value != declared[name].default}

    @property
    def spelling(self) -> str | dict[str, Any]:
        """The key, or {"key": ..., and the settings that are not at their defaults}."""
        own = self.differing
        return {"key": self.key, **own} if own else self.key

    @property
    def label(self) -> str:
        """A short name: the key and the settings that differ from their defaults, such as "focal gamma=2".

        Different settings have different labels.
        """
        said = {**self.method.objective.variant, **self.differing}
        return " ".join([self.key, *(f"{name}={check.spelled(value)}" for name, value in said.items())])

    def build(self, counts: Any) -> Objective:
        """The objective for training counts (k,), whole numbers. ValueError for counts that make no sense.

        At least 2 classes; one may be without images, but not all.
        """
        found = check.counts(counts)
        if len(found) < 2 or not found.any() or (found != found.round()).any():
            expected = "whole numbers of images of at least 2 classes (k,), of which at least one has some"
            raise refuse("counts", found.tolist(), expected)
        device = counts.device if isinstance(counts, Tensor) else None
        counts = torch.as_tensor(found.astype("int64"), device=device)
        given = dict(self.settings)
        if self.base is not None:
            given["base"] = self.base.build(counts)
        return _made(self.method.objective, counts, taken(self.method.objective, given))

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The parts of training; a regulariser without stages of its own has those of its base."""
        if self.base is not None and self.method.stages is one_stage:
            return self.base.stages
        stages = self.method.stages(**taken(self.method.stages, self.settings))
        if abs(sum(stage.share for stage in stages) - 1.0) > 1e-6:
            raise ValueError(f"the shares of the stages of {self.key} must sum to 1")
        return stages

    @property
    def needs_validation(self) -> bool:
        """Whether this method, or its base, listens to validation accuracy."""
        return self.method.feedback or (self.base is not None and self.base.needs_validation)

    @property
    def probability(self) -> str:
        """How logits become probabilities, "softmax" or "sigmoid"; a regulariser asks its base."""
        of = self.method.probability
        if callable(of):
            return of(**taken(of, self.settings))
        return self.base.probability if self.base is not None and of == "softmax" else of

    def decide(
        self, out: Output, counts: Any, gallery: Callable[[], tuple[Tensor, Tensor]] | None = None
    ) -> Tensor | None:
        """Logits (n, k) after the post-hoc rule, None where there is none; a regulariser asks its base.

        out: of a trained network; counts (k,) of its training set; gallery() -> (features (m, d), targets (m,)) of the
        training images, for rules that ask for them.
        """
        if self.method.posthoc is None:
            return None if self.base is None else self.base.decide(out, counts, gallery)
        check.instance("out", out, Output, "an Output: what a network returns for images")
        found = check.counts(counts)
        if len(found) != out.logits.shape[1]:
            raise refuse("counts", counts, f"one count for each of the {out.logits.shape[1]} classes of the logits")
        counts = torch.as_tensor(found.astype("int64"), device=out.logits.device)
        return self.method.posthoc(out, counts, gallery, **taken(self.method.posthoc, self.settings))


def _made(kind: type[Objective], counts: Tensor, given: Mapping[str, Any]) -> Objective:
    """An objective. ValueError, naming its class, where its __init__ leaves out that of Objective."""
    try:
        objective = kind(counts, **given)
        objective.class_weight  # noqa: B018
    except Exception as error:
        lacks = ("Module.__init__() call", "'class_weight'", "'counts'")
        if isinstance(error, AttributeError) and any(said in str(error) for said in lacks):
            call = f"super().__init__({'counts, base' if issubclass(kind, Regularizer) else 'counts'})"
            raise ValueError(
                f"{kind.__name__}.__init__ must begin with {call}, which keeps counts and weights"
            ) from None
        if isinstance(error, ValueError) or kind.__module__.partition(".")[0] == __package__:
            raise
        raise ValueError(f"{kind.__name__}(counts, ...) raised {type(error).__name__}: {error}") from error
    return objective


def taken(function: Callable[..., Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a function, or the construction of a class, declares among its parameters."""
    parameters = inspect.signature(function).parameters
    every = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())
    return {name: value for name, value in settings.items() if every or name in parameters}


def bind_base(name: str, value: Any) -> Bound:
    """A method given as a key, as {"key": ..., and its settings}, as a record, bound, or as a loss of one's own."""
    value = {"key": value} if isinstance(value, str) else value
    if isinstance(value, Bound) or callable(value):
        try:  # own.py is made of what stands here
            return importlib.import_module(f"{__package__}.own").bind(value)
        except ValueError as error:
            raise ValueError(f"{name}{str(error).removeprefix('method')}") from None
    if not isinstance(value, Mapping) or not isinstance(value.get("key"), str):
        raise refuse(name, value, "a method's key, {'key': ..., and its settings}, METHODS[key](...), or your own loss")
    return METHODS[value["key"]](**{setting: one for setting, one in value.items() if setting != "key"})
