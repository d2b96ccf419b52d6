"""An agent under test: turns, hooks, actions, failures and what is stored, as a team would test them with the harness."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from chatrt import ChatAgent, Turn, local, stream_text
from chatrt.errors import AgentNotFoundError
from chatrt.testing import ChatHarness, FunctionModel, ScriptedModel

MODEL = "anthropic/claude-sonnet-4-5"


class User(BaseModel):
    """Who is chatting."""

    name: str


class Rename(BaseModel):
    """Changes the title of the chat."""

    type: Literal["rename"] = "rename"
    title: str


def support(**options: Any) -> ChatAgent:
    """The agent under test: it asks its model."""

    def run(turn: Turn[Any]) -> Any:
        return stream_text(MODEL, turn.messages, tools=turn.tools)

    return ChatAgent("support", **{"run": run, **options})


def echo() -> FunctionModel:
    """A model that says how many messages it was shown."""
    return FunctionModel(lambda request: f"{len(request.messages)} messages")


def text_of(message: Any) -> str:
    return "".join(part["text"] for part in message["parts"] if part["type"] == "text")


def user(text: str, message_id: str) -> Any:
    return {"id": message_id, "role": "user", "parts": [{"type": "text", "text": text}]}


def assistant(text: str, message_id: str) -> Any:
    return {"id": message_id, "role": "assistant", "parts": [{"type": "text", "text": text}]}


PAST = [user("What is open?", "u0"), assistant("Order 7.", "a0")]


# --- turns


@pytest.mark.behaviour(1)
def test_a_harness_for_an_unknown_agent_is_refused():
    """An agent that was not given to the harness cannot be talked to."""
    with pytest.raises(AgentNotFoundError, match="billing"):
        ChatHarness([support()], agent_id="billing")


@pytest.mark.behaviour(2)
async def test_one_message_makes_one_turn(chat_harness):
    """A message is answered by one turn, whose chunks have what the model said."""
    chat = await chat_harness(support(), model=ScriptedModel(["Hello there."]))

    result = await chat.send("Hi")

    assert [chunk["delta"] for chunk in result.chunks if chunk["type"] == "text-delta"] == ["Hello ", "there."]
    assert [record.kind for record in chat.records(".out")].count("turn-complete") == 1


@pytest.mark.behaviour(3, 39)
async def test_the_hooks_of_a_fresh_chat_fire_in_order(chat_harness):
    """The first turn of a chat: chat start, turn start, run, before complete, complete; once each."""
    order: list[str] = []

    def run(turn):
        order.append("run")
        return "x"

    chat = await chat_harness(
        support(
            run=run,
            on_chat_start=lambda event: order.append("chat start"),
            on_turn_start=lambda event: order.append("turn start"),
            on_before_turn_complete=lambda event: order.append("before complete"),
            on_turn_complete=lambda event: order.append("complete"),
        )
    )

    await chat.send("Hi")

    assert order == ["chat start", "turn start", "run", "before complete", "complete"]


@pytest.mark.behaviour(4)
async def test_answers_accumulate(chat_harness):
    """In one run the model is shown 1, 3 and 5 messages: each answer is part of the next prompt."""
    chat = await chat_harness(support(), model=echo())

    said = [(await chat.send(word)).text for word in ("one", "two", "three")]

    assert said == ["1 messages", "3 messages", "5 messages"]


@pytest.mark.behaviour(17)
async def test_client_data_reach_run_and_hooks(chat_harness):
    """Client data arrive as the agent's type, in run and in every hook of the turn."""
    seen: list[Any] = []

    def run(turn):
        seen.append(turn.client_data)
        return "x"

    agent = support(
        run=run,
        client_data=User,
        on_turn_start=lambda event: seen.append(event.client_data),
        on_turn_complete=lambda event: seen.append(event.client_data),
    )
    chat = await chat_harness(agent, client_data=User(name="Ann"))

    await chat.send("Hi")

    assert seen == [User(name="Ann")] * 3


@pytest.mark.behaviour(18)
async def test_a_run_can_be_ended(chat_harness):
    """A run that is told to end leaves memory after its turn; the next message is answered by another run."""
    runs: list[str] = []

    def run(turn):
        runs.append(turn.control.run_id)
        turn.end_run()
        return "x"

    chat = await chat_harness(support(run=run))
    await chat.send("Hi")
    await chat.settle()
    gone = not chat.is_in_memory

    await chat.send("again")

    assert (gone, len(set(runs))) == (True, 2)


@pytest.mark.behaviour(19)
async def test_the_finish_reason_is_told(chat_harness):
    """on_turn_complete and the result say why the model stopped."""
    reasons: list[Any] = []
    agent = support(on_turn_complete=lambda event: reasons.append(event.finish_reason))
    chat = await chat_harness(agent, model=ScriptedModel(["x"]))

    result = await chat.send("Hi")

    assert (reasons, result.finish_reason) == (["stop"], "stop")


@pytest.mark.behaviour(36)
async def test_regenerate_answers_again(chat_harness):
    """The last answer is taken back and its question is answered once more."""
    model = ScriptedModel(["first", "second"])
    chat = await chat_harness(support(), model=model)
    await chat.send("Hi")

    await chat.regenerate()

    assert [text_of(message) for message in chat.messages] == ["Hi", "second"]
    assert len(model.requests[1].messages) == 1


# --- what a test puts in place


class Orders:
    """What the agent looks orders up in."""

    def __init__(self, answer: str) -> None:
        self.answer = answer


orders: ContextVar[Orders] = ContextVar("orders", default=Orders("from the database"))
books = local("behaviour.books", Orders)


@pytest.mark.behaviour(22)
async def test_dependencies_can_be_replaced(chat_harness):
    """A context variable that a test sets before it opens a harness is what run, hooks and tools find."""
    seen: list[str] = []
    agent = support(run=lambda turn: orders.get().answer, on_turn_start=lambda event: seen.append(orders.get().answer))
    token = orders.set(Orders("from the test"))

    chat = await chat_harness(agent)
    orders.reset(token)

    assert ((await chat.send("Hi")).text, seen) == ("from the test", ["from the test"])


@pytest.mark.behaviour(22)
async def test_locals_can_be_given(chat_harness):
    """A local that a test gives a value has it in every run, although `on_boot` makes the real thing."""
    agent = support(run=lambda turn: books.get().answer, on_boot=lambda event: books.init(Orders("from the database")))

    chat = await chat_harness(agent, locals={books: Orders("from the test")})

    first = await chat.send("Hi")
    await chat.crash()
    await chat.restart()
    assert [first.text, (await chat.send("again")).text] == ["from the test"] * 2


@pytest.mark.behaviour(22)
async def test_a_model_can_be_replaced_by_its_name(chat_harness):
    """The agent asks for a model by name and gets the test's, also after a crash."""
    chat = await chat_harness(support(), model={MODEL: ScriptedModel(["one", "two"])})

    first = await chat.send("Hi")
    await chat.crash()
    await chat.restart()

    assert (first.text, (await chat.send("again")).text) == ("one", "two")


# --- actions


@pytest.mark.behaviour(13)
async def test_actions_arrive_as_their_type(chat_harness):
    """What a client asks for is parsed into the agent's action type."""
    seen: list[Any] = []
    chat = await chat_harness(support(action=Rename, on_action=lambda event: seen.append(event.action)))

    await chat.act({"type": "rename", "title": "Refunds"})

    assert seen == [Rename(title="Refunds")]


@pytest.mark.behaviour(14)
async def test_an_action_that_returns_nothing_is_no_turn(chat_harness):
    """Neither run nor turn hooks, but the action is settled on the log."""
    calls: list[str] = []
    agent = support(
        run=lambda turn: calls.append("run"),
        on_turn_start=lambda event: calls.append("turn start"),
        on_turn_complete=lambda event: calls.append("complete"),
        on_action=lambda event: None,
    )
    chat = await chat_harness(agent)

    result = await chat.act("anything")

    assert (calls, result.status, result.chunks) == ([], "completed", [])
    assert result.records[-1].kind == "turn-complete"


@pytest.mark.behaviour(15)
async def test_an_action_may_answer_with_a_stream(chat_harness):
    """The chunks of the stream that an action returns are shown; run and turn hooks are left out."""
    calls: list[str] = []
    agent = support(
        on_action=lambda event: stream_text(MODEL, event.messages),
        on_turn_complete=lambda event: calls.append("complete"),
    )
    chat = await chat_harness(agent, messages=PAST, model=ScriptedModel(["A summary."]))

    result = await chat.act("summarise")

    assert (result.text, calls, text_of(chat.messages[-1])) == ("A summary.", [], "A summary.")


@pytest.mark.behaviour(16)
async def test_an_action_that_the_agent_does_not_take(chat_harness):
    """Without on_action an action is settled as failed, with a code, and the model is not called (D20)."""
    model = ScriptedModel([])
    chat = await chat_harness(support(), model=model)

    result = await chat.act("anything")

    assert (result.status, result.error["code"], model.requests) == ("failed", "invalid-action", [])


# --- failures


@pytest.mark.behaviour(20)
async def test_a_run_that_raises_keeps_the_question(chat_harness):
    """on_turn_complete is told once of the error, without an answer; the question is in the history and in the store."""
    told: list[Any] = []

    def run(turn):
        raise ValueError("no database")

    agent = support(run=run, on_turn_complete=told.append)
    chat = await chat_harness(agent)

    result = await chat.send("Hi")
    await chat.crash()

    assert (result.status, len(told), str(told[0].error)) == ("failed", 1, "no database")
    assert (told[0].finish_reason, told[0].response_message) == ("error", None)
    assert [text_of(message) for message in told[0].ui_messages] == ["Hi"]
    assert [text_of(message) for message in chat.messages] == ["Hi"]


@pytest.mark.behaviour(21)
async def test_a_validator_that_raises_keeps_the_question(chat_harness):
    """When on_validate_messages refuses a message the turn fails, and the message is stored all the same."""
    told: list[Any] = []

    def validate(event):
        raise ValueError("too rude")

    chat = await chat_harness(support(on_validate_messages=validate, on_turn_complete=told.append))

    await chat.send("Hi")
    await chat.crash()

    assert [(event.status, str(event.error)) for event in told] == [("failed", "too rude")]
    assert [text_of(message) for message in chat.messages] == ["Hi"]


# --- what is stored


@pytest.mark.behaviour(33)
async def test_harnesses_are_isolated():
    """A harness that was closed leaves nothing behind for the next one."""
    agent = support()
    async with ChatHarness(agent, chat_id="chat", model=ScriptedModel(["one"])) as first:
        await first.send("Hi")

    async with ChatHarness(agent, chat_id="chat", model=ScriptedModel(["two"])) as second:
        assert (second.messages, second.records(".out")) == ([], [])
        assert (await second.send("Hi")).seq == first.records(".out")[-1].seq


@pytest.mark.behaviour(34)
async def test_a_turn_is_stored(chat_harness):
    """After a turn the store has the question and the answer, and the inbox is read up to the question."""
    chat = await chat_harness(support(), model=ScriptedModel(["Hello."]))
    await chat.send("Hi")

    snapshot = await chat.store.load_snapshot(chat.key)

    assert [text_of(node.message) for node in snapshot.nodes] == ["Hi", "Hello."]
    assert (snapshot.in_cursor, snapshot.settled_seq) == (1, chat.records(".out")[-1].seq)


@pytest.mark.behaviour(35)
async def test_a_stored_history_is_there_at_boot(chat_harness):
    """A chat that has a past: hooks see it from on_boot on, and the model is shown it."""
    seen: list[Any] = []
    agent = support(on_boot=lambda event: seen.append([m["id"] for m in event.history.all()]))
    chat = await chat_harness(agent, messages=PAST, model=echo())

    result = await chat.send("And now?")

    assert (seen, result.text) == ([["u0", "a0"]], "3 messages")


@pytest.mark.behaviour(40)
async def test_a_chat_starts_once(chat_harness):
    """on_chat_start does not fire for a chat that earlier runs have served."""
    starts: list[str] = []
    agent = support(on_chat_start=lambda event: starts.append(event.chat_id))

    chat = await chat_harness(agent, messages=PAST, model=echo())
    await chat.send("And now?")
    fresh = await chat_harness(agent, chat_id="fresh", model=echo())
    await fresh.send("Hi")
    await fresh.crash()
    await fresh.restart()
    await fresh.send("Hi")

    assert starts == ["fresh"]
