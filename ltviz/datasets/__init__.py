"""Long-tailed data: loaders are nouns (`digits_lt`, `cifar_lt`, `glyphs_lt`, ...) and return a `LongTailed`."""

import inspect
from collections.abc import Mapping
from typing import Any

from .. import check
from .attributes import Attributes
from .celeba import attributes_csv, celeba
from .cifar import cifar_lt
from .digits import digits_lt
from .folder import folder_lt
from .glyphs import glyphs_lt
from .lists import list_lt
from .longtailed import LongTailed
from .manga109 import manga109
from .measured import digits_attributes
from .omniglot import Unseen, omniglot_lt
from .profiles import profile_counts
from .table import Table, table_lt

# Those that need nothing but their arguments to make the same data again; a table needs the reader's own. LOADERS gives
# one label an image, SEVERAL several.
LOADERS = {
    loader.__name__: loader for loader in (digits_lt, cifar_lt, folder_lt, glyphs_lt, list_lt, manga109, omniglot_lt)
}
SEVERAL = {loader.__name__: loader for loader in (digits_attributes, celeba, attributes_csv)}

__all__ = [
    "LOADERS", "Attributes", "LongTailed", "Table", "Unseen", "attributes_csv", "celeba", "cifar_lt",
    "digits_attributes", "digits_lt", "folder_lt", "glyphs_lt", "list_lt", "load", "manga109",
    "omniglot_lt", "profile_counts", "table_lt",
]  # fmt: skip


def check_long_tailed(data: Any) -> LongTailed:
    """The data set, for what trains on one label an image. ValueError, saying what makes one, for anything else."""
    if isinstance(data, Attributes):
        raise ValueError("data: its images have several labels each; train on them with lt.train_attributes")
    makers = [f"lt.{name}" for name in (*LOADERS, table_lt.__name__)]
    return check.instance("data", data, LongTailed, f"a data set from {', '.join(makers[:-1])} or {makers[-1]}")


def load(spec: Mapping) -> LongTailed | Attributes:
    """Rebuild a data set from its `spec`: {"loader": name, every argument …}. ValueError for what no loader made."""
    if not isinstance(spec, Mapping):
        raise check.refuse("spec", spec, 'the spec of a data set: {"loader": name, every argument …}')
    arguments = dict(spec)
    name = arguments.pop("loader", None)
    every = LOADERS | SEVERAL
    loader = every.get(name) if isinstance(name, str) else None
    if name == table_lt.__name__:
        raise ValueError("spec: a table is made of your own rows, which its spec does not hold; call table_lt again")
    if loader is None:
        raise ValueError(
            f"spec: loader {check.shown(name)} is unknown{check.suggest(name, every)}; choose from "
            f"{', '.join(every)} (data made by hand cannot be rebuilt: make it again)"
        )
    known = inspect.signature(loader).parameters
    for argument in arguments:
        if argument not in known:
            raise ValueError(
                f"spec: {name} has no argument {check.shown(argument)}{check.suggest(argument, known)}; "
                f"it takes {', '.join(known)}"
            )
    missing = [one for one in known.values() if one.default is one.empty and one.name not in arguments]
    if missing:
        raise ValueError(f"spec: {name} needs {missing[0].name}")
    return loader(**arguments)
