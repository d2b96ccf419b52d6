"""An agent of the OpenAI Agents SDK as the run function: its run becomes the chunks of the answer.

    from chatrt.adapters import stream_openai_agents

    @support.run
    async def respond(turn):
        return stream_openai_agents(agent, turn, context=turn.client_data)

The chat is the history: the SDK is given what the chat holds, turn by turn; its own sessions and stored conversations
are not used. A tool with `needs_approval` ends the answer with an open call; the person's decision comes with the next
turn, which continues the message. After a handoff the agent that was handed the chat goes on with it.

What of a run has no place in a message is not in later prompts: images that were generated, lists of MCP tools.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import Any, TypeVar

from chatrt import errors
from chatrt.adapters.decisions import Prompt, read_prompt_with_files
from chatrt.adapters.missing import missing_extra
from chatrt.adapters.stream import AgentStream
from chatrt.generate.metadata import MessageMetadata
from chatrt.ids import Ids, RandomIds
from chatrt.models import Usage
from chatrt.models.litellm_errors import model_error
from chatrt.turn import Turn
from chatrt.ui import ModelMessage, UIMessage, UIMessageChunk

try:
    from agents import Agent, ModelBehaviorError, RunConfig, RunHooks, Runner, RunResultStreaming
    from agents import Usage as SdkUsage
    from openai import APIError
    from openai.types.responses import ResponseUsage
except ImportError as error:
    raise missing_extra("openai-agents", error) from error

from chatrt.adapters.openai_agents_events import OpenAIAgentsEvents
from chatrt.adapters.openai_agents_messages import approved_calls, items_of, last_handoff
from chatrt.adapters.openai_agents_resume import resume

ContextT = TypeVar("ContextT")

_MAX_TURNS = 10
"""The SDK's own default."""


def stream_openai_agents(
    agent: Agent[ContextT],
    conversation: Turn[Any] | Sequence[ModelMessage] | Sequence[UIMessage],
    *,
    context: ContextT | None = None,
    agents: Iterable[Agent[ContextT]] = (),
    max_turns: int | None = _MAX_TURNS,
    hooks: RunHooks[ContextT] | None = None,
    run_config: RunConfig | None = None,
    error_handlers: Any = None,
    send_reasoning: bool = True,
    message_metadata: MessageMetadata | None = None,
    ids: Ids | None = None,
) -> OpenAIAgentsStream:
    """Answer with an agent of the OpenAI Agents SDK, as a stream of `UIMessageChunk`s from `start` to `finish`.

    Each model call is a step. Text, reasoning summaries and tool inputs stream; `tool-input-available` is sent, and on
    record, before a function tool starts. A handoff is a tool call, and a `data-handoff` part. A final output that is
    not the text of the last answer becomes a `data-output` part.

    What the SDK makes of a tool's exception (`failure_error_function`) is the tool's output, for the model and for
    clients; the SDK's default repeats the exception's text.

    When its run fails, the SDK drops the events it had not handed over yet; what was sent until then is kept.

    A stop cancels the run. Async tools and model calls end; a sync tool runs in a thread and ends when it returns. An
    async tool that awaits something while it is cancelled may still do so when the stream is closed.

    Args:
        agent: The agent the conversation begins with.
        conversation: The turn that is to be answered; or model messages or UI messages that end with what is.
        context: The application's context of the run.
        agents: Agents that a handoff may lead to, if they are not found by way of `agent.handoffs` because these are
            `Handoff` objects.
        max_turns: How many model calls an answer may take.
        hooks: As in `Runner.run_streamed`, like `run_config` and `error_handlers`.
        run_config: See there.
        error_handlers: See there.
        send_reasoning: Whether clients see the model's reasoning. What they do not see is not replayed to the model.
        message_metadata: As in `stream_text`: called for each chunk, may give message metadata; `finish-step` and
            `finish` have a `usage`.
        ids: Where the ids of parts and approvals come from.

    Raises:
        ModelError: While it is read, when the model or its provider fails. Other exceptions of the SDK
            (`MaxTurnsExceeded`, tripwires of guardrails, `UserError`) pass as they are.
        UsageError: If an approval is asked for that a chat cannot answer.
    """
    return OpenAIAgentsStream(
        agent,
        conversation,
        agents=list(agents),
        hooks=hooks,
        run_config=run_config or RunConfig(),
        options={"context": context, "max_turns": max_turns, "error_handlers": error_handlers},
        send_reasoning=send_reasoning,
        message_metadata=message_metadata,
        ids=RandomIds() if ids is None else ids,
    )


class OpenAIAgentsStream(AgentStream):
    """What `stream_openai_agents` returns; `result` is the SDK's `RunResultStreaming`."""

    def __init__(
        self,
        agent: Agent[Any],
        conversation: Turn[Any] | Sequence[ModelMessage] | Sequence[UIMessage],
        *,
        agents: list[Agent[Any]],
        hooks: RunHooks[Any] | None,
        run_config: RunConfig,
        options: dict[str, Any],
        send_reasoning: bool,
        message_metadata: MessageMetadata | None,
        ids: Ids,
    ) -> None:
        self._agent = agent
        self._conversation = conversation
        self._options = options
        self._agents = agents
        self._hooks = hooks
        self._run_config = run_config
        self._send_reasoning = send_reasoning
        self._ids = ids
        self._used: SdkUsage | None = None
        super().__init__(message_metadata)

    async def _run(self) -> AsyncGenerator[UIMessageChunk]:
        prompt = await read_prompt_with_files(self._conversation)
        events = OpenAIAgentsEvents(prompt, ids=self._ids, send_reasoning=self._send_reasoning)
        told = _Told(self._hooks, prompt)
        yield {"type": "start"}
        for call_id, decision in prompt.decisions.items():
            if not decision.approved:
                yield {"type": "tool-output-denied", "toolCallId": call_id}
        result = self._start(prompt, told)
        self._used = result.context_wrapper.usage
        stream: Any = result.stream_events()
        try:
            async for event in stream:
                chunks = events.take(event)
                self._step_usage = _usage(events.step_usage)
                for chunk in chunks:
                    yield chunk
                    if chunk["type"] == "tool-input-available":
                        told.add(chunk["toolCallId"])
            self.result = result
            for chunk in events.finish(result):
                yield chunk
            self.finish_reason = events.finish_reason
        except Exception as error:
            self.finish_reason = "error"
            if isinstance(error, APIError):
                raise model_error(error) from None  # the original may hold keys
            if isinstance(error, ModelBehaviorError):
                raise errors.ModelResponseError(str(error)) from error
            raise
        finally:
            await _end(result, stream)

    def _start(self, prompt: Prompt, told: _Told) -> RunResultStreaming:
        options = dict(self._options)
        agent = _current_agent(self._agent, self._agents, last_handoff(prompt))
        config = self._run_config
        calls = approved_calls(prompt)
        if calls:
            agent, config, options["context"] = resume(agent, config, options["context"], calls)
            if options["max_turns"] is not None:
                options["max_turns"] += 1  # the answer that is said again is none of the model's
        return Runner.run_streamed(agent, items_of(prompt), hooks=told, run_config=config, **options)

    @property
    def usage(self) -> Usage | None:
        return _usage(self._used)


class _Told(RunHooks[Any]):
    """The application's hooks, and a gate before each function tool: its call has to be on record first.

    The SDK writes events ahead of their reader, so that a tool would start by itself before anybody knows of its call.
    """

    def __init__(self, hooks: RunHooks[Any] | None, prompt: Prompt) -> None:
        self._hooks = RunHooks[Any]() if hooks is None else hooks
        self._told: dict[str, asyncio.Event] = {}
        for call_id in prompt.decisions:
            self.add(call_id)

    def add(self, call_id: str) -> None:
        """Let the tool of a call start: its reader came back for more."""
        self._event(call_id).set()

    def _event(self, call_id: str) -> asyncio.Event:
        return self._told.setdefault(call_id, asyncio.Event())

    async def on_tool_start(self, context: Any, agent: Any, tool: Any) -> None:
        call_id = getattr(context, "tool_call_id", None)
        if isinstance(call_id, str):
            await self._event(call_id).wait()
        await self._hooks.on_tool_start(context, agent, tool)

    async def on_tool_end(self, context: Any, agent: Any, tool: Any, result: Any) -> None:
        await self._hooks.on_tool_end(context, agent, tool, result)

    async def on_llm_start(self, context: Any, agent: Any, system_prompt: Any, input_items: Any) -> None:
        await self._hooks.on_llm_start(context, agent, system_prompt, input_items)

    async def on_llm_end(self, context: Any, agent: Any, response: Any) -> None:
        await self._hooks.on_llm_end(context, agent, response)

    async def on_agent_start(self, context: Any, agent: Any) -> None:
        await self._hooks.on_agent_start(context, agent)

    async def on_agent_end(self, context: Any, agent: Any, output: Any) -> None:
        await self._hooks.on_agent_end(context, agent, output)

    async def on_handoff(self, context: Any, from_agent: Any, to_agent: Any) -> None:
        await self._hooks.on_handoff(context, from_agent, to_agent)


async def _end(result: RunResultStreaming, stream: Any) -> None:
    """End a run, wherever it is, and wait until it is over."""
    if not result.is_complete:
        # First of all: closing the stream alone waits until the run ends by itself.
        result.cancel()
    await stream.aclose()
    task = result.run_loop_task
    if task is not None:
        await asyncio.wait({task})


def _current_agent(agent: Agent[Any], others: list[Agent[Any]], name: str | None) -> Agent[Any]:
    """Return the agent that was handed the conversation, if it is known; else the first one."""
    if name is None or name == agent.name:
        return agent
    seen: list[Agent[Any]] = []
    waiting = [agent, *others]
    while waiting:
        found = waiting.pop(0)
        if found.name == name:
            return found
        if not any(found is known for known in seen):
            seen.append(found)
            waiting += [handoff for handoff in found.handoffs if isinstance(handoff, Agent)]
    return agent


def _usage(used: SdkUsage | ResponseUsage | None) -> Usage | None:
    if used is None or not used.total_tokens:
        return None
    of_input: Any = used.input_tokens_details
    of_output: Any = used.output_tokens_details
    return Usage(
        input_tokens=used.input_tokens,
        output_tokens=used.output_tokens,
        total_tokens=used.total_tokens,
        cache_read_tokens=getattr(of_input, "cached_tokens", None) or None,
        cache_write_tokens=getattr(of_input, "cache_write_tokens", None) or None,
        reasoning_tokens=getattr(of_output, "reasoning_tokens", None) or None,
    )
