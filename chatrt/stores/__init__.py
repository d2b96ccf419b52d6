"""Stores: where sessions, records, messages and leases live; the contract is in `chatrt.stores.base`."""

from __future__ import annotations

from chatrt.errors import UsageError
from chatrt.stores.base import (
    Appended,
    Commit,
    Cursors,
    InKind,
    Lease,
    NewRecord,
    Node,
    OutKind,
    OutPage,
    Parent,
    Record,
    SessionKey,
    SessionRow,
    SessionStatus,
    Snapshot,
    Store,
)
from chatrt.stores.memory import MemoryStore
from chatrt.stores.sqlite import SQLiteStore

__all__ = [
    "Appended",
    "Commit",
    "Cursors",
    "InKind",
    "Lease",
    "MemoryStore",
    "NewRecord",
    "Node",
    "OutKind",
    "OutPage",
    "Parent",
    "Record",
    "SQLiteStore",
    "SessionKey",
    "SessionRow",
    "SessionStatus",
    "Snapshot",
    "Store",
    "open_store",
]

_KNOWN = "memory://, sqlite:///relative.db, sqlite:////absolute.db"


def open_store(url: str) -> Store:
    """Make the store that a URL names; it still has to be opened by `await store.open()`.

    Raises:
        UsageError: If the URL names no store.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "memory" and not rest:
        return MemoryStore()
    if separator and scheme == "sqlite" and rest.startswith("/") and rest.strip("/") and rest != "/:memory:":
        return SQLiteStore(rest[1:])
    raise UsageError(f"{url!r} names no store; known are {_KNOWN}")
