"""Checkpoints: all that a run needs to continue as if it had never stopped, bit for bit on a CPU."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from ..check import to_array
from ..files import RunFileError, check_writable, read_record, save_record, sweep_temporaries
from . import distributed

if TYPE_CHECKING:
    from .loop import Trainer


HISTORY = ("epoch", "stage", "lr", "loss", "weight_norm", "feature_norm", "val_accuracy")


def prepare(path: Path) -> None:
    """Before training: nothing is left of earlier writers, and the disk takes a file. RunFileError if it does not."""
    sweep_temporaries(path)
    try:
        check_writable(path.parent)
    except OSError as error:
        raise RunFileError(
            f"checkpoint={str(path)!r}: nothing can be written there ({error.strerror or error}); free some space, or "
            "choose another folder"
        ) from None


State = tuple[dict, dict[str, np.ndarray]]


def snapshot(trainer: Trainer) -> State:
    """What a checkpoint of a trainer would hold now, as copies."""
    return _description(trainer), _arrays(trainer)


def write(trainer: Trainer, state: State | None = None) -> bool:
    """Write the checkpoint; where that fails, warn and let the run go on. Returns whether it is written.

    state: an earlier one of the trainer, from `snapshot`; None: as it is now. Of several processes, the first writes.
    """
    if not distributed.is_first():
        return True
    try:
        save_record(trainer.checkpoint, "checkpoint", *(snapshot(trainer) if state is None else state))
    except OSError as error:
        warnings.warn(
            f"the checkpoint {trainer.checkpoint} could not be written ({error.strerror or error}); the run goes on, "
            "and tries again",
            RuntimeWarning,
            stacklevel=2,
        )
        return False
    return True


def save(trainer: Trainer, state: State | None = None) -> bool:
    """Write the checkpoint, and note in the trainer when that was. Returns whether it is written."""
    written = write(trainer) if state is None else write(trainer, state)
    if written:
        trainer.saved_at, trainer.unwritten = time.monotonic(), None
    return written


def keep(trainer: Trainer) -> None:
    """Write the end of the last whole epoch, where no checkpoint has it yet: the run ends here."""
    if trainer.unwritten is not None:
        save(trainer, trainer.unwritten)


@contextmanager
def keeping(trainer: Trainer) -> Iterator[None]:
    """Inside, whatever ends the epoch early, a stop or an error, leaves the end of the last whole one in the file."""
    try:
        yield
    except BaseException:
        keep(trainer)
        raise


def _description(trainer: Trainer) -> dict:
    return {"id": trainer.id, "epoch": trainer.epoch, "stage": trainer.stage, "seconds": trainer.seconds}


def _arrays(trainer: Trainer) -> dict[str, np.ndarray]:
    arrays = {f"net/{name}": to_array(v) for name, v in trainer.net.state_dict().items()}
    arrays |= {f"objective/{name}": to_array(v) for name, v in trainer.objective.state_dict().items()}
    arrays |= {f"generator/{name}": g.get_state().numpy() for name, g in trainer.generators.items()}
    arrays |= {f"history/{name}": v for name, v in trainer.history.items()}
    for i, parameter in enumerate(trainer.trained):
        for name, value in trainer.optimizer.state[parameter].items():
            if isinstance(value, Tensor):
                arrays[f"optimizer/{i}/{name}"] = to_array(value)
    return arrays


def load(trainer: Trainer) -> None:
    """Put a trainer where its checkpoint left off. RunFileError for another run's, or one that is not whole."""
    path = trainer.checkpoint
    meta, arrays = read_record(path, "checkpoint")
    if meta.get("id") != trainer.id:
        raise RunFileError(
            f"{path}: a checkpoint of another run (id {meta.get('id')}, this one is {trainer.id}): method, settings, "
            "data, recipe or seed differ. Give each run a file of its own, or delete it."
        )
    try:
        _put(trainer, meta, {name: torch.from_numpy(value) for name, value in arrays.items()})
    except (KeyError, TypeError, ValueError, IndexError, RuntimeError) as error:
        raise RunFileError(f"{path}: not a whole checkpoint ({error}). Delete it to start the run anew.") from None


def _put(trainer: Trainer, meta: Mapping, arrays: Mapping[str, Tensor]) -> None:
    def part(group: str) -> dict[str, Tensor]:
        return {name.removeprefix(group): v for name, v in arrays.items() if name.startswith(group)}

    epoch, stage = int(meta["epoch"]), int(meta["stage"])
    if not (0 <= stage < len(trainer.stages) and 0 < epoch <= trainer.recipe.epochs):
        raise ValueError(f"epoch {epoch}, stage {stage}")
    for number in range(stage + 1):
        trainer.enter(number)
    load_state(trainer.net, part("net/"))
    load_state(trainer.objective, part("objective/"))
    if trainer.stages[stage].class_weight is not None:
        trainer.objective.weight_writer = "stage"
    states = part("generator/")
    if states.keys() != trainer.generators.keys():
        raise ValueError(f"generators {sorted(states)}")
    for name, state in states.items():
        trainer.generators[name].set_state(state)
    for name, value in part("optimizer/").items():
        i, _, key = name.partition("/")
        parameter = trainer.trained[int(i)]
        if key != "step" and value.shape != parameter.shape:
            raise ValueError(f"optimizer/{name} has shape {tuple(value.shape)}, not {tuple(parameter.shape)}")
        # In the parameter's own memory layout, which the fused step takes for granted.
        own = value.to(trainer.device) if key == "step" else torch.empty_like(parameter).copy_(value)
        trainer.optimizer.state[parameter][key] = own.detach()
    history = {name: v.numpy() for name, v in part("history/").items()}
    lacking = [name for name in HISTORY if name not in history]
    if lacking or any(len(values) != epoch for values in history.values()):
        raise ValueError(f"the history has not {epoch} rows of {', '.join(HISTORY)}")
    trainer.rows = [{name: v[i] for name, v in history.items()} for i in range(epoch)]
    trainer.epoch, trainer.seconds = epoch, float(meta["seconds"])
    if trainer.data.has_validation:
        trainer.accuracy = torch.from_numpy(np.array(trainer.rows[-1]["val_accuracy"])).to(trainer.device)


def carry_over(trainer: Trainer, other: Trainer) -> None:
    """Put another trainer of the same network where this one stands, as its checkpoint would, without a file."""
    _put(other, _description(trainer), {name: torch.from_numpy(v.copy()) for name, v in _arrays(trainer).items()})


@torch.no_grad()
def load_state(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy the values of a state into a module, in place. ValueError where a name, a shape or a type differs."""
    own = module.state_dict()
    if own.keys() != state.keys():
        lacks, more = sorted(own.keys() - state.keys())[:3], sorted(state.keys() - own.keys())[:3]
        raise ValueError(f"it lacks {lacks}, and has {more}")
    for name, value in own.items():
        if value.shape != state[name].shape or value.dtype != state[name].dtype:
            given, wanted = state[name], value
            raise ValueError(
                f"{name} is {given.dtype} {tuple(given.shape)}, expected {wanted.dtype} {tuple(wanted.shape)}"
            )
    for name, value in own.items():
        value.copy_(state[name])
