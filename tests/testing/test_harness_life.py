"""The harness: workers that crash, are drained and come back, and chats that have a past."""

from __future__ import annotations

import asyncio

import pytest

from chatrt import RecoveryPlan, current_turn
from chatrt.errors import AgentMismatchError, InvalidChunkError, ServerUnavailableError, UsageError
from chatrt.ids import CountingIds
from chatrt.models import ScriptedModel
from chatrt.stores import MemoryStore, SQLiteStore
from chatrt.testing import ChatHarness, Gate
from tests.testing.agents import answering, halting, texts

HALF = [{"type": "start-step"}, {"type": "text-start", "id": "t"}, {"type": "text-delta", "id": "t", "delta": "half"}]
PAST = [
    {"id": "u0", "role": "user", "parts": [{"type": "text", "text": "before"}]},
    {"id": "a0", "role": "assistant", "parts": [{"type": "text", "text": "answered"}]},
]


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path):
    """A store of each kind."""
    return MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "chat.db")


async def half_answered(chat_harness, **options) -> tuple[ChatHarness, object]:
    chat = await chat_harness(answering(), model=halting(Gate()), **options)
    sent = await chat.start("Hi")
    await sent.until("text-delta")
    return chat, sent


async def test_a_crash_loses_what_was_not_stored(chat_harness, store):
    """After a crash the store has the question and the chunks that readers saw, and no answer in the history."""
    chat, _ = await half_answered(chat_harness, store=store, ids=CountingIds())

    await chat.crash()

    assert (chat.messages, [chunk["type"] for chunk in chat.chunks][-1]) == ([], "text-delta")
    assert (chat.is_running, chat.is_in_memory) == (False, False)


async def test_the_next_worker_takes_up_what_was_left(chat_harness, store):
    """A restart recovers: the partial answer is kept, closed, and settled as interrupted."""
    chat, sent = await half_answered(chat_harness, store=store)

    await chat.crash()
    await chat.restart()
    result = await sent.result()

    assert (result.status, result.text, texts(chat.messages)) == (
        "interrupted",
        "half",
        [("user", "Hi"), ("assistant", "half")],
    )


async def test_a_dead_worker_writes_nothing(chat_harness):
    """Code of the agent that runs on after a crash changes nothing that is stored."""
    gate, late = Gate(), []

    async def run(turn):
        try:
            yield {"type": "data-x", "data": 1}
            await gate.wait()
        finally:
            turn.history.slice(0, 0)
            late.append(turn.chat_id)

    chat = await chat_harness(answering(run=run))
    await chat.start("Hi")
    await gate.reached.wait()
    stored = len(chat.records(".out"))

    await chat.crash()

    assert (late, len(chat.records(".out"))) == (["chat_1"], stored)


async def test_an_agent_that_ignores_its_end_does_not_hold_up_a_crash(chat_harness):
    """A crash waits for stubborn code in time of the clock only."""
    gate = Gate()

    async def run(turn):
        yield {"type": "data-x", "data": 1}
        while not gate.opened.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                continue

    chat = await chat_harness(answering(run=run))
    await chat.start("Hi")
    await gate.reached.wait()
    begun = chat.clock.now()

    await chat.crash()

    assert 0 < chat.clock.now() - begun < 10
    gate.open()


async def test_waiting_for_an_answer_ends_with_the_worker(chat_harness):
    """Who waits for an answer when the worker dies is told; asked again after a restart, the wait goes on."""
    chat, sent = await half_answered(chat_harness)
    waiting = asyncio.create_task(sent.result())
    await chat.settle()

    await chat.crash()
    with pytest.raises(ServerUnavailableError):
        await waiting

    await chat.restart()
    assert (await sent.result()).status == "interrupted"


async def test_nothing_can_be_sent_without_a_worker(chat_harness):
    """A harness whose worker is down says so."""
    chat = await chat_harness(answering())
    await chat.crash()

    with pytest.raises(UsageError, match="restart"):
        await chat.send("Hi")
    with pytest.raises(UsageError, match="restart"):
        await chat.crash()


async def test_one_worker_at_a_time(chat_harness):
    """A second worker needs the first one gone."""
    chat = await chat_harness(answering())

    with pytest.raises(UsageError, match="crash"):
        await chat.restart()


async def test_a_lease_can_outlive_its_worker(chat_harness):
    """Where a dead worker keeps its lease the next one takes over when it has run out, not before."""
    chat, sent = await half_answered(chat_harness, lease_ttl=10)
    await chat.crash(keep_lease=True)
    await chat.restart()

    await chat.advance(9)
    before = sent.is_settled or any(record.kind == "turn-complete" for record in chat.records(".out"))
    await chat.advance(9)

    assert (before, (await sent.result()).status) == (False, "interrupted")


async def test_a_drain_lets_the_turn_end(chat_harness):
    """A worker that is drained ends its turn; what waits behind it is the next worker's."""
    gate = Gate()
    chat = await chat_harness(answering(), model=halting(gate))
    first, second = await chat.start("one"), await chat.start("two")
    await gate.reached.wait()

    draining = asyncio.create_task(chat.drain())
    await chat.settle()
    gate.open()
    await draining
    settled = [record.body["inSeq"] for record in chat.records(".out") if record.kind == "turn-complete"]
    await chat.restart()

    assert ((await first.result()).status, settled) == ("completed", [1])
    assert (await second.result()).status == "completed"


async def test_a_drain_without_grace_cuts_the_turn(chat_harness):
    """Without grace a drained turn is taken up by the next worker as after a crash."""
    chat, sent = await half_answered(chat_harness)

    await chat.drain(grace=0)
    await chat.restart()

    assert (await sent.result()).status == "interrupted"


async def test_a_restart_may_bring_newer_code(chat_harness):
    """The next worker can serve another version of the agent; it sees the history."""
    chat = await chat_harness(answering(run=lambda turn: "old"))
    await chat.send("Hi")

    await chat.drain()
    await chat.restart(answering(run=lambda turn: f"new, {len(turn.messages)} messages"))

    assert (await chat.send("Hi")).text == "new, 3 messages"


async def test_a_stored_history(chat_harness):
    """A chat may begin with a history: hooks see it, the model is shown it, and it is no fresh chat."""
    seen = []
    agent = answering(
        on_boot=lambda event: seen.append(event.continuation), on_chat_start=lambda event: seen.append("start")
    )
    model = ScriptedModel(["Hello again."])
    chat = await chat_harness(agent, messages=PAST, model=model)
    before = chat.messages

    await chat.send("Hi")

    assert (before, seen, len(model.requests[0].messages)) == (PAST, [True], 3)


async def test_unsettled_inputs(chat_harness):
    """Inputs that nobody answered are answered by the first worker, in order; each can be waited for by its number."""
    agent = answering(on_action=lambda event: f"did {event.action}")
    unsettled = ["one", {"kind": "action", "action": "it"}, {"kind": "regenerate"}]
    model = ScriptedModel(["first", "again"])

    chat = await chat_harness(agent, unsettled=unsettled, model=model)

    assert [(await chat.sent(seq).result()).text for seq in (1, 2, 3)] == ["first", "did it", "again"]


async def test_an_unfinished_answer(chat_harness):
    """A chat may begin with an answer that a dead worker left: it is recovered like any."""
    chat = await chat_harness(answering(), messages=PAST, unsettled=["Hi"], unfinished=HALF)

    result = await chat.sent(1).result()

    assert (result.status, result.text, texts(chat.messages)[2:]) == (
        "interrupted",
        "half",
        [("user", "Hi"), ("assistant", "half")],
    )


async def test_an_unfinished_answer_that_nobody_saw(chat_harness):
    """When the dead worker had said nothing its question is answered anew."""
    chat = await chat_harness(answering(), unsettled=["Hi"], unfinished=[], model=ScriptedModel(["Hello."]))

    result = await chat.sent(1).result()

    assert (result.status, result.text, len(chat.messages)) == ("completed", "Hello.", 2)


async def test_a_recovery_plan(chat_harness):
    """on_recovery_boot sees what the seeds say was left, and its plan is followed."""
    seen = []

    def plan(event):
        seen.append((texts(event.settled_messages), texts(event.in_flight_users), texts([event.partial_assistant])))
        return RecoveryPlan(messages=event.settled_messages, turns=event.in_flight_users[1:])

    agent = answering(run=lambda turn: f"{len(turn.messages)} messages", on_recovery_boot=plan)
    chat = await chat_harness(agent, messages=PAST, unsettled=["one", "two"], unfinished=HALF)

    result = await chat.sent(2).result()

    settled = [("user", "before"), ("assistant", "answered")]
    assert seen == [(settled, [("user", "one"), ("user", "two")], [("assistant", "half")])]
    assert (result.text, texts(chat.messages)) == (
        "3 messages",
        [*settled, ("user", "two"), ("assistant", "3 messages")],
    )


async def test_an_input_that_is_served_again(chat_harness):
    """When the plan answers the interrupted question anew, its result is that of the second answer."""
    agent = answering(
        run=lambda turn: "whole", on_recovery_boot=lambda event: RecoveryPlan(turns=event.in_flight_users)
    )
    chat = await chat_harness(agent, unsettled=["one"], unfinished=HALF)

    result = await chat.sent(1).result()

    assert (result.status, result.text) == ("completed", "whole")


async def test_an_upgrade_hands_the_input_on(chat_harness):
    """A run that asks for newer code leaves the input to the next run, which answers it."""
    runs = []

    def start(event):
        runs.append(event.run_id)
        if len(runs) == 1:
            current_turn().request_upgrade()

    chat = await chat_harness(answering(run=lambda turn: turn.control.run_id, on_turn_start=start))

    result = await chat.send("Hi")

    assert (len(set(runs)), result.text) == (2, runs[-1])
    assert "upgrade" in [record.kind for record in chat.records(".out")]


@pytest.mark.parametrize(
    ("seed", "error"),
    [
        ({"unfinished": HALF}, UsageError),
        ({"unsettled": ["Hi"], "unfinished": [{"type": "nonsense"}]}, InvalidChunkError),
        ({"unsettled": [{"kind": "nonsense"}]}, UsageError),
    ],
)
async def test_a_past_that_cannot_be_is_refused(seed, error):
    """Seeds go through the same doors as everything."""
    with pytest.raises(error):
        await ChatHarness(answering(), **seed).open()


async def test_a_chat_that_has_a_past_takes_no_other(chat_harness, store):
    """A history can only be planted in a chat that is empty."""
    chat = await chat_harness(answering(), store=store, chat_id="c", model=ScriptedModel(["Hello."]))
    await chat.send("Hi")
    await chat.drain()

    with pytest.raises(UsageError, match="past"):
        await chat_harness(answering(), store=store, chat_id="c", messages=PAST)


async def test_a_chat_of_another_agent(chat_harness, store):
    """A harness that cannot serve the chat says so and leaves nothing running."""
    chat = await chat_harness(answering(), store=store, chat_id="c")
    await chat.drain()
    other = answering()
    other.id = "other"
    before = asyncio.all_tasks()

    with pytest.raises(AgentMismatchError):
        await chat_harness(other, store=store, chat_id="c")

    assert asyncio.all_tasks() == before


async def test_two_harnesses_on_one_store(chat_harness):
    """Harnesses that share a store see the same chat: one can read what the other one's worker writes."""
    store = MemoryStore()
    one = await chat_harness(answering(), store=store, chat_id="c", model=ScriptedModel(["Hello."]))
    two = await chat_harness(answering(), store=store, chat_id="c", clock=one.clock)

    await one.send("Hi")

    assert (two.records(".out"), (await two.sent(1).result()).text) == (one.records(".out"), "Hello.")


async def test_a_store_by_its_url(chat_harness, tmp_path):
    """A store may be named; a second harness finds what the first one left."""
    url = f"sqlite:///{tmp_path / 'chat.db'}"
    async with ChatHarness(answering(), store=url, chat_id="c", model=ScriptedModel(["Hello."])) as chat:
        await chat.send("Hi")

    async with ChatHarness(answering(), store=url, chat_id="c", model=ScriptedModel(["Again."])) as chat:
        assert [text for _, text in texts(chat.messages)] == ["Hi", "Hello."]
        assert (await chat.send("more")).text == "Again."


async def test_leaving_ends_what_runs():
    """A harness that is left in the middle of a turn leaves no task behind."""
    before = asyncio.all_tasks()

    async with ChatHarness(answering(), model=halting(Gate())) as chat:
        await (await chat.start("Hi")).until("text-delta")

    assert asyncio.all_tasks() == before
