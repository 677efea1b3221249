"""Explorer: the papers' test errors, which of them are comparable, and what is left of a paper's order here."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from .. import check
from ..objective import Setting
from ..papers import NEAR, RATIOS, SLIDES, Kept, pairs_kept, swapped
from ..plots.picture import EDGE, INK, PALETTE, QUIET
from ..plots.surface import Surface
from ..plots.text import short, wrap
from ..published import GROUPS, chosen_on_test, comparable
from ..tables import OURS, PHOTOGRAPHS, Printed, our_errors, paper_reports, reports
from .base import Explorer
from .controls import Choice
from .frames import Point, Region

DATA = {f"{name}, {ratio}": (name, ratio) for name in ("CIFAR-10-LT", "CIFAR-100-LT") for ratio in RATIOS}
ALL = "all papers"
PAPERS = (
    ALL, SLIDES, "Cui et al. 2019, table 2", "Cao et al. 2019, table 2", "Zhou et al. 2020, table 1",
    "Sinha et al. 2020", "Ren et al. 2020, table 2", "Menon et al. 2021, table 3", "Menon et al. 2021, code README",
    "Hong et al. 2021, table 2", "OpenLT, code README", "Darkwah & Kang 2023, table 2", "Darkwah & Kang 2023, table 3",
)  # fmt: skip
FAMILIES = {  # of protocols: colour, mark, and what it is called beside the picture
    "A": (PALETTE[0], "o", "A  Cui, Cao"), "A'": (PALETTE[0], "D", "A'  Zhou"), "B": (PALETTE[1], "s", "B  Menon"),
    "B+": (PALETTE[1], "^", "B+  Menon, long"), "C": (PALETTE[2], "v", "C  Ren"), "D": (PALETTE[3], "P", "D  Sinha"),
    "E": (PALETTE[4], "X", "E  Hong"), "F": (PALETTE[5], "h", "F  Darkwah"), "-": (QUIET, "p", "not stated"),
}  # fmt: skip
CALLED = {
    "ce": "cross-entropy", "ce_drw": "CE-DRW", "ce_drs": "CE-DRS", "ldam": "LDAM", "ldam_drw": "LDAM-DRW", "crt": "cRT",
    "lws": "LWS", "cdb": "CDB", "tricdb": "TriCDB", "dual": "Dual Loss", "logit_adjusted": "logit adj., post-hoc",
    "logit_adjustment": "logit adj., loss", "tau_norm": "tau-norm.",
}  # fmt: skip
SHORTER = (
    (", strong augmentation", ""), (", OpenLT", ""), ("logit adjustment post-hoc", "post-hoc adj."),
    ("logit adjustment", "logit adj."), ("normalisation", "norm."), ("best tau", "best τ"), (" tau ", " τ "),
)  # fmt: skip
HOLLOW = {"markerfacecolor": "white", "markeredgecolor": QUIET, "markeredgewidth": 2.0, "markersize": 5}
MOST, SLOPES, LEAST = 18, 10, 12  # rows of the left part, of the right part; room on the left is for at least 12
LEFT, RIGHT = range(2)  # the regions of the picture
DATA_SETTING = Setting("CIFAR-10-LT, 100", choices=tuple(DATA), meaning="data set and imbalance ratio")
PAPER = Setting(SLIDES, choices=PAPERS, meaning="the paper whose rows are strong, with all that are comparable")
BESIDE = Setting("table", choices=tuple(OURS), meaning="our runs that stand beside the paper's rows")


@dataclass(frozen=True)
class Comparison:
    """found: every printed error of a method of ours, on these data; methods: their rows in the picture; groups: the
    protocols of the chosen paper. rows: the paper's, best first; ours: name -> our errors, one a seed; left: what is
    left of the order of the rows that we have, by pairs that may be compared, and apart: by the others; both None for
    fewer than two rows. swaps: the pairs that may be compared and do not keep their order, (name, name, whether nearly
    tied)."""

    dataset: str
    ratio: float
    paper: str
    kind: str
    found: tuple[Printed, ...]
    methods: tuple[str, ...]
    groups: frozenset[str]
    rows: tuple[Printed, ...]
    ours: Mapping[str, list[float]]
    left: Kept | None
    apart: Kept | None
    swaps: tuple[tuple[str, str, bool], ...]

    @property
    def elsewhere(self) -> bool:
        """Whether our runs that were asked for are on other data than the printed errors."""
        return self.kind == "photographs" and (self.dataset, self.ratio) != PHOTOGRAPHS

    @property
    def tuned(self) -> tuple[str, ...]:
        """Rows whose setting was chosen on the test images: they have no run of ours."""
        return tuple(one.method for one in self.rows if _on_test(one))

    @property
    def unstated(self) -> tuple[str, ...]:
        """Rows without a stated protocol, beside rows that have one."""
        return tuple(one.method for one in self.rows if one.group == "-") if len(self.groups) > 1 else ()


@functools.lru_cache(256)
def compared(dataset: str, ratio: float, paper: str, kind: str) -> Comparison:
    """All that the picture needs, kept."""
    found = tuple(one for one in reports(dataset, ratio) if one.key)
    methods = tuple(dict.fromkeys(one.key for one in found))[:MOST]
    rows = [] if paper == ALL else sorted(paper_reports(dataset, ratio, paper), key=lambda one: one.error)[:SLOPES]
    ours = our_errors(dataset, ratio, rows, kind)
    both = [one for one in rows if one.method in ours]
    errors = [one.error for one in both], [float(np.mean(ours[one.method])) for one in both]
    left, apart = pairs_kept(both, *errors) if len(both) > 1 else (None, None)
    swaps = tuple(
        (both[i].method, both[j].method, near) for i, j, near in swapped(*errors) if comparable(both[i], both[j])
    )
    groups = frozenset(one.group for one in rows)
    return Comparison(dataset, ratio, paper, kind, found, methods, groups, tuple(rows), ours, left, apart, swaps)


def _on_test(one: Printed) -> bool:
    return (one.source, one.method) in chosen_on_test()


def spans(found: Sequence[Printed]) -> dict[tuple[str, str], tuple[float, float]]:
    """(method, protocol) -> lowest and highest error, where one protocol has several that were not chosen on the test
    images."""
    values: dict[tuple[str, str], list[float]] = {}
    for one in found:
        if one.group != "-" and not _on_test(one):  # two protocols that are not stated need not be the same
            values.setdefault((one.key, one.group), []).append(one.error)
    return {key: (min(some), max(some)) for key, some in values.items() if len(some) > 1}


class Papers(Explorer):
    """Left: printed errors, a row a method, a colour and a mark a protocol; a line joins one protocol only. Right: the
    order of a paper's rows, and of our runs of them; lines that cross are a pair that swaps. Without a paper, the right
    part says what the protocols are."""

    function = "papers"
    title = "Against the papers"
    size = (7.1, 5.2)

    def __init__(
        self, data: str = DATA_SETTING.default, paper: str = PAPER.default, beside: str = BESIDE.default
    ):  # fmt: skip
        titles = {name: f"{where}, ratio {ratio}" for name, (where, ratio) in DATA.items()}
        controls = (
            Choice("data", DATA_SETTING, check.choice("data", data, DATA), titles),
            Choice("paper", PAPER, check.choice("paper", paper, PAPERS)),
            Choice("beside", BESIDE, check.choice("beside", beside, OURS), OURS),
        )
        super().__init__({one.name: one for one in controls})

    def build(self, surface: Surface) -> None:
        self._build_reports(surface.figure.add_axes((0.2, 0.205, 0.285, 0.72)))
        self._build_slopes(surface.figure.add_axes((0.785, 0.35, 0.125, 0.50)))
        surface.animate(
            self.joined, *self.faint.values(), *self.strong.values(), self.hollow, *self.names, *self.printed,
            *self.measured, self.slopes, self.message, self.heading, self.source,
        )  # fmt: skip

    def _build_reports(self, ax: Axes) -> None:
        self.left = ax
        ax.set(ylim=(MOST - 0.4, -0.6), xlim=(0, 70), xlabel="printed test error, %", yticks=range(MOST))
        ax.tick_params(axis="y", labelleft=False, length=0)
        ax.set_title("Printed, by protocol", fontsize=10, loc="left", pad=5)
        self.joined = LineCollection([], linewidths=2.0, zorder=2)
        ax.add_collection(self.joined, autolim=False)
        self.faint, self.strong = {}, {}
        for group, (colour, mark, _) in FAMILIES.items():
            look = {"linestyle": "", "marker": mark, "color": colour, **EDGE}
            self.faint[group] = ax.plot([], [], markersize=4.5, alpha=0.42, zorder=3, **look)[0]
            self.strong[group] = ax.plot([], [], markersize=6.5, zorder=4, **look)[0]
        self.hollow = ax.plot([], [], linestyle="", marker="o", color="white", markersize=3, zorder=5)[0]
        self.names = [
            ax.text(-0.03, row, "", transform=ax.get_yaxis_transform(), ha="right", va="center", fontsize=9)
            for row in range(MOST)
        ]
        marks = [
            ax.plot([], [], linestyle="", marker=mark, color=colour, label=label, **EDGE)[0]
            for colour, mark, label in FAMILIES.values()
        ]
        marks += ax.plot([], [], linestyle="", marker="o", label="chosen on test", **HOLLOW)
        ax.figure.legend(
            handles=marks, loc="lower left", bbox_to_anchor=(0.01, 0.0), ncols=5, fontsize=9, handletextpad=0.1,
            columnspacing=1.3, labelspacing=0.4, borderaxespad=0.2,
        )  # fmt: skip

    def _build_slopes(self, ax: Axes) -> None:
        self.right = ax
        ax.set(xlim=(0, 1), ylim=(SLOPES - 0.4, -0.6), xticks=(0, 1), yticks=[])
        ax.set_xticklabels(["printed", "ours"], fontsize=9)
        ax.grid(False)
        for side in ("top", "bottom"):
            ax.spines[side].set_visible(False)
        ax.spines["right"].set_visible(True)
        self.slopes = LineCollection([], linewidths=1.8, zorder=2)
        ax.add_collection(self.slopes, autolim=False)
        write = {"fontsize": 9, "va": "center", "color": INK}
        self.printed = [ax.text(-0.08, row, "", ha="right", **write) for row in range(SLOPES)]
        self.measured = [ax.text(1.08, row, "", ha="left", **write) for row in range(SLOPES)]
        place = {"color": INK, "va": "top"}
        self.source = ax.figure.text(0.52, 0.955, "", fontsize=10, **place)
        self.heading = ax.figure.text(0.52, 0.915, "", fontsize=9, **{**place, "color": QUIET})
        self.message = ax.figure.text(0.52, 0.285, "", fontsize=9, linespacing=1.35, **place)

    def compute(self, data: str, paper: str, beside: str) -> Comparison:
        return compared(*DATA[data], paper, beside)

    def draw(self, result: Comparison) -> None:
        self._draw_reports(result)
        self._draw_slopes(result)

    def _draw_reports(self, result: Comparison) -> None:
        rows = {key: row for row, key in enumerate(result.methods)}
        values = [one.error for one in result.found]
        low, high = (5 * np.floor(min(values, default=0) / 5), 5 * np.ceil(max(values, default=70) / 5))
        stale = self.surface.figure.stale  # the background of these limits is kept
        self.left.set_xlim(low, high)
        self.surface.figure.stale = stale
        self.surface.limit(self.left, (max(len(rows), LEAST) - 0.4, -0.6))
        for group in FAMILIES:
            some = [(one.error, rows[one.key]) for one in result.found if one.group == group]
            x, y = zip(*some, strict=True) if some else ((), ())
            lit = group in result.groups or result.paper == ALL
            self.strong[group].set_data(*((x, y) if lit else ((), ())))
            self.faint[group].set_data(*(((), ()) if lit else (x, y)))
        some = [(one.error, rows[one.key]) for one in result.found if _on_test(one)]
        self.hollow.set_data(*(zip(*some, strict=True) if some else ((), ())))
        joined = {at: ends for at, ends in spans(result.found).items() if at[1] in result.groups or result.paper == ALL}
        self.joined.set_segments([[(low, rows[key]), (high, rows[key])] for (key, _), (low, high) in joined.items()])
        self.joined.set_color([FAMILIES[group][0] for _, group in joined])
        for row, text in enumerate(self.names):
            text.set_text(short(_called(result.methods[row]), 22) if row < len(result.methods) else "")

    def _draw_slopes(self, result: Comparison) -> None:
        self.surface.show(self.right, bool(result.rows))
        both = [one.method for one in result.rows if one.method in result.ours]
        means = {name: float(np.mean(result.ours[name])) for name in both}
        ranked = sorted(both, key=means.get)
        self.slopes.set_segments([[(0, _row_of(result, name)), (1, ranked.index(name))] for name in both])
        self.slopes.set_color([_colour(result, name) for name in both] or [INK])
        self.slopes.set_linestyle([":" if name in result.unstated else "-" for name in both] or ["-"])
        for row, text in enumerate(self.printed):
            one = result.rows[row] if row < len(result.rows) else None
            star = _sign(result, one.method) if one else ""
            text.set_text(f"{_shorter(one.method)}{star}  {one.error:.1f}" if one else "")
            text.set_color(INK if one and one.method in result.ours else QUIET)
        for row, text in enumerate(self.measured):
            text.set_text(f"{means[ranked[row]]:.1f}" if row < len(ranked) else "")
        for text in (*self.names, *self.printed, *self.measured):
            text.set_visible(bool(text.get_text()))
        self.source.set_text(result.paper if result.rows else "")
        self.heading.set_text(OURS[result.kind] if result.rows else "")
        self.message.set_text(_message(result))
        self.message.set_y(0.285 if result.rows else 0.925)

    def say(self, result: Comparison) -> str:
        ce = sorted(one.error for one in result.found if one.key == "ce")
        groups = {one.group for one in result.found}
        text = f"{result.dataset}, ratio {result.ratio:g}: {len(result.found)} printed errors of {len(result.methods)} "
        stated = len(groups - {"-"})
        text += f"methods under {check.many(stated, 'protocol')}"
        text += ", and under some that are not stated. " if "-" in groups else ". "
        if len(ce) > 1:
            text += (
                f"Plain cross-entropy is printed between {ce[0]:.1f} and {ce[-1]:.1f}%, {ce[-1] - ce[0]:.1f} points. "
            )
        if result.paper == ALL:
            return text + "No order is drawn across protocols: choose a paper."
        if not result.rows:
            return text + f"{result.paper} prints nothing here."
        return text + f"{result.paper}: {_order_said(result)}"

    def marks(self, result: Comparison) -> list[Point]:
        rows = {key: row for row, key in enumerate(result.methods)}
        found = [
            Point(
                one.error,
                rows[one.key],
                f"{one.method}: {one.error:g}%, {one.source}; protocol {_protocol(one.group)}"
                + ("; tau chosen on the test images" if _on_test(one) else ""),
            )
            for one in result.found
        ]
        return found + [
            Point(0, row, f"{one.method}: {one.error:g}% printed, {_ours_said(result, one)}", RIGHT)
            for row, one in enumerate(result.rows)
        ]

    def regions(self) -> list[Region]:
        return [Region.of(self.left, "printed errors", yname="method"), Region.of(self.right, "order", xname="side")]


def _row_of(result: Comparison, name: str) -> int:
    return next(row for row, one in enumerate(result.rows) if one.method == name)


def _colour(result: Comparison, name: str) -> str:
    """Of a row's line: orange where it swaps with another row, grey where it does so with near ties alone; black where
    it may not be compared."""
    if name in result.unstated:
        return INK
    near = [pair[2] for pair in result.swaps if name in pair[:2]]
    return PALETTE[0] if not near else QUIET if all(near) else PALETTE[1]


def _called(key: str) -> str:
    return CALLED.get(key, key.replace("_", " "))


def _shorter(name: str) -> str:
    for long, brief in SHORTER:
        name = name.replace(long, brief)
    return short(name, 21)


def _protocol(group: str) -> str:
    return "not stated" if group == "-" else f"{group}: {GROUPS[group]}"


def _sign(result: Comparison, name: str) -> str:
    """The mark behind a row's name."""
    return "*" if name in result.unstated else "†" if name in result.tuned else ""


def _ours_said(result: Comparison, one: Printed) -> str:
    errors = result.ours.get(one.method)
    if result.elsewhere:
        return "no run on these data"
    if not errors:
        return "left out: tau chosen on the test images" if _on_test(one) else "not run yet"
    return f"ours {np.mean(errors):.2f}%" + (" (one seed)" if len(errors) == 1 else f" (mean of {len(errors)} seeds)")


def _order_said(result: Comparison) -> str:
    """What is left of the paper's order, in a sentence."""
    if result.elsewhere:
        return "no order is drawn, as our photographs are CIFAR-10 at ratio 100 and these are other data."
    if not result.ours:
        return f"none of its {len(result.rows)} rows has been run here ({OURS[result.kind]})."
    n = len(next(iter(result.ours.values())))
    seeds = "" if "seeds" in OURS[result.kind] else "; one seed each" if n == 1 else f"; {n} seeds each"
    beside = f"{len(result.ours)} of {len(result.rows)} rows beside ours ({OURS[result.kind]}{seeds})"
    if result.left is None:
        return f"{beside}: one row has no order."
    fair = " under one protocol" if result.apart.pairs else ""
    text = f"{beside}: {result.left.right} of {result.left.pairs} pairs of methods{fair} keep their order."
    near = sum(pair[2] for pair in result.swaps)
    text += f" Pairs that swap: {len(result.swaps)}, of which nearly tied: {near}." if result.swaps else ""
    if result.apart.pairs:
        names, right, pairs = " and ".join(result.unstated), *result.apart
        text += f" {names}: protocol not stated, so its {pairs} pairs stand apart; {right} of them keep their order."
    if result.tuned:
        text += f" Left out, as their tau was chosen on the test images: {' and '.join(result.tuned)}."
    return text


def _message(result: Comparison) -> str:
    if result.paper == ALL:
        told = [f"{group if group != '-' else 'not stated'}:  {GROUPS[group]}" for group in FAMILIES
                if group in {one.group for one in result.found}]  # fmt: skip
        head = "Choose a paper: an order makes sense\nwithin one protocol. The protocols here:\n\n"
        return head + "\n".join(wrap(one, 52) for one in told)
    if not result.rows:
        return "This paper prints nothing for these data."
    if result.elsewhere:
        return "Our photographs are CIFAR-10 at ratio 100:\nother data than these, so there is no order."
    if not result.ours:
        return "Ours: not run yet." + ("\n† τ chosen on the test images" if result.tuned else "")
    if result.left is None:
        return "One row: no order."
    lines = [f"{result.left.right} of {result.left.pairs} pairs keep their order"]
    if result.swaps:
        lines.append("Two lines that cross: a pair that swaps")
        if QUIET in (_colour(result, name) for name in result.ours):
            lines.append(f"Grey: only with rows under {NEAR} points away")
    if result.unstated:
        lines.append(f"* protocol not stated; apart: {result.apart.right} of {result.apart.pairs} pairs")
    if result.tuned:
        lines.append("† τ chosen on the test images: left out")
    return "\n".join(lines)


def papers(
    data: str = DATA_SETTING.default, paper: str = PAPER.default, beside: str = BESIDE.default
) -> Papers:  # fmt: skip
    """Look at the papers' test errors, and at which of them may be compared.

    data: "CIFAR-10-LT, 100", or another data set and ratio of DATA; paper: the source whose rows, and all under the
    same protocols, are strong ("all papers": everything); beside: our runs beside it, "table" (the paper's network and
    recipe), "reduced" (a small network, few epochs) or "photographs" (16 x 16 pixels, a small network, ten seeds; for
    CIFAR-10-LT at ratio 100 only).
    """
    return Papers(data, paper, beside)
