"""Long-tailed data: loaders are nouns (`digits_lt`, `cifar_lt`, `folder_lt`) and return a `LongTailed`."""

from ..check import suggest
from .cifar import cifar_lt
from .digits import digits_lt
from .folder import folder_lt
from .longtailed import LongTailed, profile_counts

LOADERS = {loader.__name__: loader for loader in (digits_lt, cifar_lt, folder_lt)}

__all__ = ["LOADERS", "LongTailed", "cifar_lt", "digits_lt", "folder_lt", "load", "profile_counts"]


def load(spec: dict) -> LongTailed:
    """Rebuild a data set from its `spec`: {"loader": name, every argument …}."""
    arguments = dict(spec)
    loader = arguments.pop("loader", None)
    if loader not in LOADERS:
        raise ValueError(f"spec: loader {loader!r} is unknown{suggest(loader, LOADERS)}; choose from "
                         f"{', '.join(LOADERS)} (data made by hand cannot be rebuilt: make it again)")
    return LOADERS[loader](**arguments)
