"""`AgentChat`: one conversation with an agent, from Python, in this process or over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from os import PathLike
from types import TracebackType
from typing import Any, Literal, Self

import httpx

from chatrt.agent import ChatAgent
from chatrt.client.asking import Asking
from chatrt.client.choice import choose_transport
from chatrt.client.http import Token
from chatrt.client.inputs import answer_message, read_file, user_message
from chatrt.client.session_calls import SessionCalls
from chatrt.client.stream import ChatStream, Place
from chatrt.client.transport import Transport
from chatrt.errors import UsageError
from chatrt.ids import Ids, RandomIds
from chatrt.runtime import SessionManager
from chatrt.runtime.asks import find_asks
from chatrt.ui import UIMessage, UIMessageChunk, UIPart, slim_message

_NOTHING: Any = object()


class AgentChat(SessionCalls):
    """One conversation with an agent.

        async with AgentChat("support", base_url="http://127.0.0.1:8000") as chat:
            print(await chat.send_message("Hello").text())
            async for chunk in chat.send_message("And more?"): ...

    With `sessions` it talks to a session manager in this process, with `base_url` to a server, and without both to the
    session manager of the run it is made in: then a session that is new is a child of the run's session. Callers see
    no difference: the same calls, streams and errors. The session is created by the first input (or by `preload`);
    leaving `async with` closes connections, never the session. What sends an input returns a `ChatStream`, which may be
    awaited (the input is durable then) or read at once.

    Args:
        agent: The agent or its id.
        id: The chat id; a fresh one if none is given.
        base_url: Where a chatrt server is mounted.
        token: A secret key or a session token, or an async callable that gives one and is asked again after a 401.
        client_data: Sent along with each input that brings none of its own.
        sessions: A started session manager of this process.
        tenant: Of the session, with `sessions`; over HTTP the token says it.
        http: An own HTTP client; it is not closed here.
        timeout: Seconds to go on trying when the server cannot be reached or breaks off.
        ids: Where the ids of messages and inputs come from.
        transport: An own way to the session.

    Raises:
        UsageError: If more than one way is given, or none outside of a run.
    """

    def __init__(
        self,
        agent: str | ChatAgent,
        *,
        id: str | None = None,  # noqa: A002 - the public name is fixed
        base_url: str | None = None,
        token: Token | None = None,
        client_data: Any = None,
        sessions: SessionManager | None = None,
        tenant: str = "",
        http: httpx.AsyncClient | None = None,
        timeout: float = 30.0,
        ids: Ids | None = None,
        transport: Transport | None = None,
    ) -> None:
        way = choose_transport(
            transport, sessions=sessions, tenant=tenant, base_url=base_url, token=token, http=http, timeout=timeout
        )
        self._ids = ids or RandomIds()
        self._agent_id = agent if isinstance(agent, str) else agent.id
        super().__init__(way, self._ids.new("chat") if id is None else id)
        self._client_data = client_data
        self._cursor: int | None = None
        self._last_seq = 0
        self._starting = asyncio.Lock()

    def __repr__(self) -> str:
        return f"AgentChat({self._agent_id!r}, id={self._chat_id!r})"

    @property
    def cursor(self) -> int:
        """The last record of `.out` that any stream of this object has read; 0 before the first."""
        return self._cursor or 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections of this object; the session stays, and so does a turn that runs."""
        if (asks := find_asks()) is not None:
            await asks.stops_sent()  # they need the connections
        await self._transport.aclose()

    # --- inputs that are answered

    def send_message(
        self,
        message: str | UIMessage | None = None,
        *,
        parts: Sequence[UIPart] | None = None,
        client_data: Any = _NOTHING,
        message_id: str | None = None,
    ) -> ChatStream:
        """Send a user message.

        Args:
            message: A text or a whole message.
            parts: The parts of the message, instead of `message`.
            client_data: Instead of the chat's own.
            message_id: The id of the message. One that the history knows makes this an edit (D22).

        Raises:
            UsageError: Unless exactly one of `message` and `parts` is given.
        """
        built = user_message(message, self._ids, parts=parts, message_id=message_id)
        return self._send({"kind": "message", "message": built}, client_data)

    def send_raw(
        self,
        messages: Sequence[UIMessage],
        *,
        trigger: Literal["submit-message", "regenerate-message"] = "submit-message",
        client_data: Any = _NOTHING,
    ) -> ChatStream:
        """Send what a `useChat` transport would: the last of the messages, slimmed, or a wish for another answer.

        Args:
            messages: A whole history or its tail; only the last one is sent. Not looked at when regenerating.
            trigger: As the AI SDK calls it.
            client_data: Instead of the chat's own.

        Raises:
            UsageError: If there is no message to submit.
        """
        if trigger == "regenerate-message":
            return self._send({"kind": "regenerate"}, client_data)
        if not messages:
            raise UsageError("send_raw needs at least one message to submit")
        return self._send({"kind": "message", "message": slim_message(messages[-1])}, client_data)

    def regenerate(self, message_id: str | None = None, *, client_data: Any = _NOTHING) -> ChatStream:
        """Ask for another answer in place of the last one, or of the one with that id (D22)."""
        body: dict[str, Any] = {"kind": "regenerate"}
        if message_id is not None:
            body["messageId"] = message_id
        return self._send(body, client_data)

    def send_action(self, action: Any, *, client_data: Any = _NOTHING) -> ChatStream:
        """Send an action. The stream ends when it is settled; a refused one has the status `failed`."""
        return self._send({"kind": "action", "action": action}, client_data)

    def switch_to(self, message_id: str, *, client_data: Any = _NOTHING) -> ChatStream:
        """Make the branch active that holds a message, or what `siblings` named, down to what was said last on it."""
        return self._send({"kind": "switch", "messageId": message_id}, client_data)

    def send_data(self, data: Any, *, client_data: Any = _NOTHING) -> ChatStream:
        """Send JSON to an agent that is served by a loop of its own; no part of the conversation."""
        return self._send({"kind": "data", "data": data}, client_data)

    def add_tool_output(
        self,
        tool_call_id: str,
        output: Any = None,
        *,
        error_text: str | None = None,
        client_data: Any = _NOTHING,
    ) -> ChatStream:
        """Answer a call of a tool that has no body on the server; the agent goes on in the same message.

        When several calls wait, the agent goes on with the answer to the last of them.

        Args:
            tool_call_id: The call.
            output: What the tool gave, JSON-shaped.
            error_text: Why it failed, instead of an output.
            client_data: Instead of the chat's own.

        Raises:
            UsageError: When sent, if the history holds no such call.
        """
        answer: dict[str, Any] = {"state": "output-available", "output": output}
        if error_text is not None:
            answer = {"state": "output-error", "errorText": error_text}
        return self._advance(lambda part: part["toolCallId"] == tool_call_id, answer, tool_call_id, client_data)

    def approve(
        self,
        approval_id: str,
        approved: bool,  # noqa: FBT001 - the order is how one says it: approve("id", False)
        *,
        reason: str | None = None,
        client_data: Any = _NOTHING,
    ) -> ChatStream:
        """Approve or deny a call that waits for it; the agent goes on in the same message.

        Raises:
            UsageError: When sent, if the history holds no such approval.
        """
        approval: dict[str, Any] = {"id": approval_id, "approved": approved}
        if reason is not None:
            approval["reason"] = reason
        return self._advance(
            lambda part: part.get("approval", {}).get("id") == approval_id,
            {"state": "approval-responded", "approval": approval},
            approval_id,
            client_data,
        )

    # --- the running turn

    async def steer(self, text: str, *, client_data: Any = _NOTHING) -> bool:
        """Send a message into the turn that runs: it is part of what the model reads before its next step.

        If the turn has no next step the message is answered by the next turn. An agent whose busy policy is
        `interrupt` or `reject` does as with any message.

        Returns:
            Whether it was sent: False, and nothing is sent, when no turn is running.
        """
        state = await self._find_state()
        if state is None or state.status != "running":
            return False
        body: dict[str, Any] = {"kind": "message", "message": user_message(text, self._ids)}
        data = self._client_data if client_data is _NOTHING else client_data
        body |= {"steer": True} if data is None else {"steer": True, "clientData": data}
        # No input of its own to reconnect to: what is said to it is said by the turn it goes into.
        await self._transport.append(self._chat_id, body, part_id=self._ids.new("part"))
        return True

    async def edit_pending(self, in_seq: int, message: str | UIMessage) -> None:
        """Put another text or message in the place of one that waits; nothing happens if its turn has begun."""
        await self._tell({"kind": "edit", "inSeq": in_seq, "message": user_message(message, self._ids)})

    async def withdraw(self, in_seq: int) -> None:
        """Take back a message that waits; nothing happens if its turn has begun."""
        await self._tell({"kind": "withdraw", "inSeq": in_seq})

    async def stop(self, reason: str | None = None, *, in_seq: int | None = None) -> bool:
        """Stop the turn that runs; its partial answer is kept.

        Args:
            reason: What the `abort` chunk says.
            in_seq: Only if it is the turn of this input (`ChatStream.seq`); one that waits is stopped before it begins.

        Returns:
            Whether there was one to stop when asked.
        """
        state = await self._find_state()
        if state is None or state.status != "running":
            return False
        said = {"reason": reason, "inSeq": in_seq}
        await self._tell({"kind": "stop", **{key: value for key, value in said.items() if value is not None}})
        return True

    async def reconnect(self, after: int | None = None) -> ChatStream | None:
        """Return a stream of the turn that runs or waits, or None if there is none.

        Its chunks are those after the cursor; `text()`, `result()` and `messages()` have the answer from its beginning.

        Args:
            after: The cursor up to which chunks were seen; by default this object's own.
        """
        state = await self._find_state()
        if state is None or state.status != "running":
            return None
        shown = self.cursor if after is None else after
        own = self._last_seq if self._last_seq > state.in_cursor else state.in_cursor + 1

        async def begin() -> Place:
            return Place(own, state.cursor, shown)

        return ChatStream(self._transport, self._chat_id, begin, self._on_cursor, self._asking())

    async def upload(
        self, source: str | PathLike[str] | bytes, *, filename: str | None = None, media_type: str | None = None
    ) -> UIPart:
        """Attach a file to the chat and return the part that names it, for `send_message(parts=[...])`.

            report = await chat.upload("report.pdf")
            chat.send_message(parts=[{"type": "text", "text": "What does it say?"}, report])

        Its type is what is said here, else what its name says, else what its first bytes say.

        Raises:
            OSError: If it cannot be read.
            InvalidInputError: If it is not taken; the subclass says why: too large, of no such type, one too many.
        """
        file = await read_file(source, filename=filename, media_type=media_type)
        await self._start()
        return await self._transport.upload(self._chat_id, file)

    async def write(self, *chunks: UIMessageChunk | dict[str, Any]) -> None:
        """Put data chunks into the answer that runs, or into the last one; durable when this returns.

        Over HTTP this needs the secret key.

        Raises:
            InvalidChunkError: If one is no data chunk.
            SessionClosedError: If the session is closed.
        """
        await self._start()
        await self._tell({"kind": "write", "chunks": list(chunks)})

    # --- the session

    async def preload(self) -> None:
        """Create the session, if it is not there, and start its run before the first input."""
        await self._start()
        body: dict[str, Any] = {"kind": "preload"}
        if self._client_data is not None:
            body["clientData"] = self._client_data
        await self._tell(body)

    # --- inside

    async def _start(self) -> int:
        """Make sure of the session and return the cursor from which the next answer is looked for."""
        async with self._starting:
            if self._cursor is None:
                new = await self._transport.start(self._chat_id, self._agent_id, client_data=self._client_data)
                self._on_cursor(0 if new else (await self._transport.load(self._chat_id)).cursor)
            return self.cursor

    def _on_cursor(self, seq: int) -> None:
        if self._cursor is None or seq > self._cursor:
            self._cursor = seq

    async def _tell(self, body: Mapping[str, Any]) -> None:
        await self._transport.append(self._chat_id, body, part_id=self._ids.new("part"))

    def _send(self, body: dict[str, Any], client_data: Any) -> ChatStream:
        async def build() -> dict[str, Any]:
            return body

        return self._stream(build, client_data)

    def _advance(
        self, is_meant: Callable[[UIPart], bool], answer: dict[str, Any], name: str, client_data: Any
    ) -> ChatStream:
        async def build() -> dict[str, Any]:
            return {"kind": "message", "message": answer_message(await self.messages(), is_meant, answer, name)}

        return self._stream(build, client_data)

    def _stream(self, build: Callable[[], Awaitable[dict[str, Any]]], client_data: Any) -> ChatStream:
        data = self._client_data if client_data is _NOTHING else client_data
        # One name for this input, so that sending it again after a failure cannot double it.
        asking = self._asking(self._ids.new("part"))

        async def begin() -> Place:
            asking.check_depth()
            after = await self._start()
            body = await build()
            if data is not None:
                body = {**body, "clientData": data}
            seq = await asking.append(body)
            self._last_seq = max(self._last_seq, seq)
            return Place(seq, after)

        return ChatStream(self._transport, self._chat_id, begin, self._on_cursor, asking)

    def _asking(self, part_id: str = "") -> Asking:
        return Asking(self._transport, self._agent_id, self._chat_id, part_id)
