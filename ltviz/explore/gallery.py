"""Explorer: find a picture again among pictures of identities that no network was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from .. import check, metrics
from ..datasets import Unseen
from ..datasets.glyphs import glyph_features
from ..metrics.retrieval import DISTANCES
from ..objective import Setting
from ..plots.examples import mosaic
from ..plots.picture import DASHES, EDGE, GROUP_COLOURS, INK, PALETTE, as_percent, percent
from ..plots.surface import Pixels, Surface
from ..plots.text import literal, short
from ..plots.theme import PHOTO
from .base import Explorer
from .controls import Choice, Number
from .frames import Frame, Handle, Point, Region
from .notebook import name_of
from .screen import Click, Drag

LOSSES, PICTURES, PAIRS = 8, 3000, 3000  # at most
COLUMNS, ROWS = 5, 3  # of the nearest pictures
ACROSS, DOWN = 14, 3  # of the pictures to choose from
RANKED, CHOICE, SPREAD = range(3)  # the regions of the picture
RIGHT, WRONG = "#2A7F3B", "#CC3434"
NAMES = {"cosine": "cosine (angle)", "euclidean": "L2 (distance)"}
ENDS = (-2.0, 0.0)  # of minus the distance of a pair, in medians of the pairs of two identities
BINS = np.linspace(*ENDS, 51)
FAR = Setting(
    0.01, 0.001, 1.0, "log", meaning="false accepts: share of the pairs of two identities that are taken for one"
)  # fmt: skip


@dataclass(frozen=True)
class Judged:
    """A loss under a distance: rank-1 and mAP over all queries, and how alike pairs of pictures are.

    precision (n,): average precision of each query, NaN where its identity has one picture. same, different: heights
    of the histograms (b,). accuracy: of verification by ten folds.
    """

    rank1: float
    map: float
    precision: np.ndarray
    same: np.ndarray
    different: np.ndarray
    roc: metrics.ROC
    accuracy: float

    def at(self, far: float) -> int:
        """The lowest threshold of the ROC with at most this share of false accepts."""
        return int(np.searchsorted(self.roc.far, far, side="right") - 1)

    def threshold(self, far: float) -> float:
        """Its place on the axis of the histograms."""
        return float(np.clip(self.roc.threshold[self.at(far)], *ENDS))


@dataclass(frozen=True)
class Ranking:
    """One query: the nearest pictures (m,), the nearest first, and which of them are of its identity."""

    loss: str
    distance: str
    query: int
    nearest: np.ndarray
    right: np.ndarray
    others: int
    judged: Judged
    far: float
    tar: float
    threshold: float


def _judge(x: np.ndarray, who: np.ndarray, pairs: np.ndarray, same: np.ndarray, distance: str) -> Judged:
    """What `metrics` says of features x (n, d) of identities (n,), over all queries and the pairs (p, 2)."""
    found = metrics.retrieval(x, who, distance=distance)
    alike = metrics.similarity(x[pairs[:, 0]], x[pairs[:, 1]], distance)
    apart = 1.0 - alike if distance == "cosine" else -alike
    alike = -apart / (np.median(apart[~same]) or 1.0)  # one axis serves all losses and both distances
    counts = [np.histogram(np.clip(alike[side], *ENDS), BINS)[0] for side in (same, ~same)]
    heights = [n / max(n.max(), 1) for n in counts]
    accuracy = metrics.verification(alike, same).accuracy
    return Judged(found.rank1, found.map, found.average_precision, *heights, metrics.roc(alike, same), accuracy)


class Gallery(Explorer):
    """A query, the pictures that lie nearest to it, and how well a loss and a distance find all queries again."""

    function = "gallery"
    title = "Find it again"
    size = (7.6, 4.2)

    def __init__(
        self, features: Mapping[str, Any] | None = None, unseen: Unseen | None = None, loss: str | None = None,
        distance: str = "cosine", query: int = 1, far: float = FAR.default,
    ):  # fmt: skip
        self.given = features, unseen
        self.features, self.unseen = _recorded() if features is None and unseen is None else _checked(features, unseen)
        self.who = np.asarray(self.unseen.identities)
        self.pictures = _inked(self.unseen.images)
        self.pairs, self.same = metrics.draw_pairs(self.who, _pairs(self.who))
        self._known: dict[tuple[str, str], Judged] = {}
        shown = np.unique(self.who, return_index=True)[1]
        self.choice = shown[np.linspace(0, len(shown) - 1, min(len(shown), ACROSS * DOWN)).round().astype(int)]
        losses = tuple(self.features)
        settings = {
            "loss": Setting(losses[0], choices=losses, meaning="what the network was trained with"),
            "distance": Setting("cosine", choices=DISTANCES, meaning="how near two features are"),
            "query": Setting(1, 1, len(self.who), meaning="number of the picture that is looked for"),
        }
        super().__init__({
            "loss": Choice("loss", settings["loss"], losses[0] if loss is None else loss),
            "distance": Choice("distance", settings["distance"], distance, titles=NAMES),
            "query": Number("query", settings["query"], query, steps=min(len(self.who) - 1, 40)),
            "far": Number("far", FAR, far),
        })  # fmt: skip
        self.screen.on_click(self._clicked)

    # ------------------------------------------------------------------------------------------------- the numbers
    def judged(self, loss: str, distance: str) -> Judged:
        """What `metrics` says of all queries and pairs; computed once."""
        if (loss, distance) not in self._known:
            self._known[loss, distance] = _judge(self.features[loss], self.who, self.pairs, self.same, distance)
        return self._known[loss, distance]

    def compute(self, loss: str, distance: str, query: int, far: float) -> Ranking:
        judged, x, i = self.judged(loss, distance), self.features[loss], query - 1
        alike = metrics.similarity(np.broadcast_to(x[i], x.shape), x, distance)
        nearest = _nearest(alike, i)[: COLUMNS * ROWS]
        others = int((self.who == self.who[i]).sum()) - 1
        at = judged.at(far)
        return Ranking(loss, distance, i, nearest, self.who[nearest] == self.who[i], others, judged,
                       float(judged.roc.far[at]), float(judged.roc.tar[at]), judged.threshold(far))  # fmt: skip

    # ------------------------------------------------------------------------------------------------- the picture
    def build(self, surface: Surface) -> None:
        wide, high = 100 * self.size[0], 100 * self.size[1]

        def place(left: float, top: float, right: float, bottom: float) -> Axes:
            box = (left / wide, 1 - bottom / high, (right - left) / wide, (bottom - top) / high)
            return surface.figure.add_axes(box)

        self.asked = self._pictures(place(10, 30, 104, 124), 1, 1, f"Query, of {len(self.who):,}")
        found = f"The nearest of the other {len(self.who) - 1:,}"
        self.ranked = self._pictures(place(122, 30, 432, 216), ROWS, COLUMNS, found)
        self.strip = self._pictures(place(10, 290, 430, 380), DOWN, ACROSS, "Look for another one")
        self._build_choice()
        self._build_ranked(self.ranked.axes)
        self._build_bars(place(592, 30, 690, 196))
        self._build_spread(place(474, 268, 744, 362))
        write = {"fontsize": 9, "color": INK, "va": "top", **literal()}
        self.named = surface.figure.text(10 / wide, 1 - 131 / high, "", **write)
        self.told = surface.figure.text(122 / wide, 1 - 226 / high, "", **{**write, "fontsize": 10})
        moving = (self.asked, self.ranked, self.frames, self.crosses, self.here, *self.bars, *self.numbers)
        surface.animate(*moving, self.named, self.told, *self.stairs, self.cursor, self.handle, self.accepted)

    def _pictures(self, ax: Axes, rows: int, columns: int, title: str) -> Any:
        """An image of rows times columns pictures, and its axes, in whose data a picture is one wide and high."""
        ax.axis("off")
        ax.grid(False)
        colour = self.pictures.shape[3] == 3
        blank = np.zeros((2, 2, 4), np.uint8)
        box = (-0.5, columns - 0.5, rows - 0.5, -0.5)
        shown = Pixels(ax, blank, box, gid=PHOTO if colour else None)
        ax.set(xlim=(-0.55, columns - 0.45), ylim=(rows - 0.45, -0.55))
        ax.set_title(title, fontsize=9.5, loc="left", pad=5)
        return shown

    def _lay(self, image: Any, rows: np.ndarray, down: int, across: int) -> None:
        places = [divmod(i, across) for i in range(len(rows))]
        image.set_data(mosaic(self.pictures[rows], places, down, across))

    def _build_choice(self) -> None:
        self._lay(self.strip, self.choice, DOWN, ACROSS)
        ring = {"markersize": 22, "markerfacecolor": "none", "markeredgecolor": INK, "markeredgewidth": 2}
        (self.here,) = self.strip.axes.plot([], [], "s", **ring)

    def _build_ranked(self, ax: Axes) -> None:
        self.at = np.array([divmod(i, COLUMNS)[::-1] for i in range(ROWS * COLUMNS)], float)
        corner = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]]) * 0.46
        self.frames = LineCollection(self.at[:, None] + corner, joinstyle="miter", capstyle="butt", zorder=3)
        ax.add_collection(self.frames, autolim=False)
        self.crosses = ax.scatter([], [], marker="X", s=42, color=WRONG, edgecolors="white", linewidths=0.7, zorder=4)

    def _build_bars(self, ax: Axes) -> None:
        """Mean average precision of each loss, with rank-1 and mAP in numbers."""
        names, rows = list(self.features), range(len(self.features))
        self.scores = ax
        ax.grid(False)
        ax.set(xlim=(0, 1), ylim=(len(names) - 0.4, -0.6), xticks=[0, 0.5, 1])
        percent(ax.xaxis)
        ax.set_yticks(rows, [short(name, 21) for name in names], fontsize=9)
        ax.tick_params(axis="y", length=0)
        for label in ax.get_yticklabels():
            label.set(**literal())
        ax.set_title("Bar: mAP", fontsize=9.5, pad=5)
        ax.text(1.36, -0.75, "rank-1", fontsize=9.5, ha="center", va="bottom", clip_on=False, color=INK)
        self.bars = list(ax.barh(rows, np.zeros(len(names)), height=0.6))
        write = {"fontsize": 9.5, "ha": "center", "va": "center", "color": INK, "clip_on": False}
        self.numbers = [ax.text(1.36, y, "", **write) for y in rows]

    def _build_spread(self, ax: Axes) -> None:
        """Histograms of the distances of pairs, near ones to the right, and the threshold."""
        self.spread = ax
        ax.set(xlim=ENDS, ylim=(0, 1.12), yticks=[])
        ax.set_xlabel("distance (1 = median between identities)", fontsize=9.5)
        ax.set_xticks([-2, -1.5, -1, -0.5, 0], ["2", "1.5", "1", "0.5", "0"])
        ax.grid(False)
        self.stairs = []
        for label, group in (("two identities", "head"), ("one identity", "tail")):
            kind = {"color": GROUP_COLOURS[group], "linewidth": 1.6, "linestyle": DASHES[group == "tail"]}
            self.stairs.append(ax.stairs(np.zeros(len(BINS) - 1), BINS, label=label, **kind))
        ax.legend(handles=self.stairs, loc="lower left", bbox_to_anchor=(-0.02, 1.06), ncols=2,
                  frameon=False, fontsize=9.5, handlelength=1.8, columnspacing=1.2)  # fmt: skip
        self.cursor = ax.axvline(0.0, color=INK, linewidth=1.3, zorder=4)
        (self.handle,) = ax.plot([], [], "o", color=INK, markersize=7, zorder=5, clip_on=False, **EDGE)
        write = {"fontsize": 9.5, "color": INK, "ha": "center", "va": "top", "clip_on": False}
        self.accepted = ax.text(0.5, -0.44, "", transform=ax.transAxes, **write)

    def draw(self, result: Ranking) -> None:
        self._lay(self.asked, np.array([result.query]), 1, 1)
        self._lay(self.ranked, result.nearest, ROWS, COLUMNS)
        some = result.right
        colours = np.where(some, RIGHT, WRONG).tolist() + ["none"] * (ROWS * COLUMNS - len(some))
        self.frames.set(colors=colours, linewidths=np.where(some, 3.0, 1.2).tolist() or [0.0])
        self.crosses.set_offsets(self.at[: len(some)][~some] + 0.3)
        who = np.flatnonzero(self.who[self.choice] == self.who[result.query])
        if len(who):
            row, column = divmod(int(who[0]), ACROSS)
            self.here.set_data([column], [row])
        self.here.set_visible(bool(len(who)))
        self._draw_scores(result)
        for stairs, heights in zip(self.stairs, (result.judged.different, result.judged.same), strict=True):
            stairs.set_data(heights)
        self.cursor.set_xdata([result.threshold] * 2)
        self.handle.set_data([result.threshold], [1.05])
        self.accepted.set_text(f"accepted: {as_percent(result.tar)} of one, {_small(result.far)} of two")
        self.named.set_text(short(self.unseen.names[self.who[result.query]], 16))
        found = int(some[: result.others].sum())
        self.told.set_text(f"{found} of its {result.others} others are among the first {min(result.others, len(some))}")

    def _draw_scores(self, result: Ranking) -> None:
        for bar, text, loss in zip(self.bars, self.numbers, self.features, strict=True):
            judged, here = self.judged(loss, result.distance), loss == result.loss
            bar.set_width(judged.map)
            bar.set_facecolor(PALETTE[0] if here else "#C9CED6")
            text.set(text=as_percent(judged.rank1), fontweight="bold" if here else "normal")

    def say(self, result: Ranking) -> str:
        name, judged = self.unseen.names[self.who[result.query]], result.judged
        hit = "right" if len(result.right) and result.right[0] else "wrong"
        precision = judged.precision[result.query]
        own = "it has no other picture" if np.isnan(precision) else f"average precision {as_percent(precision)}"
        right = ", ".join(str(i + 1) for i in np.flatnonzero(result.right)) or "none"
        both = as_percent((result.tar + 1 - result.far) / 2)
        return (
            f"{result.loss}, {NAMES[result.distance]}: picture {result.query + 1} ({name}); the nearest is {hit}; "
            f"right of the first {len(result.right)}: {right}; {own}. All queries: rank-1 {as_percent(judged.rank1)}, "
            f"mAP {as_percent(judged.map)}. The threshold accepts {as_percent(result.tar)} of the pairs of one "
            f"identity and {_small(result.far)} of those of two: accuracy with equally many pairs of both kinds {both} "
            f"({as_percent(judged.accuracy)} with the best threshold, chosen on other folds)."
        )

    # ------------------------------------------------------------------------------------------------- pointing
    def regions(self) -> list[Region]:
        cells = {"cells": True, "xname": "column", "yname": "row"}
        return [
            Region.of(self.ranked.axes, "nearest pictures", **cells),
            Region.of(self.strip.axes, "pictures to look for", **cells),
            Region.of(self.spread, "pairs", xname="minus distance", yname="height"),
        ]

    def _framed(self, result: Ranking) -> Frame:
        """Photographs keep their colours on a dark page; ink on paper is turned with it."""
        framed = super()._framed(result)
        if self.pictures.shape[3] != 3:
            return framed
        boxes = [Region.of(one.axes).box for one in (self.asked, self.ranked, self.strip)]
        return replace(framed, photos=boxes)

    def marks(self, result: Ranking) -> list[Point]:
        names, points = self.unseen.names, []
        for i, (row, right) in enumerate(zip(result.nearest, result.right, strict=True)):
            told = f"{i + 1}: {names[self.who[row]]}, {'right' if right else 'wrong'}\nclick to look for it"
            points.append(Point(*self.at[i].tolist(), told, RANKED))
        for i, row in enumerate(self.choice):
            down, across = divmod(i, ACROSS)
            points.append(Point(across, down, f"{names[self.who[row]]}\nclick to look for it", CHOICE))
        return points

    def handles(self, result: Ranking) -> list[Handle]:
        stops = np.unique(self._stops(result)[1]).tolist()
        told = f"threshold with {_small(result.far)} false accepts"
        step = tuple(stops) if len(stops) > 1 else None
        return [Handle("far", result.threshold, 1.05, "threshold", "x", ENDS, region=SPREAD, told=told, step=step)]

    def _stops(self, result: Ranking) -> tuple[np.ndarray, np.ndarray]:
        """What far can be on its slider, rising, and the threshold of each, falling."""
        control = self.controls["far"]
        fars = [control.at(place) for place in control.places]
        return np.array(fars), np.array([result.judged.threshold(far) for far in fars])

    def dragged(self, drag: Drag) -> None:
        """The line in the histograms has been dragged: far goes to one that has the nearest threshold.

        Few pairs have the same threshold for several shares: the smallest is nearest to what is accepted, and at the
        left end, where all is accepted, the largest is.
        """
        if drag.name != "far" or self.result is None:
            return
        fars, thresholds = self._stops(self.result)
        away = np.abs(thresholds - drag.x)
        same = fars[away == away.min()]
        self.controls["far"].value = float(same[-1] if drag.x <= thresholds.min() + 1e-6 else same[0])

    def _clicked(self, event: Click) -> None:
        """A click on a picture looks for it."""
        column, row = round(event.x), round(event.y)
        if event.region == RANKED and 0 <= column < COLUMNS and 0 <= row * COLUMNS + column < len(self.result.nearest):
            self.set(query=int(self.result.nearest[row * COLUMNS + column]) + 1)
        if event.region == CHOICE and 0 <= column < ACROSS and 0 <= row * ACROSS + column < len(self.choice):
            self.set(query=int(self.choice[row * ACROSS + column]) + 1)

    # ------------------------------------------------------------------------------------------------- as code
    def data_code(self) -> list[str]:
        features, unseen = self.given
        if features is None and unseen is None:
            return []
        return [name_of(features) or "features", name_of(unseen) or "unseen"]


def _nearest(alike: np.ndarray, query: int) -> np.ndarray:
    """The other pictures, the most alike first; those that are equally alike in an order drawn for this query.

    Pictures are stored by identity: in their own order, ties would favour whoever comes first.
    """
    level = np.round(alike / (np.abs(alike).max() or 1.0), 9)  # a rounding must not rank pictures
    drawn = np.random.default_rng(query).permutation(len(alike))
    order = drawn[np.argsort(-level[drawn], kind="stable")]
    return order[order != query]


def _small(share: float) -> str:
    """A share in percent, with two digits where it is small."""
    return f"{100 * share:.2g}%" if share < 0.095 else f"{100 * share:.0f}%"


def _inked(images: np.ndarray) -> np.ndarray:
    """Pictures to look at: of one channel, ink (255) is dark on a light page."""
    return 255 - images if images.shape[3] == 1 else images


def _pairs(who: np.ndarray) -> int:
    """How many pairs are compared: as many of one identity as of two."""
    counts = np.bincount(who)
    same = int((counts * (counts - 1) // 2).sum())
    different = (len(who) ** 2 - int((counts**2).sum())) // 2
    return 2 * min(same, different, PAIRS // 2)


def _recorded() -> tuple[dict[str, np.ndarray], Unseen]:
    """The recorded features, and before them those that need no network."""
    features, unseen = glyph_features()
    return {"pixels, no network": unseen.images.reshape(len(unseen.images), -1) / 255.0, **features}, unseen


def _checked(features: Any, unseen: Any) -> tuple[dict[str, np.ndarray], Unseen]:
    expected = "images of identities never trained on: lt.datasets.Unseen(images, identities, names)"
    check.instance("unseen", unseen, Unseen, expected)
    images = unseen.images
    if (
        not isinstance(images, np.ndarray)
        or images.dtype != np.uint8
        or images.ndim != 4
        or images.shape[3] not in (1, 3)
    ):
        raise check.refuse("unseen.images", images, "pictures (n, height, width, 1 or 3) uint8")
    n = len(images)
    who = check.labels("unseen.identities", unseen.identities, len(unseen.names))
    if len(who) != n or not 2 <= n <= PICTURES:
        raise ValueError(f"unseen: {n} pictures and {len(who)} identities; expected as many of both, 2 to {PICTURES:,}")
    if _pairs(who) < 20:
        raise ValueError("unseen: expected at least ten pairs of one identity and ten of two; pass more pictures")
    wanted = f"a dict: name of a loss -> features ({n}, d) of unseen, finite numbers; at most {LOSSES}"
    if not isinstance(features, Mapping) or not 1 <= len(features) <= LOSSES:
        raise check.refuse("features", features, wanted)
    found = {}
    for label, x in features.items():
        array = check.array(f"features[{label!r}]", x, 2, wanted).astype(np.float64)
        if len(array) != n or not array.size or not np.isfinite(array).all():
            raise check.refuse(f"features[{label!r}]", x, wanted)
        found[check.text("name in features", label)] = array
    return found, unseen


def gallery(
    features: Mapping[str, Any] | None = None,
    unseen: Unseen | None = None,
    *,
    loss: str | None = None,
    distance: str = "cosine",
    query: int = 1,
    far: float = FAR.default,
) -> Gallery:
    """Look for a picture among pictures of identities never trained on; change the loss, the distance, the query.

    features: name of a loss -> features (n, d) of the pictures, at most eight; unseen: the pictures (n, h, w, 1 or 3)
    uint8, their identities (n,) and names, an `Unseen`, at most 3,000. Without both: recorded features of printed
    characters (`datasets.glyphs.glyph_features`). The query is never in its own gallery. distance: "cosine", or
    "euclidean" of the features as they are. query: number of the picture, from 1. far, .001 to 1: share of pairs of
    different identities that the threshold accepts. A click on a picture looks for it; the threshold can be dragged.
    ValueError for anything else.
    """
    return Gallery(features, unseen, loss, distance, query, far)
