"""What the run's own logits can still become, the remedies that need no training, and what to train next."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from .. import metrics, plots
from ..methods import METHODS
from ..plots.picture import points
from ..run import Run
from .case import Case, listed, percent
from .intervals import Change, gap
from .page import Markup, Section, bullets, figure, lines, para, quiet, table, written
from .remedies import Remedy, at_most
from .sections import lacks

UNSURE = 0.05  # half the width of the interval of an accuracy, from which on more should be measured
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
# Remedies that train again -> the chapter that explains them, by what speaks for them.
PRIOR = {"balanced_softmax": "03_decide_again", "ldam_drw": "06_margins_and_deferral"}
CLASSIFIER = {"crt": "03_decide_again", "lws": "03_decide_again", "dual_ring": "07_dual_loss"}
FEATURES = {"ldam_drw": "06_margins_and_deferral", "crl": "08_class_rectification", "mixup": "09_class_difficulty"}


# ----------------------------------------------------------------------------------------------------------- who pays
def who_pays(case: Case) -> Section:
    """The line of the logits of this run, and the dots of the remedies that need no training."""
    run, title = case.kept, "Who pays"
    if run is None:
        return Section(title, [lacks(case.no_logits)])
    if case.no_groups:
        return Section(title, [lacks(case.no_groups)])
    if run.k == 2 and (run.confusion.sum(1) > 0).all():
        return Section(title, _threshold(run, int(case.order[-1])))
    line = metrics.frontier(run) if len(case.groups) == 3 else None
    if line is None or not np.isfinite([line.head, line.mid, line.tail]).all():
        why = "Who pays is asked of head, mid and tail, or of two classes, and each of them needs test samples."
        return Section(title, [lacks(why)])
    dots = {"as it is": [replace(run, label="as it is")]}
    for remedy in case.remedies:
        if not remedy.lacks:
            dots[f"{remedy.title}, {remedy.words}"] = [replace(run, confusion=remedy.confusion, label=remedy.title)]
    now, at = metrics.shot_accuracy(run), int(np.argmax(line.all))
    plain, strong = (
        f"head {percent(line.head[i])} and tail {percent(line.tail[i])} at {_tau(line.tau[i])}"
        for i in (int(np.flatnonzero(line.tau == tau)[0]) for tau in (0, 2))
    )
    said = (
        "Subtracting τ times the log prior from the logits moves accuracy from frequent to rare classes, without "
        f"training: from {plain} to {strong}."
    )
    best = (
        f"On these test samples the mean of all classes is highest at {_tau(line.tau[at])} ({percent(line.all[at])}, "
        f"now {percent(now['all'])}). That flatters, because the same samples chose τ; a fair judgement stands below."
    )
    return Section(title, [para(said, best, case.of_kept), figure(plots.plot_who_pays(dots, [run]))])


def _threshold(run: Run, rare: int) -> list[Markup]:
    """Of two classes: the threshold is the slider, and false alarms are what the frequent class pays."""
    found, alarms = run.confusion[rare, rare], int(run.confusion[:, rare].sum())
    right = f"; of {alarms:,} alarms {percent(found / alarms)} are right" if alarms else ", and raises no alarm"
    return [
        para(
            f"Of two classes the threshold is the slider: it buys more of the rare class with more false alarms. As it "
            f"decides, the run finds {percent(found / run.confusion[rare].sum())} of the samples of the rare class"
            f"{right}."
        ),
        figure(plots.plot_precision_recall(run)),
    ]


def _tau(value: float) -> str:
    return f"τ\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{value:g}"


# ----------------------------------------------------------------------------------------------------------- remedies
def remedies(case: Case) -> Section:
    """What three remedies without training gain and cost, as other samples chose their settings."""
    title = "Remedies without training"
    if case.kept is None:
        return Section(title, [lacks(case.no_logits)])
    if len(np.unique(case.kept.targets)) < 2:
        why = "The test samples are all of one class, and a remedy would only be asked to answer it more often."
        return Section(title, [lacks(f"{why} To compare remedies, test two classes or more.")])
    found = [one for one in case.remedies if not one.lacks]
    missing = [para(f"{one.title} was not tried: {one.lacks}.", kind="lacks") for one in case.remedies if one.lacks]
    if not found:
        return Section(title, missing)
    groups = ["all", *case.groups]
    best = max(found, key=lambda one: one.changes["all"].mean)
    before = ["the run as it is", *(percent(found[0].changes[group].before) for group in groups)]
    rows = [before] + [
        [lines(one.title, quiet(one.words)), *(_changed(one.changes[group]) for group in groups)] for one in found
    ]
    n = len(found) * sum(not np.isnan(best.changes[group].before) for group in groups)
    note = (
        "Second line: difference in percentage points, paired over the test samples, and its 95% interval from a "
        "bootstrap. Clear is p < 0.005, suggestive p < 0.05. If none of these "
        f"{n} differences were real, chance alone would call about {n * metrics.SUGGESTIVE:.1g} of them so."
    )
    head = ["remedy and setting", *("all classes" if group == "all" else case.of(group) for group in groups)]
    return Section(title, [
        para(_verdict(case, best)), para(_chosen_on(case), case.of_kept),
        table("Mean accuracy of the classes on the test samples", head, rows, texts=range(1, len(head))),
        para(note, kind="quiet"), *missing,
    ])  # fmt: skip


def _chosen_on(case: Case) -> str:
    if case.validation is not None:
        n, tested = len(case.validation.targets), len(case.kept.targets)
        said = f"Each setting was chosen on {n:,} validation samples, and is judged on {tested:,} test samples."
        return said + _tried_on(n, case)
    data = "the data set of the run with validation samples, or " if case.run.network is not None else ""
    return (
        "No validation samples were given, so each half of the test samples (drawn by the seed, class by class) chose "
        f"the setting for the other half: no sample judges a setting that it has chosen. Pass validation=, {data}a run "
        "with the same classifier's answers on validation samples, to have one setting."
        + _tried_on(len(case.kept.targets) // 2, case)
    )


def _tried_on(n: int, case: Case) -> str:
    """A sentence where a rule was tried on only some of the n samples that choose."""
    slow = [one.title for one in case.remedies if not one.lacks and one.key != "logit_adjusted"]
    most = at_most(case.run.k)
    return f" To save time, {listed(slow)} used {most:,} of them, some of every class." if slow and n > most else ""


def _changed(found: Change) -> Markup | str:
    if np.isnan(found.before):
        return "no test samples"
    p = "p < 0.001" if found.p < 0.001 else f"p = {found.p:.2g}"
    reach = f"{points(found.mean)} ({points(found.low)} to {points(found.high)})"
    return lines(percent(found.after), reach, f"{found.verdict}, {p}")


def _verdict(case: Case, best: Remedy) -> str:
    every = best.changes["all"]
    said = (
        f"Of the remedies tried, {best.title} ({best.words}) has the highest mean accuracy of the classes: "
        f"{points(every.mean)} points against the run as it is (95% interval {points(every.low)} to "
        f"{points(every.high)}; {every.verdict})."
    )
    known = [one for one in case.groups if not np.isnan(best.changes[one].before)]
    moved = [f"{points(best.changes[one].mean)} on {case.of(one)} ({best.changes[one].verdict})" for one in known]
    unknown = [case.of(one) for one in case.groups if one not in known]
    said += f" By group: {listed(moved)}." if moved else ""
    return f"{said} No test sample is of {listed(unknown)}." if unknown else said


# --------------------------------------------------------------------------------------------------------------- next
def following(case: Case, folder: Path) -> Section:
    """What to try next. folder: of the page, for links to the chapters."""
    return Section("What to try next", list(_following(case, folder)))


def _following(case: Case, folder: Path) -> Iterator[Markup]:
    if not case.n.sum():
        yield para("First find out why there are no decided test samples; a diverged training may need a smaller rate.")
        return
    if not case.groups:
        yield para(case.no_groups)
        return
    frequent, rare = (case.of(group) for group in case.ends)
    head, tail = (case.shares[group] for group in case.ends)
    found, reach = gap(head, tail), (tail.high - tail.low) / 2
    if np.isnan(found.value):
        unknown = [of for of, share in ((frequent, head), (rare, tail)) if np.isnan(share.value)]
        yield para(f"First test {listed(unknown)}: without test samples nobody knows who pays.")
        return
    if reach > UNSURE:
        yield para(
            f"Measure more: {case.n[case.tail].sum():,} test samples tell the accuracy of {rare} to about "
            f"±{100 * reach:.0f} points, so compare remedies over several seeds, or on more test samples."
        )
    if found.low > 0:
        yield from _retraining(case, folder)
    else:
        is_worse = case.of(case.ends[1], "are", "is")
        yield para(f"Nothing shows that {is_worse} decided worse than {frequent}: no remedy is called for.")


def _retraining(case: Case, folder: Path) -> Iterator[Markup]:
    """Why rare classes are decided wrongly, as far as the remedies tell, and those that train against it."""
    tried = {one.key for one in case.remedies if not one.lacks}
    helps = [one for one in case.remedies if not one.lacks and "better" in one.changes["all"].verdict]
    best = max(helps, key=lambda one: one.changes["all"].mean, default=None)
    if not tried:
        why, names = "No remedy without training could be tried. Of those that train, the simplest are:", PRIOR
    elif best is None:
        who = "No remedy without training is better beyond doubt on the mean of the classes"
        why, names = f"{who}. Change the features, by margins, pairs or mixed images:", FEATURES
    elif best.key == "logit_adjusted":
        who = f"{best.title} is {best.changes['all'].verdict}, so the answers lean towards frequent classes"
        why, names = f"{who}. Bring the counts into the loss:", PRIOR
    else:
        who = f"{best.title} is {best.changes['all'].verdict} with the features as they are"
        why, names = f"{who}. Mend the classifier, by training it again or evening out its vectors:", CLASSIFIER
    yield para(why)
    yield bullets([_link(key, chapter, folder) for key, chapter in names.items() if key != case.run.method])
    if len(case.groups) == 3 and tried:
        yield para(
            "They are worth their training where their dots lie beyond the line of this run under “Who pays”; "
            "lt.plot_who_pays says so over several seeds."
        )


def _link(key: str, chapter: str, folder: Path) -> Markup:
    """A method, and the chapter that explains it: a link where the page lies in the course's own folder."""
    number, _, words = chapter.partition("_")
    told = f"chapter {number}, {words.replace('_', ' ')}"
    notebook = (NOTEBOOKS / f"{chapter}.ipynb").resolve()
    inside = NOTEBOOKS.parent.resolve()
    if notebook.exists() and folder.resolve().is_relative_to(inside):
        told = f'<a href="{Path(os.path.relpath(notebook, folder.resolve())).as_posix()}">{told}</a>'
    return Markup(f"{written(METHODS[key].title)} (<code>{key}</code>, {told})")
