"""Which records of a log belong to an answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from chatrt.client import ChatState, ChatStream, OutRecord
from chatrt.client.stream import Place
from chatrt.errors import ServerUnavailableError


class Log:
    """A transport that has only a log and messages."""

    def __init__(self, records: list[OutRecord], messages: list[Any] | None = None) -> None:
        self.records = records
        self.messages = messages or []
        self.loads = 0

    async def read(self, chat_id: str, *, after: int) -> AsyncGenerator[list[OutRecord], None]:
        for record in self.records:
            if record.seq > after or record.kind == "gap":
                yield [record]

    async def load(self, chat_id: str) -> ChatState:
        self.loads += 1
        return ChatState(self.messages, 99, 9, 9, "idle")


def turn(first: int, in_seq: int, word: str, **complete: Any) -> list[OutRecord]:
    """The records of a turn that says one word, from this sequence number on."""
    message_id = f"m{in_seq}"
    end = {"inSeq": in_seq, "trigger": "message", "status": "completed", "messageId": message_id, **complete}
    bodies = [
        ("turn-start", {"inSeq": in_seq, "trigger": "message", "messageId": message_id}),
        ("chunk", {"type": "start", "messageId": message_id}),
        ("chunk", {"type": "text-start", "id": "t"}),
        ("chunk", {"type": "text-delta", "id": "t", "delta": word}),
        ("chunk", {"type": "text-end", "id": "t"}),
        ("chunk", {"type": "finish"}),
        ("turn-complete", end),
    ]
    return [OutRecord(first + offset, kind, body) for offset, (kind, body) in enumerate(bodies)]


def stream(log: Any, seq: int, after: int = 0, shown: int = 0) -> ChatStream:
    async def begin() -> Place:
        return Place(seq, after, shown)

    return ChatStream(log, "c", begin, lambda _: None)


@pytest.mark.behaviour(136)
async def test_earlier_turns_are_skipped():
    """Turns of earlier inputs pass by, whole ones and the rest of one that was half read."""
    log = Log([*turn(1, 1, "first"), *turn(8, 2, "second"), *turn(15, 3, "third")])
    assert await stream(log, 3, after=4).text() == "third"


@pytest.mark.behaviour(137)
async def test_it_ends_with_its_own_turn():
    """What comes after the own turn is not read."""
    log = Log([*turn(1, 1, "first"), *turn(8, 2, "second")])
    chunks = [chunk async for chunk in stream(log, 1)]
    assert [chunk["type"] for chunk in chunks] == ["start", "text-start", "text-delta", "text-end", "finish"]


async def test_chunks_that_were_shown_are_not_given_again():
    """A place in the middle of a turn gives the chunks after it, and still the whole text."""
    log = Log(turn(1, 1, "word"))
    chunks = [chunk["type"] async for chunk in stream(log, 1, shown=4)]
    assert chunks == ["text-end", "finish"]
    assert await stream(log, 1, shown=4).text() == "word"


async def test_a_gap_before_the_turn_does_no_harm():
    """After a gap that ends before the own turn, the answer is read as always."""
    log = Log([OutRecord(7, "gap", {"after": 0, "firstSeq": 8}), *turn(8, 2, "second")])
    assert await stream(log, 2).text() == "second"
    assert log.loads == 0


async def test_a_gap_over_the_turn_is_filled_from_the_messages():
    """When records of the own turn are no longer kept, the message comes from the history."""
    told = {"id": "m2", "role": "assistant", "parts": [{"type": "text", "text": "second", "state": "done"}]}
    records = turn(8, 2, "second")
    log = Log([*records[:3], OutRecord(13, "gap", {"after": 10, "firstSeq": 14}), records[-1]], [told])
    result = await stream(log, 2).result()
    assert (result.text, result.message, result.status) == ("second", told, "completed")


async def test_a_log_that_ends_early_is_an_error():
    """A log that ends before the turn does is not taken for an answer."""
    with pytest.raises(ServerUnavailableError):
        await stream(Log(turn(1, 1, "word")[:4]), 1).text()


async def test_half_streamed_tool_inputs_are_no_part_of_a_stopped_answer():
    """The message of a stopped turn has no call whose input never became whole (D8)."""
    records = turn(1, 1, "word", status="stopped")
    half = OutRecord(6, "chunk", {"type": "tool-input-start", "toolCallId": "x", "toolName": "add"})
    result = await stream(Log([*records[:5], half, records[-1]]), 1).result()
    assert [part["type"] for part in result.message["parts"]] == ["text"]


async def test_leaving_closes_the_reader():
    """`aclose` lets go of the log in the middle of a turn."""
    log = Log(turn(1, 1, "word"))
    answer = stream(log, 1)
    async for _ in answer:
        break
    await answer.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(answer._reading)
