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


def method_table() -> str:
    """METHODS as a Markdown table: one row a method, with the names to type."""
    rows = METHODS.rows()
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    for row in rows:
        cells = {name: value.replace("|", "\\|") for name, value in row.items()} | {"key": f"`{row['key']}`"}
        lines.append("| " + " | ".join(cells.values()) + " |")
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
    filled = fill(text)
    if given.check and filled != text:
        print("the method table in README.md is stale: python -m tools.readme", file=sys.stderr)
        return 1
    if filled != text:
        write_atomically(README, filled.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
