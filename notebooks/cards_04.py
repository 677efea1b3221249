"""Chapter 04: its predictions, exercises and quiz, and the figures that they open."""

import numpy as np
import torch

import ltviz as lt
from ltviz.methods.class_balanced import class_balanced_weights
from ltviz.plots.picture import EDGE, INK, Picture, band, draws, get_axes, look, new_figure, plain_log
from ltviz.plots.theme import PHOTO
from ltviz.study.cards import Card, box, bullets, fold, plain

BETAS = (0.9, 0.99, 0.999, 0.9999)
TILES, DARTS = 100, 100


def photos(loss="softmax", beta=0.999, reduction="n"):
    """Ten recorded runs on the photographs with class weights of this β, one a seed."""
    return lt.recorded("cifar16", "class_balanced", loss=loss, beta=beta, reduction=reduction)


def plain_forms():
    """The recorded runs of the three losses without class weights."""
    return {
        "softmax, no weights": lt.recorded("cifar16", "ce"),
        "sigmoid, no weights": lt.recorded("cifar16", "sigmoid", decay_bias=False),
        "focal, no weights": lt.recorded("cifar16", "focal", form="sigmoid", gamma=1.0),
    }


def compared():
    """The series of the table: each loss without and with class weights, the plain network first."""
    forms = plain_forms()
    return {
        "softmax, no weights": forms["softmax, no weights"],
        "softmax, β = 0.999": photos(),
        "sigmoid, no weights": forms["sigmoid, no weights"],
        "sigmoid, β = 0.999": photos("sigmoid"),
        "focal, no weights": forms["focal, no weights"],
        "focal, β = 0.999": photos("focal"),
        "focal, β = 0.9999": photos("focal", 0.9999),
    }


def zipf(tiles, exponent):
    """Probabilities (tiles,) that fall like 1 / rank^exponent."""
    return lt.metrics.power_prior(np.arange(1.0, tiles + 1.0), -exponent)


def points(found):
    """A paired difference in percentage points, with its 95% interval and verdict."""
    mean = f"{100 * found.mean:+.1f}".replace("-0.0", "0.0").replace("+0.0", "0.0")
    return f"**{mean} ± {100 * found.half:.1f}** points ({found.verdict})"


# -------------------------------------------------------------------------------------------------------- pictures
@draws
def plot_one_class(name="horse"):
    """Ten photographs of one class in a row, numbered."""
    found = lt.study.photographs()
    images = found.images[found.names == name]
    axes = new_figure(9.4, 1.35).subplots(1, len(images))
    for i, (ax, image) in enumerate(zip(axes, images, strict=True), 1):
        ax.imshow(image, gid=PHOTO, interpolation="bicubic")
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
        ax.spines[:].set_visible(False)
        ax.set_xlabel(f"{i}", fontsize=10)
    return Picture(list(axes), {"images": images}, f"{len(images)} photographs of the class {name}, numbered.")


@draws
def plot_covered():
    """Expected number of different tiles against darts thrown, for an even throw and three that are not."""
    (ax,) = get_axes(None, 6.8, 3.5)
    n = np.arange(0, 501)
    data, said = {"n": n}, []
    for i, exponent in enumerate((0.0, 0.5, 1.0, 2.0)):
        values = lt.metrics.expected_distinct(zipf(TILES, exponent), n)
        name = {0: "all alike: $E_n$", 1: "like 1 / rank (Zipf)"}.get(exponent, f"like 1 / rank$^{{{exponent:g}}}$")
        kind = {key: value for key, value in look(i).items() if key != "marker"}
        (line,) = ax.plot(n, values, linewidth=2.4 if exponent in (0, 1) else 1.5, **kind)
        line.set_label(name)
        data[f"exponent {exponent:g}"] = values
        said.append(f"{values[DARTS]:.1f} at exponent {exponent:g}")
    ax.axvline(DARTS, color=INK, linewidth=0.9)
    ax.set(xlim=(0, 500), ylim=(0, 103), xlabel="darts thrown, n", ylabel="different tiles hit, of 100")
    legend = ax.legend(title="tiles are hit", loc="center left", bbox_to_anchor=(1.02, 0.5))
    for text in legend.get_texts():
        text.set_parse_math(True)
    ax.set_title(f"Expected number of different tiles, N = {TILES}")
    return Picture(ax, data, f"{DARTS} darts hit {', '.join(said)} different tiles of {TILES} on average.")


@draws
def plot_lengths(groups):
    """Length of each class's classifier vector, mean over seeds, against the images of the class."""
    (ax,) = get_axes(None, 6.8, 3.5)
    data, said = {}, []
    for i, (label, runs) in enumerate(groups.items()):
        n = np.sort(runs[0].counts)[::-1]
        lengths = by_rank(runs)
        mean, r = lengths.mean(0), np.mean([lt.metrics.weight_norm_fit(run).rho for run in runs])
        band(ax, n, mean, lengths.std(0, ddof=1), label=f"{label} ($r_s$ = {r:+.2f})", **EDGE, **look(i))
        data[label] = mean
        said.append(
            f"{label}: {mean[0]:.2f} for the most frequent class, {mean[-1]:.2f} for the rarest, rank correlation of "
            f"length and count {r:+.2f}"
        )
    ax.set(xscale="log", xlabel="training images of the class (log scale)", ylabel="length of the vector")
    ax.set_ylim(0)
    plain_log(ax.xaxis)
    legend = ax.legend(title="mean of ten seeds, ±1 sd", loc="center left", bbox_to_anchor=(1.02, 0.5))
    for text in legend.get_texts():
        text.set_parse_math(True)
    ax.set_title("Length of the classifier vectors")
    return Picture(ax, data | {"counts": n}, "Mean length of the classifier vectors. " + "; ".join(said) + ".")


def by_rank(runs):
    """Lengths of the classifier vectors (seeds, k), the most frequent class first."""
    return np.array([np.linalg.norm(run.head_weight, axis=1)[np.argsort(-np.asarray(run.counts))] for run in runs])


def spread(runs):
    """Longest classifier vector over the shortest, for each run (seeds,)."""
    lengths = by_rank(runs)
    return lengths.max(1) / lengths.min(1)


# ----------------------------------------------------------------------------------------------------- predictions
falls_like_zipf = lt.Predict(
    f"Things are rarely all equally common. Let the second most common of $N = {TILES}$ be half as likely as the "
    f"first, the third a third as likely, and so on (Zipf's law). How many different ones do $n = {DARTS}$ "
    "photographs show on average?",
    number=(0, 100, 1),
    default=70,
    unit=" different things",
)


def open_falls_like_zipf():
    """The answer: the exact expectation under Zipf's law."""
    formula = float(lt.functional.effective_number(torch.tensor([float(DARTS)]), (TILES - 1) / TILES)[0])
    truth = lt.metrics.expected_distinct(zipf(TILES, 1.0), DARTS)
    return falls_like_zipf.reveal(
        plot_covered(),
        truth=truth,
        tolerance=4,
        because=f"This is calculated, not measured. At $\\beta = {(TILES - 1) / TILES:g}$ the formula gives "
        f"{formula:.1f} for any class with {DARTS} images. Under Zipf's law most photographs show the few common "
        f"things again: the calculation gives {truth:.1f} different ones.",
    )


ratio_at_99 = lt.Predict(
    "The most frequent class of the photographs has 2,000 training images, the rarest 20. With $\\beta = 0.99$, how "
    "many times the weight of an image of the most frequent class does one of the rarest class get?",
    number=(1, 100, 1),
    default=100,
    unit=" times",
)


def open_ratio_at_99():
    """The answer, from the library's class weights."""
    counts = torch.as_tensor(lt.recorded("cifar16", "ce", seed=0)[0].counts)
    most, least = int(counts.max()), int(counts.min())
    weights = class_balanced_weights(counts, 0.99)
    effective = lt.functional.effective_number(counts, 0.99)
    return ratio_at_99.reveal(
        lt.plot_class_weights(counts, beta=list(BETAS)),
        truth=float(weights.max() / weights.min()),
        tolerance=2,
        because=f"This is calculated from the counts. Their ratio is {most / least:.0f}, the limit as β → 1. At "
        f"β = 0.99 no class counts for more than {1 / (1 - 0.99):.0f} images, and {least} images already count for "
        f"{float(effective.min()):.1f}.",
    )


def bench(beta):
    """Ten recorded runs on the bench with class weights of this β, one a seed."""
    return lt.recorded("digits", "class_balanced", beta=beta, loss="softmax", reduction="n")


def bench_recorded():
    """The bench's recorded runs and its class weights, folded: to be opened after the reader's own run."""
    counts = torch.as_tensor(lt.recorded("digits", "ce", seed=0)[0].counts)
    weights = {beta: class_balanced_weights(counts, beta) for beta in BETAS[1:]}
    ratios = ", ".join(f"{float(w.max() / w.min()):.0f} at β = {beta}" for beta, w in weights.items())
    rare = lt.metrics.paired(bench(0.9999), lt.recorded("digits", "ce"), "tail")
    lines = [
        f"Rare classes, class-balanced with β = 0.9999 against plain, ten seeds: {points(rare)}.",
        f"Largest against smallest class weight: {ratios}. The counts, {int(counts.max())} and {int(counts.min())}, "
        f"have a ratio of {int(counts.max()) / int(counts.min()):.0f}.",
    ]
    title = "The recorded runs of the bench"
    html = box("note", "RECORDED", title, fold("Open this after your own run", bullets(lines)))
    return Card(html, f"{title}: folded, for after your own run.")


best_beta = lt.Predict(
    "On the photographs, four values of $\\beta$, softmax, ten seeds. Which gives the highest **mean accuracy over "
    "all classes**?",
    choices=[f"β = {beta}" for beta in BETAS],
    default="β = 0.9999",
)


def open_best_beta():
    """The answer, and what the last step of β changes."""
    ladder = {"no weights": lt.recorded("cifar16", "ce"), **{f"β = {beta}": photos(beta=beta) for beta in BETAS}}
    mean = {label: np.mean([run.accuracy for run in runs]) for label, runs in ladder.items() if label != "no weights"}
    last = {g: lt.metrics.paired(ladder["β = 0.9999"], ladder["β = 0.999"], g) for g in ("all", "tail", "head")}
    return best_beta.reveal(
        lt.plot_comparison(ladder),
        truth=max(mean, key=mean.get),
        because=f"From β = 0.999 to 0.9999 the rare classes change by {points(last['tail'])}, the frequent ones "
        f"{points(last['head'])}, all together {points(last['all'])}.",
    )


which_form = lt.Predict(
    "Now the loss that is weighted: softmax, sigmoid or focal ($\\gamma = 1$), all three with the same $\\beta$, ten "
    "seeds. Which has the best mean accuracy?",
    choices=["softmax, clearly", "sigmoid, clearly", "focal, clearly", "no clear difference among the three"],
    default="focal, clearly",
)


def open_which_form():
    """The table of the chapter, and the paired differences among the weighted losses."""
    groups = compared()
    ways = ("softmax", "sigmoid", "focal")
    runs = {way: groups[f"{way}, β = 0.999"] for way in ways}
    first = max(ways, key=lambda way: np.mean([run.accuracy for run in runs[way]]))
    others = {way: lt.metrics.paired(runs[first], runs[way]) for way in ways if way != first}
    clear = all(found.verdict == "clearly better" for found in others.values())
    bare = {
        way: lt.metrics.paired(groups[f"{way}, no weights"], groups["softmax, no weights"])
        for way in ("sigmoid", "focal")
    }
    said = "; ".join(f"{first} against {way}: {points(found)}" for way, found in others.items())
    return which_form.reveal(
        lt.study.comparison(groups),
        truth=f"{first}, clearly" if clear else "no clear difference among the three",
        because=f"With weights (β = 0.999), {said}. Without weights the loss matters more: against softmax, sigmoid "
        f"{points(bare['sigmoid'])}, focal {points(bare['focal'])}. Each difference is taken "
        "before rounding, so it may be 0.1 off that of two rows of the table.",
    )


beyond_the_line = lt.Predict(
    "Chapter 03's slider moves accuracy from the frequent to the rare classes without training anything. At **equal "
    "accuracy of the frequent classes**, which class-balanced softmax gives the rare ones clearly more than the "
    "slider does?",
    choices=["none of them", *(f"only β = {beta}" for beta in BETAS), "β = 0.999 and β = 0.9999", "all four"],
    default="β = 0.999 and β = 0.9999",
)


def given_more(runs, base, cost):
    """`beyond` of the rare classes, where the slider may take `cost` more from the frequent ones than the runs do."""
    ours = [lt.metrics.shot_accuracy(run) for run in runs]
    slider = [lt.metrics.frontier(plain).tail_at(one["head"] - cost) for plain, one in zip(base, ours, strict=True)]
    return lt.metrics.paired([one["tail"] for one in ours], slider)


def before_the_line(runs, base):
    """Under how many seeds the frequent classes are more accurate than the slider leaves them at any τ >= 0."""
    lines = [lt.metrics.frontier(plain) for plain in base]
    reached = [line.head[line.tau >= 0].max() for line in lines]
    return sum(lt.metrics.shot_accuracy(run)["head"] > most for run, most in zip(runs, reached, strict=True))


def open_beyond_the_line():
    """The chart of the course with the dots of softmax, and who pays for the dot beyond the line."""
    base = lt.recorded("cifar16", "ce")
    groups = {f"β = {beta}": photos(beta=beta) for beta in BETAS}
    better = [label for label, runs in groups.items() if lt.metrics.beyond(runs, base).verdict == "clearly better"]
    if len(better) == 1:
        truth = f"only {better[0]}"
    else:
        truth = {0: "none of them", 4: "all four"}.get(len(better), " and ".join(better))
    rare, middle, everyone = (lt.metrics.beyond(groups["β = 0.99"], base, group) for group in ("tail", "mid", "all"))
    further = lt.metrics.beyond(groups["β = 0.999"], base, "mid")
    trained = {label: lt.metrics.paired(groups[label], base, "mid") for label in ("β = 0.99", "β = 0.999")}
    nearly = lt.metrics.paired(groups["β = 0.9"], base)
    forms = [f"{loss} {points(lt.metrics.beyond(photos(loss), base))}" for loss in ("sigmoid", "focal")]
    told = lt.say(
        f"**Who pays?** The **middle** classes of β = 0.99. Compared with the slider: {points(middle)}, all classes "
        f"together {points(everyone)}; and the middle classes of β = 0.999: {points(further)}. Compared with the plain "
        f"network as trained: {points(trained['β = 0.99'])} and {points(trained['β = 0.999'])}. So the "
        "loss of the middle classes shows only in the comparison with the slider: at the same accuracy of the frequent "
        "classes, the slider leaves the middle ones more accurate. The axes of the chart do not show them, its legend "
        "does. "
        "Where the slider may take one point more from the frequent classes, the lead of the rare ones is "
        f"{points(given_more(groups['β = 0.99'], base, 0.01))}.",
        f"**β = 0.9 can hardly be compared.** It is almost the plain network: over all classes, {points(nearly)}. It "
        "lies at the start of the line, where the frequent classes hardly react to the slider: under "
        f"{before_the_line(groups['β = 0.9'], base)} of {len(base)} seeds the frequent classes are more accurate than "
        "the slider leaves them at any τ >= 0, and the interval of the middle classes is wide.",
        "**The other losses.** Sigmoid and focal at β = 0.999 lie close to softmax and are not drawn. Their rare "
        f"classes, compared with the slider: {'; '.join(forms)}.",
    )
    return beyond_the_line.reveal(
        [lt.plot_who_pays(groups, base), told],
        truth=truth,
        because="Compare β = 0.99 with the slider set so that the frequent classes keep as much: the "
        f"difference for its rare classes is {points(rare)}.",
    )


# --------------------------------------------------------------------------------------------- where sources disagree
def sources_disagree():
    """Five places where sources differ, folded, each with what it changes."""
    z, y = torch.tensor([[2.0, -1.0, 0.5, 0.0]]), torch.tensor([0])
    p = torch.sigmoid(z * torch.tensor([1.0, -1.0, -1.0, -1.0]))
    printed = float(((1 - p) * p.log()).sum())
    losses, w = torch.tensor([1.0, 2.0]), torch.tensor([0.05, 4.0])
    by_n, by_weight = float((w * losses).mean()), float((w * losses).sum() / w.sum())
    other = {g: lt.metrics.paired(photos(reduction="weight"), photos(), g) for g in ("all", "head", "mid", "tail")}
    decayed = lt.metrics.paired(
        lt.recorded("cifar16", "sigmoid", decay_bias=True), lt.recorded("cifar16", "sigmoid", decay_bias=False)
    )
    best_of_four = max(BETAS, key=lambda beta: np.mean([run.accuracy for run in photos(beta=beta)]))
    largest = lt.metrics.paired(photos(beta=0.9999), photos(beta=best_of_four))
    right = float(lt.methods.focal.focal_loss(z, y, 1.0, form="sigmoid")[0])
    table = lt.published.published("CIFAR-10-LT", key="class_balanced", source="Cui et al. 2019, table 2")
    best = ", ".join(f"{row.value:g} at ratio {row.ratio:g}" for row in table.itertuples())
    lines = [
        "**The mean of a weighted loss.** The authors' code divides by the number of images; PyTorch's "
        "`cross_entropy(weight=...)` and the code of Cao et al. (2019) by the sum of their weights. Losses 1 and 2 "
        f"under weights 0.05 and 4 give {by_n:.3f} or {by_weight:.3f}. The sum changes from batch to batch, so these "
        "are two optimisation problems: state which one you solve. On the photographs at β = 0.999 the second gives "
        f"{points(other['all'])}: frequent classes {points(other['head'])}, middle {points(other['mid'])}, rare "
        f"{points(other['tail'])}. This chapter divides by the number of images (`reduction='n'`); "
        "`reduction='weight'` gives the other.",
        "**Weight decay on the last bias.** A blog summary of the paper says that only this bias is decayed. The paper "
        "(section 5.2) and its code say the opposite for the sigmoid forms: everything *except* this bias. Decaying "
        f"it as well changes the plain sigmoid loss on the photographs by {points(decayed)}. This chapter leaves it "
        "out of weight decay (`decay_bias=False`); `decay_bias=True` decays it, too.",
        "**A lost sign.** The same summary prints the focal form without its minus. On the four logits above it "
        f"gives {printed:.3f}, a loss below zero, which rewards mistakes; eq. (12) gives {right:.3f}.",
        "**A row that is the best of many.** The paper's class-balanced row on CIFAR-10-LT (errors in percent: "
        f"{best}) is, at each ratio, the best of several losses, β and γ, and its code holds out no validation set. "
        "Later work quotes the "
        'row as "CB focal", which it is not at every ratio.',
        "**The best β.** On CIFAR-10-LT, with up to 5,000 images a class, the paper finds β = 0.9999 best (section "
        f"5.3). On the photographs, with up to {max(photos()[0].counts):,}, β = {best_of_four} has the highest mean "
        f"accuracy with softmax; β = 0.9999 against it: {points(largest)}.",
    ]
    title = "Where sources disagree"
    html = box("note", "SOURCES", title, fold("Five readings, and what each one changes", bullets(lines)))
    return Card(html, "\n".join([f"{title}:", *map(plain, lines)]))


# ------------------------------------------------------------------------------------------------------- exercises
def _distinct(p, n):
    return lt.metrics.expected_distinct(p.double().numpy(), n)


def _shares(tiles, exponent):
    return torch.tensor(zipf(tiles, exponent), dtype=torch.float32)


distinct = lt.Exercise(
    "How many different things, for any probabilities",
    """Write `distinct(p, n)`: the expected number of different prototypes among $n$ photographs, if each shows
prototype $i$ with probability $p_i$. `p` is a tensor (N,) in float32, `n` a number; return one number.

One of the checks is the uniform case: there your function must give $E_n$ of eq. (2). Another has a million
prototypes. When it passes, say why no probabilities give more than equal ones (the last hint).""",
    """
def distinct(p, n):
    p = p.double()
    return (1 - (1 - p) ** n).sum()
""",
    [
        lt.study.Case("100 prototypes, all alike, n = 100", (_shares(100, 0.0), 100), "This must be $E_n$ of eq. (2)."),
        lt.study.Case(
            "Zipf, N = n = 100", (_shares(100, 1.0), 100), "Each prototype has its own probability of being missed."
        ),
        lt.study.Case("one photograph", (_shares(7, 1.0), 1), "One photograph shows one thing."),
        lt.study.Case("a single prototype, n = 50", (torch.ones(1), 50), "It is seen for certain."),
        lt.study.Case(
            "a million prototypes, n = a million",
            (_shares(1_000_000, 0.0), 1_000_000),
            "In float32, $1 - 10^{-6}$ has lost most of its digits. Compute in float64: `p.double()`.",
        ),
    ],
    oracle=_distinct,
    hints=[
        "The expected number is the sum, over prototypes, of the probability that this one is seen at all.",
        "It is easier to say when prototype $i$ is *not* seen: all $n$ photographs miss it, independently.",
        "One photograph misses it with probability $1 - p_i$. Mind the type of `p` where $p_i$ is tiny.",
        "Why no probabilities beat equal ones: for $n > 1$ each term of your sum is concave in $p_i$, so moving "
        "probability from a likely prototype to an unlikely one raises the sum. For $n = 1$ the sum is always 1.",
    ],
    mistakes={
        "That is $E_n$. It holds only where all prototypes are equally likely.": lambda p, n: (
            (1 - ((len(p) - 1) / len(p)) ** n) * len(p)
        ),
        "That is the number of prototypes that are *not* seen.": lambda p, n: ((1 - p.double()) ** n).sum(),
        "$n p_i$ counts how often prototype $i$ is seen, repeats included.": lambda p, n: (n * p.double()).sum(),
    },
)


def _library(logits, targets, weight):
    return lt.functional.weighted_mean(lt.functional.cross_entropy(logits, targets), targets, weight)


# Both images are answered with class 0 and the weights do not average 1, so that each mistake gives its own number.
_LOGITS, _TARGETS = torch.tensor([[2.0, -1.0, 0.5], [1.0, 0.0, 0.0]]), torch.tensor([0, 2])
_LARGE, _OF_LARGE = torch.tensor([[0.0, -100.0, 100.0], [0.0, 100.0, 0.0]]), torch.tensor([1, 2])
_UNEVEN = torch.tensor([0.5, 1.5, 2.0], dtype=torch.float64)
_OVERFLOW = "`exp` of a large logit is infinite (in float32 from 89 on). Use `logits.logsumexp(dim=1)`."

cb_softmax = lt.Exercise(
    "Class-balanced softmax, value and gradient",
    """Write `cb_softmax(logits, targets, weight)`: softmax cross-entropy of each image, times the class weight of *its*
class, averaged over the images as the authors do.

Shapes: logits (n, k), targets (n,), weight (k,). Where the logits need a gradient, it is checked too.""",
    """
def cb_softmax(logits, targets, weight):
    true = logits[torch.arange(len(targets)), targets]
    losses = logits.logsumexp(dim=1) - true
    return (weight[targets] * losses).mean()
""",
    [
        lt.study.Case(
            "all weights 1",
            (_LOGITS, _TARGETS, torch.ones(3, dtype=torch.float64)),
            "Then it is plain cross-entropy.",
            gradient=True,
        ),
        lt.study.Case(
            "a rare and a frequent class",
            (_LOGITS, _TARGETS, torch.tensor([0.05, 0.8, 2.0], dtype=torch.float64)),
            "Weight each image by the class that it belongs to, then divide by the number of images.",
            gradient=True,
        ),
        lt.study.Case(
            "logits of 100, in float32",
            (_LARGE, _OF_LARGE, _UNEVEN.float()),
            _OVERFLOW,
        ),
        lt.study.Case(
            "logits of 1,000, with gradient",
            (10 * _LARGE, _OF_LARGE, _UNEVEN),
            _OVERFLOW,
            gradient=True,
        ),
    ],
    oracle=_library,
    hints=[
        "Three steps: the loss of each image, the weight of each image, the mean.",
        "Cross-entropy is the logarithm of the sum of exponentials, minus one of the logits. Which one?",
        "Indexing with a tensor of class numbers picks one entry for each image, from a row of logits or from the "
        "weights.",
    ],
    mistakes={
        "You divided by the sum of the images' weights, as PyTorch's `cross_entropy(weight=...)` does. The authors "
        "divide by "
        "the number of images.": lambda logits, targets, weight: torch.nn.functional.cross_entropy(
            logits, targets, weight.to(logits.dtype)
        ),
        "You summed. Take the mean over the images.": lambda logits, targets, weight: (
            _library(logits, targets, weight) * len(targets)
        ),
        "The class weights are missing.": lambda logits, targets, weight: torch.nn.functional.cross_entropy(
            logits, targets
        ),
        "The weight is that of the image's place in the batch, not of its class.": lambda logits, targets, weight: (
            weight[: len(targets)] * lt.functional.cross_entropy(logits, targets)
        ).mean(),
        "The weight is that of the class that the network predicts. Take that of the class to which the image "
        "belongs.": lambda logits, targets, weight: (
            weight[logits.argmax(1)] * lt.functional.cross_entropy(logits, targets)
        ).mean(),
        "Every image has the mean of all weights here. Take the weight of its class.": lambda logits, targets, weight: (
            weight.mean() * lt.functional.cross_entropy(logits, targets).mean()
        ),
    },
    given={"torch": torch},
)


# ------------------------------------------------------------------------------------------------------------ quiz
def quiz():
    """Five questions; a question's plots are of the photographs' counts."""
    few, fewer = bench(0.999), bench(0.9999)
    counts = torch.as_tensor(lt.recorded("cifar16", "ce", seed=0)[0].counts)

    def mean(runs):
        return np.mean([run.accuracy for run in runs])

    def curve(beta):
        return lt.plot_class_weights(counts, weights={"class weights": class_balanced_weights(counts, beta)})

    return lt.Quiz(
        [
            lt.study.Question(
                "Class A: 200 photographs of one statue. Class B: 200 photographs of birds of many kinds. $\\beta = "
                "0.999$. Which has the larger effective number?",
                {
                    "A": "The formula never looks at a picture.",
                    "B": "B is more diverse, but the formula never looks at a picture.",
                    "neither": "Yes. $E_n$ depends on the count and on β alone.",
                },
                "neither",
            ),
            lt.study.Question(
                "A class has 5,000 images and $\\beta = 0.9$. About how many do they count for?",
                {
                    "5,000": "That would be $\\beta \\to 1$, where nothing overlaps.",
                    "500": "A tenth of the count is not what the formula does: it stops growing.",
                    "10": "Yes. $E_n$ never exceeds $1/(1-\\beta)$.",
                },
                "10",
            ),
            lt.study.Question(
                "Which of these two shows the class weights at $\\beta = 0.9999$?",
                {
                    "A": "In A the most frequent classes weigh nearly the same: their counts are far above "
                    "$1/(1-\\beta)$. At $\\beta = 0.9999$ that limit is 10,000, above all counts.",
                    "B": "Yes: nearly a straight line on log axes, so the weights follow one over the count.",
                },
                "B",
                {"A": curve(0.99), "B": curve(0.9999)},
            ),
            lt.study.Question(
                "Why does a sigmoid classifier start with the bias $-\\log(k-1)$?",
                {
                    "To favour the rare classes from the start.": "All classes get the same bias; it favours none.",
                    "So that the many wrong classes do not dominate the first steps.": "Yes: each class starts with "
                    "probability $1/k$, and most answers are already right.",
                    "Because weight decay would otherwise remove it.": "Decay is another matter.",
                },
                "So that the many wrong classes do not dominate the first steps.",
            ),
            lt.study.Question(
                f"On the bench (at most {max(few[0].counts)} images a class), $\\beta = 0.999$ and $\\beta = 0.9999$ "
                f"give {mean(few):.1%} and {mean(fewer):.1%} mean accuracy over ten seeds. Why so little difference?",
                {
                    "Digits are too easy for weights to matter.": "They do matter there: compare with no weights in "
                    "the lab.",
                    "Both give nearly one over the count.": f"Yes: {max(few[0].counts)} images are far below "
                    "$1/(1-\\beta) = 1{,}000$, so hardly anything overlaps, and a larger β changes little.",
                    "The seeds hide a large difference.": "The class weights themselves are nearly the same.",
                },
                "Both give nearly one over the count.",
            ),
        ]
    )
