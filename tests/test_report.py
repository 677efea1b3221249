"""The page of a run: its numbers, what it says of them, what it leaves out, and that it stands alone."""

import base64
import csv
import html
import io
import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from scipy import stats
from test_screen_browser import browser  # noqa: F401  the fixture

import ltviz as lt
from ltviz import metrics
from ltviz.files import data_folder
from ltviz.functional import log_prior
from ltviz.reporting import advice, intervals, remedies, sections, write
from ltviz.reporting.case import Case
from ltviz.reporting.images import Images
from ltviz.reporting.page import figure, name

AXE = os.environ.get("LTVIZ_AXE", "")  # path of axe.min.js, from npm's axe-core
NAMES = ["cat <b>&", "größer", "日本", "_x", "</title><script>", "fish"]
COUNTS = np.array([600, 200, 70, 20, 6, 0])
RNG = np.random.default_rng(0)
Y = np.repeat(np.arange(6), 25)
F = (np.eye(6)[Y] * 2.0 + RNG.normal(size=(150, 6))).astype(np.float32)
W = (np.eye(6) * np.array([3, 2.5, 2, 1.5, 1, 0.5])[:, None]).astype(np.float32)  # rare classes: short vectors
B = 0.6 * np.log(np.maximum(COUNTS, 1)).astype(np.float32)
Z = F @ W.T + B
IMAGES = RNG.integers(0, 256, (150, 8, 8, 3), dtype=np.uint8)


def made(**changes):
    given = {"logits": Z, "counts": COUNTS, "features": F, "head_weight": W, "head_bias": B, "class_names": NAMES}
    return lt.from_predictions(Y, **{**given, **changes})


def alone(**changes):
    """Predictions, without logits."""
    return lt.from_predictions(Y, predictions=Z.argmax(1), counts=COUNTS, class_names=NAMES, **changes)


def case_of(run, images=None, validation=None):
    return Case(run, None if images is None else Images(images, run), validation, 0)


class Page(HTMLParser):
    """What stands in a page: text by section, images, tables, links; and a fault where tags do not close."""

    VOID = {"meta", "link", "img", "br"}

    def __init__(self, path: Path):
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.open, self.section, self.text, self.images, self.links, self.levels = [], "", {}, [], [], []
        self.headless, self.tags = 0, []
        self.feed(self.source)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        self.section = given.get("aria-labelledby", self.section) if tag == "section" else self.section
        self.images += [given] if tag == "img" else []
        self.links += [given["href"]] if tag == "a" else []
        self.levels += [int(tag[1])] if re.fullmatch("h[1-6]", tag) else []
        self.headless += tag == "th" and "scope" not in given

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text[self.section] = " ".join([*self.text.get(self.section, "").split(), *data.split()])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The page of a run that holds everything but training features, with photographs."""
    return Page(lt.report(made(name="mine <i>"), tmp_path_factory.mktemp("page") / "report.html", images=IMAGES))


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """The page of predictions alone."""
    return Page(lt.report(alone(), tmp_path_factory.mktemp("page") / "report.html"))


# ---------------------------------------------------------------------------------------------------------- intervals
def test_wilsons_interval_is_scipys():
    for right, n in ((0, 5), (3, 7), (7, 7), (490, 1000)):
        expected = stats.binomtest(right, n).proportion_ci(0.95, "wilson")
        np.testing.assert_allclose(intervals.wilson(right, n), (expected.low, expected.high), atol=1e-12)
    assert np.isnan(intervals.wilson(0, 0)).all()


def test_the_interval_of_a_mean_over_classes_holds_it_as_often_as_it_says():
    p, n = np.array([0.95, 0.6, 0.2, 0.05]), np.array([40, 20, 12, 8])
    draws = np.random.default_rng(0).binomial(n, p, (2000, 4))
    found = [intervals.mean_accuracy(row, n) for row in draws]
    assert 0.93 <= np.mean([one.low <= p.mean() <= one.high for one in found]) <= 0.98
    one = intervals.mean_accuracy([5, 0, 0], [5, 0, 0])  # a class with samples: Wilson's, which has a width at 1
    assert one == (1.0, pytest.approx(float(intervals.wilson(5, 5)[0])), 1.0) and one.low < 0.6
    assert np.isnan(intervals.mean_accuracy([0], [0])).all()


def test_macro_f1_is_scikit_learns_and_lies_in_its_interval():
    run = made()
    found = intervals.macro_f1(run.confusion, 0)
    assert found.value == pytest.approx(metrics.f1(run, average="macro")) and found.low < found.value < found.high
    assert intervals.macro_f1(run.confusion, 0) == found


@pytest.mark.parametrize(("gained", "lost"), [(5, 0), (9, 1), (12, 4), (3, 3), (20, 12)])
def test_p_of_one_class_lies_near_mcnemars(gained, lost):
    targets, before = np.zeros(60, np.int64), np.zeros(60, bool)
    before[:30] = True
    after = before.copy()
    after[:lost], after[30 : 30 + gained] = False, True
    found = intervals.change(before, after, targets, np.array([True]), 0)
    exact = stats.binomtest(gained, gained + lost).pvalue
    middle = exact - stats.binom.pmf(gained, gained + lost, 0.5)
    assert middle - 0.03 <= found.p <= exact + 0.03
    assert found.mean == pytest.approx((gained - lost) / 60) and found.low < found.mean < found.high
    assert found.verdict == "undecided" or found.low >= 0 or found.high <= 0
    assert found.verdict != "undecided" or found.low <= 0 <= found.high


def test_no_difference_is_seldom_called_one():
    n, draw = np.full(10, 30), np.random.default_rng(1)
    win = np.array([0.2] * 3 + [0.05] * 7)  # the first classes win what the others lose
    lose = np.array([0.05] * 3 + [0.05 + 0.45 / 7] * 7)
    targets, verdicts = np.repeat(np.arange(10), 30), []
    for seed in range(120):
        kind = draw.random(300)
        wins, loses = kind < win[targets], kind > 1 - lose[targets]
        verdicts.append(intervals.change(loses, wins, targets, n > 0, seed).verdict)
    assert 0.0 <= np.mean([verdict != "undecided" for verdict in verdicts]) <= 0.09


# ----------------------------------------------------------------------------------------------------------- remedies
def test_a_setting_is_never_judged_by_the_samples_that_chose_it():
    """A setting that fits one half by chance gains nothing on the other: on noise, no remedy is better."""
    rng = np.random.default_rng(3)
    y = rng.integers(0, 3, 600)
    run = lt.from_predictions(y, rng.normal(size=(600, 3)), counts=[90, 30, 10])
    one, two = remedies.halves(run.targets, 0)
    assert sorted([*one, *two]) == list(range(600)) and abs(np.bincount(y[one]) - np.bincount(y[two])).max() <= 1
    found = remedies.tried(run, {"all": np.ones(3, bool)}, None, 0)[0]
    answers = run.logits.copy()
    for rows, settings in zip((one, two), found.settings, strict=True):
        answers[rows] = (run.logits - settings["tau"] * log_prior(lt.functional.torch.tensor(run.counts)).numpy())[rows]
    np.testing.assert_array_equal(found.confusion, metrics.confusion(y, answers.argmax(1), 3))
    assert found.changes["all"].verdict == "undecided"


def test_each_half_chooses_the_best_setting_of_the_other():
    run = made()
    tau, norm, ncm = remedies.tried(run, {"all": np.ones(6, bool)}, None, 0)
    parts = remedies.halves(run.targets, 0)
    for chosen, rows in zip(tau.settings, parts[::-1], strict=True):
        part = replace(run, targets=run.targets[rows], logits=run.logits[rows])
        line = metrics.frontier(part, remedies.STEPS["logit_adjusted"])
        assert chosen["tau"] == line.tau[line.all.argmax()]
    assert norm.changes["all"].before == pytest.approx(metrics.balanced_accuracy(run))
    assert norm.changes["all"].after == pytest.approx(metrics.balanced_accuracy(norm.confusion))
    assert ncm.lacks.startswith("it needs features of training samples")


def test_validation_samples_choose_one_setting():
    run, other = made(), RNG.permutation(150)[:90]
    validation = lt.from_predictions(Y[other], Z[other] + 0.1, counts=COUNTS, features=F[other], class_names=NAMES)
    tau, norm, _ = remedies.tried(run, {"all": np.ones(6, bool)}, validation, 0)
    line = metrics.frontier(validation, remedies.STEPS["logit_adjusted"])
    assert [one["tau"] for one in tau.settings] == [line.tau[line.all.argmax()]] and len(norm.settings) == 1
    np.testing.assert_array_equal(
        tau.confusion, metrics.confusion(Y, run.posthoc("logit_adjusted", **tau.settings[0]).argmax(1), 6)
    )


def test_class_means_alone_are_enough_for_the_nearest_of_them():
    (run,) = lt.recorded("cifar16", "class_balanced", seed=0, loss="softmax", beta=0.999)[:1]
    ncm = remedies.tried(run, {"all": np.ones(10, bool)}, None, 0)[2]
    distance = ((run.features[:, None].astype(np.float64) - run.class_means[None]) ** 2).sum(2)
    assert ncm.words == "form = plain"
    np.testing.assert_array_equal(ncm.confusion, metrics.confusion(run.targets, distance.argmin(1), 10))


@pytest.mark.parametrize(("changes", "lacks"), [
    ({"features": None}, ["", *["the run holds no features: pass features= to lt.from_predictions"] * 2]),
    ({}, ["", "the run holds no classifier vectors: pass head_weight= to lt.from_predictions",
          "it needs features of training samples, which lt.collect"]),
])  # fmt: skip
def test_what_keeps_a_remedy_from_being_tried_is_said(changes, lacks):
    run = made(**changes, head_weight=None, head_bias=None)
    found = remedies.tried(run, {"all": np.ones(6, bool)}, None, 0)
    assert all(one.lacks.startswith(lack) for one, lack in zip(found, lacks, strict=True))
    assert [one.lacks == "" for one in found] == [lack == "" for lack in lacks]


def test_a_classifier_that_does_not_give_the_logits_is_not_normalised():
    run = made()
    run = replace(run, logits=np.roll(run.logits, 1, axis=0))
    found = remedies.tried(run, {"all": np.ones(6, bool)}, None, 0)
    assert [one.lacks == "" for one in found][:2] == [True, False]
    assert re.match(r"W f \+ b of this run decides \d+% of its images otherwise than its logits", found[1].lacks)


def test_thinned_samples_keep_small_classes_whole():
    y = np.repeat([0, 1, 2], [1000, 50, 3])
    some = remedies.thin(y, 150, 0)
    assert np.bincount(y[some]).tolist() == [97, 50, 3] and len(np.unique(some)) == 150
    assert len(np.unique(remedies.thin(np.arange(900), 50, 0))) == 50  # more classes than samples
    assert remedies.thin(y, 5000, 0).tolist() == list(range(1053))


def test_settings_of_many_samples_are_chosen_on_some_and_the_page_says_so(monkeypatch):
    monkeypatch.setattr(remedies, "CHOOSING", 0)
    monkeypatch.setattr(remedies, "FEWEST", 60)
    said = "".join(part.html for part in advice.remedies(case_of(made())).body)
    assert "To save time, Tau-normalisation used 60 of them, some of every class." in said  # each half has 75
    monkeypatch.setattr(remedies, "FEWEST", 75)
    assert "To save time" not in "".join(part.html for part in advice.remedies(case_of(made())).body)


# ----------------------------------------------------------------------------------------------------------- the page
def test_the_page_stands_alone_and_is_whole(whole, bare):
    for page in (whole, bare):
        assert len(page.source) < 5_000_000
        assert not re.search(r"(?:src|href)=\"(?!data:|#)", page.source) and "url(" not in page.source
        assert {"script", "iframe", "object"} & set(page.tags) == set()
        assert page.headless == 0 and page.levels[0] == 1
        assert all(b - a <= 1 for a, b in zip(page.levels, page.levels[1:], strict=False))
        assert all(image["alt"].strip() for image in page.images)
        assert all(page.source.count(f'id="{link[1:]}"') == 1 for link in page.links if link.startswith("#"))
    assert len(whole.images) > 10 and len(bare.images) == 3


def test_names_are_words_never_tags(whole):
    assert "<b>&" not in whole.source.split("</style>")[1] and "mine <i>" not in whole.source
    assert "cat <b>&" in whole.text["classes"] and "</title><script>" in whole.text["classes"]
    assert name("a\x00b\nc") == "a b c" and name("\ud800") == "\N{REPLACEMENT CHARACTER}"


def test_the_summary_says_what_the_test_samples_say(whole):
    run, said = made(), whole.text["summary"]
    assert f"{run.accuracy:.1%} of 150 test samples are decided rightly" in said
    shares = metrics.shot_accuracy(run)
    gap = 100 * (shares["head"] - shares["tail"])
    assert f"Head classes reach {shares['head']:.1%}, tail classes {shares['tail']:.1%}" in said
    assert f"a difference of {gap:+.1f} points" in said
    low, high = stats.binomtest(int(run.confusion[5, 5]), 25).proportion_ci(0.95, "wilson")
    assert f"the rarest, fish, has like every class 25 test samples, of which {run.confusion[5, 5]}" in said
    assert f"lies between {low:.1%} and {high:.1%}" in said
    assert f"macro F1 {metrics.f1(run, average='macro'):.1%}" in said
    assert "600 to 0 a class" in said and "100 (classes without training samples left out)" in said


def test_each_class_has_its_row_and_the_csv_has_all_of_it(whole):
    run = made()
    (link,) = [link for link in whole.links if link.startswith("data:text/csv")]
    text = base64.b64decode(link.partition(",")[2]).decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["class"] for row in rows] == NAMES
    np.testing.assert_allclose([float(row["recall"]) for row in rows], run.per_class, atol=1e-5)
    np.testing.assert_allclose([float(row["f1"]) for row in rows], metrics.f1(run), atol=1e-5)
    wrong = run.confusion[3] * (np.arange(6) != 3)
    assert f"{NAMES[wrong.argmax()]} ({wrong.max()})" in whole.text["classes"]
    assert "Shown are" not in whole.text["classes"]


def test_photographs_are_those_of_the_confusions(whole):
    run = made()
    shown = [image for image in whole.images if image["alt"].startswith("test sample ")]
    assert shown
    for image in shown:
        i, true, said = re.fullmatch(r"test sample (\d+): (.*), taken for (.*)", image["alt"]).groups()
        assert (NAMES[Y[int(i)]], NAMES[run.logits[int(i)].argmax()]) == (true, said) and Y[int(i)] >= 4
        png = base64.b64decode(image["src"].partition(",")[2])
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png))), IMAGES[int(i)])


def test_the_remedies_and_what_follows_are_told_from_their_numbers(whole):
    run, said = made(), whole.text["remedies-without-training"]
    found = [one for one in case_of(run).remedies if not one.lacks]
    best = max(found, key=lambda one: one.changes["all"].mean)
    assert f"Of the remedies tried, {best.title} ({best.words}) has the highest mean accuracy" in said
    for one in found:
        assert f"{one.changes['tail'].after:.1%}" in said and one.changes["tail"].verdict in said
    assert "chance alone would call about 0.4 of them so" in said  # two remedies, four groups
    assert "Nearest class mean (NCM) was not tried: it needs features of training samples" in said
    assert best.title in whole.text["what-to-try-next"] and best.changes["all"].verdict == "clearly better"


def test_what_is_missing_is_said_with_what_to_pass(bare):
    for section, words in {
        "who-pays": "The run holds no logits: pass logits= or probabilities= to lt.from_predictions.",
        "confusions": "The images are not shown: pass images=",
        "norms": "The run holds no classifier vectors: pass head_weight= to lt.from_predictions.",
        "embedding": "The run holds no features: pass features= to lt.from_predictions.",
        "calibration": "The run holds no logits: pass logits= or probabilities= to lt.from_predictions.",
        "training": "The run holds no training history",
        "remedies-without-training": "The run holds no logits",
        "what-to-try-next": "No remedy without training could be tried",
    }.items():
        assert words in bare.text[section], section


def test_calibration_is_told_by_group(whole):
    run, tail = made(), Y >= 4
    p = metrics.probabilities(run)
    expected = metrics.ece(p[tail], Y[tail])
    gap = p[tail].max(1).mean() - (p[tail].argmax(1) == Y[tail]).mean()
    way = "above" if gap >= 0 else "below"
    assert f"{100 * abs(gap):.1f} points {way} accuracy on tail classes" in whole.text["calibration"]
    assert f"{expected:.1%}" in whole.text["calibration"]


def test_calibration_of_a_large_test_set_is_that_of_all_its_samples():
    """Most of 21,000 samples are of frequent classes, which are decided rightly: each sample counts as much."""
    k, n = 1000, 21_000
    y = np.sort((k * np.random.default_rng(0).random(n) ** 6).astype(int))
    z = np.zeros((n, k), np.float32)
    answer = np.where((y < 20) | (np.arange(n) % 4 == 0), y, (y + 1) % k)
    z[np.arange(n), answer] = 6.0
    run = lt.from_predictions(y, z, counts=np.arange(k, 0, -1))
    picture, table = sections.calibration(case_of(run)).body[1:]
    sure, right = 1 / (1 + (k - 1) * np.exp(-6.0)), (answer == y).mean()
    assert 0.5 < right < 0.9 and abs(np.bincount(y, answer == y)[np.unique(y)].mean() - right) > 0.2
    cells = "".join(f'<td class="number">{one}</td>' for one in ("21,000", f"{sure:.1%}", f"{right:.1%}"))
    assert (
        f"all classes</th>{cells}" in table.html
        and f"{100 * abs(sure - right):.1f} points below accuracy in the mean" in picture.html
    )


def test_a_class_that_is_answered_without_test_samples_counts_in_macro_f1(tmp_path):
    y, said = np.array([0] * 8 + [1] * 6), np.array([0] * 6 + [1, 2] + [1] * 4 + [2, 0])
    run = lt.from_predictions(y, predictions=said, counts=[9, 5, 3, 1])
    page = Page(lt.report(run, tmp_path / "f1.html"))
    expected = (12 / 15 + 8 / 11 + 0.0) / 3  # scikit-learn's: class 2 is answered, class 3 neither true nor answered
    assert f"macro F1 {expected:.1%}" in page.text["summary"]
    assert "2 3 0 – – 0.0% 0.0% no test sample" in page.text["classes"]
    assert "3 1 0 – – – – no test sample" in page.text["classes"]


def test_the_same_call_writes_the_same_page(bare, tmp_path):
    assert lt.report(alone(), tmp_path / "again.html").read_text(encoding="utf-8") == bare.source


# ------------------------------------------------------------------------------------------------------ kinds of runs
def test_two_classes_are_the_frequent_and_the_rare_one(tmp_path):
    rng = np.random.default_rng(0)
    y = (rng.random(400) < 0.1).astype(int)
    z = rng.normal(size=(400, 2)) + np.eye(2)[y] + [1.0, 0.0]
    page = Page(lt.report(lt.from_predictions(y, z, counts=np.bincount(y)), tmp_path / "two.html"))
    assert "The frequent class reaches" in page.text["summary"] and "head" not in page.text["summary"]
    area = stats.mannwhitneyu((z[:, 1] - z[:, 0])[y == 1], (z[:, 1] - z[:, 0])[y == 0]).statistic
    assert f"AUROC of the rare class {area / (y == 1).sum() / (y == 0).sum():.1%}" in page.text["summary"]
    assert f"average precision (chance {y.mean():.1%})" in page.text["summary"]
    said = z.argmax(1) == 1
    right = f"{said[y == 1].mean():.1%} of the samples of the rare class; of {said.sum()} alarms {y[said].mean():.1%}"
    assert right in page.text["who-pays"] and any("precision" in image["alt"] for image in page.images)
    assert "on the frequent class" in page.text["remedies-without-training"]
    assert "The counts are those of the test samples" in page.text["training-samples"]


def test_of_many_classes_the_ends_are_shown_and_the_csv_has_all(tmp_path):
    k = 1000
    y = np.tile(np.arange(k), 3)
    said = np.where(np.random.default_rng(0).random(3 * k) < 0.5, y, y // 2)
    counts = np.maximum(1, (1000.0 / np.arange(1, k + 1)).astype(int))
    path = lt.report(lt.from_predictions(y, predictions=said, counts=counts), tmp_path / "many.html")
    page = Page(path)
    assert "Shown are the 10 most frequent and the 20 rarest of 1,000 classes." in page.text["classes"]
    assert page.text["classes"].count("%") < 200 and path.stat().st_size < 1_000_000
    (link,) = [link for link in page.links if link.startswith("data:text/csv")]
    assert len(base64.b64decode(link.partition(",")[2]).decode().splitlines()) == k + 1


def test_a_class_without_test_samples_is_left_out_of_means(tmp_path):
    keep = Y != 5
    run = lt.from_predictions(Y[keep], Z[keep], counts=COUNTS, class_names=NAMES)
    page = Page(lt.report(run, tmp_path / "unseen.html"))
    assert "1 class has no test sample at all." in page.text["summary"]
    assert (
        "no test sample" in page.text["classes"] and "1 class has no training sample" in page.text["training-samples"]
    )
    assert f"mean accuracy of the classes is {np.nanmean(run.per_class):.1%}" in page.text["summary"]


def test_a_test_set_of_one_class_judges_nothing(tmp_path):
    rng = np.random.default_rng(0)
    z, f = rng.normal(size=(60, 4)) + [1.0, 0, 0, 0], rng.normal(size=(60, 3))
    run = lt.from_predictions(np.zeros(60, int), z, counts=[10, 5, 1, 0], features=f)
    page = Page(lt.report(run, tmp_path / "one.html"))
    right = run.confusion[0, 0]
    assert f"its only class, 0, has 60 test samples, of which {right} are decided rightly" in page.text["summary"]
    assert f"Only 0 has test samples: its recall is {right / 60:.1%}." in page.text["classes"]
    assert "test samples are all of one class" in page.text["remedies-without-training"]
    assert "nearest neighbours among the features" not in page.text["embedding"]
    assert "First test the tail class: without test samples nobody" in page.text["what-to-try-next"]
    assert "No test sample is of the tail class." in page.text["confusions"]
    said = " ".join([*page.text.values(), *(image["alt"] for image in page.images)])
    assert "nan" not in said and "clear" not in said and "no test image is of a tail class" in said


def test_a_tail_without_test_samples_has_no_verdict(tmp_path):
    keep = Y < 4
    run = lt.from_predictions(Y[keep], Z[keep], counts=COUNTS, class_names=NAMES)
    page = Page(lt.report(run, tmp_path / "no_tail.html"))
    said = page.text["remedies-without-training"]
    assert "nan" not in said and "not defined" not in said and "No test sample is of tail classes." in said
    assert "If none of these 3 differences were real" in said
    assert f"the rarest that is tested, {NAMES[3]}, has like each of them 25 test samples" in page.text["summary"]
    assert "First test tail classes" in page.text["what-to-try-next"]


def test_a_diverged_run_has_a_page_that_says_so(tmp_path):
    (run,) = lt.recorded("digits", "ldam", seed=0)
    nothing = replace(run, status="diverged", confusion=run.confusion * 0, ece=float("nan"))
    page = Page(lt.report(nothing, tmp_path / "diverged.html"))
    assert "no decided test samples because its training diverged" in page.text["summary"]
    assert "In 60 epochs the training loss went from" in page.text["training"]
    assert "why there are no decided test samples" in page.text["what-to-try-next"]


def test_a_trained_run_has_its_course_its_photographs_and_all_three_remedies(tmp_path):
    data = lt.digits_lt(ratio=20, seed=0)
    run = lt.train("ce", data, epochs=3, progress=False)
    page = Page(lt.report(run, tmp_path / "trained.html", images=data))
    loss = run.history["loss"]
    assert f"In 3 epochs the training loss went from {loss[0]:.3g} to {loss[-1]:.3g}." in page.text["training"]
    assert "not tried" not in page.text["remedies-without-training"]
    assert any(image["alt"].startswith("test sample ") for image in page.images)
    assert "The run holds no" not in " ".join(page.text.values())


@pytest.mark.parametrize("method", ["ce", "logit_adjusted"])
def test_the_run_answers_the_validation_samples_of_its_data(method, tmp_path):
    data = lt.digits_lt(ratio=20, seed=0)
    run = lt.train(method, data, epochs=1, progress=False)
    own = write._checked(data, run)
    np.testing.assert_array_equal(own.targets, data.val_targets)
    raw = own.features @ run.head_weight.T + run.head_bias  # before any post-hoc rule
    np.testing.assert_allclose(own.logits, raw, atol=1e-4)
    decided = run.predict(data.val_images.numpy()).logits
    assert np.array_equal(own.logits, decided) == (method == "ce")
    np.testing.assert_allclose(own.posthoc(method) if method != "ce" else own.logits, decided, atol=1e-4)
    page = Page(lt.report(run, tmp_path / "data.html", validation=data))
    told = page.text["remedies-without-training"]
    assert "Each setting was chosen on 100 validation samples, and is judged on 500 test samples." in told


def test_a_data_set_of_other_or_no_validation_samples_is_refused(tmp_path):
    run = lt.train("ce", lt.digits_lt(ratio=20, seed=0, validation=0), epochs=1, progress=False)
    for seed, words in (
        (0, "this one has no validation samples"),
        (1, "the samples of this one are not those of 'ce'"),
    ):
        with pytest.raises(ValueError, match=f"^validation=.*{words}"):
            lt.report(run, tmp_path / "no.html", validation=lt.digits_lt(ratio=20, seed=seed, validation=0))


def test_a_table_has_no_images_but_validation_samples(tmp_path):
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], [120, 60, 30])
    data = lt.table_lt(rng.normal(size=(210, 3)) + 2 * np.eye(3)[y], y)
    run = lt.train("ce", data, epochs=2, progress=False)
    with pytest.raises(ValueError, match="^images=.*a table have no images, so leave it out"):
        lt.report(run, tmp_path / "no.html", images=data)
    page = Page(lt.report(run, tmp_path / "table.html", validation=data))
    n = len(data.val_targets)
    assert f"Each setting was chosen on {n} validation samples" in page.text["remedies-without-training"]
    assert "images=" not in page.source


def test_what_is_not_finite_is_said_to_be_so():
    run = made()
    nan = {part: np.full_like(getattr(run, part), np.nan) for part in ("logits", "features", "head_weight")}
    case = case_of(replace(run, status="diverged", **nan))
    for make, words in (
        (sections.norms, ["The classifier vectors hold NaN or infinity", "The features hold NaN or infinity"]),
        (sections.embedding, ["two finite features"]),
        (sections.calibration, ["The logits hold NaN or infinity"]),
        (advice.who_pays, ["The logits hold NaN or infinity"]),
        (advice.remedies, ["The logits hold NaN or infinity"]),
    ):
        said = "".join(part.html for part in make(case).body)
        assert all(one in said for one in words) and "<img" not in said


def test_part_of_the_test_samples_with_logits_is_said(tmp_path):
    run = lt.recorded("cifar16", "class_balanced", seed=0, loss="softmax", beta=0.999)[0]
    case = case_of(run, lt.study.photographs())
    assert case.kept is not run and case.kept.confusion.sum() == 500 and len(case.images) == 100
    assert case.of_kept == "This uses the 500 of 10,000 test samples whose logits the run kept."
    said = "".join(part.html for part in advice.remedies(case).body)
    assert case.of_kept in said


@pytest.mark.parametrize("source", [IMAGES, IMAGES[:40], IMAGES[..., 0], IMAGES[..., :1]])
def test_images_come_in_several_shapes(source):
    images = Images(source, made())
    assert len(images) == len(source)
    np.testing.assert_array_equal(images[np.array([3, 1])], source[[3, 1]])


def test_a_large_photograph_is_made_small():
    from ltviz.reporting.page import thumbnail

    made_of = thumbnail(np.zeros((300, 200, 3), np.uint8), 'a "b"').html
    assert 'alt="a &quot;b&quot;"' in made_of and len(made_of) < 2000
    data = base64.b64decode(re.search(r"base64,([^\"]+)", made_of)[1])
    assert Image.open(io.BytesIO(data)).size == (64, 96)


def test_links_to_chapters_are_there_where_the_chapters_are(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "03_decide_again.ipynb").touch()
    monkeypatch.setattr(advice, "NOTEBOOKS", tmp_path / "notebooks")
    (tmp_path / "out").mkdir()
    inside = advice._link("crt", "03_decide_again", tmp_path / "out").html
    assert '<a href="../notebooks/03_decide_again.ipynb">chapter 03, decide again</a>' in inside
    assert "href" not in advice._link("crt", "03_decide_again", tmp_path.parent).html
    assert "href" not in advice._link("ldam_drw", "06_margins_and_deferral", tmp_path / "out").html


def test_every_remedy_that_is_named_is_a_method_with_a_chapter():
    for names in (advice.PRIOR, advice.CLASSIFIER, advice.FEATURES):
        for key, chapter in names.items():
            assert key in lt.METHODS and (data_folder().parent / "notebooks" / f"{chapter}.ipynb").is_file()


def test_a_picture_in_the_page_is_light_whatever_the_theme():
    picture = lt.plot_counts(COUNTS)
    light = figure(picture).html
    lt.style(theme="dark")
    try:
        assert figure(picture).html == light
    finally:
        lt.style(theme="light")


# ---------------------------------------------------------------------------------------------------------- arguments
@pytest.mark.parametrize(("given", "words"), [
    (lambda: {"run": [made()]}, "one run; write a page for each"),
    (lambda: {"run": None}, "a run: of lt.train"),
    (lambda: {"path": 3}, "a path"),
    (lambda: {"path": "report.pdf"}, "a file that ends in .html"),
    (lambda: {"path": "report"}, "a file that ends in .html"),
    (lambda: {"seed": True}, "a whole number"),
    (lambda: {"seed": 1.5}, "a whole number"),
    (lambda: {"images": IMAGES / 255}, "as uint8"),
    (lambda: {"images": IMAGES[:, :, :, :2]}, "as uint8"),
    (lambda: {"images": "images"}, "as uint8"),
    (lambda: {"images": np.concatenate([IMAGES, IMAGES])}, "the run has 150 test samples"),
    (lambda: {"images": lt.digits_lt()}, "the classes of its test images are not those"),
    (lambda: {"validation": [made()]}, "validation="),
    (lambda: {"validation": alone()}, "a run that holds logits"),
    (lambda: {"validation": made()}, "these are the test samples"),
    (lambda: {"validation": lt.digits_lt()}, "this run keeps no network"),
    (lambda: {"validation": 3}, "a run: of lt.train"),
    (lambda: {"validation": made(logits=F @ (W + 0.1).T + B, head_weight=W + 0.1)}, "(head_weight differs)"),
    (lambda: {"validation": made(logits=Z + np.arange(6), head_bias=B + np.arange(6))}, "(head_bias differs)"),
    (lambda: {"validation": made(class_names=list("abcdef"))}, "its classes are not those of the run"),
])  # fmt: skip
def test_a_wrong_argument_is_refused_by_name(given, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = {"run": made(), "path": "report.html", **given()}
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        lt.report(arguments.pop("run"), arguments.pop("path"), **arguments)
    assert re.match(r"(run|path|seed|images|validation)[=:]", str(caught.value))
    assert list(tmp_path.iterdir()) == []


def test_images_of_a_run_in_random_order_are_refused_unless_they_bring_their_labels(tmp_path):
    run = made()
    run.provenance["order"] = "random"
    with pytest.raises(ValueError, match="images=.*in random order.*shuffle=False"):
        lt.report(run, tmp_path / "report.html", images=IMAGES)
    source = SimpleNamespace(test_images=IMAGES, test_targets=Y)
    assert lt.report(run, tmp_path / "report.html", images=source).is_file()


@pytest.mark.parametrize("k", [2, 6])
def test_equal_counts_make_no_groups_and_the_page_says_so(tmp_path, k):
    of = Y < k
    run = lt.from_predictions(Y[of], Z[of, :k], counts=[25] * k, features=F[of], class_names=NAMES[:k])
    page = lt.report(run, tmp_path / "report.html", images=IMAGES[of]).read_text()
    text = re.sub(r"<[^>]+>", " ", page)
    assert text.count("so none is frequent and none rare, and no group of classes is compared with another") == 3
    assert not re.search(r"[Hh]ead classes|[Tt]ail classes|the rare class|the frequent class|[Rr]are classes", text)
    assert "The most frequent confusions" in text and "undefined" not in text


def test_a_folder_is_no_page(tmp_path):
    (tmp_path / "a.html").mkdir()
    with pytest.raises(ValueError, match="a file that ends in .html"):
        lt.report(made(), tmp_path / "a.html")


# --------------------------------------------------------------------------------------------------------- in Chromium
@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [600, 1600])
def test_a_browser_opens_it_from_disk_without_a_request(browser, tmp_path, theme, width):  # noqa: F811
    path = lt.report(alone(), tmp_path / "report.html")
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)
    asked, said = [], []
    page.on("request", lambda one: asked.append(one.url) if not one.url.startswith("data:") else None)
    page.on("console", lambda one: said.append(one.text))
    page.goto(path.as_uri())
    assert asked == [path.as_uri()] and said == []
    assert page.evaluate("[...document.images].every(one => one.complete && one.naturalWidth > 0)")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 18, 18)"}[theme]
    page.close()


@pytest.mark.browser
@pytest.mark.skipif(not AXE, reason="axe: set LTVIZ_AXE to the path of axe.min.js (npm pack axe-core)")
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(browser, tmp_path, theme):  # noqa: F811
    path = lt.report(made(), tmp_path / "report.html", images=IMAGES)
    page = browser.new_page(color_scheme=theme, bypass_csp=True)
    page.goto(path.as_uri())
    page.add_script_tag(content=Path(AXE).read_text(encoding="utf-8"))
    found = page.evaluate("axe.run()")["violations"]
    assert [(one["id"], html.unescape(one["nodes"][0]["html"])) for one in found] == []
    page.close()
