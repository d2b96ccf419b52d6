"""The life of a run: preload, suspend and resume, its limits, hand-over to newer code."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from chatrt.agent import ChatAgent
from chatrt.clock import ManualClock
from chatrt.errors import UsageError
from chatrt.run_control import current_run
from tests.runtime.driver import Chat, Gate, House, user
from tests.runtime.troubled_store import TroubledStore
from tests.runtime.troubled_store import idle as can_do


def logged(told: list[Any], **options: Any) -> ChatAgent:
    """An agent that answers "ok" and tells which hooks fired."""

    def run(turn):
        told.append(("run", turn.run_id, turn.number))
        return "ok"

    agent = ChatAgent("a", run=run, **options)
    agent.on_boot(lambda e: told.append(("boot", e.run_id, e.continuation, e.resumed, e.preloaded)))
    agent.on_preload(lambda e: told.append(("preload", e.run_id)))
    agent.on_chat_start(lambda e: told.append(("chat_start", e.preloaded)))
    agent.on_chat_suspend(lambda e: told.append(("suspend", e.phase, e.turn)))
    agent.on_chat_resume(lambda e: told.append(("resume", e.phase, e.turn)))
    return agent


async def opened(house: House, agent: ChatAgent) -> tuple[Chat, ManualClock]:
    clock = ManualClock()
    return await house.open(agent, clock=clock), clock


async def idle(chat: Chat, clock: ManualClock, seconds: float) -> None:
    """Let time pass for a run that waits, until it has left memory."""
    while chat.sessions.active_runs and clock.sleepers < 2:
        await asyncio.sleep(0)  # the sweep sleeps, and so does the run
    clock.advance(seconds)
    while chat.sessions.active_runs:
        await asyncio.sleep(0)


def names(told: list[Any]) -> list[str]:
    return [entry[0] for entry in told]


# --- suspend and resume


async def test_an_idle_run_is_suspended_and_comes_back(house: House):
    """What comes within `turn_timeout` is served by the same run, in a new memory: boot, then resume."""
    told: list[Any] = []
    chat, clock = await opened(house, logged(told))
    await chat.send("one")
    await idle(chat, clock, 30)
    clock.advance(3000)
    await chat.send("two")

    run_id = told[0][1]
    assert told == [
        ("boot", run_id, False, False, False),
        ("chat_start", False),
        ("run", run_id, 0),
        ("suspend", "turn", 1),
        ("boot", run_id, False, True, False),
        ("resume", "turn", 1),
        ("run", run_id, 1),
    ]


async def test_a_suspended_run_ends_with_its_timeout(house: House):
    """After `turn_timeout` another run begins: a continuation, without a resume."""
    told: list[Any] = []
    chat, clock = await opened(house, logged(told, turn_timeout=60))
    await chat.send("one")
    await idle(chat, clock, 30)
    clock.advance(61)
    await chat.send("two")

    first, second = told[0][1], told[-1][1]
    assert first != second
    assert told[-2:] == [("boot", second, True, False, False), ("run", second, 0)]


async def test_a_message_in_the_idle_time_neither_suspends_nor_resumes(house: House):
    """A run that is asked again in time just goes on."""
    told: list[Any] = []
    chat, _ = await opened(house, logged(told))
    await chat.send("one")
    await chat.send("two")
    assert names(told) == ["boot", "chat_start", "run", "run"]


async def test_a_run_that_died_is_not_resumed(house: House):
    """After a crash another run begins; only a run that was suspended comes back."""
    told: list[Any] = []
    agent = logged(told)
    chat = await house.open(agent)
    await chat.send("one")
    await house.crash()
    chat = await house.open(agent)
    await chat.send("two")
    assert names(told) == ["boot", "chat_start", "run", "boot", "run"]
    assert told[0][1] != told[-1][1]


async def test_a_resume_hook_that_raises_loses_no_message(house: House):
    """`on_chat_resume` raising fails the turn of the message that woke the run; the next turn tries again."""
    told: list[Any] = []
    agent = logged(told)
    fails = [True]

    @agent.on_chat_resume
    def resume(event):
        if fails.pop():
            fails.append(False)
            raise RuntimeError
        told.append(("resume",))

    chat, clock = await opened(house, agent)
    await chat.send("one")
    await idle(chat, clock, 30)

    failed, after = await chat.send("two"), await chat.send("three")

    assert (failed.status, after.status) == ("failed", "completed")
    assert [text for _, text in await chat.texts()] == ["one", "ok", "two", "three", "ok"]
    assert names(told)[-2:] == ["resume", "run"]


async def test_a_suspend_hook_that_raises_is_logged(house: House):
    """`on_chat_suspend` raising keeps nobody from leaving."""
    agent = logged([])

    @agent.on_chat_suspend
    def suspend(event):
        raise RuntimeError

    chat, clock = await opened(house, agent)
    await chat.send("one")
    await idle(chat, clock, 30)
    assert (await chat.send("two")).status == "completed"


async def test_what_arrives_while_suspending_is_served_at_once(house: House, gate: Gate):
    """A message that comes during `on_chat_suspend` is answered by the same memory, after `on_chat_resume`."""
    told: list[Any] = []
    agent = logged(told)

    @agent.on_chat_suspend
    async def suspend(event):
        told.append(("suspend",))
        await gate.wait()

    chat, clock = await opened(house, agent)
    await chat.send("one")
    while clock.sleepers < 2:
        await asyncio.sleep(0)
    clock.advance(30)
    await gate.reached.wait()
    sent = await chat.inbox.send_message({"role": "user", "parts": [{"type": "text", "text": "two"}]})
    gate.opened.set()
    await chat.settled(sent)
    assert names(told) == ["boot", "chat_start", "run", "suspend", "resume", "run"]


async def test_a_stop_resumes_nothing(house: House):
    """A stop for a suspended chat is passed: no hook fires, and the chat stays suspended."""
    told: list[Any] = []
    chat, clock = await opened(house, logged(told))
    await chat.send("one")
    await idle(chat, clock, 30)
    before = names(told)
    await chat.inbox.stop()
    await idle(chat, clock, 30)
    await chat.send("two")
    assert names(told)[len(before) :] == ["boot", "resume", "run"]


async def test_timeouts_can_be_set_by_the_run(house: House):
    """`set_idle_timeout` and `set_turn_timeout` hold until the run ends."""
    told: list[Any] = []
    agent = logged(told)

    @agent.on_turn_complete
    def linger(event):
        current_run().set_idle_timeout(300)
        current_run().set_turn_timeout(10)

    chat, clock = await opened(house, agent)
    await chat.send("one")
    while clock.sleepers < 2:
        await asyncio.sleep(0)
    clock.advance(299)
    await asyncio.sleep(0)
    assert chat.sessions.active_runs == 1
    await idle(chat, clock, 1)
    clock.advance(11)
    await chat.send("two")
    assert names(told) == ["boot", "chat_start", "run", "suspend", "boot", "run"]


async def test_closing_suspends_nobody(house: House):
    """A closed chat leaves memory without `on_chat_suspend`: nothing will come any more."""
    told: list[Any] = []
    chat, clock = await opened(house, logged(told))
    await chat.send("one")
    await chat.sessions.close_session("chat")
    while chat.sessions.active_runs:
        await asyncio.sleep(0)
    assert names(told) == ["boot", "chat_start", "run"]
    assert clock.now() == ManualClock().now()


# --- preload


async def test_preload_starts_the_run_ahead_of_the_first_message(house: House):
    """A preload fires `on_boot` and `on_preload`; the first message finds the run there, and says so to the hooks."""
    told: list[Any] = []
    chat, _ = await opened(house, logged(told))
    preload = await chat.settled(await chat.inbox.preload())
    await chat.send("one")
    run_id = told[0][1]
    assert preload.status == "completed"
    assert told == [
        ("boot", run_id, False, False, True),
        ("preload", run_id),
        ("chat_start", True),
        ("run", run_id, 0),
    ]


async def test_a_preload_behind_a_message_does_nothing(house: House):
    """`on_preload` fires only when the preload is what started the run."""
    told: list[Any] = []
    chat, _ = await opened(house, logged(told))
    await chat.send("one")
    await chat.inbox.preload()
    await chat.send("two")
    assert names(told) == ["boot", "chat_start", "run", "run"]


async def test_a_preloaded_run_has_its_own_idle_window(house: House):
    """Until something is served `preload_idle_timeout` counts, and the phase is `preload`."""
    told: list[Any] = []
    chat, clock = await opened(house, logged(told, preload_idle_timeout=5, idle_timeout=500))
    await chat.settled(await chat.inbox.preload())
    await idle(chat, clock, 5)
    await chat.send("one")
    assert names(told) == ["boot", "preload", "suspend", "boot", "resume", "chat_start", "run"]
    assert told[2] == ("suspend", "preload", 0)


async def test_an_unused_preload_may_end_its_run(house: House):
    """With `exit_after_preload_idle` an unused preloaded run ends without suspend hooks."""
    told: list[Any] = []
    chat, clock = await opened(house, logged(told, exit_after_preload_idle=True))
    await chat.settled(await chat.inbox.preload())
    await idle(chat, clock, 30)
    await chat.send("one")
    assert names(told) == ["boot", "preload", "boot", "chat_start", "run"]


async def test_what_on_preload_writes_is_shown_and_not_kept(house: House):
    """A chunk written in `on_preload` is on `.out`; the history stays empty."""
    agent = ChatAgent("a", run=lambda turn: "ok")
    agent.on_preload(lambda e: e.response.write({"type": "data-hint", "data": 1}))
    chat, _ = await opened(house, agent)
    preload = await chat.settled(await chat.inbox.preload())
    assert "data-hint" in preload.types
    assert await chat.messages() == []


async def test_a_failing_preload_leaves_the_chat_usable(house: House):
    """`on_preload` raising is a failed preload; the next message is answered."""
    agent = ChatAgent("a", run=lambda turn: "ok")

    @agent.on_preload
    def fail(event):
        raise RuntimeError

    chat, _ = await opened(house, agent)
    assert (await chat.settled(await chat.inbox.preload())).status == "failed"
    assert (await chat.send("one")).status == "completed"


# --- limits


async def test_max_turns_ends_the_run_and_drops_nothing(house: House, gate: Gate):
    """After `max_turns` turns, failed ones included, the run ends; what waits is the next run's (D7)."""
    runs: list[Any] = []

    async def run(turn):
        runs.append((turn.run_id, turn.number))
        if len(runs) == 1:
            await gate.wait()
            raise RuntimeError
        return "ok"

    chat = await house.open(ChatAgent("a", run=run, max_turns=2))
    sent = [await chat.inbox.send_message({"role": "user", "parts": [{"type": "text", "text": w}]}) for w in "abcd"]
    await gate.reached.wait()
    gate.opened.set()

    assert [(await chat.settled(s)).status for s in sent] == ["failed", "completed", "completed", "completed"]
    first, second = runs[0][0], runs[2][0]
    assert runs == [(first, 0), (first, 1), (second, 0), (second, 1)]
    assert first != second


async def test_actions_do_not_count_as_turns(house: House):
    """An action uses up none of `max_turns`."""
    runs: list[str] = []
    agent = ChatAgent("a", run=lambda turn: runs.append(turn.run_id), max_turns=2)
    agent.on_action(lambda event: None)
    chat = await house.open(agent)
    await chat.send("one")
    await chat.act({})
    await chat.send("two")
    assert runs[0] == runs[1]


def test_a_run_serves_at_least_one_turn() -> None:
    """`max_turns` below one is a mistake."""
    with pytest.raises(UsageError):
        ChatAgent("a", max_turns=0)


async def test_end_run_ends_after_what_waits(house: House, gate: Gate):
    """`end_run` lets the turn and the queue finish, tells clients nothing, and the next message starts another run."""
    runs: list[str] = []

    async def run(turn):
        runs.append(turn.run_id)
        if len(runs) == 1:
            turn.end_run()
            await gate.wait()
        return "ok"

    told: list[str] = []
    agent = ChatAgent("a", run=run)
    agent.on_chat_suspend(lambda e: told.append("suspend"))
    chat = await house.open(agent)
    sent = [await chat.inbox.send_message({"role": "user", "parts": [{"type": "text", "text": w}]}) for w in "ab"]
    await gate.reached.wait()
    gate.opened.set()
    await chat.settled(sent[1])
    while chat.sessions.active_runs:
        await asyncio.sleep(0)
    await chat.send("c")

    assert (runs[0] == runs[1], runs[1] == runs[2], told) == (True, False, [])


async def test_a_client_may_end_the_run(house: House, gate: Gate):
    """What it asks for comes behind what waits, writes nothing, and the next message starts another run."""
    runs: list[str] = []

    async def run(turn):
        runs.append(turn.run_id)
        await gate.wait()
        return "ok"

    told: list[str] = []
    agent = ChatAgent("a", run=run)
    agent.on_chat_suspend(lambda e: told.append("suspend"))
    chat = await house.open(agent)
    first = await chat.inbox.send_message(user("a"))
    await gate.reached.wait()
    await chat.inbox.end_run()
    second = await chat.inbox.send_message(user("b"))
    await chat.until_read(second)
    gate.opened.set()
    await chat.settled(first)
    await chat.settled(second)
    while chat.sessions.active_runs:
        await asyncio.sleep(0)
    position = await chat.session.position()
    written_behind = chat.session.outbox.last_seq - position.cursor
    await chat.send("c")

    assert (runs[0] == runs[1], runs[1] == runs[2], told) == (True, False, [])
    assert (position.in_cursor, position.status, written_behind) == (3, "idle", 0)


async def test_a_suspended_run_that_is_ended_does_not_come_back(house: House):
    """Asked to end while it is out of memory, it is not resumed; the next message starts another one."""
    told: list[Any] = []
    chat, clock = await opened(house, logged(told))
    await chat.send("a")
    await idle(chat, clock, 3600)
    await chat.inbox.end_run()
    while chat.sessions.active_runs or (await chat.session.position()).in_cursor < 2:
        await asyncio.sleep(0)
    await chat.send("b")

    first, second = (entry[1] for entry in told if entry[0] == "run")
    assert first != second
    assert "resume" not in names(told)


# --- hand-over


async def kinds(chat: Chat) -> list[str]:
    return [record.kind async for batch in chat.session.outbox.read(0, live=False) for record in batch]


async def test_an_upgrade_hands_the_input_to_the_next_run(house: House):
    """Asked for before `run`, an upgrade leaves the input to a new run; readers see an informational record."""
    seen: list[Any] = []

    def run(turn):
        seen.append(("run", turn.run_id))
        return "ok"

    agent = ChatAgent("a", run=run)
    ended: list[str] = []

    @agent.on_turn_start
    def start(event):
        seen.append(("start", event.run_id))
        if len(seen) == 1:
            current_run().request_upgrade()

    agent.on_turn_complete(lambda event: ended.append(event.status))
    chat = await house.open(agent)
    answered = await chat.send("one", "u1")

    (_, first), (_, second), (_, served) = seen
    assert (first != second, second == served, ended, answered.status) == (True, True, ["completed"], "completed")
    assert [kind for kind in await kinds(chat) if kind != "chunk"] == [
        "turn-start",
        "upgrade",
        "turn-start",
        "turn-complete",
    ]
    assert [text for _, text in await chat.texts()] == ["one", "ok"]


async def test_an_input_is_handed_on_once(house: House):
    """The run that gets a handed-on input answers it, although it asks for an upgrade again."""
    agent = ChatAgent("a", run=lambda turn: "ok")
    starts: list[int] = []

    @agent.on_turn_start
    def start(event):
        starts.append(event.turn)
        current_run().request_upgrade()

    chat = await house.open(agent)
    answers = [await chat.send("one"), await chat.send("two")]
    assert [answer.status for answer in answers] == ["completed", "completed"]
    assert len(starts) == 4


async def test_what_was_shown_before_an_upgrade_does_not_close_the_turn(house: House):
    """Data that hooks wrote before the hand-over is no partial answer: the turn is served again."""
    agent = ChatAgent("a", run=lambda turn: "ok")
    asked = [True]

    @agent.on_turn_start
    def start(event):
        event.response.write({"type": "data-note", "id": "n", "data": 1})
        if asked and asked.pop():
            current_run().request_upgrade()

    chat = await house.open(agent)
    answered = await chat.send("one")
    assert (answered.status, answered.text) == ("completed", "ok")
    assert [part["type"] for part in (await chat.messages())[-1]["parts"]] == ["data-note", "text"]


async def test_an_upgrade_during_the_answer_ends_the_run_behind_it(house: House):
    """Asked for later, an upgrade lets the turn finish and shows nothing."""
    runs: list[str] = []

    def run(turn):
        runs.append(turn.run_id)
        turn.request_upgrade()
        return "ok"

    chat = await house.open(ChatAgent("a", run=run))
    await chat.send("one")
    await chat.send("two")
    assert runs[0] != runs[1]
    assert "upgrade" not in await kinds(chat)


async def test_the_run_is_at_hand_everywhere_inside(house: House):
    """`current_run()` gives the run in hooks and tools, and raises outside."""
    seen: list[Any] = []
    agent = ChatAgent("a", run=lambda turn: seen.append(current_run().run_id == turn.run_id))
    agent.on_boot(lambda e: seen.append(current_run().chat_id))
    chat = await house.open(agent)
    await chat.send("one")
    assert seen == ["chat", True]
    with pytest.raises(UsageError):
        current_run()


async def test_a_preload_over_json_is_an_input(house: House):
    """A preload is a record of `.in` with a sequence number of its own."""
    chat, _ = await opened(house, ChatAgent("a", run=lambda turn: "ok"))
    first = await chat.inbox.preload(client_data={"a": 1})
    (record,) = await house.store.read_in(chat.session.key, after=0)
    assert (first.seq, record.kind, json.loads(record.body)) == (1, "preload", {"clientData": {"a": 1}})


async def test_a_run_that_died_after_it_came_back_does_not_come_back_again(house: House, gate: Gate):
    """A suspended run that is taken up and then dies is over: another one begins, and knows the dead one."""

    async def run(turn):
        yield {"type": "text-start", "id": "t"}
        yield {"type": "text-delta", "id": "t", "delta": "x"}
        if turn.number == 1:
            await gate.wait()
        yield {"type": "text-end", "id": "t"}

    agent = ChatAgent("a", run=run)
    boots: list[tuple[str, bool, str | None]] = []
    agent.on_boot(lambda e: boots.append((e.run_id, e.resumed, e.previous_run_id)))
    chat, clock = await opened(house, agent)
    await chat.send("one")
    await idle(chat, clock, 30)
    second = await chat.inbox.send_message(user("two"))
    await gate.reached.wait()
    await chat.until(lambda chunk: "delta" in chunk, after=6)
    await house.crash()
    gate.opened.set()

    chat = await house.open(agent, clock=clock)

    assert (await chat.settled(second)).status == "interrupted"
    (first, _, _), (again, resumed, _), (new, new_resumed, previous) = boots
    assert (first == again, resumed) == (True, True)
    assert (new != again, new_resumed, previous) == (True, False, again)


async def test_a_stop_for_a_run_that_leaves_suspends_it_once(house: House):
    """A stop that comes while a run leaves keeps it in memory for a while; `on_chat_suspend` fires no second time."""
    store = house.store = TroubledStore()
    agent = ChatAgent("a", run=lambda turn: "ok")
    suspended: list[str] = []

    agent.on_chat_suspend(lambda event: suspended.append(event.phase))
    chat, clock = await opened(house, agent)
    await chat.send("one")
    while clock.sleepers < 2:
        await asyncio.sleep(0)
    leaving = store.hold("release_lease")
    clock.advance(30)
    await leaving.reached.wait()
    await chat.inbox.stop()
    leaving.opened.set()
    await can_do()
    await idle(chat, clock, 30)

    assert (suspended, store.calls.count("release_lease")) == (["turn"], 2)


async def test_a_preload_in_front_does_not_hide_an_unfinished_turn(house: House, gate: Gate):
    """A turn that died is closed also when a preload that nobody had to serve stands before its input."""

    async def run(turn):
        yield {"type": "text-start", "id": "t"}
        yield {"type": "text-delta", "id": "t", "delta": "half"}
        await gate.wait()

    agent = ChatAgent("a", run=run)
    chat = await house.open(agent)
    await chat.inbox.preload()
    sent = await chat.inbox.send_message({"role": "user", "parts": [{"type": "text", "text": "one"}]})
    await chat.until(lambda chunk: chunk["type"] == "text-delta")
    await house.crash()

    chat = await house.open(agent)
    assert (await chat.settled(sent)).status == "interrupted"
    assert [text for _, text in await chat.texts()] == ["one", "half"]


async def test_a_closed_chat_is_read_to_its_end_over_several_runs(house: House, gate: Gate):
    """Readers of a closed chat see the answers of every run that is needed to give them."""

    async def run(turn):
        await gate.wait()
        return "ok"

    chat = await house.open(ChatAgent("a", run=run, max_turns=1))
    sent = [await chat.inbox.send_message({"role": "user", "parts": [{"type": "text", "text": w}]}) for w in "ab"]
    await gate.reached.wait()
    await chat.sessions.close_session("chat")
    gate.opened.set()
    assert [(await chat.settled(s)).status for s in sent] == ["completed", "completed"]
