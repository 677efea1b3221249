"""The recorded runs on the digits' attributes, and how the methods compare at each imbalance."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import check
from ..files import data_folder, read_table, shipped
from ..metrics.comparison import line_beside
from .run import AttributeRun, load_attribute_run

if TYPE_CHECKING:
    import pandas

RECORDED = data_folder() / "runs" / "attributes" / "digits.csv"
NETWORK = RECORDED.with_name("plain.safetensors")  # of cross-entropy under seed 0
BASE = "CE"
# Which attributes, by imbalance: from the first number on, up to the second.
BANDS = {
    "all": (1.0, np.inf), "below 3 : 1": (1.0, 3.0), "3 : 1 to 15 : 1": (3.0, 15.0), "beyond 15 : 1": (15.0, np.inf)
}  # fmt: skip
JUDGED = ("balanced", "accuracy", "recall_rare")


def recorded(file: str | Path = RECORDED) -> pandas.DataFrame:
    """The recorded runs on `digits_attributes`, one line a run and attribute; made by `python -m tools.attributes`.

    Columns: row (the method's name in the papers), method, settings (JSON), seed (of data and run), attribute,
    imbalance, positives (training images of the rarest value), balanced (mean recall), accuracy,
    recall_rare (of the rarest value), status, seconds (of the run, on a machine with other work), run (its id). Shares,
    not percent.
    """
    return read_table(check.path("file", file), "python -m tools.attributes")


def plain() -> AttributeRun:
    """The recorded plain network of seed 0 with its weights, trained on `digits_attributes(seed=0)`."""
    return load_attribute_run(shipped(NETWORK, "python -m tools.attributes"))


def compare(table: pandas.DataFrame | None = None, band: str = "all", metric: str = "balanced") -> pandas.DataFrame:
    """Each row of the recorded table beside cross-entropy, as means over the attributes of a band, paired by seed.

    table: as `recorded` gives it; None: recorded().
    band: "all" or another of BANDS, by imbalance; metric: balanced, accuracy or recall_rare. Columns: attributes,
    seeds, mean, half (of the 95% interval of the mean), difference to cross-entropy, its 95% interval low, high, and
    the verdict of `metrics.paired`. Luck alone calls about one of twenty comparisons suggestive.
    """
    import pandas

    low, high = BANDS[check.choice("band", band, BANDS)]
    check.choice("metric", metric, JUDGED)
    table = recorded() if table is None else table
    needed = ["row", "seed", "attribute", "imbalance", metric]
    if not set(needed) <= set(getattr(table, "columns", ())):
        raise check.refuse("table", table, f"a table with the columns {', '.join(needed)}: attributes.recorded()")
    words = [name for name in ("seed", "imbalance", metric) if not pandas.api.types.is_numeric_dtype(table[name])]
    if words:
        raise check.refuse("table", table, f"numbers in the column {words[0]!r}")
    usual = table.groupby("attribute")["imbalance"].mean()  # one band for an attribute, whatever the seed
    inside = usual[(usual >= low) & (usual < high)].index
    chosen = table[table["attribute"].isin(inside)]
    by_row = {name: part.groupby("seed")[metric].mean() for name, part in chosen.groupby("row", sort=False)}
    if BASE not in by_row:
        raise ValueError(f"table: it has no row {BASE!r} in this band, which the others are compared with")
    lines = {name: {"attributes": len(inside), **line_beside(of, by_row[BASE])} for name, of in by_row.items()}
    return pandas.DataFrame.from_dict(lines, orient="index").rename_axis("row")
