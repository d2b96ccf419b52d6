"""Copies of a SQLite store: taken while it is served, and put back so that no old cursor points at new records.

A backup is one read transaction of SQLite's online backup, so it holds everything up to one moment and nothing half.
Writers go on meanwhile.

A restored store is older than what its clients have seen. Were numbers given out a second time, a client that goes on
from its cursor would be shown other records under them. So the numbers of `.out` move up by `LEAP`: whoever comes with
a cursor from before meets a `gap` and loads the messages. Those of `.in` go on as they were, without holes; who repeats
a lost input under its idempotency key has it taken.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chatrt.codec import dumps, loads
from chatrt.errors import StoreUnavailableError, UnreadableRecordError, UsageError
from chatrt.stores.sqlite_file import FileLock, connect_reader, create_private, to_store_error
from chatrt.stores.sqlite_schema import APPLICATION_ID, VERSION

LEAP = 1_000_000_000
"""How far numbers move up with each restore; more records than a session ever has between a backup and its loss."""


def backup_sqlite(path: Path, target: Path) -> int:
    """Copy a store to a new file, served or not, and return how many sessions are in it.

    Raises:
        UsageError: If there is something at the target already.
        StoreUnavailableError: If the store cannot be read or the copy cannot be written; nothing is left of it.
        UnreadableRecordError: If the store is damaged, or not one of chatrt.
    """
    if target.exists():
        raise UsageError(f"{target} is there already")
    if not path.exists():
        raise StoreUnavailableError(f"there is no {path}")
    partial = Path(f"{target}.partial")
    try:
        partial.unlink(missing_ok=True)
        create_private(str(partial))
        with closing(connect_reader(str(path))) as source, closing(sqlite3.connect(partial)) as copy:
            _check_is_ours(source, path)
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, with nothing beside it
            count = _check_whole(copy, partial)
        _sync(partial)
        # A link, because it fails where a rename would take the place of what came there meanwhile.
        os.link(partial, target)
        _sync(target.parent)
    except sqlite3.Error as error:
        raise to_store_error(error, str(path)) from error
    except FileExistsError:
        raise UsageError(f"{target} is there already") from None
    except OSError as error:
        raise StoreUnavailableError(f"{target}: {error.strerror}") from error
    finally:
        for rest in (partial, Path(f"{partial}-journal")):
            rest.unlink(missing_ok=True)
    return count


def restore_sqlite(backup: Path, path: Path) -> Path | None:
    """Put a backup in the place of a store that nobody serves.

    Returns:
        Where what was there before is kept, with what SQLite had beside it; None if there was nothing.

    Raises:
        StoreLockedError: If a process serves the store.
        UnreadableRecordError: If the backup is damaged, or not one that this version can serve.
        StoreUnavailableError: If it cannot be read or written; the store is then as it was.
    """
    lock = FileLock(str(path))
    try:
        lock.acquire()
    except OSError as error:
        raise StoreUnavailableError(f"{path}: {error.strerror}") from error
    partial = Path(f"{path}.partial")
    try:
        _prepare(backup, partial)
        kept = _put_aside(path)
        partial.replace(path)
        _sync(path.parent)
    except sqlite3.Error as error:
        raise to_store_error(error, str(backup)) from error
    except OSError as error:
        raise StoreUnavailableError(f"{error.filename or path}: {error.strerror}") from error
    else:
        return kept
    finally:
        for rest in (partial, Path(f"{partial}-journal")):
            rest.unlink(missing_ok=True)
        lock.release()


def _prepare(backup: Path, partial: Path) -> None:
    """Make the file that takes the store's place, whole and durable."""
    if not backup.is_file():
        raise StoreUnavailableError(f"there is no {backup}")
    partial.unlink(missing_ok=True)
    create_private(str(partial))
    with closing(sqlite3.connect(partial, isolation_level=None)) as copy:
        with closing(sqlite3.connect(backup.resolve().as_uri() + "?mode=ro", uri=True)) as source:
            _check_is_ours(source, backup)
            source.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")
        _check_whole(copy, backup)
        copy.execute("BEGIN IMMEDIATE")
        _leap(copy)
        copy.execute("COMMIT")
    _sync(partial)


def _put_aside(path: Path) -> Path | None:
    """Keep what is there under another name; the store itself stays until the new one takes its place.

    The log goes first: SQLite would take it for the log of the file that comes.
    """
    if not path.exists():
        return None
    kept = _free_name(path)
    os.link(path, kept)
    for beside in ("-wal", "-shm"):
        if os.path.exists(f"{path}{beside}"):  # noqa: PTH110 - a name, not a path of its own
            os.replace(f"{path}{beside}", f"{kept}{beside}")  # noqa: PTH105
    _sync(path.parent)
    return kept


def _free_name(path: Path) -> Path:
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    names = (Path(f"{path}.before-{now}{f'-{number}' if number else ''}") for number in range(1000))
    return next(name for name in names if not name.exists())


def _leap(copy: sqlite3.Connection) -> None:
    copy.execute("UPDATE out_segments SET first_seq = first_seq + ?", (LEAP,))
    moved = ", ".join(f"{name} = {name} + :leap" for name in ("out_first", "out_last", "settled_seq"))
    copy.execute(f"UPDATE heads SET {moved}", {"leap": LEAP})  # noqa: S608
    for sid, body in copy.execute("SELECT sid, body FROM states").fetchall():
        state: dict[str, Any] = loads(body)
        if state.get("turnStarts"):
            state["turnStarts"] = [start + LEAP for start in state["turnStarts"]]
            copy.execute("UPDATE states SET body = ? WHERE sid = ?", (dumps(state), sid))


def _check_is_ours(connection: sqlite3.Connection, path: Path) -> None:
    if connection.execute("PRAGMA application_id").fetchall()[0][0] != APPLICATION_ID:
        raise UnreadableRecordError(str(path), "it is not a store of chatrt")
    version: int = connection.execute("PRAGMA user_version").fetchall()[0][0]
    if version > VERSION:
        raise UnreadableRecordError(str(path), f"a newer chatrt wrote it (schema {version}, this one reads {VERSION})")


def _check_whole(connection: sqlite3.Connection, path: Path) -> int:
    problems = [row[0] for row in connection.execute("PRAGMA quick_check(3)").fetchall()]
    if problems != ["ok"]:
        raise UnreadableRecordError(str(path), f"{problems[0]}; it is damaged")
    count: int = connection.execute("SELECT count(*) FROM sessions").fetchall()[0][0]
    return count


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
