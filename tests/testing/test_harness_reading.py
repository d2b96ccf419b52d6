"""The harness: looking on while a turn runs, and readers that come and go."""

from __future__ import annotations

import pytest

from chatrt import tool
from chatrt.errors import ServerUnavailableError, UsageError
from chatrt.models import ScriptedModel
from chatrt.models.scripted import call, tool_call
from chatrt.testing import Gate
from tests.testing.agents import answering, halting, texts


async def test_start_returns_when_the_input_is_durable(chat_harness):
    """A started message is on the log, and its turn goes on by itself."""
    gate = Gate()
    chat = await chat_harness(answering(), model=halting(gate))

    sent = await chat.start("Hi")

    assert (sent.in_seq, chat.records(".in")[0].body["message"]["role"]) == (1, "user")
    gate.open()
    assert (await sent.result()).text == "halfwhole"


async def test_until_waits_for_a_chunk(chat_harness):
    """A test can wait for a chunk of the answer, by its type or by what it says, and go on from there."""
    gate = Gate()
    chat = await chat_harness(answering(), model=halting(gate))
    sent = await chat.start("Hi")

    first = await sent.until("text-delta")
    seen = [chunk["type"] for chunk in sent.chunks]
    gate.open()
    second = await sent.until(lambda chunk: chunk.get("delta") == "whole")

    assert (first["delta"], second["delta"]) == ("half", "whole")
    assert seen == ["start", "start-step", "text-start", "text-delta"]


async def test_until_finds_each_chunk_once(chat_harness):
    """The next wait begins behind the chunk that was found."""
    chat = await chat_harness(answering(), model=ScriptedModel(["one two"]))
    sent = await chat.start("Hi")

    assert [(await sent.until("text-delta"))["delta"] for _ in range(2)] == ["one ", "two"]


async def test_waiting_for_what_never_comes_fails(chat_harness):
    """When the answer ends without the chunk the test fails instead of waiting for ever."""
    chat = await chat_harness(answering(), model=ScriptedModel(["one"]))
    sent = await chat.start("Hi")

    with pytest.raises(AssertionError, match="input 1 ended"):
        await sent.until("tool-input-available")


async def test_the_turn_that_runs(chat_harness):
    """While a turn is served the harness says so, and shows the history it stands on."""
    gate = Gate()
    chat = await chat_harness(answering(), model=halting(gate))
    sent = await chat.start("Hi")
    await gate.reached.wait()

    during = (chat.is_running, chat.is_in_memory, texts(chat.messages))
    gate.open()
    await sent.result()

    assert during == (True, True, [("user", "Hi")])
    assert (chat.is_running, chat.is_in_memory) == (False, True)


async def test_several_in_flight(chat_harness):
    """Messages that are sent at once are answered in order, and each has its own result."""
    chat = await chat_harness(answering(), model=ScriptedModel(["One", "Two", "Three"]))
    sent = [await chat.start(word) for word in ("a", "b", "c")]

    results = [await one.result() for one in reversed(sent)]

    assert [(result.text, result.in_seq) for result in results] == [("Three", 3), ("Two", 2), ("One", 1)]


async def test_a_result_can_be_asked_for_again(chat_harness):
    """The result of an input stays."""
    chat = await chat_harness(answering(), model=ScriptedModel(["One"]))
    sent = await chat.start("Hi")

    assert await sent.result() is await sent.result()


async def test_an_input_by_its_number(chat_harness):
    """Any input can be looked at, also one that is settled long since."""
    chat = await chat_harness(answering(), model=ScriptedModel(["One", "Two", "Three", "Four"]))
    for word in "abcd":
        await chat.send(word)

    assert [(await chat.sent(seq).result()).text for seq in (1, 4)] == ["One", "Four"]


async def test_stop(chat_harness):
    """A stop ends the running turn; what was said is kept."""
    chat = await chat_harness(answering(), model=halting(Gate()))
    sent = await chat.start("Hi")
    await sent.until("text-delta")

    stopped = await chat.stop("enough")
    result = await sent.result()

    assert (stopped, result.status, result.text) == (True, "stopped", "half")
    assert {"type": "abort", "reason": "enough"} in result.chunks


async def test_a_stop_without_a_turn_stops_nothing(chat_harness):
    """Where nothing runs there is nothing to stop."""
    chat = await chat_harness(answering())

    assert await chat.stop() is False


async def test_regenerate_and_actions_can_be_started(chat_harness):
    """Every input can be sent without waiting for its end."""
    agent = answering(on_action=lambda event: "acted")
    chat = await chat_harness(agent, model=ScriptedModel(["One", "Two"]))
    await chat.send("Hi")

    again = await chat.start_regenerate()
    acted = await chat.start_action("x")

    assert ((await again.result()).text, (await acted.result()).text) == ("Two", "acted")


async def test_a_steered_message_becomes_part_of_the_turn(chat_harness):
    """What is said into a running turn is shown to the model with its next step, and settled as injected."""
    gate = Gate()

    @tool
    async def wait() -> str:
        """Wait."""
        await gate.wait()
        return "waited"

    model = ScriptedModel([call(tool_call("wait", {})), "Quickly then."])
    chat = await chat_harness(answering(tools=[wait]), model=model)
    first = await chat.start("Hi")
    await gate.reached.wait()

    second = await chat.steer("and quickly")
    gate.open()

    assert ((await first.result()).text, (await second.result()).status) == ("Quickly then.", "injected")
    assert "and quickly" in str(model.requests[1].messages)


async def test_a_waiting_message_can_be_withdrawn(chat_harness):
    """What the client of the harness can do beside is open to a test: here it takes a waiting message back."""
    gate = Gate()
    chat = await chat_harness(answering(), model=halting(gate))
    first = await chat.start("Hi")
    second = await chat.start("forget it")

    await chat.client.withdraw(second.in_seq)
    await chat.settle()
    gate.open()

    assert [(await one.result()).status for one in (first, second)] == ["completed", "withdrawn"]


@pytest.mark.parametrize(
    ("when_busy", "statuses"), [("interrupt", ["stopped", "completed"]), ("queue", ["completed", "completed"])]
)
async def test_a_message_that_comes_while_a_turn_runs(chat_harness, when_busy, statuses):
    """The agent's busy policy is at work."""
    gate = Gate()
    chat = await chat_harness(answering(when_busy=when_busy), model=halting(gate))
    first = await chat.start("Hi")
    await gate.reached.wait()

    second = await chat.start("no, wait")
    await chat.settle()
    gate.open()

    assert [(await one.result()).status for one in (first, second)] == statuses


async def test_nothing_to_steer(chat_harness):
    """Where no turn runs a message is sent, not steered."""
    chat = await chat_harness(answering())

    with pytest.raises(UsageError):
        await chat.steer("x")


async def test_a_reader_follows_the_log(chat_harness):
    """A reader gets the records as a browser does."""
    chat = await chat_harness(answering(), model=ScriptedModel(["one"]))
    reader = chat.connect()
    await chat.send("Hi")

    chunk = await reader.until("text-delta")

    assert (chunk["delta"], reader.cursor) == ("one", 5)
    assert [record.seq for record in reader.records] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("leave", ["reader", "chat"])
async def test_a_reader_that_leaves_ends_nothing(chat_harness, leave):
    """A reader may go in the middle of an answer: the turn goes on, and the reader reads on when it is back."""
    gate = Gate()
    chat = await chat_harness(answering(), model=halting(gate))
    sent = await chat.start("Hi")
    reader = chat.connect()
    await reader.until("text-delta")

    await (reader if leave == "reader" else chat).disconnect()
    left = chat.session.outbox.readers
    gate.open()
    result = await sent.result()

    assert (left, result.status) == (0, "completed")
    assert (await reader.until("text-delta"))["delta"] == "whole"
    assert [record.seq for record in reader.records] == list(range(1, reader.cursor + 1))


async def test_a_reader_begins_behind_its_cursor(chat_harness):
    """A reader that has seen the beginning gets the rest."""
    chat = await chat_harness(answering(), model=ScriptedModel(["one"]))
    result = await chat.send("Hi")

    async with chat.connect(result.seq - 1) as reader:
        record = await reader.next()

    assert (record.kind, record.body["inSeq"], chat.session.outbox.readers) == ("turn-complete", 1, 0)


async def test_a_reader_survives_a_crash(chat_harness):
    """The log ends for a reader whose worker died; with the next worker it reads on, without a gap or a repeat."""
    gate = Gate()
    chat = await chat_harness(answering(), model=halting(gate))
    await chat.start("Hi")
    reader = chat.connect()
    await reader.until("text-delta")

    await chat.crash()
    with pytest.raises((ServerUnavailableError, UsageError)):
        await reader.next()
    await chat.restart()
    await reader.until("abort")

    assert [record.seq for record in reader.records] == list(range(1, reader.cursor + 1))
