"""An AG-UI run: how it starts, the answers in it, and how it ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ag_ui.core import (
    PROTOCOL_VERSION,
    Interrupt,
    Message,
    RunAgentInput,
    RunErrorEvent,
    RunFinishedCancelledOutcome,
    RunFinishedEvent,
    RunFinishedInterruptOutcome,
    RunFinishedOutcome,
    RunFinishedSuccessOutcome,
    RunStartedEvent,
)

from chatrt.stores.base import Record
from chatrt.ui import UIMessage
from chatrt.wires.ag_ui_events import AnswerEvents, frame
from chatrt.wires.ag_ui_messages import Approval

INTERRUPTED_TEXT = "The answer was interrupted."

RESPONSE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"approved": {"type": "boolean"}, "reason": {"type": "string"}},
    "required": ["approved"],
}
"""What answers an interrupt: the decision about a tool call."""


class RunEvents:
    """The frames of one run, for one reader.

    Args:
        thread_id: The chat.
        run_id: As the client named the run.
        parent_run_id: What the client said it stems from.
        modern: Whether the client declared a version of the protocol: earlier clients know fewer outcomes of a run.
    """

    def __init__(self, thread_id: str, run_id: str, *, parent_run_id: str | None = None, modern: bool = True) -> None:
        self._thread_id = thread_id
        self._run_id = run_id
        self._parent_run_id = parent_run_id
        self._modern = modern
        self._answer = AnswerEvents()

    def start(self, messages: list[Message] | None = None) -> bytes:
        """Return the frame that opens the run.

        Args:
            messages: What was asked, for readers who did not ask themselves.
        """
        asked = None
        if messages is not None:
            asked = RunAgentInput(thread_id=self._thread_id, run_id=self._run_id, messages=messages)
        return frame(
            RunStartedEvent(
                thread_id=self._thread_id,
                run_id=self._run_id,
                protocol_version=PROTOCOL_VERSION,
                parent_run_id=self._parent_run_id,
                input=asked,
            )
        )

    def begin_turn(self, message_id: str, base: UIMessage | None) -> Iterator[bytes]:
        """Begin an answer, or go on with an earlier message; yields the ends of what is still open."""
        yield from self._answer.begin(message_id, base)

    def record(self, record: Record) -> bytes:
        """Return the frames of a chunk record, joined; empty if there are none."""
        return self._answer.record(record)

    def close(self) -> Iterator[bytes]:
        """Yield the ends of all that is open."""
        yield from self._answer.close()

    def end(self, status: str, error: dict[str, Any] | None = None, message_id: str | None = None) -> Iterator[bytes]:
        """Yield the ends of what is open and the last event of the run.

        Args:
            status: Of the `turn-complete`.
            error: Its error.
            message_id: The answer.
        """
        yield from self.close()
        match status:
            case "failed":
                error = error or {}
                yield frame(RunErrorEvent(message=error.get("message", "An error occurred."), code=error.get("code")))
            case "interrupted":
                yield frame(RunErrorEvent(message=INTERRUPTED_TEXT, code="turn-interrupted"))
            case _:
                yield frame(
                    RunFinishedEvent(
                        thread_id=self._thread_id,
                        run_id=self._run_id,
                        result=self._result(status, message_id),
                        outcome=self._outcome(status),
                    )
                )

    def _result(self, status: str, message_id: str | None) -> dict[str, Any] | None:
        if status not in ("completed", "injected") or message_id is None:
            return None
        result = {"messageId": message_id, "status": status}
        return result if self._answer.finish_reason is None else {**result, "finishReason": self._answer.finish_reason}

    def _outcome(self, status: str) -> RunFinishedOutcome | None:
        if status in ("stopped", "withdrawn"):
            return RunFinishedCancelledOutcome() if self._modern else None
        if status == "completed" and self._answer.told.approvals:
            return RunFinishedInterruptOutcome(
                interrupts=[self._interrupt(*item) for item in self._answer.told.approvals.items()]
            )
        pending = self._answer.told.pending_calls if status == "completed" and self._modern else []
        return RunFinishedSuccessOutcome(pending_tool_call_ids=pending or None)

    def _interrupt(self, approval_id: str, approval: Approval) -> Interrupt:
        call = self._answer.told.calls.get(approval.tool_call_id)
        return Interrupt(
            id=approval_id,
            reason="tool_call",
            message=approval.reason or f"Allow the call of {call.name if call else 'the tool'}?",
            tool_call_id=approval.tool_call_id,
            response_schema=RESPONSE_SCHEMA,
        )
