"""How a reader's columns become the numbers that a network sees, for the rows of a table and for those that come later.

An `Encoder` is kept by the data set and, as JSON, by every run on it, so that new rows are made like those of training.
"""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import check

MOST_CATEGORIES = 100  # of one column; each becomes a column of its own
ROWS = "numbers (n, d), a row for each label: an array, a tensor or a DataFrame"
FAR = 20.0  # standard deviations: rows beyond it, and beyond twice what training rows reach, are hardly scaled
OUTLIERS = 0.1  # share of rows that may lie there


@dataclasses.dataclass(frozen=True)
class Columns:
    """How a reader's columns become numbers: their names, and the categories of each (None: it is a number)."""

    names: tuple[str, ...]
    categories: tuple[tuple[str, ...] | None, ...]

    @classmethod
    def of(cls, features: Any, columns: Sequence[str] | None) -> Columns:
        """Those of an array (n, d), named by `columns` or by number, or of a DataFrame, which has names."""
        if not is_frame(features):
            d = as_rows("features", features).shape[1]
            names = [str(j) for j in range(d)] if columns is None else _names(columns, d)
            return cls(tuple(names), (None,) * d)
        if columns is not None:
            raise check.refuse("columns", columns, "None beside a DataFrame, whose columns have names")
        names = [str(name) for name in features.columns]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice or not names:
            what = f"columns of different names, got {', '.join(map(check.shown, twice[:5]))} twice" if twice else ROWS
            raise check.refuse("features", features, what)
        found = cls(tuple(names), tuple(_categories(name, features.iloc[:, j]) for j, name in enumerate(names)))
        seen = found.encoded
        if len(set(seen)) < len(seen):
            one = next(name for name in seen if seen.count(name) > 1)
            raise ValueError(
                f"features: a column {one!r} stands beside one that becomes {one!r} by its category; rename one of them"
            )
        return found

    @property
    def encoded(self) -> list[str]:
        """The name of each column (d,) that the network sees: of a category, "colour=red"."""
        return [name for of in self.blocks.values() for name in of]

    @property
    def blocks(self) -> dict[str, list[str]]:
        """Name of each of the reader's columns -> names of the columns that it becomes."""
        return {
            name: [name] if kinds is None else [f"{name}={kind}" for kind in kinds]
            for name, kinds in zip(self.names, self.categories, strict=True)
        }

    def numbers(self, what: str, features: Any, fill: bool) -> np.ndarray:
        """The rows (n, d) of `encoded` columns, float64; NaN where a number is missing.

        fill: whether something may be missing; of a category that is missing, or unknown here, every column is then 0.
        ValueError, by column, otherwise; for other columns, and for infinity.
        """
        if is_frame(features):
            rows, empty, strange = self._of_frame(what, features)
        else:
            rows, empty, strange = as_rows(what, features), {}, {}
            mixed = any(kinds is not None for kinds in self.categories)
            if rows.shape[1] != len(self.names) or mixed:
                more = "; some of them are categories, so pass a DataFrame" if mixed else ""
                raise check.refuse(what, features, f"the {len(self.names)} columns {first(self.names)}{more}")
        names = self.encoded
        wrong = [names[j] for j in np.flatnonzero(np.isinf(rows).any(0))]
        if wrong:
            raise ValueError(f"{what}: infinity in {columns_called(wrong)}; replace it, or leave such rows out")
        empty = {names[j]: int(n) for j, n in enumerate(np.isnan(rows).sum(0)) if n} | empty
        if strange and not fill:
            told = "; ".join(f"column {name!r} holds {check.shown(one)}" for name, one in list(strange.items())[:5])
            raise ValueError(
                f"{what}: {told}, which is none of the categories that these data were made with; leave such rows out, "
                'or make the data with missing="fill" (then it is none of them)'
            )
        if empty and not fill:
            raise ValueError(
                f"{what}: missing values in {first([f'{name!r} ({n:,})' for name, n in empty.items()])}; leave these "
                'rows or columns out, or pass missing="fill" (numbers: the median of the training rows; categories: '
                "none of them)"
            )
        return rows

    def _of_frame(self, what: str, features: Any) -> tuple[np.ndarray, dict[str, int], dict[str, str]]:
        """The rows, how many categories are missing in a column, and one in each that is not known."""
        named = {str(name): j for j, name in enumerate(features.columns)}
        lacking = [name for name in self.names if name not in named]
        if lacking:
            hint = check.suggest(lacking[0], named)
            raise ValueError(f"{what}: expected the columns {first(self.names)}; it lacks {lacking[0]!r}{hint}")
        if not len(features):
            raise check.refuse(what, features, "at least one row")
        parts, empty, strange = [], {}, {}
        for name, kinds in zip(self.names, self.categories, strict=True):
            column = features.iloc[:, named[name]]
            if kinds is None:
                nothing = column.dtype == object and column.isna().all()
                if not nothing and _categories(name, column, most=None) is not None:
                    raise ValueError(f"{what}: column {name!r} holds {column.dtype}, expected numbers as in the others")
                parts.append(column.to_numpy(np.float64, na_value=np.nan)[:, None])
                continue
            if column.notna().any() and _categories(name, column, most=None) is None:
                raise ValueError(f"{what}: column {name!r} holds {column.dtype}, expected categories as in the others")
            codes, there = column.factorize()  # -1: missing
            told = [str(one) for one in there]
            unknown = [one for one in told if one not in kinds]
            of = np.array([kinds.index(one) if one in kinds else -1 for one in told] + [-1])
            parts.append(of[codes][:, None] == np.arange(len(kinds)))
            if (codes < 0).any():
                empty[name] = int((codes < 0).sum())
            if unknown:
                strange[name] = unknown[0]
        return np.concatenate(parts, 1, dtype=np.float64), empty, strange


@dataclasses.dataclass(frozen=True)
class Scaling:
    """What the training rows (n, d) say of each column: the number for a missing one, and what is taken off and divided
    by. A column that is the same in all of them gets factor 0."""

    fill: np.ndarray
    mean: np.ndarray
    factor: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, standardise: bool, may_lack: bool, names: Sequence[str]) -> Scaling:
        """Of the training rows (n, d). ValueError, by column, where they have no value, or none that can be scaled.

        may_lack: whether values may be missing, so that a number for them is needed.
        """
        lost = np.isnan(rows)
        if lost.all(0).any():
            which = columns_called([names[j] for j in np.flatnonzero(lost.all(0))])
            raise ValueError(f"features: no training row has a value in {which}; leave the column out")
        d, fill, filled = len(names), np.zeros(len(names)), rows
        if may_lack:
            fill = np.nanmedian(rows, 0)
            filled = np.where(lost, fill, rows)
        if not standardise:
            return cls(fill, np.zeros(d), np.ones(d))
        high, low = filled.max(0), filled.min(0)
        # Squares of numbers beyond 1e154 overflow, those below 1e-154 vanish: a power of two, which rounds nothing, is
        # taken out first.
        power = np.frexp(np.maximum(np.abs(high), np.abs(low)))[1]
        near = np.ldexp(filled, -power)
        same = high == low  # rounding alone gives such a column a standard deviation above 0
        with np.errstate(over="ignore"):
            mean = np.ldexp(near.mean(0), power)
            factor = np.where(same, 0.0, np.ldexp(1.0 / np.where(same, 1.0, near.std(0)), -power))
        wrong = [names[j] for j in np.flatnonzero(~np.isfinite(mean) | ~np.isfinite(factor))]
        if wrong:
            raise ValueError(
                f"features: the numbers in {columns_called(wrong)} are too large or too small for a standard deviation "
                "in float64; give the column in other units"
            )
        return cls(fill, mean, factor)

    def apply(self, what: str, rows: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """Rows (n, d) as they are stored: (n, 1, d, 1) float32."""
        # In float64 first: of the seconds since 1970, float32 keeps no minutes.
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            scaled = (np.where(np.isnan(rows), self.fill, rows) - self.mean) * self.factor
            small = scaled.astype(np.float32)
        wrong = np.flatnonzero(~np.isfinite(small).all(0))
        if wrong.size:
            todo = "they lie far from the training rows" if (self.factor != 1.0).any() else "scale them down"
            raise ValueError(f"{what}: numbers beyond float32 in {columns_called([names[j] for j in wrong])}; {todo}")
        gone = np.flatnonzero((scaled != 0).any(0) & ~small.any(0))
        if gone.size:
            which = columns_called([names[j] for j in gone])
            raise ValueError(f"{what}: numbers so small in {which} that float32 holds only 0 of them; scale them up")
        return small[:, None, :, None]


@dataclasses.dataclass(frozen=True, eq=False)
class Encoder:
    """Columns, their scaling, whether missing values are filled in, and the largest size (d,) that the stored training
    rows reach. `record` and `of_record`: as JSON."""

    columns: Columns
    scaling: Scaling
    fill: bool
    reach: np.ndarray

    def encode(self, what: str, features: Any) -> np.ndarray:
        """The reader's rows as the network sees them, (m, 1, d, 1) float32. ValueError as `Columns.numbers`."""
        rows = self.columns.numbers(what, features, self.fill)
        return self.scaling.apply(what, rows, self.columns.encoded)

    def warn_of_raw(self, what: str, rows: np.ndarray) -> None:
        """Warn where numbers (n, d) that should be scaled lie far beyond the training rows, not in a few rows alone."""
        if (self.scaling.mean == 0).all() and (self.scaling.factor == 1).all():
            return
        wrong = np.flatnonzero((np.abs(rows) > np.maximum(FAR, 2 * self.reach)).mean(0) > OUTLIERS)
        if wrong.size:
            names = self.columns.encoded
            largest = float(np.abs(rows[:, wrong]).max())
            warnings.warn(
                f"{what}: up to {largest:.3g} standard deviations from the mean in "
                f"{columns_called([names[j] for j in wrong])}, where training rows reach "
                f"{float(self.reach[wrong].max()):.3g}: these look like rows that are not scaled yet; pass "
                "data.encode(features), or a DataFrame with the columns of the training table",
                stacklevel=9,
            )

    def record(self) -> dict[str, Any]:
        numbers = {name: value.tolist() for name, value in vars(self.scaling).items()}
        kinds = [None if of is None else list(of) for of in self.columns.categories]
        return dict(names=list(self.columns.names), categories=kinds, missing="fill" if self.fill else "refuse",
                    reach=self.reach.tolist(), **numbers)  # fmt: skip

    @classmethod
    def of_record(cls, kept: Mapping[str, Any]) -> Encoder:
        kinds = tuple(None if of is None else tuple(of) for of in kept["categories"])
        scaling = Scaling(*(np.array(kept[name], np.float64) for name in ("fill", "mean", "factor")))
        columns = Columns(tuple(kept["names"]), kinds)
        return cls(columns, scaling, kept["missing"] == "fill", np.array(kept["reach"], np.float64))


def is_frame(value: Any) -> bool:
    """Whether it is a DataFrame."""
    return hasattr(value, "columns") and hasattr(value, "iloc")


def as_rows(name: str, value: Any) -> np.ndarray:
    """Numbers (n, d) as float64, in the memory of the value where it holds these already."""
    if isinstance(value, Mapping) or hasattr(value, "toarray"):
        how = "pandas.DataFrame(...) of it" if isinstance(value, Mapping) else "its .toarray()"
        raise check.refuse(name, value, f"{ROWS}; pass {how}")
    if "bool" in str(getattr(value, "dtype", "")):
        value = check.to_array(value).astype(np.uint8)
    one = "; of one column pass features[:, None]" if getattr(value, "ndim", 2) == 1 else ""
    found = check.array(name, value, 2, f"{ROWS}; columns of several kinds need a DataFrame{one}")
    if not found.size:
        raise check.refuse(name, value, ROWS)
    return found.astype(np.float64, copy=False)


def first(names: Sequence[str]) -> str:
    """The first of some names, and how many there are."""
    return ", ".join(map(str, names[:5])) + (f", ... ({len(names)} in all)" if len(names) > 5 else "")


def columns_called(names: Sequence[str]) -> str:
    """ "column 'a'", or "columns 'a', 'b'"."""
    return f"column{'s' if len(names) > 1 else ''} {first([repr(name) for name in names])}"


def _names(columns: Any, d: int) -> list[str]:
    given = columns.tolist() if hasattr(columns, "tolist") else columns
    names = [str(one) for one in given] if isinstance(given, (list, tuple)) else []
    if len(names) != d or len(set(names)) < d:
        raise check.refuse("columns", columns, f"{d} different names, one for each column of features")
    return names


def _categories(name: str, column: Any, most: int | None = MOST_CATEGORIES) -> tuple[str, ...] | None:
    """The categories of a column of pandas; None for numbers and booleans. ValueError for any other kind."""
    kind = column.dtype
    if hasattr(kind, "categories"):
        kinds = [str(one) for one in kind.categories]
    elif kind.kind in "biuf":
        return None
    elif kind.kind in "OTU" or str(kind).startswith("str"):
        try:
            values = [check.plain(one) for one in column.dropna().unique().tolist()]
        except TypeError:  # lists and the like
            values = [one for one in column.dropna().tolist() if type(one).__hash__ is None]
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
    if most is None:
        return tuple(kinds)
    numbers = [] if hasattr(kind, "categories") else _written_numbers(kinds)
    told = f"; {len(numbers):,} of them are numbers written as text{_how_to_read(kinds, numbers)}" if numbers else ""
    if len(kinds) > most or len(set(kinds)) < len(kinds):
        raise ValueError(
            f"features: column {name!r} holds {len(kinds):,} different texts, each of which would become a column; "
            f"leave it out, or group the rare ones (at most {most}){told}"
        )
    if told:
        warnings.warn(
            f"features: column {name!r} becomes {len(kinds)} columns, one for each of its texts{told}; if they are "
            "categories, say so by .astype('category')",
            stacklevel=5,
        )
    return tuple(kinds)


def _written_numbers(kinds: Sequence[str]) -> list[str]:
    """Texts that are numbers, where most are, and not simply whole codes: "12,5", or "31" beside "unknown"."""
    found = [one for one in kinds if re.fullmatch(r"\s*[-+]?\d+([.,]\d+)?\s*", one)]
    codes = len(found) == len(kinds) and not any(sign in one for one in found for sign in ".,")
    return [] if codes or len(found) < max(3, len(kinds) / 2) else found


def _how_to_read(kinds: Sequence[str], numbers: Sequence[str]) -> str:
    others = [repr(one) for one in kinds if one not in set(numbers)]
    comma = any("," in one for one in numbers)
    how = "replace the decimal comma (.str.replace(',', '.')), then pandas.to_numeric" if comma else "pandas.to_numeric"
    return (f", others are {first(others)}" if others else "") + f": make it a number ({how}, errors='coerce')"
