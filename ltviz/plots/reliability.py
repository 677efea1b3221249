"""Is the network right as often as it says?"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from .. import check, metrics
from .picture import REFERENCE, Picture, draws, finish, get_axes, look, percent
from .series import series_of, test_scores
from .text import distinct


@draws
def plot_reliability(runs: Any, *, bins: int = 15, ax: Axes | None = None) -> Picture:
    """Accuracy against confidence of test images, in bins; a point's size is the share of images in its bin.

    runs: a run that kept its test logits, runs, or a dict label -> runs (each run is one curve: bins of seeds do not
    average). Dotted: calibrated, accuracy equals confidence. The label carries the expected calibration error
    (Guo et al. 2017, eq. (5)). `.data`: labels, ece, confidence, accuracy, share, each (curves, bins).

    Shows over-confidence (below the line). Cannot show whether tail classes alone are over-confident.
    """
    bins, found = check.whole("bins", bins, 1, 1000), series_of(runs)
    for one in found:
        for run in one.runs:
            test_scores(run, one.shown)
    (ax,) = get_axes(ax, 5.2, 4.6)
    ax.plot([0, 1], [0, 1], label="calibrated", **REFERENCE)
    runs = [(one, run) for one in found for run in one.runs]
    labels = distinct([one.shown + (f" seed {run.seed}" if len(one.runs) > 1 else "") for one, run in runs])
    kept: dict[str, list[Any]] = {"labels": [], "ece": [], "confidence": [], "accuracy": [], "share": []}
    for i, (name, (_, run)) in enumerate(zip(labels, runs, strict=True)):
        binned = metrics.reliability(run, bins=bins)
        error = binned.error
        kind, some = look(i), binned.share > 0
        at = binned.confidence[some], binned.accuracy[some]
        ax.plot(*at, linewidth=1.5, markersize=4, label=f"{name} (ECE {100 * error:.1f}%)", **kind)
        shape = {"color": kind["color"], "marker": kind["marker"], "alpha": 0.35, "linewidth": 0}
        ax.scatter(*at, s=20 + 500 * binned.share[some], **shape)
        for key, value in {"labels": name, "ece": error, **binned._asdict()}.items():
            kept[key].append(value)
    ax.set(xlim=(0, 1.03), ylim=(-0.03, 1.05))
    ax.set(xlabel="confidence (probability of the predicted class)", ylabel="accuracy")
    ax.grid(True, axis="both")
    percent(ax.xaxis)
    percent(ax.yaxis)
    finish(ax, "Reliability")
    gaps = [
        float(np.nansum(np.array(s) * (np.nan_to_num(c) - np.nan_to_num(a))))
        for s, c, a in zip(kept["share"], kept["confidence"], kept["accuracy"], strict=True)
    ]
    said = [
        f"{name}: calibration error {100 * error:.1f}%, confidence is {100 * abs(gap):.1f} points "
        f"{'above' if gap >= 0 else 'below'} accuracy in the mean"
        for name, error, gap in zip(kept["labels"], kept["ece"], gaps, strict=True)
    ]
    return Picture(ax, kept, "; ".join(said) + ".")
