"""How hooks end: cancelled from inside, in the middle of what they write, or with an error chunk."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import BaseModel

from chatrt.agent import ChatAgent
from tests.runtime.driver import House


def echo(**options) -> ChatAgent:
    return ChatAgent("a", run=lambda turn: turn.ui_messages[-1]["parts"][0]["text"], **options)


@pytest.mark.parametrize("hook", ["on_boot", "on_validate_messages", "on_turn_start", "on_before_turn_complete"])
async def test_a_hook_that_is_cancelled_from_inside_fails_the_turn(house: House, hook: str):
    """A hook that awaits something cancelled fails its turn; the run goes on."""

    async def broken(event):
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    chat = await house.open(echo(**{hook: broken}))

    turn = await asyncio.wait_for(chat.send("hi"), 2)

    assert turn.status == "failed"


async def test_on_turn_complete_that_is_cancelled_from_inside_is_logged(house: House):
    """An on_turn_complete that awaits something cancelled leaves the turn as it was (D5)."""

    async def broken(event):
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    chat = await house.open(echo(on_turn_complete=broken))
    await chat.send("one")

    assert (await asyncio.wait_for(chat.send("two"), 2)).status == "completed"


async def test_what_a_hook_wrote_before_it_raised_is_sent(house: House):
    """Data that on_turn_start wrote before it raised are on the stream and in the message."""

    def start(event):
        event.response.write({"type": "data-note", "data": 1})
        raise RuntimeError("boom")

    chat = await house.open(echo(on_turn_start=start))

    turn = await chat.send("hi")

    assert turn.types == ["start", "data-note", "error"]
    assert (await chat.messages())[-1]["parts"] == [{"type": "data-note", "data": 1}]


async def test_what_the_last_hook_leaves_open_is_closed(house: House):
    """A text that on_before_turn_complete begins and does not end is ended for it."""
    chat = await house.open(
        echo(on_before_turn_complete=lambda event: event.response.write({"type": "text-start", "id": "x"}))
    )

    turn = await chat.send("hi")

    assert turn.types[-3:] == ["text-start", "text-end", "finish"]
    assert [part["state"] for part in (await chat.messages())[-1]["parts"]] == ["done", "done"]


async def test_on_boot_gets_the_client_data_as_the_declared_type(house: House):
    """on_boot gets the client data of the first input, over the session's, as the agent's type."""

    class Data(BaseModel):
        name: str
        color: str

    booted = []
    agent = echo(client_data=Data, on_boot=lambda event: booted.append(event.client_data))
    chat = await house.open(agent)
    await house.sessions.close_session("chat")
    session = await house.sessions.start_session("a", "other", client_data={"name": "default", "color": "red"})
    chat = type(chat)(session, chat.sessions)

    await chat.send("hi", client_data={"name": "own"})

    assert booted == [Data(name="own", color="red")]


@pytest.mark.parametrize("hook", ["on_turn_start", "on_before_turn_complete"])
async def test_an_error_chunk_of_a_hook_fails_the_turn(house: House, hook: str):
    """An error chunk means the same wherever it is written: the turn failed (D17)."""
    chat = await house.open(
        ChatAgent(
            "a",
            run=lambda turn: None,
            **{hook: lambda event: event.response.write({"type": "error", "errorText": "no luck"})},
        )
    )

    turn = await chat.send("hi")

    assert (turn.status, turn.chunks[-1]) == ("failed", {"type": "error", "errorText": "no luck"})


async def test_an_error_chunk_fails_a_turn_that_returns_nothing(house: House):
    """A run that merges a stream with an error in it and returns nothing has failed (D17)."""

    async def stream():
        yield {"type": "text-start", "id": "t"}
        yield {"type": "error", "errorText": "no luck"}

    async def run(turn):
        await turn.response.merge(stream())

    chat = await house.open(ChatAgent("a", run=run))

    turn = await chat.send("hi")

    assert (turn.status, turn.chunks[-1]) == ("failed", {"type": "error", "errorText": "no luck"})
