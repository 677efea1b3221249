"""Explorer: re-decide a trained network without training, from its stored features, classifier and logits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from matplotlib.collections import LineCollection

from .. import check, metrics
from ..methods import METHODS
from ..objective import Output
from ..plots.picture import FAINT, GROUP_COLOURS, GROUP_MARKERS, INK, QUIET, as_percent, class_axis, percent
from ..plots.surface import Surface
from ..run import Run
from .base import Explorer
from .controls import control
from .notebook import name_of

TAU_NORM, PRIOR = METHODS["tau_norm"], METHODS["logit_adjusted"]
GROUPS = ("all", "head", "mid", "tail")


@dataclass(frozen=True)
class Decision:
    """Accuracy of each class (k,) and mean over each group (4,), after the rules."""

    per_class: np.ndarray
    groups: np.ndarray
    words: str


ROOM = 0.09  # accuracy that a label takes


class Posthoc(Explorer):
    """Accuracy of each class as tau-normalisation and logit adjustment change the decision (not the network)."""

    function = "posthoc"
    title = "Re-deciding, without training"
    size = (7.6, 3.9)

    def __init__(self, run: Run, tau: float = 0.0, bias: str = "keep", prior: float = 0.0):
        self.run = _checked(run)
        self.order = np.argsort(-run.counts, kind="stable")
        self.counts = torch.from_numpy(run.counts)
        self.out = Output(
            torch.from_numpy(run.logits), torch.from_numpy(run.features.astype(np.float32)),
            torch.from_numpy(run.head_weight), run.scale,
        )  # fmt: skip
        self.masks = {"all": np.ones(run.k, bool)} | metrics.third_groups(run.counts)
        self.before = self._score(self.out.logits, "as trained")
        controls = {"prior": control("prior", replace(PRIOR.settings["tau"], default=0.0), prior)}
        if run.scale is None:  # the rows of a cosine head have no length that counts
            tau_setting = replace(TAU_NORM.settings["tau"], default=0.0, symbol="(rows)")
            bias_setting = replace(TAU_NORM.settings["bias"], default="keep")
            controls = {
                "tau": control("tau", tau_setting, tau),
                "bias": control("bias", bias_setting, bias),
                **controls,
            }
        elif tau != 0.0 or bias != "keep":
            raise ValueError(
                f"tau={tau!r}, bias={bias!r}: {run.name!r} has a cosine head, which has neither; leave them out"
            )
        super().__init__(controls)

    def build(self, surface: Surface) -> None:
        grid = surface.figure.add_gridspec(
            1, 2, left=0.075, right=0.985, bottom=0.275, top=0.875, wspace=0.16, width_ratios=(2.1, 1)
        )
        left, right = (surface.figure.add_subplot(grid[0, i]) for i in range(2))
        counts = self.run.counts[self.order]
        k = len(counts)
        names = [self.run.class_names[j] for j in self.order]
        left.set_title("Accuracy of each class", pad=16)
        left.set_ylim(-0.03, 1.08)
        percent(left.yaxis)
        class_axis(left, counts, names)
        x = np.arange(k)
        left.plot(
            x,
            self.before.per_class[self.order],
            ls="",
            marker="_",
            ms=min(16, 260 / k + 3),
            mew=2,
            color=QUIET,
            label="as trained",
            zorder=2,
        )
        self.moves = LineCollection([], colors=FAINT, linewidths=2.5 if k < 30 else 1.2, zorder=1.5)
        left.add_collection(self.moves)
        ranked = {name: mask[self.order] for name, mask in self.masks.items() if name != "all" and mask.any()}
        self.points = {
            name: (np.flatnonzero(mask), left.plot([], [], ls="", marker=GROUP_MARKERS[name], color=GROUP_COLOURS[name],
                   ms=7 if k < 30 else 4, markeredgecolor="white", markeredgewidth=0.5, zorder=3)[0])
            for name, mask in ranked.items()
        }  # fmt: skip

        right.set_title("Mean", pad=16)
        right.set(ylim=(0, 1.08), xlim=(-0.6, 3.6))
        right.set_xticks(range(4), GROUPS)
        percent(right.yaxis)
        colours = [INK, *(GROUP_COLOURS[name] for name in GROUPS[1:])]
        self.bars = right.bar(range(4), np.zeros(4), width=0.62, color=colours, alpha=0.9, zorder=2)
        for i, value in enumerate(self.before.groups):
            right.plot(
                [i - 0.38, i + 0.38],
                [value, value],
                color=QUIET,
                lw=2,
                zorder=3,
                solid_capstyle="butt",
                label="as trained" if i == 0 else None,
            )
        right.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), handlelength=1.4)
        self.labels = [
            right.text(i, 0, "", ha="center", va="bottom", fontsize=8.5, color=INK, zorder=4) for i in range(4)
        ]
        surface.animate(self.moves, *(point for _, point in self.points.values()), *self.bars, *self.labels)

    def compute(self, prior: float, tau: float = 0.0, bias: str = "keep") -> Decision:
        out, words = self.out, []
        with torch.no_grad():
            if (tau, bias) != (0.0, "keep"):
                logits = TAU_NORM.posthoc(out, self.counts, self.run.gallery, tau=tau, bias=bias)
                out = replace(out, logits=logits)
                kept = "kept" if bias == "keep" else "dropped"
                words.append(f"rows divided by their length to the power {tau:g}, bias {kept}")
            if prior:
                out = replace(out, logits=PRIOR.posthoc(out, self.counts, self.run.gallery, tau=prior))
                words.append(f"{prior:g} times the log prior subtracted")
        return self._score(out.logits, ", ".join(words) or "as trained")

    def _score(self, logits: torch.Tensor, words: str) -> Decision:
        per_class = metrics.per_class(self.run.targets, logits.argmax(1).numpy(), self.run.k)
        groups = [np.nanmean(per_class[self.masks[name]]) if self.masks[name].any() else np.nan for name in GROUPS]
        return Decision(per_class, np.array(groups), words)

    def draw(self, result: Decision) -> None:
        before, now = self.before.per_class[self.order], result.per_class[self.order]
        x = np.arange(len(now))
        self.moves.set_segments(np.stack([np.column_stack([x, before]), np.column_stack([x, now])], 1))
        for at, point in self.points.values():
            point.set_data(at, now[at])
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


def posthoc(run: Run, tau: float = 0.0, bias: str = "keep", prior: float = 0.0) -> Posthoc:
    """Slide tau-normalisation and logit adjustment over a trained network; nothing is trained.

    run: one that keeps features and logits of its test images (from lt.train, or a full record). tau in [0, 2]: rows of
    the classifier divided by their length to this power; bias "keep" or "drop"; prior in [0, 3]: how much of the log
    prior is subtracted from the logits. A cosine head has no tau and no bias.
    """
    return Posthoc(run, tau, bias, prior)
