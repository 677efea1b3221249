"""Printed characters: counts, what is on neither side twice, the same drawings again, and the recorded features."""

import numpy as np
import pytest
import torch

import ltviz as lt
from ltviz.datasets import LOADERS, Unseen, glyphs, load
from ltviz.datasets.glyphs import glyph_features, keep_features
from ltviz.files import RunFileError
from ltviz.training import Trainer
from tools import glyphs as tool


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("glyphs")


@pytest.fixture(autouse=True)
def kept(cache, monkeypatch):
    """All tests of this file share one cache."""
    monkeypatch.setenv("LTVIZ_CACHE", str(cache))


@pytest.fixture(scope="module")
def small(cache):
    """A few letters of two scripts, on few pixels."""
    before = pytest.MonkeyPatch()
    before.setenv("LTVIZ_CACHE", str(cache))
    yield lt.glyphs_lt(size=16, train=["Greek"], unseen=["Georgian"])
    before.undo()


def test_a_long_tail_of_characters_and_other_scripts_beside_it(small):
    profile = lt.datasets.profile_counts(12, small.k, 6)
    assert small.counts.tolist() == list(profile) and (small.counts[0], small.counts[-1]) == (12, 2)
    assert small.name == "glyphs_lt" and small.shape == (1, 16, 16) and small.recipe == "glyphs" and not small.flip
    assert len(small.val_images) == len(small.test_images) == 2 * small.k
    assert isinstance(small.unseen, Unseen) and small.unseen.images.dtype == np.uint8
    assert small.unseen.images.shape == (12 * len(small.unseen.names), 16, 16, 1), "DejaVu alone has Georgian"
    assert (np.bincount(small.unseen.identities) == 12).all()
    assert all(name.startswith("Greek/") for name in small.class_names)
    assert all(name.startswith("Georgian/") for name in small.unseen.names)
    ink = small.unseen.images.reshape(len(small.unseen.images), -1).mean(1)
    assert (ink > 5).all() and (ink < 128).all(), "ink is bright, and most of a picture is paper"


def test_the_same_seed_gives_the_same_images_and_another_one_another_tail(small):
    again, other = (lt.glyphs_lt(size=16, train=["Greek"], unseen=["Georgian"], seed=seed) for seed in (0, 1))
    assert torch.equal(again.images, small.images) and torch.equal(again.targets, small.targets)
    assert again.fingerprint == small.fingerprint and np.array_equal(again.unseen.images, small.unseen.images)
    assert other.class_names != small.class_names and other.counts.tolist() == small.counts.tolist()
    assert np.array_equal(other.unseen.images, small.unseen.images), "who asks for strangers asks for the same ones"
    one, two = small.class_names[0], other.class_names.index(small.class_names[0])
    of = [data.test_images[data.test_targets == j] for data, j in ((small, 0), (other, two))]
    assert torch.equal(*of), f"{one} is tested on the same drawings under every seed"


def test_the_cache_is_not_needed(small, tmp_path, monkeypatch):
    monkeypatch.setenv("LTVIZ_CACHE", str(tmp_path))
    assert np.array_equal(lt.glyphs_lt(size=16, train=["Greek"], unseen=["Georgian"]).images, small.images)
    assert len(list((tmp_path / "images").glob("glyphs-*.npz"))) == 2


def test_a_spec_makes_it_again(small):
    assert LOADERS["glyphs_lt"] is lt.glyphs_lt
    made = load(small.spec)
    assert torch.equal(made.images, small.images) and made.spec == small.spec
    assert small.with_seed(4).spec["seed"] == 4


def test_look_alikes_are_on_no_two_sides():
    """Found by drawing them: no list says that these look alike."""
    kept = glyphs._distinct(("Latin", "Greek"))
    latin, greek = ({char for script, char in kept if script == name} for name in ("Latin", "Greek"))
    assert latin == set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"), "in a sans face l is I"
    assert not greek & set("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧο"), "drawn as the Latin letters are"
    assert set("ΔΞΣΦΨΩαβγδζθλξω") <= greek
    cyrillic = {char for script, char in glyphs._distinct(("Latin", "Cyrillic")) if script == "Cyrillic"}
    assert not cyrillic & set("АВЕКМНОРСТХаеорсух") and set("БГДЖЗЛУЯжя") <= cyrillic


def test_the_order_of_scripts_decides_who_is_left_out():
    kept = glyphs._distinct(("Greek", "Latin"))
    assert ("Greek", "Α") in kept and ("Latin", "A") not in kept and len(kept) == len(set(kept))


def test_by_default_nobody_is_on_both_sides():
    data = lt.glyphs_lt()
    seen = {name.split("/")[1] for name in data.class_names}
    strangers = {name.split("/")[1] for name in data.unseen.names}
    assert not seen & strangers and data.shape == (1, 20, 20)
    scripts = {name.split("/")[0] for name in data.unseen.names}
    assert scripts == {"Greek", "Armenian", "Georgian"} and data.counts[0] == 12 and data.counts[-1] == 2
    own = data.images.reshape(len(data), -1).numpy().astype(float)
    other = data.unseen.images.reshape(len(data.unseen.images), -1).astype(float)
    both = np.concatenate([np.unique(own, axis=0), np.unique(other, axis=0)])
    assert len(np.unique(both, axis=0)) == len(both), "no drawing of a stranger is trained on"


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("ratio", 0.5), ("ratio", "six"), ("size", 11), ("size", 65), ("size", 20.5), ("n_max", 0), ("n_max", True),
        ("profile", "odd"), ("seed", -1), ("class_order", "alphabetical"), ("validation", -1), ("test", 1.5),
        ("train", "Latin"), ("train", []), ("train", ["Latin", "Latin"]), ("unseen", None), ("unseen", ["Latin"]),
    ],
)  # fmt: skip
def test_it_refuses(name, given):
    with pytest.raises(ValueError, match=f"^{name}=.*expected"):
        lt.glyphs_lt(**{"size": 16, "train": ["Latin"], "unseen": ["Georgian"], name: given})


def test_it_refuses_a_script_that_is_not_there():
    with pytest.raises(ValueError, match="one of train='Cyrilic': expected one of 'Latin', .*did you mean 'Cyrillic'"):
        lt.glyphs_lt(train=["Cyrilic"])
    with pytest.raises(ValueError, match="test=0 leaves nothing to test on"):
        lt.glyphs_lt(size=16, train=["Greek"], unseen=["Georgian"], test=0)


# --- recorded features -----------------------------------------------------------------------------------------------


def test_recorded_features_are_those_of_forty_characters():
    features, unseen = glyph_features()
    assert list(features) == ["Softmax", "Softmax + ring loss", "Dual Loss", "NormFace", "CosFace", "ArcFace"]
    assert all(x.shape == (320, 64) and x.dtype == np.float32 for x in features.values())
    assert unseen.images.shape == (320, 20, 20, 1) and (np.bincount(unseen.identities) == 8).all()
    drawn = lt.glyphs_lt().unseen
    rows = [np.flatnonzero(drawn.identities == drawn.names.index(name)) for name in unseen.names[:3]]
    for i, some in enumerate(rows):
        for image in unseen.images[unseen.identities == i]:
            assert (image == drawn.images[some]).all((1, 2, 3)).sum() == 1, "a drawing of the data set, drawn again"


def test_features_are_kept_in_small_steps(small, tmp_path):
    rng, rows = np.random.default_rng(0), np.array([0, 3, 11, 12, 30])
    x = rng.normal(size=(5, 4)).astype(np.float32)
    keep_features(tmp_path / "kept", {"a": x, "b": 10 * x}, small.unseen, rows)
    found, unseen = glyph_features(tmp_path / "kept", size=16)
    assert np.abs(found["a"] - x).max() <= np.ptp(x) / 255 / 2 + 1e-6
    assert np.abs(found["b"] - 10 * x).max() <= 10 * np.ptp(x) / 255 / 2 + 1e-5
    assert np.array_equal(unseen.images, small.unseen.images[rows]) and unseen.identities.tolist() == [0, 0, 0, 1, 2]
    assert unseen.names == small.unseen.names[:3]


def test_a_damaged_file_is_not_believed(tmp_path):
    content = bytearray(glyphs.RECORDED.read_bytes())
    content[-5] ^= 1
    (tmp_path / "damaged").write_bytes(content)
    with pytest.raises(RunFileError, match="damaged"):
        glyph_features(tmp_path / "damaged")


def test_the_tool_shows_some_drawings_of_characters_of_every_script(small):
    rows = tool.shown(small.unseen)
    who = small.unseen.identities[rows]
    assert np.array_equal(rows, tool.shown(small.unseen))
    assert set(who) == set(range(len(small.unseen.names))), "fewer characters than asked for: all of them"
    features, unseen = glyph_features()
    assert len(features) == len(tool.SHOWN) and len(unseen.names) == tool.IDENTITIES


def test_the_tool_records_both_distances(small, monkeypatch):
    monkeypatch.setattr(tool, "make_data", lambda recipe, seed, **given: small)
    monkeypatch.setattr(tool, "Trainer", lambda key, data, **given: Trainer(key, data, **{**given, "epochs": 1}))
    monkeypatch.setattr(tool, "recognise", lambda run, unseen, **given: lt.recognise(run, unseen, pairs=1000, **given))
    lines, kept = tool.record(("Softmax", "balanced", 0))
    assert kept is None and set(lines) == {"cosine", "euclidean"}
    assert lines["cosine"]["run"] == lines["euclidean"]["run"] and lines["cosine"]["map"] != lines["euclidean"]["map"]
    assert lines["cosine"]["drawings"] == len(small) and 0 < lines["cosine"]["rank1"] <= 1


def test_recorded_features_that_are_not_there_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(glyphs, "RECORDED", tmp_path / "gallery.safetensors")
    with pytest.raises(
        FileNotFoundError, match="gallery.safetensors is not there. .*git checkout -- data.*tools.glyphs"
    ):
        glyph_features(tmp_path / "gallery.safetensors")
    with pytest.raises(RunFileError, match="own.safetensors: there is no such file"):
        glyph_features(tmp_path / "own.safetensors")
