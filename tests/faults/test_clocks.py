"""Clocks that are wrong, and that are set while somebody serves: leases are judged by the database's clock alone."""

from __future__ import annotations

import asyncio
import glob
import random
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from chatrt import ChatAgent, Turn
from chatrt.client import AgentChat
from chatrt.clock import SystemClock
from chatrt.ids import RandomIds
from chatrt.runtime import SessionManager
from chatrt.stores.postgres import PostgresStore
from tests.faults.needs import skip
from tests.faults.raw_reader import RawReader
from tests.served import Server

APP = "tests.faults.line_app:app"
TTL = 1.0
HOUR = 3600


@pytest.fixture
def url(postgres) -> str:
    """A database of the test's own."""
    return postgres.create_database(RandomIds().new("clocks"))


# --- clocks that are given


class WrongClock(SystemClock):
    """Ticks as the machine's does, and shows another time."""

    def __init__(self) -> None:
        self.wrong = 0.0

    def now(self) -> float:
        return super().now() + self.wrong


@pytest.mark.parametrize("wrong", ["ahead and behind", "jumping"])
async def test_no_clock_makes_two_serve_one(url, wrong):
    """However wrong the clocks of two workers are, and however they jump, every input is answered once, in order, and
    the log has no gap: a lease may change hands early, but who lost it writes nothing."""
    agent, rng = ChatAgent("words"), random.Random(5)

    @agent.run
    async def respond(turn: Turn) -> AsyncIterator[dict]:
        yield {"type": "text-start", "id": "t"}
        for number in range(10):
            await asyncio.sleep(0.01)
            yield {"type": "text-delta", "id": "t", "delta": f"{number} "}
        yield {"type": "text-end", "id": "t"}

    clocks = WrongClock(), WrongClock()
    clocks[0].wrong, clocks[1].wrong = HOUR, -HOUR
    async with (
        SessionManager(agent, PostgresStore(url), clock=clocks[0], lease_ttl=TTL) as first,
        SessionManager(agent, PostgresStore(url), clock=clocks[1], lease_ttl=TTL) as second,
    ):
        chats = [AgentChat("words", id="c", sessions=sessions) for sessions in (first, second)]
        statuses = []
        for number in range(20):
            if wrong == "jumping":
                for clock in clocks:
                    clock.wrong = rng.choice((-HOUR, 0, HOUR))
            result = await asyncio.wait_for(chats[number % 2].send_message(f"{number}").result(), 20)
            statuses.append(result.status)
        for clock in clocks:
            clock.wrong = 0.0
        messages = await chats[0].messages()
        session = await second.get_session("c")
        records = [record async for batch in session.outbox.read(live=False) for record in batch]
    print(f"{statuses.count('completed')} of {len(statuses)} completed, the others interrupted by a change of hands")
    users = [one["parts"][0]["text"] for one in messages if one["role"] == "user"]
    assert users == [f"{number}" for number in range(20)]
    assert set(statuses) <= {"completed", "interrupted"}
    assert "completed" in statuses
    assert [record.seq for record in records] == list(range(records[0].seq, records[-1].seq + 1))
    assert sum(record.kind == "turn-complete" for record in records) == sum(
        record.kind == "turn-start" and b'"inSeq"' in record.body for record in records
    )


# --- the clock of a machine


def find_faketime() -> str:
    """Return the path of libfaketime."""
    found = sorted(glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1") + glob.glob("/usr/lib*/faketime/*MT.so.1"))
    if not found:
        skip("no clock can be set without libfaketime (apt-get install libfaketime)")
    return found[0]


class SetClock:
    """The wall clock of a process, which can be set while it runs."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.env = {
            "LD_PRELOAD": find_faketime(),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        self.set(0)

    def set(self, seconds: int) -> None:
        """Let the process see another time from now on."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}s\n")
        new.rename(self._file)


@pytest.fixture
def clock(tmp_path) -> SetClock:
    return SetClock(tmp_path / "clock")


@pytest.fixture
def servers(url, clock, tmp_path) -> Iterator[tuple[Server, Server]]:
    """Two processes on one database; the clock of the first one can be set."""
    made = []
    for name, env in (("first", clock.env), ("second", {})):
        (tmp_path / name).mkdir()
        made.append(Server(APP, tmp_path / name, CHATRT_STORE=url, CHATRT_LEASE_TTL=f"{TTL:g}", **env))
    yield made[0], made[1]
    for server in made:
        if server.running:
            server.kill()


def say(server: Server, number: int, text: str) -> None:
    message = {"id": f"user-{number}", "role": "user", "parts": [{"type": "text", "text": text}]}
    body = {"kind": "message", "message": message}
    httpx.post(f"{server.url}/v1/sessions/c/in", json=body, timeout=10).raise_for_status()


@pytest.mark.parametrize("way", [1, -1], ids=["ahead", "behind"])
def test_a_machine_whose_clock_is_wrong(servers, clock, way):
    """A process an hour ahead or behind keeps its session while it lives, also while its clock is set again and again,
    and is replaced as soon as any other when it dies."""
    wrong, right = servers
    clock.set(way * HOUR)
    wrong.start()
    session = (
        httpx.post(f"{wrong.url}/v1/sessions", json={"agent": "playbook", "chatId": "c"}).raise_for_status().json()
    )
    print(f"the first one believes in {session['createdAt']}")
    say(wrong, 1, "sleep")
    right.start()
    reader = RawReader(right.port, "c")
    reading = threading.Thread(target=reader.read_turns, args=(1,), kwargs={"seconds": 40})
    reading.start()
    for seconds in (way * HOUR, -way * HOUR, way * 2 * HOUR):
        clock.set(seconds)
        until = time.monotonic() + 1.2 * TTL
        while time.monotonic() < until:
            assert not reader.completed, f"it was taken from a worker that lives, with its clock at {seconds:+d} s"
            time.sleep(0.02)
    words = len(reader.events)
    wrong.kill()
    began = time.monotonic()
    reading.join(20)
    took = time.monotonic() - began
    print(f"{words} records until it died, taken over and ended after {took:.2f} s with a lease of {TTL} s")
    assert took < TTL + 2.0
    assert reader.completed == [1]
    assert reader.events[-1].body["status"] == "interrupted"
    reader.assert_contiguous()
    say(right, 2, "echo on")
    reader.read_turns(2)
    assert reader.completed == [1, 2]
