"""Chapter 13: its predictions, exercises and quiz, and the figures that they open."""
# ruff: noqa: E501  (text for readers is not cut into lines)

import os

import numpy as np

import ltviz as lt
from ltviz import tables
from ltviz.datasets import profile_counts
from ltviz.papers import CUI, SLIDES, TABLES, pairs_kept
from ltviz.plots.picture import EDGE, INK, PALETTE, QUIET, Picture, draws, new_figure, percent
from ltviz.plots.theme import PHOTO
from ltviz.published import GROUPS
from ltviz.study.cards import Card, box, bullets, fold, plain, show
from ltviz.training.recipe import find_recipe

SEEDS = 2 if os.environ.get("LTVIZ_PROFILE") == "fast" else 5  # of what the chapter trains by itself
TABLE = TABLES["dual-cifar10"]
TEN, RATIO = "CIFAR-10-LT", 100
NAMES = {"ce": "CE (softmax)", "class_balanced": "best class-balanced", "dual": "Dual Loss"}
ONE_BASELINE = "ResNet-32, 200 epochs, one seed, from JPEG files"  # how we ran the rows of that table
ELSEWHERE = "on the photographs (another protocol)"
TRICDB_2, TRICDB_3 = "Darkwah & Kang 2023, table 2", "Darkwah & Kang 2023, table 3"
PAPERS = (CUI, "Ren et al. 2020, table 2", "Menon et al. 2021, table 3", TRICDB_3)


# ---------------------------------------------------------------------------------------------------- the numbers
def row(key):
    """The row of the Dual Loss's table that belongs to a method."""
    return next(one for one in TABLE.rows if one.name == NAMES[key])


def printed(key, ratio=RATIO):
    """A printed error of the Dual Loss's table, in percent."""
    return TABLE.printed(row(key), ratio)


def measured(key, ratio=RATIO):
    """Our error at the same place, in percent: one seed, ResNet-32, 200 epochs."""
    (run,) = tables.found_runs(TABLE, row(key), ratio, tables.recorded_runs())
    return 100 * (1 - run.accuracy)


def lead(key, ratio=RATIO, base="ce"):
    """By how many points a method's error is below another's: (printed, ours)."""
    return printed(base, ratio) - printed(key, ratio), measured(base, ratio) - measured(key, ratio)


def reported(source, method=None, key=None, dataset=TEN, ratio=RATIO):
    """One printed error, in percent."""
    (found,) = (
        one
        for one in tables.reports(dataset, ratio)
        if one.source == source and one.method == (method or one.method) and one.key == (key or one.key)
    )
    return found.error


def plain_errors():
    """Every printed error of plain cross-entropy on CIFAR-10-LT at ratio 100, lowest first."""
    return sorted((one for one in tables.reports(TEN, RATIO) if one.key == "ce"), key=lambda one: one.error)


def photographs(method, **settings):
    """Ten recorded runs on the photographs, one a seed."""
    return lt.recorded("cifar16", method, **settings)


def base():
    """The plain network on the photographs."""
    return photographs("ce")


def balanced():
    """Class-balanced focal on the photographs, with the setting that Cui et al. found best at ratio 100."""
    return photographs("class_balanced", loss="focal", beta=0.9999, gamma=1.0)


def dual():
    """The Dual Loss on the photographs, default strengths."""
    return [run for run in photographs("dual") if run.label == "dual"]


def crl():
    """CRL on the photographs, default settings."""
    return [run for run in photographs("crl") if run.label == "crl"]


def one_seed_sd():
    """Standard deviation over ten seeds of the plain network's error on the photographs, in points. The class order is
    the published one under every seed, as in the papers."""
    return float(np.std([100 * (1 - run.accuracy) for run in lt.recorded("cifar16_published", "ce")], ddof=1))


def points(found):
    """A paired difference in percentage points, with its 95% interval and verdict."""
    mean = f"{100 * found.mean:+.1f}".replace("-0.0", "0.0").replace("+0.0", "0.0")
    return f"**{mean} ± {100 * found.half:.1f}** points ({found.verdict})"


def folded(label, title, summary, *content):
    """A card that shows its title alone until the reader opens it."""
    return Card(box("note", label, title, fold(summary, show(list(content)))), f"{title}: folded.")


def listed(lines):
    """Lines as a card."""
    return Card(bullets(lines), "\n".join(map(plain, lines)))


# ------------------------------------------------------------------------------------------------------- the pictures
@draws
def plot_photographs():
    """A photograph of each class of CIFAR-10, with its number of training images at ratio 100."""
    found, figure = lt.study.photographs(), new_figure(9.4, 1.55)
    counts = profile_counts(5000, 10, RATIO)
    names = ten_names(found)
    axes = figure.subplots(1, 10)
    for ax, name, count in zip(axes, names, counts, strict=True):
        first = int(np.flatnonzero(found.names == name)[0])
        ax.imshow(found.images[first], gid=PHOTO, interpolation="nearest")
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
        ax.set_title(f"{name}\n{count:,}", fontsize=8.5, loc="center")
    text = "Ten test photographs, one a class, and the training images of the class at ratio 100: "
    text += ", ".join(f"{name} {count:,}" for name, count in zip(names, counts, strict=True)) + "."
    return Picture(list(axes), {"counts": np.array(counts)}, text)


def ten_names(found):
    """Names of the ten classes in their published order, which is alphabetical."""
    return sorted(set(map(str, found.names)))


@draws
def plot_plain():
    """Plain cross-entropy in every table that prints it, and ours."""
    found, ax = plain_errors(), new_figure(7.6, 2.7).subplots()
    ours = measured("ce")
    errors = [one.error for one in found]
    ax.plot(errors, range(len(found)), linestyle="", marker="o", color=PALETTE[0], markersize=9, **EDGE)
    ax.plot([ours], [len(found)], linestyle="", marker="*", color=INK, markersize=12, **EDGE)
    labels = [one.source for one in found] + ["ours, one seed, JPEG files (not counted)"]
    ax.set_yticks(range(len(labels)), labels, fontsize=8.5)
    ax.set(xlabel="test error of plain cross-entropy, %", ylim=(len(found) + 0.6, -0.6), xlim=(20, 36))
    said = "; ".join(f"{one.source} {one.error:.1f}%" for one in found)
    text = f"Plain cross-entropy on CIFAR-10-LT at ratio 100: {said}; ours, not counted, {ours:.1f}%."
    return Picture(ax, {"printed": np.array(errors), "ours": np.array([ours])}, text)


def kept(source, kind, dataset=TEN, ratio=RATIO):
    """What is left of a paper's order beside our runs: pairs that may be compared, the other pairs, and the number of
    rows; None for fewer than four rows."""
    found = tables.paper_reports(dataset, ratio, source)
    ours = tables.our_errors(dataset, ratio, found, kind)
    both = [one for one in found if one.method in ours]
    if len(both) < 4:
        return None
    return *pairs_kept(both, [one.error for one in both], [np.mean(ours[one.method]) for one in both]), len(both)


NUMBER = ("none", "one", "two", "three", "four", "five")


def by_chance(right, rows):
    """The probability that a random order of so many rows keeps at least `right` pairs of a printed order."""
    ways = np.ones(1)  # orders by the number of pairs that they keep
    for n in range(2, rows + 1):
        ways = np.convolve(ways, np.ones(n) / n)
    return float(ways[right:].sum())


@draws
def plot_orders():
    """Share of the pairs of methods of each paper that keep their order, beside the photographs."""
    found = {source: kept(source, "photographs") for source in PAPERS}
    found = dict(sorted(found.items(), key=lambda item: -item[1][0].right / item[1][0].pairs))
    ax = new_figure(7.6, 3.0).subplots()
    shares = [order.right / order.pairs for order, *_ in found.values()]
    ax.barh(range(len(found)), shares, color=PALETTE[0], height=0.6)
    ax.axvline(0.5, color=QUIET, linestyle=(0, (1, 2)))
    for y, (share, (order, *_)) in enumerate(zip(shares, found.values(), strict=True)):
        ax.text(share + 0.01, y, f"{order.right} of {order.pairs}", va="center", fontsize=9)
    ax.set_yticks(range(len(found)), list(found), fontsize=8.5)
    ax.set(
        xlim=(0, 1.14),
        ylim=(len(found) - 0.4, -0.6),
        xlabel="pairs of methods in the printed order (dotted: mean of random orders)",
    )
    ax.grid(False)
    ax.set_xticks(np.linspace(0, 1, 5))
    percent(ax.xaxis)
    said = "; ".join(f"{source}: {order.right} of {order.pairs}" for source, (order, *_) in found.items())
    return Picture(ax, {"share": np.array(shares)}, f"Pairs that keep their order on the photographs. {said}.")


# -------------------------------------------------------------------------------------------------- text from records
def protocols():
    """The protocols behind the numbers, and how many printed CIFAR errors each has."""
    found = lt.published.published(["CIFAR-10-LT", "CIFAR-100-LT"], metric="error")
    counts = found.groupby("group").size()
    lines = [
        f"**{group if group != '-' else 'not stated'}** ({counts.get(group, 0)} numbers): {text}"
        for group, text in GROUPS.items()
        if counts.get(group, 0)
    ]
    return folded("PROTOCOLS", "What A, A', B … stand for", "The groups of the explorer", listed(lines))


def twice_reported():
    """(data set, ratio, report, other report) where one protocol has two reports of one method, not equal. Methods
    without settings only: two class-balanced losses need not be one method."""
    found = []
    for dataset in (TEN, "CIFAR-100-LT"):
        for ratio in (200, 100, 50, 20, 10):
            some = [one for one in tables.reports(dataset, ratio) if one.key in ("ce", "ldam_drw") and one.group == "A"]
            for i, a in enumerate(some):
                found += [
                    (dataset, ratio, a, b)
                    for b in some[i + 1 :]
                    if a.key == b.key and a.source != b.source and a.error != b.error
                ]
    return found


def say_twice():
    """Two reports of one method under one protocol, where they differ."""
    lines = [
        f"{dataset}, ratio {ratio}: {a.method} **{a.error:.2f}** ({a.source}) and {b.method} **{b.error:.2f}** ({b.source}), {abs(a.error - b.error):.2f} points apart"
        for dataset, ratio, a, b in twice_reported()
    ]
    sd = one_seed_sd()
    most = 1.96 * sd * 2**0.5
    gaps = [abs(a.error - b.error) for _, _, a, b in twice_reported()]
    beyond = sum(one > most for one in gaps)
    lines.append(
        f"Two single runs whose standard deviation over seeds is **{sd:.2f}** differ by up to 1.96 × {sd:.2f} × √2 = **{most:.1f}** points in 95% of cases. Of the {len(gaps)} gaps, **{beyond}** are beyond that. "
        "The standard deviation is that of our small network on the photographs (ten seeds, classes in the published order); a ResNet-32, and CIFAR-100, may have another."
    )
    return folded(
        "TWO REPORTS", "The same method under the same protocol", "Open this after the question above", listed(lines)
    )


def say_reduced():
    """The reduced table: what it is, and what it says; folded."""
    runs = tables.recorded_runs(True)
    recipe = tables.reduced_recipes(TABLE, runs)[-1]
    lines = tables.frame(TABLE, runs, recipe)
    lines = lines[lines["seeds"] > 0].sort_values("ours")
    told = "; ".join(f"{one.method}: {one.ours:.1f}" for one in lines.itertuples())
    left = kept(SLIDES, "reduced")  # its pairs that may be compared are those of Cui et al.
    ours = lines.set_index("method")["ours"]
    leads = ", ".join(
        f"{name} {ours[NAMES['ce']] - ours[name]:+.1f}"
        for name in (NAMES["class_balanced"], NAMES["dual"])
        if name in ours
    )
    order = (
        f" Of the {left[0].pairs} pairs of rows of Cui et al., {left[0].right} have the printed order; of the {left[1].pairs} pairs with the Dual Loss, whose protocol is not stated, {left[1].right}."
        if left
        else ""
    )
    return folded(
        "REDUCED", "A column that this computer can train", "What it gives",
        f"{recipe.model}, {recipe.epochs} epochs, one seed, {len(runs)} of the {len(TABLE.rows)} rows, trained on a CPU. Errors in percent, lowest first: {told}. Leads over cross-entropy: {leads}.{order} "
        f"With plain cross-entropy at {ours[NAMES['ce']]:.0f}%, these are not meant to reproduce the paper's numbers: another network, and {recipe.epochs} epochs instead of {find_recipe(TABLE.recipe).epochs}.",
    )  # fmt: skip


def own_tables(plain_runs, own_runs):
    """What the reader's two tables say, and what a reader of both could believe; folded until the question is answered."""
    few, many = sorted(plain_runs)
    both = {"plain": plain_runs, "own": own_runs}
    error = {
        name: {e: 100 * (1 - np.mean([run.accuracy for run in runs[e]])) for e in (few, many)}
        for name, runs in both.items()
    }
    leads = {e: lt.metrics.paired(own_runs[e], plain_runs[e]) for e in (few, many)}
    rare = {
        e: {
            name: 100 * np.mean([lt.metrics.shot_accuracy(run)["tail"] for run in runs[e]])
            for name, runs in both.items()
        }
        for e in (few, many)
    }
    across = error["plain"][few] - error["own"][many]
    ratio = leads[few].mean / leads[many].mean
    truth = "larger" if ratio > 1.25 else "smaller" if ratio < 0.8 else "about the same"
    lines = [
        f"{many} epochs: plain {error['plain'][many]:.1f}%, your loss {error['own'][many]:.1f}%; lead {points(leads[many])}.",
        f"{few} epochs: plain {error['plain'][few]:.1f}%, your loss {error['own'][few]:.1f}%; lead {points(leads[few])}.",
        f"Accuracy of the rare classes: after {few} epochs plain {rare[few]['plain']:.0f}%, your loss {rare[few]['own']:.0f}%; after {many} epochs {rare[many]['plain']:.0f}% and {rare[many]['own']:.0f}%.",
        f"Plain from the table of {few} epochs against your loss from the table of {many}: {across:.1f} points. Neither table has this difference: it mixes the loss with the number of epochs.",
    ]
    return lead_when_short.reveal(
        listed(lines),
        truth=truth,
        because="A lead within one protocol is a fair comparison. It is still a statement about that protocol.",
    )


# ------------------------------------------------------------------------------------------------------- predictions
how_far_apart = lt.Predict(
    f"Several papers print the error of **plain cross-entropy** on CIFAR-10-LT at ratio {RATIO}, with a ResNet-32. How many percentage points lie between the lowest and the highest of these numbers?",
    number=(0, 12, 0.1),
    default=1.0,
)


def open_how_far_apart():
    """The answer, with every report."""
    found = plain_errors()
    cb = printed("ce") - printed("class_balanced")
    spread = found[-1].error - found[0].error
    return how_far_apart.reveal(
        plot_plain(),
        truth=spread,
        tolerance=1.0,
        because=f"**{spread:.1f}** points between printed numbers, with the same data set, network and loss. The lowest, {found[0].source}, trains with stronger augmentation, larger batches and a cosine schedule. In the table of Cui et al. the best class-balanced loss leads plain cross-entropy by {cb:.1f} points, less than that.",
    )


lead_of_balanced = lt.Predict(
    f"We trained every row of the table of Cui et al. at ratios 100 and 200, with their network and recipe (one seed, on a GPU, from a JPEG copy of the photographs). Here are two of the rows. At ratio {RATIO} our error of plain cross-entropy is {measured('ce') - printed('ce'):.1f} points **above** the printed one. "
    f"The printed lead of the best class-balanced loss is {lead('class_balanced')[0]:.1f} points. How large is it in our runs?",
    number=(-4, 8, 0.1),
    default=0.0,
)


def open_lead_of_balanced():
    """The answer, at both ratios that were run."""
    lines = []
    for ratio in (100, 200):
        print_, ours = lead("class_balanced", ratio)
        lines.append(
            f"Ratio {ratio}: printed {printed('ce', ratio):.2f} and {printed('class_balanced', ratio):.2f}, lead **{print_:.2f}**; ours {measured('ce', ratio):.2f} and {measured('class_balanced', ratio):.2f}, lead **{ours:.2f}**."
        )
    return lead_of_balanced.reveal(
        listed(lines),
        truth=lead("class_balanced")[1],
        tolerance=1.0,
        because="Compare leads within a table, not levels between tables: what is the same for both rows (here the files, the schedule's details, the seed) may move both alike. But one seed is no evidence: at the other ratio the two leads differ by more.",
    )


lead_of_dual = lt.Predict(
    f"The slides of the Dual Loss print no protocol and no strengths. Beside the numbers of Cui et al., their loss leads plain cross-entropy by {lead('dual')[0]:.1f} points (ratio {RATIO}). We trained it as a row of the same table, with default strengths (one seed). How large is its lead?",
    choices=["about as large, 4 to 7 points", "about half, 2 to 4 points", "less than a point", "it is behind"],
    default="about half, 2 to 4 points",
)


def open_lead_of_dual():
    """The answer, at both ratios."""
    lines = []
    for ratio in (100, 200):
        print_, ours = lead("dual", ratio)
        lines.append(
            f"Ratio {ratio}: printed lead over cross-entropy **{print_:.2f}**, ours **{ours:.2f}**; over the best class-balanced loss printed {lead('dual', ratio, 'class_balanced')[0]:+.2f}, ours {lead('dual', ratio, 'class_balanced')[1]:+.2f}."
        )
    ours = lead("dual")[1]
    truth = (
        "it is behind"
        if ours < 0
        else "less than a point"
        if ours < 1
        else "about half, 2 to 4 points"
        if ours < 4
        else "about as large, 4 to 7 points"
    )
    return lead_of_dual.reveal(
        listed(lines),
        truth=truth,
        because="Four explanations cannot be told apart from here: the slides use other strengths than ours; their protocol differs from that of Cui et al., whose rows they repeat; chance, with one seed each; our JPEG files. A number without a protocol cannot be checked.",
    )


BASELINES = {
    "class-balanced": "class_balanced",
    "focal": "focal",
    "LDAM-DRW": "ldam_drw",
    "CDB-CE, re-run": "cdb",
    "TriCDB-CE": "tricdb",
}
below_plain = lt.Predict(
    f"Darkwah & Kang (2023, table 3) print TriCDB-CE on CIFAR-10-LT at ratio {RATIO} beside four other losses for long tails: {', '.join(name.partition(', re-run')[0] for name in list(BASELINES)[:-1])}. "
    "How many of these four are **less** accurate there than plain cross-entropy is in Cui et al.?",
    number=(0, 4, 1),
    default=0,
)


def elsewhere(key, dataset):
    """What other papers print of a method under the protocols of Cui et al. and Sinha et al.: (ratio, report)."""
    return [
        (ratio, one)
        for ratio in (200, 100, 50, 20, 10)
        for one in tables.reports(dataset, ratio)
        if one.key == key and one.source != TRICDB_3 and one.group in ("A", "D")
    ]


def matches(key, accuracy):
    """Those of CIFAR-100-LT that are this accuracy after rounding."""
    return [(ratio, one) for ratio, one in elsewhere(key, "CIFAR-100-LT") if round(100 - one.error) == accuracy]


def open_below_plain():
    """The answer, and where three of the numbers stand in other papers."""
    plain_accuracy = 100 - printed("ce")
    found = {name: 100 - reported(TRICDB_3, name) for name in BASELINES}
    below = [name for name in list(BASELINES)[:-1] if found[name] < plain_accuracy]
    told = ", ".join(f"{name} .{found[name]:.0f}" for name in BASELINES)
    lines = [f"Printed accuracies: {told}. Plain cross-entropy in Cui et al.: {plain_accuracy:.1f}%."]
    behind = {name: plain_accuracy - found[name] for name in below}
    errors = [one.error for one in plain_errors()]
    far = [name for name, gap in behind.items() if gap > errors[-1] - errors[0]]
    lines.append(
        f"This compares protocol F with protocol A, because table 3 prints no plain cross-entropy. We accept it here: of the {NUMBER[len(errors)]} printed numbers for plain cross-entropy that of Cui et al. is the least accurate, and {NUMBER[len(far)]} of these losses lie below it by more than the {errors[-1] - errors[0]:.1f} points of the whole spread ({', '.join(f'{name} {behind[name]:.1f}' for name in far)}). {' and '.join(f'{name}, {gap:.1f} points below,' for name, gap in behind.items() if name not in far)} is the weaker case."
    )
    for name in ("class-balanced", "focal", "LDAM-DRW"):
        same = matches(BASELINES[name], found[name])
        searched = elsewhere(BASELINES[name], "CIFAR-100-LT")
        whole = len({round(100 - one.error) for _, one in searched})
        lowest = 100 - max(one.error for _, one in elsewhere(BASELINES[name], TEN))
        told = "; ".join(
            f"{one.method}, ratio {ratio}: {100 - one.error:.2f} ({one.source})" for ratio, one in same[:2]
        )
        lines.append(
            f"{name} .{found[name]:.0f}: on **CIFAR-100-LT**, {told or 'nothing equal is printed'}. Searched: {len(searched)} printed numbers, {whole} different ones after rounding. The lowest that those papers print for it on CIFAR-10-LT, at any ratio: {lowest:.0f}%."
        )
    lines.append(
        f"TriCDB-CE itself is .{100 - reported(TRICDB_2, 'TriCDB-CE'):.0f} in table 2 and .{found['TriCDB-CE']:.0f} in table 3, about as plain cross-entropy in Cui et al."
    )
    return below_plain.reveal(
        listed(lines),
        truth=len(below),
        tolerance=0,
        because="All four were made to do better than plain cross-entropy. After rounding, three agree with numbers that other papers print for CIFAR-100-LT, at ratios of 10 and 20. That they were taken from CIFAR-100-LT is our inference. Among so many numbers one agreement can be chance, but for CIFAR-10-LT the same papers print no number as low. If we are right, the table's leads of TriCDB-CE over these three compare results on two different data sets.",
    )


SURVIVES = {
    "Cui et al. 2019": CUI, "Ren et al. 2020": "Ren et al. 2020, table 2",
    "Menon et al. 2021": "Menon et al. 2021, table 3", "Darkwah & Kang 2023": TRICDB_3,
}  # fmt: skip
whose_order = lt.Predict(
    "Our photographs are another protocol altogether: 16 × 16 pixels, a small network, 40 epochs, ten seeds. Take the methods of each paper that we recorded there. Whose order survives best?",
    choices=list(SURVIVES),
    default="Cui et al. 2019",
)


def open_whose_order():
    """The answer for every paper, and why."""
    shares = {name: kept(source, "photographs")[0] for name, source in SURVIVES.items()}
    best = max(shares, key=lambda name: shares[name].right / shares[name].pairs)
    spread = {}
    for name, source in SURVIVES.items():
        found = tables.paper_reports(TEN, RATIO, source)
        ours = tables.our_errors(TEN, RATIO, found, "photographs")
        errors = sorted(one.error for one in found if one.method in ours)
        spread[name] = (errors[-1] - errors[0], float(np.median(np.diff(errors))))
    told = "; ".join(f"{name} {median:.1f}" for name, (_, median) in spread.items())
    chance = []
    for right, rows in sorted(
        {(kept(source, "photographs")[0].right, kept(source, "photographs")[-1]) for source in SURVIVES.values()}
    ):
        chance.append((f"{right} of {rows * (rows - 1) // 2}", f"{100 * by_chance(right, rows):.0f}%"))
    _, slides, _ = kept(SLIDES, "photographs")
    return whose_order.reveal(
        plot_orders(),
        truth=best,
        because=f"A random order keeps at least {chance[0][0]} pairs in {chance[0][1]} of cases; {'; '.join(f'{kept} in {share}' for kept, share in chance[1:])}. Median step between neighbouring rows, in printed points: {told}. Large steps may be likelier to survive than small ones, but {NUMBER[len(SURVIVES)]} papers cannot test that. The steps of Darkwah & Kang are the largest and their order is not kept better: three of their rows are perhaps of another data set. Rows within a fraction of a point of each other may swap places under the next seed. The slides of Li et al. are not among the choices: all their rows but one are those of Cui et al., and that one, the Dual Loss, has no stated protocol ({slides.right} of its {slides.pairs} pairs keep their order).",
    )


lead_when_short = lt.Predict(
    "The same two losses on the bench, in two tables of your own: one after 60 epochs, one after 15. Is the lead of your loss over cross-entropy after 15 epochs larger or smaller than after 60?",
    choices=["smaller", "about the same", "larger"],
    default="about the same",
)


# ------------------------------------------------------------------------------------------------------------ claims
def _there(found, printed_lead):
    """Whether a printed lead, in points, is seen on the photographs too: its sign with p < .05, and its size where the
    95% interval contains the printed lead."""
    decided = found.p < 0.05
    if decided and np.sign(found.mean) != np.sign(printed_lead):
        return "not there"
    said = "also there" if decided else "undecided there"
    if abs(100 * found.mean - printed_lead) <= 100 * found.half:
        return said
    return f"{said}, but {'smaller' if abs(100 * found.mean) < abs(printed_lead) else 'larger'} than printed"


def _seed(key, ratio, other="ce"):
    """A claim of the table beside our one seed."""
    first, second = lead(key, ratio, other)
    return (
        f"{_claim(key, ratio)} {printed(key, ratio):.2f}, {NAMES[other]} {printed(other, ratio):.2f}: **{first:+.2f}**",
        ONE_BASELINE + (", default strengths" if key == "dual" else ""),
        f"{measured(key, ratio):.2f} and {measured(other, ratio):.2f}: **{second:+.2f}**",
        lt.metrics.ONE_SEED,
    )


def _claim(key, ratio=RATIO):
    """Whose claim about which row of the Dual Loss's table."""
    whose, what = {"dual": ("Li et al., slides", "Dual Loss"), "class_balanced": (CUI, NAMES["class_balanced"])}[key]
    return f"{whose}, ratio {ratio}: {what}"


def claims():
    """The claims of the four sources beside what is measured here."""
    cb, li = lt.metrics.paired(balanced(), base()), lt.metrics.paired(dual(), base())
    li_cb = lt.metrics.paired(dual(), balanced())
    tricdb, cdb, ldam = (
        photographs("tricdb", strength=1.0),
        photographs("cdb", tau_rule="sigmoid"),
        [r for r in photographs("ldam_drw") if r.label == "ldam_drw"],
    )
    tri, tri_ldam, rect = (
        lt.metrics.paired(tricdb, cdb),
        lt.metrics.paired(tricdb, ldam),
        lt.metrics.paired(crl(), photographs("contrastive")),
    )
    acc = {key: 100 - reported(TRICDB_3, key=key) for key in ("tricdb", "cdb", "ldam_drw")}
    celeb = lt.published.published("CelebA").set_index("method")["value"]
    over = lead("dual", 100, "class_balanced")[0]
    where = f"{TRICDB_3}, ratio 100"
    return lt.study.claims_table([
        _seed("class_balanced", 100),
        _seed("class_balanced", 200),
        (f"{_claim('class_balanced')} **{lead('class_balanced')[0]:+.2f}**, as above", f"{ELSEWHERE}; class-balanced focal, β = .9999, γ = 1", points(cb), _there(cb, lead("class_balanced")[0])),
        _seed("dual", 100),
        _seed("dual", 200),
        (f"{_claim('dual')} **{lead('dual')[0]:+.2f}**, as above", f"{ELSEWHERE}; default strengths", points(li), _there(li, lead("dual")[0])),
        (f"{_claim('dual')} over best class-balanced **{over:+.2f}**", ELSEWHERE, points(li_cb), _there(li_cb, over)),
        (f"{where}: TriCDB-CE {acc['tricdb']:.0f}, CDB-CE {acc['cdb']:.0f}: **{acc['tricdb'] - acc['cdb']:+.0f}**", f"{ELSEWHERE}; λ = 1, Darkwah & Kang's τ", points(tri), _there(tri, acc["tricdb"] - acc["cdb"])),
        (f"{where}: TriCDB-CE over LDAM-DRW {acc['ldam_drw']:.0f}: **{acc['tricdb'] - acc['ldam_drw']:+.0f}**", f"{ELSEWHERE}; the printed rows are perhaps of two data sets", points(tri_ldam), _there(tri_ldam, acc["tricdb"] - acc["ldam_drw"])),
        (f"Dong et al., poster, CelebA: CRL (class level) {celeb['CRL (class level)']:.0f}, DeepID2 {celeb['DeepID2']:.0f}: **{celeb['CRL (class level)'] - celeb['DeepID2']:+.0f}**", f"{ELSEWHERE}; classes instead of attributes; against the contrastive loss of DeepID2, default strengths", points(rect), f"another task; {_there(rect, celeb['CRL (class level)'] - celeb['DeepID2'])}"),
    ])  # fmt: skip


def open_claims():
    """The table, folded until the reader has answered the questions above."""
    return folded(
        "CLAIMS", "Four sources, and what is measured here", "Open this after your predictions",
        listed([
            f"What is measured {ELSEWHERE} has ten seeds. “Also there”, “not there” and “undecided there” say whether the sign of a lead is the printed one under that protocol, “smaller” or “larger than printed” means that its interval does not contain the printed size. They neither confirm nor refute the printed one.",
        ]),
        claims(),
    )  # fmt: skip


def say_open_ends():
    """What is printed and not run here."""
    told = []
    for name, table in TABLES.items():
        found = tables.frame(table, tables.recorded_runs())
        told.append(f"`{name}` {int((found['seeds'] > 0).sum())} of {len(found)}")
    return listed([
        f"Entries of the papers' tables that have a run here: {', '.join(told)}. The others are *not run yet*.",
        "`python -m ltviz table dual-cifar10` shows a table: what is run, on which device, from which files.",
        "CIFAR-100 and Manga109 are beyond the scope of this course: their numbers are shown, and stay unchecked.",
    ])  # fmt: skip


# --------------------------------------------------------------------------------------------------------- who pays
def four_sources():
    """The losses of the four sources on the photographs, ten runs each."""
    return {
        "class-balanced focal (Cui)": balanced(),
        "Dual Loss (Li)": dual(),
        "TriCDB (Darkwah)": photographs("tricdb", strength=1.0),
        "CRL (Dong)": crl(),
    }


def plot_four_sources():
    """The four sources' losses on the chart of the course."""
    return lt.plot_who_pays(four_sources(), base())


def say_four_sources():
    """Which of the four beat the plain network as trained, and which of them the line of tau; folded."""
    lines = []
    for name, runs in four_sources().items():
        trained, line = lt.metrics.paired(runs, base()), lt.metrics.beyond(runs, base())
        words = {True: ", beats the plain network as trained", False: ", is behind the plain network as trained"}
        sides = {True: ", beyond the line of τ", False: ", below the line of τ"}
        first, second = (said[one.mean > 0] if one.p < 0.05 else "" for one, said in ((trained, words), (line, sides)))
        lines.append(
            f"{name}: accuracy of all classes {points(trained)}{first}; rare classes beside the line {points(line)}{second}."
        )
    lines.append(
        "A loss may beat the plain network as trained, and not the plain network decided again with a τ ([chapter 03](03_decide_again.ipynb)). Settings are the defaults, but for the class-balanced loss, which has the one that Cui et al. found best."
    )
    return folded("WHO PAYS", "The four beside the plain network", "Open this after the questions above", listed(lines))


# ------------------------------------------------------------------------------------------------------- exercises
SAME = ("dataset", "profile", "ratio", "metric", "network")


def _comparable(a, b):
    if any(a[name] != b[name] for name in SAME):
        return False
    return a["source"] == b["source"] if "-" in (a["group"], b["group"]) else a["group"] == b["group"]


def _report(**changes):
    return {
        "dataset": TEN,
        "profile": "exp",
        "ratio": 100,
        "metric": "error",
        "network": "ResNet-32",
        "group": "A",
        "source": CUI,
        "method": "CE (softmax)",
        "value": 29.64,
    } | changes


def _case(name, why, **changes):
    return lt.study.Case(name, (_report(), _report(method="LDAM-DRW", **changes)), why)


comparable = lt.Exercise(
    "May these two rows be compared?",
    """Write `comparable(a, b)`: `True` where two printed numbers may be compared. Each is a dict with the keys `dataset`, `profile` (how the counts fall: exponentially or in a step), `ratio`, `metric`, `network`, `group` (the letter of the protocol; one group may have several networks), `source`, `method` and `value`. The group `"-"` means *not stated*: such a number may be compared with those of its own source only.

The check writes 1 for `True` and 0 for `False`.""",
    """
def comparable(a, b):
    if any(a[name] != b[name] for name in ("dataset", "profile", "ratio", "metric", "network")):
        return False
    if a["group"] == "-" or b["group"] == "-":
        return a["source"] == b["source"]
    return a["group"] == b["group"]
""",
    [
        _case("one protocol, two papers", "Other method and other source: that is what a comparison is for.", source="Cao et al. 2019, table 2"),
        _case("another protocol", "Groups A and C train differently.", group="C", source="Ren et al. 2020, table 2"),
        _case("another ratio", "The ratio is part of the data.", ratio=50),
        _case("another profile", "Steps and exponential tails are other data.", profile="step"),
        _case("another network", "A deeper network has lower errors.", network="ResNet-110"),
        _case("error and accuracy", "Mind the metric.", metric="accuracy"),
        _case("another data set", "CIFAR-100 is another problem.", dataset="CIFAR-100-LT"),
        lt.study.Case("not stated, two sources", (_report(group="-"), _report(group="-", source=SLIDES)), "Two protocols that are not stated need not be the same."),
        lt.study.Case("not stated, one source", (_report(group="-", source=SLIDES), _report(group="-", source=SLIDES, method="Dual Loss")), "We assume that one source uses one protocol."),
    ],
    oracle=_comparable,
    hints=["Which of the fields describe the data and the measurement, and which the method?", "Treat the group `\"-\"` before you compare groups."],
    mistakes={
        "Two numbers whose protocol is not stated do not share it.": lambda a, b: all(a[n] == b[n] for n in (*SAME, "group")),
        "The method, the value and the source may differ.": lambda a, b: all(a[n] == b[n] for n in (*SAME, "group", "source")),
    },
)  # fmt: skip


def _gap(a, b, sd, seeds=(1, 1)):
    return a - b, 1.96 * sd * (1 / seeds[0] + 1 / seeds[1]) ** 0.5


gap = lt.Exercise(
    "Two reports of one baseline",
    """Two papers report the same baseline under the same protocol: errors `a` and `b`, means over `seeds[0]` and `seeds[1]` seeds. One seed has the standard deviation `sd`. Write `gap(a, b, sd, seeds=(1, 1))`: the difference `a - b`, and half of its 95% interval (use 1.96), as a pair.

Then apply it to the gaps of the card *The same method under the same protocol*.""",
    """
def gap(a, b, sd, seeds=(1, 1)):
    variance = sd**2 / seeds[0] + sd**2 / seeds[1]
    return a - b, 1.96 * variance**0.5
""",
    [
        lt.study.Case("Cui et al. and their re-run", (25.19, 24.02, 0.8), "One seed each: the variance of a difference is the sum of both."),
        lt.study.Case("ten seeds each", (25.19, 24.02, 0.8, (10, 10)), "The variance of a mean is that of one seed, divided by the number of seeds."),
        lt.study.Case("one seed against ten", (61.68, 59.7, 1.0, (1, 10)), "Each side has its own number of seeds."),
        lt.study.Case("no noise", (3.0, 5.0, 0.0), "The difference keeps its sign."),
    ],
    oracle=_gap,
    hints=["Variances of independent numbers add up, also where you subtract the numbers.", "Take the root last."],
    mistakes={
        "Standard deviations do not add up; variances do.": lambda a, b, sd, seeds=(1, 1): (a - b, 1.96 * (sd / seeds[0] ** 0.5 + sd / seeds[1] ** 0.5)),
        "That is the interval of one of the two numbers, not of their difference.": lambda a, b, sd, seeds=(1, 1): (a - b, 1.96 * sd / seeds[0] ** 0.5),
        "The number of seeds divides the variance, not the standard deviation.": lambda a, b, sd, seeds=(1, 1): (a - b, 1.96 * ((sd / seeds[0]) ** 2 + (sd / seeds[1]) ** 2) ** 0.5),
    },
)  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ quiz
def quiz():
    """Five questions."""
    return lt.Quiz([
        lt.study.Question(
            "Paper P prints 22.6% for its baseline and 16.3% for its loss, paper Q prints 29.6% and 25.4%. Which loss is better?",
            {
                "P's: 16.3% is lower": "The baselines are 7 points apart: most of the difference is the protocol.",
                "P's: its lead is larger": "A lead is the better number, but leads depend on the protocol, too.",
                "the numbers do not say": "Yes. Train both under one protocol.",
            },
            "the numbers do not say",
        ),
        lt.study.Question(
            "A table's rows above the last one are copied from another paper. What does that mean for the last row?",
            {
                "Nothing, if the data set is the same.": "Schedule, augmentation, files and code may differ, and each moves the error by points.",
                "Its lead may mix the method with a change of protocol.": "Yes, unless the new row was trained in the same way, and the authors say so.",
                "It is wrong.": "It may be right; it cannot be checked.",
            },
            "Its lead may mix the method with a change of protocol.",
        ),
        lt.study.Question(
            "Our single run has an error 4 points above the printed one, for two rows alike. What is the most that follows?",
            {
                "The paper's numbers are wrong.": "Other files, other code, another seed: each may explain it.",
                "Something that both rows share differs.": "Yes; and then the lead is the better thing to compare.",
                "The method does not work.": "Both rows moved.",
            },
            "Something that both rows share differs.",
        ),
        lt.study.Question(
            "Two rows of a table are 0.1 points apart, one seed each; between seeds the standard deviation is 0.8 points. How sure is their order?",
            {
                "It is nearly a coin toss.": "Yes: the standard deviation of the difference is 1.1 points.",
                "Quite sure, the test set has 10,000 images.": "The seed moves both numbers by more than that.",
                "Sure: lower is lower.": "Under the next seed it may be the other way round.",
            },
            "It is nearly a coin toss.",
        ),
        lt.study.Question(
            "A loss learns from the accuracy on a balanced validation set; the losses beside it in the table do not. What is unfair?",
            {
                "It has seen more labelled images.": "Yes: give the others the same images, or say so.",
                "It chooses on the test set.": "Not if the validation images are others.",
                "Nothing.": "The validation images are labelled data, and balanced.",
            },
            "It has seen more labelled images.",
        ),
    ])  # fmt: skip
