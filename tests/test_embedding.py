import importlib
import os
import sys
import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.manifold import trustworthiness
from sklearn.neighbors import NearestNeighbors

from ltviz.embedding import NotRecorded, embed, nearest, neighbour_overlap, record_embedding

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


def test_tsne_keeps_neighbours_and_repeats(digits):
    points = embed(digits, "tsne", seed=1, cache=False)
    assert (points == embed(digits, "tsne", seed=1, cache=False)).all()
    assert trustworthiness(digits, points, n_neighbors=10) > 0.95 > trustworthiness(digits, embed(digits, "pca"))
    assert neighbour_overlap(digits, points) > 2 * neighbour_overlap(digits, np.random.default_rng(0).random((120, 2)))


def test_few_points_lower_the_perplexity(digits):
    assert np.isfinite(embed(digits[:6], "tsne", cache=False, **QUICKLY)).all()


def test_umap_keeps_neighbours_without_searching(digits):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("default", DeprecationWarning)
        points = embed(digits, "umap", cache=False)
    assert trustworthiness(digits, points, n_neighbors=10) > 0.93
    assert (points == embed(digits, "umap", cache=False)).all()


def test_nearest_is_exact(digits):
    x = np.vstack([digits, digits[:3]])  # with copies
    index, distance = nearest(x, 7)
    want = NearestNeighbors(n_neighbors=7).fit(x).kneighbors()[0]
    assert distance == pytest.approx(want, abs=1e-3)
    assert (np.diff(distance, axis=1) >= 0).all() and (index != np.arange(len(x))[:, None]).all()
    assert index[0, 0] == 120 and index[120, 0] == 0
    assert np.linalg.norm(x[index[5, 3]] - x[5]) == pytest.approx(distance[5, 3], rel=1e-4)


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


@pytest.mark.parametrize("damage", [b"", b"not an array", "cut", "shape", "nan", "pickle"])
def test_a_damaged_cache_file_is_computed_anew(digits, counted, tmp_path, damage):
    embed(digits, "tsne", cache=tmp_path / "own")
    (file,) = (tmp_path / "own").iterdir()
    if isinstance(damage, bytes):
        file.write_bytes(damage)
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-9])
    elif damage == "shape":
        np.save(file, np.zeros((3, 2), np.float32))
    elif damage == "nan":
        np.save(file, np.full((120, 2), np.nan, np.float32))
    else:
        np.save(file, np.array([{"a": print}] * 120), allow_pickle=True)
    again = embed(digits, "tsne", cache=tmp_path / "own")
    assert len(counted) == 2 and (again == 2).all()
    embed(digits, "tsne", cache=tmp_path / "own")
    assert len(counted) == 2 and len(list((tmp_path / "own").iterdir())) == 1


def test_a_folder_that_cannot_be_written_only_warns(digits, counted, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(UserWarning, match="LTVIZ_CACHE"):
        assert (embed(digits, "tsne", cache=tmp_path / "file") == 1).all()


def test_recorded_embeddings_come_first_and_fast_needs_them(digits, counted, monkeypatch):
    monkeypatch.setenv("LTVIZ_PROFILE", "fast")
    with pytest.raises(NotRecorded, match="record_embedding"):
        embed(digits, "umap")
    embed(digits, "tsne")  # few points: quick enough to compute
    with pytest.raises(NotRecorded, match="2400 points"):
        embed(np.tile(digits, (20, 1)), "tsne")
    file = record_embedding(digits, "umap", seed=3)
    assert file.parent == module.RECORDED and file.stat().st_size < 1200
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


@pytest.mark.parametrize("call, words", [
    (lambda x: embed(x, "t-sne"), ["'tsne'", "'t-sne'", "fit_transform"]),
    (lambda x: embed(x, "umap", perplexity=5), ["perplexity", "neighbours", "min_dist"]),
    (lambda x: embed(x, "tsne", perplexity=0), ["perplexity", "at least 2"]),
    (lambda x: embed(x[0], "pca"), ["(n, d)", "(64,)"]),
    (lambda x: embed(x[:3], "pca"), ["at least 5", "3"]),
    (lambda x: embed(np.where(x > 15, np.nan, x), "pca"), ["finite"]),
    (lambda x: record_embedding(x, "pca"), ["nothing to record"]),
])
def test_errors_say_what_to_do(digits, call, words):
    with pytest.raises(ValueError) as error:
        call(digits)
    for word in words:
        assert word in str(error.value)
