"""python -m ltviz <command>: train, record, table, notebooks, readme, benchmark."""

from __future__ import annotations

import importlib
import sys

from .check import suggest

COMMANDS = {
    "train": ("record", "train a method on a recipe's data and print its table"),
    "record": ("record", "train the grid behind the chapters and keep it in data/runs; goes on where it stopped"),
    "table": ("record", "every recorded method: balanced, head, mid and tail accuracy, and its difference to ce"),
    "notebooks": ("notebooks", "run every chapter and keep its figures"),
    "readme": ("readme", "write the README's method table"),
    "benchmark": ("benchmark", "measure our claims on this machine"),
}


def main(argv: list[str]) -> int:
    """Hand over to the command's module. Returns the exit status."""
    if not argv or argv[0] not in COMMANDS:
        if argv and argv[0] not in ("-h", "--help"):
            print(f"ltviz has no command {argv[0]!r}{suggest(argv[0], COMMANDS)}", file=sys.stderr)
        print("python -m ltviz <command> [--help]\n", *(f"  {c:<10} {h}" for c, (_, h) in COMMANDS.items()), sep="\n")
        return 0 if argv and argv[0] in ("-h", "--help") else 2
    module = importlib.import_module(f".{COMMANDS[argv[0]][0]}", __package__)
    entry = getattr(module, f"main_{argv[0]}", None) or module.main
    return entry(argv[1:]) or 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
