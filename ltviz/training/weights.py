"""Weights of a network that is there already: read from a file or from torch's cache, and put where they fit."""

from __future__ import annotations

import hashlib
import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import check
from ..check import to_array
from ..files import checksum, request_id

EXPECTED = (
    "a file of weights (.pt, .pth, .safetensors), the name of weights of torchvision such as "
    "'ResNet18_Weights.IMAGENET1K_V1', or a state dict"
)
INSIDE = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights")  # in a checkpoint
_PUBLISHED = re.compile(r"\w+_Weights\.\w+")
_AUXILIARY = ("aux", "AuxLogits")  # of GoogLeNet and Inception: classifiers that are used in training alone
_WRAPPERS = ("module.", "_orig_mod.")  # what DataParallel and torch.compile put before every name
_COUNTER = "num_batches_tracked"  # of BatchNorm; nothing that is computed here depends on it


@dataclass(frozen=True, eq=False)
class Weights:
    """Values by name; name: what a record calls them; digest: a short hash of all of them."""

    name: str
    state: Mapping[str, Tensor]
    digest: str


def read_weights(value: Any, model: str = "") -> Weights:
    """The weights that `value` names. ValueError, in words, for what holds none.

    value   a file: a state dict, alone or in a checkpoint under one of INSIDE or as its only one, read with
            torch.load(weights_only=True), or a .safetensors; the name of weights of torchvision, which must be in
            torch's cache (nothing is downloaded); or a state dict
    model   "torchvision:<name>": then "DEFAULT" or "IMAGENET1K_V1" is the name of weights of that network
    """
    if isinstance(value, Weights):
        return value
    if isinstance(value, Mapping):
        return _checked("state dict", value)
    name = f"{type(value).__name__}.{value.name}" if hasattr(value, "url") and hasattr(value, "name") else value
    if isinstance(name, str) and (_PUBLISHED.fullmatch(name) or _of_model(name, model)):
        return _checked(*_published(name, model))
    try:
        path = check.path("weights", name)
    except ValueError:
        raise check.refuse("weights", value, EXPECTED) from None
    return _checked(path.name, _read(path))


def _of_model(name: str, model: str) -> bool:
    return model.startswith("torchvision:") and (name == "DEFAULT" or re.fullmatch(r"[A-Z][A-Z0-9_]*_V\d", name))


def _published(name: str, model: str) -> tuple[str, Mapping[str, Any]]:
    """Name and content of torchvision's file of these weights, where torch's cache has it, whole."""
    from torchvision.models import get_model_weights, get_weight

    try:
        found = get_weight(name) if "." in name else get_model_weights(model.partition(":")[2])[name]
    except (KeyError, ValueError):
        raise check.refuse("weights", name, "weights that torchvision publishes, such as "
                           "'ResNet18_Weights.IMAGENET1K_V1'") from None  # fmt: skip
    path = Path(torch.hub.get_dir()) / "checkpoints" / found.url.rpartition("/")[2]
    if not path.is_file():
        raise ValueError(
            f"weights={name!r}: {path.name} is not in torch's cache ({path.parent}), and nothing is downloaded here; "
            f"fetch it once with torch.hub.load_state_dict_from_url({found.url!r})"
        )
    digest = re.search(r"-([0-9a-f]{8,})\.", path.name)
    if digest and not hashlib.sha256(path.read_bytes()).hexdigest().startswith(digest[1]):
        raise ValueError(f"weights={name!r}: {path} is damaged or cut short; delete it and fetch it again")
    return str(found), _read(path)


def _read(path: Path) -> Mapping[str, Any]:
    """What a file of weights holds."""
    said = f"weights={str(path)!r}"
    if not path.is_file():
        raise ValueError(f"{said}: there is no such file; expected {EXPECTED}")
    try:
        if path.suffix == ".safetensors":
            from safetensors import safe_open

            with safe_open(path, framework="pt") as file:
                if "ltviz" in (file.metadata() or {}):
                    raise ValueError(f"{said}: this is a run of ltviz; continue it with start=lt.load_run(...)")
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no mapping
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        if not zipfile.is_zipfile(path):
            raise ValueError(f"{said}: it is no file of torch.save") from None
        raise ValueError(
            f"{said}: it holds more than tensors, which could run code when opened; save the weights alone, with "
            "torch.save(model.state_dict(), path)"
        ) from None
    except ValueError:
        raise
    except Exception as error:  # torch and safetensors raise errors of many kinds for damaged files
        reason = str(error).strip().partition("\n")[0][:120]
        reason = f" ({type(error).__name__}: {reason})" if " " in reason else ""  # some say a number alone, or nothing
        kind = "safetensors file" if path.suffix == ".safetensors" else "file of torch.save"
        raise ValueError(
            f"{said}: it is no {kind}, or it is damaged or cut short{reason}; expected {EXPECTED}"
        ) from None


def _checked(name: str, found: Any) -> Weights:
    """What was read as weights. ValueError where it is no mapping of names to finite tensors."""
    while isinstance(found, Mapping) and not _tensors(found):
        inside = [key for key in INSIDE if isinstance(found.get(key), Mapping)]
        inside = inside or [key for key, one in found.items() if _tensors(one)]
        if not inside or len(inside) > 1 and inside[0] not in INSIDE:
            break
        found = found[inside[0]]
    if not _tensors(found):
        holds = ", ".join(map(repr, list(found)[:5])) if isinstance(found, Mapping) else type(found).__name__
        raise ValueError(
            f"weights={name!r}: it holds {holds or 'nothing'}; expected a state dict, names and tensors, alone or "
            f"under {', '.join(map(repr, INSIDE[:-1]))} or {INSIDE[-1]!r}"
        )
    state = {str(key): one.detach().cpu() for key, one in found.items()}
    bad = [key for key, one in state.items() if one.is_floating_point() and not bool(torch.isfinite(one).all())]
    if bad:
        raise ValueError(f"weights={name!r}: {bad[0]} holds NaN or infinity")
    return Weights(name, state, request_id(weights={key: checksum(to_array(one)) for key, one in state.items()}))


def _tensors(found: Any) -> bool:
    """Whether this is a state dict."""
    return isinstance(found, Mapping) and bool(found) and all(isinstance(one, Tensor) for one in found.values())


@torch.no_grad()
def put_weights(module: nn.Module, weights: Weights, classifier: str) -> dict[str, Tensor]:
    """Copy the weights into a module, and return those of its classifier by their last name ("weight", "bias").

    classifier: its name, which may be gone from the module already. Its entries may have any shape: they are copied
    only where they fit. ValueError, by name, for other entries that do not fit, are missing, or belong nowhere.
    """
    own, state = module.state_dict(), _matching(weights, module, classifier)

    def apart(name: str) -> bool:
        return name.startswith(f"{classifier}.") or name.endswith(_COUNTER)

    wrong = [f"{name} has the shape {tuple(state[name].shape)}, expected {tuple(value.shape)}"
             for name, value in own.items() if name in state and state[name].shape != value.shape
             and not apart(name)]  # fmt: skip
    wrong += [f"{name} is missing" for name in own if name not in state and not apart(name)]
    wrong += [f"{name} has no place in the network" for name in state
              if name not in own and not apart(name) and not name.startswith(_AUXILIARY)]  # fmt: skip
    if wrong:
        more = f", and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ValueError(f"weights={weights.name!r} do not fit the network: {'; '.join(wrong[:3])}{more}")
    for name, value in own.items():
        if name in state and state[name].shape == value.shape:
            value.copy_(state[name])
    inside = {name.rpartition(".")[2]: value for name, value in state.items() if name.startswith(f"{classifier}.")}
    return inside if all(f"{classifier}.{name}" in state for name in inside) else {}


def _matching(weights: Weights, module: nn.Module, classifier: str) -> dict[str, Tensor]:
    """The weights in that spelling of their names of which the module knows most."""
    own = {*module.state_dict(), f"{classifier}.weight", f"{classifier}.bias"}
    return max(_spellings(weights.state, classifier), key=lambda state: len(own & state.keys()))


def _spellings(state: Mapping[str, Tensor], classifier: str) -> Iterator[dict[str, Tensor]]:
    """The same weights under other names: as they are, without what wraps a network, as run.model() names them."""
    plain = dict(state)
    yield plain
    while wrapper := next((one for one in _WRAPPERS if all(name.startswith(one) for name in plain)), ""):
        plain = {name.removeprefix(wrapper): value for name, value in plain.items()}
        yield plain
    first = {name.partition(".")[0] for name in plain}
    if len(first) == 1:  # all of them inside one part, such as "model"
        yield {name.partition(".")[2]: value for name, value in plain.items()}
    head, body = f"{classifier}.", ("backbone.net.", "backbone.")
    prefix = next((one for one in body if any(name.startswith(one) for name in plain)), None)
    if prefix is not None:
        yield {name.removeprefix(prefix) if name.startswith(prefix) else name.replace("head.", head, 1): value
               for name, value in plain.items()}  # fmt: skip
