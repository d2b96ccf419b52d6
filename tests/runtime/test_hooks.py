"""The hooks: when they fire, what they see, and what they may change."""

from __future__ import annotations

from typing import Any

import pytest

from chatrt.agent import ChatAgent
from tests.runtime.driver import House, texts, user

HOOKS = (
    "on_boot",
    "on_validate_messages",
    "hydrate_messages",
    "on_chat_start",
    "on_turn_start",
    "prepare_messages",
    "run",
    "on_before_turn_complete",
    "on_turn_complete",
    "on_action",
)


def recording(*names: str, answer: Any = "answer") -> tuple[ChatAgent, list[str]]:
    """An agent whose hooks write down that they fired, and the list they write to."""
    fired: list[str] = []
    stored: list[Any] = []

    def hook(name: str):
        def fire(event):
            fired.append(name)
            match name:
                case "on_validate_messages" | "prepare_messages":
                    return event.messages
                case "hydrate_messages":
                    stored.extend(event.incoming_messages)
                    return [*event.previous_messages, *event.incoming_messages]
                case "run":
                    return answer
            return None

        return fire

    return ChatAgent("a", **{name: hook(name) for name in (*names, "run")}), fired


@pytest.mark.behaviour(3, 39)
async def test_order_of_a_fresh_turn(house: House):
    """The hooks of the first turn fire in the documented order."""
    agent, fired = recording(*HOOKS)
    chat = await house.open(agent)

    await chat.send("hi")

    assert fired == list(HOOKS[:-1])


async def test_a_later_turn_neither_boots_nor_starts_the_chat(house: House):
    """on_boot fires once per run and on_chat_start once per chat."""
    agent, fired = recording(*HOOKS)
    chat = await house.open(agent)
    await chat.send("one")
    fired.clear()

    await chat.send("two")

    assert fired == [name for name in HOOKS[:-1] if name not in ("on_boot", "on_chat_start")]


@pytest.mark.behaviour(40)
async def test_a_new_run_boots_and_does_not_start_the_chat_again(house: House):
    """After a restart on_boot fires again, on_chat_start does not."""
    agent, fired = recording("on_boot", "on_chat_start")
    chat = await house.open(agent)
    await chat.send("one")
    await house.crash()
    fired.clear()
    chat = await house.open(agent)

    await chat.send("two")

    assert fired == ["on_boot", "run"]


@pytest.mark.behaviour(145)
async def test_boot_knows_that_others_ran_before(house: House):
    """Continuation is false in a chat's first run and true later."""
    seen = []
    agent = ChatAgent("a", run=lambda turn: "x", on_boot=lambda event: seen.append(event.continuation))
    await (await house.open(agent)).send("one")
    await house.crash()

    await (await house.open(agent)).send("two")

    assert seen == [False, True]


async def test_chat_start_fires_with_the_first_turn_that_gets_so_far(house: House):
    """A first turn that fails before on_chat_start does not use it up (D19)."""
    started = []
    agent = ChatAgent(
        "a", client_data=int, run=lambda turn: "x", on_chat_start=lambda event: started.append(event.client_data)
    )
    chat = await house.open(agent)
    await chat.send("one", client_data="bad")

    await chat.send("two", client_data=2)

    assert started == [2]


async def test_a_regenerate_is_not_validated(house: House):
    """on_validate_messages is for messages that come in; a regenerate brings none."""
    agent, fired = recording("on_validate_messages")
    chat = await house.open(agent)
    await chat.send("one")
    fired.clear()

    await chat.regenerate()

    assert fired == ["run"]


@pytest.mark.behaviour(14)
async def test_an_action_fires_hydrate_and_on_action_only(house: House):
    """An action is no turn: none of a turn's hooks fire."""
    agent, fired = recording(*(name for name in HOOKS if name != "on_boot"))
    chat = await house.open(agent)

    await chat.act({"type": "x"})

    assert fired == ["hydrate_messages", "on_action"]


async def test_validate_replaces_the_message(house: House):
    """What on_validate_messages returns takes the place of what came in."""

    def validate(event):
        return [{**event.messages[0], "parts": [{"type": "text", "text": "clean"}]}]

    chat = await house.open(ChatAgent("a", run=lambda turn: "x", on_validate_messages=validate))

    await chat.send("dirty")

    assert (await chat.texts())[0] == ("user", "clean")


@pytest.mark.behaviour(21)
async def test_a_message_that_validate_refuses_is_kept(house: House):
    """When on_validate_messages raises, the turn fails and the message is in the history all the same."""

    def validate(event):
        raise ValueError("no")

    chat = await house.open(ChatAgent("a", run=lambda turn: "x", on_validate_messages=validate))

    turn = await chat.send("hi")

    assert (turn.status, await chat.texts()) == ("failed", [("user", "hi")])


@pytest.mark.behaviour(5)
async def test_hydrate_is_the_truth(house: House):
    """The model sees what hydrate_messages returns."""
    own = {"id": "s1", "role": "user", "parts": [{"type": "text", "text": "from my database"}]}
    seen = []

    def run(turn):
        seen.append(texts(turn.ui_messages))
        return "x"

    agent = ChatAgent("a", run=run, hydrate_messages=lambda event: [own, *event.incoming_messages])
    chat = await house.open(agent)

    await chat.send("hi")

    assert seen == [[("user", "from my database"), ("user", "hi")]]


@pytest.mark.behaviour(5)
async def test_hydrate_gets_the_one_incoming_message(house: House):
    """hydrate_messages is called once per turn with exactly the message that came in."""
    seen = []

    def hydrate(event):
        seen.append([message["id"] for message in event.incoming_messages])
        return [*event.previous_messages, *event.incoming_messages]

    chat = await house.open(ChatAgent("a", run=lambda turn: "x", hydrate_messages=hydrate))
    await chat.send("one", "u1")

    await chat.send("two", "u2")

    assert seen == [["u1"], ["u2"]]


@pytest.mark.behaviour(6)
async def test_new_messages_with_hydrate(house: House):
    """A fresh user message counts as new although the hook itself returned it."""
    seen = []
    agent = ChatAgent(
        "a",
        run=lambda turn: "x",
        hydrate_messages=lambda event: [*event.previous_messages, *event.incoming_messages],
        on_turn_complete=lambda event: seen.append(texts(event.new_ui_messages)),
    )
    chat = await house.open(agent)

    await chat.send("hi")

    assert seen == [[("user", "hi"), ("assistant", "x")]]


async def test_history_changes_before_run_are_seen_by_run(house: House):
    """A history mutation acts at once, in every hook (D1)."""

    def shorten(event):
        event.history.slice(-1)

    seen = []

    def run(turn):
        seen.append(len(turn.messages))
        return "x"

    chat = await house.open(ChatAgent("a", run=run, on_turn_start=shorten))
    await chat.send("one")

    await chat.send("two")

    assert seen == [1, 1]


async def test_history_changes_in_on_turn_complete_are_kept(house: House):
    """What on_turn_complete does to the history counts for the next turn and survives a restart."""

    def forget(event):
        event.history.set([])

    agent = ChatAgent("a", run=lambda turn: "x", on_turn_complete=forget)
    chat = await house.open(agent)
    await chat.send("one")
    await chat.send("two")
    await house.crash()

    chat = await house.open(agent)

    assert await chat.texts() == []


async def test_prepare_messages_changes_the_prompt_only(house: House):
    """What prepare_messages returns is shown to the model and not stored."""
    seen = []

    def prepare(event):
        return [{"role": "system", "content": "be brief"}, *event.messages]

    def run(turn):
        seen.append([message["role"] for message in turn.messages])
        return "x"

    chat = await house.open(ChatAgent("a", run=run, prepare_messages=prepare))

    await chat.send("hi")

    assert seen == [["system", "user"]]
    assert await chat.texts() == [("user", "hi"), ("assistant", "x")]


async def test_data_written_before_completion_is_part_of_the_answer(house: House):
    """on_before_turn_complete may still write; on_turn_complete sees it in the message."""
    seen = []

    def before(event):
        event.response.write({"type": "data-sources", "data": ["a"]})

    def complete(event):
        seen.append([part["type"] for part in event.response_message["parts"]])

    chat = await house.open(
        ChatAgent("a", run=lambda turn: "x", on_before_turn_complete=before, on_turn_complete=complete)
    )

    turn = await chat.send("hi")

    assert seen == [["text", "data-sources"]]
    assert turn.types[-2:] == ["data-sources", "finish"]


async def test_before_complete_that_raises_fails_the_turn(house: House):
    """When on_before_turn_complete raises, the turn fails; the answer a person saw stays (D21)."""

    def before(event):
        raise ValueError("no")

    chat = await house.open(ChatAgent("a", run=lambda turn: "x", on_before_turn_complete=before))

    turn = await chat.send("hi")

    assert (turn.status, await chat.texts()) == ("failed", [("user", "hi"), ("assistant", "x")])


async def test_turn_complete_fires_once_when_it_raises(house: House):
    """on_turn_complete is called exactly once; what it raises leaves the turn as it was (D5)."""
    calls = []

    def complete(event):
        calls.append(event.status)
        raise ValueError("no")

    chat = await house.open(ChatAgent("a", run=lambda turn: "x", on_turn_complete=complete))

    turn = await chat.send("hi")
    await chat.send("again")

    assert (turn.status, calls) == ("completed", ["completed", "completed"])


@pytest.mark.behaviour(20)
async def test_turn_complete_fires_after_a_failure(house: House):
    """A failed turn tells on_turn_complete what went wrong."""
    seen = []

    def run(turn):
        raise KeyError("x")

    def complete(event):
        seen.append((event.status, event.finish_reason, type(event.error), event.response_message))

    chat = await house.open(ChatAgent("a", run=run, on_turn_complete=complete))
    await chat.send("hi")
    await chat.send("hi again")

    assert seen[0] == ("failed", "error", KeyError, None)


async def test_the_event_has_the_cursor_of_its_messages(house: House):
    """last_seq is the turn-complete: reading on from there repeats nothing."""
    seen = []
    agent = ChatAgent("a", run=lambda turn: "x", on_turn_complete=lambda event: seen.append(event.last_seq))
    chat = await house.open(agent)
    first = await chat.send("hi")

    await chat.send("again")

    assert seen[0] == first.seq


async def test_data_written_at_turn_start_stand_first(house: House):
    """Data parts stand where they were written (D18)."""

    def start(event):
        event.response.write({"type": "data-plan", "data": 1})

    chat = await house.open(ChatAgent("a", run=lambda turn: "x", on_turn_start=start))

    await chat.send("hi")

    assert [part["type"] for part in (await chat.messages())[-1]["parts"]] == ["data-plan", "text"]


async def test_boot_that_fails_fails_the_turn_and_is_tried_again(house: House):
    """An on_boot that raises fails the turn at hand; the next turn boots anew."""
    attempts = []

    def boot(event):
        attempts.append(1)
        if len(attempts) == 1:
            raise ConnectionError("down")

    chat = await house.open(ChatAgent("a", run=lambda turn: "x", on_boot=boot))

    first = await chat.send("one")
    second = await chat.send("two")

    assert (first.status, second.status, len(attempts)) == ("failed", "completed", 2)


async def test_async_hooks_are_awaited(house: House):
    """A turn does not start before an async on_turn_start is done."""
    order = []

    async def start(event):
        order.append("start")

    async def run(turn):
        order.append("run")
        return "x"

    chat = await house.open(ChatAgent("a", run=run, on_turn_start=start))

    await chat.send("hi")

    assert order == ["start", "run"]


async def test_events_of_a_tool_answer_carry_the_same_message(house: House):
    """An answered tool call continues its message: on_turn_complete fires again with the same id."""
    message_ids = []

    async def run(turn):
        if turn.ui_messages[-1]["role"] == "assistant":
            yield {"type": "start-step"}
            yield {"type": "text-start", "id": "t"}
            yield {"type": "text-end", "id": "t"}
        else:
            yield {"type": "start-step"}
            yield {"type": "tool-input-available", "toolCallId": "c", "toolName": "ask", "input": {}}

    agent = ChatAgent("a", run=run, on_turn_complete=lambda event: message_ids.append(event.response_message["id"]))
    chat = await house.open(agent)
    turn = await chat.send("hi")

    await chat.answer(
        {"type": "tool-ask", "toolCallId": "c", "state": "output-available", "output": 1},
        message_id=turn.start["messageId"],
    )
    await chat.settled(await chat.inbox.send_message(user("next")))

    assert message_ids[0] == message_ids[1]
