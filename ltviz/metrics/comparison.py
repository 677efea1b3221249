"""Is one method better than another? Differences paired by seed, with their error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .. import check
from .scores import GROUPS, Floats, shot_accuracy

if TYPE_CHECKING:
    import pandas

ONE_SEED = "one seed: no verdict"
NO_SPREAD = "equal differences: no verdict"  # of two seeds
NO_DATA = "not defined"
SHOWN = ("all", "head", "mid", "tail")  # of the groups, in a table
CLEAR, SUGGESTIVE, UNDECIDED = 0.005, 0.05, "undecided"  # levels of p (Benjamin et al. 2018), and the word for the rest
UNFINISHED = ("diverged", "stopped")  # what may stand in Run.status beside "finished"


class Paired(NamedTuple):
    """A paired difference over n seeds: mean, standard error, Student's t and two-sided p, and the verdict in words."""

    mean: float
    se: float
    t: float
    p: float
    n: int
    verdict: str

    @property
    def half(self) -> float:
        """Half the width of the 95% interval: t(0.975, n - 1) se."""
        low, high = self.interval
        return (high - low) / 2

    @property
    def interval(self) -> tuple[float, float]:
        """Ends of the 95% confidence interval of the mean, mean ± t(0.975, n - 1) se; NaN where there is no se."""
        from scipy import stats

        if np.isnan(self.se):
            return float("nan"), float("nan")
        reach = float(stats.t.ppf(0.975, self.n - 1)) * self.se
        return self.mean - reach, self.mean + reach

    def __str__(self) -> str:
        if np.isnan(self.se):
            return f"{self.mean:+.3f} ({self.verdict})"
        low, high = self.interval
        return f"{self.mean:+.3f} [{low:+.3f}, {high:+.3f}] over {self.n} seeds ({self.verdict})"


def paired(a: Sequence[Any] | ArrayLike, b: Sequence[Any] | ArrayLike, group: str = "all") -> Paired:
    """Is a better than b? The difference of each seed, its mean and the standard error of that mean.

        d_i = a_i - b_i    mean = sum d_i / n    se = sd(d) / sqrt(n)    t = mean / se    p: of scipy's paired t-test

    a, b: one value per seed in the same order (n,), or lists of runs, which are paired by seed (accuracy of `group`;
    seeds that only one side has are left out, so that n may be less than either length). Positive means that a is
    better. Verdict: "clearly better" or "clearly worse" where p < 0.005, "suggestive: better" or "suggestive: worse"
    where p < 0.05, else "undecided" (Benjamin et al. 2018); p carries the price of few seeds. Beside m comparisons,
    luck alone would call about m / 20 suggestive. One seed: "one seed: no verdict", and two whose differences happen to
    be equal tell no more: "equal differences: no verdict". A run that was stopped or diverged: "a stopped run: no
    verdict". A NaN on either side: "not defined". ValueError: two runs of one seed on a side, no seed in common,
    different data.
    """
    from scipy import stats

    check.choice("group", group, GROUPS)
    unfinished = None
    runs = [_runs(name, side) for name, side in (("a", a), ("b", b))]
    if all(one is not None for one in runs):
        pairs = pairs_of(*runs)
        unfinished = _unfinished([run for pair in pairs for run in pair])
        x, y = (np.array([shot_accuracy(run)[group] for run in side]) for side in zip(*pairs, strict=True))
    elif any(one is not None for one in runs):
        raise ValueError("a and b must both be lists of runs, or both be numbers, one per seed")
    else:
        check.same_order(a=a, b=b)
        x, y = _values("a", a), _values("b", b)
    if x.shape != y.shape:
        raise ValueError(f"a and b must hold one value per seed in the same order, not {x.size} and {y.size} values")
    nan, d, n = float("nan"), x - y, len(x)
    if n == 0:
        raise ValueError("a and b are empty: train at least one seed of each")
    mean = float(d.mean())
    if np.isnan(mean):
        return Paired(nan, nan, nan, nan, n, unfinished or NO_DATA)
    if n == 1:
        return Paired(mean, nan, nan, nan, 1, unfinished or ONE_SEED)
    se = float(stats.sem(d))
    if se <= 1e-12 * max(1.0, abs(mean)):  # equal differences up to rounding
        if n == 2 and abs(mean) >= 1e-12:
            return Paired(mean, nan, nan, nan, n, unfinished or NO_SPREAD)
        se, t, p = (0.0, 0.0, 1.0) if abs(mean) < 1e-12 else (0.0, float(np.copysign(np.inf, mean)), 0.0)
    else:
        t, p = map(float, stats.ttest_1samp(d, 0.0))
    return Paired(mean, se, t, p, n, unfinished or _verdict(mean, p))


def line_beside(values: pandas.Series, base: pandas.Series) -> dict[str, Any]:
    """A row of a recorded table beside its base, both by seed: seeds, mean, half, difference, low, high, verdict."""
    own = paired(values.to_numpy(), np.zeros(len(values)))
    both = values.index.intersection(base.index)
    found = {"seeds": len(values), "mean": own.mean, "half": own.half}
    if values is base or not len(both):
        return {**found, "difference": np.nan, "low": np.nan, "high": np.nan, "verdict": ""}
    gain = paired(values[both].to_numpy(), base[both].to_numpy())
    low, high = gain.interval
    return {**found, "difference": gain.mean, "low": low, "high": high, "verdict": gain.verdict}


def _verdict(mean: float, p: float) -> str:
    way = "better" if mean > 0 else "worse"
    return f"clearly {way}" if p < CLEAR else f"suggestive: {way}" if p < SUGGESTIVE else UNDECIDED


def _is_run(thing: Any) -> bool:
    return hasattr(thing, "seed") and hasattr(thing, "confusion")


def _runs(name: str, side: Any) -> list[Any] | None:
    """A list of runs, one per seed, or None where it is a list of something else."""
    if _is_run(side):
        raise ValueError(f"{name}={check.shown(side)}: expected a list of runs, one per seed; for one run write [run]")
    if not isinstance(side, (list, tuple)) or not any(map(_is_run, side)):
        return None
    for one in side:
        if not _is_run(one):
            raise check.refuse(name, one, "only runs in the list, since there is one")
    return list(side)


def _values(name: str, side: Any) -> Floats:
    expected = "runs, one per seed, or one number per seed (n,)"
    found = check.array(name, side, 1, expected).astype(np.float64)
    if np.isinf(found).any():
        raise check.refuse(name, side, f"{expected}, none of them infinite")
    return found


def _unfinished(runs: Sequence[Any]) -> str | None:
    """The verdict where one of the runs did not come to its end."""
    found = {getattr(run, "status", "finished") for run in runs}
    return next((f"a {status} run: no verdict" for status in UNFINISHED if status in found), None)


def by_seed(runs: Sequence[Any], name: str) -> dict[int, Any]:
    """Runs by their seed. ValueError, by name, where two share one."""
    found: dict[int, Any] = {}
    for run in runs:
        if run.seed in found:
            raise ValueError(
                f"{name} holds two runs of seed {run.seed}; a comparison pairs one run per seed: "
                "choose one setting first"
            )
        found[run.seed] = run
    return found


def runs_of(name: str, side: Any) -> list[Any]:
    """A list of runs, one per seed. ValueError, by name, for anything else."""
    found = _runs(name, side)
    if found is None:
        raise check.refuse(name, side, "a list of runs, one per seed")
    return found


def pairs_of(a: Sequence[Any], b: Sequence[Any], names: tuple[str, str] = ("a", "b")) -> list[tuple[Any, Any]]:
    """The runs that a and b have for the same seeds, in the order of the seeds. ValueError uses the names."""
    left, right = by_seed(a, names[0]), by_seed(b, names[1])
    seeds = sorted(left.keys() & right.keys())
    if not seeds:
        raise ValueError(
            f"{names[0]} and {names[1]} have no seed in common "
            f"({names[0]}: {sorted(left)}, {names[1]}: {sorted(right)}), so there is nothing "
            "to pair; train both on the same seeds"
        )
    for seed in seeds:
        if (why := _different_data(left[seed], right[seed])) is not None:
            raise ValueError(
                f"the runs of seed {seed} were trained or tested on different data ({why}); "
                "compare methods on one data set at a time"
            )
    return [(left[seed], right[seed]) for seed in seeds]


def _different_data(a: Any, b: Any) -> str | None:
    """In words, how the data of two runs differ; None where nothing shows that they do."""
    data = [getattr(run, "data", None) or {} for run in (a, b)]
    prints = [d.get("fingerprint") for d in data]
    if len(a.counts) != len(b.counts):
        return f"{len(a.counts)} and {len(b.counts)} classes"
    if None not in prints:
        names = [d.get("name") for d in data]
        return None if prints[0] == prints[1] else f"{names[0]} {prints[0]}, {names[1]} {prints[1]}"
    # Collected and predicted runs have no fingerprint: what they keep has to agree.
    if not np.array_equal(check.to_array(a.counts), check.to_array(b.counts)):
        return f"training images {check.listed(a.counts)} and {check.listed(b.counts)}; pass the same counts= to both"
    tested = [check.to_array(run.confusion).sum(1) for run in (a, b)]
    if not all(one.any() for one in tested):  # a run that diverged decides nothing
        return None
    if not np.array_equal(*tested):
        return f"test images {check.listed(tested[0])} and {check.listed(tested[1])}"
    targets = [getattr(run, "targets", None) for run in (a, b)]
    if all(one is not None for one in targets) and not np.array_equal(*map(check.to_array, targets)):
        return "the same number of test images of each class, in another order"
    return None


def comparison_table(
    runs_by_label: Mapping[str, Sequence[Any]], reference: str | None = None, group: str = "all"
) -> pandas.DataFrame:
    """One row per label: mean accuracy of each group, and the paired difference to the reference with its error.

    runs_by_label: label -> runs, one per seed; reference: the label to compare with (default: the first); group: what
    the difference is taken of. Columns: seeds, all, head, mid, tail (means over the seeds; NaN as soon as one run
    diverged), pairs (seeds that the reference has too), difference (over those), half (of its 95%
    interval), p, verdict. A row with a run that
    was stopped or diverged has no verdict. ValueError as for `paired`.
    """
    import pandas

    if not isinstance(runs_by_label, Mapping):
        raise check.refuse("runs_by_label", runs_by_label, "a dict label -> list of runs, one per seed")
    labels = list(runs_by_label)
    if not labels:
        raise ValueError("runs_by_label is empty: give label -> list of runs")
    found = {label: _labelled(label, runs_by_label[label]) for label in labels}
    check.choice("group", group, GROUPS)
    reference = labels[0] if reference is None else check.choice("reference", reference, labels)
    rows = [_row(found[label], None if label == reference else found[reference], group) for label in labels]
    return pandas.DataFrame(rows, index=pandas.Index(labels, name="run"))


def _labelled(label: str, runs: Any) -> list[Any]:
    """The runs of a label: at least one, and one per seed."""
    name = f"runs_by_label[{label!r}]"
    if isinstance(runs, (list, tuple)) and not runs:
        raise ValueError(f"{name} is empty: train it first, or leave it out")
    found = runs_of(name, runs)
    by_seed(found, name)
    return found


def _row(runs: list[Any], reference: list[Any] | None, group: str) -> dict[str, Any]:
    """One row of the table; reference None: this is the reference."""
    groups = [shot_accuracy(run) for run in runs]
    row = {"seeds": len(runs)} | {name: float(np.mean([g[name] for g in groups])) for name in SHOWN}
    unfinished = _unfinished(runs)
    if reference is None:
        words = "reference" if unfinished is None else f"reference; {unfinished}"
        return (
            row | {"pairs": len(runs)} | dict.fromkeys(("difference", "half", "p"), float("nan")) | {"verdict": words}
        )
    found = paired(runs, reference, group)
    return row | {
        "pairs": found.n,
        "difference": found.mean,
        "half": found.half,
        "p": found.p,
        "verdict": unfinished or found.verdict,
    }
