"""People who talk to the world over HTTP while it is being hurt, and write down what they said and read.

They know nothing of chatrt but the native wire of protocol.md: they append with part ids until they have an answer, at any
of the servers, and read by cursor over any number of connections.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.faults.histories import History, read_facts

AGAIN_SECONDS = 0.05
MOST_SECONDS = 1.0
"""What the time to the next attempt grows to, by half each time: a crowd that storms a server keeps it from starting."""

ANSWER_SECONDS = 5.0
"""How long an append may take before it counts as lost."""

SILENCE_SECONDS = 20.0
"""Longer than the heartbeats are apart: after such a silence a stream is dead."""

LOOK_SECONDS = 3.0
"""How long somebody who waits for an answer reads before asking where the chat stands."""

DOWN = (httpx.TransportError, httpx.HTTPStatusError)


@dataclass
class Wire:
    """How the people of one process reach the servers.

    Attributes:
        urls: The base URLs of the servers, any of which does.
    """

    http: httpx.AsyncClient
    urls: Sequence[str]
    history: History
    rng: random.Random

    def anywhere(self, chat: str, rest: str = "") -> str:
        """Return the URL of something about a chat at one of the servers."""
        return f"{self.rng.choice(self.urls)}/v1/sessions/{chat}{rest}"

    async def create(self, chat: str) -> None:
        """Make a session, until it is there."""
        while True:
            with suppress(*DOWN):
                made = await self.http.post(
                    f"{self.rng.choice(self.urls)}/v1/sessions", json={"agent": "world", "chatId": chat}
                )
                if made.is_success:
                    return
            await asyncio.sleep(AGAIN_SECONDS)

    async def append(self, chat: str, part: str, body: dict[str, Any]) -> int | None:
        """Append until it is acknowledged; returns the seq, or None if it is refused for good."""
        facts, pause = append_facts(body), AGAIN_SECONDS
        while True:
            seq = await self.append_once(chat, part, body, facts)
            if seq is not None:
                return seq or None
            await asyncio.sleep(pause)
            pause = min(MOST_SECONDS, pause * 1.5)

    async def append_once(self, chat: str, part: str, body: dict[str, Any], facts: dict[str, Any]) -> int | None:
        """Try once: the seq, 0 if it is refused for good, None if nobody knows or it may be tried again."""
        write = self.history.write
        write("client", "append", chat=chat, part=part, **facts)
        try:
            answer = await self.http.post(
                self.anywhere(chat, "/in"), json=body, headers={"idempotency-key": part}, timeout=ANSWER_SECONDS
            )
        except httpx.TransportError:
            write("client", "lost", chat=chat, part=part)
            return None
        value = _json(answer)
        if answer.is_success:
            write("client", "acked", chat=chat, part=part, seq=value["seq"], repeated=value["repeated"])
            return value["seq"]
        code = value.get("error", {}).get("code")
        write("client", "refused", chat=chat, part=part, status=answer.status_code, code=code)
        return None if answer.status_code >= 500 else 0


@dataclass
class Reader:
    """Follows `.out` of one chat over any number of connections, each behind the last seq that was read.

    Attributes:
        settled: The newest input whose `turn-complete` was read.
        lost: Whether a gap came since somebody looked: a `turn-complete` may have been in it.
        calls: The inputs of tool calls, by their ids.
        asked: Approvals that were asked for: approval id, tool call id and message id.
    """

    wire: Wire
    chat: str
    name: str
    cursor: int = 0
    connections: int = 0
    settled: int = 0
    lost: bool = False
    message_id: str = ""
    calls: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def follow(self) -> None:
        """Read until cancelled."""
        pause = AGAIN_SECONDS
        while True:
            before = self.connections
            with suppress(httpx.TransportError):
                await self._connect()
            pause = AGAIN_SECONDS if self.connections > before else min(MOST_SECONDS, pause * 1.5)
            await asyncio.sleep(pause * self.wire.rng.random())

    async def _connect(self) -> None:
        write, after = self.wire.history.write, self.cursor
        facts = {"chat": self.chat, "reader": self.name}
        # In one of two ways, both of which mean the same.
        where = (
            {"headers": {"last-event-id": str(after)}} if self.wire.rng.random() < 0.5 else {"params": {"after": after}}
        )
        timeout = httpx.Timeout(ANSWER_SECONDS, read=SILENCE_SECONDS)
        async with self.wire.http.stream(
            "GET", self.wire.anywhere(self.chat, "/out"), timeout=timeout, **where
        ) as answer:
            if not answer.is_success:
                await answer.aread()
                code = _json(answer).get("error", {}).get("code")
                write("client", "not-opened", **facts, after=after, status=answer.status_code, code=code)
                await asyncio.sleep(AGAIN_SECONDS)
                return
            self.connections += 1
            write("client", "opened", **facts, after=after)
            async for seq, kind, body in _records(answer):
                write("client", "read", **facts, seq=seq, kind=kind, **read_facts(kind, body))
                self._take(seq, kind, body)

    def _take(self, seq: int, kind: str, body: bytes) -> None:
        self.cursor = seq
        if kind == "chunk":
            if b'"tool-' in body:
                self._take_call(json.loads(body))
            return
        value = json.loads(body)
        if kind == "turn-start":
            self.message_id = value["messageId"]
        elif kind == "turn-complete" and not value.get("willRetry"):
            self.settled = max(self.settled, value["inSeq"], value.get("inCursor", 0))
        elif kind == "gap":
            self.lost = True
        self.news.set()

    def _take_call(self, chunk: dict[str, Any]) -> None:
        if chunk["type"] == "tool-input-available":
            self.calls[chunk["toolCallId"]] = chunk
        elif chunk["type"] == "tool-approval-request":
            self.asked.append((chunk["approvalId"], chunk["toolCallId"], self.message_id))


async def _records(answer: httpx.Response) -> AsyncIterator[tuple[int, str, bytes]]:
    """Decode whole events; one that is cut off by the end of the connection was not read."""
    rest = b""
    async for data in answer.aiter_raw():
        *events, rest = (rest + data).split(b"\n\n")
        for event in events:
            fields = dict(line.split(b": ", 1) for line in event.split(b"\n") if line and not line.startswith(b":"))
            if b"id" in fields:
                yield int(fields[b"id"]), fields.get(b"event", b"chunk").decode(), fields[b"data"]


def _json(answer: httpx.Response) -> dict[str, Any]:
    try:
        return answer.json()
    except ValueError:
        return {}


def append_facts(body: dict[str, Any]) -> dict[str, Any]:
    """Return what an `append` line says of a body."""
    message = body.get("message")
    facts: dict[str, Any] = {"kind": body["kind"], "text": ""}
    if message is not None:
        facts["message"] = message["id"]
        facts["text"] = "".join(part["text"] for part in message["parts"] if part["type"] == "text")
    if "inSeq" in body:
        facts["target"] = body["inSeq"]
    return facts


def user_message(message_id: str, text: str) -> dict[str, Any]:
    """Return a body that says something."""
    return {
        "kind": "message",
        "message": {"id": message_id, "role": "user", "parts": [{"type": "text", "text": text}]},
    }


class Person:
    """Somebody who has one chat after another, by the choices of a seed.

    Args:
        wire: Reaches the servers.
        name: Begins the ids of the chats.
        seed: Of the choices; what is chosen with another name is another choice.
        readers: How many read along.
        turns: How long a chat gets at most, in things said.
        pace: What all pauses are multiplied with.
    """

    def __init__(
        self, wire: Wire, name: str, seed: int, *, readers: int = 3, turns: int = 14, pace: float = 1.0
    ) -> None:
        self._wire = wire
        self._rng = random.Random(f"{seed} {name}")
        self._name = name
        self._readers = readers
        self._turns = turns
        self._pace = pace
        self._said = 0
        self.chat = ""

    async def converse(self, end: asyncio.Event) -> None:
        """Have chats until told to end; then wait for the last answer."""
        number = 0
        while not end.is_set():
            self.chat = f"{self._name}-{number}"
            number += 1
            await self._wire.create(self.chat)
            readers = [Reader(self._wire, self.chat, f"{self.chat}/{one}") for one in range(self._readers)]
            async with asyncio.TaskGroup() as group:
                following = [group.create_task(reader.follow()) for reader in readers]
                for _ in range(self._rng.randint(3, self._turns)):
                    if end.is_set():
                        break
                    await self._act(readers[0])
                await self._catch_up(readers)
                for task in following:
                    task.cancel()

    async def _catch_up(self, readers: Sequence[Reader]) -> None:
        """Let all readers come to the end of what one has read."""
        end = max(reader.cursor for reader in readers)
        for reader in readers:
            while reader.cursor < end:
                await asyncio.sleep(AGAIN_SECONDS)

    # --- what people do

    async def _act(self, reader: Reader) -> None:
        if reader.asked and self._rng.random() < 0.9:
            await self._decide(reader)
            return
        doing: list[tuple[int, Callable[[Reader], Awaitable[None]]]] = [
            (10, self._ask),
            (3, self._ask_twice),
            (3, self._ask_and_stop),
            (2, self._steer),
            (2, self._command),
            (1, self._regenerate),
            (1, self._stop_nothing),
            (2, self._load_page),
        ]
        (does,) = self._rng.choices([do for _, do in doing], [weight for weight, _ in doing])
        await does(reader)
        await asyncio.sleep(self._rng.random() * 0.3 * self._pace)

    def _question(self) -> str:
        rng, ms = self._rng, int(80 * self._pace)
        effect, other = (rng.choice(("pure", "idempotent", "unsafe")) for _ in range(2))
        took, count = rng.randrange(1, 300), rng.randrange(1, 12)
        return rng.choice(
            [
                f"say {count} 5",
                f"say {count} {ms}",
                f"say {3 * count} {ms}",
                f"call {effect} {took} {count}",
                f"call {effect} {took} {count}",
                f"both {effect} {other} {took} {count}",
                f"steps {rng.randrange(2, 5)} {took // 4} {count}",
                f"leave {effect} {took} {count}",
            ]
        )

    def _part(self) -> str:
        self._said += 1
        return f"{self._name}-p{self._said}"

    async def _say(self, text: str, **more: Any) -> int | None:
        part = self._part()
        body = {**user_message(f"u-{part}", text), **more}
        if self._rng.random() < 0.1:  # an impatient client: two of the same at once, at two servers perhaps
            await asyncio.gather(*(self._wire.append_once(self.chat, part, body, append_facts(body)) for _ in range(2)))
        return await self._wire.append(self.chat, part, body)

    async def _ask(self, reader: Reader) -> None:
        await self._wait(reader, await self._say(self._question()))

    async def _ask_twice(self, reader: Reader) -> None:
        await self._say(self._question())
        await self._wait(reader, await self._say(self._question()))

    async def _ask_and_stop(self, reader: Reader) -> None:
        seq = await self._say(self._rng.choice([f"say 30 {int(80 * self._pace)}", self._question()]))
        await asyncio.sleep(self._rng.random() * self._pace)
        stop = {"kind": "stop"} if self._rng.random() < 0.3 else {"kind": "stop", "inSeq": seq}
        await self._wire.append(self.chat, self._part(), stop)
        await self._wait(reader, seq)

    async def _steer(self, reader: Reader) -> None:
        await self._say(f"steps 3 {self._rng.randrange(100, 400)} 2")
        await asyncio.sleep(self._rng.random() * 0.5)
        await self._wait(reader, await self._say(self._question(), steer=True))

    async def _command(self, reader: Reader) -> None:
        body = {"kind": "action", "action": {"type": self._rng.choice(["undo", "speak"])}}
        await self._wait(reader, await self._wire.append(self.chat, self._part(), body))

    async def _regenerate(self, reader: Reader) -> None:
        await self._wait(reader, await self._wire.append(self.chat, self._part(), {"kind": "regenerate"}))

    async def _stop_nothing(self, reader: Reader) -> None:
        await self._wire.append(self.chat, self._part(), {"kind": "stop", "inSeq": reader.settled})

    async def _load_page(self, reader: Reader) -> None:
        """Show the history, and read on from where it ends; sometimes in the middle of an answer."""
        if self._rng.random() < 0.5:
            await self._say(self._question())
        with suppress(*DOWN):
            page = (
                await self._wire.http.get(self._wire.anywhere(self.chat, "/messages"), timeout=ANSWER_SECONDS)
            ).json()
            if "cursor" not in page:
                return
            ids = [message["id"] for message in page["messages"]]
            facts = {"cursor": page["cursor"], "in_cursor": page["inCursor"], "messages": ids}
            self._wire.history.write("client", "loaded", chat=self.chat, **facts)
            another = Reader(self._wire, self.chat, f"{reader.name}/{self._part()}", page["cursor"])
            following = asyncio.create_task(another.follow())
            await self._wait(another, page["lastInSeq"] if page["status"] == "running" else None)
            following.cancel()
            await asyncio.wait([following])

    async def _decide(self, reader: Reader) -> None:
        approval, call, message_id = reader.asked.pop()
        reader.asked.clear()
        offered = reader.calls[call]
        verdicts = self._rng.choice([[True], [True], [False], [True, False], [False, True], [True, True]])
        seq = None
        for approved in verdicts:
            part = {
                "type": f"tool-{offered['toolName']}",
                "toolCallId": call,
                "state": "approval-responded",
                "input": offered["input"],
                "approval": {"id": approval, "approved": approved},
            }
            message = {"id": message_id, "role": "assistant", "parts": [part]}
            seq = await self._wire.append(self.chat, self._part(), {"kind": "message", "message": message}) or seq
        await self._wait(reader, seq)

    async def _wait(self, reader: Reader, seq: int | None) -> None:
        """Return when an input is settled, as far as can be read or asked."""
        while seq is not None and reader.settled < seq:
            reader.news.clear()
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await reader.news.wait()
            except TimeoutError:
                reader.lost = True
            if reader.lost and reader.settled < seq:
                reader.lost = False
                with suppress(*DOWN):
                    found = await self._wire.http.get(
                        self._wire.anywhere(self.chat, "/messages"), timeout=ANSWER_SECONDS
                    )
                    if found.is_success and found.json()["inCursor"] >= seq:
                        return
