"""A head start that nobody reads where it is made."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from chatrt.clock import ManualClock
from chatrt.errors import UsageError
from chatrt.generate import stream_text
from chatrt.models import FunctionModel, ScriptedModel
from chatrt.models.scripted import call, text, tool_call
from chatrt.server import start_head_start
from tests.runtime.driver import Gate
from tests.server.head_start_kit import Make, Place
from tests.server.kit import user


async def detached(place: Place, warm: Any, **options: Any) -> Any:
    return await start_head_start(
        place.app.state.sessions,
        "a",
        lambda request: stream_text(warm, request.messages, tools=request.tools),
        user("hi"),
        **options,
    )


@pytest.mark.behaviour(198, 199)
async def test_a_detached_head_start(make: Make):
    """It gives the chat id and something to wait for; a text is a whole answer on `.out`."""
    place = await make(None, head_start=None)
    started = await detached(place, ScriptedModel(["from warm"]), chat_id="c1")
    handover = await started.completion
    chat = await place.chat()
    await chat.until(lambda chunk: chunk["type"] == "finish")
    assert (started.chat_id, handover.is_final, handover.finish_reason) == ("c1", True, "stop")
    assert await chat.texts() == [("user", "hi"), ("assistant", "from warm")]


@pytest.mark.behaviour(200)
async def test_a_detached_call(make: Make):
    """A step with a call is handed over as far as it is, and the run goes on."""
    place = await make(None, head_start=None)
    started = await detached(place, ScriptedModel([call(tool_call("search", {"query": "x"}))]), chat_id="c1")
    handover = await started.completion
    chat = await place.chat()
    await chat.until(lambda chunk: chunk["type"] == "finish")
    assert (handover.is_final, handover.usage.input_tokens, len(place.run.requests)) == (False, 1, 1)
    assert (await chat.messages())[1]["id"] == started.message_id


@pytest.mark.behaviour(202)
async def test_a_detached_step_that_fails(make: Make):
    """Whoever waits is told, and the run answers."""
    place = await make(None, head_start=None)
    started = await detached(place, ScriptedModel([[RuntimeError("boom")]]), chat_id="c1")
    with pytest.raises(RuntimeError, match="boom"):
        await started.completion
    chat = await place.chat()
    await chat.until(lambda chunk: chunk["type"] == "finish")
    assert await chat.texts() == [("user", "hi"), ("assistant", "from run")]


@pytest.mark.behaviour(194, 201)
async def test_what_the_web_process_knows_stays_on_the_server(make: Make):
    """Client data reach the hooks and metadata the session; nothing of the former is on `.out` or in the messages."""
    seen: list[Any] = []
    place = await make(None, head_start=None, agent={"on_turn_complete": lambda event: seen.append(event.client_data)})
    started = await detached(
        place, ScriptedModel(["ok"]), chat_id="c1", client_data={"plan": "hidden-plan"}, metadata={"tags": ["beta"]}
    )
    await started.completion
    said = (await place.http.get("/v1/sessions/c1/out?until=idle")).text
    chat = await place.chat()
    await chat.settled(await chat.inbox.send_message(user("more")))
    assert (seen[0], chat.session.row.metadata) == ({"plan": "hidden-plan"}, {"tags": ["beta"]})
    assert "hidden-plan" not in said + json.dumps(await place.messages())


async def test_a_chat_that_has_begun_takes_no_head_start(make: Make):
    """Asking for one there is a mistake."""
    place = await make(None, head_start=None)
    await place.says("hi")
    with pytest.raises(UsageError, match="has begun"):
        await detached(place, ScriptedModel(["ok"]), chat_id="c1")


async def test_a_silent_step_says_that_it_is_alive(make: Make):
    """A model that thinks for long is not taken for dead: the run waits as long as signs come."""
    clock, gate = ManualClock(), Gate()

    async def thinks(request: Any) -> Any:
        await gate.wait()
        for part in call(text("from warm")):
            yield part

    place = await make(None, head_start=None, clock=clock, agent={"head_start_timeout": 30.0})
    started = await detached(place, FunctionModel(thinks), chat_id="c1")
    await gate.reached.wait()
    chat = await place.chat()
    for seq in range(2, 7):
        while clock.sleepers < 3:
            await asyncio.sleep(0)
        clock.advance(10.0)
        while (await chat.session.position()).last_in_seq < seq:
            await asyncio.sleep(0)
    gate.opened.set()
    assert (await started.completion).is_final
