"""Chapter 05: its predictions, exercises and quiz, and the figures that they open."""
# ruff: noqa: E501  (text for readers is not cut into lines)

import base64
import dataclasses
import functools
import io
import os

import numpy as np
import torch
from PIL import Image

import ltviz as lt
from ltviz.explore.gradient_river import film, river
from ltviz.methods.class_balanced import class_balanced_weights
from ltviz.methods.focal import focal_loss, focal_of_weighted
from ltviz.plots.picture import GROUP_COLOURS, Picture, band, draws, get_axes, look, new_figure, percent
from ltviz.study.cards import Card, box, bullets, fold, plain, safe

GROUPS = {"head": "frequent", "mid": "middle", "tail": "rare"}
SEEDS = range(3 if os.environ.get("LTVIZ_PROFILE") == "fast" else 10)  # of what the chapter trains by itself
HARD, EASY = 0.5, 0.9  # p of a hard image: below the first; of an easy one: above the second
GAMMAS = (0.5, 1.0, 2.0, 5.0)
CB_FOCAL = "class-balanced sigmoid focal, γ = 1"  # its form is not that of the class-balanced softmax
TOGETHER = "γ = 1, sigmoid form: form and focusing change together"


def focal(data="cifar16", gamma=2.0, form="softmax"):
    """Ten recorded runs of the focal loss, one a seed."""
    return lt.recorded(data, "focal", gamma=gamma, form=form)


def balanced(data="cifar16", loss="focal", beta=0.9999):
    """Ten recorded runs of the class-balanced loss, γ = 1 where it is focal."""
    return lt.recorded(data, "class_balanced", loss=loss, beta=beta, reduction="n")


def deferred(data="cifar16", reduction="n"):
    """Cross-entropy with deferred class weights, divided by n as focal-DRW is, or by the sum of the weights."""
    return lt.recorded(data, "ce_drw", reduction=reduction)


def points(found):
    """A paired difference in percentage points, with its 95% interval and verdict."""
    mean = f"{100 * found.mean:+.1f}".replace("-0.0", "0.0").replace("+0.0", "0.0")
    return f"**{mean} ± {100 * found.half:.1f}** points ({found.verdict})"


def sigmoid(data="cifar16"):
    """Ten recorded runs of the sigmoid loss without focusing."""
    return lt.recorded(data, "sigmoid", decay_bias=False)


def compared():
    """The series of the table, the plain network first."""
    return {
        "plain (cross-entropy)": lt.recorded("cifar16", "ce"),
        **{f"focal, γ = {gamma:g}": focal(gamma=gamma) for gamma in GAMMAS},
        "sigmoid": sigmoid(),
        **{f"sigmoid focal, γ = {gamma:g}": focal(gamma=gamma, form="sigmoid") for gamma in (1.0, 2.0)},
        "class-balanced softmax": balanced(loss="softmax"),
        CB_FOCAL: balanced(),
        "CE-DRW, divided by n": deferred(),
        "focal-DRW, γ = 1, divided by n": lt.recorded("cifar16", "focal_drw"),
    }


# ------------------------------------------------------------------------------------------- what is hard, and what rare
@functools.cache
def training_images():
    """Of the recorded plain network on the photographs: p, class and logits of its training images, and the groups."""
    run = lt.recorded("cifar16", "ce", seed=0)[0]
    logits = run.train_features.astype(float) @ run.head_weight.T.astype(float) + run.head_bias
    p = torch.from_numpy(logits).softmax(1).numpy()[np.arange(len(logits)), run.train_targets]
    groups = {name: mask[run.train_targets] for name, mask in lt.metrics.third_groups(run.counts).items()}
    return p, run.train_targets, logits, groups


def hard_and_rare():
    """Two shares: of hard training images, those of rare classes; of the images of rare classes, the hard ones."""
    p, _, _, groups = training_images()
    hard, rare = p < HARD, groups["tail"]
    return float((hard & rare).sum() / hard.sum()), float((hard & rare).sum() / rare.sum())


def hard_frequent_easy_rare(each=5):
    """Test photographs with their p: those of frequent classes with the smallest, those of rare ones with the largest.

    A page of pictures and text, not one picture: so the text follows the theme, and the photographs stay as they are.
    """
    run, found = lt.recorded("cifar16", "ce", seed=0)[0], lt.study.photographs()
    targets, shown = run.targets[: len(found.images)], len(found.images)
    p = torch.from_numpy(run.logits[:shown].astype(float)).softmax(1).numpy()[np.arange(shown), targets]
    groups, order = lt.metrics.third_groups(run.counts), np.argsort(p)
    rows = {
        "Test photographs of frequent classes": [i for i in order if groups["head"][targets[i]]][:each],
        "Test photographs of rare classes": [i for i in order[::-1] if groups["tail"][targets[i]]][:each],
    }
    html, text = "", []
    for name, chosen in rows.items():
        told = [f"{found.names[i]}, p = {p[i]:.2f}" for i in chosen]
        html += f'<div style="margin-top:.6em"><b>{safe(name)}</b></div><div>'
        html += "".join(_photograph(found.images[i], words) for i, words in zip(chosen, told, strict=True)) + "</div>"
        text.append(f"{name}: {'; '.join(told)}.")
    return Card(html, "\n".join(text))


def _photograph(pixels, words):
    """HTML of a photograph with words below it."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((96, 96), Image.Resampling.BICUBIC).save(buffer, "jpeg", quality=90)
    source = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return (
        '<div style="display:inline-block;margin:.3em .9em .2em 0;text-align:center">'
        f'<img alt="{safe(words)}" src="{source}" width="120" height="120"><div>{safe(words)}</div></div>'
    )


@draws
def plot_hard():
    """Left: the share of each group's training images that are hard. Right: the share of each group in the hard ones."""
    p, _, _, groups = training_images()
    hard = p < HARD
    figure = new_figure(7.6, 2.7)
    axes = figure.subplots(1, 2, sharey=True)
    names = list(GROUPS.values())
    values = {
        f"Hard images of each group (p < {HARD:g})": [float(hard[mask].mean()) for mask in groups.values()],
        "The hard images, by group": [float(mask[hard].mean()) for mask in groups.values()],
    }
    for ax, (title, heights) in zip(axes, values.items(), strict=True):
        bars = ax.bar(names, heights, color=[GROUP_COLOURS[name] for name in GROUPS], width=0.6)
        ax.bar_label(bars, [f"{value:.0%}" for value in heights], padding=2, fontsize=9)
        ax.set(ylim=(0, 1), title=title)
        percent(ax.yaxis)
    said = "; ".join(
        f"{title}: " + ", ".join(f"{name} {value:.1%}" for name, value in zip(names, heights, strict=True))
        for title, heights in values.items()
    )
    return Picture(list(axes), {title: np.array(heights) for title, heights in values.items()}, f"{said}.")


hard_ones = lt.Predict(
    f"Take the {sum(lt.recorded('cifar16', 'ce', seed=0)[0].counts):,} **training** images of the photographs, and a plain "
    f"network that has been trained on them. Call an image hard if the network gives its true class $p < {HARD:g}$. How "
    "many of 100 hard images belong to rare classes?",
    number=(0, 100, 1),
    default=60,
    unit=" of 100",
)


def open_hard_ones():
    """The answer, and the share the other way round."""
    p, _, logits, groups = training_images()
    of_hard, of_rare = hard_and_rare()
    return hard_ones.reveal(
        plot_hard(),
        truth=100 * of_hard,
        tolerance=5,
        because=f"One network (seed 0). Of the rare classes' own training images {of_rare:.0%} are hard: rare images are "
        f"mostly hard. Yet only {groups['tail'].mean():.1%} of all images are rare, and {(p < HARD).sum():,} images are "
        "hard. A loss that favours hard images mostly favours hard images of **frequent** classes: the rare share grows, "
        f"from {groups['tail'].mean():.1%} of all images to {of_hard:.1%} of the hard ones, but stays small.",
    )


# --------------------------------------------------------------------------------------------- the share of the gradient
@functools.cache
def courses():
    """Rare share of the gradient on the bench (seeds, epochs), its mean size and mean p at the end: three readings."""
    found = {}
    for label, trained, gamma in (
        ("trained and measured\nwith γ = 0", 0.0, 0.0),
        ("trained with γ = 0,\nmeasured with γ = 2", 0.0, 2.0),
        ("trained and measured\nwith γ = 2", 2.0, 2.0),
    ):
        both = [river(trained, "softmax", seed, gamma) for seed in SEEDS]
        found[label] = np.array([share[:, 2] for share, _ in both]), np.array([size[-1] for _, size in both])
    return found


def say_plain_share():
    """Ten plain networks of the bench, trained here: the rare classes' share of the images and of the gradient."""
    share = [river(0.0, "softmax", seed, 0.0)[0] for seed in SEEDS]
    first, last = (float(np.mean([one[at, 2] for one in share])) for at in (0, -1))
    images = float(film(0.0, "softmax", 0).members[2].mean())
    return lt.say(
        f"**The bench**, {len(share)} plain networks, trained live. Rare classes have **{images:.1%}** of the training "
        f"images. Of the gradient of cross-entropy they have **{first:.1%}** at the start and **{last:.1%}** at the end "
        "(mean of the seeds)."
    )


@draws
def plot_courses():
    """Rare share of the gradient over the epochs, mean over seeds."""
    (ax,) = get_axes(None, 6.8, 3.2)
    data, said = {}, []
    for i, (label, (shares, _)) in enumerate(courses().items()):
        mean = shares.mean(0)
        kind = {key: value for key, value in look(i).items() if key != "marker"}
        band(ax, np.arange(len(mean)), mean, shares.std(0, ddof=1), label=label, **kind)
        data[label] = mean
        said.append(
            f"{' '.join(label.split())}: {mean[0]:.0%} at the start, {mean.max():.0%} at most, {mean[-1]:.0%} at the end"
        )
    ax.set(xlim=(0, len(mean) - 1), ylim=(0, 1), xlabel="epoch", ylabel="share of the gradient")
    percent(ax.yaxis)
    ax.set_title("Rare classes' share of the gradient, the bench")
    ax.legend(title=f"mean of {len(SEEDS)} seeds, ±1 sd", loc="center left", bbox_to_anchor=(1.02, 0.5))
    return Picture(ax, data, f"Rare share of the gradient, mean of {len(SEEDS)} seeds. {'; '.join(said)}.")


same_network = lt.Predict(
    "**The same networks, the same probabilities** at the end of training. Now measure the gradient of the focal loss with "
    "$\\gamma = 2$ in place of cross-entropy. What is the share of the rare classes?",
    number=(0, 100, 1),
    default=50,
    unit="% of the gradient",
)


def open_same_network():
    """The answer, with the size of what is shared."""
    (plain_shares, plain_size), (shares, size), _ = courses().values()
    p = np.mean([film(0.0, "softmax", seed).p[-1][film(0.0, "softmax", seed).members[2]].mean() for seed in SEEDS])
    hard = sum(int((film(0.0, "softmax", seed).p[-1] < HARD).sum()) for seed in SEEDS)
    text = (
        f"Share of the rare classes: γ = 0 **{plain_shares[:, -1].mean():.1%}**, γ = 2 **{shares[:, -1].mean():.1%}**. "
        f"Gradient of an average image: γ = 0 **{plain_size.mean():.2g}**, γ = 2 **{size.mean():.2g}**."
    )
    return same_network.reveal(
        lt.say(text),
        truth=100 * shares[:, -1].mean(),
        tolerance=8,
        because="Focusing down-weights the images with the largest p most, and those are the frequent ones. But little "
        f"gradient is left: that of an average image is {plain_size.mean() / size.mean():.0f} times smaller. "
        f"Rare training images are no longer hard: their mean p is {p:.2f}, and {hard or 'none'} of the images of any "
        f"class has p < {HARD:g} in any of the {len(SEEDS)} networks.",
    )


own_network = lt.Predict(
    "Those networks were trained without focusing. Now **train with** $\\gamma = 2$ from the start. At the end, how does the "
    "rare classes' share of *its* gradient compare with the share in the plain network's own gradient?",
    choices=["clearly larger", "no clear difference", "clearly smaller"],
    default="clearly larger",
)


def open_own_network():
    """The answer over all epochs, and where the probabilities ended."""
    (plain_shares, plain_size), _, (shares, size) = courses().values()
    found = lt.metrics.paired(shares[:, -1], plain_shares[:, -1])
    truth = {"clearly better": "clearly larger", "clearly worse": "clearly smaller"}.get(
        found.verdict, "no clear difference"
    )
    middle = int(np.argmax(shares.mean(0)))
    means = {trained: ends(trained).p for trained in (0.0, 2.0)}
    interval = f"{100 * found.mean:+.1f} ± {100 * found.half:.1f} points of share, p = {found.p:.2g}"
    return own_network.reveal(
        plot_courses(),
        truth=truth,
        because=f"At the end the shares are {plain_shares[:, -1].mean():.1%} and {shares[:, -1].mean():.1%} ({interval}); "
        f"the gradients of an average image are {plain_size.mean():.2g} and {size.mean():.2g}. A likely reason: "
        "training pushes each image until little of its gradient is left. With γ = 2 that point comes sooner, and the probabilities stop lower: mean "
        f"p of rare training images {means[2.0][2]:.2f} instead of {means[0.0][2]:.2f}, of frequent ones "
        f"{means[2.0][0]:.2f} instead of {means[0.0][0]:.2f}. On the way the share peaks at "
        f"{shares.mean(0)[middle]:.0%} in epoch {middle}; without focusing, at {plain_shares.mean(0).max():.0%} in epoch "
        f"{int(np.argmax(plain_shares.mean(0)))}.",
    )


@dataclasses.dataclass(frozen=True)
class Ends:
    """Of each group, mean of the seeds: p and accuracy of its training images, accuracy of its test images."""

    p: np.ndarray
    fitted: np.ndarray
    right: np.ndarray


@functools.cache
def ends(trained, form="softmax"):
    """Where the networks of the bench end."""
    films = [film(trained, form, seed) for seed in SEEDS]
    p = np.array([[one.p[-1][mine].mean() for mine in one.members] for one in films]).mean(0)
    fits = [one.logits[-1].argmax(1) == one.targets for one in films]
    fitted = np.array([[fit[mine].mean() for mine in one.members] for fit, one in zip(fits, films, strict=True)]).mean(
        0
    )
    return Ends(p, fitted, np.array([one.accuracy[-1] for one in films]).mean(0))


def apart(form):
    """Rare share of the gradient (seeds, epochs): trained and measured with γ = 2, less the same with γ = 0."""
    shares = [np.array([river(gamma, form, seed, gamma)[0][:, 2] for seed in SEEDS]) for gamma in (2.0, 0.0)]
    return shares[0] - shares[1]


def river_told():
    """What the questions at the river give, folded."""

    def course(gap):
        most, least = int(np.argmax(gap)), int(np.argmin(gap))
        return (
            f"between {100 * gap[least]:+.0f} (epoch {least}) and {100 * gap[most]:+.0f} (epoch {most}), "
            f"{100 * gap[-1]:+.0f} at the end"
        )

    softmax, one_each = apart("softmax"), apart("sigmoid")
    shown, ended, sigmoids = film(0.0, "softmax", 0), ends(0.0), ends(2.0, "sigmoid")
    hard = [100 * np.mean([(one.p[at][one.members[2]] < HARD).mean() for one in (film(0.0, "softmax", seed) for seed in SEEDS)])
            for at in (0, 10, 20, -1)]  # fmt: skip
    lines = [
        "**Where the rivers differ.** The rare classes' share with γ = 2 less that with γ = 0, in points. The network shown: "
        f"{course(softmax[0])}. Mean of {len(softmax)} seeds: {course(softmax.mean(0))}, where γ = 2 has the smaller share "
        f"under {(softmax[:, -1] < 0).sum()} of {len(softmax)}.",
        f"**With sigmoids** (mean of {len(one_each)} seeds): {course(one_each.mean(0))}, where γ = 2 has the smaller "
        f"share under {(one_each[:, -1] < 0).sum()} of {len(one_each)}. Rare classes, trained with γ = 2: mean p {sigmoids.p[2]:.2f}, "
        f"{sigmoids.right[2]:.0%} of test images right.",
        f"**Rare classes at epoch {len(shown.p) - 1}**, trained with γ = 0. The network shown: mean p {shown.p[-1][shown.members[2]].mean():.2f}, "
        f"{shown.accuracy[-1][2]:.0%} of test images right; mean of the seeds: {ended.p[2]:.2f} and {ended.right[2]:.0%}.",
        f"**Hard only for a while.** Of the rare *training* images, {hard[0]:.0f}% have p < {HARD:g} before training, {hard[1]:.0f}% "
        f"after 10 epochs, {hard[2]:.0f}% after 20, {hard[3]:.0f}% at the end. But {1 - ended.right[2]:.0%} of the rare *test* images "
        "are still wrong, and the factor never sees them.",
    ]
    title = "What the river shows"
    html = box("note", "ANSWERS", title, fold("Open this after your own look", bullets(lines)))
    return Card(html, f"{title}: folded, for after your own look.")


def say_ends():
    """Where training ends in each group, with and without focusing."""
    both = {trained: ends(trained) for trained in (0.0, 2.0)}
    lines = []
    for trained, one in both.items():
        rows = zip(GROUPS.values(), one.p, one.fitted, one.right, strict=True)
        told = ", ".join(f"{name} {p:.2f} / {fitted:.0%} / {right:.0%}" for name, p, fitted, right in rows)
        lines.append(f"Trained with γ = {trained:g}: {told}.")
    found, base = lt.metrics.paired(focal("digits"), lt.recorded("digits", "ce"), "tail"), both[0.0]
    less = (both[2.0].p < base.p).all()
    return lt.say(
        f"**The bench**, mean p of training images / training accuracy / test accuracy, {len(SEEDS)} seeds.",
        "\n".join(f"* {line}" for line in lines),
        f"So the network trained with focusing is less sure {'in **all** groups' if less else 'in some groups only'}. Test accuracy of the rare classes, against "
        f"plain (recorded runs of the same seeds): {points(found)}. That is small beside the gap between training and test accuracy, "
        f"{100 * (base.fitted[2] - base.right[2]):.0f} points in the plain network. Why it rose, we did not test.",
    )


def bench_recorded():
    """The bench's recorded runs, folded: to be opened after the reader's own run."""
    base = lt.recorded("digits", "ce")
    alone = {gamma: lt.metrics.paired(focal("digits", gamma), base, "tail") for gamma in GAMMAS}
    lines = [f"Focal, γ = {gamma:g}: {points(found)}." for gamma, found in alone.items()]
    lines.append(f"Sigmoid loss without focusing: {points(lt.metrics.paired(sigmoid('digits'), base, 'tail'))}.")
    for gamma in (1.0, 2.0):
        against = [points(lt.metrics.paired(focal("digits", gamma, "sigmoid"), one, "tail"))
                   for one in (base, sigmoid("digits"))]  # fmt: skip
        lines.append(f"Sigmoid form, γ = {gamma:g}: {against[0]}; against the sigmoid loss: {against[1]}.")
    weighted, both = balanced("digits", "softmax"), balanced("digits")
    lines.append(
        f"Class-balanced (β = 0.9999) without focusing: {points(lt.metrics.paired(weighted, base, 'tail'))}; "
        f"class-balanced focal ({TOGETHER}): {points(lt.metrics.paired(both, base, 'tail'))}; the second "
        f"against the first: {points(lt.metrics.paired(both, weighted, 'tail'))}."
    )
    small = {gamma: found.mean for gamma, found in alone.items() if "better" in found.verdict}
    lines.append(
        f"In the softmax form, up to γ = {max(small):g}, the gains of focusing alone are small, at most "
        f"{100 * max(small.values()):.1f} points. The section *What changed inside* returns to them."
    )
    title = "The recorded runs of the bench: rare classes against plain, ten seeds"
    html = box("note", "RECORDED", title, fold("Open this after your own run", bullets(lines)))
    return Card(html, f"{title}: folded, for after your own run.")


# ---------------------------------------------------------------------------------------------------- what it buys
rare_gain = lt.Predict(
    "On the photographs, ten seeds: by how many percentage points does the focal loss (softmax, $\\gamma = 2$) change the "
    "accuracy of the **rare** classes, against plain cross-entropy?",
    number=(-20, 20, 1),
    default=8,
    unit=" points",
)


def open_rare_gain():
    """The table of the chapter, and what γ moves."""
    groups = compared()
    base = groups["plain (cross-entropy)"]
    found = {group: lt.metrics.paired(groups["focal, γ = 2"], base, group) for group in ("tail", "head", "all")}
    rose = sum(
        lt.metrics.shot_accuracy(ours)["tail"] > lt.metrics.shot_accuracy(theirs)["tail"]
        for ours, theirs in zip(groups["focal, γ = 2"], base, strict=True)
    )
    weights = lt.metrics.paired(groups["class-balanced softmax"], base, "tail")
    focusing = lt.metrics.paired(groups[CB_FOCAL], groups["class-balanced softmax"], "tail")
    many, gives = easy_images()
    return rare_gain.reveal(
        [
            lt.study.comparison(groups, group="tail"),
            "*Divided by n*: the weighted losses of a batch are divided by its number of images n, as in chapter 04. DRW "
            "in chapter 03 divides by the sum of their weights.",
            f"**Easy images give little gradient.** In the plain network of seed 0, training images with p > {EASY:g} are {many:.0%} of "
            f"all, and give {gives:.0%} of the gradient.",
            f"**With class weights.** Class-balanced weights raise the rare classes by {points(weights)} without focusing. "
            f"Class-balanced focal ({TOGETHER}) against them: {points(focusing)}. Deferred weights (DRW) come next.",
        ],
        truth=100 * found["tail"].mean,
        tolerance=3,
        because=f"γ = 2 against plain: rare {points(found['tail'])}, up under {rose} of {len(base)} seeds; frequent "
        f"{points(found['head'])}; all {points(found['all'])}.",
    )


@functools.cache
def easy_images():
    """Training images of the photographs with p > EASY: their share of the images, and of cross-entropy's gradient."""
    p, targets, logits, _ = training_images()
    sizes = lt.metrics.gradient_sizes(lambda z, y: focal_loss(z, y, 0.0, "softmax"), logits, targets)
    return float((p > EASY).mean()), float(sizes[p > EASY].sum() / sizes.sum())


beyond_the_line = lt.Predict(
    "Chapter 03's slider trains nothing. At **equal accuracy of the frequent classes**, which of these "
    "gives the rare classes more than the slider does (suggestive or clear)?",
    choices=["none of them", "focal alone, some γ", "class-balanced focal", "focal-DRW", "all of them"],
    default="focal-DRW",
)


def drawn():
    """The dots of the chapter on the chart of the course."""
    groups = compared()
    names = [f"focal, γ = {gamma:g}" for gamma in GAMMAS]
    deferred_ones = [name for name in groups if "DRW" in name]
    return {name: groups[name] for name in (*names, CB_FOCAL, *deferred_ones)}


def open_beyond_the_line():
    """The chart of the course with the dots of this chapter."""
    base, groups = lt.recorded("cifar16", "ce"), drawn()
    found = {name: lt.metrics.beyond(runs, base) for name, runs in groups.items()}
    asked = {
        "focal alone, some γ": [one for name, one in found.items() if name.startswith("focal, ")],
        "class-balanced focal": [found[CB_FOCAL]],
        "focal-DRW": [found["focal-DRW, γ = 1, divided by n"]],
    }
    better = [name for name, some in asked.items() if any("better" in one.verdict for one in some)]
    truth = {0: "none of them", len(asked): "all of them"}.get(len(better), better[0] if better else "")
    focused, weighted = lt.recorded("cifar16", "focal_drw"), deferred()
    between, there = (
        {group: lt.metrics.paired(*pair, group) for group in ("tail", "head", "all")}
        for pair in ((focused, weighted), (lt.recorded("digits", "focal_drw"), deferred(data="digits")))
    )
    gains, costs = (
        [points(lt.metrics.paired(runs, base, group)) for runs in (weighted, focused)] for group in ("tail", "head")
    )
    more = [name for name, one in found.items() if "better" in one.verdict]
    rarest, most = factors()
    return beyond_the_line.reveal(
        [
            lt.plot_who_pays(groups, base),
            f"Of these, {' and '.join(more) or 'none'} gives the rare classes clearly or suggestively more than the slider does "
            f"where the frequent classes keep as much. Deferred weights change the rare classes by {gains[0]}, with focal "
            f"in place of cross-entropy by {gains[1]}; the frequent classes by {costs[0]} and {costs[1]}.",
            f"**Focal against cross-entropy** under deferred weights, both divided by n: rare {points(between['tail'])}, "
            f"frequent {points(between['head'])}, all {points(between['all'])}. On the bench: rare "
            f"{points(there['tail'])}, frequent {points(there['head'])}, all {points(there['all'])}.",
            "**Is that the focusing?** We cannot tell. Focal-DRW as published (γ = 1) takes its p from the weighted loss: it is "
            f"$p^w$. At p = {HARD:g} its factor is {rarest:.2f} in the rarest class and {most:.2f} in the most frequent; "
            f"without weights it is {1 - HARD:g} in both. So it acts as a second class weight. We have no "
            "record of deferred weights with an unweighted p.",
        ],
        truth=truth,
        because="The legend has the distances from the line, paired by seed.",
    )


def factors(p=HARD):
    """1 - p^w of focal-DRW (γ = 1) with its class weights, on the photographs: in the rarest class, the most frequent."""
    counts = torch.from_numpy(lt.recorded("cifar16", "ce", seed=0)[0].counts)
    weights = class_balanced_weights(counts, 0.9999).double()
    weights = weights / weights.mean()
    return float(1 - p ** weights[-1]), float(1 - p ** weights[0])


def printed(method, source="Cui et al. 2019, table 2", ratio=100.0, data="CIFAR-10-LT"):
    """Accuracy in percent that a paper prints."""
    table = lt.published.published(data, source=source)
    (value,) = table[(table.method == method) & (table.ratio == ratio) & (table.profile == "exp")].accuracy
    return 100 * float(value)


def judged(found, sign):
    """Whether a difference has the printed sign: True or False where p < .05, else "undecided"."""
    if not found.p < lt.metrics.SUGGESTIVE:
        return "undecided"
    return bool(np.sign(found.mean) == np.sign(sign))


def by_loss(p, gamma=2.0):
    """How many times smaller the focal loss of an image at p is than cross-entropy, and its gradient."""
    z, y = torch.tensor([[np.log(p / (1 - p)), 0.0]], dtype=torch.float64), torch.tensor([0])
    losses = [float(focal_loss(z, y, g, "softmax")[0]) for g in (0.0, gamma)]
    sizes = [lt.metrics.gradient_sizes(lambda z, y, g=g: focal_loss(z, y, g, "softmax"), z, y)[0] for g in (0.0, gamma)]
    return losses[0] / losses[1], sizes[0] / sizes[1]


def claims():
    """What the papers print on focal losses, beside what is measured here."""
    groups = compared()
    base, one_each = groups["plain (cross-entropy)"], groups["sigmoid"]
    ours = "photographs, ten seeds"
    (easy, easy_slope), (easier, easier_slope) = by_loss(0.9), by_loss(0.968)
    rows = [
        (
            "Lin et al.: with γ = 2, an image at p = 0.9 has a loss 100 times smaller than under cross-entropy, and 1,000 "
            "times at p ≈ 0.968.",
            "One image, two classes, calculated.",
            f"Loss **{easy:.0f}** and **{easier:.0f}** times smaller; its gradient {easy_slope:.0f} and "
            f"{easier_slope:.0f} times.",
            abs(easy - 100) < 5 and abs(easier - 1000) < 100,
        )
    ]
    softmax, one_vs_all = printed("CE (softmax)"), printed("BCE (sigmoid)")
    for gamma in (1.0, 2.0):
        value, runs = printed(f"focal, gamma {gamma:g}"), groups[f"sigmoid focal, γ = {gamma:g}"]
        for name, before, reference in (("softmax", softmax, base), ("sigmoid", one_vs_all, one_each)):
            found = lt.metrics.paired(runs, reference)
            rows.append(
                (
                    f"Cui et al., table 2, ratio 100: focal, γ = {gamma:g}, {value:.2f}% against {before:.2f}% "
                    f"({name}): {value - before:+.2f}",
                    f"Sigmoid form, no class weights, against {name}; {ours}.",
                    f"{points(found)} over all classes",
                    judged(found, value - before),
                )
            )
    best, cao = printed("best class-balanced"), printed("CB re-weighting (CE)", "Cao et al. 2019, table 2")
    pairs = (
        (
            f"Cui et al., table 2, ratio 100: class-balanced focal (β = 0.9999, γ = 1) {best:.2f}% against {softmax:.2f}%: "
            f"{best - softmax:+.2f}",
            f"The same β and γ, sigmoid form, against softmax; {ours}.",
            lt.metrics.paired(groups[CB_FOCAL], base),
            best - softmax,
        ),
        (
            f"Cao et al., table 2, ratio 100: class-balanced focal {best:.2f}% against class-balanced cross-entropy "
            f"{cao:.2f}%: {best - cao:+.2f}",
            f"β = 0.9999; {TOGETHER}; both divided by n (theirs divides cross-entropy by the sum of weights); {ours}.",
            lt.metrics.paired(groups[CB_FOCAL], groups["class-balanced softmax"]),
            best - cao,
        ),
    )
    rows += [
        (text, reading, f"{points(found)} over all classes", judged(found, sign))
        for text, reading, found, sign in pairs
    ]
    return lt.study.claims_table([*rows, *slides(groups[CB_FOCAL])])


def slides(focal_runs):
    """Two claims of the slides on the dual loss that rest on a row "CB Focal"."""
    table = lt.published.published("CIFAR-10-LT", source="Cui et al. 2019, table 2")
    row = table[table.method == "best class-balanced"]
    focal_there = ["focal" in note.split(":")[1] for note in row.note]
    true = 100 - printed("CB focal", "Cao et al. 2019, table 2", 10.0)
    dual = printed("Dual Loss", "Li et al. 2020 (Dual Loss), slides")
    against = dual - printed("best class-balanced")
    found = lt.metrics.paired([run for run in lt.recorded("cifar16", "dual") if run.label == "dual"], focal_runs)
    return [
        (
            'Li et al. (slides): a row "CB Focal" with the errors '
            + ", ".join(f"{one.value:.2f}" for one in row.itertuples())
            + " at ratios "
            + ", ".join(f"{one.ratio:g}" for one in row.itertuples()),
            "The row is class-balanced focal at every ratio.",
            f'It is the row "best class-balanced" of Cui et al., chosen among losses, β and γ: focal at '
            f"{sum(focal_there)} of {len(focal_there)} ratios. Class-balanced focal at ratio 10 has {true:.2f} "
            "(Cao et al., table 2).",
            all(focal_there),
        ),
        (
            f"Li et al. (slides), ratio 100: dual loss against that row: {against:+.2f}",
            "Dual loss as recorded by default against class-balanced focal (γ = 1, sigmoid form); photographs, ten seeds.",
            f"{points(found)} over all classes",
            judged(found, against),
        ),
    ]


def sources_disagree():
    """Three places where sources differ, folded, each with what it changes."""
    z, y, w = torch.tensor([[2.0, -1.0, 0.5]], dtype=torch.float64), torch.tensor([0]), torch.tensor([2.0, 1.0, 1.0])
    usual = 2 * float(focal_loss(z, y, 1.0, "softmax")[0])
    weighted = 2 * float(focal_of_weighted(z, y, w, 1.0)[0])
    pairs = (focal(gamma=1.0, form="sigmoid"), focal(gamma=1.0)), (sigmoid(), lt.recorded("cifar16", "ce"))
    forms, unfocused = (lt.metrics.paired(*pair) for pair in pairs)
    apart = lt.metrics.paired(*([a.accuracy - b.accuracy for a, b in zip(*pair, strict=True)] for pair in pairs))
    lines = [
        "**Where p comes from.** The loss was published for detection, with sigmoids; Cui et al. use that form, the code "
        f"of Cao et al. (2019) the softmax. On the photographs at γ = 1 the sigmoid form against the softmax form: "
        f"{points(forms)} over all classes. Without focusing, sigmoids against softmax: {points(unfocused)}. The first "
        f"less the second: {points(apart)}. In the library the setting `form` chooses (default: softmax).",
        "**What p is, under class weights.** The code of Cao et al. (2019) computes p from the *weighted* cross-entropy, "
        "so that it is $p^{w}$, and a heavy class looks harder than it is. Logits 2, -1, 0.5, class weight 2, γ = 1: "
        f"{weighted:.4f} in place of {usual:.4f}. In the library this is `form='weighted_softmax'`; focal-DRW as recorded has it.",
        "**The size of the step.** A focal loss is smaller than cross-entropy, and so is its gradient, except for the "
        "hardest images. The code of Cui et al. doubles the learning rate on ImageNet, and takes four times the rate on iNaturalist, where it trains with "
        "the focal loss. Our records keep one learning rate for all losses; what a tuned one would change, we did not test.",
    ]
    title = "Where sources disagree"
    html = box("note", "SOURCES", title, fold("Three readings, and what they change", bullets(lines)))
    return Card(html, "\n".join([f"{title}:", *map(plain, lines)]))


# ------------------------------------------------------------------------------------------------------- exercises
def _slope(p, gamma):
    """d loss / d z of the true class, in float64: (1 - p)^gamma (gamma p log p + p - 1)."""
    q = p.double()
    return (1 - q) ** gamma * (gamma * torch.xlogy(q, q) + q - 1)


def _by_p(p, gamma):
    q = p.double()
    return gamma * (1 - q) ** (gamma - 1) * q.log() - (1 - q) ** gamma / q


_P = torch.tensor([0.05, 0.3, 0.5, 0.9, 0.99], dtype=torch.float64)
slope = lt.Exercise(
    "The gradient of the focal loss",
    """Write `slope(p, gamma)`: the derivative of $\\ell = -(1-p)^\\gamma \\log p$ with respect to the logit $z_y$ of the true
class, under a softmax. There $\\partial p / \\partial z_y = p\\,(1 - p)$. `p` is a tensor of probabilities, `gamma` a number; return a
tensor of the same shape.

An image may be answered with $p = 1$ exactly, or $p = 0$. Your function must be finite there too, also for $\\gamma = \\tfrac12$.""",
    """
def slope(p, gamma):
    return (1 - p) ** gamma * (gamma * torch.xlogy(p, p) + p - 1)
""",
    [
        lt.study.Case("γ = 0", (_P, 0.0), "Without focusing this is the slope of cross-entropy."),
        lt.study.Case("γ = 2", (_P, 2.0), "Two factors depend on p: the product rule gives two terms."),
        lt.study.Case("γ = 5", (_P, 5.0), "Is γ a factor of one of the two terms?"),
        lt.study.Case(
            "p = 1, γ = ½",
            (torch.tensor([0.999, 1.0], dtype=torch.float64), 0.5),
            "$(1-p)^{\\gamma-1}$ is infinite there, times $\\log 1 = 0$: no number. Collect the powers of $1-p$ first.",
        ),
        lt.study.Case(
            "p = 0, γ = ½",
            (torch.tensor([0.0, 0.001], dtype=torch.float64), 0.5),
            "$p \\log p$ goes to 0, but in code 0 times minus infinity is no number. `torch.xlogy` knows the limit.",
        ),
        lt.study.Case("p = 0 and p = 1, γ = 2, float32", (torch.tensor([0.0, 0.5, 1.0]), 2.0), "Both ends, as above."),
    ],
    oracle=_slope,
    hints=[
        "The chain rule: first the derivative by $p$, a product of two functions of $p$; then $\\partial p/\\partial z_y$.",
        "One of the two terms has $(1-p)^{\\gamma-1}$. The factor $p(1-p)$ makes that power harmless: multiply out.",
        "Both terms now have the factor $(1-p)^\\gamma$. What is left in the bracket?",
    ],
    mistakes={
        "This is the derivative with respect to p. Multiply it by ∂p/∂z.": _by_p,
        "The sign is turned: the loss falls as the true logit grows.": lambda p, gamma: -_slope(p, gamma),
        "You took $(1-p)^\\gamma$ for a constant. It depends on p as well.": lambda p, gamma: (
            -((1 - p.double()) ** (gamma + 1))
        ),
    },
    given={"torch": torch},
)


def _rare_share(p, rare, gamma):
    size = _slope(p, gamma).abs()
    return size[rare].sum() / size.sum()


class Told(lt.Exercise):
    """An exercise that, once passed, answers the question at the end of its task."""

    def check(self, answer=None):
        found = super().check(answer)
        return dataclasses.replace(found, note=said_of_fitted()) if found.passed else found


def said_of_fitted():
    """What γ = 2 makes of the share of the rare images where all are fitted, and of the sum."""
    p, rare = _FITTED
    shares, sums = zip(*((_rare_share(p, rare, g), _slope(p, g).abs().sum()) for g in (0.0, 2.0)), strict=True)
    return (
        f"All fitted, γ = 0 → γ = 2: the share of the rare images {shares[0]:.0%} → **{shares[1]:.0%}**, the sum over all "
        f"{sums[0]:.2f} → **{sums[1]:.2g}**."
    )


_HALF = torch.tensor([0.9] * 90 + [0.2] * 10, dtype=torch.float64), torch.arange(100) >= 90
_MIXED = torch.linspace(0.02, 0.98, 50, dtype=torch.float64), torch.arange(50) % 10 == 3
_FITTED = torch.cat([torch.full((95,), 0.99), torch.full((5,), 0.96)]).double(), torch.arange(100) >= 95
_OVER_ALL = (
    "Take the sizes $|\\partial \\ell / \\partial z_y|$: their sum over the rare images, divided by the sum over all."
)
rare_share = Told(
    "The share of the rare images",
    """Write `rare_share(p, rare, gamma)`: the share of the rare images in the gradient of the softmax focal loss. `p` (n,) are
probabilities of the true class, `rare` (n,) is True for images of rare classes. The size of an image's gradient is
$|\\partial \\ell / \\partial z_y|$, from the exercise before (you may call your `slope`); under a softmax, half of $g_i$.

Then try it: 5 of 100 images are rare, at $p = 0.96$, the others are at $0.99$ (the case "all fitted"). What does γ = 2 make of
their share, and what of the sum? Guess first: the answer stands above the checks once they all hold.""",
    """
def rare_share(p, rare, gamma):
    size = ((1 - p) ** gamma * (gamma * torch.xlogy(p, p) + p - 1)).abs()
    return size[rare].sum() / size.sum()
""",
    [
        lt.study.Case(
            "rare images are hard, γ = 0", (*_HALF, 0.0), "At γ = 0 the size of a gradient is $1 - p$. " + _OVER_ALL
        ),
        lt.study.Case("rare images are hard, γ = 2", (*_HALF, 2.0), _OVER_ALL),
        lt.study.Case("rare images are like all others, γ = 2", (*_MIXED, 2.0), _OVER_ALL),
        lt.study.Case("all fitted, γ = 2", (*_FITTED, 2.0), _OVER_ALL),
    ],
    oracle=_rare_share,
    hints=[
        "The gradient of each image has a size. Sum it over the rare images, and over all.",
        "The slope is negative: take its absolute value, or leave both sums negative.",
        "A mask of True and False picks the rare images.",
    ],
    mistakes={
        "You summed the weights $(1-p)^\\gamma$. The gradient of cross-entropy is a factor, too, and so is the slope of the weight.": (
            lambda p, rare, gamma: ((1 - p) ** gamma)[rare].sum() / ((1 - p) ** gamma).sum()
        ),
        "You shared out the loss. Training follows its gradient.": lambda p, rare, gamma: (
            ((1 - p) ** gamma * p.log())[rare].sum() / ((1 - p) ** gamma * p.log()).sum()
        ),
        "This is the size of $(1-p)^\\gamma (1-p)$: the weight's own slope is missing.": lambda p, rare, gamma: (
            ((1 - p) ** (gamma + 1))[rare].sum() / ((1 - p) ** (gamma + 1)).sum()
        ),
        "You divided means. A share divides sums; so it cannot be above 1.": lambda p, rare, gamma: (
            _slope(p, gamma)[rare].mean() / _slope(p, gamma).mean()
        ),
        "You divided by the sum over the other images. A share divides by the sum over all.": lambda p, rare, gamma: (
            _slope(p, gamma)[rare].sum() / _slope(p, gamma)[~rare].sum()
        ),
        "This is the share of the other images. `p[rare]` picks the rare ones.": lambda p, rare, gamma: (
            1 - _rare_share(p, rare, gamma)
        ),
        "This is the sum of the sizes. Divide it by the sum over all images.": lambda p, rare, gamma: (
            _slope(p, gamma).abs()[rare].sum()
        ),
        "This is the mean size of the rare images. Take sums, and divide by the sum over all.": lambda p, rare, gamma: (
            _slope(p, gamma).abs()[rare].mean()
        ),
        "These are means of the groups. A share compares sums.": lambda p, rare, gamma: (
            _slope(p, gamma)[rare].mean() / (_slope(p, gamma)[rare].mean() + _slope(p, gamma)[~rare].mean())
        ),
    },
    given={"torch": torch},
)


# ------------------------------------------------------------------------------------------------------------ quiz
def quiz():
    """Five questions."""
    _, easy = easy_images()
    rose = lt.metrics.paired(focal("digits"), lt.recorded("digits", "ce"), "tail")
    plain_end = ends(0.0)
    return lt.Quiz(
        [
            lt.study.Question(
                "Nearly all images of a rare class are hard. Does a loss that favours hard images then mainly favour rare "
                "classes?",
                {
                    "Yes: hard and rare are the same images.": "Most rare images can be hard while few hard images are "
                    "rare: there are so few of them.",
                    "No: most hard images may still belong to frequent classes.": "Yes. It depends on how many images "
                    "each class has: compare the two bar charts.",
                    "Only if γ is large.": "γ decides how much hard images are favoured, not whose they are.",
                },
                "No: most hard images may still belong to frequent classes.",
            ),
            lt.study.Question(
                f"On the bench the plain network ends with {plain_end.fitted[2]:.0%} of rare **training** images right, and "
                f"{plain_end.right[2]:.0%} of rare **test** images. What can focusing do about the gap?",
                {
                    "Much: many rare test images are hard.": "The loss never sees test images.",
                    "Little: the loss sees training images, and those are easy by now.": f"Yes: their mean p is "
                    f"{plain_end.p[2]:.2f}. The weight depends on how well an image is fitted, not on how well its class "
                    f"generalises. Training with γ = 2 changed rare test accuracy by {points(rose)}; the gap is "
                    f"{100 * (plain_end.fitted[2] - plain_end.right[2]):.0f} points.",
                    "Nothing, since γ has no effect on a fitted network.": "It has one: it scales the gradient down, and "
                    "moves where the probabilities stop.",
                },
                "Little: the loss sees training images, and those are easy by now.",
            ),
            lt.study.Question(
                "With γ = 2, the rare classes' share of the gradient of one fitted network is larger than with γ = 0. What "
                "else must you know before you expect a gain?",
                {
                    "How large the whole gradient still is.": "Yes: a large share of almost nothing moves little.",
                    "Nothing: a larger share is a gain.": "It is a share of a sum that shrank.",
                    "Whether γ was tuned on the test set.": "That matters for a comparison. First ask whether the network "
                    "moves at all.",
                },
                "How large the whole gradient still is.",
            ),
            lt.study.Question(
                "In detection, nearly all boxes are easy background, and focal loss was made for that. On the photographs, "
                f"training images with p > {EASY:g} give {easy:.0%} of the gradient of cross-entropy (plain "
                "network, seed 0). What follows?",
                {
                    "Focusing should help as much as in detection.": "It helps by removing what easy images contribute, "
                    "and they contribute little here.",
                    "There is little for focusing to remove.": "Yes. The imbalance here is between classes, not between "
                    "easy and hard images.",
                    "The easy images should weigh more.": "Nothing here says so.",
                },
                "There is little for focusing to remove.",
            ),
            lt.study.Question(
                "Why does code compute $(1-p)^\\gamma$ as $\\exp(\\gamma \\log(1-p))$, with $\\log(1-p)$ from the logits?",
                {
                    "It is faster.": "It takes more operations.",
                    "For γ < 1 the power has an infinite slope at p = 1, and the gradient becomes NaN.": "Yes. The true "
                    "gradient goes to 0 there; only automatic differentiation of the power itself, `(1 - p) ** γ`, fails.",
                    "So that the loss is never zero.": "A loss of zero is no problem.",
                },
                "For γ < 1 the power has an infinite slope at p = 1, and the gradient becomes NaN.",
            ),
        ]
    )
