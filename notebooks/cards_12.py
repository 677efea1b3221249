"""Chapter 12: its predictions, exercises and quiz, and the figures that they open."""
# ruff: noqa: E501  (text for readers is not cut into lines)

import os
from functools import cache
from itertools import combinations

import numpy as np
import torch
from scipy.optimize import linprog

import ltviz as lt
from ltviz.explore.attributes import first_batches
from ltviz.plots.examples import mosaic
from ltviz.plots.picture import EDGE, INK, PALETTE, QUIET, Picture, draws, get_axes, look, new_figure, percent
from ltviz.study.cards import Card, box, bullets, fold, image, inline, plain, safe, show

FAST = os.environ.get("LTVIZ_PROFILE") == "fast"
SEEDS, OWN_SEEDS = (1, 1) if FAST else (5, 5)  # of the plain networks and of the reader's loss that the chapter trains
BASE, BATCH = "CE", 128
SHOWN = ("CE", "DeepID2", "LMLE", "CRL (class level)", "MTCT", "Logit adjustment")  # in the figure of the comparison
ALONE, OWN = "CRL (instance level)", "CRL (instance level), own features"
RAREST = "same upside down"
BANDS = {"all": "all twelve", "below 3 : 1": "below 3 : 1", "3 : 1 to 15 : 1": "3 to 15", "beyond 15 : 1": "beyond 15 : 1"}  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- data
@cache
def table():
    """The recorded runs, a line a run and attribute."""
    return lt.attributes.recorded()


@cache
def digits():
    """The digits of seed 0, with their attributes."""
    return lt.digits_attributes(seed=0)


def first_batch(data):
    """Training images (n,) of the first batch of the recorded plain network."""
    return torch.from_numpy(first_batches(data, lt.attributes.plain())[0])


@cache
def ordered():
    """Names of the attributes by imbalance, and the imbalance (a,) as mean over the seeds."""
    usual = table()[table().row == BASE].groupby("attribute")["imbalance"].mean().sort_values()
    return tuple(usual.index), usual.to_numpy()


def scores(row, metric="balanced"):
    """One number a seed and attribute (seeds, a), attributes by imbalance."""
    wide = table()[table().row == row].pivot(index="seed", columns="attribute", values=metric)
    return wide[list(ordered()[0])].sort_index().to_numpy()


def recalls(row):
    """Recall of the frequent and of the rare value (seeds, a)."""
    rare = scores(row, "recall_rare")
    return 2 * scores(row) - rare, rare


def against(row, base=BASE, band="all"):
    """The paired difference of two rows, as means over the attributes of a band."""
    inside = within(band)
    return lt.metrics.paired(scores(row)[:, inside].mean(1), scores(base)[:, inside].mean(1))


def within(band):
    """Which attributes (a,) lie in a band."""
    low, high = lt.attributes.BANDS[band]
    return (ordered()[1] >= low) & (ordered()[1] < high)


def points(found):
    return f"**{signed(found)}** points ({found.verdict})"


def signed(found):
    """Mean and half of the interval in points, with a minus sign, and spaces that do not break."""
    mean = f"{100 * found.mean:+.1f}".replace("-0.0", "0.0").replace("+0.0", "0.0").replace("-", "−")
    half = f" ± {100 * found.half:.1f}" if np.isfinite(found.half) else ""  # one seed has no interval
    return (mean + half).replace(" ", "\N{NO-BREAK SPACE}")


def ratios(shares):
    """Most frequent / rarest value of binary attributes, from the share that has them."""
    return np.maximum(shares, 1 - shares) / np.minimum(shares, 1 - shares)


def ratio(value):
    return f"{value:.1f} : 1" if value < 9.95 else f"{value:.0f} : 1"


@cache
def resampled():
    """Imbalance of each attribute before, and after the images with the rarest one are repeated until it is 1 : 1."""
    y = digits().targets.numpy()[:, [digits().names.index(name) for name in ordered()[0]]]
    rarest = y[:, -1] == 1
    weights = np.where(rarest, (~rarest).sum() / rarest.sum(), 1.0)
    return ratios(y.mean(0)), ratios(weights @ y / weights.sum())


@cache
def most_even():
    """Of all weightings of the images: the largest distance of any attribute's share from 1/2, made as small as it gets."""
    patterns = np.unique(digits().targets.numpy(), axis=0)
    n, a = patterns.shape
    above = np.column_stack([patterns.T, -np.ones(a)])
    below = np.column_stack([-patterns.T, -np.ones(a)])
    found = linprog(
        np.append(np.zeros(n), 1.0),
        A_ub=np.vstack([above, below]),
        b_ub=np.repeat([0.5, -0.5], a),
        A_eq=[np.append(np.ones(n), 0.0)],
        b_eq=[1.0],
    )
    return found.fun, n


@cache
def disjoint():
    """Three attributes of which no image has two, by place in `ordered`; each can be had alone."""
    kinds = np.unique(digits().targets.numpy()[:, [digits().names.index(name) for name in ordered()[0]]], axis=0)
    few = (some for some in combinations(range(kinds.shape[1]), 3) if kinds[:, some].sum(1).max() == 1)
    return max(few)  # the rarest ones


def photographs_chance():
    """Chance of a pair of the rarest class in a batch of 64 of the photographs (chapter 08)."""
    return lt.metrics.pair_chance(lt.recorded("cifar16", "ce", seed=0)[0].counts, 64).min()


def chance():
    """Chance of two images or more of the rarer value in a batch, for each attribute (a,), and their number."""
    counts = [np.sort(digits().counts[digits().names.index(name)])[::-1] for name in ordered()[0]]
    return np.array([lt.metrics.pair_chance(one, BATCH)[1] for one in counts]), [int(one[1]) for one in counts]


def lines(*said):
    return Card(bullets(list(said)), "\n".join(map(plain, said)))


def folded(label, title, summary, *content):
    """A card that stays closed until the reader opens it."""
    html = "".join(part.html if isinstance(part, Card) else image(part) for part in content)
    return Card(box("note", label, title, fold(summary, html)), f"{title}: folded.")


def grid(head, rows):
    """Rows of texts, with inline markdown, as a card."""
    cell = 'style="text-align:left;padding:.15em .7em"'
    top = "".join(f"<th {cell}>{safe(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td {cell}>{inline(one)}</td>" for one in row) + "</tr>" for row in rows)
    text = [" | ".join(map(plain, row)) for row in (head, *rows)]
    return Card(f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>", "\n".join(text))


# ---------------------------------------------------------------------------------------------------------- figures
def chosen(data, many=10):
    """Some training images that show every attribute: in turn one that has the rarest attribute not yet shown."""
    y = data.targets.numpy()
    by_rarity = np.argsort(y.sum(0), kind="stable")
    found = []
    for j in (*by_rarity, *by_rarity):
        if len(found) < many and not y[found, j].any():
            found.append(int(np.flatnonzero(y[:, j])[0]))
    rest = (i for i in range(len(y)) if i not in found)
    while len(found) < many:
        found.append(next(rest))
    return found


@draws
def plot_digits(data):
    """Ten training digits, and which of them has which attribute."""
    some = chosen(data)
    y = data.targets.numpy()
    order = np.argsort(ratios(y.mean(0)), kind="stable")
    figure = new_figure(8.6, 4.7)
    top, ax = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (0.72, 4.6)})
    inks = 255 - data.images[some].numpy().transpose(0, 2, 3, 1)
    for i, one in enumerate(inks):
        picture = mosaic(one[None], [(0, 0)], 1, 1)
        top.imshow(picture, extent=(i - 0.4, i + 0.4, 0, 1), aspect="auto", interpolation="nearest")
    top.set(xlim=(-0.6, len(some) - 0.4), ylim=(0, 1))
    top.axis("off")
    row, column = np.nonzero(y[some][:, order].T)
    ax.scatter(column, row, s=90, color=PALETTE[0], zorder=3)
    labels = [f"{data.names[j]}  ({y[:, j].sum()} of {len(y)})" for j in order]
    ax.set_yticks(range(len(order)), labels)
    ax.set(xticks=[], ylim=(len(order) - 0.4, -0.6))
    ax.grid(True, axis="y")
    ax.spines[:].set_visible(False)
    said = "; ".join(f"{label}: {int(y[some, j].sum())}" for label, j in zip(labels, order, strict=True))
    return Picture([ax, top], {"index": some}, f"How many of ten digits have each attribute. {said}.")


@draws
def plot_resampled():
    """Imbalance of each attribute before and after one of them is balanced by repeating images."""
    (ax,) = get_axes(None, 7.4, 4.0)
    before, after = resampled()
    names, y = ordered()[0], np.arange(len(before))
    for a, b, i in zip(before, after, y, strict=True):
        ax.annotate(
            "", (b, i), (a, i), arrowprops={"arrowstyle": "-|>", "color": PALETTE[1 if b > a else 2], "lw": 1.8}
        )
    kind = {"linestyle": "", "markersize": 7, **EDGE}
    ax.plot(before, y, "o", color=INK, label="as they are", **kind)
    ax.plot(after, y, "s", color=PALETTE[3], label=f"“{RAREST}” repeated until 1 : 1", **kind)
    ax.set_xscale("log")
    ax.set_xticks([1, 2, 5, 10, 20, 50], ["1 : 1", "2 : 1", "5 : 1", "10 : 1", "20 : 1", "50 : 1"])
    ax.minorticks_off()
    ax.set_yticks(y, names)
    ax.set(ylim=(len(y) - 0.4, -0.6), xlim=(0.9, 85), xlabel="imbalance of the attribute (log)")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2)
    said = "; ".join(f"{n}: {ratio(a)} to {ratio(b)}" for n, a, b in zip(names, before, after, strict=True))
    return Picture(ax, {"before": before, "after": after}, f"Imbalance before and after. {said}.")


@draws
def plot_pairs():
    """Chance that a batch holds a pair of the rarer value, for each attribute."""
    (ax,) = get_axes(None, 7.0, 3.6)
    found, images = chance()
    y = np.arange(len(found))
    ax.barh(y, found, height=0.62, color=PALETTE[0])
    for i, value in enumerate(found):
        ax.text(value + 0.01, i, f"{100 * value:.3g}%", va="center")
    ax.set_yticks(y, [f"{name}  ({n})" for name, n in zip(ordered()[0], images, strict=True)])
    ax.set(ylim=(len(y) - 0.4, -0.6), xlim=(0, 1.12), xticks=[0, 0.5, 1])
    percent(ax.xaxis)
    ax.grid(False, axis="y")
    ax.set_xlabel(f"batches of {BATCH} with two or more images of the rarer value")
    said = "; ".join(f"{name} {100 * value:.0f}%" for name, value in zip(ordered()[0], found, strict=True))
    return Picture(ax, {"chance": found}, f"Batches with a pair: {said}.")


TAUS = np.linspace(-1.5, 2.5, 41)


def slider(run):
    """Recall of the frequent and the rare values (taus,) of a plain network, its logits less tau log prior."""
    inside = [run.names.index(name) for name, one in zip(ordered()[0], within("beyond 15 : 1"), strict=True) if one]
    found = []
    for j in inside:
        prior = run.counts[j] / run.counts[j].sum()
        said = np.array([(run.logits[j] - tau * np.log(prior)).argmax(1) for tau in TAUS])
        order = np.argsort(-run.counts[j], kind="stable")
        found.append([(said[:, run.targets[:, j] == v] == v).mean(1) for v in order])
    return np.array(found).mean(0)


def beyond(row, lines_):
    """Rare values of a recorded row above the slider's line of the same seed, where the frequent ones are equal."""
    inside = within("beyond 15 : 1")
    frequent, rare = (one[:, inside].mean(1) for one in recalls(row))
    there = [_at(x, *line) for x, line in zip(frequent, lines_, strict=False)]
    return lt.metrics.paired(rare[: len(there)], np.array(there))


def _at(x, frequent, rare):
    """The line at this recall of the frequent values; of several τ with equal recall of these, the best for the rare ones."""
    frequent, rare = frequent[::-1], rare[::-1]
    kept = np.append(True, np.diff(frequent) > 0)
    return np.interp(x, frequent[kept], rare[kept])


@draws
def plot_slider(lines_):
    """Rare against frequent values of the four rarest attributes: the slider of plain networks, and the methods."""
    (ax,) = get_axes(None, 7.2, 4.2)
    for line in lines_:
        ax.plot(*line, color=QUIET, linewidth=0.8, alpha=0.6)
    mean = np.mean(lines_, 0)
    ax.plot(*mean, color=INK, linewidth=2, label=f"plain network, τ from {TAUS[0]:g} to {TAUS[-1]:g}".replace("-", "−"))
    for tau in (0, 1, 2):
        at = mean[:, np.abs(TAUS - tau).argmin()]
        ax.plot(*at, "o", color=INK, markersize=4)
        ax.annotate(f"τ = {tau}", at, (-9, -15), textcoords="offset points", ha="right", color=INK)
    data, inside = {"slider": mean}, within("beyond 15 : 1")
    for i, row in enumerate(JUDGED):
        x, y = (one[:, inside].mean(1) for one in recalls(row))
        found = [lt.metrics.paired(one, np.zeros(len(one))) for one in (x, y)]
        kind = {"fmt": look(i)["marker"], "color": look(i)["color"], "markersize": 7, "elinewidth": 1, **EDGE}
        ax.errorbar(found[0].mean, found[1].mean, found[1].half, found[0].half, label=row, zorder=3, **kind)
        data[row] = np.array([found[0].mean, found[1].mean])
    ax.set(xlim=(0.79, 1.005), ylim=(0, 1.02), xlabel="recall of the frequent value", ylabel="recall of the rare value")
    percent(ax.xaxis)
    percent(ax.yaxis)
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    ax.set_title("The four attributes beyond 15 : 1")
    said = "; ".join(f"{row} {x:.1%} and {y:.1%}" for row, (x, y) in data.items() if row != "slider")
    return Picture(ax, data, f"Recall of the frequent and the rare value: {said}.")


# ------------------------------------------------------------------------------------------------------ predictions
balance_one = lt.Predict(
    f"“{RAREST}” is the rarest attribute, {ratio(resampled()[0][-1])}. Repeat the images that have it until it is 1 : 1. "
    f"“{ordered()[0][-2]}” is {ratio(resampled()[0][-2])} now. How imbalanced is “{ordered()[0][-2]}” afterwards?",
    number=(1, 80, 1),
    default=15,
    unit=" : 1",
)


def open_balance_one():
    """What balancing one attribute does to the others."""
    before, after = resampled()
    worse = int((after[:-1] > before[:-1]).sum())
    return balance_one.reveal(
        plot_resampled(),
        truth=after[-2],
        tolerance=8,
        because=f"Of the other {len(after) - 1} attributes {worse} are more imbalanced than before, “{ordered()[0][0]}” among them ({ratio(before[0])} to {ratio(after[0])}). "
        "An image carries all its attributes with it: repeating it repeats all of them. **A data set has no one imbalance ratio; each attribute has its own.**",
    )


balance_all = lt.Predict(
    "Now weight the training images as you like, each one differently. How near can *all twelve* attributes come to 1 : 1 at once?",
    choices=["exactly 1 : 1, all twelve", "nearly: the worst below 1.5 : 1", "not nearer than 1.5 : 1 for the worst"],
    default="exactly 1 : 1, all twelve",
)


def open_balance_all():
    """The most even weighting, by linear programming."""
    off, patterns = most_even()
    worst = float(ratios(np.array(0.5 - off)))
    truth = balance_all.options[0 if off < 1e-9 else 1 if worst < 1.5 else 2]
    first, second, third = (f"“{ordered()[0][j]}”" for j in disjoint())
    return balance_all.reveal(
        lines(
            f"The {len(digits())} training images have {patterns} different rows of twelve answers.",
            f"Whatever the weights, some attribute stays at {ratio(worst)} or worse.",
        ),
        truth=truth,
        because="A linear program finds the weights: not negative, with sum one, and every share as near to 1/2 as possible. "
        f"One reason can be seen without it. No training image has two of {first}, {second} and {third}, so their three shares sum to at most 1 under any weights; balanced, they would sum to 3/2. One of the three has a share of 1/3 at most, which is 2 : 1. "
        "**No resampling balances these data.** A weight in each attribute's own loss can differ from attribute to attribute; below we try it.",
    )


rare_found = lt.Predict(
    f"A plain network is right about “{RAREST}” on {scores(BASE, 'accuracy')[:, -1].mean():.1%} of the test images (five seeds). Of the test images that *are* the same upside down, what share does it find?",
    number=(0, 100, 1),
    default=90,
    unit="%",
)


def open_rare_found():
    """Accuracy, recall and balanced accuracy of the rarest attribute."""
    found, right = scores(BASE, "recall_rare")[:, -1], scores(BASE, "accuracy")[:, -1]
    counts = digits().counts[digits().names.index(RAREST)]
    no = np.bincount(digits().test_targets[:, digits().names.index(RAREST)].numpy())
    return rare_found.reveal(
        lines(
            f"Test images, seed 0: {no[1]} of {no.sum()} have it. Always answering “no” is right on {no[0] / no.sum():.1%}.",
            f"The network, five seeds: right on {right.min():.1%} to {right.max():.1%}; it finds {', '.join(f'{one:.0%}' for one in found)} of those that have it.",
            f"Balanced accuracy: {scores(BASE)[:, -1].mean():.1%}; “no” alone gives 50%.",
        ),
        truth=100 * found.mean(),
        tolerance=5,
        because=f"With {counts[1]} of {counts.sum()} training images, “no” is nearly always right. **A high accuracy on a rare attribute does not say that it was learned.**",
    )


pair_chance = lt.Predict(
    f"CRL needs two images of the minority in a batch. In chapter 08 the rarest class of the photographs had such a pair in {100 * photographs_chance():.0f} of 100 batches of 64. Here “{RAREST}” has {chance()[1][-1]} of {len(digits())} training images, and a batch has {BATCH}. In how many of 100 batches does it have a pair?",
    number=(0, 100, 1),
    default=10,
    unit=" of 100 batches",
)


def open_pair_chance():
    """How often a batch has a pair, attribute by attribute."""
    found, _ = chance()
    gains = [against("CRL (class level)", band=band) for band in list(lt.attributes.BANDS)[1:]]
    own = {row: scores(row).mean(1) for row in (ALONE, OWN)}
    said = {row: ", ".join(f"{one:.1%}" for one in values) for row, values in own.items()}
    return pair_chance.reveal(
        [
            plot_pairs(),
            lines(
                f"CRL at class level against the plain network: {'; '.join(f'{BANDS[band]} {points(one)}' for band, one in zip(list(lt.attributes.BANDS)[1:], gains, strict=True))}.",
                f"CRL at instance level, the mean of each seed: {said[ALONE]}. Against the plain network {points(against(ALONE))}.",
                f"The same with a branch of 64 features for each attribute: {said[OWN]}. Against a plain network with such branches {points(against(OWN, 'CE, own features'))}.",
            ),
        ],
        truth=100 * found[-1],
        tolerance=5,
        because="A binary attribute has only two values, and batches are large: pairs are there. At instance level CRL moves the *features*, which all twelve attributes share, and each attribute wants other images near. "
        f"{_collapsed(own)} Whether the class level is better than the instance level, five seeds do not decide.",
    )


def _collapsed(own):
    """How many seeds fell apart, in words."""
    low = {row: int((values < scores(BASE).mean() - 0.1).sum()) for row, values in own.items()}
    words = ("none", "one", "two", "three", "four", "five")
    return f"With {words[low[ALONE]]} of the {words[len(own[ALONE])]} seeds the network lost more than ten points on average; where each attribute had features of its own, with {words[low[OWN]]}."


# ------------------------------------------------------------------------------------------------- what is compared
def compared():
    """Label -> balanced accuracies (seeds, a), with imbalance and names: what `lt.plot_attributes` draws."""
    names, imbalance = ordered()
    return {row: scores(row) for row in SHOWN}, imbalance, list(names)


def results():
    """The table of the chapter: every recorded row against the plain network, by imbalance."""
    rows = [["CE (plain network)", *(f"{scores(BASE)[:, within(band)].mean():.1%}" for band in BANDS)]]
    for row in dict.fromkeys(table().row):
        if row == BASE or row.endswith("own features"):
            continue
        rows.append([row, *(_short(against(row, band=band)) for band in BANDS)])
    count = (len(rows) - 1) * len(BANDS)
    return Card(
        show([grid(["", *BANDS.values()], rows)]) + f"<div>Five seeds. First line: balanced accuracy; others: difference to it in points. Even if no method differed from the plain network, about {count / 20:.0f} of these {count} comparisons would be called suggestive by chance.</div>",
        "\n".join(" | ".join(map(plain, row)) for row in rows),
    )  # fmt: skip


def _short(found):
    """A difference for a narrow column, which breaks only between the number and its verdict."""
    return f"**{signed(found)}** " + found.verdict.replace(" ", "\N{NO-BREAK SPACE}")


def _printed(dataset, method):
    found = lt.published.published(dataset)
    chosen_ = found[(found.method == method) & (found.metric == "balanced_accuracy")]
    return float(chosen_.value.iloc[0])


@cache
def claims_found():
    """(data set, better row, worse row, what is measured here) of each step of the poster's order."""
    steps = [
        ("CelebA", "LMLE", "DeepID2"), ("CelebA", "CRL (class level)", "LMLE"),
        ("CelebA", "CRL (instance level)", "CRL (class level)"), ("X-Domain", "LMLE", "MTCT"),
    ]  # fmt: skip
    return [(dataset, better, worse, against(better, worse)) for dataset, better, worse in steps]


def holds(found):
    """Does a printed step hold here?"""
    return (
        found.mean > 0
        if found.p < 0.005
        else f"{'yes' if found.mean > 0 else 'no'} (suggestive)"
        if found.p < 0.05
        else "undecided"
    )


def claims():
    """The poster's order beside ours, folded."""
    rows = [
        (f"{dataset}: {better} {_printed(dataset, better):g}, {worse} {_printed(dataset, worse):g}", f"{better} against {worse}, digits", points(found), holds(found))
        for dataset, better, worse, found in claims_found()
    ]  # fmt: skip
    kept = sum(holds(found) is True for *_, found in claims_found())
    said = lines(
        f"Not comparable in value: faces and clothes with large networks there, {len(digits())} small digits here. What can be compared is the order of neighbours.",
        f"Clearly kept: {kept} of {len(rows)} steps. The poster has no row with class weights or logit adjustment for each attribute; here they are {points(against('Class-balanced', 'CRL (class level)'))} and {points(against('Logit adjustment', 'CRL (class level)'))} against CRL at class level.",
        "MTCT was made for easy and hard *domains*, which digits do not have; that balanced attributes are taught first is our reading; the four rarest attributes are then trained in the last third of the epochs only, together with all others.",
    )
    return folded("CLAIMS", "The poster's order, and ours", "Open the table", lt.study.claims_table(rows), said)


JUDGED = ("DeepID2", "LMLE", "MTCT", "CRL (class level)", ALONE, "Class-balanced", "Logit adjustment")
how_many_beyond = lt.Predict(
    f"On the four attributes beyond 15 : 1 class weights gained {100 * against('Class-balanced', band='beyond 15 : 1').mean:.0f} points of balanced accuracy on the plain network, and the prior in the loss {100 * against('Logit adjustment', band='beyond 15 : 1').mean:.0f}. The slider of chapter 03 moves a *finished* plain network, each attribute by its own prior. How many of seven methods lie beyond its line, at least suggestively: more of the rare values found, at the same recall of the frequent ones?",
    choices=["none of the seven", "one", "two or three", "more than three"],
    default="two or three",
)


def open_how_many_beyond(plain_runs):
    """The slider on the chapter's own plain networks, with the recorded methods."""
    lines_ = np.array([slider(run) for run in plain_runs])
    found = {row: beyond(row, lines_) for row in JUDGED}
    above, below = (sum(one.verdict.endswith(word) for one in found.values()) for word in ("better", "worse"))
    truth = how_many_beyond.options[0 if not above else 1 if above == 1 else 2 if above < 4 else 3]
    return how_many_beyond.reveal(
        [
            plot_slider(lines_),
            grid(
                [
                    "",
                    f"recall of the rare values above the line, points, {len(lines_)} seed{'s' if len(lines_) > 1 else ''}",
                    "",
                ],
                [[row, f"**{signed(one)}**", one.verdict] for row, one in found.items()],
            ),
            lines(
                f"Method and line are compared at the same recall of the frequent values. At least suggestively above the line: {above} of {len(found)}; below it: {below} of {len(found)}.",
                "Where the line is steep, near τ = 0 and below, a small difference in the frequent values is a large one in the rare ones; intervals are wide there.",
            ),
        ],
        truth=truth,
        because="Class weights and the prior in the loss bring the rare values far, and the slider brings a finished plain network about as far, without training.",
    )


# ------------------------------------------------------------------------------------------------------- exercises
def _linear(targets):
    kinds = np.unique(targets, axis=0)
    rows = np.vstack([kinds.T, np.ones(len(kinds))])
    wanted = np.append(np.full(kinds.shape[1], 0.5), 1.0)
    return bool(linprog(np.zeros(len(kinds)), A_eq=rows, b_eq=wanted).success)


_ONE_OF_THREE = np.eye(3, dtype=int)
possible = lt.Exercise(
    "Is there a weighting?",
    """By hand first: write down three pictures with three yes-or-no attributes, each attribute there and not there at least once, that no weighting of the pictures balances.

Then write `possible(targets)`: is there a weighting of the images under which *every* attribute is 1 : 1? `targets` (n, a) holds 0 and 1. Weights are not negative; shares are of their sum. Return True or False.

`linprog(c, A_eq=A, b_eq=b)` of scipy looks for $w \\ge 0$ with $A w = b$ that makes $c \\cdot w$ small; its `.success` says whether there is such a $w$. The cell below imports it.""",
    """
def possible(targets):
    n, a = targets.shape
    shares = np.vstack([targets.T, np.ones(n)])
    wanted = np.append(np.full(a, 0.5), 1.0)
    return linprog(np.zeros(n), A_eq=shares, b_eq=wanted).success
""",
    [
        lt.study.Case("one or the other", (np.array([[1, 0], [0, 1], [0, 1]]),), "Half of the weight on each kind."),
        lt.study.Case("always one of three", (_ONE_OF_THREE,), "Each attribute can be balanced alone, but not all under the same weights: the three shares sum to 1; balanced they would sum to 1.5."),
        lt.study.Case("at most one of three", (np.vstack([_ONE_OF_THREE, np.zeros(3, int)]),), "The three shares sum to 1 at most. With half of the weight on each of three pictures the fourth would need a negative one."),
        lt.study.Case("every picture has it", (np.array([[1], [1]]),), "Its share is 1, whatever the weights: a share is of their sum."),
        lt.study.Case("the first where the second or the third", (np.array([[1, 1, 0], [1, 0, 1], [0, 0, 0]]),), "The share of the first is the sum of the two others."),
        lt.study.Case("one of three, or all", (np.vstack([_ONE_OF_THREE, np.ones(3, int)]),), "A quarter of the weight on each of the four."),
        lt.study.Case("two loops are a loop, too", (np.array([[0, 0], [1, 0], [1, 1], [0, 0]]),), "Weight on pictures with none, and on those with two loops."),
        lt.study.Case("the digits", (digits().targets.numpy(),), "This is the second prediction of the chapter."),
    ],
    oracle=_linear,
    hints=[
        "What do the shares of three attributes sum to when every picture has exactly one of them? And what must they sum to?",
        "With weights that sum to 1, the share of attribute j is a sum of weights: one equation for each attribute.",
        "And one more equation, for the sum of the weights. There is nothing to make small: c may be zeros.",
    ],
    given={"np": np, "linprog": linprog},
)  # fmt: skip


def _balanced(targets, predicted):
    return float(lt.metrics.attribute_scores(targets[:, None], predicted[:, None]).balanced[0])


def _told(targets, predicted, known, values=None):
    """Mean recall over values, of the images that `known` marks."""
    y, said = targets[known], predicted[known]
    values = y.unique() if values is None else values
    return torch.stack([((said == v) & (y == v)).sum() / (y == v).sum().clamp_min(1) for v in values]).mean()


_Y = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, -1, -1, -1])
_SAID = torch.tensor([0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 1])
balanced = lt.Exercise(
    "Balanced accuracy where labels are missing",
    """Catalogues rarely know every attribute of every image. Write `balanced(targets, predicted)` for *one* attribute: the mean recall of its values. `targets` (n,) holds whole numbers from 0, and -1 where the value is not known: such an image says nothing. `predicted` (n,) is what the network says. An attribute may have more than two values; one that no image has does not count. Return one number.""",
    """
def balanced(targets, predicted):
    known = targets >= 0
    y, said = targets[known], predicted[known]
    return torch.stack([(said[y == v] == v).double().mean() for v in y.unique()]).mean()
""",
    [
        lt.study.Case("all known", (_Y[:8], _SAID[:8]), "5 of 6 “no” and 1 of 2 “yes” are recognised."),
        lt.study.Case("three unknown", (_Y, _SAID), "The three unknown ones change nothing."),
        lt.study.Case("always no", (_Y, torch.zeros_like(_Y)), "Always saying one of two values gives a half."),
        lt.study.Case("four values, one of them without images", (torch.tensor([0, 0, 0, 1, 3, 3, 3]), torch.tensor([0, 2, 0, 1, 3, 0, 3])), "Values 0, 1 and 3 occur; nothing can be said of 2."),
    ],
    oracle=_balanced,
    hints=["Which images go first of all, whatever the value?", "For each value that occurs among the rest: what share of its images is recognised? Then the mean of these shares."],
    mistakes={
        "Unknown is not “no”: these images have to go.": lambda y, said: _told(y.clamp_min(0), said, torch.ones_like(y, dtype=torch.bool)),
        "You took -1 for a value of its own; nobody ever predicts it.": lambda y, said: _told(y, said, torch.ones_like(y, dtype=torch.bool)),
        "That is the accuracy: every image counts the same, so the frequent value decides.": lambda y, said: (y == said)[y >= 0].double().mean(),
        "A value that no image has cannot be recognised; leave it out of the mean.": lambda y, said: _told(y, said, y >= 0, torch.arange(int(max(y.max(), said.max())) + 1)),
        "That is the precision: you divided by what was answered, not by what is there.": lambda y, said: torch.stack([(y[y >= 0] == v)[said[y >= 0] == v].double().mean() for v in y[y >= 0].unique()]).mean(),
    },
    given={"torch": torch},
)  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ quiz
quiz = lt.Quiz(
    [
        lt.study.Question(
            "A catalogue has 40 attributes, from 1 : 1 to 1 : 43. A colleague resamples the images until the rarest attribute is 1 : 1. What do you expect?",
            {
                "All attributes become more balanced.": "The images carry their other attributes with them.",
                "The rarest is balanced; some of the others become more imbalanced.": "Yes. Which ones, depends on what occurs together.",
                "The others stay as they were.": "Only if they were independent of the rarest one. Count.",
            },
            "The rarest is balanced; some of the others become more imbalanced.",
        ),
        lt.study.Question(
            "“Wears a hat”: 2% of the images. The network is right on 98.3%. What do you know?",
            {
                "It has learned the attribute nearly perfectly.": "Always “no” is right on 98%.",
                "On these images it is right 0.3 points more often than always “no”, and perhaps finds 15% of the hats.": "Yes, if it never calls a bare head a hat. Its balanced accuracy would then be 57.5%.",
                "It has learned nothing at all.": "Here it is right slightly more often than always “no”; ask for the recall of both values.",
            },
            "On these images it is right 0.3 points more often than always “no”, and perhaps finds 15% of the hats.",
        ),
        lt.study.Question(
            "A batch of 64 has 40 images with attribute A and 5 with attribute B; ρ = 0.5. What does CRL rectify?",
            {
                "“has B” alone": "It profiles each attribute by itself. Of A the images *without* it are fewer than half.",
                "“has not A” (24 images) and “has B” (5 images)": "Yes. The minority belongs to an attribute in a batch, and may be its “no”.",
                "nothing: 5 images are too few": "Two are enough for a pair.",
            },
            "“has not A” (24 images) and “has B” (5 images)",
        ),
        lt.study.Question(
            "Why can class weights balance every attribute in its own way, where resampling cannot?",
            {
                "Weights are larger than one.": "Resampling acts as a weight, too, and may be as large.",
                "Each attribute has its own loss, and its own weights: an image may weigh much in one and little in another.": "Yes. Resampling gives an image one weight for all of them.",
                "It does not: the two are the same.": "For a single label they are close. With many attributes the loss has one weight for each image *and attribute*.",
            },
            "Each attribute has its own loss, and its own weights: an image may weigh much in one and little in another.",
        ),
        lt.study.Question(
            "One of five seeds of your method falls apart; the mean of the others is as good as the baseline. What do you report?",
            {
                "The mean of the four.": "Then a reader does not learn that one run in five fails.",
                "All five, one by one, the interval, and what was found when you looked for the cause.": "Yes. That a method can fall apart is a result.",
                "The best seed.": "Chapter 01 shows what that is worth.",
            },
            "All five, one by one, the interval, and what was found when you looked for the cause.",
        ),
    ]
)
