"""The export of a session over HTTP."""

from __future__ import annotations

import json
import tracemalloc

from chatrt.stores import SQLiteStore
from tests.server.kit import user

EXPORT = "/v1/sessions/c1/export"


async def test_a_session_is_exported(kit):
    """The body is lines of JSON that another server takes in, served as a file that no cache keeps."""
    await kit.new("c1")
    await kit.say("c1", "echo x")
    answer = await kit.http.get(EXPORT)
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-disposition"].startswith("attachment")
    lines = [json.loads(line) for line in answer.content.splitlines()]
    assert (lines[0]["format"], lines[1]["chatId"], lines[-1]["type"]) == ("chatrt.session", "c1", "end")
    copy = await kit.sessions.import_session([answer.content], chat_id="copy")
    assert (await copy.load()).messages == (await (await kit.sessions.get_session("c1")).load()).messages


async def test_an_export_is_for_the_secret_key(locked):
    """A session token exports nothing, not even its own chat."""
    await locked.new("c1")
    token = locked.app.state.authority.mint("c1").token
    answer = await locked.http.get(EXPORT, headers={"authorization": f"Bearer {token}"})
    assert answer.status_code == 403
    assert (await locked.http.get(EXPORT)).status_code == 200


async def test_an_unknown_chat_is_not_exported(kit):
    """What is wrong is told by a status, not by a broken stream."""
    answer = await kit.http.get(EXPORT)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "session-not-found")


async def test_a_session_of_an_agent_that_left_is_exported(kit):
    """Data can be taken out although nobody serves the agent any more."""
    key = (await kit.sessions.start_session("kit", "c1")).key
    gone = type(key)("", "gone")
    await kit.sessions.store.create_session(gone, agent="gone", metadata={}, client_data=None, at=0)
    assert (await kit.http.get("/v1/sessions/gone/export")).status_code == 200


async def test_a_large_session_is_not_held_in_memory(make_kit, tmp_path):
    """Of a session of 24 MiB a small part is in memory while it is exported."""
    kit = await make_kit(store=SQLiteStore(tmp_path / "chat.db"))
    await kit.new("c1")
    text = "x" * 1_000_000
    for number in range(24):
        await kit.put("c1", {"kind": "message", "message": user(f"x{number} {text}", f"m{number}")})
    await kit.http.get("/v1/sessions/c1/out", params={"until": "idle"}, timeout=50)
    tracemalloc.start()
    size = 0
    try:
        async with kit.http.stream("GET", EXPORT) as response:
            async for piece in response.aiter_raw():
                size += len(piece)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size > 24_000_000
    assert peak < size / 2
