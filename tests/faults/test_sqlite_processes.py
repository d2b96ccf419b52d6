"""SQLite under fire: processes that are killed, paused, and two that want one file."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import sys
from pathlib import Path

import pytest

from chatrt.errors import StoreLockedError
from chatrt.stores import SessionKey, SQLiteStore

CHAT = SessionKey("", "chat")
ROUNDS = 6


class Child:
    """A child process and what it told."""

    def __init__(self, process):
        self.process = process

    @classmethod
    async def start(cls, mode, path):
        script = Path(__file__).with_name("sqlite_child.py")
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(script), mode, str(path), stdout=asyncio.subprocess.PIPE, cwd=script.parents[2],
            env={"PYTHONPATH": str(script.parents[2])},
        )  # fmt: skip
        child = cls(process)
        assert await child.next() == {"ready": True}
        return child

    async def next(self):
        line = await self.process.stdout.readline()
        return json.loads(line) if line.endswith(b"\n") else None

    async def kill(self):
        """End the process by SIGKILL and return what it still said."""
        if self.process.returncode is None:
            self.process.kill()
        rest = []
        while (fact := await self.next()) is not None:
            rest.append(fact)
        await self.process.wait()
        return rest


@pytest.fixture
async def start(tmp_path):
    children = []

    async def start(mode):
        children.append(await Child.start(mode, tmp_path / "chat.db"))
        return children[-1]

    yield start
    for child in children:
        if child.process.returncode is None:
            child.process.send_signal(signal.SIGCONT)
            await child.kill()


async def test_kill_loses_nothing_acked(tmp_path, start):
    """After every SIGKILL each acked record is there once, at its seq, with its bytes, and the file is whole."""
    facts = []
    for number in range(ROUNDS):
        child = await start("append")
        facts += [await child.next() for _ in range(60 + 17 * number)]
        facts += await child.kill()

        check = sqlite3.connect(tmp_path / "chat.db")
        assert check.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        check.close()

    store = SQLiteStore(tmp_path / "chat.db")
    await store.open()
    incoming = await store.read_in(CHAT, after=0, limit=1_000_000)
    outgoing = (await store.read_out(CHAT, after=0, limit=1_000_000)).records
    snapshot = await store.load_snapshot(CHAT)
    await store.close()
    for stream, records in (("in", incoming), ("out", outgoing)):
        assert [record.seq for record in records] == list(range(1, len(records) + 1))
        acked = [fact for fact in facts if fact.get("stream") == stream]
        assert len(acked) > 20 * ROUNDS
        for fact in acked:
            assert records[fact["seq"] - 1].body.decode() == fact["body"]
    bodies = [record.body for record in incoming]
    assert len(bodies) == len(set(bodies))
    committed = max(fact["committed"] for fact in facts if "committed" in fact)
    assert len(snapshot.nodes) == snapshot.state["number"] in {committed, committed + 1}


async def test_second_process_refuses(tmp_path, start):
    """While a process serves a file no other one starts on it; the error tells the first one's pid."""
    child = await start("hold")

    with pytest.raises(StoreLockedError, match=f"pid {child.process.pid}"):
        await SQLiteStore(tmp_path / "chat.db").open()


async def test_paused_process_keeps_its_file(tmp_path, start):
    """A process that is paused still has its file: nobody takes over what may wake up and write."""
    child = await start("hold")
    child.process.send_signal(signal.SIGSTOP)

    with pytest.raises(StoreLockedError):
        await SQLiteStore(tmp_path / "chat.db").open()


async def test_killed_process_leaves_its_file(tmp_path, start):
    """A file whose process was killed can be served at once."""
    child = await start("hold")
    await child.kill()

    store = SQLiteStore(tmp_path / "chat.db")
    await store.open()
    row, is_new = await store.create_session(CHAT, agent="a", metadata={}, client_data=None, at=0.0)
    await store.close()
    assert (row.key, is_new) == (CHAT, True)


async def test_second_store_of_one_process_refuses(tmp_path):
    """A second store on the same file is refused within one process too, under any name of the file."""
    first = SQLiteStore(tmp_path / "chat.db")
    await first.open()
    (tmp_path / "link.db").symlink_to(tmp_path / "chat.db")

    for name in ("chat.db", "link.db"):
        with pytest.raises(StoreLockedError):
            await SQLiteStore(tmp_path / name).open()
    await first.close()

    second = SQLiteStore(tmp_path / "link.db")
    await second.open()
    await second.close()


async def test_file_size_limit(tmp_path, start):
    """When the system takes no more bytes nothing is acked, reads go on, and writes go on once it takes them."""
    child = await start("starve")
    facts = []
    while (fact := await child.next()) is not None:
        facts.append(fact)

    acked = {fact["acked"]: fact["seq"] for fact in facts if "acked" in fact}
    refused = [fact["refused"] for fact in facts if "refused" in fact]
    assert len(facts) == 200
    assert refused
    assert max(refused) < 150
    assert set(range(150, 200)) <= set(acked)
    assert all(fact["readable"] for fact in facts if "refused" in fact)
    store = SQLiteStore(tmp_path / "chat.db")
    await store.open()
    records = await store.read_in(CHAT, after=0, limit=1000)
    await store.close()
    assert {int(record.body.split(b":")[0]): record.seq for record in records} == acked
