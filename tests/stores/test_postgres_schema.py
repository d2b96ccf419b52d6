"""What the schema of the PostgreSQL store keeps when it is migrated, and what it reads from an index."""

from __future__ import annotations

import asyncio

import asyncpg

from chatrt.stores import SessionKey
from chatrt.stores.postgres import PostgresStore, migrate, queries


async def create(store: PostgresStore, name: str, at: float) -> None:
    await store.create_session(SessionKey("", name), agent="support", metadata={}, client_data=None, at=at)


async def test_sessions_of_the_first_schema_are_listed_by_their_last_update(postgres_url):
    """What older workers stored before a migration, and go on storing behind it, has its place in the order."""
    await migrate(postgres_url, to=0)
    await migrate(postgres_url, to=1)
    store = PostgresStore(postgres_url)
    await store.open()
    await create(store, "early", 1.0)
    await migrate(postgres_url)
    await create(store, "late", 2.0)
    await store.close_session(SessionKey("", "early"), reason=None, at=3.0)
    listed = [row.key.chat_id async for row in store.iter_recent_sessions("")]
    await store.delete_session(SessionKey("", "early"))
    left = [row.key.chat_id async for row in store.iter_recent_sessions("", agent="support")]
    await store.close()
    assert (listed, left) == (["early", "late"], ["late"])


async def test_recent_sessions_are_read_from_an_index(postgres_url):
    """The newest come in the order of an index: nothing is sorted, however many there are."""
    await migrate(postgres_url)
    connection = await asyncpg.connect(postgres_url.partition("?")[0])
    await connection.execute("SET enable_seqscan = off; SET enable_bitmapscan = off")
    plans = []
    for agent in (False, True):
        sql = queries.recent(behind=True, agent=agent, parent=False)
        arguments = ["", None, 50, 9.0, "c", *(["support"] if agent else [])]
        rows = await connection.fetch(f"EXPLAIN {sql}", *arguments)
        plans.append("\n".join(row[0] for row in rows))
    await connection.close()
    assert all("Sort" not in plan for plan in plans)
    assert "recent_of_tenant" in plans[0]
    assert "recent_of_agent" in plans[1]


async def test_many_processes_start_at_once_on_an_empty_database(postgres_url):
    """One makes the tables; the others, which saw none before, find them made."""
    await migrate(postgres_url, to=0)
    stores = [PostgresStore(postgres_url) for _ in range(8)]
    await asyncio.gather(*(store.open() for store in stores))
    await create(stores[0], "chat", 1.0)
    listed = [row.key.chat_id async for row in stores[7].iter_recent_sessions("")]
    await asyncio.gather(*(store.close() for store in stores))
    assert listed == ["chat"]
