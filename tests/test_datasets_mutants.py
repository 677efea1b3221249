"""Data sets where a small change of the code would give other data: defaults, edges and specs, by hand."""

import dataclasses
import io
import math
import os
import struct
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image
from test_datasets import torchvision_files

from ltviz import files
from ltviz.datasets import cifar, cifar_lt, digits_lt, folder_lt, load, longtailed, profile_counts, sources
from ltviz.datasets.augment import crop_flip, draw_crops, normalise, pad_black
from ltviz.datasets.classes import check_names, order_classes, plain_order
from ltviz.datasets.longtailed import cut, default_recipe, hold_out


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path_factory):
    """Downloads and caches of a test land in a folder of its own, and nobody's LTVIZ_DATA leaks in."""
    own = tmp_path_factory.mktemp("own")
    monkeypatch.delenv("LTVIZ_DATA", raising=False)
    monkeypatch.setenv("LTVIZ_CACHE", str(own / "cache"))
    monkeypatch.setattr(sources, "own_folder", lambda: own)


def numbered(per_class, side=1):
    """Images whose first pixel is their row number, and labels that come mixed."""
    labels = np.random.RandomState(7).permutation(np.repeat(np.arange(len(per_class)), per_class)).astype(np.int64)
    images = np.zeros((len(labels), side, side, 3), np.uint8)
    for channel in range(3):
        images[:, 0, 0, channel] = np.arange(len(labels)) >> (8 * channel) & 255
    return images, labels


def rows_of(images):
    return (images[:, 0, 0].long() @ torch.tensor([1, 256, 65536])).tolist()


def small(per_class=(9, 8, 7), test=(3, 1, 2), **settings):
    """A data set of three classes, cut by hand."""
    k = len(per_class)
    given = dict(ratio=None, n_max=None, profile="exp", seed=0, order=np.arange(k), validation=0, mean=[0.5] * 3,
                 std=[0.25] * 3, pad=0, flip=False, recipe="digits", spec={})  # fmt: skip
    return cut("numbers", numbered(per_class), numbered(test), [f"c{i}" for i in range(k)], **(given | settings))


def refused(words):
    return pytest.raises(ValueError, match=words)


# ------------------------------------------------------------------------------------------------------------ profiles
def test_counts_at_the_edges_of_what_is_allowed():
    assert profile_counts(1, 1, 1) == [1] and profile_counts(1, 3, 1, "pareto") == [1, 1, 1]
    assert profile_counts(10**12, 2, 10) == [10**12, 10**11]
    assert profile_counts(4, 2**15, 2, "step") == [4] * 2**14 + [2] * 2**14
    for wrong in (0, 10**12 + 1):
        with refused("^n_max="):
            profile_counts(wrong, 2, 10)
    for wrong in (0, 2**15 + 1):
        with refused("^k="):
            profile_counts(2, wrong, 1)
    with refused("^profile='line'"):
        profile_counts(10, 2, 2, "line")


def test_a_ratio_is_a_fraction_where_it_can_be_and_itself_where_not():
    assert profile_counts(500, 2, 500 / 71, "step") == [500, 71] == profile_counts(500, 2, 500 / 71)
    assert profile_counts(1000, 2, 1000 / 97, "pareto") == [1000, 97]
    # The root of two is none: 10^12 / sqrt(2), by whole numbers, is isqrt(10^24 / 2).
    assert profile_counts(10**12, 2, math.sqrt(2), "step")[1] == math.isqrt(10**24 // 2)


def test_a_count_next_to_a_whole_number_is_cut_down():
    assert profile_counts(1000, 4, 1000) == [1000, 100, 10, 1] and profile_counts(98, 10, 49)[-1] == 2
    assert profile_counts(3**9, 10, 3**9) == [3**i for i in range(9, -1, -1)] and profile_counts(23, 2, 2.3) == [23, 10]
    # 10^10 - 0.01 and 10^8 - 0.0001, which floats take for whole.
    assert profile_counts(10**12 - 1, 2, 100) == [10**12 - 1, 10**10 - 1]
    assert profile_counts(10**12 - 1, 3, 10_000) == [10**12 - 1, 10**10 - 1, 10**8 - 1]
    # 7^14 / 7^(2 i / 3), whole at every third step only: by whole numbers, the cube root of 7^(42 - 2 i).
    roots = [next(n for n in range(round(7 ** (14 - 2 * i / 3)) + 2, 0, -1) if n**3 <= 7 ** (42 - 2 * i))
             for i in range(10)]  # fmt: skip
    assert profile_counts(7**14, 10, 7**6) == roots and roots[3] == 7**12
    assert profile_counts(20**7, 4, 128, "pareto") == [20**7, 15**7, 12**7, 10**7]


def test_one_class_is_the_largest_for_every_profile():
    for profile in ("exp", "step", "pareto"):
        assert profile_counts(30, 1, 5, profile) == [30]
        assert profile_counts(30, 2, 5, profile) == [30, 6]
        assert profile_counts(32, 3, 4, profile) == {"exp": [32, 16, 8], "step": [32, 8, 8],
                                                     "pareto": [32, 15, 8]}[profile]  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- classes
def test_class_names_in_full():
    assert check_names(["b", "a"], 2) == ("b", "a") and check_names(np.array(["b", "a"]), 2) == ("b", "a")
    for names in ("ab", b"ab", {"a": 1, "b": 2}, {"a", "b"}, frozenset("ab"), 3, [1, 2], ["a", ""]):
        with refused("^class_names=.*expected a list of 2 texts"):
            check_names(names, 2)
    with refused("^class_names: expected a list of 3 texts, the name of each class, got 2"):
        check_names(["a", "b"], 3)
    with refused("^class_names: 'a' names more than one class"):
        check_names(["a", "b", "a"], 3)
    with refused("^class_names: 'a', 'c' names more than one class"):
        check_names(["c", "b", "a", "a", "c"], 5)


def test_orders_by_name_and_by_hand():
    names = ["a", "b", "c"]
    assert order_classes("natural", names, 3).tolist() == [0, 1, 2]
    assert order_classes("seed", names, 3).tolist() == np.random.RandomState(1003).permutation(3).tolist()
    assert order_classes("own", names, 0, own=(2, 0, 1)).tolist() == [2, 0, 1]
    for given in (["c", "a", "b"], [2, 0, 1], (2, "a", np.int64(1)), np.array([2, 0, 1])):
        found = order_classes(given, names, 0)
        assert found.tolist() == [2, 0, 1] and found.dtype == np.int64
    for wrong in (b"\x02\x00\x01", {2: 0, 0: 0, 1: 0}, {2, 0, 1}, frozenset((2, 0, 1)), 3, [0, 0, 1], [0, 1],
                  ["a", "b"], [0, 1, 2, 3], [1, 2, 3], [2.0, 0.0, 1.0], ["a", "b", "d"], [True, 0, 2]):  # fmt: skip
        with refused("^class_order=.*: expected each of the 3 classes once"):
            order_classes(wrong, names, 0)
    with refused(r"^class_order='ow': expected one of 'natural', 'seed', 'own' \(did you mean 'own'\?\), or each of"):
        order_classes("ow", names, 0, own=(2, 0, 1))
    with refused("^seed="):
        order_classes("natural", names, -1)


def test_one_spelling_of_an_order():
    order = np.array([2, 0, 1])
    assert plain_order("seed", order) == "seed" and plain_order(["c", "a", "b"], order) == [2, 0, 1]
    assert plain_order([2, 0, 1], order, own=(2, 0, 1)) == "own"
    assert plain_order([0, 1, 2], np.arange(3), own=(2, 0, 1)) == "natural"


# -------------------------------------------------------------------------------------------------------- augmentation
def test_crops_are_drawn_row_column_mirror():
    drawn = draw_crops(40, 3, True, torch.Generator().manual_seed(9), torch.device("cpu"))
    generator = torch.Generator().manual_seed(9)
    for found, high in zip(drawn, (7, 7, 2), strict=True):
        assert found.long().tolist() == torch.randint(high, (40,), generator=generator).tolist()
    assert [one.dtype for one in drawn] == [torch.int64, torch.int64, torch.bool]


@pytest.mark.parametrize("pad, flip", [(1, False), (0, True), (2, True)])
def test_a_batch_is_cropped_without_flips_and_flipped_without_crops(pad, flip):
    images = np.random.RandomState(0).randint(0, 256, (6, 4, 6, 3), dtype=np.uint8)
    labels = np.array([0, 0, 0, 1, 1, 1])
    data = cut(
        "x",
        (images, labels),
        (images, labels),
        ["a", "b"],
        ratio=None,
        n_max=None,
        profile="exp",
        seed=0,
        order=np.arange(2),
        validation=0,
        mean=[0.0] * 3,
        std=[1.0] * 3,
        pad=pad,
        flip=flip,
        recipe="",
        spec={},
    )
    found = data.batch([5, 0, 3, 3], torch.Generator().manual_seed(4))
    dy, dx, mirror = draw_crops(4, pad, flip, torch.Generator().manual_seed(4), torch.device("cpu"))
    assert mirror.any() == flip and mirror.dtype == torch.bool
    for i, row in enumerate([5, 0, 3, 3]):
        black = np.zeros((4 + 2 * pad, 6 + 2 * pad, 3), np.uint8)
        black[pad : pad + 4, pad : pad + 6] = images[row]
        crop = black[dy[i] : dy[i] + 4, dx[i] : dx[i] + 6]
        crop = crop[:, ::-1] if mirror[i] else crop
        np.testing.assert_allclose(found[i].numpy(), crop.transpose(2, 0, 1) / 255, atol=1e-6)
    assert data.padded().shape == (6, 3, 4 + 2 * pad, 6 + 2 * pad)
    assert torch.equal(pad_black(data.images, pad), data.padded()) and data.padded().dtype == torch.uint8
    crops = crop_flip(data.padded(), torch.tensor([5]), dy[:1], dx[:1], mirror[:1], pad)
    assert crops.shape == (1, 3, 4, 6) and crops.dtype == torch.uint8


def test_normalising_is_linear():
    images = torch.tensor([[[[0]], [[100]]]], dtype=torch.uint8)
    scale, shift = torch.tensor([2.0, 0.5]).view(1, 2, 1, 1), torch.tensor([1.0, -3.0]).view(1, 2, 1, 1)
    found = normalise(images, scale, shift)
    assert found.flatten().tolist() == [1.0, 47.0] and found.dtype == torch.float32 and int(images[0, 1]) == 100
    stored = torch.zeros(2, 4, 5, 2, dtype=torch.uint8).permute(0, 3, 1, 2)
    assert not stored.is_contiguous() and normalise(stored, scale, shift).is_contiguous()


# --------------------------------------------------------------------------------------------------------------- CIFAR
def cifar_arrays(monkeypatch, classes, per_class):
    """CIFAR's arrays with so many training images of each class, in place of those read from files."""
    (train, labels), (test, test_labels) = numbered([per_class] * classes, 32), numbered([1] * classes, 32)
    arrays = {"class_names": np.array([f"c{c:03d}" for c in range(classes)]), "train_images": train,
              "train_labels": labels, "test_images": test, "test_labels": test_labels}  # fmt: skip
    monkeypatch.setattr(cifar, "_load", lambda *_: arrays)


def test_cifar_by_default(monkeypatch):
    cifar_arrays(monkeypatch, 10, 351)
    data = cifar_lt()
    assert data.counts.tolist() == profile_counts(101, 10, 100) and data.counts[-1] == 1
    assert data.spec == dict(loader="cifar_lt", classes=10, ratio=100, size=32, n_max=101, profile="exp", seed=0,
                             class_order="natural", validation=250, root=None)  # fmt: skip
    assert torch.bincount(data.val_targets).tolist() == [250] * 10 and data.name == "cifar10_lt"
    assert data.class_names == tuple(f"c{c:03d}" for c in range(10)) and (data.pad, data.flip) == (4, True)
    assert data.recipe == "cao2019" and data.shape == (3, 32, 32)
    assert data.fingerprint == cifar_lt(seed=0).fingerprint != cifar_lt(seed=1).fingerprint


def test_cifar_100_and_every_argument_in_its_spec(monkeypatch):
    cifar_arrays(monkeypatch, 100, 30)
    assert torch.bincount(cifar_lt(100, 5).val_targets).tolist() == [25] * 100
    order = [99, *range(99)]
    data = cifar_lt(100, 4.0, 16, 8, "step", 3, order, 1, "~/somewhere", False)
    assert data.spec == dict(loader="cifar_lt", classes=100, ratio=4, size=16, n_max=8, profile="step", seed=3,
                             class_order=order, validation=1, root="~/somewhere")  # fmt: skip
    assert data.counts.tolist() == [8] * 50 + [2] * 50 and data.class_names[:2] == ("c099", "c000")
    assert data.shape == (3, 16, 16) and data.pad == 2 and data.recipe == "cifar16_live"
    assert load(data.spec).fingerprint == data.fingerprint
    assert torch.bincount(data.val_targets).tolist() == [1] * 100


def test_digits_and_an_order_by_seed_in_their_specs(tmp_path, monkeypatch):
    given = dict(ratio=20, n_max=100, profile="step", seed=3, validation=2, test=4)
    found = digits_lt(20.0, 100, "step", 3, list("6048579231"), 2, 4)
    assert found.spec == dict(loader="digits_lt", class_order="fixed", **given)
    assert found.counts.tolist() == [100] * 5 + [5] * 5 and found.recipe == "digits" and found.name == "digits_lt"
    assert digits_lt(n_max=None, test=100).spec["n_max"] == digits_lt(n_max=None, test=100).counts[0]
    cifar_arrays(monkeypatch, 10, 3)
    by_seed = cifar_lt(ratio=1, validation=1, seed=5, class_order="seed")
    assert by_seed.spec["class_order"] == "seed" and by_seed.class_names == tuple(
        f"c{c:03d}" for c in np.random.RandomState(1005).permutation(10))  # fmt: skip
    assert folder_lt(write(tmp_path, (4, 4)), 1, class_order="seed").spec["class_order"] == "seed"


def test_the_recipe_goes_by_side_and_largest_class(monkeypatch):
    found = [default_recipe(*of) for of in ((17, 1), (16, 1000), (16, 1001), (8, 1), (32, 10_000),
                                             (33, 1), (64, 5000), (64, 5001),
                                             (224, 900, 5000), (224, 900, 5001))]  # fmt: skip
    assert found == ["cao2019", "cifar16_live", "cifar16", "cifar16_live", "cao2019", "photos", "photos", "photos_many",
                     "photos", "photos_many"]  # fmt: skip
    cifar_arrays(monkeypatch, 10, 1001)
    assert cifar_lt(size=16, ratio=1001, validation=0).recipe == "cifar16"
    assert cifar_lt(size=16, ratio=100, n_max=1000, validation=0).recipe == "cifar16_live"


def test_halves_are_rounded_up():
    blocks = torch.tensor([[0, 0, 0, 1], [0, 0, 1, 1], [1, 0, 1, 1], [255, 255, 255, 255], [255, 255, 255, 252]])
    images = blocks.view(-1, 2, 2, 1).to(torch.uint8)
    assert cifar.halve(images).flatten().tolist() == [0, 1, 1, 255, 254] and cifar.halve(images).dtype == torch.uint8
    assert cifar.halve(torch.zeros(2, 4, 6, 3, dtype=torch.uint8)).shape == (2, 2, 3, 3)
    for shape in ((2, 3, 4, 1), (2, 4, 3, 1), (4, 4, 2)):
        with refused("^images=.*even height and width"):
            cifar.halve(torch.zeros(shape, dtype=torch.uint8))
    with refused("^images=.*expected uint8"):
        cifar.halve(torch.zeros(2, 4, 4, 1))


def test_torchvisions_files_are_read_again_when_they_change(tmp_path, monkeypatch):
    base, _, _ = torchvision_files(tmp_path, 10, monkeypatch)
    before = cifar_lt(root=tmp_path, ratio=2, validation=1)
    assert [file.name for file in sources.cache_places()[0].iterdir()] == [sources.cache_name(base) + ".npz"]
    os.utime(base / "test_batch", ns=(1, 1))
    import torchvision.datasets

    whole, calls = torchvision.datasets.CIFAR10, []

    def counted(*given, **settings):
        calls.append(settings)
        return whole(*given, **settings)

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", counted)
    for _ in range(2):
        assert cifar_lt(root=tmp_path, ratio=2, validation=1).fingerprint == before.fingerprint
    assert [one["train"] for one in calls] == [True, False], "read once more, and kept again"


def test_where_cifar_is_looked_for(tmp_path, monkeypatch):
    def place(*parts, classes=10):
        for split in ("train", "test"):
            for c in range(classes):
                tmp_path.joinpath(*parts, split, f"{c:03d}").mkdir(parents=True)
        return tmp_path.joinpath(*parts)

    base = tmp_path / "base"
    base.mkdir()
    for classes, archive in ((10, "cifar-10-python.tar.gz"), (100, "cifar-100-python.tar.gz")):
        with pytest.raises(FileNotFoundError, match=f"no CIFAR-{classes} found in .*{archive}"):
            cifar._locate(classes, None, False)
        with refused(f"neither train/<class>.*it holds nothing; pass download=True .*{archive}"):
            cifar._locate(classes, base, False)
        assert cifar._locate(classes, None, True) == ("torchvision", sources.own_folder())
        assert cifar._locate(classes, base, True) == ("torchvision", base)
    # An archive of another number of classes is none of this one; a tree inside goes before an archive.
    (base / "cifar100.tar").touch()
    with refused("it holds cifar100.tar"):
        cifar._locate(10, base, False)
    assert cifar._locate(100, base, False) == ("archive", base / "cifar100.tar")
    assert cifar._locate(10, base / "cifar100.tar", False) == ("archive", base / "cifar100.tar")
    (base / "cifar-10-python.tar.gz").touch()
    assert cifar._locate(10, base, False) == ("torchvision", base)
    (base / "cifar10.tar.xz").touch()
    assert cifar._locate(10, base, False) == ("archive", base / "cifar10.tar.xz")
    (base / "cifar10-b.tar").touch()
    (base / "cifar10-a.tar").touch()
    assert cifar._locate(10, base, False) == ("archive", base / "cifar10-a.tar")
    assert cifar._locate(10, base, True) == ("archive", base / "cifar10-a.tar")
    inside = place("base", "cifar10")
    assert cifar._locate(10, base, False) == ("tree", inside)
    # A root that has a part of a tree is meant as one, whatever it holds.
    tree = place("tree", classes=7)
    assert cifar._locate(10, tree, False) == ("tree", tree)
    monkeypatch.setenv("LTVIZ_DATA", str(tree))
    with pytest.raises(FileNotFoundError):
        cifar._locate(10, None, False)
    (tree / "test").rename(tree / "later")
    with refused("has no class folders in test/; expected train/<class>"):
        cifar._locate(10, tree, False)
    (tree / "test").mkdir()
    with refused("has no class folders in test/"):
        cifar._locate(10, tree, False)
    (tree / "train").rename(tree / "earlier")
    with refused("has no class folders in train/"):
        cifar._locate(10, tree, False)


# -------------------------------------------------------------------------------------------------------------- cutting
def test_a_spec_says_what_was_chosen():
    spec = dict(ratio="?", n_max="?", profile="?", seed="?", pad="?", flip="?", size=3.0)
    data = small((40, 9, 20), ratio=4.0, seed=np.int64(5), pad=np.int64(1), flip=np.True_, spec=spec)
    assert data.spec == dict(ratio=4, n_max=19, profile="exp", seed=5, pad=1, flip=True, size=3)
    assert data.counts.tolist() == [19, 9, 4], "as many as the second class can serve: 19 / 2 is 9"
    stepped = small((40, 9, 20), ratio=4, profile="step")
    assert stepped.counts.tolist() == [39, 9, 9], "39 / 4 is 9, 40 / 4 is one too many for the second class"
    assert small((1, 1, 1), test=(1, 1, 1), ratio=1).counts.tolist() == [1, 1, 1]
    assert small(spec={"loader": "x"}).spec == {"loader": "x"}
    assert small(n_max=None).counts.tolist() == [9, 8, 7]


def test_what_is_drawn_by_hand():
    """The first of a permutation that seed and class give, in the order of the rows; ranks as targets."""
    order, per_class = np.array([2, 0, 1]), (9, 8, 12)
    data = small(per_class, ratio=3, n_max=9, seed=4, order=order, validation=2)
    _, labels = numbered(per_class)
    assert data.counts.tolist() == [9, 5, 3] and data.class_names == ("c2", "c0", "c1")
    rows, held = [], []
    for c, count in zip(order, (9, 5, 3), strict=True):
        mine = np.flatnonzero(labels == c)
        away = np.sort(np.random.RandomState([20190116, c]).permutation(mine)[:2])
        left = np.setdiff1d(mine, away)
        rows += np.sort(np.random.RandomState([4, c]).permutation(left)[:count]).tolist()
        held.append(away.tolist())
    assert rows_of(data.images) == rows and data.targets.tolist() == [0] * 9 + [1] * 5 + [2] * 3
    # In turns, in the set's own numbering: the first of class 0 (rank 1), of 1 (rank 2), of 2 (rank 0), then the next.
    by_class = [held[1], held[2], held[0]]
    assert rows_of(data.val_images) == [by_class[c][turn] for turn in range(2) for c in range(3)]
    assert data.val_targets.tolist() == [1, 2, 0] * 2
    _, test_labels = numbered((3, 1, 2))
    assert data.test_targets.tolist() == [1, 2, 0, 1, 0, 1]
    assert rows_of(data.test_images)[1] == int(np.flatnonzero(test_labels == 1)[0])


def test_rows_in_turns_over_the_classes():
    labels = [(i * 7919 + i // 3) % 5 for i in range(201)]
    seen = {c: iter([i for i in range(201) if labels[i] == c]) for c in range(5)}
    by_hand = []
    while len(by_hand) < 201:
        by_hand += [row for c in range(5) if (row := next(seen[c], None)) is not None]
    assert longtailed._in_turns(np.array(labels)).tolist() == by_hand


def test_what_is_held_out():
    _, labels = numbered((3, 2))
    held, left = hold_out(labels, "ab", [1, 0], "test")
    assert len(held) == 1 and [len(one) for one in left] == [2, 2]
    assert sorted([*held, *left[0]]) == np.flatnonzero(labels == 0).tolist()
    assert [len(one) for one in hold_out(labels, "ab", 0, "test")[1]] == [3, 2]
    held, left = hold_out(labels, "ab", 1, "test")
    assert labels[held].tolist() == [0, 1] and [len(one) for one in left] == [2, 1]
    for size in (2, 3):
        with refused(f"^class 'b' is left with no image: it has 2, and test holds out {size} of them"):
            hold_out(labels, "ab", [1, size], "test")
    for size in (-1, 1.5, True):
        with refused("^test="):
            hold_out(labels, "ab", [1, size], "test")
    assert [len(one) for one in hold_out(labels[labels == 0], "ab", [1, 0], "test")[1]] == [2, 0], "of no image, none"


def test_what_a_cut_refuses():
    for wrong, words in ((dict(seed=-1), "^seed="), (dict(profile="x"), "^profile="), (dict(ratio=0.5), "^ratio="),
                         (dict(flip=1), "^flip="), (dict(n_max=0, ratio=2), "^n_max="), (dict(pad=-1), "^pad="),
                         (dict(validation=7), "^class 'c2' is left with no image: it has 7, and validation holds out"),
                         (dict(ratio=4, n_max=10), "^n_max=10 is too large: class 'c0' needs 10 images and has 9 left"),
                         (dict(ratio=20, n_max=9), "^class 'c2' is left with no image: ratio=20 with n_max=9"),
                         (dict(validation=(0, 0, 7)), "^class 'c2'.*validation holds out 7")):  # fmt: skip
        with refused(words):
            small(**wrong)
    with refused("pass n_max=9 or less, or hold out fewer images .validation=per class"):
        small(ratio=9, n_max=20, validation=(0, 1, 1))
    with refused("^test=0 leaves nothing to test on"):
        small(test=(0, 0, 0))
    with refused("^class 'c1' is left with no image; hold out fewer"):
        small((3, 0, 0))
    assert small(ratio=9, n_max=9).counts.tolist() == [9, 3, 1], "the last image may be used up, and one is enough"


def test_validation_images_of_ones_own():
    val = numbered((1, 0, 2))
    data = small(val=val, validation=99)
    assert data.val_targets.tolist() == [0, 2, 2] and data.counts.tolist() == [9, 8, 7]
    assert rows_of(data.images) == np.argsort(numbered((9, 8, 7))[1], kind="stable").tolist()


# ---------------------------------------------------------------------------------------------------------- LongTailed
def test_a_data_set_in_words_and_numbers():
    data = digits_lt()
    assert repr(data) == ("digits_lt: 314 training images of 1 x 8 x 8 in 10 classes, 114 to 2 (ratio 57), "
                          "100 validation, 500 test, on cpu")  # fmt: skip
    assert data.ratio == 57.0 and type(data.ratio) is float and len(data) == 314 and data.k == 10
    tall = np.zeros((4, 2, 5, 3), np.uint8)
    labels = np.array([0, 0, 0, 1])
    other = cut(
        "tall",
        (tall, labels),
        (tall, labels),
        "ab",
        ratio=None,
        n_max=None,
        profile="exp",
        seed=0,
        order=np.arange(2),
        validation=0,
        mean=[0.5] * 3,
        std=[0.5] * 3,
        pad=2,
        flip=False,
        recipe="",
        spec={},
    )
    assert other.shape == (3, 2, 5) and other.ratio == 3.0 and not other.has_validation
    with refused("^pad=3: expected a whole number from 0 to 2"):
        dataclasses.replace(other, pad=3)


@pytest.mark.parametrize("change, words", [
    (dict(name=" "), "^name="), (dict(images=np.zeros((3, 8, 8, 1), np.uint8)), "^images=.*expected a tensor"),
    (dict(counts=[1, 2]), "^counts=.*expected a tensor"), (dict(std=None), "^std=None: expected a tensor"),
    (dict(counts=torch.ones(0, dtype=torch.int64)), "^counts: expected int64"),
    (dict(counts=torch.ones((1, 10), dtype=torch.int64)), "^counts: expected int64"),
    (dict(counts=torch.ones(10, dtype=torch.int32)), "^counts: expected int64"),
    (dict(images=torch.zeros((314, 8, 8), dtype=torch.uint8)), "^images: expected uint8"),
    (dict(images=torch.zeros((0, 8, 8, 1), dtype=torch.uint8)), "^images: expected at least one image"),
    (dict(images=torch.zeros((314, 0, 8, 1), dtype=torch.uint8)), "^images: expected at least one image of at least"),
    (dict(val_images=torch.zeros((100, 8, 8, 1), dtype=torch.int8)), "^val_images: expected uint8"),
    (dict(val_images=torch.zeros((100, 8, 9, 1), dtype=torch.uint8)), "^val_images: expected .8, 8, 1. on cpu"),
    (dict(val_images=torch.zeros((100, 8, 0, 1), dtype=torch.uint8)), "^val_images: expected at least one"),
    (dict(val_targets=torch.zeros(99, dtype=torch.int64)), r"^val_targets: expected int64 \(100,\)"),
    (dict(val_targets=torch.zeros(100, dtype=torch.int32)), "^val_targets: expected int64"),
    (dict(val_targets=torch.full((100,), 10)), "^val_targets: expected 0 .. 9, got 10 .. 10; number the classes"),
    (dict(test_targets=torch.arange(500) % 10 - 1), "^test_targets: expected 0 .. 9, got -1 .. 8"),
    (dict(mean=torch.zeros(1, dtype=torch.float64)), "^mean: expected float32"),
    (dict(mean=torch.zeros(2)), r"^mean: expected float32 \(1,\), one finite number for each channel, got"),
    (dict(mean=torch.full((1,), math.inf)), "^mean: expected"),
    (dict(std=torch.full((1,), math.inf)), "^std: expected"), (dict(std=torch.zeros(1)), "^std: expected"),
    (dict(std=-torch.ones(1)), "^std: expected.*above 0"),
    (dict(pad=9), "^pad=9: expected a whole number from 0 to 8"), (dict(flip=0), "^flip=0: expected True or False"),
    (dict(recipe=3), "^recipe=3"), (dict(spec=[]), "^spec="), (dict(spec={"x": object()}), "^spec="),
])  # fmt: skip
def test_parts_that_do_not_fit(change, words):
    with refused(words):
        dataclasses.replace(digits_lt(), **change)


def test_counts_fall_and_none_is_zero():
    data = small((3, 2, 2), test=(1, 1, 1))
    assert data.counts.tolist() == [3, 2, 2], "equal ones are fine"
    for counts in ((2, 3, 2), (3, 4, 0)):
        targets = torch.repeat_interleave(torch.arange(3), torch.tensor(counts))
        with refused("^counts: expected falling numbers >= 1"):
            dataclasses.replace(
                data, images=torch.zeros(7, 1, 1, 3, dtype=torch.uint8), targets=targets, counts=torch.tensor(counts)
            )
    with refused("^counts: expected the number of targets of each class"):
        dataclasses.replace(data, counts=torch.tensor([3, 2, 1]))
    fine = dataclasses.replace(data, mean=torch.full((3,), -2.0), std=torch.full((3,), 1e-3), pad=1, recipe="", spec={})
    assert (fine.pad, fine.recipe, fine.spec) == (1, "", {})
    empty = dataclasses.replace(data, test_images=data.test_images[:0], test_targets=data.test_targets[:0])
    assert empty.test_batch().shape == (0, 3, 1, 1)


def test_what_is_kept_of_a_part_follows_edits_of_that_part():
    data = small((3, 2, 2), test=(2, 1, 1), validation=1, mean=[0.0] * 3, std=[1.0] * 3, pad=1, flip=True)
    assert data.prepare() is data and data.prepare() is data
    value = torch.tensor(200, dtype=torch.uint8)
    for name, batch in (("images", lambda: data.batch([0])), ("val_images", lambda: data.val_batch([0])),
                        ("test_images", lambda: data.test_batch([0]))):  # fmt: skip
        before = batch()
        getattr(data, name)[0] = value
        assert not torch.equal(batch(), before)
        np.testing.assert_allclose(batch().numpy(), 200 / 255, rtol=1e-6)
    assert int(data.padded()[0, 0, 1, 1]) == 200 and int(data.padded()[0, 0, 0, 0]) == 0
    data.std.mul_(2)
    np.testing.assert_allclose(data.test_batch([0]).numpy(), 100 / 255, rtol=1e-6)
    data.mean = torch.full((3,), 0.5)
    for batch in (data.val_batch([0]), data.batch([0]), data.test_batch(slice(0, 1))):
        np.testing.assert_allclose(batch.numpy(), 100 / 255 - 0.25, rtol=1e-5)
    data.batch([0]).zero_()
    data.batch(slice(None)).zero_()
    np.testing.assert_allclose(data.batch([0]).numpy(), 100 / 255 - 0.25, rtol=1e-5)  # a batch is a copy


def test_what_is_kept_is_made_once(monkeypatch):
    """Until a tensor that it was made of changes; nothing else makes it again."""
    made = []

    def counted(name, function):
        def counting(*given, **settings):
            made.append(name)
            return function(*given, **settings)

        return counting

    data = small((4, 3, 2), test=(2, 1, 1), validation=1, pad=1)
    for name in ("pad_black", "normalise"):
        monkeypatch.setattr(longtailed, name, counted(name, getattr(longtailed, name)))
    monkeypatch.setattr(longtailed.hashlib, "sha256", counted("sha256", longtailed.hashlib.sha256))
    monkeypatch.setattr(longtailed.LongTailed, "_check", counted("check", longtailed.LongTailed._check))

    def use():
        made.clear()
        data.prepare()
        for _ in range(2):
            prints = data.fingerprint, data.test_batch()[0], data.batch([0]), data.val_batch(), data.padded()
            assert len(prints[0]) == 16 and data._normalisation() is data._normalisation()
        data.prepare()
        return sorted(made)

    parts = ["normalise"] * 3
    assert use() == [*parts, "pad_black", "sha256"]
    assert use() == []
    data.images[0] += 1
    assert use() == ["check", "normalise", "pad_black", "sha256"]
    data.val_targets[:] = data.val_targets.clone()
    assert use() == ["check", "sha256"]
    data.mean += 0.1
    assert use() == ["check", *parts]
    data.counts = data.counts.clone()
    assert use() == ["check"]
    assert use() == []


@pytest.mark.parametrize("pad, flip", [(1, False), (0, True)])
def test_the_border_is_made_before_the_first_crop(pad, flip, monkeypatch):
    data = small(pad=pad, flip=flip).prepare()
    monkeypatch.setattr(longtailed, "pad_black", lambda *_: pytest.fail("made again"))
    assert data.padded().shape == (24, 3, 1 + 2 * pad, 1 + 2 * pad)


@pytest.mark.parametrize("part", ["images", "targets", "val_images", "val_targets", "test_images", "test_targets"])
def test_the_fingerprint_follows_an_edit_of_any_part(part):
    data = small((4, 3, 2), validation=1)
    before = data.fingerprint
    getattr(data, part)[0] += 1
    after = data.fingerprint
    assert after != before
    getattr(data, part)[0] -= 1
    assert data.fingerprint == before


def test_data_made_without_counting_of_edits():
    """In inference mode torch does not count edits; what is kept there is kept for good."""
    with torch.inference_mode():
        data = small((4, 3, 2), validation=1, pad=1).prepare()
        assert data.batch([0], torch.Generator().manual_seed(0)).shape == (1, 3, 1, 1)
        expected = (data.images[[0]].double() / 255 - 0.5).permute(0, 3, 1, 2) / 0.25
        np.testing.assert_allclose(data.batch([0]).numpy(), expected.numpy(), atol=1e-6)


def test_other_seeds_are_loaded_once_the_data_are_known_to_be_their_loaders(monkeypatch):
    from ltviz import datasets

    loads = []
    monkeypatch.setattr(datasets, "load", lambda spec: loads.append(spec["seed"]) or load(spec))
    data = digits_lt(validation=2)
    for seed in (1, 2):
        assert data.with_seed(seed).fingerprint == digits_lt(validation=2, seed=seed).fingerprint
    assert loads == [0, 1, 2]
    data.pad = 1
    with refused("^data: pad differ from what digits_lt makes"):
        data.with_seed(3)
    data.pad, data.images[0] = 0, 0
    with refused("^data: images or targets differ from what digits_lt makes"):
        data.with_seed(3)


def test_a_copy_on_another_device_has_the_fingerprint_that_is_known(monkeypatch):
    data = small((4, 3, 2), validation=1)
    moved = data.to("cpu:0")  # a copy, though the processor is the same
    if moved is data:
        pytest.skip("torch takes cpu:0 for cpu, and a second device is not at hand")
    before = data.fingerprint
    with monkeypatch.context() as patch:
        patch.setattr(longtailed.hashlib, "sha256", lambda: pytest.fail("computed again"))
        moved = data.to("cpu:0")
        assert moved is not data and moved.fingerprint == before and moved.images is not data.images
    moved.images[0] += 1
    assert moved.fingerprint != before == data.fingerprint == data.to("cpu:0").fingerprint
    data.images[0] += 1
    assert data.to("cpu:0").fingerprint == data.fingerprint == moved.fingerprint


def test_one_validation_image_is_one():
    data = small(val=numbered((1, 0, 0)))
    assert data.has_validation and data.val_batch().shape == (1, 3, 1, 1)
    assert small(ratio=2, n_max=8, profile="step").counts.tolist() == [8, 4, 4]


@pytest.mark.parametrize("keep", [0, 8_000_000])
def test_batches_with_and_without_what_is_kept(keep, monkeypatch):
    monkeypatch.setattr(longtailed, "KEEP", keep)
    data = small((30, 20, 10), test=(2, 2, 2))
    expected = (data.images.permute(0, 3, 1, 2).double() / 255 - 0.5) / 0.25
    for index in ([5, 0], torch.tensor([5, 0]), np.array([5, 0]), (5, 0)):
        np.testing.assert_allclose(data.batch(index).numpy(), expected[[5, 0]].numpy(), atol=1e-6)
    np.testing.assert_allclose(data.batch(slice(1, 9, 3)).numpy(), expected[1:9:3].numpy(), atol=1e-6)
    assert data.batch([]).shape == (0, 3, 1, 1) and data.batch([1]).is_contiguous()
    with refused(r"^index: expected positions 0 .. 59, got -1 .. 60"):
        data.batch([-1, 60])
    for wrong, words in (
        (data.targets == 0, "not a boolean mask"),
        ([0.5], "whole numbers"),
        ("ab", "whole numbers"),
        ([1j], "whole numbers"),
        ([[1]], "whole numbers"),
        (1, "whole numbers"),
    ):
        with refused(f"^index=.*{words}"):
            data.batch(wrong)


def test_moved_edited_and_rebuilt():
    data = small((3, 2, 2))
    assert data.to("cpu") is data and data.to(torch.device("cpu")) is data
    meta = digits_lt(seed=np.int64(3), validation=2)
    again = meta.with_seed(np.int64(4))
    assert again.spec == meta.spec | {"seed": 4} and again.fingerprint != meta.fingerprint
    before = data.fingerprint
    data.test_targets[:2] = data.test_targets[:2].flip(0).clone()
    assert data.fingerprint != before
    with refused("^device='nowhere': expected a device that torch has here"):
        data.to("nowhere")
    with refused("^seed="):
        meta.with_seed(-1)


# -------------------------------------------------------------------------------------------------------------- sources
def write(root, counts, size=(16, 16)):
    for c, n in enumerate(counts):
        (root / f"kind{c}").mkdir(parents=True)
        for i in range(n):
            pixels = np.random.RandomState([c, i]).randint(0, 256, (*size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / f"kind{c}" / f"{i:03d}.png")
    return root


OWN_FOLDER = sources.own_folder


def test_where_downloads_and_caches_land(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "__file__", str(tmp_path / "here" / "ltviz" / "files.py"))
    monkeypatch.setenv("LTVIZ_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert OWN_FOLDER() == tmp_path / "cache"
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "pyproject.toml").touch()
    assert OWN_FOLDER() == tmp_path / "here" / "data"
    assert sources.data_folders() == [sources.own_folder()]
    monkeypatch.setenv("LTVIZ_DATA", "~/sets")
    assert sources.data_folders() == [tmp_path / "home" / "sets", sources.own_folder()]


def test_which_files_are_images(tmp_path):
    for name in ("b/x.JPG", "b/y.Tiff", "b/z.b.png", "b/.x.png", "b/x.txt", "b/xpng", "b/x.png.part", ".c/x.png", "d"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a").mkdir()
    assert sources.class_folders(tmp_path) == ["a", "b"]
    found = sorted(file.name for file in (tmp_path / "b").iterdir() if sources.is_image(file.name))
    assert found == ["x.JPG", "y.Tiff", "z.b.png"]


def test_many_images_are_announced(capsys):
    sources.say_reading(5000)
    assert capsys.readouterr().out == ""
    sources.say_reading(5001)
    assert capsys.readouterr().out == "reading 5,001 image files once; later loads take seconds\n"
    sources.say_reading()
    assert capsys.readouterr().out == "reading an archive of images once; later loads take seconds\n"


PLACES = ((0, 0), (0, 1), (1, 0))  # class and number of each image


def test_an_archive_read_by_hand(tmp_path, capsys):
    root = write(tmp_path / "set", (2, 1))
    (root / "kind0" / "notes.txt").write_text("no image")
    (root / "kind0" / ".hidden.png").write_text("no image")

    def packed(name, *places):
        with tarfile.open(tmp_path / name, "w") as tar:
            for place in places:
                tar.add(root, arcname=place)
        return tmp_path / name

    path = packed("a.tar", "some/test", "some/where/train", "val", "extra", "train/deeper/still")
    found = sources.read_archive(path)
    pixels = [np.random.RandomState([c, i]).randint(0, 256, (16, 16, 3), dtype=np.uint8) for c, i in PLACES]
    for part in ("train", "val", "test"):
        assert np.array_equal(found[f"{part}_images"], pixels) and found[f"{part}_labels"].tolist() == [0, 0, 1]
    assert found["class_names"].tolist() == ["kind0", "kind1"] and len(found) == 7
    assert capsys.readouterr().out.startswith("reading an archive of images once")
    assert sources.read_archive(path).keys() == found.keys() and capsys.readouterr().out == "", "kept"
    kept = sources.own_folder() / "cache" / "images" / f"{sources.cache_name(path)}.npz"
    assert list(sources.own_folder().rglob("*.npz")) == [kept]
    os.utime(path, ns=(1, 1))
    assert sources.read_archive(path).keys() == found.keys()
    assert capsys.readouterr().out != "", "read again when touched"
    for parts in (("train",), ("test",), ("train", "testing")):
        with refused("b.tar holds no images at train/<class>"):
            sources.read_archive(packed("b.tar", *parts))
    (root / "kind1" / "000.png").write_bytes(b"no image")
    with refused("^image .*c.tar:test/kind1/000.png cannot be read"):
        sources.read_archive(packed("c.tar", "train", "test"))


def test_an_image_is_cropped_at_its_centre_and_turned_as_its_camera_was_held(tmp_path):
    pixels = np.zeros((2, 6, 3), np.uint8)
    pixels[:, 2:4] = (10, 20, 30)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    found = sources.decode((tmp_path / "x.png").read_bytes(), "x", 2)
    assert found.shape == (2, 2, 3) and (found == (10, 20, 30)).all() and found.dtype == np.uint8
    turned = Image.fromarray(np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8))
    exif = turned.getexif()
    exif[0x0112] = 6  # a quarter turn clockwise brings it upright
    turned.save(tmp_path / "y.png", exif=exif)
    assert sources.decode((tmp_path / "y.png").read_bytes(), "y").tolist() == [[[255, 0, 0]], [[0, 0, 255]]]
    with refused("^image z cannot be read"):
        sources.decode(b"", "z")


def grey_tiff(bits, pixels, width, more=()):
    """A grey TIFF of one row: tags in their order, then the packed pixels."""
    tags = [(256, 4, width), (257, 4, 1), (258, 3, bits), (259, 3, 1), (262, 3, 1), (273, 4, 0), (277, 3, 1),
            (278, 4, 1), (279, 4, len(pixels)), *more]  # fmt: skip
    start = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, start if tag == 273 else value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0\0\0\0" + pixels


def test_grey_of_12_and_of_16_bits():
    """4,095 is white among 12 bits; 2,048 / 4,095 of 255 is 127.5 and a little."""
    twelve = sources.decode(grey_tiff(12, bytes([0xFF, 0xF8, 0x00]), 2), "x")
    assert twelve.tolist() == [[[255] * 3, [128] * 3]]
    values = np.array([65_535, 257, 128, 129], "<u2")
    assert sources.decode(grey_tiff(16, values.tobytes(), 4), "x")[0, :, 0].tolist() == [255, 1, 0, 1]
    file = io.BytesIO()
    Image.fromarray(np.zeros((2, 2), np.int32)).save(file, "TIFF")
    with refused("^image x cannot be read .its 32-bit values have no range"):
        sources.decode(file.getvalue(), "x")
    with refused("its signed values have no range"):
        sources.decode(grey_tiff(8, bytes(4), 4, [(339, 3, 2)]), "x")


def test_only_a_tag_says_that_zero_is_white():
    """Neither what a tag holds, nor what follows the last one."""
    decoy = struct.pack("<HHII", 262, 3, 1, 0)
    for entry in (struct.pack("<HHIHH", 256, 4, 1, 262, 3), struct.pack("<HHII", 262, 3, 1, 1)):
        data = b"II*\0" + struct.pack("<IH", 8, 1) + entry
        assert sources._black_is_zero(data + decoy) == (data + decoy, False)
        assert sources._black_is_zero(data + bytes(20)) == (data + bytes(20), False)
    data = b"II*\0" + struct.pack("<IH", 8, 1)
    changed = data + struct.pack("<HHII", 262, 3, 1, 1)
    assert sources._black_is_zero(data + decoy) == (changed, True)
    assert sources._black_is_zero(b"PNG") == (b"PNG", False)


def test_an_image_is_made_smaller_by_a_triangle_filter(tmp_path):
    """Twice smaller, the weights of 4 neighbours are 1, 3, 3, 1 of 8; at the border the first is left out, of 7."""
    row = np.array([0, 80, 160, 240, 0, 0, 0, 0], np.uint8)
    file = io.BytesIO()
    Image.fromarray(np.broadcast_to(row[None, :, None], (8, 8, 3)).copy()).save(file, "PNG")
    found = sources.decode(file.getvalue(), "x", 4)
    by_hand = [(3 * 0 + 3 * 80 + 160) / 7, (80 + 3 * 160 + 3 * 240 + 0) / 8, 240 / 8, 0]
    assert np.abs(found[..., 0] - np.array(by_hand)).max() <= 0.5 and (found == found[0]).all()


class Spell:
    """What a pickle can do to whoever opens it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_cache_with_a_pickle_is_made_again_unopened(tmp_path):
    np.savez(tmp_path / "n.npz", key=np.array([Spell(tmp_path / "cast")], object), allow_pickle=True)
    found = sources.cached([tmp_path], "n", "key", lambda: {"x": np.array([1])})
    assert found["x"].tolist() == [1] and not (tmp_path / "cast").exists()


def test_a_damaged_cache_does_not_hide_a_good_one(tmp_path):
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "n.npz").write_bytes(b"damaged")
    sources.cached([tmp_path / "second"], "n", "key", lambda: {"x": np.array([1])})
    folders = [tmp_path / "first", tmp_path / "second"]
    assert sources.cached(folders, "n", "key", lambda: pytest.fail("made again"))["x"].tolist() == [1]


def test_a_cache_belongs_to_its_key(tmp_path):
    def arrays(value):
        return lambda: {"x": np.array([value])}

    first, second = tmp_path / "first", tmp_path / "second"
    read = sources.cached
    assert read([first, second], "n", "key", arrays(1))["x"].tolist() == [1] and not second.exists()
    assert read([first, second], "n", "key", arrays(2))["x"].tolist() == [1]
    assert read([second, first], "n", "key", arrays(2))["x"].tolist() == [1], "found in the second folder as well"
    assert read([first], "n", "other", arrays(3))["x"].tolist() == [3]
    assert read([first], "n", "key", arrays(4))["x"].tolist() == [4]
    assert read([first], "m", "key", arrays(5))["x"].tolist() == [5]
    assert read([second, first], "n", "new", arrays(6))["x"].tolist() == [6] and (second / "n.npz").is_file()
    assert read([second, first], "n", "key", arrays(7))["x"].tolist() == [4], "one that is outdated is passed over"
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match="could not be kept"):
        assert read([tmp_path / "file"], "n", "key", arrays(8))["x"].tolist() == [8]
    assert read([tmp_path / "deep" / "er"], "n", "key", arrays(9))["x"].tolist() == [9]
    assert (tmp_path / "deep" / "er" / "n.npz").is_file()


def test_parts_with_other_classes_or_sizes_are_refused():
    one, two = np.zeros((2, 3, 3), np.uint8), np.zeros((2, 4, 3), np.uint8)
    found = sources._arrays([("train", "b", "f", one), ("train", "a", "g", one + 1), ("test", "a", "h", one),
                             ("test", "b", "i", one)])  # fmt: skip
    assert found["class_names"].tolist() == ["a", "b"] and found["train_labels"].tolist() == [1, 0]
    assert found["test_labels"].tolist() == [0, 1] and found["train_images"][:, 0, 0, 0].tolist() == [0, 1]
    with refused("^image g is 4 x 2, others are 3 x 2; pass size="):
        sources._arrays([("train", "a", "f", one), ("train", "b", "g", two)])
    true = {"a": np.array([1, 2]), "b": np.array([3])}
    changed = (true | {"a": np.array([1, 3])}, true | {"a": np.array([1, 2], np.int32)}, true | {"c": true["a"]},
               {"b": true["b"]}, {"a": true["b"], "b": true["a"]})  # fmt: skip
    assert len({sources._checksum(arrays) for arrays in (true, dict(reversed(true.items())), *changed)}) == 6
    with refused(r"^test/ and train/ hold different classes: \['b', 'c'\]"):
        sources._arrays([("train", "a", "f", one), ("train", "b", "g", one), ("test", "a", "h", one),
                         ("test", "c", "i", one)])  # fmt: skip
