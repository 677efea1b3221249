"""The contract. Read this file first: everything that ltviz knows about a method is said in the terms below.

A *method* (a loss, a sampler, a two-stage recipe, a post-hoc rule) is a `Method` record. Its `objective` turns the
`Output` of a network and the targets into a scalar; hooks let it listen to validation accuracy or keep buffers; its
`stages` say which images, which class weights and which parameters each part of training uses; `posthoc` re-decides
from a trained network. The training loop knows these words and nothing else, so a method is never a special case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from .check import suggest
from .functional import weighted_mean
from .samplers import SAMPLERS


@dataclass(frozen=True)
class Output:
    """What a network returns for a batch of n images, k classes, d features.

    logits (n, k) are always the logits you would use at test time; features (n, d) are what the head sees;
    head_weight (k, d) is the classifier matrix W (raw for a cosine head, effective for a scaled or generated one);
    scale is that of a cosine head (a float or a learned tensor), so that cos = logits / scale; index (n,) is the
    position of each sample in the training set; memory (k, d) are the class centroids of a head that keeps some.
    """

    logits: Tensor
    features: Tensor
    head_weight: Tensor
    scale: Tensor | float | None = None
    index: Tensor | None = None
    memory: Tensor | None = None


@dataclass(frozen=True)
class Report:
    """What an objective may know before an epoch.

    stage and epoch count from 0 (epoch over the whole run), progress in [0, 1] runs over the stage, head is the
    network's head, accuracy (k,) is that of the last *validation* (None before the first and where there is no
    validation set), embed() gives (features (n, d), targets (n,)) of the training data, in eval mode, on demand.
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
        """Write class_weight (k,) in place. Raises ValueError where somebody else has already written it."""
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
        return weighted_mean(self.losses(out, targets), targets, self.class_weight, self.reduction)

    def terms(self, out: Output, targets: Tensor) -> dict[str, Tensor]:
        """The scalar as named parts whose sum it is; a regulariser has several, and the history keeps each."""
        return {"classification": self(out, targets)}

    def make_head(self, dim: int) -> nn.Module:
        """The head that this loss trains: a module from features (n, dim) to test-time logits, with `.weight` (k, dim).

        A head that is random has `initialise(generator)`; a cosine head has `.scale`.
        """
        return nn.Linear(dim, self.k)

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
        raise TypeError(f"{type(self).__name__} must define penalty() or forward()")

    def terms(self, out: Output, targets: Tensor) -> dict[str, Tensor]:
        return {**self.base.terms(out, targets), self.name: self.penalty(out, targets)}

    def forward(self, out: Output, targets: Tensor) -> Tensor:
        return sum(self.terms(out, targets).values())

    def make_head(self, dim: int) -> nn.Module:
        return self.base.make_head(dim)

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
        if not 0.0 < self.share <= 1.0:
            raise ValueError(f"share must lie in (0, 1], not {self.share}")
        if self.sampler not in SAMPLERS:
            raise ValueError(f"unknown sampler {self.sampler!r}; choose one of {', '.join(SAMPLERS)}")
        if self.train not in ("all", "head") or self.schedule not in ("continue", "restart"):
            raise ValueError('train must be "all" or "head", schedule "continue" or "restart"')


@dataclass(frozen=True)
class Setting:
    """A hyper-parameter: its default and its range. Explorers make a control from it, the loop checks against it.

    scale is that of a slider: "linear", "log", or "one-minus-log" (log of 1 - value, down to 1e-6). With `choices`
    the setting is one of them and has no range. symbol is the paper's letter.
    """

    default: Any
    low: float | None = None
    high: float | None = None
    scale: str = "linear"
    choices: tuple = ()
    symbol: str = ""
    meaning: str = ""

    def check(self, name: str, value: Any) -> Any:
        """The value, in the type of the default; ValueError with name, range and value where it is not fit."""
        if self.choices:
            if value in self.choices and not (isinstance(value, bool) ^ isinstance(self.choices[0], bool)):
                return value
            raise ValueError(f"{name} must be one of {', '.join(map(repr, self.choices))}, not {value!r}")
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise ValueError(f"{name} must be a number from {self.low} to {self.high}, not {value!r}") from None
        if not self.low <= number <= self.high:
            raise ValueError(f"{name} must lie between {self.low} and {self.high}, not {value!r} ({self.meaning})")
        if isinstance(self.default, int):
            if number != int(number):
                raise ValueError(f"{name} must be a whole number from {self.low} to {self.high}, not {value!r}")
            return int(number)
        return number


BASE = Setting("ce", choices=("any method",), meaning="the loss that the term is added to: a key, or {'key': ..., ...}")


@dataclass(frozen=True)
class Limit:
    """A declared limit: under `settings` this method becomes method `other` under `other_settings`."""

    settings: Mapping[str, Any]
    other: str
    other_settings: Mapping[str, Any] = field(default_factory=dict)


def one_stage(**settings: Any) -> tuple[Stage, ...]:
    """The usual training: one stage, every image once an epoch."""
    return (Stage(),)


@dataclass(frozen=True)
class Method:
    """The record of a method. From the collection of these follow tests, controls, tables, benchmark and citations.

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

    def resolve(self, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """All settings, the given ones checked, the others at their defaults. JSON-able."""
        settings = dict(settings or {})
        for name in settings:
            if name not in self.settings:
                known = ", ".join(self.settings) or "none"
                raise ValueError(f"{self.key} has no setting {name!r}{suggest(name, self.settings)}; it has: {known}")
        return {
            name: _resolve_base(settings.get(name, "ce"))
            if setting is BASE
            else setting.check(name, settings.get(name, setting.default))
            for name, setting in self.settings.items()
        }

    def build(self, counts: Tensor, **settings: Any) -> Objective:
        """The objective for training counts (k,). Raises ValueError for counts or settings that make no sense."""
        counts = torch.as_tensor(counts)
        if counts.ndim != 1 or len(counts) < 2:
            raise ValueError(f"counts must be a vector of at least 2 classes, not of shape {tuple(counts.shape)}")
        if (counts < 0).any() or not (counts > 0).any():
            raise ValueError("counts must not be negative, and at least one class must have images")
        resolved = self.resolve(settings)
        if "base" in resolved:
            resolved["base"] = _split_base(resolved["base"], lambda base, own: base.build(counts, **own))
        return self.objective(counts, **resolved)

    def make_stages(self, **settings: Any) -> tuple[Stage, ...]:
        """The stages under these settings; a regulariser without stages of its own has those of its base."""
        resolved = self.resolve(settings)
        if "base" in resolved and self.stages is one_stage:
            return _split_base(resolved["base"], lambda base, own: base.make_stages(**own))
        stages = self.stages(**resolved)
        if abs(sum(stage.share for stage in stages) - 1.0) > 1e-6:
            raise ValueError(f"the shares of the stages of {self.key} must sum to 1")
        return stages

    def needs_validation(self, **settings: Any) -> bool:
        """Whether this method, or its base, listens to validation accuracy."""
        resolved = self.resolve(settings)
        base = "base" in resolved and _split_base(resolved["base"], lambda base, own: base.needs_validation(**own))
        return self.feedback or base

    def decide(
        self, out: Output, counts: Tensor, gallery: Callable[[], tuple[Tensor, Tensor]], **settings: Any
    ) -> Tensor | None:
        """Logits (n, k) after the post-hoc rule, None where there is none; a regulariser asks its base."""
        resolved = self.resolve(settings)
        if self.posthoc is not None:
            return self.posthoc(out, counts, gallery, **resolved)
        if "base" in resolved:
            return _split_base(resolved["base"], lambda base, own: base.decide(out, counts, gallery, **own))
        return None

    def probability_of(self, **settings: Any) -> str:
        """How logits become probabilities under these settings; a regulariser asks its base."""
        resolved = self.resolve(settings)
        if callable(self.probability):
            return self.probability(**resolved)
        if "base" in resolved and self.probability == "softmax":
            return _split_base(resolved["base"], lambda base, own: base.probability_of(**own))
        return self.probability

    def label(self, settings: Mapping[str, Any] | None = None) -> str:
        """A short name: the key and the settings that differ from their defaults, such as "focal gamma=2"."""
        parts = [self.key]
        for name, value in self.resolve(settings).items():
            if value != (self.settings[name].default):
                parts.append(f"{name}={value:g}" if isinstance(value, float) else f"{name}={_short(value)}")
        return " ".join(parts)


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return "+".join([str(value["key"]), *(f"{k}={v}" for k, v in value.items() if k != "key")])
    return str(value)


def _resolve_base(base: str | Mapping[str, Any]) -> str | dict[str, Any]:
    if isinstance(base, str):
        return METHODS[base].key
    if not isinstance(base, Mapping):
        raise ValueError(f"base must be a method's key, or {{'key': ..., and its settings}}, not {base!r}")
    own = {name: value for name, value in base.items() if name != "key"}
    given = METHODS[base.get("key", "ce")]
    resolved = given.resolve(own)
    return {"key": given.key, **{name: resolved[name] for name in own}} if own else given.key


def _split_base(base: str | Mapping[str, Any], use: Callable[[Method, dict[str, Any]], Any]) -> Any:
    if isinstance(base, str):
        return use(METHODS[base], {})
    return use(METHODS[base["key"]], {name: value for name, value in base.items() if name != "key"})


class Methods(Mapping[str, Method]):
    """All methods by key. Shows itself as a table; an unknown key suggests the nearest."""

    def __init__(self):
        self._methods: dict[str, Method] = {}
        self._aliases: dict[str, str] = {}

    def add(self, method: Method) -> None:
        """Add a record, or replace the one with its key."""
        self._methods[method.key] = method
        self._aliases.update(dict.fromkeys(method.aliases, method.key))

    def remove(self, key: str) -> None:
        """Take a record away (of a file that is gone)."""
        gone = self._methods.pop(key)
        for alias in gone.aliases:
            self._aliases.pop(alias, None)

    def __getitem__(self, key: str) -> Method:
        try:
            return self._methods[self._aliases.get(key, key)]
        except (KeyError, TypeError):
            names = [*self._methods, *self._aliases]
            raise UnknownMethod(
                f"unknown method {key!r}{suggest(key, names)}; ltviz.METHODS lists all {len(self._methods)}"
            ) from None

    def __contains__(self, key: object) -> bool:
        return key in self._methods or key in self._aliases

    def __iter__(self) -> Iterator[str]:
        return iter(self._methods)

    def __len__(self) -> int:
        return len(self._methods)

    def rows(self) -> list[dict[str, str]]:
        """One row a method: key, title, paper, head, stages, settings (with defaults)."""
        return [_row(method) for method in self.values()]

    def __repr__(self) -> str:
        rows = self.rows()
        widths = {c: max([len(c), *(len(r[c]) for r in rows)]) for c in ("key", "title", "paper")}
        lines = ["  ".join([*(c.ljust(w) for c, w in widths.items()), "settings"])]
        lines += ["  ".join([*(r[c].ljust(w) for c, w in widths.items()), r["settings"]]) for r in rows]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = self.rows()
        head = "".join(f"<th style='text-align:left'>{name}</th>" for name in rows[0])
        body = "".join(
            "<tr>" + "".join(f"<td style='text-align:left'>{v}</td>" for v in r.values()) + "</tr>" for r in rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


class UnknownMethod(KeyError):
    """An unknown key; its message suggests the nearest one."""

    def __str__(self) -> str:
        return self.args[0]


def _row(method: Method) -> dict[str, str]:
    head = type(method.build(torch.tensor([4, 2])).make_head(3)).__name__
    stages = method.make_stages()
    steps = [
        " ".join([f"{s.share:.0%}", s.sampler.replace("_", " "), *(["weighted"] if s.class_weight else []), s.train])
        for s in stages
    ]
    return {
        "key": method.key,
        "title": method.title,
        "paper": method.paper,
        "head": head,
        "stages": " -> ".join(steps) if len(steps) > 1 or stages[0].sampler != "instance" else "one",
        "settings": ", ".join(f"{n}={_short(s.default)}" for n, s in method.settings.items()),
    }


METHODS = Methods()
