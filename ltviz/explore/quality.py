"""Explorer: make real pictures worse, and see how long their features become, and whether they are still recognised."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from .. import check
from ..datasets import LongTailed
from ..datasets.corrupt import CORRUPTIONS
from ..objective import Setting
from ..plots.picture import DASHES, INK, PALETTE, QUIET, as_percent, number
from ..plots.surface import Pixels, Surface
from ..plots.text import short
from ..plots.theme import PHOTO
from ..run import Run
from ..training.network import Network
from .base import STATE_OF, Explorer
from .controls import Number
from .frames import Frame, Handle, Point, Region
from .notebook import name_of

SETTINGS = {
    "blur": Setting(0.0, 0.0, 3.0, meaning="standard deviation of the blur, in pixels of the network's image"),
    "low_resolution": Setting(1.0, 1.0, 8.0, meaning="how many times fewer pixels a side"),
    "noise": Setting(0.0, 0.0, 0.5, meaning="standard deviation of the noise, as a share of the range of a pixel"),
    "occlusion": Setting(0.0, 0.0, 0.8, meaning="share of the picture under a black rectangle"),
}
UNITS = {
    "blur": "blur, pixels",
    "low_resolution": "times fewer pixels a side",
    "noise": "noise, sd",
    "occlusion": "occlusion, share",
}
TOLD = {  # the same with a value, in a sentence
    "blur": "blur of sd {:.3g} px",
    "low_resolution": "{:.3g} times fewer pixels a side",
    "noise": "noise of sd {:.3g}",
    "occlusion": "occlusion of a share of {:.3g}",
}
STEPS = 13  # strengths at which each curve is computed
COLUMNS, ROWS = 3, 2  # pictures that are shown
MOST = 500  # pictures whose mean is taken


@dataclass(frozen=True)
class Quality:
    """Under these strengths, all at once: pictures as the network gets them, and what it makes of them.

    tiles (COLUMNS * ROWS, H, W, C) uint8; lengths, answers (n,): feature length and decided class of every picture
    norm, accuracy: mean length as a multiple of that of the clean pictures, share that is recognised
    """

    strengths: dict[str, float]
    tiles: np.ndarray
    lengths: np.ndarray
    answers: np.ndarray
    norm: float
    accuracy: float


class QualityExplorer(Explorer):
    """Pictures under blur, low resolution, noise and occlusion; beside them mean feature length and accuracy."""

    function = "quality"
    title = "Image quality and the length of a feature"
    size = (7.6, 4.3)

    def __init__(
        self,
        run: Run,
        pictures: Any,
        blur: float = 0.0,
        low_resolution: float = 1.0,
        noise: float = 0.0,
        occlusion: float = 0.0,
    ):
        check.instance("run", run, Run, "a run: what ltviz.train returns, or a full record that load_run reads")
        self.given = run, pictures
        self.images, self.targets = _pictures(pictures, run)
        _, height, width, channels = self.images.shape
        self.network = Network(run, (channels, height, width))
        self.names = [short(name, 10) for name in run.class_names]
        logits, features = self.network.answer(self.images)
        self.clean = np.linalg.norm(features, axis=1)
        self.whole = max(float(self.clean.mean()), 1e-12)
        self.curves = {name: self._curve(name) for name in SETTINGS}
        self.top = max(1.2, 1.06 * max(float(curve[:, 1].max()) for curve in self.curves.values()))
        given = {"blur": blur, "low_resolution": low_resolution, "noise": noise, "occlusion": occlusion}
        super().__init__({name: Number(name, SETTINGS[name], value, steps=50) for name, value in given.items()})

    # ------------------------------------------------------------------------------------------------- the numbers
    def _look(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, float]:
        logits, features = self.network.answer(images)
        lengths, answers = np.linalg.norm(features, axis=1), logits.argmax(1)
        return lengths, answers, float(lengths.mean()) / self.whole, float((answers == self.targets).mean())

    def _curve(self, name: str) -> np.ndarray:
        """(STEPS, 3): strength of this corruption alone, mean length, accuracy."""
        setting = SETTINGS[name]
        strengths = np.linspace(setting.low, setting.high, STEPS)
        return np.array([(at, *self._look(CORRUPTIONS[name](self.images, at))[2:]) for at in strengths])

    def compute(self, **strengths: float) -> Quality:
        images = self.images
        for name, strength in strengths.items():
            images = CORRUPTIONS[name](images, strength)
        return Quality(dict(strengths), images[: COLUMNS * ROWS], *self._look(images))

    # ------------------------------------------------------------------------------------------------- the picture
    def build(self, surface: Surface) -> None:
        figure = surface.figure
        self.tiles, self.says, self.boxes = [], [], []
        for i in range(min(COLUMNS * ROWS, len(self.images))):
            row, column = divmod(i, COLUMNS)
            wide, left, bottom = 0.148, 0.012 + column * 0.158, 0.625 - row * 0.43
            high = wide * self.size[0] / self.size[1]
            ax = figure.add_axes((left, bottom, wide, high))
            self.boxes.append((left, 1 - bottom - high, left + wide, 1 - bottom))
            ax.set_axis_off()
            blank = np.zeros((*self.images.shape[1:3], 3), np.uint8)
            ax.set(xlim=(0, 1), ylim=(0, 1))
            self.tiles.append(Pixels(ax, blank, (0, 1, 0, 1), gid=PHOTO))
            text = {"fontsize": 9.5, "ha": "center", "va": "top", "transform": ax.transAxes, "linespacing": 1.25}
            self.says.append(ax.text(0.5, -0.04, "", parse_math=False, **text))
        figure.text(0.012, 0.945, "As the network gets them", fontsize=9.5, fontweight="bold", va="center")
        self.panels = [
            figure.add_axes((0.535 + column * 0.243, 0.62 - row * 0.42, 0.2, 0.27))
            for row in range(2) for column in range(2)
        ]  # fmt: skip
        self.dots = []
        for ax, (name, curve) in zip(self.panels, self.curves.items(), strict=True):
            self._build_panel(ax, name, curve)
        figure.text(0.5, 0.945, "Each alone: mean length (clean = 1), accuracy", fontsize=9.5, fontweight="bold",
                    va="center")  # fmt: skip
        length = self.panels[0].lines[0], self.panels[0].lines[1]
        figure.legend(handles=list(length), ncols=2, loc="lower center", bbox_to_anchor=(0.75, 0.005), fontsize=8.5)
        surface.animate(*self.tiles, *self.says, *self.dots)

    def _build_panel(self, ax: Axes, name: str, curve: np.ndarray) -> None:
        setting = SETTINGS[name]
        ax.set(xlim=(setting.low, setting.high), ylim=(0, self.top), yticks=np.arange(0, self.top, 0.5))
        ax.set_xlabel(UNITS[name], fontsize=8.5, labelpad=1)
        ax.tick_params(labelsize=8.5)
        ax.plot(curve[:, 0], curve[:, 1], color=PALETTE[0], linewidth=2.2, label="mean feature length", zorder=3)
        ax.plot(
            curve[:, 0], curve[:, 2], color=PALETTE[1], linestyle=DASHES[1], linewidth=1.8, label="accuracy", zorder=2
        )
        ax.axhline(1, color=QUIET, linewidth=1, linestyle=(0, (1, 2)), zorder=1)
        self.dots.append(ax.plot([], [], "o", color=PALETTE[0], markersize=9, markeredgecolor="white", zorder=4)[0])

    def draw(self, result: Quality) -> None:
        for i, (tile, text) in enumerate(zip(self.tiles, self.says, strict=True)):
            image = result.tiles[i]
            tile.set_data(np.repeat(image, 3, 2) if image.shape[2] == 1 else image)
            answer, right = self.names[result.answers[i]], result.answers[i] == self.targets[i]
            text.set_text(f"{number(self.clean[i])} → {number(result.lengths[i])}\n{'✓' if right else '✗'} {answer}")
            text.set_color(INK if right else "#B04F00")
        for dot, (name, curve) in zip(self.dots, self.curves.items(), strict=True):
            at = result.strengths[name]
            dot.set_data([at], [np.interp(at, curve[:, 0], curve[:, 1])])

    def say(self, result: Quality) -> str:
        moved = [TOLD[name].format(value) for name, value in result.strengths.items() if value != SETTINGS[name].low]
        what = "; ".join(moved) if moved else "as they are"
        return (
            f"{len(self.images):,} pictures, {what}: mean feature length {number(result.norm * self.whole)} (clean "
            f"{number(self.whole)}, times {result.norm:.2f}); accuracy {as_percent(result.accuracy)} (clean "
            f"{as_percent(self.curves['blur'][0, 2])}). Below each picture: its length, clean and now, and the answer."
        )

    # ------------------------------------------------------------------------------------------------- pointing
    def regions(self) -> list[Region]:
        return [
            Region.of(ax, UNITS[name], xname=UNITS[name], yname="times clean")
            for ax, name in zip(self.panels, SETTINGS, strict=True)
        ]

    def marks(self, result: Quality) -> list[Point]:
        found = []
        for region, (name, curve) in enumerate(self.curves.items()):
            for at, length, accuracy in curve:
                told = f"{TOLD[name].format(at)}, alone: length times {length:.2f}, accuracy {as_percent(accuracy)}"
                found.append(Point(at, min(length, self.top), told, region))
        return found

    def handles(self, result: Quality) -> list[Handle]:
        found = []
        for region, (name, curve) in enumerate(self.curves.items()):
            at, setting = result.strengths[name], SETTINGS[name]
            y = min(float(np.interp(at, curve[:, 0], curve[:, 1])), self.top)
            ends, told = (setting.low, setting.high), TOLD[name].format(at)
            found.append(Handle(name, at, y, UNITS[name], "x", ends, region=region, told=told))
        return found

    def _framed(self, result: Quality) -> Frame:
        """The pictures keep their colours on a dark page."""
        return dataclasses.replace(super()._framed(result), photos=self.boxes)

    # ------------------------------------------------------------------------------------------------- as code
    def data_code(self) -> list[str]:
        return [name_of(one) or other for one, other in zip(self.given, ("run", "pictures"), strict=True)]

    @classmethod
    def from_state(cls, state: Mapping[str, Any], *data: Any) -> QualityExplorer:
        """The explorer of this state, of a run and its pictures. ValueError for a name it does not have."""
        check.instance("state", state, Mapping, STATE_OF)
        return super().from_state(state, *data)


def _pictures(pictures: Any, run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (n, H, W, C) uint8 and the class number of each in the order of the run; at most MOST."""
    if isinstance(pictures, LongTailed):
        images, targets = pictures.test_images.cpu().numpy(), pictures.test_targets.cpu().numpy()
        names = [pictures.class_names[target] for target in targets[:MOST]]
    elif hasattr(pictures, "small") and hasattr(pictures, "names"):
        images, names = np.asarray(pictures.small), list(pictures.names)
    else:
        raise check.refuse("pictures", pictures, "a data set, or lt.study.photographs()")
    strange = sorted(set(map(str, names)) - set(run.class_names))
    if strange:
        raise check.refuse("pictures", pictures, f"pictures of classes that the run knows: it has no {strange[0]!r}")
    order = list(run.class_names)
    return images[:MOST], np.array([order.index(str(name)) for name in names[:MOST]])


def quality(
    run: Run,
    pictures: Any = None,
    blur: float = 0.0,
    low_resolution: float = 1.0,
    noise: float = 0.0,
    occlusion: float = 0.0,
) -> QualityExplorer:
    """Make real pictures worse, and see how long the features of a trained network become.

    run: one that keeps its network (from lt.train, or a full record). pictures: the data set it was trained on, whose
    test images are used (the first 500), or lt.study.photographs() for a run on the photographs. blur: standard
    deviation in pixels, 0 to 3; low_resolution: times fewer pixels a side, 1 to 8; noise: standard deviation as a share
    of the range of a pixel, 0 to 0.5, clipped at black and white; occlusion: share under a black rectangle, 0 to 0.8.
    All that is set acts together, in this order; the curves show each by itself.
    Cannot show that a short feature means a bad picture: noise may lengthen it, and in a network of ReLUs a darker
    picture has a shorter feature whatever it shows.
    """
    return QualityExplorer(run, pictures, blur, low_resolution, noise, occlusion)
