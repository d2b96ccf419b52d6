"""A head start over HTTP: the first token does not wait for the run, and the browser sees one message."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from chatrt.agent import ChatAgent
from chatrt.clock import ManualClock
from chatrt.errors import UsageError
from chatrt.generate import stream_text
from chatrt.ids import CountingIds
from chatrt.models import FunctionModel, ScriptedModel
from chatrt.models.scripted import call, error, finish, text, tool_call
from chatrt.server import HeadStartRequest, create_app, start_head_start
from chatrt.server.head_start import HeadStarts
from chatrt.stores import MemoryStore
from chatrt.tools import tool
from chatrt.ui import assemble
from tests.runtime.driver import Chat, Gate
from tests.server.kit import KEY, Feed, chunks, text_of, user

STREAM = "/api/chat/a/c1/stream"


@tool
async def search(query: str) -> str:
    """Search."""
    return f"found {query}"


@tool
def ask_user(question: str) -> str:
    """Ask the person."""


class Place:
    """An application with a head start, and what its two models are asked."""

    def __init__(self, app: Any, http: httpx.AsyncClient, run: ScriptedModel, requests: list[HeadStartRequest]) -> None:
        self.app = app
        self.http = http
        self.run = run
        self.requests = requests

    async def says(self, words: str, **more: Any) -> list[Any]:
        return chunks((await self.post(words, **more)).raise_for_status().content)

    async def post(self, words: str, **more: Any) -> httpx.Response:
        return await self.http.post("/api/chat/a", json={"id": "c1", "messages": [user(words)], **more})

    async def messages(self) -> list[Any]:
        return (await self.http.get("/api/chat/a/c1/messages")).json()["messages"]

    async def chat(self) -> Chat:
        sessions = self.app.state.sessions
        return Chat(await sessions.get_session("c1"), sessions)


Make = Callable[..., Awaitable[Place]]


@pytest.fixture
def make(serve: Callable[..., Awaitable[httpx.AsyncClient]]) -> Make:
    """Serve an agent whose run answers "from run", with a head start by the given model."""

    async def make(
        warm: Any,
        *,
        tools: Any = (search, ask_user),
        agent: dict[str, Any] | None = None,
        run: Any = ("from run", "again"),
        headers: dict[str, str] | None = None,
        **options: Any,
    ) -> Place:
        model = ScriptedModel(run)
        requests: list[HeadStartRequest] = []

        def begin(request: HeadStartRequest) -> Any:
            requests.append(request)
            return warm(request) if callable(warm) else stream_text(warm, request.messages, tools=request.tools)

        served = ChatAgent(
            "a", tools=tools, run=lambda turn: stream_text(model, turn.messages, tools=turn.tools), **(agent or {})
        )
        app = create_app(served, **{"store": MemoryStore(), "ids": CountingIds(), "head_start": begin, **options})
        return Place(app, await serve(app, headers=headers), model, requests)

    return make


async def endless(request: Any) -> Any:
    """A model that says "from " and then nothing."""
    for part in text(["from "])[:2]:
        yield part
    await asyncio.Event().wait()


def types(answer: list[Any]) -> list[str]:
    return [chunk if chunk == "[DONE]" else chunk["type"] for chunk in answer]


async def is_one_message(place: Place, answer: list[Any]) -> None:
    """What a stock client makes of the chunks is what is stored, under the same id."""
    assert answer[-1] == "[DONE]"
    assert types(answer).count("start") == types(answer).count("finish") == 1
    message = assemble(answer[:-1])
    stored = (await place.messages())[-1]
    assert message["id"] == stored["id"] == answer[0]["messageId"]
    assert message["parts"] == stored["parts"]


# --- one seamless message


@pytest.mark.behaviour(195)
async def test_a_text_is_a_whole_answer(make: Make):
    """A first step that calls nothing is the answer: the run's model is never asked."""
    place = await make(ScriptedModel(["from warm"]))
    answer = await place.says("hi")
    assert (text_of(answer), place.run.requests) == ("from warm", [])
    assert types(answer) == [
        "start",
        "start-step",
        "text-start",
        "text-delta",
        "text-delta",
        "text-end",
        "finish-step",
        "finish",
        "[DONE]",
    ]
    await is_one_message(place, answer)


@pytest.mark.behaviour(196)
async def test_a_call_hands_over_what_was_said(make: Make):
    """The run carries out the call and goes on with the same message; the first step is not made again."""
    warm = ScriptedModel([call(text("let me see "), tool_call("search", {"query": "x"}))])
    place = await make(warm)
    answer = await place.says("hi")
    assert (text_of(answer), len(warm.requests), len(place.run.requests)) == ("let me see from run", 1, 1)
    assert "tool-output-available" in types(answer)
    assert [message["role"] for message in place.run.requests[0].messages] == ["user", "assistant", "tool"]
    await is_one_message(place, answer)


async def test_a_call_of_a_client_tool_is_answered_by_the_client(make: Make):
    """The response ends with the open call, and the client's answer continues the message with the run."""
    place = await make(ScriptedModel([call(tool_call("ask_user", {"question": "who?"}))]))
    answer = await place.says("hi")
    await is_one_message(place, answer)
    [_, message] = await place.messages()
    part = next(part for part in message["parts"] if part["type"] == "tool-ask_user")
    part.update(state="output-available", output="me")

    body = {"id": "c1", "messages": [message], "messageId": message["id"]}
    more = chunks((await place.http.post("/api/chat/a", json=body)).content)

    assert (answer[-2]["finishReason"], more[0]["messageId"], text_of(more)) == (
        "tool-calls",
        message["id"],
        "from run",
    )


async def test_a_hundred_deltas_are_neither_doubled_nor_lost(make: Make):
    """Whatever was relayed by the time of the handover, the reader has each chunk once."""
    words = "".join(f"w{index} " for index in range(100))
    place = await make(ScriptedModel([words]))
    answer = await place.says("hi")
    assert text_of(answer) == words
    await is_one_message(place, answer)


@pytest.mark.behaviour(112)
async def test_the_prompt_and_the_tools_of_the_first_step(make: Make):
    """The function gets the message as a model sees it, and tools that cannot be carried out where it runs."""
    place = await make(ScriptedModel(["ok"]))
    await place.says("hi")
    [request] = place.requests
    assert request.messages == [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    assert [(tool.name, tool.has_body) for tool in request.tools] == [("search", False), ("ask_user", False)]
    assert (request.chat_id, request.message_id) == ("c1", (await place.messages())[1]["id"])


async def test_bodies_and_further_steps_are_the_runs(make: Make):
    """A function that brings tools with bodies and a stop condition of its own still makes one step, without them."""
    ran: list[str] = []

    @tool(name="search")
    async def eager(query: str) -> str:
        """Search."""
        ran.append("here")
        return "found"

    model = ScriptedModel([call(tool_call("search", {"query": "x"})), "never asked"])
    place = await make(
        lambda request: stream_text(model, request.messages, tools=[eager], stop_when=lambda steps: False)
    )
    await place.says("hi")
    assert (ran, len(model.requests), len(place.run.requests)) == ([], 1, 1)


async def test_tools_may_be_resolved(make: Make):
    """Tools that are resolved for each turn are resolved for the first step, too."""
    place = await make(ScriptedModel(["ok"]), tools=lambda event: [search])
    await place.says("hi")
    assert [tool.name for tool in place.requests[0].tools] == ["search"]


async def test_client_data_reach_both_sides(make: Make):
    """`clientData` are parsed for the first step as they are for the turn."""
    seen: list[Any] = []
    place = await make(
        ScriptedModel(["ok"]),
        agent={"client_data": dict[str, int], "on_turn_start": lambda event: seen.append(event.client_data)},
    )
    await place.says("hi", clientData={"n": "1"})
    assert (place.requests[0].client_data, seen) == ({"n": 1}, [{"n": 1}])


# --- the first token


async def test_the_first_token_does_not_wait_for_the_run(make: Make):
    """While on_boot still runs, the first words are on the wire already."""
    boot = Gate()
    place = await make(ScriptedModel(["from warm"]), agent={"on_boot": lambda event: boot.wait()})
    body = {"id": "c1", "messages": [user("hi")]}
    async with place.http.stream("POST", "/api/chat/a", json=body) as response:
        feed = Feed(response)
        await feed.until("warm")
        waiting = boot.opened.is_set()
        boot.opened.set()
        rest = await feed.rest()
    assert (waiting, rest[-1].data) == (False, "[DONE]")


async def test_later_turns_do_not_come_here(make: Make):
    """The second turn is the run's alone."""
    place = await make(ScriptedModel(["from warm"]))
    await place.says("hi")
    assert (text_of(await place.says("more")), len(place.requests)) == ("from run", 1)


async def test_a_chat_that_was_begun_elsewhere_does_not_come_here(make: Make):
    """A chat that something came in for, on whatever wire, has no first turn left."""
    place = await make(ScriptedModel(["from warm"]))
    await place.http.post("/v1/sessions", json={"agent": "a", "chatId": "c1"})
    await place.http.post("/v1/sessions/c1/in", json={"kind": "message", "message": user("first")})
    await place.says("hi")
    assert place.requests == []


async def test_a_session_that_nobody_wrote_to_is_new(make: Make):
    """A page whose server made the session and its token beforehand still has a first turn."""
    place = await make(ScriptedModel(["from warm"]))
    await place.http.post("/v1/sessions", json={"agent": "a", "chatId": "c1"})
    assert text_of(await place.says("hi")) == "from warm"


async def test_a_head_start_may_be_some_agents_only(make: Make):
    """By agent id: who is not named has none."""
    asked: list[Any] = []
    place = await make(None, head_start={"another": asked.append})
    assert (text_of(await place.says("hi")), asked) == ("from run", [])


@pytest.mark.behaviour(197)
async def test_without_a_chat_id_it_is_refused(make: Make):
    """A body without an id is an error of the client's, and nothing is begun."""
    place = await make(ScriptedModel(["from warm"]))
    response = await place.http.post("/api/chat/a", json={"messages": [user("hi")]})
    assert (response.status_code, response.json()["error"]["code"], place.requests) == (400, "invalid-input", [])


async def test_an_unacceptable_message_is_refused(make: Make):
    """What is not acceptable without a head start is not acceptable with one."""
    place = await make(ScriptedModel(["from warm"]))
    message = {"id": "u", "role": "user", "parts": [{"type": "tool-x"}]}
    response = await place.http.post("/api/chat/a", json={"id": "c1", "messages": [message]})
    assert (response.status_code, place.requests) == (400, [])


@pytest.mark.behaviour(193)
async def test_a_server_gets_a_token_for_its_browser(make: Make):
    """Whoever comes with the secret key gets the chat id and a session token in headers; a token gets none."""
    place = await make(ScriptedModel(["ok"]), secret_key=KEY, headers={"authorization": f"Bearer {KEY}"})
    response = await place.post("hi")
    assert response.headers["x-chatrt-chat-id"] == "c1"
    token = {"authorization": f"Bearer {response.headers['x-chatrt-session-token']}"}
    assert (await place.http.get("/v1/sessions/c1", headers=token)).status_code == 200
    assert (await place.http.get("/v1/sessions/c2", headers=token)).status_code == 403


async def test_a_browser_gets_no_token(make: Make):
    """A session token is no way to another one."""
    place = await make(ScriptedModel(["ok"]), secret_key=KEY)
    minted = place.app.state.authority.mint("c1", agent="a")
    body = {"id": "c1", "messages": [user("hi")]}
    response = await place.http.post("/api/chat/a", json=body, headers={"authorization": f"Bearer {minted.token}"})
    assert response.headers["x-chatrt-chat-id"] == "c1"
    assert "x-chatrt-session-token" not in response.headers


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


# --- detached


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
