"""Agents of pydantic-ai whose model follows a script: its own `FunctionModel`, streaming."""

from __future__ import annotations

from typing import Any

from pydantic_ai import Agent
from pydantic_ai.models.function import DeltaToolCall, FunctionModel


class Script:
    """The stream function of a `FunctionModel`: one answer after another, and the prompts it was shown.

    Each answer is a list of what such a function yields; a callable is awaited where it stands, an exception raised.
    """

    def __init__(self, *answers: list[Any]) -> None:
        self.answers = list(answers)
        self.prompts: list[list[Any]] = []
        self.closed = 0

    async def __call__(self, messages: list[Any], info: Any) -> Any:
        self.prompts.append(list(messages))
        try:
            for said in self.answers.pop(0):
                if isinstance(said, Exception):
                    raise said
                if callable(said):
                    await said()
                else:
                    yield said
        finally:
            self.closed += 1


def scripted(*answers: list[Any], **options: Any) -> Agent[Any, Any]:
    """An agent whose model follows a script; `agent.script` is it."""
    script = Script(*answers)
    agent = Agent(FunctionModel(stream_function=script), **options)
    agent.script = script  # type: ignore[attr-defined]
    return agent


def calls(name: str, arguments: str = "{}", call_id: str = "call_1", index: int = 1) -> dict[int, DeltaToolCall]:
    return {index: DeltaToolCall(name=name, json_args=arguments, tool_call_id=call_id)}
