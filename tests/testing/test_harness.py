"""The harness: what is sent to an agent, and what the result says."""

from __future__ import annotations

import pytest

from chatrt.errors import AgentNotFoundError, InvalidMessageError, UsageError
from chatrt.models import ScriptedModel
from chatrt.models.scripted import call, text, tool_call
from chatrt.testing import ChatHarness, override_model
from tests.testing.agents import Undo, answering, ask_user, refund, texts


async def test_a_message_is_answered(chat_harness):
    """A text becomes a user message; the result has the answer, how it ended, and where it stands on the logs."""
    chat = await chat_harness(answering(), model=ScriptedModel(["Hello there."]))

    result = await chat.send("Hi")

    assert (result.status, result.text, result.finish_reason) == ("completed", "Hello there.", "stop")
    assert (result.trigger, result.in_seq, result.seq) == ("message", 1, 10)
    assert result.message == chat.messages[-1]


async def test_the_result_has_the_records_of_the_turn(chat_harness):
    """A result has the records from the turn-start to the turn-complete, and the chunks among them."""
    chat = await chat_harness(answering(), model=ScriptedModel(["One", "Two"]))
    await chat.send("first")

    result = await chat.send("second")

    assert [record.kind for record in result.records] == ["turn-start", *["chunk"] * 7, "turn-complete"]
    assert [record.seq for record in result.records] == list(range(10, 19))
    assert [chunk["type"] for chunk in result.chunks if "delta" in chunk] == ["text-delta"]


async def test_the_harness_has_all_records(chat_harness):
    """`records` has every record of both logs with real numbers, also those that the store has trimmed."""
    chat = await chat_harness(answering(), model=ScriptedModel(["A", "B", "C", "D"]))

    for word in "abcd":
        await chat.send(word)

    assert [(record.seq, record.kind) for record in chat.records(".in")] == [(seq, "message") for seq in (1, 2, 3, 4)]
    assert [record.seq for record in chat.records(".out")] == list(range(1, 37))
    assert [chunk["delta"] for chunk in chat.chunks if chunk["type"] == "text-delta"] == ["A", "B", "C", "D"]


async def test_ids_count(chat_harness):
    """Ids are predictable, so that a test may name them."""
    chat = await chat_harness(answering(), model=ScriptedModel(["Hello."]))

    await chat.send("Hi")

    assert (chat.chat_id, [message["id"] for message in chat.messages]) == ("chat_1", ["msg_1", "msg_2"])


async def test_a_message_may_be_given_whole(chat_harness):
    """A message can be given as it stands on the wire, or by its parts."""
    chat = await chat_harness(answering(), model=ScriptedModel(["One", "Two"]))
    parts = [{"type": "text", "text": "look"}, {"type": "file", "mediaType": "text/plain", "url": "data:text/plain,a"}]

    await chat.send({"id": "u1", "role": "user", "parts": [{"type": "text", "text": "hi"}]})
    await chat.send(parts=parts)

    assert (chat.messages[0]["id"], chat.messages[2]["parts"]) == ("u1", parts)


async def test_what_is_no_message_is_refused(chat_harness):
    """The door of the runtime is the real one."""
    chat = await chat_harness(answering())

    with pytest.raises(InvalidMessageError):
        await chat.send({"role": "user", "parts": [{"type": "reasoning", "text": "hm"}]})


async def test_a_known_id_is_an_edit(chat_harness):
    """A message with the id of an earlier one takes its place."""
    chat = await chat_harness(answering(), model=ScriptedModel(["One", "Two"]))
    await chat.send("first", message_id="u1")

    await chat.send("better", message_id="u1")

    assert texts(chat.messages) == [("user", "better"), ("assistant", "Two")]


async def test_regenerate(chat_harness):
    """Another answer takes the place of the last one."""
    chat = await chat_harness(answering(), model=ScriptedModel(["One", "Two"]))
    await chat.send("Hi")

    result = await chat.regenerate()

    assert (result.trigger, texts(chat.messages)) == ("regenerate", [("user", "Hi"), ("assistant", "Two")])


async def test_regenerate_names_a_message(chat_harness):
    """An earlier answer can be named; what stood behind it is left behind."""
    chat = await chat_harness(answering(), model=ScriptedModel(["One", "Two", "Three"]))
    first = await chat.send("Hi")
    await chat.send("more")

    await chat.regenerate(first.message["id"])

    assert texts(chat.messages) == [("user", "Hi"), ("assistant", "Three")]


@pytest.mark.parametrize("action", [Undo(count=2), {"type": "undo", "count": 2}])
async def test_actions(chat_harness, action):
    """An action is given as the client's JSON or as the model of the agent's action type."""
    agent = answering(action=Undo, on_action=lambda event: event.history.slice(0, -event.action.count))
    chat = await chat_harness(agent, model=ScriptedModel(["Hello."]))
    await chat.send("Hi")

    result = await chat.act(action)

    assert (result.status, result.trigger, chat.messages) == ("completed", "action", [])


async def test_a_refused_action_says_why(chat_harness):
    """An action that the agent does not know fails, with its code."""
    chat = await chat_harness(answering(action=Undo, on_action=lambda event: None))

    result = await chat.act({"type": "redo"})

    assert (result.status, result.error["code"]) == ("failed", "invalid-action")


async def test_client_data(chat_harness):
    """Client data of the chat go along with everything; those of one call take their place."""
    seen = []
    agent = answering(on_turn_start=lambda event: seen.append(event.client_data))
    chat = await chat_harness(agent, client_data={"user": "ann"}, model=ScriptedModel(["One", "Two"]))

    await chat.send("Hi")
    await chat.send("Hi", client_data={"user": "bob"})

    assert seen == [{"user": "ann"}, {"user": "bob"}]


async def approval_asked(chat_harness) -> ChatHarness:
    script = [call(text("Sure. "), tool_call("refund", {"order_id": "o1"}, id="c1")), "Done."]
    chat = await chat_harness(answering(tools=[refund]), model=ScriptedModel(script))
    await chat.send("Refund o1")
    return chat


async def test_calls_that_wait_are_pending(chat_harness):
    """A result names the calls of its turn, and those that wait for the client."""
    script = [call(text("Sure. "), tool_call("refund", {"order_id": "o1"}, id="c1"))]
    chat = await chat_harness(answering(tools=[refund]), model=ScriptedModel(script))

    result = await chat.send("Refund o1")

    assert [(c.tool_name, c.input) for c in result.tool_calls] == [("refund", {"order_id": "o1"})]
    assert [(c.tool_call_id, c.state) for c in result.pending_tool_calls] == [("c1", "approval-requested")]


@pytest.mark.parametrize("name", ["refund", "c1"])
async def test_approve(chat_harness, name):
    """An approval names the tool, or the call; the tool runs and the agent goes on."""
    chat = await approval_asked(chat_harness)

    result = await chat.approve(name)

    assert (result.text, result.tool_results[0].output) == ("Done.", "refunded o1")


async def test_approve_takes_the_pending_call(chat_harness):
    """What a result says is pending can be approved as it is."""
    script = [call(tool_call("refund", {"order_id": "o1"})), "Done."]
    chat = await chat_harness(answering(tools=[refund]), model=ScriptedModel(script))
    asked = await chat.send("Refund o1")

    assert (await chat.approve(asked.pending_tool_calls[0])).text == "Done."


async def test_deny(chat_harness):
    """A denied call does not run, and the model learns why."""
    model = ScriptedModel([call(tool_call("refund", {"order_id": "o1"}, id="c1")), "A pity."])
    chat = await chat_harness(answering(tools=[refund]), model=model)
    await chat.send("Refund o1")

    result = await chat.approve("refund", False, reason="too much")

    assert (result.text, chat.messages[-1]["parts"][1]["state"]) == ("A pity.", "output-denied")
    assert "too much" in str(model.requests[1].messages)


async def test_answer(chat_harness):
    """A call that the client answers is answered by the name of its tool, and the agent goes on in the same message."""
    model = ScriptedModel([call(tool_call("ask_user", {"question": "Why?"})), "I see."])
    chat = await chat_harness(answering(tools=[ask_user]), model=model)
    await chat.send("Hi")

    result = await chat.answer("ask_user", "because")

    assert (result.text, len(chat.messages)) == ("I see.", 2)
    assert result.message["parts"][1]["output"] == "because"


async def test_answer_with_an_error(chat_harness):
    """A call may fail at the client."""
    model = ScriptedModel([call(tool_call("ask_user", {"question": "Why?"})), "I see."])
    chat = await chat_harness(answering(tools=[ask_user]), model=model)
    await chat.send("Hi")

    result = await chat.answer("ask_user", error_text="nobody there")

    assert result.message["parts"][1]["errorText"] == "nobody there"


async def test_a_name_that_nothing_waits_under_is_refused(chat_harness):
    """What does not wait cannot be approved; the error names what does."""
    chat = await approval_asked(chat_harness)

    with pytest.raises(UsageError, match=r"0 calls wait .*refund \(c1\)"):
        await chat.approve("transfer")


async def test_a_name_that_could_mean_two_calls_is_refused(chat_harness):
    """Two open calls of one tool are told apart by their ids."""
    calls = [tool_call("ask_user", {"question": q}, id=q) for q in ("a", "b")]
    chat = await chat_harness(answering(tools=[ask_user]), model=ScriptedModel([call(*calls), "I see."]))
    await chat.send("Hi")

    with pytest.raises(UsageError, match="2 calls wait"):
        await chat.answer("ask_user", "x")

    await chat.answer("a", "x")
    assert (await chat.answer("b", "y")).text == "I see."


async def test_a_failed_turn_is_a_result(chat_harness):
    """A turn that fails raises nothing: the result says it, with the code that a client reads."""
    chat = await chat_harness(answering(), model=ScriptedModel([]))

    result = await chat.send("Hi")

    assert (result.status, result.error["code"]) == ("failed", "script-exhausted")


async def test_several_agents(chat_harness):
    """Where several agents are served the chat is with the one that is named."""
    first, second = answering(), answering(run=lambda turn: "second")
    second.id = "other"

    chat = await chat_harness([first, second], agent_id="other")

    assert (await chat.send("Hi")).text == "second"


@pytest.mark.behaviour(1)
def test_an_agent_that_is_not_served_is_refused():
    """A harness for an agent that is none of those given is refused at once."""
    with pytest.raises(AgentNotFoundError):
        ChatHarness(answering(), agent_id="other")


def test_a_harness_needs_an_agent():
    """Without any agent there is nothing to test."""
    with pytest.raises(UsageError):
        ChatHarness([])


async def test_a_closed_chat_takes_nothing(chat_harness):
    """Closing is for good."""
    chat = await chat_harness(answering(), model=ScriptedModel(["Hello."]))
    await chat.send("Hi")

    assert await chat.close()

    assert (chat.is_in_memory, chat.session.row.status) == (False, "closed")


async def test_each_harness_has_models_of_its_own(chat_harness):
    """Two chats that are open at once do not share their models."""
    one = await chat_harness(answering(), model=ScriptedModel(["one"]))
    two = await chat_harness(answering(), model=ScriptedModel(["two"]))

    assert [(await one.send("Hi")).text, (await two.send("Hi")).text] == ["one", "two"]


async def test_a_model_can_be_changed_between_turns(chat_harness):
    """A block of override_model holds also for a run that was there before; behind it the harness's own is back."""
    chat = await chat_harness(answering(), model=ScriptedModel(["own", "own again"]))
    said = [(await chat.send("Hi")).text]

    with override_model(ScriptedModel(["other"])):
        said.append((await chat.send("Hi")).text)
    said.append((await chat.send("Hi")).text)

    assert said == ["own", "other", "own again"]


async def test_a_model_that_nobody_replaced_is_not_called(chat_harness):
    """A test that forgot to replace a model gets a failed turn, not a bill."""
    chat = await chat_harness(answering())

    result = await chat.send("Hi")

    assert (result.status, result.error["code"]) == ("failed", "model-call-forbidden")


async def test_each_harness_is_a_world_of_its_own(chat_harness):
    """Two harnesses share nothing unless they are given a store."""
    agent = answering()
    one = await chat_harness(agent, model=ScriptedModel(["one"]))
    await one.send("Hi")

    two = await chat_harness(agent)

    assert (two.chat_id, two.messages, two.records(".in")) == (one.chat_id, [], [])
