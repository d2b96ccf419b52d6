"""A worker dies in a turn with a head start: in every phase what was acknowledged is answered, once."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from chatrt.agent import ChatAgent
from chatrt.clock import ManualClock
from chatrt.events import RecoveryPlan
from chatrt.generate import stream_text
from chatrt.models import ScriptedModel
from chatrt.stores.sqlite import SQLiteStore
from chatrt.tools import tool
from tests.runtime.driver import Chat, Gate, House, user
from tests.runtime.head_starts import ANSWER, Warm, begun, called


@pytest.fixture(params=["memory", "sqlite"])
def house_of(request: pytest.FixtureRequest, house: House, tmp_path: Any) -> House:
    """A house on each store."""
    if request.param == "sqlite":
        house.store = SQLiteStore(tmp_path / "chat.db")
    return house


async def reopened(house: House, agent: ChatAgent, warm: Warm, **options: Any) -> Chat:
    """Kill the worker, start another one, and let the process that makes the step go on with that."""
    await house.crash()
    warm.chat = await house.open(agent, **options)
    return warm.chat


async def kinds(chat: Chat) -> list[str]:
    """What `.out` has: the kinds of records, and the types of chunks."""
    async for batch in chat.session.outbox.read(live=False):
        bodies = [json.loads(record.body) for record in batch]
        return [body.get("type", record.kind) for record, body in zip(batch, bodies, strict=True)]
    return []


def plain(**options: Any) -> ChatAgent:
    return ChatAgent("a", run=lambda turn: "from run", **options)


# --- before the handover


async def test_before_the_first_chunk(house_of: House, gate: Gate):
    """A worker that dies while it boots: the next one takes the step over."""
    agent = plain(on_boot=lambda event: gate.wait())
    warm = await Warm.start(await house_of.open(agent))
    await gate.reached.wait()
    gate.opened.set()
    chat = await reopened(house_of, agent, warm)
    await warm.says(begun("from warm"))
    await warm.hands_over(final=True)

    assert (await warm.settled()).text == "from warm"
    assert await chat.texts() == [("user", "hi"), ("assistant", "from warm")]


async def test_in_the_middle_of_relaying(house_of: House):
    """What was relayed is on the log once, however often it is read: chunk for chunk, behind one `turn-start`."""
    agent = plain()
    warm = await Warm.start(await house_of.open(agent))
    await warm.says(begun("one ", "two ", done=False))
    await warm.chat.until(lambda chunk: chunk.get("delta") == "two ")
    chat = await reopened(house_of, agent, warm)
    await warm.says([{"type": "text-delta", "id": "t", "delta": "three"}, *begun()[-2:]])
    await warm.hands_over(final=True)

    await warm.settled()

    assert await chat.texts() == [("user", "hi"), ("assistant", "one two three")]
    assert await kinds(chat) == [
        "turn-start",
        *(chunk["type"] for chunk in begun("one ", "two ", "three")),
        "handover",
        "finish",
        "turn-complete",
    ]


async def test_a_step_that_was_whole_before_the_crash(house_of: House, gate: Gate):
    """All of it was said while the worker was dead or booting: nothing is lost."""
    agent = plain(on_boot=lambda event: gate.wait())
    warm = await Warm.start(await house_of.open(agent))
    await warm.says(begun("from ", "warm"))
    await warm.hands_over(final=True)
    await gate.reached.wait()
    gate.opened.set()
    chat = await reopened(house_of, agent, warm)

    assert (await warm.settled()).status == "completed"
    assert await chat.texts() == [("user", "hi"), ("assistant", "from warm")]


async def test_both_processes_die(house: House):
    """When nobody goes on with the step after the restart, the run answers, and what was relayed is taken back."""
    clock = ManualClock()
    agent = plain(head_start_timeout=20.0)
    warm = await Warm.start(await house.open(agent, clock=clock))
    await warm.says(begun("from wa", done=False))
    await warm.chat.until(lambda chunk: chunk.get("delta") == "from wa")
    clock.advance(11.0)
    await reopened(house, agent, warm, clock=clock)
    while warm.chat.session.running is None or clock.sleepers < 2:  # the leases', and that of the silence
        await asyncio.sleep(0)
    clock.advance(20.0)

    assert (await warm.settled()).status == "completed"
    assert await warm.chat.texts() == [("user", "hi"), ("assistant", "from run")]


async def test_a_stop_that_nobody_honoured(house_of: House, gate: Gate):
    """A stop that came while the worker booted ends the turn in the next one; the words before it stay."""
    agent = plain(on_boot=lambda event: gate.wait())
    warm = await Warm.start(await house_of.open(agent))
    await warm.says(begun("from wa", done=False))
    await warm.chat.inbox.stop()
    await gate.reached.wait()
    gate.opened.set()
    chat = await reopened(house_of, agent, warm)

    assert (await warm.settled()).status == "stopped"
    assert await chat.texts() == [("user", "hi"), ("assistant", "from wa")]


async def test_a_stop_that_was_honoured(house_of: House, gate: Gate):
    """A worker that dies between the stop and the end of the turn leaves the words, too."""
    agent = plain(on_turn_start=lambda event: gate.wait())
    warm = await Warm.start(await house_of.open(agent))
    await warm.says(begun("from wa", done=False))
    await warm.chat.until(lambda chunk: chunk.get("delta") == "from wa")
    await warm.chat.inbox.stop()
    await gate.reached.wait()
    gate.opened.set()
    chat = await reopened(house_of, agent, warm)

    assert (await warm.settled()).status == "interrupted"
    assert await chat.texts() == [("user", "hi"), ("assistant", "from wa")]


async def test_an_edit_that_came_too_late(house_of: House):
    """A message whose answer had begun is not changed by an edit that a later worker reads."""
    agent = plain()
    warm = await Warm.start(await house_of.open(agent))
    await warm.says(begun("from ", done=False))
    await warm.chat.until(lambda chunk: chunk.get("delta") == "from ")
    await warm.chat.inbox.edit_pending(warm.sent.seq, user("other words"))
    chat = await reopened(house_of, agent, warm)
    await warm.says([{"type": "text-delta", "id": "t", "delta": "warm"}, *begun()[-2:]])
    await warm.hands_over(final=True)

    await warm.settled()

    assert await chat.texts() == [("user", "hi"), ("assistant", "from warm")]


# --- behind the handover


async def test_a_whole_answer_is_completed_by_the_next_worker(house_of: House, gate: Gate):
    """A worker that dies in the hooks behind a final handover: the next one fires them again and settles the answer."""
    fired: list[str] = []
    agent = plain(on_turn_start=lambda event: gate.wait(), on_turn_complete=lambda event: fired.append(event.status))
    warm = await Warm.start(await house_of.open(agent))
    await warm.says(begun("from warm"))
    await warm.hands_over(final=True)
    await gate.reached.wait()
    gate.opened.set()
    chat = await reopened(house_of, agent, warm)

    turn = await warm.settled()
    await chat.send("next")

    assert (turn.status, fired, (await kinds(chat)).count("handover")) == ("completed", ["completed"] * 2, 1)
    assert (await chat.texts())[1] == ("assistant", "from warm")


async def test_on_chat_start_is_not_forgotten(house_of: House, gate: Gate):
    """Words of a head start are no sign that on_chat_start has fired: it fires in the run that takes over."""
    started: list[str] = []
    agent = plain(
        on_chat_start=lambda event: started.append(event.run_id), on_validate_messages=lambda event: gate.wait()
    )
    warm = await Warm.start(await house_of.open(agent))
    await warm.says(called(("ask_user", {})))
    await warm.hands_over(final=False)
    await gate.reached.wait()
    agent.on_validate_messages(lambda event: event.messages)
    chat = await reopened(house_of, agent, warm)

    turn = await warm.settled()
    await chat.send("next")

    assert (turn.status, len(started)) == ("interrupted", 1)


async def test_calls_that_may_have_started_are_not_run_again(house_of: House):
    """A worker that dies while calls are carried out: they say that they were interrupted (D8)."""
    gate, runs = Gate(), []

    @tool
    async def pay(amount: int) -> str:
        """Pay."""
        runs.append(amount)
        await gate.wait()
        return "paid"

    model = ScriptedModel([])
    agent = ChatAgent("a", tools=[pay], run=lambda turn: stream_text(model, turn.messages, tools=turn.tools))
    warm = await Warm.start(await house_of.open(agent))
    await warm.says(called(("pay", {"amount": 5})))
    await warm.hands_over(final=False)
    await gate.reached.wait()
    gate.opened.set()
    chat = await reopened(house_of, agent, warm)

    turn = await warm.settled()

    message = (await chat.messages())[1]
    assert (turn.status, runs, message["id"]) == ("interrupted", [5], ANSWER)
    assert message["parts"][-1]["errorText"] == "interrupted"


async def test_the_second_step_is_kept(house_of: House, gate: Gate):
    """A worker that dies in the second step leaves one message with both steps, as far as they came."""

    @tool
    async def search() -> str:
        """Search."""
        return "found"

    async def run(turn: Any) -> Any:
        yield {"type": "start-step"}
        yield {"type": "text-start", "id": "u"}
        yield {"type": "text-delta", "id": "u", "delta": ", it is"}
        await gate.wait()

    agent = ChatAgent("a", tools=[search], run=run)
    warm = await Warm.start(await house_of.open(agent))
    await warm.says(called(("search", {})))
    await warm.hands_over(final=False)
    await gate.reached.wait()
    await warm.chat.until(lambda chunk: chunk.get("delta") == ", it is")
    gate.opened.set()
    chat = await reopened(house_of, agent, warm)

    assert (await warm.settled()).status == "interrupted"
    assert await chat.texts() == [("user", "hi"), ("assistant", "let me see, it is")]


# --- behind a skip


async def test_a_run_that_said_nothing_answers_again(house_of: House, gate: Gate):
    """A worker that dies before the first word of its own answer: the next one answers, and does not wait again."""

    async def run(turn: Any) -> str:
        await gate.wait()
        return "from run"

    agent = ChatAgent("a", run=run)
    warm = await Warm.start(await house_of.open(agent))
    await warm.says(begun("from wa", done=False))
    await warm.skips()
    await gate.reached.wait()
    gate.opened.set()
    chat = await reopened(house_of, agent, warm)

    assert (await warm.settled()).status == "completed"
    assert await chat.texts() == [("user", "hi"), ("assistant", "from run")]
    assert (await kinds(chat)).count("handover") == 1


async def test_what_the_run_said_is_kept(house_of: House, gate: Gate):
    """A worker that dies in its own answer leaves that answer, and nothing of what was taken back."""

    async def run(turn: Any) -> Any:
        yield {"type": "text-start", "id": "t"}
        yield {"type": "text-delta", "id": "t", "delta": "from ru"}
        await gate.wait()

    agent = ChatAgent("a", run=run)
    warm = await Warm.start(await house_of.open(agent))
    await warm.says(begun("from wa", done=False))
    await warm.skips()
    await gate.reached.wait()
    await warm.chat.until(lambda chunk: chunk.get("delta") == "from ru")
    gate.opened.set()
    chat = await reopened(house_of, agent, warm)

    assert (await warm.settled()).status == "interrupted"
    assert await chat.texts() == [("user", "hi"), ("assistant", "from ru")]


async def test_a_plan_that_asks_again_does_not_wait(house_of: House, gate: Gate):
    """When a recovery plan wants the question answered once more, the run answers it, without a head start."""

    @tool
    async def slow() -> str:
        """Take long."""
        await gate.wait()
        return "done"

    agent = ChatAgent(
        "a",
        tools=[slow],
        run=lambda turn: "from run",
        on_recovery_boot=lambda event: RecoveryPlan(messages=event.settled_messages, turns=event.in_flight_users),
    )
    warm = await Warm.start(await house_of.open(agent))
    await warm.says(called(("slow", {})))
    await warm.hands_over(final=False)
    await gate.reached.wait()
    gate.opened.set()
    chat = await reopened(house_of, agent, warm)

    assert (await warm.settled()).status == "completed"
    assert await chat.texts() == [("user", "hi"), ("assistant", "from run")]
