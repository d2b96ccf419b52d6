"""SIGKILL at random moments: what a served conversation keeps of its promises, told by a reader of its own."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests.served import Server

KILLS = 20
CHAT = "killed"
DOWN = (httpx.TransportError, httpx.HTTPStatusError)
AGAIN_SECONDS = 0.02
"""How long the clients here wait before they try again; the server is away for about a second."""


@dataclass
class Record:
    """One event of the outbox as it was read."""

    seq: int
    kind: str
    body: dict[str, Any]


@dataclass
class Reader:
    """Reads the outbox over any number of connections, each from the last seq that was read."""

    url: str
    records: list[Record] = field(default_factory=list)
    connections: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def cursor(self) -> int:
        return self.records[-1].seq if self.records else 0

    async def follow(self) -> None:
        """Read until cancelled."""
        async with httpx.AsyncClient(timeout=30) as http:
            while True:
                try:
                    await self._connect(http)
                except DOWN:
                    await asyncio.sleep(AGAIN_SECONDS)

    async def _connect(self, http: httpx.AsyncClient) -> None:
        headers = {"last-event-id": str(self.cursor)}
        async with http.stream("GET", f"{self.url}/out", headers=headers) as response:
            response.raise_for_status()
            self.connections += 1
            async for record in _records(response):
                self.records.append(record)
                self.news.set()

    async def wait_for(self, in_seq: int) -> None:
        """Return when the turn of this input is complete."""
        while not any(one.kind == "turn-complete" and one.body["inSeq"] == in_seq for one in self.records):
            self.news.clear()
            await self.news.wait()


async def _records(response: httpx.Response) -> AsyncIterator[Record]:
    """Decode whole events; one that is cut off by the end of the connection was not read."""
    rest = b""
    async for data in response.aiter_raw():
        *events, rest = (rest + data).split(b"\n\n")
        for event in events:
            fields = dict(
                line.split(": ", 1) for line in event.decode().split("\n") if line and not line.startswith(":")
            )
            if "id" in fields:
                yield Record(int(fields["id"]), fields.get("event", "chunk"), json.loads(fields["data"]))


@dataclass
class Said:
    """A message that the server acknowledged, and the answer it asks for."""

    message_id: str
    text: str
    expected: str
    seq: int = 0


async def _say(http: httpx.AsyncClient, url: str, said: Said) -> None:
    """Append until acknowledged; the key makes sure that a repeat is the same message."""
    message = {"id": said.message_id, "role": "user", "parts": [{"type": "text", "text": said.text}]}
    while True:
        try:
            response = await http.post(
                f"{url}/in",
                json={"kind": "message", "message": message},
                headers={"idempotency-key": said.message_id},
            )
            response.raise_for_status()
        except DOWN:
            await asyncio.sleep(AGAIN_SECONDS)
        else:
            said.seq = response.json()["seq"]
            return


async def _converse(url: str, reader: Reader, rng: random.Random, said: list[Said], end: asyncio.Event) -> None:
    """Say something, sometimes twice in a row, wait for the answers, go on."""
    async with httpx.AsyncClient(timeout=10) as http:
        while not end.is_set():
            for _ in range(rng.choice((1, 1, 2))):
                number, words = len(said), rng.randrange(5, 60)
                text, expected = rng.choice(
                    [
                        (f"echo number {number}", f"number {number}"),
                        (f"count {words}", "".join(f"w{word} " for word in range(words))),
                        (f"tool {number}+{words}", str(number + words)),
                    ]
                )
                said.append(Said(f"user-{number}", text, expected))
                await _say(http, url, said[-1])
            await reader.wait_for(said[-1].seq)


async def _kill_at_random(server: Server, rng: random.Random) -> None:
    for number in range(KILLS):
        if number % 5 == 4:
            await asyncio.sleep(rng.uniform(0.2, 1.5))  # in the middle of its start, perhaps
        else:
            await asyncio.to_thread(server.wait_until_ready)
            await asyncio.sleep(rng.uniform(0, 0.9))
        server.kill()
        server.spawn()
    await asyncio.to_thread(server.wait_until_ready)


def _answers(records: list[Record]) -> dict[int, str]:
    """The text of each turn by its input, put together from the log alone; a turn that began again counts anew."""
    answers: dict[int, str] = {}
    current = 0
    for record in records:
        if record.kind == "turn-start":
            current = record.body["inSeq"]
            answers[current] = ""
        elif record.kind == "chunk" and record.body["type"] == "text-delta":
            answers[current] += record.body["delta"]
    return answers


def _text(message: dict[str, Any]) -> str:
    return "".join(part["text"] for part in message["parts"] if part["type"] == "text")


@pytest.fixture
def seed() -> int:
    """The seed of a run is printed; set CHATRT_SEED to see the same choices again."""
    return int(os.environ.get("CHATRT_SEED") or random.SystemRandom().randrange(1_000_000))


@pytest.mark.timeout(180)
async def test_twenty_kills_lose_and_repeat_nothing(tmp_path, seed):
    """After SIGKILL at 20 random moments every acked message is answered once, and the log has no gap and no repeat."""
    print(f"CHATRT_SEED={seed}")
    rng = random.Random(seed)
    server = Server("chatrt.testing.playbook:app", tmp_path)
    server.start()
    url = f"{server.url}/v1/sessions/{CHAT}"
    httpx.post(f"{server.url}/v1/sessions", json={"agent": "playbook", "chatId": CHAT}).raise_for_status()
    reader, said, end = Reader(url), [], asyncio.Event()
    following = asyncio.create_task(reader.follow())
    talking = asyncio.create_task(_converse(url, reader, random.Random(seed + 1), said, end))
    try:
        await _kill_at_random(server, rng)
        end.set()
        await asyncio.wait_for(talking, 30)
        stored = httpx.get(f"{url}/messages").raise_for_status().json()
    finally:
        following.cancel()
        talking.cancel()
        server.kill()

    seqs = [record.seq for record in reader.records]
    assert seqs == list(range(1, len(seqs) + 1)), "the cursor has a gap or a repeat"
    completes = [record.body for record in reader.records if record.kind == "turn-complete"]
    assert [body["inSeq"] for body in completes] == [one.seq for one in said], "each acked message once, in order"

    messages = stored["messages"]
    assert stored["status"] == "idle"
    assert [(one["id"], _text(one)) for one in messages[::2]] == [(one.message_id, one.text) for one in said]
    assert {one["role"] for one in messages[1::2]} == {"assistant"}
    read = _answers(reader.records)
    for one, body, answer in zip(said, completes, messages[1::2], strict=True):
        assert body["status"] in ("completed", "interrupted")
        assert _text(answer) == read[one.seq], "what was read is what is stored"
        if body["status"] == "completed":
            assert _text(answer) == one.expected
        else:
            assert one.expected.startswith(_text(answer)), "a partial answer tells the truth"
    interrupted = sum(body["status"] == "interrupted" for body in completes)
    print(f"{len(said)} messages, {interrupted} interrupted, {len(seqs)} records, {reader.connections} connections")
    assert 0 < interrupted <= KILLS
    assert interrupted < len(said)
