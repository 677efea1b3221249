"""What a notebook says about itself: its kernel, the cell that runs, the reader's names."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from typing import Any


def _shell() -> Any:
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython else None


def kernel() -> Any:
    """The notebook kernel that this process is, or None."""
    return getattr(_shell(), "kernel", None)


def name_of(thing: Any) -> str | None:
    """The reader's own name for an object, where a notebook has one: copied code should run in it."""
    names = getattr(_shell(), "user_ns", {})
    return next((name for name, value in list(names.items()) if value is thing and not name.startswith("_")), None)


def cell() -> tuple[tuple[str, str], Any] | None:
    """(which cell, which run of it), or None where no cell runs.

    A cell is known by the id that the page gives it; where it gives none, by its code.
    """
    shell = _shell()
    if shell is None:
        return None
    if kernel() is None:  # IPython in a terminal
        code = (getattr(shell, "user_ns", {}).get("In") or [""])[-1]
        return (("code", code), shell.execution_count) if code else None
    request = kernel().get_parent("shell") or {}
    run = request.get("header", {}).get("msg_id")
    name, code = request.get("metadata", {}).get("cellId"), request.get("content", {}).get("code")
    if not run or not (name or code):
        return None
    return ("id", name) if name else ("code", code), run


def importing() -> bool:
    """Whether the present call comes from a module that is being imported."""
    frame = sys._getframe()
    while frame := frame.f_back:
        if frame.f_code.co_name == "exec_module":  # of whatever loader
            return True
    return False


_opened: list[tuple[tuple[tuple[str, str], Any], weakref.ref, Callable[[Any], None]]] = []


def take_place(new: Any, close: Callable[[Any], None]) -> None:
    """Close what an earlier run of the present cell opened: its place on the page is taken, its memory would stay.

    What a module makes while it is imported stays: running the cell of the import again does not make it anew.
    """
    here = cell()
    if here is None or importing():
        return
    kept = []
    for there, reference, close_it in _opened:
        old = reference()
        if old is None:
            continue
        if there[0] == here[0] and there != here:
            close_it(old)
        else:
            kept.append((there, reference, close_it))
    _opened[:] = [*kept, (here, weakref.ref(new), close)]
