"""Chapter 09: its predictions, exercises and quiz, and the figures that they open."""
# ruff: noqa: E501  (text for readers is not cut into lines)

import functools
import os

import numpy as np
import torch

import ltviz as lt
from ltviz.functional import unit
from ltviz.methods.cdb import difficulty_weights, dynamic_tau
from ltviz.methods.class_balanced import class_balanced_weights
from ltviz.plots.picture import EDGE, GROUP_COLOURS, Picture, draws, look, new_figure, percent
from ltviz.plots.theme import PHOTO
from ltviz.study.cards import Card, Panel, box, bullets, fold, inline, plain, prose, safe, show
from ltviz.training.snapshots import take_snapshots

SEEDS = 2 if os.environ.get("LTVIZ_PROFILE") == "fast" else 10  # of what the chapter trains by itself
GROUPS = {"head": "frequent", "mid": "middle", "tail": "rare"}
PLACES = {"cifar16": "photographs", "digits": "bench"}
GOAL = (0.70, 0.40)  # the goal of chapter 00: accuracy of the frequent and of the rare classes
NEAR = 0.01  # how near τ is to its upper end where we say that it stays there
DRAWS = 10_000  # of true accuracies, where the ends of a band are printed
PRINTED_ALONG = {0.25: 40, 0.5: 41, 0.75: 40, 1.0: 41}  # λ: percent, typed from Darkwah & Kang 2023, table 1
EARLY = slice(5, 30)  # epochs 6 to 30: after the start, before the learning rate is small


def cdb(place, rule="fixed"):
    """Ten recorded runs of CDB-CE with this reading of τ ("fixed": τ = 1), one a seed."""
    return lt.recorded(place, "cdb", tau_rule=rule)


def tricdb(place, strength=1.0):
    """Ten recorded runs of TriCDB-CE, whose τ is that of its own paper."""
    return lt.recorded(place, "tricdb", strength=strength)


def plain_runs(place="cifar16"):
    """Ten recorded runs without class weights."""
    return lt.recorded(place, "ce")


def balanced():
    """Ten recorded runs of chapter 04's loss on the photographs, β = 0.99."""
    return lt.recorded("cifar16", "class_balanced", loss="softmax", beta=0.99, reduction="n")


def replayed(place):
    """What the explorer replays: one seed of several trainings, by label."""
    return {
        "CDB, Sinha's τ": cdb(place, "paper")[0],
        "CDB, Darkwah's τ": cdb(place, "sigmoid")[0],
        "CDB, τ = 1": cdb(place)[0],
        "TriCDB, λ = 1": tricdb(place)[0],
        "no class weights": plain_runs(place)[0],
    }


def compared(place="cifar16"):
    """The series of the table, the plain network first."""
    return {
        "no class weights": plain_runs(place),
        "CDB, Sinha's τ": cdb(place, "paper"),
        "CDB, τ = 1": cdb(place),
        "CDB, Darkwah's τ": cdb(place, "sigmoid"),
        "TriCDB, λ = 0.1": tricdb(place, 0.1),
        "TriCDB, λ = 1": tricdb(place, 1.0),
        "TriCDB, λ = 10": tricdb(place, 10.0),
        "triplets alone, λ = 0.1": lt.recorded(place, "triplet"),
        "contrastive, λ = 0.1": lt.recorded(place, "contrastive"),
    }


def points(found):
    """A paired difference in percentage points, with its 95% interval and verdict."""
    mean = f"{100 * found.mean:+.1f}".replace("-0.0", "0.0").replace("+0.0", "0.0")
    return f"**{mean} ± {100 * found.half:.1f}** points ({found.verdict})"


def changes(ours, base, groups=("head", "mid", "tail")):
    """The paired differences of the thirds, in words."""
    return ", ".join(f"{GROUPS[g]} classes {points(lt.metrics.paired(ours, base, g))}" for g in groups)


def taus(run, rule):
    """τ after each epoch (e,) from the validation accuracies of a run."""
    return lt.metrics.difficulty_course(run.history["val_accuracy"], rule).tau


def table(head, rows):
    """Rows of texts, with inline markdown, as a card."""
    look_ = 'style="text-align:left;padding:.2em .8em"'
    top = "".join(f"<th {look_}>{safe(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td {look_}>{inline(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    lines = [" | ".join(map(plain, row)) for row in (head, *rows)]
    return Card(f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>", "\n".join(lines))


def folded(label, title, summary, *content):
    """A card that shows its title alone until the reader opens it."""
    return Card(box("note", label, title, fold(summary, show(list(content)))), f"{title}: folded.")


# --------------------------------------------------------------------------------------------- rare against difficult
def inversion(run):
    """The largest lead of a class over one with more images: (points, harder class, easier class), as class numbers."""
    order = np.argsort(-run.counts)
    found = [(run.per_class[j] - run.per_class[i], i, j) for a, i in enumerate(order) for j in order[a + 1 :]]
    return max(found)


@draws
def plot_rare_and_hard():
    """A photograph of each class, most frequent first; below it the accuracy of a plain network."""
    run = max(plain_runs(), key=inversion)
    photographs, (_, harder, easier) = lt.study.photographs(), inversion(run)
    figure, k = new_figure(9.4, 2.75), run.k
    groups = lt.metrics.third_groups(run.counts)
    colours = [next(GROUP_COLOURS[name] for name, mask in groups.items() if mask[j]) for j in range(k)]
    top, bottom = figure.subplots(2, k, height_ratios=(1, 1.3), sharey="row")
    for j in range(k):
        first = int(np.flatnonzero(photographs.names == run.class_names[j])[0])
        top[j].imshow(photographs.images[first], gid=PHOTO, interpolation="nearest")
        top[j].set(xticks=[], yticks=[])
        top[j].grid(False)
        top[j].set_title(f"{run.class_names[j]}\n{run.counts[j]:,}", fontsize=8.5, loc="center")
        bottom[j].bar([0], [run.per_class[j]], color=colours[j])
        bottom[j].set(xticks=[], ylim=(0, 1))
        bottom[j].set_xlabel(
            f"{run.per_class[j]:.0%}", fontsize=10, fontweight="bold" if j in (harder, easier) else None
        )
    percent(bottom[0].yaxis)
    names = run.class_names
    text = (
        f"Photographs of the {k} classes by training images, and accuracy of a plain network (seed {run.seed}): "
        f"{names[harder]} with {run.counts[harder]} images {run.per_class[harder]:.0%}, {names[easier]} with "
        f"{run.counts[easier]} images {run.per_class[easier]:.0%}."
    )
    return Picture([*bottom, *top], {"counts": run.counts, "accuracy": run.per_class}, text)


def say_rare_and_hard():
    """How far rarity and difficulty agree, under ten seeds."""
    runs = plain_runs()
    run = max(runs, key=inversion)
    _, harder, easier = inversion(run)
    leads = [inversion(one)[0] for one in runs]
    ranks = [lt.metrics.spearman(one.per_class, one.counts) for one in runs]
    return lt.say(
        f"Seed {run.seed}, where the contrast is largest: {run.class_names[harder]} has {run.counts[harder]} training images and reaches "
        f"**{run.per_class[harder]:.0%}**, {run.class_names[easier]} has {run.counts[easier]} and reaches **{run.per_class[easier]:.0%}**. "
        f"**{sum(lead > 0.05 for lead in leads)}** of the {len(runs)} seeds have such a pair, more than 5 points apart. "
        f"Still, accuracy mostly follows the count: their rank correlation is between {min(ranks):.2f} and {max(ranks):.2f}. Blue, green and orange are the frequent, the middle and the rare classes."
    )


# ----------------------------------------------------------------------------------------------------- predictions
class Behind(Panel):
    """Widgets in a cell of their own that show once a prediction is committed: they would give its answer away."""

    waiting = {}  # prediction -> what opens the last such cell

    def __init__(self, gate, *shown):
        self.gate, self.shown = gate, shown
        super().__init__([prose(self.closed)])
        if gate in self.waiting:
            gate.control.unobserve(self.waiting[gate], "locked")
        self.waiting[gate] = lambda change: self.follow()
        gate.control.observe(self.waiting[gate], "locked")
        self.follow()

    closed = box("note", "CLOSED", "", "Commit to an answer above: then an explorer opens here.")

    def follow(self):
        """Show what is behind, where the reader has answered."""
        if self.gate.committed:
            self.children = self.shown

    def static(self):
        return Card(self.closed, "Closed: answer the question above first.")


BEST, WORST = 0.9, 0.6
tau_of_two = lt.Predict(
    f"The best class is right on {BEST:.0%} of its validation images, the worst on {WORST:.0%}. Which exponent does **Darkwah and Kang's** "
    "reading give?",
    number=(0, 2, 0.01),
    default=0.33,
)


def open_tau_of_two():
    """The answer, beside the other two readings, and what each gives where all classes are alike."""
    two, same = torch.tensor([BEST, WORST], dtype=torch.float64), torch.full((2,), 0.75, dtype=torch.float64)
    found = {rule: float(dynamic_tau(two, rule)) for rule in ("paper", "sigmoid", "public")}
    alike = {rule: float(dynamic_tau(same, rule)) for rule in found}
    return tau_of_two.reveal(
        f"**{found['sigmoid']:.2f}** (Darkwah and Kang), **{found['paper']:.2f}** (Sinha et al.), **{found['public']:.2f}** (public code).",
        truth=found["sigmoid"],
        tolerance=0.03,
        because=f"With ε so small, $b$ is nearly ${BEST} / {WORST} - 1 = 0.5$, and $1 / (1 + e^{{-0.5}}) = {found['sigmoid']:.2f}$. Where all classes are at 75%, $b$ is 0 but for ε, "
        f"and the three readings give {alike['sigmoid']:.2f}, {alike['paper']:.2f} (with ε = 0 it would be 1) and {alike['public']:.2f}. None ever goes to 0, so a loss "
        "with dynamic τ never becomes plain cross-entropy while accuracies differ.",
    )


STAYS = "it stays at its upper end, 2"
does_it_move = lt.Predict(
    "You have seen what τ does on the bench. Ten more networks are trained on the photographs for 40 epochs, with Sinha et al.'s dynamic τ. What does τ do there?",
    choices=[
        "it falls from 2 to about 1",
        "it falls from 2 to about 1.5",
        "it moves up and down between 1 and 2",
        STAYS,
    ],
    default="it falls from 2 to about 1.5",
)


@draws
def plot_taus():
    """τ by epoch on the photographs and on the bench: a thin line a seed, a thick one for their mean."""
    axes, data, said = new_figure(8.6, 3.2).subplots(1, 2, sharey=True), {}, []
    for ax, (place, name) in zip(axes, PLACES.items(), strict=True):
        for i, (rule, whose) in enumerate((("paper", "Sinha"), ("sigmoid", "Darkwah"))):
            rows = np.array([taus(run, rule) for run in cdb(place, rule)])
            epochs, colour = np.arange(1, rows.shape[1] + 1), look(i)["color"]
            ax.plot(epochs, rows.T, color=colour, linewidth=0.7, alpha=0.45)
            ax.plot(epochs, rows.mean(0), color=colour, linewidth=2.6, label=whose)
            data[f"{name}, {whose}"] = rows
            said.append(
                f"{name}, {whose}: {rows[:, 0].mean():.2f} after the first epoch, {rows[:, -1].mean():.2f} after the last"
            )
        ax.set(xlabel="epochs done", title=f"The {name}", ylim=(0, 2.1), xlim=(0, len(epochs)))
    axes[0].set_ylabel("exponent τ")
    axes[1].legend(title="reading", loc="center left", bbox_to_anchor=(1.02, 0.5))
    return Picture(list(axes), data, "Mean of ten seeds. " + "; ".join(said) + ".")


TRY = (
    "The dial of the photographs, seed 0. (The class order changes with the seed, so the most frequent class is not that of the first figure.) "
    "Slide the epoch: what happens to a class in the epoch after it was at 90%? Two of the three readings agree here: why? "
    "Raise the classes that are at 0, one by one: how many must you raise before τ moves?"
)


def tried():
    """What the dial of the photographs shows, folded."""
    rows = [run.history["val_accuracy"].astype(float) for run in cdb("cifar16", "paper")]
    then = np.concatenate([found[1:][found[:-1] >= 0.9] for found in rows])
    first = rows[0]  # seed 0, which the dial replays
    raised = np.where(first == 0, first.max(1, keepdims=True), first)
    still = int((lt.metrics.difficulty_course(raised, "paper", draws=1).tau > 2 - NEAR).sum())
    lines = [
        f"Under ten seeds a class was at 90% or more {len(then)} times. An epoch later such a class was at {then.mean():.0%} on average, and below 50% in {(then < 0.5).mean():.0%} of the cases.",
        "Darkwah and Kang's reading and the public code agree: with the worst class at 0, $b$ is so large that both are 1. The −1 in $b$, which the public code leaves out, changes nothing.",
        f"All of them, and then those that are nearly at 0: τ knows only the best and the worst class. After {still} of the {len(first)} epochs some class that is right on a few images keeps τ above {2 - NEAR:.2f} when all that are at 0 are raised.",
    ]
    return Card(fold("What there is to see", bullets(lines)), "What there is to see: folded.")


def photo_dial(dial):
    """The dial of the photographs, with what to try, and what there is to see; open once the question is answered."""
    return Behind(does_it_move, prose(show(TRY)), dial.widget, prose(tried().html))


def open_does_it_move():
    """The answer: the range of τ over all seeds and epochs, and why."""
    found = np.array([taus(run, "paper") for run in cdb("cifar16", "paper")])
    last = found[:, -1].mean()
    accuracies = np.concatenate([run.history["val_accuracy"] for run in cdb("cifar16", "paper")])
    at_zero, epochs = int((accuracies.min(1) == 0).sum()), len(accuracies)
    often = (
        f"after every one of the {epochs} epochs" if at_zero == epochs else f"after {at_zero} of the {epochs} epochs"
    )
    needed = 1 / (1 + np.log(1.9 / 0.1))
    bench = np.array([taus(run, "paper") for run in cdb("digits", "paper")])
    if found.min() > 2 - NEAR:
        truth = STAYS
    elif np.ptp(found[:, 5:]) > 0.8:
        truth = "it moves up and down between 1 and 2"
    else:
        truth = "it falls from 2 to about 1" if last < 1.25 else "it falls from 2 to about 1.5"
    return does_it_move.reveal(
        plot_taus(),
        truth=truth,
        because=f"Over all ten seeds and {found.shape[1]} epochs its smallest value is {found.min():.3f}. To come down to 1.9 the worst class needs about "
        f"{needed:.0%} of the accuracy of the best; {often} some class is right on no validation image at all. On the bench, where every class is learnt in the end, τ reaches "
        f"{bench[:, -1].mean():.2f} on average.",
    )


which_first = lt.Predict(
    "Three ways to train on the photographs, ten seeds each. Put them in order of mean accuracy over all classes, the best first.",
    order=["CDB, dynamic τ (Sinha)", "CDB, fixed τ = 1", "no class weights"],
)


def three_ways():
    """The three trainings that `which_first` asks about."""
    return {
        "no class weights": plain_runs(),
        "CDB, fixed τ = 1": cdb("cifar16"),
        "CDB, dynamic τ (Sinha)": cdb("cifar16", "paper"),
    }


def swings(runs, epochs=EARLY):
    """(how often a class's validation accuracy turns round, share of epochs of the frequent classes that are under
    10%), mean over runs. It turns where it falls after it rose, or rises after it fell; where it did not change,
    nothing is counted. Of three independent draws the middle one is the largest or the smallest in 4 of 6 orders."""
    reversed_, low = [], []
    for run in runs:
        found = run.history["val_accuracy"].astype(float)[epochs]
        steps = np.sign(np.diff(found, axis=0))
        both = steps[1:] * steps[:-1]
        reversed_.append((both < 0).sum() / (both != 0).sum())
        low.append((found[:, lt.metrics.third_groups(run.counts)["head"]] < 0.1).mean())
    return float(np.mean(reversed_)), float(np.mean(low))


def open_which_first():
    """The answer, and the swings behind it."""
    groups = three_ways()
    mean = {label: np.mean([run.accuracy for run in runs]) for label, runs in groups.items()}
    bench = cdb("digits", "paper")
    trained = {f"photographs: {label}": runs for label, runs in groups.items()}
    trained["bench: CDB, dynamic τ (Sinha)"] = bench
    rows = [(label, *(f"{share:.0%}" for share in swings(runs))) for label, runs in trained.items()]
    steps = [-(-int(runs[0].counts.sum()) // runs[0].recipe["batch_size"]) for runs in (cdb("cifar16", "paper"), bench)]
    return which_first.reveal(
        [
            lt.plot_comparison(groups),
            table(("epochs 6 to 30", "accuracy turns round", "a frequent class is under 10%"), rows),
            "*Turns round*: a class's accuracy falls after it rose, or rises after it fell. Noise around a steady level turns in 67% of cases; much more than that is a swing.",
        ],
        truth=sorted(mean, key=mean.get, reverse=True),
        because="The feedback comes one epoch late, and at τ = 2 it is strong. A class at 90% gets a weight near 0, is often forgotten within an epoch, then gets a large weight, and is learnt again. "
        f"The bench does not swing so, and dynamic τ gives {points(lt.metrics.paired(bench, plain_runs('digits')))} against no weights there. A likely reason, not tested here: "
        f"an epoch of the bench has {steps[1]} steps, one of the photographs {steps[0]}, so less is forgotten before the weights are corrected.",
    )


who_gains = lt.Predict(
    "On the photographs, CDB with τ = 1 and the class-balanced loss (β = 0.99) reach about the same mean accuracy over all classes. One weights by accuracy, the other by count. "
    "Which classes are better off under **CDB** than under the class-balanced loss?",
    choices=["the rare ones", "the middle ones", "the frequent ones"],
    default="the rare ones",
)


@draws
def plot_gains():
    """Difference to no class weights of each third, for weights by accuracy and by count, with 95% intervals."""
    ax, data, said = new_figure(7.0, 3.2).subplots(), {}, []
    for i, (label, runs) in enumerate(
        {"by accuracy (CDB, τ = 1)": cdb("cifar16"), "by count (β = 0.99)": balanced()}.items()
    ):
        found = [lt.metrics.paired(runs, plain_runs(), group) for group in GROUPS]
        mean, half = np.array([100 * one.mean for one in found]), np.array([100 * one.half for one in found])
        kind = look(i)
        ax.errorbar(
            np.arange(3) + 0.16 * (2 * i - 1),
            mean,
            yerr=half,
            fmt=kind["marker"],
            color=kind["color"],
            label=label,
            capsize=4,
            markersize=8,
            **EDGE,
        )
        data[label], data[f"{label}, half"] = mean, half
        said.append(
            f"{label}: " + ", ".join(f"{name} {value:+.1f}" for name, value in zip(GROUPS.values(), mean, strict=True))
        )
    ax.axhline(0, color="#8A93A0", linewidth=1)
    ax.set(xticks=range(3), xlim=(-0.5, 2.5), ylabel="points against no weights")
    ax.set_xticklabels([f"{name} classes" for name in GROUPS.values()])
    ax.legend(title="class weights", loc="center left", bbox_to_anchor=(1.02, 0.5))
    ax.set_title("Who gains, on the photographs (ten seeds)")
    return Picture(ax, data, "Points against no class weights. " + "; ".join(said) + ".")


def open_who_gains():
    """The answer: CDB against the class-balanced loss, third by third."""
    ours, theirs = cdb("cifar16"), balanced()
    found = {name: lt.metrics.paired(ours, theirs, group) for group, name in GROUPS.items()}
    best = max(found, key=lambda name: found[name].mean)
    by_count = class_balanced_weights(torch.as_tensor(ours[0].counts), 0.99).numpy()
    by_accuracy = np.mean(
        [lt.metrics.difficulty_course(run.history["val_accuracy"], "fixed").weight.mean(0) for run in ours], 0
    )
    thirds = lt.metrics.third_groups(ours[0].counts).values()
    told = [", ".join(f"{weight[mask].mean():.2f}" for mask in thirds) for weight in (by_accuracy, by_count)]
    return who_gains.reveal(
        plot_gains(),
        truth=f"the {best} ones",
        because=f"CDB against the class-balanced loss: all classes {points(lt.metrics.paired(ours, theirs))}, {changes(ours, theirs)}. Mean class weights of the frequent, middle and rare classes are {told[0]} under CDB (over all epochs and "
        f"seeds) and {told[1]} under the class-balanced loss. At β = 0.99 a class with a few hundred images counts almost like one with 2,000; its accuracy says that it is hard.",
    )


how_much_lambda = lt.Predict(
    "TriCDB adds λ times the triplet term. On the photographs, what happens to mean accuracy from λ = 1, the paper's choice, to λ = 10?",
    choices=["it gains clearly", "no clear difference", "it loses clearly"],
    default="no clear difference",
)


def open_how_much_lambda(groups):
    """The answer on both data sets, what the triplets do to accuracy at all, and the table of the chapter."""
    found = lt.metrics.paired(tricdb("cifar16", 10.0), tricdb("cifar16", 1.0))
    truth = {"clearly better": "it gains clearly", "clearly worse": "it loses clearly"}.get(
        found.verdict, "no clear difference"
    )
    bench = lt.metrics.paired(tricdb("digits", 10.0), tricdb("digits", 1.0))
    alone = {place: lt.metrics.paired(lt.recorded(place, "triplet"), plain_runs(place)) for place in PLACES}
    with_tau = {place: lt.metrics.paired(tricdb(place), cdb(place, "sigmoid")) for place in PLACES}
    lines = [
        f"λ = 10 against λ = 1: photographs {points(found)}, bench {points(bench)}.",
        "λ = 1 against no triplets, same rule for τ: "
        + ", ".join(f"{PLACES[p]} {points(one)}" for p, one in with_tau.items())
        + ".",
        "Triplets alone (λ = 0.1) against no class weights: "
        + ", ".join(f"{PLACES[p]} {points(one)}" for p, one in alone.items())
        + ".",
        "In the table, *head*, *mid* and *tail* are the frequent, middle and rare classes. *Contrastive* is a simpler relative of the triplets (Sun et al. 2014): it pulls pairs of one class "
        "together, and pushes pairs of two classes apart, up to a margin.",
    ]
    return how_much_lambda.reveal(
        ["\n\n".join(lines), lt.study.comparison(groups)],
        truth=truth,
        because="A possible reason, not tested here: the recipe clips the length of the gradient at 1, so that a larger triplet term leaves less of it for the classification.",
    )


# ----------------------------------------------------------------------------------------------- triplets that violate
AT = (0, 1, 2, 3, 4, 6, 8, 11, 15, 20, 30, 45, 60)
WAYS = {
    "no class weights": ("ce", {}),
    "CDB, Darkwah's τ": ("cdb", {"tau_rule": "sigmoid"}),
    "TriCDB, λ = 1": ("tricdb", {"strength": 1.0}),
}


@functools.cache
def violations():
    """Label -> (seeds, 3, epochs), trained live: share of violating triplets of training and of test images, and how
    far apart the classes of the training images are (`apart`)."""
    found = {}
    for label, (method, settings) in WAYS.items():
        rows = []
        for seed in range(SEEDS):
            film = take_snapshots(method, lt.digits_lt(class_order="seed", seed=seed), AT, seed=seed, **settings)
            k = len(film.counts)
            sides = ((film.features, film.targets), (film.test_features, film.test_targets))
            shares = [[lt.metrics.violated_triplets(x, y, k).share() for x in features] for features, y in sides]
            rows.append([*shares, [apart(x, film.targets) for x in film.features]])
        found[label] = np.array(rows)
    return found


def apart(features, targets):
    """Mean squared distance, at length 1, between features (n, d) of images of two different classes."""
    x, y = unit(torch.as_tensor(features, dtype=torch.float64)), torch.as_tensor(targets)
    other = y[:, None] != y
    return float((2 - 2 * x @ x.T)[other].mean())


@draws
def plot_violations():
    """Share of triplets that violate the margin 0.2 by epoch: left of training images, right of test images."""
    axes, data, said = new_figure(9.0, 3.3).subplots(1, 2, sharey=True), {}, []
    for i, (label, rows) in enumerate(violations().items()):
        kind = {key: value for key, value in look(i).items() if key != "marker"}
        for side, ax in enumerate(axes):
            ax.plot(AT, rows[:, side].T, linewidth=0.5, alpha=0.35, color=kind["color"])
            ax.plot(AT, rows[:, side].mean(0), linewidth=2.4, label=label, **kind)
        data[label] = rows
        train, test = rows[:, :2, -1].mean(0)
        said.append(f"{label}: {train:.1%} of training images, {test:.1%} of test images")
    for ax, title in zip(axes, ("Training images", "Test images"), strict=True):
        ax.set(xlabel="epochs done", title=title, xlim=(0, AT[-1]), ylim=(0, None))
    percent(axes[0].yaxis)
    axes[0].set_ylabel("triplets that violate the margin")
    axes[1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    return Picture(
        list(axes),
        data,
        f"Share of violating triplets after {AT[-1]} epochs, mean of {SEEDS} seeds. " + "; ".join(said) + ".",
    )


def say_violations():
    """The shares at the end, paired by seed."""
    last = {label: rows[:, :, -1] for label, rows in violations().items()}
    ours, cdb_only, bare = last["TriCDB, λ = 1"], last["CDB, Darkwah's τ"], last["no class weights"]
    seen, gap = (lt.metrics.paired(ours[:, side], cdb_only[:, side]) for side in (0, 1))
    sure, sure_seen = (
        "clear" if one.p < 0.005 else "suggestive" if one.p < 0.05 else "undecided" for one in (gap, seen)
    )
    fewer = sure_seen != "undecided" and seen.mean < 0
    return (
        f"Under TriCDB, {'fewer training triplets violate the margin' if fewer else 'it is not sure that fewer training triplets violate the margin'} than under CDB alone ({sure_seen}). On test images {'the difference is undecided' if sure == 'undecided' else ('fewer do, too' if gap.mean < 0 else 'more do')}. After {AT[-1]} epochs, mean of {SEEDS} seeds: TriCDB leaves **{ours[:, 0].mean():.2%}** of the training triplets violating, CDB **{cdb_only[:, 0].mean():.2%}**, no class weights "
        f"**{bare[:, 0].mean():.2%}**. Among test images: **{ours[:, 1].mean():.1%}**, **{cdb_only[:, 1].mean():.1%}**, **{bare[:, 1].mean():.1%}**; TriCDB minus CDB {100 * gap.mean:+.1f} ± "
        f"{100 * gap.half:.1f} points ({sure}), lower under {int((ours[:, 1] < cdb_only[:, 1]).sum())} of {SEEDS} seeds."
    )


def say_early():
    """The first epochs, and how far apart the classes are then."""
    early, found = AT.index(2), {label: rows.mean(0) for label, rows in violations().items()}
    bare = found["no class weights"]
    shares = "; ".join(f"**{rows[0, early]:.0%}** ({label})" for label, rows in found.items())
    far = "; ".join(f"**{rows[2, early]:.2f}** ({label})" for label, rows in found.items())
    return (
        f"In the first epochs: before training **{bare[0, 0]:.0%}** of the training triplets violate the margin; after epoch {AT[early]} it is {shares}. The distances tell why. "
        f"At length 1, the mean squared distance between training features of two classes is **{bare[2, 0]:.2f}** before training; after epoch {AT[early]} it is {far}. "
        f"The smaller this distance, the fewer triplets can keep a margin of 0.2 in it: at first, features come to point in nearly the same direction. In the end the distance is **{bare[2, -1]:.2f}** without class weights. "
        "Why features first come together is not measured here."
    )


def violations_seen():
    """What the triplets of the bench do, trained live, folded."""
    title = "Triplets that violate the margin, by epoch"
    return folded(
        "TRAINED HERE", title, "Guess first; then open this", plot_violations(), say_violations(), say_early()
    )


# -------------------------------------------------------------------------------------------------- text from records
def say_noise():
    """How many validation images there are, and how sure the class weights of so many are; folded."""
    train = {place: int(plain_runs(place)[0].counts.sum()) for place in PLACES}
    sizes = {place: plain_runs(place)[0].data["validation"] for place in PLACES}
    told = [
        f"The {name} have {sizes[place]} validation images a class, {10 * sizes[place]:,} in all beside {train[place]:,} training images."
        if place == "cifar16"
        else f"The {name} has {sizes[place]} a class, {10 * sizes[place]:,} in all beside {train[place]:,}."
        for place, name in PLACES.items()
    ]
    few, many = band_widths("digits", 10), band_widths("digits", 250)
    bounds = [", ".join(f"**{one:.1f}**" for one in row) for row in (few, many)]
    accuracy = replayed("digits")["CDB, Sinha's τ"].history["val_accuracy"].astype(float)
    exponent = lt.metrics.difficulty_course(accuracy, "paper", draws=1).tau
    first = int(np.argmax(exponent < 2 - NEAR))
    lines = [
        f"In the first training of the dial, τ stays above {2 - NEAR:.2f} for {first} epochs. It is below for the first time after epoch {first + 1}, where the worst class is at {accuracy[first].min():.0%}.",
        "A class with all of its few validation images right has difficulty 0, so its training images get weight 0 in the next epoch. The thin line shows that its true accuracy may be lower, and its weight too small.",
        " ".join(told),
        f"On the bench, after the last epoch, a band of a class weight is {bounds[0]} wide for frequent, middle and rare classes (mean of ten seeds; the mean class weight is 1). "
        f"With the same accuracies measured on 250 images it would be {bounds[1]}: the hard classes keep wide bands, because their weights are the large ones.",
        "Validation images are labelled data, too. A fair baseline would train on them; such runs are not recorded here.",
    ]
    return folded(
        "SEEN IN THE DIAL", "How sure are the class weights?", "Open this when you have tried", bullets_of(lines)
    )


def bullets_of(lines):
    """Lines as a card."""
    return Card(bullets(lines), "\n".join(map(plain, lines)))


def band_widths(place, images):
    """Mean width of the bands of class weights after the last epoch, of frequent, middle and rare classes (3,)."""
    found = []
    for run in cdb(place, "paper"):
        course = lt.metrics.difficulty_course(run.history["val_accuracy"][-1:], "paper", images=images, draws=DRAWS)
        width = course.weight_band[1, 0] - course.weight_band[0, 0]
        found.append([width[mask].mean() for mask in lt.metrics.third_groups(run.counts).values()])
    return np.mean(found, 0)


def bench_recorded():
    """The bench's recorded runs, folded: to be opened after the reader's own run."""
    plain_ = plain_runs("digits")
    lines = [
        f"{label} against no class weights: {changes(runs, plain_)}."
        for label, runs in (("CDB, Sinha's τ", cdb("digits", "paper")), ("CDB, τ = 1", cdb("digits")))
    ]
    title = "The recorded runs of the bench"
    return folded("RECORDED", title, "Open this after your own run", bullets_of(lines))


def _holds(found):
    """Whether a printed gain is measured here."""
    said = "yes" if found.mean > 0 else "no"
    return "undecided" if not found.p < 0.05 else said if found.p < 0.005 else f"{said} (suggestive)"


def _row(printed, reading, pairs):
    """One claim on both data sets. pairs: place -> (ours, base, group)."""
    found = {place: lt.metrics.paired(*three) for place, three in pairs.items()}
    measured = "; ".join(f"{PLACES[place]} {points(one)}" for place, one in found.items())
    verdicts = {PLACES[place]: _holds(one) for place, one in found.items()}
    same = set(verdicts.values())
    return (
        printed,
        reading,
        measured,
        same.pop() if len(same) == 1 else "; ".join(f"{name}: {said}" for name, said in verdicts.items()),
    )


def printed(key, **filters):
    """One printed accuracy, in percent."""
    rows = lt.published.published(key=key, **filters)
    return float(rows[rows["metric"] == "error"]["accuracy"].iloc[0]) * 100


def claims():
    """CDB's claims about τ and TriCDB's about its term and λ, beside the records."""
    sinha = {"dataset": "CIFAR-100-LT", "ratio": 100, "source": "Sinha et al. 2020"}
    moving, fixed = printed("cdb", method="CDB-CE", **sinha), printed("cdb", method="CDB-CE, tau 1", **sinha)
    ce = printed("ce", **sinha)
    darkwah = {"dataset": "CIFAR-10-LT", "ratio": 100, "source": "Darkwah & Kang 2023, table 3"}
    tri, rerun = printed("tricdb", **darkwah), printed("cdb", **darkwah)
    other = printed("tricdb", **(darkwah | {"source": "Darkwah & Kang 2023, table 2"}))
    places = lt.published.published(dataset="Places-LT", metric="accuracy_few").set_index("key")["value"]
    both = tuple(PLACES)
    rows = [
        _row(f"CDB-CE with dynamic τ {moving:.1f}%, cross-entropy {ce:.1f}% (CIFAR-100-LT, ratio 100; Sinha et al.)", "Sinha's τ against no class weights, all classes",
             {p: (cdb(p, "paper"), plain_runs(p)) for p in both}),
        _row(f"dynamic τ {moving:.1f}%, fixed τ = 1 {fixed:.1f}% (same)", "Sinha's τ against τ = 1, all classes", {p: (cdb(p, "paper"), cdb(p)) for p in both}),
        _row(f"TriCDB-CE {tri:.0f}% ({other:.0f}% in table 2; see Sources), CDB-CE {rerun:.0f}% (CIFAR-10-LT, ratio 100; Darkwah and Kang, table 3)", "λ = 1 against CDB with Darkwah's τ, all classes",
             {p: (tricdb(p), cdb(p, "sigmoid")) for p in both}),
        _row(f"few-shot classes: TriCDB-CE {places['tricdb']:.1f}%, CDB-CE {places['cdb']:.1f}% (Places-LT; Darkwah and Kang)", "the same, rare classes",
             {p: (tricdb(p), cdb(p, "sigmoid"), "tail") for p in both}),
    ]  # fmt: skip
    rows.append(_along_lambda())
    card, title = lt.study.claims_table(rows), "What the papers print, and what is measured here"
    return folded("CLAIMS", title, "Open this after your predictions", card)


def _along_lambda():
    """The claims' row on λ: printed numbers, our reading of them, and what λ changes here."""
    near = {p: lt.metrics.paired(tricdb(p, 1.0), tricdb(p, 0.1)) for p in PLACES}
    far = {p: lt.metrics.paired(tricdb(p, 10.0), tricdb(p, 1.0)) for p in PLACES}
    measured = [
        said + ", ".join(f"{PLACES[p]} {points(one)}" for p, one in found.items())
        for found, said in ((near, "λ = 1 against 0.1: "), (far, "beyond the paper's range, λ = 10 against 1: "))
    ]
    measured.insert(1, f"by thirds, photographs {changes(tricdb('cifar16', 1.0), tricdb('cifar16', 0.1))}")
    moved = []
    for group, name in GROUPS.items():
        for p, place in PLACES.items():
            one = lt.metrics.paired(tricdb(p, 1.0), tricdb(p, 0.1), group)
            if one.p < 0.05:
                sure = "" if one.p < 0.005 else " (suggestive)"
                moved.append(f"{name} classes {'gain' if one.mean > 0 else 'lose'} on the {place}{sure}")
    found = "none found in mean accuracy" if all(one.p >= 0.05 for one in near.values()) else "mean accuracy changes"
    along = ", ".join(f"{value}" for value in PRINTED_ALONG.values())
    return (
        f"λ = {', '.join(f'{one:g}' for one in PRINTED_ALONG)} give {along}% (CIFAR-100-LT, ratio 100; typed from Darkwah and Kang, table 1)",
        "that λ hardly matters is our reading, they do not print it; λ = 1 against 0.1",
        "; ".join(measured),
        "difference: " + "; ".join([found, *moved]),
    )


def sources_disagree():
    """Where the sources differ, folded."""
    four = torch.tensor([0.9, 0.6, 0.1], dtype=torch.float64)
    shown = {rule: difficulty_weights(four, dynamic_tau(four, rule), True) for rule in ("paper", "sigmoid")}
    told = {rule: ", ".join(f"{w:.2f}" for w in found.tolist()) for rule, found in shown.items()}
    cui = printed("ce", dataset="CIFAR-10-LT", ratio=100, source="Cui et al. 2019, table 2")
    tri, other = (
        printed("tricdb", dataset="CIFAR-10-LT", ratio=100, source=f"Darkwah & Kang 2023, table {n}") for n in (3, 2)
    )
    lines = [
        f"**Three readings of τ.** Accuracies .9, .6, .1 give the weights {told['paper']} (Sinha et al.) or {told['sigmoid']} (Darkwah and Kang). The public code computes a third: no factor 2 and no −1. "
        "Here: `tau_rule='paper'`, `'sigmoid'`, `'public'`, or `'fixed'`.",
        "**Scaling.** Darkwah and Kang print the weights without scaling; all public code of CDB scales them to mean 1. Unscaled weights shrink as the classes are learnt, and the learning rate with them. Here: `normalise`.",
        "**The margin** of the triplets, whether features have length 1, and over which triplets the mean is taken, are not printed. Here: margin 0.2 in squared distance, length 1, and the mean over the triplets that violate the margin.",
        f"**A table, perhaps of two data sets.** Darkwah and Kang's table 3 has TriCDB-CE at {tri:.0f}% on CIFAR-10-LT at ratio 100 ({other:.0f}% in their table 2); Cui et al. (2019) have plain cross-entropy at {cui:.1f}% there. After rounding, three of the table's "
        "baselines agree with rows of CIFAR-100-LT at smaller ratios in other papers (our inference).",
        "**Extra labels.** Feedback needs a validation set (balanced, in the papers), which other methods in those tables do not use for training.",
    ]
    title = "Where sources disagree"
    html = box("note", "SOURCES", title, fold("Five points", bullets(lines)))
    return Card(html, "\n".join([f"{title}:", *map(plain, lines)]))


# -------------------------------------------------------------------------------------------------------- who pays
trained = [label for label in compared() if label != "no class weights"]
how_many_here = lt.Predict(
    f"This chapter has {len(trained)} trainings with class weights, triplets or pairs. On the photographs, how many of them give the rare classes **more** than moving the slider of chapter 03 does, at the same "
    "price for the frequent classes (p < .05)?",
    number=(0, len(trained), 1),
    default=3,
)


def distances(groups, base):
    """Label -> how far its runs lie beyond the slider's line; the farthest beyond comes first."""
    found = {label: lt.metrics.beyond(runs, base) for label, runs in groups.items()}
    return dict(sorted(found.items(), key=lambda row: -row[1].mean))


def sides(found):
    """Labels beyond the slider's line, undecided, and below it, at p < .05."""
    above = [label for label, one in found.items() if one.p < 0.05 and one.mean > 0]
    below = [label for label, one in found.items() if one.p < 0.05 and one.mean < 0]
    return above, [label for label in found if label not in above + below], below


def told_of_some(where, found):
    """How many of these distances lie beyond the slider's line, and how many below, in words."""
    above, undecided, below = map(len, sides(found))
    some = f"{above} of the {len(found)}" if above else f"none of the {len(found)}"
    return (
        f"{where}, a gain beyond the slider is found for {some} (p < .05); {below} lie{'s' if below == 1 else ''} below, "
        f"{undecided} {'is' if undecided == 1 else 'are'} undecided."
    )


def open_how_many_here(groups):
    """The answer: four of the chapter's dots on the chart, and all of them in words."""
    base, ours = groups["no class weights"], {label: groups[label] for label in trained}
    shown = ("CDB, Sinha's τ", "CDB, τ = 1", "TriCDB, λ = 1", "TriCDB, λ = 10")  # the others lie among these
    bench = {label: runs for label, runs in compared("digits").items() if label in ours}
    found, there = distances(ours, base), distances(bench, plain_runs("digits"))
    above = sides(found)[0]
    return how_many_here.reveal(
        [
            lt.plot_who_pays({label: ours[label] for label in shown}, base),
            "On the line, τ is the slider of chapter 03, not the exponent. Points of rare-class accuracy beyond it, for all of them:",
            table(("", *PLACES.values()), [(label, points(one), points(there[label])) for label, one in found.items()]),
        ],
        truth=len(above),
        tolerance=0,
        because=f"{told_of_some('On the photographs', found)} {told_of_some('On the bench', there)} If none differed from the line, "
        f"luck alone would call about {0.05 * len(found):.1g} of {len(found)} beyond or below it.",
    )


CALLED = {
    "am_softmax": "AM-Softmax", "arcface": "ArcFace", "cdb": "CDB", "ce_drs": "DRS", "ce_drw": "DRW", "cosface": "CosFace",
    "crl": "CRL", "crt": "cRT", "darl": "DARL", "focal_drw": "focal-DRW", "fslwf": "FSLwF", "l2_constrained": "L2-constrained",
    "ldam": "LDAM", "ldam_drw": "LDAM-DRW", "lmle": "LMLE", "logit_adjusted": "slider (τ = 1)", "logit_adjustment": "logit adjustment (loss)",
    "lws": "LWS", "ncm": "NCM", "normface": "NormFace", "oltr": "OLTR", "tau_norm": "τ-normalisation", "tricdb": "TriCDB", "up": "UP", "vs": "vector scaling",
}  # fmt: skip


def called(label):
    """A method's name in the chart: an abbreviation that its paper uses, else its key in words."""
    return CALLED.get(label, label.replace("_", " "))


@functools.cache
def every_method(place):
    """Method key -> its ten recorded runs with the settings that it has by default; the plain network apart."""
    found = {}
    for run in lt.recorded(place):
        if run.label == run.method != "ce":
            found.setdefault(run.method, []).append(run)
    return found


@functools.cache
def distances_of_all(place):
    """`distances` of every method."""
    return distances(every_method(place), plain_runs(place))


def sides_of_all(place):
    """`sides` of every method."""
    return sides(distances_of_all(place))


how_many_in_all = lt.Predict(
    f"And of **all** methods of the course? Besides the plain network there are {len(every_method('cifar16'))}, each trained, or decided again, on the photographs with its default settings, under ten seeds. How many give the rare classes more than the slider does at "
    "the same price (p < .05)?",
    number=(0, len(every_method("cifar16")), 1),
    default=15,
)


def told_of_all(place):
    """One sentence: how many methods lie where, which lie beyond, what luck alone would call, and the goal."""
    groups, base = every_method(place), plain_runs(place)
    above, undecided, below = sides_of_all(place)
    rows = {
        label: np.array([[lt.metrics.shot_accuracy(run)[name] for name in ("head", "tail")] for run in runs])
        for label, runs in groups.items()
    }
    reach = [label for label, found in rows.items() if (found.mean(0) >= GOAL).all()]
    whose = ", ".join(map(called, reach)) if 0 < len(reach) <= 5 else str(len(reach) or "none")
    which = f" ({', '.join(map(called, above))})" if above else ""
    clear = [called(label) for label in above if distances_of_all(place)[label].p < 0.005]
    if above:
        which += f", {len(clear) if len(clear) > 1 else ('none', 'one')[len(clear)]} of them clearly"
        which += f" ({', '.join(clear)})" if clear else ""
    return (
        f"**{PLACES[place].capitalize()}**: of {len(groups)} methods {len(above)} lie beyond the line{which}, {len(undecided)} are undecided and {len(below)} lie below, where luck alone would call about "
        f"{0.05 * len(groups):.0f} in all, about {0.025 * len(groups):.0f} on each side; the goal of chapter 00 (frequent {GOAL[0]:.0%}, rare {GOAL[1]:.0%}) is reached by {whose} of them in the mean of ten seeds."
    ) + (
        " It is a goal for the photographs: on the bench the plain network reaches it, too."
        if all(
            np.mean([lt.metrics.shot_accuracy(run)[name] for run in base]) >= at
            for name, at in zip(("head", "tail"), GOAL, strict=True)
        )
        else ""
    )


def by_default(key, settings):
    """Whether these settings of a method are its default ones."""
    return all(lt.METHODS[key].settings[name].default == value for name, value in settings.items())


def same_loss(labels):
    """Those pairs of methods that are one loss at their default settings: the limits of their records say so."""
    found = {}
    for label in labels:
        for limit in lt.METHODS[label].limits:
            if limit.other in labels and by_default(label, limit.settings):
                if by_default(limit.other, limit.other_settings):
                    found[frozenset((label, limit.other))] = label, limit
    return list(found.values())


def told_of_one_loss(labels):
    """Which of these methods are two names of one loss, and how many different ones there are, in words."""
    pairs, told = same_loss(labels), ""
    for label, limit in pairs:
        sides = []
        for key, settings in ((label, limit.settings), (limit.other, limit.other_settings)):
            at = ", ".join(f"{lt.METHODS[key].settings[name].symbol or name} = {v:g}" for name, v in settings.items())
            sides.append(f"*{called(key)}*{f' at {at}' if at else ''}")
        told += f"Here {' is '.join(sides)}: two names and two trainings of one loss. "
    return f"{told}So the {len(labels)} are {len(labels) - len(pairs)} different ones. " if pairs else ""


def told_of_the_slider():
    """Which of the methods are rules after training, and how far the slider lies from its own line, in words."""
    again = ", ".join(called(label) for label in every_method("cifar16") if lt.METHODS[label].posthoc is not None)
    own = ", ".join(f"{name} {points(distances_of_all(place)['logit_adjusted'])}" for place, name in PLACES.items())
    return (
        f"Decided again after training: {again}. The first of these is `logit_adjusted` in code; *logit adjustment (loss)* is `logit_adjustment`, which adds the log prior in training. "
        f"The slider's own distance from the line ({own}) says how exact this chart is: the line takes the best τ at each accuracy of the frequent classes, and on the photographs the network of this record "
        "is another training with the same seed."
    )


UNIT = ("normface", "am_softmax", "cosface", "arcface")  # features and classifier vectors of length 1


def told_of_length_one():
    """What is known of NormFace's place on the chart, in words."""
    found = distances_of_all("cifar16")
    others = "; ".join(f"{called(label)} {points(found[label])}" for label in UNIT[1:])
    bench = points(distances_of_all("digits")["normface"])
    small, deferred = (
        points(lt.metrics.beyond(lt.recorded("cifar16", method, **settings), plain_runs()))
        for method, settings in (("normface", {"scale": 16.0}), ("ldam_drw", {"max_margin": 0.0}))
    )
    return (
        f"NormFace gives features and classifier vectors length 1, at scale 30: {points(found['normface'])}. None of its relatives with length 1 lies clearly beyond the line. With a margin: {others}. NormFace at scale 16: {small}; "
        f"with deferred weights, at scale 30: {deferred}; on the bench: {bench}. Why it lies where it does is not known here."
    )


def open_how_many_in_all():
    """The answer: every method on one chart, and a sentence for each of the two data sets."""
    groups = every_method("cifar16")
    return how_many_in_all.reveal(
        [
            lt.plot_who_pays({called(label): runs for label, runs in groups.items()}, plain_runs(), goal=GOAL),
            *(told_of_all(place) for place in PLACES),
            told_of_the_slider(),
            told_of_length_one(),
        ],
        truth=len(sides_of_all("cifar16")[0]),
        tolerance=2,
        because=f"{told_of_one_loss(sides_of_all('cifar16')[0])}Default settings are not the best ones, and the verdict holds for these data, networks and recipes.",
    )


# ------------------------------------------------------------------------------------------------------- exercises
def _three(accuracy):
    return torch.stack([dynamic_tau(accuracy.double(), rule) for rule in ("paper", "sigmoid", "public")])


three_readings = lt.Exercise(
    "Three readings of τ",
    """Write `readings(accuracy)`: a tensor of three exponents from the accuracies (k,) of the classes, in the order Sinha et al., Darkwah and Kang, public code. Mind each reading's ε, and a worst class at 0.""",
    """
def readings(accuracy):
    high, low = accuracy.max(), accuracy.min()
    paper = 2 * torch.sigmoid(high / (low + 1e-2) - 1)
    darkwah = torch.sigmoid(high / (low + 1e-4) - 1)
    public = torch.sigmoid(high / (low + 1e-2))
    return torch.stack([paper, darkwah, public])
""",
    [
        lt.study.Case(
            "best .9, worst .6",
            (torch.tensor([0.9, 0.7, 0.6], dtype=torch.float64),),
            "Compare each constant with the table of readings.",
        ),
        lt.study.Case(
            "all alike",
            (torch.full((4,), 0.8, dtype=torch.float64),),
            "Here b is nearly 0, but the small constants are still there.",
        ),
        lt.study.Case(
            "a class at 0",
            (torch.tensor([0.95, 0.5, 0.0], dtype=torch.float64),),
            "With ε = 0.0001, b is about 9,500, and `exp(b)` is infinite. `torch.sigmoid` is safe for any b.",
        ),
        lt.study.Case(
            "every class at 0",
            (torch.zeros(3, dtype=torch.float64),),
            "Then b is −1, and nothing is divided by zero.",
        ),
    ],
    oracle=_three,
    hints=[
        "All three need only the largest and the smallest accuracy.",
        "Two of them subtract 1 from the ratio, one multiplies by 2.",
        "The constant in the denominator is 0.01 for Sinha et al. and for the public code, and 0.0001 for Darkwah and Kang.",
    ],
    mistakes={
        "The −1 is missing in the first two.": lambda a: torch.stack(
            [
                2 * torch.sigmoid(a.max() / (a.min() + 1e-2)),
                torch.sigmoid(a.max() / (a.min() + 1e-4)),
                torch.sigmoid(a.max() / (a.min() + 1e-2)),
            ]
        ),
        "The small constant is the same in all your readings. Darkwah and Kang's is 0.0001.": lambda a: torch.stack(
            [
                2 * torch.sigmoid(a.max() / (a.min() + 1e-2) - 1),
                torch.sigmoid(a.max() / (a.min() + 1e-2) - 1),
                torch.sigmoid(a.max() / (a.min() + 1e-2)),
            ]
        ),
        "The public code does not subtract 1.": lambda a: torch.stack(
            [
                2 * torch.sigmoid(a.max() / (a.min() + 1e-2) - 1),
                torch.sigmoid(a.max() / (a.min() + 1e-4) - 1),
                torch.sigmoid(a.max() / (a.min() + 1e-2) - 1),
            ]
        ),
    },
    given={"torch": torch},
)


def _one_more(right, images):
    now = right.double() / images
    before = difficulty_weights(now, 1.0, True)
    found = []
    for j in range(len(now)):
        then = now.clone()
        then[j] = min(1.0, (float(right[j]) + 1) / images)
        found.append(difficulty_weights(then, 1.0, True)[j] - before[j])
    return torch.stack(found)


def _counts(*right):
    return torch.tensor(right, dtype=torch.float64)


def _unscaled(right, images):
    left = images - right
    rest = torch.where(left > 0, -1.0, 0.0) / left.mean()
    return rest if left.sum() > 1 else torch.full_like(rest, torch.nan)  # with one error left, other mistakes give this


def _uncapped(right, images):
    left = images - right
    total = left.sum()
    return len(left) * ((left - 1) / (total - 1) - left / total)


one_more = lt.Exercise(
    "The noise of one validation image",
    """Of `images` validation images of each class, `right[j]` are right (a tensor (k,)). Write `one_more(right, images)`: by how much the class weight of each class $j$ changes if one more image of **that class alone** were right. Take τ = 1 and weights of mean 1. A class that is perfect already cannot get better: its change is 0. Where no class has an error left, all weights are 1.

Then compare 10 with 250 images at the same accuracies: what is one image worth?""",
    """
def one_more(right, images):
    def weights(errors):
        return errors / errors.mean() if errors.sum() > 0 else torch.ones_like(errors)

    errors = images - right.double()
    changes = []
    for j in range(len(errors)):
        other = errors.clone()
        other[j] = max(0.0, float(other[j]) - 1)
        changes.append(weights(other)[j] - weights(errors)[j])
    return torch.stack(changes)
""",
    [
        lt.study.Case(
            "ten images a class",
            (_counts(9, 6, 3), 10),
            "Change one class at a time, and scale all weights to mean 1 again.",
        ),
        lt.study.Case(
            "the same shares of 250", (_counts(225, 150, 75), 250), "With more images, one image is worth less."
        ),
        lt.study.Case("a perfect class", (_counts(10, 10, 7), 10), "A perfect class stays as it is: change 0."),
        lt.study.Case(
            "one error in all",
            (_counts(10, 9, 10), 10),
            "After it is gone no class has an error, so all weights are 1.",
        ),
    ],
    oracle=_one_more,
    hints=[
        "With τ = 1 the weights are the numbers of errors, divided by their mean: `images` cancels.",
        "One more right image takes one error from class $j$. The mean changes, too.",
        "Go through the classes one by one: copy the errors, change one, scale, compare entry $j$.",
    ],
    mistakes={
        "You did not scale again: the mean of the errors has changed, too.": _unscaled,
        "A perfect class cannot have fewer than 0 errors.": _uncapped,
    },
    given={"torch": torch},
)


# ------------------------------------------------------------------------------------------------------------ quiz
def quiz():
    """Five questions."""
    return lt.Quiz(
        [
            lt.study.Question(
                "Two classes have 500 training images each; one is right on 95% of its validation images, the other on 60%. Which loss gives them different weights?",
                {
                    "the class-balanced loss": "Same count, same weight.",
                    "CDB": "Yes: it looks at the accuracy, not at the count.",
                    "both": "The class-balanced loss knows only the count, which is the same.",
                },
                "CDB",
            ),
            lt.study.Question(
                "τ = 1, and the accuracies are 90% and 60%. How many times as much does the second class weigh?",
                {
                    "1.5 times": "That is the ratio of accuracies.",
                    "4 times": "Yes: 0.4 against 0.1.",
                    "2 times": "The difficulties are 0.1 and 0.4.",
                },
                "4 times",
            ),
            lt.study.Question(
                "The worst class has accuracy 0. What is τ in Sinha et al.'s reading?",
                {
                    "about 1": "That is its value where all classes are alike.",
                    "about 2, as long as some class is learnt": "Yes: the best accuracy is divided by almost nothing. Only where the best class is near 0 as well is τ smaller.",
                    "it depends on how many classes are at 0": "Only the best and the worst accuracy count.",
                },
                "about 2, as long as some class is learnt",
            ),
            lt.study.Question(
                "There are 10 validation images a class, and a class has all of them right. What happens in the next epoch?",
                {
                    "Its images get weight 0.": "Yes: its difficulty is 0, although its true accuracy may well be 90%.",
                    "Its images get half their weight.": "$(1 - 1)^\\tau = 0$ for every τ > 0.",
                    "Nothing, weights have a lower bound.": "The formula has none: the weight is 0.",
                },
                "Its images get weight 0.",
            ),
            lt.study.Question(
                "On the photographs the middle classes gain from CDB, and no gain is seen under the class-balanced loss at β = 0.99. Why?",
                {
                    "Most of their counts are past $1/(1-\\beta)$, but their accuracy is low.": "Yes: by count they look like frequent classes, by accuracy they are hard.",
                    "CDB does not see the rare classes.": "It does, and gives them the largest weights.",
                    "They have more validation images.": "All classes have equally many.",
                },
                "Most of their counts are past $1/(1-\\beta)$, but their accuracy is low.",
            ),
        ]
    )
