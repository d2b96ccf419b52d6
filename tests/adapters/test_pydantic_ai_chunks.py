"""What a pydantic-ai run becomes, chunk by chunk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic_ai import Agent, CustomEvent, PromptedOutput, RunContext, TextOutput
from pydantic_ai.messages import NativeToolCallPart, NativeToolReturnPart
from pydantic_ai.models.function import DeltaThinkingPart
from pydantic_ai.models.test import TestModel

from chatrt.adapters import stream_pydantic_ai
from chatrt.ids import CountingIds
from chatrt.ui import assemble, validate_chunk
from tests.adapters.pydantic_ai_script import calls, scripted

PROMPT = [{"role": "user", "content": "hi"}]


async def chunks_of(agent: Agent[Any, Any], **options: Any) -> list[Any]:
    return [validate_chunk(chunk) async for chunk in stream_pydantic_ai(agent, PROMPT, ids=CountingIds(), **options)]


async def parts_of(agent: Agent[Any, Any], **options: Any) -> list[Any]:
    return assemble(await chunks_of(agent, **options))["parts"]


def thinking(content: str | None = None, signature: str | None = None) -> dict[int, DeltaThinkingPart]:
    return {0: DeltaThinkingPart(content=content, signature=signature)}


async def test_reasoning_streams_with_its_signature():
    """Thinking is reasoning; what the provider wants back is on its end."""
    agent = scripted([thinking("let me "), thinking("see"), thinking(signature="sig"), "yes"])

    reasoning, text = (part for part in await parts_of(agent) if part["type"] != "step-start")

    kept = {"pydantic_ai": {"signature": "sig", "provider_name": "function"}}
    assert (reasoning["type"], reasoning["text"], text["text"]) == ("reasoning", "let me see", "yes")
    assert reasoning["providerMetadata"] == kept


async def test_reasoning_can_be_kept_back():
    """Without `send_reasoning` no chunk of it is sent."""
    agent = scripted([thinking("secret"), thinking(signature="sig"), "yes"])

    assert [part["type"] for part in await parts_of(agent, send_reasoning=False)] == ["step-start", "text"]


async def test_each_model_call_is_a_step():
    """Ids of texts are unique in the whole answer, and steps are closed before the next begins."""
    agent = scripted(["one", calls("look")], ["two"])

    @agent.tool_plain
    async def look() -> str:
        return "looked"

    chunks = await chunks_of(agent)

    assert [chunk["id"] for chunk in chunks if chunk["type"] == "text-start"] == ["txt_1", "txt_2"]
    steps = [chunk["type"] for chunk in chunks if chunk["type"].endswith("-step")]
    assert steps == ["start-step", "finish-step", "start-step", "finish-step"]


async def test_tools_that_the_provider_runs():
    """A native tool is one part, executed by the provider, and leaves nothing for anybody else to answer."""
    call = NativeToolCallPart("web_search", {"query": "ulm"}, "n1", provider_name="function")
    result = NativeToolReturnPart("web_search", [{"url": "https://ulm.de"}], "n1", provider_name="function")
    agent = scripted([{0: call}, {1: result}, "found"])

    part = (await parts_of(agent))[1]

    assert (part["type"], part["state"], part["providerExecuted"]) == ("tool-web_search", "output-available", True)
    assert (part["input"], part["output"]) == ({"query": "ulm"}, [{"url": "https://ulm.de"}])


async def test_a_custom_event_is_a_data_part():
    """What a tool emits for the frontend is a data part named like its event."""

    @dataclass(kw_only=True)
    class ChunkTestProgressEvent(CustomEvent):
        done: int

    agent = scripted([calls("work")], ["ok"])

    @agent.tool
    async def work(ctx: RunContext[Any]) -> str:
        await ctx.emit(ChunkTestProgressEvent(done=1))
        return "worked"

    data = [chunk for chunk in await chunks_of(agent) if chunk["type"].startswith("data-")]

    assert data == [{"type": "data-chunk_test_progress", "data": {"done": 1}}]


async def test_text_as_output_is_said_once():
    """An answer in words needs no data part."""
    assert [part["type"] for part in await parts_of(scripted(["yes"]))] == ["step-start", "text"]


async def test_output_read_from_text_is_a_data_part():
    """Structured output in the model's text is shown as text and as data, in one step."""

    class Answer(BaseModel):
        number: int

    agent = scripted(['{"number": 4}'], output_type=PromptedOutput(Answer))

    parts = await parts_of(agent)

    assert [part["type"] for part in parts] == ["step-start", "text", "data-output"]
    assert parts[-1]["data"] == {"number": 4}


async def test_output_that_a_function_made_of_the_text():
    """What an output function returns is the output, also when it is a text of its own."""
    agent = scripted(["yes"], output_type=TextOutput(_aloud))

    assert (await parts_of(agent))[-1] == {"type": "data-output", "data": "YES"}


async def test_an_output_tools_text_is_a_data_part():
    """A text that came by an output tool was never streamed: it is shown as data."""
    agent = Agent(TestModel(custom_output_args={"response": "four"}), output_type=[_four])

    assert (await parts_of(agent))[-1] == {"type": "data-output", "data": "four!"}


def _aloud(text: str) -> str:
    return text.upper()


def _four(response: str) -> str:
    """Say it aloud."""
    return f"{response}!"


async def test_metadata_is_asked_for():
    """`message_metadata` sees the usage of each step and of the whole answer."""
    seen = []

    def metadata(part: Any) -> Any:
        if "usage" in part:
            seen.append((part["type"], part["usage"]["outputTokens"]))
        return {"model": "x"} if part["type"] == "start" else None

    agent = scripted(["one two", calls("look")], ["three"])

    @agent.tool_plain
    async def look() -> str:
        return "looked"

    chunks = await chunks_of(agent, message_metadata=metadata)

    first, second = (count for kind, count in seen if kind == "finish-step")
    assert chunks[0] == {"type": "start", "messageMetadata": {"model": "x"}}
    assert seen[-1] == ("finish", first + second)


async def test_values_that_are_no_json_become_json():
    """A tool may return models, bytes and anything else; clients read JSON."""

    class City(BaseModel):
        name: str

    agent = scripted([calls("look")], ["ok"])

    @agent.tool_plain
    async def look() -> dict[str, Any]:
        return {"city": City(name="Ulm"), "raw": b"\xff", "set": {1}}

    output = next(chunk for chunk in await chunks_of(agent) if chunk["type"] == "tool-output-available")["output"]

    assert output == {"city": {"name": "Ulm"}, "raw": "_w==", "set": [1]}


async def test_a_call_that_was_skipped_has_its_input():
    """A call left out because the run had its result shows what it was and why it was not made."""

    class Done(BaseModel):
        ok: bool

    agent = scripted(
        [{**calls("final_result", '{"ok": true}', "c1", 1), **calls("look", "{}", "c2", 2)}],
        output_type=Done,
        end_strategy="early",
    )

    @agent.tool_plain
    async def look() -> str:
        raise AssertionError("never called")

    part = next(part for part in await parts_of(agent) if part["type"] == "tool-look")

    assert (part["state"], part["input"]) == ("output-available", {})
    assert "not executed" in part["output"]
