"""Chapter 07: its predictions, exercises and quiz, and the figures that they open."""
# ruff: noqa: E501  (text for readers is not cut into lines)

import os
from dataclasses import replace
from functools import cache
from itertools import combinations

import numpy as np
import torch

import ltviz as lt
from ltviz.explore.two_rings import EPOCHS, RATE, SHOWN
from ltviz.methods.darl import darl_weights, relative_length
from ltviz.plots.picture import EDGE, PALETTE, QUIET, Picture, draws, get_axes, new_figure
from ltviz.plots.theme import PHOTO
from ltviz.study.cards import Card, box, bullets, inline, plain, safe, show
from ltviz.study.kinds import Found, Order
from ltviz.training.snapshots import take_snapshots

GRID = (0.01, 0.1, 1.0, 10.0)  # of the strength of the second ring
DATA = {"digits": "the bench", "cifar16": "the photographs"}
FAST = os.environ.get("LTVIZ_PROFILE") == "fast"
SEEDS, PLANES = (2, 2) if FAST else (10, 4)  # of the bench network, and of the explorer's network with two features


# ------------------------------------------------------------------------------------------------------------- runs
def plain_of(data):
    """The plain network's recorded runs, one a seed."""
    return lt.recorded(data, "ce")


def ring(data, strength=0.01):
    """Ring loss, at this strength."""
    return lt.recorded(data, "ring", strength=strength)


def up(data):
    """UP in the reading of the Dual Loss: all vectors to their mean length, strength 10."""
    return lt.recorded(data, "up", strength=10.0, reading="all")


def dual_ring(data, vectors=1.0):
    """Both rings: 0.01 on the features, this strength on the vectors."""
    return lt.recorded(data, "dual_ring", weight_strength=vectors)


def darl(data, reweighting=0.5, detach=True):
    """Re-weighting alone."""
    return lt.recorded(data, "darl", class_strength=reweighting, detach=detach)


def dual(data, vectors=1.0, reweighting=0.5):
    """The whole: both rings and re-weighting."""
    return lt.recorded(data, "dual", weight_strength=vectors, class_strength=reweighting)


def parts(data):
    """Label -> runs: the plain network, three parts and the whole, with λ₁ = 0.01, λ₂ = 1, λ₃ = λ₄ = 0.5."""
    return {
        "cross-entropy": plain_of(data),
        "ring": ring(data),
        "dual ring": dual_ring(data),
        "DARL": darl(data),
        "dual": dual(data),
    }


# ---------------------------------------------------------------------------------------------------------- measures
def points(found):
    """A paired difference in percentage points, with its 95% interval and verdict."""
    mean = f"{100 * found.mean:+.1f}".replace("-0.0", "0.0").replace("+0.0", "0.0")
    return f"**{mean} ± {100 * found.half:.1f}** points ({found.verdict})"


def against(ours, base, group="all"):
    """The paired difference of two lists of runs, in words."""
    return points(lt.metrics.paired(ours, base, group))


def sure(found):
    """The verdict on a difference of ratios, which are neither better nor worse: clear, suggestive or undecided."""
    return found.verdict.split()[0].rstrip(":").replace("clearly", "clear")


def established(data, make):
    """Each pair of strengths of the second ring whose accuracies differ by more than an undecided verdict: (which, difference)."""
    runs = {strength: make(data, strength) for strength in GRID}
    found = {(a, b): lt.metrics.paired(runs[b], runs[a]) for a, b in combinations(GRID, 2)}
    return [
        (f"{b:g} against {a:g}", points(one)) for (a, b), one in found.items() if one.verdict != lt.metrics.UNDECIDED
    ]


def ratio_against(measure, runs, base):
    """A ratio of lengths, mean over seeds, and whether it says that the lengths are more or less equal than in `base`."""
    found = lt.metrics.paired([measure(run) for run in runs], [measure(run) for run in base])
    way = "less equal" if "better" in found.verdict else "more equal"  # a larger ratio is no better one
    said = {"clear": way, "suggestive": f"suggestive: {way}"}.get(sure(found), "undecided")
    return f"**{mean_of(measure, runs):.2f}** ({said})"


def table(head, rows):
    """Rows of texts, with inline markdown, as a card."""
    look = 'style="text-align:left;padding:.2em .8em"'
    top = "".join(f"<th {look}>{safe(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td {look}>{inline(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    lines = [" | ".join(map(plain, row)) for row in (head, *rows)]
    return Card(f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>", "\n".join(lines))


def together(*parts):
    """Several cards as one."""
    return Card(show(list(parts)), "\n".join(part.text for part in parts))


def vectors(run):
    """Longest classifier vector over the shortest."""
    lengths = np.linalg.norm(run.head_weight, axis=1)
    return float(lengths.max() / lengths.min())


def features(run):
    """Mean feature length of the class with the longest features over that of the class with the shortest."""
    return float(run.class_feature_norm.max() / run.class_feature_norm.min())


def mean_of(measure, runs):
    return float(np.mean([measure(run) for run in runs]))


def class_factor(run, strength=0.5):
    """DARL's factor for each class (k,), from the run's classifier vectors: 1 - strength r(W)."""
    return (1 - strength * relative_length(torch.as_tensor(run.head_weight))).numpy()


def over_seeds(values):
    """The mean over seeds, with its range."""
    return f"**{np.mean(values):.2f}** ({min(values):.2f} to {max(values):.2f})"


# ---------------------------------------------------------------------------------------------------------- pictures
@draws
def plot_long_and_short(run, photographs, n=9):
    """Of a hundred test photographs, those with the longest and those with the shortest features."""
    lengths = np.linalg.norm(run.features[: len(photographs.images)].astype(float), axis=1)
    order = np.argsort(-lengths)
    figure = new_figure(9.4, 3.0)
    axes = figure.subplots(2, n)
    for row, name, some in zip(axes, ("longest", "shortest"), (order[:n], order[-n:]), strict=True):
        for ax, i in zip(row, some, strict=True):
            ax.imshow(photographs.images[i], gid=PHOTO, interpolation="bicubic")
            ax.set(xticks=[], yticks=[])
            ax.grid(False)
            ax.spines[:].set_visible(False)
            ax.set_title(f"{photographs.names[i]}\n{lengths[i]:.1f}", fontsize=8.5, loc="center")
        row[0].set_ylabel(name, fontsize=10)
    text = (
        f"Photographs with their class and the length of their feature. Longest: {lengths[order[0]]:.1f} to "
        f"{lengths[order[n - 1]]:.1f}; shortest: {lengths[order[-n]]:.1f} to {lengths[order[-1]]:.1f}."
    )
    return Picture(list(axes.ravel()), {"lengths": lengths, "order": order}, text)


def say_long_and_short(run):
    """How often the network is right on the longer half of the features and on the shorter, and whose they are."""
    lengths, right = np.linalg.norm(run.features.astype(float), axis=1), run.logits.argmax(1) == run.targets
    longer = lengths > np.median(lengths)
    return lt.say(
        f"Of all {len(lengths):,} test photographs (plain network, seed {run.seed}), it is right on **{right[longer].mean():.0%}** of those "
        f"with the longer features, and on **{right[~longer].mean():.0%}** of the others."
    )


@cache
def kinds(data):
    """What the figure and the table of lengths compare."""
    return {
        "cross-entropy": plain_of(data),
        "ring, λ₁ = 0.01": ring(data),
        "ring, λ₁ = 0.1": ring(data, 0.1),
        "UP, all vectors, λ = 10": up(data),
        "dual ring, λ₂ = 0.01": dual_ring(data, 0.01),
        "dual ring, λ₂ = 1": dual_ring(data),
        "DARL, 0.5": darl(data),
        "DARL, 0.9": darl(data, 0.9),
        "dual, λ₂ = 1": dual(data),
    }


@draws
def plot_lengths():
    """Longest over shortest: mean feature lengths of the classes, and classifier vectors. Mean of ten seeds."""
    axes = get_axes(None, 9.4, 3.9, panels=2, sharey=True)
    values, said = {}, []
    for ax, (data, name) in zip(axes, DATA.items(), strict=True):
        groups = kinds(data)
        rows = np.arange(len(groups))
        for measure, marker, colour, up_, label in (
            (features, "o", PALETTE[0], -0.13, "features (mean of a class)"),
            (vectors, "s", PALETTE[1], 0.13, "classifier vectors"),
        ):
            found = np.array([[measure(run) for run in runs] for runs in groups.values()])
            for row, dots in zip(rows, found, strict=True):
                ax.plot(dots, np.full(len(dots), row + up_), marker, color=colour, markersize=3, alpha=0.35)
            ax.plot(found.mean(1), rows + up_, marker, color=colour, markersize=7, label=label, **EDGE)
            values[f"{data}: {label}"] = found.mean(1)
        ax.axvline(1, color=QUIET, linewidth=1, linestyle=(0, (1, 2)))
        ax.set_yticks(rows, list(groups), fontsize=8.5)
        ax.set(ylim=(len(groups) - 0.5, -0.5), xlim=(0.9, None), xlabel="longest / shortest (1: all equal)")
        ax.set_title(f"On {name}", fontsize=10)
        both = values[f"{data}: features (mean of a class)"], values[f"{data}: classifier vectors"]
        told = [f"{label} {x:.2f} and {y:.2f}" for label, x, y in zip(groups, *both, strict=True)]
        said.append(f"On {name}, longest over shortest of features and of vectors: {'; '.join(told)}")
    axes[0].figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=9)
    return Picture(axes, values, ". ".join(said) + ".")


@draws
def plot_grid():
    """The strength of the second ring: how unequal the vectors are, and accuracy against the plain network."""
    left, right = get_axes(None, 9.4, 3.5, panels=2)
    values, said = {"strength": GRID}, []
    for i, (data, name) in enumerate(DATA.items()):
        for j, (make, loss) in enumerate(((dual_ring, "dual ring"), (dual, "dual"))):
            runs = [make(data, strength) for strength in GRID]
            ratio = [mean_of(vectors, one) for one in runs]
            gains = [lt.metrics.paired(one, plain_of(data)) for one in runs]
            kind = {"color": PALETTE[i], "linestyle": ("-", (0, (3, 1.6)))[j], "marker": "os"[j], "markersize": 6}
            left.plot(GRID, ratio, label=f"{loss}, {name}", **kind, **EDGE)
            x = np.array(GRID) * 10 ** (0.05 * (2 * i + j - 1.5))
            gain, half = (100 * np.array([getattr(one, at) for one in gains]) for at in ("mean", "half"))
            right.errorbar(x, gain, yerr=half, elinewidth=1.2, **kind, **EDGE)
            values[f"{data}, {loss}: ratio"], values[f"{data}, {loss}: gain"] = ratio, gain
            said.append(
                f"{loss} on {name}: vectors {ratio[0]:.2f} to {ratio[-1]:.3f}, gain {gain.min():+.1f} to {gain.max():+.1f} points"
            )
    for ax in (left, right):
        ax.set(xscale="log", xlabel="λ₂, strength of the vectors' ring (log scale)")
        ax.set_xticks(GRID, [f"{one:g}" for one in GRID])
        ax.minorticks_off()
    left.set_title("Longest vector / shortest", fontsize=10)
    right.set_title("Accuracy against cross-entropy, points", fontsize=10)
    right.axhline(0, color=QUIET, linewidth=1)
    left.figure.legend(
        *left.get_legend_handles_labels(), loc="outside lower center", ncols=4, handlelength=3.6, fontsize=8.5
    )
    return Picture([left, right], values, "; ".join(said) + ".")


def say_grid():
    """What the second ring changes over its whole grid: the lengths, and the accuracy between any two strengths."""
    ratios = [
        (f"on {name}", *(f"{mean_of(vectors, runs):{digits}}" for runs, digits in (
            (plain_of(data), ".2f"), (dual_ring(data, 0.01), ".2f"), (dual_ring(data, 10.0), ".3f"))))
        for data, name in DATA.items()
    ]  # fmt: skip
    differ = [
        (f"{loss} on {name}, {pair}", difference)
        for data, name in DATA.items()
        for make, loss in ((dual_ring, "dual ring"), (dual, "the whole"))
        for pair, difference in established(data, make)
    ]
    n = len(DATA) * 2 * len(list(combinations(GRID, 2)))
    return together(
        table(("longest vector / shortest", "cross-entropy", "dual ring, λ₂ = 0.01", "dual ring, λ₂ = 10"), ratios),
        lt.say(
            f"So λ₂ decides how equal the vectors are. Accuracy: of the {n} pairs of two strengths (two losses, two data sets), the difference is "
            f"undecided in {n - len(differ)}. Luck alone would make about {n / 20:.0f} of {n} pairs suggestive. "
            "The others, and, on the bench, λ₂ = 1 against no second ring:"
        ),
        table(
            ("λ₂", "accuracy"),
            [*differ, ("dual ring on the bench, 1 against ring loss", against(dual_ring("digits"), ring("digits")))],
        ),
    )


def spreads_of_two_features(seeds=PLANES):
    """SD / mean of the lengths of all training features in the explorer's network: under cross-entropy, under UP, one a seed."""
    data, recipe = (
        lt.digits_lt(ratio=20),
        replace(lt.RECIPES["digits"], name="plane", model="plane", epochs=EPOCHS, lr=RATE),
    )
    mean = {"feature_strength": 0.0, "weight_strength": 10.0, "target": "mean"}
    films = [
        [take_snapshots(method, data, (SHOWN, EPOCHS), recipe=recipe, seed=seed, **settings) for seed in range(seeds)]
        for method, settings in (("ce", {}), ("dual_ring", mean))
    ]
    return [[lt.metrics.spread(np.linalg.norm(film.features[0], axis=1)) for film in some] for some in films]


def say_two_features():
    """What UP does to the lengths of the features in the explorer's network, under several seeds, beside the bench."""
    bare, ours = spreads_of_two_features()
    fell = sum(a < b for a, b in zip(ours, bare, strict=True))
    rows = [
        (f"seed {seed}{' (the explorer)' if seed == 0 else ''}", f"{a:.1%}", f"{b:.1%}")
        for seed, (a, b) in enumerate(zip(bare, ours, strict=True))
    ]
    return together(
        table((f"SD / mean of all features, epoch {SHOWN}", "cross-entropy", "UP, mean radius, λ₂ = 10"), rows),
        lt.say(
            f"UP makes the features of this network more equal under **{fell} of {len(bare)}** seeds; the mean change is {sure(lt.metrics.paired(ours, bare))}. "
            f"On the bench it makes them less equal: longest class mean over shortest {ratio_against(features, up('digits'), plain_of('digits'))}, "
            f"where cross-entropy has {mean_of(features, plain_of('digits')):.2f} (ten seeds)."
        ),
    )


# ------------------------------------------------------------------------------------------------------ predictions
what_of_vectors = lt.Predict(
    "Ring loss (λ₁ = 0.01, learned radius) pulls the lengths of the **features** towards one value; no classifier vector is in its formula. "
    f"On the bench, cross-entropy leaves the longest vector {mean_of(vectors, plain_of('digits')):.2f} times as long as the shortest. "
    "What does ring loss do to the lengths of the **vectors**?",
    choices=["makes them more equal", "changes the ratio by less than 2%", "makes them less equal"],
    default="makes them more equal",
)


def open_what_of_vectors():
    """Lengths of features and vectors under every part, on both data sets."""
    bare, ringed = ([vectors(run) for run in make("digits")] for make in (plain_of, ring))
    change = np.mean(ringed) / np.mean(bare) - 1
    more = sum(a > b for a, b in zip(ringed, bare, strict=True))
    enough = min(strength for strength in GRID if mean_of(vectors, dual_ring("digits", strength)) < np.mean(bare))
    groups = {data: kinds(data) for data in DATA}
    rows = []
    for name in groups["digits"]:
        both = [(data, measure) for data in DATA for measure in (features, vectors)]
        cells = [ratio_against(by, groups[data][name], groups[data]["cross-entropy"]) for data, by in both]
        bare_cells = [f"**{mean_of(by, groups[data][name]):.2f}**" for data, by in both]
        rows.append((name, *(bare_cells if name == "cross-entropy" else cells)))
    return what_of_vectors.reveal(
        [
            plot_lengths(),
            "Features: longest class mean over shortest. Vectors: longest over shortest. 1 means equal; means of ten seeds, each verdict against cross-entropy.",
            table(("", *(f"{name}: {what}" for name in DATA.values() for what in ("features", "vectors"))), rows),
        ],
        truth=what_of_vectors.options[0 if change < -0.02 else 2 if change > 0.02 else 1],
        because=f"The longest vector is {np.mean(ringed):.2f} times as long as the shortest (mean of {len(bare)} seeds), and the ratio rises under {more} of them. "
        "A likely reason: with shorter features the network has to lengthen its vectors for the same scores, and those of frequent classes are pulled most. "
        "**On the bench, each ring alone makes its own lengths more equal and the other lengths less equal.** Both become more equal under dual ring and "
        f"under the whole (on the bench with λ₂ from {enough:g}), and on the bench, less strongly, under DARL alone. On the photographs the features are nearly equal without any ring.",
    )


still_less = lt.Predict(
    "The whole Dual Loss with λ₂ = 10, on the bench: its second ring makes the vectors equal to within "
    f"{100 * (max(map(vectors, dual('digits', 10.0))) - 1):.1f}% under every seed. DARL weights with λ₃ = 0.5. "
    "Take two images with equally long features, one of the class with the **longest** vector, one of the class with the shortest. What is the "
    "weight of the first, divided by that of the second?",
    number=(0.0, 1.5, 0.05),
    default=1.0,
)


def open_still_less():
    """The class part of DARL's weights in the networks whose vectors are equal."""
    runs = dual("digits", 10.0)
    ratio = [vectors(run) for run in runs]
    found = [class_factor(run) for run in runs]
    ends = [float(one.min() / one.max()) for one in found]
    follow = [lt.metrics.weight_norm_fit(run).rho for run in runs]

    def share(make, group):
        return np.mean(
            [class_factor(run)[lt.metrics.third_groups(run.counts)[group]].mean() for run in make], dtype=float
        )

    equal, unequal = ([share(one, group) for group in ("head", "tail")] for one in (runs, dual("digits", 0.01)))
    return still_less.reveal(
        lt.say(
            f"Longest over shortest vector: {min(ratio):.4f} to {max(ratio):.4f}. What is left of the differences still follows the counts: rank "
            f"correlation {min(follow):.2f} to {max(follow):.2f}.",
            f"So the factor of the class in the weight, 1\u00a0-\u00a0λ₃\u00a0r, is **{equal[0]:.2f}** for the frequent and **{equal[1]:.2f}** for the rare classes on average. "
            f"With λ₂ = 0.01, where the vectors are unequal, it is {unequal[0]:.2f} and {unequal[1]:.2f}: nearly the same weights.",
        ),
        truth=float(np.mean(ends)),
        tolerance=0.02,
        because="Equations (5) and (6) subtract the minimum and divide by the range. However small the range, the longest has "
        "$r = 1$ and the shortest $r = 0$. Only where all lengths are *exactly* equal is there no range; then every weight is 1.",
    )


class UpToTies(Order):
    """An order in which items that cannot be told apart may stand either way: `ties`, pairs of them."""

    ties = ()

    def compare(self, answer, truth, tolerance):
        rank, free = {item: i for i, item in enumerate(truth)}, [set(pair) for pair in self.ties]
        pairs = list(combinations(answer, 2))
        good = sum(rank[a] < rank[b] or {a, b} in free for a, b in pairs)
        how = f"{good} of {len(pairs)} pairs are in the right order."
        for a, b in self.ties:
            how += f" {a[0].upper()}{a[1:]} and {b} cannot be told apart: either order of the two counts as right."
        return Found(good == len(pairs), how, float(len(pairs) - good))


PARTS = ("ring", "DARL", "dual (the whole)", "dual ring")
which_order = lt.Predict(
    "Mean accuracy over all classes on the bench, ten seeds, λ₁ = 0.01, λ₂ = 1, λ₃ = λ₄ = 0.5. Put the best first.",
    order=PARTS,
    default=["dual (the whole)", "dual ring", "ring", "DARL"],
)
which_order.asks = UpToTies(PARTS)


def open_which_order():
    """All parts on the bench, each against cross-entropy, and the whole against its parts."""
    groups = parts("digits")
    named = {
        "dual (the whole)": groups["dual"],
        "dual ring": groups["dual ring"],
        "ring": groups["ring"],
        "DARL": groups["DARL"],
    }
    order = sorted(named, key=lambda name: -np.mean([run.accuracy for run in named[name]]))
    which_order.asks.ties = tuple(
        pair
        for pair in combinations(order, 2)
        if lt.metrics.paired(*(named[name] for name in pair)).verdict == lt.metrics.UNDECIDED
    )
    whole = {name: against(groups["dual"], groups[name]) for name in ("dual ring", "ring", "DARL")}
    return which_order.reveal(
        [
            lt.plot_comparison(groups),
            lt.say(
                f"The whole against its parts: {'; '.join(f'{name} {one}' for name, one in whole.items())}.",
                f"Dual ring against ring: {against(groups['dual ring'], groups['ring'])}. UP alone against cross-entropy: "
                f"{against(up('digits'), groups['cross-entropy'])}.",
            ),
        ],
        truth=order,
        because="The features' ring gives most of dual ring's gain. Adding DARL's weights to both rings at λ₂ = 1 takes some of it away. For DARL alone at "
        f"0.5 no change of the mean is established (at 0.9: {against(darl('digits', 0.9), groups['cross-entropy'])}). So the whole is not better than its best part.",
    )


photos_part = lt.Predict(
    "The same losses on the **photographs**, all classes, ten seeds, each against cross-entropy. Which part alone gains **clearly**?",
    choices=["the features' ring", "the vectors' ring", "DARL", "none of them"],
    default="the features' ring",
)


def open_photos_part():
    """The table of the chapter: the parts on the photographs."""
    groups = {
        **parts("cifar16"),
        "UP (all vectors, λ = 10)": up("cifar16"),
        "DARL, λ₃ = λ₄ = 0.9": darl("cifar16", 0.9),
    }
    base, strong = groups["cross-entropy"], groups["DARL, λ₃ = λ₄ = 0.9"]
    found = {
        "the features' ring": lt.metrics.paired(groups["ring"], base),
        "the vectors' ring": lt.metrics.paired(groups["UP (all vectors, λ = 10)"], base),
        "DARL": lt.metrics.paired(groups["DARL"], base),
    }
    gained = [name for name, one in found.items() if one.verdict == "clearly better"]
    best = max(gained, key=lambda name: found[name].mean) if gained else "none of them"
    weak = groups["DARL"]
    rows = [
        (name, *(against(ours, theirs, group) for group in ("all", "head", "mid", "tail")))
        for name, ours, theirs in (
            ("DARL at 0.5 against cross-entropy", weak, base),
            ("DARL at 0.9 against cross-entropy", strong, base),
            ("the whole against DARL at 0.5", groups["dual"], weak),
            ("the whole against dual ring", groups["dual"], groups["dual ring"]),
        )
    ]
    return photos_part.reveal(
        [
            lt.study.comparison(groups),
            "Who gains from DARL, and what the whole adds:",
            table(("", "all", "frequent", "middle", "rare"), rows),
            "And a stronger or weaker second ring? λ₂ from 0.01 to 10, everything else as above:",
            plot_grid(),
            say_grid(),
        ],
        truth=best,
        because="DARL lets images of frequent classes weigh less, because the vectors of these classes are long: the frequent classes lose, the middle ones gain. "
        "At 0.9 they lose most. On the bench ring and dual ring gain, on the photographs DARL does; on neither data set does the whole beat its best part at these strengths.",
    )


LONG = round(float(np.mean([run.class_feature_norm.mean() for run in plain_of("digits")])), 1)
SHORT = round(float(np.mean([run.class_feature_norm.mean() for run in ring("digits")])), 1)
equal_or_short = lt.Predict(
    f"On the bench, cross-entropy leaves features of length {LONG} (mean over classes), ring loss of {SHORT}: more equal, and shorter. Now "
    f"**fix** the radius at {LONG}: the features become at least as equal, and stay long. How much of the ring's gain is left?",
    choices=["three quarters or more", "half to three quarters", "under half"],
    default="three quarters or more",
)


def train_targets(seeds=SEEDS):
    """The features' ring alone on the bench, its radius fixed at two lengths or at each batch's mean: label -> runs."""
    data = lt.digits_lt(class_order="seed")
    ways = {
        f"fixed at {LONG}": {"target": "fixed", "feature_target": LONG},
        f"fixed at {SHORT}": {"target": "fixed", "feature_target": SHORT},
        "mean of each batch": {"target": "mean"},
    }
    print(
        f"Here {len(ways) * seeds} small networks are trained; {'a few' if FAST else 'about ten'} seconds on two CPU cores.",
        flush=True,
    )
    return {
        name: lt.sweep("dual_ring", data, weight_strength=0.0, seeds=seeds, progress=False, **way)
        for name, way in ways.items()
    }


def growth(seeds):
    """Ring loss on the bench, one a seed: mean length of the training features before the first step, learned radius at the end."""
    data, last = lt.digits_lt(class_order="seed"), lt.RECIPES["digits"].epochs
    films = [take_snapshots("ring", data, (0, last), seed=seed) for seed in range(seeds)]
    lengths = [float(np.linalg.norm(film.features[0], axis=1).mean()) for film in films]
    return lengths, [float(film.loss_numbers["radius"][-1]) for film in films]


def open_equal_or_short(trained):
    """What is left of the gain at each radius."""
    n = len(next(iter(trained.values())))
    base = plain_of("digits")[:n]
    groups = {"no ring (cross-entropy)": base, "learned": ring("digits")[:n], **trained}
    gain = {name: lt.metrics.paired(runs, base) for name, runs in groups.items() if runs is not base}
    rows = [
        (
            name,
            f"{np.mean([run.class_feature_norm.mean() for run in runs]):.1f}",
            f"{mean_of(features, runs):.2f}",
            points(gain[name]) if name in gain else "–",
        )
        for name, runs in groups.items()
    ]
    left = gain[f"fixed at {LONG}"].mean / gain["learned"].mean
    options = equal_or_short.options
    long_, short, mean = trained.values()
    start, end = growth(n)
    apart, between = lt.metrics.paired(short, long_), lt.metrics.paired(mean, long_)
    kept = {
        name: np.mean([run.class_feature_norm.mean() for run in runs])
        for name, runs in (("mean", mean), ("long", long_))
    }
    decided = "better" in apart.verdict
    reading = (
        "So on the bench the gain seems to come **less from equal features than from short ones**."
        if decided
        else f"Whether the gain comes from equal features or from short ones, {n} seeds leave open."
    )
    return equal_or_short.reveal(
        [
            table(
                ("radius", "length (mean of the classes)", "longest class / shortest", "gain over cross-entropy"), rows
            ),
            lt.say(
                f"Before the first step the features have a mean length of **{np.mean(start):.1f}** ({min(start):.1f} to {max(start):.1f} over "
                f"{n} seeds). About there, at the mean of the first batch, the learned radius starts; after the last epoch it is **{np.mean(end):.1f}** ({min(end):.1f} to {max(end):.1f})."
            ),
        ],
        truth=options[0 if left >= 0.75 else 2 if left < 0.5 else 1],
        because=f"{100 * gain[f'fixed at {LONG}'].mean:+.1f} of {100 * gain['learned'].mean:+.1f} points ({n} seeds, trained just now). At {SHORT} instead of {LONG}: "
        f"{points(apart)}. {reading} The learned radius starts at the still shorter length of the first batch, grows to only "
        f"{min(end):.1f} to {max(end):.1f}, and holds the features back. {'The evidence is not strong: with' if decided else 'With'} the mean of each batch as radius, the features "
        f"have a length of {kept['mean']:.1f}, and the gain is {points(gain['mean of each batch'])}. Against {LONG} fixed, where the features are about as equal, "
        f"that is {points(between)}. Shorter features ({kept['mean']:.1f} against {kept['long']:.1f}) would explain it; nothing here tests that.",
    )


# ---------------------------------------------------------------------------------------------------- who pays, claims
def say_beyond():
    """Every part against cross-entropy and against the slider, on the photographs; in words, on the bench."""
    base = plain_of("cifar16")
    groups = {name: runs for name, runs in parts("cifar16").items() if name != "cross-entropy"}
    verdicts = {name: lt.metrics.beyond(runs, base) for name, runs in groups.items()}
    rows = [
        (
            name,
            *(points(lt.metrics.paired(runs, base, group)) for group in ("head", "mid", "tail")),
            points(verdicts[name]),
        )
        for name, runs in groups.items()
    ]
    better = [f"{name} ({one.verdict})" for name, one in verdicts.items() if "better" in one.verdict]
    bench = {name: lt.metrics.beyond(runs, plain_of("digits")) for name, runs in parts("digits").items()}
    found = table(("against cross-entropy", "frequent", "middle", "rare", "rare, against the slider"), rows)
    told = lt.say(
        f"{'Beyond the slider: ' + ', '.join(better) if better else 'No part, nor the whole, is established beyond the slider'}. On the bench these intervals are wide: "
        + "; ".join(f"{name} {points(one)}" for name, one in bench.items() if name != "cross-entropy")
        + "."
    )
    return together(found, told)


def ups(data):
    """Both readings of UP on this data set, against cross-entropy."""
    base, rare = plain_of(data), (lt.recorded(data, "up", strength=one, reading="rare") for one in (0.01, 10.0))
    weak, strong = (against(runs, base) for runs in rare)
    return f"on {DATA[data]}, rare reading at 0.01 {weak}, at 10 {strong}, all classes at 10 {against(up(data), base)}"


def left_open():
    """What the source does not say, folded, each with what it changes."""
    lines = [
        "**A constant or not.** The slides do not say whether DARL's weights are constants for the gradient. Here they are (`detach=True`). "
        "Otherwise a network can lower its loss by making the features of difficult images *longer*. DARL, not detached against detached: on "
        f"the photographs {against(darl('cifar16', detach=False), darl('cifar16'))}, on the bench "
        f"{against(darl('digits', detach=False), darl('digits'))}. Features then grow longer: mean length on the photographs "
        f"{np.mean([run.class_feature_norm.mean() for run in darl('cifar16', detach=False)]):.2f} against "
        f"{np.mean([run.class_feature_norm.mean() for run in darl('cifar16')]):.2f}.",
        "**The radii.** Learned, fixed or the mean: not stated. Learned (the default here) and mean are satisfied by any common length, so all "
        "lengths may drift together.",
        "**The strengths** λ₁ to λ₄ are not published. In eq. (3) the second ring is divided by the number of classes: at λ₂ = 0.01 and ten "
        f"classes each vector is pulled with {0.01 / 10:g} times its distance from the ring; weight decay pulls with "
        f"{lt.RECIPES['digits'].weight_decay:g} times its length.",
        "**UP.** Guo & Zhang (2017) act on the rare classes alone (`reading='rare'`: the *squared* lengths as we understand it; not checked in the paper); in "
        f"eq. (3) the term is over all classes, and compares lengths, not squared lengths (`reading='all'`). Accuracy against cross-entropy: {'; '.join(map(ups, DATA))}.",
        "**Ring loss** with or without the ½: a public code leaves it out, which is this one at twice the strength.",
    ]
    title = "What the source leaves open"
    html = box("note", "SOURCES", title, bullets(lines))
    return Card(html, "\n".join([f"{title}:", *map(plain, lines)]))


def _error(key, ratio, method=None):
    """A printed error of CIFAR-10-LT in percent: of the slides, or of Cui et al. whose rows they repeat."""
    source = "Li et al. 2020 (Dual Loss), slides" if key == "dual" else "Cui et al. 2019, table 2"
    table = lt.published.published("CIFAR-10-LT", key=key, ratio=ratio, source=source)
    return float(table[table.method == method].value.iloc[0] if method else table.value.iloc[0])


def _holds(found, printed=None):
    """Whether a printed lead is there: True or False where p < .05, else undecided; and whether it is of the printed size."""
    if found.n < 2:
        return found.verdict
    if found.verdict == "undecided":
        return "undecided"
    if "better" not in found.verdict:
        return False
    same = printed is None or abs(100 * found.mean - printed) <= 100 * found.half
    return True if same else "direction yes, size no"


def claims():
    """The slides' claims beside what is measured here."""
    photos, base = parts("cifar16"), plain_of("cifar16")
    full = {
        run.method: run
        for run in lt.recorded("dual-cifar10", ["ce", "dual", "class_balanced"])
        if run.data["ratio"] == 100
    }
    error = {key: 100 * (1 - run.accuracy) for key, run in full.items()}
    printed = {"dual": _error("dual", 100), "ce": _error("ce", 100), "class_balanced": _error("class_balanced", 100)}
    balanced = lt.recorded("cifar16", "class_balanced", loss="focal", beta=0.9999)
    default = dual("cifar16", 0.01)
    ten = "the photographs (16 × 16), ten seeds, accuracy; dual with λ₂ = 0.01"
    size = "full size: ResNet-32, 32 × 32, one seed; dual with λ₂ = 0.01"
    first, second = lt.metrics.paired(default, base), lt.metrics.paired(default, balanced)
    manga = {
        row.key: row.value
        for row in lt.published.published("Manga109", metric="rank1").itertuples()
        if row.method != "CB"
    }

    def at_full_size(other):
        return f"error {error['dual']:.2f} against {error[other]:.2f} ({error[other] - error['dual']:+.2f} points)"

    lead = printed["ce"] - printed["dual"]
    claim = f"CIFAR-10-LT, ratio 100: error **{printed['dual']:.2f}** against **{printed['ce']:.2f}** with softmax"
    row = f"the same {printed['dual']:.2f} against **{printed['class_balanced']:.2f}** in the row “CB Focal”"
    rows = [
        (claim, ten, f"{points(first)}, where {lead:.1f} are printed", _holds(first, lead)),
        ("the same", size, at_full_size("ce"), lt.metrics.ONE_SEED),
        (row, f"class-balanced focal (chapter 04's β = 0.9999, γ = 1); {ten}", points(second), _holds(second)),
        ("the same", size, at_full_size("class_balanced"), lt.metrics.ONE_SEED),
    ]
    for data, name in DATA.items():
        groups = photos if data == "cifar16" else parts(data)
        best = max(
            ("ring", "dual ring", "DARL"),
            key=lambda part, groups=groups: np.mean([run.accuracy for run in groups[part]]),
        )
        found = lt.metrics.paired(groups["dual"], groups[best])
        rows.append(
            (
                f"Manga109, rank-1: the whole {manga['dual']:.2f}, dual ring {manga['dual_ring']:.2f}, DARL {manga['darl']:.2f}, UP {manga['up']:.2f}, ring {manga['ring']:.2f}"
                if data == "digits"
                else "the same",
                f"{name}, classification, ten seeds, λ₁ = 0.01, λ₂ = 1, λ₃ = λ₄ = 0.5: the whole against the best of ring, dual ring and DARL ({best})",
                points(found),
                _holds(found),
            )
        )
    ten_ = _error("dual", 10), _error("class_balanced", 10)
    rows.append(
        (
            f"ratio 10: error {ten_[0]:.2f}, and {ten_[1]:.2f} for “CB Focal”",
            "equal to the digit: a tie, or a copied number",
            "no runs at this ratio",
            "not tested",
        )
    )
    return lt.study.claims_table(rows)


def say_claims():
    """On which data, on how many seeds, and what the row "CB Focal" is."""
    table = lt.published.published("CIFAR-10-LT", key="class_balanced", source="Cui et al. 2019, table 2").sort_values(
        "ratio", ascending=False
    )
    best = ", ".join(f"{row.ratio:g}: {row.note.split(': ')[1].split(',')[0]}" for row in table.itertuples())
    runs = [run for run in lt.recorded("dual-cifar10", "ce") if run.data["ratio"] == 100]
    gap = 100 * (1 - runs[0].accuracy) - _error("ce", 100)
    return lt.say(
        "For CIFAR-10-LT the slides print one number for each loss and ratio, and give neither protocol nor number of seeds; strengths are given nowhere. For CIFAR-10-LT the table takes "
        "our defaults (λ₁ = λ₂ = 0.01, λ₃ = λ₄ = 0.5), for the order of the parts λ₂ = 1, as in the comparison above.",
        "The row “CB Focal” of the slides is not one loss. Its five numbers are those of a row in Cui et al. (2019), and that row prints, for each ratio, the *best* over "
        f"five class-balanced losses (softmax, sigmoid, and focal with three γ) and several values of chapter 04's β (not the radius above), chosen by what the paper calls cross-validation. The best loss is, by ratio, {best}.",
        f"At full size our plain network is {gap:.1f} points above the printed error, so compare only within our runs. "
        "The printed lead over class-balanced focal does not show on the photographs (ten seeds), and the one full-size seed gives no verdict. "
        "Manga faces, the data that the loss was made for, were not measured here; recognition is the subject of [chapter 11](11_recognition.ipynb).",
    )


# ------------------------------------------------------------------------------------------------------- exercises
def _darl(logits, features, weight, targets, class_strength, sample_strength):
    w = darl_weights(features, weight, targets, class_strength, sample_strength)
    return (w.double() * lt.functional.cross_entropy(logits.double(), targets)).mean()


def _with(classes=None, samples=None, reduce=None):
    """A wrong answer: with another class part, another sample part, or another mean."""

    def wrong(logits, features, weight, targets, class_strength, sample_strength):
        losses = lt.functional.cross_entropy(logits.double(), targets)
        of_class = (classes or (lambda w, y: relative_length(w)[y]))(weight, targets)
        of_sample = (samples or relative_length)(features)
        w = (1 - class_strength * of_class).double() * (1 - sample_strength * of_sample).double()
        return (reduce or (lambda w, losses: (w * losses).mean()))(w, losses)

    return wrong


def _over_longest(rows):
    length = rows.norm(dim=1)
    return length / length.max()


def _constant(answer):
    """Whether no gradient reaches the lengths of features and vectors: the logits are held."""
    x, w = _X.clone().requires_grad_(), _W.clone().requires_grad_()
    value = answer(_Z.clone().requires_grad_(), x, w, _Y, 0.5, 0.9)
    slopes = torch.autograd.grad(value, (x, w), allow_unused=True)
    return all(slope is None or not slope.any() for slope in slopes)


_X = torch.tensor([[3.0, 4.0], [0.0, 1.0], [1.0, 1.5]])
_W = torch.tensor([[1.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
_Y = torch.tensor([1, 0, 1])
_Z = torch.tensor([[0.5, 1.5, -0.2], [0.3, -0.4, 1.0], [2.0, 0.1, 0.4]])
_EQUAL = torch.tensor([[3.0, 4.0], [-5.0, 0.0], [0.0, 5.0]])

darl_exercise = lt.Exercise(
    "Equations (5) to (7)",
    """The slides print $L_{dar} = -\\frac1N \\sum_i w_w(i)\\, w_x(i)\\, L_s(x_i)$, with $L_s(x_i) = -\\log p_{y_i}$. A network that is trained with this formula as it is printed does not learn.

Write `darl(logits, features, weight, targets, class_strength, sample_strength)`: the loss as it must be meant, one number, with the weights of equations (5) and (6) above. `logits` (n, k), `features` (n, d), `weight` (k, d) the classifier vectors of **all** classes, `targets` (n,). Where all lengths are equal, the weights are 1. The weights are constants for the gradient, as in the library.""",
    """
def darl(logits, features, weight, targets, class_strength, sample_strength):
    def relative(rows):
        length = rows.norm(dim=1)
        span = length.max() - length.min()
        return (length - length.min()) / span if span > 0 else torch.zeros_like(length)

    losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    w = (1 - class_strength * relative(weight)[targets]) * (1 - sample_strength * relative(features))
    return (w.detach() * losses).mean()
""",
    [
        lt.study.Case("three images of two classes, λ₃ = 0.5, λ₄ = 0.9", (_Z, _X, _W, _Y, 0.5, 0.9), "A factor for its class, times a factor for the image.", gradient=True),
        lt.study.Case("λ₄ = 0: only the class part", (_Z, _X, _W, _Y, 0.5, 0.0), "The longest and the shortest vector are sought among all classes, also those without an image in the batch."),
        lt.study.Case("λ₃ = 0: only the image part", (_Z, _X, _W, _Y, 0.0, 0.9), "The longest and the shortest feature are those of the batch."),
        lt.study.Case("features of one length", (_Z, _EQUAL, _W, _Y, 0.5, 0.9), "0 / 0: where all lengths are equal there is no longest one, and every weight is 1."),
        lt.study.Case("one image alone", (_Z[:1], _X[:1], _W, _Y[:1], 0.5, 0.5), "One feature is the longest and the shortest: its image part is 1."),
        lt.study.Claim("the weights are constants for the gradient", _constant, "With the logits held, your loss still changes with the lengths: a network could lower it by making features longer. Take the weights out of the gradient: `.detach()`."),
    ],
    oracle=_darl,
    hints=[
        "Three steps: the loss of each image, where its lengths lie between the shortest and the longest, and the mean.",
        "One function serves (5) and (6): from rows to (length - shortest) / (longest - shortest). Look at the case in which the range is 0.",
        "`cross_entropy(..., reduction='none')` gives $-\\log p$: it is positive. How many minus signs do you need in front of it?",
    ],
    mistakes={
        "That is the printed sign. $L_s$ is positive already, so this loss is smallest where the network is most wrong.": lambda *a: -_darl(*a),
        "The shortest and the longest vector are sought among the classes in the batch; equation (5) takes all classes.": _with(lambda w, y: relative_length(w[y])),
        "You divided by the sum of the weights. Equation (7) divides by the number of images.": _with(reduce=lambda w, losses: (w * losses).sum() / w.sum()),
        "You summed over the images. Take the mean.": _with(reduce=lambda w, losses: (w * losses).sum()),
        "You divided the lengths by the longest. The shortest is subtracted first, and the range is below.": _with(lambda w, y: _over_longest(w)[y], _over_longest),
        "The weights are missing: this is plain cross-entropy.": _with(reduce=lambda w, losses: losses.mean()),
    },
    given={"torch": torch},
)  # fmt: skip


def _rest(push, beta, strength, k):
    return beta + push * k / strength


rest_exercise = lt.Exercise(
    "The length at which a vector comes to rest",
    """Cross-entropy lengthens a classifier vector with a force `push` (minus the slope of the loss in its length). The second ring, $\\frac{\\lambda_2}{2k}\\sum_j(\\lVert W_j\\rVert - \\beta)^2$, holds it back.

Write `rest(push, beta, strength, k)`: the length at which the two balance, β held fixed. When it passes, try the third check's numbers, push 0.02, β = 1.5, λ₂ = 0.01, ten classes: how far from its ring does the vector come to rest?""",
    """
def rest(push, beta, strength, k):
    return beta + push * k / strength
""",
    [
        lt.study.Case("push 0.02, β = 1.5, λ₂ = 1, ten classes", (0.02, 1.5, 1.0, 10), "The slope of the ring in one length must equal the push."),
        lt.study.Case("λ₂ = 10: ten times nearer to the ring", (0.02, 1.5, 10.0, 10), "The gap is inversely proportional to the strength."),
        lt.study.Case("λ₂ = 0.01, the default", (0.02, 1.5, 0.01, 10), "The gap is inversely proportional to the strength."),
        lt.study.Case("a hundred classes", (0.02, 1.5, 1.0, 100), "The sum is divided by the number of classes, so each vector is held ten times more weakly than with ten."),
        lt.study.Case("a rare class: pushed inwards", (-0.01, 1.5, 1.0, 10), "A negative push leads to a length below β."),
    ],
    oracle=_rest,
    hints=[
        "At rest the forces add up to 0. What is the slope of the ring in the length of one vector?",
        "Of $\\frac{\\lambda}{2k}(\\ell - \\beta)^2$ the slope in $\\ell$ is $\\frac{\\lambda}{k}(\\ell - \\beta)$. Set it equal to the push.",
    ],
    mistakes={
        "You left out the number of classes: the ring is a mean over the vectors.": lambda push, beta, strength, k: beta + push / strength,
        "The ½ cancels the 2 of the square: no 2 is left.": lambda push, beta, strength, k: beta + 2 * push * k / strength,
        "That is the gap to the ring. The length is β plus it.": lambda push, beta, strength, k: push * k / strength,
    },
)  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ quiz
TRIES = [run.accuracy for run in plain_of("cifar16")[:5]]
BEHIND, AHEAD = (f"about {sign}{100 * (max(TRIES) - float(np.mean(TRIES))):.1f} points" for sign in ("-", "+"))
quiz = lt.Quiz(
    [
        lt.study.Question(
            "On the bench, which part makes the classifier vectors equally long, and does not make the features more equal?",
            {
                "ring loss": "It acts on the features.",
                "UP (all vectors)": "Yes; dual ring with λ₁ = 0 and mean radius is the same loss.",
                "DARL": "DARL changes weights. It makes the vectors somewhat more equal, and the features, too.",
            },
            "UP (all vectors)",
        ),
        lt.study.Question(
            "A colleague adds DARL to strong rings and says: “the rings make all lengths equal, so the weights will become 1.” Your answer?",
            {
                "Right: no differences, no weights.": "r is relative to the range, however small.",
                "The longest still gets 1\u00a0-\u00a0λ and the shortest 1, however close they are.": "Yes. Only exactly equal lengths give weights of 1.",
                "Right, but only for the features.": "Both parts are computed in the same way.",
            },
            "The longest still gets 1\u00a0-\u00a0λ and the shortest 1, however close they are.",
        ),
        lt.study.Question(
            "Loss A gains 3 points on data set 1 and nothing on 2, loss B the other way round. What do you expect of A + B?",
            {
                "The sum of both gains on each.": "Measured above: on neither data set does the whole beat its best part at these strengths.",
                "At least the better of the two on each.": "Not even that is certain: parts can work against each other.",
                "It has to be measured.": "Yes, paired, against the best part and not only against the plain network.",
            },
            "It has to be measured.",
        ),
        lt.study.Question(
            "A learned radius starts at the mean length of the first batch. Why does that matter on the bench?",
            {
                "The features of the first batch are short, and the ring holds them back.": "Yes, as far as ten seeds tell: with the radius fixed at the plain network's length, under half of the ring's gain is left.",
                "It does not: only equality counts.": "Fixed at the plain network's length, the features are more equal, and under half of the gain is left.",
                "A random start would be as good.": f"The size of the radius matters: fixed at {LONG}, about ten times the starting value, the ring gains less than at {SHORT} (suggestive).",
            },
            "The features of the first batch are short, and the ring holds them back.",
        ),
        lt.study.Question(
            f"Five runs of the plain network on the photographs, seeds 0 to 4, reach {', '.join(f'{100 * one:.1f}' for one in TRIES)}%. A table prints the best of "
            "the five as “baseline”, beside one run of a new loss that is, on average, exactly as good as the plain network. What lead of the new loss do you expect in the table?",
            {
                BEHIND: "Yes: the best of several tries is above their mean, even where nothing differs. The same holds for a row that is the best of many settings.",
                "about 0 points": "Only if the baseline was one run as well, or the mean of its runs.",
                AHEAD: "The wrong way round: the best of five tries flatters the baseline, not the new loss.",
            },
            BEHIND,
        ),
    ]
)
