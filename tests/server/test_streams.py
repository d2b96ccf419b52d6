"""Streams: kept alive while quiet, let go promptly, ended at a record boundary."""

from __future__ import annotations

import asyncio
import socket

import httpx
import pytest
from sse_starlette.sse import AppStatus

from chatrt import codec
from chatrt.clock import ManualClock
from chatrt.errors import StoreUnavailableError, UnreadableRecordError
from chatrt.server import Limits
from chatrt.server.streams import OpenStreams
from chatrt.stores import MemoryStore, NewRecord, SessionKey
from tests.server.kit import Feed, Kit, user

OUT = "/v1/sessions/c1/out"
HOLD = {"id": "c1", "messages": [user("hold g")]}


async def readers(kit: Kit, count: int) -> None:
    session = await kit.sessions.get_session("c1")
    while session.outbox.readers != count:
        await asyncio.sleep(0)


async def test_a_quiet_stream_is_kept_alive_by_comments(make_kit):
    """A comment goes out at every heartbeat, the same bytes each time, and no reader takes it for an event."""
    kit = await make_kit(heartbeat=0.01)
    await kit.new("c1")
    async with kit.http.stream("GET", OUT) as response:
        data = b""
        async for piece in response.aiter_raw():
            data += piece
            if len(data) > 40:
                break
    assert data == b": keep-alive\n\n" * (len(data) // 14)


async def test_a_waiting_request_is_kept_alive_too(make_kit):
    """So is one whose turn is queued behind another."""
    kit = await make_kit(heartbeat=0.01)
    async with kit.http.stream("POST", "/api/chat/kit", json=HOLD) as first:
        await Feed(first).until("before")
        async with kit.http.stream("POST", "/api/chat/kit", json={"id": "c1", "messages": [user("echo x")]}) as second:
            assert (await anext(second.aiter_raw())).startswith(b": keep-alive")


async def test_a_reader_that_leaves_is_let_go(kit):
    """Its place is free at once, on either wire."""
    await kit.new("c1")
    async with kit.http.stream("GET", OUT), kit.http.stream("POST", "/api/chat/kit", json=HOLD) as response:
        await Feed(response).until("before")
        await readers(kit, 2)
    await readers(kit, 0)


async def test_a_reader_that_leaves_before_the_first_byte_is_let_go(kit, serve):
    """A connection that is dropped right after its request leaves nothing behind."""
    await kit.new("c1")
    session = await kit.sessions.get_session("c1")
    attached: list[int] = []
    ended = asyncio.Event()

    async def watched(scope, receive, send):
        await kit.app(scope, receive, send)
        if scope["type"] == "http":
            attached.append(session.outbox.readers)
            ended.set()

    http = await serve(watched)
    for _ in range(5):
        ended.clear()
        _, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
        writer.write(b"GET /v1/sessions/c1/out HTTP/1.1\r\nhost: localhost\r\n\r\n")
        await writer.drain()
        writer.close()
        await ended.wait()
    assert attached == [0] * 5


async def test_a_head_request_opens_no_stream(kit):
    """HEAD gets the headers of GET and ends."""
    await kit.new("c1")
    response = await kit.http.head(OUT)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert (await kit.sessions.get_session("c1")).outbox.readers == 0


# --- the end of a stream


async def test_a_stream_has_a_longest_life(make_kit):
    """After it the body ends in good order, at a record boundary; the reader goes on with its cursor."""
    clock = ManualClock()
    kit = await make_kit(clock=clock, limits=Limits(stream_seconds=1800))
    await kit.new("c1")
    async with kit.http.stream("GET", OUT) as response:
        feed = Feed(response)
        await kit.put("c1", {"kind": "message", "message": user("hold g")})
        last = (await feed.until("before"))[-1]
        clock.advance(1799)
        assert (await kit.sessions.get_session("c1")).outbox.readers == 1
        clock.advance(1)
        assert await feed.rest() == []
    async with kit.http.stream("GET", OUT, headers={"last-event-id": last.id}) as response:
        feed = Feed(response)
        kit.gates["g"].set()
        assert int((await feed.next()).id) == int(last.id) + 1


async def test_a_stream_ends_with_its_token(locked):
    """Rights are for the whole life of a stream: it ends when the token does."""
    await locked.new("c1")
    minted = locked.app.state.authority.mint("c1", ttl=60)
    headers = {"authorization": f"Bearer {minted.token}"}
    async with locked.http.stream("GET", OUT, headers=headers) as response:
        feed = Feed(response)
        await readers(locked, 1)
        locked.clock.advance(65)
        assert await feed.rest() == []
    assert (await locked.http.get(OUT, headers=headers)).status_code == 401


async def test_an_ai_sdk_stream_that_is_cut_does_not_look_finished(make_kit):
    """A stock client takes a complete body for a complete answer, so the connection is broken instead."""
    clock = ManualClock()
    kit = await make_kit(clock=clock, limits=Limits(stream_seconds=60))
    async with kit.http.stream("POST", "/api/chat/kit", json=HOLD) as response:
        feed = Feed(response)
        await feed.until("before")
        clock.advance(60)
        with pytest.raises(httpx.RemoteProtocolError):
            await feed.rest()


async def test_a_log_that_fails_breaks_the_stream(make_kit, caplog):
    """The status is sent already; a broken body is what a reader resumes from. The log knows why."""

    class FailingStore(MemoryStore):
        async def read_out(self, key, *, after, limit=1000):
            if limit > 1 and after >= 1:
                raise UnreadableRecordError("the log", "it is damaged")
            return await super().read_out(key, after=after, limit=1)

    store = FailingStore()
    kit = await make_kit(store=store)
    await kit.new("c1")
    lease = await store.acquire_lease(SessionKey("", "c1"), owner="w", ttl=1, at=0)
    await store.append_out(lease, [NewRecord("chunk", codec.dumps({"type": "start"}))] * 3, at=0)
    async with kit.http.stream("GET", OUT) as response:
        feed = Feed(response)
        await feed.next()
        with pytest.raises(httpx.RemoteProtocolError):
            await feed.rest()
    assert "a stream broke off" in caplog.text


async def test_a_log_that_is_away_is_waited_for(make_kit):
    """A store that cannot be reached for a while ends no stream: the reader stays and gets what comes then."""

    class AwayStore(MemoryStore):
        away = 2

        async def read_out(self, key, *, after, limit=1000):
            if limit > 1 and after >= 1 and self.away:
                self.away -= 1
                raise StoreUnavailableError("gone")
            return await super().read_out(key, after=after, limit=1)

    store = AwayStore()
    kit = await make_kit(store=store)
    await kit.new("c1")
    lease = await store.acquire_lease(SessionKey("", "c1"), owner="w", ttl=1, at=0)
    await store.append_out(lease, [NewRecord("chunk", codec.dumps({"type": "start"}))] * 3, at=0)
    async with kit.http.stream("GET", OUT) as response:
        feed = Feed(response)
        assert [(await feed.next()).id for _ in range(3)] == ["1", "2", "3"]
    assert store.away == 0


async def test_a_reader_that_takes_nothing_is_cut_off(make_kit):
    """A stalled reader is let go after a while; the turn never notices."""
    kit = await make_kit(limits=Limits(send_seconds=0.1))
    await kit.new("c1")
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, (kit.http.base_url.host, kit.http.base_url.port))
    await loop.sock_sendall(sock, b"GET /v1/sessions/c1/out HTTP/1.1\r\nhost: localhost\r\n\r\n")
    await readers(kit, 1)
    store, key = kit.sessions.store, SessionKey("", "c1")
    lease = await store.acquire_lease(key, owner="w", ttl=100, at=0)
    outbox = (await kit.sessions.get_session("c1")).outbox
    record = NewRecord("chunk", codec.dumps({"type": "data-x", "data": "x" * 60_000}))
    while outbox.readers:  # until the buffers of the kernel are full, and then the deadline passes
        first = await store.append_out(lease, [record] * 10, at=0)
        outbox.publish(first, 0, [record] * 10)
        for _ in range(100):
            await asyncio.sleep(0)
    sock.close()
    assert outbox.last_seq > 0


class Stalled:
    """A connection that takes the headers and then only what a test lets through; a stream that writes to it."""

    def __init__(self, *frames: bytes) -> None:
        self.streams = OpenStreams(clock=ManualClock(), limits=Limits(), heartbeat=0.001)
        self.began: dict[str, float] = {}
        self.writes = {"data": asyncio.Event(), "heartbeat": asyncio.Event()}
        self.taken = asyncio.Event()
        self._frames = frames

    async def _source(self):
        for frame in self._frames:
            yield frame
        await asyncio.Event().wait()

    async def _receive(self):
        await asyncio.Event().wait()

    async def _send(self, message):
        if message["type"] == "http.response.start" or not message["body"]:
            return
        kind = "heartbeat" if message["body"].startswith(b":") else "data"
        self.began.setdefault(kind, asyncio.get_running_loop().time())
        self.writes[kind].set()
        await self.taken.wait()

    async def __aenter__(self):
        self.stream = self.streams.open(
            self._source(), headers={}, when_cut="close", expires_at=None, on_end=self.taken.set
        )
        scope = {"type": "http", "method": "GET", "asgi": {"spec_version": "2.4"}}
        self.response = asyncio.create_task(self.stream(scope, self._receive, self._send))
        return self

    async def __aexit__(self, *exception):
        self.stream.cut()
        await self.response


async def test_a_heartbeat_behind_a_stalled_write_gives_no_more_time():
    """The time of a stalled reader runs from the write it did not take, however many heartbeats wait behind it."""
    async with Stalled(b"data: x\n\n") as stalled:
        await stalled.writes["data"].wait()
        since = stalled.stream.sending_since
        await stalled.writes["heartbeat"].wait()
        assert stalled.stream.sending_since == since
        assert since is not None
        assert since <= stalled.began["data"] < stalled.began["heartbeat"]


async def test_a_heartbeat_that_is_not_taken_counts_too():
    """A reader that stalls while nothing is said has its time measured by the heartbeat; taking it ends that."""
    async with Stalled() as stalled:
        await stalled.writes["heartbeat"].wait()
        assert stalled.stream.sending_since is not None
        stalled.taken.set()
        while stalled.stream.sending_since is not None:
            await asyncio.sleep(0)


# --- the end of a server


async def test_drain_ends_every_stream_at_a_record_boundary(kit):
    """Readers of the log end in good order, stock clients are cut, and both can go on elsewhere."""
    await kit.new("c1")
    async with (
        kit.http.stream("GET", OUT) as native,
        kit.http.stream("POST", "/api/chat/kit", json=HOLD) as stock,
    ):
        log, answer = Feed(native), Feed(stock)
        await answer.until("before")
        await log.until("before")
        kit.app.state.drain()
        assert await log.rest() == []
        assert log.raw.endswith(b"\n\n")
        with pytest.raises(httpx.RemoteProtocolError):
            await answer.rest()


async def test_a_draining_server_takes_no_new_work(kit):
    """It is not ready, answers 503 to whatever would begin something, and still lets people read."""
    await kit.new("c1")
    assert (await kit.http.get("/readyz")).status_code == 200
    kit.app.state.drain()
    assert (await kit.http.get("/readyz")).json() == {"ok": False}
    assert (await kit.http.get("/healthz")).json() == {"ok": True}
    for path, body in (
        ("/api/chat/kit", HOLD),
        ("/v1/sessions", {"agent": "kit"}),
        ("/v1/sessions/c1/in", {"kind": "stop"}),
    ):
        response = await kit.http.post(path, json=body)
        assert (response.status_code, response.json()["error"]["code"]) == (503, "shutting-down")
        assert response.headers["retry-after"] == "1"
    assert (await kit.http.get("/v1/sessions/c1/messages")).status_code == 200


async def test_a_server_that_stops_ends_its_streams_by_itself(kit):
    """uvicorn waits for open connections; sse-starlette sees it stop, and every stream ends."""
    await kit.new("c1")
    async with kit.http.stream("GET", OUT) as response:
        feed = Feed(response)
        await readers(kit, 1)
        kit.http.server.should_exit = True
        assert await feed.rest() == []


async def test_a_server_that_stopped_earlier_in_this_process_stops_no_other(make_kit):
    """The flag that sse-starlette keeps for the process is taken back when an application starts."""
    AppStatus.should_exit = True
    kit = await make_kit()
    assert (await kit.say("c1", "echo x"))[-1] == "[DONE]"


async def test_what_people_write_is_in_no_log(kit, caplog):
    """Even when everything is logged, the content of streams is not."""
    with caplog.at_level("DEBUG"):
        await kit.say("c1", "echo very-private")
    assert not [
        record
        for record in caplog.records
        if record.name.startswith(("sse_starlette", "chatrt")) and "very-private" in record.getMessage()
    ]
