import contextlib
import importlib
import os
import pickle
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from openTSNE import TSNE
from sklearn.datasets import load_digits
from sklearn.manifold import trustworthiness

from ltviz import files, plots
from ltviz.embedding import NotRecorded, embed, nearest_neighbours, neighbour_overlap, record_embedding, subsample

module = importlib.import_module("ltviz.embedding")
COMPILED = os.environ.get("NUMBA_CACHE_DIR") or str(module.cache_folder() / "numba")  # compiling takes far longer
QUICKLY = {"exaggerated": 20, "iterations": 20}


@pytest.fixture(scope="module")
def digits():
    return load_digits().data[:120].astype(np.float32)


@pytest.fixture(autouse=True)
def own_folders(monkeypatch, tmp_path):
    monkeypatch.setenv("LTVIZ_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NUMBA_CACHE_DIR", COMPILED)
    monkeypatch.setattr(module, "RECORDED", tmp_path / "recorded")
    monkeypatch.delenv("LTVIZ_PROFILE", raising=False)


@pytest.fixture
def counted(monkeypatch):
    """The t-SNE calls that really compute; each gives other points than the one before."""
    calls = []

    def compute(x, seed, settings):
        calls.append((len(x), seed, settings))
        return np.full((len(x), 2), len(calls), dtype=np.float64)

    monkeypatch.setitem(module._METHODS, "tsne", compute)
    monkeypatch.setitem(module._METHODS, "umap", compute)
    return calls


def test_pca_is_the_projection_of_largest_variance(digits):
    points = embed(digits, "pca")
    centred = digits - digits.mean(0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    want = left[:, :2] * values[:2]
    assert points.dtype == np.float32 and points.shape == (120, 2)
    assert np.abs(points) == pytest.approx(np.abs(want), abs=1e-3)
    assert embed(digits + 100, "pca") == pytest.approx(points, abs=1e-2)
    assert (embed(np.arange(10.0)[:, None], "pca")[:, 1] == 0).all()
    assert (embed(np.full((6, 3), 2.0), "pca") == 0).all()


def test_the_axes_of_pca_have_one_direction():
    """The largest part of each axis is positive: along (2, -1, 0, 0), and beside it along (1, 2, 0, 0)."""
    along, beside = np.linspace(-9, 9, 19), np.cos(np.linspace(0, 4 * np.pi, 19)) - 1 / 19
    axes = np.array([[2, -1, 0, 0], [1, 2, 0, 0]]) / np.sqrt(5)
    for signs in ([1, 1], [-1, 1], [1, -1]):
        points = embed(np.stack([along, beside], 1) * signs @ axes + 3, "pca")
        assert points == pytest.approx(np.stack([along, beside], 1) * signs, abs=1e-4)


def test_tsne_keeps_neighbours_and_repeats(digits):
    points = embed(digits, "tsne", seed=1, cache=False)
    assert (points == embed(digits, "tsne", seed=1, cache=False)).all()
    assert trustworthiness(digits, points, n_neighbors=10) > 0.95 > trustworthiness(digits, embed(digits, "pca"))
    assert neighbour_overlap(digits, points) > 2 * neighbour_overlap(digits, np.random.default_rng(0).random((120, 2)))


def test_a_first_tsne_imports_neither_torch_nor_numba(tmp_path):
    """They would take longer than the picture itself."""
    code = """
import sys
import numpy as np
import ltviz as lt

x = np.random.default_rng(0).normal(size=(500, 64))
points = lt.embed(x, "tsne", recorded=False, exaggerated=2, iterations=2)
assert (lt.embed(x, "tsne", recorded=False, exaggerated=2, iterations=2) == points).all(), "from the cache"
lt.embed(x, "pca")
lt.embedding.neighbour_overlap(x, points)
print({"torch", "numba", "pynndescent", "umap"} & set(sys.modules))
"""
    away = {**os.environ, "LTVIZ_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=away, capture_output=True, text=True, timeout=100)
    assert done.stdout.strip() == "set()", done.stdout + done.stderr[-2000:]
    assert len(list(tmp_path.rglob("tsne-*.safetensors"))) == 1


@pytest.mark.parametrize("n, perplexity", [(120, 30), (40, 10.5), (7, 30)])
def test_tsne_is_what_opentsne_makes_of_it(digits, n, perplexity):
    """Its own search of exact neighbours by name, which imports numba, gives the same points bit for bit."""
    x, few = digits[:n], max(1.0, min(perplexity, (n - 1) / 3))
    known = TSNE(perplexity=few, early_exaggeration_iter=20, n_iter=20, neighbors="exact", random_state=3).fit(x)
    found = embed(x, "tsne", seed=3, cache=False, perplexity=perplexity, **QUICKLY)
    assert (found == np.asarray(known, np.float32)).all()


def test_tsne_of_many_points_looks_for_its_neighbours_approximately(digits, monkeypatch):
    monkeypatch.setattr(module, "EXACT", 50)
    known = TSNE(perplexity=9, early_exaggeration_iter=20, n_iter=20, neighbors="annoy", random_state=3).fit(digits)
    found = embed(digits, "tsne", seed=3, cache=False, perplexity=9, **QUICKLY)
    assert (found == np.asarray(known, np.float32)).all()


def test_few_points_lower_the_perplexity(digits):
    assert np.isfinite(embed(digits[:6], "tsne", cache=False, **QUICKLY)).all()


def test_umap_keeps_neighbours_without_searching(digits):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("default", DeprecationWarning)
        points = embed(digits, "umap", cache=False)
    assert trustworthiness(digits, points, n_neighbors=10) > 0.93
    assert (points == embed(digits, "umap", cache=False)).all()


@pytest.mark.parametrize("columns", [64, 3])  # by brute force, and by a tree
@pytest.mark.parametrize("offset", [0, 10_000])
def test_nearest_neighbours_are_exact(digits, columns, offset):
    x = np.vstack([digits, digits[:3]])[:, 20 : 20 + columns] + np.float32(offset)  # with copies
    index, distance = nearest_neighbours(x, 7)
    every = np.linalg.norm(x[:, None].astype(np.float64) - x, axis=2)
    np.fill_diagonal(every, np.inf)
    assert distance == pytest.approx(np.sort(every)[:, :7], abs=1e-5)
    assert np.take_along_axis(every, index, 1) == pytest.approx(distance, abs=1e-5), "none is its own neighbour"
    if columns == 64:
        assert index[0, 0] == 120 and index[120, 0] == 0


def test_neighbour_overlap_by_hand():
    line = np.array([[0.0], [1.0], [3.0], [7.0], [15.0], [31.0]])  # nearest: 1 0 1 2 3 4
    assert neighbour_overlap(line, np.hstack([line, line]), 1) == 1.0
    swapped = np.hstack([line[[5, 1, 2, 3, 4, 0]], np.zeros_like(line)])  # nearest: 4 5 1 2 3 1
    assert neighbour_overlap(line, swapped, 1) == 0.5
    with pytest.raises(ValueError, match="points must have one row"):
        neighbour_overlap(line, swapped[:4], 2)
    with pytest.raises(ValueError, match="neighbours"):
        neighbour_overlap(line, swapped, 6)


def test_cached_by_content(digits, counted):
    first = embed(digits, "tsne")
    assert (embed(torch.from_numpy(digits), "tsne") == first).all() and len(counted) == 1
    assert (embed(digits.astype(np.float64), "tsne", recorded=False) == first).all() and len(counted) == 1
    changed = digits.copy()
    changed[7, 7] += 1
    for ask in ({"features": changed}, {"seed": 1}, {"perplexity": 20}, {"method": "umap"}, {"cache": False}):
        before = len(counted)
        embed(**{"features": digits, "method": "tsne", **ask})
        assert len(counted) == before + 1


def test_another_library_version_is_computed_anew(digits, counted, monkeypatch):
    embed(digits, "tsne")
    monkeypatch.setattr(module, "version", lambda name: "99.0")
    embed(digits, "tsne")
    assert len(counted) == 2


@pytest.mark.parametrize(
    "damage",
    [b"", b"not an array", "cut", "flip", "shape", "nan", "dtype", "name", "pickle", "npy", "other", "folder", "pipe"],
)
def test_a_damaged_cache_file_is_computed_anew(digits, counted, tmp_path, damage):
    embed(digits, "tsne", cache=tmp_path / "own")
    (file,) = (tmp_path / "own").iterdir()
    if isinstance(damage, bytes):
        file.write_bytes(damage)
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-9])
    elif damage == "flip":
        content = bytearray(file.read_bytes())
        content[-100] ^= 1
        file.write_bytes(content)
    elif damage == "pickle":
        file.write_bytes(pickle.dumps({"points": print}))
    elif damage == "npy":
        np.save(file, np.zeros((120, 2), np.float32))
        file.with_name(file.name + ".npy").rename(file)
    elif damage in ("folder", "pipe"):
        file.unlink()
        file.mkdir() if damage == "folder" else os.mkfifo(file)
    else:
        points = {
            "shape": np.zeros((3, 2), np.float32),
            "nan": np.full((120, 2), np.nan, np.float32),
            "dtype": np.array(["a"] * 120).view(np.uint8),
        }.get(damage, np.zeros((120, 2), np.float32))
        key = {"key": "another" if damage == "other" else file.stem}
        files.save_record(file, "embedding", key, {"dots" if damage == "name" else "points": points})
    with pytest.warns(UserWarning, match="LTVIZ_CACHE") if damage == "folder" else contextlib.nullcontext():
        again = embed(digits, "tsne", cache=tmp_path / "own")
    assert len(counted) == 2 and (again == 2).all()
    if damage != "folder":  # which cannot be replaced, so it is computed each time
        embed(digits, "tsne", cache=tmp_path / "own")
        assert len(counted) == 2
    assert len(list((tmp_path / "own").iterdir())) == 1


def test_a_folder_that_cannot_be_written_only_warns(digits, counted, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(UserWarning, match="LTVIZ_CACHE"):
        assert (embed(digits, "tsne", cache=tmp_path / "file") == 1).all()
    assert (embed(digits, "tsne", cache=tmp_path / "file") == 2).all(), "said once"
    with pytest.raises(OSError):
        record_embedding(digits, "tsne", folder=tmp_path / "file")


def test_a_full_disk_loses_nothing_and_leaves_nothing(digits, counted, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.warns(UserWarning, match="No space left"):
        patch.setattr("os.fsync", full)
        assert (embed(digits, "tsne", cache=tmp_path / "own") == 1).all()
    assert not list((tmp_path / "own").iterdir())


def test_without_a_home_the_points_are_still_returned(digits, counted, monkeypatch):
    for name in ("LTVIZ_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as it does for a user that the system does not know
    with pytest.warns(UserWarning, match="LTVIZ_CACHE"):
        assert (embed(digits, "tsne") == 1).all()


def test_threads_take_turns(digits, monkeypatch):
    inside, most = [], []

    def compute(x, seed, settings):
        inside.append(seed)
        most.append(len(inside))
        time.sleep(0.02)
        inside.pop()
        return np.full((len(x), 2), seed)

    class Slow:
        def fit_transform(self, x):
            return compute(x, 9, {})

    monkeypatch.setitem(module._METHODS, "umap", compute)
    jobs = [lambda s=s: embed(digits, "umap", seed=s) for s in range(4)] + [lambda: embed(digits, Slow())] * 2
    jobs += [lambda: embed(digits, "umap", seed=0)] * 2  # computed once, by whoever comes first
    with ThreadPoolExecutor(8) as pool:
        found = [int(points[0, 0]) for points in pool.map(lambda job: job(), jobs)]
    assert found == [0, 1, 2, 3, 9, 9, 0, 0] and max(most) == 1 and len(most) == 6


def test_recorded_embeddings_come_first_and_fast_needs_them(digits, counted, monkeypatch):
    monkeypatch.setenv("LTVIZ_PROFILE", "fast")
    with pytest.raises(NotRecorded, match="record_embedding"):
        embed(digits, "umap")
    embed(digits, "tsne")  # few points: quick enough to compute
    with pytest.raises(NotRecorded, match="2400 points"):
        embed(np.tile(digits, (20, 1)), "tsne")
    file = record_embedding(digits, "umap", seed=3)
    assert file.parent == module.RECORDED and file.stat().st_size < 960 + 500
    done = len(counted)
    recorded = embed(digits, "umap", seed=3)
    assert (recorded == done).all() and len(counted) == done
    record_embedding(digits, "umap", seed=3)
    monkeypatch.setattr(module, "version", lambda name: "99.0")  # a record holds whatever library is installed
    assert (embed(digits, "umap", seed=3) == recorded).all() and len(counted) == done
    with pytest.raises(NotRecorded):
        embed(digits, "umap", seed=4)


def test_any_object_with_fit_transform(digits):
    class FirstTwo:
        def fit_transform(self, x):
            return x[:, :2]

    assert (embed(digits, FirstTwo()) == digits[:, :2]).all()

    class Wrong:
        def fit_transform(self, x):
            return x

    with pytest.raises(ValueError, match="Wrong must give one point"):
        embed(digits, Wrong())


@pytest.mark.parametrize("method, name, package", [("umap", "umap", "umap-learn"), ("tsne", "openTSNE", "openTSNE")])
def test_a_missing_package_is_named(digits, monkeypatch, method, name, package):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError) as error:
        embed(digits, method)
    assert package in str(error.value) and 'method="pca"' in str(error.value)
    assert embed(digits, "pca").shape == (120, 2)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda x: embed(x, "t-sne"), ["'tsne'", "'t-sne'", "fit_transform"]),
        (lambda x: embed(x, "umap", perplexity=5), ["perplexity", "neighbours", "min_dist"]),
        (lambda x: embed(x, "tsne", perplexity=0), ["perplexity=0", "at least 2"]),
        (lambda x: embed(x[0], "pca"), ["(n, d)", "(64,)"]),
        (lambda x: embed(x[:3], "pca"), ["at least 5", "3"]),
        (lambda x: embed(np.where(x > 15, np.nan, x), "pca"), ["finite"]),
        (lambda x: record_embedding(x, "pca"), ["nothing to record"]),
        (lambda x: embed(np.where(x > 15, np.inf, x).astype(np.float16), "pca"), ["features", "finite", "65,504"]),
        (lambda x: embed(1e39 * x.astype(np.float64), "pca"), ["features", "float32"]),
        (lambda x: embed(x[:, :0], "pca"), ["features", "(120, 0)"]),
        (lambda x: embed(None), ["features=None"]),
        (lambda x: embed("features"), ["features='features'"]),
        (lambda x: embed([["a"]] * 9), ["features"]),
        (lambda x: embed([[1], [2, 3]]), ["features"]),
        (lambda x: embed(x > 3), ["features"]),
        (lambda x: embed(x, None), ["method=None"]),
        (lambda x: embed(x, ["tsne"]), ["method=['tsne']"]),
        (lambda x: embed(x, dict), ["method"]),
        (lambda x: embed(x, "tsne", seed=-1), ["seed=-1"]),
        (lambda x: embed(x, "tsne", seed=True), ["seed=True"]),
        (lambda x: embed(x, "tsne", seed="0"), ["seed='0'"]),
        (lambda x: embed(x, "tsne", perplexity=np.nan), ["perplexity=nan"]),
        (lambda x: embed(x, "tsne", iterations=2.5), ["iterations=2.5"]),
        (lambda x: embed(x, "umap", neighbours="15"), ["neighbours='15'"]),
        (lambda x: embed(x, "umap", min_dist=2), ["min_dist=2"]),
        (lambda x: embed(x, cache=3), ["cache=3"]),
        (lambda x: embed(x, recorded=""), ["recorded=''"]),
        (lambda x: record_embedding(x, folder=3), ["folder=3"]),
        (lambda x: record_embedding(x, object()), ["method"]),
        (lambda x: neighbour_overlap(x, None), ["points=None"]),
        (lambda x: neighbour_overlap(x, x, 2.5), ["neighbours=2.5"]),
    ],
)
def test_errors_say_what_to_do(digits, call, words):
    with pytest.raises(ValueError) as error:
        call(digits)
    for word in words:
        assert word in str(error.value)


def test_what_is_recorded_for_the_course_can_be_read():
    folder = importlib.import_module("ltviz").embedding.__file__
    found = list((Path(folder).parents[1] / "data" / "runs" / "embeddings").iterdir())
    assert found
    for file in found:
        meta, arrays = files.read_record(file, "embedding")
        assert meta == {"key": file.stem} and arrays["points"].dtype == np.float32 and arrays["points"].shape[1] == 2


# --- many points -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("sizes", "most", "kept"),
    [
        ([9990, 10], 4000, [3990, 10]),
        ([5, 900, 40, 300], 400, [5, 177, 40, 177]),
        ([100] * 50, 400, [8] * 50),
        ([50, 30, 1], 81, [50, 30, 1]),
        ([50, 30, 1], 80, [49, 30, 1]),
        ([3, 0, 2], 1, [1, 0, 1]),  # no class is dropped, however many there are
    ],
)
def test_a_subsample_has_rare_classes_whole_and_draws_the_frequent_ones_by_seed(sizes, most, kept):
    y = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    some = subsample(y, most, seed=1)
    assert np.bincount(y[some], minlength=len(sizes)).tolist() == kept
    assert (np.diff(some) > 0).all() and (some == subsample(y, most, seed=1)).all()
    if len(y) > most + 10:
        assert (some != subsample(y, most, seed=2)).any()
    for wrong in ({"most": 0}, {"most": 2.5}, {"seed": -1}, {"targets": [0.5]}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))}="):
            subsample(**{"targets": y, **wrong})


def test_of_many_images_a_picture_places_some_and_says_so(counted):
    """The rare class of 1 in 1,000 is drawn whole, and only what is drawn is computed."""
    y = np.repeat([0, 1], [9990, 10])
    x = np.random.default_rng(0).normal(size=(10_000, 4))
    picture = plots.plot_embedding(x, y, [9990, 10], recorded=False)
    assert [call[0] for call in counted] == [4000]
    assert np.bincount(picture.data["targets"]).tolist() == [3990, 10] and picture.data["points"].shape == (4000, 2)
    assert set(range(9990, 10_000)) <= set(picture.data["index"].tolist())
    assert (picture.data["targets"] == y[picture.data["index"]]).all()
    assert "4,000 of 10,000 images, rare classes whole" in picture.ax.get_xlabel() and "4,000 of 10,000" in picture.text
    drawn = sum(len(one.get_offsets()) for one in picture.ax.collections)
    assert drawn == 4000
    given = plots.plot_embedding(x, y, [9990, 10], recorded=x[:, :2])
    rare = given.ax.collections[-1].get_offsets()
    assert len(rare) == 10 and len(given.data["points"]) == 10_000


def test_up_to_4000_images_all_are_placed_and_kept_under_the_same_name(counted, tmp_path):
    x, y = np.random.default_rng(0).normal(size=(4000, 3)).astype(np.float32), np.arange(4000) % 7
    record_embedding(x, "tsne", 3, folder=tmp_path)
    picture = plots.plot_embedding(x, y, [9, 8, 7, 6, 5, 4, 3], seed=3, recorded=tmp_path)
    assert len(counted) == 1 and len(picture.data["points"]) == 4000 and "images, rare" not in picture.text


def test_what_takes_long_is_said_before(monkeypatch, capsys):
    monkeypatch.setattr(module, "_METHODS", {"tsne": lambda x, seed, settings: x[:, :2]})
    points = np.random.default_rng(0).normal(size=(module.LONG + 1, 2))
    module.embed(points[:-1], "tsne", cache=False, recorded=False)
    assert not capsys.readouterr().out
    module.embed(points, "tsne", cache=False, recorded=False)
    assert capsys.readouterr().out.startswith("tsne of 8,001 points: 20,000 take about 20 seconds")
