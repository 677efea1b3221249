"""umap-learn's compiled code: what numba makes of it is kept on the disk, and nothing is compiled that is not used."""

from __future__ import annotations

import atexit
import functools
import importlib
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from . import files

# What numba does when a function is called, is called by a compiled one, is compared as an argument, is pickled.
_USES = ("_compile_for_args", "get_call_template", "get_function_type", "_reduce_states")


def import_umap() -> Any:
    """umap, which says so where it has to be compiled first. ImportError where it is not installed."""
    place_compiled_code()
    if "umap" not in sys.modules and not compiled():
        print("umap: compiling for this machine, 5 to 15 seconds, once", flush=True)
    umap = import_lazily("umap", "pynndescent")
    keep_compiled_code()
    return umap


def place_compiled_code() -> None:
    """Tell numba, before it is imported, where to keep what it compiles: umap cannot be imported where it cannot."""
    if "umap" in sys.modules:
        return
    folder = Path(os.environ.get("NUMBA_CACHE_DIR") or files.cache_folder() / "numba")
    try:
        files.check_writable(folder)
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="ltviz-numba-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["NUMBA_CACHE_DIR"] = str(folder)
    if "numba" in sys.modules:  # then the setting was read already
        sys.modules["numba"].config.CACHE_DIR = str(folder)


def compiled() -> bool:
    """Whether numba has kept what it compiled of umap, so that the first UMAP of a process takes seconds."""
    folder = Path(os.environ.get("NUMBA_CACHE_DIR") or files.cache_folder() / "numba")
    return next(folder.rglob("layouts.*optimize_layout_euclidean*.nbi"), None) is not None


def import_lazily(module: str, package: str) -> Any:
    """A module of umap-learn's. What it imports of a package, numba compiles when it is first used.

    Functions with signatures would be compiled at the import. In pynndescent, umap's search for neighbours, they take
    nine seconds, and exact neighbours need none. They are compiled for the same signatures and no others, as ever.
    """
    numba = importlib.import_module("numba")
    usual, before = numba.njit, set(sys.modules)

    def njit(*given: Any, **options: Any) -> Any:
        def decorate(function: Any) -> Any:
            made = usual(**options)(function) if str(function.__module__).split(".")[0] == package else None
            if not all(hasattr(made, name) for name in (*_USES, "_can_compile", "compile", "disable_compile")):
                return usual(*given, **options)(function)  # of another package, or of a numba that works otherwise
            return _compile_later(made, given[0] if isinstance(given[0], list) else given)

        return usual(*given, **options) if not given or callable(given[0]) else decorate

    numba.njit = njit
    try:
        return _import(module)
    except Exception:  # perhaps it needs them at its import: once more, as usual
        numba.njit = usual
        for name in set(sys.modules) - before:
            if name.split(".")[0] == package:
                del sys.modules[name]
        return _import(module)
    finally:
        numba.njit = usual


def _compile_later(function: Any, signatures: Iterable[Any]) -> Any:
    """A function that numba made, to be compiled for its signatures at the first of _USES."""
    compiling = importlib.import_module("numba.core.compiler_lock").global_compiler_lock
    waiting = list(signatures)

    def use(name: str, *args: Any, **kwargs: Any) -> Any:
        with compiling:
            now, waiting[:] = list(waiting), []  # a function that calls itself comes here again
            try:
                for signature in now:
                    function.compile(signature)
                if now:
                    function.disable_compile()
            except BaseException:
                waiting[:] = now  # interrupted: the next use tries again
                raise
        if name == "_compile_for_args" and not function._can_compile:
            return function  # which numba calls, and now finds the signature
        return getattr(type(function), name)(function, *args, **kwargs)

    for name in _USES:
        setattr(function, name, functools.partial(use, name))
    return function


def _import(module: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImportWarning)  # umap-learn misses TensorFlow, which nothing here needs
        return importlib.import_module(module)


def keep_compiled_code() -> None:
    """Have numba keep what it compiles of umap: compiling takes ten seconds, and later processes read it in one."""
    for module in ("umap_", "layouts", "utils", "distances"):
        for function in vars(importlib.import_module(f"umap.{module}")).values():
            if hasattr(function, "enable_caching") and not function.signatures:
                function.enable_caching()
