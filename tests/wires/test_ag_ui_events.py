"""The events of the AG-UI wire: what each chunk becomes, and that no stream of chunks leads to events out of order."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from ag_ui.core import (
    ReasoningMessageContentEvent,
    TextMessageContentEvent,
    ToolCallArgsEvent,
)
from ag_ui.encoder import EventEncoder
from hypothesis import given
from hypothesis import strategies as st

from chatrt import codec
from chatrt.errors import UIMessageStreamError
from chatrt.stores import Record
from chatrt.ui import MessageReducer, rebuild_chunks
from chatrt.wires.ag_ui_events import FRAMES
from chatrt.wires.ag_ui_messages import to_messages
from chatrt.wires.ag_ui_run import RunEvents
from tests.wires.ag_ui_rules import check, materialize, types

VECTORS = Path(__file__).parents[1] / "conformance" / "vectors"
STATUSES = ("completed", "stopped", "failed", "interrupted", "withdrawn", "injected")


def load(name: str) -> list[dict[str, Any]]:
    with (VECTORS / f"{name}.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


CASES = [*load("reducer_hand"), *load("reducer_random")]


def record(chunk: dict[str, Any], seq: int = 1) -> Record:
    return Record(seq, 0, "chunk", codec.dumps(codec.clean_text(chunk)))


def tell(
    chunks: list[dict[str, Any]], status: str = "completed", base: dict[str, Any] | None = None, **options: Any
) -> list[dict[str, Any]]:
    """Return the events of a run of these chunks, checked by the official models and the rules of order."""
    events = RunEvents("thread", "run", **options)
    frames = [events.start(), *events.begin_turn("M", base)]  # type: ignore[arg-type]
    frames += [events.record(record(chunk)) for chunk in chunks]
    frames += events.end(status, {"code": "internal-error", "message": "No."} if status == "failed" else None, "M")
    return check(b"".join(frames))


def inner(*chunks: dict[str, Any]) -> list[dict[str, Any]]:
    """The events between the first and the last."""
    return tell(list(chunks))[1:-1]


CALL = {"toolCallId": "c", "toolName": "search"}
START = {"type": "tool-input-start", **CALL}
AVAILABLE = {"type": "tool-input-available", **CALL, "input": {"q": "ż"}}
OUTPUT = {"type": "tool-output-available", "toolCallId": "c", "output": {"n": 1}}
ASK = {"type": "tool-approval-request", "toolCallId": "c", "approvalId": "ask"}


# --- each chunk


def test_a_text_is_a_message_under_the_answers_id():
    """The first text of an answer has the id of the answer."""
    said = inner(
        {"type": "text-start", "id": "t"},
        {"type": "text-delta", "id": "t", "delta": "Hi"},
        {"type": "text-end", "id": "t"},
    )
    assert said == [
        {"type": "TEXT_MESSAGE_START", "messageId": "M", "role": "assistant"},
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": "M", "delta": "Hi"},
        {"type": "TEXT_MESSAGE_END", "messageId": "M"},
    ]


def test_each_further_text_is_a_message_of_its_own():
    """Two texts are never run together."""
    blocks = [{"type": kind, "id": name} for name in "ab" for kind in ("text-start", "text-end")]
    assert [e["messageId"] for e in inner(*blocks) if e["type"] == "TEXT_MESSAGE_START"] == ["M", "M:2"]


def test_a_reasoning_is_a_span_with_one_message():
    """Both have the same id, which no text has."""
    said = inner(
        {"type": "reasoning-start", "id": "r"},
        {"type": "reasoning-delta", "id": "r", "delta": "hm"},
        {"type": "reasoning-end", "id": "r"},
    )
    assert types(said) == [
        "REASONING_START",
        "REASONING_MESSAGE_START",
        "REASONING_MESSAGE_CONTENT",
        "REASONING_MESSAGE_END",
        "REASONING_END",
    ]
    assert {event["messageId"] for event in said} == {"M:r1"}


def test_a_streamed_call_is_told_as_it_was_written():
    """What the model wrote comes as it came, and is not repeated when the input is whole."""
    delta = {"type": "tool-input-delta", "toolCallId": "c", "inputTextDelta": '{"q": "ż"}'}
    said = inner(START, delta, AVAILABLE, OUTPUT)
    assert types(said) == ["TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_END", "TOOL_CALL_RESULT"]
    assert said[1]["delta"] == '{"q": "ż"}'
    assert said[0]["parentMessageId"] == "M"
    assert said[3] == {
        "type": "TOOL_CALL_RESULT",
        "messageId": "c:result",
        "toolCallId": "c",
        "content": '{"n":1}',
        "role": "tool",
    }


@pytest.mark.parametrize("before", [[], [START]])
def test_a_call_that_comes_whole_has_its_input_in_one_piece(before):
    """Whether or not its beginning was told."""
    said = inner(*before, AVAILABLE)
    assert types(said) == ["TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_END"]
    assert said[1]["delta"] == '{"q":"ż"}'


def test_calls_of_a_step_belong_to_its_text():
    """A step without a text makes a message for its calls."""
    step = [{"type": "start-step"}, {"type": "text-start", "id": "t"}, {"type": "text-end", "id": "t"}, AVAILABLE]
    other = {"type": "tool-input-available", "toolCallId": "d", "toolName": "search", "input": {}}
    said = inner(*step, OUTPUT, {"type": "finish-step"}, {"type": "start-step"}, other, {"type": "finish-step"})
    assert [e["parentMessageId"] for e in said if e["type"] == "TOOL_CALL_START"] == ["M", "M:2"]
    assert [e["stepName"] for e in said if e["type"] == "STEP_STARTED"] == ["step-1", "step-2"]


def test_parallel_calls_stay_apart():
    """Each has its own pieces and its own result."""
    other = {"type": "tool-input-start", "toolCallId": "d", "toolName": "add"}
    pieces = [{"type": "tool-input-delta", "toolCallId": call, "inputTextDelta": "{}"} for call in "cd"]
    ends = [
        {"type": "tool-input-available", "toolCallId": "d", "toolName": "add", "input": {}},
        AVAILABLE,
        {"type": "tool-output-available", "toolCallId": "d", "output": "two"},
        OUTPUT,
    ]
    said = inner(START, other, *pieces, *ends)
    results = {e["toolCallId"]: e["content"] for e in said if e["type"] == "TOOL_CALL_RESULT"}
    assert results == {"c": '{"n":1}', "d": "two"}


@pytest.mark.parametrize(
    ("chunk", "content", "state"),
    [
        ({"type": "tool-output-error", "toolCallId": "c", "errorText": "no"}, "no", "output-error"),
        ({"type": "tool-output-denied", "toolCallId": "c"}, "denied", "output-denied"),
    ],
)
def test_a_call_that_failed_or_was_denied_says_so(chunk, content, state):
    """In its result, with the state beside it."""
    said = inner(AVAILABLE, chunk)[-1]
    assert (said["content"], said["metadata"]) == (content, {"state": state})


def test_an_input_that_does_not_fit_is_answered_once():
    """The error of the input is the result; the error of the output says the same again."""
    error = {"type": "tool-input-error", **CALL, "input": "{", "errorText": "bad"}
    said = inner(error, {"type": "tool-output-error", "toolCallId": "c", "errorText": "bad"})
    assert types(said) == ["TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_END", "TOOL_CALL_RESULT"]


def test_preliminary_outputs_are_no_results():
    """They come by name; the last output is the one result."""
    said = inner(AVAILABLE, {**OUTPUT, "output": 1, "preliminary": True}, {**OUTPUT, "output": 2})
    assert types(said)[-2:] == ["CUSTOM", "TOOL_CALL_RESULT"]
    assert said[-2]["name"] == "tool-output-preliminary"
    assert (said[-2]["value"]["output"], said[-1]["content"]) == (1, "2")


@pytest.mark.parametrize(
    "chunk",
    [
        {"type": "data-note", "data": {"a": 1}, "transient": True},
        {"type": "data-note", "id": "n", "data": None},
        {"type": "source-url", "sourceId": "s", "url": "https://example.com", "title": "T"},
        {"type": "source-document", "sourceId": "s", "mediaType": "text/plain", "title": "T"},
        {"type": "file", "url": "data:,x", "mediaType": "text/plain"},
        {"type": "reasoning-file", "url": "data:,x", "mediaType": "text/plain"},
        {"type": "custom", "kind": "acme.thing"},
        {"type": "steering-message", "id": "s", "parts": []},
        {"type": "reset-step"},
    ],
)
def test_what_has_no_event_of_its_own_comes_by_name(chunk):
    """The type is the name; the value has the fields, and the answer they belong to."""
    (said,) = inner({**chunk, "providerMetadata": {"acme": {"secret": 1}}})
    fields = {key: value for key, value in chunk.items() if key != "type"}
    assert said == {"type": "CUSTOM", "name": chunk["type"], "value": {"messageId": "M", **fields}}


@pytest.mark.parametrize(
    "chunk",
    [
        {"type": "start", "messageId": "M", "messageMetadata": {"model": "x"}},
        {"type": "message-metadata", "messageMetadata": {"model": "x"}},
        {"type": "finish", "messageMetadata": {"model": "x"}},
    ],
)
def test_metadata_come_by_name(chunk):
    """Wherever they stand."""
    value = {"messageId": "M", "metadata": {"model": "x"}}
    assert inner(chunk) == [{"type": "CUSTOM", "name": "message-metadata", "value": value}]


def test_shared_state_is_a_snapshot_of_it():
    """A `data-state` part is the state of the thread."""
    assert inner({"type": "data-state", "id": "s", "data": {"a": None}}) == [
        {"type": "STATE_SNAPSHOT", "snapshot": {"a": None}}
    ]


@pytest.mark.parametrize("kind", ["error", "abort", "start", "finish", "of-a-later-version"])
def test_some_chunks_say_nothing_here(kind):
    """What ends a turn is told by its `turn-complete`; what nobody knows is left out."""
    assert inner({"type": kind, "errorText": "x", "reason": "x"}) == []


# --- how runs end


def test_a_completed_run_says_what_it_gave():
    """The answer, and why the model ended."""
    end = tell([{"type": "finish", "finishReason": "stop"}])[-1]
    assert end["result"] == {"messageId": "M", "status": "completed", "finishReason": "stop"}
    assert end["outcome"] == {"type": "success"}


def test_open_calls_are_the_clients():
    """A run that ended with them is completed, and names them in their order."""
    others = [{"type": "tool-input-available", "toolCallId": c, "toolName": "x", "input": {}} for c in "ab"]
    provider = {**AVAILABLE, "toolCallId": "p", "providerExecuted": True}
    end = tell([*others, AVAILABLE, OUTPUT, provider])[-1]
    assert end["outcome"] == {"type": "success", "pendingToolCallIds": ["a", "b"]}


def test_open_approvals_are_interrupts():
    """With what is asked, about which call, and what an answer looks like."""
    end = tell([AVAILABLE, {**ASK, "reason": "It costs money."}])[-1]
    (interrupt,) = end["outcome"]["interrupts"]
    assert (interrupt["id"], interrupt["reason"], interrupt["toolCallId"]) == ("ask", "tool_call", "c")
    assert interrupt["message"] == "It costs money."
    assert interrupt["responseSchema"]["required"] == ["approved"]


@pytest.mark.parametrize(
    "chunks",
    [
        [AVAILABLE, ASK, {"type": "tool-approval-response", "approvalId": "ask", "approved": True}, OUTPUT],
        [AVAILABLE, ASK, {"type": "tool-output-denied", "toolCallId": "c"}],
        [AVAILABLE, {**ASK, "isAutomatic": True}, OUTPUT],
    ],
)
def test_what_was_decided_interrupts_nothing(chunks):
    """By a person, or by policy."""
    assert tell(chunks)[-1]["outcome"] == {"type": "success"}


def test_an_open_approval_of_the_continued_message_still_interrupts():
    """Where one of two was answered the other one is asked for again."""
    parts = [
        {
            "type": "tool-x",
            "toolCallId": call,
            "state": "approval-requested",
            "input": {},
            "approval": {"id": f"a{call}"},
        }
        for call in "cd"
    ]
    end = tell([OUTPUT], base={"id": "M", "role": "assistant", "parts": parts})[-1]
    assert [interrupt["id"] for interrupt in end["outcome"]["interrupts"]] == ["ad"]


@pytest.mark.parametrize("status", STATUSES)
def test_whatever_is_open_is_ended_whatever_the_end(status):
    """Texts, reasonings, the step, and a call whose input was cut off: its result keeps front ends from making it."""
    chunks = [
        {"type": "start-step"},
        {"type": "text-start", "id": "t"},
        {"type": "reasoning-start", "id": "r"},
        START,
        {"type": "tool-input-delta", "toolCallId": "c", "inputTextDelta": '{"q'},
    ]
    said = tell(chunks, status)
    assert {"type": "TOOL_CALL_END", "toolCallId": "c"} in said
    assert [e["content"] for e in said if e["type"] == "TOOL_CALL_RESULT"] == ["interrupted"]


@pytest.mark.parametrize(
    ("status", "event", "outcome"),
    [
        ("completed", "RUN_FINISHED", {"type": "success"}),
        ("injected", "RUN_FINISHED", {"type": "success"}),
        ("stopped", "RUN_FINISHED", {"type": "cancelled"}),
        ("withdrawn", "RUN_FINISHED", {"type": "cancelled"}),
        ("failed", "RUN_ERROR", None),
        ("interrupted", "RUN_ERROR", None),
    ],
)
def test_each_status_has_its_end(status, event, outcome):
    """A failure is told as it is told to everybody."""
    end = tell([], status)[-1]
    assert (end["type"], end.get("outcome")) == (event, outcome)
    if status == "failed":
        assert (end["code"], end["message"]) == ("internal-error", "No.")


def test_clients_that_declare_no_version_get_no_outcome_that_they_would_refuse():
    """Before 1.0 nobody knew cancelled runs, and no success had members."""
    assert "outcome" not in tell([], "stopped", modern=False)[-1]
    assert tell([AVAILABLE], modern=False)[-1]["outcome"] == {"type": "success"}


def test_a_step_that_is_taken_back_leaves_nothing_to_answer():
    """Its calls get a result, its approvals are gone, and clients are told by name."""
    said = tell([{"type": "start-step"}, AVAILABLE, ASK, {"type": "reset-step"}, {"type": "finish-step"}])
    assert types(said)[-4:] == ["TOOL_CALL_RESULT", "CUSTOM", "STEP_FINISHED", "RUN_FINISHED"]
    assert said[-1]["outcome"] == {"type": "success"}


# --- any stream


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_no_stream_leads_to_events_out_of_order(case):
    """Recorded streams, whole and cut off anywhere, on top of the message they continue."""
    chunks = case["chunks"][: case.get("errorIndex")]
    base = codec.clean_text(case.get("initialMessage"))
    chance = random.Random(case["name"])
    for end in {len(chunks), *(chance.randrange(len(chunks) + 1) for _ in range(4))}:
        tell(chunks[:end], chance.choice(STATUSES), base, modern=chance.random() < 0.5)


_IDS = st.sampled_from("abc")
_CHUNKS = st.one_of(
    *(
        st.fixed_dictionaries({"type": st.just(f"{block}-{what}"), "id": _IDS, "delta": st.text()})
        for block in ("text", "reasoning")
        for what in ("start", "delta", "delta", "end")
    ),
    *(st.just({"type": kind}) for kind in ("start-step", "finish-step", "reset-step", "start", "finish")),
    *(
        st.fixed_dictionaries(
            {
                "type": st.just(f"tool-{kind}"),
                "toolCallId": _IDS,
                "toolName": st.sampled_from(["x", "y"]),
                "approvalId": _IDS,
                "approved": st.booleans(),
                "inputTextDelta": st.text(),
                "input": st.none() | st.dictionaries(st.text(), st.integers(-9, 9)),
                "output": st.none() | st.text(),
                "errorText": st.text(),
                "preliminary": st.booleans(),
            }
        )
        for kind in (
            "input-start",
            "input-delta",
            "input-available",
            "input-error",
            "output-available",
            "output-error",
            "output-denied",
            "approval-request",
            "approval-response",
        )
    ),
)


@given(st.lists(_CHUNKS, max_size=40), st.sampled_from(STATUSES))
def test_not_even_nonsense_leads_to_events_out_of_order(chunks, status):
    """A stream in any order at all, as no reducer would take it."""
    tell(chunks, status)


# --- the same live and later

_REBUILT = [
    case["final"]
    for case in CASES
    if case["final"]["id"]
    and len({p["toolCallId"] for p in case["final"]["parts"] if "toolCallId" in p})
    == sum("toolCallId" in p for p in case["final"]["parts"])
]


@pytest.mark.parametrize("message", _REBUILT, ids=range(len(_REBUILT)))
def test_a_message_has_the_same_ids_and_words_live_and_in_a_snapshot(message):
    """What a client holds at the end of a run is what it is told when it connects, as far as nothing was cut off."""
    message = codec.clean_text({**message, "id": "M"})
    if any(
        part.get("state") in ("input-streaming", "streaming") or part.get("preliminary") for part in message["parts"]
    ):
        message = {**message, "parts": [p for p in message["parts"] if "state" not in p or p["state"] == "done"]}
    live = materialize(tell(rebuild_chunks(message)))  # type: ignore[arg-type]
    stored = [said.model_dump(mode="json", by_alias=True) for said in to_messages([message])]
    assert [_plain(said) for said in live] == [_plain(said) for said in stored]


def _plain(said: dict[str, Any]) -> dict[str, Any]:
    calls = [
        {"id": call["id"], "name": call["function"]["name"], "arguments": _json(call["function"]["arguments"])}
        for call in said.get("toolCalls") or ()
    ]
    kept = {key: said[key] for key in ("id", "role", "toolCallId") if key in said}
    return {**kept, "content": said.get("content") or "", "calls": calls}


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def test_a_continuation_goes_on_counting():
    """Its texts have other ids than those of the message it continues."""
    base = {
        "id": "M",
        "role": "assistant",
        "parts": [
            {"type": "step-start"},
            {"type": "reasoning", "text": "hm"},
            {"type": "tool-search", "toolCallId": "c", "state": "output-available", "input": {}, "output": 1},
        ],
    }
    chunks = [{"type": "start-step"}, {"type": "text-start", "id": "t"}, {"type": "reasoning-start", "id": "r"}]
    said = tell(chunks, base=base)
    assert {event["messageId"] for event in said if "messageId" in event} == {"M:2", "M:r2"}


# --- frames


@given(st.text(), st.text(min_size=1))
def test_deltas_are_what_the_official_encoder_writes(delta, name):
    """Byte for byte, but for the ends of lines that only some readers know: those are escaped, and the JSON is equal."""
    official, cases = EventEncoder(), []
    for block, model in (("text", TextMessageContentEvent), ("reasoning", ReasoningMessageContentEvent)):
        events = RunEvents("thread", "run")
        list(events.begin_turn(name, None))
        events.record(record({"type": f"{block}-start", "id": name}))
        own = events.record(record({"type": f"{block}-delta", "id": name, "delta": delta}))
        message_id = name if block == "text" else f"{name}:r1"
        cases.append((own, official.encode(model(message_id=message_id, delta=delta))))
    events = RunEvents("thread", "run")
    events.record(record({"type": "tool-input-start", "toolCallId": name, "toolName": "x"}))
    own = events.record(record({"type": "tool-input-delta", "toolCallId": name, "inputTextDelta": delta}))
    cases.append((own, official.encode(ToolCallArgsEvent(tool_call_id=name, delta=delta))))
    for own, theirs in cases:
        if not any(end in delta + name for end in "\x85\u2028\u2029"):
            assert own == theirs.encode()
        assert json.loads(own[len(b"data: ") :]) == json.loads(theirs[len("data: ") :])


def test_readers_share_the_frames_of_deltas():
    """What one reader made is there for the next."""
    delta = record({"type": "text-delta", "id": "t", "delta": "x"})
    for _ in range(2):
        events = RunEvents("thread", "run")
        list(events.begin_turn("M", None))
        events.record(record({"type": "text-start", "id": "t"}))
        told = events.record(delta)
        assert delta.frames[FRAMES] is told


def test_every_line_of_a_frame_is_one_line():
    """Whatever a model writes, nothing ends a line inside an event."""
    for event in tell([{"type": "data-x", "data": "a\u2028b\nc\rd\x85"}]):
        assert "\n" not in json.dumps(event)


def test_the_vectors_reach_every_chunk_type():
    """The streams of the first test above would show it if a type of chunk was forgotten."""
    seen = {chunk["type"].partition("-")[0] for case in CASES for chunk in case["chunks"]}
    assert seen >= {"text", "reasoning", "tool", "data", "source", "file", "start", "finish", "custom", "reset"}
    reducer = MessageReducer({"id": "M", "role": "assistant", "parts": []})
    with pytest.raises(UIMessageStreamError):
        reducer.apply({"type": "text-delta", "id": "none", "delta": "x"})
