"""The small examples do what they say, with scripted models."""

from __future__ import annotations

import json

import pytest

from chatrt.models.scripted import call, text, tool_call
from chatrt.testing import FunctionModel, Gate, ScriptedModel


def said(chat) -> list[tuple[str, str]]:
    return [(m["role"], "".join(part["text"] for part in m["parts"] if part["type"] == "text")) for m in chat.messages]


async def test_echo_says_what_it_was_told(load_example, chat_harness):
    """The smallest agent answers with the text it got."""
    chat = await chat_harness(load_example("00_echo").echo)
    assert (await chat.send("Hello there")).text == "Hello there"


async def test_the_database_is_the_truth(load_example, chat_harness):
    """What is changed in the database is what the next turn stands on; a turn stores its question and its answer."""
    example = load_example("02_hydrate_from_a_database")
    model = ScriptedModel(["Hi Ada.", "You are Grace."])
    chat = await chat_harness(example.support, chat_id="c", model=model)
    await chat.send("I am Ada")
    messages = example.load("c")
    messages[0]["parts"][0]["text"] = "I am Grace"
    example.save("c", messages)
    await chat.send("Who am I?")

    assert [row["content"][0]["text"] for row in model.requests[1].messages] == ["I am Grace", "Hi Ada.", "Who am I?"]
    assert [m["role"] for m in example.load("c")] == ["user", "assistant", "user", "assistant"]


async def test_the_database_survives_a_regenerate_and_a_crash(load_example, chat_harness):
    """The trailing answer is left out of what is hydrated for a regenerate; the worker may die in between."""
    example = load_example("02_hydrate_from_a_database")
    chat = await chat_harness(example.support, chat_id="c", model=ScriptedModel(["One.", "Another."]))
    await chat.send("Hi")
    await chat.crash()
    await chat.restart()
    await chat.regenerate()
    assert [m["parts"][-1]["text"] for m in example.load("c")] == ["Hi", "Another."]


async def test_expensive_refunds_ask_a_person(load_example, chat_harness):
    """A cheap refund runs at once; an expensive one runs when it was approved, in the same message."""
    refunds = [call(tool_call("refund", {"order_id": order}, id=f"c{order}")) for order in ("o8", "o7")]
    model = ScriptedModel([refunds[0], "Done.", refunds[1], "Done, too."])
    chat = await chat_harness(load_example("03_tools_and_approval").shop, model=model)

    cheap = await chat.send("Refund o8")
    asked = await chat.send("Refund o7")
    approved = await chat.approve("refund", approved=True)

    assert (cheap.text, asked.text) == ("Done.", "")
    assert approved.tool_results[0].output == "refunded 42 euros under co7"
    assert approved.message["id"] == asked.message["id"]


async def test_a_question_waits_for_its_answer(load_example, chat_harness):
    """A tool without a body is answered by the client, across a restart of the server."""
    model = ScriptedModel([call(tool_call("ask_user", {"question": "Which order?"})), "Thank you."])
    chat = await chat_harness(load_example("03_tools_and_approval").shop, model=model)
    asked = await chat.send("Refund")
    await chat.crash()
    await chat.restart()
    answered = await chat.answer("ask_user", "o8")
    assert [pending.tool_name for pending in asked.pending_tool_calls] == ["ask_user"]
    assert answered.text == "Thank you."


async def test_actions_rewrite_the_conversation(load_example, chat_harness):
    """Undo drops the last exchange; an edit answers the new text; a summary is said and kept."""
    model = ScriptedModel(["One.", "Two.", "Edited.", "In short."])
    chat = await chat_harness(load_example("04_actions").writer, model=model)
    first = await chat.send("a")
    await chat.send("b")
    await chat.act({"type": "undo"})
    assert said(chat) == [("user", "a"), ("assistant", "One.")]
    await chat.act({"type": "edit", "message_id": chat.messages[0]["id"], "text": "A"})
    assert said(chat) == [("user", "A"), ("assistant", "Edited.")]
    await chat.act({"type": "summarize"})
    assert said(chat)[-1] == ("assistant", "In short.")
    assert first.message["id"] not in [m["id"] for m in chat.messages]


async def test_a_rollback_to_nowhere_fails_and_changes_nothing(load_example, chat_harness):
    """An unknown message id is a failed action (D4)."""
    chat = await chat_harness(load_example("04_actions").writer, model=ScriptedModel(["One."]))
    await chat.send("a")
    refused = await chat.act({"type": "rollback", "message_id": "nope"})
    assert (refused.status, refused.error["code"]) == ("failed", "message-not-found")
    assert said(chat) == [("user", "a"), ("assistant", "One.")]


async def test_the_reader_is_steered(load_example, chat_harness):
    """What is said while a chapter is read is in the prompt of the next step, in the words of `prepare`."""
    example = load_example("07_steering")
    gate = Gate()
    requests = []

    async def think(request):
        requests.append(request)
        if len(requests) == 1:
            await gate.wait()
        parts = call(tool_call("read_chapter", {"number": 1}) if len(requests) == 1 else text("Only the money, then."))
        for part in parts:
            yield part

    chat = await chat_harness(example.reader, model=FunctionModel(think))
    first = await chat.start("Read the report")
    await gate.reached.wait()
    steered = await chat.steer("Only look at the money")
    await chat.settle()
    gate.open()

    assert (await first.result()).text == "Only the money, then."
    assert (await steered.result()).status == "injected"
    assert "the user added:\nOnly look at the money" in json.dumps(requests[1].messages).replace("\\n", "\n")


@pytest.mark.parametrize("crash", [False, True])
async def test_an_answer_is_audited_once(load_example, chat_harness, crash):
    """However often an answer is sent, and whatever dies in between, it is written down once."""
    example = load_example("12_auditing_tool_results")
    model = ScriptedModel([call(tool_call("sign_contract", {"contract": "k1"}, id="c1")), "Signed.", "Anything else?"])
    chat = await chat_harness(example.office, model=model)
    await chat.send("Let me sign k1")
    await chat.answer("sign_contract", "signed by Ada")
    if crash:
        await chat.crash()
        await chat.restart()
    await chat.send("Thanks")
    rows = example.audit.execute("SELECT call, tool, output FROM result").fetchall()
    assert rows == [("c1", "sign_contract", '"signed by Ada"')]
