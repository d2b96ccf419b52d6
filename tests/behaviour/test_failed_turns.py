"""What is left of a turn that failed, and who is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chatrt.agent import ChatAgent
from tests.runtime.driver import Gate, House, texts, user


def raising(event: Any) -> Any:
    raise KeyError("x")


def half(*chunks: dict[str, Any]):
    """A run that says "half" on its first turn and fails then, and tells later what it was shown."""
    seen: list[Any] = []

    async def run(turn):
        if turn.number:
            seen.append([message["content"] for message in turn.messages])
            return
        for chunk in chunks:
            yield chunk
        yield {"type": "text-start", "id": "t"}
        yield {"type": "text-delta", "id": "t", "delta": "half"}
        raise KeyError("x")

    return run, seen


async def failed(house: House, **options: Any) -> tuple[Any, list[Any]]:
    """Send a message to an agent that fails on it, then another, and return the chat and the first turn's events."""
    events: list[Any] = []
    agent = ChatAgent("a", **{"run": lambda turn: "x", "on_turn_complete": events.append, **options})
    chat = await house.open(agent)
    await chat.send("hi", "u1")
    before = await chat.messages()
    await chat.send("next")  # by its end the hook of the turn before has fired
    return before, [event for event in events if event.turn == 0]


@pytest.mark.behaviour(20, 21)
@pytest.mark.parametrize(
    "where",
    [
        "tools",
        "on_boot",
        "on_validate_messages",
        "hydrate_messages",
        "on_chat_start",
        "on_turn_start",
        "prepare_messages",
        "run",
    ],
)
async def test_the_message_of_a_failed_turn_is_kept_and_told(house: House, where: str):
    """Wherever a turn fails before it says anything, its message is stored and on_turn_complete is told once."""
    stored, events = await failed(house, **{where: raising})

    assert texts(stored) == [("user", "hi")]
    assert [(event.status, event.finish_reason, type(event.error)) for event in events] == [
        ("failed", "error", KeyError)
    ]
    assert (events[0].response_message, texts(events[0].new_ui_messages)) == (None, [("user", "hi")])


@pytest.mark.behaviour(21)
async def test_unfit_client_data_keep_the_message(house: House):
    """A turn whose client data do not fit tells on_turn_complete what came in."""
    stored, events = await failed(house, client_data=int)

    assert texts(stored) == [("user", "hi")]
    assert [(event.status, event.client_data) for event in events] == [("failed", None)]
    assert texts(events[0].new_ui_messages) == [("user", "hi")]


@pytest.mark.behaviour(126)
async def test_the_partial_answer_is_told(house: House):
    """A stream that breaks in the middle leaves its words, with the error, to on_turn_complete."""
    run, _ = half()

    stored, events = await failed(house, run=run)

    assert [(event.status, type(event.error)) for event in events] == [("failed", KeyError)]
    assert texts(events[0].new_ui_messages) == [("user", "hi"), ("assistant", "half")]
    assert events[0].response_message == stored[-1]


@pytest.mark.behaviour(127)
async def test_the_partial_answer_is_in_the_next_prompt(house: House):
    """The model is shown what was said before the failure."""
    run, prompts = half()

    await failed(house, run=run)

    assert prompts[0][1] == [{"type": "text", "text": "half"}]
    assert len(prompts[0]) == 3


@pytest.mark.behaviour(131)
async def test_data_parts_are_part_of_the_partial_answer(house: House):
    """Data that were written before the failure stay in the message."""
    run, _ = half({"type": "data-plan", "id": "p", "data": 1})

    stored, _ = await failed(house, run=run)

    assert [part["type"] for part in stored[-1]["parts"]] == ["data-plan", "text"]


@pytest.mark.behaviour(128)
async def test_a_late_failure_keeps_the_enriched_answer(house: House):
    """When on_before_turn_complete raises after it has written, the answer with what it wrote stays."""

    def before(event):
        event.response.write({"type": "data-sources", "data": ["a"]})
        raise KeyError("x")

    stored, events = await failed(house, on_before_turn_complete=before)

    assert [part["type"] for part in stored[-1]["parts"]] == ["text", "data-sources"]
    assert (events[0].status, events[0].response_message) == ("failed", stored[-1])


@pytest.mark.behaviour(128)
async def test_on_turn_complete_cannot_spoil_an_answer(house: House):
    """When on_turn_complete raises, the stored answer is the whole one."""
    chat = await house.open(ChatAgent("a", run=lambda turn: "whole", on_turn_complete=raising))

    turn = await chat.send("hi")

    assert turn.status == "completed"
    assert await chat.texts() == [("user", "hi"), ("assistant", "whole")]


@pytest.mark.behaviour(129)
async def test_a_fragment_under_a_known_id_harms_no_message(house: House):
    """A stream that names an earlier message and breaks gets an id of the server's; the earlier message stays."""

    async def run(turn):
        known = turn.ui_messages[1]["id"] if turn.number else "own"
        yield {"type": "start", "messageId": known}
        yield {"type": "text-start", "id": "t"}
        yield {"type": "text-delta", "id": "t", "delta": f"words {turn.number}"}
        if turn.number:
            raise KeyError("x")

    chat = await house.open(ChatAgent("a", run=run))
    await chat.send("one")

    await chat.send("two")

    assert [text for _, text in await chat.texts()] == ["one", "words 0", "two", "words 1"]
    assert len({message["id"] for message in await chat.messages()}) == 4


@pytest.mark.behaviour(81)
@pytest.mark.parametrize(
    "hook", ["on_validate_messages", "on_turn_start", "on_before_turn_complete", "on_turn_complete"]
)
async def test_a_hook_that_raises_serves_nothing_twice(house: House, gate: Gate, hook: str):
    """A message that waited behind a turn in which a hook raised is served once."""

    async def fire(event):
        if event.turn == 0:
            await gate.wait()
            raise KeyError("x")
        return getattr(event, "messages", None)

    chat = await house.open(ChatAgent("a", run=lambda turn: "ok", **{hook: fire}))
    await chat.inbox.send_message(user("one"))
    await gate.reached.wait()
    last = await chat.inbox.send_message(user("two"))
    gate.opened.set()
    await chat.settled(last)
    third = await chat.send("three")

    batches = [batch async for batch in chat.session.outbox.read(live=False)]
    completes = [record for batch in batches for record in batch if record.kind == "turn-complete"]
    served = [json.loads(record.body)["inSeq"] for record in completes]
    assert served == sorted(set(served))
    assert [text for _, text in await chat.texts()][-4:] == ["two", "ok", "three", "ok"]
    assert third.start["inSeq"] == 3
