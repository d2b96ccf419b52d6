"""What people say while a turn runs: what a policy is told of it, what waits, and where it is read."""

from __future__ import annotations

from typing import Any

from chatrt.agent import ChatAgent
from chatrt.generate import stream_text
from chatrt.models import ScriptedModel
from chatrt.models.scripted import call, tool_call
from chatrt.pending_messages import PendingMessages
from chatrt.tools import tool
from tests.runtime.driver import Gate, House, user


def looking(gate: Gate, model: ScriptedModel, **options: Any) -> ChatAgent:
    """An agent whose model may look, which takes until the gate is open, and checks, which takes no time."""

    @tool
    async def look() -> str:
        """Look."""
        await gate.wait()
        return "seen"

    @tool
    async def check() -> str:
        """Check."""
        return "fine"

    def run(turn: Any) -> Any:
        return stream_text(model, turn.messages, tools=turn.tools)

    return ChatAgent("a", run=run, tools=[look, check], **options)


LOOK, CHECK = call(tool_call("look", {})), call(tool_call("check", {}))


def said(request: Any) -> list[str]:
    """What the user rows of a prompt say."""
    return [part["text"] for row in request.messages if row["role"] == "user" for part in row["content"]]


async def test_a_policy_knows_the_chat_and_the_turn(house: House, gate: Gate):
    """Everything a policy is asked and told names the chat and its turn; what it decides about has the prompt too."""
    told: list[Any] = []

    def should_inject(batch):
        told.append(("batch", batch.chat_id, batch.turn, batch.client_data, len(batch.model_messages)))
        return True

    policy = PendingMessages(
        should_inject=should_inject,
        on_received=lambda event: told.append(("received", event.chat_id, event.turn, event.message["id"])),
        on_injected=lambda event: told.append(
            ("injected", event.chat_id, event.turn, [row["role"] for row in event.injected_model_messages])
        ),
    )
    chat = await house.open(looking(gate, ScriptedModel(["hello", LOOK, "done"]), pending_messages=policy))
    await chat.send("hi")
    await chat.inbox.send_message(user("go"), client_data={"name": "Ann"})
    await gate.reached.wait()
    late = await chat.inbox.send_message(user("hurry", "u9"))
    await chat.until_read(late)
    gate.opened.set()
    await chat.settled(late)

    assert told == [
        ("received", "chat", 1, "u9"),
        ("batch", "chat", 1, {"name": "Ann"}, 5),
        ("injected", "chat", 1, ["user"]),
    ]


async def test_what_was_injected_is_in_every_later_step(house: House, gate: Gate):
    """An injected message stays in the prompts of the turn, at its place, also two steps later (D6)."""
    model = ScriptedModel([LOOK, CHECK, "done"])
    chat = await house.open(looking(gate, model, when_busy="steer"))
    first = await chat.inbox.send_message(user("go"))
    await gate.reached.wait()
    await chat.until_read(await chat.inbox.send_message(user("hurry")))
    gate.opened.set()
    await chat.settled(first)

    assert [said(request) for request in model.requests] == [["go"], ["go", "hurry"], ["go", "hurry"]]
    assert [row["role"] for row in model.requests[2].messages] == [
        "user",
        "assistant",
        "tool",
        "user",
        "assistant",
        "tool",
    ]


async def test_a_message_is_injected_once(house: House, gate: Gate):
    """A message that was sent twice under one id is in the prompt and in the answer once."""
    model = ScriptedModel([LOOK, "done", "again"])
    chat = await house.open(looking(gate, model, when_busy="steer"))
    first = await chat.inbox.send_message(user("go"))
    await gate.reached.wait()
    await chat.inbox.send_message(user("hurry", "u9"), part_id="p")
    await chat.until_read(await chat.inbox.send_message(user("hurry", "u9"), part_id="p"))
    gate.opened.set()
    await chat.settled(first)

    assert said(model.requests[1]) == ["go", "hurry"]
    answer = (await chat.messages())[1]
    assert [part["type"] for part in answer["parts"]].count("data-pending-message-injected") == 1


async def test_a_regenerate_waits_for_the_turn_that_is_steered(house: House, gate: Gate):
    """With steer, too, a regenerate that comes during a turn is served behind it, and is not lost (D7)."""
    model = ScriptedModel([LOOK, "done", "otherwise"])
    chat = await house.open(looking(gate, model, when_busy="steer"))
    first = await chat.inbox.send_message(user("go"))
    await gate.reached.wait()
    again = await chat.inbox.regenerate()
    await chat.until_read(again)
    gate.opened.set()

    assert [(await chat.settled(sent)).status for sent in (first, again)] == ["completed", "completed"]
    assert await chat.texts() == [("user", "go"), ("assistant", "otherwise")]
