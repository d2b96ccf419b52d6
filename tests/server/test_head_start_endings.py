"""A head start over HTTP that is read twice, left, stopped, or fails."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from chatrt.generate import stream_text
from chatrt.models import FunctionModel, ScriptedModel
from chatrt.models.scripted import call, error, finish, text
from chatrt.server import HeadStartRequest
from chatrt.server.head_start import HeadStarts
from chatrt.ui import assemble
from tests.runtime.driver import Gate
from tests.server.head_start_kit import Make, endless, is_one_message, types
from tests.server.kit import Feed, chunks, text_of, user

STREAM = "/api/chat/a/c1/stream"


# --- reload


async def test_a_reload_resumes_from_the_log(make: Make):
    """A second reader that comes while the step is made sees the message from its first part on, to its end."""
    gate = Gate()

    async def slowly(request: Any) -> Any:
        for part in text(["from ", "warm"]):
            if part.get("delta") == "warm":
                await gate.wait()
            yield part
        for part in finish():
            yield part

    place = await make(FunctionModel(slowly))
    first = asyncio.create_task(place.says("hi"))
    await gate.reached.wait()
    await (await place.chat()).until(lambda chunk: chunk.get("delta") == "from ")
    async with place.http.stream("GET", STREAM) as response:
        feed = Feed(response)
        begun = await feed.until("from ")
        gate.opened.set()
        rest = await feed.rest()
    again = [json.loads(event.data) for event in [*begun, *rest] if event.data != "[DONE]"]
    assert again == [chunk for chunk in await first if chunk != "[DONE]"]


async def test_a_reader_that_leaves_ends_nothing(make: Make):
    """The step is made to its end and handed over when its reader is gone (D16)."""
    gate = Gate()

    async def slowly(request: Any) -> Any:
        for part in call(text(["from ", "warm"])):
            if part.get("delta") == "warm":
                await gate.wait()
            yield part

    place = await make(FunctionModel(slowly))
    body = {"id": "c1", "messages": [user("hi")]}
    async with place.http.stream("POST", "/api/chat/a", json=body) as response:
        await Feed(response).until("from ")
    gate.opened.set()
    chat = await place.chat()
    await chat.until(lambda chunk: chunk["type"] == "finish")
    assert (await chat.texts())[1] == ("assistant", "from warm")


async def test_a_step_whose_reader_left_gives_way(make: Make):
    """Who writes again after dropping the connection is not kept waiting: the first turn is stopped."""
    gate = Gate()

    async def stuck(request: Any) -> Any:
        for part in text(["from ", "warm"]):
            if part.get("delta") == "warm":
                await gate.wait()
            yield part

    place = await make(FunctionModel(stuck))
    body = {"id": "c1", "messages": [user("hi")]}
    async with place.http.stream("POST", "/api/chat/a", json=body) as response:
        await Feed(response).until("from ")
        chat = await place.chat()
        await chat.until(lambda chunk: chunk.get("delta") == "from ")
    while chat.session.outbox.readers:
        await asyncio.sleep(0)
    assert text_of(await place.says("more")) == "from run"
    assert [words for _, words in await chat.texts()] == ["hi", "from ", "more", "from run"]


# --- stop and failure


async def test_a_stop_ends_both_sides(make: Make):
    """The model of the first step is cancelled, the words stay, and the response ends with `abort`."""
    ended = asyncio.Event()

    async def watched(request: Any) -> Any:
        try:
            async for part in endless(request):
                yield part
        finally:
            ended.set()

    place = await make(FunctionModel(watched))
    body = {"id": "c1", "messages": [user("hi")]}
    async with place.http.stream("POST", "/api/chat/a", json=body) as response:
        feed = Feed(response)
        await feed.until("from ")
        await (await place.chat()).until(lambda chunk: chunk.get("delta") == "from ")
        await place.http.post("/api/chat/a/c1/stop")
        rest = [event.data for event in await feed.rest()]
    await ended.wait()
    assert [json.loads(data)["type"] for data in rest[:-1]] == ["text-end", "abort"]
    assert [part.get("text") for part in (await place.messages())[1]["parts"]] == [None, "from "]


@pytest.mark.parametrize("broken", [call([RuntimeError("secret")]), call(error("secret"))])
async def test_a_step_that_fails_at_once(make: Make, broken: list[Any]):
    """When the model fails before its first word the run answers, as if there had been no head start."""
    place = await make(ScriptedModel([broken]))
    answer = await place.says("hi")
    assert text_of(answer) == "from run"
    await is_one_message(place, answer)


async def test_a_step_that_fails_in_the_middle(make: Make):
    """The run answers under the same message; who knows `reset-step` takes back what was said."""
    place = await make(ScriptedModel([[*text(["from ", "wa"])[:3], RuntimeError("secret")]]))
    response = await place.http.post(
        "/api/chat/a", json={"id": "c1", "messages": [user("hi")]}, headers={"x-chatrt-ai-sdk": "7"}
    )
    answer = chunks(response.content)
    assert b"secret" not in response.content
    assert types(answer)[:7] == [
        "start",
        "start-step",
        "text-start",
        "text-delta",
        "text-delta",
        "text-end",
        "reset-step",
    ]
    await is_one_message(place, answer)
    assert [message["id"] for message in await place.messages()] == ["u-hi", answer[0]["messageId"]]


async def test_older_clients_are_not_told_of_a_reset(make: Make):
    """A client that may not know `reset-step` keeps the words until it loads the chat; the stream stays valid for it."""
    place = await make(ScriptedModel([[*text(["from ", "wa"])[:3], RuntimeError("secret")]]))
    answer = await place.says("hi")
    assert "reset-step" not in types(answer)
    assert [part.get("text") for part in assemble(answer[:-1])["parts"]] == [None, "from wa", None, "from run"]
    assert [part["text"] for part in (await place.messages())[1]["parts"] if "text" in part] == ["from run"]


@pytest.mark.parametrize(
    "warm",
    [
        lambda request: None,
        lambda request: "no stream",
        lambda request: 1 / 0,
    ],
)
async def test_a_function_that_begins_nothing(make: Make, warm: Any):
    """A function that declines, fails or gives something else leaves the answer to the run."""
    place = await make(warm)
    answer = await place.says("hi")
    assert text_of(answer) == "from run"
    await is_one_message(place, answer)


async def test_the_function_may_be_async(make: Make):
    """It may look something up before it begins."""

    async def warm(request: HeadStartRequest) -> Any:
        await asyncio.sleep(0)
        return stream_text(ScriptedModel(["from warm"]), request.messages)

    place = await make(warm)
    assert text_of(await place.says("hi")) == "from warm"


async def test_client_data_that_do_not_fit_fail_the_turn(make: Make):
    """The first step is not made with client data that the agent refuses; the turn fails as it does without one."""
    place = await make(ScriptedModel(["from warm"]), agent={"client_data": dict[str, int]})
    answer = await place.says("hi", clientData={"n": "x"})
    assert (types(answer)[-2:], place.requests) == (["error", "[DONE]"], [])


async def test_a_boot_that_fails(make: Make):
    """When on_boot fails, the response ends with the turn's error, every text is ended, and what was seen is kept."""
    boot = Gate()

    async def broken(event: Any) -> None:
        await boot.wait()
        raise RuntimeError("boot-secret")

    place = await make(FunctionModel(endless), agent={"on_boot": broken})
    body = {"id": "c1", "messages": [user("hi")]}
    async with place.http.stream("POST", "/api/chat/a", json=body) as response:
        feed = Feed(response)
        await feed.until("from ")
        chat = await place.chat()
        while (await chat.session.position()).last_in_seq < 2:
            await asyncio.sleep(0)
        boot.opened.set()
        rest = [event.data for event in await feed.rest()]
    assert [json.loads(data)["type"] for data in rest[:-1]] == ["text-end", "error"]
    assert "boot-secret" not in "".join(rest)
    assert await chat.texts() == [("user", "hi"), ("assistant", "from ")]


async def test_two_first_messages_at_once(make: Make):
    """Of two messages that both look like the first, one gets the head start, and both are answered."""
    place = await make(ScriptedModel(["from warm"]))
    answers = await asyncio.gather(place.says("one"), place.says("two"))
    assert sorted(text_of(answer) for answer in answers) == ["from run", "from warm"]
    assert len(await place.messages()) == 4


async def test_a_server_that_stops_leaves_the_answer_to_the_run(make: Make):
    """A step that is under way when the server stops is given up, and says so."""
    place = await make(None, head_start=None)
    head_starts, sessions = HeadStarts(), place.app.state.sessions
    session = await sessions.start_session("a", "c1")
    _, task = await head_starts.begin(
        sessions,
        session,
        lambda request: stream_text(FunctionModel(endless), request.messages),
        user("hi"),
        client_data=None,
    )
    chat = await place.chat()
    await chat.until(lambda chunk: chunk.get("delta") == "from ")

    await head_starts.aclose(grace=0.0)

    await chat.until(lambda chunk: chunk["type"] == "finish")
    assert task.cancelled()
    assert await chat.texts() == [("user", "hi"), ("assistant", "from run")]


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "head-chunks", "inSeq": 1, "first": 0, "chunks": []},
        {"kind": "handover", "inSeq": 1, "isFinal": True},
        {"kind": "handover-skip", "inSeq": 1},
    ],
)
async def test_clients_cannot_play_the_first_step(make: Make, body: dict[str, Any]):
    """What the process that makes the step says is not a client's to say, not with any token or key."""
    place = await make(ScriptedModel(["from warm"]))
    await place.says("hi")
    response = await place.http.post("/v1/sessions/c1/in", json=body)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid-input")


async def test_clients_cannot_claim_a_head_start(make: Make):
    """A message that a client sends has none, whatever it says."""
    place = await make(None, head_start=None)
    await place.http.post("/v1/sessions", json={"agent": "a", "chatId": "c1"})
    body = {"kind": "message", "message": user("hi"), "headStart": {"messageId": "mine"}}
    await place.http.post("/v1/sessions/c1/in", json=body)
    said = (await place.http.get("/v1/sessions/c1/out?until=idle")).text
    assert ("headStart" in said, (await place.messages())[1]["parts"][-1]["text"]) == (False, "from run")
