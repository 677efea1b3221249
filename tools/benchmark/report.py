"""The benchmark's tables: the machine, a line for each measurement, and the same as JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ltviz.training import versions

from .gpu import Note, Pace
from .losses import LossCost
from .measure import Measurement, Skipped

Row = Measurement | Skipped | Pace | Note | LossCost

HEADS = {
    Measurement: f"\n{'':<31} {'ours':>9} {'usual':>9} {'ratio':>7}   {'claimed':<18}",
    Pace: f"\n{'':<31} {'ms / step':>9} {'ms/epoch':>9} {'warm-up s':>9} {'memory':>9}",
    LossCost: f"\nloss, forward + backward, one thread{'':<12} {'n = 128':>9} {'n = 512':>9} {'memory':>9}",
}


def machine() -> dict[str, Any]:
    """This machine and what it runs: a number without them says nothing."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text().splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        cpu = names[0] if names else cpu
    return {
        "cpu": cpu, "cores": os.cpu_count(), "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(), "spin": os.environ.get("GOMP_SPINCOUNT", ""),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None, "system": platform.platform(),
        **versions(),
    }  # fmt: skip


def attempts(measures: Iterable[Callable[[], Measurement]]) -> Iterator[Measurement | Skipped]:
    """Each measurement, as it is made, or why it cannot be made here."""
    for measure in measures:
        try:
            yield measure()
        except Skipped as skipped:
            yield skipped


def verdict(result: Measurement) -> str:
    """Whether its claim holds, in a word."""
    if result.claim.ratio is None and result.claim.most is None:
        return "measured"
    return "holds" if result.holds() else "MISSED"


def _size(value: float, unit: str) -> str:
    if unit == "s":
        return f"{1e3 * value:.1f} ms" if value < 1 else f"{value:.2f} s"
    return f"{value:.2f} {unit}".rstrip()


def line(result: Row) -> str:
    """A line of the table."""
    if isinstance(result, Note):
        return result.text
    if isinstance(result, Skipped):
        return f"{result.what:<31} skipped: {result.why}"
    if isinstance(result, LossCost):
        return f"{result.method:<48} {result.ms:>6.2f} ms {result.ms_large:>6.1f} ms {result.mb_large:>6.0f} MB"
    if isinstance(result, Pace):
        memory = "" if result.memory is None else f"{result.memory:.2f} GB"
        return (f"{result.way:<31} {result.step:>9.2f} {1e3 * result.epoch:>9.1f} {result.warm_up:>9.1f} {memory:>9}   "
                f"loss {result.first:.3f} to {result.last:.3f}  {result.note}").rstrip()  # fmt: skip
    claim, unit = result.claim, result.claim.unit
    claimed = [] if claim.ratio is None else [f">= {claim.ratio:g}x"]
    claimed += [] if claim.most is None else [f"<= {_size(claim.most, unit)}"]
    usual = "" if result.usual is None else _size(result.usual, unit)
    ratio = "" if result.ratio is None else f"{result.ratio:.{1 if result.ratio >= 10 else 2}f}x"
    return (f"{result.what:<31} {_size(result.ours, unit):>9} {usual:>9} {ratio:>7}   {', '.join(claimed):<18} "
            f"{verdict(result):<8} {result.detail}")  # fmt: skip


def row(result: Row) -> dict[str, Any]:
    """A line of the table as JSON."""
    if isinstance(result, Note):
        return {"text": result.text, **result.numbers}
    if isinstance(result, Skipped):
        return {"what": result.what, "skipped": result.why}
    if isinstance(result, Measurement):
        claim, more = result.claim, {"ratio": result.ratio, "verdict": verdict(result)}
        bounds = {"claimed_ratio": claim.ratio, "claimed_most": claim.most, "unit": claim.unit}
        return {**asdict(result), **more, **bounds}
    return asdict(result)


def show(results: Iterable[Row], keep: Callable[[list[dict[str, Any]]], None]) -> None:
    """Print each result when it is there, under the head of its kind, and hand on all rows so far."""
    rows, kind = [], None
    for result in results:
        if type(result) is not kind and type(result) in HEADS:
            kind = type(result)
            print(HEADS[kind])
        rows.append(row(result))
        keep(rows)
        print(line(result), flush=True)
