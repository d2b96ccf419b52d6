"""Steering: what users say while a turn runs, and what becomes of it between the steps."""

from __future__ import annotations

import json
from typing import Any

from chatrt.agent import ChatAgent
from chatrt.generate import stream_text
from chatrt.models import ScriptedModel
from chatrt.models.scripted import call, tool_call
from chatrt.pending_messages import PendingMessages
from chatrt.tools import tool
from tests.runtime.driver import Chat, Gate, House, user


def stepping(gate: Gate, model: ScriptedModel, **options: Any) -> ChatAgent:
    """An agent whose model calls a tool that waits at the gate, and then answers."""

    @tool
    async def look() -> str:
        """Look."""
        await gate.wait()
        return "seen"

    async def run(turn):
        return stream_text(model, turn.messages, tools=turn.tools)

    return ChatAgent("a", run=run, tools=[look], **options)


def two_steps(*more: Any) -> ScriptedModel:
    return ScriptedModel([call(tool_call("look", {})), "done", *more])


def users(request: Any) -> list[str]:
    """What the user rows of a prompt say."""
    return [part["text"] for row in request.messages if row["role"] == "user" for part in row["content"]]


async def sent_while_busy(chat: Chat, gate: Gate, *said: str, **options: Any) -> list[Any]:
    """Send a message, wait until its tool runs, send others, and let the tool go."""
    first = await chat.inbox.send_message(user("go", "u1"))
    await gate.reached.wait()
    others = [await chat.inbox.send_message(user(word), **options) for word in said]
    await chat.until_read(others[-1])
    gate.opened.set()
    return [first, *others]


async def test_a_message_is_injected_before_the_next_step(house: House, gate: Gate):
    """With steer, what is said while a tool runs stands in the prompt of the next step."""
    model = two_steps()
    chat = await house.open(stepping(gate, model, when_busy="steer"))
    first, second = await sent_while_busy(chat, gate, "hurry")

    done, injected = await chat.settled(first), await chat.settled(second)

    assert users(model.requests[1]) == ["go", "hurry"]
    assert (done.status, injected.status) == ("completed", "injected")
    assert injected.complete["messageId"] == done.complete["messageId"]


async def test_the_end_of_a_turn_says_what_was_settled_with_it(house: House, gate: Gate):
    """`inCursor` is the last input that is settled when a turn ends, where that is not the turn's own."""
    chat = await house.open(stepping(gate, two_steps(), when_busy="steer"))
    first, second = await sent_while_busy(chat, gate, "hurry")
    done, injected = await chat.settled(first), await chat.settled(second)
    later = await chat.send("more")

    assert (done.complete["inSeq"], done.complete["inCursor"]) == (1, 2)
    assert "inCursor" not in injected.complete
    assert "inCursor" not in later.complete


async def test_the_end_of_a_turn_does_not_settle_what_waits(house: House, gate: Gate):
    """A stop behind a message that waits is settled with that one."""
    chat = await house.open(stepping(gate, two_steps()))
    first = await chat.inbox.send_message(user("go"))
    await gate.reached.wait()
    second = await chat.inbox.send_message(user("and then"))
    stop = await chat.inbox.stop()
    await chat.until_read(stop)
    gate.opened.set()

    assert "inCursor" not in (await chat.settled(first)).complete
    assert (await chat.settled(second)).complete["inCursor"] == stop.seq


async def test_an_injected_message_stays_in_the_history(house: House, gate: Gate):
    """An injected message is kept in the answer and stands at its place in later prompts, also of other runs (D6)."""
    model = two_steps("again")
    agent = stepping(gate, model, when_busy="steer")
    chat = await house.open(agent)
    inputs = await sent_while_busy(chat, gate, "hurry")
    await chat.settled(inputs[1])
    await house.crash()

    chat = await house.open(agent)
    await chat.send("more")

    roles = [row["role"] for row in model.requests[2].messages]
    assert (roles, users(model.requests[2])) == (
        ["user", "assistant", "tool", "user", "assistant", "user"],
        ["go", "hurry", "more"],
    )


async def test_the_injection_is_shown_where_it_happened(house: House, gate: Gate):
    """Clients see a `data-pending-message-injected` part between the steps, with the messages in it."""
    chat = await house.open(stepping(gate, two_steps(), when_busy="steer"))
    inputs = await sent_while_busy(chat, gate, "hurry")
    done = await chat.settled(inputs[0])

    types = done.types
    place = types.index("data-pending-message-injected")
    assert types[place - 1 : place + 2] == ["finish-step", "data-pending-message-injected", "start-step"]
    data = done.chunks[place]["data"]
    assert (data["messages"][0]["text"], data["messageIds"]) == ("hurry", [data["messages"][0]["id"]])


async def test_what_comes_too_late_is_the_next_turn(house: House, gate: Gate):
    """A message that no step follows is answered by a turn of its own (D6)."""

    async def run(turn):
        yield {"type": "text-start", "id": "t"}
        await gate.wait()
        yield {"type": "text-delta", "id": "t", "delta": "x"}
        yield {"type": "text-end", "id": "t"}

    chat = await house.open(ChatAgent("a", run=run, when_busy="steer"))
    inputs = await sent_while_busy(chat, gate, "late")

    assert [(await chat.settled(sent)).status for sent in inputs] == ["completed", "completed"]
    assert [role for role, _ in await chat.texts()] == ["user", "assistant", "user", "assistant"]


async def test_queue_injects_only_what_asks_for_it(house: House, gate: Gate):
    """With queue, a message waits for its turn unless the client asked to steer."""
    model = two_steps("two")
    chat = await house.open(stepping(gate, model))
    first = await chat.inbox.send_message(user("go"))
    await gate.reached.wait()
    steering = await chat.inbox.send_message(user("hurry"), steer=True)
    waiting = await chat.inbox.send_message(user("and then"))
    await chat.until_read(waiting)
    gate.opened.set()

    assert [(await chat.settled(sent)).status for sent in (first, steering, waiting)] == [
        "completed",
        "injected",
        "completed",
    ]
    assert users(model.requests[1]) == ["go", "hurry"]


async def test_nothing_overtakes_an_action(house: House, gate: Gate):
    """A message behind an action waits for it: it may say something about what the action does (D7)."""
    agent = stepping(gate, two_steps("two"), when_busy="steer")
    agent.on_action(lambda event: event.history.slice(0, 0))
    chat = await house.open(agent)
    await chat.inbox.send_message(user("go"))
    await gate.reached.wait()
    acted = await chat.inbox.act({})
    behind = await chat.inbox.send_message(user("fresh"))
    await chat.until_read(behind)
    gate.opened.set()

    assert ((await chat.settled(acted)).status, (await chat.settled(behind)).status) == ("completed", "completed")
    assert await chat.texts() == [("user", "fresh"), ("assistant", "two")]


async def test_should_inject_decides_for_the_batch(house: House, gate: Gate):
    """`should_inject` sees the whole batch once at each boundary, with the steps so far, and may refuse."""
    seen: list[Any] = []
    policy = PendingMessages(should_inject=seen.append)
    model = two_steps("b", "c")
    chat = await house.open(stepping(gate, model, when_busy="steer", pending_messages=policy))
    inputs = await sent_while_busy(chat, gate, "one", "two")

    assert [(await chat.settled(sent)).status for sent in inputs] == ["completed"] * 3
    (batch,) = seen
    assert ([m["parts"][0]["text"] for m in batch.messages], batch.step_number) == (["one", "two"], 1)
    assert batch.steps[0].tool_calls[0].tool_name == "look"


async def test_prepare_says_what_the_model_reads(house: House, gate: Gate):
    """What `prepare` gives is shown to the model instead, now and in every later prompt."""

    def prepare(batch):
        said = ", ".join(message["parts"][0]["text"] for message in batch.messages)
        return [{"role": "user", "content": [{"type": "text", "text": f"[meanwhile: {said}]"}]}]

    policy = PendingMessages(should_inject=lambda batch: True, prepare=prepare)
    model = two_steps("later")
    chat = await house.open(stepping(gate, model, pending_messages=policy))
    inputs = await sent_while_busy(chat, gate, "one", "two")
    await chat.settled(inputs[-1])
    await chat.send("more")

    assert users(model.requests[1]) == ["go", "[meanwhile: one, two]"]
    assert users(model.requests[2]) == ["go", "[meanwhile: one, two]", "more"]


async def test_hooks_are_told_and_cannot_break_the_turn(house: House, gate: Gate):
    """`on_received` fires for each message, `on_injected` once a batch; what they raise is logged."""
    told: list[Any] = []

    def receive(event):
        told.append(("received", event.message["parts"][0]["text"]))
        raise RuntimeError

    def inject(event):
        told.append(("injected", [m["parts"][0]["text"] for m in event.messages], event.step_number))
        raise RuntimeError

    policy = PendingMessages(on_received=receive, on_injected=inject)
    chat = await house.open(stepping(gate, two_steps(), when_busy="steer", pending_messages=policy))
    inputs = await sent_while_busy(chat, gate, "one", "two")

    assert (await chat.settled(inputs[0])).status == "completed"
    assert told == [("received", "one"), ("received", "two"), ("injected", ["one", "two"], 1)]


async def test_a_failing_decision_fails_the_turn_and_keeps_the_messages(house: House, gate: Gate):
    """`should_inject` raising is a failed turn; what waited is answered next."""

    def refuse(batch):
        raise RuntimeError("no")

    chat = await house.open(stepping(gate, two_steps("two"), pending_messages=PendingMessages(should_inject=refuse)))
    inputs = await sent_while_busy(chat, gate, "one")

    assert [(await chat.settled(sent)).status for sent in inputs] == ["failed", "completed"]


async def test_a_message_that_does_not_pass_validation_is_not_injected(house: House, gate: Gate):
    """What `on_validate_messages` refuses never reaches the running prompt: its own turn fails for it."""
    model = two_steps()
    agent = stepping(gate, model, when_busy="steer")

    @agent.on_validate_messages
    def validate(event):
        if "evil" in json.dumps(event.messages):
            raise ValueError("refused")
        return event.messages

    chat = await house.open(agent)
    inputs = await sent_while_busy(chat, gate, "evil")

    assert [(await chat.settled(sent)).status for sent in inputs] == ["completed", "failed"]
    assert users(model.requests[1]) == ["go"]


async def test_a_crash_behind_an_injection_does_not_ask_twice(house: House):
    """A message that was shown as injected is settled with its interrupted turn; no turn answers it again."""
    look, think = Gate(), Gate()
    agent = stepping(look, ScriptedModel([call(tool_call("look", {})), "never"]), when_busy="steer")

    @agent.prepare_messages
    def prepare(event):
        return event.messages

    async def hold(event):
        await think.wait()

    agent.pending_messages = PendingMessages(on_injected=hold)
    chat = await house.open(agent)
    inputs = await sent_while_busy(chat, look, "hurry")
    await chat.until(lambda chunk: chunk["type"] == "data-pending-message-injected")
    await think.reached.wait()
    await house.crash()
    think.opened.set()

    chat = await house.open(agent)

    assert [(await chat.settled(sent)).status for sent in inputs] == ["interrupted", "injected"]
    assert [role for role, _ in await chat.texts()] == ["user", "assistant"]


async def test_a_waiting_message_can_be_edited(house: House, gate: Gate):
    """An edit of a waiting message keeps its place and its id; its turn answers the new text."""
    chat = await house.open(stepping(gate, two_steps("two")))
    first = await chat.inbox.send_message(user("go"))
    await gate.reached.wait()
    waiting = await chat.inbox.send_message(user("wrnog", "u2"))
    changed = await chat.inbox.edit_pending(waiting.seq, user("right"))
    await chat.until_read(changed)
    pending = (await chat.session.load()).pending
    gate.opened.set()
    await chat.settled(first)
    await chat.settled(waiting)

    assert [(p.in_seq, p.message["id"], p.message["parts"][0]["text"]) for p in pending] == [
        (waiting.seq, "u2", "right")
    ]
    assert (await chat.messages())[2] == {"id": "u2", "role": "user", "parts": [{"type": "text", "text": "right"}]}


async def test_a_waiting_message_can_be_withdrawn(house: House, gate: Gate):
    """A withdrawn message is settled as `withdrawn`: no turn, no hook, not in the history."""
    agent = stepping(gate, two_steps())
    turns: list[str] = []
    agent.on_turn_complete(lambda event: turns.append(event.status))
    chat = await house.open(agent)
    first = await chat.inbox.send_message(user("go"))
    await gate.reached.wait()
    waiting = await chat.inbox.send_message(user("no"))
    taken_back = await chat.inbox.withdraw(waiting.seq)
    await chat.until_read(taken_back)
    pending = (await chat.session.load()).pending
    gate.opened.set()

    assert [(await chat.settled(sent)).status for sent in (first, waiting)] == ["completed", "withdrawn"]
    assert (pending, turns, [text for _, text in await chat.texts()]) == ([], ["completed"], ["go", "done"])


async def test_a_withdrawn_message_takes_no_turns_place(house: House, gate: Gate):
    """The last two turns are kept on `.out`, however many messages were taken back behind them."""
    agent = stepping(gate, two_steps("next"))
    chat = await house.open(agent)
    await chat.inbox.send_message(user("go"))
    await gate.reached.wait()
    later = await chat.inbox.send_message(user("then"))
    waiting = [await chat.inbox.send_message(user(word)) for word in ("no", "nor this", "nor that")]
    for sent in waiting:
        taken_back = await chat.inbox.withdraw(sent.seq)
    await chat.until_read(taken_back)
    gate.opened.set()
    await chat.settled(later)
    await chat.settled(waiting[-1])
    await house.crash()
    chat = await house.open(agent)

    records = [record async for batch in chat.session.outbox.read(0, live=False) for record in batch]

    assert [json.loads(record.body)["inSeq"] for record in records if record.kind == "turn-start"] == [1, later.seq]


async def test_what_has_begun_cannot_be_withdrawn(house: House, gate: Gate):
    """An edit or a withdrawal that comes too late changes nothing."""
    chat = await house.open(stepping(gate, two_steps()))
    first = await chat.inbox.send_message(user("go"))
    await gate.reached.wait()
    await chat.inbox.edit_pending(first.seq, user("stay"))
    last = await chat.inbox.withdraw(first.seq)
    await chat.until_read(last)
    gate.opened.set()

    assert (await chat.settled(first)).status == "completed"
    assert await chat.texts() == [("user", "go"), ("assistant", "done")]


async def test_a_withdrawal_survives_a_crash(house: House, gate: Gate):
    """What was withdrawn stays withdrawn when another run takes over."""
    agent = stepping(gate, two_steps("two"))
    chat = await house.open(agent)
    first = await chat.inbox.send_message(user("go"))
    await gate.reached.wait()
    waiting = await chat.inbox.send_message(user("no"))
    await chat.inbox.withdraw(waiting.seq)
    await house.crash()
    gate.opened.set()

    chat = await house.open(agent)

    assert [(await chat.settled(sent)).status for sent in (first, waiting)] == ["interrupted", "withdrawn"]


async def test_the_queue_is_listed_in_order(house: House, gate: Gate):
    """`pending` has what waits, with the record that an edit or a withdrawal names."""
    chat = await house.open(stepping(gate, two_steps("b", "c")))
    await chat.inbox.send_message(user("go"))
    await gate.reached.wait()
    waiting = [await chat.inbox.send_message(user(word)) for word in ("one", "two")]

    pending = (await chat.session.load()).pending
    gate.opened.set()

    assert [(p.in_seq, p.message["parts"][0]["text"]) for p in pending] == [
        (waiting[0].seq, "one"),
        (waiting[1].seq, "two"),
    ]
