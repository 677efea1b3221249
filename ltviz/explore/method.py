"""Explorers of any method: its controls are made from its settings, and another method brings its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import check
from ..methods import METHODS
from ..objective import Setting
from ..plots.picture import DRAW_LOCK
from .base import STATE_OF, Explorer
from .controls import Choice, Control, control

METHOD = "method"


def setting_controls(key: str, values: Mapping[str, Any] | None = None) -> dict[str, Control]:
    """A control for each setting of a method; `values` are checked, and unknown ones refused with the nearest name."""
    bound = METHODS[key](**(values or {}))
    return {name: control(name, setting, bound.settings[name]) for name, setting in bound.method.settings.items()}


def method_control(key: str) -> Control:
    """A dropdown of all methods, by title."""
    titles = {k: METHODS[k].title for k in sorted(METHODS, key=lambda k: METHODS[k].title.lower())}
    setting = Setting("ce", choices=tuple(titles), meaning="which loss, sampler or rule")
    return Choice(METHOD, setting, METHODS[key].key, titles)


class MethodExplorer(Explorer):
    """An explorer whose dropdown `method` decides which other controls there are; `fixed` ones stay."""

    leader = METHOD

    def _lead(self) -> None:
        """Another method: its own settings, each where it was when the method was last shown, else at its default."""
        with DRAW_LOCK:
            chosen = self.controls[METHOD].value
            if chosen == self._shown:
                return
            made = setting_controls(chosen, self._given if chosen == self._fixed[METHOD].start else None)
            gone = [self.controls[name] for name in self.followers]
            self._kept[self._shown], self._shown = self.settings, chosen
            for name, value in self._kept.get(chosen, {}).items():
                made[name].value = value
            self._use({**self._fixed, **made})
            for one in gone:
                one.close()

    def _start(self, key: str, fixed: Mapping[str, Control], settings: Mapping[str, Any], **more: Any) -> None:
        """Make the controls, and the explorer with them."""
        made = setting_controls(key, settings)
        self._given, self._kept = dict(settings), {}
        self._fixed = {METHOD: method_control(key), **fixed}
        self._shown = self._fixed[METHOD].value
        self._fixed[METHOD].listeners.append(lambda: self.guard(self._lead))
        super().__init__({**self._fixed, **made}, **more)

    @property
    def followers(self) -> list[str]:
        return [name for name in self.controls if name not in self._fixed]

    @property
    def settings(self) -> dict[str, Any]:
        """The present settings of the present method."""
        return {name: self.controls[name].value for name in self.followers}

    def set(self, **values: Any) -> None:
        with self._hold():
            if METHOD in values:
                self.controls[METHOD].value = METHODS[values.pop(METHOD)].key
            super().set(**values)

    def reset(self) -> None:
        """The method, and every setting of every method, back to where it was at first."""
        with self._hold():
            self.controls[METHOD].reset()
            self._kept.clear()
            super().reset()

    @property
    def state(self) -> dict[str, Any]:
        values = self.values
        return {"key": values.pop(METHOD), **values}

    @classmethod
    def from_state(cls, state: Mapping[str, Any], *data: Any) -> MethodExplorer:
        given = dict(check.instance("state", state, Mapping, STATE_OF))
        return cls._of(check.text("key", given.pop("key", None)), given, *data)

    @classmethod
    def _of(cls, key: str, given: dict[str, Any], *data: Any) -> MethodExplorer:
        """The explorer of this method, under these other values of a state, on these data."""
        raise TypeError(f"{cls.__name__} must define _of()")
