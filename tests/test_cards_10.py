"""The cards of chapter 10: its folder is what it says, its runs are found, its exercises name mistakes."""

import importlib.util
import shutil
import warnings

import numpy as np
import pytest
import torch
from conftest import REPO, chromium
from PIL import Image

import ltviz as lt
from ltviz.training.request import make_request
from tools import notebooks


@pytest.fixture(scope="module")
def cards():
    return load_cards()


def load_cards():
    """The chapter's cards, as a notebook that starts has them."""
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
    text = cards.what_was_found(data, [], home).text
    assert "771 images" in text and "train/deer/deer_017.png, image file is truncated" in text
    assert "more than once: 1 (train/dog/dog_004.png = train/dog/dog_140.png)" in text
    assert "in the training part as well: 0." in text and "Warning" not in text


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


def coloured(path, i):
    """A file with an image of a colour of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (i % 256, i // 256, 99)).save(path)


def own_folder(root, first=0, **classes):
    """A folder with so many images of each class, no two alike. A class `test__a` is `a` of the part `test`."""
    for c, (name, n) in enumerate(classes.items(), first):
        for i in range(n):
            coloured(root / name.replace("__", "/") / f"{i:02d}.png", 100 * c + i)
    return root


def names_in(home, part):
    return sorted(path.relative_to(home / part).as_posix() for path in (home / part).rglob("*.*"))


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """An empty folder of a reader, to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def looked_at(cards, home):
    """The training part of a prepared folder and the text of what was found in both, as the chapter asks for them."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        data = cards.training_part(home)
    return data, cards.what_was_found(data, said, home).text


def test_a_folder_without_a_test_part_gets_one_and_stays_as_it_was(cards, reader):
    own = own_folder(reader / "own", a=11, b=5, c=3)
    before = sorted(path.relative_to(reader) for path in own.rglob("*"))
    home = cards.prepare("own")
    assert sorted(path.relative_to(reader) for path in own.rglob("*")) == before
    assert names_in(home, "test") == ["a/04.png", "a/09.png", "b/04.png", "c/02.png"]
    assert len(names_in(home, "train")) == 15
    with pytest.raises(FileNotFoundError, match="FOLDER='nowhere': there is no such folder"):
        cards.prepare("nowhere")


def test_the_test_part_is_of_images_that_can_be_read(cards, reader):
    """The fifth file may be broken, or a text: it neither goes to the test nor counts, and the card tells of it."""
    own = own_folder(reader / "own", a=10, b=10, c=5)
    (own / "a" / "04.png").write_bytes(b"broken")
    (own / "b" / "03b.txt").write_text("no image")
    (own / "c" / "04.png").write_bytes(b"broken too")
    coloured(own / "loose.png", 5000)
    home = cards.prepare(own)
    assert names_in(home, "test") == ["a/05.png", "b/04.png", "b/09.png", "c/03.png"]
    text = looked_at(cards, home)[1]
    assert "cannot be read: 2 (train/a/04.png" in text and "train/c/04.png" in text
    assert "no images: 1. Images that lie beside the folders of classes, and are not read: 1." in text


@pytest.mark.parametrize(("link", "n"), [(False, 2), (True, 4)])
def test_classes_below_a_linked_folder_are_there(cards, reader, link, n):
    own = own_folder(reader / "own", round__a=9, round__b=6)
    elsewhere = own_folder(reader / "elsewhere", 2, c=7, d=8)
    if link:
        (own / "straight").symlink_to(elsewhere, target_is_directory=True)
    data, _ = looked_at(cards, cards.prepare(own))
    told = lt.folder_lt(own).class_names
    assert data.k == n and set(data.class_names) == set(told)


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (dict(a=9, b=2), "FOLDER=.*own': class 'b' has 2 images that can be read, at least 3 needed"),
        (dict(train__a=9, train__b=1, test__a=1, test__b=1), "'b' has 1 image that can be read in train/, at least 2"),
        (dict(train__a=9, train__b=5, test__a=1), "FOLDER=.*own': test/ and train/ hold different .* test/ lacks b"),
        (dict(set__train__a=5, set__train__b=5, set__test__a=5), "own holds set/test/a/, .*; pass FOLDER='.*own/set'"),
        (dict(train__val__a=5, train__b__a=5, test__val__a=5, test__b__a=5), "train holds val/ and no train/"),
    ],
)
def test_a_folder_that_cannot_work_is_refused_before_anything_is_made(cards, reader, classes, words):
    own = own_folder(reader / "own", **classes)
    with pytest.raises(ValueError, match=words):
        cards.prepare(own)
    assert not cards.LINKED.exists()


def test_an_empty_class_and_a_test_that_cannot_be_read_are_refused(cards, reader):
    own = own_folder(reader / "own", a=5, b=5)
    (own / "c").mkdir()
    with pytest.raises(ValueError, match="FOLDER=.*class folder .*own/c holds no image"):
        cards.prepare(own)
    other = own_folder(reader / "other", train__a=5, train__b=5)
    for name in ("a", "b"):
        (other / "test" / name).mkdir(parents=True)
        (other / "test" / name / "0.heic").write_bytes(b"not read here")
    with pytest.raises(ValueError, match="class 'a' has 0 images that can be read in test/, at least 1 needed"):
        cards.prepare(other)


def test_a_folder_in_the_one_that_is_emptied_is_refused_and_stays(cards, reader):
    home = cards.prepare(own_folder(reader / "own", train__a=5, train__b=5, test__a=1, test__b=1))
    before = sorted(home.rglob("*"))
    (reader / "link").symlink_to(home / "train", target_is_directory=True)
    for folder in (home, home / "train", home / "train" / "a", "link"):
        with pytest.raises(ValueError, match="FOLDER=.* has images in my_linked_folder/, .*: give the folder of your"):
            cards.prepare(folder)
    assert sorted(home.rglob("*")) == before


def test_a_notebook_may_lie_beside_the_parts(cards, reader):
    own_folder(reader, train__a=5, train__b=5, test__a=1, test__b=1)
    for _ in range(2):  # what the first call makes is no part of the folder
        home = cards.prepare(".")
        assert len(names_in(home, "train")) == 10 and len(names_in(home, "test")) == 2


def test_a_folder_without_a_tail_is_refused(cards, reader):
    with pytest.raises(ValueError, match="all 2 classes have 4 training images, so that none is rare"):
        looked_at(cards, cards.prepare(own_folder(reader / "own", a=6, b=6)))


def test_images_beside_the_parts_are_told(cards, reader):
    own = own_folder(reader / "own", train__a=5, train__b=5, test__a=1, test__b=1, val__a=1, more__a=2)
    with pytest.warns(UserWarning, match="FOLDER=.*: beside train/, more/ is not read"):
        home = cards.prepare(own)
    assert len(names_in(home, "train")) == 10 and len(names_in(home, "test")) == 2


def test_test_images_that_are_trained_on_are_told_before_training(cards, reader):
    """In the reader's own test part, and in one that the chapter makes: with the names, and how many there are."""
    own = own_folder(reader / "own", train__a=20, train__b=5, test__a=3, test__b=3)
    for i in range(2):
        shutil.copy(own / "train" / "a" / f"{i:02d}.png", own / "test" / "a" / f"copy{i}.png")
    text = looked_at(cards, cards.prepare(own))[1]
    assert "Test images that are in the training part as well: 2 (train/a/00.png = test/a/copy0.png; train/a/01" in text
    assert "They make test accuracy too high" in text
    flat = own_folder(reader / "flat", a=10, b=10)
    shutil.copy(flat / "a" / "00.png", flat / "a" / "03b.png")  # the fifth
    text = looked_at(cards, cards.prepare(flat))[1]
    assert "in the training part as well: 1 (train/a/00.png = test/a/03b.png). They make" in text


def test_images_of_several_sizes_are_compared_as_they_are_trained_on(cards, reader):
    own = own_folder(reader / "own", train__a=9, train__b=5, test__a=1, test__b=1)
    with Image.open(own / "train" / "a" / "00.png") as image:
        image.resize((16, 16)).save(own / "test" / "a" / "large.png")
    home = cards.prepare(own)
    data = lt.folder_lt(home / "train", size=8, test=0.2, validation=0)
    assert "1 (train/a/00.png = test/a/large.png)" in cards.what_was_found(data, [], home).text


def test_an_image_in_training_and_validation_is_not_said_to_be_in_the_test(cards, reader):
    own = own_folder(reader / "own", train__a=20, train__b=9, test__a=2, test__b=2)
    for i in range(9):
        shutil.copy(own / "train" / "b" / f"{i:02d}.png", own / "train" / "b" / f"again{i}.png")
    text = looked_at(cards, cards.prepare(own))[1]
    assert "more than once: 9 (" in text and "Test images that are in the training part as well: 0." in text
    assert "Warning of the loader (its “test” are the validation images here): " in text and "(test)" in text


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


@pytest.fixture
def fresh_cards():
    """The cards of a reader who has answered nothing."""
    return load_cards()


def four(gains):
    """Made-up runs of three seeds by key, with so many points more than the plain network's."""
    truth = np.repeat([0, 1, 2], 100)
    return {key: [made_up(truth, 40 + gain + seed, seed) for seed in range(3)]
            for key, gain in zip(load_cards().KEYS, (0, *gains), strict=True)}  # fmt: skip


def test_the_page_is_written_once_the_remedy_is_chosen(fresh_cards, tmp_path):
    cards, made = fresh_cards, []

    def write(key):
        made.append(key)
        path = tmp_path / "page.html"
        path.write_text(f"<p>the page of {key}</p>")
        return path

    page = cards.Opened(write, dict.fromkeys(cards.KEYS))
    assert made == [] and "the page of" not in page.frame.value and page.static().text.startswith("Closed")
    cards.chosen.commit(cards.WAYS[3])
    assert made == ["balanced"] and "the page of balanced" in page.frame.value
    assert page.static().text == "The report is in page.html."
    cards.chosen.reopen()
    cards.chosen.commit(cards.WAYS[2])
    assert made == ["balanced", "crt"] and "the page of crt" in page.frame.value


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_keeps_its_links_to_itself_and_has_the_theme_of_the_notebook(fresh_cards, tmp_path, theme):
    from playwright.sync_api import sync_playwright

    run = made_up(np.repeat([0, 1, 2], 100), 60, 0)
    page = fresh_cards.Opened(lambda key: lt.report(run, tmp_path / "page.html"), dict.fromkeys(fresh_cards.KEYS))
    fresh_cards.chosen.commit(fresh_cards.WAYS[3])
    css = (REPO / "ltviz" / "study" / "answer.css").read_text(encoding="utf-8")
    light = str(theme == "light").lower()
    around = f"<style>{css}</style><body data-jp-theme-light='{light}'>{page.frame.value}</body>"
    (tmp_path / "notebook.html").write_text(around, encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        opened = browser.new_page(color_scheme="null")  # that of the system, not one that the test asks for
        opened.goto((tmp_path / "notebook.html").as_uri())
        frame = opened.frames[1]
        assert frame.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") == (theme == "dark")
        titles = frame.locator("h2").all_inner_texts()
        frame.locator("nav a").last.click()
        opened.wait_for_timeout(300)
        assert opened.frames[1].locator("h2").all_inner_texts() == titles and len(titles) > 2
        assert opened.frames[1].evaluate("scrollY") > 100
        browser.close()


def test_of_a_readers_own_folder_the_chosen_remedy_alone_is_opened(fresh_cards):
    cards, runs = fresh_cards, four((4, 8, 2))
    assert cards.to_open(None) == ("adjusted", "crt", "balanced") and cards.to_open("own") == ()
    opened = {"plain": runs["plain"]}
    assert "Commit to it above" in cards.open_chosen(runs, opened).text
    assert "logit adjustment" in cards.open_hidden(runs, opened, [1.0] * 3).text
    page = cards.Opened(lambda key: pytest.fail("nothing may be written"), opened)
    cards.chosen.commit(cards.WAYS[2])
    assert "has not answered the test" in page.frame.value and cards.to_open("own") == ("crt",)
    opened["crt"] = runs["crt"]
    shown = cards.open_chosen(runs, opened)
    assert "NOT COUNTED" in shown.frame.value and "cRT: classifier trained again: +8.0 ± 0.0 points" in repr(shown)
    assert "Balanced accuracy: cRT" in repr(shown) and "balanced sampling" not in repr(shown)
    assert "A SURPRISE" not in shown.frame.value and "AS PREDICTED" not in shown.frame.value


def test_a_second_remedy_on_the_test_of_a_readers_own_folder_is_told(fresh_cards):
    cards, runs, told = fresh_cards, four((4, 8, 2)), []
    for way, key in ((cards.WAYS[2], "crt"), (cards.WAYS[3], "balanced")):
        cards.chosen.commit(way)
        assert cards.to_open("own") == cards.to_open("own") == (key,)
        told.append(repr(cards.open_chosen(runs, {"plain": runs["plain"], key: runs[key]})))
        cards.chosen.reopen()
    assert "Only the remedy that you chose was opened" in told[0] and "too good" not in told[0]
    assert f"You have now opened the test for {cards.WAYS[2]} and {cards.WAYS[3]}." in told[1] and "too good" in told[1]


@pytest.mark.parametrize("gain", [0, -3])
def test_of_no_gain_no_part_can_be_left(fresh_cards, gain):
    cards = fresh_cards
    shown = cards.open_hidden(four((gain, 1, 1)), four((2, 1, 1)), [1.0] * 3)
    assert "gain" not in shown.frame.value
    cards.how_much_left.commit(100)
    assert "There was no gain on validation images" in shown.frame.value and "NOT COUNTED" in shown.frame.value
    assert "The answer" not in repr(shown) and "+2.0" in repr(shown)


@pytest.mark.parametrize(
    ("hidden", "truth", "words"),
    [(2, 50, None), (-3, 0, "In truth −75% is left: on the hidden test the gain became a loss"),
     (12, 200, "In truth 300% is left; the card's scale ends at 200%")],
)  # fmt: skip
def test_a_share_beyond_the_scale_is_told(fresh_cards, hidden, truth, words):
    cards = fresh_cards
    shown = cards.open_hidden(four((4, 1, 1)), four((hidden, 1, 1)), [1.0] * 3)
    cards.how_much_left.commit(100)
    assert shown.truth == pytest.approx(truth)
    assert words in repr(shown) if words else "In truth" not in repr(shown)


def test_the_exercise_compares_with_nothing_of_the_readers(cards):
    """Whose folder may have other classes."""
    assert not any("opened" in hint for hint in cards.rescue.hints) and "as yours" not in cards.rescue.task


def test_the_chapter_silences_what_it_has_told_alone():
    """Later loads still warn of an image that is in two parts."""
    told = "1 image is left out, unreadable: a.png"
    new = "5 images are in more than one of the training, validation and test parts"
    cells = [cell.source for cell in notebooks.read(*notebooks.chapters(["10"])).cells if cell.cell_type == "code"]
    (line,) = (line for source in cells for line in source.splitlines() if line.startswith("warnings."))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        exec(line, {"warnings": warnings})
        for text in (told, new):
            warnings.warn(text, stacklevel=1)
    assert [str(one.message) for one in said] == [new]
