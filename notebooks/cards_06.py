"""Chapter 06: its predictions, exercises and quiz, and the figures that they open."""
# ruff: noqa: E501  (text for readers is not cut into lines)

import functools

import numpy as np
import torch

import ltviz as lt
from ltviz.methods.class_balanced import class_balanced_weights
from ltviz.methods.ldam import ldam_loss, ldam_margins
from ltviz.methods.normface import loss_bound
from ltviz.plots.picture import GROUP_COLOURS, INK, QUIET, Picture, draws, look, new_figure, percent
from ltviz.plots.theme import PHOTO
from ltviz.study.cards import Card, box, fold, inline, plain
from ltviz.training import Trainer, branch

AT, EPOCHS = 48, 60  # of the bench: where the weights begin, of how many epochs
NAMES = {"ce_drw": "cross-entropy", "ldam_drw": "LDAM"}


@functools.cache
def photos(key, **settings):
    """Ten recorded runs on the photographs, one a seed."""
    return lt.recorded("cifar16", key, **settings)


@functools.cache
def bench(key, **settings):
    """Ten recorded runs on the bench, one a seed."""
    return lt.recorded("digits", key, **settings)


def normface(folder=photos):
    """The cosine classifier without a margin, at the scale of LDAM."""
    return folder("normface", scale=30.0, learn_scale=False)


def ldam_drw(folder=photos):
    """LDAM with deferred weights, its margins as in the paper."""
    return folder("ldam_drw", max_margin=0.5)


def normface_drw(folder=photos):
    """The same classifier and the same deferred weights, without margins."""
    return folder("ldam_drw", max_margin=0.0)


def drw(folder=photos, reduction="weight"):
    """Cross-entropy with deferred weights; the loss of a batch is divided by their sum, or by n."""
    return folder("ce_drw", reduction=reduction)


def from_the_start(folder=photos):
    """Class weights of the same beta from the first epoch; divided by n."""
    return folder("class_balanced", beta=0.9999, loss="softmax", reduction="n")


def points(found):
    """A paired difference in percentage points, with its 95% interval and verdict."""
    mean = f"{100 * found.mean:+.1f}".replace("-0.0", "0.0").replace("+0.0", "0.0")
    return f"**{mean} ± {100 * found.half:.1f}** points ({found.verdict})"


def gained(ours, base, group="tail"):
    """`points` of ours against base."""
    return points(lt.metrics.paired(ours, base, group))


def share(runs, group="tail"):
    """Mean accuracy of a group over runs."""
    return float(np.mean([lt.metrics.shot_accuracy(run)[group] for run in runs]))


# -------------------------------------------------------------------------------------------------------- pictures
@draws
def plot_margins(run, photographs):
    """A photograph of each class, most frequent first, and the margin that LDAM gives it."""
    figure = new_figure(9.4, 3.1)
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1.15))
    for j, ax in enumerate(top.subplots(1, run.k)):
        first = int(np.flatnonzero(photographs.names == run.class_names[j])[0])
        ax.imshow(photographs.images[first], gid=PHOTO, interpolation="nearest")
        ax.set(xticks=[], yticks=[])
        ax.set_title(f"{run.class_names[j]}\n{run.counts[j]:,}", fontsize=8.5, loc="center")
    margins = ldam_margins(torch.as_tensor(run.counts), 0.5).numpy()
    groups = lt.metrics.third_groups(run.counts)
    colours = [next(GROUP_COLOURS[name] for name, mask in groups.items() if mask[j]) for j in range(run.k)]
    ax = bottom.subplots()
    bars = ax.bar(range(run.k), margins, color=colours)
    ax.bar_label(bars, [f"{m:.2f}" for m in margins], fontsize=8.5)
    ax.set(xticks=[], ylim=(0, 0.6), xlim=(-0.5, run.k - 0.5))
    ax.set_title("margin in training: how far the cosine of the true class must lead", fontsize=10)
    text = f"Margins from {margins[0]:.2f} ({run.class_names[0]}) to {margins[-1]:.2f} ({run.class_names[-1]})."
    return Picture(ax, {"margins": margins, "counts": np.asarray(run.counts)}, text)


def rare_course(runs, group="tail"):
    """Validation accuracy of a group after each epoch (runs, epochs)."""
    return np.array(
        [run.history["val_accuracy"][:, lt.metrics.third_groups(run.counts)[group]].mean(1) for run in runs]
    )


@draws
def plot_branches(grown, at):
    """Rare validation accuracy of both branches of each trunk, mean over seeds; the moment where they part."""
    axes = np.atleast_1d(new_figure(9.4, 3.3).subplots(1, len(grown), sharey=True))
    data, said = {}, []
    for ax, (key, pairs) in zip(axes, grown.items(), strict=True):
        for i, (name, runs) in enumerate(zip(("as before", "class weights"), zip(*pairs, strict=True), strict=True)):
            course = rare_course(runs).mean(0)
            kind = {"color": look(i)["color"], "linestyle": look(i)["linestyle"], "linewidth": 2.6 - i}
            ax.plot(np.arange(1, len(course) + 1), course, label=name, zorder=3 + i, **kind)
            data[f"{key}, {name}"] = course
            said.append(f"{NAMES.get(key, key)}, {name}: {course[-1]:.0%} at the end")
        ax.axvline(at, color=QUIET, linewidth=1)
        ax.set(xlabel="epochs done", title=NAMES.get(key, key))
        percent(ax.yaxis)
    axes[0].set_ylabel("rare classes, validation")
    axes[0].set_ylim(0, 0.9)
    axes[-1].legend(title=f"after epoch {at}", loc="center left", bbox_to_anchor=(1.02, 0.5))
    return Picture(list(axes), data, "; ".join(said) + ".")


@draws
def plot_courses(groups, at):
    """Validation accuracy of each third of the classes after each epoch, mean over seeds, of several groups."""
    axes = new_figure(9.4, 3.6).subplots(1, 3, sharey=True)
    data, said = {}, []
    titles = {"head": "frequent classes", "mid": "middle classes", "tail": "rare classes"}
    for ax, (group, title) in zip(axes, titles.items(), strict=True):
        for i, (name, runs) in enumerate(groups.items()):
            course = rare_course(runs, group).mean(0)
            kind = {key: value for key, value in look(i).items() if key != "marker"}
            ax.plot(np.arange(1, len(course) + 1), course, label=name, linewidth=2, **kind)
            data[f"{name}, {title}"] = course
            said.append(f"{name}, {title}: {course[-1]:.0%}")
        ax.axvline(at, color=INK, linewidth=0.9)
        ax.set(xlabel="epochs done", title=title)
        percent(ax.yaxis)
    axes[0].set_ylabel("validation accuracy")
    axes[0].set_ylim(0, 1)
    handles, labels = axes[0].get_legend_handles_labels()
    title = f"the line: {at} epochs are done"
    axes[0].figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), title=title)
    return Picture(list(axes), data, "At the end, mean of ten seeds. " + "; ".join(said) + ".")


# ----------------------------------------------------------------------------------------------------- predictions
scale_one = lt.Predict(
    "Ten classes, scale $s = 1$, no margin. Every image lies exactly on its own classifier vector, and the ten vectors "
    "are as far apart as ten vectors can be. How large is the probability of the true class?",
    number=(0, 100, 1),
    default=90,
    unit="%",
)


def open_scale_one():
    """The answer: Proposition 2 of NormFace."""
    loss = {s: loss_bound(10, s) for s in (1.0, 4.0, 16.0)}
    best = {s: 100 * np.exp(-value) for s, value in loss.items()}
    told = ", ".join(f"{value:.2g} at s = {s:g}" for s, value in loss.items())
    return scale_one.reveal(
        lt.say(f"At most **{best[1.0]:.1f}%** at s = 1, and {best[4.0]:.1f}% at s = 4. The smallest loss: {told}."),
        truth=best[1.0],
        tolerance=6,
        because="This is calculated (Wang et al. 2017, Proposition 2). The logits lie between -s and s, and ten "
        "vectors cannot all be opposite to one another: at best their cosines are -1/9. So the true logit leads by "
        "only 10/9 at s = 1, and the loss can never become small.",
    )


margin_at_test = lt.Predict(
    "Three vectors, 120° apart. In training LDAM gives the rare class a margin of 0.50, the middle one 0.28 and the "
    "frequent one 0.16. How wide is the slice that the rare class gets **at test**?",
    number=(30, 180, 1),
    default=150,
    unit="°",
)


def open_margin_at_test():
    """The answer, from the borders."""
    found = lt.metrics.slices([90.0, 210.0, 330.0], "ldam", 0.5, 30.0, [1000, 100, 10])
    width, trained = (float(widths[2]) for widths in found.widths)
    return margin_at_test.reveal(
        lt.say(
            f"{width:.0f}° at test. In training an image of the rare class meets its margin on only {trained:.0f}° of "
            "them."
        ),
        truth=float(round(width)),
        tolerance=1,
        because="The margin is in the loss alone: at test an image has no known class whose score could be made "
        "smaller. The largest cosine decides, so the borders lie halfway between the vectors. A margin can help a class only by changing what is learned: where the features and the "
        "vectors end up.",
    )


ldam_alone = lt.Predict(
    "LDAM on the photographs, margins from the first epoch to the last, no class weights, ten seeds. By how much does "
    "the accuracy of the **rare classes** change against the plain network?",
    choices=["more than 10 points up", "3 to 10 points up", "less than 3 points either way", "more than 3 points down"],
    default="3 to 10 points up",
)


def _change(found):
    up = 100 * found.mean
    return (
        "more than 10 points up" if up > 10 else "3 to 10 points up" if up >= 3
        else "less than 3 points either way" if up > -3 else "more than 3 points down"
    )  # fmt: skip


def open_ldam_alone():
    """The answer, and LDAM against its own classifier without margins."""
    plain, ldam, cosine = photos("ce"), photos("ldam"), normface()
    groups = {"plain": plain, "cosine, no margin (NormFace)": cosine, "LDAM": ldam}
    groups |= {
        "CosFace": photos("cosface"),
        "AM-Softmax": photos("am_softmax"),
        "ArcFace": photos("arcface", margin=0.5),
    }
    arcface = groups["ArcFace"]
    chance = sum(run.accuracy < 1.2 / run.k for run in arcface)
    return ldam_alone.reveal(
        [lt.say("Accuracy of the **rare classes**:"), lt.plot_comparison(groups, group="tail"), say_met()],
        truth=_change(lt.metrics.paired(ldam, plain, "tail")),
        because=f"Rare classes: {gained(ldam, plain)}. The cosine classifier without margins gains "
        f"{gained(cosine, plain)}; LDAM's margins on top of it change that by {gained(ldam, cosine)}. Over all classes, "
        f"one margin for all (AM-Softmax, also s = 30) changes the cosine classifier by {gained(groups['AM-Softmax'], cosine, 'all')}, "
        f"ArcFace (m = 0.5, s = 30) by {gained(arcface, cosine, 'all')}: of its {len(arcface)} networks {chance} "
        f"{'is' if chance == 1 else 'are'} no better than chance.",
    )


def say_met():
    """What the last training loss says about margins, on both sets of records."""
    told = []
    for name, folder in (("photographs", photos), ("bench", bench)):
        losses = np.array([run.history["loss"][-1] for run in folder("ldam")])
        plain = np.mean([run.history["loss"][-1] for run in normface(folder)])
        above = int((losses > np.log(10)).sum())
        told.append(
            f"{name}: **{losses.mean():.2g}** (without margins {plain:.2g}); above the limit for **{above}** of "
            f"{len(losses)} seeds"
        )
    return lt.say(
        "An image that meets its margin has the largest of ten logits, so its loss is at most log 10 = "
        f"{np.log(10):.2f}.",
        f"Mean training loss of LDAM in the last epoch, {'; '.join(told)}.",
        "Where the mean is above the limit, some images miss their margin to the end. Why they do, these runs do not say: "
        "no larger network and no longer training was tried.",
    )


late = lt.Predict(
    "The plain network and cross-entropy on the photographs, class weights with $\\beta = 0.9999$: from the first epoch, "
    "or only for the last 8 of 40 (DRW). In both, the loss of a batch is divided by its number of images. Who gains from "
    "the deferral?",
    choices=["mainly the rare classes", "mainly the frequent and the middle classes", "all three groups alike",
             "nobody: it is worse"],
    default="mainly the rare classes",
)  # fmt: skip


def _gainers(found):
    better = {group for group, one in found.items() if one.verdict == "clearly better"}
    if better >= {"head", "mid", "tail"}:
        return "all three groups alike"
    if not better:
        return "nobody: it is worse"
    gain = {group: found[group].mean for group in ("head", "mid", "tail")}
    return (
        "mainly the rare classes" if max(gain, key=gain.get) == "tail" else "mainly the frequent and the middle classes"
    )


def open_late():
    """The courses of three runs, and deferral against weights from the start, under both divisors."""
    plain, late_n, late_w, start = photos("ce"), drw(reduction="n"), drw(), from_the_start()
    groups = ("head", "mid", "tail", "all")
    found = {group: lt.metrics.paired(late_n, start, group) for group in groups}
    other = {group: lt.metrics.paired(late_w, late_n, group) for group in groups}
    courses = {"no weights": plain, "weights from the start": start, "weights late (DRW)": late_n}
    switch = int(np.argmax(late_n[0].history["stage"] > 0))
    before, after = (rare_course(late_n).mean(0)[i] for i in (switch - 1, switch))
    apart = max(
        float(np.abs(rare_course(plain, group).mean(0) - rare_course(late_n, group).mean(0))[:switch].max())
        for group in groups[:3]
    )
    moved = sum(a.provenance["device"] != b.provenance["device"] for a, b in zip(plain, late_n, strict=True))
    return late.reveal(
        plot_courses(courses, switch),
        truth=_gainers(found),
        because=f"Deferral against weights from the start, both divided by the number of images: frequent "
        f"{points(found['head'])}, middle {points(found['mid'])}, rare {points(found['tail'])}, all {points(found['all'])}. "
        f"In the first epoch with weights, rare validation accuracy goes from {before:.0%} to {after:.0%}. Before "
        "the weights begin, the curves of DRW and of the plain network should coincide. They do not, because "
        f"{moved} of {len(plain)} pairs were recorded on different machines, with other batches: the mean curves are up to "
        f"{100 * apart:.1f} points apart there. Smaller differences in the figure may be chance. Dividing by the sum of the weights, as DRW "
        f"here does unless said otherwise, changes DRW by: frequent {points(other['head'])}, middle "
        f"{points(other['mid'])}, rare {points(other['tail'])}. On the bench it changes the rare classes by "
        f"{gained(drw(bench), drw(bench, 'n'))}.",
    )


def _loss_at(runs, epoch=AT):
    """Mean training loss of these runs in their epoch of this number, from 1."""
    return float(np.mean([run.history["loss"][epoch - 1] for run in runs]))


def _written(loss):
    """A small number with one digit that counts, and without a power of ten."""
    return np.format_float_positional(loss, precision=1, fractional=False)


parts_on_the_bench = lt.Predict(
    f"On the bench, class weights begin after {AT} of {EPOCHS} epochs. By then both networks answer every training image "
    f"right. The mean training loss is then {_written(_loss_at(drw(bench)))} with cross-entropy, {_written(_loss_at(ldam_drw(bench)))} with LDAM. Whose **rare test accuracy** do the late weights still raise, clearly, over "
    "ten seeds?",
    choices=["both", "only cross-entropy's", "only LDAM's", "neither"],
    default="neither",
)


def _of_the_moment(name, loss, before, after):
    """One method's live branches in a sentence."""
    left = (
        "next to no loss is left for the weights to multiply"
        if loss < 0.001
        else "little loss is left for the weights to multiply, but not none"
        if loss < 0.02
        else "there is still a loss for the weights to multiply"
    )
    return f"{name}: training loss {loss:.2g}, so {left}; rare test accuracy {before:.1%} as before, {after:.1%} with weights"


def _measured_again(grown, at, learned):
    """What the runs that were just trained say."""
    told = []
    for key, pairs in grown.items():
        loss = _loss_at([run for run, _ in pairs], at)
        same = all((a.history["loss"][:at] == b.history["loss"][:at]).all() for a, b in pairs)
        before, after = (share(list(runs)) for runs in zip(*pairs, strict=True))
        told.append(
            f"{_of_the_moment(NAMES[key][0].upper() + NAMES[key][1:], loss, before, after)}{'' if same else ' (the branches differ before they part)'}"
        )
    least = min(learned)
    known = (
        "every training image is answered right"
        if least == 1
        else f"at least {least:.1%} of the training images are right"
    )
    return f"Your runs, after epoch {at}: {known}. {'. '.join(told)}."


def open_parts_on_the_bench(grown, at, learned):
    """Both branches from the same moment, live, and the ten recorded seeds."""
    plain, cosine = bench("ce"), normface(bench)
    pairs = {"ce_drw": (drw(bench), plain), "ldam_drw": (ldam_drw(bench), bench("ldam"))}
    found = {key: lt.metrics.paired(*both, "tail") for key, both in pairs.items()}
    clear = [key for key, one in found.items() if one.verdict == "clearly better"]
    truth = {0: "neither", 2: "both"}.get(len(clear)) or f"only {NAMES[clear[0]]}'s"
    early = from_the_start(bench), drw(bench, "n")
    return parts_on_the_bench.reveal(
        [plot_branches(grown, at), lt.say(_measured_again(grown, at, learned))],
        truth=truth,
        because=f"This is the answer for epoch {AT} and ten recorded seeds. Late weights give the rare classes: "
        f"cross-entropy {points(found['ce_drw'])}, LDAM {points(found['ldam_drw'])}. A class weight multiplies a gradient, "
        f"and where there is none it does nothing. Even for cross-entropy epoch {AT} is late. With the loss "
        f"divided by the number of images, deferred weights give the rare classes {gained(early[1], plain)}; weights from "
        f"the first epoch, divided alike, against them: {gained(*early)}. The lab's "
        f"question: LDAM without any weights gives the rare classes {gained(bench('ldam'), plain)} here, and "
        f"{gained(bench('ldam'), cosine)} against the cosine classifier without margins.",
    )


margins_on_top = lt.Predict(
    "On the photographs, ten seeds: LDAM with DRW, against the same cosine classifier with DRW and **no margins** "
    "(NormFace with DRW). What do the margins do to the mean accuracy over **all** classes?",
    choices=["a clear gain", "a clear loss", "no clear difference"],
    default="a clear gain",
)


def compared():
    """The series of the table, the plain network first."""
    return {
        "plain": photos("ce"),
        "cosine, no margin (NormFace)": normface(),
        "LDAM": photos("ldam"),
        "plain + DRW": drw(),
        "NormFace + DRW": normface_drw(),
        "LDAM + DRW": ldam_drw(),
        "plain + DRS": photos("ce_drs"),
        "plain + DRW, divided by n": drw(reduction="n"),
        "weights from the start": from_the_start(),
        "L2-constrained": photos("l2_constrained"),
        "range loss": photos("range"),
    }


def _parts():
    """What each part of LDAM with DRW adds, one after the other: points of each group."""
    steps = {
        "weights (plain + DRW against plain)": (drw(), photos("ce")),
        "then cosines (NormFace + DRW against plain + DRW)": (normface_drw(), drw()),
        "then margins (LDAM + DRW against NormFace + DRW)": (ldam_drw(), normface_drw()),
        "cosines and margins together (LDAM + DRW against plain + DRW)": (ldam_drw(), drw()),
    }
    words = {"all": "all classes", "head": "frequent", "mid": "middle", "tail": "rare"}
    return {
        name: {word: gained(ours, base, group).replace(" points", "") for group, word in words.items()}
        for name, (ours, base) in steps.items()
    }


def _by_part():
    """The parts as a table: a row for each, a column for each group."""
    parts = _parts()
    columns = list(next(iter(parts.values())))
    top = "".join(f'<th scope="col">{one}</th>' for one in ["Part by part, points", *columns])
    rows = "".join(
        f'<tr><th scope="row" style="text-align:left">{name}</th>'
        + "".join(f"<td>{inline(found[one])}</td>" for one in columns) + "</tr>"
        for name, found in parts.items()
    )  # fmt: skip
    said = [f"{name}: " + ", ".join(f"{one} {found[one]}" for one in columns) for name, found in parts.items()]
    html = f"<table><thead><tr>{top}</tr></thead><tbody>{rows}</tbody></table>"
    return Card(html, "\n".join(["Part by part, points", *map(plain, said)]))


def open_margins_on_top():
    """The table of the chapter, and the chart of the course."""
    base = photos("ce")
    found = lt.metrics.paired(ldam_drw(), normface_drw())
    verdict = {"clearly better": "a clear gain", "clearly worse": "a clear loss"}.get(
        found.verdict, "no clear difference"
    )
    dots = {name: compared()[name] for name in list(compared())[1:8]}
    dots = {"NormFace" if "NormFace)" in name else name: runs for name, runs in dots.items()}
    return margins_on_top.reveal(
        [lt.study.comparison(compared()), _by_part(), lt.plot_who_pays(dots, base)],
        truth=verdict,
        because=f"Margins on top of cosines and DRW: {points(found)} over all classes. The chart asks more: who lies "
        f"beyond the line that the slider draws? Its legend says so for each dot. Read NormFace and LDAM with care: under "
        f"{outside(normface())} and {outside(photos('ldam'))} of {len(base)} seeds they leave the frequent classes more "
        "accurate than the slider does at any τ >= 0; there the distance is to the line continued below τ = 0, or to its end.",
    )


def outside(runs):
    """Under how many seeds these runs leave the frequent classes more accurate than the slider does at any tau >= 0."""
    lines = [lt.metrics.frontier(plain) for plain in photos("ce")]
    return sum(
        lt.metrics.shot_accuracy(run)["head"] > line.head[line.tau >= 0].max()
        for run, line in zip(runs, lines, strict=True)
    )


# ---------------------------------------------------------------------------------------------------------- claims
def _row(printed, reading, ours, base, sign=1):
    found = lt.metrics.paired(ours, base)
    if found.p >= 0.05:
        holds = "undecided"
    else:
        holds = bool(found.mean * sign > 0)
    return printed, reading, points(found), holds


def claims():
    """What Cao et al. print for CIFAR-10-LT at ratio 100, and what is measured here, folded."""
    table = lt.published.published("CIFAR-10-LT", ratio=100, profile="exp", group="A")

    def error(method, source="Cao et al. 2019, table 2"):
        return float(table[(table.method == method) & (table.source == source)].value.iloc[0])

    plain = float(table[(table.key == "ce")].value.iloc[0])
    zhou = "Zhou et al. 2020, table 1"
    ldam, both, early = error("LDAM"), error("LDAM-DRW"), error("CB re-weighting (CE)")
    late_error, drs = error("CE-DRW", zhou), error("CE-DRS", zhou)
    ten = "photographs, ten seeds, all classes"
    rows = [
        _row(f"LDAM alone beats cross-entropy: error {ldam:g} against {plain:g}%", f"LDAM - plain, {ten}",
             photos("ldam"), photos("ce")),
        _row(f"LDAM with DRW beats cross-entropy: {both:g} against {plain:g}%", f"LDAM + DRW - plain, {ten}",
             ldam_drw(), photos("ce")),
        _row(f"DRW improves LDAM: {both:g} against {ldam:g}%", f"LDAM + DRW - LDAM, {ten}",
             ldam_drw(), photos("ldam")),
        _row(f"Weights late beat weights from the start: {late_error:g} (Zhou et al. 2020) against {early:g}%",
             f"plain + DRW - class-balanced β = 0.9999, both divided by n, {ten}", drw(reduction="n"), from_the_start()),
        _row(f"Cosines and margins add to DRW: {both:g} against {late_error:g}% (Zhou et al. 2020)",
             f"LDAM + DRW - plain + DRW, {ten}", ldam_drw(), drw()),
        (*_row("Margins alone add to DRW: not printed", f"LDAM + DRW - NormFace + DRW, {ten}",
               ldam_drw(), normface_drw())[:3], "not printed"),
        _row(f"DRW beats DRS: {late_error:g} against {drs:g}% (both Zhou et al. 2020)",
             f"plain + DRW - plain + DRS, {ten}", drw(), photos("ce_drs")),
    ]  # fmt: skip
    shown = lt.study.claims_table(rows)
    title = "LDAM and DRW: what was printed, and what is measured here"
    note = (
        "<div>Printed: CIFAR-10-LT at 32 x 32, ratio 100, 5,000 images in the largest class, ResNet-32, 200 epochs. "
        "Here: 16 x 16, 2,000 images, a small network, 40 epochs. So a claim that does not hold here is not refuted "
        "there.</div>"
    )
    html = box("note", "CLAIMS", title, fold("Open this after the predictions", shown.html + note))
    return Card(html, f"{title}: folded, for after the predictions.")


# ------------------------------------------------------------------------------------------------------- exercises
def _optimal(n1, n2, total):
    a, b = float(n1) ** -0.25, float(n2) ** -0.25
    return torch.tensor([total * a / (a + b), total * b / (a + b)], dtype=torch.float64)


def _power(exponent):
    def split(n1, n2, total):
        a, b = float(n1) ** exponent, float(n2) ** exponent
        return torch.tensor([total * a / (a + b), total * b / (a + b)], dtype=torch.float64)

    return split


def _bound(margins, n1, n2):
    d1, d2 = (float(one) for one in margins)
    return 1 / (d1 * np.sqrt(n1)) + 1 / (d2 * np.sqrt(n2))


def _no_better(answer):
    """Whether no other split of the same total has a smaller bound, on a grid."""
    if not callable(answer):
        return False
    found = lt.study.exercise.one_tensor(answer(400, 9, 1.0), (2,)).double()
    if found.shape != (2,) or not torch.isclose(found.sum(), torch.tensor(1.0, dtype=torch.float64), atol=1e-4):
        return False
    grid = np.linspace(0.01, 0.99, 981)
    return _bound(found, 400, 9) <= min(_bound((d, 1 - d), 400, 9) for d in grid) + 1e-6


split = lt.Exercise(
    "Why the fourth root",
    r"""Two classes with $n_1$ and $n_2$ images share the room between them: their margins sum to a fixed `total`, $\Delta_1 + \Delta_2 = T$. For margins that are met, Cao et al. bound the balanced test error, up to constants, by

$$\frac{1}{\Delta_1 \sqrt{n_1}} + \frac{1}{\Delta_2 \sqrt{n_2}} .$$

Write `split(n1, n2, total)`: the two margins that make this smallest, a tensor (2,). Derive it on paper: set the derivative to zero along $\Delta_2 = T - \Delta_1$. (For ten classes LDAM keeps the $n^{-1/4}$ and fixes the largest margin, not the sum.)""",
    """
def split(n1, n2, total):
    a, b = n1 ** -0.25, n2 ** -0.25
    return torch.tensor([total * a / (a + b), total * b / (a + b)])
""",
    [
        lt.study.Case("equal counts share equally", (50, 50, 1.0), "Nothing tells the two classes apart."),
        lt.study.Case("16 images and 1", (16, 1, 0.9), "The fourth root of 16 is 2, so one margin is twice the other. Which?"),
        lt.study.Case("2,000 images and 20", (2000, 20, 0.5), "The ratio of the margins is $(n_1/n_2)^{1/4}$, the rarer class has the larger one."),
        lt.study.Case("the rare class comes first", (5, 5000, 1.0), "The first margin belongs to the first class."),
        lt.study.Claim("no other split of the total has a smaller bound", _no_better, "Try a few splits by hand: does one give less?"),
    ],
    oracle=_optimal,
    hints=[
        "Only one number is free: put $\\Delta_2 = T - \\Delta_1$ in.",
        "At the smallest value the two derivatives by the margins are equal: moving a little room from one class to the other changes nothing.",
        "The derivative of $1/(\\Delta \\sqrt n)$ by $\\Delta$ is $-1/(\\Delta^2 \\sqrt n)$. Equal derivatives say how $\\Delta_1/\\Delta_2$ depends on $n_1/n_2$.",
    ],
    mistakes={
        "The margins are exchanged: the class with fewer images needs the larger one.": lambda n1, n2, total: _optimal(n1, n2, total).flip(0),
        "That is in proportion to $n^{-1/2}$: it makes the two terms of the bound equal, not their sum smallest.": _power(-0.5),
        "That is in proportion to $1/n$.": _power(-1.0),
        "The ratio is right, but the two do not sum to `total`.": lambda n1, n2, total: torch.tensor([float(n1) ** -0.25, float(n2) ** -0.25], dtype=torch.float64),
    },
    given={"torch": torch},
)  # fmt: skip


_COS = torch.tensor([[0.5, 0.2, -0.1], [0.3, 0.4, 0.1], [0.2, 0.6, 0.1], [0.9, -0.2, 0.5]], dtype=torch.float64)
_Y, _N = torch.tensor([0, 1, 2, 2]), torch.tensor([500.0, 50.0, 5.0])
_MOST, _SCALE, _BETA = 0.5, 30.0, 0.9999


def _margins(cosine, counts):
    return ldam_margins(counts, _MOST).to(cosine.dtype)


def _batch(losses, targets, counts, late, weights=None):
    """Mean of the losses (n,), weighted where the weights have begun."""
    if not late:
        return losses.mean()
    w = (class_balanced_weights(counts, _BETA) if weights is None else weights).to(losses.dtype)[targets]
    return (w * losses).sum() / w.sum()


def _losses(cosine, targets, counts):
    return ldam_loss(cosine, targets, _margins(cosine, counts), _SCALE)


def _ldam_drw(cosine, targets, counts, late):
    return _batch(_losses(cosine, targets, counts), targets, counts, late)


def _on_all(cosine, targets, counts, late):
    z = _SCALE * (cosine - _margins(cosine, counts))
    return _batch(torch.nn.functional.cross_entropy(z, targets, reduction="none"), targets, counts, late)


def _after_scale(cosine, targets, counts, late):
    own = torch.nn.functional.one_hot(targets, cosine.shape[1]) * _margins(cosine, counts)
    losses = torch.nn.functional.cross_entropy(_SCALE * cosine - own, targets, reduction="none")
    return _batch(losses, targets, counts, late)


def _no_margin(cosine, targets, counts, late):
    return _batch(ldam_loss(cosine, targets, 0 * _margins(cosine, counts), _SCALE), targets, counts, late)


def _never(cosine, targets, counts, late):
    return _losses(cosine, targets, counts).mean()


def _always(cosine, targets, counts, late):
    return _ldam_drw(cosine, targets, counts, True)


def _divided_by_n(cosine, targets, counts, late):
    w = class_balanced_weights(counts, _BETA).to(cosine.dtype) if late else torch.ones_like(counts).to(cosine.dtype)
    return (w[targets] * _losses(cosine, targets, counts)).mean()


def _not_normalised(cosine, targets, counts, late):
    w = (1 - _BETA) / (1 - _BETA ** counts.double()) if late else torch.ones_like(counts).double()
    return (w[targets] * _losses(cosine, targets, counts)).mean()


def _one_over_n(cosine, targets, counts, late):
    return _batch(_losses(cosine, targets, counts), targets, counts, late, 1 / counts)


ldam_exercise = lt.Exercise(
    "LDAM with DRW",
    r"""Write `ldam_drw(cosine, targets, counts, late)`: the loss of a batch, one number. `MyLDAM` above leaves out the weights; here they are part of it. The largest margin is 0.5, $s = 30$ and $\beta = 0.9999$. `late` says whether the weights have begun.

Shapes: cosine (n, k), targets (n,), counts (k,).""",
    """
def ldam_drw(cosine, targets, counts, late):
    rarity = counts.double() ** -0.25
    margins = (0.5 * rarity / rarity.max()).to(cosine.dtype)
    own = torch.nn.functional.one_hot(targets, cosine.shape[1])
    losses = torch.nn.functional.cross_entropy(30 * (cosine - margins * own), targets, reduction="none")
    if not late:
        return losses.mean()
    w = ((1 - 0.9999) / (1 - 0.9999 ** counts.double())).to(cosine.dtype)[targets]
    return (w * losses).sum() / w.sum()
""",
    [
        lt.study.Case("four images, before the weights", (_COS, _Y, _N, False), "Without weights: LDAM's loss of each image, then the mean.", gradient=True),
        lt.study.Case("the same, with weights", (_COS, _Y, _N, True), "Each image's loss times the weight of its class; see the formula of deferral.", gradient=True),
        lt.study.Case("equal counts", (_COS, _Y, torch.tensor([7.0, 7.0, 7.0]), True), "Equal weights change nothing when their sum divides.", gradient=True),
        lt.study.Case("one class alone in the batch", (_COS[2:], _Y[2:], _N, True), "Only the weights of images in the batch are summed.", gradient=True),
    ],
    oracle=_ldam_drw,
    hints=[
        "Two steps: a loss for each image, then a mean over them. Only the second one knows about `late`.",
        "Each image's margin and weight are those of its own class: `margins[targets]`, `w[targets]`. How do you take the margin from the true class's cosine alone?",
        "With weights the mean is a weighted one: what must it be divided by, so that equal weights leave it as it is?",
    ],
    mistakes={
        "You took every class's margin from its cosine. Only the true class has one in the loss of an image.": _on_all,
        "The margin comes before the scale: it is a cosine, and the scale multiplies it too.": _after_scale,
        "The margin is missing.": _no_margin,
        "The weights are missing.": _never,
        "The weights have not begun yet when `late` is False.": _always,
        "You divided by the number of images. Here the sum of their weights divides.": _divided_by_n,
        "You divided by the number of images; here the sum of their weights divides.": _not_normalised,
        "These weights are 1/n, the limit β = 1.": _one_over_n,
        "Return one number for the batch, not one loss for each image.": lambda c, y, n, late: _losses(c, y, n),
    },
    given={"torch": torch},
)  # fmt: skip


# ------------------------------------------------------------------------------------------- exercise: two ways on
_EPOCHS, _DONE, _STARTS = 6, 2, (3, 5)


def _trunk():
    """A short run that stands between two epochs, before its weights begin."""
    trunk = Trainer("ce_drw", _digits(), epochs=_EPOCHS, deferral=4 / _EPOCHS)
    for _ in range(_DONE):
        trunk.run_epoch()
    return trunk


@functools.cache
def _digits():
    return lt.digits_lt(ratio=20)


def _finished(answer):
    found = answer(_trunk(), _STARTS)
    return isinstance(found, (list, tuple)) and [getattr(run, "status", "") for run in found] == ["finished"] * 2


def _begin_there(answer):
    return [int(np.argmax(run.history["stage"] > 0)) for run in answer(_trunk(), _STARTS)] == list(_STARTS)


def _as_if_from_the_start(answer):
    for run, start in zip(answer(_trunk(), _STARTS), _STARTS, strict=True):
        whole = lt.train("ce_drw", _digits(), epochs=_EPOCHS, deferral=start / _EPOCHS, progress=False)
        if not np.array_equal(run.history["loss"], whole.history["loss"]):
            return False
    return True


def _left_alone(answer):
    trunk = _trunk()
    answer(trunk, _STARTS)
    return trunk.epoch == _DONE


branches = lt.Exercise(
    "When should the weights begin?",
    """`trunk` is a `Trainer` of `ce_drw` that stands between two epochs; its weights have not begun. Write `branches(trunk, starts)`: a list with one finished run for each number in `starts`, the run in which the weights begin after that many epochs. Train the epochs that they share only once.

`branch(trunk, ...)` takes settings of the method, and `deferral` is the share of the epochs before the weights; `trunk.recipe.epochs` says how many epochs there are. When your function passes, use it on the bench: `trunk = Trainer("ce_drw", digits)`, five epochs, then `starts = (6, 12, 24, 48)`. Which start gives the rare classes, the last three, the best **validation** accuracy? `run.history["val_accuracy"][-1]` has it for each class. Repeat it with `lt.digits_lt(seed=1, class_order="seed")` and `seed=1`, then 2: when should the weights begin?""",
    """
def branches(trunk, starts):
    return [branch(trunk, deferral=start / trunk.recipe.epochs).run() for start in starts]
""",
    [
        lt.study.Case("no start, no run", (None, ()), "An empty list."),
        lt.study.Claim("a list of finished runs, one a start", _finished, "`branch` gives a Trainer; its `.run()` trains to the end and returns the run."),
        lt.study.Claim("after 2 epochs: the weights begin after 3 and after 5 of 6", _begin_there, "`deferral` is a share of the epochs, not an epoch."),
        lt.study.Claim("each equals the run trained with that setting from the first epoch on", _as_if_from_the_start, "All branches must leave from where the trunk stands, with the same β."),
        lt.study.Claim("the trunk stands where it stood", _left_alone, "`trunk.run()` and `trunk.run_epoch()` move the trunk itself. Let only its branches go on."),
    ],
    oracle=lambda trunk, starts: torch.zeros(0),
    hints=[
        "The first epochs are done, and both runs share them: what must be made for each start, and what must not be trained again?",
        "One branch for each start. Which setting of `ce_drw` says when the weights begin?",
        "A start of 3 in a training of 6 epochs is a deferral of one half.",
    ],
    given={"branch": branch},
)  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ quiz
def quiz():
    """Five questions."""
    weights = class_balanced_weights(torch.as_tensor(photos("ce", seed=0)[0].counts), 0.9999)
    ratio = float(weights.max() / weights.min())
    root = f"{(2000 / 20) ** 0.25:.1f}"
    return lt.Quiz(
        [
            lt.study.Question(
                "A colleague adds the LDAM margins to the scores at test time, so that rare classes win more often. What "
                "is that?",
                {
                    "What the paper does.": "The paper decides by the largest cosine. The margin is in the loss alone.",
                    "A post-hoc rule with a shift of its own, like subtracting a prior.": "Yes. It moves borders, which "
                    "the margin of training does not; it needs its own justification.",
                    "It changes nothing, as all scores move alike.": "Each class would get another shift.",
                },
                "A post-hoc rule with a shift of its own, like subtracting a prior.",
            ),
            lt.study.Question(
                "A class of 2,000 images and one of 20. How many times larger is the LDAM margin of the rare one?",
                {
                    "100": "That would be 1/n.",
                    "10": "That would be one over the square root.",
                    root: "Yes: the fourth root of 100.",
                },
                root,
            ),
            lt.study.Question(
                "Why does the loss of a cosine classifier with $s = 2$ and 100 classes stay high, however long it trains?",
                {
                    "It has too few parameters.": "It has as many as any last layer.",
                    "Its logits cannot differ enough.": "Yes: the probability of the true class "
                    "stays small even for perfect features, so every image keeps pulling.",
                    "Cosines ignore rare classes.": "A cosine ignores lengths, for all classes alike.",
                },
                "Its logits cannot differ enough.",
            ),
            lt.study.Question(
                f"On the photographs the deferred weight of the rarest class is {ratio:.0f} times that of the most frequent "
                "(β = 0.9999). On a training set that is learned by heart, with a loss below about 0.0001, as LDAM's on the bench, "
                "such weights change little. Why?",
                {
                    "The learning rate is 0 by then.": "It is small but not 0 when they begin.",
                    "The gradients that they multiply are almost 0.": "Yes. A weight only multiplies.",
                    "The weights are normalised.": "They are, but their ratio is what matters.",
                },
                "The gradients that they multiply are almost 0.",
            ),
            lt.study.Question(
                "A paper reports that LDAM with DRW beats cross-entropy by 7 points. Which further runs, under the same seeds, "
                "show what the margins do to that?",
                {
                    "LDAM without DRW.": "That shows what the weights do when the margins are there.",
                    "Cross-entropy with DRW.": "Two things still change from there: the cosines and the margins. On the "
                    "photographs, over all classes, the cosines gain, the margins lose, and together the difference is "
                    "undecided; frequent classes gain, rare ones lose.",
                    "The cosine classifier with DRW, without margins.": "Yes. Then the margins are all that changes.",
                },
                "The cosine classifier with DRW, without margins.",
            ),
        ]
    )
