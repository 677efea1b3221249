"""Omniglot on drawings in the official layout: 105 x 105 PNGs of one bit, in which ink is 0."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import real_data
from PIL import Image

import ltviz as lt
from ltviz.datasets import LOADERS, Unseen, load, longtailed, omniglot_lt, sources

DRAWN = 20  # people who drew each character
ALPHABETS = {
    "images_background_small1": {"Balinese": 2, "Greek": 2},
    "images_background_small2": {"Greek": 2, "Tagalog": 3},
}


def drawing(character: int, person: int) -> bytes:
    """A bar of ink: where it stands says which character it is, how long it is who drew it."""
    paper = np.ones((105, 105), bool)
    paper[10 * character + 5 : 10 * character + 11, 5 : 40 + 3 * person] = False
    content = io.BytesIO()
    Image.fromarray(paper).save(content, "png")
    return content.getvalue()


def files(name: str) -> dict[str, bytes]:
    """What a set holds: NAME/<alphabet>/<character>/NNNN_MM.png."""
    found, number = {}, 0
    for alphabet, characters in ALPHABETS[name].items():
        for c in range(characters):
            for person in range(DRAWN):
                path = f"{name}/{alphabet}/character{c + 1:02}/{number:04}_{person + 1:02}.png"
                found[path] = drawing(number, person)
            number += 1
    return found


def pack(folder: Path, **changed: dict[str, bytes]) -> Path:
    """Both sets as archives."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ALPHABETS:
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
            for path, data in changed.get(name, files(name)).items():
                archive.writestr(path, data)
    return folder


def unpack(folder: Path) -> Path:
    """Both sets as folders."""
    for name in ALPHABETS:
        for path, data in files(name).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LTVIZ_CACHE", str(tmp_path / "cache"))


def test_a_long_tail_of_characters_and_whole_alphabets_beside_it(tmp_path):
    data = lt.omniglot_lt(root=pack(tmp_path / "here"), seed=3)
    assert data.name == "omniglot_lt" and data.k == 4 and data.shape == (1, 28, 28)
    assert data.counts.tolist() == [16, 8, 4, 2], "20 drawings, less two to validate and two to test on"
    assert len(data.val_images) == len(data.test_images) == 8
    assert sorted(data.class_names) == ["Balinese/character01", "Balinese/character02",
                                        "Greek/character01", "Greek/character02"]  # fmt: skip
    assert data.pad == 2 and not data.flip, "a mirrored character is another one"
    assert data.recipe == "omniglot"
    assert isinstance(data.unseen, Unseen) and data.unseen.images.shape == (60, 28, 28, 1)
    assert data.unseen.names == ("Tagalog/character01", "Tagalog/character02", "Tagalog/character03")
    assert np.bincount(data.unseen.identities).tolist() == [20, 20, 20]


def test_no_alphabet_of_the_training_set_is_called_unseen(tmp_path):
    root = pack(tmp_path / "here")
    assert not any(name.startswith("Greek/") for name in omniglot_lt(root=root).unseen.names)
    swapped = omniglot_lt(root=root, train="images_background_small2", unseen="images_background_small1")
    assert swapped.unseen.names == ("Balinese/character01", "Balinese/character02") and swapped.k == 5
    with pytest.raises(ValueError, match="unseen='images_background_small1': expected a set with alphabets that train"):
        omniglot_lt(root=root, unseen="images_background_small1")


def test_ink_is_255_on_paper_of_0_and_every_drawing_has_its_label(tmp_path):
    data = omniglot_lt(root=pack(tmp_path / "here"), size=105)
    assert set(np.unique(data.images)) == {0, 255}
    place = {"Balinese/character01": 0, "Balinese/character02": 1, "Greek/character01": 2, "Greek/character02": 3}
    for part in ("", "val_", "test_"):
        for image, target in zip(getattr(data, f"{part}images"), getattr(data, f"{part}targets"), strict=True):
            rows = np.flatnonzero(image[..., 0].numpy().any(1))
            assert rows.tolist() == list(range(10 * (p := place[data.class_names[int(target)]]) + 5, 10 * p + 11))
    first = data.unseen.images[data.unseen.identities == 0]
    assert {int(row) for image in first for row in np.flatnonzero(image[..., 0].any(1))} == set(range(25, 31))
    lengths = sorted(int(image[..., 0].any(0).sum()) for image in first)
    assert lengths == [35 + 3 * person for person in range(20)], "each drawing once"


def test_smaller_drawings_keep_their_ink(tmp_path):
    root = pack(tmp_path / "here")
    whole, small = omniglot_lt(root=root, size=105, ratio=1), omniglot_lt(root=root, size=35, ratio=1)
    assert small.shape == (1, 35, 35)
    assert float(small.mean) == pytest.approx(float(whole.mean), rel=0.01)
    assert float(small.std) < float(whole.std), "edges are grey"
    seen = omniglot_lt(root=root).images.float() / 255
    assert 0 < float(seen.mean()) < 0.2


def test_normalised_by_mean_and_standard_deviation_of_the_whole_set(tmp_path):
    data = omniglot_lt(root=pack(tmp_path / "here"), ratio=1, validation=0, test=1, size=105)
    ink = np.mean([(6 * (35 + 3 * person)) / 105**2 for person in range(20)])
    assert float(data.mean) == pytest.approx(ink, rel=1e-5)
    assert float(data.std) == pytest.approx((ink * (1 - ink)) ** 0.5, rel=1e-5)


def test_the_same_drawings_are_held_out_under_every_seed_and_training_parts_are_nested(tmp_path):
    root = pack(tmp_path / "here")
    first, second = (omniglot_lt(root=root, seed=seed, class_order="natural") for seed in (0, 1))
    assert torch.equal(first.test_images, second.test_images) and torch.equal(first.val_images, second.val_images)
    assert not torch.equal(first.images, second.images)
    np.testing.assert_array_equal(first.unseen.images, second.unseen.images)
    orders = {omniglot_lt(root=root, seed=seed).class_names for seed in range(5)}
    assert len(orders) > 1, "which characters are rare is drawn by seed"
    balanced = omniglot_lt(root=root, ratio=1, n_max=6)
    assert balanced.counts.tolist() == [6, 6, 6, 6]


@pytest.mark.parametrize("inside", ["", "omniglot-py"])
@pytest.mark.parametrize("form", [pack, unpack])
def test_archives_and_folders_alone_or_where_torchvision_puts_them(tmp_path, monkeypatch, form, inside):
    expected = omniglot_lt(root=pack(tmp_path / "expected"))
    form(tmp_path / "data" / inside)
    assert omniglot_lt(root=tmp_path / "data").fingerprint == expected.fingerprint
    monkeypatch.setenv("LTVIZ_DATA", str(tmp_path / "data"))
    found = omniglot_lt()
    assert found.fingerprint == expected.fingerprint and found.spec["root"] is None
    np.testing.assert_array_equal(found.unseen.images, expected.unseen.images)


def test_root_may_be_the_training_set_itself(tmp_path):
    expected = omniglot_lt(root=pack(tmp_path / "packed"))
    name = "images_background_small1"
    assert omniglot_lt(root=tmp_path / "packed" / f"{name}.zip").fingerprint == expected.fingerprint
    assert omniglot_lt(root=unpack(tmp_path / "open") / name).fingerprint == expected.fingerprint


def test_the_spec_makes_the_same_data_again_and_another_seed(tmp_path):
    data = omniglot_lt(root=pack(tmp_path / "here"), ratio=4, size=20)
    again = load(data.spec)
    assert again.identity == data.identity and again.spec == data.spec and "omniglot_lt" in LOADERS
    other = data.with_seed(1)
    assert other.identity == omniglot_lt(root=tmp_path / "here", ratio=4, size=20, seed=1).identity
    assert len(other.unseen.images) == 60


def test_unseen_alphabets_stay_with_data_on_another_device(tmp_path):
    data = omniglot_lt(root=pack(tmp_path / "here"))
    moved = longtailed.replaced(data, {"images": data.images.clone()})
    assert moved.unseen is data.unseen and moved.images is not data.images
    assert moved.fingerprint == data.fingerprint
    assert data.to("cpu").unseen is data.unseen


def test_drawings_are_decoded_once_and_again_when_the_archive_changes(tmp_path, monkeypatch):
    root = pack(tmp_path / "here")
    before = omniglot_lt(root=root)
    decoded = []
    monkeypatch.setattr(sources, "decode", lambda *args, real=sources.decode: decoded.append(1) or real(*args))
    assert omniglot_lt(root=root).fingerprint == before.fingerprint and not decoded
    pack(root, images_background_small1={
        path: drawing(9, 0) for path in files("images_background_small1")})  # fmt: skip
    assert omniglot_lt(root=root).fingerprint != before.fingerprint and len(decoded) == 180, "both were written anew"


def test_without_data_it_says_which_file_is_missing_and_where_it_comes_from(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="no images_background_small1.zip and no folder .*pass root="):
        omniglot_lt(root=tmp_path / "nowhere")
    monkeypatch.setenv("LTVIZ_DATA", str(tmp_path / "empty"))
    monkeypatch.setattr(sources, "own_folder", lambda: tmp_path / "own")
    with pytest.raises(FileNotFoundError, match=r"empty or .*own.*brendenlake/omniglot"):
        omniglot_lt()
    (pack(tmp_path / "half") / "images_background_small2.zip").unlink()
    with pytest.raises(FileNotFoundError, match="no images_background_small2.zip"):
        omniglot_lt(root=tmp_path / "half")


def damaged(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "cut short":
        path.write_bytes(content[: len(content) // 2])
    elif how == "no archive":
        path.write_bytes(b"<html>not found</html>")
    else:  # in the middle of a drawing
        middle = content.index(b"IDAT") + 6
        path.write_bytes(content[:middle] + bytes(20) + content[middle + 20 :])


@pytest.mark.parametrize("how", ["cut short", "no archive", "bytes changed"])
def test_a_damaged_archive_is_named(tmp_path, how):
    path = pack(tmp_path / "here") / "images_background_small1.zip"
    damaged(path, how)
    with pytest.raises(ValueError, match=r"archive .*small1.zip is truncated or damaged.*download it again"):
        omniglot_lt(root=tmp_path / "here")


def test_a_file_with_another_layout_is_named(tmp_path):
    wrong = {f"other/{path}": data for path, data in files("images_background_small1").items()}
    root = pack(tmp_path / "deep", images_background_small1=wrong)
    with pytest.raises(ValueError, match="small1.zip holds no drawings of two characters at images_background"):
        omniglot_lt(root=root)
    (tmp_path / "flat" / "images_background_small1" / "Greek").mkdir(parents=True)
    with pytest.raises(ValueError, match="small1 holds no drawings of two characters at <alphabet>/<character>"):
        omniglot_lt(root=tmp_path / "flat")


def test_what_is_beside_the_drawings_is_passed_over(tmp_path):
    name = "images_background_small1"
    more = {f"__MACOSX/{name}/Greek/character01/._1.png": b"", f"{name}/Greek/character01/._1.png": b"",
            f"{name}/readme.txt": b"", f"{name}/Greek/strokes.png": b""}  # fmt: skip
    expected = omniglot_lt(root=pack(tmp_path / "plain"))
    assert omniglot_lt(root=pack(tmp_path / "more", **{name: files(name) | more})).fingerprint == expected.fingerprint


def test_a_drawing_of_another_size_or_none_at_all_is_named(tmp_path):
    name, content = "images_background_small1", io.BytesIO()
    Image.new("1", (28, 28)).save(content, "png")
    path = f"{name}/Greek/character01/0002_01.png"
    for data, said in ((content.getvalue(), "28 x 28 pixels"), (b"no image", "no kind of image")):
        root = pack(tmp_path / "here", **{name: files(name) | {path: data}})
        with pytest.raises(ValueError, match=f"Greek/character01/0002_01.png cannot be read .*{said}"):
            omniglot_lt(root=root)


@pytest.mark.parametrize("wrong, said", [
    ({"ratio": 0.5}, "ratio=0.5"), ({"ratio": True}, "ratio=True"), ({"size": 4}, "size=4: expected a whole number"),
    ({"size": 106}, "size=106"), ({"size": 28.0}, "size=28.0"), ({"seed": -1}, "seed=-1"), ({"seed": "3"}, "seed='3'"),
    ({"validation": 1.5}, "validation=1.5"), ({"test": -1}, "test=-1"), ({"test": 0}, "test=0"),
    ({"validation": 20}, "is left with no image"), ({"n_max": 17}, "n_max=17 is too large"), ({"n_max": 0}, "n_max=0"),
    ({"ratio": 20}, "is cut|cuts it to 0"), ({"profile": "line"}, "profile='line'"),
    ({"class_order": "count"}, "class_order='count'"), ({"root": 3}, "root=3"),
    ({"train": "images_background_small"}, "did you mean 'images_background_small"), ({"unseen": None}, "unseen=None"),
])  # fmt: skip
def test_wrong_arguments_are_named(tmp_path, wrong, said):
    pack(tmp_path / "here")
    with pytest.raises(ValueError, match=said):
        omniglot_lt(**{"root": tmp_path / "here", **wrong})


# ------------------------------------------------------------------------------------------------------------ real data
@pytest.mark.realdata
def test_the_published_sets():
    root = real_data()
    if not all((root / f"{name}.zip").is_file() for name in ALPHABETS):
        pytest.skip(f"realdata: no Omniglot in {root}")
    data = omniglot_lt(root=root)
    assert data.k == 136 and len(data) == 854 and (int(data.counts[0]), int(data.counts[-1])) == (16, 2)
    trained = {name.split("/")[0] for name in data.class_names}
    assert trained == {"Balinese", "Early_Aramaic", "Greek", "Korean", "Latin"}
    assert data.unseen.images.shape == (2120, 28, 28, 1) and len(data.unseen.names) == 106
    alphabets = {name.split("/")[0] for name in data.unseen.names}
    assert alphabets == {"Japanese_(katakana)", "Sanskrit", "Tagalog"}, "Greek and Latin are in both sets"
    assert float(data.mean) == pytest.approx(0.0763, abs=1e-4) and float(data.std) == pytest.approx(0.2133, abs=1e-4)
