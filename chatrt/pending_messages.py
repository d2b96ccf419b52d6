"""Pending messages: what users say while a turn runs, and what becomes of it between the steps."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from chatrt.ui import ModelMessage, UIMessage


@dataclass(frozen=True, kw_only=True)
class PendingMessage:
    """A user message that waits: for a step boundary of the running turn, or for a turn of its own.

    Attributes:
        in_seq: Its record on `.in`: what an edit or a withdrawal names.
        message: The message.
    """

    in_seq: int
    message: UIMessage

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> PendingMessage:
        """Read what `to_json` wrote."""
        return cls(in_seq=value["inSeq"], message=value["message"])

    def to_json(self) -> dict[str, Any]:
        """Return it as it stands on the wire."""
        return {"inSeq": self.in_seq, "message": self.message}


@dataclass(frozen=True, kw_only=True)
class PendingBatch:
    """The messages that wait at a step boundary, and where that is.

    Attributes:
        messages: In the order of arrival.
        model_messages: The prompt so far.
        steps: The steps so far; see `chatrt.generate.Step`.
        step_number: Of the step that comes next.
        client_data: Of the running turn.
    """

    chat_id: str
    turn: int
    messages: list[UIMessage]
    model_messages: list[ModelMessage]
    steps: Sequence[Any]
    step_number: int
    client_data: Any = None


@dataclass(frozen=True, kw_only=True)
class ReceivedEvent:
    """A user message arrived while a turn runs."""

    chat_id: str
    turn: int
    message: UIMessage


@dataclass(frozen=True, kw_only=True)
class InjectedEvent:
    """Waiting messages were put into the prompt of the running turn.

    Attributes:
        messages: The messages.
        injected_model_messages: What the model is shown of them.
        step_number: Of the step that is shown them first.
    """

    chat_id: str
    turn: int
    messages: list[UIMessage]
    injected_model_messages: list[ModelMessage]
    step_number: int


@dataclass(frozen=True, kw_only=True)
class PendingMessages:
    """What becomes of user messages that arrive while a turn runs.

    What is not injected by the end of the turn runs as the next turns, in order (D6, D7).

    Attributes:
        should_inject: Decides for the whole batch at each step boundary. Without it messages are injected when the
            agent's `when_busy` is `"steer"` or the client asked for it, and wait for a turn of their own otherwise.
        prepare: What the model is shown of the batch; by default the messages themselves.
        on_received: Told of each message when it arrives; what it raises is logged.
        on_injected: Told after an injection; what it raises is logged.
    """

    should_inject: Callable[[PendingBatch], bool | Awaitable[bool]] | None = None
    prepare: Callable[[PendingBatch], list[ModelMessage] | Awaitable[list[ModelMessage]]] | None = None
    on_received: Callable[[ReceivedEvent], Awaitable[None] | None] | None = None
    on_injected: Callable[[InjectedEvent], Awaitable[None] | None] | None = None
