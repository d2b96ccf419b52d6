"""A worker that dies at any call of the store: what was acknowledged is settled once, and said once in the history."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from chatrt.agent import ChatAgent
from chatrt.events import RecoveryPlan
from chatrt.generate import stream_text
from chatrt.models import FunctionModel
from chatrt.models.scripted import call, tool_call
from chatrt.run_control import current_run
from chatrt.tools import tool
from chatrt.ui import expand_injected
from tests.runtime.driver import Chat, House, texts, user
from tests.runtime.troubled_store import TroubledStore


class MortalStore(TroubledStore):
    """A store at whose n-th call the worker dies, before or after the call took effect."""

    def __init__(self, deadly: int, *, after: bool) -> None:
        super().__init__()
        self.died = asyncio.Event()
        self._deadly = deadly
        self._late = after

    async def _call(self, method: str, *args: Any, **options: Any) -> Any:
        self._deadly -= 1
        deadly = self._deadly == 0 and self._is_open  # the dead die no second time
        if deadly and not self._late:
            await self._die()
        result = await super()._call(method, *args, **options)
        if deadly:
            await self._die()
        return result

    async def commit(self, lease: Any, commit: Any, **options: Any) -> Any:
        return await super().commit(lease, replace(commit, trim_to=0), **options)  # the test looks at all of it

    async def _die(self) -> None:
        self.died.set()
        await asyncio.Event().wait()


def answer(request: Any) -> Any:
    row = request.messages[-1]
    asked = row["role"] == "user" and row["content"][0]["text"] == "go"
    return call(tool_call("look", {})) if asked else "ok"


class Conversation:
    """A question during whose answer other things are said, an edit and a withdrawal among them."""

    def __init__(self, house: House, **options: Any) -> None:
        self.house = house
        model = FunctionModel(answer)

        @tool
        async def look() -> str:
            """Look, while people go on talking."""
            await self.say_more()
            await self.chat.until_read(self.last)
            return "seen"

        def run(turn):
            return stream_text(model, turn.messages, tools=turn.tools)

        self.agent = ChatAgent("a", run=run, tools=[look], **options)

    async def open(self) -> None:
        self.chat: Chat = await self.house.open(self.agent)

    async def say(self, text: str, **options: Any) -> Any:
        return await self.chat.inbox.send_message(user(text, f"u-{text}"), part_id=f"p-{text}", **options)

    async def say_more(self) -> list[Any]:
        inbox = self.chat.inbox
        sent = [await self.say("hurry", steer=True), await self.say("two"), await self.say("three")]
        await inbox.edit_pending(sent[1].seq, user("TWO"), part_id="p-edit")
        self.last = await inbox.withdraw(sent[2].seq, part_id="p-withdraw")
        return sent

    async def talk(self) -> list[Any]:
        first = await self.say("go")
        await self.chat.until(lambda chunk: chunk["type"] == "tool-output-available")
        sent = [first, *(await self.say_more())]
        await self.chat.settled(sent[-1])
        return sent

    async def said(self) -> Counter[str]:
        rows: Any = expand_injected(await self.chat.messages())
        return Counter(text for role, text in texts(rows) if role == "user")


async def completes(chat: Chat) -> list[dict[str, Any]]:
    batches = [batch async for batch in chat.session.outbox.read(live=False)]
    bodies = [json.loads(r.body) for batch in batches for r in batch if r.kind == "turn-complete"]
    return [body for body in bodies if not body.get("willRetry")]


def again(event: Any) -> RecoveryPlan:
    return RecoveryPlan(messages=event.settled_messages, turns=event.in_flight_users)


LIVES: dict[str, dict[str, Any]] = {
    "plain": {},
    "suspending": {"idle_timeout": 0.0},
    "one turn a run": {"max_turns": 1},
    "handing on": {"on_turn_start": lambda event: current_run().request_upgrade()},
    "asking again": {"on_recovery_boot": again},
    "giving up": {"on_recovery_boot": lambda event: RecoveryPlan(turns=[])},
}


async def survive(deadly: int, life: str, *, after: bool) -> bool:
    """Let a worker die at a call of the store and another one take over; False if it did not come to that call."""
    house = House()
    store = house.store = MortalStore(deadly, after=after)
    conversation = Conversation(house, **LIVES[life])
    await conversation.open()
    talking = asyncio.create_task(conversation.talk())
    dying = asyncio.create_task(store.died.wait())
    await asyncio.wait({talking, dying}, return_when=asyncio.FIRST_COMPLETED)
    dying.cancel()
    if talking.done():
        await talking
    talking.cancel()
    await asyncio.wait({talking})
    await house.crash()
    if not store.died.is_set():
        return False

    await conversation.open()
    chat = conversation.chat
    sent = [await conversation.say("go"), *(await conversation.say_more())]
    statuses = {
        text: (await chat.settled(one)).status for text, one in zip(("go", "hurry", "two", "three"), sent, strict=True)
    }
    await chat.send("last")
    said = await conversation.said()
    said["two"] += said.pop("TWO", 0)
    wanted = Counter([*(text for text, status in statuses.items() if status != "withdrawn"), "last"])
    ended = [body["inSeq"] for body in await completes(chat)]
    await house.crash()

    assert said == wanted, (deadly, after, statuses)
    assert ended == sorted(set(ended)), (deadly, after)
    return True


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("life", LIVES)
async def test_a_death_at_any_call_of_the_store(life: str, after: bool):
    """Wherever a worker dies, each input is settled once, in order, and each message is in the history once."""
    deadly = 3  # the first two look for what others have left, before anything is said
    while await survive(deadly, life, after=after):
        deadly += 1
    assert deadly > 10
