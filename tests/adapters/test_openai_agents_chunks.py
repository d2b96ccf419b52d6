"""What a run of the OpenAI Agents SDK becomes, chunk by chunk."""

from __future__ import annotations

from typing import Any

import pytest
from agents import Agent, ModelRefusalError, ToolOutputImage, function_tool
from openai.types.responses import ResponseFunctionWebSearch, ResponseOutputMessage, ResponseOutputRefusal
from openai.types.responses.response_function_web_search import ActionSearch
from openai.types.responses.response_output_item import ImageGenerationCall, McpCall
from openai.types.responses.response_reasoning_item import Summary

from chatrt.adapters import stream_openai_agents
from chatrt.ids import CountingIds
from chatrt.ui import assemble, validate_chunk
from tests.adapters.sdk_model import ScriptedSdkModel, Whole, call, message, reasoning

PROMPT = [{"role": "user", "content": "hi"}]


async def chunks_of(*answers: list[Any], **options: Any) -> list[Any]:
    agent = Agent(name="Desk", model=ScriptedSdkModel(*answers), tools=options.pop("tools", []))
    return [validate_chunk(chunk) async for chunk in stream_openai_agents(agent, PROMPT, ids=CountingIds(), **options)]


async def parts_of(*answers: list[Any], **options: Any) -> list[Any]:
    parts = assemble(await chunks_of(*answers, **options))["parts"]
    return [part for part in parts if part["type"] != "step-start"]


async def test_reasoning_summaries_stream():
    """Each part of a summary is a reasoning; its ids and the encrypted content are on its end."""
    item = reasoning("first", encrypted="enc")
    item.summary.append(Summary(text="second", type="summary_text"))

    first, second, _ = await parts_of([item, message("yes")])

    assert (first["type"], first["text"], second["text"]) == ("reasoning", "first", "second")
    assert second["providerMetadata"] == {"openai": {"itemId": "rs_1", "reasoningEncryptedContent": "enc"}}


async def test_reasoning_without_words_is_kept():
    """Reasoning that shows nothing but has to go back is a part without text."""
    silent, _ = await parts_of([reasoning("", encrypted="enc"), message("yes")])

    assert (silent["type"], silent["text"]) == ("reasoning", "")
    assert silent["providerMetadata"]["openai"]["reasoningEncryptedContent"] == "enc"


async def test_reasoning_can_be_kept_back():
    """Without `send_reasoning` no chunk of it is sent."""
    parts = await parts_of([reasoning("secret", encrypted="enc"), message("yes")], send_reasoning=False)

    assert [part["type"] for part in parts] == ["text"]


async def test_what_was_not_streamed_comes_whole():
    """A model that gives its items only at the end says the same, in the order of its items."""
    parts = await parts_of([Whole(reasoning("hm", encrypted="enc")), Whole(message("yes"))])

    assert [(part["type"], part["text"]) for part in parts] == [("reasoning", "hm"), ("text", "yes")]


async def test_a_call_that_was_not_streamed():
    """A call that comes with the end of the response is a call all the same."""

    @function_tool
    async def look() -> str:
        """Look."""
        return "looked"

    part, _ = await parts_of([Whole(call("look"))], [message("ok")], tools=[look])

    assert (part["type"], part["state"], part["output"]) == ("tool-look", "output-available", "looked")


async def test_a_refusal_is_said():
    """What the model refuses is text, before the SDK ends the run over it."""
    content = ResponseOutputRefusal(refusal="I will not.", type="refusal")
    item = ResponseOutputMessage(id="m", content=[content], role="assistant", status="completed", type="message")

    stream = stream_openai_agents(Agent(name="Desk", model=ScriptedSdkModel([Whole(item)])), PROMPT)

    said = [await anext(stream) for _ in range(5)]

    assert said[3]["delta"] == "I will not."
    with pytest.raises(ModelRefusalError):
        await anext(stream)


async def test_a_tool_that_openai_runs():
    """A hosted tool is one part with its item as output, executed by the provider."""
    action = ActionSearch(type="search", query="ulm")
    item = ResponseFunctionWebSearch(id="ws_1", action=action, status="completed", type="web_search_call")

    part, _ = await parts_of([item, message("found")])

    assert (part["type"], part["providerExecuted"], part["input"]["query"]) == ("tool-web_search", True, "ulm")
    assert (part["output"]["id"], part["output"]["type"]) == ("ws_1", "web_search_call")
    assert "callProviderMetadata" not in part


async def test_a_hosted_tool_behind_reasoning():
    """OpenAI takes such an item back with its reasoning only: that is noted on it."""
    action = ActionSearch(type="search", query="ulm")
    item = ResponseFunctionWebSearch(id="ws_1", action=action, status="completed", type="web_search_call")

    part = (await parts_of([reasoning("hm"), item, message("found")]))[1]

    assert part["callProviderMetadata"] == {"openai": {"reasoned": True}}


async def test_a_hosted_tool_that_failed():
    """The error of a call that OpenAI made is shown as its error."""
    item = McpCall(id="mcp_1", name="ask", arguments='{"q": 1}', server_label="s", type="mcp_call", error="gone")

    part, _ = await parts_of([item, message("sorry")])

    assert (part["type"], part["state"], part["errorText"]) == ("tool-ask", "output-error", "gone")
    assert part["input"] == {"q": 1}


async def test_a_generated_image_is_a_file():
    """An image that OpenAI made is a file of the message."""
    item = ImageGenerationCall(id="ig_1", result="iVBORw0=", status="completed", type="image_generation_call")

    assert (await parts_of([item, message("there")]))[0] == {
        "type": "file",
        "mediaType": "image/png",
        "url": "data:image/png;base64,iVBORw0=",
    }


async def test_an_image_that_a_tool_returned():
    """Structured output is kept as the SDK shows it to the model, so that later turns show it as an image too."""

    @function_tool
    async def draw() -> ToolOutputImage:
        """Draw."""
        return ToolOutputImage(image_url="data:image/png;base64,iVBORw0=")

    part, _ = await parts_of([call("draw")], [message("ok")], tools=[draw])

    assert part["output"] == [{"type": "input_image", "image_url": "data:image/png;base64,iVBORw0="}]


async def test_arguments_that_are_no_json_are_shown_as_they_are():
    """What the SDK makes of such a call is its output; the input is the model's text."""

    @function_tool
    async def look(where: str) -> str:
        """Look."""
        return where

    broken = call("look")
    broken.arguments = '{"where": '

    part, _ = await parts_of([broken], [message("sorry")], tools=[look])

    assert (part["input"], part["state"]) == ('{"where": ', "output-available")


async def test_metadata_is_asked_for():
    """`message_metadata` sees the usage of each step and of the whole answer."""
    seen = []

    def metadata(part: Any) -> Any:
        if "usage" in part:
            seen.append((part["type"], part["usage"]["totalTokens"]))
        return {"model": "x"} if part["type"] == "start" else None

    @function_tool
    async def look() -> str:
        """Look."""
        return "looked"

    chunks = await chunks_of([call("look")], [message("ok")], tools=[look], message_metadata=metadata)

    assert chunks[0] == {"type": "start", "messageMetadata": {"model": "x"}}
    assert seen == [("finish-step", 15), ("finish-step", 15), ("finish", 30)]
