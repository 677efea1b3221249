"""Chapter 14: its predictions, exercises and quiz, and the figures that they open."""
# ruff: noqa: E501  (text for readers is not cut into lines)

import functools
import itertools
import math
import os
import statistics

import numpy as np

import ltviz as lt
from ltviz.methods import METHODS
from ltviz.plots.picture import EDGE, FAINT, INK, PALETTE, QUIET, Picture, draws, new_figure, percent
from ltviz.plots.text import minus, wrap
from ltviz.plots.theme import PHOTO
from ltviz.study.cards import Card, bullets, fold, inline, plain, safe, show

FAST = os.environ.get("LTVIZ_PROFILE") == "fast"
EPOCHS, SEEDS = (12, 3) if FAST else (60, 10)  # of what the chapter trains by itself
TRIALS = 4 if FAST else 5  # of the random search
BUDGET = 6 if FAST else 15  # trials of each side
EACH = 3  # photographs a class on which the first figure looks
BETA = (0.9, 0.9999)
GRID = {"beta": (0.9, 0.99, 0.999, 0.9995, 0.9999), "lr": (0.03, 0.1, 0.3)}
DECIDED_LATER = ("ncm", "logit_adjusted", "tau_norm")  # validation during training does not know their rule
OFTEN, TOTAL = 10 if FAST else 40, 30  # studies of so many trials that are drawn from the records of each seed
NS = (1, 3, 10, 30, 100, 300, 1000)
SIZES = {3: 8, 25: 4, 250: 1}  # validation photographs a class -> how often they are drawn, for each seed


def points(found):
    """A paired difference in percentage points, with its 95% interval and verdict."""
    return f"{around(found)} points ({found.verdict})"


def around(found):
    """A paired difference in percentage points and its 95% interval, which stay on one line."""
    return f"**{signed(100 * found.mean)}\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}{100 * found.half:.1f}**"


def signed(number, digits=1):
    """A number with its sign; none for what is rounded to zero."""
    told = f"{number:+.{digits}f}"
    return minus(told) if float(told) else told[1:]


def named(label):
    """A recorded setting in words: the title of its method, and what was set."""
    key, *given = label.split()
    return ", ".join([METHODS[key].title, *(one.replace("_", " ").replace("=", "\u00a0=\u00a0") for one in given)])


def table(head, lines):
    """Rows of texts as a card."""
    cell = 'style="text-align:left;padding:.15em .7em"'
    top = "".join(f"<th {cell}>{safe(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td {cell}>{inline(one)}</td>" for one in line) + "</tr>" for line in lines)
    text = "\n".join(" | ".join(map(plain, line)) for line in (head, *lines))
    return Card(f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>", text)


def together(*parts):
    """Several cards as one."""
    return Card(show(list(parts)), "\n".join(part.text for part in parts))


def listed(lines):
    """Lines as a card."""
    return Card(bullets(lines), "\n".join(map(plain, lines)))


def rare(run):
    """Accuracy of the rare classes: mean of their recalls on the test images."""
    return float(lt.metrics.shot_accuracy(run)["tail"])


# ---------------------------------------------------------------------------------------------- ten plain networks
@functools.cache
def plain_networks():
    """The plain network on the photographs, ten recorded runs, by seed."""
    return sorted(lt.recorded("cifar16", "ce"), key=lambda run: run.seed)


def first_photographs():
    """Numbers of the first three test photographs of each class."""
    names = lt.study.photographs().names
    return np.concatenate([np.flatnonzero(names == name)[:EACH] for name in sorted(set(names))])


def scores_of_ten():
    """Share of right answers of the ten networks: (on the first photographs, on all others), each (10,)."""
    right = np.array([np.asarray(run.logits).argmax(1) == np.asarray(run.targets) for run in plain_networks()])
    few = first_photographs()
    return right[:, few].mean(1), np.delete(right, few, axis=1).mean(1)


@draws
def plot_thirty():
    """The photographs that decide, and how many of them each of ten plain networks gets right."""
    found, figure = lt.study.photographs(), new_figure(9.4, 2.5, None)
    few, names = first_photographs(), sorted(set(map(str, found.names)))
    for i, number in enumerate(few):
        ax = figure.add_axes((0.005 + 0.0615 * (i // EACH), 0.6 - 0.285 * (i % EACH), 0.06, 0.27))
        ax.imshow(found.images[number], gid=PHOTO, interpolation="nearest")
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
        if i % EACH == 0:
            ax.set_title(names[i // EACH], fontsize=7, fontweight="normal", loc="center")
    score = np.rint(scores_of_ten()[0] * len(few)).astype(int)
    ax = figure.add_axes((0.68, 0.2, 0.31, 0.62))
    ax.bar(range(1, 11), score, color=PALETTE[0], width=0.7)
    for x, value in enumerate(score, 1):
        ax.text(x, value + 0.3, str(value), ha="center", va="bottom", fontsize=8.5)
    ax.set(xticks=range(1, 11), ylim=(0, 22), yticks=(0, 10, 20), xlabel="network")
    ax.set_title(f"right, of {len(few)}", fontsize=9.5, loc="left")
    said = ", ".join(map(str, score))
    text = f"{EACH} test photographs of each of ten classes, and how many of the {len(few)} ten plain networks get right: {said}."
    return Picture(ax, {"right": score}, text)


best_of_ten = lt.Predict(
    f"Ten plain networks, one a seed. The best of them is right on {scores_of_ten()[0].max():.0%} of these {10 * EACH} photographs. On how many of the other 9,970 test photographs, in percent?",
    number=(0, 100, 1),
    default=55,
    unit="%",
)


@draws
def plot_both_scores():
    """The score of each network on the few photographs and on all others."""
    few, rest = scores_of_ten()
    ax = new_figure(6.2, 3.2).subplots()
    best = few.argmax()
    for i, (a, b) in enumerate(zip(few, rest, strict=True)):
        ax.plot(
            [0, 1],
            [a, b],
            color=PALETTE[1] if i == best else QUIET,
            linewidth=2.2 if i == best else 1,
            marker="o",
            **EDGE,
        )
    ax.set_xticks([0, 1], [f"on the {10 * EACH} that decided", "on the other 9,970"])
    ax.set(xlim=(-0.25, 1.25), ylim=(0.25, 0.65))
    percent(ax.yaxis)
    text = f"Ten networks on {10 * EACH} photographs and on 9,970 others. The best of the ten falls from {few[best]:.1%} to {rest[best]:.1%}."
    return Picture(ax, {"few": few, "rest": rest}, text)


def open_best_of_ten():
    """The answer, from the recorded answers to all test photographs."""
    few, rest = scores_of_ten()
    best = few.argmax()
    rank = int((rest > rest[best]).sum()) + 1
    return best_of_ten.reveal(
        plot_both_scores(),
        truth=100 * rest[best],
        tolerance=4,
        because=f"On other photographs it is right on {rest[best]:.1%}, place {rank} of ten; all ten lie between {rest.min():.1%} and {rest.max():.1%}. Its lead was mostly luck: it was chosen because these photographs happen to suit it. The difference, {100 * (few[best] - rest[best]):.0f} points, is the **optimism** of this choice.",
    )


# ----------------------------------------------------------------------------------------------------------- the space
uniform_betas = lt.Predict(
    "A random search draws 1,000 values of β **uniformly** from 0.9 to 0.9999. How many of them lie above 0.999?",
    number=(0, 1000, 1),
    default=100,
)


@draws
def plot_scales():
    """The same 1,000 draws on the linear and on the one-minus-log scale, counted by decade of 1 - beta."""
    low, high = BETA
    u = np.random.default_rng(0).uniform(size=1000)
    drawn = {"linear": low + u * (high - low), "one-minus-log": 1 - (1 - low) * ((1 - high) / (1 - low)) ** u}
    edges = np.array([0.9, 0.99, 0.999, 0.9999])
    counts = {
        name: np.histogram(1 - beta, np.sort(1 - edges) * (1 + np.array([-1e-9, 0, 0, 1e-9])))[0][::-1]
        for name, beta in drawn.items()
    }
    ax = new_figure(6.6, 2.6).subplots()
    for i, (name, found) in enumerate(counts.items()):
        ax.bar(np.arange(3) + 0.38 * (i - 0.5), found, width=0.36, color=PALETTE[i], label=name)
        for x, value in zip(np.arange(3) + 0.38 * (i - 0.5), found, strict=True):
            ax.text(x, value + 12, str(value), ha="center", va="bottom", fontsize=9)
    ax.set_xticks(range(3), ["β from 0.9 to 0.99", "0.99 to 0.999", "0.999 to 0.9999"])
    ax.set(ylim=(0, 1080), ylabel="one draw of 1,000 values")
    ax.yaxis.set_major_formatter("{x:,.0f}")
    ax.legend(fontsize=9)
    said = "; ".join(f"{name}: {', '.join(map(str, found))}" for name, found in counts.items())
    return Picture(ax, counts, f"Draws in each decade of 1 - beta. {said}.")


def open_uniform_betas():
    """The answer: calculated, and 1,000 draws on both scales."""
    low, high = BETA
    truth = 1000 * (high - 0.999) / (high - low)
    return uniform_betas.reveal(
        plot_scales(),
        truth=truth,
        tolerance=8,
        because=f"{truth:.0f}, calculated from the share of the range. But from 0.999 to 0.9999 chapter 04's number of prototypes grows from {1 / (1 - 0.999):,.0f} to {1 / (1 - 0.9999):,.0f}, by the same factor as from 0.9 to 0.99. On the scale of 1 − β every decade gets a third.",
    )


# ------------------------------------------------------------------------------------------------------------ the game
def play(tuning):
    """Let the sampler use up its budget, the defaults being its first trial. Where the reader has tried nothing, a grid
    stands for them, and what is returned is folded. Returns how many trials each side has, and its best value."""
    by = list(tuning.table()["by"])
    missing = BUDGET - by.count("sampler") - by.count("defaults")
    if missing > 0:
        tuning.run(len(tuning) + missing, progress=False)
    grid = "you" not in by
    if grid:
        for values in list(itertools.product(*GRID.values()))[-BUDGET:]:
            tuning.enqueue(**dict(zip(GRID, values, strict=True)))
        tuning.run(len(tuning) + BUDGET, progress=False)
    told = [
        f"{side}: {lt.check.many(len(rows), 'trial')}, the best **{rows['value'].astype(float).max():.1%}** on validation"
        for side, rows in sides_of(tuning).items()
    ]
    if not grid:
        return listed(told)
    found = listed(
        told
        + [
            f"You have tried nothing: a grid of {len(GRID['beta'])} values of β and {len(GRID['lr'])} learning rates stands for you."
        ]
    )
    return Card(fold("What both sides have found", show(found)), found.text)


def sides_of(tuning):
    """The finished trials of each side, in their order. The defaults are the sampler's first trial."""
    rows = tuning.table().sort_index()
    rows = rows[rows["ended"] == "finished"]
    return {"you": rows[rows["by"] == "you"], "sampler": rows[rows["by"] != "you"]}


def settings_of(tuning, row):
    """The settings of a trial, as keywords of train."""
    return {one.setting: one.read(one.write(row[one.name])) for one in tuning.plan.space.dimensions}


def tested(tuning):
    """For each side its best trial by validation, and the runs of that setting under ten seeds, which look at the test set."""
    found = {}
    for side, rows in sides_of(tuning).items():
        best = rows.loc[rows["value"].astype(float).idxmax()]
        runs = lt.train_many(
            "class_balanced",
            tuning.plan.data,
            seeds=SEEDS,
            progress=False,
            **tuning.plan.arguments,
            **settings_of(tuning, best),
        )
        found[side] = (best, runs)
    return found


SHAPES = {  # a frame and a dot: both are seen where both sides have the same value
    "you": {"markerfacecolor": "none", "markeredgecolor": PALETTE[1], "markeredgewidth": 1.6, "markersize": 8},
    "sampler": {"markersize": 5},
}


@draws
def plot_game(tuning, found):
    """The best validation value so far of both sides, and the hidden test of the setting that each chose."""
    ax, right = new_figure(8.6, 3.1).subplots(1, 2, width_ratios=(2, 1), sharey=True)
    data = {}
    for i, (side, rows) in enumerate(sides_of(tuning).items()):
        values = rows["value"].to_numpy(float)
        look = {"color": PALETTE[1 - i], "marker": "so"[i], **EDGE}
        ax.plot(
            np.arange(1, len(values) + 1),
            np.maximum.accumulate(values),
            drawstyle="steps-post",
            linewidth=2,
            color=PALETTE[1 - i],
        )
        ax.plot(np.arange(1, len(values) + 1), values, linestyle="", label=side, **(look | SHAPES[side]))
        each = np.array([rare(run) for run in found[side][1]])
        right.plot(
            np.full(len(each), i) + np.linspace(-0.12, 0.12, len(each)),
            each,
            linestyle="",
            markersize=5,
            **look,
        )
        right.plot([i - 0.25, i + 0.25], [each.mean()] * 2, color=PALETTE[1 - i], linewidth=2.4)
        data |= {f"{side} validation": values, f"{side} test": each}
    ax.set(xlabel="trial", ylabel="rare classes, accuracy")
    ax.set_title("validation; line: best so far", fontsize=9.5, loc="left")
    right.set_title(f"hidden test, {SEEDS} seeds; bar: mean", fontsize=9.5, loc="left")
    right.set(xticks=(0, 1), xlim=(-0.5, 1.5))
    right.set_xticks((0, 1), ("you", "sampler"))
    percent(ax.yaxis)
    ax.legend(fontsize=9, loc="lower right")
    text = "; ".join(
        f"{side}: best on validation {data[f'{side} validation'].max():.1%}, that setting on the hidden test {data[f'{side} test'].mean():.1%} over {len(found[side][1])} seeds"
        for side in found
    )
    return Picture([ax, right], data, f"{text}.")


WINNERS = ["my setting", "the sampler's setting", "undecided"]
who_wins = lt.Predict(
    f"Each side has chosen its best setting by validation. Both settings are now trained under the same {SEEDS} seeds, and tried on the hidden test images. Whose rare classes are more accurate? *Undecided* means p ≥ .05.",
    choices=WINNERS,
    default=WINNERS[1],
)


def open_who_wins(tuning):
    """The answer: both settings on the hidden test, and what validation had promised."""
    found = tested(tuning)
    versus = lt.metrics.paired(found["you"][1], found["sampler"][1], "tail")
    truth = WINNERS[2] if not versus.p < 0.05 else WINNERS[0] if versus.mean > 0 else WINNERS[1]
    lines = []
    for side, (best, runs) in found.items():
        same = np.mean([rare(run) for run in runs if run.seed in tuning.plan.seeds])
        told = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in settings_of(tuning, best).items())
        lines.append(
            f"{side}: {told}. Validation promised **{best['value']:.1%}**. Test: {same:.1%} for the same {len(tuning.plan.seeds)} networks, **{np.mean([rare(run) for run in runs]):.1%}** for {len(runs)} seeds."
        )
    lines.append(f"Your setting against the sampler's, {len(found['you'][1])} seeds: {points(versus)}.")
    return who_wins.reveal(
        [plot_game(tuning, found), listed(lines)],
        truth=truth,
        because=why_decided(versus, found) if versus.p < 0.05 else why_undecided(tuning),
    )


def why_decided(versus, found):
    """What validation said of a difference that holds on the test images."""
    ahead = 100 * (float(found["you"][0]["value"]) - float(found["sampler"][0]["value"]))
    if versus.mean < 0:
        ahead = -ahead
    told = (
        f"the winner led by {ahead:.1f} points"
        if ahead > 0
        else f"it was behind by {-ahead:.1f} points"
        if ahead
        else "both had the same value"
    )
    clear = "" if versus.p < 0.005 else ", suggestive but not clear"
    return f"On the test images the winner leads by {100 * abs(versus.mean):.1f} points (p = {versus.p:.2g}{clear}). On validation {told}."


def why_undecided(tuning):
    """By how few images the best trials differ."""
    values = np.sort(np.concatenate([rows["value"].to_numpy(float) for rows in sides_of(tuning).values()]))[::-1]
    top, one = values[:5], 1 / tuning.plan.judge.images / len(tuning.plan.seeds)
    return f"One image is {100 * one:.1f} points of a trial's value. The best {len(top)} of all {len(values)} trials lie within {100 * (top[0] - top[-1]):.1f} points, so a few images decide which one is called the best."


# ------------------------------------------------------------------------------------------------------------- pruning
@functools.cache
def records():
    """All recorded runs on the photographs whose validation during training is that of their decisions: label -> ten runs."""
    found = {}
    for run in lt.recorded("cifar16"):
        if run.label not in DECIDED_LATER:
            found.setdefault(run.label, []).append(run)
    return {label: sorted(runs, key=lambda run: run.seed) for label, runs in found.items()}


@functools.cache
def curves(group="all"):
    """Validation accuracy of the group after each epoch (10 seeds, settings, epochs), at the end on the test images
    (10, settings), and the epochs before the last stage (settings,)."""
    found = records()
    masks = [
        np.ones(run.k, bool) if group == "all" else lt.metrics.third_groups(run.counts)[group] for run in found["ce"]
    ]
    value = np.array(
        [
            [np.asarray(run.history["val_accuracy"])[:, masks[run.seed]].mean(1) for run in runs]
            for runs in found.values()
        ]
    )
    test = np.array([[lt.metrics.shot_accuracy(run)[group] for run in runs] for runs in found.values()])
    stages = [np.asarray(runs[0].history["stage"]) for runs in found.values()]
    return value.swapaxes(0, 1), test.T, np.array([int((stage < stage.max()).sum()) for stage in stages])


def stopped_at(value, before, every=4, startup=5):
    """The epoch at which the median rule ends each trial of a study, 0: never.

    value (n, epochs): the trials' values, in the order in which they are trained. before (n,): epochs during which a trial
    may not be ended. As in Optuna: a third of the epochs is left alone, and the best value so far is compared with the
    median of the completed trials at this epoch.
    """
    n, epochs = value.shape
    steps = np.arange(every, epochs, every)
    now, best = value[:, steps - 1], np.maximum.accumulate(value[:, steps - 1], axis=1)
    ended, complete = np.zeros(n, int), []
    for i in range(n):
        if len(complete) >= startup:
            worse = (best[i] < np.median(now[complete], axis=0)) & (steps >= epochs // 3) & (steps > before[i])
            ended[i] = steps[worse.argmax()] if worse.any() else 0
        if not ended[i]:
            complete.append(i)
    return ended


@functools.cache
def pruned(aware):
    """Over many studies of 30 recorded settings: (how often the best was ended, share of epochs saved, accuracy lost,
    share of the trials with a late stage that were ended).

    aware: a trial may be ended in its last stage only. Each (10 seeds,); lost: balanced test accuracy of the chosen setting.
    """
    value, test, before = curves()
    rng, found = np.random.default_rng(0), []
    for seed in range(len(value)):
        rows = []
        for _ in range(OFTEN):
            order = rng.permutation(value.shape[1])[:TOTAL]
            ended = stopped_at(value[seed, order], before[order] if aware else np.zeros(TOTAL, int))
            final = value[seed, order, -1]
            best, kept = final.argmax(), np.where(ended > 0, -1, final).argmax()
            epochs = np.where(ended > 0, ended, value.shape[2]).mean()
            late = ended[before[order] > 0]
            lost = test[seed, order[best]] - test[seed, order[kept]]
            rows.append(
                (ended[best] > 0, 1 - epochs / value.shape[2], lost, (late > 0).mean() if len(late) else np.nan)
            )
        found.append(np.nanmean(rows, axis=0))
    return np.array(found).T


best_pruned = lt.Predict(
    f"The **median rule** ends a trial whose best value so far is below the median of the others at the same epoch; it starts after a third of the epochs. We draw {TOTAL} of the recorded settings of all methods, many times, and apply the rule to their validation curves. How often, in percent, does it end the trial that would have been the **best** at the end?",
    number=(0, 100, 1),
    default=5,
    unit="%",
)


@draws
def plot_pruning():
    """Validation curves of the recorded settings under seed 0; strongly, three with a late stage."""
    value, _, before = curves()
    figure = new_figure(9.0, 3.3)
    ax, x = figure.subplots(), np.arange(1, value.shape[2] + 1)
    for i, curve in enumerate(value[0]):
        ax.plot(x, curve, color=FAINT, linewidth=0.8, label="" if i else f"each of {len(value[0])} settings")
    ax.plot(x, np.median(value[0], axis=0), color=INK, linewidth=2, label="their median")
    late = [i for i in np.argsort(-value[0, :, -1]) if before[i]][:3]
    names = [named(label) for label in records()]
    for i, which in enumerate(late):
        ax.plot(x, value[0, which], color=PALETTE[i], linewidth=2, label=wrap(names[which], 22))
    ax.axvline(value.shape[2] // 3, color=QUIET, linestyle=(0, (1, 2)), label="the rule starts")
    ax.set(xlabel="epoch", ylabel="all classes, validation", xlim=(1, value.shape[2]), ylim=(0, 0.6))
    ax.set_title("one network a setting, seed 0", fontsize=9.5, loc="left")
    percent(ax.yaxis)
    figure.legend(fontsize=8.5, loc="outside right upper")
    text = f"Validation curves of {value.shape[1]} recorded settings, seed 0, their median, and three with a late stage: {', '.join(names[i] for i in late)}."
    return Picture(ax, {"median": np.median(value[0], axis=0)}, text)


def change(lost):
    """A mean loss of accuracy as a change in percentage points."""
    return signed(-100 * lost.mean(), 2)


def below_median():
    """Share of seeds and deferred settings that are below the median of all settings half-way through training."""
    value, _, before = curves()
    half = value[:, :, value.shape[2] // 2 - 1]
    return float((half[:, before > 0] < np.median(half, axis=1, keepdims=True)).mean())


def open_best_pruned():
    """The answer, and the same rule where a trial may be ended in its last stage only."""
    blind, aware = pruned(False), pruned(True)
    before = curves()[2]
    late, settings = int((before > 0).sum()), len(before)
    lines = [
        f"The rule as it is: best trial ended in **{blind[0].mean():.0%}** of the studies ({blind[0].min():.0%} to {blind[0].max():.0%} by seed), **{blind[1].mean():.0%}** of the epochs saved, test accuracy of the setting that is then chosen: {change(blind[2])} points.",
        f"In the last stage only: best trial ended in **{aware[0].mean():.1%}**, still **{aware[1].mean():.0%}** of the epochs saved, as the other {settings - late} settings have one stage; test accuracy {change(aware[2])} points.",
    ]
    return best_pruned.reveal(
        [plot_pruning(), listed(lines)],
        truth=100 * blind[0].mean(),
        tolerance=8,
        because=f"{late} of the {settings} settings have a second stage, most of them for the last fifth of the epochs. Until then they neither weight nor re-sample the classes: half-way, {late * below_median():.1f} of these {late} lie below the median of all settings (mean of ten seeds). The rule looks several times, and ends {late * blind[3].mean():.1f} of the {late}. `lt.tune` ends a trial in its last stage only.",
    )


# ------------------------------------------------------------------------------------------------------------ optimism
def right_shares(z, y, added):
    """Share of right answers of scores z (n, k) under each row of numbers added to them (t, k): (t,)."""
    columns, true = np.ascontiguousarray(z.T), z[np.arange(len(y)), y]  # the largest of a column is found fastest
    return np.array([((columns + one[:, None]).max(0) <= true + one[y]).mean() for one in added])


@functools.cache
def searched(size, nothing=False):
    """The best of n random settings by validation: its validation and test accuracy, both (10 seeds, len(NS)).

    A setting is a number for each class, added to the scores of a plain network: tau times minus the log prior, plus noise.
    nothing: tau is 1, and the noise so small that it changes little. size: validation photographs of each class; 500
    others of each class are the hidden test. Means over several draws of both.
    """
    found = []
    for run in plain_networks():
        z, y, rng = np.asarray(run.logits, np.float32), np.asarray(run.targets), np.random.default_rng(run.seed)
        prior = np.log(np.asarray(run.counts) / np.sum(run.counts))
        draws = []
        for _ in range(SIZES[size]):
            parts = [rng.permutation(np.flatnonzero(y == j)) for j in range(run.k)]
            few, rest = (np.concatenate([part[a:b] for part in parts]) for a, b in ((0, size), (size, size + 500)))
            tau = np.ones(NS[-1]) if nothing else rng.uniform(0, 2, NS[-1])
            added = (-tau[:, None] * prior + (0.3 if nothing else 1.0) * rng.normal(size=(NS[-1], run.k))).astype(
                np.float32
            )
            value = right_shares(z[few], y[few], added)
            best = [int(value[:n].argmax()) for n in NS]
            draws.append((value[best], right_shares(z[rest], y[rest], added[best])))
        found.append(np.mean(draws, axis=0))
    return np.array(found).swapaxes(0, 1)


MORE = ["by about as much", "by about half of that", "by a quarter of that at most, or not at all"]
more_trials = lt.Predict(
    f"A setting is ten numbers, one a class, that are added to the scores of a plain network. Random search looks for the best on {10 * EACH} validation photographs. From 30 to 1,000 trials, the best validation value goes on rising. The accuracy of the chosen setting on **other** photographs rises …",
    choices=MORE,
    default=MORE[0],
)


@draws
def plot_optimism():
    """Validation and test accuracy of the best of n trials, for three sizes of the validation set and for nothing."""
    figure = new_figure(9.4, 3.2)
    axes = figure.subplots(1, 4, sharey=True)
    data = {}
    for ax, (name, found) in zip(
        axes,
        {
            **{f"{size} a class": searched(size) for size in SIZES},
            "3 a class, nothing to find": searched(3, True),
        }.items(),
        strict=True,
    ):
        for i, (kind, rows) in enumerate(zip(("validation", "other photographs"), found, strict=True)):
            ax.plot(NS, rows.mean(0), color=PALETTE[i], marker="os"[i], markersize=5, label=kind, **EDGE)
            data[f"{name}, {kind}"] = rows.mean(0)
        ax.fill_between(NS, found[0].mean(0), found[1].mean(0), color=FAINT, alpha=0.35, linewidth=0)
        ax.set_xscale("log")
        ax.set(xticks=(1, 10, 100, 1000), xlabel="trials")
        ax.set_xticks((1, 10, 100, 1000), ("1", "10", "100", "1,000"))
        ax.set_title(name, fontsize=9.5, loc="left")
    percent(axes[0].yaxis)
    axes[0].set_ylabel("all classes, accuracy")
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=9, loc="outside upper center", ncols=2)
    said = "; ".join(f"{name} {rows[0]:.1%} to {rows[-1]:.1%}" for name, rows in data.items())
    return Picture(list(axes), data, f"The best of 1 to 1,000 random settings; validation photographs a class: {said}.")


def open_more_trials():
    """The answer, for three sizes of the validation set and for a search in which there is nothing to find."""
    gain = {size: lt.metrics.paired(searched(size)[1][:, 6], searched(size)[1][:, 3]) for size in SIZES}
    share = gain[3].mean / (searched(3)[0][:, 6] - searched(3)[0][:, 3]).mean()
    truth = MORE[0] if share > 0.75 else MORE[1] if share > 0.25 else MORE[2]
    grew = {size: int(np.sum(np.diff((searched(size)[0] - searched(size)[1])[:, [3, 6]]) > 0)) for size in SIZES}
    slider = np.array([lt.metrics.frontier(run, [1.0]).all[0] for run in plain_networks()])
    lines = [
        "The optimism after one trial is chance.",
        "*Nothing to find*: τ is 1 in every setting (hence the higher start), and the noise is small. All of the rise is optimism.",
        f"One trial of chapter 03's slider, τ = 1: {slider.mean():.1%}. The best of 1,000 trials of ten numbers, chosen on 250 photographs a class, against it: {points(lt.metrics.paired(searched(250)[1][:, 6], slider))}. The noise keeps nearly all of them off the slider's line: a well-chosen space of one number did better than one of ten.",
    ]
    return more_trials.reveal(
        [plot_optimism(), table_of_optimism(), listed(lines)],
        truth=truth,
        because=f"The best of many values is high because its setting is good, and because its photographs happen to suit it. From 30 to 1,000 trials the second part grew in {grew[3]}, {grew[25]} and {grew[250]} of the ten seeds, with 3, 25 and 250 photographs a class.",
    )


def table_of_optimism():
    """For each size of the validation set what more trials bring, and the optimism."""
    searches = {f"{size}": searched(size) for size in SIZES} | {"3, nothing to find": searched(3, True)}
    lines = []
    for name, (value, other) in searches.items():
        optimism = 100 * (value - other).mean(0)
        gain = lt.metrics.paired(other[:, 6], other[:, 3])
        lines.append(
            (name, signed(100 * (value[:, 6] - value[:, 3]).mean()), f"{around(gain)} ({gain.verdict})")
            + tuple(minus(f"{optimism[i]:.1f}") for i in (0, 3, 6))
        )
    head = (
        "photographs a class",
        "validation, 30 to 1,000 trials",
        "other photographs, 30 to 1,000",
        "optimism, 1 trial",
    )
    return table((*head, "30 trials", "1,000 trials"), lines)


# ------------------------------------------------------------------------------------------------------------- compare
@functools.cache
def chosen(group):
    """Of all recorded settings the best by the validation photographs of each seed: ten runs."""
    value, _, _ = curves(group)
    names = list(records())
    return [records()[names[int(value[seed, :, -1].argmax())]][seed] for seed in range(len(value))]


def open_compare():
    """What choosing among all recorded settings gives, and its optimism."""
    rows, lines, spread = [], [], []
    for group, words in (("all", "balanced accuracy"), ("tail", "accuracy of the rare classes")):
        value, test, _ = curves(group)
        best = value[:, :, -1].argmax(1)
        seeds = np.arange(len(value))
        promised, got, most = value[seeds, best, -1], test[seeds, best], test.max(1)
        too_good = lt.metrics.paired(promised, got)
        images = 250 * (
            10 if group == "all" else int(lt.metrics.third_groups(plain_networks()[0].counts)["tail"].sum())
        )
        labels = [run.label for run in chosen(group)]
        told = ", ".join(f"{labels.count(name)} × *{named(name)}*" for name in dict.fromkeys(labels))
        rows.append(
            (
                words,
                f"{images:,}",
                f"{promised.mean():.1%}",
                f"{got.mean():.1%}",
                f"{around(too_good)} ({too_good.verdict})",
                f"{most.mean():.1%}",
            )
        )
        lines.append(f"**{words}** chose {told}")
        spread.append((100 * test.std(1).mean(), 100 * (value[:, :, -1] - test).std()))
    (wide, narrow), (wide_rare, narrow_rare) = spread
    lines = [
        f"Under the ten seeds, {'; '.join(lines)}.",
        f"Test accuracies of the settings have a standard deviation of {wide:.1f} points (rare classes: {wide_rare:.1f}), the differences between validation and test one of {narrow:.1f} ({narrow_rare:.1f}): with so many images, luck decides little.",
    ]
    head = (
        "chosen by",
        "validation photographs",
        "validation",
        "test",
        "optimism, before rounding",
        "best by the test itself",
    )
    return together(table(head, rows), listed(lines))


def plot_chosen():
    """The two choices on the chart of the course."""
    return lt.plot_who_pays(
        {"best for all classes": chosen("all"), "best for the rare": chosen("tail")}, plain_networks()
    )


def say_chosen():
    """Whether the choices lie beyond the slider's line."""
    told, plain_ones = [], plain_networks()
    for group, words in (("all", "all classes"), ("tail", "the rare classes")):
        rarest, overall = (lt.metrics.beyond(chosen(group), plain_ones, of) for of in ("tail", "all"))
        told.append(
            f"Chosen for {words}, against the slider: rare classes {points(rarest)}, all classes together {points(overall)}."
        )
    head, before = (
        np.mean([lt.metrics.shot_accuracy(run)["head"] for run in runs]) for runs in (chosen("tail"), plain_ones)
    )
    overall = lt.metrics.beyond(chosen("all"), plain_ones, "all")
    beats = "beats" if overall.p < 0.005 and overall.mean > 0 else "does not clearly beat"
    return lt.say(
        *told,
        f"For all classes together, the choice among {len(records())} settings {beats} the slider. The choice for the rare classes leaves the frequent ones at {head:.1%}, down from {before:.1%} in the plain network.",
    )


# ----------------------------------------------------------------------------------------------------------- exercises
def _best_of(n, m, p):
    at_most = np.cumsum([math.comb(m, c) * p**c * (1 - p) ** (m - c) for c in range(m + 1)])
    return float((1 - at_most[:-1] ** n).sum() / m)


def _expected_of_mean(n, m, p):
    return p


best_of = lt.Exercise(
    "The best of n settings that are all alike",
    """Write `best_of(n, m, p)`: `n` settings, each truly right with probability `p`, are tried on `m` validation images of their own. Return the expected **highest** share of right answers. What exceeds `p` is pure optimism.

The cell below imports `math`. Then compare `best_of(1000, 30, 0.51)` with the last panel above: why is it larger?""",
    """
def best_of(n, m, p):
    share = [math.comb(m, c) * p**c * (1 - p) ** (m - c) for c in range(m + 1)]
    total, at_most = 0.0, 0.0
    for c in range(m):
        at_most += share[c]
        total += 1 - at_most**n
    return total / m
""",
    [
        lt.study.Case("one setting", (1, 30, 0.5), "One setting that nothing has chosen has no optimism: the answer is $p$."),
        lt.study.Case("two settings, one image", (2, 1, 0.5), "Both wrong has probability 1/4; else the best has 1."),
        lt.study.Case("20 settings, 30 images", (20, 30, 0.45), "Number of right answers: binomial."),
        lt.study.Case("20 settings, 300 images", (20, 300, 0.45), "More images, less optimism."),
        lt.study.Case("1,000 settings, 30 images", (1000, 30, 0.51), "The probability that all n have at most c right is F(c) to the power n."),
    ],
    oracle=_best_of,
    hints=[
        "The highest of n numbers is at most c exactly if each of them is.",
        "With F(c) the probability of at most c right answers, all n settings have at most c with probability F(c) to the power n.",
        "The mean of a number that is 0, 1, … m is the sum, for c from 0 to m − 1, of the probability that it exceeds c.",
        "On your question: the settings of the last panel are tried on the *same* images and answer most of them alike, so they are fewer than 1,000 independent chances.",
    ],
    mistakes={
        "That is the mean of one setting. The best of n is asked for.": _expected_of_mean,
        "Divide by the number of images: a share is asked for.": lambda n, m, p: m * _best_of(n, m, p),
        "That is the lowest of n, not the highest.": lambda n, m, p: 1 - _best_of(n, m, 1 - p),
        "You raised the probability of exceeding c to the power n. That all n exceed c is not asked.": lambda n, m, p: float(sum((1 - f) ** n for f in np.cumsum([math.comb(m, c) * p**c * (1 - p) ** (m - c) for c in range(m + 1)])[:-1]) / m),
    },
    given={"math": math},
)  # fmt: skip


def _median_of(values):
    return float(np.median(values))


def _ends(own, others, begins):
    epoch = len(own)
    if epoch <= begins or not others:
        return 0.0
    return float(max(own) < _median_of([one[epoch - 1] for one in others]))


_SLOW, _FAIR, _GOOD = [0.1, 0.2, 0.3, 0.7], [0.3, 0.4, 0.45, 0.5], [0.4, 0.5, 0.55, 0.6]
ends = lt.Exercise(
    "The median rule, with stages",
    """Write `ends(own, others, begins)`: whether a trial is ended now, `True` or `False`.

`own`: its values so far, one an epoch. `others`: the values of each complete trial, a list of lists over all epochs. `begins`: how many epochs pass before its last stage; after `begins` epochs or fewer nothing is ended, nor while `others` is empty. Else it is ended if its **best** value so far is below the median of the others **at this epoch**. The cell below imports `statistics`.""",
    """
def ends(own, others, begins):
    epoch = len(own)
    if epoch <= begins or not others:
        return False
    return max(own) < statistics.median(one[epoch - 1] for one in others)
""",
    [
        lt.study.Case("poor, in its last stage", (_SLOW[:2], [_FAIR, _GOOD], 0), "0.2 is below the median at epoch 2."),
        lt.study.Case("poor, but its last stage has not begun", (_SLOW[:3], [_FAIR, _GOOD], 3), "Until then a deferred method neither weights nor re-samples the classes."),
        lt.study.Case("its last stage has just begun", (_SLOW[:3], [_FAIR, _GOOD], 2), "After epoch 3 of which 2 pass before the last stage, it may be ended."),
        lt.study.Case("it was good once", ([0.5, 0.1], [_FAIR, _GOOD, _FAIR], 0), "Its best value so far counts, not the last one."),
        lt.study.Case("the others at the same epoch", ([0.38], [_FAIR, _GOOD], 0), "The others are complete: take their values after as many epochs."),
        lt.study.Case("as good as the median", (_FAIR[:2], [_FAIR, _FAIR, _GOOD], 0), "Only what is below the median is ended."),
        lt.study.Case("nothing to compare with", ([0.1], [], 0), "Without complete trials there is no median."),
        lt.study.Case("one good, two poor", ([0.35], [_GOOD, [0.2], [0.3]], 0), "The median is the middle value, not the mean."),
        lt.study.Case("one very good, two fair", ([0.45], [[0.9], [0.4], [0.4]], 0), "The median is the middle value, not the mean."),
    ],
    oracle=_ends,
    hints=["How many epochs has the trial run? `own` tells.", "First the cases in which nothing is ended, then one comparison."],
    mistakes={
        "It looks at the last value; the best so far is asked for.": lambda own, others, begins: float(len(own) > begins and bool(others) and own[-1] < _median_of([one[len(own) - 1] for one in others])),
        "It compares with the others' values at the end. Compare at the same epoch.": lambda own, others, begins: float(len(own) > begins and bool(others) and max(own) < _median_of([one[-1] for one in others])),
        "It ends trials before their last stage.": lambda own, others, begins: _ends(own, others, 0),
        "That is the mean of the others, not their median.": lambda own, others, begins: float(len(own) > begins and bool(others) and max(own) < np.mean([one[len(own) - 1] for one in others])),
    },
    given={"statistics": statistics},
)  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------- quiz
def quiz():
    """Five questions."""
    return lt.Quiz([
        lt.study.Question(
            "A learning rate between 0.001 and 1. Which draw tries every order of magnitude equally often?",
            {
                "uniform from 0.001 to 1": "Nine tenths of the draws then lie above 0.1.",
                "ten to the power of a uniform number from −3 to 0": "Yes: equal distances in the logarithm.",
                "one minus a log-uniform number": "That is for settings that approach 1, such as β.",
            },
            "ten to the power of a uniform number from −3 to 0",
        ),
        lt.study.Question(
            "Two settings, of which one matters and one does not; 16 trials. How many different values of the one that matters does a 4 × 4 grid try, and how many does random search?",
            {"4 and 4": "Random search draws anew for each trial.", "16 and 16": "A grid repeats each value.", "4 and 16": "Yes. This is the argument of Bergstra & Bengio (2012)."},
            "4 and 16",
        ),
        lt.study.Question(
            "You report the best validation value of 200 trials as the accuracy of your method. What is wrong?",
            {
                "Nothing, the test set was not touched.": "The validation images have chosen the setting, so its value on them is too high.",
                "It is optimistic.": "Yes. Report the chosen setting on images that had no part in the choice.",
                "200 trials are too few.": "More trials make the optimism larger.",
            },
            "It is optimistic.",
        ),
        lt.study.Question(
            "What reduced optimism in this chapter?",
            {
                "more trials": "They increased it.",
                "a better sampler": "It finds high validation values sooner, lucky ones as well.",
                "more validation images of the classes that count": "Yes: luck then moves the value less.",
                "more networks in each trial": "Not tried. They average the luck of the seed only.",
            },
            "more validation images of the classes that count",
        ),
        lt.study.Question(
            "A method changes its loss after 80% of the epochs. A pruner compares it with others after a third. What happens?",
            {
                "It is compared before its own loss is in force.": "Yes: until then it is trained with another loss.",
                "Nothing, all are compared at the same epoch.": "The same epoch is another point of its training.",
                "It has an advantage.": "On the contrary: the rule ended most such settings of this chapter.",
            },
            "It is compared before its own loss is in force.",
        ),
    ])  # fmt: skip
