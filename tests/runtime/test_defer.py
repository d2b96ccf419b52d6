"""What is deferred runs beside the answers."""

from __future__ import annotations

import asyncio

from chatrt.clock import ManualClock
from chatrt.models.scripted import call, tool_call
from chatrt.run_control import current_run
from chatrt.runtime.background import DEFER_SECONDS
from chatrt.runtime.work import STOP_GRACE_SECONDS
from chatrt.tools import tool
from chatrt.turn import current_turn
from tests.runtime.background import last_prompt, let_pass, note, scripted, stored
from tests.runtime.driver import Gate, House, user


async def test_deferred_work_runs_beside_the_answer(house: House, gate: Gate):
    """The answer streams while deferred work goes on."""
    agent = scripted("fine", on_turn_start=lambda _: current_turn().defer(gate.wait))
    chat = await house.open(agent)
    sent = await chat.inbox.send_message(user("hi"))

    await chat.until(lambda chunk: chunk["type"] == "text-end")
    assert not gate.opened.is_set()
    gate.opened.set()

    assert (await chat.settled(sent)).status == "completed"


async def test_the_turn_ends_behind_it(house: House, gate: Gate):
    """Deferred work is done before on_before_turn_complete."""
    order = []

    async def work():
        await gate.wait()
        order.append("work")

    agent = scripted(
        "fine",
        on_turn_start=lambda _: current_turn().defer(work()),
        on_before_turn_complete=lambda _: order.append("hook"),
    )
    chat = await house.open(agent)
    sent = await chat.inbox.send_message(user("hi"))
    await chat.until(lambda chunk: chunk["type"] == "text-end")

    gate.opened.set()
    await chat.settled(sent)

    assert order == ["work", "hook"]


async def test_the_turn_does_not_wait_for_ever(house: House, gate: Gate):
    """After DEFER_SECONDS the turn ends without it, and it goes on."""
    done = []

    async def work():
        await gate.wait()
        done.append(True)

    clock = ManualClock()
    agent = scripted("fine", on_turn_start=lambda _: current_turn().defer(work))
    chat = await house.open(agent, clock=clock)
    sent = await chat.inbox.send_message(user("hi"))
    await chat.until(lambda chunk: chunk["type"] == "text-end")
    settled = asyncio.create_task(chat.settled(sent))
    await let_pass(clock, DEFER_SECONDS - 1)
    assert not settled.done()

    await let_pass(clock, 2)
    assert (await settled).status == "completed"
    gate.opened.set()
    while not done:
        await asyncio.sleep(0)


async def test_a_stop_does_not_cancel_it(house: House, gate: Gate):
    """A person who ends the answer does not end what runs beside it."""
    done = []

    async def work():
        await gate.wait()
        done.append(True)

    answering = Gate()

    async def run(turn):
        turn.defer(work)
        await answering.wait()

    chat = await house.open(scripted(run=run))
    sent = await chat.inbox.send_message(user("hi"))
    await answering.reached.wait()
    await gate.reached.wait()

    await chat.inbox.stop()
    gate.opened.set()

    assert (await chat.settled(sent)).status == "stopped"
    assert done == [True]


async def test_it_is_no_part_of_an_answer_that_ignores_its_end(house: House, gate: Gate):
    """An answer that goes on behind a stop is not heard; what run deferred still is, while the turn waits for it."""
    deaf, clock = Gate(), ManualClock()

    async def work():
        await gate.wait()
        current_turn().response.write({"type": "data-work", "data": "done"})

    async def run(turn):
        turn.defer(work)
        while not deaf.opened.is_set():
            try:
                await deaf.wait()
            except asyncio.CancelledError:
                continue

    chat = await house.open(scripted(run=run), clock=clock, lease_ttl=1e6)
    sent = await chat.inbox.send_message(user("hi"))
    await deaf.reached.wait()
    await chat.inbox.stop()
    await let_pass(clock, STOP_GRACE_SECONDS + 1)

    gate.opened.set()
    turn = await chat.settled(sent)
    deaf.opened.set()

    assert (turn.status, "data-work" in turn.types) == ("stopped", True)


async def test_a_failure_does_not_wait_for_it(house: House, gate: Gate):
    """A failed turn is told at once; its deferred work goes on."""
    done = []

    async def work():
        await gate.wait()
        done.append(True)

    async def run(turn):
        turn.defer(work)
        raise RuntimeError("no")

    chat = await house.open(scripted(run=run))

    turn = await chat.send("hi")
    gate.opened.set()
    while not done:
        await asyncio.sleep(0)

    assert turn.status == "failed"


async def test_failing_work_is_logged(house: House, caplog):
    """What deferred work raises fails no turn; also when it awaited something that was cancelled."""

    async def fails():
        raise RuntimeError("deferred and broken")

    async def awaits_the_cancelled():
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    def on_turn_start(event):
        current_turn().defer(fails)
        current_turn().defer(awaits_the_cancelled())

    chat = await house.open(scripted("fine", on_turn_start=on_turn_start))

    turn = await chat.send("hi")

    assert turn.status == "completed"
    assert "deferred and broken" in caplog.text
    assert "was cancelled" in caplog.text


async def test_it_knows_where_it_is(house: House):
    """current_turn and current_run are there inside of deferred work, and it may write into the answer."""
    seen = []

    async def work():
        seen.append((current_turn().number, current_run().chat_id))
        current_turn().response.write({"type": "data-seen", "data": True})

    chat = await house.open(scripted("fine", on_turn_start=lambda _: current_turn().defer(work)))

    turn = await chat.send("hi")

    assert seen == [(0, "chat")]
    assert "data-seen" in turn.types


async def test_what_deferred_work_injects_is_in_the_next_prompt(house: House):
    """A prefetch that ends while a tool runs is read by the next step."""
    fetched = asyncio.Event()

    async def prefetch():
        current_turn().inject([note("they live in Oslo")])
        fetched.set()

    @tool
    async def think(about: str) -> str:
        """Think."""
        await fetched.wait()
        return "hm"

    agent = scripted(
        call(tool_call("think", {"about": "it"})),
        "done",
        tools=[think],
        on_turn_start=lambda _: current_turn().defer(prefetch),
    )
    chat = await house.open(agent)

    await chat.send("hi")

    # Whichever was first: it stands behind the question or behind the result, once.
    assert last_prompt(agent).count("they live in Oslo") == 1


async def test_an_action_ends_behind_its_work(house: House):
    """What an action defers is done before its turn-complete."""
    done = []

    async def work():
        await asyncio.sleep(0)
        done.append(True)

    chat = await house.open(scripted(on_action=lambda _: current_turn().defer(work)))

    settled = await chat.act({})

    assert (settled.status, done) == ("completed", [True])


async def test_work_behind_a_turn_holds_up_no_other(house: House, gate: Gate):
    """What on_turn_complete defers is not waited for: neither this turn nor the next one does."""
    clock = ManualClock()

    def on_turn_complete(event):
        if event.turn == 0:
            current_turn().defer(gate.wait)

    chat = await house.open(scripted("one", "two", on_turn_complete=on_turn_complete), clock=clock)
    await chat.send("1")
    await gate.reached.wait()

    turn = await chat.send("2")

    assert turn.status == "completed"
    gate.opened.set()


async def test_work_from_on_boot_runs_in_the_background(house: House, gate: Gate):
    """What on_boot defers holds up no turn."""
    clock = ManualClock()
    chat = await house.open(scripted("one", on_boot=lambda _: current_run().defer(gate.wait)), clock=clock)

    turn = await chat.send("1")

    assert turn.status == "completed"
    assert gate.reached.is_set()
    gate.opened.set()


async def test_the_run_stays_in_memory_for_it(house: House, gate: Gate):
    """Behind its idle time the run waits for deferred work, and leaves when that has ended."""
    clock, done = ManualClock(), []

    async def work():
        await gate.wait()
        current_run().inject([note("reviewed")])
        done.append(True)

    agent = scripted("one", on_turn_complete=lambda _: current_turn().defer(work), idle_timeout=30)
    chat = await house.open(agent, clock=clock)
    await chat.send("1")
    await gate.reached.wait()
    await let_pass(clock, 32)

    gate.opened.set()

    assert await stored(house, chat, "waiting") == [note("reviewed")]
    assert done == [True]


async def test_the_run_does_not_stay_for_ever(house: House, gate: Gate):
    """DEFER_SECONDS behind its idle time the run leaves, and cancels what still runs."""
    clock = ManualClock()
    cancelled = asyncio.Event()

    async def work():
        try:
            await gate.wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    agent = scripted("one", on_turn_complete=lambda _: current_turn().defer(work), idle_timeout=30)
    chat = await house.open(agent, clock=clock)
    await chat.send("1")
    await gate.reached.wait()
    await let_pass(clock, 32)
    assert not cancelled.is_set()

    await let_pass(clock, DEFER_SECONDS)
    assert cancelled.is_set()


async def test_it_is_cancelled_with_the_run(house: House, gate: Gate):
    """A run that is killed takes its deferred work along."""
    cancelled = asyncio.Event()

    async def work():
        try:
            await gate.wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    agent = scripted("one", on_turn_complete=lambda _: current_turn().defer(work))
    await (await house.open(agent)).send("1")
    await gate.reached.wait()

    await house.crash()

    await cancelled.wait()


async def test_a_shutdown_waits_for_it(house: House, gate: Gate):
    """A session manager that closes in peace lets deferred work end, and stores what it has left."""

    async def work():
        await gate.wait()
        current_run().inject([note("reviewed")])

    agent = scripted("one", "two", on_turn_complete=lambda event: event.continuation or current_turn().defer(work))
    await (await house.open(agent)).send("1")
    await gate.reached.wait()

    closing = asyncio.create_task(house.sessions.aclose())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not closing.done()
    gate.opened.set()
    await closing
    house.sessions = None

    await (await house.open(agent)).send("2")
    assert last_prompt(agent) == ["1", "one", "2", "reviewed"]
