"""A stand-in for CUDA graphs on the CPU: what a capture records, and what it must not do, without a GPU.

`torch.cuda.graph` records which kernels run on which memory and computes nothing; a replay runs them again, without
Python. Here the record is a tape of aten operations: forward, backward, optimiser, draws, writes in place. A replay
runs the tape: numbers that were Python's are those of the capture, memory is where it was then. So what only looks like
a captured step (a buffer bound anew, a Python number that an epoch changes, a value read back) shows on any machine.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from ltviz import graph as captures
from ltviz.datasets import LongTailed
from ltviz.device import Speed
from ltviz.training import Trainer

aten = torch.ops.aten

# These wait for the device on CUDA: for a value, for a shape that depends on values, or to check their input.
READS = {
    aten._local_scalar_dense, aten.equal, aten.nonzero, aten.masked_select, aten._unique, aten._unique2,
    aten.unique_dim, aten.unique_consecutive, aten.bincount, aten.repeat_interleave, aten.multinomial,
    aten._linalg_check_errors, aten._linalg_eigh, aten.linalg_eig, aten._linalg_svd,
}  # fmt: skip
COPIES = {Tensor.cpu, Tensor.numpy, Tensor.tolist, Tensor.__array__, Tensor.cuda, Tensor.pin_memory}
NEW = {torch.tensor, torch.as_tensor, torch.from_numpy}  # from Python's values: a copy from the host


class Refused(RuntimeError):
    """What CUDA says of work that a capture cannot hold."""


def _alias(x: Any) -> Any:
    """The same memory without the autograd history, which the tape must not keep alive."""
    return x.detach() if isinstance(x, Tensor) else x


def waits(function: Callable[..., Any], args: tuple) -> bool:
    """Whether the host waits for the device in this operation of aten's."""
    packet = function.overloadpacket
    if packet in (aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_):
        return any(x is not None and x.dtype in (torch.bool, torch.uint8) for x in args[1])
    return packet in READS


@dataclass
class Entry:
    """One operation of a tape; `fresh` are the outputs whose memory a replay writes to."""

    function: Callable[..., Any]
    args: tuple
    kwargs: dict
    fresh: list[tuple[int, Tensor]]

    def play(self) -> None:
        outputs = tree_flatten(self.function(*self.args, **self.kwargs))[0]
        for i, kept in self.fresh:
            kept.copy_(outputs[i])


class Tape(TorchDispatchMode):
    """Records every operation inside, and afterwards puts back the memory and the generators that were there before."""

    def __init__(self, registered: list[torch.Generator]):
        super().__init__()
        self.registered = registered
        self.entries: list[Entry] = []
        self.before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}  # from outside: itself, a copy
        self.made: dict[int, torch.UntypedStorage] = {}
        self.states: dict[int, tuple[torch.Generator, Tensor]] = {}
        self.aliases: dict[int, int] = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function.namespace == "profiler":
            return function(*args, **kwargs)
        inputs = tree_flatten((args, kwargs))[0]
        self._check(function, args, inputs, kwargs)
        for x in inputs:
            if isinstance(x, Tensor):
                self._remember(x.untyped_storage())
        kept = tree_map(_alias, (args, kwargs))  # before the call, which may change the shape of what it is given
        result = function(*args, **kwargs)
        outputs, fresh = tree_flatten(result)[0], []
        for i, x in enumerate(outputs):
            if isinstance(x, Tensor) and not self._knows(x.untyped_storage()):
                fresh.append((i, x.detach()))
        for _, x in fresh:
            self.made[x.untyped_storage()._cdata] = x.untyped_storage()
        if fresh or function._schema.is_mutable or _writes_unsaid(function):  # the rest are views, which stay valid
            self.entries.append(Entry(function, *kept, fresh))
            for x in filter(lambda x: isinstance(x, Tensor), tree_flatten(kept)[0]):
                key = x.untyped_storage()._cdata
                self.aliases[key] = self.aliases.get(key, 0) + 1
        return result

    def _check(self, function, args, inputs, kwargs) -> None:
        if waits(function, args):
            raise Refused(f"CUDA error: operation not permitted when stream is capturing ({function})")
        generators = [x for x in inputs if isinstance(x, torch.Generator)]
        if torch.Tag.nondeterministic_seeded in function.tags and not generators:
            generators = [torch.default_generator]  # which a capture registers by itself
        known = [generator._cdata for generator in (*self.registered, torch.default_generator)]
        for generator in generators:  # another object at every call, so by what it points to
            if captures.REGISTERS and generator._cdata not in known:
                raise Refused("Attempt to increase offset for a CUDA generator not in capture mode.")
            self.states.setdefault(generator._cdata, (generator, generator.get_state()))

    def _knows(self, storage: torch.UntypedStorage) -> bool:
        return storage._cdata in self.before or storage._cdata in self.made

    def _remember(self, storage: torch.UntypedStorage) -> None:
        if not self._knows(storage):
            self.before[storage._cdata] = storage, storage.clone()

    def put_back(self) -> None:
        """A capture computes nothing."""
        for storage, copy in self.before.values():
            storage.copy_(copy)
        for generator, state in self.states.values():
            generator.set_state(state)
        self.before = {key: (storage, None) for key, (storage, _) in self.before.items()}

    def lost(self) -> int:
        """How many of the memories from outside nobody but the tape still holds; a graph would not hold them either."""
        # One for the storage object itself, one for each tensor in the tape.
        return sum(torch._C._storage_Use_Count(key) <= 1 + self.aliases.get(key, 0) for key in self.before)


def _writes_unsaid(function) -> bool:
    """Whether an operation writes to what it is given although its signature does not say so."""
    return function.overloadpacket in (aten.native_batch_norm, aten.cudnn_batch_norm)


def copies(function: Callable[..., Any], args: tuple) -> bool:
    """Whether this function of torch's copies between host and device; on a CPU nobody else would notice."""
    return function in COPIES or (function in NEW and not (args and isinstance(args[0], Tensor)))


class HostCopies(TorchFunctionMode):
    """Refuses what copies between host and device."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if copies(function, args):
            raise Refused(f"CUDA error: operation not permitted when stream is capturing ({function.__name__})")
        return function(*args, **(kwargs or {}))


class SyncDebug:
    """In place of torch.cuda.set_sync_debug_mode and its getter: what would wait for the device is warned about."""

    def __init__(self):
        self.mode, self.inside = 0, ExitStack()

    def get(self) -> int:
        return self.mode

    def set(self, mode: int | str) -> None:
        self.inside.close()
        self.mode = {"default": 0, "warn": 1}.get(mode, mode)
        if self.mode:
            self.inside.enter_context(_WarnsOfReads())
            self.inside.enter_context(_WarnsOfCopies())


class _WarnsOfReads(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if waits(function, args):
            _warn(function)
        return function(*args, **(kwargs or {}))


class _WarnsOfCopies(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        if copies(function, args):
            _warn(function.__name__)
        return function(*args, **(kwargs or {}))


def _warn(what: Any) -> None:
    warnings.warn(f"called a synchronizing CUDA operation ({what})", stacklevel=3)


class Graph:
    """In place of torch.cuda.CUDAGraph."""

    made: list[Graph]  # all of them since `install`; those that broke have no tape

    def __init__(self):
        self.registered: list[torch.Generator] = []
        self.tape: Tape | None = None
        self.asked: dict[str, Any] = {}
        self.replays, self.collecting, self.own_pool = 0, None, object()
        self.made.append(self)

    def register_generator_state(self, generator: torch.Generator) -> None:
        assert not self.asked, "a generator must be registered before the capture"
        self.registered.append(generator)

    def pool(self) -> object:
        assert self.tape is not None, "pool() without a preceding successful capture"
        return self.asked["pool"] or self.own_pool

    def replay(self) -> None:
        assert self.tape is not None, "replay without a preceding successful capture"
        assert not self.tape.lost(), "the graph reads or writes memory that has been freed since"
        self.replays += 1
        with torch.no_grad():
            for entry in self.tape.entries:
                entry.play()


class capture:
    """In place of torch.cuda.graph."""

    def __init__(self, graph: Graph, pool=None, stream=None, capture_error_mode: str = "global"):
        assert graph.tape is None, "this graph already owns a captured graph"
        graph.asked = {"pool": pool, "stream": stream, "capture_error_mode": capture_error_mode}
        self.graph, self.tape, self.host = graph, Tape(graph.registered), HostCopies()

    def __enter__(self) -> None:
        self.graph.collecting = gc.isenabled()
        self.tape.__enter__()
        self.host.__enter__()

    def __exit__(self, kind, error, trace) -> None:
        self.host.__exit__(kind, error, trace)
        self.tape.__exit__(kind, error, trace)
        self.tape.put_back()
        if isinstance(error, Refused):  # and so ending the capture fails, too
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
        if error is None:
            self.graph.tape = self.tape


@dataclass
class StandIn:
    """What a test sees of the graphs that were made."""

    graphs: list[Graph] = field(default_factory=list)
    stream: object = field(default_factory=object)

    def trainer(self, method: str, data: LongTailed, *, graph: bool = True, **arguments: Any) -> Trainer:
        """A run on the CPU whose steps and validations are captured; graph=False: the same arithmetic, every call."""
        images = not arguments.get("model", "mlp").startswith("mlp")
        arguments = {"speed": Speed(channels_last=images, fused=True, graph=True), "model": "mlp", **arguments}
        trainer = Trainer(method, data, device="cpu", **arguments)
        if graph:
            trainer.step.stream = trainer.validate.stream = self.stream
        return trainer


def install(monkeypatch) -> Iterator[StandIn]:
    """Put the stand-in where torch has the real ones."""
    standin = StandIn()
    Graph.made = standin.graphs
    monkeypatch.setattr(captures, "REGISTERS", True)  # as in the versions of torch that are stricter
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", capture)
    debug = SyncDebug()
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", debug.get)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", debug.set)
    yield standin
