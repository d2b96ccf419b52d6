"""Several session managers on one store, as several processes have it: roles, claims, fences, hand-over; no machine's time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from typing import Any

import pytest

from chatrt.agent import ChatAgent
from chatrt.client import AgentChat
from chatrt.clock import ManualClock
from chatrt.errors import StoreUnavailableError, UsageError
from chatrt.metrics import LOST_LEASES
from chatrt.run_control import current_run
from chatrt.runtime import SessionManager
from chatrt.stores import Notice, OnNotice, SessionKey
from tests.runtime.driver import Chat, Gate, user
from tests.runtime.troubled_store import TroubledStore, idle, until


class SharedStore(TroubledStore):
    """Says that processes may share it; what they tell one another comes when the test says it."""

    is_shared = True

    def __init__(self) -> None:
        super().__init__()
        self.listeners: list[OnNotice] = []

    def subscribe(self, on_notice: OnNotice) -> Callable[[], None]:
        self.listeners.append(on_notice)
        return lambda: self.listeners.remove(on_notice)

    async def close(self) -> None:
        """One of the processes ends; the others go on."""


class Town:
    """A store and a clock, and managers that share them."""

    def __init__(self) -> None:
        self.store, self.clock = SharedStore(), ManualClock()
        self.managers: list[SessionManager] = []

    async def open(self, agent: ChatAgent, store: Any = None, **options: Any) -> SessionManager:
        manager = SessionManager(agent, store or self.store, clock=self.clock, **options)
        self.managers.append(manager)
        await manager.start()
        return manager

    async def say(self, manager: SessionManager, name: str = "chat", text: str = "hello") -> Chat:
        chat = Chat(await manager.start_session("a", name), manager)
        await chat.inbox.send_message(user(text))
        return chat

    async def pass_time(self, seconds: float, step: float = 0.25) -> None:
        for _ in range(round(seconds / step)):
            self.clock.advance(step)
            await idle()

    async def kinds(self, name: str = "chat") -> list[str]:
        page = await self.store.read_out(SessionKey("", name), after=0)
        return [
            record.kind if record.kind != "turn-complete" else json.loads(record.body)["status"]
            for record in page.records
            if record.kind != "chunk"
        ]


@pytest.fixture
async def town() -> AsyncIterator[Town]:
    town = Town()
    yield town
    for manager in town.managers:
        await manager.aclose(grace=0.0)


def gated(gate: Gate, **options: Any) -> ChatAgent:
    async def run(turn: Any) -> str:
        await gate.wait()
        return "fine"

    return ChatAgent("a", run=run, **options)


def plain(**options: Any) -> ChatAgent:
    return ChatAgent("a", run=lambda turn: "fine", **options)


class Proxy:
    """A store as one process reaches it: what the test cuts off fails."""

    def __init__(self, store: SharedStore) -> None:
        self._store, self.cut = store, False

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name == "close" or not asyncio.iscoroutinefunction(method):
            return method

        async def call(*arguments: Any, **options: Any) -> Any:
            if self.cut:
                raise StoreUnavailableError("cut off")
            return await method(*arguments, **options)

        return call


# --- roles


@pytest.mark.parametrize("role", ["web", "worker"])
def test_a_store_of_one_process_has_no_roles(role: Any):
    """A store that one process opens refuses roles, and says why."""
    with pytest.raises(UsageError, match="several processes"):
        SessionManager(plain(), role=role)


def test_an_unknown_role_is_refused():
    """There are three roles."""
    with pytest.raises(UsageError, match="worker"):
        SessionManager(plain(), role="work")  # type: ignore[arg-type]


async def test_web_takes_and_workers_answer(town: Town):
    """A process of role `web` never takes a lease; what it takes in is answered by a worker, within a second."""
    web = await town.open(plain(), role="web")
    await town.say(web)
    await town.pass_time(20)
    assert (web.active_runs, await town.kinds()) == (0, [])

    await town.open(plain(), role="worker")
    await town.say(web, text="again")
    await town.pass_time(1)
    assert (await town.kinds())[-1] == "completed"
    assert town.store.calls.count("acquire_lease") == 0


# --- claims


async def test_a_full_worker_leaves_work_to_others(town: Town, gate: Gate):
    """A process serves no more sessions than `max_runs`; the others are served elsewhere."""
    first = await town.open(gated(gate), max_runs=1)
    chats = [await town.say(first, name) for name in ("one", "two", "three")]
    await town.pass_time(5)
    assert first.active_runs == 1

    second = await town.open(gated(gate), max_runs=1)
    await town.pass_time(2)
    assert (first.active_runs, second.active_runs) == (1, 1)

    gate.opened.set()
    await town.pass_time(5)
    assert [await town.kinds(chat.session.chat_id) for chat in chats] == [["turn-start", "completed"]] * 3


async def test_very_many_are_taken_up_one_after_another(town: Town, gate: Gate):
    """A process that finds very many sessions begins a hundred a second."""
    web = await town.open(plain(), role="web")
    for number in range(250):
        await town.say(web, f"chat-{number}")
    worker = await town.open(gated(gate), lease_ttl=60.0)
    served = [0]
    for _ in range(4):
        await town.pass_time(1)
        served.append(worker.active_runs)
    assert served[-1] == 250
    assert all(later - before <= 100 for before, later in pairwise(served))


async def test_who_only_waits_makes_room(town: Town):
    """A session that waits for its next message does not keep others from being served where there is a bound."""
    manager = await town.open(plain(idle_timeout=3600.0), max_runs=1)
    for name in ("one", "two", "three"):
        await town.say(manager, name)
        await idle()
    await town.pass_time(4)
    assert [await town.kinds(name) for name in ("one", "two", "three")] == [["turn-start", "completed"]] * 3


async def test_a_sub_agent_has_its_place(town: Town):
    """A turn that waits for a sub-agent does not wait for its own place: sub-agents are served beside the bound."""

    async def ask(turn: Any) -> str:
        child = AgentChat("b", id=f"{turn.chat_id}-b")
        return await child.send_message("and you?").text()

    agents: Any = [ChatAgent("a", run=ask), ChatAgent("b", run=lambda turn: "fine, too")]
    manager = await town.open(agents, max_runs=1)
    await town.say(manager)
    await town.pass_time(3)
    assert await town.kinds() == ["turn-start", "completed"]


def test_a_bound_is_at_least_one():
    """A process that may serve nothing is a mistake."""
    with pytest.raises(UsageError, match="max_runs"):
        SessionManager(plain(), max_runs=0)


async def test_many_hints_are_one_look(town: Town):
    """However many notices come at once, there is one look at the store, and one behind it."""
    await town.open(plain())
    await idle()
    before = town.store.calls.count("claim_leases")
    for _ in range(100):
        for tell in town.store.listeners:
            tell(Notice("free", SessionKey("", "somebody's")))
    await town.pass_time(0.5, step=0.1)
    looks = town.store.calls.count("claim_leases") - before
    assert 1 <= looks <= 4  # a look asks for suspects apart


async def test_a_hint_about_what_somebody_holds_costs_nothing(town: Town):
    """A record of a session that another process serves makes nobody else look."""
    await town.open(plain())
    await idle()
    before = list(town.store.calls)
    for tell in town.store.listeners:
        tell(Notice("in", SessionKey("", "somebody's"), 7))
    await idle()
    assert town.store.calls == before


# --- takeover


@pytest.mark.parametrize("ttl", [2.0, 10.0])
async def test_a_dead_process_is_followed_in_time(town: Town, gate: Gate, ttl: float):
    """What a process that died leaves is taken up at most a second after its lease ran out."""
    proxy = Proxy(town.store)
    first = await town.open(gated(gate), proxy, lease_ttl=ttl)
    await town.say(first)
    await gate.reached.wait()
    second = await town.open(gated(gate), lease_ttl=ttl)
    proxy.cut = True
    waited = 0.0
    while not second.active_runs:
        await town.pass_time(0.25)
        waited += 0.25
    assert ttl - ttl / 3 <= waited <= ttl + 1.25


async def test_who_cannot_renew_gives_up(town: Town, gate: Gate):
    """A process that cannot renew for a whole TTL cancels its turns and writes nothing; then it joins again."""
    ended = asyncio.Event()

    async def run(turn: Any) -> AsyncIterator[Any]:
        if gate.opened.is_set():
            yield {"type": "text-start", "id": "t"}
            return
        try:
            await gate.wait()
        finally:
            ended.set()
            yield {"type": "text-start", "id": "late"}

    proxy = Proxy(town.store)
    manager = await town.open(ChatAgent("a", run=run), proxy, lease_ttl=10.0)
    await town.say(manager)
    await gate.reached.wait()
    proxy.cut = True
    await town.pass_time(9)
    assert not ended.is_set()
    await town.pass_time(2)
    assert ended.is_set()
    assert manager.metrics.counts[LOST_LEASES] == {(): 1}
    assert await town.kinds() == ["turn-start"]

    gate.opened.set()
    proxy.cut = False
    await town.pass_time(12)
    assert (await town.kinds())[-1] == "completed"


async def test_who_was_frozen_asks_first(town: Town, gate: Gate):
    """A process that was frozen for longer than its lease goes on where nobody has taken over."""
    manager = await town.open(gated(gate), lease_ttl=10.0)
    await town.say(manager)
    await gate.reached.wait()
    town.clock.advance(60)
    await town.pass_time(5)
    gate.opened.set()
    await town.pass_time(1)
    assert await town.kinds() == ["turn-start", "completed"]


async def test_who_was_frozen_too_long_writes_nothing(town: Town, gate: Gate):
    """A process that was frozen while another one took over ends its turn, and serves other sessions on."""
    frozen = await town.open(gated(gate), lease_ttl=10.0)
    chat = await town.say(frozen)
    await gate.reached.wait()
    taken = await town.store.acquire_lease(chat.session.key, owner="another", ttl=1e6, at=town.clock.now() + 11)
    town.clock.advance(15)
    await idle()
    await town.pass_time(1)
    gate.opened.set()
    await idle()
    assert taken is not None
    assert (frozen.active_runs, await town.kinds()) == (0, ["turn-start"])
    await town.say(frozen, "other")
    await idle()
    assert await town.kinds("other") == ["turn-start", "completed"]


async def test_a_lease_that_could_not_be_given_back_is_given_back_later(town: Town, gate: Gate):
    """A run that ended while the store was away does not keep its session from others when the store is back."""
    proxy = Proxy(town.store)
    manager = await town.open(gated(gate, idle_timeout=0.0), proxy, lease_ttl=1000.0)
    await town.say(manager)
    await gate.reached.wait()
    proxy.cut = True
    gate.opened.set()
    await town.pass_time(60)
    assert manager.active_runs == 0
    proxy.cut = False
    await town.pass_time(700)
    assert (await town.kinds())[-1] == "completed"


# --- hand-over


async def test_draining_leaves_idle_sessions_at_once(town: Town, gate: Gate):
    """Who drains gives back what only waits and takes nothing new; a turn that runs goes on, and its lease is kept."""

    async def run(turn: Any) -> str:
        if turn.chat_id == "slow":
            await gate.wait()
        return "fine"

    agent = ChatAgent("a", run=run, idle_timeout=3600.0)
    manager = await town.open(agent, lease_ttl=10.0)
    await town.say(manager, "idle")
    await town.say(manager, "slow")
    await gate.reached.wait()
    await until(lambda: manager.active_runs == 2)
    await idle()
    manager.drain()
    await idle()
    assert manager.active_runs == 1
    await town.say(manager, "new")
    await town.pass_time(30)
    assert await town.kinds("new") == []

    gate.opened.set()
    await manager.aclose(grace=1.0)
    assert await town.kinds("slow") == ["turn-start", "completed"]
    second = await town.open(agent)
    await until(lambda: second.active_runs == 1)
    await idle()
    assert await town.kinds("new") == ["turn-start", "completed"]


async def test_a_turn_that_outlives_the_grace_is_handed_over(town: Town, gate: Gate):
    """What runs beyond the grace is cancelled and free at once: another process goes on, and nobody has died."""
    first = await town.open(gated(gate))
    chat = await town.say(first)
    await gate.reached.wait()
    second = await town.open(gated(gate))
    await first.aclose(grace=0.0)
    gate.opened.set()
    await town.pass_time(1)
    assert second.active_runs == 1
    assert (await town.kinds())[-1] == "completed"
    lease = await town.store.acquire_lease(chat.session.key, owner="x", ttl=1, at=town.clock.now() + 60)
    assert lease is not None
    assert lease.deaths == 0


async def test_a_second_word_ends_the_grace(town: Town, gate: Gate):
    """Who is in a hurry need not wait for the grace: what runs is handed over now."""
    manager = await town.open(gated(gate))
    await town.say(manager)
    await gate.reached.wait()
    closing = asyncio.create_task(manager.aclose(grace=3600.0))
    await idle()
    manager.hurry()
    await asyncio.wait_for(closing, 5)
    assert await town.store.find_unserved(at=town.clock.now()) == [SessionKey("", "chat")]


# --- upgrades


def upgrading(told: list[str], name: str) -> ChatAgent:
    def start(event: Any) -> None:
        told.append(name)
        if name == "old":
            current_run().request_upgrade()

    return ChatAgent("a", run=lambda turn: name, on_turn_start=start)


async def test_an_upgrade_is_left_to_another_process(town: Town):
    """What a run hands on is taken by another process, if there is one."""
    told: list[str] = []
    old = await town.open(upgrading(told, "old"))
    await town.say(old)
    await idle()
    new = await town.open(upgrading(told, "new"))
    await town.pass_time(2)
    assert (told, new.active_runs) == (["old", "new"], 1)
    assert await town.kinds() == ["turn-start", "upgrade", "turn-start", "completed"]


async def test_an_upgrade_that_nobody_takes_is_served_here(town: Town):
    """Where no other process takes what was handed on, the same one answers after a moment."""
    told: list[str] = []
    await town.say(await town.open(upgrading(told, "old")))
    await town.pass_time(0.75)
    assert told == ["old"]
    await town.pass_time(1)
    assert told == ["old", "old"]
    assert (await town.kinds())[-1] == "completed"


async def test_a_claim_that_is_told_late_ends_no_run_of_its_process(town: Town):
    """A process that claims a session and takes it once more for an append goes on with the newer lease."""
    gate = Gate()
    manager = await town.open(gated(gate))
    web = await town.open(plain(), role="web")
    told = town.store.hold("claim_leases", after=True)
    await town.say(web)
    town.store.listeners[0](Notice("free", SessionKey("", "chat"), 1))
    await idle()
    await town.pass_time(0.25)
    await until(told.reached.is_set)
    await town.say(manager, text="again")
    await until(gate.reached.is_set)
    told.opened.set()
    await idle()
    gate.opened.set()
    await idle()
    assert await town.kinds() == ["turn-start", "completed", "turn-start", "completed"]
    assert LOST_LEASES not in manager.metrics.counts
