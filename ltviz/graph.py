"""A piece of work as a CUDA graph: recorded once, then launched as a whole.

A small network on a fast GPU waits for Python, which starts some 300 kernels a step. A graph starts them all at once.
"""

from __future__ import annotations

import gc
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.torch_version import TorchVersion

_CAPTURING = threading.Lock()
REGISTERS = TorchVersion(torch.__version__) < (2, 14)  # later ones find the generators themselves, and warn


@contextmanager
def _undisturbed() -> Iterator[None]:
    """One capture at a time in a process, as CUDA asks for, and no garbage collection inside: it may free a graph."""
    with _CAPTURING:
        collecting = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if collecting:
                gc.enable()


@contextmanager
def noticing_waits() -> Iterator[list[str]]:
    """Inside, whatever this thread does that makes the host wait for the device is entered in the list."""
    found: list[str] = []
    mine = threading.get_ident()
    with _CAPTURING, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Synchronization debug mode")  # torch says that it is a prototype
        warnings.filterwarnings("always", "called a synchronizing")
        show = warnings.showwarning

        def listen(message: Warning | str, *rest: Any, **more: Any) -> None:
            if not str(message).startswith("called a synchronizing"):
                show(message, *rest, **more)
            elif threading.get_ident() == mine:
                found.append(str(message).strip().partition("\n")[0])

        warnings.showwarning = listen
        before = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            torch.cuda.set_sync_debug_mode(before)


class Captured:
    """Calls `work(*inputs)` and, from the fourth call with inputs of these shapes on, replays it as a CUDA graph.

    work        reads and writes tensors that stay where they are, and returns nothing; it must not wait for the device
    generators  those that work draws from: a replay goes on with their streams, as a call would
    stream      where it runs; None: nothing is captured, every call is a plain one

    The first calls are real ones too (they warm up what a capture must find ready), so no work is done twice. Inputs
    of another shape, such as a smaller last batch, get a graph of their own, from the same memory. What cannot be
    captured is called as it is from then on: `reason` says why, and one RuntimeWarning does. Work that waits for the
    device shows in the last of the first calls, and no capture is tried: one that fails leaves torch's memory and
    generators in a state that breaks other runs.
    """

    WARM = 3

    def __init__(
        self,
        work: Callable[..., None],
        generators: Sequence[torch.Generator] = (),
        stream: torch.cuda.Stream | None = None,
    ):
        self.work, self.generators, self.stream = work, tuple(generators), stream
        self.reason: str | None = None
        self.reset()

    def reset(self) -> None:
        """Forget the graphs: the tensors behind them have been replaced."""
        self._calls: dict[tuple, int] = {}
        self._graphs: dict[tuple, tuple[torch.cuda.CUDAGraph, tuple[Tensor, ...]]] = {}
        self._pool = None

    def __call__(self, *inputs: Tensor) -> None:
        if self.stream is None or self.reason is not None:
            return self.work(*inputs)
        shapes = tuple(tuple(x.shape) for x in inputs)
        if shapes not in self._graphs:
            self._calls[shapes] = self._calls.get(shapes, 0) + 1
            if self._calls[shapes] == self.WARM:
                return self._listen(inputs)
            if self._calls[shapes] < self.WARM or not self._capture(shapes, inputs):
                return self.work(*inputs)
        graph, held = self._graphs[shapes]
        for mine, given in zip(held, inputs, strict=True):
            mine.copy_(given, non_blocking=True)
        graph.replay()

    def _listen(self, inputs: tuple[Tensor, ...]) -> None:
        """Do the work, and notice whether it waits for the device."""
        with noticing_waits() as waits:
            self.work(*inputs)
        if waits:
            self._refuse(f"it waits for the device: {waits[0]}")

    def _refuse(self, reason: str) -> None:
        self.reason = reason
        warnings.warn(
            f"this step cannot be captured as a CUDA graph and runs kernel by kernel, which is slower and computes the "
            f"same ({reason})",
            RuntimeWarning,
            stacklevel=4,
        )

    def _capture(self, shapes: tuple, inputs: tuple[Tensor, ...]) -> bool:
        """Record a graph for these shapes; nothing is computed by that."""
        held = tuple(x.clone() for x in inputs)
        drawn = [g for g in (*self.generators, *torch.cuda.default_generators) if g.device.type == "cuda"]
        states = [generator.clone_state() for generator in drawn]
        first: Exception | None = None
        try:
            # thread_local: another cell may go on using the device meanwhile.
            with _undisturbed():
                graph = torch.cuda.CUDAGraph()
                for generator in self.generators if REGISTERS else ():
                    graph.register_generator_state(generator)
                with torch.cuda.graph(graph, pool=self._pool, stream=self.stream, capture_error_mode="thread_local"):
                    try:
                        self.work(*held)
                    except Exception as error:  # ending a broken capture raises once more: the first error says why
                        first = error
                        raise
        except Exception as last:
            for generator, state in zip(drawn, states, strict=True):
                generator.graphsafe_set_state(state)  # the other one may be left in a capture that never ended
            error = first or last
            self._refuse(f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}")
            return False
        self._pool = graph.pool()
        self._graphs[shapes] = graph, held
        return True
