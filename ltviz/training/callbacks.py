"""Functions of the reader's that look at a run after each epoch."""

from __future__ import annotations

import copy
import inspect
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .. import check
from ..device import threads, usual_threads
from ..models import Logits

if TYPE_CHECKING:
    from .loop import Trainer

EXPECTED = "a function (epoch, row, network), or a list of such functions"


class Callbacks:
    """What is called after each epoch. callbacks: None, a function (epoch, row, network), or several.

    epoch counts from 0, row is the new row of the history, network gives logits (n, k) of normalised images. All three
    are copies, the network in eval mode, and torch's, numpy's and Python's random numbers go on afterwards as if
    nothing had been drawn: whatever is done to them, the run stays what it is.
    """

    def __init__(self, callbacks: Any = None):
        found = [callbacks] if callable(callbacks) else [] if callbacks is None else callbacks
        if not isinstance(found, (list, tuple)) or not all(map(callable, found)):
            raise check.refuse("callbacks", callbacks, EXPECTED)
        for function in found:
            _check_signature(function)
        self.functions: list[Callable[[int, dict, Logits], Any]] = list(found)

    def __bool__(self) -> bool:
        return bool(self.functions)

    def tell(self, trainer: Trainer, row: dict[str, Any]) -> bool:
        """Call all of them; whether one has returned True, which ends training. RuntimeError names one that fails."""
        end = False
        for function in self.functions:
            name = getattr(function, "__name__", type(function).__name__)
            with _aside(trainer.device):
                network = Logits(copy.deepcopy(trainer.net)).eval()
                try:
                    answer = function(row["epoch"], copy.deepcopy(row), network)
                except Exception as error:
                    raise RuntimeError(
                        f"callbacks: {name} failed after epoch {row['epoch']} ({type(error).__name__}: {error})"
                    ) from error
            end = end or (isinstance(answer, (bool, np.bool_)) and bool(answer))
        return end


def _check_signature(function: Callable) -> None:
    """ValueError for a function that cannot be called with (epoch, row, network)."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some built-in ones do not say
        return
    try:
        signature.bind(0, {}, None)
    except TypeError as error:
        name = getattr(function, "__name__", type(function).__name__)
        raise ValueError(
            f"callbacks: {name}{signature} cannot be called with (epoch, row, network) ({error}); expected {EXPECTED}"
        ) from None


@contextmanager
def _aside(device: torch.device) -> Iterator[None]:
    """No gradients inside, and all global generators, modes and the number of threads as before afterwards."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    on_gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    try:
        with torch.no_grad(), threads(usual_threads()):
            yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])
        if on_gpu is not None:
            torch.cuda.set_rng_state(on_gpu, device)
