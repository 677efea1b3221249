"""Runs kept in a folder while several are trained, and handed over where training ends early."""

from __future__ import annotations

import glob
import warnings
from pathlib import Path

from .. import check
from ..files import RunFileError, check_writable
from ..run import Run, load_run
from . import distributed
from .loop import Trainer


def prepare_folder(folder: str | Path | None) -> Path | None:
    """The folder that runs are kept in, once it is known to take a file. Raises ValueError if it does not."""
    if folder is None:
        return None
    path = check.path("folder", folder)
    try:
        check_writable(path)
    except OSError as error:
        raise RunFileError(
            f"folder={str(path)!r}: no run can be kept there ({error.strerror or error}); free some space, or choose "
            "another folder"
        ) from None
    return path


def save(run: Run, folder: Path | None, small: bool) -> None:
    """Keep a run in a folder; where that fails, warn: the caller has the run all the same."""
    if folder is None:
        return
    try:
        if distributed.is_first():
            run.save(folder, small=small)
    except (OSError, ValueError, TypeError) as error:
        reason = getattr(error, "strerror", None) or error
        warnings.warn(
            f"{run.name}, seed {run.seed}, could not be saved in {folder} ({reason}); it is returned",
            RuntimeWarning,
            stacklevel=3,
        )
    distributed.wait()  # whoever looks for the run next, finds it


def attach(error: Exception, runs: list[Run], folder: Path | None) -> None:
    """Hand over what was done before an error, with the error."""
    error.runs = runs
    if runs:
        where = f" and in {folder}" if folder else ""
        error.add_note(f"{len(runs)} runs were done before: they are in this error's `runs`{where}.")


def say_stopped(done: int, what: str, folder: str | Path | None) -> None:
    """Warn that several runs were stopped, and say how to go on."""
    rest = f"call {what} again with the same folder to go on" if folder else "give a folder to keep them"
    warnings.warn(f"the {what} was stopped; {done} runs are done: {rest}", stacklevel=3)


def saved(folder: str | Path | None, trainer: Trainer, small: bool = True) -> Run | None:
    """The run that a trainer would give, if it is in the folder; with small=False only with its network.

    A file that is damaged is named, and counts as missing.
    """
    for path in sorted(Path(folder).glob(f"*-{glob.escape(trainer.id)}.safetensors")) if folder else []:
        try:
            run = load_run(path)
        except RunFileError as error:
            warnings.warn(f"{error} It is trained again.", RuntimeWarning, stacklevel=3)
            continue
        if run.id == trainer.id and run.status != "stopped" and (small or run.network is not None):
            return run
    return None
