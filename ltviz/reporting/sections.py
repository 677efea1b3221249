"""What the page says of a run, part by part. Every sentence is computed from the numbers that stand beside it."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

import numpy as np

from .. import check, metrics, plots
from ..check import many
from ..embedding import QUICK
from ..methods import METHODS
from ..metrics.calibration import sureness
from ..plots.picture import number, points
from ..plots.text import distinct
from .case import Case, between, listed, percent
from .intervals import gap, macro_f1, resampled, wilson
from .page import Markup, Section, beside, download, figure, heading, name, para, table, thumbnail, thumbnails
from .remedies import thin

WHOLE, RAREST, COMMONEST = 30, 20, 10  # classes of a table that is shown whole; of a longer one, how many are shown
MISTAKEN, PICTURED = 6, 8  # confusions of rare classes with photographs, and how many of each
NEIGHBOURS = 10  # that decide a sample by its features; where classes have fewer samples, that says nothing of them


def lacks(sentence: str) -> Markup:
    """What is missing, as the page shows it."""
    return para(sentence, kind="lacks")


# ------------------------------------------------------------------------------------------------------------ summary
def summary(case: Case) -> Section:
    """What the run is, its scores with their intervals, and how much the test samples can say."""
    run, counts = case.run, case.run.counts
    method = METHODS[run.method] if run.method in METHODS else None
    here = counts[counts > 0]
    ratio = f"{here.max() / here.min():,.4g}" if here.size else "undefined"
    facts = [
        ("method", f"{method.title} ({method.paper})" if method else name(run.method)),
        ("settings", ", ".join(f"{key} = {check.spelled(value)}" for key, value in run.settings.items()) or "none"),
        ("data", name(run.data.get("name", "unknown"))),
        ("seed", run.seed),
        ("status", run.status),
        ("classes k", f"{run.k:,}"),
        ("training samples n", f"{counts.sum():,}, {_range(counts)} a class"),
        ("imbalance ratio", ratio + (" (classes without training samples left out)" if here.size < run.k else "")),
        ("test samples", f"{case.n.sum():,}, {_range(case.n)} a class"),
    ]
    about = table("The run", ["fact", "value"], [list(row) for row in facts], texts=(1,))
    if not case.n.sum():
        return Section("Summary", [lacks(_nothing_tested(case)), about])
    told = [para(_overall(case), _difference(case)), para(_smallest(case))]
    if run.status != "finished":
        told.insert(0, para(f"This run was not trained to its end: its status is {run.status!r}."))
    return Section("Summary", [*told, beside(_scores(case), about)])


def _range(n: np.ndarray) -> str:
    return f"{n.max():,}" if n.max() == n.min() else f"from {n.max():,} to {n.min():,}"


def _nothing_tested(case: Case) -> str:
    diverged = " because its training diverged" if case.run.status == "diverged" else ""
    return f"The run has no decided test samples{diverged}, so nothing can be said of its accuracy."


def _overall(case: Case) -> str:
    return (
        f"{percent(metrics.accuracy(case.run.confusion))} of {case.n.sum():,} test samples are decided rightly; the "
        f"mean accuracy of the classes is {percent(case.shares['all'].value)}."
    )


def _difference(case: Case) -> str:
    """Between the most frequent and the rarest classes."""
    if not case.groups:
        return case.no_groups
    head, tail = (case.shares[group] for group in case.ends)
    found = gap(head, tail)
    if np.isnan(found.value):
        return ""
    sure = "more than chance explains" if found.low > 0 or found.high < 0 else "which chance may explain"
    return (
        f"{case.of(case.ends[0], 'reach', 'reaches').capitalize()} {percent(head.value)}, "
        f"{case.of(case.ends[1])} {percent(tail.value)}: a difference of {points(found.value)} points "
        f"(95% interval {points(found.low)} to {points(found.high)}), {sure}."
    )


def _smallest(case: Case) -> str:
    """How much the test set can say of its smallest class."""
    tested = np.flatnonzero(case.n > 0)
    j = int(tested[np.lexsort((case.run.counts[tested], case.n[tested]))[0]])
    low, high = (percent(float(end)) for end in wilson(case.right[j], case.n[j]))
    absent = case.run.k - len(tested)
    none = f" {many(absent, 'class has', 'classes have')} no test sample at all." if absent else ""
    if len(tested) == 1:
        which = f"its only class, {case.names[j]}, has"
    elif case.n[tested].max() > case.n[tested].min():
        which = f"its smallest class, {case.names[j]}, has"
    else:
        every, rarest = ("every class", "the rarest") if not absent else ("each of them", "the rarest that is tested")
        which = f"{rarest}, {case.names[j]}, has" if case.groups else f"the class {case.names[j]} has"
        which += f" like {every}"
    return (
        f"The test set says only so much: {which} {many(case.n[j], 'test sample')}, of which {case.right[j]:,} "
        f"{'is' if case.right[j] == 1 else 'are'} decided rightly, so its accuracy lies between {low} and {high} (95% "
        f"interval).{none}"
    )


def _scores(case: Case) -> Markup:
    """Accuracies and macro F1 with their intervals."""
    total, right = case.n.sum(), case.right.sum()
    low, high = wilson(right, total)
    every, f1 = case.shares["all"], macro_f1(case.run.confusion, case.seed)
    rows = [
        ["accuracy (share of samples)", percent(right / total), f"{100 * low:.1f} to {100 * high:.1f}%", f"{total:,}"],
        ["balanced accuracy (mean of classes)", percent(every.value), between(every), f"{total:,}"],
        ["macro F1", percent(f1.value), between(f1), f"{total:,}"],
    ]
    rows += _ranking(case)
    for group, mask in case.groups.items():
        label = f"{group} (mean of {many(int(mask.sum()), 'class', 'classes')})" if mask.sum() > 1 else f"{group} class"
        rows.append([label, percent(case.shares[group].value), between(case.shares[group]), f"{case.n[mask].sum():,}"])
    return table("Scores on the test samples", ["score", "value", "95% interval", "samples"], rows)


def _ranking(case: Case) -> list[list[str]]:
    """Of two classes, how well the logits rank the samples of the rare one above the others."""
    run = case.kept
    if run is None or run.k != 2 or not 0 < case.tail[run.targets].sum() < len(run.targets):
        return []
    is_rare = case.tail[run.targets].astype(np.int64)
    odds = metrics.log_odds(run.decided, int(case.order[-1]), run.probability)
    found = {
        "AUROC of the rare class": resampled(metrics.auroc, is_rare, odds, case.seed),
        f"average precision (chance {percent(is_rare.mean())})": resampled(
            metrics.average_precision, is_rare, odds, case.seed
        ),
    }
    return [[label, percent(share.value), between(share), f"{len(odds):,}"] for label, share in found.items()]


# ------------------------------------------------------------------------------------------------------------- counts
def counts(case: Case) -> Section:
    """How many training samples the classes have."""
    run, title = case.run, "Training samples"
    if run.counts.max() < 1:
        return Section(title, [lacks("The run says of no class how many training samples it had.")])
    shot = {label: int(mask.sum()) for label, mask in metrics.shot_groups(run.counts).items()}
    frequent = f"{shot['many']:,} of {many(run.k, 'class', 'classes')} {'is' if shot['many'] == 1 else 'are'} many-shot"
    rest = f"{shot['medium']:,} medium-shot and {shot['few']:,} few-shot"
    said = [f"By the usual limits of 100 and 20 training samples, {frequent}, {rest}."]
    if case.groups:
        head = case.groups[case.ends[0]]
        part = percent(run.counts[head].sum() / run.counts.sum())
        who = f"{case.of(case.ends[0])} ({head.sum():,} of {run.k:,})".capitalize()
        verb = case.of(case.ends[0], "hold", "holds").split()[-1]
        said.insert(0, f"{who} {verb} {part} of the {run.counts.sum():,} training samples.")
    if none := int((run.counts == 0).sum()):
        said.append(f"{many(none, 'class has', 'classes have')} no training sample: the network has never seen one.")
    own = run.method in ("predictions", "collected") and np.array_equal(run.counts, case.n)
    guess = "The counts are those of the test samples; if the training set differs, pass counts=." if own else ""
    return Section(title, [para(*said), para(guess), figure(plots.plot_counts(run))])


# ---------------------------------------------------------------------------------------------------------- per class
def classes(case: Case) -> Section:
    """A row for each class, and all of them as CSV."""
    if not case.n.sum():
        return Section("Classes", [lacks(_nothing_tested(case))])
    head = ["class", "training", "test", "recall", "95% interval", "precision", "F1", "its errors become"]
    shown, cut = case.order, ""
    if case.run.k > WHOLE:
        shown = np.append(shown[:COMMONEST], shown[-RAREST:])
        ends = ("most frequent", "rarest") if case.groups else ("first", "last")
        cut = f"Shown are the {COMMONEST} {ends[0]} and the {RAREST} {ends[1]} of {case.run.k:,} classes."
    defined = case.scores["recall"]
    worst, best = int(np.nanargmin(defined)), int(np.nanargmax(defined))
    never = np.flatnonzero((case.run.confusion.sum(0) == 0) & (case.n > 0))
    said = (
        f"Recall runs from {percent(defined[worst])} ({case.names[worst]}, trained on {case.run.counts[worst]:,}) to "
        f"{percent(defined[best])} ({case.names[best]}, trained on {case.run.counts[best]:,})."
    )
    if (case.n > 0).sum() == 1:
        said = f"Only {case.names[best]} has test samples: its recall is {percent(defined[best])}."
    who = listed([case.names[j] for j in never]) if len(never) <= 3 else many(len(never), "class", "classes")
    silent = f"Never answered: {who}." if len(never) else ""
    rho = metrics.spearman(*(of[case.n > 0].astype(float) for of in (defined, case.run.counts)))
    follows = "" if np.isnan(rho) else f"Its rank correlation with the number of training samples is {rho:.2f}."
    ordered = ", the most frequent first" if case.groups else ""
    body = [
        para(said, follows, silent), para(cut, download("The whole table as CSV", "classes.csv", _class_csv(case))),
        table(f"Test results of each class{ordered}", head, _class_rows(case, shown), texts=(7,)),
        figure(plots.plot_class_accuracy(case.run)),
    ]  # fmt: skip
    return Section("Classes", body)


def _class_rows(case: Case, shown: np.ndarray) -> list[list[str]]:
    """A row for each of these classes."""
    of, rows = case.scores, []
    for j in shown:
        row = [case.names[j], f"{case.run.counts[j]:,}", f"{case.n[j]:,}"]
        inside = f"{100 * of['low'][j]:.1f} to {100 * of['high'][j]:.1f}%" if case.n[j] else "–"
        share, precision, f1 = (
            "–" if np.isnan(of[score][j]) else percent(of[score][j]) for score in ("recall", "precision", "f1")
        )
        rows.append([*row, share, inside, precision, f1, _errors(case, j) if case.n[j] else "no test sample"])
    return rows


def _errors(case: Case, j: int) -> str:
    """The two classes that most errors of class j become."""
    row = case.run.confusion[j].copy()
    row[j] = 0
    most = [i for i in np.argsort(-row, kind="stable")[:2] if row[i]]
    return ", ".join(f"{case.names[i]} ({row[i]:,})" for i in most) or "no errors"


def _class_csv(case: Case) -> str:
    run, text = case.run, io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["class", "training", "test", "right", "recall", "recall_low", "recall_high", "precision", "f1"])
    for j in case.order:
        told = ["" if np.isnan(of[j]) else f"{of[j]:.6g}" for of in case.scores.values()]
        writer.writerow([run.class_names[j], run.counts[j], case.n[j], case.right[j], *told])
    return text.getvalue()


# --------------------------------------------------------------------------------------------------------- confusions
def confusions(case: Case) -> Section:
    """Where the test samples go, and what the rare ones are taken for."""
    if not case.n.sum():
        return Section("Confusions", [lacks(_nothing_tested(case))])
    body = [para(*_where_errors_go(case)), figure(plots.plot_confusion(case.run, title="Where the samples go"))]
    which = "Rare classes" if case.groups else "Classes"
    return Section("Confusions", [*body, heading(f"{which}, and what they are taken for"), *_mistaken(case)])


def _where_errors_go(case: Case) -> list[str]:
    run, wrong = case.run, case.run.confusion.copy()
    np.fill_diagonal(wrong, 0)
    if not wrong.sum():
        return [f"All {case.n.sum():,} test samples are decided rightly."]
    if not case.groups:
        return [f"{wrong.sum():,} of {case.n.sum():,} test samples are decided wrongly."]
    answered, true = (run.confusion.sum(axis)[case.tail].sum() / case.n.sum() for axis in (0, 1))
    rare = case.of(case.ends[1])
    said = [f"{percent(true)} of the test samples are of {rare}, and {percent(answered)} of the answers."]
    if len(case.groups) > 2 and wrong[case.tail].sum():
        head = case.groups[case.ends[0]]
        to_head = wrong[case.tail][:, head].sum() / wrong[case.tail].sum()
        even = head.sum() / (run.k - 1)
        said.append(
            f"Of the errors on {rare}, {percent(to_head)} go to {case.of(case.ends[0])}; spread evenly over the other "
            f"classes it would be {percent(float(even))}."
        )
    return said


def _mistaken(case: Case) -> list[Markup]:
    """The most frequent confusions of rare classes (of all, without groups), with photographs where there are any."""
    wrong = case.run.confusion * (case.tail[:, None] if case.groups else 1)
    which = " of rare classes" if case.groups else ""
    np.fill_diagonal(wrong, 0)
    cells = np.flatnonzero(wrong)
    most = cells[np.argsort(-wrong.ravel()[cells], kind="stable")[:MISTAKEN]]
    pairs = [divmod(int(cell), case.run.k) for cell in most]
    if case.groups and not case.n[case.tail].sum():
        return [para(f"No test sample is of {case.of(case.ends[1])}.")]
    if not pairs:
        return [para(f"No test sample{' of a rare class' if case.groups else ''} is decided wrongly.")]
    pictures = case.images is not None and case.kept is not None
    head = ["true class", "taken for", "samples", "of the true class", *(["test images"] if pictures else [])]
    rows = []
    for true, said in pairs:
        row = [case.names[true], case.names[said], f"{wrong[true, said]:,}", percent(wrong[true, said] / case.n[true])]
        rows.append(row + ([_pictures(case, true, said)] if pictures else []))
    told = table(f"The most frequent confusions{which}", head, rows, texts=(1, 4) if pictures else (1,))
    if case.images is None and case.run.data.get("loader") == "table_lt":
        return [told]
    if case.images is None:
        return [told, lacks("The images are not shown: pass images=, the data set that the run was tested on.")]
    if not pictures:
        why = "without logits the run does not say which test sample was taken for what"
        return [told, lacks(f"The images are not shown: {why}. {case.no_logits}")]
    few = f"There are images of the first {len(case.images):,} of {case.n.sum():,} test samples."
    return [told, para(few if len(case.images) < case.n.sum() else "", kind="quiet")]


def _pictures(case: Case, true: int, said: int) -> Markup:
    n = len(case.images)
    run = case.kept
    which = np.flatnonzero((run.targets[:n] == true) & (run.decided[:n].argmax(1) == said))[:PICTURED]
    if not len(which):
        return Markup("none of those at hand")
    images = case.images[which]
    return thumbnails([
        thumbnail(image, f"test sample {i}: {case.names[true]}, taken for {case.names[said]}")
        for i, image in zip(which, images, strict=True)
    ])  # fmt: skip


# -------------------------------------------------------------------------------------------------------------- norms
def norms(case: Case) -> Section:
    """Lengths of classifier vectors and of features."""
    run, body = case.run, []
    if run.head_weight is None:
        body.append(lacks(case.lacking("classifier vectors", "head_weight")))
    elif not np.isfinite(run.head_weight).all():
        body.append(lacks("The classifier vectors hold NaN or infinity, so they have no lengths."))
    else:
        lengths = np.linalg.norm(run.head_weight.astype(np.float64), axis=1)
        body += [para(_lengths(case, "the classifier vectors", lengths)), figure(plots.plot_weight_norms(run))]
        if run.scale is not None:
            body.append(
                para("The classifier compares directions only, so the lengths of its vectors change no decision.")
            )
    if run.class_feature_norm is None:
        body.append(lacks(case.lacking("features", "features")))
    elif run.features is not None and not np.isfinite(run.features).all():
        body.append(lacks("The features hold NaN or infinity, so they have no lengths."))
    else:
        body.append(para(_lengths(case, "the features of a class's test samples", run.class_feature_norm)))
        body.append(figure(plots.plot_feature_norms(run)))
    return Section("Norms", body)


def _lengths(case: Case, what: str, lengths: np.ndarray) -> str:
    finite = np.isfinite(lengths)
    known = finite & (case.run.counts > 0)
    rho = metrics.spearman(lengths[known], case.run.counts[known].astype(float))
    groups = {case.of(group): mask & finite for group, mask in case.groups.items()} or {"all classes": finite}
    means = [f"{number(float(lengths[of].mean()))} for {label}" for label, of in groups.items() if of.any()]
    said = f"The length of {what}, in the mean of the classes, is {listed(means)}."
    follows = f" Its rank correlation with the number of training samples, over the classes, is {rho:.2f}."
    return said if np.isnan(rho) else said + follows


# ---------------------------------------------------------------------------------------------------------- embedding
def embedding(case: Case) -> Section:
    """The features in the plane."""
    run, title = case.run, "Embedding"
    if run.features is None or run.targets is None:
        return Section(title, [lacks(case.lacking("features", "features"))])
    if len(run.features) < 10 or run.features.shape[1] < 2 or not np.isfinite(run.features).all():
        return Section(title, [lacks("An embedding needs 10 test samples or more, with two finite features or more.")])
    if not np.ptp(run.features, axis=0).any():
        return Section(title, [lacks("The features of all test samples are the same, so there is nothing to embed.")])
    some = thin(run.targets, QUICK, case.seed)
    x, y = run.features[some].astype(np.float32), run.targets[some]
    picture = plots.plot_embedding(x, y, dict(zip(distinct(case.names), run.counts, strict=True)), seed=case.seed)
    usual = int(np.median(np.bincount(y)[np.unique(y)]))
    thinned = len(some) < len(run.features)
    which = f"Drawn are {len(some):,} of {len(run.features):,} test samples, small classes whole." if thinned else ""
    said, drawn = "", " that are drawn" if thinned else ""
    if usual > NEIGHBOURS and len(np.unique(y)) > 1:
        quality = percent(metrics.feature_quality(x, y, NEIGHBOURS))
        said = (
            f"Decided by their {NEIGHBOURS} nearest neighbours among the features, without the classifier, {quality} "
            f"of the samples{drawn} come out right (mean over the classes)."
        )
    kept = f"{percent(float(picture.data['overlap']))} of the nearest neighbours of a sample stay so in the plane."
    return Section(title, [para(which, said, kept), figure(picture)])


# -------------------------------------------------------------------------------------------------------- calibration
def calibration(case: Case) -> Section:
    """Confidence against accuracy, by group."""
    run, title = case.kept, "Calibration"
    if run is None:
        return Section(title, [lacks(case.no_logits)])
    samples = sureness(run)
    masks = {"all classes": np.ones(run.k, bool)} | {case.of(group): mask for group, mask in case.groups.items()}
    rows, gaps = [], {}
    for label, mask in masks.items():
        of = mask[samples.targets]
        if of.any():
            sure, right = samples.confidence[of].mean(), samples.right[of].mean()
            gaps[label] = float(sure - right)
            row = [label, f"{of.sum():,}", percent(sure), percent(right), points(gaps[label])]
            rows.append([*row, percent(samples.binned(of=of).error)])
    said = listed([f"{100 * abs(one):.1f} points {'above' if one >= 0 else 'below'} accuracy on {label}"
                   for label, one in gaps.items()])  # fmt: skip
    head = ["classes", "samples", "mean confidence", "accuracy (share of samples)", "difference (points)",
            "calibration error (ECE)"]  # fmt: skip
    same = "Both are averaged over the samples; the scores of groups above are means of classes." if case.groups else ""
    return Section(title, [
        para(f"Confidence is {said}.", same, case.of_kept), figure(plots.plot_reliability(run)),
        table("Confidence and accuracy on the test samples", head, rows),
    ])  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ history
def history(case: Case) -> Section:
    """The course of the training."""
    run, title = case.run, "Training"
    past = run.history
    if not len(past.get("epoch", ())):
        return Section(title, [lacks("The run holds no training history: only runs of lt.train have one.")])
    loss, last = past["loss"], len(past["loss"])
    said = [
        f"In {many(last, 'epoch')} the training loss went from {number(float(loss[0]))} to {number(float(loss[-1]))}."
    ]
    seen = past.get("val_accuracy")
    if seen is not None and len(seen) and np.isfinite(seen).any():
        of = np.array([row[np.isfinite(row)].mean() if np.isfinite(row).any() else np.nan for row in seen])
        best = int(np.nanargmax(of))
        said.append(
            f"The mean validation accuracy of the classes was highest in epoch {best + 1} "
            f"({percent(float(of[best]))}) and {percent(float(of[-1]))} at the end."
        )
    return Section(title, [para(*said), figure(plots.plot_history(run))])


FIRST: tuple[Callable[[Case], Section], ...] = (summary, counts, classes)
LAST: tuple[Callable[[Case], Section], ...] = (confusions, norms, embedding, calibration, history)
