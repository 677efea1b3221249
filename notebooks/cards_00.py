"""Chapter 00: its header, predictions, exercises and quiz, and the figures and numbers that they open."""
# ruff: noqa: E501  (text for readers is not cut into lines)

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

import ltviz as lt
from ltviz.plots.examples import mosaic
from ltviz.plots.picture import GROUP_COLOURS, Picture, draws, new_figure
from ltviz.plots.series import by_count
from ltviz.plots.theme import PHOTO

GOAL = (0.70, 0.40)  # accuracy of the frequent and of the rare classes
SELDOM = 1 / 200  # of all answers: what is given less often counts as never

header = lt.chapter(
    "Start here: what a long tail does to a network, and what one number can undo",
    objectives=[
        "read a confusion matrix from frequent to rare classes, and spot answers that are never given",
        "derive and use a rule with one number, $\\tau$, and say who gains and who pays",
        "train a loss of your own, and compare it under ten seeds",
        "say how far beyond that one number a remedy gets",
    ],
    prerequisites=["you have seen a classifier with a softmax; nothing about long tails"],
    reading=20,
    computing="about half a minute",
    papers=["Menon et al. 2021, *Long-tail learning via logit adjustment*, eq. (9) and (10)"],
    data="photographs: recorded runs on CIFAR-10, cut to a long tail; digits: in the box. No download, no GPU",
)


# --------------------------------------------------------------------------------------------------------- records
def redecided(runs, tau):
    """The same networks with τ log π subtracted from their scores."""
    return [lt.study.redecide(run, "logit_adjusted", tau=tau) for run in runs]


def seldom(runs):
    """How many of the answers each network gives to fewer than 1 in 200 test images."""
    return [int((lt.metrics.answer_shares(run.confusion, np.full(run.k, 1 / run.k)) < SELDOM).sum()) for run in runs]


def group(runs, name):
    """The accuracy of a group of classes in each run."""
    return np.array([lt.metrics.shot_accuracy(run)[name] for run in runs])


def rarest(run):
    """(number of the rarest class, its accuracy, how often its score is higher for its own of two images)."""
    j = int(run.counts.argmin())
    return j, float(run.per_class[j]), float(roc_auc_score(run.targets == j, run.logits[:, j]))


def span(values, unit=""):
    """The least and the largest of several values in words: "1 to 3"."""
    low, high = min(values), max(values)
    return f"{low}{unit}" if low == high else f"{low} to {high}{unit}"


# --------------------------------------------------------------------------------------------------------- pictures
@draws
def plot_photographs(photographs, run):
    """Training images of each class as bars, the most frequent on top, and ten test photographs of it."""
    rank, true = by_count(run.counts), photographs.targets(run.class_names)
    chosen = [np.flatnonzero(true == j) for j in rank]
    where = [(row, column) for row, some in enumerate(chosen) for column in range(len(some))]
    images = photographs.images[np.concatenate(chosen)]
    figure = new_figure(9.2, 4.6)
    bars, photos = figure.subplots(1, 2, width_ratios=[1, 1.45])
    names, k = [run.class_names[j] for j in rank], len(rank)
    for name, mask in lt.metrics.third_groups(run.counts[rank]).items():
        bars.barh(np.flatnonzero(mask), run.counts[rank][mask], color=GROUP_COLOURS[name], height=0.72)
    for row, count in enumerate(run.counts[rank]):
        bars.annotate(f"{count:,}", (count, row), xytext=(3, 0), textcoords="offset points", va="center", fontsize=9)
    bars.set(ylim=(k - 0.5, -0.5), xlim=(0, 1.22 * run.counts.max()), xticks=[])
    bars.set_yticks(range(k), names)
    bars.grid(False)
    bars.spines[["bottom", "right", "top"]].set_visible(False)
    bars.set_title("Training images of each class")
    photos.imshow(mosaic(images, where, k, 10), interpolation="nearest", aspect="auto", gid=PHOTO)
    photos.axis("off")
    photos.set_title("Ten test photographs of each")
    text = (
        f'Ten test photographs of each of {k} classes. The network was trained on {run.counts.max():,} images of "{names[0]}", '
        f'fewer of each further class, and {run.counts.min():,} of "{names[-1]}".'
    )
    return Picture([bars, photos], {"counts": run.counts[rank]}, text)


# ------------------------------------------------------------------------------------------------------ predictions
never = lt.Predict(
    "There are ten answers. How many of them does such a network practically **never** give (to fewer than 1 in 200 test "
    "images)? Say the mean over ten networks.",
    number=(0, 9, 0.5),
    default=0,
    unit=" of 10",
)


def open_never(runs):
    """The answer: the matrix of the first network, and the number for each."""
    found, first = seldom(runs), runs[0]
    frequent, rare = group(runs, "head"), group(runs, "tail")
    return never.reveal(
        lt.plot_confusion(first),
        truth=float(np.mean(found)),
        tolerance=0.5,
        because=f"Shown is the first network: {found[0]} of its columns {'is' if found[0] == 1 else 'are'} (nearly) empty. Over "
        f"{len(runs)} networks it is {', '.join(map(str, found))}. On the three most frequent classes they are right for "
        f"{frequent.mean():.0%} of the images, on the three rarest for **{rare.mean():.0%}**. Guessing gives 10%.",
    )


known = lt.Predict(
    "Take one photograph of the **rarest** class and one of any other class, at random. How often is the score of the rarest "
    "class higher for the right one of the two? Guessing gives 50 %. Say the mean over ten networks.",
    number=(50, 100, 1),
    default=50,
    unit=" %",
)


def open_known(runs):
    """The answer, beside the accuracy of the same classes."""
    found = [(run.class_names[rarest(run)[0]], *rarest(run)[1:]) for run in runs]
    areas = [100 * area for _, _, area in found]
    lines = [
        f"Rarest class of network {run.seed}, {name}: {right:.1%} of its test images are right; its score picks the right one "
        f"of two for {area:.0%}."
        for run, (name, right, area) in list(zip(runs, found, strict=True))[:3]
    ]
    return known.reveal(
        lines,
        truth=float(np.mean(areas)),
        tolerance=5,
        because=f"Over {len(runs)} networks: {min(areas):.0f} to {max(areas):.0f} %, with an accuracy of at most "
        f"{max(right for _, right, _ in found):.1%}. The network sees a difference that its answers never show. (This number is "
        "also called the *area under the ROC curve*.)",
    )


pays = lt.Predict(
    "With $\\tau = 1$, rare answers are given more often. How many points of accuracy do the three most **frequent** classes "
    "lose? Say the mean over ten networks.",
    number=(0, 40, 1),
    default=2,
    unit=" points",
)


def open_pays(plain, fixed):
    """The answer: the table of all groups."""
    names = ("all", "head", "mid", "tail")
    before, after = ({name: group(runs, name).mean() for name in names} for runs in (plain, fixed))
    return pays.reveal(
        lt.study.comparison({"τ = 0, as trained": plain, "τ = 1": fixed}, group="head"),
        truth=100 * (before["head"] - after["head"]),
        tolerance=4,
        because=f"Rare classes (tail): {before['tail']:.0%} before, **{after['tail']:.0%}** after. All classes: "
        f"{before['all']:.0%} before, **{after['all']:.0%}** after. Not a single weight of a network was changed.",
    )


reach = lt.Predict(
    f"Keep the frequent classes at **{GOAL[0]:.0%}** or more. How far can $\\tau$ alone bring the rare ones? Say the mean over "
    "ten networks, each with its own best $\\tau$.",
    number=(0, 60, 1),
    default=40,
    unit=" %",
)


def reached(runs):
    """The most (n,) that each network's frontier has for the rare classes where the frequent ones keep the goal."""
    return np.array([lt.metrics.frontier(run).tail_at(GOAL[0]) for run in runs])


def open_reach(plain, fixed, trained):
    """The answer: the chart of the course with its goal."""
    found = reached(plain)
    groups = {"τ = 0, as trained": plain, "τ = 1": fixed, "logit-adjusted loss": trained}
    return reach.reveal(
        lt.plot_who_pays(groups, plain, goal=GOAL),
        truth=100 * found.mean(),
        tolerance=5,
        because=f"From {100 * found.min():.0f} to {100 * found.max():.0f} % over {len(found)} networks: τ alone misses the goal "
        f"of {GOAL[1]:.0%} in {int((found < GOAL[1]).sum())} of {len(found)}.",
    )


def open_goal():
    """How many recorded configurations reach the goal, in the mean over their seeds and with single seeds."""
    found = {}
    for run in lt.recorded("cifar16"):
        found.setdefault(run.label, []).append([lt.metrics.shot_accuracy(run)[name] for name in ("head", "tail")])
    found = {label: np.array(rows) for label, rows in found.items() if len(rows) >= 10}
    means = [(rows.mean(0) >= GOAL).all() for rows in found.values()]
    single = sum(int((rows >= GOAL).all(1).any()) for rows in found.values())
    return lt.say(
        f"**The goal of this course: frequent classes at {GOAL[0]:.0%} or more, rare ones at {GOAL[1]:.0%} or more, on these "
        f"photographs.** Of {len(found)} configurations that were recorded under ten seeds, {sum(means)} reach it in the mean, "
        f"and {single} under at least one seed. How near each gets, and at whose cost, is what the chapters find out."
    )


def failing(runs):
    """Which answers are seldom given where τ = 2, of frequent and of other classes."""
    found = redecided(runs, 2.0)
    mine, top = seldom(found), 0
    for run in found:
        shares = lt.metrics.answer_shares(run.confusion, np.full(run.k, 1 / run.k))
        top += int((shares[lt.metrics.third_groups(run.counts)["head"]] < SELDOM).sum())
    frequent, all_one = group(found, "head").mean(), group(redecided(runs, 1.0), "all").mean()
    return lt.say(
        f"At τ = 2 the frequent classes are right for {frequent:.0%} of their images, and {group(found, 'all').mean():.0%} of all "
        f"images are right, against {all_one:.0%} at τ = 1. Of ten answers, {span(mine)} are then hardly ever given "
        f"(mean over {len(found)} networks: {np.mean(mine):.1f}; {top} of these {sum(mine)} belong to frequent classes)."
    )


# -------------------------------------------------------------------------------------------------------- exercises
honest = lt.Exercise(
    "An honest score",
    """Plain accuracy can be won by ignoring the tail. **Balanced accuracy** is the mean over classes of the share of *that class's* images that are right.

Write `balanced_accuracy(confusion)` for a tensor (k, k) of whole numbers with true classes in rows and answers in columns. A class without a test image is left out: nothing is known about it.""",
    """
def balanced_accuracy(confusion):
    images = confusion.sum(1)
    seen = images > 0
    return (confusion.diagonal()[seen] / images[seen]).mean()
""",
    [
        lt.study.Case(
            "equally many test images of each class",
            (torch.tensor([[8, 2], [6, 4]]),),
            "Here it equals plain accuracy.",
        ),
        lt.study.Case(
            "90 of one class, 10 of the other, always the first answer",
            (torch.tensor([[90, 0], [10, 0]]),),
            "One class is right always, the other never: one half.",
        ),
        lt.study.Case("three classes", (torch.tensor([[50, 0, 0], [5, 5, 0], [1, 0, 1]]),), "Average three shares."),
        lt.study.Case(
            "a class without a test image",
            (torch.tensor([[6, 2, 2], [0, 0, 0], [1, 0, 4]]),),
            "0 / 0 is not a number, and 0 would be a verdict: average over the classes that have images.",
        ),
    ],
    oracle=lambda confusion: lt.metrics.balanced_accuracy(confusion),
    hints=[
        "What is the worst that a network can do to a class of ten images among a million, and how much should it cost?",
        "Each class gives one number between 0 and 1, whatever its size. Which two entries or sums of its row give it?",
        "A Boolean mask over the classes keeps those whose row is not empty.",
    ],
    mistakes={
        "This is plain accuracy: every image counts once. Take the share within each class first.": lambda confusion: (
            confusion.diagonal().sum() / confusion.sum()
        ),
        "You divided by columns, the answers; that is precision. Divide by rows.": lambda confusion: (
            confusion.diagonal() / confusion.sum(0)
        ).mean(),
        "A class without images counts as wrong here. Leave it out.": lambda confusion: (
            confusion.diagonal() / confusion.sum(1).clamp(min=1)
        ).mean(),
    },
)

moved = lt.Exercise(
    "From one world to another",
    """A network gives probabilities $p$ (n, k) that are right where classes occur with shares `old` (k,). You use it where they occur with shares `new` (k,); the photographs of each class look as before. What are its probabilities there?

Write `moved(p, old, new)`. Each row of the answer sums to 1. With equal shares in `new`, its largest entry is the answer of $\\tau = 1$.""",
    """
def moved(p, old, new):
    q = p * new / old
    return q / q.sum(1, keepdim=True)
""",
    [
        lt.study.Case(
            "to a world where both classes occur equally often",
            (torch.tensor([[0.9, 0.1], [0.6, 0.4]]), torch.tensor([0.9, 0.1]), torch.tensor([0.5, 0.5])),
            "A 90 % that only repeats the share of the class says nothing about the image: it becomes one half.",
        ),
        lt.study.Case(
            "the same world: nothing changes",
            (torch.tensor([[0.7, 0.2, 0.1]]), torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.5, 0.3, 0.2])),
            "With `new` equal to `old` the probabilities stay.",
        ),
        lt.study.Case(
            "a class that does not occur there",
            (
                torch.tensor([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]]),
                torch.tensor([0.2, 0.2, 0.6]),
                torch.tensor([0.5, 0.5, 0.0]),
            ),
            "Its probability is 0, and the others share its part.",
        ),
    ],
    oracle=lambda p, old, new: (p / old * new) / (p / old * new).sum(1, keepdim=True),
    hints=[
        "Bayes' rule: $p_j$ is proportional to (how likely the image is if it is of class $j$) times (the share of $j$). Which of "
        "the two factors is the same in both worlds?",
        "Take the old share out of each $p_j$ and put the new one in. What is missing then?",
        "Check the sum of each row.",
    ],
    mistakes={
        "The rows no longer sum to 1.": lambda p, old, new: p * new / old,
        "The old share is still in there: take it out first.": lambda p, old, new: (
            (p * new) / (p * new).sum(1, keepdim=True)
        ),
        "You moved in the other direction: divide by the old shares, multiply by the new ones.": lambda p, old, new: (
            (p * old / new.clamp(min=1e-9)) / (p * old / new.clamp(min=1e-9)).sum(1, keepdim=True)
        ),
    },
)


# -------------------------------------------------------------------------------------------------------- self-check
def make_quiz(run):
    """The quiz; its two pictures are of this network."""
    far = lt.study.redecide(run, "logit_adjusted", tau=2.0)
    return lt.Quiz([
        lt.study.Question(
            "A column of a confusion matrix (true classes in rows) is empty. What does that say?",
            {
                "The test set holds no image of that class.": "That would be an empty *row*: rows are the true classes.",
                "The network never gives that answer.": "Yes. Columns are answers.",
                "The network has learnt nothing about that class.": "Its score may still be higher for images of that class than "
                "for others, only never the highest of the ten.",
            },
            "The network never gives that answer.",
        ),
        lt.study.Question(
            "You move $\\tau$ from 0 to 1. What changes?",
            {
                "The classifier, that is, the last layer.": "No. Nothing is trained and no weight is touched.",
                "Only which of the ten scores is the largest.": "Yes: the decision, from the same scores.",
                "How well the network tells two classes apart.": "Between two classes only the border moves: what one wins, the "
                "other loses.",
            },
            "Only which of the ten scores is the largest.",
        ),
        lt.study.Question(
            "Which of these two matrices belongs to $\\tau = 2$?",
            {
                "A": "Look at the bars: A gives the *rare* answers most often. At $\\tau = 2$ the share of a class is divided out "
                "twice.",
                "B": "B gives the answers on the left most often, and hardly any of those on the right: that is $\\tau = 0$.",
            },
            "A",
            {"A": lt.plot_confusion(far, title="A"), "B": lt.plot_confusion(run, title="B")},
        ),
        lt.study.Question(
            "A test set has the same long tail as the training set. What does a high plain accuracy on it tell you?",
            {
                "That rare classes are recognised.": "They are so few that they hardly count: all of them may be wrong.",
                "Mostly how well frequent classes are recognised.": "Yes. That is why the test sets of this course hold equally many "
                "images of each class.",
                "Nothing at all.": "It tells how often you are right if the world has that tail. But not for whom.",
            },
            "Mostly how well frequent classes are recognised.",
        ),
        lt.study.Question(
            "A new loss has rare classes 8 points above the plain network, and its dot lies *on* the line of the slider. What has "
            "it gained?",
            {
                "8 points for nothing.": "The frequent classes paid: on the line, $\\tau$ would have given the same exchange without "
                "training.",
                "Nothing that one number could not give without training.": "Yes. Worth its training is what lies *beyond* the line.",
                "Nothing: the plain network is as good.": "For rare classes it is 8 points better. The question is at whose cost.",
            },
            "Nothing that one number could not give without training.",
        ),
        lt.study.Question(
            "A loss is better than another by 0.4 points; the 95 % interval goes from -0.7 to +1.5. What can you say?",
            {
                "It is better.": "The interval holds 0: it could as well be worse.",
                "They are equally good.": "That is not shown either: a true difference of a point lies inside.",
                "With these seeds it is undecided.": "Yes. More seeds, paired, would make the interval shorter.",
            },
            "With these seeds it is undecided.",
        ),
    ])  # fmt: skip
