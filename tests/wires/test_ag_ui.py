"""The AG-UI wire: picking runs out of the log, and telling a thread to who connects."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from chatrt import codec
from chatrt.agent import ChatAgent
from chatrt.runtime import Session, SessionManager
from chatrt.stores import MemoryStore, NewRecord
from chatrt.wires.ag_ui import RunReader, connect
from chatrt.wires.ag_ui_run import RunEvents
from chatrt.wires.ai_sdk import StreamCutError
from tests.wires.ag_ui_rules import check, types

ASKED = {
    "id": "a1",
    "role": "assistant",
    "parts": [{"type": "step-start"}, {"type": "text", "text": "earlier", "state": "done"}],
}
USER = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "x"}]}


def begin(in_seq: int, message_id: str = "a1", **more: Any) -> tuple[str, dict]:
    return "turn-start", {"inSeq": in_seq, "trigger": "message", "messageId": message_id, **more}


def complete(in_seq: int, **more: Any) -> tuple[str, dict]:
    return "turn-complete", {"inSeq": in_seq, "trigger": "message", "status": "completed", **more}


def chunk(kind: str, **fields: Any) -> tuple[str, dict]:
    return "chunk", {"type": kind, **fields}


def text(delta: str, *, end: bool = True) -> list[tuple[str, dict]]:
    said = [chunk("text-start", id="t"), chunk("text-delta", id="t", delta=delta)]
    return [*said, chunk("text-end", id="t")] if end else said


class Log:
    """A session whose log is written by the test, as another worker would."""

    def __init__(self, session: Session, store: MemoryStore) -> None:
        self.session = session
        self.store = store

    async def write(self, *records: tuple[str, dict]) -> None:
        lease = await self.store.acquire_lease(self.session.key, owner="test", ttl=1e12, at=0)
        assert lease is not None
        await self.store.append_out(lease, [NewRecord(kind, codec.dumps(body)) for kind, body in records], at=0)

    async def read(self, *in_seqs: int) -> list[dict[str, Any]]:
        """The events of a run that these inputs make."""
        events = RunEvents("c1", "r1")
        reader = RunReader(events, list(in_seqs))
        frames = [events.start()]
        async for batch in self.session.outbox.read(0, live=False):
            frames += reader.feed(batch)
        assert reader.settled
        return check(b"".join(frames))


@pytest.fixture
async def log() -> AsyncIterator[Log]:
    store = MemoryStore()
    async with SessionManager(ChatAgent("kit", run=lambda _: None), store) as sessions:
        session = await sessions.start_session("kit", "c1")
        yield Log(session, store)


def deltas(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(event["messageId"], event["delta"]) for event in events if event["type"] == "TEXT_MESSAGE_CONTENT"]


async def test_only_the_turn_of_the_run_is_told(log):
    """Turns before and after it are somebody else's."""
    await log.write(
        begin(1), *text("one"), complete(1), begin(2, "a2"), *text("two"), complete(2), begin(3), *text("x")
    )
    assert deltas(await log.read(2)) == [("a2", "two")]


async def test_a_run_of_two_inputs_ends_with_the_second(log):
    """An approval that was given, and what was said behind it."""
    await log.write(begin(1), *text("one"), complete(1), begin(2, "a2"), *text("two"), complete(2))
    events = await log.read(1, 2)
    assert deltas(events) == [("a1", "one"), ("a2", "two")]
    assert types(events).count("RUN_FINISHED") == 1


async def test_a_retried_answer_is_one_run(log):
    """What the dead server had said is ended, and the new answer follows under ids of its own."""
    await log.write(begin(1), chunk("start-step"), *text("half", end=False))
    await log.write(complete(1, status="interrupted", willRetry=True), begin(1, "a2"), *text("whole"), complete(1))
    events = await log.read(1)
    assert deltas(events) == [("a1", "half"), ("a2", "whole")]
    assert events[-1]["outcome"] == {"type": "success"}


async def test_a_turn_that_begins_anew_is_one_run(log):
    """After an upgrade, or a crash before anything was said."""
    await log.write(begin(1), ("upgrade", {"inSeq": 1}), begin(1), *text("whole"), complete(1))
    assert deltas(await log.read(1)) == [("a1", "whole")]


async def test_an_interrupted_turn_is_an_error(log):
    """Nobody takes half an answer for a whole one."""
    await log.write(begin(1), *text("half"), complete(1, status="interrupted"))
    end = (await log.read(1))[-1]
    assert (end["type"], end["code"]) == ("RUN_ERROR", "turn-interrupted")


async def test_a_turn_that_failed_before_it_said_anything_is_an_error(log):
    """With the code and the text that everybody reads."""
    failure = {"code": "internal-error", "message": "An error occurred.", "id": "err_1"}
    await log.write(begin(1), complete(1, status="failed", error=failure))
    events = await log.read(1)
    assert types(events) == ["RUN_STARTED", "RUN_ERROR"]
    assert (events[1]["code"], events[1]["message"]) == ("internal-error", "An error occurred.")


async def test_an_injected_message_names_the_answer_that_holds_it(log):
    """Its run says nothing itself."""
    await log.write(begin(1), *text("x"), complete(2, status="injected", messageId="a1"), complete(1))
    assert (await log.read(2))[-1]["result"] == {"messageId": "a1", "status": "injected"}


async def test_a_continuation_counts_on(log):
    """The ids of the message as it stood are not used again."""
    await log.write(begin(1, message=ASKED), *text("more"), complete(1))
    assert deltas(await log.read(1)) == [("a1:2", "more")]


# --- connecting


async def follow(log: Log, run_id: str | None = "r1") -> list[dict[str, Any]]:
    return check(b"".join([data async for data in connect(log.session, log.store, "c1", run_id)]))


async def test_nothing_runs_in_a_new_thread(log):
    """It has an empty history."""
    events = await follow(log, None)
    assert types(events) == ["RUN_STARTED", "MESSAGES_SNAPSHOT", "RUN_FINISHED"]
    assert events[1]["messages"] == []


async def test_who_connects_is_told_what_runs_from_its_first_word(log):
    """And the log ends before the turn does: that is no end."""
    await log.store.append_in(log.session.key, NewRecord("message", codec.dumps({"message": USER})), part_id=None, at=0)
    await log.write(begin(1), chunk("data-note", data="gone", transient=True), *text("half", end=False))
    log.session.outbox.end()
    frames = connect(log.session, log.store, "c1", "r1")
    told = b"".join([await anext(frames) for _ in range(2)])
    with pytest.raises(StreamCutError):
        await anext(frames)
    assert b'"delta":"half"' in told
    assert b"gone" not in told
    assert told.count(b'"id":"m1","role":"user"') == 1
