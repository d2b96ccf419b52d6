"""The AI SDK wire: what the stock `DefaultChatTransport` of `ai` v5 to v7 says and wants to hear.

A request becomes one inbox record; the answer is the chunks of exactly the turn that settles it. Stock clients hold no
cursor: a resume replays the message under construction from its first part, then goes on live.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast

import orjson

from chatrt.errors import InvalidInputError
from chatrt.runtime import Session
from chatrt.stores.base import Appended, Record, Store
from chatrt.ui import UIMessage, rebuild_chunks
from chatrt.wires.chunk_encoder import ChunkEncoder, chunk_type
from chatrt.wires.chunk_versions import Dialect
from chatrt.wires.frames import DONE, writes
from chatrt.wires.log import ask, is_busy, look_up_tail, reading

Trigger = Literal["submit-message", "regenerate-message"]

_TEXT_DELTA = b'{"type":"text-delta"'


class StreamCutError(Exception):
    """The stream cannot go on and must not look finished: the connection is to be broken, so that clients resume."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """The body of a POST, as far as it counts.

    Attributes:
        chat_id: The chat.
        trigger: `submit-message` or `regenerate-message`.
        message: What is new: the user message, or the assistant message whose tool calls were answered.
        message_id: Of an edit, a continuation, or the message to regenerate.
        client_data: What the agent's `client_data` type describes.
    """

    chat_id: str
    trigger: Trigger
    message: dict[str, Any] | None = None
    message_id: str | None = None
    client_data: Any = None

    @property
    def is_continuation(self) -> bool:
        """Whether the client answers tool calls of an assistant message instead of saying something new."""
        return self.message is not None and self.message.get("role") == "assistant"

    @property
    def is_new_message(self) -> bool:
        """Whether the client says something new, and edits nothing."""
        return self.message is not None and self.message.get("role") == "user" and self.message_id is None


def parse_request(body: Any) -> ChatRequest:
    """Read the body of a POST: `{id, messages | message, trigger?, messageId?, clientData?}`; other keys are ignored.

    Raises:
        InvalidInputError: If it has no chat id, no message, or an unknown trigger.
    """
    match body:
        case {"id": str(chat_id)}:
            fields = cast("dict[str, Any]", body)
        case _:
            raise InvalidInputError("the chat's id is missing", path="/id")
    message_id = fields.get("messageId")
    if message_id is not None and not isinstance(message_id, str):
        raise InvalidInputError("not a string", path="/messageId")
    match fields.get("trigger", "submit-message"):
        case "regenerate-message":
            return ChatRequest(
                chat_id=chat_id,
                trigger="regenerate-message",
                message_id=message_id,
                client_data=fields.get("clientData"),
            )
        case "submit-message":
            return ChatRequest(
                chat_id=chat_id,
                trigger="submit-message",
                message=_newest(fields, message_id),
                message_id=message_id,
                client_data=fields.get("clientData"),
            )
        case _:
            raise InvalidInputError("neither submit-message nor regenerate-message", path="/trigger")


def _newest(body: dict[str, Any], message_id: str | None) -> dict[str, Any]:
    """Return the one message that is new; what else was resent is the server's already."""
    path, message = "/message", body.get("message")
    if message is None:
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            raise InvalidInputError("there is no message", path="/messages")
        path = f"/messages/{len(cast('list[Any]', messages)) - 1}"
        message = _named(cast("list[Any]", messages), message_id)
    if not isinstance(message, dict):
        raise InvalidInputError("not an object", path=path)
    return cast("dict[str, Any]", message)


def _named(messages: list[Any], message_id: str | None) -> Any:
    # An approval may be given in an earlier assistant message: `messageId` names it, and later ones follow it.
    if message_id is not None:
        for message in reversed(messages):
            if isinstance(message, dict) and cast("dict[str, Any]", message).get("id") == message_id:
                return cast("dict[str, Any]", message)
    return messages[-1]


async def submit(session: Session, request: ChatRequest) -> tuple[int, Callable[[], None]]:
    """Append what the client asks for; returns its inbox seq and what to call when its reader is gone. See `ask`.

    Raises:
        InvalidMessageError: If the message is not acceptable.
        ForbiddenChangeError: If it changes what is the server's (D15).
        SessionClosedError: If the session is closed.
    """

    def append() -> Awaitable[Appended]:
        if request.trigger == "regenerate-message":
            return session.inbox.regenerate(request.message_id, client_data=request.client_data)
        return session.inbox.send_message(
            cast("UIMessage", request.message),
            client_data=request.client_data,
            message_id=None if request.is_continuation else request.message_id,
        )

    appended, detach = await ask(session, append, is_new=not request.is_continuation)
    return appended.seq, detach


def read_turn(session: Session, in_seq: int, *, after: int, dialect: Dialect) -> AsyncIterator[bytes]:
    """Return the frames of the turn that settles an inbox record, then `[DONE]`; see `TurnReader.frames`.

    Args:
        session: The session.
        in_seq: The inbox record.
        after: A cursor from before the record was appended.
        dialect: What the client can read.
    """
    return TurnReader(in_seq, ChunkEncoder(dialect)).frames(session, after)


async def resume(session: Session, store: Store, *, dialect: Dialect) -> AsyncIterator[bytes] | None:
    """Return the frames of the turn that runs or waits now, from the message's first part on; None if there is none."""
    position = await session.position()
    if not await is_busy(session, store, position):
        return None
    tail = await look_up_tail(session, position.cursor)
    reader = TurnReader(None, ChunkEncoder(dialect), settled=position.in_cursor, past=tail)
    return reader.frames(session, position.cursor)


class TurnReader:
    """Picks the chunks of one turn out of the log.

    With an `in_seq` it is the turn that settles this record, as it comes. Without, it is the first turn that settles
    a record after `settled`, told as a whole message: one `start`, the parts the message had before the turn, no
    transient data of the past, then the turn's own chunks. A turn that begins again is told as a message more.
    """

    def __init__(self, in_seq: int | None, encoder: ChunkEncoder, *, settled: int = 0, past: int = 0) -> None:
        self.settled = False
        self.cut = False
        self._in_seq = in_seq
        self._encoder = encoder
        self._after_in_seq = settled
        self._past = past
        self._replays = in_seq is None
        self._active = False
        self._started = False
        self._failed = False

    async def frames(self, session: Session, after: int) -> AsyncIterator[bytes]:
        """Yield the frames of the turn as it is read after a cursor, joined to writes.

        Raises:
            StreamCutError: If the log ends before the turn does, or the turn begins again for who cannot be told.
        """
        async with reading(session, after) as batches:
            async for batch in batches:
                for data in writes(self.feed(batch)):
                    yield data
                if self.settled:
                    return
                if self.cut:
                    raise StreamCutError
        raise StreamCutError

    def feed(self, batch: list[Record]) -> Iterator[bytes]:
        """Yield the frames of a batch; `settled` or `cut` is set when no more is told, and the rest of it ignored."""
        for record in batch:
            match record.kind:
                case "chunk":
                    if self._active:
                        yield self._chunk(record)
                case "turn-start":
                    yield from self._start(orjson.loads(record.body))
                case "turn-complete":
                    yield from self._complete(orjson.loads(record.body))
                    if self.settled or self.cut:
                        return
                case _:
                    pass

    def _start(self, body: dict[str, Any]) -> Iterator[bytes]:
        in_seq: int = body["inSeq"]
        if self._in_seq is None and in_seq > self._after_in_seq:
            self._in_seq = in_seq
        self._active = in_seq == self._in_seq
        message = body.get("message")
        if not self._active or message is None:
            return
        if self._replays and not self._started:
            yield self._encoder.chunk({"type": "start", "messageId": body["messageId"]})
            self._started = True
            for chunk in rebuild_chunks(message):
                if chunk["type"] not in ("start", "finish"):
                    yield self._encoder.chunk({**chunk})
        self._encoder.know(message)

    def _complete(self, body: dict[str, Any]) -> Iterator[bytes]:
        in_seq: int = body["inSeq"]
        if self._in_seq is None and in_seq > self._after_in_seq:
            self._in_seq = in_seq  # settled without a turn of its own
        if in_seq != self._in_seq:
            return
        if body.get("willRetry"):
            self._begin_again()
            return
        error = body.get("error")
        if error is not None and not self._failed:
            yield self._encoder.chunk({"type": "error", "errorText": error["message"]})
        self.settled = True
        yield DONE

    def _begin_again(self) -> None:
        """Another answer to the same input follows, as a message of its own.

        While it resumes, a late client takes a second `start` for another message. In the answer to a POST, or to an
        earlier one, it would give the first message another id and append to it: then it is left to resume.
        """
        self._active = self._started = self._failed = False
        self._encoder = ChunkEncoder(self._encoder.dialect)
        self.cut = not (self._replays and self._encoder.dialect.second_message)

    def _chunk(self, record: Record) -> bytes:
        body = record.body
        if body.startswith(_TEXT_DELTA):
            return self._encoder.delta(record)  # nearly all chunks; nothing below is about them
        kind = chunk_type(body)
        if kind == "error":
            self._failed = True
        if self._replays:
            if record.seq <= self._past and b'"transient"' in body and orjson.loads(body).get("transient") is True:
                return b""
            if kind == "start":
                return self._start_chunk(record)
        return self._encoder.record(record)

    def _start_chunk(self, record: Record) -> bytes:
        """A replay has one `start`: a second one would throw the rebuilt parts away."""
        if not self._started:
            self._started = True
            return self._encoder.record(record)
        metadata = orjson.loads(record.body).get("messageMetadata")
        if metadata is None:
            return b""
        return self._encoder.chunk({"type": "message-metadata", "messageMetadata": metadata})
