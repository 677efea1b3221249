"""The papers' numbers beside ours: data/published.csv as a table.

A number is only comparable with others of its *group*, the protocol it was obtained under: plain cross-entropy alone
ranges from 22.6 to 29.6% error on CIFAR-10-LT at ratio 100. And each paper reports its own best epoch, seed or
setting in its own way, so a point of difference between two papers means little.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from . import check
from .files import data_folder
from .methods import METHODS

if TYPE_CHECKING:
    import pandas

FILE = data_folder() / "published.csv"

#: The protocols behind the numbers. Compare within a group.
GROUPS = {
    "A": "ResNet-32, 200 epochs, batch 128, crop and flip, rate x 0.01 at epochs 160 and 180 (Cui 2019, Cao 2019)",
    "A'": "as A, with the rate x 0.01 at epochs 120 and 160 (Zhou 2020)",
    "B": "ResNet-32, 200 epochs, rate x 0.1 at epochs 160 and 180, weight decay 1e-4 (Menon 2021, paper)",
    "B+": "ResNet-32, 1,241 or 1,419 epochs, Nesterov momentum (Menon 2021, code)",
    "C": "ResNet-32, batch 512, 13,000 steps, cosine schedule, AutoAugment and Cutout (Ren 2020)",
    "D": "ResNet-32, 240 epochs; 25 images per class are held out for validation (Sinha 2020)",
    "E": "ResNet-32, the common code of the LADE paper (Hong 2021)",
    "F": "as reported by Darkwah & Kang 2023, two digits",
    "K": "90 epochs (ImageNet-LT) or a pretrained network (Places-LT), groups many > 100 and few < 20 (Kang 2020)",
    "O": "as K, with the groups of Liu 2019: many >= 100 and few <= 20",
    "-": "the protocol is not public, or was not stated where the number is quoted",
}
#: What `value` is; all in percent.
METRICS = {
    "error": "top-1 error",
    "accuracy": "top-1 accuracy",
    "accuracy_many": "mean accuracy of the many-shot classes",
    "accuracy_medium": "mean accuracy of the medium-shot classes",
    "accuracy_few": "mean accuracy of the few-shot classes",
    "balanced_accuracy": "mean over classes (and attributes) of the class's accuracy",
    "precision": "macro precision",
    "recall": "macro recall",
    "f1": "macro F1",
    "rank1": "retrieval: the nearest image is of the same identity",
    "rank5": "retrieval: one of the five nearest images is of the same identity",
    "map": "retrieval: mean average precision",
    "verification": "accuracy over pairs, same or not",
}
ON_TEST = "chosen on the test set"  # what a note says of such a number
FILTERS = ("dataset", "ratio", "key", "profile", "metric", "group", "method", "source")


def published(
    dataset: str | Iterable[str] | None = None,
    ratio: float | Iterable[float] | None = None,
    key: str | Iterable[str] | None = None,
    **filters: object,
) -> pandas.DataFrame:
    """Published results, one number a row, as a DataFrame.

    Columns: dataset, profile ("exp", "step", "natural"), ratio, method (the paper's name), key (ours, "" where we have
    none), metric, value (percent, as printed), group (protocol, see GROUPS), network, source, note, and accuracy (a
    fraction, comparable with a run's; NaN where the metric is no accuracy).
    Each filter takes one value or several: dataset "CIFAR-10-LT" (or "cifar10_lt"), ratio, key, profile, metric, group,
    method, source. Errors: an unknown filter, and a value that nothing has, with the nearest that there is. A method of
    ours without published numbers, or a ratio that no paper used, gives an empty table.
    """
    import pandas

    if not FILE.is_file():
        raise FileNotFoundError(
            f"the published numbers are read from {FILE}, which is not there: they come with a "
            "checkout of the repository (python -m pip install -e .), not with a copied package"
        )
    table = pandas.read_csv(FILE, dtype={"group": str, "note": str}, keep_default_na=False, na_values={"ratio": [""]})
    whole, percent = table, table["value"] / 100
    table["accuracy"] = percent.where(table["metric"].isin(["accuracy", "balanced_accuracy"]))
    table["accuracy"] = table["accuracy"].where(table["metric"] != "error", 1 - percent)
    wanted = {"dataset": dataset, "ratio": ratio, "key": key, **filters}
    for name, value in wanted.items():
        if name not in FILTERS:
            near = check.suggest(name, FILTERS)
            raise ValueError(f"published has no filter {name!r}{near}; it has: {', '.join(FILTERS)}")
        if value is None:
            continue
        values = list(value) if isinstance(value, (list, tuple, set, frozenset, range)) else [value]
        if not values:
            raise check.refuse(name, value, "one value, or several")
        if name == "ratio":
            values = [check.number("ratio", one, 1) for one in values]
        else:
            values = [_known(name, one, whole[name]) for one in values]
        table = table[table[name].isin(values)]
    return table.reset_index(drop=True)


class Report(Protocol):
    """What is known of a printed number: the protocol that it was obtained under, and who prints it."""

    group: str
    source: str


def comparable(a: Report, b: Report) -> bool:
    """Whether two numbers of one data set and ratio may be compared: they have one protocol. A protocol that is not
    stated ("-") is taken to be that of the other numbers of its source, and of no others."""
    return a.source == b.source if "-" in (a.group, b.group) else a.group == b.group


@functools.cache
def chosen_on_test() -> frozenset[tuple[str, str]]:
    """(source, method) of the numbers whose setting was chosen on the test images: too good beside one that was not."""
    table = published()
    found = table[table["note"].str.contains(ON_TEST, regex=False)]
    return frozenset(zip(found["source"], found["method"], strict=True))


def _known(name: str, value: Any, column: Any) -> str:
    """The value as the column spells it. ValueError where it has none such."""
    values = list(dict.fromkeys(column))
    if name == "dataset":
        spelled = {_plain(one): one for one in values}
        value = spelled.get(_plain(value), value) if isinstance(value, str) else value
    if name == "key" and isinstance(value, str) and value in METHODS:
        return METHODS[value].key
    if isinstance(value, str) and value in values:
        return value
    listed = f"; there are {', '.join(map(repr, filter(None, values)))}" if len(values) <= 30 else ""
    near = check.suggest(value, values) if isinstance(value, str) else ""
    raise ValueError(f"{name}={check.shown(value)}: no published number has this {name}{near}{listed}")


def _plain(name: str) -> str:
    """CIFAR-10-LT, cifar10_lt and cifar10-lt are one data set."""
    return "".join(c for c in str(name).lower() if c.isalnum())
