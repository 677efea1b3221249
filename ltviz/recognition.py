"""What a trained network is worth on identities that it was never trained on: retrieval and verification of images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import check, metrics
from .datasets import Unseen
from .files import data_folder
from .metrics.retrieval import DISTANCES
from .run import Run

if TYPE_CHECKING:
    import pandas

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
    run: Any, unseen: Unseen, *, queries: int | None = None, pairs: int = 6000, folds: int = 10,
    distance: str = "cosine", seed: int = 0, model: Any = None,
) -> Recognition:  # fmt: skip
    """Find images of unseen identities again, and tell whether two images are of the same one, by a run's features.

    run       a run that keeps its network, or features (n, d) of the unseen images from anywhere else
    unseen    images and identities that were not trained on, such as `lt.omniglot_lt().unseen`
    queries   how many images are looked for, drawn evenly by seed; None: each. The gallery of a query is every other
              image, the remaining queries included
    pairs     pairs to verify, half of them of one identity, drawn by seed (`metrics.draw_pairs`)
    folds     verification accuracy: on each fold with the threshold that is best on the others
    distance  "cosine", or "euclidean" of the features as they are
    seed      of queries and pairs: with one seed, all runs answer the same questions
    model     what makes the network, where it was your own and the run comes from a file
    Features are what the classifier of the run sees, in eval mode. Returns a `Recognition`. ValueError for anything
    else, for a run without a network or one that has diverged, and for images unlike those that it was trained on.
    Source: the protocol of the Dual Loss (Li et al. 2020): rank-1, rank-5, mAP; 6,000 pairs in ten folds.
    """
    identities = _identities(unseen)
    n = len(identities)
    queries = n if queries is None else check.whole("queries", queries, 1, n)
    check.choice("distance", distance, DISTANCES)
    folds = check.whole("folds", folds, 2, check.whole("pairs", pairs, 4) // 2)  # each fold has a pair of both kinds
    try:
        drawn, same = metrics.draw_pairs(identities, pairs, check.seed(seed))
    except ValueError as error:
        raise ValueError(str(error).replace("n=", "pairs=", 1)) from None
    rows = np.sort(np.random.default_rng(seed).permutation(n)[:queries])
    features = _features(run, unseen, model)
    if len(features) != n:
        raise ValueError(f"unseen: {len(features)} images and {n} identities; expected one identity for each image")
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
    return run.predict(unseen.images, model).features


def _identities(unseen: Unseen) -> np.ndarray:
    """The identity of each image (n,)."""
    expected = (
        "images of identities never trained on: data.unseen of omniglot_lt, or lt.datasets.Unseen(images, "
        "identities, names) with a name for each identity"
    )
    names = check.instance("unseen", unseen, Unseen, expected).names
    if not isinstance(names, (list, tuple)) or not names:
        raise check.refuse("unseen.names", names, "a name for each identity, as a tuple of texts")
    return check.labels("unseen.identities", unseen.identities, len(names))


def recorded(file: str | Path = RECORDED) -> pandas.DataFrame:
    """The recorded runs of the Dual Loss's table on Omniglot, one a line; made by `python -m tools.recognition`.

    Columns: row (the slides' name), training ("long-tailed", "balanced" with as many drawings, "balanced, all"),
    method, settings (JSON), seed (of data and run), drawings, accuracy (of the trained characters, test part), what
    `Recognition.row` gives, status, seconds (of a machine with other work), run (its id). All shares, not percent.
    """
    import pandas

    file = check.path("file", file)
    if not file.is_file():
        raise FileNotFoundError(f"{file} is not there: python -m tools.recognition --root FOLDER records it")
    return pandas.read_csv(file)


def compare(table: pandas.DataFrame, metric: str = "map") -> pandas.DataFrame:
    """Each row of the recorded table beside the plain network with a long tail, paired by seed.

    metric: rank1, rank5, map, verification, tar_at_0.01, tar_at_0.001, or accuracy. Columns: seeds, mean, half (of the
    95% interval of the mean), difference to the plain network, its 95% interval low, high, and the verdict of
    `metrics.paired`. Sixteen comparisons stand beside each other: luck alone calls about one of them suggestive.
    """
    check.choice("metric", metric, JUDGED)
    needed = ["row", "training", "seed", metric]
    if not set(needed) <= set(getattr(table, "columns", ())):
        raise check.refuse("table", table, f"a table with the columns {', '.join(needed)}: recognition.recorded()")
    by_row = {name: part.set_index("seed")[metric] for name, part in table.groupby(["row", "training"], sort=False)}
    if BASE not in by_row:
        raise ValueError(f"table: it has no row {BASE[0]!r} trained {BASE[1]!r}, which the others are compared with")
    lines = {name: _line(values, by_row[BASE]) for name, values in by_row.items()}
    import pandas

    return pandas.DataFrame.from_dict(lines, orient="index").rename_axis(["row", "training"])


def _line(values: pandas.Series, base: pandas.Series) -> dict[str, Any]:
    """One row of the comparison: values and base by seed."""
    own = metrics.paired(values.to_numpy(), np.zeros(len(values)))
    both = values.index.intersection(base.index)
    found = {"seeds": len(values), "mean": own.mean, "half": own.half}
    if values is base or not len(both):
        return {**found, "difference": np.nan, "low": np.nan, "high": np.nan, "verdict": ""}
    gain = metrics.paired(values[both].to_numpy(), base[both].to_numpy())
    low, high = gain.interval
    return {**found, "difference": gain.mean, "low": low, "high": high, "verdict": gain.verdict}
