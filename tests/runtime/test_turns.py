"""A turn from message to turn-complete."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from chatrt.agent import ChatAgent
from chatrt.errors import PublicError
from chatrt.generate import stream_text
from chatrt.models import FunctionModel, ScriptedModel
from chatrt.models.scripted import call, tool_call
from chatrt.runtime.turns import keep_approval_row_last
from chatrt.tools import tool
from chatrt.turn import current_turn
from tests.runtime.driver import House


def scripted(*answers: Any, **options: Any) -> ChatAgent:
    """An agent whose model plays the answers, one call each."""
    model = ScriptedModel(list(answers))
    agent = ChatAgent("scripted", run=lambda turn: stream_text(model, turn.messages, tools=turn.tools), **options)
    agent.model = model
    return agent


@pytest.mark.behaviour(2)
async def test_a_message_is_answered_in_one_turn(house: House):
    """A message gives one turn: its text streams between turn-start and turn-complete."""
    chat = await house.open(scripted("hello there"))

    turn = await chat.send("hi")

    assert (turn.text, turn.status) == ("hello there", "completed")


async def test_a_turn_says_which_input_it_settles(house: House):
    """turn-start and turn-complete carry the sequence number of the input."""
    chat = await house.open(scripted("a", "b"))
    await chat.send("one")

    turn = await chat.send("two")

    assert (turn.start["inSeq"], turn.complete["inSeq"]) == (2, 2)


@pytest.mark.behaviour(4)
async def test_answers_accumulate(house: House):
    """Three messages in one chat: the model sees one, three and five messages."""
    agent = scripted("a", "b", "c")
    chat = await house.open(agent)

    for text in ("1", "2", "3"):
        await chat.send(text)

    assert [len(request.messages) for request in agent.model.requests] == [1, 3, 5]


@pytest.mark.behaviour(34)
async def test_the_history_is_committed(house: House):
    """After a turn the store holds the question and the answer."""
    chat = await house.open(scripted("fine"))

    await chat.send("how are you")

    assert await chat.texts() == [("user", "how are you"), ("assistant", "fine")]


async def test_one_start_with_the_servers_id_and_one_finish(house: House):
    """The stream has one start, with the id the message is stored under, and ends with one finish."""
    chat = await house.open(scripted("x"))

    turn = await chat.send("hi")

    stored = (await chat.messages())[-1]["id"]
    assert [chunk for chunk in turn.chunks if chunk["type"] == "start"] == [{"type": "start", "messageId": stored}]
    assert turn.types.count("finish") == 1
    assert turn.types[-1] == "finish"


async def test_a_str_is_an_answer(house: House):
    """What run returns as text is streamed and stored."""
    chat = await house.open(ChatAgent("a", run=lambda turn: "plain"))

    turn = await chat.send("hi")

    assert turn.text == "plain"


async def test_a_message_is_an_answer(house: House):
    """A whole message that run returns is streamed under the id of the turn."""
    message = {"id": "own", "role": "assistant", "parts": [{"type": "text", "text": "whole", "state": "done"}]}
    chat = await house.open(ChatAgent("a", run=lambda turn: message))

    turn = await chat.send("hi")

    assert turn.text == "whole"


async def test_nothing_is_an_answer(house: House):
    """A run that returns nothing leaves no assistant message."""
    chat = await house.open(ChatAgent("a", run=lambda turn: None))

    turn = await chat.send("hi")

    assert (turn.chunks, turn.status, await chat.texts()) == ([], "completed", [("user", "hi")])


async def test_an_async_generator_is_an_answer(house: House):
    """Run may be an async generator of chunks."""

    async def run(turn):
        yield {"type": "text-start", "id": "t"}
        yield {"type": "text-delta", "id": "t", "delta": "own"}
        yield {"type": "text-end", "id": "t"}

    chat = await house.open(ChatAgent("a", run=run))

    assert (await chat.send("hi")).types == ["start", "text-start", "text-delta", "text-end", "finish"]


async def test_an_invalid_chunk_fails_the_turn_and_is_not_sent(house: House):
    """A chunk that clients would refuse never reaches them."""

    async def run(turn):
        yield {"type": "text-delta"}

    chat = await house.open(ChatAgent("a", run=run))

    turn = await chat.send("hi")

    assert (turn.status, turn.types) == ("failed", ["error"])


async def test_an_open_text_is_closed(house: House):
    """A stream that forgets to end its text is ended for it."""

    async def run(turn):
        yield {"type": "text-start", "id": "t"}
        yield {"type": "text-delta", "id": "t", "delta": "x"}

    chat = await house.open(ChatAgent("a", run=run))

    await chat.send("hi")

    assert (await chat.messages())[-1]["parts"] == [{"type": "text", "text": "x", "state": "done"}]


async def test_an_exception_is_a_failed_turn(house: House):
    """When run raises, the turn fails; the user's message stays."""

    def run(turn):
        raise RuntimeError("boom-secret")

    chat = await house.open(ChatAgent("a", run=run))

    turn = await chat.send("hi")

    assert (turn.status, await chat.texts()) == ("failed", [("user", "hi")])


async def test_the_text_of_an_exception_never_crosses(house: House):
    """Clients read a fixed text and an id, never what the exception says."""

    def run(turn):
        raise RuntimeError("boom-secret")

    chat = await house.open(ChatAgent("a", run=run))

    turn = await chat.send("hi")

    error_id = turn.complete["error"]["id"]
    assert turn.chunks[-1] == {"type": "error", "errorText": f"An error occurred. ({error_id})"}
    assert "boom-secret" not in str(turn)


async def test_a_public_error_may_be_read(house: House):
    """The text of a PublicError was written for people."""

    def run(turn):
        raise PublicError("The shop is closed.")

    chat = await house.open(ChatAgent("a", run=run))

    turn = await chat.send("hi")

    assert turn.chunks[-1]["errorText"] == "The shop is closed."


async def test_on_error_chooses_the_text(house: House):
    """The agent's on_error decides what people read."""

    def run(turn):
        raise KeyError("x")

    chat = await house.open(ChatAgent("a", run=run, on_error=lambda error: f"Sorry: {type(error).__name__}"))

    assert (await chat.send("hi")).chunks[-1]["errorText"] == "Sorry: KeyError"


async def test_a_partial_answer_survives_a_failure(house: House):
    """What was streamed before an exception is kept, and the next prompt has it."""

    async def run(turn):
        yield {"type": "text-start", "id": "t"}
        yield {"type": "text-delta", "id": "t", "delta": "half"}
        raise RuntimeError("cut")

    chat = await house.open(ChatAgent("a", run=run))

    turn = await chat.send("hi")

    assert turn.types == ["start", "text-start", "text-delta", "text-end", "error"]
    assert await chat.texts() == [("user", "hi"), ("assistant", "half")]


async def test_an_error_in_the_stream_is_a_failed_turn(house: House):
    """A provider error inside the stream and an exception are the same thing (D17): error comes last."""
    parts = [
        {"type": "text-start", "id": "t"},
        {"type": "text-delta", "id": "t", "delta": "half"},
        {"type": "error", "error": "provider-secret"},
        {"type": "text-end", "id": "t"},
        {"type": "finish", "finishReason": {"unified": "error", "raw": "error"}, "usage": {}},
    ]
    chat = await house.open(scripted(parts))

    turn = await chat.send("hi")

    assert (turn.status, turn.types[-1]) == ("failed", "error")
    assert "provider-secret" not in str(turn)


async def test_the_chat_goes_on_after_a_failure(house: House):
    """A failed turn leaves the conversation usable."""
    answers = iter([RuntimeError("x"), "better"])

    def run(turn):
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    chat = await house.open(ChatAgent("a", run=run))
    await chat.send("one")

    assert (await chat.send("two")).text == "better"


class ClientData(BaseModel):
    user: str


@pytest.mark.behaviour(17)
async def test_client_data_are_validated(house: House):
    """Run gets the client data as the declared type."""
    chat = await house.open(ChatAgent("a", client_data=ClientData, run=lambda turn: turn.client_data.user))

    assert (await chat.send("hi", client_data={"user": "ada"})).text == "ada"


async def test_unfit_client_data_fail_the_turn(house: House):
    """Client data that do not fit give a failed turn with a stable code, and keep the message."""
    chat = await house.open(ChatAgent("a", client_data=ClientData, run=lambda turn: "x"))

    turn = await chat.send("hi", client_data={"user": 3})

    assert (turn.status, turn.complete["error"]["code"]) == ("failed", "invalid-client-data")
    assert await chat.texts() == [("user", "hi")]


async def test_tools_run_and_the_model_sees_the_result(house: House):
    """A tool call of the model is executed, and its result is in the next prompt."""

    @tool
    async def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    asks = call(tool_call("add", {"a": 2, "b": 3}))
    agent = scripted(asks, "five", tools=[add])
    chat = await house.open(agent)

    await chat.send("2+3")

    row = agent.model.requests[1].messages[-1]
    assert (row["role"], row["content"][0]["output"]) == ("tool", {"type": "json", "value": 5})


@pytest.mark.behaviour(43)
async def test_tools_may_be_resolved_for_each_turn(house: House):
    """A function of the client data gives the tools of a turn."""

    @tool
    async def secret() -> str:
        """For some."""
        return "s"

    agent = ChatAgent(
        "a",
        tools=lambda event: [secret] if event.client_data == "admin" else [],
        run=lambda turn: ",".join(tool.name for tool in turn.tools) or "none",
    )
    chat = await house.open(agent)

    assert (await chat.send("x", client_data="guest")).text == "none"
    assert (await chat.send("x", client_data="admin")).text == "secret"


async def test_data_parts_are_upserted(house: House):
    """Writing a data part again under the same id replaces it where it stands (D18)."""

    async def run(turn):
        turn.response.write({"type": "data-status", "id": "s", "data": {"step": 1}})
        turn.response.write({"type": "data-status", "id": "s", "data": {"step": 2}})
        return "done"

    chat = await house.open(ChatAgent("a", run=run))

    await chat.send("hi")

    parts = (await chat.messages())[-1]["parts"]
    assert parts[0] == {"type": "data-status", "id": "s", "data": {"step": 2}}
    assert len(parts) == 2


async def test_transient_parts_are_sent_and_not_kept(house: House):
    """A transient data part is on the stream and not in the message."""

    async def run(turn):
        turn.response.write({"type": "data-note", "data": "psst", "transient": True})
        return "done"

    chat = await house.open(ChatAgent("a", run=run))

    turn = await chat.send("hi")

    assert "data-note" in turn.types
    assert [part["type"] for part in (await chat.messages())[-1]["parts"]] == ["text"]


async def test_only_data_make_a_message_too(house: House):
    """Data parts without any text are an assistant message of their own."""

    async def run(turn):
        turn.response.write({"type": "data-card", "data": 1})

    chat = await house.open(ChatAgent("a", run=run))

    turn = await chat.send("hi")

    assert turn.types == ["start", "data-card", "finish"]
    assert (await chat.messages())[-1]["parts"] == [{"type": "data-card", "data": 1}]


async def test_metadata_are_stored(house: House):
    """Message metadata on the stream end up in the message."""

    async def run(turn):
        yield {"type": "start", "messageMetadata": {"model": "m"}}
        yield {"type": "text-start", "id": "t"}
        yield {"type": "text-end", "id": "t"}
        yield {"type": "finish", "finishReason": "stop", "messageMetadata": {"tokens": 3}}

    chat = await house.open(ChatAgent("a", run=run))

    await chat.send("hi")

    assert (await chat.messages())[-1]["metadata"] == {"model": "m", "tokens": 3}


@pytest.mark.behaviour(36)
async def test_regenerate_gives_another_answer(house: House):
    """Regenerate takes the last answer back and asks again; the new one has an id of its own."""
    agent = scripted("first", "second")
    chat = await house.open(agent)
    await chat.send("hi")
    before = (await chat.messages())[-1]["id"]

    await chat.regenerate()

    assert await chat.texts() == [("user", "hi"), ("assistant", "second")]
    assert (await chat.messages())[-1]["id"] != before
    assert len(agent.model.requests[1].messages) == 1


async def test_regenerate_honours_the_message_id(house: House):
    """Regenerating an earlier answer takes back everything from there (D22)."""
    chat = await house.open(scripted("a", "b", "c"))
    await chat.send("1")
    await chat.send("2")
    first = (await chat.messages())[1]["id"]

    await chat.regenerate(first)

    assert await chat.texts() == [("user", "1"), ("assistant", "c")]


async def test_regenerate_of_an_unknown_message_fails(house: House):
    """An unknown message id is an error that can be seen, and changes nothing."""
    chat = await house.open(scripted("a"))
    await chat.send("1")

    turn = await chat.regenerate("nope")

    assert turn.complete["error"]["code"] == "message-not-found"
    assert await chat.texts() == [("user", "1"), ("assistant", "a")]


async def test_a_known_id_with_other_text_is_an_edit(house: House):
    """A resent user message with changed text takes the place of the old one and of all after it (D22)."""
    chat = await house.open(scripted("a", "b", "c"))
    await chat.send("one", "u1")
    await chat.send("two", "u2")

    await chat.send("uno", "u1")

    assert await chat.texts() == [("user", "uno"), ("assistant", "c")]


async def test_the_current_turn_can_be_found(house: House):
    """Code below run finds its turn without being given it."""

    def deep() -> str:
        return current_turn().chat_id

    chat = await house.open(ChatAgent("a", run=lambda turn: deep()))

    assert (await chat.send("hi")).text == "chat"


async def test_usage_adds_up_over_runs(house: House):
    """Usage totals belong to the session and survive the run (D10)."""
    seen = []
    usage = {"inputTokens": {"total": 3}, "outputTokens": {"total": 2}}
    end = {"type": "finish", "finishReason": {"unified": "stop", "raw": "stop"}, "usage": usage}
    agent = scripted(
        [{"type": "text-start", "id": "t"}, {"type": "text-end", "id": "t"}, end],
        [{"type": "text-start", "id": "t"}, {"type": "text-end", "id": "t"}, end],
    )
    agent.on_turn_complete(lambda event: seen.append(event.total_usage.total_tokens))
    chat = await house.open(agent)
    await chat.send("1")
    await house.crash()
    chat = await house.open(agent)

    await chat.send("2")

    assert seen == [5, 10]


async def test_text_with_half_a_surrogate_pair_is_mended(house: House):
    """What a model broke in two is joined or replaced, never a broken record."""
    model = FunctionModel(
        lambda request: [
            {"type": "text-start", "id": "t"},
            {"type": "text-delta", "id": "t", "delta": "a\ud83d"},
            {"type": "text-end", "id": "t"},
        ]
    )
    chat = await house.open(ChatAgent("a", run=lambda turn: stream_text(model, turn.messages)))

    turn = await chat.send("hi")

    assert turn.text == "a\ufffd"


@pytest.mark.parametrize("kind", [3, object()], ids=["int", "object"])
async def test_another_answer_is_an_error(house: House, kind: object):
    """Run returns a stream, a text, a message or nothing."""
    chat = await house.open(ChatAgent("a", run=lambda turn: kind))

    assert (await chat.send("hi")).complete["error"]["code"] == "usage"


def test_older_approval_rows_are_left_alone():
    """Putting the last row of approvals back to the end takes no row away that answers other approvals."""

    def row(number: int) -> Any:
        answer = {"type": "tool-approval-response", "approvalId": f"a{number}", "approved": True}
        result = {"type": "tool-result", "toolCallId": f"c{number}", "toolName": "t", "output": {}}
        return {"role": "tool", "content": [answer, result]}

    said: Any = {"role": "user", "content": []}
    before = [row(1), row(2)]
    assert keep_approval_row_last(before, [row(1), row(2), said]) == [row(1), said, row(2)]
