"""Chapter 03: its predictions, exercises and quiz, and the figures that they open."""
# ruff: noqa: E501  (text for readers is not cut into lines)

import numpy as np
import torch

import ltviz as lt
from ltviz.plots.picture import INK, Picture, draws, get_axes, look, mean_sd, new_figure, percent
from ltviz.plots.theme import PHOTO

TAUS = np.round(np.arange(0.0, 3.001, 0.05), 2)
GOAL = (0.70, 0.40)  # the goal of chapter 00: accuracy of the frequent and of the rare classes
ROAD, ZOO, SEARCH = "road: as in training", "zoo: all equally often", "search party: the rarest most often"
WORLDS = {ROAD: 1.0, ZOO: 0.0, SEARCH: -1.0}  # the power of the training counts with which classes occur there


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
    """Photographs on which the answer changes between τ = 0 and τ = 1: n that become right, and n that become wrong."""
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


def _draw_world(ax, runs, i, name, star):
    """One world's curve, mean over runs and ±1 sd; star: mark the mean of the networks' best τ. What it says."""
    curves = np.stack([in_world(run, WORLDS[name]) for run in runs])
    mean, spread = mean_sd(curves)
    kind = {key: value for key, value in look(i).items() if key != "marker"}
    ax.plot(TAUS, mean, linewidth=2, label=name, **kind)
    ax.fill_between(TAUS, mean - spread, mean + spread, color=kind["color"], alpha=0.15, linewidth=0)
    said = f"{name}: {mean[0]:.1%} at τ = 0, {mean[20]:.1%} at τ = 1"
    if star:
        tau = np.mean([best(one) for one in curves])
        top = np.interp(tau, TAUS, mean)
        ax.plot(tau, top, "*", color=kind["color"], markersize=15, markeredgecolor="white", zorder=5)
        said += f", best τ {tau:.2f} with {top:.1%}"
    ax.set(xlabel="τ", ylabel="accuracy there", ylim=(0, 1), xlim=(0, 3))
    percent(ax.yaxis)
    return mean, said


@draws
def plot_road(runs):
    """Accuracy by the road against τ, mean over runs and ±1 sd."""
    (ax,) = get_axes(None, 6.4, 3.1)
    mean, said = _draw_world(ax, runs, 0, ROAD, star=False)
    ax.set_title(f"Classes occur as in training ({len(runs)} seeds, ±1 sd)")
    return Picture(ax, {"tau": TAUS, ROAD: mean}, f"{said}.")


@draws
def plot_worlds(runs, powers, found, warm):
    """Left: accuracy against τ in three worlds. Right: the best τ against the power, beside what Bayes' rule asks for.

    found (runs, powers): the best τ of each network; warm: the mean temperature.
    """
    left, right = get_axes(None, 9.6, 3.9, 2)
    data, said = {"tau": TAUS}, []
    for i, name in enumerate(WORLDS):
        data[name], one = _draw_world(left, runs, i, name, star=True)
        said.append(one)
    left.set_title(f"Same networks, three worlds ({len(runs)} seeds)")
    left.legend(loc="upper center", fontsize=8, title="star: best τ, mean over networks", title_fontsize=8)
    left.set_ylim(0, 1.25)
    left.set_yticks([0, 0.25, 0.5, 0.75, 1])
    mean, spread = mean_sd(np.array(found))
    right.plot(powers, 1 - np.array(powers), color=INK, linestyle=":", label="Bayes' rule: 1 - a")
    right.plot(
        powers,
        warm * (1 - np.array(powers)),
        linestyle="--",
        color=look(1)["color"],
        label=f"with T = {warm:.2f}: T (1 - a)",
    )
    right.errorbar(powers, mean, yerr=spread, fmt="o", color=look(0)["color"], label="measured, ±1 sd")
    right.set(xlabel="power a of the training counts", ylabel="best τ", ylim=(-0.1, 3))
    right.set_title("Best τ in each world")
    right.legend(loc="upper right", fontsize=8)
    data |= {"powers": list(powers), "best": mean}
    return Picture([left, right], data, "; ".join(said) + ".")


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
    left.set_title("Scatter of the chosen τ over draws (sd)")
    right.set_title("Points lost by it; dotted: by Bayes' τ")
    right.legend(title="classes occur", fontsize=8.5)
    return Picture([left, right], data, "; ".join(said) + ".")


# ----------------------------------------------------------------------------------------------------- predictions
keeps_the_tail = lt.Predict(
    "By the road, animals are as unequal as in the training set: the long tail is **kept**, and every image counts the same. "
    "How many points of accuracy does $\\tau = 1$ **cost** there, against $\\tau = 0$? (Below 0: it gains.)",
    number=(-10, 20, 1),
    default=2,
    unit=" points",
)


def open_keeps_the_tail(runs):
    """The answer: accuracy by the road at τ = 0 and at τ = 1, mean over the runs."""
    curves = np.stack([in_world(run, 1.0) for run in runs])
    cost = 100 * (curves[:, 0] - curves[:, 20])
    return keeps_the_tail.reveal(
        plot_road(runs),
        truth=float(cost.mean()),
        tolerance=2,
        because=f"Mean over {len(runs)} networks: {curves[:, 0].mean():.1%} at τ = 0, {curves[:, 20].mean():.1%} at τ = 1. The "
        f"cost, taken before rounding, is {cost.mean():.1f} points ({cost.min():.0f} to {cost.max():.0f} over the networks). By the road the training prior is the right one, and τ = 1 removes it.",
    )


best_tau = lt.Predict(
    "Now the whole curve. Left end (search party): the rarest class occurs most often; middle (zoo): all equally often; right end "
    "(road): as in training. Draw the **best τ** as measured on the photographs, averaged over ten networks.",
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
    """The measured best τ, beside the line of Bayes' rule and that of the rule with a temperature."""
    powers = best_tau.asks.axes.places
    found = [[best(in_world(run, power)) for power in powers] for run in runs]
    mean, warm = np.mean(found, axis=0), [temperature(run) for run in runs]
    above = [sum(one[i] > 1 - powers[i] for one in found) for i in range(len(powers))]
    t = float(np.mean(warm))
    three = ((0, "search party"), (4, "zoo"), (8, "road"))
    asked, warmer, measured = (
        ", ".join(f"{values[i]:.2f} ({name})" for i, name in three)
        for values in (1 - np.array(powers), t * (1 - np.array(powers)), mean)
    )
    why = lt.say(
        f"The networks are over-confident: their scores fit the test images best when divided by a temperature T = {t:.2f} "
        f"({min(warm):.2f} to {max(warm):.2f} over the seeds). With $z/T$ in place of $z$, Bayes' rule gives",
        "$z/T - (1 - a)\\log\\pi$.",
        "Multiplied by $T$, which changes no answer, this is",
        "$z - T\\,(1 - a)\\log\\pi$.",
        f"So it asks for τ = T (1 - a): {warmer}.",
    )
    return best_tau.reveal(
        [plot_worlds(runs, powers, found, t), why],
        truth=[float(one) for one in mean],
        tolerance=0.25,
        because=f"Bayes' rule asks for τ = 1 - a: {asked}. Measured, the mean of the best τ of each of {len(runs)} networks: "
        f"**{measured}**; it is above 1 - a in {above[4]} of {len(runs)} networks (zoo) and in {above[0]} (search party).",
    )


how_many = lt.Predict(
    "In the zoo, all classes occur equally often. How many validation images **of each class** does it take before the chosen τ "
    "scatters by no more than 0.2 from draw to draw (sd), averaged over ten networks?",
    choices=["2", "5", "20", "100", "500"],
    default="5",
)


def open_how_many(chosen):
    """The answer, from the draws of the cell above."""
    picture = plot_validation(chosen)
    sizes, scatter, lost = picture.data["images"], *(picture.data[f"{ZOO}: {what}"] for what in ("scatter", "lost"))
    i, bayes = int(np.flatnonzero(np.array(scatter) <= 0.2)[0]), picture.data[f"{ZOO}: Bayes"]
    drawn = {}
    for world, m, seed, tau, *_ in chosen:
        if world == ZOO and m == sizes[i]:
            drawn.setdefault(seed, []).append(tau)
    steady = sum(np.std(one, ddof=1) <= 0.2 for one in drawn.values())
    return how_many.reveal(
        picture,
        truth=f"{sizes[i]:.0f}",
        because=f"It scatters by {scatter[i - 1]:.2f} with {sizes[i - 1]:.0f} images a class, by {scatter[i]:.2f} with {sizes[i]:.0f}: "
        f"means over the networks. With {sizes[i]:.0f}, {steady} of {len(drawn)} networks are at 0.2 or below. "
        f"Against the best τ, the choice then loses {lost[i]:.1f} points; Bayes' τ = 1, chosen on none, loses {bayes:.1f}. So near "
        "the best τ, a slightly wrong one costs little. One that is far off costs much: see the first prediction.",
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
    gains, ends, against = {}, {}, {}
    for recipe in ("cifar16", "digits"):
        plain, crt = (lt.recorded(recipe, key) for key in ("ce", "crt"))
        slid = [lt.study.redecide(run, "logit_adjusted", tau=1.0) for run in plain]
        for key, runs in (("ce", plain), ("crt", crt)):
            ends[recipe, key] = np.mean([run.history["loss"][-1] for run in runs])
        gains |= {(recipe, "crt"): lt.metrics.paired(crt, plain), (recipe, "slider"): lt.metrics.paired(slid, plain)}
        against[recipe] = lt.metrics.paired(crt, slid)
    points = {place: 100 * found.mean for place, found in gains.items()}
    gap = points["cifar16", "crt"] - points["digits", "crt"]
    truth = second_stage.options[1 if abs(gap) <= 2 else 0 if gap > 0 else 2]
    cards = [
        lt.say(
            f"{name}: training loss of the plain network at the end **{ends[recipe, 'ce']:.3f}**; cRT "
            f"**{points[recipe, 'crt']:+.1f}** ± {100 * gains[recipe, 'crt'].half:.1f} points ({gains[recipe, 'crt'].verdict}), "
            f"the slider at τ = 1 **{points[recipe, 'slider']:+.1f}** ± {100 * gains[recipe, 'slider'].half:.1f}; "
            f"cRT minus the slider **{100 * against[recipe].mean:+.1f}** ± {100 * against[recipe].half:.1f} ({against[recipe].verdict})."
        )
        for name, recipe in (("Photographs", "cifar16"), ("Bench", "digits"))
    ]
    return second_stage.reveal(
        cards,
        truth=truth,
        because=f"The differences above are taken before rounding. On balanced batches, cRT's new classifier ends at a loss of {ends['digits', 'crt']:.3f} on the bench: the training "
        f"images are fitted again, rare and frequent. On the photographs it ends at {ends['cifar16', 'crt']:.2f}. "
        "A likely reason for the difference: where all images are fitted, it matters little which are drawn more often. The slider fits nothing: it subtracts the log prior from the scores.",
    )


past_the_line = lt.Predict(
    "Eight of the remedies in the table *train*: cRT, LWS, the logit-adjusted loss, four samplers and DRW. How many of them lie "
    "**clearly beyond** the frontier, the line that the slider draws from the plain network?",
    number=(0, 8, 1),
    default=5,
    unit=" of 8",
)
TRAINED = ("cRT", "LWS", "logit-adjusted loss", "class-balanced sampling", "deferred balanced sampling",
           "progressive sampling", "square-root sampling", "DRW")  # fmt: skip


def open_past_the_line(groups, base):
    """The chart of the course, for the samplers apart, and the number of trained remedies that are clearly beyond."""
    found = {name: lt.metrics.beyond(groups[name], base) for name in TRAINED}
    said = {}
    for name, one in found.items():
        said.setdefault(one.verdict, []).append(f"{name} ({100 * one.mean:+.1f} ± {100 * one.half:.1f})")
    clear, hint, below = (
        ", ".join(said.get(word, ["none"])) for word in ("clearly better", "suggestive: better", "clearly worse")
    )
    middle = {}
    for name in TRAINED:
        one = lt.metrics.beyond(groups[name], base, "mid")
        middle.setdefault(one.verdict, []).append(f"{name} ({100 * one.mean:+.1f} ± {100 * one.half:.1f})")
    won, paid = (", ".join(middle.get(word, ["none"])) for word in ("clearly better", "clearly worse"))
    return past_the_line.reveal(
        [
            lt.plot_who_pays({name: groups[name] for name in TRAINED if ("sampling" in name) == late}, base, goal=GOAL)
            for late in (False, True)
        ],
        truth=sum(one.verdict == "clearly better" for one in found.values()),
        tolerance=1,
        because=f"*Rare* in the legend: points of rare-class accuracy beyond the slider, where the slider leaves the frequent classes as accurate. *Middle*: the same for the middle classes; below 0, they paid. Clearly beyond: {clear}. Suggestive: {hint}. Clearly below, so that the slider does better for the rare classes without training: {below}. The middle classes are clearly better off than with the slider under: {won}; clearly worse off under: {paid}. Among these sixteen comparisons, eight of rare and eight of middle classes, chance alone would call about {16 * lt.metrics.SUGGESTIVE:.1f} suggestive or clear if none differed.",
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


def _largest(logits, targets, counts, prior):
    log_prior = torch.log(counts.double() / counts.sum())
    right = torch.stack([(logits.double() - tau * log_prior).argmax(1) == targets for tau in TAUS])
    values = torch.stack([right[:, targets == j].double().mean(1) for j in range(len(counts))], 1) @ prior
    return torch.tensor(TAUS[int(torch.nonzero(values >= values.max() - 1e-12).max())])


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
    """The ranger's network will be used in three places. Write `choose_tau(logits, targets, counts, prior)`: the $\\tau$ of `taus` (0, 0.05, ..., 3) with the highest accuracy on the **validation images** for a place where class $j$ occurs with the share `prior[j]`.

All four arguments are **torch tensors**: logits (n, k), targets (n,), counts (k,), prior (k,); `taus` is the NumPy array above. If you prefer NumPy, begin with `logits.numpy()` and so on. Of equally good $\\tau$, take the smallest, and return it as a number.

The number of validation images in each class need not match the prior, nor be the same for all classes. Use only the validation images you are given, and say why no test image may take part.""",
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
        lt.study.Case("the road: classes occur as in training", (*_even, _priors[ROAD]), _why),
        lt.study.Case("the zoo: all equally often", (*_even, _priors[ZOO]), _why),
        lt.study.Case("the search party: the rarest most often", (*_even, _priors[SEARCH]), _why),
        lt.study.Case("unequal numbers of validation images, in the zoo", (*_uneven, _priors[ZOO]), _why),
        lt.study.Case("unequal numbers, by the road", (*_uneven, _priors[ROAD]), _why),
        lt.study.Case(
            "two images, right at several τ",
            (
                torch.tensor([[3.0, 0.0], [1.0, 0.0]]),
                torch.tensor([0, 1]),
                torch.tensor([100.0, 1.0]),
                torch.tensor([0.5, 0.5], dtype=torch.float64),
            ),
            "Several τ are equally good here: return the smallest of them.",
        ),
    ],
    oracle=_choose,
    hints=[
        "Three steps for each τ: decide the validation images anew, find the share of right answers in each class, average over the classes.",
        "How much weight does each class get in that average?",
        "An image of a class with many validation images must not count for more: divide within the class before you weight.",
    ],
    mistakes={
        "This is plain accuracy on the validation images: the prior at deployment is not used.": _unweighted,
        "You weighted the images, not the classes: a class with more validation images counts for more.": _image_weighted,
        "Of several equally good τ you returned the largest: return the smallest.": _largest,
    },
    given={"torch": torch, "taus": TAUS.tolist()},
)


def _decide(logits, counts, prior):
    return (logits.double() - torch.log(counts.double() / counts.sum()) + torch.log(prior.double())).argmax(1)


_scores = torch.tensor([[2.0, 1.5, 1.0, 0.5], [0.0, 3.0, 0.0, 1.0], [0.5, 0.0, 0.0, 0.4]])
_counts = torch.tensor([1000.0, 100.0, 10.0, 1.0])
# The commonest class against one other, at margins on both sides of where Bayes' rule, half of it, twice it, and the
# rule for equal priors turn from one to the other.
_pairs = torch.full((8, 4), -20.0)
_pairs[:, 0] = torch.tensor([1.2, 2.0, 2.8, 2.2, 1.2, 3.0, -1.0, 4.0])
_pairs[range(8), [1, 1, 1, 2, 3, 3, 1, 2]] = 0.0
any_world = lt.Exercise(
    "Any world",
    """A power of the counts is a convenient family of worlds, not the only one. Write `decide(logits, counts, prior)`: the class (n,) that Bayes' rule predicts for each image where class $j$ occurs with probability `prior[j]`.

All three are **torch tensors**: logits (n, k), counts (k,), prior (k,), which sums to 1. Some classes may not occur there at all: `prior[j] = 0`. Stay with torch here: `torch.log` takes a zero without a warning, `np.log` does not.""",
    """
def decide(logits, counts, prior):
    log_trained = torch.log(counts / counts.sum())
    return (logits - log_trained + torch.log(prior)).argmax(1)
""",
    [
        lt.study.Case(
            "all equally often", (_scores, _counts, torch.full((4,), 0.25)), "The prior of training has to go."
        ),
        lt.study.Case("as in training", (_scores, _counts, _counts / _counts.sum()), "Then nothing may change."),
        lt.study.Case(
            "two classes do not occur",
            (_scores, _counts, torch.tensor([0.5, 0.5, 0.0, 0.0])),
            "A class that does not occur is never the answer.",
        ),
        lt.study.Case(
            "unequal, but not as in training",
            (_pairs, _counts, torch.tensor([0.6, 0.3, 0.08, 0.02])),
            "Each class counts by the ratio of its two priors, its share there over its share in training, with no other factor or power.",
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
        "The new prior is missing: this is the answer for a world where all classes occur equally often.": lambda logits, counts, prior: (
            (logits.double() - torch.log(counts.double() / counts.sum())).argmax(1)
        ),
        "You only look at which classes occur: how often they occur matters as well.": lambda logits, counts, prior: (
            (logits.double() - torch.log(counts.double() / counts.sum())).masked_fill(prior == 0, -torch.inf).argmax(1)
        ),
        "You used only half of the log priors: Bayes' rule has no factor before them.": lambda logits, counts, prior: (
            logits.double() + 0.5 * torch.log(prior.double() * counts.sum() / counts.double())
        ).argmax(1),
        "You used the log priors twice: Bayes' rule has no factor before them.": lambda logits, counts, prior: (
            logits.double() + 2 * torch.log(prior.double() * counts.sum() / counts.double())
        ).argmax(1),
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
            "You train with $\\log\\pi_j$ added to the logits in the loss, and decide with the logits alone. For which world are these answers?",
            {
                "For the world of training: its prior is in the loss.": "In the loss the prior is added outside the network, so that the network's own logits need not learn it.",
                "For a world where all classes occur equally often.": "Yes. The loss sees logits plus log prior; what the network learns is the rest.",
                "For a world where the rarest class occurs most often.": "That would take τ = 2 in the loss: twice the log prior.",
            },
            "For a world where all classes occur equally often.",
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
                "Yes, that is far more than the noise.": "The plain network with another τ may reach the same, or more, without training.",
                "It depends on whether it lies beyond the frontier of the plain network.": "Yes. This is what LWS gains, and it lies below the frontier.",
                "No: what the rare classes gain, the frequent classes lose.": "Part of it is paid in this way, by the slider as well. What decides is whether the remedy gains more at the same price.",
            },
            "It depends on whether it lies beyond the frontier of the plain network.",
        ),
    ]
)
