"""Where files are, and files of arrays and JSON (safetensors) that are believed only if they are whole.

A run and a checkpoint are two kinds of one record. Its JSON holds the sha256 of every array, and the file the sha256 of
the JSON, so a changed bit anywhere is noticed, and a folder can be searched by the JSON alone.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import math
import os
import socket
import stat
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas

FORMAT = 2  # of the file; a newer or older one is refused
SPELLED = {"attributes": "run of attributes", "features": "record of features"}  # kinds of files after "a"


class RunFileError(ValueError):
    """A file that is not a whole record of this version; the message names the file and the reason."""


class ForeignFile(RunFileError):
    """A file that was never a record of the kind asked for: a checkpoint beside runs, or somebody else's file."""


# ------------------------------------------------------------------------------------------------------------ folders
def data_folder() -> Path:
    """data/ of a checkout, with the course's recorded runs and the papers' numbers; else `cache_folder()`.

    Downloads land there too.
    """
    repository = Path(__file__).resolve().parents[1]
    return repository / "data" if (repository / "pyproject.toml").is_file() else cache_folder()


def shipped(path: Path, made: str = "") -> Path:
    """The path of a file that a checkout brings along, made: the command that makes it again.

    Raises FileNotFoundError, saying which file is missing and what to do, where it is not there.
    """
    if path.is_file():
        return path
    again = f", or `{made}` makes it again" if made else ""
    raise FileNotFoundError(
        f"{path} is not there. It comes with a checkout of the repository (git clone; python -m pip install -e .), not "
        f"with a copied package; in a checkout, `git checkout -- data` brings it back{again}"
    )


def read_table(path: Path, made: str) -> pandas.DataFrame:
    """A recorded table, a CSV file; made: the command that records it. Raises FileNotFoundError where it is not there,
    and RunFileError, naming the file, where it cannot be read."""
    import pandas

    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: {made} records it")
    try:
        return pandas.read_csv(path)
    except (ValueError, OSError) as error:  # pandas' own are ValueErrors, and so are bytes that are no text
        raise RunFileError(f"{path}: not a table as it was recorded ({error}); {made} records it") from None


def cache_folder() -> Path:
    """Where what can be computed again is kept: LTVIZ_CACHE, else `ltviz` in the user's cache folder."""
    if given := os.environ.get("LTVIZ_CACHE"):
        return Path(os.path.expanduser(given))
    from platformdirs import user_cache_dir

    try:
        found = Path(user_cache_dir("ltviz", appauthor=False, opinion=False))
    except RuntimeError:
        found = Path()
    # A user without a home, as in some containers: nothing can be written there, and that is said.
    return found if found.is_absolute() else Path(os.devnull) / "ltviz"


# ------------------------------------------------------------------------------------------------------------ writing
def write_atomically(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Write a file beside its place, then rename it there; what was there stays until the new one is whole.

    content: its bytes, or parts of them that are written one after the other, each as it is made. Raises OSError where
    that is not possible. Temporary files that a killed process has left for this path go away.
    """
    with _beside(path, content) as temporary:
        os.replace(temporary, path)


@contextlib.contextmanager
def _beside(path: Path, content: bytes | Iterable[bytes]) -> Iterator[Path]:
    """A temporary file beside the path, with this content, safely on the disk; gone afterwards."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep_temporaries(path)
    temporary = path.with_name(f"{_prefix(path)}{_HOST}-{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")
    try:
        # Opened by number, so that the rights of the new file follow the umask.
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
            for part in (content,) if isinstance(content, (bytes, bytearray, memoryview)) else content:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


_HOST = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]


def _prefix(path: Path) -> str:
    return f".{path.name[:60]}-{hashlib.sha256(path.name.encode()).hexdigest()[:6]}-"


def sweep_temporaries(path: Path) -> None:
    """Remove what writers of this path left behind when they were killed on this machine."""
    with contextlib.suppress(OSError):
        for left in path.parent.glob(f"{glob.escape(_prefix(path))}{_HOST}-*.tmp"):
            pid = left.name.removeprefix(f"{_prefix(path)}{_HOST}-").partition("-")[0]
            if pid.isdigit() and not is_alive(int(pid)):
                left.unlink(missing_ok=True)


def is_alive(pid: int) -> bool:
    """Whether this machine has a process of this number, as far as it can be told."""
    if os.name == "nt":  # there, signal 0 would end the process
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def check_writable(folder: Path) -> None:
    """Raise OSError now, rather than after training, where nothing can be written into a folder (made if missing)."""
    with _beside(folder / "probe", b"\0" * 65_536):
        pass


def save_record(path: Path, kind: str, meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write a record: its JSON part and its arrays, with their checksums, atomically."""
    from safetensors.numpy import save

    arrays = {name: np.asarray(value, order="C") for name, value in arrays.items()}  # 0-d stays 0-d
    arrays = {name: value.astype(value.dtype.newbyteorder("="), copy=False) for name, value in arrays.items()}
    sums = {name: checksum(value) for name, value in arrays.items()}
    text = to_json({"format": FORMAT, "kind": kind, **meta, "arrays": sums})
    write_atomically(path, save(arrays, metadata={"ltviz": text, "sha256": _sha(text.encode())}))


# ------------------------------------------------------------------------------------------------------------ identity
def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def checksum(array: np.ndarray) -> str:
    """sha256 over the type, the shape and the bytes of an array."""
    array = np.asarray(array, order="C")
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())
    digest.update(array.reshape(-1).view(np.uint8))  # its own memory: logits can be large
    return digest.hexdigest()


def canonical(value: Any) -> Any:
    """The value in the one spelling that an id is made from: 50.0 is 50, a tuple is a list, a path is its text.

    Raises TypeError for what has no such spelling (an array, an object).
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            return f"float {value}"
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, Mapping):
        return {str(key): canonical(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [canonical(one) for one in value]
    if isinstance(value, os.PathLike):
        return str(value)
    raise TypeError(f"{type(value).__name__} {value!r} cannot be part of an id")


def request_id(**asked: Any) -> str:
    """A short hash of what was asked for: the same request has the same id on every machine, however it is spelled."""
    text = json.dumps(canonical(asked), sort_keys=True, separators=(",", ":"))
    return _sha(text.encode())[:12]


def to_json(value: Any) -> str:
    """JSON of numbers, text, lists and mappings, numpy's numbers among them. TypeError for anything else."""

    def plain(one: Any) -> Any:
        if isinstance(one, np.generic):
            return one.item()
        if isinstance(one, Mapping):
            return dict(one)
        if isinstance(one, os.PathLike):
            return str(one)
        raise TypeError(f"{type(one).__name__} {one!r} cannot be kept in a file")

    return json.dumps(value, sort_keys=True, default=plain)


# ------------------------------------------------------------------------------------------------------------- reading
def read_record(
    path: Path, kind: str, keep: Callable[[dict], bool] = lambda meta: True
) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
    """(JSON part, arrays) of a record, or None where keep(JSON part) is False.

    Raises RunFileError, naming the file and the reason, for what is not there, damaged, newer or older, and its kind
    ForeignFile for what is no record of this kind at all. Nothing of a file is believed before its checksum is checked.
    """
    from safetensors import safe_open

    _refuse_special(path)
    try:
        with safe_open(path, framework="np") as file:
            meta = _read_meta(path, kind, file.metadata() or {})
            names = set(file.keys())
            if names != set(meta["arrays"]):
                raise RunFileError(f"{path}: damaged: it lacks arrays, or has some that are not its own. {AGAIN}")
            description = {name: value for name, value in meta.items() if name not in ("format", "kind", "arrays")}
            wanted = _kept(keep, description)
            arrays = {name: file.get_tensor(name) for name in sorted(names)} if wanted is True else {}
    except RunFileError:
        raise
    except Exception as error:  # safetensors raises errors of many kinds for damaged files
        raise RunFileError(f"{path}: damaged or cut short ({error}). {AGAIN}") from None
    if isinstance(wanted, Exception):  # the caller's own, nothing about the file
        raise wanted
    if not wanted:
        return None
    for name, value in arrays.items():
        if checksum(value) != meta["arrays"][name]:
            raise RunFileError(f"{path}: damaged: {name} is not what was written (its checksum differs). {AGAIN}")
    return description, arrays


def _kept(keep: Callable[[dict], bool], description: dict) -> bool | Exception:
    try:
        return bool(keep(description))
    except Exception as error:
        return error


AGAIN = "Delete it, and train or copy it again."


def _refuse_special(path: Path) -> None:
    """Say what is wrong with a path that is not a readable file of ours, without opening what would block."""
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            what = "a folder" if stat.S_ISDIR(mode) else "not an ordinary file"
            raise ForeignFile(f"{path}: this is {what}; give the path of a file")
        with path.open("rb") as file:
            start = file.read(9)
    except FileNotFoundError:
        raise RunFileError(f"{path}: there is no such file") from None
    except OSError as error:
        raise RunFileError(f"{path}: cannot be read ({error.strerror or error})") from None
    if not start:
        raise ForeignFile(f"{path}: an empty file")
    if start.startswith(b"version h"):
        raise ForeignFile(f"{path}: a pointer of Git LFS, not the file itself; `git lfs pull` fetches it")
    if start[8:] != b"{" and (start[:2] == b"PK" or start[:1] == b"\x80"):
        raise ForeignFile(
            f"{path}: this is a pickle or a zip of pickles, which could run code when opened. Run files hold arrays "
            "and JSON only (safetensors); save the run again with run.save()."
        )


def _read_meta(path: Path, kind: str, found: Mapping[str, str]) -> dict[str, Any]:
    """The JSON part, once it is known to be whole and of this kind and format."""
    if "ltviz_checkpoint" in found and kind == "checkpoint" or "ltviz" in found and "sha256" not in found:
        raise RunFileError(
            f"{path}: written by an older ltviz, without checksums. Train it again, or bring a folder of runs up to "
            "date with tools/upgrade_runs.py"
        )
    if "ltviz" not in found:
        raise ForeignFile(f"{path}: a safetensors file, but not a {SPELLED.get(kind, kind)} of ltviz")
    text = found["ltviz"]
    if _sha(text.encode()) != found["sha256"]:
        raise RunFileError(f"{path}: damaged: its description is not what was written. {AGAIN}")
    meta = json.loads(text)
    if not isinstance(meta, dict) or not isinstance(meta.get("arrays"), dict):
        raise RunFileError(f"{path}: its description is no record of ltviz. {AGAIN}")
    if meta.get("format") != FORMAT:
        raise RunFileError(
            f"{path}: written by another ltviz (format {meta.get('format')!r}, this one reads {FORMAT}); update ltviz, "
            "or train it again"
        )
    if meta.get("kind") != kind:
        found_kind, wanted = (SPELLED.get(one, one) for one in (str(meta.get("kind")), kind))
        raise ForeignFile(f"{path}: a {found_kind} of ltviz, not a {wanted}")
    return meta
