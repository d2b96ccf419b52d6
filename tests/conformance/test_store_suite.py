"""Every store that ships passes the public conformance suite."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("chatrt.testing.store_suite")

from chatrt.stores import MemoryStore, SQLiteStore  # noqa: E402 - the suite's asserts are rewritten first
from chatrt.testing.store_suite import StoreSuite  # noqa: E402


class TestMemoryStore(StoreSuite):
    @pytest.fixture
    def make_store(self):
        return MemoryStore


class TestSQLiteStore(StoreSuite):
    @pytest.fixture
    def make_store(self, tmp_path):
        return lambda: SQLiteStore(tmp_path / "chat.db")
