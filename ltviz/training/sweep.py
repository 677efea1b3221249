"""A grid of runs, one after another: `sweep`."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .. import check
from ..datasets import LongTailed, check_long_tailed
from ..run import Run
from .control import interrupts
from .kept import attach, prepare_folder, save, saved, say_stopped
from .loop import Trainer
from .own_network import as_network
from .request import make_request
from .train import with_progress

APART = ("checkpoint", "callbacks")  # what a run is not named by


def sweep(
    method: Any,
    data: LongTailed,
    *,
    seeds: int | list[int] = 3,
    folder: str | Path | None = None,
    small: bool = True,
    progress: bool = True,
    **settings: Any,
) -> list[Run]:
    """Train a method, or several, under every combination of the settings given as lists, and under several seeds.

    A seed draws the data anew (`data.with_seed`) and seeds the run, so that methods compare paired by seed.
    seeds: how many (0, 1, ...) or which. With a folder, each run is saved there when it is done (small=True: without
    features and network) and found again the next time. Other keywords are those of `train`; callbacks go to each run,
    and end that run alone. What is asked for twice,
    under whatever names, is trained and returned once. Ctrl-C ends the sweep and returns the runs that are done; after
    an error they are in the error's `runs`.
    """
    check.flag("progress", progress)
    check.flag("small", small)
    asked = list(requests(method, data, seeds, settings))
    folder = prepare_folder(folder)
    runs: list[Run] = []
    draw = functools.lru_cache(1)(data.with_seed)
    with interrupts() as guard:
        try:
            for key, seed, chosen in asked:
                with guard.expose():
                    drawn = draw(seed)
                if guard.control.stopped:
                    break
                trainer = Trainer(key, drawn, seed=seed, **chosen)
                found = saved(folder, trainer, small)
                run = found or with_progress(trainer, guard, progress)
                if run.status == "stopped" and not trainer.ended:
                    break
                runs.append(run)
                if not found:
                    save(run, folder, small)
        except KeyboardInterrupt:
            pass  # while data were loading; said below
        except Exception as error:
            attach(error, runs, folder)
            raise
        if len(runs) < len(asked):
            say_stopped(len(runs), "sweep", folder)
    return sorted(runs, key=lambda run: (run.label, run.seed))


def requests(
    method: Any, data: LongTailed, seeds: int | list[int], settings: Mapping[str, Any]
) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Every run of a sweep as (method, seed, settings): under each seed, each combination of the lists, once.

    What is the same run in several spellings (an alias, 1 and 1.0, a default written out) is asked for once, by the
    first. Raises ValueError for what `train` would refuse.
    """
    check_long_tailed(data)
    if "loader" not in data.spec:
        raise ValueError("data: a sweep draws the data anew for each seed, and these were made by hand; use lt.train")
    if settings.get("checkpoint") is not None:
        raise ValueError("checkpoint= is for one run; give folder= to go on with several where they were stopped")
    if "seed" in settings:
        raise ValueError("seed= is for one run; a sweep takes seeds=, how many or which")
    methods = list(method) if isinstance(method, (list, tuple)) else [method]
    whole = ("callbacks", "head_classes")  # a list of them is one value
    lists = {name: value if isinstance(value, list) and name not in whole else [value]
             for name, value in settings.items()}  # fmt: skip
    if "model" in lists:
        lists["model"] = [as_network(model) for model in lists["model"]]
    empty = [name for name, values in {"method": methods, **lists}.items() if not values]
    if empty:
        raise ValueError(f"{empty[0]}=[]: expected at least one value")
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for key in methods:
        for values in itertools.product(*lists.values()):
            chosen = dict(zip(lists, values, strict=True))
            asked = make_request(key, data, **{name: value for name, value in chosen.items() if name not in APART})
            found.setdefault(asked.id, (key, chosen))
    for seed in check.seeds(seeds):
        for key, chosen in found.values():
            yield key, seed, dict(chosen)
