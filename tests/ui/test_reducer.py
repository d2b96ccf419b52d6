"""chatrt.ui.reducer: from chunks to the message they build. What the AI SDK does is in tests/conformance."""

from __future__ import annotations

import sys
from collections import Counter

import pytest

from chatrt.errors import UIMessageStreamError
from chatrt.ui import MessageReducer, assemble


def reduced(*chunks, message=None, **options) -> MessageReducer:
    reducer = MessageReducer(message, **options)
    for chunk in chunks:
        reducer.apply(chunk)
    return reducer


def text(text_id: str, *deltas: str, end: bool = True) -> list[dict]:
    chunks = [{"type": "text-start", "id": text_id}]
    chunks += [{"type": "text-delta", "id": text_id, "delta": delta} for delta in deltas]
    return [*chunks, {"type": "text-end", "id": text_id}] if end else chunks


def tool_input(call_id: str, *deltas: str) -> list[dict]:
    chunks = [{"type": "tool-input-start", "toolCallId": call_id, "toolName": "f"}]
    return chunks + [{"type": "tool-input-delta", "toolCallId": call_id, "inputTextDelta": delta} for delta in deltas]


def test_a_new_message_is_the_assistants_and_has_the_given_id():
    """Without chunks there is an empty assistant message."""
    assert MessageReducer(message_id="m").message == {"id": "m", "role": "assistant", "parts": []}


def test_apply_tells_whether_there_is_something_new_to_see():
    """A delta is worth a snapshot, the border of a step is not."""
    reducer = reduced(*text("t", end=False))
    assert reducer.apply({"type": "text-delta", "id": "t", "delta": "x"}) is True
    assert reducer.apply({"type": "finish-step"}) is False


def test_a_start_with_another_id_renames_the_message():
    """Where a response is collected rather than read, nothing is thrown away."""
    reducer = reduced(*text("t", "x"), {"type": "start", "messageId": "n"}, message_id="m")
    assert reducer.message["id"] == reducer.message_id == "n"
    assert len(reducer.message["parts"]) == 1


def test_a_start_with_another_id_begins_a_new_message_if_wanted():
    """A reader that follows one response after the other begins anew, whatever was open."""
    reducer = reduced(*text("t", "x", end=False), {"type": "start", "messageId": "n"}, message_id="m", resets=True)
    assert reducer.message == {"id": "n", "role": "assistant", "parts": []}
    assert reducer.open_texts() == []


def test_what_is_open_is_known_by_id():
    """A runtime that closes a stopped turn sees which texts, reasonings and tool inputs have not ended."""
    reducer = reduced(
        *text("a", "x"),
        *text("b", "y", end=False),
        {"type": "reasoning-start", "id": "r"},
        *tool_input("c", "{"),
        *tool_input("d", "{}"),
        {"type": "tool-input-available", "toolCallId": "d", "toolName": "f", "input": {}},
    )
    assert reducer.open_texts() == ["b"]
    assert reducer.open_reasonings() == ["r"]
    assert reducer.open_tool_inputs() == ["c"]


def test_closing_what_is_open_leaves_nothing_open():
    """The ends of the open blocks are accepted, and everything is closed then."""
    reducer = reduced(*text("b", "y", end=False), {"type": "reasoning-start", "id": "r"})
    for text_id in reducer.open_texts():
        reducer.apply({"type": "text-end", "id": text_id})
    for reasoning_id in reducer.open_reasonings():
        reducer.apply({"type": "reasoning-end", "id": reasoning_id})
    assert {part["state"] for part in reducer.message["parts"]} == {"done"}


def test_a_snapshot_does_not_change_any_more():
    """Neither later deltas nor later states reach a snapshot that was taken."""
    reducer = reduced(*text("t", "a", end=False), *tool_input("c", '{"a":'))
    before = reducer.snapshot()
    for chunk in (
        {"type": "text-delta", "id": "t", "delta": "b"},
        {"type": "tool-input-delta", "toolCallId": "c", "inputTextDelta": "1}"},
        {"type": "tool-output-error", "toolCallId": "c", "errorText": "no"},
        {"type": "message-metadata", "messageMetadata": {"k": 1}},
    ):
        reducer.apply(chunk)
    assert before == {
        "id": "",
        "role": "assistant",
        "parts": [
            {"type": "text", "text": "a", "state": "streaming"},
            {"type": "tool-f", "toolCallId": "c", "state": "input-streaming", "input": {}, "rawInput": '{"a":'},
        ],
    }


def test_changing_a_snapshot_does_not_reach_the_reducer():
    """Who adds to a snapshot's parts has a message of his own."""
    reducer = reduced(*text("t", "a"))
    snapshot = reducer.snapshot()
    snapshot["parts"][0]["text"] = "mine"
    snapshot["parts"].clear()
    assert reducer.message["parts"] == [{"type": "text", "text": "a", "state": "done"}]


def test_the_part_an_output_would_go_to_can_be_asked_for():
    """A tool part is found by the id of its call, its input as far as it is known."""
    reducer = reduced(*tool_input("c", '{"a":1'))
    assert reducer.tool_part("c") == {
        "type": "tool-f",
        "toolCallId": "c",
        "state": "input-streaming",
        "input": {"a": 1},
        "rawInput": '{"a":1',
    }
    assert reducer.tool_part("x") is None


def test_halves_of_a_character_are_joined_across_deltas():
    """A character that was cut between two deltas is whole in the message, as JavaScript has it."""
    message = reduced(*text("t", "a\ud83d", "\ude00b")).message
    assert message["parts"][0]["text"] == "a\U0001f600b"


def test_halves_of_a_character_are_joined_across_snapshots():
    """It is whole, too, if somebody looked when only half of it was there."""
    reducer = reduced(*text("t", "\ud83d", end=False), *tool_input("c", '"\ud83d'))
    assert reducer.message["parts"][0]["text"] == "\ud83d"
    reducer.apply({"type": "text-delta", "id": "t", "delta": "\ude00"})
    reducer.apply({"type": "tool-input-delta", "toolCallId": "c", "inputTextDelta": "\ude00"})
    parts = reducer.message["parts"]
    assert (parts[0]["text"], parts[1]["input"]) == ("\U0001f600", "\U0001f600")


def test_a_refused_chunk_says_of_what_type_it_was_and_what_it_lacked():
    """The error carries the type and the id besides the text."""
    with pytest.raises(UIMessageStreamError) as caught:
        reduced({"type": "reasoning-end", "id": "r"})
    assert (caught.value.chunk_type, caught.value.chunk_id) == ("reasoning-end", "r")


@pytest.mark.parametrize("strange_id", ["__proto__", "constructor", "", "a b"])
def test_ids_are_just_texts(strange_id):
    """No id means anything to the reducer."""
    message = reduced(*text(strange_id, "x"), *tool_input(strange_id, "1")).message
    assert [part["type"] for part in message["parts"]] == ["text", "tool-f"]


def calls_during(work) -> Counter:
    """Return how often each function, Python's or C's, was called during the work."""
    calls: Counter = Counter()

    def count(frame, event, argument):
        if event == "call":
            calls[frame.f_code.co_name] += 1
        elif event == "c_call":
            calls[argument.__name__] += 1

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


def long_turn(deltas: int) -> list[dict]:
    parts = [f"{index} " for index in range(deltas)]
    call = tool_input("c", '{"a":"', *parts, '"}')
    return [{"type": "start", "messageId": "m"}, *text("t", *parts), *call]


def test_assembling_costs_as_much_as_there_are_deltas():
    """Ten times the deltas are ten times the calls, no more; no text is joined and no input parsed more often."""
    few = calls_during(lambda: assemble(long_turn(100)))
    many = calls_during(lambda: assemble(long_turn(1000)))
    assert many["join"] == few["join"]
    assert many["parse_partial_json"] == few["parse_partial_json"]
    assert many.total() < 10 * few.total()


def test_a_delta_costs_the_same_in_a_long_message():
    """What came before, deltas or parts, makes no difference to what one more delta takes."""

    def one_more(parts: int):
        reducer = reduced(*(chunk for index in range(parts) for chunk in text(f"t{index}", "x")))
        for chunk in (*text("t", *["x"] * parts, end=False), *tool_input("c", *["1"] * parts)):
            reducer.apply(chunk)

        def work():
            reducer.apply({"type": "text-delta", "id": "t", "delta": "x"})
            reducer.apply({"type": "tool-input-delta", "toolCallId": "c", "inputTextDelta": "1"})

        return calls_during(work)

    assert one_more(1000) == one_more(1)
