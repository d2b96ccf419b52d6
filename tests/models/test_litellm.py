"""LiteLLMModel against a provider on loopback, with litellm in between: what streams, and what ends with the stream."""

from __future__ import annotations

import asyncio
import contextlib
import warnings
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio

from chatrt.models.base import ToolSpec
from chatrt.models.litellm_upstream import Upstream, close_litellm, load_litellm
from tests.models.provider import anthropic_wire as a
from tests.models.provider import openai_wire as o
from tests.models.provider.calls import (
    ANTHROPIC,
    KEY,
    OPENAI,
    QUIET,
    calls_of,
    model,
    of,
    parts_of,
    request,
    text_of,
    warm_up,
)
from tests.models.provider.server import ProviderServer

pytestmark = [pytest.mark.asyncio(loop_scope="module"), *QUIET]

BOTH = pytest.mark.parametrize(
    ("name", "begun"),
    [(OPENAI, o.text("first")), (ANTHROPIC, a.start() + a.text(0, "first"))],
    ids=["openai", "anthropic"],
)


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


class TestRequest:
    async def test_body_carries_prompt_tools_and_settings(self, provider: ProviderServer) -> None:
        """The provider gets the messages, the tools, both kinds of settings, and is asked for a stream with usage."""
        provider.play(o.text("x"), o.finish(), o.DONE)
        spec = ToolSpec(name="add", description="Adds.", input_schema={"type": "object", "properties": {}})
        asked = request({"role": "system", "content": "s"}, {"role": "user", "content": "u"}, tools=(spec,), seed=7)
        await parts_of(model(provider, temperature=0.5), asked)
        assert provider.requests[0].body == {
            "model": "gpt-4o-mini",
            "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}],
            "tools": [
                {
                    "type": "function",
                    "function": {
                        "name": "add",
                        "description": "Adds.",
                        "parameters": {"type": "object", "properties": {}},
                    },
                }
            ],
            "temperature": 0.5,
            "seed": 7,
            "stream": True,
            "stream_options": {"include_usage": True},
        }

    async def test_settings_of_the_request_win(self, provider: ProviderServer) -> None:
        """A setting of the request replaces the model's."""
        provider.play(o.text("x"), o.finish(), o.DONE)
        await parts_of(model(provider, temperature=0.5), request(temperature=1))
        assert provider.requests[0].body["temperature"] == 1


class TestText:
    async def test_text_streams_in_one_block(self, provider: ProviderServer) -> None:
        """Deltas of text become one block, with a finish at the end."""
        provider.play(o.text("hel"), o.text("lo"), o.finish(), o.DONE)
        parts = await parts_of(model(provider))
        assert parts == [
            {"type": "text-start", "id": "text-0"},
            {"type": "text-delta", "id": "text-0", "delta": "hel"},
            {"type": "text-delta", "id": "text-0", "delta": "lo"},
            {"type": "text-end", "id": "text-0"},
            {
                "type": "finish",
                "finishReason": {"unified": "stop", "raw": "stop"},
                "usage": {"inputTokens": {}, "outputTokens": {}},
            },
        ]

    async def test_frames_may_be_cut_anywhere(self, provider: ProviderServer) -> None:
        """A stream that arrives byte by byte gives the same text, letters of several bytes included."""
        script = o.text("grüße 👋").replace(b"\\u00fc", "ü".encode()) + o.finish() + o.DONE
        provider.play(*[script[i : i + 1] for i in range(len(script))])
        assert text_of(await parts_of(model(provider))) == "grüße 👋"

    async def test_halves_of_an_emoji_in_two_deltas_are_joined(self, provider: ProviderServer) -> None:
        """A surrogate pair that two deltas share comes out as one letter, and never as a half."""
        halves = (o.text("H").replace(b"H", b"a\\ud83d"), o.text("H").replace(b"H", b"\\ude00b"))
        provider.play(*halves, o.finish(), o.DONE)
        assert text_of(await parts_of(model(provider))) == "a😀b"

    async def test_citations_become_sources(self, provider: ProviderServer) -> None:
        """A cited url becomes a source part, once."""
        citation = {"type": "url_citation", "url_citation": {"url": "https://e.com/", "title": "E"}}
        provider.play(o.text("x"), o.delta(annotations=[citation]), o.delta(annotations=[citation]), o.finish(), o.DONE)
        (source,) = of(await parts_of(model(provider)), "source")
        assert (source["sourceType"], source["url"], source["title"]) == ("url", "https://e.com/", "E")


class TestToolCalls:
    async def test_input_streams_as_it_arrives(self, provider: ProviderServer) -> None:
        """A call starts with its name, its input follows in deltas, and the whole call comes last."""
        provider.play(
            o.call(0, "", call_id="c1", name="add"), o.call(0, '{"a":'), o.call(0, "1}"), o.finish("tool_calls"), o.DONE
        )
        parts = await parts_of(model(provider))
        assert parts[:-1] == [
            {"type": "tool-input-start", "id": "c1", "toolName": "add"},
            {"type": "tool-input-delta", "id": "c1", "delta": '{"a":'},
            {"type": "tool-input-delta", "id": "c1", "delta": "1}"},
            {"type": "tool-input-end", "id": "c1"},
            {"type": "tool-call", "toolCallId": "c1", "toolName": "add", "input": '{"a":1}'},
        ]
        assert parts[-1]["finishReason"] == {"unified": "tool-calls", "raw": "tool_calls"}

    async def test_interleaved_parallel_calls_keep_apart(self, provider: ProviderServer) -> None:
        """Deltas of two calls that alternate reach the call of their index."""
        provider.play(
            o.call(0, "", call_id="c1", name="f"),
            o.call(1, "", call_id="c2", name="g"),
            o.call(0, '{"a"'),
            o.call(1, '{"b"'),
            o.call(0, ":1}"),
            o.call(1, ":2}"),
            o.finish("tool_calls"),
            o.DONE,
        )
        assert calls_of(await parts_of(model(provider))) == [("c1", "f", '{"a":1}'), ("c2", "g", '{"b":2}')]

    async def test_index_zero_for_all_calls(self, provider: ProviderServer) -> None:
        """Two calls that both have index 0 are told apart by their ids."""
        provider.play(
            o.call(0, '{"a":1}', call_id="c1", name="f"),
            o.call(0, '{"b"', call_id="c2", name="f"),
            o.call(0, ":2}"),
            o.finish("tool_calls"),
            o.DONE,
        )
        assert calls_of(await parts_of(model(provider))) == [("c1", "f", '{"a":1}'), ("c2", "f", '{"b":2}')]

    async def test_name_repeated_on_every_delta(self, provider: ProviderServer) -> None:
        """A name that comes again while the arguments are unfinished opens no second call."""
        provider.play(
            o.call(0, '{"a"', call_id="c1", name="f"), o.call(0, ":1}", name="f"), o.finish("tool_calls"), o.DONE
        )
        assert calls_of(await parts_of(model(provider))) == [("c1", "f", '{"a":1}')]

    async def test_empty_arguments_are_an_empty_object(self, provider: ProviderServer) -> None:
        """A call without arguments has the input `{}`."""
        provider.play(o.call(0, "", call_id="c1", name="f"), o.finish("tool_calls"), o.DONE)
        assert calls_of(await parts_of(model(provider))) == [("c1", "f", "{}")]

    async def test_arguments_that_are_no_json_go_through_raw(self, provider: ProviderServer) -> None:
        """What the model wrote in place of JSON is kept as it is, for the tool loop to judge."""
        provider.play(o.call(0, '{"a": oops', call_id="c1", name="f"), o.finish("tool_calls"), o.DONE)
        assert calls_of(await parts_of(model(provider))) == [("c1", "f", '{"a": oops')]

    async def test_anthropic_calls(self, provider: ProviderServer) -> None:
        """Tool blocks of Anthropic's wire become calls, with and without input, behind the text before them."""
        provider.play(
            a.start() + a.text(0, "let me") + a.tool(1, "t1", "f", '{"a"', ":1}") + a.tool(2, "t2", "g"),
            a.end("tool_use"),
        )
        parts = await parts_of(model(provider, ANTHROPIC))
        assert [part["type"] for part in parts[:3]] == ["text-start", "text-delta", "text-end"]
        assert calls_of(parts) == [("t1", "f", '{"a":1}'), ("t2", "g", "{}")]
        assert parts[-1]["finishReason"]["unified"] == "tool-calls"


class TestReasoning:
    async def test_reasoning_content(self, provider: ProviderServer) -> None:
        """`reasoning_content` becomes a reasoning block that ends where the text begins."""
        provider.play(o.delta(reasoning_content="hm"), o.delta(reasoning_content="m"), o.text("x"), o.finish(), o.DONE)
        parts = await parts_of(model(provider))
        assert text_of(parts, "reasoning") == "hmm"
        assert [part["type"] for part in parts[3:5]] == ["reasoning-end", "text-start"]

    @pytest.mark.parametrize(
        "fields",
        [{"reasoning": "hm"}, {"provider_specific_fields": {"reasoning": "hm"}}],
        ids=["reasoning", "provider_specific_fields"],
    )
    async def test_other_fields(self, provider: ProviderServer, fields: dict[str, object]) -> None:
        """Reasoning is found in every field a provider may put it in."""
        provider.play(o.delta(**fields), o.text("x"), o.finish(), o.DONE)
        assert text_of(await parts_of(model(provider)), "reasoning") == "hm"

    async def test_signatures_and_redacted_blocks_are_kept(self, provider: ProviderServer) -> None:
        """Each thinking block is a part of its own with its signature; redacted ones carry their data."""
        provider.play(
            a.start()
            + a.thinking(0, "th", "ink", signature="S1")
            + a.redacted(1, "R")
            + a.thinking(2, signature="S2")
            + a.text(3, "x"),
            a.end(),
        )
        parts = await parts_of(model(provider, ANTHROPIC))
        metadata = [part["providerMetadata"] for part in parts if "providerMetadata" in part]
        assert text_of(parts, "reasoning") == "think"
        assert metadata == [
            {"anthropic": {"signature": "S1"}},
            {"anthropic": {"redactedData": "R"}},
            {"anthropic": {"signature": "S2"}},
        ]

    async def test_signed_reasoning_is_replayed_unchanged(self, provider: ProviderServer) -> None:
        """The next call gives Anthropic its blocks back, byte for byte and in order."""
        reasoning = [
            {"type": "reasoning", "text": "think", "providerOptions": {"anthropic": {"signature": "S1"}}},
            {"type": "reasoning", "text": "", "providerOptions": {"anthropic": {"redactedData": "R"}}},
            {"type": "reasoning", "text": "from elsewhere", "providerOptions": {"openai": {"signature": "no"}}},
        ]
        call = {"type": "tool-call", "toolCallId": "t1", "toolName": "f", "input": {}}
        result = {"type": "tool-result", "toolCallId": "t1", "toolName": "f", "output": {"type": "text", "value": "r"}}
        provider.play(a.start() + a.text(0, "x") + a.end())
        asked = request(
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": [*reasoning, call]},
            {"role": "tool", "content": [result]},
            tools=(ToolSpec(name="f", description="", input_schema={"type": "object", "properties": {}}),),
            thinking={"type": "enabled", "budget_tokens": 1024},
            max_tokens=2048,
        )
        await parts_of(model(provider, ANTHROPIC), asked)
        assert provider.requests[0].body["messages"][1]["content"] == [
            {"type": "thinking", "thinking": "think", "signature": "S1"},
            {"type": "redacted_thinking", "data": "R"},
            {"type": "tool_use", "id": "t1", "name": "f", "input": {}},
        ]


class TestUsage:
    FULL = o.usage(10, 6, prompt_tokens_details={"cached_tokens": 4}, completion_tokens_details={"reasoning_tokens": 2})

    @pytest.mark.parametrize(
        "script",
        [
            (o.finish(), o.usage_frame(FULL), o.DONE),
            (o.finish(usage=FULL), o.DONE),
            (o.usage_frame(FULL), o.finish(), o.DONE),
            (o.finish(), o.usage_frame(FULL), o.frame(o.chunk([], usage=None)), o.DONE),
        ],
        ids=["last-chunk", "on-the-finish", "before-the-finish", "last-but-one"],
    )
    async def test_usage_is_found_wherever_it_stands(self, provider: ProviderServer, script: tuple[bytes, ...]) -> None:
        """Tokens, cached and reasoning ones apart, are read from whichever chunk has them."""
        provider.play(o.text("x"), *script)
        parts = await parts_of(model(provider))
        assert parts[-1]["usage"] == {
            "inputTokens": {"total": 10, "noCache": 6, "cacheRead": 4},
            "outputTokens": {"total": 6, "text": 4, "reasoning": 2},
        }

    async def test_anthropic_usage_includes_the_cache(self, provider: ProviderServer) -> None:
        """The total of input tokens counts what was read from and written to the cache, each also on its own."""
        provider.play(a.start(10, cache_read_input_tokens=3, cache_creation_input_tokens=2) + a.text(0, "x") + a.end())
        usage = (await parts_of(model(provider, ANTHROPIC)))[-1]["usage"]
        assert usage["inputTokens"] == {"total": 15, "noCache": 10, "cacheRead": 3, "cacheWrite": 2}
        assert usage["outputTokens"]["total"] == 5


class TestFinishReason:
    @pytest.mark.parametrize(
        ("raw", "unified"),
        [
            ("stop", "stop"),
            ("length", "length"),
            ("content_filter", "content-filter"),
            ("tool_calls", "tool-calls"),
            ("who_knows", "other"),
        ],
    )
    async def test_reasons(self, provider: ProviderServer, raw: str, unified: str) -> None:
        """The provider's reason is one of the six names, and is kept as it was."""
        provider.play(o.text("x"), o.finish(raw), o.DONE)
        assert (await parts_of(model(provider)))[-1]["finishReason"] == {"unified": unified, "raw": raw}

    async def test_stop_with_tool_calls_is_tool_calls(self, provider: ProviderServer) -> None:
        """A provider that says `stop` after a tool call does not end the loop."""
        provider.play(o.call(0, "{}", call_id="c1", name="f"), o.finish("stop"), o.DONE)
        assert (await parts_of(model(provider)))[-1]["finishReason"]["unified"] == "tool-calls"


class TestClosing:
    @BOTH
    async def test_closing_the_iterator_closes_the_connection(
        self, provider: ProviderServer, name: str, begun: bytes
    ) -> None:
        """A provider that is still generating loses its connection as soon as nobody reads."""
        provider.play(begun, "silence")
        async with contextlib.aclosing(model(provider, name).stream(request())) as stream:
            async for part in stream:
                if part["type"] == "text-delta":
                    break
        assert await provider.closed()

    async def test_a_provider_that_never_pauses_is_closed_too(self, provider: ProviderServer) -> None:
        """Data still on its way does not keep the connection open."""
        provider.play(o.text("again"), "endless")
        async with contextlib.aclosing(model(provider).stream(request())) as stream:
            seen = [await anext(stream) for _ in range(10)]
        assert len(seen) == 10
        assert await provider.closed()

    @BOTH
    async def test_closing_waits_for_no_garbage_collector(
        self, provider: ProviderServer, name: str, begun: bytes
    ) -> None:
        """The connection closes also while somebody else, a log or a traceback, still holds litellm's stream."""
        provider.play(begun, "silence")
        litellm = await load_litellm()
        held: list[object] = []

        async def acompletion(**arguments: Any) -> Any:
            stream = await litellm.acompletion(**arguments)
            held.append(stream.completion_stream)
            return stream

        arguments = {"model": name, "messages": [{"role": "user", "content": "q"}], "stream": True}
        arguments |= {"api_base": provider.url, "api_key": KEY}
        upstream = Upstream(SimpleNamespace(acompletion=acompletion), arguments, first_byte_timeout=5, idle_timeout=5)
        await upstream.read()
        await upstream.aclose()
        assert await provider.closed()

    @BOTH
    async def test_cancelling_the_reader_closes_the_connection(
        self, provider: ProviderServer, name: str, begun: bytes
    ) -> None:
        """A task cancelled while it waits for the provider leaves no connection behind."""
        provider.play(begun, "silence")
        told = asyncio.Event()

        async def read() -> None:
            async for part in model(provider, name).stream(request()):
                if part["type"] == "text-delta":
                    told.set()

        task = asyncio.create_task(read())
        await told.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await provider.closed()
