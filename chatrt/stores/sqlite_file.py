"""A SQLite file and who may serve it: its lock, its connections, its health, and what its errors mean."""

from __future__ import annotations

import os
import sqlite3
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock
from pathlib import Path
from urllib.parse import quote

from chatrt.errors import StoreError, StoreLockedError, StoreUnavailableError, UnreadableRecordError
from chatrt.stores.sqlite_schema import ensure_schema

BUSY_SECONDS = 2.0
"""How long a write waits when a foreign program holds the database."""

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def primary_code(error: Exception) -> int:
    """Return SQLite's primary result code (https://www.sqlite.org/rescode.html), or -1 for the driver's own errors."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return -1 if code is None else code & 0xFF


def to_store_error(error: Exception, path: str) -> StoreError:
    """Say in the words of the store what went wrong in SQLite."""
    if primary_code(error) in _DAMAGED:
        return UnreadableRecordError(path, f"{error}; the file is damaged, restore it from a backup")
    return StoreUnavailableError(f"{path}: {error}")


class FileLock:
    """An exclusive lock beside a database file, held until released or until the process is gone.

    The lock file stays where it is: deleting it would let two processes lock two files of one name.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd: int | None = None

    def acquire(self) -> None:
        """Take the lock and write this process's id into it.

        Raises:
            StoreLockedError: If it is held, by another process or by another store of this one.
        """
        fd = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            flock(fd, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 64, 0).decode("ascii", "replace").strip()
            os.close(fd)
            raise StoreLockedError(self._path, f"pid {holder}" if holder else "pid unknown") from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._fd = fd

    def release(self) -> None:
        if self._fd is not None:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = None


def find_holder(path: str) -> str | None:
    """Return the process id that holds the lock of a database file, `?` if it did not say; None if nobody does."""
    try:
        fd = os.open(f"{path}.lock", os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        flock(fd, LOCK_SH | LOCK_NB)
    except BlockingIOError:
        return os.pread(fd, 64, 0).decode("ascii", "replace").strip() or "?"
    else:
        return None
    finally:
        os.close(fd)


def create_private(path: str) -> None:
    """Make an empty file that only its owner may read, unless there is one; SQLite gives `-wal` and `-shm` its mode."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    os.close(fd)
    folder = os.open(Path(path).parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # SQLite syncs the folder for its -wal, not for the database itself
    finally:
        os.close(folder)


def connect_writer(path: str, *, max_pages: int | None) -> sqlite3.Connection:
    """Open the one connection that writes and checkpoints, check the file, and make its tables if it is new.

    Raises:
        UnreadableRecordError: If the file is damaged, or not one that this version can serve.
        sqlite3.Error: If it cannot be opened or read.
    """
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        _check_health(connection, path)
        mode: str = connection.execute("PRAGMA journal_mode = WAL").fetchall()[0][0]
        if mode != "wal":
            raise StoreUnavailableError(f"{path}: this file system does not carry SQLite's write-ahead log")
        connection.execute("PRAGMA synchronous = FULL")  # an ack means durable
        connection.execute("PRAGMA journal_size_limit = 67108864")
        ensure_schema(connection, path)
        if max_pages is not None:
            connection.execute(f"PRAGMA max_page_count = {max_pages:d}")
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reader(path: str) -> sqlite3.Connection:
    """Open a connection that neither writes nor checkpoints.

    SQLite before 3.51.3 may damage a file in WAL mode when two connections write or checkpoint in the same instant.
    """
    connection = sqlite3.connect(
        f"file:{quote(path)}?mode=ro", uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def _check_health(connection: sqlite3.Connection, path: str) -> None:
    problems = [row[0] for row in connection.execute("PRAGMA quick_check(3)").fetchall()]
    if problems != ["ok"]:
        told = "; ".join(" ".join(problem.split()) for problem in problems)
        raise UnreadableRecordError(path, f"{told}; the file is damaged, restore it from a backup")
