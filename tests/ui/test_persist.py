"""chatrt.ui.persist: what a server keeps of a response while it streams it."""

from __future__ import annotations

import pytest

from chatrt.errors import UIMessageStreamError
from chatrt.ui import ResponseCollector

USER = {"id": "u", "role": "user", "parts": [{"type": "text", "text": "hi"}]}
ANSWER = {"id": "a", "role": "assistant", "parts": [{"type": "text", "text": "old", "state": "done"}]}


def test_a_response_to_a_user_gets_the_fresh_id():
    """The id goes out with the start chunk and is that of the message."""
    collector = ResponseCollector([USER], message_id="fresh")
    assert collector.feed({"type": "start"}) == {"type": "start", "messageId": "fresh"}
    assert collector.response_message["id"] == "fresh"
    assert not collector.is_continuation


def test_a_response_to_an_assistant_message_continues_it():
    """The id is that of the message, whose parts come first; in the conversation it takes its place."""
    collector = ResponseCollector([USER, ANSWER], message_id="fresh")
    assert collector.feed({"type": "start"})["messageId"] == "a"
    collector.feed({"type": "data-x", "data": 1})
    assert collector.is_continuation
    assert collector.messages == [USER, {**ANSWER, "parts": [*ANSWER["parts"], {"type": "data-x", "data": 1}]}]


def test_an_id_of_its_own_makes_a_message_of_its_own():
    """The continued message stays in the conversation, the response comes after it."""
    collector = ResponseCollector([USER, ANSWER], message_id="fresh")
    assert collector.feed({"type": "start", "messageId": "b"}) == {"type": "start", "messageId": "b"}
    assert [message["id"] for message in collector.messages] == ["u", "a", "b"]


def test_how_a_response_ended_is_known():
    """The reason of the finish chunk and an abort are remembered."""
    collector = ResponseCollector([USER], message_id="m")
    assert (collector.finish_reason, collector.is_aborted) == (None, False)
    collector.feed({"type": "abort"})
    collector.feed({"type": "finish", "finishReason": "length"})
    assert (collector.finish_reason, collector.is_aborted) == ("length", True)


def test_what_is_open_is_known():
    """The reducer behind tells what a stopped turn has to close."""
    collector = ResponseCollector(message_id="m")
    collector.feed({"type": "text-start", "id": "t"})
    assert collector.reducer.open_texts() == ["t"]


def test_a_chunk_that_contradicts_the_others_is_refused():
    """It raises before it is sent, and what was collected stays."""
    collector = ResponseCollector([USER], message_id="m")
    with pytest.raises(UIMessageStreamError):
        collector.feed({"type": "text-end", "id": "t"})
    assert collector.response_message["parts"] == []
