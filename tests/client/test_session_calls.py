"""What an `AgentChat` asks and changes of its session, in this process and over HTTP: metadata, queue, branches."""

from __future__ import annotations

import pytest

from chatrt.client import AgentChat
from chatrt.errors import ForbiddenError, InvalidJSONError, SessionNotFoundError, TooLargeError
from chatrt.server import create_app
from chatrt.stores import MemoryStore
from chatrt.testing.playbook import playbook

KEY = "k" * 32


async def test_a_chat_is_renamed(place):
    """The title is in the metadata for everybody, and `None` takes it away."""
    chat = await place.open()
    await chat.preload()
    await chat.rename("Hello")
    other = await place.open(id=chat.id)
    assert await other.metadata() == {"title": "Hello"}
    await chat.rename(None)
    assert await other.metadata() == {}


async def test_metadata_are_merged(place):
    """A patch is laid over what is there, and what came out is returned."""
    chat = await place.open()
    await chat.preload()
    await chat.update_metadata({"a": {"b": 1, "c": 2}, "tags": [1]})
    assert await chat.update_metadata({"a": {"b": None}, "tags": [2]}) == {"a": {"c": 2}, "tags": [2]}


async def test_metadata_of_a_chat_that_has_not_begun(place):
    """There are none, and there is nothing to change."""
    chat = await place.open()
    assert await chat.metadata() == {}
    with pytest.raises(SessionNotFoundError):
        await chat.rename("Hello")


async def test_metadata_that_are_too_large(place):
    """The limit is the same one over every way, and nothing is changed."""
    chat = await place.open()
    await chat.preload()
    with pytest.raises(TooLargeError):
        await chat.update_metadata({"a": "x" * 70_000})
    assert await chat.metadata() == {}


async def test_metadata_are_json(place):
    """What is not JSON-shaped is refused before it is sent or stored."""
    chat = await place.open()
    await chat.preload()
    with pytest.raises(InvalidJSONError):
        await chat.update_metadata({"a": {1, 2}})


async def test_a_session_token_may_rename_and_nothing_else(serve):
    """Over HTTP a browser's token sets the title; other keys are the server's."""
    app = create_app(playbook, store=MemoryStore(), secret_key=KEY)
    url = str((await serve(app)).base_url)
    async with AgentChat("playbook", id="c1", base_url=url, token=KEY) as owner:
        await owner.preload()
        async with AgentChat("playbook", id="c1", base_url=url, token=app.state.authority.mint("c1").token) as chat:
            await chat.rename("Mine")
            with pytest.raises(ForbiddenError):
                await chat.update_metadata({"plan": "pro"})
        assert await owner.metadata() == {"title": "Mine"}


async def test_a_message_that_waits_is_stopped_before_it_begins(place):
    """`stop(in_seq=...)` names the input: the turn that runs goes on."""
    chat = await place.open(place.valve.agent)
    running = await chat.send_message("first")
    waiting = await chat.send_message("second")
    assert await chat.stop(in_seq=waiting.seq)
    place.valve.say("a")
    place.valve.end()
    assert (await running.result()).status == "completed"
    assert (await waiting.result()).status == "stopped"
