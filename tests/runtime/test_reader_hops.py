"""Readers that hop between two processes on one PostgreSQL database, while turns start, end, are trimmed and taken over."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from chatrt import ChatAgent
from chatrt.codec import loads
from chatrt.errors import StoreError
from chatrt.ids import RandomIds
from chatrt.runtime import SessionManager
from chatrt.stores.postgres import PostgresStore, migrate
from chatrt.ui import assemble
from tests.runtime.driver import kill, user

SEEDS = [int(seed) for seed in os.environ.get("HOPS_SEED", "1,2,3,4").split(",")]
READERS = 8
INPUTS = 12
LEASE_TTL = 1.0

Log = dict[int, tuple[str, bytes]]


class RecordingStore(PostgresStore):
    """Notes every record of `.out` that was stored, so that the log is known whole, also what is trimmed by now."""

    def __init__(self, url: str, log: Log) -> None:
        super().__init__(url)
        self._log = log

    async def append_out_groups(self, groups: Any, *, at: float) -> Any:
        firsts = await super().append_out_groups(groups, at=at)
        for first, (_, records) in zip(firsts, groups, strict=True):
            if isinstance(first, int):
                self._note(first, records)
        return firsts

    async def commit(self, lease: Any, commit: Any, *, at: float) -> int:
        first = await super().commit(lease, commit, at=at)
        self._note(first, commit.records)
        return first

    def _note(self, first: int, records: Any) -> None:
        for seq, (kind, body) in enumerate(records, first):
            self._log[seq] = (kind, bytes(body))


def talking(rng: random.Random) -> ChatAgent:
    """An agent whose answers have a random length, and come with pauses; its actions change the history."""

    async def run(turn: Any) -> AsyncIterator[dict[str, Any]]:
        yield {"type": "text-start", "id": "t"}
        for number in range(rng.randrange(40)):
            yield {"type": "text-delta", "id": "t", "delta": f"{turn.number}.{number} "}
            await asyncio.sleep(rng.choice([0, 0, 0.001, 0.01]))
        yield {"type": "text-end", "id": "t"}

    return ChatAgent("a", run=run, on_action=lambda event: event.history.slice(0, -2))


class House:
    """Two session managers of which one may die; another one comes then."""

    def __init__(self, url: str, rng: random.Random) -> None:
        self.log: Log = {}
        self.chat_id = RandomIds().new("chat")
        self.rng = rng
        self._url = url
        self._agent = talking(rng)
        self.managers: list[SessionManager] = []

    async def open(self) -> None:
        while len(self.managers) < 2:
            sessions = SessionManager(self._agent, RecordingStore(self._url, self.log), lease_ttl=LEASE_TTL)
            await sessions.start()
            self.managers.append(sessions)
        await self.managers[0].start_session("a", self.chat_id)

    async def kill_runner(self) -> None:
        """Let the one that runs a turn die without a word, if one runs: its lease has to run out."""
        runner = next((sessions for sessions in self.managers if sessions.active_runs), None)
        if runner is not None:
            self.managers.remove(runner)
            await kill(runner)
            await self.open()

    async def session(self) -> Any:
        return await self.rng.choice(self.managers).get_session(self.chat_id)

    async def close(self) -> None:
        for sessions in self.managers:
            await sessions.aclose(grace=0.0)


@dataclass
class Reader:
    """Loads the chat at one process, reads on at another one, and is cut off again and again."""

    house: House
    rng: random.Random
    state: Any = None
    cursor: int = 0
    read: Log = field(default_factory=dict)
    end: int | None = None

    async def go(self) -> None:
        await asyncio.sleep(self.rng.random() * 1.5)
        while self.end is None or self.cursor < self.end:
            with suppress(StoreError):
                session = await self.house.session()
                if self.state is None:
                    self.state = await session.load()
                    self.cursor = self.state.cursor
                    continue
                with suppress(TimeoutError):
                    async with asyncio.timeout(self.rng.choice([0.0, 0.003, 0.02, 0.1])):
                        await self._read_on(session)

    async def _read_on(self, session: Any) -> None:
        async for batch in session.outbox.read(self.cursor):
            for record in batch[: self.rng.choice([1, 3, len(batch)])]:
                assert record.seq == self.cursor + 1 or record.kind == "gap", "a hole or a repeat"
                self.cursor = record.seq
                if record.kind != "gap":
                    self.read[record.seq] = (record.kind, record.body)
            if self.rng.random() < 0.3:
                return
            if self.cursor < batch[-1].seq:
                return  # the rest of the batch is lost on the way


def check_slice(reader: Reader, log: Log) -> None:
    """What was read is the log, from the cursor that was loaded to its end, but for what was trimmed when it came."""
    assert reader.cursor == max(log)
    assert reader.read == {seq: log[seq] for seq in reader.read}
    missing = set(range(reader.state.cursor + 1, max(log) + 1)) - reader.read.keys()
    starts = [seq for seq in sorted(log) if log[seq][0] == "turn-start"]
    assert all(seq < starts[-2] for seq in missing), "the last two turns are always kept"


def check_seam(reader: Reader, final: list[Any]) -> None:
    """The messages that were loaded, and what the stream made of them, are the history in the end: nothing came twice."""
    built = {message["id"]: message for message in reader.state.messages}
    start: dict[str, Any] = {}
    chunks: list[Any] = []
    for _, (kind, body) in sorted(reader.read.items()):
        match kind:
            case "turn-start":
                start, chunks = loads(body), []
                assert start.get("message") == built.get(start["messageId"])
            case "chunk":
                chunks.append(loads(body))
            case "turn-complete" if start:
                made = assemble(chunks, start.get("message"))
                built |= {made["id"]: made} if made["parts"] else {}
                start = {}
            case _:
                pass
    whole = len(reader.read) == reader.cursor - reader.state.cursor
    for message in final:
        if message["role"] == "assistant" and (whole or message["id"] in built):
            assert built[message["id"]]["parts"] == message["parts"]


async def converse(house: House, rng: random.Random) -> int:
    """Say things at random processes; return the last record when all of it is settled."""
    for number in range(INPUTS):
        session = await house.session()
        match rng.choice(["say", "say", "say", "again", "act", "stop", "kill"]):
            case "say":
                await session.inbox.send_message(user(f"words {number}", f"u{number}"))
            case "again":
                await session.inbox.regenerate()
            case "act":
                await session.inbox.act("undo")
            case "stop":
                await session.inbox.stop()
            case _:
                await house.kill_runner()
        await asyncio.sleep(rng.choice([0, 0.01, 0.1]))
    while (position := await (await house.session()).position()).status != "idle":
        await asyncio.sleep(0.02)
    return position.cursor


@pytest.mark.parametrize("seed", SEEDS)
async def test_readers_that_hop_read_the_log(postgres_url: str, seed: int):
    """Messages and a cursor from one process, and the stream from any: no chunk comes twice and none is missed (INV-13)."""
    await migrate(postgres_url)
    rng = random.Random(seed)
    house = House(postgres_url, rng)
    await house.open()
    readers = [Reader(house, random.Random(seed * 100 + number)) for number in range(READERS)]
    try:
        running = [asyncio.create_task(reader.go()) for reader in readers]
        end = await converse(house, rng)
        for reader in readers:
            reader.end = end
        await asyncio.gather(*running)
        final = (await (await house.session()).load()).messages
    finally:
        await house.close()

    for reader in readers:
        check_slice(reader, house.log)
        check_seam(reader, final)
