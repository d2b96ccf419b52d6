"""Each line of the playbook, as a client sees it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from chatrt.client import AgentChat
from chatrt.runtime import SessionManager
from chatrt.testing.playbook import playbook


@pytest.fixture
async def chat() -> AsyncIterator[AgentChat]:
    async with SessionManager(playbook) as sessions:
        yield AgentChat("playbook", sessions=sessions)


async def ask(chat: AgentChat, text: str) -> list[dict[str, Any]]:
    """Send a text and return the chunks of the answer."""
    return [chunk async for chunk in chat.send_message(text)]


def deltas(chunks: list[dict[str, Any]]) -> list[str]:
    return [chunk["delta"] for chunk in chunks if chunk["type"] == "text-delta"]


async def test_echo(chat):
    """`echo X` says X, whatever X holds."""
    assert await chat.send_message("echo one  two \u2028 three").text() == "one  two \u2028 three"


async def test_count(chat):
    """`count N` says N words, each a delta of its own."""
    assert deltas(await ask(chat, "count 4")) == ["w0 ", "w1 ", "w2 ", "w3 "]


async def test_sleep(chat):
    """`sleep` goes on for long, word by word, until it is stopped."""
    seen = []
    async for chunk in chat.send_message("sleep"):
        seen.append(chunk)
        if chunk["type"] == "text-delta":
            await chat.stop()
    assert deltas(seen)[0] == "w0 "
    assert seen[-1]["type"] == "abort"


async def test_history(chat):
    """`history` says how many messages the agent sees, the question included."""
    assert await chat.send_message("history").text() == "1"
    assert await chat.send_message("history").text() == "3"


@pytest.mark.parametrize(
    ("output", "text"), [("blue", "answer: blue"), ({"a": [1, "ü"]}, 'answer: {"a":[1,"ü"]}'), (7, "answer: 7")]
)
async def test_ask(chat, output, text):
    """`ask Q` calls the client's tool with the question and tells its output in the same message."""
    asked = await chat.send_message("ask which colour").result()
    (call,) = asked.pending_tool_calls
    assert (call.tool_name, call.input) == ("ask_user", {"question": "which colour"})
    answered = await chat.add_tool_output(call.tool_call_id, output).result()
    assert (answered.text, answered.message["id"]) == (text, asked.message["id"])


async def test_asklong(chat):
    """`asklong N` calls the client's tool and then says N words in the same message."""
    asked = await chat.send_message("asklong 3").result()
    answered = await chat.add_tool_output(asked.pending_tool_calls[0].tool_call_id, "go").result()
    assert (answered.text, answered.message["id"]) == ("w0 w1 w2 ", asked.message["id"])


@pytest.mark.parametrize(("approved", "output", "text"), [(True, {"sent": True}, "sent"), (False, None, "not sent")])
async def test_approve(chat, approved, output, text):
    """`approve X` sends an e-mail to X when that is allowed."""
    asked = await chat.send_message("approve bob").result()
    (call,) = asked.pending_tool_calls
    assert (call.tool_name, call.input) == ("send_email", {"to": "bob"})
    answered = await chat.approve(call.approval_id, approved).result()
    assert (answered.text, answered.tool_results[0].output) == (text, output)


@pytest.mark.parametrize(
    ("approved", "output", "text"), [(True, {"ok": True}, "done: the thing"), (False, None, "denied")]
)
async def test_confirm(chat, approved, output, text):
    """`confirm W` does W when that is allowed."""
    asked = await chat.send_message("confirm the thing").result()
    (call,) = asked.pending_tool_calls
    assert (call.tool_name, call.input) == ("do_it", {"what": "the thing"})
    answered = await chat.approve(call.approval_id, approved).result()
    assert (answered.text, answered.tool_results[0].output) == (text, output)


@pytest.mark.parametrize(("sum_", "text"), [("2+3", "5"), ("1.5+2", "3.5"), ("-4 + 1", "-3")])
async def test_tool(chat, sum_, text):
    """`tool A+B` calls the server's tool and says the sum."""
    result = await chat.send_message(f"tool {sum_}").result()
    assert (result.text, result.tool_calls[0].tool_name) == (text, "add")
    assert str(result.tool_results[0].output) == text


async def test_tool_input_streams(chat):
    """The input of a tool arrives in pieces before it is whole."""
    kinds = [chunk["type"] for chunk in await ask(chat, "tool 2+3")]
    assert kinds.index("tool-input-start") < kinds.index("tool-input-delta") < kinds.index("tool-input-available")


async def test_fail(chat):
    """`fail` fails, and nobody outside reads why."""
    chunks = await ask(chat, "fail")
    assert chunks[-1]["type"] == "error"
    assert "boom-secret" not in str(chunks) + str(await chat.messages())


async def test_data(chat):
    """`data` shows one part at step 1 and then 2, and a note that is not kept."""
    chunks = [chunk for chunk in await ask(chat, "data") if chunk["type"].startswith("data-")]
    assert [chunk["data"] for chunk in chunks if chunk["type"] == "data-status"] == [{"step": 1}, {"step": 2}]
    assert [chunk["transient"] for chunk in chunks if chunk["type"] == "data-note"] == [True]
    kept = [part for part in (await chat.messages())[-1]["parts"] if part["type"].startswith("data-")]
    assert kept == [{"type": "data-status", "id": "s", "data": {"step": 2}}]


async def test_meta(chat):
    """`meta` gives the message metadata."""
    assert (await chat.send_message("meta").result()).message["metadata"] == {"model": "scripted"}


async def test_think(chat):
    """`think` reasons before it speaks."""
    result = await chat.send_message("think").result()
    assert [part["type"] for part in result.message["parts"]] == ["step-start", "reasoning", "text"]
    assert result.text


async def test_source(chat):
    """`source` names a page and a document before it speaks."""
    result = await chat.send_message("source").result()
    kinds = [part["type"] for part in result.message["parts"]]
    assert kinds == ["step-start", "source-url", "source-document", "text"]


async def test_file(chat):
    """`file` gives a picture before it speaks."""
    result = await chat.send_message("file").result()
    assert [part["type"] for part in result.message["parts"]] == ["step-start", "file", "text"]
    assert result.message["parts"][1]["url"].startswith("data:image/png;base64,")


async def test_anything_else(chat):
    """Any other text is said back."""
    assert await chat.send_message("Good morning!").text() == "You said: Good morning!"


async def test_only_the_last_text_counts(chat):
    """A tool call that waits does not keep the agent from answering the next text."""
    await chat.send_message("ask colour").result()
    assert await chat.send_message("echo never mind").text() == "never mind"


async def test_any_client_data(chat):
    """Any client data are accepted."""
    assert await chat.send_message("echo x", client_data=["any", {"thing": None}]).text() == "x"


# --- actions


async def test_undo(chat):
    """`undo` takes back the last exchange, an answer in several turns included."""
    await chat.send_message("echo one").text()
    asked = await chat.send_message("ask colour").result()
    await chat.add_tool_output(asked.pending_tool_calls[0].tool_call_id, "blue").result()
    assert (await chat.send_action({"type": "undo"}).result()).status == "completed"
    assert len(await chat.messages()) == 2


async def test_rollback(chat):
    """`rollback` keeps the messages up to the named one."""
    first = await chat.send_message("echo one").result()
    await chat.send_message("echo two").text()
    await chat.send_action({"type": "rollback", "targetMessageId": first.message["id"]}).result()
    assert (await chat.messages())[-1] == first.message


async def test_edit(chat):
    """`edit` changes the text of a message and nothing else."""
    await chat.send_message("echo one", message_id="m1").text()
    await chat.send_action({"type": "edit", "messageId": "m1", "text": "echo other"}).result()
    messages = await chat.messages()
    assert [message["parts"][-1]["text"] for message in messages] == ["echo other", "one"]
    assert messages[0]["id"] == "m1"


@pytest.mark.parametrize(
    "action", [{"type": "rollback", "targetMessageId": "x"}, {"type": "edit", "messageId": "x", "text": "y"}]
)
async def test_unknown_message(chat, action):
    """An action on a message that is not there fails (D4)."""
    await chat.send_message("echo one").text()
    result = await chat.send_action(action).result()
    assert (result.status, result.error["code"]) == ("failed", "message-not-found")


async def test_regenerate(chat):
    """`regenerate` answers the last question anew, from the history as it is now."""
    await chat.send_message("echo one", message_id="m1").text()
    await chat.send_action({"type": "edit", "messageId": "m1", "text": "echo other"}).result()
    assert await chat.send_action({"type": "regenerate"}).text() == "other"
    assert len(await chat.messages()) == 2


@pytest.mark.parametrize("question", ["ask colour", "approve bob"])
async def test_regenerate_is_refused_while_a_call_is_pending(chat, question):
    """`regenerate` is refused while a call waits for the client."""
    await chat.send_message(question).result()
    before = await chat.messages()
    result = await chat.send_action({"type": "regenerate"}).result()
    assert (result.status, result.error["message"]) == ("failed", "A tool call is pending: answer it first.")
    assert await chat.messages() == before


@pytest.mark.parametrize("action", [{"type": "dance"}, {}, "undo", None, {"type": "edit"}])
async def test_any_other_action_is_invalid(chat, action):
    """Whatever is not one of the four actions is invalid."""
    result = await chat.send_action(action).result()
    assert (result.status, result.error["code"]) == ("failed", "invalid-action")


def test_import_leaves_no_trace(tmp_path):
    """Importing the playbook makes no file and needs no key."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CHATRT_")}
    environment["PYTHONPATH"] = os.getcwd()
    code = "import chatrt.testing.playbook as p; print(p.app.state.sessions.agents['playbook'])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "ChatAgent('playbook')"
    assert list(tmp_path.iterdir()) == []


async def test_call_needs_a_tool_that_was_brought_along(chat):
    """`call T X` calls a frontend tool; one that nobody brought is told to the model as missing."""
    chunks = await ask(chat, 'call paint {"color": "red"}')
    (failed,) = [chunk for chunk in chunks if chunk["type"] == "tool-input-error"]
    assert (failed["toolName"], failed["input"]) == ("paint", {"color": "red"})


async def test_state(chat):
    """`state` shares a state, and then another one in its place."""
    shared = [chunk["data"] for chunk in await ask(chat, "state") if chunk["type"] == "data-state"]
    assert shared == [{"step": 1}, {"step": 2}]
