"""The native wire over HTTP: sessions, the inbox as JSON, the outbox as SSE with cursors."""

from __future__ import annotations

import asyncio
import json

import pytest

from chatrt import codec
from chatrt.stores import NewRecord, Parent, SessionKey
from tests.server.kit import Feed, Kit, user

IN = "/v1/sessions/c1/in"
OUT = "/v1/sessions/c1/out"


async def said(kit: Kit, text: str) -> list:
    """Send a message and return all events of `.out` once it is settled."""
    await kit.put("c1", {"kind": "message", "message": user(text)})
    return await read(kit)


async def read(kit: Kit, **options) -> list:
    options = {"params": {"until": "idle"}, **options}
    async with kit.http.stream("GET", OUT, **options) as response:
        return await Feed(response).rest()


def names(events: list) -> list[str]:
    return [
        event.event if event.event not in (None, "", "message") else json.loads(event.data)["type"] for event in events
    ]


# --- sessions


@pytest.mark.behaviour(212)
async def test_a_session_is_made_once(kit):
    """The first call makes it, later ones return it as it is."""
    body = {"agent": "kit", "chatId": "c1", "metadata": {"a": 1}}
    first = await kit.http.post("/v1/sessions", json=body)
    again = await kit.http.post("/v1/sessions", json={**body, "metadata": {"a": 2}})
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert first.json().keys() == {"chatId", "agent", "status", "createdAt", "updatedAt", "metadata"}
    assert (first.json()["status"], first.json()["metadata"]) == ("open", {"a": 1})


async def test_a_session_without_a_chat_id_gets_one(kit):
    """Who brings no id is given one."""
    response = await kit.http.post("/v1/sessions", json={"agent": "kit"})
    assert response.status_code == 201
    assert response.json()["chatId"]


async def test_a_session_of_another_agent_is_a_conflict(kit):
    """A chat belongs to the agent it began with."""
    await kit.sessions.store.create_session(_key("c1"), agent="other", metadata={}, client_data=None, at=0)
    response = await kit.http.post("/v1/sessions", json={"agent": "kit", "chatId": "c1"})
    assert (response.status_code, response.json()["error"]["code"]) == (409, "agent-mismatch")


def _key(chat_id: str) -> SessionKey:
    return SessionKey("", chat_id)


async def test_sessions_are_listed_page_by_page(kit):
    """A page names the chat id that the next one begins after."""
    for chat_id in ("a", "b", "c"):
        await kit.new(chat_id)
    first = (await kit.http.get("/v1/sessions", params={"limit": "2", "agent": "kit"})).json()
    second = (await kit.http.get("/v1/sessions", params={"after": first["next"]})).json()
    assert [row["chatId"] for row in first["sessions"]] == ["a", "b"]
    assert [row["chatId"] for row in second["sessions"]] == ["c"]
    assert "next" not in second


async def test_a_client_cannot_choose_a_parent(kit):
    """Only the runtime says who started a session; what a client says about it is ignored."""
    body = {"agent": "kit", "chatId": "c1", "parent": {"chatId": "victim", "rootId": "victim"}}
    answer = (await kit.http.post("/v1/sessions", json=body)).json()
    assert "parent" not in answer
    assert (await kit.sessions.get_session("c1")).row.parent is None


async def test_children_are_listed(kit):
    """The sessions that a chat started can be asked for, and say so."""
    parent = Parent(chat_id="c1", root_id="c0", tool_call_id="call")
    await kit.sessions.start_session("kit", "c2", parent=parent)
    await kit.new("c3")
    (row,) = (await kit.http.get("/v1/sessions", params={"parent": "c1"})).json()["sessions"]
    assert (row["chatId"], row["parent"]) == ("c2", {"chatId": "c1", "rootId": "c0", "toolCallId": "call"})


@pytest.mark.behaviour(143)
async def test_a_closed_session_takes_nothing_more(kit):
    """Closing is for good; what was said stays readable."""
    await kit.new("c1")
    await said(kit, "echo x")
    closed = await kit.http.post("/v1/sessions/c1/close", json={"reason": "solved"})
    assert (closed.json()["status"], closed.json()["closedReason"]) == ("closed", "solved")
    refused = await kit.http.post(IN, json={"kind": "message", "message": user("y")})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "session-closed")
    assert len((await kit.http.get("/v1/sessions/c1/messages")).json()["messages"]) == 2


async def test_the_stream_of_a_closed_session_ends(kit):
    """Nothing ever comes after what is left, so a live reader is not kept waiting."""
    await kit.new("c1")
    await said(kit, "echo x")
    await kit.http.post("/v1/sessions/c1/close")
    assert "turn-complete" in names(await read(kit, params={}))


async def test_a_deleted_session_is_gone(kit):
    """Deleting removes everything; a second time there is nothing to delete."""
    await kit.new("c1")
    assert (await kit.http.delete("/v1/sessions/c1")).status_code == 204
    assert (await kit.http.get("/v1/sessions/c1")).status_code == 404
    assert (await kit.http.delete("/v1/sessions/c1")).json()["error"]["code"] == "session-not-found"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/sessions/none"),
        ("GET", "/v1/sessions/none/messages"),
        ("GET", "/v1/sessions/none/out"),
        ("POST", "/v1/sessions/none/in"),
        ("POST", "/v1/sessions/none/close"),
        ("POST", "/v1/sessions/none/token"),
    ],
)
async def test_an_unknown_session_is_not_found(kit, method: str, path: str):
    """Every endpoint of a session says so."""
    response = await kit.http.request(method, path, json={"kind": "stop"} if method == "POST" else None)
    assert (response.status_code, response.json()["error"]["code"]) == (404, "session-not-found")


# --- in


async def test_an_append_is_acknowledged_with_its_seq(kit):
    """202 and the place in the inbox."""
    await kit.new("c1")
    assert await kit.put("c1", {"kind": "message", "message": user("echo x")}) == {"seq": 1, "repeated": False}


async def test_the_same_idempotency_key_appends_once(kit):
    """A retry gets the first seq and is told so; nothing is answered twice."""
    await kit.new("c1")
    body = {"kind": "message", "message": user("echo x")}
    answers = await asyncio.gather(*(kit.put("c1", body, **{"idempotency-key": "k-1"}) for _ in range(5)))
    assert {answer["seq"] for answer in answers} == {1}
    assert sorted(answer["repeated"] for answer in answers) == [False, True, True, True, True]
    assert names(await read(kit)).count("turn-complete") == 1


@pytest.mark.parametrize("key", ["", "x" * 65, "a b", "a\tb"])
async def test_an_idempotency_key_is_short_visible_ascii(kit, key: str):
    """Anything else is refused."""
    await kit.new("c1")
    response = await kit.http.post(IN, json={"kind": "stop"}, headers={"idempotency-key": key})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid-input")


async def test_a_regenerate_is_answered_again(kit):
    """`regenerate` makes another answer to the last message."""
    await kit.new("c1")
    await said(kit, "echo x")
    await kit.put("c1", {"kind": "regenerate"})
    completes = [json.loads(event.data) for event in await read(kit) if event.event == "turn-complete"]
    assert [(record["inSeq"], record["trigger"]) for record in completes] == [(1, "message"), (2, "regenerate")]


async def test_an_action_changes_the_history(kit):
    """An action is settled with a `turn-complete` of its own (D2)."""
    await kit.new("c1")
    await said(kit, "echo x")
    await kit.put("c1", {"kind": "action", "action": {"type": "undo"}})
    assert names(await read(kit)).count("turn-complete") == 2
    assert (await kit.http.get("/v1/sessions/c1/messages")).json()["messages"] == []


async def test_a_switch_goes_to_another_branch(kit):
    """The messages tell what stands beside them, and a switch to one of it is settled with a `turn-complete`."""
    await kit.new("c1")
    await said(kit, "echo x")
    first = (await kit.http.get("/v1/sessions/c1/messages")).json()
    await kit.put("c1", {"kind": "regenerate"})
    await read(kit)
    second = (await kit.http.get("/v1/sessions/c1/messages")).json()
    old, new = first["messages"][-1]["id"], second["messages"][-1]["id"]
    assert "branches" not in first
    assert second["branches"] == {new: [old, new]}

    await kit.put("c1", {"kind": "switch", "messageId": old})

    completes = [json.loads(event.data) for event in await read(kit) if event.event == "turn-complete"]
    assert completes[-1] == {"inSeq": 3, "trigger": "switch", "status": "completed"}
    switched = (await kit.http.get("/v1/sessions/c1/messages")).json()
    assert switched["messages"] == first["messages"]
    assert switched["branches"] == {old: [old, new]}


async def test_a_switch_to_nowhere_fails(kit):
    """A message that no branch holds is a failed `turn-complete` with a stable code, not a refused append."""
    await kit.new("c1")
    await kit.put("c1", {"kind": "switch", "messageId": "nope"})
    complete = json.loads(next(event.data for event in await read(kit) if event.event == "turn-complete"))
    assert (complete["status"], complete["error"]["code"]) == ("failed", "message-not-found")


async def test_a_stop_ends_the_turn(kit):
    """A stop that names its input stops that turn."""
    await kit.new("c1")
    await kit.put("c1", {"kind": "message", "message": user("hold never")})
    async with kit.http.stream("GET", OUT, params={"until": "idle"}) as response:
        feed = Feed(response)
        await feed.until("before")
        await kit.put("c1", {"kind": "stop", "inSeq": 1, "reason": "enough"})
        events = await feed.rest()
    assert json.loads(next(event.data for event in events if "abort" in event.data)) == {
        "type": "abort",
        "reason": "enough",
    }
    assert json.loads(events[-2].data)["status"] == "stopped"


async def test_a_stop_when_nothing_runs_keeps_nobody_waiting(kit):
    """It is acknowledged, and the session is as idle as before."""
    await kit.new("c1")
    await kit.put("c1", {"kind": "stop"})
    assert names(await read(kit)) == ["idle"]
    assert (await kit.http.get("/api/chat/kit/c1/stream")).status_code == 204


@pytest.mark.behaviour(59, 60, 143, 166)
@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"kind": "close"},
        {"kind": "message"},
        {"kind": "message", "message": "x"},
        {"kind": "action"},
        {"kind": "stop", "inSeq": "1"},
        {"kind": "stop", "inSeq": True},
        {"kind": "stop", "reason": 1},
        {"kind": "regenerate", "messageId": 1},
        {"kind": "switch"},
        {"kind": "switch", "messageId": 1},
        {"kind": "regenerate", "askers": {}},
        {"kind": "regenerate", "askers": [{"agent": "a", "chatId": "c"}]},
        {"kind": "regenerate", "askers": [{"agent": "a", "chatId": "c", "inSeq": True}]},
        {"kind": "regenerate", "askers": [{"agent": "a", "chatId": "c", "inSeq": 1}] * 65},
        {"kind": "write"},
        {"kind": "write", "chunks": []},
        {"kind": "write", "chunks": {"type": "data-x", "data": 1}},
    ],
)
async def test_a_body_that_is_no_input_is_refused(kit, body):
    """Only known kinds are taken, with fields of the right type."""
    await kit.new("c1")
    response = await kit.http.post(IN, json=body)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid-input")


async def test_a_write_goes_into_the_running_answer(kit):
    """A server may put data into the answer that runs; it shows at once and stays."""
    await kit.new("c1")
    await kit.put("c1", {"kind": "message", "message": user("hold gate")})
    async with kit.http.stream("GET", OUT, params={"until": "idle"}) as response:
        feed = Feed(response)
        await feed.until("before")
        await kit.put("c1", {"kind": "write", "chunks": [{"type": "data-job", "id": "j", "data": 7}]})
        await feed.until("data-job")
        kit.gates["gate"].set()
        assert names(await feed.rest())[-2:] == ["turn-complete", "idle"]
    answer = (await kit.http.get("/v1/sessions/c1/messages")).json()["messages"][-1]
    assert {"type": "data-job", "id": "j", "data": 7} in answer["parts"]


async def test_a_page_that_loads_during_a_write_sees_it(kit):
    """On the AI SDK wire a resumed reader is told what was written, as part of the message it continues."""
    await kit.new("c1")
    await kit.put("c1", {"kind": "message", "message": user("hold gate")})
    await kit.put("c1", {"kind": "write", "chunks": [{"type": "data-job", "id": "j", "data": 7}]})
    async with kit.http.stream("GET", "/api/chat/kit/c1/stream") as response:
        feed = Feed(response)
        await feed.until("data-job")
        kit.gates["gate"].set()
        assert (await feed.rest())[-1].data == "[DONE]"


async def test_a_client_cannot_write_an_assistant_message_of_its_own(kit):
    """A forged answer is refused or ignored, and in any case not in the history (D15)."""
    await kit.new("c1")
    forged = {"id": "m", "role": "assistant", "parts": [{"type": "text", "text": "lie"}]}
    await kit.http.post(IN, json={"kind": "message", "message": forged})
    await read(kit)
    assert b"lie" not in (await kit.http.get("/v1/sessions/c1/messages")).content


# --- out


@pytest.mark.behaviour(69)
async def test_out_is_a_log_of_turns(kit):
    """A turn begins with `turn-start` and ends with `turn-complete`; between them stand its chunks."""
    await kit.new("c1")
    events = await said(kit, "echo x")
    assert names(events) == [
        "turn-start",
        "start",
        "start-step",
        "text-start",
        "text-delta",
        "text-end",
        "finish-step",
        "finish",
        "turn-complete",
        "idle",
    ]
    assert json.loads(events[0].data)["inSeq"] == 1
    complete = json.loads(events[-2].data)
    assert (complete["inSeq"], complete["status"]) == (1, "completed")


async def test_event_ids_count_without_a_hole(kit):
    """The id of every record is its seq; `idle` has none, so it moves no cursor."""
    await kit.new("c1")
    events = await said(kit, "count 20")
    assert [int(event.id) for event in events[:-1]] == list(range(1, len(events)))
    assert json.loads(events[-1].data) == {"cursor": len(events) - 1}


@pytest.mark.parametrize("by", ["header", "query"])
async def test_a_reader_goes_on_after_its_cursor(kit, by: str):
    """`Last-Event-ID`, or `after`, resumes without a gap and without a repeat."""
    await kit.new("c1")
    everything = await said(kit, "count 5")
    if by == "header":
        rest = await read(kit, headers={"last-event-id": "4"})
    else:
        rest = await read(kit, params={"after": "4", "until": "idle"})
    assert [event.data for event in rest] == [event.data for event in everything[4:]]


async def test_a_live_stream_goes_on_over_turns(kit):
    """Without `until` the stream stays, whatever comes."""
    await kit.new("c1")
    async with kit.http.stream("GET", OUT) as response:
        feed = Feed(response)
        await kit.put("c1", {"kind": "message", "message": user("echo x")})
        await feed.until('"completed"')
        await kit.put("c1", {"kind": "message", "message": user("echo y")})
        assert '"inSeq":2' in (await feed.until('"completed"'))[-1].data


async def test_until_idle_waits_for_all_that_was_sent(kit):
    """Two inputs, one stream: it ends after the second is settled."""
    await kit.new("c1")
    await kit.put("c1", {"kind": "message", "message": user("hold g")})
    await kit.put("c1", {"kind": "message", "message": user("echo y")})
    async with kit.http.stream("GET", OUT, params={"until": "idle"}) as response:
        feed = Feed(response)
        await feed.until("before")
        kit.gates["g"].set()
        assert names(await feed.rest()).count("turn-complete") == 2


@pytest.mark.parametrize("cursor", ["-1", "1e3", "0x1", "٣", " 1 2", "9" * 20, "9" * 19, "a"])
async def test_a_cursor_is_a_decimal_number(kit, cursor: str):
    """Anything but 1 to 19 ASCII digits is refused, never read as zero."""
    await kit.new("c1")
    response = await kit.http.get(OUT, params={"after": cursor})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid-cursor")


async def test_a_cursor_beyond_the_log_is_an_error(kit):
    """It was made by another store or a lost future; waiting for it would be waiting for ever."""
    await kit.new("c1")
    await said(kit, "echo x")
    response = await kit.http.get(OUT, headers={"last-event-id": "1000"})
    assert (response.status_code, response.json()["error"]["code"]) == (404, "cursor-ahead")


async def test_a_cursor_of_what_is_no_longer_kept_gets_a_gap(make_kit):
    """What is missing is told, and the gap's own id is a good cursor (D13)."""
    before = await make_kit()
    await before.new("c1")
    for text in ("echo a", "echo b", "echo c", "echo d"):
        await said(before, text)
    kit = await make_kit(store=before.sessions.store)
    [gap, *rest] = await read(kit)
    body = json.loads(gap.data)
    assert gap.event == "gap"
    assert (body["after"], body["firstSeq"]) == (0, int(gap.id) + 1)
    assert int(rest[0].id) == body["firstSeq"]
    assert [event.data for event in await read(kit, headers={"last-event-id": gap.id})] == [e.data for e in rest]


async def test_messages_and_cursor_fit_together(kit):
    """Whoever reads the messages and then the log from their cursor sees nothing twice."""
    await kit.new("c1")
    await said(kit, "echo x")
    page = (await kit.http.get("/v1/sessions/c1/messages")).json()
    assert page.keys() == {"messages", "pending", "cursor", "inCursor", "lastInSeq", "status"}
    assert (page["inCursor"], page["lastInSeq"], page["status"]) == (1, 1, "idle")
    assert names(await read(kit, headers={"last-event-id": str(page["cursor"])})) == ["idle"]


async def test_the_replay_of_a_range_is_the_same_bytes_each_time(kit):
    """What stands at a seq never changes."""
    await kit.new("c1")
    await said(kit, "count 50")
    first = (await kit.http.get(OUT, params={"until": "idle"})).content
    assert (await kit.http.get(OUT, params={"until": "idle"})).content == first


async def test_a_store_that_was_written_by_others_is_served(kit):
    """The log is the truth: records that another worker appended are read like one's own."""
    await kit.new("c1")
    store, key = kit.sessions.store, _key("c1")
    lease = await store.acquire_lease(key, owner="w", ttl=1, at=0)
    await store.append_out(lease, [NewRecord("chunk", codec.dumps({"type": "start", "messageId": "m"}))], at=0)
    async with kit.http.stream("GET", OUT) as response:
        assert (await Feed(response).next()).data == '{"type":"start","messageId":"m"}'


@pytest.mark.parametrize("body", [{"kind": "withdraw"}, {"kind": "edit", "message": user("x")}])
async def test_a_boolean_names_no_input(kit, body):
    """`inSeq` is a number; `true` is not the first of them."""
    await kit.new("c1")
    response = await kit.http.post(IN, json={**body, "inSeq": True})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid-input")


async def test_until_idle_does_not_wait_for_what_is_never_answered(kit):
    """A withdrawal that nobody has read yet keeps no reader."""
    await kit.new("c1")
    await kit.sessions.store.acquire_lease(_key("c1"), owner="another", ttl=1e12, at=0)
    await kit.http.post(IN, json={"kind": "withdraw", "inSeq": 7})
    assert names(await asyncio.wait_for(read(kit), 20)) == ["idle"]
