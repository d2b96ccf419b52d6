"""The README is run: its Python works, and the tests and files it names are there."""

from __future__ import annotations

import ast
import base64
import hmac
import inspect
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from chatrt import AgentChat, ScriptedModel, SessionManager
from chatrt.models.scripted import call, text
from chatrt.testing import ChatHarness, Gate

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


async def run_block(source: str, names: dict[str, Any]) -> dict[str, Any]:
    """Run a block as a notebook would: `await` and `async with` may stand at the top."""
    code = compile(source, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    result = eval(code, names)
    if inspect.isawaitable(result):
        await result
    return names


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    """The blocks write their files somewhere else."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def block(agent: str) -> str:
    """The block that defines an agent of this id."""
    (found,) = [source for source in BLOCKS if re.search(rf'ChatAgent\(\s*"{agent}"', source)]
    return found


async def agent_of(agent_id: str) -> dict[str, Any]:
    return await run_block(block(agent_id), {"__name__": agent_id})


def said(chat: ChatHarness) -> list[str]:
    return [part["text"] for m in chat.messages for part in m["parts"] if part["type"] == "text"]


async def test_the_agent_is_an_agent(elsewhere):
    """The agent's block defines an app that serves it, with its tool and its actions."""
    names = await run_block(block("support"), {"__name__": "agent"})
    app = names["app"]

    assert list(app.state.sessions.agents) == ["support"]
    assert await names["search_docs"]("ref") == ["Refunds"]


async def test_the_agent_undoes(elsewhere):
    """Its undo takes back a question and its answer, its rollback what came after a message."""
    names = await run_block(block("support"), {"__name__": "agent"})
    support = names["support"]

    @support.run
    async def respond(turn):
        return f"answer {len(turn.ui_messages)}"

    async with SessionManager(support, "memory://") as sessions:
        chat = AgentChat("support", sessions=sessions, client_data={"language": "de"})
        for text in ("one", "two", "three"):
            await chat.send_message(text).text()
        await chat.send_action({"type": "undo"}).result()
        after_undo = await chat.messages()
        await chat.send_action({"type": "rollback", "target_message_id": after_undo[1]["id"]}).result()
        after_rollback = await chat.messages()

    assert [message["parts"][-1]["text"] for message in after_undo] == ["one", "answer 1", "two", "answer 3"]
    assert after_rollback == after_undo[:2]


async def test_the_client_works(elsewhere):
    """The client's block runs, and what it asserts holds."""
    names = await run_block(next(b for b in BLOCKS if "Nice to meet you" in b), {"__name__": "client"})
    assert names["answer"] == "Hello! Nice to meet you."


async def test_the_agents_that_ask_agents_do(elsewhere):
    """The block with a sub-agent runs, and what it asserts holds."""
    names = await run_block(block("writer"), {"__name__": "family"})
    assert names["children"] == ["researcher"]


async def test_the_test_of_an_agent_passes(elsewhere):
    """The block with the harness runs, and what it asserts holds."""
    names = await run_block(next(b for b in BLOCKS if "Still here." in b), {"__name__": "harness"})
    assert len(names["chat"].messages) == 4


async def test_a_chat_falls_asleep_and_awakes():
    """The tour's tutor is made ready, suspended, and taken up again."""
    names = await agent_of("tutor")
    async with ChatHarness(names["tutor"]) as chat:
        await chat.preload()
        await chat.send("Hi")
        await chat.advance(61)
        await chat.send("Still there?")
    assert names["diary"] == ["made ready", "asleep after 1 turn", "awake"]


async def test_a_chat_is_renamed_listed_and_copied(elsewhere):
    """The tour's scribbler finds its chat by its title, and has it in another store too."""
    names = await agent_of("scribbler")
    assert names["copy"].row.metadata == {"title": "Groceries"}


async def test_a_plan_asks_again():
    """The tour's careful agent answers the interrupted question from scratch, without the partial answer."""
    names = await agent_of("careful")
    gate = Gate()

    @names["careful"].run
    async def respond(turn):
        yield {"type": "text-start", "id": "t"}
        yield {"type": "text-delta", "id": "t", "delta": "It is 4"}
        await gate.wait()
        yield {"type": "text-delta", "id": "t", "delta": "2."}
        yield {"type": "text-end", "id": "t"}

    async with ChatHarness(names["careful"]) as chat:
        await chat.start("What is it?")
        await gate.reached.wait()
        await chat.settle()
        await chat.crash()
        gate.open()
        await chat.restart()
        await chat.settle()
        assert said(chat) == ["What is it?", "It is 42."]


async def test_a_long_conversation_is_compacted():
    """The tour's scribe shows its model a summary once the threshold is passed."""
    names = await agent_of("scribe")
    usage = {"inputTokens": {"total": 100_000}, "outputTokens": {"total": 1}}
    heavy = call(text("Once upon a time."), [{"type": "finish", "finishReason": {"unified": "stop"}, "usage": usage}])
    model = ScriptedModel([heavy, "Go on."])
    models = {"openai/gpt-5": model, "openai/gpt-5-mini": ScriptedModel(["A story began."])}
    async with ChatHarness(names["scribe"], model=models) as chat:
        await chat.send("Tell me a story")
        await chat.send("And then?")
        assert said(chat) == ["Tell me a story", "Once upon a time.", "And then?", "Go on."]
    prompt = json.dumps(model.requests[1].messages)
    assert "A story began." in prompt
    assert "Once upon a time." not in prompt


async def test_what_was_found_out_is_injected():
    """The tour's shop tells its model by the next turn what the deferred work found; people do not see it."""
    names = await agent_of("shop")
    model = ScriptedModel(["Welcome!", "We close soon."])
    async with ChatHarness(names["shop"], model=model) as chat:
        await chat.send("Hello")
        await chat.send("How long are you open?")
        assert said(chat) == ["Hello", "Welcome!", "How long are you open?", "We close soon."]
    assert "(We close in ten minutes.)" in json.dumps(model.requests[1].messages)


async def test_a_budget_survives_a_crash():
    """The tour's guide counts its questions through a crash, and keeps its prompt on the session."""
    names = await agent_of("guide")
    model = ScriptedModel(["One.", "Two.", "Three."])
    async with ChatHarness(names["guide"], model=model) as chat:
        for question in ("a", "b"):
            await chat.send(question)
        await chat.crash()
        await chat.restart()
        answers = [(await chat.send(question)).text for question in ("c", "d")]
    assert answers == ["Three.", "That is all for today."]
    system = model.requests[2].messages[0]
    assert (system["role"], system["content"]) == ("system", "You help Ada. Be brief.")


async def test_a_loop_keeps_the_score():
    """The tour's quiz keeps its score in a variable of its loop."""
    names = await agent_of("quiz")
    async with ChatHarness(names["quiz"]) as chat:
        answers = [(await chat.send(guess)).text for guess in ("41", "42", "42!")]
    assert answers == ["Your score is 0.", "Your score is 1.", "Your score is 2."]


async def test_a_file_is_read(elsewhere):
    """The tour's reader is shown what was attached, as its block asserts."""
    names = await run_block(block("reader"), {"__name__": "reader"})
    assert names["note"]["filename"] == "list.txt"


async def test_an_order_is_noted(elsewhere, serve, monkeypatch):
    """The tour's clerk gets an event whose sender signed it by Standard Webhooks."""
    monkeypatch.setenv("CHATRT_STORE", "memory://")
    names = await run_block(block("clerk"), {"__name__": "clerk"})
    http = await serve(names["app"])
    body, stamp = b'{"customer": "ada", "text": "Two, please."}', str(int(time.time()))
    digest = hmac.digest(b"secret-secret-secret", f"evt_1.{stamp}.".encode() + body, "sha256")
    signature = f"v1,{base64.b64encode(digest).decode()}"
    sent = {"webhook-id": "evt_1", "webhook-timestamp": stamp, "webhook-signature": signature}
    answer = await http.post("/v1/webhooks/orders", content=body, headers=sent)
    assert answer.json() == {"chatId": "ada", "seq": 1, "repeated": False}


def test_every_block_is_run():
    """No block of Python stands in the README that no test here runs."""
    tests = Path(__file__).read_text()
    agents = [re.search(r'ChatAgent\(\s*"(\w+)"', source) for source in BLOCKS]
    named = {found[1] for found in agents if found}
    assert len(BLOCKS) == len(agents) >= 9
    assert {name for name in named if f'"{name}"' not in tests} <= {"greeter"}


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "protocol.md"])
def test_what_the_documents_name_is_there(name: str):
    """Every test file, document and source file that a document names exists."""
    text = (ROOT / name).read_text()
    named = set(re.findall(r"`((?:tests|chatrt|examples)/[\w/.-]+)`", text)) | set(
        re.findall(r"\]\(([\w/.-]+)\)", text)
    )
    missing = [path for path in named if not path.startswith("http") and not (ROOT / path).exists()]

    assert missing == []


def test_the_contributing_page_names_every_dependency():
    """Each runtime dependency has its sentence."""
    project = (ROOT / "pyproject.toml").read_text()
    listed = re.search(r"^dependencies = \[\n(.*?)^\]", project, re.DOTALL | re.MULTILINE)
    assert listed
    names = re.findall(r'^\s*"([\w-]+)', listed[1], re.MULTILINE)
    contributing = (ROOT / "CONTRIBUTING.md").read_text()

    assert len(names) > 8
    assert [name for name in names if f"**{name}**" not in contributing] == []
