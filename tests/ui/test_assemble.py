"""chatrt.ui.assemble: chunks in, messages out."""

from __future__ import annotations

import pytest

from chatrt.errors import UIMessageStreamError
from chatrt.ui import assemble, read_ui_message_stream

CHUNKS = [
    {"type": "start", "messageId": "m"},
    {"type": "text-start", "id": "t"},
    {"type": "text-delta", "id": "t", "delta": "a"},
    {"type": "error", "errorText": "masked"},
    {"type": "text-end", "id": "t"},
]
OLD = {"id": "m", "role": "assistant", "parts": [{"type": "text", "text": "old", "state": "done"}]}


async def each(chunks):
    for chunk in chunks:
        yield chunk


def texts(message) -> list[str]:
    return [part["text"] for part in message["parts"]]


@pytest.mark.behaviour(67)
def test_assemble_gives_the_message_that_all_chunks_build():
    """An error chunk among them changes nothing."""
    assert assemble(CHUNKS) == {
        "id": "m",
        "role": "assistant",
        "parts": [{"type": "text", "text": "a", "state": "done"}],
    }


def test_assemble_continues_a_message_of_the_same_id():
    """New parts come after those the message has; the message itself stays as it is."""
    assert texts(assemble(CHUNKS, OLD)) == ["old", "a"]
    assert texts(OLD) == ["old"]


def test_assemble_begins_anew_for_another_id():
    """Chunks of another response do not mix with the message."""
    assert texts(assemble(CHUNKS, {**OLD, "id": "other"})) == ["a"]


def test_assemble_refuses_chunks_that_contradict_each_other():
    """A delta without its start raises."""
    with pytest.raises(UIMessageStreamError):
        assemble(CHUNKS[2:])


async def test_a_stream_gives_a_snapshot_for_each_change_and_goes_on_after_an_error_chunk():
    """Each snapshot is one step further; the error chunk neither ends the stream nor gives a snapshot."""
    snapshots = [snapshot async for snapshot in read_ui_message_stream(each(CHUNKS), OLD)]
    assert [texts(snapshot) for snapshot in snapshots] == [["old"], ["old", ""], ["old", "a"], ["old", "a"]]


async def test_a_stream_that_contradicts_itself_raises_after_its_last_good_snapshot():
    """What could be shown was shown before."""
    stream = read_ui_message_stream(each([CHUNKS[0], CHUNKS[2]]))
    assert (await anext(stream))["id"] == "m"
    with pytest.raises(UIMessageStreamError):
        await anext(stream)
