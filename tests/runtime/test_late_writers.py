"""Code that goes on after its turn is over: nothing of it reaches a later turn or the log."""

from __future__ import annotations

import asyncio
import logging

import pytest

from chatrt.agent import ChatAgent
from chatrt.clock import ManualClock
from chatrt.errors import UsageError
from chatrt.turn import current_turn
from tests.runtime.driver import Gate, House, user
from tests.runtime.troubled_store import TroubledStore, idle, until


class Deaf:
    """An answer that ignores every cancellation until its gate opens, and then goes on talking."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.ended = asyncio.Event()

    async def run(self, turn):
        if turn.number:
            return turn.ui_messages[-1]["parts"][0]["text"]
        return self.talk(turn)

    async def talk(self, turn):
        try:
            yield {"type": "text-start", "id": "t"}
            yield {"type": "text-delta", "id": "t", "delta": "before"}
            while not self.gate.opened.is_set():
                try:
                    await self.gate.wait()
                except asyncio.CancelledError:
                    continue
            turn.response.write({"type": "data-late", "id": "d", "data": 1})
            yield {"type": "text-delta", "id": "t", "delta": "after"}
            turn.response.write({"type": "data-late", "id": "d", "data": 2})
        finally:
            self.ended.set()


async def stopped_deaf(house: House, deaf: Deaf, clock: ManualClock, **hooks):
    """Stop a deaf answer and let the time pass that it is given to end."""
    chat = await house.open(ChatAgent("a", run=deaf.run, **hooks), clock=clock, lease_ttl=1e6)
    sent = await chat.inbox.send_message(user("hi"))
    await deaf.gate.reached.wait()
    await until(lambda: clock.sleepers == 1)
    await chat.inbox.stop()
    await until(lambda: clock.sleepers == 2)
    clock.advance(3)
    return chat, sent


async def test_a_deaf_answer_does_not_hold_its_stop(house: House):
    """An answer that ignores its cancellation is left behind after a short grace."""
    deaf = Deaf()
    chat, sent = await stopped_deaf(house, deaf, ManualClock())

    turn = await chat.settled(sent)
    deaf.gate.opened.set()

    assert (turn.status, turn.text) == ("stopped", "before")


async def test_what_a_deaf_answer_says_later_is_dropped(house: House):
    """What an abandoned answer writes while a later turn runs, or between turns, is on nobody's stream."""
    deaf = Deaf()
    chat, sent = await stopped_deaf(house, deaf, ManualClock())
    await chat.settled(sent)
    last_seq = chat.session.outbox.last_seq

    deaf.gate.opened.set()
    await deaf.ended.wait()
    await idle()

    assert chat.session.outbox.last_seq == last_seq
    assert (await chat.send("two")).text == "two"


async def test_a_deaf_answer_is_dropped_while_the_last_hook_writes(house: House):
    """While on_before_turn_complete writes, an abandoned answer still cannot."""
    deaf = Deaf()

    async def note(event):
        deaf.gate.opened.set()
        await deaf.ended.wait()
        event.response.write({"type": "data-note", "data": 1})

    chat, sent = await stopped_deaf(house, deaf, ManualClock(), on_before_turn_complete=note)

    turn = await chat.settled(sent)

    assert [kind for kind in turn.types if kind.startswith("data-")] == ["data-note"]
    assert turn.text == "before"


async def test_a_deaf_answer_does_not_hold_a_shutdown(house: House):
    """A run that is cancelled does not wait for an answer that ignores it."""
    deaf = Deaf()
    clock = ManualClock()
    chat = await house.open(ChatAgent("a", run=deaf.run), clock=clock, lease_ttl=1e6)
    await chat.inbox.send_message(user("hi"))
    await deaf.gate.reached.wait()

    closing = asyncio.create_task(house.sessions.aclose(grace=0.0))
    await idle()
    clock.advance(3)
    try:
        await asyncio.wait_for(asyncio.shield(closing), 1)
        assert house.sessions.active_runs == 0
    finally:
        deaf.gate.opened.set()
    await deaf.ended.wait()


async def test_writing_after_the_turn_is_dropped(house: House, caplog: pytest.LogCaptureFixture):
    """Whoever writes into an answer that is over changes nothing, and the log says so."""
    kept = []
    chat = await house.open(ChatAgent("a", run=lambda turn: kept.append(turn.response) or "hi"))
    await chat.send("one")
    last_seq = chat.session.outbox.last_seq

    with caplog.at_level(logging.WARNING):
        kept[0].write({"type": "data-late", "data": 1})
    await idle()

    assert chat.session.outbox.last_seq == last_seq
    assert (await chat.session.position()).status == "idle"
    assert "over" in caplog.text


async def test_writing_in_on_turn_complete_is_dropped(house: House):
    """The stream is closed when on_turn_complete fires: nothing stands behind a turn-complete."""

    def late(event):
        current_turn().response.write({"type": "data-late", "data": 1})

    chat = await house.open(ChatAgent("a", run=lambda turn: "hi", on_turn_complete=late))
    await chat.send("one")
    await chat.send("two")

    kinds = [record.kind async for record in _stored(chat)]
    assert kinds.count("turn-complete") == 2
    assert "data-late" not in str([record.body async for record in _stored(chat)])


async def _stored(chat):
    async for batch in chat.session.outbox.read(live=False):
        for record in batch:
            yield record


async def test_the_current_turn_ends_with_its_turn(house: House):
    """A hook that fires before the next turn is open does not find the turn before it."""
    found = []

    def validate(event):
        try:
            found.append(current_turn().message_id)
        except UsageError:
            found.append(None)
        return event.messages

    chat = await house.open(ChatAgent("a", run=lambda turn: "hi", on_validate_messages=validate))
    await chat.send("one")
    await chat.send("two")

    assert found == [None, None]


async def test_a_change_of_the_history_during_the_commit_is_not_lost(house: House):
    """Code of an earlier turn that changes the history while a later one is committed: the change is stored next."""
    house.store = store = TroubledStore()
    chat = await house.open(ChatAgent("a", run=lambda turn: "hi"))
    await chat.send("one")
    commit = store.hold("commit")
    sent = await chat.inbox.send_message(user("two"))
    await commit.reached.wait()

    chat.session.history.append({"id": "late", "role": "user", "parts": [{"type": "text", "text": "late"}]})
    commit.opened.set()
    await chat.settled(sent)
    await chat.send("three")

    assert [text for _, text in await chat.texts()] == ["one", "hi", "two", "hi", "late", "three", "hi"]
