"""stream_text: whoever stops reading ends everything behind it."""

import asyncio

import pytest

from chatrt.generate import stream_text
from chatrt.models import FunctionModel, ScriptedModel
from chatrt.models.scripted import call, text, tool_call
from chatrt.tools import tool
from chatrt.ui import smooth_stream

QUESTION = [{"role": "user", "content": "q"}]


class Watched:
    """A model that speaks, then waits forever, and notes when it is closed."""

    def __init__(self):
        self.waiting = asyncio.Event()
        self.closed = asyncio.Event()
        self.model = FunctionModel(self._answer)

    async def _answer(self, request):
        try:
            for part in text("hello")[:2]:
                yield part
            self.waiting.set()
            await asyncio.Event().wait()
        finally:
            self.closed.set()


async def read_until(stream, kind):
    async for chunk in stream:
        if chunk["type"] == kind:
            return


@pytest.mark.parametrize("transform", [None, lambda parts: smooth_stream(parts, delay=None)])
async def test_closing_ends_the_model_call(transform):
    """After aclose the model's iterator is closed, also behind a transform."""
    watched = Watched()
    stream = stream_text(watched.model, QUESTION, transform=transform)
    await read_until(stream, "text-start")
    await stream.aclose()
    assert watched.closed.is_set()


async def test_cancelling_the_reader_ends_the_model_call():
    """A reader that is cancelled while the model is silent leaves nothing behind."""
    watched = Watched()
    stream = stream_text(watched.model, QUESTION)
    reader = asyncio.create_task(read_until(stream, "never"))
    await watched.waiting.wait()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert watched.closed.is_set()


async def test_cancelling_the_reader_ends_running_tools_and_waits_for_them():
    """Tools are cancelled, and their clean-up is over when the reader's cancellation is."""
    running = asyncio.Event()
    cleaned = []

    @tool
    async def wait():
        try:
            running.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    model = ScriptedModel([call(tool_call("wait", {}, id="c1"), tool_call("wait", {}, id="c2"))])
    stream = stream_text(model, QUESTION, tools=[wait])
    reader = asyncio.create_task(read_until(stream, "never"))
    await running.wait()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert cleaned == [True, True]


async def test_closing_between_outputs_ends_the_other_tools():
    """Closing after the first output cancels the tools that are not done."""
    cleaned = []

    @tool
    async def quick():
        return 1

    @tool
    async def slow():
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(True)

    model = ScriptedModel([call(tool_call("quick", {}, id="c1"), tool_call("slow", {}, id="c2"))])
    stream = stream_text(model, QUESTION, tools=[quick, slow])
    await read_until(stream, "tool-output-available")
    await stream.aclose()
    assert cleaned == [True]


async def test_a_closed_stream_gives_nothing_more():
    """After aclose, iterating ends at once."""
    stream = stream_text(ScriptedModel(["hi"]), QUESTION)
    await anext(stream)
    await stream.aclose()
    assert [chunk async for chunk in stream] == []


async def test_a_stream_that_was_never_read_can_be_closed():
    """Closing it early is no error, and calls no model."""
    model = ScriptedModel(["hi"])
    await stream_text(model, QUESTION).aclose()
    assert model.requests == []


async def test_closing_with_metadata_ends_the_model_call():
    """The metadata layer hands the closing on."""
    watched = Watched()
    stream = stream_text(watched.model, QUESTION, message_metadata=lambda part: {"k": 1})
    await read_until(stream, "text-delta")
    await stream.aclose()
    assert watched.closed.is_set()
