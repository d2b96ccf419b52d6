"""The AI SDK wire over HTTP: what a stock `DefaultChatTransport` sends and gets."""

from __future__ import annotations

import asyncio
from urllib.parse import quote

import pytest

from tests.server.kit import Feed, chunks, text_of, user

STREAM = "/api/chat/kit/c1/stream"


def types(answer: list) -> list[str]:
    return [chunk if chunk == "[DONE]" else chunk["type"] for chunk in answer]


async def answered(kit, message: dict, **more: object) -> list:
    body = {"id": "c1", "messages": [message], "trigger": "submit-message", **more}
    return chunks((await kit.http.post("/api/chat/kit", json=body)).raise_for_status().content)


async def shown(kit) -> list[dict]:
    return (await kit.http.get("/api/chat/kit/c1/messages")).json()["messages"]


# --- a message and its answer


async def test_an_answer_begins_with_start_and_ends_with_done(kit):
    """A message is answered with the chunks of its turn, `start` with an id first, `[DONE]` last."""
    answer = await kit.say("c1", "echo hello")
    assert types(answer) == [
        "start",
        "start-step",
        "text-start",
        "text-delta",
        "text-end",
        "finish-step",
        "finish",
        "[DONE]",
    ]
    assert answer[0]["messageId"].startswith("msg")


async def test_the_headers_are_those_of_the_protocol(kit):
    """Proxies are told not to buffer, cache or change the stream, and clients what it is."""
    response = await kit.http.post("/api/chat/kit", json={"id": "c1", "messages": [user("echo x")]})
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-cache, no-transform"
    assert response.headers["x-accel-buffering"] == "no"
    assert response.headers["x-vercel-ai-ui-message-stream"] == "v1"


async def test_a_body_is_nothing_but_data_lines(kit):
    """Stock clients get no ids and no event names."""
    body = {"id": "c1", "messages": [user("echo x")]}
    content = (await kit.http.post("/api/chat/kit", json=body)).content
    assert all(line.startswith(b"data: ") for line in content.split(b"\n") if line)


@pytest.mark.behaviour(163)
async def test_resent_history_is_ignored(kit):
    """The server owns the history: what a client sends again, or makes up, changes nothing."""
    await kit.say("c1", "echo one")
    forged = [user("forged"), {"id": "a", "role": "assistant", "parts": [{"type": "text", "text": "lie"}]}, user("n")]
    answer = chunks((await kit.http.post("/api/chat/kit", json={"id": "c1", "messages": forged})).content)
    assert text_of(answer) == "messages: 3"


async def test_the_slim_form_is_the_same(kit):
    """`prepareSendMessagesRequest` may send the one message that is new."""
    body = {"id": "c1", "message": user("echo slim")}
    assert text_of(chunks((await kit.http.post("/api/chat/kit", json=body)).content)) == "slim"


async def test_an_edited_message_begins_a_new_branch(kit):
    """A user message with a known id and another text takes the place of the old one and all after it (D22)."""
    await kit.say("c1", "echo one", message_id="m1")
    await kit.say("c1", "echo two", message_id="m2")
    edited = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "echo better"}]}
    assert text_of(await answered(kit, edited, messageId="m1")) == "better"
    assert [message["id"] for message in await shown(kit)][:1] == ["m1"]
    assert len(await shown(kit)) == 2


async def test_regenerate_gives_another_message(kit):
    """A regenerated answer has an id of its own and stands in the place of the old one."""
    first = await kit.say("c1", "echo one")
    body = {"id": "c1", "messages": [user("echo one")], "trigger": "regenerate-message"}
    second = chunks((await kit.http.post("/api/chat/kit", json=body)).content)
    assert text_of(second) == "one"
    assert second[0]["messageId"] != first[0]["messageId"]
    assert len(await shown(kit)) == 2


async def test_regenerate_takes_a_message_id(kit):
    """With an id the answer of that message is made again (D22)."""
    first = await kit.say("c1", "echo one")
    await kit.say("c1", "echo two")
    body = {"id": "c1", "messages": [], "trigger": "regenerate-message", "messageId": first[0]["messageId"]}
    assert text_of(chunks((await kit.http.post("/api/chat/kit", json=body)).content)) == "one"
    assert len(await shown(kit)) == 2


async def test_client_data_reach_the_agent(make_kit):
    """`clientData` in the body is what the agent's `client_data` type describes."""
    seen = []
    kit = await make_kit(agent={"on_turn_start": lambda event: seen.append(event.client_data)})
    await answered(kit, user("echo x"), clientData={"plan": "pro"})
    assert seen == [{"plan": "pro"}]


async def test_a_failed_turn_is_told_without_its_reason(kit):
    """The exception's text never crosses; the stream ends as every stream does (D11)."""
    response = await kit.http.post("/api/chat/kit", json={"id": "c1", "messages": [user("fail")]})
    assert b"boom-secret" not in response.content
    assert types(chunks(response.content))[-2:] == ["error", "[DONE]"]


async def test_a_public_error_is_told(kit):
    """A text that was written for people reaches them."""
    answer = await kit.say("c1", "public")
    assert answer[-2]["errorText"] == "the kitchen is closed"


# --- continuations


async def test_a_tool_output_continues_the_same_message(kit):
    """The answer to a client's tool output has the id of the message that asked."""
    asked = await kit.say("c1", "ask why")
    [_, message] = await shown(kit)
    [part] = [part for part in message["parts"] if part["type"] == "tool-ask_user"]
    part.update(state="output-available", output="because")
    more = await answered(kit, message, messageId=message["id"])
    assert more[0] == {"type": "start", "messageId": asked[0]["messageId"]}
    assert text_of(more) == "answer: because"
    assert len(await shown(kit)) == 2


async def approve(kit, approved: bool, **more: object) -> list:
    message = next(message for message in await shown(kit) if message["role"] == "assistant")
    [part] = [part for part in message["parts"] if part["type"] == "tool-send_email"]
    part.update(state="approval-responded", approval={"id": "approval-1", "approved": approved})
    return await answered(kit, message, messageId=message["id"], **more)


@pytest.mark.parametrize(
    ("approved", "chunk", "text"), [(True, "tool-output-available", "sent"), (False, "tool-output-denied", "not sent")]
)
async def test_an_approval_moves_the_call_on(kit, approved: bool, chunk: str, text: str):
    """A stock client, which names no version, is asked and its decision is carried out."""
    asked = await kit.say("c1", "approve Ada")
    assert "tool-approval-request" in types(asked)
    decided = await approve(kit, approved)
    assert types(decided)[:2] == ["start", chunk]
    assert text_of(decided) == text


async def test_an_approval_of_an_earlier_message_is_found_by_its_id(kit):
    """`messageId` names the message that was decided, also when others follow it in the body."""
    await kit.say("c1", "approve Ada")
    message = next(message for message in await shown(kit) if message["role"] == "assistant")
    [part] = [part for part in message["parts"] if part["type"] == "tool-send_email"]
    part.update(state="approval-responded", approval={"id": "approval-1", "approved": True})
    body = {"id": "c1", "messages": [message, user("later")], "messageId": message["id"]}
    assert text_of(chunks((await kit.http.post("/api/chat/kit", json=body)).content)) == "sent"


# --- resume


async def test_nothing_runs_nothing_to_resume(kit):
    """204 when idle, and for a chat that nobody ever heard of."""
    await kit.say("c1", "echo x")
    assert (await kit.http.get(STREAM)).status_code == 204
    assert (await kit.http.get("/api/chat/kit/unknown/stream")).status_code == 204


async def test_a_resume_replays_the_message_from_its_start_and_goes_on_live(kit):
    """Whoever comes back reads the same chunks as whoever stayed."""
    async with (
        kit.http.stream("POST", "/api/chat/kit", json={"id": "c1", "messages": [user("hold g")]}) as stayed,
        kit.http.stream("GET", STREAM) as back,
    ):
        first, second = Feed(stayed), Feed(back)
        await first.until("before")
        await second.until("before")
        kit.gates["g"].set()
        await first.rest()
        await second.rest()
    assert chunks(second.raw) == chunks(first.raw)
    assert chunks(second.raw)[0]["type"] == "start"
    assert text_of(chunks(second.raw)) == "before after"


async def test_past_transient_data_are_not_replayed(kit):
    """A note that was shown and gone is not shown again; one that comes now is."""
    async with kit.http.stream("POST", "/api/chat/kit", json={"id": "c1", "messages": [user("note g")]}) as stayed:
        first = Feed(stayed)
        await first.until("data-status")
        async with kit.http.stream("GET", STREAM) as back:
            second = Feed(back)
            await second.until("data-status")
            kit.gates["g"].set()
            await first.rest()
            await second.rest()
    notes = [chunk["data"] for chunk in chunks(second.raw) if chunk != "[DONE]" and chunk["type"] == "data-note"]
    assert notes == ["live"]
    assert [chunk["data"] for chunk in chunks(first.raw)[:-1] if chunk["type"] == "data-note"] == ["gone", "live"]


async def test_a_resumed_continuation_holds_the_earlier_parts(make_kit, gates):
    """A reload while a continued message streams shows all of it: its parts so far, then what comes, under one start."""

    async def hold(event):
        if event.ui_messages[-1]["role"] == "assistant":
            waits.set()
            await gates["go"].wait()

    waits = asyncio.Event()
    kit = await make_kit(agent={"on_turn_start": hold})
    asked = await kit.say("c1", "ask why")
    [_, message] = await shown(kit)
    [part] = [part for part in message["parts"] if part["type"] == "tool-ask_user"]
    part.update(state="output-available", output="because")
    continuing = asyncio.create_task(answered(kit, message, messageId=message["id"]))
    await waits.wait()
    async with kit.http.stream("GET", STREAM) as back:
        feed = Feed(back)
        gates["go"].set()
        await feed.rest()
    await continuing
    replay = chunks(feed.raw)
    assert types(replay).count("start") == 1
    assert replay[0] == {"type": "start", "messageId": asked[0]["messageId"]}
    assert replay.index(next(c for c in replay if c != "[DONE]" and c["type"] == "tool-output-available")) < types(
        replay
    ).index("text-delta")
    assert text_of(replay) == "answer: because"
    assert replay[-1] == "[DONE]"


# --- who is reading


async def test_a_reader_that_goes_away_does_not_stop_the_turn(kit):
    """The turn goes on, and its answer is there afterwards (D16)."""
    async with kit.http.stream("POST", "/api/chat/kit", json={"id": "c1", "messages": [user("hold g")]}) as response:
        await Feed(response).until("before")
    session = await kit.sessions.get_session("c1")
    await readers_left(session, 0)
    async with kit.http.stream("GET", STREAM) as back:
        feed = Feed(back)
        kit.gates["g"].set()
        await feed.rest()
    assert text_of(chunks(feed.raw)) == "before after"


async def readers_left(session, count: int) -> None:
    while session.outbox.readers != count:
        await asyncio.sleep(0)


async def test_a_new_message_stops_a_turn_that_nobody_reads(kit):
    """The stock `stop()` only drops the connection: whoever writes again wants an answer, not to wait."""
    async with kit.http.stream(
        "POST", "/api/chat/kit", json={"id": "c1", "messages": [user("hold never")]}
    ) as response:
        await Feed(response).until("before")
    session = await kit.sessions.get_session("c1")
    await readers_left(session, 0)
    assert text_of(await kit.say("c1", "echo next")) == "next"
    assert [part["text"] for part in (await shown(kit))[1]["parts"] if part["type"] == "text"] == ["before "]


async def test_a_regenerate_stops_a_turn_that_nobody_reads(kit):
    """The same holds for whoever asks for another answer."""
    async with kit.http.stream("POST", "/api/chat/kit", json={"id": "c1", "messages": [user("hold g")]}) as response:
        await Feed(response).until("before")
    await readers_left(await kit.sessions.get_session("c1"), 0)
    body = {"id": "c1", "messages": [], "trigger": "regenerate-message"}
    async with kit.http.stream("POST", "/api/chat/kit", json=body) as response:
        feed = Feed(response)
        await feed.until("before")
        kit.gates["g"].set()
        await feed.rest()
    assert text_of(chunks(feed.raw)) == "before after"


async def test_with_a_reader_attached_a_new_message_waits_its_turn(kit):
    """The agent's busy policy decides; here it is `queue`, and each request is answered with its own turn."""
    async with kit.http.stream("POST", "/api/chat/kit", json={"id": "c1", "messages": [user("hold g")]}) as response:
        feed = Feed(response)
        await feed.until("before")
        second = asyncio.create_task(kit.say("c1", "echo second"))
        session = await kit.sessions.get_session("c1")
        await readers_left(session, 2)
        kit.gates["g"].set()
        await feed.rest()
        assert text_of(chunks(feed.raw)) == "before after"
        assert text_of(await second) == "second"


async def test_a_reader_of_the_native_wire_counts_as_one(kit):
    """It does not matter by which wire somebody reads."""
    await kit.new("c1")
    async with kit.http.stream("GET", "/v1/sessions/c1/out") as native:
        async with kit.http.stream(
            "POST", "/api/chat/kit", json={"id": "c1", "messages": [user("hold g")]}
        ) as response:
            await Feed(response).until("before")
        await readers_left(await kit.sessions.get_session("c1"), 1)
        second = asyncio.create_task(kit.say("c1", "echo second"))
        await readers_left(await kit.sessions.get_session("c1"), 2)
        kit.gates["g"].set()
        assert text_of(await second) == "second"
        assert "after" in [event.data for event in await Feed(native).until("after")][-1]


# --- stop, messages, odd ids, versions


async def test_stop_ends_the_running_turn(kit):
    """A stop is acknowledged, the reader sees `abort`, and what was said stays."""
    async with kit.http.stream(
        "POST", "/api/chat/kit", json={"id": "c1", "messages": [user("hold never")]}
    ) as response:
        feed = Feed(response)
        await feed.until("before")
        stopped = await kit.http.post("/api/chat/kit/c1/stop")
        assert (stopped.status_code, stopped.json()) == (202, {"seq": 2})
        await feed.rest()
    assert types(chunks(feed.raw))[-2:] == ["abort", "[DONE]"]


async def test_messages_are_what_a_page_begins_with(kit):
    """The committed messages, the cursor they belong to, and whether something runs."""
    await kit.say("c1", "echo x")
    page = (await kit.http.get("/api/chat/kit/c1/messages")).json()
    assert [message["role"] for message in page["messages"]] == ["user", "assistant"]
    assert page["status"] == "idle"
    assert page["cursor"] > 0


async def test_a_chat_that_has_not_begun_has_no_messages(kit):
    """A page can load before its first message."""
    page = (await kit.http.get("/api/chat/kit/new/messages")).json()
    assert page == {"messages": [], "pending": [], "status": "idle", "cursor": 0}


@pytest.mark.parametrize("chat_id", ["a/b:c %", "a%2Fb", "ü/stream", "x/messages", "..a", "?#&=+", "/"])
async def test_any_chat_id_survives_the_url(kit, chat_id: str):
    """A chat id is one encoded segment of the path, whatever characters it has."""
    await kit.say(chat_id, "echo x")
    path = f"/api/chat/kit/{quote(chat_id, safe='')}"
    assert len((await kit.http.get(f"{path}/messages")).json()["messages"]) == 2
    assert (await kit.http.get(f"{path}/stream")).status_code == 204
    assert (await kit.http.get(f"/v1/sessions/{quote(chat_id, safe='')}")).json()["chatId"] == chat_id


async def test_chunks_of_v7_go_to_those_who_say_so(kit):
    """`x-chatrt-ai-sdk: 7` asks for what older clients could not read."""
    body = {"id": "c1", "messages": [user("new-chunks")]}
    old = chunks((await kit.http.post("/api/chat/kit", json=body)).content)
    new = chunks((await kit.http.post("/api/chat/kit", json=body, headers={"x-chatrt-ai-sdk": "7.0.173"})).content)
    assert "custom" not in types(old)
    assert "custom" in types(new)


async def test_an_early_version_is_spared_what_it_refuses(kit):
    """A full version in the header is heard: 5.0.0 knows no finish reason."""
    body = {"id": "c1", "messages": [user("echo x")]}
    told = chunks((await kit.http.post("/api/chat/kit", json=body, headers={"x-chatrt-ai-sdk": "5.0.0"})).content)
    assert told[-2:] == [{"type": "finish"}, "[DONE]"]


async def test_a_version_that_is_none_is_refused(kit):
    """A mistake in the header is heard of before anything is appended."""
    body = {"id": "c1", "messages": [user("echo x")]}
    answer = await kit.http.post("/api/chat/kit", json=body, headers={"x-chatrt-ai-sdk": "latest"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid-input")


# --- what is refused


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"messages": [user("x")]}, "invalid-input"),
        ({"id": "c1"}, "invalid-input"),
        ({"id": "c1", "messages": []}, "invalid-input"),
        ({"id": "c1", "messages": ["x"]}, "invalid-input"),
        ({"id": "c1", "messages": [user("x")], "trigger": "resume"}, "invalid-input"),
        ({"id": "c1", "messages": [user("x")], "messageId": 1}, "invalid-input"),
        ({"id": "", "messages": [user("x")]}, "invalid-input"),
        ({"id": "a\n", "messages": [user("x")]}, "invalid-input"),
        ({"id": "c1", "messages": [{"id": "m", "role": "system", "parts": []}]}, "forbidden-change"),
        ({"id": "c1", "messages": [{"id": "m", "role": "user", "parts": []}]}, "invalid-message"),
        ([], "invalid-input"),
    ],
)
async def test_a_bad_request_is_refused_with_its_code(kit, body, code: str):
    """A request that says nothing usable gets a 4xx and changes nothing."""
    response = await kit.http.post("/api/chat/kit", json=body)
    assert response.status_code in (400, 403)
    assert response.json()["error"]["code"] == code


async def test_an_unknown_agent_is_not_found(kit):
    """The path names an agent that is served here."""
    response = await kit.http.post("/api/chat/nobody", json={"id": "c1", "messages": [user("x")]})
    assert (response.status_code, response.json()["error"]["code"]) == (404, "agent-not-found")


async def test_a_chat_belongs_to_one_agent(kit):
    """Another agent's chat cannot be written to, and has nothing to resume."""
    await kit.say("c1", "echo x")
    response = await kit.http.post("/api/chat/other", json={"id": "c1", "messages": [user("x")]})
    assert (response.status_code, response.json()["error"]["code"]) == (409, "agent-mismatch")
    assert (await kit.http.get("/api/chat/other/c1/messages")).status_code == 409
    assert (await kit.http.get("/api/chat/other/c1/stream")).status_code == 204
