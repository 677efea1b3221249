"""Explorer: whose images the gradient of the focal loss comes from, epoch by epoch, and how it weighs each of them."""

from __future__ import annotations

import functools
import threading
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes

from .. import metrics
from ..datasets import digits_lt
from ..device import threads
from ..methods.focal import METHOD, focal_loss
from ..objective import Setting
from ..plots.picture import DASHES, FAINT, GROUP_COLOURS, GROUP_INK, INK, as_percent, number
from ..plots.surface import Surface
from ..training.recipe import RECIPES
from ..training.snapshots import take_snapshots
from .base import Explorer, follow_drag
from .controls import Choice, Control, Number
from .frames import Handle, Point, Region
from .screen import Click, Drag

EPOCHS = RECIPES["digits"].epochs
GAMMA = METHOD.settings["gamma"]
EPOCH = Setting(10, 0, EPOCHS, meaning="epochs of training that are done")
TRAINED = Setting(0.0, choices=(0.0, 2.0, 5.0), meaning="the gamma of the loss with which this network was trained")
FORM = Setting("softmax", choices=("softmax", "sigmoid"), meaning="where the probability p comes from")
SEED = Setting(0, 0, 9, meaning="another network: its class order, images, start and batches")
GROUPS = {"head": "frequent", "mid": "middle", "tail": "rare"}
BINS = np.linspace(0.0, 1.0, 21)
PLACES = np.linspace(0.0, 1.0, 51)  # of p, at which the weight is drawn
SMALLEST, LARGEST = 1e-9, 9.0  # gradient of an average image, on its axis
GRIP = 0.3  # the p at which the curve of the weight is held: beside the letters above it
RIVER, SIZE, HISTOGRAM = range(3)  # the first regions of the picture; one histogram a group


@dataclass(frozen=True)
class Film:
    """One network at every epoch. p (epochs, n): of the true class; accuracy (epochs, groups): on test images.

    logits (epochs, n, k), targets (n,): training images; masks (groups, k): the classes of each group.
    """

    logits: np.ndarray
    targets: np.ndarray
    p: np.ndarray
    accuracy: np.ndarray
    masks: np.ndarray

    @functools.cached_property
    def members(self) -> np.ndarray:
        """Which training images belong to each group (groups, n)."""
        return self.masks[:, self.targets]


@dataclass(frozen=True)
class River:
    """What is drawn. share (epochs, groups) of the gradient and its mean size (epochs,), with gamma and without.

    p: that of each training image at this epoch, one array a group; weight (places,): (1 - p)^gamma along PLACES.
    images, left (groups, bins): share of a group's images in each bin of p, and what the weight leaves of it.
    """

    epoch: int
    gamma: float
    trained: float
    form: str
    seed: int
    share: np.ndarray
    size: np.ndarray
    plain_share: np.ndarray
    plain_size: np.ndarray
    p: list[np.ndarray]
    weight: np.ndarray
    images: np.ndarray
    left: np.ndarray
    accuracy: np.ndarray


@functools.cache
def film(trained: float, form: str, seed: int) -> Film:
    """Train on the bench with this gamma, and keep the logits of the training images after every epoch."""
    data = digits_lt(ratio=50, class_order="seed", seed=seed)
    found = take_snapshots("focal", data, range(EPOCHS + 1), gamma=trained, form=form, seed=seed)
    logits = np.stack([found.logits(i, one) for i, one in enumerate(found.features)])
    chances = torch.from_numpy(logits).softmax(-1) if form == "softmax" else torch.from_numpy(logits).sigmoid()
    p = chances.numpy()[:, np.arange(len(found.targets)), found.targets]
    masks = np.stack([metrics.third_groups(found.counts)[name] for name in GROUPS])
    decided = [found.logits(i, one).argmax(1) for i, one in enumerate(found.test_features)]
    each = [metrics.per_class(found.test_targets, one, len(found.counts)) for one in decided]
    accuracy = np.stack([[one[mask].mean() for mask in masks] for one in each])
    return Film(logits, found.targets, p, accuracy, masks)


@functools.lru_cache(256)
def river(trained: float, form: str, seed: int, gamma: float) -> tuple[np.ndarray, np.ndarray]:
    """Share of each group in the gradient under this gamma (epochs, groups), and its mean size (epochs,)."""
    one = film(trained, form, seed)
    with threads(1):
        found = metrics.gradient_shares(lambda z, y: focal_loss(z, y, gamma, form), one.logits, one.targets)
    return found.share @ one.masks.T, found.mean


class GradientRiver(Explorer):
    """The share of frequent, middle and rare classes in the gradient of the focal loss, at every epoch of one run.

    The network is trained when it is first looked at, in a fraction of a second, and does not change with gamma: gamma
    is that of the loss whose gradient is measured, `trained` that of the loss with which the network was trained.
    """

    function = "gradient_river"
    title = "Gradient river"
    size = (7.6, 3.9)  # low enough that the controls under "More", below it, are seen together with it

    def __init__(
        self,
        gamma: float = GAMMA.default,
        epoch: int = EPOCH.default,
        trained: float = TRAINED.default,
        form: str = FORM.default,
        seed: int = SEED.default,
    ):
        self._training = threading.Lock()
        names = {0.0: "without focusing: γ = 0", 2.0: "with γ = 2", 5.0: "with γ = 5"}
        controls: tuple[Control, ...] = (
            Number("gamma", GAMMA, gamma, steps=50),
            Number("epoch", EPOCH, epoch),
            Choice("trained", TRAINED, trained, names),
            Choice("form", FORM, form),
            Number("seed", SEED, seed),
        )
        super().__init__({one.name: one for one in controls})
        self.screen.on_click(self._clicked)

    # ------------------------------------------------------------------------------------------------- the numbers
    def compute(self, gamma: float, epoch: int, trained: float, form: str, seed: int) -> River:
        with self._training:
            one = film(trained, form, seed)
        share, size = river(trained, form, seed, gamma)
        p, weight = [one.p[epoch][member] for member in one.members], (1 - one.p[epoch]) ** gamma
        images, left = (
            np.stack([np.histogram(values, BINS, weights=by[mine])[0] / len(values)
                      for values, mine in zip(p, one.members, strict=True)])
            for by in (np.ones_like(weight), weight)
        )  # fmt: skip
        return River(
            epoch, gamma, trained, form, seed, share, size, *river(trained, form, seed, 0.0), p, (1 - PLACES) ** gamma,
            images, left, one.accuracy[epoch],
        )  # fmt: skip

    # ------------------------------------------------------------------------------------------------- the picture
    def build(self, surface: Surface) -> None:
        place = surface.figure.add_axes
        self.stream, self.sizes = place((0.07, 0.435, 0.405, 0.49)), place((0.07, 0.11, 0.405, 0.205))
        self.panels = [place((0.625, 0.655 - 0.2725 * i, 0.355, 0.185)) for i in range(len(GROUPS))]
        self._build_stream(self.stream)
        self._build_sizes(self.sizes)
        self.bars, self.curves, self.titles = [], [], []
        for ax, name in zip(self.panels, GROUPS, strict=True):
            self._build_panel(ax, name)
        told = "Images by p (pale), and what the weight\n(1 − p)^γ, the line, leaves of them (dark)"
        surface.figure.text(0.595, 0.99, told, fontsize=9, va="top", color=INK)
        bars = [one for pair in self.bars for one in pair]
        surface.animate(
            *self.areas, *self.borders, *self.shares, *self.cursors, self.line, self.plain, *bars, *self.curves,
            *self.titles,
        )  # fmt: skip

    def _build_stream(self, ax: Axes) -> None:
        ax.set(xlim=(0, EPOCHS), ylim=(0, 1))
        ax.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}%")
        ax.grid(False)
        ax.set_title("Share of the gradient (dashed: borders at γ = 0)", fontsize=9.5, loc="left", pad=5)
        self.areas = [ax.fill([0, 1, 1], [0, 0, 0], color=GROUP_COLOURS[name], alpha=0.75, linewidth=0)[0]
                      for name in GROUPS]  # fmt: skip
        kind = {"color": INK, "linewidth": 1.3, "linestyle": DASHES[1]}
        self.borders = [ax.plot([], [], zorder=3, **kind)[0] for _ in range(2)]
        self.cursors = [ax.axvline(0, color=INK, linewidth=1.4, zorder=4)]
        # Beside the axes, at fixed places: the areas may be thin, their names must not touch.
        self.shares = []
        for y, name in zip((0.12, 0.5, 0.88), GROUPS, strict=True):
            kind = {"color": GROUP_INK[name], "fontsize": 9, "transform": ax.transAxes}
            ax.text(1.03, y, GROUPS[name], va="bottom", **kind)
            self.shares.append(ax.text(1.03, y - 0.01, "", va="top", **kind))

    def _build_sizes(self, ax: Axes) -> None:
        ax.set(xlim=(0, EPOCHS), yscale="log", ylim=(SMALLEST, LARGEST), xlabel="epoch")
        ax.set_yticks([1e-9, 1e-6, 1e-3, 1], ["$10^{-9}$", "$10^{-6}$", "$10^{-3}$", "1"], parse_math=True)
        ax.minorticks_off()
        ax.set_title("Gradient of an average image (log scale)", fontsize=9.5, loc="left", pad=5)
        self.plain = ax.plot([], [], color=INK, linewidth=1.3, linestyle=DASHES[1])[0]
        self.line = ax.plot([], [], color=INK, linewidth=2)[0]
        self.cursors.append(ax.axvline(0, color=INK, linewidth=1.4, zorder=4))

    def _build_panel(self, ax: Axes, name: str) -> None:
        ax.set(xlim=(0, 1), ylim=(0, 1.02), yticks=[0, 0.5, 1])
        ax.set_yticks([0, 0.5, 1], ["0", "½", "1"])
        ax.grid(True, axis="y", color=FAINT)
        if name == "tail":
            ax.set_xlabel("p of the true class", fontsize=9)
        else:
            ax.set_xticklabels([])
        colour = GROUP_COLOURS[name]
        pale, full = (ax.fill([0, 1, 1], [0, 0, 0], color=colour, alpha=a, linewidth=0)[0] for a in (0.3, 1.0))
        self.bars.append((pale, full))
        self.curves.append(ax.plot([], [], color=INK, linewidth=1.6, zorder=4)[0])
        kind = {"fontsize": 9, "color": GROUP_INK[name], "transform": ax.transAxes}
        ax.text(0, 1.11, GROUPS[name], **kind)
        self.titles.append(ax.text(1, 1.11, "", ha="right", **kind))

    def draw(self, result: River) -> None:
        epochs = np.arange(EPOCHS + 1)
        edges = np.concatenate([np.zeros((EPOCHS + 1, 1)), np.cumsum(result.share, 1)], 1)
        for area, low, high in zip(self.areas, edges.T, edges.T[1:], strict=False):
            area.set_xy(np.concatenate([np.column_stack([epochs, low]), np.column_stack([epochs, high])[::-1]]))
        for border, values in zip(self.borders, np.cumsum(result.plain_share, 1).T, strict=False):
            border.set_data(epochs, values)
        for text, value in zip(self.shares, result.share[result.epoch], strict=True):
            text.set_text(as_percent(value))
        for cursor in self.cursors:
            cursor.set_xdata([result.epoch, result.epoch])
        for line, values in ((self.line, result.size), (self.plain, result.plain_size)):
            line.set_data(epochs, np.maximum(values, SMALLEST))
        for (pale, full), all_of, left in zip(self.bars, result.images, result.left, strict=True):
            pale.set_xy(_steps(all_of))
            full.set_xy(_steps(left))
        for title, curve, p, right in zip(self.titles, self.curves, result.p, result.accuracy, strict=True):
            curve.set_data(PLACES, result.weight)
            title.set_text(f"mean p {p.mean():.2f}, test {100 * right:.0f}%")

    def say(self, result: River) -> str:
        now, plain = result.share[result.epoch], result.plain_share[result.epoch]
        compared = result.gamma != 0
        told = ", ".join(
            f"{name} {as_percent(value)}" + (f" ({as_percent(before)})" if compared else "")
            for name, value, before in zip(GROUPS.values(), now, plain, strict=True)
        )
        beside = (" (at γ = 0)", f" ({number(result.plain_size[result.epoch])})") if compared else ("", "")
        return (
            f"Epoch {result.epoch}, {result.form}, seed {result.seed}, trained with γ = {result.trained:g}. Share of "
            f"the gradient at γ = {result.gamma:g}{beside[0]}: {told}. Gradient of an average image: "
            f"{number(result.size[result.epoch])}{beside[1]}. Rare classes: mean p {result.p[-1].mean():.2f} in "
            f"training, {as_percent(result.accuracy[-1])} of test images right."
        )

    # ------------------------------------------------------------------------------------------------- pointing
    def regions(self) -> list[Region]:
        found = [
            Region.of(self.stream, "share of the gradient", xname="epoch", yname="share", percent="y"),
            Region.of(self.sizes, "gradient of an average image", xname="epoch", yname="gradient"),
        ]
        names = (f"{name} classes by p" for name in GROUPS.values())
        return found + [
            Region.of(ax, name, xname="p", yname="share or weight") for ax, name in zip(self.panels, names, strict=True)
        ]

    def marks(self, result: River) -> list[Point]:
        share, size = result.share[result.epoch], max(float(result.size[result.epoch]), SMALLEST)
        middles = np.cumsum(share) - share / 2
        found = [
            Point(result.epoch, float(y), f"{name} classes: {as_percent(value)} of the gradient", RIVER)
            for name, y, value in zip(GROUPS.values(), middles, share, strict=True)
        ]
        found.append(Point(result.epoch, size, f"Gradient of an average image: {number(size)}", SIZE))
        for i, (name, images, left) in enumerate(zip(GROUPS.values(), result.images, result.left, strict=True)):
            for low, high, part, kept in zip(BINS, BINS[1:], images, left, strict=False):
                if part > 0:
                    told = f"{name}, p from {low:.2f} to {high:.2f}: {as_percent(part)} of the images"
                    found.append(
                        Point((low + high) / 2, float(part), f"{told}; weight {kept / part:.2g}", HISTOGRAM + i)
                    )
        return found

    def handles(self, result: River) -> list[Handle]:
        lowest, held = (1 - GRIP) ** GAMMA.high, (1 - GRIP) ** result.gamma
        told = f"{result.gamma:g}; weight {held:.2f} at p = {GRIP:g}"
        return [
            Handle("epoch", result.epoch, 0.0, "epoch", "x", (0, EPOCHS), region=RIVER, step=1.0),
            Handle("gamma", GRIP, held, "gamma", "y", ylim=(lowest, 1.0), region=HISTOGRAM, told=told),
        ]

    def dragged(self, drag: Drag) -> None:
        """The curve of the weight is held at p = GRIP, where it is (1 - GRIP)^gamma; the epoch moves along its axis."""
        control = self.controls[drag.name]
        if drag.name == "gamma" and isinstance(control, Number):
            height = np.clip(drag.y, (1 - GRIP) ** GAMMA.high, 1.0)
            control.value = control.nearest(float(np.log(height) / np.log(1 - GRIP)))
        else:
            follow_drag(drag, control, self.screen.frame.handles)

    def _clicked(self, event: Click) -> None:
        """A click in one of the pictures over the epochs goes to the epoch there."""
        if event.region in (RIVER, SIZE):
            self.set(epoch=int(np.clip(round(event.x), 0, EPOCHS)))


def _steps(heights: np.ndarray) -> np.ndarray:
    """The outline (m, 2) of bars over BINS."""
    x = np.repeat(BINS, 2)
    return np.column_stack([x, np.concatenate([[0.0], np.repeat(heights, 2), [0.0]])])


def gradient_river(
    gamma: float = GAMMA.default,
    epoch: int = EPOCH.default,
    trained: float = TRAINED.default,
    form: str = FORM.default,
    seed: int = SEED.default,
) -> GradientRiver:
    """Slide gamma and the epoch; see which classes the gradient of the focal loss comes from.

    gamma, 0 to 5: the loss whose gradient is measured (`lt.metrics.gradient_shares`), on the probabilities of one
    network of the bench, lt.digits_lt(ratio=50, class_order="seed") of this seed, which stays the same. epoch, 0 to 60.
    trained: 0, 2 or 5, the gamma with which the network was trained. form: "softmax" or "sigmoid", in training and in
    the loss; p is that of the true class, while the gradient of the sigmoid form also counts all other answers. seed, 0
    to 9.
    Beside the river: how many images of each group have which p (pale), and what the weight (1 - p)^gamma leaves of
    them (dark). ValueError for other values.
    """
    return GradientRiver(gamma, epoch, trained, form, seed)
