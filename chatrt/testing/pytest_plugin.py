"""The pytest plugin: the fixture `chat_harness`, for tests of agents; pytest finds it by the package's entry point.

    async def test_it_greets(chat_harness):
        chat = await chat_harness(support, model=ScriptedModel(["Hello."]))
        assert (await chat.send("Hi")).text == "Hello."

The fixture makes as many harnesses as a test wants, opened, and closes them at its end. While a test uses it, real
model calls are forbidden in the whole process: a model that nobody replaced fails the turn with `model-call-forbidden`
instead of costing money. `with chatrt.testing.allow_model_calls():` permits them for a block.

Async fixtures need pytest-asyncio. Where tests are run by something else, use `async with ChatHarness(...)`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack
from importlib.util import find_spec
from typing import Any

import pytest

import chatrt.testing

ChatHarnessFactory = Callable[..., Awaitable["chatrt.testing.ChatHarness"]]
"""Takes what `ChatHarness` takes and returns an open one."""


async def make_harnesses() -> AsyncGenerator[ChatHarnessFactory]:
    """Make harnesses for chats with agents under test, and close them at the end of the test."""
    async with AsyncExitStack() as stack:
        stack.enter_context(chatrt.testing.forbid_model_calls())

        async def make(*arguments: Any, **options: Any) -> chatrt.testing.ChatHarness:
            return await stack.enter_async_context(chatrt.testing.ChatHarness(*arguments, **options))

        yield make


def miss_asyncio() -> None:
    """Make harnesses for chats with agents under test; needs pytest-asyncio."""
    pytest.fail("the fixture chat_harness needs pytest-asyncio; `async with ChatHarness(...)` does not", pytrace=False)


if find_spec("pytest_asyncio") is None:
    chat_harness = pytest.fixture(miss_asyncio, name="chat_harness")
else:
    import pytest_asyncio

    chat_harness = pytest_asyncio.fixture(make_harnesses, name="chat_harness")
