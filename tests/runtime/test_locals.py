"""Locals inside of runs: isolated from each other, committed with what made them, there again in the next run."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import BaseModel

from chatrt.agent import ChatAgent
from chatrt.clock import ManualClock
from chatrt.generate import stream_text
from chatrt.models import ScriptedModel
from chatrt.models.scripted import call, text, tool_call
from chatrt.run_control import current_run
from chatrt.run_locals import Local, local, local_values
from chatrt.stores.sqlite import SQLiteStore
from chatrt.tools import tool
from tests.runtime.driver import Chat, Gate, House
from tests.runtime.troubled_store import TroubledStore, until


class Budget(BaseModel):
    left: int = 3
    spent_on: list[str] = []


@dataclass
class Notes:
    lines: list[str] = field(default_factory=list)


budget = local("test.budget", Budget, default=Budget, durable=True)
notes = local("test.notes", Notes, default=Notes)
begun = local("test.begun", str, durable=True)


def spending(**options: Any) -> ChatAgent:
    """An agent that spends a unit in place with each turn and says what is left."""

    def run(turn):
        budget.get().left -= 1
        return f"{budget.get().left} left"

    return ChatAgent("a", run=run, **options)


@pytest.fixture(params=["memory", "sqlite"])
def house_of(request: pytest.FixtureRequest, house: House, tmp_path: Any) -> House:
    """A house on each store."""
    if request.param == "sqlite":
        house.store = SQLiteStore(tmp_path / "chat.db")
    return house


async def stored(chat: Chat) -> dict[str, Any]:
    """The durable values as the store has them."""
    snapshot = await chat.session._live.store.load_snapshot(chat.session.key)
    return snapshot.state.get("locals", {})


class TestOneRun:
    async def test_a_value_lasts_from_turn_to_turn(self, house: House):
        """What a turn left in a local the next turn of the run finds."""
        agent = ChatAgent("a", run=lambda turn: f"{len(notes.get().lines)}")
        agent.on_turn_start(lambda event: notes.get().lines.append("turn"))
        chat = await house.open(agent)

        assert [(await chat.send("x")).text for _ in range(3)] == ["1", "2", "3"]

    async def test_on_boot_gives_the_value(self, house: House):
        """`init` in `on_boot` is what `run` and everything behind it see."""
        agent = ChatAgent("a", run=lambda turn: begun.get())
        agent.on_boot(lambda event: begun.init(f"by {event.run_id}"))
        chat = await house.open(agent)

        assert (await chat.send("x")).text == "by run_1"

    async def test_tools_see_it(self, house: House):
        """A coroutine tool and one in a thread work on the run's own value."""

        @tool
        async def note(line: str) -> str:
            """Note."""
            notes.get().lines.append(line)
            return "noted"

        @tool
        def note_in_thread(line: str) -> str:
            """Note."""
            notes.get().lines.append(line)
            return "noted"

        both = call(tool_call("note", {"line": "a"}), tool_call("note_in_thread", {"line": "b"}, id="call_2"))
        script = [both, call(text("done"))]
        agent = ChatAgent("a", tools=[note, note_in_thread])
        agent.run(lambda turn: stream_text(ScriptedModel(script), turn.messages, tools=turn.tools))
        seen = []
        agent.on_turn_complete(lambda event: seen.extend(sorted(notes.get().lines)))

        await (await house.open(agent)).send("x")
        assert house.sessions is not None
        await house.sessions.aclose()

        assert seen == ["a", "b"]

    async def test_a_missing_value_fails_the_turn(self, house: House):
        """Reading what nobody gave is an error of the turn, and not of the process."""
        turn = await (await house.open(ChatAgent("a", run=lambda turn: begun.get()))).send("x")

        assert (turn.status, turn.complete["error"]["code"]) == ("failed", "usage")

    async def test_runs_at_the_same_time_are_apart(self, house: House, gate: Gate):
        """Two runs in one process each have their own value, also while both are in the middle of a turn."""

        async def run(turn):
            notes.get().lines.append(turn.chat_id)
            if turn.chat_id == "one":
                await gate.wait()
            return ",".join(notes.get().lines)

        agent = ChatAgent("a", run=run)
        one, two = await house.open(agent, "one"), await house.open(agent, "two")
        first = asyncio.create_task(one.send("x"))
        await gate.reached.wait()

        second = await two.send("x")
        gate.opened.set()

        assert ((await first).text, second.text) == ("one", "two")


class TestNextRun:
    async def test_a_durable_value_survives_a_crash(self, house_of: House):
        """What a turn committed, changes inside of the value included, another worker finds."""
        await (await house_of.open(spending())).send("x")
        await house_of.crash()

        turn = await (await house_of.open(spending())).send("y")

        assert turn.text == "1 left"

    async def test_what_a_crashed_turn_did_is_undone(self, house: House, gate: Gate):
        """A turn that was not committed and is served again begins with the value from before it."""

        async def run(turn):
            budget.get().left -= 1
            await gate.wait()
            return f"{budget.get().left} left"

        agent = ChatAgent("a", run=run)
        chat = await house.open(agent)
        sent = await chat.inbox.send_message({"role": "user", "parts": [{"type": "text", "text": "x"}]})
        await gate.reached.wait()
        await house.crash()
        gate.opened.set()

        turn = await (await house.open(agent)).settled(sent)

        assert turn.text == "2 left"

    async def test_any_other_value_begins_anew(self, house: House):
        """What is not durable is gone with the memory it was in, also when the run was only suspended."""
        clock, runs = ManualClock(), []
        agent = ChatAgent("a", run=lambda turn: runs.append(turn.run_id) or f"{len(notes.get().lines)}")
        agent.on_turn_start(lambda event: notes.get().lines.append("turn"))
        chat = await house.open(agent, clock=clock)
        assert (await chat.send("x")).text == "1"
        assert house.sessions is not None
        sessions = house.sessions
        await until(lambda: clock.sleepers == 2)
        clock.advance(31)
        await until(lambda: sessions.active_runs == 0)

        assert (await chat.send("y")).text == "1"
        assert runs == ["run_1", "run_1"]

    async def test_a_restored_value_goes_before_init(self, house: House):
        """`on_boot` gives a value to begin with; it does not undo what was committed."""
        agent = spending()
        agent.on_boot(lambda event: budget.init(Budget(left=10)))
        await (await house.open(agent)).send("x")
        await house.crash()

        assert (await (await house.open(agent)).send("y")).text == "8 left"

    async def test_an_upgrade_takes_it_along(self, house: House):
        """A run that hands its input on leaves the next one what was made before that: it is not made again."""
        agent = ChatAgent("a", run=lambda turn: f"{begun.get()}, served by {turn.run_id}")
        agent.on_chat_start(lambda event: begun.set(f"made by {event.run_id}"))
        agent.on_turn_start(lambda event: current_run().request_upgrade() if event.run_id == "run_1" else None)

        turn = await (await house.open(agent)).send("x")

        assert turn.text == "made by run_1, served by run_2"

    async def test_a_value_that_nobody_asks_for_stays(self, house: House):
        """A run that has no use for a local leaves what is stored of it as it is."""
        await (await house.open(spending())).send("x")
        await house.crash()
        chat = await house.open(ChatAgent("a", run=lambda turn: "hm"))

        await chat.send("y")

        assert (await stored(chat))["test.budget"]["left"] == 2

    async def test_a_reset_is_stored(self, house: House):
        """What was reset is gone from the store too."""
        agent = ChatAgent("a", run=lambda turn: begun.set("now") if len(turn.ui_messages) == 1 else begun.reset())
        chat = await house.open(agent)
        await chat.send("x")
        assert await stored(chat) == {"test.begun": "now"}

        await chat.send("y")

        assert await stored(chat) == {}

    async def test_a_stored_value_that_no_longer_fits(self, house: House, caplog: pytest.LogCaptureFixture):
        """A value of an older type is logged and left out: the default holds."""
        before = Local[str]("test.changing", str, durable=True)
        await (await house.open(ChatAgent("a", run=lambda turn: before.set("three")))).send("x")
        await house.crash()
        now = Local[int]("test.changing", int, default=lambda: 3, durable=True)

        with caplog.at_level(logging.WARNING, "chatrt.runtime"):
            turn = await (await house.open(ChatAgent("a", run=lambda turn: str(now.get() + now.get())))).send("y")

        assert turn.text == "6"
        assert caplog.text.count("what is stored of local 'test.changing' does not fit its type any more") == 1


class TestCommits:
    async def test_on_turn_complete_is_committed(self, house: House):
        """What the last hook of a turn leaves in a durable value is stored, with nothing else to store."""
        agent = ChatAgent("a", run=lambda turn: "x", on_turn_complete=lambda event: begun.set("done"))
        chat = await house.open(agent)
        await chat.send("x")
        assert house.sessions is not None
        await house.sessions.aclose()
        await house.store.open()

        assert await stored(chat) == {"test.begun": "done"}

    async def test_what_goes_on_behind_a_turn_is_committed(self, house: House):
        """A durable value that deferred work sets between the turns is stored before the run leaves memory."""

        async def later():
            begun.set("later")

        agent = ChatAgent("a", run=lambda turn: "x", on_turn_complete=lambda event: current_run().defer(later))
        chat = await house.open(agent)
        await chat.send("x")
        assert house.sessions is not None
        await house.sessions.aclose()
        await house.store.open()

        assert await stored(chat) == {"test.begun": "later"}

    async def test_a_last_hook_that_changes_nothing_costs_nothing(self, house: House):
        """A turn is committed once; only what its last hook changed is worth another commit."""
        house.store = store = TroubledStore()
        agent = spending(on_turn_complete=lambda event: budget.get())
        chat = await house.open(agent)

        await chat.send("x")
        await chat.send("y")

        assert store.calls.count("commit") == 2

    async def test_a_failed_turn_is_committed(self, house: House):
        """What a turn did before it failed did happen: the value stays, as the partial answer does."""

        def run(turn):
            budget.get().left = 0
            raise RuntimeError("late")

        chat = await house.open(ChatAgent("a", run=run))

        assert (await chat.send("x")).status == "failed"
        assert (await stored(chat))["test.budget"]["left"] == 0

    async def test_an_action_is_committed(self, house: House):
        """An action's change of a value is durable as its change of the history is."""
        agent = spending(on_action=lambda event: budget.set(Budget(left=100)))
        chat = await house.open(agent)

        await chat.act("top up")

        assert (await stored(chat))["test.budget"]["left"] == 100

    async def test_a_failing_action_changes_nothing(self, house: House):
        """What an action did to durable values before it failed is undone, inside of them too (D20)."""

        def act(event):
            budget.get().left = 100
            begun.set("topped up")
            raise RuntimeError("no")

        agent = spending(on_action=act)
        chat = await house.open(agent)
        await chat.send("x")
        await chat.act("top up")

        assert (await chat.send("y")).text == "1 left"
        assert await stored(chat) == {"test.budget": {"left": 1, "spent_on": []}}

    async def test_an_action_that_fails_leaves_what_was_there(self, house: House):
        """A value that was not touched stays the same object, with what `on_boot` gave and nobody committed yet."""
        kept: list[Any] = []

        def act(event):
            kept.append(budget.get())
            raise RuntimeError("no")

        agent = spending(on_action=act)
        agent.on_boot(lambda event: kept.append(budget.init(Budget(left=10))))
        chat = await house.open(agent)
        await chat.send("x")
        await chat.act("fail")

        assert (await chat.send("y")).text == "8 left"
        assert kept[0] is kept[1]


class TestUnstorable:
    @pytest.mark.parametrize(
        ("break_it", "reason"),
        [
            (lambda: setattr(budget.get(), "left", "many"), "serialized value may not be as expected"),
            (lambda: budget.get().spent_on.append("\ud800"), "surrogates not allowed"),
            (lambda: budget.set(object()), "Unable to serialize unknown type"),
            (lambda: setattr(budget.get(), "left", 2**70), "64 bits"),
            (lambda: budget.get().spent_on.append("x" * 2**20), "more than 1048576 bytes"),
        ],
    )
    async def test_it_fails_the_turn(self, house: House, caplog: pytest.LogCaptureFixture, break_it: Any, reason: str):
        """A value that is no JSON of its type fails the turn that left it so, with an error that names the local."""
        agent = ChatAgent("a", run=lambda turn: break_it() or "said")
        chat = await house.open(agent)

        turn = await chat.send("x")

        assert (turn.status, turn.complete["error"]["code"]) == ("failed", "unstorable-local")
        said = "".join(str(record.exc_info[1]) for record in caplog.records if record.exc_info)
        assert "local 'test.budget' cannot be stored" in said
        assert reason in said
        assert await stored(chat) == {}

    async def test_all_go_back_to_what_is_stored(self, house: House):
        """Nothing is half written: the other durable values of that turn are forgotten with it."""
        agent = spending()
        chat = await house.open(agent)
        await chat.send("x")

        @agent.run
        def run(turn):
            begun.set("now")
            budget.get().left = "many"  # pyright: ignore[reportAttributeAccessIssue]

        await chat.send("y")
        agent.run(lambda turn: f"{budget.get().left} {begun.changed()}")

        assert (await chat.send("z")).text == "2 False"

    async def test_the_answer_is_kept(self, house: House):
        """What was said in that turn was seen, and stays."""
        agent = ChatAgent("a", run=lambda turn: budget.set(object()) or "said")  # pyright: ignore[reportArgumentType]
        chat = await house.open(agent)

        await chat.send("x")

        assert await chat.texts() == [("user", "x"), ("assistant", "said")]

    async def test_on_turn_complete_too(self, house: House, caplog: pytest.LogCaptureFixture):
        """The turn is over when its last hook runs: what that cannot store is logged and dropped."""

        def spoil(event):
            budget.get().left = "many"  # pyright: ignore[reportAttributeAccessIssue]

        agent = spending(on_turn_complete=spoil)
        chat = await house.open(agent)

        assert [(await chat.send("x")).text for _ in range(2)] == ["2 left", "1 left"]
        assert "what on_turn_complete left cannot be stored" in caplog.text

    async def test_a_type_that_does_not_read_what_it_writes(self, house: House):
        """What could not be read again fails now, not in the run that needs it."""

        class Positive(BaseModel):
            count: int = 1

            def model_post_init(self, context: Any) -> None:
                if self.count < 0:
                    raise ValueError("negative")

        positive = local("test.positive", Positive, default=Positive, durable=True)
        agent = ChatAgent("a", run=lambda turn: setattr(positive.get(), "count", -1))

        turn = await (await house.open(agent)).send("x")

        assert turn.complete["error"]["code"] == "unstorable-local"


class TestGivenByATest:
    @pytest.mark.behaviour(22)
    async def test_run_sees_it(self, house: House):
        """A value that a test gives is what `run` and the hooks see."""
        with local_values({begun: "by the test"}):
            turn = await (await house.open(ChatAgent("a", run=lambda turn: begun.get()))).send("x")

        assert turn.text == "by the test"

    async def test_it_goes_before_init(self, house: House):
        """An agent whose `on_boot` makes the real thing can be tested with another one."""
        agent = ChatAgent("a", run=lambda turn: begun.get(), on_boot=lambda event: begun.init("the real one"))

        with local_values({begun: "a fake"}):
            turn = await (await house.open(agent)).send("x")

        assert turn.text == "a fake"

    async def test_what_a_run_sets_is_its_own(self, house: House):
        """A run that sets the value changes nothing for the test and for other runs."""
        agent = ChatAgent("a", run=lambda turn: (before := begun.get(), begun.set("changed"))[0])

        with local_values({begun: "given"}):
            one = await (await house.open(agent, "one")).send("x")
            two = await (await house.open(agent, "two")).send("x")
            assert begun.get() == "given"

        assert (one.text, two.text) == ("given", "given")
