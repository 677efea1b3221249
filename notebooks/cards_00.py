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
CALLED = {"head": "frequent", "mid": "middle", "tail": "rare", "all": "all"}  # groups of classes, in words

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


def never_given(run):
    """Which answers (k,) a network gives to fewer than 1 in 200 test images."""
    return lt.metrics.answer_shares(run.confusion, np.full(run.k, 1 / run.k)) < SELDOM


def seldom(runs):
    """How many such answers each network has."""
    return [int(never_given(run).sum()) for run in runs]


def typical(runs):
    """The network whose number of such answers is nearest the mean: the one that the chapter shows."""
    found = np.array(seldom(runs))
    return runs[int(np.abs(found - found.mean()).argmin())]


def group(runs, name):
    """The accuracy of a group of classes in each run."""
    return np.array([lt.metrics.shot_accuracy(run)[name] for run in runs])


def rarest(run):
    """(number of the rarest class, its accuracy, how often its score is higher for its own of two images)."""
    j = int(run.counts.argmin())
    return j, float(run.per_class[j]), float(roc_auc_score(run.targets == j, run.logits[:, j]))


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


def plot_matrix(run, title):
    """The confusion matrix of a network, in the words of the explorer: answers."""
    picture = lt.plot_confusion(run, title=title)
    matrix, bars = picture.axes
    matrix.set_xlabel("answered class (cells: % of the true class)")
    bars.set_ylabel("share of\nanswers")
    picture.text = picture.text.replace("of predictions", "of answers").replace("never predicted", "never answered")
    return picture


# ------------------------------------------------------------------------------------------------------ predictions
never = lt.Predict(
    "There are ten answers. How many of them does such a network practically **never** give (to fewer than 1 in 200 test "
    "images)? Say the mean over ten networks.",
    number=(0, 9, 0.5),
    default=0,
    unit=" of 10",
)


READING = (
    "How to read the matrix: each row is a true class, the most frequent on top, and says where its test images go. On the "
    "diagonal they are right. The bars above say how often each answer is given; the dotted line would be fair."
)


def open_never(runs):
    """The answer: the matrix of a network near the mean, and the number for each."""
    found, one = seldom(runs), typical(runs)
    frequent, rare = group(runs, "head"), group(runs, "tail")
    title = f"Where the images of each class go: plain network {one.seed}"
    return never.reveal(
        [READING, plot_matrix(one, title)],
        truth=float(np.mean(found)),
        tolerance=1,
        because=f"Shown is a typical network, with {seldom([one])[0]} (nearly) empty columns. Over the {len(runs)} networks there are "
        f"{', '.join(map(str, found))}. On the three most frequent classes they are right for {frequent.mean():.0%} of the "
        f"images, on the three rarest for **{rare.mean():.0%}**. Guessing gives 10%.",
    )


known = lt.Predict(
    "Take one photograph of the **rarest** class and one of any other class, at random. How often is the score of the rarest "
    "class higher for the right one of the two? Guessing gives 50%. Say the mean over ten networks.",
    number=(50, 100, 1),
    default=50,
    unit="%",
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
        because=f"Over {len(runs)} networks: {min(areas):.0f} to {max(areas):.0f}%, with an accuracy of at most "
        f"{max(right for _, right, _ in found):.1%}. The network sees a difference that its answers hardly ever show. (This number is "
        "also called the *area under the ROC curve*.)",
    )


pays = lt.Predict(
    "With $\\tau = 1$, rare answers are given more often. How many points of accuracy do the three most **frequent** classes "
    "lose? Say the mean over ten networks.",
    number=(0, 40, 1),
    default=2,
    unit=" points",
)


def exchanged(plain, fixed):
    """A table: accuracy of each group before and after, and the difference, in whole percent."""
    head, rows = ["classes", "τ = 0", "τ = 1", "points (95% interval)", "verdict"], []
    for name, called in CALLED.items():
        found = lt.metrics.paired(fixed, plain, name)
        before, after = (group(runs, name).mean() for runs in (plain, fixed))
        gap = f"{100 * found.mean:+.0f} ± {100 * found.half:.0f}"
        rows.append([called, f"{before:.0%}", f"{after:.0%}", gap, found.verdict])
    html = "".join(
        "<tr>" + "".join(f'<{tag} style="text-align:left;padding:.25em .8em">{one}</{tag}>' for one in row) + "</tr>"
        for tag, row in [("th", head), *(("td", row) for row in rows)]
    )
    return lt.study.Card(f"<table>{html}</table>", "\n".join(" | ".join(row) for row in [head, *rows]))


def open_pays(plain, fixed):
    """The answer: the table of all groups."""
    return pays.reveal(
        exchanged(plain, fixed),
        truth=100 * (group(plain, "head").mean() - group(fixed, "head").mean()),
        tolerance=4,
        because="*Frequent*, *middle* and *rare* are the thirds of the classes by their number of training images. Not a "
        "single weight of a network was changed.",
    )


emptied = lt.Predict(
    "At $\\tau = 2$, in most of the ten networks, a column or two of the matrix is (nearly) empty again. Of which classes are "
    "**most** of these, over all ten? Then check in the explorer.",
    choices=["of frequent classes", "of middle classes", "of rare classes"],
    default="of rare classes",
)


def open_emptied(runs):
    """The answer: which answers are hardly ever given where τ = 2."""
    found = redecided(runs, 2.0)
    counted = {
        name: sum(int(never_given(run)[lt.metrics.third_groups(run.counts)[name]].sum()) for run in found)
        for name in ("head", "mid", "tail")
    }
    most, total = max(counted, key=counted.get), sum(counted.values())
    all_one, all_two = (group(redecided(runs, tau), "all").mean() for tau in (1.0, 2.0))
    return emptied.reveal(
        f"At τ = 2 there are **{total} (nearly) empty columns in all {len(found)} networks together** (in {sum(n > 0 for n in seldom(found))} of them); {counted['head']} belong to "
        f"frequent classes, {counted['mid']} to middle and {counted['tail']} to rare ones. As trained there were {sum(seldom(runs))}.",
        truth=f"of {CALLED[most]} classes",
        because=f"Subtracting the log prior twice goes too far. The frequent classes are right for {group(found, 'head').mean():.0%} of "
        f"their images, and {all_two:.0%} of all images are right, against {all_one:.0%} at τ = 1.",
    )


reach = lt.Predict(
    "The logit-adjusted loss uses the log prior **during** training. Compare it with plain networks whose $\\tau$ is set "
    "so that their frequent classes are just as accurate. By how many points are its **rare** classes ahead? Say the mean over "
    "ten networks.",
    number=(-10, 30, 1),
    default=10,
    unit=" points",
)


def open_reach(plain, trained):
    """The answer: the chart of the course with its goal, the trained dot, and how near τ alone comes to the goal."""
    beyond = lt.metrics.beyond(trained, plain)
    gained = 100 * (group(trained, "tail").mean() - group(plain, "tail").mean())
    alone = np.array([lt.metrics.frontier(run).tail_at(GOAL[0]) for run in plain])
    return reach.reveal(
        [lt.plot_who_pays({"logit-adjusted loss": trained}, plain, goal=GOAL), goal_said(alone)],
        truth=100 * beyond.mean,
        tolerance=2,
        because=f"Over {len(plain)} networks it is {100 * beyond.mean:+.1f} ± {100 * beyond.half:.1f} points: **{beyond.verdict}**. The "
        f"loss has its rare classes {gained:.0f} points above the plain network as trained; τ alone gives "
        f"{gained - 100 * beyond.mean:.0f} of these at the same cost.",
    )


def goal_said(alone):
    """How near τ alone comes to the goal, and how many recorded configurations reach it."""
    found = {}
    for run in lt.recorded("cifar16"):
        found.setdefault(run.label, []).append([lt.metrics.shot_accuracy(run)[name] for name in ("head", "tail")])
    found = {label: np.array(rows) for label, rows in found.items() if len(rows) >= 10}
    means = sum(bool((rows.mean(0) >= GOAL).all()) for rows in found.values())
    single = sum(int((rows >= GOAL).all(1).any()) for rows in found.values())
    return (
        f"**The goal.** With frequent classes at {GOAL[0]:.0%}, τ alone brings the rare ones to {alone.mean():.0%} in the mean "
        f"({100 * alone.min():.0f} to {100 * alone.max():.0f}% over {len(alone)} networks). Of {len(found)} configurations that were "
        f"recorded under ten seeds, {means} reach the goal in the mean, and {single} under at least one seed."
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
            "A 90% that only repeats the share of the class says nothing about the image: it becomes one half.",
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
def matrix_only(run, letter):
    """The matrix of a network under a letter. Its text tells what the bars show, and not which rule decided."""
    picture, given = plot_matrix(run, letter), run.confusion.sum(0) / run.confusion.sum()
    told = (
        f"{given[mask].sum():.0%} to {CALLED[name]} classes"
        for name, mask in lt.metrics.third_groups(run.counts).items()
    )
    picture.text = f"Matrix {letter}. Share of all answers: {', '.join(told)}."
    return picture


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
                "Which adjusted score comes out largest; the scores themselves stay.": "Yes: another decision, from the same scores.",
                "What the network has learnt about each class.": "No: for that it would have to be trained again.",
            },
            "Which adjusted score comes out largest; the scores themselves stay.",
        ),
        lt.study.Question(
            "Which of these two matrices belongs to $\\tau = 2$?",
            {
                "A": "Look at the bars: A gives the *rare* answers most often. At $\\tau = 2$ the share of a class is divided out "
                "twice.",
                "B": "B gives the answers on the left most often, and hardly any of those on the right: that is $\\tau = 0$.",
            },
            "A",
            {"A": matrix_only(far, "A"), "B": matrix_only(run, "B")},
        ),
        lt.study.Question(
            "A test set has the same long tail as the training set. What does a high plain accuracy on it tell you?",
            {
                "That rare classes are recognised.": "They are so few that they hardly count: all of them may be wrong.",
                "Mostly how well frequent classes are recognised.": "Yes (chapter 01 shows it). That is why the test sets of this course hold equally many "
                "images of each class.",
                "Nothing at all.": "It tells how often you are right if the world has that tail. But not for whom.",
            },
            "Mostly how well frequent classes are recognised.",
        ),
        lt.study.Question(
            "A new loss has rare classes 8 points above the plain network, and its dot lies *on* the line of the slider. What has "
            "it gained?",
            {
                "8 points at no cost.": "The frequent classes paid: on the line, $\\tau$ would have given the same exchange without "
                "training.",
                "Nothing that one number could not give without training.": "Yes. Only points clearly *beyond* the line are worth the training.",
                "Nothing: the plain network is as good.": "For rare classes it is 8 points better. The question is at whose cost.",
            },
            "Nothing that one number could not give without training.",
        ),
        lt.study.Question(
            "A loss is better than another by 0.4 points; the 95% interval goes from -0.7 to +1.5. What can you say?",
            {
                "It is better.": "The interval contains 0: it may also be worse.",
                "They are equally good.": "That is not shown either: a true difference of a point lies inside.",
                "With these seeds it is undecided.": "Yes. More seeds, paired, would make the interval shorter.",
            },
            "With these seeds it is undecided.",
        ),
    ])  # fmt: skip
