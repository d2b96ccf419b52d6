"""The Trigger-compatible wire over HTTP: sessions, appends, and the long poll of the log."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import pytest

from chatrt.errors import PublicError
from chatrt.server.trigger_ids import chat_id_of, run_id, session_id
from chatrt.stores import MemoryStore
from tests.server.kit import Feed, Kit, user

SESSIONS = "/api/v1/sessions"
ITEM = {
    "id", "externalId", "type", "taskIdentifier", "tags", "metadata", "currentRunId", "closedAt", "closedReason",
    "expiresAt", "createdAt", "updatedAt",
}  # fmt: skip


def start_body(chat_id: str | None = "c1", **more: Any) -> dict[str, Any]:
    payload = {"messages": [], "trigger": "preload", "chatId": chat_id}
    body = {"type": "chat.agent", "taskIdentifier": "kit", "triggerConfig": {"basePayload": payload}, **more}
    return body if chat_id is None else {**body, "externalId": chat_id}


async def start(kit: Kit, chat_id: str | None = "c1", **more: Any) -> Any:
    return await kit.http.post(SESSIONS, json=start_body(chat_id, **more))


def realtime(chat_id: str) -> str:
    return f"/realtime/v1/sessions/{quote(chat_id, safe='')}"


def said(text: str, **more: Any) -> dict[str, Any]:
    return {"kind": "message", "payload": {"trigger": "submit-message", "message": user(text), "chatId": "c1", **more}}


async def put(kit: Kit, body: dict[str, Any], chat_id: str = "c1", **headers: str) -> Any:
    return await kit.http.post(f"{realtime(chat_id)}/in/append", json=body, headers=headers)


class Window:
    """An open long poll."""

    def __init__(self, response: Any) -> None:
        self.response = response
        self._feed = Feed(response)
        self._records: list[dict[str, Any]] = []

    async def record(self) -> dict[str, Any] | None:
        """Return the next record; None at the end."""
        while not self._records:
            event = await self._feed.next()
            if event.data == "[DONE]":
                assert await self._feed.rest() == []
                return None
            self._records += json.loads(event.data)["records"]
        return self._records.pop(0)

    async def turn(self) -> list[Any]:
        """Return the chunks up to the end of a turn, and what that says."""
        chunks: list[Any] = []
        while (record := await self.record()) is not None:
            if record["body"]:
                chunks.append(json.loads(record["body"])["data"])
            else:
                return [*chunks, {**dict(record["headers"]), "seq_num": record["seq_num"]}]
        return chunks

    async def rest(self) -> list[Any]:
        """Return what comes before the end: chunks, and headers as they are."""
        found: list[Any] = []
        while (record := await self.record()) is not None:
            found.append(json.loads(record["body"])["data"] if record["body"] else dict(record["headers"]))
        return found


@asynccontextmanager
async def window(kit: Kit, chat_id: str = "c1", **headers: str) -> AsyncIterator[Window]:
    async with kit.http.stream("GET", f"{realtime(chat_id)}/out", headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        yield Window(response)


async def answered(kit: Kit, text: str) -> None:
    """Say something and wait for the end of its turn."""
    seq = (await put(kit, said(text))).json()["seq"]
    async with window(kit) as out:
        while int((await out.turn())[-1]["session-in-event-id"]) < seq:
            pass


# --- sessions


async def test_a_session_is_started_once(kit):
    """The first call makes it, later ones find it; the same ids, and every key that clients insist on."""
    first, again = await start(kit, metadata={"plan": "pro"}, tags=["a"]), await start(kit)
    assert (first.status_code, again.status_code) == (201, 200)
    made, found = first.json(), again.json()
    assert made.keys() == ITEM | {"runId", "publicAccessToken", "isCached", "triggerConfig"}
    assert (made["isCached"], found["isCached"]) == (False, True)
    assert (made["id"], made["runId"]) == (found["id"], found["runId"])
    assert (made["externalId"], made["taskIdentifier"], made["type"]) == ("c1", "kit", "chat.agent")
    assert (found["metadata"], found["tags"]) == ({"plan": "pro"}, ["a"])
    assert made["triggerConfig"]["basePayload"]["trigger"] == "preload"
    assert (made["closedAt"], made["closedReason"], made["expiresAt"]) == (None, None, None)


async def test_starting_writes_nothing_that_a_reader_sees(kit):
    """However often; a preload that showed would end the first answer before it began."""
    await asyncio.gather(*(start(kit) for _ in range(5)))
    await put(kit, said("echo x"))
    async with window(kit) as out:
        turn = await out.turn()
    assert turn[0]["type"] == "start"
    assert turn[-1]["session-in-event-id"] == "2"


async def test_a_session_may_be_started_with_its_first_message(kit):
    """The same call delivers it, once; to a session that has begun it delivers nothing."""
    payload = {"trigger": "submit-message", "message": user("echo x"), "chatId": "c1"}
    for _ in range(2):
        await start(kit, triggerConfig={"basePayload": payload})
    async with window(kit) as out:
        assert (await out.turn())[-1]["session-in-event-id"] == "1"
    position = await (await kit.sessions.get_session("c1")).position()
    assert position.last_in_seq == 1


async def test_metadata_of_the_start_hold_for_inputs_that_bring_none(make_kit):
    """As client data do on the other wires."""
    seen: list[Any] = []

    def look(event: Any) -> None:
        seen.append(event.client_data)

    kit = await make_kit(agent={"on_turn_start": look})
    await start(kit, triggerConfig={"basePayload": {"trigger": "preload", "metadata": {"user": 1}}})
    await put(kit, said("echo x"))
    async with window(kit) as out:
        await out.turn()
    assert seen == [{"user": 1}]


async def test_a_session_without_an_id_gets_one(kit):
    """Both names of it lead to the same session."""
    made = (await start(kit, None)).json()
    found = [(await kit.http.get(f"{SESSIONS}/{made[key]}")).json() for key in ("id", "externalId")]
    assert [one["id"] for one in found] == [made["id"]] * 2


async def test_a_session_of_another_agent_is_a_conflict(kit):
    """A chat belongs to the agent it began with, and trying again is of no use."""
    await start(kit)
    refused = await start(kit, taskIdentifier="other")
    assert (refused.status_code, refused.json()["code"]) == (409, "agent-mismatch")
    assert refused.headers["x-should-retry"] == "false"


async def test_an_agent_that_is_not_there(kit):
    """No session is made for it."""
    assert (await start(kit, taskIdentifier="nobody")).json()["code"] == "agent-not-found"
    assert (await kit.http.get(f"{SESSIONS}/c1")).status_code == 404


@pytest.mark.parametrize("name", ["c1", "a/b:c %25", "дом 猫", "session", "x" * 256])
async def test_each_session_has_two_names(kit, name: str):
    """Its own id, and one that begins with `session_`; both in every path."""
    made = (await start(kit, name)).json()
    assert made["id"].startswith("session_")
    assert (await put(kit, {"kind": "stop"}, made["id"])).status_code == 200
    for key in (name, made["id"]):
        assert (await kit.http.get(f"{SESSIONS}/{quote(key, safe='')}")).json()["externalId"] == name


@pytest.mark.parametrize("name", ["session_", "session_!!!!", "session_YzE=", "session_YzF", "session__w"])
async def test_a_name_that_is_nobodys(kit, name: str):
    """Only the one spelling of an id means a session."""
    await start(kit, "c1")
    assert (await put(kit, {"kind": "stop"}, name)).status_code == 404


def test_ids_lead_back_to_the_chat():
    """Without a table, in every process."""
    for chat_id in ("c1", "session_x", "дом/猫"):
        assert chat_id_of(session_id(chat_id)) == chat_id
    assert run_id("c1") == run_id("c1") != run_id("c2")


async def test_sessions_are_listed_in_pages(kit):
    """Forwards and backwards, with cursors where there is more."""
    for name in ("a", "b", "c"):
        await start(kit, name)
    ask = kit.http.get
    first = (await ask(SESSIONS, params={"page[size]": "2"})).json()
    assert [row["externalId"] for row in first["data"]] == ["a", "b"]
    assert first["pagination"].keys() == {"next"}
    second = (await ask(SESSIONS, params={"page[size]": "2", "page[after]": first["pagination"]["next"]})).json()
    assert [row["externalId"] for row in second["data"]] == ["c"]
    assert second["pagination"].keys() == {"previous"}
    back = (await ask(SESSIONS, params={"page[size]": "2", "page[before]": second["pagination"]["previous"]})).json()
    assert [row["externalId"] for row in back["data"]] == ["a", "b"]
    assert back["pagination"].keys() == {"next"}
    last = (await ask(SESSIONS, params={"page[size]": "1", "page[before]": session_id("c")})).json()
    assert [row["externalId"] for row in last["data"]] == ["b"]
    assert last["pagination"].keys() == {"next", "previous"}


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, ["a", "b", "c"]),
        ({"filter[tags]": "x,z"}, ["a", "b"]),
        ({"filter[type]": "other"}, ["c"]),
        ({"filter[status]": "CLOSED"}, ["b"]),
        ({"filter[status]": "ACTIVE,CLOSED"}, ["a", "b", "c"]),
        ({"filter[status]": "EXPIRED"}, []),
        ({"filter[taskIdentifier]": "other"}, []),
        ({"filter[taskIdentifier]": "kit,other"}, ["a", "b", "c"]),
        ({"filter[externalId]": "c"}, ["c"]),
        ({"filter[createdAt][period]": "1d"}, ["a", "b", "c"]),
        ({"filter[createdAt][from]": "4102444800000"}, []),
        ({"filter[createdAt][to]": "1000"}, []),
    ],
    ids=str,
)
async def test_a_list_is_narrowed(kit, filters: dict[str, str], found: list[str]):
    """By what these clients filter by."""
    await start(kit, "a", tags=["x"])
    await start(kit, "b", tags=["x", "y"])
    await start(kit, "c", type="other")
    await kit.http.post(f"{SESSIONS}/b/close")
    listed = (await kit.http.get(SESSIONS, params=filters)).json()["data"]
    assert [row["externalId"] for row in listed] == found


@pytest.mark.parametrize(
    "query",
    [
        {"page[size]": "0"},
        {"page[size]": "101"},
        {"page[after]": "session_!"},
        {"page[after]": "a", "page[before]": "b"},
        {"filter[status]": "open"},
        {"filter[createdAt][from]": "yesterday"},
        {"filter[createdAt][period]": "week"},
    ],
    ids=str,
)
async def test_a_query_that_is_none(kit, query: dict[str, str]):
    """What cannot be read is refused, not ignored."""
    refused = await kit.http.get(SESSIONS, params=query)
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid-input")


async def test_type_and_tags_do_not_show_in_the_metadata(kit):
    """They are kept there, and told apart."""
    made = (await start(kit, type="other", tags=["x"], metadata={"$trigger": "mine", "plan": "pro"})).json()
    assert (made["type"], made["tags"], made["metadata"]) == ("other", ["x"], {"plan": "pro"})
    native = (await kit.http.get("/v1/sessions/c1")).json()["metadata"]
    assert native == {"plan": "pro", "$trigger": {"type": "other", "tags": ["x"]}}


@pytest.mark.parametrize(
    ("change", "metadata", "tags"),
    [
        ({}, {"plan": "pro", "of": {"a": 1, "b": 2}}, ["x"]),
        ({"metadata": {"of": {"b": 3}}}, {"of": {"b": 3}}, ["x"]),
        ({"metadata": {"of": [1]}}, {"of": [1]}, ["x"]),
        ({"metadata": {"plan": None}}, {}, ["x"]),
        ({"metadata": {"$trigger": 1}}, {}, ["x"]),
        ({"metadata": None, "externalId": "c1"}, {}, ["x"]),
        ({"tags": ["y", "z"]}, {"plan": "pro", "of": {"a": 1, "b": 2}}, ["y", "z"]),
        ({"tags": []}, {"plan": "pro", "of": {"a": 1, "b": 2}}, []),
    ],
    ids=str,
)
async def test_a_session_is_changed(kit, change, metadata: dict[str, Any], tags: list[str]):
    """All of its metadata, or its tags; its type stays, and all wires see it."""
    await start(kit, type="other", tags=["x"], metadata={"plan": "pro", "of": {"a": 1, "b": 2}})
    changed = (await kit.http.patch(f"{SESSIONS}/c1", json=change)).json()
    assert (changed["metadata"], changed["tags"], changed["type"]) == (metadata, tags, "other")
    native = (await kit.http.get("/v1/sessions/c1")).json()["metadata"]
    assert {key: value for key, value in native.items() if key != "$trigger"} == metadata


@pytest.mark.parametrize("change", [{"metadata": 7}, {"tags": "x"}, {"externalId": "c2"}, {"externalId": None}, []])
async def test_a_change_that_is_none(kit, change: Any):
    """Nothing is changed then."""
    before = (await start(kit, metadata={"plan": "pro"})).json()
    assert (await kit.http.patch(f"{SESSIONS}/c1", json=change)).status_code == 400
    assert (await kit.http.get(f"{SESSIONS}/c1")).json()["metadata"] == before["metadata"]


# --- closing


async def test_a_closed_session_says_so(kit):
    """The first reason stays; appends and starts are refused with it."""
    await start(kit)
    closed = await kit.http.post(f"{SESSIONS}/c1/close", json={"reason": "solved"})
    again = await kit.http.post(f"{SESSIONS}/c1/close", json={})
    assert closed.json() == again.json()
    assert (closed.json()["closedReason"], closed.json()["currentRunId"]) == ("solved", None)
    assert closed.json()["closedAt"] == closed.json()["updatedAt"]
    for refused in (await put(kit, said("x")), await start(kit)):
        assert refused.status_code == 409
        body = refused.json()
        assert (body["ok"], body["code"], body["closedReason"]) == (False, "session_closed", "solved")
        assert refused.headers["x-should-retry"] == "false"


async def test_a_repeat_of_what_was_appended_is_answered_after_the_close(kit):
    """The client that lost the answer learns that it counted."""
    await start(kit)
    seq = (await put(kit, said("echo x"), **{"x-part-id": "p1"})).json()["seq"]
    await kit.http.post(f"{SESSIONS}/c1/close")
    repeated = await put(kit, said("echo x"), **{"x-part-id": "p1"})
    assert (repeated.status_code, repeated.json()) == (200, {"ok": True, "seq": seq})


async def test_readers_are_told_that_the_session_is_closed(kit):
    """Those that are there and those that come later, behind what was answered; then the stream ends."""
    await start(kit)
    await answered(kit, "echo x")
    async with window(kit) as out:
        assert (await out.turn())[-1]["session-in-event-id"] == "2"
        await kit.http.post(f"{SESSIONS}/c1/close", json={"reason": "done"})
        closed = {"trigger-control": "session-closed", "session-closed-reason": "done"}
        assert await out.rest() == [closed]
    async with window(kit) as out:
        assert out.response.headers["x-session-settled"] == "true"
        assert (await out.rest())[-1] == closed


async def test_closing_stops_what_runs(kit):
    """The turn ends as stopped, and the partial answer stays."""
    await start(kit)
    await put(kit, said("hold gate"))
    async with window(kit) as out:
        while "before " not in str(await out.record()):
            pass
        await kit.http.post(f"{SESSIONS}/c1/close", json={"reason": "enough"})
        rest = await out.rest()
    assert {"type": "abort", "reason": "enough"} in rest
    assert rest[-1]["trigger-control"] == "session-closed"


async def test_the_close_trigger_leaves_the_session_open(kit):
    """The run ends, nothing is written, and the next message is answered."""
    await start(kit)
    await answered(kit, "echo x")
    closed = await put(kit, {"kind": "message", "payload": {"chatId": "c1", "trigger": "close"}})
    assert closed.json() == {"ok": True, "seq": 3}
    while kit.sessions.active_runs:
        await asyncio.sleep(0)
    await put(kit, said("how many"))
    async with window(kit) as out:
        await out.turn()
        assert (await out.turn())[-1]["session-in-event-id"] == "4"


# --- appends


async def test_an_append_is_acknowledged_with_its_seq(kit):
    """A number, which later ends of turns are compared with."""
    await start(kit)
    answers = [await put(kit, said("echo x")), await put(kit, {"kind": "stop"})]
    assert [answer.json() for answer in answers] == [{"ok": True, "seq": 2}, {"ok": True, "seq": 3}]


async def test_an_append_counts_once(kit):
    """Also when it comes twice at the same time; without a name each counts."""
    await start(kit)
    body = {"kind": "message", "payload": {"trigger": "regenerate-message"}}
    same = await asyncio.gather(*(put(kit, body, **{"x-part-id": "p1"}) for _ in range(5)))
    more = [await put(kit, body) for _ in range(2)]
    assert [answer.json()["seq"] for answer in [*same, *more]] == [2, 2, 2, 2, 2, 3, 4]


async def test_an_append_to_nobody(kit):
    """A session that is not there is a 404, which makes clients start it."""
    refused = await put(kit, said("x"), "nobody")
    assert (refused.status_code, refused.json()["code"]) == (404, "session-not-found")


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        ({"kind": "shout"}, {}, 400),
        (said("x", trigger="submit"), {}, 400),
        ({"kind": "message", "payload": {"message": {"role": "system", "parts": []}}}, {}, 403),
        ({"kind": "stop"}, {"x-part-id": "two words"}, 400),
        ({"kind": "stop"}, {"x-part-id": "x" * 65}, 400),
        ({"kind": "stop"}, {"content-type": "text/plain"}, 415),
        (said("x" * 2**20), {}, 413),
    ],
    ids=["kind", "trigger", "role", "part id", "long part id", "type", "size"],
)
async def test_a_refusal_is_told_in_the_form_of_this_wire(kit, body, headers, status: int):
    """`error` is a text, `code` stands at the top, and whether to try again is said."""
    await start(kit)
    refused = await put(kit, body, **headers)
    assert refused.status_code == status
    assert refused.json().keys() == {"ok", "error", "code", "id"}
    assert refused.json()["ok"] is False
    assert refused.headers["x-should-retry"] == "false"


async def test_a_busy_session_may_be_tried_again(make_kit):
    """An agent that refuses messages while it answers says so with a conflict that passes."""
    kit = await make_kit(agent={"when_busy": "reject"})
    await start(kit)
    await put(kit, said("hold gate"))
    refused = await put(kit, said("me too"))
    assert (refused.status_code, refused.json()["code"]) == (409, "session-busy")
    assert refused.headers["x-should-retry"] == "true"


async def test_the_text_of_exceptions_stays_on_the_server(make_kit):
    """What breaks an endpoint is masked as everywhere (D11), and told to developers who ask for it."""
    for debug in (False, True):
        kit = await make_kit(debug=debug, store=BrokenStore())
        await kit.new("c1")
        refused = await put(kit, said("x"))
        assert (refused.status_code, refused.json()["code"]) == (500, "internal-error")
        assert ("secret" in refused.text) is debug


class BrokenStore(MemoryStore):
    """Takes no inputs."""

    async def append_in(self, *args: Any, **options: Any) -> Any:
        raise RuntimeError("secret")


# --- the long poll


async def test_the_stream_is_one_that_clients_can_read(kit):
    """The header that makes them read batches, and no cache or proxy in between."""
    await start(kit)
    async with window(kit) as out:
        headers = out.response.headers
    assert headers["x-stream-version"] == "v2"
    assert "x-session-settled" not in headers
    assert headers["content-type"].startswith("text/event-stream")
    assert headers["cache-control"] == "no-cache, no-transform"


async def test_a_turn_is_a_series_of_records(kit):
    """Chunks, and one end with the cursor of what was consumed."""
    await start(kit)
    await put(kit, said("count 2"))
    async with window(kit) as out:
        turn = await out.turn()
    types = ["start", "start-step", "text-start", "text-delta", "text-delta", "text-end", "finish-step", "finish"]
    assert [chunk["type"] for chunk in turn[:-1]] == types
    assert turn[-1]["trigger-control"] == "turn-complete"


async def test_a_reader_goes_on_behind_its_cursor(kit):
    """Exclusively, with nothing left out or twice."""
    await start(kit)
    await put(kit, said("count 5"))
    async with window(kit) as out:
        seqs = []
        while (record := await out.record()) is not None and record["body"]:
            seqs.append(record["seq_num"])
    for cursor in seqs:
        async with window(kit, **{"last-event-id": str(cursor)}) as out:
            assert (await out.record())["seq_num"] == cursor + 1


async def test_the_end_is_there_after_a_failure(kit):
    """An error chunk, then the end; the next turn begins behind it."""
    await start(kit)
    await put(kit, said("fail"))
    await put(kit, said("echo x"))
    async with window(kit) as out:
        failed, next_turn = await out.turn(), await out.turn()
    assert [chunk.get("type") for chunk in failed] == ["error", None]
    assert "boom" not in str(failed)
    assert [turn[-1]["session-in-event-id"] for turn in (failed, next_turn)] == ["2", "3"]


async def test_a_public_error_may_be_read(kit):
    """What an application wrote for people reaches them."""
    await start(kit)
    await put(kit, said("public"))
    async with window(kit) as out:
        assert (await out.turn())[0]["errorText"] == str(PublicError("the kitchen is closed").message)


async def test_an_action_ends_once(kit):
    """With nothing but its end, or with an error before it."""
    await start(kit)
    for action in ({"type": "undo"}, {"type": "explode"}):
        await put(kit, {"kind": "message", "payload": {"trigger": "action", "action": action}})
    async with window(kit) as out:
        ends = [await out.turn(), await out.turn()]
    assert [[chunk.get("type") for chunk in turn] for turn in ends] == [[None], ["error", None]]
    assert [turn[-1]["session-in-event-id"] for turn in ends] == ["2", "3"]


async def test_stops_make_one_end(kit):
    """However many; one that finds nothing running makes none."""
    await start(kit)
    await put(kit, {"kind": "stop"})
    await put(kit, said("hold gate"))
    async with window(kit) as out:
        while "before " not in str(await out.record()):
            pass
        await put(kit, {"kind": "stop", "message": "enough"})
        await put(kit, {"kind": "stop"})
        stopped = await out.turn()
        await put(kit, {"kind": "stop"})
        await put(kit, said("echo x"))
        following = await out.turn()
    assert {"type": "abort", "reason": "enough"} in stopped
    assert 3 <= int(stopped[-1]["session-in-event-id"]) <= 5
    assert following[0]["type"] == "start"
    assert following[-1]["session-in-event-id"] == "7"


async def test_a_queued_message_is_not_settled_by_the_turn_before_it(kit):
    """Whoever waits for it goes on waiting."""
    await start(kit)
    await put(kit, said("hold gate"))
    await put(kit, said("echo x"))
    kit.gates["gate"].set()
    async with window(kit) as out:
        assert [(await out.turn())[-1]["session-in-event-id"] for _ in range(2)] == ["2", "3"]


async def test_a_write_from_elsewhere_shifts_no_answer(kit):
    """Data that a server wrote while nothing ran is shown, and ends no answer."""
    await start(kit)
    await answered(kit, "echo x")
    await kit.put("c1", {"kind": "write", "chunks": [{"type": "data-job", "id": "j", "data": 1}]})
    await put(kit, said("echo y"))
    async with window(kit) as out:
        await out.turn()
        turn = await out.turn()
    assert turn[0] == {"type": "data-job", "id": "j", "data": 1, "transient": True}
    assert (turn[1]["type"], turn[-1]["session-in-event-id"]) == ("start", "4")


async def test_a_quiet_window_ends(kit):
    """After the time that was asked for, with a mark and a complete body."""
    await start(kit)
    async with window(kit, **{"timeout-seconds": "1"}) as out:
        assert await out.record() is None


async def test_a_cursor_beyond_the_end_begins_anew(kit):
    """A chat that was deleted and made again is read from its beginning."""
    await start(kit)
    await answered(kit, "echo x")
    async with window(kit, **{"last-event-id": "4711"}) as out:
        assert (await out.turn())[0]["type"] == "start"


async def test_a_reader_names_the_version_it_reads(kit):
    """Without, chunks are left out that older clients would not know."""
    await start(kit)
    await answered(kit, "new-chunks")
    seen = []
    for headers in ({}, {"x-chatrt-ai-sdk": "7"}):
        async with window(kit, **headers) as out:
            seen.append({chunk.get("type") for chunk in await out.turn()})
    assert seen[1] - seen[0] == {"custom"}


async def test_a_reader_that_leaves_stops_nothing(kit):
    """A dropped connection is no stop (D16)."""
    await start(kit)
    await put(kit, said("hold gate"))
    async with window(kit) as out:
        while "before " not in str(await out.record()):
            pass
    kit.gates["gate"].set()
    async with window(kit) as out:
        assert {"type": "text-delta", "id": "t", "delta": "after"} in await out.turn()


# --- settled


async def test_a_settled_chat_ends_at_once(kit):
    """What lies behind the cursor, and the end."""
    await start(kit)
    await answered(kit, "echo x")
    async with window(kit, **{"x-peek-settled": "1"}) as out:
        assert out.response.headers["x-session-settled"] == "true"
        assert (await out.rest())[-1]["trigger-control"] == "turn-complete"


async def test_a_chat_that_is_answering_is_not_settled(kit):
    """Neither while a turn runs nor while one waits, although the log ends with the end of a turn."""
    await start(kit)
    await answered(kit, "echo x")
    await put(kit, said("hold gate"))
    async with window(kit, **{"x-peek-settled": "1"}) as out:
        assert "x-session-settled" not in out.response.headers
        await out.turn()
        kit.gates["gate"].set()
        assert {"type": "text-delta", "id": "t", "delta": "after"} in await out.turn()


async def test_a_stop_that_did_nothing_keeps_a_chat_settled(kit):
    """It makes no record, so nobody is to wait for one."""
    await start(kit)
    await answered(kit, "echo x")
    await put(kit, {"kind": "stop"})
    async with window(kit, **{"x-peek-settled": "1"}) as out:
        assert out.response.headers["x-session-settled"] == "true"


async def test_without_the_question_a_settled_chat_is_waited_for(kit):
    """A watching reader stays."""
    await start(kit)
    await answered(kit, "echo x")
    async with window(kit) as out:
        assert "x-session-settled" not in out.response.headers
        await out.turn()
        await put(kit, said("echo y"))
        assert (await out.turn())[-1]["session-in-event-id"] == "3"


# --- the rest of what is in a session


async def test_the_transcript_comes_in_pages(kit):
    """The newest last, earlier ones by the id of the first; an unknown id has nothing before it."""
    await start(kit)
    for word in ("a", "b"):
        await answered(kit, f"echo {word}")
    get = kit.http.get
    page = (await get(f"{SESSIONS}/c1/transcript", params={"limit": "3"})).json()
    assert [message["role"] for message in page["messages"]] == ["assistant", "user", "assistant"]
    older = (await get(f"{SESSIONS}/c1/transcript", params={"limit": "3", "before": page["nextCursor"]})).json()
    assert [message["id"] for message in older["messages"]] == ["u-echo a"]
    assert "nextCursor" not in older
    nothing = (await get(f"{SESSIONS}/c1/transcript", params={"before": "nobody"})).json()
    assert nothing["messages"] == []
    assert page["cursors"]["lastInEventId"] == "3"
    async with window(kit, **{"last-event-id": page["cursors"]["lastOutEventId"], "timeout-seconds": "1"}) as out:
        assert await out.record() is None


@pytest.mark.parametrize("limit", ["x", "1.5", "٣"])
async def test_a_limit_is_a_number(kit, limit: str):
    """Anything else is refused."""
    await start(kit)
    assert (await kit.http.get(f"{SESSIONS}/c1/transcript", params={"limit": limit})).status_code == 400


async def test_a_snapshot_has_an_address(kit):
    """Which needs nothing else, and has the messages with their cursor."""
    await start(kit)
    await answered(kit, "echo x")
    url = (await kit.http.get(f"{SESSIONS}/c1/snapshot-url")).json()["presignedUrl"]
    snapshot = (await kit.http.get(url)).json()
    assert (snapshot["version"], len(snapshot["messages"])) == (1, 2)
    assert snapshot["lastOutEventId"] == str((await kit.sessions.get_session("c1")).outbox.last_seq)


async def test_the_log_is_read_without_waiting(kit):
    """All records behind a cursor, decoded."""
    await start(kit)
    await answered(kit, "echo x")
    records = (await kit.http.get(f"{realtime('c1')}/out/records")).json()["records"]
    assert (records[0]["data"]["type"], records[-1]["headers"][0]) == ("start", ["trigger-control", "turn-complete"])
    after = records[-1]["id"]
    rest = await kit.http.get(f"{realtime('c1')}/out/records", params={"afterEventId": after})
    assert rest.json() == {"records": []}


# --- pages of other origins


async def test_a_page_may_ask_and_read(make_kit):
    """The headers that the clients send are allowed, those that they read are exposed, on refusals as well."""
    kit = await make_kit(cors_origins=["https://shop.example"])
    await start(kit)
    sent = "authorization,content-type,x-part-id,x-trigger-source,last-event-id,timeout-seconds,x-peek-settled"
    asked = {
        "origin": "https://shop.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": sent,
    }
    allowed = await kit.http.options(f"{realtime('a/b')}/in/append", headers=asked)
    assert allowed.status_code == 200
    for method in ("GET", "POST", "PATCH"):
        assert method in allowed.headers["access-control-allow-methods"]
    refused = await put(kit, said("x"), "nobody", origin="https://shop.example")
    assert refused.status_code == 404
    assert refused.headers["access-control-allow-origin"] == "https://shop.example"
    exposed = refused.headers["access-control-expose-headers"].lower()
    assert "x-stream-version" in exposed
    assert "x-session-settled" in exposed
