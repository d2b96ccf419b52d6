"""`convert_to_model_messages` makes the same model messages as the real AI SDK."""

from types import SimpleNamespace

import pytest

from chatrt.errors import MessageConversionError
from chatrt.ui import convert_to_model_messages

VECTORS = "convert_to_model_messages"


def as_text(part):
    text = part["data"].get("text") if isinstance(part["data"], dict) else None
    return {"type": "text", "text": text} if isinstance(text, str) else None


def as_file(part):
    if part["type"] != "data-file":
        return None
    return {"type": "file", "mediaType": part["data"]["mediaType"], "data": part["data"]["url"]}


def as_name(part):
    return {"type": "text", "text": f"[{part['type']}]"}


def content_output(_tool_call_id, _input, output):
    return {"type": "content", "value": [{"type": "text", "text": f"v={output['v']}"}]}


def input_output(tool_call_id, value, _output):
    return {"type": "text", "value": f"{tool_call_id}:{value['a']}"}


DATA_PARTS = {"text": as_text, "file": as_file, "name": as_name, None: None}
TOOLS = {"content": content_output, "input": input_output, "none": None}


def convert(case):
    options = case.get("options", {})
    return convert_to_model_messages(
        case["messages"],
        tools={name: SimpleNamespace(to_model_output=TOOLS[kind]) for name, kind in options.get("tools", {}).items()},
        ignore_incomplete_tool_calls=options.get("ignoreIncompleteToolCalls", False),
        convert_data_part=DATA_PARTS[options.get("convertDataPart")],
    )


def test_messages_are_shown_to_a_model_as_by_the_ai_sdk(case):
    """The model messages equal those of the AI SDK; what it cannot convert raises."""
    if "error" in case:
        with pytest.raises(MessageConversionError):
            convert(case)
    else:
        assert convert(case) == case["modelMessages"]
