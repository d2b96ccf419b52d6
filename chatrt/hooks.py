"""Hooks: what an application may plug into a session; `chatrt.events` has what they are told.

Order in a turn (a hook that is not registered is skipped):

    on_boot                     once per run and each time it comes back to memory, before what it serves
    on_recovery_boot            when a dead run left a partial answer behind (D19)
    on_preload                  when a client asked for the run ahead of its first message
    on_chat_resume              when a suspended chat is taken up again
      on_validate_messages      only when a message came in; what it returns replaces the message
      hydrate_messages          what it returns replaces the history
      on_chat_start             once per chat, with the first turn that gets this far (D19)
      on_turn_start
        prepare_messages        changes what the model is shown, this time
        run
          on_compacted          whenever a summary has taken the place of older messages in the prompt
      on_before_turn_complete   the stream is still open; not after a failure
    (the turn is committed)
      on_turn_complete          exactly once, after success, stop and failure alike (D5)
    on_chat_suspend             nothing came for the idle time: the run is about to leave memory

Where another process makes the first step of an answer (`chatrt.runtime.head_start`), all but `on_boot` wait until that
is over; when the step was the whole answer, `prepare_messages` and `run` are left out.

An action fires `hydrate_messages` and `on_action`, nothing else. Every hook may be sync or async. What a hook does to
`history` acts at once and is committed with the turn or action (D1).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from chatrt.events import (
    ActionEvent,
    BeforeTurnCompleteEvent,
    BootEvent,
    ChatStartEvent,
    CompactedEvent,
    HydrateMessagesEvent,
    PreloadEvent,
    PrepareMessagesEvent,
    RecoveryBootEvent,
    RecoveryPlan,
    ResumeEvent,
    SuspendEvent,
    ToolsEvent,
    TurnCompleteEvent,
    TurnStartEvent,
    ValidateMessagesEvent,
)
from chatrt.serving import ServedSession
from chatrt.tools import Tool
from chatrt.turn import Turn
from chatrt.ui import ModelMessage, UIMessage, UIMessageChunk

Answer: TypeAlias = AsyncIterator[UIMessageChunk] | str | UIMessage | None
"""What run and on_action may return: a stream of chunks, a whole text, a whole message, or nothing."""

Serve = Callable[[ServedSession], Awaitable[None]]
RunFunction = Callable[[Turn[Any]], Answer | Awaitable[Answer]]
ToolsResolver = Callable[[ToolsEvent], Sequence[Tool] | Awaitable[Sequence[Tool]]]
OnBoot = Callable[[BootEvent], Awaitable[None] | None]
OnRecoveryBoot = Callable[[RecoveryBootEvent], Awaitable[RecoveryPlan | None] | RecoveryPlan | None]
OnPreload = Callable[[PreloadEvent], Awaitable[None] | None]
OnChatSuspend = Callable[[SuspendEvent], Awaitable[None] | None]
OnChatResume = Callable[[ResumeEvent], Awaitable[None] | None]
OnValidateMessages = Callable[[ValidateMessagesEvent], list[UIMessage] | Awaitable[list[UIMessage]]]
HydrateMessages = Callable[[HydrateMessagesEvent], list[UIMessage] | Awaitable[list[UIMessage]]]
OnChatStart = Callable[[ChatStartEvent], Awaitable[None] | None]
OnTurnStart = Callable[[TurnStartEvent], Awaitable[None] | None]
PrepareMessages = Callable[[PrepareMessagesEvent], list[ModelMessage] | Awaitable[list[ModelMessage]]]
OnCompacted = Callable[[CompactedEvent], Awaitable[None] | None]
OnBeforeTurnComplete = Callable[[BeforeTurnCompleteEvent], Awaitable[None] | None]
OnTurnComplete = Callable[[TurnCompleteEvent], Awaitable[None] | None]
OnAction = Callable[[ActionEvent], Answer | Awaitable[Answer]]
OnError = Callable[[BaseException], str]


@dataclass(slots=True)
class Hooks:
    """The hooks of one agent; None where nothing is registered."""

    run: RunFunction | None = None
    serve: Serve | None = None
    on_boot: OnBoot | None = None
    on_recovery_boot: OnRecoveryBoot | None = None
    on_preload: OnPreload | None = None
    on_validate_messages: OnValidateMessages | None = None
    hydrate_messages: HydrateMessages | None = None
    on_chat_start: OnChatStart | None = None
    on_turn_start: OnTurnStart | None = None
    prepare_messages: PrepareMessages | None = None
    on_compacted: OnCompacted | None = None
    on_before_turn_complete: OnBeforeTurnComplete | None = None
    on_turn_complete: OnTurnComplete | None = None
    on_action: OnAction | None = None
    on_chat_suspend: OnChatSuspend | None = None
    on_chat_resume: OnChatResume | None = None
    on_error: OnError | None = None
