"""The harness: answers that another process has begun."""

from __future__ import annotations

from chatrt.models import ScriptedModel
from chatrt.tools import tool
from tests.testing.agents import answering, texts


@tool
async def search(query: str) -> str:
    """Search."""
    return f"found {query}"


async def test_a_whole_answer_that_was_begun(chat_harness):
    """A final step is the answer: the agent's model is not asked."""
    model = ScriptedModel([])
    chat = await chat_harness(answering(), model=model)

    result = await chat.send_begun("Hi", "Hello from elsewhere.")

    assert (result.status, result.text, result.finish_reason) == ("completed", "Hello from elsewhere.", "stop")
    assert texts(chat.messages) == [("user", "Hi"), ("assistant", "Hello from elsewhere.")]


async def test_calls_that_were_begun(chat_harness):
    """The agent carries out the calls of a step and goes on in the same message."""
    model = ScriptedModel(["It is so."])
    chat = await chat_harness(answering(tools=[search]), model=model)
    call = {"type": "tool-search", "toolCallId": "c", "state": "input-available", "input": {"query": "x"}}

    result = await chat.send_begun("Hi", [call], is_final=False)

    assert (result.text, result.tool_results[0].output, len(chat.messages)) == ("It is so.", "found x", 2)
    assert [message["role"] for message in model.requests[0].messages] == ["user", "assistant", "tool"]


async def test_a_step_that_failed(chat_harness):
    """Where there is nothing to take over the agent answers by itself."""
    chat = await chat_harness(answering(), model=ScriptedModel(["From here."]))

    result = await chat.send_begun("Hi", None)

    assert (result.status, result.text) == ("completed", "From here.")
