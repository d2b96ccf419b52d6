"""Files of a chat in its prompts: what a model is shown of them, and of which ones."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any, Self

import pytest

from chatrt.agent import ChatAgent
from chatrt.attachments import Attachments
from chatrt.client import AgentChat
from chatrt.errors import AttachmentNotFoundError, URLNotAllowedError, UsageError
from chatrt.file_urls import FileURLs
from chatrt.generate import stream_text
from chatrt.models import ScriptedModel
from chatrt.models.scripted import call, tool_call
from chatrt.runtime import SessionManager
from chatrt.stores import MemoryStore
from chatrt.stores.bucket import SignedRequest, StoredObject
from chatrt.stores.memory_attachments import MemoryAttachments
from chatrt.tools import tool
from chatrt.turn import Turn, current_turn
from chatrt.ui import convert_to_model_messages
from tests import files


class CountedFiles:
    """Files of a store that count how often their bytes are asked for."""

    def __init__(self, files: MemoryAttachments) -> None:
        self.reads = 0
        self._files = files

    def __getattr__(self, name: str) -> Any:
        return getattr(self._files, name)

    def read(self, *given: Any, **more: Any) -> AsyncIterator[bytes]:
        self.reads += 1
        return self._files.read(*given, **more)


class Stage:
    """One agent with a scripted model, and a chat with it."""

    def __init__(self, *answers: Any, attachments: Attachments | None = None, **options: Any) -> None:
        self.model = ScriptedModel(list(answers) or ["One.", "Two.", "Three."])
        self.agent = ChatAgent("a", run=self.run, **options)
        self.store = MemoryStore()
        self.store.attachments = CountedFiles(self.store.attachments)
        self.sessions = SessionManager(self.agent, self.store, attachments=attachments)
        self.chat = AgentChat("a", id="c", sessions=self.sessions)
        self.turns: list[Turn[Any]] = []

    def run(self, turn: Turn[Any]) -> Any:
        self.turns.append(turn)
        return stream_text(self.model, turn.messages, tools=turn.tools)

    async def __aenter__(self) -> Self:
        await self.sessions.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.sessions.aclose()

    async def say(self, *parts: Any, text: str = "Look.") -> Any:
        return await self.chat.send_message(parts=[{"type": "text", "text": text}, *parts]).result()

    def shown(self, request: int = -1) -> list[dict[str, Any]]:
        """What the model was shown of the files in all user messages."""
        rows = [row for row in self.model.requests[request].messages if row["role"] == "user"]
        return [part for row in rows for part in row["content"] if part.get("text") != "Look."]


def as_data(data: bytes, kind: str = "image/png") -> dict[str, str]:
    return {"type": "url", "url": f"data:{kind};base64,{base64.b64encode(data).decode()}"}


async def test_a_picture_is_shown_as_its_bytes():
    """The model gets the bytes; the message keeps the name of the file."""
    async with Stage() as stage:
        part = await stage.chat.upload(files.PNG, filename="dot.png")
        await stage.say(part)
        assert part == {"type": "file", "mediaType": "image/png", "url": part["url"], "filename": "dot.png"}
        assert stage.shown() == [
            {"type": "file", "mediaType": "image/png", "filename": "dot.png", "data": as_data(files.PNG)}
        ]
        assert (await stage.chat.messages())[0]["parts"][1] == part


async def test_a_text_is_shown_as_text():
    """A text is read by every model, so it is shown as text, with its name."""
    async with Stage() as stage:
        await stage.say(await stage.chat.upload("Bread, žluť".encode(), filename="list.md"))
        assert stage.shown() == [{"type": "text", "text": "[list.md (text/markdown):]\nBread, žluť\n[end of list.md]"}]


async def test_files_are_in_every_later_prompt():
    """A later turn, and a later step, is shown the file again, and the store is asked once in a turn."""

    @tool
    async def look(word: str) -> str:
        """Look closer."""
        return word

    async with Stage("One.", call(tool_call("look", {"word": "x"})), "Two.", tools=[look]) as stage:
        await stage.say(await stage.chat.upload(files.PNG))
        before = stage.store.attachments.reads
        await stage.chat.send_message("Look.").result()
        for request in (0, 1, 2):
            assert [part["data"] for part in stage.shown(request)] == [as_data(files.PNG)]
        assert stage.store.attachments.reads == before + 1


async def test_a_deleted_file_is_told_of():
    """In the place of a file that was deleted the model reads a note; the turn goes on."""
    async with Stage() as stage:
        part = await stage.chat.upload(files.PNG, filename="dot.png")
        await stage.say(part)
        key = (await stage.sessions.get_session("c")).key
        await stage.sessions.attachments.delete(key, part["url"].rpartition("/")[2])
        await stage.chat.send_message("Look.").result()
        assert stage.shown() == [{"type": "text", "text": "[dot.png was attached here and is no longer there]"}]


async def test_large_files_are_told_of():
    """A file that is too large for a prompt is told of by name, type and size."""
    async with Stage(attachments=Attachments(model_bytes=60)) as stage:
        await stage.say(await stage.chat.upload(files.PNG, filename="dot.png"))
        note = "[dot.png (image/png, 70 bytes) was attached here and is too large to be shown]"
        assert stage.shown() == [{"type": "text", "text": note}]


async def test_the_newest_files_come_first():
    """When not all files fit into a prompt, the newest do; a file that stands twice counts once."""
    async with Stage(attachments=Attachments(prompt_bytes=2 * len(files.PNG))) as stage:
        parts = [await stage.chat.upload(files.PNG, filename=f"{number}.png") for number in range(3)]
        await stage.say(*parts, parts[2])
        assert [part["type"] for part in stage.shown()] == ["text", "file", "file", "file"]


async def test_files_of_another_chat():
    """A message cannot name a file of another chat, nor can a prompt, whoever wrote its id there."""
    async with Stage() as stage:
        other = AgentChat("a", id="other", sessions=stage.sessions)
        theirs = await other.upload(files.PNG)
        with pytest.raises(URLNotAllowedError):
            await stage.say(theirs)
        stolen = {**theirs, "url": theirs["url"].replace("/other/", "/c/")}
        await stage.chat.preload()
        with pytest.raises(AttachmentNotFoundError):
            await stage.say(stolen)
        prompt = convert_to_model_messages([{"id": "m", "role": "user", "parts": [theirs]}])
        session = await stage.sessions.get_session("c")
        (row,) = await session.files().fill(prompt)
        assert row["content"][0]["type"] == "text"


async def test_tools_read_files():
    """A tool reads a file by its part, its URL or its id; one of another chat is not there."""
    seen = []

    @tool
    async def count() -> int:
        """Count the bytes."""
        turn = current_turn()
        part = turn.ui_messages[0]["parts"][1]
        for name in (part, part["url"], part["url"].rpartition("/")[2]):
            seen.append(await turn.files.read(name))
        with pytest.raises(AttachmentNotFoundError):
            await turn.files.read("/v1/sessions/other/attachments/" + part["url"].rpartition("/")[2])
        return len(seen[0])

    async with Stage(call(tool_call("count", {})), "70.", tools=[count]) as stage:
        result = await stage.say(await stage.chat.upload(files.PNG))
        assert result.status == "completed"
        assert seen == [files.PNG] * 3


async def test_a_prompt_outside_of_a_turn():
    """Where no turn runs, a note stands for the file: no model gets a name that means nothing to it."""
    part = {"type": "file", "mediaType": "image/png", "url": "/v1/sessions/c/attachments/att_1"}
    model = ScriptedModel(["Hm."])
    await stream_text(model, convert_to_model_messages([{"id": "m", "role": "user", "parts": [part]}])).text()
    assert model.requests[0].messages[0]["content"] == [
        {"type": "text", "text": "[a file was attached here and is no longer there]"}
    ]


async def test_marks_stay_on_files():
    """What a provider is told about a part stays on what takes its place."""
    async with Stage() as stage:
        part = await stage.chat.upload(b"Bread", filename="list.txt")
        await stage.say({**part, "providerMetadata": {"anthropic": {"cacheControl": {"type": "ephemeral"}}}})
        assert stage.shown()[0]["providerOptions"] == {"anthropic": {"cacheControl": {"type": "ephemeral"}}}


async def test_foreign_urls_go_on_as_they_are():
    """A URL on a host that the agent lets in is handed on; the server fetches nothing."""
    async with Stage(file_urls=FileURLs(hosts=["cdn.example.com"])) as stage:
        url = "https://cdn.example.com/a.png"
        await stage.say({"type": "file", "mediaType": "image/png", "url": url})
        assert stage.shown()[0]["data"] == {"type": "url", "url": url}


async def test_a_waiting_message_is_held_to_the_same():
    """An edit of a message that waits is looked at as the message was."""
    async with Stage() as stage:
        await stage.chat.preload()
        inbox = (await stage.sessions.get_session("c")).inbox
        part = {"type": "file", "mediaType": "image/png", "url": "/v1/sessions/c/attachments/att_9"}
        with pytest.raises(AttachmentNotFoundError):
            await inbox.edit_pending(1, {"id": "m", "role": "user", "parts": [part]})


class Shelf:
    """A bucket in memory, whose links can be told."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def sign_upload(self, name: str, **_: Any) -> SignedRequest:
        return SignedRequest(method="PUT", url=f"https://shelf.test/{name}", headers={}, expires_at=0)

    def sign_download(self, name: str, **_: Any) -> SignedRequest:
        return SignedRequest(method="GET", url=f"https://shelf.test/{name}?signed", headers={}, expires_at=0)

    async def put(self, name: str, data: Any, **_: Any) -> None:
        self.objects[name] = b"".join([piece async for piece in data])

    async def find(self, name: str) -> StoredObject | None:
        return StoredObject(len(self.objects[name])) if name in self.objects else None

    async def read(self, name: str, *, start: int = 0, stop: int | None = None) -> Any:
        yield self.objects[name][start:stop]

    async def delete(self, name: str) -> None:
        self.objects.pop(name, None)

    async def aclose(self) -> None:
        self.objects.clear()


async def test_links_to_a_bucket():
    """Where the application wants so, a provider gets a link to the bucket; texts are read here all the same."""
    shelf = Shelf()
    async with Stage(attachments=Attachments(bucket=shelf, to_model="link", model_bytes=10)) as stage:
        await stage.say(await stage.chat.upload(files.PNG), await stage.chat.upload(b"Bread", filename="list.txt"))
        picture, text = stage.shown()
        assert picture["data"]["url"].startswith("https://shelf.test/")
        assert picture["data"]["url"].endswith("?signed")
        assert "Bread" in text["text"]


async def test_bytes_from_a_bucket():
    """Otherwise the bytes are read from the bucket and put into the prompt."""
    async with Stage(attachments=Attachments(bucket=Shelf())) as stage:
        await stage.say(await stage.chat.upload(files.PNG))
        assert stage.shown()[0]["data"] == as_data(files.PNG)


@pytest.mark.parametrize("options", [{"to_model": "link"}, {"max_bytes": -1}, {"upload_seconds": 0}])
def test_options_that_cannot_be(options):
    """Links need a bucket; limits are not negative."""
    with pytest.raises(UsageError):
        Attachments(**options)
