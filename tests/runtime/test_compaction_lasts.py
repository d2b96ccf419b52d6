"""How long a compaction lasts: in later turns and runs, on every branch that has its place (D9)."""

from __future__ import annotations

from typing import Any

from chatrt.models.scripted import call, finish, tool_call
from chatrt.tools import tool
from tests.runtime.compacting import BIG, SMALL, compacting, last_prompt, look, looks, says
from tests.runtime.driver import Gate, House, user


async def test_later_turns_stand_on_the_summary(house: House):
    """The next prompts are the summary, what came after it, and the new question."""
    agent = compacting(looks("box", BIG), says("done"), says("again"))
    chat = await house.open(agent)
    await chat.send("look")

    await chat.send("more")

    assert last_prompt(agent) == [["SUM summary 1"], ["done"], ["more"]]


async def test_a_summary_survives_the_run(house: House):
    """Another run, in another process, shows the same prompt."""
    agent = compacting(looks("box", BIG), says("done"), says("again"))
    await (await house.open(agent)).send("look")
    await house.crash()

    await (await house.open(agent)).send("more")

    assert last_prompt(agent) == [["SUM summary 1"], ["done"], ["more"]]


async def test_a_summary_that_a_crash_took_is_only_lost(house: House, gate: Gate):
    """A run that dies behind a compaction leaves the messages as they are: the whole prompt comes back, nothing else."""

    async def hang(place: str) -> str:
        """Look somewhere."""
        await gate.wait()
        return "never"

    agent = compacting(looks("box", BIG), call(tool_call("hang", {"place": "bag"}, id="c9")), tools=[look, tool(hang)])
    chat = await house.open(agent)
    await chat.inbox.send_message(user("look"))
    await gate.reached.wait()
    await house.crash()

    again = compacting(says("again"), tools=[look, tool(hang)])
    chat = await house.open(again)
    await chat.send("more")

    assert last_prompt(again)[:3] == [["look"], ["call box"], ["seen box"]]
    assert last_prompt(again)[-1] == ["more"]


async def test_going_back_before_the_place_undoes_the_summary(house: House):
    """On a branch without the place of the summary the messages stand for themselves."""

    def act(event):
        event.history.slice(0, 2)

    agent = compacting(says("one"), looks("box", BIG), says("two"), says("three"), on_action=act)
    chat = await house.open(agent)
    await chat.send("1")
    await chat.send("2")
    await chat.act({"type": "undo"})

    await chat.send("3")

    assert last_prompt(agent) == [["1"], ["one"], ["3"]]


async def test_regenerating_behind_the_place_keeps_the_summary(house: House):
    """Another answer to a later question stands on the same summary."""
    agent = compacting(looks("box", BIG), says("one"), says("two"), says("two again"))
    chat = await house.open(agent)
    await chat.send("1")
    await chat.send("2")

    await chat.regenerate()

    assert last_prompt(agent) == [["SUM summary 1"], ["one"], ["2"]]


async def test_regenerating_the_answer_with_the_place_undoes_it(house: House):
    """Another answer to the question before the place begins without the summary."""
    agent = compacting(looks("box", BIG), says("one"), says("one again"))
    chat = await house.open(agent)
    await chat.send("1")

    await chat.regenerate()

    assert last_prompt(agent) == [["1"]]


async def test_switching_back_brings_the_summary_back(house: House):
    """A summary holds on its branch, whenever that is the active one (D14)."""
    agent = compacting(looks("box", BIG), says("one"), says("one again"), says("two"))
    chat = await house.open(agent)
    turn = await chat.send("1")
    await chat.regenerate()

    await chat.settled(await chat.inbox.switch_branch(turn.complete["messageId"]))
    await chat.send("2")

    assert last_prompt(agent) == [["SUM summary 1"], ["one"], ["2"]]


async def test_an_edit_behind_the_place_keeps_the_summary(house: House):
    """A later question that is edited is asked on the same summary (D22)."""
    agent = compacting(looks("box", BIG), says("one"), says("two"), says("two again"))
    chat = await house.open(agent)
    await chat.send("1")
    await chat.send("2", "u2")

    await chat.send("2, edited", "u2")

    assert last_prompt(agent) == [["SUM summary 1"], ["one"], ["2, edited"]]


async def test_an_answered_call_continues_behind_the_summary(house: House):
    """An answer that was compacted, asked the person and goes on has the summary, the question and the reply."""
    asks = call(tool_call("ask_user", {"question": "which?"}, id="ask"), finish("tool-calls", input_tokens=SMALL))
    agent = compacting(looks("box", BIG), asks, says("done"))
    chat = await house.open(agent)
    turn = await chat.send("look")

    part = {"type": "tool-ask_user", "toolCallId": "ask", "state": "output-available", "output": "the left one"}
    await chat.answer(part, message_id=turn.complete["messageId"])

    assert last_prompt(agent) == [["SUM summary 1"], ["call which?"], ["the left one"]]


async def test_hydrated_histories_keep_the_summary(house: House):
    """Where the application owns the history a summary holds as long as its message is there."""
    database: list[Any] = []

    def hydrate(event):
        return [*database, *event.incoming_messages]

    def save(event):
        database[:] = event.ui_messages

    agent = compacting(
        looks("box", BIG),
        says("one"),
        says("two"),
        says("three"),
        hydrate_messages=hydrate,
        on_turn_complete=save,
    )
    chat = await house.open(agent)
    await chat.send("1")
    await chat.send("2")
    assert last_prompt(agent) == [["SUM summary 1"], ["one"], ["2"]]

    del database[:2]
    await chat.send("3")

    assert last_prompt(agent) == [["2"], ["two"], ["3"]]
