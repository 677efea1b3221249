"""Attributes: what the container checks and counts, and that each rule of the digits' attributes is what it says."""

import dataclasses

import numpy as np
import pytest
import torch

import ltviz as lt
from ltviz.datasets import Attributes
from ltviz.datasets.measured import MEASURED, NAMES, cuts, measure

RANDOM = np.random.default_rng(0)


def parts(n: int = 6, **changes) -> dict:
    """Arguments of a small set: two attributes, of two and of three values."""
    images = RANDOM.integers(0, 256, (n, 1, 4, 5), dtype=np.uint8)
    targets = np.array([[0, 2], [1, -1], [0, 1], [0, 0], [-1, 0], [0, 0]])[:n]
    return dict(
        images=images, targets=targets, val_images=images[:0], val_targets=targets[:0], test_images=images[:2],
        test_targets=targets[:2], names=["round", "colour"], values=[("no", "yes"), ("red", "blue", "black")],
        mean=[0.5], std=[0.25], spec={"loader": "by hand"},
    ) | changes  # fmt: skip


def test_counts_and_imbalance_leave_unknown_labels_out():
    data = Attributes(**parts())
    assert (data.a, len(data), data.shape, data.has_validation) == (2, 6, (1, 4, 5), False)
    assert [one.tolist() for one in data.counts] == [[4, 1], [3, 1, 1]]
    assert data.imbalance.tolist() == [4.0, 3.0]
    assert repr(data) == ("by hand: 6 training images of 1 x 4 x 5 with 2 attributes, imbalance 3:1 to 4:1, "
                          "0 validation, 2 test")  # fmt: skip


def test_a_value_without_images_is_infinitely_rare():
    data = Attributes(**parts(targets=np.zeros((6, 2), int)))
    assert data.imbalance.tolist() == [np.inf, np.inf]


def test_numbers_of_one_are_spelled_as_one():
    given = parts(1)
    alone = {name: given[name][:, :1] for name in ("targets", "val_targets", "test_targets")}
    data = Attributes(**given | alone | {"names": ["round"], "values": [("no", "yes")],
                      "test_images": given["images"], "targets": [[0]]})  # fmt: skip
    assert repr(data).startswith("by hand: 1 training image of 1 x 4 x 5 with 1 attribute, imbalance inf:1")


def test_digits_are_made_again_from_their_spec():
    data = lt.digits_attributes(seed=2, ratio=7, validation=100)
    again = lt.datasets.load(data.spec)
    assert isinstance(again, Attributes) and again.fingerprint == data.fingerprint and again.spec == data.spec
    with pytest.raises(ValueError, match="digits_attributes has no argument 'ratios'.*did you mean 'ratio'"):
        lt.datasets.load({"loader": "digits_attributes", "ratios": 7})
    with pytest.raises(ValueError, match="did you mean 'digits_attributes'.*celeba, attributes_csv"):
        lt.datasets.load({"loader": "digit_attributes"})


@pytest.mark.parametrize("train", [lt.train, lt.sweep, lt.train_many, lt.tune])
def test_what_trains_on_one_label_an_image_says_what_trains_on_several(train):
    given = {"trials": 1} if train is lt.tune else {}
    with pytest.raises(ValueError, match=r"data: its images have several labels each; .*lt\.train_attributes"):
        train("ce", Attributes(**parts()), progress=False, **given)
    with pytest.raises(ValueError, match=r"data=3: .*lt\.glyphs_lt, lt\.list_lt, lt\.manga109, .* or lt\.table_lt"):
        train("ce", 3, progress=False, **given)


def test_a_batch_is_normalised_and_in_the_order_asked_for():
    given = parts()
    data = Attributes(**given)
    expected = (given["images"][[4, 1]] / 255 - 0.5) / 0.25
    np.testing.assert_allclose(data.batch(torch.tensor([4, 1])).numpy(), expected, atol=1e-6)
    assert data.test_batch(slice(1, 2)).equal(data.batch([1]))  # the same image
    assert data.val_batch().shape == (0, 1, 4, 5) and data.batch().dtype == torch.float32
    assert data.batch([0], torch.Generator()).equal(data.batch([0]))


def test_the_fingerprint_follows_every_pixel_target_and_name():
    given = parts()
    first, same = Attributes(**given), Attributes(**{**given, "spec": {}})
    assert first.fingerprint == same.fingerprint
    pixel = given["images"].copy()
    pixel[0, 0, 0, 0] ^= 1
    changed = [{"images": pixel}, {"test_targets": np.array([[1, 2], [1, -1]])}, {"names": ["round", "color"]}]
    others = {Attributes(**{**given, **one}).fingerprint for one in changed}
    assert len(others) == 3 and first.fingerprint not in others


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"images": np.zeros((6, 1, 4, 5))}, "images=.*uint8.*float64"),
        ({"images": np.zeros((6, 4, 5), np.uint8)}, "images=.*expected images"),
        ({"images": np.zeros((0, 1, 4, 5), np.uint8), "targets": np.zeros((0, 2), int)}, "at least one"),
        ({"test_images": np.zeros((2, 3, 4, 5), np.uint8)}, r"test_images=.*\(1, 4, 5\)"),
        ({"targets": np.zeros((5, 2), int)}, r"targets=.*int64 \(6, 2\)"),
        ({"targets": np.zeros((6, 2))}, "targets=.*float64"),
        ({"targets": np.full((6, 2), 2)}, "targets: found 2 in row 0 of attribute 0; .*0 to 1.*no, yes"),
        ({"test_targets": np.full((2, 2), -2)}, "test_targets: found -2"),
        ({"names": ["round", "round"]}, "names=.*each once"),
        ({"names": "ab"}, "names='ab'"),
        ({"names": ["round"]}, "values=.*each attribute .1 attribute.$"),
        ({"values": [("no", "yes"), ("red",)]}, r"values\[1\]=.*at least two"),
        ({"mean": [0.5, 0.5]}, "mean=.*each channel .1 channel.$"),
        ({"std": [0.0]}, "std=.*above 0"),
        ({"std": [np.nan]}, "std="),
        ({"spec": {"loader": object()}}, "spec="),
    ],
)
def test_parts_that_do_not_fit_are_refused_by_name(changes, said):
    with pytest.raises(ValueError, match=said):
        Attributes(**parts(**changes))


@pytest.mark.parametrize("index", [[6], [-1], [0.5], [True, False], "0", [[0]]])
def test_positions_that_are_none_are_refused(index):
    with pytest.raises(ValueError, match="index="):
        Attributes(**parts()).batch(index)


def test_it_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Attributes(**parts()).names = ()


# --------------------------------------------------------------------------------------------------- measured on digits
def drawn(*rows: str) -> np.ndarray:
    """A drawing (1, H, W): # is ink."""
    return np.array([[[float(mark == "#") for mark in row] for row in rows]])


RING = drawn("........", "..####..", ".#....#.", ".#....#.", ".#....#.", "..####..", "........", "........")
EIGHT = drawn("..###...", ".#...#..", ".#...#..", "..###...", ".#...#..", ".#...#..", "..###...", "........")
BAR = drawn(*["...#...."] * 8)
FAT = drawn(*["..####.."] * 8)
THREE = drawn("........", ".#####..", "........", ".#####..", "........", ".#####..", "........", "........")
LEANS = drawn("......#.", ".....#..", ".....#..", "....#...", "....#...", "...#....", "...#....", "..#.....")


def value(name: str, drawing: np.ndarray) -> float:
    return float(measure(drawing)[name][0])


def test_loops_are_enclosed_paper():
    found = [int(value("loop", one)) for one in (RING, EIGHT, BAR, THREE)]
    assert found == [1, 2, 0, 0] and [int(value("two loops", one)) for one in (RING, EIGHT)] == [1, 2]
    opened = RING.copy()
    opened[0, 3, 1] = 0
    assert value("loop", opened) == 0


def test_drawings_are_measured_each_by_itself():
    several = np.concatenate([RING, FAT, EIGHT, BAR, LEANS, THREE])
    for name, values in measure(several).items():
        np.testing.assert_allclose(values, [measure(one[None])[name][0] for one in several], err_msg=name)


def test_strokes_are_pieces_of_ink_in_a_column():
    assert [int(value("three strokes", one)) for one in (THREE, BAR, RING, EIGHT)] == [3, 1, 2, 3]


def test_extents_are_standard_deviations_of_the_ink():
    bar = np.arange(8).std()  # of a column of eight pixels
    assert value("wide", BAR) == 0.0 and value("wide", BAR.transpose(0, 2, 1)) == pytest.approx(bar)
    two = drawn("#.#", "...", "#.#")
    assert value("wide", two) == pytest.approx(1.0) and value("tall", two) == pytest.approx(1.0)
    assert value("tall", FAT) == pytest.approx(np.arange(8).std() / np.arange(4).std())


def test_slant_is_pixels_to_the_right_for_each_pixel_up():
    y, x = np.nonzero(LEANS[0])
    assert value("slanted", LEANS) == pytest.approx(-np.polyfit(y, x, 1)[0]) and value("slanted", LEANS) > 0.5
    assert value("slanted", LEANS[:, :, ::-1]) == pytest.approx(-value("slanted", LEANS))
    assert value("slanted", BAR) == value("slanted", RING) == 0.0


def test_thickness_is_about_the_width_of_the_stroke():
    assert value("thick", FAT) - value("thick", BAR) == pytest.approx(3.0, abs=0.9)
    assert 0.8 < value("thick", BAR) < 1.7


def test_weights_and_mirrors():
    top = drawn("####", "....", "....", "....")
    assert value("top-heavy", top) == 1.0 and value("left-heavy", top) == 0.5 and value("dark", top) == 4.0
    assert value("symmetric", top) == 0.0 and value("same upside down", top) == -1.0
    corner = drawn("#..", "...", "...")
    assert (value("top-heavy", corner), value("left-heavy", corner)) == (1.0, 1.0)
    assert value("symmetric", corner) == -1.0
    assert value("top-heavy", drawn("...", "#..", "...")) == 0.5, "the middle row is half above, half below"


@pytest.mark.parametrize("wrong", [np.zeros((1, 8, 8)), RING * 16, RING[0], -RING, np.full((1, 8, 8), np.nan), "ring"])
def test_what_is_no_drawing_is_refused(wrong):
    with pytest.raises(ValueError, match="images="):
        measure(wrong)


@pytest.fixture(scope="module")
def data():
    return lt.digits_attributes()


def test_every_target_is_its_rule_on_its_image(data):
    edges = cuts(50)
    for images, targets in ((data.images, data.targets), (data.test_images, data.test_targets)):
        found = measure(images[:, 0].numpy() / 240)
        for j, name in enumerate(data.names):
            np.testing.assert_array_equal(found[name] >= edges[name], targets[:, j].numpy() == 1, err_msg=name)


def test_the_cuts_give_the_ratios_from_1_to_50(data):
    every = torch.cat([data.targets, data.val_targets, data.test_targets]).numpy()
    assert len(every) == 1797 and (len(data), len(data.val_images), len(data.test_images)) == (897, 300, 600)
    positives = dict(zip(data.names, every.sum(0), strict=True))
    for name, ratio in zip(MEASURED, np.geomspace(1, 50, 9), strict=True):
        assert positives[name] == pytest.approx(1797 / (1 + ratio), rel=0.02, abs=1), name
    assert data.names == NAMES and data.imbalance.min() < 1.1 and 45 < data.imbalance.max() < 52


def test_every_part_has_its_share_of_the_rare_attributes():
    for seed in range(5):
        data = lt.digits_attributes(seed=seed)
        for j, name in enumerate(data.names):
            train, val, test = (int(t[:, j].sum()) for t in (data.targets, data.val_targets, data.test_targets))
            if train + val + test < 200:
                assert test == pytest.approx((train + val + test) / 3, abs=4), name
                assert train > 1.5 * val and min(val, test) >= 5, name


def test_the_seed_draws_the_split_and_the_ratio_the_cuts(data):
    again, other = lt.digits_attributes(seed=0), lt.digits_attributes(seed=1)
    assert again.fingerprint == data.fingerprint != other.fingerprint
    even = lt.digits_attributes(ratio=1)
    assert even.imbalance[NAMES.index("same upside down")] < 1.2
    parts = [[one.targets, one.val_targets, one.test_targets] for one in (data, even)]
    assert [sum(int(t[:, NAMES.index("loop")].sum()) for t in three) for three in parts] == [624, 624]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"seed": -1}, "seed=-1"),
        ({"ratio": 0.5}, "ratio=0.5"),
        ({"ratio": True}, "ratio=True"),
        ({"test": 0}, "test=0"),
        ({"test": 1797}, "test=1797"),
        ({"validation": 1.5}, "validation=1.5"),
        ({"test": 1790, "validation": 0}, "alike in .*two loops"),
    ],
)
def test_arguments_without_a_meaning_are_refused(given, said):
    with pytest.raises(ValueError, match=said):
        lt.digits_attributes(**given)
