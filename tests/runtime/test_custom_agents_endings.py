"""Loops of custom agents where turns, runs and inputs of other kinds end beside them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from chatrt.clock import ManualClock
from chatrt.generate import stream_text
from chatrt.models import ScriptedModel
from chatrt.models.scripted import call, tool_call
from chatrt.tools import tool
from tests.runtime.background import note, prompt
from tests.runtime.driver import Gate, House, user
from tests.runtime.test_custom_agents import served
from tests.runtime.troubled_store import TroubledStore, idle, until


async def pass_until(clock: ManualClock, condition: Callable[[], bool]) -> None:
    """Let time pass until a condition holds."""
    while not condition():
        clock.advance(1)
        await idle()


async def test_a_turn_that_is_over_does_not_come_to_the_loop(house: House, gate: Gate):
    """A turn that was stopped before the loop took it up is over: the loop is not asked to answer it."""
    seen: list[str] = []

    async def loop(session):
        async for turn in session.turns():
            seen.append(turn.ui_messages[-1]["parts"][0]["text"])
            await turn.complete("ok")
            if len(seen) == 1:
                await gate.wait()

    chat = await house.open(served(loop))
    await chat.send("one")
    await gate.reached.wait()
    second = await chat.inbox.send_message(user("two"))
    await until(lambda: chat.session.running is not None)
    await chat.inbox.stop(in_seq=second.seq)
    assert (await chat.settled(second)).status == "stopped"
    gate.opened.set()
    await chat.send("three")

    assert seen == ["one", "three"]


@pytest.mark.parametrize("deaf", [False, True])
async def test_a_loop_that_was_ended_too_early_begins_again(house: House, gate: Gate, deaf: bool):
    """What arrives while the run leaves memory is served in it by another call of the loop; the run stays the same."""
    house.store = store = TroubledStore()
    runs: list[str] = []

    async def loop(session):
        runs.append(session.run.run_id)
        first = len(runs) == 1
        async for turn in session.turns():
            await turn.complete("ok")
        while deaf and first and not gate.opened.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                continue

    clock = ManualClock()
    chat = await house.open(served(loop), clock=clock, lease_ttl=1e6)
    await chat.send("one")
    release = store.hold("release_lease")
    await pass_until(clock, release.reached.is_set)
    second = await chat.inbox.send_message(user("two"))
    release.opened.set()

    assert (await asyncio.wait_for(chat.settled(second), 1)).status == "completed"
    await pass_until(clock, lambda: not chat.sessions.active_runs)
    await chat.send("three")
    gate.opened.set()

    assert len(runs) == 3
    assert len(set(runs)) == 1


async def test_data_take_no_background_messages(house: House):
    """What is put into the prompts of the chat waits for a turn of it: the answer to data is no message."""

    @tool
    async def look() -> str:
        """Look."""
        return "seen"

    model = ScriptedModel([call(tool_call("look", {})), "for data", "well"])

    async def loop(session):
        async for turn in session.turns():
            if turn.trigger == "data":
                turn.inject([note("be kind")])
            await turn.complete(
                stream_text(model, turn.messages or [{"role": "user", "content": "data"}], tools=[look])
            )

    chat = await house.open(served(loop))
    await chat.settled(await chat.inbox.send_data({"x": 1}))

    await chat.send("hi")

    assert prompt(model.requests[-1]) == ["hi", "be kind"]
