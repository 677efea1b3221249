"""The command line: python -m tools.benchmark [claims | losses | page | gpu [PART...]] [options]."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from ltviz.check import suggest

from . import cpu, gpu, losses, measure, page, report

WHAT = ("claims", "losses", "page", "gpu")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options: `what`, the `parts` of gpu, and the rest. Ends the process where they do not fit together."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.benchmark", description="What is claimed to be fast, measured on this machine."
    )
    parser.add_argument(
        "words",
        nargs="*",
        metavar="WHAT",
        help="claims: ratios against the usual way (default). losses: the cost of every loss. page: sliders in "
        "Chromium. gpu: "
        f"what is claimed for a GPU, or some of its parts: {', '.join(gpu.PARTS)}",
    )
    parser.add_argument("--quick", action="store_true", help="fewer images and repeats: a minute or two")
    parser.add_argument(
        "--root", metavar="FOLDER", type=Path, help="gpu: CIFAR-10 (train/<class>/*, test/<class>/*) in place of noise"
    )
    parser.add_argument(
        "--fidelity",
        metavar="EPOCHS",
        type=int,
        default=0,
        help="gpu --root: also train five seeds in bf16 and in float32, and compare",
    )
    parser.add_argument("--dry", action="store_true", help="gpu: on the CPU and small data, to try the script itself")
    parser.add_argument(
        "--json",
        metavar="FILE",
        type=Path,
        help="where the numbers go as JSON (default: data/benchmark-*.json; none with --dry)",
    )
    given = parser.parse_intermixed_args(argv)
    given.what, *given.parts = given.words or ["claims"]
    for word, known in ((given.what, WHAT), *((part, gpu.PARTS) for part in given.parts)):
        if word not in known:
            parser.error(f"nothing here is called {word!r}{suggest(word, known)}; choose from {', '.join(known)}")
        if given.parts and given.what != "gpu":
            parser.error(f"only gpu has parts: gpu {' '.join(given.parts)}")
    for name in ("root", "fidelity", "dry"):
        if getattr(given, name) and given.what != "gpu":
            parser.error(f"--{name} belongs to gpu: gpu --{name}")
    given.parts = given.parts or ["claims"]
    if given.fidelity < 0:
        parser.error(f"--fidelity {given.fidelity}: expected a number of epochs")
    if given.fidelity and not (given.root and "claims" in given.parts):
        parser.error("--fidelity compares accuracies, and noise has none: give gpu --root FOLDER, and no other part")
    if given.dry and given.root:
        parser.error("--dry takes small data of its own: leave --root out, or --dry")
    return given


def results(given: argparse.Namespace) -> Iterable[report.Row]:
    """The rows of the table that is asked for, each when it is measured."""
    if given.what == "losses":
        return losses.costs(repeats=3 if given.quick else 20)
    if given.what == "page":
        return page.suite(given.quick)
    if given.what == "gpu":
        return gpu.parts(given.parts, gpu.place(given.dry, given.quick, given.root, given.fidelity))
    return report.attempts(cpu.suite(given.quick).values())


def keeper(given: argparse.Namespace, about: dict[str, Any]) -> tuple[Path | None, Callable[[list], None]]:
    """The file that the numbers go to, and a function that writes all of them there."""
    name = "-".join([given.what, *(part for part in given.parts if part != "claims")])
    file = given.json or (None if given.dry else measure.ROOT / "data" / f"benchmark-{name}.json")

    def keep(rows: list) -> None:  # line by line: what was measured stays, whatever the next one does
        if file:
            file.write_text(json.dumps({"machine": about, "quick": given.quick, given.what: rows}, indent=1) + "\n")

    return file, keep


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table while it is measured, and write it as JSON. Returns the exit status."""
    given = parse(argv)
    on_gpu = given.what == "gpu" and not given.dry
    if on_gpu and gpu.missing():
        print(gpu.missing(), file=sys.stderr)
        return 2
    about = {**report.machine(), **(gpu.machine() if on_gpu else {})}
    file, keep = keeper(given, about)
    try:
        if given.what != "losses":
            measure.reference()
        rows = results(given)
        keep([])  # a file that cannot be written is noticed now
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(" · ".join(f"{name} {value}" for name, value in about.items()))
    report.show(rows, keep)
    if about["load"] and about["load"] > about["cores"]:
        print(f"\nThis machine is busy (load {about['load']} on {about['cores']} cores): most ratios suffer from that.")
    elif given.what == "claims":
        print("\nThe claims are for two cores that do nothing else; a busy machine misses some of them.")
    if file:
        print(f"\nwritten to {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
