"""Explorer: n darts on a board of N tiles, from an even throw to an aimed one; tiles covered against E_n."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.lines import Line2D

from .. import metrics
from ..objective import Setting
from ..plots.picture import FAINT, INK, PALETTE, QUIET, number
from ..plots.surface import Surface
from ..plots.weights import effective
from .base import Explorer
from .controls import control
from .frames import Handle, Point, Region

MOST = 500  # darts
DARTS = Setting(100, 1, MOST, "log", symbol="n", meaning="images of the class: each shows one prototype")
EXPONENT = Setting(
    0.0, 0.0, 2.0, symbol="s", meaning="tile i is hit with probability ~ 1 / i^s: 0 all alike, 1 Zipf's law"
)
TILES = Setting(100, 2, 200, "log", symbol="N", meaning="prototypes of the class: different things that can be seen")
SEED = Setting(6, 0, 50, meaning="another throw with the same probabilities")
ALONG = np.unique(np.geomspace(1, MOST, 120).round())  # numbers of darts at which the curves are known
QUARTERS = np.linspace(0, 1, 5)  # of the tiles
COVERED, BARE = "#BFD4FF", "#F4F5F7"
LINES = {  # of the right panel: how each is drawn, and what it is called
    "formula": ({"color": INK, "linewidth": 2.2}, "E\N{LATIN SUBSCRIPT SMALL LETTER N}, the formula"),
    "mean": ({"color": PALETTE[1], "linewidth": 2.2, "linestyle": (0, (5, 1.6))}, "mean of many throws like this"),
    "throw": ({"color": PALETTE[0], "linewidth": 1.8}, "this throw"),
}


@dataclass(frozen=True)
class Throw:
    """One throw of n darts at N tiles.

    p (N,): probability of each tile, centre first. tile (n,): which one each dart hits; new (n,): it is the first.
    formula, mean (points,): E_n, and the expected number of covered tiles under p, along ALONG; expected: both at n.
    """

    darts: int
    exponent: float
    p: np.ndarray
    tile: np.ndarray
    new: np.ndarray
    seed: int
    formula: np.ndarray
    mean: np.ndarray
    expected: tuple[float, float]

    @property
    def covered(self) -> int:
        return int(self.new.sum())


@functools.lru_cache(64)
def board(tiles: int) -> tuple[list[np.ndarray], np.ndarray]:
    """A disc of radius 1 cut into tiles of equal area, from the centre outwards: outlines, and (N, 4) edges.

    Edges: inner and outer radius squared, and first and last angle, of each tile.
    """
    rings = max(1, round(np.sqrt(tiles)))
    ends = np.round(tiles * (np.arange(rings + 1) / rings) ** 2).astype(int)
    ends[1] = max(ends[1], 1)
    edges, outlines = [], []
    for ring, (first, last) in enumerate(zip(ends, ends[1:], strict=False)):
        turn = 2 * np.pi * np.linspace(0, 1, last - first + 1) + 0.4 * ring
        for start, stop in zip(turn, turn[1:], strict=False):
            edges.append((first / tiles, last / tiles, start, stop))
            arc = np.linspace(start, stop, max(4, int(60 * (stop - start) / np.pi)))
            circle = np.column_stack([np.cos(arc), np.sin(arc)])
            inner = circle[::-1] * np.sqrt(first / tiles)
            whole = first == 0 and last == 1  # the bull's eye has no seam
            outlines.append(np.concatenate([circle * np.sqrt(last / tiles), inner[:0] if whole else inner]))
    return outlines, np.array(edges)


def places(edges: np.ndarray, along: np.ndarray, around: np.ndarray) -> np.ndarray:
    """Points (m, 2) inside tiles (m, 4): `along` from the inner to the outer edge, `around` from angle to angle."""
    radius = np.sqrt(edges[:, 0] + along * (edges[:, 1] - edges[:, 0]))
    angle = edges[:, 2] + around * (edges[:, 3] - edges[:, 2])
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])


@functools.lru_cache(64)
def scatter(seed: int) -> np.ndarray:
    """Where in its tile each dart lands, (MOST, 2), off the edges."""
    return np.random.default_rng((seed, 1)).uniform(0.16, 0.84, (MOST, 2))


class Dartboard(Explorer):
    """Tiles that n darts cover, against the effective number (Cui et al. 2019, eq. 2), from an even throw to Zipf."""

    function = "dartboard"
    title = "Dartboard: what n images show"
    size = (7.6, 4.2)

    def __init__(
        self,
        darts: int = DARTS.default,
        exponent: float = EXPONENT.default,
        tiles: int = TILES.default,
        seed: int = SEED.default,
    ):
        given = {"darts": (DARTS, darts), "exponent": (EXPONENT, exponent), "tiles": (TILES, tiles)}
        given["seed"] = (SEED, seed)
        super().__init__({name: control(name, setting, value) for name, (setting, value) in given.items()})

    def build(self, surface: Surface) -> None:
        figure = surface.figure
        self._build_board(figure.add_axes((0.01, 0.1, 0.452, 0.81)))
        self._build_curves(figure.add_axes((0.555, 0.125, 0.42, 0.60)))
        lines = (*self.lines.values(), self.cursor, *self.readout)
        surface.animate(self.tiles, *self.darts, *lines, *self.dots)

    def _build_board(self, ax: Axes) -> None:
        self.board = ax
        ax.set(xlim=(-1.03, 1.03), ylim=(-1.03, 1.03), aspect="equal", title="The board")
        ax.axis("off")
        self.tiles, self._tiled = PolyCollection([], linewidths=0.7, edgecolors="#9AA3AF", zorder=1), 0
        ax.add_collection(self.tiles, autolim=False)
        kinds = (
            {"marker": "o", "markersize": 4.6, "color": INK, "markeredgecolor": "white", "markeredgewidth": 0.5},
            {"marker": "x", "markersize": 4.2, "color": PALETTE[1], "markeredgewidth": 1.1},
        )
        labels = ("dart in a new tile", "dart in a covered one")
        self.darts = [
            ax.plot([], [], linestyle="", zorder=3 - i, label=label, **kind)[0]
            for i, (kind, label) in enumerate(zip(kinds, labels, strict=True))
        ]
        place = {"loc": "upper center", "bbox_to_anchor": (0.5, 0.0), "ncols": 2}
        handles = [Line2D([], [], linestyle="", **kind, label=label) for kind, label in zip(kinds, labels, strict=True)]
        ax.legend(handles=handles, handletextpad=0.1, columnspacing=1.2, **place)

    def _build_curves(self, ax: Axes) -> None:
        self.curves = ax
        ax.set(xlim=(0, MOST), ylim=(0, 1.04), xlabel="darts thrown, n", ylabel="tiles covered")
        ax.set_yticks(QUARTERS, ["0", "N/4", "N/2", "3N/4", "N"])  # so that the axis stays when N moves
        ax.grid(True, axis="both", color=FAINT)
        self.lines, self.dots, self.readout = {}, [], []
        for i, (name, (kind, label)) in enumerate(LINES.items()):
            y = 1.3 - 0.105 * i
            ax.plot([0.0, 0.09], [y, y], transform=ax.transAxes, clip_on=False, **kind)
            ax.text(0.115, y, label, transform=ax.transAxes, va="center", fontsize=9, color=INK)
            write = {"transform": ax.transAxes, "va": "center", "ha": "right", "fontsize": 10, "fontweight": "bold"}
            self.readout.append(ax.text(1.0, y, "", color=INK, **write))
            step = {"drawstyle": "steps-post"} if name == "throw" else {}
            self.lines[name] = ax.plot([], [], zorder=5 - i, **kind, **step)[0]
            dot = {"marker": "o", "markersize": 6, "color": kind["color"], "markeredgecolor": "white"}
            self.dots.append(ax.plot([], [], linestyle="", zorder=6, **dot)[0])
        ax.text(1.0, 1.405, "tiles covered", transform=ax.transAxes, ha="right", va="center", fontsize=8.5, color=QUIET)
        self.cursor = ax.axvline(0, color=QUIET, linewidth=1, zorder=2)

    def compute(self, darts: int, exponent: float, tiles: int, seed: int) -> Throw:
        p = metrics.power_prior(np.arange(1.0, tiles + 1.0), -exponent)
        tile = metrics.draw_prototypes(p, MOST, seed)[:darts]
        beta = (tiles - 1) / tiles
        formula, mean = effective(ALONG, beta), metrics.expected_distinct(p, ALONG)
        at = float(effective(np.array([float(darts)]), beta)[0]), metrics.expected_distinct(p, darts)
        return Throw(darts, exponent, p, tile, metrics.first_hits(tile), seed, formula, mean, at)

    def draw(self, result: Throw) -> None:
        n, tiles = result.darts, len(result.p)
        outlines, edges = board(tiles)
        if self._tiled != tiles:
            self.tiles.set_verts(outlines, closed=True)
            self._tiled = tiles
        hit = np.bincount(result.tile, minlength=tiles) > 0
        self.tiles.set_facecolor([COVERED if one else BARE for one in hit])
        where = places(edges[result.tile], *scatter(result.seed)[:n].T)
        for artist, some in zip(self.darts, (result.new, ~result.new), strict=True):
            artist.set_data(*where[some].T)
        self.lines["formula"].set_data(ALONG, result.formula / tiles)
        self.lines["mean"].set_data(ALONG, result.mean / tiles)
        self.lines["throw"].set_data(np.arange(n + 1), np.concatenate([[0], np.cumsum(result.new)]) / tiles)
        self.cursor.set_xdata([n, n])
        found = (*result.expected, float(result.covered))
        for dot, text, value, exact in zip(self.dots, self.readout, found, (0, 0, 1), strict=True):
            dot.set_data([n], [value / tiles])
            text.set_text(f"{value:.0f}" if exact else f"{value:.1f}")

    def say(self, result: Throw) -> str:
        tiles, (formula, mean) = len(result.p), result.expected
        power = "" if result.exponent == 1 else f"^{result.exponent:g}"
        how = "all alike" if result.exponent == 0 else f"falling like 1 / rank{power}"
        lost = formula - mean
        less = "as many as" if lost < 0.05 else f"{lost:.1f} fewer than"
        what = f"{result.darts} dart{'s' * (result.darts > 1)}, {tiles} tiles"
        return (
            f"{what}, probabilities {how}: this throw covers {result.covered}. Throws like it cover {mean:.1f} on "
            f"average, {less} E_n = {formula:.1f} at β = {number((tiles - 1) / tiles)}."
        )

    def regions(self) -> list[Region]:
        curves = Region.of(self.curves, "tiles covered", xname="darts", yname="covered")
        return [
            replace(curves, y=tuple(end * self._tiled for end in curves.y)),
            Region.of(self.board, "board", cells=True),
        ]

    def marks(self, result: Throw) -> list[Point]:
        edges = board(len(result.p))[1]
        middle = places(edges, np.full(len(edges), 0.5), np.full(len(edges), 0.5))
        hits = np.bincount(result.tile, minlength=len(result.p)).tolist()
        return [
            Point(x, y, f"Tile {i}: probability {100 * p:.2g}%, {hit} dart{'s' * (hit != 1)}", 1)
            for i, (x, y), p, hit in zip(range(1, len(hits) + 1), middle.tolist(), result.p.tolist(), hits, strict=True)
        ]

    def handles(self, result: Throw) -> list[Handle]:
        counts = self.controls[
            "darts"
        ]  # an arrow key goes to the next: a fiftieth of the axis is less than one of these
        step = tuple(sorted({float(counts.at(place)) for place in counts.places}))
        x = (DARTS.low, DARTS.high)
        return [Handle("darts", result.darts, result.expected[0], "darts", "x", x, step=step)]


def dartboard(
    darts: int = DARTS.default,
    exponent: float = EXPONENT.default,
    tiles: int = TILES.default,
    seed: int = SEED.default,
) -> Dartboard:
    """Throw darts at a board of tiles of equal size; see how many different tiles they hit, against the formula E_n.

    darts n, 1 to 500: images of a class; tiles N, 2 to 200: its prototypes. exponent s, 0 to 2: tile i, counted from
    the centre, is hit with probability ~ 1 / i^s, so 0 is a throw that hits all alike and 1 is Zipf's law. seed, 0 to
    50: which throw; fewer darts are the first of more. E_n = (1 - beta^n) / (1 - beta) with beta = (N - 1) / N.
    """
    return Dartboard(darts, exponent, tiles, seed)
