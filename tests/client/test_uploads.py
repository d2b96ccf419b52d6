"""`AgentChat.upload`: files attached from Python, in this process and over HTTP."""

from __future__ import annotations

import json
from dataclasses import replace

import httpx
import pytest

from chatrt.client import AgentChat
from chatrt.errors import (
    AttachmentLimitError,
    AttachmentNotFoundError,
    InvalidAttachmentError,
    SessionClosedError,
    TooLargeError,
    UnsupportedTypeError,
    URLNotAllowedError,
)
from chatrt.server import create_app
from chatrt.testing.playbook import playbook
from tests import files


async def test_a_path(place, tmp_path):
    """A file is read from its path, with its name and what the name says it is."""
    path = tmp_path / "žluť.png"
    path.write_bytes(files.PNG)
    chat = await place.open(id="a/b")
    part = await chat.upload(path)
    assert part == {"type": "file", "mediaType": "image/png", "url": part["url"], "filename": "žluť.png"}
    assert part["url"].startswith("/v1/sessions/a%2Fb/attachments/att_")
    result = await chat.send_message(parts=[{"type": "text", "text": "echo seen"}, part]).result()
    assert result.text == "seen"
    assert (await chat.messages())[0]["parts"][1] == part


async def test_bytes(place):
    """Bytes need neither a name nor a type; one that is given counts."""
    chat = await place.open()
    assert (await chat.upload(files.PDF))["mediaType"] == "application/pdf"
    assert (await chat.upload(b"a,b", media_type="text/csv"))["mediaType"] == "text/csv"
    assert (await chat.upload(b"a,b", filename="t.csv"))["mediaType"] == "text/csv"
    assert (await chat.upload(b"{}", media_type="application/json"))["mediaType"] == "application/json"
    assert "filename" not in await chat.upload(files.PNG)


async def test_files_that_are_refused(place):
    """The errors are the same both ways."""
    options = place.sessions.attachments.options
    place.sessions.attachments.options = replace(options, max_bytes=100, max_count=1)
    chat = await place.open()
    with pytest.raises(TooLargeError):
        await chat.upload(b"a" * 101)
    with pytest.raises(UnsupportedTypeError, match="not image/png"):
        await chat.upload(files.HTML, media_type="image/png")
    with pytest.raises(InvalidAttachmentError, match="empty"):
        await chat.upload(b"")
    await chat.upload(files.PNG)
    with pytest.raises(AttachmentLimitError):
        await chat.upload(files.PNG)
    with pytest.raises(FileNotFoundError):
        await chat.upload("no/such/file")


async def test_urls_that_are_refused(place):
    """A message with a foreign URL, or a file that is not there, is refused both ways."""
    chat = await place.open()
    part = await chat.upload(files.PNG)
    with pytest.raises(URLNotAllowedError):
        await chat.send_message(parts=[{**part, "url": "https://example.com/a.png"}])
    with pytest.raises(AttachmentNotFoundError):
        await chat.send_message(parts=[{**part, "url": part["url"] + "x"}])


async def test_a_closed_chat(place):
    """A closed chat takes no more files."""
    chat = await place.open()
    await chat.upload(files.PNG)
    await chat.close()
    with pytest.raises(SessionClosedError):
        await chat.upload(files.PNG)


async def test_an_upload_goes_on_trying():
    """A server that is about to restart is asked again."""
    app = create_app(playbook, store="memory://")
    inner = httpx.ASGITransport(app)
    refusals = [httpx.Response(503, json={"error": {"code": "shutting-down", "message": "Later.", "id": "e"}})]

    async def flaky(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/attachments") and refusals:
            return refusals.pop()
        return await inner.handle_async_request(request)

    async with httpx.AsyncClient(transport=httpx.MockTransport(flaky), base_url="http://127.0.0.1") as http:
        chat = AgentChat("playbook", base_url="http://127.0.0.1", http=http)
        part = await chat.upload(files.PNG)
        assert json.loads((await http.get(part["url"].rpartition("/")[0])).content)["attachments"][0]["size"] == 70
    await app.state.aclose()
