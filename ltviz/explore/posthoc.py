"""Explorer: re-decide a trained network without training, from its stored features, classifier and logits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from .. import check, metrics
from ..datasets import LongTailed
from ..objective import Setting
from ..plots.classes import no_groups
from ..plots.confusion import NAME, WRITTEN, AccuracyPanels, ConfusionPanels
from ..plots.photo_row import PhotoRow
from ..plots.picture import BINNED, PALETTE, as_percent, group_look
from ..plots.series import by_count
from ..plots.surface import Surface
from ..plots.text import short, short_names, width
from ..run import Run
from .base import STATE_OF, Explorer
from .cells import Cell, Cells, images_of
from .controls import Control, control
from .decide import GROUPS, Decision, Rules
from .frames import Frame, Point, Region
from .notebook import name_of
from .screen import Click

ROWS = (*GROUPS, "deployed")
START = {"tau": 0.0, "bias": "keep", "prior": 0.0}
WORDS = {"tau": "τ-norm"}  # what stands beside the slider, as the letter is that of `prior` too
OWN = ("deployment", "data", "first")  # names that no setting of a rule may have
DEPLOYMENT = Setting(
    0.0, -1.0, 1.0,
    meaning="how often classes occur where the network is used: as their training images to this power. 0: all alike, "
    "1: as in training, -1: the rarest most often",
)  # fmt: skip
MATRIX, SHARES, CLASSES, MEANS, PHOTOS = range(5)  # the regions of the picture; the last with photographs alone
VALUES = 1.04  # where the accuracies of groups are written, on an axis from 0 to 1
STRIP, PLACES = 1.5, 8  # of the photographs whose answer turns: inches high, and how many there is room for


class Posthoc(Explorer):
    """Confusion matrix and accuracies as the post-hoc rules of METHODS change the decision (not the network).

    A rule can be slid where it says under which settings it is plain cross-entropy: there it starts. `cell` is the
    `Cell` that a reader has clicked last, or None; `choose(true, answered)` does the same from code, and callbacks of
    `on_cell` get it.
    """

    function = "posthoc"
    title = "Re-deciding, without training"
    size = (7.6, 5.6)

    def __init__(
        self,
        run: Run,
        tau: float = 0.0,
        bias: str = "keep",
        prior: float = 0.0,
        *,
        deployment: float = 0.0,
        data: LongTailed | None = None,
        images: Any = None,
        first: str = "prior",
        **others: Any,
    ):
        self.run, self.data, self.first = _checked(run), _matching(data, run), first
        self.images, self.given_images = images_of(images, run), images
        self.rank = by_count(run.counts)
        self.rules = Rules(run, OWN)
        given = {**START, "tau": tau, "bias": bias, "prior": prior, **others}
        controls = self._make_controls(given) | {"deployment": control("deployment", DEPLOYMENT, deployment)}
        check.choice("first", first, controls)
        self.rules.taus = np.array(controls["prior"].sweep().values if "prior" in controls else [])
        self.before = self.rules.decide(self.rules.neutral)
        self.turning = self.rules.turning(0 if self.images is None else len(self.images), PLACES)
        if len(self.turning):
            self.size = (self.size[0], self.size[1] + STRIP)
        pictures = self.images if self.data is None or not self.data.has_pictures else self.data.test_images
        self.cells = Cells(self._cell, lambda: self.called, self.guard, pictures)
        super().__init__({one: controls[one] for one in (first, "deployment", *controls)}, below=(self.cells.widget,))
        self.screen.on_click(self._clicked)

    def _make_controls(self, given: dict[str, Any]) -> dict[str, Control]:
        controls = {}
        for rule in self.rules.rules:
            for setting, name in rule.names.items():
                symbol = rule.method.settings[setting].symbol if name != setting else ""  # where it has another name
                declared = replace(rule.method.settings[setting], default=rule.neutral[setting], symbol=symbol)
                controls[name] = control(name, declared, given.pop(name, rule.neutral[setting]))
                if name in WORDS:
                    controls[name].box.description = WORDS[name]
        for name, value in given.items():
            if name not in START:
                known = ", ".join([*controls, "deployment"])
                raise ValueError(f"no control {name!r}{check.suggest(name, controls)}; there are: {known}")
            if value != START[name]:
                why = self.rules.no_lengths or _no_lengths(self.run)
                raise ValueError(f"{name}={value!r}: {why}; leave it out")
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
        part = Posthoc.size[1] / self.size[1]  # of the height; the photographs have the rest
        grid = surface.figure.add_gridspec(
            2, 2, left=left, right=0.98, bottom=1 - (1 - bottom) * part, top=1 - 0.055 * part,
            wspace=0.055, hspace=0.05, width_ratios=(1.55, 1), height_ratios=(1.25, 4.1),
        )  # fmt: skip
        shares, matrix, classes = (surface.figure.add_subplot(grid[place]) for place in ((0, 0), (1, 0), (1, 1)))
        place = grid[0, 1].get_position(surface.figure)
        means = surface.figure.add_axes((place.x0 + 0.085, place.y0 + 0.02, place.width - 0.145, place.height - 0.02))
        self.axes = matrix, shares, classes, means
        room = [one[self.rank] for one in self.rules.extremes(self.before)]
        self.panels = ConfusionPanels(shares, matrix, counts, names, room)
        colours = [*(group_look(name)["color"] for name in GROUPS), PALETTE[3]]
        before = self.before.per_class[self.rank]
        self.accuracies = _Accuracies(classes, means, self.panels, counts, before, ROWS, colours)
        self.names = [short(one, 40) for one in names]
        self.called = [self._call(self.panels.members(i)) for i in range(len(self.panels.starts))]
        self._title()
        surface.animate(*self.panels.artists, *self.accuracies.artists, self.accuracies.last, self.shares_title)
        if len(self.turning):
            self._build_photos(surface)

    def _build_photos(self, surface: Surface) -> None:
        """Below the matrix: photographs whose answer turns, framed by whether it is right."""
        height = self.size[1]
        ax = surface.figure.add_axes((0.012, 0.01, 0.976, (STRIP - 0.28) / height))
        chosen = self.turning
        self.row = PhotoRow(ax, self.images[chosen], self.run.targets[chosen], self.run.class_names, PLACES)
        what = "Test photographs that τ = 1 turns right or wrong (true class above, answer below)"
        ax.set_title(what, loc="left", fontsize=9.5, pad=5)
        self.axes = *self.axes, ax
        surface.animate(*self.row.artists)

    def _title(self) -> None:
        matrix, shares, classes, means = self.axes
        title = {"loc": "left", "fontsize": 9.5, "pad": 4}
        self.shares_title = shares.set_title("", **title)
        means.set_title("Accuracy (dash: as trained)", **{**title, "loc": "center"})
        what, size = ("class" if self.panels.written else "rank of the class"), self.panels.size
        cells = " (cells: % of the true class)" if self.panels.written else f" (cells: {size} x {size} ranks)"
        matrix.set_xlabel(f"answered {what}{cells if size > 1 or self.panels.written else ''}")
        matrix.set_ylabel(f"true {what} (training images)")
        classes.set_xlabel("accuracy of the class")

    def draw(self, result: Decision) -> None:
        matrix = result.confusion[np.ix_(self.rank, self.rank)]
        self.panels.update(matrix, result.answered[self.rank], result.occurs[self.rank])
        self.accuracies.update(result.per_class[self.rank], *self._means(result), self._deploys(result))
        where = " at deployment" if result.power else ", all classes alike"  # whatever their shares of the test set
        self.shares_title.set_text(f"Answers{where} (dotted: images)")
        if len(self.turning):
            self.row.update(self._answers(result))

    def _deploys(self, result: Decision) -> bool:
        """Whether the prior at deployment is what the reader looks at."""
        return self.first == "deployment" or result.power != 0

    def _answers(self, result: Decision) -> np.ndarray:
        """The answers for the photographs in the row."""
        return self.rules.in_order(result.decided)[self.turning]

    def _framed(self, result: Decision) -> Frame:
        frame = super()._framed(result)
        return replace(frame, photos=self.row.boxes()) if len(self.turning) else frame

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
            if self.rules.masks[name].any()
        ]
        own = "" if self.run.scores is None else ", its own rule put aside"
        kept, tested = len(self.run.targets), int(self.run.confusion.sum())
        of = f" of the {kept:,} images it kept" if kept < tested else ""
        said = f"{self.run.name}{own}, {result.words}. Accuracy{of}: {', '.join(told)}.{no_groups(self.run.counts)}"
        if len(self.turning):
            n = len(self.images)
            before, now = (
                int((self.rules.in_order(one.decided)[:n] == self.run.targets[:n]).sum())
                for one in (self.before, result)
            )
            said += f" Of the {n} photographs {now} are right ({before} as trained)."
        return f"{said} {_deployed(result)}" if self._deploys(result) else said

    # ------------------------------------------------------------------------------------------------- pointing
    def _call(self, ranks: np.ndarray) -> str:
        """What a row or a column stands for."""
        return self.names[ranks[0]] if len(ranks) == 1 else f"ranks {ranks[0] + 1:,}–{ranks[-1] + 1:,}"

    def regions(self) -> list[Region]:
        matrix, shares, classes, means, *photos = self.axes
        named, cells = tuple(self.called), "confusion matrix"
        rows = named if self.panels.size == 1 else ()
        found = [
            Region.of(matrix, cells, xname="answered", yname="true", xnames=named, ynames=named, cells=True),
            Region.of(shares, "answers", xname="class", xnames=named, yname="share", percent="y"),
            Region.of(classes, "classes", xname="accuracy", yname="class", ynames=rows, percent="x"),
            Region.of(means, "accuracy", xname="accuracy", yname="classes", ynames=ROWS, percent="x"),
        ]
        return found + [Region.of(ax, "photographs", xname="photograph", yname="", cells=True) for ax in photos]

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
            points += _compared(CLASSES, self.names, self.panels.place, pairs)
        if len(self.turning):
            points += _photo_marks(self.run, self.turning, self._answers(self.before), self._answers(result))
        means = _compared(MEANS, ROWS, range(len(ROWS)), zip(*self._means(result), strict=True))
        return points + (means if self._deploys(result) else means[:-1])

    def _clicked(self, event: Click) -> None:
        if event.region == MATRIX:
            last = len(self.called) - 1
            self.cells.look(*(min(max(round(one), 0), last) for one in (event.y, event.x)))

    def _cell(self, row: int, column: int) -> Cell | None:
        """What lies in a row and a column of the matrix now."""
        if self.result is None:
            return None
        true, answered = (self.rank[self.panels.members(one)] for one in (row, column))
        inside = np.isin(self.rules.targets, true)
        images = self.rules.numbers[inside & np.isin(self.result.decided, answered)]
        return Cell(tuple(map(int, true)), tuple(map(int, answered)), np.sort(images), int(inside.sum()))

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

    def reset(self) -> None:
        self.cells.leave()
        super().reset()

    def drawn(self, result: Decision) -> None:
        self.cells.show()

    # ------------------------------------------------------------------------------------------------- as code
    def data_code(self) -> list[str]:
        code = [name_of(self.run) or "run"]
        code += [] if self.data is None else [f"data={name_of(self.data) or 'data'}"]
        code += [] if self.images is None else [f"images={name_of(self.given_images) or 'images'}"]
        return code + ([] if self.first == "prior" else [f"first={self.first!r}"])

    @classmethod
    def from_state(cls, state: Mapping[str, Any], *data: Any) -> Posthoc:
        """The explorer of this state, of a run and, if wanted, its data or images (or both, in this order).

        ValueError for a name it does not have.
        """
        check.instance("state", state, Mapping, STATE_OF)
        more = {"data" if isinstance(one, LongTailed) else "images": one for one in data[1:] if one is not None}
        return super().from_state({**state, **more}, *data[:1])


def _photo_marks(run: Run, numbers: np.ndarray, before: np.ndarray, now: np.ndarray) -> list[Point]:
    """What is said of test images of these numbers (n,), from their answers (n,) as trained and now."""
    names, told = run.class_names, []
    for i, (number, was, answer) in enumerate(zip(numbers, before, now, strict=True)):
        true = run.targets[number]
        said = f"test image {number}, true {names[true]} ({run.counts[true]:,.0f} training images): "
        told.append(Point(i, 0, f"{said}answered {names[answer]} (as trained {names[was]})", PHOTOS))
    return told


class _Accuracies(AccuracyPanels):
    """The last row of the groups only where it is asked for; their accuracies in a column, away from the dashes."""

    def _build_groups(self, ax: Axes, names: Sequence[str], colours: Sequence[str]) -> None:
        super()._build_groups(ax, [*names[:-1], ""], colours)
        text = {"ha": "right", "va": "center", "fontsize": 8, "clip_on": False}
        self.last = ax.text(-0.03, len(names) - 1, names[-1], **text)

    def update(self, now: np.ndarray, old: np.ndarray, new: np.ndarray, whole: bool) -> None:
        shown = np.append(np.ones(len(old) - 1, bool), whole)
        super().update(now, *(np.where(shown, one, np.nan) for one in (old, new)))
        for text in self.labels:
            text.set_x(VALUES)
        for text in (self.last, self.labels[-1]):
            text.set_visible(whole)


def _room(counts: np.ndarray, names: list[str]) -> tuple[float, float]:
    """What the names of classes, and what is written beside them, take at the left and at the bottom of the picture."""
    if len(names) > WRITTEN:
        return 0.055 + 0.009 * len(f"{len(names):,} ({counts[0]:,.0f})"), 0.11
    first = short_names(names, NAME)
    longest = max(width(f"{one} ({count:,.0f})") for one, count in zip(first, counts, strict=True))
    slanted = max(map(width, first))
    return 0.055 + 0.009 * longest, 0.11 + (0.0065 * slanted if slanted > 3 else 0.0)


def _checked(run: Any) -> Run:
    """A run that kept what the rules need: finite logits, features if any, classifier. ValueError for any other."""
    check.instance("run", run, Run, "a run: what ltviz.train returns, or a full record that load_run reads")
    if run.logits is None or run.targets is None:
        raise ValueError(f"this record of {run.name!r} keeps no logits of test images; {check.remedy(run, 'logits')}")
    for name in ("logits", "features", "head_weight"):
        rows = getattr(run, name)
        if rows is None:  # fewer rules, then
            continue
        wrong = int((~np.isfinite(rows)).any(1).sum())
        if wrong:
            raise ValueError(
                f"run={run.name!r}: its {name} hold NaN or infinity in {wrong:,} of {len(rows):,} rows, from which "
                "nothing can be decided. It diverged, or features beyond 65,504 were kept in float16: train it again."
            )
    return run


def _no_lengths(run: Run) -> str:
    """Why nothing can be said of a run by tau and bias."""
    if run.features is None:
        lacks = check.remedy(run, "features")
        return f"this record of {run.name!r} keeps no features, from which tau and bias decide ({lacks})"
    if run.head_weight is None:
        lacks = check.remedy(run, "head_weight")
        return f"this record of {run.name!r} keeps no classifier vectors, which tau shortens ({lacks})"
    return f"{run.name!r} has a cosine head, which has neither tau nor bias"


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


def _deployed(result: Decision) -> str:
    """What is said of the prior at deployment, once it is what the reader looks at."""
    where = {0.0: "all classes occur equally often", 1.0: "classes occur as in training"}.get(
        result.power, f"class frequency is proportional to n^{result.power:g}, n being the training images"
    )
    said = f"Deployed where {where}: {as_percent(result.deployed)}"
    if result.best is None:
        return f"{said}."
    tau, accuracy = result.best
    return (
        f"{said}; logit adjustment alone would do best there with τ = {tau:g} ({as_percent(accuracy)}). Choosing τ "
        "on the images that judge it, as here, is a demonstration and not a protocol: choose it on validation images."
    )


def _compared(region: int, names: Iterable[str], at: Iterable[float], pairs: Iterable[Any]) -> list[Point]:
    rows = zip(names, at, pairs, strict=True)
    return [
        Point(new, y, f"{name}: {as_percent(new)} (as trained {as_percent(old)})", region)
        for name, y, (old, new) in rows
    ]


def posthoc(
    run: Run,
    tau: float = 0.0,
    bias: str = "keep",
    prior: float = 0.0,
    *,
    deployment: float = 0.0,
    data: LongTailed | None = None,
    images: Any = None,
    first: str = "prior",
    **others: Any,
) -> Posthoc:
    """Slide tau-normalisation, logit adjustment, and other post-hoc rules of METHODS over a trained network.

    run: one that keeps logits of its test images (from lt.train, or a full record); nothing is trained. Without their
    features, and with a cosine head, it has no tau and no bias. tau in [0, 2]: rows of the classifier divided by their
    length to this power; bias "keep" or "drop"; prior in [0, 3]: how much of the log prior is subtracted from the
    logits. others: the settings of further rules that METHODS has, where their limits say under which settings they
    are plain cross-entropy.

    deployment in [-1, 1]: how often classes occur where the network is used, as their training images to this power
    (0: all alike, 1: as in training); the accuracy there is sum_i pi_i a_i. A network whose softmax is calibrated for
    its training set does best there with prior = 1 - deployment (Menon et al. 2021, with that prior in the place of the
    balanced one). first: the control that stays in sight; the others are under "More".

    data: the data set of the run, to see the test images in a cell of the matrix that is clicked. images: pictures
    (m, H, W, 1 or 3) uint8 of its first m test images, or an object with such `images` and the `names` of their
    classes (lt.study.photographs()), for the same; below the matrix then stands a row of up to eight whose answer
    τ = 1 turns right or wrong, in green frames where it is right and in red, dashed ones where it is wrong.
    """
    return Posthoc(run, tau, bias, prior, deployment=deployment, data=data, images=images, first=first, **others)
