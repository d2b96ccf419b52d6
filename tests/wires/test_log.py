"""Whether anything is still to come, as a process knows it that does not run the session."""

from __future__ import annotations

from chatrt.agent import ChatAgent
from chatrt.clock import SystemClock
from chatrt.ids import RandomIds
from chatrt.metrics import Metrics
from chatrt.runtime import Session
from chatrt.runtime.session import LiveSession
from chatrt.stores import NewRecord
from chatrt.wires.log import is_busy, is_idle, look_up_tail
from tests.runtime.driver import Chat, House


def elsewhere(chat: Chat) -> Session:
    """The session as a process has it that hears of nothing: notices come late, or never."""
    sessions = chat.sessions
    live = LiveSession(chat.session.row, chat.session.agent, sessions.store, sessions.attachments, Metrics())
    return Session(live, SystemClock(), RandomIds(), lambda _: None)


async def test_what_another_process_has_settled_is_to_be_read_first():
    """Who has read all that is known here has not read everything when the store knows of more."""
    house = House()
    chat = await house.open(ChatAgent("a", run=lambda turn: "hello"))
    cursor = (await chat.send("one")).seq
    session = elsewhere(chat)
    assert await look_up_tail(session, cursor) == cursor
    assert await is_idle(session, house.store, cursor)
    last = (await chat.send("two")).seq

    assert session.outbox.last_seq == cursor
    assert not await is_idle(session, house.store, cursor)
    assert await is_idle(session, house.store, last)
    await chat.sessions.aclose(grace=0.0)


async def test_a_turn_of_another_process_keeps_a_session_busy():
    """Also when all that is known here of its log was read."""
    house = House()
    chat = await house.open(ChatAgent("a", run=lambda turn: None))
    await chat.send("one")
    session = elsewhere(chat)
    key = chat.session.key
    await chat.sessions.aclose(grace=0.0)
    await house.store.open()
    before = await session.position()
    assert not await is_busy(session, house.store, before)
    lease = await house.store.acquire_lease(key, owner="another", ttl=60, at=0)
    assert lease is not None
    started = NewRecord("turn-start", b'{"inSeq":2,"trigger":"message","messageId":"m"}')
    await house.store.append_out(lease, [started], at=0)

    assert await is_busy(session, house.store, await session.position())
    assert session.running is None
    assert await session.find_running() == 2
