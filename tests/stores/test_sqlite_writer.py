"""The writer of the SQLite store: groups, and what a failure in a group does to the others."""

from __future__ import annotations

import asyncio
import sqlite3
import threading

import pytest

from chatrt.errors import StoreUnavailableError, UsageError
from chatrt.stores.sqlite_writer import GROUP, Writer, undone_on_error


@pytest.fixture
async def connection(tmp_path):
    connection = sqlite3.connect(tmp_path / "test.db", isolation_level=None, check_same_thread=False)
    connection.executescript("""
        PRAGMA journal_mode = WAL;
        PRAGMA foreign_keys = ON;
        CREATE TABLE parents (id INTEGER PRIMARY KEY);
        CREATE TABLE numbers (number INTEGER UNIQUE, parent REFERENCES parents DEFERRABLE INITIALLY DEFERRED);
    """)
    yield connection
    connection.close()


@pytest.fixture
async def writer(connection):
    writer = Writer(connection, "test.db")
    yield writer
    await writer.stop()


@pytest.fixture
async def held(writer):
    """Keeps the writer busy until it is set, so that what is submitted meanwhile makes one group."""
    begun, release = threading.Event(), threading.Event()

    def hold(connection):
        begun.set()
        release.wait(10)

    holding = writer.submit(hold)
    await asyncio.to_thread(begun.wait, 10)
    yield release
    release.set()
    await holding


def insert(number, parent=None):
    def work(connection):
        connection.execute("INSERT INTO numbers VALUES (?, ?)", (number, parent))
        return number

    return work


def insert_then_fail(number):
    def work(connection):
        with undone_on_error(connection):
            connection.execute("INSERT INTO numbers VALUES (?, NULL)", (number,))
            raise UsageError("after it wrote")

    return work


def stored(connection):
    return [row[0] for row in connection.execute("SELECT number FROM numbers ORDER BY rowid")]


async def test_group_commit(connection, writer, held):
    """Everything that waits is written with one commit."""
    statements = []
    connection.set_trace_callback(statements.append)
    futures = [writer.submit(insert(number)) for number in range(100)]
    held.set()

    assert await asyncio.gather(*futures) == list(range(100))
    await writer.stop()

    assert statements.count("COMMIT") == 2  # one for what held the writer, one for the rest
    assert stored(connection) == list(range(100))


async def test_group_is_bounded(connection, writer, held):
    """A group has a largest size, so that the first in it do not wait for an endless rest."""
    statements = []
    connection.set_trace_callback(statements.append)
    futures = [writer.submit(insert(number)) for number in range(2 * GROUP + 1)]
    held.set()
    await asyncio.gather(*futures)
    await writer.stop()

    assert statements.count("COMMIT") == 1 + 3  # one for what held the writer


async def test_ack_comes_after_the_commit(connection, writer, tmp_path):
    """When a caller hears of its write, another connection can read it."""
    reader = sqlite3.connect(tmp_path / "test.db")
    await writer.submit(insert(1))

    assert stored(reader) == [1]
    reader.close()


async def test_failure_is_undone_alone(connection, writer, held):
    """A request that raises after it wrote is undone and gets its error; its group is written."""
    futures = [writer.submit(work) for work in (insert(1), insert_then_fail(2), insert(3))]
    held.set()

    results = await asyncio.gather(*futures, return_exceptions=True)

    assert results[::2] == [1, 3]
    assert isinstance(results[1], UsageError)
    assert stored(connection) == [1, 3]


async def test_failing_statement(connection, writer, held):
    """A request that SQLite refuses gets a store error; its group is written."""
    futures = [writer.submit(insert(number)) for number in (1, 2, 1, 3)]
    held.set()

    results = await asyncio.gather(*futures, return_exceptions=True)

    assert isinstance(results[2], StoreUnavailableError)
    assert stored(connection) == [1, 2, 3]


async def test_failing_commit(connection, writer, held):
    """When the commit itself is refused, only those are refused that it cannot be done with."""
    futures = [writer.submit(work) for work in (insert(1), insert(2, parent=99), insert(3))]
    held.set()

    results = await asyncio.gather(*futures, return_exceptions=True)

    assert results[::2] == [1, 3]
    assert isinstance(results[1], StoreUnavailableError)
    assert stored(connection) == [1, 3]


async def test_lack_of_memory(connection, writer, held):
    """Running out of memory refuses the request it happened to, and the writer lives on."""

    def work(connection):
        connection.execute("INSERT INTO numbers VALUES (7, NULL)")
        raise MemoryError

    futures = [writer.submit(one) for one in (insert(1), work, insert(2))]
    held.set()

    results = await asyncio.gather(*futures, return_exceptions=True)

    assert isinstance(results[1], StoreUnavailableError)
    assert stored(connection) == [1, 2]


async def test_cancelled_work_is_done(connection, writer, held):
    """Work whose caller was cancelled is done all the same, in its place."""
    futures = [writer.submit(insert(number)) for number in range(3)]
    futures[1].cancel()
    held.set()
    await futures[2]

    assert stored(connection) == [0, 1, 2]


async def test_stop_finishes(connection, writer, held):
    """Stopping finishes what was submitted and takes no more."""
    futures = [writer.submit(insert(number)) for number in range(3)]
    stopping = asyncio.ensure_future(writer.stop())
    await asyncio.sleep(0)

    with pytest.raises(StoreUnavailableError):
        writer.submit(insert(9))
    held.set()
    await stopping

    assert await asyncio.gather(*futures) == [0, 1, 2]
    assert stored(connection) == [0, 1, 2]
