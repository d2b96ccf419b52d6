"""Sending: what a test can say to the chat of a harness, as a client would, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pydantic import TypeAdapter

from chatrt.client import AgentChat, ChatStream, ToolCall, pending_tool_calls
from chatrt.errors import UsageError
from chatrt.stores import SessionKey
from chatrt.testing.reading import LiveRecords, SentInput, TurnResult, to_result
from chatrt.testing.rest import come_to_rest
from chatrt.testing.watched_store import Log, LogRecord, Stream
from chatrt.testing.worker import Setting, TestersModels, Worker
from chatrt.ui import UIMessage, UIPart, rebuild_chunks

_json: TypeAdapter[Any] = TypeAdapter(Any)


class Sending:
    """The half of a harness that talks.

    Args:
        setting: The chat.
        log: Where everything that is stored is noted.
    """

    def __init__(self, setting: Setting, log: Log) -> None:
        self._setting = setting
        self._log = log
        self._models = TestersModels(None)
        self._worker: Worker | None = None

    @property
    def key(self) -> SessionKey:
        """The tenant and the chat id."""
        return self._setting.key

    @property
    def chat_id(self) -> str:
        """The chat id."""
        return self.key.chat_id

    def records(self, stream: Stream) -> list[LogRecord]:
        """Return all records that `".in"` or `".out"` ever had, also those that the store has trimmed since."""
        return self._log.records(self.key, stream)

    async def settle(self) -> None:
        """Let everything run that can, without letting time pass."""
        await come_to_rest(None if self._worker is None else self._worker.store.wait_outside)

    # --- inputs that are answered

    async def send(
        self,
        message: str | UIMessage | None = None,
        *,
        parts: Sequence[UIPart] | None = None,
        message_id: str | None = None,
        client_data: Any = None,
    ) -> TurnResult:
        """Send a message and wait for the end of its turn.

        Args:
            message: A text, or a message: a user's, or an assistant's with tool calls that the client answered.
            parts: The parts of a user message, instead of `message`.
            message_id: The id of the user message. One that the history knows makes this an edit.
            client_data: Instead of the chat's own.
        """
        sent = await self.start(message, parts=parts, message_id=message_id, client_data=client_data)
        return await sent.result()

    async def start(
        self,
        message: str | UIMessage | None = None,
        *,
        parts: Sequence[UIPart] | None = None,
        message_id: str | None = None,
        client_data: Any = None,
    ) -> SentInput:
        """Send a message as `send` does, and return as soon as it is durable."""
        data = _given(client_data)
        return await self._start(lambda c: c.send_message(message, parts=parts, message_id=message_id, **data))

    async def send_begun(
        self,
        message: str | UIMessage,
        begun: str | Sequence[UIPart] | None,
        *,
        is_final: bool = True,
        client_data: Any = None,
    ) -> TurnResult:
        """Send a message whose answer another process has begun, and wait for the end of its turn.

        Args:
            message: A text, or a user's message.
            begun: The first step of the answer, a text or parts as they stand in a message; None for one that failed,
                so that there is nothing to take over.
            is_final: Whether the step is the whole answer; otherwise the agent carries out its calls and goes on.
            client_data: Instead of the chat's own.
        """
        return await (await self.start_begun(message, begun, is_final=is_final, client_data=client_data)).result()

    async def start_begun(
        self,
        message: str | UIMessage,
        begun: str | Sequence[UIPart] | None,
        *,
        is_final: bool = True,
        client_data: Any = None,
    ) -> SentInput:
        """Send a message as `send_begun` does, and return as soon as what was begun is durable."""
        worker = self._up()
        self._models.look()
        inbox, message_id = worker.session.inbox, self._setting.ids.new("msg")
        parts: Any = [{"type": "text", "text": begun}] if isinstance(begun, str) else begun
        said: Any = {"type": "text", "text": message} if isinstance(message, str) else None
        asked: Any = message if said is None else {"role": "user", "parts": [said]}
        data = self._setting.client_data if client_data is None else to_json(client_data)

        async def send() -> int:
            in_seq = (await inbox.send_with_head_start(asked, message_id, client_data=data)).seq
            if parts is None:
                await inbox.skip_handover(in_seq)
                return in_seq
            step: UIMessage = {"id": message_id, "role": "assistant", "parts": [{"type": "step-start"}, *parts]}
            chunks: Any = [{"type": "start", "messageId": message_id}, *rebuild_chunks(step)]
            await inbox.relay_chunks(in_seq, 0, chunks)
            finish: Any = {"type": "finish", "finishReason": "stop" if is_final else "tool-calls"}
            await inbox.hand_over(in_seq, is_final=is_final, finish=finish)
            return in_seq

        return self.sent(await worker.do(send()))

    async def regenerate(self, message_id: str | None = None, *, client_data: Any = None) -> TurnResult:
        """Ask for another answer in place of the last one, or of the one with that id."""
        return await (await self.start_regenerate(message_id, client_data=client_data)).result()

    async def start_regenerate(self, message_id: str | None = None, *, client_data: Any = None) -> SentInput:
        """Ask for another answer as `regenerate` does, and return as soon as that is durable."""
        data = _given(client_data)
        return await self._start(lambda c: c.regenerate(message_id, **data))

    async def act(self, action: Any, *, client_data: Any = None) -> TurnResult:
        """Ask for an action, JSON-shaped or a pydantic model. One that is refused gives a result that says `failed`."""
        return await (await self.start_action(action, client_data=client_data)).result()

    async def start_action(self, action: Any, *, client_data: Any = None) -> SentInput:
        """Ask for an action as `act` does, and return as soon as that is durable."""
        data = _given(client_data)
        return await self._start(lambda c: c.send_action(to_json(action), **data))

    async def approve(
        self,
        call: str | ToolCall,
        approved: bool = True,  # noqa: FBT001, FBT002 - the order is how one says it: approve("refund", False)
        *,
        reason: str | None = None,
        client_data: Any = None,
    ) -> TurnResult:
        """Approve or deny a call that waits for it, and wait for what the agent makes of it.

        Args:
            call: The call, its id, the id of the approval, or the name of its tool if one call of it waits.
            approved: Whether the tool may run.
            reason: Shown to the model.
            client_data: Instead of the chat's own.

        Raises:
            UsageError: If no such call waits, or several do.
        """
        waiting = await self._find_waiting(call, "approval-requested")
        data = _given(client_data)
        approval_id = waiting.approval_id or ""
        return await (await self._start(lambda c: c.approve(approval_id, approved, reason=reason, **data))).result()

    async def answer(
        self, call: str | ToolCall, output: Any = None, *, error_text: str | None = None, client_data: Any = None
    ) -> TurnResult:
        """Answer a call of a tool that the client runs, and wait for what the agent makes of it.

        Args:
            call: The call, its id, or the name of its tool if one call of it waits.
            output: What the tool gave.
            error_text: Why it failed, instead of an output.
            client_data: Instead of the chat's own.

        Raises:
            UsageError: If no such call waits, or several do.
        """
        waiting = await self._find_waiting(call, "input-available")
        data = _given(client_data)
        answer = to_json(output)
        return await (
            await self._start(lambda c: c.add_tool_output(waiting.tool_call_id, answer, error_text=error_text, **data))
        ).result()

    def sent(self, in_seq: int) -> SentInput:
        """Return the input of that number, whoever sent it: one of `unsettled`, for instance, which begin with 1."""
        live = LiveRecords(self._log, self.key, lambda: self._worker is not None)
        return SentInput(in_seq, live, self._finish)

    # --- beside the turns

    async def steer(self, text: str) -> SentInput:
        """Send a message into the turn that runs; it is settled as `injected`, or by a turn of its own.

        Raises:
            UsageError: If no turn runs.
        """
        worker = self._up()
        self._models.look()
        if not await worker.do(worker.chat.steer(text)):
            raise UsageError("no turn runs that could be steered")
        return self.sent(self.records(".in")[-1].seq)

    async def stop(self, reason: str | None = None) -> bool:
        """Stop the turn that runs, without waiting for its end; False if none runs."""
        worker = self._up()
        return await worker.do(worker.chat.stop(reason))

    async def preload(self) -> None:
        """Do what a client does that opens a chat before it has something to say."""
        worker = self._up()
        self._models.look()
        await worker.do(worker.chat.preload())
        await self.settle()

    async def close(self, reason: str | None = None) -> bool:
        """Close the session for good: it takes no more inputs."""
        worker = self._up()
        closed = await worker.do(worker.chat.close(reason))
        await self.settle()
        return closed

    # --- inside

    def _up(self) -> Worker:
        if self._worker is None:
            raise UsageError("no worker is up: restart() one")
        return self._worker

    async def _start(self, make: Callable[[AgentChat], ChatStream]) -> SentInput:
        worker = self._up()
        self._models.look()
        stream = make(worker.chat)

        async def send() -> int:
            return (await stream).seq

        return self.sent(await worker.do(send()))

    async def _finish(self, sent: SentInput) -> TurnResult:
        worker = self._worker

        def is_over() -> bool:
            running = None if worker is None else worker.session.running
            return running is None or running.in_seq != sent.in_seq

        await come_to_rest(None if worker is None else worker.store.wait_outside, until=is_over)
        return await to_result(self.chat_id, sent.in_seq, sent.records)

    async def _find_waiting(self, call: str | ToolCall, state: str) -> ToolCall:
        name = call if isinstance(call, str) else call.tool_call_id
        worker = self._up()
        messages = await worker.do(worker.chat.messages())
        waiting = [w for m in messages for w in pending_tool_calls(m) if w.state == state]
        found = [w for w in waiting if name in (w.tool_call_id, w.approval_id, w.tool_name)]
        if len(found) != 1:
            open_calls = ", ".join(f"{w.tool_name} ({w.tool_call_id})" for w in waiting) or "none"
            raise UsageError(f"{len(found)} calls wait that {name!r} could mean; waiting: {open_calls}")
        return found[0]


def _given(client_data: Any) -> dict[str, Any]:
    return {} if client_data is None else {"client_data": to_json(client_data)}


def to_json(value: Any) -> Any:
    """Return a value as it crosses the wire; pydantic models become objects."""
    return _json.dump_python(value, mode="json", by_alias=True)
