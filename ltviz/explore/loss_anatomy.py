"""Explorer: what a loss says about one image, for any method of METHODS; its controls are made from its settings."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ipywidgets as widgets
import numpy as np
import torch

from .. import check
from ..methods import METHODS
from ..objective import Setting
from ..plots.picture import DRAW_LOCK, GROUP_COLOURS, QUIET, number
from ..plots.series import class_counts
from ..plots.surface import Surface
from ..probe import Probe, probe
from .base import Explorer
from .controls import Choice, Control, control

COUNTS = (500, 347, 240, 167, 116, 80, 56, 38, 26, 18)
LADDER = np.outer(10.0 ** np.arange(-3, 7), (1.2, 2.2, 3.2, 6.4)).ravel()  # upper limits of an axis: few, so it rests
METHOD = "method"


def setting_controls(key: str, values: Mapping[str, Any] | None = None) -> dict[str, Control]:
    """A control for each setting of a method; `values` are checked, and unknown ones refused with the nearest name."""
    record = METHODS[key]
    resolved = record.resolve(values)
    return {name: control(name, setting, resolved[name]) for name, setting in record.settings.items()}


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

    def equation(self) -> str:
        """The method's equation, as the notebook typesets it."""
        record = METHODS[self.controls[METHOD].value]
        return f"$$\\small {html.escape(record.equation, quote=False)}$$"


@dataclass(frozen=True)
class Anatomy:
    """The probe of the head and of the tail class, and of plain cross-entropy."""

    method: str
    settings: dict[str, Any]
    head: Probe
    tail: Probe
    plain: Probe


class LossAnatomy(MethodExplorer):
    """Loss and gradient of one image against the probability of its true class, for a head and a tail class."""

    function = "loss_anatomy"
    title = "Anatomy of a loss"
    size = (7.6, 3.9)

    def __init__(self, key: str = "focal", counts: Any = None, **settings: Any):
        key = METHODS[key].key
        self.counts = np.sort(class_counts(COUNTS if counts is None else counts))[::-1].copy()
        if len(self.counts) < 2:
            raise check.refuse("counts", self.counts.tolist(), "the training images of at least 2 classes")
        self._plain = probe("ce", torch.from_numpy(self.counts), 0)
        self.formula = widgets.HTMLMath(layout={"width": "100%", "overflow": "auto hidden", "min_height": "56px"})
        self._start(key, {}, settings, below=(self.formula,))

    def build(self, surface: Surface) -> None:
        left, right = surface.figure.subplots(1, 2)
        surface.figure.subplots_adjust(left=0.075, right=0.98, bottom=0.215, top=0.905, wspace=0.22)
        self.panels = left, right
        left.set(title="Loss of the image", ylabel="loss")
        right.set(title="Pull on the true logit", ylabel="size of the gradient, |∂loss/∂z|")
        lines = []
        for ax in self.panels:
            ax.set(xlim=(0, 1), ylim=(0, 1.2), xlabel="probability of the true class, p")
            ax.set_xticks(np.linspace(0, 1, 6))
            kinds = (
                {"color": GROUP_COLOURS["head"], "lw": 2.4, "label": f"head class, {self.counts[0]:,.0f} images"},
                {"color": GROUP_COLOURS["tail"], "lw": 2.4, "label": f"tail class, {self.counts[-1]:,.0f} images"},
                {"color": QUIET, "lw": 1.3, "label": "cross-entropy"},
            )
            dashes = ("-", (0, (4, 1.4)), (0, (1, 1.6)))
            head, tail, plain = (ax.plot([], [], ls=d, **kind)[0] for d, kind in zip(dashes, kinds, strict=True))
            lines.append((head, tail, plain))
        self.lines = lines
        surface.figure.legend(
            handles=lines[0], loc="lower center", ncols=3, handlelength=3, bbox_to_anchor=(0.53, 0.005)
        )
        surface.animate(*(line for three in lines for line in three))

    def compute(self, method: str, **settings: Any) -> Anatomy:
        counts = torch.from_numpy(self.counts)
        head, tail = (probe(method, counts, target, settings=settings) for target in (0, len(counts) - 1))
        return Anatomy(method, settings, head, tail, self._plain)

    def draw(self, result: Anatomy) -> None:
        curves = (result.head, result.tail, result.plain)
        for ax, lines, what in zip(self.panels, self.lines, ("loss", "gradient"), strict=True):
            for line, curve in zip(lines, curves, strict=True):
                line.set_data(curve.p.numpy(), getattr(curve, what).numpy())
            values = np.concatenate([getattr(curve, what).numpy() for curve in curves[:2]])
            low = min(0.0, float(np.floor(values.min())))
            high = LADDER[np.searchsorted(LADDER, np.quantile(values, 0.97))]
            if ax.get_ylim() != (low, high):
                ax.set_ylim(low, high)
        formula = self.equation()
        if self.formula.value != formula:
            self.formula.value = formula

    def say(self, result: Anatomy) -> str:
        def at(curve: Probe, p: float) -> str:
            return number(float(np.interp(p, curve.p.numpy(), curve.gradient.numpy())))

        label = METHODS[result.method].label(result.settings)
        return (
            f"{label}: an image at p = 0.9 pulls with {at(result.head, 0.9)} in the head class and "
            f"{at(result.tail, 0.9)} in the tail class (cross-entropy: {at(result.plain, 0.9)}); at p = 0.1 with "
            f"{at(result.head, 0.1)} and {at(result.tail, 0.1)} (cross-entropy: {at(result.plain, 0.1)})."
        )

    @property
    def state(self) -> dict[str, Any]:
        return {"key": self.controls[METHOD].value, **self.settings}

    @classmethod
    def from_state(cls, state: Mapping[str, Any], *data: Any) -> LossAnatomy:
        settings = dict(check.instance("state", state, Mapping, "what `state` of an explorer gives, a dict"))
        return cls(check.text("key", settings.pop("key", None)), *data, **settings)

    def as_code(self) -> str:
        counts = [int(n) if n == int(n) else float(n) for n in self.counts]
        given = [repr(self.controls[METHOD].value)]
        given += [] if counts == list(COUNTS) else [f"counts={counts}"]
        given += [f"{name}={value!r}" for name, value in self.settings.items()]
        return f"lt.explore.{self.function}({', '.join(given)})"


def loss_anatomy(key: str = "focal", counts: Any = None, **settings: Any) -> LossAnatomy:
    """Choose a method and move its settings; see its loss and its gradient against p, for a head and a tail class.

    key: a key of METHODS; settings: where its controls start. counts (k,): training images of each class, for losses
    that use them (default 500 ... 18 in 10 classes), or a data set or run that has them.
    """
    return LossAnatomy(key, counts, **settings)
