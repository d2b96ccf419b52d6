"""Random conversations with steering, summaries, background messages, second models, stops and crashes.

Whatever happens, what a person said is in the chat once, and no prompt shows anything twice.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import pytest

from chatrt.agent import ChatAgent
from chatrt.compaction import Compaction
from chatrt.generate import stream_text
from chatrt.models import FunctionModel, ScriptedModel
from chatrt.models.scripted import call, finish, text, tool_call
from chatrt.turn import current_turn
from chatrt.ui import INJECTED
from tests.runtime.driver import Chat, user
from tests.runtime.test_random_conversations import Conversation, add, ask_user, check_pairs, send_email

SEEDS = 120


class SteeredConversation(Conversation):
    """A conversation in which every message says something of its own."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.said = 0
        self.notes = 0
        self.agent = ChatAgent(
            "a",
            tools=[ask_user, send_email, add],
            run=self.pipe_and_run,
            on_action=self.act,
            on_turn_start=self.note,
            when_busy=self.random.choice(["steer", "steer", "queue"]),
            compaction=Compaction(
                should_compact=lambda event: self.random.random() < 0.2, summarize=lambda event: "SUMMARY"
            ),
        )

    def note(self, event: Any) -> None:
        """Put something into the background now and then."""
        if self.random.random() < 0.3:
            self.notes += 1
            current_turn().inject([{"role": "system", "content": f"note {self.notes}"}])

    async def pipe_and_run(self, turn: Any) -> Any:
        """Answer with one model, or with a second one behind a first that may have failed in the middle."""
        self.prompts.append(turn.messages)
        if self.random.random() < 0.2:
            await turn.pipe(stream_text(FunctionModel(self.speak), turn.messages, tools=turn.tools))
        return stream_text(FunctionModel(self.speak), turn.messages, tools=turn.tools)

    async def speak(self, request: Any) -> Any:
        """A model that mostly calls tools, so that there are many boundaries, and fails anywhere."""
        self.prompts.append(request.messages)
        self.calls += 1
        call_id = f"call_{self.calls}"
        match self.random.choice(["add"] * 5 + ["text"] * 3 + ["ask", "mail", "half"]):
            case "add":
                parts = call(tool_call("add", {"a": 1, "b": 2}, id=call_id))
            case "ask":
                parts = call(tool_call("ask_user", {"question": "Why?"}, id=call_id))
            case "mail":
                parts = call(tool_call("send_email", {"to": "bob"}, id=call_id))
            case "half":
                parts = [*tool_call("add", {"a": 1, "b": 2}, id=call_id, deltas=2)[:2], RuntimeError("scripted")]
            case _:
                parts = [*text("so it is"), *finish()]
        async for part in ScriptedModel([parts]).stream(request):
            for _ in range(self.random.choice([0, 0, 1, 5])):
                await asyncio.sleep(0)
            yield part

    async def step(self, chat: Chat) -> None:
        """Do one thing that a person may do, but nothing that takes a message away."""
        inbox, choose = chat.inbox, self.random.choice
        answers = self.answers((await chat.session.load()).messages)
        appended = None
        match choose(["send"] * 6 + ["say", "stop", "answer", "answer", "answer", "crash", "wait"]):
            case "say":
                appended = await inbox.act("say")
            case "stop":
                await inbox.stop(in_seq=choose([None, None, *self.inputs[-2:]]))
            case "answer" if answers:
                appended = await inbox.send_message(choose(answers))
            case "crash":
                await self.house.crash()
            case "wait":
                await asyncio.gather(*(self.settled(chat, seq) for seq in self.inputs[-1:]))
            case _:
                self.said += 1
                appended = await inbox.send_message(user(f"user {self.said}"), steer=choose([True, False]))
        if appended is not None:
            self.inputs.append(appended.seq)
        for _ in range(choose([0, 1, 5, 20, 60])):
            await asyncio.sleep(0)


def said_in(messages: list[Any]) -> Counter[str]:
    """What users said, in messages of their own or injected into an answer."""
    injected = [part for message in messages for part in message["parts"] if part["type"] == INJECTED]
    own = [part["text"] for message in messages if message["role"] == "user" for part in message["parts"]]
    return Counter([*own, *(message["text"] for part in injected for message in part["data"]["messages"])])


def shown_in(prompt: list[Any]) -> Counter[str]:
    """What a prompt shows of users, of the background, and of summaries."""
    rows = [row for row in prompt if row["role"] in ("user", "system")]
    texts = [row["content"] if isinstance(row["content"], str) else row["content"][0]["text"] for row in rows]
    return Counter("SUMMARY" if "SUMMARY" in words else words for words in texts)


@pytest.mark.parametrize("block", range(6))
async def test_nothing_is_lost_or_shown_twice(block: int):
    """Each input is settled once; each message is in the chat once; every prompt is paired and shows all at most once."""
    for seed in range(block * SEEDS // 6, (block + 1) * SEEDS // 6):
        conversation = SteeredConversation(seed)
        log = await conversation.play()
        settled = [json.loads(record.body)["inSeq"] for record in log if record.kind == "turn-complete"]
        chat = await conversation.house.open(conversation.agent)
        said = said_in(await chat.messages())
        await conversation.house.crash()

        assert sorted(settled) == sorted(conversation.inputs), seed
        assert said == Counter(f"user {n + 1}" for n in range(conversation.said)), seed
        for prompt in conversation.prompts:
            check_pairs(prompt)
            assert max(shown_in(prompt).values(), default=1) == 1, seed
