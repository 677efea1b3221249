"""Chapter 03: its predictions, exercises and quiz, and the figures that they open."""
# ruff: noqa: E501  (text for readers is not cut into lines)

import numpy as np
import torch

import ltviz as lt
from ltviz.plots.picture import INK, Picture, draws, get_axes, look, mean_sd, new_figure, percent
from ltviz.plots.theme import PHOTO

TAUS = np.round(np.arange(0.0, 3.001, 0.05), 2)
GOAL = (0.70, 0.40)  # the goal of chapter 0: accuracy of the frequent and of the rare classes
WORLDS = {"as in training": 1.0, "all alike": 0.0, "the rarest most often": -1.0}


def along(run, images=slice(None)):
    """Accuracy of each class (61, k) on these test images, for each τ of TAUS."""
    prior = run.counts / run.counts.sum()
    return lt.metrics.accuracies_along(run.logits[images], -np.log(prior), run.targets[images], TAUS)


def in_world(run, power, images=slice(None)):
    """Accuracy (61,) for each τ where classes occur as their training images to this power."""
    return lt.metrics.expected_accuracy(along(run, images), lt.metrics.power_prior(run.counts, power))


def best(values):
    """The τ of the highest value; of several, the one in the middle."""
    return float(np.median(TAUS[values >= values.max() - 1e-12]))


# -------------------------------------------------------------------------------------------------------- pictures
@draws
def plot_turned(run, photographs, n=4):
    """Photographs whose answer turns between τ = 0 and τ = 1: n that become right, and n that no longer are."""
    m = len(photographs.images)
    scores = torch.from_numpy(run.logits[:m])
    subtract = lt.methods.logit_adjustment.subtract_prior
    before, after = (subtract(scores, torch.from_numpy(run.counts), tau).argmax(1).numpy() for tau in (0.0, 1.0))
    true = run.targets[:m]
    won = np.flatnonzero((before != true) & (after == true))
    lost = np.flatnonzero((before == true) & (after != true))
    figure = new_figure(9.4, 2.2)
    places = figure.add_gridspec(1, 2 * n + 1, width_ratios=[*[1] * n, 0.2, *[1] * n])
    axes = [figure.add_subplot(places[i]) for i in range(2 * n + 1) if i != n]
    for ax, i in zip(axes, [*won[:n], *lost[:n]], strict=False):
        ax.imshow(photographs.images[i], gid=PHOTO, interpolation="nearest")
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        ax.set_title(f"{photographs.names[i]}\n({run.counts[true[i]]:,.0f} images)", fontsize=8.5, loc="center")
        said = [
            f"τ = {tau}: {run.class_names[one[i]]} {'✓' if one[i] == true[i] else '✗'}"
            for tau, one in ((0, before), (1, after))
        ]
        ax.set_xlabel("\n".join(said), fontsize=8)
    text = (
        f"Of {m} test photographs, {len(won)} become right when τ goes from 0 to 1, {len(lost)} become wrong. Shown: "
        + ", ".join(f"{photographs.names[i]} ({run.class_names[before[i]]} → {run.class_names[after[i]]})"
                    for i in [*won[:n], *lost[:n]])
    )  # fmt: skip
    return Picture(axes, {"won": won, "lost": lost}, f"{text}.")


@draws
def plot_worlds(runs):
    """Accuracy at deployment against τ in three worlds, mean over runs and ±1 sd; the best τ is marked."""
    (ax,) = get_axes(None, 7.4, 3.5)
    data, said = {"tau": TAUS}, []
    for i, (name, power) in enumerate(WORLDS.items()):
        mean, spread = mean_sd(np.stack([in_world(run, power) for run in runs]))
        kind = {key: value for key, value in look(i).items() if key != "marker"}
        ax.plot(TAUS, mean, linewidth=2, label=f"classes occur: {name}", **kind)
        ax.fill_between(TAUS, mean - spread, mean + spread, color=kind["color"], alpha=0.15, linewidth=0)
        top = int(mean.argmax())
        ax.plot(TAUS[top], mean[top], "*", color=kind["color"], markersize=15, markeredgecolor="white", zorder=5)
        data[name] = mean
        said.append(f"{name}: best τ = {TAUS[top]:g} with {mean[top]:.1%}, {mean[20]:.1%} at τ = 1")
    ax.set(xlabel="τ", ylabel="accuracy at deployment", ylim=(0, 1), xlim=(0, 3))
    ax.set_title(f"Same networks, three worlds ({len(runs)} seeds, ±1 sd; star: the best τ)")
    ax.legend(loc="upper right")
    percent(ax.yaxis)
    return Picture(ax, data, "; ".join(said) + ".")


@draws
def plot_validation(chosen):
    """Scatter of the chosen τ, and the accuracy that its choice loses, against validation images a class.

    chosen: rows of (world, images a class, seed, τ chosen, points lost on the rest, points lost by Bayes' τ).
    """
    rows = np.array([row[1:] for row in chosen], float)
    worlds = np.array([row[0] for row in chosen])
    sizes = np.unique(rows[:, 0])
    left, right = get_axes(None, 9.4, 3.4, 2)
    data, said = {"images": sizes}, []
    for i, name in enumerate(dict.fromkeys(worlds)):
        mine, kind = rows[worlds == name], look(i)
        scatter = [np.mean([mine[(mine[:, 0] == m) & (mine[:, 1] == s), 2].std(ddof=1)
                            for s in np.unique(mine[:, 1])]) for m in sizes]  # fmt: skip
        lost = [mine[mine[:, 0] == m, 3].mean() for m in sizes]
        left.plot(sizes, scatter, **kind)
        right.plot(sizes, lost, label=name, **kind)
        right.axhline(mine[:, 4].mean(), color=kind["color"], linestyle=":", linewidth=1.4)
        data |= {f"{name}: scatter": scatter, f"{name}: lost": lost, f"{name}: Bayes": mine[:, 4].mean()}
        said.append(f"{name}: τ scatters by {scatter[0]:.2f} with {sizes[0]:.0f} image a class, by {scatter[-1]:.2f} "
                    f"with {sizes[-1]:.0f}")  # fmt: skip
    for ax in (left, right):
        ax.set_xscale("log")
        ax.set_xticks(sizes, [f"{m:g}" for m in sizes])
        ax.xaxis.set_minor_formatter("")
        ax.set_xlabel("validation images a class")
        ax.set_ylim(0, None)
    left.axhline(0.1, color=INK, linestyle=":", linewidth=1)
    left.set_title("Scatter of the chosen τ over draws (sd)")
    right.set_title("Points lost by it; dotted: by Bayes' τ")
    right.legend(title="classes occur", fontsize=8.5)
    return Picture([left, right], data, "; ".join(said) + ".")


# ----------------------------------------------------------------------------------------------------- predictions
keeps_the_tail = lt.Predict(
    "Out there, the ranger's animals are as unequal as in the training set: the long tail is **kept**. Which $\\tau$ gives "
    "the highest accuracy *there*?",
    choices=["τ = 0", "τ = 0.5", "τ = 1", "τ = 1.5"],
    default="τ = 1",
)


def open_keeps_the_tail(runs):
    """The answer: means over the runs, for the four values offered."""
    mean = np.mean([in_world(run, 1.0) for run in runs], axis=0)
    offered = {name: mean[int(np.searchsorted(TAUS, float(name[4:])))] for name in keeps_the_tail.options}
    won = sum(in_world(run, 1.0)[0] > in_world(run, 1.0)[20] for run in runs)
    return keeps_the_tail.reveal(
        plot_worlds(runs),
        truth=max(offered, key=offered.get),
        because=f"Mean over {len(runs)} networks: {offered['τ = 0']:.1%} at τ = 0, {offered['τ = 1']:.1%} at τ = 1; τ = 0 is "
        f"ahead in {won} of {len(runs)}. The prior that τ takes out is true there. Where all classes occur equally often, "
        f"the best τ is {best(np.mean([in_world(run, 0.0) for run in runs], axis=0)):g}.",
    )


best_tau = lt.Predict(
    "Now the whole curve. Left end: the rarest class occurs most often; middle: all alike; right end: as in training. "
    "Draw the **best τ** as measured on the photographs.",
    curve=lt.study.Axes((-1, 1), (0, 3), "power of the training counts", "best τ", points=9),
    default={-1: 1.5, 0: 1.0, 1: 0.5},
)


def temperature(run, power=0.0):
    """The T by which a run's scores have to be divided so that Bayes' probabilities fit its test images best."""
    prior = run.counts / run.counts.sum()
    world = lt.metrics.power_prior(run.counts, power)
    share = world[run.targets] / world[run.targets].sum()

    def loss(t):
        p = lt.metrics.probabilities(run.logits / t - np.log(prior) + np.log(world))
        return -(share * np.log(p[np.arange(len(p)), run.targets])).sum()

    return min(np.arange(0.9, 1.41, 0.05), key=loss)


def open_best_tau(runs):
    """The measured best τ, beside the straight line of Bayes' rule."""
    powers = best_tau.asks.axes.places
    mean = np.mean([[best(in_world(run, power)) for power in powers] for run in runs], axis=0)
    warm = [temperature(run) for run in runs]
    return best_tau.reveal(
        f"Bayes' rule asks for τ = 1 - power: 2, 1 and 0 at the left end, in the middle and at the right end. Measured, mean over {len(runs)} networks: **{mean[0]:.2f}**, **{mean[4]:.2f}** and **{mean[8]:.2f}**.",
        truth=[float(one) for one in mean],
        tolerance=0.25,
        because=f"The data follow the line, a little steeper. The networks are too sure: their scores fit the test images best when divided by T = {np.mean(warm):.2f} (from {min(warm):.2f} to {max(warm):.2f} over the seeds), and to divide all scores by T is to multiply τ by T.",
    )


how_many = lt.Predict(
    "All classes alike. How many validation images **of each class** does it take before the chosen τ scatters by no more "
    "than 0.1 from draw to draw (sd)?",
    choices=["2", "5", "20", "100", "500"],
    default="5",
)


def open_how_many(chosen):
    """The answer, from the draws of the cell above."""
    picture = plot_validation(chosen)
    sizes, scatter = picture.data["images"], picture.data["all alike: scatter"]
    enough = sizes[scatter <= 0.1].min()
    lost, bayes = picture.data["all alike: lost"], float(picture.data["all alike: Bayes"])
    equal = sizes[lost <= bayes]
    versus = (
        f"it takes {equal.min():.0f} images a class to do as well" if len(equal) else "no size tried here does as well"
    )
    return how_many.reveal(
        picture,
        truth=f"{enough:.0f}",
        because=f"The rarest class had 20 images to *train* on. But a wrong τ costs little, because accuracy is flat "
        f"around its best: with 20 images a class the choice loses {lost[list(sizes).index(20)]:.1f} points. "
        f"Bayes' τ = 1, chosen on none, loses {bayes:.1f}; {versus}.",
    )


second_stage = lt.Predict(
    "cRT trains a new classifier on balanced batches, on frozen features. On the **photographs** the plain network's "
    "training loss ends far from zero, on the **bench** (digits) it ends near zero. Where does cRT gain more accuracy over "
    "all classes?",
    choices=["more on the photographs", "about the same (within 2 points)", "more on the bench"],
    default="about the same (within 2 points)",
)


def open_second_stage():
    """Gains of cRT and of the slider, on both sets of records."""
    gains, ends = {}, {}
    for recipe in ("cifar16", "digits"):
        plain = lt.recorded(recipe, "ce")
        ends[recipe] = np.mean([run.history["loss"][-1] for run in plain])
        for key in ("crt", "logit_adjusted"):
            gains[recipe, key] = lt.metrics.paired(lt.recorded(recipe, key), plain)
    points = {place: 100 * found.mean for place, found in gains.items()}
    gap = points["cifar16", "crt"] - points["digits", "crt"]
    truth = second_stage.options[1 if abs(gap) <= 2 else 0 if gap > 0 else 2]
    cards = [
        lt.say(
            f"{name}: training loss at the end **{ends[recipe]:.3f}**; cRT **{points[recipe, 'crt']:+.1f}** ± "
            f"{100 * gains[recipe, 'crt'].half:.1f} points ({gains[recipe, 'crt'].verdict}), the slider at τ = 1 "
            f"**{points[recipe, 'logit_adjusted']:+.1f}** ± {100 * gains[recipe, 'logit_adjusted'].half:.1f}."
        )
        for name, recipe in (("Photographs", "cifar16"), ("Bench", "digits"))
    ]
    return second_stage.reveal(
        cards,
        truth=truth,
        because="On the bench the features separate the training images, so that a new classifier fits them easily, whatever the batches. The slider learns nothing: it moves every border by the prior.",
    )


past_the_line = lt.Predict(
    "Eight of the remedies in the table *train*: cRT, LWS, the logit-adjusted loss, four samplers and DRW. How many of them lie "
    "**clearly beyond** the frontier that the slider draws from the plain network?",
    number=(0, 8, 1),
    default=5,
    unit=" of 8",
)
TRAINED = ("cRT", "LWS", "logit-adjusted loss", "class-balanced sampling", "deferred balanced sampling",
           "progressive sampling", "square-root sampling", "CE-DRW")  # fmt: skip


def open_past_the_line(groups, base):
    """The chart of the course, and the number of trained remedies that are clearly beyond."""
    found = {name: lt.metrics.beyond(groups[name], base) for name in TRAINED}
    said = {}
    for name, one in found.items():
        said.setdefault(one.verdict, []).append(f"{name} ({100 * one.mean:+.1f} ± {100 * one.half:.1f})")
    clear, hint, below = (
        ", ".join(said.get(word, ["none"])) for word in ("clearly better", "suggestive: better", "clearly worse")
    )
    return past_the_line.reveal(
        lt.plot_who_pays({name: groups[name] for name in (*TRAINED, "τ-norm", "NCM")}, base, goal=GOAL),
        truth=sum(one.verdict == "clearly better" for one in found.values()),
        tolerance=1,
        because=f"Points of rare-class accuracy beyond the frontier, at equal accuracy of the frequent classes. Clearly beyond: {clear}. Suggestive: {hint}. Clearly below, so that the slider does better for nothing: {below}. Among eight comparisons without any difference, chance alone would call about {8 * lt.metrics.SUGGESTIVE:.1f} suggestive.",
    )


# ------------------------------------------------------------------------------------------------------- exercises
def _choose(logits, targets, counts, prior):
    log_prior = torch.log(counts.double() / counts.sum())
    values = []
    for tau in TAUS:
        right = (logits.double() - tau * log_prior).argmax(1) == targets
        per_class = torch.stack([right[targets == j].double().mean() for j in range(len(counts))])
        values.append((prior * per_class).sum() / prior.sum())
    return torch.tensor(TAUS[int(torch.stack(values).argmax())])


def _unweighted(logits, targets, counts, prior):
    log_prior = torch.log(counts.double() / counts.sum())
    found = [((logits.double() - tau * log_prior).argmax(1) == targets).double().mean() for tau in TAUS]
    return torch.tensor(TAUS[int(torch.stack(found).argmax())])


def _image_weighted(logits, targets, counts, prior):
    log_prior = torch.log(counts.double() / counts.sum())
    found = [(prior[targets] * ((logits.double() - tau * log_prior).argmax(1) == targets)).sum() for tau in TAUS]
    return torch.tensor(TAUS[int(torch.stack(found).argmax())])


def _validation():
    """Validation images of one network: (logits, targets, counts), and the same with unequal numbers a class."""
    run = lt.recorded("cifar16", "ce", seed=0)[0]
    draw = np.random.default_rng(2)  # one with a clear best τ in each world: rounding decides nothing
    classes = [draw.permutation(np.flatnonzero(run.targets == j)) for j in range(run.k)]
    even = np.concatenate([one[:100] for one in classes])
    uneven = np.concatenate([one[: 20 * (j + 1)] for j, one in enumerate(classes)])
    counts = torch.from_numpy(run.counts)
    return [(torch.from_numpy(run.logits[i]), torch.from_numpy(run.targets[i]), counts) for i in (even, uneven)]


_even, _uneven = _validation()
_priors = {name: torch.from_numpy(lt.metrics.power_prior(_even[2].numpy(), power)) for name, power in WORLDS.items()}
_why = "Accuracy of each class first, then its mean with the shares of `prior` as weights."

tau_for_a_world = lt.Exercise(
    "A τ for three worlds",
    """The ranger's network will be used in three places. Write `choose_tau(logits, targets, counts, prior)`: the $\\tau$ of `taus` (0, 0.05, ..., 3) under which the **validation images** promise the highest accuracy where class $j$ occurs with the share `prior[j]`.

Shapes: logits (n, k), targets (n,), counts (k,), prior (k,). Of equally good $\\tau$, take the smallest.

The number of validation images a class need not match the prior, nor be the same for all classes. No test image may be looked at: that is what the function's arguments are for.""",
    """
def choose_tau(logits, targets, counts, prior):
    log_prior = torch.log(counts.double() / counts.sum())
    values = []
    for tau in taus:
        right = (logits.double() - tau * log_prior).argmax(1) == targets
        per_class = torch.stack([right[targets == j].double().mean() for j in range(len(counts))])
        values.append((prior * per_class).sum())
    return taus[int(torch.stack(values).argmax())]
""",
    [
        lt.study.Case("classes occur as in training", (*_even, _priors["as in training"]), _why),
        lt.study.Case("all alike", (*_even, _priors["all alike"]), _why),
        lt.study.Case("the rarest most often", (*_even, _priors["the rarest most often"]), _why),
        lt.study.Case("unequal numbers of validation images, all alike", (*_uneven, _priors["all alike"]), _why),
        lt.study.Case("unequal numbers, as in training", (*_uneven, _priors["as in training"]), _why),
    ],
    oracle=_choose,
    hints=[
        "Three steps for each τ: decide the validation images anew, find the share of right answers in each class, average over the classes.",
        "The average over the classes is where the world comes in: which class counts how much there?",
        "An image of a class with many validation images must not count for more: divide within the class before you weight.",
    ],
    mistakes={
        "This is plain accuracy on the validation images: the prior at deployment is not used.": _unweighted,
        "You weighted the images, not the classes: a class with more validation images counts for more.": _image_weighted,
    },
    given={"torch": torch, "taus": TAUS.tolist()},
)


def _decide(logits, counts, prior):
    return (logits.double() - torch.log(counts.double() / counts.sum()) + torch.log(prior.double())).argmax(1)


_scores = torch.tensor([[2.0, 1.5, 1.0, 0.5], [0.0, 3.0, 0.0, 1.0], [0.5, 0.0, 0.0, 0.4]])
_counts = torch.tensor([1000.0, 100.0, 10.0, 1.0])
any_world = lt.Exercise(
    "Any world",
    """A power of the counts is a convenient family of worlds, not the only one. Write `decide(logits, counts, prior)`: the class of each image (n,) that Bayes' rule answers where class $j$ occurs with probability `prior[j]`.

Shapes: logits (n, k), counts (k,), prior (k,), which sums to 1. Some classes may not occur there at all: `prior[j] = 0`.""",
    """
def decide(logits, counts, prior):
    log_trained = torch.log(counts / counts.sum())
    return (logits - log_trained + torch.log(prior)).argmax(1)
""",
    [
        lt.study.Case("all alike", (_scores, _counts, torch.full((4,), 0.25)), "The prior of training has to go."),
        lt.study.Case("as in training", (_scores, _counts, _counts / _counts.sum()), "Then nothing may change."),
        lt.study.Case(
            "two classes do not occur",
            (_scores, _counts, torch.tensor([0.5, 0.5, 0.0, 0.0])),
            "A class that does not occur is never the answer.",
        ),
        lt.study.Case(
            "large logits in float32",
            (torch.tensor([[498.0, 500.0, 0.0, 0.0], [0.0, 300.0, 304.0, 0.0]]), _counts, torch.full((4,), 0.25)),
            "`exp(500)` is infinite in float32, and infinity divided by infinity is NaN. Stay with logits.",
        ),
    ],
    oracle=_decide,
    hints=[
        "Which probability does a softmax of the logits stand for, and in which world?",
        "Divide by the prior that the network has learnt, multiply by the one it will meet; on the scale of logits these are a minus and a plus.",
        "What does `torch.log(0)` give, and what does argmax do with it?",
    ],
    mistakes={
        "The prior of training is still in the scores.": lambda logits, counts, prior: (
            logits.double() + torch.log(prior.double())
        ).argmax(1),
        "The new prior is missing: this is the answer for a world where all classes are alike.": lambda logits, counts, prior: (
            (logits.double() - torch.log(counts.double() / counts.sum())).argmax(1)
        ),
        "The two priors have changed places.": lambda logits, counts, prior: (
            logits.double() + torch.log(counts.double() / counts.sum()) - torch.log(prior.double())
        ).argmax(1),
    },
    given={"torch": torch},
)


# ------------------------------------------------------------------------------------------------------------ quiz
_lws = lt.metrics.paired(lt.recorded("cifar16", "lws"), lt.recorded("cifar16", "ce"), "tail")
quiz = lt.Quiz(
    [
        lt.study.Question(
            "A paper says: “we use τ = 1, the fair choice”. What has it assumed?",
            {
                "That the classes have equally many training images.": "Then every τ would do the same: all log priors would be equal.",
                "That all classes occur equally often where the network is used.": "Yes. τ = 1 divides the prior of training out and puts an equal one in its place.",
                "Nothing: τ = 1 follows from Bayes' rule.": "Bayes' rule asks for the prior at deployment. τ = 1 is its answer to one of them.",
            },
            "That all classes occur equally often where the network is used.",
        ),
        lt.study.Question(
            "Classes occur as the square root of their training counts. Which τ does Bayes' rule ask for?",
            {
                "τ = 2": "That is for a world where the rarest class occurs most often.",
                "τ = 1": "τ = 1 is for a world without a tail. This one has a shorter tail.",
                "τ = 0.5": "Yes: $-\\log\\pi + \\frac12\\log\\pi = -\\frac12\\log\\pi$.",
            },
            "τ = 0.5",
        ),
        lt.study.Question(
            "Your network was trained with the logit-adjusted loss. You now subtract the log prior from its scores as well. What happens?",
            {
                "Its scores are corrected twice, and the frequent classes are given away.": "Yes: its logits are already those of a world where all classes are alike.",
                "Nothing, the two are the same.": "They have the same aim, which is why one of them is enough.",
                "It becomes better still for rare and for frequent classes.": "Correcting twice is τ = 2: the rare classes gain, the frequent ones pay.",
            },
            "Its scores are corrected twice, and the frequent classes are given away.",
        ),
        lt.study.Question(
            "cRT, class-balanced sampling, NCM: what does each of them change?",
            {
                "The classifier; the batches of all of training; the decision.": "Yes, in this order.",
                "All three train a new classifier.": "NCM trains nothing, and a sampler acts on the features as well.",
                "All three draw balanced batches.": "NCM draws no batches at all.",
            },
            "The classifier; the batches of all of training; the decision.",
        ),
        lt.study.Question(
            f"A remedy that trains raises the accuracy of the rare classes by {100 * _lws.mean:.0f} points over the plain network. Is it worth its training?",
            {
                "Yes, that is far more than the noise.": "The plain network with another τ may reach the same, or more, for nothing.",
                "It depends on whether it lies beyond the frontier of the plain network.": "Yes. This is what LWS gains, and it lies below the frontier.",
                "No, rare classes do not matter for accuracy.": "That depends on the world. It is not what decides here.",
            },
            "It depends on whether it lies beyond the frontier of the plain network.",
        ),
    ]
)
