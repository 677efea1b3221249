"""Bring run files of format 1 (without checksums) up to date: python -m tools.upgrade_runs data/runs/digits

Each run is read, its data are made again and compared by fingerprint, its settings are resolved anew, and it is written
under its new id. The old file goes once the new one is there.
"""

from __future__ import annotations

import argparse
import functools
import json
from pathlib import Path
from typing import Any

from safetensors import safe_open

from ltviz.datasets import LongTailed, load
from ltviz.device import default_speed, pick_device
from ltviz.methods import METHODS
from ltviz.run import Run
from ltviz.training import RECIPES
from ltviz.training.request import Request

OWN = ("name", "fingerprint")  # of the data record, beside the loader's arguments


@functools.lru_cache(4)
def _data(spec: str, root: str | None) -> LongTailed:
    arguments = json.loads(spec)
    return load({**arguments, **({"root": root} if root and arguments["loader"] != "digits_lt" else {})})


def upgrade(path: Path, root: str | None) -> Path | None:
    """Write the run anew and remove the old file; returns the new path, or None for a file that is up to date."""
    with safe_open(path, framework="np") as file:
        found = file.metadata()
        if "sha256" in found:
            return None
        meta = json.loads(found["ltviz"])
        arrays = {name: file.get_tensor(name) for name in file.keys()}
    del meta["format"]
    spec = {name: value for name, value in meta["data"].items() if name not in OWN}
    data = _data(json.dumps(spec, sort_keys=True), root)
    if data.fingerprint != meta["data"]["fingerprint"]:
        raise SystemExit(f"{path}: its data come out differently here ({data.fingerprint})")
    method = METHODS[meta["method"]]
    bound = method(**{name: value for name, value in meta["settings"].items() if name in method.settings})
    device = pick_device(meta["provenance"]["device"])
    speed = default_speed(device, meta["recipe"]["model"])
    recipe = RECIPES[meta["recipe"]["name"]]
    request = Request(bound, data, recipe, meta["seed"], None, device, speed)
    if json.loads(json.dumps(request.recipe_record)) != meta["recipe"]:
        raise SystemExit(f"{path}: its recipe {recipe.name} has changed since")
    groups: dict[str, Any] = {"history": {}}
    for name, value in arrays.items():
        group, _, key = name.partition("/")
        if key:
            groups.setdefault(group, {})[key] = value
        else:
            groups[name] = value
    meta |= {
        "settings": request.settings, "data": request.data_record, "id": request.id, "label": request.label,
        "provenance": {**meta["provenance"], "command": request.command, "speed": str(speed)},
    }  # fmt: skip
    new = Run(**meta, **groups).save(path.parent)
    if new != path:
        path.unlink()
    return new


def main() -> None:
    """The command line: every run of these folders."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--root", help="where CIFAR is, if not in LTVIZ_DATA or data/")
    given = parser.parse_args()
    for folder in given.folders:
        done = [upgrade(path, given.root) for path in sorted(folder.glob("*.safetensors"))]
        print(f"{folder}: {sum(new is not None for new in done)} of {len(done)} files brought up to date")


if __name__ == "__main__":
    main()
