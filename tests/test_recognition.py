"""Retrieval and verification of identities that no network was trained on, and the recorded table of them."""

import dataclasses
import json
import pickle

import numpy as np
import pandas
import pytest

import ltviz as lt
from ltviz import metrics, published, recognition
from ltviz.datasets import Unseen
from ltviz.files import RunFileError
from ltviz.methods import METHODS
from ltviz.recognition import compare, recognise, recorded
from tools import recognition as tool


def unseen_of(n: int = 6, drawn: int = 10) -> Unseen:
    images = np.zeros((n * drawn, 8, 8, 1), np.uint8)
    return Unseen(images, np.repeat(np.arange(n), drawn), tuple(f"identity {i}" for i in range(n)))


UNSEEN = unseen_of()
SPOILT = UNSEEN._replace(identities=UNSEEN.identities.copy())
SPOILT.identities[5] = 77  # written to after it was made
PERFECT = np.eye(6)[UNSEEN.identities]


@pytest.fixture(scope="module")
def run():
    return lt.train("ce", lt.digits_lt(), epochs=2, progress=False, device="cpu")


@pytest.fixture(scope="module")
def digits() -> Unseen:
    data = lt.digits_lt()
    return Unseen(data.test_images.numpy(), data.test_targets.numpy(), data.class_names)


def test_features_that_are_their_identity_find_everything():
    found = recognise(PERFECT, UNSEEN, pairs=60)
    assert found.row() == {"rank1": 1.0, "rank5": 1.0, "map": 1.0, "verification": 1.0, "verification_error": 0.0,
                           "tar_at_0.01": 1.0, "tar_at_0.001": 1.0}  # fmt: skip


def test_features_that_are_all_alike_find_what_luck_does():
    found = recognise(np.ones((60, 3)), UNSEEN, pairs=200)
    assert found.retrieval.rank1 == pytest.approx(9 / 59), "9 of the other 59 drawings are right"
    assert found.verification.accuracy == pytest.approx(0.5) and found.row()["tar_at_0.01"] == 0.0


def test_numbers_are_those_of_the_metrics_on_the_same_features():
    features = np.random.default_rng(0).normal(size=(60, 4)) + 2 * PERFECT[:, :4]
    for distance in ("cosine", "euclidean"):
        found = recognise(features, UNSEEN, pairs=100, folds=5, distance=distance, seed=3)
        expected = metrics.retrieval(features, UNSEEN.identities, distance=distance)
        assert (found.retrieval.cmc, found.retrieval.map) == (expected.cmc, expected.map)
        pairs, same = metrics.draw_pairs(UNSEEN.identities, 100, 3)
        alike = metrics.similarity(features[pairs[:, 0]], features[pairs[:, 1]], distance)
        np.testing.assert_array_equal(found.pairs, pairs)
        np.testing.assert_array_equal(found.verification.by_fold, metrics.verification(alike, same, 5).by_fold)
        assert found.row()["tar_at_0.01"] == metrics.roc(alike, same).tar_at(0.01)


def test_some_queries_are_looked_for_among_all_other_images():
    features = np.random.default_rng(1).normal(size=(60, 4)) + PERFECT[:, :4]
    whole, some = recognise(features, UNSEEN, pairs=60), recognise(features, UNSEEN, pairs=60, queries=20)
    assert len(whole.queries) == 60 and len(set(some.queries.tolist())) == 20
    np.testing.assert_array_equal(
        some.retrieval.average_precision, whole.retrieval.average_precision[some.queries]
    )  # fmt: skip
    assert recognise(features, UNSEEN, pairs=60, queries=60).retrieval.map == whole.retrieval.map


def test_one_seed_asks_every_run_the_same_questions_and_another_one_others():
    first, second = (recognise(PERFECT, UNSEEN, pairs=60, queries=10, seed=seed) for seed in (0, 1))
    again = recognise(np.ones((60, 2)), UNSEEN, pairs=60, queries=10)
    np.testing.assert_array_equal(first.queries, again.queries)
    np.testing.assert_array_equal(first.pairs, again.pairs)
    assert first.queries.tolist() != second.queries.tolist() and first.pairs.tolist() != second.pairs.tolist()


def test_a_run_is_asked_by_what_its_classifier_sees(run, digits, tmp_path):
    """On the run's own test images the features are those that it has kept."""
    found, own = recognise(run, digits, pairs=200), recognise(run.features.astype(np.float32), digits, pairs=200)
    assert found.retrieval.map == pytest.approx(own.retrieval.map, abs=1e-3), "kept in 16 bits"
    assert 0.2 < found.retrieval.map < 1.0
    prediction = run.predict(digits.images)
    np.testing.assert_allclose(prediction.features, run.features.astype(np.float32), rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(
        prediction.features @ run.head_weight.T + run.head_bias, prediction.logits, rtol=1e-4, atol=1e-4
    )
    loaded = lt.load_run(run.save(tmp_path))
    assert recognise(loaded, digits, pairs=200).row() == found.row()


def test_a_run_without_its_network_or_with_a_broken_one_is_refused(run, digits, tmp_path):
    small = lt.load_run(run.save(tmp_path, small=True))
    with pytest.raises(ValueError, match="keeps no network"):
        recognise(small, digits, pairs=200)
    with pytest.raises(ValueError, match="it has diverged"):
        recognise(dataclasses.replace(run, status="diverged"), digits, pairs=200)
    with pytest.raises(ValueError, match="model='cnn'"):
        recognise(run, digits, pairs=200, model="cnn")
    with pytest.raises(ValueError, match=r"model=<ndarray of shape \(2, 2\)>"):
        recognise(run, digits, pairs=200, model=np.zeros((2, 2)))


@pytest.mark.parametrize("wrong, said", [
    ({"run": PERFECT[:50]}, r"run=<ndarray of shape \(50, 6\)>: expected a run that keeps its network, or features"),
    ({"run": "ce"}, "run='ce'"), ({"run": PERFECT * np.nan}, "run="), ({"run": None}, "run=None"),
    ({"unseen": (1, 2, 3)}, "unseen=.*data.unseen of omniglot_lt"), ({"unseen": None}, "unseen=None"),
    ({"unseen": SPOILT}, "^unseen.identities=.*0..5, found 77 at position 5"),
    ({"queries": 0}, "queries=0"), ({"queries": 61}, "queries=61"), ({"queries": 2.5}, "queries=2.5"),
    ({"pairs": 61}, "pairs=61: expected an even number from 4 to 540"), ({"pairs": 2}, "pairs=2"),
    ({"pairs": True}, "pairs=True"),
    ({"pairs": 6000}, "pairs=6000: expected an even number from 4 to 540"), ({"folds": 1}, "folds=1"),
    ({"folds": 31}, "folds=31: .* 2 to 30: with pairs=60"),
    ({"pairs": 10, "folds": 10}, "folds=10: .* 2 to 5: with pairs=10"),
    ({"unseen": unseen_of(2, 1)}, "unseen: expected at least two pairs of one identity"),
    ({"distance": "l2"}, "distance='l2'"), ({"seed": -1}, "seed=-1"), ({"seed": 1.0}, "seed=1.0"),
    ({"model": "cnn"}, "model='cnn'"),
])  # fmt: skip
def test_wrong_arguments_are_named(wrong, said):
    given = {"run": PERFECT, "unseen": UNSEEN, "pairs": 60, **wrong}
    with pytest.raises(ValueError, match=said):
        recognise(**given)


def test_images_unlike_those_that_the_run_was_trained_on_are_refused(run, digits):
    wide = np.pad(digits.images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    for images, said in (
        (digits.images.repeat(3, axis=3), r"unseen.images=<ndarray of shape \(500, 8, 8, 3\)>: expected 1 channel, as"),
        (wide, r"\(500, 10, 10, 1\)>: expected images of 8 x 8 pixels \(height x width\), as run='ce'"),
        (digits.images[:, :4], r"expected images of 8 x 8 pixels"),
    ):
        with pytest.raises(ValueError, match=said):
            recognise(run, Unseen(images, digits.identities, digits.names), pairs=200)


def test_grey_images_are_no_colour_images_though_one_channel_could_stand_for_three(digits):
    trained = lt.digits_lt()
    images, tests = (x.repeat(1, 1, 1, 3) for x in (trained.images, trained.test_images))
    moments = {"mean": trained.mean.repeat(3), "std": trained.std.repeat(3)}
    colour = dataclasses.replace(trained, images=images, test_images=tests, **moments,
                                 val_images=trained.val_images.repeat(1, 1, 1, 3))  # fmt: skip
    run = lt.train("ce", colour, epochs=1, progress=False, device="cpu")
    with pytest.raises(ValueError, match=r"expected 3 channels, as run='ce' .*images.repeat\(3, axis=3\)"):
        recognise(run, digits, pairs=200)
    three = Unseen(digits.images.repeat(3, axis=3), digits.identities, digits.names)
    own = run.predict(three.images).features
    assert recognise(run, three, pairs=200).row() == recognise(own, three, pairs=200).row()


def test_of_few_images_as_many_pairs_as_there_are_in_ten_folds_or_fewer():
    for unseen, pairs, folds in ((UNSEEN, 540, 10), (unseen_of(3, 3), 18, 9), (unseen_of(40, 20), 6000, 10)):
        found = recognise(np.eye(len(unseen.names))[unseen.identities], unseen)
        assert (len(found.pairs), len(found.verification.by_fold)) == (pairs, folds)
        assert int(found.same.sum()) == pairs // 2
    assert len(recognise(PERFECT, UNSEEN, pairs=10).verification.by_fold) == 5


@pytest.mark.parametrize("wrong, said", [
    ({"images": np.zeros((4, 8, 8, 1))}, "^images=.*these are float64: for floats from 0 to 1 .images . 255."),
    ({"images": np.zeros((4, 8, 8), np.uint8)}, r"^images=.*of grey ones .* pass images\[..., None\]"),
    ({"images": np.zeros((4, 3, 8, 8), np.uint8)}, r"^images=.*images.transpose\(0, 2, 3, 1\)"),
    ({"images": None}, "^images=None"), ({"images": np.zeros((0, 8, 8, 1), np.uint8)}, "^images=.*at least one"),
    ({"images": np.zeros((5, 8, 8, 1), np.uint8)}, "^identities=.*expected one for each of 5 images; there are 4"),
    ({"identities": [0, 0, 1, 2]}, "^identities=.*0..1, found 2 at position 3"),
    ({"identities": [0, 0, 1, -1]}, "^identities=.*found -1"), ({"identities": [0.0, 0, 1, 1]}, "^identities="),
    ({"identities": ["a", "a", "b", "b"]}, "^identities="), ({"identities": None}, "^identities="),
    ({"names": "ab"}, "^names='ab'"), ({"names": ("a", "a")}, "^names=.*each once"), ({"names": ()}, "^names="),
    ({"names": ("a", "")}, "^names="), ({"names": (1, 2)}, "^names="), ({"names": None}, "^names=None"),
])  # fmt: skip
def test_what_is_no_unseen_is_refused_where_it_is_made(wrong, said):
    with pytest.raises(ValueError, match=said):
        Unseen(**{"images": np.zeros((4, 8, 8, 1), np.uint8), "identities": [0, 0, 1, 1], "names": ("a", "b"), **wrong})


def test_an_unseen_of_tensors_and_lists_holds_arrays_and_is_a_tuple_still(digits):
    data = lt.digits_lt()
    found = Unseen(data.test_images, data.test_targets, list(data.class_names))
    assert np.array_equal(found.images, digits.images) and found.names == digits.names
    assert found.identities.dtype == np.int64 and isinstance(found.images, np.ndarray)
    images, identities, names = pickle.loads(pickle.dumps(found))
    assert (
        np.array_equal(images, found.images) and np.array_equal(identities, found.identities) and names == found.names
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"identities": UNSEEN.identities[:-1]}, "^identities=.*60 images; there are 59"),
        ({"identities": UNSEEN.identities + 0.5}, "^identities="),
        ({"images": UNSEEN.images.astype(np.int64)}, "^images=.*these are int64"),
        ({"images": UNSEEN.images[:9], "identities": [0] * 8}, "^identities=.*9 images; there are 8"),
        ({"names": None}, "^names=None"),
        ({"names": ("a", "b")}, "^identities=.*0..1, found 2"),
        ({"name": ("a", "b")}, r"^name=.*expected one of images=, identities= or names= .did you mean 'names'"),
    ],
)
def test_what_is_no_unseen_is_refused_where_one_is_changed(changed, said):
    with pytest.raises(ValueError, match=said):
        UNSEEN._replace(**changed)
    fewer = UNSEEN._replace(images=UNSEEN.images[:20], identities=UNSEEN.identities[:20].tolist())
    assert isinstance(fewer, Unseen) and fewer.identities.tolist() == [0] * 10 + [1] * 10
    assert fewer.identities.dtype == np.int64 and fewer.names == UNSEEN.names
    assert all(np.array_equal(one, other) for one, other in zip(Unseen._make(UNSEEN), UNSEEN, strict=True))
    for wrong in (3, UNSEEN[:2], (*UNSEEN, 1)):
        with pytest.raises(ValueError, match="^fields=.*: expected images, identities and names"):
            Unseen._make(wrong)


# -------------------------------------------------------------------------------------------------- the recorded table
def table(**values: list[float]) -> pandas.DataFrame:
    lines = [
        {"row": row, "training": "long-tailed", "seed": seed, "map": value}
        for row, several in values.items() for seed, value in enumerate(several)
    ]  # fmt: skip
    return pandas.DataFrame(lines)


def test_rows_are_compared_with_the_plain_network_seed_by_seed():
    found = compare(table(Softmax=[0.40, 0.44, 0.42], Dual=[0.43, 0.46, 0.46], Few=[0.5, 0.5])).droplevel("training")
    assert found["mean"].to_dict() == pytest.approx({"Softmax": 0.42, "Dual": 0.45, "Few": 0.5})
    expected = metrics.paired([0.43, 0.46, 0.46], [0.40, 0.44, 0.42])
    dual = found.loc["Dual"]
    assert (dual["difference"], dual["low"], dual["high"]) == pytest.approx((0.03, *expected.interval))
    assert dual["verdict"] == expected.verdict and dual["seeds"] == 3
    assert found.loc["Softmax", "half"] == pytest.approx(0.02 / 3**0.5 * 4.30265, rel=1e-4)
    assert found.loc["Few", "difference"] == pytest.approx(0.08), "of the seeds that both have"
    assert np.isnan(found.loc["Softmax", "difference"])


def test_a_row_without_a_seed_of_the_plain_network_has_no_difference():
    one = pandas.concat([table(Softmax=[0.4]), table(Dual=[0.5, 0.6]).iloc[1:]])
    found = compare(one).droplevel("training")
    assert found.loc["Dual", "mean"] == 0.6 and np.isnan(found.loc["Dual", "difference"])


@pytest.mark.parametrize("wrong, said", [
    ((table(Softmax=[0.4]), "rank1"), "table=.*columns row, training, seed, rank1"), ((None, "map"), "table=None"),
    ((table(Softmax=[0.4]), "rank2"), "metric='rank2'"), ((table(Dual=[0.4]), "map"), "no row 'Softmax'"),
])  # fmt: skip
def test_other_tables_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        compare(*wrong)


def test_the_record_holds_the_fifteen_rows_of_the_slides():
    found = recorded()
    printed = published.published("Manga109")
    assert set(found["row"]) == set(printed["method"]) == set(tool.ROWS)
    by_name = printed.drop_duplicates("method").set_index("method")["key"]
    for row in found.drop_duplicates("row").itertuples():
        assert row.method == by_name[row.row] and set(json.loads(row.settings)) <= set(METHODS[row.method].settings)
    assert not found.duplicated(["row", "training", "seed"]).any() and set(found["training"]) == set(tool.TRAINING)
    shares = found[["accuracy", "rank1", "rank5", "map", "verification"]]
    assert ((shares > 0) & (shares < 1)).all().all() and (found["rank5"] >= found["rank1"]).all()
    assert found.groupby(["row", "training"]).size().min() >= 3 and list(found.columns) == list(tool.COLUMNS)


def test_a_missing_record_says_how_it_is_made(tmp_path):
    with pytest.raises(FileNotFoundError, match="tools.recognition"):
        recorded(tmp_path / "none.csv")
    (tmp_path / "bad.csv").write_bytes(b"")
    with pytest.raises(RunFileError, match="bad.csv: not a table as it was recorded .*tools.recognition"):
        recorded(tmp_path / "bad.csv")
    for column in ("seed", "map"):
        with pytest.raises(ValueError, match=f"^table=.*: expected numbers in the column '{column}'"):
            compare(recorded().assign(**{column: "x"}))


# -------------------------------------------------------------------------------------------------------- the recorder
def task(**changes):
    given = {"row": "Softmax", "training": "long-tailed", "seed": 0, "root": None, "known": frozenset(), "until": 1e18}
    return tool.Task(**given | changes)


@pytest.fixture
def digits_for_omniglot(monkeypatch, digits):
    """The recorder on digits: a recipe of an epoch, and the test images as what was never trained on."""
    data = lt.digits_lt()
    data.unseen = digits
    monkeypatch.setattr(tool, "_data", lambda task: data)
    monkeypatch.setitem(lt.RECIPES, "omniglot", dataclasses.replace(lt.RECIPES["digits"], epochs=1))


def test_a_run_is_recorded_and_not_done_again(digits_for_omniglot, tmp_path):
    row = tool.record(task(row="CB-Focal"))
    assert set(row) == set(tool.COLUMNS) and row["method"] == "class_balanced" and row["drawings"] == 314
    assert json.loads(row["settings"]) == {"loss": "focal"} and 0.1 < row["rank1"] <= row["rank5"] < 1
    assert tool.record(task(row="CB-Focal", known=frozenset([row["run"]]))) is None
    assert tool.record(task(until=0.0)) is None, "no time left"
    file = tmp_path / "new" / "recognition.csv"
    tool.keep(file, [row])
    later = {**row, "rank1": 0.5, "run": "another"}
    tool.keep(file, [*tool.read(file), {**row, "row": "Softmax"}, later])
    kept = tool.read(file)
    assert [one["row"] for one in kept] == ["Softmax", "CB-Focal"], "in the order of the slides"
    assert kept[1]["rank1"] == 0.5 and kept[1]["run"] == "another", "the later one of two"


def test_the_grid_is_every_row_and_the_plain_network_on_balanced_parts_seed_by_seed():
    found = tool.tasks(2, list(tool.ROWS), root=None, known=frozenset(), until=1e18)
    assert len(found) == 2 * 17 and [one.seed for one in found] == [0] * 17 + [1] * 17
    assert {one.training for one in found if one.row != "Softmax"} == {"long-tailed"}


def test_the_command_prints_the_table_that_is_there(capsys, tmp_path):
    lines = [dict.fromkeys(tool.COLUMNS, 0.5) | {"row": row, "training": "long-tailed", "seed": seed}
             for row in ("Softmax", "Dual Loss") for seed in (0, 1)]  # fmt: skip
    tool.keep(tmp_path / "some.csv", lines)
    assert tool.main(["--table", "--file", str(tmp_path / "some.csv")]) == 0
    printed = capsys.readouterr().out
    assert printed.count("Dual Loss") == 4 and "verification" in printed
    assert recognition.RECORDED.name == "recognition.csv"
