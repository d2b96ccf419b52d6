"""A turn whose first step another process makes: what is relayed, and when hooks fire."""

from __future__ import annotations

from typing import Any

import pytest

from chatrt.models import Usage
from tests.runtime.driver import Gate, House, user
from tests.runtime.head_starts import ANSWER, Warm, begun, watched

# --- a whole answer


@pytest.mark.behaviour(111, 141, 169)
async def test_a_whole_answer_is_taken_over_without_run(house: House):
    """A final handover fires every hook of a turn but prepare_messages, and run is not called."""
    fired: list[str] = []
    chat = await house.open(watched(fired))
    warm = await Warm.start(chat)
    await warm.says(begun("from ", "warm"))
    await warm.hands_over(final=True)

    turn = await warm.settled()
    await chat.send("next")

    assert fired[: fired.index("run")][:6] == [
        "on_boot",
        "on_validate_messages",
        "on_chat_start",
        "on_turn_start",
        "on_before_turn_complete",
        "on_turn_complete",
    ]
    assert (turn.text, turn.status) == ("from warm", "completed")


@pytest.mark.behaviour(111)
async def test_the_answer_has_the_id_it_was_begun_with(house: House):
    """The message in the history, the response of the hooks and the `turn-complete` have the id of the first step."""
    seen: list[Any] = []
    chat = await house.open(watched([], on_turn_complete=seen.append))
    warm = await Warm.start(chat)
    await warm.says(begun("from warm"))
    await warm.hands_over(final=True)

    turn = await warm.settled()
    await chat.send("next")

    assert turn.complete["messageId"] == turn.start["messageId"] == ANSWER
    assert (seen[0].response_message["id"], seen[0].finish_reason) == (ANSWER, "stop")
    assert (await chat.messages())[1]["id"] == ANSWER


@pytest.mark.behaviour(37)
async def test_the_question_is_part_of_the_history(house: House):
    """The chat begins with the message it was begun with, and the answer behind it."""
    chat = await house.open(watched([]))
    warm = await Warm.start(chat, "what is new?")
    await warm.says(begun("nothing"))
    await warm.hands_over(final=True)

    await warm.settled()

    assert await chat.texts() == [("user", "what is new?"), ("assistant", "nothing")]


@pytest.mark.behaviour(122)
async def test_hooks_see_the_answer_in_the_history(house: House):
    """When a turn starts behind a head start, the history holds the question and what was said."""
    seen: list[Any] = []
    agent = watched([], on_turn_start=lambda event: seen.extend(message["id"] for message in event.ui_messages))
    chat = await house.open(agent)
    warm = await Warm.start(chat)
    await warm.says(begun("from warm"))
    await warm.hands_over(final=True)

    await warm.settled()

    assert seen == ["u1", ANSWER]


async def test_the_usage_of_the_step_counts(house: House):
    """What the first step used is the turn's usage, and part of the session's total (D10)."""
    seen: list[Any] = []
    chat = await house.open(watched([], on_turn_complete=seen.append))
    warm = await Warm.start(chat)
    await warm.says(begun("from warm"))
    await warm.hands_over(final=True, usage=Usage(input_tokens=7, output_tokens=2).to_json())

    await warm.settled()
    await chat.send("next")

    assert (seen[0].usage.input_tokens, seen[-1].total_usage.output_tokens) == (7, 2)


async def test_a_cut_answer_says_so(house: House):
    """The finish reason of the step is that of the turn."""
    chat = await house.open(watched([]))
    warm = await Warm.start(chat)
    await warm.says(begun("from wa"))
    await warm.hands_over(final=True, reason="length")

    assert (await warm.settled()).complete["finishReason"] == "length"


@pytest.mark.behaviour(113)
async def test_reasoning_survives(house: House):
    """Reasoning and what the provider attached to it are in the stored answer."""
    signed = {"anthropic": {"signature": "s"}}
    chat = await house.open(watched([]))
    warm = await Warm.start(chat)
    await warm.says(
        [
            *begun("x")[:2],
            {"type": "reasoning-start", "id": "r"},
            {"type": "reasoning-delta", "id": "r", "delta": "hm"},
            {"type": "reasoning-end", "id": "r", "providerMetadata": signed},
            *begun("so")[2:],
        ]
    )
    await warm.hands_over(final=True)

    await warm.settled()

    part = (await chat.messages())[1]["parts"][1]
    assert (part["type"], part["text"], part["providerMetadata"], part["state"]) == ("reasoning", "hm", signed, "done")


# --- relaying


async def test_chunks_are_on_the_log_before_the_handover(house: House):
    """What is relayed is read on `.out` at once, behind one `turn-start` that says so."""
    chat = await house.open(watched([]))
    warm = await Warm.start(chat)
    await warm.says(begun("from ", done=False))
    await chat.until(lambda chunk: chunk.get("delta") == "from ")

    await warm.says([{"type": "text-delta", "id": "t", "delta": "warm"}, *begun()[-2:]])
    await warm.hands_over(final=True)

    turn = await warm.settled()
    assert turn.start == {"inSeq": 1, "trigger": "message", "messageId": ANSWER, "headStart": True}
    assert turn.chunks == [*begun("from ", "warm"), {"type": "finish", "finishReason": "stop"}]


async def test_a_batch_that_comes_twice_counts_once(house: House):
    """Each batch says where it begins, so that a repeat adds nothing."""
    chat = await house.open(watched([]))
    warm = await Warm.start(chat)
    chunks: Any = begun("once")
    await chat.inbox.relay_chunks(1, 0, chunks[:4])
    await chat.inbox.relay_chunks(1, 0, chunks)
    await warm.hands_over(final=True)

    assert (await warm.settled()).text == "once"


@pytest.mark.parametrize(
    "chunks",
    [
        [{"type": "text-start", "id": "t"}],
        [{"type": "start", "messageId": "another"}],
        [*begun("x"), {"type": "data-note", "data": 1}],
        [*begun("x"), {"type": "error", "errorText": "x"}],
        [*begun("x"), {"type": "text-delta", "id": "nobody", "delta": "x"}],
        [*begun("x"), {"type": "tool-approval-request", "approvalId": "a", "toolCallId": "c"}],
        [*begun("x"), {"type": "nonsense"}],
    ],
)
async def test_only_what_a_step_says_is_relayed(house: House, chunks: list[Any]):
    """Chunks that no model step makes are not taken over: the run answers by itself."""
    chat = await house.open(watched([]))
    warm = await Warm.start(chat)
    await warm.says(chunks)
    await warm.hands_over(final=True)

    await warm.settled()

    assert await chat.texts() == [("user", "hi"), ("assistant", "from run")]


async def test_a_gap_is_not_taken_over(house: House):
    """When a batch is missing, the run answers by itself."""
    chat = await house.open(watched([]))
    warm = await Warm.start(chat)
    chunks: Any = begun("from warm")
    await chat.inbox.relay_chunks(1, 1, chunks[1:])
    await warm.hands_over(final=True)

    await warm.settled()

    assert (await chat.texts())[1] == ("assistant", "from run")


async def test_a_page_that_loads_sees_the_question(house: House):
    """While the first step is made, whoever loads the chat gets the question, and the words from `.out`."""
    chat = await house.open(watched([]))
    warm = await Warm.start(chat, "what is new?")
    await warm.says(begun("from ", done=False))
    await chat.until(lambda chunk: chunk.get("delta") == "from ")

    state = await chat.session.load()

    assert ([message["id"] for message in state.messages], state.pending, state.status) == (["u1"], [], "running")


async def test_a_message_behind_many_batches_is_shown_as_waiting(house: House):
    """However much was relayed, a message that waits behind it is told to whoever loads the chat."""
    chat = await house.open(watched([]))
    warm = await Warm.start(chat)
    for _ in range(120):
        await warm.says([])
    await warm.says(begun("x", done=False))
    await chat.until(lambda chunk: chunk.get("delta") == "x")
    await chat.inbox.send_message(user("next", "u2"))

    state = await chat.session.load()

    assert [waiting.message["id"] for waiting in state.pending] == ["u2"]


# --- when hooks fire


@pytest.mark.behaviour(116)
async def test_nothing_fires_before_the_handover(house: House):
    """Until the step is handed over only on_boot has fired; on_preload never does."""
    fired: list[str] = []
    chat = await house.open(watched(fired))
    warm = await Warm.start(chat)
    await warm.says(begun("from warm"))
    await chat.until(lambda chunk: chunk["type"] == "finish-step")
    before = list(fired)

    await warm.hands_over(final=True)
    await warm.settled()

    assert (before, "on_preload" in fired, "on_turn_start" in fired) == (["on_boot"], False, True)


async def test_a_slow_boot_keeps_nothing_back(house: House, gate: Gate):
    """What is said while on_boot still runs is taken over when it is done."""
    chat = await house.open(watched([], on_boot=lambda event: gate.wait()))
    warm = await Warm.start(chat)
    await warm.says(begun("from warm"))
    await warm.hands_over(final=True)
    await gate.reached.wait()
    gate.opened.set()

    assert (await warm.settled()).text == "from warm"


@pytest.mark.behaviour(114)
async def test_hydrate_is_given_the_first_message(house: House):
    """With hydrate_messages the hook gets the question, and the answer stands behind what it returns."""
    incoming: list[Any] = []
    seen: list[Any] = []

    def hydrate(event: Any) -> list[Any]:
        incoming.extend(event.incoming_messages)
        return [*event.previous_messages, *event.incoming_messages]

    agent = watched([], hydrate_messages=hydrate, on_turn_complete=lambda event: seen.append(event.ui_messages))
    chat = await house.open(agent)
    warm = await Warm.start(chat)
    await warm.says(begun("from warm"))
    await warm.hands_over(final=True)
    await warm.settled()
    await chat.send("next")

    assert [message["id"] for message in incoming][:1] == ["u1"]
    assert [(message["role"], message["id"]) for message in seen[0]] == [("user", "u1"), ("assistant", ANSWER)]


@pytest.mark.behaviour(123)
async def test_an_answer_that_is_hydrated_already_is_not_doubled(house: House):
    """When the application's own history has the answer by its id, it stays one message."""
    stored: Any = {"id": ANSWER, "role": "assistant", "parts": [{"type": "text", "text": "from"}]}
    agent = watched([], hydrate_messages=lambda event: [*event.incoming_messages, stored])
    chat = await house.open(agent)
    warm = await Warm.start(chat)
    await warm.says(begun("from warm"))
    await warm.hands_over(final=True)

    await warm.settled()

    assert await chat.texts() == [("user", "hi"), ("assistant", "from warm")]


async def test_what_a_hook_makes_of_the_answer_stays(house: House):
    """An edit of on_turn_start is not undone by the end of the turn (D1)."""
    edited: Any = {"id": ANSWER, "role": "assistant", "parts": [{"type": "text", "text": "edited"}]}
    agent = watched([], on_turn_start=lambda event: event.history.replace(ANSWER, edited))
    chat = await house.open(agent)
    warm = await Warm.start(chat)
    await warm.says(begun("from warm"))
    await warm.hands_over(final=True)

    await warm.settled()

    assert (await chat.texts())[1] == ("assistant", "edited")


async def test_a_hook_that_raises_fails_the_turn_and_keeps_the_answer(house: House):
    """What a person has seen stays in the history when on_turn_start fails (D21)."""

    def broken(event: Any) -> None:
        raise RuntimeError("broken")

    chat = await house.open(watched([], on_turn_start=broken))
    warm = await Warm.start(chat)
    await warm.says(begun("from warm"))
    await warm.hands_over(final=True)

    turn = await warm.settled()

    assert turn.status == "failed"
    assert await chat.texts() == [("user", "hi"), ("assistant", "from warm")]
