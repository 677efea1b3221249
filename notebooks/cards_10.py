"""Chapter 10: its folder of photographs, its predictions, exercises and quiz, and the figures that they open."""
# ruff: noqa: E501  (text for readers is not cut into lines)

import functools
import html
import json
import os
import shutil
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import ltviz as lt
from ltviz import check, metrics
from ltviz.datasets import sources
from ltviz.datasets.tree import LISTED, PARTS, SYSTEM, listed, scan
from ltviz.files import data_folder
from ltviz.metrics.comparison import CLEAR, SUGGESTIVE
from ltviz.plots.picture import Picture, draws, look, new_figure
from ltviz.plots.picture import points as signed
from ltviz.reporting.intervals import mean_accuracy
from ltviz.study.cards import Card, Panel, box, fold, inline, literal, plain, prose, safe, sentence, show
from ltviz.study.kinds import Choice, Found

SHEET = "folder_photographs.png"
RECORDED = data_folder() / "runs" / "folder_photographs"
GROUPS = {"all": "all classes", "head": "frequent", "mid": "middle", "tail": "rare"}
TAUS = np.arange(0, 2.01, 0.1).round(1)
SIDE, ACROSS = 16, 32  # pixels of a photograph; photographs in a row of the sheet
METHODS = ("ce", "crt", "class_balanced_sampling")  # what is trained, the plain network first
MODEL = "cnn:8"  # small: the runs of the course's folder travel with it, and thirty on another folder take minutes
MINE, OTHER, RUNS, PAGE = Path("my_photographs"), Path("my_second_folder"), Path("my_runs"), Path("my_report.html")
LINKED = Path("my_linked_folder")  # of links to the images of the reader's own folder
MADE = ".made_by_chapter_10"  # is in folders that the chapter may replace
BROKEN, COPY, ORIGINAL = "train/deer/deer_017.png", "train/dog/dog_140.png", "train/dog/dog_004.png"
PLANTED, HIDDEN_IN, SWAPPED = "airplane", "frog", 27  # the fault of the second folder: so many labels are exchanged


# ------------------------------------------------------------------------------------------------------- the folder
def photographs():
    """(part, class, number, image (16, 16, 3) uint8) of each photograph of the course's folder."""
    with Image.open(data_folder() / SHEET) as sheet:
        told, pixels = json.loads(sheet.text["folder"]), np.asarray(sheet.convert("RGB"))
    tiles = iter(pixels.reshape(-1, SIDE, ACROSS, SIDE, 3).transpose(0, 2, 1, 3, 4).reshape(-1, SIDE, SIDE, 3))
    for name, n in told["train"].items():
        for part, m in (("train", n), ("test", told["test"][name])):
            yield from ((part, name, i, next(tiles)) for i in range(m))


def write_photographs(root, fault=False):
    """The course's folder, as an ordinary one is: with a broken file, a photograph twice, and a file that is no image.

    fault: some training images of two classes lie in each other's folder.
    """
    for part, name, i, image in photographs():
        place = name
        if fault and part == "train" and i < SWAPPED:
            place = {PLANTED: HIDDEN_IN, HIDDEN_IN: PLANTED}.get(name, name)
        folder = root / part / place
        folder.mkdir(parents=True, exist_ok=True)
        # As many go as come, so that numbers fit; a class's name would give away what lies in another's folder.
        Image.fromarray(image).save(folder / (f"{i:03d}.png" if fault else f"{name}_{i:03d}.png"))
    if not fault:
        shutil.copy(root / ORIGINAL, root / COPY)
        whole = (root / ORIGINAL.replace("dog", "deer")).read_bytes()
        (root / BROKEN).write_bytes(whole[: len(whole) // 2])
        (root / "train" / "deer" / "notes.txt").write_text("Taken at the northern camera.\n")
    return root


def training_part(home):
    """The training images of a folder; a fifth of each class is held out, and stands where a test part would."""
    return lt.folder_lt(home / "train", test=0.2, validation=0, on_error="skip")


def prepare(folder=None):
    """The folder to work with, as `train/` and `test/`: that of the course, or the reader's, whose images stay as they are.

    A folder without a test part gets one, in a folder of links beside this notebook: every fifth image of each class
    that can be read, and at least one. FileNotFoundError, ValueError, before anything is made, for a folder with which
    a later cell could not work; they name FOLDER.
    """
    if folder is None:
        bring_recorded()
        return write_photographs(fresh(MINE))
    told, folder = f"FOLDER={str(folder)!r}", Path(folder).expanduser()
    if not folder.exists():
        raise FileNotFoundError(f"{told}: there is no such folder here")
    may_replace(LINKED)
    refuse_linked(told, [folder])
    tree = looked_through(folder)
    refuse_linked(told, {os.path.dirname(file.path) for file in tree.files})
    good = readable(tree.files)
    enough(told, tree, good)
    roots = {part: root_of(tree, part) for part in tree.parts}
    if roots["train"] != folder:
        looked_through(roots["train"])  # as the loader will: by itself
        say_what_is_beside(told, folder)
    held = set()
    if not has_test(tree):
        for name in tree.class_names:
            own = [Path(file.path) for file in good if file.class_name == name]
            held.update(own[4::5] or own[-1:])
    return linked(roots, held)


def looked_through(folder):
    """The training and the test part of the reader's folder, if they have a clear meaning; what is wrong names FOLDER."""
    try:
        return scan(folder, ("train", "test"))
    except ValueError as error:
        told = str(error).replace("root=", "FOLDER=")
        raise ValueError(told if "FOLDER=" in told else f"FOLDER={str(folder)!r}: {told}") from None


def refuse_linked(told, folders):
    """ValueError where one of the reader's folders lies in the one that is emptied before links are made there."""
    home = Path(os.path.realpath(LINKED))
    if any(Path(os.path.realpath(one)).is_relative_to(home) for one in folders):
        raise ValueError(
            f"{told} has images in {LINKED}/, which this cell makes anew each time: give the folder of your own files"
        )


def readable(files):
    """Those files whose image can be read."""

    def good(file):
        try:
            sources.decode(Path(file.path).read_bytes(), file.name)
        except (sources.BadImage, OSError):
            return False
        return True

    if len(files) > 5000:
        print(f"looking at {len(files):,} image files")
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.simplefilter("ignore")
        return [file for file, fine in zip(files, pool.map(good, files), strict=True) if fine]


def enough(told, tree, good):
    """ValueError, naming them, where classes have too few images to train on, to validate and to test."""
    there, needed = Counter((file.part, file.class_name) for file in good), {"train": 3}
    why = "one each to train on, for validation and for the test"
    if has_test(tree):
        needed, why = {"train": 2, "test": 1}, "in train/ one to train on and one for validation, in test/ one"
    short = [
        f"class {name!r} has {check.many(there[part, name], 'image')} that can be read{f' in {part}/' if len(needed) > 1 else ''}, at least {least} needed"
        for part, least in needed.items()
        for name in tree.class_names
        if there[part, name] < least
    ]
    if short:
        more = f"; and {len(short) - LISTED:,} more" if len(short) > LISTED else ""
        raise ValueError(f"{told}: {'; '.join(short[:LISTED])}{more} ({why}); add images, or leave the class out")


def has_test(tree):
    """Whether the folder has a test part, whose images need not be readable."""
    names = [*tree.bad, *(file.name for file in tree.files)]
    return any(name.partition("/")[0].strip().lower() in PARTS["test"] for name in names)


def say_what_is_beside(told, folder):
    """UserWarning of folders beside train/ that are no part and hold images, which nothing reads."""
    parts = sum(PARTS.values(), ())
    beside = [
        f"{path.name}/"
        for path in sorted(folder.iterdir())
        if path.is_dir() and not path.name.startswith(".") and path.name.strip().lower() not in (*parts, *SYSTEM)
        if not (path / MADE).is_file() and any(sources.is_image(name) for *_, names in os.walk(path) for name in names)
    ]
    if beside:
        warnings.warn(
            f"{told}: beside train/, {listed(beside)} is not read; parts are called {', '.join(parts)}", stacklevel=3
        )


def root_of(tree, part):
    """The folder of a part that has images."""
    file = next(file for file in tree.files if file.part == part)
    return Path(file.path).parents[file.class_name.count("/") + 1]


def fresh(home):
    """An empty folder in the place of the one that was made here before. What somebody else made stays."""
    may_replace(home)
    if home.exists():
        shutil.rmtree(home)
    home.mkdir()
    (home / MADE).touch()
    return home


def may_replace(home):
    """FileExistsError for a folder that the chapter did not make."""
    if home.exists() and not (home / MADE).is_file():
        raise FileExistsError(f"{home.name}/ is in the way, and this chapter did not make it: rename it")


def bring_recorded():
    """The recorded runs of the course's folders into the reader's: training finds there what it would make."""
    RUNS.mkdir(exist_ok=True)
    for path in RECORDED.glob("*.safetensors"):
        if not (RUNS / path.name).exists():
            shutil.copy(path, RUNS)


def linked(roots, held):
    """A folder `train/`, `test/` of links (copies, where there can be none) to all files of these parts.

    roots: the folder of each part; held: paths of images in "train" that go to "test". Links to folders are followed.
    """
    home = fresh(LINKED)
    for part, root in roots.items():
        for folder, below, names in os.walk(root, followlinks=True):
            below[:] = [name for name in below if not name.startswith(".")]
            for path in (Path(folder) / name for name in sorted(names)):
                place = home / ("test" if path in held else part) / path.relative_to(root)
                place.parent.mkdir(parents=True, exist_ok=True)
                try:
                    os.symlink(os.path.realpath(path), place)
                except OSError:
                    if path.is_file():
                        shutil.copy(path, place)
    return home


LOOSE = "images beside the class folders"  # what the loader calls them


def what_was_found(data, said, home):
    """Size of the data, what was wrong with the folder, and which test images were trained on.

    said: the warnings of the loader of `data`; home: the folder with both parts, of which only the files are compared.
    """
    with warnings.catch_warnings(record=True) as more:
        warnings.simplefilter("always")
        same_way = {name: data.spec[name] for name in ("size", "memory")}
        found = lt.folder_lt(home, validation=0, on_error="skip", **same_way).folder
    if data.counts.min() == data.counts.max():
        raise ValueError(
            f"all {data.k} classes have {data.counts[0]} training images, so that none is rare; take a folder of classes that differ in size, or cut this one: folder_lt(..., ratio=10)"
        )
    held = np.bincount(data.test_targets.numpy(), minlength=data.k)
    bad = "; ".join(f"{literal(name)}, {literal(why)}" for name, why in list(found.bad.items())[:3])
    groups = metrics.third_groups(data.counts.numpy())
    frequent, rare = (
        in_words([data.class_names[j] for j in np.flatnonzero(groups[name])]) for name in ("head", "tail")
    )
    loose = found.ignored.get(LOOSE, 0)
    beside = f" Images that lie beside the folders of classes, and are not read: **{loose}**." if loose else ""
    return lt.say(
        f"**{len(data):,}** images to train on, in {data.k} classes of {data.counts[0]:,} to {data.counts[-1]:,}; "
        f"**{len(data.test_targets):,}** validation images, {held.max()} of the most frequent class and {held.min()} of the rarest. Frequent here: {frequent}. **Rare: {rare}.**",
        f"Left out, as they cannot be read: **{len(found.bad)}**{f' ({bad})' if bad else ''}. Files that are no images: **{sum(found.ignored.values()) - loose}**.{beside} "
        f"Images that are there more than once: **{len(found.repeated)}**{examples(found.repeated)}.",
        across(found.repeated),
        *loader_warnings(said, more),
    )


def across(repeated):
    """How many test images are training images as well, by name; `repeated`: files with equal pixels."""
    both = [same for same in repeated if len({name.partition("/")[0] for name in same}) > 1]
    n = sum(name.startswith("test/") for same in both for name in same)
    told = f"Test images that are in the training part as well: **{n}**{examples(both)}."
    if not n:
        return told
    return f"{told} **They make test accuracy too high**: a network knows them by heart. Remove one of each from your folder, and run from the top, before you train."


def examples(repeated):
    """The first three groups of equal images, in brackets."""
    same = "; ".join(literal(" = ".join(one)) for one in repeated[:3])
    return f" ({same}{'; …' if len(repeated) > 3 else ''})" if same else ""


def loader_warnings(said, whole):
    """What the loader warned of and the card does not count. said: of the training part; whole: of both parts.

    An image under two classes is told with the names in both parts; one in training and validation is in `said` alone.
    """
    twice, counted = "under more than one class", "left out, unreadable"
    texts = [text for one in said if counted not in (text := str(one.message)) and twice not in text]
    texts += [text for one in whole if twice in (text := str(one.message))]
    return [
        f"Warning of the loader{' (its “test” are the validation images here)' if '(test)' in text and twice not in text else ''}: {literal(text)}"
        for text in texts
    ]


# ------------------------------------------------------------------------------------------------------- in numbers
def in_words(names, most=6):
    """Class names in a sentence."""
    told = [literal(name) for name in names[:most]] + ([f"{len(names) - most} more"] if len(names) > most else [])
    return " and ".join(filter(None, (", ".join(told[:-1]), told[-1])))


def percent(value):
    return f"{100 * value:.1f}%" if value == value else "–"


def points(found):
    """A paired difference in percentage points, with its 95% interval and verdict."""
    mean = signed(found.mean).replace("-", "−")
    if found.n < 2 or found.se != found.se:
        return f"{mean} points ({found.verdict})"
    return f"**{mean} ± {100 * found.half:.1f}** points ({found.verdict})"


def table(head, rows):
    """Rows of texts, with inline markdown, as a card."""
    look_ = 'style="text-align:left;padding:.2em .8em"'
    top = "".join(f"<th {look_}>{safe(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td {look_}>{inline(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    lines = [" | ".join(map(plain, row)) for row in (head, *rows)]
    return Card(f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>", "\n".join(lines))


def share(run, group):
    """Mean accuracy of the classes of a group on the run's test images, with the interval that so few images leave."""
    mask = np.ones(run.k, bool) if group == "all" else metrics.third_groups(run.counts)[group]
    right, n = np.diag(run.confusion)[mask], run.confusion.sum(1)[mask]
    return mean_accuracy(right, n), int(n.sum())


def groups_of(run):
    """The groups that have classes; of two classes none is in the middle."""
    return [name for name, mask in metrics.third_groups(run.counts).items() if mask.any()]


# ----------------------------------------------------------------------------------------------------- predictions
how_sure = lt.Predict(
    "The accuracy of the **rare** classes (named above) on these validation images has a 95% interval, because the images are so few. How wide is it for one network, from end to end?",
    number=(0, 100, 1),
    default=10,
    unit=" points",
)


def open_how_sure(runs):
    """The plain network by group: accuracy, interval of the first seed, spread over the seeds."""
    run, rows = runs[0], []
    for group in ["all", *groups_of(run)]:
        found, n = share(run, group)
        each = [metrics.shot_accuracy(one)[group] for one in runs]
        rows.append(
            [
                GROUPS[group],
                str(n),
                percent(found.value),
                f"{percent(found.low)} to {percent(found.high)}",
                f"{percent(min(each))} to {percent(max(each))}",
            ]
        )
    tail, n = share(run, "tail")
    width = 100 * (tail.high - tail.low)
    return how_sure.reveal(
        table(
            [
                "classes",
                "validation images",
                f"balanced accuracy, seed {run.seed}",
                "95% interval (these images)",
                f"smallest to largest of {len(runs)} seeds",
            ],
            rows,
        ),
        truth=width,
        tolerance=8,
        because=f"About {width:.0f} points, from {check.many(n, 'image')}. The seeds say how much *training* varies on the same images; they say nothing about how another set of images would have come out.",
    )


def diagnosis(runs, data):
    """What the plain network does, each line with what it points to and what to try."""
    rows, run = [], runs[0]
    rare = metrics.third_groups(run.counts)["tail"]
    answered = np.mean([one.confusion.sum(0)[rare].sum() / one.confusion.sum() for one in runs])
    there = run.confusion.sum(1)[rare].sum() / run.confusion.sum()
    rows.append(
        [
            "answers that name a rare class",
            f"**{answered:.1%}** of all; {there:.1%} of the images are rare",
            "if far fewer: the scores follow the prior",
            "subtract it: logit adjustment ([chapter 03](03_decide_again.ipynb))",
        ]
    )
    if run.head_weight is not None:
        rho = [metrics.weight_norm_fit(one).rho for one in runs]
        rows.append(
            [
                "length of classifier vectors against count, rank correlation",
                f"**{min(rho):.2f}** to **{max(rho):.2f}**",
                "if near 1: the classifier favours frequent classes ([chapter 02](02_what_softmax_learns.ipynb))",
                "train the classifier again: cRT ([chapter 03](03_decide_again.ipynb))",
            ]
        )
    p = metrics.probabilities(run.logits)
    sure, right = p.max(1), p.argmax(1) == run.targets
    rows.append(
        [
            "mean confidence, and share of all images that are right",
            f"**{sure.mean():.0%}** sure, **{right.mean():.0%}** right (ECE {run.ece:.2f})",
            "if they differ: its probabilities are not frequencies",
            "choose τ and thresholds on validation images, not by formula",
        ]
    )
    seen = run.predict(data.images.permute(0, 3, 1, 2)).classes == data.targets.numpy()
    learnt, held = seen[rare[data.targets.numpy()]].mean(), right[rare[run.targets]].mean()
    rows.append(
        [
            "rare classes: images trained on, and validation images",
            f"**{learnt:.0%}** and **{held:.0%}** right",
            "both low: hardly learnt; high and low: memorised; both high: **you need no remedy**",
            "hardly learnt: balanced sampling or class weights ([chapter 04](04_class_balanced_loss.ipynb)); memorised: more images or augmentation",
        ]
    )
    return table(
        [
            "what to look at",
            f"plain network (first two lines: {len(runs)} seeds)" if len(runs) > 1 else "plain network",
            "what it points to",
            "what to try",
        ],
        rows,
    )


KEYS = ("plain", "adjusted", "crt", "balanced")  # what the chapter calls them
WAYS = ["plain network", "logit adjustment after training", "cRT: classifier trained again", "balanced sampling"]
which_remedy = lt.Predict(
    "Put the four in order of **balanced accuracy on the validation images**, mean over the seeds, the best first. (τ of logit adjustment is chosen for each seed on the same images.)",
    order=WAYS,
)


def few_images(runs):
    """What the intervals over seeds leave out."""
    found, n = share(runs[0], "tail")
    return f"± is over seeds. It leaves out that only {check.many(n, 'validation image')} {'is' if n == 1 else 'are'} rare: one network's accuracy on them has an interval of {100 * (found.high - found.low):.0f} points."


def called(remedies):
    """Those of the four of `WAYS` that are there, by these names."""
    return {name: remedies[key] for name, key in zip(WAYS, KEYS, strict=True) if key in remedies}


def open_which_remedy(remedies):
    """The order, the table, and what each remedy changes by group."""
    groups = called(remedies)
    base = groups[WAYS[0]]
    mean = {name: np.mean([balanced(run) for run in runs]) for name, runs in groups.items()}
    told = [
        f"**{name}**: " + ", ".join(f"{GROUPS[g]} {points(metrics.paired(runs, base, g))}" for g in groups_of(base[0]))
        for name, runs in groups.items()
        if name != WAYS[0]
    ]
    return which_remedy.reveal(
        [lt.study.comparison(groups), *told, few_images(base)],
        truth=sorted(WAYS, key=lambda name: -mean[name]),
        because="Paired by seed, on validation images alone. The hidden test is still closed.",
    )


class Defensible(Choice):
    """A choice of which several answers count as right: `good`, those that cannot be told apart from the best one."""

    good = ()

    def compare(self, answer, truth, tolerance):
        if answer not in (truth, *self.good):
            return Found(False, "", 1.0)
        if not self.good:
            return Found(True, "Right.", 0.0)
        return Found(
            True, f"Not to be told apart: {in_words([truth, *self.good])}. Each of them is a defensible choice.", 0.0
        )


chosen = lt.Predict(
    "Choose **one** remedy, for good: which one do you take home? Judge only by what you have seen so far. (The card counts as right the one with the highest balanced accuracy on the hidden test, and any that cannot be told apart from it.)",
    choices=WAYS[1:],
    default=WAYS[2],
)
chosen.asks = Defensible(WAYS[1:])
how_much_left = lt.Predict(
    "On validation images **logit adjustment**, whose τ was chosen there, gains over the plain network. How much of that gain is left on the hidden test? 100% means: all of it.",
    number=(0, 200, 5),
    default=100,
    unit="%",
)


def gains(remedies, opened, group="all"):
    """Name -> (difference to the plain network on validation images, on the hidden test), paired by seed."""
    seen, hidden = called(remedies), called(opened)
    return {
        name: tuple(metrics.paired(runs[name], runs[WAYS[0]], group) for runs in (seen, hidden))
        for name in WAYS[1:]
        if name in hidden
    }


TESTED = []  # remedies that the hidden test of the reader's own folder has been opened for, since the kernel started


def to_open(folder):
    """Keys of the remedies that answer the hidden test: of the course's folder all, of the reader's own the chosen one."""
    if folder is None:
        return KEYS[1:]
    if not chosen.committed:
        return ()
    if chosen.answer not in TESTED:
        TESTED.append(chosen.answer)
    return (taken(),)


class Uncounted(Panel):
    """What opens once the reader has answered, where the answer is neither right nor wrong; `why` says so."""

    closed = box("note", "CLOSED", "", "Commit to an answer above: then this opens.")

    def __init__(self, gate, content, why):
        self.gate = gate
        self.page = show(content) + box("note", "NOT COUNTED", "", f"<div>{inline(why)}</div>")
        self.text = f"{sentence(content)}\n{plain(why)}"
        self.frame = prose(self.closed)
        super().__init__([self.frame])
        gate.control.observe(lambda change: self.follow(), "locked")
        self.follow()

    def follow(self):
        if self.gate.committed:
            self.frame.value = self.page

    def static(self):
        text = self.text if self.gate.committed else "Folded: answer the question above first."
        return Card(fold("Answer first; then open this", self.page), text)


def still_closed(why):
    """In the place of what the test would show."""
    return Card(box("note", "CLOSED", "", f"<div>{inline(why)}</div>"), plain(why))


@draws
def plot_gains(remedies, opened):
    """Gains of each remedy on validation images and on the hidden test, for all classes and for the rare ones."""
    axes, data, said = new_figure(8.6, 2.9).subplots(1, 2, sharey=True), {}, []
    for ax, group in zip(axes, ("all", "tail"), strict=True):
        found = gains(remedies, opened, group)
        for i, where in enumerate(("validation", "hidden test")):
            mean = np.array([100 * pair[i].mean for pair in found.values()])
            half = np.array([100 * pair[i].half for pair in found.values()])
            at = np.arange(len(found)) + (0.15 if i else -0.15)
            kind = look(i)
            ax.errorbar(
                mean, at, xerr=np.nan_to_num(half), fmt=kind["marker"], color=kind["color"], capsize=3, label=where
            )
            data[f"{group}, {where}"] = mean
            said += [
                f"{name}, {GROUPS[group]}, {where}: {signed(value / 100)}"
                for name, value in zip(found, mean, strict=True)
            ]
        ax.axvline(0, color="#888888", linewidth=0.8)
        ax.set(xlabel="points gained over the plain network", title=GROUPS[group] if group == "all" else "rare classes")
    axes[0].set_yticks(range(len(found)), [name.partition(":")[0].replace(" after training", "") for name in found])
    axes[0].set_ylim(len(found) - 0.5, -0.5)
    axes[1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    return Picture(list(axes), data, "Points gained: " + "; ".join(said) + ".")


def open_hidden(remedies, opened, tau):
    """How much of the gain is left, and how much of what is lost comes from choosing τ."""
    if "adjusted" not in opened:
        return still_closed(
            "The question above is about logit adjustment, which answers the hidden test of your own folder only where you have chosen it."
        )
    sides = [called(of) for of in (remedies, opened)]
    fixed = [[lt.study.redecide(run, "logit_adjusted", tau=1.0) for run in of[WAYS[0]]] for of in sides]

    def lost(changed):
        """Gain on validation minus gain on the test, by seed."""
        pairs = [zip(ours, of[WAYS[0]], strict=True) for ours, of in zip(changed, sides, strict=True)]
        return np.subtract(*([balanced(a) - balanced(b) for a, b in side] for side in pairs))

    seen, hidden = gains(remedies, opened)[WAYS[1]]
    of_chosen, of_fixed = lost([of[WAYS[1]] for of in sides]), lost(fixed)
    whole, choice, images = (
        metrics.paired(one, np.zeros(len(one))) for one in (of_chosen, of_chosen - of_fixed, of_fixed)
    )
    at_one = [metrics.paired(ours, of[WAYS[0]]) for ours, of in zip(fixed, sides, strict=True)]
    _, few = share(remedies["plain"][0], "tail")
    if whole.mean > 0 and whole.p < SUGGESTIVE:
        because = f"A setting chosen on few images looks better than it is. Agreement of {len(tau)} seeds was no warning: all of them used the same validation images."
    else:
        because = "Here the two sides agree within what these seeds can show. The seeds alone could not have told you."
    content = [
        f"Balanced accuracy, τ chosen for each seed (from {min(tau):g} to {max(tau):g}): {points(seen)} on validation, {points(hidden)} on the hidden test.",
        f"τ = 1 for all seeds, where nothing is chosen: {points(at_one[0])} and {points(at_one[1])}.",
        f"Of the gain, {size(whole)} points are missing on the hidden test. {from_images(images, few)} The rest, {size(choice)} points, estimates the *optimism* of choosing τ on these images.",
    ]
    if not seen.mean > 1e-9:
        del content[2:]
        return Uncounted(
            how_much_left, content, "There was no gain on validation images, so no part of one can be left."
        )
    left = 100 * hidden.mean / seen.mean
    return how_much_left.reveal(
        content, truth=float(np.clip(left, 0, 200)), tolerance=8, because=f"{beyond_scale(left)}{because}"
    )


def beyond_scale(left):
    """That the share of a gain which is left lies outside the card's scale, if it does."""
    told = f"In truth {left:,.0f}% is left".replace("-", "−")
    if round(left) < 0:
        return f"{told}: on the hidden test the gain became a loss. The card's scale ends at 0%. "
    return f"{told}; the card's scale ends at 200%. " if round(left) > 200 else ""


def from_images(found, few):
    """What is missing although nothing was chosen, as surely as the seeds say it."""
    sure = "At τ = 1 nothing was chosen, and {} points are missing"
    if not found.p < SUGGESTIVE:
        return f"{sure.format(size(found))}, which may be nothing but the noise of training."
    how = "that comes" if found.p < CLEAR else "that probably comes"
    return f"{sure.format(size(found))}: {how} from the images themselves ({check.many(few, 'rare one')}, the same for every seed)."


def balanced(run):
    """Mean accuracy of the classes."""
    return metrics.shot_accuracy(run)["all"]


def size(found):
    """A mean with its 95% interval, in points, and how sure it is that it is not 0."""
    if found.n < 2:
        return f"**{100 * found.mean:.1f}**"
    sure = "clear" if found.p < CLEAR else "suggestive" if found.p < SUGGESTIVE else "undecided"
    return f"**{100 * found.mean:.1f} ± {100 * found.half:.1f}** ({sure})"


def open_chosen(remedies, opened):
    """The hidden test by remedy: was it the best, and did its gain hold?"""
    found = gains(remedies, opened)
    if not found:
        return still_closed(
            "With a folder of your own the test opens for one remedy alone. Commit to it above, then run the cell above this one, and those from here on, again."
        )
    best = max(found, key=lambda name: found[name][1].mean)
    before = max(found, key=lambda name: found[name][0].mean)
    held = "; ".join(f"{name}: {points(pair[0])} became {points(pair[1])}" for name, pair in found.items())
    runs = called(opened)
    payers = "**Who pays?** The chart of the course, on the hidden test. The line is the slider of this folder's plain network; logit adjustment lies on it by construction. Dashed: the recorded photographs."
    content = [
        lt.study.comparison(runs),
        plot_gains(remedies, opened),
        f"Balanced accuracy: {held}.",
        payers,
        plot_payers(opened),
    ]
    wide, images = share(runs[best][0], "tail")
    width = f"The interval of one network's rare classes is still {100 * (wide.high - wide.low):.0f} points wide, from {check.many(images, 'test image')}."
    if len(found) < len(WAYS) - 1:
        alone = "Only the remedy that you chose was opened. Whether another would have done better stays unknown: that is the price of a test that has chosen nothing."
        if len(TESTED) > 1:
            alone = f"**You have now opened the test for {in_words(TESTED)}.** Whichever of them you keep, the test has helped to choose it, so its number here is too good. A fair one needs new images."
        return Uncounted(chosen, content, f"{alone} {width}")
    others = sorted((name for name in found if name != best), key=lambda name: -found[name][1].mean)
    ahead = {name: metrics.paired(runs[best], runs[name]) for name in others}
    chosen.asks.good = tuple(name for name in others if not ahead[name].p < SUGGESTIVE)
    return chosen.reveal(
        content,
        truth=best,
        because=f"On validation the best was *{before}*; on the hidden test the mean is highest for *{best}*, ahead of "
        + "; ".join(f"*{name}* by {points(gap)}" for name, gap in ahead.items())
        + f". {width}",
    )


@functools.cache
def recorded_line():
    """Mean frontier of the recorded photographs: accuracies of frequent and of rare classes along τ."""
    lines = [metrics.frontier(run) for run in lt.recorded("cifar16", "ce")]
    keep = lines[0].tau >= 0
    return np.mean([one.head[keep] for one in lines], 0), np.mean([one.tail[keep] for one in lines], 0)


@draws
def plot_payers(opened):
    """The remedies on the hidden test beside this folder's own slider, and the slider of the recorded photographs."""
    groups = called(opened)
    picture = lt.plot_who_pays({name: groups[name] for name in WAYS[1:] if name in groups}, groups[WAYS[0]])
    head, tail = recorded_line()
    picture.ax.plot(head, tail, color="#8a6d00", linestyle=(0, (4, 2)), linewidth=1.6, zorder=1.1, label="_recorded")
    middle = len(head) // 3
    picture.ax.annotate(
        "the recorded photographs",
        (head[middle], tail[middle]),
        xytext=(8, 8),
        textcoords="offset points",
        fontsize=8.5,
        color="#8a6d00",
    )
    data = {**picture.data, "recorded_head": head, "recorded_tail": tail}
    return Picture(
        picture.axes,
        data,
        f"{picture.text} Dashed: the slider on the recorded photographs, which have {sum(lt.recorded('cifar16', 'ce', seed=0)[0].counts):,} training images.",
    )


# ------------------------------------------------------------------------------------------------------- the page
def taken():
    """The key of the remedy that the reader has committed to."""
    return dict(zip(WAYS, KEYS, strict=True))[chosen.answer]


class Opened(Panel):
    """A page of `lt.report` inside the notebook. It is written once the remedy is chosen, for it tells how one of them did.

    write: a function of a remedy's key that writes the page and returns its path; opened: runs on the hidden test by key.
    """

    closed = box("note", "CLOSED", "", "Choose a remedy above: then the page is written, and opens here.")
    other = box(
        "note",
        "CLOSED",
        "",
        "The remedy that you chose has not answered the test: run the cell that opens it, and this one, again.",
    )

    def __init__(self, write, opened):
        self.write, self.opened, self.key = write, opened, None
        self.frame = prose(self.closed)
        super().__init__([self.frame])
        chosen.control.observe(lambda change: self.follow(), "locked")
        self.follow()

    def _make(self):
        """The page of the chosen remedy, unless it is there."""
        if self.key != taken():
            self.path = Path(self.write(taken()))
            self.text, self.key = self.path.read_text(encoding="utf-8"), taken()

    def follow(self):
        """Show the page of the remedy that the reader has chosen."""
        if chosen.committed and taken() not in self.opened:
            self.frame.value = self.other
        elif chosen.committed:
            self._make()
            # Without a base of its own, a link within the page would open the notebook's page in the frame.
            page = self.text.replace("<head>", '<head><base href="about:srcdoc">', 1)
            style = "width:100%;height:34em;border:1px solid #888;box-sizing:border-box"
            self.frame.value = (
                f'<iframe title="Report" class="ltviz-page" style="{style}" srcdoc="{html.escape(page)}"></iframe>'
            )

    def static(self):
        if self.key is None:
            return Card(self.frame.value, "Closed: the report is written once a remedy is chosen.")
        size = len(self.text.encode()) / 1e6
        body = f"<div>{size:.1f} MB, in <code>{safe(self.path.name)}</code> beside this notebook. Run this cell to see it here.</div>"
        return Card(box("note", "PAGE", "The report", body), f"The report is in {self.path.name}.")


# ------------------------------------------------------------------------------------------------------- exercises
def second_folder():
    """Another folder of the same classes and counts, with a fault that no count shows: its training part, and its plain
    network's answers on its hidden test."""
    write_photographs(fresh(OTHER), fault=True)
    bring_recorded()
    data, test = training_part(OTHER), lt.folder_lt(OTHER, validation=0)
    (run,) = lt.train_many("ce", data, model=MODEL, seeds=1, folder=RUNS, small=False, progress=False)
    images = data.normalise(test.test_images.permute(0, 3, 1, 2))
    labels = np.array(test.class_names)[test.test_targets]
    return data, lt.collect(run.model(), [(images, labels)], counts=run.counts, class_names=run.class_names)


rescue = lt.Exercise(
    "Rescue a tail",
    f"""A colleague's folder has the same classes and counts as the course's folder. On the hidden test of this second folder the plain network is as bad on rare classes as on that of the course's folder. Then the prior is subtracted, and the two rarest classes come back, but **one that is more frequent than they are does not, whatever τ**. Find out why, with whatever you like: the cell gives `faulty`, the training part, and `answers`, a run of the plain network on the hidden test. Set `found` to the names of the two classes that are involved, such as `("ship", "dog")`.

Then say why the validation images did not show it; move the files in `{OTHER}/train` back, and train again (in a new cell: the one below writes the folder anew).""",
    f"""
found = ("{PLANTED}", "{HIDDEN_IN}")
""",
    [
        lt.study.Claim(
            "two class names",
            lambda found: (
                isinstance(found, (tuple, list, set))
                and len(set(found)) == 2
                and all(isinstance(one, str) for one in found)
            ),
            'Write two names, such as `("ship", "dog")`.',
        ),
        lt.study.Claim(
            "the class that does not come back",
            lambda found: isinstance(found, (tuple, list, set)) and PLANTED in found,
            "It is not among your two. Decide again with several τ, and look at `per_class`.",
        ),
        lt.study.Claim(
            "where its images are",
            lambda found: isinstance(found, (tuple, list, set)) and HIDDEN_IN in found,
            "The other class is not among your two. Look at the training pictures of the class that does not come back.",
        ),
    ],
    hints=[
        '`lt.study.redecide(answers, "logit_adjusted", tau=1.5).per_class`, beside `answers.counts`: which class is worse than rarer ones?',
        "A τ cannot bring back what was never learnt. What did the network get to see under this class's name?",
        "`lt.plot_examples(faulty)` shows what lies in each folder. Which row shows something else than its name says? Files that changed places have the same numbers in both folders.",
    ],
)


def _choose_tau(logits, targets, counts, cost):
    z, n = logits.double(), counts.double()
    best, least = 0.0, float("inf")
    for tau in TAUS.tolist():
        answers = (z - tau * (n / n.sum()).log()).argmax(1)
        found = float((cost.double()[targets] * (answers != targets)).mean())
        if found < least - 1e-12:
            best, least = tau, found
    return torch.tensor(best, dtype=torch.float64)


def _case(seed, cost, n=300):
    """Scores of three classes as a network on a long tail gives them, on a validation set that is long-tailed as well."""
    draw = torch.Generator().manual_seed(seed)
    counts = torch.tensor([900.0, 90.0, 10.0])
    targets = torch.multinomial(torch.tensor([0.6, 0.3, 0.1]), n, True, generator=draw)
    logits = (
        torch.randn(n, 3, generator=draw)
        + 1.5 * torch.nn.functional.one_hot(targets, 3)
        + (counts / counts.sum()).log()
    )
    return logits, targets, counts, torch.tensor(cost)


choose_tau = lt.Exercise(
    "τ for given costs",
    """Missing a picture of a rare class may cost more than missing one of a frequent class. Write `choose_tau(logits, targets, counts, cost)`: of τ = 0, 0.1, …, 2 the one with the smallest **mean cost** over the validation images, where an image of class $j$ costs `cost[j]` if the answer is wrong and 0 if it is right. Decide by the largest $z_j - \\tau \\log \\pi_j$; of equally good τ take the smallest. `logits` (n, k), `targets` (n,), `counts` and `cost` (k,) are tensors.

Then say how much a class with two validation images takes part, and what changes where classes occur with other shares.""",
    """
def choose_tau(logits, targets, counts, cost):
    best, least = 0.0, float("inf")
    log_prior = (counts / counts.sum()).log()
    for step in range(21):
        tau = step / 10
        wrong = (logits - tau * log_prior).argmax(1) != targets
        found = (cost[targets] * wrong).double().mean()
        if found < least:
            best, least = tau, found
    return best
""",
    [
        lt.study.Case(
            "every error costs the same",
            _case(0, [1.0, 1.0, 1.0]),
            "With equal costs it is the τ with the fewest errors.",
        ),
        lt.study.Case(
            "the rarest costs 20",
            _case(0, [1.0, 1.0, 20.0]),
            "An error costs `cost` of the true class, `cost[targets]`.",
        ),
        lt.study.Case(
            "frequent ones cost more",
            _case(1, [5.0, 1.0, 1.0]),
            "The answer must follow the costs: here a small τ is better.",
        ),
        lt.study.Case(
            "nothing costs anything", _case(2, [0.0, 0.0, 0.0]), "All τ are equally good; then the smallest, 0."
        ),
    ],
    oracle=_choose_tau,
    hints=[
        "One loop over 21 values of τ, as in the chapter; only the score differs.",
        "Wrong answers as a tensor of booleans times `cost[targets]`, then the mean.",
        "Keep a new τ only where its cost is strictly smaller.",
    ],
    mistakes={
        "You chose by the number of errors; the costs are not in it.": lambda z, y, n, c: _choose_tau(
            z, y, n, torch.ones_like(c)
        ),
        "The cost is that of the true class, not of the answer.": lambda z, y, n, c: _by_answer(z, y, n, c),
        "You took the τ with the largest cost.": lambda z, y, n, c: _choose_tau(z, y, n, -c),
    },
    given={"torch": torch},
)


def _by_answer(z, y, n, c):
    best, least = 0.0, float("inf")
    for tau in TAUS.tolist():
        answers = (z - tau * (n / n.sum()).log()).argmax(1)
        found = float((c[answers] * (answers != y)).mean())
        if found < least:
            best, least = tau, found
    return torch.tensor(best)


# ------------------------------------------------------------------------------------------------------------ quiz
def quiz():
    """Five questions."""
    return lt.Quiz(
        [
            lt.study.Question(
                "Under each of ten seeds a remedy gets two more images of the rare classes right than the plain network. The rare classes have 11 validation images. What do the ten seeds not tell you?",
                {
                    "whether training is stable": "That is what they tell.",
                    "whether other images of these classes would show the gain": "Yes: all ten were judged on the same 11 images.",
                    "whether the gain is larger than the noise of training": "That is what pairing by seed tells.",
                },
                "whether other images of these classes would show the gain",
            ),
            lt.study.Question(
                "You try 20 settings on the validation images and report the best one's validation accuracy. It is",
                {
                    "too high on average": "Yes: the best of 20 was also lucky on these images.",
                    "too low on average": "Choosing the largest of several noisy numbers can only lift it.",
                    "right, if there are ten seeds": "Seeds repeat training, not the images.",
                },
                "too high on average",
            ),
            lt.study.Question(
                "Some photographs are in the training part and, under another name, in the test part. What follows?",
                {
                    "Test accuracy is too high.": "Yes: these test images have been learnt by heart. `folder_lt` compares pixels and warns.",
                    "Test accuracy is too low.": "A picture that was trained on is easier, not harder.",
                    "Nothing, file names differ.": "The network sees pixels, not names.",
                },
                "Test accuracy is too high.",
            ),
            lt.study.Question(
                "After the hidden test was opened, your remedy is worse than another. You switch to the other and report its test accuracy. Why is that a mistake?",
                {
                    "The test has now chosen something, so it is a validation set.": "Yes. A new, untouched test would be needed.",
                    "The other remedy might be slower.": "It might, but that is not what makes the number wrong.",
                    "It is none: the test is there to compare.": "It may compare what was fixed before. It must not choose.",
                },
                "The test has now chosen something, so it is a validation set.",
            ),
            lt.study.Question(
                "You have only a table of true classes and answers, no network. Which of these can you still have?",
                {
                    "confusion, recall by group, intervals": "Yes: `lt.from_predictions(targets, predictions=...)`.",
                    "logit adjustment after training": "It needs the scores of all classes.",
                    "the lengths of classifier vectors": "They are in the network, which you do not have.",
                },
                "confusion, recall by group, intervals",
            ),
        ]
    )
