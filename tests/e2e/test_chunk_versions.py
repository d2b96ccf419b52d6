"""What the encoder sends, read by the published packages themselves: ai 5.0.277, 6.0.326 and 7.0.173."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from chatrt import codec
from chatrt.stores import Record
from chatrt.wires.chunk_encoder import ChunkEncoder
from chatrt.wires.chunk_versions import parse_version
from tests.conformance.test_ai_versions import CORPUS

HERE = Path(__file__).parent
VERSIONS = {"5": "5.0.277", "6": "6.0.326", "7": "7.0.173"}

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

Read = Callable[[list[list[dict[str, Any]]]], list[dict[str, Any]]]


@pytest.fixture(params=[(line, named) for line in VERSIONS for named in (True, False)], ids=str)
def client(request) -> tuple[str, str | None]:
    """A line of versions, and what its client says in the header."""
    line, named = request.param
    return line, VERSIONS[line] if named else None


@pytest.fixture
def read(client, node) -> Read:
    """Encode streams of chunks for the client and return what it makes of each."""
    line, header = client

    def read(streams: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
        bodies = []
        for stream in streams:
            encoder = ChunkEncoder(parse_version(header))
            records = [Record(seq, 0, "chunk", codec.dumps(chunk)) for seq, chunk in enumerate(stream, 1)]
            bodies.append(b"".join(encoder.record(record) for record in records).decode())
        script = [node, "chunks.mjs", _entry(line)]
        done = subprocess.run(
            script, input=json.dumps(bodies), cwd=HERE, capture_output=True, text=True, timeout=100, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return read


def _entry(line: str) -> str:
    folder = HERE / "node_modules" / f"ai-v{line}"
    package = json.loads((folder / "package.json").read_text())
    assert package["version"] == VERSIONS[line]
    return str(next(file for name in ("index.mjs", "index.js") if (file := folder / "dist" / name).exists()))


def test_every_chunk_is_taken(read, client):
    """No chunk of the corpus ends a response, whether or not the client says its version."""
    known = CORPUS if client != ("5", None) else [stream for stream in CORPUS if not _has_approvals(stream)]
    streams = [list(chain.from_iterable(known[first : first + 50])) for first in range(0, len(known), 50)]
    for stream, told in zip(streams, read(streams), strict=True):
        assert "error" not in told, (told, stream)


def _has_approvals(stream: list[dict[str, Any]]) -> bool:
    return any(chunk["type"] in ("tool-approval-request", "tool-output-denied") for chunk in stream)


CALL = {"toolCallId": "c", "toolName": "search"}
START = [{"type": "start", "messageId": "m"}, {"type": "start-step"}]
STEP = [{"type": "finish-step"}, {"type": "start-step"}]
END = [{"type": "finish-step"}, {"type": "finish", "finishReason": "interrupted"}]


def _text(*deltas: str) -> list[dict[str, Any]]:
    return [{"type": "text-delta", "id": "t", "delta": delta} for delta in deltas]


STREAMS = {
    "beyond its step": [
        {"type": "text-start", "id": "t"},
        *_text("one "),
        *STEP,
        *_text("two"),
        {"type": "text-end", "id": "t"},
    ],
    "taken back": [{"type": "text-start", "id": "t"}, *_text("no"), {"type": "reset-step"}],
    "dynamic": [
        {"type": "tool-input-available", **CALL, "input": {}, "dynamic": True},
        *STEP,
        {"type": "tool-output-available", "toolCallId": "c", "output": 1},
    ],
    "called wrongly": [{"type": "tool-input-error", **CALL, "input": "{", "errorText": "no", "dynamic": True}],
}


@pytest.fixture
def seen(read) -> dict[str, Any]:
    """The parts that the client ends with, by stream; steps left out."""
    answers = read([[*START, *stream, *END] for stream in STREAMS.values()])
    assert [answer for answer in answers if "problem" in answer or "error" in answer] == []
    return {
        name: [part for part in answer["message"]["parts"] if part["type"] != "step-start"]
        for name, answer in zip(STREAMS, answers, strict=True)
    }


def test_a_text_beyond_its_step_is_whole(seen):
    """All its words are there, and nothing streams for ever."""
    parts = seen["beyond its step"]
    assert "".join(part["text"] for part in parts) == "one two"
    assert {part["state"] for part in parts} == {"done"}


def test_what_was_taken_back_is_gone_or_done(seen, client):
    """Where the words can be taken back they are; elsewhere they are complete."""
    gone = client == ("7", "7.0.173")
    assert [(part["text"], part["state"]) for part in seen["taken back"]] == ([] if gone else [("no", "done")])


def test_a_dynamic_call_gets_its_output(seen):
    """The output reaches the call, also where the chunk that brings it does not say what it is for."""
    (part,) = seen["dynamic"]
    assert (part["type"], part["state"], part["output"]) == ("dynamic-tool", "output-available", 1)


def test_a_call_that_was_made_wrongly_is_a_failed_one(seen):
    """The reason is there, and nobody carries it out."""
    (part,) = seen["called wrongly"]
    assert (part["type"], part["state"], part["errorText"]) == ("dynamic-tool", "output-error", "no")


def test_a_v5_page_learns_of_approvals_and_denials(read, client):
    """A v5 that says so is told by a data part which call waits, and sees a denied call fail; one that does not gives up."""
    asked = [
        {"type": "tool-input-available", **CALL, "input": {}},
        {"type": "tool-approval-request", "approvalId": "a", "toolCallId": "c"},
    ]
    waiting, denied = read(
        [[*START, *asked, *END], [*START, *asked, {"type": "tool-output-denied", "toolCallId": "c"}, *END]]
    )
    if client == ("5", None):
        assert "error" in waiting
        return
    parts = [part for part in waiting["message"]["parts"] if part["type"] != "step-start"]
    if client[0] == "5":
        assert [part["type"] for part in parts] == ["tool-search", "data-tool-approval-request"]
        assert parts[1]["data"] == {"approvalId": "a", "toolCallId": "c"}
        assert denied["message"]["parts"][1]["state"] == "output-error"
    else:
        assert [part["state"] for part in parts] == ["approval-requested"]
        assert denied["message"]["parts"][1]["state"] == "output-denied"
