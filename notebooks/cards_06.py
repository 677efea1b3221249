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
from ltviz.study.cards import Card, box, fold

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


def points(found):
    """A paired difference in percentage points, with its 95 % interval and verdict."""
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
    ax.set_title("margin in training: by so much must the cosine of the true class win", fontsize=10)
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
    """Validation accuracy of frequent and of rare classes after each epoch, mean over seeds, of several groups."""
    axes = new_figure(9.4, 3.5).subplots(1, 2)
    data, said = {}, []
    for ax, (group, title) in zip(axes, {"head": "frequent classes", "tail": "rare classes"}.items(), strict=True):
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
    axes[1].legend(loc="upper left", title=f"line: {at} epochs are done")
    return Picture(list(axes), data, "At the end, mean of ten seeds. " + "; ".join(said) + ".")


# ----------------------------------------------------------------------------------------------------- predictions
scale_one = lt.Predict(
    "Ten classes, scale $s = 1$, no margin. Every image lies exactly on its own classifier vector, and the ten vectors "
    "are as far apart as ten vectors can be. How large is the probability of the true class?",
    number=(0, 100, 1),
    default=90,
    unit=" %",
)


def open_scale_one():
    """The answer: Proposition 2 of NormFace."""
    loss = {s: loss_bound(10, s) for s in (1.0, 4.0, 16.0)}
    best = {s: 100 * np.exp(-value) for s, value in loss.items()}
    told = ", ".join(f"{value:.2g} at s = {s:g}" for s, value in loss.items())
    return scale_one.reveal(
        lt.say(f"At most **{best[1.0]:.1f} %** at s = 1, and {best[4.0]:.1f} % at s = 4. The smallest loss: {told}."),
        truth=best[1.0],
        tolerance=6,
        because="This is calculated (Wang et al. 2017, Proposition 2). The logits lie between -s and s, and ten "
        "vectors cannot all be opposite to one another: at best their cosines are -1/9. So the true logit leads by "
        "only 10/9 at s = 1, and the loss can never become small.",
    )


margin_at_test = lt.Predict(
    "Three vectors, 120° apart. In training LDAM gives the rare class a margin of 0.50, the middle one 0.28 and the "
    "frequent one 0.16. The vectors stay where they are. How wide is the slice that the rare class gets **at test**?",
    number=(60, 180, 1),
    default=150,
    unit="°",
)


def open_margin_at_test():
    """The answer, from the borders."""
    found = lt.metrics.slices([90.0, 210.0, 330.0], "ldam", 0.5, 30.0, [1000, 100, 10])
    width = 360 * float((found.decided == 2).mean())
    trained = 360 * float(found.met[:, 2].mean())
    return margin_at_test.reveal(
        lt.say(f"{width:.0f}° at test. In training an image of the rare class is right on only {trained:.0f}°."),
        truth=float(round(width)),
        tolerance=1,
        because="The margin is in the loss alone. At test the largest cosine decides, so the borders lie halfway "
        "between the vectors. A margin can help a class only by changing what is learned: where the features and the "
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
    """The answer, LDAM against its own classifier without margins, and the bench."""
    plain, ldam, cosine = photos("ce"), photos("ldam"), normface()
    groups = {"plain": plain, "cosine, no margin (NormFace)": cosine, "LDAM": ldam}
    groups |= {
        "CosFace": photos("cosface"),
        "AM-Softmax": photos("am_softmax"),
        "ArcFace": photos("arcface", margin=0.5),
    }
    arcface = groups["ArcFace"]
    chance = sum(run.accuracy < 1.2 / run.k for run in arcface)
    uniform = lt.metrics.paired(photos("am_softmax"), cosine)
    return ldam_alone.reveal(
        [lt.plot_comparison(groups), say_met()],
        truth=_change(lt.metrics.paired(ldam, plain, "tail")),
        because=f"Rare classes: {gained(ldam, plain)}; all classes {gained(ldam, plain, 'all')}. The cosine classifier "
        f"without margins gives the rare classes {gained(cosine, plain)}, and LDAM's margins on top of it {gained(ldam, cosine)}. "
        f"One margin for all classes (AM-Softmax, also s = 30) changes the cosine classifier by {points(uniform)} over all "
        f"classes. ArcFace (m = 0.5, s = 30) loses most: {chance} of its {len(arcface)} networks is no better than chance. On the bench LDAM alone gives the rare classes {gained(bench('ldam'), bench('ce'))}; against the "
        f"cosine classifier without margins {gained(bench('ldam'), normface(bench))}.",
    )


def say_met():
    """What the last training loss says about margins, on both sets of records."""
    told = []
    for name, folder in (("photographs", photos), ("bench", bench)):
        losses = np.array([run.history["loss"][-1] for run in folder("ldam")])
        plain = np.mean([run.history["loss"][-1] for run in normface(folder)])
        above = int((losses > np.log(10)).sum())
        told.append(
            f"{name}: **{losses.mean():.2g}** (without margins {plain:.2g}); above the limit under **{above}** of "
            f"{len(losses)} seeds"
        )
    return lt.say(
        "An image that meets its margin has the largest of ten logits, so its loss is at most log 10 = "
        f"{np.log(10):.2f}.",
        f"Mean training loss of LDAM in the last epoch, {'; '.join(told)}.",
        "Where the mean is above the limit, some images miss their margin to the end. A likely reading, not a proof: the "
        "network of the photographs is too small, and trained too briefly, for such margins, and most of the pull that "
        "remains comes from the frequent classes, which have most of the images.",
    )


late = lt.Predict(
    "Class weights ($\\beta = 0.9999$) on the photographs: from the first epoch, or only for the last 8 of 40 (DRW). "
    "Who gains from the deferral?",
    choices=["mainly the rare classes", "mainly the frequent and the middle classes", "all three groups alike",
             "nobody: it is worse"],
    default="mainly the rare classes",
)  # fmt: skip


def from_the_start():
    """Class weights of the same beta from the first epoch."""
    return photos("class_balanced", beta=0.9999, loss="softmax", reduction="n")


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
    """The courses of four methods, and deferral against weights from the start."""
    drw, start = photos("ce_drw"), from_the_start()
    found = {group: lt.metrics.paired(drw, start, group) for group in ("head", "mid", "tail", "all")}
    groups = {
        "plain": photos("ce"),
        "plain, then DRW": drw,
        "LDAM": photos("ldam"),
        "LDAM, then DRW": photos("ldam_drw"),
    }
    switch = int(np.argmax(drw[0].history["stage"] > 0))
    before, after = (rare_course(drw).mean(0)[i] for i in (switch - 1, switch))
    apart = max(
        float(np.abs(rare_course(a).mean(0) - rare_course(b).mean(0))[:switch].max())
        for a, b in ((photos("ce"), drw), (photos("ldam"), photos("ldam_drw")))
    )
    return late.reveal(
        plot_courses(groups, switch),
        truth=_gainers(found),
        because=f"Deferral against weights from the start: frequent {points(found['head'])}, middle "
        f"{points(found['mid'])}, rare {points(found['tail'])}, all {points(found['all'])}. The rare classes had more "
        "from the early weights; the others paid more for it. (The early weights divide by the number of images, the "
        "late ones by the sum of their weights.) The picture shows the recorded courses: in the first epoch "
        f"with weights, rare validation accuracy goes from {before:.0%} to {after:.0%}. Before the line the pairs are "
        "not equal epoch by epoch: same seeds, but the last digits of their arithmetic differed, and training makes that "
        f"grow. The means over seeds differ there by at most {100 * apart:.1f} points.",
    )


parts_on_the_bench = lt.Predict(
    f"On the bench, class weights begin after {AT} of {EPOCHS} epochs. By then both networks, cross-entropy and LDAM, "
    "answer every training image right. Whose **rare test accuracy** do the late weights still raise, clearly, over "
    "ten seeds?",
    choices=["both", "only cross-entropy's", "only LDAM's", "neither"],
    default="neither",
)


def open_parts_on_the_bench(grown, at, learned):
    """Both branches from the same moment, live, and the ten recorded seeds."""
    found = {key: lt.metrics.paired(bench(key), bench(key.removesuffix("_drw")), "tail") for key in NAMES}
    clear = [key for key, one in found.items() if one.verdict == "clearly better"]
    truth = {0: "neither", 2: "both"}.get(len(clear)) or f"only {NAMES[clear[0]]}'s"
    told = []
    for key, pairs in grown.items():
        losses = np.mean([run.history["loss"][at - 1] for run, _ in pairs])
        same = all((a.history["loss"][:at] == b.history["loss"][:at]).all() for a, b in pairs)
        before, after = (share(list(runs)) for runs in zip(*pairs, strict=True))
        told.append(
            f"{NAMES[key]} {losses:.2g}, then rare test accuracy {before:.1%} as before and {after:.1%} with weights"
            f"{'' if same else ' (the branches differ before they part)'}"
        )
    early = lt.metrics.paired(
        bench("class_balanced", beta=0.9999, loss="softmax", reduction="n"), bench("ce_drw"), "tail"
    )
    return parts_on_the_bench.reveal(
        plot_branches(grown, at),
        truth=truth,
        because=f"Ten recorded seeds, rare classes: cross-entropy {points(found['ce_drw'])}, LDAM "
        f"{points(found['ldam_drw'])}. A class weight multiplies a gradient, and where there is none it does nothing. "
        f"In the runs that you just trained, training accuracy is at least {min(learned):.0%} when the weights begin. "
        f"Mean training loss at that moment: {'; '.join(told)}. With a scale of 30 and all "
        "margins met, LDAM has next to nothing left to weigh. Even for cross-entropy it is late: weights from the "
        f"first epoch give the rare classes {points(early)} against the deferred ones.",
    )


margins_on_top = lt.Predict(
    "On the photographs, ten seeds: what do LDAM's margins add to deferred weights? (LDAM with DRW against "
    "cross-entropy with DRW, mean accuracy over **all** classes.)",
    choices=["a clear gain", "a clear loss", "no clear difference"],
    default="a clear gain",
)


def compared():
    """The series of the table, the plain network first."""
    return {
        "plain": photos("ce"),
        "cosine, no margin (NormFace)": normface(),
        "LDAM": photos("ldam"),
        "plain + DRW": photos("ce_drw"),
        "LDAM + DRW": photos("ldam_drw"),
        "plain + DRS": photos("ce_drs"),
        "weights from the start": from_the_start(),
        "L2-constrained": photos("l2_constrained"),
        "range loss": photos("range"),
    }


def open_margins_on_top():
    """The table of the chapter, and the chart of the course."""
    ours, drw, drs, base = photos("ldam_drw"), photos("ce_drw"), photos("ce_drs"), photos("ce")
    found = lt.metrics.paired(ours, drw)
    verdict = {"clearly better": "a clear gain", "clearly worse": "a clear loss"}.get(
        found.verdict, "no clear difference"
    )
    dots = {"LDAM": photos("ldam"), "plain + DRW": drw, "LDAM + DRW": ours, "plain + DRS": drs, "NormFace": normface()}
    beyond = {
        name: {group: points(lt.metrics.beyond(runs, base, group)) for group in ("tail", "mid", "all")}
        for name, runs in dots.items()
    }
    ahead = lt.metrics.frontier(base[0]).tau >= 0
    lines = [lt.metrics.frontier(run) for run in base]
    outside = sum(
        lt.metrics.shot_accuracy(run)["head"] > line.head[ahead].max()
        for run, line in zip(normface(), lines, strict=True)
    )
    closer = lt.metrics.paired(
        [lt.metrics.shot_accuracy(run)["tail"] for run in normface()],
        [
            line.tail_at(lt.metrics.shot_accuracy(run)["head"] - 0.01)
            for run, line in zip(normface(), lines, strict=True)
        ],
    )
    return margins_on_top.reveal(
        [lt.study.comparison(compared()), lt.plot_who_pays(dots, base)],
        truth=verdict,
        because=f"All classes: {points(found)}; rare classes {gained(ours, drw)}. Against the slider at equal accuracy "
        f"of the frequent classes, the rare ones have: plain + DRW {beyond['plain + DRW']['tail']}, LDAM + DRW "
        f"{beyond['LDAM + DRW']['tail']}, plain + DRS {beyond['plain + DRS']['tail']}. DRW's middle classes: "
        f"{beyond['plain + DRW']['mid']}. NormFace lies where the line begins ({beyond['NormFace']['tail']}), and "
        f"there the comparison is uncertain: under {outside} of {len(base)} seeds no τ >= 0 leaves the frequent classes as "
        f"much, and where the slider may take one point more from them, the lead is {points(closer)}.",
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
    drw, drs = error("CE-DRW", zhou), error("CE-DRS", zhou)
    ten = "photographs, ten seeds, all classes"
    rows = [
        _row(f"LDAM alone beats cross-entropy: error {ldam:g} against {plain:g} %", f"LDAM - plain, {ten}",
             photos("ldam"), photos("ce")),
        _row(f"LDAM with DRW beats cross-entropy: {both:g} against {plain:g} %", f"LDAM + DRW - plain, {ten}",
             photos("ldam_drw"), photos("ce")),
        _row(f"DRW improves LDAM: {both:g} against {ldam:g} %", f"LDAM + DRW - LDAM, {ten}",
             photos("ldam_drw"), photos("ldam")),
        _row(f"Weights late beat weights from the start: {drw:g} (Zhou et al. 2020) against {early:g} %",
             f"plain + DRW - class-balanced β = 0.9999, {ten}", photos("ce_drw"), from_the_start()),
        _row(f"Margins add to DRW: {both:g} against {drw:g} % (Zhou et al. 2020)", f"LDAM + DRW - plain + DRW, {ten}",
             photos("ldam_drw"), photos("ce_drw")),
        _row(f"DRW beats DRS: {drw:g} against {drs:g} % (both Zhou et al. 2020)", f"plain + DRW - plain + DRS, {ten}",
             photos("ce_drw"), photos("ce_drs")),
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
    found = torch.as_tensor(answer(400, 9, 1.0)).double()
    if found.shape != (2,) or not torch.isclose(found.sum(), torch.tensor(1.0, dtype=torch.float64), atol=1e-4):
        return False
    grid = np.linspace(0.01, 0.99, 981)
    return _bound(found, 400, 9) <= min(_bound((d, 1 - d), 400, 9) for d in grid) + 1e-6


split = lt.Exercise(
    "Why the fourth root",
    r"""Two classes with $n_1$ and $n_2$ images share the room between them: their margins sum to a fixed `total`, $\Delta_1 + \Delta_2 = T$. For margins that are met, Cao et al. bound the balanced test error, up to constants, by

$$\frac{1}{\Delta_1 \sqrt{n_1}} + \frac{1}{\Delta_2 \sqrt{n_2}} .$$

Write `split(n1, n2, total)`: the two margins that make this smallest, a tensor (2,). Derive it on paper: set the derivative to zero along $\Delta_2 = T - \Delta_1$. Then say what LDAM does with it for ten classes: is their sum fixed?""",
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
_Y, _N = torch.tensor([0, 1, 2, 2]), torch.tensor([100.0, 10.0, 1.0])


def _ldam(cosine, targets, counts, most, scale):
    return ldam_loss(cosine, targets, ldam_margins(counts, most).to(cosine.dtype), scale)


def _on_all(cosine, targets, counts, most, scale):
    return torch.nn.functional.cross_entropy(scale * (cosine - ldam_margins(counts, most)), targets, reduction="none")


def _after_scale(cosine, targets, counts, most, scale):
    own = torch.nn.functional.one_hot(targets, cosine.shape[1]) * ldam_margins(counts, most)
    return torch.nn.functional.cross_entropy(scale * cosine - own, targets, reduction="none")


def _added(cosine, targets, counts, most, scale):
    return ldam_loss(cosine, targets, -ldam_margins(counts, most).to(cosine.dtype), scale)


def _not_scaled(cosine, targets, counts, most, scale):
    return ldam_loss(cosine, targets, counts.double().pow(-0.25).to(cosine.dtype), scale)


ldam_exercise = lt.Exercise(
    "LDAM",
    """Write `ldam(cosine, targets, counts, most, scale)`: the loss of each image (n,). The margin of class $j$ is in proportion to $n_j^{-1/4}$, and the rarest class has `most`. It is taken from the cosine of the true class alone, before the scale.

Shapes: cosine (n, k), targets (n,), counts (k,); `most` and `scale` are numbers. One check has a scale of 300 in float32.""",
    """
def ldam(cosine, targets, counts, most, scale):
    margins = counts.double() ** -0.25
    margins = (most * margins / margins.max()).to(cosine.dtype)
    own = torch.nn.functional.one_hot(targets, cosine.shape[1]).to(cosine.dtype)
    z = scale * (cosine - own * margins)
    return z.logsumexp(1) - z[torch.arange(len(z)), targets]
""",
    [
        lt.study.Case("four images, s = 30", (_COS, _Y, _N, 0.5, 30.0), "First the margins of all classes, then each image's own.", gradient=True),
        lt.study.Case("no margin", (_COS, _Y, _N, 0.0, 10.0), "With `most` = 0 it is cross-entropy of s times the cosines.", gradient=True),
        lt.study.Case("equal counts", (_COS, _Y, torch.tensor([7.0, 7.0, 7.0]), 0.3, 5.0), "Then every class has the margin `most`: CosFace.", gradient=True),
        lt.study.Case("s = 300 in float32", (_COS.float(), _Y, _N, 0.5, 300.0), "`exp` of 300 is infinite in float32. Use `logsumexp`."),
    ],
    oracle=_ldam,
    hints=[
        "Three steps: margins from counts, logits with the margin, cross-entropy.",
        "A matrix that is 1 at each image's true class and 0 elsewhere puts the margin where it belongs.",
        "Subtract before you multiply by the scale; then `logsumexp` minus the true logit.",
    ],
    mistakes={
        "You took every class's margin from its cosine. Only the true class has one in the loss of an image.": _on_all,
        "The margin comes before the scale: it is a cosine, and the scale multiplies it too.": _after_scale,
        "You added the margin, which makes the task easier.": _added,
        "The margins must be scaled so that the largest is `most`.": _not_scaled,
        "Return one loss for each image, not their mean.": lambda *given: _ldam(*given).mean(),
    },
    given={"torch": torch},
)  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ quiz
def quiz():
    """Five questions."""
    weights = class_balanced_weights(torch.as_tensor(photos("ce", seed=0)[0].counts), 0.9999)
    ratio = float(weights.max() / weights.min())
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
                    "3.2": "Yes: the fourth root of 100.",
                },
                "3.2",
            ),
            lt.study.Question(
                "Under which of these does a cosine classifier with $s = 2$ and 100 classes fail to learn?",
                {
                    "It has too few parameters.": "It has as many as any last layer.",
                    "Its loss cannot become small: the logits are too close.": "Yes: the probability of the true class "
                    "stays small even for perfect features, so every image keeps pulling.",
                    "Cosines ignore rare classes.": "A cosine ignores lengths, for all classes alike.",
                },
                "Its loss cannot become small: the logits are too close.",
            ),
            lt.study.Question(
                f"Deferred weights multiply the gradients of the rarest class by up to {ratio:.0f} times as much as those "
                "of the most frequent. On a training set that is learned by heart with a loss near 0 they change little. Why?",
                {
                    "The learning rate is 0 by then.": "It is small but not 0 when they begin.",
                    "A large number times almost nothing is almost nothing.": "Yes. The gradient must still be there.",
                    "The weights are normalised.": "They are, but their ratio is what matters.",
                },
                "A large number times almost nothing is almost nothing.",
            ),
            lt.study.Question(
                "A paper reports that LDAM with DRW beats cross-entropy by 7 points. What would you ask for first?",
                {
                    "More margins.": "First find out which part does it.",
                    "Cross-entropy with DRW, under the same seeds.": "Yes. Two things changed; on the photographs one "
                    "of them explains the whole gain.",
                    "A larger network.": "That would change a third thing.",
                },
                "Cross-entropy with DRW, under the same seeds.",
            ),
        ]
    )
