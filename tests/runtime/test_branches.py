"""Branches of a conversation: what regenerate and edit leave can be reached again, also after a crash."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chatrt.agent import ChatAgent
from chatrt.runtime import SessionManager
from chatrt.stores import NewRecord
from chatrt.stores.memory import MemoryStore
from chatrt.stores.sqlite import SQLiteStore
from tests.runtime.driver import Chat, Gate, House, Settled, user
from tests.runtime.troubled_store import TroubledStore, idle


def counting(**options: Any) -> ChatAgent:
    """An agent whose answers are numbered."""
    numbers = iter(range(1, 100))
    return ChatAgent("a", run=lambda turn: f"answer {next(numbers)}", **options)


async def switch(chat: Chat, message_id: str) -> Settled:
    return await chat.settled(await chat.inbox.switch_branch(message_id))


async def said(chat: Chat) -> list[str]:
    return [text for _, text in await chat.texts()]


class CountingStore(MemoryStore):
    """Counts the nodes that are written and the trees that are read."""

    def __init__(self) -> None:
        super().__init__()
        self.written = 0
        self.trees = 0

    async def commit(self, lease: Any, commit: Any, *, at: float) -> int:
        self.written += len(commit.nodes)
        return await super().commit(lease, commit, at=at)

    async def load_tree(self, key: Any) -> Any:
        self.trees += 1
        return await super().load_tree(key)


async def test_a_regenerate_leaves_the_old_answer_reachable(house: House):
    """After another answer was given, a switch to the first one makes it the active one again."""
    chat = await house.open(counting())
    await chat.send("hello")
    first = (await chat.messages())[-1]["id"]
    await chat.regenerate()
    assert await said(chat) == ["hello", "answer 2"]

    turn = await switch(chat, first)

    assert (turn.status, turn.complete["trigger"], turn.chunks) == ("completed", "switch", [])
    assert await said(chat) == ["hello", "answer 1"]


async def test_an_edit_leaves_the_old_branch_reachable(house: House):
    """Each version of an edited message keeps what followed it, under the names that the state tells."""
    chat = await house.open(counting())
    await chat.send("hello", "m1")
    await chat.send("more")
    await chat.send("good morning", "m1")
    assert await said(chat) == ["good morning", "answer 3"]
    [old, new] = (await chat.session.load()).branches["m1"]
    assert new == "m1"

    await switch(chat, old)

    assert await said(chat) == ["hello", "answer 1", "more", "answer 2"]
    assert (await chat.session.load()).branches["m1"][0] == "m1"


async def test_branches_outlive_the_run(house: House):
    """Whoever serves the session next knows all its branches."""
    agent = counting()
    chat = await house.open(agent)
    await chat.send("hello")
    first = (await chat.messages())[-1]["id"]
    await chat.regenerate()
    await house.crash()

    chat = await house.open(agent)
    second = (await chat.messages())[-1]["id"]
    assert (await chat.session.load()).branches == {second: [first, second]}
    assert (await switch(chat, first)).status == "completed"

    await house.crash()
    assert await said(await house.open(agent)) == ["hello", "answer 1"]


async def test_branches_in_a_file(tmp_path: Any):
    """The same with SQLite, over a restart of the process's store."""
    agent = counting()
    async with SessionManager(agent, SQLiteStore(tmp_path / "chat.db")) as sessions:
        chat = Chat(await sessions.start_session("a", "chat"), sessions)
        await chat.send("hello")
        first = (await chat.messages())[-1]["id"]
        await chat.regenerate()
    async with SessionManager(agent, SQLiteStore(tmp_path / "chat.db")) as sessions:
        chat = Chat(await sessions.get_session("chat"), sessions)
        await switch(chat, first)
    async with SessionManager(agent, SQLiteStore(tmp_path / "chat.db")) as sessions:
        assert await said(Chat(await sessions.get_session("chat"), sessions)) == ["hello", "answer 1"]


async def test_a_switch_writes_no_message(house: House):
    """Going back and forth moves the leaf in the store and writes no node."""
    house.store = store = CountingStore()
    chat = await house.open(counting())
    await chat.send("hello")
    first = (await chat.messages())[-1]["id"]
    await chat.regenerate()
    second = (await chat.messages())[-1]["id"]
    written = store.written

    for name in (first, second, first):
        await switch(chat, name)

    assert store.written == written
    assert await said(chat) == ["hello", "answer 1"]


async def test_a_session_of_one_branch_is_loaded_without_its_tree(house: House):
    """The tree is read only where there is more than the active branch."""
    house.store = store = CountingStore()
    agent = counting()
    chat = await house.open(agent)
    await chat.send("hello")
    await house.crash()
    chat = await house.open(agent)
    await chat.send("more")
    assert (store.trees, (await chat.session.load()).branches) == (0, {})

    await chat.regenerate()
    await house.crash()
    await (await house.open(agent)).send("and more")

    assert store.trees > 0


async def test_the_next_turn_goes_on_from_there(house: House):
    """After a switch the model is shown the branch that was switched to, and its answer stands behind it."""
    agent = ChatAgent("a", run=lambda turn: " ".join(message["id"] for message in turn.ui_messages))
    chat = await house.open(agent)
    await chat.send("one", "m1")
    first = (await chat.messages())[-1]["id"]
    await chat.regenerate()
    await switch(chat, first)

    turn = await chat.send("two", "m2")

    assert turn.text == f"m1 {first} m2"
    assert len(await chat.messages()) == 4


async def test_an_unknown_message_fails_visibly(house: House):
    """A switch to a message that no branch holds is a failed turn-complete with a stable code, and changes nothing."""
    chat = await house.open(counting())
    await chat.send("hello")

    turn = await switch(chat, "nope")

    assert (turn.status, turn.complete["error"]["code"]) == ("failed", "message-not-found")
    assert await said(chat) == ["hello", "answer 1"]


async def test_a_switch_needs_no_actions(house: House):
    """It is no action of the application's: no hook is asked, and on_turn_complete is not told of it."""
    told: list[Any] = []
    agent = counting(on_turn_complete=lambda event: told.append(event.trigger), on_action=told.append)
    chat = await house.open(agent)
    await chat.send("hello")
    await chat.regenerate()
    first = (await chat.session.load()).branches
    [[name, _]] = first.values()

    assert (await switch(chat, name)).status == "completed"

    assert told == ["message", "regenerate"]


async def test_an_application_that_hydrates_owns_the_branches(house: House):
    """Where hydrate_messages is registered a switch is refused, and no branches are told."""

    chat = await house.open(counting(hydrate_messages=lambda event: event.incoming_messages))
    await chat.send("one", "m1")
    await chat.send("two", "m2")
    assert (await chat.session.load()).branches == {}

    turn = await switch(chat, "m1")

    assert (turn.status, turn.complete["error"]["code"]) == ("failed", "forbidden-change")
    assert await said(chat) == ["two", "answer 2"]


async def test_unfit_client_data_switch_nothing(house: House):
    """Client data are checked as for every input."""
    async with SessionManager(counting(client_data=int), house.store) as sessions:
        chat = Chat(await sessions.start_session("a", "chat", client_data=1), sessions)
        await chat.send("hello", "m1")
        turn = await chat.settled(await chat.inbox.switch_branch("m1", client_data="x"))

    assert turn.complete["error"]["code"] == "invalid-client-data"


@pytest.mark.parametrize("when_busy", ["queue", "interrupt"])
async def test_a_switch_waits_for_the_running_turn(house: House, gate: Gate, when_busy: Any):
    """A switch that arrives while a turn runs ends nothing and is served next (D7)."""
    calls: list[str] = []

    async def run(turn: Any) -> str:
        calls.append(turn.message_id)
        if len(calls) == 3:
            await gate.wait()
        return f"answer {len(calls)}"

    chat = await house.open(ChatAgent("a", run=run, when_busy=when_busy))
    await chat.send("hello")
    await chat.regenerate()
    running = await chat.inbox.send_message(user("more"))
    await gate.reached.wait()
    waiting = await chat.inbox.switch_branch(calls[0])
    gate.opened.set()

    assert (await chat.settled(running)).status == "completed"
    assert (await chat.settled(waiting)).status == "completed"
    assert await said(chat) == ["hello", "answer 1"]


async def test_a_message_behind_a_switch_does_not_undo_it(house: House, gate: Gate):
    """Under the policy `interrupt` a newer message ends turns, not switches that wait (D7)."""
    calls: list[str] = []

    async def run(turn: Any) -> str:
        calls.append(turn.message_id)
        if len(calls) == 3:
            await gate.wait()
        return f"answer {len(calls)}"

    chat = await house.open(ChatAgent("a", run=run, when_busy="interrupt"))
    await chat.send("hello")
    await chat.regenerate()
    await chat.inbox.regenerate()
    await gate.reached.wait()
    waiting = await chat.inbox.switch_branch(calls[0])
    last = await chat.inbox.send_message(user("more"))

    await chat.settled(last)

    assert (await chat.settled(waiting)).status == "completed"
    assert await said(chat) == ["hello", "answer 1", "more", "answer 4"]


async def test_a_switch_can_be_stopped_before_it_acts(house: House, gate: Gate):
    """A person who stops a switch that waits is still where they were."""

    async def run(turn: Any) -> str:
        if turn.trigger == "regenerate":
            await gate.wait()
        return turn.trigger

    chat = await house.open(ChatAgent("a", run=run))
    await chat.send("hello")
    first = (await chat.messages())[-1]["id"]
    running = await chat.inbox.regenerate()
    await gate.reached.wait()
    waiting = await chat.inbox.switch_branch(first)
    await chat.inbox.stop(in_seq=waiting.seq)
    await idle()
    gate.opened.set()

    assert (await chat.settled(running)).status == "completed"
    assert (await chat.settled(waiting)).status == "stopped"
    assert await said(chat) == ["hello", "regenerate"]


async def test_a_repeated_switch_is_one(house: House):
    """A second append of the same part id is the first."""
    chat = await house.open(counting())
    await chat.send("hello", "m1")
    first = await chat.inbox.switch_branch("m1", part_id="p")

    assert (await chat.inbox.switch_branch("m1", part_id="p")).seq == first.seq


async def test_a_switch_that_a_crash_interrupted_is_served_again(house: House):
    """A switch was acknowledged: if the run dies before it is committed the next one serves it."""
    store = TroubledStore()
    house.store = store
    agent = counting()
    chat = await house.open(agent)
    await chat.send("hello")
    first = (await chat.messages())[-1]["id"]
    await chat.regenerate()
    held = store.hold("commit")
    appended = await chat.inbox.switch_branch(first)
    await held.reached.wait()
    await house.crash()

    chat = await house.open(agent, lease_ttl=1e6)

    assert (await chat.settled(appended)).status == "completed"
    assert await said(chat) == ["hello", "answer 1"]


async def test_an_unfinished_switch_is_never_kept_as_a_turn(house: House):
    """Whatever a run left of a failed switch on the log, the next one serves the switch again."""
    agent = counting()
    chat = await house.open(agent)
    await chat.send("hello", "m1")
    await house.crash()
    key = chat.session.key
    await house.store.open()
    appended = await house.store.append_in(key, NewRecord("switch", b'{"messageId":"m9"}'), part_id=None, at=0.0)
    lease = await house.store.acquire_lease(key, owner="dead", ttl=1.0, at=0.0)
    assert lease is not None
    start = {"inSeq": appended.seq, "trigger": "switch", "messageId": "x"}
    left = [NewRecord("turn-start", json.dumps(start).encode()), NewRecord("chunk", b'{"type":"error","errorText":""}')]
    await house.store.append_out(lease, left, at=0.0)
    await house.store.close()

    chat = await house.open(agent)
    turn = await chat.settled(appended)

    assert turn.complete["error"]["code"] == "message-not-found"


async def test_the_state_of_a_running_turn_has_its_branches(house: House, gate: Gate):
    """While an edit is answered, the page that loads sees both versions of the question."""

    async def run(turn: Any) -> str:
        if turn.ui_messages[0]["parts"][0].get("text") == "edited":
            await gate.wait()
        return "answer"

    chat = await house.open(ChatAgent("a", run=run))
    await chat.send("hello", "m1")
    await chat.inbox.send_message(user("edited", "m1"))  # type: ignore[arg-type]
    await gate.reached.wait()

    state = await chat.session.load()

    assert [message["id"] for message in state.messages] == ["m1"]
    assert len(state.branches["m1"]) == 2
    assert state.branches["m1"][1] == "m1"


async def test_hooks_see_and_switch_branches(house: House):
    """`history.siblings` and `history.switch_to` work in an action, and are committed with it (D1)."""
    seen: list[list[str]] = []

    def act(event: Any) -> None:
        last = event.history.last["id"]
        seen.append([one["parts"][-1]["text"] for one in event.history.siblings(last)])
        event.history.switch_to(event.history.siblings(last)[0]["id"])

    chat = await house.open(counting(on_action=act))
    await chat.send("hello")
    await chat.regenerate()
    await chat.regenerate()

    await chat.act({})

    assert seen == [["answer 1", "answer 2", "answer 3"]]
    assert await said(chat) == ["hello", "answer 1"]


async def test_a_failed_action_switches_nothing(house: House):
    """When the handler raises after a switch, one is still where one was, also for the next action (D20)."""

    def act(event: Any) -> None:
        event.history.switch_to("m1")
        event.history.switch_to(event.history.siblings(event.action)[0]["id"])
        raise ValueError("late")

    chat = await house.open(counting(on_action=act))
    await chat.send("hello", "m1")
    await chat.regenerate()
    before = await chat.messages()

    await chat.act(before[-1]["id"])

    assert await chat.messages() == before
    assert (await chat.regenerate()).text == "answer 3"


async def test_what_an_action_leaves_is_a_branch(house: House):
    """Several answers that one action tries are alternatives afterwards, also those it left unsaved."""

    def act(event: Any) -> None:
        for name in ("x", "y"):
            event.history.rollback_to("m1")
            event.history.append({"id": name, "role": "assistant", "parts": [{"type": "text", "text": name}]})

    agent = counting(on_action=act)
    chat = await house.open(agent)
    await chat.send("hello", "m1")
    await chat.act({})
    await house.crash()
    chat = await house.open(agent)

    assert await said(chat) == ["hello", "y"]
    await switch(chat, "x")
    assert await said(chat) == ["hello", "x"]
