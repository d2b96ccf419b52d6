"""Validators, hydration and actions: what application code decides, and what then holds."""

from __future__ import annotations

from typing import Any

import pytest

from chatrt.agent import ChatAgent
from chatrt.generate import stream_text
from chatrt.models import ScriptedModel
from chatrt.models.scripted import call, tool_call
from chatrt.tools import tool
from chatrt.ui import validate_ui_messages
from tests.runtime.driver import Gate, House, user


@tool
async def ask_user(question: str) -> str:
    """Ask the person."""


ANSWER = {"type": "tool-ask_user", "toolCallId": "call_1", "state": "output-available", "output": "because"}


@pytest.mark.behaviour(11)
async def test_a_validator_of_user_messages_lets_answers_through(house: House):
    """A validator that checks user messages only works with slim answers too."""
    checked: list[Any] = []

    def validate(event):
        users = [message for message in event.messages if message["role"] == "user"]
        checked.append(len(validate_ui_messages(users)) if users else 0)
        return event.messages

    model = ScriptedModel([call(tool_call("ask_user", {"question": "Why?"})), "thanks"])
    agent = ChatAgent(
        "a",
        tools=[ask_user],
        run=lambda turn: stream_text(model, turn.messages, tools=turn.tools),
        on_validate_messages=validate,
    )
    chat = await house.open(agent)
    first = await chat.send("hi")

    turn = await chat.answer(ANSWER, message_id=first.start["messageId"])

    assert (turn.text, checked) == ("thanks", [1, 0])


@pytest.mark.behaviour(7)
async def test_a_renamed_answer_reaches_a_hydrated_message(house: House):
    """With hydrate_messages, too, an answer under another id belongs to the message that made the call."""
    question = {**ANSWER, "state": "input-available", "input": {"question": "Why?"}}
    question.pop("output")
    stored = [
        {"id": "u1", "role": "user", "parts": [{"type": "text", "text": "hi"}]},
        {"id": "a1", "role": "assistant", "parts": [{"type": "step-start"}, question]},
    ]
    model = ScriptedModel(["thanks"])
    agent = ChatAgent(
        "a",
        tools=[ask_user],
        run=lambda turn: stream_text(model, turn.messages, tools=turn.tools),
        hydrate_messages=lambda event: stored,
    )
    chat = await house.open(agent)

    await chat.answer(ANSWER, message_id="renamed")

    assert [message["id"] for message in await chat.messages()] == ["u1", "a1"]
    assert (await chat.messages())[1]["parts"][1]["output"] == "because"


@pytest.mark.behaviour(38)
async def test_what_was_hydrated_is_what_is_stored(house: House):
    """hydrate_messages wins over what the session holds, and the session holds it afterwards, for readers and resume."""
    agent = ChatAgent("a", run=lambda turn: str(len(turn.ui_messages)))
    chat = await house.open(agent)
    await chat.send("forgotten")
    own = {"id": "s1", "role": "user", "parts": [{"type": "text", "text": "from my database"}]}
    agent.hydrate_messages(lambda event: [own, *event.incoming_messages])
    await house.crash()
    chat = await house.open(agent)

    turn = await chat.send("hi")

    assert turn.text == "2"
    assert await chat.texts() == [("user", "from my database"), ("user", "hi"), ("assistant", "2")]


@pytest.mark.behaviour(14, 15)
@pytest.mark.parametrize("streams", [False, True])
async def test_an_action_fires_no_hook_of_a_turn(house: House, streams: bool):
    """Whether an action says something or not, run and the hooks of turns stay silent, and it is settled."""
    fired: list[str] = []

    def note(name: str):
        return lambda event: fired.append(name)

    model = ScriptedModel(["said"])
    agent = ChatAgent(
        "a",
        run=note("run"),
        on_validate_messages=note("validate"),
        on_chat_start=note("chat start"),
        on_turn_start=note("turn start"),
        prepare_messages=note("prepare"),
        on_before_turn_complete=note("before"),
        on_turn_complete=note("complete"),
        on_action=lambda event: stream_text(model, [{"role": "user", "content": "go"}]) if streams else None,
    )
    chat = await house.open(agent)

    turn = await chat.act({})

    assert (turn.status, turn.text, fired) == ("completed", "said" if streams else "", [])


@pytest.mark.behaviour(16)
async def test_an_action_that_nobody_handles_asks_no_model(house: House):
    """Without on_action the action is settled as failed, and run is not called."""
    called: list[int] = []
    chat = await house.open(ChatAgent("a", run=lambda turn: called.append(1)))

    turn = await chat.act({"type": "undo"})

    assert (turn.complete["error"]["code"], called) == ("invalid-action", [])


async def test_a_hydrated_history_is_what_an_action_changes(house: House):
    """hydrate_messages is asked for an action too, with nothing incoming; on_action sees and changes what it returned."""
    seen: list[Any] = []
    own = {"id": "s1", "role": "user", "parts": [{"type": "text", "text": "from my database"}]}

    def hydrate(event):
        seen.append((event.trigger, event.incoming_messages))
        return [own, {**own, "id": "s2"}]

    def act(event):
        seen.append([message["id"] for message in event.ui_messages])
        event.history.remove("s2")

    chat = await house.open(ChatAgent("a", run=lambda turn: "x", hydrate_messages=hydrate, on_action=act))

    await chat.act({})

    assert seen == [("action", []), ["s1", "s2"]]
    assert [message["id"] for message in await chat.messages()] == ["s1"]


async def test_a_regenerate_leaves_the_cutting_to_hydrate_messages(house: House):
    """On a regenerate hydrate_messages gets nothing incoming and says itself which messages are left to answer."""
    seen: list[Any] = []

    def hydrate(event):
        seen.append((event.trigger, len(event.incoming_messages), len(event.previous_messages)))
        return [*event.previous_messages, *event.incoming_messages][:1]

    answers = iter(["first", "second"])
    chat = await house.open(ChatAgent("a", run=lambda turn: next(answers), hydrate_messages=hydrate))
    await chat.send("hi")

    await chat.regenerate()

    assert seen == [("message", 1, 0), ("regenerate", 0, 2)]
    assert await chat.texts() == [("user", "hi"), ("assistant", "second")]


async def test_a_regenerate_without_a_question_fails_visibly(house: House):
    """Where no user message is left to answer, a regenerate is an error that can be seen."""
    chat = await house.open(ChatAgent("a", run=lambda turn: "x"))

    turn = await chat.regenerate()

    assert (turn.status, turn.complete["error"]["code"]) == ("failed", "invalid-message")


async def test_the_last_hook_is_for_whole_and_stopped_answers(house: House, gate: Gate):
    """on_before_turn_complete is told of a stop, and is not called when the turn failed."""
    told: list[Any] = []

    async def run(turn):
        if turn.number == 0:
            raise KeyError("x")
        yield {"type": "text-start", "id": "t"}
        await gate.wait()

    agent = ChatAgent(
        "a", run=run, on_before_turn_complete=lambda event: told.append((event.turn, event.stopped, event.usage))
    )
    chat = await house.open(agent)
    await chat.send("one")
    sent = await chat.inbox.send_message(user("two"))
    await gate.reached.wait()
    await chat.inbox.stop()
    await chat.settled(sent)

    assert told == [(1, True, None)]


@tool(needs_approval=True)
async def pay(amount: int) -> str:
    """Pay."""
    return "paid"


@pytest.mark.parametrize("change", ["append", "drop", "rewrite", "first"])
async def test_prepare_messages_cannot_lose_an_approval(house: House, change: str):
    """Whatever prepare_messages does around the row with the approval, that row stays last and the call runs."""

    def prepare(event):
        *before, last = event.messages
        match change:
            case "append":
                return [*event.messages, {"role": "system", "content": "be brief"}]
            case "drop":
                return before
            case "rewrite":
                answer = {**last["content"][0], "approved": False}
                return [*before, {**last, "content": [answer]}]
        return [last, *before]

    model = ScriptedModel([call(tool_call("pay", {"amount": 5})), "done"])
    agent = ChatAgent("a", tools=[pay], run=lambda turn: stream_text(model, turn.messages, tools=turn.tools))
    chat = await house.open(agent)
    first = await chat.send("pay 5")
    asked = (await chat.messages())[-1]["parts"][-1]
    agent.prepare_messages(prepare)
    approved = {"id": asked["approval"]["id"], "approved": True}

    turn = await chat.answer(
        {"type": "tool-pay", "toolCallId": "call_1", "state": "approval-responded", "approval": approved},
        message_id=first.start["messageId"],
    )

    assert (turn.text, (await chat.messages())[-1]["parts"][1]["output"]) == ("done", "paid")
