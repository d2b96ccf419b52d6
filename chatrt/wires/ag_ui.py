"""The AG-UI wire: a run of a client is one turn of the log, or the turns it is shown when it connects.

What it calls a thread is a chat, and what it calls a run is, on our side, a turn. Who posts a run is told that turn.
Who connects is told the whole history first, then what runs and waits, one run for each turn, until nothing does.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import orjson
from ag_ui.core import MessagesSnapshotEvent, StateSnapshotEvent

from chatrt.errors import InvalidInputError
from chatrt.runtime import Session, SessionState
from chatrt.stores.base import Record, Store
from chatrt.ui import UIMessage
from chatrt.wires.ag_ui_events import custom_frame, frame
from chatrt.wires.ag_ui_input import RunRequest, settle
from chatrt.wires.ag_ui_messages import STATE, to_messages
from chatrt.wires.ag_ui_run import RunEvents
from chatrt.wires.ai_sdk import StreamCutError
from chatrt.wires.frames import writes
from chatrt.wires.log import ask, is_busy, is_idle, look_up_tail, reading

logger = logging.getLogger("chatrt.wires")

_ALOUD = ("source-url", "source-document", "file", "reasoning-file", "custom", "steering-message")
"""Parts that AG-UI has no message for: they are told as custom events, once more to who connects."""

Detach = Callable[[], None]


async def run(session: Session, request: RunRequest, store: Store) -> tuple[AsyncIterator[bytes], Detach]:
    """Append what is new in a request; returns the frames of its run and what to call when its reader is gone.

    A request that was appended before, and one that says nothing but what was said before, are answered as a
    `connect`: with the history, and with what runs.

    Raises:
        InvalidInputError: If it says nothing, or answers an interrupt that there never was.
        InvalidMessageError: If the message is not acceptable.
        SessionClosedError: If the session is closed.
        SessionBusyError: If the agent refuses messages while a turn runs, and one does.
    """
    answers, approves = None, False
    if request.answers or request.decisions:
        settled = settle(request, (await session.load()).messages)
        answers, approves = settled.message, settled.approves
    said: list[tuple[UIMessage, UIMessage | None]] = []
    if request.message is None or approves:
        # A call that was allowed runs in the turn of that answer: what was said behind it comes in a turn of its own.
        said += [] if answers is None else [(answers, None)]
        answers = None
    if request.message is not None:
        said.append((request.message, answers))
    if not said:
        if not request.answers and not request.decisions:
            raise InvalidInputError("there is no new user message and no answer to an open call", path="/messages")
        return connect(session, store, request.thread_id, request.run_id), session.outbox.attach()
    return await _ask(session, request, store, said)


async def _ask(
    session: Session, request: RunRequest, store: Store, said: list[tuple[UIMessage, UIMessage | None]]
) -> tuple[AsyncIterator[bytes], Detach]:
    tools = request.tools
    if tools and not session.agent.frontend_tools:
        names = ", ".join(str(tool["name"]) for tool in tools)
        logger.info("agent %r takes no frontend tools (frontend_tools=True would): %s", session.agent.id, names)
        tools = ()
    after = session.outbox.last_seq
    seqs: list[int] = []
    detachments: list[Detach] = []

    def detach() -> None:
        while detachments:
            detachments.pop()()

    repeated = False
    try:
        for message, answers in said:
            append = partial(
                session.inbox.send_message,
                message,
                client_data=request.client_data,
                tools=tools,
                answers=answers,
                part_id=request.part_id(message, answers),
            )
            appended, leave = await ask(session, append, is_new=message["role"] == "user" and not seqs)
            detachments.append(leave)
            seqs.append(appended.seq)
            repeated = appended.repeated
    except BaseException:
        detach()
        raise
    if repeated:
        return connect(session, store, request.thread_id, request.run_id), detach
    events = RunEvents(request.thread_id, request.run_id, parent_run_id=request.parent_run_id, modern=request.modern)
    return _read_run(session, events, RunReader(events, seqs), after), detach


class RunReader:
    """Picks the turns that settle some inputs out of the log, as one run that ends with the last of them."""

    def __init__(self, events: RunEvents, in_seqs: list[int]) -> None:
        self.settled = False
        self._events = events
        self._in_seqs = in_seqs
        self._active = False

    def feed(self, batch: list[Record]) -> Iterator[bytes]:
        """Yield the frames of a batch; `settled` is set when the run is over, and the rest of the batch ignored."""
        for record in batch:
            match record.kind:
                case "chunk" if self._active:
                    yield self._events.record(record)
                case "turn-start":
                    body: dict[str, Any] = orjson.loads(record.body)
                    self._active = body["inSeq"] in self._in_seqs
                    if self._active:
                        yield from self._events.begin_turn(body["messageId"], body.get("message"))
                case "turn-complete":
                    body = orjson.loads(record.body)
                    if body["inSeq"] in self._in_seqs:
                        yield from self._complete(body)
                    if self.settled:
                        return
                case _:
                    pass

    def _complete(self, body: dict[str, Any]) -> Iterator[bytes]:
        self._active = False
        if body["inSeq"] != self._in_seqs[-1] or body.get("willRetry") is True:
            yield from self._events.close()
            return
        yield from self._events.end(body["status"], body.get("error"), body.get("messageId"))
        self.settled = True


async def _read_run(session: Session, events: RunEvents, reader: RunReader, after: int) -> AsyncIterator[bytes]:
    yield events.start()
    async with reading(session, after) as batches:
        async for batch in batches:
            for data in writes(reader.feed(batch)):
                yield data
            if reader.settled:
                return
    raise StreamCutError


# --- connecting


async def connect(session: Session | None, store: Store, thread_id: str, run_id: str | None) -> AsyncIterator[bytes]:
    """Yield the history, what runs and what waits, as runs; ends when nothing is to come.

    Args:
        session: The chat; None for one that nobody began.
        store: Where the inbox is looked at, to know what waits.
        thread_id: The chat's id.
        run_id: What the first run is to be called.

    Raises:
        StreamCutError: If the log ends before the turns do.
    """
    if session is None:
        events = RunEvents(thread_id, run_id or "run-0")
        yield b"".join([events.start(), *_history([]), *events.end("completed")])
        return
    state = await session.load()
    follower = Follower(thread_id, run_id or f"run-{state.in_cursor + 1}", state)
    follower.past = await look_up_tail(session, state.cursor)
    for data in writes(follower.open()):
        yield data
    cursor = state.cursor
    if not await is_busy(session, store, state):
        for data in writes(follower.rest(state.messages)):
            yield data
        return
    async with reading(session, cursor) as batches:
        async for batch in batches:
            for data in writes(follower.feed(batch)):
                yield data
            cursor = batch[-1].seq
            if any(record.kind == "turn-complete" for record in batch) and await is_idle(session, store, cursor):
                for data in writes(follower.rest((await session.load()).messages)):
                    yield data
                return
    raise StreamCutError


class Follower:
    """Tells all that comes after a state, each turn as a run; the first of them began with the history.

    Attributes:
        past: Up to where the log is history: transient data are not told again.
    """

    def __init__(self, thread_id: str, run_id: str, state: SessionState) -> None:
        self.past = 0
        self._thread_id = thread_id
        self._state = state
        self._waiting = {waiting.in_seq: waiting.message for waiting in state.pending}
        self._events: RunEvents | None = RunEvents(thread_id, run_id)
        self._in_seq: int | None = None

    def open(self) -> Iterator[bytes]:
        """Yield the beginning of the first run: the history."""
        if self._events is not None:
            yield self._events.start()
        yield from _history(self._state.messages)

    def feed(self, batch: list[Record]) -> Iterator[bytes]:
        """Yield the frames of a batch."""
        for record in batch:
            match record.kind:
                case "chunk" if self._events is not None and self._in_seq is not None:
                    if not self._is_gone(record):
                        yield self._events.record(record)
                case "turn-start":
                    yield from self._begin(orjson.loads(record.body))
                case "turn-complete":
                    yield from self._complete(orjson.loads(record.body))
                case _:
                    pass

    def _is_gone(self, record: Record) -> bool:
        if record.seq > self.past or b'"transient"' not in record.body:
            return False
        return orjson.loads(record.body).get("transient") is True

    def _begin(self, body: dict[str, Any]) -> Iterator[bytes]:
        in_seq: int = body["inSeq"]
        asked = self._waiting.pop(in_seq, None)
        if self._events is None:
            self._events = RunEvents(self._thread_id, f"run-{in_seq}")
            yield self._events.start(None if asked is None else to_messages([asked]))
        elif asked is not None:
            # It waited when the history was told, and nothing has come in between.
            yield from _history([*self._state.messages, asked])
        self._in_seq = in_seq
        yield from self._events.begin_turn(body["messageId"], body.get("message"))

    def _complete(self, body: dict[str, Any]) -> Iterator[bytes]:
        if self._events is None or body["inSeq"] != self._in_seq:
            return  # settled without a turn of its own
        self._in_seq = None
        if body.get("willRetry") is True:
            yield from self._events.close()
            return
        yield from self._events.end(body["status"], body.get("error"), body.get("messageId"))
        self._events = None

    def rest(self, messages: list[UIMessage]) -> Iterator[bytes]:
        """Yield the end of a run that had no turn: what the last answer waits for is told by it."""
        if self._events is None:
            return
        last = messages[-1] if messages else None
        if last is not None and last["role"] == "assistant":
            yield from self._events.begin_turn(last["id"], last)
        yield from self._events.end("completed")


def _history(messages: list[UIMessage]) -> Iterator[bytes]:
    """Yield the messages as they are, then what stands in them that is none of AG-UI's kinds of messages."""
    yield frame(MessagesSnapshotEvent(messages=to_messages(messages)))
    state: list[Any] = []
    for message in messages:
        if message["role"] != "assistant":
            continue
        for part in message["parts"]:
            if part["type"] == STATE:
                state = [part["data"]]
            elif part["type"].startswith("data-") or part["type"] in _ALOUD:
                yield custom_frame({**part}, message["id"])
    if state:
        yield frame(StateSnapshotEvent(snapshot=state[0]))
