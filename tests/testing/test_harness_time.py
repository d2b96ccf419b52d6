"""The harness: time that passes when the test says so, with all that happens meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from chatrt import current_turn
from chatrt.errors import UsageError
from chatrt.models import ScriptedModel
from chatrt.stores import SQLiteStore
from chatrt.testing import ChatHarness, Gate, ManualClock
from chatrt.testing.rest import come_to_rest
from tests.testing.agents import answering, texts


def reporting(seen: list[str], **options):
    """An agent that notes what happens to its runs."""
    return answering(
        on_boot=lambda event: seen.append(f"boot resumed={event.resumed} preloaded={event.preloaded}"),
        on_preload=lambda event: seen.append("preload"),
        on_chat_start=lambda event: seen.append(f"chat-start preloaded={event.preloaded}"),
        on_chat_suspend=lambda event: seen.append(f"suspend {event.phase}"),
        on_chat_resume=lambda event: seen.append(f"resume {event.phase}"),
        **{"run": lambda turn: turn.control.run_id, **options},
    )


async def test_an_idle_run_is_suspended(chat_harness):
    """A run leaves memory when nothing came for the agent's idle time, not before."""
    seen: list[str] = []
    chat = await chat_harness(reporting(seen, idle_timeout=30))
    await chat.send("Hi")

    await chat.advance(29)
    before = (chat.is_in_memory, list(seen))
    await chat.advance(1)

    assert before == (True, ["boot resumed=False preloaded=False", "chat-start preloaded=False"])
    assert (chat.is_in_memory, seen[2:]) == (False, ["suspend turn"])


async def test_a_suspended_run_resumes(chat_harness):
    """What comes within the turn timeout is served by the same run in a new memory."""
    seen: list[str] = []
    chat = await chat_harness(reporting(seen, idle_timeout=30, turn_timeout=600))
    first = await chat.send("Hi")
    await chat.advance(60)
    seen.clear()

    second = await chat.send("still there?")

    assert (seen, second.text) == (["boot resumed=True preloaded=False", "resume turn"], first.text)


async def test_a_suspended_run_ends(chat_harness):
    """What comes after the turn timeout is served by another run; the history is the same."""
    seen: list[str] = []
    chat = await chat_harness(reporting(seen, idle_timeout=30, turn_timeout=600))
    first = await chat.send("Hi")
    await chat.advance(631)
    seen.clear()

    second = await chat.send("still there?")

    assert (seen, second.text == first.text) == (["boot resumed=False preloaded=False"], False)
    assert len(chat.messages) == 4


async def test_preload(chat_harness):
    """A preload boots the run before anything is said, and the first turn knows of it."""
    seen: list[str] = []
    chat = await chat_harness(reporting(seen))

    await chat.preload()
    before = (chat.is_in_memory, list(seen))
    await chat.send("Hi")

    assert before == (True, ["boot resumed=False preloaded=True", "preload"])
    assert seen[2:] == ["chat-start preloaded=True"]


async def test_a_preloaded_run_that_nobody_uses_is_suspended(chat_harness):
    """A preloaded run waits for its own idle time."""
    seen: list[str] = []
    chat = await chat_harness(reporting(seen, preload_idle_timeout=5))
    await chat.preload()

    await chat.advance(5)

    assert (chat.is_in_memory, seen[-1]) == (False, "suspend preload")


async def test_max_turns_end_a_run(chat_harness):
    """A run that has served its turns ends; the next message is another run's, and nothing is lost."""
    chat = await chat_harness(answering(run=lambda turn: turn.control.run_id, max_turns=2))
    sent = [await chat.start(word) for word in "abc"]

    said = [(await one.result()).text for one in sent]

    assert (said[0] == said[1], said[1] == said[2]) == (True, False)


@pytest.mark.behaviour(18)
async def test_end_run(chat_harness):
    """A run that is told to end leaves after its turn."""
    chat = await chat_harness(answering(run=lambda turn: current_turn().end_run()))

    await chat.send("Hi")
    await chat.settle()

    assert chat.is_in_memory is False


async def test_everything_happens_at_its_own_time(chat_harness):
    """While time passes each sleeper wakes when it is due, also one that fell asleep meanwhile."""
    clock, woken = ManualClock(), []
    chat = await chat_harness(answering(), clock=clock)
    begun = clock.now()

    async def tick(times: int) -> None:
        for _ in range(times):
            await clock.sleep(7)
            woken.append(clock.now() - begun)

    ticking = asyncio.create_task(tick(3))
    await chat.advance(20)

    assert (woken, clock.now() - begun) == ([7, 14], 20)
    await chat.advance(1)
    assert (woken, ticking.done()) == ([7, 14, 21], True)


async def test_a_model_may_wait_on_the_clock(chat_harness):
    """An answer that takes time takes time of the clock."""
    clock = ManualClock()
    chat = await chat_harness(answering(), clock=clock, model=ScriptedModel(["one two three"], delay=1, clock=clock))
    sent = await chat.start("Hi")

    await chat.advance(3)
    half = [chunk["delta"] for chunk in chat.chunks if chunk["type"] == "text-delta"]
    await chat.advance(60)

    assert (half, (await sent.result()).text) == (["one ", "two "], "one two three")


async def test_records_carry_the_time_of_the_clock(chat_harness):
    """What is stored has the time that the clock of the harness showed."""
    chat = await chat_harness(answering(run=lambda turn: "x"), clock=ManualClock(start=1_000_000))
    await chat.send("Hi")
    await chat.advance(100)

    await chat.send("Hi")

    assert [record.at for record in chat.records(".in")] == [1_000_000, 1_000_100]


async def test_a_result_is_there_when_the_hooks_ran(chat_harness):
    """When a result is returned on_turn_complete has run, as far as it waits for nothing from outside."""
    saved = []

    async def save(event):
        for _ in range(20):
            await asyncio.sleep(0)
        saved.append(event.status)

    chat = await chat_harness(answering(run=lambda turn: "x", on_turn_complete=save))

    await chat.send("Hi")

    assert saved == ["completed"]


async def test_a_hook_that_hangs_does_not_hold_up_a_result(chat_harness):
    """A result comes although on_turn_complete waits for something."""
    gate = Gate()
    chat = await chat_harness(answering(run=lambda turn: "x", on_turn_complete=lambda event: gate.wait()))

    result = await chat.send("Hi")

    assert (result.status, chat.is_running) == ("completed", True)
    gate.open()
    await chat.settle()
    assert chat.is_running is False


async def test_time_waits_for_a_store_with_a_thread_of_its_own(tmp_path):
    """Where the store works in a thread, everything that is due is still done when time has passed."""
    seen: list[str] = []
    async with ChatHarness(reporting(seen, idle_timeout=30), store=SQLiteStore(tmp_path / "chat.db")) as chat:
        await chat.send("Hi")

        await chat.advance(31)

        assert (chat.is_in_memory, seen[-1]) == (False, "suspend turn")
        assert texts((await chat.session.load()).messages)[0] == ("user", "Hi")


async def test_two_harnesses_settle_at_once(chat_harness):
    """Waiting for rest does not wait for others who wait for rest."""
    one, two = await chat_harness(answering()), await chat_harness(answering())

    await asyncio.gather(one.advance(40), two.advance(40))

    assert one.clock.now() == two.clock.now()


async def test_rest_follows_chains_of_callbacks():
    """The loop is at rest when nothing can go on, however many tasks wake one another."""
    events, reached = [asyncio.Event() for _ in range(30)], []

    async def link(index: int) -> None:
        await events[index].wait()
        waiting = asyncio.create_task(asyncio.sleep(0))
        await asyncio.wait({waiting})
        reached.append(index)
        if index + 1 < len(events):
            asyncio.get_running_loop().call_soon(events[index + 1].set)

    tasks = [asyncio.create_task(link(index)) for index in range(30)]
    await asyncio.sleep(0)
    events[0].set()

    await come_to_rest()

    assert (len(reached), all(task.done() for task in tasks)) == (30, True)


async def test_a_loop_that_never_rests_is_reported():
    """Code that spins is named instead of waited for."""

    async def spin() -> None:
        while True:
            await asyncio.sleep(0)

    task = asyncio.create_task(spin(), name="spinner")

    with pytest.raises(UsageError, match="spinner"):
        await come_to_rest(most_passes=100)
    task.cancel()
