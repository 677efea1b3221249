"""Chapter 01: its predictions, exercises and quiz, and the figures and numbers that they open."""

import functools
import itertools
import os
from types import SimpleNamespace

import numpy as np
import torch
from scipy import stats

import ltviz as lt
from ltviz.datasets.plane import plane_test
from ltviz.explore.throw import NAMES, throws
from ltviz.methods import METHODS
from ltviz.metrics.throws import decide
from ltviz.plots.photo_row import PhotoRow
from ltviz.plots.picture import GROUP_COLOURS, INK, PALETTE, QUIET, Picture, draws, new_figure, percent
from ltviz.study.cards import Card, fold, inline

header = lt.chapter(
    "What is a long tail, and which numbers can be trusted?",
    objectives=[
        "choose a score that fits who will use a network, and say what plain accuracy hides",
        "read the whole training loop in plain torch, and say where a loss of your own goes",
        "read a difference with its interval, paired by seed",
        "say what three seeds can show, and what a fixed class order leaves out",
    ],
    prerequisites=["[chapter 00](00_start_here.ipynb): confusion matrix, τ", "softmax cross-entropy"],
    reading=60,
    computing="about half a minute",
    papers=[
        "Cui et al. 2019: exponential profile and imbalance ratio; Cao et al. 2019: step profile",
        "Menon et al. 2021: balanced error, section 2",
        "Benjamin et al. 2018, *Redefine statistical significance*: p < .005",
    ],
    data="the photographs (CIFAR-10, long-tailed, recorded, ten seeds) and the bench (digits). No download, no GPU",
)

TRIPLES = np.array(list(itertools.combinations(range(10), 3)))
CLEAR = lt.metrics.comparison.CLEAR
SEEDS = 3 if os.environ.get("LTVIZ_PROFILE") == "fast" else 10  # of what the chapter trains by itself
VERDICTS = ("clearly better", "suggestive: better", "undecided")
LABELS = dict(zip(VERDICTS, ("clear", "suggestive", "undecided"), strict=True))


# --------------------------------------------------------------------------------------------------------- records
@functools.cache
def records(recipe, method=None):
    """The recorded runs of a recipe by label, in the order of their seeds; those with ten seeds."""
    found = {}
    for run in sorted(lt.recorded(recipe, method), key=lambda run: run.seed):
        found.setdefault(run.label, []).append(run)
    return {label: runs for label, runs in found.items() if len(runs) == 10}


def runs(recipe, label):
    """Ten recorded runs, one a seed."""
    return records(recipe, label.split()[0])[label]


def name_of(label):
    """A recorded method in words: "Dual loss (weight strength 1, ...)"."""
    key, *settings = label.split()
    told = ", ".join(one.replace("_", " ").replace("=", " ") for one in settings)
    return METHODS[key].title + (f" ({told})" if told else "")


def same_tail(run):
    """Accuracy where images occur as often as in training."""
    return lt.metrics.expected_accuracy(run.per_class, lt.metrics.power_prior(run.counts, 1.0))


def group(several, name="all"):
    """The accuracy of a group of classes in each run."""
    return np.array([lt.metrics.shot_accuracy(run)[name] for run in several])


def mean(function, several):
    return float(np.mean([function(run) for run in several]))


def gain(label):
    """By how much a recorded method of the bench is better than the plain network, for each of ten seeds."""
    return group(runs("digits", label)) - group(runs("digits", "ce"))


@functools.cache
def gains():
    """The same of every recorded method."""
    plain = group(runs("digits", "ce"))
    return {label: group(some) - plain for label, some in records("digits").items() if label != "ce"}


def against_zero(differences):
    """The verdict on the mean of these differences, one a seed."""
    return lt.metrics.paired(differences, np.zeros(len(differences)))


def triples(differences):
    """Mean (120,) and p (120,) of each choice of three seeds of ten, as `lt.metrics.paired` has them."""
    some = differences[TRIPLES]
    middle, error = some.mean(1), stats.sem(some, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * stats.t.sf(np.abs(middle / error), 2)
    return middle, np.where(error < 1e-12, np.where(np.abs(middle) < 1e-12, 1.0, 0.0), p)


@functools.cache
def survival():
    """Clear gains at three seeds, over all methods and choices of three: how many, and how many are clear at ten."""
    clear, survive, excess, lost = 0, 0, [], {}
    for label, differences in gains().items():
        middle, p = triples(differences)
        sure = (p < CLEAR) & (middle > 0)
        holds = against_zero(differences).verdict == VERDICTS[0]
        clear, survive = clear + int(sure.sum()), survive + int(sure.sum()) * holds
        excess += list(middle[sure] - differences.mean())
        if sure.any() and not holds:
            lost[label] = int(sure.sum())
    return SimpleNamespace(
        methods=len(gains()),
        clear=clear,
        survive=survive,
        share=survive / clear,
        excess=float(np.mean(excess)),
        above=float(np.mean(np.array(excess) > 0)),
        lost=lost,
    )


def half_unpaired(ours, base):
    """Half the 95% interval of a difference whose two sides are not paired (Welch)."""
    low, high = stats.ttest_ind(ours, base, equal_var=False).confidence_interval()
    return float(high - low) / 2


# ------------------------------------------------------------------------------------------------------- sentences
def rare_answers(ratio, seed=0):
    """The share of the answers that go to the two rarest classes, on a test set of equally many points of each."""
    return float((decide(throws(ratio, "exp", "seed", 100).weights[seed], plane_test()[0]) >= 4).mean())


def spread(shares):
    """Standard deviation in points."""
    return 100 * shares.std(ddof=1)


def say_throws():
    """What the throws say: one at ratio 1 and 100, and all of them with the class order drawn and the natural one."""
    first, last = ([100 * one for one in throws(ratio, "exp", "seed", 100).scores[:, 0]] for ratio in (1.0, 100.0))
    told = [f"{name} from {a:.1f} to {b:.1f}%" for name, a, b in zip(NAMES[1:], first[1:], last[1:], strict=True)]
    given = [rare_answers(ratio) for ratio in (1.0, 100.0)]
    scores, natural = (throws(50.0, "exp", order, 100).scores for order in ("seed", "natural"))
    even = {order: throws(1.0, "exp", order, 100).scores[3].mean() for order in ("seed", "natural")}
    low, high = scores.min(1), scores.max(1)
    lines = (
        "Task 1. Throw 0, from ratio 1 to 100: the borders of the rare classes move into their clouds. With equally "
        f"many test points of each class, the two rarest get {given[0]:.0%} of the answers, then **{given[1]:.0%}**. "
        f"Three scores tell you: {', '.join(told)}. Accuracy does not: it rises from {first[0]:.1f} to {last[0]:.1f}%.",
        f"Task 2. Ratio 50, twenty throws: accuracy from **{low[0]:.0%}** to **{high[0]:.0%}**, rare recall from "
        f"**{low[3]:.0%}** to **{high[3]:.0%}** (standard deviation {spread(scores[3]):.0f} points).",
        "Task 3. In the natural order the same two clouds are the rarest in every throw. Rare recall still goes from "
        f"**{natural[3].min():.0%}** to **{natural[3].max():.0%}** (standard deviation {spread(natural[3]):.0f} "
        f"points). Its mean is {natural[3].mean():.0%}, against {scores[3].mean():.0%} with the order drawn by seed. "
        f"At ratio 1 it is {even['natural']:.0%} and {even['seed']:.0%}: these two clouds overlap at any frequency.",
    )
    page = "".join(f"<p>{inline(line)}</p>" for line in lines)
    return Card(fold("Try the tasks first; then open this", page), "Folded: try the tasks first.")


def say_spread(several):
    """How far apart the rare recalls of the same method are."""
    rare = group(several, "tail")
    return lt.say(
        f"Rare recall of one method, trained ten times: from **{rare.min():.0%}** to **{rare.max():.0%}**, standard "
        f"deviation {100 * rare.std(ddof=1):.0f} points."
    )


def say_unhelpful():
    """Where pairing helps, and a comparison in which it changes little."""
    rule, rare = (group(runs("digits", label), "tail") for label in ("logit_adjusted", "ce"))
    ours, base = group(runs("digits", "class_balanced")), group(runs("digits", "ce"))
    return lt.say(
        "Pairing helps to the extent that both sides rise and fall together. Here the correlation over seeds is "
        f"**{np.corrcoef(rule, rare)[0, 1]:.1f}**: both sides are the same network; only the decision rule differs.",
        "A counterexample: the accuracy over all classes of the class-balanced loss (chapter 04: class weights by "
        "count), which trains networks of its own, against plain. "
        f"The correlation is **{np.corrcoef(ours, base)[0, 1]:.1f}**, and the interval is "
        f"± {100 * lt.metrics.paired(ours, base).half:.1f} points paired, ± {100 * half_unpaired(ours, base):.1f} not "
        "paired.",
    )


def say_yardsticks():
    """Why a method can be better than the plain network and lie below the slider."""
    ours, base = runs("cifar16", "class_balanced"), runs("cifar16", "ce")
    (head, rare), (head_0, rare_0) = (
        [float(group(several, name).mean()) for name in ("head", "tail")] for several in (ours, base)
    )
    return lt.say(
        "The table compares with the plain network, the chart with the plain network *and* its slider. On the "
        f"photographs, too, the class-balanced loss lifts the rare classes, from {rare_0:.0%} to {rare:.0%}. But the "
        f"frequent ones fall from {head_0:.0%} to {head:.0%}, and for that "
        "price the slider lifts the rare ones further."
    )


# -------------------------------------------------------------------------------------------------------- pictures
@draws
def plot_rare_photographs(run, n=10):
    """Photographs of the three rarest classes, in turn; below each what the network takes it for."""
    photos, rare = lt.study.photographs(), np.argsort(run.counts)[:3]
    true = photos.targets(run.class_names)
    some = np.concatenate([np.flatnonzero(true == j)[: -(-n // 3)] for j in rare])[:n]
    figure = new_figure(9.4, 1.5, layout=None)
    ax = figure.add_axes((0.005, 0.13, 0.99, 0.74))
    row = PhotoRow(ax, photos.images[some], true[some], run.class_names, n)
    answered = run.logits[some].argmax(1)
    row.update(answered)
    right = int((answered == true[some]).sum())
    said = ", ".join(
        f"{run.class_names[i]} taken for {run.class_names[j]}" for i, j in zip(true[some], answered, strict=True)
    )
    return Picture(ax, {"true": true[some], "answered": answered}, f"{right} of {n} are right: {said}.")


@draws
def plot_profiles(n_max, k, ratio):
    """Training images of each class under the three profiles, on a log axis."""
    figure = new_figure(9.4, 2.5)
    axes = figure.subplots(1, 3, sharey=True)
    said, data = [], {}
    for ax, profile in zip(axes, ("exp", "step", "pareto"), strict=True):
        counts = np.array(lt.datasets.profile_counts(n_max, k, ratio, profile))
        groups = lt.metrics.third_groups(counts)
        for name, mask in groups.items():
            ax.bar(
                np.flatnonzero(mask),
                counts[mask],
                color=GROUP_COLOURS[name],
                label={"head": "frequent", "mid": "middle", "tail": "rare"}[name],
            )
        for j, n in enumerate(counts):
            ax.annotate(f"{n}", (j, n), (0, 2), textcoords="offset points", ha="center", fontsize=7.5)
        ax.set(yscale="log", title=f"{profile}: {counts.sum():,} images", xticks=[], ylim=(0.8, 2.2 * n_max))
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        data[profile] = counts
        said.append(
            f"{profile} {counts.sum():,} images, {counts[: k // 3].sum() / counts.sum():.0%} of them of the three most "
            f"frequent classes"
        )
    ends = {(max(counts), min(counts)) for counts in data.values()}
    whole = ", ".join(f"{most} / {least} = {most / least:.3g}" for most, least in sorted(ends))
    axes[0].set_ylabel("training images (log)")
    figure.supxlabel(f"classes, most frequent first; ratio {ratio:g} asked for, cut to whole numbers: {whole}", size=10)
    axes[2].legend(loc="upper right", fontsize=8)
    text = f"{k} classes, ratio {ratio:g} asked for (cut to whole numbers: {whole}): {'; '.join(said)}."
    return Picture(list(axes), data, text)


@draws
def plot_ratio():
    """The four scores of the throws against the ratio: mean and range over 20 throws."""
    ratios = np.geomspace(1.0, 100.0, 11)
    found = np.array([throws(float(ratio), "exp", "seed", 100).scores for ratio in ratios])  # (ratios, 4, throws)
    figure = new_figure(8.2, 3.1)
    ax = figure.subplots()
    kinds = (("accuracy, test set with the same tail", PALETTE[3], "-"), ("balanced accuracy", PALETTE[0], "--"),
             ("macro F1", PALETTE[2], "-."), ("recall of the two rarest classes", INK, ":"))  # fmt: skip
    for i, (name, colour, dash) in enumerate(kinds):
        values = found[:, i]
        if i in (0, 3):
            ax.fill_between(ratios, values.min(1), values.max(1), color=colour, alpha=0.10, linewidth=0)
        ax.plot(ratios, values.mean(1), color=colour, linestyle=dash, linewidth=2.2, label=name)
    ax.set(xscale="log", xlabel="ratio (log scale)", ylabel="mean of 20 throws", ylim=(0, 1.02), xlim=(1, 100))
    ax.set_xticks([1, 10, 100], ["1", "10", "100"])
    percent(ax.yaxis)
    ax.legend(loc="lower left", fontsize=8.5)
    first, last = found[0].mean(1), found[-1].mean(1)
    told = "; ".join(f"{name} {a:.0%} to {b:.0%}" for (name, *_), a, b in zip(kinds, first, last, strict=True))
    return Picture(ax, {"ratio": ratios, "scores": found.mean(2)}, f"From ratio 1 to 100, mean of 20 throws: {told}.")


@draws
def plot_pairing(ours, base, names):
    """Left: rare recall under each seed. Right: the difference, with its paired and with its unpaired interval."""
    a, b = group(ours, "tail"), group(base, "tail")
    figure = new_figure(8.8, 2.9)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.25))
    for x, y in zip(b, a, strict=True):
        left.plot([0, 1], [x, y], color=PALETTE[0], marker="o", markersize=5, linewidth=1, alpha=0.6)
    left.set(xlim=(-0.3, 1.3), ylabel="rare recall", title="A line for each seed")
    left.set_xticks([0, 1], [names[1], names[0]])
    percent(left.yaxis)
    paired = lt.metrics.paired(a, b)
    halves = (paired.half, half_unpaired(a, b))
    for i, (half, colour) in enumerate(zip(halves, (PALETTE[0], QUIET), strict=True)):
        right.errorbar([100 * paired.mean], [i], xerr=[100 * half], fmt="o", color=colour, capsize=4, linewidth=2)
        right.annotate(f"± {100 * half:.1f}", (100 * paired.mean, i), (0, 7), textcoords="offset points", ha="center")
    right.set(ylim=(1.6, -0.6), xlabel="difference in points, 95% interval", title="The mean difference")
    right.set_yticks([0, 1], ["paired\nby seed", "not paired"])
    right.axvline(0, color=QUIET, linewidth=1, linestyle=":")
    text = (f"Rare recall, {names[0]} against {names[1]}: {100 * paired.mean:+.1f} points, "
            f"± {100 * halves[0]:.1f} paired by seed, ± {100 * halves[1]:.1f} not paired.")  # fmt: skip
    return Picture([left, right], {"ours": a, "base": b, "half": halves}, text)


@draws
def plot_triples(label):
    """The mean gain of each choice of three seeds, by its verdict; the interval of all ten above them."""
    differences = gain(label)
    middle, p = triples(differences)
    kind = np.where(middle <= 0, 2, np.digitize(p, (CLEAR, lt.metrics.comparison.SUGGESTIVE)))
    figure = new_figure(8.2, 2.7)
    ax = figure.subplots()
    edges = np.linspace(100 * min(middle.min(), 0) - 0.25, 100 * middle.max() + 0.25, 26)
    parts = [100 * middle[kind == i] for i in range(3)]
    names = [f"{LABELS[VERDICTS[i]]}: {len(part)}" for i, part in enumerate(parts)]
    ax.hist(parts, edges, stacked=True, color=[PALETTE[2], PALETTE[1], "#C9CCD6"], label=names, edgecolor="white")
    ten = against_zero(differences)
    top = ax.get_ylim()[1]
    ax.errorbar([100 * ten.mean], [1.12 * top], xerr=[100 * ten.half], fmt="D", color=INK, capsize=4)
    ax.annotate(
        "all ten seeds", (100 * (ten.mean + ten.half), 1.12 * top), (8, 0), textcoords="offset points", va="center"
    )
    ax.axvline(0, color=QUIET, linewidth=1, linestyle=":")
    ax.set(ylim=(0, 1.3 * top), xlabel="mean gain of three seeds, in points", ylabel="choices of three seeds")
    ax.set_xlim(edges[0] - 1.6, edges[-1])
    ax.yaxis.get_major_locator().set_params(integer=True)
    ax.legend(loc="upper left", fontsize=8.5)
    text = (
        f"{name_of(label)}, the 120 choices of three seeds of ten: {', '.join(names)}; all ten: "
        f"{100 * ten.mean:+.1f} ± {100 * ten.half:.1f} points."
    )
    return Picture(ax, {"mean": middle, "p": p}, text)


def who_pays():
    """The dots of this chapter on the photographs, beside what the slider reaches."""
    names = {"class-balanced loss": "class_balanced", "logit-adjusted loss": "logit_adjustment", "NormFace": "normface",
             "dual loss": "dual"}  # fmt: skip
    return lt.plot_who_pays({name: runs("cifar16", label) for name, label in names.items()}, runs("cifar16", "ce"))


# ----------------------------------------------------------------------------------------------------- predictions
def _photos():
    return runs("cifar16", "ce")


two_scores = lt.Predict(
    f"Equally many test photographs of every class: the plain network is right on "
    f"**{mean(lambda run: run.accuracy, _photos()):.0%}** "
    "of them (ten seeds). Now test the *same* networks where each class occurs as often as it did in training. Their "
    "accuracy?",
    number=(0, 100, 1),
    default=42,
    unit="%",
)


def reveal_two_scores():
    plain, adjusted = _photos(), runs("cifar16", "logit_adjustment")
    rare, most = (float(group(plain, name).mean()) for name in ("tail", "head"))
    share = float(plain[0].counts.max() / plain[0].counts.sum())
    wins = sum(same_tail(a) > same_tail(b) for a, b in zip(plain, adjusted, strict=True))
    return two_scores.reveal(
        "The **recall** of a class is the share of its images that are answered correctly. Mean recall of the three "
        f"most frequent classes: **{most:.0%}**; of the three rarest: **{rare:.0%}**. In training, "
        f"{share:.0%} of the photographs are of the most frequent class: always giving that answer would score as much "
        f"there.",
        truth=100 * mean(same_tail, plain),
        tolerance=6,
        because="The answers did not change; the mixture of classes did. And the mixture decides which network wins: a "
        "network trained "
        f"with the logit-adjusted loss has {mean(lambda run: run.accuracy, adjusted):.0%} where all classes are "
        f"equally frequent, and "
        f"{mean(same_tail, adjusted):.0%} here, where the plain one is ahead under {wins} of 10 seeds.",
    )


RISES, STAYS, FALLS = "it rises", "it stays within 2 points", "it falls"
ratio_up = lt.Predict(
    "Six classes of points in the plane. Training and test set share their ratio, which grows from 1 to 100: the most "
    "frequent class "
    "keeps its 100 training points, the rarest is left with one. What does plain **accuracy** do, on average?",
    choices=[RISES, STAYS, FALLS],
    default=FALLS,
)


def reveal_ratio_up():
    first, last = (throws(ratio, "exp", "seed", 100).scores for ratio in (1.0, 100.0))
    change, ups = last[0].mean() - first[0].mean(), int((last[0] > first[0]).sum())
    return ratio_up.reveal(
        plot_ratio(),
        truth=RISES if change > 0.02 else FALLS if change < -0.02 else STAYS,
        because=f"From {first[0].mean():.0%} to **{last[0].mean():.0%}** (it rises in {ups} of {len(last[0])} throws), "
        f"while the recall of the two "
        f"rarest classes goes from {first[3].mean():.0%} to **{last[3].mean():.0%}**. The test became easier: most of "
        f"its points are of "
        "frequent classes. The bands are the range over 20 throws.",
    )


order_matters = lt.Predict(
    "On the photographs, the logit-adjusted loss is compared with the plain network twice, over ten seeds each: once "
    "with the **published** "
    "class order (trucks always rarest), once with an order **drawn by seed**. How does the 95% interval of the gain "
    "on rare classes "
    "compare when the order is drawn?",
    choices=["narrower", "about as wide (within a quarter)", "wider"],
    default="about as wide (within a quarter)",
)


def _orders(label):
    """The gains on rare classes, one a seed, in the published order and in the order drawn by seed."""
    recipes = ("cifar16_published", "cifar16")
    return [group(runs(name, label), "tail") - group(runs(name, "ce"), "tail") for name in recipes]


def same_spread(one, other):
    """Two-sided p of the F-test that two samples have the same variance."""
    law = stats.f(len(one) - 1, len(other) - 1)
    f = np.var(one, ddof=1) / np.var(other, ddof=1)
    return float(2 * min(law.cdf(f), law.sf(f)))


def reveal_order(*bench):
    """bench: the same comparison on the digits, as lines."""
    rows, ratios, chance, open_ = [], [], [], []
    for name, label, what in (
        ("logit-adjusted loss", "logit_adjustment", ""),
        ("class-balanced loss", "class_balanced", ""),
        ("LDAM-DRW", "ldam_drw", " (chapter 06: margins by count, class weights late in training)"),
    ):
        gains_of = _orders(label)
        fixed, drawn = map(against_zero, gains_of)
        p = same_spread(*gains_of)
        chance.append(f"{name} p = {p:.3f}".replace("0.", "."))
        open_ += [name] * (p >= lt.metrics.comparison.SUGGESTIVE)
        ratios.append(drawn.half / fixed.half)
        told = [f"{100 * one.mean:+.1f} ± **{100 * one.half:.1f}**" for one in (fixed, drawn)]
        rows.append(f"Photographs, {name}{what}: {told[0]} points in the published order, {told[1]} with the order "
                    f"drawn; {ratios[-1]:.1f} times as wide.")  # fmt: skip
    rows.append("Widths are estimates, too. Are the two spreads different (F-test; p < .05 is suggestive)? "
                f"{', '.join(chance)}."
                + (f" For {' and '.join(open_)} the difference may be chance." if open_ else ""))  # fmt: skip
    ratio = ratios[0]
    truth = "wider" if ratio > 1.25 else "narrower" if ratio < 0.8 else "about as wide (within a quarter)"
    return order_matters.reveal(
        [*rows, *bench],
        truth=truth,
        because="With one fixed order, ten seeds repeat one choice of rare classes; the interval says nothing about "
        "other choices. Drawing the order puts that chance into the interval.",
    )


three_of_ten = lt.Predict(
    "The dual loss of chapter 07 pulls all features towards one length, all classifier vectors towards another, "
    "and weights images by these lengths. "
    f"On the bench it gains **{100 * gain('dual').mean():+.1f} ± {100 * against_zero(gain('dual')).half:.1f}** "
    "points of accuracy over all classes, ten seeds: *clearly* better, p < .005. Somebody has only three of these ten "
    "seeds; there are 120 ways to choose them. "
    "With how many of the 120 would the verdict be *clear*?",
    number=(0, 120, 1),
    default=90,
    unit=" of 120",
)


def reveal_three():
    middle, p = triples(gain("dual"))
    clear, suggestive = int(((p < CLEAR) & (middle > 0)).sum()), int(((p >= CLEAR) & (p < 0.05) & (middle > 0)).sum())
    return three_of_ten.reveal(
        plot_triples("dual"),
        truth=clear,
        tolerance=12,
        because=f"{clear} clear, {suggestive} suggestive, {120 - clear - suggestive} undecided. Three seeds need $|t| "
        f"> {stats.t.ppf(1 - CLEAR / 2, 2):.0f}$ "
        f"for $p < .005$, ten need {stats.t.ppf(1 - CLEAR / 2, 9):.1f}. An undecided result is no evidence that a "
        f"method does nothing.",
    )


survive = lt.Predict(
    "Now the other way round. Take every recorded setting of every method of the bench and every choice of three seeds "
    "at which its gain in accuracy over all classes is *clear*. "
    "In what percentage of these cases is it still clear at **ten** seeds?",
    number=(0, 100, 1),
    default=99,
    unit="%",
)


def flips():
    """Labels of the methods that are clearly better under seeds 0, 1, 2 and undecided under all ten."""
    both = {label: (against_zero(some[:3]).verdict, against_zero(some).verdict) for label, some in gains().items()}
    return [label for label, found in both.items() if found == ("clearly better", "undecided")]


def reveal_survive():
    """How many verdicts last, and the methods whose clear verdict vanishes."""
    found, plain_runs, lost = survival(), runs("digits", "ce"), flips()
    often = sorted((label for label, n in found.lost.items() if n > 1), key=lambda label: -found.lost[label])
    told = ", ".join(f"{name_of(label)} {found.lost[label]}" for label in often)
    pairs = []
    for label in lost:
        for n in (3, 10):
            names = (f"{name_of(label)}, {n} seeds", "plain")
            pairs.append(lt.study.difference(runs("digits", label)[:n], plain_runs[:n], names=names))
    return survive.reveal(
        [
            f"{found.clear} clear gains at three seeds, over {found.methods} recorded settings of methods and 120 "
            f"choices each; {found.survive} of them are clear at ten, {found.clear - found.survive} are not: {told}, "
            f"and {len(found.lost) - len(often)} others once each. (cRT trains a new classifier on finished features, "
            "NormFace compares directions only; both come in later chapters.)",
            f"Can a clear verdict vanish altogether? With seeds 0, 1, 2 and then all ten, it does for {len(lost)} "
            "settings:",
            *pairs,
            "An interval from three seeds is itself a rough estimate: their spread can come out small by chance.",
        ],
        truth=100 * found.share,
        tolerance=8,
        because=f"On average over the {found.clear} cases, the gain at three seeds is {100 * found.excess:.1f} points "
        f"larger than the gain at ten; it is the larger one in {found.above:.0%} of them. The cases overlap, since all "
        "come from the same ten seeds, so read the percentages as a description of these records.",
    )


# ------------------------------------------------------------------------------------------------------- exercises
def _halves(ours, base):
    return lt.metrics.paired(ours.numpy(), base.numpy()).half


def _cases():
    a, b = (torch.tensor(group(runs("digits", label))) for label in ("logit_adjusted", "ce"))
    return [
        lt.study.Case("the bench, ten seeds", (a, b), "Take the differences first, seed by seed."),
        lt.study.Case("the first three seeds", (a[:3], b[:3]), "With n = 3 the factor is t(0.975, 2) = 4.30."),
        lt.study.Case(
            "two sides that rise and fall together",
            (torch.tensor([0.5, 0.7, 0.9, 0.8]), torch.tensor([0.4, 0.6, 0.81, 0.69])),
            "The differences hardly vary, so the interval must be narrow.",
        ),
    ]


def _sizes(n):
    return float(stats.t.ppf(0.975, n - 1))


pairing = lt.Exercise(
    "The interval of a paired difference",
    """Write `half_width(ours, base)`: half the width of the 95% interval of the mean difference of two methods, from
their accuracies under the same $n$ seeds (two tensors of length $n$).

The interval reaches a certain number of standard errors to each side of the mean difference; `t975(n)` gives that
number for $n$ seeds. Then say what happens to the interval where both sides rise and fall together.""",
    """
def half_width(ours, base):
    d = ours - base
    return t975(len(d)) * d.std() / len(d) ** 0.5
""",
    _cases(),
    oracle=_halves,
    hints=[
        "What varies from seed to seed matters. Which quantity has a meaning *within* one seed?",
        "The interval is that of a mean of $n$ numbers. Which $n$ numbers?",
        "With $d_i$ = ours − base under seed $i$: $\\;t_{.975,\\,n-1} \\cdot \\mathrm{sd}(d) / \\sqrt{n}$. "
        "`tensor.std()` divides by $n-1$, as it should here.",
    ],
    mistakes={
        "This is the interval of two independent groups; it ignores that the seeds are shared.": lambda a, b: (
            _sizes(len(a)) * ((a.var() + b.var()) / len(a)) ** 0.5
        ),
        "This is the spread of single seeds. The mean of n of them varies less: divide by √n.": lambda a, b: (
            _sizes(len(a)) * (a - b).std()
        ),
        "1.96 is the factor of very many seeds. Few seeds need a larger one: t975(n).": lambda a, b: (
            1.96 * (a - b).std() / len(a) ** 0.5
        ),
        "This is the standard error. The interval reaches t975(n) of them to each side.": lambda a, b: (
            (a - b).std() / len(a) ** 0.5
        ),
    },
    given={"t975": _sizes},
)
t975 = _sizes


def _regret(confusion, occurs, cost):
    rates = confusion.double() / confusion.sum(1, keepdim=True)
    weight = occurs.double() * cost.double()
    return (weight * (1 - rates.diagonal())).sum() / weight.sum()


_C = torch.tensor([[90, 8, 2], [10, 35, 5], [6, 3, 1]])
_SHARES = torch.tensor([0.8, 0.15, 0.05])
users = lt.Exercise(
    "One score for three users",
    """Three users of one network. An **archive** sorts whatever comes in; each error costs the same. A
**survey** wants every species to be recognised equally well. An **alarm** must not miss the rare ones.

Write `regret(confusion, occurs, cost)`. A user meets class $i$ with share `occurs[i]`, and an error on one of its
images costs `cost[i]`. Return the average cost of an image, divided by what it would be if every answer were wrong.
`confusion` (k, k) has true classes in rows; its rows need not hold as many images as the user meets.

Then run `serve`, two cells below: which network should each of the three take, and why?""",
    """
def regret(confusion, occurs, cost):
    recall = confusion.diagonal() / confusion.sum(1)
    weight = occurs * cost
    return (weight * (1 - recall)).sum() / weight.sum()
""",
    [
        lt.study.Case(
            "the archive: every error costs 1",
            (_C, _SHARES, torch.ones(3)),
            "Then it is one minus the accuracy on a test set that occurs like this.",
        ),
        lt.study.Case(
            "the survey: cost 1 / share",
            (_C, _SHARES, 1 / _SHARES),
            "Share and cost cancel: one minus balanced accuracy.",
        ),
        lt.study.Case(
            "the alarm: only the rarest class costs",
            (_C, _SHARES, torch.tensor([0.0, 0.0, 1.0])),
            "One minus the recall of that class.",
        ),
    ],  # fmt: skip
    oracle=_regret,
    hints=[
        "How often is an image of class i wrong? That is one minus the recall of its row.",
        "An error on class i happens with a frequency and has a price; the two come as a product.",
        "What would the average cost be if all recalls were 0? Divide by that.",
    ],
    mistakes={
        "You counted the test images of the matrix. The user meets classes with the shares in "
        "`occurs`.": lambda c, o, w: (w.double() * (c.sum(1) - c.diagonal())).sum() / (w.double() * c.sum(1)).sum(),
        "You divided by columns, the answers. An image of class i lies in row i.": lambda c, o, w: (
            (o * w * (1 - c.diagonal() / c.sum(0))).sum() / (o * w).sum()
        ),
        "This is not yet divided by the cost of a network that is always wrong.": lambda c, o, w: (
            o * w * (1 - c.diagonal() / c.sum(1))
        ).sum(),
        "This is one minus it, the share of the cost that is saved.": lambda c, o, w: 1 - _regret(c, o, w),
    },
)


def serve(regret):
    """Which of two networks each user should take: the mean regret over ten seeds, by the reader's own function."""
    if not users.check(regret).passed:
        return lt.say("When your function passes all checks, run this cell: it says which network each user should "
                      "take.")  # fmt: skip
    rows = []
    for name in ("archive", "survey", "alarm"):
        scores = {}
        for key, label in (("plain", "ce"), ("logit-adjusted", "logit_adjustment")):
            values = []
            for run in runs("cifar16", label):
                share = torch.tensor(run.counts / run.counts.sum(), dtype=torch.float64)
                rare = torch.tensor(lt.metrics.third_groups(run.counts)["tail"], dtype=torch.float64)
                cost = {"archive": torch.ones_like(share), "survey": 1 / share, "alarm": rare / share}[name]
                values.append(float(regret(torch.tensor(run.confusion), share, cost)))
            scores[key] = np.array(values)
        base, adjusted = scores.values()
        verdict = lt.metrics.paired(-adjusted, -base)
        rows.append(
            f"**{name}**: plain network {base.mean():.0%}, logit-adjusted loss {adjusted.mean():.0%}; the latter is "
            f"{verdict.verdict}."
        )
    return lt.say(
        "The photographs, mean of ten seeds: each user's average cost, in percent of what a network that is always "
        "wrong would cost (lower is better).",
        *rows,
    )


# ------------------------------------------------------------------------------------------------------------ quiz
@functools.cache
def quiz():
    question = lt.study.Question
    return lt.Quiz([
        question(
            "A test set has the same long tail as the training set. A new network has a plain accuracy 2 points "
            "higher. What do you know?",
            {
                "It recognises the rare classes better than the old one "
                "did.": "They are too few to move plain accuracy; their recall may even have fallen.",
                "It is right more often here; for which classes, you cannot tell.": "Yes. Ask for the recall of each "
                "group.",
                "Its balanced accuracy is higher, though perhaps by less than "
                "that.": "Not necessarily: balanced accuracy gives every class the same share.",
            },
            "It is right more often here; for which classes, you cannot tell.",
        ),
        question(
            "Why does the course pair its comparisons by seed?",
            {
                "What both methods share under a seed cancels in the difference.": "Yes: images, class order and "
                "start, as far as both methods respond alike.",
                "Pairing makes every interval narrower, whatever the two methods "
                "are.": "Often, not always: this chapter has a case in which it changes nothing.",
                "The p-values are valid only for an even number of runs.": "They need no such thing.",
            },
            "What both methods share under a seed cancels in the difference.",
        ),
        question(
            "Three seeds: +1.4 points, undecided. What may you write?",
            {
                "The method has no effect: the test did not find "
                "one.": "Undecided is not zero. Look at the interval: it may reach from −2 to +5.",
                "The gain is +1.4, with its interval; three seeds do not decide.": "Yes, and with more seeds they may.",
                "The method gains 1.4 points, the mean of three seeds.": "That hides how uncertain it is.",
            },
            "The gain is +1.4, with its interval; three seeds do not decide.",
        ),
        question(
            "In a table of 40 comparisons, how many would chance alone call *suggestive* (p < .05)?",
            {
                "none": "p < .05 happens once in twenty by chance alone.",
                "about 2": "Yes: 40 / 20. So a suggestive row in a long table is a reason to look again.",
                "about 20": "That would be p < .5.",
            },
            "about 2",
        ),
        question(
            "In the plane, the natural class order makes the two overlapping clouds the rarest. What is wrong with "
            "concluding “rare classes are hard”?",
            {
                "Nothing: their recall is the lowest, under every "
                "seed.": "It would be lower than the others' with equal counts too; go back to ratio 1.",
                "Rarity and overlap change together, so we cannot tell which one is responsible.": "Yes. Draw the "
                "class order, and overlap is spread over all ranks.",
                "There are too few test points of the two rarest clouds.": "There are 200 of every class.",
            },
            "Rarity and overlap change together, so we cannot tell which one is responsible.",
        ),
    ])  # fmt: skip
