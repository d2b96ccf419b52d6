"""Checks of a running server as its clients reach it: what a proxy on the way does to streams and headers."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from itertools import pairwise
from typing import Any

import httpx

from chatrt.cli.checkup.finding import Finding
from chatrt.codec import loads
from chatrt.sse import SSEDecoder

TICKS, EVERY = 6, 0.25
SLACK_SECONDS = 2.0
SKEW_SECONDS = 5.0
CURSOR = "41"
"""Sent as Last-Event-ID: it is looked for at the other end."""

BUFFERING = "nginx: proxy_buffering off; Cloudflare: no caching of this path; see docs/operations.md"


@dataclass(slots=True)
class Heard:
    """What came of a probe, and when: seconds since the request.

    Attributes:
        response: The head of the answer.
        events: Names of events with their times; `heartbeat` for comments.
        received: What the server says it got.
        ended: Whether the last event came.
        broke: What the connection said when it broke.
    """

    response: httpx.Response
    events: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    received: dict[str, Any] = field(default_factory=dict[str, Any])
    ended: bool = False
    broke: str = ""

    def times(self, name: str) -> list[float]:
        """Return when events of this name came."""
        return [at for at, event in self.events if event == name]


async def check_server(url: str, token: str | None, *, idle: float) -> AsyncIterator[Finding]:
    """Probe a server.

    Args:
        url: Its base URL, as clients have it.
        token: The secret key, if it has one.
        idle: For how many seconds a quiet stream is watched; 0 leaves that out.
    """
    headers = {"authorization": f"Bearer {token}"} if token else {}
    timeout = httpx.Timeout(10.0, read=max(30.0, idle + 10.0))
    async with httpx.AsyncClient(base_url=url.rstrip("/"), headers=headers, timeout=timeout) as http:
        try:
            health = await http.get("/healthz")
        except httpx.HTTPError as error:
            text = f"{url} does not answer: {type(error).__name__} {error}".rstrip()
            yield Finding("server", "problem", text, "is it running, and is the URL that of its clients?")
            return
        if health.status_code != 200 or not _is_ours(health):
            text = f"{url}/healthz answers {health.status_code}, and not as chatrt does"
            yield Finding("server", "problem", text, "give the URL where chatrt is mounted, without /v1")
            return
        yield Finding("server", "ok", f"{url} answers")
        for finding in _check_head(health, url):
            yield finding
        heard = await _probe(http, idle)
        for finding in _check_heard(heard, token, idle):
            yield finding


def _is_ours(health: httpx.Response) -> bool:
    try:
        return health.json() == {"ok": True}
    except ValueError:
        return False


def _check_head(health: httpx.Response, url: str) -> Iterator[Finding]:
    if health.http_version == "HTTP/1.0":
        text = "the answer comes as HTTP/1.0: streams have no frames there"
        yield Finding("http-version", "warning", text, "nginx: proxy_http_version 1.1")
    host = httpx.URL(url).host
    if url.startswith("http:") and host not in ("localhost", "127.0.0.1", "::1"):
        yield Finding("tls", "warning", "keys and chats cross the network in the clear", "serve it over https")
    date = health.headers.get("date")
    if date is not None:
        skew = abs(parsedate_to_datetime(date).timestamp() - time.time())
        if skew > SKEW_SECONDS:
            text = f"the server's clock differs from this one by {skew:.0f} s"
            yield Finding("clock", "warning", text, "session tokens depend on it: run an NTP client on both")


async def _probe(http: httpx.AsyncClient, idle: float) -> Heard:
    began = time.monotonic()
    asked = {"ticks": str(TICKS), "every": str(EVERY), "quiet": str(idle)}
    headers = {"last-event-id": CURSOR, "accept": "text/event-stream", "accept-encoding": "gzip, br"}
    async with http.stream("GET", "/v1/probe", params=asked, headers=headers) as response:
        heard = Heard(response)
        if response.status_code != 200:
            await response.aread()
            return heard
        decoder = SSEDecoder()
        try:
            async for data in response.aiter_bytes():
                at = time.monotonic() - began
                if data.startswith(b":"):
                    heard.events.append((at, "heartbeat"))
                for event in decoder.decode(data):
                    heard.events.append((at, event.event))
                    if event.event == "received":
                        heard.received = loads(event.data.encode())
                    heard.ended = heard.ended or event.event == "end"
        except httpx.HTTPError as error:
            heard.broke = f"{type(error).__name__} after {time.monotonic() - began:.0f} s"
    return heard


def _check_heard(heard: Heard, token: str | None, idle: float) -> Iterator[Finding]:
    if heard.response.status_code != 200:
        yield _refusal(heard.response, token)
        return
    yield from _check_buffering(heard)
    encoding = heard.response.headers.get("content-encoding")
    if encoding:
        text = f"something on the way compresses streams ({encoding}), and collects them for it"
        yield Finding("compression", "warning", text, "leave text/event-stream out of what is compressed")
    yield from _check_headers(heard, token)
    yield from _check_idle(heard, idle)


def _refusal(response: httpx.Response, token: str | None) -> Finding:
    try:
        code = response.json()["error"]["code"]
    except (ValueError, KeyError, TypeError):
        code = ""
    if code == "unauthorized" and token:
        text = "the key was sent and did not arrive: something takes the Authorization header away"
        return Finding("authorization", "problem", text, "let the proxy hand Authorization on")
    if code == "unauthorized":
        return Finding("authorization", "problem", "the server wants its secret key", "set CHATRT_SECRET_KEY")
    if code == "invalid-token":
        text = "the server has another secret key"
        return Finding("authorization", "problem", text, "set CHATRT_SECRET_KEY to the server's")
    if code == "forbidden":
        text = "the server has no secret key, and is reached from elsewhere or under a name that is not loopback"
        return Finding("authorization", "problem", text, "give the server a CHATRT_SECRET_KEY")
    text = f"the probe was answered with {response.status_code} {code}".rstrip()
    return Finding("probe", "problem", text, "does the proxy hand /v1 on, and is the server as new as this doctor?")


def _check_buffering(heard: Heard) -> Iterator[Finding]:
    first, ticks = heard.times("received"), heard.times("tick")
    if not first or len(ticks) < TICKS:
        text = f"the stream ended before its time ({heard.broke or 'without an error'})"
        yield Finding("stream", "problem", text, "look at the proxy's timeouts and at its log")
        return
    spread = ticks[-1] - first[0]
    gap = max(later - earlier for earlier, later in zip([first[0], *ticks], ticks, strict=False))
    if spread < EVERY * TICKS / 2:
        text = f"{TICKS} events that were sent over {EVERY * TICKS:g} s came within {spread:.2f} s: they are held back"
        yield Finding("buffering", "problem", text, BUFFERING)
    elif gap > EVERY * 3 + 0.5:
        text = f"events come in bursts: one took {gap:.2f} s, and was sent every {EVERY:g} s"
        yield Finding("buffering", "warning", text, BUFFERING)
    else:
        yield Finding("buffering", "ok", f"first byte after {first[0] * 1000:.0f} ms, longest gap {gap * 1000:.0f} ms")


def _check_headers(heard: Heard, token: str | None) -> Iterator[Finding]:
    if heard.received.get("lastEventId") != CURSOR:
        text = "Last-Event-ID does not arrive: browsers would read from the beginning after each break"
        yield Finding("last-event-id", "problem", text, "let the proxy hand Last-Event-ID on")
    else:
        yield Finding("last-event-id", "ok", "Last-Event-ID arrives")
    if token and not heard.received.get("authorization"):
        text = "Authorization does not arrive, and the server asks for none"
        yield Finding("authorization", "warning", text, "give the server a CHATRT_SECRET_KEY")
    elif not token and heard.received.get("forwarded"):
        text = "a proxy hands requests on to a server without a secret key: to it, everybody is on this machine"
        yield Finding("authorization", "problem", text, "give the server a CHATRT_SECRET_KEY")
    version = heard.received.get("httpVersion", "")
    yield Finding("http-version", "ok", f"{heard.response.http_version} here, HTTP/{version} at the server")


def _check_idle(heard: Heard, idle: float) -> Iterator[Finding]:
    if not idle:
        return
    if not heard.ended:
        text = f"a quiet stream does not live for {idle:g} s: {heard.broke or 'it was ended'}"
        yield Finding("idle", "problem", text, "nginx: proxy_read_timeout 1h; load balancer: a longer idle timeout")
        return
    beat, began = float(heard.received.get("heartbeat", 15.0)), heard.times("quiet")[0]
    beats = [began, *(at for at in heard.times("heartbeat") if at > began), heard.events[-1][0]]
    longest = max(later - earlier for earlier, later in pairwise(beats))
    if longest > beat + SLACK_SECONDS:
        text = f"heartbeats are sent every {beat:g} s, and nothing came for {longest:.0f} s"
        yield Finding("idle", "warning", text, BUFFERING)
    else:
        yield Finding("idle", "ok", f"a quiet stream lived for {idle:g} s")
