"""Approved calls of the OpenAI Agents SDK, carried out in a later turn.

The SDK resumes an interrupted run from its own serialised state. A chat has its history instead, so the run starts
anew: the first answer of its model is said again, the approved calls and nothing else, without asking the model. The
SDK then does what it does with any answer: it finds the tools, runs them under the approvals given here, with all
guardrails and hooks, and asks the real model what comes next.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any, cast

from chatrt.adapters.missing import missing_extra

try:
    from agents import Agent, Model, ModelResponse, RunConfig, RunContextWrapper, ToolApprovalItem
    from agents import Usage as SdkUsage
    from openai.types.responses import Response, ResponseCompletedEvent, ResponseFunctionToolCall
except ImportError as error:
    raise missing_extra("openai-agents", error) from error

RESUMED_ID = "resp_chatrt_resumed"
"""The id of the answer that was said again."""


def resume(
    agent: Agent[Any], config: RunConfig, context: Any, calls: Sequence[dict[str, Any]]
) -> tuple[Agent[Any], RunConfig, RunContextWrapper[Any]]:
    """Return what to start a run with that carries out approved calls first.

    Args:
        agent: The agent whose calls they are.
        config: The configuration of the run.
        context: The application's context.
        calls: The function calls, as input items.
    """
    approved = [ResponseFunctionToolCall.model_validate(call) for call in calls]
    said = config.model if config.model is not None else agent.model
    again = _SaidAgain(said if isinstance(said, Model) else config.model_provider.get_model(said), approved)
    if config.model is None:
        agent = agent.clone(model=again)
    else:
        config = replace(config, model=again)
    wrapper = cast(
        "RunContextWrapper[Any]", context if isinstance(context, RunContextWrapper) else RunContextWrapper(context)
    )
    for call in approved:
        # The SDK asks whose call was approved: it is the agent that runs, not the one it was made of.
        wrapper.approve_tool(ToolApprovalItem(agent=agent, raw_item=call, tool_name=call.name))
    return agent, config, wrapper


class _SaidAgain(Model):
    """Answers once with calls that were made before; then it is the model it stands for."""

    def __init__(self, model: Model, calls: list[ResponseFunctionToolCall]) -> None:
        self._model = model
        self._calls: list[ResponseFunctionToolCall] | None = calls

    async def get_response(self, *args: Any, **kwargs: Any) -> ModelResponse:
        calls, self._calls = self._calls, None
        if calls is None:
            return await self._model.get_response(*args, **kwargs)
        return ModelResponse(output=[*calls], usage=SdkUsage(), response_id=None)

    async def stream_response(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        calls, self._calls = self._calls, None
        if calls is None:
            stream: Any = self._model.stream_response(*args, **kwargs)
            try:
                async for event in stream:
                    yield event
            finally:
                if hasattr(stream, "aclose"):
                    await stream.aclose()
            return
        response = Response(
            id=RESUMED_ID,
            created_at=time.time(),
            model="resumed",
            object="response",
            output=[*calls],
            tool_choice="auto",
            tools=[],
            parallel_tool_calls=True,
        )
        yield ResponseCompletedEvent(type="response.completed", response=response, sequence_number=0)

    async def close(self) -> None:
        await self._model.close()

    def get_retry_advice(self, request: Any) -> Any:
        return self._model.get_retry_advice(request)

    async def _cleanup_on_run_end(self, owner: object) -> None:
        await self._model._cleanup_on_run_end(owner)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
