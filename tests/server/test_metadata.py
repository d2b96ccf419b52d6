"""Metadata over HTTP: a merge patch, who may change what, and the list that a sidebar shows."""

from __future__ import annotations

import pytest

from chatrt.clock import ManualClock
from chatrt.stores.metadata import MAX_METADATA_BYTES
from tests.server.kit import Kit, user

C1 = "/v1/sessions/c1"


async def make(kit: Kit, chat_id: str = "c1", **metadata: object) -> None:
    body = {"agent": "kit", "chatId": chat_id, "metadata": metadata}
    (await kit.http.post("/v1/sessions", json=body)).raise_for_status()


async def patch(kit: Kit, metadata: object, token: str | None = None):
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    return await kit.http.patch(C1, json={"metadata": metadata}, headers=headers)


async def metadata_of(kit: Kit) -> dict:
    return (await kit.http.get(C1)).json()["metadata"]


async def test_metadata_are_patched(kit):
    """Objects are merged, null takes away, all else replaces; the answer is the session as it is then."""
    await make(kit, plan="pro", seen={"by": ["Ada"], "at": 1})
    answer = await patch(kit, {"title": "Hello", "seen": {"at": None}, "plan": ["x"]})
    assert answer.status_code == 200
    assert answer.json()["metadata"] == {"plan": ["x"], "seen": {"by": ["Ada"]}, "title": "Hello"}
    assert (await kit.http.get(C1)).json() == answer.json()


@pytest.mark.parametrize("body", [{}, {"metadata": None}, {"metadata": [1]}, {"metadata": "x"}, [], "x"])
async def test_a_patch_is_an_object(kit, body):
    """A body without an object of metadata is refused and changes nothing."""
    await make(kit, plan="pro")
    answer = await kit.http.patch(C1, json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid-input")
    assert await metadata_of(kit) == {"plan": "pro"}


async def test_a_patch_for_nobody(kit):
    """An unknown chat is not made by a patch."""
    answer = await patch(kit, {"title": "x"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "session-not-found")


async def test_metadata_are_limited(kit):
    """What would become too large is refused as a whole, at the creation too."""
    await make(kit, a="x" * (MAX_METADATA_BYTES // 2))
    large = {"b": "x" * (MAX_METADATA_BYTES // 2)}
    answer = await patch(kit, large)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too-large")
    assert (await metadata_of(kit)).keys() == {"a"}
    body = {"agent": "kit", "metadata": {"a": "x" * MAX_METADATA_BYTES}}
    assert (await kit.http.post("/v1/sessions", json=body)).status_code == 413


async def test_a_closed_chat_can_be_renamed(kit):
    """A closed session takes no inputs and still a title; it stays closed."""
    await make(kit)
    await kit.http.post(f"{C1}/close")
    answer = (await patch(kit, {"title": "Old"})).json()
    assert (answer["status"], answer["metadata"]) == ("closed", {"title": "Old"})


async def test_a_token_sets_the_title(locked):
    """A session token that may write renames its chat, and takes the title away again."""
    await make(locked, plan="pro")
    token = locked.app.state.authority.mint("c1").token
    assert (await patch(locked, {"title": "Mine"}, token)).json()["metadata"] == {"plan": "pro", "title": "Mine"}
    assert (await patch(locked, {"title": None}, token)).json()["metadata"] == {"plan": "pro"}


@pytest.mark.parametrize("change", [{"plan": "free"}, {"plan": None}, {"title": "x", "plan": "free"}, {"Title": "x"}])
async def test_a_token_sets_nothing_else(locked, change):
    """What else stands there may be the server's own, so a session token that names it changes nothing at all."""
    await make(locked, plan="pro")
    answer = await patch(locked, change, locked.app.state.authority.mint("c1").token)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")
    assert await metadata_of(locked) == {"plan": "pro"}


@pytest.mark.parametrize("title", ["", "x" * 257, "a\nb", 7, {"a": 1}, ["x"], True])
async def test_the_title_of_a_token_is_a_title(locked, title):
    """A token's title is 1 to 256 printable characters."""
    await make(locked)
    answer = await patch(locked, {"title": title}, locked.app.state.authority.mint("c1").token)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("/metadata/title: ")


async def test_a_token_that_reads_renames_nothing(locked):
    """Renaming is writing, and another chat is another chat."""
    await make(locked)
    mint = locked.app.state.authority.mint
    assert (await patch(locked, {"title": "x"}, mint("c1", scopes=["read"]).token)).status_code == 403
    assert (await patch(locked, {"title": "x"}, mint("c2").token)).status_code == 403


@pytest.mark.parametrize(("metadata", "status"), [({"title": "x"}, 201), ({"plan": "pro"}, 403), ({"title": ""}, 400)])
async def test_a_token_creates_its_session_with_a_title_at_most(locked, metadata, status):
    """What a token may not change it may not begin with either."""
    token = locked.app.state.authority.mint("c1", agent="kit").token
    body = {"agent": "kit", "chatId": "c1", "metadata": metadata}
    answer = await locked.http.post("/v1/sessions", json=body, headers={"authorization": f"Bearer {token}"})
    assert answer.status_code == status


async def test_pages_may_patch_from_elsewhere(make_kit):
    """A page of an allowed origin gets the leave to send PATCH."""
    kit = await make_kit(cors_origins=["https://example.com"])
    headers = {"origin": "https://example.com", "access-control-request-method": "PATCH"}
    answer = await kit.http.options(C1, headers=headers)
    assert "PATCH" in answer.headers["access-control-allow-methods"]


# --- the list


@pytest.fixture
async def dated(make_kit) -> Kit:
    """Three sessions, made a second apart."""
    kit = await make_kit(clock=ManualClock())
    for chat_id in ("a", "b", "c"):
        await make(kit, chat_id)
        kit.clock.advance(1)
    return kit


async def listed(kit: Kit, **query: str) -> tuple[list[str], str | None]:
    answer = (await kit.http.get("/v1/sessions", params={"order": "updated", **query})).raise_for_status().json()
    return [row["chatId"] for row in answer["sessions"]], answer.get("next")


async def test_the_last_updated_chat_comes_first(dated):
    """A chat that is spoken to or renamed moves to the front, with the time of it."""
    assert (await listed(dated))[0] == ["c", "b", "a"]
    await dated.put("a", {"kind": "message", "message": user("echo x")})
    assert (await listed(dated))[0] == ["a", "c", "b"]
    dated.clock.advance(5)
    await dated.http.patch("/v1/sessions/b", json={"metadata": {"title": "x"}})
    assert (await listed(dated))[0] == ["b", "a", "c"]
    row = (await dated.http.get("/v1/sessions/b")).json()
    assert row["createdAt"] < row["updatedAt"]


async def test_a_session_tells_of_its_last_update(dated):
    """`updatedAt` is read anew each time, also while this process holds the session."""
    before = (await dated.http.get("/v1/sessions/a")).json()["updatedAt"]
    session = await dated.sessions.get_session("a")
    await dated.put("a", {"kind": "message", "message": user("hold g")})
    assert (await dated.http.get("/v1/sessions/a")).json()["updatedAt"] > before
    assert session.is_served


async def test_pages_follow_one_another(dated):
    """`next` leads to the page behind, and the last page has none."""
    first, place = await listed(dated, limit="2")
    assert (first, place is None) == (["c", "b"], False)
    assert await listed(dated, limit="2", after=place) == (["a"], None)


async def test_pages_of_one_agent(dated):
    """The filters hold in this order too."""
    await dated.http.post("/v1/sessions", json={"agent": "other", "chatId": "d"})
    await dated.http.post("/v1/sessions/b/close")
    assert (await listed(dated, agent="other"))[0] == ["d"]
    assert (await listed(dated, agent="kit", status="open"))[0] == ["c", "a"]


@pytest.mark.parametrize("after", ["a", "!!", "W10", "x" * 5000, "eyJhIjoxfQ", "W251bGwsImEiXQ"])
async def test_a_place_that_is_none_is_refused(dated, after):
    """What `next` never was is an error, not the first page."""
    answer = await dated.http.get("/v1/sessions", params={"order": "updated", "after": after})
    assert answer.json()["error"]["code"] == "invalid-input"


async def test_an_order_that_is_none_is_refused(dated):
    """There are two orders."""
    answer = await dated.http.get("/v1/sessions", params={"order": "name"})
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, "order: neither chatId nor updated")
