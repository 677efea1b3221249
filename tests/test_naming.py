"""ltviz.naming: losses that compute different things have different hashes, one loss has one."""

import contextlib
import functools
import math
import os
import re
import subprocess
import sys
import threading
import types
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import ltviz as lt
from ltviz.methods import METHODS
from ltviz.naming import code_hash
from ltviz.own import as_method, bind, own_code

LOSS = "def loss(logits, targets):\n    return "
MEAN = "F.cross_entropy(logits, targets)"


def made(text, name="loss", **scope):
    """What a text of Python defines under a name."""
    scope = {"torch": torch, "nn": nn, "F": nn.functional, "functools": functools, "np": np, "lt": lt, **scope}
    exec(text, scope)
    return scope[name]


def module(name, text):
    """A module of a reader's own."""
    found = types.ModuleType(name)
    found.F = nn.functional
    exec(text, vars(found))
    return found


def using(value):
    """A loss that closes over a value."""

    def loss(logits, targets):
        return nn.functional.cross_entropy(logits, targets) * (1.0 if value else 2.0)

    return loss


MODULE = """
class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.factor = {factor}
        self.both = [1.0, {listed}]
        self.plain = torch.tensor({tensor})
        self.register_buffer("passing", torch.tensor({buffer}), persistent=False)

class A(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Inner()

    def forward(self, logits, targets):
        return {forward} * F.cross_entropy(logits, targets)

loss = A()
"""
ONE = {"factor": 1.0, "listed": 1.0, "tensor": 1.0, "buffer": 1.0, "forward": 1.0}
CLASS = """
class A:
    {part}
    def __call__(self, logits, targets):
        return F.cross_entropy(logits, targets)
    def method(self, logits, targets):
        return self.factor * F.cross_entropy(logits, targets)
loss = A()
"""
WITHIN = LOSS + "sum([(lambda x: scale(x))(F.cross_entropy(logits, targets)) for _ in range(2)])"
BY_MODULE = LOSS + "mine.f(logits, targets)"
LOCALLY = "def loss(logits, targets):\n    class Two:\n        '''{doc}'''\n    return F.cross_entropy(logits, targets)"


STEP = """
class Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * {}
    @staticmethod
    def backward(ctx, gradient):
        return gradient
def loss(logits, targets):
    return F.cross_entropy(Step.apply(logits), targets)
"""


def bound_method(factor):
    loss = made(CLASS.format(part="factor = 1.0"))
    loss.factor = factor
    return loss.method


def closed_module(name, factor):
    return module(name, f"K = {factor}\ndef f(logits, targets): return K * F.cross_entropy(logits, targets)")


def cached(factor):
    return functools.lru_cache(lambda: factor)


DIFFER = {
    **{f"module: {name}": [lambda n=name, v=value: made(MODULE.format(**{**ONE, n: v})) for value in (1.0, 2.0)]
       for name in ONE},
    "comprehension": [lambda v=v: made(WITHIN, scale=lambda x, v=v: v * x) for v in (1.0, 2.0)],
    "module.attribute": [lambda v=v: made(BY_MODULE, mine=closed_module("mylosses", v)) for v in (1.0, 2.0)],
    "a module named as torch begins": [
        lambda v=v: made(BY_MODULE, mine=closed_module("torch_losses", v)) for v in (1.0, 2.0)
    ],
    "a function of such a module": [lambda v=v: closed_module("torch_losses", v).f for v in (1.0, 2.0)],
    "package.module.attribute": [
        lambda v=v: made(LOSS + "p.mine.f(logits, targets)", p=types.SimpleNamespace(mine=closed_module("m", v)))
        for v in (1.0, 2.0)
    ],
    "callable object": [
        lambda v=v: made(CLASS.format(part=f"def __init__(self): self.factor = {v}")) for v in (1.0, 2.0)
    ],
    "callable: its code": [
        lambda v=v: made(CLASS.format(part="pass").replace("return F", f"return {v} * F", 1)) for v in (1.0, 2.0)
    ],
    "slots": [
        lambda v=v: made(CLASS.format(part=f"__slots__ = ('f',)\n    def __init__(self): self.f = {v}"))
        for v in (1.0, 2.0)
    ],
    "class attribute: tuple": [lambda v=v: made(CLASS.format(part=f"parts = (1.0, {v})")) for v in (1.0, 2.0)],
    "class attribute: property": [
        lambda v=v: made(CLASS.format(part=f"factor = property(lambda self: {v})")) for v in (1.0, 2.0)
    ],
    "bound method: its object": [lambda v=v: bound_method(v) for v in (1.0, 2.0)],
    "partial": [lambda v=v: functools.partial(using(1.0), v=v) for v in (1.0, 2.0)],
    "names of arguments": [lambda n=n: made(f"def loss({n}, targets): return {n}.sum()") for n in ("logits", "out")],
    "bases": [lambda n=n: made(f"class loss(nn.{n}): pass")() for n in ("CrossEntropyLoss", "NLLLoss")],
    "constants: set": [lambda v=v: made(LOSS + f"{MEAN} * (logits.shape[1] in {v})") for v in ("{1, 2}", "{1, 3}")],
    "METHODS: settings": [lambda v=v: using(METHODS["focal"](gamma=v)) for v in (1.0, 3.0)],
    "METHODS: key": [lambda v=v: using(METHODS[v]) for v in ("focal", "cdb")],
    "own method": [lambda v=v: using(as_method(using(v))) for v in (1.0, 2.0)],
    "own method over a module": [
        lambda v=v: using(as_method(nn.CrossEntropyLoss(label_smoothing=v))) for v in (0.0, 0.1)
    ],
    "hook": [lambda v=v: hooked(v) for v in (1.0, 2.0)],
    "generator": [lambda v=v: using(torch.Generator().manual_seed(v)) for v in (1, 2)],
    "no_grad": [lambda v=v: torch.no_grad()(using(v)) for v in (1.0, 2.0)],
    "autograd.Function": [lambda v=v: made(STEP.format(v)) for v in (1.0, 2.0)],
    "wraps": [lambda v=v: functools.wraps(nn.functional.cross_entropy)(using(v)) for v in (1.0, 2.0)],
    **{f"closure: {name}": [lambda v=v: using(v) for v in pair] for name, pair in {
        "SimpleNamespace": [types.SimpleNamespace(a=v) for v in (1.0, 2.0)],
        "object": [bound_method(v).__self__ for v in (1.0, 2.0)], "complex": (1j, 2j),
        "dtype": (torch.float32, torch.float64), "lru_cache": (cached(1.0), cached(2.0)),
        "numpy": (np.float32(1), np.float64(1)), "array": (np.arange(3), np.arange(3)[::-1]),
        "objects": [np.array([None, v]) for v in (1, 2)], "masked": [np.ma.masked_equal([1, 2], v) for v in (1, 2)],
        "bfloat16": [torch.ones(2, dtype=d) for d in (torch.bfloat16, torch.float32)],
        "list subclass": [made("class L(list): pass", "L")(v) for v in ([1], [2])],
        "builtin method": ([1].count, [2].count), "slice": (slice(1), slice(2)), "function of C": (math.sin, math.cos),
        "pattern": (re.compile("a"), re.compile("b")), "module": [nn.Dropout(v) for v in (0.1, 0.2)],
        "list or tuple": ([1], (1,)), "1 or True": (1, True), "dict": ({"a": 1}, {"a": 2}),
    }.items()},
}  # fmt: skip


def hooked(factor):
    loss = nn.CrossEntropyLoss()
    loss.register_forward_hook(lambda module, given, out: factor * out)
    return loss


def code(loss):
    return code_hash("loss", [loss])


@pytest.mark.parametrize("pair", DIFFER.values(), ids=DIFFER)
def test_what_computes_something_else_has_another_hash(pair):
    one, again, other = code(pair[0]()), code(pair[0]()), code(pair[1]())
    assert one == again != other and one.whole and other.whole


SAME = {
    "docstring": [lambda d=d: made(f"def loss(logits, targets):\n    {d}\n    return {MEAN}")
                  for d in ("'''One.'''", "'''Two.'''", "", "# a comment")],
    "docstring within": [lambda d=d: made(LOCALLY.format(doc=d)) for d in ("One.", "Two.")],
    "docstring of a class": [lambda d=d: made(CLASS.format(part=f"'''{d}'''")) for d in ("One.", "Two.")],
    "names of local variables": [lambda n=n: made(f"def loss(logits, targets):\n    {n} = {MEAN}\n    return {n}")
                                 for n in ("a", "b")],
    "what a module has beside": [lambda t=t: made(BY_MODULE, mine=module("m", f"f = F.cross_entropy\ndef g(): {t}"))
                                 for t in ("return 1", "return 2")],
    "what a cache remembers": [lambda n=n: using(filled(n)) for n in (0, 1)],
    "attributes named as globals": [lambda v=v: made(LOSS + "logits.scale(targets)", scale=v) for v in (1.0, 2.0)],
    "METHODS, whatever is added": [lambda v=v: added(v) for v in (False, True)],
    "hook, whatever its number": [lambda: hooked(1.0), lambda: (hooked(3.0), hooked(1.0))[1]],
    "what a property remembers": [lambda n=n: asked(n) for n in (0, 1)],
    "shared or equal": [lambda: using([[1], [1]]), lambda: using([[1]] * 2)],
}  # fmt: skip


def filled(number):
    found = cached(1.0)
    for _ in range(number):
        found()
    return found


def asked(number):
    loss = made(CLASS.format(part="@functools.cached_property\n    def k(self): return 1.0"))
    for _ in range(number):
        assert loss.k == 1.0
    return loss


def added(more):
    if more:
        METHODS.add(as_method(using(1.0), key="one_more"))
    try:
        return types.SimpleNamespace(hash=code(made(LOSS + "METHODS['ce'](logits, targets)", METHODS=METHODS)))
    finally:
        if more:
            METHODS.remove("one_more")


@pytest.mark.parametrize("several", SAME.values(), ids=SAME)
def test_what_computes_the_same_has_one_hash(several):
    found = [one() for one in several]
    hashes = {getattr(one, "hash", None) or code(one) for one in found}
    assert len(hashes) == 1 and hashes.pop().whole


def test_a_set_has_one_hash_in_every_process():
    text = (
        "from ltviz.naming import code_hash\nNAMES = {'a', 'b', 'c', ('d', 1)}\n"
        "def loss(logits, targets):\n    return logits.sum() if 'x' in {'p', 'q', 'r', 's'} else NAMES\n"
        "print(code_hash('loss', [loss]).text)"
    )
    root, running = str(Path(__file__).parents[1]), []
    for seed in "12":
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": root}
        running.append(subprocess.Popen([sys.executable, "-c", text], env=env, stdout=subprocess.PIPE, text=True))
    said = {one.communicate(timeout=100)[0] for one in running}
    assert len(said) == 1 and len(said.pop().strip()) == 12


def test_a_module_that_a_loss_imports_is_followed(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    text, found = LOSS.replace("return", "import losses_of_mine as m; return") + "m.f(logits, targets)", []
    for factor in (1.0, 2.0):
        (tmp_path / "losses_of_mine.py").write_text(f"def f(x, y): return {factor} * x.sum()  # {'-' * int(factor)}")
        sys.modules.pop("losses_of_mine", None)
        found.append(code(made(text)))
    sys.modules.pop("losses_of_mine")
    assert found[0].text != found[1].text and all(one.whole for one in found)


def test_functions_that_call_each_other_have_a_hash():
    text = "def other(x, y): return loss(x, y) if y is None else {}\ndef loss(x, y): return other(x, y)"
    assert code(made(text.format(1.0))) == code(made(text.format(1.0))) != code(made(text.format(2.0)))


def test_what_cannot_be_described_is_never_found_again_and_said_once():
    loss = using(threading.Lock())
    with pytest.warns(RuntimeWarning, match="^loss: what _thread.lock computes cannot be told from outside"):
        first = own_code(bind(loss))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second, kept = own_code(bind(loss)), code_hash("loss", [loss])
    assert first != second and not kept.whole and kept == code_hash("loss", [loss])  # seeds of one loss
    with pytest.warns(RuntimeWarning, match="builtins.generator"):
        assert code(using(x for x in "ab")) != kept


def test_no_library_is_opened():
    assert code(nn.functional.cross_entropy).whole and code(contextlib.nullcontext).whole
    assert code(using(torch)) == code(using(torch)) != code(using(np))
