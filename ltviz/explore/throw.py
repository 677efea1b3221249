"""Explorer: one sample of long-tailed points, the borders that a softmax classifier learns from it, and four scores."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from ..datasets.plane import CENTRES, ORDERS, cloud_ranks, plane, plane_test
from ..datasets.profiles import PROFILES
from ..metrics.scores import third_groups
from ..metrics.throws import borders, confusions, decide, fit_softmax, tail_scores
from ..objective import Setting
from ..plots.picture import CLASS_COLOURS, EDGE, GROUP_MARKERS, INK, PALETTE, QUIET, as_percent, offset, plain_log
from ..plots.surface import Pixels, Surface
from .base import Explorer, follow_drag
from .controls import Choice, control
from .frames import Handle, Point, Region
from .screen import Click, Drag

THROWS, K = 20, len(CENTRES)
RATIO = Setting(50.0, 1.0, 100.0, "log", meaning="points of the most frequent class / points of the rarest")
SEED = Setting(0, 0, THROWS - 1, meaning="which throw: draws the training points, and with the class order which cloud "
               "is how frequent")  # fmt: skip
ORDER = Setting("seed", choices=ORDERS, meaning="which cloud is how frequent: drawn by seed, or always the two that "
                "overlap rarest")  # fmt: skip
ORDER_TITLES = {"seed": "drawn by seed", "natural": "natural"}  # beside a slider that is called seed
PROFILE = Setting("exp", choices=PROFILES, meaning="how the counts fall from class to class")
POINTS = Setting(100, 20, 100, meaning="training points of the most frequent class")
ROWS = ("accuracy, test set\nwith the same tail", "balanced accuracy", "macro F1", "recall of the\ntwo rarest classes")
NAMES = ("accuracy", "balanced accuracy", "macro F1", "rare recall")
HIDES = PALETTE[3]  # of the score that hides the rare classes
PLANE, COUNTS, SCORES = range(3)  # the regions of the picture
EDGES = (-4.6, 4.6), (-3.7, 3.7)  # of the plane that is shown
FLOOR = 0.25  # where the bars of the counts begin, so that one point is a bar as well
SMALL = 9.5  # points, of what is written beside the two panels on the right
GRID = (208, 168)  # places in x and in y at which the classifier is asked


@dataclass(frozen=True)
class Throws:
    """All throws at one setting: points (m, n, 2), targets (n,), counts (k,), weights (m, k, 3), the four scores."""

    points: np.ndarray
    targets: np.ndarray
    counts: np.ndarray
    weights: np.ndarray
    scores: np.ndarray  # (4, m)


@dataclass(frozen=True)
class Thrown:
    """One of them: its number, the class at each place of the grid, and the scores of "always the commonest" (4,)."""

    seed: int
    ratio: float
    profile: str
    all: Throws
    regions: np.ndarray
    constant: np.ndarray

    @property
    def scores(self) -> np.ndarray:
        return self.all.scores[:, self.seed]


@functools.lru_cache(64)
def throws(ratio: float, profile: str, class_order: str, n_max: int) -> Throws:
    """The throws of every seed, with the classifier that each gives."""
    drawn = [plane(ratio, n_max, profile, seed, class_order) for seed in range(THROWS)]
    points, targets, counts = np.stack([one.points for one in drawn]), drawn[0].targets, drawn[0].counts
    weights = fit_softmax(points, targets, K)
    test, clouds = _test()
    truth = np.stack([cloud_ranks(seed, class_order)[clouds] for seed in range(THROWS)])
    scores = tail_scores(confusions(decide(weights, test), truth, K), counts)
    return Throws(points, targets, counts, weights, np.array(scores))


_test = functools.lru_cache(plane_test)


class Throw(Explorer):
    """A throw: drawn points, the borders learned from them, its scores. Dashed: the best borders of equally frequent
    classes, from the true centres; no sample has a part in them."""

    function = "throw"
    title = "One throw"
    size = (7.6, 4.5)

    def __init__(
        self,
        seed: int = SEED.default,
        class_order: str = ORDER.default,
        ratio: float = RATIO.default,
        profile: str = PROFILE.default,
        n_max: int = POINTS.default,
    ):
        x, y = (np.linspace(*ends, n) for ends, n in zip(EDGES, GRID, strict=True))
        self.grid = np.stack(np.meshgrid(x, y), -1)  # (rows, columns, 2)
        super().__init__({
            "seed": control("seed", SEED, seed), "class_order": Choice("class_order", ORDER, class_order, ORDER_TITLES),
            "ratio": control("ratio", RATIO, ratio), "profile": control("profile", PROFILE, profile),
            "n_max": control("n_max", POINTS, n_max),
        })  # fmt: skip
        self.screen.on_click(self._clicked)

    # ------------------------------------------------------------------------------------------------- the picture
    def build(self, surface: Surface) -> None:
        figure = surface.figure
        left = figure.add_axes((0.012, 0.025, 0.508, 0.905))
        counts = figure.add_axes((0.602, 0.675, 0.375, 0.25))
        scores = figure.add_axes((0.745, 0.13, 0.232, 0.40))
        self.axes = left, counts, scores
        self.colours = matplotlib.colormaps[CLASS_COLOURS](np.linspace(0.0, 0.72, K))[:, :3]
        self.tints = np.round(255 * (1 - 0.30 * (1 - self.colours))).astype(np.uint8)
        moving = [*self._build_plane(left), *self._build_counts(counts), *self._build_scores(scores)]
        surface.animate(*moving)

    def _build_plane(self, ax: Axes) -> list[Any]:
        """Regions, points, and the best borders of equally frequent classes."""
        ax.set(xlim=EDGES[0], ylim=EDGES[1], xticks=[], yticks=[])
        ax.set_title("Learned borders (dashed: best if equally frequent)", loc="left", fontsize=9.5, pad=4)
        ax.grid(False)
        extent = (*EDGES[0], *EDGES[1])
        blank = np.full((*GRID[::-1], 3), 255, np.uint8)
        self.image = Pixels(ax, blank, extent, origin="lower", zorder=1)
        self.fair = LineCollection(_fair_borders(), colors=INK, linewidths=1.1, linestyles=[(0, (4, 3))], zorder=2)
        ax.add_collection(self.fair)
        self.learned = LineCollection([], colors=INK, linewidths=1.8, zorder=2.5)
        ax.add_collection(self.learned)
        self.marks_of = self._markers()
        self.clouds = [
            ax.plot([], [], linestyle="", marker=mark, color=colour, markersize=5.5, zorder=3 + 0.1 * j, **EDGE)[0]
            for j, (mark, colour) in enumerate(zip(self.marks_of, self.colours, strict=True))
        ]
        for line in self.clouds:
            if line.get_marker() == GROUP_MARKERS["tail"]:  # there are few, and they must not be overlooked
                line.set(markersize=7.5, markeredgecolor=INK, markeredgewidth=0.9)
        return [self.image, self.fair, self.learned, *self.clouds]

    def _markers(self) -> list[str]:
        """The marker of each class: that of its third."""
        groups = third_groups(np.arange(K, 0, -1))
        return [next(GROUP_MARKERS[name] for name, mask in groups.items() if mask[j]) for j in range(K)]

    def _build_counts(self, ax: Axes) -> list[Any]:
        """Training points of each class; the top of the last bar can be dragged."""
        ax.set(yscale="log", xlim=(-0.6, K - 0.4), ylim=(FLOOR, 12 * POINTS.high), xticks=[])
        ax.set_title("Training points of each class", loc="left", fontsize=9.5, pad=4)
        ax.set_xlabel("most frequent → rarest", fontsize=SMALL, labelpad=2)
        plain_log(ax.yaxis)
        ax.set_yticks([1, 10, 100])
        ax.tick_params(labelsize=SMALL)
        self.bars = [ax.plot([j, j], [FLOOR, 1], color=self.colours[j], linewidth=15, alpha=0.7,
                             solid_capstyle="butt", zorder=2)[0] for j in range(K)]  # fmt: skip
        self.tops = [ax.plot([j], [1], linestyle="", marker=self.marks_of[j], color=self.colours[j], markersize=6,
                             zorder=3, **EDGE)[0] for j in range(K)]  # fmt: skip
        place = {**offset("center", "bottom"), "fontsize": SMALL, "color": INK}
        above = [(0, 5)] * (K - 1) + [(0, 10)]  # clear of the handle on the last one
        self.written = [ax.annotate("", (j, 1), above[j], **place) for j in range(K)]
        return [*self.bars, *self.tops, *self.written]

    def _build_scores(self, ax: Axes) -> list[Any]:
        """Four scores: of this throw, of the others, and of a classifier that always gives the commonest answer."""
        ax.set(xlim=(-0.03, 1.04), ylim=(len(ROWS) - 0.5, -0.5), xticks=[0, 0.5, 1])
        ax.set_title(f"Scores of this throw ({THROWS - 1} others faint)", loc="right", fontsize=9.5, pad=4)
        ax.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}%")
        ax.set_yticks(range(len(ROWS)), ROWS, fontsize=SMALL)
        ax.get_yticklabels()[0].set_color(HIDES)
        ax.tick_params(axis="x", labelsize=SMALL)
        ax.axhline(0.5, color=QUIET, linewidth=0.8)
        ax.set_xlabel("| = always answer the most frequent class", fontsize=SMALL, labelpad=2, loc="right")
        spread = {"linestyle": "", "marker": "o", "markersize": 5, "alpha": 0.28, "markeredgewidth": 0, "zorder": 2}
        self.others = [ax.plot([], [], color=HIDES if i == 0 else INK, **spread)[0] for i in range(2)]
        self.nothing = ax.plot([], [], linestyle="", marker="|", markersize=13, markeredgewidth=1.8, color=QUIET,
                               zorder=2.5)[0]  # fmt: skip
        strong = {"linestyle": "", "marker": "D", "markersize": 8, "zorder": 4, **EDGE}
        self.own = [ax.plot([], [], color=HIDES if i == 0 else PALETTE[0], **strong)[0] for i in range(2)]
        return [*self.others, self.nothing, *self.own]

    # ------------------------------------------------------------------------------------------------- following
    def compute(self, seed: int, class_order: str, ratio: float, profile: str, n_max: int) -> Thrown:
        found = throws(ratio, profile, class_order, n_max)
        regions = decide(found.weights[seed], self.grid.reshape(-1, 2)).reshape(GRID[::-1])
        always = np.zeros((1, K, K))
        always[0, :, 0] = 1
        return Thrown(seed, ratio, profile, found, regions, np.array(tail_scores(always, found.counts))[:, 0])

    def draw(self, result: Thrown) -> None:
        regions, found = result.regions, result.all
        self.image.set_data(self.tints[regions])
        self.learned.set_segments(list(borders(found.weights[result.seed], *EDGES)))
        points = found.points[result.seed]
        for j, line in enumerate(self.clouds):
            line.set_data(*points[found.targets == j].T)
        for j, n in enumerate(found.counts):
            self.bars[j].set_ydata([FLOOR, n])
            self.tops[j].set_ydata([n])
            self.written[j].xy = (j, n)
            self.written[j].set_text(f"{n}")
        rest = np.delete(found.scores, result.seed, 1)
        rows = np.arange(len(ROWS))
        for part, line, own in zip((rows[:1], rows[1:]), self.others, self.own, strict=True):
            line.set_data(rest[part].ravel(), np.repeat(part, rest.shape[1]))
            own.set_data(result.scores[part], part)
        self.nothing.set_data(result.constant, rows)

    def say(self, result: Thrown) -> str:
        told = ", ".join(f"{name} {as_percent(one)}" for name, one in zip(NAMES, result.scores, strict=True))
        return (
            f"Throw {result.seed}, ratio {result.ratio:g} ({result.profile}): {told}. Rare recall is that "
            "of the two rarest classes; accuracy and F1 are those of a test set whose classes occur as in training."
        )

    # ------------------------------------------------------------------------------------------------- pointing
    def regions(self) -> list[Region]:
        left, counts, scores = self.axes
        return [
            Region.of(left, "plane", xname="x", yname="y"),
            Region.of(counts, "training points", xname="class", yname="points"),
            Region.of(scores, "scores", xname="score", yname="row", ynames=NAMES, percent="x"),
        ]

    def marks(self, result: Thrown) -> list[Point]:
        counts = [
            Point(j, n, f"Class {j + 1} of {K} by frequency: {n} training points", COUNTS)
            for j, n in enumerate(result.all.counts)
        ]
        scores = [
            Point(score, row, f"{name}, throw {seed}: {as_percent(score)}", SCORES)
            for row, name in enumerate(NAMES)
            for seed, score in enumerate(result.all.scores[row])
        ]
        return [*counts, *scores, *_training_points(result)]

    def _clicked(self, event: Click) -> None:
        """A click on the score of a throw goes to that throw."""
        if event.region == SCORES and event.point is not None and K <= event.point < K + len(NAMES) * THROWS:
            self.set(seed=(event.point - K) % THROWS)

    def handles(self, result: Thrown) -> list[Handle]:
        most = float(result.all.counts[0])
        least, now = (max(most / ratio, 1.0) for ratio in (RATIO.high, result.ratio))
        n, label = result.all.counts[-1], "ratio (points of the rarest class)"
        told = f"{n} point{'' if n == 1 else 's'}, ratio {result.ratio:.3g}"  # the bar is cut to whole points
        return [Handle("ratio", K - 1, now, label, "y", None, (least, most), COUNTS, told)]

    def dragged(self, drag: Drag) -> None:
        """The rarest bar's top at y points asks for the ratio of the most frequent class to it."""
        ratio = self.result.all.counts[0] / max(drag.y, 1e-9)
        moved = Drag(drag.name, drag.x, float(min(max(ratio, RATIO.low), RATIO.high)), drag.done)
        follow_drag(moved, self.controls.get(drag.name), self.screen.frame.handles)


def _training_points(result: Thrown) -> list[Point]:
    """The training points that are in sight, each with its class."""
    points, targets, counts = result.all.points[result.seed], result.all.targets, result.all.counts
    low, high = np.transpose(EDGES)
    texts = [f"Class {j + 1} of {K} by frequency, one of {n} training points" for j, n in enumerate(counts)]
    seen = ((points >= low) & (points <= high)).all(1)
    return [Point(float(x), float(y), texts[j], PLANE) for (x, y), j in zip(points[seen], targets[seen], strict=True)]


def _fair_borders() -> np.ndarray:
    """The best borders of equally frequent round clouds of one width: halfway between neighbouring centres."""
    return borders(np.column_stack([CENTRES, -0.5 * (CENTRES**2).sum(1)]), *EDGES)


def throw(
    seed: int = SEED.default,
    class_order: str = ORDER.default,
    ratio: float = RATIO.default,
    profile: str = PROFILE.default,
    n_max: int = POINTS.default,
) -> Throw:
    """Draw one long-tailed sample of six classes in the plane; see the borders learned from it, and four scores.

    seed in 0..19: the throw. class_order: "seed" (each throw draws which cloud is how frequent) or "natural" (the two
    that overlap are the rarest). ratio in [1, 100], profile "exp", "step" or "pareto", n_max in 20..100: as in
    `datasets.plane`. The classifier is softmax regression, trained to convergence; the scores are those of 1,200 test
    points, counted as often as the classes occur in training. A ratio above n_max leaves the rarest class one point.
    """
    return Throw(seed, class_order, ratio, profile, n_max)
