"""Chapter 02: its predictions, exercises and quiz, and the figures that they open."""
# ruff: noqa: E501  (text for readers is not cut into lines)

import dataclasses
import os

import numpy as np
import torch
from scipy.stats import spearmanr

import ltviz as lt
from ltviz.datasets.corrupt import CORRUPTIONS
from ltviz.plots.picture import EDGE, GROUP_COLOURS, PALETTE, QUIET, Picture, draws, new_figure, percent
from ltviz.plots.theme import PHOTO
from ltviz.plots.weight_norms import SLIDES
from ltviz.study.cards import Card, Panel, box, fold, plain, prose, safe, sentence, show
from ltviz.training.snapshots import take_snapshots

GROUPS = {"head": "frequent", "mid": "middle", "tail": "rare"}


def vector_lengths(run):
    """||W_j|| of each class (k,)."""
    return np.linalg.norm(run.head_weight, axis=1)


def longest_to_shortest(run):
    """How many times longer the longest classifier vector is than the shortest."""
    found = vector_lengths(run)
    return float(found.max() / found.min())


def share(runs, group="tail"):
    """Mean accuracy of a group over runs."""
    return float(np.mean([lt.metrics.shot_accuracy(run)[group] for run in runs]))


def typical(runs):
    """The network whose rare accuracy is nearest to the mean of all: the one that opens the chapter."""
    return min(runs, key=lambda run: abs(share([run]) - share(runs)))


def redecided(runs, tau=1.0):
    """The same networks with τ log π subtracted from their scores."""
    return [lt.study.redecide(run, "logit_adjusted", tau=tau) for run in runs]


def bias_kept(run):
    """Rare accuracy with vectors of length 1 and the bias left in, which τ-normalisation drops."""
    scores = run.features.astype(float) @ (run.head_weight / vector_lengths(run)[:, None]).T + run.head_bias
    right = scores.argmax(1) == run.targets
    rare = np.flatnonzero(lt.metrics.third_groups(run.counts)["tail"])
    return float(np.mean([right[run.targets == j].mean() for j in rare]))


# -------------------------------------------------------------------------------------------------------- pictures
@draws
def plot_lengths_and_errors(run, photographs):
    """A photograph of each class, most frequent first; below it the length of its classifier vector, and accuracy."""
    figure = new_figure(9.4, 3.9)
    k = run.k
    groups = lt.metrics.third_groups(run.counts)
    colours = [next(GROUP_COLOURS[name] for name, mask in groups.items() if mask[j]) for j in range(k)]
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1.55))
    for j, ax in enumerate(top.subplots(1, k)):
        first = int(np.flatnonzero(photographs.names == run.class_names[j])[0])
        ax.imshow(photographs.images[first], gid=PHOTO, interpolation="nearest")
        ax.set(xticks=[], yticks=[])
        ax.set_title(f"{run.class_names[j]}\n{run.counts[j]:,}", fontsize=8.5, loc="center")
    left, right = bottom.subplots(1, 2)
    lengths = vector_lengths(run)
    for ax, values, title in ((left, lengths, "length of the classifier vector"), (right, run.per_class, "accuracy")):
        ax.bar(range(k), values, color=colours)
        ax.set_xticks(range(k), run.class_names, fontsize=8, rotation=35, ha="right", rotation_mode="anchor")
        ax.set_title(title, fontsize=10)
    percent(right.yaxis)
    text = (
        f"Seed {run.seed}, most frequent class first. Lengths: {lengths[0]:.2f} ({run.class_names[0]}) to "
        f"{lengths[-1]:.2f} ({run.class_names[-1]}). Accuracy: {run.per_class[0]:.0%} to {run.per_class[-1]:.0%}; "
        f"the three rarest classes: {share([run]):.1%}."
    )
    return Picture([left, right], {"lengths": lengths, "accuracy": run.per_class}, text)


@draws
def plot_equal(groups):
    """Rare accuracy against how unequal the vectors are; a dot a seed, a large one for the mean of a group."""
    figure = new_figure(7.6, 3.6)
    ax = figure.subplots()
    data, said = {}, []
    for i, (name, runs) in enumerate(groups.items()):
        x = np.array([longest_to_shortest(run) for run in runs])
        y = np.array([lt.metrics.shot_accuracy(run)["tail"] for run in runs])
        marker, colour = "osD"[i], PALETTE[i]
        ax.plot(x, y, marker, color=colour, markersize=4.5, alpha=0.6)
        ax.plot(x.mean(), y.mean(), marker, color=colour, markersize=12, label=f"{name} ({len(runs)} seeds)", **EDGE)
        data[f"{name}: ratio"], data[f"{name}: rare"] = x, y
        said.append(f"{name}: longest vector {x.mean():.2f} times the shortest, rare accuracy {y.mean():.1%}")
    ax.set(
        xlabel="longest classifier vector / shortest, as trained",
        ylabel="rare accuracy",
        ylim=(-0.02, None),
        xlim=(0.9, None),
    )
    ax.axvline(1, color=QUIET, linewidth=1, linestyle=(0, (1, 2)))
    ax.set_title("Equal lengths, and rare accuracy")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), markerscale=0.7)
    percent(ax.yaxis)
    return Picture(ax, data, "; ".join(said) + ".")


@draws
def plot_law(runs):
    """Counts (log scale) against lengths, a dot a class and seed; the mean of the fits, and the law with s = 7."""
    figure = new_figure(7.6, 3.8)
    ax = figure.subplots()
    lengths = np.array([vector_lengths(run) for run in runs])
    logs = np.log([run.counts for run in runs])
    fits = [lt.metrics.weight_norm_fit(run) for run in runs]
    factor = float(np.mean([fit.s for fit in fits]))
    ax.plot(lengths.ravel(), np.exp(logs).ravel(), "o", color=PALETTE[0], markersize=4.5, alpha=0.6,
            label=f"a classifier vector ({len(runs)} seeds)")  # fmt: skip
    ends = np.array([logs.min(), logs.max()])
    for s, colour, dashes, name in (
        (factor, PALETTE[1], "-", "best fit, mean over seeds"),
        (SLIDES, QUIET, (0, (6, 3)), "slides"),
    ):
        ax.plot(lengths.mean() + (ends - logs.mean()) / s, np.exp(ends), color=colour, linestyle=dashes, linewidth=2.2,
                label=f"s = {s:.2g} ({name})")  # fmt: skip
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    ax.set(xlabel="length of the classifier vector", xlim=(0, None), ylabel="training images (log scale)")
    ax.set_title("Counts against lengths, on the photographs")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    text = f"Log counts against lengths of {lengths.size} classifier vectors: s = {factor:.1f} fits best; s = {SLIDES:g} is too steep."
    return Picture(ax, {"lengths": lengths, "counts": np.exp(logs), "s": [fit.s for fit in fits]}, text)


def table(head, rows):
    """A small table of texts."""
    style = 'style="text-align:right;padding:.2em .7em"'
    lines = [
        "".join(f"<{tag} {style}>{safe(cell)}</{tag}>" for cell in row)
        for tag, row in [("th", head), *(("td", row) for row in rows)]
    ]
    text = "\n".join("  ".join(map(plain, row)) for row in (head, *rows))
    return Card("<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>", text)


# ------------------------------------------------------------------------------------------------------ predictions
def with_explorer(gate, reveal, explorer):
    """A reveal that opens with an explorer below it: its picture would give the answer away."""
    opened = reveal.unlock

    def unlock():
        opened()
        reveal.children = (*[one for one in reveal.children if one is not explorer.widget], explorer.widget)

    reveal.unlock = unlock
    if gate.committed:
        unlock()
    return reveal


class After(Panel):
    """Content that waits for several predictions, whose answers it would give away."""

    def __init__(self, gates, *content):
        self.gates, self.html, self.text = gates, show(list(content)), sentence(list(content))
        self.page = prose(box("note", "CLOSED", "", self.closed))
        super().__init__([self.page])
        for gate in gates:
            gate.control.observe(self.follow, "locked")
        self.follow()

    closed = "Commit to an answer in both cards on equal lengths above: then this opens."

    @property
    def opened(self):
        return all(gate.committed for gate in self.gates)

    def follow(self, change=None):
        """Show the content once every card is answered."""
        if self.opened:
            self.page.value = self.html

    def close(self):
        """Also follows no card any more. It is called once more when Python forgets the panel."""
        if self.comm is not None:
            for gate in self.gates:
                gate.control.unobserve(self.follow, "locked")
        super().close()

    def static(self):
        page = self.html if self.opened else fold("Answer both cards first; then open this", self.html)
        return Card(page, self.text if self.opened else "Folded: answer both cards on equal lengths first.")


def after_both(*content):
    """What gives the answers of `which_switch` and `equal_from_start` away, and so waits for them."""
    return After((which_switch, equal_from_start), *content)


which_switch = lt.Predict(
    "A post-hoc rule changes how a trained network decides, not what it has learnt. Which one restores **more** accuracy on the three "
    "rarest classes?",
    choices=[
        "equal lengths: divide every vector by its length",
        "about the same (within 3 points)",
        "the log prior: subtract log π from every score",
    ],
    default="equal lengths: divide every vector by its length",
)


def open_which_switch(one, plain, equal, prior):
    """Both rules on one recorded network, then on ten."""
    again = lt.study.redecide(one, "tau_norm", tau=1.0)
    gap = share(prior) - share(equal)
    kept = sum(run.features is not None for run in plain)
    place = 1 + sum(share([run]) > share([one]) for run in plain)
    truth = which_switch.options[1 if abs(gap) <= 0.03 else 2 if gap > 0 else 0]
    return which_switch.reveal(
        [
            lt.say(
                f"One network (seed {one.seed}, number {place} of {len(plain)} by rare accuracy), rare classes: as trained **{share([one]):.1%}**, equal lengths **{share([again]):.1%}** "
                f"({bias_kept(one):.1%} with the bias kept), log prior **{share(redecided([one])):.1%}**.",
                f"Now {len(plain)} seeds. The log prior is subtracted from the scores of the same networks as in the first row. Equal lengths need the "
                f"features, and only {kept} of these {len(plain)} recorded networks kept them. So the second row shows {len(equal)} other networks, "
                "trained in the same way on the same images.",
            ),
            lt.plot_comparison(
                {"as trained": plain, "equal lengths (τ-norm)": equal, "log prior subtracted": prior}, group="tail"
            ),
        ],
        truth=truth,
        because=f"Ten seeds, each with its own rare classes: {share(plain):.1%} as trained, {share(equal):.1%} with equal "
        f"lengths, **{share(prior):.1%}** with the log prior subtracted. The figure above makes the lengths look like the cause, yet "
        f"the gain of the log prior is {(share(prior) - share(plain)) / (share(equal) - share(plain)):.1f} times as large.",
    )


bench_counts = lt.digits_lt(ratio=20).counts.numpy()
push_and_pull = lt.Predict(
    "Before the first step, every one of ten classes has probability 0.1 for every image. The rarest class has "
    f"{bench_counts[-1]} of {bench_counts.sum()} images. "
    "Add up the factors $1-p$ with which its own images pull its vector, and the factors $p$ with which all others push it. "
    "How many times larger is the **push**?",
    number=(0, 20, 0.5),
    default=1,
    unit=" times",
)


def first_epochs(seeds=10, epochs=2):
    """The plain network of the bench with these images, as it starts and a few epochs on, under several seeds.

    grown (seeds, k): length of each vector after the epochs, over that at the start; towards (seeds, k): share of the
    training images to whose side the first force (pull and push) moves each vector; own (seeds, k): the same of its own.
    """
    grown, towards, own = [], [], []
    for seed in range(seeds):
        data = lt.digits_lt(ratio=20, seed=seed, class_order="seed")
        film = take_snapshots("ce", data, (0, epochs), epochs=lt.RECIPES["digits"].epochs, seed=seed)
        lengths, x, y = np.linalg.norm(film.weight, axis=2), film.features[0], film.targets
        force = lt.metrics.pull(film.logits(0, x), x, y)
        side = x @ (force.own + force.others).T > 0
        grown.append(lengths[1] / lengths[0])
        towards.append(side.mean(0))
        own.append([side[y == j, j].mean() for j in range(data.k)])
    return np.array(grown), np.array(towards), np.array(own)


def part(shares):
    """A share of images, one a seed, in words."""
    return "all" if np.all(shares == 1) else f"{np.mean(shares):.1%}"


def open_push_and_pull(counts=bench_counts):
    """The ratio at the start for three classes, from the counts; then what a network's vectors do."""
    n, total, k = np.asarray(counts, float), float(np.sum(counts)), len(counts)
    ratio = (total - n) / k / (n * (1 - 1 / k))
    balance = total / k
    grown, towards, own = first_epochs()
    return push_and_pull.reveal(
        lt.say(
            "Push over pull at the start: "
            + ", ".join(
                f"{m:,.0f} images **{r:.2f}**" for m, r in zip(n, ratio, strict=True) if m in (n[0], n[4], n[-1])
            )
            + f". They balance at {balance:.0f} images, one in {k}.",
            f"On the bench with these images, {len(grown)} seeds: the first step moves the vector of the most frequent class towards "
            f"**{part(towards[:, 0])}** training images, and that of the rarest away from **{part(1 - towards[:, -1])}** of them, "
            f"{'even its own' if own[:, -1].max() == 0 else f'from {part(1 - own[:, -1])} of its own'}. Two epochs later the first is {grown[:, 0].min():.2f} to "
            f"{grown[:, 0].max():.2f} times as long as at the start, the other {grown[:, -1].min():.2f} to {grown[:, -1].max():.2f} times.",
        ),
        truth=float(ratio[-1]),
        tolerance=1.0,
        because=f"Pull: {n[-1]:.0f} × 0.9 = {n[-1] * 0.9:.1f}. Push: {total - n[-1]:.0f} × 0.1 = {(total - n[-1]) * 0.1:.1f}. "
        f"For the most frequent class it is {1 / ratio[0]:.1f} times the other way round. So the vectors of frequent classes "
        "are pulled towards the images, and soon grow; those of rare ones are pushed away from all images, even their own.",
    )


which_factor = lt.Predict(
    "Slides on the dual loss (Li et al. 2020) say that the lengths tell the counts: $n_j \\propto e^{s \\lVert W_j \\rVert}$ with $s = 7$. "
    "Fit $s$ on the recorded photographs, each of ten networks by itself. What is its mean?",
    number=(0, 15, 0.5),
    default=7,
)


def open_which_factor(plain, trained):
    """The fit on the photographs; the same on the bench, for several ways of training, with the explorer."""
    fits = [lt.metrics.weight_norm_fit(run) for run in plain]
    factor, rho = [fit.s for fit in fits], [fit.rho for fit in fits]
    n = len(next(iter(trained.values())))
    reveal = which_factor.reveal(
        [
            plot_law(plain),
            f"Does $s$ depend on the recipe? Here is the bench, trained just now in {len(trained)} ways, {n} seed{'s' if n > 1 else ''} each:",
            factor_table(trained),
            f"So $s$ depends on the recipe, above all on the optimiser. Under SGD lengths follow counts closely, under Adam less closely or not at all. {say_gaps(trained)} "
            "$s$ also depends on the scale of the features; exercise 2 shows why.",
        ],
        truth=float(np.mean(factor)),
        tolerance=0.75,
        because=f"s from {min(factor):.1f} to {max(factor):.1f}, in no seed near 7. That lengths *follow* counts holds in all "
        f"{len(fits)}: rank correlation from {min(rho):.2f} to {max(rho):.2f}. Below, the bench: slide **s**, and click a row on the right to "
        "see its vectors on the left (by keyboard: arrow keys in the picture, then Enter).",
    )
    return with_explorer(which_factor, reveal, lt.explore.lengths(trained, factor=9.0))  # clear of the slides' 7


equal_from_start = lt.Predict(
    "Now **train** with equal lengths: a penalty (UP, strength 10, on all vectors) makes all vectors equally "
    "long. What rare accuracy does such a network reach on the photographs?",
    number=(0, 40, 1),
    default=20,
    unit="%",
)


def open_equal_from_start(groups, plain):
    """Rare accuracy of networks that were trained with equal vectors, beside others that were not."""
    names = list(groups)
    equal, adjusted = groups[names[1]], groups[names[2]]
    spread = max(longest_to_shortest(run) for run in equal)
    found = lt.metrics.paired(equal, plain, "tail")
    kept = [spearmanr(run.head_bias, run.counts).statistic for run in equal]
    return equal_from_start.reveal(
        [
            plot_equal(groups),
            lt.say(
                f"On the photographs (seed 0, plain network) the score $W_j \\cdot x$ of the true class is **negative** for "
                f"**{never_positive(plain[0]):.0%}** of the test images of rare classes. No length changes its sign. (The records of UP keep "
                "no features, so this is not known of them.)",
                f"Equal lengths do not mean that the prior is gone: the networks of UP keep a bias, and it follows the counts (rank correlation "
                f"from {min(kept):.2f} to {max(kept):.2f}, {len(kept)} seeds).",
            ),
        ],
        truth=100 * share(equal),
        tolerance=2,
        because=f"Longest over shortest is at most {spread:.3f}, and rare accuracy changes by {100 * found.mean:+.1f} ± "
        f"{100 * found.half:.1f} points ({found.verdict}). The logit-adjusted loss leaves the vectors as unequal as before "
        f"(mean ratio {np.mean([longest_to_shortest(run) for run in adjusted]):.2f}) and reaches {share(adjusted):.1%}. "
        "Equal lengths are neither sufficient nor necessary. A likely reason: a length only scales a score. It cannot turn a negative score "
        "into a positive one. The log prior *shifts* a score: by Bayes' rule, "
        "that is what an imbalanced training set adds to it.",
    )


noisy = lt.Predict(
    "Add noise to a hundred test **photographs** until the network recognises fewer than half as many (standard deviation 0.2 of the range of "
    "a pixel). What happens to the mean length of their features?",
    choices=["it falls by more than 5%", "it stays the same, to within 5%", "it rises by more than 5%"],
    default="it falls by more than 5%",
)


def open_noisy(explorer):
    """Computed by the explorer on the photographs, which opens with the answer: its curves would give it away."""
    before = explorer.values
    explorer.set(noise=0.2)
    change, accuracy = explorer.result.norm - 1, explorer.result.accuracy
    explorer.set(**before)
    clean = explorer.curves["noise"][0, 2]
    ends = {name.replace("_", " "): curve[-1, 1] - 1 for name, curve in explorer.curves.items()}
    changed = contrasts(explorer)
    against = [name for name in ends if ends[name] > 0 > changed[name]]
    truth = noisy.options[0 if change < -0.05 else 2 if change > 0.05 else 1]
    reveal = noisy.reveal(
        lt.say(
            f"Noise 0.2: mean length **{change:+.0%}**, accuracy **{clean:.0%}** before and **{accuracy:.0%}** after "
            f"({len(explorer.images)} photographs, one network). At the end of each slider: "
            + ", ".join(f"{name} **{end:+.0%}**" for name, end in ends.items())
            + ". Contrast (standard deviation of an image's pixels) changes by: "
            + ", ".join(f"{name} {change:+.0%}" for name, change in changed.items())
            + ". Try them:"
        ),
        truth=truth,
        because="A tempting reason: filters respond to edges and contrast, and noise is full of both. But "
        f"{' and '.join(against)} take contrast away, and they lengthen features, too: contrast alone does not explain it. "
        "In any case **a short feature is no proof of a bad picture, nor a long one of a good picture**.",
    )
    return with_explorer(noisy, reveal, explorer)


# --------------------------------------------------------------------------------------------------- live training
SEEDS = 1 if os.environ.get("LTVIZ_PROFILE") == "fast" else 3


def train_variants(seeds=SEEDS):
    """The plain network on the digits, trained in several ways: label -> runs. A few seconds."""
    changes = {
        "as on the bench (SGD)": {},
        "10 epochs": {"epochs": 10},
        "200 epochs": {"epochs": 200},
        "weight decay x 10": {"weight_decay": 5e-3},
        "no weight decay": {"weight_decay": 0.0},
        "Adam, rate 0.001": {"optimizer": "adam", "lr": 1e-3, "weight_decay": 0.0},
        "Adam, rate 0.01": {"optimizer": "adam", "lr": 1e-2, "weight_decay": 0.0},
    }
    data = [lt.digits_lt(seed=seed, class_order="seed") for seed in range(seeds)]
    recipes = {name: dataclasses.replace(lt.RECIPES["digits"], **change) for name, change in changes.items()}
    return {
        name: [lt.train("ce", one, recipe=recipe, seed=seed, progress=False) for seed, one in enumerate(data)]
        for name, recipe in recipes.items()
    }


def factor_table(trained):
    """Best factor, rank correlation, and accuracies of each way of training, means over its seeds."""
    rows = []
    for name, runs in trained.items():
        fits = [lt.metrics.weight_norm_fit(run) for run in runs]
        s, rho = [fit.s for fit in fits], np.mean([fit.rho for fit in fits])
        spread = f" ({min(s):.1f} to {max(s):.1f})" if len(s) > 1 else ""
        rows.append(
            [name, f"{np.mean(s):.1f}{spread}", f"{rho:.2f}", f"{share(runs, 'head'):.0%}", f"{share(runs):.0%}"]
        )
    return table(["training", "best s", "rank correlation with counts", "frequent accuracy", "rare accuracy"], rows)


def say_own_loss(mine, theirs, data):
    """The reader's loss beside the library's, and on how many images."""
    return lt.say(
        f"{len(data)} training images, {data.counts[0]} to {data.counts[-1]} a class (in the plane above {bench_counts[0]} to {bench_counts[-1]}). "
        f"Yours and the library's answer all {len(theirs.targets)} test images alike: rare accuracy "
        f"**{share([mine]):.0%}**, longest vector **{longest_to_shortest(mine):.2f}** times the shortest."
    )


def say_bench(equal, plain, photographs):
    """Both rules on the bench, and a likely reason why they differ less there than on the photographs."""
    return lt.say(
        "On the bench, rare classes:",
        lt.study.difference(equal, redecided(plain), "tail", ("equal lengths", "log prior")).markdown,
        f"As trained they reach {share(plain):.1%}, with equal lengths {share(equal):.1%}: there both rules help. "
        "Only on the photographs does the log prior help far more. A likely reason: on the bench the score of the true class is "
        f"negative for only {never_positive(plain[0]):.1%} of the test images of rare classes (on the photographs "
        f"{never_positive(photographs[0]):.0%}; seed 0 of each), so the lengths can decide.",
    )


def say_gaps(trained):
    """How far rare classes stay behind frequent ones, over all ways of training."""
    gaps = [100 * (share(runs, "head") - share(runs)) for runs in trained.values()]
    return f"In all {len(gaps)}, rare classes stay behind frequent ones, by {min(gaps):.0f} to {max(gaps):.0f} points."


def contrasts(explorer):
    """By what share each fault at its worst changes the mean contrast of the pictures: the sd of an image's pixels."""
    found, clean = {}, explorer.images.std((1, 2, 3)).mean()
    for name, curve in explorer.curves.items():
        worst = CORRUPTIONS[name](explorer.images, curve[-1, 0])
        found[name.replace("_", " ")] = float(worst.std((1, 2, 3)).mean() / clean - 1)
    return found


def say_faults(runs):
    """Feature length of the bench's test images under each fault at its worst, a network a seed; and their contrast."""
    ends = {}
    for run in runs:
        explorer = lt.explore.quality(run, lt.digits_lt(seed=run.seed, class_order="seed"))
        for name, curve in explorer.curves.items():
            ends.setdefault(name.replace("_", " "), []).append(100 * (curve[-1, 1] - 1))
        contrast = contrasts(explorer)  # the test images are the same under every seed
        explorer.close()
    told = ", ".join(f"{name} **{np.mean(change):+.0f}%**" for name, change in ends.items())
    shorter = sum(all(change[i] < 0 for change in ends.values()) for i in range(len(runs)))
    return lt.say(
        f"On the bench, mean feature length with each slider at its end: {told}. "
        f"All four shorten features in {shorter} of {len(runs)} networks.",
        "Contrast (standard deviation of an image's pixels): "
        + ", ".join(f"{name} {change:+.0%}" for name, change in contrast.items())
        + ".",
    )


def say_who_pays(groups, plain):
    """What the frequent classes lose under each rule, and which go beyond the slider."""
    told, beyond = [], []
    for name, runs in groups.items():
        lost, found = lt.metrics.paired(runs, plain, "head"), lt.metrics.beyond(runs, plain, "tail")
        told.append(f"{name} {100 * lost.mean:+.1f} ± {100 * lost.half:.1f} ({lost.verdict})")
        beyond.append(f"{name} {found.verdict}")
    return lt.say(f"Frequent classes, points: {'; '.join(told)}.", f"Against the slider: {'; '.join(beyond)}.")


def feature_lengths(runs):
    """Mean length of test features of frequent and of rare classes, over runs; in how many the frequent are longer."""
    both = np.array(
        [[run.class_feature_norm[mask].mean() for mask in lt.metrics.third_groups(run.counts).values()] for run in runs]
    )
    return both[:, 0].mean(), both[:, 2].mean(), int((both[:, 0] > both[:, 2]).sum()), len(runs)


def say_feature_lengths(photographs, bench):
    """Feature lengths of frequent and rare classes on both sets of records, and of right and wrong answers."""
    told = []
    for name, runs in (("photographs", photographs), ("bench", bench)):
        frequent, rare, longer, of = feature_lengths(runs)
        told.append(
            f"{name}: frequent **{frequent:.2f}**, rare **{rare:.2f}** (frequent longer in {longer} of {of} seeds)"
        )
    right, wrong = right_and_wrong(photographs[0])
    return lt.say(
        f"Mean feature length of test images, {'; '.join(told)}.",
        f"Photographs that are answered right **{right:.2f}**, wrong **{wrong:.2f}** (seed 0, "
        f"{len(photographs[0].targets):,} images).",
    )


def right_and_wrong(run):
    """Mean feature length of test images that are answered right, and of the others."""
    length, right = np.linalg.norm(run.features.astype(float), axis=1), run.logits.argmax(1) == run.targets
    return float(length[right].mean()), float(length[~right].mean())


def never_positive(run):
    """Share of the rare classes' test images whose own class scores W_j.x < 0: no length makes that positive."""
    rare = lt.metrics.third_groups(run.counts)["tail"][run.targets]
    scores = (run.features.astype(float) * run.head_weight[run.targets]).sum(1)
    return float((scores[rare] < 0).mean())


# ------------------------------------------------------------------------------------------------------- exercises
def _pull_and_push(logits, features, targets, j):
    found = lt.metrics.pull(logits, features, targets)
    return torch.from_numpy(np.stack([found.own[j], found.others[j]]))


def _p(logits):
    return logits.double().softmax(1)


def _gradient(logits, features, targets, j):
    found = _pull_and_push(logits, features, targets, j)
    return -found


def _push_turned(logits, features, targets, j):
    return _pull_and_push(logits, features, targets, j) * torch.tensor([[1.0], [-1.0]])


def _exchanged(logits, features, targets, j):
    return _pull_and_push(logits, features, targets, j).flip(0)


def _row(answer, i):
    """Whether one of the two rows is right, for a class with own images and with others."""
    if not callable(answer):
        return False
    found = lt.study.exercise.one_tensor(answer(_logits.clone(), _features.clone(), _targets.clone(), 0), (2, 2))[
        i
    ].double()
    return torch.allclose(found, _pull_and_push(_logits, _features, _targets, 0)[i], rtol=2e-4, atol=1e-6)


def _mean_of_own(logits, features, targets, j):
    own, p = targets == j, _p(logits)[:, j : j + 1]
    pull = ((1 - p) * features)[own].sum(0) / max(int(own.sum()), 1)
    push = -(p * features)[~own].sum(0) / max(int((~own).sum()), 1)
    return torch.stack([pull, push])


def _other_probability(logits, features, targets, j):
    own, p = targets == j, _p(logits)
    true = p[torch.arange(len(targets)), targets][:, None]
    return torch.stack([((1 - true) * features)[own].sum(0), -((1 - true) * features)[~own].sum(0)]) / len(targets)


_generator = torch.Generator().manual_seed(0)
_logits, _features = (torch.randn(6, n, generator=_generator) for n in (3, 2))
_targets = torch.tensor([0, 0, 0, 1, 1, 2])

pull_exercise = lt.Exercise(
    "Pull and push",
    """Write `pull_and_push(logits, features, targets, j)`: the two parts of $-\\partial L/\\partial W_j$ for the **mean** cross-entropy $L$ of a batch, as a tensor (2, d). Row 1, pull: what the images of class $j$ do to $W_j$. Row 2, push: what all others do. The checks list the numbers of row 1 first.

Shapes: logits (n, k), features (n, d), targets (n,), j a number. Class $j$ may have no image in the batch.""",
    """
def pull_and_push(logits, features, targets, j):
    p = torch.softmax(logits, dim=1)[:, j:j + 1]
    own = (targets == j)[:, None]
    pull = ((1 - p) * features * own).sum(0) / len(targets)
    push = -(p * features * ~own).sum(0) / len(targets)
    return torch.stack([pull, push])
""",
    [
        lt.study.Case("six images, a frequent class", (_logits, _features, _targets, 0), "Which images pull, and by which factor?"),
        lt.study.Case("the same, the rare class", (_logits, _features, _targets, 2), "Divide by all images, not by its own."),
        lt.study.Case("a class without an image", (_logits, _features, torch.tensor([0, 0, 0, 1, 1, 1]), 2),
                      "It is not pulled at all, and still pushed: no division by its own images, which are 0."),
        lt.study.Claim("pull by itself (first row)", lambda own: _row(own, 0), "The images of class j pull with 1 - p, towards their features: plus."),
        lt.study.Claim("push by itself (second row)", lambda own: _row(own, 1), "All others push with p, away from their features: is there a minus before the sum?"),
        lt.study.Case("large logits in float32", (torch.tensor([[500.0, 499.0, 0.0], [0.0, 200.0, 199.0]]), _features[:2],
                      torch.tensor([1, 0]), 1), "If this check alone fails: `exp(500)` is infinite in float32, so use `torch.softmax`."),
    ],
    oracle=_pull_and_push,
    hints=[
        "Begin with one image: what is the derivative of its loss by the score of class j, if it belongs to j, and if it does not?",
        "The score is $W_j \\cdot x$, so that number times $x$ is the image's share of the gradient. Step downhill: change the sign.",
        "Sum the shares of the two kinds of images apart, and divide both by the size of the whole batch.",
    ],
    mistakes={
        "The pull (first row) is right. The push (second row) has the wrong sign: it points away from the features.": _push_turned,
        "The two rows are exchanged: pull first, then push.": _exchanged,
        "This is the gradient itself: training steps against it, so both signs turn.": _gradient,
        "You took a mean over each kind of images. In the mean loss both sums are divided by all n images; that is why rare classes are outnumbered.": _mean_of_own,
        "An image of another class pushes with the probability that the network gives class j for it, not with 1 minus that of its own.": _other_probability,
    },
    given={"torch": torch},
)  # fmt: skip


def _slope(norms, counts):
    return torch.tensor(lt.metrics.weight_norm_fit(norms.numpy(), counts.numpy()).s)


def _other_way(norms, counts):
    keep = counts > 0
    logs, x = torch.log(counts[keep].double()), norms[keep].double()
    return ((logs - logs.mean()) ** 2).sum() / ((logs - logs.mean()) * (x - x.mean())).sum()


def _length_per_log(norms, counts):
    keep = counts > 0
    logs, x = torch.log(counts[keep].double()), norms[keep].double()
    return ((logs - logs.mean()) * (x - x.mean())).sum() / ((logs - logs.mean()) ** 2).sum()


_norms, _counts = torch.tensor([2.9, 2.4, 2.2, 1.5, 1.2]), torch.tensor([2000.0, 718.0, 258.0, 55.0, 20.0])
factor_exercise = lt.Exercise(
    "What the factor measures",
    """Write `factor(norms, counts)`: the $s$ of $\\log n_j = s \\lVert W_j \\rVert + c$ that fits best by least squares (errors measured in $\\log n$), over the classes that have images.

Then think: all features twice as long and all vectors half as long give the same scores. What happens to $s$? The second check is such a network, and says it.""",
    """
def factor(norms, counts):
    x, y = norms[counts > 0].double(), counts[counts > 0].double().log()
    x, y = x - x.mean(), y - y.mean()
    return (x * y).sum() / (x * x).sum()
""",
    [
        lt.study.Case("five classes", (_norms, _counts), "Slope of log n over the length."),
        lt.study.Case("the same network, vectors half as long: s is twice as large", (_norms / 2, _counts), "The slope doubles: s has the unit 1 / length."),
        lt.study.Case("a class without images", (torch.cat([_norms, torch.tensor([0.9])]), torch.cat([_counts, torch.tensor([0.0])])),
                      "log 0 is minus infinity: leave such a class out."),
    ],
    oracle=_slope,
    hints=[
        "Which of the two is predicted, and from which? The errors are measured in the predicted one.",
        "With both centred, the slope is the sum of their products over a sum of squares. Of which one?",
        "A mask `counts > 0` selects the classes; `log` without a base is the natural one.",
    ],
    mistakes={
        "You predicted the length from log n, and then turned the slope over. That is another line, unless all points lie on it.": _other_way,
        "This is the slope of the length over log n.": _length_per_log,
        "This is the slope with logarithms to base 10.": lambda norms, counts: _slope(norms, counts) / np.log(10),
    },
    given={"torch": torch},
)  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ quiz
quiz = lt.Quiz(
    [
        lt.study.Question(
            "In the first steps the vector of a rare class moves away from nearly all features. Why?",
            {
                "Its images are few, and every image of every other class pushes it.": "Yes: each image adds one term, and its few images are outnumbered.",
                "Its own images have a smaller gradient each.": "Each pulls with 1 - p, as much as any other image.",
                "Weight decay shortens it.": "Weight decay shortens all vectors by the same factor.",
            },
            "Its images are few, and every image of every other class pushes it.",
        ),
        lt.study.Question(
            "Two observations: networks that were penalised until all vectors were equally long still fail on rare classes; networks of the "
            "logit-adjusted loss have unequal vectors and do far better there. What follows?",
            {
                "Lengths have nothing to do with counts.": "They follow the counts in every recorded seed of the plain network; but a correlate need not be a cause.",
                "The penalty was too weak.": "The vectors differed by less than a percent.",
                "Unequal lengths are neither necessary nor sufficient for the errors.": "Yes. The prior sits in the scores as a whole: lengths, directions and biases.",
            },
            "Unequal lengths are neither necessary nor sufficient for the errors.",
        ),
        lt.study.Question(
            "A test image of a rare class has $W_j \\cdot x = -1.2$ for its own class. You divide every vector by its length. Its own score becomes",
            {
                "positive, because the vector was short.": "Dividing by a length keeps the sign.",
                "still negative: another class wins if its score is positive.": "Yes. A length scales a score; subtracting the log prior shifts it.",
                "zero.": "Only a feature at a right angle to the vector has score 0.",
            },
            "still negative: another class wins if its score is positive.",
        ),
        lt.study.Question(
            "A colleague trains with Adam, finds no relation between length and count, and concludes that the network has no bias to frequent classes. Your answer?",
            {
                "Right: no relation, no bias.": "Its rare accuracy tells whether there is a bias. The prior need not sit in the lengths.",
                "Adam must have been set up wrongly.": "Above, under Adam lengths followed counts less closely than under SGD, at both of Adam's learning rates.",
                "The relation depends on the optimiser; look at the accuracy of the rare classes instead.": "Yes. The law holds under SGD, and its factor changes with the recipe.",
            },
            "The relation depends on the optimiser; look at the accuracy of the rare classes instead.",
        ),
        lt.study.Question(
            "You want to sort out bad photographs by the length of their features. What must you check first?",
            {
                "Whether, on your network, the faults that you expect shorten features.": "Yes, fault by fault. It depends on the network and on the fault.",
                "Nothing: short features mean bad pictures.": "On our photographs noise made features longer while accuracy fell.",
                "Whether the classes are balanced.": "That does not tell what a fault does to a feature.",
            },
            "Whether, on your network, the faults that you expect shorten features.",
        ),
    ]
)
