"""Explorer: re-decide a trained network without training, from its stored features, classifier and logits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from .. import check, metrics
from ..methods import METHODS
from ..objective import Method, Output
from ..plots.classes import NAMED, GroupPoints, class_axis
from ..plots.picture import FAINT, INK, MANY, QUIET, as_percent, group_look, percent
from ..plots.series import by_count
from ..plots.surface import Surface
from ..run import Run
from .base import Explorer
from .controls import control
from .notebook import name_of

GROUPS = ("all", "head", "mid", "tail")
NAMES = {("logit_adjusted", "tau"): "prior"}  # of controls, where two papers use one letter
ROOM = 0.09  # accuracy that a label takes


@dataclass(frozen=True)
class Rule:
    """A post-hoc rule, the settings under which it changes nothing, and the control that each setting has."""

    method: Method
    neutral: dict[str, Any]
    names: dict[str, str]

    def asked(self, values: dict[str, Any]) -> dict[str, Any]:
        """Its settings, from the values of the controls."""
        return {setting: values[name] for setting, name in self.names.items()}

    def words(self, settings: dict[str, Any]) -> str:
        written = {name: f"{value:g}" if isinstance(value, float) else value for name, value in settings.items()}
        told = (f"{self.method.settings[name].symbol or name} = {value}" for name, value in written.items())
        return f"{self.method.title[:1].lower()}{self.method.title[1:]} ({', '.join(told)})"


@dataclass(frozen=True)
class Decision:
    """Accuracy of each class (k,) and mean over each group (4,), after the rules."""

    per_class: np.ndarray
    groups: np.ndarray
    words: str


class Posthoc(Explorer):
    """Accuracy of each class as the post-hoc rules of METHODS change the decision (not the network).

    A rule can be slid where it says under which settings it is plain cross-entropy: there it starts.
    """

    function = "posthoc"
    title = "Re-deciding, without training"
    size = (7.6, 3.9)

    def __init__(self, run: Run, tau: float = 0.0, bias: str = "keep", prior: float = 0.0, **others: Any):
        self.run = _checked(run)
        self.order = by_count(run.counts)
        self.counts = torch.from_numpy(run.counts)
        self.out = Output(
            torch.from_numpy(run.logits), torch.from_numpy(run.features.astype(np.float32)),
            torch.from_numpy(run.head_weight), run.scale,
        )  # fmt: skip
        self.masks = {"all": np.ones(run.k, bool)} | metrics.third_groups(run.counts)
        self.before = self._score(self.out.logits, "as trained")
        self.rules = list(self._find_rules())
        given, start = {"tau": tau, "bias": bias, "prior": prior, **others}, {"tau": 0.0, "bias": "keep", "prior": 0.0}
        controls = {}
        for rule in self.rules:
            for setting, name in rule.names.items():
                declared = replace(rule.method.settings[setting], default=rule.neutral[setting], symbol="")
                controls[name] = control(name, declared, given.pop(name, rule.neutral[setting]))
        for name, value in given.items():
            if name not in start:
                known = ", ".join(controls)
                raise ValueError(f"no control {name!r}{check.suggest(name, controls)}; there are: {known}")
            if value != start[name]:
                raise ValueError(
                    f"{name}={value!r}: {run.name!r} has a cosine head, which has neither tau nor bias; leave it out"
                )
        super().__init__(controls)

    def _find_rules(self) -> Iterator[Rule]:
        """Rules that decide from the features first, then those that go on from the logits."""
        found = []
        for method in METHODS.values():
            neutral = next((dict(limit.settings) for limit in method.limits if limit.other == "ce"), None)
            if method.posthoc is None or neutral is None:
                continue
            if self.run.scale is not None and self._reads("head_weight", method, neutral):
                continue  # the rows of a cosine head have no length that counts
            found.append((method, {**method().settings, **neutral}))
        taken: set[str] = set()
        for method, neutral in sorted(found, key=lambda pair: not self._reads("features", *pair)):
            names = {}
            for setting in method.settings:
                name = NAMES.get((method.key, setting), setting)
                names[setting] = f"{method.key}_{name}" if name in taken else name
                taken.add(names[setting])
            yield Rule(method, neutral, names)

    def _reads(self, part: str, method: Method, settings: dict[str, Any]) -> bool:
        """Whether a rule needs this part of what the network gave."""
        try:
            method(**settings).decide(replace(self.out, **{part: None}), self.counts, self.run.gallery)
        except Exception:  # whatever a rule says of None
            return True
        return False

    def build(self, surface: Surface) -> None:
        bottom = 0.275 if self.run.k <= NAMED else 0.15  # names of classes may be slanted
        grid = surface.figure.add_gridspec(
            1, 2, left=0.075, right=0.985, bottom=bottom, top=0.875, wspace=0.16, width_ratios=(2.1, 1)
        )
        left, right = (surface.figure.add_subplot(grid[0, i]) for i in range(2))
        self._build_classes(left)
        self._build_means(right)
        surface.animate(self.moves, *self.points.artists, *self.bars, *self.labels)

    def _build_classes(self, ax: Axes) -> None:
        """Accuracy of each class: a dash before, a point now."""
        counts = self.run.counts[self.order]
        k = len(counts)
        ax.set_title("Accuracy of each class", pad=16)
        ax.set_ylim(-0.03, 1.08)
        percent(ax.yaxis)
        class_axis(ax, counts, [self.run.class_names[j] for j in self.order])
        dash = {"linestyle": "", "marker": "_", "markersize": min(16, 260 / k + 3), "markeredgewidth": 2}
        ax.plot(np.arange(k), self.before.per_class[self.order], color=QUIET, zorder=2, **dash)
        self.moves = LineCollection([], colors=FAINT, linewidths=2.5 if k <= MANY else 1.2, zorder=1.5)
        ax.add_collection(self.moves)
        self.points = GroupPoints(ax, counts, 7 if k <= MANY else 4)

    def _build_means(self, ax: Axes) -> None:
        """Mean accuracy of each group: a bar now, a dash before."""
        ax.set_title("Mean", pad=16)
        ax.set(ylim=(0, 1.08), xlim=(-0.6, 3.6))
        ax.set_xticks(range(4), GROUPS)
        percent(ax.yaxis)
        colours = [group_look(name)["color"] for name in GROUPS]
        self.bars = ax.bar(range(4), np.zeros(4), width=0.62, color=colours, alpha=0.9, zorder=2)
        at = np.arange(4)
        dashes = ax.hlines(self.before.groups, at - 0.38, at + 0.38, color=QUIET, linewidth=2, zorder=3)
        dashes.set_label("as trained")
        ax.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), handlelength=1.4)
        text = {"ha": "center", "va": "bottom", "fontsize": 8.5, "color": INK, "zorder": 4}
        self.labels = [ax.text(i, 0, "", **text) for i in at]

    def compute(self, **values: Any) -> Decision:
        out, words = self.out, []
        for rule in self.rules:
            settings = rule.asked(values)
            if settings != rule.neutral:
                with torch.no_grad():
                    logits = rule.method(**settings).decide(out, self.counts, self.run.gallery)
                out = replace(out, logits=logits)
                words.append(rule.words(settings))
        return self._score(out.logits, ", ".join(words) or "as trained")

    def _score(self, logits: torch.Tensor, words: str) -> Decision:
        per_class = metrics.per_class(self.run.targets, logits.argmax(1).numpy(), self.run.k)
        groups = [np.nanmean(per_class[self.masks[name]]) if self.masks[name].any() else np.nan for name in GROUPS]
        return Decision(per_class, np.array(groups), words)

    def draw(self, result: Decision) -> None:
        before, now = self.before.per_class[self.order], result.per_class[self.order]
        x = np.arange(len(now))
        self.moves.set_segments(np.stack([np.column_stack([x, before]), np.column_stack([x, now])], 1))
        self.points.update(x, now)
        for bar, text, value, old in zip(self.bars, self.labels, result.groups, self.before.groups, strict=True):
            height = 0.0 if np.isnan(value) else float(value)
            bar.set_height(height)
            text.set_text("none" if np.isnan(value) else f"{100 * value:.0f}%")
            # On its bar; above the dash where there is no room between the two.
            room = np.isnan(old) or old - height > ROOM
            text.set_y((height if room else max(height, float(old))) + 0.015)

    def say(self, result: Decision) -> str:
        told = [
            f"{name} {as_percent(old)} → {as_percent(new)}"
            for name, old, new in zip(GROUPS, self.before.groups, result.groups, strict=True)
        ]
        own = "" if self.run.scores is None else ", its own rule put aside"
        kept, tested = len(self.run.targets), int(self.run.confusion.sum())
        of = f" of the {kept:,} test images it kept" if kept < tested else ""
        return f"{self.run.name}{own}, {result.words}: accuracy{of} {', '.join(told)}."

    def data_code(self) -> list[str]:
        return [name_of(self.run) or "run"]


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


def posthoc(run: Run, tau: float = 0.0, bias: str = "keep", prior: float = 0.0, **others: Any) -> Posthoc:
    """Slide tau-normalisation, logit adjustment, and other post-hoc rules of METHODS over a trained network.

    run: one that keeps features and logits of its test images (from lt.train, or a full record); nothing is trained.
    tau in [0, 2]: rows of the classifier divided by their length to this power; bias "keep" or "drop"; prior in [0, 3]:
    how much of the log prior is subtracted from the logits. A cosine head has no tau and no bias. others: the settings
    of further rules that METHODS has, where their limits say under which settings they are plain cross-entropy.
    """
    return Posthoc(run, tau, bias, prior, **others)
