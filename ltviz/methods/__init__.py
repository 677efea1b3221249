"""One file per paper. Each holds the equation as a pure function, an Objective, and the record METHOD (or METHODS).

Adding a file here is all it takes: `discover` finds it, and tests, tables, explorers and the benchmark follow.
"""

from __future__ import annotations

import importlib
import pkgutil

from ..objective import METHODS, Method


def discover() -> None:
    """Fill METHODS from the modules on this package's `__path__`, ce first, then by name."""
    for name in sorted((m.name for m in pkgutil.iter_modules(__path__)), key=lambda name: (name != "ce", name)):
        module = importlib.import_module(f"{__name__}.{name}")
        records = getattr(module, "METHODS", None) or (module.METHOD,)
        for record in records:
            METHODS.add(record)


def cite(*keys: str) -> str:
    """BibTeX of the papers behind these methods, each paper once."""
    entries = dict.fromkeys(METHODS[key].citation.strip() for key in keys)
    return "\n\n".join(entry for entry in entries if entry)


discover()
__all__ = ["METHODS", "Method", "cite", "discover"]
