"""stream_text: steps, texts, prompts, usage."""

import pytest

from chatrt.errors import UsageError
from chatrt.generate import has_tool_call, step_count_is, stream_text
from chatrt.models import ScriptedModel, Usage
from chatrt.models.scripted import call, finish, reasoning, text, tool_call
from chatrt.tools import tool
from chatrt.ui import assemble, smooth_stream, validate_chunk

QUESTION = [{"role": "user", "content": [{"type": "text", "text": "q"}]}]


@tool
async def add(a: int, b: int) -> int:
    """Add."""
    return a + b


def looping_model(calls=50):
    return ScriptedModel([call(tool_call("add", {"a": n, "b": 1}, id=f"c{n}")) for n in range(calls)])


async def read(stream):
    return [chunk async for chunk in stream]


def types(chunks):
    return [chunk["type"] for chunk in chunks]


# --- the shape of an answer -----------------------------------------------------------------------------------------


async def test_nothing_happens_before_the_first_chunk_is_asked_for():
    """Making a stream calls no model, and neither does its start."""
    model = ScriptedModel(["hi"])
    stream = stream_text(model, QUESTION)
    assert await anext(stream) == {"type": "start"}
    assert model.requests == []
    await stream.aclose()


async def test_a_text_answer_is_one_step():
    """start, start-step, the text, finish-step, finish."""
    chunks = await read(stream_text(ScriptedModel(["a b"]), QUESTION))
    assert chunks == [
        {"type": "start"},
        {"type": "start-step"},
        {"type": "text-start", "id": "text"},
        {"type": "text-delta", "id": "text", "delta": "a "},
        {"type": "text-delta", "id": "text", "delta": "b"},
        {"type": "text-end", "id": "text"},
        {"type": "finish-step"},
        {"type": "finish", "finishReason": "stop"},
    ]


async def test_a_tool_and_an_answer_are_two_steps():
    """Input as it arrives, the output inside the step of its call, then the next step."""
    model = ScriptedModel([call(tool_call("add", {"a": 1, "b": 2}, deltas=2)), "3"])
    chunks = await read(stream_text(model, QUESTION, tools=[add]))
    assert types(chunks) == [
        "start",
        "start-step",
        "tool-input-start",
        "tool-input-delta",
        "tool-input-delta",
        "tool-input-available",
        "tool-output-available",
        "finish-step",
        "start-step",
        "text-start",
        "text-delta",
        "text-end",
        "finish-step",
        "finish",
    ]


async def test_every_chunk_is_valid_and_the_chunks_make_a_message():
    """Clients accept each chunk, and reducing them gives the message they mean."""
    model = ScriptedModel([call(reasoning("hm"), text("let me see"), tool_call("add", {"a": 1, "b": 2})), "3"])
    chunks = await read(stream_text(model, QUESTION, tools=[add]))
    for chunk in chunks:
        validate_chunk(chunk)
    parts = assemble(chunks)["parts"]
    assert [part["type"] for part in parts] == ["step-start", "reasoning", "text", "tool-add", "step-start", "text"]
    assert parts[3]["output"] == 3


async def test_ids_of_texts_and_reasonings_are_unique_in_an_answer():
    """Models that count their blocks from the same id in every call do not mix them up for the reader."""
    model = ScriptedModel(
        [
            call(reasoning("r1"), text("t1"), tool_call("add", {"a": 1, "b": 2})),
            call(reasoning("r2"), text("t2"), text("t3")),
        ]
    )
    chunks = await read(stream_text(model, QUESTION, tools=[add]))
    starts = [chunk["id"] for chunk in chunks if chunk["type"] in {"text-start", "reasoning-start"}]
    assert len(set(starts)) == len(starts) == 5
    deltas = [(chunk["id"], chunk["delta"]) for chunk in chunks if chunk["type"] in {"text-delta", "reasoning-delta"}]
    assert deltas == list(zip(starts, ["r1", "t1", "r2", "t2", "t3"], strict=True))


async def test_empty_text_deltas_are_dropped_unless_they_carry_metadata():
    """A delta without text and metadata says nothing."""
    parts = text(["", "x"])
    parts.insert(2, {"type": "text-delta", "id": "text", "delta": "", "providerMetadata": {"p": {"k": 1}}})
    chunks = await read(stream_text(ScriptedModel([call(parts)]), QUESTION))
    assert [chunk for chunk in chunks if chunk["type"] == "text-delta"] == [
        {"type": "text-delta", "id": "text", "delta": "", "providerMetadata": {"p": {"k": 1}}},
        {"type": "text-delta", "id": "text", "delta": "x"},
    ]


async def test_reasoning_can_be_kept_from_clients_but_not_from_the_model():
    """send_reasoning=False hides it from the reader; the next prompt has it, signature and all."""
    signed = reasoning("hm", metadata={"p": {"signature": "s"}})
    model = ScriptedModel([call(signed, tool_call("add", {"a": 1, "b": 2})), "3"])
    chunks = await read(stream_text(model, QUESTION, tools=[add], send_reasoning=False))
    assert not [chunk for chunk in chunks if chunk["type"].startswith("reasoning")]
    assert model.requests[1].messages[1]["content"][0] == {
        "type": "reasoning",
        "text": "hm",
        "providerOptions": {"p": {"signature": "s"}},
    }


async def test_sources_are_sent_if_asked_for():
    """send_sources=True shows url and document sources; without it they stay out."""
    sources = [
        {"type": "source", "sourceType": "url", "id": "s1", "url": "https://e.com", "title": "E"},
        {"type": "source", "sourceType": "document", "id": "s2", "mediaType": "text/plain", "title": "D"},
    ]
    script = [call(sources, text("x"))]
    assert "source-url" not in types(await read(stream_text(ScriptedModel(script), QUESTION)))
    chunks = await read(stream_text(ScriptedModel(script), QUESTION, send_sources=True))
    assert chunks[2:4] == [
        {"type": "source-url", "sourceId": "s1", "url": "https://e.com", "title": "E"},
        {"type": "source-document", "sourceId": "s2", "mediaType": "text/plain", "title": "D"},
    ]


async def test_a_file_becomes_a_data_url():
    """Data of a generated file may be base64 or bytes."""
    files = [
        {"type": "file", "mediaType": "text/plain", "data": "aGk="},
        {"type": "file", "mediaType": "text/plain", "data": b"hi"},
    ]
    chunks = await read(stream_text(ScriptedModel([call(files)]), QUESTION))
    assert chunks[2] == chunks[3] == {"type": "file", "mediaType": "text/plain", "url": "data:text/plain;base64,aGk="}


async def test_parts_of_unknown_type_are_left_out():
    """A model may say more than we know."""
    chunks = await read(
        stream_text(ScriptedModel([call([{"type": "ping"}, {"type": "new-thing"}], text("x"))]), QUESTION)
    )
    assert types(chunks)[:3] == ["start", "start-step", "text-start"]


async def test_a_tool_of_the_providers_own_is_shown_and_not_run():
    """The provider's calls and results pass through, stay in the assistant row, and make no further step."""
    model = ScriptedModel(
        [
            call(
                [
                    {
                        "type": "tool-call",
                        "toolCallId": "w1",
                        "toolName": "web",
                        "input": "{}",
                        "providerExecuted": True,
                        "dynamic": True,
                    },
                    {"type": "tool-result", "toolCallId": "w1", "toolName": "web", "result": {"hits": 1}},
                ],
                text("x"),
                finish("stop"),
            )
        ]
    )
    stream = stream_text(model, QUESTION)
    chunks = await read(stream)
    assert chunks[2:4] == [
        {
            "type": "tool-input-available",
            "toolCallId": "w1",
            "toolName": "web",
            "input": {},
            "providerExecuted": True,
            "dynamic": True,
        },
        {"type": "tool-output-available", "toolCallId": "w1", "output": {"hits": 1}, "providerExecuted": True},
    ]
    (row,) = stream.steps[0].messages
    assert [part["type"] for part in row["content"]] == ["tool-call", "tool-result", "text"]


async def test_the_transform_changes_the_parts_of_each_call():
    """smooth_stream cuts lumps into words."""
    model = ScriptedModel([call(text(["one two ", "three"]))])
    chunks = await read(stream_text(model, QUESTION, transform=lambda parts: smooth_stream(parts, delay=None)))
    assert [chunk["delta"] for chunk in chunks if chunk["type"] == "text-delta"] == ["one ", "two ", "three"]


# --- when it ends ---------------------------------------------------------------------------------------------------


async def test_a_loop_that_never_ends_is_ended_after_twenty_steps():
    """Without stop_when, twenty steps are enough."""
    model = looping_model()
    chunks = await read(stream_text(model, QUESTION, tools=[add]))
    assert len(model.requests) == 20
    assert chunks[-1] == {"type": "finish", "finishReason": "tool-calls"}


@pytest.mark.parametrize(
    ("stop_when", "steps"),
    [
        (step_count_is(3), 3),
        (has_tool_call("add"), 1),
        ([has_tool_call("other"), step_count_is(2)], 2),
        (lambda steps: steps[-1].tool_results[0].output == 4, 4),
    ],
)
async def test_any_stop_condition_ends_the_loop(stop_when, steps):
    """stop_when is a condition or several, asked after each step with tools."""
    model = looping_model()
    await read(stream_text(model, QUESTION, tools=[add], stop_when=stop_when))
    assert len(model.requests) == steps


async def test_a_stop_condition_may_be_async():
    """A condition may ask elsewhere."""

    async def after_two(steps):
        return len(steps) == 2

    model = looping_model()
    await read(stream_text(model, QUESTION, tools=[add], stop_when=after_two))
    assert len(model.requests) == 2


async def test_a_finish_reason_nobody_knows_is_other():
    """Clients accept six names only."""
    chunks = await read(stream_text(ScriptedModel([call(text("x"), finish("weird"))]), QUESTION))
    assert chunks[-1] == {"type": "finish", "finishReason": "other"}


async def test_a_stream_that_just_ends_finishes_as_other():
    """Content without a finish part is an answer all the same."""
    chunks = await read(stream_text(ScriptedModel([text("x")]), QUESTION))
    assert chunks[-1] == {"type": "finish", "finishReason": "other"}


# --- what the model is asked ----------------------------------------------------------------------------------------


async def test_the_request_has_system_messages_tools_and_settings():
    """The system text comes first, tools as specs, settings by their names."""
    model = ScriptedModel(["x"])
    await read(stream_text(model, QUESTION, system="Be kind.", tools=[add], temperature=0.5))
    (request,) = model.requests
    assert request.messages == [{"role": "system", "content": "Be kind."}, *QUESTION]
    assert [(spec.name, spec.description) for spec in request.tools] == [("add", "Add.")]
    assert request.settings == {"temperature": 0.5}


async def test_the_given_messages_are_not_changed():
    """The caller's list stays the caller's."""
    messages = list(QUESTION)
    await read(stream_text(ScriptedModel([call(tool_call("add", {"a": 1, "b": 2})), "3"]), messages, tools=[add]))
    assert messages == QUESTION


async def test_every_prompt_is_mended():
    """A call without a result in the given messages gets one, so that no provider refuses the prompt (D12)."""
    broken = [
        *QUESTION,
        {"role": "assistant", "content": [{"type": "tool-call", "toolCallId": "c", "toolName": "add", "input": {}}]},
        *QUESTION,
    ]
    model = ScriptedModel(["x"])
    await read(stream_text(model, broken))
    assert [row["role"] for row in model.requests[0].messages] == ["user", "assistant", "tool", "user"]


def test_ui_messages_are_refused_with_a_hint():
    """The most likely mistake is named, with its cure."""
    with pytest.raises(UsageError, match="convert_to_model_messages"):
        stream_text(ScriptedModel([]), [{"id": "1", "role": "user", "parts": []}])


async def test_a_name_becomes_a_litellm_model():
    """A text is the name of a model."""
    stream = stream_text("openai/gpt-4o", QUESTION)
    assert await anext(stream) == {"type": "start"}
    await stream.aclose()


async def test_prepare_step_changes_model_tools_and_settings_for_one_step():
    """What it gives for these holds for the step it is asked about."""
    other = ScriptedModel(["3"], name="other")
    asked = []

    def prepare(*, step_number, steps, messages, model):
        asked.append((step_number, len(steps), len(messages), model.name))
        return {"model": other, "tools": [], "settings": {"temperature": 1}} if step_number == 1 else None

    model = ScriptedModel([call(tool_call("add", {"a": 1, "b": 2}))])
    stream = stream_text(model, QUESTION, tools=[add], prepare_step=prepare, seed=7)
    await read(stream)
    assert asked == [(0, 0, 1, "scripted"), (1, 1, 3, "scripted")]
    assert other.requests[0].tools == []
    assert other.requests[0].settings == {"seed": 7, "temperature": 1}
    assert [step.model for step in stream.steps] == ["scripted", "other"]


async def test_prepare_step_changes_messages_and_system_from_then_on():
    """A shorter history and a new system text stay for the later steps."""

    async def prepare(*, step_number, messages, **_):
        return {"messages": messages[-1:], "system": "new"} if step_number == 0 else {}

    model = ScriptedModel([call(tool_call("add", {"a": 1, "b": 2})), "3"])
    long = [{"role": "user", "content": "old"}, {"role": "assistant", "content": "old"}, *QUESTION]
    await read(stream_text(model, long, tools=[add], system="old", prepare_step=prepare))
    assert model.requests[0].messages == [{"role": "system", "content": "new"}, *QUESTION]
    assert [row["role"] for row in model.requests[1].messages] == ["system", "user", "assistant", "tool"]
    assert model.requests[1].messages[0]["content"] == "new"


async def test_prepare_step_may_not_give_anything_else():
    """A misspelt key is not ignored."""
    stream = stream_text(ScriptedModel(["x"]), QUESTION, prepare_step=lambda **_: {"modle": 1})
    with pytest.raises(UsageError, match="modle"):
        await read(stream)


# --- what is left afterwards ----------------------------------------------------------------------------------------


async def test_steps_usage_and_finish_reason_can_be_read():
    """Each step is recorded; usage adds up."""
    model = ScriptedModel(
        [
            call(text("see "), tool_call("add", {"a": 1, "b": 2}), finish("tool-calls", input_tokens=10)),
            call(reasoning("hm"), text("it is 3"), finish("stop", input_tokens=20, output_tokens=5)),
        ]
    )
    stream = stream_text(model, QUESTION, tools=[add])
    await read(stream)
    first, second = stream.steps
    assert (first.number, first.text, first.finish_reason) == (0, "see ", "tool-calls")
    assert first.tool_calls[0].input == {"a": 1, "b": 2}
    assert first.tool_results[0].output == 3
    assert [row["role"] for row in first.messages] == ["assistant", "tool"]
    assert (second.text, second.reasoning) == ("it is 3", "hm")
    assert stream.usage == Usage(input_tokens=30, output_tokens=6, total_tokens=36)
    assert stream.finish_reason == "stop"
    assert [row["role"] for row in stream.messages] == ["user", "assistant", "tool", "assistant"]


async def test_text_reads_to_the_end_and_gives_the_last_steps_text():
    """text() needs no iteration before it, and may be asked again."""
    model = ScriptedModel([call(text("let me see"), tool_call("add", {"a": 1, "b": 2})), "it is 3"])
    stream = stream_text(model, QUESTION, tools=[add])
    assert await stream.text() == "it is 3"
    assert await stream.text() == "it is 3"


async def test_the_providers_response_is_named():
    """Id and model of the provider's response are kept."""
    part = {"type": "response-metadata", "id": "r1", "modelId": "m-1"}
    stream = stream_text(ScriptedModel([call([part], text("x"))]), QUESTION)
    await stream.text()
    assert stream.steps[0].response == {"id": "r1", "modelId": "m-1"}
