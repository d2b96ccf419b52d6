"""Files over HTTP: what is taken, what is refused, what is left of it, and how it is served."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.routing import Mount

from chatrt.attachments import Attachments
from chatrt.clock import ManualClock
from chatrt.media_types import HEAD
from chatrt.server import Limits, create_app
from chatrt.server.file_response import file_response
from chatrt.stores import MemoryStore, SQLiteStore
from chatrt.stores.attachments import PIECE, Attachment
from chatrt.stores.memory_attachments import MemoryAttachments
from tests import files
from tests.server.kit import KEY, Gates, make_agent

C1 = "/v1/sessions/c1/attachments"


@pytest.fixture(params=["memory", "sqlite"])
async def http(request, make_kit, tmp_path) -> httpx.AsyncClient:
    """A server with a chat c1, over each store that keeps files."""
    store = MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "chat.db")
    kit = await make_kit(store=store, attachments=Attachments(max_bytes=3 * PIECE, max_count=3, max_total=4 * PIECE))
    await start(kit.http)
    return kit.http


async def start(http: httpx.AsyncClient, chat_id: str = "c1") -> None:
    response = await http.post("/v1/sessions", json={"agent": "kit", "chatId": chat_id})
    assert response.is_success, response.text


async def put(http, data: bytes = files.PNG, kind: str = "image/png", path: str = C1, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await http.post(path, content=data, headers={"content-type": kind, **named})


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


async def left(http, path: str = C1) -> list[str]:
    return [row["id"] for row in (await http.get(path)).json()["attachments"]]


# --- in and out


@pytest.mark.parametrize("size", [1, HEAD - 1, HEAD, HEAD + 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE])
async def test_a_file_comes_back_as_it_was(http, size):
    """Files of all sizes, over the borders of what is looked at and what is stored, come back byte for byte."""
    data = (b"0123456789\n" * (size // 11 + 1))[:size]
    response = await put(http, data, "text/plain", x_filename="n%C3%BAmeros.txt")
    assert response.status_code == 201
    assert response.json() == {
        "id": "att_1",
        "url": f"{C1}/att_1",
        "mediaType": "text/plain",
        "size": size,
        "filename": "números.txt",
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    assert (await http.get(f"{C1}/att_1")).content == data


async def test_how_a_file_is_served(http):
    """A file is served as what it was found to be, and kept from being anything else."""
    await put(http, files.PDF, "application/pdf", x_filename="a%22b.pdf")
    response = await http.get(f"{C1}/att_1")
    expected = {
        "content-type": "application/pdf",
        "content-length": str(len(files.PDF)),
        "content-disposition": "attachment; filename=\"a_b.pdf\"; filename*=UTF-8''a%22b.pdf",
        "x-content-type-options": "nosniff",
        "content-security-policy": "sandbox; default-src 'none'",
        "cross-origin-resource-policy": "same-origin",
        "referrer-policy": "no-referrer",
        "cache-control": "private, max-age=60",
        "accept-ranges": "bytes",
        "etag": f'"{hashlib.sha256(files.PDF).hexdigest()}"',
    }
    assert {name: response.headers[name] for name in expected} == expected


@pytest.mark.parametrize("data", [files.PNG_WITH_PAGE, files.GIF_SCRIPT])
async def test_polyglots_are_only_pictures(http, data):
    """A file that is a picture and something else is only ever served as the picture, where nothing runs."""
    kind = "image/png" if data.startswith(b"\x89") else "image/gif"
    assert (await put(http, data, kind)).status_code == 201
    response = await http.get(f"{C1}/att_1", headers={"accept": "text/html"})
    assert response.headers["content-type"] == kind
    assert response.headers["content-disposition"] == "inline"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in response.headers["content-security-policy"]


async def test_pages_of_an_application_are_saved(make_kit):
    """An application that lists pages and drawings has them saved, never shown."""
    kit = await make_kit(attachments=Attachments(types=["text/html", "image/svg+xml"]))
    await start(kit.http)
    for number, (data, kind) in enumerate([(files.HTML, "text/html"), (files.SVG, "image/svg+xml")], 1):
        assert (await put(kit.http, data, kind)).status_code == 201
        response = await kit.http.get(f"{C1}/att_{number}")
        assert response.headers["content-disposition"] == "attachment"
        assert "sandbox" in response.headers["content-security-policy"]


async def test_head(http):
    """A HEAD is a GET without the bytes."""
    await put(http)
    head, get = await http.head(f"{C1}/att_1"), await http.get(f"{C1}/att_1")
    assert (head.status_code, head.content) == (200, b"")
    assert {**head.headers, "date": ""} == {**get.headers, "date": ""}


@pytest.mark.parametrize(
    ("wanted", "status", "content", "told"),
    [
        ("bytes=0-0", 206, b"0", "bytes 0-0/10"),
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-2", 206, b"89", "bytes 8-9/10"),
        ("bytes=-99", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=5-99", 206, b"56789", "bytes 5-9/10"),
        ("bytes=0-1,3-4", 200, b"0123456789", None),
        ("bytes=4-2", 200, b"0123456789", None),
        ("bytes=-", 200, b"0123456789", None),
        ("items=0-1", 200, b"0123456789", None),
        ("bytes=٣-", 200, b"0123456789", None),
    ],
)
async def test_ranges(http, wanted, status, content, told):
    """One range of bytes is answered alone; anything that is none with the whole."""
    await put(http, b"0123456789", "text/plain")
    response = await http.get(f"{C1}/att_1", headers={"range": wanted.encode()})
    assert (response.status_code, response.content) == (status, content)
    assert response.headers.get("content-range") == told


@pytest.mark.parametrize("wanted", ["bytes=10-", "bytes=99-100", "bytes=-0"])
async def test_ranges_behind_the_end(http, wanted):
    """A range behind the end is 416, with the size."""
    await put(http, b"0123456789", "text/plain")
    response = await http.get(f"{C1}/att_1", headers={"range": wanted})
    assert code(response) == (416, "invalid-range")
    assert response.headers["content-range"] == "bytes */10"


async def test_conditions(http):
    """Who has the file already is told so; a range of another file's bytes is never given."""
    await put(http, b"0123456789", "text/plain")
    tag = (await http.get(f"{C1}/att_1")).headers["etag"]
    for header in (tag, f'"x", W/{tag}', "*"):
        response = await http.get(f"{C1}/att_1", headers={"if-none-match": header})
        assert (response.status_code, response.content) == (304, b"")
    assert (await http.get(f"{C1}/att_1", headers={"if-none-match": '"x"'})).status_code == 200
    for header, status in ((tag, 206), ('"x"', 200)):
        response = await http.get(f"{C1}/att_1", headers={"if-range": header, "range": "bytes=0-1"})
        assert response.status_code == status


async def test_delete(http):
    """A deleted file is gone and makes room; a second delete finds nothing."""
    for _ in range(3):
        await put(http)
    assert code(await put(http)) == (413, "too-many-attachments")
    assert (await http.delete(f"{C1}/att_2")).status_code == 204
    assert code(await http.delete(f"{C1}/att_2")) == (404, "attachment-not-found")
    assert code(await http.get(f"{C1}/att_2")) == (404, "attachment-not-found")
    assert (await put(http)).status_code == 201
    assert len(await left(http)) == 3


async def test_files_go_with_their_chat(http):
    """A deleted chat takes its files along; a closed one keeps them and takes no more."""
    await put(http)
    await http.post("/v1/sessions/c1/close")
    assert code(await put(http)) == (409, "session-closed")
    assert (await http.get(f"{C1}/att_1")).content == files.PNG
    await http.delete("/v1/sessions/c1")
    assert code(await http.get(f"{C1}/att_1")) == (404, "session-not-found")
    await start(http)
    assert code(await http.get(f"{C1}/att_1")) == (404, "attachment-not-found")


# --- refused


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("image/png", files.HTML),
        ("image/png", files.SVG),
        ("text/plain", files.HTML),
        ("text/plain", b"a" * 70_000 + b"\xff"),
        ("text/html", files.HTML),
        ("image/svg+xml", files.SVG),
        ("application/zip", files.ZIP),
        ("application/octet-stream", files.EXE),
        ("nonsense", files.PNG),
    ],
)
async def test_types_that_are_refused(http, kind, data):
    """A file that is not of a listed type is 415, and nothing of it stays."""
    assert code(await put(http, data, kind)) == (415, "unsupported-type")
    assert await left(http) == []
    assert (await put(http, b"a" * 3 * PIECE, "text/plain")).status_code == 201  # nor does its place


async def test_compressed_bodies(http):
    """Nothing is unpacked: not a compressed body, and not what a file holds."""
    assert code(await put(http, files.GZIP, content_encoding="gzip")) == (415, "unsupported-type")
    assert code(await put(http, files.BOMB, "application/octet-stream")) == (415, "unsupported-type")


async def test_multipart(http):
    """There are no forms."""
    response = await http.post(C1, files={"file": ("a.png", files.PNG, "image/png")})
    assert code(response) == (415, "unsupported-type")


async def test_empty_files(http):
    """An empty file is no file, whether its length was said or not."""
    assert code(await put(http, b"")) == (422, "invalid-attachment")

    async def nothing():
        return
        yield b""

    assert code(await put(http, nothing())) == (422, "invalid-attachment")
    assert await left(http) == []


async def test_large_files(http):
    """One byte too many is 413, said before or found out on the way."""
    data = b"a" * (3 * PIECE + 1)
    assert code(await put(http, data, "text/plain")) == (413, "too-large")

    async def untold():
        for _ in range(13):
            yield b"a" * (PIECE // 4)

    assert code(await put(http, untold(), "text/plain")) == (413, "too-large")
    assert await left(http) == []
    assert (await put(http, data[1:], "text/plain")).status_code == 201


async def test_two_uploads_at_once_over_the_limit(http):
    """Of two files that would be too much together, one is taken, however they come."""
    data = b"a" * 3 * PIECE
    both = await asyncio.gather(put(http, data, "text/plain"), put(http, data, "text/plain"))
    assert sorted(response.status_code for response in both) == [201, 413]
    assert len(await left(http)) == 1


class TellingFiles:
    """Files of a store that tell when one is removed."""

    def __init__(self, files: MemoryAttachments) -> None:
        self.removed = asyncio.Event()
        self._files = files

    def __getattr__(self, name: str) -> Any:
        return getattr(self._files, name)

    async def delete(self, *given: Any) -> bool:
        deleted = await self._files.delete(*given)
        self.removed.set()
        return deleted


async def test_a_file_that_breaks_off_leaves_nothing(make_kit):
    """A connection that ends in the middle of a file leaves no file, and keeps no place."""
    store = MemoryStore()
    store.attachments = told = TellingFiles(store.attachments)
    kit = await make_kit(store=store, attachments=Attachments(max_count=1))
    await start(kit.http)
    _, writer = await asyncio.open_connection(kit.http.base_url.host, kit.http.base_url.port)
    head = f"POST {C1} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: text/plain\r\ncontent-length: {3 * PIECE}\r\n\r\n"
    writer.write(head.encode() + b"a" * 2 * PIECE)
    await writer.drain()
    writer.close()
    await told.removed.wait()
    assert await left(kit.http) == []
    assert (await put(kit.http)).status_code == 201


async def test_silence(make_kit):
    """A sender that stops in the middle is not waited for, and its place is free."""
    kit = await make_kit(limits=Limits(body_seconds=0.05))
    await start(kit.http)
    host, port = kit.http.base_url.host, kit.http.base_url.port
    reader, writer = await asyncio.open_connection(host, port)
    head = (
        f"POST {C1} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: image/png\r\ncontent-length: {len(files.PNG)}\r\n\r\n"
    )
    writer.write(head.encode() + files.PNG[:20])
    answer = await reader.read()  # the connection is closed, too
    writer.close()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"request-timeout" in answer
    assert await left(kit.http) == []


@pytest.mark.parametrize("name", ["..%2F..%2Fetc%2Fpasswd", "a%0D%0Ax-evil:%201", "%E2%80%AEgnp.exe", "%00", "%22"])
async def test_names_do_no_harm(http, name):
    """Paths, line ends and marks in a name reach neither headers nor people."""
    await put(http, x_filename=name)
    response = await http.get(f"{C1}/att_1")
    assert "x-evil" not in response.headers
    disposition = response.headers["content-disposition"]
    assert not any(bad in disposition for bad in ("/", "\\", "%0D", "%E2%80%AE", "%00"))


# --- who may


async def test_rights(locked):
    """`write` sends and deletes, `read` reads; a token of another chat does neither, whatever is there."""
    http = locked.http
    await start(http)
    await start(http, "c2")
    mint = locked.app.state.authority.mint

    def bearer(chat_id: str, *scopes: str) -> dict[str, str]:
        return {"authorization": f"Bearer {mint(chat_id, scopes=scopes).token}"}

    reader, writer, other = bearer("c1", "read"), bearer("c1", "write"), bearer("c2", "read", "write")
    assert (await put(http, **writer)).status_code == 201
    assert code(await put(http, **reader)) == (403, "forbidden")
    assert (await http.get(f"{C1}/att_1", headers=reader)).content == files.PNG
    assert code(await http.get(f"{C1}/att_1", headers=writer)) == (403, "forbidden")
    assert code(await http.post(f"{C1}/att_1/link", headers=writer)) == (403, "forbidden")
    assert code(await http.delete(f"{C1}/att_1", headers=reader)) == (403, "forbidden")
    for path in (f"{C1}/att_1", f"{C1}/att_9"):
        assert code(await http.get(path, headers=other)) == (403, "forbidden")
    assert code(await http.get("/v1/sessions/c2/attachments/att_1", headers=other)) == (404, "attachment-not-found")
    assert code(await http.get(f"{C1}/att_1", headers={"authorization": ""})) == (401, "unauthorized")


async def test_links(locked):
    """A link shows one file without credentials, on pages of any origin, until it ends."""
    http, clock = locked.http, locked.clock
    await start(http)
    await put(http)
    await put(http)
    link = (await http.post(f"{C1}/att_1/link", json={"ttl": 60})).json()
    nobody = {"authorization": ""}

    shown = await http.get(link["url"], headers=nobody)
    assert shown.content == files.PNG
    assert shown.headers["cross-origin-resource-policy"] == "cross-origin"
    assert (await http.head(link["url"], headers=nobody)).status_code == 200
    token = link["url"].partition("?")[2]
    assert code(await http.get(f"{C1}/att_2?{token}", headers=nobody)) == (403, "forbidden")
    assert code(await http.delete(f"{C1}/att_1?{token}", headers=nobody)) == (401, "unauthorized")
    assert code(await http.get(f"{C1}?{token}", headers=nobody)) == (401, "unauthorized")
    clock.advance(60)
    assert code(await http.get(link["url"], headers=nobody)) == (401, "invalid-token")


async def test_tokens_are_not_for_one_another(locked):
    """The token of a link is no session token, and a session token opens no link."""
    http = locked.http
    await start(http)
    await put(http)
    token = (await http.post(f"{C1}/att_1/link")).json()["url"].partition("?token=")[2]
    session = locked.app.state.authority.mint("c1").token

    assert code(await http.get(f"{C1}/att_1", headers={"authorization": f"Bearer {token}"})) == (401, "invalid-token")
    for wrong in (session, KEY, "x.y.z", token[:-2], "a" * 5000, ""):
        answer = await http.get(f"{C1}/att_1", params={"token": wrong}, headers={"authorization": ""})
        assert code(answer) == (401, "invalid-token"), wrong


@pytest.mark.parametrize("body", [{"ttl": 0}, {"ttl": 3601}, {"ttl": "60"}, {"ttl": True}, {"ttl": 1.5}, [1]])
async def test_times_of_links(locked, body):
    """A link is good for 1 to 3600 seconds."""
    await start(locked.http)
    await put(locked.http)
    assert code(await locked.http.post(f"{C1}/att_1/link", json=body)) == (400, "invalid-input")


async def test_a_mounted_application(serve):
    """Mounted under a path, the URLs of files say so."""
    inner = create_app(make_agent(Gates()), store="memory://")
    http = await serve(Starlette(routes=[Mount("/chat", inner)]))
    await http.post("/chat/v1/sessions", json={"agent": "kit", "chatId": "a/b"})
    url = (await put(http, path="/chat/v1/sessions/a%2Fb/attachments")).json()["url"]
    assert url.startswith("/chat/v1/sessions/a%2Fb/attachments/")
    assert (await http.get(url)).content == files.PNG
    said = {"role": "user", "parts": [{"type": "text", "text": "echo x"}, file_part(url)]}
    answer = await http.post("/chat/v1/sessions/a%2Fb/in", json={"kind": "message", "message": said})
    assert answer.status_code == 202, answer.text
    await inner.state.aclose()


# --- in messages


def file_part(url: str, kind: str = "image/png") -> dict[str, str]:
    return {"type": "file", "mediaType": kind, "url": url}


async def say(http, url: str, kind: str = "image/png") -> httpx.Response:
    message = {"id": "m", "role": "user", "parts": [{"type": "text", "text": "echo x"}, file_part(url, kind)]}
    return await http.post("/v1/sessions/c1/in", json={"kind": "message", "message": message})


async def test_a_message_names_a_file(http):
    """What is stored is the path, and what is known of the file: not what the client says, and no token."""
    await put(http, x_filename="dot.png")
    url = f"https://api.example.com{C1}/att_1?token=secret"
    assert (await say(http, url, "text/html")).status_code == 202
    await http.get("/v1/sessions/c1/out?until=idle")
    stored = (await http.get("/v1/sessions/c1/messages")).json()["messages"][0]["parts"][1]
    assert stored == {"type": "file", "mediaType": "image/png", "url": f"{C1}/att_1", "filename": "dot.png"}


@pytest.mark.parametrize(
    ("url", "refused"),
    [
        (f"{C1}/att_9", (404, "attachment-not-found")),
        ("/v1/sessions/c2/attachments/att_1", (422, "url-not-allowed")),
        ("https://example.com/a.png", (422, "url-not-allowed")),
        ("http://169.254.169.254/latest", (422, "url-not-allowed")),
        ("file:///etc/passwd", (422, "url-not-allowed")),
    ],
)
async def test_urls_that_are_refused(http, url, refused):
    """A message with a URL that is not let in is refused at the door, on both wires."""
    await put(http)
    assert code(await say(http, url)) == refused
    message = {"id": "m", "role": "user", "parts": [file_part(url)]}
    answer = await http.post("/api/chat/kit", json={"id": "c1", "messages": [message]})
    assert code(answer) == refused


async def test_an_upload_that_is_not_done_cannot_be_named(make_kit):
    """A file may be named when it is ready, not before."""
    kit = await make_kit()
    await start(kit.http)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow():
        yield files.PNG[:20]
        begun.set()
        await go_on.wait()
        yield files.PNG[20:]

    sending = asyncio.create_task(put(kit.http, slow()))
    await begun.wait()
    assert code(await say(kit.http, f"{C1}/att_1")) == (404, "attachment-not-found")
    assert code(await kit.http.get(f"{C1}/att_1")) == (404, "attachment-not-found")
    go_on.set()
    assert (await sending).status_code == 201
    assert (await say(kit.http, f"{C1}/att_1")).status_code == 202


async def test_files_of_json(http):
    """A file of JSON is sent with a name; JSON without one asks for something that needs a bucket."""
    response = await put(http, b'{"a": 1}', "application/json", x_filename="a.json")
    assert response.json()["mediaType"] == "application/json"
    response = await put(http, json.dumps({"mediaType": "image/png", "size": 3}).encode(), "application/json")
    assert code(response) == (400, "invalid-input")


async def test_forgotten_uploads_make_room(make_kit):
    """An upload whose server died keeps its place only until it must have ended."""
    clock = ManualClock()
    store = MemoryStore()
    kit = await make_kit(store=store, clock=clock, attachments=Attachments(max_count=1))
    await start(kit.http)
    sessions = kit.app.state.sessions
    key = (await sessions.get_session("c1")).key
    dead = sessions.attachments._new("image/png", None, 5, in_bucket=False)
    await store.attachments.begin(key, dead, max_count=1, max_total=99)
    assert code(await put(kit.http)) == (413, "too-many-attachments")
    clock.advance(661)
    assert (await put(kit.http)).status_code == 201


async def test_a_head_start_sees_files(make_kit):
    """What begins the first answer of a chat is shown the files of its first message."""
    seen: list[Any] = []
    kit = await make_kit(head_start=lambda request: seen.extend(request.messages))
    await start(kit.http)
    await put(kit.http)
    message = {"id": "m", "role": "user", "parts": [{"type": "text", "text": "echo x"}, file_part(f"{C1}/att_1")]}
    answer = await kit.http.post("/api/chat/kit", json={"id": "c1", "messages": [message]})
    assert answer.status_code == 200
    assert seen[0]["content"][1]["data"]["url"].startswith("data:image/png;base64,iVBOR")


async def test_pages_of_other_origins(make_kit):
    """A page of an origin that is let in may send names and read tags; errors can be read, too."""
    origin = {"origin": "https://app.example.com"}
    kit = await make_kit(cors_origins=[origin["origin"]])
    await start(kit.http)
    asked = {**origin, "access-control-request-method": "POST", "access-control-request-headers": "x-filename"}
    assert (await kit.http.options(C1, headers=asked)).status_code == 200
    sent = await put(kit.http, files.HTML, **origin)
    assert (sent.status_code, sent.headers["access-control-allow-origin"]) == (415, origin["origin"])
    await put(kit.http, **origin)
    shown = await kit.http.get(f"{C1}/att_2", headers=origin)
    assert "etag" in shown.headers["access-control-expose-headers"]


async def test_a_reader_that_takes_nothing():
    """Who asks for a file and does not read it is cut off."""
    row = Attachment(id="a", media_type="text/plain", filename=None, size=5, created_at=0, expires_at=0)
    scope = {"type": "http", "method": "GET", "headers": [], "asgi": {"spec_version": "2.4"}}

    async def read(start: int, stop: int):
        yield b"hello"[start:stop]

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    response = file_response(Request(scope), row, read, other_origins=False, send_seconds=0.01)
    with pytest.raises(ClientDisconnect):
        await response(scope, asyncio.Event().wait, send)
