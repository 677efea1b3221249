"""The README's method table, generated: `python -m tools.readme` writes it, a test fails when it is stale."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ltviz.files import write_atomically
from ltviz.methods import METHODS

README = Path(__file__).resolve().parent.parent / "README.md"
START, END = "<!-- methods: made by `python -m tools.readme` -->", "<!-- end of methods -->"


# Where each method is taught; those of the last line of chapter 09 stand on the chart of all methods at its end.
CHAPTERS = {
    "02_what_softmax_learns": "ce",
    "03_decide_again": "logit_adjusted logit_adjustment balanced_softmax tau_norm ncm crt lws class_balanced_sampling "
    "square_root_sampling progressive_sampling undersampling oversampling",
    "04_class_balanced_loss": "class_balanced inverse_frequency sigmoid",
    "05_focal_loss": "focal focal_drw",
    "06_margins_and_deferral": "l2_constrained normface cosface am_softmax ldam ldam_drw ce_drw ce_drs range",
    "07_dual_loss": "ring up dual_ring darl dual",
    "08_class_rectification": "crl",
    "09_class_difficulty": "cdb tricdb triplet contrastive vs label_smoothing mixup seesaw equalization oltr fslwf",
    "11_recognition": "arcface",
    "12_attributes": "lmle",
}


def method_table() -> str:
    """METHODS as a Markdown table: one row a method, with the names to type and the chapter that teaches it."""
    rows, where = METHODS.rows(), {key: name for name, keys in CHAPTERS.items() for key in keys.split()}
    lines = ["| " + " | ".join([*rows[0], "chapter"]) + " |", "|" + "---|" * (len(rows[0]) + 1)]
    for row in rows:
        cells = {name: value.replace("|", "\\|") for name, value in row.items()} | {"key": f"`{row['key']}`"}
        if row["key"] not in where:
            raise ValueError(f"{row['key']} is in no chapter: add it to CHAPTERS in tools/readme.py")
        name = where[row["key"]]
        lines.append("| " + " | ".join([*cells.values(), f"[{name[:2]}](notebooks/{name}.ipynb)"]) + " |")
    return "\n".join(lines)


def fill(text: str) -> str:
    """`text` with the table of today between its two markers; ValueError where a marker is missing."""
    for marker in (START, END):
        if text.count(marker) != 1:
            raise ValueError(f"README.md must hold the line {marker!r} once, and holds it {text.count(marker)} times")
    before, rest = text.split(START)
    return f"{before}{START}\n{method_table()}\n{END}{rest.split(END)[1]}"


def main(argv: Sequence[str] | None = None) -> int:
    """The command line: write the table into README.md, or with --check say whether it is stale. Returns the status."""
    parser = argparse.ArgumentParser(prog="python -m tools.readme", description="Write the README's method table.")
    parser.add_argument("--check", action="store_true", help="write nothing; the status says whether it is stale")
    given = parser.parse_args(argv)
    text = README.read_text(encoding="utf-8")
    try:
        filled = fill(text)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    if given.check and filled != text:
        print("the method table in README.md is stale: python -m tools.readme", file=sys.stderr)
        return 1
    if filled != text:
        write_atomically(README, filled.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
