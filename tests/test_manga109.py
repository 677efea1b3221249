"""Manga109 on volumes in the official layout: books.txt, an XML a title, and pages as JPEG."""

import json
from xml.sax.saxutils import quoteattr

import numpy as np
import pytest
import torch
from PIL import Image

import ltviz as lt
from ltviz.datasets import Unseen, load, manga109, sources
from ltviz.datasets.stream import Streamed

TITLES = ["ARMS", "Akuhamu", "LoveHina_vol01", "LoveHina_vol14", "That'sIzumiko"]
SIDE = 8  # of a face that the fixture draws
GREY = {"a": 40, "b": 90, "c": 140, "d": 190}  # of the characters of a volume, on white paper


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path_factory):
    """Downloads and caches of a test land in a folder of its own, and nobody's LTVIZ_DATA leaks in."""
    own = tmp_path_factory.mktemp("own")
    monkeypatch.delenv("LTVIZ_DATA", raising=False)
    monkeypatch.setenv("LTVIZ_CACHE", str(own / "cache"))
    monkeypatch.setattr(sources, "own_folder", lambda: own)


def refused(words):
    return pytest.raises(ValueError, match=words)


def ids(title):
    """The 8 hexadecimal digits of each character of a volume."""
    return {who: f"0000{TITLES.index(title)}{number}0{who}" for number, who in enumerate("abcd")}


def page(folder, title, index, faces, extra="", size=(64, 48)):
    """A page with a face of each character that `faces` spells, and its lines in the XML."""
    drawn, lines = np.full((size[1], size[0]), 255, np.uint8), [f'<frame id="0000{index}fff" xmin="0" ymin="0" '
                                                                'xmax="64" ymax="48"/>', extra]  # fmt: skip
    for i, who in enumerate(faces):
        left, top = 16 * (i % 4), 16 * (i // 4)
        drawn[top : top + SIDE, left : left + SIDE] = GREY[who] + TITLES.index(title)
        drawn[top + SIDE - 1, left + SIDE - 1] = GREY[who] - 12 + 4 * i + index  # so that no two faces are equal
        for kind, wide in (("face", 0), ("body", 4)):
            lines.append(f'<{kind} id="{index:04}{i:03}{kind[0]}" xmin="{left}" ymin="{top}" xmax="{left + SIDE}" '
                         f'ymax="{top + SIDE + wide}" character="{ids(title)[who]}"/>')  # fmt: skip
    lines.append(f'<text id="0000{index}eee" xmin="1" ymin="1" xmax="9" ymax="9">キャーッ &amp;</text>')
    place = folder / "images" / title
    place.mkdir(parents=True, exist_ok=True)
    Image.fromarray(drawn).save(place / f"{index:03}.jpg", quality=98)
    return f'<page index="{index}" width="{size[0]}" height="{size[1]}">{"".join(lines)}</page>'


def volume(folder, title, pages, extra="", names=None):
    """annotations/<title>.xml and its pages; pages: for each the characters whose faces it has."""
    names = {"a": "高槻涼", "b": "Iwao & Co", "c": "隼人", "d": "_Other"} if names is None else names
    people = "".join(f"<character id={quoteattr(ids(title)[who])} name={quoteattr(name)}/>"
                     for who, name in names.items())  # fmt: skip
    inside = "".join(page(folder, title, i, faces) for i, faces in enumerate(pages))
    (folder / "annotations").mkdir(exist_ok=True)
    (folder / "annotations" / f"{title}.xml").write_text(
        f'<?xml version="1.0" encoding="utf-8"?>\n<book title={quoteattr(title)}><characters>{people}</characters>'
        f'<pages>{inside}<page index="{len(pages)}" width="64" height="48"/>{extra}</pages></book>',
        encoding="utf-8")  # fmt: skip


def release(folder, name="Manga109_released_2023_12_07", titles=TITLES):
    """Volumes with 6 faces of a, 4 of b, 2 of c, and 2 of "_Other" each."""
    root = folder / name
    for title in titles:
        volume(root, title, ["aabb", "aabbccdd", "aa"])
    (root / "books.txt").write_text("\n".join(titles) + "\n", encoding="utf-8")
    return root


def edit(root, title, old, new):
    file = root / "annotations" / f"{title}.xml"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


def greys(images):
    """The grey of each face (n,), to the nearest of those that are drawn: JPEG moves it a little."""
    middle = np.asarray(images)[:, 2:-2, 2:-2, 0].mean((1, 2))
    return [(who, t) for value in middle for who, base in GREY.items() for t in range(5) if abs(value - base - t) < 0.5]


def test_volumes_to_train_on_and_volumes_never_seen(tmp_path):
    data = lt.manga109(release(tmp_path), size=8)
    assert data.name == "manga109_face" and data.shape == (3, 8, 8) and (data.pad, data.flip) == (1, True)
    assert data.report.training == ("ARMS", "Akuhamu", "LoveHina_vol01", "LoveHina_vol14"), "80 of 109 are 4 of 5"
    assert data.report.unseen == ("That'sIzumiko",)
    assert data.class_names[:4] == ("ARMS/高槻涼", "Akuhamu/高槻涼", "LoveHina_vol01/高槻涼", "LoveHina_vol14/高槻涼")
    assert data.counts.tolist() == [4, 4, 4, 4, 2, 2, 2, 2], "6 and 4 faces, one to validate and one to test on"
    assert len(data.val_images) == len(data.test_images) == 8
    assert data.report.few == {f"{title}/隼人": 2 for title in data.report.training} and data.report.nobody == 10
    assert isinstance(data.unseen, Unseen) and data.unseen.images.shape == (12, 8, 8, 3)
    assert data.unseen.names == ("That'sIzumiko/高槻涼", "That'sIzumiko/Iwao & Co", "That'sIzumiko/隼人")
    assert np.bincount(data.unseen.identities).tolist() == [6, 4, 2]


def test_every_face_is_cut_out_where_its_box_is(tmp_path):
    data = manga109(release(tmp_path), size=8, volumes=1)
    assert data.report.training == ("ARMS",)
    for part in ("", "val_", "test_"):
        who = {"ARMS/高槻涼": ("a", 0), "ARMS/Iwao & Co": ("b", 0)}
        labels = [who[data.class_names[int(label)]] for label in getattr(data, f"{part}targets")]
        assert greys(getattr(data, f"{part}images")) == labels
    assert greys(data.unseen.images[data.unseen.identities == 0]) == [("a", 1)] * 6
    assert float(data.mean[0]) == pytest.approx((6 * 40 + 4 * 90 + 2 * 140) / 12 / 255, abs=2e-3)


def test_a_body_is_another_box_and_is_brought_to_the_square_whatever_its_shape(tmp_path):
    root = release(tmp_path)
    body, face = manga109(root, "body", size=12, volumes=1), manga109(root, size=12, volumes=1)
    assert body.name == "manga109_body" and len(body) == len(face)
    whole = np.asarray(body.images[body.targets == 0])[..., 0]
    assert (whole[:, :6] < 60).all() and (whole[:, 10:] > 200).all(), (
        "8 x 12 pixels, of which the last 4 rows are paper"
    )
    assert (np.asarray(face.images[face.targets == 0])[..., 0] < 60).all()


def test_a_series_stays_together(tmp_path):
    root = release(tmp_path)
    assert manga109(root, volumes=3, size=8).report.training == ("ARMS", "Akuhamu", "That'sIzumiko")
    assert manga109(root, volumes=4, size=8).report.unseen == ("That'sIzumiko",)
    only = release(tmp_path / "two", titles=TITLES[2:4])
    with refused("^volumes=1: expected enough for the volumes of one series"):
        manga109(only, volumes=1)


def test_volumes_by_title(tmp_path):
    root = release(tmp_path)
    data = manga109(root, volumes=("That'sIzumiko", "ARMS"), size=8)
    assert data.report.training == ("ARMS", "That'sIzumiko") and len(data.report.unseen) == 3
    again = load(json.loads(json.dumps(data.spec)))
    assert again.fingerprint == data.fingerprint and again.spec == data.spec
    for wrong in ([], TITLES, ["ARMS", "ARMS"], "ARMS", [3]):
        with refused("^volumes=.*titles in books.txt, each once, and not all of them"):
            manga109(root, volumes=wrong)
    with refused(r"'arms' is none \(did you mean 'ARMS'\?\)"):
        manga109(root, volumes=["arms"])
    for wrong in (0, 5, 2.5, True, {"ARMS"}):
        with refused("^volumes=.*a whole number from 1 to 4, how many are trained on, or a list of their titles"):
            manga109(root, volumes=wrong)


def test_the_folder_that_holds_the_release_and_the_place_of_data_will_do(tmp_path, monkeypatch):
    root = release(tmp_path, "Manga109s_released_2023_12_07")
    found = manga109(root, size=8).fingerprint
    assert manga109(tmp_path, size=8).fingerprint == found
    monkeypatch.setenv("LTVIZ_DATA", str(tmp_path))
    assert manga109(size=8).fingerprint == found
    release(tmp_path)
    with refused("holds Manga109_released_2023_12_07, Manga109s_released_2023_12_07; pass root= the one that is meant"):
        manga109()
    with pytest.raises(FileNotFoundError, match="no books.txt in .*annotations, nor in a folder Manga109"):
        manga109(root / "annotations")


def test_the_tail_is_that_of_the_volumes_or_cut(tmp_path):
    root = release(tmp_path)
    assert manga109(root, size=8, volumes=2, least=2, validation=0).counts.tolist() == [5, 5, 3, 3, 1, 1]
    flat = manga109(root, size=8, volumes=2, ratio=1, seed=1)
    assert flat.counts.tolist() == [2, 2, 2, 2] and flat.with_seed(2).fingerprint != flat.fingerprint
    assert np.array_equal(flat.unseen.images, flat.with_seed(2).unseen.images)
    with refused("n_max= is only for a tail that is cut"):
        manga109(root, n_max=3)
    with refused("^least=2: expected more than validation=1 and test=1 hold out"):
        manga109(root, least=2)
    with refused("^least=5: expected a smaller one: 1 identity of the training volumes has that many boxes"):
        manga109(root, volumes=1, least=5)
    for changed in ({"boxes": "head"}, {"size": 2}, {"test": 0}, {"on_error": "pass"}, {"memory": 0}, {"pad": 1.5}):
        with refused(f"^{next(iter(changed))}="):
            manga109(root, **changed)


def test_ids_are_text_and_belong_to_a_volume(tmp_path):
    root = release(tmp_path)
    volume(root, "ARMS", ["aaabbb"], names={"a": "同名", "b": "同名"})
    volume(root, "Akuhamu", ["aaabbb"], names={})
    edit(root, "Akuhamu", "<characters></characters>", "")
    data = manga109(root, size=8, volumes=2)
    a, b = ids("ARMS")["a"], ids("ARMS")["b"]
    assert set(data.class_names) == {f"ARMS/同名 ({a})", f"ARMS/同名 ({b})",
                                     "Akuhamu/0000100a", "Akuhamu/0000110b"}  # fmt: skip


def test_a_box_that_does_not_say_whose_it_is_is_counted(tmp_path):
    root = release(tmp_path)
    edit(root, "ARMS", f' character="{ids("ARMS")["a"]}"', "")
    assert manga109(root, size=8).report.nameless == 1
    for title in TITLES:
        volume(root, title, ["dd"])
    with refused("no <face> in any page|do not say whose they are"):
        manga109(root)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('xmax="8"', 'xmax="65"', "its box from 0, 0 to 65, 8 exceeds the page of 64 x 48"),
        ('xmin="0" ymin="0" xmax="8"', 'xmin="-1" ymin="0" xmax="8"', "its box from -1, 0 to 8, 8 exceeds the page"),
        ('xmin="0" ymin="0" xmax="8"', 'xmin="8" ymin="0" xmax="8"', "its box is empty: from 8, 0 to 8, 8"),
        ('xmin="0" ymin="0" xmax="8"', 'xmin="0" ymin="0" xmax="x"', "xmin, ymin, xmax, ymax are not whole numbers: 0"),
        ('xmin="0" ymin="0" xmax="8"', 'ymin="0" xmax="8"', "are not whole numbers: , 0, 8, 8"),
        (f'character="{ids("ARMS")["a"]}"', 'character="0000dead"', "0000dead is not among the characters of ARMS.xml"),
    ],
)
def test_a_box_with_a_fault_is_named_or_left_out(tmp_path, old, new, words):
    root = release(tmp_path)
    edit(root, "ARMS", old, new)
    with refused(f"images/ARMS/000.jpg, face 0000000f cannot be read .*{words}.*or pass on_error="):
        manga109(root)
    with pytest.warns(UserWarning, match=f"1 box or page left out: images/ARMS/000.jpg, face 0000000f .*{words}"):
        data = manga109(root, size=8, volumes=1, on_error="skip")
    assert list(data.report.bad) == ["images/ARMS/000.jpg, face 0000000f"] and data.counts.tolist() == [3, 2]


def test_pages_with_a_fault_are_named_all_at_once(tmp_path):
    root = release(tmp_path)
    (root / "images" / "ARMS" / "000.jpg").unlink()
    edit(root, "Akuhamu", 'index="1" width="64"', 'index="1" width="?"')
    edit(root, "That'sIzumiko", "</pages>", '<face id="00000777" xmin="0" ymin="0" xmax="4" ymax="4"/></pages>')
    words = (
        "3 images: images/ARMS/000.jpg cannot be read .there is no such file.; annotations/Akuhamu.xml, page 1 .*whole "
        "numbers.*; annotations/That'sIzumiko.xml, face 00000777 .*outside every page"
    )
    with refused(words):
        manga109(root)
    with pytest.warns(UserWarning, match="3 boxes and pages left out"):
        data = manga109(root, size=8, volumes=2, on_error="skip")
    assert data.class_names == ("ARMS/高槻涼", "Akuhamu/高槻涼") and data.counts.tolist() == [2, 2]
    assert len(data.report.bad) == 3 and data.report.few["ARMS/Iwao & Co"] == 2


def test_a_page_that_is_no_image_or_smaller_than_its_annotation_says(tmp_path):
    root = release(tmp_path)
    Image.new("L", (64, 20)).save(root / "images" / "ARMS" / "001.jpg")
    with refused(
        "6 images: images/ARMS/001.jpg, face 0001000f .*the image of its page is 64 x 20, and its box was drawn on a "
        "page of 64 x 48"
    ):
        manga109(root)
    (root / "images" / "ARMS" / "002.jpg").write_bytes(b"nothing")
    with refused("8 images: .*images/ARMS/002.jpg, face 0002000f cannot be read .no kind of image that is known"):
        manga109(root)


@pytest.mark.parametrize("scale", [2, 0.5])
def test_a_page_of_another_size_is_never_cut_at_the_places_of_its_annotation(tmp_path, scale):
    root = release(tmp_path)
    file = root / "images" / "ARMS" / "000.jpg"
    with Image.open(file) as image:
        image.resize((round(64 * scale), round(48 * scale))).save(file, quality=98)
    with refused(
        f"4 images: .* its page is {64 * scale:g} x {48 * scale:g}, and its box was drawn on a page of 64 x 48"
    ):
        manga109(root, size=8, volumes=2)
    with pytest.warns(UserWarning, match="4 boxes and pages left out"):
        data = manga109(root, size=8, volumes=2, on_error="skip")
    assert dict(zip(data.class_names, data.counts.tolist(), strict=True)) == {
        "Akuhamu/高槻涼": 4, "Akuhamu/Iwao & Co": 2, "ARMS/高槻涼": 2}  # fmt: skip
    who = {"ARMS/高槻涼": ("a", 0), "Akuhamu/高槻涼": ("a", 1), "Akuhamu/Iwao & Co": ("b", 1)}
    assert greys(data.images) == [who[data.class_names[int(label)]] for label in data.targets]


def test_an_index_that_stands_twice_and_an_annotation_of_another_volume(tmp_path):
    root = release(tmp_path)
    edit(root, "ARMS", '<page index="2"', '<page index="01"')
    with refused("annotations/ARMS.xml, page 1 cannot be read .several pages have this index.*or pass on_error="):
        manga109(root, size=8)
    with pytest.warns(UserWarning, match="1 box or page left out"):
        data = manga109(root, size=8, volumes=1, least=2, validation=0, on_error="skip")
    assert data.counts.tolist() == [1, 1], "the two and two faces of page 0, one each to test on"
    edit(root, "ARMS", '<page index="01"', '<page index="2"')
    edit(root, "Akuhamu", '<book title="Akuhamu"', '<book title="AkkeraKanjinchou"')
    with refused("annotations/Akuhamu.xml cannot be read .it is that of AkkeraKanjinchou, by its <book title>"):
        manga109(root, size=8)
    with pytest.warns(UserWarning, match="1 box or page left out"):
        data = manga109(root, size=8, volumes=2, on_error="skip")
    assert data.class_names == ("ARMS/高槻涼", "ARMS/Iwao & Co")


def test_pages_that_are_all_called_otherwise(tmp_path):
    root = release(tmp_path)
    for file in root.glob("images/*/*.jpg"):
        file.rename(file.with_suffix(".png"))
    for on_error in ("raise", "skip"):
        with pytest.raises(
            FileNotFoundError,
            match="none of the 15 pages with boxes, such as images/ARMS/000.jpg .there are .png.; pages",
        ):
            manga109(root, on_error=on_error)


def test_what_is_missing_from_the_layout(tmp_path):
    root = release(tmp_path)
    edit(root, "ARMS", "</pages>", "")
    with refused("ARMS.xml is no well-formed XML .mismatched tag: line 2"):
        manga109(root)
    (root / "annotations" / "ARMS.xml").write_text("<html/>")
    with refused("ARMS.xml is no annotation of Manga109: expected <book> with <characters> and <pages>"):
        manga109(root)
    for title in ("ARMS", "Akuhamu"):
        (root / "annotations" / f"{title}.xml").unlink()
    with refused("books.txt names titles without annotations/<title>.xml: ARMS, Akuhamu; copy them there"):
        manga109(root)
    (root / "annotations").rename(root / "annotation")
    with pytest.raises(FileNotFoundError, match="has no folder annotations/; expected books.txt, annotations/<title>"):
        manga109(root)
    (root / "annotation").rename(root / "annotations")
    (root / "books.txt").write_text("ARMS\nAkuhamu\nARMS\n")
    with refused("books.txt names ARMS twice; expected a title a line"):
        manga109(root)
    (root / "books.txt").write_text("ARMS\n")
    with refused("books.txt names 1 title, at least 2 needed"):
        manga109(root)


def test_beyond_memory_faces_stay_on_the_disk_with_the_same_values(tmp_path):
    root = release(tmp_path)
    plain, mapped = manga109(root, size=8), manga109(root, size=8, memory=1e-9)
    assert isinstance(mapped, Streamed) and mapped.fingerprint == plain.fingerprint
    assert isinstance(mapped.unseen.images.base, np.memmap)
    assert np.array_equal(mapped.unseen.images, plain.unseen.images)
    assert mapped.report == plain.report and isinstance(mapped.to("cpu").unseen, Unseen)


def test_a_box_that_was_moved_is_cut_out_again(tmp_path):
    root = release(tmp_path)
    before = manga109(root, size=8).fingerprint
    edit(root, "ARMS", 'xmin="0" ymin="0" xmax="8" ymax="8"', 'xmin="0" ymin="0" xmax="7" ymax="8"')
    assert manga109(root, size=8).fingerprint != before


def test_unseen_characters_are_found_again_by_the_protocol_of_recognition(tmp_path):
    data = manga109(release(tmp_path), size=8)
    features = data.unseen.images.reshape(12, -1).astype(np.float32)
    found = lt.recognise(features, data.unseen, queries=12, pairs=8, folds=2, distance="euclidean")
    assert found.retrieval.rank1 == 1.0 and found.retrieval.map == 1.0, "each character has a grey of its own"
    assert found.same.tolist() == [True, False] * 4 and torch.is_tensor(data.images)
