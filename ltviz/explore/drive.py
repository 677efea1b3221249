"""Move every control of an explorer through its ends, as a test of a chapter does."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .base import Explorer


def drive(explorer: Explorer) -> list[str]:
    """What went wrong, in words, while every control went to its ends and its default (each choice of a dropdown).

    The first problem also stays in `error`. Afterwards the controls stand where they stood. The settings of all
    methods make hundreds of pictures: under LTVIZ_PROFILE=fast only those of the method shown are moved.
    """
    before, problems = explorer.values, []
    brief = os.environ.get("LTVIZ_PROFILE") == "fast"

    def attempt(what: str, act: Callable[[], None]) -> None:
        explorer.show_error(None)
        explorer.guard(act)
        if explorer.error:
            problems.append(f"{what}: {explorer.error}")

    def put(**values: Any) -> None:
        attempt(", ".join(f"{name}={value!r}" for name, value in values.items()), lambda: explorer.set(**values))

    for name in [name for name in explorer.controls if name not in explorer.followers]:
        for stop in explorer.controls[name].stops:
            put(**{name: stop})
            if name == explorer.leader and (not brief or stop == before[name]):
                for values in _levels(explorer):
                    put(**values)
    for button in (explorer.code_button, explorer.code_button, explorer.reset_button):
        attempt(button.description, button.click)
    attempt("back to where it was", lambda: explorer.set(**before))
    if problems:
        explorer.show_error(problems[0])
    return problems


def _levels(explorer: Explorer) -> list[dict[str, Any]]:
    """The followers of the leader move together: first all to their low end, and so on."""
    stops = {name: explorer.controls[name].stops for name in explorer.followers}
    rows = [
        {name: its[min(level, len(its) - 1)] for name, its in stops.items()}
        for level in range(max(map(len, stops.values()), default=0))
    ]
    here = {name: explorer.controls[name].value for name in stops}
    return [row for i, row in enumerate(rows) if row != (rows[i - 1] if i else here)]
