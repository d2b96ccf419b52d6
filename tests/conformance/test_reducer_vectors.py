"""The reducer does with recorded chunks what `readUIMessageStream` did with them."""

from __future__ import annotations

import copy

import pytest

from chatrt.errors import UIMessageStreamError
from chatrt.ui import MessageReducer, read_ui_message_stream

VECTORS = ("reducer_hand", "reducer_random")


async def each(chunks):
    for chunk in chunks:
        yield chunk


async def test_snapshots_are_those_of_the_ai_sdk(case):
    """There is a snapshot wherever the AI SDK publishes one, it holds the same, and the same chunk is the one refused."""
    snapshots, refused = [], None
    try:
        async for snapshot in read_ui_message_stream(each(case["chunks"]), case.get("initialMessage")):
            snapshots.append(snapshot)
    except UIMessageStreamError as error:
        refused = str(error)
    assert snapshots == case["snapshots"]
    if case.get("errorName") == "TypeError":  # its text is the JavaScript engine's own
        assert refused is not None
    else:
        assert refused == case.get("error")


def reducer_of(case) -> MessageReducer:
    message = case.get("initialMessage")
    return MessageReducer(message, message_id=message["id"] if message else "", resets=True)


def test_the_final_message_is_that_of_the_ai_sdk_though_nobody_looked_before(case):
    """Whether somebody asks for snapshots makes no difference to the message in the end; a refused chunk changes nothing."""
    reducer = reducer_of(case)
    for index, chunk in enumerate(case["chunks"]):
        if index == case.get("errorIndex"):
            with pytest.raises(UIMessageStreamError):
                reducer.apply(chunk)
            break
        reducer.apply(chunk)
    assert reducer.message == case["final"]


def test_what_is_given_is_never_changed(case):
    """Neither the message to continue nor any chunk is changed, and snapshots stay as they were taken."""
    given = copy.deepcopy(case)
    reducer = reducer_of(case)
    snapshots = []
    for chunk in case["chunks"][: case.get("errorIndex")]:
        if reducer.apply(chunk):
            snapshots.append(reducer.snapshot())
    assert case == given
    assert snapshots == case["snapshots"]
