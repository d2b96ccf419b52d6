"""The inbox of a session: what clients may say to it, checked at the door and stored before it is acknowledged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from chatrt import failpoints
from chatrt.clock import Clock
from chatrt.codec import check, dumps
from chatrt.errors import (
    ForbiddenChangeError,
    InvalidChunkError,
    InvalidInputError,
    InvalidMessageError,
    StoreError,
    URLNotAllowedError,
)
from chatrt.file_urls import LET_IN, FileURLs
from chatrt.ids import Ids
from chatrt.metrics import INPUT_SECONDS, STORE_ERRORS, Metrics
from chatrt.runtime.asks import Asker
from chatrt.runtime.attachments import SessionAttachments
from chatrt.stores import Appended, InKind, NewRecord, SessionKey, Store
from chatrt.ui import UIMessage, UIMessageChunk, slim_message, validate_chunk, validate_ui_message

USER_PARTS = ("text", "file")


class Inbox:
    """Appends to `.in`. What a method returned is durable and will be settled once.

    Args:
        key: The session.
        store: Where it is.
        clock: For timestamps.
        ids: For messages without one.
        on_append: Called after each append, with what became of it.
        rejects: Refuse user messages and regenerates with `SessionBusyError` while inputs are unsettled.
        file_urls: Which URLs file parts may have.
        attachments: The files of sessions; without them file parts may name any.
        metrics: Where the time of an append is taken down.
    """

    def __init__(
        self,
        key: SessionKey,
        store: Store,
        clock: Clock,
        ids: Ids,
        on_append: Callable[[Appended], None],
        *,
        rejects: bool = False,
        file_urls: FileURLs = LET_IN,
        attachments: SessionAttachments | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self._key = key
        self._store = store
        self._clock = clock
        self._ids = ids
        self._on_append = on_append
        self._rejects = rejects
        self._file_urls = file_urls
        self._attachments = attachments
        self._metrics = metrics or Metrics()

    async def send_message(
        self,
        message: UIMessage,
        *,
        client_data: Any = None,
        message_id: str | None = None,
        steer: bool = False,
        tools: Sequence[dict[str, Any]] = (),
        answers: UIMessage | None = None,
        part_id: str | None = None,
        askers: Sequence[Asker] = (),
    ) -> Appended:
        """Append a user message, or an assistant message whose tool calls the client answered (D15).

        A user message whose id the history knows is an edit of it (D22).

        Args:
            message: The message; a user message without an id gets one.
            client_data: What the agent's `client_data` type describes.
            message_id: The message that a user message takes the place of, when its own id does not say so.
            steer: Put it into the prompt of the running turn, if the agent's busy policy is `queue` or `steer`.
            tools: Definitions from `check_frontend_tools`; an agent that takes none leaves them out.
            answers: An assistant message whose open tool calls were answered before this user message was said. They
                are settled with it, and nothing is said about them in between.
            part_id: Names this append; a second append of the same name changes nothing.
            askers: Turns of other sessions that may wait for the answer; see `chatrt.runtime.asks`.

        Raises:
            InvalidMessageError: If it is no message, or has parts that are not a client's to send.
            URLNotAllowedError: If a file part has a URL that the agent does not let in.
            AttachmentNotFoundError: If a file part names a file that the chat has not.
            ForbiddenChangeError: If its role is neither `user` nor `assistant`.
            SessionClosedError: If the session is closed.
        """
        body: dict[str, Any] = {"message": await self._with_files(self.accept(message))}
        if message_id is not None:
            body["messageId"] = message_id
        if steer:
            body["steer"] = True
        if tools:
            check(list(tools))
            body["tools"] = list(tools)
        if answers is not None:
            body["answers"] = self.accept(answers)
        return await self._append("message", body, client_data, part_id, askers)

    async def regenerate(
        self,
        message_id: str | None = None,
        *,
        client_data: Any = None,
        part_id: str | None = None,
        askers: Sequence[Asker] = (),
    ) -> Appended:
        """Ask for another answer in place of the last one, or of the one with that id (D22)."""
        body = {} if message_id is None else {"messageId": message_id}
        return await self._append("regenerate", body, client_data, part_id, askers)

    async def act(
        self, action: Any, *, client_data: Any = None, part_id: str | None = None, askers: Sequence[Asker] = ()
    ) -> Appended:
        """Ask for an action. Whether it fits the agent shows when it is served."""
        check(action)
        return await self._append("action", {"action": action}, client_data, part_id, askers)

    async def switch_branch(self, message_id: str, *, client_data: Any = None, part_id: str | None = None) -> Appended:
        """Ask for another branch to be the active one, as `History.switch_to` does it.

        Whether the message is there shows when it is served.
        """
        return await self._append("switch", {"messageId": message_id}, client_data, part_id)

    async def send_data(self, data: Any, *, client_data: Any = None, part_id: str | None = None) -> Appended:
        """Append JSON for an agent that is served by a loop of its own; no part of the conversation."""
        check(data)
        return await self._append("data", {"data": data}, client_data, part_id)

    async def preload(self, *, client_data: Any = None, part_id: str | None = None) -> Appended:
        """Ask for the run ahead of the first message."""
        return await self._append("preload", {}, client_data, part_id)

    async def edit_pending(self, in_seq: int, message: UIMessage, *, part_id: str | None = None) -> Appended:
        """Put another message in the place of a user message that waits; it keeps its id and its place.

        Nothing happens if it is taken up, or was injected, when this is read.

        Raises:
            InvalidMessageError: If it is no user message.
            SessionClosedError: If the session is closed.
        """
        checked = self.accept(message)
        if checked["role"] != "user":
            raise InvalidMessageError("only user messages wait", path="/message/role")
        body = {"inSeq": in_seq, "message": await self._with_files(checked)}
        return await self._append("edit", body, None, part_id)

    async def withdraw(self, in_seq: int, *, part_id: str | None = None) -> Appended:
        """Take back a user message that waits: it is settled with the status `withdrawn`, and never shown to anybody.

        Nothing happens if it is taken up, or was injected, when this is read.
        """
        return await self._append("withdraw", {"inSeq": in_seq}, None, part_id)

    async def stop(
        self, *, in_seq: int | None = None, reason: str | None = None, part_id: str | None = None
    ) -> Appended:
        """End the turn that runs when this is read; nothing happens when none runs.

        Args:
            in_seq: Only if the turn of this input runs.
            reason: Told to readers in the `abort` chunk.
            part_id: As in `send_message`.
        """
        body: dict[str, Any] = {}
        if in_seq is not None:
            body["inSeq"] = in_seq
        if reason is not None:
            body["reason"] = reason
        return await self._append("stop", body, None, part_id)

    async def end_run(self, *, part_id: str | None = None) -> Appended:
        """Ask for the run to end once nothing waits: the next input starts another one. The session stays open."""
        return await self._append("end-run", {}, None, part_id)

    async def write(self, chunks: Sequence[UIMessageChunk | dict[str, Any]], *, part_id: str | None = None) -> Appended:
        """Put data chunks into the answer that runs, or into the last one; see `chatrt.runtime.writes`.

        Args:
            chunks: Of types `data-*`; those that are kept get an id when they have none.
            part_id: As in `send_message`.

        Raises:
            InvalidChunkError: If one is no data chunk.
            SessionClosedError: If the session is closed.
        """
        check(list(chunks))
        if not chunks:
            raise InvalidInputError("there is nothing to write", path="/chunks")
        accepted = [self._accept_data(chunk, f"/chunks/{index}") for index, chunk in enumerate(chunks)]
        return await self._append("write", {"chunks": accepted}, None, part_id)

    # --- head start: what the process that makes the first step of an answer says; see `chatrt.runtime.head_start`

    async def send_with_head_start(
        self, message: UIMessage, answer_id: str, *, client_data: Any = None, part_id: str | None = None
    ) -> Appended:
        """Append a user message whose answer is begun elsewhere; raises what `send_message` raises.

        Args:
            message: The message.
            answer_id: The id of the answer.
            client_data: As in `send_message`.
            part_id: The same.
        """
        accepted = await self._with_files(self.accept(message))
        body = {"message": accepted, "headStart": {"messageId": answer_id}}
        return await self._append("message", body, client_data, part_id)

    async def relay_chunks(
        self, in_seq: int, first: int, chunks: Sequence[UIMessageChunk], *, part_id: str | None = None
    ) -> Appended:
        """Relay chunks of the first step; none at all say that it is still being made.

        Args:
            in_seq: The message that they answer.
            first: How many were relayed before.
            chunks: From the answer's `start` on, as they are to stand on `.out`.
            part_id: As in `send_message`.
        """
        return await self._append("head-chunks", {"inSeq": in_seq, "first": first, "chunks": chunks}, None, part_id)

    async def hand_over(
        self,
        in_seq: int,
        *,
        is_final: bool,
        finish: UIMessageChunk | None = None,
        usage: dict[str, Any] | None = None,
        part_id: str | None = None,
    ) -> Appended:
        """Say that the first step is whole.

        Args:
            in_seq: The message that it answers.
            is_final: Whether it is the whole answer; otherwise its calls are carried out and the answer goes on.
            finish: Its `finish` chunk.
            usage: What it used, as `Usage.to_json` gives it.
            part_id: As in `send_message`.
        """
        body: dict[str, Any] = {"inSeq": in_seq, "isFinal": is_final}
        if finish is not None:
            body["finish"] = finish
        if usage is not None:
            body["usage"] = usage
        return await self._append("handover", body, None, part_id)

    async def skip_handover(self, in_seq: int, *, part_id: str | None = None) -> Appended:
        """Say that there is nothing to take over: the run answers by itself, from the beginning."""
        return await self._append("handover-skip", {"inSeq": in_seq}, None, part_id)

    async def _append(
        self,
        kind: InKind,
        body: dict[str, Any],
        client_data: Any,
        part_id: str | None,
        askers: Sequence[Asker] = (),
    ) -> Appended:
        if client_data is not None:
            check(client_data)
            body["clientData"] = client_data
        if askers:
            body["askers"] = [asker.to_json() for asker in askers]
        record = NewRecord(kind, dumps(body))
        asks = kind == "regenerate" or (kind == "message" and body["message"]["role"] == "user")
        try:
            with self._metrics.timed(INPUT_SECONDS), failpoints.writing("in.pre_commit"):
                appended = await self._store.append_in(
                    self._key, record, part_id=part_id, at=self._clock.now(), only_if_idle=self._rejects and asks
                )
        except StoreError as error:
            self._metrics.add(STORE_ERRORS, 1, error.code)
            raise
        failpoints.reach("in.post_commit_pre_ack")
        self._on_append(appended)
        return appended

    def _accept_data(self, chunk: Any, path: str) -> UIMessageChunk:
        try:
            checked = validate_chunk(chunk)
        except InvalidChunkError as error:
            raise InvalidChunkError(error.reason, path=f"{path}{error.path}") from None
        if not checked["type"].startswith("data-"):
            raise InvalidChunkError("only data chunks can be written from elsewhere", path=f"{path}/type")
        if checked.get("transient") or "id" in checked:
            return checked
        return cast("UIMessageChunk", {**checked, "id": self._ids.new("data")})

    def accept(self, message: Any) -> UIMessage:
        """Return a message as it is stored: checked, and with an id.

        Raises:
            InvalidMessageError: If it is no message, or has parts that are not a client's to send.
            URLNotAllowedError: If a file part has a URL that the agent does not let in.
            ForbiddenChangeError: If its role is neither `user` nor `assistant`.
        """
        check(message)
        match message:
            case {"role": "user"}:
                return self._accept_user(cast("dict[str, Any]", message))
            case {"role": "assistant", "parts": [*parts]} if all(
                isinstance(part, dict) and isinstance(cast("dict[str, Any]", part).get("type"), str) for part in parts
            ):
                if not isinstance(message.get("id"), str):
                    raise InvalidMessageError("an assistant message needs its id", path="/id")
                return slim_message(cast("UIMessage", message))
            case {"role": "assistant"}:
                raise InvalidMessageError("an assistant message needs a list of parts", path="/parts")
            case {"role": str(role)}:
                raise ForbiddenChangeError(f"a client cannot send a message of role {role!r}", path="/role")
            case _:
                raise InvalidMessageError("a message is an object with a role", path="/role")

    def _accept_user(self, message: dict[str, Any]) -> UIMessage:
        with_id: dict[str, Any] = {**message, "id": message.get("id") or self._ids.new("msg")}
        checked = validate_ui_message(with_id)
        parts = [
            self._accept_part(cast("dict[str, Any]", part), f"/parts/{index}")
            for index, part in enumerate(checked["parts"])
        ]
        return cast("UIMessage", {**checked, "parts": parts})

    def _accept_part(self, part: dict[str, Any], path: str) -> dict[str, Any]:
        kind: str = part["type"]
        if kind not in USER_PARTS and not kind.startswith("data-"):
            raise InvalidMessageError(f"a user message has no parts of type {kind!r}", path=f"{path}/type")
        if kind != "file":
            return part
        try:
            url = self._file_urls.check(part["url"], chat_id=self._key.chat_id)
        except URLNotAllowedError as error:
            raise URLNotAllowedError(error.reason, path=f"{path}/url") from None
        return part if url == part["url"] else {**part, "url": url}

    async def _with_files(self, message: UIMessage) -> UIMessage:
        if self._attachments is None or message["role"] != "user":
            return message
        return await self._attachments.accept(self._key, message)
