"""What a request may weigh and how long it may take."""

from __future__ import annotations

import asyncio
import json

import pytest

from chatrt.errors import InvalidInputError
from chatrt.server import Limits
from chatrt.server.limits import check_chat_id
from tests.server.kit import user

MESSAGE = {"kind": "message", "message": user("x")}


async def post(kit, content, **headers: str):
    await kit.new("c1")
    headers = {"content-type": "application/json", **headers}
    return await kit.http.post("/v1/sessions/c1/in", content=content, headers=headers)


def nested(depth: int) -> bytes:
    return b'{"kind":"action","action":' + b"[" * depth + b"]" * depth + b"}"


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 400, "invalid-json"),
        (b"{", 400, "invalid-json"),
        (b'{"kind":"stop"} x', 400, "invalid-json"),
        (b'{"kind":"stop","kind":"stop"}', 400, "invalid-json"),
        (b'{"kind":"action","action":NaN}', 400, "invalid-json"),
        (b'{"kind":"action","action":1e999}', 400, "invalid-json"),
        (b'{"kind":"action","action":18446744073709551616}', 400, "invalid-json"),
        (b'{"kind":"action","action":"\\ud83d"}', 400, "invalid-json"),
        (b'{"kind":"action","action":"\\u0000"}', 400, "invalid-json"),
        (b'{"kind":"action","action":"\xff"}', 400, "invalid-json"),
        (b'{"kind":"action","action":{"__proto__":1}}', 400, "invalid-json"),
        (b'\xef\xbb\xbf{"kind":"stop"}', 400, "invalid-json"),
        (nested(65), 413, "too-large"),
        (nested(100_000), 413, "too-large"),
        (b'{"kind":"action","action":[' + b"1," * 10_000 + b"1]}", 413, "too-large"),
        (b'{"kind":"action","action":"' + b"x" * 2**20 + b'"}', 413, "too-large"),
    ],
    ids=lambda value: repr(value[:40]) if isinstance(value, bytes) else None,
)
async def test_json_that_cannot_be_carried_everywhere_is_refused(kit, content: bytes, status: int, code: str):
    """Whatever is accepted can be stored, read and replayed on every store and by every client."""
    response = await post(kit, content)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


async def test_what_is_within_the_limits_is_taken(kit):
    """Depth, size and count just below the limits pass."""
    assert (await post(kit, nested(62))).status_code == 202
    assert (await post(kit, json.dumps({"kind": "action", "action": "x" * 2**19}))).status_code == 202


@pytest.mark.parametrize("kind", ["text/plain", "", "application/x-www-form-urlencoded", "application/jsonx"])
async def test_a_body_is_declared_as_json(kit, kind: str):
    """A page of another site can send other types without asking; this one it cannot."""
    response = await post(kit, json.dumps(MESSAGE), **{"content-type": kind})
    assert (response.status_code, response.json()["error"]["code"]) == (415, "unsupported-type")


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON"])
async def test_json_may_name_its_charset(kit, kind: str):
    """UTF-8, which it is anyway."""
    assert (await post(kit, json.dumps(MESSAGE), **{"content-type": kind})).status_code == 202


async def test_a_body_without_a_length_is_cut_at_the_limit(make_kit):
    """A body that does not say how long it is is kept no further than the limit."""
    kit = await make_kit(limits=Limits(bytes=1000))

    async def long():
        for _ in range(1000):
            yield b" " * 1000

    response = await post(kit, long())
    assert (response.status_code, response.json()["error"]["code"]) == (413, "too-large")


async def test_a_declared_length_is_refused_before_it_is_sent(kit):
    """A body that says that it is too long is not waited for."""
    reader, writer = await asyncio.open_connection(kit.http.base_url.host, kit.http.base_url.port)
    writer.write(
        b"POST /api/chat/kit HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        b"content-length: 99999999\r\n\r\n"
    )
    assert (await reader.readline()).startswith(b"HTTP/1.1 413")
    writer.close()


async def test_a_body_that_does_not_come_is_given_up(make_kit):
    """Half a body and then nothing: 408, and the connection is closed."""
    kit = await make_kit(limits=Limits(body_seconds=0.05))
    reader, writer = await asyncio.open_connection(kit.http.base_url.host, kit.http.base_url.port)
    writer.write(
        b"POST /api/chat/kit HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        b'content-length: 100\r\n\r\n{"id":'
    )
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"request-timeout"' in answer
    writer.close()


async def test_a_client_that_leaves_in_mid_body_leaves_nothing(kit):
    """Half a request is no request."""
    _, writer = await asyncio.open_connection(kit.http.base_url.host, kit.http.base_url.port)
    writer.write(
        b"POST /api/chat/kit HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        b'content-length: 100\r\n\r\n{"id":'
    )
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await kit.http.get("/v1/sessions")).json() == {"sessions": []}


@pytest.mark.parametrize("limit", ["0", "201", "-1", "x", "٣", "1e2", ""])
async def test_a_page_has_a_sensible_length(kit, limit: str):
    """1 to 200."""
    response = await kit.http.get("/v1/sessions", params={"limit": limit})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid-input")


@pytest.mark.parametrize("chat_id", ["", "x" * 257, "a\nb", "a\x00", "\x7f", "\u2028", None, 1])
def test_a_chat_id_is_short_and_printable(chat_id):
    """1 to 256 characters, none of them a control character."""
    with pytest.raises(InvalidInputError):
        check_chat_id(chat_id, path="/id")


@pytest.mark.parametrize("chat_id", ["x", "x" * 256, "a b/c:d%", "ü", "🙂", "__proto__", ".."])
def test_any_printable_text_is_a_chat_id(chat_id: str):
    """Slashes, colons, spaces and all the world's letters."""
    assert check_chat_id(chat_id, path="/id") == chat_id
