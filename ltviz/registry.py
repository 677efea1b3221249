"""All methods by key: an unknown key suggests the nearest, and the collection shows itself as a table."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from typing import Any

from . import check
from .check import suggest


class Methods(Mapping[str, Any]):
    """All methods (`objective.Method`) by key. Shows itself as a table; an unknown key suggests the nearest."""

    def __init__(self):
        self._methods: dict[str, Any] = {}
        self._aliases: dict[str, str] = {}

    def add(self, method: Any) -> None:
        """Add a record, or replace the one with its key. ValueError where another method has one of its names."""
        if not all(hasattr(method, name) for name in ("key", "aliases", "objective")):
            expected = "a Method record"
            if callable(method):
                expected += "; lt.METHODS.add(lt.as_method(loss)) adds a loss of your own"
            elif hasattr(method, "method"):  # under its settings
                expected += ", without settings: METHODS[key], not METHODS[key](...)"
            raise check.refuse("method", method, expected)
        for name in (method.key, *method.aliases):
            if name in self and self[name].key != method.key:
                raise ValueError(f"method={method.key!r}: {name!r} is a name of {self[name].key!r}; choose another")
        self._aliases = {alias: key for alias, key in self._aliases.items() if key != method.key}
        self._methods[method.key] = method
        self._aliases.update(dict.fromkeys(method.aliases, method.key))

    def remove(self, key: str) -> None:
        """Take a record away (of a file that is gone)."""
        gone = self[key]
        del self._methods[gone.key]
        for alias in gone.aliases:
            self._aliases.pop(alias, None)

    def __getitem__(self, key: str) -> Any:
        try:
            return self._methods[self._aliases.get(key, key)]
        except (KeyError, TypeError):
            names = [*self._methods, *self._aliases]
            near = suggest(key, names) if isinstance(key, str) else ""
            if callable(key):
                near = " (a loss of your own is passed as it is, lt.train(loss, data), or through lt.as_method)"
            raise UnknownMethod(
                f"unknown method {check.shown(key)}{near}; ltviz.METHODS lists all {len(self._methods)}"
            ) from None

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and (key in self._methods or key in self._aliases)

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
        cells = ("".join(f"<td style='text-align:left'>{html.escape(v)}</td>" for v in row.values()) for row in rows)
        body = "".join(f"<tr>{row}</tr>" for row in cells)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


class UnknownMethod(KeyError, ValueError):
    """An unknown key; its message suggests the nearest one."""

    def __str__(self) -> str:
        return self.args[0]


def _row(method: Any) -> dict[str, str]:
    bound = method()
    head, stages = type(bound.build([4, 2]).make_head(3)).__name__, bound.stages
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
        "settings": ", ".join(f"{n}={s.default}" for n, s in method.settings.items()),
    }


METHODS = Methods()
