"""A loop of one's own: the same runtime around it as around a run function."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import BaseModel

from chatrt.agent import ChatAgent
from chatrt.clock import ManualClock
from chatrt.run_control import current_run
from chatrt.serving import ServedSession
from tests.behaviour.crashes import text
from tests.runtime.driver import Gate, House, user


class Person(BaseModel):
    """Who is chatting."""

    name: str


def answering(seen: list[Any], note: Any, **options: Any) -> ChatAgent:
    """An agent whose loop notes something of each turn and answers "ok"."""

    async def loop(session: ServedSession) -> None:
        async for turn in session.turns():
            seen.append(note(turn))
            await turn.complete("ok")

    return ChatAgent("a", serve=loop, **options)


async def gone(chat: Any) -> None:
    """Wait until no run is in memory."""
    while chat.sessions.active_runs:
        await asyncio.sleep(0)


async def test_a_loop_is_given_whole_turns(house: House):
    """A turn of a loop has the chat, its number, the trigger, the prompt, whether others ran before, and the usage."""
    seen: list[Any] = []
    agent = answering(
        seen,
        lambda turn: (turn.chat_id, turn.number, turn.trigger, len(turn.messages), turn.continuation, turn.total_usage),
    )
    chat = await house.open(agent)
    await chat.send("one")
    await chat.regenerate()
    await chat.send("two")

    assert [entry[:5] for entry in seen] == [
        ("chat", 0, "message", 1, False),
        ("chat", 1, "regenerate", 1, False),
        ("chat", 2, "message", 3, False),
    ]
    assert all(entry[5].total_tokens is None for entry in seen)


async def test_client_data_are_those_of_the_agents_type(house: House):
    """A loop is given validated client data; a turn with unfit ones fails without it."""
    seen: list[Any] = []
    chat = await house.open(answering(seen, lambda turn: turn.client_data, client_data=Person))

    fit = await chat.send("one", client_data={"name": "Ann"})
    unfit = await chat.send("two", client_data={"age": 7})

    assert (fit.status, unfit.status, seen) == ("completed", "failed", [Person(name="Ann")])


async def test_a_later_run_goes_on_behind_what_is_settled(house: House):
    """After a crash the loop of the next run has the history, and is not given again what was answered."""
    seen: list[Any] = []
    agent = answering(seen, lambda turn: (turn.continuation, [m["role"] for m in turn.ui_messages]))
    chat = await house.open(agent)
    await chat.send("one")
    await house.crash()
    chat = await house.open(agent)
    await chat.send("two")

    assert seen == [(False, ["user"]), (True, ["user", "assistant", "user"])]


async def test_what_a_dead_loop_said_is_kept(house: House, gate: Gate):
    """A turn that died in the hands of a loop is recovered like any: its partial answer is kept, what waits is next."""
    seen: list[str] = []

    async def half():
        for chunk in text("half"):
            yield chunk
        await gate.wait()

    async def loop(session):
        async for turn in session.turns():
            seen.append(turn.ui_messages[-1]["parts"][0]["text"])
            await turn.complete(half() if seen == ["one"] else "ok")

    agent = ChatAgent("a", serve=loop)
    chat = await house.open(agent)
    first = await chat.inbox.send_message(user("one"))
    await chat.until(lambda chunk: chunk["type"] == "text-end")
    second = await chat.inbox.send_message(user("two"))
    await house.crash()
    gate.opened.set()
    chat = await house.open(agent)

    assert [(await chat.settled(sent)).status for sent in (first, second)] == ["interrupted", "completed"]
    assert (seen, [words for _, words in await chat.texts()]) == (["one", "two"], ["one", "half", "two", "ok"])


async def test_a_preload_is_no_turn_of_a_loop(house: House):
    """A preload boots the run; the loop begins with the first message, and knows that it was preloaded."""
    seen: list[Any] = []
    told: list[str] = []
    agent = answering(
        seen, lambda turn: (turn.trigger, turn.preloaded), on_preload=lambda event: told.append("preload")
    )
    chat = await house.open(agent)
    preload = await chat.settled(await chat.inbox.preload())
    before = list(seen)
    await chat.send("one")

    assert (preload.status, told, before, seen) == ("completed", ["preload"], [], [("message", True)])


async def test_a_regenerate_comes_without_the_old_answer(house: House):
    """When a loop is given a regenerate, the answer that is to be given anew is not in its prompt."""
    seen: list[Any] = []
    chat = await house.open(answering(seen, lambda turn: (turn.trigger, [row["role"] for row in turn.messages])))
    await chat.send("one")
    await chat.regenerate()

    assert seen == [("message", ["user"]), ("regenerate", ["user"])]
    assert await chat.texts() == [("user", "one"), ("assistant", "ok")]


async def test_a_close_is_no_turn_of_a_loop(house: House):
    """When the chat is closed the iteration ends, and the loop is not given a turn for it."""
    told: list[str] = []

    async def loop(session):
        async for turn in session.turns():
            told.append(turn.trigger)
            await turn.complete("ok")
        told.append("over")

    chat = await house.open(ChatAgent("a", serve=loop))
    await chat.send("one")
    await chat.sessions.close_session("chat")
    await gone(chat)

    assert told == ["message", "over"]


async def test_a_loop_rewrites_the_history(house: House):
    """What a loop does to the history is committed with its turn, and the next turn begins with it."""
    seen: list[Any] = []

    async def loop(session):
        async for turn in session.turns():
            seen.append([part["text"] for m in turn.ui_messages for part in m["parts"]])
            if turn.number == 1:
                session.history.slice(-1)
            await turn.complete("ok")

    agent = ChatAgent("a", serve=loop)
    chat = await house.open(agent)
    for word in ("one", "two"):
        await chat.send(word)
    await house.crash()
    chat = await house.open(agent)
    await chat.send("three")

    assert seen == [["one"], ["one", "ok", "two"], ["two", "ok", "three"]]


async def test_a_loop_has_a_largest_number_of_turns(house: House):
    """After `max_turns` turns the iteration ends; what waits goes to the loop of the next run."""
    loops: list[list[str]] = []

    async def loop(session):
        loops.append([])
        async for turn in session.turns():
            loops[-1].append(turn.ui_messages[-1]["parts"][0]["text"])
            await turn.complete("ok")

    chat = await house.open(ChatAgent("a", serve=loop, max_turns=2))
    sent = [await chat.inbox.send_message(user(word)) for word in ("one", "two", "three")]
    for each in sent:
        await chat.settled(each)

    assert loops == [["one", "two"], ["three"]]


async def test_a_loop_may_end_its_run(house: House):
    """`end_run` and `request_upgrade` mean the run of a loop like any: the next message starts another one."""
    runs: list[str] = []

    async def loop(session):
        async for turn in session.turns():
            runs.append(session.run.run_id)
            if len(runs) == 1:
                session.run.end_run()
            else:
                turn.request_upgrade()
            await turn.complete("ok")

    chat = await house.open(ChatAgent("a", serve=loop))
    for word in ("one", "two", "three"):
        assert (await chat.send(word)).status == "completed"
        await gone(chat)

    assert len(set(runs)) == 3


async def test_an_upgrade_before_a_loop_gives_its_turn_to_the_next(house: House):
    """Asked for in on_turn_start, an upgrade leaves the turn to the loop of the next run."""
    seen: list[Any] = []

    def start(event):
        if not event.continuation:
            current_run().request_upgrade()

    chat = await house.open(answering(seen, lambda turn: turn.continuation, on_turn_start=start))

    assert ((await chat.send("one")).status, seen) == ("completed", [True])


# --- what such a loop is good for


async def test_a_sandbox_is_let_go_when_the_run_leaves_memory(house: House):
    """A resource around the loop is there for all its turns, let go when the chat is suspended, and made anew later."""
    told: list[str] = []

    async def loop(session):
        told.append("made")
        try:
            async for turn in session.turns():
                told.append("used")
                await turn.complete("ok")
        finally:
            told.append("let go")

    clock = ManualClock()
    chat = await house.open(ChatAgent("a", serve=loop), clock=clock)
    await chat.send("one")
    await chat.send("two")
    while clock.sleepers < 2:
        await asyncio.sleep(0)  # the sweep sleeps, and so does the run
    clock.advance(30)
    await gone(chat)
    suspended = list(told)
    await chat.send("three")
    await chat.sessions.close_session("chat")
    await gone(chat)

    assert suspended == ["made", "used", "used", "let go"]
    assert told[4:] == ["made", "used", "let go"]


async def test_hooks_hold_a_sandbox_too(house: House):
    """With a run function on_turn_start makes it when there is none, and on_chat_suspend lets it go."""
    told: list[str] = []
    held: dict[str, str] = {}

    def start(event):
        if event.chat_id not in held:
            held[event.chat_id] = "sandbox"
            told.append("made")

    def suspend(event):
        told.append(f"let go of the {held.pop(event.chat_id)}")

    agent = ChatAgent("a", run=lambda turn: held[turn.chat_id], on_turn_start=start, on_chat_suspend=suspend)
    clock = ManualClock()
    chat = await house.open(agent, clock=clock)
    await chat.send("one")
    answer = await chat.send("two")
    while clock.sleepers < 2:
        await asyncio.sleep(0)
    clock.advance(30)
    await gone(chat)
    await chat.send("three")

    assert (answer.text, told) == ("sandbox", ["made", "let go of the sandbox", "made"])
