"""Turns that outlive their runs: what tools say of their effects decides whether an answer goes on after a crash (D33)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chatrt.agent import ChatAgent
from chatrt.codec import dumps
from chatrt.errors import UsageError
from chatrt.events import RecoveryPlan
from chatrt.generate import step_count_is, stream_text
from chatrt.models import FunctionModel, ModelRequest
from chatrt.models.scripted import call, text, tool_call
from chatrt.stores import NewRecord
from chatrt.testing import ChatHarness
from chatrt.tools import Effect, Tool, ToolContext, tool
from chatrt.turn import Turn
from tests.runtime.driver import Gate


class Shop:
    """A tool that waits at a gate, and the orders that came of it: what took effect, by the key it was asked with."""

    def __init__(self, effect: Effect, gate: Gate) -> None:
        self.orders: list[str] = []
        self.attempts: list[int] = []

        @tool(effect=effect)
        async def order(what: str, context: ToolContext) -> str:
            """Order something."""
            self.orders.append(context.idempotency_key)
            self.attempts.append(context.attempt)
            await gate.wait()
            return f"ordered {what}"

        self.tool: Tool = order


def shopping(tools: list[Tool], steps: int = 1, **options: Any) -> ChatAgent:
    """An agent whose model calls each tool in turn, `steps` times over, and then says what it read."""

    async def play(request: ModelRequest):
        asked = max(place for place, message in enumerate(request.messages) if message["role"] == "user")
        rows = [message for message in request.messages[asked:] if message["role"] == "tool"]
        results = [part for row in rows for part in row["content"] if part["type"] == "tool-result"]
        done = len(results) // len(tools)
        if done < steps:
            parts = [tool_call(one.name, {"what": "tea"}, id=f"call-{one.name}-{done}") for one in tools]
            for part in call(*parts):
                yield part
            return
        for part in call(text("; ".join(str(result["output"]["value"]) for result in results))):
            yield part

    def respond(turn: Turn) -> Any:
        return stream_text(FunctionModel(play), turn.messages, tools=turn.tools, stop_when=step_count_is(4))

    return ChatAgent("shop", run=respond, tools=tools, **options)


async def crashed(chat: ChatHarness, gate: Gate) -> Any:
    """Send a message, crash while the tool stands at the gate, and start again with the gate open."""
    sent = await chat.start("tea please")
    await gate.reached.wait()
    await chat.crash()
    gate.opened.set()
    await chat.restart()
    return sent


@pytest.mark.parametrize("effect", ["pure", "idempotent"])
async def test_a_call_that_may_be_repeated_is(gate: Gate, effect: Effect):
    """After a crash a call is carried out again with the same key, and the same answer goes on."""
    shop = Shop(effect, gate)
    async with ChatHarness(shopping([shop.tool])) as chat:
        done = await (await crashed(chat, gate)).result()
        assert (done.status, done.text) == ("completed", "ordered tea")
        assert (len(set(shop.orders)), shop.attempts) == (1, [1, 2])
        assert [message["role"] for message in chat.messages] == ["user", "assistant"]


async def test_an_unsafe_call_is_not_repeated(gate: Gate):
    """A call that may do harm runs once: its answer ends as interrupted, and says so."""
    shop = Shop("unsafe", gate)
    async with ChatHarness(shopping([shop.tool])) as chat:
        done = await (await crashed(chat, gate)).result()
        assert done.status == "interrupted"
        assert shop.attempts == [1]
        (call_part,) = [part for part in chat.messages[-1]["parts"] if part["type"] == "tool-order"]
        assert (call_part["state"], call_part["errorText"]) == ("output-error", "interrupted")


async def test_the_model_may_be_told_that_an_outcome_is_unknown(gate: Gate):
    """An agent that lets the model decide goes on with the truth: nobody knows whether the call took effect."""
    shop = Shop("unsafe", gate)
    async with ChatHarness(shopping([shop.tool], unknown_outcome="tell")) as chat:
        done = await (await crashed(chat, gate)).result()
        assert done.status == "completed"
        assert "unknown" in done.text
        assert shop.attempts == [1]


async def test_one_unsafe_call_beside_others_ends_the_answer(gate: Gate):
    """Calls that could be repeated are not, where one beside them could not."""
    unsafe, pure = Shop("unsafe", gate), Shop("pure", gate)
    other = Tool.from_schema("other", "", {"type": "object"}, pure.tool.body)
    async with ChatHarness(shopping([unsafe.tool, other])) as chat:
        done = await (await crashed(chat, gate)).result()
        assert done.status == "interrupted"


async def test_a_recorded_result_is_not_asked_for_again(gate: Gate):
    """Of two calls one had its result before the crash: only the other one is carried out again."""
    quick: list[str] = []
    slow = Shop("idempotent", gate)

    @tool(effect="pure")
    async def look(what: str) -> str:
        """Look something up."""
        quick.append(what)
        return "seen"

    async with ChatHarness(shopping([look, slow.tool])) as chat:
        sent = await chat.start("both")
        await gate.reached.wait()
        await chat.settle()
        await chat.crash()
        gate.opened.set()
        await chat.restart()
        done = await sent.result()
        assert (done.status, quick, slow.attempts) == ("completed", ["tea"], [1, 2])


async def test_a_reader_sees_one_answer(gate: Gate):
    """Whoever reads across the crash gets one well-formed message: one start, each chunk once, one finish."""
    shop = Shop("pure", gate)
    async with ChatHarness(shopping([shop.tool])) as chat:
        await (await crashed(chat, gate)).result()
        kinds = [chunk["type"] for chunk in chat.chunks]
        assert (kinds.count("start"), kinds.count("finish"), kinds.count("start-step")) == (1, 1, 2)
        assert kinds.count("finish-step") == 2
        assert kinds.count("tool-output-available") == 1
        assert [record.kind for record in chat.records(".out") if record.kind != "chunk"] == [
            "turn-start",
            "resumed",
            "turn-complete",
        ]


async def test_an_answer_that_kills_its_runs_is_given_up(gate: Gate):
    """After three workers that died over an answer it is closed as failed, and the chat goes on."""
    shop = Shop("pure", gate)
    async with ChatHarness(shopping([shop.tool])) as chat:
        sent = await chat.start("tea please")
        for _ in range(3):
            await gate.reached.wait()
            gate.reached.clear()
            await chat.crash()
            await chat.restart()
        done = await sent.result()
        assert (done.status, shop.attempts) == ("failed", [1, 2, 3])
        gate.opened.set()
        assert (await chat.send("again")).status == "completed"


async def test_a_stop_that_came_while_nobody_served_is_heeded(gate: Gate):
    """A person who stopped the answer while its server was down sees it stopped, not gone on with."""
    shop = Shop("pure", gate)
    async with ChatHarness(shopping([shop.tool])) as chat:
        sent = await chat.start("tea please")
        await gate.reached.wait()
        await chat.crash()
        await chat.store.append_in(chat.key, NewRecord("stop", b"{}"), part_id=None, at=chat.clock.now())
        await chat.restart()
        done = await sent.result()
        assert (done.status, shop.attempts) == ("stopped", [1])


async def test_a_stop_from_before_the_question_is_not_heeded(gate: Gate):
    """A stop that is older than the question stops no answer to it, also when a run after a crash reads it again."""
    shop = Shop("pure", gate)
    async with ChatHarness(shopping([shop.tool])) as chat:
        await chat.crash()
        message = {"id": "u1", "role": "user", "parts": [{"type": "text", "text": "tea please"}]}
        for record in (NewRecord("stop", b"{}"), NewRecord("message", dumps({"message": message}))):
            await chat.store.append_in(chat.key, record, part_id=None, at=chat.clock.now())
        await chat.restart()
        await gate.reached.wait()
        await chat.crash()
        gate.opened.set()
        await chat.restart()
        await chat.settle()
        done = chat.records(".out")[-1].body
        assert (done["status"], shop.attempts) == ("completed", [1, 2])


async def test_a_plan_of_the_application_goes_first(gate: Gate):
    """Where `on_recovery_boot` gives a plan the answer does not go on by itself; without a plan it does."""
    shop, plans = Shop("pure", gate), [RecoveryPlan(), None]
    agent = shopping([shop.tool])
    agent.on_recovery_boot(lambda event: plans.pop(0))
    async with ChatHarness(agent) as chat:
        assert (await (await crashed(chat, gate)).result()).status == "interrupted"
        gate.reached.clear()
        gate.opened.clear()
        assert (await (await crashed(chat, gate)).result()).status == "completed"


async def test_steps_are_not_counted_anew(gate: Gate):
    """The steps of the run that died count for `stop_when`: a crash gives nobody more of them."""
    shop = Shop("pure", gate)
    async with ChatHarness(shopping([shop.tool], steps=100)) as chat:
        done = await (await crashed(chat, gate)).result()
        kinds = [chunk["type"] for chunk in chat.chunks]
        assert (done.status, kinds.count("start-step")) == ("completed", 4)


async def test_words_in_the_middle_are_closed_as_ever(gate: Gate):
    """A model that died in the middle of its words is not asked again: what a person has seen stays (D21)."""

    async def play(request: ModelRequest):
        yield {"type": "text-start", "id": "t"}
        yield {"type": "text-delta", "id": "t", "delta": "half"}
        await gate.wait()

    async with ChatHarness(ChatAgent("a", run=lambda turn: stream_text(FunctionModel(play), turn.messages))) as chat:
        sent = await chat.start("go")
        await gate.reached.wait()
        await chat.settle()
        await chat.crash()
        await chat.restart()
        assert (await sent.result()).status == "interrupted"


async def test_an_approved_call_is_repeated_by_its_effect(gate: Gate):
    """A call that a person approved and that may be repeated is carried out again, without asking once more."""
    attempts: list[int] = []

    @tool(effect="idempotent", needs_approval=True)
    async def pay(what: str, context: ToolContext) -> str:
        """Pay for something."""
        attempts.append(context.attempt)
        await gate.wait()
        return f"paid {what}"

    async with ChatHarness(shopping([pay])) as chat:
        await chat.send("tea please")
        sent = asyncio.ensure_future(chat.approve("pay"))
        await gate.reached.wait()
        await chat.crash()
        gate.opened.set()
        await chat.restart()
        await asyncio.gather(sent, return_exceptions=True)
        await chat.settle()
        assert attempts == [1, 2]
        assert "paid tea" in str(chat.messages[-1])


def test_an_effect_is_one_of_three():
    """A tool with another effect is a mistake in the program."""
    with pytest.raises(UsageError, match="effect"):
        Tool.from_schema("order", "", {"type": "object"}, lambda value, context: None, effect="mostly harmless")
