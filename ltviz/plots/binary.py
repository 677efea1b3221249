"""One class against the rest at every threshold: precision against recall, and what a decision costs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from .. import check, metrics
from .picture import DASHES, EDGE, REFERENCE, Picture, as_percent, draws, finish, get_axes, look, number, percent
from .series import class_counts, given_names, series_of, test_scores
from .text import distinct, short

DRAWN = 4000  # places of a curve, at most
REACH = 12.0  # log-odds beyond which nothing is drawn: probabilities of 6 in a million, and as near to 1
TICKS = (1e-5, 1e-4, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999)


@draws
def plot_precision_recall(runs: Any, *, positive: int | str | None = None, ax: Axes | None = None) -> Picture:
    """Precision against recall of one class, at every threshold; the large marker is how the run decides.

    runs: a run that kept its test logits, runs, or a dict label -> runs (each run is one curve). positive: a class, by
    number or name, against all others; None: the rarest. Dotted: the base rate, the precision of answers by chance in
    this test set. The label carries the average precision. A curve is not drawn between two thresholds but held, as
    the average precision counts it.
    `.data`: labels, average_precision, auroc, base_rate, recall and precision of the decision, and the curves,
    "recall/<label>" and "precision/<label>".

    Shows what share of alarms is right at each share of cases found. Cannot show what that is worth (plot_cost), and
    cannot be compared over test sets in which the class is not equally frequent.
    """
    found = list(_curves(runs, positive))
    (ax,) = get_axes(ax, 5.6, 4.4)
    data: dict[str, Any] = {
        key: [] for key in ("labels", "average_precision", "auroc", "base_rate", "recall", "precision")
    }
    for i, (label, run, j, cut) in enumerate(found):
        of = check.labels("targets", run.targets) == j
        odds = metrics.log_odds(run.logits if run.scores is None else run.scores, j, run.probability)
        area, ranked = metrics.average_precision(of, odds), metrics.auroc(of, odds)
        recall, precision = decided(run, j)
        kind = look(i)
        some = thinned(1 + np.flatnonzero(np.diff(cut.found)))  # in between, alarms alone grow
        held = cut.precision()[some]
        line = {"color": kind["color"], "linestyle": kind["linestyle"], "linewidth": 1.6}
        at = np.append(0.0, cut.recall[some]), np.append(held[0], held)
        ax.step(*at, where="pre", label=f"{label} (AP {as_percent(area)})", **line)
        mark = {"marker": kind["marker"], "markersize": 9, "color": kind["color"], "linestyle": "", "zorder": 4, **EDGE}
        ax.plot([recall], [precision], clip_on=False, **mark)
        values = (label, area, ranked, cut.base_rate, recall, precision)
        for key, value in zip(data, values, strict=False):
            data[key].append(value)
    for label, *_, cut in found:
        data |= {f"recall/{label}": cut.recall, f"precision/{label}": cut.precision()}
    for rate in sorted(set(data["base_rate"])):
        ax.axhline(rate, label=f"base rate {base(rate)}", **REFERENCE)
    name = class_name(found[0])
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.03))
    ax.set(xlabel=f"recall: share of {name} that is found", ylabel=f"precision: share of answers {name} that is right")
    ax.grid(True, axis="both")
    percent(ax.xaxis)
    percent(ax.yaxis)
    finish(ax, f"Precision and recall of {name}")
    said = [
        f"{label} average precision {as_percent(area)} (AUROC {ranked:.3f}), finds {as_percent(recall)} of them, and "
        f"{'never answers so' if np.isnan(precision) else as_percent(precision) + ' of its answers are right'}"
        for label, area, ranked, recall, precision in zip(
            *(data[key] for key in ("labels", "average_precision", "auroc", "recall", "precision")), strict=True)
    ]  # fmt: skip
    text = f"{name}, {base(data['base_rate'][0])} of the test images: " + "; ".join(said) + "."
    return Picture(ax, data, text)


@draws
def plot_cost(
    runs: Any, *, cost: float = 10.0, prevalence: float | None = None, positive: int | str | None = None,
    ax: Axes | None = None,
) -> Picture:  # fmt: skip
    """Expected cost of an image against the threshold from which it is called positive, in false alarms.

    cost: what a missed positive costs, in false alarms. prevalence: how often positives occur where it is used (None:
    as often as in the test set, the base rate). runs, positive: as in plot_precision_recall. The large marker is how a
    run of two classes decides (threshold 50%); the vertical line is the threshold that costs least if the
    probabilities are right where they were trained, 1 / (1 + cost) moved to the prevalence (Elkan 2001, eq. (2) and
    theorem 2). Dotted: never, or always, calling positive, whichever is cheaper: below it a classifier is worth
    something (Drummond & Holte 2006).
    A re-weighted or adjusted network has learned other odds, and its best threshold lies elsewhere.
    `.data`: labels, base_rate, decided, calibrated (its threshold), at_calibrated and least (costs), and the curves,
    "log_odds/<label>" and "cost/<label>".

    Shows what a threshold costs. The lowest point is known only to the test set: choose on validation images
    (explore.threshold), and read here what that costs.
    """
    cost = check.number("cost", cost, above=0.0)
    if prevalence is not None:
        prevalence = check.number("prevalence", prevalence, 0.0, 1.0)
    found = list(_curves(runs, positive))
    (ax,) = get_axes(ax, 6.4, 4.0)
    data: dict[str, Any] = {
        key: [] for key in ("labels", "base_rate", "decided", "calibrated", "at_calibrated", "least")
    }
    for i, (label, run, j, cut) in enumerate(found):
        costs, kind = cut.cost(cost, prevalence), look(i)
        used = cut.base_rate if prevalence is None else prevalence
        known = metrics.calibrated_threshold(cost, used, class_counts(run)[j] / class_counts(run).sum())
        at = metrics.logit(known)
        line = {"color": kind["color"], "linestyle": kind["linestyle"], "linewidth": 1.6}
        ax.step(*drawn(cut.at, costs), where="pre", label=label, **line)
        mark = {"marker": kind["marker"], "markersize": 9, "color": kind["color"], "linestyle": "", "zorder": 4, **EDGE}
        of_two = costs[cut.number(0.0)] if len(class_counts(run)) == 2 else np.nan
        ax.plot([0.0], [of_two], **mark)
        told = {"label": "threshold if calibrated"} if not i else {}
        ax.axvline(
            np.clip(at, -REACH, REACH), color=kind["color"], linewidth=1.0, linestyle=DASHES[1], zorder=1, **told
        )
        values = (label, cut.base_rate, of_two, known, costs[cut.number(at)], costs.min())
        for key, value in zip(data, values, strict=True):
            data[key].append(value)
    for label, *_, cut in found:
        data |= {f"log_odds/{label}": cut.at, f"cost/{label}": cut.cost(cost, prevalence)}
    blind = [
        min(cost * share, 1.0 - share) for share in ([prevalence] if prevalence is not None else data["base_rate"])
    ]
    for value in sorted(set(blind)):
        ax.axhline(value, label="without looking", **REFERENCE)
    name = class_name(found[0])
    threshold_axis(ax)
    top = max(blind[0], *(one for one in data["decided"] if one == one), *data["at_calibrated"], 1e-12)
    ax.set(xlabel=f"called {name} from this probability on", ylabel="expected cost (false alarms an image)")
    ax.set_ylim(0, 1.15 * top)
    finish(ax, f"Cost, if a miss costs {false_alarms(number(cost))}")
    return Picture(ax, data, _costs(data, name, cost, prevalence, blind[0]))


def _costs(data: dict[str, Any], name: str, cost: float, prevalence: float | None, blind: float) -> str:
    """What plot_cost found, in words."""
    share = data["base_rate"][0] if prevalence is None else prevalence
    said = [
        f"{label} costs {number(at)} at {base(known)}, the threshold for calibrated probabilities, and {number(least)} "
        "at best"
        for label, known, at, least in zip(
            *(data[key] for key in ("labels", "calibrated", "at_calibrated", "least")), strict=True)
    ]  # fmt: skip
    return (
        f"Expected cost of an image where {base(share)} are {name} and a miss costs {false_alarms(number(cost))}: "
        f"without looking {number(blind)}; " + "; ".join(said) + "."
    )


# ---------------------------------------------------------------------------------------------------- what they share
def _curves(runs: Any, positive: int | str | None) -> Iterator[tuple[str, Any, int, metrics.Cutoffs]]:
    """Label, run, positive class and thresholds of every run."""
    found = [(one, run) for one in series_of(runs) for run in one.runs]
    labels = distinct([one.shown + (f" seed {run.seed}" if len(one.runs) > 1 else "") for one, run in found])
    for label, (one, run) in zip(labels, found, strict=True):
        test_scores(run, one.shown)
        j = the_class(run, positive)
        yield label, run, j, metrics.cutoffs(run, positive=j)


def the_class(run: Any, positive: int | str | None) -> int:
    """The number of a class, given by number or name; None: the rarest."""
    names = given_names(run, len(class_counts(run)))
    if positive is None:
        return metrics.rare_class(class_counts(run))
    if isinstance(positive, str):
        return names.index(check.choice("positive", positive, names))
    return check.whole("positive", positive, 0, len(names) - 1)


def class_name(found: tuple[Any, ...]) -> str:
    """What the positive class is called."""
    _, run, j, _ = found
    return spoken(given_names(run, len(class_counts(run)))[j], 24)


def spoken(name: str, letters: int) -> str:
    """A class as a sentence calls it, in at most so many letters: "class 1" where its name is a number."""
    return f"class {short(name, letters)}" if re.fullmatch(r"[-+]?\d+([.,]\d+)?", name) else short(name, letters)


def false_alarms(n: str) -> str:
    """So many false alarms, as they are written: 1 false alarm, 0.2 false alarms."""
    return f"{n} false alarm" + ("" if n == "1" else "s")


def decided(run: Any, j: int) -> tuple[float, float]:
    """Recall and precision of class j as the run decides; precision NaN where it never answers it."""
    scores = run.logits if run.scores is None else run.scores
    said, of = np.asarray(scores).argmax(1) == j, np.asarray(run.targets) == j
    hits = float((said & of).sum())
    return hits / of.sum(), hits / said.sum() if said.any() else float("nan")


def drawn(at: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log-odds and values (m,) from left to right, for steps that end at each of them ("pre")."""
    x, y = at[::-1], values[::-1]
    left, right = np.searchsorted(x, (-REACH, REACH))  # the decisions at both edges
    some = thinned(np.arange(left, right)) if right > left else np.arange(0)
    return np.concatenate([[-REACH], x[some], [REACH]]), np.concatenate([[y[left]], y[some], [y[right]]])


def thinned(places: np.ndarray) -> np.ndarray:
    """At most so many of these numbers as a picture can show, the first and the last among them."""
    return places[np.unique(np.linspace(0, len(places) - 1, DRAWN).round().astype(int))]


def threshold_axis(ax: Axes) -> None:
    """Log-odds along x, written as probabilities."""
    ax.set_xlim(-REACH, REACH)
    places = [metrics.logit(p) for p in TICKS]
    ax.set_xticks(places, [base(p) for p in TICKS])


def base(share: float) -> str:
    """A share of whatever size: 0.001%, 2.1%, 99.99%."""
    near = min(share, 1.0 - share)
    digits = 1 if near >= 0.005 or near == 0 else int(np.ceil(-np.log10(near))) - 1
    return f"{100 * share:.{digits}f}".rstrip("0").rstrip(".") + "%"
