"""`chatrt backup`: copy a SQLite store to a file, while it is served or not."""

from __future__ import annotations

import argparse
import os
from datetime import UTC, datetime
from pathlib import Path

from chatrt.errors import UsageError
from chatrt.stores import SQLiteStore, open_store
from chatrt.stores.sqlite_backup import backup_sqlite


def run(options: argparse.Namespace) -> int:
    """Copy it; a folder as target gets a file with the time in its name.

    Raises:
        UsageError: If the store is no SQLite file, or there is something at the target.
        StoreError: If it cannot be read or written.
    """
    source, target = sqlite_path(options.store), Path(options.target)
    if target.is_dir():
        target /= datetime.now(UTC).strftime(f"{source.stem}-%Y%m%dT%H%M%SZ.db")
    count = backup_sqlite(source, target)
    print(f"{target}: {count} sessions")
    return 0


def sqlite_path(url: str | None) -> Path:
    """Return the file of a store.

    Raises:
        UsageError: If the store is no SQLite file.
    """
    named = url or os.environ.get("CHATRT_STORE") or "sqlite:///chatrt.db"
    store = open_store(named)
    if not isinstance(store, SQLiteStore):
        raise UsageError("only a SQLite store is copied; for PostgreSQL there are pg_dump and pg_basebackup")
    return Path(store.path)
