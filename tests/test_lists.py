"""List files: the lines of ImageNet-LT and Places-LT, the JSON of iNaturalist, and what is wrong with a list."""

import copy
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

import ltviz as lt
from ltviz.datasets import list_lt, load, sources, store, stream
from ltviz.datasets.stream import Streamed

COUNTS = {0: 12, 1: 6, 2: 3}
FOLDERS = {0: "n01440764", 1: "n01443537", 2: "n01484850"}


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path_factory):
    """Downloads and caches of a test land in a folder of its own, and nobody's LTVIZ_DATA leaks in."""
    own = tmp_path_factory.mktemp("own")
    monkeypatch.delenv("LTVIZ_DATA", raising=False)
    monkeypatch.setenv("LTVIZ_CACHE", str(own / "cache"))
    monkeypatch.setattr(sources, "own_folder", lambda: own)


def refused(words):
    return pytest.raises(ValueError, match=words)


def pixels(label, i, part):
    """A picture whose red says which class it is of."""
    image = np.random.RandomState((label, i, len(part))).randint(0, 256, (8, 8, 3), dtype=np.uint8)
    image[..., 0] = 40 * label
    return image


def save(root, name, image):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(root / name)


def lines(root, part, counts):
    """<part>/<folder of the class>/<folder>_<i>.png of each image, written, and its line."""
    found = []
    for label, n in counts.items():
        for i in range(n):
            name = f"{part}/{FOLDERS[label]}/{FOLDERS[label]}_{i}.png"
            save(root, name, pixels(label, i, part))
            found.append(f"{name} {label}")
    return found


def written(folder, **counts):
    """Lists as ImageNet-LT has them, in txt/, of images in images/."""
    (folder / "txt").mkdir(parents=True, exist_ok=True)
    for part, of in ({"train": COUNTS, "val": {0: 1, 1: 1, 2: 1}, "test": {0: 2, 1: 2, 2: 2}} | counts).items():
        (folder / "txt" / f"ImageNet_LT_{part}.txt").write_text("\n".join(lines(folder / "images", part, of)) + "\n")
    return asked(folder)


def asked(folder):
    parts = {part: folder / "txt" / f"ImageNet_LT_{part}.txt" for part in ("train", "val", "test")}
    return {**parts, "root": folder / "images"}


def reds(images):
    return sorted(images[:, 0, 0, 0].tolist())


def test_the_lists_of_a_long_tailed_set(tmp_path):
    data = lt.list_lt(**written(tmp_path))
    assert data.name == "ImageNet_LT_train" and data.class_names == ("0", "1", "2")
    assert data.counts.tolist() == [12, 6, 3] and data.shape == (3, 8, 8) and data.pad == 1
    assert torch.bincount(data.val_targets).tolist() == [1, 1, 1]
    assert torch.bincount(data.test_targets).tolist() == [2, 2, 2]
    for part in ("", "val_", "test_"):
        assert (getattr(data, f"{part}images")[:, 0, 0, 0] == 40 * getattr(data, f"{part}targets")).all()
    expected = {pixels(label, i, "train").tobytes() for label, n in COUNTS.items() for i in range(n)}
    assert {image.numpy().tobytes() for image in data.images} == expected
    again = load(json.loads(json.dumps(data.spec)))
    assert again.fingerprint == data.fingerprint and again.spec == data.spec


def test_the_classes_are_ordered_by_their_counts_not_by_their_labels(tmp_path):
    data = list_lt(**written(tmp_path, train={0: 3, 1: 4, 2: 9}))
    assert data.class_names == ("2", "1", "0") and data.counts.tolist() == [9, 4, 3]
    assert reds(data.images[data.targets == 0]) == [80] * 9


def test_without_a_list_for_validation_the_counts_stay_unless_some_are_held_out(tmp_path):
    given = written(tmp_path) | {"val": None}
    assert list_lt(**given).counts.tolist() == [12, 6, 3] and not list_lt(**given).has_validation
    data = list_lt(**given, validation=0.1)
    assert data.counts.tolist() == [11, 5, 2] and torch.bincount(data.val_targets).tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="validation"):
        lt.train("cdb", list_lt(**given), epochs=1, progress=False, device="cpu")
    with refused("^validation=0.1: expected 0 where val= lists the images"):
        list_lt(**asked(tmp_path), validation=0.1)


def test_a_list_can_be_cut_to_another_tail(tmp_path):
    data = list_lt(**written(tmp_path), ratio=1, seed=1)
    assert data.counts.tolist() == [3, 3, 3] and data.with_seed(2).fingerprint != data.fingerprint
    with refused("n_max= is only for a tail that is cut"):
        list_lt(**asked(tmp_path), n_max=2)


def test_paths_start_from_the_folder_of_the_list_and_may_hold_spaces(tmp_path):
    for part, n in (("train", 2), ("test", 1)):
        rows = []
        for label in (5, 3):
            for i in range(n):
                save(tmp_path, f"{part} set/a b {label}{i}.png", pixels(label, i, part))
                rows.append(f"{part} set/a b {label}{i}.png\t{label}")
        (tmp_path / f"{part}.txt").write_text("\ufeff" + "\r\n".join([*rows, "", ""]), encoding="utf-8")
    data = list_lt(tmp_path / "train.txt", tmp_path / "test.txt", validation=0)
    assert data.class_names == ("3", "5") and data.counts.tolist() == [2, 2]
    assert data.spec["root"] is None and data.spec["val"] is None


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("names.txt", "tench\ngoldfish\nwhite shark\n"),
        ("categories.txt", "white shark 2\ntench 0\ngoldfish 1\n"),
        ("index.json", '{"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"], "2": ["n1", "white shark"]}'),
        ("list.json", '["tench", "goldfish", "white shark"]'),
        ("more.json", '{"0": "tench", "1": "goldfish", "2": "white shark", "3": "one more"}'),
        ("leading.txt", "0 tench\n1 goldfish\n2 white shark\n"),
        ("reversed.txt", "2: white shark\n1: goldfish\n0: tench\n3: one more\n"),
        ("commas.txt", "white shark,2\ntench,0\ngoldfish,1\n"),
    ],
)
def test_names_from_a_file(tmp_path, file, content):
    (tmp_path / file).write_text(content)
    data = list_lt(**written(tmp_path), names=tmp_path / file)
    assert data.class_names == ("tench", "goldfish", "white shark")
    assert load(json.loads(json.dumps(data.spec))).class_names == data.class_names


def test_a_file_of_names_with_other_numbers_or_too_many_is_refused(tmp_path):
    given, file = written(tmp_path), tmp_path / "names.txt"
    for content, words in (
        ("1 tench\n2 goldfish\n3 shark\n", "numbers its lines 1 to 3, and the labels of the lists are 0 to 2"),
        ("0 tench\n1 goldfish\n", "numbers its lines 0 to 1, and the labels of the lists are 0 to 2"),
        ("background\ntench\ngoldfish\nshark\n", "4 names, and the largest label of the lists is 2; expected one for"),
    ):
        file.write_text(content)
        with refused(words):
            list_lt(**given, names=file)
    with refused("4 names, and the largest label"):
        list_lt(**given, names=["background", "a", "b", "c"])
    for content in ("Boeing 707\nBoeing 737\nBoeing 747\n", "3 men\n12 men\n7 men\n"):
        file.write_text(content)
        assert list_lt(**given, names=file).class_names == tuple(content.splitlines()), "numbers that are no labels"


def test_names_given(tmp_path):
    given = written(tmp_path)
    assert list_lt(**given, names=["a", "b", "c"]).class_names == ("a", "b", "c")
    data = list_lt(**given, names={2: "c", 0: "crane", 1: "crane"})
    assert data.class_names == ("crane (0)", "crane (1)", "c"), "two classes of ImageNet are called crane"
    assert load(json.loads(json.dumps(data.spec))).class_names == data.class_names
    with refused("names: expected one for each label of the lists; there is none for 2"):
        list_lt(**given, names=["a", "b"])
    for wrong in (3, [1, 2, 3], {"a": "b"}, [], {0: ""}, b"abc"):
        with refused("^names="):
            list_lt(**given, names=wrong)
    with pytest.raises(FileNotFoundError, match="names=.*there is no such file"):
        list_lt(**given, names=tmp_path / "none.txt")


def inaturalist(folder, part, labels, **changed):
    """A JSON list as iNaturalist publishes it, with its images."""
    images = [{"id": 700 + i, "file_name": f"{part}/Plantae/{i}.png", "width": 8, "height": 8, "license": 3}
              for i in range(len(labels))]  # fmt: skip
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        save(folder, image["file_name"], pixels(label % 4, i, part))
    whole = {
        "info": {"year": 2018}, "images": images,
        "annotations": [{"id": i, "image_id": 700 + i, "category_id": label} for i, label in enumerate(labels)],
        "categories": [{"id": 11, "name": "Rosa canina", "supercategory": "Plantae"}, {"id": 42, "name": "Acer"}],
    }  # fmt: skip
    (folder / f"{part}2018.json").write_text(json.dumps(whole | changed))
    return folder / f"{part}2018.json"


def test_the_json_of_inaturalist(tmp_path):
    data = list_lt(inaturalist(tmp_path, "train", [42, 11, 42, 42]), inaturalist(tmp_path, "val", [11, 42]),
                   validation=0)  # fmt: skip
    assert data.class_names == ("Acer", "Rosa canina") and data.counts.tolist() == [3, 1]
    assert reds(data.images[data.targets == 0]) == [80] * 3, "42 % 4 is 2"
    assert torch.bincount(data.test_targets).tolist() == [1, 1]


def test_lists_that_mean_other_classes_by_their_labels_are_refused(tmp_path):
    train = inaturalist(tmp_path, "train", [42, 11, 42])
    turned = [{"id": 11, "name": "Acer"}, {"id": 42, "name": "Rosa canina"}]
    test = inaturalist(tmp_path, "val", [11, 42], categories=turned)
    for names in (None, {11: "a", 42: "b"}):
        with refused(
            "val2018.json names its classes another way: 11 is 'Rosa canina' in train2018.json and 'Acer' here"
        ):
            list_lt(train, test, names=names)
    inaturalist(tmp_path, "val", [11, 42], categories=[*turned, {"id": 11, "name": "Rosa canina"}])
    with refused("the id 11 is of category 'Acer' and of 'Rosa canina'; expected one each"):
        list_lt(train, test)
    twice = [{"id": 700, "file_name": "val/Plantae/0.png"}, {"id": 700, "file_name": "val/Plantae/1.png"}]
    inaturalist(tmp_path, "val", [11, 42], images=twice)
    with refused("the id 700 is of image 'val/Plantae/0.png' and of 'val/Plantae/1.png'; expected one each"):
        list_lt(train, test)
    inaturalist(tmp_path, "val", [11, 42], categories=[])
    assert list_lt(train, test).class_names == ("Acer", "Rosa canina"), "only one list has names"


def test_folders_of_classes_with_other_labels_in_another_list_are_refused(tmp_path):
    given = written(tmp_path)
    text = given["test"].read_text()
    given["test"].write_text(text.replace(" 0\n", " x\n").replace(" 2\n", " 0\n").replace(" x\n", " 2\n"))
    with refused("ImageNet_LT_test.txt numbers its classes another way: n01440764/ has label 0 in ImageNet_LT_train"):
        list_lt(**given)
    for i in range(2):  # folders that are no classes say nothing
        for label in range(3):
            save(given["root"], f"all/{label}_{i}.png", pixels(label, i, "test"))
    given["test"].write_text("".join(f"all/{label}_{i}.png {label}\n" for label in range(3) for i in range(2)))
    assert torch.bincount(list_lt(**given).test_targets).tolist() == [2, 2, 2]


def test_a_list_names_a_file_once(tmp_path):
    given = written(tmp_path)
    name = f"train/{FOLDERS[0]}/{FOLDERS[0]}_0.png"
    text = given["train"].read_text()
    for again in (name, f"./{name}", name.replace("train/", "train/../train//"), str(given["root"] / name),
                  name.replace("/", "\\")):  # fmt: skip
        given["train"].write_text(f"{text}{again} 0\n")
        with refused("the list train= lists 1 image more than once: .*n01440764_0.png.*keep one line of it"):
            list_lt(**given)


def test_paths_of_windows_are_read_and_a_list_without_any_image_says_so(tmp_path):
    given = written(tmp_path)
    before = list_lt(**given).fingerprint
    text = given["train"].read_text()
    given["train"].write_text(text.replace("/", "\\"))
    assert list_lt(**given).fingerprint == before
    for start, words in (
        ("C:\\data\\", "these are paths of a Windows machine: write them from a folder on"),
        ("D:/data/", "these are paths of a Windows machine"),
        ("gone/", "; pass root= the folder that the paths start from"),
        ("/elsewhere/", "these paths are absolute, and no folder comes before them"),
    ):
        given["train"].write_text("".join(f"{start}{line}\n" for line in text.splitlines()))
        for on_error in ("raise", "skip"):
            with pytest.raises(FileNotFoundError, match=f"has none of the 21 images that train= lists, .*{words}"):
                list_lt(**given, on_error=on_error)


def test_json_that_is_no_list(tmp_path):
    train, wrong = inaturalist(tmp_path, "train", [42, 11, 42]), tmp_path / "val2018.json"
    pair = [{"image_id": 700, "category_id": 11}, {"image_id": 700, "category_id": 42}]
    for changed, words in (
        ({"annotations": []}, r"2 images without an annotation \(val/Plantae/0.png, val/Plantae/1.png\)"),
        ({"annotations": pair}, "val/Plantae/0.png is of categories 11 and 42; expected one an image"),
        ({"annotations": [{"image_id": 9, "category_id": 11}]}, "of image 9, which is not among the images"),
        ({"annotations": [{"image_id": 700, "category_id": "x"}]}, "category_id='x': expected a whole number"),
        ({"annotations": [{"image_id": 700}]}, "it lacks 'category_id'. A list without annotations"),
        ({"images": 3}, "expected images .id, file_name., annotations"),
    ):
        inaturalist(tmp_path, "val", [11, 42], **changed)
        with refused(words):
            list_lt(train, wrong)
    wrong.write_text('{"images": [')
    with refused("val2018.json is no whole JSON file"):
        list_lt(train, wrong)
    wrong.write_text(json.dumps({"images": [{"id": 1, "file_name": "a.png"}]}))
    with refused("it lacks 'annotations'. A list without annotations, such as test2018.json, cannot be test="):
        list_lt(train, wrong)


def test_lines_that_are_none(tmp_path):
    given = written(tmp_path)
    for line in ("train/a.png", "train/a.png -1", "train/a.png 1.5", "train/a.png,1", "train/a.png one", "7"):
        given["test"].write_text(f"test/{FOLDERS[0]}/{FOLDERS[0]}_0.png 0\n\n{line}\n")
        with refused(r'ImageNet_LT_test.txt, line 3: .* is not "path label", the label a whole number from 0 on'):
            list_lt(**given)
    given["test"].write_text("\n")
    with refused("test=.* lists no image"):
        list_lt(**given)
    given["test"].write_bytes(b"\xff\xfe\x00")
    with refused("test=.* cannot be read as a list in UTF-8"):
        list_lt(**given)
    given["test"].unlink()
    with pytest.raises(FileNotFoundError, match="test=.*ImageNet_LT_test.txt': there is no such file"):
        list_lt(**given)
    for wrong in (3, None, ""):
        with refused("^test="):
            list_lt(**(given | {"test": wrong}))


def test_lists_that_do_not_belong_together(tmp_path):
    with refused("ImageNet_LT_test.txt has labels that ImageNet_LT_train.txt lacks: 2"):
        list_lt(**written(tmp_path / "a", train={0: 4, 1: 2}, val={0: 1, 1: 1}))
    with refused("ImageNet_LT_val.txt has no image of labels 1, 2: without val images a class has no accuracy"):
        list_lt(**written(tmp_path / "b", val={0: 1}))
    with refused("ImageNet_LT_train.txt lists one class, at least 2 needed"):
        list_lt(**written(tmp_path / "c", train={0: 4}, val={0: 1}, test={0: 1}))


def test_missing_images_are_named_all_at_once_or_left_out(tmp_path, monkeypatch):
    given = written(tmp_path)
    gone = [f"train/{FOLDERS[0]}/{FOLDERS[0]}_{i}.png" for i in (2, 3)]
    for name in gone:
        (given["root"] / name).unlink()
    monkeypatch.setattr(sources, "decode", lambda *_: pytest.fail("decoded before it was known what is missing"))
    with refused(f"2 images: {gone[0]} cannot be read .there is no such file.; {gone[1]} .*or pass on_error="):
        list_lt(**given)
    monkeypatch.undo()
    (given["root"] / gone[0]).write_bytes(b"no image")
    with pytest.warns(UserWarning, match="2 images are left out, unreadable"):
        data = list_lt(**given, on_error="skip")
    assert data.counts.tolist() == [10, 6, 3]
    assert data.folder.bad == {gone[0]: "no kind of image that is known", gone[1]: "there is no such file"}
    with refused("is 9 x 9, others are 8 x 8; pass size= to bring all to one size"):
        save(given["root"], gone[0], np.zeros((9, 9, 3), np.uint8))
        save(given["root"], gone[1], pixels(0, 3, "train"))
        list_lt(**given)
    with pytest.raises(FileNotFoundError, match=r"has none of the 30 images that are listed, such as train/n01440764/"):
        list_lt(**(given | {"root": tmp_path}))


def test_an_image_of_a_kind_that_is_not_read_is_named(tmp_path):
    given = written(tmp_path)
    (given["root"] / "a.avif").write_bytes(b"x")
    with given["train"].open("a") as file:
        file.write("a.avif 0\ntrain 1\n")
    with refused(
        "2 images: a.avif cannot be read .no kind of image that is known.*train cannot .*not an ordinary file"
    ):
        list_lt(**given)


def test_beyond_memory_images_stay_on_the_disk_with_the_same_values(tmp_path):
    given = written(tmp_path)
    plain, mapped = list_lt(**given, size=6), list_lt(**given, size=6, memory=1e-9)
    assert isinstance(mapped, Streamed) and not isinstance(plain, Streamed)
    assert mapped.fingerprint == plain.fingerprint
    draws = [one.batch([5, 1], torch.Generator().manual_seed(0)) for one in (plain, mapped)]
    assert torch.equal(*draws)


def test_an_image_in_two_lists_is_warned_of(tmp_path):
    given = written(tmp_path)
    with given["train"].open("a") as file:
        file.write(f"test/{FOLDERS[0]}/{FOLDERS[0]}_0.png 0\n")
    with pytest.warns(UserWarning, match="1 image is in more than one of the training, validation and test parts"):
        assert list_lt(**given).counts.tolist() == [13, 6, 3]


def test_the_three_groups_of_shots_in_both_conventions(tmp_path):
    counts = {0: 101, 1: 100, 2: 20}
    data = list_lt(**(written(tmp_path, train=counts) | {"val": None}))
    kang, oltr = (lt.metrics.shot_groups(data, convention=one) for one in ("kang", "oltr"))
    assert [kang[name].tolist() for name in ("many", "medium", "few")] == [[1, 0, 0], [0, 1, 1], [0, 0, 0]]
    assert [oltr[name].tolist() for name in ("many", "medium", "few")] == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]


# ------------------------------------------------------------------------------------------------- beyond the memory
SMALL = 1e-6  # GiB: less than any list of these tests takes


def streaming(folder, **more):
    """The same list in memory and streamed."""
    given = written(folder)
    return list_lt(**given, **more), list_lt(**given, **more, memory=SMALL)


def test_a_part_of_a_batch_is_that_part_of_the_whole_one(tmp_path):
    for data in streaming(tmp_path):
        index = torch.tensor([20, 3, 3, 0, 11, 7])
        for places in (torch.arange(2, 6), torch.tensor([5, 0]), torch.arange(0)):
            for seed in (None, 4):
                draws = [None if seed is None else torch.Generator().manual_seed(seed) for _ in range(2)]
                whole, part = data.batch(index, draws[0]), data.batch(index, draws[1], places)
                assert torch.equal(part, whole[places]) and part.shape[1:] == (3, 8, 8)
                assert seed is None or torch.equal(draws[0].get_state(), draws[1].get_state())
        assert torch.equal(data.pixels(index), data.images[index].permute(0, 3, 1, 2))


def test_streamed_images_are_read_past_their_mapping(tmp_path, monkeypatch):
    """A mapped page counts as memory of the process; an image that a reader has changed is only there."""
    plain, mapped = streaming(tmp_path)
    monkeypatch.setattr(stream, "BLOCK", 400)  # two images
    read, usual = [], stream.Pixels.read
    monkeypatch.setattr(stream.Pixels, "read", lambda file, rows: read.extend(rows.tolist()) or usual(file, rows))
    with monkeypatch.context() as only:
        only.setattr(stream, "_take", None)
        assert mapped.fingerprint == plain.fingerprint and sorted(read) == sorted([*range(21), *range(3), *range(6)])
        runs = [lt.train("ce", data, epochs=2, model="cnn:4", device="cpu", progress=False) for data in (mapped, plain)]
        np.testing.assert_array_equal(runs[0].logits, runs[1].logits)
        augmented = [lt.train("ce", data, epochs=1, model="mlp:4", augment=turned, device="cpu", progress=False)
                     for data in (mapped, plain)]  # fmt: skip
        np.testing.assert_array_equal(augmented[0].logits, augmented[1].logits)
    with refused(r"^index: expected positions 0 .. 20, got -1 .. 3"):
        mapped.batch([-1, 3])
    copied = copy.deepcopy(mapped)
    mapped.images[2] = 0
    del read[:]
    assert torch.equal(mapped.batch([2]), mapped.normalise(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))) and not read
    assert torch.equal(copied.batch([2]), plain.batch([2]))
    other = torch.from_numpy(np.full((21, 8, 8, 3), 7, np.uint8))
    mapped.images = other
    assert torch.equal(mapped.pixels(torch.tensor([0, 20])), other[:2].permute(0, 3, 1, 2)) and not read


def turned(image):
    return image.flip(-1) if torch.rand(()) < 0.5 else image


def test_two_readers_of_a_list_decode_it_once(tmp_path, monkeypatch):
    given, decoded, usual = written(tmp_path), [], store._decode
    monkeypatch.setattr(store, "_decode", lambda *asked: decoded.append(asked) or usual(*asked))
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: list_lt(**given).fingerprint, range(3)))
    assert len(set(found)) == 1 and len(decoded) == 21 + 3 + 6


@pytest.fixture(scope="module")
def tailed(tmp_path_factory):
    """Lists of 200 images of 16 x 16 in 5 classes, each of a colour of its own: 110 to 6, and 4 of each to test on."""
    root, counts = tmp_path_factory.mktemp("tailed"), (110, 50, 24, 10, 6)
    for part, numbers in (("train", counts), ("test", [4] * 5)):
        rows, draws = [], np.random.RandomState(len(part))
        for label, n in enumerate(numbers):
            for i in range(n):
                image = draws.randint(0, 60, (16, 16, 3)) + [40 * label, 180 - 40 * label, 90 * (label % 2)]
                save(root, f"{part}/{label}_{i}.png", image.astype(np.uint8))
                rows.append(f"{part}/{label}_{i}.png {label}")
        (root / f"{part}.txt").write_text("\n".join(rows))
    return root


@pytest.mark.parametrize("key, stages", [("crt", [0, 0, 0, 1]), ("lws", [0, 0, 0, 1]), ("tau_norm", [0] * 4),
                                         ("ncm", [0] * 4)])  # fmt: skip
def test_two_stage_recipes_with_a_network_of_torchvision_on_a_streamed_list(key, stages, tailed, tmp_path):
    data = list_lt(tailed / "train.txt", tailed / "test.txt", memory=SMALL)
    assert type(data) is Streamed and data.counts.tolist() == [110, 50, 24, 10, 6]
    run = lt.train(key, data, epochs=4, model="torchvision:resnet18", batch_size=32, device="cpu", progress=False)
    assert run.status == "finished" and run.history["stage"].tolist() == stages
    assert run.recipe["model"] == "torchvision:resnet18" and run.features.shape == (20, 512)
    assert (run.scores is None) == (key in ("crt", "lws")), "the others decide after training"
    assert np.array_equal(run.confusion, 4 * np.eye(5)), "every test image is told"
    again = lt.load_run(run.save(tmp_path))
    predicted = again.predict(data.test_images.numpy())
    assert predicted.classes.tolist() == run.targets.tolist()
