"""A PostgreSQL server that is killed, frozen or restarted: what was acked stays, and nothing waits for ever."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from chatrt import ChatAgent, Turn
from chatrt.client import AgentChat
from chatrt.errors import StaleEpochError, StoreError, StoreUnavailableError
from chatrt.runtime import SessionManager
from chatrt.stores.base import Notice, SessionKey
from chatrt.stores.postgres import PostgresStore
from chatrt.testing.store_suite.setting import NOW, OTHER, SAID, a_commit, chunks, create, lease_of, lost_lease_of, say
from tests.postgres import PostgresServer

CHAT = SessionKey("", "chat")


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
async def hurt_store(server) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(server.url())
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def url(postgres, request) -> str:
    """A database of the test's own on the server that tests share."""
    return postgres.create_database(request.node.name[:60])


@pytest.fixture
async def store(url) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(url)
    await store.open()
    yield store
    await store.close()


async def eventually(call):
    """Call until it succeeds; what it gives."""
    end = time.monotonic() + 15
    while True:
        try:
            return await call()
        except StoreUnavailableError:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("how", ["kill -9", "immediate", "fast"])
async def test_what_was_acked_survives_the_server(server, hurt_store, how):
    """Inputs that were acked before the server ended are there when it is back; a repeat by part id adds none."""
    store = hurt_store
    await create(store, CHAT)
    acked: dict[str, int] = {}

    async def append(number: int) -> None:
        part = f"part-{number}"
        appended = await eventually(lambda: store.append_in(CHAT, SAID, part_id=part, at=NOW))
        acked[part] = appended.seq

    appends = [asyncio.create_task(append(number)) for number in range(600)]
    while len(acked) < 100:
        await asyncio.sleep(0)
    if how == "kill -9":
        server.kill()
    else:
        server.stop(signal.SIGQUIT if how == "immediate" else signal.SIGINT)
    server.start()
    await asyncio.gather(*appends)
    found = await eventually(lambda: store.read_in(CHAT, after=0, limit=1000))
    assert len(set(acked.values())) == 600
    assert [record.seq for record in found] == list(range(1, 601))


async def test_a_frozen_server_is_unavailable_within_two_seconds(server, hurt_store):
    """A server that does not answer fails calls soon, and serves them again when it goes on."""
    store = hurt_store
    await create(store, CHAT)
    server.signal_all(signal.SIGSTOP)
    started = time.monotonic()
    with pytest.raises(StoreUnavailableError):
        await store.append_in(CHAT, SAID, part_id="p", at=NOW)
    took = time.monotonic() - started
    server.signal_all(signal.SIGCONT)
    assert took < 3.0
    await eventually(lambda: store.append_in(CHAT, SAID, part_id="p", at=NOW))
    assert len(await store.read_in(CHAT, after=0)) == 1


async def test_nothing_of_a_former_epoch_is_written(store):
    """Whoever lost the lease can write nothing by any call, and what the new holder wrote stands alone."""
    lost = await lost_lease_of(store, CHAT)
    await say(store, CHAT)
    writes = [
        store.append_out(lost, chunks(1, 2), at=NOW),
        store.commit(lost, a_commit(in_cursor=1), at=NOW),
        store.release_lease(lost, in_cursor=1),
    ]
    for write in writes:
        with pytest.raises(StaleEpochError):
            await write
    assert isinstance((await store.append_out_groups([(lost, chunks(1, 1))], at=NOW))[0], StaleEpochError)
    assert await store.renew_leases([lost], ttl=10, at=NOW) == [lost]
    cursors = await store.read_cursors(CHAT)
    assert (cursors.out_last_seq, cursors.in_cursor) == (0, 0)


async def test_two_processes_never_hold_one_lease(url, store):
    """Of two stores on one database that want a lease at once, one gets it, with an epoch of its own each time."""
    other = PostgresStore(url)
    await other.open()
    try:
        await create(store, CHAT)
        epochs: list[int] = []
        for turn in range(20):
            wanted = [one.acquire_lease(CHAT, owner=name, ttl=10, at=NOW) for one, name in ((store, "a"), (other, "b"))]
            held = [lease for lease in await asyncio.gather(*wanted) if lease is not None]
            assert len(held) == 1, turn
            epochs.append(held[0].epoch)
            await (store if held[0].owner == "a" else other).release_lease(held[0], in_cursor=0)
        assert epochs == list(range(epochs[0], epochs[0] + 20))
    finally:
        await other.close()


async def test_a_lost_listener_is_told_and_comes_back(url, store):
    """When the connection that listens is ended, subscribers look at everything, and hear of others again."""
    heard: asyncio.Queue[Notice] = asyncio.Queue()
    store.subscribe(heard.put_nowait)
    other = PostgresStore(url)
    await other.open()
    try:
        await create(other, CHAT)
        admin = await asyncpg.connect(url)
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query ILIKE '%listen%' AND pid <> pg_backend_pid()"
        )
        await admin.close()
        assert (await asyncio.wait_for(heard.get(), 5)).kind == "all"
        await eventually(lambda: other.append_in(CHAT, SAID, part_id=None, at=NOW))
        while (notice := await asyncio.wait_for(heard.get(), 5)).kind == "all":
            pass
        assert notice == Notice("free", CHAT, 1)
    finally:
        await other.close()


async def test_a_reader_elsewhere_outlives_a_restart(server):
    """A turn goes on and is read to its end at another process although the database was killed in its middle."""
    agent = ChatAgent("counting")
    half = asyncio.Event()
    go_on = asyncio.Event()

    @agent.run
    async def respond(turn: Turn) -> AsyncIterator[dict]:
        yield {"type": "text-start", "id": "t"}
        for number in range(20):
            if number == 10:
                half.set()
                await go_on.wait()
            yield {"type": "text-delta", "id": "t", "delta": f"{number} "}
        yield {"type": "text-end", "id": "t"}

    async with (
        SessionManager(agent, PostgresStore(server.url())) as first,
        SessionManager(agent, PostgresStore(server.url())) as second,
    ):
        here, there = AgentChat("counting", id="c", sessions=first), AgentChat("counting", id="c", sessions=second)
        await here.send_message("Count")
        await half.wait()
        stream = await there.reconnect()
        reading = asyncio.create_task(stream.text())
        server.kill()
        server.start()
        go_on.set()
        assert await asyncio.wait_for(reading, 20) == "".join(f"{number} " for number in range(20))


@pytest.mark.parametrize("hours", [1, -1])
async def test_a_lease_is_judged_by_the_database_clock(store, monkeypatch, hours):
    """The clock of a process that is set by an hour counts for nothing, from the first moment on: it takes no lease that
    is held, and the ones it takes last as long as any."""
    lease = await lease_of(store, CHAT, ttl=10, at=time.time())
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + hours * 3600)
    assert await store.acquire_lease(lease.key, owner="wrong", ttl=10, at=time.time()) is None
    other = await lease_of(store, OTHER, owner="wrong", ttl=10, at=time.time())
    monkeypatch.setattr(time, "time", right)
    assert await store.acquire_lease(other.key, owner="right", ttl=10, at=time.time() + 9) is None
    assert await store.acquire_lease(other.key, owner="right", ttl=10, at=time.time() + 11) is not None


async def test_a_server_that_is_not_there(tmp_path):
    """Opening fails in a sentence, soon."""
    store = PostgresStore("postgresql://postgres@127.0.0.1:1/none")
    with pytest.raises(StoreError):
        await store.open()
