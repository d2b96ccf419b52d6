"""An agent under test: tools that people answer or approve, histories of its own, and what history says of calls."""

from __future__ import annotations

from typing import Any

import pytest

from chatrt import ChatAgent, Turn, current_turn, stream_text, tool
from chatrt.models.scripted import call, text, tool_call
from chatrt.testing import ScriptedModel

MODEL = "openai/gpt-5"
sent: list[str] = []


@tool
async def ask_user(question: str) -> str:
    """Ask the person."""


@tool(needs_approval=True)
async def send_mail(to: str) -> str:
    """Send a mail."""
    sent.append(to)
    return f"sent to {to}"


@tool(to_model_output=lambda call_id, value, output: {"type": "text", "value": f"{len(output['rows'])} rows"})
async def search(query: str) -> dict[str, Any]:
    """Search."""
    return {"rows": [query, query]}


def helper(**options: Any) -> ChatAgent:
    """The agent under test: it asks its model, with tools."""
    sent.clear()

    def run(turn: Turn[Any]) -> Any:
        return stream_text(MODEL, turn.messages, tools=turn.tools)

    return ChatAgent("helper", **{"run": run, "tools": [ask_user, send_mail, search], **options})


def question(call_id: str = "call_1", *, state: str = "input-available", **fields: Any) -> dict[str, Any]:
    """A call of ask_user as it stands in a message."""
    return {"type": "tool-ask_user", "toolCallId": call_id, "state": state, "input": {"question": "Why?"}, **fields}


def answer(call_id: str = "call_1", output: Any = "because") -> dict[str, Any]:
    """An answer as a client sends it: without the input."""
    return {"type": "tool-ask_user", "toolCallId": call_id, "state": "output-available", "output": output}


def mail(state: str, **fields: Any) -> dict[str, Any]:
    """A call of send_mail as it stands in a message."""
    return {"type": "tool-send_mail", "toolCallId": "m1", "state": state, "input": {"to": "bob"}, **fields}


def user(message_id: str, words: str = "Hi") -> Any:
    return {"id": message_id, "role": "user", "parts": [{"type": "text", "text": words}]}


def assistant(message_id: str, *parts: dict[str, Any]) -> Any:
    return {"id": message_id, "role": "assistant", "parts": list(parts)}


def hydrating(*parts: dict[str, Any]) -> Any:
    """A hook for an application that keeps the history itself: a question, and an answer of these parts."""
    return lambda event: [user("u1"), assistant("a1", {"type": "step-start"}, *parts), *new_users(event)]


def new_users(event: Any) -> list[Any]:
    return [message for message in event.incoming_messages if message["role"] == "user"]


# --- a history of one's own


@pytest.mark.behaviour(5)
async def test_hydrate_is_asked_once_a_turn(chat_harness):
    """hydrate_messages gets exactly the message that came in, and what it returns is what the model is shown."""
    incoming: list[Any] = []

    def hydrate(event):
        incoming.append([message["id"] for message in event.incoming_messages])
        return [user("s1", "from the database"), *event.incoming_messages]

    model = ScriptedModel(["one", "two"])
    chat = await chat_harness(helper(hydrate_messages=hydrate), model=model)

    await chat.send("Hi", message_id="u1")
    await chat.send("again", message_id="u2")

    assert incoming == [["u1"], ["u2"]]
    assert [len(request.messages) for request in model.requests] == [2, 2]
    assert "from the database" in str(model.requests[1].messages[0])


@pytest.mark.behaviour(6)
async def test_new_messages_of_a_hydrated_turn(chat_harness):
    """The question and the answer are the turn's new messages, although the hook returned the question itself."""
    new: list[Any] = []
    agent = helper(
        hydrate_messages=lambda event: [*event.previous_messages, *event.incoming_messages],
        on_turn_complete=lambda event: new.append([message["role"] for message in event.new_ui_messages]),
    )
    chat = await chat_harness(agent, model=ScriptedModel(["Hello."]))

    await chat.send("Hi")

    assert new == [["user", "assistant"]]


@pytest.mark.behaviour(8)
async def test_a_slim_answer_reaches_a_hydrated_message(chat_harness):
    """The input stays that of the application, the output is the client's, and there is one assistant message."""
    chat = await chat_harness(helper(hydrate_messages=hydrating(question())), model=ScriptedModel(["I see."]))

    await chat.send(assistant("a1", answer()))

    part = chat.messages[-1]["parts"][1]
    assert [message["id"] for message in chat.messages] == ["u1", "a1"]
    assert (part["input"], part["output"]) == ({"question": "Why?"}, "because")


@pytest.mark.behaviour(9)
async def test_a_slim_approval_reaches_a_hydrated_message(chat_harness):
    """The approval goes onto the hydrated request, whose input the tool gets."""
    asked = mail("approval-requested", approval={"id": "ap"})
    approval = {**mail("approval-responded", approval={"id": "ap", "approved": True}), "input": {"to": "eve"}}
    chat = await chat_harness(helper(hydrate_messages=hydrating(asked)), model=ScriptedModel(["Done."]))

    result = await chat.send(assistant("a1", approval))

    assert (result.text, sent) == ("Done.", ["bob"])


@pytest.mark.behaviour(10)
async def test_a_hydrated_denial_is_final(chat_harness):
    """A stale approval does not revive a call that the stored history has as denied."""
    denied = mail("output-denied", approval={"id": "ap", "approved": False})
    approval = mail("approval-responded", approval={"id": "ap", "approved": True})
    chat = await chat_harness(helper(hydrate_messages=hydrating(denied)), model=ScriptedModel(["Well."]))

    await chat.send(assistant("a1", approval))

    assert (sent, chat.messages[-1]["parts"][1]["state"]) == ([], "output-denied")


# --- answers of people


async def asked(chat_harness, *more: str, **options: Any) -> Any:
    """A chat in which the agent has asked its person."""
    script = [call(text("Hm. "), tool_call("ask_user", {"question": "Why?"}, id="call_1")), *more]
    chat = await chat_harness(helper(**options), model=ScriptedModel(script))
    await chat.send("Hi")
    return chat


@pytest.mark.behaviour(7)
async def test_an_answer_under_another_message_id(chat_harness):
    """Clients rename messages: the answer is merged by its call, and the message keeps its first id."""
    chat = await asked(chat_harness, "I see.")
    first_id = chat.messages[-1]["id"]

    await chat.send(assistant("renamed", answer()))

    assert [message["id"] for message in chat.messages] == [chat.messages[0]["id"], first_id]
    assert chat.messages[-1]["parts"][-1]["text"] == "I see."


@pytest.mark.behaviour(11)
async def test_a_validator_sees_the_slim_answer(chat_harness):
    """on_validate_messages gets the answer as it came in."""
    seen: list[Any] = []

    def validate(event):
        seen.append((event.trigger, event.messages[0]))
        return event.messages

    chat = await asked(chat_harness, "I see.", on_validate_messages=validate)
    message_id = chat.messages[-1]["id"]

    await chat.answer("ask_user", "because")

    assert seen[1] == ("message", assistant(message_id, answer()))


@pytest.mark.behaviour(12)
async def test_a_slim_answer_keeps_the_stored_input(chat_harness):
    """What a client says of the input is not looked at."""
    chat = await asked(chat_harness, "I see.")
    forged = {**answer(), "input": {"question": "forged"}}

    await chat.send(assistant(chat.messages[-1]["id"], forged))

    part = chat.messages[-1]["parts"][2]
    assert (part["input"], part["output"]) == ({"question": "Why?"}, "because")


# --- what the history says of calls


@pytest.mark.behaviour(23)
async def test_pending_calls(chat_harness):
    """The calls of the last answer that its person has not answered are pending."""
    chat = await asked(chat_harness)

    pending = chat.history.get_pending_tool_calls()

    assert [(ref.tool_call_id, ref.tool_name) for ref in pending] == [("call_1", "ask_user")]


@pytest.mark.behaviour(24)
async def test_no_pending_calls(chat_harness):
    """An answer without open calls has none pending."""
    chat = await chat_harness(helper(), model=ScriptedModel(["Hello."]))
    await chat.send("Hi")

    assert chat.history.get_pending_tool_calls() == []


@pytest.mark.behaviour(25)
async def test_resolved_calls(chat_harness):
    """Once answered a call is resolved, and it stays so when the chat goes on."""
    chat = await asked(chat_harness, "I see.", "More.")
    await chat.answer("ask_user", "because")
    await chat.send("and?")

    resolved = chat.history.get_resolved_tool_calls()

    assert ([ref.tool_call_id for ref in resolved], chat.history.get_pending_tool_calls()) == (["call_1"], [])


@pytest.mark.behaviour(26)
async def test_new_results_of_a_history_that_was_given(chat_harness):
    """What the history has resolved is not new; a failure is reported with its text and without an output."""
    past = [user("u1"), assistant("a1", question("c1", state="output-available", output=1), question("c2"))]
    chat = await chat_harness(helper(), messages=past)
    failed = {"type": "tool-ask_user", "toolCallId": "c2", "state": "output-error", "errorText": "left"}

    new = chat.history.extract_new_tool_results(assistant("a1", answer("c1"), failed))

    assert [(result.tool_call_id, result.output, result.error_text) for result in new] == [("c2", None, "left")]


@pytest.mark.behaviour(27)
async def test_find_message(chat_harness):
    """A message is found by its id, or not."""
    chat = await chat_harness(helper(), messages=[user("u1")])

    assert (chat.history.find_message("u1"), chat.history.find_message("u2")) == (user("u1"), None)


@pytest.mark.behaviour(28)
async def test_new_results_of_a_streamed_answer(chat_harness):
    """Against a history that was streamed the client's answer is new, until it is merged."""
    new: list[Any] = []

    def validate(event):
        new.append([r.output for m in event.messages for r in event.history.extract_new_tool_results(m)])
        return event.messages

    chat = await asked(chat_harness, "I see.", on_validate_messages=validate)
    await chat.answer("ask_user", "because")

    assert new == [[], ["because"]]


@pytest.mark.behaviour(29)
async def test_a_failed_answer_that_was_merged_is_not_new(chat_harness):
    """A call that its person could not answer is resolved by that."""
    chat = await asked(chat_harness, "Oh.")
    await chat.answer("ask_user", error_text="left")

    again = chat.history.extract_new_tool_results(chat.messages[-1])

    assert (again, [ref.tool_call_id for ref in chat.history.get_resolved_tool_calls()]) == ([], ["call_1"])


@pytest.mark.behaviour(30)
async def test_only_new_results_once_each(chat_harness):
    """Of several calls in a message only what is new counts, and a call that stands there twice counts once."""
    past = [user("u1"), assistant("a1", question("c1", state="output-available", output=1), question("c2"))]
    chat = await chat_harness(helper(), messages=past)

    new = chat.history.extract_new_tool_results(assistant("a1", answer("c1"), answer("c2", 2), answer("c2", 3)))

    assert [(result.tool_call_id, result.output) for result in new] == [("c2", 2)]


@pytest.mark.behaviour(31)
async def test_calls_stay_pending_behind_a_user_message(chat_harness):
    """A question that was passed over still waits."""
    chat = await asked(chat_harness)
    past = [*chat.messages, user("u2", "never mind")]
    other = await chat_harness(helper(), messages=past)

    assert [ref.tool_call_id for ref in other.history.get_pending_tool_calls()] == ["call_1"]


@pytest.mark.behaviour(32)
async def test_reads_are_copies(chat_harness):
    """What `all` returns is the caller's own list."""
    chat = await chat_harness(helper(), messages=[user("u1")])
    mine = chat.history.all()

    mine.clear()

    assert (len(chat.history.all()), len(chat.messages)) == (1, 1)


# --- what a model is shown of outputs


async def searched(chat_harness, tools: Any) -> Any:
    """What a model is shown, in the second turn, of a search in the first one."""
    model = ScriptedModel([call(tool_call("search", {"query": "x"})), "Found.", "Again."])
    chat = await chat_harness(helper(tools=tools), model=model)
    await chat.send("Search")
    await chat.send("And?")
    row = next(message for message in model.requests[2].messages if message["role"] == "tool")
    return row["content"][0]["output"]


@pytest.mark.behaviour(42)
async def test_outputs_are_shortened_on_later_turns(chat_harness):
    """to_model_output counts for the history too."""
    assert await searched(chat_harness, [search]) == {"type": "text", "value": "2 rows"}


@pytest.mark.behaviour(43)
async def test_a_resolver_is_asked_each_turn(chat_harness):
    """Tools that a function gives shorten outputs as well; the function is asked once a turn."""
    turns: list[int] = []

    def tools(event):
        turns.append(event.turn)
        return [search]

    assert await searched(chat_harness, tools) == {"type": "text", "value": "2 rows"}
    assert turns == [0, 1]


@pytest.mark.behaviour(44)
async def test_outputs_of_undeclared_tools_are_shown_as_they_are(chat_harness):
    """A tool that is no longer declared has nothing to say about its outputs."""
    shown = await searched(chat_harness, lambda event: [search] if event.turn == 0 else [])

    assert shown == {"type": "json", "value": {"rows": ["x", "x"]}}


async def test_tools_reach_their_turn(chat_harness):
    """A tool finds the turn it runs in, and writes into its answer."""

    @tool
    async def work() -> str:
        """Work."""
        current_turn().response.write({"type": "data-progress", "data": 1})
        return "done"

    chat = await chat_harness(helper(tools=[work]), model=ScriptedModel([call(tool_call("work", {})), "Finished."]))

    result = await chat.send("Go")

    assert ("data-progress" in [chunk["type"] for chunk in result.chunks], result.text) == (True, "Finished.")
