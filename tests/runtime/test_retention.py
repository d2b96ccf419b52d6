"""Retention: what is removed, when, and what stays."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, Self

import pytest

from chatrt.agent import ChatAgent
from chatrt.clock import ManualClock
from chatrt.errors import UsageError
from chatrt.metrics import DELETED
from chatrt.runtime import Retention, SessionManager
from chatrt.stores import MemoryStore, Parent, SessionKey

DAY = 86_400.0
AGENT = ChatAgent("a", run=lambda turn: "ok", idle_timeout=1.0)
WEEK_AND_MONTH = Retention(closed_after=timedelta(days=7), idle_after=timedelta(days=30), every=DAY)


class Days:
    """A manager whose days pass when a test says so."""

    def __init__(self, retention: Retention = WEEK_AND_MONTH, store: MemoryStore | None = None) -> None:
        self.clock = ManualClock()
        self.store = store or MemoryStore()
        self.sessions = SessionManager(AGENT, self.store, clock=self.clock, retention=retention)

    async def __aenter__(self) -> Self:
        await self.sessions.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.sessions.aclose(grace=0)

    async def pass_days(self, days: int) -> None:
        for _ in range(days):
            for _ in range(50):
                await asyncio.sleep(0)
            self.clock.advance(DAY)
            for _ in range(50):  # nothing here waits for the machine
                await asyncio.sleep(0)

    async def say(self, chat_id: str) -> None:
        session = await self.sessions.get_session(chat_id)
        appended = await session.inbox.send_message({"role": "user", "parts": [{"type": "text", "text": "hi"}]})
        async for records in session.outbox.read(0):
            if any(one.kind == "turn-complete" and b'"inSeq":%d' % appended.seq in one.body for one in records):
                return

    async def left(self) -> list[str]:
        return [row.key.chat_id async for row in self.sessions.iter_sessions()]


async def test_idle_sessions_go_after_their_time():
    """A session is there as long as it may be, and gone with the next look."""
    async with Days() as days:
        await days.sessions.start_session("a", "c")
        await days.pass_days(30)
        assert await days.left() == ["c"]
        await days.pass_days(1)
        assert await days.left() == []
        assert days.sessions.metrics.counts[DELETED][()] == 1


async def test_closed_sessions_go_earlier():
    """Each kind has its own time."""
    async with Days() as days:
        await days.sessions.start_session("a", "open")
        await days.sessions.start_session("a", "shut")
        await days.sessions.close_session("shut")
        await days.pass_days(8)
        assert await days.left() == ["open"]


async def test_who_says_something_stays():
    """A message begins the time anew."""
    async with Days() as days:
        await days.sessions.start_session("a", "c")
        await days.pass_days(29)
        await days.say("c")
        await days.pass_days(29)
        assert await days.left() == ["c"]
        await days.pass_days(3)  # its run was suspended a day later
        assert await days.left() == []


async def test_a_family_goes_together():
    """A session stays while one that it started is in use, and takes all of them along in the end."""
    async with Days() as days:
        await days.sessions.start_session("a", "parent")
        await days.sessions.start_session("a", "child", parent=Parent(chat_id="parent", root_id="parent"))
        await days.pass_days(20)
        await days.say("child")
        await days.pass_days(20)
        assert await days.left() == ["child", "parent"]
        await days.pass_days(12)
        assert await days.left() == []


async def test_one_that_stays_does_not_keep_others():
    """More sessions than fit into one look are removed in one round, past those that stay."""
    async with Days() as days:
        await days.sessions.start_session("a", "parent")
        await days.sessions.start_session("a", "child", parent=Parent(chat_id="parent", root_id="parent"))
        days.clock.advance(1)
        for number in range(120):
            await days.sessions.start_session("a", f"old-{number}")
        await days.pass_days(20)
        await days.say("child")
        await days.pass_days(11)
        for _ in range(1000):
            await asyncio.sleep(0)
        assert await days.left() == ["child", "parent"]


async def test_an_input_in_the_last_moment_keeps_its_session():
    """Between the look and the removal an input arrives: it is acknowledged, so its session stays."""

    class LateInput(MemoryStore):
        async def delete_expired(self, key: SessionKey, **options: Any) -> bool:
            if not asked:
                asked.append(key)
                await days.say("c")
            return await super().delete_expired(key, **options)

    asked: list[SessionKey] = []
    async with Days(store=LateInput()) as days:
        await days.sessions.start_session("a", "c")
        await days.pass_days(32)
        assert asked
        assert await days.left() == ["c"]


async def test_answered_inputs_are_emptied_after_their_time():
    """What was said in them stays in the messages; sessions stay."""
    async with Days(Retention(records_after=timedelta(days=7), every=DAY)) as days:
        await days.sessions.start_session("a", "c")
        await days.say("c")
        await days.pass_days(7)
        assert (await days.store.read_in(SessionKey("", "c"), after=0))[0].body != b"{}"
        await days.pass_days(1)
        assert (await days.store.read_in(SessionKey("", "c"), after=0))[0].body == b"{}"
        await days.say("c")
        messages = (await (await days.sessions.get_session("c")).load()).messages
        assert [message["role"] for message in messages] == ["user", "assistant"] * 2


async def test_nothing_is_removed_by_default():
    """Who did not ask for it keeps everything."""
    clock = ManualClock()
    async with SessionManager(AGENT, "memory://", clock=clock) as sessions:
        await sessions.start_session("a", "c")
        clock.advance(1e9)
        for _ in range(50):
            await asyncio.sleep(0)
        assert await sessions.find_session("c") is not None


@pytest.mark.parametrize("times", [{}, {"idle_after": -1}, {"idle_after": 1, "every": 0}])
def test_times_that_cannot_be(times: dict[str, Any]):
    """Nothing to remove, or a time that is none, is told at once."""
    with pytest.raises(UsageError):
        Retention(**times)
