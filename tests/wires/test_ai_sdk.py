"""The AI SDK wire: picking one turn out of the log, and telling a message as a whole."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from chatrt import codec
from chatrt.agent import ChatAgent
from chatrt.errors import InvalidInputError
from chatrt.runtime import Session, SessionManager
from chatrt.sse import SSEDecoder
from chatrt.stores import Commit, MemoryStore, NewRecord
from chatrt.wires.ai_sdk import StreamCutError, parse_request, read_turn, resume
from chatrt.wires.chunk_versions import parse_version

USER = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "x"}]}
ASKED = {
    "id": "a1",
    "role": "assistant",
    "parts": [{"type": "step-start"}, {"type": "text", "text": "earlier", "state": "done"}],
}
START = ("chunk", {"type": "start", "messageId": "a1"})
TEXT = [
    ("chunk", {"type": "text-start", "id": "t"}),
    ("chunk", {"type": "text-delta", "id": "t", "delta": "now"}),
    ("chunk", {"type": "text-end", "id": "t"}),
]


def begin(in_seq: int, **more: Any) -> tuple[str, dict]:
    return "turn-start", {"inSeq": in_seq, "trigger": "message", "messageId": "a1", **more}


def complete(in_seq: int, **more: Any) -> tuple[str, dict]:
    return "turn-complete", {"inSeq": in_seq, "trigger": "message", "status": "completed", **more}


class Log:
    """A session whose log is written by the test, as another worker would."""

    def __init__(self, session: Session, store: MemoryStore) -> None:
        self.session = session
        self.store = store

    async def write(self, *records: tuple[str, dict]) -> None:
        lease = await self.store.acquire_lease(self.session.key, owner="test", ttl=1e12, at=0)
        assert lease is not None
        await self.store.append_out(lease, [NewRecord(kind, codec.dumps(body)) for kind, body in records], at=0)

    async def replay(self, version: str | None = None) -> list[Any]:
        frames = await resume(self.session, self.store, dialect=parse_version(version))
        assert frames is not None
        return await collect(frames)


async def collect(frames: AsyncIterator[bytes]) -> list[Any]:
    body = b"".join([data async for data in frames])
    return [event.data if event.data == "[DONE]" else json.loads(event.data) for event in SSEDecoder().decode(body)]


@pytest.fixture
async def log() -> AsyncIterator[Log]:
    store = MemoryStore()
    async with SessionManager(ChatAgent("kit", run=lambda _: None), store) as sessions:
        session = await sessions.start_session("kit", "c1")
        yield Log(session, store)


def types(answer: list[Any]) -> list[str]:
    return [chunk if chunk == "[DONE]" else chunk["type"] for chunk in answer]


# --- the turn of a request


async def test_only_the_turn_of_the_request_is_told(log):
    """Turns before and after it are somebody else's."""
    await log.write(begin(1), START, complete(1), begin(2), START, *TEXT, complete(2), begin(3), START)
    answer = await collect(read_turn(log.session, 2, after=0, dialect=parse_version(None)))
    assert types(answer) == ["start", "text-start", "text-delta", "text-end", "[DONE]"]


async def test_a_failure_that_left_no_error_chunk_is_told(log):
    """A client must not take a failed turn for an empty answer."""
    failure = {"code": "internal-error", "message": "An error occurred.", "id": "err_1"}
    await log.write(begin(1), complete(1, status="failed", error=failure))
    answer = await collect(read_turn(log.session, 1, after=0, dialect=parse_version(None)))
    assert answer == [{"type": "error", "errorText": "An error occurred."}, "[DONE]"]


async def test_a_failure_is_told_once(log):
    """The error chunk on the log is enough."""
    failure = {"code": "internal-error", "message": "An error occurred.", "id": "err_1"}
    error = ("chunk", {"type": "error", "errorText": "An error occurred."})
    await log.write(begin(1), START, error, complete(1, status="failed", error=failure))
    assert types(await collect(read_turn(log.session, 1, after=0, dialect=parse_version(None)))) == [
        "start",
        "error",
        "[DONE]",
    ]


async def test_a_log_that_ends_before_the_turn_is_no_end(log):
    """The stream is cut, so that nobody takes half an answer for a whole one."""
    await log.write(begin(1), START)
    log.session.outbox.end()
    with pytest.raises(StreamCutError):
        await collect(read_turn(log.session, 1, after=0, dialect=parse_version(None)))


# --- the message as a whole


async def test_a_continued_message_is_rebuilt_under_one_start(log):
    """First the parts it had, then what the turn says."""
    await log.write(begin(1, message=ASKED), START, *TEXT, complete(1))
    answer = await log.replay()
    assert types(answer).count("start") == 1
    assert answer[0] == {"type": "start", "messageId": "a1"}
    assert [chunk["delta"] for chunk in answer[:-1] if chunk["type"] == "text-delta"] == ["earlier", "now"]


async def test_metadata_of_a_start_that_is_left_out_is_kept(log):
    """It comes as metadata of the message."""
    with_metadata = ("chunk", {"type": "start", "messageId": "a1", "messageMetadata": {"model": "x"}})
    await log.write(begin(1, message=ASKED), with_metadata, complete(1))
    assert {"type": "message-metadata", "messageMetadata": {"model": "x"}} in await log.replay()


async def test_a_turn_that_began_twice_is_told_once(log):
    """After a crash before the first word a turn begins anew, with a second `turn-start`."""
    await log.write(begin(1, message=ASKED), begin(1, message=ASKED), START, *TEXT, complete(1))
    answer = await log.replay()
    assert types(answer).count("start") == 1
    assert [chunk["delta"] for chunk in answer[:-1] if chunk["type"] == "text-delta"] == ["earlier", "now"]


async def test_nothing_on_the_log_is_nothing_to_resume(log):
    """An idle session has no message under construction."""
    assert await resume(log.session, log.store, dialect=parse_version(None)) is None


# --- requests


def test_the_last_message_is_the_new_one():
    """Everything before it is the server's already."""
    request = parse_request({"id": "c1", "messages": [ASKED, USER]})
    assert (request.message, request.trigger, request.is_continuation) == (USER, "submit-message", False)


def test_a_message_id_names_the_message():
    """Also when others follow it: an approval may be given in an earlier message."""
    request = parse_request({"id": "c1", "messages": [ASKED, USER], "messageId": "a1"})
    assert request.message == ASKED
    assert request.is_continuation


def test_a_message_id_that_is_not_among_them_leaves_the_last():
    """It then names the message to be edited."""
    request = parse_request({"id": "c1", "messages": [USER], "messageId": "m0"})
    assert (request.message, request.message_id) == (USER, "m0")


def test_a_regenerate_brings_no_message():
    """What it resends does not count."""
    request = parse_request({"id": "c1", "messages": [USER], "trigger": "regenerate-message", "messageId": "a1"})
    assert (request.message, request.message_id, request.trigger) == (None, "a1", "regenerate-message")


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (None, "/id"),
        ({"id": 1}, "/id"),
        ({"id": "c1", "messages": {}}, "/messages"),
        ({"id": "c1", "messages": [USER, 1]}, "/messages/1"),
        ({"id": "c1", "message": "x"}, "/message"),
        ({"id": "c1", "messages": [USER], "trigger": None}, "/trigger"),
        ({"id": "c1", "messages": [USER], "messageId": []}, "/messageId"),
    ],
)
def test_a_request_says_where_it_is_wrong(body: Any, path: str):
    """The path is that of the client's own JSON."""
    with pytest.raises(InvalidInputError) as raised:
        parse_request(body)
    assert raised.value.path == path


# --- a turn that begins again


FIRST = [begin(1), START, *TEXT, ("chunk", {"type": "abort", "reason": "interrupted"})]
INTERRUPTED = complete(1, status="interrupted", willRetry=True, messageId="a1")
SECOND = [
    begin(1, messageId="a2"),
    ("chunk", {"type": "start", "messageId": "a2"}),
    *TEXT,
    ("chunk", {"type": "finish"}),
    complete(1, messageId="a2"),
]
SPOKEN = ["text-start", "text-delta", "text-end"]


@pytest.mark.parametrize("version", ["6.0.304", "6", "7.0.128", "7"])
async def test_a_resumed_reader_is_told_both_answers(log, version):
    """From 6.0.304 and 7.0.128 on who resumes hears how the first answer ended, and then the second as a message of its own."""
    await log.session.inbox.send_message(USER)
    await log.write(*FIRST, INTERRUPTED, *SECOND)
    answer = await log.replay(version)
    assert types(answer) == ["start", *SPOKEN, "abort", "start", *SPOKEN, "finish", "[DONE]"]
    assert [chunk["messageId"] for chunk in answer if chunk != "[DONE]" and chunk["type"] == "start"] == ["a1", "a2"]


async def broken_off(frames: AsyncIterator[bytes]) -> bytes:
    told = b""
    try:
        async for data in frames:
            told += data
    except StreamCutError:
        return told
    raise AssertionError(told)


@pytest.mark.parametrize("version", [None, "5", "6", "7"])
async def test_a_request_whose_turn_begins_again_is_broken_off(log, version):
    """In the answer to a POST a second message cannot be told: it breaks off behind the first, without `[DONE]`."""
    sent = await log.session.inbox.send_message(USER)
    await log.write(*FIRST, INTERRUPTED, *SECOND)
    told = await broken_off(read_turn(log.session, sent.seq, after=0, dialect=parse_version(version)))
    assert b'{"type":"abort"' in told.split(b"\n\n")[-2]
    assert b"a2" not in told


@pytest.mark.parametrize("version", [None, "5", "6.0.303", "7.0.127"])
async def test_a_resumed_reader_that_may_be_old_is_broken_off(log, version):
    """Earlier versions would append the second answer to the first one, so who may be one resumes once more."""
    await log.session.inbox.send_message(USER)
    await log.write(*FIRST, INTERRUPTED, *SECOND)
    frames = await resume(log.session, log.store, dialect=parse_version(version))
    assert frames is not None
    assert b"a2" not in await broken_off(frames)


async def test_resuming_between_the_answers_tells_the_second(log):
    """Once the first answer is settled, who resumes is told the second one only."""
    await log.session.inbox.send_message(USER)
    lease = await log.store.acquire_lease(log.session.key, owner="test", ttl=1e12, at=0)
    records = [NewRecord(kind, codec.dumps(body)) for kind, body in (*FIRST, INTERRUPTED)]
    await log.store.commit(lease, Commit(records=records, nodes=[], leaf_id=None, in_cursor=0, state={}), at=0)
    await log.write(*SECOND)
    assert types(await log.replay()) == ["start", *SPOKEN, "finish", "[DONE]"]
