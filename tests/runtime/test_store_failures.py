"""A store that is away for a while, or a lease that is lost, at every step of a turn."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from chatrt.agent import ChatAgent
from chatrt.clock import ManualClock
from chatrt.generate import stream_text
from chatrt.models import ScriptedModel
from tests.runtime.driver import Chat, Gate, House, Settled, user
from tests.runtime.troubled_store import TroubledStore, idle


@pytest.fixture
def store(house: House) -> TroubledStore:
    house.store = TroubledStore()
    return house.store


def telling(*script: str) -> ChatAgent:
    model = ScriptedModel(script)
    return ChatAgent("a", run=lambda turn: stream_text(model, turn.messages))


async def settled_meanwhile(chat: Chat, clock: ManualClock, sent) -> Settled:
    """Let time pass until an input is settled."""
    settling = asyncio.create_task(chat.settled(sent))
    for _ in range(200):
        await idle()
        if settling.done():
            return await settling
        clock.advance(1.0)
    settling.cancel()
    raise AssertionError("it was never settled")


async def completes(chat: Chat) -> list[int]:
    """The inputs that are settled, in the order of their turn-completes."""
    batches = [batch async for batch in chat.session.outbox.read(live=False)]
    return [json.loads(r.body)["inSeq"] for batch in batches for r in batch if r.kind == "turn-complete"]


STEPS = [
    "load_snapshot",
    "read_in",
    "acquire_lease",
    "claim_leases",
    "append_out_groups",
    "commit",
    "release_lease",
    "renew_leases",
    "find_unserved",
]


@pytest.mark.behaviour(87, 91, 95, 96, 214)
@pytest.mark.parametrize("method", STEPS)
@pytest.mark.parametrize("times", [1, 3, 12])
async def test_a_store_that_is_away_for_a_while(house: House, store: TroubledStore, method: str, times: int):
    """However often the store is unavailable at a step, once it is back every input is settled once, in order."""
    clock = ManualClock()
    chat = await house.open(telling("one", "two", "three"), clock=clock)
    store.fail(method, times)

    first = await settled_meanwhile(chat, clock, await chat.inbox.send_message(user("a")))
    await settled_meanwhile(chat, clock, await chat.inbox.send_message(user("b")))

    assert first.status in ("completed", "interrupted")
    assert await completes(chat) == [1, 2]


async def test_a_store_that_cannot_be_read_for_a_moment_ends_no_turn(house: House, store: TroubledStore):
    """A turn goes on while the inputs behind it cannot be read; they are answered when they can."""
    clock, gate, begun = ManualClock(), Gate(), 0

    async def run(turn: Any) -> str:
        nonlocal begun
        begun += 1
        await gate.wait()
        return "fine"

    chat = await house.open(ChatAgent("a", run=run), clock=clock)
    first = await chat.inbox.send_message(user("a"))
    await gate.reached.wait()
    store.fail("read_in", 3)
    second = await chat.inbox.send_message(user("b"))
    await idle()
    gate.opened.set()
    statuses = [(await settled_meanwhile(chat, clock, sent)).status for sent in (first, second)]

    assert (statuses, begun) == (["completed", "completed"], 2)


@pytest.mark.parametrize("method", ["append_out_groups", "commit", "load_snapshot", "read_in"])
@pytest.mark.parametrize("after", [False, True])
async def test_a_lease_that_is_lost_at_a_step(house: House, store: TroubledStore, method: str, after: bool):
    """A worker whose lease is taken over writes nothing more, and leaves no run behind."""
    clock = ManualClock()
    chat = await house.open(telling("one"), clock=clock)
    store.lose_lease(method, after=after)
    await chat.inbox.send_message(user("a"))

    for _ in range(40):
        await idle()
        clock.advance(1.0)

    stored = await store.read_out(chat.session.key, after=0)
    committed = [record.kind for record in stored.records].count("turn-complete")
    assert committed == (1 if (method, after) == ("commit", True) else 0)
    assert house.sessions.active_runs == 0


async def test_a_lease_that_is_lost_while_a_hook_swallows_its_end(house: House, store: TroubledStore):
    """A hook that swallows the cancellation of a lost lease does not keep the run alive."""
    reached = asyncio.Event()

    async def start(event):
        reached.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return

    clock = ManualClock()
    chat = await house.open(ChatAgent("a", run=lambda turn: "hi", on_turn_start=start), clock=clock)
    await chat.inbox.send_message(user("a"))
    await reached.wait()
    store.lose_lease("renew_leases")

    for _ in range(20):
        await idle()
        clock.advance(1.0)

    assert house.sessions.active_runs == 0
    assert "turn-complete" not in [r.kind for r in (await store.read_out(chat.session.key, after=0)).records]


async def test_a_failed_append_is_no_input(house: House, store: TroubledStore):
    """An append that raised was not acknowledged; sent again under its part id it is served once."""
    chat = await house.open(telling("one", "two"))
    store.fail("append_in", after=True)
    with pytest.raises(Exception, match="fire"):
        await chat.inbox.send_message(user("a", "u1"), part_id="p")

    again = await chat.inbox.send_message(user("a", "u1"), part_id="p")
    await chat.settled(again)

    assert again.repeated
    assert await chat.texts() == [("user", "a"), ("assistant", "one")]


async def test_a_round_over_the_leases_survives_any_failure(house: House, store: TroubledStore):
    """Whatever a round over the leases runs into, the next round comes."""

    async def break_down() -> None:
        raise RuntimeError("a defect")

    clock = ManualClock()
    await house.open(telling("one"), clock=clock)
    store._plan("claim_leases", break_down, after=False)
    before = store.calls.count("claim_leases")

    for _ in range(10):
        await idle()
        clock.advance(4.0)

    assert store.calls.count("claim_leases") > before + 2


@pytest.mark.behaviour(57)
async def test_an_input_of_an_unknown_kind_is_passed(house: House, store: TroubledStore):
    """A record that is neither message, regenerate, action nor stop makes no turn, and the next one is served."""
    from chatrt.stores import NewRecord

    asked = []
    chat = await house.open(ChatAgent("a", run=lambda turn: asked.append(1) or "hi"))
    await chat.send("one")
    for kind in ("close", "unheard-of"):
        await store.append_in(chat.session.key, NewRecord(kind, b"{}"), part_id=None, at=0.0)

    await chat.send("two")

    assert await completes(chat) == [1, 4]
    assert len(asked) == 2


@pytest.mark.parametrize("times", [1, 3])
async def test_a_commit_that_took_effect_and_failed_is_not_made_twice(house: House, store: TroubledStore, times: int):
    """When the store did write and then said it could not, the turn is settled once all the same."""
    clock = ManualClock()
    chat = await house.open(telling("one", "two"), clock=clock)
    store.fail("commit", after=True)
    store.fail("read_cursors", times - 1)

    await settled_meanwhile(chat, clock, await chat.inbox.send_message(user("a")))
    await settled_meanwhile(chat, clock, await chat.inbox.send_message(user("b")))

    assert await completes(chat) == [1, 2]
    assert [text for _, text in await chat.texts()] == ["a", "one", "b", "two"]


@pytest.mark.parametrize("method", ["commit", "append_out_groups"])
async def test_a_write_of_unknown_outcome_reaches_its_readers(house: House, store: TroubledStore, method: str):
    """Whoever waits is shown what the store did write, also when the run that wrote it ended without learning of it."""
    clock = ManualClock()
    chat = await house.open(telling("one"), clock=clock)
    store.fail(method, after=True)
    store.fail("read_cursors", 12)

    await settled_meanwhile(chat, clock, await chat.inbox.send_message(user("a")))

    assert await completes(chat) == [1]


async def test_chunks_that_were_stored_and_reported_lost_are_not_stored_twice(house: House, store: TroubledStore):
    """A group of chunks of unknown outcome is looked for before it is written again."""
    clock = ManualClock()
    chat = await house.open(telling("one two three"), clock=clock)
    store.fail("append_out_groups", after=True)

    turn = await settled_meanwhile(chat, clock, await chat.inbox.send_message(user("a")))

    records = (await store.read_out(chat.session.key, after=0)).records
    assert turn.text == "one two three"
    assert [record.kind for record in records].count("turn-start") == 1
    assert [record.seq for record in records] == list(range(1, len(records) + 1))
