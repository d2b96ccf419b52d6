"""The PostgreSQL store: many processes on many machines, one database."""

from __future__ import annotations

from chatrt.stores.postgres.migrations import Migration, migrate, pending_migrations
from chatrt.stores.postgres.store import PostgresStore

__all__ = ["Migration", "PostgresStore", "migrate", "pending_migrations"]
