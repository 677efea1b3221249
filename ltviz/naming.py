"""What a piece of a reader's code computes, as a short hash: two that compute different things never share one."""

from __future__ import annotations

import copyreg
import dis
import functools
import importlib
import json
import secrets
import sys
import sysconfig
import types
import warnings
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .check import to_array
from .files import checksum, request_id
from .objective import Method, Methods

# What a name and a version say well enough: nobody edits it between two cells of a notebook.
_OURS = {"torch", "numpy", "ltviz", "builtins"}
_INSTALLED = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib"))
_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...), type(NotImplemented), range)
_TORCH = (torch.dtype, torch.device, torch.layout, torch.memory_format)
_DICTS = (dict, OrderedDict, Counter, types.MappingProxyType)
_NAMED = (
    types.WrapperDescriptorType, types.MethodWrapperType, types.MethodDescriptorType, types.ClassMethodDescriptorType,
    types.GetSetDescriptorType, types.MemberDescriptorType,
)  # fmt: skip
_SAID_ELSEWHERE = {  # of a class: texts, types, and what Python keeps for itself
    "__doc__", "__module__", "__qualname__", "__dict__", "__weakref__", "__annotations__", "__annotate__",
    "__annotate_func__", "__annotations_cache__", "__dataclass_fields__", "__dataclass_params__", "__match_args__",
    "__abstractmethods__", "_abc_impl", "__orig_bases__", "__parameters__", "__firstlineno__", "__static_attributes__",
}  # fmt: skip
_HEAP = 1 << 9  # flag of a class that a class statement, not C, has made
_SHAPE_OF_A_CALL = 0x3AC  # flags of a code object: *args, **kwargs, generator, coroutine

_unknown: dict[int, tuple[Any, str]] = {}  # what could not be described, kept so that its number stays its own


class Code(NamedTuple):
    """text: the hash; whole: whether it describes everything that the code computes."""

    text: str
    whole: bool

    @property
    def unique(self) -> str:
        """The hash; where it does not say everything, with a token that no other has, so that it is never met again."""
        return self.text if self.whole else f"{self.text}-{secrets.token_hex(8)}"


def code_hash(name: str, parts: Iterable[Any]) -> Code:
    """The hash of functions, classes, objects and values, with all that they use; name: whose, for a warning.

    Followed: code, defaults and attributes of functions, what they close over, globals wherever they are used in them,
    names of modules that are neither installed nor Python's, classes with their bases and attributes, variables of
    objects (of an nn.Module its parameters, buffers and submodules). Comments, docstrings, names of local variables and
    the order of a set change nothing. Warns, once for each object, about what cannot be described.
    """
    describe = _Describer()
    text = request_id(code=[describe(part) for part in parts])
    if describe.fresh:
        warnings.warn(
            f"{name}: what {' and '.join(sorted(describe.fresh))} computes cannot be told from outside, so its runs "
            "cannot be found again in a folder, nor continued from a checkpoint; give it numbers, tensors, "
            "functions or objects of your own classes instead",
            RuntimeWarning,
            stacklevel=2,
        )
    return Code(text, describe.whole)


def _library(module: str | None) -> bool:
    """Whether a module is torch's, numpy's, ltviz's, Python's, or installed: exactly, not by how its name begins."""
    top = (module or "builtins").partition(".")[0]
    return top in _OURS or _installed(top, getattr(sys.modules.get(top), "__file__", None))


@functools.cache
def _installed(top: str, file: str | None) -> bool:
    if top == "__main__" or file is None:
        return top in sys.stdlib_module_names
    return any(folder in Path(file).resolve().parents for folder in _INSTALLED)


def _library_class(kind: type) -> bool:
    """Whether a class is a library's. Code that runs without a module's name makes classes of "builtins"."""
    made_here = kind.__module__ == "builtins" and kind.__flags__ & _HEAP
    return _library(kind.__module__) and not made_here


def _named(value: Any) -> list[str]:
    """Module, name and (of what is installed beside torch and numpy) version."""
    module = getattr(value, "__module__", None) or getattr(getattr(value, "__objclass__", None), "__module__", None)
    top = (module or "builtins").partition(".")[0]
    known = top in _OURS or top in sys.stdlib_module_names
    version = "" if known else str(getattr(sys.modules.get(top), "__version__", ""))
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None) or type(value).__qualname__
    return [module or "", name, version]


class _Describer:
    """Values as something JSON-able that says what they mean: plain ones as text, all others as a hash."""

    def __init__(self):
        self.done: dict[int, tuple[Any, str]] = {}  # the value is kept, so that no other takes its id
        self.open: set[int] = set()
        self.whole = True
        self.fresh: set[str] = set()  # kinds of objects that cannot be described, and that nobody was warned about

    def __call__(self, value: Any) -> Any:
        if type(value) in _PLAIN or isinstance(value, _TORCH):
            return repr(value)
        key = id(value)
        if key in self.done:
            return self.done[key][1]
        if key in self.open:  # it uses itself
            return ["again", *_named(value)]
        self.open.add(key)
        try:
            content = self._content(value)
        except Exception:  # whatever an object of somebody else's does when it is looked at
            content = self._give_up(value)
        finally:
            self.open.discard(key)
        self.done[key] = value, request_id(content=content)
        return self.done[key][1]

    def _give_up(self, value: Any) -> list:
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        if id(value) not in _unknown:
            _unknown[id(value)] = value, secrets.token_hex(8)
            self.fresh.add(kind)
        self.whole = False
        return ["unknown", kind, _unknown[id(value)][1]]

    def _all(self, values: Iterable[Any]) -> list:
        return [self(one) for one in values]

    def _content(self, value: Any) -> Any:
        kind = type(value)
        if kind in (list, tuple):
            return [kind.__name__, *self._all(value)]
        if kind in (set, frozenset):
            return ["set", *sorted(json.dumps(self(one)) for one in value)]
        if isinstance(value, _DICTS) and kind in _DICTS:
            return ["dict", *([self(name), self(one)] for name, one in value.items())]
        if isinstance(value, (Tensor, np.ndarray, np.generic)):
            return self._array(value)
        if isinstance(value, types.ModuleType):
            return self._module(value)
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, types.MethodType):
            return ["method", self(value.__func__), self(value.__self__)]
        if isinstance(value, types.BuiltinFunctionType):
            of = value.__self__
            return [*_named(value), None if of is None or isinstance(of, types.ModuleType) else self(of)]
        if isinstance(value, _NAMED):
            return _named(value)
        if isinstance(value, functools.partial):
            return ["partial", *self._all((value.func, value.args, value.keywords, vars(value)))]
        if isinstance(value, (staticmethod, classmethod)):
            return [kind.__name__, self(value.__func__)]
        if isinstance(value, property):
            return ["property", *self._all((value.fget, value.fset, value.fdel))]
        if isinstance(value, functools.cached_property):
            return ["property", self(value.func)]
        if isinstance(value, functools._lru_cache_wrapper):  # what it remembers is no part of what it computes
            return ["cached", self(value.__wrapped__)]
        if isinstance(value, Methods):  # all methods, whichever are added: which one is used, the code says
            return "METHODS"
        if isinstance(value, Method):
            return ["method", value.key, *self._all(method_parts(value))]
        return self._object(value)

    def _array(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            more = [] if _library_class(type(value)) else [self(type(value)), self(vars(value))]
            return ["array", str(value.dtype), checksum(to_array(value)), *more]
        if type(value) not in (np.ndarray, value.dtype.type):  # a masked array, say
            return self._reduced(value)
        return ["array", value.dtype.str, self(value.tolist()) if value.dtype.hasobject else checksum(value)]

    # ------------------------------------------------------------------------------------------------------- functions
    def _function(self, function: types.FunctionType) -> Any:
        compiled = getattr(function, "_torchdynamo_orig_callable", None)  # of torch.compile
        if compiled is not None:
            return self(compiled)
        code, scope = function.__code__, function.__globals__
        library = _library(scope.get("__name__", "__main__"))  # not __module__, which functools.wraps forges
        if library and not function.__closure__ and "<locals>" not in code.co_qualname:
            return [scope.get("__name__"), code.co_qualname, *_named(function)[2:]]
        names, attributes = _used(code)
        found = {} if library else {name: scope[name] for name in sorted(names) if name in scope}
        found |= {f"import {name}": module for name, module in _imported(code, scope)}
        cells = [self._cell(cell, attributes) for cell in function.__closure__ or ()]
        return [
            self._code(code), self(function.__defaults__), self(function.__kwdefaults__), cells, self(vars(function)),
            [[name, self._reached(one, attributes)] for name, one in found.items()],
        ]  # fmt: skip

    def _cell(self, cell: Any, attributes: set[str]) -> Any:
        try:
            value = cell.cell_contents
        except ValueError:
            return "empty"
        return self._reached(value, attributes)

    def _reached(self, value: Any, attributes: set[str]) -> Any:
        """What a function finds under a name; of a module, only what the function can ask it for."""
        return self._module(value, attributes) if isinstance(value, types.ModuleType) else self(value)

    def _module(self, module: types.ModuleType, attributes: set[str] | None = None) -> Any:
        if _library(module.__name__):
            return ["module", module.__name__]
        if ("module", id(module)) in self.open:
            return ["again", module.__name__]
        self.open.add(("module", id(module)))
        try:
            wanted = [name for name in vars(module) if not name.startswith("__")] if attributes is None else attributes
            found = [(name, vars(module)[name]) for name in sorted(wanted) if name in vars(module)]
            return ["module", *([name, self._reached(one, wanted)] for name, one in found)]
        finally:
            self.open.discard(("module", id(module)))

    def _code(self, code: types.CodeType) -> list:
        """Instructions with the constants that they load: a docstring is loaded by none, and needs no place."""
        steps, found = [], list(dis.get_instructions(code))
        for one, after in zip(found, [*found[1:], None], strict=True):
            if after is not None and after.opname == "STORE_NAME" and after.argval == "__doc__":
                continue  # of a class that is made in a function
            operand = one.arg
            if one.opcode in dis.hasconst:
                operand = self._code(one.argval) if isinstance(one.argval, types.CodeType) else self(one.argval)
            elif one.opcode in dis.hasname:
                operand = one.argrepr
            steps.append([one.opname, operand])
        arguments = code.co_argcount + code.co_kwonlyargcount
        shape = [code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & _SHAPE_OF_A_CALL]
        return [steps, *shape, list(code.co_varnames[:arguments]), code.co_exceptiontable.hex()]

    # --------------------------------------------------------------------------------------------- classes and objects
    def _class(self, kind: type) -> Any:
        if _library_class(kind):
            return _named(kind)
        own = [one for one in kind.__mro__ if not _library_class(one)]
        bases = [_named(one) for one in kind.__mro__ if one not in own]
        made = None if _library_class(type(kind)) else self(type(kind))
        parts = [
            [[name, self(value)] for name, value in sorted(vars(one).items()) if name not in _SAID_ELSEWHERE]
            for one in own
        ]
        return ["class", bases, made, parts]

    def _object(self, value: Any) -> Any:
        kind = type(value)
        if _library_class(kind) and not isinstance(value, nn.Module):
            return self._reduced(value)
        members = [(name, one) for of in kind.__mro__ for name, one in sorted(vars(of).items())]
        later = {name for name, one in members if isinstance(one, functools.cached_property)}
        state = {name: one for name, one in sorted(getattr(value, "__dict__", {}).items()) if name not in later}
        if isinstance(value, nn.Module):  # hooks are kept under numbers that count on through the session
            state = {n: list(one.values()) if "_hooks" in n and isinstance(one, dict) else one
                     for n, one in state.items()}  # fmt: skip
            compiled = state["_modules"].get("_orig_mod")  # of torch.compile
            return ["object", self(kind), self(state)] if compiled is None else self(compiled)
        slots = {name: one.__get__(value) for name, one in members
                 if isinstance(one, types.MemberDescriptorType) and hasattr(value, name)}  # fmt: skip
        inside = self._reduced(value) if any(map(_holds_more, kind.__mro__)) else None
        return ["object", self(kind), self(state), self(slots), inside]

    def _reduced(self, value: Any) -> Any:
        """What pickle would keep of an object of a library: how it is made, its state, its items."""
        known = copyreg.dispatch_table.get(type(value))
        found = known(value) if known else value.__reduce_ex__(4)
        if isinstance(found, str):
            return [*_named(value), found]
        make, arguments, state, items, pairs = (*found, None, None, None)[:5]
        return [
            self(make), self._all(arguments), self(state), self._all(items or ()),
            [[self(name), self(one)] for name, one in pairs or ()],
        ]  # fmt: skip


def _holds_more(kind: type) -> bool:
    """Whether the objects of a library's class hold something beside their variables: a list, a number, an error."""
    plain = object.__basicsize__ + (16 if kind.__flags__ & _HEAP else 0)  # a class statement adds two pointers
    return _library_class(kind) and kind.__basicsize__ > plain


def method_parts(method: Method) -> list[Any]:
    """What a method computes, its settings apart."""
    return [method.objective, method.stages, method.posthoc, method.probability, method.feedback]


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """A code object and all that are defined in it: comprehensions, lambdas, inner functions and classes."""
    yield code
    for one in code.co_consts:
        if isinstance(one, types.CodeType):
            yield from _codes(one)


def _used(code: types.CodeType) -> tuple[set[str], set[str]]:
    """Names of globals that a function reads, and of attributes that it asks for, in all the code that is in it."""
    names, attributes = set(), set()
    for one in (step for inner in _codes(code) for step in dis.get_instructions(inner)):
        if one.opcode in dis.hasname:
            (names if one.opname in ("LOAD_GLOBAL", "LOAD_NAME") else attributes).add(one.argval)
    return names, attributes


def _imported(code: types.CodeType, scope: dict[str, Any]) -> Iterator[tuple[str, types.ModuleType]]:
    """Modules that a function imports when it is called, and that are no library's."""
    for inner in _codes(code):
        steps = list(dis.get_instructions(inner))
        for at, one in enumerate(steps):
            if one.opname == "IMPORT_NAME":
                level = steps[at - 2].argval if at > 1 and isinstance(steps[at - 2].argval, int) else 0
                name = "." * level + one.argval
                package = scope.get("__package__") if level else None
                if level or not _library(one.argval):
                    yield name, importlib.import_module(name, package)
