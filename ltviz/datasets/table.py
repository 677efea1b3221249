"""Rows of numbers as long-tailed data: a numpy array, a tensor or a DataFrame, split, encoded and standardised."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from .. import check, labels
from ..files import canonical
from .longtailed import LongTailed, _in_turns
from .profiles import PROFILES, check_ratio, draw

MOST_CATEGORIES = 100  # of one column; each becomes a column of its own
ROWS = "numbers (n, d), a row for each label: an array, a tensor or a DataFrame"
PARTS = ("validation", "test")
FEW = 10_000  # training rows; of more, larger batches train as well in less time


@dataclasses.dataclass(frozen=True)
class Columns:
    """How a reader's columns become numbers: their names, and the categories of each (None: it is a number)."""

    names: tuple[str, ...]
    categories: tuple[tuple[str, ...] | None, ...]

    @classmethod
    def of(cls, features: Any, columns: Sequence[str] | None) -> Columns:
        """Those of an array (n, d), named by `columns` or by number, or of a DataFrame, which has names."""
        if not _is_frame(features):
            d = _array("features", features).shape[1]
            names = [str(j) for j in range(d)] if columns is None else _names(columns, d)
            return cls(tuple(names), (None,) * d)
        if columns is not None:
            raise check.refuse("columns", columns, "None beside a DataFrame, whose columns have names")
        names = [str(name) for name in features.columns]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice or not names:
            what = f"columns of different names, got {', '.join(map(check.shown, twice[:5]))} twice" if twice else ROWS
            raise check.refuse("features", features, what)
        return cls(tuple(names), tuple(_categories(name, features.iloc[:, j]) for j, name in enumerate(names)))

    @property
    def encoded(self) -> list[str]:
        """The name of each column (d,) that the network sees: of a category, "colour=red"."""
        found: list[str] = []
        for name, kinds in zip(self.names, self.categories, strict=True):
            found += [name] if kinds is None else [f"{name}={kind}" for kind in kinds]
        return found

    def numbers(self, what: str, features: Any) -> np.ndarray:
        """The rows (n, d) of `encoded` columns, float64; NaN where a number is missing.

        Of a category that is missing, or that these columns do not have, every column is 0.
        """
        if not _is_frame(features):
            found = _array(what, features)
            mixed = any(kinds is not None for kinds in self.categories)
            if found.shape[1] != len(self.names) or mixed:
                more = "; some of them are categories, so pass a DataFrame" if mixed else ""
                raise check.refuse(what, features, f"the {len(self.names)} columns {_first(self.names)}{more}")
            return found
        named = {str(name): j for j, name in enumerate(features.columns)}
        lacking = [name for name in self.names if name not in named]
        if lacking:
            hint = check.suggest(lacking[0], named)
            raise ValueError(f"{what}: expected the columns {_first(self.names)}; it lacks {lacking[0]!r}{hint}")
        parts = []
        for name, kinds in zip(self.names, self.categories, strict=True):
            column = features.iloc[:, named[name]]
            if (kinds is None) is not (_categories(name, column) is None):
                other = "numbers" if kinds is None else "categories"
                raise ValueError(f"{what}: column {name!r} holds {column.dtype}, expected {other} as in the others")
            if kinds is None:
                parts.append(column.to_numpy(np.float64, na_value=np.nan)[:, None])
            else:
                parts.append(_written(column)[:, None] == np.array(kinds, object)[None])
        return np.concatenate(parts, 1, dtype=np.float64)

    def refuse_missing(self, what: str, rows: np.ndarray, features: Any, fill: bool) -> None:
        """ValueError, by column, where a number is infinite, or something is missing that is not to be filled in."""
        names = self.encoded
        wrong = [names[j] for j in np.flatnonzero(np.isinf(rows).any(0))]
        if wrong:
            raise ValueError(f"{what}: infinity in {_first(wrong)}; replace it, or leave such rows out")
        empty = {names[j]: int(n) for j, n in enumerate(np.isnan(rows).sum(0)) if n}
        for j, name in enumerate(self.names):
            if self.categories[j] is not None and (lost := int(features[_key(features, name)].isna().sum())):
                empty[name] = lost
        if empty and not fill:
            raise ValueError(
                f"{what}: missing values in {_first([f'{name!r} ({n:,})' for name, n in empty.items()])}; leave these "
                'rows or columns out, or pass missing="fill" (numbers: the median of the training rows; categories: '
                "none of them)"
            )


@dataclasses.dataclass(frozen=True)
class Scaling:
    """What the training rows (n, d) say of each column: the number for a missing one, and what is taken off and divided
    by. A column that is the same in all of them gets factor 0."""

    fill: np.ndarray
    mean: np.ndarray
    factor: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, standardise: bool, names: Sequence[str]) -> Scaling:
        empty = np.isnan(rows).all(0)
        if empty.any():
            which = _first([names[j] for j in np.flatnonzero(empty)])
            raise ValueError(f"features: no training row has a value in {which}; leave the column out")
        fill = np.nanmedian(rows, 0)
        filled = np.where(np.isnan(rows), fill, rows)
        d = len(names)
        if not standardise:
            return cls(fill, np.zeros(d), np.ones(d))
        same = filled.max(0) == filled.min(0)  # rounding alone gives such a column a standard deviation above 0
        std = np.where(same, 1.0, filled.std(0))
        return cls(fill, filled.mean(0), np.where(same, 0.0, 1.0 / std))

    def apply(self, what: str, rows: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """Rows (n, d) as they are stored: (n, 1, d, 1) float32."""
        # In float64 first: of the seconds since 1970, float32 keeps no minutes.
        scaled = (np.where(np.isnan(rows), self.fill, rows) - self.mean) * self.factor
        with np.errstate(over="ignore"):
            small = scaled.astype(np.float32)
        wrong = np.flatnonzero(~np.isfinite(small).all(0))
        if wrong.size:
            raise ValueError(f"{what}: numbers beyond float32 in {_first([names[j] for j in wrong])}; scale them down")
        return small[:, None, :, None]


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """All that a table was made from, so that another seed can split it anew.

    rows (n, d) float64 and targets (n,) in the order of the reader's classes; given: rows and targets of the parts that
    the reader has split off; arguments: of `table_lt`, checked.
    """

    columns: Columns
    rows: np.ndarray
    targets: np.ndarray
    given: Mapping[str, tuple[np.ndarray, np.ndarray]]
    class_names: tuple[str, ...]
    order: np.ndarray
    arguments: Mapping[str, Any]
    content: str

    def _split(self, seed: int) -> tuple[list[np.ndarray], dict[str, tuple[np.ndarray, np.ndarray]]]:
        """The rows of each class that are left for training, and rows and targets of validation and test."""
        asked, pool = self.arguments, []
        held: dict[str, list[np.ndarray]] = {part: [] for part in ("test", "validation") if part not in self.given}
        for c, name in enumerate(self.class_names):
            rows = np.random.RandomState([seed, c, 1]).permutation(np.flatnonzero(self.targets == c))
            n = len(rows)
            for part, of in held.items():
                amount = asked[part]
                size = max(1, round(amount * n)) if isinstance(amount, float) else amount
                of.append(rows[:size])
                rows = rows[size:]
            if not len(rows):
                what = ", ".join(f"{part}={asked[part]}" for part in held)
                raise ValueError(
                    f"class {name!r} has {n} rows, of which {what} leave none to train on; hold out less, pass parts "
                    "of your own, or remove the class"
                )
            pool.append(np.sort(rows))
        drawn = {part: np.sort(np.concatenate(of)) for part, of in held.items()}
        return pool, {**self.given, **{part: (self.rows[rows], self.targets[rows]) for part, rows in drawn.items()}}

    def cut(self, seed: int) -> Table:
        """Split by seed, draw the tail, scale by what is left for training."""
        asked, names, encoded = self.arguments, self.class_names, self.columns.encoded
        pool, parts = self._split(seed)
        # What rounding holds out can turn the order of two classes of nearly one size.
        order = np.array(sorted(self.order, key=lambda c: -len(pool[c])))
        drawn, n_max = draw(
            pool, order, names, asked["ratio"], asked["n_max"], asked["profile"], seed, asked.get("validation", 0)
        )
        train = np.concatenate(drawn)
        scaling = Scaling.of(self.rows[train], asked["standardise"], encoded)
        rank = np.empty(len(names), np.int64)
        rank[order] = np.arange(len(names))
        tensors = {"images": scaling.apply("features", self.rows[train], encoded), "targets": rank[self.targets[train]]}
        for part, prefix in (("validation", "val_"), ("test", "test_")):
            rows, targets = parts[part]
            turns = _in_turns(targets)
            tensors[f"{prefix}images"] = scaling.apply(part, rows[turns], encoded)
            tensors[f"{prefix}targets"] = rank[targets[turns]]
        spec = {"loader": "table_lt", **asked, **{part: "given" for part in self.given}, "n_max": n_max, "seed": seed}
        return Table(
            name=asked["name"], counts=torch.tensor([len(rows) for rows in drawn], device="cpu"),
            class_names=tuple(names[c] for c in order), mean=torch.zeros(1), std=torch.tensor([1 / 255]), pad=0,
            flip=False, spec=canonical({**spec, "columns": encoded, "content": self.content}),
            recipe="table" if len(train) <= FEW else "table_many",
            source=self, scaling=scaling, **{key: torch.from_numpy(value) for key, value in tensors.items()},
        )  # fmt: skip


@dataclasses.dataclass(eq=False, repr=False)
class Table(LongTailed):
    """Rows of a table as a data set: `images` (n, 1, d, 1) float32 are rows as the network sees them, shape (1, 1, d).

    `columns`: the names of the d columns. `encode(features)`: other rows, made like these.
    """

    source: Source
    scaling: Scaling

    @property
    def columns(self) -> list[str]:
        """The name of each of the d columns that the network sees."""
        return self.source.columns.encoded

    def encode(self, features: Any) -> np.ndarray:
        """Rows of the same columns as the network sees them, (m, 1, d, 1) float32: scaled by the training rows.

        ValueError for other columns, for infinity, and for missing values unless these data have missing="fill".
        """
        columns = self.source.columns
        rows = columns.numbers("features", features)
        columns.refuse_missing("features", rows, features, self.source.arguments["missing"] == "fill")
        return self.scaling.apply("features", rows, self.columns)

    def __repr__(self) -> str:
        d = len(self.columns)
        return super().__repr__().replace(f"training images of 1 x 1 x {d} in", f"training rows of {d} columns in", 1)

    def _made_again(self, seed: int | None = None) -> Table:
        return self.source.cut(self.spec["seed"] if seed is None else seed)


def table_lt(
    features: Any, targets: Any, *, class_names: Sequence[Any] | None = None, columns: Sequence[str] | None = None,
    test: Any = 0.25, validation: Any = 0.15, ratio: float | None = None, n_max: int | None = None,
    profile: str = "exp", seed: int = 0, missing: str = "refuse", standardise: bool = True, name: str = "table",
) -> Table:  # fmt: skip
    """Float features with labels as long-tailed data, on which `train` has an MLP.

    features: (n, d) numbers from numpy or torch, or a DataFrame: columns of numbers and booleans as they are, texts and
    categories as one column of 0 and 1 for each category (a category dtype's own order, texts sorted; at most 100).
    targets: (n,) labels in any form (numbers, texts, booleans, one-hot), or the name of a column of the DataFrame.
    class_names: what the labels are called, in the order of their numbers; class 0 of the data is the most frequent.
    columns: names for the columns of an array.

    test, validation: the share of each class's rows that is held out (at least one), or how many of each class, drawn
    by `seed`, as `with_seed` does again; or a pair (features, targets) that was split off before. validation=0: none.
    ratio=None keeps the classes as frequent as they are; a number cuts a long tail out (profile, n_max as in
    `cifar_lt`). missing: "refuse", or "fill": a missing number becomes the median of the training rows, a missing
    category is none of them. standardise: each column to mean 0 and standard deviation 1 by the training rows alone;
    one that is the same in all of them becomes 0.

    ValueError, naming argument and column, for what is missing or infinite, for dates and mixed columns, and for a
    class that has too few rows to be split. What plots call images are rows here.
    Recipes: "table", batches of 64; beyond 10,000 training rows "table_many", of 256.
    """
    seed, name = check.seed(seed), check.text("name", name)
    asked: dict[str, Any] = {
        "name": name, "ratio": None if ratio is None else check_ratio(ratio),
        "n_max": None if n_max is None else check.whole("n_max", n_max, 1),
        "profile": check.choice("profile", profile, PROFILES),
        "missing": check.choice("missing", missing, ("refuse", "fill")),
        "standardise": check.flag("standardise", standardise),
    }  # fmt: skip
    if ratio is None and (n_max is not None or asked["profile"] != "exp"):
        raise ValueError("ratio=None keeps all rows, so n_max and profile have no place; pass a ratio as well")
    pairs = {"features": _pair("features", features, targets)}
    for part, value in (("test", test), ("validation", validation)):
        if isinstance(value, (tuple, list)):
            if len(value) != 2:
                raise check.refuse(part, value, "a pair (features, targets), a share, or rows of each class")
            pairs[part] = _pair(part, *value)
        else:
            asked[part] = _amount(part, value)
    if asked.get("test") == 0:
        raise ValueError("test=0 leaves nothing to test on; hold out some rows, or pass test=(features, targets)")
    kinds = Columns.of(pairs["features"][0], columns)
    found = {}
    for part, (table, _) in pairs.items():
        found[part] = kinds.numbers(part, table)
        kinds.refuse_missing(part, found[part], table, missing == "fill")
    names, numbers = _classes({part: flat for part, (_, flat) in pairs.items()}, class_names)
    digest = hashlib.sha256()
    for part, rows in found.items():
        digest.update(f"{part} {rows.shape} {names}".encode() + rows.tobytes() + numbers[part].tobytes())
    given = {part: (found[part], numbers[part]) for part in PARTS if part in found}
    order = np.argsort(-np.bincount(numbers["features"], minlength=len(names)), kind="stable")
    source = Source(
        kinds, found["features"], numbers["features"], given, tuple(names), order, asked, digest.hexdigest()[:16]
    )
    return source.cut(seed)


# ------------------------------------------------------------------------------------------------------ what is given
def _is_frame(value: Any) -> bool:
    return hasattr(value, "columns") and hasattr(value, "iloc")


def _array(name: str, value: Any) -> np.ndarray:
    """Numbers (n, d) as float64."""
    if isinstance(value, Mapping) or hasattr(value, "toarray"):
        how = "pandas.DataFrame(...) of it" if isinstance(value, Mapping) else "its .toarray()"
        raise check.refuse(name, value, f"{ROWS}; pass {how}")
    if "bool" in str(getattr(value, "dtype", "")):
        value = check.to_array(value).astype(np.uint8)
    one = "; of one column pass features[:, None]" if getattr(value, "ndim", 2) == 1 else ""
    found = check.array(name, value, 2, f"{ROWS}; columns of several kinds need a DataFrame{one}")
    if not found.size:
        raise check.refuse(name, value, ROWS)
    return found.astype(np.float64)


def _names(columns: Any, d: int) -> list[str]:
    given = columns.tolist() if hasattr(columns, "tolist") else columns
    names = [str(one) for one in given] if isinstance(given, (list, tuple)) else []
    if len(names) != d or len(set(names)) < d:
        raise check.refuse("columns", columns, f"{d} different names, one for each column of features")
    return names


def _key(frame: Any, name: str) -> Any:
    return next(key for key in frame.columns if str(key) == name)


def _first(names: Sequence[str]) -> str:
    return ", ".join(map(str, names[:5])) + (f", ... ({len(names)} in all)" if len(names) > 5 else "")


def _categories(name: str, column: Any) -> tuple[str, ...] | None:
    """The categories of a column of pandas; None for numbers and booleans. ValueError for any other kind."""
    kind = column.dtype
    if hasattr(kind, "categories"):
        kinds = [str(one) for one in kind.categories]
    elif kind.kind in "biuf":
        return None
    elif kind.kind in "OTU" or str(kind).startswith("str"):
        values = [check.plain(one) for one in column[column.notna()].tolist()]
        if values and all(isinstance(one, (bool, int, float)) for one in values):
            return None
        if not all(isinstance(one, str) for one in values):
            other = next(one for one in values if not isinstance(one, str))
            raise ValueError(
                f"features: column {name!r} holds {check.shown(other)} beside other kinds; make it all numbers "
                "(pandas.to_numeric) or all texts (.astype(str))"
            )
        kinds = sorted(set(values))
    else:
        raise ValueError(
            f"features: column {name!r} holds {kind}; expected numbers, booleans, texts or categories; of a date pass "
            "a number, such as the days since the first"
        )
    if not kinds:
        raise ValueError(f"features: column {name!r} holds no value; leave it out")
    if len(kinds) > MOST_CATEGORIES or len(set(kinds)) < len(kinds):
        raise ValueError(
            f"features: column {name!r} holds {len(kinds):,} different texts, each of which would become a column; "
            f"leave it out, or group the rare ones (at most {MOST_CATEGORIES})"
        )
    return tuple(kinds)


def _written(column: Any) -> np.ndarray:
    """The category of each row as text, None where it is missing."""
    return np.array([None if lost else str(one) for one, lost in zip(column, column.isna(), strict=True)], object)


def _pair(part: str, features: Any, targets: Any) -> tuple[Any, np.ndarray]:
    """A table without the labels, and the labels (n,) as `labels.flat` makes them."""
    rows, truth = (f"{part}: features", f"{part}: targets") if part in PARTS else ("features", "targets")
    if isinstance(targets, str) or (_is_frame(features) and np.ndim(targets) == 0 and targets in features.columns):
        if not _is_frame(features):
            raise check.refuse(truth, targets, "a label for each row; a column's name needs a DataFrame")
        if targets not in features.columns:
            known = [str(one) for one in features.columns]
            near = check.suggest(targets, known)
            raise check.refuse(truth, targets, f"a label for each row, or one of the columns {_first(known)}{near}")
        features, targets = features.drop(columns=targets), features[targets]
    if targets is None:
        raise check.refuse(truth, targets, "a label for each row, or the name of a column")
    one, two = getattr(targets, "index", None), getattr(features, "index", None)
    if _is_frame(features) and hasattr(targets, "to_numpy") and len(one) == len(two) and not one.equals(two):
        raise ValueError(
            f"{truth}: their index differs from that of the features; sort one like the other "
            "(targets.loc[features.index]), or pass targets.to_numpy() if row by row they belong together"
        )
    if _is_frame(features) and not len(features):
        raise check.refuse(rows, features, ROWS)
    flat = labels.flat(truth, targets)
    n = len(features) if _is_frame(features) else len(_array(rows, features))
    if len(flat) != n:
        raise ValueError(f"{truth}: expected a label for each of the {n:,} rows of features, got {len(flat):,}")
    return features, flat


def _amount(part: str, value: Any) -> float | int:
    """A share below 1, or a whole number of rows of each class."""
    expected = "a share below 1, a whole number of rows of each class, or a pair (features, targets)"
    try:
        found = canonical(check.number(part, value, 0))
    except ValueError:
        raise check.refuse(part, value, expected) from None
    if isinstance(found, float) and found > 1:
        raise check.refuse(part, value, expected)
    return found


def _classes(
    flat: Mapping[str, np.ndarray], class_names: Sequence[Any] | None
) -> tuple[list[str], dict[str, np.ndarray]]:
    """The names of the classes, and the class number of every label. Without names, the training labels say them."""
    given = class_names
    if given is None and flat["features"].dtype != object:
        given = np.unique(flat["features"]).tolist()  # numbers with gaps, and -1 and 1, are classes too
        if len(given) < 2:
            raise check.refuse("targets", given[0] if given else None, "labels of at least two classes")
    known = labels.learn("targets", list(flat.values()), None, given)
    numbers = {part: known.numbers("targets" if part == "features" else part, one) for part, one in flat.items()}
    none = [name for name, n in zip(known.names, np.bincount(numbers["features"], minlength=known.k), strict=True)
            if not n]  # fmt: skip
    if none:
        raise ValueError(f"targets: no row of class {none[0]!r}; leave it out of class_names, or add rows")
    return known.names, numbers
