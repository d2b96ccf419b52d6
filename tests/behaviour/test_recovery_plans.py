"""What an application is asked when a dead run left part of an answer, and what it may plan."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chatrt.agent import ChatAgent
from chatrt.events import PendingToolCall, RecoveryPlan
from chatrt.stores import Appended
from tests.behaviour.crashes import crashed, left_behind, message, saying, text
from tests.runtime.driver import Chat, Gate, House, texts, user

CALL = {"type": "tool-input-available", "toolCallId": "c", "toolName": "pay", "input": {"amount": 5}}


async def recovered(
    house: House, gate: Gate, agent: ChatAgent, *waiting: str, last: str = "text-end"
) -> tuple[Chat, list[Appended]]:
    """Crash in the answer to "one" while other messages wait, and open the chat again."""
    chat = await house.open(agent)
    sent = [await chat.inbox.send_message(user("one", "u1"))]
    sent += [await chat.inbox.send_message(user(words, f"u{index}")) for index, words in enumerate(waiting, 2)]
    await crashed(house, chat, gate, last=last)
    return await house.open(agent), sent


@pytest.mark.behaviour(45, 48)
async def test_without_a_partial_answer_nobody_is_asked(house: House):
    """Neither a clean end nor messages that merely wait fire on_recovery_boot."""
    asked: list[Any] = []
    agent = ChatAgent("a", run=lambda turn: "x", on_recovery_boot=asked.append)
    await (await house.open(agent)).send("one")
    await house.crash()
    await left_behind(house, message("two", "u2"), message("three", "u3"))
    chat = await house.open(agent)

    await chat.settled(Appended(3, repeated=False))

    assert asked == []


@pytest.mark.behaviour(46)
async def test_the_hook_is_told_what_is_left(house: House, gate: Gate):
    """on_recovery_boot gets what is settled, who waits, what was said, and which run died."""
    events: list[Any] = []
    runs: list[str] = []
    told: list[int] = []

    def recover(event):
        events.append(event)
        told.append(len(runs))

    agent = saying(gate, *text("half"), at=1, on_boot=lambda event: runs.append(event.run_id), on_recovery_boot=recover)
    chat = await house.open(agent)
    first = await chat.send("zero", "u0")
    await chat.inbox.send_message(user("one", "u1"))
    last = await chat.inbox.send_message(user("two", "u2"))
    await crashed(house, chat, gate, after=first.seq)
    chat = await house.open(agent)

    await chat.settled(last)

    (event,) = events
    assert texts(event.settled_messages) == [("user", "zero"), ("assistant", "to zero")]
    assert texts(event.in_flight_users) == [("user", "one"), ("user", "two")]
    assert texts([event.partial_assistant]) == [("assistant", "half")]
    assert (event.cause, [event.previous_run_id, event.run_id]) == ("unknown", runs)
    assert told == [2]  # after on_boot (D19)


@pytest.mark.behaviour(47)
async def test_the_hook_is_told_which_calls_may_have_started(house: House, gate: Gate):
    """Pending calls are those of the answer as it stood; the partial answer itself is closed."""
    events: list[Any] = []
    agent = saying(gate, *text("I pay"), CALL, on_recovery_boot=events.append)
    chat, (sent,) = await recovered(house, gate, agent, last="tool-input-available")

    await chat.settled(sent)

    assert events[0].pending_tool_calls == [
        PendingToolCall(tool_call_id="c", tool_name="pay", input={"amount": 5}, part_index=1)
    ]
    assert [part.get("state") for part in events[0].partial_assistant["parts"]] == ["done", "output-error"]


@pytest.mark.behaviour(51)
async def test_nothing_need_be_served(house: House, gate: Gate):
    """A plan without turns takes back what waits; later messages are served."""
    served: list[Any] = []
    agent = saying(
        gate,
        *text("half"),
        on_recovery_boot=lambda event: RecoveryPlan(turns=[]),
        on_turn_start=lambda event: served.append(texts(event.ui_messages)[-1][1]),
    )
    chat, sent = await recovered(house, gate, agent, "two", "three")

    settled = [(await chat.settled(appended)).status for appended in sent]
    await chat.send("four")

    assert (settled, served) == (["interrupted", "withdrawn", "withdrawn"], ["one", "four"])
    assert [words for _, words in await chat.texts()] == ["one", "half", "four", "to four"]


@pytest.mark.behaviour(52)
async def test_another_history_may_be_planned(house: House, gate: Gate):
    """The messages of a plan take the place of the settled ones, the question and the partial answer."""
    own = {"id": "s1", "role": "user", "parts": [{"type": "text", "text": "in short"}]}
    agent = saying(gate, *text("half"), on_recovery_boot=lambda event: RecoveryPlan(messages=[own]))
    chat, sent = await recovered(house, gate, agent, "two")

    await chat.settled(sent[-1])

    assert await chat.texts() == [("user", "in short"), ("user", "two"), ("assistant", "to two")]


@pytest.mark.behaviour(51, 52)
async def test_the_question_may_be_answered_anew(house: House, gate: Gate):
    """With the settled messages as the history and all users as turns, the question is answered from the start, once."""
    agent = saying(
        gate,
        *text("half"),
        at=0,
        on_recovery_boot=lambda event: RecoveryPlan(messages=event.settled_messages, turns=event.in_flight_users),
    )
    chat, sent = await recovered(house, gate, agent, "two")
    agent.run(lambda turn: f"to {texts(turn.ui_messages)[-1][1]}")

    await chat.settled(sent[-1])

    assert [words for _, words in await chat.texts()] == ["one", "to one", "two", "to two"]


@pytest.mark.behaviour(53)
async def test_who_hydrates_is_not_asked(house: House, gate: Gate):
    """Where hydrate_messages is registered the application has its history already."""
    asked: list[Any] = []
    agent = saying(
        gate,
        *text("half"),
        hydrate_messages=lambda event: [*event.previous_messages, *event.incoming_messages],
        on_recovery_boot=asked.append,
    )
    chat, (sent,) = await recovered(house, gate, agent)

    turn = await chat.settled(sent)

    assert (turn.status, asked) == ("interrupted", [])


@pytest.mark.behaviour(54)
async def test_what_comes_before_the_turns_is_done_before_them(house: House, gate: Gate):
    """before_turns is over when the first of the turns begins."""
    order: list[str] = []

    async def prepare() -> None:
        order.append("begin")
        await (await house.sessions.get_session("chat")).load()
        order.append("end")

    agent = saying(
        gate,
        *text("half"),
        on_recovery_boot=lambda event: RecoveryPlan(before_turns=prepare),
        on_turn_start=lambda event: order.append(texts(event.ui_messages)[-1][1]),
    )
    chat, sent = await recovered(house, gate, agent, "two")

    await chat.settled(sent[-1])

    assert order == ["one", "begin", "end", "two"]


@pytest.mark.behaviour(55)
@pytest.mark.parametrize("answer", [KeyError("x"), "nonsense", RecoveryPlan(turns=[user("stranger", "s")])])
async def test_a_plan_that_cannot_be_followed_is_none(house: House, gate: Gate, answer: Any):
    """A hook that raises, or plans what cannot be, changes nothing: not even by what it did to the history."""

    def plan(event):
        event.history.set([])
        if isinstance(answer, Exception):
            raise answer
        return answer

    agent = saying(gate, *text("half"), on_recovery_boot=plan)
    chat, sent = await recovered(house, gate, agent, "two")

    await chat.settled(sent[-1])

    assert [words for _, words in await chat.texts()] == ["one", "half", "two", "to two"]


@pytest.mark.behaviour(18)
async def test_a_run_that_was_told_to_end_serves_what_waits(house: House, gate: Gate):
    """end_run in a turn: the turn ends as always, so do those that wait, and the next message begins another run."""
    runs: list[tuple[str, str]] = []

    async def run(turn):
        runs.append((texts(turn.ui_messages)[-1][1], turn.run_id))
        if len(runs) == 1:
            turn.end_run()
            await gate.wait()
        return "ok"

    chat = await house.open(ChatAgent("a", run=run))
    first = await chat.inbox.send_message(user("one"))
    await gate.reached.wait()
    await chat.inbox.send_message(user("two"))
    gate.opened.set()
    turn = await chat.settled(first)
    while house.sessions.active_runs:
        await asyncio.sleep(0)

    await chat.send("three")

    assert turn.status == "completed"
    assert [words for words, _ in runs] == ["one", "two", "three"]
    assert runs[0][1] == runs[1][1] != runs[2][1]
