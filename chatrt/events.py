"""Events: what hooks are told, and what a recovery hook answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from chatrt.compaction import CompactionSource
from chatrt.history import History
from chatrt.models import Usage
from chatrt.turn import ResponseWriter, Trigger
from chatrt.ui import ModelMessage, UIMessage

PrepareReason = Literal["run", "compaction-rebuild", "compaction-result"]
Convert = Callable[[Sequence[UIMessage] | History], list[ModelMessage]]
TurnStatus = Literal["completed", "stopped", "failed", "interrupted"]


@dataclass(frozen=True, kw_only=True)
class Event:
    """What every event says: where it happens, and the history of that chat."""

    chat_id: str
    history: History = field(repr=False)
    client_data: Any = None


@dataclass(frozen=True, kw_only=True)
class MessagesEvent(Event):
    """An event with the messages of the chat, as they stand when they are read.

    `convert` makes model messages: of some messages theirs, of the history the prompt, with what stands beside them.
    """

    convert: Convert = field(repr=False)

    @property
    def ui_messages(self) -> list[UIMessage]:
        """The history, in a list of its own."""
        return self.history.all()

    @property
    def messages(self) -> list[ModelMessage]:
        """The history as a model would be shown it."""
        return self.convert(self.history)


@dataclass(frozen=True, kw_only=True)
class BootEvent(Event):
    """A process takes up the chat: the place to make what lives in its memory.

    Attributes:
        run_id: The run.
        continuation: Whether other runs served the chat before.
        preloaded: Whether a client asked for this run ahead of its first message.
        resumed: Whether this run was suspended and comes back; `on_chat_resume` follows.
        previous_run_id: The run before this one.
    """

    run_id: str
    continuation: bool
    preloaded: bool = False
    resumed: bool = False
    previous_run_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class PendingToolCall:
    """A call that a dead run had asked for and that has no result.

    Attributes:
        part_index: Where it stands among the parts of the answer, before that was closed.
    """

    tool_call_id: str
    tool_name: str
    input: Any
    part_index: int


@dataclass(frozen=True, kw_only=True)
class RecoveryBootEvent(Event):
    """A run died in the middle of an answer, and this one found what is left.

    Attributes:
        run_id: This run.
        previous_run_id: The dead one; empty if unknown.
        cause: Why it ended; a process that is gone cannot say it.
        settled_messages: The history without the interrupted turn.
        in_flight_users: The unsettled user messages, oldest first: the question of the partial answer, what was
            injected into that, and what waits behind it.
        partial_assistant: What was said, closed truthfully (D8).
        pending_tool_calls: The calls without a result, as they stood before that.
        response: Writes into the partial answer.
    """

    run_id: str
    previous_run_id: str
    cause: Literal["unknown"] = "unknown"
    settled_messages: list[UIMessage]
    in_flight_users: list[UIMessage]
    partial_assistant: UIMessage | None
    pending_tool_calls: list[PendingToolCall]
    response: ResponseWriter = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class RecoveryPlan:
    """What is to become of what a dead run left; what is left out goes as it does without a hook.

    Attributes:
        messages: The history to go on with. By default the settled messages, the interrupted question and the partial
            answer.
        turns: Which of the messages in flight are answered, each with a turn of its own, in this order. By default all
            but those that the partial answer has answered: the interrupted question, and what was injected. An injected
            message has no turn of its own as long as the answer that it is part of is kept.
        before_turns: Called when this is committed, before the first of these turns.
    """

    messages: list[UIMessage] | None = None
    turns: list[UIMessage] | None = None
    before_turns: Callable[[], Awaitable[None] | None] | None = None


@dataclass(frozen=True, kw_only=True)
class PreloadEvent(Event):
    """A client asked for the run before it has something to say. What is written is shown and not kept."""

    run_id: str
    response: ResponseWriter = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class SuspendEvent(MessagesEvent):
    """Nothing came for the idle time: the run leaves memory after this.

    Attributes:
        phase: `preload` when no turn was served yet.
        turn: How many turns this run served.
    """

    run_id: str
    phase: Literal["preload", "turn"]
    turn: int


@dataclass(frozen=True, kw_only=True)
class ResumeEvent(MessagesEvent):
    """Something came in for a suspended chat, within its `turn_timeout`; `on_boot` has fired for the new memory.

    Attributes:
        phase: The phase it was suspended in.
        turn: How many turns this run served.
    """

    run_id: str
    phase: Literal["preload", "turn"]
    turn: int


@dataclass(frozen=True, kw_only=True)
class ValidateMessagesEvent(Event):
    """A message came in. An assistant message may be slim: only the tool parts that were answered, without input."""

    messages: list[UIMessage]
    turn: int
    trigger: Trigger


@dataclass(frozen=True, kw_only=True)
class HydrateMessagesEvent(Event):
    """The application's own history is asked for.

    Attributes:
        trigger: What brought this about; with `action` and `regenerate` nothing is incoming.
        incoming_messages: At most one. A user message must be part of what is returned.
        previous_messages: What the session holds so far.
    """

    turn: int
    trigger: Trigger
    incoming_messages: list[UIMessage]
    previous_messages: list[UIMessage]
    continuation: bool


@dataclass(frozen=True, kw_only=True)
class ToolsEvent(Event):
    """The tools of this turn are asked for."""

    turn: int
    continuation: bool


@dataclass(frozen=True, kw_only=True)
class ChatStartEvent(MessagesEvent):
    """The first turn of the chat is about to start. `preloaded`: a client asked for the run ahead of it."""

    run_id: str
    turn: int
    preloaded: bool = False
    response: ResponseWriter = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class TurnStartEvent(MessagesEvent):
    """A turn is about to start: the incoming message is part of the history, the model was not asked yet."""

    run_id: str
    turn: int
    trigger: Trigger
    continuation: bool
    preloaded: bool = False
    previous_turn_usage: Usage | None
    total_usage: Usage
    response: ResponseWriter = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class PrepareMessagesEvent(Event):
    """The prompt is ready; what the hook returns is shown to the model instead. Nothing of it is stored.

    Attributes:
        reason: `run` for the first step, `compaction-result` when a summary has just taken the place of the prompt,
            `compaction-rebuild` for each later step of that answer.
    """

    messages: list[ModelMessage]
    reason: PrepareReason
    turn: int


@dataclass(frozen=True, kw_only=True)
class CompactedEvent(Event):
    """A summary stands for the older part of the prompt from now on; what the hook raises is logged.

    Attributes:
        source: `inner` between two steps, `outer` behind an answer, `manual` by `turn.compact()`.
        messages: What it stands for, as the model was shown it.
        usage: Of the last step before; None when no provider told.
        step_number: The step that comes next; -1 unless `source` is `inner`.
    """

    source: CompactionSource
    summary: str
    messages: list[ModelMessage]
    message_count: int
    usage: Usage | None
    step_number: int
    turn: int
    response: ResponseWriter = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class BeforeTurnCompleteEvent(MessagesEvent):
    """The answer is complete, the stream is still open: data parts written now become part of the message.

    Attributes:
        new_ui_messages: What this turn added or changed: the user message, if one came, and the answer.
        response_message: The answer; None when there is none.
        raw_response_message: The answer before open parts were closed; differs after a stop.
        usage: Of this turn; None when the model did not tell.
    """

    run_id: str
    turn: int
    trigger: Trigger
    continuation: bool
    new_ui_messages: list[UIMessage]
    response_message: UIMessage | None
    raw_response_message: UIMessage | None
    stopped: bool
    finish_reason: str | None
    usage: Usage | None
    total_usage: Usage
    response: ResponseWriter = field(repr=False)

    @property
    def new_messages(self) -> list[ModelMessage]:
        """What this turn added or changed, as a model would be shown it."""
        return self.convert(self.new_ui_messages)


@dataclass(frozen=True, kw_only=True)
class TurnCompleteEvent(MessagesEvent):
    """A turn is over and committed.

    Attributes:
        status: How it ended; `interrupted` when the run that served it died and another one closed it.
        last_seq: The sequence number of its `turn-complete` on `.out`: the cursor that belongs to these messages.
        error: What failed; None unless `status` is `failed` or `interrupted`.
    """

    run_id: str
    turn: int
    trigger: Trigger
    continuation: bool
    status: TurnStatus
    last_seq: int
    new_ui_messages: list[UIMessage]
    response_message: UIMessage | None
    raw_response_message: UIMessage | None
    finish_reason: str | None
    usage: Usage | None
    total_usage: Usage
    error: BaseException | None = None

    @property
    def stopped(self) -> bool:
        """Whether a person ended the turn."""
        return self.status == "stopped"

    @property
    def new_messages(self) -> list[ModelMessage]:
        """What this turn added or changed, as a model would be shown it."""
        return self.convert(self.new_ui_messages)


@dataclass(frozen=True, kw_only=True)
class ActionEvent(MessagesEvent):
    """A client asks for an action; `action` has the agent's `action` type. An action is not a turn.

    Change `history`, and return a stream, a text or a message if the action has something to say (D3).
    """

    action: Any
    turn: int
    response: ResponseWriter = field(repr=False)
