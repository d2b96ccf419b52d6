"""How a conversation is shown to a model, beyond the recorded cases."""

import copy
from types import SimpleNamespace

import pytest

from chatrt.errors import MessageConversionError
from chatrt.ui import convert_to_model_messages


def user(*parts, message_id="u1"):
    return {"id": message_id, "role": "user", "parts": list(parts)}


def assistant(*parts):
    return {"id": "a1", "role": "assistant", "parts": list(parts)}


def call(state, **keys):
    return {"type": "tool-f", "toolCallId": "c1", "state": state, "input": {}, **keys}


def test_a_call_and_its_result_are_two_rows():
    """A finished call is shown as the assistant's row and a tool row behind it."""
    rows = convert_to_model_messages([assistant(call("output-available", output="7"))])
    assert [row["role"] for row in rows] == ["assistant", "tool"]
    assert rows[1]["content"][0]["output"] == {"type": "text", "value": "7"}


def test_an_open_call_is_left_out_on_request():
    """A call without result is shown unless incomplete calls are to be ignored."""
    messages = [assistant(call("input-available"))]
    assert len(convert_to_model_messages(messages)) == 1
    assert convert_to_model_messages(messages, ignore_incomplete_tool_calls=True) == []


def test_a_tool_without_model_output_shows_its_output():
    """A tool that does not shape its output shows it as text or JSON."""
    tools = {"f": SimpleNamespace(to_model_output=None)}
    rows = convert_to_model_messages([assistant(call("output-available", output={"x": 1}))], tools=tools)
    assert rows[1]["content"][0]["output"] == {"type": "json", "value": {"x": 1}}


@pytest.mark.parametrize(
    "message",
    [
        {"id": "x", "role": "critic", "parts": []},
        {"id": "x", "role": "user"},
        user({"type": "file", "mediaType": "m", "url": "//host/path"}),
        assistant({"type": "reasoning-file", "mediaType": "m", "url": "no url"}),
    ],
)
def test_what_cannot_be_shown_raises(message):
    """An unknown role, missing parts or a URL that is not absolute is an error, not a gap."""
    with pytest.raises(MessageConversionError):
        convert_to_model_messages([message])


def test_an_error_about_a_url_does_not_repeat_it():
    """A URL may carry a secret or a whole file and is not in the text of the error."""
    with pytest.raises(MessageConversionError) as raised:
        convert_to_model_messages([user({"type": "file", "mediaType": "m", "url": "nope?token=hunter2"})])
    assert "hunter2" not in str(raised.value)


def test_the_conversation_is_left_alone():
    """Converting changes no message."""
    part = {"type": "text", "text": "x", "providerMetadata": {"p": {"k": 1}}}
    messages = [
        {"id": "s", "role": "system", "parts": [part, part]},
        user(part),
        assistant(call("approval-requested", approval={"id": "1"})),
        user(part, message_id="u2"),
    ]
    before = copy.deepcopy(messages)
    convert_to_model_messages(messages, ignore_incomplete_tool_calls=True)
    convert_to_model_messages(messages)
    assert messages == before
