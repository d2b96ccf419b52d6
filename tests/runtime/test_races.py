"""What happens when stops, messages, idle times and ends meet at the same moment."""

from __future__ import annotations

import asyncio

import pytest

from chatrt.agent import ChatAgent
from chatrt.clock import ManualClock
from chatrt.errors import SessionNotFoundError
from tests.runtime.driver import Gate, House, user
from tests.runtime.troubled_store import TroubledStore, idle, until


@pytest.fixture
def store(house: House) -> TroubledStore:
    house.store = TroubledStore()
    return house.store


def echo(**options) -> ChatAgent:
    return ChatAgent("a", run=lambda turn: turn.ui_messages[-1]["parts"][0]["text"], **options)


async def test_a_message_behind_a_stray_stop_does_not_wait(house: House, store: TroubledStore):
    """A message that comes while the cursor passes a stop without a turn is served at once, not after the idle time."""
    chat = await house.open(echo(), clock=ManualClock())
    await chat.send("one")
    commit = store.hold("commit")
    await chat.inbox.stop()
    await commit.reached.wait()

    sent = await chat.inbox.send_message(user("two"))
    await idle()
    commit.opened.set()

    assert (await asyncio.wait_for(chat.settled(sent), 1)).text == "two"


async def test_a_drain_behind_a_stray_stop_does_not_wait(house: House, store: TroubledStore):
    """A shutdown that comes while the cursor passes a stop ends the run at once."""
    chat = await house.open(echo(), clock=ManualClock())
    await chat.send("one")
    commit = store.hold("commit")
    await chat.inbox.stop()
    await commit.reached.wait()

    closing = asyncio.create_task(house.sessions.aclose(grace=60.0))
    await idle()
    commit.opened.set()

    await asyncio.wait_for(closing, 1)
    assert house.sessions.active_runs == 0


async def test_a_stop_that_comes_too_late_does_not_hit_the_next_message(house: House, gate: Gate):
    """A stop belongs to the turn that is still open, even when there is nothing left of it to end."""

    async def ending(event):
        if event.turn == 0:
            await gate.wait()

    chat = await house.open(echo(on_before_turn_complete=ending))
    one = await chat.inbox.send_message(user("one"))
    await gate.reached.wait()
    two = await chat.inbox.send_message(user("two"))
    await idle()

    await chat.inbox.stop()
    await idle()
    gate.opened.set()

    assert (await chat.settled(one)).status == "completed"
    assert (await chat.settled(two)).status == "completed"


async def test_a_stop_behind_a_turn_complete_means_the_next_message(house: House, gate: Gate):
    """While on_turn_complete still works, the turn is over for people: their stop means what they sent after it."""

    async def saved(event):
        if event.turn == 0:
            await gate.wait()

    chat = await house.open(echo(on_turn_complete=saved))
    await chat.inbox.send_message(user("one"))
    await gate.reached.wait()
    two = await chat.inbox.send_message(user("two"))
    await idle()

    await chat.inbox.stop()
    await idle()
    gate.opened.set()

    assert (await chat.settled(two)).status == "stopped"


@pytest.mark.behaviour(84)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_message_that_meets_an_idle_exit(house: House, store: TroubledStore, when: str):
    """A message that is appended while the run gives its lease back is served at once, by it or by the next run."""
    clock = ManualClock()
    chat = await house.open(echo(idle_timeout=30.0), clock=clock, lease_ttl=1e6)
    await chat.send("one")
    release = store.hold("release_lease", after=when == "after")
    await until(lambda: clock.sleepers == 2)
    clock.advance(31)
    await release.reached.wait()

    sent = await chat.inbox.send_message(user("two"))
    await idle()
    release.opened.set()

    assert (await asyncio.wait_for(chat.settled(sent), 1)).text == "two"


@pytest.mark.behaviour(84)
async def test_a_message_that_is_being_read_while_the_run_leaves(house: House, store: TroubledStore):
    """An inbox that is being read when the lease is gone already is read again by the next run."""
    clock = ManualClock()
    chat = await house.open(echo(idle_timeout=30.0), clock=clock, lease_ttl=1e6)
    await chat.send("one")
    release = store.hold("release_lease", after=True)
    await until(lambda: clock.sleepers == 2)
    clock.advance(31)
    await release.reached.wait()
    reading = store.hold("read_in")
    sent = await chat.inbox.send_message(user("two"))
    await reading.reached.wait()

    release.opened.set()

    assert (await asyncio.wait_for(chat.settled(sent), 1)).text == "two"


@pytest.mark.behaviour(215)
async def test_delete_ends_the_running_turn(house: House, gate: Gate):
    """Deleting a session ends its turn, its readers, and leaves nothing behind."""

    async def run(turn):
        yield {"type": "text-start", "id": "t"}
        await gate.wait()

    chat = await house.open(ChatAgent("a", run=run))
    sent = await chat.inbox.send_message(user("hi"))
    reading = asyncio.create_task(chat.settled(sent))
    await gate.reached.wait()

    assert await house.sessions.delete_session("chat")

    with pytest.raises((AssertionError, SessionNotFoundError)):
        await reading
    assert (house.sessions.active_runs, await house.sessions.find_session("chat")) == (0, None)


async def test_delete_does_not_wait_for_the_idle_time(house: House, gate: Gate):
    """A turn whose hook swallows its cancellation ends as it likes; its run ends with it."""

    async def start(event):
        try:
            await gate.wait()
        except asyncio.CancelledError:
            return

    chat = await house.open(echo(on_turn_start=start), clock=ManualClock())
    await chat.inbox.send_message(user("hi"))
    await gate.reached.wait()

    assert await asyncio.wait_for(house.sessions.delete_session("chat"), 1)


async def test_a_handle_from_before_a_delete_serves_the_new_session(house: House):
    """A handle that outlives a delete speaks to the session of that id; its readers see the answer."""
    old = await house.open(echo())
    await old.send("one")
    await house.sessions.delete_session("chat")
    new = await house.open(echo())
    await new.send("two")

    sent = await old.inbox.send_message(user("three"))

    assert (await asyncio.wait_for(new.settled(sent), 1)).text == "three"


async def test_closing_during_a_turn_lets_it_end(house: House, gate: Gate):
    """A session that is closed in mid-turn answers what it had taken, then its run leaves at once."""

    async def run(turn):
        await gate.wait()
        return "answer"

    chat = await house.open(ChatAgent("a", run=run), clock=ManualClock())
    sent = await chat.inbox.send_message(user("hi"))
    await gate.reached.wait()
    await house.sessions.close_session("chat")
    gate.opened.set()

    assert (await chat.settled(sent)).text == "answer"
    await until(lambda: house.sessions.active_runs == 0)


async def test_aclose_while_a_lease_is_taken(house: House, store: TroubledStore):
    """A run that begins while the manager closes ends without waiting for the grace to pass."""
    clock = ManualClock()
    chat = await house.open(echo(), clock=clock)
    lease = store.hold("acquire_lease", after=True)
    await chat.inbox.send_message(user("hi"))
    await lease.reached.wait()

    closing = asyncio.create_task(house.sessions.aclose(grace=60.0))
    await idle()
    lease.opened.set()

    await asyncio.wait_for(closing, 1)
    assert house.sessions.active_runs == 0


async def test_a_hook_may_use_the_inbox(house: House):
    """A hook may send to its own session: the message is the next turn."""

    async def again(event):
        if event.turn == 0:
            await chat.inbox.send_message(user("again"))

    chat = await house.open(echo(on_turn_complete=again))
    await chat.send("one")

    await until(lambda: chat.session.outbox.last_seq >= 14)

    assert [text for _, text in await chat.texts()] == ["one", "one", "again", "again"]


async def test_a_turn_may_stop_itself(house: House):
    """A stop from inside the answer is a stop like any other."""

    async def run(turn):
        yield {"type": "text-start", "id": "t"}
        await chat.inbox.stop(reason="enough of it")
        await asyncio.Event().wait()

    chat = await house.open(ChatAgent("a", run=run))

    turn = await chat.send("hi")

    assert (turn.status, turn.chunks[-1]["reason"]) == ("stopped", "enough of it")


async def test_regenerate_while_a_turn_runs(house: House, gate: Gate):
    """A regenerate that comes in mid-turn waits, and then replaces the answer of that turn."""

    async def run(turn):
        if turn.number == 0:
            await gate.wait()
        return f"answer {turn.number}"

    chat = await house.open(ChatAgent("a", run=run))
    await chat.inbox.send_message(user("hi"))
    await gate.reached.wait()
    again = await chat.inbox.regenerate()
    gate.opened.set()
    await chat.settled(again)

    assert await chat.texts() == [("user", "hi"), ("assistant", "answer 1")]


async def test_a_thousand_queued_messages(house: House, gate: Gate):
    """However many messages wait, each is answered once, in order."""

    async def run(turn):
        if turn.number == 0:
            await gate.wait()
        return turn.ui_messages[-1]["parts"][0]["text"]

    chat = await house.open(ChatAgent("a", run=run))
    for number in range(1000):
        last = await chat.inbox.send_message(user(str(number)))
    await gate.reached.wait()
    gate.opened.set()
    await chat.settled(last)

    said = [text for role, text in await chat.texts() if role == "assistant"]
    assert said == [str(number) for number in range(1000)]


async def test_two_sessions_do_not_meet(house: House):
    """Sessions are served side by side; each turn has its own history and its own current turn."""
    both = asyncio.Barrier(2)

    async def run(turn):
        from chatrt.turn import current_turn

        await both.wait()
        return f"{current_turn().chat_id}: {turn.ui_messages[-1]['parts'][0]['text']}"

    agent = ChatAgent("a", run=run)
    one, two = await house.open(agent, "one"), await house.open(agent, "two")

    first, second = await asyncio.gather(one.send("hi"), two.send("ho"))

    assert (first.text, second.text) == ("one: hi", "two: ho")
