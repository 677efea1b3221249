"""Exercises that check themselves: the reader's function against an oracle, with a reason where it differs."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import check
from . import progress
from .cards import Card, box, bullets, fold, inline, literal, plain, safe, texts

SHOWN = 6  # entries of a tensor that a message shows
OURS = str(Path(__file__).parents[1])  # lines of this package are not the reader's


@dataclass(frozen=True)
class Case:
    """One input of the reader's function. Its value must equal the oracle's, and with gradient=True its slope too.

    name      what the case shows, e.g. "beta = 0: every class counts once"
    args      the arguments; with gradient=True the first is a float tensor to differentiate with respect to
    why       what to tell a reader whose answer differs
    gradient  compare the gradient of the summed result as well
    """

    name: str
    args: tuple
    why: str = ""
    gradient: bool = False

    def __post_init__(self):
        check.text("name", self.name)
        check.instance("args", self.args, tuple, "a tuple of the arguments, such as (counts,)")
        check.instance("why", self.why, str, "a text")
        if check.flag("gradient", self.gradient) and not (self.args and isinstance(self.args[0], torch.Tensor)):
            raise check.refuse("args", self.args, "a tensor first, with respect to which the gradient is taken")


@dataclass(frozen=True)
class Claim:
    """A statement about the answer itself (a number, a function, a run) that must hold."""

    name: str
    test: Callable[[Any], bool]
    why: str = ""

    def __post_init__(self):
        check.text("name", self.name)
        check.instance("why", self.why, str, "a text")
        if not callable(self.test):
            raise check.refuse("test", self.test, "a function of the answer that says whether the claim holds")


@dataclass(frozen=True)
class Result:
    """What a check found. state is "open" (no answer yet), "wrong" or "right"; rows are (held, name, detail)."""

    title: str
    state: str
    rows: tuple[tuple[bool, str, str], ...] = ()
    note: str = ""

    @property
    def passed(self) -> bool:
        return self.state == "right"

    @property
    def text(self) -> str:
        lines = [f"{plain(self.title)}: {_HEADLINE[self.state]}", *([plain(self.note)] if self.note else [])]
        for held, name, detail in self.rows:
            lines.append(f"  {'ok ' if held else 'NOT'} {plain(name)}{'. ' + plain(detail) if detail else ''}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        kind = {"open": "note", "wrong": "wrong", "right": "right"}[self.state]
        rows = "".join(
            f'<li style="list-style:none"><b>{"✓" if held else "✗"}</b> {inline(name)}'
            + (f'<div style="margin-left:1.4em">{inline(detail)}</div>' if detail else "")
            + "</li>"
            for held, name, detail in self.rows
        )
        body = inline(self.note) + (f'<ul style="padding-left:.2em;margin:.2em 0">{rows}</ul>' if rows else "")
        page = box(kind, _HEADLINE[self.state].upper(), self.title, body)
        return {"text/plain": self.text, "text/html": page}


_HEADLINE = {"open": "waiting for your answer", "wrong": "not yet", "right": "all checks hold"}


class _Unanswered(Exception):
    """The reader's function is still the stub."""


class NotOneTensor(ValueError):
    """What the reader's function returned is no tensor and cannot become one; the text says what to return."""


def one_tensor(value: Any, shape: Sequence[int] | None = None) -> torch.Tensor:
    """What a reader's function returned, as a tensor; shape: what was expected, for the text of the error.

    Raises NotOneTensor, a ValueError, for several tensors in a tuple or list, and for what holds no numbers.
    """
    wanted = "one tensor" if shape is None else f"one tensor of shape {tuple(shape)}" if len(shape) else "one number"
    several = isinstance(value, (tuple, list)) and any(isinstance(one, torch.Tensor) and one.ndim for one in value)
    if several:
        joined = "" if wanted == "one number" else f"; `torch.stack` joins {'two' if len(value) == 2 else 'them'}"
        raise NotOneTensor(f"Return {wanted}, not a {type(value).__name__} of {len(value)}{joined}.")
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        raise NotOneTensor(f"Return {wanted}, not a {type(value).__name__}: {check.shown(value)}.") from None


@dataclass(frozen=True)
class Exercise:
    """A task, hints that open one after the other, a folded solution, and checks that say why an answer is wrong.

    title     a name
    task      what to do, in Markdown-like text
    solution  source of a right answer; its last top-level name is the answer. It is checked when the exercise is made,
              so a task, its checks and its solution cannot drift apart
    checks    Cases (need `oracle`) and Claims
    oracle    the reference function of the Cases
    hints     from a nudge to almost the answer
    mistakes  {what went wrong: function}: a reader whose value equals such a function's is told so
    given     names that the solution may use
    """

    title: str
    task: str
    solution_source: str
    checks: Sequence[Case | Claim]
    oracle: Callable[..., Any] | None = None
    hints: Sequence[str] = ()
    mistakes: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    given: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        for name in ("title", "task", "solution_source"):
            check.text(name, getattr(self, name))
        if not isinstance(self.checks, (list, tuple)) or not self.checks:
            raise check.refuse("checks", self.checks, "a list of study.Case and study.Claim, not empty")
        for one in self.checks:
            check.instance("checks", one, (Case, Claim), "a list of study.Case and study.Claim")
        if self.oracle is not None and not callable(self.oracle):
            raise check.refuse("oracle", self.oracle, "the reference function")
        texts("hints", self.hints, 0)
        for name in ("mistakes", "given"):
            check.instance(
                name,
                getattr(self, name),
                Mapping,
                "a dict: text -> function" if name == "mistakes" else "a dict: name -> value",
            )
        for reason, wrong in self.mistakes.items():
            if not callable(wrong):
                raise check.refuse(f"mistakes[{reason!r}]", wrong, "a function with this mistake")
        if self.oracle is None and any(isinstance(one, Case) for one in self.checks):
            raise ValueError(f"exercise {self.title!r} has cases but no oracle: give oracle=, the reference function")
        result = self._check(self.answer())
        if not result.passed:
            raise ValueError(f"the solution of exercise {self.title!r} fails its own checks:\n{result.text}")
        object.__setattr__(self, "_kept", progress.card("exercise", plain(self.title), self.task))

    def answer(self) -> Any:
        """What the solution defines."""
        space: dict[str, Any] = dict(self.given)
        try:
            exec(compile(self.solution_source, f"<solution of {self.title}>", "exec"), space)
        except Exception as error:
            why = f"it raised {type(error).__name__}: {error}"
            raise check.refuse("solution_source", self.solution_source, f"source that runs; {why}") from error
        names = [name for name in space if name not in self.given and not name.startswith("__")]
        if not names:
            raise check.refuse("solution_source", self.solution_source, "source that defines the answer by a name")
        return space[names[-1]]

    def check(self, answer: Any = None) -> Result:
        """Check an answer. Never raises for what the reader wrote, so a notebook runs through unanswered.

        An answer, passed or not, counts in the reader's progress; what has passed once stays passed.
        """
        result = self._check(answer)
        if result.state != "open":
            self._kept.answered("", result.passed)
        return result

    def _check(self, answer: Any) -> Result:
        if answer is None or answer is ...:
            return Result(self.title, "open", note="Write your answer in the cell, then run it.")
        rows = []
        for one in self.checks:
            try:
                detail = self._case(one, answer) if isinstance(one, Case) else self._claim(one, answer)
            except _Unanswered:
                return Result(self.title, "open", note="Replace the `...` by your code, then run the cell.")
            except NotOneTensor as error:
                detail = str(error)
            except Exception as error:  # whatever the reader's code raises is feedback, not a crash
                detail = _explain(error)
            rows.append((not detail, one.name, detail))
        return Result(self.title, "right" if all(held for held, *_ in rows) else "wrong", tuple(rows))

    def solution(self) -> Card:
        """The solution, folded."""
        code = f'<pre style="margin:0"><code>{safe(self.solution_source.strip())}</code></pre>'
        return Card(fold(f"Solution of “{self.title}”", code), f"Solution, folded: {plain(self.title)}")

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        ladder = ""
        for i, hint in reversed(list(enumerate(self.hints, 1))):  # each hint lies inside the one before it
            ladder = fold(f"Hint {i} of {len(self.hints)}", f"{inline(hint)}{ladder}")
        paragraphs = "".join(_paragraph(part) for part in self.task.strip().split("\n\n"))
        return {"text/plain": repr(self), "text/html": box("exercise", "EXERCISE", self.title, paragraphs + ladder)}

    def __repr__(self) -> str:
        return f"Exercise: {plain(self.title)}\n{plain(self.task.strip())}\n({len(self.hints)} hints, folded)"

    def _claim(self, claim: Claim, answer: Any) -> str:
        if not callable(answer) and isinstance(answer, float) and answer != answer:
            return "The answer is NaN: a division by zero, or the logarithm of zero?"
        return "" if claim.test(answer) else claim.why or "This does not hold."

    def _case(self, case: Case, answer: Any) -> str:
        if not callable(answer):
            return f"A function is needed here, not a {type(answer).__name__}: pass its name, without brackets."
        expected, slope = _evaluate(self.oracle, case)
        got, got_slope = _evaluate(answer, case, expected.shape)
        if got.shape != expected.shape:
            return f"Shape {tuple(got.shape)} where {tuple(expected.shape)} is expected."
        if not torch.isfinite(got).all():
            bad = int((~torch.isfinite(got)).flatten().nonzero()[0])
            return f"Got {_numbers(got, bad if bad >= SHOWN else 0)}: not finite. {case.why}".strip()
        if not _close(got, expected):
            wanted, found = _both(expected, got)
            return f"Expected {wanted}, got {found}. {self._mistake(case, got) or case.why}".strip()
        if slope is not None and (got_slope is None or not _close(got_slope, slope)):
            wanted, found = (_numbers(slope), "none") if got_slope is None else _both(slope, got_slope)
            return f"Right value, but its gradient is not: expected {wanted}, got {found}. {case.why}".strip()
        return ""

    def _mistake(self, case: Case, got: torch.Tensor) -> str:
        for reason, wrong in self.mistakes.items():
            value = _evaluate(wrong, case)[0]
            if value.shape == got.shape and _close(value, got):
                return reason
        return ""


def _paragraph(part: str) -> str:
    lines = part.split("\n")
    if all(line.startswith("- ") for line in lines):
        return bullets(line[2:] for line in lines)
    return f'<div style="margin:.3em 0">{inline(" ".join(lines))}</div>'


def _evaluate(
    function: Callable[..., Any], case: Case, shape: Sequence[int] | None = None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Value, of its own type, and, where asked for, gradient. Arguments are copies: writing into them harms nobody."""
    args = [
        a.clone() if isinstance(a, torch.Tensor) else a.copy() if isinstance(a, np.ndarray) else a for a in case.args
    ]
    if case.gradient:
        args[0] = args[0].to(torch.float64).requires_grad_()
    value = function(*args)
    if value is None or value is ...:
        raise _Unanswered
    value = one_tensor(value, shape)
    slope = None
    if case.gradient and value.requires_grad:
        slope = torch.autograd.grad(value.to(torch.float64).sum(), args[0], allow_unused=True)[0]
    return value.detach(), slope


def _alike(got: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    # 2e-4 relative: an answer in float32 is right, one with a forgotten term is not.
    return torch.isclose(got.to(torch.float64), expected.to(torch.float64), rtol=2e-4, atol=1e-6)


def _close(got: torch.Tensor, expected: torch.Tensor) -> bool:
    return bool(_alike(got, expected).all())


def _both(expected: torch.Tensor, got: torch.Tensor) -> tuple[str, str]:
    """Two tensors of one shape that differ, written so that it shows where: from there on, with digits enough."""
    first = int((~_alike(got, expected)).flatten().nonzero()[0])
    first = first if first >= SHOWN else 0
    for digits in (4, 6, 9, 16):
        texts = _numbers(expected, first, digits), _numbers(got, first, digits)
        if texts[0] != texts[1]:
            break
    return texts


def _numbers(values: torch.Tensor, first: int = 0, digits: int = 4) -> str:
    """Some entries as the reader would write them, from this one on: truth values as such, whole numbers whole."""
    flat = values.flatten().tolist()
    shown = ", ".join(_number(v, digits) for v in flat[first : first + SHOWN])
    shown = f"{'…, ' if first else ''}{shown}{', …' if len(flat) > first + SHOWN else ''}"
    return shown if values.ndim == 0 else f"[{shown}]"


def _number(value: Any, digits: int) -> str:
    if isinstance(value, (bool, complex)):
        return str(value)
    return f"{value:.0f}" if abs(value) < 1e7 and value == int(value) else f"{value:.{digits}g}"


def _explain(error: Exception) -> str:
    """An error of the reader's code in one line: what, and in which of their lines."""
    frames = [
        f
        for f in traceback.extract_tb(error.__traceback__)
        if not f.filename.startswith(OURS) and "site-packages" not in f.filename
    ]
    where = f" (in your line `{frames[-1].line}`)" if frames and frames[-1].line else ""
    return f"Your code raised {type(error).__name__}: {literal(error)}{where}"
