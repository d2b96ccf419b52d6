"""The page's own scripts in Node.js: they build the same messages and read the same events as the package does."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from chatrt.sse import SSEDecoder
from chatrt.ui import assemble

HERE = Path(__file__).parent
VECTORS = HERE.parent / "conformance" / "vectors"
SHOWN = ("type", "text", "toolCallId", "toolName", "input", "output", "errorText", "id", "data", "url", "title")

pytestmark = pytest.mark.e2e


def vectors(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (VECTORS / f"{name}.jsonl").read_text().split("\n") if line]


def run(**cases: Any) -> dict[str, Any]:
    node = shutil.which("node")
    assert node, "Node.js is needed: apt-get install nodejs npm"
    everything = json.dumps({"chunks": [], "streams": [], **cases})
    done = subprocess.run(
        [node, "scripts.mjs"], cwd=HERE, input=everything, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def shown(message: dict[str, Any]) -> list[dict[str, Any]]:
    """What a page shows of a message: no metadata of providers, no ids of blocks."""
    return [
        {key: part[key] for key in (*SHOWN, "state") if key in part and (key != "id" or part["type"] != "reasoning")}
        for part in message["parts"]
    ]


TRACES = [case for case in vectors("server_traces") if not any(one["role"] == "assistant" for one in case["messages"])]


def test_the_page_builds_the_same_messages():
    """For every recorded answer the page's reducer shows what the package's reducer keeps."""
    chunks = [case["chunks"] for case in TRACES]
    built = run(chunks=chunks)["messages"]

    assert len(TRACES) > 10
    for case, message in zip(TRACES, built, strict=True):
        expected: Any = assemble(case["chunks"])
        assert shown(message) == shown(expected), case["name"]


@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
def test_the_page_reads_the_same_events(size: int):
    """However the bytes are cut, the page's decoder finds the events that the package's decoder finds."""
    texts = [case["text"].removeprefix("\ufeff") for case in vectors("sse_decode")]
    found = run(streams=[[text, size] for text in texts])["events"]

    assert found == [[event.data for event in SSEDecoder().decode(text.encode())] for text in texts]


def test_the_page_takes_back_a_step():
    """What a `reset-step` takes back is gone from the page too, and the step goes on behind it."""
    text = [
        {"type": "text-start", "id": "t"},
        {"type": "text-delta", "id": "t", "delta": "half"},
        {"type": "text-end", "id": "t"},
    ]
    begun = [{"type": "start", "messageId": "m"}, {"type": "start-step"}, *text, {"type": "reset-step"}]
    chunks = [*begun, {"type": "start-step"}, *text[:1], {"type": "text-delta", "id": "t", "delta": "whole"}, text[2]]
    [message] = run(chunks=[chunks])["messages"]

    assert shown(message) == shown(assemble(chunks))
    assert [part.get("text") for part in message["parts"]] == [None, None, "whole"]
