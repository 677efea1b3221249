"""Tables: rows of numbers, of numpy, torch and pandas, as long-tailed data."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_breast_cancer, make_classification

import ltviz as lt
from ltviz.plots.series import series_of


def rows(n=(60, 20, 8), d=4, seed=0):
    """Rows (n, d) of several classes, the last column an own number of each row; targets (n,)."""
    y = np.repeat(np.arange(len(n)), n)
    x = np.random.default_rng(seed).normal(size=(len(y), d)) + y[:, None]
    x[:, -1] = np.arange(len(y))
    return x, y


def frame(n=40):
    rng = np.random.default_rng(0)
    return pd.DataFrame({
        "amount": rng.normal(100, 20, n), "night": rng.random(n) < 0.3, "items": rng.integers(1, 9, n),
        "country": rng.choice(["NL", "DE", "FR"], n),
        "card": pd.Categorical(["gold", "plain"] * (n // 2), ["plain", "gold", "black"]),
        "fraud": ["no"] * (n - 10) + ["yes"] * 10,
    })  # fmt: skip


def original(data, part=""):
    """The own number of each row (see `rows`), from what is stored."""
    stored = getattr(data, f"{part}images")[:, 0, -1, 0].double().numpy()
    return np.round(stored / data.scaling.factor[-1] + data.scaling.mean[-1]).astype(int).tolist()


# --- the parts -------------------------------------------------------------------------------------------------------
def test_every_row_is_in_one_part_with_its_own_label():
    x, y = rows()
    data = lt.table_lt(x, y, seed=3)
    parts = {part: original(data, part) for part in ("", "val_", "test_")}
    assert sorted(sum(parts.values(), [])) == list(range(88))
    for part, found in parts.items():
        assert getattr(data, f"{part}targets").tolist() == y[found].tolist()
    # a quarter and 15% of 60, 20 and 8 rows
    assert torch.bincount(data.test_targets).tolist() == [15, 5, 2]
    assert torch.bincount(data.val_targets).tolist() == [9, 3, 1]
    assert data.counts.tolist() == [36, 12, 5] and data.shape == (1, 1, 4)
    assert data.test_targets[:3].tolist() == [0, 1, 2]


def test_class_0_is_the_most_frequent_whatever_it_is_called():
    x, y = rows()
    data = lt.table_lt(x, np.array(["rare", "often", "mid"])[[1, 2, 0]][y])
    assert data.class_names == ("often", "mid", "rare") and data.counts.tolist() == [36, 12, 5]
    for labels in (y == 2, np.where(y == 2, 1, -1), np.where(y == 2, 7, 3), (y == 2)[:, None] + 1):
        two = lt.table_lt(x, labels)
        assert two.counts.tolist() == [48, 5] and len(two.class_names) == 2
    assert lt.table_lt(x, np.where(y == 2, 1, -1)).class_names == ("-1", "1")
    assert lt.table_lt(x, y == 2, class_names=["fine", "fraud"]).class_names == ("fine", "fraud")
    assert lt.table_lt(x, np.eye(3)[y]).counts.tolist() == [36, 12, 5]


def test_a_part_of_a_class_is_never_empty_and_numbers_are_rows_of_each_class():
    x, y = rows((50, 3))
    assert torch.bincount(lt.table_lt(x, y).test_targets).tolist() == [12, 1]
    data = lt.table_lt(x, y, test=1, validation=0)
    assert torch.bincount(data.test_targets).tolist() == [1, 1] and not data.has_validation
    with pytest.raises(ValueError, match=r"class '1' has 3 rows, of which test=2, validation=1 leave none to train on"):
        lt.table_lt(x, y, test=2, validation=1)


def test_rounding_may_turn_the_order_of_classes_of_nearly_one_size():
    x, y = rows((9, 5, 4))  # of 5 rows, 2 and 2 are held out, of 4 rows 1 and 1
    data = lt.table_lt(x, y, test=0.3, validation=0.3)
    assert data.counts.tolist() == [3, 2, 1] and data.class_names == ("0", "2", "1")
    assert data.targets.tolist() == [{0: 0, 2: 1, 1: 2}[y[i]] for i in original(data)]


def test_parts_of_the_readers_own_stay_what_they_are():
    x, y = rows()
    data = lt.table_lt(x[::2], y[::2], test=(x[1::2], y[1::2]), validation=0.2, seed=1)
    assert sorted(original(data, "test_")) == list(range(1, 88, 2))
    with pytest.warns(UserWarning, match="features: 5 of 9 validation rows also stand among the training rows"):
        both = lt.table_lt(x[::2], y[::2], test=(x[1::2], y[1::2]), validation=(x[:9], y[:9]))
    assert sorted(original(both, "val_")) == list(range(9)) and both.counts.tolist() == [30, 10, 4]
    again = data.with_seed(2)
    assert again.test_targets.tolist() == data.test_targets.tolist()
    assert sorted(original(again, "test_")) == list(range(1, 88, 2))
    assert sorted(original(again, "val_")) != sorted(original(data, "val_"))


def test_another_seed_splits_anew_and_the_same_seed_alike():
    x, y = rows()
    data = lt.table_lt(x, y, seed=1)
    again, other = lt.table_lt(x, y, seed=1), data.with_seed(2)
    assert again.fingerprint == data.fingerprint == other.with_seed(1).fingerprint
    assert other.fingerprint == lt.table_lt(x, y, seed=2).fingerprint != data.fingerprint
    assert other.counts.tolist() == data.counts.tolist() and other.spec["seed"] == 2
    assert pickle.loads(pickle.dumps(data)).fingerprint == data.fingerprint
    data.images[0] += 1
    with pytest.raises(ValueError, match="images or targets differ from what table_lt makes"):
        data.with_seed(3)


def test_a_long_tail_is_cut_out_and_nested():
    x, y = rows((60, 60, 60))
    full, cut = lt.table_lt(x, y), lt.table_lt(x, y, ratio=6)
    assert full.counts.tolist() == [36, 36, 36] and cut.counts.tolist() == [36, 14, 6]
    assert set(original(cut)) < set(original(full)) and cut.test_targets.tolist() == full.test_targets.tolist()
    assert lt.table_lt(x, y, ratio=6, n_max=12, profile="step").counts.tolist() == [12, 2, 2]


# --- scale -----------------------------------------------------------------------------------------------------------
def test_columns_are_standardised_by_the_training_rows_alone():
    x, y = rows((300, 100))
    data = lt.table_lt(x, y)
    train = data.batch(slice(None)).flatten(1).double()
    assert train.mean(0).abs().max() < 1e-6 and (train.std(0, correction=0) - 1).abs().max() < 1e-5
    assert data.test_batch().flatten(1).mean(0).abs().max() > 1e-3
    of = original(data)
    np.testing.assert_allclose(train.numpy()[:, 1], (x[of, 1] - x[of, 1].mean()) / x[of, 1].std(), atol=1e-6)
    far = x.copy()
    far[original(data, "test_"), 0] += 1e6  # what the test rows are changes nothing of the training rows
    assert torch.equal(lt.table_lt(far, y).images, data.images)
    raw = lt.table_lt(x, y, standardise=False)
    np.testing.assert_array_equal(raw.images[:, 0, :, 0].numpy(), x[of].astype(np.float32))
    np.testing.assert_allclose(raw.batch([2, 0]).flatten(1).numpy(), x[of][[2, 0]], rtol=2e-7)


def test_a_batch_is_a_copy_and_the_store_stays_as_it_is():
    data = lt.table_lt(*rows())
    before = data.images.clone()
    data.batch(slice(0, 5)).mul_(0)
    data.batch(torch.tensor([1, 2])).mul_(0)
    data.test_batch().mul_(0)
    assert torch.equal(data.images, before) and data.batch(slice(0, 5)).abs().max() > 0


def test_far_numbers_keep_their_digits_and_constant_columns_become_zero():
    x, y = rows((300, 100))
    x[:, 0] = 1.7e9 + np.arange(400)  # seconds since 1970: of them, float32 keeps two minutes
    x[:, 1] = 0.1
    data = lt.table_lt(x, y)
    of = original(data)
    expected = (x[of, 0] - x[of, 0].mean()) / x[of, 0].std()
    np.testing.assert_allclose(data.images[:, 0, 0, 0].numpy(), expected, atol=1e-5)
    assert data.images[:, 0, 1].abs().max() == 0
    x[original(data, "test_")[0], 1] = 1e9  # unseen in training, so nothing is known of it
    assert lt.table_lt(x, y).test_images[:, 0, 1].abs().max() == 0


@pytest.mark.parametrize("unit", [1e200, 1e-200, 1e290, -1e-290, 2.0**1000])
def test_the_unit_of_a_column_changes_nothing(unit):
    x, y = rows((300, 100))
    expected = lt.table_lt(x, y).images * np.sign(unit)
    np.testing.assert_allclose(lt.table_lt(x * unit, y).images, expected, rtol=1e-6, atol=1e-6)


# --- pandas and torch ------------------------------------------------------------------------------------------------
def test_a_frame_with_the_labels_in_a_column():
    table = frame()
    data = lt.table_lt(table, "fraud", seed=1)
    assert data.class_names == ("no", "yes") and data.counts.tolist() == [18, 6]
    columns = [
        "amount",
        "night",
        "items",
        "country=DE",
        "country=FR",
        "country=NL",
        "card=plain",
        "card=gold",
        "card=black",
    ]
    assert data.columns == columns == data.spec["columns"]
    raw = lt.table_lt(table, "fraud", standardise=False)
    whole = raw.encode(table.drop(columns="fraud"))[:, 0, :, 0]
    np.testing.assert_allclose(whole[:, 0], table["amount"], rtol=1e-6)
    np.testing.assert_array_equal(whole[:, 1], table["night"])
    for country in ("DE", "FR", "NL"):
        np.testing.assert_array_equal(whole[:, columns.index(f"country={country}")], table["country"] == country)
    np.testing.assert_array_equal(whole[:, 6:].argmax(1), [1, 0] * 20)
    assert "9 columns in 2 classes, 18 to 6" in repr(data)


def test_numpy_torch_pandas_and_lists_are_the_same_data():
    x, y = rows()
    x = x.astype(np.float32)
    prints = {
        lt.table_lt(a, b).fingerprint
        for a, b in [(x, y), (torch.tensor(x), torch.tensor(y)), (x.tolist(), y.tolist()),
                     (pd.DataFrame(x), pd.Series(y)), (x.astype(np.float64), y.astype(np.uint8)),
                     (torch.tensor(x, requires_grad=True), y)]
    }  # fmt: skip
    assert len(prints) == 1
    table = pd.DataFrame(x, columns=list("abcd")).assign(y=y)
    assert lt.table_lt(table, "y").fingerprint in prints and lt.table_lt(table, "y").columns == list("abcd")
    assert lt.table_lt(x, y, columns=list("abcd")).columns == list("abcd")


def test_other_rows_are_encoded_as_the_training_rows_were():
    table = frame()
    data = lt.table_lt(table, "fraud")
    shuffled = table[["card", "items", "amount", "country", "night"]]  # by name, in any order
    np.testing.assert_array_equal(data.encode(shuffled), data.encode(table))
    strange = table.assign(country="US")
    with pytest.raises(ValueError, match="features: column 'country' holds 'US', which is none of the categories"):
        data.encode(strange)
    data = lt.table_lt(table, "fraud", missing="fill")
    zeros = (0 - data.scaling.mean[3:6]) * data.scaling.factor[3:6]
    np.testing.assert_allclose(data.encode(strange)[:, 0, 3:6, 0], np.tile(zeros, (40, 1)), atol=1e-6)
    run = lt.train("ce", data, epochs=2, progress=False)
    again = run.predict(data.encode(table))
    assert len(again.classes) == 40 and set(again.names) <= {"no", "yes"}
    np.testing.assert_array_equal(run.predict(shuffled).logits, again.logits)
    stored = run.predict(data.test_images.numpy())
    np.testing.assert_allclose(stored.logits, run.logits, atol=1e-5)


def test_missing_values_are_refused_by_name_or_filled_in_by_the_training_rows():
    table = frame()
    table.loc[[0, 5], "amount"] = np.nan
    table.loc[3, "country"] = None
    with pytest.raises(ValueError, match=r"features: missing values in 'amount' \(2\), 'country' \(1\); leave these"):
        lt.table_lt(table, "fraud")
    data = lt.table_lt(table, "fraud", missing="fill", standardise=False)
    filled = data.encode(table)[:, 0, :, 0]
    train = data.images[:, 0, 0, 0].numpy()
    assert filled[0, 0] == filled[5, 0] == np.float32(data.scaling.fill[0]) and filled[3, 3:6].tolist() == [0, 0, 0]
    assert abs(np.median(train) - filled[0, 0]) < 5
    x, y = rows()
    x[2, 1] = np.nan
    with pytest.raises(ValueError, match=r"missing values in '1' \(1\)"):
        lt.table_lt(x, y)
    clean = lt.table_lt(frame(), "fraud")
    with pytest.raises(ValueError, match="missing values in 'amount'"):
        clean.encode(table)
    nullable = table.assign(amount=table["amount"].astype("Float64"), items=table["items"].astype("Int64"))
    other = lt.table_lt(nullable, "fraud", missing="fill", standardise=False)
    assert torch.equal(other.images, data.images)


def test_a_run_encodes_the_rows_that_it_is_asked_about(tmp_path):
    rng, y = np.random.default_rng(0), np.arange(200) % 4 == 0
    table = pd.DataFrame({"amount": rng.normal(5000, 300, 200) + 900 * y, "country": rng.choice(["NL", "DE"], 200)})
    data = lt.table_lt(table, y, seed=3)
    run = lt.train("ce", data, epochs=5, progress=False)
    kept = lt.load_run(run.save(tmp_path))
    expected = run.predict(data.encode(table))
    for one in (run, kept):
        np.testing.assert_array_equal(one.predict(table[["country", "amount"]]).logits, expected.logits)
        np.testing.assert_array_equal(one.predict(table.iloc[:1]).logits.argmax(1), expected.classes[:1])
        with pytest.raises(ValueError, match="images: expected the columns amount, country; it lacks 'amount'"):
            one.predict(table[["country"]])
        with pytest.raises(ValueError, match="images: column 'country' holds 'US'"):
            one.predict(table.assign(country="US"))
    raw = table.assign(DE=table["country"] == "DE", NL=table["country"] == "NL").drop(columns="country")
    with pytest.warns(UserWarning, match=r"images: up to .* in column 'amount', where training rows reach") as found:
        run.predict(raw.to_numpy(np.float64))
    assert found[0].filename == __file__
    scaled = data.encode(table)
    scaled[7, 0, 0] = 90.0  # an outlier is no sign of missing scaling
    run.predict(scaled)
    plain = lt.train("ce", lt.table_lt(*rows(), standardise=False), epochs=1, progress=False)
    plain.predict(np.full((2, 4), 50.0))  # no scale to be far from
    old = lt.load_run(run.save(tmp_path))
    del old.data["encoder"]
    with pytest.raises(ValueError, match=r"images=<DataFrame of shape \(200, 2\)>: expected rows from data.encode"):
        old.predict(table)


def test_a_rare_category_is_not_taken_for_an_unscaled_row():
    table = pd.DataFrame({"x": np.random.default_rng(0).normal(size=2000), "kind": ["a"] * 1996 + ["b"] * 4})
    data = lt.table_lt(table, np.arange(2000) % 2 == 0, test=500, validation=0, seed=2)
    assert data.encoder.reach[2] > 20  # one or more rows of "b" are in training
    run = lt.train("ce", data, epochs=1, progress=False)
    run.predict(data.encode(table))


def test_seeds_of_one_table_are_one_series():
    data = lt.table_lt(*rows())
    runs = lt.sweep("ce", data, seeds=2, epochs=1, progress=False)
    assert runs[0].data["encoder"] != runs[1].data["encoder"]
    assert [one.name for one in series_of(runs)] == ["ce"]


# --- what would mislead ----------------------------------------------------------------------------------------------
def test_labels_among_the_features_are_told_of():
    table = frame()
    with pytest.raises(ValueError, match="targets: they are the column 'fraud' of features, .*pass targets='fraud'"):
        lt.table_lt(table, table["fraud"])
    lt.table_lt(table, (table["amount"] > 100).rename("fraud"))  # of that name, but others
    for same in (table["fraud"], table["fraud"] == "yes", (table["fraud"] == "yes") * 7.5):
        with pytest.warns(UserWarning, match="features: column 'same' tells the class of every row"):
            lt.table_lt(table.assign(same=same), "fraud")
    x, y = rows()
    with pytest.warns(UserWarning, match="column '4' tells the class of every row"):
        lt.table_lt(np.column_stack([x, 3.0 - y]), y)
    lt.table_lt(np.column_stack([x, y == 1]), y)  # of three classes, it tells one


def test_copies_in_two_parts_are_counted():
    x, y = rows((40, 40))
    x[1:40:2] = x[0:40:2]  # twenty rows of the first class, twice each
    with pytest.warns(UserWarning, match="also stand among the training rows") as found:
        data = lt.table_lt(x, y)
    train = set(map(tuple, data.images.flatten(1).tolist()))
    n, m = (sum(row in train for row in map(tuple, part.flatten(1).tolist()))
            for part in (data.test_images, data.val_images))  # fmt: skip
    assert n and m and str(found[0].message).startswith(f"features: {n} of 20 test rows and {m} of 12 validation rows")


# --- training --------------------------------------------------------------------------------------------------------
def test_fraud_one_in_a_thousand():
    """scikit-learn's generator: plain cross-entropy ranks the rare class well and hardly ever answers it."""
    x, y = make_classification(
        20_000, 10, n_informative=5, n_redundant=2, weights=[0.999], flip_y=0, class_sep=1.5, random_state=4
    )
    data = lt.table_lt(x, y)
    assert data.counts.tolist() == [11988, 12] and data.ratio == 999
    assert torch.bincount(data.test_targets).tolist() == [4995, 5]
    run = lt.train("ce", data, epochs=15, progress=False)
    assert run.recipe["name"] == "table_many" and run.recipe["model"] == "mlp"
    assert lt.metrics.auroc(run) > 0.9 and lt.metrics.average_precision(run) > 20 * 0.001
    adjusted = lt.train("logit_adjustment", data, epochs=15, progress=False)
    assert adjusted.per_class[1] > run.per_class[1]
    assert set(lt.metrics.shot_accuracy(run)) and lt.metrics.shot_accuracy(run)["tail"] == run.per_class[1]


def test_a_real_table_cut_to_an_imbalance():
    """Breast cancer Wisconsin (diagnostic), 569 real rows of 30 measurements that ship with scikit-learn."""
    bunch = load_breast_cancer(as_frame=True)
    data = lt.table_lt(bunch.data, bunch.target, class_names=bunch.target_names, ratio=30)
    assert data.class_names == ("benign", "malignant") and data.counts.tolist() == [214, 7]
    assert data.columns[:2] == ["mean radius", "mean texture"]
    run = lt.train("ce", data, progress=False)
    assert lt.metrics.auroc(run) > 0.95 and run.per_class[0] > 0.97
    again = lt.train("ce", data, progress=False)
    assert run.recipe["name"] == "table" and again.id == run.id and np.array_equal(again.logits, run.logits)
    assert "table_lt" not in run.provenance["command"] and run.provenance["command"].startswith("lt.train('ce', data,")


def test_worker_processes_train_a_table_as_one_process_does():
    x, y = rows()
    data = lt.table_lt(x, y)
    found = lt.train_many("ce", data, seeds=2, epochs=2, progress=False)
    alone = [lt.train("ce", data.with_seed(seed), seed=seed, epochs=2, progress=False) for seed in (0, 1)]
    assert [run.id for run in found] == [run.id for run in alone]
    assert all(np.array_equal(one.logits, other.logits) for one, other in zip(found, alone, strict=True))


def test_seeds_of_a_table(tmp_path):
    data = lt.table_lt(*rows())
    runs = lt.sweep(["ce", "focal"], data, seeds=2, epochs=2, folder=tmp_path, progress=False)
    assert [(run.method, run.seed) for run in runs] == [("ce", 0), ("ce", 1), ("focal", 0), ("focal", 1)]
    assert runs[0].data["fingerprint"] == data.fingerprint != runs[1].data["fingerprint"]
    assert lt.load_run(next(tmp_path.glob("*.safetensors"))).data["loader"] == "table_lt"
    with pytest.raises(ValueError, match="a table is made of your own rows"):
        lt.datasets.load(data.spec)


def test_on_every_device(device):
    data = lt.table_lt(*rows())
    run = lt.train("logit_adjusted", data, device=device, progress=False)
    assert run.status == "finished" and run.per_class.min() > 0.5
    assert (run.predict(data.encode(rows()[0])).classes == rows()[1]).mean() > 0.9
    with torch.no_grad():
        answers = run.model()(data.test_batch()).argmax(1).numpy()
    np.testing.assert_array_equal(answers, run.logits.argmax(1))


# --- errors ----------------------------------------------------------------------------------------------------------
def with_column(values):
    return frame().assign(odd=values)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda x, y: lt.table_lt(x[:, 0], y), r"features=<ndarray of shape \(88,\)>: .*features\[:, None\]"),
        (lambda x, y: lt.table_lt(x, y[:-1]), "targets: expected a label for each of the 88 rows of features, got 87"),
        (lambda x, y: lt.table_lt(x, None), "targets=None"),
        (lambda x, y: lt.table_lt(x, "fraud"), "targets='fraud': .*needs a DataFrame"),
        (lambda x, y: lt.table_lt(x, y * 0), "at least two classes"),
        (lambda x, y: lt.table_lt(x, y + 0.5), "targets: .*whole numbers"),
        (lambda x, y: lt.table_lt(x, y, class_names=["a", "b"]), "targets"),
        (lambda x, y: lt.table_lt(x, y, class_names=["a", "b", "c", "d"]), "no row of class 'd'"),
        (lambda x, y: lt.table_lt(x.astype(complex), y), "features=.*expected numbers"),
        (lambda x, y: lt.table_lt(x.astype(str), y), "features=.*need a DataFrame"),
        (lambda x, y: lt.table_lt({"a": x[:, 0]}, y), r"features=.*DataFrame\(...\) of it"),
        (lambda x, y: lt.table_lt(x[:, :0], y), "features="),
        (lambda x, y: lt.table_lt(frame().iloc[:0], "fraud"), "features=.*a row for each label"),
        (lambda x, y: lt.table_lt(x, y, columns=["a"]), "columns=.*4 different names"),
        (lambda x, y: lt.table_lt(frame(), "fraud", columns=["a"]), "columns=.*None beside a DataFrame"),
        (lambda x, y: lt.table_lt(frame(), "fruad"), r"targets='fruad': .*did you mean 'fraud'\?"),
        (lambda x, y: lt.table_lt(np.where(x > 3, np.inf, x), y), "infinity in columns '0', '2', '3'; replace it"),
        (lambda x, y: lt.table_lt(x * 1e300, y, standardise=False), "beyond float32 in column.*; scale them down"),
        (lambda x, y: lt.table_lt(x, y, ratio=0.5), "ratio=0.5"),
        (lambda x, y: lt.table_lt(x, y, n_max=5), "ratio=None keeps all rows"),
        (lambda x, y: lt.table_lt(x, y, test=0), "test=0 leaves nothing to test on"),
        (lambda x, y: lt.table_lt(x, y, test=1.5), "test=1.5: expected a share below 1"),
        (lambda x, y: lt.table_lt(x, y, test=True), "test=True: expected a share below 1"),
        (lambda x, y: lt.table_lt(x, y, test=1.0), r"test=1.0: expected a share below 1, a whole number of rows"),
        (lambda x, y: lt.table_lt(x, y, validation=np.float32(1)), r"validation=.*1.0.*: expected a share below 1"),
        (lambda x, y: lt.table_lt(x[[0, 1, 60, *range(80, 88)]], y[[0, 1, 60, *range(80, 88)]], test=1, validation=1),
         r"classes '0' \(2 rows\), '1' \(1 row\) have so few rows that test=1, validation=1 leave none to train on"),
        (lambda x, y: lt.table_lt(x, {"a": 1}), "targets=.*expected a label for each row"),
        (lambda x, y: lt.table_lt(frame().assign(**{"card=gold": 1.0}), "fraud"), "'card=gold' stands beside one"),
        (lambda x, y: lt.table_lt(pd.concat({"a": frame()}, axis=1), ("a", "fraud")), "names on 2 levels; join them"),
        (lambda x, y: lt.table_lt(x * 1e-200, y, standardise=False), "so small in columns '0'.*; scale them up"),
        (lambda x, y: lt.table_lt(x, y, validation=-0.1), "validation=-0.1"),
        (lambda x, y: lt.table_lt(x, y, test=(x, y, y)), "test=.*a pair"),
        (
            lambda x, y: lt.table_lt(x, y, test=(x[:, :2], y)),
            r"test=<ndarray of shape \(88, 2\)>: expected the 4 columns",
        ),
        (lambda x, y: lt.table_lt(x, y, test=(x, y + 1)), "test: 3 is no class"),
        (lambda x, y: lt.table_lt(x, y, missing="drop"), "missing='drop': expected one of 'refuse', 'fill'"),
        (lambda x, y: lt.table_lt(x, y, standardise=1), "standardise=1: expected True or False"),
        (lambda x, y: lt.table_lt(x, y, seed=-1), "seed=-1"),
        (
            lambda x, y: lt.table_lt(with_column(pd.date_range("2020", periods=40)), "fraud"),
            "column 'odd' holds datetime",
        ),
        (lambda x, y: lt.table_lt(with_column([1, "a"] * 20), "fraud"), "column 'odd' holds 1 beside other kinds"),
        (lambda x, y: lt.table_lt(with_column([None] * 40), "fraud"), "column 'odd' holds no value"),
        (
            lambda x, y: lt.table_lt(with_column(np.full(40, np.nan)), "fraud", missing="fill"),
            "no training row has a value in",
        ),
        (
            lambda x, y: lt.table_lt(with_column([f"id{i}" for i in range(40)]), "fraud").encode(frame()),
            "it lacks 'odd'",
        ),
        (lambda x, y: lt.table_lt(pd.DataFrame({"id": map(str, range(200))}), [0, 1] * 100), "200 different texts"),
        (lambda x, y: lt.table_lt(pd.DataFrame(x, columns=list("aabc")), y), "'a' twice"),
        (
            lambda x, y: lt.table_lt(pd.DataFrame(x), pd.Series(y)[::-1]),
            "their index differs from that of the features",
        ),
        (lambda x, y: lt.table_lt(frame(), "fraud").encode(x), "some of them are categories, so pass a DataFrame"),
        (
            lambda x, y: lt.table_lt(frame(), "fraud").encode(frame().assign(amount="a")),
            "'amount' holds .*expected numbers",
        ),
        (lambda x, y: lt.train("ce", lt.table_lt(x, y), model="cnn"), "at least 4 x 4 pixels"),
        (lambda x, y: lt.train("ce", lt.table_lt(x, y), model="resnet8"), "4 x 4 pixels.* use 'mlp', also for a table"),
        (lambda x, y: lt.train("ce", lt.table_lt(x, y), model="torchvision:resnet18"), "at least 4 x 4 pixels"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_by_name(call, says):
    with pytest.raises(ValueError, match=says):
        call(*rows())


def people_aged(values):
    """480 rows with a number and this column, its values in turn."""
    n = 480
    column = [values[i % len(values)] for i in range(n)]
    return pd.DataFrame({"x": np.arange(n) / n, "age": column}), (np.arange(n) % 12 == 0).astype(int)


@pytest.mark.parametrize(("values", "words"), [
    ([*map(str, range(18, 80)), "unknown"], "63 columns.*62 of them are numbers.*others are 'unknown'.*to_numeric"),
    (["12,5", "3,25", "8,0"], "3 of them are numbers written as text: make it a number .replace the decimal comma"),
    (["1.5", "2.5", "4"], "3 of them are numbers written as text"),
])  # fmt: skip
def test_numbers_that_are_written_as_text_are_told(values, words):
    frame, y = people_aged(values)
    with pytest.warns(UserWarning, match=f"column 'age'.*{words}"):
        lt.table_lt(frame, y)
    frame["age"] = frame["age"].astype("category")
    assert len(lt.table_lt(frame, y).encoder.columns.encoded) == 1 + len(values), "said to be categories"


def test_too_many_different_texts_that_are_numbers_are_told_too():
    frame, y = people_aged([f"{i},50" for i in range(200)])
    with pytest.raises(ValueError, match="200 different texts.*decimal comma"):
        lt.table_lt(frame, y)


@pytest.mark.parametrize("values", [["1", "2", "30"], ["a", "b", "3"], ["S", "M", "38"], ["red", "blue"]])
def test_whole_codes_and_names_are_categories_without_a_word(values):
    frame, y = people_aged(values)
    assert len(lt.table_lt(frame, y).encoder.columns.encoded) == 1 + len(values)
