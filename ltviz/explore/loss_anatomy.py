"""Explorer: what a loss says about one image, for any method of METHODS; its controls are made from its settings."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import ipywidgets as widgets
import numpy as np
import torch

from .. import check
from ..device import threads
from ..methods import METHODS
from ..plots.loss_curve import LossPanels
from ..plots.picture import DASHES, GROUP_COLOURS, QUIET, number
from ..plots.series import class_counts
from ..plots.surface import Surface
from ..probe import Probe, probe, probes
from .frames import Point, Region
from .layout import SIGHT
from .method import METHOD, MethodExplorer

MARKS = np.linspace(0.1, 0.9, 9).round(1)  # p of the places on the curves that can be pointed at
ENDS = np.outer(10.0 ** np.arange(-3, 7), (1.2, 2.5, 5.0)).ravel()  # of an axis: few, as each costs ten pictures
COUNTS = (500, 347, 240, 167, 116, 80, 56, 38, 26, 18)


def end(value: float) -> float:
    """The end of an axis that shows this value."""
    return float(ENDS[min(np.searchsorted(ENDS, value), len(ENDS) - 1)])


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
        self.counts = np.sort(class_counts(COUNTS if counts is None else counts, alone=True))[::-1].copy()
        if len(self.counts) < 2:
            raise check.refuse("counts", self.counts.tolist(), "the training images of at least 2 classes")
        self._plain = probe("ce", torch.from_numpy(self.counts), 0)
        self.formula = widgets.HTMLMath(layout={"width": "100%", "overflow": "auto hidden", "min_height": "56px"})
        self._start(key, {}, settings, below=(self.formula,))

    def build(self, surface: Surface) -> None:
        axes = surface.figure.subplots(1, 2)
        surface.figure.subplots_adjust(left=0.09, right=0.98, bottom=0.215, top=0.905, wspace=0.24)
        self.panels = LossPanels(axes, "Loss of one image")
        for i, (name, count) in enumerate((("head", self.counts[0]), ("tail", self.counts[-1]))):
            kind = {"color": GROUP_COLOURS[name], "linestyle": DASHES[i], "linewidth": 2.4}
            self.panels.add(label=f"{name} class, {count:,.0f} images", **kind)
        self.panels.add(label="cross-entropy", color=QUIET, linewidth=1.3, linestyle=(0, (1, 1.6)))
        lines = self.panels.axes[0].lines
        place = {"loc": "lower center", "bbox_to_anchor": (0.53, 0.005)}
        surface.figure.legend(handles=list(lines), ncols=3, handlelength=3, **place)
        surface.animate(*(line for pair in self.panels.curves for line in pair))

    def compute(self, method: str, **settings: Any) -> Anatomy:
        counts = torch.from_numpy(self.counts)
        with threads(1):  # tensors this small wait for a second thread far longer than they compute
            head, tail = probes(method, counts, (0, len(counts) - 1), settings=settings)
        return Anatomy(method, settings, head, tail, self._plain)

    def draw(self, result: Anatomy) -> None:
        found = [
            (curve.p.numpy(), curve.loss.numpy(), curve.gradient.numpy())
            for curve in (result.head, result.tail, result.plain)
        ]
        self.panels.update(found)
        for ax, head, tail in zip(self.panels.axes, found[0][1:], found[1][1:], strict=True):
            values = np.concatenate([head, tail])
            lowest = float(values.min())
            self.surface.limit(ax, (-end(-lowest) if lowest < 0 else 0.0, end(float(np.quantile(values, 0.97)))))

    def regions(self) -> list[Region]:
        names = ("loss", "size of the gradient")
        return [Region.of(ax, name, xname="p", yname=name) for ax, name in zip(self.panels.axes, names, strict=True)]

    def marks(self, result: Anatomy) -> list[Point]:
        found, (loss_end, pull_end) = [], (ax.get_ylim()[1] for ax in self.panels.axes)
        for whose, curve in (("Head class", result.head), ("Tail class", result.tail)):
            p, loss, pull = (one.numpy() for one in (curve.p, curve.loss, curve.gradient))
            for at in MARKS[(p[0] <= MARKS) & (MARKS <= p[-1])]:
                for region, (word, values, end) in enumerate((("loss", loss, loss_end), ("gradient", pull, pull_end))):
                    y = float(np.interp(at, p, values))
                    if y <= end:
                        found.append(Point(float(at), y, f"{whose} at p = {at:g}: {word} {number(y)}", region))
        return found

    def drawn(self, result: Anatomy) -> None:
        formula = f"$$\\small {html.escape(METHODS[result.method].equation, quote=False)}$$"
        if self.formula.value != formula:
            self.formula.value = formula
        if self.column.rest.layout.display == "none":  # "More" opens nothing that is greyed altogether
            further = list(self.controls.values())[SIGHT:]
            self.column.more.layout.display = None if any(not one.idle for one in further) else "none"

    def say(self, result: Anatomy) -> str:
        def at(curve: Probe, p: float) -> str:
            return number(float(np.interp(p, curve.p.numpy(), curve.gradient.numpy())))

        bound = METHODS[result.method](**result.settings)
        said = {**bound.method.objective.variant, **bound.differing}
        told = (f"{name} = {check.spelled(value)}".replace("_", " ") for name, value in said.items())
        return (
            f"{', '.join([bound.key, *told])}: an image at p = 0.9 pulls with {at(result.head, 0.9)} "
            f"in the head class and {at(result.tail, 0.9)} in the tail class (cross-entropy: {at(result.plain, 0.9)}); "
            f"at p = 0.1 with {at(result.head, 0.1)} and {at(result.tail, 0.1)} (cross-entropy: "
            f"{at(result.plain, 0.1)})."
        )

    @classmethod
    def _of(cls, key: str, given: dict[str, Any], *data: Any) -> LossAnatomy:
        return cls(key, *data, **given)

    def as_code(self) -> str:
        counts = [int(n) if n == int(n) else float(n) for n in self.counts]
        given = [] if counts == list(COUNTS) else [f"counts={counts}"]
        given += [f"{name}={value!r}" for name, value in self.settings.items()]
        return f"lt.explore.{self.function}({', '.join([repr(self.values[METHOD]), *given])})"


def loss_anatomy(key: str = "focal", counts: Any = None, **settings: Any) -> LossAnatomy:
    """Choose a method and move its settings; see its loss and its gradient against p, for a head and a tail class.

    key: a key of METHODS; settings: where its controls start. counts (k,): training images of each class, for losses
    that use them (default 500 ... 18 in 10 classes), or a data set or run that has them.
    """
    return LossAnatomy(key, counts, **settings)
