"""Measures how cost grows with sessions, readers, records and processes on PostgreSQL; docs/scale.md reasons from it.

Run `python -m tests.bench.scale [turns|readers|rows|idle|notices ...]`. Everything shares this machine's cores, so look at the
CPU seconds of the workers and of PostgreSQL apart: what a machine of its own for each would carry follows from those.
"""

from __future__ import annotations

import asyncio
import os
import platform
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from chatrt.stores.postgres import PostgresStore
from tests.bench.scale_fleet import Cost, Fleet, private_server
from tests.bench.scale_load import Seen, append, attach, converse, create
from tests.bench.streams import percentile
from tests.postgres import PostgresServer

SIZES = (1, 2, 4)
WARM_UP = 20
STREAMS, WORDS, PAUSE = 60, 100, 0.02
CLIENTS, SHORT_TURNS = 32, 600
READERS = (1, 50, 200)
ROWS = (0, 100_000, 400_000)
IDLE_READERS, IDLE_SECONDS = 1_000, 10
LISTENERS = (0, 1, 16, 64)
NOTICE_WRITERS, NOTICE_SECONDS = 8, 4.0


async def started(server: PostgresServer, name: str, size: int) -> Fleet:
    """Start workers on a database of their own and let each do something once."""
    fleet = Fleet(server, server.create_database(name), size)
    await fleet.ready()
    names = [f"warm-{number}" for number in range(WARM_UP)]
    await create(fleet.urls, names)
    await asyncio.gather(*(talk(fleet, number, name, 1, 0.0) for number, name in enumerate(names)))
    return fleet


async def talk(fleet: Fleet, number: int, name: str, count: int, pause: float) -> Seen:
    """Ask at one process, read at the next one."""
    urls = fleet.urls
    return await converse(urls[number % len(urls)], [urls[(number + 1) % len(urls)]], name, count, pause)


async def turns(server: PostgresServer) -> None:
    """Paced answers, and as many short ones as possible, at 1, 2 and 4 workers."""
    print(f"\nturns: {STREAMS} at once of {WORDS} words, {PAUSE * 1e3:.0f} ms apart; then {SHORT_TURNS} of one word")
    for size in SIZES:
        fleet = await started(server, f"turns-{size}", size)
        try:
            names = [f"slow-{number}" for number in range(STREAMS)]
            await create(fleet.urls, names)
            before = await fleet.cost()
            seen = await all_of(talk(fleet, number, name, WORDS, PAUSE) for number, name in enumerate(names))
            cost = await fleet.cost() - before
            assert seen.words == STREAMS * WORDS, seen.words
            print(f"  {size} workers, paced   {per_turn(cost, STREAMS)}   {delays(seen)}")
            await short_turns(fleet, size)
        finally:
            fleet.stop()


async def short_turns(fleet: Fleet, size: int) -> None:
    """Some clients that ask again as soon as they were answered."""
    names = [f"short-{number}" for number in range(SHORT_TURNS)]
    await create(fleet.urls, names)
    left = list(enumerate(names))
    seen = Seen()

    async def client() -> None:
        while left:
            number, name = left.pop()
            seen.add(await talk(fleet, number, name, 1, 0.0))

    before, began = await fleet.cost(), time.perf_counter()
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    took = time.perf_counter() - began
    cost = await fleet.cost() - before
    rate = SHORT_TURNS / took
    print(f"  {size} workers, short   {per_turn(cost, SHORT_TURNS)}   {delays(seen)}   {rate:6.0f} turns/s")


async def readers(server: PostgresServer) -> None:
    """One answer with many readers, all at another process than the one that makes it."""
    print(f"\nreaders: one answer of {WORDS} words, {PAUSE * 1e3:.0f} ms apart, read elsewhere")
    fleet = await started(server, "readers", 2)
    try:
        for count in READERS:
            name = f"read-by-{count}"
            await create(fleet.urls, [name])
            before = await fleet.cost()
            seen = await converse(fleet.urls[0], [fleet.urls[1]] * count, name, WORDS, PAUSE)
            cost = await fleet.cost() - before
            assert seen.words == count * WORDS, seen.words
            each = cost.workers / seen.words * 1e6
            print(
                f"  {count:4} readers   workers {cost.workers:6.3f} s CPU, {each:6.1f} us a word and reader   "
                f"PostgreSQL {cost.database:6.3f} s   gap p99 {percentile(seen.gaps, 0.99) * 1e3:6.1f} ms"
            )
    finally:
        fleet.stop()


async def rows(server: PostgresServer) -> None:
    """Appends and short answers beside many sessions that are idle."""
    print("\nsessions: appends and short answers beside idle sessions")
    fleet = await started(server, "rows", 1)
    try:
        there = 0
        for count in ROWS:
            size = await fill(fleet.url, there, count)
            there = count
            name = f"beside-{count}"
            await create(fleet.urls, [name])
            acks = [await append(fleet.urls[0], name) for _ in range(300)]
            names = [f"{name}-{number}" for number in range(100)]
            await create(fleet.urls, names)
            before = await fleet.cost()
            await all_of(talk(fleet, 0, one, 1, 0.0) for one in names)
            cost = await fleet.cost() - before
            store = PostgresStore(fleet.url)
            await store.open()
            began = time.perf_counter()
            for _ in range(50):
                await store.find_unserved(at=time.time())
            look = (time.perf_counter() - began) / 50
            await store.close()
            print(
                f"  {count:9,} sessions, {size / 2**20:5.0f} MiB   append p50 {percentile(acks, 0.5) * 1e3:5.2f} ms, p99 {percentile(acks, 0.99) * 1e3:5.2f} ms   "
                f"{per_turn(cost, 100)}   a look for work {look * 1e3:5.2f} ms"
            )
    finally:
        fleet.stop()


async def fill(url: str, there: int, count: int) -> int:
    """Put in idle sessions, up to this many; returns the bytes of the database."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            f"""
            WITH made AS (
                INSERT INTO chatrt.sessions (tenant, chat_id, agent, created_at, metadata, client_data)
                SELECT '', 'idle-' || n, 'bench', 0, '{{}}', 'null' FROM generate_series({there + 1}, {count}) n
                RETURNING sid
            ), heads AS (
                INSERT INTO chatrt.heads (sid, updated_at, epoch) SELECT sid, 0, 0 FROM made
            )
            INSERT INTO chatrt.states (sid, body) SELECT sid, '{{}}' FROM made
            """
        )
        await connection.execute("VACUUM ANALYZE")
        return await connection.fetchval("SELECT pg_database_size(current_database())")
    finally:
        await connection.close()


async def idle(server: PostgresServer) -> None:
    """Readers of chats in which nothing happens."""
    print(f"\nidle: {IDLE_READERS:,} readers of as many chats in which nothing happens, at one process")
    fleet = await started(server, "idle", 1)
    try:
        names = [f"idle-{number}" for number in range(IDLE_READERS)]
        await create(fleet.urls, names)
        before = fleet.memory()
        connections = [await attach(fleet.urls[0], name) for name in names]
        each = (fleet.memory() - before) / IDLE_READERS
        spent, began = await fleet.cost(), time.perf_counter()
        await asyncio.sleep(IDLE_SECONDS)
        cost, took = await fleet.cost() - spent, time.perf_counter() - began
        for connection in connections:
            connection.close()
        print(
            f"  {each / 1024:5.1f} KiB a reader   {cost.workers / took * 100:5.2f} % of a core in the process, "
            f"{cost.database / took * 100:5.2f} % in PostgreSQL"
        )
    finally:
        fleet.stop()


async def notices(server: PostgresServer) -> None:
    """Commits a second of some writers with a notification each, by how many processes listen."""
    print(f"\nnotices: {NOTICE_WRITERS} writers, one notification a commit")
    url = server.create_database("notices")
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE TABLE rows (n bigint)")
    await connection.close()
    for told in (False, True):
        for count in LISTENERS if told else (0,):
            listeners = [await asyncpg.connect(url) for _ in range(count)]
            for listener in listeners:
                await listener.add_listener("here", lambda *_: None)
            done = await asyncio.gather(*(write(url, told=told) for _ in range(NOTICE_WRITERS)))
            for listener in listeners:
                await listener.close()
            words = f"{count:3} listeners" if told else "without any  "
            print(f"  {words}   {sum(done) / NOTICE_SECONDS:8,.0f} commits/s")


async def write(url: str, *, told: bool) -> int:
    """Commit for some seconds; returns how often."""
    connection = await asyncpg.connect(url)
    sql = "WITH w AS (INSERT INTO rows VALUES (1)) SELECT " + ("pg_notify('here', 'a chat')" if told else "1")
    statement = await connection.prepare(sql)
    end, done = time.monotonic() + NOTICE_SECONDS, 0
    while time.monotonic() < end:
        await statement.fetch()
        done += 1
    await connection.close()
    return done


async def all_of(talks: Any) -> Seen:
    """Wait for all, and put together what was seen."""
    seen = Seen()
    for one in await asyncio.gather(*talks):
        seen.add(one)
    return seen


def per_turn(cost: Cost, count: int) -> str:
    """What one turn has cost."""
    return (
        f"a turn: workers {cost.workers / count * 1e3:6.2f} ms CPU, PostgreSQL {cost.database / count * 1e3:6.2f} ms, "
        f"transactions {cost.transactions / count:5.1f} that write, {cost.wal / count / 1024:6.1f} KiB of log"
    )


def delays(seen: Seen) -> str:
    """What readers waited for."""
    text = f"ack p50 {percentile(seen.acks, 0.5) * 1e3:5.1f} ms, first word p50 {percentile(seen.firsts, 0.5) * 1e3:5.1f} ms"
    return text + (f", gap p99 {percentile(seen.gaps, 0.99) * 1e3:5.1f} ms" if seen.gaps else "")


PARTS: dict[str, Callable[[PostgresServer], Awaitable[None]]] = {
    "turns": turns,
    "readers": readers,
    "rows": rows,
    "idle": idle,
    "notices": notices,
}


async def main(names: list[str]) -> None:
    """Run the parts that are named, all by default."""
    cores = len(os.sched_getaffinity(0))
    print(f"{cores} cores ({platform.machine()}), Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}")
    with private_server() as server:
        for name in names or PARTS:
            await PARTS[name](server)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
