"""Chapter 11: its predictions, exercises and quiz, and the figures that they open."""
# ruff: noqa: E501  (text for readers is not cut into lines)

import os
from functools import cache
from itertools import combinations

import numpy as np
from scipy import stats

import ltviz as lt
from ltviz.datasets.glyphs import RECORDED, glyph_features
from ltviz.plots.examples import mosaic
from ltviz.plots.picture import EDGE, INK, PALETTE, QUIET, Picture, draws, get_axes, look, new_figure, percent
from ltviz.study.cards import Card, inline, plain, safe, show

EPOCHS = (
    6 if os.environ.get("LTVIZ_PROFILE") == "fast" else 30
)  # of what is trained in the chapter; the records have 60
BASE = ("Softmax", "long-tailed")
COSINES = (
    "L2-constrained",
    "NormFace",
    "CosFace",
    "ArcFace",
    "AM-Softmax",
)  # losses that divide by the length of the feature
RIGHT, WRONG = "#2A7F3B", "#CC3434"
BALANCED, ALL = ("Softmax", "balanced"), ("Softmax", "balanced, all")


# ------------------------------------------------------------------------------------------------------------- data
def load(root=None):
    """Printed characters, or Omniglot from the reader's own folder."""
    return lt.glyphs_lt() if root is None else lt.omniglot_lt(root=root)


def features(data):
    """Name of a loss -> features of unseen pictures, and these pictures: recorded ones, or of networks trained now."""
    if data.name == "glyphs_lt":
        found, unseen = glyph_features()
    else:
        keys = {"Softmax": "ce", "Softmax + ring loss": "ring", "NormFace": "normface", "ArcFace": "arcface"}
        unseen = data.unseen
        found = {name: lt.train(key, data, epochs=EPOCHS).predict(unseen.images).features for name, key in keys.items()}
    return {"pixels, no network": unseen.images.reshape(len(unseen.images), -1) / 255.0, **found}, unseen


@cache
def omniglot():
    """The recorded table: fifteen losses on handwritten characters, five seeds."""
    return lt.recognition.recorded()


@cache
def glyphs(distance="cosine"):
    """The recorded runs on printed characters, five seeds."""
    return lt.recognition.recorded(RECORDED.with_name("recognition.csv" if distance == "cosine" else "euclidean.csv"))


def values(table, name, metric):
    """One number a seed, of a row trained in one way."""
    row, training = name
    chosen = table[(table.row == row) & (table.training == training)]
    return chosen.set_index("seed")[metric].sort_index()


def against(table, name, base=BASE, metric="map"):
    """A paired difference of two rows in points, with its 95% interval and verdict."""
    return points(paired(table, name, base, metric))


def paired(table, name, base=BASE, metric="map"):
    ours, theirs = values(table, name, metric), values(table, base, metric)
    both = ours.index.intersection(theirs.index)
    return lt.metrics.paired(ours[both].to_numpy(), theirs[both].to_numpy())


def points(found):
    mean = f"{100 * found.mean:+.1f}".replace("-0.0", "0.0").replace("+0.0", "0.0")
    return f"**{mean} ± {100 * found.half:.1f}** points ({found.verdict})"


def mean(table, name, metric):
    return float(values(table, name, metric).mean())


def long_tailed(row):
    return row, "long-tailed"


@cache
def rows():
    """The fifteen losses, in the order of the slides."""
    return tuple(dict.fromkeys(omniglot()[omniglot().training == "long-tailed"].row))


@cache
def slides():
    """(row, metric) -> what the slides print, in percent."""
    found = lt.published.published("Manga109")
    return {(one.method, one.metric): one.value for one in found.itertuples()}


def table(head, lines):
    """Rows of texts, with inline markdown, as a card."""
    cell = 'style="text-align:left;padding:.15em .7em"'
    top = "".join(f"<th {cell}>{safe(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td {cell}>{inline(one)}</td>" for one in line) + "</tr>" for line in lines)
    text = [" | ".join(map(plain, line)) for line in (head, *lines)]
    return Card(f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>", "\n".join(text))


def together(*parts):
    return Card(show(list(parts)), "\n".join(part.text for part in parts))


# ---------------------------------------------------------------------------------------------------------- figures
@draws
def plot_neighbours(found, unseen, loss="Softmax", queries=3, nearest=9):
    """Some queries, and beside each the pictures that lie nearest to it."""
    x, who = found[loss], unseen.identities
    chosen = np.linspace(0, len(who) - 1, queries + 2).round().astype(int)[1:-1]
    pictures = 255 - unseen.images if unseen.images.shape[3] == 1 else unseen.images
    axes = new_figure(9.0, 0.95 * queries + 0.35).subplots(queries, nearest + 1, squeeze=False)
    said = []
    for line, query in zip(axes, chosen, strict=True):
        order = np.argsort(-lt.metrics.similarity(np.broadcast_to(x[query], x.shape), x), kind="stable")
        order = order[order != query][:nearest]
        right = who[order] == who[query]
        for i, (ax, row) in enumerate(zip(line, [query, *order], strict=True)):
            ax.imshow(mosaic(pictures[[row]], [(0, 0)], 1, 1), interpolation="nearest")
            ax.set(xticks=[], yticks=[])
            ax.grid(False)
            ax.spines[:].set_visible(True)
            colour = INK if i == 0 else RIGHT if right[i - 1] else WRONG
            ax.spines[:].set(color=colour, linewidth=3 if i == 0 or right[i - 1] else 1.2)
            if i and not right[i - 1]:
                ax.plot(0.86, 0.14, "X", color=WRONG, markersize=8, transform=ax.transAxes, **EDGE)
        said.append(
            f"{unseen.names[who[query]]}: right are number {', '.join(map(str, np.flatnonzero(right) + 1)) or 'none'}"
        )
    axes[0, 0].set_title("query", fontsize=10)
    axes[0, 1].set_title("nearest", fontsize=10)
    axes[0, -1].set_title(f"{nearest}th", fontsize=10)
    return Picture(
        list(axes.ravel()), {"queries": chosen}, f"Queries and their {nearest} nearest pictures. {'; '.join(said)}."
    )


@draws
def plot_closed_open():
    """Accuracy on the trained characters against rank-1 on others, one dot a loss, mean of five seeds."""
    (ax,) = get_axes(None, 7.2, 3.9)
    x, y = (
        np.array([mean(omniglot(), long_tailed(row), metric) for row in rows()]) for metric in ("accuracy", "rank1")
    )
    style = {key: value for key, value in look(0).items() if key != "linestyle"}
    ax.plot(x, y, linestyle="", markersize=8, **EDGE, **style)
    for row, place, side in (("ArcFace", (9, -3), "left"), ("Softmax", (-9, -3), "right")):
        i = rows().index(row)
        ax.annotate(row, (x[i], y[i]), place, textcoords="offset points", color=QUIET, ha=side)
    ax.set(
        xlabel="closed set: accuracy, trained characters",
        ylabel="open set: rank-1, others",
        xlim=(0.44, 0.82),
        ylim=(0.6, 0.85),
    )
    percent(ax.xaxis)
    percent(ax.yaxis)
    ax.set_title("Fifteen losses, handwritten characters")
    rest = np.array(rows()) != "ArcFace"
    r, without = (float(stats.spearmanr(x[some], y[some]).statistic) for some in (rest | True, rest))
    return Picture(
        ax,
        {"accuracy": x, "rank1": y, "rho": r, "without": without},
        f"Rank correlation of accuracy and rank-1 over fifteen losses: {r:+.2f}; without ArcFace {without:+.2f}.",
    )


@draws
def plot_tail():
    """Three training sets of the plain network: closed set and open set."""
    axes = new_figure(8.6, 2.7).subplots(1, 2, sharey=True)
    names = {BASE: "long-tailed", BALANCED: "balanced", ALL: "balanced, all"}
    data, said = {}, []
    for ax, metric, title in zip(axes, ("accuracy", "map"), ("closed set: accuracy", "open set: mAP"), strict=True):
        for y, name in enumerate(names):
            found = values(omniglot(), name, metric)
            ax.barh(y, found.mean(), height=0.55, color=PALETTE[0 if metric == "map" else 3], alpha=0.35)
            ax.plot(found, np.full(len(found), y), "o", color=INK, markersize=4, alpha=0.8)
            data[f"{names[name]}, {metric}"] = found.to_numpy()
            said.append(f"{names[name]}: {title} {found.mean():.1%}")
        ax.set(xlim=(0, 1), title=title)
        percent(ax.xaxis)
    counts = {name: int(values(omniglot(), name, "drawings").iloc[0]) for name in names}
    axes[0].set_yticks(range(3), [f"{label}\n{counts[name]:,} drawings" for name, label in names.items()])
    axes[0].invert_yaxis()
    return Picture(list(axes), data, f"Means of five seeds, a dot a seed. {'; '.join(said)}.")


@draws
def plot_distances():
    """Mean average precision by the cosine and by the L2 distance, for each recorded loss on printed characters."""
    (ax,) = get_axes(None, 7.2, 2.9)
    some = [row for row in dict.fromkeys(glyphs()[glyphs().training == "long-tailed"].row)]
    data = {}
    for i, (distance, label) in enumerate((("cosine", "cosine"), ("euclidean", "L2 distance"))):
        style = {key: value for key, value in look(i).items() if key != "linestyle"}
        found = [values(glyphs(distance), long_tailed(row), "map") for row in some]
        half = [lt.metrics.paired(one.to_numpy(), np.zeros(len(one))).half for one in found]
        data[distance] = np.array([one.mean() for one in found])
        y = np.arange(len(some)) + 0.12 * (2 * i - 1)
        ax.errorbar(data[distance], y, xerr=half, linestyle="", markersize=7, label=label, **EDGE, **style)
    ax.set_yticks(range(len(some)), some)
    ax.invert_yaxis()
    ax.set(xlim=(0, 0.8), xlabel="mAP, printed characters never trained on")
    percent(ax.xaxis)
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), title="five seeds, 95%")
    said = [f"{row}: cosine {a:.1%}, L2 {b:.1%}" for row, a, b in zip(some, *data.values(), strict=True)]
    return Picture(ax, data, "; ".join(said) + ".")


# ------------------------------------------------------------------------------------------------------ predictions
which_network = lt.Predict(
    f"Two losses, the same handwritten characters, five seeds each. On new drawings of the *trained* characters, the accuracy of one network is {mean(omniglot(), BASE, 'accuracy'):.0%}, "
    f"that of the other {mean(omniglot(), long_tailed('ArcFace'), 'accuracy'):.0%}. Then both look for characters of *other* alphabets. "
    f"For {mean(omniglot(), BASE, 'rank1'):.0%} of all queries, the picture that the first one puts on top is the right character. And with the second?",
    number=(20, 100, 1),
    default=50,
    unit="%",
)


def open_which_network():
    """Closed set against open set: fifteen losses."""
    picture = plot_closed_open()
    name = long_tailed("ArcFace")
    return which_network.reveal(
        [picture],
        truth=100 * mean(omniglot(), name, "rank1"),
        tolerance=4,
        because=f"Softmax is the first network, ArcFace the second. ArcFace: accuracy {against(omniglot(), name, metric='accuracy')}, rank-1 {against(omniglot(), name, metric='rank1')}, both against Softmax. "
        f"Over all fifteen losses, accuracy and rank-1 have a rank correlation of {picture.data['rho']:+.2f}; printed characters show the same for ArcFace: accuracy {against(glyphs(), name, metric='accuracy')}, "
        f"rank-1 {against(glyphs(), name, metric='rank1')}. **One loss can be last in accuracy and first in rank-1; without ArcFace the two agree moderately ({picture.data['without']:+.2f}).**",
    )


by_length = lt.Predict(
    "ArcFace is trained on angles alone. Its features still have lengths, which its loss does not see. On the printed characters its mAP is "
    f"{mean(glyphs(), long_tailed('ArcFace'), 'map'):.0%} by the cosine. And by the L2 distance of the features as they are?",
    number=(20, 80, 1),
    default=58,
    unit="%",
)


def open_by_length():
    """Cosine and L2 distance, loss by loss."""
    lost = {
        row: lt.metrics.paired(
            values(glyphs(), long_tailed(row), "map").to_numpy(),
            values(glyphs("euclidean"), long_tailed(row), "map").to_numpy(),
        )
        for row in ("Softmax", "NormFace", "ArcFace")
    }
    return by_length.reveal(
        [plot_distances()],
        truth=100 * mean(glyphs("euclidean"), long_tailed("ArcFace"), "map"),
        tolerance=4,
        because="Nothing in an angular loss keeps the length steady, so two pictures of one character may have features of different length, and L2 counts that as a difference. "
        f"By the cosine against L2: {'; '.join(f'{row} {points(one)}' for row, one in lost.items())}. **Compare the features of an angular loss by the angle.** (The plain network is trained with the inner product, which was not measured here; of the two distances, the cosine served it better.)",
    )


what_costs = lt.Predict(
    f"Handwritten characters, plain Softmax. Training set A has a long tail: {int(values(omniglot(), BASE, 'drawings').iloc[0])} drawings, 16 down to 2 a character. "
    f"Set B has {int(values(omniglot(), BALANCED, 'drawings').iloc[0])}, six of each. By how much does the *open-set* mAP of B exceed that of A?",
    choices=["by more than 5 points", "by 2 to 5 points", "by less than 2 points, or not at all"],
    default="by more than 5 points",
)


def open_what_costs():
    """The tail against the number of drawings."""
    found = paired(omniglot(), BALANCED)
    options = what_costs.options
    truth = options[0] if found.mean > 0.05 else options[1] if found.mean > 0.02 else options[2]
    low, high = (100 * one for one in found.interval)
    most = 100 * max(abs(end) for one in (found, paired(glyphs(), BALANCED)) for end in one.interval)
    return what_costs.reveal(
        [plot_tail()],
        truth=truth,
        because=f"Balanced against long-tailed, about as many drawings: mAP {points(found)}, so the effect of the tail lies between {low:+.1f} and {high:+.1f} points; accuracy on the trained characters {against(omniglot(), BALANCED, metric='accuracy')}. "
        f"All {int(values(omniglot(), ALL, 'drawings').iloc[0]):,} drawings: mAP {against(omniglot(), ALL)}. On printed characters: balanced {against(glyphs(), BALANCED)}, all {against(glyphs(), ALL)}. "
        f"**At this size the number of drawings counts. At the same number, no effect of the long tail on strangers could be established; by both intervals it is at most about {most:.1f} points.** In a closed set the rare classes are among the answers; here they are not.",
    )


which_order = lt.Predict(
    "mAP on handwritten characters of other alphabets, five seeds, all trained with a long tail. (CB: class-balanced cross-entropy.) Put the best first.",
    order=["Dual Loss", "CB", "Softmax + ring loss", "NormFace"],  # each pair of them is at least suggestive
    default=["Dual Loss", "Softmax + ring loss", "CB", "NormFace"],
)


def open_which_order():
    """The fifteen rows, and what the slides print for theirs."""
    order = sorted(which_order.options, key=lambda row: -mean(omniglot(), long_tailed(row), "map"))
    whole = paired(omniglot(), long_tailed("Dual Loss"))
    verdicts = [paired(omniglot(), *map(long_tailed, pair)).verdict for pair in combinations(order, 2)]
    return which_order.reveal(
        [
            fifteen(),
            say_order(),
            "Why might the order differ? The networks here are small and are trained for 60 epochs on about six drawings a character; the slides name neither their network nor the strengths of the terms that their losses add. One suspicion can be tested.",
            say_longer(),
        ],
        truth=order,
        because=f"The Dual Loss against Softmax: mAP {points(whole)}; the ring loss alone {against(omniglot(), long_tailed('Softmax + ring loss'))}. Of the {len(verdicts)} pairs in this list, {sum('clear' in one for one in verdicts)} differ clearly, {sum('suggestive' in one for one in verdicts)} suggestively.",
    )


def fifteen():
    """The table of the chapter."""
    found = {
        metric: lt.recognition.compare(omniglot(), metric) for metric in ("rank1", "map", "verification", "accuracy")
    }
    lines = []
    for row in rows():
        name = long_tailed(row)
        own = [
            f"{100 * found[metric].loc[name, 'mean']:.1f}\u00a0±\u00a0{100 * found[metric].loc[name, 'half']:.1f}"
            for metric in ("accuracy", "rank1", "map", "verification")
        ]
        gain = "" if name == BASE else against(omniglot(), name)
        theirs = [f"{slides()[row, metric]:.1f}" for metric in ("rank1", "map", "verification")]
        lines.append(
            (
                row + "\u00a0†" * (row in COSINES),
                *own,
                gain.replace(" points", "").replace(" ± ", "\u00a0±\u00a0"),
                *theirs,
            )
        )
    head = (
        "loss",
        "accuracy",
        "rank-1",
        "mAP",
        "verification accuracy",
        "mAP against Softmax",
        "slides: rank-1",
        "mAP",
        "verification accuracy",
    )
    return together(
        table(head, lines),
        lt.say(
            f"In %. †: divides by the feature's length. Left: Omniglot, five seeds, 95% intervals. Right: Manga109 as the slides print it, **not comparable** (other pictures, another network). Of {len(lines) - 1} comparisons luck alone would call about {(len(lines) - 1) / 20:.1f} suggestive."
        ),
    )


def say_order():
    """What of the slides' order is left."""
    rest = [row for row in rows() if row not in COSINES]

    def correlation(metric, some):
        ours = [mean(omniglot(), long_tailed(row), metric) for row in some]
        return stats.spearmanr(ours, [slides()[row, metric] for row in some]).statistic

    below = [row for row in COSINES if slides()[row, "map"] < slides()["Softmax", "map"]]
    clear = [row for row in below if paired(omniglot(), long_tailed(row)).verdict == "clearly better"]
    above = [row for row in rest if row != "Softmax" and slides()[row, "map"] > slides()["Softmax", "map"]]
    held = [row for row in above if paired(omniglot(), long_tailed(row)).verdict == "clearly better"]
    hint = [row for row in above if paired(omniglot(), long_tailed(row)).verdict == "suggestive: better"]
    all_four = ", ".join(
        f"{correlation(metric, rows()):+.2f} ({name})"
        for metric, name in (("rank1", "rank-1"), ("map", "mAP"), ("verification", "verification accuracy"))
    )
    return lt.say(
        f"Rank correlation of the fifteen rows with the slides: {all_four}; without the {len(COSINES)} losses that divide by the feature's length {correlation('map', rest):+.2f} (mAP).",
        f"On the slides {len(below)} losses that divide by the feature's length lie below Softmax in mAP; here {len(clear)} of these {len(below)} lie clearly above. Of the {len(above)} other losses above Softmax on the slides, {len(held)} "
        f"are clearly above here ({', '.join(held)}), {len(hint)} suggestively ({', '.join(hint) or 'none'}). The slides' best, the Dual Loss, shows no gain: {against(omniglot(), long_tailed('Dual Loss'))}.",
    )


def say_longer():
    """What 150 epochs leave of the differences, on printed characters."""
    later = {row: (row, "150 epochs") for row in ("Softmax", "NormFace", "ArcFace")}
    told = [
        f"{row} {against(glyphs(), long_tailed(row))} after 60 epochs, {against(glyphs(), later[row], later['Softmax'])} after 150"
        for row in ("NormFace", "ArcFace")
    ]
    grown = lt.metrics.paired(
        values(glyphs(), later["Softmax"], "map").to_numpy(), values(glyphs(), BASE, "map").to_numpy()
    )
    stays = all(
        paired(glyphs(), later[row], later["Softmax"]).verdict == "clearly better" for row in ("NormFace", "ArcFace")
    )
    so = "So slowness alone does not explain their lead there." if stays else "So slowness may explain a part of it."
    return lt.say(
        f"Is Softmax only slower? On the printed characters, mAP against Softmax: {'; '.join(told)}. Softmax itself gains {points(grown)} from the longer training. {so}"
    )


def photographs():
    """Label -> recorded runs on the photographs, one a seed."""
    return {
        "NormFace": lt.recorded("cifar16", "normface", scale=30.0),
        "CosFace": lt.recorded("cifar16", "cosface"),
        "ArcFace": lt.recorded("cifar16", "arcface", margin=0.5, scale=30.0),
        "ring": lt.recorded("cifar16", "ring", strength=0.01),
        "dual ring": lt.recorded("cifar16", "dual_ring", weight_strength=1.0),
        "Dual Loss": lt.recorded("cifar16", "dual", weight_strength=1.0, class_strength=0.5),
    }


def say_photographs():
    """The same losses as classifiers of photographs."""
    base, found = lt.recorded("cifar16", "ce"), photographs()
    told = [
        f"{label} {points(lt.metrics.paired(runs, base))}"
        for label, runs in found.items()
        if label in ("NormFace", "ArcFace")
    ]
    return lt.say(
        f"Accuracy against the plain network, ten seeds: {'; '.join(told)}. This is a closed set: it says nothing about strangers."
    )


# ------------------------------------------------------------------------------------------------------- exercises
def _first(similarity, who, own):
    """Whether the nearest of each is right, with `own` on the diagonal; and who has another picture."""
    s = np.array(similarity, float)
    np.fill_diagonal(s, own)
    return who[s.argmax(1)] == who, (who[:, None] == who).sum(1) > 1


def _leak(similarity, who):
    right, several = _first(similarity, who, -np.inf)
    return right[several].mean()


def _zeroed(similarity, who):
    right, several = _first(similarity, who, 0.0)
    return right[several].mean()


def _everybody(similarity, who):
    return _first(similarity, who, -np.inf)[0].mean()


def _alike(n, seed):
    x = np.random.default_rng(seed).normal(size=(n, 3))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x @ x.T


_WHO = np.array([0, 0, 1, 1, 1, 2, 2, 3])
_NEGATIVE = np.array([[1.0, -0.2, -0.7, -0.4], [-0.2, 1.0, -0.6, -0.5], [-0.7, -0.6, 1.0, 0.5], [-0.4, -0.5, 0.5, 1.0]])
leak_exercise = lt.Exercise(
    "A query in its own gallery",
    """A colleague reports rank-1 = 100%, with every picture as a query and all pictures as the gallery.

Write `rank1(similarity, who)`: the honest share. `similarity` (n, n) says how alike pictures i and j are, larger is nearer; it may be negative, and need not be largest on the diagonal. `who` (n,) is the identity of each; both are NumPy arrays. A picture whose identity has no other picture is no query; it stays in the gallery of the others.""",
    """
def rank1(similarity, who):
    alike = np.where(np.eye(len(who), dtype=bool), -np.inf, similarity)
    right = who[alike.argmax(1)] == who
    several = (who[:, None] == who).sum(1) > 1
    return right[several].mean()
""",
    [
        lt.study.Case("eight pictures of four people", (_alike(8, 8), _WHO), "A query's own picture is no answer, and the last picture has no other one of its identity."),
        lt.study.Case("mostly negative", (_NEGATIVE, np.array([0, 1, 0, 1])), "Some rows hold negative similarities only: 0 is larger than each of them."),
        lt.study.Case("two of each", (_alike(6, 5), np.array([0, 1, 2, 0, 1, 2])), "Leave the diagonal out."),
        lt.study.Case("one identity", (_alike(4, 1), np.zeros(4, int)), "Every picture that can be found is right."),
    ],
    oracle=_leak,
    hints=["What does the colleague's 100% measure?", "Two things have to go: an entry of each row, and some of the rows.", "Which value can never be the largest of a row, whatever else stands in it?"],
    mistakes={
        "That is the colleague's number: each picture has found itself.": lambda s, who: 1.0,
        "You set the diagonal to 0. Where all others are negative, 0 is still the largest.": _zeroed,
        "You counted pictures without another one of their identity: no gallery can answer them.": _everybody,
    },
    given={"np": np},
)  # fmt: skip


def _nearest(similarity):
    """Which pictures of the gallery (q, g) share the first place."""
    return similarity == similarity.max(1, keepdims=True)


def _ties(similarity, same):
    top = _nearest(similarity)
    return ((top & same).sum(1) / top.sum(1)).mean()


_SCORES = np.array([[0.9, 0.9, 0.1, 0.3], [0.5, 0.5, 0.5, 0.5], [0.2, 0.8, 0.8, 0.8], [0.1, 0.7, 0.2, 0.4]])
_SAME = np.array(
    [[False, True, True, False], [True, False, False, False], [True, False, True, True], [False, True, False, True]]
)
ties_exercise = lt.Exercise(
    "Ties",
    """Features that have collapsed to one point are all equally far apart. A program that sorts and takes the first may then report anything from 0 to 100%, by the order in which the pictures are stored.

Write `rank1(similarity, same)`: rank-1 as the mean over all orders of pictures that are *equally* near. `similarity` (q, g) of queries and gallery, `same` (q, g) whether they are of one identity; both are NumPy arrays. No query is in its own gallery.""",
    """
def rank1(similarity, same):
    nearest = similarity == similarity.max(1, keepdims=True)
    return ((nearest & same).sum(1) / nearest.sum(1)).mean()
""",
    [
        lt.study.Case("four queries, three of them with ties", (_SCORES, _SAME), "If m pictures share the first place, and r of them are right, a random order puts a right one first in r / m of all cases."),
        lt.study.Case("collapsed: all alike", (np.ones((2, 5)), np.array([[True, False, False, False, False], [True, True, False, False, False]])), "Luck alone: the share of right pictures in the gallery."),
        lt.study.Case("no ties", (_SCORES[3:], _SAME[3:]), "Without ties it is the usual rank-1."),
    ],
    oracle=_ties,
    hints=["Which pictures can stand first?", "For each query, two numbers: how many share the first place, and how many of these are right."],
    mistakes={
        "You took the first of the largest: the order of storage decides.": lambda s, same: same[np.arange(len(s)), s.argmax(1)].mean(),
        "You counted a query as right as soon as one of the nearest is right: features that are all alike would score 100%.": lambda s, same: (_nearest(s) & same).any(1).mean(),
        "You added up all queries before dividing. Each query counts once.": lambda s, same: (_nearest(s) & same).sum() / _nearest(s).sum(),
    },
)  # fmt: skip


def _folds(similarity, same, folds, choose="rest"):
    found = []
    for held in np.array_split(np.arange(len(same)), folds):
        judged = np.isin(np.arange(len(same)), held)
        where = {"rest": ~judged, "all": judged | True, "held": judged}[choose]
        levels = np.unique(similarity[where])
        right = ((similarity[where] >= levels[:, None]) == same[where]).sum(1)
        threshold = levels[right == right.max()].max()
        found.append(((similarity[held] >= threshold) == same[held]).mean())
    return np.mean(found)


def _drawn(n, seed):
    same = np.arange(n) % 2 == 0
    return 0.8 * same + np.random.default_rng(seed).normal(size=n), same


folds_exercise = lt.Exercise(
    "A threshold from nine folds",
    """Verification needs a threshold: pairs at or above it are taken for one identity. If it is chosen on the same pairs on which it is judged, the reported accuracy is too high.

Write `verify(similarity, same, folds)`; `similarity` and `same` (n,) are NumPy arrays. Cut the n pairs, as they are listed, into `folds` parts of n / folds pairs. For each part, choose the threshold on all *other* parts: among their similarities, the one that classifies the most of their pairs correctly, and among equally good ones the largest. Return the mean accuracy of the parts.""",
    """
def verify(similarity, same, folds):
    found = []
    for held in np.array_split(np.arange(len(same)), folds):
        rest = np.ones(len(same), bool)
        rest[held] = False
        levels = np.unique(similarity[rest])
        right = ((similarity[rest] >= levels[:, None]) == same[rest]).sum(1)
        threshold = levels[right == right.max()].max()
        found.append(((similarity[held] >= threshold) == same[held]).mean())
    return np.mean(found)
""",
    [
        lt.study.Case("forty pairs, ten folds", (*_drawn(40, 1), 10), "Choose on nine parts, judge on the tenth."),
        lt.study.Case("noise: nothing can be told apart", (_drawn(60, 4)[0] - 0.8 * _drawn(60, 4)[1], np.arange(60) % 2 == 0, 10), "On pure noise a threshold chosen on its own pairs is above 50%."),
        lt.study.Case("two folds", (*_drawn(20, 7), 2), "Each half is judged with the threshold of the other."),
        lt.study.Case("separated", (np.array([2.0, 1.0, 3.0, 0.5, 2.5, 0.0]), np.array([True, False, True, False, True, False]), 3), "A pair at or above the threshold is accepted."),
    ],
    oracle=_folds,
    hints=["A loop over the parts; in it, a mask of the pairs that do not belong to the part.", "Only similarities of the other parts need be tried: between two of them nothing changes.", "Of several best thresholds: `levels[right == right.max()].max()`."],
    mistakes={
        "The threshold was chosen on all pairs, those on which it is judged among them.": lambda s, same, folds: _folds(s, same, folds, "all"),
        "The threshold was chosen on the very part that it is judged on.": lambda s, same, folds: _folds(s, same, folds, "held"),
    },
    given={"np": np},
)  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ quiz
quiz = lt.Quiz(
    [
        lt.study.Question(
            "Your network reaches 95% on test pictures of the people it was trained on. What do you know about finding *other* people with its features?",
            {
                "About 95%, less a little.": "Of two losses in this chapter, the one with the far lower accuracy is the better on strangers.",
                "At least that it beats a network with 80%.": "Not even that: ArcFace had the lowest accuracy here and the best rank-1.",
                "Nothing yet: measure retrieval on identities that were left out.": "Yes. Leave identities out, not only pictures.",
            },
            "Nothing yet: measure retrieval on identities that were left out.",
        ),
        lt.study.Question(
            "A network's features are all the same point. The pictures show 20 people, ten of each; each is a query once and never in its own gallery. Which rank-1 is honest?",
            {
                "0%: the features find nobody.": "A random order puts a right picture first now and then.",
                "4.5%, or 9 / 199.": "Yes: nine others of 199 are right, and ties are scored by the mean over all orders.",
                "5%, or 10 / 200.": "The query itself is not in its gallery: neither among the ten nor among the 200.",
            },
            "4.5%, or 9 / 199.",
        ),
        lt.study.Question(
            "Rank-1 is 98%, mAP 40%. Is that possible?",
            {
                "No: the first place is part of mAP.": "It is one part of several: further right pictures may come late.",
                "Yes: nearly every query finds one right picture at once, and the others late.": "Yes. With many pictures of each identity, rank-1 asks for the easiest one only.",
                "Only with an error in the code.": "A query with seven others whose first comes first, and the rest late, does just that.",
            },
            "Yes: nearly every query finds one right picture at once, and the others late.",
        ),
        lt.study.Question(
            "TAR at FAR = 0.001, measured with 500 pairs of different identities. Why is the number worth little?",
            {
                "One false accept is already 0.002: none may be accepted, and the single most alike pair sets the threshold.": "Yes. At least 1 / FAR different pairs are needed, better many times as many.",
                "500 pairs are enough for any FAR.": "One pair of 500 is a share of 0.002.",
                "TAR needs pairs of the same identity only.": "The threshold comes from pairs of different ones.",
            },
            "One false accept is already 0.002: none may be accepted, and the single most alike pair sets the threshold.",
        ),
        lt.study.Question(
            "You have 850 pictures of 136 people with a long tail, for features that must find strangers again. What helps most, by the runs of this chapter?",
            {
                "Throw away pictures until all have equally many.": "At the same number of pictures, no gain from balance could be established; more pictures gave a clear one.",
                "More pictures, and a loss on angles.": "Yes: both gave clear gains; re-weighting for the tail gave none.",
                "Class weights for the rare people.": "CB did not gain here; none of the rare people is among the strangers.",
            },
            "More pictures, and a loss on angles.",
        ),
    ]
)
