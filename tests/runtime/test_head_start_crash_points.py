"""A worker that dies at any call of the store in a turn with a head start: one answer, said once, and stored as said."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from chatrt.agent import ChatAgent
from chatrt.generate import stream_text
from chatrt.models import FunctionModel
from chatrt.run_control import current_run
from chatrt.tools import tool
from chatrt.ui import assemble
from tests.runtime.driver import Chat, House, texts, user
from tests.runtime.head_starts import ANSWER, begun, called
from tests.runtime.test_crash_points import MortalStore

STEPS: dict[str, list[Any]] = {
    "final": begun("from ", "the ", "step"),
    "continued": called(("look", {})),
    "discarded": begun("from ", "the ", done=False),
}
WHOLE = {"final": "from the step", "continued": "let me see: from run", "discarded": "from run"}
LIVES: dict[str, dict[str, Any]] = {
    "plain": {},
    "handing on": {"on_turn_start": lambda event: current_run().request_upgrade()},
}


class Telling:
    """One head start, told again from its beginning after each death; part ids make that harmless."""

    def __init__(self, house: House, outcome: str, **options: Any) -> None:
        self.house = house
        self.outcome = outcome
        self.looked = 0

        @tool
        async def look() -> str:
            """Look."""
            self.looked += 1
            return "seen"

        said = ": from run" if outcome == "continued" else "from run"
        model = FunctionModel(lambda request: said)
        self.agent = ChatAgent(
            "a", tools=[look], run=lambda turn: stream_text(model, turn.messages, tools=turn.tools), **options
        )

    async def tell(self) -> dict[str, Any]:
        """Return the `turn-complete`."""
        chat = self.chat = await self.house.open(self.agent)
        chunks, inbox = STEPS[self.outcome], chat.inbox
        sent = await inbox.send_with_head_start(user("hi", "u1"), ANSWER, part_id="p")
        for first in range(0, len(chunks), 3):
            await inbox.relay_chunks(sent.seq, first, chunks[first : first + 3], part_id=f"p{first}")
            await asyncio.sleep(0)
        if self.outcome == "discarded":
            await inbox.skip_handover(sent.seq, part_id="end")
        else:
            await inbox.hand_over(sent.seq, is_final=self.outcome == "final", part_id="end")
        return (await chat.settled(sent)).complete


async def on_log(chat: Chat, kind: str) -> list[dict[str, Any]]:
    batches = [batch async for batch in chat.session.outbox.read(live=False)]
    return [json.loads(record.body) for batch in batches for record in batch if record.kind == kind]


async def survive(deadly: int, outcome: str, life: str, *, after: bool) -> bool:
    """Let a worker die at a call of the store and another one take over; False if it did not come to that call."""
    house = House()
    store = house.store = MortalStore(deadly, after=after)
    telling = Telling(house, outcome, **LIVES[life])
    talking = asyncio.create_task(telling.tell())
    dying = asyncio.create_task(store.died.wait())
    await asyncio.wait({talking, dying}, return_when=asyncio.FIRST_COMPLETED)
    dying.cancel()
    talking.cancel()
    await asyncio.wait({talking, dying})
    await house.crash()
    if not store.died.is_set():
        return False

    complete = await telling.tell()
    chat, point = telling.chat, (deadly, after)
    chunks: Any = await on_log(chat, "chunk")
    [question, answer] = await chat.messages()
    completes, seams = await on_log(chat, "turn-complete"), await on_log(chat, "handover")
    await house.crash()

    assert [body["inSeq"] for body in completes] == [1], point
    assert len(seams) == 1 or life == "handing on", point
    assert [chunk["type"] for chunk in chunks].count("start") == 1, point
    assert (question["id"], answer["id"], telling.looked <= 1) == ("u1", ANSWER, True), point
    assert assemble(chunks)["parts"] == answer["parts"], point
    [(_, text)] = texts([answer])
    if complete["status"] == "completed":
        assert text == WHOLE[outcome], point
    else:
        assert (complete["status"], WHOLE[outcome].startswith(text)) == ("interrupted", True), point
    return True


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("life", LIVES)
@pytest.mark.parametrize("outcome", STEPS)
async def test_a_death_at_any_call_of_the_store(outcome: str, life: str, after: bool):
    """Wherever a worker dies, the turn is settled once, and the log tells the message that is stored, once."""
    deadly = 3  # the first two look for what others have left, before anything is said
    while await survive(deadly, outcome, life, after=after):
        deadly += 1
    assert deadly > 10
