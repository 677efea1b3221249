"""Rows of numbers as long-tailed data: a numpy array, a tensor or a DataFrame, split, encoded and standardised."""

from __future__ import annotations

import dataclasses
import hashlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from .. import check, labels
from ..files import canonical
from .columns import ROWS, Columns, Encoder, Scaling, as_rows, columns_called, first, is_frame
from .longtailed import LongTailed, _in_turns
from .profiles import PROFILES, check_ratio, draw, share_or_number

PARTS = ("validation", "test")
HELD = "a share below 1, a whole number of rows of each class (1, not 1.0), or a pair (features, targets)"
FEW = 10_000  # training rows; of more, larger batches train as well in less time


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
        asked, pool, short = self.arguments, [], {}
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
                short[name] = check.many(n, "row")
            pool.append(np.sort(rows))
        if short:
            (name, n), *others = short.items()
            told = first([f"{one!r} ({of})" for one, of in short.items()])
            which = f"classes {told} have so few rows that" if others else f"class {name!r} has {n}, of which"
            raise ValueError(
                f"{which} {', '.join(f'{part}={asked[part]}' for part in held)} leave none to train on; hold out less, "
                f"pass parts of your own, or remove the class{'es' if others else ''}"
            )
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
        scaling = Scaling.of(self.rows[train], asked["standardise"], asked["missing"] == "fill", encoded)
        rank = np.empty(len(names), np.int64)
        rank[order] = np.arange(len(names))
        tensors = {"images": scaling.apply("features", self.rows[train], encoded), "targets": rank[self.targets[train]]}
        for part, prefix in (("validation", "val_"), ("test", "test_")):
            rows, targets = parts[part]
            turns = _in_turns(targets)
            tensors[f"{prefix}images"] = scaling.apply(part, rows[turns], encoded)
            tensors[f"{prefix}targets"] = rank[targets[turns]]
        spec = {"loader": "table_lt", **asked, **{part: "given" for part in self.given}, "n_max": n_max, "seed": seed}
        encoder = Encoder(self.columns, scaling, asked["missing"] == "fill", _reach(tensors["images"]))
        return Table(
            name=asked["name"], counts=torch.tensor([len(rows) for rows in drawn], device="cpu"),
            class_names=tuple(names[c] for c in order), mean=torch.zeros(1), std=torch.tensor([1 / 255]), pad=0,
            flip=False,
            spec=canonical({**spec, "columns": encoded, "content": self.content, "encoder": encoder.record()}),
            recipe="table" if len(train) <= FEW else "table_many",
            source=self, encoder=encoder, **{key: torch.from_numpy(value) for key, value in tensors.items()},
        )  # fmt: skip


@dataclasses.dataclass(eq=False, repr=False)
class Table(LongTailed):
    """Rows of a table as a data set: `images` (n, 1, d, 1) float32 are rows as the network sees them, shape (1, 1, d).

    `columns`: the names of the d columns. `encode(features)`: other rows, made like these.
    """

    source: Source
    encoder: Encoder

    @property
    def scaling(self) -> Scaling:
        """What the training rows say of each of the d columns."""
        return self.encoder.scaling

    @property
    def columns(self) -> list[str]:
        """The name of each of the d columns that the network sees."""
        return self.source.columns.encoded

    def encode(self, features: Any) -> np.ndarray:
        """Rows of the same columns as the network sees them, (m, 1, d, 1) float32: scaled by the training rows.

        ValueError for other columns, for infinity, and, unless these data have missing="fill", for missing values and
        for categories that they do not know.
        """
        return self.encoder.encode("features", features)

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
    category is none of them, nor is one that is new to `encode`. standardise: each column to mean 0 and standard
    deviation 1 by the training rows alone; one that is the same in all of them becomes 0.

    ValueError, naming argument and column, for what is missing or infinite, for dates and mixed columns, and for a
    class that has too few rows to be split. UserWarning for a column that is the label in other words, and for
    validation and test rows that are training rows as well. What plots call images are rows here.
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
                raise check.refuse(part, value, HELD)
            pairs[part] = _pair(part, *value)
        else:
            asked[part] = share_or_number(part, value, HELD)
    if asked.get("test") == 0:
        raise ValueError("test=0 leaves nothing to test on; hold out some rows, or pass test=(features, targets)")
    kinds = Columns.of(pairs["features"][0], columns)
    found = {}
    for part, (table, _) in pairs.items():
        found[part] = kinds.numbers(part, table, missing == "fill")
    names, numbers = _classes({part: flat for part, (_, flat) in pairs.items()}, class_names)
    given = {part: (found[part], numbers[part]) for part in PARTS if part in found}
    order = np.argsort(-np.bincount(numbers["features"], minlength=len(names)), kind="stable")
    content = _digest(found, numbers, names)
    source = Source(kinds, found["features"], numbers["features"], given, tuple(names), order, asked, content)
    _warn_of_labels(source)
    data = source.cut(seed)
    _warn_of_copies(data)
    return data


# ------------------------------------------------------------------------------------------------------ what is given
def _pair(part: str, features: Any, targets: Any) -> tuple[Any, np.ndarray]:
    """A table without the labels (an array as a copy of its own), and the labels (n,) as `labels.flat` makes them."""
    rows, truth = (f"{part}: features", f"{part}: targets") if part in PARTS else ("features", "targets")
    if targets is None or isinstance(targets, Mapping):
        raise check.refuse(truth, targets, "a label for each row, or the name of a column")
    if is_frame(features):
        if not len(features):
            raise check.refuse(rows, features, ROWS)
        features, targets = _frame_pair(rows, truth, features, targets)
    elif isinstance(targets, str):
        raise check.refuse(truth, targets, "a label for each row; a column's name needs a DataFrame")
    else:
        features = np.array(as_rows(rows, features))  # the reader may go on with the original
    flat = labels.flat(truth, targets)
    if len(flat) != len(features):
        raise ValueError(
            f"{truth}: expected a label for each of the {len(features):,} rows of features, got {len(flat):,}"
        )
    return features, flat


def _frame_pair(rows: str, truth: str, features: Any, targets: Any) -> tuple[Any, Any]:
    """A DataFrame without the column of the labels, and the labels, which `targets` names or is."""
    if features.columns.nlevels > 1:
        raise ValueError(
            f"{rows}: its columns have names on {features.columns.nlevels} levels; join them first: "
            'features.columns = [" ".join(map(str, one)) for one in features.columns]'
        )
    if isinstance(targets, str) or np.ndim(targets) == 0:
        if targets not in features.columns:
            known = [str(one) for one in features.columns]
            near = check.suggest(targets, known)
            raise check.refuse(truth, targets, f"a label for each row, or one of the columns {first(known)}{near}")
        return features.drop(columns=targets), features[targets]
    if is_frame(targets) and targets.shape[1] == 1:
        targets = targets.iloc[:, 0]
    one, two = getattr(targets, "index", None), features.index
    if not hasattr(targets, "to_numpy") or len(one) != len(two):
        return features, targets
    if not one.equals(two):
        raise ValueError(
            f"{truth}: their index differs from that of the features; sort one like the other "
            "(targets.loc[features.index]), or pass targets.to_numpy() if row by row they belong together"
        )
    name = getattr(targets, "name", None)
    if name is not None and (features.columns == name).sum() == 1 and features[name].equals(targets):
        raise ValueError(
            f"{truth}: they are the column {name!r} of features, which would be learned from; pass targets={name!r}, "
            "or features without it"
        )
    return features, targets


def _digest(rows: Mapping[str, np.ndarray], numbers: Mapping[str, np.ndarray], names: Sequence[str]) -> str:
    """A short hash of the rows and class numbers of every part."""
    digest = hashlib.sha256()
    for part, of in rows.items():
        digest.update(f"{part} {of.shape} {names}".encode() + of.tobytes() + numbers[part].tobytes())
    return digest.hexdigest()[:16]


def _warn_of_labels(source: Source) -> None:
    """Warn of columns in which every class has a value of its own, and every row that of its class."""
    at = np.array([np.flatnonzero(source.targets == c)[0] for c in range(len(source.class_names))])
    some, place, told = np.linspace(0, len(source.targets) - 1, 100).astype(int), 0, []
    for name, encoded in source.columns.blocks.items():
        block = source.rows[:, place : place + len(encoded)]
        place += len(encoded)
        own = block[at]
        if len(np.unique(own, axis=0)) == len(at) and all(
            np.array_equal(block[rows], own[source.targets[rows]]) for rows in (some, slice(None))
        ):
            told.append(name)
    if told:
        warnings.warn(
            f"features: {columns_called(told)} {'tells' if len(told) == 1 else 'tell'} the class of every row, each "
            "class by one value of its own: the labels once more? If so, leave it out",
            stacklevel=3,
        )


def _warn_of_copies(data: Table) -> None:
    """Warn of validation and test rows that are training rows as well, as the network sees them."""
    train, told = np.sort(_hashes(data.images)), []
    for part, images in (("test", data.test_images), ("validation", data.val_images)):
        own = _hashes(images)
        number = int((train[np.searchsorted(train, own).clip(max=len(train) - 1)] == own).sum())
        told += [f"{number:,} of {check.many(len(images), f'{part} row')}"] if number else []
    if told:
        warnings.warn(
            f"features: {' and '.join(told)} also stand among the training rows, so that accuracy there may be too "
            "high; drop copies first (features.drop_duplicates()), unless different cases can have equal rows",
            stacklevel=3,
        )


def _hashes(images: torch.Tensor) -> np.ndarray:
    """A number (n,) for each row; equal rows have the same, others hardly ever."""
    rows, found = images.flatten(1).numpy(), np.zeros(len(images), np.uint64)
    for first_row in range(0, len(rows), 2**14):  # so few fit into a cache
        part = found[first_row : first_row + 2**14]
        for column in (rows[first_row : first_row + 2**14].T + np.float32(0)).view(np.uint32):  # -0 is 0
            part ^= column
            part *= np.uint64(0x9E3779B97F4A7C15)
            part ^= part >> np.uint64(29)
    return found


def _reach(images: np.ndarray) -> np.ndarray:
    """The largest size (d,) of each column of stored rows (n, 1, d, 1)."""
    return np.abs(images[:, 0, :, 0]).max(0).astype(np.float64)


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
