"""CelebA in torchvision's layout, and images with a CSV file of attributes."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import CelebA

import ltviz as lt
from ltviz.datasets import Attributes, attributes_csv, celeba, sources, stream

NAMES = ["5_o_Clock_Shadow", "Bald", "Young"]
LINES = [(1, -1, 1), (-1, 1, 1), (1, -1, -1), (-1, -1, 1), (1, 1, -1), (-1, -1, 1), (1, 1, 1), (-1, -1, -1)]
PARTITION = [0, 0, 0, 0, 1, 1, 2, 2]


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path_factory):
    """Downloads and caches of a test land in a folder of its own, and nobody's LTVIZ_DATA leaks in."""
    own = tmp_path_factory.mktemp("own")
    monkeypatch.delenv("LTVIZ_DATA", raising=False)
    monkeypatch.setenv("LTVIZ_CACHE", str(own / "cache"))
    monkeypatch.setattr(sources, "own_folder", lambda: own)


def refused(words):
    return pytest.raises(ValueError, match=words)


def picture(i, size=(178, 218)):
    """A grey that says which image it is, with a band of white above and below the centred square."""
    image = np.full((*size[::-1], 3), 20 * i, np.uint8)
    image[:10] = image[-10:] = 255
    return Image.fromarray(image)


def release(folder):
    """celeba/ as torchvision makes it, of eight images."""
    root = folder / "celeba"
    (root / "img_align_celeba").mkdir(parents=True)
    for i in range(len(LINES)):
        picture(i).save(root / "img_align_celeba" / f"{i + 1:06}.jpg", quality=98)
    rows = [f"{i + 1:06}.jpg " + " ".join(f"{v:2d}" for v in line) for i, line in enumerate(LINES)]
    (root / "list_attr_celeba.txt").write_text("\n".join([str(len(rows)), " ".join(NAMES) + " ", *rows]) + "\n")
    (root / "list_eval_partition.txt").write_text(
        "".join(f"{i + 1:06}.jpg {part}\n" for i, part in enumerate(PARTITION))
    )
    for name in ("identity_CelebA.txt", "list_bbox_celeba.txt", "list_landmarks_align_celeba.txt"):
        head = "" if name.startswith("identity") else "8\nx_1 y_1 width height\n"
        (root / name).write_text(head + "".join(f"{i + 1:06}.jpg 1 2 3 4\n" for i in range(8)))
    return root


def edit(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def numbers(images, step=20):
    """Which pictures (n, C, H, W) these are, of those whose greys are steps apart."""
    return [round(float(one[:, 2:-2].float().mean()) / step) for one in images]


def test_the_official_partition_and_the_attributes(tmp_path):
    data = lt.celeba(release(tmp_path), size=16)
    assert isinstance(data, Attributes) and data.names == tuple(NAMES) and data.values == (("no", "yes"),) * 3
    assert data.shape == (3, 16, 16) and (len(data), len(data.val_images), len(data.test_images)) == (4, 2, 2)
    for part, rows in (("", [0, 1, 2, 3]), ("val_", [4, 5]), ("test_", [6, 7])):
        assert numbers(getattr(data, f"{part}images")) == rows
        assert getattr(data, f"{part}targets").tolist() == [[int(v == 1) for v in LINES[i]] for i in rows]
    assert [one.tolist() for one in data.counts] == [[2, 2], [3, 1], [1, 3]]
    assert data.images.max() < 80, "the bands above and below lie outside the centred square"
    assert data.spec == {"loader": "celeba", "root": str(tmp_path / "celeba"), "attributes": None, "size": 16,
                         "on_error": "raise", "memory": None}  # fmt: skip
    assert float(data.mean[0]) == pytest.approx(30 / 255, abs=2e-3)


def test_from_the_folder_to_a_trained_network(tmp_path, monkeypatch):
    root = release(tmp_path)
    for name in ("identity_CelebA.txt", "list_bbox_celeba.txt", "list_landmarks_align_celeba.txt"):
        (root / name).unlink()  # neither is needed
    monkeypatch.setenv("LTVIZ_DATA", str(tmp_path))
    data = lt.celeba(size=8)
    run = lt.train_attributes("ce", data, epochs=1, batch_size=4, device="cpu", progress=False)
    assert run.targets.tolist() == data.test_targets.tolist() == [[1, 1, 1], [0, 0, 0]]
    assert [one.shape for one in run.logits] == [(2, 2)] * 3 and run.names == tuple(NAMES)
    assert [one.tolist() for one in run.counts] == [[2, 2], [3, 1], [1, 3]]
    expected = [np.mean([said.argmax(1) == run.targets[:, j]]) for j, said in enumerate(run.logits)]
    np.testing.assert_allclose(run.balanced_accuracy, expected)  # one image of each value
    again = lt.datasets.load(data.spec)
    assert again.fingerprint == data.fingerprint and again.spec == data.spec
    (root / "img_align_celeba" / "000003.jpg").write_bytes(b"no image")
    with refused("image 000003.jpg cannot be read .*; replace or remove it, or pass on_error="):
        lt.datasets.load(data.spec)


def test_the_same_as_torchvision_reads(tmp_path, monkeypatch):
    release(tmp_path)
    monkeypatch.setattr(CelebA, "_check_integrity", lambda self: True)
    data = celeba(tmp_path, size=8)
    for split, targets in (("train", data.targets), ("valid", data.val_targets), ("test", data.test_targets)):
        theirs = CelebA(str(tmp_path), split=split, target_type="attr")
        assert torch.equal(theirs.attr, targets) and tuple(theirs.attr_names[: data.a]) == data.names


def kaggle(root):
    """The same as Kaggle hands it out: lists with commas and names of columns, images in a folder in its like."""
    names, *rows = (root / "list_attr_celeba.txt").read_text().splitlines()[1:]
    text = "\n".join([",".join(["image_id", *names.split()]), *(",".join(row.split()) for row in rows)])
    (root / "list_attr_celeba.csv").write_text(text + "\n")
    rows = (root / "list_eval_partition.txt").read_text().splitlines()
    text = "\n".join(["image_id,partition", *(row.replace(" ", ",") for row in rows)])
    (root / "list_eval_partition.csv").write_text(text + "\n")
    for name in ("list_attr_celeba.txt", "list_eval_partition.txt"):
        (root / name).unlink()
    (root / "img_align_celeba").rename(root / "inside")
    (root / "img_align_celeba").mkdir()
    (root / "inside").rename(root / "img_align_celeba" / "img_align_celeba")
    return root


def test_the_copy_of_kaggle(tmp_path):
    root = release(tmp_path)
    before = celeba(root, size=8)
    kaggle(root)
    assert celeba(root, size=8).fingerprint == before.fingerprint == celeba(tmp_path, size=8).fingerprint
    edit(root / "list_attr_celeba.csv", "000002.jpg,-1,1", "000002.jpg,-1")
    with refused("list_attr_celeba.csv, line 3: 2 values, of 3 attributes"):
        celeba(root)
    edit(root / "list_attr_celeba.csv", "000002.jpg,-1,1", "000002.jpg,-1,0,1")
    with refused("list_attr_celeba.csv, line 3: Bald of 000002.jpg is '0'; expected -1 or 1"):
        celeba(root)
    edit(root / "list_eval_partition.csv", "000002.jpg,0", "000002.jpg,3")
    edit(root / "list_attr_celeba.csv", "000002.jpg,-1,0,1", "000002.jpg,-1,1,1")
    with refused("list_eval_partition.csv, line 3: '000002.jpg 3'; expected a file and 0"):
        celeba(root)
    edit(root / "list_eval_partition.csv", "000002.jpg,3", "000002.jpg,0\n000002.jpg,1")
    with refused("line 4: 000002.jpg is in the train and the val part"):
        celeba(root)


def test_found_where_data_are_and_only_some_attributes(tmp_path, monkeypatch):
    root = release(tmp_path)
    monkeypatch.setenv("LTVIZ_DATA", str(tmp_path))
    data = celeba(attributes=["Young", "Bald"], size=8)
    assert data.names == ("Young", "Bald") and data.targets.tolist() == [[1, 0], [1, 1], [0, 0], [1, 0]]
    assert data.spec["attributes"] == ["Young", "Bald"]
    for wrong in ([], ["Young", "Young"], "Young", 3):
        with refused("^attributes=.*names of list_attr_celeba.txt, each once"):
            celeba(root, attributes=wrong)
    with refused(r"'Yung' is none \(did you mean 'Young'\?\)"):
        celeba(root, attributes=["Yung"])
    for changed in ({"size": 3}, {"on_error": "ignore"}, {"memory": -1}, {"root": 3}):
        with refused(f"^{next(iter(changed))}="):
            celeba(**({"root": root} | changed))


def test_files_that_are_missing(tmp_path):
    root = release(tmp_path)
    (root / "img_align_celeba" / "000002.jpg").unlink()
    (root / "img_align_celeba" / "000005.jpg").write_bytes(b"")
    with refused("image 000002.jpg cannot be read .there is no such file.; replace or remove it, or pass on_error="):
        celeba(root)
    with (
        pytest.warns(
            UserWarning, match="2 images left out, unreadable: 000002.jpg .there is no such file., 000005.jpg"
        ),
        refused("the training images of list_attr_celeba.txt have one value of Bald"),
    ):
        celeba(root, on_error="skip")
    with pytest.warns(UserWarning, match="2 images left out"):
        data = celeba(root, attributes=["Young"], size=8, on_error="skip")
    assert numbers(data.images) == [0, 2, 3] and numbers(data.val_images) == [5]
    shutil.rmtree(root / "img_align_celeba")
    (root / "img_align_celeba").mkdir()
    with pytest.raises(FileNotFoundError, match="has none of the 8 images in list_attr_celeba.txt, such as 000001.jpg"):
        celeba(root)
    (root / "img_align_celeba").rmdir()
    (root / "img_align_celeba.zip").touch()
    with pytest.raises(FileNotFoundError, match="has no img_align_celeba; .*; unpack img_align_celeba.zip there"):
        celeba(tmp_path)
    with pytest.raises(FileNotFoundError, match="no list_attr_celeba.txt in .*CelebA.*download=True., or pass root="):
        celeba(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("list_attr_celeba.txt", "8\n", "9\n", "its first line is '9', and 8 lines of images follow"),
        ("list_attr_celeba.txt", "8\n", "", "its first line is '5_o_Clock_Shadow Bald Young', and 7 lines of images"),
        ("list_attr_celeba.txt", "000002.jpg -1  1  1", "000002.jpg -1  1", "line 4: 2 values, of 3 attributes"),
        (
            "list_attr_celeba.txt",
            "000002.jpg -1  1",
            "000002.jpg -1  0",
            "line 4: Bald of 000002.jpg is '0'; expected -1",
        ),
        ("list_attr_celeba.txt", "000002.jpg", "000001.jpg", "lists 1 image more than once: 000001.jpg"),
        ("list_attr_celeba.txt", "000002.jpg", "000009.jpg", "list_eval_partition.txt lacks 1 image that the other"),
        ("list_eval_partition.txt", "000002.jpg 0\n", "", "list_eval_partition.txt lacks 1 image .*has: 000002.jpg"),
        ("list_eval_partition.txt", "000002.jpg 0", "000002.jpg 3", "line 2: '000002.jpg 3'; expected a file and 0"),
        ("list_eval_partition.txt", "000002.jpg 0", "000002.jpg", "line 2: '000002.jpg'; expected a file and 0"),
        ("list_eval_partition.txt", "000008.jpg 2", "000008.jpg 2\n000099.jpg 2", "list_attr_celeba.txt lacks 1 image"),
    ],
)
def test_lists_that_are_not_as_published(tmp_path, name, old, new, words):
    root = release(tmp_path)
    edit(root / name, old, new)
    with refused(words):
        celeba(root)


def test_an_attribute_of_one_value_and_a_part_without_images(tmp_path):
    root = release(tmp_path)
    edit(root / "list_attr_celeba.txt", "000002.jpg -1  1", "000002.jpg -1 -1")
    with refused(
        "the training images of list_attr_celeba.txt have one value of Bald, at least two needed; leave it out"
    ):
        celeba(root)
    file = root / "list_eval_partition.txt"
    file.write_text(file.read_text().replace(" 2\n", " 1\n"))
    with refused("leaves no test images"):
        celeba(root, attributes=["Young"])


def test_beyond_memory_images_stay_on_the_disk(tmp_path, monkeypatch):
    root, files, opened = release(tmp_path), [], stream.tempfile.TemporaryFile
    plain = celeba(root, size=8)
    monkeypatch.setattr(stream.tempfile, "TemporaryFile", lambda **how: files.append(how) or opened(**how))
    mapped = celeba(root, size=8, memory=1e-9)
    assert len(files) == 3, "one for each part"
    assert mapped.images.stride()[1] == 1, "its rows are as they lie in the file, and none was copied"
    assert mapped.fingerprint == plain.fingerprint and torch.equal(mapped.batch([3, 0]), plain.batch([3, 0]))


# -------------------------------------------------------------------------------------------------------------- a table
def table(folder, header, rows, name="own.csv"):
    """A CSV file, and the images of its first column."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    for i, row in enumerate(rows):
        file = folder / row.replace(";", ",").replace("\t", ",").split(",")[0].strip('"')
        file.parent.mkdir(exist_ok=True)
        Image.new("RGB", (16, 16), (10 * (i % 25),) * 3).save(file)
    return folder / name


def shirts(folder, **columns):
    """Twenty images; a column of each argument, whose values come in turn."""
    columns = {"striped": ("0", "1"), "colour": ("red", "blue", "blue", "green", "red")} | columns
    rows = [",".join([f"img/{i:02}.png", *(of[i % len(of)] for of in columns.values())]) for i in range(20)]
    return table(folder, ",".join(["file", *columns]), rows)


def test_a_table_of_attributes(tmp_path):
    data = lt.attributes_csv(shirts(tmp_path), test=5, validation=5)
    assert data.names == ("striped", "colour") and data.values == (("no", "yes"), ("blue", "green", "red"))
    assert (len(data), len(data.val_images), len(data.test_images)) == (10, 5, 5) and data.shape == (3, 16, 16)
    for part in ("", "val_", "test_"):
        images, targets = getattr(data, f"{part}images"), getattr(data, f"{part}targets")
        of = [which % 5 for which in numbers(images, 10)]
        assert targets[:, 0].tolist() == [which % 2 for which in numbers(images, 10)]
        assert [data.values[1][c] for c in targets[:, 1]] == [("red", "blue", "blue", "green", "red")[i] for i in of]
    again = lt.datasets.load(data.spec)
    assert again.fingerprint == data.fingerprint and again.spec == data.spec
    assert attributes_csv(tmp_path / "own.csv", test=5, validation=5, seed=1).fingerprint != data.fingerprint


def test_shares_and_every_part_has_rare_values(tmp_path):
    path = shirts(tmp_path, rare=("1", *["0"] * 4))
    data = attributes_csv(path, attributes=["rare"], test=0.25, validation=0.25)
    assert (len(data), len(data.val_images), len(data.test_images)) == (10, 5, 5)
    assert [int(getattr(data, f"{part}targets").sum()) for part in ("", "val_", "test_")] == [2, 1, 1]
    for wrong in (1.0, -1, "x", True, 2.5):
        with refused("^test="):
            attributes_csv(tmp_path / "own.csv", test=wrong)
    for test, validation in ((0, 1), (19, 0), (10, 9)):
        with refused(f"test={test}, validation={validation}: .* expected at least one to test on, and two to train on"):
            attributes_csv(tmp_path / "own.csv", test=test, validation=validation)


@pytest.mark.parametrize(
    ("cells", "values", "targets"),
    [
        (("-1", "1"), ("no", "yes"), [0, 1]),
        (("1", "0"), ("no", "yes"), [1, 0]),
        (("1.0", "0.0"), ("no", "yes"), [1, 0]),
        (("Yes", "no"), ("no", "yes"), [1, 0]),
        (("TRUE", "False"), ("no", "yes"), [1, 0]),
        (("y", "n", ""), ("no", "yes"), [1, 0, -1]),
        (("1.0", "0.0", "NaN"), ("no", "yes"), [1, 0, -1]),
        (("long", "NA", "none"), ("long", "none"), [0, -1, 1]),
        (("-2", "-1", "1"), ("-2", "-1", "1"), [0, 1, 2]),
        (("10", "9", "2"), ("2", "9", "10"), [2, 1, 0]),
        (("long", "no", "short"), ("long", "no", "short"), [0, 1, 2]),
    ],
)
def test_how_values_are_read(tmp_path, cells, values, targets):
    path = shirts(tmp_path, own=cells, part=["train"] * 12 + ["test"] * 8)
    data = attributes_csv(path, split="part")
    assert data.names == ("striped", "colour", "own") and data.values[2] == values
    assert data.targets[:, 2].tolist() == [targets[i % len(targets)] for i in range(12)]
    assert numbers(data.images, 10) == list(range(12))


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (("1", "1"), r"own.csv: own has 1 value \(1\), at least two needed; leave it out with attributes="),
        (("", ""), "own has 0 values, at least two needed"),
        (("0", "1", "-1"), "line 4: own is '-1', where others are 0 and 1; leave the cell empty where it is not known"),
        (("yes", "no", "maybe"), "line 4: own is 'maybe', where others are no and yes"),
        (("0", "1", "x"), "line 4: own is 'x', where others are 0 and 1"),
        (("0", "x", "1", "2"), "line 3: own is 'x', where others are 0 and 1 and 2; leave"),
        (("2", "-1", "3"), "line 3: own is '-1', where others are 2 and 3; leave"),
        (
            ("0", "1", "0.1", "0.7"),
            "line 4: own is 0.1; expected yes or no, or one of at most 255 texts or whole numbers",
        ),
        (("0", "1", "1e-05"), "line 4: own is 1e-05; expected yes or no"),
        (("nan", "NA"), "own has 0 values, at least two needed"),
        (
            ("0.5", "1"),
            "line 2: own is 0.5; expected yes or no, or one of at most 255 texts or whole numbers: cut what",
        ),
    ],
)
def test_values_that_are_neither(tmp_path, cells, words):
    path = shirts(tmp_path, own=cells)
    with refused(words):
        attributes_csv(path)
    assert attributes_csv(path, attributes=["colour"], test=5, validation=0).names == ("colour",), (
        "others do not matter"
    )


def test_a_column_of_names_is_no_attribute(tmp_path):
    path = table(tmp_path, "file,title", [f"{i:03}.png,title {i}" for i in range(256)])
    with refused("title has 256 values; expected yes or no, or one of at most 255 texts"):
        attributes_csv(path)


def test_a_split_of_its_own(tmp_path):
    for parts in (("train", "train", "val", "test", "train"), ("Training", "0", "valid", "2", "0")):
        data = attributes_csv(shirts(tmp_path, colour=("red", "blue", "green"), fold=parts), split="fold")
        assert numbers(data.test_images, 10) == [3, 8, 13, 18] and len(data.val_images) == 4
    assert data.names == ("striped", "colour") and data.spec["split"] == "fold"
    with refused("line 4: fold is '3'; expected one of 0, 1, 2, train, training, val"):
        attributes_csv(shirts(tmp_path, fold=("0", "2", "3")), split="fold")
    with refused(r"^split='folds': expected one of the columns file, striped, colour, fold \(did you mean 'fold'\?\)"):
        attributes_csv(tmp_path / "own.csv", split="folds")
    with refused("leaves no test images"):
        attributes_csv(shirts(tmp_path, fold=("train",)), split="fold")


THREE = ("red", "blue", "green")


def test_shares_beside_a_split_and_a_split_that_was_not_named_are_refused(tmp_path):
    path = shirts(tmp_path, colour=THREE, fold=("train", "train", "val", "test", "train"))
    for changed in ({"validation": 0.3}, {"test": 5}, {"validation": 0.1}):
        with refused(f"^{next(iter(changed))}=.*: expected None beside split='fold', whose column says which they are"):
            attributes_csv(path, split="fold", **changed)
    with refused("the column 'fold' has test, train, val, as parts are called; pass split='fold', or attributes="):
        attributes_csv(path)
    assert attributes_csv(path, attributes=["fold"]).values == (("test", "train", "val"),), "who asks for it gets it"
    data = attributes_csv(path, split="fold")
    again = attributes_csv(**{key: value for key, value in data.spec.items() if key != "loader"})
    assert data.spec["validation"] is None and again.fingerprint == data.fingerprint
    path = shirts(tmp_path, partition=("0", "0", "1", "2", "0"))
    with refused("the column 'partition' has 0, 1, 2, as parts are called"):
        attributes_csv(path)
    assert attributes_csv(shirts(tmp_path, size=("0", "1", "2")), test=6).names == ("striped", "colour", "size")


def test_equal_images_in_two_parts_or_with_other_values_are_warned_of(tmp_path):
    path = shirts(tmp_path, colour=THREE, fold=("train", "train", "val", "test", "train"))
    shutil.copy(tmp_path / "img" / "00.png", tmp_path / "img" / "08.png")
    with pytest.warns(UserWarning, match=r"1 image is in more than one .*: img/00.png .training. = img/08.png .test."):
        attributes_csv(path, split="fold", attributes=["striped"])
    with pytest.warns(UserWarning, match="in more than one"), pytest.warns(
        UserWarning, match="1 image is listed with different values of an attribute, .*: img/00.png = img/08.png$"
    ):  # fmt: skip
        assert len(attributes_csv(path, split="fold")) == 12
    shutil.copy(tmp_path / "img" / "00.png", tmp_path / "img" / "05.png")
    edit(path, "img/08.png,0,green", "img/08.png,0,")
    edit(path, "img/05.png,1,green", "img/05.png,,")
    with pytest.warns(UserWarning) as told:
        attributes_csv(path, split="fold")
    assert len(told) == 1, "what is not known contradicts nothing"


def test_one_file_under_two_spellings_is_listed_twice(tmp_path):
    path = shirts(tmp_path)
    for again in ("./img/00.png", "img//00.png", "img/../img/00.png", str(tmp_path / "img/00.png"), "img\\00.png"):
        path.write_text("\n".join(["file,a", "img/00.png,0", f"{again},1"]))
        with refused("own.csv lists 1 image more than once: img/00.png = "):
            attributes_csv(path)


@pytest.mark.parametrize("first", ["", "Unnamed: 0"])
def test_the_index_of_a_data_frame_is_passed_over(tmp_path, first):
    path = shirts(tmp_path)
    before = attributes_csv(path)
    head, *rows = path.read_text().splitlines()
    numbered = [f"{3 * i},{row}" for i, row in enumerate(rows)]
    path.write_text("\n".join([f"{first},{head}", *numbered]))
    for column in (None, "file"):
        assert attributes_csv(path, file_column=column).fingerprint == before.fingerprint
    path.write_text("\n".join([f",{head}", *(f"x{row}" for row in numbered)]))
    with refused("line 1: the first column has no name; if it is the index of a DataFrame, .*index=False"):
        attributes_csv(path, file_column="file")


@pytest.mark.parametrize("separator", [";", "\t"])
def test_other_separators_and_a_column_of_files_elsewhere(tmp_path, separator):
    rows = [f"{i}.png{separator}{i % 2}{separator}{'a, b' if i % 3 else 'c'}" for i in range(12)]
    path = table(tmp_path, separator.join(["file", "bold", "kind"]), rows)
    data = attributes_csv(path, test=4, validation=0)
    assert data.values == (("no", "yes"), ("a, b", "c"))
    (tmp_path / "other").mkdir()
    moved = tmp_path / "other" / "t.csv"
    moved.write_text("\n".join(["\ufeffbold,file", *(f"{i % 2},{i}.png" for i in range(12))]), encoding="utf-8")
    assert attributes_csv(moved, tmp_path, "file", test=4, validation=0).names == ("bold",)
    with pytest.raises(FileNotFoundError, match="other has none of the 12 images in t.csv, such as 0.png"):
        attributes_csv(moved, file_column="file", test=4, validation=0)
    with pytest.raises(FileNotFoundError, match="none is not a folder"):
        attributes_csv(moved, tmp_path / "none", "file", test=4, validation=0)


def test_tables_that_are_none(tmp_path):
    for text, words in (
        ("", "own.csv has 0 lines; expected a line of names, and one an image"),
        ("file,a\n", "own.csv has 1 line; expected"),
        ("file,a,a\nx.png,1,0\n", "line 1: a; expected names of columns, each once"),
        ("file,,a\nx.png,1,0\n", "line 1: a column without a name; expected names"),
        ("file,a\nx.png,1\ny.png\n", "line 3: 1 cell, of 2 columns"),
        ("file,a\nx.png,1\n,0\n", "line 3: no file name in the column 'file'"),
        ("file,a\nx.png,1\nx.png,0\n", "lists 1 image more than once: x.png"),
        ("file\nx.png\n", "has no column of an attribute beside 'file'"),
    ):
        (tmp_path / "own.csv").write_text(text)
        with refused(words):
            attributes_csv(tmp_path / "own.csv")
    (tmp_path / "own.csv").write_bytes(b"\xff\xfe")
    with refused("own.csv cannot be read as text in UTF-8"):
        attributes_csv(tmp_path / "own.csv")
    with pytest.raises(FileNotFoundError, match="none.csv: there is no such file; give that of the attributes"):
        attributes_csv(tmp_path / "none.csv")
    for changed in ({"path": 3}, {"images": 3}, {"file_column": 0}, {"seed": -1}, {"attributes": ["x"]}):
        with refused(f"^{next(iter(changed))}="):
            attributes_csv(**({"path": shirts(tmp_path)} | changed))
    (tmp_path / "img" / "03.png").unlink()
    (tmp_path / "img" / "07.png").unlink()
    with refused("2 images: img/03.png cannot be read .there is no such file.; img/07.png"):
        attributes_csv(tmp_path / "own.csv")
