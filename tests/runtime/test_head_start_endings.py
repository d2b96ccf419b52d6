"""A first step that is not taken over, or not to its end: skips, silence, stops, and inputs behind it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chatrt.agent import ChatAgent
from chatrt.clock import ManualClock
from chatrt.generate import stream_text
from chatrt.models import ScriptedModel
from chatrt.run_control import current_run
from chatrt.tools import tool
from tests.runtime.driver import Gate, House, user
from tests.runtime.head_starts import ANSWER, Warm, begun, called, counting, outcomes, search, watched

# --- nothing to take over


@pytest.mark.behaviour(110, 170)
async def test_a_skip_lets_the_run_answer(house: House):
    """When there is nothing to take over the run answers from the beginning, with all hooks."""
    fired: list[str] = []
    chat = await house.open(watched(fired))
    warm = await Warm.start(chat)
    await warm.skips()

    turn = await warm.settled()

    assert (turn.text, turn.types[0], turn.types.count("start"), "on_turn_start" in fired) == (
        "from run",
        "start",
        1,
        True,
    )
    assert await chat.texts() == [("user", "hi"), ("assistant", "from run")]


async def test_what_was_relayed_is_taken_back(house: House):
    """A skip behind some words takes them back for every reader: what is stored is the run's answer alone."""
    chat = await house.open(watched([]))
    warm = await Warm.start(chat)
    await warm.says(begun("from wa", done=False))
    await warm.skips()

    turn = await warm.settled()

    assert turn.types[:6] == ["start", "start-step", "text-start", "text-delta", "text-end", "reset-step"]
    assert (turn.types.count("start"), await outcomes(chat)) == (1, ["discarded"])
    assert await chat.texts() == [("user", "hi"), ("assistant", "from run")]


async def test_an_empty_step_is_nothing_to_take_over(house: House):
    """A handover of a step that said nothing lets the run answer."""
    chat = await house.open(watched([]))
    warm = await Warm.start(chat)
    await warm.hands_over(final=True)

    assert (await warm.settled()).text == "from run"


@pytest.mark.behaviour(117)
async def test_silence_lets_the_run_answer(house: House):
    """When nothing is said for the agent's head_start_timeout, the run answers from the beginning."""
    clock = ManualClock()
    chat = await house.open(watched([], head_start_timeout=20.0), clock=clock)
    warm = await Warm.start(chat)
    await warm.says(begun("from wa", done=False))
    cursor = await chat.until(lambda chunk: chunk.get("delta") == "from wa")

    clock.advance(20.0)

    await chat.until(lambda chunk: chunk.get("delta") == "from run", after=cursor)
    assert (await warm.settled()).status == "completed"
    assert await chat.texts() == [("user", "hi"), ("assistant", "from run")]


async def test_a_sign_of_life_is_enough(house: House):
    """An empty batch says that the step is still being made."""
    clock = ManualClock()
    chat = await house.open(watched([], head_start_timeout=20.0), clock=clock)
    warm = await Warm.start(chat)
    await warm.says(begun("from ", done=False))
    await chat.until(lambda chunk: chunk.get("delta") == "from ")
    clock.advance(15.0)
    await chat.until_read(await chat.inbox.relay_chunks(1, warm.relayed, []))
    work: Any = chat.sessions._runs[chat.session.key]._arrivals._at_hand
    while work._said:
        await asyncio.sleep(0)
    clock.advance(15.0)
    await warm.says([{"type": "text-delta", "id": "t", "delta": "warm"}, *begun()[-2:]])
    await warm.hands_over(final=True)

    assert (await warm.settled()).text == "from warm"


async def test_what_comes_too_late_changes_nothing(house: House):
    """What is relayed behind the seam is passed, and the chat goes on."""
    chat = await house.open(watched([]))
    warm = await Warm.start(chat)
    await warm.skips()
    await warm.settled()

    await warm.says(begun("late"))
    await warm.hands_over(final=True)
    await chat.send("next")

    assert [text for _, text in await chat.texts()] == ["hi", "from run", "next", "from run"]


async def test_an_edited_message_voids_the_head_start(house: House, gate: Gate):
    """A message that was changed while it waited is answered by the run: the first step answers other words."""

    async def run(turn: Any) -> str:
        await gate.wait()
        return f"to {turn.ui_messages[-1]['parts'][0]['text']}"

    chat = await house.open(ChatAgent("a", run=run))
    await chat.inbox.send_message(user("first", "u0"))
    await gate.reached.wait()
    warm = await Warm.start(chat, "old words")
    await warm.says(begun("to old words"))
    await warm.hands_over(final=True)
    await chat.inbox.edit_pending(warm.sent.seq, user("new words"))
    await chat.until_read(await chat.inbox.stop(in_seq=99))
    gate.opened.set()

    assert (await warm.settled()).text == "to new words"


# --- stop


async def test_a_stop_keeps_what_was_said(house: House):
    """A stop while the step is made ends the turn: the words stay, run is not called, hooks are told."""
    fired: list[str] = []
    chat = await house.open(watched(fired))
    warm = await Warm.start(chat)
    await warm.says(begun("from wa", done=False))
    await chat.until(lambda chunk: chunk.get("delta") == "from wa")

    await chat.inbox.stop()

    turn = await warm.settled()
    assert (turn.status, turn.types[-2:], await outcomes(chat)) == ("stopped", ["text-end", "abort"], ["stopped"])
    assert await chat.texts() == [("user", "hi"), ("assistant", "from wa")]
    assert "on_turn_start" in fired
    assert "run" not in fired


async def test_a_stop_before_the_first_word(house: House):
    """A stop before anything was said leaves the question and nothing else."""
    chat = await house.open(watched([]))
    warm = await Warm.start(chat)
    await chat.inbox.stop()

    assert (await warm.settled()).status == "stopped"
    assert await chat.texts() == [("user", "hi")]


async def test_a_stop_while_calls_are_carried_out(house: House, gate: Gate):
    """A call that had started when the turn was stopped says that it was interrupted (D8)."""

    @tool
    async def slow() -> str:
        """Take long."""
        await gate.wait()
        return "done"

    chat = await house.open(counting(ScriptedModel(["never"]), slow))
    warm = await Warm.start(chat)
    await warm.says(called(("slow", {})))
    await warm.hands_over(final=False)
    await gate.reached.wait()

    await chat.inbox.stop()

    assert (await warm.settled()).status == "stopped"
    assert (await chat.messages())[1]["parts"][-1]["errorText"] == "interrupted"


# --- with other inputs


async def test_messages_behind_a_head_start_wait_for_their_turn(house: House):
    """A message that arrives while the step is made is answered next, and is not put into this turn."""
    chat = await house.open(watched([], when_busy="steer"))
    warm = await Warm.start(chat)
    await warm.says(begun("from ", done=False))
    second = await chat.inbox.send_message(user("second", "u2"))
    await warm.says([{"type": "text-delta", "id": "t", "delta": "warm"}, *begun()[-2:]])
    await warm.hands_over(final=True)

    await chat.settled(second)

    assert [text for _, text in await chat.texts()] == ["hi", "from warm", "second", "from run"]


async def test_a_write_from_elsewhere_waits_for_the_seam(house: House):
    """Data that somebody else writes into the answer stand behind what was relayed, never between."""
    chat = await house.open(watched([]))
    warm = await Warm.start(chat)
    await warm.says(begun("from ", done=False))
    await chat.until(lambda chunk: chunk.get("delta") == "from ")
    await chat.until_read(await chat.inbox.write([{"type": "data-note", "id": "n", "data": 1}]))
    await warm.says([{"type": "text-delta", "id": "t", "delta": "warm"}, *begun()[-2:]])
    await warm.hands_over(final=True)

    turn = await warm.settled()

    assert turn.types[-3:] == ["finish-step", "data-note", "finish"]
    assert [part["type"] for part in (await chat.messages())[1]["parts"]] == ["step-start", "text", "data-note"]


async def test_an_upgrade_leaves_the_answer_to_the_next_run(house: House):
    """Newer code that was asked for before run is called goes on with the calls, and nothing is said twice."""
    upgraded: list[bool] = []

    def upgrade(event: Any) -> None:
        if not upgraded:
            upgraded.append(True)
            current_run().request_upgrade()

    model = ScriptedModel(["it is so"])
    chat = await house.open(counting(model, search, on_turn_start=upgrade))
    warm = await Warm.start(chat)
    await warm.says(called(("search", {"query": "x"})))
    await warm.hands_over(final=False)

    turn = await warm.settled()

    assert (turn.status, turn.types.count("start"), turn.text) == ("completed", 1, "let me see" + "it is so")
    assert [message["id"] for message in await chat.messages()] == ["u1", ANSWER]


async def test_what_a_hook_injects_waits_for_the_next_prompt(house: House):
    """Behind a whole answer no prompt is made: what on_turn_start injects stands in that of the next turn."""
    model = ScriptedModel(["fine"])

    def inject_once(event: Any) -> None:
        if event.turn == 0:
            current_run().inject([{"role": "user", "content": [{"type": "text", "text": "be kind"}]}])

    chat = await house.open(counting(model, on_turn_start=inject_once))
    warm = await Warm.start(chat)
    await warm.says(begun("from warm"))
    await warm.hands_over(final=True)
    await warm.settled()

    await chat.send("next")

    said = [part["text"] for row in model.requests[0].messages for part in row["content"]]
    assert said == ["hi", "from warm", "next", "be kind"]


# --- with a loop of one's own


def looping(seen: list[Any], model: ScriptedModel) -> ChatAgent:
    """An agent that is served by a loop, and what its turns are shown."""

    async def loop(session: Any) -> None:
        async for turn in session.turns():
            seen.append([message["role"] for message in turn.messages])
            await turn.complete(stream_text(model, turn.messages, tools=turn.tools))

    return ChatAgent("a", tools=[search], serve=loop)


@pytest.mark.behaviour(119, 124)
async def test_a_loop_is_not_asked_for_a_whole_answer(house: House):
    """A whole answer is settled as it is, without the loop and its model."""
    seen: list[Any] = []
    chat = await house.open(looping(seen, ScriptedModel([])))
    warm = await Warm.start(chat)
    await warm.says(begun("from warm"))
    await warm.hands_over(final=True)

    turn = await warm.settled()

    assert (turn.status, seen) == ("completed", [])
    assert await chat.texts() == [("user", "hi"), ("assistant", "from warm")]


@pytest.mark.behaviour(120, 125)
async def test_a_loop_goes_on_behind_the_calls(house: House):
    """The call is carried out before the loop is handed the turn, and what it completes it with stands behind."""
    seen: list[Any] = []
    chat = await house.open(looping(seen, ScriptedModel(["it is so"])))
    warm = await Warm.start(chat)
    await warm.says(called(("search", {"query": "x"})))
    await warm.hands_over(final=False)

    turn = await warm.settled()

    assert (turn.status, seen) == ("completed", [["user", "assistant", "tool"]])
    assert [message["id"] for message in await chat.messages()] == ["u1", ANSWER]


@pytest.mark.behaviour(118)
async def test_a_loop_answers_what_was_skipped(house: House):
    """When there is nothing to take over the loop is handed the turn as if there had been no head start."""
    seen: list[Any] = []
    chat = await house.open(looping(seen, ScriptedModel(["from the loop"])))
    warm = await Warm.start(chat)
    await warm.skips()

    assert ((await warm.settled()).text, seen) == ("from the loop", [["user"]])
