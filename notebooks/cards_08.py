"""Chapter 08: its predictions, exercises and quiz, and the figures that they open."""
# ruff: noqa: E501  (text for readers is not cut into lines)

import functools
import itertools
import os
from math import comb

import numpy as np
import torch

import ltviz as lt
from ltviz.methods import crl
from ltviz.plots.examples import mosaic
from ltviz.plots.picture import EDGE, PALETTE, REFERENCE, Picture, draws, look, new_figure, percent
from ltviz.plots.theme import PHOTO
from ltviz.samplers import SAMPLERS
from ltviz.study.cards import Card, box, bullets, fold, image, plain

FAST = os.environ.get("LTVIZ_PROFILE") == "fast"
SEEDS, OWN_SEEDS = (3, 1) if FAST else (10, 3)  # of what the chapter trains by itself; OWN_SEEDS: of the reader's loss
BATCH = 64
COUNTS = np.sort(lt.recorded("cifar16", "ce", seed=0)[0].counts)[::-1].astype(int)  # of the photographs
COMPARISONS = ("relative", "absolute", "distribution")
SAMPLED = {"instance": "plain epoch", "class_balanced": "class-balanced batches"}


def rectified(data="cifar16", level="class", comparison="relative", combination="sum"):
    """Recorded runs of class rectification, one a seed."""
    return lt.recorded(data, "crl", level=level, comparison=comparison, combination=combination)


def summed(data="cifar16"):
    """The six recorded settings of class rectification with the poster's sum."""
    return {
        f"{comparison}, {level} level": rectified(data, level, comparison)
        for level in ("class", "instance")
        for comparison in COMPARISONS
    }


def compared(data="cifar16"):
    """Every recorded setting of class rectification."""
    return summed(data) | {"relative, class level, weighted": rectified(data, combination="weighted")}


def points(found):
    """A paired difference in percentage points, with its 95% interval and verdict."""
    mean = f"{100 * found.mean:+.1f}".replace("-0.0", "0.0").replace("+0.0", "0.0")
    return f"**{mean} ± {100 * found.half:.1f}** points ({found.verdict})"


def omega(data="cifar16"):
    """Ω in percent, and the share a = η Ω of the term, of the recorded runs."""
    found = float(crl.imbalance(torch.as_tensor(lt.recorded(data, "ce", seed=0)[0].counts)))
    return found, min(0.01 * found, 1.0)


def largest_first(run, values):
    """Values of each class (k,), the most frequent class first."""
    return np.asarray(values)[np.argsort(-np.asarray(run.counts), kind="stable")]


@functools.cache
def counted(sampler, data="cifar16", epochs=50):
    """Triplets of each class (batches, k) over the batches of some epochs, one a seed; and the images of each class.

    The most frequent class first; κ = 10 and ρ = 0.5, as the recorded runs have them.
    """
    counts = np.sort(lt.recorded(data, "ce", seed=0)[0].counts)[::-1].astype(int)
    targets = torch.repeat_interleave(torch.arange(len(counts)), torch.as_tensor(counts.copy()))
    found = []
    for seed in range(epochs):
        batches = SAMPLERS[sampler](targets, BATCH, 0.0, torch.Generator().manual_seed(seed))
        found += [lt.metrics.triplets_by_class(targets[index].numpy(), len(counts)) for index in batches]
    return np.array(found), counts


def drawn(sampler, data="cifar16"):
    """Share of all triplets, and of batches with one, by class (k,), and the images of each class (k,)."""
    found, counts = counted(sampler, data)
    return found.sum(0) / found.sum(), (found > 0).mean(0), counts


def thirds(values, counts):
    """Sum over the frequent, the middle and the rare classes."""
    return {name: float(values[mask].sum()) for name, mask in lt.metrics.third_groups(counts).items()}


def third(runs, group):
    """Mean accuracy of a third of the classes, "head", "mid" or "tail", over classes and seeds."""
    mask = lt.metrics.third_groups(COUNTS)[group]
    return np.mean([largest_first(run, lt.metrics.recall(run))[mask].mean() for run in runs])


def rare_start():
    """Accuracy of the rare classes in the plain network, in words."""
    return f"The rare classes start at {third(lt.recorded('cifar16', 'ce'), 'tail'):.1%} in the plain network, so they have little to lose."


def folded(label, title, summary, *content):
    """A card that stays closed until the reader opens it: pictures, cards, and lists of lines of text."""
    html, said = "", []
    for part in content:
        if isinstance(part, list):
            html, said = html + bullets(part), said + [plain(line) for line in part]
        elif isinstance(part, Card):
            html, said = html + part.html, [*said, part.text]
        else:
            html, said = html + image(part), [*said, part.text]
    return Card(box("note", label, title, fold(summary, html)), f"{title}: folded.")


# -------------------------------------------------------------------------------------------------------- pictures
@draws
def plot_batch(photographs, composition="plain", batch=1):
    """The photographs of one batch, in the order in which they were drawn."""
    images = photographs.of(photographs.batches[composition][batch - 1])
    ax = new_figure(9.4, 2.5).subplots()
    ax.imshow(mosaic(images, [divmod(i, 16) for i in range(len(images))], 4, 16), gid=PHOTO, interpolation="nearest")
    ax.axis("off")
    return Picture(ax, {"images": images}, f"{len(images)} small photographs in four rows, in no order.")


@draws
def plot_pair_chance(counts):
    """Chance that a batch holds at least two images of a class, against the images of the class."""
    n = np.sort(counts)[::-1]
    chance = lt.metrics.pair_chance(n, BATCH)
    ax = new_figure(6.8, 3.2).subplots()
    kind = {key: value for key, value in look(0).items() if key != "linestyle"}
    ax.bar(range(len(n)), chance, width=0.66, color=kind["color"])
    for x, value in enumerate(chance):
        ax.annotate(f"{100 * value:.3g}", (x, value), (0, 3), textcoords="offset points", ha="center", fontsize=9)
    ax.set_xticks(range(len(n)), [f"{one:,.0f}" for one in n])
    ax.set(ylim=(0, 1.12), yticks=[0, 0.5, 1], xlabel="training images of the class")
    percent(ax.yaxis)
    ax.grid(False, axis="x")
    ax.set_title(f"Chance of a pair in a batch of {BATCH}, in %, plain epoch")
    said = ", ".join(f"{100 * c:.1f}% with {int(i):,} images" for c, i in zip(chance, n, strict=True))
    return Picture(ax, {"counts": n, "chance": chance}, f"Chance of a pair in a batch: {said}.")


def _percent(share):
    """A share in %, with two decimals below 1%, one below 10%, and none above."""
    value = 100 * float(share)
    return f"{value:.{2 if value < 1 else 1 if value < 10 else 0}f}"


@draws
def plot_triplets():
    """Share of all triplets that each class gets, in plain epochs and in class-balanced batches."""
    axes = new_figure(9.4, 3.1).subplots(1, 2, sharey=True)
    data, said = {}, []
    for i, (ax, (sampler, name)) in enumerate(zip(axes, SAMPLED.items(), strict=True)):
        share, _, counts = drawn(sampler)
        ax.bar(range(len(counts)), share, width=0.7, color=PALETTE[i])
        for x, value in enumerate(share):
            ax.annotate(_percent(value), (x, value), (0, 3), textcoords="offset points", ha="center", fontsize=9)
        ax.set_xticks(range(len(counts)), [f"{n}" for n in counts], fontsize=8.5)
        ax.set(xlabel="training images of the class", title=f"{name}: share of the triplets, in %", ylim=(0, 0.56))
        ax.set_yticks([])
        ax.grid(False)
        data[sampler] = share
        groups = thirds(share, counts)
        said.append(f"{name}: frequent {groups['head']:.1%}, middle {groups['mid']:.1%}, rare {groups['tail']:.1%}")
    return Picture(list(axes), data, f"Share of the triplets of each third of the classes. {'; '.join(said)}.")


@draws
def plot_change(groups, base):
    """Change of each class's accuracy against the plain network, most frequent class first, beside its triplets."""
    _, often, counts = drawn("instance")
    figure = new_figure(8.2, 4.0)
    top, bottom = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (1, 2.1)})
    top.bar(range(len(counts)), often, width=0.6, color=PALETTE[2])
    top.set(ylim=(0, 1.05), yticks=[0, 1])
    percent(top.yaxis)
    top.grid(False, axis="x")
    top.set_title("Batches in which the class has a triplet")
    bottom.axhline(0, **REFERENCE)
    data, said = {"often": often}, []
    for i, (label, runs) in enumerate(groups.items()):
        found = [lt.metrics.paired(ours, none) for ours, none in zip(*changes(runs, base), strict=True)]
        mean, half = (np.array([getattr(one, part) for one in found]) for part in ("mean", "half"))
        kind = {"fmt": look(i)["marker"], "color": look(i)["color"], "markersize": 7, "elinewidth": 1.6, **EDGE}
        bottom.errorbar(np.arange(len(mean)) + 0.2 * i - 0.1, 100 * mean, yerr=100 * half, label=label, **kind)
        data[label] = mean
        said.append(f"{label}: " + ", ".join(f"{100 * m:+.1f}".replace("-0.0", "0.0") for m in mean))
    bottom.set_xticks(range(len(counts)), [f"{n:,}" for n in counts])
    bottom.set(xlabel="training images of the class", ylim=(-12, 12), yticks=[-10, 0, 10])
    bottom.grid(False, axis="x")
    bottom.set_title("Change of its accuracy in points, mean of ten seeds with 95% interval")
    bottom.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return Picture([top, bottom], data, "Change in points, most frequent class first. " + "; ".join(said) + ".")


def changes(runs, base):
    """Accuracy of each class, most frequent first, of runs and of their plain networks: two arrays (k, seeds)."""
    found = [np.array([largest_first(run, lt.metrics.recall(run)) for run in some]).T for some in (runs, base)]
    return found[0], found[1]


# ----------------------------------------------------------------------------------------------------- predictions
rarest_pair = lt.Predict(
    f"The rarest class has {COUNTS[-1]} of the {COUNTS.sum():,} training photographs. Of 100 batches of {BATCH}, how many hold **two or more** of its photographs, so that it has a pair?",
    number=(0, 100, 1),
    default=25,
    unit=" of 100 batches",
)


def open_rarest_pair():
    """The exact chance, for each class."""
    counts = lt.recorded("cifar16", "ce", seed=0)[0].counts
    chance = lt.metrics.pair_chance(counts, BATCH)
    total, least, steps = int(counts.sum()), int(counts.min()), -(-int(counts.sum()) // BATCH)
    return rarest_pair.reveal(
        plot_pair_chance(counts),
        truth=100 * float(chance.min()),
        tolerance=2,
        because=f"This is calculated: 64 of {total:,} are drawn without replacement. On average a batch holds {BATCH * least / total:.2f} photographs of this class; two or more come in {chance.min():.1%} of the batches, about {chance.min() * steps:.0f} of the {steps} of an epoch.",
    )


rare_share = lt.Predict(
    "Take all triplets of whole plain epochs ($\\rho = 0.5$, $\\kappa = 10$). What share of them has an anchor from the **rare third** of the classes "
    f"({COUNTS[-1]}, {COUNTS[-2]} and {COUNTS[-3]} training photographs)?",
    number=(0, 100, 1),
    default=40,
    unit="%",
)


def open_rare_share():
    """Who gets the triplets, in plain epochs and in class-balanced batches."""
    share, often, counts = drawn("instance")
    groups, top = thirds(share, counts), int(share.argmax())
    even, there, _ = drawn("class_balanced")
    return rare_share.reveal(
        plot_triplets(),
        truth=100 * groups["tail"],
        tolerance=4,
        because=f"Counted over fifty epochs. The rare third gets {groups['tail']:.1%}, the middle third {groups['mid']:.0%}, the **frequent** third {groups['head']:.0%}. "
        f"The class with {counts[top]:,} photographs, the third most frequent, is in the minority *of the batch* in {often[top]:.0%} of the batches and gets {share[top]:.0%} of all triplets: a class of $s$ images gives up to $s(s-1)\\kappa$ of them. "
        f"In class-balanced batches the rare third gets {thirds(even, counts)['tail']:.0%}, and the rarest class has a triplet in {there[-1]:.0%} of the batches instead of {often[-1]:.1%}.",
    )


how_many_gain = lt.Predict(
    "Six settings with the poster's sum were recorded on the photographs, ten seeds each: three comparisons at two levels. In how many of them do the **rare classes** gain on the plain network, at least suggestively ($p < .05$)?",
    choices=["in none", "in one or two", "in three to five", "in all six"],
    default="in three to five",
)


def _of(n, total=6):
    """How many of the settings, in words."""
    return f"all {total} settings" if n == total else f"{n or 'none'} of the {total} settings"


def open_how_many_gain():
    """The rare classes under each setting with the sum, against the plain network."""
    found, bench = (
        {name: lt.metrics.paired(runs, lt.recorded(data, "ce"), "tail") for name, runs in summed(data).items()}
        for data in ("cifar16", "digits")
    )
    gains, losses = (sum(one.verdict.endswith(word) for one in found.values()) for word in ("better", "worse"))
    kept = sum("undecided" in one.verdict for one in bench.values())
    truth = ("in none", *2 * ["in one or two"], *3 * ["in three to five"], "in all six")[gains]
    lines = [f"{name}: {points(one)}" for name, one in found.items()]
    return how_many_gain.reveal(
        Card(bullets(lines), "\n".join(plain(line) for line in lines)),
        truth=truth,
        because=f"Rare classes of the photographs: they gain in {_of(gains)}, lose in {_of(losses)}, and the rest is undecided. {rare_start()} On the bench the rare classes are undecided in {_of(kept)}.",
    )


which_combination = lt.Predict(
    "The paper's weighting takes $a = \\eta\\,\\Omega$ of $\\ell_{crl}$ and $1 - a$ of the cross-entropy; the poster adds the two. "
    f"On the photographs $\\Omega$ is {omega()[0]:.0f}, so with $\\eta = 0.01$ the term gets {omega()[1]:.0%} and cross-entropy the rest. "
    "Which has the better mean accuracy over all classes?",
    choices=["the weighting, clearly", "the sum, clearly", "no clear difference"],
    default="the weighting, clearly",
)


def open_which_combination(alone, slower):
    """Weighting against sum, on both data sets and for each group.

    alone: runs of the bench with cross-entropy times 1 - a and nothing else. slower: with whole cross-entropy and
    1 - a times the learning rate.
    """
    lines, first = [], None
    for data, name in (("cifar16", "Photographs"), ("digits", "Bench")):
        some, other = rectified(data, combination="weighted"), rectified(data)
        found = {group: lt.metrics.paired(some, other, group) for group in ("all", "head", "mid", "tail")}
        first = first or found["all"]
        parts = zip(("all", "frequent", "middle", "rare"), found.values(), strict=True)
        lines.append(f"{name}, weighting against sum: " + "; ".join(f"{part} {points(one)}" for part, one in parts))
    base, weighted = (
        runs[: len(alone)] for runs in (lt.recorded("digits", "ce"), rectified("digits", combination="weighted"))
    )
    pairs = ((alone, base), (slower, base), (alone, slower), (weighted, alone))
    cost, slow, beside, rest = (lt.metrics.paired(*pair, "tail") for pair in pairs)
    part = f"{1 - omega('digits')[1]:.2f}"
    lines += [
        f"Your runs on the bench, rare classes, {len(alone)} seeds: {part} × cross-entropy against the plain network {points(cost)}",
        f"Whole cross-entropy with {part} × the learning rate, against the plain network: {points(slow)}",
        f"The weighting against {part} × cross-entropy alone, so with the triplets against without: {points(rest)}",
    ]
    won = f"the smaller cross-entropy alone changes the rare classes by {points(cost)}; "
    if rest.verdict.endswith("better"):
        won += f"the triplets win back {100 * rest.mean:.1f} of them ({rest.verdict})"
    else:
        won += f"whether the triplets win some back is not shown ({rest.verdict})"
    truth = {"clearly better": "the weighting, clearly", "clearly worse": "the sum, clearly"}.get(
        first.verdict, "no clear difference"
    )
    return which_combination.reveal(
        Card(bullets(lines), "\n".join(plain(line) for line in lines)),
        truth=truth,
        because=f"{_whole_batches()} On the bench {won}. {_steps(cost, slow, beside)} On the photographs this was not separated. {_most_triplets()}",
    )


def _steps(cost, slow, beside):
    """How much of the cost of a smaller loss comes with smaller steps alone, in words."""
    most = cost.mean < 0 and slow.mean < 0.5 * cost.mean
    lead = "Most of that comes from smaller **steps**" if most else "Smaller **steps** do not explain most of that"
    return f"{lead}: a smaller loss has smaller gradients, and steps that are as much smaller by the learning rate change the rare classes by {points(slow)}. The two differ by {points(beside)}; what that rest comes from was not measured."


def _whole_batches():
    """In how many batches the weighting scales cross-entropy, in words."""
    found = [(counted("instance", data)[0].sum(1) > 0) for data in ("cifar16", "digits")]
    some = [f"all {len(one):,}" if one.all() else f"{one.sum():,} of {len(one):,}" for one in found]
    kept = f"The weighting acts on every batch that has a triplet. Over fifty epochs {some[0]} batches of photographs and {some[1]} of the bench had one."
    return f"{kept} So on the photographs every image keeps only $1 - a$ = {1 - omega()[1]:.0%} of its cross-entropy. And as every batch of the bench has a triplet, your `weaker`, which scales every batch, does what the weighting does to cross-entropy."


def _most_triplets():
    """What the weighting does to the class with the most triplets, on the photographs, in words."""
    share, _, counts = drawn("instance")
    found = [
        lt.metrics.paired(*pair)
        for pair in zip(*changes(rectified(combination="weighted"), lt.recorded("cifar16", "ce")), strict=True)
    ]
    top = int(share.argmax())
    most = ", the largest loss of all" if top == int(np.argmin([one.mean for one in found])) else ""
    return f"On the photographs the class with {counts[top]:,} images gets {share[top]:.0%} of the triplets; against the plain network it changes by {points(found[top])}{most}."


in_balance = lt.Predict(
    "Now draw class-balanced batches on the bench: every class has pairs. **Against the same batches without rectification**, do the rare classes gain?",
    choices=["yes, clearly", "suggestively", "undecided", "they lose"],
    default="yes, clearly",
)


def open_in_balance(ours, sampled):
    """What the batches give, and what rectification adds, on the same seeds.

    ours, sampled: runs with and without rectification on class-balanced batches.
    """
    base = lt.recorded("digits", "ce")[: len(ours)]
    adds, brings, both = (
        {group: lt.metrics.paired(a, b, group) for group in ("all", "tail")}
        for a, b in ((ours, sampled), (sampled, base), (ours, base))
    )
    lines = [
        f"{name}: all classes {points(found['all'])}, rare {points(found['tail'])}"
        for name, found in (
            ("Class-balanced batches against plain ones, no rectification", brings),
            ("Rectification against none, both on class-balanced batches", adds),
            ("Both together against the plain network", both),
        )
    ]
    verdict = adds["tail"].verdict
    truth = {"clearly better": "yes, clearly", "undecided": "undecided"}.get(
        verdict, "they lose" if verdict.endswith("worse") else "suggestively"
    )
    least = int(min(base[0].counts))
    return in_balance.reveal(
        Card(bullets(lines), "\n".join(plain(line) for line in lines)),
        truth=truth,
        because=f"These are {len(ours)} seeds. Compared with the plain network alone, rectification would get the credit for the batches. Remember also that the rarest class of the bench has only {least} images: its pairs are these again and again, or an image with itself, since the batches are drawn with replacement. Rectification on class-balanced batches of the photographs was not recorded.",
    )


def open_yours(told):
    """The difference of the setting that the reader has chosen, folded."""
    return folded("YOUR RUN", "Against the same batches", "Open the difference", [told.markdown])


# ------------------------------------------------------------------------------------------------ what is computed
def terms():
    """How much of the rectification term is left at the end of training, in words."""
    parts = []
    for data, name in (("cifar16", "on the photographs"), ("digits", "on the bench")):
        some = []
        for comparison in COMPARISONS:
            course = np.mean([run.history["term/rectification"] for run in rectified(data, comparison=comparison)], 0)
            some.append(f"{comparison} **{course[0]:.2f}** to **{course[-1]:.2f}**")
        parts.append(f"{name}: {', '.join(some)}")
    return (
        f"**The term, from the first to the last epoch**, class level, mean of ten seeds, {'; '.join(parts)}. "
        "On the bench the network fits its training images, and hardly a triplet is left to correct. On the photographs much of the term is left: many triplets are still in the wrong order, or, where there is a margin, within it."
    )


which_third = lt.Predict(
    "The **distribution** comparison at class level changes one third of the classes clearly against the plain network ($p < .005$). Which, and which way?",
    choices=[f"the {third} classes {way}" for third in ("frequent", "middle", "rare") for way in ("gain", "lose")],
    default="the rare classes gain",
)


def _these(counts):
    """Classes by their number of images, in words."""
    some = " and ".join(f"{n:,}" for n in counts)
    return f"the class{'es' if len(counts) > 1 else ''} with {some} images" if len(counts) else "none"


def _everyone(base):
    """How many settings lose over all classes, in words."""
    found = [lt.metrics.paired(runs, base) for runs in compared().values()]
    worse = [one for one in found if one.verdict.endswith("worse")]
    clear = sum(one.verdict == "clearly worse" for one in worse)
    return f"Over all classes {len(worse)} of the {len(found)} settings are worse than the plain network at least suggestively, {clear} of them clearly."


def open_what_changed():
    """Which classes change, on the photographs: the figure, and its numbers in words."""
    base = lt.recorded("cifar16", "ce")
    groups = {name: rectified(comparison=name) for name in ("relative", "distribution")}
    share, often, counts = drawn("instance")
    top, lines, told, most, truth = int(share.argmax()), [], [], [], ""
    for label, runs in groups.items():
        found = [lt.metrics.paired(ours, none) for ours, none in zip(*changes(runs, base), strict=True)]
        up, down = (
            _these([n for n, one in zip(counts, found, strict=True) if one.verdict.endswith(word)])
            for word in ("better", "worse")
        )
        named = {"frequent": "head", "middle": "mid", "rare": "tail"}
        thirds_ = {name: lt.metrics.paired(runs, base, group) for name, group in named.items()}
        some = ", ".join(f"{name} {points(one)}" for name, one in thirds_.items())
        lines.append(f"**{label}**: {some}. Single classes, at least suggestively: better, {up}; worse, {down}.")
        told.append(f"{points(found[top])} with {label}")
        most.append(found[top])
        clear = {name: one for name, one in thirds_.items() if one.verdict.startswith("clearly")}
        for name, one in clear.items() if label == "distribution" else ():
            truth = f"the {name} classes {'gain' if one.mean > 0 else 'lose'}"
    seen = "a gain" if any(one.verdict.endswith("better") for one in most) else "no gain seen"
    start, *ends = (
        np.mean([largest_first(run, lt.metrics.recall(run))[-1] for run in runs]) for runs in (base, *groups.values())
    )
    single = [largest_first(run, lt.metrics.recall(run))[-1] for run in base]
    ended = " and ".join(f"{end:.1%} with {label}" for label, end in zip(groups, ends, strict=True))
    lines += [
        f"Most triplets, and {seen}: the class with {counts[top]:,} images gets {share[top]:.0%} of them and changes by {' and '.join(told)}.",
        f"The class with {counts[-1]} images has a triplet in {often[-1]:.1%} of the batches. Its accuracy is {start:.1%} in the plain network (above 0 under {sum(one > 0 for one in single)} of {len(base)} seeds, at most {max(single):.1%}), so it has nothing to lose; it is {ended}.",
        _everyone(base),
        terms(),
    ]
    return which_third.reveal(
        [
            plot_change(groups, base),
            lt.study.comparison({"plain": base} | compared()),
            Card(bullets(lines), "\n".join(plain(line) for line in lines)),
        ],
        truth=truth,
        because="Why the two comparisons act so differently on the middle classes, these runs do not say.",
    )


def who_pays():
    """The chart of the course with the settings that add the term, folded, and how far all seven lie from the line."""
    base = lt.recorded("cifar16", "ce")
    groups = compared()
    found = {label: lt.metrics.beyond(runs, base) for label, runs in groups.items()}
    above, below = (sum(one.verdict.endswith(word) for one in found.values()) for word in ("better", "worse"))
    weighted = found["relative, class level, weighted"]
    head, tail = (third(rectified(combination="weighted"), group) for group in ("head", "tail"))
    low, *_, high = sorted((found[label] for label in summed()), key=lambda one: one.mean)
    return folded(
        "WHO PAYS",
        "Seven settings beside the slider",
        "Open the chart",
        lt.plot_who_pays(summed(), base),  # the weighting lies far away: with it the others could not be drawn larger
        [
            f"Rare classes against the slider, at equal accuracy of the frequent ones, ten seeds: {above} of {len(found)} lie beyond the line, {below} below it, at least suggestively; the others are undecided.",
            f"The chart has the six settings with the sum; they range from {points(low)} to {points(high)}. The weighting lies far from them, at {head:.1%} of the frequent and {tail:.1%} of the rare classes: {points(weighted)}.",
            f"{rare_start()} A distance can be larger than that: for the same accuracy of the frequent classes the slider gives the rare ones more.",
            "Near τ = 0 the accuracy of the frequent classes hardly changes with τ. At equal accuracy the position on the line is then uncertain, and the intervals are wide.",
        ],
    )


# ------------------------------------------------------------------------------------------------- printed and measured
def _printed(dataset, method):
    table = lt.published.published(dataset)
    row = table[(table.method == method) & (table.metric == "balanced_accuracy")]
    return float(row.value.iloc[0])


def _row(printed, reading, ours, other, claim=True):
    """One row of the table: what ours and other (functions of the data set) differ by, on both data sets.

    claim: whether the source says that it helps; else it only chooses, and there is nothing to hold.
    """
    measured, holds = [], []
    for data, name in (("cifar16", "photographs"), ("digits", "bench")):
        found = lt.metrics.paired(ours(data), other(data))
        measured.append(f"{name} {points(found)}")
        said = "yes" if found.mean > 0 else "no"
        said = "undecided" if not found.p < 0.05 else said if found.p < 0.005 else f"{said} (suggestive)"
        holds.append(f"{name}: {said}")
    return printed, reading, "; ".join(measured), "; ".join(holds) if claim else "a choice, not a claim"


def claims():
    """Printed, reading, measured, holds: of the poster and the paper, on both data sets, over all classes."""
    first = {"CelebA": ("DeepID2", _printed("CelebA", "DeepID2")), "X-Domain": ("MTCT", _printed("X-Domain", "MTCT"))}
    value = {(data, level): _printed(data, f"CRL ({level} level)") for data in first for level in ("class", "instance")}
    rows = []
    beside = {"CelebA": ("contrastive", "DeepID2's contrastive loss"), "X-Domain": ("ce", "plain cross-entropy")}
    for level, (data, (name, base)) in itertools.product(("class", "instance"), first.items()):
        key, words = beside[data]
        rows.append(
            _row(
                f"CRL, {level} level, helps. {data}: {value[data, level]:g} against {base:g} ({name})",
                f"relative, sum, against {words}",
                functools.partial(rectified, level=level),
                functools.partial(lt.recorded, method=key),
            )
        )
    told = "; ".join(f"{d}: {value[d, 'instance']:g} against {value[d, 'class']:g}" for d in first)
    for comparison in COMPARISONS:
        ours, other = (functools.partial(rectified, level=way, comparison=comparison) for way in ("instance", "class"))
        printed = f"Instance level above class level (poster). {told}"
        rows.append(_row(printed, f"{comparison}, instance against class level", ours, other))
    for comparison in COMPARISONS[1:]:
        other = functools.partial(rectified, comparison=comparison)
        printed = "Relative is the default of the three (paper, as others describe it)"
        rows.append(_row(printed, f"class level, relative against {comparison}", rectified, other, claim=False))
    weighted = functools.partial(rectified, combination="weighted")
    rows.append(
        _row(
            "Weighting by imbalance, $a = \\eta\\,\\Omega$ (paper)",
            "relative, against the sum",
            weighted,
            rectified,
            claim=False,
        )
    )
    return folded("CLAIMS", "Printed, and measured here", "Open the table", lt.study.claims_table(rows))


def sources_disagree():
    """Where poster, paper and their readers differ, folded, each with what it changes."""
    pairs = crl.Pairs(
        torch.tensor([[0.1, 0.3, 0.5]]), torch.tensor([[0.2, 0.6, 0.9]]), *[torch.ones(1, 3, dtype=torch.bool)] * 2
    )
    squared, linear = (float(crl.absolute_loss(pairs, 0.5, power)) for power in (2, 1))
    divided, not_divided = (float(crl.distribution_loss(pairs, 0.0, 1.0, 5, way)) for way in (True, False))
    percent_, share = omega()
    small = int(min(lt.recorded("cifar16", "ce", seed=0)[0].counts)) / int(
        max(lt.recorded("cifar16", "ce", seed=0)[0].counts)
    )
    lines = [
        "**Sum or weighting.** The poster prints $\\ell_{crl} + \\ell_{ce}$; the paper, as others describe it, $a\\,\\ell_{crl} + (1-a)\\,\\ell_{ce}$. Here: `combination`.",
        f"**What Ω is.** The share of images that are missing for balance, in percent, is one consistent reading: {percent_:.0f} on the photographs, so $a$ = {share:.2f} at η = 0.01. Another implementation takes the smallest count over the largest, {small:g} here, which leaves almost no rectification where the imbalance is strongest.",
        f"**The absolute comparison.** Journal version: both parts squared; poster: the distance to positives is not. On d(+) = .1, .3, .5 and d(-) = .2, .6, .9 with m = .5: {squared:.3f} or {linear:.3f}. Here: `absolute`, `absolute_poster`.",
        f"**The histograms.** The poster does not divide by the width of a bin. With five nodes from 0 to 1 the same distances give {divided:.2f} or {not_divided:.4f}: the loss then shrinks with the square of the width. Here: `distribution`, `distribution_poster`.",
        f"**The margin.** 0.5 in re-implementations, $2\\pi/k$ in the journal version: {2 * np.pi / 10:.2f} with ten classes. Here: `margin_rule`.",
        "**Level.** Poster: instance above class level. Journal version, as descriptions by others have it: class above instance level. Here: `level`.",
        "**Not confirmed in any source that we could read:** κ, the margin of the absolute comparison, the number of bins, η. The recorded runs use κ = 10, m = 0.5, 100 nodes, η = 0.01.",
    ]
    title = "Where sources disagree"
    html = box("note", "SOURCES", title, fold("Six readings, and what no source confirms", bullets(lines)))
    return Card(html, "\n".join([f"{title}:", *map(plain, lines)]))


# ------------------------------------------------------------------------------------------------------- exercises
def _targets(*sizes):
    """The class of each image of a batch with these sizes, in mixed order."""
    y = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    return y[torch.randperm(len(y), generator=torch.Generator().manual_seed(1))]


def _minority(targets, k, rho):
    return crl.minority_classes(targets, k, rho)


def _pair(n, total, batch_size):
    return float(lt.metrics.pair_chance([n, total - n], batch_size)[0])


def _draws(n, total, batch_size, several):
    """Chance of each number of images in `several`, without replacement."""
    return sum(comb(n, i) * comb(total - n, batch_size - i) for i in several) / comb(total, batch_size)


pair = lt.Exercise(
    "The chance of a pair",
    """Write `pair(n, total, batch_size)`: the probability that a batch of `batch_size` different images, drawn at random from `total`, holds at least two of the `n` images of a class. All three are whole numbers; return one number.

`comb(a, b)` is the number of ways to choose b things from a; the cell below imports it. Your function must give the number of the first prediction. Then try a batch of 256: how often does the rarest class have a pair?""",
    """
def pair(n, total, batch_size):
    ways = comb(total, batch_size)
    none = comb(total - n, batch_size)
    one = n * comb(total - n, batch_size - 1)
    return 1 - (none + one) / ways
""",
    [
        lt.study.Case("20 of 4,958, batch of 64", (20, 4958, 64), "This is the first prediction of the chapter."),
        lt.study.Case("2 of 6, batch of 3", (2, 6, 3), "By hand: of the 20 batches of three, 4 hold both."),
        lt.study.Case("5 of 9, batch of 9", (5, 9, 9), "The whole set is the batch: certain."),
        lt.study.Case("1 of 100, batch of 50", (1, 100, 50), "One image never makes a pair."),
        lt.study.Case("55 of 314, batch of 64", (55, 314, 64), "A frequent class almost always has one."),
    ],
    oracle=_pair,
    hints=[
        "It is easier to say when there is *no* pair.",
        "No pair means none of the class, or exactly one. Count the batches of each kind, and divide by the number of all batches.",
        "For exactly one: in how many ways can that one be chosen, and in how many ways the rest of the batch from the other classes?",
    ],
    mistakes={
        "That is the chance of exactly two. Three or more are pairs, too.": lambda n, t, b: _draws(n, t, b, [2]),
        "That is the chance of at least one image. A pair needs two.": lambda n, t, b: 1 - _draws(n, t, b, [0]),
        "That is the chance of *no* pair.": lambda n, t, b: _draws(n, t, b, [0, 1]),
        "Exactly one image: it can be any of the n images of the class.": lambda n, t, b: (
            1 - (comb(t - n, b) + comb(t - n, b - 1)) / comb(t, b)
        ),
        "That draws with replacement. A plain epoch draws no image twice.": lambda n, t, b: (
            1 - (1 - n / t) ** b - b * n / t * (1 - n / t) ** (b - 1)
        ),
    },
    given={"comb": comb},
)


def _triplets(targets, k, rho, kappa):
    return int(lt.metrics.triplets_by_class(targets.numpy(), k, rho=rho, kappa=kappa).sum())


def _count(targets, k, rho, kappa, positives, negatives):
    size = torch.bincount(targets, minlength=k)
    n = len(targets)
    return sum(
        int(s) * positives(int(s), kappa) * negatives(n, int(s), kappa)
        for s, chosen in zip(size, _minority(targets, k, rho), strict=True)
        if chosen
    )


def _near(s, kappa):
    return min(kappa, s - 1)


def _others(n, s, kappa):
    return min(kappa, n - s)


count_triplets = lt.Exercise(
    "Count its triplets",
    """Write `count_triplets(targets, k, rho, kappa)`: how many triplets (anchor, hard positive, hard negative) the batch gives. Return one whole number.

By hand first: 5, 3, 2 and 1 images of classes 0 to 3, $\\rho = 0.5$ and $\\kappa = 10$. Every image of a minority class with a pair is an anchor. It takes up to $\\kappa$ positives, never itself, and up to $\\kappa$ negatives; a small class or a small batch may have fewer. `lt.methods.crl.minority_classes(targets, k, rho)` profiles the batch.""",
    """
def count_triplets(targets, k, rho, kappa):
    size = torch.bincount(targets, minlength=k)
    minority = lt.methods.crl.minority_classes(targets, k, rho)
    positives = (size - 1).clamp(min=0, max=kappa)
    negatives = (len(targets) - size).clamp(max=kappa)
    return int((size * positives * negatives)[minority].sum())
""",
    [
        lt.study.Case(
            "5, 3, 2, 1 with κ = 10",
            (_targets(5, 3, 2, 1), 4, 0.5, 10),
            "One class of 2: each anchor has one positive and nine negatives.",
        ),
        lt.study.Case(
            "5, 3, 2, 1 with κ = 1",
            (_targets(5, 3, 2, 1), 4, 0.5, 1),
            "The hardest positive and the hardest negative of each anchor only.",
        ),
        lt.study.Case(
            "20, 9, 6, 4, 1 with κ = 3",
            (_targets(20, 9, 6, 4, 1), 5, 0.5, 3),
            "Count class after class; κ caps both sides.",
        ),
        lt.study.Case("no minority class: 7, 1", (_targets(7, 1), 2, 0.5, 10), "Then there are none."),
        lt.study.Case(
            "every class in, ρ = 1: 6, 3", (_targets(6, 3), 2, 1.0, 4), "A class of 6 in a batch of 9 has 3 negatives."
        ),
    ],
    oracle=_triplets,
    hints=[
        "How many anchors does a class with $s$ images give? How many positives has each of them?",
        "An anchor is not its own positive: $s - 1$ remain, of which at most κ are taken. All $n - s$ other images may be negatives.",
        "Multiply the three for each minority class, and add.",
    ],
    mistakes={
        "An anchor is not its own positive.": lambda targets, k, rho, kappa: _count(
            targets, k, rho, kappa, lambda s, q: min(q, s), _others
        ),
        "A class of $s$ images has at most $s - 1$ positives for an anchor, however large κ is.": lambda targets, k, rho, kappa: (
            _count(targets, k, rho, kappa, lambda s, q: q, _others)
        ),
        "There are only $n - s$ negatives, however large κ is.": lambda targets, k, rho, kappa: _count(
            targets, k, rho, kappa, _near, lambda n, s, q: q
        ),
        "κ caps the negatives, too.": lambda targets, k, rho, kappa: _count(
            targets, k, rho, kappa, _near, lambda n, s, q: n - s
        ),
        "κ caps the positives, too.": lambda targets, k, rho, kappa: _count(
            targets, k, rho, kappa, lambda s, q: s - 1, _others
        ),
        "Only classes in the minority of the batch give anchors.": lambda targets, k, rho, kappa: _count(
            targets, k, 1.0, kappa, _near, _others
        ),
    },
    given={"torch": torch, "lt": lt},
)


def _anchor(features, targets, a, kappa, m):
    """The relative comparison of one anchor at instance level, by the method's own mining and loss."""
    closeness, distance = crl.instance_level(torch.nn.functional.normalize(features))
    pairs = crl.hard_pairs(closeness, distance, targets, torch.arange(len(targets)) == a, kappa)
    return float(crl.relative_loss(pairs, m))


def _slip(features, targets, a, kappa, m, *, unit=True, itself=False, far=True, near=True, average=None):
    """The same with a reader's slip."""
    x = torch.nn.functional.normalize(features) if unit else features
    d, same = (x - x[a]).norm(dim=1), targets == targets[a]
    own = same if itself else same & (torch.arange(len(targets)) != a)
    d_pos, d_neg = d[own].sort(descending=far).values[:kappa], d[~same].sort(descending=not near).values[:kappa]
    hinges = m + d_pos[:, None] - d_neg
    return float(average(hinges) if average else hinges.clamp_min(0).mean())


def _clusters(n, seed):
    """Features (n, 3) and targets (n,) of three classes that overlap a little; lengths differ."""
    random = torch.Generator().manual_seed(seed)
    targets = torch.arange(n) % 3
    x = torch.eye(3)[targets] + 0.7 * torch.randn(n, 3, generator=random)
    return x * (1 + 3 * torch.rand(n, 1, generator=random)), targets


_HAND = torch.tensor([[1.0, 0.0], [0.0, 2.0], [2.0, 2.0], [-3.0, 0.0], [1.0, 3**0.5]]), torch.tensor([0, 0, 0, 1, 1])

relative = lt.Exercise(
    "One anchor, at instance level",
    """Write `relative(features, targets, a, kappa, m)`: the relative comparison of **one** anchor, image `a`, at *instance* level. Find its `kappa` hard positives and hard negatives (fewer where there are not so many), and return the mean over its triplets. `features` has shape (n, d), `targets` (n,). Distances are Euclidean, between features that you bring to length 1 first.

By hand first, with κ = 1 and $m$ = 0.5: the anchor has feature (1, 0), two images of its class have (0, 2) and (2, 2), two others (-3, 0) and (1, √3).""",
    """
def relative(features, targets, a, kappa, m):
    x = features / features.norm(dim=1, keepdim=True)
    d = (x - x[a]).norm(dim=1)
    own = targets == targets[a]
    d_neg = d[~own].sort().values[:kappa]
    own[a] = False
    d_pos = d[own].sort(descending=True).values[:kappa]
    return (m + d_pos[:, None] - d_neg).clamp_min(0).mean()
""",
    [
        lt.study.Case("by hand, κ = 1", (*_HAND, 0, 1, 0.5), "d(+) = √2, of (0, 2); d(-) = 1, of (1, √3)."),
        lt.study.Case("by hand, κ = 2", (*_HAND, 0, 2, 0.5), "Two positives and two negatives: four triplets."),
        lt.study.Case("12 images, κ = 2", (*_clusters(12, 0), 4, 2, 0.5), "Some triplets are in order and count 0."),
        lt.study.Case("12 images, κ = 10", (*_clusters(12, 1), 0, 10, 0.5), "Three positives, eight negatives."),
    ],
    oracle=_anchor,
    hints=[
        "Which pictures does the desk link to the chosen one at instance level? The table under *Mine* says it.",
        "First bring every feature to length 1. Then one line gives the distances of all images to the anchor.",
        "Each positive meets each negative: a table of κ × κ values. Cut every one of them off at 0 before you take the mean.",
    ],
    mistakes={
        "Distances are between features of length 1.": functools.partial(_slip, unit=False),
        "An anchor is not its own positive.": functools.partial(_slip, itself=True),
        "A hard positive is one that lies far away.": functools.partial(_slip, far=False),
        "A hard negative is one that lies near.": functools.partial(_slip, near=False),
        "A triplet in order counts 0: cut off each one at 0, before the mean.": functools.partial(
            _slip, average=lambda hinges: hinges.mean().clamp_min(0)
        ),
        "Every positive meets every negative.": functools.partial(
            _slip, average=lambda hinges: hinges.diagonal().clamp_min(0).mean()
        ),
        "Take the mean over the triplets.": functools.partial(_slip, average=lambda hinges: hinges.clamp_min(0).sum()),
    },
    given={"torch": torch},
)


# ------------------------------------------------------------------------------------------------------------ quiz
def quiz():
    """Five questions."""
    counts = lt.recorded("cifar16", "ce", seed=0)[0].counts
    once, twice = (lt.metrics.pair_chance(counts, size).min() for size in (BATCH, 2 * BATCH))
    faster = f"grows to {twice / once:.1f} times as much"
    return lt.Quiz(
        [
            lt.study.Question(
                "A batch has 30 images of class A, 20 of B, 10 of C, 3 of D and 1 of E, and $\\rho = 0.5$. Which classes give anchors?",
                {
                    "D and E": "E has one image: no positive, no triplet.",
                    "C and D": "Yes. E, D and C hold 14 of 64; with B it would be 34, more than 32. E has no pair.",
                    "B, C and D": "With B the running sum is 34, more than 32.",
                },
                "C and D",
            ),
            lt.study.Question(
                "Ten classes, batches of 64, $\\rho = 0.5$; training set and batches are balanced on average. How many minority classes does profiling find, on average?",
                {
                    "none, nothing is rare": "Profiling looks at one batch, and batches fluctuate: some class is always the smallest.",
                    "a little more than half of the classes": "Yes: the smaller classes together hold half of the batch. The minority is defined by the batch, not by the training set.",
                    "all of them": "Together they hold the whole batch, more than ρ of it.",
                },
                "a little more than half of the classes",
            ),
            lt.study.Question(
                "At class level, which images are the hard negatives of a cat?",
                {
                    "the images nearest to it in feature space": "That is the instance level.",
                    "the images of other classes with the highest p(cat)": "Yes. They are the same for every cat of the batch.",
                    "the cats with the lowest p(cat)": "Those are hard positives.",
                },
                "the images of other classes with the highest p(cat)",
            ),
            lt.study.Question(
                "You double the batch size of the photographs from 64 to 128, in a plain epoch. The chance that a batch holds a pair of the rarest class",
                {
                    "doubles": "A pair needs two images, so it grows faster than the batch.",
                    faster: "Yes: while pairs are rare, their chance grows almost with the square of the batch size.",
                    "stays the same": "Both images have twice as many places to come in.",
                },
                faster,
            ),
            lt.study.Question(
                "With batches of 512, rectification is clearly better than the plain network, which was trained with batches of 64. What do you conclude?",
                {
                    "Pairs of the rare classes bring the gain.": "They are more frequent now. But the batches changed as well, and with them the number of steps.",
                    "Rectification needs large batches.": "It was not compared with rectification at 64, nor with large batches alone.",
                    "Nothing yet: train the plain network with batches of 512, too.": "Yes. Change one thing at a time.",
                },
                "Nothing yet: train the plain network with batches of 512, too.",
            ),
        ]
    )
