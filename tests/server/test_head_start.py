"""A head start over HTTP: the first token does not wait for the run, and the browser sees one message."""

from __future__ import annotations

from typing import Any

import pytest

from chatrt.generate import stream_text
from chatrt.models import ScriptedModel
from chatrt.models.scripted import call, text, tool_call
from chatrt.tools import tool
from tests.runtime.driver import Gate
from tests.server.head_start_kit import Make, is_one_message, search, types
from tests.server.kit import KEY, Feed, chunks, text_of, user

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
