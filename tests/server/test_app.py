"""The application: started and stopped by its lifespan, or by its first request where nobody runs one."""

from __future__ import annotations

import asyncio

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from chatrt.errors import StoreLockedError, UsageError
from chatrt.server import create_app
from chatrt.stores import MemoryStore
from tests.server.kit import Gates, chunks, make_agent, text_of, user

ORIGIN = {"origin": "https://shop.example"}


class WatchedStore(MemoryStore):
    """Counts how often it is opened and closed."""

    opened = closed = 0

    async def open(self) -> None:
        self.opened += 1
        await super().open()

    async def close(self) -> None:
        self.closed += 1
        await super().close()


async def test_making_an_application_touches_nothing(tmp_path, monkeypatch):
    """No file is made and no store is opened before the application starts."""
    monkeypatch.chdir(tmp_path)
    create_app(make_agent(Gates()))
    assert list(tmp_path.iterdir()) == []


async def test_the_store_may_come_from_the_environment(tmp_path, monkeypatch, serve):
    """`CHATRT_STORE` names it where the program does not."""
    monkeypatch.setenv("CHATRT_STORE", f"sqlite:///{tmp_path}/from-env.db")
    http = await serve(create_app(make_agent(Gates())))
    assert (await http.post("/v1/sessions", json={"agent": "kit", "chatId": "c1"})).status_code == 201
    assert (tmp_path / "from-env.db").exists()


@pytest.mark.parametrize("written", ["soon", "0", "-1", "inf", "nan"])
def test_a_lease_lasts_some_seconds(monkeypatch, written):
    """What `CHATRT_LEASE_TTL` says must be a time."""
    monkeypatch.setenv("CHATRT_LEASE_TTL", written)
    with pytest.raises(UsageError, match="a lease lasts some seconds"):
        create_app(make_agent(Gates()), store="memory://")


async def test_the_lifespan_opens_and_closes_the_store(serve):
    """Once each."""
    store = WatchedStore()
    app = create_app(make_agent(Gates()), store=store)
    http = await serve(app)
    assert (store.opened, store.closed) == (1, 0)
    http.server.should_exit = True
    while not store.closed:
        await asyncio.sleep(0)
    assert (store.opened, store.closed) == (1, 1)


async def test_mounted_under_fastapi_it_starts_with_the_first_request(serve):
    """A mount runs no lifespan: the first requests, however many at once, start it exactly once."""
    store = WatchedStore()
    chat = create_app(make_agent(Gates()), store=store)
    outer = FastAPI()
    outer.mount("/chat", chat)
    http = await serve(outer)
    assert store.opened == 0
    bodies = [{"id": f"c{n}", "messages": [user("echo x")]} for n in range(5)]
    answers = await asyncio.gather(*(http.post("/chat/api/chat/kit", json=body) for body in bodies))
    assert [text_of(chunks(answer.content)) for answer in answers] == ["x"] * 5
    assert store.opened == 1
    await chat.state.aclose()
    assert store.closed == 1


async def test_odd_chat_ids_survive_a_mount(serve):
    """The prefix of a mount is no part of what is decoded."""
    chat = create_app(make_agent(Gates()), store="memory://")
    http = await serve(Starlette(routes=[Mount("/a b/chat", chat)]))
    made = await http.post("/a%20b/chat/v1/sessions", json={"agent": "kit", "chatId": "x/y %2F"})
    assert made.status_code == 201
    assert (await http.get("/a%20b/chat/v1/sessions/x%2Fy%20%252F")).json()["chatId"] == "x/y %2F"
    await chat.state.aclose()


async def test_the_session_manager_is_at_hand(kit):
    """What clients do over HTTP, the program around it sees."""
    await kit.say("c1", "echo x")
    assert [row.key.chat_id async for row in kit.sessions.iter_sessions()] == ["c1"]


async def test_a_store_that_is_in_use_stops_the_start():
    """A second server on the same file does not come up."""

    class LockedStore(MemoryStore):
        async def open(self) -> None:
            raise StoreLockedError("/x.db", "pid 1")

    app = create_app(make_agent(Gates()), store=LockedStore())
    with pytest.raises(StoreLockedError):
        async with app.router.lifespan_context(app):
            pytest.fail("it came up")


async def test_own_routes_come_before_others(serve):
    """More routes can be served beside, but not instead."""

    async def page(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("page")

    more = [Route("/", page), Route("/healthz", page)]
    http = await serve(create_app(make_agent(Gates()), store="memory://", routes=more))
    assert (await http.get("/")).text == "page"
    assert (await http.get("/healthz")).json() == {"ok": True}


@pytest.mark.parametrize(
    "options", [{"heartbeat": 0}, {"heartbeat": 16}, {"cors_origins": ["*"]}, {"store": "mysql://x"}], ids=str
)
def test_wrong_options_are_told_at_once(options):
    """A heartbeat is at most 15 s, and nobody opens a chat to every page of the web by accident."""
    with pytest.raises(UsageError):
        create_app(make_agent(Gates()), **options)


# --- CORS


@pytest.fixture
async def shop(make_kit):
    return await make_kit(cors_origins=["https://shop.example"])


async def test_a_named_origin_may_call(shop):
    """Preflight and answers allow it, with the headers that clients send."""
    preflight = await shop.http.options(
        "/v1/sessions/c1/in",
        headers={
            **ORIGIN,
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type,idempotency-key,last-event-id",
        },
    )
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "https://shop.example"
    assert "access-control-allow-credentials" not in preflight.headers


async def test_a_page_can_read_errors_and_streams(shop):
    """Also refusals, accidents and SSE carry the CORS headers; else a page sees a network error."""
    body = {"id": "c1", "messages": [user("echo x")]}
    for response in (
        await shop.http.get("/v1/sessions/none", headers=ORIGIN),
        await shop.http.get("/nothing", headers=ORIGIN),
        await shop.http.post("/api/chat/kit", content=b"x" * 2**21, headers=ORIGIN),
        await shop.http.post("/api/chat/kit", json=body, headers=ORIGIN),
    ):
        assert response.headers["access-control-allow-origin"] == "https://shop.example"


async def test_other_origins_may_not(shop):
    """Nothing is reflected."""
    for origin in ("https://evil.example", "null", "https://shop.example.evil"):
        response = await shop.http.get("/healthz", headers={"origin": origin})
        assert "access-control-allow-origin" not in response.headers
