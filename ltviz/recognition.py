"""What a trained network is worth on identities that it was never trained on: retrieval and verification of images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import check, metrics
from .datasets import Unseen
from .files import data_folder, read_table
from .metrics.comparison import line_beside
from .metrics.retrieval import DISTANCES, most_pairs
from .run import Run
from .training.network import image_shape

if TYPE_CHECKING:
    import pandas

PAIRS, FOLDS = 6000, 10  # of the protocol
FALSE_ACCEPTS = (1e-2, 1e-3)
RECORDED = data_folder() / "runs" / "omniglot" / "recognition.csv"
JUDGED = ("rank1", "rank5", "map", "verification", "tar_at_0.01", "tar_at_0.001", "accuracy")
BASE = ("Softmax", "long-tailed")


class Recognition(NamedTuple):
    """What `recognise` found.

    retrieval (rank1, at(5), map), verification (accuracy, error, by_fold), roc (tar_at) as in `ltviz.metrics`; queries
    (q,) the rows of the images that were looked for, pairs (p, 2) the rows of those that were compared, same (p,).
    """

    retrieval: metrics.Retrieval
    verification: metrics.Verification
    roc: metrics.ROC
    queries: np.ndarray
    pairs: np.ndarray
    same: np.ndarray

    def row(self) -> dict[str, float]:
        """The numbers of a table, as shares: rank1, rank5, map, verification, its error over the folds, TAR at FAR."""
        tar = {f"tar_at_{far:g}": self.roc.tar_at(far) for far in FALSE_ACCEPTS}
        return {
            "rank1": self.retrieval.rank1, "rank5": self.retrieval.at(5), "map": self.retrieval.map,
            "verification": self.verification.accuracy, "verification_error": self.verification.error, **tar,
        }  # fmt: skip


def recognise(
    run: Any, unseen: Unseen, *, queries: int | None = None, pairs: int | None = None, folds: int | None = None,
    distance: str = "cosine", seed: int = 0, model: Any = None,
) -> Recognition:  # fmt: skip
    """Find images of unseen identities again, and tell whether two images are of the same one, by a run's features.

    run       a run that keeps its network, or features (n, d) of the unseen images from anywhere else
    unseen    images and identities that were not trained on, such as `lt.omniglot_lt().unseen`
    queries   how many images are looked for, drawn evenly by seed; None: each. The gallery of a query is every other
              image, the remaining queries included
    pairs     pairs to verify, half of them of one identity, drawn by seed (`metrics.draw_pairs`); None: 6,000, or as
              many as there are where they are fewer
    folds     verification accuracy: on each fold with the threshold that is best on the others; None: ten, or one for
              every two pairs where these are fewer than twenty
    distance  "cosine", or "euclidean" of the features as they are
    seed      of queries and pairs: with one seed, all runs answer the same questions
    model     what makes the network, where it was your own and the run comes from a file
    Features are what the classifier of the run sees, in eval mode. Returns a `Recognition`. ValueError for anything
    else, for a run without a network or one that has diverged, and for images of another size or with other channels
    than those that it was trained on.
    Source: the protocol of the Dual Loss (Li et al. 2020): rank-1, rank-5, mAP; 6,000 pairs in ten folds.
    """
    expected = "images of identities never trained on: data.unseen of omniglot_lt, or lt.datasets.Unseen(images, " \
        "identities, names) with a name for each identity"  # fmt: skip
    unseen = check.instance("unseen", unseen, Unseen, expected).checked()
    identities, n = unseen.identities, len(unseen.identities)
    queries = n if queries is None else check.whole("queries", queries, 1, n)
    check.choice("distance", distance, DISTANCES)
    pairs, folds = _how_many(identities, pairs, folds)
    drawn, same = metrics.draw_pairs(identities, pairs, check.seed(seed))
    rows = np.sort(np.random.default_rng(seed).permutation(n)[:queries])
    features = _features(run, unseen, model)
    found = metrics.retrieval(features[rows], identities[rows], features, identities, itself=rows, distance=distance)
    alike = metrics.similarity(features[drawn[:, 0]], features[drawn[:, 1]], distance)
    judged = metrics.verification(alike, same, folds)
    return Recognition(found, judged, metrics.roc(alike, same), rows, drawn, same)


def _features(run: Any, unseen: Unseen, model: Any) -> np.ndarray:
    """Features (n, d) of the unseen images: those of the run's network, or the given ones."""
    if not isinstance(run, Run):
        expected = f"a run that keeps its network, or features ({len(unseen.identities)}, d): finite numbers"
        found = check.array("run", run, 2, expected)
        if len(found) != len(unseen.identities) or not found.size or not np.isfinite(found).all():
            raise check.refuse("run", run, expected)
        if model is not None:
            raise check.refuse("model", model, "None beside features, which need no network")
        return found
    if run.status == "diverged":
        raise ValueError(f"run={run.name!r}: it has diverged, so its features mean nothing; train it with a smaller lr")
    if run.network is not None:  # else `predict` says what is missing
        _refuse_unlike(run, unseen.images)
    return run.predict(unseen.images, model).features


def _refuse_unlike(run: Run, images: np.ndarray) -> None:
    """Raise ValueError for images of another size or with other channels than those that a run was trained on."""
    (channels, height, width), (_, h, w, c) = image_shape(run), images.shape
    if (height, width) != (h, w):
        raise check.refuse("unseen.images", images, f"images of {height} x {width} pixels (height x width), as "
                           f"run={run.name!r} was trained on; load both with one size=, or resize these")  # fmt: skip
    if channels != c:
        how = {(1, 3): "images.mean(3, keepdims=True).round().astype(np.uint8) makes grey ones of them",
               (3, 1): "images.repeat(3, axis=3) makes three equal ones of it"}.get((channels, c))  # fmt: skip
        raise check.refuse("unseen.images", images, f"{check.many(channels, 'channel')}, as run={run.name!r} was "
                           f"trained on{f'; {how}' if how else ''}")  # fmt: skip


def _how_many(identities: np.ndarray, pairs: int | None, folds: int | None) -> tuple[int, int]:
    """Pairs and folds: those that were asked for, or of the protocol, as far as the identities have pairs."""
    most = most_pairs(identities)
    if most < 4:
        raise ValueError("unseen: expected at least two pairs of one identity and two of different ones; add images")
    if pairs is None:
        pairs = min(PAIRS, most)
    elif check.whole("pairs", pairs, 4) % 2 or pairs > most:
        raise check.refuse("pairs", pairs, f"an even number from 4 to {most:,}, half of them of one identity: these "
                           "identities have no more; None takes as many as there are")  # fmt: skip
    if folds is None:
        return pairs, min(FOLDS, pairs // 2)
    try:
        return pairs, check.whole("folds", folds, 2, pairs // 2)  # each fold has a pair of both kinds
    except ValueError as error:
        raise ValueError(f"{error}: with pairs={pairs:,}, each fold needs a pair of both kinds") from None


def recorded(file: str | Path = RECORDED) -> pandas.DataFrame:
    """The recorded runs of the Dual Loss's table on Omniglot, one a line; made by `python -m tools.recognition`.

    Columns: row (the slides' name), training ("long-tailed", "balanced" with as many drawings, "balanced, all"),
    method, settings (JSON), seed (of data and run), drawings, accuracy (of the trained characters, test part), what
    `Recognition.row` gives, status, seconds (of a machine with other work), run (its id). All shares, not percent.
    """
    return read_table(check.path("file", file), "python -m tools.recognition --root FOLDER")


def compare(table: pandas.DataFrame, metric: str = "map") -> pandas.DataFrame:
    """Each row of the recorded table beside the plain network with a long tail, paired by seed.

    metric: rank1, rank5, map, verification, tar_at_0.01, tar_at_0.001, or accuracy. Columns: seeds, mean, half (of the
    95% interval of the mean), difference to the plain network, its 95% interval low, high, and the verdict of
    `metrics.paired`. Sixteen comparisons stand beside each other: luck alone calls about one of them suggestive.
    """
    import pandas

    check.choice("metric", metric, JUDGED)
    needed = ["row", "training", "seed", metric]
    if not set(needed) <= set(getattr(table, "columns", ())):
        raise check.refuse("table", table, f"a table with the columns {', '.join(needed)}: recognition.recorded()")
    words = [name for name in ("seed", metric) if not pandas.api.types.is_numeric_dtype(table[name])]
    if words:
        raise check.refuse("table", table, f"numbers in the column {words[0]!r}")
    by_row = {name: part.set_index("seed")[metric] for name, part in table.groupby(["row", "training"], sort=False)}
    if BASE not in by_row:
        raise ValueError(f"table: it has no row {BASE[0]!r} trained {BASE[1]!r}, which the others are compared with")
    lines = {name: line_beside(values, by_row[BASE]) for name, values in by_row.items()}
    return pandas.DataFrame.from_dict(lines, orient="index").rename_axis(["row", "training"])
