"""The battery: what every method must pass, as plain functions of a `Method` and its settings.

test_methods.py runs them over METHODS; test_planted_bugs.py shows that they fail on methods that are wrong. Batches are
long-tailed and class weights unequal: on a balanced batch a sum over weights instead of over N goes unseen.
"""

from __future__ import annotations

import copy
import dis
import inspect
import itertools
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import references
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from ltviz.methods import METHODS
from ltviz.models import initialise
from ltviz.objective import BASE, Method, Objective, Output, Regularizer, Report

COUNTS = (45, 25, 8, 2)
BATCH = (0, 1, 0, 2, 0, 0, 3, 1, 0, 1, 0, 2, 1, 0)  # 7, 4, 2 and 1 images of the four classes
WEIGHTS = (0.2, 0.7, 1.1, 2.0)
ACCURACY = (0.9, 0.65, 0.3, 0.1)
DIM = 5

references.collect()


# ---------------------------------------------------------------------------------------------------------- variants
def middle(setting) -> float | int:
    """A value inside the range that is neither an end nor the default."""
    low, high = setting.low, setting.high
    if setting.scale == "one-minus-log":
        value = 1.0 - 10.0 ** (0.5 * (math.log10(max(1.0 - low, 1e-6)) + math.log10(max(1.0 - high, 1e-6))))
    elif setting.scale == "log":
        value = math.sqrt(max(low, high * 1e-4) * high)
    else:
        value = 0.5 * (low + high)
    if value == setting.default:
        value = 0.75 * value + 0.25 * high
    return round(value) if isinstance(setting.default, int) else value


def variants(method: Method) -> Iterator[tuple[str, dict]]:
    """(name, settings): the defaults, every other choice, a middle value of every number, two bases other than ce."""
    yield "defaults", {}
    choices = {name: s for name, s in method.settings.items() if s.choices and s is not BASE}
    numbers = {name: middle(s) for name, s in method.settings.items() if not s.choices}
    if numbers:
        yield "middle", numbers
    for name, setting in choices.items():
        for choice in setting.choices:
            if choice != setting.default:
                yield f"{name}={choice}", {name: choice}
    if len(choices) > 1:
        yield "last choices", {**numbers, **{name: setting.choices[-1] for name, setting in choices.items()}}
    if "base" in method.settings:
        yield "base=ldam_drw", {"base": "ldam_drw"}
        yield "base=cdb", {"base": {"key": "cdb", "tau_rule": "fixed", "tau": 1.5}}


# -------------------------------------------------------------------------------------------------------------- case
@dataclass
class Case:
    """A method at work: its objective and head, entered into a stage, and a batch."""

    method: Method
    settings: dict
    counts: Tensor
    objective: Objective
    head: nn.Module
    features: Tensor
    targets: Tensor
    index: Tensor
    report: Report
    stage_weight: np.ndarray
    seen: list[np.ndarray]
    blend: tuple[Tensor, Tensor] | None = None

    def output(self, rows: Tensor | slice = slice(None)) -> Output:
        features = self.features[rows]
        scale, memory = getattr(self.head, "scale", None), getattr(self.head, "memory", None)
        return Output(
            self.head(features), features, self.head.weight, scale, self.index[rows], memory, *self.blended(rows)
        )

    def blended(self, rows: Tensor | slice) -> tuple[Tensor, ...]:
        """Partner and share of these rows; partners are places in the batch, so a part of it has none."""
        if self.blend is None or (isinstance(rows, slice) and rows == slice(None)):
            return self.blend or ()
        whole = isinstance(rows, Tensor) and len(rows) == len(self.targets)
        return (rows.argsort()[self.blend[0][rows]], self.blend[1]) if whole else ()

    def loss(self, rows: Tensor | slice = slice(None)) -> Tensor:
        return self.objective(self.output(rows), self.targets[rows])

    def leaves(self) -> dict[str, Tensor]:
        """What the loss is differentiated for: features, and every trained parameter of head and objective."""
        named = [("features", self.features)]
        named += [(f"head.{name}", p) for name, p in self.head.named_parameters()]
        named += [(f"objective.{name}", p) for name, p in self.objective.named_parameters()]
        return {name: p for name, p in named if p.requires_grad}

    def gradients(self, loss: Tensor) -> dict[str, Tensor]:
        leaves = self.leaves()
        found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
        return {n: torch.zeros_like(p) if g is None else g for (n, p), g in zip(leaves.items(), found, strict=True)}

    def arrays(self):
        """The batch as numpy arrays, for a reference."""
        with torch.no_grad():
            out = self.output()
        bias = getattr(self.head, "bias", None)
        train = self.report.embed()
        return references.namespace(
            logits=array(out.logits),
            features=array(out.features),
            head_weight=array(out.head_weight),
            head_bias=None if bias is None else array(bias),
            scale=None if out.scale is None else float(array(torch.as_tensor(out.scale))),
            index=array(self.index),
            memory=None if out.memory is None else array(out.memory),
            partner=None if out.partner is None else array(out.partner),
            share=None if out.share is None else float(out.share),
            accuracy=None if self.report.accuracy is None else array(self.report.accuracy),
            train=(array(train[0]), array(train[1])),
            state={name: array(value) for name, value in self.objective.state_dict().items()},
            seen=self.seen,
        )

    def reference_settings(self) -> dict:
        """The settings as a reference gets them: a base with all of its own."""
        bound = self.method(**self.settings)
        base = bound.base
        return {**bound.settings, **({} if base is None else {"base": {"key": base.key, **base.settings}})}


def array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().copy()


def classifier(objective: Objective) -> Objective:
    """The innermost base: the one whose class weights count."""
    while isinstance(objective, Regularizer):
        objective = objective.base
    return objective


def training_set(counts: Tensor, dim: int, dtype: torch.dtype, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Features (n, dim) and targets (n,) of a small training set with these counts, cut at 50 images a class."""
    targets = torch.repeat_interleave(torch.arange(len(counts)), counts.clamp_max(50))
    centres = torch.randn(len(counts), dim, generator=generator, dtype=torch.float64)
    noise = torch.randn(len(targets), dim, generator=generator, dtype=torch.float64)
    return (centres[targets] + 0.7 * noise).to(dtype), targets


def make_case(
    method: Method,
    settings: dict | None = None,
    *,
    stage: int = -1,
    counts=COUNTS,
    batch=BATCH,
    dim: int = DIM,
    dtype: torch.dtype = torch.float64,
    weights=WEIGHTS,
    seed: int = 0,
    steps: int = 2,
) -> Case:
    """A method after it has entered a stage, heard two reports and seen `steps` batches (at most 2), before another."""
    settings = dict(settings or {})
    bound = method(**settings)
    counts = torch.tensor(counts)
    k = len(counts)
    generator = torch.Generator().manual_seed(seed)
    objective = bound.build(counts).to(dtype)
    objective.generator = torch.Generator().manual_seed(seed + 1)
    head = objective.make_head(dim)
    initialise(head, generator)
    head = head.to(dtype)
    train, train_targets = training_set(counts, dim, dtype, generator)
    starts = torch.cumsum(counts.clamp_max(50), 0) - counts.clamp_max(50)
    targets = torch.tensor(batch)
    accuracy = torch.tensor([ACCURACY[j % len(ACCURACY)] for j in range(k)], dtype=dtype)
    stages = bound.stages
    last = stage % len(stages)
    stage_weight = torch.ones(k, dtype=dtype)
    for number, entered in enumerate(stages[: last + 1]):
        if entered.head is not None:
            head = entered.head(head)
            if hasattr(head, "initialise"):
                initialise(head, generator)
            head = head.to(dtype)
        if entered.class_weight is not None:
            stage_weight = entered.class_weight(counts)
            objective.set_class_weight(stage_weight, "stage")
        elif number == last and classifier(objective).weight_writer is None and weights is not None:
            stage_weight = torch.tensor(weights[:k], dtype=dtype)
            objective.set_class_weight(stage_weight, "stage")
        for heard in (None, accuracy):
            epoch = 2 * number + (heard is not None)
            report = Report(number, epoch, float(heard is not None), head, heard, lambda: (train, train_targets))
            with torch.no_grad():
                objective.begin_epoch(report)
    nth = torch.tensor([sum(int(other) == int(y) for other in targets[:i]) for i, y in enumerate(targets)])
    index = starts[targets] + nth % counts[targets].clamp(1, 50)
    features = train[index] if len(train) else torch.zeros(len(targets), dim, dtype=dtype)
    features = features + 0.5 * torch.randn(features.shape, generator=generator, dtype=torch.float64).to(dtype)
    case = Case(
        method, settings, counts, objective, head, features.requires_grad_(), targets, index, report,
        array(stage_weight).astype(np.float64), [],
    )  # fmt: skip
    for rows in (torch.arange(len(targets) // 2), torch.arange(len(targets)))[:steps]:
        with torch.no_grad():
            objective.after_step(case.output(rows), targets[rows])
        case.seen.append(array(targets[rows]))
    case.blend = objective.mix(targets)
    return case


def stage_numbers(method: Method, settings: dict) -> list[int]:
    """The stages that differ in what the loss is: the first, and those with another head or other class weights."""
    stages = method(**settings).stages
    return [i for i, s in enumerate(stages) if i == 0 or s.head is not None or s.class_weight is not None]


def same(a: dict[str, Tensor], b: dict[str, Tensor], tolerance: float, what: str) -> None:
    for name in a:
        gap = (a[name] - b[name]).abs().max() if a[name].numel() else 0.0
        scale = 1.0 + (a[name].abs().max() if a[name].numel() else 0.0)
        assert gap <= tolerance * scale, f"{what}: gradient of {name} differs by {float(gap):.3g}"


# ------------------------------------------------------------------------------------------------------------ checks
def check_reference(method: Method, settings: dict) -> None:
    """Value of the loss, logits of the head and post-hoc logits against numpy, in every stage and in its first step."""
    assert method.key in references.REFERENCES, f"{method.key} has no reference: see tests/references.py"
    for stage in stage_numbers(method, settings):
        for seed, steps in ((0, 2), (1, 2), (2, 0)):
            case = make_case(method, settings, stage=stage, seed=seed, steps=steps)
            out, own = case.arrays(), case.reference_settings()
            targets, counts = array(case.targets), array(case.counts).astype(np.float64)
            expected = references.REFERENCES[method.key](out, targets, counts, case.stage_weight, **own)
            np.testing.assert_allclose(float(case.loss().detach()), expected, rtol=2e-6, atol=1e-7)
            terms = case.objective.terms(case.output(), case.targets)
            np.testing.assert_allclose(float(sum(terms.values()).detach()), expected, rtol=2e-6, atol=1e-7)
            check_head(case, out, own)
            check_posthoc(case, out, own)


def check_head(case: Case, out, settings: dict) -> None:
    """The head's logits: those of a linear or a cosine head, or of its own reference."""
    if case.method.key in references.HEADS:
        state = {name: array(value) for name, value in case.head.state_dict().items()}
        function = references.HEADS[case.method.key]
        expected = function(out.features, out.head_weight, out.head_bias, out.scale, state, **settings)
    elif out.scale is not None:
        unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (out.features, out.head_weight)]
        expected = out.scale * unit[0] @ unit[1].T
    else:
        expected = out.features @ out.head_weight.T + (0.0 if out.head_bias is None else out.head_bias)
    np.testing.assert_allclose(out.logits, expected, rtol=1e-6, atol=1e-7)


def check_posthoc(case: Case, out, settings: dict) -> None:
    """Post-hoc logits: those of the reference, for each image by itself, without touching what was stored."""
    if case.method.posthoc is None:
        return
    decide = case.method(**case.settings).decide
    with torch.no_grad():
        stored = case.output()
        before = stored.logits.clone()
        logits = decide(stored, case.counts, case.report.embed)
        alone = decide(case.output(slice(0, 1)), case.counts, case.report.embed)
    assert logits.shape == before.shape and torch.equal(stored.logits, before)
    np.testing.assert_allclose(array(alone[0]), array(logits[0]), rtol=1e-9, atol=1e-9)
    expected = references.POSTHOC[case.method.key](out, array(case.counts).astype(np.float64), out.train, **settings)
    np.testing.assert_allclose(array(logits), expected, rtol=1e-6, atol=1e-6)


def check_gradient(method: Method, settings: dict, fast: bool = False) -> None:
    """The gradient agrees with finite differences, for features and every trained parameter, at `smooth` settings."""
    settings = {**settings, **method.smooth}
    for stage in stage_numbers(method, settings):
        case = make_case(method, settings, stage=stage, dim=3, batch=BATCH[:9])
        leaves = case.leaves()

        def loss(*values, case=case, names=tuple(leaves)):
            given = dict(zip(names, values, strict=True))
            inside = Inside(case.head, case.objective, case.index, case.targets)
            # A head may use its memory as a constant; what is trained is the memory that the objective sees.
            outside = {name: given.pop(name) for name in ("features", "head.memory") if name in given}
            return torch.func.functional_call(inside, given, tuple(outside.values()))

        inputs = [p.detach().clone().requires_grad_() for p in leaves.values()]
        assert torch.autograd.gradcheck(loss, inputs, eps=1e-6, atol=1e-5, rtol=1e-4, fast_mode=fast)


def check_slope(method: Method, settings: dict) -> None:
    """The gradient is the slope of the numpy reference, in which constants for the gradient stand still.

    Taken for logits, features and rows apart, along random directions, also in the first step. Unlike finite
    differences of the loss itself, this sees what must be detached and is not.
    """
    for stage in stage_numbers(method, settings):
        for steps in (2, 0):
            case = make_case(method, settings, stage=stage, steps=steps)
            here, own = case.arrays(), case.reference_settings()
            targets, counts = array(case.targets), array(case.counts).astype(np.float64)
            with torch.no_grad():
                out = case.output()
            leaves = {n: getattr(out, n).clone().requires_grad_() for n in ("logits", "features", "head_weight")}
            gradients = torch.autograd.grad(
                case.objective(replace(out, **leaves), case.targets), list(leaves.values()), allow_unused=True
            )
            for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True):
                for seed in range(3):
                    along = np.random.default_rng(seed).standard_normal(leaf.shape)
                    value = [
                        references.REFERENCES[method.key](
                            references.namespace(**{**vars(here), name: getattr(here, name) + sign * 1e-6 * along}),
                            targets, counts, case.stage_weight, **own,
                        )
                        for sign in (1, -1)
                    ]  # fmt: skip
                    found = 0.0 if gradient is None else float((array(gradient) * along).sum())
                    slope = (value[0] - value[1]) / 2e-6
                    gap = abs(found - slope)
                    assert gap <= 1e-5 * (1.0 + abs(slope)), f"slope along {name}: {found:.6g}, not {slope:.6g}"


class Inside(nn.Module):
    """Head and objective as one module, so that gradcheck can put its own parameters into both."""

    def __init__(self, head: nn.Module, objective: Objective, index: Tensor, targets: Tensor):
        super().__init__()
        self.head, self.objective, self.index, self.targets = head, objective, index, targets

    def forward(self, features: Tensor, memory: Tensor | None = None) -> Tensor:
        scale = getattr(self.head, "scale", None)
        out = Output(self.head(features), features, self.head.weight, scale, self.index, memory)
        return self.objective(out, self.targets)


def check_limits(method: Method) -> None:
    """Under the settings of a declared limit, value and gradient are those of the other method."""
    for limit in method.limits:
        other = METHODS[limit.other]
        theirs = make_case(other, dict(limit.other_settings), weights=None)
        ours = make_case(method, dict(limit.settings), weights=None)
        free = [classifier(case.objective).weight_writer is None for case in (ours, theirs)]
        if all(free):
            for case in (ours, theirs):
                case.objective.set_class_weight(torch.tensor(WEIGHTS), "stage")
        if theirs.head.state_dict().keys() == ours.head.state_dict().keys():
            theirs.head.load_state_dict(ours.head.state_dict())
        else:  # the limit is one of the loss, on a head of its own
            theirs.head = ours.head
        a, b = ours.loss(), theirs.loss()
        what = f"{method.key} {dict(limit.settings)} -> {other.key} {dict(limit.other_settings)}"
        np.testing.assert_allclose(float(a.detach()), float(b.detach()), rtol=1e-6, atol=1e-8, err_msg=what)
        named = [{n: g for n, g in c.gradients(v).items() if not n.startswith("objective.")} for c, v in
                 ((ours, a), (theirs, b))]  # fmt: skip
        same(named[0], named[1], 1e-6, what)


def check_order(method: Method, settings: dict) -> None:
    """The order of the batch does not matter: same value, the same gradient for each image."""
    case = make_case(method, settings)
    shuffled = torch.randperm(len(case.targets), generator=torch.Generator().manual_seed(3))
    a, b = case.loss(), case.loss(shuffled)
    np.testing.assert_allclose(float(a.detach()), float(b.detach()), rtol=1e-6, atol=1e-8)
    same(case.gradients(a), case.gradients(b), 1e-6, "shuffled batch")


def check_reach(method: Method, settings: dict) -> None:
    """The gradient reaches the features of every image, the classifier, and every parameter of the objective."""
    for stage in stage_numbers(method, settings):
        case = make_case(method, settings, stage=stage)
        gradients = case.gradients(case.loss())
        rows = gradients.pop("features").abs().sum(1)
        plain = classifier(case.objective)
        asked = plain.class_weight[case.targets] * plain.losses(case.output(), case.targets).detach()
        silent = [int(i) for i in torch.nonzero((rows == 0) & (asked != 0)).squeeze(1)]
        assert not silent, f"no gradient at the features of samples {silent}, whose loss is not 0"
        for name, gradient in gradients.items():
            assert gradient.abs().sum() > 0, f"no gradient at {name}"


def check_static(method: Method, settings: dict) -> None:
    """Forward, backward and after_step under fake tensors: static shapes, and nothing is read back to the host."""
    for stage in stage_numbers(method, settings):
        case = make_case(method, settings, stage=stage, dtype=torch.float32)
        before = float(case.loss().detach())
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            case.features = mode.from_tensor(case.features.detach()).requires_grad_()
            out = case.output()
            loss = case.objective(out, case.targets)
            assert loss.shape == ()
            torch.autograd.grad(loss, list(case.leaves().values()), allow_unused=True)
            with torch.no_grad():
                case.objective.after_step(out, case.targets)
        assert math.isfinite(before)


def check_pure(method: Method, settings: dict) -> None:
    """forward changes no state and draws nothing; hooks write buffers in place; a step keeps their memory."""
    case = make_case(method, settings, dtype=torch.float32)
    where = {name: value.data_ptr() for name, value in case.objective.state_dict().items()}
    state = copy.deepcopy(case.objective.state_dict())
    globally = torch.random.get_rng_state()
    own = case.objective.generator.get_state()
    first, second = case.loss(), case.loss()
    assert torch.equal(first, second), "forward is not pure: two calls on one batch differ"
    assert torch.equal(own, case.objective.generator.get_state()), "forward draws random numbers"
    for name, value in case.objective.state_dict().items():
        assert torch.equal(value, state[name]), f"forward writes {name}"
    leaves = [p for n, p in case.leaves().items() if n != "features"]
    optimizer = torch.optim.SGD(leaves, lr=0.01)
    first.backward()
    optimizer.step()
    with torch.no_grad():
        case.objective.after_step(case.output(), case.targets)
        case.objective.begin_epoch(replace(case.report, epoch=case.report.epoch + 1))
    for name, value in case.objective.state_dict().items():
        assert value.data_ptr() == where[name], f"{name} was bound anew instead of written in place"
    assert torch.equal(globally, torch.random.get_rng_state()), "draws from torch's global generator"


def check_float32(method: Method, settings: dict) -> None:
    """In float32 the value is that of float64, and a scalar of float32 comes back."""
    case = make_case(method, settings)
    expected = float(case.loss().detach())
    case.head.float()
    case.objective.float()
    case.features = case.features.detach().float().requires_grad_()
    loss = case.loss()
    assert loss.dtype == torch.float32
    np.testing.assert_allclose(float(loss.detach()), expected, rtol=1e-3, atol=1e-4)


def check_state(method: Method, settings: dict) -> None:
    """A deep copy and a reloaded state give the same loss; hearing a report again moves no learned parameter."""
    case = make_case(method, settings)
    value = float(case.loss().detach())
    twin = copy.copy(case)
    twin.objective = copy.deepcopy(case.objective)
    assert float(twin.loss().detach()) == value, "a deep copy gives another loss"
    twin.objective = method(**case.settings).build(case.counts).double()
    twin.objective.load_state_dict(copy.deepcopy(case.objective.state_dict()))
    assert float(twin.loss().detach()) == value, "a reloaded state gives another loss"
    train, targets = case.report.embed()
    with torch.no_grad():
        twin.objective.begin_epoch(replace(case.report, epoch=0, embed=lambda: (3.0 * train, targets)))
    for name, parameter in twin.objective.named_parameters():
        assert torch.equal(parameter, case.objective.get_parameter(name)), f"{name} starts anew after a reload"


def check_finite(method: Method, settings: dict, **odd) -> None:
    """Value and gradient are finite on an odd batch, or a ValueError says why not."""
    try:
        case = make_case(method, settings, dtype=torch.float32, **odd)
    except ValueError as error:
        assert len(str(error)) > 20
        return
    finite(case, case.loss())
    terms = case.objective.terms(case.output(), case.targets)
    assert all(torch.isfinite(value) for value in terms.values())


def finite(case: Case, loss: Tensor) -> None:
    assert torch.isfinite(loss), f"the loss is {float(loss.detach())}"
    for name, gradient in case.gradients(loss).items():
        assert torch.isfinite(gradient).all(), f"the gradient of {name} is not finite"


ODD = {
    "one class": {"batch": (1, 1, 1, 1, 1)},
    "one sample": {"batch": (2,)},
    "one sample a class": {"batch": (3, 1, 0, 2)},
    "absent from the batch": {"batch": (0, 0, 1, 1, 0, 3)},
    "absent from training": {"counts": (40, 12, 0, 2), "batch": (0, 0, 1, 3, 0, 1, 0)},
    "two classes": {"counts": (30, 3), "batch": (0, 0, 1, 0, 0, 1, 0)},
    "counts of 1 and 10^6": {"counts": (1_000_000, 1000, 3, 1), "batch": (0, 0, 0, 1, 0, 0, 2, 3, 0, 1)},
    "equal counts": {"counts": (10, 10, 10, 10)},
}


def check_odd_batches(method: Method, settings: dict) -> None:
    """Finite on every odd batch in ODD, and on all-zero features."""
    for name, odd in ODD.items():
        try:
            check_finite(method, settings, **odd)
        except Exception as error:
            raise AssertionError(f"{name}: {error}") from error
    case = make_case(method, settings, dtype=torch.float32)
    case.features = torch.zeros_like(case.features).requires_grad_()
    finite(case, case.loss())


def check_extreme_logits(method: Method, settings: dict) -> None:
    """Logits of +-200, right and wrong, in float32: finite value and gradient."""
    case = make_case(method, settings, dtype=torch.float32)
    signs = torch.where(torch.rand(len(BATCH), 4, generator=torch.Generator().manual_seed(5)) < 0.5, -1.0, 1.0)
    right = 2.0 * nn.functional.one_hot(case.targets, 4) - 1.0
    for sign in (signs, right, -right):
        logits = (200.0 * sign).requires_grad_()
        scale = None if getattr(case.head, "scale", None) is None else torch.tensor(200.0)
        weight = case.head.weight.detach().clone().requires_grad_()
        out = Output(logits, case.features, weight, scale, case.index)
        loss = case.objective(out, case.targets)
        assert torch.isfinite(loss), f"the loss is {float(loss.detach())} at logits of 200"
        for gradient in torch.autograd.grad(loss, [logits, case.features], allow_unused=True):
            assert gradient is None or torch.isfinite(gradient).all(), "the gradient is not finite at logits of 200"


def check_record(method: Method) -> None:
    """Every field that tables, controls and citations are made from."""
    assert method.key.isidentifier() and method.key == method.key.lower()
    for field in ("title", "paper", "equation", "citation"):
        assert getattr(method, field).strip(), f"{method.key} has no {field}"
    balanced = method.equation.count("{") == method.equation.count("}") and "$" not in method.equation
    assert balanced, f"{method.key}: the equation is not plain LaTeX"
    assert method.citation.startswith("@") and method.citation.count("{") == method.citation.count("}")
    for word in ("title", "author", "year"):
        assert f"{word} = " in method.citation, f"{method.key}: the citation has no {word}"
    own = method.objective.__doc__
    assert own and own != Objective.__doc__, f"{method.key}: the objective has no docstring"
    assert "Known to fail" in method.doc or method.key == "ce", f"{method.key}: the docstring hides where it fails"
    for name, setting in method.settings.items():
        if setting is BASE:
            continue
        assert setting.meaning and not setting.meaning.endswith("."), f"{method.key}.{name}: what does it mean?"
        assert setting.check(name, setting.default) == setting.default
        if setting.choices:
            assert setting.default in setting.choices
        else:
            assert setting.low < setting.high and setting.scale in ("linear", "log", "one-minus-log")
            for bad in (setting.low - 1, setting.high + 1, "much", None):
                try:
                    method(**{name: bad})
                except ValueError as error:
                    assert name in str(error) and str(setting.low) in str(error)
                else:
                    raise AssertionError(f"{method.key}.{name} accepts {bad!r}")
    settings = method().settings
    assert json.loads(json.dumps(settings)) == settings
    assert method(**settings).settings == settings
    assert method().label == method.key
    assert method().probability in ("softmax", "sigmoid")
    for limit in method.limits:
        method(**limit.settings)
        METHODS[limit.other](**limit.other_settings)
    method(**method.smooth)


def parts(method: Method) -> list:
    """What a method is made of, as functions whose parameters say which settings each of them is given."""
    return [part for part in (method.objective, method.stages, method.posthoc, method.probability) if callable(part)]


def read_in(function) -> set[str]:
    """The names that the body of a function, or the construction of a class, reads."""
    code = dis.get_instructions(function.__init__ if inspect.isclass(function) else function)
    loaded = [one.argval for one in code if "LOAD" in one.opname]
    return {name for one in loaded for name in (one if isinstance(one, tuple) else (one,)) if isinstance(name, str)}


def check_declared(method: Method) -> None:
    """Every setting is declared by a part that reads it, and no part declares anything else."""
    declared = set()
    for part in parts(method):
        parameters = inspect.signature(part).parameters
        named = all(one.kind is one.POSITIONAL_OR_KEYWORD for one in parameters.values())
        assert named, f"{method.key}: {part.__name__} takes whatever comes"
        unread = set(parameters) & set(method.settings) - read_in(part)
        assert not unread, f"{method.key}: {part.__name__} does not read {sorted(unread)}"
        declared |= set(parameters) - {"counts", "out", "gallery"}
    odd = declared ^ set(method.settings)
    assert not odd, f"{method.key}: {sorted(odd)}: a setting that no part declares, or declared and no setting"


def check_defaults(method: Method) -> None:
    """No part, and no public function of the method's file, repeats the default of a setting."""
    module = sys.modules[method.objective.__module__]
    public = [value for name, value in vars(module).items() if not name.startswith("_") and callable(value)]
    own = [value for value in public if getattr(value, "__module__", None) == module.__name__]
    assert method.objective in own
    for part in {*own, *parts(method)}:
        for name, one in inspect.signature(part).parameters.items():
            twice = name in method.settings and one.default is not one.empty
            assert not twice, f"{method.key}: {part.__name__} has a default of its own for {name}"


MANY = (45, 40, 36, 33, 30, 28, 22, 2)  # images of eight classes, of which some are few-shot by one rule alone


def traces(method: Method, settings: dict, counts=COUNTS) -> dict[str, np.ndarray]:
    """All that settings can change: losses and gradients, decisions, stages, and how parameters are trained."""
    found: dict[str, np.ndarray] = {}
    bound = method(**settings)
    for number in stage_numbers(method, settings):
        for steps in (2, 0):
            weights = tuple(np.linspace(0.2, 2.0, len(counts)))
            case = make_case(method, settings, stage=number, steps=steps, counts=counts, weights=weights)
            loss = case.loss()
            found[f"loss {number} {steps}"] = array(loss)
            found |= {f"slope {name} {number} {steps}": array(g) for name, g in case.gradients(loss).items()}
            if steps:  # before the first step, a parameter may wait for where it starts
                found |= {f"{name} {number}": array(p) for name, p in case.leaves().items()}
            decays = [(getattr(p, "no_decay", None), getattr(p, "only_decay", None)) for p in case.head.parameters()]
            found[f"decay {number}"] = np.array(str(decays))
            if method.posthoc is not None:
                with torch.no_grad():
                    found["decided"] = array(bound.decide(case.output(), case.counts, case.report.embed))
    found["stages"] = np.array(str([(s.share, s.sampler, s.train, s.schedule) for s in bound.stages]))
    return found


def differ(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    if one.keys() != other.keys():
        return True
    for a, b in ((one[name], other[name]) for name in one):
        numbers = a.dtype.kind == "f" and a.shape == b.shape
        if not (np.allclose(a, b, rtol=1e-12, atol=1e-12) if numbers else np.array_equal(a, b)):
            return True
    return False


def check_idle(method: Method) -> None:
    """A setting that says under which others it has an effect changes something there, and nothing elsewhere.

    One that says nothing changes something under every choice of the others, for some numbers of the others.
    """
    for name, setting in method.settings.items():
        for other, values in setting.when.items():
            assert other in method.settings, f"{method.key}.{name}: when={other!r} is no setting"
            for value in values:
                method.settings[other].check(other, value)
    choices = {n: s.choices for n, s in method.settings.items() if s.choices and s is not BASE}
    asked = {other: choices[other] for s in method.settings.values() for other in s.when}
    beside = [dict(zip(asked, values, strict=True)) for values in itertools.product(*asked.values())]
    beside += [{n: value} for n in choices if n not in asked for value in choices[n]]
    numbers = {n: s for n, s in method.settings.items() if not s.choices}
    backgrounds = [{}, {n: middle(s) for n, s in numbers.items()}, {n: s.high for n, s in numbers.items()}]
    for settings in beside:
        here = method(**settings).settings
        still = {n for n, s in method.settings.items() if s is not BASE and (n not in settings or n in asked)}
        idle = {n for n in still if method.settings[n].idle(here)}
        moved: set[str] = set()
        for ground, counts in itertools.product(backgrounds, (COUNTS, MANY)):
            under = {**ground, **settings}
            plain = traces(method, under, counts)
            for name in still - moved:
                one = method.settings[name]
                values = one.choices or (one.low, middle(one), one.high)
                if any(differ(plain, traces(method, {**under, name: value}, counts)) for value in values):
                    moved.add(name)
            if moved == still:
                break
        told = f"{method.key} under {settings}: {sorted(moved)} have an effect, {sorted(idle)} are declared idle"
        assert moved == still - idle, told
