"""Files in a bucket: sent there by the client itself, looked at before they count, and read from there."""

from __future__ import annotations

import asyncio
import hashlib

import httpx
import pytest

from chatrt.attachments import Attachments
from chatrt.clock import ManualClock
from chatrt.stores import MemoryStore, SQLiteStore
from tests import files
from tests.s3_server import S3Server, s3_server, send

C1 = "/v1/sessions/c1/attachments"


@pytest.fixture(scope="module")
def server():
    """One server for all tests of this file; it runs in a process of its own."""
    with s3_server() as server:
        yield server


@pytest.fixture
async def s3(server: S3Server):
    yield server
    await asyncio.to_thread(server.clear)


@pytest.fixture
async def http(make_kit, s3: S3Server, tmp_path) -> httpx.AsyncClient:
    options = Attachments(bucket=s3.bucket(), max_bytes=1000, max_count=3)
    kit = await make_kit(store=SQLiteStore(tmp_path / "chat.db"), attachments=options)
    await kit.http.post("/v1/sessions", json={"agent": "kit", "chatId": "c1"})
    return kit.http


async def announce(http, data: bytes = files.PNG, kind: str = "image/png", **more) -> dict:
    response = await http.post(C1, json={"mediaType": kind, "size": len(data), "filename": "dot.png", **more})
    assert response.status_code == 201, response.text
    return response.json()


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


async def names(s3: S3Server) -> list[str]:
    return await asyncio.to_thread(s3.names)


async def complete(http, file: dict) -> httpx.Response:
    return await http.post(f"{C1}/{file['id']}/complete")


async def test_a_client_sends_a_file_by_itself(http, s3):
    """Announced, sent to the bucket, looked at: then a file can be read, from where it is, and named."""
    file = await announce(http, sha256=hashlib.sha256(files.PNG).hexdigest())
    assert file["upload"]["method"] == "PUT"
    assert file["upload"]["url"].startswith(s3.endpoint)
    assert code(await http.get(f"{C1}/{file['id']}")) == (404, "attachment-not-found")
    assert (await send(file["upload"], files.PNG)).status_code == 200
    assert code(await http.get(f"{C1}/{file['id']}")) == (404, "attachment-not-found")

    done = await complete(http, file)
    assert done.status_code == 200
    assert done.json() == {
        "id": file["id"],
        "url": file["url"],
        "mediaType": "image/png",
        "size": len(files.PNG),
        "filename": "dot.png",
        "sha256": hashlib.sha256(files.PNG).hexdigest(),
    }
    assert (await complete(http, file)).json() == done.json()  # an answer may get lost
    moved = await http.get(file["url"])
    assert (moved.status_code, moved.headers["cache-control"]) == (307, "no-store")
    async with httpx.AsyncClient() as anybody:
        shown = await anybody.get(moved.headers["location"])
    assert (shown.content, shown.headers["content-type"]) == (files.PNG, "image/png")
    assert shown.headers["content-disposition"] == "inline; filename=\"dot.png\"; filename*=UTF-8''dot.png"
    assert (await http.head(file["url"])).headers["content-length"] == str(len(files.PNG))
    message = {"id": "m", "role": "user", "parts": [{"type": "file", "mediaType": "image/png", "url": file["url"]}]}
    assert (await http.post("/v1/sessions/c1/in", json={"kind": "message", "message": message})).status_code == 202


async def test_names_in_the_bucket_say_nothing(http, s3):
    """The name of an object holds neither the chat's nor the file's."""
    await send((await announce(http))["upload"], files.PNG)
    (name,) = await names(s3)
    assert name.startswith("chats/")
    assert "c1/" not in name
    assert "dot" not in name


async def test_completing_too_early(http):
    """A file that has not arrived is not ready, and may be completed later."""
    file = await announce(http)
    assert code(await complete(http, file)) == (422, "invalid-attachment")
    await send(file["upload"], files.PNG)
    assert (await complete(http, file)).status_code == 200


async def test_completing_twice_at_once(http):
    """Who completes a file while somebody else does gets the same answer."""
    file = await announce(http)
    await send(file["upload"], files.PNG)
    first, second = await asyncio.gather(complete(http, file), complete(http, file))
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json() == second.json()


@pytest.mark.parametrize(
    ("kind", "announced", "sent", "refused"),
    [
        ("image/png", files.PNG, files.PNG + b"more", (422, "invalid-attachment")),
        ("image/png", files.PNG, files.HTML + b" " * (len(files.PNG) - len(files.HTML)), (415, "unsupported-type")),
        ("text/plain", b"a" * 500, b"a" * 499 + b"\xff", (415, "unsupported-type")),
        ("text/plain", files.HTML, files.HTML, (415, "unsupported-type")),
    ],
)
async def test_files_that_are_not_what_was_announced(http, s3, kind, announced, sent, refused):
    """A file of another size or type is refused when it is looked at, and removed from the bucket."""
    file = await announce(http, announced, kind)
    await send(file["upload"], sent)
    assert code(await complete(http, file)) == refused
    assert await names(s3) == []
    assert code(await complete(http, file)) == (404, "attachment-not-found")


async def test_digests(http, s3):
    """A file with another digest than was announced is refused, whoever notices it first."""
    file = await announce(http, b"hello", "text/plain", sha256=hashlib.sha256(b"hello").hexdigest())
    folder = "chats/" + hashlib.sha256(b"\0c1").hexdigest()[:32]
    await asyncio.to_thread(lambda: s3.client.put_object(Bucket="files", Key=f"{folder}/{file['id']}", Body=b"HELLO"))
    assert code(await complete(http, file)) == (422, "invalid-attachment")
    assert await names(s3) == []


async def test_a_file_is_sent_once(http, s3):
    """What was looked at cannot be changed behind that."""
    file = await announce(http)
    await send(file["upload"], files.PNG)
    await complete(http, file)
    assert (await send(file["upload"], files.HTML)).status_code == 412


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        ({"mediaType": "image/png", "size": 1001}, (413, "too-large")),
        ({"mediaType": "image/png", "size": 0}, (422, "invalid-attachment")),
        ({"mediaType": "image/png", "size": -1}, (422, "invalid-attachment")),
        ({"mediaType": "image/svg+xml", "size": 5}, (415, "unsupported-type")),
        ({"mediaType": "", "size": 5}, (415, "unsupported-type")),
        ({"mediaType": "application/octet-stream", "size": 5}, (415, "unsupported-type")),
        ({"mediaType": "image/png", "size": True}, (400, "invalid-input")),
        ({"mediaType": "image/png", "size": "5"}, (400, "invalid-input")),
        ({"mediaType": "image/png", "size": 5, "sha256": "AB" * 32}, (400, "invalid-input")),
        ({"mediaType": "image/png", "size": 5, "filename": 7}, (400, "invalid-input")),
        ({"size": 5}, (400, "invalid-input")),
        ([], (400, "invalid-input")),
    ],
)
async def test_announcements_that_are_refused(http, body, refused):
    """What cannot become a file is refused before anything is signed."""
    assert code(await http.post(C1, json=body)) == refused


async def test_announced_files_count(http):
    """What was announced counts, so that nobody announces more than there is room for."""
    for _ in range(3):
        await announce(http)
    assert code(await http.post(C1, json={"mediaType": "image/png", "size": 5})) == (413, "too-many-attachments")


async def test_bytes_may_be_sent_to_the_server(http, s3):
    """With a bucket a file may still be sent to the server, which puts it there; its length has to be said."""
    response = await http.post(C1, content=files.PNG, headers={"content-type": "image/png"})
    assert response.status_code == 201
    assert len(await names(s3)) == 1
    assert (await http.get(response.json()["url"])).status_code == 307

    async def untold():
        yield files.PNG

    for data in (untold(), files.HTML):
        refused = await http.post(C1, content=data, headers={"content-type": "image/png"})
        assert refused.status_code in (422, 415)
    assert len(await names(s3)) == 1


async def test_objects_go_with_their_files(http, s3):
    """A deleted file, and a deleted chat, leave nothing in the bucket, ready or not."""
    ready = await announce(http)
    await send(ready["upload"], files.PNG)
    await complete(http, ready)
    assert (await http.delete(ready["url"])).status_code == 204
    assert await names(s3) == []

    for finished in (True, False):
        file = await announce(http)
        await send(file["upload"], files.PNG)
        if finished:
            await complete(http, file)
    assert len(await names(s3)) == 2
    assert (await http.delete("/v1/sessions/c1")).status_code == 204
    assert await names(s3) == []


async def test_forgotten_uploads(make_kit, s3):
    """What was sent and never completed is removed when its time is over and somebody sends the next file."""
    clock = ManualClock()
    kit = await make_kit(store=MemoryStore(), clock=clock, attachments=Attachments(bucket=s3.bucket(), max_count=1))
    await kit.http.post("/v1/sessions", json={"agent": "kit", "chatId": "c1"})
    file = await announce(kit.http)
    await send(file["upload"], files.PNG)
    clock.advance(661)
    assert (await kit.http.post(C1, content=files.PNG, headers={"content-type": "image/png"})).status_code == 201
    assert len(await names(s3)) == 1
    assert code(await complete(kit.http, file)) == (404, "attachment-not-found")


async def test_a_bucket_that_is_away(make_kit, s3):
    """When the bucket cannot be reached, it is 503: nothing is lost, and nothing is said to be there."""
    gone = s3.bucket(endpoint="http://127.0.0.1:9")
    kit = await make_kit(attachments=Attachments(bucket=gone))
    await kit.http.post("/v1/sessions", json={"agent": "kit", "chatId": "c1"})
    answer = await kit.http.post(C1, content=files.PNG, headers={"content-type": "image/png"})
    assert code(answer) == (503, "store-unavailable")
    assert (await kit.http.get(C1)).json() == {"attachments": []}
