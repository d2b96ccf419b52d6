"""The scripted model."""

import asyncio

import pytest

from chatrt.clock import ManualClock
from chatrt.errors import ScriptExhaustedError
from chatrt.models import ModelRequest, ScriptedModel
from chatrt.models.scripted import call, error, finish, reasoning, text, tool_call

REQUEST = ModelRequest(messages=[{"role": "user", "content": "hi"}])


async def read(model):
    return [part async for part in model.stream(REQUEST)]


async def test_a_text_is_streamed_word_by_word():
    """A text entry becomes one text block with a delta for each word, and stops."""
    parts = await read(ScriptedModel(["Hello  big\nworld"]))
    assert [part["type"] for part in parts] == ["text-start", *["text-delta"] * 3, "text-end", "finish"]
    assert [part["delta"] for part in parts if part["type"] == "text-delta"] == ["Hello  ", "big\n", "world"]
    assert parts[-1]["finishReason"]["unified"] == "stop"


async def test_each_call_plays_the_next_entry():
    """Calls play the entries in order."""
    model = ScriptedModel(["one", "two"])
    first, second = await read(model), await read(model)
    assert first[1]["delta"] == "one"
    assert second[1]["delta"] == "two"


async def test_a_list_of_parts_is_played_as_it_is():
    """An entry that is a list of parts is not touched, not even finished."""
    parts = text("hi")
    assert await read(ScriptedModel([parts])) == parts


async def test_requests_are_kept():
    """What the model was asked can be read afterwards."""
    model = ScriptedModel(["one"])
    await read(model)
    assert model.requests == [REQUEST]


async def test_one_call_too_many_raises():
    """A call beyond the script raises when its parts are asked for."""
    model = ScriptedModel(["one"])
    await read(model)
    with pytest.raises(ScriptExhaustedError, match="1 calls, and call 2"):
        await read(model)


async def test_a_script_that_is_not_played_through_can_be_noticed():
    """assert_exhausted fails while entries are left and passes then."""
    model = ScriptedModel(["one"])
    with pytest.raises(AssertionError, match="1 of 1"):
        model.assert_exhausted()
    await read(model)
    model.assert_exhausted()


async def test_an_exception_is_raised_at_its_place():
    """An exception in an entry is raised after the parts before it."""
    stream = ScriptedModel([[*text("hi"), OSError("gone")]]).stream(REQUEST)
    assert [(await anext(stream))["type"] for _ in range(3)] == ["text-start", "text-delta", "text-end"]
    with pytest.raises(OSError, match="gone"):
        await anext(stream)


async def test_the_delay_is_waited_before_each_part():
    """With a delay, no part comes before its time on the clock."""
    clock = ManualClock()
    stream = ScriptedModel([[{"type": "ping"}, {"type": "raw"}]], delay=2, clock=clock).stream(REQUEST)
    task = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    clock.advance(1.5)
    await asyncio.sleep(0)
    assert not task.done()
    clock.advance(0.5)
    assert await task == {"type": "ping"}
    await stream.aclose()


def test_a_call_is_finished_for_the_reason_its_parts_suggest():
    """call adds a finish: tool-calls if a tool is called, stop otherwise, and none where there is one."""
    assert call(text("x"))[-1]["finishReason"]["unified"] == "stop"
    assert call(tool_call("f", {}))[-1]["finishReason"]["unified"] == "tool-calls"
    assert call(text("x"), finish("length"))[-1]["finishReason"]["unified"] == "length"


def test_a_tool_call_can_stream_its_input():
    """With deltas, the input's JSON text is cut into that many pieces before the call."""
    parts = tool_call("f", {"a": 1}, id="c", deltas=2)
    assert [part["type"] for part in parts] == [
        "tool-input-start",
        "tool-input-delta",
        "tool-input-delta",
        "tool-input-end",
        "tool-call",
    ]
    assert "".join(part["delta"] for part in parts if "delta" in part) == parts[-1]["input"] == '{"a":1}'


def test_metadata_of_reasoning_rides_on_its_end():
    """A signature stands on the part that ends the reasoning."""
    assert reasoning("hm", metadata={"p": {"s": 1}})[-1] == {
        "type": "reasoning-end",
        "id": "reasoning",
        "providerMetadata": {"p": {"s": 1}},
    }


def test_an_error_part_holds_what_it_is_given():
    """error makes one part."""
    assert error("boom") == [{"type": "error", "error": "boom"}]
