"""Random numbers that belong to a run: what code draws from torch's global generator comes from another one inside."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class OwnDraws(TorchDispatchMode):
    """Inside, whatever would draw from torch's global generator draws from `own`, in this thread alone.

    For what torch draws and offers no other way for: modules at construction, dropout. `drew` says whether any did.
    """

    def __init__(self, own: torch.Generator):
        super().__init__()
        self.own, self.drew = own, False

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch would load its compiler in order to tell it to leave this alone

    @staticmethod
    def _draws(func: Any, args: tuple, kwargs: dict) -> bool:
        """Whether an operation that may draw does: attention without dropout does not."""
        usual = {argument.name: argument.default_value for argument in func._schema.arguments}
        return (usual | dict(zip(usual, args, strict=False)) | kwargs).get("dropout_p") != 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = dict(kwargs or {})
        names = [argument.name for argument in func._schema.arguments]
        if "generator" in names:
            if (dict(zip(names, args, strict=False)) | kwargs).get("generator") is None:  # some take it by place
                args, kwargs["generator"], self.drew = args[: names.index("generator")], self.own, True
        elif torch.Tag.nondeterministic_seeded in func.tags and self._draws(func, args, kwargs):
            self.drew = True
            name = "low_generator" if func._overloadname == "low" else "generator"
            if name not in func.overloadpacket.overloads():
                raise RuntimeError(f"{func} draws random numbers and takes no generator, so no seed would fix them")
            func, kwargs["generator"] = getattr(func.overloadpacket, name), self.own
        return func(*args, **kwargs)


@contextmanager
def own_draws(own: torch.Generator | None = None) -> Iterator[OwnDraws | _Told]:
    """Inside, what draws from torch's global generator draws from `own` (None: from one that nobody else uses).

    On a CPU this holds for the calling thread alone, and the global generator is not touched. On a GPU, where kernels
    draw by themselves, the global generator takes over the state of `own`, one thread at a time, and then has its own
    back.
    """
    own = own or torch.Generator().manual_seed(0)
    if own.device.type != "cuda":
        with OwnDraws(own) as mode:
            yield mode
        return
    shared = torch.cuda.default_generators[own.device.index or 0]
    with _GLOBAL:
        before = shared.get_state()
        shared.set_state(own.get_state())
        told = _Told()
        try:
            yield told
        finally:
            after = shared.get_state()
            told.drew = not torch.equal(after, own.get_state())
            own.set_state(after)
            shared.set_state(before)


class _Told:
    """Whether anything was drawn, once it is over."""

    drew = False


_GLOBAL = threading.RLock()


def drawn_from(generator: torch.Generator) -> torch.Generator:
    """A generator of its own, seeded by one draw from this one."""
    return torch.Generator().manual_seed(int(torch.randint(2**62, (), generator=generator)))
