"""Two-dimensional pictures of features: PCA, t-SNE, UMAP. Kept by content, so that no picture is computed twice.

    embed(features, "tsne")       where features are (n, d), or a run that kept its test features

An embedding is looked for in three places, by a hash of the features, the method, its settings and the seed:
the *recorded* ones that travel with the course (data/runs/embeddings), then the *cache* of this user, then it is
computed and cached. Files are records with checksums (files.py): one array, points (n, 2) float32. One that is damaged,
or of other features, is never believed.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import threading
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import check, files
from .compiling import import_umap
from .files import cache_folder, data_folder

Points = NDArray[np.float32]

#: Settings of each method and their defaults. perplexity and neighbours are lowered where there are too few points.
SETTINGS: dict[str, dict[str, float]] = {
    "pca": {},
    "tsne": {"perplexity": 30.0, "exaggerated": 100, "iterations": 250},
    "umap": {"neighbours": 15, "min_dist": 0.1},
}
#: Of each setting: the least, the most, and whether it counts something.
_RANGE = {
    "perplexity": (2, None, False),
    "exaggerated": (0, 100_000, True),
    "iterations": (1, 100_000, True),
    "neighbours": (2, None, True),
    "min_dist": (0, 1, False),
}
PACKAGE = {"tsne": "openTSNE", "umap": "umap-learn"}
RECORDED = data_folder() / "runs" / "embeddings"
EXACT = 10_000  # t-SNE of more points looks for its neighbours approximately
LONG = 8000  # points, from which on it is said that they take a while
QUICK = 2000  # t-SNE of so many points takes about two seconds; anything slower must be recorded for the fast profile
_TURN = threading.RLock()  # numba's threads may not be used from two threads at a time


class NotRecorded(RuntimeError):
    """In the fast profile (LTVIZ_PROFILE=fast) a slow embedding was asked for that had not been recorded."""


def embed(
    features: Any,
    method: Any = "tsne",
    seed: int = 0,
    *,
    cache: str | Path | bool | None = None,
    recorded: str | Path | bool | None = None,
    **settings: float,
) -> Points:
    """Place each row of features in the plane, (n, d) -> (n, 2) float32.

    features: (n, d) array or tensor, or a run that kept its test features. method: "pca" (exact, fast, linear),
    "tsne" (openTSNE with exact neighbours up to 10,000 points, 100 exaggerated + 250 plain iterations), "umap"
    (umap-learn with exact neighbours), or any object with fit_transform (computed each time, never cached). seed fixes
    what is random. settings: see SETTINGS. cache: a folder, None for `cache_folder()`, False for none.
    recorded: a folder to look in first, None for the course's, False for none.
    A cache that cannot be written is told of once; the points are returned. Threads take turns.
    Of tens of thousands of rows place some, `subsample(targets)`, as plot_embedding does.
    Errors: features that are not finite or too few, an unknown method or setting, a package that is not installed,
    and, in the fast profile, UMAP or t-SNE of more than 2,000 points that is not recorded (`record_embedding`).
    """
    x, seed = _features(features), check.seed(seed)
    cache, recorded = _place("cache", cache), _place("recorded", recorded)
    if hasattr(method, "fit_transform") and not isinstance(method, type):
        if settings:
            raise check.refuse(next(iter(settings)), settings, "no settings beside an object, which has its own")
        with _TURN:
            return _checked(method.fit_transform(x), len(x), type(method).__name__)
    settings = _settings(method, settings, len(x))
    if method == "pca":
        return _pca(x)
    key = content_key(x, method, seed, settings)
    folder = RECORDED if recorded is True else recorded
    points = None if folder is False else _load(folder, key, len(x))
    if points is not None:
        return points
    if os.environ.get("LTVIZ_PROFILE") == "fast" and (method == "umap" or len(x) > QUICK):
        raise NotRecorded(
            f"the fast profile does not compute {method} of {len(x)} points, and no recorded embedding {key} was found "
            f'in {folder}. Record it with lt.embedding.record_embedding(features, {method!r}), use method="pca", or '
            "unset LTVIZ_PROFILE"
        )
    # Another version of the library may place the points elsewhere: the cache, unlike the record, is kept by version.
    folder, name = cache_folder() / "embeddings" if cache is True else cache, f"{key}-{_version(method)}"
    with _TURN:
        points = None if folder is False else _load(folder, name, len(x))
        if points is None:
            points = _compute(x, method, seed, settings)
            if folder is not False:
                _keep(folder, name, points)
        return points


def subsample(targets: Any, most: int = 4000, seed: int = 0) -> NDArray[np.int64]:
    """Which of many images to place: at most so many, rising positions (m,), each class at least once.

    Every class gives as many as it has up to one bound, the same for all: rare classes are whole, of frequent ones the
    images are drawn by seed. targets (n,): class numbers. With more classes than `most`, one image of each.
    Time: t-SNE of 4,000 points takes seconds, of 100,000 a quarter of an hour.
    """
    y, most, seed = check.labels("targets", targets), check.whole("most", most, 1), check.seed(seed)
    if len(y) <= most:
        return np.arange(len(y))
    sizes = np.sort(np.bincount(y)[np.unique(y)])
    # Whole are the smallest classes; what is left is shared out among the others.
    before, left = np.concatenate([[0], np.cumsum(sizes)[:-1]]), np.arange(len(sizes), 0, -1)
    first = int(np.argmax(before + left * sizes > most))
    bound = max(int((most - before[first]) // left[first]), 1)
    shuffled = np.random.default_rng(seed).permutation(len(y))
    order = shuffled[np.argsort(y[shuffled], kind="stable")]
    turn = np.arange(len(y)) - np.searchsorted(y[order], y[order])
    return np.sort(order[turn < bound])


def record_embedding(
    features: Any, method: str = "tsne", seed: int = 0, *, folder: str | Path | None = None, **settings: float
) -> Path:
    """Compute an embedding and keep it where `embed` looks first, for a chapter. Returns the file's path.

    Arguments as for `embed`; folder defaults to the course's data/runs/embeddings. 1,000 points take 8 kB. Raises
    OSError where nothing can be written.
    """
    x, seed = _features(features), check.seed(seed)
    settings = _settings(method, settings, len(x))
    if method == "pca":
        raise ValueError("PCA takes milliseconds: there is nothing to record")
    folder, key = RECORDED if folder is None else check.path("folder", folder), content_key(x, method, seed, settings)
    if _load(folder, key, len(x)) is None:
        with _TURN:
            points = _compute(x, method, seed, settings)
        _save(folder, key, points)
    return _file(folder, key)


def content_key(features: NDArray[np.float32], method: str, seed: int, settings: dict[str, float]) -> str:
    """Name of an embedding: a hash of the features (n, d) float32, their shape, the method, its settings, the seed."""
    asked = {"shape": features.shape, "method": method, "seed": seed, "settings": settings}
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode())
    digest.update(np.ascontiguousarray(features, dtype="<f4").tobytes())
    return f"{method}-{digest.hexdigest()[:20]}"


def neighbour_overlap(features: Any, points: Any, neighbours: int = 10) -> float:
    """How far to trust a picture: the share of each point's nearest neighbours that are the same in both spaces.

        (1/n) sum_i | N_k(features, i) & N_k(points, i) | / k

    features (n, d), points (n, 2), k = neighbours. 1 keeps every neighbourhood; k / (n - 1) is chance.
    """
    x, y = _features(features), check.array("points", points, 2, "points in the plane, shape (n, 2)")
    if len(x) != len(y):
        raise ValueError(f"points must have one row per row of features ({len(x)}), not {len(y)}")
    y, neighbours = _features(points, "points"), check.whole("neighbours", neighbours, 1, len(x) - 1)
    a, b = nearest_neighbours(x, neighbours)[0], nearest_neighbours(y, neighbours)[0]
    return float((a[:, :, None] == b[:, None, :]).any(2).mean())


def nearest_neighbours(x: NDArray[np.floating], k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The k nearest other rows of each row of x (n, d): indices and Euclidean distances, both (n, k), nearest first.

    Exact. A row that occurs twice is a neighbour of its copy, not of itself.
    """
    from sklearn.neighbors import NearestNeighbors

    centred = x.astype(np.float64) - x.mean(0, dtype=np.float64)  # far from 0, squares of distances would lose digits
    distance, index = NearestNeighbors(n_neighbors=k).fit(centred).kneighbors()
    return index, distance


# ------------------------------------------------------------------------------------------------------- the methods
def _pca(x: Points) -> Points:
    """The two directions of largest variance; the largest part of each is positive, so that plots agree."""
    from sklearn.decomposition import PCA

    points = np.zeros((len(x), 2), np.float32)
    centred = x.astype(np.float64) - x.mean(0, dtype=np.float64)
    if centred.any():
        found = PCA(min(2, x.shape[1]), svd_solver="covariance_eigh").fit_transform(centred)
        points[:, : found.shape[1]] = found
    return points


def _tsne(x: Points, seed: int, settings: dict[str, float]) -> Points:
    open_tsne, perplexity = _package("tsne", lambda: importlib.import_module("openTSNE")), settings["perplexity"]
    # Asked to choose the search for neighbours, openTSNE imports numba, which takes as long as the picture.
    searches = open_tsne.nearest_neighbors
    search = searches.Sklearn if len(x) <= EXACT else searches.Annoy
    index = search(x, min(len(x) - 1, int(3 * perplexity)), random_state=seed)
    tsne = open_tsne.TSNE(
        early_exaggeration_iter=int(settings["exaggerated"]),
        n_iter=int(settings["iterations"]),
        initialization="pca",
        random_state=seed,
        n_jobs=1,
    )
    affinities = open_tsne.affinity.MultiscaleMixture(knn_index=index, perplexities=perplexity, n_jobs=1)
    return np.asarray(tsne.fit(x, affinities=affinities))


def _umap(x: Points, seed: int, settings: dict[str, float]) -> Points:
    umap = _package("umap", import_umap)
    k = int(settings["neighbours"])
    index, distance = nearest_neighbours(x, k - 1)
    own = np.arange(len(x))[:, None]
    # umap-learn counts a point as its own first neighbour. Given exact neighbours, it compiles no neighbour search.
    knn = (np.hstack([own, index]).astype(np.int32), np.hstack([np.zeros_like(own), distance]).astype(np.float32))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*knn_search_index.*")  # only `transform` would need it
        return umap.UMAP(
            n_neighbors=k, min_dist=settings["min_dist"], init="pca", random_state=seed, n_jobs=1, precomputed_knn=knn
        ).fit_transform(x)


def compile_umap() -> None:
    """Have umap compiled and kept, on a few points that are thrown away."""
    points = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    _umap(points, 0, SETTINGS["umap"])


_METHODS: dict[str, Callable[[Points, int, dict[str, float]], Points]] = {"tsne": _tsne, "umap": _umap}


def _compute(x: Points, method: str, seed: int, settings: dict[str, float]) -> Points:
    if len(x) > LONG:
        told = "20,000 take about 20 seconds, 100,000 a quarter of an hour; subsample(targets) chooses fewer"
        print(f"{method} of {len(x):,} points: {told}", flush=True)
    return _checked(_METHODS[method](x, seed, settings), len(x), method)


def _package(method: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except ImportError as error:
        raise ImportError(
            f'method="{method}" needs the package {PACKAGE[method]}, which cannot be imported ({error}). '
            f'Install it (python -m pip install {PACKAGE[method]}), or use method="pca", which needs nothing'
        ) from error


def _version(method: str) -> str:
    try:
        return version(PACKAGE[method])
    except ImportError:  # not installed: nothing can have been cached, and computing gives the clear message
        return "missing"


# ------------------------------------------------------------------------------------------------- checks and files
def _features(features: Any, name: str = "features") -> Points:
    if hasattr(features, "confusion"):
        if getattr(features, "features", None) is None:
            remedy = check.remedy(features, "features")
            raise ValueError(f"{name}: this run keeps no test features, so there is nothing to embed; {remedy}")
        features = features.features
    given = check.array(name, features, 2, "numbers, one row per image, shape (n, d); or a run that kept its features")
    if len(given) < 5 or not given.shape[1]:
        raise ValueError(f"{name} must have at least 5 rows to be worth a picture, and a column, not {given.shape}")
    if not np.isfinite(given).all():
        raise ValueError(
            f"{name} must be finite; a run with NaN features has diverged, and in float16 nothing beyond 65,504 is kept"
        )
    if np.abs(given).max() > np.finfo(np.float32).max:
        raise ValueError(f"{name} must lie within float32, up to 3.4e38; divide by their largest length")
    return np.ascontiguousarray(given, dtype=np.float32)


def _place(name: str, value: Any) -> Path | bool:
    """A folder, True (also for None) for the usual one, False for none."""
    if value is None or isinstance(value, bool):
        return value is not False
    try:
        return check.path(name, value)
    except ValueError:
        raise check.refuse(name, value, "a folder, None for the usual one, or False for none") from None


def _settings(method: Any, given: dict[str, float], n: int) -> dict[str, float]:
    if not isinstance(method, str) or method not in SETTINGS:
        meant = check.suggest(method, SETTINGS) if isinstance(method, str) else ""
        expected = f"one of {', '.join(map(repr, SETTINGS))} or an object with fit_transform{meant}"
        raise check.refuse("method", method, expected)
    known = SETTINGS[method]
    if unknown := sorted(given.keys() - known.keys()):
        raise ValueError(f"{method} has no setting {unknown[0]!r}; it has: {', '.join(known) or 'none'}")
    settings = {}
    for name, default in known.items():
        value, (low, high, whole) = given.get(name, default), _RANGE[name]
        settings[name] = float(check.whole(name, value, low, high) if whole else check.number(name, value, low, high))
    if method == "tsne":
        settings["perplexity"] = max(1.0, min(settings["perplexity"], (n - 1) / 3))
    if method == "umap":
        settings["neighbours"] = min(settings["neighbours"], n - 1)
    return settings


def _checked(points: Any, n: int, name: str) -> Points:
    points = check.array(name, points, None, "numbers, one point in the plane per row")
    with np.errstate(over="ignore"):
        points = np.ascontiguousarray(points, dtype=np.float32)
    if points.shape != (n, 2):
        raise ValueError(f"{name} must give one point in the plane per row, ({n}, 2), not {points.shape}")
    if not np.isfinite(points).all():
        raise ValueError(f'{name} gave points that are not finite; try method="pca"')
    return points


def _file(folder: Path, key: str) -> Path:
    return folder / f"{key}.safetensors"


def _load(folder: Path, key: str, n: int) -> Points | None:
    """The points kept under a key; None where there are none, or a damaged file (they are then computed again)."""
    try:
        found = files.read_record(_file(folder, key), "embedding", lambda meta: meta == {"key": key})
        return None if found is None else _checked(found[1]["points"], n, "the file")
    except (OSError, ValueError, KeyError):
        return None


def _save(folder: Path, key: str, points: Points) -> None:
    files.save_record(_file(folder, key), "embedding", {"key": key}, {"points": points})


_unwritable: set[Path] = set()  # folders that were told of


def _keep(folder: Path, key: str, points: Points) -> None:
    """Save points; where that cannot be done, say so once for each folder."""
    try:
        _save(folder, key, points)
    except OSError as error:
        if folder not in _unwritable:
            _unwritable.add(folder)
            told = f"the embedding could not be kept in {folder} ({error}); set LTVIZ_CACHE to a writable folder"
            warnings.warn(told, stacklevel=3)
