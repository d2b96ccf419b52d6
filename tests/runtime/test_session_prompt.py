"""The system prompt that a session keeps."""

from __future__ import annotations

from typing import Any

import pytest

from chatrt.agent import ChatAgent
from chatrt.generate import stream_text
from chatrt.models import ScriptedModel
from chatrt.models.scripted import call, text
from chatrt.prompt import Prompt, SystemPrompt
from chatrt.prompt_cache import cache_control, cache_last_message
from chatrt.run_control import current_run
from tests.runtime.driver import House

WELCOME = Prompt("You help {customer}.", model="anthropic/claude-sonnet-4-5")


def reading(**options: Any) -> ChatAgent:
    """An agent that says its prompt."""
    return ChatAgent("a", run=lambda turn: turn.prompt.text, **options)


async def test_it_is_rendered_when_it_is_set(house: House):
    """`set_prompt` takes the values of the variables, and `turn.prompt` is what was made of them."""
    agent = reading(on_chat_start=lambda event: current_run().set_prompt(WELCOME, customer="Ada"))
    chat = await house.open(agent)

    assert [(await chat.send("x")).text for _ in range(2)] == ["You help Ada."] * 2


async def test_it_outlives_the_run(house: House):
    """The prompt is the session's: a later run, in another process, has it with its model and options."""
    agent = ChatAgent("a", run=lambda turn: turn.set_prompt(WELCOME, customer="Ada", cache=True))
    await (await house.open(agent)).send("x")
    await house.crash()
    seen: list[SystemPrompt] = []
    agent.run(lambda turn: seen.append(turn.prompt))

    await (await house.open(agent)).send("y")

    assert seen == [
        SystemPrompt("You help Ada.", model="anthropic/claude-sonnet-4-5", provider_options=cache_control())
    ]


async def test_none_was_set(house: House):
    """Without a prompt reading it fails, and looking for it finds none."""
    agent = ChatAgent("a", run=lambda turn: f"{turn.find_prompt()} {current_run().find_prompt()}")
    chat = await house.open(agent)
    assert (await chat.send("x")).text == "None None"

    agent.run(lambda turn: turn.prompt.text)

    assert (await chat.send("y")).complete["error"]["code"] == "usage"


async def test_the_last_one_holds(house: House):
    """A new prompt replaces the one before it with all its options."""
    agent = ChatAgent("a", run=lambda turn: turn.set_prompt("first", cache=True))
    chat = await house.open(agent)
    await chat.send("x")
    seen: list[Any] = []
    agent.run(lambda turn: (turn.set_prompt("second"), seen.append(turn.prompt))[1])

    await chat.send("y")

    assert seen == [SystemPrompt("second")]


async def test_a_failing_action_does_not_set_it(house: House):
    """What an action set before it failed is taken back (D20)."""

    def act(event):
        current_run().set_prompt("by the action")
        raise RuntimeError("no")

    agent = reading(on_boot=lambda event: current_run().set_prompt("by on_boot"), on_action=act)
    chat = await house.open(agent)
    await chat.send("x")

    await chat.act("fail")

    assert (await chat.send("y")).text == "by on_boot"


async def test_an_action_sets_it(house: House):
    """A prompt that an action set is committed with the action."""
    agent = reading(on_action=lambda event: current_run().set_prompt(event.action["say"]))
    await (await house.open(agent)).act({"say": "be brief"})
    await house.crash()

    assert (await (await house.open(agent)).send("x")).text == "be brief"


@pytest.mark.behaviour(174)
async def test_the_model_gets_it_with_its_options(house: House):
    """`stream_text(system=turn.prompt)` shows the model the stored prompt with the options that were stored with it."""
    model = ScriptedModel([call(text("x"))])
    agent = ChatAgent("a", prepare_messages=lambda event: cache_last_message(event.messages))

    @agent.run
    def run(turn):
        turn.set_prompt(WELCOME, customer="Ada", provider_options=cache_control("1h"))
        return stream_text(model, turn.messages, system=turn.prompt)

    await (await house.open(agent)).send("hi")

    assert model.requests[0].messages == [
        {"role": "system", "content": "You help Ada.", "providerOptions": cache_control("1h")},
        {"role": "user", "content": [{"type": "text", "text": "hi"}], "providerOptions": cache_control()},
    ]
