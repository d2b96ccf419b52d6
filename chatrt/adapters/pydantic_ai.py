"""An agent of pydantic-ai as the run function: its run becomes the chunks of the answer.

    from chatrt.adapters import stream_pydantic_ai

    @support.run
    async def respond(turn):
        return stream_pydantic_ai(agent, turn, deps=Deps(turn.client_data))

The chat is the history: pydantic-ai is given what the chat holds, turn by turn, and keeps nothing itself. Tools with
`requires_approval` and external tools end the answer with an open call; name `DeferredToolRequests` among the agent's
output types. What the person decides or the client answers comes with the next turn, which continues the message.

What of a run has no place in a message is not in later prompts: the extra user content of a `ToolReturn`, messages that
were enqueued, compactions that a provider made.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, TypeVar, cast

from chatrt import errors
from chatrt.adapters.decisions import read_prompt_with_files
from chatrt.adapters.lockstep import in_lockstep
from chatrt.adapters.missing import missing_extra
from chatrt.adapters.stream import AgentStream
from chatrt.generate.metadata import MessageMetadata
from chatrt.ids import Ids, RandomIds
from chatrt.models import Usage
from chatrt.models.litellm_errors import mask_secrets, model_error
from chatrt.turn import Turn
from chatrt.ui import ModelMessage, UIMessage, UIMessageChunk

try:
    from pydantic_ai import exceptions
    from pydantic_ai import messages as pai
    from pydantic_ai.agent import AbstractAgent
    from pydantic_ai.capabilities import ReinjectSystemPrompt
    from pydantic_ai.run import AgentRunResult
    from pydantic_ai.tools import RunContext
    from pydantic_ai.usage import RequestUsage, RunUsage
except ImportError as error:
    raise missing_extra("pydantic-ai", error) from error

from chatrt.adapters.pydantic_ai_events import PydanticAIEvents
from chatrt.adapters.pydantic_ai_messages import deferred_results, history_of

DepsT = TypeVar("DepsT")

_KINDS: tuple[tuple[type[Exception], type[errors.ModelError]], ...] = (
    (exceptions.ModelRateLimitError, errors.ModelRateLimitError),
    (exceptions.ModelQuotaExceededError, errors.ModelRateLimitError),
    (exceptions.ModelAuthenticationError, errors.ModelAuthError),
    (exceptions.ModelTimeoutError, errors.ModelTimeoutError),
    (exceptions.ModelRequestTimeout, errors.ModelTimeoutError),
)


def stream_pydantic_ai(
    agent: AbstractAgent[DepsT, Any],
    conversation: Turn[Any] | Sequence[ModelMessage] | Sequence[UIMessage],
    *,
    deps: DepsT = None,
    send_reasoning: bool = True,
    message_metadata: MessageMetadata | None = None,
    ids: Ids | None = None,
    **run_options: Any,
) -> PydanticAIStream:
    """Answer with an agent of pydantic-ai, as a stream of `UIMessageChunk`s from `start` to `finish`.

    Each model call is a step. Text and reasoning stream, with what the provider wants back (signatures, ids) as
    provider metadata; tool inputs stream, and `tool-input-available` is sent, and on record, before the tool starts. A
    final output that is not the text of the last answer becomes a `data-output` part: structured output, what an
    output tool or an output function gave; the call of an output tool shows as a tool call as well.

    The texts of `ModelRetry`, `ToolFailed` and validation errors are shown to clients: they are in the message, from
    where the model reads them again. Any other exception in a tool ends the run, and with it the turn.

    A stop cancels the run. Async tools and model calls end; a sync tool runs in a thread and ends when it returns.

    Args:
        agent: The agent.
        conversation: The turn that is to be answered; or model messages or UI messages that end with what is.
        deps: The dependencies of the run.
        send_reasoning: Whether clients see the model's reasoning. What they do not see is not replayed to the model.
        message_metadata: As in `stream_text`: called for each chunk, may give message metadata; `finish-step` and
            `finish` have a `usage`.
        ids: Where the ids of parts and approvals come from.
        run_options: Further arguments of `Agent.run`: `model`, `model_settings`, `usage_limits`, `toolsets`,
            `output_type`, ... `usage` is counted per answer.

    Raises:
        ModelError: While it is read, when the model or its provider fails. Other exceptions of pydantic-ai
            (`UsageLimitExceeded`, `UserError`, `RunCancelled`) and of tools pass as they are.
    """
    return PydanticAIStream(
        agent,
        conversation,
        options={"deps": deps, **run_options},
        send_reasoning=send_reasoning,
        message_metadata=message_metadata,
        ids=RandomIds() if ids is None else ids,
    )


class PydanticAIStream(AgentStream):
    """What `stream_pydantic_ai` returns; `result` is pydantic-ai's `AgentRunResult`."""

    def __init__(
        self,
        agent: AbstractAgent[Any, Any],
        conversation: Turn[Any] | Sequence[ModelMessage] | Sequence[UIMessage],
        *,
        options: dict[str, Any],
        send_reasoning: bool,
        message_metadata: MessageMetadata | None,
        ids: Ids,
    ) -> None:
        self._agent = agent
        self._conversation = conversation
        self._options = options
        self._send_reasoning = send_reasoning
        self._ids = ids
        self._used = RunUsage()
        super().__init__(message_metadata)

    async def _run(self) -> AsyncGenerator[UIMessageChunk]:
        prompt = await read_prompt_with_files(self._conversation)
        events = PydanticAIEvents(prompt, ids=self._ids, send_reasoning=self._send_reasoning)
        options: dict[str, Any] = {
            "message_history": history_of(prompt),
            "deferred_tool_results": deferred_results(prompt),
        }
        if isinstance(self._conversation, Turn):
            options["conversation_id"] = self._conversation.chat_id
        options |= self._options
        options["capabilities"] = [ReinjectSystemPrompt(), *(self._options.get("capabilities") or ())]

        async def produce(emit: Callable[[pai.AgentStreamEvent], Awaitable[None]]) -> None:
            async def handle(context: RunContext[Any], stream: AsyncIterable[pai.AgentStreamEvent]) -> None:
                self._note_usage(context)
                events.next_node()
                async for event in stream:
                    await emit(event)

            run = self._agent.run(usage=self._used, event_stream_handler=handle, **options)
            self.result = await run

        yield {"type": "start"}
        try:
            async with aclosing(in_lockstep(produce)) as items:
                async for event in items:
                    for chunk in events.take(event):
                        yield chunk
            for chunk in events.finish(cast("AgentRunResult[Any]", self.result)):
                yield chunk
            self.finish_reason = events.finish_reason
        except Exception as error:
            self.finish_reason = "error"
            if isinstance(error, exceptions.ModelAPIError):
                raise _model_error(error) from None  # the original may hold keys
            if isinstance(error, exceptions.UnexpectedModelBehavior):
                raise errors.ModelResponseError(str(error)) from error
            raise

    @property
    def usage(self) -> Usage | None:
        return _usage(self._used) if self._used.requests else None

    def _note_usage(self, context: RunContext[Any]) -> None:
        last = context.messages[-1] if context.messages else None
        if isinstance(last, pai.ModelResponse):
            self._step_usage = _usage(last.usage)


def _usage(used: RequestUsage | RunUsage) -> Usage:
    return Usage(
        input_tokens=used.input_tokens,
        output_tokens=used.output_tokens,
        total_tokens=used.input_tokens + used.output_tokens,
        cache_read_tokens=used.cache_read_tokens or None,
        cache_write_tokens=used.cache_write_tokens or None,
        reasoning_tokens=used.output_reasoning_tokens or None,
    )


def _model_error(error: exceptions.ModelAPIError) -> errors.ModelError:
    for kind, meaning in _KINDS:
        if isinstance(error, kind):
            status = error.status_code if isinstance(error, exceptions.ModelHTTPError) else None
            return meaning(f"{type(error).__name__}: {mask_secrets(str(error))}", provider_status=status)
    return model_error(error)
