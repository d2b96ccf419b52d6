"""Checks of the store: whether it can be reached, is whole, is durable, has room, and is nobody else's to read."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from chatrt.cli.checkup.finding import Finding
from chatrt.cli.checkup.postgres import check_postgres
from chatrt.errors import UsageError
from chatrt.stores import SQLiteStore, open_store
from chatrt.stores.sqlite_file import connect_reader, find_holder
from chatrt.stores.sqlite_schema import APPLICATION_ID, VERSION

LITTLE_ROOM, NO_ROOM = 1 << 30, 64 << 20
LARGE_LOG = 256 << 20
NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "afs", "ceph", "fuse.glusterfs"}
SKEW_SECONDS = 5.0


async def check_store(url: str) -> AsyncIterator[Finding]:
    """Look at a store, served or not; nothing is made or changed."""
    try:
        store = open_store(url)
    except UsageError as error:
        yield Finding("store", "problem", str(error), "give the URL of a store by --store or CHATRT_STORE")
        return
    if isinstance(store, SQLiteStore):
        for finding in _check_sqlite(Path(store.path)):
            yield finding
    elif url.startswith("memory:"):
        yield Finding("store", "warning", "all sessions are gone when the process ends", "--store sqlite:///chat.db")
    else:
        async for finding in check_postgres(url):
            yield finding


# --- SQLite


def _check_sqlite(path: Path) -> Iterator[Finding]:
    yield from _check_folder(path.parent)
    if not path.exists():
        yield Finding("store", "note", f"{path} is not there yet; the first start makes it")
        return
    yield from _check_mode(path)
    holder = find_holder(str(path))
    yield Finding("store-holder", "ok", f"process {holder} serves it" if holder else "nobody serves it now")
    try:
        connection = connect_reader(str(path))
    except sqlite3.Error as error:
        yield Finding("store", "problem", f"{path}: {error}", "run doctor as the user that serves it")
        return
    try:
        yield from _check_file(connection, path)
    except sqlite3.Error as error:
        yield Finding("store-integrity", "problem", f"{path}: {error}", _RESTORE)
    finally:
        connection.close()


_RESTORE = "stop the server and bring a backup back: chatrt restore BACKUP"


def _check_folder(folder: Path) -> Iterator[Finding]:
    if not folder.is_dir():
        yield Finding("store-folder", "problem", f"there is no folder {folder}", f"mkdir -p {folder}")
        return
    if not os.access(folder, os.W_OK | os.X_OK):
        yield Finding("store-folder", "problem", f"{folder} is not writable for this user", "chown it")
    if folder.stat().st_mode & 0o002 and not folder.stat().st_mode & 0o1000:
        yield Finding("store-folder", "warning", f"everybody may write to {folder}", f"chmod o-w {folder}")
    kind = find_file_system(folder, Path("/proc/mounts"))
    if kind in NETWORK:
        text = f"{folder} is on {kind}: SQLite's locks and its log do not work over a network"
        yield Finding("store-folder", "problem", text, "use a local disk, or PostgreSQL")
    free = shutil.disk_usage(folder).free
    if free < LITTLE_ROOM:
        level = "problem" if free < NO_ROOM else "warning"
        text = f"{free >> 20} MiB are left on the disk of {folder}"
        yield Finding("disk", level, text, "make room; on a full disk inputs are refused until there is some")
    else:
        yield Finding("disk", "ok", f"{free >> 30} GiB are free")


def find_file_system(folder: Path, mounts: Path) -> str | None:
    """Return the type of the file system that a folder is on, as a list of mounts has it."""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return None
    best, kind = "", None
    resolved = str(folder.resolve())
    for line in lines:
        point, found = line.split()[1:3]
        point = point.replace("\\040", " ")
        inside = resolved == point or resolved.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, found
    return kind


def _check_mode(path: Path) -> Iterator[Finding]:
    for file in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        if file.exists() and file.stat().st_mode & 0o077:
            text = f"others may read {file.name}, and with it every chat"
            yield Finding("store-mode", "warning", text, f"chmod 600 {file}")
    if not os.access(path, os.R_OK | os.W_OK):
        yield Finding("store-mode", "problem", f"{path} is not this user's to read and write", "chown it")


def _check_file(connection: sqlite3.Connection, path: Path) -> Iterator[Finding]:
    def pragma(name: str) -> Any:
        return connection.execute(f"PRAGMA {name}").fetchall()[0][0]

    version = pragma("user_version")
    if pragma("application_id") != APPLICATION_ID:
        yield Finding("store-version", "problem", f"{path} is not chatrt's", "give another file by --store")
        return
    if version > VERSION:
        text = f"a newer chatrt wrote it (schema {version}, this one reads {VERSION})"
        yield Finding("store-version", "problem", text, "pip install -U chatrt")
        return
    if version < VERSION:
        text = f"schema {version} becomes {VERSION} at the next start"
        yield Finding("store-version", "note", text, "take a backup first: there is no way back")
    else:
        yield Finding("store-version", "ok", f"schema {version}")
    problems = [row[0] for row in connection.execute("PRAGMA quick_check(5)")]
    if problems == ["ok"]:
        yield Finding("store-integrity", "ok", "quick_check found nothing")
    else:
        yield Finding("store-integrity", "problem", "; ".join(" ".join(line.split()) for line in problems), _RESTORE)
    mode = pragma("journal_mode")
    if mode != "wal":
        text = f"the journal mode is {mode}: somebody else has changed the file"
        yield Finding("store-durability", "warning", text, "the next start sets it to WAL again")
    else:
        yield Finding("store-durability", "ok", "WAL, and the server writes with synchronous=FULL")
    yield from _check_log(path)
    newest = connection.execute("SELECT max(updated_at) FROM heads").fetchall()[0][0] or 0.0
    if newest > time.time() + SKEW_SECONDS:
        text = f"the newest record is {newest - time.time():.0f} s in the future"
        yield Finding("clock", "warning", text, "the clock went back; run an NTP client")


def _check_log(path: Path) -> Iterator[Finding]:
    log = Path(f"{path}-wal")
    size = log.stat().st_size if log.exists() else 0
    if size > LARGE_LOG:
        text = f"the write-ahead log has {size >> 20} MiB: some program keeps reading"
        yield Finding("store-log", "warning", text, "find who else has the file open: fuser -v " + str(path))
