"""Chapter 02: its predictions, exercises and quiz, and the figures that they open."""
# ruff: noqa: E501  (text for readers is not cut into lines)

import dataclasses
import os

import numpy as np
import torch

import ltviz as lt
from ltviz.plots.picture import EDGE, GROUP_COLOURS, PALETTE, QUIET, Picture, draws, new_figure, percent
from ltviz.plots.theme import PHOTO

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
        f"{lengths[-1]:.2f} ({run.class_names[-1]}). Accuracy: {run.per_class[0]:.0%} to {run.per_class[-1]:.0%}."
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


# ------------------------------------------------------------------------------------------------------ predictions
which_switch = lt.Predict(
    "A post-hoc rule may change how this network decides, not what it has learnt. Which one restores **more** accuracy on the three "
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
    again = {"equal lengths": lt.study.redecide(one, "tau_norm", tau=1.0),
             "log prior": lt.study.redecide(one, "logit_adjusted", tau=1.0)}  # fmt: skip
    same = {name: share([run]) for name, run in {"as trained": one, **again}.items()}
    gap = share(prior) - share(equal)
    truth = which_switch.options[1 if abs(gap) <= 0.03 else 2 if gap > 0 else 0]
    return which_switch.reveal(
        [
            lt.say(
                f"The network above, rare classes: as trained **{same['as trained']:.1%}**, equal lengths "
                f"**{same['equal lengths']:.1%}**, log prior **{same['log prior']:.1%}**."
            ),
            lt.plot_comparison(
                {"as trained": plain, "equal lengths (τ-norm)": equal, "log prior subtracted": prior}, group="tail"
            ),
        ],
        truth=truth,
        because=f"Ten seeds, each with its own rare classes: {share(plain):.1%} as trained, {share(equal):.1%} with equal "
        f"lengths, **{share(prior):.1%}** with the log prior subtracted. The figure above makes the lengths look like the cause; "
        f"the log prior restores {(share(prior) - share(plain)) / (share(equal) - share(plain)):.1f} times as much.",
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


def open_push_and_pull(counts=bench_counts):
    """The ratio at the start for three classes, from the counts."""
    n, total, k = np.asarray(counts, float), float(np.sum(counts)), len(counts)
    ratio = (total - n) / k / (n * (1 - 1 / k))
    balance = total / k
    return push_and_pull.reveal(
        lt.say(
            "Push over pull at the start: "
            + ", ".join(
                f"{m:,.0f} images **{r:.2f}**" for m, r in zip(n, ratio, strict=True) if m in (n[0], n[4], n[-1])
            )
            + f". They balance at {balance:.0f} images, one in {k}."
        ),
        truth=float(ratio[-1]),
        tolerance=1.0,
        because=f"Pull: {n[-1]:.0f} × 0.9 = {n[-1] * 0.9:.1f}. Push: {total - n[-1]:.0f} × 0.1 = {(total - n[-1]) * 0.1:.1f}. "
        f"For the most frequent class it is {1 / ratio[0]:.1f} times the other way round. So vectors of frequent classes "
        "grow at once, and those of rare ones are pushed away from where the images are.",
    )


which_factor = lt.Predict(
    "The slides of the dual loss say that the lengths tell the counts: $n_j \\propto e^{s \\lVert W_j \\rVert}$ with $s = 7$. "
    "Fit $s$ on the recorded photographs, each of ten networks by itself. What is its mean?",
    number=(0, 15, 0.5),
    default=7,
)


def open_which_factor(plain):
    """The fit on the photographs."""
    fits = [lt.metrics.weight_norm_fit(run) for run in plain]
    factor, rho = [fit.s for fit in fits], [fit.rho for fit in fits]
    return which_factor.reveal(
        lt.plot_weight_norms({"photographs": plain}),
        truth=float(np.mean(factor)),
        tolerance=0.75,
        because=f"s from {min(factor):.1f} to {max(factor):.1f}, in no seed near 7. That lengths *follow* counts holds in all "
        f"{len(fits)}: rank correlation from {min(rho):.2f} to {max(rho):.2f}.",
    )


equal_from_start = lt.Predict(
    "Now **train** with equal lengths: a penalty (UP, strength 10, on all vectors) makes the longest vector as long as the "
    "shortest. What rare accuracy does such a network reach on the photographs?",
    number=(0, 40, 1),
    default=20,
    unit=" %",
)


def open_equal_from_start(groups, plain):
    """Rare accuracy of networks that were trained with equal vectors, beside others that were not."""
    names = list(groups)
    equal, adjusted = groups[names[1]], groups[names[2]]
    spread = max(longest_to_shortest(run) for run in equal)
    found = lt.metrics.paired(equal, plain, "tail")
    return equal_from_start.reveal(
        plot_equal(groups),
        truth=100 * share(equal),
        tolerance=2,
        because=f"Longest over shortest is at most {spread:.3f}, and the rare classes gain {100 * found.mean:+.1f} ± "
        f"{100 * found.half:.1f} points ({found.verdict}). The logit-adjusted loss leaves the vectors as unequal as before "
        f"(mean ratio {np.mean([longest_to_shortest(run) for run in adjusted]):.2f}) and reaches {share(adjusted):.1%}. "
        "Equal lengths are neither enough nor needed.",
    )


noisy = lt.Predict(
    "Add noise to a hundred test **photographs** until the network recognises hardly any (standard deviation 0.2 of the range of "
    "a pixel). What happens to the mean length of their features?",
    choices=["it falls by more than 5 %", "it stays the same, to within 5 %", "it rises by more than 5 %"],
    default="it falls by more than 5 %",
)


def open_noisy(explorer):
    """Computed by the explorer on the photographs, which opens with the answer: its curves would give it away."""
    before = explorer.values
    explorer.set(noise=0.2)
    change, accuracy = explorer.result.norm - 1, explorer.result.accuracy
    explorer.set(**before)
    clean = explorer.curves["noise"][0, 2]
    ends = {name: curve[-1, 1] - 1 for name, curve in explorer.curves.items()}
    truth = noisy.options[0 if change < -0.05 else 2 if change > 0.05 else 1]
    reveal = noisy.reveal(
        lt.say(
            f"Noise 0.2: mean length **{change:+.0%}**, accuracy **{clean:.0%}** before and **{accuracy:.0%}** after "
            f"({len(explorer.images)} photographs, one network). At the end of each slider: "
            + ", ".join(f"{name.replace('_', ' ')} **{end:+.0%}**" for name, end in ends.items())
            + ". Try them:"
        ),
        truth=truth,
        because="A likely reason: filters respond to edges and contrast, and noise is full of both. A long feature says "
        "that much was found, not that it was the right thing.",
    )
    opened = reveal.unlock

    def unlock():
        opened()
        reveal.children = (*reveal.children, explorer.widget)

    reveal.unlock = unlock
    if noisy.committed:
        unlock()
    return reveal


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


def say_factors(trained):
    """Best factor, rank correlation, and rare accuracy of each way of training, means over its seeds."""
    told = []
    for name, runs in trained.items():
        fits = [lt.metrics.weight_norm_fit(run) for run in runs]
        factor, rho = np.mean([fit.s for fit in fits]), np.mean([fit.rho for fit in fits])
        told.append(f"{name} **{factor:.1f}** ({rho:.2f}; {share(runs):.0%})")
    return lt.say(f"Best s (rank correlation of length and count; rare accuracy): {'; '.join(told)}.")


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
    """Write `pull_and_push(logits, features, targets, j)`: the two parts of $-\\partial L/\\partial W_j$ for the **mean** cross-entropy $L$ of a batch, as a tensor (2, d): first what the images of class $j$ do to $W_j$, then what all others do.

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
        lt.study.Case("large logits in float32", (torch.tensor([[500.0, 499.0, 0.0], [0.0, 200.0, 199.0]]), _features[:2],
                      torch.tensor([1, 1]), 1), "`exp(500)` is infinite in float32: use `torch.softmax`."),
    ],
    oracle=_pull_and_push,
    hints=[
        "Begin with one image: what is the derivative of its loss by the score of class j, if it belongs to j, and if it does not?",
        "The score is $W_j \\cdot x$, so that number times $x$ is the image's share of the gradient. Step downhill: change the sign.",
        "Sum the shares of the two kinds of images apart, and divide both by the size of the whole batch.",
    ],
    mistakes={
        "This is the gradient itself: training steps against it, so both signs turn.": _gradient,
        "You took a mean over each kind of images. In the mean loss both sums are divided by all n images; that is why rare classes are outnumbered.": _mean_of_own,
        "An image of another class pushes with the probability that it gives to class j, not with 1 minus that of its own.": _other_probability,
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

Then think: all features twice as long and all vectors half as long give the same scores. What happens to $s$? Two of the checks are such a pair.""",
    """
def factor(norms, counts):
    x, y = norms[counts > 0].double(), counts[counts > 0].double().log()
    x, y = x - x.mean(), y - y.mean()
    return (x * y).sum() / (x * x).sum()
""",
    [
        lt.study.Case("five classes", (_norms, _counts), "Slope of log n over the length."),
        lt.study.Case("the same network, vectors half as long", (_norms / 2, _counts), "The slope doubles: s has the unit 1 / length."),
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
                "Its own images have a smaller gradient each.": "Each pulls with 1 - p, as much as any other image.",
                "Its images are few, and every image of every other class pushes it.": "Yes: the sums count images, and it is outnumbered.",
                "Weight decay shortens it.": "Weight decay shortens all vectors by the same factor.",
            },
            "Its images are few, and every image of every other class pushes it.",
        ),
        lt.study.Question(
            "Two observations: penalised networks with equal vectors still fail on rare classes; networks of the logit-adjusted loss have unequal vectors and do not. What follows?",
            {
                "Lengths have nothing to do with counts.": "They follow the counts in every recorded seed. Following is not causing.",
                "Unequal lengths are neither necessary nor sufficient for the errors.": "Yes. The prior sits in the scores as a whole: lengths, directions and biases.",
                "The penalty was too weak.": "The vectors differed by less than a percent.",
            },
            "Unequal lengths are neither necessary nor sufficient for the errors.",
        ),
        lt.study.Question(
            "A test image of a rare class has W_j · x = -1.2 for its own class, and no other score is below -2. You divide every vector by its length. Its own score becomes",
            {
                "positive, because the vector was short.": "Dividing by a length keeps the sign.",
                "still negative: another class wins if any of its scores is positive.": "Yes. A length scales a score; subtracting the log prior shifts it.",
                "zero.": "Only a vector of length 0 gives that.",
            },
            "still negative: another class wins if any of its scores is positive.",
        ),
        lt.study.Question(
            "A colleague trains with Adam, finds no relation between length and count, and concludes that the network has no bias to frequent classes. Your answer?",
            {
                "Right: no relation, no bias.": "Its rare accuracy tells whether there is a bias. The prior need not sit in the lengths.",
                "The relation depends on the optimiser; look at the accuracy of the rare classes instead.": "Yes. The law is one of SGD, and its factor one of the recipe.",
                "Adam must have been set up wrongly.": "We found the same with two learning rates.",
            },
            "The relation depends on the optimiser; look at the accuracy of the rare classes instead.",
        ),
        lt.study.Question(
            "You want to sort out bad photographs by the length of their features. What must you check first?",
            {
                "Nothing: short features mean bad pictures.": "On our photographs noise made features longer while accuracy fell.",
                "Whether, on your network, the faults that you expect shorten features.": "Yes, fault by fault. It depends on the network and on the fault.",
                "Whether the classes are balanced.": "That matters less than the kind of fault.",
            },
            "Whether, on your network, the faults that you expect shorten features.",
        ),
    ]
)
