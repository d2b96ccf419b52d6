"""What only the way over HTTP has: breaks, retries, tokens, and a server's errors."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, Self

import httpx
import pytest

from chatrt.client import AgentChat, HTTPTransport
from chatrt.clock import SystemClock
from chatrt.errors import ForbiddenError, InvalidTokenError, ServerUnavailableError, UnauthorizedError
from chatrt.server import create_app
from chatrt.stores import MemoryStore
from chatrt.testing.playbook import playbook

KEY = "k" * 32


class Proxy:
    """A TCP proxy that can cut every connection through it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: list[asyncio.StreamWriter] = []
        self._relays: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.cut_after: int | None = None
        """Cut a connection once so many bytes of answers went through it."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._relays)

    def cut(self) -> None:
        """Break all connections, in the middle of whatever they carry."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += [writer, up_writer]
        for source, sink, counts in ((reader, up_writer, False), (up_reader, writer, True)):
            relay = asyncio.create_task(self._relay(source, sink, counts=counts))
            self._relays.add(relay)

    async def _relay(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, counts: bool) -> None:
        passed = 0
        with suppress(ConnectionError):
            while data := await source.read(64):
                passed += len(data)
                if counts and self.cut_after is not None and passed > self.cut_after:
                    self.cut()
                    return
                sink.write(data)
                await sink.drain()
        sink.close()


class Hurried(SystemClock):
    """A clock that notes how long somebody wanted to wait, and lets them go on at once."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self._ahead = 0.0

    def monotonic(self) -> float:
        return self._ahead

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self._ahead += seconds


@pytest.fixture
async def server(serve: Callable[..., Any]) -> AsyncIterator[Any]:
    """A served playbook; `.base_url` says where."""
    app = create_app(playbook, store=MemoryStore())
    client = await serve(app)
    client.app = app
    yield client
    await app.state.sessions.aclose(grace=0.0)


def scripted(*answers: httpx.Response | Exception) -> tuple[httpx.AsyncClient, list[httpx.Request]]:
    """A client whose server gives these answers in turn, the last one for ever."""
    requests: list[httpx.Request] = []
    remaining = itertools.chain(answers, itertools.repeat(answers[-1]))

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(httpx.Request(request.method, request.url, headers=request.headers))
        given = next(remaining)
        if isinstance(given, Exception):
            raise given
        return given

    return httpx.AsyncClient(transport=httpx.MockTransport(answer)), requests


def ack(seq: int = 1) -> httpx.Response:
    return httpx.Response(202, json={"seq": seq, "repeated": False})


def refusal(status: int, code: str, **headers: str) -> httpx.Response:
    return httpx.Response(status, json={"error": {"code": code, "message": "Why.", "id": "err_1"}}, headers=headers)


def sse(*events: str) -> httpx.Response:
    return httpx.Response(200, text="".join(f"{event}\n\n" for event in events))


MESSAGE = {"kind": "message", "message": {"id": "m", "role": "user", "parts": [{"type": "text", "text": "hi"}]}}


# --- breaks


async def test_a_cut_connection_loses_and_repeats_nothing(server):
    """When connections break in mid-answer the stream goes on after its cursor."""
    async with Proxy(server.base_url.port) as proxy, AgentChat("playbook", base_url=proxy.url) as chat:
        deltas: list[str] = []
        async for chunk in chat.send_message("count 40"):
            if chunk["type"] == "text-delta":
                deltas.append(chunk["delta"])
                if len(deltas) in (5, 15, 25):
                    proxy.cut()
        assert deltas == [f"w{number} " for number in range(40)]
        assert proxy.connections >= 4


async def test_cuts_at_any_byte(server):
    """Wherever in the bytes of a record the connection breaks, the answer is whole."""
    async with Proxy(server.base_url.port) as proxy:
        for limit in range(500, 1400, 180):
            async with AgentChat("playbook", base_url=proxy.url) as chat:
                stream = await chat.send_message("count 20")
                proxy.cut()
                proxy.cut_after = limit
                assert await stream.text() == "".join(f"w{number} " for number in range(20))
                proxy.cut_after = None


async def test_a_result_survives_a_cut(server):
    """`result()` is whole although the connection broke."""
    async with Proxy(server.base_url.port) as proxy, AgentChat("playbook", base_url=proxy.url) as chat:
        stream = await chat.send_message("count 20")
        reading = asyncio.create_task(stream.result())
        async with AgentChat("playbook", id=chat.id, base_url=str(server.base_url)) as watcher:
            follower = await watcher.reconnect()
            async for chunk in follower:
                if chunk.get("delta") == "w5 ":
                    proxy.cut()
        assert (await reading).text == "".join(f"w{number} " for number in range(20))


async def test_reading_starts_after_the_cursor():
    """A connection that follows a break asks for what comes after the last record it had."""
    http, requests = scripted(
        sse('id: 7\ndata: {"type":"start"}', 'id: 8\ndata: {"type":"finish"}'),
        sse('id: 8\ndata: {"type":"finish"}', 'id: 9\nevent: turn-complete\ndata: {"inSeq":1}'),
    )
    transport = HTTPTransport("http://server", http=http, clock=Hurried())
    seen = []
    async for batch in transport.read("c", after=6):
        seen += [(record.seq, record.kind) for record in batch]
        if seen[-1][1] == "turn-complete":
            break
    assert [request.headers["last-event-id"] for request in requests] == ["6", "8"]
    assert seen == [(7, "chunk"), (8, "chunk"), (9, "turn-complete")]


@pytest.mark.behaviour(69)
async def test_unknown_control_records_are_passed_over():
    """Named events that this client does not know are no chunks."""
    http, _ = scripted(sse('event: idle\nid: 1\ndata: {"cursor":1}', ": keep-alive", 'id: 2\ndata: {"type":"start"}'))
    transport = HTTPTransport("http://server", http=http, clock=Hurried())
    async for batch in transport.read("c", after=0):
        assert [(record.seq, record.kind) for record in batch] == [(2, "chunk")]
        break


async def test_unreachable_server_is_given_up():
    """A server that cannot be reached is tried for as long as was asked, and then it is an error."""
    http, requests = scripted(httpx.ConnectError("refused"))
    clock = Hurried()
    transport = HTTPTransport("http://server", http=http, timeout=20.0, clock=clock)
    with pytest.raises(ServerUnavailableError, match="refused"):
        await transport.append("c", MESSAGE, part_id="p1")
    assert len(requests) > 3
    assert 5 < clock.monotonic() <= 20


async def test_a_stream_that_never_comes_back_is_given_up():
    """A stream that ends again and again without a record is an error in the end."""
    http, _ = scripted(sse(": nothing"))
    transport = HTTPTransport("http://server", http=http, timeout=5.0, clock=Hurried())
    with pytest.raises(ServerUnavailableError):
        async for _batch in transport.read("c", after=0):
            pass


# --- appends


@pytest.mark.behaviour(219)
async def test_an_append_is_repeated_under_the_same_name():
    """An append whose answer was lost is sent again with the same idempotency key."""
    http, requests = scripted(httpx.ReadError("lost"), refusal(503, "store-unavailable"), ack(4))
    transport = HTTPTransport("http://server", http=http, clock=Hurried())
    assert await transport.append("c", MESSAGE, part_id="p1") == 4
    assert [request.headers["idempotency-key"] for request in requests] == ["p1"] * 3


async def test_a_stream_that_failed_to_send_sends_under_the_same_name():
    """Using a stream again after its append failed cannot double the input."""
    created = httpx.Response(201, json={})
    http, requests = scripted(created, refusal(400, "invalid-message"), refusal(400, "invalid-message"))
    chat = AgentChat("a", base_url="http://server", http=http)
    stream = chat.send_message("hi")
    for _ in range(2):
        with pytest.raises(Exception, match="Why"):
            await stream
    keys = [request.headers["idempotency-key"] for request in requests if request.url.path.endswith("/in")]
    assert len(keys) == 2
    assert len(set(keys)) == 1


async def test_the_wait_the_server_asks_for_is_kept():
    """`Retry-After` is the least that is waited."""
    http, _ = scripted(refusal(429, "too-many", **{"Retry-After": "7"}), ack())
    clock = Hurried()
    transport = HTTPTransport("http://server", http=http, clock=clock)
    await transport.append("c", MESSAGE, part_id="p1")
    assert clock.waits == [7.0]


@pytest.mark.behaviour(218)
async def test_a_refusal_is_not_repeated():
    """What the server refuses for good is raised at once."""
    http, requests = scripted(refusal(403, "forbidden"))
    transport = HTTPTransport("http://server", http=http)
    with pytest.raises(ForbiddenError):
        await transport.append("c", MESSAGE, part_id="p1")
    assert len(requests) == 1


# --- tokens


async def test_the_secret_key_is_sent(serve):
    """With the server's key everything is allowed; without it nothing is."""
    app = create_app(playbook, store=MemoryStore(), secret_key=KEY)
    url = str((await serve(app)).base_url)
    async with AgentChat("playbook", base_url=url, token=KEY) as chat:
        assert await chat.send_message("echo x").text() == "x"
    async with AgentChat("playbook", base_url=url) as chat:
        with pytest.raises(UnauthorizedError):
            await chat.send_message("echo x")


async def test_a_session_token_is_enough_for_its_chat(serve):
    """The token of one chat reads and writes that chat, once a server has created it."""
    app = create_app(playbook, store=MemoryStore(), secret_key=KEY)
    url = str((await serve(app)).base_url)
    async with AgentChat("playbook", id="c1", base_url=url, token=KEY) as owner:
        await owner.preload()
    token = app.state.authority.mint("c1").token
    async with AgentChat("playbook", id="c1", base_url=url, token=token) as chat:
        assert await chat.send_message("echo x").text() == "x"
        assert len(await chat.messages()) == 2


@pytest.mark.behaviour(219)
async def test_a_refused_token_is_asked_for_anew_once():
    """After a 401 the callable is asked again, once, and the new token is kept."""
    tokens = iter(["old", "new", "never"])

    async def give() -> str:
        return next(tokens)

    http, requests = scripted(refusal(401, "invalid-token"), ack(), ack())
    transport = HTTPTransport("http://server", http=http, token=give)
    await transport.append("c", MESSAGE, part_id="p1")
    await transport.append("c", MESSAGE, part_id="p2")
    assert [request.headers["authorization"] for request in requests] == ["Bearer old", "Bearer new", "Bearer new"]


async def test_a_token_that_stays_refused_is_an_error():
    """When the new token is refused too, that is the answer."""

    async def give() -> str:
        return "bad"

    http, requests = scripted(refusal(401, "invalid-token"))
    transport = HTTPTransport("http://server", http=http, token=give)
    with pytest.raises(InvalidTokenError):
        await transport.append("c", MESSAGE, part_id="p1")
    assert len(requests) == 2


async def test_a_fixed_token_is_not_asked_for_anew():
    """A token that is a text is sent once."""
    http, requests = scripted(refusal(401, "invalid-token"))
    transport = HTTPTransport("http://server", http=http, token="t")
    with pytest.raises(InvalidTokenError):
        await transport.load("c")
    assert len(requests) == 1


async def test_an_own_client_stays_open():
    """The HTTP client that was given is not closed with the chat."""
    http, _ = scripted(ack())
    async with AgentChat("a", base_url="http://server", http=http):
        pass
    assert not http.is_closed
