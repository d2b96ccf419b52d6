"""What the schema of the PostgreSQL store keeps when it is migrated, and what it reads from an index."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from chatrt.codec import pack
from chatrt.errors import UnreadableRecordError
from chatrt.stores import SessionKey
from chatrt.stores.postgres import PostgresStore, migrate, queries

NOW = 1_700_000_000.0


async def create(store: PostgresStore, name: str, at: float) -> None:
    await store.create_session(SessionKey("", name), agent="support", metadata={}, client_data=None, at=at)


def _session(name: str, at: float) -> tuple[object, ...]:
    """What `create_session_1` is called with."""
    return ("", name, "support", at, b"{}", b"null", None, None, None)


async def test_a_database_is_migrated_before_its_workers(postgres_url):
    """A worker that finds a schema which is too old for it does not start, and says what to do."""
    await migrate(postgres_url, to=0)
    await migrate(postgres_url, to=2)
    with pytest.raises(UnreadableRecordError, match="chatrt migrate"):
        await PostgresStore(postgres_url).open()


async def test_workers_of_the_second_schema_go_on_with_the_third(postgres_url):
    """What older workers call is still there: they append, serve and settle, and what they settle ends counts of deaths."""
    await migrate(postgres_url, to=0)
    await migrate(postgres_url)
    key = SessionKey("", "chat")
    store = PostgresStore(postgres_url)
    await store.open()
    await store.create_session(key, agent="support", metadata={}, client_data=None, at=NOW)
    older = await asyncpg.connect(postgres_url.partition("?")[0])
    said = await older.fetchrow(
        "SELECT * FROM chatrt.append_in_1($1, $2, $3, $4, $5, $6, $7, $8, 'p')",
        *([""], ["chat"], [NOW], ["message"], [None], [False], [b"{}"], ["message"]),
    )
    await store.acquire_lease(key, owner="dead", ttl=10, at=NOW)
    took = await store.acquire_lease(key, owner="dead too", ttl=10, at=NOW + 20)
    epoch = await older.fetchval("SELECT chatrt.acquire_lease_1('', 'chat', 'older', $1, $2)", NOW + 50, NOW + 40)
    values = (
        "",
        "chat",
        epoch,
        "older",
        NOW,
        1,
        pack([("turn-complete", b"{}")]),
        [],
        [],
        [],
        [],
        [],
        None,
        1,
        b"{}",
        0,
    )
    places = ", ".join(f"${number}" for number in range(1, 17))
    await older.fetch(f"SELECT chatrt.commit_1({places}, 'p')", *values)
    await older.close()
    again = await store.acquire_lease(key, owner="newer", ttl=10, at=NOW + 60)
    await store.close()
    assert tuple(said) == ("appended", 1)
    assert took is not None
    assert again is not None
    assert (took.deaths, again.deaths) == (1, 0)


async def test_sessions_of_the_first_schema_are_listed_by_their_last_update(postgres_url):
    """What older workers stored before a migration, and go on storing behind it, has its place in the order."""
    await migrate(postgres_url, to=0)
    await migrate(postgres_url, to=1)
    older = await asyncpg.connect(postgres_url.partition("?")[0])
    await older.fetch(queries.CREATE, *_session("early", 1.0))
    await migrate(postgres_url)
    await older.fetch(queries.CREATE, *_session("late", 2.0))
    await older.close()
    store = PostgresStore(postgres_url)
    await store.open()
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
