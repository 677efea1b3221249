"""Where a study is kept: a file of SQLite, a journal file, or a database server; and what is said when it is lost."""

from __future__ import annotations

import os
import random
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from .. import check

DEFAULT = "my_tuning.db"  # in the folder that the reader works in
SQLITE, JOURNAL = (".db", ".sqlite", ".sqlite3"), (".journal", ".log", ".jsonl")
EXPECTED = (
    "None for a file my_tuning.db here, the path of an SQLite file (.db) or of a journal (.journal), the address of a "
    "database such as 'postgresql://user@host/name', or a storage of Optuna"
)
LOST = (optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError, OSError)
PATIENCE = 30.0  # seconds in which a database server may come back


class StorageLost(RuntimeError):
    """A study's storage that takes nothing any more: a lost connection, a full disk. What was finished stays there."""


class Journal(JournalFileBackend):
    """Optuna's journal file, which stays readable when a writer is killed, or the disk full, in the middle of a line.

    Half a line would otherwise become one with the next, and nobody could read what follows.
    """

    def __init__(self, path: str):
        super().__init__(path)
        self.path = Path(path)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lock, self._lock = self._lock, _Held()
        lock.acquire()
        try:
            whole = self._mend()
            try:
                super().append_logs(logs)
            except OSError:
                os.truncate(self.path, whole)
                raise
        finally:
            self._lock = lock
            lock.release()

    def _mend(self) -> int:
        """Cut off what a killed writer has left of a line; the size of the file then."""
        with open(self.path, "rb+") as file:
            size = end = file.seek(0, os.SEEK_END)
            while end and _byte(file, end - 1) != b"\n":
                end -= 1
            if end < size:
                file.truncate(end)
        return end


class _Held:
    """A lock that its user holds already."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


def _byte(file: Any, place: int) -> bytes:
    file.seek(place)
    return file.read(1)


def open_storage(storage: Any) -> tuple[BaseStorage, str]:
    """A storage of Optuna for what `tune` is given, and its name in messages, without a password.

    ValueError, naming the argument, for what is none, and for one that cannot be opened.
    """
    if isinstance(storage, BaseStorage):
        return storage, type(storage).__name__
    if isinstance(storage, str) and "://" in storage:
        return _database(_url(storage))
    path = check.path("storage", DEFAULT if storage is None else storage)
    if path.suffix not in (*SQLITE, *JOURNAL) or path.is_dir():
        raise check.refuse("storage", storage, EXPECTED)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in JOURNAL:
            opened = JournalStorage(Journal(str(path)))
            return opened, str(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no journal of Optuna's"
        raise ValueError(f"storage={str(path)!r}: it cannot be opened ({reason}); choose another file") from None
    return _database(sqlalchemy.URL.create("sqlite", database=str(path)))


def _url(text: str) -> sqlalchemy.URL:
    """The address; PostgreSQL's without a driver is that of psycopg, which pip brings without a compiler."""
    try:
        url = sqlalchemy.make_url(text)
    except sqlalchemy.exc.ArgumentError:
        scheme = text.partition("://")[0]  # the rest may hold a password
        raise ValueError(f"storage={scheme + '://…'!r}: expected {EXPECTED}") from None
    return url.set(drivername="postgresql+psycopg") if url.drivername in ("postgres", "postgresql") else url


def _database(url: sqlalchemy.URL) -> tuple[BaseStorage, str]:
    sqlite = url.get_backend_name() == "sqlite"
    name = url.database if sqlite and url.database else url.render_as_string(hide_password=True)
    arguments = {"timeout": 60} if sqlite else {"connect_timeout": 10} if "psycopg" in url.drivername else {}
    # A connection that the server has closed meanwhile is replaced before it is used.
    engine = {"connect_args": arguments, "pool_pre_ping": not sqlite}
    for left in range(9, -1, -1):
        try:
            opened = RDBStorage(url.render_as_string(hide_password=False), engine_kwargs=engine)
            weakref.finalize(opened, opened.engine.dispose)  # connections end with the last who uses the storage
            return opened, name
        except (ImportError, sqlalchemy.exc.NoSuchModuleError) as error:
            expected = "a database whose Python driver is installed; for PostgreSQL: pip install 'psycopg[binary]'"
            raise ValueError(f"storage={name!r}: expected {expected} ({error})") from None
        except (*LOST, RuntimeError) as error:
            # Two workers that begin at once both make the tables, and one of them then finds them there.
            if not left or isinstance(error, (sqlalchemy.exc.OperationalError, OSError)) and not sqlite:
                raise ValueError(
                    f"storage={name!r}: it cannot be opened ({reason(error)}); {_remedy(sqlite)}"
                ) from None
        time.sleep(0.1 + 0.2 * random.random())
    raise AssertionError("unreachable")


def _remedy(sqlite: bool) -> str:
    return (
        "choose another file" if sqlite else "see whether the server runs, and the address, user and password are right"
    )


def reason(error: BaseException) -> str:
    """What went wrong beneath an error of the storage, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, sqlalchemy.exc.DBAPIError) and error.orig is not None:
        error = error.orig
    lines = str(getattr(error, "strerror", None) or error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def safely(name: str, remote: bool, work: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    """The result of work on a storage. StorageLost where that is not possible, of a server after PATIENCE seconds."""
    pause, until = 0.2, time.monotonic() + PATIENCE
    while True:
        try:
            return work(*arguments, **keywords)
        except LOST as error:
            if not remote or time.monotonic() > until:
                raise StorageLost(
                    f"storage={name!r}: it cannot be read or written ({reason(error)}); the trials that are finished "
                    "stay there, and the same call goes on with the rest once it can be"
                ) from error
        time.sleep(pause)
        pause = min(2 * pause, 5.0)
