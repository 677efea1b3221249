"""Labels, names and counts as class numbers: one meaning each, and a refusal where there are two."""

import numpy as np
import pandas as pd
import pytest
import torch

from ltviz import labels


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([2, 0, 1], [2, 0, 1]),
        (np.array([2, 0, 1], np.uint8), [2, 0, 1]),
        (torch.tensor([2.0, 0.0, 1.0]), [2, 0, 1]),
        ([torch.tensor(2), torch.tensor(0), torch.tensor(1)], [2, 0, 1]),
        (torch.tensor([[2], [0], [1]]), [2, 0, 1]),
        (np.eye(3)[[2, 0, 1]], [2, 0, 1]),
        (pd.get_dummies(pd.Series([2, 0, 1])), [2, 0, 1]),
        (pd.Series([2, 0, 1], dtype="Int64"), [2, 0, 1]),
        (np.array([2, 0, 1], object), [2, 0, 1]),
        ([True, False], [True, False]),
        (["b", b"a"], ["b", "a"]),
        (np.array([b"b", b"a"]), ["b", "a"]),
        (pd.Series(["b", "a"], dtype="category"), ["b", "a"]),
    ],
)
def test_labels_become_flat(given, expected):
    found = labels.flat("y", given)
    assert found.tolist() == expected and found.dtype in (np.int64, np.bool_, object)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ([0, 1.5], "y: .*got 1.5 .float64."),
        ([0, np.inf], "y: no label at position 1 .inf."),
        (pd.Series([0, None], dtype="Int64"), "y: no label at position 1"),
        (pd.Series(["a", None]), "y: no label at position 1"),
        (np.array([[1, 1, 0]]), "not one-hot; of soft labels, or several a row"),
        (np.array([[0.9, 0.1]]), "not one-hot"),
        (np.zeros((2, 3, 1)), "y: .*shape .2, 3, 1."),
        (np.array(3), "y="),
        (np.array([1j]), "y="),
        ([[1], [1, 2]], "y="),
        ([{"a": 1}], "y: .*at position 0"),
        ("cat", "y='cat'"),
        (None, "y=None"),
    ],
)
def test_what_is_no_label_is_named(given, match):
    with pytest.raises(ValueError, match=match):
        labels.flat("y", given)


def classes(given, k=None, names=None, columns=False):
    found = labels.flat("y", given)
    learnt = labels.learn("y", [found], k, names, columns)
    return learnt.numbers("y", found).tolist(), learnt.names


@pytest.mark.filterwarnings("ignore:y.")
@pytest.mark.parametrize(
    ("given", "k", "names", "expected"),
    [
        ([0, 2], 3, None, [0, 2]),
        ([1, 3], 3, None, [0, 2]),  # numbered from 1
        ([1, 2], 3, None, [1, 2]),  # 3 does not occur, so nothing says that 1 is the first
        ([1, 2], None, None, [0, 1]),
        ([0, 5], None, None, [0, 5]),
        ([5, 3], 2, [5, 3], [0, 1]),  # whole numbers that are names
        ([True, False], 2, [True, False], [0, 1]),
        ([True, False], 2, ["no", "yes"], [1, 0]),
        (["b", "a"], 2, None, [1, 0]),
        (["b", "a"], 2, ["b", "a"], [0, 1]),
        ([1, 0], 2, {"b": 0, "a": 1}, [1, 0]),
        (["a", "b"], 2, {0: "b", 1: "a"}, [1, 0]),
        ([2, 1], 2, ["1", "2"], [1, 0]),
        ([2, 1], 2, range(1, 3), [1, 0]),
        (
            [10, 0],
            11,
            sorted(map(str, range(11))),
            [10, 0],
        ),  # folders named by numbers: 10 is the place, as they are read
    ],
)
def test_classes(given, k, names, expected):
    assert classes(given, k, names)[0] == expected


@pytest.mark.parametrize(
    ("given", "k", "names", "match"),
    [
        ([0, 3], 3, None, "from 0 to 2, or from 1 to 3, as there are 3 classes, got 0 to 3"),
        ([-1, 2], 3, None, "got -1; if it marks images without a label, ignore=-1"),
        ([1, 2], 3, ["2", "1", "0"], "is 1 the class '1'|by its place, or"),
        ([1, 3], 3, ["3", "2", "1"], "is 1 the class '3', by its place, or '1', by its name"),
        (["1", "10"], 2, None, None),
        (["1", "10", "2"], 3, None, "are these digits in the order of numbers or of texts"),
        ([0, "a"], 2, None, "labels of several kinds"),
        ([5, 4], 2, [5, 3], "y: 4 is no class; the 2 classes are 5, 3"),
        ([True, False], 3, None, "True and False are two classes, but there are 3"),
        ([0, 1], 2, {"a": 0, "b": 2}, "class_names=.*2 different names"),
    ],
)
@pytest.mark.filterwarnings("ignore:y.")
def test_classes_that_cannot_be_meant(given, k, names, match):
    if match is None:
        assert classes(given, k, names)[0] == [0, 1]
        return
    with pytest.raises(ValueError, match=match):
        classes(given, k, names)


def test_one_numbering_for_all_labels():
    """1 to 3 in one part and 2 to 3 in another are the same classes; so are names that one part lacks."""
    parts = [np.array([1, 3]), np.array([2, 3])]
    with pytest.warns(UserWarning, match="numbered from 1 to 3") as said:
        found = labels.learn("y", parts, 3, None)
    assert len(said) == 1 and [found.numbers("y", one).tolist() for one in parts] == [[0, 2], [1, 2]]
    words = [labels.flat("y", one) for one in (["a", "c"], ["b"])]
    with pytest.warns(UserWarning, match="their order is taken to be a, b, c"):
        found = labels.learn("y", words, 3, None)
    assert found.numbers("y", words[0]).tolist() == [0, 2]


def test_counts():
    with pytest.warns(UserWarning, match="from 1 to 3"):
        found = labels.learn("y", [np.array([1, 2, 3])], 3, None)
    assert labels.counts_of({1: 4, 3: 2}, found).tolist() == [4, 0, 2]
    assert labels.counts_of(pd.Series([4, 2], index=[1, 3]), found).tolist() == [4, 0, 2]
    assert labels.counts_of(pd.Series([4, 1, 2]), found).tolist() == [4, 1, 2]  # rows that are only numbered
    assert labels.counts_of({"1": 4, "3": 2.0}, found).tolist() == [4, 0, 2]
    for wrong, match in (({4: 1}, "counts: 4 is no class"), ({1: 2.5}, "counts.1.=2.5"), ({1: 0}, "counts=")):
        with pytest.raises(ValueError, match=match):
            labels.counts_of(wrong, found)


@pytest.mark.parametrize("given", [[0, 3, 1], [1, 3, 2], [0]])
def test_a_number_that_is_the_place_of_one_class_and_the_name_of_another_is_asked_for(given):
    """Whether or not the label 0 occurs: it is the class "3" by its place here."""
    names = ["3", "0", "1", "2"]
    with pytest.raises(ValueError, match=r"^y: is \d the class '\d', by its place, or '\d', by its name\? Pass"):
        labels.learn("y", [np.array(given)], 4, names)
    by_name = labels.learn("y", [np.array(given)], 4, [int(one) for one in names])
    assert by_name.numbers("y", np.array(given)).tolist() == [names.index(str(one)) for one in given]
    by_place = labels.learn("y", [np.array(given)], 4, names, by_place=True)  # those of a data set
    assert by_place.numbers("y", np.array(given)).tolist() == given


def test_whole_keys_of_counts_beside_texts_are_asked_for_too():
    names = ["3", "0", "1", "2"]
    classes = labels.learn("y", [np.array(["3", "0"], object)], 4, names)
    with pytest.raises(ValueError, match="^counts: is 3 the class '2', by its place, or '3', by its name"):
        labels.counts_of({3: 9, 0: 8, 1: 7, 2: 6}, classes)
    assert labels.counts_of({"3": 9, "0": 8, "1": 7, "2": 6}, classes).tolist() == [9, 8, 7, 6]
    plain = labels.learn("y", [np.array(["0", "1"], object)], 3, ["0", "1", "2"])
    assert labels.counts_of({0: 9, 1: 8, 2: 7}, plain).tolist() == [9, 8, 7]
