"""Stores: where sessions, records, messages and leases live; the contract is in `chatrt.stores.base`."""

from __future__ import annotations

from chatrt.errors import UsageError
from chatrt.stores.attachments import Attachment, AttachmentStore, find_attachment_store
from chatrt.stores.base import (
    SUSPECT_DEATHS,
    Appended,
    Claim,
    Commit,
    Cursors,
    InKind,
    Lease,
    NewRecord,
    Node,
    Notice,
    OnNotice,
    OutKind,
    OutPage,
    Parent,
    Recency,
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
    "SUSPECT_DEATHS",
    "Appended",
    "Attachment",
    "AttachmentStore",
    "Claim",
    "Commit",
    "Cursors",
    "InKind",
    "Lease",
    "MemoryStore",
    "NewRecord",
    "Node",
    "Notice",
    "OnNotice",
    "OutKind",
    "OutPage",
    "Parent",
    "Recency",
    "Record",
    "SQLiteStore",
    "SessionKey",
    "SessionRow",
    "SessionStatus",
    "Snapshot",
    "Store",
    "find_attachment_store",
    "open_store",
]

_KNOWN = "memory://, sqlite:///relative.db, sqlite:////absolute.db, postgresql://user:password@host/database"


def open_store(url: str) -> Store:
    """Make the store that a URL names; it still has to be opened by `await store.open()`.

    Raises:
        UsageError: If the URL names no store, or what that store needs is not installed.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "memory" and not rest:
        return MemoryStore()
    if separator and scheme == "sqlite" and rest.startswith("/") and rest.strip("/") and rest != "/:memory:":
        return SQLiteStore(rest[1:])
    if separator and scheme in ("postgresql", "postgres") and rest:
        return _open_postgres(url)
    raise UsageError(f"{url!r} names no store; known are {_KNOWN}")


def _open_postgres(url: str) -> Store:
    try:
        # Here, because asyncpg is an extra that few processes need.
        from chatrt.stores.postgres import PostgresStore
    except ModuleNotFoundError as error:
        raise UsageError("PostgreSQL needs an extra: pip install 'chatrt[postgres]'") from error
    return PostgresStore(url)
