"""stream_text: failing models, and message metadata."""

import pytest

from chatrt.errors import ModelResponseError, ScriptExhaustedError
from chatrt.generate import stream_text
from chatrt.models import ScriptedModel
from chatrt.models.scripted import call, error, finish, text

QUESTION = [{"role": "user", "content": [{"type": "text", "text": "q"}]}]


async def read(stream):
    return [chunk async for chunk in stream]


def types(chunks):
    return [chunk["type"] for chunk in chunks]


async def test_a_failing_model_ends_the_iteration_with_its_exception():
    """What was streamed stays streamed; the exception comes to whoever iterates."""
    stream = stream_text(ScriptedModel([[*text("par")[:2], ConnectionError("net-secret")]]), QUESTION)
    seen = [(await anext(stream))["type"] for _ in range(4)]
    assert seen == ["start", "start-step", "text-start", "text-delta"]
    with pytest.raises(ConnectionError, match="net-secret"):
        await anext(stream)
    assert isinstance(stream.error, ConnectionError)
    assert stream.finish_reason == "error"


async def test_a_failure_before_the_first_part_opens_no_step():
    """Only the start was said."""
    stream = stream_text(ScriptedModel([]), QUESTION)
    assert await anext(stream) == {"type": "start"}
    with pytest.raises(ScriptExhaustedError):
        await anext(stream)


async def test_an_error_part_is_masked_and_the_stream_goes_on():
    """The client reads a fixed text, the rest of the stream follows, and the exception is kept (D11)."""
    model = ScriptedModel([call(text("par")[:2], error("boom-secret"), text("par")[2:], finish("error"))])
    stream = stream_text(model, QUESTION)
    chunks = await read(stream)
    assert chunks[4:] == [
        {"type": "error", "errorText": "An error occurred."},
        {"type": "text-end", "id": "text"},
        {"type": "finish-step"},
        {"type": "finish", "finishReason": "error"},
    ]
    assert isinstance(stream.error, ModelResponseError)
    assert str(stream.error) == "boom-secret"


async def test_on_error_chooses_the_text_of_an_error_part():
    """An application may say more."""
    problem = OSError("disk")
    stream = stream_text(ScriptedModel([call(error(problem))]), QUESTION, on_error=lambda error: f"sorry: {error}")
    assert {"type": "error", "errorText": "sorry: disk"} in await read(stream)
    assert stream.error is problem


async def test_text_raises_what_went_wrong():
    """A caller who wants the text does not get half of it in silence."""
    stream = stream_text(ScriptedModel([call(text("par"), error("boom"))]), QUESTION)
    with pytest.raises(ModelResponseError, match="boom"):
        await stream.text()


async def test_an_empty_answer_is_an_error():
    """A stream with neither content nor an end is no answer."""
    with pytest.raises(ModelResponseError, match="without content"):
        await read(stream_text(ScriptedModel([[]]), QUESTION))


@pytest.mark.parametrize("kind", ["text-delta", "text-end", "reasoning-delta"])
async def test_a_delta_or_an_end_without_a_start_is_an_error(kind):
    """A model that contradicts itself is not passed on to clients, which would fail on it."""
    part = {"type": kind, "id": "t", "delta": "x"}
    with pytest.raises(ModelResponseError, match="part t not found"):
        await read(stream_text(ScriptedModel([[part]]), QUESTION))


# --- metadata -------------------------------------------------------------------------------------------------------


async def test_metadata_rides_on_start_and_finish():
    """What message_metadata gives for these is on the chunks themselves, with the usage known at the end."""

    def metadata(part):
        match part["type"]:
            case "start":
                return {"model": "m"}
            case "finish":
                return {"tokens": part["usage"]["totalTokens"]}

    chunks = await read(stream_text(ScriptedModel(["x"]), QUESTION, message_metadata=metadata))
    assert chunks[0] == {"type": "start", "messageMetadata": {"model": "m"}}
    assert chunks[-1] == {"type": "finish", "finishReason": "stop", "messageMetadata": {"tokens": 2}}
    assert "message-metadata" not in types(chunks)


async def test_metadata_of_a_step_comes_before_its_end():
    """For finish-step, the step's own usage is known, and the metadata chunk goes ahead."""

    def metadata(part):
        return {"usage": part["usage"]} if part["type"] == "finish-step" else None

    chunks = await read(stream_text(ScriptedModel(["x"]), QUESTION, message_metadata=metadata))
    assert types(chunks)[-3:] == ["message-metadata", "finish-step", "finish"]
