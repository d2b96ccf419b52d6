"""Cache breakpoints as Anthropic receives them, and what it says of its cache, with litellm in between."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio

from chatrt.generate import stream_text
from chatrt.models.base import ToolSpec
from chatrt.models.litellm_upstream import close_litellm
from chatrt.prompt import SystemPrompt
from chatrt.prompt_cache import cache_control, cache_last_message, cache_last_tool
from chatrt.tools import tool
from tests.models.provider import anthropic_wire as a
from tests.models.provider import openai_wire as o
from tests.models.provider.calls import ANTHROPIC, QUIET, model, parts_of, request, warm_up
from tests.models.provider.server import ProviderServer

pytestmark = [pytest.mark.asyncio(loop_scope="module"), *QUIET]

MARK = cache_control()
EPHEMERAL = {"type": "ephemeral"}
SAID = a.start() + a.text(0, "x") + a.end()


@pytest.fixture(scope="module")
def server() -> Iterator[ProviderServer]:
    server = ProviderServer().start()
    yield server
    server.close()


@pytest.fixture
def provider(server: ProviderServer) -> ProviderServer:
    server.reset()
    return server


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def clients(server: ProviderServer) -> AsyncIterator[None]:
    with warnings.catch_warnings(action="ignore"):
        await warm_up(server)
    yield
    await close_litellm()


@tool
async def add(first: int) -> int:
    """Adds."""
    return first


@tool
async def sub(first: int) -> int:
    """Subtracts."""
    return first


def text(value: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": value, **fields}


def tool_on_wire(name: str, description: str, **fields: Any) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {"first": {"type": "integer"}},
        "required": ["first"],
        "additionalProperties": False,
    }
    return {"type": "custom", "name": name, "description": description, "input_schema": schema, **fields}


CALL = {"type": "tool-call", "toolCallId": "t1", "toolName": "add", "input": {"first": 1}}
RESULT = {"type": "tool-result", "toolCallId": "t1", "toolName": "add", "output": {"type": "json", "value": 1}}


class TestRequest:
    async def test_a_whole_prompt(self, provider: ProviderServer) -> None:
        """Tools, system and the last message carry their marks, and nothing else of the body changes."""
        provider.play(SAID)
        messages: Any = [
            {"role": "user", "content": [text("q")]},
            {"role": "assistant", "content": [text("let me"), CALL]},
            {"role": "tool", "content": [RESULT]},
        ]

        await stream_text(
            model(provider, ANTHROPIC),
            cache_last_message(messages),
            system=SystemPrompt("be nice", provider_options=MARK),
            tools=cache_last_tool([add, sub]),
            max_tokens=100,
        ).text()

        assert provider.requests[0].body == {
            "model": "claude-sonnet-4-5",
            "max_tokens": 100,
            "stream": True,
            "tools": [tool_on_wire("add", "Adds."), tool_on_wire("sub", "Subtracts.", cache_control=EPHEMERAL)],
            "system": [text("be nice", cache_control=EPHEMERAL)],
            "messages": [
                {"role": "user", "content": [text("q")]},
                {
                    "role": "assistant",
                    "content": [
                        text("let me"),
                        {"type": "tool_use", "id": "t1", "name": "add", "input": {"first": 1}},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "t1", "content": "1", "cache_control": EPHEMERAL},
                    ],
                },
            ],
        }

    @pytest.mark.parametrize(
        ("message", "content"),
        [
            (
                {"role": "user", "content": "q", "providerOptions": MARK},
                [text("q", cache_control=EPHEMERAL)],
            ),
            (
                {"role": "user", "content": [text("a", providerOptions=MARK), text("b")]},
                [text("a", cache_control=EPHEMERAL), text("b")],
            ),
            (
                {
                    "role": "user",
                    "content": [
                        text("a"),
                        {"type": "file", "mediaType": "image/png", "data": "AAAA", "providerOptions": MARK},
                    ],
                },
                [
                    text("a"),
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"},
                        "cache_control": EPHEMERAL,
                    },
                ],
            ),
        ],
        ids=["text", "part", "image"],
    )
    async def test_of_a_user(self, provider: ProviderServer, message: Any, content: Any) -> None:
        """A mark of a user message stands on the block that has it."""
        provider.play(SAID)
        await parts_of(model(provider, ANTHROPIC), request(message))
        assert provider.requests[0].body["messages"] == [{"role": "user", "content": content}]

    @pytest.mark.parametrize(
        ("message", "content"),
        [
            (
                {"role": "assistant", "content": [text("a", providerOptions=MARK), text("b")]},
                [text("a", cache_control=EPHEMERAL), text("b")],
            ),
            (
                {"role": "assistant", "content": [text("a"), text("b")], "providerOptions": MARK},
                [text("a"), text("b", cache_control=EPHEMERAL)],
            ),
            (
                {"role": "assistant", "content": [text("a"), CALL], "providerOptions": MARK},
                [
                    text("a"),
                    {
                        "type": "tool_use",
                        "id": "t1",
                        "name": "add",
                        "input": {"first": 1},
                        "cache_control": EPHEMERAL,
                    },
                ],
            ),
        ],
        ids=["part", "texts", "calls"],
    )
    async def test_of_an_assistant(self, provider: ProviderServer, message: Any, content: Any) -> None:
        """A mark on a whole message of the assistant stands on the last block of it, a call for instance."""
        provider.play(SAID)
        question, result = {"role": "user", "content": "q"}, {"role": "tool", "content": [RESULT]}
        follow = [result] if CALL in message["content"] else [question]
        await parts_of(model(provider, ANTHROPIC), request(question, message, *follow, tools=(ADD,)))
        assert provider.requests[0].body["messages"][1] == {"role": "assistant", "content": content}

    @pytest.mark.parametrize(
        "message",
        [
            {"role": "tool", "content": [{**RESULT, "providerOptions": MARK}]},
            {"role": "tool", "content": [RESULT], "providerOptions": MARK},
            {"role": "tool", "content": [{**RESULT, "output": {**RESULT["output"], "providerOptions": MARK}}]},
        ],
        ids=["part", "message", "output"],
    )
    async def test_of_a_tool(self, provider: ProviderServer, message: Any) -> None:
        """A mark of a result stands on its block, whether the message, the part or its output has it."""
        provider.play(SAID)
        call = {"role": "assistant", "content": [CALL]}
        await parts_of(
            model(provider, ANTHROPIC), request({"role": "user", "content": "q"}, call, message, tools=(ADD,))
        )
        assert provider.requests[0].body["messages"][2]["content"] == [
            {"type": "tool_result", "tool_use_id": "t1", "content": "1", "cache_control": EPHEMERAL}
        ]

    async def test_never_a_fifth(self, provider: ProviderServer) -> None:
        """Of more marks than Anthropic takes, those on the oldest messages stay here."""
        provider.play(SAID)
        users: list[Any] = [{"role": "user", "content": [text(str(n), providerOptions=MARK)]} for n in range(5)]
        await stream_text(
            model(provider, ANTHROPIC),
            users,
            system="s",
            system_provider_options=cache_control("1h"),
            tools=cache_last_tool([add], ttl="1h"),
        ).text()
        body = provider.requests[0].body
        assert body["tools"][0]["cache_control"] == body["system"][0]["cache_control"] == {**EPHEMERAL, "ttl": "1h"}
        blocks = [block for row in body["messages"] for block in row["content"]]
        assert ["cache_control" in block for block in blocks] == [False, False, False, True, True]

    async def test_others_get_none(self, provider: ProviderServer) -> None:
        """A provider that is not Anthropic is sent the same prompt as without marks."""
        bodies = []
        for marked in (False, True):
            provider.play(o.text("x"), o.finish(), o.DONE)
            messages: Any = [{"role": "user", "content": [text("q")]}]
            await stream_text(
                model(provider),
                cache_last_message(messages) if marked else messages,
                system="s",
                system_provider_options=MARK if marked else None,
                tools=cache_last_tool([add]) if marked else [add],
            ).text()
            bodies.append(provider.requests[-1].body)
        assert bodies[0] == bodies[1]


ADD = ToolSpec(name="add", description="Adds.", input_schema={"type": "object", "properties": {}})


async def test_usage_of_the_cache(provider: ProviderServer):
    """What was read from the cache and written to it is told in the usage of the answer."""
    provider.play(a.start(10, cache_read_input_tokens=300, cache_creation_input_tokens=20) + a.text(0, "x") + a.end())
    answer = stream_text(model(provider, ANTHROPIC), [{"role": "user", "content": "q"}])
    await answer.text()
    assert answer.usage.to_json()["inputTokenDetails"] == {
        "noCacheTokens": 10,
        "cacheReadTokens": 300,
        "cacheWriteTokens": 20,
    }
    assert answer.usage.input_tokens == 330
