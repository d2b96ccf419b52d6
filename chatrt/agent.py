"""An agent: what an application declares once and every session of it is served by."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal, TypeVar, cast, get_args

from pydantic import TypeAdapter, ValidationError

from chatrt.compaction import Compaction
from chatrt.errors import InvalidActionError, InvalidClientDataError, InvalidInputError, UsageError
from chatrt.file_urls import LET_IN, FileURLs
from chatrt.hooks import (
    Hooks,
    HydrateMessages,
    OnAction,
    OnBeforeTurnComplete,
    OnBoot,
    OnChatResume,
    OnChatStart,
    OnChatSuspend,
    OnCompacted,
    OnError,
    OnPreload,
    OnRecoveryBoot,
    OnTurnComplete,
    OnTurnStart,
    OnValidateMessages,
    PrepareMessages,
    RunFunction,
    Serve,
    ToolsResolver,
)
from chatrt.pending_messages import PendingMessages
from chatrt.tools import Tool

RunT = TypeVar("RunT", bound=RunFunction)
HookT = TypeVar("HookT")

WhenBusy = Literal["queue", "steer", "interrupt", "reject"]
UnknownOutcome = Literal["close", "tell"]


class ChatAgent:
    """Declares an agent.

    Every hook can be given as a keyword argument or by the decorator of the same name.

    Args:
        id: Names the agent in URLs and in the store.
        run: Produces the answer of a turn.
        serve: A loop over the turns, instead of `run`; see `chatrt.serving`.
        tools: The tools, or a function that gives those of one turn.
        frontend_tools: Whether clients may bring tools of their own along with an input, which they answer themselves;
            they join `turn.tools`. See `chatrt.frontend_tools`.
        client_data: A type that pydantic can validate; what clients send along must fit it. Without one all is taken.
        action: The same for actions, usually a union of models told apart by a `type` field. Without one none is taken
            unless `on_action` is registered, which then gets the plain value.
        when_busy: What a message does that arrives while a turn runs: wait for its end (`queue`), be put into its
            prompt between two steps (`steer`), end it (`interrupt`), or be refused with `session-busy` (`reject`). What
            is not put into the prompt by the end of the turn runs as the next turn (D6, D7).
        pending_messages: Decides about messages that arrive while a turn runs, with `queue` and `steer`.
        compaction: When and how a summary takes the place of the older part of the prompt.
        idle_timeout: Seconds a run waits for more before it leaves memory: the chat is suspended then.
        turn_timeout: Seconds a chat stays suspended; what comes later starts a new run.
        preload_idle_timeout: Instead of `idle_timeout` until a preloaded run has served something.
        preload_timeout: Instead of `turn_timeout` until a preloaded run has served something.
        exit_after_preload_idle: Whether a preloaded run that nobody used ends instead of being suspended.
        max_turns: Turns after which a run ends; the next message starts another one.
        head_start_timeout: Seconds without a word from the process that makes the first step of an answer, after which
            the run answers by itself; see `chatrt.server.head_start`.
        unknown_outcome: What becomes of an answer whose run died while a tool ran that is neither pure nor idempotent:
            `close`, the answer ends there, as interrupted; `tell`, the model reads that the outcome of the call is
            unknown, and goes on (D33).
        file_urls: Which URLs the file parts of user messages may have: the chat's own files, and `data:` URLs, unless
            hosts are named.
        on_error: Chooses the text that people read for an exception; by default they read a fixed text and an id (D11).

    Raises:
        UsageError: If `id` is empty or has a character that does not belong into a URL path segment, or `when_busy` is
            not a policy, or `max_turns` is less than one.
    """

    def __init__(
        self,
        id: str,  # noqa: A002 - the public name is fixed
        *,
        run: RunFunction | None = None,
        serve: Serve | None = None,
        tools: Sequence[Tool] | ToolsResolver = (),
        frontend_tools: bool = False,
        client_data: Any = None,
        action: Any = None,
        when_busy: WhenBusy = "queue",
        pending_messages: PendingMessages | None = None,
        compaction: Compaction | None = None,
        idle_timeout: float = 30.0,
        turn_timeout: float = 3600.0,
        preload_idle_timeout: float | None = None,
        preload_timeout: float | None = None,
        exit_after_preload_idle: bool = False,
        max_turns: int = 100,
        head_start_timeout: float = 60.0,
        unknown_outcome: UnknownOutcome = "close",
        file_urls: FileURLs = LET_IN,
        on_boot: OnBoot | None = None,
        on_recovery_boot: OnRecoveryBoot | None = None,
        on_preload: OnPreload | None = None,
        on_validate_messages: OnValidateMessages | None = None,
        hydrate_messages: HydrateMessages | None = None,
        on_chat_start: OnChatStart | None = None,
        on_turn_start: OnTurnStart | None = None,
        prepare_messages: PrepareMessages | None = None,
        on_compacted: OnCompacted | None = None,
        on_before_turn_complete: OnBeforeTurnComplete | None = None,
        on_turn_complete: OnTurnComplete | None = None,
        on_action: OnAction | None = None,
        on_chat_suspend: OnChatSuspend | None = None,
        on_chat_resume: OnChatResume | None = None,
        on_error: OnError | None = None,
    ) -> None:
        if not id or not all(char.isalnum() or char in "-_." for char in id):
            raise UsageError(f"an agent id is made of letters, digits, '-', '_' and '.', not {id!r}")
        if when_busy not in get_args(WhenBusy):
            raise UsageError(f"when_busy is one of {', '.join(get_args(WhenBusy))}, not {when_busy!r}")
        if unknown_outcome not in get_args(UnknownOutcome):
            raise UsageError(
                f"unknown_outcome is one of {', '.join(get_args(UnknownOutcome))}, not {unknown_outcome!r}"
            )
        if max_turns < 1:
            raise UsageError(f"a run serves at least one turn, not {max_turns}")
        self.id = id
        self.tools = tools
        self.frontend_tools = frontend_tools
        self.client_data_type = client_data
        self.action_type = action
        self.when_busy: WhenBusy = when_busy
        self.pending_messages = pending_messages
        self.compaction = compaction
        self.idle_timeout = idle_timeout
        self.turn_timeout = turn_timeout
        self.preload_idle_timeout = idle_timeout if preload_idle_timeout is None else preload_idle_timeout
        self.preload_timeout = turn_timeout if preload_timeout is None else preload_timeout
        self.exit_after_preload_idle = exit_after_preload_idle
        self.max_turns = max_turns
        self.head_start_timeout = head_start_timeout
        self.unknown_outcome: UnknownOutcome = unknown_outcome
        self.file_urls = file_urls
        self.hooks = Hooks(
            run=run,
            serve=serve,
            on_boot=on_boot,
            on_recovery_boot=on_recovery_boot,
            on_preload=on_preload,
            on_validate_messages=on_validate_messages,
            hydrate_messages=hydrate_messages,
            on_chat_start=on_chat_start,
            on_turn_start=on_turn_start,
            prepare_messages=prepare_messages,
            on_compacted=on_compacted,
            on_before_turn_complete=on_before_turn_complete,
            on_turn_complete=on_turn_complete,
            on_action=on_action,
            on_chat_suspend=on_chat_suspend,
            on_chat_resume=on_chat_resume,
            on_error=on_error,
        )

    def __repr__(self) -> str:
        return f"ChatAgent({self.id!r})"

    # --- what clients send

    def parse_client_data(self, value: Any, *, default: Any = None) -> Any:
        """Return client data as the agent's type; none at all are taken for an empty object.

        Args:
            value: What an input brings.
            default: What the session has; holds where `value` says nothing.

        Raises:
            InvalidClientDataError: If they do not fit.
        """
        value = _merged(default, value)
        if self.client_data_type is None:
            return value
        if value is None:
            # Who sends nothing means the defaults, unless the type has a use for nothing.
            try:
                return self._client_data_adapter.validate_python(None)
            except ValidationError:
                value = {}
        return _parse(self._client_data_adapter, value, InvalidClientDataError)

    def parse_action(self, value: Any) -> Any:
        """Return an action as the agent's type.

        Raises:
            InvalidActionError: If it does not fit, or the agent takes no actions.
        """
        if self.hooks.on_action is None and self.hooks.serve is None:
            raise InvalidActionError(f"agent {self.id!r} takes no actions")
        if self.action_type is None:
            return value
        return _parse(self._action_adapter, value, InvalidActionError)

    @cached_property
    def _client_data_adapter(self) -> TypeAdapter[Any]:
        return TypeAdapter(self.client_data_type)

    @cached_property
    def _action_adapter(self) -> TypeAdapter[Any]:
        return TypeAdapter(self.action_type)

    # --- decorators

    def run(self, function: RunT) -> RunT:
        """Register what produces the answer of a turn."""
        self.hooks.run = function
        return function

    def serve(self, function: HookT) -> HookT:
        """Register a loop over the turns, instead of `run`."""
        self.hooks.serve = cast("Serve", function)
        return function

    def on_boot(self, hook: HookT) -> HookT:
        """Register a hook; see `chatrt.hooks`. So for all below."""
        self.hooks.on_boot = cast("OnBoot", hook)
        return hook

    def on_recovery_boot(self, hook: HookT) -> HookT:
        self.hooks.on_recovery_boot = cast("OnRecoveryBoot", hook)
        return hook

    def on_preload(self, hook: HookT) -> HookT:
        self.hooks.on_preload = cast("OnPreload", hook)
        return hook

    def on_validate_messages(self, hook: HookT) -> HookT:
        self.hooks.on_validate_messages = cast("OnValidateMessages", hook)
        return hook

    def hydrate_messages(self, hook: HookT) -> HookT:
        self.hooks.hydrate_messages = cast("HydrateMessages", hook)
        return hook

    def on_chat_start(self, hook: HookT) -> HookT:
        self.hooks.on_chat_start = cast("OnChatStart", hook)
        return hook

    def on_turn_start(self, hook: HookT) -> HookT:
        self.hooks.on_turn_start = cast("OnTurnStart", hook)
        return hook

    def prepare_messages(self, hook: HookT) -> HookT:
        self.hooks.prepare_messages = cast("PrepareMessages", hook)
        return hook

    def on_compacted(self, hook: HookT) -> HookT:
        self.hooks.on_compacted = cast("OnCompacted", hook)
        return hook

    def on_before_turn_complete(self, hook: HookT) -> HookT:
        self.hooks.on_before_turn_complete = cast("OnBeforeTurnComplete", hook)
        return hook

    def on_turn_complete(self, hook: HookT) -> HookT:
        self.hooks.on_turn_complete = cast("OnTurnComplete", hook)
        return hook

    def on_action(self, hook: HookT) -> HookT:
        self.hooks.on_action = cast("OnAction", hook)
        return hook

    def on_chat_suspend(self, hook: HookT) -> HookT:
        self.hooks.on_chat_suspend = cast("OnChatSuspend", hook)
        return hook

    def on_chat_resume(self, hook: HookT) -> HookT:
        self.hooks.on_chat_resume = cast("OnChatResume", hook)
        return hook

    def on_error(self, hook: HookT) -> HookT:
        self.hooks.on_error = cast("OnError", hook)
        return hook


def _merged(default: Any, value: Any) -> Any:
    if isinstance(default, dict) and isinstance(value, dict):
        return {**cast("dict[str, Any]", default), **cast("dict[str, Any]", value)}
    return cast("Any", default if value is None else value)


def _parse(adapter: TypeAdapter[Any], value: Any, error_class: type[InvalidInputError]) -> Any:
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        path = "".join(f"/{step}" for step in first["loc"])
        raise error_class(first["msg"], path=path) from None
