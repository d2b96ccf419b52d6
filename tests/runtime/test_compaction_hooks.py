"""What an application sees of a compaction, and decides about it."""

from __future__ import annotations

from tests.runtime.compacting import BIG, compacting, last_prompt, looks, prompt, says
from tests.runtime.driver import House


async def test_prompts_on_a_summary_are_prepared(house: House):
    """prepare_messages changes each prompt that stands on a summary, and is told why it is called."""
    told = []

    def prepare(event):
        told.append((event.reason, len(event.messages)))
        return [*event.messages, {"role": "user", "content": event.reason}]

    agent = compacting(looks("box", BIG), looks("bag"), says("done"), prepare_messages=prepare)
    chat = await house.open(agent)

    await chat.send("look")

    assert told == [("run", 1), ("compaction-result", 1), ("compaction-rebuild", 3)]
    assert prompt(agent.model.requests[1]) == [["SUM summary 1"], ["compaction-result"]]
    assert last_prompt(agent) == [["SUM summary 1"], ["call bag"], ["seen bag"], ["compaction-rebuild"]]


async def test_on_compacted_is_told_what_was_there_before(house: House):
    """on_compacted reads the summary and the messages that it stands for, and may write into the answer."""
    told = []

    def on_compacted(event):
        told.append(event)
        event.response.write({"type": "data-note", "data": event.message_count})

    chat = await house.open(compacting(looks("box", BIG), says("done"), on_compacted=on_compacted))
    turn = await chat.send("look")

    [event] = told
    assert (event.source, event.summary, event.message_count, event.step_number) == ("inner", "summary 1", 3, 1)
    assert event.usage.total_tokens == BIG + 1
    assert [chunk["data"] for chunk in turn.chunks if chunk["type"] == "data-note"] == [3]


async def test_a_failing_on_compacted_changes_nothing(house: House, caplog):
    """What on_compacted raises is logged; the summary holds."""

    def on_compacted(event):
        raise RuntimeError("not listening")

    agent = compacting(looks("box", BIG), says("done"), on_compacted=on_compacted)
    chat = await house.open(agent)

    turn = await chat.send("look")

    assert (turn.status, last_prompt(agent)) == ("completed", [["SUM summary 1"]])
    assert "not listening" in caplog.text


async def test_what_a_turn_added_is_told_as_it_was(house: House):
    """`new_messages` are those of the turn, also when a summary stands for them in the prompt; `messages` are the prompt."""
    told = []
    agent = compacting(looks("box", BIG), says("done"), on_turn_complete=told.append)
    chat = await house.open(agent)

    await chat.send("look")

    assert [row["role"] for row in told[0].new_messages] == ["user", "assistant", "tool", "assistant"]
    assert [row["role"] for row in told[0].messages] == ["user", "assistant"]


async def test_the_rows_of_a_summary_can_be_chosen(house: House):
    """compact_model_messages decides what stands for the messages, the last of them for instance."""

    def keep_the_last(event):
        return [{"role": "user", "content": event.summary}, *event.messages[-2:]]

    agent = compacting(looks("box", BIG), says("done"), compaction={"compact_model_messages": keep_the_last})
    chat = await house.open(agent)

    await chat.send("look")

    assert last_prompt(agent) == [["summary 1"], ["call box"], ["seen box"]]


async def test_the_history_can_be_compacted_too(house: House):
    """With compact_ui_messages people see less as well; the answer that is being made is put behind."""

    def replace(event):
        return [{"id": "s", "role": "assistant", "parts": [{"type": "text", "text": event.summary}]}]

    agent = compacting(looks("box", BIG), says("done"), says("again"), compaction={"compact_ui_messages": replace})
    chat = await house.open(agent)
    await chat.send("look")
    assert await chat.texts() == [("assistant", "summary 1"), ("assistant", "done")]

    await chat.send("more")

    assert last_prompt(agent) == [["SUM summary 1"], ["done"], ["more"]]


async def test_what_is_no_history_is_a_failing_summary(house: House):
    """What compact_ui_messages gives is checked like any message from outside."""
    agent = compacting(looks("box", BIG), says("done"), compaction={"compact_ui_messages": lambda _: [{"id": 5}]})
    chat = await house.open(agent)

    turn = await chat.send("look")

    assert turn.status == "completed"
    assert [role for role, _ in await chat.texts()] == ["user", "assistant"]
