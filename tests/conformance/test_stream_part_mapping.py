"""How the AI SDK turns stream parts into chunks, for the parts that our stream has too.

The recorded parts are those inside the SDK, one layer above a model's. What a model can say is taken from them and
played by a scripted model; what our loop makes itself (steps, tool results, approvals) is left out on both sides.
"""

import json
from pathlib import Path

import pytest

from chatrt.generate import step_count_is, stream_text
from chatrt.models import ScriptedModel
from chatrt.models.scripted import finish
from chatrt.tools import Tool

VECTORS = "stream_part_mapping"
NAMES = [
    json.loads(line)["name"]
    for line in (Path(__file__).parent / "vectors" / f"{VECTORS}.jsonl").read_text().splitlines()
]

FROM_A_MODEL = {
    "reasoning-start",
    "reasoning-delta",
    "reasoning-end",
    "text-start",
    "text-delta",
    "text-end",
    "source",
    "file",
    "reasoning-file",
    "custom",
    "tool-input-start",
    "tool-input-delta",
    "tool-input-end",
    "tool-call",
    "ping",
    "raw",
}
OURS = {"start", "start-step", "finish-step", "finish"}
MADE_BY_THE_LOOP = {
    "tool-approval-request",
    "tool-approval-response",
    "tool-output-available",
    "tool-output-error",
    "tool-output-denied",
}

NOT_APPLICABLE = {
    "map/abort/": "a stopped turn ends with an abort chunk that the runtime writes; this stream is closed instead",
    "map/ids/": "the id on the start chunk is put on by the owner of the message; the vectors `persist` have the rule",
    "map/tool-error/": "the errors of our tools are exceptions, and masked as D11 says; see tests/generate",
    "map/tool-flags": "titles and tool metadata are not part of a tool here",
}


def to_model_part(part):
    """Return what a model says for what the SDK has inside: deltas, files as data, inputs as JSON text."""
    match part["type"]:
        case "text-delta" | "reasoning-delta":
            return {**{key: value for key, value in part.items() if key != "text"}, "delta": part["text"]}
        case "file" | "reasoning-file":
            return {"type": part["type"], "mediaType": part["file"]["mediaType"], "data": part["file"]["base64"]}
        case "tool-call" if part.get("invalid"):
            return {
                "type": "tool-call",
                "toolCallId": part["toolCallId"],
                "toolName": "missing",
                "input": part["input"],
            }
        case "tool-call":
            return {**part, "input": "{}"}
    return part


@pytest.fixture(name="options")
def make_options(case):
    given = case.get("options", {})
    options = {
        "send_reasoning": given.get("sendReasoning", True),
        "send_sources": given.get("sendSources", False),
    }
    match given.get("messageMetadata"):
        case "constant":
            options["message_metadata"] = lambda part: {"k": 1}
        case "start-finish":
            options["message_metadata"] = lambda part: {
                "start": {"s": 1},
                "finish": {"f": part.get("finishReason")},
            }.get(part["type"])
    return options


async def test_parts_become_the_chunks_of_the_ai_sdk(case, options):
    """What a model says is shown as the AI SDK shows it, in the same order."""
    said = [to_model_part(part) for part in case["parts"] if part["type"] in FROM_A_MODEL]
    tools = [Tool.from_schema("f", "", {"type": "object"})]
    model = ScriptedModel([[*said, *finish("stop")]])
    question = [{"role": "user", "content": "q"}]
    stream = stream_text(model, question, tools=tools, stop_when=step_count_is(1), **options)
    chunks = [chunk async for chunk in stream]
    if "invalid" in case["name"]:
        # The call is invalid for another reason here, and the recording has no steps around it.
        (bad,) = [chunk for chunk in chunks if chunk["type"] == "tool-input-error"]
        (expected,) = case["chunks"]
        assert {**bad, "toolName": "f", "errorText": "bad args"} == expected
        return
    expected = [chunk for chunk in case["chunks"] if chunk["type"] not in MADE_BY_THE_LOOP]
    present = {chunk["type"] for chunk in expected} & OURS
    assert [chunk for chunk in chunks if chunk["type"] not in OURS - present] == expected


@pytest.mark.parametrize("prefix", NOT_APPLICABLE)
def test_what_is_left_out_is_recorded(prefix):
    """Each reason to leave cases out is about cases that exist."""
    assert [name for name in NAMES if name.startswith(prefix)]
