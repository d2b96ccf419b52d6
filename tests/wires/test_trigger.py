"""The Trigger-compatible wire, outwards: what becomes of the records of the log, and when a window ends."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatrt import codec
from chatrt.agent import ChatAgent
from chatrt.clock import ManualClock
from chatrt.runtime import Session, SessionManager
from chatrt.sse import SSEDecoder
from chatrt.stores import MemoryStore, NewRecord, Record
from chatrt.wires.chunk_versions import STOCK, parse_version
from chatrt.wires.frames import MAX_WRITE
from chatrt.wires.trigger import (
    find_cursor,
    find_settled,
    list_records,
    parse_window,
    read_settled,
    read_window,
)
from chatrt.wires.trigger_records import Translator, control_record, data_records, events

START = ("chunk", {"type": "start", "messageId": "a1"})
DELTA = ("chunk", {"type": "text-delta", "id": "t", "delta": "now"})
NOTE = ("chunk", {"type": "data-note", "id": "n", "data": 1})


def begin(in_seq: int, trigger: str = "message") -> tuple[str, dict]:
    return "turn-start", {"inSeq": in_seq, "trigger": trigger, "messageId": "a1"}


def complete(in_seq: int, trigger: str = "message", status: str = "completed", **more: Any) -> tuple[str, dict]:
    return "turn-complete", {"inSeq": in_seq, "trigger": trigger, "status": status, **more}


def numbered(*records: tuple[str, dict], first: int = 1) -> list[Record]:
    return [Record(first + index, 7, kind, codec.dumps(body)) for index, (kind, body) in enumerate(records)]


def told(translator: Translator, *records: tuple[str, dict], first: int = 1) -> list[tuple[int, Any]]:
    """Feed records, and return for each one that comes out its seq and its chunk, or its headers."""
    return [read(encoded) for encoded in translator.feed(numbered(*records, first=first))]


def read(encoded: bytes) -> tuple[int, Any]:
    record = json.loads(encoded)
    if record["body"]:
        return record["seq_num"], json.loads(record["body"])["data"]
    return record["seq_num"], dict(record["headers"])


def turn_complete(cursor: int) -> dict[str, str]:
    return {"trigger-control": "turn-complete", "session-in-event-id": str(cursor)}


# --- records


def test_a_chunk_that_is_said_by_several_is_as_many_records():
    """Each has a name of its own, because clients drop a record whose name they know."""
    wrong = {"type": "tool-input-error", "toolCallId": "c", "toolName": "x", "input": {}, "errorText": "no"}
    translator = Translator(parse_version("5.0.0"), 0)
    records = [json.loads(encoded) for encoded in translator.feed(numbered(begin(1), ("chunk", wrong)))]
    bodies = [json.loads(record["body"]) for record in records]
    assert [record["seq_num"] for record in records] == [2, 2, 2]
    assert [body["id"] for body in bodies] == ["2", "2.1", "2.2"]
    assert [body["data"]["type"] for body in bodies] == ["tool-input-start", "tool-input-delta", "tool-output-error"]


def test_a_chunk_is_a_data_record_of_the_same_seq():
    """The body is JSON in JSON, with an id that no other record has."""
    encoded = json.loads(data_records(numbered(START, first=12)[0], STOCK))
    assert encoded == {"seq_num": 12, "timestamp": 7, "body": encoded["body"], "headers": []}
    assert json.loads(encoded["body"]) == {"data": START[1], "id": "12"}


def test_a_record_is_encoded_once():
    """Readers of one record share the very same bytes."""
    chunk, end = numbered(DELTA, complete(1))
    assert data_records(chunk, STOCK) is data_records(chunk, STOCK)
    first, again = ([*Translator(STOCK, 0).feed([end])] for _ in range(2))
    assert first[0] is again[0]


def test_what_a_version_does_not_know_is_left_out():
    """One version's bytes are not another's."""
    (record,) = numbered(("chunk", {"type": "custom", "kind": "acme.thing"}))
    assert data_records(record, STOCK) == b""
    assert b"acme" in data_records(record, parse_version("7"))


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_no_text_can_end_a_line(text: str):
    """Whatever a model or a person wrote, a batch is one event with the same value."""
    (record,) = numbered(("chunk", {"type": "text-delta", "id": "t", "delta": text}))
    (frame,) = events([data_records(record, STOCK)], 1, 0)
    assert len(frame.decode().splitlines()) == 3
    (event,) = SSEDecoder().decode(frame)
    assert json.loads(json.loads(event.data)["records"][0]["body"])["data"]["delta"] == text


def test_no_reason_can_end_a_line():
    """The same holds for what stands in headers."""
    (frame,) = events([control_record(1, 0, "session-closed", ("session-closed-reason", "a\nb\u2028c"))], 1, 0)
    assert len(frame.decode().splitlines()) == 3


def test_records_share_events_up_to_a_size():
    """Events are large, but not larger than a write, unless one record is."""
    records = [b'{"x":"%b"}' % (b"y" * 30_000)] * 5 + [b'{"x":"%b"}' % (b"y" * 100_000)]
    frames = list(events(records, 9, 5))
    assert [frame.count(b'"x"') for frame in frames] == [2, 2, 1, 1]
    assert all(len(frame) < MAX_WRITE + 200 for frame in frames[:3])
    assert json.loads(frames[0].split(b"data: ")[1])["tail"] == {"seq_num": 10, "timestamp": 5}


# --- turns


def test_a_turn_ends_with_the_cursor_of_its_input():
    """A `turn-complete` has the seq of the input that it settles."""
    assert told(Translator(STOCK, 0), begin(3), START, complete(3)) == [(2, START[1]), (3, turn_complete(3))]


def test_a_turn_ends_with_the_cursor_of_what_was_settled_with_it():
    """Stops and injected messages are consumed: whoever waits for one of them is told by the same end."""
    assert told(Translator(STOCK, 0), begin(3), complete(3, status="stopped", inCursor=5))[-1] == (
        2,
        turn_complete(5),
    )


def test_an_injected_message_has_no_end_of_its_own():
    """The turn that took it up has ended already; another end would be taken for that of the next answer."""
    ends = told(Translator(STOCK, 0), begin(1), complete(1, inCursor=2), complete(2, status="injected"))
    assert ends == [(2, turn_complete(2))]


def test_a_message_that_was_taken_back_ends():
    """Whoever waits for the answer to a withdrawn message waits no more."""
    assert told(Translator(STOCK, 0), complete(4, status="withdrawn")) == [(1, turn_complete(4))]


def test_a_turn_that_is_begun_again_ends_once():
    """An end with a retry is none: the answer follows."""
    ends = told(
        Translator(STOCK, 0), begin(1), complete(1, status="interrupted", willRetry=True), begin(1), complete(1)
    )
    assert ends == [(4, turn_complete(1))]


@pytest.mark.parametrize("trigger", ["preload", "write", "switch"])
def test_what_nobody_of_this_wire_asked_for_is_no_turn(trigger: str):
    """Its data are shown as transient ones, without a start, an end or an error; a cursor never lies in between."""
    failed = ("chunk", {"type": "error", "errorText": "no"})
    translator = Translator(STOCK, 0)
    assert told(translator, begin(1, trigger), START, NOTE) == []
    assert translator.cursor == 0
    rest = told(translator, DELTA, NOTE, failed, complete(1, trigger), first=4)
    assert rest == [(7, {**NOTE[1], "transient": True})] * 2
    assert translator.cursor == 7


def test_what_a_dead_preload_wrote_is_told_before_the_next_turn():
    """A preload without an end gives way to the turn that follows."""
    records = told(Translator(STOCK, 0), begin(1, "preload"), NOTE, begin(2), START, complete(2))
    assert records == [(3, {**NOTE[1], "transient": True}), (4, START[1]), (5, turn_complete(2))]


def test_a_hand_over_to_newer_code_is_told():
    """The control record that clients know for it; the turn goes on."""
    assert told(Translator(STOCK, 0), ("upgrade", {"inSeq": 1})) == [(1, {"trigger-control": "upgrade-required"})]


def test_the_seam_of_a_head_start_is_left_out():
    """The cursor passes it."""
    translator = Translator(STOCK, 0)
    assert told(translator, ("handover", {"inSeq": 1, "messageId": "a1", "outcome": "final"})) == []
    assert translator.cursor == 1


def test_behind_a_gap_a_turn_is_read_from_its_start_or_not_at_all():
    """Half an answer would break the message that a client is making."""
    records = told(
        Translator(STOCK, 0), ("gap", {"after": 0, "firstSeq": 10}), DELTA, complete(1), begin(2), START, complete(2)
    )
    assert records == [(1, {"trigger-control": "gap"}), (5, START[1]), (6, turn_complete(2))]


def test_a_reader_may_begin_in_the_middle_of_a_turn():
    """Its cursor says what it has."""
    assert told(Translator(STOCK, 4), DELTA, complete(1), first=5) == [(5, DELTA[1]), (6, turn_complete(1))]


# --- windows


class Log:
    """A session whose log is written by the test, as another worker would."""

    def __init__(self, manager: SessionManager, session: Session, clock: ManualClock) -> None:
        self.manager, self.session, self.clock = manager, session, clock

    async def write(self, *records: tuple[str, dict]) -> None:
        lease = await self.manager.store.acquire_lease(self.session.key, owner="test", ttl=1e12, at=0)
        assert lease is not None
        new = [NewRecord(kind, codec.dumps(body)) for kind, body in records]
        first = await self.manager.store.append_out(lease, new, at=0)
        self.session.outbox.publish(first, 0, new)


@pytest.fixture
async def log():
    clock = ManualClock()
    manager = SessionManager(ChatAgent("a", run=lambda turn: "answer"), MemoryStore(), clock=clock)
    async with manager:
        yield Log(manager, await manager.start_session("a", "c1"), clock)


class Reader:
    """Reads a window piece by piece."""

    def __init__(self, log: Log, **options: Any) -> None:
        options = {"after": 0, "window": 60.0, "dialect": STOCK, **options}
        self._frames = read_window(log.session, clock=log.clock, **options)
        self._log = log

    async def next(self) -> Any:
        (event,) = SSEDecoder().decode(await anext(self._frames))
        return event.data if event.data == "[DONE]" else list(json.loads(event.data)["records"])

    async def later(self, seconds: float) -> Any:
        """Let time pass once the reader waits, and return what it says then."""
        waiting = asyncio.create_task(self.next())
        while self._log.clock.sleepers < 2:  # the session manager's sweep, and the reader
            await asyncio.sleep(0)
        self._log.clock.advance(seconds)
        return await waiting

    async def close(self) -> None:
        await self._frames.aclose()  # type: ignore[attr-defined]


async def test_a_quiet_window_is_kept_alive_and_then_ends(log: Log):
    """A record that moves no cursor comes every 25 seconds, and an end after the time that was asked for."""
    await log.write(begin(1), START)
    reader = Reader(log)
    assert [record["seq_num"] for record in await reader.next()] == [2]
    for _ in range(2):
        (record,) = await reader.later(25)
        assert (record["seq_num"], record["headers"]) == (2, [["trigger-control", "keepalive"]])
    assert await reader.later(10) == "[DONE]"


async def test_each_record_begins_the_window_anew(log: Log):
    """Only silence ends it."""
    await log.write(begin(1), START)
    reader = Reader(log, window=20.0)
    await reader.next()
    waiting = asyncio.create_task(reader.next())
    while log.clock.sleepers < 2:
        await asyncio.sleep(0)
    log.clock.advance(15)
    await log.write(DELTA)
    assert (await waiting)[0]["seq_num"] == 3
    waiting = asyncio.create_task(reader.next())
    while log.clock.sleepers < 2:
        await asyncio.sleep(0)
    log.clock.advance(5)  # the timer that was set before the record rings, and says nothing
    for _ in range(50):
        await asyncio.sleep(0)
    assert not waiting.done()
    log.clock.advance(15)
    assert await waiting == "[DONE]"


async def test_a_reader_that_leaves_leaves_nothing_behind(log: Log):
    """Neither a count of readers nor a task."""
    before = len(asyncio.all_tasks())
    await log.write(begin(1), START)
    reader = Reader(log)
    await reader.next()
    assert log.session.outbox.readers == 1
    await reader.close()
    assert log.session.outbox.readers == 0
    assert len(asyncio.all_tasks()) == before


async def test_a_reader_that_is_cut_off_leaves_nothing_behind(log: Log):
    """Cancelled while it waits, it detaches as well."""
    reader = Reader(log)
    waiting = asyncio.create_task(reader.next())
    while not log.session.outbox.readers:
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert log.session.outbox.readers == 0


async def test_nothing_settled_is_told_of_what_has_not_begun(log: Log):
    """An input that nobody has read yet is still to be answered."""
    assert await find_settled(log.session, log.manager.store) == 0
    body = NewRecord("message", b'{"message":{"id":"m","role":"user","parts":[]}}')
    await log.manager.store.append_in(log.session.key, body, part_id=None, at=0)
    assert await find_settled(log.session, log.manager.store) is None


async def test_what_begins_after_the_look_is_not_begun_here(log: Log):
    """A settled answer holds what was settled when it was promised, and ends."""
    frames = read_settled(log.session, after=0, until=0, dialect=STOCK, clock=log.clock)
    await log.write(begin(1), START)
    assert [frame async for frame in frames] == [b"data: [DONE]\n\n"]


async def test_a_cursor_is_a_number_within_the_log(log: Log):
    """Anything else means the beginning, one of a chat that was deleted since included."""
    await log.write(begin(1), START)
    cursors = [await find_cursor(log.session, text) for text in (None, "", "x", "-1", "١", "2", "3", "9" * 30)]
    assert cursors == [0, 0, 0, 0, 0, 2, 0, 0]


@pytest.mark.parametrize(
    ("header", "seconds"), [(None, 60), ("120", 120), ("0", 1), ("9999", 600), ("x", 60), ("-5", 60), ("1.5", 60)]
)
def test_a_window_is_one_second_to_ten_minutes(header: str | None, seconds: float):
    """What cannot be read is a minute."""
    assert parse_window(header) == seconds


async def test_records_are_listed_decoded(log: Log):
    """All that is there, at once."""
    await log.write(begin(1), START, complete(1))
    assert await list_records(log.session, after=0, dialect=STOCK) == [
        {"data": START[1], "id": "2", "seqNum": 2},
        {
            "data": None,
            "id": "3",
            "seqNum": 3,
            "headers": [["trigger-control", "turn-complete"], ["session-in-event-id", "1"]],
        },
    ]
