"""Every store that ships passes the public conformance suite."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("chatrt.testing.store_suite")

import asyncpg  # noqa: E402

from chatrt.stores import MemoryStore, SQLiteStore  # noqa: E402 - the suite's asserts are rewritten first
from chatrt.stores.postgres import PostgresStore, migrate  # noqa: E402
from chatrt.testing.store_suite import StoreSuite  # noqa: E402


class TestMemoryStore(StoreSuite):
    @pytest.fixture
    def make_store(self):
        return MemoryStore


class TestSQLiteStore(StoreSuite):
    @pytest.fixture
    def make_store(self, tmp_path):
        return lambda: SQLiteStore(tmp_path / "chat.db")


class TestPostgresStore(StoreSuite):
    @pytest.fixture
    async def make_store(self, postgres_url):
        await migrate(postgres_url)
        connection = await asyncpg.connect(postgres_url.partition("?")[0])
        for table in ("sessions", "heads", "work", "inbox", "out_segments", "nodes", "states", "attachments"):
            await connection.execute(f"DELETE FROM chatrt.{table}")
        await connection.execute("UPDATE chatrt.epoch_floor SET epoch = 0")
        await connection.close()
        return lambda: PostgresStore(postgres_url)
