"""Answers as a run: from arrays, tables and files; the right numbers, and a refusal of what cannot be meant."""

import warnings
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch

import ltviz as lt
from ltviz import metrics
from ltviz.predictions import from_predictions
from ltviz.run import load_run

# Where counts are not the matter, they are left to the targets, which a test of its own hears said.
pytestmark = pytest.mark.filterwarnings("ignore:counts. taken from the targets")
NAMES = ["cat", "dog", "ant"]
RNG = np.random.default_rng(0)
Y = np.concatenate([[0, 1, 2], RNG.integers(0, 3, 27)])
F = RNG.normal(size=(30, 4)).astype(np.float32)
W, B = RNG.normal(size=(3, 4)).astype(np.float32), np.array([0.5, -1.0, 0.2], np.float32)
Z = F @ W.T + B
P = np.exp(Z.astype(float)) / np.exp(Z.astype(float)).sum(1, keepdims=True)
WORDS = np.array(NAMES)[Y]
ANSWERS = np.array(NAMES)[Z.argmax(1)]


@pytest.fixture
def table():
    frame = pd.DataFrame(P, columns=[f"p_{name}" for name in NAMES])
    return frame.assign(label=WORDS, answer=ANSWERS, number=Y, f0=F[:, 0], f1=F[:, 1], f2=F[:, 2], f3=F[:, 3])


def test_logits_give_the_run_that_they_are():
    run = from_predictions(Y, Z, counts=[9, 5, 2], features=F, head_weight=W, head_bias=B, seed=3, name="mine")
    np.testing.assert_array_equal(run.logits, Z)
    np.testing.assert_array_equal(run.targets, Y)
    np.testing.assert_array_equal(run.head_weight, W)
    np.testing.assert_allclose(run.features, F, atol=1e-3)
    np.testing.assert_array_equal(run.confusion, metrics.confusion(Y, Z.argmax(1), 3))
    assert run.ece == pytest.approx(metrics.ece(P, Y), abs=1e-6) and run.counts.tolist() == [9, 5, 2]
    lengths = np.linalg.norm(F, axis=1)
    np.testing.assert_allclose(run.class_feature_norm, [lengths[Y == c].mean() for c in range(3)], rtol=1e-3)
    assert (run.seed, run.name, run.class_names) == (3, "mine", ["0", "1", "2"])
    assert repr(run) == f"mine on predictions, seed 3: test accuracy {(Z.argmax(1) == Y).mean():.1%}"


@pytest.mark.parametrize(
    "kind",
    [
        lambda a: a.tolist(),
        torch.from_numpy,
        lambda a: (
            torch.from_numpy(a).double().requires_grad_() if a.dtype.kind == "f" else torch.from_numpy(a)[:, None]
        ),
        lambda a: pd.DataFrame(a) if a.ndim == 2 else pd.Series(a),
        lambda a: a.astype(np.float64),
    ],
)
def test_arrays_of_any_kind(kind):
    plain = from_predictions(Y, Z, features=F)
    run = from_predictions(kind(Y), kind(Z), features=kind(F))
    assert run.id == plain.id and run.accuracy == plain.accuracy


def test_half_precision():
    half = [torch.from_numpy(one).bfloat16() for one in (Z, F, W)]
    run = from_predictions(Y, half[0], features=half[1], head_weight=half[2], head_bias=B)
    np.testing.assert_allclose(run.logits, Z, rtol=1e-2, atol=1e-6)


@pytest.mark.filterwarnings("ignore:probabilities. .* are 0, rounded")
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_probabilities_become_logits_by_their_logs(dtype):
    tiny = {np.float16: 2.0**-24, np.float32: 2.0**-149, np.float64: 2.0**-1074}[dtype]
    given = P.astype(dtype)
    given[0], given[1] = [1.0, 0.0, 0.0], [tiny, 0.0, 1.0]
    run = from_predictions(Y, probabilities=given)
    again = metrics.probabilities(run)
    np.testing.assert_allclose(again[2:], P[2:], atol=2e-3 if dtype == np.float16 else 1e-6)
    assert run.logits[0, 1] == pytest.approx(np.log(2.0) * np.log2(tiny), rel=1e-6)  # that of the smallest number
    assert run.logits[1, 0] == pytest.approx(run.logits[1, 1], rel=1e-6) and np.isfinite(run.logits).all()
    assert from_predictions(Y[:3], probabilities=np.eye(3, dtype=int)).logits[0].argmax() == 0


def test_zeros_that_are_rounded_numbers_are_said():
    given = np.round(np.where(P < 0.02, 0.0, P) / np.where(P < 0.02, 0.0, P).sum(1, keepdims=True), 3)
    share = f"{(given == 0).mean():.1%}".replace(".", r"\.")
    with pytest.warns(UserWarning, match=rf"^probabilities: {share} of them are 0, rounded .*\(they count as -744\)"):
        from_predictions(Y, probabilities=given, counts=[9, 5, 2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from_predictions(Y, probabilities=P, counts=[9, 5, 2])
        underflow = np.array([[1, 0, 1e-30], [0, 1, 1e-35], [1e-38, 0, 1]], np.float32)  # no rounding: a sure network
        from_predictions([0, 1, 2], probabilities=underflow, counts=[9, 5, 2])


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


COSINE = 6 * unit(F) @ unit(W).T


@pytest.mark.filterwarnings("ignore:probabilities. .* are 0, rounded")
@pytest.mark.parametrize("digits", [None, 16, 6, 2])
@pytest.mark.parametrize("z, bias, scale", [(3 * F @ W.T / 3 + B, B, None), (F @ W.T, None, None), (COSINE, None, 6.0)])
def test_a_classifier_beside_probabilities_is_compared_with_them(digits, z, bias, scale):
    p = metrics.probabilities(z)
    p = p if digits is None else p.astype(np.float16) if digits == 16 else np.round(p, digits)
    given = {"probabilities": p, "counts": [9, 5, 2], "features": F}
    if scale and digits == 2:  # the logs of rounded numbers do not tell the scale
        with pytest.raises(ValueError, match="^head_weight: W f"):
            from_predictions(Y, **given, head_weight=W)
        return
    run = from_predictions(Y, **given, head_weight=W, head_bias=bias)
    assert run.scale == (None if scale is None else pytest.approx(scale, rel=0.05))
    np.testing.assert_array_equal(run.head_weight, W)
    other = np.random.default_rng(7)
    for wrong in (
        {"head_weight": other.normal(size=W.shape), "head_bias": bias},
        {"head_weight": W[[1, 2, 0]], "head_bias": bias},
        {"head_weight": W, "head_bias": B[::-1] * 3},
        {"head_weight": W, "head_bias": bias, "features": F[::-1]},
        *([{"head_weight": W}] if bias is not None else []),
    ):
        with pytest.raises(ValueError, match=r"^head_weight: W f \+ b of these features is not what the probabilities"):
            from_predictions(Y, **given | wrong)


def test_features_or_vectors_that_are_kept_scaled_are_said():
    z = 8 * unit(F) @ W.T
    with pytest.warns(UserWarning, match="^features: the logits are those of features scaled to the length 8, so"):
        run = from_predictions(Y, z, counts=[9, 5, 2], features=F, head_weight=W)
    np.testing.assert_allclose(np.linalg.norm(run.features.astype(float), axis=1), 8, rtol=1e-3)
    np.testing.assert_array_equal(run.head_weight, W)
    with pytest.warns(
        UserWarning, match="^head_weight: the logits are those of vectors scaled to the length 5; the run"
    ):
        run = from_predictions(Y, 5 * F @ unit(W).T, counts=[9, 5, 2], features=F, head_weight=W)
    np.testing.assert_allclose(np.linalg.norm(run.head_weight, axis=1), 5, rtol=1e-5)
    np.testing.assert_allclose(run.features.astype(float), F, atol=1e-2)
    for logits, kept in ((F @ W.T, F), (COSINE, F), (z, None)):  # these keep what was given
        given = {"features": kept, "head_weight": None if kept is None else W}
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            from_predictions(Y, logits, counts=[9, 5, 2], **given)


def test_predictions_alone_give_all_that_needs_no_logits(tmp_path):
    run = from_predictions(Y, predictions=Z.argmax(1), counts=[9, 5, 2])
    full = from_predictions(Y, Z, counts=[9, 5, 2])
    np.testing.assert_array_equal(run.confusion, full.confusion)
    np.testing.assert_array_equal(run.per_class, full.per_class)
    assert run.logits is run.features is run.head_weight is None and np.isnan(run.ece)
    again = load_run(run.save(tmp_path))
    assert again.id == run.id and again.logits is None and again.counts.tolist() == [9, 5, 2]
    assert list(run.table().columns) == ["count", "precision", "recall", "f1"]
    few = from_predictions([0, 1], predictions=[1, 1], class_names=["a", "b", "c", "d"])
    assert few.confusion.shape == (4, 4)
    with pytest.warns(UserWarning, match="numbered from 1 to 3"):
        assert from_predictions(Y + 1, predictions=Z.argmax(1) + 1).class_names == ["1", "2", "3"]


# --- names, counts, labels -------------------------------------------------------------------------------------------


def test_names_come_from_wherever_they_are():
    expected = from_predictions(Y, Z, class_names=NAMES).confusion
    for arguments in (
        {"targets": WORDS, "logits": pd.DataFrame(Z, columns=NAMES)},
        {"targets": WORDS, "logits": Z, "class_names": NAMES},
        {"targets": pd.Series(Y), "logits": pd.DataFrame(Z, columns=NAMES)},
        {"targets": [bytes(word, "ascii") for word in WORDS], "logits": Z, "class_names": pd.Index(NAMES)},
        {"targets": pd.Series(WORDS, dtype="category"), "logits": Z, "class_names": np.array(NAMES)},
    ):
        run = from_predictions(**arguments)
        np.testing.assert_array_equal(run.confusion, expected)
        assert run.class_names == NAMES
    with pytest.warns(UserWarning, match="class_names: taken from the index of counts, in its order"):
        run = from_predictions(Y, Z, counts=pd.Series([9, 5, 2], index=NAMES))
    assert run.class_names == NAMES and run.counts.tolist() == [9, 5, 2]
    with pytest.warns(UserWarning, match="targets: the labels are names; their order is taken to be ant, cat, dog"):
        run = from_predictions(WORDS, Z)
    assert run.class_names == ["ant", "cat", "dog"]
    run = from_predictions(WORDS, predictions=ANSWERS)  # the order of names has no effect here
    assert run.class_names == ["ant", "cat", "dog"] and run.accuracy == (WORDS == ANSWERS).mean()


def test_counts_by_class():
    frame = pd.DataFrame(Z, columns=NAMES)
    for counts in (Counter({"dog": 5, "cat": 9}), pd.Series([5, 9], index=["dog", "cat"]), {0: 9, 1: 5.0}, [9, 5, 0]):
        assert from_predictions(WORDS, frame, counts=counts).counts.tolist() == [9, 5, 0]
    sizes = pd.Series([7, 7, 7, 4, 4]).value_counts()  # numbers by class number, sorted by size
    run = from_predictions([4, 7], predictions=[7, 7], counts=sizes, class_names=[4, 7])
    assert run.counts.tolist() == [2, 3]
    run = from_predictions(["b", "a"], predictions=["a", "a"], counts={"a": 3, "b": 2, "c": 1})  # c was never tested
    assert run.class_names == ["a", "b", "c"] and run.counts.tolist() == [3, 2, 1]


def test_without_counts_the_targets_are_counted_and_that_is_said_once():
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        run = from_predictions(Y, Z)
    assert run.counts.tolist() == np.bincount(Y).tolist()
    assert [str(one.message) for one in said] == [
        "counts: taken from the targets, whose images are judged; if the classifier was trained on others, pass "
        "counts=, the training images of each class"
    ]
    assert said[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert from_predictions(Y, Z, counts=run.counts).counts.tolist() == run.counts.tolist()


def test_columns_that_are_numbers_name_their_classes():
    """Column "2" is class 2, wherever it stands; "z1" to "z3" are the numbers of labels from 1."""
    order = [2, 0, 1]
    expected = from_predictions(Y, Z)
    for prefix in ("", "z", "logit_"):
        run = from_predictions(Y, pd.DataFrame(Z[:, order], columns=[f"{prefix}{j}" for j in order]))
        assert run.class_names == ["2", "0", "1"] and run.accuracy == expected.accuracy
    run = from_predictions(Y + 1, pd.DataFrame(Z, columns=["p1", "p2", "p3"]))
    np.testing.assert_array_equal(run.targets, Y)
    ten = pd.DataFrame(2 * np.eye(12), columns=[f"c{j}" for j in range(10, 22)])  # "c1" is not what all begin with
    with pytest.warns(UserWarning, match="so that the label 0 is the class '10'"):
        assert from_predictions(np.arange(12), ten).class_names[0] == "10"


def test_rows_without_a_label_are_left_out():
    gaps = np.where(np.arange(30) % 4 == 0, -100, Y)
    run, keep = from_predictions(gaps, Z, features=F, ignore=-100), gaps >= 0
    np.testing.assert_array_equal(run.targets, Y[keep])
    np.testing.assert_array_equal(run.logits, Z[keep])
    assert len(run.features) == keep.sum()
    words = np.where(keep, WORDS, "?")
    assert from_predictions(words, predictions=ANSWERS, ignore="?").accuracy == (WORDS == ANSWERS)[keep].mean()


# --- tables ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("separator", [None, ",", ";", "\t"])
def test_a_table(table, tmp_path, separator):
    columns = [f"p_{name}" for name in NAMES]
    if separator is not None:
        table.to_csv(tmp_path / "mine.csv", index=False, sep=separator)
        table = str(tmp_path / "mine.csv")
    run = from_predictions(
        "label", probabilities=columns, features=["f0", "f1", "f2", "f3"], table=table, counts=[9, 5, 2]
    )
    np.testing.assert_allclose(metrics.probabilities(run), P, atol=1e-6)
    np.testing.assert_array_equal(run.targets, Y)
    np.testing.assert_allclose(run.features, F, atol=2e-3)
    assert run.class_names == NAMES and run.counts.tolist() == [9, 5, 2]
    by_number = from_predictions("number", probabilities=columns, table=table)
    np.testing.assert_array_equal(by_number.targets, Y)
    answers = from_predictions("label", predictions="answer", table=table)
    assert answers.accuracy == run.accuracy and answers.logits is None


def test_na_and_none_are_names_that_classes_have(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("label,answer\nNA,NA\nNone,NA\nnan,nan\n")
    run = from_predictions("label", predictions="answer", table=path)
    assert run.class_names == ["NA", "None", "nan"] and run.accuracy == pytest.approx(2 / 3)
    path.write_text("label,answer\nNA,NA\n,NA\n")
    with pytest.raises(ValueError, match="targets: no label at position 1"):
        from_predictions("label", predictions="answer", table=path)


# --- what cannot be meant --------------------------------------------------------------------------------------------

WRONG = [
    ({"logits": P}, "logits=.*these are probabilities: pass probabilities="),
    ({"logits": np.round(P, 2)}, "these are probabilities"),
    ({"probabilities": Z}, "probabilities=.*rows .n, k. that sum to 1; row 0 sums to"),
    ({"probabilities": 100 * P}, "row 0 sums to 100, its smallest is"),
    ({"probabilities": P[:, 0]}, "probabilities=.*of two classes pass np.column_stack.*1 - p, p"),
    ({"logits": Z[:, 0]}, "logits=.*of two classes pass"),
    ({"logits": Z[:, :1]}, "logits=.*at least two classes"),
    ({"logits": np.where(Z > 1, np.nan, Z)}, "logits=.*found NaN or infinity in row"),
    ({"logits": Z.astype(float) * 1e39}, "logits=.*within what float32 holds"),
    ({"logits": "abc"}, "logits='abc'"),
    ({"logits": 3}, "logits=3"),
    ({}, "expected exactly one of them, got none"),
    ({"logits": Z, "probabilities": P}, "expected exactly one of them, got logits, probabilities"),
    ({"logits": Z[:-1]}, "logits: expected as many rows as targets, got 29 and 30"),
    ({"logits": Z, "features": F[1:]}, "features: expected as many rows"),
    ({"logits": Z, "features": F[:, 0]}, "features=.*.n, d."),
    ({"predictions": Z}, "predictions: .*not one-hot; .*argmax"),
    ({"predictions": Y[:-1]}, "predictions: expected as many rows"),
    ({"predictions": WORDS}, "some labels are texts, others numbers; pass class_names"),
    ({"predictions": Y, "class_names": ["a", "b"]}, "targets: .*as there are 2 classes, got 0 to 2"),
    ({"targets": WORDS, "logits": Z, "class_names": ["cat", "dogs", "ant"]}, "'dog' is no class .did you mean 'dogs'"),
    ({"targets": ["cat"] * 30, "logits": Z}, "targets: it names 1 classes .cat., expected 3"),
    ({"targets": [*"abcdefghijkl", *"aaaaaaaaaaaaaaaaaa"], "logits": Z}, "it names 12 classes"),
    ({"targets": Y - 1, "logits": Z}, "got -1; if it marks images without a label, ignore=-1"),
    ({"targets": Y * 2, "logits": Z}, "as there are 3 classes, got 0 to 4"),
    ({"targets": Y / 2, "logits": Z}, "targets: .*got 0.5"),
    ({"targets": np.where(Y == 1, np.nan, Y), "logits": Z}, "targets: no label at position 1 .nan."),
    ({"targets": [None, *WORDS[1:]], "logits": Z, "class_names": NAMES}, "targets: no label at position 0 .None."),
    ({"targets": Y == 1, "logits": Z}, "targets: .*True and False are two classes, but there are 3"),
    ({"targets": np.ma.masked_equal(Y, 1), "logits": Z}, "none of them masked"),
    ({"targets": [[0], [1, 2]], "logits": Z}, "targets="),
    ({"targets": None, "logits": Z}, "targets="),
    ({"targets": {"a": 1}, "logits": Z}, "targets="),
    ({"logits": Z, "head_weight": W.T}, "head_weight=.*pass its transpose"),
    ({"logits": Z, "head_weight": W[:, :2], "features": F}, "head_weight=.*d = 4, that of the features"),
    ({"logits": Z, "head_weight": W, "features": F}, "head_weight: W f . b of these features is not what the logits"),
    ({"logits": Z / 2, "head_weight": W, "head_bias": B, "features": F}, "head_weight: W f . b"),
    ({"logits": Z, "head_bias": B}, "head_bias=.*head_weight .k, d. beside it"),
    ({"logits": Z, "head_weight": W, "head_bias": B[:2]}, "head_bias="),
    ({"logits": Z, "counts": [1, 2]}, "counts=.*each of the 3 classes"),
    ({"logits": Z, "counts": {"a": 2}}, "counts: 'a' is no class; the 3 classes are 0, 1, 2"),
    ({"logits": Z, "counts": {0: -2, 1: 3}}, "counts.0.=-2"),
    ({"logits": Z, "counts": pd.Series([1, 2], index=[0, 0])}, "counts=.*each class once"),
    ({"logits": Z, "class_names": ["a", "a", "b"]}, "class_names=.*3 different names"),
    ({"logits": Z, "ignore": True}, "ignore=True"),
    ({"logits": Z, "seed": 0.5}, "seed=0.5"),
    ({"logits": Z, "name": ""}, "name=''"),
    ({"logits": Z, "table": 3}, "table=3: expected a DataFrame, or the path"),
    ({"targets": "label", "predictions": "label", "table": "nowhere.csv"}, "table='nowhere.csv'.*it cannot be read"),
    (
        {"targets": WORDS, "logits": pd.DataFrame(Z, columns=NAMES), "class_names": NAMES[::-1]},
        "class_names=.*the order",
    ),
    ({"targets": pd.Series(Y)[::-1], "logits": pd.DataFrame(Z)}, "their indices are the same in another order"),
]


@pytest.mark.parametrize(("change", "match"), WRONG)
def test_what_does_not_fit_is_named(change, match):
    with pytest.raises(ValueError, match=match):
        from_predictions(**{"targets": Y} | change)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"targets": "lable"}, "targets='lable': the table has no such column .did you mean 'label'"),
        ({"targets": True}, "targets=True: the table has no such column"),
        ({"targets": ["label"]}, "targets=.*no such column"),
        ({"targets": None}, "targets=None: expected the name of the column"),
        (
            {"predictions": None, "probabilities": ["p_cat", "p_cow"]},
            "probabilities='p_cow': the table has no such column",
        ),
        ({"predictions": None, "probabilities": "p_cat"}, "probabilities='p_cat': expected a list of columns"),
        ({"predictions": None, "logits": ["answer", "label"]}, "logits="),
    ],
)
def test_columns_that_do_not_fit_are_named(table, change, match):
    with pytest.raises(ValueError, match=match):
        from_predictions(**{"targets": "label", "predictions": "answer", "table": table} | change)
    twice = pd.concat([table, table[["label"]]], axis=1)
    with pytest.raises(ValueError, match="targets='label': the table has several columns of that name"):
        from_predictions("label", predictions="answer", table=twice)


# --- what takes such a run -------------------------------------------------------------------------------------------


def test_labels_with_leading_zeros_stay_what_they_are(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("label,answer,p1,p2,n\n01,01,.9,.1,01\n02,01,.6,.4,02\n02,02,.2,.8,03\n01,01,.7,.3,04\n")
    for given in ({"predictions": "answer"}, {"probabilities": ["p1", "p2"]}, {"logits": ["p1", "n"]}):
        if "logits" in given:  # only labels are texts
            given["class_names"] = ["01", "02"]
        run = from_predictions("label", table=path, **given)
        assert run.class_names == ["01", "02"] and run.targets.tolist() == [0, 1, 1, 0]
    assert from_predictions("label", predictions="answer", table=path).confusion.tolist() == [[2, 0], [1, 1]]
    path.write_text("label,answer\n1,1\n2,1\n10,10\n")  # no zeros, so numbers
    with pytest.raises(ValueError, match="expected whole numbers|no class|numbers"):
        from_predictions("label", predictions="answer", class_names=["a", "b"], table=path)


def test_it_is_said_that_names_come_from_the_columns():
    table = pd.DataFrame({"y": [0, 1, 1, 0], "p1": [0.9, 0.4, 0.2, 0.8], "p2": [0.1, 0.6, 0.8, 0.2]})
    with pytest.warns(
        UserWarning, match="'1', '2' are taken from the columns of probabilities.* label 0 is the class '1'"
    ):
        run = from_predictions("y", probabilities=["p1", "p2"], table=table)
    assert run.class_names == ["1", "2"] and run.confusion.tolist() == [[2, 0], [0, 2]]
    for targets in (["a", "b", "b", "a"], [0, 3, 1, 0]):
        with pytest.raises(ValueError, match="named by the columns of probabilities; pass class_names="):
            from_predictions("y", probabilities=["p1", "p2"], table=table.assign(y=targets))
    named = from_predictions("y", probabilities=["p1", "p2"], table=table, class_names=["cat", "dog"])
    assert named.class_names == ["cat", "dog"] and named.confusion.tolist() == [[2, 0], [0, 2]]


@pytest.mark.parametrize("look", [lt.plot_reliability, metrics.ece, lt.plot_precision_recall, lt.explore.threshold])
def test_advice_about_logits_can_be_followed(look):
    run = from_predictions(Y, predictions=Z.argmax(1))
    with pytest.raises(ValueError, match="pass logits= or probabilities= to lt.from_predictions$"):
        look(run)


@pytest.mark.parametrize("look", [lt.plot_embedding, lt.embed, metrics.feature_quality, lt.plot_feature_norms])
def test_advice_about_features_can_be_followed(look):
    run = from_predictions(Y, Z)
    with pytest.raises(ValueError, match="keeps no test features.*; pass features= to lt.from_predictions$"):
        look(run)


def test_an_id_says_all_that_was_given():
    base = {"targets": Y, "logits": Z, "features": F, "counts": [9, 5, 2]}
    changes = [
        {}, {"targets": np.roll(Y, 1)}, {"logits": Z + 1e-3 * (np.arange(30) == 29)[:, None] * [1, 0, 0]},
        {"features": F + 0.1}, {"counts": [9, 5, 3]}, {"class_names": NAMES}, {"seed": 1}, {"name": "other"},
        {"head_weight": W, "head_bias": B}, {"features": None},
    ]  # fmt: skip
    assert len({from_predictions(**base | change).id for change in changes}) == len(changes)
    assert from_predictions(**base).id == from_predictions(**base).id
    assert from_predictions(Y, predictions=Y).id != from_predictions(Y, predictions=np.roll(Y, 1)).id


PARTS = {
    "predictions": {"predictions": Z.argmax(1)},
    "logits": {"logits": Z},
    "features": {"logits": Z, "features": F},
    "head": {"logits": Z, "head_weight": W},
    "all": {"logits": Z, "features": F, "head_weight": W, "head_bias": B},
}
TAKES = {  # what: (the parts that it takes, what it says of others)
    "class_accuracy": (lt.plot_class_accuracy, set(PARTS), ""),
    "confusion": (lt.plot_confusion, set(PARTS), ""),
    "counts": (lt.plot_counts, set(PARTS), ""),
    "comparison": (lt.plot_comparison, set(PARTS), ""),
    "gain": (lambda run: lt.plot_gain(run, run), set(PARTS), ""),
    "table": (lambda run: run.table(), set(PARTS), ""),
    "reliability": (lt.plot_reliability, set(PARTS) - {"predictions"}, "keeps no test logits"),
    "ece": (metrics.ece, set(PARTS) - {"predictions"}, "keeps no test logits"),
    "frontier": (metrics.frontier, set(PARTS) - {"predictions"}, "keeps the logits"),
    "who_pays": (lambda run: lt.plot_who_pays({"a": [run]}, [run]), set(PARTS) - {"predictions"}, "keeps the logits"),
    "mistakes": (lt.plot_mistakes, set(), "keeps no test logits|data is needed beside the run"),
    "adjusted": (lambda run: run.posthoc("logit_adjusted"), set(PARTS) - {"predictions"}, "keeps no logits of test im"),
    "tau_norm": (lambda run: run.posthoc("tau_norm"), {"all"}, "keeps no (logits of|features of|classifier vectors)"),
    "ncm": (lambda run: run.posthoc("ncm"), set(), "keeps no (logits of|features of t)"),
    "explorer": (lt.explore.posthoc, set(PARTS) - {"predictions"}, "keeps no logits"),
    "lengths": (lambda run: lt.explore.lengths({"a": [run]}), {"head", "all"}, "runs with a linear classifier"),
    "desk": (lambda run: lt.explore.batch_desk(run, None), set(), "keeps no features of training images"),
    "weight_norms": (lt.plot_weight_norms, {"head", "all"}, "keeps no classifier vectors \\(head_weight\\)"),
    "fit": (metrics.weight_norm_fit, {"head", "all"}, "no classifier; pass head_weight= to"),
    "feature_norms": (lt.plot_feature_norms, {"features", "all"}, "keeps no test features"),
    "embedding": (lambda run: lt.plot_embedding(run, method="pca"), {"features", "all"}, "keeps no test features"),
    "embed": (lambda run: lt.embed(run, method="pca"), {"features", "all"}, "keeps no test features"),
    "quality": (
        lambda run: metrics.feature_quality(run, neighbours=3),
        {"features", "all"},
        "keeps no test features",
    ),
    "history": (lt.plot_history, set(), "has no history"),
    "start": (lambda run: lt.train("ce", lt.digits_lt(), start=run), set(), "keeps no network"),
}


@pytest.mark.parametrize("what", TAKES)
def test_everything_takes_the_run_or_says_in_one_sentence_what_it_lacks(what):
    look, takes, says = TAKES[what]
    for part, given in PARTS.items():
        run = from_predictions(Y, counts=[9, 5, 2], **given)
        if part in takes:
            look(run)
        else:
            with pytest.raises(ValueError, match=says):
                look(run)
