"""Explorer: a ring for the features and a ring for the classifier vectors, on a network that trains live."""

from __future__ import annotations

import dataclasses
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.lines import Line2D
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D, IdentityTransform, Transform

from .. import metrics
from ..datasets import LongTailed, digits_lt
from ..methods.darl import darl_weights
from ..objective import Setting
from ..plots.picture import FAINT, INK, QUIET, as_percent, number
from ..plots.surface import Surface
from ..plots.text import apart, short
from ..training.recipe import RECIPES
from ..training.snapshots import Snapshots, take_snapshots
from .base import Explorer
from .controls import Choice, Number
from .frames import Handle, Point, Region
from .notebook import name_of
from .screen import Click, Drag
from .tug_of_war import RAMP, checked

EPOCHS, SHOWN, RATE = 50, 40, 0.05  # epochs of training, the one shown at first, learning rate
ON_FEATURES, ON_VECTORS = (0.0, 0.01, 0.1, 1.0), (0.0, 0.1, 1.0, 10.0)  # strengths of the two rings
ALPHA = Setting(4.0, 1.0, 32.0, "log", symbol="α", meaning="radius of the features' ring where it is fixed; a drag of "
                "the ring sets it", when={"target": ("fixed",)})  # fmt: skip
BETA = Setting(1.5, 0.3, 3.0, "log", symbol="β", meaning="radius of the vectors' ring where it is fixed; a drag of the "
               "ring sets it", when={"target": ("fixed",)})  # fmt: skip
FAR, LONG = 45.0, 3.6  # at the edge of the two discs: length of a feature, length of a vector
MARKED, TICKED = (1, 4, 16), (1, 2, 3)  # lengths with a circle
SMALL, LARGE = 2.0, 26.0  # area of a dot, in square points: of weight 0, and what a weight of 1 adds
HIGHEST = 4.0, 2.2  # of the two charts: length over the mean of all classes
FEATURES, VECTORS, OF_FEATURES, OF_VECTORS, PAD = range(5)  # the regions of the picture
RINGED = "#D9480F"
AROUND = np.linspace(0, 2 * np.pi, 91)
CIRCLE = np.stack([np.cos(AROUND), np.sin(AROUND)])


class Radius(Number):
    """A radius, in few steps that end at both ends: each place of its slider is a training of its own."""

    def _places(self) -> tuple[float, float, float]:
        left, right, _ = super()._places()
        return left, right, (right - left) / round(10 * (right - left))


@dataclass(frozen=True)
class Film:
    """A run with a snapshot an epoch. of_features, of_vectors (epochs, k): mean length of the features of each class,
    and length of its vector; over_features, over_vectors (epochs,): how unequal all features, all vectors are.
    radii (epochs, 2): of the two rings, at epoch 0 what the first step starts them at.
    """

    shots: Snapshots
    of_features: np.ndarray
    of_vectors: np.ndarray
    over_features: np.ndarray
    over_vectors: np.ndarray
    radii: np.ndarray


@dataclass(frozen=True)
class Rings:
    """One epoch. points (m, 2): training features; weight (m,): of each image in the loss; radii: NaN without a ring.

    share: of the weight of all images that the rarest third of the classes has; images: the same of the images.
    """

    film: Film
    epoch: int
    strengths: tuple[float, float, float]
    target: str
    points: np.ndarray
    weight: np.ndarray
    radii: tuple[float, float]
    share: float
    images: float


def loss_name(features: float, vectors: float, darl: float, target: str) -> str:
    """What the literature calls the loss with these parts."""
    if features and vectors:
        return "Dual Loss" if darl else "dual ring loss"
    rings = "ring loss" if features else ""
    if vectors:  # with the mean for its radius it is UP in the reading of Li et al. to the letter
        rings = "UP" if target == "mean" else f"UP ({target})"
    if darl:
        return f"DARL and {rings}" if rings else "DARL"
    return rings or "cross-entropy"


def away(lengths: Any) -> Any:
    """How far from the centre of the features' disc, whose radius is 1, a length is drawn: on a square-root scale."""
    return np.sqrt(np.asarray(lengths) / FAR)


class TwoRings(Explorer):
    """Features and classifier vectors of a network with two features, and the rings that pull at their lengths.

    Each choice of strengths, targets and radii is a training of its own, a third of a second, and is kept in `films`.
    """

    function = "two_rings"
    title = "Two rings"
    size = (7.6, 4.7)

    def __init__(
        self, data: LongTailed | None = None, epoch: int = SHOWN, darl: float = 0.0, target: str = "learned",
        features: float = 0.0, vectors: float = 0.0, alpha: float = ALPHA.default, beta: float = BETA.default,
    ):  # fmt: skip
        self.given = data
        self.data = digits_lt(ratio=20) if data is None else checked(data)
        self.counts, self.names = self.data.counts.numpy(), list(self.data.class_names)
        self.targets = self.data.targets.numpy()
        self.rare = metrics.third_groups(self.counts)["tail"][self.targets]
        self.films: dict[tuple[Any, ...], Film] = {}
        self._training = threading.Lock()
        numbers = {value: f"{value:g}" for value in (*ON_FEATURES, *ON_VECTORS)}
        controls = (
            Number("epoch", Setting(SHOWN, 0, EPOCHS, meaning="epochs of training that are done"), epoch),
            Choice("darl", Setting(0.0, choices=(0.0, 0.5, 0.9), symbol="λ₃ λ₄", meaning="DARL: how much less "
                   "the longest feature, and the class of the longest vector, count"), darl,
                   {0.0: "0 (none)", 0.5: "0.5", 0.9: "0.9"}),
            Choice("target", Setting("learned", choices=("learned", "fixed", "mean"), meaning="where the radii come "
                   "from: trained with the network, set by hand, or the mean length at each step"), target),
            Choice("features", Setting(0.0, choices=ON_FEATURES, symbol="λ₁", meaning="strength of the ring of the "
                   "features"), features, numbers),
            Choice("vectors", Setting(0.0, choices=ON_VECTORS, symbol="λ₂", meaning="strength of the ring of the "
                   "classifier vectors"), vectors, numbers),
            Radius("alpha", ALPHA, alpha),
            Radius("beta", BETA, beta),
        )  # fmt: skip
        super().__init__({one.name: one for one in controls})
        self.screen.on_click(self._clicked)

    # ------------------------------------------------------------------------------------------------- the numbers
    def film(self, darl: float, target: str, features: float, vectors: float, alpha: float, beta: float) -> Film:
        """The network at every epoch under this loss; trained here when it is asked for first."""
        if not (features or vectors):  # what has no effect on the training is no other training
            target = "learned"
        alpha = alpha if target == "fixed" and features else ALPHA.default
        beta = beta if target == "fixed" and vectors else BETA.default
        key = (darl, target, features, vectors, alpha, beta)
        with self._training:
            if key not in self.films:
                self.films[key] = _trained(self.data, *key)
            return self.films[key]

    def compute(
        self, epoch: int, darl: float, target: str, features: float, vectors: float, alpha: float,
        beta: float,
    ) -> Rings:  # fmt: skip
        film = self.film(darl, target, features, vectors, alpha, beta)
        points, tips = film.shots.features[epoch], film.shots.weight[epoch]
        parts = (torch.from_numpy(one) for one in (points, tips, self.targets))
        weight = darl_weights(*parts, darl, darl).numpy()
        there = (alpha, beta) if target == "fixed" else film.radii[epoch]  # the network has them in float32
        radii = [float(r) if on else float("nan") for r, on in zip(there, (features, vectors), strict=True)]
        return Rings(
            film, epoch, (features, vectors, darl), target, points, weight, tuple(radii),
            float(weight[self.rare].sum() / weight.sum()), float(self.rare.mean()),
        )  # fmt: skip

    # ------------------------------------------------------------------------------------------------- the picture
    def build(self, surface: Surface) -> None:
        self.colours = RAMP(np.linspace(0.0, 1.0, len(self.counts)))[:, :3]
        place = surface.figure.add_axes
        wide = 0.345
        high = wide * self.size[0] / self.size[1]
        self.discs = place((0.008, 0.385, wide, high)), place((0.368, 0.385, wide, high))
        self.charts = place((0.058, 0.09, 0.292, 0.225)), place((0.418, 0.09, 0.292, 0.225))
        self.pad = place((0.80, 0.60, 0.19, 0.19 * self.size[0] / self.size[1]))
        self._build_discs()
        self._build_charts()
        self.stand = _build_pad(self.pad)
        self.told = surface.figure.text(0.74, 0.985, "", fontsize=10, fontweight="bold", va="top", color=INK)
        _write_key(surface, self.names, self.counts, self.colours)
        surface.animate(
            self.dots, *self.rings, self.spokes, self.labels, self.of_features, self.of_vectors, *self.cursors,
            *self.spreads, self.stand, self.told,
        )  # fmt: skip

    def _build_discs(self) -> None:
        for ax, edge, title in zip(
            self.discs, (1.0, LONG), ("Features (square-root scale)", "Classifier vectors"), strict=True
        ):
            ax.set(xlim=(-edge, edge), ylim=(-edge, edge), xticks=[], yticks=[])
            ax.grid(False)
            ax.set_title(title, fontsize=10, loc="left", pad=4)
        for ax, lengths, scale in zip(self.discs, (MARKED, TICKED), (away, np.asarray), strict=True):
            for one in lengths:
                ax.plot(*(scale(one) * CIRCLE), color=FAINT, linewidth=1, zorder=0)
                ax.text(0, -scale(one), f"{one}", fontsize=9, color=QUIET, ha="center", va="center", zorder=1,
                        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6})  # fmt: skip
        (left, right), nowhere = self.discs, np.zeros((2, len(self.targets)))
        self.dots = left.scatter(*nowhere, s=LARGE, c=self.colours[self.targets], linewidths=0, alpha=0.8, zorder=2)
        self.rings = [ax.plot([], [], color=RINGED, linewidth=2, zorder=4)[0] for ax in self.discs]
        self.spokes = right.add_collection(_lines(self.colours, 2.0), autolim=False)
        labels = _labels([short(name, 6) for name in self.names], self.colours, right.transData)
        self.labels = right.add_collection(labels, autolim=False)
        self.room = min(LONG / 4, 2 * LONG * (np.ptp(labels.get_paths()[0].vertices) + 3) / (72 * 0.345 * self.size[0]))

    def _build_charts(self) -> None:
        lines, self.cursors, self.spreads = [], [], []
        for ax, highest in zip(self.charts, HIGHEST, strict=True):
            ax.set(xlim=(0, EPOCHS), ylim=(0, highest), xlabel="epoch")
            ticks = range(int(highest) + 1)
            ax.set_yticks(ticks, [f"{i}×" if i else "0" for i in ticks], fontsize=9)
            ax.set_title("By class", fontsize=9.5, loc="left", pad=3)
            lines.append(ax.add_collection(_lines(self.colours, 1.3), autolim=False))
            self.cursors.append(ax.axvline(0, color=INK, linewidth=1.1, zorder=4))
            beside = {"transform": ax.transAxes, "ha": "right", "va": "bottom", "fontsize": 9, "color": INK}
            self.spreads.append(ax.text(1.0, 1.03, "", **beside))
        self.of_features, self.of_vectors = lines

    def draw(self, result: Rings) -> None:
        film, epoch = result.film, result.epoch
        lengths = np.linalg.norm(result.points, axis=1, keepdims=True)
        self.dots.set_offsets(result.points / np.maximum(lengths, 1e-12) * away(lengths))
        self.dots.set_sizes(SMALL + LARGE * result.weight)
        for ring, radius, scale in zip(self.rings, result.radii, (away, float), strict=True):
            shown = np.isfinite(radius)
            ring.set_data(*(scale(radius) * CIRCLE if shown else ([], [])))
        vectors = film.shots.weight[epoch]
        self.spokes.set_segments(np.stack([np.zeros_like(vectors), vectors], 1))
        self.labels.set_offsets(apart(vectors, self.room).repeat(2, axis=0))
        along = film.shots.epochs
        for lines, found in ((self.of_features, film.of_features), (self.of_vectors, film.of_vectors)):
            rows = (found / found.mean(1, keepdims=True)).T
            lines.set_segments(np.stack([np.broadcast_to(along, rows.shape), rows], 2))
        for i, (_, unequal) in enumerate(_told(film, epoch)):
            self.cursors[i].set_xdata([epoch, epoch])
            self.spreads[i].set_text(f"SD / mean of all: {as_percent(unequal)}")
        features, vectors, darl = result.strengths
        self.stand.set_data([ON_FEATURES.index(features)], [ON_VECTORS.index(vectors)])
        self.told.set_text(loss_name(features, vectors, darl, result.target))

    def say(self, result: Rings) -> str:
        (of_features, over_features), (of_vectors, over_vectors) = _told(result.film, result.epoch)
        name = loss_name(*result.strengths, result.target)
        rings = [
            f"{whose} {number(radius)}"
            for whose, radius in zip(("features", "vectors"), result.radii, strict=True)
            if np.isfinite(radius)
        ]
        radii = f" Radius of the ring of the {', of the '.join(rings)}." if rings else ""
        share = (
            f" The rare classes have {as_percent(result.images)} of the images and {as_percent(result.share)} of the "
            "weight." if result.strengths[2] and self.rare.any() else ""
        )  # fmt: skip
        features, vectors = (
            self._ends(rows[result.epoch]) for rows in (result.film.of_features, result.film.of_vectors)
        )
        return (
            f"Epoch {result.epoch}, {name[0].upper() + name[1:]}. Features: mean length of a class "
            f"{number(of_features)} ({features}), spread (SD / mean) {as_percent(over_features)}. Classifier vectors: "
            f"{number(of_vectors)} ({vectors}), spread {as_percent(over_vectors)}.{radii}{share}"
        )

    def _ends(self, lengths: np.ndarray) -> str:
        """The class with the longest and that with the shortest."""
        ends = (("longest", np.nanargmax(lengths)), ("shortest", np.nanargmin(lengths)))
        return ", ".join(f"{which}: {self.names[j]} with {number(lengths[j])}" for which, j in ends)

    # ------------------------------------------------------------------------------------------------- pointing
    def regions(self) -> list[Region]:
        (left, right), (one, other) = self.discs, self.charts
        return [
            Region.of(left, "features", xname="across", yname="up"),
            Region.of(right, "classifier vectors", xname="across", yname="up"),
            Region.of(one, "features by class", xname="epoch", yname="of the mean"),
            Region.of(other, "vectors by class", xname="epoch", yname="of the mean"),
            Region.of(self.pad, "strengths", xname="λ₁", yname="λ₂", xnames=tuple(f"{x:g}" for x in ON_FEATURES),
                      ynames=tuple(f"{x:g}" for x in ON_VECTORS)),
        ]  # fmt: skip

    def marks(self, result: Rings) -> list[Point]:
        film, epoch, found = result.film, result.epoch, []
        drawn = np.asarray(self.dots.get_offsets())
        means = film.of_features[epoch].mean(), film.of_vectors[epoch].mean()
        for j, (name, count) in enumerate(zip(self.names, self.counts, strict=True)):
            feature, vector, mine = film.of_features[epoch, j], film.of_vectors[epoch, j], self.targets == j
            told = f"{name} ({count:,} images): vector {number(vector)} long"
            places = (VECTORS, film.shots.weight[epoch, j]), (OF_VECTORS, (epoch, vector / means[1]))
            found += [Point(*place, told, region) for region, place in places]
            told = f"{name} ({count:,} images): features {number(feature)} long on average"
            if mine.any():
                found += [Point(*drawn[mine].mean(0), told, FEATURES),
                          Point(epoch, feature / means[0], told, OF_FEATURES)]  # fmt: skip
        return found

    def handles(self, result: Rings) -> list[Handle]:
        alpha, beta = result.radii
        cells = tuple(tuple(float(i) for i in range(len(one))) for one in (ON_FEATURES, ON_VECTORS))
        x, y = ON_FEATURES.index(result.strengths[0]), ON_VECTORS.index(result.strengths[1])
        found = [
            Handle("epoch", result.epoch, 0.0, "epoch", "x", (0, EPOCHS), region=OF_FEATURES, step=1.0),
            Handle("strengths", x, y, "strengths of the two rings", "xy", *((one[0], one[-1]) for one in cells), PAD,
                   step=cells),
        ]  # fmt: skip
        for name, radius, whose, region, scale in (
            ("alpha", alpha, "features", FEATURES, away), ("beta", beta, "vectors", VECTORS, float)
        ):  # fmt: skip
            if np.isfinite(radius):  # an arrow key leads to the next place of the slider: each is a training
                stops = tuple(float(scale(one)) for one in self.controls[name].sweep().values)
                found.append(Handle(name, float(scale(radius)), 0.0, f"radius of the {whose}", "x",
                                    (stops[0], stops[-1]), region=region, told=f"radius {number(radius)}",
                                    step=stops))  # fmt: skip
        return found

    def dragged(self, drag: Drag) -> None:
        """A ring is dragged to another radius, which fixes both; the point in the map to other strengths."""
        if drag.name == "strengths":
            self._choose(drag.x, drag.y)
        elif drag.name in ("alpha", "beta"):
            fixed = self.values["target"] == "fixed"  # the other ring then stays exactly where it is
            radii = {} if fixed else dict(zip(("alpha", "beta"), self.result.radii, strict=True))
            radii[drag.name] = FAR * drag.x**2 if drag.name == "alpha" else drag.x
            at = {name: self.controls[name].nearest(one) for name, one in radii.items() if np.isfinite(one)}
            self.set(target="fixed", **at)
        else:
            super().dragged(drag)

    def _clicked(self, event: Click) -> None:
        if event.region == PAD:
            self._choose(event.x, event.y)

    def _choose(self, x: float, y: float) -> None:
        """The strengths at a place of the map."""
        i, j = (int(np.clip(round(at), 0, 3)) for at in (x, y))
        self.set(features=ON_FEATURES[i], vectors=ON_VECTORS[j])

    # ------------------------------------------------------------------------------------------------- as code
    def data_code(self) -> list[str]:
        return [] if self.given is None else [name_of(self.given) or "data"]


def _lines(colours: np.ndarray, width: float) -> LineCollection:
    """A line for each class: one artist is cheaper than ten."""
    return LineCollection([], colors=colours, linewidths=width, zorder=3)


def _labels(names: list[str], colours: np.ndarray, offsets: Transform) -> PathCollection:
    """A disc with a name for each class, as outlines in one artist: ten texts take ten times as long to draw."""
    texts = [TextPath((0, 0), name.replace("$", r"\$"), size=9) for name in names]
    boxes = [text.get_extents() for text in texts]
    disc = Path.unit_circle().transformed(Affine2D().scale(max(6.5, *(box.width / 2 + 3.5 for box in boxes))))
    centred = [text.transformed(Affine2D().translate(-(box.x0 + box.x1) / 2, -(box.y0 + box.y1) / 2))
               for text, box in zip(texts, boxes, strict=True)]  # fmt: skip
    return PathCollection(
        [path for text in centred for path in (disc, text)], sizes=[1.0], offsets=np.zeros((2 * len(names), 2)),
        offset_transform=offsets, transform=IdentityTransform(), facecolors=["white", INK],
        edgecolors=colours.repeat(2, axis=0), linewidths=[1.2, 0.0], zorder=5,
    )  # fmt: skip


def _build_pad(ax: Axes) -> Line2D:
    """A map of both strengths, with the names of its parts; returns the point that stands in it."""
    across, up = len(ON_FEATURES), len(ON_VECTORS)
    ax.set(xlim=(-0.5, across - 0.5), ylim=(-0.5, up - 0.5))
    ax.grid(False)
    ax.set_xticks(range(across), [f"{one:g}" for one in ON_FEATURES], fontsize=9)
    ax.set_yticks(range(up), [f"{one:g}" for one in ON_VECTORS], fontsize=9)
    ax.set_xlabel("λ₁, features", fontsize=9.5)
    ax.set_ylabel("λ₂, vectors", fontsize=9.5)
    kinds = np.ones((up, across, 3))
    kinds[0, 1:], kinds[1:, 0], kinds[1:, 1:] = (0.90, 0.94, 1.0), (0.92, 0.97, 0.92), (1.0, 0.94, 0.88)
    ax.imshow(kinds, origin="lower", aspect="auto", zorder=0)
    for x, y, word in ((2, 0, "ring"), (0, 2, "UP"), (2, 2, "both")):
        ax.text(x, y, word, fontsize=9, color=QUIET, ha="center", va="center", rotation=90 if word == "UP" else 0)
    return ax.plot([], [], "o", color=RINGED, markersize=11, markeredgecolor="white", zorder=4)[0]


def _write_key(surface: Surface, names: list[str], counts: np.ndarray, colours: np.ndarray) -> None:
    """The classes, most frequent first, with their training images; and the size of a dot."""
    write, at = surface.figure.text, np.linspace(0.375, 0.085, len(names))
    write(0.74, 0.44, "class, images", fontsize=9.5, color=QUIET)
    for y, name, count, colour in zip(at, names, counts, colours, strict=True):
        write(0.745, y, "●", color=colour, fontsize=9, va="center")
        write(0.77, y, f"{short(name, 8)}: {count:,}", fontsize=9.5, va="center", color=INK, parse_math=False)
    write(0.89, 0.40, "weight in\nthe loss", fontsize=9.5, color=QUIET, va="top", linespacing=1.1)
    for y, one in zip((0.29, 0.235, 0.18), (1.0, 0.5, 0.1), strict=True):
        spot = surface.figure.add_axes((0.89, y - 0.02, 0.03, 0.04))
        spot.axis("off")
        spot.scatter([0], [0], s=SMALL + LARGE * one, color=QUIET, linewidths=0)
        write(0.93, y, f"{one:g}", fontsize=9.5, va="center", color=INK)


def _trained(
    data: LongTailed, darl: float, target: str, features: float, vectors: float, alpha: float, beta: float
) -> Film:
    """A run of the network with two features under these settings."""
    recipe = dataclasses.replace(RECIPES["digits"], name="plane", model="plane", epochs=EPOCHS, lr=RATE)
    shots = take_snapshots(
        "dual", data, range(EPOCHS + 1), recipe=recipe, feature_strength=features, weight_strength=vectors,
        target=target, feature_target=alpha, weight_target=beta, class_strength=darl, sample_strength=darl,
    )  # fmt: skip
    return _measured(shots, target)


def _measured(shots: Snapshots, target: str) -> Film:
    """The lengths of a run, and the radii of its rings: as trained, or the mean lengths."""
    k = len(shots.counts)
    lengths = np.linalg.norm(shots.features, axis=2)
    vectors = np.linalg.norm(shots.weight, axis=2)
    radii = np.stack([lengths.mean(1), vectors.mean(1)], 1)
    noted = shots.loss_numbers
    if target != "mean":  # before the first step, one that is learned stands where that step starts it: at the mean
        held = np.stack([noted["feature_target"], noted["weight_target"]], 1)
        radii = np.where(noted["initialised"][:, None] > 0, held, radii)
    return Film(
        shots, np.stack([metrics.class_lengths(x, shots.targets, k) for x in shots.features]), vectors,
        np.array([metrics.spread(one) for one in lengths]), np.array([metrics.spread(one) for one in vectors]), radii,
    )  # fmt: skip


def _told(film: Film, epoch: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Mean over the classes, and spread, of the lengths of features and of vectors."""
    return (
        (float(film.of_features[epoch].mean()), float(film.over_features[epoch])),
        (float(film.of_vectors[epoch].mean()), float(film.over_vectors[epoch])),
    )


def two_rings(
    data: LongTailed | None = None, epoch: int = SHOWN, darl: float = 0.0, target: str = "learned",
    features: float = 0.0, vectors: float = 0.0, alpha: float = ALPHA.default, beta: float = BETA.default,
) -> TwoRings:  # fmt: skip
    """Train a network with two features under the Dual Loss or parts of it, and see which lengths become equal.

    data: small images (default: lt.digits_lt(ratio=20)); epoch: from 0 to 50, each kept. features and vectors
    are the strengths lambda_1 (0, 0.01, 0.1, 1) and lambda_2 (0, 0.1, 1, 10) of the two rings, darl is lambda_3
    = lambda_4 of DARL (0, 0.5, 0.9); all at 0 is cross-entropy. target: radii that are "learned", "fixed" at alpha (1
    to 32) and beta (0.3 to 3), or the "mean" lengths at each step. The weight of an image is computed among all
    training images; in training it is computed in each batch. A third of a second for each new loss.
    With two features a network cannot separate ten classes: this shows lengths, not what a network can reach.
    """
    return TwoRings(data, epoch, darl, target, features, vectors, alpha, beta)
