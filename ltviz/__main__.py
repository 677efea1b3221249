"""python -m ltviz <command>: train, tune, table."""

from __future__ import annotations

import os
import sys

from .check import suggest

COMMANDS = {
    "train": "train a method on a recipe's data and print its table",
    "tune": "look for a method's best settings; several processes may share the work",
    "table": "every recorded method, its accuracy by class groups and its difference to ce; or a paper's table",
}


def main(argv: list[str]) -> int:
    """Hand over to the command. Returns the exit status."""
    command = argv[0] if argv else ""
    if command not in COMMANDS:
        asked = command in ("-h", "--help")
        if command and not asked:
            print(f"ltviz has no command {command!r}{suggest(command, COMMANDS)}", file=sys.stderr)
        print("python -m ltviz <command> [--help]\n", *(f"  {c:<10} {h}" for c, h in COMMANDS.items()), sep="\n")
        return 0 if asked else 2
    from . import commands  # torch is imported only now

    try:
        return getattr(commands, f"main_{command}")(argv[1:])
    except BrokenPipeError:  # who reads has had enough, as in `python -m ltviz table | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the rest of the lines goes nowhere
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
