"""What waits while a turn runs, seen and changed from a client, over both transports alike."""

from __future__ import annotations

import asyncio

from tests.client.test_agent_chat import read_until


async def test_waiting_messages_are_listed(place):
    """`pending` has the messages that wait, with the input that an edit or a withdrawal names."""
    chat = await place.open(place.valve.agent)
    running = await chat.send_message("go")
    place.valve.say("so ")
    await read_until(running, "so ")
    waiting = await chat.send_message("and then?")

    pending = await chat.pending()

    assert [(p.in_seq, p.message["parts"][0]["text"]) for p in pending] == [(waiting.seq, "and then?")]
    await chat.stop()


async def test_a_waiting_message_is_edited(place):
    """`edit_pending` changes what the next turn answers; the id of the message stays."""
    chat = await place.open(place.valve.agent)
    running = await chat.send_message("go")
    place.valve.say("so ")
    await read_until(running, "so ")
    waiting = await chat.send_message("wrnog")
    await chat.edit_pending(waiting.seq, "right")
    (before,) = await chat.pending()
    place.valve.end()
    place.valve.end()
    await waiting.result()

    (after,) = [m for m in await chat.messages() if m["id"] == before.message["id"]]
    assert after["parts"][0]["text"] == "right"


async def test_a_waiting_message_is_withdrawn(place):
    """The stream of a withdrawn message ends with that status, and nobody answers it."""
    chat = await place.open(place.valve.agent)
    running = await chat.send_message("go")
    place.valve.say("so ")
    await read_until(running, "so ")
    waiting = await chat.send_message("never mind")
    await chat.withdraw(waiting.seq)
    place.valve.end()

    result = await asyncio.wait_for(waiting.result(), 20)

    assert (result.status, result.text, result.message) == ("withdrawn", "", None)
    assert [m["role"] for m in await chat.messages()] == ["user", "assistant"]
    assert await chat.pending() == []


async def test_preload_boots_the_run(place):
    """`preload` starts the session's run before anything is said."""
    booted = asyncio.Event()
    place.valve.agent.on_boot(lambda event: booted.set())
    chat = await place.open(place.valve.agent)
    await chat.preload()
    await asyncio.wait_for(booted.wait(), 20)
    assert await chat.messages() == []


async def test_data_for_an_agent_without_a_loop_fail(place):
    """`send_data` is settled as failed by an agent that has no loop for it."""
    chat = await place.open(place.valve.agent)
    result = await chat.send_data({"tick": 1}).result()
    assert (result.status, result.error["code"]) == ("failed", "invalid-input")


async def test_a_preload_is_nothing_to_reconnect_to(place):
    """A run that was asked for and says nothing leaves no stream that would never end."""
    booting = asyncio.Event()
    place.valve.agent.on_boot(lambda event: booting.wait())
    chat = await place.open(place.valve.agent)
    await chat.preload()
    assert await chat.reconnect() is None
    booting.set()


async def test_reconnect_behind_a_steered_message_shows_the_turn(place):
    """What was steered goes into the running turn: that is what `reconnect` reads on."""
    chat = await place.open(place.valve.agent)
    place.valve.say("one ")
    await read_until(chat.send_message("go"), "one ")
    assert await chat.steer("hurry")
    stream = await chat.reconnect()
    place.valve.end()
    place.valve.end()
    assert (await asyncio.wait_for(stream.result(), 20)).text == "one "
