"""The calls of a first step are carried out by the run that takes it over, as in any step."""

from __future__ import annotations

import pytest

from chatrt.models import ScriptedModel
from chatrt.tools import ApprovalDecision, tool
from tests.runtime.driver import House
from tests.runtime.head_starts import ANSWER, Warm, ask_user, begun, called, counting, search


@pytest.mark.behaviour(112)
async def test_calls_are_carried_out_and_the_model_goes_on(house: House):
    """The run carries out the call and asks the model for the second step; the first call is not made again."""
    model = ScriptedModel(["it is so"])
    chat = await house.open(counting(model, search))
    warm = await Warm.start(chat)
    await warm.says(called(("search", {"query": "x"})))
    await warm.hands_over(final=False)

    turn = await warm.settled()

    model.assert_exhausted()
    roles = [message["role"] for message in model.requests[0].messages]
    assert (roles, len(model.requests)) == (["user", "assistant", "tool"], 1)
    assert turn.types.index("tool-output-available") == turn.types.index("tool-input-available") + 2
    assert turn.types.count("start") == turn.types.count("finish") == 1


@pytest.mark.behaviour(112)
async def test_the_model_reads_what_was_said_and_found(house: House):
    """The prompt of the second step has the words of the first, its call and the result."""
    model = ScriptedModel(["it is so"])
    chat = await house.open(counting(model, search))
    warm = await Warm.start(chat)
    await warm.says(called(("search", {"query": "x"})))
    await warm.hands_over(final=False)

    await warm.settled()

    said, found = model.requests[0].messages[1:]
    assert [part["type"] for part in said["content"]] == ["text", "tool-call"]
    assert found["content"][0]["output"] == {"type": "text", "value": "found x"}


@pytest.mark.behaviour(121)
async def test_the_stored_message_shows_no_approvals(house: House):
    """A call that was carried out behind a head start is stored like any other."""
    chat = await house.open(counting(ScriptedModel(["it is so"]), search))
    warm = await Warm.start(chat)
    await warm.says(called(("search", {"query": "x"})))
    await warm.hands_over(final=False)

    await warm.settled()

    [_, message] = await chat.messages()
    assert message["id"] == ANSWER
    assert message["parts"] == [
        {"type": "step-start"},
        {"type": "text", "text": "let me see", "state": "done"},
        {
            "type": "tool-search",
            "toolCallId": "call-0",
            "state": "output-available",
            "input": {"query": "x"},
            "output": "found x",
        },
        {"type": "step-start"},
        {"type": "text", "text": "it is so", "state": "done"},
    ]


@pytest.mark.behaviour(115)
async def test_a_call_with_hydrate(house: House):
    """With hydrate_messages the model sees user, assistant and tool, and one assistant message has the id."""
    model = ScriptedModel(["it is so"])
    agent = counting(model, search, hydrate_messages=lambda event: [*event.previous_messages, *event.incoming_messages])
    chat = await house.open(agent)
    warm = await Warm.start(chat)
    await warm.says(called(("search", {"query": "x"})))
    await warm.hands_over(final=False)

    await warm.settled()

    assert [message["role"] for message in model.requests[0].messages] == ["user", "assistant", "tool"]
    assert [message["id"] for message in await chat.messages()] == ["u1", ANSWER]


async def test_several_calls_and_a_broken_one(house: House):
    """Calls run together; one that fails is told to the model as any failed call is."""

    @tool
    async def broken() -> str:
        """Break."""
        raise RuntimeError("secret")

    model = ScriptedModel(["it is so"])
    chat = await house.open(counting(model, search, broken))
    warm = await Warm.start(chat)
    await warm.says(called(("search", {"query": "x"}), ("broken", {}), ("unheard-of", {})))
    await warm.hands_over(final=False)

    await warm.settled()

    states = [part["state"] for part in (await chat.messages())[1]["parts"] if part["type"].startswith("tool-")]
    assert (states, len(model.requests)) == (["output-available", "output-error", "output-error"], 1)


async def test_a_tool_that_needs_approval_asks(house: House):
    """A head start is no way around an approval: the call is not carried out, the turn ends with the question."""
    ran: list[str] = []

    @tool(needs_approval=True)
    async def pay(to: str) -> str:
        """Pay."""
        ran.append(to)
        return "paid"

    model = ScriptedModel(["thank you"])
    chat = await house.open(counting(model, pay))
    warm = await Warm.start(chat)
    await warm.says(called(("pay", {"to": "Ada"})))
    await warm.hands_over(final=False)

    turn = await warm.settled()

    assert (ran, len(model.requests), turn.complete["finishReason"]) == ([], 0, "tool-calls")
    part = (await chat.messages())[1]["parts"][-1]
    assert part["state"] == "approval-requested"

    answer = {**part, "state": "approval-responded", "approval": {"id": part["approval"]["id"], "approved": True}}
    await chat.answer(answer, message_id=ANSWER)

    assert (ran, (await chat.messages())[1]["id"], len(model.requests)) == (["Ada"], ANSWER, 1)


@pytest.mark.parametrize(
    ("decision", "state"), [(ApprovalDecision.deny("no"), "output-denied"), (ApprovalDecision.approve(), None)]
)
async def test_a_policy_decides_as_in_any_step(house: House, decision: ApprovalDecision, state: str | None):
    """What a policy denies does not run, what it approves does, and the model goes on with either."""
    ran: list[str] = []

    @tool(needs_approval=decision)
    async def pay(to: str) -> str:
        """Pay."""
        ran.append(to)
        return "paid"

    model = ScriptedModel(["so be it"])
    chat = await house.open(counting(model, pay))
    warm = await Warm.start(chat)
    await warm.says(called(("pay", {"to": "Ada"})))
    await warm.hands_over(final=False)

    turn = await warm.settled()

    [part] = [part for part in (await chat.messages())[1]["parts"] if part["type"] == "tool-pay"]
    assert (turn.text, part["state"]) == ("let me see" + "so be it", state or "output-available")
    assert ran == ([] if state else ["Ada"])


async def test_a_call_of_a_client_tool_stays_open(house: House):
    """The turn ends with the open call, and the client's answer continues the same message."""
    model = ScriptedModel(["thank you"])
    chat = await house.open(counting(model, ask_user))
    warm = await Warm.start(chat)
    await warm.says(called(("ask_user", {"question": "who?"})))
    await warm.hands_over(final=False)
    turn = await warm.settled()
    asked = len(model.requests)
    part = (await chat.messages())[1]["parts"][-1]

    await chat.answer({**part, "state": "output-available", "output": "me"}, message_id=ANSWER)

    assert (turn.status, asked, part["state"]) == ("completed", 0, "input-available")
    [_, message] = await chat.messages()
    assert (message["id"], message["parts"][-1]["text"]) == (ANSWER, "thank you")


async def test_a_mixed_step_waits_for_the_client(house: House):
    """Calls with a body run, the client's stays open, and the model waits for all of them."""
    model = ScriptedModel(["thank you"])
    chat = await house.open(counting(model, search, ask_user))
    warm = await Warm.start(chat)
    await warm.says(called(("search", {"query": "x"}), ("ask_user", {"question": "who?"})))
    await warm.hands_over(final=False)

    await warm.settled()

    states = [part["state"] for part in (await chat.messages())[1]["parts"] if part["type"].startswith("tool-")]
    assert (states, model.requests) == (["output-available", "input-available"], [])


async def test_a_broken_call_is_told_to_the_model(house: House):
    """When every call of the step was invalid, the model is asked again right away."""
    model = ScriptedModel(["never mind"])
    chat = await house.open(counting(model, search))
    warm = await Warm.start(chat)
    invalid = {"toolCallId": "c", "toolName": "search", "input": "{", "errorText": "no JSON", "dynamic": True}
    await warm.says([*begun("let me see")[:-1], {"type": "tool-input-error", **invalid}, {"type": "finish-step"}])
    await warm.hands_over(final=False)

    turn = await warm.settled()

    assert (turn.text, len(model.requests)) == ("let me see" + "never mind", 1)
