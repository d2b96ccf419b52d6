"""What hooks and run are told about a turn: numbers, client data, usage, what is new."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import BaseModel

from chatrt.agent import ChatAgent
from chatrt.generate import stream_text
from chatrt.models import FunctionModel, ScriptedModel, Usage
from chatrt.models.scripted import call, tool_call
from chatrt.tools import tool
from chatrt.turn import current_turn
from tests.runtime.driver import Chat, Gate, House, user


async def test_actions_do_not_count_as_turns(house: House):
    """The number of a turn counts turns, not actions; an action is told the number of the next turn."""
    numbers = []
    agent = ChatAgent(
        "a",
        run=lambda turn: numbers.append(("turn", turn.number)),
        on_action=lambda event: numbers.append(("action", event.turn)),
        on_turn_complete=lambda event: numbers.append(("complete", event.turn)),
    )
    chat = await house.open(agent)
    await chat.send("one")
    await chat.act({})
    await chat.send("two")

    assert numbers == [("turn", 0), ("complete", 0), ("action", 1), ("turn", 1), ("complete", 1)]


@pytest.mark.behaviour(17)
async def test_client_data_reach_every_hook(house: House):
    """Client data are on every event of the turn they came with, as the declared type."""

    class Data(BaseModel):
        name: str

    seen = {}

    def note(name):
        def hook(event):
            seen[name] = event.client_data
            return getattr(event, "messages", None) if name in ("validate", "prepare") else None

        return hook

    agent = ChatAgent(
        "a",
        client_data=Data,
        tools=lambda event: seen.setdefault("tools", event.client_data) and [],
        run=lambda turn: seen.setdefault("run", turn.client_data) and "hi",
        on_boot=note("boot"),
        on_validate_messages=note("validate"),
        on_chat_start=note("chat start"),
        on_turn_start=note("turn start"),
        prepare_messages=note("prepare"),
        on_before_turn_complete=note("before"),
        on_turn_complete=note("complete"),
    )
    chat = await house.open(agent)
    await chat.send("hi", client_data={"name": "bob"})

    assert len(seen) == 9
    assert set(map(repr, seen.values())) == {"Data(name='bob')"}


@pytest.mark.behaviour(207, 208)
@pytest.mark.parametrize(
    ("default", "own", "merged"),
    [
        ({"a": 1, "b": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": {"x": 1}}, {"a": {"y": 2}}, {"a": {"y": 2}}),
        ({"a": 1}, None, {"a": 1}),
        (None, {"b": 2}, {"b": 2}),
        ({"a": 1}, "text", "text"),
        ({"a": 1}, {}, {"a": 1}),
        (None, None, None),
    ],
)
async def test_client_data_over_the_sessions_default(house: House, default, own, merged):
    """What comes with an input wins over the session's client data, key by key, one level deep."""
    seen = []
    await house.open(ChatAgent("a", run=lambda turn: seen.append(turn.client_data)), "unused")
    chat = Chat(await house.sessions.start_session("a", "c", client_data=default), house.sessions)

    await chat.send("hi", client_data=own)

    assert seen == [merged]


@pytest.mark.behaviour(19)
async def test_the_events_of_a_completed_turn_say_why_it_ended(house: House):
    """A whole answer has finish reason stop, on both hooks of a turn's end."""
    seen = []

    def note(event):
        seen.append((event.finish_reason, event.stopped))

    model = ScriptedModel(["hi"])
    agent = ChatAgent(
        "a",
        run=lambda turn: stream_text(model, turn.messages),
        on_before_turn_complete=note,
        on_turn_complete=note,
    )
    await (await house.open(agent)).send("hi")

    assert seen == [("stop", False), ("stop", False)]


async def test_a_turn_without_usage_has_none(house: House):
    """When no model told, usage is None, and the usage before stays what it was."""
    seen = []
    model = ScriptedModel(["hi"])
    agent = ChatAgent(
        "a",
        run=lambda turn: stream_text(model, turn.messages) if turn.number == 0 else turn.previous_turn_usage and "ho",
        on_turn_complete=lambda event: seen.append((event.usage, event.total_usage)),
    )
    chat = await house.open(agent)
    await chat.send("one")
    turn = await chat.send("two")

    assert turn.text == "ho"
    assert seen[1] == (None, seen[0][0])


async def test_a_merged_stream_counts(house: House):
    """What a model used counts, whether its stream was returned or merged."""
    seen = []
    model = ScriptedModel(["hi"])

    async def run(turn):
        await turn.response.merge(stream_text(model, turn.messages))

    agent = ChatAgent("a", run=run, on_turn_complete=lambda event: seen.append(event.usage))
    await (await house.open(agent)).send("one")

    assert isinstance(seen[0], Usage)
    assert seen[0].total_tokens


async def test_a_stopped_turn_counts_its_finished_steps(house: House, gate: Gate):
    """What the finished steps of a stopped turn used is counted."""
    seen = []

    @tool
    async def step() -> str:
        """Go on."""
        return "done"

    first = ScriptedModel([call(tool_call("step", {}))])

    async def play(request):
        if not first.requests:
            async for part in first.stream(request):
                yield part
            return
        await gate.wait()

    model = FunctionModel(play)
    agent = ChatAgent(
        "a",
        tools=[step],
        run=lambda turn: stream_text(model, turn.messages, tools=turn.tools),
        on_turn_complete=lambda event: seen.append((event.stopped, event.usage)),
    )
    chat = await house.open(agent)
    sent = await chat.inbox.send_message(user("hi"))
    await gate.reached.wait()
    await chat.inbox.stop()
    await chat.settled(sent)

    assert seen[0][0]
    assert seen[0][1].total_tokens


async def test_the_call_of_a_merged_stream_is_on_record_before_its_tool_runs(house: House):
    """Merging a model's stream is as safe as returning it: a tool runs when its call can be read."""
    read = []

    @tool
    async def look() -> str:
        """Look at the log."""
        batches = [batch async for batch in chat.session.outbox.read(live=False)]
        read.append(any(b"tool-input-available" in record.body for batch in batches for record in batch))
        return "seen"

    model = ScriptedModel([call(tool_call("look", {})), "done"])

    async def run(turn):
        await turn.response.merge(stream_text(model, turn.messages, tools=turn.tools))

    chat = await house.open(ChatAgent("a", tools=[look], run=run))
    await chat.send("hi")

    assert read == [True]


async def test_a_session_called_from_a_tool_has_its_own_current_turn(house: House):
    """A run that is started from inside another session's turn does not find that turn."""
    from chatrt.errors import UsageError

    found = []

    def boot(event):
        try:
            found.append(current_turn().chat_id)
        except UsageError:
            found.append(None)

    async def run(turn):
        if turn.chat_id == "outer":
            inner = Chat(await house.sessions.start_session("a", "inner"), house.sessions)
            return (await inner.send("hi")).text
        return current_turn().chat_id

    chat = await house.open(ChatAgent("a", run=run, on_boot=boot), "outer")
    turn = await asyncio.wait_for(chat.send("hi"), 2)

    assert (turn.text, found) == ("inner", [None, None])


async def test_an_action_is_not_undone_by_a_newer_message(house: House, gate: Gate):
    """Under interrupt a message that comes while an action changes the history waits for it (D7)."""

    async def act(event):
        await gate.wait()
        event.history.slice(0, 0)

    agent = ChatAgent("a", run=lambda turn: "hi", on_action=act, when_busy="interrupt")
    chat = await house.open(agent)
    await chat.send("one")
    acted = await chat.inbox.act({})
    await gate.reached.wait()
    sent = await chat.inbox.send_message(user("two"))
    for _ in range(20):
        await asyncio.sleep(0)
    gate.opened.set()

    assert (await chat.settled(acted)).status == "completed"
    await chat.settled(sent)
    assert [text for _, text in await chat.texts()] == ["two", "hi"]


async def test_what_an_action_says_is_ended_by_a_newer_message(house: House, gate: Gate):
    """Under interrupt a newer message ends the stream of an action; what the action did stays."""

    async def act(event):
        event.history.slice(0, 0)
        return talk()

    async def talk():
        yield {"type": "text-start", "id": "t"}
        yield {"type": "text-delta", "id": "t", "delta": "so"}
        await gate.wait()

    agent = ChatAgent("a", run=lambda turn: "hi", on_action=act, when_busy="interrupt")
    chat = await house.open(agent)
    await chat.send("one")
    acted = await chat.inbox.act({})
    await gate.reached.wait()

    await chat.send("two")

    assert (await chat.settled(acted)).status == "stopped"
    assert [text for _, text in await chat.texts()] == ["so", "two", "hi"]


async def test_an_action_sets_new_messages_and_streams(house: House):
    """An action may put other messages in the place of all and answer: the answer stands behind them."""

    async def act(event):
        event.history.set([{"id": "s", "role": "user", "parts": [{"type": "text", "text": "summary"}]}])
        return stream_text(ScriptedModel(["noted"]), event.messages)

    chat = await house.open(ChatAgent("a", run=lambda turn: "hi", on_action=act))
    await chat.send("one")

    await chat.act({})

    assert [text for _, text in await chat.texts()] == ["summary", "noted"]


async def test_a_chunk_of_three_megabytes(house: House):
    """A huge chunk comes through whole."""
    chat = await house.open(ChatAgent("a", run=lambda turn: "x" * 3_000_000))

    turn = await chat.send("hi")

    assert len(turn.text) == 3_000_000


async def test_a_message_that_repeats_the_id_of_an_answer(house: House):
    """A user message under the id of an answer is refused, and nothing changes."""
    chat = await house.open(ChatAgent("a", run=lambda turn: "hi"))
    first = await chat.send("one")

    turn = await chat.send("two", first.start["messageId"])

    assert turn.complete["error"]["code"] == "forbidden-change"
    assert await chat.texts() == [("user", "one"), ("assistant", "hi")]


async def test_a_stop_survives_a_crash_before_anything_was_seen(house: House, gate: Gate):
    """A stop that was taken for a turn nobody saw anything of still holds when another run serves it."""
    asked = []

    async def start(event):
        if not gate.opened.is_set():
            await gate.wait()

    agent = ChatAgent("a", run=lambda turn: asked.append(1) or "hi", on_turn_start=start)
    chat = await house.open(agent)
    sent = await chat.inbox.send_message(user("hi"))
    await gate.reached.wait()
    while chat.session.outbox.last_seq < 1:
        await asyncio.sleep(0)
    await chat.inbox.stop()
    await house.crash()
    gate.opened.set()
    chat = await house.open(agent)

    assert (await chat.settled(sent)).status == "stopped"
    assert asked == []


async def test_the_current_turn_of_a_recovered_turn(house: House, gate: Gate):
    """on_turn_complete of an interrupted turn finds the turn it belongs to."""
    found = []

    async def run(turn):
        yield {"type": "text-start", "id": "t"}
        await gate.wait()

    agent = ChatAgent("a", run=run, on_turn_complete=lambda event: found.append(current_turn().message_id))
    chat = await house.open(agent)
    sent = await chat.inbox.send_message(user("hi"))
    await chat.until(lambda chunk: chunk["type"] == "text-start")
    await house.crash()
    chat = await house.open(agent)
    turn = await chat.settled(sent)
    for _ in range(20):
        await asyncio.sleep(0)

    assert found == [turn.complete["messageId"]]
