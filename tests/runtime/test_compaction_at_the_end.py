"""Compaction behind an answer: the next turn begins with the summary."""

from __future__ import annotations

from chatrt.generate import stream_text
from chatrt.models import ScriptedModel
from chatrt.models.scripted import call, finish, tool_call
from tests.runtime.compacting import BIG, brief, compacting, last_prompt, looks, parts, says
from tests.runtime.driver import Gate, House, user


async def test_an_answer_above_the_threshold_is_summarized_at_its_end(house: House):
    """When the last step says that the prompt is too large, the next turn begins with a summary of everything."""
    agent = compacting(says("one", BIG), says("two"))
    chat = await house.open(agent)
    turn = await chat.send("1")

    await chat.send("2")

    assert last_prompt(agent) == [["SUM summary 1"], ["2"]]
    assert turn.types[-5:] == ["data-compaction", "start-step", "data-compaction", "finish-step", "finish"]


async def test_the_summary_at_the_end_is_of_the_answer_too(house: House):
    """summarize is shown the history and the answer that has just been given."""
    agent = compacting(says("one"), says("two", BIG))
    chat = await house.open(agent)
    await chat.send("1")
    await chat.send("2")

    [event] = agent.summaries.events

    assert [brief(part) for row in event.messages for part in parts(row)] == ["1", "one", "2", "two"]
    assert (event.source, event.step_number, event.total_tokens) == ("outer", -1, BIG + 1)


async def test_the_summary_at_the_end_comes_before_the_last_hooks(house: House):
    """on_compacted, then on_before_turn_complete with the part in the answer, then on_turn_complete."""
    order = []
    agent = compacting(
        says("one", BIG),
        on_compacted=lambda event: order.append((event.source, event.step_number, event.message_count)),
        on_before_turn_complete=lambda event: order.append(event.response_message["parts"][-1]["type"]),
        on_turn_complete=lambda event: order.append(len(event.messages)),
    )
    chat = await house.open(agent)

    await chat.send("1")

    assert order == [("outer", -1, 2), "data-compaction", 1]


async def test_an_answer_compacted_inside_is_not_compacted_at_its_end(house: House):
    """One turn is not summarized twice without need."""
    agent = compacting(looks("box", BIG), says("done", BIG))
    chat = await house.open(agent)

    await chat.send("look")

    assert [event.source for event in agent.summaries.events] == ["inner"]


async def test_an_answer_that_waits_for_its_client_is_not_compacted(house: House):
    """A call that the client is to answer stays in the last step, where the client looks for it."""
    asks = call(tool_call("ask_user", {"question": "which?"}), finish("tool-calls", input_tokens=BIG))
    agent = compacting(asks)
    chat = await house.open(agent)

    turn = await chat.send("look")

    assert agent.summaries.events == []
    assert "data-compaction" not in turn.types


async def test_a_stopped_answer_is_not_compacted(house: House, gate: Gate):
    """A stop leaves the prompt as it is."""

    async def run(turn):
        await turn.response.merge(stream_text(model, turn.messages))
        await gate.wait()

    model = ScriptedModel([says("one", BIG)])
    agent = compacting(run=run)
    chat = await house.open(agent)
    sent = await chat.inbox.send_message(user("1"))
    await gate.reached.wait()

    await chat.inbox.stop()
    turn = await chat.settled(sent)

    assert (turn.status, agent.summaries.events) == ("stopped", [])


async def test_a_failed_answer_is_not_compacted(house: House):
    """A failure leaves the prompt as it is."""

    async def run(turn):
        await turn.response.merge(stream_text(model, turn.messages))
        raise RuntimeError("late")

    model = ScriptedModel([says("one", BIG)])
    agent = compacting(run=run)
    chat = await house.open(agent)

    turn = await chat.send("1")

    assert (turn.status, agent.summaries.events) == ("failed", [])


async def test_an_answer_without_a_model_is_not_compacted(house: House):
    """Where nobody tells how many tokens a prompt has, nothing is asked."""
    asked = []
    agent = compacting(run=lambda _: "plain", compaction={"should_compact": asked.append})
    chat = await house.open(agent)

    await chat.send("1")

    assert asked == []


async def test_a_failing_summary_at_the_end_is_no_failing_turn(house: House, caplog):
    """What summarize raises behind the answer is logged; the turn is complete."""

    def summarize(event):
        raise RuntimeError("no words")

    agent = compacting(says("one", BIG), says("two"), compaction={"summarize": summarize})
    chat = await house.open(agent)

    turn = await chat.send("1")
    await chat.send("2")

    assert turn.status == "completed"
    assert last_prompt(agent) == [["1"], ["one"], ["2"]]
    assert "no words" in caplog.text


async def test_a_stop_ends_the_summary_at_the_end(house: House, gate: Gate):
    """A stop while the finished answer is summarized ends that at once, and keeps the answer."""

    async def summarize(event):
        await gate.wait()
        return "never"

    agent = compacting(says("one", BIG), compaction={"summarize": summarize})
    chat = await house.open(agent)
    sent = await chat.inbox.send_message(user("1"))
    await gate.reached.wait()

    await chat.inbox.stop()
    turn = await chat.settled(sent)

    assert turn.status == "stopped"
    assert await chat.texts() == [("user", "1"), ("assistant", "one")]


async def test_the_history_can_lose_its_beginning_at_the_end(house: House):
    """With compact_ui_messages the summary can take the place of all but the answer just given."""

    def keep_the_last(event):
        summary = {"id": "s", "role": "user", "parts": [{"type": "text", "text": event.summary}]}
        return [summary, *event.ui_messages[-1:]]

    agent = compacting(says("one"), says("two", BIG), compaction={"compact_ui_messages": keep_the_last})
    chat = await house.open(agent)
    await chat.send("1")

    await chat.send("2")

    assert await chat.texts() == [("user", "summary 1"), ("assistant", "two")]
