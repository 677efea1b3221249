"""Chapter 04: its predictions, exercises and quiz, and the figures that they open."""

import numpy as np
import torch

import ltviz as lt
from ltviz.methods.class_balanced import class_balanced_weights
from ltviz.plots.picture import INK, Picture, draws, get_axes, look, new_figure
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
    """Every series of the comparison: the plain network first, then each loss without and with class weights."""
    forms = plain_forms()
    weighted = {f"softmax, β = {beta}": photos(beta=beta) for beta in BETAS}
    return {
        "softmax, no weights": forms["softmax, no weights"],
        **weighted,
        "sigmoid, no weights": forms["sigmoid, no weights"],
        "sigmoid, β = 0.999": photos("sigmoid"),
        "focal, no weights": forms["focal, no weights"],
        "focal, β = 0.999": photos("focal"),
        "focal, β = 0.9999": photos("focal", 0.9999),
    }


def zipf(tiles, exponent):
    """Probabilities (tiles,) that fall like 1 / rank^exponent."""
    return lt.metrics.power_prior(np.arange(1.0, tiles + 1.0), -exponent)


def at_equal_cost(runs, base):
    """Group -> paired difference to the slider where it leaves the frequent classes at least as much as `runs` do."""
    found = {name: [] for name in ("head", "mid", "tail", "all")}
    for run, network in zip(runs, base, strict=True):
        ours, line = lt.metrics.shot_accuracy(run), lt.metrics.frontier(network)
        at = int(np.where(line.head >= ours["head"], line.tau, -np.inf).argmax())
        for name in found:
            found[name].append(ours[name] - getattr(line, name)[at])
    return {name: lt.metrics.paired(values, np.zeros(len(values))) for name, values in found.items()}


def points(found):
    """A paired difference in percentage points, with its 95 % interval and verdict."""
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
        because=f"The formula says {formula:.1f}, for any class with {DARTS} images. Under Zipf's law most "
        f"photographs show the few common things again, and {truth:.1f} different ones are seen. No distribution "
        "gives more than the even one, as $1-(1-p)^n$ is concave in $p$.",
    )


ratio_at_99 = lt.Predict(
    "The most frequent class of the photographs has 2,000 training images, the rarest 20. With $\\beta = 0.99$, how "
    "many times as much does an image of the rarest class count as one of the most frequent?",
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
        because=f"{most / least:.0f} is the ratio of the counts, to which β → 1 leads. At β = 0.99 no class counts "
        f"for more than {1 / (1 - 0.99):.0f} images, and {least} images already count for "
        f"{float(effective.min()):.1f}.",
    )


best_beta = lt.Predict(
    "On the photographs, four values of $\\beta$, softmax, ten seeds. Which gives the highest **mean accuracy over "
    "all classes**?",
    choices=[f"β = {beta}" for beta in BETAS],
    default="β = 0.9999",
)


def open_best_beta():
    """The answer, and what the last step of β gives and takes."""
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
    "Now the loss that is weighted: softmax, sigmoid or focal ($\\gamma = 1$), all with $\\beta = 0.999$, ten seeds. "
    "Which has the best mean accuracy?",
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
        because=f"With weights, {said}. Without weights the loss matters more: against softmax, sigmoid "
        f"{points(bare['sigmoid'])}, focal {points(bare['focal'])}.",
    )


beyond_the_line = lt.Predict(
    "Chapter 03's slider moves accuracy from the frequent to the rare classes without training anything. At **equal "
    "accuracy of the frequent classes**, which class-balanced softmax gives the rare ones clearly more than the "
    "slider does?",
    choices=["none of them", "only β = 0.99", "only β = 0.999", "β = 0.999 and β = 0.9999", "all four"],
    default="β = 0.999 and β = 0.9999",
)


def open_beyond_the_line():
    """The chart of the course with this chapter's dots, and who pays for the dot beyond the line."""
    base = lt.recorded("cifar16", "ce")
    groups = {f"β = {beta}": photos(beta=beta) for beta in BETAS}
    better = [label for label, runs in groups.items() if lt.metrics.beyond(runs, base).verdict == "clearly better"]
    if len(better) == 1:
        truth = f"only {better[0]}"
    else:
        truth = {0: "none of them", 4: "all four"}.get(len(better), " and ".join(better))
    more = {"sigmoid, β = 0.999": photos("sigmoid"), "focal, β = 0.999": photos("focal")}
    cost = at_equal_cost(groups["β = 0.99"], base)
    return beyond_the_line.reveal(
        [lt.plot_who_pays({**groups, **more}, base)],
        truth=truth,
        because="And the dot at β = 0.99? Set the slider so that the frequent classes keep at least as much. Against "
        f"it, the rare classes of β = 0.99 have {points(cost['tail'])}, the **middle** ones {points(cost['mid'])}, "
        f"all classes together {points(cost['all'])}. The middle classes pay, and this chart does not show them. "
        "Sigmoid and focal at β = 0.999 lie where softmax does.",
    )


# --------------------------------------------------------------------------------------------- where sources disagree
def sources_disagree():
    """The four readings in circulation, folded, each with what it changes."""
    z, y = torch.tensor([[2.0, -1.0, 0.5, 0.0]]), torch.tensor([0])
    p = torch.sigmoid(z * torch.tensor([1.0, -1.0, -1.0, -1.0]))
    printed = float(((1 - p) * p.log()).sum())
    losses, w = torch.tensor([1.0, 2.0]), torch.tensor([0.05, 4.0])
    by_n, by_weight = float((w * losses).mean()), float((w * losses).sum() / w.sum())
    other = lt.metrics.paired(photos(reduction="weight"), photos())
    decayed = lt.metrics.paired(
        lt.recorded("cifar16", "sigmoid", decay_bias=True), lt.recorded("cifar16", "sigmoid", decay_bias=False)
    )
    right = float(lt.methods.focal.focal_loss(z, y, 1.0, form="sigmoid")[0])
    table = lt.published.published("CIFAR-10-LT", key="class_balanced", source="Cui et al. 2019, table 2")
    best = ", ".join(f"{row.value:g} at ratio {row.ratio:g}" for row in table.itertuples())
    lines = [
        "**The mean of a weighted loss.** The authors' code divides by the number of images; PyTorch's "
        "`cross_entropy(weight=...)` and the code of Cao et al. (2019) by the sum of their weights. Losses 1 and 2 "
        f"under weights 0.05 and 4 give {by_n:.3f} or {by_weight:.3f}. The sum changes from batch to batch, so these "
        "are two optimisation problems: state which one you solve. On the photographs at β = 0.999 the second gives "
        f"{points(other)}. Here: `reduction='weight'`.",
        "**Weight decay on the last bias.** A summary in circulation says that only this bias is decayed. The paper "
        "(section 5.2) and its code say the opposite for the sigmoid forms: everything *except* this bias. Decaying "
        f"it as well changes the plain sigmoid loss on the photographs by {points(decayed)}. Here: `decay_bias=True`.",
        "**A lost sign.** The same summary prints the focal form without its minus. On the four logits above it "
        f"gives {printed:.3f}, a loss below zero, which rewards mistakes; eq. (13) gives {right:.3f}.",
        "**A row that is the best of many.** The paper's class-balanced row on CIFAR-10-LT (errors in percent: "
        f"{best}) is, at each ratio, the best of several losses, β and γ, and its code holds out no validation set. "
        "Later work quotes the "
        'row as "CB focal", which it is not at every ratio.',
    ]
    title = "Where sources disagree"
    html = box("note", "SOURCES", title, fold("Four readings, and what each one changes", bullets(lines)))
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
prototypes.""",
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


_LOGITS, _TARGETS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 1.0, 0.0]]), torch.tensor([0, 2])
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
            (_LOGITS, _TARGETS, torch.tensor([0.05, 0.95, 2.0], dtype=torch.float64)),
            "Weight each image by the class that it belongs to, then divide by the number of images.",
            gradient=True,
        ),
        lt.study.Case(
            "logits of 100, in float32",
            (torch.tensor([[100.0, -100.0]]), torch.tensor([1]), torch.tensor([0.5, 1.5])),
            _OVERFLOW,
        ),
        lt.study.Case(
            "logits of 1,000, with gradient",
            (torch.tensor([[1000.0, -1000.0]]), torch.tensor([1]), torch.tensor([0.5, 1.5], dtype=torch.float64)),
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
        "The weight is that of the image's place in the batch. Take its class's.": lambda logits, targets, weight: (
            weight[: len(targets)] * lt.functional.cross_entropy(logits, targets)
        ).mean(),
    },
    given={"torch": torch},
)


# ------------------------------------------------------------------------------------------------------------ quiz
def quiz():
    """Five questions; a question's plots are of the photographs' counts."""
    counts = torch.as_tensor(lt.recorded("cifar16", "ce", seed=0)[0].counts)

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
                    "A": "In A the frequent classes all weigh the same: they are past $1/(1-\\beta)$, so β is small.",
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
                "On the bench (at most 114 images a class), $\\beta = 0.999$ and $\\beta = 0.9999$ give almost the "
                "same accuracy. Why?",
                {
                    "Digits are too easy for weights to matter.": "They do matter there: compare with no weights in "
                    "the lab.",
                    "Both give nearly one over the count.": "Yes: far below $1/(1-\\beta)$ images nothing overlaps, "
                    "whatever β.",
                    "The seeds hide a large difference.": "The class weights themselves are nearly the same.",
                },
                "Both give nearly one over the count.",
            ),
        ]
    )
