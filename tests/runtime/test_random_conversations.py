"""Random conversations with crashes: whatever happens, every input is settled once and the log is whole."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from typing import Any

import pytest

from chatrt.agent import ChatAgent
from chatrt.generate import stream_text
from chatrt.models import FunctionModel, ScriptedModel
from chatrt.models.scripted import call, finish, text, tool_call
from chatrt.runtime import SessionManager
from chatrt.stores.memory import MemoryStore
from chatrt.tools import tool
from tests.runtime.driver import Chat, House, user

SEEDS = 200
STEPS = 14


@tool
async def ask_user(question: str) -> str:
    """Ask the person."""


@tool(needs_approval=True)
async def send_email(to: str) -> str:
    """Send an e-mail."""
    await asyncio.sleep(0)
    return f"sent to {to}"


@tool
async def add(a: int, b: int) -> int:
    """Add."""
    await asyncio.sleep(0)
    return a + b


class KeepingStore(MemoryStore):
    """A store that trims nothing, so that the whole log can be read at the end."""

    async def commit(self, lease: Any, commit: Any, *, at: float) -> int:
        object.__setattr__(commit, "trim_to", 0)
        return await super().commit(lease, commit, at=at)


class Conversation:
    """One random conversation: what is done, and what every prompt showed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.house = House()
        self.house.store = KeepingStore()
        self.prompts: list[Any] = []
        self.inputs: list[int] = []
        self.calls = 0
        self.agent = ChatAgent(
            "a",
            tools=[ask_user, send_email, add],
            run=self.run,
            on_action=self.act,
            when_busy=self.random.choice(["queue", "queue", "interrupt"]),
        )

    def run(self, turn: Any) -> Any:
        """Ask the model, and keep what it would be shown."""
        self.prompts.append(turn.messages)
        return stream_text(FunctionModel(self.speak), turn.messages, tools=turn.tools)

    async def speak(self, request: Any):
        """A model that says, calls, fails or dawdles at random."""
        self.prompts.append(request.messages)
        self.calls += 1
        call_id = f"call_{self.calls}"
        last_is_result = request.messages[-1]["role"] == "tool"
        choices = ["text"] * 4 + ["fail"] + ([] if last_is_result else ["ask", "mail", "add", "two"])
        match self.random.choice(choices):
            case "ask":
                parts = call(text("well "), tool_call("ask_user", {"question": "Why?"}, id=call_id, deltas=2))
            case "mail":
                parts = call(tool_call("send_email", {"to": "bob"}, id=call_id))
            case "add":
                parts = call(tool_call("add", {"a": 1, "b": 2}, id=call_id, deltas=1))
            case "two":
                parts = call(
                    tool_call("add", {"a": 1, "b": 2}, id=call_id),
                    tool_call("ask_user", {"question": "?"}, id=call_id + "b"),
                )
            case "fail":
                parts = [*text("half "), RuntimeError("scripted")]
            case _:
                parts = [*text("so it is, word by word"), *finish()]
        async for part in ScriptedModel([parts]).stream(request):
            for _ in range(self.random.choice([0, 0, 1, 3])):
                await asyncio.sleep(0)
            yield part

    def act(self, event: Any) -> str | None:
        """Undo, refuse, or say something."""
        match event.action:
            case "undo":
                event.history.slice(0, -2)
            case "bad":
                event.history.slice(0, -1)
                raise RuntimeError("scripted")
            case _:
                return "noted"
        return None

    async def step(self, chat: Chat) -> None:
        """Do one thing that a person may do."""
        inbox, choose = chat.inbox, self.random.choice
        state = await chat.session.load()
        messages, names = state.messages, [name for siblings in state.branches.values() for name in siblings]
        users = [message["id"] for message in messages if message["role"] == "user"]
        what = choose(
            ["send"] * 5
            + ["regenerate", "edit", "switch", "switch", "act", "act", "stop"]
            + ["answer"] * 4
            + ["crash", "wait", "wait"]
        )
        appended = None
        match what:
            case "regenerate":
                appended = await inbox.regenerate(choose([None, None, *(m["id"] for m in messages), "unknown"]))
            case "edit" if users:
                appended = await inbox.send_message(user("changed", choose(users)))
            case "switch":
                appended = await inbox.switch_branch(choose([*names, *names, "unknown"]))
            case "act":
                appended = await inbox.act(choose(["undo", "bad", "say"]))
            case "stop":
                await inbox.stop(in_seq=choose([None, None, *self.inputs[-2:]]))
            case "answer" if answers := self.answers(messages):
                appended = await inbox.send_message(choose(answers))
            case "crash":
                await self.house.crash()
            case "wait":
                await asyncio.gather(*(self.settled(chat, seq) for seq in self.inputs[-1:]))
            case "send" | "edit" | "answer":
                appended = await inbox.send_message(user("hello"), part_id=None)
        if appended is not None:
            self.inputs.append(appended.seq)
        for _ in range(choose([0, 1, 5, 20, 60])):
            await asyncio.sleep(0)

    def answers(self, messages: list[Any]) -> list[Any]:
        """What a client could answer now, true or stale."""
        found = []
        for message in messages:
            for part in message["parts"]:
                slim = {key: part[key] for key in ("type", "toolCallId") if key in part}
                if part["type"] == "tool-ask_user":
                    slim |= {"state": "output-available", "output": "because"}
                elif part["type"] == "tool-send_email" and "approval" in part:
                    approved = self.random.random() < 0.5
                    slim |= {
                        "state": "approval-responded",
                        "approval": {"id": part["approval"]["id"], "approved": approved},
                    }
                else:
                    continue
                found.append({"id": message["id"], "role": "assistant", "parts": [slim]})
        return found

    async def settled(self, chat: Chat, seq: int) -> None:
        async for record in chat.records():
            if record.kind == "turn-complete" and json.loads(record.body)["inSeq"] == seq:
                return

    async def play(self) -> list[Any]:
        """Converse, crash, converse, wait for the end; returns the whole log."""
        for _ in range(STEPS):
            await self.step(await self.house.open(self.agent, lease_ttl=1e6))
        chat = await self.house.open(self.agent, lease_ttl=1e6)
        for seq in self.inputs:
            await asyncio.wait_for(self.settled(chat, seq), 5)
        return [record async for batch in chat.session.outbox.read(live=False) for record in batch]


def check_pairs(prompt: list[Any]) -> None:
    """Each call has one result in the tool rows behind it, or its approval in the last row; no result stands alone."""
    open_calls: list[str] = []
    asked: dict[str, str] = {}
    run_next: list[str] = []
    for row in prompt:
        content = row["content"] if isinstance(row["content"], list) else []
        if row["role"] != "tool":
            assert not open_calls, prompt
        for part in content:
            if part["type"] == "tool-call":
                open_calls.append(part["toolCallId"])
            elif part["type"] == "tool-result":
                assert part["toolCallId"] in open_calls, prompt
                open_calls.remove(part["toolCallId"])
            elif part["type"] == "tool-approval-request":
                asked[part["approvalId"]] = part["toolCallId"]
            elif part["type"] == "tool-approval-response" and row is prompt[-1]:
                run_next.append(asked[part["approvalId"]])
    assert set(open_calls) <= set(run_next), prompt


def check_log(log: list[Any], inputs: list[int]) -> None:
    """Numbers without a hole, and one turn-complete for every input, in order."""
    assert [record.seq for record in log] == list(range(1, len(log) + 1))
    completes = [json.loads(record.body) for record in log if record.kind == "turn-complete"]
    assert [complete["inSeq"] for complete in completes] == sorted(inputs)
    inside, seen = False, False
    for record in log:
        body = json.loads(record.body)
        assert record.kind == "turn-start" or inside, "a record outside of every turn"
        if record.kind == "turn-start":
            assert not seen, "an answer that was seen is given again"
            trigger = body["trigger"]
        inside = record.kind != "turn-complete"
        shown = record.kind == "chunk" and body["type"] not in ("start", "start-step")
        seen = inside and trigger not in ("action", "switch") and (seen or shown)


@pytest.mark.parametrize("block", range(10))
async def test_random_conversations(block: int, caplog: pytest.LogCaptureFixture):
    """Every input but a stop has one turn-complete, in order; seqs have no hole; prompts are paired; a crash loses nothing."""
    caplog.set_level(logging.WARNING)
    for seed in range(block * SEEDS // 10, (block + 1) * SEEDS // 10):
        await converse(seed, caplog)


async def converse(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    conversation = Conversation(seed)
    try:
        log = await conversation.play()
        check_log(log, conversation.inputs)
        for prompt in conversation.prompts:
            check_pairs(prompt)
        live = (await (await conversation.house.open(conversation.agent)).session.load()).messages
        await conversation.house.crash()
        await check_reloaded(conversation, live, log)
    except BaseException as error:
        error.add_note(f"seed {seed}")
        raise
    check_logs(seed, caplog)
    caplog.clear()


async def check_reloaded(conversation: Conversation, live: list[Any], log: list[Any]) -> None:
    """What is loaded after a crash is what the live session had; the last answer is the one its turn-complete names."""
    async with SessionManager(conversation.agent, conversation.house.store) as sessions:
        state = await (await sessions.get_session("chat")).load()
    assert state.messages == live
    for message_id, names in state.branches.items():
        assert message_id in names
        assert len(set(names)) == len(names) > 1
    assert (state.status, state.cursor) == ("idle", log[-1].seq)
    last = json.loads(log[-1].body)
    if "messageId" in last:
        assert state.messages[-1]["id"] == last["messageId"]


EXPECTED = ("scripted", "InputQuarantinedError", "ForbiddenChangeError", "MessageNotFoundError", "InvalidMessageError")


def check_logs(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing was logged but failures that the conversation asked for."""
    for entry in caplog.records:
        error = entry.exc_info[1] if entry.exc_info else None
        said = entry.getMessage()
        killed = "StoreUnavailable" in repr(error) or "store is not open" in said or "have died over" in said
        assert killed or any(name in repr(error) for name in EXPECTED), (seed, entry.getMessage(), error)
