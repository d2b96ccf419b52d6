"""Calls of a `LiteLLMModel` at the provider on loopback, and what is left of them when the ids do not matter."""

from __future__ import annotations

from typing import Any

import pytest

from chatrt.models.base import ModelPart, ModelRequest, ToolSpec
from chatrt.models.litellm import LiteLLMModel
from tests.models.provider import anthropic_wire, openai_wire
from tests.models.provider.server import ProviderServer

OPENAI = "openai/gpt-4o-mini"
ANTHROPIC = "anthropic/claude-sonnet-4-5"
QUIET = [
    pytest.mark.filterwarnings("ignore:Accessing the 'model_:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Items? .* on TypedDict class:UserWarning"),
]
"""What pydantic warns of in litellm's own types, when it first builds them and where a chunk carries usage."""

KEY = "sk-loopback-0123456789abcdef"


def model(provider: ProviderServer, name: str = OPENAI, **settings: Any) -> LiteLLMModel:
    """Make a model whose provider is on loopback."""
    return LiteLLMModel(name, api_base=provider.url, api_key=KEY, **settings)


def request(*messages: Any, tools: tuple[ToolSpec, ...] = (), **settings: Any) -> ModelRequest:
    """Make a request; without messages it is a short question."""
    question = {"role": "user", "content": [{"type": "text", "text": "q"}]}
    return ModelRequest(messages=list(messages) or [question], tools=tools, settings=settings)


async def parts_of(called: LiteLLMModel, asked: ModelRequest | None = None) -> list[ModelPart]:
    """Call the model and return all parts but the metadata of the response."""
    stream = called.stream(asked or request())
    return [part async for part in stream if part["type"] != "response-metadata"]


def of(parts: list[ModelPart], *kinds: str) -> list[ModelPart]:
    """Pick the parts of these types."""
    return [part for part in parts if part["type"] in kinds]


def text_of(parts: list[ModelPart], kind: str = "text") -> str:
    """Join the deltas of a kind."""
    return "".join(part["delta"] for part in of(parts, f"{kind}-delta"))


def calls_of(parts: list[ModelPart]) -> list[tuple[str, str, str]]:
    """List the tool calls as (id, name, input)."""
    return [(part["toolCallId"], part["toolName"], part["input"]) for part in of(parts, "tool-call")]


async def warm_up(provider: ProviderServer) -> None:
    """Make one call of each kind: the first ones load a second's worth of modules, which no time limit should meet."""
    provider.play(openai_wire.text("x"), openai_wire.finish(), openai_wire.DONE)
    await parts_of(model(provider, OPENAI))
    provider.play(anthropic_wire.start() + anthropic_wire.text(0, "x") + anthropic_wire.end())
    await parts_of(model(provider, ANTHROPIC))
