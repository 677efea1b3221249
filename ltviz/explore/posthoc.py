"""Explorer: re-decide a trained network without training, from its stored features, classifier and logits."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import ipywidgets as widgets
import numpy as np
from PIL import Image

from .. import check, metrics
from ..datasets import LongTailed
from ..objective import Setting
from ..plots.confusion import NAME, WRITTEN, AccuracyPanels, ConfusionPanels
from ..plots.examples import mosaic
from ..plots.picture import BINNED, DRAW_LOCK, PALETTE, as_percent, group_look
from ..plots.series import by_count
from ..plots.surface import Surface
from ..plots.text import short, short_names, width
from ..run import Run
from .base import STATE_OF, Explorer
from .controls import Control, control
from .decide import GROUPS, Decision, Rules
from .frames import Point, Region
from .notebook import name_of
from .screen import Click

ROWS = (*GROUPS, "deployed")
START = {"tau": 0.0, "bias": "keep", "prior": 0.0}
OWN = ("deployment", "data", "first")  # names that no setting of a rule may have
DEPLOYMENT = Setting(
    0.0, -1.0, 1.0,
    meaning="how often classes occur where the network is used: as their training images to this power. 0: all alike, "
    "1: as in training, -1: the rarest most often",
)  # fmt: skip
MATRIX, SHARES, CLASSES, MEANS = range(4)  # the regions of the picture
PICTURES, COLUMNS, SIDE = 24, 12, 48  # of a cell: how many at most, in a row, and about how many pixels high
HINT = "Click a cell of the matrix (or go there with the arrow keys and press Enter) to see the test images in it."
NOTE = "font-size:13px;line-height:1.4;margin:2px 0;overflow-wrap:anywhere"


@dataclass(frozen=True)
class Cell:
    """A cell of the confusion matrix: classes in its row and its column, numbers of the test images, images in its row.

    A cell of a matrix of many classes holds several of them.
    """

    true: tuple[int, ...]
    answered: tuple[int, ...]
    images: np.ndarray
    of: int


class Cells:
    """Below the picture: the test images of the cell that was chosen, as they are decided now."""

    def __init__(self, explorer: Posthoc):
        self.explorer, self.place = explorer, None
        self.told: list[Callable[[Cell], None]] = []
        self.widget = widgets.HTML(layout={"width": "100%"})

    def look(self, row: int, column: int) -> None:
        """Choose a cell, and tell those who asked."""
        with DRAW_LOCK:
            self.place = row, column
            self.show()
            cell = self.now()
        for callback in list(self.told):
            self.explorer.guard(lambda callback=callback: callback(cell))

    def now(self) -> Cell | None:
        of = self.explorer
        if self.place is None or of.result is None:
            return None
        true, answered = (of.rank[of.panels.members(one)] for one in self.place)
        row = np.isin(of.rules.targets, true)
        images = of.rules.numbers[row & np.isin(of.result.decided, answered)]
        return Cell(tuple(map(int, true)), tuple(map(int, answered)), np.sort(images), int(row.sum()))

    def show(self) -> None:
        cell = self.now()
        written = f"<div style='{NOTE}'>{HINT}</div>" if cell is None else self._written(cell)
        if self.widget.value != written:
            self.widget.value = written

    def _written(self, cell: Cell) -> str:
        called = [html.escape(self.explorer.called[one]) for one in self.place]
        what, numbers = f"true {called[0]}, answered {called[1]}", cell.images
        told = f"<b>{what}: {len(numbers):,} of {cell.of:,} test images</b>"
        if len(numbers):
            some = ", ".join(map(str, numbers[:PICTURES])) + (", …" if len(numbers) > PICTURES else "")
            told += f" (number{'s' if len(numbers) > 1 else ''} {some})"
        if len(numbers) and self.explorer.data is not None:
            shown, width = _picture(self.explorer.data, numbers[:PICTURES])
            alt = f"The first {min(len(numbers), PICTURES)} of these images"
            style = "display:block;max-width:100%;image-rendering:pixelated;margin:4px 0"
            told += f"<img alt='{alt}' width='{width}' style='{style}' src='data:image/png;base64,{shown}'>"
        return f"<div role='status' style='{NOTE}'>{told}</div>"


class Posthoc(Explorer):
    """Confusion matrix and accuracies as the post-hoc rules of METHODS change the decision (not the network).

    A rule can be slid where it says under which settings it is plain cross-entropy: there it starts. `cell` is the
    `Cell` that a reader has clicked last, or None; `choose(true, answered)` does the same from code, and callbacks of
    `on_cell` get it.
    """

    function = "posthoc"
    title = "Re-deciding, without training"
    size = (7.6, 5.4)

    def __init__(
        self,
        run: Run,
        tau: float = 0.0,
        bias: str = "keep",
        prior: float = 0.0,
        *,
        deployment: float = 0.0,
        data: LongTailed | None = None,
        first: str = "prior",
        **others: Any,
    ):
        self.run, self.data, self.first = _checked(run), _matching(data, run), first
        self.rank = by_count(run.counts)
        self.rules = Rules(run, OWN)
        given = {**START, "tau": tau, "bias": bias, "prior": prior, **others}
        controls = self._make_controls(given) | {"deployment": control("deployment", DEPLOYMENT, deployment)}
        check.choice("first", first, controls)
        self.rules.taus = np.array(controls["prior"].sweep().values if "prior" in controls else [])
        self.before = self.rules.decide(self.rules.neutral)
        self.cells = Cells(self)
        order = {name: controls[name] for name in (first, "deployment", *controls)}
        super().__init__(order, below=(self.cells.widget,))
        self.screen.on_click(self._clicked)

    def _make_controls(self, given: dict[str, Any]) -> dict[str, Control]:
        controls = {}
        for rule in self.rules.rules:
            for setting, name in rule.names.items():
                declared = replace(rule.method.settings[setting], default=rule.neutral[setting], symbol="")
                controls[name] = control(name, declared, given.pop(name, rule.neutral[setting]))
        for name, value in given.items():
            if name not in START:
                known = ", ".join([*controls, "deployment"])
                raise ValueError(f"no control {name!r}{check.suggest(name, controls)}; there are: {known}")
            if value != START[name]:
                who = f"{self.run.name!r} has a cosine head, which has neither tau nor bias"
                raise ValueError(f"{name}={value!r}: {who}; leave it out")
        return controls

    def _use(self, controls: dict[str, Control]) -> None:
        super()._use(controls)
        one, *others = [one.widget for one in controls.values()]
        self.column.first.children, self.column.rest.children = [one], others  # in sight: what the text speaks of
        self.column.more.layout.display = None if others else "none"

    # ------------------------------------------------------------------------------------------------- the picture
    def build(self, surface: Surface) -> None:
        counts, names = self.run.counts[self.rank], [self.run.class_names[j] for j in self.rank]
        left, bottom = _room(counts, names)
        grid = surface.figure.add_gridspec(
            2, 2, left=left, right=0.98, bottom=bottom, top=0.945, wspace=0.055, hspace=0.05,
            width_ratios=(1.55, 1), height_ratios=(1, 4.1),
        )  # fmt: skip
        shares, matrix, classes = (surface.figure.add_subplot(grid[place]) for place in ((0, 0), (1, 0), (1, 1)))
        place = grid[0, 1].get_position(surface.figure)
        means = surface.figure.add_axes((place.x0 + 0.085, place.y0 + 0.02, place.width - 0.145, place.height - 0.02))
        self.axes = matrix, shares, classes, means
        trained, turned = (metrics.power_prior(self.run.counts, power) for power in (1.0, -1.0))
        room = self.before.answered, metrics.answer_shares(self.before.confusion, trained), trained, turned
        self.panels = ConfusionPanels(shares, matrix, counts, names, [one[self.rank] for one in room])
        colours = [*(group_look(name)["color"] for name in GROUPS), PALETTE[3]]
        before = self.before.per_class[self.rank]
        self.accuracies = AccuracyPanels(classes, means, self.panels, counts, before, ROWS, colours)
        self.names = [short(one, 40) for one in names]
        self.called = [self._call(self.panels.members(i)) for i in range(len(self.panels.starts))]
        self._title()
        surface.animate(*self.panels.artists, *self.accuracies.artists)

    def _title(self) -> None:
        matrix, shares, classes, means = self.axes
        title = {"loc": "left", "fontsize": 9.5, "pad": 4}
        shares.set_title("Share of answers (dotted: of images)", **title)
        means.set_title("Accuracy (dash: as trained)", **{**title, "loc": "center"})
        what, size = ("class" if self.panels.written else "rank of the class"), self.panels.size
        cells = " (cells: % of the true class)" if self.panels.written else f" (cells: {size} x {size} ranks)"
        matrix.set_xlabel(f"answered {what}{cells if size > 1 or self.panels.written else ''}")
        matrix.set_ylabel(f"true {what} (training images)")
        classes.set_xlabel("accuracy of the class")

    def draw(self, result: Decision) -> None:
        matrix = result.confusion[np.ix_(self.rank, self.rank)]
        self.panels.update(matrix, result.answered[self.rank], result.occurs[self.rank])
        self.accuracies.update(result.per_class[self.rank], *self._means(result))

    def _means(self, result: Decision) -> tuple[np.ndarray, np.ndarray]:
        """(before, now): the accuracy of each group, and at deployment."""
        deployed = metrics.expected_accuracy(self.before.per_class, result.occurs)
        return np.append(self.before.groups, deployed), np.append(result.groups, result.deployed)

    def compute(self, deployment: float, **values: Any) -> Decision:
        return self.rules.decide(values, deployment)

    def say(self, result: Decision) -> str:
        told = [
            f"{name} {as_percent(old)} → {as_percent(new)}"
            for name, old, new in zip(GROUPS, self.before.groups, result.groups, strict=True)
        ]
        own = "" if self.run.scores is None else ", its own rule put aside"
        kept, tested = len(self.run.targets), int(self.run.confusion.sum())
        of = f" of the {kept:,} test images it kept" if kept < tested else ""
        where = {0.0: "all classes occur equally often", 1.0: "classes occur as in training"}.get(
            result.power, f"classes occur as their training images to the power {result.power:g}"
        )
        said = f"{self.run.name}{own}, {result.words}. Accuracy{of}: {', '.join(told)}. "
        said += f"Deployed where {where}: {as_percent(result.deployed)}"
        if result.best is None:
            return f"{said}."
        tau, accuracy = result.best
        return (
            f"{said}; logit adjustment alone would do best there with τ = {tau:g} ({as_percent(accuracy)}). Choosing τ "
            "on test images, as here, is a demonstration and not a protocol: use validation images."
        )

    # ------------------------------------------------------------------------------------------------- pointing
    def _call(self, ranks: np.ndarray) -> str:
        """What a row or a column stands for."""
        return self.names[ranks[0]] if len(ranks) == 1 else f"ranks {ranks[0] + 1:,}–{ranks[-1] + 1:,}"

    def regions(self) -> list[Region]:
        matrix, shares, classes, means = self.axes
        named, cells = tuple(self.called), "confusion matrix"
        rows = named if self.panels.size == 1 else ()
        return [
            Region.of(matrix, cells, xname="answered", yname="true", xnames=named, ynames=named, cells=True),
            Region.of(shares, "answers", xname="class", xnames=named, yname="share", percent="y"),
            Region.of(classes, "classes", xname="accuracy", yname="class", ynames=rows, percent="x"),
            Region.of(means, "accuracy", xname="accuracy", yname="classes", ynames=ROWS, percent="x"),
        ]

    def marks(self, result: Decision) -> list[Point]:
        called = self.called
        points = [
            Point(j, i, f"true {called[i]}, answered {called[j]}: {n:,} of {of:,}", MATRIX)
            for i, j, n, of in self.panels.counted()
        ]
        for j, (answered, occurs) in enumerate(zip(*self.panels.shares, strict=True)):
            told = f"{called[j]}: {as_percent(answered)} of answers, {as_percent(occurs)} of images"
            points.append(Point(j, min(answered, self.panels.top), told, SHARES))
        if self.run.k <= BINNED:
            pairs = zip(self.before.per_class[self.rank], result.per_class[self.rank], strict=True)
            points += self._compared(CLASSES, self.names, self.panels.place, pairs)
        return points + self._compared(MEANS, ROWS, range(len(ROWS)), zip(*self._means(result), strict=True))

    @staticmethod
    def _compared(region: int, names: Iterable[str], at: Iterable[float], pairs: Iterable[Any]) -> list[Point]:
        rows = zip(names, at, pairs, strict=True)
        return [
            Point(new, y, f"{name}: {as_percent(new)} (as trained {as_percent(old)})", region)
            for name, y, (old, new) in rows
        ]

    def _clicked(self, event: Click) -> None:
        if event.region == MATRIX:
            last = len(self.called) - 1
            self.cells.look(*(min(max(round(one), 0), last) for one in (event.y, event.x)))

    @property
    def cell(self) -> Cell | None:
        """The cell that was chosen last, as it is now; None before that."""
        return self.cells.now()

    def choose(self, true: int, answered: int) -> Cell:
        """Choose the cell of these two classes, as a click does, and return it. ValueError for what is no class."""
        found = (check.whole("true", true, 0, self.run.k - 1), check.whole("answered", answered, 0, self.run.k - 1))
        self.cells.look(*(int(np.flatnonzero(self.rank == one)[0]) // self.panels.size for one in found))
        return self.cell

    def on_cell(self, callback: Callable[[Cell], None], remove: bool = False) -> None:
        """Call this with a `Cell` whenever one is chosen; remove: no longer."""
        if not callable(callback):
            raise check.refuse("callback", callback, "a function of one Cell")
        told = self.cells.told
        told[:] = [one for one in told if one != callback] + ([] if check.flag("remove", remove) else [callback])

    def drawn(self, result: Decision) -> None:
        self.cells.show()

    # ------------------------------------------------------------------------------------------------- as code
    def data_code(self) -> list[str]:
        code = [name_of(self.run) or "run"]
        code += [] if self.data is None else [f"data={name_of(self.data) or 'data'}"]
        return code + ([] if self.first == "prior" else [f"first={self.first!r}"])

    @classmethod
    def from_state(cls, state: Mapping[str, Any], *data: Any) -> Posthoc:
        """The explorer of this state, of a run and, if wanted, its data. ValueError for a name it does not have."""
        check.instance("state", state, Mapping, STATE_OF)
        return super().from_state({**state, "data": data[1]} if len(data) > 1 else state, *data[:1])


def _room(counts: np.ndarray, names: list[str]) -> tuple[float, float]:
    """What the names of classes, and what is written beside them, take at the left and at the bottom of the picture."""
    if len(names) > WRITTEN:
        return 0.055 + 0.009 * len(f"{len(names):,} ({counts[0]:,.0f})"), 0.11
    first = short_names(names, NAME)
    longest = max(width(f"{one} ({count:,.0f})") for one, count in zip(first, counts, strict=True))
    slanted = max(map(width, first))
    return 0.055 + 0.009 * longest, 0.11 + (0.0065 * slanted if slanted > 3 else 0.0)


def _picture(data: LongTailed, numbers: np.ndarray) -> tuple[str, int]:
    """These test images in rows, as PNG in base64, and its width in CSS pixels."""
    images = check.to_array(data.test_images[numbers.tolist()])
    columns = min(len(images), COLUMNS)
    where = [divmod(i, columns) for i in range(len(images))]
    made = Image.fromarray(mosaic(images, where, where[-1][0] + 1, columns))
    buffer = io.BytesIO()
    made.save(buffer, "png")
    return base64.b64encode(buffer.getvalue()).decode("ascii"), made.width * max(1, round(SIDE / images.shape[1]))


def _checked(run: Any) -> Run:
    """A run that kept what the rules need: finite logits, features and classifier. ValueError for any other."""
    check.instance("run", run, Run, "a run: what ltviz.train returns, or a full record that load_run reads")
    if run.logits is None or run.features is None or run.targets is None:
        raise ValueError(
            f"this record of {run.name!r} keeps no logits and features of test images. Train it here, or load a full "
            "record (run.save(path) keeps everything; run.save(path, small=True) does not)."
        )
    for name in ("logits", "features", "head_weight"):
        rows = getattr(run, name)
        wrong = int((~np.isfinite(rows)).any(1).sum())
        if wrong:
            raise ValueError(
                f"run={run.name!r}: its {name} hold NaN or infinity in {wrong:,} of {len(rows):,} rows, from which "
                "nothing can be decided. It diverged, or features beyond 65,504 were kept in float16: train it again."
            )
    return run


def _matching(data: Any, run: Run) -> LongTailed | None:
    """The data that the run was tested on, or None. ValueError for any other."""
    if data is None:
        return None
    check.instance("data", data, LongTailed, "None, or the data set that the run was tested on")
    tested = check.to_array(data.test_targets)[: len(run.targets)]
    same = run.data.get("fingerprint", data.fingerprint) == data.fingerprint  # other images may have the same classes
    if not same or list(data.class_names) != list(run.class_names) or not np.array_equal(tested, run.targets):
        raise ValueError(
            f"data={data.name!r}: its classes or its test images are not those of the run {run.name!r}; pass the data "
            "set that it was trained on, made with the same arguments (run.data has them)"
        )
    return data


def posthoc(
    run: Run,
    tau: float = 0.0,
    bias: str = "keep",
    prior: float = 0.0,
    *,
    deployment: float = 0.0,
    data: LongTailed | None = None,
    first: str = "prior",
    **others: Any,
) -> Posthoc:
    """Slide tau-normalisation, logit adjustment, and other post-hoc rules of METHODS over a trained network.

    run: one that keeps features and logits of its test images (from lt.train, or a full record); nothing is trained.
    tau in [0, 2]: rows of the classifier divided by their length to this power; bias "keep" or "drop"; prior in [0, 3]:
    how much of the log prior is subtracted from the logits. A cosine head has no tau and no bias. others: the settings
    of further rules that METHODS has, where their limits say under which settings they are plain cross-entropy.

    deployment in [-1, 1]: how often classes occur where the network is used, as their training images to this power
    (0: all alike, 1: as in training); the accuracy there is sum_i pi_i a_i. A network whose softmax is calibrated for
    its training set does best there with prior = 1 - deployment (Menon et al. 2021, with that prior in the place of the
    balanced one). data: the data set of the run, to see the test images in a cell of the matrix that is clicked.
    first: the control that stays in sight; the others are under "More".
    """
    return Posthoc(run, tau, bias, prior, deployment=deployment, data=data, first=first, **others)
