"""Two-dimensional pictures of features: PCA, t-SNE, UMAP. Kept by content, so that no picture is computed twice.

    embed(features, "tsne")       where features are (n, d), or a run that kept its test features

An embedding is looked for in three places, by a hash of the features, the method, its settings and the seed:
the *recorded* ones that travel with the course (data/runs/embeddings), then the *cache* of this user, then it is
computed and cached. Files hold two columns of float32 and nothing else (.npy without pickle).
"""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import os
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32]

#: Settings of each method and their defaults. perplexity and neighbours are lowered where there are too few points.
SETTINGS: dict[str, dict[str, float]] = {
    "pca": {},
    "tsne": {"perplexity": 30.0, "exaggerated": 100, "iterations": 250},
    "umap": {"neighbours": 15, "min_dist": 0.1},
}
PACKAGE = {"tsne": "openTSNE", "umap": "umap-learn"}
RECORDED = Path(__file__).resolve().parent.parent / "data" / "runs" / "embeddings"
QUICK = 2000  # t-SNE of so many points takes about two seconds; anything slower must be recorded for the fast profile


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
    what is random. settings: see SETTINGS. cache: a folder, None for the user's own (`cache_folder()`), False for none.
    recorded: a folder to look in first, None for the course's, False for none.
    Errors: features that are not finite or too few, an unknown method or setting, a package that is not installed,
    and, in the fast profile, UMAP or t-SNE of more than 2,000 points that is not recorded (`record_embedding`).
    """
    x = _features(features)
    if hasattr(method, "fit_transform"):
        return _checked(method.fit_transform(x), len(x), type(method).__name__)
    settings = _settings(method, settings, len(x))
    if method == "pca":
        return _pca(x)
    key = content_key(x, method, seed, settings)
    folder = RECORDED if recorded in (None, True) else recorded
    if folder is not False:
        points = _load(Path(folder) / f"{key}.npy", len(x))
        if points is not None:
            return points
    if os.environ.get("LTVIZ_PROFILE") == "fast" and (method == "umap" or len(x) > QUICK):
        raise NotRecorded(
            f"the fast profile does not compute {method} of {len(x)} points, and no recorded embedding {key} was found "
            f"in {folder}. Record it with lt.embedding.record_embedding(features, {method!r}), use method=\"pca\", or "
            "unset LTVIZ_PROFILE"
        )
    if cache is False:
        return _compute(x, method, seed, settings)
    folder = cache_folder() / "embeddings" if cache in (None, True) else Path(cache)
    # Another version of the library may place the points elsewhere: the cache, unlike the record, is kept by version.
    file = folder / f"{key}-{PACKAGE[method]}-{_version(method)}.npy"
    points = _load(file, len(x))
    if points is None:
        points = _compute(x, method, seed, settings)
        _save(file, points)
    return points


def record_embedding(
    features: Any, method: str = "tsne", seed: int = 0, *, folder: str | Path | None = None, **settings: float
) -> Path:
    """Compute an embedding and keep it where `embed` looks first, for a chapter. Returns the file's path.

    Arguments as for `embed`; folder defaults to the course's data/runs/embeddings. 1,000 points take 8 kB.
    """
    x = _features(features)
    settings = _settings(method, settings, len(x))
    if method == "pca":
        raise ValueError("PCA takes milliseconds: there is nothing to record")
    file = Path(RECORDED if folder is None else folder) / f"{content_key(x, method, seed, settings)}.npy"
    if _load(file, len(x)) is None:
        _save(file, _compute(x, method, seed, settings), must=True)
    return file


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
    x, y = _features(features), np.asarray(points, dtype=np.float32)
    if len(x) != len(y):
        raise ValueError(f"points must have one row per row of features ({len(x)}), not {len(y)}")
    if not 1 <= neighbours < len(x):
        raise ValueError(f"neighbours must lie in 1..{len(x) - 1} for {len(x)} points, not {neighbours}")
    a, b = nearest(x, neighbours)[0], nearest(y, neighbours)[0]
    return float((a[:, :, None] == b[:, None, :]).any(2).mean())


def nearest(x: NDArray[np.float32], k: int) -> tuple[NDArray[np.int32], Points]:
    """The k nearest other rows of each row of x (n, d): indices and Euclidean distances, both (n, k), nearest first.

    Exact. Works on 1,000 rows at a time, and a row that occurs twice is a neighbour of its copy, not of itself.
    """
    x = x.astype(np.float64) - x.mean(0, dtype=np.float64)  # centred: less cancellation below
    n, square = len(x), np.square(x).sum(1)
    index, distance = np.empty((n, k), np.int32), np.empty((n, k), np.float32)
    for start in range(0, n, 1000):
        rows = slice(start, min(start + 1000, n))
        d2 = square[rows, None] - 2.0 * x[rows] @ x.T + square
        d2[np.arange(rows.stop - start), np.arange(start, rows.stop)] = np.inf
        near = np.argpartition(d2, k - 1, axis=1)[:, :k]
        d2 = np.take_along_axis(d2, near, 1)
        order = np.argsort(d2, axis=1, kind="stable")
        index[rows] = np.take_along_axis(near, order, 1)
        distance[rows] = np.sqrt(np.maximum(np.take_along_axis(d2, order, 1), 0.0))
    return index, distance


# ------------------------------------------------------------------------------------------------------- the methods
def _pca(x: Points) -> Points:
    """The two directions of largest variance, by eigenvectors of the covariance; signs fixed, so that plots agree."""
    centred = x.astype(np.float64) - x.mean(0, dtype=np.float64)
    axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :2]
    axes = axes * np.where(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])] < 0, -1.0, 1.0)
    points = np.zeros((len(x), 2), np.float32)
    points[:, : axes.shape[1]] = centred @ axes
    return points


def _tsne(x: Points, seed: int, settings: dict[str, float]) -> Points:
    tsne = _package("tsne", "openTSNE").TSNE(
        perplexity=settings["perplexity"],
        early_exaggeration_iter=int(settings["exaggerated"]),
        n_iter=int(settings["iterations"]),
        neighbors="exact" if len(x) <= 10_000 else "auto",
        initialization="pca",
        random_state=seed,
        n_jobs=1,
    )
    return np.asarray(tsne.fit(x))


def _umap(x: Points, seed: int, settings: dict[str, float]) -> Points:
    if "numba" not in sys.modules:  # compiled code is kept; the default place is often read-only
        os.environ.setdefault("NUMBA_CACHE_DIR", str(cache_folder() / "numba"))
    umap = _package("umap", "umap")
    k = int(settings["neighbours"])
    index, distance = nearest(x, k - 1)
    own = np.arange(len(x), dtype=np.int32)[:, None]
    # umap-learn counts a point as its own first neighbour. Given exact neighbours, it compiles no neighbour search.
    knn = (np.hstack([own, index]), np.hstack([np.zeros_like(own, np.float32), distance]))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*knn_search_index.*")  # only `transform` would need it
        return umap.UMAP(
            n_neighbors=k, min_dist=settings["min_dist"], init="pca", random_state=seed, n_jobs=1, precomputed_knn=knn
        ).fit_transform(x)


_METHODS: dict[str, Callable[[Points, int, dict[str, float]], Points]] = {"tsne": _tsne, "umap": _umap}


def _compute(x: Points, method: str, seed: int, settings: dict[str, float]) -> Points:
    return _checked(_METHODS[method](x, seed, settings), len(x), method)


def _package(method: str, module: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ImportWarning)  # umap-learn misses TensorFlow, which nothing here needs
            return importlib.import_module(module)
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
def _features(features: Any) -> Points:
    if hasattr(features, "confusion"):
        if features.features is None:
            raise ValueError("this run was recorded without its test features, so there is nothing to embed; "
                             "open the run of seed 0, or train it again")
        features = features.features
    if hasattr(features, "detach"):
        features = features.detach().cpu()
    x = np.asarray(features, dtype=np.float32)
    if x.ndim != 2:
        raise ValueError(f"features must be (n, d), not shape {x.shape}")
    if len(x) < 5:
        raise ValueError(f"features must have at least 5 rows to be worth a picture, not {len(x)}")
    if not np.isfinite(x).all():
        raise ValueError("features must be finite; a run with NaN features has diverged")
    return x


def _settings(method: Any, given: dict[str, float], n: int) -> dict[str, float]:
    if method not in SETTINGS:
        raise ValueError(f"method must be one of {', '.join(map(repr, SETTINGS))} or an object with fit_transform, "
                         f"not {method!r}")
    known = SETTINGS[method]
    unknown = sorted(given.keys() - known.keys())
    if unknown:
        raise ValueError(f"{method} has no setting {unknown[0]!r}; it has: {', '.join(known) or 'none'}")
    settings = {name: float(given.get(name, default)) for name, default in known.items()}
    for name in ("perplexity", "neighbours"):
        if settings.get(name, 2.0) < 2.0:
            raise ValueError(f"{name} must be at least 2, not {settings[name]:g}")
    if method == "tsne":
        settings["perplexity"] = max(1.0, min(settings["perplexity"], (n - 1) / 3))
    if method == "umap":
        settings["neighbours"] = min(settings["neighbours"], n - 1)
    return settings


def _checked(points: Any, n: int, name: str) -> Points:
    points = np.ascontiguousarray(points, dtype=np.float32)
    if points.shape != (n, 2):
        raise ValueError(f"{name} must give one point in the plane per row, ({n}, 2), not {points.shape}")
    if not np.isfinite(points).all():
        raise ValueError(f"{name} gave points that are not finite; try method=\"pca\"")
    return points


def cache_folder() -> Path:
    """Folder for what can be computed again: LTVIZ_CACHE, else `ltviz` in the user's cache folder."""
    if os.environ.get("LTVIZ_CACHE"):
        return Path(os.environ["LTVIZ_CACHE"])
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "ltviz"


def _load(file: Path, n: int) -> Points | None:
    """The points in a file; None where there is no file, or a damaged one (it is then computed again)."""
    try:
        return _checked(np.load(file, allow_pickle=False), n, "the file")
    except (OSError, ValueError, EOFError):
        return None


def _save(file: Path, points: Points, must: bool = False) -> None:
    """Write points atomically: a reader, or a crash, never sees half a file. Without `must`, a full disk only warns."""
    from .run import write_atomically  # not sooner: a first picture of an array needs no torch

    content = io.BytesIO()
    np.save(content, points, allow_pickle=False)
    try:
        write_atomically(file, content.getvalue())
    except OSError as error:
        if must:
            raise
        warnings.warn(f"the embedding could not be kept in {file.parent} ({error}); set LTVIZ_CACHE to a folder "
                      "that can be written", stacklevel=3)
