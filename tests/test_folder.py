"""Folders of images as readers have them: layouts, damaged files, repeated images, what is kept, and what is mapped."""

import json
import math
import os
import shutil
import tarfile
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from conftest import real_data
from PIL import Image
from test_datasets import no_decoding, write_folder

import ltviz
from ltviz.datasets import cifar_lt, folder, folder_lt, load, profile_counts, sources, store, stream, tree
from ltviz.datasets.profiles import share_or_number
from ltviz.datasets.stream import Rows, Streamed

REAL = real_data()  # before a test of its own leaves LTVIZ_DATA out


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path_factory):
    """Downloads and caches of a test land in a folder of its own, and nobody's LTVIZ_DATA leaks in."""
    own = tmp_path_factory.mktemp("own")
    monkeypatch.delenv("LTVIZ_DATA", raising=False)
    monkeypatch.setenv("LTVIZ_CACHE", str(own / "cache"))
    monkeypatch.setattr(sources, "own_folder", lambda: own)


def refused(words):
    return pytest.raises(ValueError, match=words)


def picture(*seed, shape=(8, 8)):
    return Image.fromarray(np.random.RandomState(seed).randint(0, 256, (*shape, 3), dtype=np.uint8))


def write(root, **classes):
    """root/<class>/<number>.png, each its own picture; "__" in a class's name is a deeper folder."""
    for name, n in classes.items():
        place = root / name.replace("__", "/")
        place.mkdir(parents=True)
        for i in range(n):
            picture(len(str(place)), *str(place).encode()[-9:], i).save(place / f"{i:03d}.png")
    return root


def written(root, counts, size=(16, 16)):
    for c, n in enumerate(counts):
        (root / f"kind{c}").mkdir(parents=True)
        for i in range(n):
            picture(c, i, shape=size).save(root / f"kind{c}" / f"{i:03d}.png")
    return root


def kept():
    return sorted(sources.cache_places()[0].iterdir())


def test_a_folder_as_it_is(tmp_path):
    write_folder(tmp_path / "own", [10, 40, 20])
    data = folder_lt(tmp_path / "own")
    assert data.name == "own_lt" and data.class_names == ("kind1", "kind2", "kind0")
    assert data.counts.tolist() == [40 - 8 - 4, 20 - 4 - 2, 10 - 2 - 1]
    assert torch.bincount(data.test_targets).tolist() == [8, 4, 2]
    assert torch.bincount(data.val_targets).tolist() == [4, 2, 1]
    assert data.shape == (3, 20, 20) and (data.pad, data.flip) == (2, True) and data.recipe == "cao2019"
    everything = torch.cat([data.images, data.val_images, data.test_images])
    assert len({image.numpy().tobytes() for image in everything}) == 70
    x = data.batch(slice(None))
    assert abs(float(x.mean())) < 0.05 and abs(float(x.std()) - 1) < 0.05
    assert load(json.loads(json.dumps(data.spec))).fingerprint == data.fingerprint


def test_a_folder_made_long_tailed(tmp_path):
    write_folder(tmp_path, [30, 40, 24])
    data = folder_lt(tmp_path, ratio=5, test=4, validation=2, seed=1)
    assert data.class_names == ("kind1", "kind0", "kind2") and data.counts.tolist() == profile_counts(34, 3, 5)
    assert folder_lt(tmp_path, ratio=5, test=4, validation=2, seed=2).fingerprint != data.fingerprint
    natural = folder_lt(tmp_path, ratio=1, class_order="natural", test=4, validation=0)
    assert natural.counts.tolist() == [20, 20, 20] and natural.class_names[0] == "kind0" and not natural.has_validation
    assert folder_lt(tmp_path, ratio=5, class_order=["kind2", "kind0", "kind1"], flip=False, pad=0).flip is False


def test_a_folder_with_parts_of_its_own(tmp_path):
    for salt, (part, counts) in enumerate((("train", [12, 9]), ("test", [3, 3]), ("val", [2, 2]))):
        write_folder(tmp_path / part, counts, salt=salt)
    data = folder_lt(tmp_path)
    assert data.counts.tolist() == [12, 9] and len(data.test_images) == 6 and len(data.val_images) == 4


def test_a_folder_of_several_sizes(tmp_path):
    write_folder(tmp_path, [6, 5], sizes=((20, 30), (40, 24)))
    with pytest.raises(ValueError, match="is 24 x 40, others are 30 x 20; pass size="):
        folder_lt(tmp_path)
    data = folder_lt(tmp_path, size=16)
    assert data.shape == (3, 16, 16) and data.recipe == "cifar16_live"
    assert folder_lt(tmp_path, size=12).shape == (3, 12, 12), "each size has a cache of its own"


def test_folder_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        folder_lt(tmp_path / "nowhere")
    (tmp_path / "a.png").touch()
    with pytest.raises(ValueError, match="0 class folders, at least 2 needed; it holds a.png"):
        folder_lt(tmp_path)
    write_folder(tmp_path, [5, 2, 0])
    with pytest.raises(ValueError, match="kind2 holds no image"):
        folder_lt(tmp_path)
    write_folder(tmp_path / "kind2" / "x", [1])
    with pytest.raises(ValueError, match="several depths: 'kind0' and 'kind2/x/kind0' directly hold images"):
        folder_lt(tmp_path)
    Image.new("L", (20, 20)).save(tmp_path / "kind2" / "0.png")
    with pytest.raises(ValueError, match=r"kind2 holds images and, below it, folders with images \(kind2/x/kind0\)"):
        folder_lt(tmp_path)
    shutil.rmtree(tmp_path / "kind2" / "x")
    with pytest.raises(ValueError, match="class 'kind2' is left with no image: it has 1, and test holds out 1"):
        folder_lt(tmp_path)
    Image.new("L", (20, 20), "white").save(tmp_path / "kind2" / "1.png")
    with pytest.raises(ValueError, match="class 'kind1' is left with no image.*smaller validation="):
        folder_lt(tmp_path)
    with pytest.raises(ValueError, match="test=0 leaves nothing to test on"):
        folder_lt(tmp_path, test=0)
    for bad in (dict(test=1.5), dict(validation=-1), dict(size=2), dict(n_max=3), dict(class_order="natural")):
        with pytest.raises(ValueError, match=next(iter(bad))):
            folder_lt(tmp_path, **({"validation": 0} | bad))
    (tmp_path / "kind1" / "000.png").write_bytes(b"\x89PNG then nothing")
    with pytest.raises(ValueError, match="000.png cannot be read .*; replace or remove it"):
        folder_lt(tmp_path)


def test_a_folder_by_default_and_its_spec(tmp_path):
    root = written(tmp_path / "own", (10, 20))
    data = folder_lt(root)
    assert data.counts.tolist() == [20 - 4 - 2, 10 - 2 - 1] and data.class_names == ("kind1", "kind0")
    assert data.spec == dict(loader="folder_lt", root=str(root), ratio=None, size=None, n_max=None, profile="exp",
                             seed=0, class_order="count", validation=0.1, test=0.2, pad=2, flip=True,
                             on_error="raise", memory=None)  # fmt: skip
    assert data.name == "own_lt" and data.recipe == "cifar16_live" and data.flip is True
    other = folder_lt(root, 2.0, 8, 9, "step", 5, ["kind0", "kind1"], 0, 1, 3, False, "skip", 2.0)
    assert other.spec == dict(loader="folder_lt", root=str(root), ratio=2, size=8, n_max=9, profile="step", seed=5,
                              class_order="natural", validation=0, test=1, pad=3, flip=False, on_error="skip",
                              memory=2)  # fmt: skip
    assert other.counts.tolist() == [9, 4] and other.shape == (3, 8, 8) and other.class_names == ("kind0", "kind1")
    for one in (data, other):
        again = load(one.spec)
        assert again.fingerprint == one.fingerprint and again.identity == one.identity
    for wrong in (dict(n_max=3), dict(profile="step"), dict(class_order="natural"), dict(class_order=[1, 0])):
        with refused(f"^{next(iter(wrong))}= is only for a tail that is cut, ratio=: ratio=None keeps the folder's"):
            folder_lt(root, **wrong)
    for wrong in (dict(size=3), dict(size=4097), dict(pad=-1), dict(test=1.5), dict(validation=-0.1), dict(flip=0)):
        with refused(f"^{next(iter(wrong))}="):
            folder_lt(root, **wrong)
    assert folder_lt(root, size=4).shape == (3, 4, 4) and folder_lt(root, pad=0).spec["pad"] == 0


def test_mean_and_std_of_other_weights(tmp_path):
    root = written(tmp_path / "own", (10, 20))
    mean, std = (0.485, 0.456, 0.406), [0.229, 0.224, 0.225]
    data, plain = folder_lt(root, mean=mean, std=np.array(std)), folder_lt(root)
    np.testing.assert_allclose(data.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(data.std, std, rtol=1e-6)
    pixels = data.test_images[:1].permute(0, 3, 1, 2).numpy() / 255
    expected = (pixels - np.reshape(mean, (1, 3, 1, 1))) / np.reshape(std, (1, 3, 1, 1))
    np.testing.assert_allclose(data.test_batch(slice(0, 1)), expected, atol=1e-5)
    assert data.fingerprint == plain.fingerprint and data.identity != plain.identity
    assert data.spec == plain.spec | {"mean": list(mean), "std": std}
    assert load(json.loads(json.dumps(data.spec))).identity == data.identity == data.with_seed(1).with_seed(0).identity
    for wrong, name in (
        (dict(mean=mean), "std=None"), (dict(std=std), "mean=None"), (dict(mean=mean, std=[1, 1]), "std"),
        (dict(mean=[123.7, 116.3, 103.5], std=std), "mean"), (dict(mean=mean, std=[0, 1, 1]), "std"),
        (dict(mean=0.5, std=0.5), "mean"), (dict(mean=[0.5, np.nan, 0.5], std=std), "mean"),
        (dict(mean="imagenet", std=std), "mean"), (dict(mean=[True, False, True], std=std), "mean"),
    ):  # fmt: skip
        with refused(f"^{name}.*expected 3 numbers from 0 to 1, one a channel"):
            folder_lt(root, **wrong)


def test_a_folder_whose_images_are_not_square(tmp_path):
    data = folder_lt(written(tmp_path / "wide", (5, 5), (16, 40)), validation=0)
    assert data.shape == (3, 16, 40) and data.pad == 2 and data.recipe == "photos"
    assert data.class_names == ("kind0", "kind1"), "equal counts in the order of the names"
    high = folder_lt(written(tmp_path / "high", (2, 9), (15, 7)), validation=0, test=1)
    assert high.shape == (3, 15, 7) and high.pad == 0 and high.recipe == "cifar16_live"
    assert high.counts.tolist() == [8, 1]


def test_classes_of_equal_counts_stand_in_the_order_of_their_names(tmp_path):
    counts = [3 + c * 7 % 2 for c in range(40)]
    data = folder_lt(written(tmp_path, counts, (2, 2)), validation=0, test=1)
    assert data.counts.tolist() == [3] * 20 + [2] * 20
    ranked = sorted(sorted(f"kind{c}" for c in range(40)), key=lambda name: -counts[int(name[4:])])
    assert list(data.class_names) == ranked


@pytest.mark.parametrize(
    "shape, largest, recipe",
    [
        ((40, 16), 3, "photos"),
        ((16, 40), 3, "photos"),
        ((16, 4), 1000, "cifar16_live"),
        ((4, 16), 1001, "cifar16"),
        ((32, 4), 3, "cao2019"),
        ((40, 1), 4998, "photos"),
        ((40, 1), 4999, "photos_many"),
    ],
)
def test_the_recipe_of_a_folder(shape, largest, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "scan", lambda root: tree.Tree(root, ["a", "b"]))
    files = [tree.Found(part, name, "", "", (0, 0, 0))
             for part in ("train", "test") for name in ["a"] * largest + ["b"] * 2]  # fmt: skip
    digests = np.arange(len(files)).astype("V16")
    found = store.Decoded(np.zeros((len(files), *shape, 3), np.uint8), files, {}, digests, np.ones((3, 256), int))
    monkeypatch.setattr(store, "read", lambda *_: found)
    data = folder_lt(tmp_path, validation=0)
    assert data.recipe == recipe and data.pad == min(shape) // 8 and data.counts.tolist() == [largest, 2]


def test_a_folder_in_parts(tmp_path):
    for part, counts in (("train", (4, 9)), ("test", (2, 1)), ("val", (1, 3))):
        write(tmp_path / part, kind0=counts[0], kind1=counts[1])
    data = folder_lt(tmp_path, ratio=3, n_max=9, test=7, validation=7)
    assert data.counts.tolist() == [9, 3] and torch.bincount(data.test_targets).tolist() == [1, 2]
    assert torch.bincount(data.val_targets).tolist() == [3, 1]
    (tmp_path / "val").rename(tmp_path / "more")
    with pytest.warns(
        UserWarning, match=r"beside train/, more/ \(4 image files\) is not read; parts are called train, tr"
    ):
        data = folder_lt(tmp_path, validation=2)
    assert data.folder.beside == {"more": 4}
    assert data.counts.tolist() == [7, 2] and torch.bincount(data.val_targets).tolist() == [2, 2]
    (tmp_path / "train").rename(tmp_path / "all")
    with refused("holds test/ and no train/; call the folder of training images train/"):
        folder_lt(tmp_path)
    (tmp_path / "one" / "kind").mkdir(parents=True)
    picture(0).save(tmp_path / "one" / "kind" / "0.png")
    with refused("one has 1 class folder, at least 2 needed; it holds kind"):
        folder_lt(tmp_path / "one")
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        folder_lt(tmp_path / "none")


def test_shares_and_numbers():
    def amount(value):
        return share_or_number("test", value, folder.HELD)

    found = [amount(value) for value in (0, 0.25, 1, 7.0, np.float32(0.5), np.int8(1), torch.tensor(2), 0.0)]
    assert found == [0, 0.25, 1, 7, 0.5, 1, 2, 0]
    assert [type(one) for one in found] == [int, float, int, int, float, int, int, int]
    for wrong in (1.0, np.float32(1), 1.5, 2.5, -1, -0.5, math.nan, math.inf, "1", None, True):
        with refused(r"^test=.*a share below 1, or a whole number of images of each class \(1, not 1.0\)"):
            amount(wrong)
    available = np.array([100, 26, 4, 1])
    assert folder._per_class(0.1, available) == [10, 3, 1, 1] and folder._per_class(2, available) == [2, 2, 2, 2]
    colours = np.zeros((3, 256), np.int64)
    colours[0, [0, 51, 255]], colours[1, 51], colours[2, [0, 51, 255]] = (2, 1, 1), 4, (2, 1, 1)
    mean, std = store.Decoded(np.zeros(0), [], {}, np.zeros(0), colours).moments()
    assert mean == pytest.approx([0.3, 0.2, 0.3]) and type(mean[0]) is float
    assert std == pytest.approx([np.sqrt((2 * 0.09 + 0.49 + 0.01) / 4), 1 / 255, np.sqrt(0.68 / 4)])


# -------------------------------------------------------------------------------------------------------------- layouts
@pytest.mark.parametrize("train", ["train", "Train", "TRAIN", "training"])
@pytest.mark.parametrize("val, test", [("val", "test"), ("Valid", "Testing"), ("VALIDATION", "TEST")])
def test_parts_by_any_of_their_names(tmp_path, train, val, test):
    for part, counts in ((train, (5, 4)), (val, (2, 1)), (test, (1, 3))):
        write(tmp_path / part, ant=counts[0], bee=counts[1])
    data = folder_lt(tmp_path, validation=0)
    assert data.counts.tolist() == [5, 4] and data.class_names == ("ant", "bee")
    assert torch.bincount(data.val_targets).tolist() == [2, 1] and torch.bincount(data.test_targets).tolist() == [1, 3]
    first = np.asarray(Image.open(tmp_path / test / "ant" / "000.png"))
    assert np.array_equal(data.test_images[0], first)


def test_two_folders_for_one_part_and_parts_one_folder_down(tmp_path):
    write(tmp_path / "a", train__x=2, train__y=2, val__x=1, val__y=1, Valid__x=1, Valid__y=1)
    with refused("holds Valid/ and val/, both a val part; keep one of them"):
        folder_lt(tmp_path / "a")
    write(tmp_path / "b", set__train__x=2, set__train__y=2, set__test__x=2, set__test__y=2)
    with refused(r"b holds set/test/x/, and test/ is what a part is called; pass root='.*b/set'"):
        folder_lt(tmp_path / "b")


@pytest.mark.parametrize("names", [("train_set", "test_set", "val_set"), ("trn", "tst"), ("2 TrainData", "1-Eval")])
def test_folders_that_look_like_parts_are_no_classes(tmp_path, names):
    for name in names:
        write(tmp_path / name, ant=3, bee=2)
    first = sorted(names)[0]
    with refused(f"holds {first}/, .*, each with a class 'ant': they look like the parts of one set; call them train/"):
        folder_lt(tmp_path)


def test_folders_of_the_same_classes_are_told_of(tmp_path):
    for name in ("north", "south", "trainers"):
        write(tmp_path / name, ant=3, bee=3)
    with pytest.warns(UserWarning, match="north/, south/, trainers/, each with the same 2 .*6 classes") as found:
        data = folder_lt(tmp_path, validation=0, test=1)
    assert data.k == 6 and found[0].filename == __file__
    write(tmp_path / "south", cat=3)
    assert folder_lt(tmp_path, validation=0, test=1).k == 7


def test_names_of_parts_are_reserved(tmp_path):
    write(tmp_path / "a", ant=3, test=3)
    with refused("holds test/ and no train/; .*If test/ is a class, rename it: train, training, .* names of parts"):
        folder_lt(tmp_path / "a")
    write(tmp_path / "b", ant=3, train=3)
    with refused("b/train has 0 class folders.*If train/ is a class, rename it: train, training, val"):
        folder_lt(tmp_path / "b")
    write(tmp_path / "c", **{"Train __ant": 3, "Train __bee": 4, "TEST __ant": 1, "TEST __bee": 2})
    data = folder_lt(tmp_path / "c", validation=0)
    assert data.class_names == ("bee", "ant") and data.counts.tolist() == [4, 3] and len(data.test_images) == 3


def test_classes_in_folders(tmp_path):
    """Omniglot's alphabets and characters: one name in two alphabets is two classes."""
    data = folder_lt(write(tmp_path, Greek__alpha=6, Greek__beta=4, Latin__alpha=5), validation=0, test=1)
    assert data.class_names == ("Greek/alpha", "Latin/alpha", "Greek/beta") and data.counts.tolist() == [5, 4, 3]
    write(tmp_path, Runes=3)
    with refused("several depths: 'Runes' and 'Greek/alpha' directly hold images"):
        folder_lt(tmp_path)


def test_a_test_part_with_other_classes(tmp_path):
    write(tmp_path, train__ant=3, train__bee=3, train__cat=3, test__ant=2, test__dog=1)
    words = "test/ lacks bee, cat and adds dog; without images in test/ a class has no accuracy.*cannot be learned"
    with refused(words):
        folder_lt(tmp_path)
    shutil.rmtree(tmp_path / "test" / "dog")
    with refused("test/ lacks bee, cat; without"):
        folder_lt(tmp_path)


def test_every_empty_class_is_named(tmp_path):
    write(tmp_path, ant=3, bee=0, cat=3, dog=0)
    (tmp_path / "dog" / "notes.txt").touch()
    with refused("class folder .*bee, .*dog holds no image .*; add at least one, or remove the folder"):
        folder_lt(tmp_path)


def test_what_is_no_folder_of_classes(tmp_path):
    (tmp_path / "set.zip").write_bytes(b"PK")
    with refused("set.zip' is a file; give the folder .*unpack"):
        folder_lt(tmp_path / "set.zip")
    flat = tmp_path / "flat"
    flat.mkdir()
    for i in range(3):
        picture(i).save(flat / f"{i}.png")
    with refused("flat has 0 class folders.*0.png, 1.png, 2.png: 3 images, each of which belongs in the folder of its"):
        folder_lt(flat)
    write(flat, train__x=2, train__y=2, test=2)
    with refused("flat/test has 0 class folders.*: 2 images"):
        folder_lt(flat)


def test_classes_of_one_image(tmp_path):
    write(tmp_path, train__ant=1, train__bee=4, train__cat=1, test__ant=1, test__bee=1, test__cat=1)
    data = folder_lt(tmp_path, validation=0)
    assert data.counts.tolist() == [4, 1, 1] and torch.bincount(data.test_targets).tolist() == [1, 1, 1]
    words = "'ant' .*it has 1, and validation holds out 1; class 'cat' .*; pass a smaller validation= .*share"
    with refused(words):
        folder_lt(tmp_path)
    shutil.rmtree(tmp_path / "test")
    with refused("class 'ant' is left with no image: it has 1, and test holds out 1; class 'cat'.*smaller test="):
        folder_lt(tmp_path, validation=0)


def test_a_folder_in_a_mess(tmp_path):
    """Hidden and system files, other files, odd names, upper-case endings, links: read, or passed over and counted."""
    root = write(tmp_path / "my set", ant=3)
    odd = root / "Bär & 蜂 (2)"
    odd.mkdir()
    for i, name in enumerate(("a b.PNG", "ü.Jpg", "雪.JPEG", "x.tar.png", "é.BMP", "g.GIF", "t.TIFF")):
        picture(i, 77).save(odd / name)
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._a.png", "labels.csv", "LICENSE"):
        (odd / name).write_text("no image")
    (root / "ant" / "thumbnails").mkdir()
    (root / "__MACOSX" / "ant").mkdir(parents=True)
    (root / "__MACOSX" / "ant" / "000.png").write_text("no image")
    (root / ".git").mkdir()
    picture(9).save(root / "overview.png")
    (root / "ant" / "link.png").symlink_to(odd / "a b.PNG")
    os.symlink(tmp_path / "elsewhere", root / "cat")
    write(tmp_path, elsewhere=2)
    with pytest.warns(UserWarning, match="1 image is under more than one class.*: Bär & 蜂 .2./a b.PNG = ant/link.png"):
        data = folder_lt(root, validation=0, test=1)
    assert data.name == "my set_lt" and data.class_names == ("Bär & 蜂 (2)", "ant", "cat")
    assert data.counts.tolist() == [6, 3, 1]
    assert data.folder.ignored == {
        "hidden": 6, ".csv": 1, "without an ending": 1, "images beside the class folders": 1,
    }  # fmt: skip
    assert data.folder.bad == {} and data.folder.repeated == [["Bär & 蜂 (2)/a b.PNG", "ant/link.png"]]
    (root / "ant" / "again").symlink_to(root)
    with refused("links to a folder that it lies in"):
        folder_lt(root)


def test_names_that_look_alike_are_one_class(tmp_path):
    """Macs write an accent as a letter of its own."""
    write(tmp_path, train__ant=3, test__ant=1)
    for part, name, n in (("train", "e\u0301", 3), ("test", "\u00e9", 1)):
        (tmp_path / part / name).mkdir()
        for i in range(n):
            picture(i, n).save(tmp_path / part / name / f"{i}.png")
    assert folder_lt(tmp_path, validation=0).class_names == ("ant", "\u00e9")
    write(tmp_path / "train", **{"\u00e9": 1})
    with refused("two folders whose names look alike"):
        folder_lt(tmp_path)


# ------------------------------------------------------------------------------------------------------------ bad files
def bad_folder(root):
    write(root, ant=6, bee=4)
    whole = (root / "ant" / "000.png").read_bytes()
    (root / "ant" / "000.png").write_bytes(whole[:100])
    (root / "ant" / "001.png").write_bytes(b"")
    (root / "ant" / "002.png").write_text("<html>not found</html>")
    (root / "bee" / "x.heic").write_bytes(b"ftypheic")
    (root / "bee" / "y.png").symlink_to(root / "nowhere.png")
    Image.fromarray(np.full((8, 8), 7.5, np.float32)).save(root / "bee" / "z.tif")
    return {"ant/000.png", "ant/001.png", "ant/002.png", "bee/x.heic", "bee/y.png", "bee/z.tif"}


def test_all_bad_files_are_named_at_once(tmp_path):
    bad = bad_folder(tmp_path)
    with refused(r"^6 images: .*; replace or remove them, or pass on_error=\"skip\"") as caught:
        folder_lt(tmp_path)
    assert all(name in str(caught.value) for name in bad)
    for words in (
        "heic is not read here; save it as PNG",
        "a link to nothing",
        "7.5 .. 7.5 are not in 0 .. 1",
        "001.png cannot be read (an empty file)",
        "002.png cannot be read (no kind of image that is known)",
    ):
        assert words in str(caught.value)
    for i in range(12):
        (tmp_path / "ant" / f"more{i:02d}.png").touch()
    with refused("^18 images: .*; and 8 more; replace"):
        folder_lt(tmp_path)


def test_bad_files_are_left_out_and_listed(tmp_path):
    bad = bad_folder(tmp_path)
    with pytest.warns(UserWarning, match="^6 images are left out, unreadable: .*heic") as told:
        data = folder_lt(tmp_path, validation=0, test=1, on_error="skip")
    assert len(told) == 1 and told[0].filename == __file__
    assert set(data.folder.bad) == bad and data.counts.tolist() == [3, 2] and data.class_names == ("bee", "ant")
    with pytest.warns(UserWarning, match="^6 images"):
        again = load(json.loads(json.dumps(data.spec)))
    assert again.fingerprint == data.fingerprint and again.folder == data.folder
    clean = tmp_path.parent / f"{tmp_path.name}-clean"
    shutil.copytree(tmp_path, clean, symlinks=True)
    for name in bad:
        (clean / name).unlink()
    assert folder_lt(clean, validation=0, test=1).identity == data.identity, "as if they had never been there"
    for name in ("003", "004", "005"):
        (tmp_path / "ant" / f"{name}.png").write_bytes(b"")
    with refused(r"no image of a class can be read \(train: ant\); mend"):
        folder_lt(tmp_path, on_error="skip")


def test_a_folder_of_nothing_that_can_be_read(tmp_path):
    for name in ("ant", "bee"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.png").touch()
    for how in ("raise", "skip"):
        with refused("^2 images: ant/0.png cannot be read .*bee/0.png cannot be read"):
            folder_lt(tmp_path, on_error=how)


def test_a_file_that_can_be_read_again_is(tmp_path, monkeypatch):
    write(tmp_path, ant=4, bee=4)
    read = Path.read_bytes
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", lambda path: _away() if path.name == "002.png" else read(path))
        with refused(r"^2 images: ant/002.png cannot be read \(drive away\); bee/002.png"):
            folder_lt(tmp_path, validation=0)
    assert folder_lt(tmp_path, validation=0).counts.tolist() == [3, 3]


def _away():
    raise OSError(5, "drive away")


def test_wrong_arguments_of_reading(tmp_path):
    write(tmp_path, ant=4, bee=4)
    for value in (None, True, "ignore", "Skip", 1, ["raise"]):
        with refused("^on_error="):
            folder_lt(tmp_path, on_error=value)
    for value in (0, -1, True, "1", math.nan, math.inf, [1]):
        with refused("^memory="):
            folder_lt(tmp_path, memory=value)


# ------------------------------------------------------------------------------------------------------ repeated images
def test_images_in_two_parts_are_warned_of(tmp_path):
    write(tmp_path, train__ant=4, train__bee=4, test__ant=2, test__bee=2)
    shutil.copy(tmp_path / "train" / "ant" / "001.png", tmp_path / "test" / "ant" / "copy.png")
    Image.open(tmp_path / "train" / "bee" / "002.png").save(tmp_path / "test" / "bee" / "saved.bmp")
    words = r"^2 images are in more than one .*train/ant/001.png .training. = test/ant/copy.png .test.; train/bee/002"
    with pytest.warns(UserWarning, match=words) as told:
        data = folder_lt(tmp_path, validation=0)
    assert len(told) == 1 and told[0].filename == __file__
    assert data.folder.repeated == [
        ["train/ant/001.png", "test/ant/copy.png"],
        ["train/bee/002.png", "test/bee/saved.bmp"],
    ]


def test_images_under_two_classes_are_warned_of(tmp_path):
    write(tmp_path, train__ant=4, train__bee=4, test__ant=2, test__bee=2)
    shutil.copy(tmp_path / "train" / "ant" / "001.png", tmp_path / "train" / "bee" / "copy.png")
    with pytest.warns(UserWarning, match="^1 image is under more than one class.*ant/001.png = train/bee/cop") as told:
        folder_lt(tmp_path, validation=0)
    assert len(told) == 1


def test_an_image_that_is_twice_in_a_class_may_be_held_out_once(tmp_path):
    """Where parts are held out by chance, a copy can come into another part; inside the training part it is listed."""
    write(tmp_path, ant=5, bee=5)
    for i in range(5):
        shutil.copy(tmp_path / "ant" / f"{i:03d}.png", tmp_path / "ant" / f"copy{i}.png")
    with pytest.warns(UserWarning, match="images are in more than one of the training, validation and test parts"):
        data = folder_lt(tmp_path, validation=1, test=2)
    assert len(data.folder.repeated) == 5
    only = write(tmp_path / "only", train__ant=3, train__bee=3, test__ant=1, test__bee=1)
    shutil.copy(only / "train" / "ant" / "000.png", only / "train" / "ant" / "copy.png")
    assert folder_lt(only, validation=0).folder.repeated == [["train/ant/000.png", "train/ant/copy.png"]]


# ----------------------------------------------------------------------------------------------------------- the pixels
def test_frames_colours_and_transparency_by_rule(tmp_path):
    """A red first frame, red ink, a red palette entry and a red half of a see-through picture: all are as they look."""
    red, blue, place = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue"), tmp_path / "train" / "ant"
    write(tmp_path, train__ant=0, train__bee=0)
    red.save(place / "a.gif", save_all=True, append_images=[blue])
    red.save(place / "b.tif", save_all=True, append_images=[blue])
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(place / "c.tif")
    palette = red.quantize(2)
    palette.save(place / "d.png", transparency=int(np.asarray(palette)[0, 0]))
    Image.new("LA", (4, 4), (0, 0)).save(place / "e.png")
    Image.fromarray(np.full((4, 4), 32_896, np.uint16)).save(place / "f.png")
    Image.fromarray(np.full((4, 4), 0.25, np.float32)).save(place / "g.TIF")
    blue.save(tmp_path / "train" / "bee" / "0.png")
    found = store.read(tree.scan(tmp_path), None)
    expected = [(255, 0, 0)] * 3 + [(255,) * 3] * 2 + [(128,) * 3, (64,) * 3, (0, 0, 255)]
    assert found.pixels[:, 1, 1].tolist() == [list(one) for one in expected]
    assert [file.name.rpartition("/")[2] for file in found.files[:3]] == ["a.gif", "b.tif", "c.tif"]


# ------------------------------------------------------------------------------------------------------- what is kept
def test_the_readers_folder_stays_as_it_is(tmp_path):
    root = write(tmp_path / "set", ant=4, bee=5)
    old = root / ".ltviz-cache"
    old.mkdir()
    (old / "set.npz").write_bytes(b"of an older version")
    before = sorted(path.name for path in tmp_path.rglob("*"))
    folder_lt(root, validation=0)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before and len(kept()) == 2
    shutil.rmtree(old)
    assert torchvision.datasets.ImageFolder(root).classes == ["ant", "bee"]


def test_every_change_of_a_file_is_seen(tmp_path, monkeypatch):
    """Added, removed, renamed, replaced by one of equal size, and two that change their names: no pixel is stale."""
    write(tmp_path, ant=4, bee=3)
    ant = tmp_path / "ant"
    for i, path in enumerate(sorted(tmp_path.rglob("*.png"))):  # all of one size and one time
        picture(i).save(path.with_suffix(".bmp"))
        path.unlink()
    for path in tmp_path.rglob("*.bmp"):
        os.utime(path, ns=(10, 10))

    def replace():
        picture(99).save(ant / "001.bmp")

    def swap():
        (ant / "001.bmp").rename(ant / "x")
        (ant / "002.bmp").rename(ant / "001.bmp")
        (ant / "x").rename(ant / "002.bmp")

    def same_size_and_time():
        picture(98).save(ant / "001.bmp")
        os.utime(ant / "001.bmp", ns=(10, 10))

    changes = [
        lambda: picture(50).save(ant / "new.png"),
        lambda: (ant / "000.bmp").unlink(),
        lambda: (ant / "new.png").rename(ant / "0.png"),
        lambda: (ant / "003.bmp").rename(tmp_path / "bee" / "003.bmp"),
        replace, swap, same_size_and_time,
    ]  # fmt: skip
    folder_lt(tmp_path, validation=0, test=1)
    for change in changes:
        change()
        found = store.read(tree.scan(tmp_path), None)
        expected = [np.asarray(Image.open(file.path)) for file in found.files]
        assert np.array_equal(found.pixels, expected) and len(expected) == len(list(tmp_path.glob("*/*.*")))
        assert len(kept()) == 2, "pixels of the folder as it was before go away"
        with monkeypatch.context() as patch:
            no_decoding(patch)
            assert np.array_equal(store.read(tree.scan(tmp_path), None).pixels, expected)


@pytest.mark.parametrize("what", ["pixels", "notes"])
def test_a_damaged_cache_is_made_again(tmp_path, monkeypatch, what):
    write(tmp_path, ant=3, bee=3)
    true = folder_lt(tmp_path, validation=0).fingerprint
    file = next(path for path in kept() if (path.suffix == ".pixels") == (what == "pixels"))
    whole = file.read_bytes()
    damages = [whole[:-1], b"", whole + b"\0", *(
        whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :] for at in range(0, len(whole), 1 + len(whole) // 30)
    )]  # fmt: skip
    for damage in damages:
        file.write_bytes(damage)
        assert folder_lt(tmp_path, validation=0).fingerprint == true
    file.unlink()
    assert folder_lt(tmp_path, validation=0).fingerprint == true
    no_decoding(monkeypatch)
    assert folder_lt(tmp_path, validation=0).fingerprint == true


def test_sizes_of_one_folder_are_kept_apart(tmp_path):
    root = written(tmp_path / "set", (1, 1), (8, 16))
    for size in (4, 8, None):
        for _ in range(2):
            shape = (8, 16) if size is None else (size, size)
            assert store.read(tree.scan(root), size).pixels.shape == (2, *shape, 3)
    assert len(kept()) == 6
    names = [sources.cache_name(root), sources.cache_name(root, 8), sources.cache_name(tmp_path / "other" / "set")]
    assert len(set(names)) == 3 and all(name.startswith("set-") for name in names) and names[1] == names[0] + "-8"
    assert sources.cache_name(tmp_path / "x" / ".." / "set") == names[0] and len(names[0]) == len("set-") + 12


def test_a_long_name_and_a_relative_root(tmp_path, monkeypatch):
    root = write(tmp_path / ("ß" * 120), ant=3, bee=3)
    data = folder_lt(root, validation=0)
    monkeypatch.chdir(root)
    no_decoding(monkeypatch)
    assert folder_lt(".", validation=0).identity == data.identity and folder_lt(".", validation=0).name == data.name


def test_folders_read_by_hand(tmp_path):
    write(tmp_path, train__ant=2, train__bee=1, test__ant=1, test__bee=1, val__cow=1, more__ant=1)
    found = store.read_folders(tmp_path)
    assert sorted(found) == ["class_names", "test_images", "test_labels", "train_images", "train_labels"]
    assert found["class_names"].tolist() == ["ant", "bee"] and found["train_labels"].tolist() == [0, 0, 1]
    assert found["train_labels"].dtype == np.int64 and found["train_images"].dtype == np.uint8
    for row, name in enumerate(("ant/000", "ant/001", "bee/000")):
        assert np.array_equal(found["train_images"][row], Image.open(tmp_path / "train" / f"{name}.png"))


# ------------------------------------------------------------------------------------------------- beyond the memory
SMALL = 1e-6  # GiB, that is 1,074 bytes: less than six images of 8 x 8


def pair(root, **settings):
    return folder_lt(root, **settings), folder_lt(root, memory=SMALL, **settings)


def test_rows_are_chosen_first_and_copied_once(tmp_path, monkeypatch):
    images = np.arange(10 * 12, dtype=np.uint8).reshape(10, 2, 2, 3)
    monkeypatch.setattr(stream, "BLOCK", 30)  # two images
    for spill in (None, tmp_path):
        rows = Rows(images, spill=spill)[np.array([9, 3, 3, 0, 7])][np.array([1, 4, 0])]
        found = np.ascontiguousarray(rows)
        assert rows.shape == (3, 2, 2, 3) and np.array_equal(found, images[[3, 7, 9]])
        assert np.ascontiguousarray(rows[np.array([], int)]).shape == (0, 2, 2, 3)
        found[0] = 0
        assert images[3, 0, 0, 0] == 36, "a copy"
    assert not list(tmp_path.iterdir()), "the file has no name"


def test_mapped_images_are_those_in_memory(tmp_path):
    root = write(tmp_path, ant=14, bee=9, cat=6)
    for settings in (dict(), dict(ratio=2, seed=3), dict(size=4, pad=2, validation=2), dict(validation=0, flip=False)):
        plain, mapped = pair(root, **settings)
        assert type(plain) is ltviz.LongTailed and type(mapped) is Streamed
        assert mapped.identity == plain.identity and mapped.counts.tolist() == plain.counts.tolist()
        assert {**mapped.spec, "memory": None} == plain.spec and mapped.spec["memory"] == SMALL
        for name in ("images", "val_images", "test_images"):
            assert torch.equal(getattr(mapped, name), getattr(plain, name))
        for index in (slice(1, 5), [0, 3, 3], torch.arange(len(plain)), slice(0, 0)):
            assert torch.equal(mapped.batch(index), plain.batch(index))
            draws = [torch.Generator().manual_seed(5) for _ in range(2)]
            assert torch.equal(mapped.batch(index, draws[0]), plain.batch(index, draws[1]))
            assert torch.equal(draws[0].get_state(), draws[1].get_state())
        assert torch.equal(mapped.test_batch(), plain.test_batch()) and torch.equal(
            mapped.val_batch(), plain.val_batch()
        )
        assert torch.equal(mapped.padded(), plain.padded()) and mapped.prepare() is mapped and mapped._padded is None
        assert mapped.to("cpu") is mapped and type(mapped.with_seed(4)) is Streamed
        assert mapped.with_seed(4).identity == plain.with_seed(4).identity
        for wrong in ([len(plain)], [0.5], [True]):
            with refused("^index"):
                mapped.batch(wrong)
        with refused("^device="):
            mapped.to("nowhere")
        with refused("^generator="):
            mapped.batch([0], 3)


def test_training_on_mapped_images_gives_the_same_run(tmp_path, device):
    """On a CPU to the last bit; on a GPU, where convolutions add up in any order, nearly."""
    plain, mapped = pair(write(tmp_path, ant=14, bee=9, cat=6), size=8)
    recipe = dict(recipe="cifar16_live", epochs=2, device=device, progress=False, seed=1)
    runs = [ltviz.train("ldam_drw", data, **recipe) for data in (plain, mapped)]
    assert runs[0].id == runs[1].id
    same = np.testing.assert_array_equal if device == "cpu" else partial(np.testing.assert_allclose, atol=0.1)
    same(runs[0].logits, runs[1].logits)
    same(runs[0].history["loss"], runs[1].history["loss"])
    for name, value in runs[1].network.items():
        same(runs[0].network[name], value)


def test_edits_of_mapped_images_stay_in_memory(tmp_path):
    _, mapped = pair(write(tmp_path, ant=14, bee=9))
    before = mapped.fingerprint
    mapped.images[0] = 0
    assert mapped.fingerprint != before and float(mapped.batch([0]).std()) < 0.2
    with refused("^data: images or targets differ"):
        mapped.with_seed(1)
    assert pair(tmp_path)[1].fingerprint == before


def test_images_beyond_the_memory_that_cannot_be_kept(tmp_path, monkeypatch):
    root = write(tmp_path / "set", ant=14, bee=9)
    for place in sources.cache_places():
        place.parent.mkdir(exist_ok=True)
        place.touch()
    with pytest.warns(UserWarning, match="could not be kept.*set LTVIZ_CACHE"):
        data = folder_lt(root)
    assert data.counts.tolist() == [14 - 3 - 1, 9 - 2 - 1]
    with pytest.warns(UserWarning, match="could not be kept"):
        with refused("take more than 1e-06 GiB of memory and cannot be kept .*; set LTVIZ_CACHE to a folder with room"):
            folder_lt(root, memory=SMALL)


def test_a_full_disk_is_said(tmp_path, monkeypatch):
    root = write(tmp_path / "set", ant=14, bee=9)
    folder_lt(root)

    def full(**_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stream.tempfile, "TemporaryFile", full)
    with refused(r"do not fit into .*images \(No space left on device\); set LTVIZ_CACHE .*larger memory="):
        folder_lt(root, memory=SMALL)


def test_the_memory_by_default_is_a_quarter_of_the_machines(monkeypatch):
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}.__getitem__, raising=False)
    assert stream.memory_bound(None) == 1_024_000
    assert stream.memory_bound(2) == stream.memory_bound(np.float32(2)) == 2**31
    monkeypatch.delattr(os, "sysconf")
    assert stream.memory_bound(None) == 2**32


@pytest.mark.gpu
def test_mapped_images_for_a_gpu_are_moved_batch_by_batch(tmp_path):
    plain, mapped = (data.to("cuda") for data in pair(write(tmp_path, ant=14, bee=9)))
    assert mapped.images.device.type == "cpu" and mapped.device.type == "cuda" and mapped.identity == plain.identity
    index = torch.tensor([3, 0], device="cuda")
    draws = [torch.Generator("cuda").manual_seed(5) for _ in range(2)]
    assert torch.equal(mapped.batch(index, draws[0]), plain.batch(index, draws[1]))
    assert torch.equal(mapped.test_batch(), plain.test_batch())


# ---------------------------------------------------------------------------------------------------------- real images
@pytest.mark.realdata
def test_omniglot(tmp_path):
    """Five alphabets of 136 characters, each drawn by 20 people, 105 x 105 in black and white."""
    path = REAL / "images_background_small1.zip"
    if not path.is_file():
        pytest.skip(f"realdata: no {path}")
    with zipfile.ZipFile(path) as packed:
        packed.extractall(tmp_path)
    data = folder_lt(tmp_path / "images_background_small1", size=28, flip=False)
    assert data.k == 136 and data.shape == (3, 28, 28) and data.counts.tolist() == [14] * 136
    assert "Greek/character01" in data.class_names and len({name.split("/")[0] for name in data.class_names}) == 5
    assert len(data.test_images) == 4 * 136 and len(data.val_images) == 2 * 136 and data.folder.bad == {}
    assert 0.85 < float(data.mean[0]) < 0.97, "black ink on white"


@pytest.mark.realdata
@pytest.mark.slow
def test_cifar10_as_image_files(tmp_path):
    """60,000 files are the data of the archive that they come from."""
    path = real_data() / "cifar10-jpeg.tar.xz"
    if not path.is_file():
        pytest.skip(f"realdata: no {path}")
    with tarfile.open(path) as packed:
        packed.extractall(tmp_path, filter="data")
    root = next(place.parent for place in tmp_path.rglob("train"))
    data = folder_lt(root, ratio=100, class_order="natural", validation=0)
    same = cifar_lt(root=path, ratio=100, validation=0)
    assert data.counts.tolist() == same.counts.tolist() and data.class_names == same.class_names
    assert data.fingerprint == same.fingerprint and data.folder.bad == {}
