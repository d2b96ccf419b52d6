"""Compaction: a summary takes the place of the older part of the prompt, and people go on seeing everything."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from chatrt.agent import ChatAgent
from chatrt.compaction import SUMMARY_HEADING, Compaction
from chatrt.generate import stream_text, summarize_with
from chatrt.models import ScriptedModel
from chatrt.models.scripted import call, finish, text, tool_call
from chatrt.run_control import current_run
from chatrt.tools import ApprovalDecision, tool
from chatrt.turn import current_turn
from tests.runtime.driver import Gate, House, user
from tests.runtime.troubled_store import idle

BIG, SMALL = 900, 10


@tool
async def look(place: str) -> str:
    """Look somewhere."""
    return f"seen {place}"


@tool
async def ask_user(question: str) -> str:
    """Ask the person."""


def looks(place: str, tokens: int = SMALL, call_id: str | None = None) -> Any:
    """A step that calls the tool and takes so many tokens."""
    return call(
        tool_call("look", {"place": place}, id=call_id or f"call_{place}"), finish("tool-calls", input_tokens=tokens)
    )


def says(words: str, tokens: int = SMALL) -> Any:
    """A step that ends the answer."""
    return call(text(words), finish("stop", input_tokens=tokens))


class Summaries:
    """A `summarize` that gives "summary 1", "summary 2", ... and keeps what it was asked."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    async def __call__(self, event: Any) -> str:
        self.events.append(event)
        return f"summary {len(self.events)}"


def compacting(*script: Any, compaction: dict[str, Any] | None = None, **options: Any) -> ChatAgent:
    """An agent with a scripted model that compacts above 500 tokens."""
    model, summaries = ScriptedModel(list(script)), Summaries()
    policy = {"summarize": summaries, "threshold": 500, **(compaction or {})}
    if "should_compact" in policy:
        del policy["threshold"]
    options.setdefault("tools", [look, ask_user])
    agent = ChatAgent(
        "a",
        run=options.pop("run", lambda turn: stream_text(model, turn.messages, tools=turn.tools)),
        compaction=Compaction(**policy),
        **options,
    )
    agent.model, agent.summaries = model, summaries
    return agent


def prompt(request: Any) -> list[Any]:
    """A prompt, row by row: its texts, or what its tools called and gave."""
    return [[_brief(part) for part in _parts(row)] for row in request.messages]


def _parts(row: Any) -> list[Any]:
    return [{"type": "text", "text": row["content"]}] if isinstance(row["content"], str) else row["content"]


def _brief(part: Any) -> str:
    match part["type"]:
        case "text":
            return part["text"].replace(f"{SUMMARY_HEADING}\n\n", "SUM ")
        case "tool-call":
            return f"call {part['input'].get('place', part['input'].get('question'))}"
        case "tool-result":
            return str(part["output"].get("value", part["output"]["type"]))
        case kind:
            return kind


def last_prompt(agent: Any) -> list[Any]:
    return prompt(agent.model.requests[-1])


# --- between the steps


async def test_a_step_above_the_threshold_is_followed_by_a_summary(house: House):
    """When a step took more tokens than the threshold, the next one is shown the summary alone."""
    agent = compacting(looks("box", BIG), says("done"))
    chat = await house.open(agent)

    turn = await chat.send("look")

    assert last_prompt(agent) == [["SUM summary 1"]]
    assert agent.model.requests[-1].messages[0]["role"] == "user"
    assert (turn.text, turn.status) == ("done", "completed")


async def test_a_step_at_the_threshold_is_not(house: House):
    """The threshold itself is not above it: prompt and answer count together."""
    agent = compacting(looks("box", 499), says("done"))
    chat = await house.open(agent)

    await chat.send("look")

    assert last_prompt(agent) == [["look"], ["call box"], ["seen box"]]


async def test_the_summary_is_made_of_the_prompt(house: House):
    """summarize is told everything that the prompt had, results included, and what it weighed."""
    agent = compacting(looks("box", BIG), says("done"))
    chat = await house.open(agent)
    await chat.send("look")

    [event] = agent.summaries.events

    assert [_brief(part) for row in event.messages for part in _parts(row)] == ["look", "call box", "seen box"]
    assert (event.source, event.total_tokens, event.input_tokens) == ("inner", BIG + 1, BIG)
    assert (event.step_number, len(event.steps), event.chat_id, event.turn) == (1, 1, "chat", 0)


async def test_later_steps_stand_on_the_summary(house: House):
    """What comes after the summary is added to it, step by step."""
    agent = compacting(looks("box", BIG), looks("bag"), looks("bin"), says("done"))
    chat = await house.open(agent)

    await chat.send("look")

    assert last_prompt(agent) == [["SUM summary 1"], ["call bag"], ["seen bag"], ["call bin"], ["seen bin"]]


async def test_a_long_answer_is_compacted_again(house: House):
    """Each boundary is asked about anew; a later summary is made of the earlier one and what came since."""
    agent = compacting(looks("box", BIG), looks("bag"), looks("bin", BIG), says("done"))
    chat = await house.open(agent)

    await chat.send("look")

    event = agent.summaries.events[1]
    assert next(_brief(part) for row in event.messages for part in _parts(row)) == "SUM summary 1"
    assert last_prompt(agent) == [["SUM summary 2"]]


async def test_the_answer_shows_that_it_was_compacted(house: House):
    """A transient part tells that it begins; one that is kept, of the same id, stands in a step of its own."""
    agent = compacting(looks("box", BIG), says("done"))
    chat = await house.open(agent)

    turn = await chat.send("look")

    at = turn.types.index("data-compaction")
    begun, *shown = turn.chunks[at : at + 4]
    assert begun == {
        "type": "data-compaction",
        "id": begun["id"],
        "data": {"status": "compacting", "totalTokens": BIG + 1},
        "transient": True,
    }
    assert shown == [
        {"type": "start-step"},
        {"type": "data-compaction", "id": begun["id"], "data": {"status": "complete", "totalTokens": BIG + 1}},
        {"type": "finish-step"},
    ]
    assert (turn.types[at - 1], turn.types[at + 4]) == ("finish-step", "start-step")


async def test_people_go_on_seeing_everything(house: House):
    """The history keeps every message and part; the compaction is one part among them (D9)."""
    agent = compacting(looks("box", BIG), says("done"))
    chat = await house.open(agent)

    await chat.send("look")

    question, answer = await chat.messages()
    assert question["parts"] == [{"type": "text", "text": "look"}]
    kinds = [part["type"] for part in answer["parts"]]
    assert kinds == ["step-start", "tool-look", "step-start", "data-compaction", "step-start", "text"]


async def test_nothing_is_asked_before_the_first_step(house: House):
    """Between the steps means between them: an answer of one step is only asked about at its end."""
    asked = []

    def should_compact(event):
        asked.append((event.source, event.step_number))
        return False

    chat = await house.open(compacting(looks("box"), says("done"), compaction={"should_compact": should_compact}))

    await chat.send("look")

    assert asked == [("inner", 1), ("outer", -1)]


async def test_without_numbers_nothing_is_compacted(house: House):
    """A threshold says nothing where the provider does not tell how many tokens a step took."""
    silent = {"type": "finish", "finishReason": {"unified": "tool-calls"}}
    agent = compacting([*tool_call("look", {"place": "box"}), silent], says("done"), compaction={"threshold": 0})
    chat = await house.open(agent)

    await chat.send("look")

    assert [event.source for event in agent.summaries.events] == ["outer"]
    assert last_prompt(agent)[0] == ["look"]


async def test_a_step_with_an_unanswered_call_is_not_summarized(house: House):
    """Where a call has no result the summary would stand between the two: the step goes on as it is (D9)."""

    @tool(needs_approval=lambda *_: ApprovalDecision.deny("policy"))
    async def rm(path: str) -> str:
        """Remove."""
        return "removed"

    both = call(
        tool_call("look", {"place": "box"}, id="c1"),
        tool_call("rm", {"path": "/"}, id="c2"),
        finish("tool-calls", input_tokens=BIG),
    )
    agent = compacting(both, says("done"), tools=[look, rm])
    chat = await house.open(agent)

    await chat.send("look")

    assert agent.summaries.events == []
    assert len(agent.model.requests) == 2
    assert last_prompt(agent)[0] == ["look"]


async def test_a_failing_summary_leaves_the_prompt(house: House, caplog):
    """What summarize raises is logged; the answer goes on uncompacted, and the reader learns that it failed."""

    def summarize(event):
        raise RuntimeError("no words")

    agent = compacting(looks("box", BIG), says("done"), compaction={"summarize": summarize})
    chat = await house.open(agent)

    with caplog.at_level(logging.ERROR):
        turn = await chat.send("look")

    parts = [chunk for chunk in turn.chunks if chunk["type"] == "data-compaction"]
    assert turn.status == "completed"
    assert last_prompt(agent) == [["look"], ["call box"], ["seen box"]]
    assert [(part["data"]["status"], part["transient"]) for part in parts] == [("compacting", True), ("failed", True)]
    assert "no words" in caplog.text


@pytest.mark.parametrize("given", ["", "  \n", None, 5])
async def test_no_summary_is_a_failing_summary(house: House, given: Any):
    """A summary is a text that says something."""
    agent = compacting(looks("box", BIG), says("done"), compaction={"summarize": lambda _: given})
    chat = await house.open(agent)

    turn = await chat.send("look")

    assert (turn.status, last_prompt(agent)[0]) == ("completed", ["look"])


async def test_a_failing_should_compact_is_a_no(house: House):
    """What should_compact raises is logged, and nothing is compacted or shown."""

    def should_compact(event):
        raise RuntimeError("undecided")

    agent = compacting(looks("box", BIG), says("done"), compaction={"should_compact": should_compact})
    chat = await house.open(agent)

    turn = await chat.send("look")

    assert turn.status == "completed"
    assert "data-compaction" not in turn.types


async def test_a_stop_ends_the_summary(house: House, gate: Gate):
    """A stop while summarize is at work ends it at once; the answer so far is kept."""
    ended = asyncio.Event()

    async def summarize(event):
        try:
            await gate.wait()
        finally:
            ended.set()
        return "never"

    agent = compacting(looks("box", BIG), compaction={"summarize": summarize})
    chat = await house.open(agent)
    sent = await chat.inbox.send_message(user("look"))
    await gate.reached.wait()

    await chat.inbox.stop()
    turn = await chat.settled(sent)

    assert (turn.status, ended.is_set()) == ("stopped", True)
    assert [part["type"] for part in (await chat.messages())[-1]["parts"]] == ["step-start", "tool-look"]


# --- what the application sees


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


# --- what lasts


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


# --- behind the answer


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

    assert [_brief(part) for row in event.messages for part in _parts(row)] == ["1", "one", "2", "two"]
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


# --- when it is asked for


async def test_an_action_compacts(house: House):
    """turn.compact() in an action summarizes the chat; the next turn stands on it, and no message tells of it."""
    results = []

    async def act(event):
        results.append(await current_turn().compact())

    agent = compacting(says("one"), says("two"), on_action=act)
    chat = await house.open(agent)
    await chat.send("1")

    await chat.act({"type": "compact"})
    assert await chat.texts() == [("user", "1"), ("assistant", "one")]
    await chat.send("2")

    assert [(result.status, result.layer.summary) for result in results] == [("compacted", "summary 1")]
    assert last_prompt(agent) == [["SUM summary 1"], ["2"]]


async def test_run_compacts_before_it_answers(house: House):
    """Inside of run the question stays as it was asked, and turn.messages stand on the summary."""
    layers = []

    async def run(turn):
        if turn.number == 1:
            assert len(turn.messages) == 4
            await turn.compact()
            layers.append(turn.compaction)
        return stream_text(model, turn.messages)

    model = ScriptedModel([says("one"), says("two")])
    agent = compacting(run=run, prepare_messages=lambda event: [*event.messages, {"role": "user", "content": "mark"}])
    chat = await house.open(agent)
    await chat.send("1")

    await chat.send("2")

    assert prompt(model.requests[-1]) == [["SUM summary 1"], ["2"], ["mark"]]
    assert [layer.summary for layer in layers] == ["summary 1"]


async def test_a_hook_compacts_ahead_of_run(house: House):
    """What a hook compacts is what run is given."""

    async def on_turn_start(event):
        if event.turn == 1:
            await current_run().compact()

    agent = compacting(says("one"), says("two"), on_turn_start=on_turn_start)
    chat = await house.open(agent)
    await chat.send("1")

    await chat.send("2")

    assert last_prompt(agent) == [["SUM summary 1"], ["2"]]


async def test_compacting_in_the_idle_time_is_kept(house: House, gate: Gate):
    """A compaction that was deferred behind a turn is stored as soon as it is made."""

    async def summarize(event):
        await gate.wait()
        return "summary 1"

    def on_turn_complete(event):
        if event.turn == 0 and not event.continuation:
            current_turn().defer(current_turn().compact)

    policy = {"summarize": summarize}
    agent = compacting(says("one"), says("two"), compaction=policy, on_turn_complete=on_turn_complete)
    chat = await house.open(agent)
    await chat.send("1")
    await gate.reached.wait()
    await idle()
    gate.opened.set()
    while "layers" not in (await house.store.load_snapshot(chat.session.key)).state:
        await asyncio.sleep(0)
    await house.crash()

    await (await house.open(agent)).send("2")

    assert last_prompt(agent) == [["SUM summary 1"], ["2"]]


async def test_without_anything_new_it_is_skipped(house: House):
    """Where no answer was given since the last summary there is nothing to summarize, and before the first neither."""
    results = []

    async def act(event):
        results.append(await current_turn().compact())

    chat = await house.open(compacting(says("one"), on_action=act))
    await chat.act({})
    await chat.send("1")
    await chat.act({})
    await chat.act({})

    reasons = [(result.status, result.reason) for result in results]
    assert reasons == [("skipped", "nothing-to-compact"), ("compacted", "asked"), ("skipped", "nothing-to-compact")]


async def test_open_calls_are_not_covered(house: House):
    """An answer that waits for its client stays outside of the summary; where there is nothing else it is skipped."""
    results = []

    async def act(event):
        results.append(await current_turn().compact())

    asks = call(tool_call("ask_user", {"question": "which?"}, id="ask"))
    chat = await house.open(compacting(asks, on_action=act))
    await chat.send("1")

    await chat.act({})

    assert [(result.status, result.reason) for result in results] == [("skipped", "open-calls")]


async def test_the_steps_before_an_open_call_are_covered(house: House):
    """A long answer that waits is summarized up to the step that asked, and goes on from there."""

    async def act(event):
        await current_turn().compact()

    asks = call(tool_call("ask_user", {"question": "which?"}, id="ask"))
    agent = compacting(looks("box"), asks, says("done"), on_action=act)
    chat = await house.open(agent)
    turn = await chat.send("1")
    await chat.act({})

    part = {"type": "tool-ask_user", "toolCallId": "ask", "state": "output-available", "output": "left"}
    await chat.answer(part, message_id=turn.complete["messageId"])

    assert last_prompt(agent) == [["SUM summary 1"], ["call which?"], ["left"]]


async def test_a_failing_action_compacts_nothing(house: House):
    """What an action compacted before it failed is undone with the rest of it (D20)."""

    async def act(event):
        await current_turn().compact()
        raise RuntimeError("changed my mind")

    agent = compacting(says("one"), says("two"), on_action=act)
    chat = await house.open(agent)
    await chat.send("1")
    await chat.act({})

    await chat.send("2")

    assert last_prompt(agent) == [["1"], ["one"], ["2"]]


async def test_who_asks_is_told_what_went_wrong(house: House):
    """What summarize raises is raised by compact; an agent without a compaction has to say how to summarize."""
    raised = []

    def broken(event):
        raise RuntimeError("no words")

    async def act(event):
        for summarize in (None, broken):
            try:
                await current_turn().compact(summarize=summarize)
            except Exception as error:
                raised.append(type(error).__name__)
        raised.append((await current_turn().compact(summarize=lambda _: "short")).layer.summary)

    model = ScriptedModel([says("one")])
    agent = ChatAgent("a", run=lambda turn: stream_text(model, turn.messages), on_action=act)
    chat = await house.open(agent)
    await chat.send("1")

    await chat.act({})

    assert raised == ["UsageError", "RuntimeError", "short"]


async def test_the_current_compaction_can_be_read(house: House):
    """turn.compaction is None, then the layer that holds, also inside of the answer that made it."""
    seen = []

    async def peek(place: str) -> str:
        """Look somewhere."""
        layer = current_turn().compaction
        seen.append(layer and layer.summary)
        return "seen"

    script = [
        call(tool_call("peek", {"place": "a"}, id="c1"), finish("tool-calls", input_tokens=BIG)),
        call(tool_call("peek", {"place": "b"}, id="c2")),
        says("done"),
    ]
    chat = await house.open(compacting(*script, tools=[tool(peek)]))

    await chat.send("1")

    assert seen == [None, "summary 1"]


async def test_a_model_makes_the_summary(house: House):
    """summarize_with asks a model in the midst of a turn, without becoming part of the answer."""
    writer = ScriptedModel(["A box was looked into."])
    agent = compacting(looks("box", BIG), says("done"), compaction={"summarize": summarize_with(writer)})
    chat = await house.open(agent)

    turn = await chat.send("look")

    assert turn.text == "done"
    assert last_prompt(agent) == [["SUM A box was looked into."]]
    assert [spec.name for spec in writer.requests[0].tools] == ["look", "ask_user"]
