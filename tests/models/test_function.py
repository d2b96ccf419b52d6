"""The function model."""

import pytest

from chatrt.errors import UsageError
from chatrt.models import FunctionModel, ModelRequest
from chatrt.models.scripted import call, text

REQUEST = ModelRequest(messages=[{"role": "user", "content": "hi"}])


async def read(function):
    return [part async for part in FunctionModel(function).stream(REQUEST)]


async def test_a_text_becomes_an_answer():
    """A function that gives a text answers with it."""
    assert await read(lambda request: request.messages[0]["content"]) == call(text("hi"))


async def test_a_list_of_parts_is_the_answer():
    """A function that gives parts answers with them."""
    assert await read(lambda request: text("x")) == text("x")


async def test_a_coroutine_function_is_awaited():
    """The function may be async."""

    async def answer(request):
        return "later"

    assert await read(answer) == call(text("later"))


async def test_an_async_generator_streams():
    """The function may yield parts."""

    async def answer(request):
        for part in text("x"):
            yield part

    assert await read(answer) == text("x")


async def test_closing_the_stream_closes_the_generator():
    """Whoever stops reading ends the function too."""
    closed = []

    async def answer(request):
        try:
            yield {"type": "ping"}
            yield {"type": "ping"}
        finally:
            closed.append(True)

    stream = FunctionModel(answer).stream(REQUEST)
    await anext(stream)
    await stream.aclose()
    assert closed == [True]


async def test_anything_else_is_refused():
    """A function that gives no answer is a mistake, and said to be."""
    with pytest.raises(UsageError, match="gave a int"):
        await read(lambda request: 5)
