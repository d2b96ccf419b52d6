"""Hooks that return garbage, forget to return, are cancelled, or change what is under their feet."""

from __future__ import annotations

import pytest

from chatrt.agent import ChatAgent
from chatrt.generate import stream_text
from chatrt.models import ScriptedModel
from chatrt.models.scripted import call, tool_call
from chatrt.tools import tool
from chatrt.turn import current_turn
from tests.runtime.driver import House, texts


@tool
async def ask_user(question: str) -> str:
    """Ask the person."""


def echo(**options) -> ChatAgent:
    return ChatAgent("a", run=lambda turn: turn.ui_messages[-1]["parts"][0]["text"], **options)


def said(role: str, text: str, message_id: str) -> dict:
    return {"id": message_id, "role": role, "parts": [{"type": "text", "text": text}]}


# --- what hooks return ---


@pytest.mark.parametrize("garbage", [None, "", {}, 0, "text", [{"id": "x"}], [None]])
async def test_what_hydrate_messages_returns_is_checked(house: House, garbage):
    """A hydrate_messages that returns no list of messages fails the turn; it does not empty the history."""
    given = [[said("user", "old", "u0")], garbage]
    chat = await house.open(echo(hydrate_messages=lambda event: given[event.turn]))
    await chat.send("one")

    turn = await chat.send("two", "u2")

    assert turn.status == "failed"
    assert [text for _, text in await chat.texts()] == ["old", "old", "two"]


async def test_an_empty_hydrated_history_is_one(house: House):
    """An empty list from hydrate_messages is an empty history."""
    chat = await house.open(ChatAgent("a", run=lambda turn: "hi", hydrate_messages=lambda event: []))

    await chat.send("one")

    assert await chat.texts() == [("assistant", "hi")]


async def test_a_validator_that_forgets_to_return_fails_the_turn(house: House):
    """An on_validate_messages that returns nothing fails the turn: the message is neither lost nor a regenerate."""
    chat = await house.open(echo(on_validate_messages=lambda event: event.messages if event.turn == 0 else None))
    await chat.send("one")

    turn = await chat.send("two")

    assert turn.status == "failed"
    assert [text for _, text in await chat.texts()] == ["one", "one", "two"]


async def test_a_validator_that_drops_the_message_takes_nothing_back(house: House):
    """When on_validate_messages drops the message, the history stays as it is."""
    chat = await house.open(
        ChatAgent(
            "a",
            run=lambda turn: None,
            on_before_turn_complete=lambda event: None,
            on_validate_messages=lambda event: [] if event.turn else event.messages,
            on_turn_start=lambda event: event.response.write({"type": "data-n", "data": event.turn}),
        )
    )
    await chat.send("one", "u1")
    before = await chat.messages()

    turn = await chat.send("two", "u2")

    assert turn.status == "completed"
    assert [message["id"] for message in await chat.messages()] == [message["id"] for message in before]


async def test_hydrated_messages_with_the_same_id(house: House):
    """Messages of one id in a hydrated history are all kept, and the answer is stored."""
    twice = [said("user", "a", "same"), said("user", "b", "same")]
    chat = await house.open(ChatAgent("a", run=lambda turn: "hi", hydrate_messages=lambda event: list(twice)))

    turn = await chat.send("one")

    assert turn.status == "completed"
    assert [text for _, text in await chat.texts()] == ["a", "b", "hi"]


# --- what hooks do to the history ---


@pytest.mark.parametrize("hook", ["on_turn_start", "on_before_turn_complete"])
@pytest.mark.parametrize("garbage", [{"id": "x", "role": "user"}, {"id": "x", "role": "user", "parts": [object()]}])
async def test_a_history_that_cannot_be_stored_fails_the_turn(house: House, hook: str, garbage):
    """A hook that puts what is no message into the history fails its turn; the chat goes on without it."""
    hooks = {hook: lambda event: event.history.append(garbage) if event.turn == 0 else None}
    chat = await house.open(ChatAgent("a", run=lambda turn: "hi", **hooks))

    first = await chat.send("one")
    second = await chat.send("two")

    assert (first.status, second.status) == ("failed", "completed")
    assert [text for role, text in await chat.texts() if role == "user"] == ["one", "two"]


async def test_a_history_that_cannot_be_stored_after_the_turn_is_dropped(house: House):
    """on_turn_complete cannot break a chat with what is no message: its change is logged and dropped."""
    chat = await house.open(echo(on_turn_complete=lambda event: event.history.append({"id": "x"})))
    await chat.send("one")

    turn = await chat.send("two")

    assert turn.status == "completed"
    assert [text for _, text in await chat.texts()] == ["one", "one", "two", "two"]


async def test_an_action_that_cannot_be_stored_fails(house: House):
    """An action that leaves what is no message in the history changes nothing (D20)."""
    chat = await house.open(echo(on_action=lambda event: event.history.set([{"id": "x", "role": "robot"}])))
    await chat.send("one")

    turn = await chat.act({"type": "break"})

    assert turn.status == "failed"
    assert [text for _, text in await chat.texts()] == ["one", "one"]


async def test_an_edit_of_the_answer_in_on_before_turn_complete_stays(house: House):
    """What on_before_turn_complete makes of the answer is what is stored (D1)."""
    completed = []

    def redact(event):
        answer = event.response_message
        event.history.replace(answer["id"], {**answer, "parts": [{"type": "text", "text": "***"}]})

    chat = await house.open(
        ChatAgent(
            "a",
            run=lambda turn: "secret",
            on_before_turn_complete=redact,
            on_turn_complete=lambda event: completed.append(texts([event.response_message])),
        )
    )

    await chat.send("hi")

    assert await chat.texts() == [("user", "hi"), ("assistant", "***")]
    assert completed == [[("assistant", "***")]]


async def test_an_edited_answer_still_takes_late_data_parts(house: House):
    """Data parts written after the answer was edited are added to the edited answer."""

    def edit(event):
        answer = event.response_message
        event.history.replace(answer["id"], {**answer, "parts": [{"type": "text", "text": "***"}]})
        event.response.write({"type": "data-note", "data": 1})

    chat = await house.open(ChatAgent("a", run=lambda turn: "secret", on_before_turn_complete=edit))

    await chat.send("hi")

    assert (await chat.messages())[-1]["parts"] == [{"type": "text", "text": "***"}, {"type": "data-note", "data": 1}]


async def test_an_answer_removed_in_on_before_turn_complete_stays_away(house: House):
    """When on_before_turn_complete removes the answer, late data parts do not bring it back."""

    def remove(event):
        event.response.write({"type": "data-note", "data": 1})
        event.history.remove(event.response_message["id"])

    chat = await house.open(ChatAgent("a", run=lambda turn: "secret", on_before_turn_complete=remove))

    turn = await chat.send("hi")

    assert await chat.texts() == [("user", "hi")]
    assert "messageId" not in turn.complete


async def test_an_edit_of_the_continued_message_stays(house: House):
    """What on_turn_start makes of the message that is continued stays; the continuation is added to it."""
    model = ScriptedModel([call(tool_call("ask_user", {"question": "Why?"})), "thanks"])

    def mark(event):
        last = event.history.all()[-1]
        if last["role"] == "assistant":
            event.history.replace(last["id"], {**last, "metadata": {"marked": True}})

    agent = ChatAgent(
        "a",
        tools=[ask_user],
        run=lambda turn: stream_text(model, turn.messages, tools=turn.tools),
        on_turn_start=mark,
    )
    chat = await house.open(agent)
    first = await chat.send("hi")

    await chat.answer(
        {"type": "tool-ask_user", "toolCallId": "call_1", "state": "output-available", "output": "so"},
        message_id=first.start["messageId"],
    )

    last = (await chat.messages())[-1]
    assert last["metadata"] == {"marked": True}
    assert [part["type"] for part in last["parts"]] == ["step-start", "tool-ask_user", "step-start", "text"]


async def test_the_continued_message_is_removed(house: House):
    """When a hook removes the message that is continued, the answer is stored all the same."""
    model = ScriptedModel([call(tool_call("ask_user", {"question": "Why?"})), "thanks"])
    agent = ChatAgent(
        "a",
        tools=[ask_user],
        run=lambda turn: stream_text(model, turn.messages, tools=turn.tools),
        on_turn_start=lambda event: event.history.slice(0, 1),
    )
    chat = await house.open(agent)
    first = await chat.send("hi")

    turn = await chat.answer(
        {"type": "tool-ask_user", "toolCallId": "call_1", "state": "output-available", "output": "so"},
        message_id=first.start["messageId"],
    )

    assert turn.status == "completed"
    assert await chat.texts() == [("user", "hi"), ("assistant", "thanks")]


async def test_every_hook_may_change_the_history_and_a_crash_keeps_it(house: House):
    """What every hook did to the history is there after a crash, in the order of the hooks."""

    def note(name):
        def hook(event):
            event.history.append(said("system", name, name))
            return event.messages if name == "validate" else None

        return hook

    agent = ChatAgent(
        "a",
        run=lambda turn: turn.history.append(said("system", "run", "run")) or "hi",
        on_boot=note("boot"),
        on_validate_messages=note("validate"),
        on_chat_start=note("chat-start"),
        on_turn_start=note("turn-start"),
        on_before_turn_complete=note("before"),
        on_turn_complete=note("complete"),
    )
    chat = await house.open(agent)
    await chat.send("one")
    await chat.inbox.stop()
    await house.crash()
    chat = await house.open(agent)

    assert [text for _, text in await chat.texts()][:8] == [
        "boot", "validate", "one", "chat-start", "turn-start", "run", "hi", "before",
    ]  # fmt: skip


async def test_lists_on_events_are_the_hooks_own(house: House):
    """A hook that changes a list it was given changes nothing else."""

    def spoil(event):
        event.ui_messages.clear()
        if hasattr(event, "new_ui_messages"):
            event.new_ui_messages.clear()

    agent = echo(on_turn_start=spoil, on_before_turn_complete=spoil, on_turn_complete=spoil, on_chat_start=spoil)
    chat = await house.open(agent)
    await chat.send("one")

    assert [text for _, text in await chat.texts()] == ["one", "one"]


async def test_the_prompt_has_what_hooks_changed_after_they_read_it(house: House):
    """A hook that reads the prompt early does not freeze it: run sees what on_turn_start made of the history."""
    seen = []

    def start(event):
        assert current_turn().messages
        event.history.append(said("user", "more", "m"))

    agent = ChatAgent("a", run=lambda turn: seen.append(len(turn.messages)), on_turn_start=start)
    chat = await house.open(agent)
    await chat.send("one")

    assert seen == [2]
