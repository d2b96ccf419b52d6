"""The PostgreSQL store: many processes on many machines, one database."""

from __future__ import annotations

from chatrt.stores.postgres.migrations import VERSION, Migration, migrate, pending_migrations
from chatrt.stores.postgres.store import PostgresStore

__all__ = ["VERSION", "Migration", "PostgresStore", "migrate", "pending_migrations"]
