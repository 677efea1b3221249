"""The classes of a data set: their names, and which of them are frequent."""

from collections.abc import Mapping, Sequence

import numpy as np

from .. import check


def check_names(class_names: Sequence[str], k: int) -> tuple[str, ...]:
    """The names of k classes as a tuple: texts, one each, no two alike; ValueError otherwise."""
    expected = f"a list of {k} texts, the name of each class"
    if isinstance(class_names, (str, bytes, Mapping, set, frozenset)):
        raise check.refuse("class_names", class_names, expected)
    try:
        names = tuple(check.text("class_names", name) for name in class_names)
    except (TypeError, ValueError):
        raise check.refuse("class_names", class_names, expected) from None
    if len(names) != k:
        raise ValueError(f"class_names: expected {expected}, got {len(names)}")
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < k else []
    if twice:
        raise ValueError(
            f"class_names: {', '.join(map(check.shown, twice[:5]))} names more than one class; classes are"
            " told apart by their names, so give each its own"
        )
    return names


def order_classes(
    class_order: str | Sequence[int | str], class_names: Sequence[str], seed: int, **named: Sequence[int]
) -> np.ndarray:
    """The class of each rank, most frequent first, (k,): by name of an order, or a sequence of numbers or class names.

    "natural": the set's own numbering. "seed": RandomState(1000 + seed).permutation(k). `named`: a loader's own orders.
    """
    k, names = len(class_names), list(class_names)
    orders = {"natural": range(k), "seed": np.random.RandomState(1000 + check.seed(seed)).permutation(k), **named}
    if isinstance(class_order, str) and class_order in orders:
        return np.asarray(orders[class_order], np.int64)
    expected = f"each of the {k} classes once, most frequent first, as numbers 0 .. {k - 1} or by name"
    if isinstance(class_order, str):
        expected = f"one of {', '.join(map(repr, orders))}{check.suggest(class_order, orders)}, or {expected}"
        raise check.refuse("class_order", class_order, expected)
    try:
        if isinstance(class_order, (bytes, Mapping, set, frozenset)):
            raise TypeError("without an order")
        given = [names.index(c) if isinstance(c, str) else check.whole("class_order", c) for c in class_order]
    except (TypeError, ValueError):
        given = []
    if sorted(given) != list(range(k)):
        raise check.refuse("class_order", class_order, expected)
    return np.asarray(given, np.int64)


def plain_order(class_order: str | Sequence[int | str], order: np.ndarray, **fixed: Sequence[int]) -> str | list[int]:
    """A class order in one spelling, as JSON can keep it: the name of an order, or else the numbers of its classes.

    fixed: a loader's own orders that depend on neither seed nor images, by name.
    """
    if isinstance(class_order, str):
        return class_order
    known = {"natural": range(len(order)), **fixed}
    return next((name for name, one in known.items() if order.tolist() == list(one)), order.tolist())
