"""The cards of chapter 10: its folder is what it says, its runs are found, its exercises name mistakes."""

import importlib.util
import warnings

import numpy as np
import pytest
import torch
from conftest import REPO
from PIL import Image

import ltviz as lt
from ltviz.training.request import make_request


@pytest.fixture(scope="module")
def cards():
    spec = importlib.util.spec_from_file_location("cards_10", REPO / "notebooks" / "cards_10.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def here(cards, tmp_path_factory):
    """A reader's folder, in which the course's folder has been prepared: its training part, and what was warned of."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("reader"))
        home = cards.prepare()
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            data = cards.training_part(home)
        yield home, data, [str(one.message) for one in said]


def test_the_folder_has_a_long_tail_and_three_flaws(cards, here):
    home, data, said = here
    assert data.class_names == ("frog", "ship", "dog", "automobile", "horse", "airplane", "deer", "truck")
    assert data.counts.tolist() == [320, 189, 113, 66, 38, 23, 14, 8]
    assert np.bincount(data.test_targets).tolist() == [80, 47, 28, 16, 10, 6, 3, 2]
    assert list(data.folder.bad) == ["deer/deer_017.png"] and data.folder.ignored == {".txt": 1}
    assert data.folder.repeated == [["dog/dog_004.png", "dog/dog_140.png"]]
    assert len(said) == 1 and "deer_017.png" in said[0]
    assert len(list((home / "test").rglob("*.png"))) == 8 * 60
    text = cards.what_was_found(data, []).text
    assert "771 images" in text and "deer/deer_017.png" in text and "dog/dog_004.png = dog/dog_140.png" in text


def test_the_sheet_is_the_photographs(cards):
    found = list(cards.photographs())
    assert len(found) == 1442 and {image.shape for *_, image in found} == {(16, 16, 3)}
    assert len({image.tobytes() for *_, image in found}) == 1442


@pytest.mark.filterwarnings("ignore:1 image is left out")
@pytest.mark.parametrize("method", ["ce", "crt", "class_balanced_sampling"])
def test_the_recorded_runs_are_those_of_the_folder(cards, here, method):
    """By the id that training would give them: so nothing is trained for the course's folder."""
    data = here[1]
    asked = {make_request(method, data.with_seed(seed), model=cards.MODEL, seed=seed).id for seed in range(10)}
    there = {run.id for run in lt.load_runs(cards.RECORDED, method=method)}
    assert len(asked) == 10 and asked <= there


def test_a_folder_without_a_test_part_gets_one_and_stays_as_it_was(cards, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, n in (("a", 11), ("b", 5)):
        (tmp_path / "own" / name).mkdir(parents=True)
        for i in range(n):
            Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / "own" / name / f"{i:02d}.png")
    before = sorted(path.relative_to(tmp_path) for path in (tmp_path / "own").rglob("*"))
    home = cards.prepare("own")
    assert sorted(path.relative_to(tmp_path) for path in (tmp_path / "own").rglob("*")) == before
    held = [path.relative_to(home).as_posix() for path in sorted((home / "test").rglob("*.png"))]
    assert held == ["test/a/04.png", "test/a/09.png", "test/b/04.png"]
    assert len(list((home / "train").rglob("*.png"))) == 13
    with pytest.raises(FileNotFoundError, match="there is no such folder"):
        cards.prepare("nowhere")


def test_a_folder_that_the_chapter_did_not_make_is_never_replaced(cards, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kept = tmp_path / "my_linked_folder" / "a" / "0.png"
    for name in ("my_linked_folder", "my_photographs", "my_second_folder"):
        (tmp_path / name / "a").mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name / "a" / "0.png")
    for call in (lambda: cards.prepare("my_linked_folder"), cards.prepare, cards.second_folder):
        with pytest.raises(FileExistsError, match="did not make it: rename it"):
            call()
    assert kept.is_file() and len(list(tmp_path.rglob("*.png"))) == 3


def test_labels_of_the_second_folder_are_exchanged_and_counts_are_not(cards, tmp_path):
    root = cards.write_photographs(tmp_path / "faulty", fault=True)
    sound = {(part, name, i): image.tobytes() for part, name, i, image in cards.photographs()}
    wrong = {"airplane": 0, "frog": 0}
    for path in root.rglob("*.png"):
        part, name, i = path.parent.parent.name, path.parent.name, int(path.stem)
        if np.asarray(Image.open(path)).tobytes() != sound[part, name, i]:
            assert part == "train"
            wrong[name] += 1
    assert wrong == {"airplane": 27, "frog": 27}
    assert len(list(root.rglob("*.png"))) == 1442


def test_only_the_planted_class_does_not_come_back(cards, here, monkeypatch):
    """On the hidden test, whatever tau; while the validation images, which have the fault too, say that it does."""
    monkeypatch.chdir(here[0].parent)
    before = len(list(cards.RUNS.glob("*")))
    data, answers = cards.second_folder()
    assert len(list(cards.RUNS.glob("*"))) == before, "the run is recorded"
    sound, test = here[1], lt.folder_lt(cards.OTHER, validation=0)  # whose test part is the same
    ask = make_request("ce", sound, model=cards.MODEL, seed=0).id
    (run,) = (run for run in lt.load_runs(cards.RECORDED, method="ce", seed=0) if run.id == ask)
    images = sound.normalise(test.test_images.permute(0, 3, 1, 2))
    labels = np.array(test.class_names)[test.test_targets]
    usual = lt.collect(run.model(), [(images, labels)], counts=run.counts, class_names=run.class_names)
    best = [np.max([lt.study.redecide(one, "logit_adjusted", tau=tau).per_class for tau in np.arange(0, 3.1, 0.5)], 0)
            for one in (answers, usual)]  # fmt: skip
    j = list(answers.class_names).index("airplane")
    assert best[0][j] < 0.1 < 0.2 < np.delete(best[0], j).min() and best[1][j] > 0.3
    assert (answers.counts == data.counts.numpy()).all() and not data.folder.bad


@pytest.mark.parametrize(
    ("found", "passed"),
    [(("airplane", "frog"), True), ({"frog", "airplane"}, True), (("airplane", "dog"), False), ("airplane", False),
     (("frog", "truck"), False), (("airplane", "airplane"), False), ((1, 2), False), (3, False)],
)  # fmt: skip
def test_rescue_knows_the_pair(cards, found, passed):
    assert cards.rescue.check(found).passed is passed


def by_errors(logits, targets, counts, cost):
    return cards_tau(logits, targets, counts, torch.ones_like(cost))


def cards_tau(logits, targets, counts, cost):
    """The definition once more, in numpy: the first of the smallest mean costs."""
    z, n, y, c = (np.asarray(value, np.float64) for value in (logits, counts, targets, cost))
    y, prior = y.astype(int), np.log(n / n.sum())
    costs = [np.mean(c[y] * ((z - tau / 10 * prior).argmax(1) != y)) for tau in range(21)]
    return torch.tensor(int(np.argmin(np.round(costs, 9))) / 10)


def test_choose_tau_is_right(cards):
    assert cards.choose_tau.check(cards_tau).passed
    taus = [float(cards_tau(*case.args)) for case in cards.choose_tau.checks]
    assert taus[1] > taus[0] and taus[3] == 0.0, "a costly rare class asks for a larger tau"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (by_errors, "the costs are not in it"),
        (lambda z, y, n, c: 2.0 - 0 * cards_tau(z, y, n, c), ""),
        (lambda z, y, n, c: None, ""),
    ],
)
def test_choose_tau_names_the_mistake(cards, answer, said):
    result = cards.choose_tau.check(answer)
    assert not result.passed and said in result.text


def test_gains_are_paired_differences(cards):
    """Of made-up runs whose accuracy is known: 2 points on validation, 1 on the test."""

    def run(right, seed):
        truth = np.repeat([0, 1, 2], 100)
        wrong = (truth + 1) % 3
        answers = np.where(np.arange(300) % 100 < right, truth, wrong)
        return lt.from_predictions(truth, predictions=answers, counts=[50, 20, 5], seed=seed,
                                   class_names=["a", "b", "c"])  # fmt: skip

    def four(gain):
        return {name: [run(50 + extra + seed, seed) for seed in range(3)]
                for name, extra in zip(cards.KEYS, (0, gain, 0, 0), strict=True)}  # fmt: skip

    found = cards.gains(four(2), four(1))[cards.WAYS[1]]
    assert np.allclose([100 * one.mean for one in found], [2, 1])
    picture = cards.plot_gains(four(2), four(1))
    assert np.allclose(picture.data["all, validation"], [2, 0, 0])
    assert np.allclose(picture.data["tail, hidden test"], [1, 0, 0])


def test_what_is_left_of_the_gain_is_counted(cards):
    """From scores of three seeds: the share left on other images, and the part that choosing tau accounts for."""
    counts, tau = [50, 20, 5], [0.5, 1.5, 1.2]

    def scored(seed, part):
        draw = np.random.default_rng([seed, part])
        truth = np.repeat([0, 1, 2], 40)
        logits = draw.normal(size=(120, 3)) + 1.2 * np.eye(3)[truth] + np.log(np.array(counts) / 75)
        return lt.from_predictions(truth, logits=logits, counts=counts, class_names=["a", "b", "c"], seed=seed)

    def adjusted(runs, taus):
        return [lt.study.redecide(run, "logit_adjusted", tau=t) for run, t in zip(runs, taus, strict=True)]

    plain = [[scored(seed, part) for seed in range(3)] for part in range(2)]
    sides = [dict.fromkeys(cards.KEYS, runs) | {"adjusted": adjusted(runs, tau)} for runs in plain]
    shown = cards.open_hidden(*sides, tau)

    def gain(runs, taus):
        by_hand = [run.logits - t * np.log(run.counts / run.counts.sum()) for run, t in zip(runs, taus, strict=True)]
        return np.array([
            lt.metrics.balanced_accuracy(run.targets, z.argmax(1)) - lt.metrics.balanced_accuracy(run)
            for run, z in zip(runs, by_hand, strict=True)
        ])  # fmt: skip

    seen, hidden = (gain(runs, tau) for runs in plain)
    choice = (seen - hidden) - np.subtract(*(gain(runs, [1.0] * 3) for runs in plain))
    assert shown.truth == pytest.approx(np.clip(100 * hidden.mean() / seen.mean(), 0, 200))
    cards.how_much_left.commit(100)
    assert f"{100 * choice.mean():.1f} ± " in repr(shown).replace("−", "-")
    assert f"{100 * (seen - hidden).mean():.1f} ± " in repr(shown).replace("−", "-")


def test_remedies_that_cannot_be_told_apart_are_each_a_right_choice(cards):
    a, b, c = cards.WAYS[1:]
    asks = cards.Defensible([a, b, c])
    assert [asks.compare(one, a, None).agrees for one in (a, b, c)] == [True, False, False]
    asks.good = (b,)
    found = [asks.compare(one, a, None) for one in (a, b, c)]
    assert [one.agrees for one in found] == [True, True, False]
    assert found[1].how.startswith(f"Not to be told apart: {a} and {b}.")


def made_up(truth, right, seed):
    """A run that has so many of the 100 images of each of three classes right, by seed."""
    answers = np.where(np.arange(300) % 100 < right, truth, (truth + 1) % 3)
    return lt.from_predictions(truth, logits=5.0 * np.eye(3)[answers], counts=[50, 20, 5], seed=seed,
                               class_names=["a", "b", "c"])  # fmt: skip


@pytest.mark.parametrize(("gains", "good"), [((30, 10, 5), ()), ((10, 9, 5), (1,)), ((10, 10, 10), (1, 2))])
def test_the_card_counts_as_right_what_ties_with_the_best(cards, gains, good):
    truth, noise = np.repeat([0, 1, 2], 100), ((0, 0, 0, 0), (0, 3, -3, 3), (0, -4, 4, -2), (0, 2, 0, -1))
    opened = {key: [made_up(truth, 40 + gain + jitter[i], seed) for seed, jitter in enumerate(noise)]
              for i, (key, gain) in enumerate(zip(cards.KEYS, (0, *gains), strict=True))}  # fmt: skip
    cards.open_chosen(opened, opened)
    assert set(cards.chosen.asks.good) == {cards.WAYS[1:][i] for i in good}


def test_the_page_is_of_the_remedy_that_was_chosen(cards, tmp_path):
    made = []

    def write(key):
        made.append(key)
        path = tmp_path / "page.html"
        path.write_text(f"<p>the page of {key}</p>")
        return path

    page = cards.Opened(write)
    assert made == ["crt"] and "the page of" not in page.frame.value and "the page of" not in page.static().html
    cards.chosen.commit(cards.WAYS[3])
    assert made == ["crt", "balanced"] and "the page of balanced" in page.frame.value
